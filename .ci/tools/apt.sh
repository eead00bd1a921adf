#!/bin/bash
# Install Debian packages, also while somebody else holds the locks of apt.
# Usage: apt.sh PACKAGE...
# Only root on Debian can; anybody else is told the command, and that is a failure.
set -euo pipefail
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'These Debian packages are missing: %s\n    %s %s\n' \
    "$*" "sudo apt-get install --no-install-recommends" "$*" >&2
  exit 1
fi
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
