#!/bin/sh
# usage: run.sh
# Builds test/chip/chip_test.c and sync_test.c for a Cortex-M0 and runs them under QEMU, in several
# configurations: inline and shared, 64-bit time and 32-bit ticks, and with the compile-time options
# that change the code. Prints what failed, the sizes, and ends with `N passed, M failed`. O=folder;
# STRICT=1: a missing tool is a failure; WERROR=: warnings do not stop the build.
cd "$(dirname "$0")/../../.." || exit 1
O=${O:-build/chip/cortexm}
WERROR=${WERROR--Werror}
for tool in arm-none-eabi-gcc qemu-system-arm; do
    command -v $tool > /dev/null || { echo "skipped: no $tool"; exit ${STRICT:+1}; }
done

here=test/chip/cortexm
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wimplicit-fallthrough
    -Wundef $WERROR"
target="-mcpu=cortex-m0 -mthumb -ffreestanding -ffunction-sections -fdata-sections"
passed=0 failed=0
mkdir -p "$O" || exit 1
sed -e s/FLASH_KB/256/ -e s/RAM_KB/16/ $here/link.ld.in > "$O/link.ld"
printf '#define CORO_IMPLEMENTATION\n#include "test/chip/board.h"\n#include "coro_sync.h"\n' \
    > "$O/implementation.c"

# build program test flags...
build() {
    program=$1
    sources="$here/startup.c $here/board.c test/chip/$2.c"
    shift 2
    case $* in *-DCORO_SHARED*) sources="$sources $O/implementation.c" ;; esac
    # shellcheck disable=SC2086     # flags are words
    arm-none-eabi-gcc -std=c11 -Os $target $warnings "$@" -I. -nostdlib \
        -Wl,--gc-sections -Wl,-T,"$O/link.ld" $sources -lgcc -o "$program"
}

# An instruction takes 64 ns of the chip's time, and waiting none of ours: every run is the same.
run() {
    timeout "$2" qemu-system-arm -M microbit -nographic -monitor none -serial none \
        -icount shift=6,sleep=off -semihosting-config enable=on,target=native -kernel "$1" 2>&1
}

# sizes test flags...
sizes() {
    object=$O/sizes.o test=$1
    shift
    # shellcheck disable=SC2086
    arm-none-eabi-gcc -std=c11 -Os $target "$@" -DCHIP_SIZES=1 -I. -c "test/chip/$test.c" \
        -o "$object"
    arm-none-eabi-nm -S -t d "$object" | sed -n 's/^[0-9]* 0*\([0-9]*\) . size_of_/\1 /p' |
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
    arm-none-eabi-size "$O/$name.elf" | awk -v n="$name" \
        'NR == 2 { printf "%-14s flash %5d  RAM %4d  ", n, $1 + $2, $2 + $3 }'
    sizes "$@"
    run "$O/$name.elf" 20 > "$O/$name.log"
    count=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$O/$name.log")
    grep -v ' passed, ' "$O/$name.log" | sed "s/^/$name: /"
    if [ -n "$count" ]; then
        passed=$((passed + ${count% *})) failed=$((failed + ${count#* }))
    else
        echo "$name: did not come to its end"
        failed=$((failed + 1))
    fi
}

t32=-DCORO_TIME_BITS=32
try inline-64 chip_test
try shared-64 chip_test -DCORO_SHARED
try inline-32 chip_test $t32
try shared-32 chip_test $t32 -DCORO_SHARED
try check-32 chip_test $t32 -DCORO_CHECK=1
try labels-64 chip_test -std=gnu11 -DCORO_LABELS_AS_VALUES=1
try debug-64 chip_test -O1 -DCORO_DEBUG=1
try wheel-ring-32 chip_test -O2 $t32 -DCORO_WHEEL_BITS=3 -DCORO_WHEEL_SHIFT=2 -DCORO_READY_RING=1
try sync-inline-64 sync_test
try sync-shared-64 sync_test -DCORO_SHARED
try sync-inline-32 sync_test $t32
try sync-shared-32 sync_test $t32 -DCORO_SHARED
try sync-check-32 sync_test $t32 -DCORO_CHECK=1
try sync-debug-64 sync_test -O1 -DCORO_DEBUG=1
try sync-times-32 sync_test -O2 $t32 -DCORO_LINE_TIMES=1

# A park that does not mask interrupts around its look loses a ring: the sweep must get stuck on it.
if build "$O/naive.elf" chip_test -DBOARD_NAIVE=1 &&
    run "$O/naive.elf" 2 > "$O/naive.log"; [ $? = 124 ]; then
    passed=$((passed + 1))
else
    echo "naive: FAIL a_lost_ring_is_noticed"
    failed=$((failed + 1))
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
