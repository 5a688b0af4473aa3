#!/bin/sh
# Runs `itlbench selftest` and tells LAVA each result: itlbench-selftest.sh BINARY [OPTIONS]
binary=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$binary" selftest "$@" >"$log"
status=$?
cat "$log"
awk '
	/^ok [0-9]+ [^#]* # SKIP/ { print $3, "skip"; next }
	/^ok [0-9]+ / { print $3, "pass" }
	/^not ok [0-9]+ / { print $4, "fail" }
' "$log" | while read -r name result; do
	lava-test-case "$name" --result "$result"
done
# Results that are announced and missing: it ended early, or could not run here.
case $status in
0 | 4) lava-test-case itlbench-selftest --result pass ;;
3) lava-test-case itlbench-selftest --result skip ;;
*) lava-test-case itlbench-selftest --result fail ;;
esac
exit 0
