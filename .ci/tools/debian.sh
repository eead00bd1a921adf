#!/bin/bash
# Get the programs that the tests need and that are not Python packages.
# Usage: debian.sh
# Root on Debian installs what is missing; anybody else is told what is missing, and
# the command for it. What is missing in the end is a failure.
set -euo pipefail
here=$(dirname "$0")

# Program, and the Debian package that has it.
programs='
chromium        chromium
firefox-esr     firefox-esr
node            nodejs
npm             npm
openssl         openssl
gcc             gcc
nginx           nginx-light
systemd-analyze systemd
docker          docker.io
docker-compose  docker-compose
debootstrap     debootstrap
mmdebstrap      mmdebstrap
'

missing() {
  local program package
  while read -r program package; do
    [ -n "$program" ] || continue
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || echo "$package"
  done <<<"$programs"
  # For the C accelerator: the headers of the C library and of Python.
  [ -e /usr/include/stdio.h ] || echo libc6-dev
  # For the load generator of the benchmarks.
  [ -e /usr/include/zlib.h ] || echo zlib1g-dev
  "${PYTHON:-python3}" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
' || echo python3-dev
  # A Docker engine that answers is all that is needed of Docker.
  docker version >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v dockerd >/dev/null || echo docker.io
}

mapfile -t packages < <(missing | sort -u)
[ "${#packages[@]}" != 0 ] || exit 0
"$here/apt.sh" "${packages[@]}"
mapfile -t packages < <(missing | sort -u)
[ "${#packages[@]}" != 0 ] || exit 0
echo "Debian's packages are installed, but this is still missing: ${packages[*]}" >&2
exit 1
