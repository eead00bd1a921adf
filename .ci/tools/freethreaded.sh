#!/bin/bash
# Build free-threaded CPython 3.13 (no GIL) from Debian's source package, once per
# machine (about 3.5 minutes, 420 MB, needs a C compiler and root on Debian).
# Usage: freethreaded.sh [DIR]   default: ${XDG_CACHE_HOME:-$HOME/.cache}/websock-tools/py313t
# Prints the interpreter's path last; returns at once where it is built already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/websock-tools/py313t}
py=$dir/bin/python3.13t
ready() { [ -x "$py" ] && "$py" -c 'import ssl, sys, zlib; sys.exit(sys._is_gil_enabled())'; }
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9 # Two runs at once would build in one folder.
if ready; then
  echo "$py"
  exit
fi
version=${PY313_SOURCE:-3.13.15-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # no shims of other Pythons

# What its modules ssl, zlib and ctypes are compiled with.
headers=()
for pair in openssl/ssl.h:libssl-dev zlib.h:zlib1g-dev ffi.h:libffi-dev; do
  find /usr/include -path "*/${pair%%:*}" | grep . >/dev/null || headers+=("${pair##*:}")
done
command -v xz >/dev/null || headers+=(xz-utils)
command -v gcc >/dev/null || headers+=(gcc libc6-dev)
[ "${#headers[@]}" = 0 ] || "$here/apt.sh" "${headers[@]}" >&2

mirror=$("$here/mirror.sh")
mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial,etc}
: >"$work/apt/state/status"
for suite in trixie forky sid; do
  printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
    "$mirror" "$suite" /usr/share/keyrings/debian-archive-keyring.gpg
done >"$work/apt/etc/debian.sources"
cat >"$work/apt/apt.conf" <<X
Dir::State "$work/apt/state"; Dir::State::status "$work/apt/state/status"; Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/etc/debian.sources"; Dir::Etc::sourceparts "/nonexistent";
APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false";
X
cd "$work"
{
  APT_CONFIG=$work/apt/apt.conf apt-get update
  # The .dsc and the Debian part may be missing; the upstream tarball is what is built,
  # and apt has checked its hash.
  APT_CONFIG=$work/apt/apt.conf apt-get source --download-only "python3.13=$version" ||
    ls python3.13_*.orig.tar.xz
  mkdir src
  tar xf python3.13_*.orig.tar.xz -C src --strip-components=1
  cd src
  ./configure --disable-gil --prefix="$dir" --with-ensurepip=install
  make -j"$(nproc)"
  make install
} >"$work/log" 2>&1 || {
  tail -40 "$work/log" >&2
  exit 1
}
ready
echo "$py"
