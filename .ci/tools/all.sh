#!/bin/bash
# Get everything that the tests need and that is no Python package: at once where it is
# there already, in about five minutes on a new machine.
# Usage: all.sh
# What only root on Debian can have is left out for others; under CI=true it must be there.
set -euo pipefail
cd "$(dirname "$0")"
./debian.sh
jobs=("./node.sh")
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  jobs+=("./dart.sh setup" "./freethreaded.sh" "./docker-engine.sh true")
fi
pids=()
for job in "${jobs[@]}"; do
  $job >/dev/null &
  pids+=($!)
done
failed=0
for i in "${!jobs[@]}"; do
  wait "${pids[$i]}" || {
    echo "${jobs[$i]} failed" >&2
    failed=1
  }
done
exit "$failed"
