#!/bin/sh
# What lead.sh, follow.sh and health.sh share. Sourced.
# shellcheck disable=SC2034  # used where it is sourced

# Where the members' addresses are in the cluster profile: a key for each machine, written by that machine.
members_prefix=etcd/members/
# What each machine wrote into etcd, for the others to look for.
written_prefix=etcd/written/
# etcd's own configuration, as the template has written it.
. /etc/default/etcd
own_client_url=$ETCD_ADVERTISE_CLIENT_URLS
own_peer_url=$ETCD_INITIAL_ADVERTISE_PEER_URLS
cluster_file=/etc/default/etcd-cluster

# say WORDS
say() { echo "etcd: $*"; }

# until_done SECONDS WHAT COMMAND...: tries until it succeeds, or fails with its last words.
until_done() {
    limit=$1 what=$2
    shift 2
    deadline=$(($(date +%s) + limit))
    until "$@" >attempt.log 2>&1; do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            say "$what: not within $limit s" >&2
            cat attempt.log >&2
            return 1
        fi
        sleep 1
    done
    cat attempt.log
}

# member_urls EXCEPT: where the members answer their clients, a line each, as they have written it; without that machine's.
member_urls() {
    formwork agent cluster get-document >document.json || return 1
    jq -r --arg prefix "$members_prefix" --arg except "$members_prefix$1" \
        '.keys | to_entries[] | select((.key | startswith($prefix)) and .key != $except) | .value.value' document.json
}

# member_names: the machines that have written where their members answer, a line each.
member_names() {
    formwork agent cluster get-document >document.json || return 1
    jq -r --arg prefix "$members_prefix" '.keys | keys[] | select(startswith($prefix)) | ltrimstr($prefix)' document.json
}

# answers URL: whether the member there takes part in a cluster that can decide.
answers() { etcdctl --endpoints "$1" --command-timeout=5s endpoint health; }

# configure STATE MEMBERS: how the next start finds its cluster. Read by etcd only while its data directory is empty.
configure() {
    printf 'ETCD_INITIAL_CLUSTER_STATE=%s\nETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_CLUSTER_TOKEN=%s\n' \
        "$1" "$2" "$3" >"$cluster_file.new"
    mv "$cluster_file.new" "$cluster_file"
}

# stop_member
stop_member() { systemctl stop etcd; }

# start_member: now and at every boot.
start_member() {
    mkdir -p "$ETCD_DATA_DIR"
    chown etcd:etcd "$ETCD_DATA_DIR"
    chmod 0700 "$ETCD_DATA_DIR"
    systemctl daemon-reload
    systemctl enable --quiet etcd
    systemctl reset-failed etcd 2>/dev/null || true
    if ! systemctl restart etcd; then
        systemctl status --no-pager --lines=20 etcd >&2 || true
        return 1
    fi
}

# move_data_aside: nothing is deleted that may still be of use to somebody; one older copy is kept.
move_data_aside() {
    [ -d "$ETCD_DATA_DIR/member" ] || return 0
    say "moving the data of another cluster aside, to $ETCD_DATA_DIR.aside"
    rm -rf "$ETCD_DATA_DIR.aside"
    mv "$ETCD_DATA_DIR" "$ETCD_DATA_DIR.aside"
}
