#!/bin/sh
# Writes the image. `disk claim` decides whether that may be, and marks the disk before its first byte changes.
set -eu

disk=$FORMWORK_PARAM_INSTALL_DISK
url=${FORMWORK_PARAM_IMAGE_URL:-}
if [ -z "$url" ]; then
    if [ -z "${FORMWORK_PARAM_IMAGE_FILE:-}" ]; then
        echo "which image? Set image-file (a path in the server's image folder) or image-url" >&2
        exit 1
    fi
    url=$FORMWORK_FILES/$FORMWORK_PARAM_IMAGE_FILE
fi
if [ ! -b "$disk" ]; then
    echo "there is no disk $disk; these are here: $(echo /sys/block/* | sed 's|/sys/block/|/dev/|g')" >&2
    exit 1
fi
formwork agent disk claim "$disk"
echo "writing $url to $disk"
formwork agent disk write-image "$disk" --url "$url" --sha256 "$FORMWORK_PARAM_IMAGE_SHA256"
