/* test_group.c -- task groups: how they end, with what result, and whom they cancel. */
#include "coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the world ------------------------------------------------------------------------------
 * Time is virtual and begins at 0. All memory is counted, and must be back when a loop has ended.
 */

static size_t allocated;        /* bytes in use */
static long allocations_left = -1; /* until they fail; < 0: they do not */
static int unseen;              /* calls of on_error */

static void *take(void *arg, size_t size)
{
    (void)arg;
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    allocated += size;
    return malloc(size);
}

static void give(void *arg, void *memory, size_t size)
{
    (void)arg;
    allocated -= size;
    free(memory);
}

static void hook(void *arg, coro_task *task, int error)
{
    (void)arg;
    (void)task;
    (void)error;
    unseen++;
}

static int ended(int rc)
{
    CHECK_EQ(allocated, 0);
    return rc;
}

static const coro_options world = {
    .allocator = {take, give, NULL}, .clock = CORO_VIRTUAL, .on_error = hook};

#define RUN(...) ended(coro_run_with(&world, __VA_ARGS__))

/* What has happened, in words: "a b A b!". */
static char trace[1024];

static void say(const char *what)
{
    size_t used = strlen(trace);
    snprintf(trace + used, sizeof trace - used, "%s%s", used ? " " : "", what);
}

static void say_name(char name, const char *more)
{
    char text[8];
    snprintf(text, sizeof text, "%c%s", name, more);
    say(text);
}

static int ms(coro_task *co)
{
    return (int)(coro_now(co) / CORO_MS(1));
}

static void sound(coro_task *co)
{
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);
}

/* ---- actors --------------------------------------------------------------------------------- */

/* A child that sleeps. In the trace "a" begins, "A" ends by itself, "a!" was cancelled, "a." has
 * cleaned up after that. */
struct kid {
    CORO_FRAME;
    char name;
    coro_time after;    /* how long it sleeps */
    int result;         /* what it ends with then */
    int when_cut;       /* what it ends with when it is cancelled; 0: passes that on */
    coro_time cleanup;  /* and how long it takes for it */
    int rc;
    coro_scope shield;
};

CORO(kid)
{
    CORO_BEGIN();
    say_name(my->name, "");
    CORO_AWAIT(my->rc, coro_sleep(co, my->after));
    if (my->rc == 0) {
        say_name((char)(my->name - 'a' + 'A'), "");
        my->rc = my->result;
        CORO_LEAVE();
    }
    say_name(my->name, "!");
    if (my->when_cut)
        my->rc = my->when_cut;
    if (my->cleanup) {
        coro_shield_open(co, &my->shield, CORO_FOREVER);
        CORO_IGNORE(coro_sleep(co, my->cleanup));
        (void)coro_scope_close(co, &my->shield, 0);
        say_name(my->name, ".");
    }
    CORO_END(my->rc);
}

/* Cancels something after a while. */
struct canceller {
    CORO_FRAME;
    coro_time after;
    coro_scope *scope;
    coro_group *group;
    int again;          /* how many times more */
};

CORO(canceller)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, my->after));
        if (my->scope)
            (void)coro_scope_cancel(my->scope);
        if (my->group)
            (void)coro_group_cancel(my->group);
        if (my->again-- <= 0)
            CORO_LEAVE();
    }
    CORO_END(0);
}

/* BLOCK -- a main coroutine, with what most of them need. */
#define BLOCK(name)                                                                     \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g, in, helpers;                                                      \
        coro_scope scope;                                                               \
        int rc, i, got;                                                                 \
        uint64_t steps;                                                                 \
        CORO_TASK(kid) kid[6];                                                          \
        CORO_TASK(canceller) canceller;                                                 \
    };                                                                                  \
    CORO(name)

#define KID(n, ...) coro_start(&my->g, &my->kid[n], kid, __VA_ARGS__)

/* ---- ending --------------------------------------------------------------------------------- */

BLOCK(waits_for_cleanup)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(9), .cleanup = CORO_MS(5));
    KID(2, .name = 'c', .after = CORO_MS(9), .cleanup = CORO_MS(3));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    say("closed");
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(ms(co), 6);
    CHECK_EQ(my->g.alive, 0);
    CHECK_EQ(my->g.cancelled, 2);
    sound(co);
    CORO_TRY(coro_sleep(co, CORO_MS(20)));
    CORO_END(0);
}

TEST(a_group_ends_only_after_cancelled_children_have_cleaned_up) /* G01, G02 */
{
    CHECK_EQ(RUN(waits_for_cleanup), 0);
    CHECK_STR(trace, "a b c A b! c! c. b. closed");
}

BLOCK(body_ends_first)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(2), .result = 3);
    KID(1, .name = 'b', .after = CORO_MS(4), .result = 4);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 8));
    CHECK_EQ(my->rc, 8);
    CHECK_EQ(ms(co), 4);
    CHECK_EQ(my->g.failed + my->g.cancelled, 0);
    CHECK(!coro_scope_cancelled(&my->g.scope));
    CORO_END(0);
}

TEST(a_body_that_ends_leaves_the_children_running) /* G23 */
{
    CHECK_EQ(RUN(body_ends_first), 0);
    CHECK_STR(trace, "a b A B");
}

BLOCK(nobody)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    my->steps = coro_stats(coro_loop_of(co)).spawned;
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 4));
    CHECK_EQ(my->rc, 4);
    CHECK_EQ(my->g.started, 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    coro_group_open(co, &my->g, CORO_RACE);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 2));
    CHECK_EQ(my->rc, 2);
    CHECK_EQ(my->g.winner, -1);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CORO_END(0);
}

TEST(an_empty_group_ends_at_once_even_when_cancelled) /* G24 */
{
    CHECK_EQ(RUN(nobody), 0);
}

BLOCK(results_after)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'a', .after = CORO_MS(3), .result = 30);
    KID(1, .name = 'b', .after = CORO_MS(1), .result = -EIO);
    KID(2, .name = 'c', .after = CORO_MS(9));
    KID(3, .name = 'd', .after = CORO_MS(9), .when_cut = 11);
    CHECK_EQ(coro_task_result(&my->kid[0]), -EINPROGRESS);
    CORO_TRY(coro_sleep(co, CORO_MS(4)));
    CHECK_EQ(coro_task_cancel(&my->kid[2]), 1);
    CHECK_EQ(coro_task_cancel(&my->kid[3]), 1);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_task_result(&my->kid[0]), 30);
    CHECK_EQ(coro_task_result(&my->kid[1]), -EIO);
    CHECK_EQ(coro_task_result(&my->kid[2]), -ECANCELED);
    CHECK_EQ(coro_task_result(&my->kid[3]), 11);
    CHECK_EQ(coro_task_result(&my->kid[4]), -EINVAL);
    CHECK_EQ(coro_task_status(&my->kid[0]), CORO_OK);
    CHECK_EQ(coro_task_status(&my->kid[1]), CORO_FAILED);
    CHECK_EQ(coro_task_status(&my->kid[2]), CORO_CANCELLED);
    CHECK_EQ(coro_task_status(&my->kid[3]), CORO_OK);
    CHECK_EQ(coro_task_status(&my->kid[4]), CORO_UNSTARTED);
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[0]));
    CHECK_EQ(my->rc, 30);
    CORO_END(0);
}

TEST(results_of_children_are_readable_after_the_group) /* G27 */
{
    CHECK_EQ(RUN(results_after), 0);
}

/* ---- failures ------------------------------------------------------------------------------- */

BLOCK(child_fails)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    KID(1, .name = 'b', .after = CORO_MS(2), .result = -EIO);
    KID(2, .name = 'c', .after = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_S(1)));
    say("body!");
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(ms(co), 2);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(ms(co), 2);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(my->g.first, -EIO);
    CHECK_EQ(my->g.errors[0].index, 1);
    CHECK_EQ(my->g.errors[0].error, -EIO);
    CHECK_STR(my->g.errors[0].info->name, "kid");
    CORO_END(0);
}

TEST(the_first_child_that_fails_cancels_siblings_and_body) /* G03 */
{
    CHECK_EQ(RUN(child_fails), 0);
    CHECK_STR(trace, "a b c B a! c! body!");
}

BLOCK(body_fails_early)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    KID(1, .name = 'b', .after = CORO_MS(9));
    CORO_FAIL(-EBADF);
CORO_FINALLY:
    say("finally");
    CHECK_EQ(CORO_ERR, -EBADF);
    CORO_CLOSE(&my->g);
    CHECK_EQ(CORO_ERR, -EBADF);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK(!my->g.errors[0].info);
    CHECK_EQ(my->g.errors[0].error, -EBADF);
    CORO_END(0);
}

TEST(a_body_that_fails_early_cancels_children_which_still_make_their_first_step) /* G04 */
{
    CHECK_EQ(RUN(body_fails_early), -EBADF);
    CHECK_STR(trace, "finally a b a! b!");
}

BLOCK(body_and_child_fail)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9), .when_cut = -EPIPE);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EBADF));
    CHECK_EQ(my->rc, -EBADF);
    CHECK_EQ(my->g.failed, 2);
    CHECK(!my->g.errors[0].info);
    CHECK_EQ(my->g.errors[0].error, -EBADF);
    CHECK(my->g.errors[1].info != NULL);
    CHECK_EQ(my->g.errors[1].index, 0);
    CHECK_EQ(my->g.errors[1].error, -EPIPE);

    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'b', .after = CORO_MS(1), .result = -EPIPE);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(9)));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EBADF));
    CHECK_EQ(my->rc, -EPIPE); /* the first in time */
    CHECK_EQ(my->g.failed, 2);
    CHECK_EQ(my->g.first, -EPIPE);
    CHECK_EQ(my->g.errors[0].error, -EPIPE);
    CHECK(!my->g.errors[1].info);
    CHECK_EQ(my->g.errors[1].error, -EBADF);
    CORO_END(0);
}

TEST(failures_of_body_and_child_are_both_kept) /* G05 */
{
    CHECK_EQ(RUN(body_and_child_fail), 0);
}

BLOCK(many_fail)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 6; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS(6 - my->i),
            .result = -100 - my->i);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.failed, 6);
    CHECK_EQ(my->g.started, 6);
    CHECK_EQ(my->g.first, -105);
    for (my->i = 0; my->i < CORO_GROUP_ERRORS && my->i < 6; my->i++) {
        CHECK_EQ(my->g.errors[my->i].index, 5 - my->i);
        CHECK_EQ(my->g.errors[my->i].error, -105 + my->i);
    }
    CORO_END(0);
}

TEST(failures_are_kept_in_order_of_time_up_to_a_bound_and_all_are_counted) /* G06, D8 */
{
    CHECK_EQ(RUN(many_fail), 0);
    CHECK_STR(trace, "a b c d e f F E D C B A");
}

BLOCK(fail_while_cut)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(9), .when_cut = -EPIPE, .cleanup = CORO_MS(3));
    KID(2, .name = 'c', .after = CORO_MS(9), .when_cut = -EBADF);
    KID(3, .name = 'd', .after = CORO_MS(9));
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -EIO);
    CHECK_EQ(my->g.failed, 3);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(my->g.errors[0].error, -EIO);
    CHECK_EQ(my->g.errors[1].error, -EBADF);
    CHECK_EQ(my->g.errors[1].index, 2);
    CHECK_EQ(my->g.errors[2].error, -EPIPE);
    CHECK_EQ(my->g.errors[2].index, 1);
    CORO_END(0);
}

TEST(errors_of_children_that_are_being_cancelled_are_kept) /* G07, G06 */
{
    CHECK_EQ(RUN(fail_while_cut), -EIO);
    CHECK_STR(trace, "a b c d A b! c! d! b.");
}

BLOCK(one_cancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    KID(1, .name = 'b', .after = CORO_MS(4));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_cancel(&my->kid[0]), 1);
    CHECK_EQ(coro_task_cancel(&my->kid[0]), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 5));
    CHECK_EQ(my->rc, 5);
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(coro_task_status(&my->kid[0]), CORO_CANCELLED);
    CHECK_EQ(coro_task_cancel(&my->kid[0]), 0);
    CORO_END(0);
}

TEST(a_child_cancelled_by_itself_fails_nothing) /* G08 */
{
    CHECK_EQ(RUN(one_cancelled), 0);
    CHECK_STR(trace, "a b a! B");
}

struct forger {
    CORO_FRAME;
};

CORO(forger)
{
    CORO_BEGIN();
    CORO_FAIL(-ECANCELED);
    CORO_END(0);
}

BLOCK(forged)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, forger);
    KID(0, .name = 'a', .after = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.first, -ECANCELED);
    CHECK(!coro_scope_caught(&my->g.scope) || my->g.cancelled == 1);
    CHECK(!coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
    CHECK_EQ(my->rc, 0);
    /* The same of a body. */
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'b', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -ECANCELED));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(my->g.failed, 1);
    CHECK(!my->g.errors[0].info);
    CORO_END(0);
}

TEST(an_ecanceled_of_one_who_was_not_cancelled_is_a_failure) /* L09, of a group's children */
{
    CHECK_EQ(RUN(forged), 0);
    CHECK_STR(trace, "a a! b b!");
}

BLOCK(works_after)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(9)));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, -EIO);
    CHECK(!coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 3);
    /* The same, without the body having met the cancellation. */
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'b', .result = -EIO);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EIO);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(my->rc, 0);
    sound(co);
    CORO_END(0);
}

TEST(the_cancellation_of_a_group_does_not_leak_out_of_it) /* G11 */
{
    CHECK_EQ(RUN(works_after), 0);
}

BLOCK(echo)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[0]));
    CHECK_EQ(my->rc, -EIO);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(my->g.failed, 2);
    CHECK_EQ(my->g.errors[0].index, 0);
    CHECK(my->g.errors[0].info != NULL);
    CHECK_EQ(my->g.errors[0].error, -EIO);
    CHECK(!my->g.errors[1].info);
    CHECK_EQ(my->g.errors[1].error, -EIO);
    CORO_END(0);
}

TEST(a_body_that_echoes_a_childs_error_can_be_told_from_the_child) /* G28 */
{
    CHECK_EQ(RUN(echo), 0);
}

BLOCK(supervisor)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(3), .result = 3);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_task_result(&my->kid[0]), -EIO);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 6));
    CHECK_EQ(my->rc, 6);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.first, -EIO);
    CHECK_EQ(coro_task_result(&my->kid[1]), 3);
    /* The body's failure, and the group's cancellation, end all. */
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'c', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EPIPE));
    CHECK_EQ(my->rc, -EPIPE);
    CHECK_EQ(my->g.cancelled, 1);
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'd', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    CHECK_EQ(coro_group_cancel(&my->g), 0);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.cancelled, 1);
    CORO_END(0);
}

TEST(a_collecting_group_survives_failures_of_children_but_not_its_bodys) /* G29 */
{
    CHECK_EQ(RUN(supervisor), 0);
    CHECK_STR(trace, "a b A B c c! d d!");
}

BLOCK(loser_fails)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_RACE);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(2), .result = 22);
    KID(2, .name = 'c', .after = CORO_MS(9), .when_cut = -EPIPE);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EBADF));
    /* The body's error cancelled all: there was no winner. */
    CHECK_EQ(my->rc, -EBADF);
    CHECK_EQ(my->g.winner, -1);
    coro_group_open(co, &my->g, CORO_RACE);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(2), .result = 22);
    KID(2, .name = 'c', .after = CORO_MS(9), .when_cut = -EPIPE);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 22);
    CHECK_EQ(my->g.winner, 1);
    CHECK_EQ(my->g.failed, 2);
    CHECK_EQ(my->g.first, -EIO);
    CHECK_EQ(my->g.errors[0].index, 0);
    CHECK_EQ(my->g.errors[1].index, 2);
    CHECK_EQ(my->g.errors[1].error, -EPIPE);
    CORO_END(0);
}

TEST(a_result_that_overrides_failures_leaves_them_readable) /* G33 */
{
    CHECK_EQ(RUN(loser_fails), 0);
    CHECK_STR(trace, "a b c a! b! c! a b c A B c!");
}

/* ---- cancellation --------------------------------------------------------------------------- */

BLOCK(from_outside)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->scope, CORO_MS(3));
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    KID(1, .name = 'b', .after = CORO_MS(9), .cleanup = CORO_MS(2));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(ms(co), 5);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(my->g.failed, 0);
    CHECK(!coro_scope_caught(&my->g.scope));
    CHECK(!coro_scope_cancelled(&my->g.scope));
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), -ETIMEDOUT);
    sound(co);
    CORO_END(0);
}

TEST(a_group_cancelled_from_outside_passes_it_to_all_and_on) /* G09 */
{
    CHECK_EQ(RUN(from_outside), 0);
    CHECK_STR(trace, "a b a! b! b.");
}

BLOCK(outside_and_error)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9), .when_cut = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EIO);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, -EIO), -EIO);
    CHECK(!coro_scope_caught(&my->scope));
    CORO_END(0);
}

TEST(a_real_error_beats_the_outer_cancellation_which_stays_in_force) /* G10 */
{
    CHECK_EQ(RUN(outside_and_error), 0);
    CHECK_STR(trace, "a b a! b!");
}

BLOCK(cancels_itself)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    say("cancelled");
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    say("never");
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -ECANCELED);
    CORO_CLOSE(&my->g);
    CHECK_EQ(CORO_ERR, 0);
    CHECK(coro_scope_caught(&my->g.scope));
    CHECK(coro_scope_cancelled(&my->g.scope));
    CHECK(!coro_scope_expired(&my->g.scope));
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(my->g.failed, 0);
    CORO_END(5);
}

TEST(a_group_that_is_cancelled_ends_without_an_error) /* G12 */
{
    CHECK_EQ(RUN(cancels_itself), 5);
    CHECK_STR(trace, "a cancelled a!");
}

BLOCK(cancelled_by_child)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    coro_start(&my->g, &my->canceller, canceller, .after = CORO_MS(1), .group = &my->g);
    KID(1, .name = 'b', .after = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 1);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(coro_task_result(&my->canceller), 0);
    CORO_END(0);
}

TEST(a_child_may_cancel_its_group) /* G12, C09 */
{
    CHECK_EQ(RUN(cancelled_by_child), 0);
    CHECK_STR(trace, "a b a! b!");
}

BLOCK(inside_then_outside)
{
    CORO_BEGIN();
    coro_group_open(co, &my->helpers, CORO_COLLECT);
    coro_start(&my->helpers, &my->canceller, canceller, .after = CORO_MS(4), .scope = &my->scope);
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9), .cleanup = CORO_MS(5));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(ms(co), 6);
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
    CHECK(coro_scope_caught(&my->scope));
CORO_FINALLY:
    CORO_CLOSE(&my->helpers);
    CORO_END(0);
}

TEST(a_cancellation_from_outside_comes_out_of_a_group_that_was_cancelled_before) /* G13 */
{
    CHECK_EQ(RUN(inside_then_outside), 0);
    CHECK_STR(trace, "a a! a.");
}

BLOCK(cancelled_before)
{
    CORO_BEGIN();
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    CHECK(!coro_cancelled(co));
    CORO_TRY(coro_sleep(co, 0));
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(coro_cancelled(co));
    KID(0, .name = 'a', .after = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK(!coro_cancelled(co));
    /* The close has cleared it. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(!coro_cancelled(co));
    KID(0, .name = 'b', .after = CORO_MS(1), .result = 4);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    /* Afterwards it changes nothing that was. */
    (void)coro_group_cancel(&my->g);
    CHECK_EQ(coro_task_result(&my->kid[0]), 4);
    CHECK_EQ(coro_task_status(&my->kid[0]), CORO_OK);
    CHECK_EQ(my->g.cancelled, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(0);
}

TEST(a_group_may_be_cancelled_before_it_is_opened_and_after_it_ended) /* G14, C19 */
{
    CHECK_EQ(RUN(cancelled_before), 0);
    CHECK_STR(trace, "a a! b B");
}

BLOCK(outer_child_fails)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'o', .after = CORO_MS(2), .result = -EIO);
    coro_group_open(co, &my->in, CORO_ALL);
    coro_start(&my->in, &my->kid[1], kid, .name = 'i', .after = CORO_MS(9));
    coro_start(&my->in, &my->kid[2], kid, .name = 'j', .after = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(my->in.failed, 0);
    CHECK_EQ(my->in.cancelled, 2);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(my->g.failed, 1);
    CHECK(!coro_cancelled(co));
    CORO_END(0);
}

TEST(a_failure_in_the_outer_group_cancels_the_inner_one_and_only_the_outer_reports) /* G19 */
{
    CHECK_EQ(RUN(outer_child_fails), 0);
    CHECK_STR(trace, "o i j O i! j!");
}

BLOCK(inner_child_fails)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'o', .after = CORO_MS(9));
    coro_group_open(co, &my->in, CORO_ALL);
    coro_start(&my->in, &my->kid[1], kid, .name = 'i', .after = CORO_MS(2), .result = -EIO);
    coro_start(&my->in, &my->kid[2], kid, .name = 'j', .after = CORO_MS(9));
    CORO_CLOSE(&my->in);
    say("never");
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -EIO);
    CHECK(!coro_cancelled(co));
    CHECK_EQ(my->g.alive, 1);
    CORO_CLOSE(&my->in); /* a no-op */
    CHECK_EQ(CORO_ERR, -EIO);
    CORO_CLOSE(&my->g);
    CHECK_EQ(CORO_ERR, -EIO);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 1);
    CORO_END(0);
}

TEST(a_failure_in_the_inner_group_goes_through_the_body_to_the_outer_one) /* G20 */
{
    CHECK_EQ(RUN(inner_child_fails), -EIO);
    CHECK_STR(trace, "o i j I j! o!");
}

BLOCK(both_fail)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 2; my->i++) { /* the outer child first, then the inner one */
        coro_group_open(co, &my->g, CORO_ALL);
        if (my->i == 0)
            KID(0, .name = 'o', .after = CORO_MS(2), .result = -EPIPE);
        coro_group_open(co, &my->in, CORO_ALL);
        coro_start(&my->in, &my->kid[1], kid, .name = 'i', .after = CORO_MS(2), .result = -EIO);
        if (my->i == 1)
            KID(0, .name = 'o', .after = CORO_MS(2), .result = -EPIPE);
        CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
        CHECK_EQ(my->rc, -EIO);
        CHECK_EQ(my->in.failed, 1);
        CORO_AWAIT(my->rc, coro_sleep(co, 0));
        CHECK_EQ(my->rc, -ECANCELED);
        CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
        CHECK_EQ(my->rc, -EPIPE);
        CHECK_EQ(my->g.failed, 1);
    }
    CORO_END(0);
}

TEST(inner_and_outer_group_that_fail_in_one_turn_both_report) /* G21 */
{
    CHECK_EQ(RUN(both_fail), 0);
    CHECK_STR(trace, "o i O I i o I O");
}

BLOCK(parks)
{
    CORO_BEGIN();
    coro_group_open(co, &my->helpers, CORO_COLLECT);
    coro_start(&my->helpers, &my->canceller, canceller, .after = CORO_MS(1), .scope = &my->scope,
               .group = &my->g, .again = 5);
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_S(1), .cleanup = CORO_MS(50));
    CORO_TRY(coro_sleep(co, 0));
    (void)coro_scope_cancel(&my->scope);
    my->steps = coro_stats(coro_loop_of(co)).steps;
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(ms(co), 50);
    CHECK(coro_stats(coro_loop_of(co)).steps - my->steps <= 14);
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->helpers);
    CORO_END(0);
}

TEST(closing_a_cancelled_group_parks_however_often_it_is_cancelled) /* G22 */
{
    CHECK_EQ(RUN(parks), 0);
    CHECK_STR(trace, "a a! a.");
}

BLOCK(in_order)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 5; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS(20 - 2 * my->i),
            .when_cut = -10 - my->i, .cleanup = CORO_MS(my->i % 2 ? 1 : 3));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_group_cancel(&my->g);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -11);
    CHECK_EQ(my->g.failed, 5);
    CHECK_EQ(my->g.errors[0].index, 1);
    CHECK_EQ(my->g.errors[1].index, 3);
    CHECK_EQ(my->g.errors[2].index, 0);
    CHECK_EQ(my->g.errors[3].index, 2);
    CORO_END(0);
}

TEST(children_are_cancelled_in_start_order_and_their_errors_kept_in_end_order) /* G32 */
{
    CHECK_EQ(RUN(in_order), 0);
    CHECK_STR(trace, "a b c d e a! b! c! d! e! b. d. a. c. e.");
}

BLOCK(own_deadline)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(4)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_deadline(co), CORO_MS(4));
    KID(0, .name = 'a', .after = CORO_MS(9), .cleanup = CORO_MS(2));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(ms(co), 6);
    CHECK(coro_scope_expired(&my->g.scope));
    CHECK(coro_scope_caught(&my->g.scope));
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    /* Set when it is open; the children are done in time. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(10)), 0);
    KID(0, .name = 'b', .after = CORO_MS(1));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 3));
    CHECK_EQ(my->rc, 3);
    CHECK(!coro_scope_expired(&my->g.scope));
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    sound(co);
    CORO_END(0);
}

TEST(a_groups_own_deadline_ends_it_with_etimedout) /* T13, of groups */
{
    CHECK_EQ(RUN(own_deadline), 0);
    CHECK_STR(trace, "a a! a. b B");
}

BLOCK(shielded_group)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    coro_scope_shield(&my->g.scope, true);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(!coro_cancelled(co));
    KID(0, .name = 'a', .after = CORO_MS(2), .result = 1);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 7));
    CHECK_EQ(my->rc, 7);
    CHECK_EQ(ms(co), 2);
    CHECK(coro_cancelled(co));
    /* Its own cancellation goes no further, however things stand outside. */
    coro_scope_shield(&my->g.scope, true);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'b', .after = CORO_MS(2));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_group_cancel(&my->g);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -ECANCELED));
    CHECK_EQ(my->rc, 0);
    /* The shield is gone with the close. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CORO_END(0);
}

TEST(a_shielded_group_ends_by_its_own_doing) /* C14, of groups */
{
    CHECK_EQ(RUN(shielded_group), 0);
    CHECK_STR(trace, "a A b b!");
}

/* ---- spawning ------------------------------------------------------------------------------- */

BLOCK(too_late)
{
    CORO_BEGIN();
    CHECK_EQ(KID(0, .name = 'a'), -ESHUTDOWN); /* never opened */
    CHECK_EQ(coro_task_status(&my->kid[0]), CORO_UNSTARTED);
    CHECK_EQ(coro_task_result(&my->kid[0]), -ESHUTDOWN);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(my->g.failed, 0);
    KID(1, .name = 'b', .result = 9);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_spawn(&my->g, kid, .name = 'c'), -ESHUTDOWN);
    CHECK_EQ(KID(2, .name = 'd'), -ESHUTDOWN);
    CHECK_EQ(coro_task_result(&my->kid[2]), -ESHUTDOWN);
    CHECK_EQ(my->g.failed, 2); /* and can be looked up */
    CHECK_EQ(coro_task_result(&my->kid[1]), 9);
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[2]));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    /* The storage may be used again. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(KID(2, .name = 'e', .result = 5), 0);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_task_result(&my->kid[2]), 5);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(0);
}

TEST(spawning_into_a_group_that_has_ended_is_refused_and_runs_nothing) /* G15 */
{
    CHECK_EQ(RUN(too_late), 0);
    CHECK_STR(trace, "b B e E");
}

static int heads;

struct hydra {
    CORO_FRAME;
    coro_group *g;
    int depth;
};

CORO(hydra)
{
    CORO_BEGIN();
    heads++;
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    if (my->depth > 0) {
        coro_spawn(my->g, hydra, .g = my->g, .depth = my->depth - 1);
        coro_spawn(my->g, hydra, .g = my->g, .depth = my->depth - 1);
    }
    CORO_END(0);
}

BLOCK(late_siblings)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, hydra, .g = &my->g, .depth = 5);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(heads, 63);
    CHECK_EQ(my->g.started, 63);
    CHECK_EQ(ms(co), 6);
    CORO_END(0);
}

TEST(children_may_spawn_siblings_while_the_group_is_being_closed) /* G16 */
{
    CHECK_EQ(RUN(late_siblings), 0);
}

BLOCK(stops_hydra)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, hydra, .g = &my->g, .depth = 1000000);
    KID(0, .name = 'a', .after = CORO_US(8500), .result = -EIO);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(heads, 511); /* 1 + 2 + ... + 256 */
    CHECK_EQ(my->g.cancelled, 256);
    CHECK_EQ(ms(co), 8);
    CORO_END(0);
}

TEST(one_failure_stops_children_that_spawn_for_ever) /* G18 */
{
    CHECK_EQ(RUN(stops_hydra), 0);
    CHECK_STR(trace, "a A");
}

BLOCK(born_cancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_group_cancel(&my->g);
    CHECK_EQ(KID(0, .name = 'a', .after = CORO_MS(1)), 0);
    CHECK_EQ(KID(1, .name = 'b', .after = 0), 0);
    CHECK_EQ(coro_spawn(&my->g, kid, .name = 'c'), 0);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.cancelled, 3);
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(ms(co), 0);
    CORO_END(0);
}

TEST(a_child_of_a_cancelled_group_is_born_cancelled_and_makes_its_first_step) /* G17 */
{
    CHECK_EQ(RUN(born_cancelled), 0);
    CHECK_STR(trace, "a b c a! b! c!");
}

BLOCK(open_twice)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_END(0);
}

BLOCK(left_open)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_END(0);
}

static void run_open_twice(void *arg)
{
    (void)arg;
    (void)RUN(open_twice);
}

static void run_left_open(void *arg)
{
    (void)arg;
    (void)RUN(left_open);
}

TEST(opening_an_open_group_traps) /* G25 */
{
    CHECK_TRAP(run_open_twice, NULL, "open already");
    CHECK_TRAP(run_open_twice, NULL, "test_group.c:");
    CHECK_TRAP(run_open_twice, NULL, "open_twice");
}

TEST(a_group_that_is_open_at_the_end_of_its_frame_traps) /* G31, R18 */
{
    CHECK_TRAP(run_left_open, NULL, "open at the end of its frame");
    CHECK_TRAP(run_left_open, NULL, "test_group.c:");
    CHECK_TRAP(run_left_open, NULL, "left_open");
}

BLOCK(never_opened)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 3));
    CHECK_EQ(my->rc, 3);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EIO));
    CHECK_EQ(my->rc, -EIO);
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 1));
    CHECK_EQ(my->rc, 1);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 2));
    CHECK_EQ(my->rc, 2);
    CORO_END(0);
}

TEST(closing_what_is_not_open_gives_what_it_was_told) /* G25, as design.md 3.3 has it */
{
    CHECK_EQ(RUN(never_opened), 0);
}

BLOCK(unopened_use)
{
    CORO_BEGIN();
    coro_spawn(&my->g, kid, .name = 'a');
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, -EIO));
    CHECK_EQ(my->rc, -EIO);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 1));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_CLOSE(&my->g);
    coro_spawn(&my->g, kid, .name = 'b');
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 1));
    CHECK_EQ(my->rc, 1); /* its result has been told before */
    CORO_END(0);
}

TEST(child_of_a_group_that_nobody_opened_is_not_lost_silently)
{
    CHECK_EQ(RUN(unopened_use), 0);
}

struct intruder {
    CORO_FRAME;
    coro_group *g;
    int rc;
};

CORO(intruder)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_group_close(co, my->g, 0));
    CORO_END(my->rc == -EPERM ? 1 : -EIO);
}

BLOCK(misnested)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(3), .result = 4);
    coro_group_open(co, &my->in, CORO_ALL);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EBUSY);
    coro_spawn(&my->in, intruder, .g = &my->in); /* a child of it may not, either */
    coro_spawn(&my->in, intruder, .g = &my->g);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->in.failed, 0);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_task_result(&my->kid[0]), 4);
    sound(co);
    CORO_END(0);
}

TEST(a_group_cannot_be_closed_before_an_inner_one_nor_by_another_task) /* G31, C22 */
{
    CHECK_EQ(RUN(misnested), 0);
    CHECK_STR(trace, "a A");
}

/* ---- released as they end ------------------------------------------------------------------- */

BLOCK(long_lived)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 10000; my->i++) {
        coro_spawn(&my->g, forger); /* to be cancelled, so that it is no failure */
        coro_spawn(&my->g, hydra);
        (void)coro_group_cancel(&my->g);
        if (my->i == 10)
            my->steps = coro_stats(coro_loop_of(co)).memory;
        CORO_IGNORE(coro_sleep(co, 0));
    }
    CHECK_EQ(coro_stats(coro_loop_of(co)).memory, my->steps);
    CHECK(my->g.alive <= 4);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.started, 20000);
    CHECK_EQ(my->g.cancelled, 20000);
    CORO_END(0);
}

static char said[4096];

static void keep(void *arg, const char *text)
{
    (void)arg;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s", text);
}

TEST(children_are_released_as_they_end) /* G26 */
{
    coro_options quiet = world; /* the body ignores its cancellation: that is reported */
    quiet.report.put = keep;
    CHECK_EQ(ended(coro_run_with(&quiet, long_lived)), 0);
    CHECK_CONTAINS(said, "ignores its cancellation");
}

BLOCK(no_memory)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    allocations_left = 0;
    my->rc = coro_spawn(&my->g, kid, .name = 'b');
    allocations_left = -1;
    CHECK_EQ(my->rc, -ENOMEM);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ENOMEM);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.errors[0].index, 1);
    CHECK_STR(my->g.errors[0].info->name, "kid");
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(my->g.started, 2);
    sound(co);
    /* A collecting group only counts it. */
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 6; my->i++)
        KID(my->i, .name = 'c', .after = CORO_MS(1), .result = 1);
    allocations_left = 0;
    for (my->i = 0; my->i < 99; my->i++)
        (void)coro_spawn(&my->g, hydra);
    allocations_left = -1;
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK(my->g.failed > 0);
    CHECK_EQ(my->g.failed + (uint32_t)heads, 99);
    CHECK_EQ(my->g.started, 105);
    CORO_END(0);
}

TEST(a_child_that_cannot_be_started_for_lack_of_memory_is_one_that_failed) /* L14, of groups */
{
    CHECK_EQ(RUN(no_memory), 0);
    CHECK_EQ(unseen, 0); /* the groups know: nobody else needs to */
}

/* ---- a group in other hands ----------------------------------------------------------------- */

BLOCK(next_times_out)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(5), .result = 2);
    KID(1, .name = 'b', .after = CORO_S(9));
    CORO_AWAIT(my->got, coro_within(co, CORO_MS(2), coro_group_next(co, &my->g, &my->i)));
    CHECK_EQ(my->got, -ETIMEDOUT);
    CHECK_EQ(ms(co), 2);
    CHECK_EQ(my->g.alive, 2);
    CORO_AWAIT(my->got, coro_within(co, CORO_MS(9), coro_group_next(co, &my->g, &my->i)));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 0);
    CHECK_EQ(ms(co), 5);
    CORO_AWAIT(my->got, coro_within(co, 0, coro_group_next(co, &my->g, &my->i)));
    CHECK_EQ(my->got, -ETIMEDOUT);
    CHECK_EQ(my->g.alive, 1);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->got)); /* closing cancels */
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(ms(co), 5);
    CORO_END(0);
}

TEST(waiting_for_a_group_with_a_deadline_leaves_its_children_running) /* G30 */
{
    CHECK_EQ(RUN(next_times_out), 0);
    CHECK_STR(trace, "a b A b!");
}

static const int color = 1;
static char red[] = "red", blue[] = "blue";

struct reader {
    CORO_FRAME;
};

CORO(reader)
{
    CORO_BEGIN();
    say((const char *)coro_context_get(co, &color));
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    say("late");
    CORO_END(0);
}

struct agent {
    CORO_FRAME;
    coro_group *g;
    coro_context node;
    coro_scope scope;
};

CORO(agent)
{
    CORO_BEGIN();
    coro_context_set(co, &my->node, &color, blue);
    coro_timeout_open(co, &my->scope, CORO_MS(1));
    coro_spawn(my->g, reader);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    CORO_END(0);
}

struct lender {
    CORO_FRAME;
    coro_group g, others;
    coro_context node;
    coro_scope scope;
    int rc;
};

CORO(lender)
{
    CORO_BEGIN();
    coro_group_open(co, &my->others, CORO_COLLECT);
    coro_context_set(co, &my->node, &color, red);
    coro_timeout_open(co, &my->scope, CORO_MS(3));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->others, agent, .g = &my->g);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(my->others.alive, 0); /* ended, with its scope, by a deadline */
    CHECK_EQ(my->others.failed, 1);
    CHECK_EQ(my->others.first, -ETIMEDOUT);
    CHECK_EQ(my->g.alive, 1);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(ms(co), 3); /* by the opener's scope */
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), -ETIMEDOUT);
CORO_FINALLY:
    CORO_CLOSE(&my->others);
    CORO_END(0);
}

TEST(another_task_may_spawn_into_a_group_whose_scopes_stay_the_openers) /* G34, C18 */
{
    CHECK_EQ(RUN(lender), 0);
    CHECK_STR(trace, "red");
}

struct producer {
    CORO_FRAME;
    char name;
    coro_group *g;
    coro_time life; /* of its child */
};

CORO(producer)
{
    CORO_BEGIN();
    CORO_TRY(coro_group_wait_room(co, my->g));
    CHECK(my->g->alive < my->g->limit);
    coro_spawn(my->g, kid, .name = my->name, .after = my->life);
    CORO_END(0);
}

struct bounded {
    CORO_FRAME;
    coro_group g, spawners;
    CORO_TASK(producer) p[5];
    int i, rc;
};

CORO(bounded)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_limit(&my->g, 2);
    coro_group_open(co, &my->spawners, CORO_ALL);
    for (my->i = 0; my->i < 5; my->i++)
        coro_start(&my->spawners, &my->p[my->i], producer, .name = (char)('a' + my->i),
                   .g = &my->g, .life = CORO_MS(10 - my->i));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->g.alive, 2);
    CHECK_EQ(coro_task_status(&my->p[1]), CORO_OK);
    CHECK_EQ(coro_task_status(&my->p[2]), CORO_RUNNING);
    CHECK_EQ(coro_task_cancel(&my->p[2]), 1); /* and its arguments are its own again */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_status(&my->p[2]), CORO_CANCELLED);
    CHECK_EQ(coro_task_status(&my->p[3]), CORO_RUNNING);
    sound(co);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->spawners, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->spawners.cancelled, 1);
    CHECK_EQ(ms(co), 10);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.started, 4);
    CORO_END(0);
}

TEST(a_bounded_group_lets_spawners_in_one_by_one_in_their_order) /* G35 */
{
    CHECK_EQ(RUN(bounded), 0);
    CHECK_STR(trace, "a b B d A e D E");
}

/* ---- result of a group: every line, in words ------------------------------------------------
 *
 * The first that applies:
 *   1  a race was won                           the winner's value
 *   2  the body failed                          CORO_ALL: the first error in time; else the body's
 *   3  a child failed, and not CORO_COLLECT     the first error
 *   4  the body's rc is -ECANCELED, or a child was cut by the group:
 *      4a  the outside is cancelled, no shield  -ECANCELED
 *      4b  the group's deadline was the cause   -ETIMEDOUT
 *      4c  else                                 max(rc, 0)
 *   5  else                                     rc
 */

enum { A, B, BODY, ACT, ACTORS };
enum act {
    NOTHING,
    CANCEL_GROUP,
    CANCEL_OUTSIDE,
    CANCEL_OUTSIDE_OF_SHIELD,
    EXPIRE,     /* the group's deadline */
    CANCEL_A,   /* the task, alone */
    ACTS
};

struct plan {
    coro_mode mode;
    enum act act;
    int at[ACTORS];     /* when each ends or acts: in ms */
    int result[3];      /* of A, B, the body, when not cancelled */
    int cut[3];         /* and when cancelled */
};

struct verdict {
    int rc;             /* what closing gave */
    int failed, cancelled, first, winner;
    int at;             /* when: in ms */
    int after;          /* what the next await outside gives */
};

struct part {
    CORO_FRAME;
    int at, result, cut;
    int rc;
};

CORO(part)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(my->at)));
    CORO_END(my->rc == 0 ? my->result : my->cut);
}

struct trial;
struct trial_actor {
    CORO_FRAME;
    struct trial *t;
};
CORO_DECLARE(trial_actor);

struct trial {
    CORO_FRAME;
    const struct plan *p;
    struct verdict v;
    coro_group helpers, g;
    coro_scope outer;
    coro_time start;
    int rc;
    bool over;
    CORO_TASK(part) kid[2];
    CORO_TASK(trial_actor) act;
};

CORO_DEFINE(trial_actor)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->t->p->at[ACT])));
    if (my->t->over)
        CORO_LEAVE();
    if (my->t->p->act == CANCEL_GROUP)
        (void)coro_group_cancel(&my->t->g);
    else if (my->t->p->act == CANCEL_A)
        (void)coro_task_cancel(&my->t->kid[A]);
    else if (my->t->p->act == CANCEL_OUTSIDE || my->t->p->act == CANCEL_OUTSIDE_OF_SHIELD)
        (void)coro_scope_cancel(&my->t->outer);
    CORO_END(0);
}

CORO(trial)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->helpers, CORO_COLLECT);
    if (my->p->act != NOTHING && my->p->act != EXPIRE)
        coro_start(&my->helpers, &my->act, trial_actor, .t = my);
    coro_scope_open(co, &my->outer);
    if (my->p->act == EXPIRE)
        (void)coro_scope_deadline(&my->g.scope, my->start + CORO_MS(my->p->at[ACT]));
    if (my->p->act == CANCEL_OUTSIDE_OF_SHIELD)
        coro_scope_shield(&my->g.scope, true);
    coro_group_open(co, &my->g, my->p->mode);
    for (my->rc = A; my->rc <= B; my->rc++)
        coro_start(&my->g, &my->kid[my->rc], part, .at = my->p->at[my->rc],
                   .result = my->p->result[my->rc], .cut = my->p->cut[my->rc]);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(my->p->at[BODY])));
    my->rc = my->rc == 0 ? my->p->result[BODY] : my->p->cut[BODY];
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    my->over = true;
    my->v.rc = my->rc;
    my->v.failed = (int)my->g.failed;
    my->v.cancelled = (int)my->g.cancelled;
    my->v.first = my->g.first;
    my->v.winner = my->g.winner;
    my->v.at = (int)((coro_now(co) - my->start) / CORO_MS(1));
    CORO_AWAIT(my->v.after, coro_sleep(co, 0));
    (void)coro_scope_close(co, &my->outer, 0);
CORO_FINALLY:
    (void)coro_group_cancel(&my->helpers);
    CORO_CLOSE(&my->helpers);
    CORO_END(0);
}

/* Runs plans one after the other: a loop for each would take longer than they do. */
struct trials {
    CORO_FRAME;
    const struct plan *p;
    struct verdict *v;
    struct trial t;
};

CORO(trials)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->t, trial, .p = my->p));
    *my->v = my->t.v;
    CORO_END(0);
}

static struct verdict judge(const struct plan *p)
{
    struct verdict v;
    memset(&v, 0, sizeof v);
    CHECK_EQ(RUN(trials, .p = p, .v = &v), 0);
    return v;
}

#define CUT (-ECANCELED)

/* A plan: mode, act; A, B, body and act at; their results; what A, B and body make of being cut. */
#define JUDGE(...)                                                                      \
    static const struct plan plan = {__VA_ARGS__};                                      \
    struct verdict v = judge(&plan)

TEST(line_1_a_race_that_was_won_gives_the_winners_value)
{
    JUDGE(CORO_RACE, NOTHING, {2, 1, 3, 9}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 8);
    CHECK_EQ(v.winner, B);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.failed, 0);
    CHECK_EQ(v.at, 1);
    CHECK_EQ(v.after, 0);
}

TEST(line_1_goes_before_a_childs_failure)
{
    JUDGE(CORO_RACE, NOTHING, {1, 2, 3, 9}, {-EIO, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 8);
    CHECK_EQ(v.winner, B);
    CHECK_EQ(v.failed, 1);
    CHECK_EQ(v.first, -EIO);
    CHECK_EQ(v.at, 2);
}

TEST(line_1_goes_before_the_bodys_failure_when_cut)
{
    JUDGE(CORO_RACE, NOTHING, {1, 2, 3, 9}, {0, 8, 5}, {CUT, CUT, -EIO});
    CHECK_EQ(v.rc, 0);
    CHECK_EQ(v.winner, A);
    CHECK_EQ(v.failed, 1);
}

TEST(line_1_a_contestant_may_win_although_the_body_has_failed)
{
    JUDGE(CORO_RACE, NOTHING, {2, 3, 1, 9}, {7, 8, -EIO}, {6, CUT, CUT});
    CHECK_EQ(v.rc, 6);
    CHECK_EQ(v.winner, A);
    CHECK_EQ(v.at, 1);
}

TEST(line_1_goes_before_a_cancellation_from_outside)
{
    JUDGE(CORO_RACE, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, 9, CUT});
    CHECK_EQ(v.rc, 9);
    CHECK_EQ(v.winner, B);
    CHECK_EQ(v.at, 1);
    CHECK_EQ(v.after, CUT);
}

TEST(line_1_goes_before_the_groups_deadline)
{
    JUDGE(CORO_RACE, EXPIRE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, 9, CUT});
    CHECK_EQ(v.rc, 9);
    CHECK_EQ(v.winner, B);
}

TEST(line_1_the_second_success_does_not_win)
{
    JUDGE(CORO_RACE, NOTHING, {1, 2, 3, 9}, {7, 8, 5}, {CUT, 8, 5});
    CHECK_EQ(v.rc, 7);
    CHECK_EQ(v.winner, A);
    CHECK_EQ(v.cancelled, 0);
}

TEST(line_2_all_a_body_that_fails_first_gives_its_error)
{
    JUDGE(CORO_ALL, NOTHING, {2, 3, 1, 9}, {7, 8, -EIO}, {CUT, -EPIPE, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.first, -EIO);
    CHECK_EQ(v.at, 1);
}

TEST(line_2_all_a_body_that_fails_second_gives_the_first_error)
{
    JUDGE(CORO_ALL, NOTHING, {1, 3, 2, 9}, {-EPIPE, 8, 5}, {CUT, CUT, -EIO});
    CHECK_EQ(v.rc, -EPIPE);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.first, -EPIPE);
}

TEST(line_2_collect_gives_the_bodys_error_though_a_child_failed_first)
{
    JUDGE(CORO_COLLECT, NOTHING, {1, 3, 2, 9}, {-EPIPE, 8, -EIO}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.first, -EPIPE);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.at, 2);
}

TEST(line_2_race_gives_the_bodys_error_though_a_child_failed_first)
{
    JUDGE(CORO_RACE, NOTHING, {1, 3, 2, 9}, {-EPIPE, 8, -EIO}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.first, -EPIPE);
    CHECK_EQ(v.winner, -1);
}

TEST(line_2_goes_before_a_cancellation_from_outside)
{
    JUDGE(CORO_ALL, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, -EIO});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.failed, 1);
    CHECK_EQ(v.cancelled, 2);
    CHECK_EQ(v.after, CUT);
}

TEST(line_2_goes_before_the_groups_deadline)
{
    JUDGE(CORO_COLLECT, EXPIRE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, -EIO});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.after, 0);
}

TEST(line_2_a_bodys_ecanceled_in_a_group_that_was_not_cancelled_is_its_failure)
{
    JUDGE(CORO_COLLECT, NOTHING, {2, 3, 1, 9}, {7, 8, CUT}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, CUT);
    CHECK_EQ(v.failed, 1);
    CHECK_EQ(v.first, CUT);
    CHECK_EQ(v.cancelled, 2);
    CHECK_EQ(v.after, 0);
}

TEST(line_2_a_bodys_ecanceled_behind_a_shield_is_its_failure)
{
    JUDGE(CORO_ALL, CANCEL_OUTSIDE_OF_SHIELD, {2, 3, 4, 1}, {7, 8, CUT}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, CUT);
    CHECK_EQ(v.failed, 1);
    CHECK_EQ(v.at, 4);
    CHECK_EQ(v.after, CUT);
}

TEST(line_3_all_gives_the_first_childs_error)
{
    JUDGE(CORO_ALL, NOTHING, {2, 3, 1, 9}, {-EIO, 8, 5}, {CUT, -EPIPE, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.at, 2);
}

TEST(line_3_race_gives_the_first_error_when_all_have_failed)
{
    JUDGE(CORO_RACE, NOTHING, {2, 1, 3, 9}, {-EIO, -EPIPE, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, -EPIPE);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.winner, -1);
    CHECK_EQ(v.at, 3);
}

TEST(line_3_collect_gives_the_bodys_value)
{
    JUDGE(CORO_COLLECT, NOTHING, {2, 1, 3, 9}, {-EIO, -EPIPE, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.failed, 2);
    CHECK_EQ(v.cancelled, 0);
}

TEST(line_3_goes_before_a_cancellation_from_outside)
{
    JUDGE(CORO_ALL, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, -EIO, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.after, CUT);
}

TEST(line_3_goes_before_the_groups_deadline)
{
    JUDGE(CORO_RACE, EXPIRE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, -EIO, CUT});
    CHECK_EQ(v.rc, -EIO);
}

TEST(line_3_a_child_cancelled_alone_may_fail)
{
    JUDGE(CORO_ALL, CANCEL_A, {2, 3, 4, 1}, {7, 8, 5}, {-EIO, CUT, CUT});
    CHECK_EQ(v.rc, -EIO);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.at, 1);
}

TEST(line_4a_cut_from_outside_is_ecanceled)
{
    JUDGE(CORO_ALL, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, CUT);
    CHECK_EQ(v.failed, 0);
    CHECK_EQ(v.cancelled, 2);
    CHECK_EQ(v.after, CUT);
}

TEST(line_4a_holds_when_only_the_body_was_cut)
{
    JUDGE(CORO_COLLECT, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {7, 8, CUT});
    CHECK_EQ(v.rc, CUT);
    CHECK_EQ(v.cancelled, 0);
}

TEST(line_4a_holds_when_only_a_child_was_cut)
{
    JUDGE(CORO_COLLECT, CANCEL_OUTSIDE, {1, 4, 2, 3}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, CUT);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.at, 3);
}

TEST(line_4a_does_not_hold_behind_a_shield)
{
    JUDGE(CORO_ALL, CANCEL_OUTSIDE_OF_SHIELD, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.at, 4);
    CHECK_EQ(v.cancelled, 0);
    CHECK_EQ(v.after, CUT);
}

TEST(line_4b_cut_by_the_groups_deadline_is_etimedout)
{
    JUDGE(CORO_ALL, EXPIRE, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, -ETIMEDOUT);
    CHECK_EQ(v.failed, 0);
    CHECK_EQ(v.cancelled, 2);
    CHECK_EQ(v.after, 0);
}

TEST(line_4b_holds_when_only_a_child_was_cut)
{
    JUDGE(CORO_COLLECT, EXPIRE, {1, 4, 2, 3}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, -ETIMEDOUT);
    CHECK_EQ(v.cancelled, 1);
}

TEST(line_4b_holds_when_only_the_body_was_cut)
{
    JUDGE(CORO_RACE, EXPIRE, {1, 2, 4, 3}, {-EIO, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 8); /* line 1: it had been won */
    static const struct plan lost = {CORO_COLLECT, EXPIRE, {1, 2, 4, 3}, {7, 8, 5}, {1, 1, CUT}};
    CHECK_EQ(judge(&lost).rc, -ETIMEDOUT);
}

TEST(line_4c_cut_by_coro_group_cancel_is_no_error)
{
    JUDGE(CORO_ALL, CANCEL_GROUP, {2, 3, 4, 1}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 0);
    CHECK_EQ(v.cancelled, 2);
    CHECK_EQ(v.after, 0);
}

TEST(line_4c_keeps_the_bodys_value)
{
    JUDGE(CORO_ALL, CANCEL_GROUP, {1, 4, 2, 3}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.cancelled, 1);
}

TEST(line_5_all_that_goes_well_gives_the_bodys_value)
{
    JUDGE(CORO_ALL, NOTHING, {1, 2, 3, 9}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.winner, -1);
    CHECK_EQ(v.failed + v.cancelled + v.first, 0);
    CHECK_EQ(v.at, 3);
    CHECK_EQ(v.after, 0);
}

TEST(line_5_a_child_ended_by_coro_task_cancel_is_not_cut)
{
    JUDGE(CORO_ALL, CANCEL_A, {4, 2, 3, 1}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.failed, 0);
    CHECK_EQ(v.cancelled, 1);
    CHECK_EQ(v.at, 3);
}

BLOCK(alone_then_late)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(3)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9));
    KID(1, .name = 'b', .after = CORO_MS(9), .when_cut = 8);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_task_cancel(&my->kid[0]);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 5));
    CHECK_EQ(my->rc, 5);
    CHECK_EQ(ms(co), 3);
    CHECK(coro_scope_expired(&my->g.scope));
    CHECK_EQ(my->g.cancelled, 1);
    CORO_END(0);
}

TEST(line_5_a_child_that_was_cancelled_alone_is_not_cut_by_what_comes_later)
{
    CHECK_EQ(RUN(alone_then_late), 0);
    CHECK_STR(trace, "a b a! b!");
}

TEST(line_5_who_swallows_a_cancellation_was_not_cut)
{
    JUDGE(CORO_COLLECT, CANCEL_OUTSIDE, {2, 3, 4, 1}, {7, 8, 5}, {7, 8, 5});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.cancelled, 0);
    CHECK_EQ(v.at, 1);
    CHECK_EQ(v.after, CUT);
    static const struct plan late = {CORO_ALL, EXPIRE, {2, 3, 4, 1}, {7, 8, 5}, {7, 8, 5}};
    CHECK_EQ(judge(&late).rc, 5); /* D12 */
}

TEST(line_5_a_deadline_that_comes_after_the_end_changes_nothing)
{
    JUDGE(CORO_ALL, EXPIRE, {1, 2, 3, 4}, {7, 8, 5}, {CUT, CUT, CUT});
    CHECK_EQ(v.rc, 5);
    CHECK_EQ(v.at, 3);
}

/* ---- result of a group: all orders ----------------------------------------------------------
 * The same rules as a model without tasks, and all plans with four moments in any order.
 */

struct model {
    const struct plan *p;
    struct verdict v;
    bool cancelled, expired; /* the group itself */
    bool outside;
    bool cut, body_failed;
    int won, body;
    bool told[3], over[3];
    int queue[3], queued;   /* those who were told, in that order */
};

static bool in_force(const struct model *m)
{
    return m->cancelled || (m->outside && m->p->act != CANCEL_OUTSIDE_OF_SHIELD);
}

static void tell(struct model *m, int who)
{
    if (m->told[who] || m->over[who])
        return;
    m->told[who] = true;
    m->queue[m->queued++] = who;
}

static void tell_all(struct model *m)
{
    int who;
    for (who = A; in_force(m) && who <= BODY; who++)
        tell(m, who);
}

static void fail(struct model *m, int error)
{
    m->v.failed++;
    if (!m->v.first)
        m->v.first = error;
    if (m->p->mode == CORO_ALL)
        m->cancelled = true;
}

static void finish(struct model *m, int who, int rc)
{
    m->over[who] = true;
    if (who == BODY) {
        m->body = rc;
        m->body_failed = rc < 0 && !(rc == CUT && in_force(m));
        if (m->body_failed)
            fail(m, rc);
        if (rc < 0)
            m->cancelled = true;
    } else if (rc == CUT && m->told[who]) {
        m->v.cancelled++;
        m->cut = m->cut || in_force(m);
    } else if (rc < 0) {
        fail(m, rc);
    } else if (m->p->mode == CORO_RACE && m->v.winner < 0) {
        m->v.winner = who;
        m->won = rc;
        m->cancelled = true;
    }
    tell_all(m);
}

static void act(struct model *m)
{
    enum act a = m->p->act;
    if (a == CANCEL_A)
        tell(m, A);
    if (a == EXPIRE && !m->cancelled)
        m->expired = true;
    if (a == EXPIRE || a == CANCEL_GROUP)
        m->cancelled = true;
    if (a == CANCEL_OUTSIDE || a == CANCEL_OUTSIDE_OF_SHIELD)
        m->outside = true;
    tell_all(m);
}

static int lines(const struct model *m)
{
    if (m->p->mode == CORO_RACE && m->v.winner >= 0)
        return m->won;
    if (m->body_failed)
        return m->p->mode == CORO_ALL ? m->v.first : m->body;
    if (m->v.failed && m->p->mode != CORO_COLLECT)
        return m->v.first;
    if (m->body != CUT && !m->cut)
        return m->body;
    if (m->outside && m->p->act != CANCEL_OUTSIDE_OF_SHIELD)
        return CUT;
    if (m->expired)
        return -ETIMEDOUT;
    return m->body > 0 ? m->body : 0;
}

static struct verdict expect(const struct plan *p)
{
    struct model m;
    int next, who;
    memset(&m, 0, sizeof m);
    m.p = p;
    m.v.winner = -1;
    for (m.v.at = 1; m.v.at <= ACTORS; m.v.at++) {
        for (who = A; who <= BODY; who++)
            if (p->at[who] == m.v.at && !m.over[who])
                finish(&m, who, p->result[who]);
        if (p->at[ACT] == m.v.at)
            act(&m);
        for (next = 0; next < m.queued; next++) /* which may grow */
            if (!m.over[m.queue[next]])
                finish(&m, m.queue[next], p->cut[m.queue[next]]);
        if (m.over[A] && m.over[B] && m.over[BODY])
            break;
    }
    m.v.rc = lines(&m);
    m.v.after = m.outside ? CUT : 0;
    return m.v;
}

static bool same(const struct verdict *a, const struct verdict *b)
{
    return a->rc == b->rc && a->failed == b->failed && a->cancelled == b->cancelled &&
           a->first == b->first && a->winner == b->winner && a->at == b->at &&
           a->after == b->after;
}

static void compare(const struct plan *p, const struct verdict *got)
{
    struct verdict want = expect(p);
    if (!same(got, &want))
        TEST_FAIL("{%d, %d, {%d, %d, %d, %d}, {%d, %d, %d}, {%d, %d, %d}}\n"
                  "got  rc %d, %d failed, %d cancelled, first %d, winner %d at %d, after %d\n"
                  "want rc %d, %d failed, %d cancelled, first %d, winner %d at %d, after %d",
                  (int)p->mode, (int)p->act, p->at[0], p->at[1], p->at[2], p->at[3], p->result[0],
                  p->result[1], p->result[2], p->cut[0], p->cut[1], p->cut[2], got->rc,
                  got->failed, got->cancelled, got->first, got->winner, got->at, got->after,
                  want.rc, want.failed, want.cancelled, want.first, want.winner, want.at,
                  want.after);
}

/* The n-th plan of a mode; false: there are no more. */
static bool make_plan(struct plan *p, coro_mode mode, int n)
{
    static const int results[3][2] = {{7, -EIO}, {8, -EBADF}, {5, -EPIPE}};
    static const int cuts[3][3] = {{CUT, 70, -ENOMEM}, {CUT, CUT, -EBUSY}, {CUT, 50, -ENOSPC}};
    int order[ACTORS] = {A, B, BODY, ACT}, i, pick;
    p->mode = mode;
    p->act = (enum act)(n % ACTS);
    n /= ACTS;
    for (i = 0; i < ACTORS; i++) {
        int left = ACTORS - i;
        pick = i + n % left;
        n /= left;
        p->at[order[pick]] = i + 1;
        order[pick] = order[i];
    }
    for (i = A; i <= BODY; i++, n /= 2)
        p->result[i] = results[i][n % 2];
    p->cut[A] = cuts[A][n % 3];
    n /= 3;
    p->cut[B] = cuts[B][1 + n % 2];
    n /= 2;
    p->cut[BODY] = cuts[BODY][n % 3];
    return n < 3;
}

struct sweep {
    CORO_FRAME;
    coro_mode mode;
    int n;
    struct plan p;
    struct trial t;
};

CORO(sweep)
{
    CORO_BEGIN();
    for (my->n = 0; make_plan(&my->p, my->mode, my->n); my->n++) {
        CORO_TRY(coro_call(co, &my->t, trial, .p = &my->p));
        compare(&my->p, &my->t.v);
    }
    CHECK_EQ(my->n, ACTS * 24 * 8 * 18);
    sound(co);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CORO_END(0);
}

TEST(a_group_that_wants_all_gives_the_right_result_in_all_orders)
{
    CHECK_EQ(RUN(sweep, .mode = CORO_ALL), 0);
}

TEST(a_group_that_collects_gives_the_right_result_in_all_orders)
{
    CHECK_EQ(RUN(sweep, .mode = CORO_COLLECT), 0);
}

TEST(a_group_that_races_gives_the_right_result_in_all_orders)
{
    CHECK_EQ(RUN(sweep, .mode = CORO_RACE), 0);
}
