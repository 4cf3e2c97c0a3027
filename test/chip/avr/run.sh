#!/bin/sh
# usage: run.sh
# Builds test/chip/chip_test.c and sync_test.c for an ATmega328P and runs them under libsimavr,
# inline and shared, and with the compile-time options that change the code. Prints what failed, the
# sizes, and ends with `N passed, M failed`. O=folder; STRICT=1: a missing tool is a failure;
# WERROR=: warnings do not stop the build.
cd "$(dirname "$0")/../../.." || exit 1
O=${O:-build/chip/avr}
WERROR=${WERROR--Werror}
missing() {
    echo "skipped: no $1"
    exit ${STRICT:+1}
}
for tool in avr-gcc gcc; do
    command -v $tool > /dev/null || missing $tool
done
mkdir -p "$O" || exit 1
echo '#include <simavr/sim_avr.h>' | gcc -E - > /dev/null 2>&1 || missing libsimavr-dev
gcc -O2 -Wall -Wextra test/chip/avr/harness.c -lsimavr -lelf -o "$O/harness" || exit 1

# gcc 5.4 does not know -Wimplicit-fallthrough.
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wundef $WERROR"
target="-mmcu=atmega328p -mcall-prologues -DCORO_TIME_BITS=32 -ffunction-sections -fdata-sections"
passed=0 failed=0
printf '#define CORO_IMPLEMENTATION\n#include "test/chip/board.h"\n#include "coro_sync.h"\n' \
    > "$O/implementation.c"

# build program test flags...
build() {
    program=$1
    sources="test/chip/avr/board.c test/chip/$2.c"
    shift 2
    case $* in *-DCORO_SHARED*) sources="$sources $O/implementation.c" ;; esac
    # shellcheck disable=SC2086     # flags are words
    avr-gcc -std=c11 -Os $target $warnings "$@" -I. -Wl,--gc-sections \
        $sources -o "$program"
}

# sizes test flags...
sizes() {
    object=$O/sizes.o test=$1
    shift
    # shellcheck disable=SC2086
    avr-gcc -std=c11 -Os $target "$@" -DCHIP_SIZES=1 -I. -c "test/chip/$test.c" -o "$object"
    avr-nm -S -t d "$object" | sed -n 's/^[0-9]* 0*\([0-9]*\) . size_of_/\1 /p' |
        awk '{ printf "%s %d  ", $2, $1 } END { print "" }'
}

# try name test flags...: build, run, count, and print the sizes
try() {
    name=$1
    shift
    if ! build "$O/$name.elf" "$@"; then
        echo "$name: does not build"
        failed=$((failed + 1))
        return
    fi
    avr-size "$O/$name.elf" | awk -v n="$name" \
        'NR == 2 { printf "%-15s flash %5d  RAM %4d  ", n, $1 + $2, $2 + $3 }'
    sizes "$@"
    "$O/harness" "$O/$name.elf" > "$O/$name.log" 2>&1
    rc=$?
    count=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$O/$name.log")
    grep -v ' passed, \|^Loaded ' "$O/$name.log" | sed "s/^/$name: /"
    if [ -n "$count" ] && [ $rc -le 1 ]; then
        passed=$((passed + ${count% *})) failed=$((failed + ${count#* }))
    else
        echo "$name: did not come to its end (code $rc)"
        failed=$((failed + 1))
    fi
}

try inline chip_test
try shared chip_test -DCORO_SHARED
try check chip_test -std=gnu11 -DCORO_CHECK=1
try labels chip_test -std=gnu11 -DCORO_LABELS_AS_VALUES=1
try names chip_test -DCORO_NAMES=1 -DCORO_GROUP_ERRORS=2
for part in 1 2 3; do # the flash has no room for all
    try sync-inline-$part sync_test -DSYNC_PART=$part
    try sync-shared-$part sync_test -DSYNC_PART=$part -DCORO_SHARED
    try sync-check-$part sync_test -DSYNC_PART=$part -std=gnu11 -DCORO_CHECK=1
done

# A park that does not mask interrupts around its look loses a ring: the sweep must get stuck on it.
if build "$O/naive.elf" chip_test -DBOARD_NAIVE=1 &&
    "$O/harness" "$O/naive.elf" > "$O/naive.log" 2>&1; [ $? = 122 ]; then
    passed=$((passed + 1))
else
    echo "naive: FAIL a_lost_ring_is_noticed"
    failed=$((failed + 1))
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
