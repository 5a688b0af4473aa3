#!/bin/bash
# Boots the default matrix: the kernels of scripts/kernels.sh, and the newest of them once more without huge pages for JIT text.
#   bash scripts/matrix.sh BINARY PLUGIN [ARG..]     arguments for `itlbench kernels` come behind, for instance --selftest
# `--refresh` as the first of them asks the archive for newer kernels.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1 plugin=$2
shift 2

refresh=()
if [ "${1:-}" = --refresh ]; then
    refresh=(--refresh)
    shift
fi
fetched=$(bash scripts/kernels.sh "${refresh[@]}")

images=() newest='' more=(--plugin "$plugin")
# A selftest has no windows for it.
[[ " $* " != *" --selftest "* ]] || more=()
while IFS=$'\t' read -r name path _; do
    short=$(basename "$(dirname "$path")")
    case $name in
    qemu) more+=(--qemu "$path") ;;
    *) images+=("$short=$path") ;;
    esac
    # A release candidate comes last, if there is one.
    [[ $name != newest* ]] || newest=$short=$path
done <<<"$fetched"
# 7.3-4k of 7.3-rc7: short, so that tables have room for it; the list of kernels says what it was booted with.
if [ -n "$newest" ]; then
    small=${newest%%=*} small=${small%%-*}-4k
    images+=("$small=${newest#*=}")
    more+=(--append "$small:nohugevmalloc")
fi

exec "$binary" kernels "${more[@]}" "$@" "${images[@]}"
