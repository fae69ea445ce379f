# shellcheck shell=bash
# What every script here shares: speaking, timing, and getting the Debian packages that a task needs.

# say WORDS...: tells the reader what happens, apart from the output that other programs read.
say() { printf '%s\n' "$*" >&2; }

# die WORDS...: says what is wrong and ends the script.
die() {
    say "${0##*/}: $*"
    exit 1
}

# now_ms: milliseconds of a clock, for measuring how long things take.
now_ms() { printf '%s\n' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# seconds_since MS: "12.3", counted from an earlier now_ms.
seconds_since() {
    local elapsed
    elapsed=$(($(now_ms) - $1))
    printf '%d.%d\n' "$((elapsed / 1000))" "$((elapsed % 1000 / 100))"
}

# as_root COMMAND...: runs it as root, by sudo where we are not; fails where there is no way.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 127
    fi
}

# need_packages PACKAGE...: installs those Debian packages that are missing, and says so.
need_packages() {
    local package missing=() tries
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            missing+=("$package")
        fi
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "these packages are missing and only root may install them: apt-get install ${missing[*]}"
    fi
    # Another apt may hold the lock; the index may be older than the archive.
    for tries in 1 2 3; do
        if as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            install --no-install-recommends "${missing[@]}" >&2; then
            return 0
        fi
        say "apt-get install failed (try $tries); refreshing the package index"
        as_root apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || true
    done
    die "could not install: ${missing[*]}"
}

# need_tap_device: ordinary users make tap devices in their own namespaces only if /dev/net/tun lets them open it.
need_tap_device() {
    [ -c /dev/net/tun ] || as_root modprobe tun || die "/dev/net/tun is missing: the kernel has no tun module"
    if ! { : <>/dev/net/tun; } 2>/dev/null; then
        say "opening /dev/net/tun to ordinary users (mode 0666, as udev does on an installed Debian)"
        as_root chmod 0666 /dev/net/tun ||
            die "/dev/net/tun is closed to this user: as root, chmod 0666 /dev/net/tun"
    fi
}
