#!/bin/sh
# usage: tally.sh command...
# Runs each command (one argument each, given to sh) and sums the `N passed, M failed` lines that
# they end with into one such line at the very end. A command without one counts as a test.
# Exit status 1 if anything failed.

log=$(mktemp) || exit 2
trap 'rm -f "$log" "$log.rc"' EXIT
passed=0 failed=0

for command in "$@"; do
    { sh -c "$command" 2>&1; echo $? > "$log.rc"; } | tee "$log" |
        sed '/^[0-9]* passed, [0-9]* failed$/d'
    rc=$(cat "$log.rc")
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    [ -n "$counts" ] || counts=$([ "$rc" = 0 ] && echo 1 0 || echo 0 1)
    p=${counts% *} f=${counts#* }
    if [ "$rc" != 0 ] && [ "$f" = 0 ]; then     # it failed without counting that
        f=1
        echo "FAIL $command: exit status $rc"
    fi
    passed=$((passed + p)) failed=$((failed + f))
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
