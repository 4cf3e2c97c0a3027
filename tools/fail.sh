#!/bin/sh
# usage: fail.sh [folder]
# Programs that must not compile, and what the compiler must say. Each file of the folder (default:
# test/fail) tells in comments at the start of a line:
#
#     // gcc: text            gcc refuses it, and what it says contains the text
#     // clang: text          the same for clang; a compiler that is not named is not asked
#     // both: text           the same for both
#     // flags: -O1           more flags
#     // link                 it compiles, and fails to link
#     // again: -DSECOND      compile it once more with these flags and link both objects
#     // run: text            it compiles and links, and aborts having said the text on stderr
#
# A file that mentions FIXED must moreover compile (and link) with -DFIXED: so the error is the one
# that is meant. GCC and CLANG name the compilers; one that is not there is left out, and with
# STRICT=1 fails. Ends with `N passed, M failed`.

root=$(cd "$(dirname "$0")/.." && pwd)
flags="-std=c11 -I. -I$root -pthread"

# The texts after `// key: `, a line each.
texts() {
    sed -n "s|^// $2: *||p" "$1"
}

# Does the output contain all texts that the file names for these keys?
says_all() {
    file=$1 out=$2
    shift 2
    for key in "$@"; do texts "$file" "$key"; done > "$out.texts"
    while IFS= read -r text; do
        grep -qF -e "$text" "$out" && continue
        echo "does not say: $text"
        return 1
    done < "$out.texts"
}

# Compiles the file, and links it if it has something to do with that. $3: more flags.
build() {
    file=$1 cc=$2 more="$(texts "$1" flags) $3"
    # shellcheck disable=SC2086     # flags are words
    $cc $flags $more -c "$file" -o "$work/a.o" || return 1
    grep -Eq '^// (link|run)' "$file" || return 0
    set -- "$work/a.o"
    if grep -q '^// again' "$file"; then
        # shellcheck disable=SC2046,SC2086
        $cc $flags $more $(texts "$file" again) -c "$file" -o "$work/b.o" || return 1
        set -- "$@" "$work/b.o"
    fi
    compiled=1
    case " $more " in *" c++ "*) set -- "$@" -lstdc++ ;; esac
    $cc "$@" -pthread -o "$work/program"
}

# Says why the file is not as it should be; nothing if it is.
verdict() {
    file=$1 cc=$2 name=$3
    compiled=
    if build "$file" "$cc" "" > "$work/out" 2>&1; then built=1; else built=; fi
    if grep -q '^// run' "$file"; then
        [ "$built" ] || { echo "does not build"; return; }
        # shellcheck disable=SC3045     # where there is no ulimit -c, a core file is the price
        (ulimit -c 0; exec "$work/program") > /dev/null 2> "$work/out"
        rc=$?
        [ $rc = 134 ] || { echo "ended with status $rc instead of aborting"; return; }
        says_all "$file" "$work/out" run || return
    else
        [ ! "$built" ] || { echo "builds, but must not"; return; }
        if grep -q '^// link' "$file"; then
            [ "$compiled" ] || { echo "does not compile, but must fail to link"; return; }
        fi
        says_all "$file" "$work/out" "$name" both || return
    fi
    if grep -q FIXED "$file"; then
        build "$file" "$cc" -DFIXED > "$work/out" 2>&1 || echo "does not build with -DFIXED either"
    fi
}

# One file with one compiler: leaves its report, or an empty file.
if [ "$1" = --one ]; then
    file=$2 name=${3%%=*} cc=${3#*=} report=$4
    work=$report.d
    mkdir -p "$work"
    why=$(verdict "$file" "$cc" "$name")
    : > "$report"
    if [ "$why" ]; then
        {
            echo "FAIL $file ($name): $why"
            head -n 30 "$work/out" | sed 's/^/    /'
            echo "    again: $cc $flags $(texts "$file" flags) -c $file -o /dev/null"
        } > "$report"
    fi
    rm -rf "$work"
    exit 0
fi

folder=${1:-test/fail}
reports=$(mktemp -d) || exit 2
trap 'rm -rf "$reports"' EXIT
missing=0
for compiler in "gcc=${GCC:-gcc}" "clang=${CLANG:-clang}"; do
    name=${compiler%%=*}
    if ! command -v "${compiler#*=}" > /dev/null; then
        [ "$name" = gcc ] || [ "$STRICT" ] && echo "skipped: no $name"
        [ -z "$STRICT" ] || missing=$((missing + 1))
        continue
    fi
    for file in "$folder"/*.c; do
        grep -Eqs "^// ($name|both|run):" "$file" || continue
        printf '%s\n' "$file" "$compiler" "$reports/$name-$(basename "$file" .c)"
    done
done > "$reports/list"

grep '^skipped' "$reports/list"
if grep -qv '^skipped' "$reports/list"; then
    grep -v '^skipped' "$reports/list" | xargs -n 3 -P 2 "$0" --one
fi

passed=0 failed=$missing
for report in "$reports"/gcc-* "$reports"/clang-*; do
    [ -e "$report" ] || continue
    if [ -s "$report" ]; then
        failed=$((failed + 1))
        cat "$report"
    else
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
