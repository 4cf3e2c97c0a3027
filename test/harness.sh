#!/bin/sh
# usage: harness.sh
# Tests the test harness and the tools around it with small files of its own in build/harness/.
# CC and CFLAGS (the language) are those of the tests. Ends with `N passed, M failed`.

cd "$(dirname "$0")/.." || exit 2
dir=build/harness
rm -rf "$dir"
mkdir -p "$dir/fail" "$dir/tree/test"
passed=0 failed=0
unset TEST_FILTER TEST_TIMES STRICT

# check what status wanted-text... : the last `run` ended with the status, and said each text
run() {
    "$@" > "$dir/out" 2>&1
    rc=$?
}
check() {
    what=$1 status=$2
    shift 2
    problem=
    [ "$rc" = "$status" ] || problem="status $rc instead of $status"
    for text in "$@"; do
        grep -qF -e "$text" "$dir/out" || problem="does not say: $text"
    done
    if [ "$problem" ]; then
        failed=$((failed + 1))
        echo "FAIL harness.sh: $what: $problem, but said:"
        sed 's/^/    /' "$dir/out"
    else
        passed=$((passed + 1))
    fi
}
says_not() {
    ! grep -qF -e "$1" "$dir/out" || { rc="$rc, and says: $1"; }
}

# ---- test.h and main.c ---------------------------------------------------------------------------

cat > "$dir/suite.c" <<'END'
#include "test.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void trap(void *arg)
{
    fprintf(stderr, "trapped %s\n", (char *)arg);
    abort();
}
static void no_trap(void *arg)
{
    (void)arg;
}
static char word[] = "here";

TEST(good_checks)
{
    puts("quiet");
    CHECK(1 < 2);
    CHECK_EQ(2U, 2);
    CHECK_STR("a", "a");
    CHECK_CONTAINS("abc", "bc");
    CHECK_TRAP(trap, word, "trapped here");
}
TEST(bad_check) { CHECK(1 > 2); }
TEST(bad_eq) { puts("loud"); CHECK_EQ(1 + 1, 3); puts("went on"); }
TEST(bad_str) { CHECK_STR("a", "b"); }
TEST(bad_contains) { CHECK_CONTAINS("abc", "x"); }
TEST(bad_no_trap) { CHECK_TRAP(no_trap, word, "trapped"); }
TEST(bad_other_trap) { CHECK_TRAP(trap, word, "somewhere else"); }
TEST(bad_crash) { abort(); }
TEST(bad_early_exit) { exit(0); }
TEST(bad_descriptor) { if (dup(0) < 0) abort(); }
TEST(bad_hang) { for (;;) pause(); }
TEST(needs_wings) { TEST_SKIP("wings"); }
TEST(slow_one) { struct timespec t = {0, 60000000}; nanosleep(&t, NULL); }
END

tests=$dir/tests
# shellcheck disable=SC2086     # flags are words
run ${CC:-gcc} ${CFLAGS:--std=c11} -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror \
    -D_XOPEN_SOURCE=700 -Itest test/main.c "$dir/suite.c" -o "$tests"
check "the suite builds" 0

run "$tests" good
check "a passing test is quiet" 0 "1 passed, 0 failed"
says_not quiet
says_not good_checks
check "a passing test is quiet" 0

TEST_SLOW=0.02 run "$tests" bad
check "failing tests are told" 1 "0 passed, 10 failed" \
    "FAIL bad_check ($dir/suite.c:" "CHECK(1 > 2)" \
    "CHECK_EQ(1 + 1, 3): got 2, want 3" "    loud" "got  \"a\"" 'no   "x"' \
    "did not abort but ended with exit status 0" "aborted without saying" \
    "FAIL bad_crash" "killed by signal 6" "FAIL bad_early_exit" "ended with exit status 0" \
    "descriptor 3 was left open" "still running after 0.1 s" "again: $tests bad_eq"
says_not "went on"
check "a failed check ends its test" 1

[ "$(tail -n 1 "$dir/out")" = "0 passed, 10 failed" ] || rc="$rc, counts are not last"
[ "$(grep -c 'passed,' "$dir/out")" = 1 ] || rc="$rc, counts are there twice"
check "the counts are one line, the last" 1

TEST_FILTER=bad_eq run "$tests"
check "TEST_FILTER chooses" 1 "0 passed, 1 failed"
TEST_TIMES=1 run "$tests" slow_one
check "slow tests are named" 0 "slow: slow_one took"
run "$tests" needs_wings
check "what cannot run here is named" 0 "skipped: no wings: needs_wings" "1 passed, 0 failed"
STRICT=1 run "$tests" needs_wings
check "with STRICT=1 it fails" 1 "skipped: no wings" "0 passed, 1 failed"
run "$tests" no_such_name
check "no test is a failure" 1 "0 passed, 0 failed"
run "$tests" --list
check "--list lists" 0 good_checks bad_hang

# ---- fail.sh -------------------------------------------------------------------------------------

cat > "$dir/fail/refused.c" <<'END'
// gcc: undeclared
#ifndef FIXED
int f(void) { return nowhere; }
#endif
END
cat > "$dir/fail/unlinked.c" <<'END'
// gcc: nowhere_to_be_found
// link
int nowhere_to_be_found(void);
int main(void) { return nowhere_to_be_found(); }
END
cat > "$dir/fail/trapping.c" <<'END'
// run: remedy
#include <stdio.h>
#include <stdlib.h>
int main(void) { fputs("the remedy is this", stderr); abort(); }
END
export GCC="${CC:-gcc}" CLANG=no-such-clang
case ${CC:-gcc} in *++*) GCC=gcc ;; esac
run tools/fail.sh "$dir/fail"
check "what must not compile, link or run, does not" 0 "3 passed, 0 failed"

echo '// gcc: x
int f(void);' > "$dir/fail/accepted.c"
echo '// gcc: another text
int f(void) { return nowhere; }' > "$dir/fail/silent.c"
echo '// gcc: undeclared
// FIXED does not help
int f(void) { return nowhere; }' > "$dir/fail/unfixed.c"
run tools/fail.sh "$dir/fail"
check "what compiles or says something else, fails" 1 "3 passed, 3 failed" \
    "accepted.c (gcc): builds, but must not" "silent.c (gcc): does not say: another text" \
    "unfixed.c (gcc): does not build with -DFIXED either"

# ---- expect.sh, tally.sh, tidy.sh ----------------------------------------------------------------

printf '/* Output:\n *\n *   one\n *\n *     two\n */\n' > "$dir/one.c"
printf '#!/bin/sh\nprintf "one\\n\\n  two\\n"\n' > "$dir/one"
printf '/* Output:\n *\n *   one\n */\n' > "$dir/two.c"
printf '#!/bin/sh\necho two\n' > "$dir/two"
chmod +x "$dir/one" "$dir/two"
run tools/expect.sh . "$dir/one.c"
check "an example prints what it says" 0 "1 passed, 0 failed"
run tools/expect.sh . "$dir/one.c" "$dir/two.c" test/main.c
check "an example prints something else, or says nothing" 1 "1 passed, 2 failed" \
    "-one" "+two" "main.c: has no comment"

run tools/tally.sh 'echo 2 passed, 1 failed; exit 1' 'echo 3 passed, 0 failed' true false
check "counts are summed" 1 "6 passed, 2 failed"
run tools/tally.sh 'echo 2 passed, 0 failed; exit 3'
check "a status counts, too" 1 "2 passed, 1 failed" "exit status 3"

cp test/test.h "$dir/tree/test"
run tools/tidy.sh "$dir/tree"
check "a tidy file is tidy" 0
{
    echo '/* >>names CORO_A coro_a */'
    printf '#ifdef CORO_OPTION\n#endif\n'
    printf 'int coro_a(int x); \nint coro_b(int x);\tint y;\n'
    printf '/* coro_b -- do it. */\n#define CORO_C(x) x\n'
    awk 'BEGIN { print "int f(void)\n{"; for (i = 0; i < 69; i++) print "    ;"; print "}"
                 for (i = 0; i < 12; i++) printf "%s\\\n", i ? "" : "#define M "; print ""
                 for (i = 0; i < 101; i++) printf "x"; printf "\n;" }'
} > "$dir/tree/coro.h"
mkdir "$dir/tree/examples"
echo 'int a = coro__b;' > "$dir/tree/examples/a.c"
# shellcheck disable=SC2016
printf '<!-- file: examples/a.c -->\n```c\nint b;\n```\n' > "$dir/tree/README.md"
run tools/tidy.sh "$dir/tree"
check "an untidy one is not" 1 "coro.h:2: options are 0 or 1: \`#if CORO_OPTION\`" \
    "coro.h:3: #endif needs a comment" "coro.h:4: blanks" "coro.h:5: tab" \
    "coro.h:4: coro_a has no comment" "coro.h:5: coro_b is not in the table" \
    "coro.h:7: CORO_C is not in the table" "coro.h:9: function of 71 lines" \
    "macro of 13 lines" "line of 101 columns" "coro.h: no newline" \
    "a.c:1: coro__b is private" "README.md:3: differs from examples/a.c: int a"

# ---- co_lint.py, where it can run ----------------------------------------------------------------

cat > "$dir/lint.c" <<'END'
struct task { int state, v; };
#define WAIT(t, n) do { (t)->state = n; return; case n:; } while (0)
int get(void);
void use(int);
void fill(int *);
void good(struct task *t)
{
    int fresh = t->v;
    switch (t->state) {
    case 0:
        while (get()) {
            int a[2] = {get(), 0};
            use(a[0] + fresh);
            WAIT(t, 1);
            fill(a);
            use(a[0]);
        }
    }
}
void bad(struct task *t)
{
    int total = 0;
    int kept[2];
    switch (t->state) {
    case 0:
        fill(kept);
        while (get()) {
            struct { int v; } pair = {get()};
            WAIT(t, 1);
            use(pair.v);
            total++;
        }
        use(kept[0]);
    }
    use(total);
}
END
if command -v clang > /dev/null && command -v python3 > /dev/null; then
    CLANG=clang run python3 tools/co_lint.py "$dir/lint.c"
    says_not good
    check "locals kept across an await are found" 1 \
        "lint.c:22: 'total' (int) in bad() is used at line 31 after the suspension" \
        "lint.c:23: 'kept'" "lint.c:28: 'pair'"
fi

# ---- docs.py, where it can run -------------------------------------------------------------------

# Without an entry; without a row; a row too much; in no example; an example that does not compile.
if command -v python3 > /dev/null; then
    mkdir -p "$dir/docs/tools"
    cp tools/docs_prelude.h "$dir/docs/tools"
    cp coro_sync.h coro_io.h "$dir/docs"
    awk '/^\/\* coro_loop_now -- /, /\*\// { next }
         /coro_task_cancel coro_task_result/ { sub(/coro_task_cancel/, "") }
         /^ \*   coro_group_limit/ { next }
         / coro_dump coro_stats / { sub(/coro_stats/, "coro_statistics coro_stats") }
         /^ \*   coro_alarm/ { sub(/co,/, "nowhere,") }
         { print }' coro.h > "$dir/docs/coro.h"
    run sh -c "cd $dir/docs && python3 ../../../tools/docs.py --check"
    check "what is not in the reference is found" 1 "coro.h: coro_loop_now has no entry" \
        "coro.h: coro_task_cancel is not in the table" "coro.h: coro_group_limit is in no example" \
        "coro.h: coro_statistics is in the table of names, but nowhere else" \
        "undeclared"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
