#!/bin/bash
# Install Debian packages, also while somebody else holds the locks of apt.
# Usage: apt.sh PACKAGE...    root only
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The option is for dpkg's lock alone; the one of the package lists has none.
try() {
  for _ in $(seq 60); do
    "$@" >"$log" 2>&1 && return
    grep -q 'Could not get lock' "$log" || break
    sleep 5
  done
  tail -20 "$log" >&2
  return 1
}
echo "apt-get install $*"
try apt-get update -q
try apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
