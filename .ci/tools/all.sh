#!/bin/bash
# Get everything that the tests need and that is no Python package: at once where it is
# there already, in about five minutes on a new machine.
# Usage: all.sh
# Each script says what is missing in the end, and the command for it. That is a failure
# for root, who can have everything on Debian, and under CI=true; for anybody else, the
# tests that need it are skipped.
set -euo pipefail
cd "$(dirname "$0")"
failed=0
./debian.sh || failed=1
jobs=("./node.sh" "./dart.sh setup" "./freethreaded.sh" "./bench.sh" "./docker-engine.sh true")
pids=()
for job in "${jobs[@]}"; do
  $job >/dev/null &
  pids+=($!)
done
for i in "${!jobs[@]}"; do
  wait "${pids[$i]}" || {
    echo "${jobs[$i]} failed" >&2
    failed=1
  }
done
[ "$failed" = 1 ] || exit 0
[ "$(id -u)" != 0 ] && [ "${CI:-}" != true ] || exit 1
echo "Tests that need what is missing will be skipped." >&2
