#!/bin/sh
# usage: expect.sh folder file.c...
# For each file.c: runs folder/file, and compares what it prints on stdout with the comment at the
# end of the file:
#
#     /* Output:
#      *
#      *   first line
#      *   second line
#      */
#
# Blanks at the ends of lines, and empty lines at both ends, do not count. The program must end with
# status 0. Ends with `N passed, M failed`.

folder=$1
shift
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
limit=$(command -v timeout >/dev/null && echo timeout 20)
passed=0 failed=0

wanted() {
    awk '/^(\/\*| \*) *Output:[ ]*$/ { on = 1; found = 1; text = ""; next }
         on && /^ \*\// { on = 0; next }
         on && /^ \*   / { text = text substr($0, 6) "\n"; next }
         on && /^ \*[ ]*$/ { text = text "\n"; next }
         on { on = 0; found = 0 }
         END { printf "%s", text; exit !found }' "$1"
}

trimmed() {
    awk '{ sub(/[ \t\r]+$/, "") }
         $0 == "" { empty++; next }
         { while (lines && empty-- > 0) print ""; empty = 0; lines++; print }'
}

for source in "$@"; do
    program=$folder/${source%.c}
    if ! wanted "$source" > "$work/raw"; then
        echo "FAIL $source: has no comment with its Output:"
        failed=$((failed + 1))
        continue
    fi
    trimmed < "$work/raw" > "$work/want"
    $limit "$program" < /dev/null > "$work/out" 2> "$work/err"
    rc=$?
    trimmed < "$work/out" > "$work/got"
    if [ $rc = 0 ] && cmp -s "$work/want" "$work/got"; then
        passed=$((passed + 1))
        continue
    fi
    failed=$((failed + 1))
    echo "FAIL $source: exit status $rc; wanted (-) and got (+):"
    diff -u "$work/want" "$work/got" | sed -e 1,2d -e 's/^/    /'
    sed 's/^/    stderr: /' "$work/err"
    echo "    again: $program"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
