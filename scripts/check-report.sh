#!/bin/bash
# Asserts that a directory holds a whole report: every file there, none empty, charts and run file of the right kind.
#   bash scripts/check-report.sh DIR
set -euo pipefail
dir=${1:?the directory of a report}
status=0
bad() {
    echo "check-report: $*" >&2
    status=1
}

[ -d "$dir" ] || { bad "\`$dir\` is no directory"; exit 1; }
for name in run.jsonl mail.txt report.html; do
    [ -s "$dir/$name" ] || bad "\`$dir/$name\` is missing or empty"
done
for kind in svg png; do
    compgen -G "$dir/*.$kind" >/dev/null || bad "\`$dir\` has no .$kind chart"
done
[ $status -eq 0 ] || exit $status

tail -n 1 "$dir/run.jsonl" | grep -q '"end"' || bad "\`$dir/run.jsonl\` does not end in an \`end\` record"
for chart in "$dir"/*.svg; do
    grep -q '</svg>' "$chart" || bad "\`$chart\` is torn"
    if grep -qE '\b(NaN|inf)\b' "$chart"; then bad "\`$chart\` holds a number that is none"; fi
done
for chart in "$dir"/*.png; do
    [ "$(head -c 8 "$chart" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || bad "\`$chart\` is no PNG"
done
if LC_ALL=C grep -nP '[^\x00-\x7f]|^.{73}' "$dir/mail.txt"; then
    bad "\`$dir/mail.txt\` has lines over 72 columns or beyond 7 bits"
fi
exit $status
