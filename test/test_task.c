/* test_task.c -- the life of a task: spawned, started, joined, cancelled, ended; names, storage,
 * loops used again. */
#include "coro.h"
#include "test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what all tests use ---------------------------------------------------------------------- */

static char trace[1024];

static void note(const char *text)
{
    CHECK(strlen(trace) + strlen(text) < sizeof trace);
    strcat(trace, text);
}

static void note_number(long n)
{
    char text[32];
    snprintf(text, sizeof text, "%ld ", n);
    note(text);
}

/* An allocator that counts, and fails once, or always. */
static size_t live_bytes;
static int allocations, fail_at;

static void *counting_alloc(void *arg, size_t size)
{
    (void)arg;
    if (++allocations == fail_at || fail_at < 0)
        return NULL;
    live_bytes += size;
    return malloc(size);
}

static void counting_free(void *arg, void *memory, size_t size)
{
    (void)arg;
    live_bytes -= size;
    free(memory);
}

static const coro_options plain = {
    .allocator = {counting_alloc, counting_free, NULL},
    .clock = CORO_VIRTUAL,
};

/* The loop is gone: so must be all that it took. */
static int empty_world(int rc)
{
    CHECK_EQ(live_bytes, 0);
    return rc;
}

#define RUN(...) empty_world(coro_run_with(&plain, __VA_ARGS__))

#define CHECK_SOUND(co) CHECK_STR(coro_verify(coro_loop_of(co)), NULL)

/* Notes its id, sleeps, notes it again, ends with rc. */
struct worker {
    CORO_FRAME;
    int id, turns;
    coro_time d;
    intptr_t rc;
};

CORO(worker)
{
    CORO_BEGIN();
    note_number(my->id);
    for (; my->turns; my->turns--) {
        CORO_TRY(coro_sleep(co, my->d));
        note_number(my->id);
    }
    CORO_END(my->rc);
}

/* Joins a task and notes what that gave. */
struct joiner {
    CORO_FRAME;
    struct worker_task *t;
    int id, rc;
    coro_time limit;
};

CORO(joiner)
{
    CORO_BEGIN();
    if (my->limit)
        CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_join(co, my->t)));
    else
        CORO_AWAIT(my->rc, coro_join(co, my->t));
    note_number(my->id);
    CORO_END(0);
}

/* ---- spawning -------------------------------------------------------------------------------- */

struct spawns {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
};

CORO(spawns)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_spawn(&my->g, worker, .id = 1), 0);
    CHECK_EQ(coro_start(&my->g, &my->t, worker, .id = 2), 0);
    CHECK_EQ(coro_spawn(&my->g, worker, .id = 3), 0);
    CHECK_STR(trace, "");
    CHECK_EQ(my->g.alive, 3);
    CHECK_EQ(coro_task_status(&my->t), CORO_RUNNING);
    CHECK_EQ(my->t.frame.id, 2);
    CHECK_SOUND(co);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_STR(trace, "1 2 3 ");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 3);
    CHECK_EQ(my->g.alive, 0);
    CORO_END(0);
}

/* L01 */
TEST(spawn_only_schedules)
{
    CHECK_EQ(RUN(spawns), 0);
}

struct takes_turns {
    CORO_FRAME;
    coro_group g;
    int i;
};

CORO(takes_turns)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 1; my->i <= 4; my->i++)
        (void)coro_spawn(&my->g, worker, .id = my->i, .turns = my->i == 2 ? 0 : 2);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* L02 */
TEST(children_begin_in_the_order_of_their_start_and_a_yield_goes_behind_all)
{
    CHECK_EQ(RUN(takes_turns), 0);
    CHECK_STR(trace, "1 2 3 4 1 3 4 1 3 4 ");
}

/* A task that a child spawns goes behind those that are ready. */
struct grandparent {
    CORO_FRAME;
    coro_group *g;
};

CORO(grandparent)
{
    CORO_BEGIN();
    note("parent ");
    (void)coro_spawn(my->g, worker, .id = 9);
    CORO_END(0);
}

struct spawns_spawner {
    CORO_FRAME;
    coro_group g;
};

CORO(spawns_spawner)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, grandparent, .g = &my->g);
    (void)coro_spawn(&my->g, worker, .id = 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END((int)my->g.started);
}

TEST(child_may_spawn_into_its_own_group)
{
    CHECK_EQ(RUN(spawns_spawner), 3);
    CHECK_STR(trace, "parent 1 9 ");
}

struct precancelled {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
};

CORO(precancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, worker, .id = 1, .turns = 1, .d = CORO_S(1));
    CHECK_EQ(coro_task_cancel(&my->t), 1);
    CHECK_EQ(coro_task_cancel(&my->t), 0);
    CHECK_STR(trace, "");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_status(&my->t), CORO_CANCELLED);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(my->g.failed, 0);
    CORO_END(0);
}

/* C08, D3 */
TEST(task_cancelled_before_its_first_step_runs_to_its_first_await)
{
    CHECK_EQ(RUN(precancelled), 0);
    CHECK_STR(trace, "1 ");
}

/* ---- joining --------------------------------------------------------------------------------- */

struct many_joins {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
    CORO_TASK(joiner) j[4];
    int i;
    coro_time start;
};

CORO(many_joins)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 3; my->i >= 1; my->i--)
        (void)coro_start(&my->g, &my->j[my->i], joiner, .t = &my->t, .id = my->i);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1, .d = CORO_MS(1), .rc = 42);
    CORO_TRY(my->i, coro_join(co, &my->t));
    CHECK_EQ(my->i, 42);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_STR(trace, "0 0 3 2 1 ");
    my->start = coro_now(co);
    (void)coro_start(&my->g, &my->j[0], joiner, .t = &my->t); /* a late one */
    CORO_TRY(my->i, coro_join(co, &my->t));
    CHECK_EQ(my->i, 42);
    CHECK_STR(trace, "0 0 3 2 1 "); /* L04: it was done at once */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(my->j[i].frame.rc, 42);
    CHECK_EQ(coro_now(co), my->start);
    CORO_END(0);
}

/* L03, L04, L05 */
TEST(every_joiner_gets_the_outcome_in_the_order_in_which_they_began_to_wait)
{
    CHECK_EQ(RUN(many_joins), 0);
    CHECK_STR(trace, "0 0 3 2 1 0 ");
}

struct joins_self {
    CORO_FRAME;
    int rc;
};

CORO(joins_self)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_join(co, co));
    CHECK_EQ(my->rc, -EDEADLK);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(1);
}

/* L06 */
TEST(task_that_joins_itself_is_told_so_at_once)
{
    CHECK_EQ(RUN(joins_self), 1);
}

struct gives_up_join {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
    CORO_TASK(joiner) j[5];
    int i;
};

CORO(gives_up_join)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1, .d = CORO_MS(9), .rc = 7);
    for (my->i = 0; my->i < 5; my->i++)
        (void)coro_start(&my->g, &my->j[my->i], joiner, .t = &my->t, .id = my->i,
                         .limit = my->i == 3 ? CORO_MS(2) : 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_cancel(&my->j[0]), 1); /* the first, the last, and one between */
    CHECK_EQ(coro_task_cancel(&my->j[4]), 1);
    CHECK_SOUND(co);
    CORO_TRY(coro_sleep(co, CORO_MS(4)));
    CHECK_EQ(my->j[3].frame.rc, -ETIMEDOUT);
    CHECK_EQ(coro_task_status(&my->t), CORO_RUNNING);
    CHECK_EQ(coro_task_result(&my->t), -EINPROGRESS);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->j[0].frame.rc, -ECANCELED);
    CHECK_EQ(my->j[1].frame.rc, 7);
    CHECK_EQ(my->j[2].frame.rc, 7);
    CHECK_EQ(my->j[4].frame.rc, -ECANCELED);
    CHECK_EQ(coro_task_result(&my->t), 7);
    CHECK_EQ(coro_task_status(&my->j[0]), CORO_OK); /* L10: it went on and ended with 0 */
    CORO_END(0);
}

/* L07, D6 */
TEST(join_that_is_cancelled_or_timed_out_leaves_its_target_running)
{
    CHECK_EQ(RUN(gives_up_join), 0);
    CHECK_STR(trace, "0 0 4 3 0 1 2 ");
}

struct join_in_no_time {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
    int rc;
};

CORO(join_in_no_time)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1, .d = CORO_MS(1), .rc = 7);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_join(co, &my->t)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, 7);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_join(co, &my->t)));
    CHECK_EQ(my->rc, 7);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* T02 */
TEST(join_within_no_time_looks_once)
{
    CHECK_EQ(RUN(join_in_no_time), 0);
}

struct cross_join {
    CORO_FRAME;
    struct cross_join_task *other;
    int rc;
};
CORO_DECLARE(cross_join);

CORO_DEFINE(cross_join)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_join(co, my->other));
    CORO_END(my->rc);
}

struct crosses {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(cross_join) a, b;
};

CORO(crosses)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->a, cross_join, .other = &my->b);
    (void)coro_start(&my->g, &my->b, cross_join, .other = &my->a);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_SOUND(co);
    coro_task_cancel(&my->a);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->a.frame.rc, -ECANCELED);
    CHECK_EQ(my->b.frame.rc, -ECHILD);
    CORO_END(0);
}

TEST(tasks_that_join_each_other_can_be_cancelled)
{
    CHECK_EQ(RUN(crosses), -ECHILD); /* b failed with what it read */
}

/* ---- outcomes -------------------------------------------------------------------------------- */

enum end { OK, FAILS, IS_CANCELLED, SWALLOWS, CANCELS_ITSELF, CANCELS_ITSELF_AND_WAITS, FORGES };

struct ender {
    CORO_FRAME;
    int how, rc;
};

CORO(ender)
{
    CORO_BEGIN();
    if (my->how == FAILS)
        CORO_FAIL(-EPIPE);
    if (my->how == IS_CANCELLED)
        CORO_TRY(coro_sleep(co, CORO_FOREVER));
    if (my->how == SWALLOWS) {
        CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
        CHECK_EQ(my->rc, -ECANCELED);
    }
    if (my->how >= CANCELS_ITSELF && my->how <= CANCELS_ITSELF_AND_WAITS)
        CHECK_EQ(coro_task_cancel(co), 1);
    if (my->how == CANCELS_ITSELF_AND_WAITS)
        CORO_TRY(coro_sleep(co, 0));
    if (my->how == FORGES)
        CORO_FAIL(-ECANCELED);
    CORO_END(5);
}

struct outcome {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(ender) t;
    int how, status, result, join, rc;
    unsigned failed, cancelled;
};

CORO(outcome)
{
    CORO_BEGIN();
    CHECK_EQ(coro_task_status(&my->t), CORO_UNSTARTED);
    coro_group_open(co, &my->g, CORO_COLLECT);
    (void)coro_start(&my->g, &my->t, ender, .how = my->how);
    CHECK_EQ(coro_task_status(&my->t), CORO_RUNNING);
    CHECK_EQ(coro_task_result(&my->t), -EINPROGRESS);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    if (my->how == IS_CANCELLED || my->how == SWALLOWS)
        CHECK_EQ(coro_task_cancel(&my->t), 1);
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, my->join);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_status(&my->t), my->status);
    CHECK_EQ(coro_task_result(&my->t), my->result);
    CHECK_EQ(my->g.failed, my->failed);
    CHECK_EQ(my->g.cancelled, my->cancelled);
    CHECK_EQ(coro_task_cancel(&my->t), 0); /* C06: too late, and without effect */
    CHECK_EQ(coro_task_status(&my->t), my->status);
    CHECK_EQ(coro_task_result(&my->t), my->result);
    CORO_END(0);
}

/* L08 */
TEST(outcomes_are_told_apart_by_their_status)
{
    CHECK_EQ(RUN(outcome, .how = OK, .status = CORO_OK, .result = 5, .join = 5), 0);
    CHECK_EQ(RUN(outcome, .how = FAILS, .status = CORO_FAILED, .result = -EPIPE, .join = -EPIPE,
                 .failed = 1), 0);
    CHECK_EQ(RUN(outcome, .how = IS_CANCELLED, .status = CORO_CANCELLED, .result = -ECANCELED,
                 .join = -ECHILD, .cancelled = 1), 0);
}

/* L09, rule 14 of the design: to the joiner -ECANCELED always means himself. */
TEST(task_that_ends_with_ecanceled_of_its_own_making_has_failed)
{
    CHECK_EQ(RUN(outcome, .how = FORGES, .status = CORO_FAILED, .result = -ECANCELED,
                 .join = -ECHILD, .failed = 1), 0);
}

/* L10 */
TEST(task_that_swallows_its_cancellation_is_ok)
{
    CHECK_EQ(RUN(outcome, .how = SWALLOWS, .status = CORO_OK, .result = 5, .join = 5), 0);
}

/* L11, C09 */
TEST(task_that_cancels_itself_and_ends_without_an_await_is_ok)
{
    CHECK_EQ(RUN(outcome, .how = CANCELS_ITSELF, .status = CORO_OK, .result = 5, .join = 5), 0);
    CHECK_EQ(RUN(outcome, .how = CANCELS_ITSELF_AND_WAITS, .status = CORO_CANCELLED,
                 .result = -ECANCELED, .join = -ECHILD, .cancelled = 1), 0);
}

struct never_started {
    CORO_FRAME;
    CORO_TASK(worker) t;
    int rc;
};

CORO(never_started)
{
    CORO_BEGIN();
    CHECK_EQ(coro_task_status(&my->t), CORO_UNSTARTED);
    CHECK_EQ(coro_task_result(&my->t), -EINVAL);
    CHECK_EQ(coro_task_cancel(&my->t), 0);
    CHECK_STR(coro_task_name(&my->t), "task");
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_END(0);
}

TEST(task_that_was_never_started_says_so)
{
    CHECK_EQ(RUN(never_started), 0);
}

/* The storage outlives frame, group and loop. */
static CORO_TASK(worker) kept[3];

struct keeps {
    CORO_FRAME;
    coro_group g;
};

CORO(keeps)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    (void)coro_start(&my->g, &kept[0], worker, .rc = 7);
    (void)coro_start(&my->g, &kept[1], worker, .rc = -EPIPE);
    (void)coro_start(&my->g, &kept[2], worker, .turns = 1, .d = CORO_FOREVER);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_task_cancel(&kept[2]);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* L12, G27 */
TEST(outcome_stays_readable_after_group_and_loop_are_gone)
{
    CHECK_EQ(RUN(keeps), 0);
    CHECK_EQ(coro_task_result(&kept[0]), 7);
    CHECK_EQ(coro_task_result(&kept[1]), -EPIPE);
    CHECK_EQ(coro_task_result(&kept[2]), -ECANCELED);
    CHECK_EQ(coro_task_status(&kept[0]), CORO_OK);
    CHECK_EQ(coro_task_status(&kept[1]), CORO_FAILED);
    CHECK_EQ(coro_task_status(&kept[2]), CORO_CANCELLED);
    CHECK_EQ(coro_task_cancel(&kept[2]), 0);
}

struct large_result {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
    intptr_t rc;
};

CORO(large_result)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, worker, .rc = INTPTR_MAX);
    CORO_TRY(my->rc, coro_join(co, &my->t));
    CHECK(my->rc == INTPTR_MAX);
    CHECK_EQ(coro_task_result(&my->t), INT_MAX); /* the most that an int can say */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(join_gives_results_of_a_pointers_size)
{
    CHECK_EQ(RUN(large_result), 0);
}

/* ---- failed starts --------------------------------------------------------------------------- */

struct closed_group {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t, never;
    int rc;
};

CORO(closed_group)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1, .d = CORO_FOREVER);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_task_cancel(&my->t);
    CORO_CLOSE(&my->g);
    trace[0] = 0;
    CHECK_EQ(coro_spawn(&my->g, worker, .id = (note("evaluated "), 1)), -ESHUTDOWN);
    CHECK_EQ(coro_start(&my->g, &my->never, worker, .id = 2), -ESHUTDOWN);
    CHECK_EQ(coro_start(&my->g, &my->t, worker, .id = 3), -ESHUTDOWN); /* was cancelled before */
    CHECK_EQ(coro_task_status(&my->never), CORO_UNSTARTED);
    CHECK_EQ(coro_task_result(&my->never), -ESHUTDOWN);
    CHECK_EQ(coro_task_status(&my->t), CORO_UNSTARTED);
    CHECK_EQ(coro_task_result(&my->t), -ESHUTDOWN);
    CORO_AWAIT(my->rc, coro_join(co, &my->never));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    CORO_AWAIT(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(trace, ""); /* nothing ran, and nothing was taken from the caller */
    CHECK_SOUND(co);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_start(&my->g, &my->never, worker, .id = 4, .rc = 4), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->never), 4);
    CORO_END(0);
}

/* L27, G15 */
TEST(start_into_a_closed_group_fails_at_once_and_runs_nothing)
{
    CHECK_EQ(RUN(closed_group), 0);
    CHECK_STR(trace, "4 ");
}

struct born_cancelled {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
};

CORO(born_cancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_cancel(&my->g);
    CHECK_EQ(coro_start(&my->g, &my->t, worker, .id = 1, .turns = 1), 0);
    CHECK_EQ(coro_spawn(&my->g, worker, .id = 2, .turns = 1), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_status(&my->t), CORO_CANCELLED);
    CHECK_EQ(my->g.cancelled, 2);
    CORO_END(0);
}

/* G17, D5 */
TEST(child_of_a_cancelled_group_is_born_cancelled_and_makes_its_first_step)
{
    CHECK_EQ(RUN(born_cancelled), 0);
    CHECK_STR(trace, "1 2 ");
}

struct no_memory {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t[20];
    int i, rc;
    coro_mode mode;
};

CORO(no_memory)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, my->mode);
    fail_at = -1;
    CHECK_EQ(coro_spawn(&my->g, worker, .id = (note("evaluated "), 1)), -ENOMEM);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.first, -ENOMEM);
#if CORO_GROUP_ERRORS
    CHECK_EQ(my->g.errors[0].error, -ENOMEM);
    CHECK_EQ(my->g.errors[0].index, 0);
    CHECK(my->g.errors[0].info == &worker_coro);
#endif /* CORO_GROUP_ERRORS */
    CHECK_EQ(my->g.alive, 0);
    CHECK_EQ(coro_cancelled(co), my->mode == CORO_ALL);
    CHECK_SOUND(co);
    fail_at = 0;
    CHECK_EQ(coro_start(&my->g, &my->t[0], worker, .id = 2), 0);
    CHECK_EQ(coro_task_id(&my->t[0]), 1); /* the failed one had number 0 */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* L14, design 3.4 */
TEST(spawn_without_memory_counts_as_a_failed_child_and_leaves_its_arguments_alone)
{
    CHECK_EQ(RUN(no_memory, .mode = CORO_ALL), -ENOMEM);
    CHECK_STR(trace, "2 ");
    CHECK_EQ(RUN(no_memory, .mode = CORO_COLLECT), 0);
    CHECK_EQ(RUN(no_memory, .mode = CORO_RACE), 0); /* the second child won */
}

#if CORO_READY_RING
struct ring_full {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t[40];
    int i, started, rc;
};

CORO(ring_full)
{
    CORO_BEGIN();
    fail_at = -1; /* the run queue cannot grow */
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 40; my->i++)
        my->started += coro_start(&my->g, &my->t[my->i], worker, .turns = 3, .rc = 5) == 0;
    CHECK(my->started >= 7 && my->started < 40);
    CHECK_EQ(my->g.failed, 40 - my->started);
    CHECK_EQ(my->g.alive, my->started);
    CHECK_EQ(coro_task_status(&my->t[39]), CORO_UNSTARTED);
    CORO_AWAIT(my->rc, coro_join(co, &my->t[39]));
    CHECK_EQ(my->rc, -ENOMEM);
    CHECK_SOUND(co);
    CORO_TRY(my->rc, coro_join(co, &my->t[0]));
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_start(&my->g, &my->t[39], worker, .rc = 6), 0); /* there is room again */
CORO_FINALLY:
    fail_at = 0;
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->t[0]), 5);
    CHECK_EQ(coro_task_result(&my->t[39]), 6);
    CORO_END(0);
}

TEST(start_that_finds_no_room_in_the_run_queue_fails_and_may_be_tried_again)
{
    CHECK_EQ(RUN(ring_full), 0);
}
#endif /* CORO_READY_RING */

/* The sweep: the n-th allocation fails, for all n. */
struct busy_tree {
    CORO_FRAME;
    int depth;
    coro_group g;
    char ballast[1500];
};

CORO(busy_tree)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3 && my->depth; i++)
        (void)coro_spawn(&my->g, busy_tree, .depth = my->depth - 1);
    CORO_TRY(coro_sleep(co, CORO_MS(my->depth)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(each_allocation_of_a_tree_of_tasks_may_fail_and_nothing_leaks)
{
    int rc = -ENOMEM, n;
    for (n = 1; rc < 0; n++) {
        allocations = 0;
        fail_at = n;
        rc = RUN(busy_tree, .depth = 3);
        CHECK(rc == -ENOMEM || allocations < n);
    }
    CHECK_EQ(rc, 0);
    CHECK(n > 30);
}

/* ---- storage --------------------------------------------------------------------------------- */

struct reuses {
    CORO_FRAME;
    coro_group a, b;
    CORO_TASK(worker) t[3];
    int i, index, rc;
};

CORO(reuses)
{
    CORO_BEGIN();
    coro_group_open(co, &my->a, CORO_ALL);
    for (my->i = 1; my->i <= 50; my->i++) {
        CHECK_EQ(coro_start(&my->a, &my->t[0], worker, .rc = my->i), 0);
        CORO_TRY(my->rc, coro_join(co, &my->t[0]));
        CHECK_EQ(my->rc, my->i);
        CHECK_EQ(coro_task_id(&my->t[0]), my->i - 1);
        CHECK_SOUND(co);
    }
    CORO_TRY(my->rc, coro_group_next(co, &my->a, &my->index)); /* only the last one is there */
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->index, 49);
    CORO_TRY(my->rc, coro_group_next(co, &my->a, &my->index));
    CHECK_EQ(my->rc, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->a);
    CHECK_EQ(my->a.started, 50);
    CORO_END(0);
}

TEST(storage_of_an_ended_task_may_be_started_again_in_the_same_group)
{
    CHECK_EQ(RUN(reuses), 0);
}

struct rounds {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t[4];
    int round;
};

CORO(rounds)
{
    CORO_BEGIN();
    for (my->round = 0; my->round < 5; my->round++) {
        coro_group_open(co, &my->g, CORO_ALL);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(coro_start(&my->g, &my->t[i], worker, .turns = i, .rc = my->round), 0);
        CORO_CLOSE(&my->g);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(coro_task_result(&my->t[i]), my->round);
            CHECK_EQ(coro_task_id(&my->t[i]), i);
        }
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(group_and_tasks_may_be_used_again_round_after_round)
{
    CHECK_EQ(RUN(rounds), 0);
}

struct starts_twice {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) t;
};

CORO(starts_twice)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1);
    (void)coro_start(&my->g, &my->t, worker, .turns = 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

static void run_starts_twice(void *arg)
{
    (void)arg;
    (void)RUN(starts_twice);
}

TEST(start_of_a_task_that_is_alive_traps)
{
    CHECK_TRAP(run_starts_twice, NULL, "coro_start: a task in this storage is alive");
}

/* Spawned tasks give their memory back at once: many take no more than a few. */
struct spawns_many {
    CORO_FRAME;
    coro_group g;
    size_t memory;
    int i;
};

CORO(spawns_many)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 2000; my->i++) {
        (void)coro_spawn(&my->g, worker, .turns = 1);
        trace[0] = 0;
        if (my->i % 10 == 9)
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
        if (my->i == 99)
            my->memory = live_bytes;
    }
    CHECK_EQ(live_bytes, my->memory);
    CHECK_EQ(my->g.started, 2000);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* G26 */
TEST(memory_of_spawned_tasks_goes_round)
{
    CHECK_EQ(RUN(spawns_many), 0);
}

/* ---- many tasks, little stack ---------------------------------------------------------------- */

#define CHAIN 20000

static uintptr_t lowest, highest; /* addresses of C frames in steps */

static void measure_stack(void)
{
    uintptr_t at = (uintptr_t)__builtin_frame_address(0); /* a local may be elsewhere under ASan */
    if (!lowest || at < lowest)
        lowest = at;
    if (at > highest)
        highest = at;
}

/* A C frame for each task would be a megabyte. */
static void check_stack(void)
{
    CHECK(highest - lowest < 32768);
}

struct chained {
    CORO_FRAME;
    struct chained_task *before;
    intptr_t n;
};
CORO_DECLARE(chained);

CORO_DEFINE(chained)
{
    CORO_BEGIN();
    measure_stack();
    if (my->before)
        CORO_TRY(my->n, coro_join(co, my->before));
    else
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    measure_stack();
    CORO_END(my->n + 1);
}

static CORO_TASK(chained) chain[CHAIN];

struct links {
    CORO_FRAME;
    coro_group g;
    int i;
    bool star; /* all join the first one, not each the one before */
};

CORO(links)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < CHAIN; my->i++)
        (void)coro_start(&my->g, &chain[my->i], chained,
                         .before = !my->i ? NULL : my->star ? &chain[0] : &chain[my->i - 1]);
    CORO_TRY(coro_sleep(co, 0));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(coro_task_result(&chain[CHAIN - 1]));
}

/* L15 */
TEST(chain_of_tasks_that_end_one_another_needs_no_deep_stack)
{
    CHECK_EQ(RUN(links), CHAIN);
    check_stack();
}

TEST(crowd_of_joiners_needs_no_deep_stack)
{
    CHECK_EQ(RUN(links, .star = true), 2);
    check_stack();
}

struct cancels_chain {
    CORO_FRAME;
    coro_group g;
    int i;
};

CORO(cancels_chain)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < CHAIN; my->i++)
        (void)coro_start(&my->g, &chain[my->i], chained,
                         .before = my->i ? &chain[my->i - 1] : NULL);
    CORO_TRY(coro_sleep(co, 0));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.cancelled, CHAIN);
    CORO_END(0);
}

TEST(chain_of_tasks_can_be_cancelled_without_a_deep_stack)
{
    CHECK_EQ(RUN(cancels_chain), 0);
    check_stack();
}

/* ---- who am I -------------------------------------------------------------------------------- */

struct knows_itself {
    CORO_FRAME;
    struct knows_itself_task *self;
    struct worker sub;
    int i;
};
CORO_DECLARE(knows_itself);

CORO_DEFINE(knows_itself)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 5; my->i++) {
        CHECK(co == &my->self->task);
        CHECK(my == &my->self->frame);
        CORO_TRY(coro_sleep(co, my->i % 2 ? CORO_MS(1) : 0));
        CHECK(co == &my->self->task);
        CORO_TRY(coro_call(co, &my->sub, worker, .turns = 1));
        CHECK(co == &my->self->task);
    }
    CORO_END(0);
}

struct interleaves {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(knows_itself) t[5];
};

CORO(interleaves)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 5; i++)
        (void)coro_start(&my->g, &my->t[i], knows_itself, .self = &my->t[i]);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* L16 */
TEST(task_knows_itself_after_every_resumption)
{
    CHECK_EQ(RUN(interleaves), 0);
}

/* A call whose memory is used for something else once it is over. */
struct clobbers {
    CORO_FRAME;
    union {
        struct worker frame;
        unsigned char bytes[sizeof(struct worker)];
    } u;
    int heap;
};

CORO(clobbers)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->u.frame, worker, .turns = 1));
    memset(my->u.bytes, 0xa5, sizeof my->u.bytes);
    CHECK_STR(coro_task_name(co), CORO_NAMES ? "clobbers" : "task");
    CHECK_SOUND(co);
    CORO_END(0);
}

TEST(running_task_has_its_name_after_a_call_whose_frame_is_gone)
{
    CHECK_EQ(RUN(clobbers), 0);
}

struct tells_names {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) w[2];
    CORO_TASK(joiner) j;
    struct joiner sub;
};

CORO(tells_names)
{
    CORO_BEGIN();
    CHECK_STR(coro_task_name(co), CORO_NAMES ? "tells_names" : "task");
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->w[1], worker, .turns = 1);
    (void)coro_start(&my->g, &my->j, joiner, .t = &my->w[1]);
    (void)coro_spawn(&my->g, worker);
    (void)coro_start(&my->g, &my->w[0], worker);
    CHECK_STR(coro_task_name(&my->w[0]), CORO_NAMES ? "worker" : "task");
    CHECK_STR(coro_task_name(&my->j), CORO_NAMES ? "joiner" : "task");
    CHECK_EQ(coro_task_id(&my->w[1]), 0);
    CHECK_EQ(coro_task_id(&my->j), 1);
    CHECK_EQ(coro_task_id(&my->w[0]), 3);
    CORO_TRY(coro_call(co, &my->sub, joiner, .t = &my->w[1]));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_STR(coro_task_name(&my->w[0]), CORO_NAMES ? "worker" : "task");
    CHECK_EQ(coro_task_id(&my->w[0]), 3);
    CORO_END(0);
}

/* L28 */
TEST(tasks_have_the_names_of_their_coroutines_and_rising_numbers)
{
    CHECK_EQ(RUN(tells_names), 0);
}

#if CORO_NAMES
static void note_event(void *arg, coro_trace event, coro_task *task)
{
    static const char *const names[] = {"spawn ", "resume ", "suspend ", "cancel ", "end "};
    (void)arg;
    note(names[event]);
    note(coro_task_name(task));
    note("; ");
}

struct one_child {
    CORO_FRAME;
    coro_group g;
};

CORO(one_child)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, worker, .turns = 1);
    (void)coro_spawn(&my->g, worker);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(events_of_a_tasks_life_come_in_order_and_know_its_name)
{
    static const coro_options watched = {
        .allocator = {counting_alloc, counting_free, NULL},
        .clock = CORO_VIRTUAL,
        .on_event = note_event,
    };
    CHECK_EQ(empty_world(coro_run_with(&watched, one_child)), 0);
    CHECK_STR(trace, "spawn one_child; resume one_child; spawn worker; spawn worker; "
                     "suspend one_child; resume worker; 0 suspend worker; "
                     "resume worker; 0 end worker; resume worker; 0 end worker; "
                     "resume one_child; end one_child; ");
}
#endif /* CORO_NAMES */

/* ---- calls are not tasks --------------------------------------------------------------------- */

static int resumes;

static void count_resumes(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)task;
    resumes += event == CORO_EVENT_RESUME;
}

struct calls_quick {
    CORO_FRAME;
    struct worker sub;
    int i, rc;
};

CORO(calls_quick)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 1000; my->i++) {
        CORO_TRY(my->rc, coro_call(co, &my->sub, worker, .rc = my->i));
        CHECK_EQ(my->rc, my->i);
        trace[0] = 0;
    }
    CORO_END(0);
}

/* L20 */
TEST(call_that_does_not_wait_makes_no_trip_through_the_scheduler)
{
    static const coro_options watched = {.clock = CORO_VIRTUAL, .on_event = count_resumes};
    CHECK_EQ(coro_run_with(&watched, calls_quick), 0);
    CHECK_EQ(resumes, 1);
}

/* ---- context --------------------------------------------------------------------------------- */

static char key_a, key_b;

static const char *context_of(coro_task *co, const char *key)
{
    const char *value = (const char *)coro_context_get(co, key);
    return value ? value : "-";
}

struct sees {
    CORO_FRAME;
    coro_context own;
};

CORO(sees)
{
    static char of_child[] = "child's";
    CORO_BEGIN();
    note(context_of(co, &key_a));
    note(context_of(co, &key_b));
    coro_context_set(co, &my->own, &key_a, of_child);
    note(context_of(co, &key_a));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    note(context_of(co, &key_a));
    note(context_of(co, &key_b));
    note(" ");
    CORO_END(0);
}

struct shows {
    CORO_FRAME;
    coro_context a, b;
    coro_group g;
};

CORO(shows)
{
    static char of_parent[] = "parent's";
    CORO_BEGIN();
    coro_context_set(co, &my->a, &key_a, of_parent);
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, sees);
    coro_context_set(co, &my->b, &key_b, of_parent); /* after the group: not for its children */
    (void)coro_spawn(&my->g, sees);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_STR(context_of(co, &key_a), "parent's");
    CHECK_STR(context_of(co, &key_b), "parent's");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

struct shows_and_looks {
    CORO_FRAME;
    struct shows sub;
};

CORO(shows_and_looks)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->sub, shows));
    CHECK_STR(context_of(co, &key_a), "-"); /* its end has unset them */
    CHECK_STR(context_of(co, &key_b), "-");
    CORO_END(0);
}

/* L21 */
TEST(values_set_by_one_task_are_invisible_to_its_parent_and_siblings)
{
    CHECK_EQ(RUN(shows_and_looks), 0);
    CHECK_STR(trace, "parent's-child'sparent's-child'schild's- child's- ");
}

/* ---- loops ----------------------------------------------------------------------------------- */

struct nests {
    CORO_FRAME;
};

CORO(nests)
{
    CORO_BEGIN();
    CHECK_EQ(coro_loop_run(coro_loop_of(co)), -EDEADLK);
    CHECK_EQ(coro_loop_step(coro_loop_of(co)), -EDEADLK);
    CHECK_EQ(coro_loop_fini(coro_loop_of(co)), -EBUSY);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_loop_run(coro_loop_of(co)), -EDEADLK);
    CORO_END(3);
}

/* L17 */
TEST(loop_inside_itself_is_refused)
{
    CHECK_EQ(RUN(nests), 3);
}

/* L18 */
TEST(run_gives_the_main_tasks_outcome_and_can_be_called_again)
{
    for (int i = -3; i < 4; i++)
        CHECK_EQ(RUN(worker, .turns = 2, .d = CORO_S(1), .rc = i), i);
    CHECK_STR(trace, "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 ");
}

static int seen_error;

static void see_error(void *arg, coro_task *task, int error)
{
    (void)arg;
    (void)task;
    seen_error = error;
}

/* L19 */
TEST(loop_may_run_again_and_again_and_refuses_use_when_it_is_closed)
{
    static const coro_options options = {
        .allocator = {counting_alloc, counting_free, NULL},
        .clock = CORO_VIRTUAL,
        .on_error = see_error,
    };
    static coro_loop loop;
    static CORO_TASK(worker) t;
    CHECK_EQ(coro_loop_init(&loop, &options), 0);
    CHECK_EQ(coro_loop_run(&loop), 0); /* nothing to do */
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(coro_spawn(&loop.root, worker, .id = i, .turns = 1, .d = CORO_MS(i)), 0);
        CHECK_EQ(coro_start(&loop.root, &t, worker, .id = -i, .rc = i), 0);
        CHECK_EQ(coro_loop_fini(&loop), -EBUSY);
        CHECK_EQ(coro_loop_run(&loop), 0);
        CHECK_EQ(coro_task_result(&t), i);
        CHECK_EQ(coro_stats(&loop).tasks, 0);
        CHECK_EQ(coro_stats(&loop).timers, 0);
        CHECK_EQ(coro_stats(&loop).spawned, i * 2);
        CHECK_STR(coro_verify(&loop), NULL);
    }
    CHECK_STR(trace, "1 -1 1 2 -2 2 3 -3 3 ");
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(live_bytes, 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(seen_error, 0);
    CHECK_EQ(coro_spawn(&loop.root, worker, .id = 9), -ESHUTDOWN);
    CHECK_EQ(coro_start(&loop.root, &t, worker, .id = 9), -ESHUTDOWN);
    CHECK_EQ(seen_error, -ESHUTDOWN);
    CHECK(coro_loop_alloc(&loop, 64) == NULL);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(live_bytes, 0);
    CHECK_EQ(coro_loop_init(&loop, &options), 0); /* and from the beginning */
    CHECK_EQ(coro_start(&loop.root, &t, worker, .id = 8, .rc = 8), 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 8);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_STR(trace, "1 -1 1 2 -2 2 3 -3 3 8 ");
    CHECK_EQ(live_bytes, 0);
}

TEST(error_of_a_task_that_nobody_watches_is_told)
{
    static const coro_options options = {.clock = CORO_VIRTUAL, .on_error = see_error};
    static coro_loop loop;
    CHECK_EQ(coro_loop_init(&loop, &options), 0);
    (void)coro_spawn(&loop.root, worker, .rc = 5);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(seen_error, 0);
    (void)coro_spawn(&loop.root, worker, .rc = -EPIPE);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(seen_error, -EPIPE);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}
