/* chip.h -- the harness of the programs that run on chips, each of which is one file.
 *
 * Prints a line for each failed check and ends with `N passed, M failed`. Everything is static: the
 * loop, and the program's `storage`, a union of the tasks of all tests.
 */
#ifndef CHIP_H
#define CHIP_H

#include "board.h"

/* 1: the object file tells the sizes of things, see run.sh. */
#ifndef CHIP_SIZES
#define CHIP_SIZES 0
#endif /* !CHIP_SIZES */

static uint16_t passed, failed;
static bool failing;    /* a check of the present test has failed */
static char trace[24];  /* what happened, in order */
static uint8_t traced;
static coro_loop loop;

static void put_number(int n)
{
    static const char digits[] = "0123456789";
    char text[12], *at = text + sizeof text;
    bool negative = n < 0;
    do
        *--at = digits[negative ? -(n % 10) : n % 10];
    while (n /= 10);
    if (negative)
        *--at = '-';
    while (at < text + sizeof text)
        board_put_char(*at++);
}

static void check_eq(int got, int want, int line)
{
    if (got == want)
        return;
    failing = true;
    board_put(TEXT("  " __BASE_FILE__ ":"));
    put_number(line);
    board_put(TEXT(": got "));
    put_number(got);
    board_put(TEXT(", want "));
    put_number(want);
    board_put(TEXT("\n"));
}

static void check(bool good, int line)
{
    check_eq(good, true, line);
}

void board_trap(unsigned line)
{
    board_put(TEXT("FAIL a trap, line "));
    put_number((int)line);
    board_put(TEXT("\n"));
    board_exit(98);
}

static bool traced_is(const char *want)
{
    uint8_t i;
    for (i = 0; i < traced && TEXT_AT(want + i) == trace[i]; i++)
        continue;
    return i == traced && !TEXT_AT(want + i);
}

#define CHECK(x) check((x), __LINE__)
#define CHECK_EQ(got, want) check_eq((int)(got), (int)(want), __LINE__)
#define CHECK_TRACE(want) CHECK(traced_is(TEXT(want)))

static void mark(char c)
{
    if (traced < sizeof trace)
        trace[traced++] = c;
}

static void begin_test(void)
{
    failing = false;
    traced = 0;
    board_clock(0);
}

static void end_test(const char *name)
{
    if (failing) {
        failed++;
        board_put(TEXT("FAIL "));
        board_put(name);
        board_put(TEXT("\n"));
    } else {
        passed++;
    }
}

#define TEST_RUN(name)                                                                            \
    do {                                                                                          \
        begin_test();                                                                             \
        name();                                                                                   \
        end_test(TEXT(#name));                                                                    \
    } while (0)

/* A loop with this arena, or none; and zeroed storage for its first task. */
static void open_loop(void *task, size_t task_size, void *arena, size_t arena_size)
{
    static coro_options options;
    options.driver = board_driver;
    options.arena = arena;
    options.arena_size = arena_size;
    __builtin_memset(task, 0, task_size);
    CHECK_EQ(coro_loop_init(&loop, &options), 0);
}

/* Run the loop; it ends with rc, the first task with result, and nothing is left. */
static void run_loop(const coro_task *task, int rc, int result)
{
    CHECK_EQ(coro_loop_run(&loop), rc);
    CHECK_EQ(loop.alive, 0);
    CHECK_EQ(loop.timers, 0);
#if !defined __AVR__ /* its texts do not fit into the RAM */
    CHECK(coro_verify(&loop) == NULL);
#endif /* !defined __AVR__ */
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(coro_task_result(task), result);
}

/* Run one coroutine in its place in `storage` and check what it ends with. */
#define RUN_IN(arena, size, fn, want)                                                             \
    do {                                                                                          \
        open_loop(&storage.fn, sizeof storage.fn, (arena), (size));                               \
        CHECK_EQ(coro_start(&loop.root, &storage.fn, fn), 0);                                     \
        run_loop(&storage.fn.task, 0, (want));                                                    \
    } while (0)
#define RUN(fn, want) RUN_IN(NULL, 0, fn, want)

/* Milliseconds since then, and until then. */
static int ms_since(coro_task *co, coro_time then)
{
    return (int)(board_minus(coro_now(co), then) / CORO_MS(1));
}

CORO__UNUSED static int ms_until(coro_task *co, coro_time then)
{
    return (int)(board_minus(then, coro_now(co)) / CORO_MS(1));
}

/* Print the sum, and leave. */
static int end_tests(void)
{
    put_number((int)passed);
    board_put(TEXT(" passed, "));
    put_number((int)failed);
    board_put(TEXT(" failed\n"));
    board_exit(failed ? 1 : 0);
    return 0;
}

#endif /* CHIP_H */
