#!/bin/sh
# Makes the written system one of ours: the agent as a service, a ticket for its first start, the machine's name.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK
service=/tmp/formwork-install/formwork-agent.service

root=$PWD/root
mkdir -p "$root"
trap 'umount "$root" 2>/dev/null || true' EXIT
found=
for partition in "$disk"[0-9]* "$disk"p[0-9]*; do
    [ -b "$partition" ] || continue
    case $(blkid -p -s TYPE -o value "$partition" || true) in ext2 | ext3 | ext4) ;; *) continue ;; esac
    mount -t ext4 "$partition" "$root"
    if [ -e "$root/etc/os-release" ] || [ -L "$root/etc/os-release" ]; then
        found=$partition
        break
    fi
    umount "$root"
done
if [ -z "$found" ]; then
    echo "no partition of $disk holds a system (an ext4 file system with etc/os-release)" >&2
    exit 1
fi

agent=$(command -v formwork-agent) || {
    echo "this environment has no formwork-agent to copy" >&2
    exit 1
}
mkdir -p "$root/usr/local/sbin" "$root/etc/systemd/system/multi-user.target.wants"
cp "$agent" "$root/usr/local/sbin/formwork-agent.new"
chmod 0755 "$root/usr/local/sbin/formwork-agent.new"
mv "$root/usr/local/sbin/formwork-agent.new" "$root/usr/local/sbin/formwork-agent"
cmp "$agent" "$root/usr/local/sbin/formwork-agent"
cp "$service" "$root/etc/systemd/system/formwork-agent.service"
chmod 0644 "$root/etc/systemd/system/formwork-agent.service"
ln -sf ../formwork-agent.service "$root/etc/systemd/system/multi-user.target.wants/formwork-agent.service"

# The key of the installed system is its own: it is made at its first start, with this ticket, which only root reads.
mkdir -p "$root/etc/formwork"
chmod 0700 "$root/etc/formwork"
rm -rf "$root/var/lib/formwork-agent"
formwork agent disk ticket --to "$root/etc/formwork/boot.json"
[ -s "$root/etc/formwork/boot.json" ]

echo "$FORMWORK_MACHINE" >"$root/etc/hostname"
if ! grep -q "[[:space:]]$FORMWORK_MACHINE\$" "$root/etc/hosts" 2>/dev/null; then
    printf '127.0.1.1\t%s\n' "$FORMWORK_MACHINE" >>"$root/etc/hosts"
fi

sync
umount "$root"
trap - EXIT
e2fsck -f -n "$found"
echo "$found is $FORMWORK_MACHINE's system, with the agent as a service"
