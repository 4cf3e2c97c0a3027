#!/bin/sh
# usage: run.sh seconds program...
# Runs the fuzz targets one after the other, each for its part of the time. Inputs that reached new
# code stay in corpus/ beside the programs, and the next run starts with them. Of what fails, shows
# the report, the input, and how to run it again; exits with 1.
time=$1
shift
each=$((time / $#))
[ $each -gt 0 ] || each=1
failed=0

for program in "$@"; do
    folder=$(dirname "$program")
    name=$(basename "$program")
    mkdir -p "$folder/corpus/$name" "$folder/found"
    log=$folder/$name.log
    if "$program" -max_total_time=$each -len_control=0 -max_len=512 -timeout=20 -rss_limit_mb=4096 \
        -artifact_prefix="$folder/found/$name-" "$folder/corpus/$name" > "$log" 2>&1; then
        runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log")
        edges=$(sed -n 's/.*DONE  *cov: \([0-9]*\) .*/\1/p' "$log")
        printf '%-8s %s inputs, %s edges\n' "$name" "$runs" "$edges"
        continue
    fi
    failed=1
    input=$(sed -n 's/.*Test unit written to //p' "$log")
    echo "$name FAILED:"
    grep -v -e '^#[0-9]' -e NEW_FUNC -e '^INFO' "$log" | sed 's/^/    /'
    [ -z "$input" ] || od -A d -t x1z "$input"
    echo "    again: $program $input"
done
exit $failed
