#!/bin/bash
# Install the servers beside which the benchmarks measure, once per machine.
# Usage: bench.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python3}" -m benchmarks --prepare
