#!/bin/bash
# Build free-threaded CPython 3.13 (no GIL) from the source package of Debian 13, once per
# machine (about 3.5 minutes, 420 MB, needs Debian's apt-get and a C compiler; root also
# gets the compiler and the headers).
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
if ready 2>/dev/null; then
  echo "$py"
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # no shims of other Pythons

# What its modules ssl, zlib and ctypes are compiled with.
packages=()
for pair in openssl/ssl.h:libssl-dev zlib.h:zlib1g-dev ffi.h:libffi-dev; do
  find /usr/include -path "*/${pair%%:*}" | grep . >/dev/null || packages+=("${pair##*:}")
done
command -v xz >/dev/null || packages+=(xz-utils)
command -v make >/dev/null || packages+=(make)
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
[ "${#packages[@]}" = 0 ] || "$here/apt.sh" "${packages[@]}" >&2

# Lists of packages of our own: the machine's stay as they are, and nobody needs be root.
# Those of a released Debian don't expire, so that apt's check of dates needs no setting.
mirror=$("$here/mirror.sh")
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial}
: >"$work/apt/status"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
  >"$work/apt/sources.list"
cat >"$work/apt/apt.conf" <<X
Dir::State "$work/apt"; Dir::State::status "$work/apt/status"; Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/sources.list"; Dir::Etc::sourceparts "/nonexistent";
APT::Sandbox::User "$(id -un)"; Acquire::Languages "none";
X
export APT_CONFIG=$work/apt/apt.conf
cd "$work"
{
  apt-get update -q
  apt-get source -q --download-only --tar-only python3.13
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
