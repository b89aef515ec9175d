#!/usr/bin/env bash
# Damages model files at random and reads them with the program's readers, built with the address and undefined-behavior sanitizers.
#
#     scripts/fuzz.sh [SECONDS [SEED]]      default: 600 seconds, a seed of the clock
#
# Needs what scripts/setup.sh --tests installs. A failure prints its round and seed, and leaves the damaged file in build-asan/fuzz-work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset asan >/dev/null
ninja -C build-asan fuzz_model_files
# As in CMakePresets.json, and what a damaged file claims must not be allocated.
export ASAN_OPTIONS="detect_leaks=0:max_allocation_size_mb=512:allocator_may_return_null=0:handle_abort=1" UBSAN_OPTIONS=print_stacktrace=1
export OMP_NUM_THREADS=1
exec .venv/bin/python tests/fuzz/fuzz_model_files.py build-asan/tests/fuzz/fuzz_model_files build-asan/fuzz-work --seconds "${1:-600}" --seed "${2:-$(date +%s)}"
