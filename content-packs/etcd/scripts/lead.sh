#!/bin/sh
# The first machine in: starts a cluster of one, and writes what the others need to etcd.json, which is published with the
# claim's end. Run again after it was cut short, it goes on with what is there.
set -eu
# shellcheck source=functions.sh
. /usr/local/lib/formwork-etcd/functions.sh

# A data directory and no cluster file, or another machine's cluster in it: not ours to go on with.
mine="$ETCD_NAME=$own_peer_url"
if [ -d "$ETCD_DATA_DIR/member" ] && ! grep -q -x -F "ETCD_INITIAL_CLUSTER=$mine" "$cluster_file" 2>/dev/null; then
    stop_member
    move_data_aside
fi
if [ ! -d "$ETCD_DATA_DIR/member" ]; then
    # A token that was never used before: members of two clusters can never take each other for one of their own.
    configure new "$mine" "$ETCD_NAME-$FORMWORK_JOB"
fi
say "$ETCD_NAME leads: a cluster of one at $own_peer_url"
start_member
until_done 120 "the new cluster" answers "$own_client_url"

jq -n --arg name "$ETCD_NAME" --arg prefix "$members_prefix" --arg url "$own_client_url" \
    '{"etcd/bootstrap": $name, ($prefix + $name): $url}' >etcd.json
