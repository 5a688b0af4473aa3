#!/bin/sh
# Starts `itlbench run`, as root where it must be root, and leaves the report to the user who asked for it.
#   sh scripts/run.sh BINARY [ARG..]
set -u
binary=$1
shift

# The simulated machine needs no privileges.
simulated() {
    case " $* " in
    *' --machine sim '* | *' --machine=sim '*) return 0 ;;
    esac
    return 1
}

if [ "$(id -u)" -eq 0 ] || simulated "$@"; then
    exec "$binary" run "$@"
fi
if ! command -v sudo >/dev/null 2>&1; then
    echo "run: not root and no sudo; as root, run: $binary run $*" >&2
    exit 3
fi

echo "run: loading BPF programs needs root; running: sudo $binary run $*" >&2
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
# On Ctrl-C the tool ends its run in order; wait for it.
trap : INT
{
    sudo "$binary" run "$@"
    echo $? >"$out.status"
} | tee -i "$out"
status=$(cat "$out.status" 2>/dev/null || echo 1)
rm -f "$out.status"

# The last line of stdout is the directory of the report. Only a directory made by root is handed over.
made=$(tail -n 1 "$out")
if [ -d "$made" ] && [ "$(stat -c %u "$made")" -eq 0 ] && [ -e "$made/run.jsonl" ]; then
    sudo chown -R "$(id -u):$(id -g)" "$made"
    # `reports` itself, if this run was the first.
    parent=$(dirname "$made")
    [ "$(stat -c %u "$parent")" -ne 0 ] || [ "$(basename "$parent")" != reports ] || sudo chown "$(id -u):$(id -g)" "$parent"
fi
exit "$status"
