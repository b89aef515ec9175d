#!/bin/sh
# The command `kessoku` of an installed tree: says where LibTorch is, then starts the program, which
# lies in ../lib/kessoku. LIBTORCH_ROOT is an unpacked LibTorch, or site-packages/torch of a wheel;
# without it ../lib/kessoku/torch must be one, or a link to one.
program=$(dirname "$(dirname "$(readlink -f "$0")")")/lib/kessoku
root=${LIBTORCH_ROOT:-$program/torch}
if [ ! -e "$root/lib/libtorch_cpu.so" ]; then
  echo "kessoku: no LibTorch at $root: set LIBTORCH_ROOT, or link $program/torch to it" >&2
  exit 64
fi
if [ -n "${LIBTORCH_ROOT:-}" ]; then
  root=$(readlink -f "$LIBTORCH_ROOT")
  # NCCL's wheel lies beside LibTorch's.
  LD_LIBRARY_PATH=$root/lib:$root/../nvidia/nccl/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
fi
exec "$program/kessoku" "$@"
