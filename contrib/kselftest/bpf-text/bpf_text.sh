#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Is the kernel's allocator of BPF text correct? KTAP, and kselftest's exit codes.
readonly KSFT_SKIP=4

skip() {
	printf 'KTAP version 1\n1..0 # SKIP %s\n' "$1"
	exit $KSFT_SKIP
}

[ "$(id -u)" = 0 ] || skip 'root is needed'
[ -x ./itlbench ] || skip 'copy the static binary of itlbench here'
./itlbench selftest "$@"
status=$?
# This host cannot run it; the reason is printed.
[ $status -eq 3 ] && exit $KSFT_SKIP
exit $status
