/* demo.c -- `make demo`: what coro.h does, in a few seconds. Exit status 0: all of it worked. */
#include "coro.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int failures;

static void expect(bool ok, const char *what)
{
    printf("  %s %s\n", ok ? "ok   " : "WRONG", what);
    failures += !ok;
}

/* ---- a crowd of sleepers, and a progress bar that is a task like the others -------------------
 */

#define CROWD 200000

static long awake;

struct sleeper {
    CORO_FRAME;
    coro_time d;
};

CORO(sleeper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    awake++;
    CORO_END(0);
}

struct bar {
    CORO_FRAME;
    long shown;
};

CORO(bar)
{
    CORO_BEGIN();
    while (awake < CROWD) {
        CORO_TRY(coro_sleep(co, CORO_MS(40)));
        if (isatty(1)) {
            my->shown = awake * 50 / CROWD;
            printf("\r  [%.*s%*s] %6ld awake", (int)my->shown,
                   "##################################################", (int)(50 - my->shown), "",
                   awake);
            fflush(stdout);
        }
    }
    if (isatty(1))
        printf("\n");
    CORO_END(0);
}

struct crowd {
    CORO_FRAME;
    coro_group g;
    coro_time began, spawned;
    unsigned long random;
    int i;
};

CORO(crowd)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, bar);
    for (my->i = 0; my->i < CROWD; my->i++) {
        my->random = my->random * 1103515245 + 12345;
        coro_spawn(&my->g, sleeper, .d = CORO_US((my->random >> 8) % 1500000));
    }
    my->spawned = coro_now(co);
    printf("  %d tasks made in %.1f ms, %zu bytes each; now they sleep up to 1.5 s\n", CROWD,
           (double)(my->spawned - my->began) / 1e6, coro_stats(coro_loop_of(co)).memory / CROWD);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- two tasks that give way to each other -----------------------------------------------------
 */

#define TURNS 10000000

struct turns {
    CORO_FRAME;
    long n;
};

CORO(turns)
{
    CORO_BEGIN();
    while (my->n-- > 0)
        CORO_TRY(coro_sleep(co, 0));
    CORO_END(0);
}

struct pair {
    CORO_FRAME;
    coro_group g;
    coro_time began;
};

CORO(pair)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, turns, .n = TURNS / 2);
    coro_spawn(&my->g, turns, .n = TURNS / 2);
    CORO_CLOSE(&my->g);
    printf("  %d switches, %.1f ns each\n", TURNS, (double)(coro_now(co) - my->began) / TURNS);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- a tree of tasks, printed; one of them fails, and all of it unwinds ------------------------
 */

struct query {
    CORO_FRAME;
    coro_time d;
    int result;
};

CORO(query)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(my->result);
}

static int cleanups;

struct request {
    CORO_FRAME;
    const char *name;
    struct query sub; /* a call's frame is embedded in its caller's */
    coro_scope limit, shield;
    coro_time d;
    int result;
};

CORO(request)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_S(10));
    CORO_TRY(coro_call(co, &my->sub, query, .d = my->d, .result = my->result));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(50));
    CORO_IGNORE(coro_sleep(co, CORO_MS(1))); /* say goodbye, cancelled or not */
    cleanups++;
    CORO_END(0);
}

struct server {
    CORO_FRAME;
    coro_group g;
};

CORO(server)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, request, .name = "profile", .d = CORO_MS(300));
    coro_spawn(&my->g, request, .name = "orders", .d = CORO_MS(400));
    coro_spawn(&my->g, request, .name = "broken", .d = CORO_MS(20), .result = -EIO);
    CORO_TRY(coro_sleep(co, CORO_MS(10)));
    coro_dump(coro_loop_of(co), NULL);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- a deadlock
 * ---------------------------------------------------------------------------------- */

struct stuck {
    CORO_FRAME;
    coro_waitq nobody_rings;
};

static coro_op never(coro_task *co, coro_waitq *q)
{
    static const coro_ops ops = {"a call that never comes", NULL, NULL};
    return coro_cancelled(co) ? coro_refuse(co) : coro_suspend(co, q, &ops, 0);
}

CORO(stuck)
{
    CORO_BEGIN();
    CORO_TRY(never(co, &my->nobody_rings));
    CORO_END(0);
}

static void put(void *arg, const char *text)
{
    (void)arg;
    printf("  | %s", text);
}

int main(void)
{
    coro_options o = {.report = {put, NULL}};
    int rc;

    printf("a crowd on one thread, without a thread's stack each\n");
    rc = coro_run(crowd, .random = 7);
    expect(rc == 0 && awake == CROWD, "all woke, and their group was closed");

    printf("two tasks take turns\n");
    expect(coro_run(pair) == 0, "done");

    printf("a tree of tasks, 10 ms old; one of them is about to fail\n");
    rc = coro_run_with(&o, server);
    expect(rc == -EIO, "the failure cancelled the others and became the group's result");
    expect(cleanups == 3, "every cleanup ran to its end, each with an await in it");

    printf("a task that nobody will ever wake\n");
    expect(coro_run_with(&o, stuck) == -EDEADLK, "was found, named, and cancelled");
    return failures != 0;
}
