# shellcheck shell=bash
# The image of a machine's own disk: Debian with a GPT that BIOS and UEFI both start. Made without root where user
# namespaces with several ids are allowed, and without loop devices. Needs common.bash, debian.bash and ram.bash;
# reads $top, $out, $work, $suite, $packages_dir of build-images. What it holds is said in ram/NAME.list and ram/NAME/.
# shellcheck disable=SC2154

# Where the partitions lie, in sectors of 512 bytes: GRUB's core, the EFI system partition, the root file system.
bios_start=2048
esp_start=4096
esp_sectors=6144
root_start=10240
# Room for a marker before the backup GPT, and for the backup GPT: no partition reaches into the last MiB.
tail_sectors=4096
# What the root file system has beside its files, for the agent and the first start (inode tables and the reserve that ext4
# keeps for itself go off it); then it grows over its disk. Every MiB is unpacked,
# written and read back at each install.
free_mib=40
# The same in every build; a machine's own identity is made when it first starts.
disk_guid=5f0c7a3e-8d5b-4c55-9a7e-2f6d6f726d01
bios_guid=5f0c7a3e-8d5b-4c55-9a7e-2f6d6f726d02
esp_guid=5f0c7a3e-8d5b-4c55-9a7e-2f6d6f726d03
root_guid=5f0c7a3e-8d5b-4c55-9a7e-2f6d6f726d04

# own_ids COMMAND...: as root of a namespace with many user ids, where we are not root already.
own_ids() {
    if [ "$(id -u)" = 0 ]; then "$@"; else unshare --map-root-user --map-auto -- "$@"; fi
}

# disk_image_item NAME: builds images/NAME.raw.zst and images/NAME.json if what they are made of has changed.
disk_image_item() {
    local name=$1 packages files
    mapfile -t packages < <(ram_words "$name" package)
    mapfile -t files < <(find "$top/ram/$name" -type f | sort)
    need_packages mmdebstrap dpkg-dev e2fsprogs dosfstools mtools grub-pc-bin grub-efi-amd64-bin uidmap
    fetch_kernel "$name.kernel" "$suite" "$(ram_words "$name" kernel)"
    fetch_packages "$name" "$suite" closure "${packages[@]}"
    fetch_packages "$name.initrd" "$suite" exact busybox-static
    item "$name-packages" "$packages_dir/$name".lock -- install_packages "$name" "$out/.base/$name.tar"
    item "$name" "$stamps/$name-packages" "$packages_dir/$name".kernel.lock "$top/scripts/lib/assemble-root" \
        "$top/ram/disk-init" "$top/ram/$name.list" "${files[@]}" -- disk_image "$name"
}

# disk_image NAME: the whole of it.
disk_image() {
    local name=$1 folder=$work/$1 modules more started
    mkdir -p "$folder" "$out/images"
    started=$(now_ms)
    unpack_packages "$name.kernel" "$suite" "$folder/kernel"
    mapfile -t modules < <(ram_words "$name" module)
    disk_initrd "$name" "$folder/kernel" "$folder/initrd.img" "${modules[@]}"
    mapfile -t more < <(ram_words "$name" later)
    mkdir -p "$folder"/modules/{etc,usr/lib}
    ln -s usr/lib "$folder/modules/lib"
    copy_modules "$folder/kernel" "$folder/modules" "${modules[@]}" "${more[@]}"
    own_ids "$top/scripts/lib/assemble-root" "$out/.base/$name.tar" "$folder"/kernel/boot/vmlinuz-* \
        "$folder/modules/usr/lib/modules" "$folder/initrd.img" "$top/ram/$name" "$folder/tree" "$folder/root.img" \
        "$free_mib" "$root_guid"
    disk_boot "$folder"
    disk_assemble "$folder" "$(stat -c %s "$folder/root.img")"
    say "  image made in $(seconds_since "$started") s"
    started=$(now_ms)
    zstd --quiet -12 -T0 --force "$folder/disk.raw" -o "$out/images/$name.raw.zst.new"
    mv "$out/images/$name.raw.zst.new" "$out/images/$name.raw.zst"
    disk_describe "$folder/disk.raw" "$out/images/$name"
    say "  $name: $(($(stat -c %s "$folder/disk.raw") / 1048576)) MiB, $(du -h "$out/images/$name.raw.zst" | cut -f 1) packed" \
        "in $(seconds_since "$started") s"
}

# local_repository NAME FOLDER: a package archive of the set alone, for installing without a network.
local_repository() {
    local file
    mkdir -p "$2"
    while read -r file; do cp --reflink=auto "$file" "$2/"; done < <(package_files "$1" "$suite")
    (
        cd "$2"
        dpkg-scanpackages --multiversion . /dev/null >Packages 2>/dev/null
        printf 'Suite: %s\nCodename: %s\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nSHA256:\n %s %s Packages\n' \
            "$suite" "$suite" "$(sha256sum Packages | cut -d ' ' -f 1)" "$(stat -c %s Packages)" >Release
    )
}

# install_packages NAME ARCHIVE: a root file system with the set installed, as a tar archive. (The packages were checked
# against Debian's signatures when they came, and against the lock file now.)
install_packages() {
    local names hook repository=$work/$1.repository log=$work/install.log
    # mmdebstrap's namespace has user ids of its own, which must be able to read what is here.
    chmod 0755 "$work"
    local_repository "$1" "$repository"
    mkdir -p "${2%/*}"
    names=$(ram_words "$1" package | paste -s -d ,)
    # shellcheck disable=SC2016  # expanded by the hook
    hook='for f in bin sbin lib lib64; do mkdir -p "$1/usr/$f"; ln -s "usr/$f" "$1/$f"; done'
    SOURCE_DATE_EPOCH=0 mmdebstrap --mode=auto --variant=essential --setup-hook="$hook" --include="$names" \
        --dpkgopt=path-exclude=/usr/share/{doc,man,locale,info,lintian,bash-completion,zsh}/'*' \
        "$suite" "$work/$1.tar" "deb [trusted=yes] copy:$repository ./" >"$log" 2>&1 || {
        grep -E '^(E|W|dpkg: error)' "$log" | cut -c 1-400 >&2
        cp "$log" "$out/install.log"
        die "installing packages failed: $out/install.log"
    }
    mv "$work/$1.tar" "$2"
}

# disk_initrd NAME KERNEL FILE MODULE...: the small initrd that finds the root file system.
disk_initrd() {
    local root=$work/$1.initrd kernel=$2 file=$3
    unpack_packages "$1.initrd" "$suite" "$work/$1.busybox"
    shift 3
    rm -rf "$root"
    make_skeleton "$root"
    copy_busybox "${root%.initrd}.busybox" "$root"
    copy_modules "$kernel" "$root" "$@"
    install -m 0755 "$top/ram/disk-init" "$root/init"
    pack_initrd "$root" "$file"
}

# disk_boot FOLDER: GRUB for both firmwares. It finds its files on the third partition of the disk it was started from,
# never by a label that another disk may carry too.
disk_boot() {
    local folder=$1 modules=(normal part_gpt ext2 fat linux regexp test sleep reboot minicmd)
    # shellcheck disable=SC2016  # GRUB's own variables
    printf '%s\n' 'regexp --set=1:disk "^([^,]+)" "$root"' 'set root="$disk,gpt3"' 'set prefix="($root)/boot/grub"' \
        >"$folder/early.cfg"
    grub-mkimage -O i386-pc -p '(,gpt3)/boot/grub' -c "$folder/early.cfg" -o "$folder/core.img" biosdisk "${modules[@]}"
    grub-mkimage -O x86_64-efi -p /boot/grub -c "$folder/early.cfg" -o "$folder/BOOTX64.EFI" "${modules[@]}"
    truncate -s $((esp_sectors * 512)) "$folder/esp.img"
    mkfs.vfat --invariant -n ESP "$folder/esp.img" >/dev/null
    touch --date=@315532800 "$folder/BOOTX64.EFI"
    mmd -i "$folder/esp.img" ::/EFI ::/EFI/BOOT
    mcopy -m -i "$folder/esp.img" "$folder/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
}

# little_endian NUMBER BYTES: as bytes.
little_endian() {
    local number=$1 byte
    for ((byte = 0; byte < $2; byte++)); do
        # shellcheck disable=SC2059  # an escape is what is printed
        printf "\\x$(printf %02x $((number & 255)))"
        number=$((number >> 8))
    done
}

# put FILE OFFSET: writes standard input there, in place.
put() { dd of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc,sparse iflag=fullblock status=none; }

# disk_assemble FOLDER ROOT-BYTES: the partition table, the partitions, and what GRUB wants to know about where it lies.
disk_assemble() {
    local folder=$1 disk=$1/disk.raw root_sectors=$(($2 / 512))
    rm -f "$disk"
    truncate -s $(((root_start + root_sectors + tail_sectors) * 512)) "$disk"
    sfdisk --quiet --no-reread --no-tell-kernel "$disk" <<END
label: gpt
label-id: $disk_guid
start=$bios_start, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=$bios_guid, name=bios-boot
start=$esp_start, size=$esp_sectors, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=$esp_guid, name=esp
start=$root_start, size=$root_sectors, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$root_guid, name=root
END
    # The first sector: code, up to the partition table, that reads one sector from the BIOS boot partition …
    head -c 440 /usr/lib/grub/i386-pc/boot.img | put "$disk" 0
    little_endian "$bios_start" 8 | put "$disk" $((0x5c))
    # … which is code that reads the rest of GRUB from the sectors behind it.
    put "$disk" $((bios_start * 512)) <"$folder/core.img"
    little_endian $((bios_start + 1)) 8 | put "$disk" $((bios_start * 512 + 500))
    put "$disk" $((esp_start * 512)) <"$folder/esp.img"
    put "$disk" $((root_start * 512)) <"$folder/root.img"
}

# disk_describe RAW PREFIX: sizes and checksums, in PREFIX.json.
disk_describe() {
    printf '{\n  "size": %s,\n  "packed_size": %s,\n  "sha256": "%s",\n  "raw_sha256": "%s"\n}\n' \
        "$(stat -c %s "$1")" "$(stat -c %s "$2.raw.zst")" \
        "$(sha256sum <"$2.raw.zst" | cut -d ' ' -f 1)" "$(sha256sum <"$1" | cut -d ' ' -f 1)" >"$2.json.new"
    mv "$2.json.new" "$2.json"
}
