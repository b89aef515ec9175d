#!/usr/bin/env bash
# Runs a command where /usr/local/include and the CUDA toolkits in /usr/local are empty, as they are
# on a clean machine.
#
#     scripts/hide_toolkits.sh COMMAND...
#
# Only the command sees it so. Where mounting is not permitted the command runs with everything
# visible, after a warning.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }

if ! unshare --mount true 2>/dev/null; then
  echo "hide_toolkits: mounting is not permitted here: what lies in /usr/local stays visible" >&2
  exec "$@"
fi
exec unshare --mount bash -euc '
  for folder in /usr/local/include /usr/local/cuda*; do
    if [ -d "$folder" ] && [ ! -L "$folder" ]; then mount -t tmpfs -o ro,size=4k empty "$folder"; fi
  done
  exec "$@"' hide_toolkits "$@"
