# Shared by the entry scripts: packages, build, progress. Source it, don't run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
bin=$target/release

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
[ -t 2 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '==> %s\n' "$*" >&2; }

# What building and running needs on a fresh Debian 12, and what the tests need beyond that.
build_packages="build-essential ca-certificates curl libclang-dev libdpdk-dev dpdk libhwloc-dev libudev-dev libpcap-dev libnuma-dev pkg-config"
run_packages="iproute2 iputils-ping python3"
test_packages="apache2-utils curl dnsmasq-base dpdk-dev dropbear-bin ethtool frr git haproxy inetutils-traceroute iperf3 iproute2 iputils-ping iputils-tracepath lighttpd memcached mtr-tiny netcat-openbsd nginx-light openssh-client openssl procps prometheus radvd redis-server redis-tools socat strace tcpdump traceroute tshark unbound user-mode-linux valgrind wget wrk"

# install_packages NAME...: those that are missing, with apt; says what it does.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" = 0 ] || die "missing Debian packages: ${missing[*]}; run: sudo apt-get install ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    local log; log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install ${missing[*]}; the log is $log"
    fi
    rm -f "$log"
}

# need_rust: Debian 12's own rustc is too old for this workspace.
need_rust() {
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    command -v cargo >/dev/null || die "Rust 1.88 or newer is needed: curl https://sh.rustup.rs -sSf | sh -s -- -y, then run this again"
    local have; have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '1.88.0\n%s\n' "$have" | sort -V | head -1)" = 1.88.0 ] || die "Rust $have is too old, 1.88 is needed: rustup update stable"
}

# build: daemon, tools and libraries, release profile.
build() {
    say "building (the first time takes a few minutes)"
    (cd "$root" && cargo build --release --locked --workspace) || die "the build failed; the compiler's message is above"
    export IOPKT_BUILT=1
}

# build_crate NAME: one crate and what it needs, for whoever has not built the rest; with it, cargo would compile what
# they share once more, because crates that are not asked for ask for no features.
build_crate() {
    [ -n "${IOPKT_BUILT:-}" ] || (cd "$root" && cargo build --release --locked -q -p "$1") || die "the build failed; the compiler's message is above"
}
