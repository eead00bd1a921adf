#!/bin/bash
# A Dart SDK, the Flutter framework with its headless tester, and the package
# web_socket_channel, in a Debian sid root below the cache folder (about 50 seconds once
# per machine, 1.1 GB, root only). None of it is installed on the machine itself.
# Usage: dart.sh setup                     make the root, once
#        dart.sh config APPDIR NAME        write APPDIR/.dart_tool/package_config.json
#                                          (replaces "dart pub get")
#        dart.sh run WORKDIR CMD ARG...    run CMD in the root; WORKDIR is /w there;
#                                          the loopback interface is shared
#        dart.sh widget-test WORKDIR FILE  compile and run one Flutter widget test (path
#                                          as seen in the root, /w/...)
# A widget test needs "HttpOverrides.global = null" and tester.runAsync for real network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${DART_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/websock-tools/dart}
tools_path=$PATH
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

inside() {
  local work=$1
  shift
  mkdir -p "$root/w"
  unshare -m bash -c 'mount -t proc proc "$0/proc"
    [ -z "$1" ] || mount --bind "$1" "$0/w"
    shift
    exec env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      PATH=/usr/bin:/usr/sbin:/bin:/sbin:/usr/lib/dart/bin chroot "$0" "$@"' \
    "$root" "$work" "$@"
}

case ${1:-} in
setup)
  if [ "$(id -u)" != 0 ]; then
    printf 'Only root can have Dart and Flutter, on Debian:\n    sudo make tools dart\n' >&2
    exit 1
  fi
  [ -e "$root/opt/pub/ready" ] && exit 0
  mkdir -p "$(dirname "$root")"
  exec 9>"$root.lock"
  flock 9 # Two runs at once would build in one folder.
  [ -e "$root/opt/pub/ready" ] && exit 0
  command -v debootstrap >/dev/null || "$here/apt.sh" debootstrap
  mirror=$("$here/mirror.sh")
  rm -rf "$root"
  mkdir -p "$root"
  log=$root.log
  (
    set -e
    debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
      sid "$root" "$mirror"
    # Fetch as this machine does: by its proxy, if it has one, and with its idea of how
    # old the lists of a mirror may be, which matters as those of sid expire in a week.
    apt-config dump | grep -Ei '^Acquire::(https?::|check-)' \
      >"$root/etc/apt/apt.conf.d/99machine" || true
    echo "deb-src $mirror sid main" >"$root/etc/apt/sources.list.d/src.list"
    inside "" sh -c 'apt-get update -q &&
      apt-get install -y -q --no-install-recommends dart-sdk flutter flutter-test flutter-tester flutter-patched-sdk flutter-web-plugins'
    inside "" sh -c 'cd /tmp && apt-get source -q --download-only --tar-only dart-sdk'
    mkdir -p "$root/opt/pub"
    for p in http/pkgs/web_socket http/pkgs/web_socket_channel core/pkgs/crypto core/pkgs/typed_data; do
      echo "*/third_party/pkg/$p/*"
    done |
      tar -C "$root/opt/pub" --wildcards --strip-components=5 -xJf "$root"/tmp/dart-sdk_*.orig.tar.xz -T -
    rm "$root"/tmp/dart-sdk_*
    touch "$root/opt/pub/ready"
  ) >"$log" 2>&1 9>&- &
  # Not "( ... ) || ...", in which "set -e" has no effect.
  wait $! || {
    tail -20 "$log" >&2
    exit 1
  }
  ;;
config)
  PATH=$tools_path python3 - "$root" "$2" "$3" <<'X'
import json, os, sys

root, app, name = sys.argv[1:]
packages = {}
for base in ("/usr/share/dart/packages", "/opt/pub"):
    for n in sorted(os.listdir(root + base)):
        if os.path.isdir(f"{root}{base}/{n}/lib"):
            packages.setdefault(n, f"file://{base}/{n}")
packages[name] = "../"
os.makedirs(app + "/.dart_tool", exist_ok=True)
with open(app + "/.dart_tool/package_config.json", "w") as f:
    entries = [
        {"name": n, "rootUri": u, "packageUri": "lib/", "languageVersion": "3.13"}
        for n, u in packages.items()
    ]
    json.dump({"configVersion": 2, "packages": entries}, f, indent=1)
X
  ;;
run)
  work=$2
  shift 2
  inside "$work" "$@"
  ;;
widget-test)
  # The tester exits with 0 and tests nothing where FLUTTER_TEST is unset: so the line
  # with which it reports success is required, too.
  inside "$2" sh -c '
    config=$(dirname "$(dirname "$0")")/.dart_tool/package_config.json
    engine=/usr/lib/flutter-engine/linux-x64
    dartaotruntime /usr/lib/dart/bin/snapshots/frontend_server_aot.dart.snapshot \
      --sdk-root $engine/flutter_patched_sdk/ --target=flutter --packages="$config" \
      --output-dill=/tmp/test.dill "$0" >/tmp/frontend.log 2>&1 || { cat /tmp/frontend.log; exit 9; }
    FLUTTER_TEST=true LD_LIBRARY_PATH=$engine timeout 60 $engine/flutter_tester \
      --disable-vm-service --enable-checked-mode --verify-entry-points \
      --enable-software-rendering --non-interactive --use-test-fonts \
      --packages="$config" /tmp/test.dill
  ' "$3" | tee /dev/stderr | grep -q 'All tests passed!'
  ;;
*)
  sed -n '2,13s/^# \?//p' "$0"
  exit 2
  ;;
esac
