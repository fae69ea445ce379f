#!/bin/sh
# All together now: the barrier opens when every machine of the cluster profile has come here, each with its member.
set -eu
# shellcheck source=functions.sh
. /usr/local/lib/formwork-etcd/functions.sh

formwork agent cluster join etcd-joined
formwork agent cluster barrier etcd-joined --count all --timeout 40m

# A read that the cluster's majority confirms, at this member and at every other; and a write that each of them shows.
member_urls "" >urls
say "members: $(tr '\n' ' ' <urls)"
value="$FORMWORK_JOB"
until_done 120 "a write at $own_client_url" \
    etcdctl --endpoints "$own_client_url" --command-timeout=10s put "formwork/health/$ETCD_NAME" "$value"
while read -r url; do
    until_done 120 "the member at $url" answers "$url"
    read_back=$(etcdctl --endpoints "$url" --command-timeout=10s get --print-value-only "formwork/health/$ETCD_NAME")
    if [ "$read_back" != "$value" ]; then
        say "$url shows '$read_back', $own_client_url wrote '$value'" >&2
        exit 1
    fi
    say "written on $ETCD_NAME, read at $url: $read_back"
done <urls
etcdctl --endpoints "$own_client_url" member list --write-out=table
formwork agent fact set services '["etcd"]'
