#!/bin/bash
# Print the address of the Debian mirror that this machine uses.
set -euo pipefail
shopt -s nullglob
cd /etc/apt
awk '
  /^URIs:/ { print $2; exit }
  /^deb / { sub(/\[[^]]*\]/, ""); print $2; exit }
' sources.list.d/debian*.sources sources.list.d/*.sources sources.lis[t] </dev/null | grep .
