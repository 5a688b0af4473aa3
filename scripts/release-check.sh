#!/bin/bash
# Runs the release binary away from the distribution that built it: in a bare root that holds nothing but the binary,
# /proc, /sys and an empty /tmp, or inside the root of another distribution.
#   bash scripts/release-check.sh [ROOTFS]
# Everything is mounted in a private mount namespace, which ends with this script; ROOTFS itself is not written to.
set -euo pipefail
cd "$(dirname "$0")/.."
rootfs=${1:-}
binary=$PWD/target/static/itlbench

if [ "$(id -u)" -ne 0 ]; then
    echo "release-check: needs root for a mount namespace; run: sudo make release-check" >&2
    exit 3
fi
if [ "${RELEASE_CHECK_INSIDE:-}" != yes ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    RELEASE_CHECK_INSIDE=yes SCRATCH=$scratch unshare --mount --propagation private bash "$0" "$@"
    exit
fi

# From here on in the namespace. All is on a tmpfs, so nothing is left behind.
mount -t tmpfs none "$SCRATCH"
mkdir "$SCRATCH"/{upper,work,root}
root=$SCRATCH/root
if [ -n "$rootfs" ]; then
    mount -t overlay -o "lowerdir=$(realpath "$rootfs"),upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" none "$root"
fi
mkdir -p "$root"/{proc,sys,tmp}
cp "$binary" "$root/itlbench"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"

inside() { chroot "$root" /itlbench "$@" </dev/null; }

inside --version
inside list >/dev/null
# `doctor` answers 3 on a host that cannot measure; that too is an answer.
inside doctor >/dev/null || [ $? -eq 3 ]
for machine in sim kernel; do
    inside run chain --machine "$machine" --programs 64 --trials 2 --samples 5 --out "/tmp/$machine" >"$SCRATCH/$machine"
    made=$(tail -n 1 "$SCRATCH/$machine")
    bash scripts/check-report.sh "$root$made"
done
echo "release-check: runs in ${rootfs:-a bare root}"
