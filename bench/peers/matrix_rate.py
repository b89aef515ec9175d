"""How many floating-point operations a second torch's matrix product reaches on one core: the limit that arithmetic sets.

    matrix_rate.py [--side 2048] [--repeat 9]

Prints JSON: the rate of the fastest product, in GFLOP/s.
"""
import argparse
import json
import time

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    a, b = torch.randn(2, options.side, options.side)
    out = torch.mm(a, b)
    seconds = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"gflops": 2 * options.side ** 3 / min(seconds) / 1e9}))


if __name__ == "__main__":
    main()
