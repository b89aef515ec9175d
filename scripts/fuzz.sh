#!/usr/bin/env bash
# Damages model files at random and reads them with the program's readers, built with the address and undefined-behavior sanitizers.
#
#     scripts/fuzz.sh [SECONDS [SEED]]      default: 600 seconds, a seed of the clock
#
# Needs what scripts/setup.sh --tests installs. A failure prints its round and seed, and leaves the damaged file in build/fuzz/work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=Release -DKESSOKU_TESTS=ON -DCMAKE_CXX_FLAGS="$flags" >/dev/null
ninja -C build/fuzz fuzz_model_files
# LibTorch is not instrumented, and leaves what it made at the start to the end.
export ASAN_OPTIONS="detect_leaks=0:max_allocation_size_mb=512:allocator_may_return_null=0:handle_abort=1" UBSAN_OPTIONS=print_stacktrace=1
export OMP_NUM_THREADS=1
exec .venv/bin/python tests/fuzz/fuzz_model_files.py build/fuzz/tests/fuzz/fuzz_model_files build/fuzz/work --seconds "${1:-600}" --seed "${2:-$(date +%s)}"
