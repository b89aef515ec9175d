"""A SOCKS 5 server (RFC 1928) without authentication, as `ssh -D` is one: connects to whatever host and port it is asked for."""
import socket
import socketserver
import threading


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def pass_on(source, target):
    try:
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Visitor(socketserver.BaseRequestHandler):
    def handle(self):
        client = self.request
        exactly(client, exactly(client, 2)[1])  # ways to log in
        client.sendall(b"\x05\x00")
        kind = exactly(client, 4)[3]
        if kind == 1:
            host = socket.inet_ntoa(exactly(client, 4))
        else:
            host = exactly(client, exactly(client, 1)[0]).decode()
        port = int.from_bytes(exactly(client, 2), "big")
        self.server.asked.add(f"{host}:{port}")
        with socket.create_connection((host, port)) as target:
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            back = threading.Thread(target=pass_on, args=(target, client), daemon=True)
            back.start()
            pass_on(client, target)
            back.join()


class SocksServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Visitor)
        self.asked = set()  # "host:port"
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Whoever asked for a port on which nobody listens sees that the connection is closed."""

    def close(self):
        self.shutdown()
        self.server_close()
