#!/bin/sh
set -eu
systemctl restart web
