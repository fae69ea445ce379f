#!/bin/sh
# Looks at the written disk as the firmware and the kernel will: partition table, file system, system.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK

sfdisk --verify "$disk"
blockdev --rereadpt "$disk"

# The root file system is the partition that has a system in it.
system=
for partition in "$disk"[0-9]* "$disk"p[0-9]*; do
    [ -b "$partition" ] || continue
    case $(blkid -p -s TYPE -o value "$partition" || true) in ext2 | ext3 | ext4) ;; *) continue ;; esac
    e2fsck -f -n "$partition"
    mkdir -p root
    mount -t ext4 -o ro "$partition" root
    if [ -e root/etc/os-release ] || [ -L root/etc/os-release ]; then
        system=$partition
        sed -n 's/^PRETTY_NAME=//p' root/usr/lib/os-release root/etc/os-release 2>/dev/null | head -n 1
    fi
    umount root
done
if [ -z "$system" ]; then
    echo "no partition of $disk holds a system (an ext4 file system with etc/os-release)" >&2
    exit 1
fi
echo "the system is on $system"
