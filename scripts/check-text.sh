#!/bin/sh
# Rules that rustfmt and clippy do not know, over the files git tracks. Prints each offence as file:line:text.
set -eu
cd "$(dirname "$0")/.."
status=0

# What holds at no line of the tracked files that match: rule, pattern (extended), pathspecs.
never() {
    rule=$1
    pattern=$2
    shift 2
    # Not ours or made by the tool: fonts, licence texts, recorded runs, copies of kernel files, snapshots of output.
    if git grep -nIE -e "$pattern" -- "$@" ':!assets' ':!LICENSES' ':!reports/*/*' ':!tests/data' ':!*.snap' >&2; then
        echo "check-text: $rule (above)" >&2
        status=1
    fi
}

never 'no tabs in prose and TOML' "$(printf '\t')" '*.md' '*.toml'
never 'no trailing blanks' '[[:blank:]]+$' .
never 'spell iTLB, dTLB and JITed in prose' '(^|[^[:alnum:]_./`-])(ITLBs?|Itlb|itlb|DTLBs?|Dtlb|dtlb|JITted|jitted|Jited|jited|JIT-ed|JITTED)([^[:alnum:]_./`-]|$)' \
    '*.md' 'workloads/*.toml'

for file in $(git ls-files 'src/mod.rs' 'src/**/mod.rs'); do
    case $(head -n 1 "$file") in
    '//! '*) ;;
    *)
        echo "check-text: \`$file\` does not open with what goes in, what comes out and why it is apart (//!)" >&2
        status=1
        ;;
    esac
done
exit $status
