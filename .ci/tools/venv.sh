#!/bin/bash
# Make a virtual environment with a pip that knows dependency groups.
# Usage: venv.sh PYTHON DIR
# Debian keeps what this needs in python3-venv: root gets it, others are told how.
set -euo pipefail
python=$1 dir=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "websock needs Python 3.11 or newer, but $python is $("$python" -V 2>&1)." >&2
  echo "Name another one: make PYTHON=python3.12" >&2
  exit 1
}
if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  "$python" -m venv "$dir"
elif command -v virtualenv >/dev/null; then
  virtualenv -q -p "$python" "$dir"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  "$(dirname "$0")/apt.sh" python3-venv
  "$python" -m venv "$dir"
else
  echo "$python makes no virtual environments. On Debian, run this, and then make again:" >&2
  echo "    sudo apt-get install python3-venv" >&2
  exit 1
fi
"$dir/bin/python" -m pip install -q --disable-pip-version-check -U 'pip>=25.1'
