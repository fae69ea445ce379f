#!/bin/sh
# Every machine but the first: adds itself to the cluster that is there. Each step looks at what is already so, so that it
# can be run again at any time, also by a machine that was installed anew and whose old member is still listed.
set -eu
# shellcheck source=functions.sh
. /usr/local/lib/formwork-etcd/functions.sh

# Who is there? Asked anew each time: members come and go.
find_members() {
    member_urls "$ETCD_NAME" >urls || return 1
    live=
    for url in $(cat urls); do
        if answers "$url" >/dev/null 2>&1; then live=${live:+$live,}$url; fi
    done
    [ -n "$live" ] || {
        echo "none of these members answers: $(tr '\n' ' ' <urls)"
        return 1
    }
}
ctl() { etcdctl --endpoints "$live" --command-timeout=10s "$@"; }

# own_member: the members of the cluster that are this machine, by name or by address: "ID learner?" a line.
own_member() {
    ctl member list --write-out=simple >listed || return 1
    awk -F ', ' -v name="$ETCD_NAME" -v peer="$own_peer_url" '$3 == name || $4 == peer { print $1, $6 }' listed
}

# data_is_of ID: whether the data on this machine is that member's: an id is never used for a second one.
data_is_of() {
    [ -d "$ETCD_DATA_DIR/member" ] || return 1
    systemctl is-active --quiet etcd || start_member || return 1
    status=$(etcdctl --endpoints http://127.0.0.1:2379 --command-timeout=5s endpoint status --write-out=simple) || return 1
    [ "$(echo "$status" | awk -F ', ' '{ print $2 }')" = "$1" ]
}

# add: removes what is left of an earlier self, and adds this machine as a learner. The cluster takes one learner at a time
# and no change while it is unwell: then this fails, and is tried again.
add() {
    find_members || return 1
    own=$(own_member) || return 1
    if [ -n "$own" ]; then
        id=${own%% *}
        if data_is_of "$id"; then return 0; fi
        stop_member
        say "removing the earlier member $id of this machine"
        ctl member remove "$id"
        return 1
    fi
    stop_member
    move_data_aside
    ctl member add "$ETCD_NAME" --learner --peer-urls="$own_peer_url" >added || {
        cat added
        return 1
    }
    initial=$(sed -n 's/^ETCD_INITIAL_CLUSTER="\(.*\)"$/\1/p' added)
    [ -n "$initial" ] || return 1
    configure existing "$initial" formwork
    start_member
}

# promote: gives it its vote, once it has caught up.
promote() {
    find_members || return 1
    own=$(own_member) || return 1
    case $own in
        *" false") return 0 ;;
        *" true") ctl member promote "${own%% *}" ;;
        *) echo "this machine is no member any more" && return 1 ;;
    esac
}

say "$ETCD_NAME follows: waiting for the first member"
formwork agent cluster get etcd/bootstrap --wait 15m --of etcd-bootstrap >bootstrap
say "the cluster was begun by $(cat bootstrap)"
until_done 900 "adding $ETCD_NAME to the cluster" add
say "added as a learner; catching up"
until_done 300 "a vote for $ETCD_NAME" promote
until_done 120 "the member on this machine" answers "$own_client_url"
formwork agent cluster put "$members_prefix$ETCD_NAME" --value "$own_client_url" --overwrite >/dev/null
say "$ETCD_NAME is a member"
