#!/bin/bash
# Run one stage of the tests, and say how it ended.
# Usage: stage.sh NAME CMD ARG...    the exit status is CMD's
# In the file $WEBSOCK_STAGES, if that is set, one line is kept for each stage.
set -uo pipefail
name=$1
shift
printf '== %s: %s\n' "$name" "$*"
start=$SECONDS
"$@"
status=$?
[ "$status" = 0 ] && end=passed || end="FAILED (status $status)"
line="$name $end in $((SECONDS - start)) s"
if [ -n "${WEBSOCK_STAGES:-}" ]; then echo "$line" >>"$WEBSOCK_STAGES"; fi
# The last word belongs to the test runner: its closing line is the one that is read.
if [ "$status" != 0 ] || [ -z "${WEBSOCK_LAST_STAGE:-}" ]; then printf '== %s\n' "$line"; fi
exit "$status"
