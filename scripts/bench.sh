#!/usr/bin/env bash
# Measures Kessoku beside what a user would pick instead, and writes bench/RESULTS.md.
#
#     scripts/bench.sh             all comparisons, some two hours on two cores
#     scripts/bench.sh NAME...     these
#     scripts/bench.sh --list      lists them
#
# Sets up and builds first, as scripts/test.sh does. Nothing else should use the machine meanwhile.
# Each comparison writes bench/results/NAME.json. Exit code 1: one of them failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --list ]; then
  exec python3 bench/suite.py --list
fi
scripts/setup.sh --tests
export KESSOKU_DEVICE=${KESSOKU_DEVICE:-cpu}  # also where there are GPUs; bench/gpu.py measures those
exec .venv/bin/python bench/suite.py "$@"
