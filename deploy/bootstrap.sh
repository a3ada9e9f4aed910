#!/usr/bin/env bash
# Installs what Nodelet needs on a Debian or Ubuntu machine and is missing: system packages and npm packages.
# Usage: bootstrap.sh [start|test]. `start` is enough for a lab; `test` adds what the suites use. Says what it installs;
# does nothing, fast, when everything is there. Safe to run again at any time.
set -euo pipefail

purpose=${1:-start}
cd "$(dirname "$0")/.."

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# A download can fail for a moment: three tries, with a pause between them.
try_thrice() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    [ "$attempt" = 3 ] || { say "'$*' failed, trying again in $((attempt * 5)) s" && sleep $((attempt * 5)); }
  done
  return 1
}

# package:proof — a program on PATH, or a file when it begins with a slash.
wanted=(
  containerd:containerd
  runc:runc
  containernetworking-plugins:/usr/lib/cni/bridge
  iptables:iptables-restore
  nftables:nft # for --proxy-mode nftables
  iproute2:ip
  kmod:modprobe
  conntrack:conntrack
  util-linux:nsenter
  mount:mount
  busybox-static:/bin/busybox
  catatonit:catatonit
  ca-certificates:/etc/ssl/certs/ca-certificates.crt
  libatomic1:/usr/lib/$(uname -m)-linux-gnu/libatomic.so.1 # Node.js 26 is linked with both
  libstdc++6:/usr/lib/$(uname -m)-linux-gnu/libstdc++.so.6
)
if [ "$purpose" = test ]; then
  wanted+=(
    socat:socat
    curl:curl
    procps:ps
    xz-utils:xz
    openssl:openssl
    dbus:dbus-daemon
    nfacct:nfacct
  )
fi
# Only the tests in a virtual machine need these: without them those tests are skipped.
machine=()
if [ "$purpose" = test ] && [ "$(uname -m)" = x86_64 ]; then
  machine+=(
    qemu-system-x86:qemu-system-x86_64
    debootstrap:debootstrap
    debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
    e2fsprogs:mkfs.ext4
  )
fi

present() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing=()
for entry in "${wanted[@]}"; do
  present "${entry#*:}" || missing+=("${entry%%:*}")
done
missing_machine=()
for entry in "${machine[@]}"; do
  present "${entry#*:}" || missing_machine+=("${entry%%:*}")
done

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
updated=no
update() {
  [ "$updated" = yes ] || try_thrice apt-get -qq update && updated=yes
}
install() {
  say "installing system packages: $*"
  export DEBIAN_FRONTEND=noninteractive
  dpkg --configure -a >/dev/null || true # what an interrupted run left: apt-get installs nothing before
  try_thrice apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || fail "missing: ${missing[*]}; install them with your package manager (only apt is known here)"
  can_install || fail "installing ${missing[*]} needs root: run 'sudo npm $purpose'"
  update || fail "apt-get update failed; check the network and /etc/apt/sources.list"
  install "${missing[@]}" || fail "apt-get could not install: ${missing[*]}"
fi
if [ ${#missing_machine[@]} -gt 0 ] && can_install; then
  { update && install "${missing_machine[@]}"; } ||
    say "apt-get could not install: ${missing_machine[*]}; the tests in a virtual machine will be skipped"
fi
# Debian ships kubectl as kubernetes-client; Ubuntu does not, so it is only recommended. Package lists are fetched for it
# where there are none, and not at every start of a release that has no package.
if ! command -v kubectl >/dev/null 2>&1; then
  if can_install; then
    [ -n "$(apt-get indextargets 'Created-By: Packages' 2>/dev/null)" ] || update || true
    apt-cache show kubernetes-client >/dev/null 2>&1 && { install kubernetes-client || true; }
  fi
  command -v kubectl >/dev/null 2>&1 || say "kubectl is not installed, or this release has no package for it; the cluster works without"
fi

# npm packages: only when the lock file is newer than what is installed.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say "installing npm packages"
  try_thrice npm ci --no-audit --no-fund --loglevel=error || fail "npm ci failed; check the network and 'npm config get registry'"
fi
[ -x node_modules/.bin/node ] || fail "the npm package with Node.js 26 was not installed: it exists for linux-x64 and linux-arm64 only"

# One file starts faster and needs less memory than the sources, which run as well.
if [ -w . ] && ! deploy/is-bundle-fresh.sh .; then
  say "bundling the program"
  node_modules/.bin/node deploy/bundle.ts || say "the program was not bundled; it runs from its sources"
fi
