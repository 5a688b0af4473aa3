#!/bin/bash
# Boots the default matrix: the kernels of scripts/kernels.sh, and the release candidate once more without huge pages for JIT text.
#   bash scripts/matrix.sh BINARY PLUGIN [ARG..]     arguments for `itlbench kernels` come behind
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

images=() more=()
while IFS=$'\t' read -r name path _; do
    short=$(basename "$(dirname "$path")")
    case $name in
    qemu) more+=(--qemu "$path") ;;
    newest-rc)
        images+=("$short=$path" "$short-nohugevmalloc=$path")
        more+=(--append "$short-nohugevmalloc:nohugevmalloc")
        ;;
    *) images+=("$short=$path") ;;
    esac
done <<<"$fetched"

exec "$binary" kernels --plugin "$plugin" "${more[@]}" "$@" "${images[@]}"
