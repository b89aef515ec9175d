#!/usr/bin/env bash
# Tests all that depends on GPUs on a machine that has them, and reports how fast it trains there.
#
#     scripts/gpu_selftest.sh [--quick]        --quick: without the nightly tests and the report (some minutes instead of half an hour)
#     scripts/gpu_selftest.sh --stand-ins      the same steps, made short, on what stands in for GPUs where there are none
#     scripts/gpu_selftest.sh --bundle         in a bundle that scripts/from_bundle.sh has built: what says most in 8 minutes on one GPU
#
# The tests are those with the label `device`, which otherwise run on CPUs: every collective, gradients, whole trainings against
# PyTorch, resume, networks and images against diffusers, and the world-size test over all GPUs. Those that need more GPUs than there are
# are skipped. The report goes to bench/results/gpu.json too. Exit code 0: all passed; 69: no GPU; else what failed is listed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=no stand_ins=no bundle=no
for word in "$@"; do
  case "$word" in
    --quick) quick=yes ;;
    --stand-ins) stand_ins=yes ;;
    --bundle) bundle=yes ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done

if [ $bundle = yes ]; then
  python=$(sed -n 's/^KESSOKU_PYTHON:[A-Z]*=//p' build/CMakeCache.txt 2>/dev/null || true)
  [ -x build/kessoku ] && [ -d bundle ] || { echo "selftest: no bundle is built here: run scripts/from_bundle.sh first" >&2; exit 64; }
  command -v "$python" >/dev/null || { echo "selftest: no Python: set KESSOKU_PYTHON and run scripts/from_bundle.sh again" >&2; exit 64; }
  options=()
  [ $stand_ins = no ] || options=(--stand-ins)
  exec "$python" scripts/bundle_selftest.py "${options[@]}"
fi

no_gpu() { echo "selftest: no GPU here ($1)" >&2; exit 69; }

export KESSOKU_DEVICE=cuda
if [ $stand_ins = yes ]; then
  export LD_LIBRARY_PATH=$PWD/build/tests/stand_ins KESSOKU_STAND_IN_GPUS=3
  gpus=3
  echo "selftest: $gpus stand-ins for GPUs; what follows says nothing about speed"
else
  gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
  [ "$gpus" != 0 ] || no_gpu "nvidia-smi lists none"
  nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv
  nvidia-smi topo -m || true
  scripts/setup.sh --device-tests
  [ ! -x .venv/bin/cmake ] || PATH=$PWD/.venv/bin:$PATH  # where the system's is too old
  gpus=$(.venv/bin/python -c 'import torch; print(torch.cuda.device_count())')
  [ "$gpus" != 0 ] || no_gpu "PyTorch sees none: CUDA_VISIBLE_DEVICES may hide them"
fi
export KESSOKU_MOST_RANKS=$gpus

status=0
# One at a time: they share the GPUs. What stands in for GPUs elsewhere is left out here.
left_out=stand_ins
[ $quick = no ] || left_out+="|nightly"
tests=(ctest --test-dir build --output-on-failure -L device -LE "$left_out")
if [ $stand_ins = yes ]; then
  "${tests[@]}" -R '^communicator_[1-4]_ranks$' || status=1
  .venv/bin/python bench/gpu.py build/kessoku --preset tiny --precision bf16 --resolution 64 --local-batches 2 --gpus 1,2 --steps 4 || status=1
else
  "${tests[@]}" || status=1
  if [ $quick = no ]; then
    .venv/bin/python bench/gpu.py build/kessoku --out bench/results/gpu.json || status=1
  fi
fi
[ $status = 0 ] && echo "selftest: passed on $gpus GPUs" || echo "selftest: FAILED" >&2
exit $status
