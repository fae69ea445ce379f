#!/bin/sh
# Overwrites the install disk. `disk claim` decides whether that may be, and marks the disk before its first byte changes.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK
if [ ! -b "$disk" ]; then
    echo "there is no disk $disk; these are here: $(echo /sys/block/* | sed 's|/sys/block/|/dev/|g')" >&2
    exit 1
fi
formwork agent disk inspect "$disk"
formwork agent disk claim "$disk"
formwork agent disk zero "$disk"
