#!/bin/bash
# Print the address of the Debian mirror that this machine uses.
set -euo pipefail
cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
  sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' |
  grep -v security | head -1 | grep .
