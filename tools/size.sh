#!/bin/sh
# usage: size.sh
# Compiles test/size.c for each target and prints a table of bytes: of structs, and of code. t32
# means 32-bit times. Compares with test/size.budget, lines of `what target budget goal`; exit
# status 1 if anything is over its budget.
#
#   code         all of coro.h (CORO_IMPLEMENTATION)
#   sync_code    what all of coro_sync.h adds to that
#   program      of a program with a queue, a mutex and a select: itself, and what it uses of both

work=build/size
mkdir -p "$work"
: > "$work/sizes"
bad=0

# target's name, prefix of nm and size, compiler and flags
measure() {
    target=$1 prefix=$2
    shift 2
    if ! "$@" -x c -c /dev/null -o "$work/probe.o" 2> /dev/null; then
        case $* in *-m32*) echo "skipped: no $1 -m32" ;; *) echo "skipped: no $1" ;; esac
        [ -z "$STRICT" ] || bad=1
        return
    fi
    object=$work/$target
    whole="-DCORO_SHARED -DCORO_IMPLEMENTATION"
    # shellcheck disable=SC2086     # flags are words
    if ! "$@" -std=c11 -Os -I. $whole -DSIZE_OF=0 -c test/size.c -o "$object.core.o" ||
        ! "$@" -std=c11 -Os -I. $whole -DSIZE_OF=1 -c test/size.c -o "$object.o" ||
        ! "$@" -std=c11 -Os -I. -DSIZE_OF=2 -c test/size.c -o "$object.program.o"; then
        bad=1
        return
    fi
    {
        "${prefix}nm" -S -t d "$object.o" |
            awk -v t="$target" 'sub(/^size_of_/, "", $4) { print $4, t, $2 + 0 }'
        "${prefix}size" "$object.core.o" "$object.o" "$object.program.o" | awk -v t="$target" '
            { text[NR] = $1 }
            END {
                print "code", t, text[2]
                print "sync_code", t, text[3] - text[2]
                print "program", t, text[4]
            }'
    } >> "$work/sizes"
}

m32="-m32 -isystem /usr/include/x86_64-linux-gnu"
m0="-mcpu=cortex-m0 -mthumb -ffreestanding"
# shellcheck disable=SC2086     # flags are words
{
    measure 64-bit     ""             gcc
    measure 32-bit     ""             gcc $m32
    measure 32-bit,t32 ""             gcc $m32 -DCORO_TIME_BITS=32
    measure M0         arm-none-eabi- arm-none-eabi-gcc $m0
    measure M0,t32     arm-none-eabi- arm-none-eabi-gcc $m0 -DCORO_TIME_BITS=32
    measure AVR,t32    avr-           avr-gcc -mmcu=atmega328p -DCORO_TIME_BITS=32
}

awk '
    function header(name) { if (!(name in known_row)) { rows[++nrows] = name; known_row[name] } }
    FILENAME ~ /sizes$/ {
        if (!($2 in known_target)) { targets[++ntargets] = $2; known_target[$2] }
        header($1)
        bytes[$1, $2] = $3
    }
    FILENAME !~ /sizes$/ && !/^#/ && NF >= 3 && (($1, $2) in bytes) {
        got = bytes[$1, $2]
        goal = $4 + 0 ? (got > $4 ? "  (goal " : "  (meets the goal ") $4 ")" : ""
        checks[++nchecks] = sprintf("%-16s %-11s %6d of %6d  %s%s", $1, $2, got, $3,
            got > $3 ? "OVER" : "ok", goal)
        over += got > $3
    }
    END {
        printf "%-16s", "bytes"
        for (t = 1; t <= ntargets; t++) printf " %10s", targets[t]
        print ""
        for (r = 1; r <= nrows; r++) {
            printf "%-16s", rows[r]
            for (t = 1; t <= ntargets; t++) printf " %10s", bytes[rows[r], targets[t]]
            print ""
        }
        print ""
        for (c = 1; c <= nchecks; c++) print checks[c]
        exit over > 0
    }' "$work/sizes" test/size.budget || bad=1
exit $bad
