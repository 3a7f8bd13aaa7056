#!/bin/bash
# A complete Debian on a bootable disk (BIOS and UEFI), made without loop devices: packages by mmdebstrap, the file
# system by `mke2fs -d`, the boot partition by mtools, GRUB's images put by hand where the firmware looks for them.
# The last line of standard output is the folder: disk.qcow2, id_ed25519 (signs in as root), manifest.json.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
. "$here/../../../libexec/guests/cache.sh"
PATH=$PATH:/usr/sbin:/sbin

[ "$(id -u)" = 0 ] || fail 'the Debian guest is built as root' 'Run this with sudo.'
for tool in mmdebstrap mke2fs sfdisk mcopy qemu-img ssh-keygen cpio modprobe; do
  command -v "$tool" >/dev/null || fail "$tool is missing" "Run 'libexec/install-packages.sh test'."
done
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
packages=linux-image-cloud-amd64,systemd-sysv,udev,dbus,kmod,iproute2,iputils-ping,openssh-server,qemu-guest-agent,e2fsprogs,less,sqlite3,nginx-light

# Sizes and places on the disk, in sectors of 512 bytes. Each partition begins on a whole mebibyte.
mib=2048
bios_start=$((1 * mib)) bios_size=$((1 * mib))
efi_start=$((2 * mib)) efi_size=$((8 * mib))
root_start=$((10 * mib)) root_size=$((1200 * mib))
disk_size=$((root_start + root_size + mib))

resolve() {
  local package
  versions=$suite
  for package in linux-image-cloud-amd64 systemd openssh-server grub-common busybox-static; do versions+=" $package=$(candidate "$package")"; done
}

# le BYTES NUMBER: the number in little-endian bytes.
le() {
  local i out=''
  for ((i = 0; i < $1; i++)); do out+=$(printf '\\x%02x' $((($2 >> (8 * i)) & 255))); done
  printf '%b' "$out"
}

# put FILE OFFSET: standard input over the bytes there.
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# place FILE DISK SECTOR: a file onto the disk, from that sector on; holes stay holes.
place() { dd if="$1" of="$2" bs=1M seek=$(($3 / mib)) conv=notrunc,sparse status=none; }

# GRUB's tools and modules, unpacked and not installed: their packages' scripts touch a machine's own boot loader.
grub_image() {
  local grub=$1 format=$2 output=$3
  shift 3
  LD_LIBRARY_PATH=$grub/lib/x86_64-linux-gnu:$grub/usr/lib/x86_64-linux-gnu "$grub/usr/bin/grub-mkimage" -O "$format" \
    -d "$grub/usr/lib/grub/$format" -c "$here/grub-early.cfg" -p /boot/grub -o "$output" \
    part_gpt ext2 search search_label normal configfile linux echo serial terminal test "$@"
}

# list_modules ROOT RELEASE NAME...: files of the modules and of all that they need, in the order of their loading.
list_modules() {
  local root=$1 release=$2 name
  shift 2
  for name in "$@"; do
    # Absent: built into this kernel, or not in it.
    modprobe -d "$root" -S "$release" --show-depends "$name" 2>/dev/null || true
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# make_initrd ROOT RELEASE WORK: an initrd that mounts the root disk and nothing else, not compressed: unpacking costs
# more than reading.
make_initrd() {
  local root=$1 release=$2 initrd=$3/initrd list
  mkdir -p "$initrd"/{bin,dev,proc,sys,root,modules}
  fetch_package busybox-static "$(candidate busybox-static)" "$3/busybox"
  cp "$(find "$3/busybox" -name busybox -type f -path '*bin/*' -print -quit)" "$initrd/bin/busybox"
  cp "$here/initrd-init" "$initrd/init"
  list_modules "$root" "$release" virtio_pci virtio_blk ext4 >"$initrd/first"
  list_modules "$root" "$release" virtio_scsi ata_piix ahci sd_mod >"$initrd/rest"
  for list in first rest; do
    while read -r file; do cp "$file" "$initrd/modules/"; done <"$initrd/$list"
    sed -i 's|.*/|/modules/|' "$initrd/$list"
  done
  (cd "$initrd" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$root/boot/initrd-disk.img"
}

make_boot() {
  local disk=$1 work=$2 grub=$2/grub package sectors
  for package in grub-common grub-pc-bin grub-efi-amd64-bin libdevmapper1.02.1; do
    fetch_package "$package" "$(candidate "$package")" "$grub"
  done

  # BIOS: boot.img in the first sector loads the first sector of core.img, which loads the rest. Both hold the place of
  # what they load: boot.img at 0x5c, core.img's first sector at the end of its list of blocks, 0x1f4.
  grub_image "$grub" i386-pc "$work/core.img" biosdisk
  sectors=$((($(stat -c %s "$work/core.img") + 511) / 512))
  [ "$sectors" -le "$bios_size" ] || fail 'core.img of GRUB is larger than its partition'
  cp "$grub/usr/lib/grub/i386-pc/boot.img" "$work/boot.img"
  le 8 "$bios_start" | put "$work/boot.img" $((0x5c))
  # Some BIOSes pass no boot drive; for a hard disk GRUB's check is switched off, as grub-bios-setup does.
  printf '\x90\x90' | put "$work/boot.img" $((0x66))
  le 8 $((bios_start + 1)) | put "$work/core.img" $((0x1f4))
  # All but the partition table of the first sector is boot.img's.
  head -c 440 "$work/boot.img" | put "$disk" 0
  place "$work/core.img" "$disk" "$bios_start"

  # UEFI: the fallback path that any firmware tries.
  grub_image "$grub" x86_64-efi "$work/bootx64.efi" efi_gop all_video
  truncate -s $((efi_size * 512)) "$work/efi.img"
  mformat -i "$work/efi.img" -T "$efi_size" -h 64 -s 32 -v EFI ::
  mmd -i "$work/efi.img" ::/EFI ::/EFI/BOOT
  mcopy -i "$work/efi.img" "$work/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
  place "$work/efi.img" "$disk" "$efi_start"
}

build() {
  local out=$1 work=$1/work disk=$1/work/disk.raw
  mkdir "$work"
  note "building the Debian guest ($suite): about 150 MB of packages, one or two minutes"
  ssh-keygen -q -t ed25519 -N '' -C holdfast-guest -f "$out/id_ed25519"
  HOLDFAST_GUEST_PUBLIC_KEY=$out/id_ed25519.pub mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='Acquire::Languages "none"' \
    --customize-hook="$here/customize.sh \"\$1\"" "$suite" "$work/root"
  local release
  release=$(basename "$work"/root/usr/lib/modules/*)
  make_initrd "$work/root" "$release" "$work"

  truncate -s $((root_size * 512)) "$work/root.img"
  # GRUB reads this file system: without the features that its ext2 driver does not know.
  mke2fs -q -t ext4 -L holdfast-root -m 1 -O ^metadata_csum,^metadata_csum_seed,^orphan_file -d "$work/root" "$work/root.img"
  rm -rf "$work/root"
  truncate -s $((disk_size * 512)) "$disk"
  sfdisk --quiet "$disk" <<TABLE
label: gpt
start=$bios_start, size=$bios_size, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=$efi_start, size=$efi_size, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=efi
start=$root_start, size=$root_size, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root
TABLE
  place "$work/root.img" "$disk" "$root_start"
  make_boot "$disk" "$work"
  qemu-img convert -c -O qcow2 -o compression_type=zstd "$disk" "$out/disk.qcow2"
  rm -rf "$work"
  cat >"$out/manifest.json" <<JSON
{
  "name": "debian",
  "kind": "disk",
  "disk": "disk.qcow2",
  "format": "qcow2",
  "suite": "$suite",
  "kernelVersion": "$release",
  "memoryMiB": 256,
  "ssh": { "user": "root", "key": "id_ed25519" },
  "console": { "user": "root", "password": "holdfast" },
  "ready": "login:",
  "sha256": { "disk.qcow2": "$(sha256_of "$out/disk.qcow2")" }
}
JSON
}

cached debian "$(content_key "$here" "$here/../../../libexec/guests/cache.sh" <<<"$(apt_state)")" resolve build
