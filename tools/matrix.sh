#!/bin/bash
# usage: MATRIX=rows MAKE=make matrix.sh
# Runs the rows of the table in the Makefile (described there) one after the other, prints a line
# for each and the end of its log if it failed, and ends with `N passed, M failed[, K skipped]`.
# ROWS=text runs only the rows that contain the text; STRICT=1 fails a row whose tool is missing.
# The logs stay in build/matrix/.

unset MAKEFLAGS MFLAGS MAKELEVEL        # each row is a make of its own, not a part of this one
# shellcheck disable=SC2206     # words
make=(${MAKE:-make} --no-print-directory -j2 "STRICT=$STRICT")
mkdir -p build/matrix
passed=0 failed=0 skipped=0 number=0

# Runs a row's make; what it prints goes to the log.
run_row() {
    local targets=unit variables=() word
    if [[ $1 == *:* ]]; then
        targets=
        for word in ${1#*:}; do
            if [[ $word == *=* ]]; then variables+=("$word"); else targets+=" $word"; fi
        done
    else
        # shellcheck disable=SC2086     # words
        set -- $1
        variables=("CC=$1" "STD=$2" "OPT=$3" "MODE=$4" "SAN=$5" "${@:6}")
    fi
    if [ ${#variables[@]} != 0 ] && ! "${make[@]}" probe "${variables[@]}"; then
        echo "skipped: no $(printf '%s\n' "${variables[@]}" | grep -E '^(CC|SAN)=' | paste -sd ' ')"
        [ -z "$STRICT" ]
        return
    fi
    # shellcheck disable=SC2086
    "${make[@]}" $targets "${variables[@]}"
}

while read -r row; do
    [[ -n $row && $row == *"$ROWS"* ]] || continue
    number=$((number + 1))
    log=build/matrix/$number.log
    name=$row
    [[ $row != *:* ]] || name=${row%%:*}
    start=$SECONDS
    if run_row "$row" < /dev/null > "$log" 2>&1; then rc=0; else rc=$?; fi
    if [ $rc != 0 ]; then
        result=FAILED failed=$((failed + 1))
    elif grep -q '^skipped: ' "$log"; then
        result=$(grep -m 1 '^skipped: ' "$log") skipped=$((skipped + 1))
    else
        result=ok passed=$((passed + 1))
    fi
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    printf '%-52s %4d s  %s\n' "$name" $((SECONDS - start)) "$result${counts:+ ($counts)}"
    [ $rc = 0 ] || { echo "    $log ends with:"; tail -n 60 "$log" | sed 's/^/    /'; }
done <<< "$MATRIX"

echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
[ $failed = 0 ] && [ $number != 0 ]
