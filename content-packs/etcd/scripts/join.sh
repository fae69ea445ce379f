#!/bin/sh
# Leader or follower? The cluster profile says, once and for all machines alike.
set -eu

formwork agent cluster elect etcd-bootstrap --ttl 5m \
    --leader /usr/local/lib/formwork-etcd/lead.sh --publish etcd.json \
    --follower /usr/local/lib/formwork-etcd/follow.sh
