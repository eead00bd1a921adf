#!/bin/bash
# Install the Node.js packages that the tests use as foreign peers, in the versions of
# node/package-lock.json, in the cache folder (a few seconds).
# Usage: node.sh    prints the folder for NODE_PATH
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/websock-tools/node
if ! cmp -s "$here/node/package-lock.json" "$dir/installed.json"; then
  command -v npm >/dev/null || {
    echo "npm is missing; get it with: sudo apt-get install npm" >&2
    exit 1
  }
  rm -rf "$dir"
  mkdir -p "$dir"
  cp "$here"/node/package*.json "$dir"
  npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  cp "$here/node/package-lock.json" "$dir/installed.json"
fi
echo "$dir/node_modules"
