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

# The kernel's own initramfs is not used: see initrd-init.
rm -f "$root"/boot/initrd.img-* "$root"/initrd.img*
chroot "$root" systemctl --quiet enable systemd-networkd.service lease-applied.path ssh.service console-getty.service
# The web server is there for those who start it.
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service nginx.service
# Little of use in a guest of minutes, and each costs its part of a second under emulation. The serial line's prompt is
# console-getty's: serial-getty waits for udev to have seen the line.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  e2scrub_all.timer e2scrub_reap.service systemd-pstore.service modprobe@drm.service modprobe@dm_mod.service \
  modprobe@loop.service modprobe@fuse.service modprobe@configfs.service modprobe@efi_pstore.service dev-mqueue.mount \
  dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-fsck-root.service systemd-remount-fs.service \
  systemd-random-seed.service systemd-sysusers.service systemd-modules-load.service systemd-network-generator.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service \
  systemd-tmpfiles-setup-dev.service kmod-static-nodes.service systemd-machine-id-commit.service \
  systemd-initctl.socket systemd-fsckd.socket systemd-journald-audit.socket serial-getty@ttyS0.service \
  systemd-ask-password-console.path systemd-ask-password-wall.path systemd-user-sessions.service
# Without the file that keeps people out while the machine starts, nothing need take it away.
ln -s /dev/null "$root/etc/tmpfiles.d/systemd-nologin.conf"
# What generators would make is here already.
mkdir -p "$root/etc/systemd/system-generators"
for generator in "$root"/usr/lib/systemd/system-generators/*; do
  ln -s /dev/null "$root/etc/systemd/system-generators/$(basename "$generator")"
done
rm -rf "$root/var/log/journal"

# Nothing reads these here, and they are half of the image.
rm -rf "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log \
  "$root"/usr/lib/modules/*/kernel/{sound,drivers/infiniband,drivers/net/wireless,fs/xfs,fs/btrfs,fs/ceph,fs/ocfs2}
chroot "$root" depmod "$(basename "$root"/usr/lib/modules/*)"
