#!/bin/bash
# Run what uses the C files under gcc's sanitizers: memory and undefined behaviour with
# PYTHON, data races with a Python without the GIL, which hides them (freethreaded.sh).
# Nothing of it stays in the working tree. Some six minutes.
# Usage: sanitize.sh PYTHON   one that has the dependency group test, and setuptools
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WEBSOCK_SPEEDUPS=require

# Sanitizers come with the compiler, and must be in the process before Python is.
library() {
  local path
  path=$(gcc -print-file-name="$1" 2>/dev/null || true)
  case $path in
    /*) echo "$path" ;;
    *)
      echo "sanitize.sh: $1 of gcc is missing; get it with: apt-get install gcc" >&2
      exit 1
      ;;
  esac
}
asan=$(library libasan.so)
ubsan=$(library libubsan.so)
tsan=$(library libtsan.so)

# A copy of the tree, with its C files built by $2 with the sanitizers $3.
build() {
  mkdir "$work/$1"
  cp -r "$root"/{websock,tests,examples,docs,setup.py,pyproject.toml,README.md} "$work/$1"
  rm -f "$work/$1"/websock/*.so
  cd "$work/$1"
  local flags="-g -O1 -fno-omit-frame-pointer -fsanitize=$3"
  CFLAGS=$flags LDFLAGS=$flags "$2" setup.py -q build_ext --inplace
  export PYTHONPATH=$PWD
}

echo "== memory and undefined behaviour"
build address "$python" address,undefined
LD_PRELOAD="$asan $ubsan" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
  "$python" -m pytest -q -p no:cacheprovider --timeout 300 \
  tests/test_link*.py tests/test_masking.py tests/integration \
  --ignore tests/integration/test_foreign_clients.py

echo "== data races"
free=$("$here/freethreaded.sh")
"$free" -m venv "$work/venv"
# Of an older version, where no wheel of the newest fits; as in noxfile.py.
"$work/venv/bin/pip" install -q --only-binary=:all: \
  h11 hypothesis pytest pytest-timeout 'setuptools>=77'
build thread "$work/venv/bin/python" thread
# Addresses that aren't chosen at random: newer kernels have them where this sanitizer
# keeps its own. Python itself isn't instrumented: what it does is none of our business;
# nor is seen that whoever drops the last reference is the last one to touch a thing.
printf 'race:%s\n' link_dealloc corks_dealloc >"$work/suppressions"
races=ignore_noninstrumented_modules=1:report_signal_unsafe=0
fixed=()
setarch -R true 2>/dev/null && fixed=(setarch -R)
LD_PRELOAD=$tsan TSAN_OPTIONS=$races:suppressions=$work/suppressions \
  "${fixed[@]}" "$work/venv/bin/python" -m pytest -q -p no:cacheprovider --timeout 300 \
  tests/test_link*.py tests/integration/test_{fast_path,fast_path_leaks,lost_peers,stress}.py
