#!/bin/bash
# usage: together.sh program
# How long 1,000 commands take, eight at a time: with this program (examples/together), and with
# `xargs -P 8`. Once with `true` itself, once with a line for the shell each. With hyperfine the
# mean of five runs, else the best of five; the two in turn. Ends with 1 if it takes more than LIMIT
# times as long as xargs.

LIMIT=1.2
RUNS=5
program=$1
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
[ -x "$program" ] || { echo "usage: together.sh program"; exit 2; }
seq 1000 > "$work/numbers"
yes true | head -n 1000 > "$work/lines"

now() { date +%s.%N; }

# Seconds that each of two commands takes: two numbers.
both() {
    local i begun took best=(999999 999999)
    if command -v hyperfine > /dev/null; then
        hyperfine -N --style none --warmup 1 --runs $RUNS --export-json "$work/json" \
            "sh -c '$1'" "sh -c '$2'" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 2; }
        sed -n 's/^ *"mean": \([0-9.e-]*\),.*/\1/p' "$work/json"
        return
    fi
    for ((i = 0; i < 2 * RUNS; i++)); do
        begun=$(now)
        if [ $((i % 2)) = 0 ]; then sh -c "$1"; else sh -c "$2"; fi || exit 2
        took=$(now)
        best[i % 2]=$(echo "$took $begun ${best[i % 2]}" |
            awk '{ t = $1 - $2; print t < $3 ? t : $3 }')
    done
    printf '%s\n' "${best[@]}"
}

# compare "what" ours theirs: prints a line; 1: too slow.
compare() {
    both "$2" "$3" | paste -sd ' ' | awk -v what="$1" -v limit=$LIMIT '
        { ratio = $1 / $2
          printf "%-24s together %6.1f ms   xargs %6.1f ms   ratio %.2f (limit %.1f)%s\n", what,
              $1 * 1000, $2 * 1000, ratio, limit, (ratio > limit) ? "  MISSED" : "" }
        END { exit NR != 1 || ratio > limit }'
}

bad=0
compare "1,000 times true" "$program -j 8 true < $work/numbers" \
    "xargs -P 8 -n 1 true < $work/numbers" || bad=1
compare "1,000 times sh -c true" "$program -j 8 - < $work/lines" \
    "xargs -P 8 -I{} sh -c {} < $work/lines" || bad=1
exit $bad
