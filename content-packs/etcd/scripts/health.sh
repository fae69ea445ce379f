#!/bin/sh
# All together now: the barrier opens when every machine of the cluster profile has come here, each with its member. Then
# each writes through its own member, and reads through its own member what all the others wrote.
set -eu
# shellcheck source=functions.sh
. /usr/local/lib/formwork-etcd/functions.sh

say "$ETCD_NAME is here; waiting for the others"
formwork agent cluster barrier etcd-joined --count all --timeout 40m >/dev/null

# What is written is said in the cluster profile too, so that the readers know what etcd has to show them.
value="$ETCD_NAME in run $FORMWORK_RUN at $(date -u +%H:%M:%S)"
until_done 120 "a write at $own_client_url" \
    etcdctl --endpoints "$own_client_url" --command-timeout=10s put "formwork/health/$ETCD_NAME" "$value" >/dev/null
formwork agent cluster put "$written_prefix$ETCD_NAME" --value "$value" --overwrite >/dev/null
formwork agent cluster barrier etcd-written --count all --timeout 10m >/dev/null

# shows NAME: whether this machine's member shows what that machine wrote last. (A read that the cluster's majority confirms.)
shows() {
    wanted=$(formwork agent cluster get "$written_prefix$1") || return 1
    found=$(etcdctl --endpoints "$own_client_url" --command-timeout=10s get --print-value-only "formwork/health/$1") || return 1
    [ "$found" = "$wanted" ] || {
        echo "'$found', wanted '$wanted'"
        return 1
    }
    echo "$found"
}
# named: the members' names. A list without one's own was read of a document that is not there yet, and would ask nothing of anybody.
named() { member_names >names && grep -qxF "$ETCD_NAME" names && cat names; }
names=$(until_done 60 "the names of the members" named)
for name in $names; do
    [ "$name" != "$ETCD_NAME" ] || continue
    until_done 120 "what $name wrote, at the member on $ETCD_NAME" shows "$name" >read
    say "written on $name, read on $ETCD_NAME: $(cat read)"
done
etcdctl --endpoints "$own_client_url" member list --write-out=simple |
    awk -F ', ' '{ print "etcd: member " $1 " is " $3 ", " $2 }'
formwork agent fact set services '["etcd"]'
