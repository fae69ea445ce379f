#!/bin/sh
# Network boot stays first: installers and firmware like to put the disk there, and then nothing of ours boots again. The
# entry that this environment was started by is the network's.
set -eu

if [ ! -d /sys/firmware/efi ]; then
    echo "no UEFI here: the order is the BIOS's own"
    exit 0
fi
if ! command -v efibootmgr >/dev/null || ! entries=$(efibootmgr); then
    echo "the UEFI variables cannot be read; the boot order stays as it is"
    exit 0
fi
current=$(echo "$entries" | sed -n 's/^BootCurrent: //p')
order=$(echo "$entries" | sed -n 's/^BootOrder: //p')
if [ -z "$current" ] || [ -z "$order" ]; then
    echo "the firmware does not say what it booted from; the boot order stays as it is"
    exit 0
fi
case $order in
    "$current" | "$current",*)
        echo "the network entry Boot$current is first already: $order"
        exit 0
        ;;
esac
rest=$(echo "$order" | tr ',' '\n' | grep -v -x "$current" | paste -s -d , -)
echo "the boot order was $order; the network entry Boot$current comes first again"
efibootmgr --quiet --bootorder "$current${rest:+,$rest}"
now=$(efibootmgr | sed -n 's/^BootOrder: //p')
case $now in
    "$current" | "$current",*) ;;
    *)
        echo "the firmware kept the order $now" >&2
        exit 1
        ;;
esac
