#!/usr/bin/env bash
# The main job, end to end: sets up, makes a dataset of captioned images, prepares a store, fine-tunes the small base
# model over two ranks, makes images, measures them and draws the report. Prints where everything is.
#
#     scripts/demo.sh
#
# What is there already is used again. Everything is made below demo/; remove that folder to begin anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
began=$SECONDS

scripts/setup.sh
python=.venv/bin/python
kessoku=build/kessoku
run=demo/run

say() { printf 'demo:  %s\n' "$*"; }
# Two ranks, as on a machine with two GPUs; Open MPI wants to be told that root means it.
ranks() { OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --bind-to none --oversubscribe -n 2 "$@"; }
# stoppable COMMAND…: Ctrl-C makes mpirun kill its ranks after one second. So it runs out of the terminal's reach, and what it is sent instead,
# SIGUSR1, leaves it the time for a checkpoint; then it ends with 75.
stoppable() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 setsid "$@" &
  local job=$! status=0
  trap 'kill -USR1 "$job" 2>/dev/null' INT TERM
  wait "$job" || status=$?
  if kill -0 "$job" 2>/dev/null; then  # the signal ended the first wait
    status=0
    wait "$job" || status=$?
  fi
  trap - INT TERM
  return $status
}
# once STAMP SENTENCE COMMAND…: runs the command unless STAMP is there.
once() {
  local stamp=$1 sentence=$2
  shift 2
  if [ -e "$stamp" ]; then
    say "$sentence: already there"
  else
    say "$sentence"
    "$@"
  fi
}

assemble_base() {  # the base model lies in the repository without the tokenizer, which set-up fetches
  rm -rf demo/base.tmp demo/base
  cp -r models/demo-base demo/base.tmp
  cp -r models/clip-tokenizer demo/base.tmp/tokenizer
  mv demo/base.tmp demo/base
}

# images MODEL OUT: the 96 single-character and the 48 pair prompts.
images() {
  "$kessoku" sample "$1" --prompts demo/prompts/singles.txt --out "$2.tmp/singles" --cfg 4 --steps 20 --seed 1000 --columns 12
  "$kessoku" sample "$1" --prompts demo/prompts/pairs.txt --out "$2.tmp/pairs" --cfg 4 --steps 20 --seed 2000 --columns 8 --size 80x48
  mv "$2.tmp" "$2"
}
measure() {  # measure FOLDER LABEL
  "$python" scripts/demo_measure.py score demo/data demo/prompts/prompts.json \
    --singles "$1/singles" --pairs "$1/pairs" --label "$2" --out "$1/measures.json"
}
# show MODEL FOLDER LABEL: makes the images and measures them. Statements, not &&: a failure must end the script.
show() {
  rm -rf "$2" "$2.tmp"
  images "$1" "$2"
  measure "$2" "$3"
}

mkdir -p demo
once demo/data/dataset.json "dataset in demo/data" "$python" scripts/make_demo_data.py demo/data
once demo/base/model_index.json "base model in demo/base" assemble_base
once demo/prompts/prompts.json "prompts to measure by in demo/prompts" \
  "$python" scripts/demo_measure.py prompts demo/data demo/prompts
say "store in demo/store"
ranks "$kessoku" prepare demo/data --out demo/store --model demo/base --resolution 64 --keep moments
once demo/before/measures.json "images before fine-tuning in demo/before" \
  show demo/base demo/before "before fine-tuning"
say "training in $run (Ctrl-C stops with a checkpoint; the same command resumes)"
stoppable mpirun --bind-to none --oversubscribe -n 2 "$kessoku" train configs/demo.toml --out "$run"
once demo/after/measures.json "images after fine-tuning in demo/after" \
  show "$run" demo/after "after fine-tuning"
"$python" scripts/demo_measure.py join "$run/measures.json" demo/before/measures.json demo/after/measures.json
"$kessoku" report "$run"

cat <<END

done in $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s
images   demo/after/singles/grid.png and demo/after/pairs/grid.png; before: demo/before
over time  $run/samples/step-*/grid.png
report     $run/report.html
model      $run/checkpoints/latest (a diffusers folder)
more       build/kessoku sample $run --prompt "maru and kita, screenshot, blue background" --size 80x48
END
