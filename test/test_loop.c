/* test_loop.c -- turns, fairness, clocks, seeds, shutdown, memory: semantics.md 10 to 12.
 *
 * Left out, since they are not about coro.h or not in design.md: F07, F08, V03, V06, V10 to V13,
 * Z03, Z05, Z07's unreferenced handles, Z09 to Z11, Z14, Z15, Z17. F11 and V04 are also in
 * test_post.c, F15 is in test_debug.c.
 */
#include "coro.h"
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOUND(loop) CHECK_STR(coro_verify(loop), NULL)
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const coro_options fast = {.clock = CORO_VIRTUAL};

/* What happened, in order. */
static char trace[2048];

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
    size_t used = strlen(trace);
    va_list args;
    va_start(args, format);
    vsnprintf(trace + used, sizeof trace - used, format, args);
    va_end(args);
}

static void drop_text(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

/* ---- a driver whose clock the tests move ------------------------------------------------- */

static struct world {
    coro_time now;
    coro_time tick;        /* the clock moves by this at each reading */
    int looks, parks;      /* without and with sleeping */
    int wakes, finis;
    coro_time until;       /* of the last park */
    void (*outside)(coro_loop *loop); /* what happens during a park or look; may be null */
} world;

static coro_time world_now(void *arg)
{
    struct world *w = (struct world *)arg;
    w->now += w->tick;
    return w->now;
}

static void world_park(void *arg, coro_loop *loop, coro_time until)
{
    struct world *w = (struct world *)arg;
    if (until <= w->now) {
        w->looks++;
    } else {
        w->parks++;
        w->until = until;
        if (until != CORO_FOREVER)
            w->now = until;
        else if (!w->outside)
            TEST_FAIL("slept for ever, and nobody is outside");
    }
    if (w->outside)
        w->outside(loop);
}

static void world_wake(void *arg)
{
    ((struct world *)arg)->wakes++;
}

static void world_fini(void *arg)
{
    ((struct world *)arg)->finis++;
}

static const coro_driver world_driver = {world_now, world_park, world_wake, world_fini, &world};

/* ---- an operation of ours --------------------------------------------------------------- */

struct gate {
    coro_waitq waiting;
    bool open;
    bool stuck; /* a wait for it cannot be aborted */
    int passed;
};

static coro_abort gate_abort(coro_task *task, coro_waitq *queue)
{
    struct gate *g = (struct gate *)coro_word(task);
    (void)queue;
    return g->stuck ? CORO_ABORT_NEVER : CORO_ABORT_DONE;
}

/* Gives how many have passed before. */
static coro_op gate_pass(coro_task *co, struct gate *g)
{
    static const coro_ops ops = {"gate", gate_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (g->open)
        return coro_done(co, g->passed++);
    return coro_suspend(co, &g->waiting, &ops, (intptr_t)(void *)g);
}

static void gate_let_one(struct gate *g)
{
    if (g->waiting.head)
        CHECK(coro_complete(g->waiting.head, g->passed++));
}

static struct gate gate, other_gate;

/* ---- tasks that many tests use ---------------------------------------------------------- */

static bool enough; /* tells busy tasks to end */

/* Says its name on each of n turns. */
struct turner {
    CORO_FRAME;
    const char *name;
    int n, i;
};

CORO(turner)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->n; my->i++) {
        say("%s", my->name);
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

/* Is always ready. */
struct busy {
    CORO_FRAME;
    long turns;
};

CORO(busy)
{
    CORO_BEGIN();
    for (my->turns = 0; !enough; my->turns++)
        CORO_TRY(coro_sleep(co, 0));
    CORO_END((intptr_t)my->turns);
}

/* Sleeps, and says so. */
struct napper {
    CORO_FRAME;
    const char *name;
    coro_time d;
};

CORO(napper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    say("%s", my->name);
CORO_FINALLY:
    if (CORO_ERR)
        say("%s(%d)", my->name, CORO_ERR);
    CORO_END(0);
}

struct waiter {
    CORO_FRAME;
    struct gate *gate;
    const char *name;
};

CORO(waiter)
{
    CORO_BEGIN();
    CORO_TRY(gate_pass(co, my->gate));
    say("%s", my->name);
CORO_FINALLY:
    if (CORO_ERR)
        say("%s(%d)", my->name, CORO_ERR);
    CORO_END(0);
}

/* ---- turns ------------------------------------------------------------------------------ */

static coro_loop loop, second_loop;

TEST(turn_runs_exactly_what_was_ready_at_its_start) /* F01 F03 */
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, turner, .name = "a", .n = 3);
    coro_spawn(&loop.root, turner, .name = "b", .n = 2);
    coro_spawn(&loop.root, turner, .name = "c", .n = 1);
    CHECK_STR(trace, ""); /* spawning runs nothing */
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "abc");
    SOUND(&loop);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "abcab");
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "abcaba");
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_EQ(coro_stats(&loop).steps, 3 + 3 + 2 + 1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(shuffled_turn_runs_exactly_what_was_ready_at_its_start) /* F01 F03, with a seed */
{
    static const char *const names[] = {"a", "b", "c", "d"};
    coro_options o = fast;
    o.seed = 12345;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (size_t i = 0; i < COUNT(names); i++)
        coro_spawn(&loop.root, turner, .name = names[i], .n = 20);
    for (int turn = 0; turn < 20; turn++) {
        trace[0] = 0;
        CHECK_EQ(coro_loop_step(&loop), 1);
        CHECK_EQ(strlen(trace), 4);
        for (size_t i = 0; i < COUNT(names); i++)
            CHECK_CONTAINS(trace, names[i]);
    }
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct early_bird {
    CORO_FRAME;
    coro_group g;
};

/* Spawns and lets tasks go in its turn: they run in the next. */
CORO(early_bird)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    say("A");
    coro_spawn(&my->g, turner, .name = "s", .n = 1);
    gate_let_one(&gate);
    CORO_TRY(coro_sleep(co, 0));
    say("A");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(what_a_task_makes_ready_runs_in_the_next_turn_in_that_order) /* F01 */
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, waiter, .gate = &gate, .name = "w");
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_spawn(&loop.root, early_bird);
    coro_spawn(&loop.root, turner, .name = "t", .n = 1);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "At");
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "AtswA");
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct yielder {
    CORO_FRAME;
    coro_group g;
};

CORO(yielder)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, turner, .name = "1", .n = 2);
    coro_spawn(&my->g, turner, .name = "2", .n = 2);
    coro_spawn(&my->g, turner, .name = "3", .n = 2);
    say("[");
    CORO_TRY(coro_sleep(co, 0));
    say("]");
    CORO_TRY(coro_sleep(co, CORO_MS(-5))); /* negative: the same */
    say("|");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(yield_goes_behind_all_that_is_ready) /* F03 */
{
    CHECK_EQ(coro_run_with(&fast, yielder), 0);
    CHECK_STR(trace, "[123]123|");
}

/* ---- the outside under load ------------------------------------------------------------- */

struct alarm_clock {
    CORO_FRAME;
    coro_time d;
    coro_time woken;
};

CORO(alarm_clock)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    my->woken = coro_now(co);
    enough = true;
    CORO_END(0);
}

TEST(timer_fires_although_tasks_are_always_ready) /* F02 */
{
    static CORO_TASK(alarm_clock) clock_task;
    static CORO_TASK(busy) a, b;
    const coro_options o = {.driver = world_driver};
    world.tick = 10; /* readings are how time passes */
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &a, busy);
    coro_start(&loop.root, &b, busy);
    coro_start(&loop.root, &clock_task, alarm_clock, .d = 50000);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(clock_task.frame.woken >= 50000);
    CHECK(clock_task.frame.woken < 56000); /* CORO_DEBUG reads it twice a step */
    CHECK(coro_task_result(&a) > 100);
    CHECK_EQ(world.parks, 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void stop_at_10_looks(coro_loop *l)
{
    (void)l;
    if (world.looks == 10)
        enough = true;
}

TEST(driver_is_asked_every_256_steps_although_tasks_are_always_ready) /* F02 */
{
    static CORO_TASK(busy) b;
    const coro_options o = {.driver = world_driver};
    world.outside = stop_at_10_looks;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &b, busy);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(coro_task_result(&b) > 256);
    CHECK(coro_task_result(&b) <= 10 * CORO_STEPS);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* The clock stands still, but for one task's steps. */
struct heavy {
    CORO_FRAME;
    int light;          /* turns that take no time */
    coro_time weight;   /* what the turns after these take */
    int i;
};

CORO(heavy)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->light; my->i++)
        CORO_TRY(coro_sleep(co, 0));
    while (!enough) {
        world.now += my->weight;
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

/* A task that computes in pieces, as the manual tells it to, makes a deadline late by one piece;
 * after thousands of quick turns by CORO_STEPS pieces at the most: reading the clock costs ten
 * times what a quick turn does. */
static coro_time woken_after(int light)
{
    static CORO_TASK(alarm_clock) clock_task;
    const coro_options o = {.driver = world_driver};
    world.now = 0;
    enough = false;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &clock_task, alarm_clock, .d = CORO_MS(20));
    coro_spawn(&loop.root, heavy, .light = light, .weight = CORO_MS(5));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    return clock_task.frame.woken;
}

TEST(yield_looks_at_the_clock_when_a_timer_is_armed) /* F06 F15, design 6.11 */
{
    CHECK(woken_after(0) <= CORO_MS(25));
    CHECK(woken_after(30) <= CORO_MS(25));
    CHECK(woken_after(50000) >= CORO_MS(20));
    CHECK(woken_after(50000) <= CORO_MS(20) + CORO_STEPS * CORO_MS(5));
}

static coro_post_node note;

static void note_run(coro_loop *l, coro_post_node *node)
{
    (void)l;
    (void)node;
    say("posted");
    enough = true;
}

struct poster {
    CORO_FRAME;
    int i;
};

CORO(poster)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 100; my->i++)
        CORO_TRY(coro_sleep(co, 0));
    note.run = note_run;
    CHECK(coro_post(coro_loop_of(co), &note));
    CORO_END(0);
}

TEST(post_gets_its_turn_although_tasks_are_always_ready) /* F11 */
{
    static CORO_TASK(busy) b;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &b, busy);
    coro_spawn(&loop.root, poster);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(coro_task_result(&b) >= 100);
    CHECK(coro_task_result(&b) <= 100 + CORO_STEPS);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- the budget ------------------------------------------------------------------------- */

struct greedy {
    CORO_FRAME;
    int n, i, rc;
    int longest, row; /* operations between two turns of the other task */
};

static int other_turns;

CORO(greedy)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->n; my->i++) {
        other_turns = 0;
        CORO_TRY(my->rc, gate_pass(co, &gate));
        CHECK_EQ(my->rc, my->i); /* done once, in order: the yield keeps the result */
        my->row = other_turns ? 0 : my->row + 1;
        if (my->row > my->longest)
            my->longest = my->row;
    }
    enough = true;
    CORO_END(my->longest);
}

struct onlooker {
    CORO_FRAME;
    int turns;
};

CORO(onlooker)
{
    CORO_BEGIN();
    for (my->turns = 0; !enough; my->turns++) {
        other_turns++;
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(my->turns);
}

static void check_budget(uint8_t option, int budget)
{
    static CORO_TASK(greedy) g;
    static CORO_TASK(onlooker) o;
    coro_options options = fast;
    options.budget = option;
    gate.open = true;
    gate.passed = 0;
    enough = false;
    CHECK_EQ(coro_loop_init(&loop, &options), 0);
    coro_start(&loop.root, &g, greedy, .n = 100 * budget);
    coro_start(&loop.root, &o, onlooker);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&g), budget - 1); /* the budget-th one yields */
    CHECK(coro_task_result(&o) >= 99);
    CHECK_EQ(gate.passed, 100 * budget);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(operations_that_are_done_at_once_spend_a_budget) /* F04 */
{
    check_budget(0, CORO_BUDGET);
    check_budget(10, 10);
    check_budget(1, 1);
    check_budget(128, 128);
    check_budget(255, 128); /* there is no more */
}

struct joiner {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(turner) t;
    int i, rc;
};

CORO(joiner)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, turner, .name = "", .n = 0);
    CORO_TRY(coro_join(co, &my->t));
    for (my->i = 0; my->i < 10 * CORO_BUDGET; my->i++)
        CORO_TRY(coro_join(co, &my->t));
    for (my->i = 0; my->i < 10 * CORO_BUDGET; my->i++)
        CORO_TRY(coro_group_wait_room(co, &my->g));
    enough = true;
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(operations_of_the_core_spend_the_budget_too) /* F04 */
{
    static CORO_TASK(busy) b;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, joiner);
    coro_start(&loop.root, &b, busy);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(coro_task_result(&b) >= 19);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct frugal {
    CORO_FRAME;
    int round, i;
};

/* Just below the budget, then a wait, again and again: that wait is the only one. */
CORO(frugal)
{
    CORO_BEGIN();
    for (my->round = 0; my->round < 10; my->round++) {
        for (my->i = 0; my->i < CORO_BUDGET - 1; my->i++)
            CORO_TRY(gate_pass(co, &gate));
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    }
    CORO_END(0);
}

TEST(wait_gives_the_budget_back) /* F05 */
{
    gate.open = true;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, frugal);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_stats(&loop).steps, 1 + 10);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct never_blocking {
    CORO_FRAME;
    coro_scope limit;
    int i, rc;
};

/* Each operation takes some time, and none waits. */
CORO(never_blocking)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(10));
    for (my->i = 0;; my->i++) {
        world.now += CORO_US(100);
        CORO_AWAIT(my->rc, gate_pass(co, &gate));
        if (my->rc < 0)
            break;
    }
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->limit, my->rc), -ETIMEDOUT);
    CORO_END(my->i);
}

TEST(timeout_around_a_body_that_never_waits_fires) /* F06 */
{
    const coro_options o = {.driver = world_driver};
    int n;
    gate.open = true;
    n = coro_run_with(&o, never_blocking);
    CHECK(n >= 99);
    CHECK(n <= 100 + CORO_BUDGET);
    CHECK_EQ(gate.passed, n); /* what was refused did not happen */
}

/* ---- wake-ups --------------------------------------------------------------------------- */

struct completer {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(waiter) w;
};

CORO(completer)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, waiter, .gate = &gate, .name = "w");
    CHECK(!coro_complete(&my->w.task, 0)); /* ready: waits for nothing */
    CHECK(!coro_complete(co, 0));          /* runs */
    CORO_TRY(coro_sleep(co, 0));
    CHECK(coro_complete(&my->w.task, 0));
    CHECK(!coro_complete(&my->w.task, 0)); /* woken already */
    CHECK_EQ(coro_stats(coro_loop_of(co)).ready, 1);
    SOUND(coro_loop_of(co));
    CORO_TRY(coro_join(co, &my->w));
    CHECK(!coro_complete(&my->w.task, 0)); /* has ended */
    CHECK_EQ(coro_stats(coro_loop_of(co)).ready, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(task_is_woken_once) /* F09 B09 Z13 */
{
    CHECK_EQ(coro_run_with(&fast, completer), 0);
    CHECK_STR(trace, "w");
}

struct paddle {
    CORO_FRAME;
    struct gate *mine, *theirs;
    long hits;
};

CORO(paddle)
{
    CORO_BEGIN();
    for (; !enough; my->hits++) {
        gate_let_one(my->theirs);
        CORO_TRY(gate_pass(co, my->mine));
    }
    gate_let_one(my->theirs);
    CORO_END(0);
}

struct third {
    CORO_FRAME;
    int i;
};

CORO(third)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 1000; my->i++)
        CORO_TRY(coro_sleep(co, 0));
    enough = true;
    CORO_END(0);
}

TEST(two_tasks_that_wake_each_other_do_not_starve_a_third) /* F10 */
{
    static CORO_TASK(paddle) a, b;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &a, paddle, .mine = &gate, .theirs = &other_gate);
    coro_start(&loop.root, &b, paddle, .mine = &other_gate, .theirs = &gate);
    coro_spawn(&loop.root, third);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(a.frame.hits >= 400);
    CHECK(a.frame.hits <= 1100);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct assassin {
    CORO_FRAME;
    coro_group *victims;
    coro_time d;
};

CORO(assassin)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    say("cancel ");
    coro_group_cancel(my->victims);
    CORO_END(0);
}

struct simultaneous {
    CORO_FRAME;
    coro_group victims, g;
};

/* The first of three timers of one instant cancels the owners of the others: these have fired. */
CORO(simultaneous)
{
    CORO_BEGIN();
    coro_group_open(co, &my->victims, CORO_ALL);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, assassin, .victims = &my->victims, .d = CORO_MS(5));
    coro_spawn(&my->victims, napper, .name = "x", .d = CORO_MS(5));
    coro_spawn(&my->victims, napper, .name = "y", .d = CORO_MS(5));
    coro_spawn(&my->victims, napper, .name = "z", .d = CORO_MS(5) + 1);
    CORO_IGNORE(coro_group_close(co, &my->g, 0));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_CLOSE(&my->victims);
    CORO_END(0);
}

TEST(timers_of_one_instant_all_fire_before_anybody_runs) /* F12 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, simultaneous), 0);
    snprintf(want, sizeof want, "cancel xyz(%d)", -ECANCELED);
    CHECK_STR(trace, want);
}

struct rearming {
    CORO_FRAME;
    const char *name;
    int i;
};

CORO(rearming)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    for (my->i = 0; my->i < 3; my->i++) {
        say("%s", my->name);
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

TEST(timer_that_is_armed_anew_with_zero_fires_in_the_next_pass) /* F12 */
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, rearming, .name = "a");
    coro_spawn(&loop.root, rearming, .name = "b");
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "ababab");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct no_priority {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(waiter) w;
};

CORO(no_priority)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, waiter, .gate = &gate, .name = "w");
    CORO_TRY(coro_sleep(co, 0));
    coro_spawn(&my->g, turner, .name = "before ", .n = 1);
    coro_task_cancel(&my->w);
    coro_spawn(&my->g, turner, .name = " after", .n = 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(cancelled_task_is_resumed_in_its_place) /* F13 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, no_priority), 0);
    snprintf(want, sizeof want, "before w(%d) after", -ECANCELED);
    CHECK_STR(trace, want);
}

struct deaf {
    CORO_FRAME;
    int refused, rc;
};

CORO(deaf)
{
    CORO_BEGIN();
    while (!enough) {
        CORO_AWAIT(my->rc, gate_pass(co, &gate));
        if (my->rc == -ECANCELED)
            my->refused++;
    }
    CORO_END(my->refused);
}

struct with_deaf {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(deaf) d;
    int i;
};

CORO(with_deaf)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->d, deaf);
    coro_task_cancel(&my->d);
    for (my->i = 0; my->i < 500; my->i++)
        CORO_TRY(coro_sleep(co, 0));
    enough = true;
    CORO_CLOSE(&my->g);
    CHECK(coro_task_result(&my->d) >= 498);
    CHECK(coro_task_result(&my->d) <= 502); /* turn about: each refusal is a turn */
    CHECK_EQ(gate.passed, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(task_that_ignores_its_cancellation_does_not_freeze_the_others) /* F14 */
{
    gate.open = true;
    CHECK_EQ(coro_run_with(&fast, with_deaf), 0);
}

/* ---- the virtual clock ------------------------------------------------------------------ */

static coro_time seen_at;

static void see_time(coro_loop *l, coro_post_node *node)
{
    (void)node;
    seen_at = coro_loop_now(l);
}

struct post_then_sleep {
    CORO_FRAME;
    coro_time start;
};

CORO(post_then_sleep)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    seen_at = -1;
    note.run = see_time;
    coro_post(coro_loop_of(co), &note);
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
    CHECK_EQ(seen_at, my->start);
    CHECK_EQ(coro_now(co) - my->start, CORO_S(3600));
    CORO_END(0);
}

TEST(virtual_time_does_not_jump_over_a_post) /* V01 */
{
    CHECK_EQ(coro_run_with(&fast, post_then_sleep), 0);
}

struct standstill {
    CORO_FRAME;
    coro_group g;
    coro_time start;
    int i;
};

CORO(standstill)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "n", .d = 1);
    for (my->i = 0; my->i < 1000; my->i++)
        CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_now(co), my->start);
    CHECK_STR(trace, "");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_now(co), my->start + 1);
    CORO_END(0);
}

TEST(virtual_time_stands_still_while_a_task_can_run) /* V01 */
{
    CHECK_EQ(coro_run_with(&fast, standstill), 0);
}

struct exact {
    CORO_FRAME;
    coro_time d;
};

CORO(exact)
{
    CORO_BEGIN();
    CHECK_EQ(coro_now(co), 0);
    CORO_TRY(coro_sleep(co, my->d));
    CHECK_EQ(coro_now(co), my->d);
    say("%d ", (int)coro_task_id(co));
    CORO_END(0);
}

TEST(virtual_time_begins_at_0_and_jumps_exactly_to_the_next_deadline) /* V02 V07 */
{
    static const coro_time naps[] = {
        CORO_MS(1500), CORO_MS(1) + CORO_US(500) + 1, 1, CORO_S(86400) * 365, CORO_MS(1),
        CORO_S(3600) + 7, 65536, 65535, 65537, CORO_FOREVER - 1000, CORO_MS(1) + CORO_US(500)};
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    for (size_t i = 0; i < COUNT(naps); i++)
        coro_spawn(&loop.root, exact, .d = naps[i]);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "2 7 6 8 4 10 1 0 5 3 9 ");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct past {
    CORO_FRAME;
    coro_group g;
    coro_time start;
};

CORO(past)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    my->start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, turner, .name = "t", .n = 1);
    CORO_TRY(coro_sleep_until(co, my->start - CORO_MS(500)));
    say("p");
    CORO_TRY(coro_sleep_until(co, my->start));
    say("q");
    CHECK_EQ(coro_now(co), my->start);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(deadline_in_the_past_is_one_turn_and_moves_no_clock) /* V14 */
{
    CHECK_EQ(coro_run_with(&fast, past), 0);
    CHECK_STR(trace, "tpq");
}

/* Somebody outside answers at the third park. */
static void answer_third(coro_loop *l)
{
    if (coro_stats(l).held)
        CHECK_EQ(coro_loop_now(l), 0);
    if (world.parks == 3 && gate.waiting.head) {
        CHECK(coro_complete(gate.waiting.head, 0));
        coro_loop_release(l);
    }
}

struct asking_outside {
    CORO_FRAME;
    coro_group g;
};

CORO(asking_outside)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "timer ", .d = CORO_MS(1));
    coro_loop_hold(coro_loop_of(co));
    CHECK_EQ(coro_stats(coro_loop_of(co)).held, 1);
    CORO_TRY(gate_pass(co, &gate));
    CHECK_EQ(coro_now(co), 0);
    say("answer ");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_now(co), CORO_MS(1));
    CORO_END(0);
}

TEST(virtual_time_stands_still_while_somebody_outside_holds_the_loop) /* V04 */
{
    const coro_options o = {.driver = world_driver, .clock = CORO_VIRTUAL};
    world.outside = answer_third;
    CHECK_EQ(coro_run_with(&o, asking_outside), 0);
    CHECK_STR(trace, "answer timer ");
    CHECK_EQ(world.parks, 3);
    CHECK_EQ(world.until, CORO_FOREVER); /* a virtual deadline is none of the driver's */
}

/* ---- seeds ------------------------------------------------------------------------------ */

static void run_seeded(uint32_t seed, char *out, size_t size)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    coro_options o = fast;
    o.seed = seed;
    trace[0] = 0;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        coro_spawn(&loop.root, turner, .name = names[i], .n = 3);
        coro_spawn(&loop.root, rearming, .name = names[i]);
    }
    CHECK_EQ(coro_loop_run(&loop), 0);
    say(" %lld", (long long)coro_loop_now(&loop));
    CHECK_EQ(coro_loop_fini(&loop), 0);
    snprintf(out, size, "%.*s", (int)size - 1, trace);
}

TEST(same_seed_gives_the_same_schedule_and_others_give_others) /* V08 V09 */
{
    static char fifo[128], first[128], again[128], other[128];
    int differing = 0;
    if (!CORO_READY_RING)
        return; /* a list is not shuffled */
    run_seeded(0, fifo, sizeof fifo);
    CHECK_STR(fifo, "abcdeabcdeabcdeabcdeabcdeabcde 5000000");
    run_seeded(1, first, sizeof first);
    run_seeded(1, again, sizeof again);
    CHECK_STR(again, first);
    for (uint32_t seed = 2; seed < 22; seed++) {
        run_seeded(seed, other, sizeof other);
        CHECK_EQ(strlen(other), strlen(fifo)); /* all ran to their end */
        differing += strcmp(other, first) != 0 && strcmp(other, fifo) != 0;
    }
    CHECK(differing >= 19);
}

/* ---- real time -------------------------------------------------------------------------- */

struct real {
    CORO_FRAME;
    coro_time start, took;
};

CORO(real)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    my->took = coro_now(co) - my->start;
    CHECK(my->took >= CORO_MS(2));
    CHECK(my->took < CORO_S(2));
    CHECK(coro_stats(coro_loop_of(co)).parked >= 1); /* it slept, it did not spin */
    CHECK(coro_stats(coro_loop_of(co)).parked <= 4);
    CORO_END(0);
}

TEST(real_sleep_takes_real_time_and_no_less)
{
    CHECK_EQ(coro_run(real), 0);
}

struct brief {
    CORO_FRAME;
    coro_time start;
    uint64_t parked;
};

CORO(brief)
{
    CORO_BEGIN();
    my->parked = coro_stats(coro_loop_of(co)).parked;
    my->start = coro_now(co);
    CORO_TRY(coro_sleep(co, CORO_US(50)));
    CHECK(coro_now(co) - my->start >= CORO_US(50));
    CHECK_EQ(coro_stats(coro_loop_of(co)).parked, my->parked);
    CORO_END(0);
}

TEST(spinning_loop_does_not_sleep_for_short_waits)
{
    coro_options o = {.driver = world_driver};
    o.spin = CORO_S(1);
    world.tick = CORO_US(1);
    CHECK_EQ(coro_run_with(&o, brief), 0);
    CHECK_EQ(world.parks, 0);
    CHECK(world.looks > 10); /* it looked meanwhile */
}

/* ---- drivers ---------------------------------------------------------------------------- */

struct two_naps {
    CORO_FRAME;
    int dummy;
};

CORO(two_naps)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(coro_now(co), CORO_MS(3));
    CORO_TRY(coro_sleep(co, CORO_MS(4)));
    CHECK_EQ(coro_now(co), CORO_MS(7));
    CORO_END(5);
}

TEST(driver_of_ones_own_tells_the_time_and_sleeps)
{
    const coro_options o = {.driver = world_driver};
    CHECK_EQ(coro_run_with(&o, two_naps), 5);
    CHECK_EQ(world.parks, 2);
    CHECK_EQ(world.until, CORO_MS(7)); /* exactly until the deadline */
    CHECK_EQ(world.finis, 1);
    CHECK_EQ(world.wakes, 0);
}

struct installing {
    CORO_FRAME;
    int dummy;
};

static struct world second_world;

CORO(installing)
{
    CORO_BEGIN();
    {
        coro_driver d = world_driver;
        d.arg = &second_world;
        coro_loop_drive(coro_loop_of(co), &d);
    }
    CHECK_EQ(world.finis, 1);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(second_world.parks, 1);
    CHECK_EQ(world.parks, 0);
    CORO_END(0);
}

TEST(driver_can_be_replaced_while_the_loop_runs)
{
    const coro_options o = {.driver = world_driver};
    CHECK_EQ(coro_run_with(&o, installing), 0);
    CHECK_EQ(world.finis, 1);
    CHECK_EQ(second_world.finis, 1);
}

TEST(driver_without_a_clock_is_refused_unless_the_clock_is_virtual)
{
    coro_options o = {.driver = {NULL, world_park, NULL, NULL, &world}};
    CHECK_EQ(coro_loop_init(&loop, &o), -ENOSYS);
    CHECK_EQ(coro_run_with(&o, two_naps), -ENOSYS);
    o.clock = CORO_VIRTUAL;
    CHECK_EQ(coro_run_with(&o, two_naps), 5);
}

/* ---- deadlock --------------------------------------------------------------------------- */

static coro_options quiet(void)
{
    coro_options o = fast;
    o.report.put = drop_text;
    return o;
}

struct stranded {
    CORO_FRAME;
    coro_group g;
};

CORO(stranded)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, waiter, .gate = &gate, .name = "1");
    coro_spawn(&my->g, waiter, .gate = &gate, .name = "2");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    say("cleanup(%d)", CORO_ERR);
    CORO_END(0);
}

TEST(deadlock_is_cancelled_from_the_root_and_gives_edeadlk) /* V02 B18, design 6.12 */
{
    const coro_options o = quiet();
    char want[96];
    CHECK_EQ(coro_run_with(&o, stranded), -EDEADLK);
    snprintf(want, sizeof want, "1(%d)2(%d)cleanup(%d)", -ECANCELED, -ECANCELED, -ECANCELED);
    CHECK_STR(trace, want);
    CHECK(!gate.waiting.head);
}

struct forever {
    CORO_FRAME;
    int rc;
};

CORO(forever)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_TRY(my->rc);
    CORO_END(0);
}

TEST(sleep_for_ever_is_no_timer)
{
    const coro_options o = quiet();
    CHECK_EQ(coro_run_with(&o, forever), -EDEADLK);
}

static int unseen_count, unseen_error;

static void count_unseen(void *arg, coro_task *task, int error)
{
    (void)arg;
    (void)task;
    unseen_count++;
    unseen_error = error;
}

static size_t taken, given;  /* bytes */
static int takes, gives;     /* calls */
static int fail_at;          /* this call of counting_alloc fails; 0: none */

static void *counting_alloc(void *arg, size_t size)
{
    (void)arg;
    takes++;
    if (takes == fail_at)
        return NULL;
    taken += size;
    return malloc(size);
}

static void counting_free(void *arg, void *memory, size_t size)
{
    (void)arg;
    gives++;
    given += size;
    free(memory);
}

#define ALL_GIVEN_BACK()                                                                \
    do {                                                                                \
        CHECK_EQ(given, taken);                                                         \
        CHECK_EQ(gives, takes - (fail_at && takes >= fail_at));                         \
    } while (0)

static void use_counting(coro_options *o)
{
    o->allocator.alloc = counting_alloc;
    o->allocator.free = counting_free;
}

struct tree {
    CORO_FRAME;
    int depth, i;
    coro_group g;
};

/* A tree of tasks whose leaves wait for a gate that cannot be left. */
CORO(tree)
{
    CORO_BEGIN();
    if (my->depth == 0) {
        CORO_TRY(gate_pass(co, &gate));
        CORO_LEAVE();
    }
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        coro_spawn(&my->g, tree, .depth = my->depth - 1);
    CORO_TRY(coro_sleep(co, CORO_MS(my->depth)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(tasks_that_are_stuck_for_good_are_abandoned_and_their_memory_is_not) /* design 6.12 */
{
    coro_options o = quiet();
    use_counting(&o);
    o.on_error = count_unseen;
    gate.stuck = true;
    CHECK_EQ(coro_run_with(&o, tree, .depth = 4), -EDEADLK);
    CHECK(takes > 0);
    ALL_GIVEN_BACK();
    CHECK_EQ(unseen_count, 1 + 3 + 9 + 27 + 81); /* each is told of */
    CHECK_EQ(unseen_error, -EDEADLK);
}

TEST(loop_does_not_sleep_for_ever_when_the_stuck_cannot_be_cancelled) /* design 6.12 */
{
    coro_options o = {.driver = world_driver};
    o.report.put = drop_text;
    gate.stuck = true;
    CHECK_EQ(coro_run_with(&o, tree, .depth = 0), -EDEADLK);
    CHECK_EQ(world.parks, 0);
}

struct slow_cleanup {
    CORO_FRAME;
    coro_scope shield;
};

CORO(slow_cleanup)
{
    CORO_BEGIN();
    CORO_TRY(gate_pass(co, &gate));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_S(10));
    CORO_IGNORE(coro_sleep(co, CORO_S(1)));
    (void)coro_scope_close(co, &my->shield, 0);
    coro_spawn(&coro_loop_of(co)->root, napper, .name = "late", .d = CORO_MS(1));
    say("clean ");
    CORO_END(0);
}

TEST(deadlocked_tasks_may_clean_up_at_their_leisure_and_spawn_in_vain) /* Z02 */
{
    const coro_options o = quiet();
    char want[64];
    CHECK_EQ(coro_run_with(&o, slow_cleanup), -EDEADLK);
    snprintf(want, sizeof want, "clean late(%d)", -ECANCELED);
    CHECK_STR(trace, want);
}

static void release_at_first_park(coro_loop *l)
{
    if (world.parks == 1 && coro_stats(l).held)
        coro_loop_release(l);
}

struct holding {
    CORO_FRAME;
    int rc;
};

CORO(holding)
{
    CORO_BEGIN();
    coro_loop_hold(coro_loop_of(co));
    CORO_AWAIT(my->rc, gate_pass(co, &gate));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_FAIL(my->rc);
    CORO_END(0);
}

TEST(deadlock_is_seen_when_the_last_hold_is_released)
{
    coro_options o = {.driver = world_driver};
    o.report.put = drop_text;
    world.outside = release_at_first_park;
    CHECK_EQ(coro_run_with(&o, holding), -EDEADLK);
    CHECK_EQ(world.parks, 1); /* while it was held, it slept */
}

/* ---- stop, and the end ------------------------------------------------------------------ */

struct stopper {
    CORO_FRAME;
    coro_time d;
};

CORO(stopper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    say("stop ");
    coro_loop_stop(coro_loop_of(co));
    CORO_TRY(coro_sleep(co, 0));
    say("on ");
    CORO_END(0);
}

TEST(stop_lets_the_turn_end_and_a_later_run_goes_on) /* Z04 */
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, stopper, .d = CORO_MS(5));
    coro_spawn(&loop.root, napper, .name = "same ", .d = CORO_MS(5));
    coro_spawn(&loop.root, napper, .name = "later ", .d = CORO_MS(6));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "stop same ");
    CHECK_EQ(coro_stats(&loop).tasks, 2);
    CHECK_EQ(coro_stats(&loop).timers, 1);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "stop same on later ");
    CHECK_EQ(coro_loop_now(&loop), CORO_MS(6));
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(stop_ends_a_run_in_which_somebody_is_always_ready) /* Z04 */
{
    static CORO_TASK(busy) b;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &b, busy);
    coro_spawn(&loop.root, stopper, .d = 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(b.frame.turns <= 1 + CORO_STEPS);
    enough = true;
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(stop_before_a_run_makes_it_one_pass_without_sleeping) /* Z04 */
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, napper, .name = "n", .d = CORO_MS(5));
    coro_loop_stop(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "");
    CHECK_EQ(coro_loop_now(&loop), 0);
    CHECK_EQ(coro_stats(&loop).timers, 1); /* the pass was made */
    CHECK_EQ(coro_loop_run(&loop), 0);     /* nothing is lost, and the stop is used up */
    CHECK_STR(trace, "n");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void stop_run(coro_loop *l, coro_post_node *node)
{
    (void)node;
    coro_loop_stop(l);
}

static void post_stop(coro_loop *l)
{
    note.run = stop_run;
    if (world.parks)
        coro_post(l, &note);
}

TEST(stop_by_a_post_ends_the_run_of_a_sleeping_loop) /* Z04 */
{
    const coro_options o = {.driver = world_driver};
    world.outside = post_stop;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, waiter, .gate = &gate, .name = "w");
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(world.parks, 1);
    CHECK_STR(trace, "");
    gate_let_one(&gate);
    coro_loop_release(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "w");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(loop_with_live_tasks_is_not_torn_down) /* Z06 Z12 */
{
    coro_options o = fast;
    use_counting(&o);
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, napper, .name = "n", .d = CORO_MS(5));
    CHECK_EQ(coro_loop_fini(&loop), -EBUSY);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_fini(&loop), -EBUSY);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0); /* it is as good as before */
    CHECK_STR(trace, "n");
    CHECK_EQ(coro_loop_fini(&loop), 0);
    ALL_GIVEN_BACK();
    CHECK_EQ(coro_spawn(&loop.root, napper, .name = "n", .d = 0), -ESHUTDOWN);
    CHECK_EQ(coro_loop_fini(&loop), 0); /* again: harmless */
    ALL_GIVEN_BACK();
}

struct inside {
    CORO_FRAME;
    int dummy;
};

CORO(inside)
{
    CORO_BEGIN();
    CHECK_EQ(coro_loop_run(coro_loop_of(co)), -EDEADLK);
    CHECK_EQ(coro_loop_step(coro_loop_of(co)), -EDEADLK);
    CHECK_EQ(coro_loop_fini(coro_loop_of(co)), -EBUSY);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_loop_run(coro_loop_of(co)), -EDEADLK);
    SOUND(coro_loop_of(co));
    CORO_END(3);
}

TEST(running_loop_can_neither_be_run_nor_torn_down) /* L17 Z06 */
{
    CHECK_EQ(coro_run_with(&fast, inside), 3);
    CHECK_EQ(coro_run_with(&fast, inside), 3); /* a fresh one each time: L18 Z18 */
}

TEST(loop_without_tasks_ends_at_once_even_if_held) /* Z07 */
{
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    coro_loop_hold(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct background {
    CORO_FRAME;
    int fail;
};

CORO(background)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
    say("an hour later ");
CORO_FINALLY:
    say("bg(%d) ", CORO_ERR);
    if (my->fail)
        CORO_ERR = my->fail;
    else
        coro_spawn(&coro_loop_of(co)->root, background, .fail = -EIO);
    CORO_END(0);
}

struct brief_main {
    CORO_FRAME;
    int dummy;
};

CORO(brief_main)
{
    CORO_BEGIN();
    coro_spawn(&coro_loop_of(co)->root, background);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(7);
}

/* The main task of coro_run is the program: what was spawned into the root group goes with it. */
TEST(what_is_left_when_main_ends_is_cancelled_and_awaited) /* Z01 Z02 */
{
    coro_options o = quiet();
    char want[64];
    use_counting(&o);
    o.on_error = count_unseen;
    CHECK_EQ(coro_run_with(&o, brief_main), 7); /* their errors do not replace its result */
    snprintf(want, sizeof want, "bg(%d) bg(%d) ", -ECANCELED, -ECANCELED);
    CHECK_STR(trace, want);
    CHECK_EQ(unseen_count, 1); /* but are told of */
    CHECK_EQ(unseen_error, -EIO);
    ALL_GIVEN_BACK();
}

static void rescue(coro_loop *l, coro_post_node *node)
{
    say("%s", node == &note ? "1" : "2");
    coro_group_cancel(&l->root);
    coro_spawn(&l->root, napper, .name = "n", .d = CORO_S(1));
    if (node == &note && strlen(trace) < 3)
        CHECK(coro_post(l, &note)); /* itself: next time */
}

TEST(posted_function_may_cancel_and_spawn_and_post_itself) /* Z16 B15 */
{
    static coro_post_node second;
    char want[64];
    note.run = second.run = rescue;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, napper, .name = "m", .d = CORO_S(3600));
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK(coro_post(&loop, &note));
    CHECK(coro_post(&loop, &second));
    CHECK(!coro_post(&loop, &note)); /* it is on its way */
    CHECK_EQ(coro_loop_run(&loop), 0);
    snprintf(want, sizeof want, "12m(%d)n(%d)n(%d)1n(%d)", -ECANCELED, -ECANCELED, -ECANCELED,
             -ECANCELED);
    CHECK_EQ(strlen(trace), strlen(want)); /* the order of the last two rounds is the loop's */
    CHECK_EQ(coro_loop_now(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- guests ----------------------------------------------------------------------------- */

TEST(guest_drives_the_loop_from_deadline_to_deadline) /* V05 Z08 */
{
    const coro_options o = {.driver = world_driver};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_FOREVER);
    coro_spawn(&loop.root, napper, .name = "b", .d = CORO_MS(20));
    coro_spawn(&loop.root, napper, .name = "a", .d = CORO_MS(10));
    coro_spawn(&loop.root, napper, .name = "c", .d = CORO_MS(20));
    CHECK(coro_loop_deadline(&loop) <= world.now); /* at once: somebody is ready */
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_MS(10));
    CHECK_EQ(coro_loop_step(&loop), 1); /* too early: nothing happens */
    CHECK_STR(trace, "");
    world.now = CORO_MS(10);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "a"); /* its own time, not the end of the jump */
    CHECK_EQ(coro_loop_deadline(&loop), CORO_MS(20));
    world.now = CORO_MS(20) - 1;
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "a");
    world.now = CORO_MS(25);
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_STR(trace, "abc");
    CHECK_EQ(coro_loop_deadline(&loop), CORO_FOREVER);
    CHECK_EQ(world.parks, 0); /* never slept */
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(jump_over_several_deadlines_fires_them_in_order) /* V05 */
{
    const coro_options o = {.driver = world_driver};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, napper, .name = "c", .d = CORO_S(30));
    coro_spawn(&loop.root, napper, .name = "a", .d = CORO_MS(10));
    coro_spawn(&loop.root, napper, .name = "d", .d = CORO_S(30) + 1);
    coro_spawn(&loop.root, napper, .name = "b", .d = CORO_MS(11));
    CHECK_EQ(coro_loop_step(&loop), 1);
    world.now = CORO_S(100);
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_STR(trace, "abcd");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(guest_finds_a_far_deadline_by_coming_when_told) /* Z08 */
{
    const coro_options o = {.driver = world_driver};
    int steps = 0;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (int i = 0; i < 100; i++)
        coro_spawn(&loop.root, napper, .name = ".", .d = CORO_S(86400) + CORO_S(i));
    while (coro_loop_step(&loop) && steps < 200) {
        CHECK(coro_loop_deadline(&loop) != CORO_FOREVER);
        if (world.now < coro_loop_deadline(&loop))
            world.now = coro_loop_deadline(&loop);
        steps++;
    }
    CHECK_EQ(strlen(trace), 100);
    CHECK_EQ(world.now, CORO_S(86400) + CORO_S(99));
    CHECK(steps >= 100);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(post_makes_a_guests_deadline_now)
{
    const coro_options o = {.driver = world_driver};
    world.now = CORO_S(5);
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, napper, .name = "n", .d = CORO_S(1));
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_S(6));
    note.run = note_run;
    coro_post(&loop, &note);
    CHECK(coro_loop_rung(&loop));
    CHECK(coro_loop_deadline(&loop) <= CORO_S(5));
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "posted");
    CHECK(!coro_loop_rung(&loop));
    world.now = CORO_S(6);
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(two_loops_of_one_thread_share_nothing) /* Z18 */
{
    coro_options one = fast, two = fast;
    use_counting(&one);
    two.budget = 3;
    CHECK_EQ(coro_loop_init(&loop, &one), 0);
    CHECK_EQ(coro_loop_init(&second_loop, &two), 0);
    coro_spawn(&loop.root, turner, .name = "a", .n = 3);
    coro_spawn(&second_loop.root, turner, .name = "B", .n = 4);
    coro_spawn(&loop.root, napper, .name = "n", .d = CORO_MS(1));
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_step(&second_loop), 1);
    CHECK_EQ(coro_loop_step(&second_loop), 1);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "aBBa");
    CHECK_EQ(coro_stats(&second_loop).timers, 0);
    CHECK_EQ(coro_stats(&second_loop).spawned, 1);
    CHECK_EQ(coro_loop_run(&second_loop), 0);
    CHECK_EQ(coro_loop_fini(&second_loop), 0);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "aBBaBBan");
    CHECK_EQ(coro_loop_now(&loop), CORO_MS(1));
    CHECK_EQ(coro_loop_now(&second_loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    ALL_GIVEN_BACK();
}

/* ---- memory ----------------------------------------------------------------------------- */

struct bulky {
    CORO_FRAME;
    char bulk[3000];
    coro_time d;
};

CORO(bulky)
{
    CORO_BEGIN();
    memset(my->bulk, 1, sizeof my->bulk);
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(my->bulk[2999]);
}

/* A chain of calls with frames from the loop's memory. */
struct deep {
    CORO_FRAME;
    int depth, rc;
};

CORO(deep)
{
    CORO_BEGIN();
    if (my->depth == 0)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    else
        CORO_TRY(my->rc, coro_call_new(co, deep, .depth = my->depth - 1));
    CORO_END(my->rc + 1);
}

struct churn {
    CORO_FRAME;
    coro_group g;
    int i, j, rc;
    size_t memory;
};

/* A steady load: after the first rounds it takes nothing more from the allocator. */
CORO(churn)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 50; my->i++) {
        coro_group_open(co, &my->g, CORO_ALL);
        for (my->j = 0; my->j < 40; my->j++) {
            coro_spawn(&my->g, turner, .name = "", .n = my->j % 3);
            coro_spawn(&my->g, napper, .name = "", .d = CORO_MS(my->j));
        }
        CORO_TRY(my->rc, coro_call_new(co, deep, .depth = 20));
        CHECK_EQ(my->rc, 21);
        CORO_CLOSE(&my->g);
        if (my->i == 0)
            my->memory = coro_stats(coro_loop_of(co)).memory;
        CHECK_EQ(coro_stats(coro_loop_of(co)).memory, my->memory);
        SOUND(coro_loop_of(co));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->i);
}

TEST(steady_load_takes_no_more_memory_and_all_of_it_is_given_back)
{
    coro_options o = fast;
    use_counting(&o);
    CHECK_EQ(coro_run_with(&o, churn), 50);
    CHECK(takes > 0);
    CHECK(takes < 40);
    ALL_GIVEN_BACK();
}

struct parade {
    CORO_FRAME;
    coro_group g;
    int n, i;
};

CORO(parade)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < my->n; my->i++) {
        coro_spawn(&my->g, bulky, .d = CORO_MS(1));
        CORO_TRY(coro_sleep(co, CORO_MS(2)));
        CHECK_EQ(my->g.alive, 0);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->i);
}

TEST(memory_of_large_tasks_goes_back_when_they_end)
{
    coro_options o = fast;
    use_counting(&o);
    CHECK_EQ(coro_run_with(&o, parade, .n = 20), 20);
    ALL_GIVEN_BACK();
    CHECK(taken >= 20 * 3000); /* each was taken anew: nothing that large is hoarded */
}

struct scenario {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(napper) started;
    int i, rc, failed;
};

/* Uses memory in all ways; every failure is recorded, and is the result. */
CORO(scenario)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 200; my->i++)
        my->failed += coro_spawn(&my->g, napper, .name = "", .d = CORO_MS(my->i)) != 0;
    my->failed += coro_spawn(&my->g, bulky, .d = 0) != 0;
    my->failed += coro_start(&my->g, &my->started, napper, .name = "", .d = CORO_MS(1)) != 0;
    CORO_AWAIT(my->rc, coro_call_new(co, deep, .depth = 30));
    CHECK(my->rc == 31 || my->rc == -ENOMEM);
    SOUND(coro_loop_of(co));
    CHECK_EQ(my->g.failed, my->failed);
    CHECK_EQ(my->g.first, my->failed ? -ENOMEM : 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1);
    CORO_END(my->failed || my->rc < 0 ? -ENOMEM : 0);
}

TEST(every_allocation_may_fail_and_leaves_nothing_behind) /* V15 Z19 A17 */
{
    coro_options o = fast;
    int rc, failures = 0;
    use_counting(&o);
    for (fail_at = 1;; fail_at++) {
        taken = given = 0;
        takes = gives = 0;
        rc = coro_run_with(&o, scenario);
        CHECK(rc == 0 || rc == -ENOMEM);
        ALL_GIVEN_BACK();
        if (takes < fail_at)
            break;
        failures += rc == -ENOMEM;
    }
    CHECK_EQ(rc, 0);
    CHECK(fail_at > 5); /* slabs, run queues, the large one */
    CHECK_EQ(failures, fail_at - 1); /* none was swallowed */
}

static union {
    char bytes[8192];
    long long align_ll;
    void *align_p;
} arena;

TEST(arena_is_used_again_and_again) /* and nothing else */
{
    coro_options o = fast;
    use_counting(&o);
    for (size_t skew = 0; skew < 20; skew += 3) {
        o.arena = arena.bytes + skew; /* need not be aligned */
        o.arena_size = 5000;
        memset(&arena, 0x5a, sizeof arena);
        CHECK_EQ(coro_run_with(&o, parade, .n = 30), 30);
        for (size_t i = 0; i < sizeof arena; i++)
            if (i < skew || i >= skew + 5000)
                CHECK_EQ(arena.bytes[i], 0x5a); /* its neighbours are untouched */
    }
    CHECK_EQ(takes, 0);
}

TEST(memory_is_aligned_and_does_not_overlap)
{
    static char *piece[100];
    coro_options o = fast;
    o.arena = arena.bytes + 1;
    o.arena_size = sizeof arena - 1;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (size_t i = 0; i < COUNT(piece); i++) {
        piece[i] = (char *)coro_loop_alloc(&loop, i + 1);
        CHECK(piece[i]);
        CHECK_EQ((uintptr_t)piece[i] % (2 * sizeof(void *)), 0);
        memset(piece[i], (int)i, i + 1);
    }
    CHECK(coro_stats(&loop).memory >= 5050);
    CHECK(coro_stats(&loop).memory <= o.arena_size);
    for (size_t i = 0; i < COUNT(piece); i++) {
        for (size_t j = 0; j <= i; j++)
            CHECK_EQ(piece[i][j], (char)i);
        coro_loop_free(&loop, piece[i], i + 1);
    }
    CHECK(coro_loop_alloc(&loop, 64) != NULL);
    CHECK(!coro_loop_alloc(&loop, sizeof arena));
    CHECK(!coro_loop_alloc(&loop, SIZE_MAX / 2));
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct crowded {
    CORO_FRAME;
    coro_group g;
    int i, started;
};

CORO(crowded)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 100; my->i++)
        my->started += coro_spawn(&my->g, napper, .name = "", .d = CORO_MS(1)) == 0;
    say("%d of 100 ", my->started);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.failed, 100 - my->started);
    CHECK_EQ(my->g.cancelled, my->started); /* the first failure cancels the rest */
    CORO_END(0);
}

TEST(spawn_into_a_full_arena_is_a_failed_child) /* V15 L14 */
{
    coro_options o = fast;
    size_t grains = (sizeof(CORO_TASK(napper)) + CORO_GRAIN - 1) / CORO_GRAIN;
    o.arena = arena.bytes;
    o.arena_size = 10 * grains * CORO_GRAIN + CORO_GRAIN;
    CHECK_EQ(coro_run_with(&o, crowded), -ENOMEM);
    CHECK_CONTAINS(trace, "10 of 100 ");
}

TEST(arena_too_small_for_its_own_alignment_is_empty)
{
    coro_options o = fast;
    o.arena = arena.bytes + 1;
    o.arena_size = 1;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    CHECK(!coro_loop_alloc(&loop, 1));
    CHECK_EQ(coro_spawn(&loop.root, napper, .name = "", .d = 0), -ENOMEM);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

#if CORO_READY_RING
TEST(run_queue_of_the_users_limits_how_many_tasks_live)
{
    static coro_task *queue[4];
    static CORO_TASK(napper) t[5];
    coro_options o = fast;
    o.arena = arena.bytes; /* no memory but this: none */
    o.ready = queue;
    o.ready_size = 4;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(coro_start(&loop.root, &t[i], napper, .name = "x", .d = CORO_MS(5 - i)), 0);
    CHECK_EQ(coro_start(&loop.root, &t[4], napper, .name = "y", .d = 0), -ENOMEM);
    CHECK_EQ(coro_task_result(&t[4]), -ENOMEM);
    CHECK_EQ(loop.root.failed, 1);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "xxxx");
    CHECK_EQ(coro_start(&loop.root, &t[4], napper, .name = "y", .d = 0), 0); /* room again */
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "xxxxy");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(run_queue_of_the_users_is_left_for_a_larger_one_where_there_is_memory)
{
    static coro_task *queue[2];
    coro_options o = fast;
    use_counting(&o);
    o.ready = queue;
    o.ready_size = 2;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coro_spawn(&loop.root, turner, .name = "", .n = 2), 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_stats(&loop).steps, 3000);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    ALL_GIVEN_BACK();
}

TEST(run_queue_whose_size_is_no_power_of_two_is_refused)
{
    static coro_task *queue[8];
    coro_options o = fast;
    o.ready = queue;
    o.ready_size = 6;
    CHECK_EQ(coro_loop_init(&loop, &o), -EINVAL);
    o.ready_size = 0;
    CHECK_EQ(coro_loop_init(&loop, &o), -EINVAL);
    CHECK_EQ(coro_run_with(&o, two_naps), -EINVAL);
}
#endif /* CORO_READY_RING */

struct counted {
    CORO_FRAME;
    coro_group g;
    int i;
};

CORO(counted)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 1000; my->i++)
        coro_spawn(&my->g, napper, .name = "", .d = CORO_MS(my->i % 7 + 1));
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1001);
    CHECK_EQ(coro_stats(coro_loop_of(co)).ready, 1000);
    CHECK_EQ(coro_stats(coro_loop_of(co)).spawned, 1001);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 1000);
    CHECK_EQ(coro_stats(coro_loop_of(co)).ready, 0);
    SOUND(coro_loop_of(co));
    CORO_TRY(coro_sleep(co, CORO_MS(3) + 1));
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 1000 - 143 * 3);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1);
    CORO_END(0);
}

TEST(thousand_tasks_are_all_counted_and_all_end) /* B16 */
{
    coro_options o = fast;
    use_counting(&o);
    CHECK_EQ(coro_run_with(&o, counted), 0);
    ALL_GIVEN_BACK();
}
