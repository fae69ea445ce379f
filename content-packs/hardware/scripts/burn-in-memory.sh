#!/bin/sh
# Loads the memory for a time. A wrong bit ends it with an error; so does a machine that cannot be tested.
set -eu

seconds=${FORMWORK_PARAM_BURN_IN_SECONDS:-60}
mib=${FORMWORK_PARAM_BURN_IN_MEMORY_MIB:-0}

available_kib=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
if [ "$mib" -eq 0 ]; then
    mib=$((available_kib * 7 / 8 / 1024))
fi
if [ "$mib" -lt 1 ] || [ "$mib" -ge $((available_kib / 1024)) ]; then
    echo "cannot test $mib MiB of memory: $((available_kib / 1024)) MiB are free" >&2
    exit 1
fi

errors_before=$(cat /sys/devices/system/edac/mc/mc*/[cu]e_count 2>/dev/null | awk '{ n += $1 } END { print n + 0 }')
echo "testing $mib MiB of memory for $seconds s on $(nproc) processors"
if command -v stressapptest >/dev/null; then
    # -W: copies by the processors' wide registers, the hardest on memory. It says itself what differed and where.
    stressapptest -s "$seconds" -M "$mib" -m "$(nproc)" -W -v 6
elif command -v memtester >/dev/null; then
    # One pass of all its patterns, however long that takes: then again, until the time is over.
    end=$(($(date +%s) + seconds))
    while
        memtester "${mib}M" 1
        [ "$(date +%s)" -lt "$end" ]
    do :; done
else
    echo "this environment has neither stressapptest nor memtester: boot one that does" >&2
    exit 1
fi

errors_after=$(cat /sys/devices/system/edac/mc/mc*/[cu]e_count 2>/dev/null | awk '{ n += $1 } END { print n + 0 }')
if [ "$errors_after" -ne "$errors_before" ]; then
    echo "the memory controller counted $((errors_after - errors_before)) errors during the test" >&2
    exit 1
fi
echo "the memory held what it was given"
