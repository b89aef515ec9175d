#!/usr/bin/env bash
# Puts into FOLDER what a container needs to run the program that scripts/setup.sh has built: kessoku.deb, which depends
# on the system's packages, and lib/, which belongs into /usr/lib/kessoku: LibTorch and its CUDA libraries.
#
#     scripts/containers/collect.sh FOLDER
set -euo pipefail
[ $# = 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cpack --config build/CPackConfig.cmake -G DEB -B "$out/package" >"$out/cpack.log" ||
  { cat "$out/cpack.log" >&2; exit 70; }
mv "$out"/package/*.deb "$out/kessoku.deb"
site=$(echo .venv/lib/python3*/site-packages)
for libraries in "$site"/torch/lib "$site"/nvidia/*/lib; do
  folder=$out/lib/$(dirname "${libraries#"$site"/}")
  mkdir -p "$folder"
  cp -a "$libraries" "$folder"
done
rm -r "$out/package" "$out/cpack.log"
