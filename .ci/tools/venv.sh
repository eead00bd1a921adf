#!/bin/bash
# Make a virtual environment, with a pip that knows dependency groups, and with what
# builds the package (pyproject.toml, build-system), so that no build has to fetch it.
# Usage: venv.sh PYTHON DIR
# What DIR has of the same version of Python stays; a file DIR/.venv says that it's done.
# Debian keeps what this needs in python3-venv: root gets it, others are told how.
set -euo pipefail
python=$1 dir=$2
version() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "websock needs Python 3.11 or newer, but $python is $("$python" -V 2>&1)." >&2
  echo "Name another one: make PYTHON=python3.12" >&2
  exit 1
}
if [ "$(version "$python")" = "$(version "$dir/bin/python")" ]; then
  [ "$dir/.venv" -nt "$0" ] && exit
elif [ -e "$dir" ]; then
  echo "$dir has another Python; it's made anew." >&2
  rm -rf "$dir"
fi
echo "Making a virtual environment in $dir ..."
if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  "$python" -m venv "$dir"
elif command -v virtualenv >/dev/null; then
  virtualenv -q -p "$python" "$dir"
else
  echo "$python makes no virtual environments yet." >&2
  "$(dirname "$0")/apt.sh" python3-venv
  "$python" -m venv "$dir"
fi
"$dir/bin/python" -m pip install -q --disable-pip-version-check -U 'pip>=25.1' 'setuptools>=77'
touch "$dir/.venv"
