#!/bin/sh
# usage: lint.sh file.c...
# Compiles each file the way that springs most traps (CORO_CHECK=1; gcc's view of uninitialised
# variables needs a real compilation), with gcc and with clang, with the optimizer and without, then
# looks for the locals that neither sees. CFLAGS adds flags, STD chooses the language.
# Exit status 1 if there is anything to say.

root=$(cd "$(dirname "$0")/.." && pwd)
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wundef -Werror"
bad=0

skip() {
    echo "skipped: no $1"
    [ -z "$STRICT" ] || bad=1
}

for file in "$@"; do
    flags="-std=${STD:-c11} -pthread -DCORO_CHECK=1 $CFLAGS"
    for cc in "${GCC:-gcc}" "${CLANG:-clang}"; do
        command -v "$cc" > /dev/null || { skip "$cc"; continue; }
        # gcc's optimizer takes a loop counter that is lost for the constant that it began with; the
        # rest it finds only when it optimizes. The second level is for what the first let pass.
        for level in -O2 -O0; do
            # shellcheck disable=SC2086     # flags are words
            "$cc" -I"$root" $flags $warnings $level -c "$file" -o /dev/null || { bad=1; break; }
        done
    done
    command -v python3 > /dev/null || { skip python3; continue; }
    command -v "${CLANG:-clang}" > /dev/null || continue
    # shellcheck disable=SC2086
    python3 "$root/tools/co_lint.py" "$file" -I"$root" $flags || bad=1
done
exit $bad
