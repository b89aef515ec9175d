#!/usr/bin/env bash
# Makes the demo's base model again, models/demo-base: an autoencoder from fresh weights, then UNet and text encoder on
# emoji other than the demo's 12 characters. About an hour on two cores; interrupted, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
work=demo/base-work
kessoku=build/kessoku
ranks() { OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --bind-to none --oversubscribe -n 2 "$@"; }

mkdir -p "$work"
[ -e "$work/data/dataset.json" ] || .venv/bin/python scripts/make_demo_data.py "$work/data" --base
[ -e "$work/fresh/model_index.json" ] || "$kessoku" init --preset tiny "$work/fresh" --seed 1
ranks "$kessoku" prepare "$work/data" --out "$work/images" --resolution 64 --keep images
ranks "$kessoku" train configs/demo-vae.toml --out "$work/vae-run"
cp -rL "$work/vae-run/checkpoints/latest" "$work/autoencoder.tmp" && rm -rf "$work/autoencoder" "$work/autoencoder.tmp/state"
mv "$work/autoencoder.tmp" "$work/autoencoder"
ranks "$kessoku" prepare "$work/data" --out "$work/moments" --model "$work/autoencoder" --resolution 64 --keep moments
ranks "$kessoku" train configs/demo-base.toml --out "$work/base-run"

# The tokenizer is fetched at set-up and the training state is not needed: neither goes into the repository.
rm -rf models/demo-base
cp -rL "$work/base-run/checkpoints/latest" models/demo-base
rm -rf models/demo-base/state models/demo-base/tokenizer
mkdir models/demo-base/training
for part in vae base; do
  gzip -9 -c "$work/$part-run/log.jsonl" >"models/demo-base/training/$part-log.jsonl.gz"
  cp "$work/$part-run/config.toml" "models/demo-base/training/$part-config.toml"
done
"$kessoku" report "$work/base-run"
echo "models/demo-base is made; how it was trained: models/demo-base/training and $work/base-run/report.html"
