# shellcheck shell=bash
# The RAM environments: a Debian kernel and an initrd of ours. Needs common.bash and debian.bash; reads $top, $out,
# $work, $suite and $agent of build-images. What an environment holds is said in ram/NAME.list.
# shellcheck disable=SC2154

# ram_words NAME KEYWORD: the values of that keyword in the environment's list.
ram_words() { awk -v keyword="$2" '$1 == keyword { print $2 }' "$top/ram/$1.list"; }

# ram_packages NAME: brings the environment's packages into the cache.
ram_packages() {
    local names
    mapfile -t names < <(ram_words "$1" package)
    fetch_kernel "$1.kernel" "$suite" "$(ram_words "$1" kernel)"
    fetch_packages "$1" "$suite" closure "${names[@]}"
}

# ram_base NAME FOLDER: builds the environment without the agent: FOLDER/vmlinuz and FOLDER/base.zst.
ram_base() {
    local name=$1 folder=$2 root=$work/$1.root programs modules
    mapfile -t programs < <(ram_words "$name" program)
    mapfile -t modules < <(ram_words "$name" module)
    rm -rf "$work/$name".*
    unpack_packages "$name" "$suite" "$work/$name.packages"
    unpack_packages "$name.kernel" "$suite" "$work/$name.kernel"
    make_skeleton "$root"
    copy_busybox "$work/$name.packages" "$root"
    copy_programs "$work/$name.packages" "$root" "${programs[@]}"
    copy_modules "$work/$name.kernel" "$root" "${modules[@]}"
    install -m 0755 "$top/ram/init" "$root/init"
    install -m 0755 "$top/ram/udhcpc.script" "$root/etc/udhcpc.script"
    printf '%s\n' "$name" >"$root/etc/formwork-environment"
    mkdir -p "$folder"
    install -m 0644 "$work/$name.kernel"/boot/vmlinuz-* "$folder/vmlinuz"
    pack_initrd "$root" "$folder/base.zst"
}

# ram_finish NAME BASE FOLDER: the environment with the agent: FOLDER/vmlinuz and FOLDER/initrd.zst. The kernel reads
# archives one after the other, so that a new agent does not pack the rest again.
ram_finish() {
    local name=$1 base=$2 folder=$3 layer=$work/$1.agent
    rm -rf "$layer"
    install -D -m 0755 "$agent" "$layer/usr/sbin/formwork-agent"
    # Under this name scripts call it: formwork agent …
    mkdir -p "$layer/usr/bin"
    ln -s ../sbin/formwork-agent "$layer/usr/bin/formwork"
    pack_initrd "$layer" "$work/$name.agent.zst"
    mkdir -p "$folder"
    cat "$base/base.zst" "$work/$name.agent.zst" >"$folder/initrd.zst.new"
    mv "$folder/initrd.zst.new" "$folder/initrd.zst"
    install -m 0644 "$base/vmlinuz" "$folder/vmlinuz"
    say "  $name: kernel $(du -h --apparent-size "$folder/vmlinuz" | cut -f 1)," \
        "initrd $(du -h --apparent-size "$folder/initrd.zst" | cut -f 1)"
}

# ram_item NAME: builds the environment if what it is made of has changed.
ram_item() {
    local name=$1
    wanted "$name" || return 0
    ram_packages "$name"
    item "$name-base" "$packages_dir/$name".lock "$packages_dir/$name.kernel.lock" \
        "$top"/ram/{init,udhcpc.script,"$name.list"} -- ram_base "$name" "$out/.base/$name"
    if [ -n "$agent" ]; then
        item "$name" "$stamps/$name-base" "$agent" -- ram_finish "$name" "$out/.base/$name" "$out/$name"
    else
        say "$name: not finished, since it carries the agent: name its program with --agent"
    fi
}

# ram_check: builds each RAM environment again, from the packages on, and compares.
ram_check() {
    local name file different=0
    [ -n "$agent" ] || die "--check wants --agent"
    for name in discovery burn-in; do
        wanted "$name" || continue
        ram_base "$name" "$work/again/.base/$name"
        ram_finish "$name" "$work/again/.base/$name" "$work/again/$name"
        for file in vmlinuz initrd.zst; do
            cmp "$out/$name/$file" "$work/again/$name/$file" || different=1
        done
    done
    [ "$different" = 0 ] || die "a RAM environment came out different when built again"
    say "the RAM environments came out the same, byte for byte"
}

# make_skeleton ROOT: the folders and the few files that programs expect.
make_skeleton() {
    local folder root=$1
    mkdir -p "$root"/{dev,proc,sys,run,tmp,etc,mnt,root,formwork,usr/{bin,sbin,lib,lib64},var}
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
    ln -s ../run "$root/var/run"
    ln -s ../tmp "$root/var/tmp"
    ln -s ../proc/self/mounts "$root/etc/mtab"
    # No password fits "*": nobody logs in here, at the console or elsewhere.
    printf 'root:*:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
}

# copy_busybox PACKAGES ROOT: busybox and a link for each of its commands.
copy_busybox() {
    local command
    install -m 0755 "$1/usr/bin/busybox" "$2/usr/bin/busybox"
    "$1/usr/bin/busybox" --list-full | while read -r command; do
        command=${command##*/}
        case $command in
            # Ways in, and ways to be surprised: left out.
            telnetd | ftpd | httpd | inetd | getty | login | su | sulogin | passwd | init | linuxrc | busybox) continue ;;
        esac
        ln -s busybox "$2/usr/bin/$command"
    done
}

# copy_programs PACKAGES ROOT PROGRAM...: programs and the libraries that they load, found by the packages' own loader.
copy_programs() {
    local packages=$1 root=$2 program library loader=$1/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
    local paths=$1/usr/lib/x86_64-linux-gnu
    shift 2
    for program in "$@"; do
        [ -e "$packages$program" ] || die "no package brings $program"
        rm -f "$root/usr/bin/${program##*/}"
        install -D -m 0755 "$packages$program" "$root$program"
        while read -r library; do
            [ -e "$root${library#"$packages"}" ] || install -D -m 0755 "$library" "$root${library#"$packages"}"
        done < <("$loader" --library-path "$paths" --list "$packages$program" | awk '$2 == "=>" { print $3 }')
    done
    install -D -m 0755 "$loader" "$root/usr/lib64/ld-linux-x86-64.so.2"
}

# copy_modules KERNEL ROOT MODULE...: kernel modules and the modules that they need; a module that the kernel has built in, or
# does not have, is left out and said.
copy_modules() {
    local kernel=$1 root=$2 release module how file absent=()
    shift 2
    release=$(basename "$kernel"/usr/lib/modules/*)
    depmod --basedir "$kernel" "$release"
    for module in "$@"; do
        while read -r how file _; do
            [ "$how" = insmod ] || continue
            install -D -m 0644 "$file" "$root/usr/lib/modules/${file#*/lib/modules/}"
        done < <(modprobe --dirname "$kernel" --set-version "$release" --show-depends --ignore-install "$module" 2>/dev/null ||
            echo "absent $module")
        modprobe --dirname "$kernel" --set-version "$release" --show-depends "$module" >/dev/null 2>&1 || absent+=("$module")
    done
    [ "${#absent[@]}" = 0 ] || say "  not in this kernel: ${absent[*]}"
    cp "$kernel"/lib/modules/"$release"/modules.{builtin,builtin.modinfo,order} "$root/usr/lib/modules/$release/"
    depmod --basedir "$root" "$release"
    # busybox reads the text tables only.
    rm -f "$root/usr/lib/modules/$release"/modules.*.bin
    printf '%s\n' "$@" >"$root/etc/formwork-modules"
}

# pack_initrd ROOT FILE: the same tree gives the same bytes: sorted, owned by root, without times or inode numbers.
pack_initrd() {
    find "$1" -exec touch --no-dereference --date=@0 {} +
    (cd "$1" && find . -mindepth 1 -print0 | sort -z |
        cpio --quiet --null --create --format=newc --reproducible --owner=+0:+0) |
        zstd --quiet -15 --force -T1 -o "$2.new"
    mv "$2.new" "$2"
}
