#!/bin/sh
# Reads a disk past the page cache. Nothing is written.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK
mib=${FORMWORK_PARAM_BURN_IN_DISK_MIB:-0}

if [ ! -b "$disk" ]; then
    echo "there is no disk $disk; these are here: $(echo /sys/block/* | sed 's|/sys/block/|/dev/|g')" >&2
    exit 1
fi

if command -v smartctl >/dev/null && health=$(smartctl -H "$disk"); then
    echo "$health" | grep -i 'health' || true
elif echo "${health:-}" | grep -q 'FAILED'; then
    echo "$disk says itself that it is failing:" >&2
    echo "$health" >&2
    exit 1
fi

bytes=$(blockdev --getsize64 "$disk")
total=$((bytes / 1048576))
if [ "$mib" -eq 0 ] || [ "$mib" -ge "$total" ]; then
    echo "reading all of $disk, $total MiB"
    # Whole mebibytes first, then what is left behind them in blocks that every disk has.
    dd if="$disk" of=/dev/null bs=1M count="$total" iflag=direct
    dd if="$disk" of=/dev/null bs=4k iflag=direct,skip_bytes skip=$((total * 1048576))
else
    # Sixteen stretches, the first at the beginning and the last at the end.
    stretches=16
    [ "$mib" -ge "$stretches" ] || stretches=$mib
    each=$((mib / stretches))
    echo "reading $((each * stretches)) of $total MiB of $disk in $stretches stretches"
    n=0
    while [ "$n" -lt "$stretches" ]; do
        place=$((n * (total - each) / (stretches > 1 ? stretches - 1 : 1)))
        dd if="$disk" of=/dev/null bs=1M skip="$place" count="$each" iflag=direct 2>read.log || {
            cat read.log >&2
            echo "$disk cannot be read between MiB $place and $((place + each))" >&2
            exit 1
        }
        n=$((n + 1))
    done
fi
echo "$disk was read without an error"
