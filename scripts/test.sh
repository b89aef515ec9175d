#!/usr/bin/env bash
# Sets up all that the tests need, builds, and runs them; the last line is "N passed, N failed".
#
#     scripts/test.sh                       all but the nightly tests, and a quarter of these, which the
#                                           commit decides (scripts/nightly_sample.py)
#     scripts/test.sh --all                 all
#     scripts/test.sh CTEST_ARGUMENTS...    those that CTest selects: -R sampling_test, -L nightly
#
# KESSOKU_TEST_SEED decides what tests draw by chance; the commit does where it is not set.
# Exit code 0 when at least one test ran and none failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --tests
[ ! -x .venv/bin/cmake ] || PATH=$PWD/.venv/bin:$PATH  # where the system's is too old
export KESSOKU_DEVICE=${KESSOKU_DEVICE:-cpu}  # also where there are GPUs; scripts/gpu_selftest.sh tests those
commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0)
export KESSOKU_TEST_SEED=${KESSOKU_TEST_SEED:-$((16#$commit))}
echo "test.sh: commit $commit, KESSOKU_TEST_SEED=$KESSOKU_TEST_SEED"
selected=("$@")
if [ $# = 0 ]; then
  left_out=$(ctest --test-dir build --show-only=json-v1 | .venv/bin/python scripts/nightly_sample.py "$commit")
  selected=(--exclude-regex "$left_out")
elif [ "$1" = --all ]; then
  selected=("${@:2}")
fi

results=$PWD/build/test-results.xml
rm -f "$results"
status=0
ctest --test-dir build --output-on-failure -j "$(nproc)" --output-junit "$results" "${selected[@]}" || status=$?

ctest --test-dir build --show-only=json-v1 | .venv/bin/python scripts/test_summary.py "$results" "$status"
