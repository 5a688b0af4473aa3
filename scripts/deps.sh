#!/bin/sh
# Installs what the build needs and this host lacks, and says so; silent when nothing is missing.
#   sh scripts/deps.sh            what `make run` and `make test` need
#   sh scripts/deps.sh --static   also the static archives that `make release` links
# Every need is tested by using the thing itself: a package of the right name proves nothing.
set -eu

say() { echo "deps: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

dir=$(cd "$(dirname "$0")/.." && pwd)
want_static=no
case "${1:-}" in
'') ;;
--static) want_static=yes ;;
*) fail "unknown option \`$1\`; the only one is \`--static\`" ;;
esac

# Each has_X proves that X works.
has_clang() { echo 'int x;' | clang -target bpf -c -x c -o /dev/null - 2>/dev/null; }
has_pkgconfig() { pkg-config --version >/dev/null 2>&1; }
compiles() { # C source, then further arguments of cc
    source=$1
    shift
    printf '%s\n' "$source" | cc -x c -o /dev/null - "$@" 2>/dev/null
}
elf_source='#include <gelf.h>
#include <libelf.h>
int main(void) { return elf_version(EV_CURRENT) == EV_NONE; }'
zlib_source='#include <zlib.h>
int main(void) { return !zlibVersion(); }'
has_libelf() { compiles "$elf_source" -lelf; }
has_zlib() { compiles "$zlib_source" -lz; }
# libelf.a may itself need zstd; pkg-config knows.
static_libs() { pkg-config --static --libs-only-l libelf zlib 2>/dev/null || echo -lelf -lz; }
# shellcheck disable=SC2046 # a list of flags
has_static() { compiles "$elf_source" -static $(static_libs); }

# Prints what is missing, one word each, in a fixed order.
missing() {
    has_clang || echo clang
    has_pkgconfig || echo pkg-config
    has_libelf || echo libelf
    has_zlib || echo zlib
    [ "$want_static" = no ] || has_static || echo static
}

# Prints the packages that hold the things in $2.. for package manager $1.
packages() {
    manager=$1
    shift
    for thing; do
        case "$manager:$thing" in
        *:clang) echo clang ;;
        apt-get:pkg-config | zypper:pkg-config) echo pkg-config ;;
        dnf:pkg-config) echo pkgconf-pkg-config ;;
        pacman:pkg-config) echo pkgconf ;;
        apt-get:libelf) echo libelf-dev ;;
        dnf:libelf) echo elfutils-libelf-devel ;;
        zypper:libelf) echo libelf-devel ;;
        pacman:libelf) echo libelf ;;
        apt-get:zlib) echo zlib1g-dev ;;
        dnf:zlib | zypper:zlib) echo zlib-devel ;;
        pacman:zlib) echo zlib ;;
        apt-get:static) echo libc6-dev libelf-dev zlib1g-dev ;;
        dnf:static) echo glibc-static elfutils-libelf-devel-static zlib-static libzstd-static ;;
        *) fail "$manager has no package with the static archives of libelf and zlib;" \
            "run \`make release\` on Debian, Ubuntu or Fedora" ;;
        esac
    done
}

package_manager() {
    for manager in apt-get dnf zypper pacman; do
        if command -v "$manager" >/dev/null 2>&1; then
            echo "$manager"
            return
        fi
    done
    fail "failed to find a known package manager (apt-get, dnf, zypper, pacman);" \
        "install by hand: $* (as a rule clang, pkg-config, and the headers of libelf and zlib)"
}

install_command() { # package manager, then packages
    manager=$1
    shift
    case "$manager" in
    apt-get) echo "apt-get install -y --no-install-recommends $*" ;;
    dnf) echo "dnf install -y $*" ;;
    zypper) echo "zypper --non-interactive install $*" ;;
    pacman) echo "pacman -S --needed --noconfirm $*" ;;
    esac
}

# Prints what makes a command run as root: nothing for root.
as_root() {
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null 2>&1 || fail "not root and no sudo; run as root: $*"
    echo sudo
}

check_toolchain() {
    compiles 'int main(void) { return 0; }' || fail 'failed to find a C compiler that links; install gcc'
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$dir/Cargo.toml")
    found=$("${CARGO:-cargo}" --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p') || found=
    [ -n "$found" ] || fail "failed to find cargo; get Rust $wanted or later from https://rustup.rs"
    awk -v found="$found" -v wanted="$wanted" 'BEGIN {
        split(found, f, "."); split(wanted, w, ".")
        exit !(f[1] > w[1] || f[1] == w[1] && f[2] >= w[2])
    }' || fail "cargo $found is too old, Rust $wanted or later is needed; get it from https://rustup.rs"
}

check_toolchain
lacking=$(missing | tr '\n' ' ')
[ -n "$lacking" ] || exit 0
lacking=${lacking% }

# The lists below are meant to be split into words.
# shellcheck disable=SC2086
{
    manager=$(package_manager $lacking)
    needed=$(packages "$manager" $lacking)
    needed=$(echo $needed)
    command=$(install_command "$manager" $needed)
    sudo=$(as_root "$command")
    say "missing: $lacking"
    # A fresh box has no package lists, and old ones name packages that are gone.
    if [ "$manager" = apt-get ]; then
        say "running: ${sudo:+$sudo }apt-get update"
        $sudo apt-get update >&2 || say 'failed to update the package lists; going on with those there are'
    fi
    say "running: ${sudo:+$sudo }$command"
    $sudo $command >&2 </dev/null || fail "failed to install; run by hand: ${sudo:+$sudo }$command"
}
still=$(missing | tr '\n' ' ')
[ -z "$still" ] || fail "still missing after the installation: ${still% }"
say "installed: $needed"
