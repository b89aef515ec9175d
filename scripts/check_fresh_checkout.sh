#!/usr/bin/env bash
# Proves that the last commit sets itself up without the tests' packages and runs: clones it into a
# temporary folder, runs scripts/setup.sh there, makes a model and inspects it. ccache makes the
# second build of a commit short.
#
#     scripts/check_fresh_checkout.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet "$(dirname "${BASH_SOURCE[0]}")/.." "$work/kessoku"
cd "$work/kessoku"
scripts/setup.sh
build/kessoku --version
build/kessoku init --preset tiny "$work/model"
build/kessoku inspect "$work/model" >/dev/null
if .venv/bin/python -c 'import diffusers' 2>/dev/null; then
  echo "check_fresh_checkout: scripts/setup.sh installed packages of the tests" >&2
  exit 1
fi
echo "check_fresh_checkout: a bare clone builds and runs"
