#!/bin/bash
# Fetches kernels of the Debian archive, and a qemu that takes plugins, into a cache of the user; installs nothing.
#   bash scripts/kernels.sh [--refresh] [5.10|6.1|6.12|newest|newest-rc|qemu]..     all of them if none is named
# What is in the cache is taken from there; --refresh asks the archive for what is new. Prints a line for each: name, file,
# version, with tabs between. Versions are the archive's newest; every package is verified against its signed hashes.
# Where names are given, each of them has to be had. Otherwise what cannot be had is said, and the rest goes on without it, as
# long as there are a kernel and a qemu.
#   MIRROR=URL           a mirror of Debian; otherwise the one this host is set up with
#   SECURITY_MIRROR=URL  the one of its security updates; otherwise that of this host, or MIRROR with `-security` behind
#   KEYRING=FILE         the archive's keys; otherwise those of the package debian-archive-keyring
# Exit codes: 0 done, 1 failed, 2 usage, 3 this host cannot, 130 interrupted.
set -euo pipefail
export LC_ALL=C

all=(5.10 6.1 6.12 newest newest-rc qemu)
# What a call with everything needs while it runs.
need_mb=600

# Where `die` leaves its message for somebody who goes on.
reason=

say() { echo "kernels: $*" >&2; }
die() { # exit code, message
    local code=$1
    shift
    if [ -n "$reason" ]; then echo "$*" >"$reason"; else say "$*"; fi
    exit "$code"
}

# --- what is asked for -----------------------------------------------------------------------------------------------

refresh=no wanted=()
for arg; do
    case $arg in
    --refresh) refresh=yes ;;
    5.10 | 6.1 | 6.12 | newest | newest-rc | qemu) wanted+=("$arg") ;;
    *) die 2 "unknown argument \`$arg\`; known are --refresh ${all[*]}" ;;
    esac
done
asked=${#wanted[@]}
[ "$asked" -gt 0 ] || wanted=("${all[@]}")

cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/itlbench
kernels=$cache/kernels

# The file of a name in the cache, whether it is there or not.
file_of() {
    case $1 in
    qemu) echo "$cache/qemu/qemu-system-x86_64" ;;
    *) echo "$kernels/$1/vmlinuz" ;;
    esac
}
version_of() { cat "$(dirname "$(file_of "$1")")/version"; }
is_cached() {
    [ -s "$(file_of "$1")" ] && [ -s "$(dirname "$(file_of "$1")")/version" ] && { [ "$1" != qemu ] || is_qemu_new_enough; }
}

# Whether the archive's version $2 of a name is older than what is in the cache: some mirrors lag. Then that stays.
is_behind() {
    is_cached "$1" && dpkg --compare-versions "$2" lt "$(version_of "$1")" || return
    say "keeping $1 $(version_of "$1"): the archive has the older $2"
}

# --- the archive -----------------------------------------------------------------------------------------------------

# The URI of this host's mirror of Debian that has a suite matching the pattern; apt reads its own configuration best. Others
# call suites of theirs `stable` too. Whose one is stands in its list; of lists that were never read apt knows no more than
# where they are, and the first with a `main` is taken: what Debian has not signed is refused later.
configured() {
    local fields=$'\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)'
    {
        apt-get indextargets --format "\$(ORIGIN)$fields" 'Created-By: Packages' || true
        apt-get indextargets --no-release-info --format "unread$fields" 'Created-By: Packages' || true
    } 2>/dev/null | awk -F '\t' -v suites="^($1)\$" '
        { sub("/$", "", $2) }
        found || $2 ~ /^cdrom:| / || $3 !~ suites || $4 != "main" { next }
        $1 == "Debian" || $1 == "unread" && !($2 in others) { print $2; found = 1 }
        $1 != "" && $1 !~ /^\$/ { others[$2] }'
}

find_archive() {
    local releases='bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable'
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        die 3 'failed to find apt-get and dpkg-deb; install apt, or give `itlbench kernels` images of your own'
    mirror=${MIRROR:-$(configured "$releases")}
    mirror=${mirror%/}
    [ -n "$mirror" ] || die 3 'no mirror of Debian is set up on this host; give one: MIRROR=URL'
    security=${SECURITY_MIRROR:-}
    [ -n "$security" ] || [ -n "${MIRROR:-}" ] || security=$(configured "($releases)-security")
    security=${security:-$mirror-security}
    keyring=${KEYRING:-}
    if [ -z "$keyring" ]; then
        for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg} ''; do
            [ ! -s "$keyring" ] || break
        done
    fi
    [ -s "$keyring" ] || die 3 "failed to find the archive's keys; install debian-archive-keyring, or name them: KEYRING=FILE"
}

# A host whose mirror stands still has to accept old lists. That is its administrator's choice, and what it means for ours is said.
say_whether_dates_count() {
    local option
    for option in Acquire::Check-Valid-Until Acquire::Check-Date; do
        [ "$(apt-config shell is "$option/b" 2>/dev/null)" = "is='false'" ] || continue
        say "this host's apt accepts lists past their date ($option), so the versions may be old"
        break
    done
}

# Runs a program of apt on the sources of $1 only, and on no package of this host. Proxies and the like stay as this host
# has them.
apt() { # name, program, arguments
    local state=$work/$1 program=$2
    shift 2
    "$program" -q -c "$state/apt.conf" "$@" </dev/null
}

apt_conf() { # directory of the state
    cat <<END
Dir::State "$1";
Dir::State::status "$1/status";
Dir::State::Lists "$1/lists";
Dir::State::extended_states "$1/extended";
Dir::Cache "$1/cache";
Dir::Cache::archives "$1/archives";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Log "$1";
APT::Default-Release "";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
#clear APT::Update;
APT::Update::Error-Mode "any";
#clear DPkg;
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
END
}

# Why the last step failed: what stands first in its log.
why() {
    local line
    # apt says under an `Err:` what was wrong with it.
    line=$(sed -nE '/^Err:/{n;s/^ +//;p;q}; s/^(E: |dpkg-deb: error: |tar: )//p' "$work/log" | head -n 1)
    [ -n "$line" ] || line=$(tail -n 1 "$work/log")
    ! df -Pk "$cache" | awk 'END { exit !($4 < 1024) }' || line="no space left in \`$cache\`"
    echo "${line:-no reason given}"
}

# Reads the lists of the suites $2.. as sources $1.
lists() {
    local name=$1 suite uri
    shift
    mkdir -p "$work/$name/lists/partial" "$work/$name/archives/partial" "$work/$name/cache"
    : >"$work/$name/status"
    apt_conf "$work/$name" >"$work/$name/apt.conf"
    for suite; do
        uri=$mirror
        [[ $suite != *-security ]] || uri=$security
        # apt-get install would leave packages of `file:` where they are.
        [ "$name" != qemu ] || uri=${uri/#file:/copy:}
        echo "deb [arch=amd64 target=Packages lang=none signed-by=$keyring] $uri $suite main"
    done >"$work/$name/sources.list"
    say "reading the lists of ${*}"
    apt "$name" apt-get update >"$work/log" 2>&1 || die 1 "failed to read the lists of $*: $(why)"
}

# A field of the newest version of a package; empty if there is no such package.
field() { # sources, package, field
    local record
    record=$(apt "$1" apt-cache show --no-all-versions "$2" 2>"$work/log") || grep -q '^E: No packages found' "$work/log" ||
        die 1 "failed to look up $2: $(why)"
    sed -n "s/^$3: //p" <<<"$record" | head -n 1
}

# Downloads a package of the sources $1.
download() {
    say "fetching $2"
    (cd "$work/$1/archives" && apt "$1" apt-get download "$2") >"$work/log" 2>&1 || die 1 "failed to fetch $2: $(why)"
}

# Unpacks, of all packages in $1, what matches the patterns $3.. into $2.
unpack() {
    local from=$1 into=$2 package
    shift 2
    mkdir -p "$into"
    for package in "$from"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" 2>"$work/log" |
            { tar -x -C "$into" --no-same-owner --wildcards "$@" 2>>"$work/log" || true; cat >/dev/null; } ||
            die 1 "failed to unpack \`${package##*/}\`: $(why)"
        # tar also fails where a pattern matches nothing, which is no failure here.
        ! grep -v -e 'Not found in archive' -e 'Exiting with failure status' "$work/log" | grep -q . ||
            die 1 "failed to unpack \`${package##*/}\`: $(why)"
        rm "$package"
    done
}

# Puts a finished directory in its place; nobody sees half of one.
publish() { # directory, place
    mkdir -p "$(dirname "$2")"
    [ ! -e "$2" ] || mv -T "$2" "$work/replaced.$RANDOM$RANDOM"
    mv -T "$1" "$2" || die 1 "failed to put \`$2\` in place"
}

# --- kernels ---------------------------------------------------------------------------------------------------------

suites_of() {
    case $1 in
    5.10) echo bullseye-security ;;
    6.1) echo bookworm bookworm-security ;;
    6.12) echo trixie trixie-security ;;
    newest) echo sid ;;
    newest-rc) echo experimental ;;
    esac
}

# 7.2.13-1: 7.2. 7.3~rc7-1~exp1: 7.3-rc7.
short_name() { sed -E 's/^([0-9]+\.[0-9]+)[^~-]*(~(rc[0-9]+))?.*$/\1-\3/; s/-$//' <<<"$1"; }

# Moves image and configuration out of the packages that were fetched, where they have them.
take_kernel() { # directory of the state, where to
    unpack "$1/archives" "$1/root" './boot/vmlinuz-*' './boot/config-*' '*/lib/modules/*/vmlinuz' '*/lib/modules/*/config'
    find "$1/root" -type f \( -name vmlinuz -o -name 'vmlinuz-*' \) -exec mv {} "$2/vmlinuz" \;
    find "$1/root" -type f \( -name config -o -name 'config-*' \) -exec mv {} "$2/config" \;
}

# What was the newest release candidate is none any more.
no_candidate() {
    local link=$kernels/newest-rc lacking='the archive has no release candidate at present'
    if [ -L "$link" ]; then
        lacking+="; $(readlink "$link") stays in the cache, but no longer as newest-rc"
        rm "$link"
    fi
    [ "$asked" -eq 0 ] || die 1 "$lacking"
    say "$lacking; going on without"
}

fetch_kernel() {
    local name=$1 version image short depends part made
    # shellcheck disable=SC2046 # words
    lists "$name" $(suites_of "$name")
    version=$(field "$name" linux-image-cloud-amd64 Version)
    short=$(short_name "$version")
    case $name:$version in
    newest-rc:*~rc*) ;;
    newest-rc:*)
        no_candidate
        return
        ;;
    *:) die 1 "the archive has no linux-image-cloud-amd64 in $(suites_of "$name")" ;;
    newest:*) ;;
    *) [ "$short" = "$name" ] || die 1 "the archive has no kernel $name any more, but \`$version\` in its place" ;;
    esac
    ! is_behind "$name" "$version" || return 0
    depends=$(field "$name" linux-image-cloud-amd64 Depends)
    image=$(grep -oE 'linux-image-[0-9][^ ,]*' <<<"$depends" | head -n 1) ||
        die 1 "failed to tell from linux-image-cloud-amd64 $version which kernel it is"
    # Newer packages leave image and configuration to packages of their own; which one has the latter has changed.
    depends=$(field "$name" "$image" Depends)
    made=$work/$name/made
    mkdir "$made"
    for part in "$image" linux-binary linux-base linux-modules; do
        [ ! -s "$made/vmlinuz" ] || [ ! -s "$made/config" ] || break
        [ "$part" = "$image" ] || part=$(grep -oE "$part-[0-9][^ ,]*" <<<"$depends" | head -n 1) || continue
        download "$name" "$part"
        take_kernel "$work/$name" "$made"
    done
    [ -s "$made/vmlinuz" ] && [ -s "$made/config" ] || die 1 "failed to find image and configuration in the packages of $image"
    echo "$version" >"$made/version"
    publish "$made" "$kernels/$short"
    if [ "$short" != "$name" ]; then
        ln -sfnT "$short" "$work/$name/link" && mv -T "$work/$name/link" "$kernels/$name"
    fi
    rm -rf "${work:?}/$name"
}

# --- qemu ------------------------------------------------------------------------------------------------------------

host_libc() { getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //' || true; }

# The suite whose C library is not older than $1, this host's: plugins built here are loaded by that qemu.
qemu_suites() {
    case $(printf '%s\n' "${1:-2.36}" 2.36.1 2.41.1 | sort -V | grep -nFx "${1:-2.36}" | cut -d: -f1) in
    1) echo bookworm bookworm-backports ;;
    2) echo trixie ;;
    *) echo sid ;;
    esac
}

# A host that was upgraded has a newer C library than a qemu fetched before, and builds plugins for it. The one of that qemu
# says its version itself; a newer one than needed is fine, and so is one of the suite that would be asked again.
is_qemu_new_enough() {
    local host cached='' loader
    host=$(host_libc)
    for loader in "$cache"/qemu/root/{usr/,}lib/x86_64-linux-gnu/ld-linux-x86-64.so.2; do
        [ ! -x "$loader" ] || cached=$("$loader" --version | sed -nE '1s/.* version ([0-9]+\.[0-9]+).*/\1/p') || true
    done
    [ -n "$cached" ] || return
    [ "$(qemu_suites "$host")" = "$(qemu_suites "$cached")" ] ||
        [ "$(printf '%s\n' "$host" "$cached" | sort -V | tail -n 1)" = "$cached" ]
}

write_wrapper() {
    cat >"$1" <<'END'
#!/bin/sh
# qemu with the libraries, firmware and modules beside it, whatever this host has.
here=$(dirname "$(readlink -f "$0")")
root=$here/root
# The one in lib64 may be a link to the loader of this host.
for loader in "$root"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$root"/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2; do
    [ ! -e "$loader" ] || break
done
export QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
exec "$loader" --library-path "$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu" \
    "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
END
    chmod 755 "$1"
}

fetch_qemu() {
    local suites version debs=$work/qemu/archives made=$work/qemu/made
    suites=$(qemu_suites "$(host_libc)")
    # shellcheck disable=SC2086 # words
    lists qemu $suites
    say "fetching qemu-system-x86 and its libraries"
    apt qemu apt-get install -y --no-install-recommends --download-only -t "${suites##* }" qemu-system-x86 >"$work/log" 2>&1 ||
        die 1 "failed to fetch qemu-system-x86: $(why)"
    version=$(find "$debs" -name 'qemu-system-x86_*' | sed 's/.*qemu-system-x86_\(.*\)_amd64.deb/\1/; s/%3a/:/')
    ! is_behind qemu "$version" || return 0
    mkdir "$made"
    # Two layouts: libraries lie in /lib or, where /usr is merged, in /usr/lib.
    unpack "$debs" "$made/root" './usr/bin/qemu-system-x86_64' '*/x86_64-linux-gnu/*.so*' '*/lib64/*' './usr/share/qemu/*' './usr/share/seabios/*'
    write_wrapper "$made/qemu-system-x86_64"
    echo "$version" >"$made/version"
    "$made/qemu-system-x86_64" --version >"$work/log" 2>&1 || die 1 "qemu $version does not run here: $(why)"
    publish "$made" "$cache/qemu"
    rm -rf "${work:?}/qemu"
}

# --- main ------------------------------------------------------------------------------------------------------------

fetch() {
    local free_mb
    find_archive
    free_mb=$(df -Pm "$cache" | awk 'END { print $4 }')
    [ "$free_mb" -ge "$need_mb" ] || die 1 "\`$cache\` has $free_mb MB free, $need_mb MB are needed"
    if [ "$1" = qemu ]; then fetch_qemu; else fetch_kernel "$1"; fi
}

# Where nothing was named, a suite that has gone away does not take the others with it.
try() {
    local code why says="going on without $1: "
    # In a condition, the first step that fails would not end the subshell.
    set +e
    (
        set -e
        trap 'exit 130' INT TERM HUP
        reason=$work/reason
        fetch "$1"
    )
    code=$?
    set -e
    [ "$code" -ne 0 ] || return 0
    [[ ! $code =~ ^(129|130|143)$ ]] || exit 130
    why=$(cat "$work/reason" 2>/dev/null) || why="it ended with $code"
    rm -rf "$work/reason" "${work:?}/$1"
    ! is_cached "$1" || says="keeping $1 $(version_of "$1"): "
    [ "$code" -ne 3 ] || failed=3 says=
    say "$says$why"
}

missing=() failed=1
for name in "${wanted[@]}"; do
    [ "$refresh" != yes ] && is_cached "$name" || missing+=("$name")
done

if [ ${#missing[@]} -gt 0 ]; then
    [ "$asked" -eq 0 ] || find_archive
    mkdir -p "$kernels" 2>/dev/null || die 1 "failed to create \`$kernels\`"
    exec 9>"$cache/.lock" || die 1 "failed to write into \`$cache\`"
    flock -n 9 || { say 'another call is fetching; waiting for it' && flock 9; }
    # Under the lock, so these are left over from calls that were killed.
    rm -rf "$cache"/.fetch.*
    work=$(mktemp -d "$cache/.fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    say_whether_dates_count
    for name in "${missing[@]}"; do
        # Another call may have been faster.
        [ "$refresh" = yes ] || ! is_cached "$name" || continue
        if [ "$asked" -gt 0 ]; then fetch "$name"; else try "$name"; fi
        # What this host cannot, it cannot for the others either.
        [ "$failed" -ne 3 ] || break
    done
fi

there=
for name in "${wanted[@]}"; do
    is_cached "$name" || continue
    printf '%s\t%s\t%s\n' "$name" "$(realpath "$(file_of "$name")")" "$(version_of "$name")"
    there+=" $name"
done
if [ "$asked" -eq 0 ]; then
    [[ $there == *qemu ]] || die "$failed" 'there is no qemu'
    [[ $there == *' '*' '* ]] || die "$failed" 'there is no kernel'
fi
