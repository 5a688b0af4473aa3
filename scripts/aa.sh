#!/bin/sh
# Our own false alarms on this machine: runs that measure the same against itself, each loaded anew, until there are PAIRS pairs
# of halves, and then how many of those were called different. Runs already in DIR count, so that it can be stopped and resumed.
#   sh scripts/aa.sh BINARY [DIR [PAIRS [SECONDS]]]
# DIR: where the runs are kept, aa-runs if not given. PAIRS: 200. SECONDS: stop for now after so long; exit code 75 then.
set -u
binary=$1
dir=${2:-aa-runs}
pairs=${3:-200}
seconds=${4:-0}

# A pair is two halves of four trials of one arm; a run of both arms has two.
per_run=2
begun=$(date +%s)
mkdir -p "$dir" || exit 1
rm -rf "$dir"/.making-*

made() {
    set -- "$dir"/run-*
    if [ -e "$1" ]; then echo "$#"; else echo 0; fi
}

while [ $(($(made) * per_run)) -lt "$pairs" ]; do
    if [ "$seconds" -gt 0 ] && [ $(($(date +%s) - begun)) -ge "$seconds" ]; then
        echo "aa: $(($(made) * per_run)) of $pairs pairs so far; run it again to go on" >&2
        exit 75
    fi
    number=$(($(made) + 1))
    making=$dir/.making-$number
    "$binary" run chain --aa --programs 64 --trials 8 --samples 10 --out "$making" >"$dir/last.log" 2>&1 || {
        status=$?
        cat "$dir/last.log" >&2
        rm -rf "$making"
        exit "$status"
    }
    # The run file is all that is kept of it; a half made one never gets this name.
    mkdir "$making/kept" && mv "$making"/*/run.jsonl "$making/kept/" && mv "$making/kept" "$dir/run-$number" || exit 1
    rm -rf "$making"
done
exec "$binary" compare --aa "$dir"/run-*
