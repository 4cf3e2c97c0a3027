#!/bin/sh
# usage: fail.sh [folder]
# Programs that must not compile, and what the compiler must say. Each file of the folder (default:
# test/fail) tells in comments at the start of a line:
#
#     // gcc: text            gcc refuses it, and what it says contains the text
#     // clang: text          the same for clang; a compiler that is not named is not asked
#     // both: text           the same for both
#     // flags: -O1           more flags
#     // with: -O2..3 -DX     with ALL=1, all of it again with these flags, too; here at two levels
#     // gcc with: -O0        the same for one compiler
#     // link                 it compiles, and fails to link
#     // again: -DSECOND      compile it once more with these flags and link both objects
#     // run: text            it compiles and links, and aborts having said the text on stderr
#     // lint: text           tools/lint.sh refuses it, and says the text
#     // clean                nothing is wrong: no compiler says anything, with all the warnings
#
# A file that mentions FIXED must moreover compile (and link, and run) with -DFIXED and all the
# warnings, and lint must be silent: so the error is the one that is meant. GCC and CLANG name the
# compilers; one that is not there is left out, and with STRICT=1 fails. Ends with `N passed, M
# failed`.

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 2
flags="-I. -pthread" # not $root, which may contain blanks
export LC_ALL=C
warnings="-Wall -Wextra -Wshadow -Wconversion -Wcast-qual -Wimplicit-fallthrough -Wundef -Werror"

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
    file=$1 cc=$2 more="$(texts "$1" flags) $variant $3"
    case $more in *-std=*) ;; *) more="-std=c11 $more" ;; esac
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

run() {
    limit=
    command -v timeout > /dev/null && limit="timeout 5"
    # shellcheck disable=SC3045     # where there is no ulimit -c, a core file is the price
    (ulimit -c 0; $limit "$work/program"; exit $?) > /dev/null 2> "$work/out" # the `Aborted', too
}

# Says why the file is not as it should be; nothing if it is.
verdict() {
    file=$1 cc=$2 name=$3
    compiled=
    if grep -q '^// clean' "$file"; then
        build "$file" "$cc" "$warnings -Wpedantic" > "$work/out" 2>&1 ||
            { echo "does not build"; return; }
        [ ! -s "$work/out" ] || echo "does not build in silence"
        return
    fi
    if build "$file" "$cc" "" > "$work/out" 2>&1; then built=1; else built=; fi
    if grep -q '^// run' "$file"; then
        [ "$built" ] ||
            { echo "does not build"; return; }
        run
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
    grep -q FIXED "$file" || return
    build "$file" "$cc" "-DFIXED $warnings" > "$work/out" 2>&1 ||
        { echo "does not build with -DFIXED either"; return; }
    grep -q '^// run' "$file" || return
    run || echo "ends with status $? with -DFIXED"
}

# The same for lint.sh, which has compilers and levels of its own.
lint_verdict() {
    # shellcheck disable=SC2046
    CFLAGS=$(texts "$1" flags) "$root/tools/lint.sh" "$1" > "$work/out" 2>&1 &&
        { echo "lint.sh has nothing to say"; return; }
    says_all "$1" "$work/out" lint || return
    grep -q FIXED "$1" || return
    if CFLAGS="$(texts "$1" flags) -DFIXED" "$root/tools/lint.sh" "$1" > "$work/out" 2>&1; then
        [ -s "$work/out" ] || return
    fi
    echo "lint.sh has something to say with -DFIXED, too"
}

# One file with one compiler and one set of flags (words with commas between): leaves its report, or
# an empty file.
if [ "$1" = --one ]; then
    file=$2 name=${3%%=*} cc=${3#*=} report=$4
    variant=$(echo "${5#,}" | tr , ' ')
    work=$report.d
    mkdir -p "$work"
    if [ "$name" = lint ]; then why=$(lint_verdict "$file")
    else why=$(verdict "$file" "$cc" "$name"); fi
    : > "$report"
    if [ "$why" ]; then
        {
            echo "FAIL $file ($name${variant:+ $variant}): $why"
            head -n 30 "$work/out" | sed 's/^/    /'
            again="$cc $flags -std=c11 $(texts "$file" flags) $variant -c $file -o /dev/null"
            [ "$name" != lint ] || again="tools/lint.sh $file"
            echo "    again: $again"
        } > "$report"
    fi
    rm -rf "$work"
    exit 0
fi

# The sets of flags with which the compiler has to be asked, a line each, with commas for blanks.
variants() {
    echo ,
    [ "$ALL" ] || return
    { texts "$1" with; texts "$1" "$2 with"; } | awk '{
        gsub(/ +/, ",")
        if (match($0, /-O[0-3]\.\.[0-3]/))
            for (i = substr($0, RSTART + 2, 1); i <= substr($0, RSTART + 5, 1); i++)
                print "," substr($0, 1, RSTART + 1) i substr($0, RSTART + RLENGTH)
        else
            print "," $0
    }'
}

# A line for each build: file, name=compiler, report, flags.
jobs() {
    for file in "$folder"/*.c; do
        grep -Eqs "^// ($2)" "$file" || continue
        [ "$cpp" ] || ! grep -q '^// flags:.*c++' "$file" || continue
        n=0
        for variant in $(if [ "$1" = lint ]; then echo ,; else variants "$file" "$1"; fi); do
            n=$((n + 1))
            echo "$file" "$1=$3" "$reports/$1-$(basename "$file" .c)-$n" "$variant"
        done
    done
}

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
    # A compiler of C may be there without its C++.
    cpp=1
    if ! echo | ${compiler#*=} -x c++ -c - -o /dev/null 2> /dev/null; then
        cpp=
        echo "skipped: no C++ in $name"
        [ -z "$STRICT" ] || missing=$((missing + 1))
    fi
    jobs "$name" "$name:|both:|run:|clean" "${compiler#*=}"
done > "$reports/list"
if command -v "${CLANG:-clang}" > /dev/null && command -v python3 > /dev/null; then
    jobs lint lint: lint.sh >> "$reports/list"
fi

grep '^skipped' "$reports/list"
if grep -qv '^skipped' "$reports/list"; then
    grep -v '^skipped' "$reports/list" | xargs -n 4 -P 2 tools/fail.sh --one
fi

passed=0 failed=$missing
for report in "$reports"/gcc-* "$reports"/clang-* "$reports"/lint-*; do
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
