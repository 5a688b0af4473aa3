#!/bin/sh
# Builds one static-pie binary, verifies that it is one, and prints its path and size.
#
# The explicit --target keeps build scripts and proc macros dynamic while crt-static holds for the binary. libbpf-sys
# links libelf and libz as static archives by name and has to be told where the C compiler finds them.
set -eu
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
# A directory of its own: other RUSTFLAGS in the shared one would rebuild everything at every change of target.
dir=target/static

fail() {
    echo "release: $*" >&2
    exit 1
}

sh scripts/deps.sh --static
archive=$(cc -print-file-name=libelf.a)
[ -f "$archive" ] || fail 'failed to find `libelf.a`'
archives=$(cd "$(dirname "$archive")" && pwd)

flags='-C target-feature=+crt-static'
# Since elfutils 0.189 libelf can be built with zstd, which libbpf-sys does not know of.
for lib in $(pkg-config --static --libs-only-l libelf); do
    case $lib in
    -lelf | -lz) ;;
    *) flags="$flags -C link-arg=$lib" ;;
    esac
done

RUSTFLAGS=$flags LIBBPF_SYS_LIBRARY_PATH=$archives \
    "${CARGO:-cargo}" build --release --locked --features static --target "$target" --target-dir "$dir"

binary=$dir/itlbench
strip -o "$binary" "$dir/$target/release/itlbench"

# static-pie: position independent, no interpreter, no shared library.
LC_ALL=C readelf -h "$binary" | grep -q 'Type: *DYN' || fail "\`$binary\` is not position independent"
if LC_ALL=C readelf -l "$binary" | grep -q INTERP; then fail "\`$binary\` asks for an interpreter"; fi
if LC_ALL=C readelf -d "$binary" | grep NEEDED; then fail "\`$binary\` needs shared libraries"; fi
echo "$binary: static-pie, $(stat -c %s "$binary") bytes"
