#!/bin/sh
# Loads every processor for a time with work whose result is known: a checksum over the same mebibyte.
set -eu

seconds=${FORMWORK_PARAM_BURN_IN_SECONDS:-60}

dd if=/dev/urandom of=data bs=64k count=16 2>/dev/null
read -r expected _ <<END
$(sha256sum data)
END

# load CPU: until the time is over. Leaves the count of its rounds in rounds.CPU, or what was wrong in wrong.CPU.
load() {
    rounds=0
    while [ "$(date +%s)" -lt "$end" ]; do
        if ! sum=$(taskset -c "$1" sha256sum data) || [ "${sum%% *}" != "$expected" ]; then
            echo "processor $1 came to ${sum%% *} in round $rounds, $expected is right" >"wrong.$1"
            return 0
        fi
        rounds=$((rounds + 1))
    done
    echo "$rounds" >"rounds.$1"
}

# The processors that this task may run on, such as 0-3,8.
processors=$(awk '$1 == "Cpus_allowed_list:" { print $2 }' /proc/self/status | tr ',' '\n' |
    awk -F - '{ for (cpu = $1; cpu <= ($2 == "" ? $1 : $2); cpu++) print cpu }')
echo "loading processors $(echo "$processors" | tr '\n' ' ')for $seconds s"
end=$(($(date +%s) + seconds))
for cpu in $processors; do load "$cpu" & done
wait

failed=0
for cpu in $processors; do
    if [ -s "wrong.$cpu" ]; then
        cat "wrong.$cpu" >&2
        failed=1
    elif [ ! -s "rounds.$cpu" ]; then
        echo "processor $cpu did not come to an end" >&2
        failed=1
    else
        echo "processor $cpu: $(cat "rounds.$cpu") rounds, all right"
    fi
done
exit "$failed"
