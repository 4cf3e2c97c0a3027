/* test_timer.c -- sleeps, deadlines, and the wheel that keeps them.
 *
 * The rules T01 to T32 of semantics.md, section 4, as far as they concern coro.h, and the decisions
 * 6, 7 and 8 of design.md, section 6. Two clocks are used, neither of them real: the virtual one,
 * and a world of our own behind a driver, in which time passes when a test says so.
 */
#include "coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the stage ------------------------------------------------------------------------------ */

static char trace[4096]; /* what has happened, in order */
static int blocks;       /* of memory that the loop has */

static void note(const char *what)
{
    size_t used = strlen(trace);
    if (used + strlen(what) + 1 >= sizeof trace)
        TEST_FAIL("the trace is full: %s", trace);
    snprintf(trace + used, sizeof trace - used, "%s ", what);
}

/* "who:ok ", "who:canceled ", "who:7 " */
static void note_rc(const char *who, int rc)
{
    char text[64];
    if (rc == 0)
        snprintf(text, sizeof text, "%s:ok", who);
    else if (rc == -ECANCELED)
        snprintf(text, sizeof text, "%s:canceled", who);
    else if (rc == -ETIMEDOUT)
        snprintf(text, sizeof text, "%s:timedout", who);
    else
        snprintf(text, sizeof text, "%s:%d", who, rc);
    note(text);
}

static void *counted_alloc(void *arg, size_t size)
{
    (void)arg;
    blocks++;
    return malloc(size);
}

static void counted_free(void *arg, void *memory, size_t size)
{
    (void)arg;
    (void)size;
    blocks--;
    free(memory);
}

static void no_report(void *arg, const char *text)
{
    (void)arg;
    TEST_FAIL("the loop says: %s", text);
}

static void drop_report(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static const coro_options *virtual_time(void)
{
    static coro_options o;
    o.clock = CORO_VIRTUAL;
    o.allocator.alloc = counted_alloc;
    o.allocator.free = counted_free;
    o.report.put = no_report;
    return &o;
}

/* A world whose time stands still, unless the loop sleeps or a test lets it pass. */
static struct world {
    coro_time now;
    coro_time per_reading; /* passes with each look at the clock */
    coro_time nap;         /* the longest that a park lasts; 0: as long as it should */
    coro_time until;       /* of the last park */
    int parks, polls, readings;
    void (*asleep)(coro_loop *loop); /* called once, in the middle of the next park */
} world;

static coro_time world_now(void *arg)
{
    (void)arg;
    world.now += world.per_reading;
    world.readings++;
    return world.now;
}

static void world_park(void *arg, coro_loop *loop, coro_time until)
{
    void (*asleep)(coro_loop *) = world.asleep;
    (void)arg;
    if (until <= world.now) {
        world.polls++;
        return;
    }
    world.until = until;
    world.parks++;
    if (asleep) {
        world.asleep = NULL;
        asleep(loop);
        return;
    }
    if (until == CORO_FOREVER)
        TEST_FAIL("the loop sleeps for ever");
    world.now = world.nap && until - world.now > world.nap ? world.now + world.nap : until;
}

static void world_wake(void *arg)
{
    (void)arg;
}

static const coro_options *own_time(void)
{
    static coro_options o;
    o = *virtual_time();
    o.clock = CORO_REAL;
    o.driver.now = world_now;
    o.driver.park = world_park;
    o.driver.wake = world_wake;
    return &o;
}

static int ran(int rc)
{
    CHECK_EQ(blocks, 0);
    return rc;
}

#define RUN(...) ran(coro_run_with(virtual_time(), __VA_ARGS__))
#define RUN_IN_WORLD(...) ran(coro_run_with(own_time(), __VA_ARGS__))

#define CHECK_SOUND(co) CHECK_STR(coro_verify(coro_loop_of(co)), NULL)

static unsigned timers(coro_task *co)
{
    return (unsigned)coro_stats(coro_loop_of(co)).timers;
}

/* Nobody but this task is left, and nothing of it is open. */
static void check_alone(coro_task *co)
{
    CHECK_SOUND(co);
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1);
    CHECK_EQ(timers(co), 0);
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    CHECK(!coro_cancelled(co));
}

/* Await x, which must give this. */
#define EXPECT(x, want)                                                                           \
    do {                                                                                          \
        CORO_AWAIT(my->rc, x);                                                                    \
        CHECK_EQ(my->rc, want);                                                                   \
    } while (0)

struct sleeper {
    CORO_FRAME;
    const char *name;
    coro_time d;
    int rc;
};
CORO(sleeper)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, my->d));
    note_rc(my->name, my->rc);
    CORO_END(my->rc);
}

/* The main coroutine of a test, with what most of them need. */
#define SCENE_WITH(name, ...)                                                                     \
    struct name {                                                                                 \
        CORO_FRAME;                                                                               \
        coro_scope a, b, c;                                                                       \
        coro_group g;                                                                             \
        CORO_TASK(sleeper) t[4];                                                                  \
        int rc, i;                                                                                \
        __VA_ARGS__                                                                               \
    };                                                                                            \
    CORO(name)
#define SCENE(name) SCENE_WITH(name, int nothing_else;)

/* A gate to pass: an operation as a user would write one. */
struct gate {
    coro_waitq queue; /* must be first */
    bool open;
    int passed, asked, gone;
};

static coro_op pass_with(coro_task *co, struct gate *g, const coro_ops *ops)
{
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (g->open) {
        g->passed++;
        return coro_done(co, g->passed);
    }
    return coro_suspend(co, &g->queue, ops, 0);
}

static void count_gone(coro_task *task, coro_waitq *queue)
{
    (void)task;
    ((struct gate *)(void *)queue)->gone++;
}

static coro_abort never(coro_task *task, coro_waitq *queue)
{
    (void)task;
    ((struct gate *)(void *)queue)->asked++;
    return CORO_ABORT_NEVER;
}

static const coro_ops abortable = {"gate", NULL, count_gone};
static const coro_ops unabortable = {"unabortable gate", never, NULL};

static coro_op pass(coro_task *co, struct gate *g)
{
    return pass_with(co, g, &abortable);
}

static void let_one_pass(struct gate *g)
{
    g->passed++;
    CHECK(coro_complete(g->queue.head, g->passed));
}

/* ---- sleeping ------------------------------------------------------------------------------- */

SCENE(order)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sleeper, .name = "30", .d = CORO_MS(30));
    coro_spawn(&my->g, sleeper, .name = "10", .d = CORO_MS(10));
    coro_spawn(&my->g, sleeper, .name = "20a", .d = CORO_MS(20));
    coro_spawn(&my->g, sleeper, .name = "1h", .d = CORO_S(3600));
    coro_spawn(&my->g, sleeper, .name = "20b", .d = CORO_MS(20));
    coro_spawn(&my->g, sleeper, .name = "1ns", .d = 1);
    coro_spawn(&my->g, sleeper, .name = "0", .d = 0);
    EXPECT(coro_sleep(co, CORO_MS(15)), 0);
    CHECK_EQ(coro_now(co), CORO_MS(15));
    coro_spawn(&my->g, sleeper, .name = "20c", .d = CORO_MS(5)); /* for the same moment, later */
    coro_spawn(&my->g, sleeper, .name = "19.999", .d = CORO_MS(5) - 1);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_now(co), CORO_S(3600));
    check_alone(co);
    CORO_END(0);
}

TEST(sleeps_end_in_the_order_of_their_deadlines_and_equal_ones_in_start_order) /* T07, decision 8 */
{
    CHECK_EQ(RUN(order), 0);
    CHECK_STR(trace, "0:ok 1ns:ok 10:ok 19.999:ok 20a:ok 20b:ok 20c:ok 30:ok 1h:ok ");
}

SCENE(fair_turn)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sleeper, .name = "a", .d = 0);
    coro_spawn(&my->g, sleeper, .name = "b", .d = -1);
    coro_spawn(&my->g, sleeper, .name = "c", .d = -CORO_FOREVER);
    EXPECT(coro_sleep(co, 0), 0);
    note("1");
    EXPECT(coro_sleep(co, CORO_MS(-5)), 0);
    note("2");
    EXPECT(coro_sleep_until(co, 0), 0);
    note("3");
    EXPECT(coro_sleep_until(co, -CORO_FOREVER), 0);
    CHECK_EQ(coro_now(co), 0);
    CHECK_EQ(timers(co), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(sleeping_for_nothing_or_less_is_one_fair_turn) /* T03, T29, T30 */
{
    CHECK_EQ(RUN(fair_turn), 0);
    CHECK_STR(trace, "1 a:ok b:ok c:ok 2 3 ");
}

SCENE(until)
{
    CORO_BEGIN();
    EXPECT(coro_sleep_until(co, CORO_MS(7)), 0);
    CHECK_EQ(coro_now(co), CORO_MS(7));
    EXPECT(coro_sleep_until(co, CORO_MS(7)), 0);
    EXPECT(coro_sleep_until(co, CORO_MS(3)), 0); /* gone by */
    CHECK_EQ(coro_now(co), CORO_MS(7));
    EXPECT(coro_sleep_until(co, CORO_MS(7) + 1), 0);
    CHECK_EQ(coro_now(co), CORO_MS(7) + 1);
    check_alone(co);
    CORO_END(0);
}

TEST(sleeping_until_a_moment_ends_then_or_at_once) /* T30 */
{
    CHECK_EQ(RUN(until), 0);
}

SCENE(dropping)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "t", .d = CORO_S(3600));
    coro_start(&my->g, &my->t[1], sleeper, .name = "u", .d = CORO_S(3600));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(timers(co), 2);
    coro_task_cancel(&my->t[0]);
    CHECK_EQ(timers(co), 1); /* before the sleeper has even run */
    CHECK_SOUND(co);
    coro_group_cancel(&my->g);
    CHECK_EQ(timers(co), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_now(co), CORO_MS(1));
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancelled_sleep_leaves_no_timer) /* T29 */
{
    CHECK_EQ(RUN(dropping), 0);
    CHECK_STR(trace, "t:canceled u:canceled ");
}

/* ---- never is a long time ------------------------------------------------------------------- */

SCENE(huge)
{
    CORO_BEGIN();
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "forever", .d = CORO_FOREVER);
    coro_start(&my->g, &my->t[1], sleeper, .name = "saturated", .d = CORO_FOREVER - 5);
    coro_start(&my->g, &my->t[2], sleeper, .name = "centuries", .d = CORO_FOREVER / 2);
    coro_start(&my->g, &my->t[3], sleeper, .name = "tiny", .d = 1);
    coro_timeout_open(co, &my->a, CORO_FOREVER);
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    coro_timeout_open(co, &my->a, CORO_FOREVER - 5); /* now + this: for ever, not the past */
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_S(1)), 0);
    CHECK_STR(trace, "tiny:ok ");
    EXPECT(coro_within(co, CORO_FOREVER - 5, coro_sleep(co, CORO_S(1))), 0);
    EXPECT(coro_within(co, CORO_FOREVER, coro_sleep(co, CORO_S(1))), 0);
    EXPECT(coro_sleep_until(co, CORO_FOREVER / 2), 0);
    CHECK_STR(trace, "tiny:ok ");
    EXPECT(coro_sleep(co, CORO_S(1)), 0);
    CHECK_STR(trace, "tiny:ok centuries:ok ");
    coro_task_cancel(&my->t[0]);
    coro_task_cancel(&my->t[1]);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(sums_of_times_saturate_and_huge_ones_coexist_with_tiny_ones) /* T03, T04 */
{
    CHECK_EQ(RUN(huge), 0);
    CHECK_STR(trace, "tiny:ok centuries:ok forever:canceled saturated:canceled ");
}

SCENE_WITH(asleep_for_good, coro_time d; int how; struct gate gate;)
{
    CORO_BEGIN();
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    if (my->how == 0)
        CORO_AWAIT(my->rc, coro_sleep(co, my->d));
    else if (my->how == 1)
        CORO_AWAIT(my->rc, coro_sleep_until(co, my->d));
    else
        CORO_AWAIT(my->rc, coro_within(co, my->d, pass(co, &my->gate)));
    note_rc("woken", my->rc);
    CHECK_EQ(coro_now(co), CORO_MS(1)); /* time has not jumped to its end */
    CORO_END(0);
}

static int deadlocks(int how, coro_time d)
{
    coro_options o = *virtual_time();
    o.report.put = drop_report;
    trace[0] = 0;
    return ran(coro_run_with(&o, asleep_for_good, .d = d, .how = how));
}

TEST(a_wait_for_ever_is_no_timer) /* T04 */
{
    CHECK_EQ(deadlocks(0, CORO_FOREVER), -EDEADLK);
    CHECK_STR(trace, "woken:canceled ");
    CHECK_EQ(deadlocks(1, CORO_FOREVER), -EDEADLK);
    CHECK_STR(trace, "woken:canceled ");
    CHECK_EQ(deadlocks(2, CORO_FOREVER), -EDEADLK);
    CHECK_STR(trace, "woken:canceled ");
}

TEST(a_wait_whose_end_saturates_is_for_ever) /* T04: never, not the end of time */
{
    CHECK_EQ(deadlocks(0, CORO_FOREVER - 5), -EDEADLK);
    CHECK_STR(trace, "woken:canceled ");
    CHECK_EQ(deadlocks(2, CORO_FOREVER - 5), -EDEADLK);
    CHECK_STR(trace, "woken:canceled ");
}

SCENE_WITH(walled_in, struct gate gate;)
{
    CORO_BEGIN();
    coro_shield_open(co, &my->a, CORO_FOREVER);
    EXPECT(pass(co, &my->gate), 0);
    note("not reached");
    CORO_END(0);
}

TEST(a_deadlock_that_cancelling_does_not_undo_is_abandoned_and_not_slept_through) /* decision 12 */
{
    coro_options o = *own_time();
    o.report.put = drop_report;
    CHECK_EQ(ran(coro_run_with(&o, walled_in)), -EDEADLK);
    CHECK_EQ(world.parks, 0); /* the parks of this world fail the test when they are for ever */
    CHECK_STR(trace, "");
}

/* ---- the clock ------------------------------------------------------------------------------ */

SCENE(naps)
{
    CORO_BEGIN();
    world.parks = 0;
    EXPECT(coro_sleep(co, CORO_MS(10)), 0);
    CHECK_EQ(world.now, CORO_MS(10));
    CHECK_EQ(world.parks, 4); /* 3 + 3 + 3 + 1 */
    coro_timeout_open(co, &my->a, CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_FOREVER), -ECANCELED);
    CHECK_EQ(world.now, CORO_MS(20));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    EXPECT(coro_within(co, CORO_MS(10), coro_sleep(co, CORO_FOREVER)), -ETIMEDOUT);
    CHECK_EQ(world.now, CORO_MS(30));
    check_alone(co);
    CORO_END(0);
}

TEST(a_park_that_ends_early_ends_no_sleep_early) /* T05 */
{
    world.nap = CORO_MS(3);
    CHECK_EQ(RUN_IN_WORLD(naps), 0);
}

SCENE(one_park)
{
    CORO_BEGIN();
    world.now = 1000003;
    world.parks = 0;
    EXPECT(coro_sleep(co, 1), 0);
    EXPECT(coro_sleep(co, CORO_US(999) + 999), 0);
    EXPECT(coro_sleep(co, CORO_S(86400) + 1), 0);
    EXPECT(coro_sleep(co, CORO_S(86400) * 365 * 100 + 1), 0);
    CHECK_EQ(world.parks, 4); /* one each, however long: nothing spins */
    CHECK_EQ(world.now, 1000003 + 1 + CORO_US(999) + 999 + CORO_S(86400) * (36500 + 1) + 2);
    check_alone(co);
    CORO_END(0);
}

TEST(a_single_sleep_is_a_single_park_to_the_nanosecond) /* T05 */
{
    CHECK_EQ(RUN_IN_WORLD(one_park), 0);
}

SCENE(real_now)
{
    CORO_BEGIN();
    world.now += CORO_MS(50); /* a long computation */
    EXPECT(coro_sleep(co, CORO_MS(10)), 0);
    CHECK_EQ(world.now, CORO_MS(60));
    world.now += CORO_MS(50);
    coro_timeout_open(co, &my->a, CORO_MS(10));
    CHECK_EQ(coro_deadline(co), CORO_MS(120));
    world.now += CORO_MS(5);
    EXPECT(coro_within(co, CORO_MS(4), coro_sleep(co, CORO_MS(7))), -ETIMEDOUT);
    CHECK_EQ(world.now, CORO_MS(119));
    EXPECT(coro_sleep(co, CORO_MS(7)), -ECANCELED);
    CHECK_EQ(world.now, CORO_MS(120));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    world.now += CORO_MS(30);
    EXPECT(coro_sleep_until(co, CORO_MS(140)), 0); /* gone by meanwhile */
    CHECK_EQ(world.now, CORO_MS(150));
    CHECK_EQ(coro_now(co), CORO_MS(150));
    CHECK_EQ(world.parks, 3);
    check_alone(co);
    CORO_END(0);
}

TEST(delays_count_from_the_real_time_of_the_call) /* T06, decision 8 */
{
    CHECK_EQ(RUN_IN_WORLD(real_now), 0);
}

/* Tasks that are always ready. */
struct spinner {
    CORO_FRAME;
    bool *stop;
    coro_time step; /* that each turn takes */
    int turns;
};
CORO(spinner)
{
    CORO_BEGIN();
    for (; !*my->stop; my->turns++) {
        world.now += my->step;
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

SCENE_WITH(busy, bool stop; CORO_TASK(spinner) s[3];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        coro_start(&my->g, &my->s[my->i], spinner, .stop = &my->stop, .step = CORO_US(1));
    world.polls = 0;
    EXPECT(coro_sleep(co, CORO_MS(3)), 0);
    my->stop = true;
    CHECK(world.now >= CORO_MS(3) && world.now < CORO_MS(3) + CORO_US(600));
    CHECK(world.polls >= 3000 / 256 - 1); /* the outside was looked at, too */
    for (my->i = 0; my->i < 2; my->i++)
        CHECK(my->s[my->i].frame.turns - my->s[my->i + 1].frame.turns <= 1);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(tasks_that_sleep_for_nothing_again_and_again_starve_no_timer_and_not_the_outside) /* T08 */
{
    CHECK_EQ(RUN_IN_WORLD(busy), 0);
}

/* A body whose awaits never block, and the deadline over it. */
SCENE_WITH(gluttony, struct gate gate;)
{
    CORO_BEGIN();
    my->gate.open = true;
    coro_timeout_open(co, &my->a, CORO_MS(1));
    for (my->i = 0; my->i < 100000; my->i++) {
        world.now += CORO_US(1);
        CORO_AWAIT(my->rc, pass(co, &my->gate));
        if (my->rc < 0)
            break;
    }
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(my->gate.passed, my->i);
    CHECK(world.now >= CORO_MS(1) && world.now <= CORO_MS(1) + CORO_US(2 * CORO_BUDGET));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(a_deadline_interrupts_a_body_whose_awaits_never_block) /* T20, F06 */
{
    CHECK_EQ(RUN_IN_WORLD(gluttony), 0);
}

SCENE(computing)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(1));
    world.now += CORO_MS(5);
    CHECK(!coro_scope_expired(&my->a)); /* nobody has looked */
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(a_deadline_that_passed_in_a_long_computation_is_met_by_the_next_fair_turn) /* T19 */
{
    CHECK_EQ(RUN_IN_WORLD(computing), 0);
}

/* After thousands of turns that took no time the clock is looked at only every CORO_STEPS turns:
 * reading it costs ten times what a turn does. */
SCENE(careless)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(1));
    for (my->i = 0; my->i < 5000; my->i++)
        EXPECT(coro_sleep(co, 0), 0);
    world.now += CORO_MS(5);
    for (my->i = 0; my->i <= CORO_STEPS; my->i++) {
        CORO_AWAIT(my->rc, coro_sleep(co, 0));
        if (my->rc < 0)
            break;
    }
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK(coro_scope_expired(&my->a));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(after_thousands_of_quick_turns_a_deadline_is_met_within_a_round) /* T19, decision 11 */
{
    CHECK_EQ(RUN_IN_WORLD(careless), 0);
}

SCENE(no_await)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(1));
    EXPECT(coro_sleep(co, CORO_US(1)), 0);
    world.now += CORO_MS(5);
    note("computed"); /* C34: code without awaits is not interrupted */
    CHECK_EQ(coro_scope_close(co, &my->a, 5), 5);
    EXPECT(coro_sleep(co, 0), 0);
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    check_alone(co);

    /* It had expired, but the body met no await: that is a success, and can be told. */
    coro_timeout_open(co, &my->a, 0);
    CHECK(coro_scope_expired(&my->a));
    CHECK_EQ(coro_scope_close(co, &my->a, 6), 6);
    CHECK(coro_scope_expired(&my->a) && !coro_scope_caught(&my->a));
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_body_that_ends_without_an_await_after_its_deadline_has_succeeded) /* T25, C34 */
{
    CHECK_EQ(RUN_IN_WORLD(no_await), 0);
    CHECK_STR(trace, "computed ");
}

/* ---- scopes with a deadline ----------------------------------------------------------------- */

SCENE_WITH(expired, struct gate gate; struct sleeper f;)
{
    CORO_BEGIN();
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    my->gate.open = true;
    for (my->i = 0; my->i < 4; my->i++) {
        if (my->i == 0)
            coro_timeout_open(co, &my->a, 0);
        else if (my->i == 1)
            coro_timeout_open(co, &my->a, -1);
        else if (my->i == 2)
            coro_timeout_open(co, &my->a, -CORO_FOREVER);
        else if (coro_scope_deadline(&my->a, coro_now(co)) == 0) /* T24: an absolute one, gone by */
            coro_scope_open(co, &my->a);
        CHECK(coro_cancelled(co));
        CHECK_EQ(timers(co), 0);
        EXPECT(coro_sleep(co, 0), -ECANCELED);
        EXPECT(pass(co, &my->gate), -ECANCELED);
        EXPECT(coro_within(co, CORO_S(1), pass(co, &my->gate)), -ECANCELED);
        EXPECT(coro_call(co, &my->f, sleeper, .name = "called", .d = 1), -ECANCELED);
        CHECK(coro_scope_expired(&my->a));
        CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    }
    CHECK_EQ(my->gate.passed, 0);
    CHECK_EQ(coro_now(co), CORO_MS(1));
    check_alone(co);
    CORO_END(0);
}

TEST(a_scope_whose_deadline_has_passed_lets_nothing_happen) /* T01, T03, T24, decision 7 */
{
    CHECK_EQ(RUN(expired), 0);
    CHECK_STR(trace, "called:canceled called:canceled called:canceled called:canceled ");
}

SCENE(effective)
{
    CORO_BEGIN();
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_timeout_open(co, &my->a, CORO_MS(10));
    coro_timeout_open(co, &my->b, CORO_MS(20));
    CHECK_EQ(coro_deadline(co), CORO_MS(11));
    CHECK_EQ(coro_scope_deadline(&my->b, CORO_MS(5)), 0);
    CHECK_EQ(coro_deadline(co), CORO_MS(5));
    coro_shield_open(co, &my->c, CORO_MS(100));
    CHECK_EQ(coro_deadline(co), CORO_MS(101));
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(90)), 0);
    CHECK_EQ(coro_deadline(co), CORO_MS(90));
    CHECK_EQ(timers(co), 4);
    coro_start(&my->g, &my->t[0], sleeper, .name = "child", .d = CORO_FOREVER);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_deadline(&my->t[0].task), CORO_MS(90)); /* children have the group's */
    coro_group_cancel(&my->g);
    CHECK(coro_deadline(&my->t[0].task) < 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->c, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK_EQ(coro_deadline(co), CORO_MS(11));
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(the_effective_deadline_is_the_tightest_up_to_the_nearest_shield) /* T13 */
{
    CHECK_EQ(RUN(effective), 0);
    CHECK_STR(trace, "child:canceled ");
}

SCENE(both_expired)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        coro_timeout_open(co, &my->a, CORO_MS(10));
        coro_timeout_open(co, &my->b, CORO_MS(10));
        if (my->i == 1) /* armed the other way round */
            CHECK_EQ(coro_scope_deadline(&my->a, coro_now(co) + CORO_MS(10)), 0);
        if (my->i == 2) { /* the inner one first, but still running when the outer one goes */
            CHECK_EQ(coro_scope_deadline(&my->b, coro_now(co) + CORO_MS(9)), 0);
            EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
            coro_shield_open(co, &my->c, CORO_MS(5));
            EXPECT(coro_sleep(co, CORO_MS(3)), 0);
            CHECK_EQ(coro_scope_close(co, &my->c, 0), 0);
        } else {
            EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
        }
        CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), -ECANCELED);
        CHECK(coro_scope_expired(&my->b) && !coro_scope_caught(&my->b));
        EXPECT(coro_sleep(co, 0), -ECANCELED); /* what stands between them is skipped */
        CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), -ETIMEDOUT);
        CHECK(coro_scope_expired(&my->a) && coro_scope_caught(&my->a));
        check_alone(co);
    }
    CORO_END(0);
}

TEST(of_two_expired_scopes_the_outer_one_reports_the_timeout) /* T14, decision 6 */
{
    CHECK_EQ(RUN(both_expired), 0);
}

SCENE(inner_expired)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(10));
    coro_timeout_open(co, &my->b, CORO_MS(4));
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(4));
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ETIMEDOUT);
    EXPECT(coro_sleep(co, CORO_MS(3)), 0);
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(10));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(an_expired_inner_scope_leaves_the_outer_one_usable) /* T15 */
{
    CHECK_EQ(RUN(inner_expired), 0);
}

SCENE(foreign_first)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_timeout_open(co, &my->b, CORO_MS(5));
    coro_scope_cancel(&my->a); /* a foreign one, before the deadline */
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK(!coro_scope_expired(&my->b));
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);

    coro_timeout_open(co, &my->b, CORO_MS(5)); /* an error that looks like one */
    CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), -ECANCELED);
    coro_timeout_open(co, &my->b, CORO_MS(5));
    CHECK_EQ(coro_scope_close(co, &my->b, -ETIMEDOUT), -ETIMEDOUT); /* somebody else's */
    CHECK(!coro_scope_expired(&my->b));
    check_alone(co);
    CORO_END(0);
}

TEST(a_scope_times_out_only_if_its_deadline_came_first) /* T16, decision 6 */
{
    CHECK_EQ(RUN(foreign_first), 0);
}

struct limited {
    CORO_FRAME;
    coro_scope limit;
    coro_time d;
    int rc;
};
CORO(limited)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, my->d);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_S(1)));
    note_rc("limited", my->rc);
    CORO_END(coro_scope_close(co, &my->limit, my->rc));
}

SCENE_WITH(between, CORO_TASK(limited) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    EXPECT(coro_sleep(co, 0), 0);
    coro_start(&my->g, &my->w, limited, .d = CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(5)), 0); /* started before the scope's: runs before that task */
    CHECK(coro_scope_expired(&my->w.frame.limit));
    CHECK_STR(trace, "");
    coro_task_cancel(&my->w);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_result(&my->w), -ECANCELED);
    CHECK_EQ(coro_task_status(&my->w), CORO_CANCELLED);
    check_alone(co);
    CORO_END(0);
}

TEST(a_timeout_does_not_swallow_a_cancellation_that_comes_right_behind_it) /* T17 */
{
    CHECK_EQ(RUN(between), 0);
    CHECK_STR(trace, "limited:canceled ");
}

SCENE_WITH(tie, struct gate gate;)
{
    CORO_BEGIN();
    /* The sleep began before the limit: its end comes first. */
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "sleep", .d = CORO_MS(5));
    EXPECT(coro_sleep(co, 0), 0);
    coro_scope_deadline(&my->g.scope, CORO_MS(5));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_STR(trace, "sleep:ok ");
    trace[0] = 0;
    check_alone(co);

    /* The scope's deadline is older: what it cancels does not happen, and its timer is dropped. */
    coro_timeout_open(co, &my->a, CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(5)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);

    /* Within a limit of the same length, the result wins. */
    EXPECT(coro_within(co, CORO_MS(5), coro_sleep(co, CORO_MS(5))), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(of_a_sleep_and_a_deadline_due_together_the_one_that_was_started_first_counts) /* T09, T18 */
{
    CHECK_EQ(RUN(tie), 0);
}

static struct gate arriving;

static void arrive(coro_loop *loop, coro_post_node *node)
{
    (void)loop;
    (void)node;
    let_one_pass(&arriving);
}

static coro_post_node arrival = {NULL, arrive};

/* In the middle of a park: something comes in, and the deadline is over as well. */
static void arrive_late(coro_loop *loop)
{
    world.now = world.until + CORO_MS(1);
    CHECK(coro_post(loop, &arrival));
}

SCENE(simultaneous)
{
    CORO_BEGIN();
    world.asleep = arrive_late;
    EXPECT(coro_within(co, CORO_MS(5), pass(co, &arriving)), 1);
    CHECK_EQ(world.now, CORO_MS(6));
    CHECK_EQ(arriving.gone, 0);
    world.asleep = arrive_late;
    coro_timeout_open(co, &my->a, CORO_MS(5));
    EXPECT(pass(co, &arriving), 2);
    EXPECT(pass(co, &arriving), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(a_result_that_comes_in_together_with_the_deadline_wins) /* T18 */
{
    CHECK_EQ(RUN_IN_WORLD(simultaneous), 0);
}

/* ---- moving deadlines ----------------------------------------------------------------------- */

SCENE_WITH(moved, CORO_TASK(limited) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->w, limited, .d = CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, CORO_MS(20)), 0); /* later */
    EXPECT(coro_sleep_until(co, CORO_MS(19)), 0);
    CHECK_STR(trace, "");
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, CORO_FOREVER), 0); /* never */
    EXPECT(coro_sleep_until(co, CORO_MS(30)), 0);
    CHECK_STR(trace, "");
    CHECK_EQ(timers(co), 1); /* its sleep */
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, CORO_MS(100)), 0);
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, CORO_MS(40)), 0); /* sooner: it replaces */
    CHECK_EQ(timers(co), 2);
    CHECK_SOUND(co);
    EXPECT(coro_join(co, &my->w), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(40));
    trace[0] = 0;

    coro_start(&my->g, &my->w, limited, .d = CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, coro_now(co)), 0); /* now */
    CHECK(coro_scope_expired(&my->w.frame.limit));
    CHECK_STR(trace, "");
    CHECK_SOUND(co);
    EXPECT(coro_join(co, &my->w), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(41));

    coro_start(&my->g, &my->w, limited, .d = CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_deadline(&my->w.frame.limit, -5), 0); /* the past is now */
    EXPECT(coro_join(co, &my->w), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(42));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(moving_a_deadline_takes_effect_at_once_both_ways_and_from_another_task) /* T10, T21 */
{
    CHECK_EQ(RUN(moved), 0);
    CHECK_STR(trace, "limited:canceled limited:canceled ");
}

static coro_scope *to_move;

static void move(coro_loop *loop, coro_post_node *node)
{
    (void)loop;
    (void)node;
    CHECK_EQ(coro_scope_deadline(to_move, world.now + CORO_MS(2)), 0);
}

static coro_post_node mover = {NULL, move};

static void move_while_asleep(coro_loop *loop)
{
    world.now += CORO_MS(3);
    CHECK(coro_post(loop, &mover));
}

SCENE(shortened)
{
    CORO_BEGIN();
    world.parks = 0;
    to_move = &my->a;
    world.asleep = move_while_asleep;
    coro_timeout_open(co, &my->a, CORO_S(100));
    EXPECT(coro_sleep(co, CORO_FOREVER), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    CHECK_EQ(world.now, CORO_MS(5));
    CHECK_EQ(world.until, CORO_MS(5));
    CHECK_EQ(world.parks, 2);
    check_alone(co);
    CORO_END(0);
}

TEST(a_deadline_that_becomes_the_earliest_shortens_the_next_park) /* T21 */
{
    CHECK_EQ(RUN_IN_WORLD(shortened), 0);
}

SCENE(final)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(9)), -ECANCELED);
    CHECK_EQ(coro_scope_deadline(&my->a, CORO_S(9)), -EALREADY);
    CHECK_EQ(coro_scope_deadline(&my->a, CORO_FOREVER), -EALREADY);
    CHECK(coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(9)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);

    coro_scope_open(co, &my->a);
    CHECK(!coro_scope_expired(&my->a)); /* a new life */
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_deadline(&my->a, CORO_S(9)), -EALREADY);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_expiry_is_final) /* T22 */
{
    CHECK_EQ(RUN(final), 0);
}

SCENE(from_entry)
{
    CORO_BEGIN();
    EXPECT(coro_sleep(co, CORO_MS(50)), 0);
    for (my->i = 1; my->i <= 3; my->i++) {
        coro_timeout_open(co, &my->a, CORO_MS(10));
        CHECK_EQ(coro_deadline(co), CORO_MS(50 + 10 * my->i));
        EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
        CHECK_EQ(coro_now(co), CORO_MS(50 + 10 * my->i));
        CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    }
    /* A preset is absolute; coro_timeout_open has its own. */
    CHECK_EQ(coro_scope_deadline(&my->a, CORO_MS(85)), 0);
    coro_timeout_open(co, &my->a, CORO_MS(10));
    CHECK_EQ(coro_deadline(co), CORO_MS(90));
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_timeout_counts_from_its_opening) /* T23 */
{
    CHECK_EQ(RUN(from_entry), 0);
}

SCENE(group_deadline)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(10)), 0);
    coro_start(&my->g, &my->t[0], sleeper, .name = "short", .d = CORO_MS(3));
    coro_start(&my->g, &my->t[1], sleeper, .name = "long", .d = CORO_MS(30));
    EXPECT(coro_group_close(co, &my->g, 0), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(10));
    CHECK(coro_scope_expired(&my->g.scope));
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(my->g.cancelled, 1);

    coro_group_open(co, &my->g, CORO_ALL); /* in time: the deadline goes with the group */
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(20)), 0);
    coro_start(&my->g, &my->t[0], sleeper, .name = "again", .d = CORO_MS(3));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK(!coro_scope_expired(&my->g.scope));
    check_alone(co);
    CORO_END(0);
}

TEST(a_group_with_a_deadline_times_out_when_children_are_cut_short) /* T16, T27 */
{
    CHECK_EQ(RUN(group_deadline), 0);
    CHECK_STR(trace, "short:ok long:canceled again:ok ");
}

SCENE(cleaning)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    coro_shield_open(co, &my->b, CORO_FOREVER);
    coro_timeout_open(co, &my->c, CORO_MS(5)); /* a timeout in the cleanup of what is cancelled */
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(5));
    CHECK_EQ(coro_scope_close(co, &my->c, my->rc), -ETIMEDOUT);
    EXPECT(coro_within(co, CORO_MS(5), coro_sleep(co, CORO_S(1))), -ETIMEDOUT);
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(timeouts_work_in_the_shielded_cleanup_of_a_cancelled_scope) /* T26 */
{
    CHECK_EQ(RUN(cleaning), 0);
}

/* ---- a call under a deadline ---------------------------------------------------------------- */

struct work {
    CORO_FRAME;
    coro_scope shield;
    coro_time d, cleanup;
    int result, error; /* error: of the cleanup */
    bool stubborn;     /* takes no notice of its first cancellation */
    int rc;
};
CORO(work)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, my->d));
    note_rc("work", my->rc);
    if (my->rc < 0 && !my->stubborn)
        CORO_FAIL(my->rc);
CORO_FINALLY:
    if (my->cleanup) {
        CORO_AWAIT(my->rc, coro_sleep(co, my->cleanup));
        note_rc("cleanup", my->rc);
    }
    if (my->error)
        CORO_ERR = my->error;
    CORO_END(my->result);
}

SCENE_WITH(calls, struct work f;)
{
    CORO_BEGIN();
    EXPECT(coro_call_within(co, &my->a, CORO_MS(10), &my->f, work, .d = CORO_MS(5), .result = 7),
           7);
    CHECK(!coro_scope_expired(&my->a));
    check_alone(co);
    EXPECT(coro_call_within(co, &my->a, CORO_MS(10), &my->f, work, .d = CORO_MS(20)), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(15));
    CHECK(coro_scope_expired(&my->a));
    check_alone(co);
    /* The same scope again, in a loop as users have it. */
    for (my->i = 0; my->i < 3; my->i++)
        EXPECT(coro_call_within(co, &my->a, CORO_MS(1), &my->f, work, .d = CORO_MS(my->i)),
               my->i == 2 ? -ETIMEDOUT : my->i == 0 ? 0 : -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(17));
    EXPECT(coro_call_within(co, &my->a, CORO_FOREVER, &my->f, work, .d = CORO_MS(3)), 0);
    check_alone(co);
    EXPECT(coro_call_within(co, &my->a, 0, &my->f, work, .d = 0), -ETIMEDOUT); /* at once */
    EXPECT(coro_call_within(co, &my->a, -1, &my->f, work, .d = 0), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(20));
    check_alone(co);
    CORO_END(0);
}

TEST(a_call_under_a_deadline_gives_its_result_or_a_timeout) /* T01, T16, T23 */
{
    CHECK_EQ(RUN(calls), 0);
    CHECK_STR(trace, "work:ok work:canceled work:ok work:canceled work:canceled work:ok "
                     "work:canceled work:canceled ");
}

SCENE_WITH(unwinding, struct work f;)
{
    CORO_BEGIN();
    /* The timed call is over only when its cleanup is, which runs outside the expired scope. */
    EXPECT(coro_call_within(co, &my->a, CORO_MS(10), &my->f, work, .d = CORO_MS(20),
                            .cleanup = CORO_MS(30)), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(40));
    CHECK_STR(trace, "work:canceled cleanup:ok ");
    trace[0] = 0;
    /* An error of the unwinding wins. */
    EXPECT(coro_call_within(co, &my->a, CORO_MS(10), &my->f, work, .d = CORO_MS(20), .error = -EIO),
           -EIO);
    CHECK_STR(trace, "work:canceled ");
    trace[0] = 0;
    check_alone(co);
    /* A success that took no notice stands, and one can tell. */
    EXPECT(coro_call_within(co, &my->a, CORO_MS(10), &my->f, work, .d = CORO_MS(20), .result = 9,
                            .stubborn = true), 9);
    CHECK(coro_scope_expired(&my->a) && !coro_scope_caught(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(a_timed_out_call_ends_with_its_cleanup_and_other_errors_win) /* T25, T27, T28, D12 */
{
    CHECK_EQ(RUN(unwinding), 0);
    CHECK_STR(trace, "work:canceled ");
}

struct calling {
    CORO_FRAME;
    coro_scope limit, outer;
    struct work f;
    int rc;
};
CORO(calling)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->f, work, .d = CORO_S(1)));
    note_rc("call", my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(cancelled_call, CORO_TASK(calling) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, calling);
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    coro_task_cancel(&my->w);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->w), CORO_CANCELLED);
    CHECK(!coro_scope_expired(&my->w.frame.limit));
    CHECK_EQ(coro_now(co), CORO_MS(5));
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancelled_call_under_a_deadline_is_no_timeout) /* T16 */
{
    CHECK_EQ(RUN(cancelled_call), 0);
    CHECK_STR(trace, "work:canceled call:canceled ");
}

/* ---- an operation under a deadline ---------------------------------------------------------- */

SCENE_WITH(tries, struct gate gate;)
{
    CORO_BEGIN();
    my->gate.open = true;
    EXPECT(coro_within(co, 0, pass(co, &my->gate)), 1); /* could be done without waiting */
    EXPECT(coro_within(co, -1, pass(co, &my->gate)), 2);
    EXPECT(coro_within(co, -CORO_FOREVER, pass(co, &my->gate)), 3);
    EXPECT(coro_within(co, 0, coro_sleep(co, 0)), 0);
    my->gate.open = false;
    for (my->i = 0; my->i < 3; my->i++) {
        EXPECT(coro_within(co, -my->i, pass(co, &my->gate)), -ETIMEDOUT);
        CHECK(my->gate.queue.head == NULL);
        CHECK_EQ(my->gate.gone, my->i + 1);
    }
    EXPECT(coro_within(co, 0, coro_sleep(co, 1)), -ETIMEDOUT);
    EXPECT(coro_within(co, 0, coro_sleep(co, CORO_FOREVER)), -ETIMEDOUT);
    CHECK_EQ(my->gate.passed, 3);
    CHECK_EQ(coro_now(co), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_operation_within_no_time_is_tried_once) /* T02, T03, decision 7 */
{
    CHECK_EQ(RUN(tries), 0);
}

struct opener {
    CORO_FRAME;
    struct gate *gate;
    coro_time d;
};
CORO(opener)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    if (my->gate->queue.head)
        let_one_pass(my->gate);
    CORO_END(0);
}

SCENE_WITH(within, struct gate gate;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    EXPECT(coro_within(co, CORO_MS(5), pass(co, &my->gate)), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(5));
    CHECK(my->gate.queue.head == NULL);
    CHECK_EQ(my->gate.gone, 1);
    coro_spawn(&my->g, opener, .gate = &my->gate, .d = CORO_MS(3));
    EXPECT(coro_within(co, CORO_MS(5), pass(co, &my->gate)), 1);
    CHECK_EQ(coro_now(co), CORO_MS(8));
    CHECK_EQ(timers(co), 0); /* its limit went with it, */
    EXPECT(coro_sleep(co, CORO_MS(9)), 0); /* and does not make a timeout of the next sleep */
    EXPECT(coro_within(co, CORO_MS(5), coro_sleep(co, CORO_MS(3))), 0);
    CHECK_EQ(coro_now(co), CORO_MS(20));
    EXPECT(coro_within(co, CORO_MS(3), coro_sleep(co, CORO_MS(5))), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(23));
    EXPECT(coro_sleep(co, CORO_MS(7)), 0);
    CHECK_EQ(coro_now(co), CORO_MS(30));

    /* Nested, either way round: the tighter one counts. */
    EXPECT(coro_within(co, CORO_MS(9), coro_within(co, CORO_MS(2), pass(co, &my->gate))),
           -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(32));
    EXPECT(coro_within(co, CORO_MS(2), coro_within(co, CORO_MS(9), pass(co, &my->gate))),
           -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(34));
    EXPECT(coro_within(co, CORO_MS(2), coro_within(co, 0, pass(co, &my->gate))), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(34));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_operation_within_a_limit_gives_its_result_or_a_timeout_and_leaves_no_timer) /* T02, T10 */
{
    CHECK_EQ(RUN(within), 0);
}

struct waiting {
    CORO_FRAME;
    struct gate *gate;
    coro_scope scope;
    coro_time d;
    int rc;
};
CORO(waiting)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->scope, CORO_MS(10));
    CORO_AWAIT(my->rc, coro_within(co, my->d, pass(co, my->gate)));
    note_rc("within", my->rc);
    CORO_END(coro_scope_close(co, &my->scope, my->rc));
}

SCENE_WITH(within_scope, struct gate gate; CORO_TASK(waiting) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->w, waiting, .gate = &my->gate, .d = CORO_MS(20));
    EXPECT(coro_join(co, &my->w), -ETIMEDOUT); /* the scope's, */
    CHECK(coro_scope_expired(&my->w.frame.scope));
    CHECK_EQ(coro_now(co), CORO_MS(10));
    coro_start(&my->g, &my->w, waiting, .gate = &my->gate, .d = CORO_MS(5));
    EXPECT(coro_join(co, &my->w), -ETIMEDOUT); /* and the operation's */
    CHECK(!coro_scope_expired(&my->w.frame.scope));
    CHECK_EQ(coro_now(co), CORO_MS(15));
    coro_start(&my->g, &my->w, waiting, .gate = &my->gate, .d = CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(2)), 0);
    coro_task_cancel(&my->w);
    CHECK_EQ(timers(co), 1); /* the scope's is left */
    EXPECT(coro_join(co, &my->w), -ECHILD);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_now(co), CORO_MS(17));
    check_alone(co);
    CORO_END(0);
}

TEST(limit_scope_and_cancellation_of_an_operation_are_told_apart) /* T16 */
{
    CHECK_EQ(RUN(within_scope), 0);
    CHECK_STR(trace, "within:canceled within:timedout within:canceled ");
}

struct stuck {
    CORO_FRAME;
    struct gate *gate;
    coro_scope scope;
    coro_time d;
    int rc;
};
CORO(stuck)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->d, pass_with(co, my->gate, &unabortable)));
    note_rc("limit", my->rc);
    coro_timeout_open(co, &my->scope, CORO_MS(3));
    CORO_AWAIT(my->rc, pass_with(co, my->gate, &unabortable));
    note_rc("scope", my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    note_rc("next", my->rc);
    CORO_END(coro_scope_close(co, &my->scope, my->rc));
}

SCENE_WITH(overrun, struct gate gate; CORO_TASK(stuck) w;)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 2; my->i++) {
        trace[0] = 0;
        my->gate.asked = my->gate.passed = 0;
        coro_group_open(co, &my->g, CORO_COLLECT);
        coro_start(&my->g, &my->w, stuck, .gate = &my->gate, .d = my->i ? CORO_MS(3) : 0);
        EXPECT(coro_sleep(co, CORO_MS(10)), 0);
        CHECK_STR(trace, "");
        CHECK_EQ(my->gate.asked, 1);
        CHECK_EQ(timers(co), 0);
        let_one_pass(&my->gate);
        EXPECT(coro_sleep(co, CORO_MS(10)), 0);
        CHECK_STR(trace, "limit:1 ");
        CHECK_EQ(my->gate.asked, 2);
        let_one_pass(&my->gate);
        EXPECT(coro_join(co, &my->w), -ETIMEDOUT);
        EXPECT(coro_group_close(co, &my->g, 0), 0);
        CHECK_STR(trace, "limit:1 scope:2 next:canceled ");
        check_alone(co);
    }
    CORO_END(0);
}

TEST(a_deadline_over_an_unabortable_operation_overruns_and_keeps_the_result) /* T31, C29 */
{
    CHECK_EQ(RUN(overrun), 0);
}

/* ---- many ----------------------------------------------------------------------------------- */

SCENE_WITH(reclaimed, struct gate gate; size_t memory; struct work f;)
{
    CORO_BEGIN();
    my->gate.open = true;
    my->memory = coro_stats(coro_loop_of(co)).memory;
    for (my->i = 0; my->i < 50000; my->i++) {
        coro_timeout_open(co, &my->a, CORO_S(3600));
        CORO_TRY(pass(co, &my->gate));
        CHECK_EQ(timers(co), 1);
        CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    }
    CHECK_EQ(timers(co), 0);
    coro_timeout_open(co, &my->a, CORO_S(3600));
    for (my->i = 0; my->i < 50000; my->i++)
        CHECK_EQ(coro_scope_deadline(&my->a, CORO_S(my->i % 7 * 1000 + 1)), 0);
    CHECK_EQ(timers(co), 1);
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, CORO_S(10000)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_S((50000 - 1) % 7 * 1000 + 1));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    CHECK_EQ(coro_stats(coro_loop_of(co)).memory, my->memory);
    check_alone(co);
    CORO_END(0);
}

TEST(deadlines_that_are_dropped_or_moved_leave_nothing) /* T12 */
{
    CHECK_EQ(RUN(reclaimed), 0);
}

enum { DEEP = 10000 };
static coro_scope nest[DEEP];

SCENE(nested)
{
    CORO_BEGIN();
    /* The innermost first, one after the other, and the rest at one moment. */
    for (my->i = 0; my->i < DEEP; my->i++)
        coro_timeout_open(co, &nest[my->i],
                          CORO_MS(my->i < DEEP / 2 ? DEEP : DEEP + DEEP / 2 - my->i));
    CHECK_EQ(timers(co), DEEP);
    EXPECT(coro_sleep(co, CORO_FOREVER), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(DEEP / 2 + 1));
    coro_shield_open(co, &my->a, CORO_FOREVER);
    EXPECT(coro_sleep_until(co, CORO_MS(DEEP)), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    for (my->i = DEEP; --my->i > 0;) {
        CHECK_EQ(coro_scope_close(co, &nest[my->i], -ECANCELED), -ECANCELED);
        CHECK(coro_scope_expired(&nest[my->i]));
    }
    CHECK_EQ(coro_scope_close(co, &nest[0], -ECANCELED), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(ten_thousand_nested_deadlines_expire_without_a_deep_stack) /* T14, decision 13 */
{
    CHECK_EQ(RUN(nested), 0);
}

/* ---- the wheel against a sorted list -------------------------------------------------------- */

enum { ALARMS = 700, MOVES = 1200, ROUNDS = 3 };

/* What the timers should be: the armed ones, the last to fire first. */
static struct entry {
    coro_time when;
    uint32_t order; /* in which they were armed: ties fire so */
    int id;
} model[ALARMS];
static int armed;
static struct { /* of each alarm */
    bool armed;
    bool expected; /* to end by cancellation */
    coro_time when;
} alarms[ALARMS];
static uint32_t orders;
static int fired, dropped;
static uint64_t dice;

static uint64_t roll(void)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

static int below(int n)
{
    return (int)(roll() % (uint64_t)n);
}

static bool fires_before(const struct entry *a, const struct entry *b)
{
    return a->when < b->when || (a->when == b->when && a->order < b->order);
}

static void model_arm(int id, coro_time when)
{
    struct entry e;
    int at = 0, end = armed;
    e.when = when;
    e.order = orders++;
    e.id = id;
    while (at < end) { /* the first that fires before it */
        int middle = (at + end) / 2;
        if (fires_before(&model[middle], &e))
            end = middle;
        else
            at = middle + 1;
    }
    memmove(&model[at + 1], &model[at], (size_t)(armed - at) * sizeof e);
    model[at] = e;
    armed++;
    alarms[id].armed = true;
    alarms[id].when = when;
}

static void model_drop(int id)
{
    int at = 0;
    while (model[at].id != id)
        at++;
    armed--;
    memmove(&model[at], &model[at + 1], (size_t)(armed - at) * sizeof model[0]);
    alarms[id].armed = false;
}

/* An alarm rings: it must be the one whose turn it is, and on the dot. */
static void model_ring(int id, coro_time now)
{
    CHECK(armed > 0);
    CHECK_EQ(model[armed - 1].id, id);
    CHECK_EQ(model[armed - 1].when, now);
    armed--;
    alarms[id].armed = false;
    fired++;
}

/* A time to come, of any magnitude; often the same as another's, or next to the edge of a slot. */
static coro_time some_time(coro_time now)
{
    coro_time end = (coro_time)1 << 61, when = now;
    int how = below(4), shift = below(60);
    if (how == 0 && armed)
        when = model[below(armed)].when;
    else if (how == 1)
        when = (((now >> shift) + 1 + below(3)) << shift) + below(3) - 1;
    if (when <= now || when > end)
        when = now + 1 + (coro_time)(roll() >> (3 + below(61)));
    if (when > end)
        when = now + 1 + below(1000000);
    return when;
}

struct bell {
    CORO_FRAME;
    int id, round;
    coro_scope scope;
    int rc;
};
CORO(bell)
{
    CORO_BEGIN();
    for (my->round = 0; my->round < ROUNDS; my->round++) {
        model_arm(my->id, some_time(coro_now(co)));
        if (my->id % 3 == 0) {
            CORO_AWAIT(my->rc, coro_sleep_until(co, alarms[my->id].when));
        } else if (my->id % 3 == 1) {
            CORO_AWAIT(my->rc, coro_within(co, alarms[my->id].when - coro_now(co),
                                           coro_sleep(co, CORO_FOREVER)));
            my->rc = my->rc == -ETIMEDOUT ? 0 : my->rc;
        } else {
            coro_timeout_open(co, &my->scope, alarms[my->id].when - coro_now(co));
            CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
            my->rc = coro_scope_close(co, &my->scope, my->rc);
            my->rc = my->rc == -ETIMEDOUT ? 0 : my->rc;
        }
        if (my->rc < 0)
            break;
        model_ring(my->id, coro_now(co));
    }
    CHECK_EQ(my->rc, alarms[my->id].expected ? -ECANCELED : 0);
    CORO_END(0);
}

static CORO_TASK(bell) bells[ALARMS];

/* Move a scope's deadline: later, sooner, to now, to never. What is due now has fired already. */
static void move_one(int id, coro_time now)
{
    coro_scope *scope = &bells[id].frame.scope;
    int how = below(8);
    coro_time when = how == 0 ? CORO_FOREVER : how == 1 ? now : some_time(now);
    if (alarms[id].armed && alarms[id].when <= now) {
        CHECK_EQ(coro_scope_deadline(scope, when), -EALREADY);
        return;
    }
    CHECK_EQ(coro_scope_deadline(scope, when), 0);
    if (alarms[id].armed)
        model_drop(id);
    if (when != CORO_FOREVER)
        model_arm(id, when);
}

/* Cancel an alarm, unless it is ringing. */
static void drop_one(int id, coro_time now)
{
    if (alarms[id].armed && alarms[id].when <= now)
        return;
    if (alarms[id].armed)
        model_drop(id);
    alarms[id].expected = true;
    dropped++;
    CHECK_EQ(coro_task_cancel(&bells[id]), 1);
}

static bool alive(int id)
{
    return coro_task_status(&bells[id]) == CORO_RUNNING && !alarms[id].expected;
}

static void stir(int move, coro_time now)
{
    int id = below(ALARMS);
    if (!alive(id))
        return;
    if (move % 16 == 0)
        drop_one(id, now);
    else if (id % 3 == 2)
        move_one(id, now);
}

static coro_time near_the_front(coro_time now)
{
    coro_time when = now;
    if (armed)
        when = model[armed - 1 - below(armed < 8 ? armed : 8)].when + below(3) - 1;
    return when > now ? when : now + below(3);
}

SCENE(clockmaker)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < ALARMS; my->i++)
        coro_start(&my->g, &bells[my->i], bell, .id = my->i);
    EXPECT(coro_sleep(co, 0), 0);
    for (my->i = 0; my->i < MOVES; my->i++) {
        stir(my->i, coro_now(co));
        if (my->i % 2 == 0)
            EXPECT(coro_sleep_until(co, near_the_front(coro_now(co))), 0);
        if (my->i % 64 == 0)
            CHECK_SOUND(co);
    }
    while (armed) /* until the rest has rung */
        EXPECT(coro_sleep_until(co, model[0].when + 1), 0);
    for (my->i = 0; my->i < ALARMS; my->i++)
        if (alive(my->i)) /* moved to never */
            drop_one(my->i, coro_now(co));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

static void wind_up(unsigned seed, coro_time start)
{
    printf("seed %u\n", seed);
    dice = seed * 0x9e3779b97f4a7c15u;
    if (start) {
        world.now = start;
        CHECK_EQ(RUN_IN_WORLD(clockmaker), 0);
    } else {
        CHECK_EQ(RUN(clockmaker), 0);
    }
    CHECK_EQ(armed, 0);
    CHECK(fired > ALARMS && dropped > 20);
}

TEST(wheel_agrees_with_a_sorted_list_seed_1) /* T07, T09, T21 */
{
    wind_up(1, 0);
}

TEST(wheel_agrees_with_a_sorted_list_seed_2)
{
    wind_up(2, 0);
}

TEST(wheel_agrees_with_a_sorted_list_seed_3)
{
    wind_up(3, 0);
}

TEST(wheel_agrees_with_a_sorted_list_from_an_odd_hour_on)
{
    wind_up(4, CORO_S(1234567) + 89);
}

TEST(wheel_agrees_with_a_sorted_list_where_the_clock_is_parked_for_real)
{
    world.nap = CORO_S(86400) * 365; /* a park may end early, too */
    wind_up(5, 0xfffffffffff);
}

/* Every power of two and its neighbours, in an order that is none. */
enum { POWERS = 61 };
static coro_time last_rung;
static int rung;

struct power {
    CORO_FRAME;
    coro_time when;
};
CORO(power)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep_until(co, my->when));
    CHECK_EQ(coro_now(co), my->when);
    CHECK(my->when >= last_rung);
    last_rung = my->when;
    rung++;
    CORO_END(0);
}

SCENE(powers)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < POWERS * 3; my->i++) {
        int n = my->i * 71 % (POWERS * 3); /* all of them, jumping about */
        coro_spawn(&my->g, power, .when = ((coro_time)1 << (n / 3 + 1)) + n % 3 - 1);
    }
    CORO_CLOSE(&my->g);
    CHECK_EQ(rung, POWERS * 3);
    CHECK_EQ(coro_now(co), ((coro_time)1 << POWERS) + 1);
    check_alone(co);
    CORO_END(0);
}

TEST(sleeps_from_nanoseconds_to_decades_end_on_the_dot) /* T04, T05, T07 */
{
    CHECK_EQ(RUN(powers), 0);
}

TEST(sleeps_from_nanoseconds_to_decades_end_on_the_dot_in_the_world) /* T04, T05, T07 */
{
    CHECK_EQ(RUN_IN_WORLD(powers), 0);
}

/* A crowd in one far slot, and in one near one: in order, though they were appended at random. */
SCENE_WITH(crowd, coro_time from;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 1000; my->i++)
        coro_spawn(&my->g, power, .when = my->from + my->i * 7919 % 1000 / 3);
    CORO_CLOSE(&my->g);
    CHECK_EQ(rung, 1000);
    CHECK_EQ(coro_now(co), my->from + 333);
    check_alone(co);
    CORO_END(0);
}

TEST(a_crowd_of_deadlines_in_one_slot_fires_in_order) /* T07 */
{
    static const coro_time from[] = {CORO_US(1), CORO_MS(10), CORO_S(1), CORO_S(100000000)};
    size_t i;
    for (i = 0; i < sizeof from / sizeof from[0]; i++) {
        rung = 0;
        last_rung = 0;
        CHECK_EQ(RUN(crowd, .from = from[i]), 0);
    }
}

TEST(durations_may_be_fractions)
{
#if CORO_TIME_BITS == 64
    CHECK_EQ(CORO_S(0.5), CORO_MS(500));
    CHECK_EQ(CORO_MS(-1.5), CORO_US(-1500));
#endif /* CORO_TIME_BITS == 64 */
    CHECK_EQ(CORO_S(2u), 2 * CORO_S(1));
}
