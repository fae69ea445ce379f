# shellcheck shell=bash
# A machine of the lab: one QEMU process. Needs common.bash; reads the options, $state, $name and $folder of scripts/lab.
# shellcheck disable=SC2154,SC2054

# choose_accelerator auto|kvm|tcg: prints the one to use. A /dev/kvm is not enough: some virtual machines have one but no
# hardware behind it, and Linux hangs in what it starts.
choose_accelerator() {
    case $1 in
        kvm | tcg) printf '%s\n' "$1" ;;
        auto)
            if [ -r /dev/kvm ] && [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
                printf 'kvm\n'
            else
                printf 'tcg\n'
            fi
            ;;
        *) die "--accel is auto, kvm or tcg" ;;
    esac
}

# machine_pid: QEMU's process as seen from here; fails when the machine is off.
machine_pid() {
    local pid
    pid=$(cat "$folder/pid" 2>/dev/null) || return 1
    # The number may have gone to another process since: QEMU carries its folder in its arguments.
    { tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "formwork-lab-machine=$folder"; } 2>/dev/null || return 1
    printf '%s\n' "$pid"
}

machine_status() {
    local folder=$state/machines/$name
    if machine_pid >/dev/null; then printf 'on\n'; else printf 'off\n'; fi
}

# tap_name: the machine's tap device; a device's name has at most 15 letters, so it is counted, not named.
tap_name() {
    local number=0 other
    if [ ! -f "$folder/tap" ]; then
        for other in "$state"/machines/*/tap; do [ ! -f "$other" ] || number=$((number + 1)); done
        while grep -qsx "tap$number" "$state"/machines/*/tap; do number=$((number + 1)); done
        printf 'tap%s\n' "$number" >"$folder/tap"
    fi
    cat "$folder/tap"
}

machine_start() {
    local tap rom code vars drive launcher tries=0 arguments network_first disk_second
    [[ $mac =~ ^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$ ]] || die "--mac wants an address such as 52:54:00:00:00:01"
    holder >/dev/null || die "no lab is up in $state: scripts/lab up --state $state"
    mkdir -p "$folder"
    if machine_pid >/dev/null; then die "$name is on already"; fi
    # One at a time: two machines must not choose one tap device.
    exec 8>"$state/machines.lock"
    flock 8
    tap=$(tap_name)
    flock -u 8
    exec 8>&-
    [ -f "$folder/disk.raw" ] || truncate -s "$disk_size" "$folder/disk.raw"
    [ -f "$folder/uuid" ] || cat /proc/sys/kernel/random/uuid >"$folder/uuid"
    drive=driver=raw,node-name=disk0,discard=unmap,detect-zeroes=unmap,cache.direct=off,cache.no-flush=on
    if [ -n "$blkdebug" ]; then
        cp "$blkdebug" "$folder/blkdebug.conf"
        drive+=",file.driver=blkdebug,file.config=blkdebug.conf,file.image.driver=file,file.image.filename=disk.raw"
    else
        drive+=",file.driver=file,file.filename=disk.raw"
    fi
    # Told an order, QEMU's firmware keeps to it at each start, whatever its own variables say.
    case $boot_order in
        network) network_first=,bootindex=1 disk_second=,bootindex=2 ;;
        firmware) network_first='' disk_second='' ;;
        *) die "--boot-order is network or firmware" ;;
    esac
    arguments=(
        -name "$name,process=qemu-$name" -smp "$cpus" -m "$memory"
        # A file of no use to QEMU: says whose process this is.
        -fw_cfg "name=opt/formwork-lab,string=formwork-lab-machine=${folder//,/,,}"
        -nodefaults -display none
        -chardev "file,id=console,path=console.log,append=on" -serial chardev:console
        -chardev "socket,id=monitor,path=monitor.sock,server=on,wait=off" -mon chardev=monitor,mode=readline
        -chardev "socket,id=qmp,path=qmp.sock,server=on,wait=off" -mon chardev=qmp,mode=control
        -uuid "$(cat "$folder/uuid")"
        -smbios "type=1,manufacturer=Formwork,product=Lab,serial=LAB-$(tr -d - <"$folder/uuid" | cut -c 1-12)"
        -blockdev "$drive"
        -device virtio-blk-pci,drive=disk0$disk_second,serial="${name:0:20}"
        -netdev "tap,id=net0,ifname=$tap,script=no,downscript=no"
        -device virtio-rng-pci
    )
    case $(cat "$state/accelerator") in
        kvm) arguments+=(-accel kvm -cpu host) ;;
        # Without a bound QEMU's cache of translated code grows to 600 MB over some reboots.
        *) arguments+=(-accel tcg,tb-size=64 -cpu max) ;;
    esac
    case $firmware in
        bios)
            rom=$top/cache/images/lab/pxe-virtio.rom
            if [ -f "$rom" ]; then
                # The ROM names virtio's modern device; QEMU adapts only its own ROMs to the older one.
                rom=,romfile=$rom,disable-legacy=on
            else
                say "no $rom (scripts/build-images makes it): booting by QEMU's own ROM, slowly"
                rom=
            fi
            # A firmware that found nothing to boot tries again, as a person would make it.
            arguments+=(-machine q35,graphics=off -boot reboot-timeout=3000
                -device "virtio-net-pci,netdev=net0,mac=$mac$network_first$rom")
            ;;
        uefi)
            code=/usr/share/OVMF/OVMF_CODE_4M.fd
            vars=$folder/vars.fd
            [ -f "$vars" ] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$vars"
            # No ROM: the firmware's own PXE client and driver.
            arguments+=(
                -machine q35
                -drive "if=pflash,format=raw,readonly=on,file=$code" -drive if=pflash,format=raw,file=vars.fd
                -device "virtio-net-pci,netdev=net0,mac=$mac$network_first,romfile="
            )
            ;;
        *) die "--firmware is bios or uefi" ;;
    esac
    rm -f "$folder/pid" "$folder/qmp.sock" "$folder/monitor.sock"
    (
        # shellcheck disable=SC2016  # expanded by the inner shell
        in_lab bash -c '
            set -e
            tap=$1 folder=$2
            shift 2
            # The path of a socket has few letters to spare: QEMU is given relative ones.
            cd "$folder"
            ip link show "$tap" >/dev/null 2>&1 || ip tuntap add "$tap" mode tap
            ip link set "$tap" master br0 up
            read -r pid _ </proc/self/stat
            echo "$pid" >pid.new && mv pid.new pid
            exec setsid qemu-system-x86_64 "$@"
        ' machine "$tap" "$folder" "${arguments[@]}" </dev/null >"$folder/qemu.log" 2>&1
    ) &
    launcher=$!
    until [ -S "$folder/qmp.sock" ] && machine_pid >/dev/null; do
        tries=$((tries + 1))
        { [ "$tries" -lt 100 ] && kill -0 "$launcher" 2>/dev/null; } || die "$name did not start: $(cat "$folder/qemu.log")"
        sleep 0.1
    done
}

# machine_monitor COMMAND: QEMU's answer to a command of its monitor.
machine_monitor() {
    machine_pid >/dev/null || die "$name is off"
    # The monitor greets, echoes what is typed with cursor movements, and ends with its prompt: only the answer is kept.
    (cd "$folder" && printf '%s\n' "$1" | socat -t 0.3 - UNIX-CONNECT:monitor.sock) | tr -d '\r' |
        sed -e '1,2d' -e '/^(qemu) $/d'
}

# machine_wait SECONDS: until it is off.
machine_wait() {
    local end=$((SECONDS + $1))
    while machine_pid >/dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

machine_stop() {
    machine_pid >/dev/null || return 0
    machine_monitor system_powerdown >/dev/null || true
    machine_wait 15 || machine_kill
}

machine_kill() {
    local pid
    pid=$(machine_pid) || return 0
    kill -KILL "$pid" 2>/dev/null || true
    machine_wait 10 || die "$name (process $pid) does not end"
}
