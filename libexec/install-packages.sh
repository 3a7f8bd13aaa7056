#!/bin/bash
# install-packages.sh [--json|--check] agent|lab|lab-managers|manager|test|bench
# Installs the Debian packages that a role needs and that are missing, after saying which and why. Does nothing, at once,
# when all is there. --json lists them as [{package, reason, installed}]; --check only tells by its exit code (0: all
# there). Neither changes anything.
set -euo pipefail

# role | package | what shows that it is there: one of these commands or files | why it is needed
packages='
agent|qemu-system-x86|qemu-system-x86_64|runs the virtual machines
agent|qemu-utils|qemu-img|makes, reads and checks disk images
agent|seabios|/usr/share/seabios/bios-256k.bin|the BIOS of guests
agent|ovmf|/usr/share/OVMF/OVMF_CODE_4M.fd|the UEFI of guests
agent|ipxe-qemu|/usr/lib/ipxe/qemu/efi-virtio.rom,/usr/share/qemu/efi-virtio.rom|network boot ROMs of guests
agent|dnsmasq-base|dnsmasq|answers DHCP for guests
agent|nftables|nft|drops frames with forged addresses
agent|iproute2|ip|makes bridges, taps and tunnels
agent|kmod|modprobe|loads the kernel modules for bridges and tunnels
agent|util-linux|setpriv|starts QEMU without privileges
agent|acl|setfacl|lets QEMU take guests by post-copy without privileges
agent|openssl|openssl|makes certificates
manager|openssl|openssl|makes certificates
lab|cpio|cpio|packs the small guest
lab|xz-utils|xz|unpacks kernel modules for the small guest
lab|zstd|zstd|unpacks kernel modules for the small guest
lab|e2fsprogs|mke2fs|makes the file systems of local datastores
lab|mount|losetup|mounts them
lab|iputils-ping|ping|looks whether guests answer
lab-managers|etcd-server|etcd|keeps the inventory of several managers
test|mmdebstrap|mmdebstrap|makes the Debian guest
test|e2fsprogs|mke2fs|makes the file system of the Debian guest
test|fdisk|sfdisk|partitions the disk of the Debian guest
test|mtools|mcopy|writes the UEFI boot partition of the Debian guest
test|openssh-client|ssh|signs in to the Debian guest
test|chromium|chromium|tests the web page in a real browser
bench|etcd-server|etcd|is measured beside SQLite
bench|tcpdump|tcpdump|sees when frames pass while a guest moves
'

declare -A inherits=([agent]='agent' [manager]='manager' [lab]='agent manager lab' [lab-managers]='agent manager lab lab-managers' [test]='agent manager lab lab-managers test' [bench]='agent manager lab bench')

say() { echo "holdfast: $*" >&2; }
stop() {
  say "$1"
  [ $# -gt 1 ] && echo "  $2" >&2
  exit 1
}

mode=install
case ${1:-} in
  --json) mode=json && shift ;;
  --check) mode=check && shift ;;
esac
role=${1:-}
[ $# -eq 1 ] && [ -n "${inherits[$role]:-}" ] || stop 'usage: install-packages.sh [--json|--check] agent|lab|lab-managers|manager|test|bench'

# Commands of root live in sbin, which PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

is_there() {
  local probe probes
  IFS=, read -ra probes <<<"$1"
  for probe in "${probes[@]}"; do
    case $probe in
      /*) [ -e "$probe" ] && return 0 ;;
      *) type -P "$probe" >/dev/null && return 0 ;;
    esac
  done
  return 1
}

names=() missing=()
declare -A reasons=() present=()
while IFS='|' read -r of package probe reason; do
  [ -n "$of" ] && [[ " ${inherits[$role]} " == *" $of "* ]] && [ -z "${present[$package]:-}" ] || continue
  names+=("$package")
  reasons[$package]=$reason
  if is_there "$probe"; then present[$package]=true; else present[$package]=false && missing+=("$package"); fi
done <<<"$packages"

if [ "$mode" = json ]; then
  comma=''
  printf '['
  for package in "${names[@]}"; do
    printf '%s\n  { "package": "%s", "reason": "%s", "installed": %s }' "$comma" "$package" "${reasons[$package]}" "${present[$package]}"
    comma=,
  done
  printf '\n]\n'
  exit 0
fi
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$mode" = install ] || exit 1

list_missing() {
  local package
  for package in "${missing[@]}"; do printf '  %-18s %s\n' "$package" "${reasons[$package]}" >&2; done
}

distribution=$(. /etc/os-release 2>/dev/null && echo "${ID:-unknown} ${VERSION_ID:-}") || distribution=unknown
case $distribution in
  'debian 12'*) codename=bookworm ;;
  'debian '*) codename='' ;;
  *)
    say "this is $distribution; Holdfast installs packages on Debian 12 and 13 only. It needs these, by their Debian names:"
    list_missing
    stop 'install what corresponds to them, then run this again'
    ;;
esac

if [ "$EUID" != 0 ]; then
  say 'these Debian packages are missing:'
  list_missing
  stop 'installing them needs root' "Run: sudo apt-get install --no-install-recommends ${missing[*]}"
fi

say "installing these Debian packages by apt, because they are missing:"
list_missing

export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work (unattended upgrades): wait for its lock. What apt tells is shown when it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1 && return 0
  grep -E '^[EW]: ' "$log" >&2 || tail -n 15 "$log" >&2
  return 1
}

has_candidates() {
  local package candidate
  for package in "$@"; do
    candidate=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != '(none)' ] || return 1
  done
}

# Debian 12's own QEMU is 7.2; backports has 10, under which live migration is more reliable.
backports_file=/etc/apt/sources.list.d/holdfast-backports.sources
# (grep reads to the end: with -q it would break the pipe, which `pipefail` counts as a failure.)
backports_qemu() { apt-cache policy qemu-system-x86 2>/dev/null | grep 'bookworm-backports' >/dev/null; }

enable_backports() {
  local site
  backports_qemu && return 0
  if ! grep -rqsE '^[^#]*bookworm-backports' /etc/apt/sources.list /etc/apt/sources.list.d; then
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' 'Label: Debian' 2>/dev/null | sed -n 1p)
    say "adding Debian's backports in $backports_file: QEMU 10 comes from there, this Debian's own is 7.2"
    cat >"$backports_file" <<SOURCES
# Added by Holdfast, for QEMU 10. Packages come from here only when asked for by name.
Types: deb
URIs: ${site:-http://deb.debian.org/debian}
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  fi
  apt update || true
  backports_qemu && return 0
  # Left in place, it would make every later 'apt-get update' complain.
  rm -f "$backports_file"
  return 1
}

install() {
  # Lists that are old name versions that mirrors no longer have: then a fresh look, and once more.
  apt install --no-install-recommends "$@" && return 0
  say 'once more, with fresh package lists'
  apt update && apt install --no-install-recommends "$@"
}

has_candidates "${missing[@]}" || apt update || say 'apt-get update failed; going on with the package lists that are here'

# QEMU's own packages go together, in one version.
qemu=() others=()
for package in "${missing[@]}"; do
  case $package in
    qemu-*) qemu+=("$package") ;;
    *) others+=("$package") ;;
  esac
done
if [ ${#qemu[@]} -gt 0 ] && [ "$codename" = bookworm ]; then
  if [ ${#qemu[@]} -eq 2 ] && enable_backports && install -t bookworm-backports "${qemu[@]}"; then
    qemu=()
  else
    say "QEMU comes from Debian 12 itself (7.2): backports cannot be reached, or a part of QEMU is here already"
  fi
fi
if [ ${#qemu[@]} -gt 0 ] || [ ${#others[@]} -gt 0 ]; then
  install "${qemu[@]}" "${others[@]}" || stop 'apt could not install the packages' "See what apt says above; 'apt-get update' must work on this machine."
fi
# Debian starts a member of etcd of its own at once, alone, on this machine's loopback: nobody here asks it.
if [[ " ${missing[*]} " == *' etcd-server '* ]] && [ -d /run/systemd/system ]; then
  systemctl disable --now etcd >/dev/null 2>&1 || true
fi
