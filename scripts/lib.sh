# What the scripts share: where the project is, a virtual environment, and Debian packages that are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROJECT=$PWD
unset PYTHONDONTWRITEBYTECODE  # or each of the many processes of the tests would compile all modules again
VENV=${SAMPAN_VENV:-$PROJECT/.venv}
PACKAGES=(runc conmon nftables iproute2 busybox-static)
TEST_PACKAGES=(strace curl dbus-daemon crun iptables uidmap slirp4netns)

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || { echo "this needs root, and there is no sudo here: $*" >&2; exit 1; }
  sudo "$@"
}

install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

make_venv() { # make_venv EXTRAS: the package itself, editable, with the named extras
  local stamp="$VENV/.sampan-$1"
  if [ -e "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ]; then return 0; fi
  if ! python3 -c 'import ensurepip' 2>/dev/null; then install_packages python3-venv; fi
  say "making the virtual environment $VENV"
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q --disable-pip-version-check -e ".[$1]" 2> >(grep -v '^WARNING' >&2)
  touch "$stamp"
}

fetch_program() { # fetch_program DIR PACKAGE PATH...: a Debian package's programs, unpacked and not installed, so that no service starts here
  local dir=$1 package=$2 path place missing=(); shift 2
  for path in "$@"; do [ -x "$dir/${path##*/}" ] || missing+=("$path"); done
  [ ${#missing[@]} = 0 ] && return 0
  say "fetching ${missing[*]##*/} for the tests"
  place=$(mktemp -d)
  (cd "$place" && { apt-get download -qq "$package" 2>/dev/null ||
    { as_root apt-get update -qq && apt-get download -qq "$package"; }; } && dpkg -x "$package"_*.deb .)
  for path in "${missing[@]}"; do install -D "$place/$path" "$dir/${path##*/}"; done
  rm -rf "$place"
}

prepare_tests() { # all that the tests need, on a fresh machine too
  local libraries
  install_packages "${PACKAGES[@]}" "${TEST_PACKAGES[@]}"
  make_venv dev
  "$VENV/bin/python" scripts/fetch-clients "$VENV/clients"
  fetch_program "$VENV/clients" etcd-server usr/bin/etcd
  fetch_program "$VENV/clients" docker-registry usr/bin/docker-registry
  fetch_program "$VENV/clients" runsc usr/bin/runsc
  fetch_program "$VENV/clients" apparmor sbin/apparmor_parser
  fetch_program "$VENV/clients" containerd usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr
  libraries=usr/lib/$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH"))')
  fetch_program "$VENV/clients" libfaketime "$libraries/faketime/libfaketimeMT.so.1"
  fetch_program "$VENV/clients/cni" containernetworking-plugins usr/lib/cni/{bridge,host-local,portmap,bandwidth,ptp,loopback}
}
