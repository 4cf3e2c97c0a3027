/* ours_core.c -- the benchmarks of README.md with coro.h, written as a user would write them. */
#include "coro.h"
#include "bench.h"

static double started, ended; /* the clock, read by the benchmark's own task */

/* ---- switch --------------------------------------------------------------------------------- */

struct turns {
    CORO_FRAME;
    long left;
};

CORO(turns)
{
    CORO_BEGIN();
    while (my->left-- > 0)
        CORO_TRY(coro_sleep(co, 0));
    CORO_END(0);
}

struct far_off { /* a timer that is armed all the time */
    CORO_FRAME;
};

CORO(far_off)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
    CORO_END(0);
}

/* The tasks lie in an array of our own; they are queued in this order. */
static CORO_TASK(turns) *tasks;
static uint32_t *order;

struct switching {
    CORO_FRAME;
    coro_group group, background;
    long n, count, i;
    bool armed;
};

CORO(switching)
{
    CORO_BEGIN();
    coro_group_open(co, &my->background, CORO_ALL);
    if (my->armed)
        coro_spawn(&my->background, far_off);
    coro_group_open(co, &my->group, CORO_ALL);
    for (my->i = 0; my->i < my->count; my->i++)
        coro_start(&my->group, &tasks[order[my->i]], turns, .left = my->n / my->count);
    started = bench_cpu();
    CORO_CLOSE(&my->group);
    ended = bench_cpu();
CORO_FINALLY:
    CORO_CLOSE(&my->group);
    coro_group_cancel(&my->background);
    CORO_CLOSE(&my->background);
    CORO_END(0);
}

static double switches(long n, long count)
{
    long i;
    bool armed = count < 0;

    count = armed ? -count : count;
    tasks = aligned_alloc(64, ((size_t)count * sizeof *tasks + 63) / 64 * 64);
    memset(tasks, 0, (size_t)count * sizeof *tasks);
    order = bench_shuffled(count);
    for (i = 0; count <= 1000 && i < count; i++)
        order[i] = (uint32_t)i;
    bench_check(coro_run(switching, .n = n, .count = count, .armed = armed) == 0, "switch");
    return (ended - started) / (double)n;
}

/* ---- call, depth ---------------------------------------------------------------------------- */

struct callee {
    CORO_FRAME;
    int a, b;
};

CORO(callee)
{
    CORO_BEGIN();
    my->a += my->b;
    CORO_END(my->a);
}

struct caller {
    CORO_FRAME;
    struct callee callee;
    long n, i;
    int r, sum;
};

CORO(caller)
{
    CORO_BEGIN();
    started = bench_cpu();
    for (; my->n > 0; my->n -= 100) {
        for (my->i = 0; my->i < 100; my->i++) {
            CORO_TRY(my->r, coro_call(co, &my->callee, callee, .a = (int)my->i, .b = 1));
            my->sum = (my->sum + my->r) & 0xffff;
        }
        CORO_TRY(coro_sleep(co, 0));
    }
    ended = bench_cpu();
    CORO_END(my->sum);
}

static double calls(long n, long unused)
{
    (void)unused;
    bench_check(coro_run(caller, .n = n) >= 0, "call");
    return (ended - started) / (double)n;
}

struct deep {
    CORO_FRAME;
    struct deep *frames; /* one for each level below */
    long level, n;
};

CORO(deep)
{
    CORO_BEGIN();
    if (my->level > 0) {
        CORO_TRY(coro_call(co, my->frames, deep, .frames = my->frames + 1, .level = my->level - 1,
                           .n = my->n));
    } else {
        started = bench_cpu();
        while (my->n-- > 0)
            CORO_TRY(coro_sleep(co, 0));
        ended = bench_cpu();
    }
    CORO_END(0);
}

static double depth(long n, long levels)
{
    struct deep *frames = calloc((size_t)levels, sizeof *frames);

    bench_check(coro_run(deep, .frames = frames, .level = levels, .n = n) == 0, "depth");
    return (ended - started) / (double)n;
}

/* ---- spawn ---------------------------------------------------------------------------------- */

static long ended_tasks;

struct child {
    CORO_FRAME;
};

CORO(child)
{
    CORO_BEGIN();
    ended_tasks++;
    CORO_END(0);
}

static CORO_TASK(child) *own;

struct parent { /* spawns at_once children, waits for them, and begins again */
    CORO_FRAME;
    coro_group group;
    long n, at_once, i;
};

CORO(parent)
{
    CORO_BEGIN();
    started = bench_cpu();
    for (; my->n > 0; my->n -= my->at_once) {
        coro_group_open(co, &my->group, CORO_ALL);
        for (my->i = 0; my->i < my->at_once; my->i++)
            coro_spawn(&my->group, child);
        CORO_CLOSE(&my->group);
    }
    ended = bench_cpu();
    CORO_END(0);
}

struct own_parent {
    CORO_FRAME;
    coro_group group;
    long n, at_once, i;
};

CORO(own_parent)
{
    CORO_BEGIN();
    started = bench_cpu();
    for (; my->n > 0; my->n -= my->at_once) {
        coro_group_open(co, &my->group, CORO_ALL);
        for (my->i = 0; my->i < my->at_once; my->i++)
            coro_start(&my->group, &own[my->i], child);
        CORO_CLOSE(&my->group);
    }
    ended = bench_cpu();
    CORO_END(0);
}

static double spawn(long n, long at_once)
{
    at_once = at_once ? at_once : n;
    bench_check(coro_run(parent, .n = n, .at_once = at_once) == 0 && ended_tasks == n, "spawn");
    return (ended - started) / (double)n;
}

static double spawn_own(long n, long at_once)
{
    at_once = at_once ? at_once : n;
    own = malloc((size_t)at_once * sizeof *own);
    memset(own, 1, (size_t)at_once * sizeof *own); /* touch it, which calloc would not */
    __asm__ volatile("" ::: "memory");
    memset(own, 0, (size_t)at_once * sizeof *own);
    bench_check(coro_run(own_parent, .n = n, .at_once = at_once) == 0 && ended_tasks == n,
                "spawn_own");
    return (ended - started) / (double)n;
}

/* ---- timers --------------------------------------------------------------------------------- */

struct guarded { /* works under a deadline, n times */
    CORO_FRAME;
    coro_scope *others;
    uint64_t *ns;
    coro_scope deadline;
    long n, count, i;
};

CORO(guarded)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->count; my->i++)
        coro_timeout_open(co, &my->others[my->i], CORO_S(30) + (coro_time)my->ns[my->i]);
    started = bench_cpu();
    while (my->n-- > 0) {
        coro_timeout_open(co, &my->deadline, CORO_S(5));
        __asm__ volatile("" ::: "memory"); /* the work */
        CORO_TRY(coro_scope_close(co, &my->deadline, 0));
    }
    ended = bench_cpu();
    CORO_END(0);
}

static double guard(long n, long count)
{
    coro_options virtual_time = {.clock = CORO_VIRTUAL};
    coro_scope *others = calloc((size_t)count, sizeof *others);

    bench_check(coro_run_with(&virtual_time, guarded, .others = others,
                              .ns = bench_random_ns(count, BENCH_SECOND), .n = n,
                              .count = count) == 0,
                "guard");
    return (ended - started) / (double)n;
}

static coro_time last_when;
static uint64_t sleep_seed;
static long wakes_left, woken;

struct sleeper { /* sleeps once, or for as long as there are wakes left */
    CORO_FRAME;
    coro_time ns, when;
    bool again;
};

CORO(sleeper)
{
    CORO_BEGIN();
    do {
        my->when = co->loop->now + my->ns;
        CORO_TRY(coro_sleep(co, my->ns));
        bench_check(my->when >= last_when && my->when == co->loop->now, "the order of waking");
        last_when = my->when;
        woken++;
        my->ns = my->again ? (coro_time)(bench_random(&sleep_seed) % BENCH_SECOND) : 0;
    } while (my->again && --wakes_left > 0);
    CORO_END(0);
}

static CORO_TASK(sleeper) *sleepers;

struct sleepy {
    CORO_FRAME;
    coro_group group;
    uint64_t *ns;
    long count, i;
    bool again;
};

CORO(sleepy)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_ALL);
    for (my->i = 0; my->i < my->count; my->i++)
        coro_start(&my->group, &sleepers[my->i], sleeper, .ns = (coro_time)my->ns[my->i],
                   .again = my->again);
    started = bench_cpu();
    CORO_CLOSE(&my->group);
    ended = bench_cpu();
    CORO_END(0);
}

static double sleeping(long n, long again)
{
    coro_options virtual_time = {.clock = CORO_VIRTUAL};
    long count = again ? again : n;

    wakes_left = n;
    sleepers = aligned_alloc(64, ((size_t)count * sizeof *sleepers + 63) / 64 * 64);
    memset(sleepers, 0, (size_t)count * sizeof *sleepers);
    bench_check(
        coro_run_with(&virtual_time, sleepy,
                      .ns = bench_random_ns(count, again ? BENCH_SECOND : 10 * BENCH_SECOND),
                      .count = count, .again = again != 0) == 0 &&
            woken >= n,
        "sleep");
    return (ended - started) / (double)n;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"switch2", switches, 2},
        {"switch1k", switches, 1000},
        {"switch100k", switches, 100000},
        {"switch1m", switches, 1000000},
        {"switch2_armed", switches, -2},
        {"switch1k_armed", switches, -1000},
        {"call", calls, 0},
        {"depth1", depth, 1},
        {"depth10", depth, 10},
        {"depth100", depth, 100},
        {"spawn", spawn, 1},
        {"spawn_mass", spawn, 0},
        {"spawn_own", spawn_own, 1},
        {"spawn_own_mass", spawn_own, 0},
        {"guard", guard, 100000},
        {"sleeps", sleeping, 0},
        {"hold", sleeping, 10000},
        {0},
    };

    return bench_main(argc, argv, table);
}
