#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace kessoku::tests {

/// What an HTTP client gets from 127.0.0.1:`port`, headers and all. `headers` end with \r\n each.
inline std::string ask(int port, const std::string& request_line, const std::string& headers = "") {
  const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(static_cast<uint16_t>(port));
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(connection, reinterpret_cast<sockaddr*>(&place), sizeof(place)), 0);
  const std::string request =
      request_line + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + "\r\n";
  EXPECT_EQ(::send(connection, request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char piece[4096];
  for (ssize_t got = 0; (got = ::recv(connection, piece, sizeof(piece), 0)) > 0;)
    answer.append(piece, got);
  ::close(connection);
  return answer;
}

inline std::string scrape(int port) { return ask(port, "GET /metrics"); }

}  // namespace kessoku::tests
