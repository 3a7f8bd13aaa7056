#!/bin/bash
# Run by mmdebstrap with the new root as the argument, after all packages are in.
set -euo pipefail
root=$1
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cp -r "$here/rootfs/." "$root/"
install -D -m 600 "$HOLDFAST_GUEST_PUBLIC_KEY" "$root/root/.ssh/authorized_keys"
chmod 700 "$root/root/.ssh"
echo 'root:holdfast' | chroot "$root" chpasswd

# What each VM must have of its own.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

chroot "$root" update-initramfs -u -k all
chroot "$root" systemctl --quiet enable systemd-networkd.service lease-applied.path lease-applied.service ssh.service
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service
# Little of use in a guest of minutes, and each costs a second under emulation.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  e2scrub_all.timer e2scrub_reap.service systemd-pstore.service modprobe@drm.service modprobe@dm_mod.service \
  modprobe@loop.service modprobe@fuse.service modprobe@configfs.service dev-mqueue.mount dev-hugepages.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount

# Nothing reads these here, and they are half of the image.
rm -rf "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log \
  "$root"/usr/lib/modules/*/kernel/{sound,drivers/infiniband,drivers/net/wireless,fs/xfs,fs/btrfs,fs/ceph,fs/ocfs2}
chroot "$root" depmod "$(basename "$root"/usr/lib/modules/*)"
