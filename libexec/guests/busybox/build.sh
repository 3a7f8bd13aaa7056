#!/bin/bash
# build.sh busybox|busybox-general|busybox-agent: builds the small guest, Debian's kernel and a static busybox in an initrd.
# `busybox` has Debian's cloud kernel, which boots fastest but knows neither e1000 nor AHCI; `busybox-general` has the
# general one, which knows both. `busybox-agent` is the first with the QEMU guest agent in it. The last line of standard
# output is the folder: vmlinuz, initrd.gz, manifest.json.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
. "$here/../cache.sh"

name=${1:-busybox}
case $name in
  busybox | busybox-agent) metapackage=linux-image-cloud-amd64 ;;
  busybox-general) metapackage=linux-image-amd64 ;;
  *) fail "there is no small guest '$name'" 'There are busybox, busybox-general and busybox-agent.' ;;
esac

for tool in cpio gzip dpkg-deb; do
  command -v "$tool" >/dev/null || fail "$tool is missing" "Run 'apt-get install $tool'."
done
# What tcpserver runs on, from this machine.
loader=/lib64/ld-linux-x86-64.so.2
libc=/lib/x86_64-linux-gnu/libc.so.6

# The guest agent, and the libraries that it is linked with beside libc.
agent_packages=''
if [ "$name" = busybox-agent ]; then
  # Debian 13 has another name for it.
  glib=libglib2.0-0
  [ -z "$(apt-cache madison "${glib}t64")" ] || glib=${glib}t64
  agent_packages="qemu-guest-agent $glib libpcre2-8-0 libudev1 libnuma1 liburing2"
fi

# Modules for the devices that Holdfast gives its guests; what these need comes by their dependencies.
modules='virtio_pci virtio_net virtio_blk virtio_scsi virtio_balloon virtio_rng virtio-rng virtio_console virtio_mem
  e1000 e1000e ata_piix ata_generic ahci sd_mod sr_mod isofs button evdev qemu_fw_cfg af_packet psmouse ext4 bochs'

# Boot-time choices that only matter in a guest that lives for minutes: no self tests, no mitigations.
cmdline='console=tty0 console=ttyS0 quiet loglevel=4 mitigations=off random.trust_cpu=on cryptomgr.notests'

# copy_modules FROM TO: the modules named above and all that they need, decompressed.
copy_modules() {
  local from=$1 to=$2 name
  mkdir -p "$to"
  (cd "$from" && find . -name '*.ko*' -printf '%P\n') | LC_ALL=C sort >"$to.list"
  for name in $modules; do want_module "$from" "$to" "$name"; done
  rm "$to.list"
}

# One module and, before it, what its own header says it depends on.
want_module() {
  local from=$1 to=$2 name=${3//-/_} file target dep
  file=$(awk -v name="$name" '{ base = $0; sub(/.*\//, "", base); sub(/\.ko.*/, "", base); gsub(/-/, "_", base) }
    base == name { print; exit }' "$to.list")
  # Absent: built into this kernel, or not in this version.
  [ -n "$file" ] || return 0
  target=$to/$(basename "${file%.ko*}").ko
  [ ! -e "$target" ] || return 0
  case $file in
    *.xz) xz -dc "$from/$file" >"$target" ;;
    *.zst) zstd -qdc "$from/$file" >"$target" ;;
    *.gz) gzip -dc "$from/$file" >"$target" ;;
    *) cp "$from/$file" "$target" ;;
  esac
  for dep in $(tr '\0' '\n' <"$target" | LC_ALL=C sed -n 's/^depends=//p' | tr ',' ' '); do
    want_module "$from" "$to" "$dep"
  done
}

# copy_agent PACKAGE ROOT: the agent and its libraries, and the hwclock that it calls.
copy_agent() {
  local package=$1 root=$2 one
  for one in $agent_packages; do fetch_package "$one" "$(candidate "$one")" "$package"; done
  cp "$package/usr/sbin/qemu-ga" "$root/usr/sbin/"
  for one in glib-2.0 gmodule-2.0 pcre2-8 udev numa uring; do
    find "$package" -path '*/x86_64-linux-gnu/*' -name "lib$one.so.?" -exec cp -L {} "$root/lib/x86_64-linux-gnu/" \;
  done
  cp -L "$(dirname "$libc")/libm.so.6" "$root/lib/x86_64-linux-gnu/"
  ln -s ../bin/busybox "$root/sbin/hwclock"
}

resolve() {
  local one
  kernel=$(kernel_package "$metapackage")
  kernel_version=$(candidate "$kernel")
  tcpserver_version=$(candidate ucspi-tcp)
  busybox_version=$(candidate busybox-static)
  versions="$kernel=$kernel_version busybox=$busybox_version ucspi-tcp=$tcpserver_version libc=$(sha256_of "$libc")"
  for one in $agent_packages; do versions="$versions $one=$(candidate "$one")"; done
}

build() {
  local out=$1 root=$1/root package=$1/package busybox=$1/package/bin/busybox release applet
  note "building the guest '$name' from $kernel $kernel_version: a download of $(download_size "$kernel" "$kernel_version")"
  fetch_package "$kernel" "$kernel_version" "$package"
  release=$(basename "$package"/boot/vmlinuz-*)
  release=${release#vmlinuz-}
  cp "$package/boot/vmlinuz-$release" "$out/vmlinuz"

  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,root,mnt}
  cp -r "$here/rootfs/." "$root/"
  # Unpacked, not installed: installing it would remove the other busybox that many machines have.
  fetch_package busybox-static "$busybox_version" "$package"
  [ -e "$busybox" ] || busybox=$package/usr/bin/busybox
  cp "$busybox" "$root/bin/busybox"
  fetch_package ucspi-tcp "$tcpserver_version" "$package"
  cp "$package/usr/bin/tcpserver" "$root/usr/bin/"
  mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
  cp -L "$loader" "$root/lib64/"
  cp -L "$libc" "$root/lib/x86_64-linux-gnu/"
  for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s bin/busybox "$root/init"
  for applet in reboot poweroff init modprobe getty; do ln -s ../bin/busybox "$root/sbin/$applet"; done
  [ -z "$agent_packages" ] || copy_agent "$package" "$root"
  copy_modules "$(dirname "$(find "$package" -path "*/modules/$release/kernel" -type d)")/kernel" "$root/lib/modules/$release"
  "$busybox" depmod -b "$root" "$release"
  chmod -R u=rwX,go=rX "$root"

  find "$root" -exec touch -hcd @1 {} +
  (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -o -H newc -R 0:0 --reproducible) |
    gzip -n -6 >"$out/initrd.gz"
  rm -rf "$root" "$package"
  cat >"$out/manifest.json" <<JSON
{
  "name": "$name",
  "kind": "kernel",
  "kernel": "vmlinuz",
  "initrd": "initrd.gz",
  "cmdline": "$cmdline",
  "kernelVersion": "$release",
  "ready": "holdfast-guest: ready",
  "packages": { "$kernel": "$kernel_version", "ucspi-tcp": "$tcpserver_version", "busybox-static": "$busybox_version" },
  "sha256": { "vmlinuz": "$(sha256_of "$out/vmlinuz")", "initrd.gz": "$(sha256_of "$out/initrd.gz")" }
}
JSON
}

cached "$name" "$(content_key "$here" "$here/../cache.sh" "$libc" <<<"$name $(apt_state)")" resolve build
