# shellcheck shell=bash
# Debian packages by an apt of our own: other releases than the host's, nothing installed, everything kept for
# rebuilding without a network. Needs common.bash. Every function takes its folder from $packages_dir.
# shellcheck disable=SC2154

# The keys that signed the archive; apt refuses what they did not sign.
archive_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# debian_sources SUITE: sources for that release, from the mirrors that the host's own apt uses.
# FORMWORK_DEBIAN_MIRROR names another one.
debian_sources() {
    local suite=$1 uri release component seen=" " found=0
    if [ -n "${FORMWORK_DEBIAN_MIRROR:-}" ]; then
        printf 'deb [signed-by=%s] %s %s main\n' "$archive_keyring" "$FORMWORK_DEBIAN_MIRROR" "$suite"
        return 0
    fi
    # $(…) below are apt's own variables.
    # shellcheck disable=SC2016
    while read -r uri release component; do
        [ "$component" = main ] || continue
        case $release in
            bullseye | bookworm | trixie | forky | oldstable | stable | testing) release=$suite ;;
            *-updates) release=$suite-updates ;;
            *-security) release=$suite-security ;;
            *) continue ;;
        esac
        case $seen in *" $release "*) continue ;; esac
        seen+="$release "
        [ "$release" != "$suite" ] || found=1
        printf 'deb [signed-by=%s] %s %s main\n' "$archive_keyring" "$uri" "$release"
    done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages')
    [ "$found" = 1 ] || die "the host's apt knows no Debian mirror: set FORMWORK_DEBIAN_MIRROR to one"
}

# isolated_apt SUITE COMMAND...: apt-get or apt-cache with folders and sources of their own.
isolated_apt() {
    local suite=$1 command=$2 home=$packages_dir/apt/$1
    shift 2
    "$command" -q \
        -o "Dir::State=$home/state" -o "Dir::State::status=$home/status" \
        -o "Dir::Cache=$home/cache" -o "Dir::Cache::archives=$packages_dir/$suite" \
        -o "Dir::Etc::sourcelist=$home/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::Etc::trusted=/dev/null -o Dir::Etc::trustedparts=/dev/null \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User="" \
        -o APT::Install-Recommends=false -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Binary::apt-get::APT::Keep-Downloaded-Packages=true \
        -o Debug::NoLocking=1 "$@"
}

# apt_update SUITE: makes the folders and reads the index, once a run of the script.
apt_update() {
    local suite=$1 home=$packages_dir/apt/$1
    [ -r "$archive_keyring" ] || need_packages debian-archive-keyring
    mkdir -p "$home/state/lists/partial" "$home/cache" "$packages_dir/$suite/partial"
    : >"$home/status"
    debian_sources "$suite" >"$home/sources.list"
    say "  reading the package index of $suite"
    isolated_apt "$suite" apt-get update >"$home/log" 2>&1 || {
        cat "$home/log" >&2
        die "could not read the package index of $suite"
    }
}

# wanted_files SUITE closure|exact PACKAGE...: the files that these packages are, with (closure) all they depend on.
wanted_files() {
    local suite=$1 how=$2 none=$packages_dir/apt/$1/none
    shift 2
    # apt names only what it has yet to download: it is shown an empty folder.
    mkdir -p "$none/partial"
    if [ "$how" = closure ]; then
        isolated_apt "$suite" apt-get -o "Dir::Cache::archives=$none" --print-uris -y install "$@"
    else
        (cd "$none" && isolated_apt "$suite" apt-get --print-uris download "$@")
    fi | awk '/^\x27/ { print $2 }' | LC_ALL=C sort -u
}

# fetch_packages SET SUITE closure|exact PACKAGE...: brings a set of packages into the cache, once; its list of files
# with their checksums is $packages_dir/SET.lock. --refresh of build-images removes the locks.
fetch_packages() {
    local set=$1 suite=$2 how=$3 lock=$packages_dir/$1.lock asked
    shift 3
    asked="# $suite $how $*"
    if [ -f "$lock" ] && [ "$(head -n 1 "$lock")" = "$asked" ] &&
        (cd "$packages_dir/$suite" && sha256sum --quiet --check "$lock") 2>/dev/null; then
        return 0
    fi
    say "  fetching packages of $suite: $*"
    need_index "$suite"
    local files log=$packages_dir/apt/$suite/log
    files=$(wanted_files "$suite" "$how" "$@")
    [ -n "$files" ] || die "no package files found for: $*"
    if [ "$how" = closure ]; then
        isolated_apt "$suite" apt-get -y --download-only install "$@"
    else
        (cd "$packages_dir/$suite" && isolated_apt "$suite" apt-get download "$@")
    fi >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "could not fetch: $*"
    }
    # shellcheck disable=SC2086  # one word a file; package files have no spaces
    (cd "$packages_dir/$suite" && printf '%s\n' "$asked" && sha256sum $files) >"$lock.new"
    mv "$lock.new" "$lock"
}

# need_index SUITE: reads the index of that release unless this run has done so.
need_index() {
    case " ${updated_suites:-} " in *" $1 "*) return 0 ;; esac
    apt_update "$1"
    updated_suites="${updated_suites:-} $1"
}

# fetch_kernel SET SUITE METAPACKAGE: brings the kernel that a metapackage stands for into the cache, without what it
# depends on (tools that build an initrd; ours is built here).
fetch_kernel() {
    local set=$1 suite=$2 meta=$3 name
    name=$(sed -n '1s/^# [^ ]* exact //p' "$packages_dir/$set.lock" 2>/dev/null || true)
    if [[ $name != linux-image-*"${meta#linux-image-}" ]]; then
        need_index "$suite"
        name=$(isolated_apt "$suite" apt-cache depends "$meta" |
            awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
        [ -n "$name" ] || die "no kernel found behind $meta"
    fi
    fetch_packages "$set" "$suite" exact "$name"
}

# package_files SET SUITE: the paths of the set's package files.
package_files() { awk -v dir="$packages_dir/$2/" '!/^#/ { print dir $2 }' "$packages_dir/$1.lock"; }

# unpack_packages SET SUITE FOLDER: unpacks the set there with /bin, /sbin and /lib in /usr; no script of a package is run.
unpack_packages() {
    local file folder
    for folder in bin sbin lib lib64; do
        mkdir -p "$3/usr/$folder"
        [ -e "$3/$folder" ] || ln -s "usr/$folder" "$3/$folder"
    done
    while read -r file; do
        dpkg-deb --fsys-tarfile "$file" | tar --extract --keep-directory-symlink --directory "$3"
    done < <(package_files "$1" "$2")
}
