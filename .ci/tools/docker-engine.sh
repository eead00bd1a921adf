#!/bin/bash
# Run a command with a Docker engine at hand.
# Usage: docker-engine.sh CMD ARG...    the exit status is CMD's
# An engine that answers already is used as it is. Otherwise root on Debian gets one of
# its own for the time of CMD, with a stand-in for the base image made of Debian packages,
# because a machine without an engine often reaches no image registry either (about 45 s
# the first time, 5 s later). Anybody else runs CMD without an engine: under CI=true that
# is a failure.
# The stand-in carries this machine's CA certificates and settings of pip: never publish
# it. Image size, Python's patch level and layout differ from the real one. Build with
# --network=host; no "# syntax=" line, RUN heredoc, COPY --link or @sha256 pin.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if docker version >/dev/null 2>&1; then exec "$@"; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'No Docker engine answers. Start one, or on Debian:\n    sudo make docker-test\n' >&2
  [ "${CI:-}" != true ] || exit 1
  exec "$@"
fi

W=${DOCKER_STANDIN:-${XDG_CACHE_HOME:-$HOME/.cache}/websock-tools/docker}
mkdir -p "$W"
exec 9>"$W/lock"
flock 9 # One engine at a time: they would share a socket and a data folder.
command_path=$PATH
export PATH=/usr/bin:/usr/sbin:$PATH
missing=()
[ -x /usr/bin/docker ] && command -v dockerd >/dev/null || missing+=(docker.io)
command -v docker-compose >/dev/null || missing+=(docker-compose)
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
[ "${#missing[@]}" = 0 ] || "$here/apt.sh" "${missing[@]}" >&2

if [ ! -s "$W/python.tar" ]; then
  sources=$(find /etc/apt/sources.list.d -name '*.sources' | head -1)
  TMPDIR=/dev/shm mmdebstrap -q --variant=minbase \
    --include=ca-certificates,netbase,tzdata,python3-minimal,python3-pip,python3-venv \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED
      ln -s /usr/bin/python3 "$1"/usr/local/bin/python3
      ln -s python3 "$1"/usr/local/bin/python
      ln -s /usr/bin/pip3 "$1"/usr/local/bin/pip' \
    --customize-hook='cp /usr/local/share/ca-certificates/*.crt "$1"/usr/local/share/ca-certificates/ 2>/dev/null
      chroot "$1" update-ca-certificates >/dev/null
      if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$1"/etc/pip.conf; fi' \
    bookworm "$W/python.part" "${sources:-/etc/apt/sources.list}" --format=tar \
    >"$W/python.log" 2>&1 9>&- || {
    tail "$W/python.log" >&2
    exit 1
  }
  mv "$W/python.part" "$W/python.tar"
fi

export DOCKER_HOST=unix://$W/docker.sock DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
dockerd --data-root "$W/data" --exec-root "$W/exec" -p "$W/dockerd.pid" -H "$DOCKER_HOST" \
  --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
  >"$W/dockerd.log" 2>&1 9>&- &
engine=$!
finish() {
  set +e
  docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1
  kill -TERM "$engine"
  for _ in $(seq 150); do
    kill -0 "$engine" 2>/dev/null || break
    sleep .1
  done
  umount "$W/exec/netns/default" 2>/dev/null
}
trap finish EXIT
for _ in $(seq 150); do
  docker version >/dev/null 2>&1 && break
  kill -0 "$engine" || {
    tail "$W/dockerd.log" >&2
    exit 1
  }
  sleep .1
done
base=$(sed -n 's/^ARG BASE=//p' "$here/../../Dockerfile")
docker image inspect "$base" >/dev/null 2>&1 ||
  docker import -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    -c 'ENV LANG=C.UTF-8' -c 'CMD ["python3"]' "$W/python.tar" "$base" >/dev/null
PATH=$command_path "$@" 9>&-
