# shellcheck shell=bash
# A Rust toolchain, where the machine has none new enough. Needs common.bash.

# need_rust: cargo of the version that Cargo.toml asks for, or newer. Debian's own is too old, so rustup gives one.
need_rust() {
    local wanted have
    need_packages build-essential cmake pkg-config git ca-certificates curl
    [ ! -d "$HOME/.cargo/bin" ] || PATH=$HOME/.cargo/bin:$PATH
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2) || have=
    if [ -n "$have" ] && printf '%s\n%s\n' "$wanted" "$have" | sort --version-sort --check=quiet; then
        return 0
    fi
    say "Rust $wanted or newer is needed, ${have:-none} is here: installing it by rustup into $HOME/.cargo"
    if ! command -v rustup >/dev/null; then
        curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path >&2
        PATH=$HOME/.cargo/bin:$PATH
    fi
    rustup toolchain install stable --profile minimal --component rustfmt --component clippy >&2
    export RUSTUP_TOOLCHAIN=stable
}
