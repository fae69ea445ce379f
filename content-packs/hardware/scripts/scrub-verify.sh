#!/bin/sh
# Reads the scrubbed disk past the page cache and compares it with zeros: what was written is what comes back, and nothing
# of what was there before is left. The last MiB holds the marker and is not compared.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK
mib=${FORMWORK_PARAM_SCRUB_VERIFY_MIB:-0}

total=$(($(blockdev --getsize64 "$disk") / 1048576 - 1))
stretches=16
if [ "$mib" -eq 0 ] || [ "$mib" -ge "$total" ]; then
    mib=$total
    stretches=1
fi
[ "$mib" -ge "$stretches" ] || stretches=$mib
each=$((mib / stretches))

echo "comparing $((each * stretches)) of $total MiB of $disk with zeros"
n=0
while [ "$n" -lt "$stretches" ]; do
    place=$((n * (total - each) / (stretches > 1 ? stretches - 1 : 1)))
    # The reader's own end is asked for too: a pipe alone would hide an error of the disk.
    left=$({ dd if="$disk" bs=1M skip="$place" count="$each" iflag=direct 2>read.log || echo failed >read.failed; } |
        tr -d '\000' | wc -c)
    if [ -e read.failed ]; then
        cat read.log >&2
        echo "$disk cannot be read between MiB $place and $((place + each))" >&2
        exit 1
    fi
    if [ "$left" -ne 0 ]; then
        echo "$disk is not empty between MiB $place and $((place + each))" >&2
        exit 1
    fi
    n=$((n + 1))
done
echo "$disk holds nothing but its marker"
