/* test_combine.c -- what groups are made to: gather, race, as completed, wait, limits, loops. */
#include "coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the world ------------------------------------------------------------------------------
 * Time is virtual and begins at 0. All memory is counted, and must be back when a loop has ended.
 */

static size_t allocated, most;  /* bytes in use, now and at the highest */
static bool out_of_memory;
static int unseen;              /* calls of on_error */
static int unseen_error;        /* the last one's */

static void *take(void *arg, size_t size)
{
    (void)arg;
    if (out_of_memory)
        return NULL;
    allocated += size;
    if (allocated > most)
        most = allocated;
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
    unseen++;
    unseen_error = error;
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

static void say_number(int n)
{
    char text[16];
    snprintf(text, sizeof text, "%d", n);
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

/* A child that sleeps. In the trace "a" begins, "A" ends by itself, "a!" was cancelled, "a." has
 * cleaned up after that. Without a name it says nothing. */
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
    if (my->name)
        say_name(my->name, "");
    CORO_AWAIT(my->rc, coro_sleep(co, my->after));
    if (my->rc == 0) {
        if (my->name)
            say_name((char)(my->name - 'a' + 'A'), "");
        my->rc = my->result;
        CORO_LEAVE();
    }
    if (my->name)
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

/* Cancels a scope after a while. */
struct canceller {
    CORO_FRAME;
    coro_time after;
    coro_scope *scope;
};

CORO(canceller)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->after));
    say("cancel");
    (void)coro_scope_cancel(my->scope);
    CORO_END(0);
}

/* Joins a task; ends with what it was told, so that its status tells, too. */
struct joiner {
    CORO_FRAME;
    coro_task *who;
    char name;
    int told;
};

CORO(joiner)
{
    CORO_BEGIN();
    CORO_AWAIT(my->told, coro_join(co, my->who));
    if (my->name)
        say_name(my->name, "");
    CORO_END(my->told);
}

/* BLOCK -- a main coroutine, with what most of them need. */
#define BLOCK(name)                                                                     \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g, in, helpers;                                                      \
        coro_scope scope;                                                               \
        int rc, i, n, got, slots[6];                                                    \
        coro_time start;                                                                \
        CORO_TASK(kid) kid[6];                                                          \
        CORO_TASK(joiner) join[3];                                                      \
        CORO_TASK(canceller) canceller;                                                 \
    };                                                                                  \
    CORO(name)

#define KID(n, ...) coro_start(&my->g, &my->kid[n], kid, __VA_ARGS__)

/* ---- gather --------------------------------------------------------------------------------- */

BLOCK(gather)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 5; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS((my->i * 3) % 5),
            .result = 100 + my->i);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    for (my->i = 0; my->i < 5; my->i++)
        CHECK_EQ(coro_task_result(&my->kid[my->i]), 100 + my->i);
    CHECK_EQ(ms(co), 4);
    CORO_END(0);
}

TEST(gather_has_results_by_position_whatever_the_order) /* R01 */
{
    CHECK_EQ(RUN(gather), 0);
    CHECK_STR(trace, "a b c d e A C E B D");
}

BLOCK(gather_nothing)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    my->i = 77;
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 0);
    CHECK_EQ(my->i, 77);
    (void)coro_group_cancel(&my->g);
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, -ECANCELED);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, -ESHUTDOWN);
    CHECK_EQ(my->i, 77);
    CORO_END(0);
}

TEST(the_next_of_an_empty_group_is_the_end_at_once) /* R02, R18 */
{
    CHECK_EQ(RUN(gather_nothing), 0);
}

BLOCK(gather_fails)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9), .cleanup = CORO_MS(4));
    KID(1, .name = 'b', .after = CORO_MS(3), .result = -EIO);
    KID(2, .name = 'c', .after = CORO_MS(3), .result = -EPIPE);
    KID(3, .name = 'd', .after = CORO_MS(1), .result = 1);
    KID(4, .name = 'e', .after = CORO_MS(9), .when_cut = -EBADF);
    CORO_CLOSE(&my->g);
    say("never");
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -EIO);
    CHECK_EQ(ms(co), 7);
    CHECK_EQ(my->g.failed, 3);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(my->g.errors[0].index, 1);
    CHECK_EQ(my->g.errors[1].index, 2); /* it was due in the same turn: its sleep had ended */
    CHECK_EQ(my->g.errors[1].error, -EPIPE);
    CHECK_EQ(my->g.errors[2].index, 4);
    CHECK_EQ(coro_task_result(&my->kid[3]), 1);
    CORO_END(0);
}

TEST(gather_with_a_failure_cancels_and_awaits_the_others_first) /* R03 */
{
    CHECK_EQ(RUN(gather_fails), -EIO);
    CHECK_STR(trace, "a b c d e D B C a! e! a.");
}

BLOCK(collect)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'a', .after = CORO_MS(3), .result = 1);
    KID(1, .name = 'b', .after = CORO_MS(1), .result = -EIO);
    KID(2, .name = 'c', .after = CORO_MS(9));
    KID(3, .name = 'd', .after = CORO_MS(4), .result = -EPIPE);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    (void)coro_task_cancel(&my->kid[2]);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 4);
    CHECK_EQ(coro_task_result(&my->kid[0]), 1);
    CHECK_EQ(coro_task_result(&my->kid[1]), -EIO);
    CHECK_EQ(coro_task_status(&my->kid[2]), CORO_CANCELLED);
    CHECK_EQ(coro_task_result(&my->kid[3]), -EPIPE);
    CORO_END(0);
}

TEST(collecting_gives_each_its_own_result_and_cancels_nothing) /* R04 */
{
    CHECK_EQ(RUN(collect), 0);
    CHECK_STR(trace, "a b c d B c! A D");
}

BLOCK(collect_cancelled)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->scope, CORO_MS(2));
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'a', .after = CORO_MS(9), .cleanup = CORO_MS(3));
    KID(1, .name = 'b', .after = CORO_MS(1), .result = -EIO);
    CORO_CLOSE(&my->g);
    say("never");
CORO_FINALLY:
    /* Leaving has closed the scope; the group had closed before. */
    CHECK_EQ(CORO_ERR, -ETIMEDOUT);
    CHECK_EQ(ms(co), 5);
    CHECK_EQ(my->g.alive, 0);
    CHECK_EQ(my->g.cancelled, 1);
    CORO_END(0);
}

TEST(collecting_reports_the_callers_own_cancellation) /* R05 */
{
    CHECK_EQ(RUN(collect_cancelled), -ETIMEDOUT);
    CHECK_STR(trace, "a b B a! a.");
}

BLOCK(cancelled_too_late)
{
    CORO_BEGIN();
    coro_group_open(co, &my->helpers, CORO_COLLECT);
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = 6);
    coro_start(&my->helpers, &my->canceller, canceller, .after = CORO_MS(1), .scope = &my->scope);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    say("closed");
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_task_result(&my->kid[0]), 6);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->helpers);
    CORO_END(0);
}

TEST(a_cancellation_after_the_last_child_does_not_take_the_results) /* R06, C04 */
{
    CHECK_EQ(RUN(cancelled_too_late), 0);
    CHECK_STR(trace, "a A cancel closed");
}

/* One handle in several places. */
struct twice {
    CORO_FRAME;
    coro_group g, in;
    coro_task *list[4];
    int results[4];
    int i, rc;
    CORO_TASK(kid) kid[2];
    CORO_TASK(joiner) join[3];
};

CORO(twice)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(2), .result = 20);
    KID(1, .name = 'b', .after = CORO_MS(1), .result = 10);
    coro_group_open(co, &my->in, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        coro_start(&my->in, &my->join[my->i], joiner, .who = &my->kid[0].task,
                   .name = (char)('x' + my->i));
    my->list[0] = my->list[2] = my->list[3] = &my->kid[0].task;
    my->list[1] = &my->kid[1].task;
    for (my->i = 0; my->i < 4; my->i++)
        CORO_TRY(my->results[my->i], coro_join(co, my->list[my->i]));
    CHECK_EQ(my->results[0], 20);
    CHECK_EQ(my->results[1], 10);
    CHECK_EQ(my->results[2], 20);
    CHECK_EQ(my->results[3], 20);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
    CHECK_EQ(my->rc, 0);
    for (my->i = 0; my->i < 3; my->i++)
        CHECK_EQ(coro_task_result(&my->join[my->i]), 20);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CORO_END(0);
}

TEST(one_task_may_be_waited_for_in_several_places) /* R07, L03, L05 */
{
    CHECK_EQ(RUN(twice), 0);
    CHECK_STR(trace, "a b B A x y z");
}

static CORO_TASK(kid) stranger;

BLOCK(other_loop)
{
    CORO_BEGIN();
    CHECK_EQ(coro_task_status(&stranger), CORO_RUNNING);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_join(co, &stranger)));
    CHECK_EQ(my->rc, -EINVAL);
    CHECK_EQ(ms(co), 0);
    CORO_END(0);
}

TEST(a_task_of_another_loop_cannot_be_joined) /* R08 */
{
    coro_loop loop;
    CHECK_EQ(coro_loop_init(&loop, &world), 0);
    CHECK_EQ(coro_start(&loop.root, &stranger, kid, .after = CORO_MS(1), .result = 3), 0);
    CHECK_EQ(coro_run_with(&world, other_loop), 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&stranger), 3);
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(ended(0), 0);
}

/* ---- race ----------------------------------------------------------------------------------- */

BLOCK(race)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_RACE);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(5), .cleanup = CORO_MS(2));
    KID(2, .name = 'c', .after = CORO_MS(3), .result = 33);
    CORO_TRY(my->got, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->got, 33);
    CHECK_EQ(my->g.winner, 2);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 1);
    CHECK_EQ(ms(co), 5); /* the loser's cleanup is awaited */
    CHECK(!coro_cancelled(co));
    CORO_TRY(coro_sleep(co, 0));

    coro_group_open(co, &my->g, CORO_RACE);
    for (my->i = 0; my->i < 3; my->i++)
        KID(my->i, .after = CORO_MS(3 - my->i), .result = -10 - my->i);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -12); /* the first in time; the others are kept */
    CHECK_EQ(my->g.failed, 3);
    CHECK_EQ(my->g.winner, -1);
    for (my->i = 0; my->i < 3; my->i++) {
        CHECK_EQ(my->g.errors[my->i].index, 2 - my->i);
        CHECK_EQ(coro_task_result(&my->kid[my->i]), -10 - my->i);
    }

    coro_group_open(co, &my->g, CORO_RACE);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.winner, -1); /* nobody ran */
    CORO_END(0);
}

TEST(a_race_has_the_first_success_or_all_failures_or_nobody) /* R09 */
{
    CHECK_EQ(RUN(race), 0);
    CHECK_STR(trace, "a b c A C b! b.");
}

BLOCK(dead_heat)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_RACE);
    for (my->i = 0; my->i < 3; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS(1), .result = 50 + my->i);
    CORO_TRY(my->got, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->got, 50);
    CHECK_EQ(my->g.winner, 0);
    /* The others' products can be found, to be disposed of. */
    for (my->i = my->n = 0; my->i < 3; my->i++)
        my->n += coro_task_status(&my->kid[my->i]) == CORO_OK && my->i != my->g.winner;
    CHECK_EQ(my->n, 2);
    CHECK_EQ(coro_task_result(&my->kid[1]), 51);
    CHECK_EQ(coro_task_result(&my->kid[2]), 52);
    CHECK_EQ(my->g.failed + my->g.cancelled, 0);
    CORO_END(0);
}

TEST(of_two_that_succeed_in_one_turn_one_wins_and_the_other_can_be_disposed_of) /* R10 */
{
    CHECK_EQ(RUN(dead_heat), 0);
    CHECK_STR(trace, "a b c A B C");
}

/* A staggered race, as for happy eyeballs: the next one starts when the last has failed, or after a
 * delay. */
struct stagger {
    CORO_FRAME;
    coro_time after[4];
    int results[4];
    coro_group g;
    int i, n, got;
    CORO_TASK(kid) kid[4];
};

CORO(stagger)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_RACE);
    while (my->n < 4) {
        KID(my->n, .name = (char)('a' + my->n), .after = my->after[my->n],
            .result = my->results[my->n]);
        my->n++;
        CORO_AWAIT(my->got, coro_within(co, CORO_MS(10), coro_group_next(co, &my->g, &my->i)));
        if (my->got == -ECANCELED)
            break; /* somebody has won */
        CHECK(my->got == -ETIMEDOUT || coro_task_status(&my->kid[my->i]) == CORO_FAILED);
    }
    CORO_TRY(my->got, coro_group_close(co, &my->g, 0));
    CORO_END(my->g.winner + 10);
}

static int run_stagger(const int *after, const int *results)
{
    struct stagger s;
    int i;
    memset(&s, 0, sizeof s);
    for (i = 0; i < 4; i++)
        s.after[i] = CORO_MS(after[i]);
    trace[0] = 0;
    return RUN(stagger, .after = {s.after[0], s.after[1], s.after[2], s.after[3]},
               .results = {results[0], results[1], results[2], results[3]});
}

TEST(a_staggered_race_starts_the_next_at_a_failure_or_after_the_delay) /* R11 */
{
    static const int slow[4] = {90, 90, 5, 90}, quick[4] = {3, 3, 3, 3}, first[4] = {4, 9, 9, 9};
    static const int good[4] = {0, 1, 2, 3}, bad[4] = {-EIO, -EPIPE, -EBADF, -EBUSY};
    static const int last[4] = {-EIO, -EPIPE, -EBADF, 3};
    CHECK_EQ(run_stagger(slow, good), 12);
    CHECK_STR(trace, "a b c C a! b!");
    CHECK_EQ(run_stagger(quick, last), 13);
    CHECK_STR(trace, "a A b B c C d D");
    CHECK_EQ(run_stagger(quick, bad), -EIO);
    CHECK_STR(trace, "a A b B c C d D");
    CHECK_EQ(run_stagger(first, good), 10);
    CHECK_STR(trace, "a A");
}

BLOCK(race_and_next)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_RACE);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(2), .result = 7);
    KID(2, .name = 'c', .after = CORO_MS(9));
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 0);
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, -ECANCELED); /* the winner cancels the body, too */
    CHECK_EQ(my->i, 0);
    sound(co);
    CORO_TRY(my->got, coro_group_close(co, &my->g, my->got));
    CHECK_EQ(my->got, 7);
    CORO_END(0);
}

TEST(who_waits_for_the_next_in_a_race_is_cancelled_by_the_winner) /* R09, R16 */
{
    CHECK_EQ(RUN(race_and_next), 0);
    CHECK_STR(trace, "a b c A B c!");
}

/* ---- wait ----------------------------------------------------------------------------------- */

BLOCK(wait_first)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .after = CORO_MS(2));
    KID(1, .after = CORO_MS(1));
    KID(2, .after = CORO_MS(1), .result = -EIO);
    KID(3, .after = CORO_MS(1));
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    while (my->got == 1) {
        CHECK(coro_task_status(&my->kid[my->i]) != CORO_RUNNING);
        my->slots[my->n++] = my->i;
        CORO_AWAIT(my->got, coro_within(co, 0, coro_group_next(co, &my->g, &my->i)));
    }
    CHECK_EQ(my->got, -ETIMEDOUT);
    CHECK_EQ(ms(co), 1);
    CHECK_EQ(my->n, 3);
    CHECK_EQ(my->slots[0], 1);
    CHECK_EQ(my->slots[1], 2);
    CHECK_EQ(my->slots[2], 3);
    CHECK_EQ(my->g.alive, 1);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(waiting_for_the_first_gives_all_that_are_done_by_then) /* R12 */
{
    CHECK_EQ(RUN(wait_first), 0);
}

BLOCK(wait_failure)
{
    CORO_BEGIN();
    for (my->n = 0; my->n < 2; my->n++) { /* with a failure, without one */
        coro_group_open(co, &my->g, CORO_COLLECT);
        KID(0, .after = CORO_MS(9));
        KID(1, .after = CORO_MS(1));
        KID(2, .after = CORO_MS(2), .result = my->n == 0 ? -EIO : 2);
        KID(3, .after = CORO_MS(3));
        (void)coro_task_cancel(&my->kid[3]);
        for (my->rc = 0;; my->rc++) {
            CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
            if (!my->got || coro_task_status(&my->kid[my->i]) == CORO_FAILED)
                break;
        }
        CHECK_EQ(my->got, my->n == 0 ? 1 : 0);
        CHECK_EQ(my->rc, my->n == 0 ? 2 : 4); /* looked at before */
        CHECK_EQ(my->g.alive, my->n == 0 ? 1 : 0);
        CORO_CLOSE(&my->g);
    }
    CORO_END(0);
}

TEST(waiting_for_the_first_failure_passes_over_the_cancelled) /* R13 */
{
    CHECK_EQ(RUN(wait_failure), 0);
}

BLOCK(wait_some_time)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1));
    KID(1, .name = 'b', .after = CORO_MS(8));
    coro_timeout_open(co, &my->scope, CORO_MS(4));
    for (;;) {
        CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
        if (my->got != 1)
            break;
        say_number(my->i);
    }
    CHECK_EQ(coro_scope_close(co, &my->scope, my->got), -ETIMEDOUT);
    CHECK_EQ(ms(co), 4);
    CHECK_EQ(my->g.alive, 1); /* the children are outside that scope: they run on */
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 8);
    CORO_END(0);
}

TEST(waiting_with_a_timeout_leaves_the_rest_running) /* R14 */
{
    CHECK_EQ(RUN(wait_some_time), 0);
    CHECK_STR(trace, "a b A 0 B");
}

BLOCK(wait_cancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(5), .result = 4);
    coro_group_open(co, &my->in, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        coro_start(&my->in, &my->join[my->i], joiner, .who = &my->kid[0].task,
                   .name = (char)('x' + my->i));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_cancel(&my->join[1]), 1);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_status(&my->join[1]), CORO_CANCELLED);
    CHECK_EQ(my->g.alive, 1);
    sound(co);
    CHECK_EQ(coro_task_cancel(&my->join[0]), 1); /* the first of those who wait */
    CORO_TRY(coro_sleep(co, 0));
    sound(co);
    CORO_AWAIT(my->got, coro_within(co, CORO_MS(1), coro_join(co, &my->kid[0])));
    CHECK_EQ(my->got, -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->in, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->in.cancelled, 2);
    CHECK_EQ(coro_task_result(&my->join[2]), 4);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 5);
    CORO_END(0);
}

TEST(a_cancelled_wait_leaves_its_target_and_the_other_waiters_alone) /* R15, L07 */
{
    CHECK_EQ(RUN(wait_cancelled), 0);
    CHECK_STR(trace, "a y x A z");
}

/* ---- as they complete ----------------------------------------------------------------------- */

BLOCK(as_completed)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 6; my->i++)
        KID(my->i, .after = CORO_MS(my->i % 2 ? 1 : 5 - my->i), .result = my->i);
    CORO_TRY(coro_sleep(co, CORO_MS(2))); /* some have ended before anybody asks */
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        CHECK_EQ(coro_task_result(&my->kid[my->i]), my->i);
        CHECK_EQ(coro_task_id(&my->kid[my->i]), my->i);
        say_number(my->i);
    }
    CHECK_EQ(ms(co), 5);
    CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i)); /* each once */
    CHECK_EQ(my->got, 0);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(as_completed_gives_each_child_once_in_the_order_of_their_ends) /* R16 */
{
    CHECK_EQ(RUN(as_completed), 0);
    CHECK_STR(trace, "1 3 4 5 2 0");
}

BLOCK(as_completed_in_time)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(6)), 0); /* of the whole iteration */
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 4; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS(2 + 3 * my->i));
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        say_number(my->i);
    }
    say("never");
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -ECANCELED);
    CORO_CLOSE(&my->g);
    CHECK_EQ(CORO_ERR, -ETIMEDOUT);
    CHECK_EQ(ms(co), 6);
    CHECK_EQ(my->g.cancelled, 2);
    CORO_END(0);
}

TEST(a_deadline_of_the_group_covers_the_whole_iteration) /* R16 */
{
    CHECK_EQ(RUN(as_completed_in_time), -ETIMEDOUT);
    CHECK_STR(trace, "a b c d A 0 B 1 c! d!");
}

BLOCK(leaves_early)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        KID(my->i, .name = (char)('a' + my->i), .after = CORO_MS(3 - my->i),
            .cleanup = CORO_MS(my->i + 1));
    CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 2);
    (void)coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    CHECK_EQ(ms(co), 3);
    CHECK_EQ(my->g.cancelled, 2);
    CORO_END(0);
}

TEST(leaving_the_iteration_early_cancels_and_awaits_the_rest) /* R17 */
{
    CHECK_EQ(RUN(leaves_early), 0);
    CHECK_STR(trace, "a b c C a! b! a. b.");
}

/* Takes what is done from a group that it has no part in. */
struct taker {
    CORO_FRAME;
    coro_group *g;
    char name;
    int i, got, n;
};

CORO(taker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_AWAIT(my->got, coro_group_next(co, my->g, &my->i));
        if (my->got == -ECANCELED)
            CORO_FAIL(-ECANCELED);
        if (my->got != 1)
            break; /* 0, or the group has been closed since */
        my->n++;
        say_name(my->name, "");
        say_number(my->i);
    }
    CHECK(my->got == 0 || my->got == -ESHUTDOWN);
    say_name(my->name, my->got ? "!" : ".");
    CORO_END(my->n);
}

struct taken {
    CORO_FRAME;
    coro_group g, takers;
    int i, rc, got;
    CORO_TASK(kid) kid[5];
    CORO_TASK(taker) taker[3];
};

CORO(taken)
{
    CORO_BEGIN();
    coro_group_open(co, &my->takers, CORO_ALL);
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 5; my->i++)
        KID(my->i, .after = CORO_MS(1 + my->i));
    for (my->i = 0; my->i < 3; my->i++)
        coro_start(&my->takers, &my->taker[my->i], taker, .g = &my->g,
                   .name = (char)('x' + my->i));
    CORO_TRY(coro_sleep(co, CORO_US(2500)));
    CHECK_EQ(coro_task_cancel(&my->taker[2]), 1); /* it is the first in the queue */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    sound(co);
    (void)coro_group_cancel(&my->g); /* abort all: they are told, too */
    CHECK_EQ(my->g.alive, 2);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.cancelled, 2);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->takers, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_task_status(&my->taker[2]), CORO_CANCELLED);
    CHECK_EQ(coro_task_result(&my->taker[0]) + coro_task_result(&my->taker[1]), 5);
    CORO_END(0);
}

TEST(several_tasks_may_take_what_a_group_completes_each_child_once) /* R18 */
{
    CHECK_EQ(RUN(taken), 0);
    CHECK_STR(trace, "x 0 y 1 x 2 y 3 y! x 4 x!");
}

BLOCK(started_again)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .result = 1);
    KID(1, .result = 2);
    KID(2, .after = CORO_MS(2), .result = 3);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->g.alive, 1);
    KID(0, .after = CORO_MS(4), .result = 4); /* nobody had been told of its first end */
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        say_number(my->i);
    }
    CHECK_EQ(coro_task_result(&my->kid[0]), 4);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 4);
    CORO_END(0);
}

TEST(storage_that_is_started_again_is_told_of_once) /* L13, R16 */
{
    CHECK_EQ(RUN(started_again), 0);
    CHECK_STR(trace, "1 2 3");
}

BLOCK(started_elsewhere)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 3; my->i++)
        KID(my->i, .result = my->i);
    CORO_CLOSE(&my->g); /* nobody was told of any end */
    coro_group_open(co, &my->in, CORO_ALL);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->in, &my->kid[1], kid, .after = CORO_MS(2), .result = 7);
    KID(0, .after = CORO_MS(4));
    KID(2, .after = CORO_MS(3));
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        say_number(my->i);
    }
    sound(co);
    CORO_CLOSE(&my->g);
    CORO_TRY(my->got, coro_group_next(co, &my->in, &my->i));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 0);
    CHECK_EQ(coro_task_result(&my->kid[1]), 7);
    CORO_CLOSE(&my->in);
    CHECK_EQ(ms(co), 4);
    CORO_END(0);
}

TEST(storage_may_be_started_again_in_another_group_when_its_own_was_closed) /* L13 */
{
    CHECK_EQ(RUN(started_elsewhere), 0);
    CHECK_STR(trace, "1 0");
}

BLOCK(anonymous)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, kid, .name = 'a', .after = CORO_MS(1));
    KID(0, .name = 'b', .after = CORO_MS(2));
    coro_spawn(&my->g, kid, .name = 'c', .after = CORO_MS(3));
    CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 1);
    CHECK_EQ(ms(co), 2);
    CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 0);
    CHECK_EQ(ms(co), 3); /* the spawned ones have no handle, but they are waited for */
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(the_end_of_the_iteration_is_the_end_of_all_children) /* R16 */
{
    CHECK_EQ(RUN(anonymous), 0);
    CHECK_STR(trace, "a b c A B C");
}

BLOCK(next_of_a_failing_group)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(1), .result = -EIO);
    KID(1, .name = 'b', .after = CORO_MS(9));
    CORO_AWAIT(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, -ECANCELED); /* the failure cancels the body as well */
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -EIO);
    CHECK_EQ(my->g.errors[0].index, 0); /* here it is told who it was */
    CORO_END(0);
}

TEST(in_a_group_that_wants_all_a_failure_ends_the_iteration) /* R03, R16 */
{
    CHECK_EQ(RUN(next_of_a_failing_group), -EIO);
    CHECK_STR(trace, "a b A b!");
}

/* ---- shield --------------------------------------------------------------------------------- */

BLOCK(shielded_task)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    KID(0, .name = 'a', .after = CORO_MS(5), .result = 9);
    coro_timeout_open(co, &my->scope, CORO_MS(1));
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[0]));
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), -ETIMEDOUT);
    CHECK_EQ(ms(co), 1);
    CHECK_EQ(coro_task_status(&my->kid[0]), CORO_RUNNING);
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[0]));
    CHECK_EQ(my->rc, 9);
    /* Cancelling the inner task is its outcome, not our cancellation. */
    KID(1, .name = 'b', .after = CORO_MS(5));
    coro_start(&my->g, &my->join[0], joiner, .who = &my->kid[1].task);
    CORO_TRY(coro_sleep(co, 0));
    (void)coro_task_cancel(&my->kid[1]);
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[1]));
    CHECK_EQ(my->rc, -ECHILD);
    CHECK(!coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_join(co, &my->kid[1]));
    CHECK_EQ(my->rc, -ECHILD);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(my->g.first, -ECHILD); /* the joiner's failure */
    CHECK_EQ(coro_task_status(&my->join[0]), CORO_FAILED);
    CORO_END(0);
}

TEST(a_task_survives_the_cancellation_of_who_waits_for_it_and_the_other_way_round) /* R27 */
{
    CHECK_EQ(RUN(shielded_task), 0);
    CHECK_STR(trace, "a A b b!");
}

BLOCK(shielded_gather)
{
    CORO_BEGIN();
    coro_group_open(co, &my->helpers, CORO_COLLECT);
    coro_start(&my->helpers, &my->canceller, canceller, .after = CORO_MS(1), .scope = &my->scope);
    coro_scope_open(co, &my->scope);
    coro_shield_open(co, &my->in.scope, CORO_MS(9)); /* any scope will do */
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(3), .result = 1);
    KID(1, .name = 'b', .after = CORO_MS(4), .result = 2);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 4);
    CHECK_EQ(coro_scope_close(co, &my->in.scope, my->rc), 0);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->helpers);
    CORO_END(0);
}

TEST(a_shielded_gather_ends_and_then_the_cancellation_is_met) /* R27 */
{
    CHECK_EQ(RUN(shielded_gather), 0);
    CHECK_STR(trace, "a b cancel A B");
}

static CORO_TASK(kid) background;

BLOCK(unread)
{
    CORO_BEGIN();
    coro_start(&coro_loop_of(co)->root, &background, kid, .after = CORO_MS(3), .result = -EIO);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_join(co, &background)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(unseen, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(5))); /* else the end of the main task would cancel it */
    CORO_END(0);
}

TEST(the_failure_of_a_background_task_whose_waiter_left_is_told_to_the_hook_once) /* R28 */
{
    CHECK_EQ(RUN(unread), 0);
    CHECK_EQ(unseen, 1);
    CHECK_EQ(unseen_error, -EIO);
}

BLOCK(was_read)
{
    CORO_BEGIN();
    coro_start(&coro_loop_of(co)->root, &background, kid, .after = CORO_MS(3), .result = -EIO);
    CORO_AWAIT(my->rc, coro_join(co, &background));
    CHECK_EQ(my->rc, -EIO);
    CORO_END(0);
}

TEST(the_failure_of_a_background_task_that_was_read_is_not_told_to_the_hook) /* R28 */
{
    CHECK_EQ(RUN(was_read), 0);
    CHECK_EQ(unseen, 0);
}

BLOCK(finished)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .result = 1);
    KID(1, .result = 2);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    KID(2, .name = 'c'); /* would run if we gave way */
    CORO_TRY(my->rc, coro_join(co, &my->kid[0]));
    CHECK_EQ(my->rc, 1);
    CORO_TRY(my->rc, coro_join(co, &my->kid[1]));
    CHECK_EQ(my->rc, 2);
    CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
    CHECK_EQ(my->got, 1);
    CHECK_EQ(my->i, 0);
    CORO_TRY(my->got, coro_within(co, 0, coro_group_next(co, &my->g, &my->i)));
    CHECK_EQ(my->i, 1);
    say("done");
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(waiting_for_what_has_ended_does_not_suspend) /* R29, L04 */
{
    CHECK_EQ(RUN(finished), 0);
    CHECK_STR(trace, "done c C");
}

/* ---- limits --------------------------------------------------------------------------------- */

static int high;                /* the most children at once */

struct worker {
    CORO_FRAME;
    coro_group *g;
    coro_time after;
};

CORO(worker)
{
    CORO_BEGIN();
    if ((int)my->g->alive > high)
        high = (int)my->g->alive;
    CORO_TRY(coro_sleep(co, my->after));
    CORO_END(0);
}

/* Waits for room, then starts a worker; or, being idle, does not. */
struct spawner {
    CORO_FRAME;
    coro_group *g;
    char name;
    bool idle;
    int turns;          /* first gives way so often */
    coro_time life;
    int rc;
};

CORO(spawner)
{
    CORO_BEGIN();
    while (my->turns-- > 0)
        CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_group_wait_room(co, my->g));
    if (my->name)
        say_name(my->name, my->rc ? "!" : "");
    if (my->rc == 0 && !my->idle)
        coro_spawn(my->g, worker, .g = my->g, .after = my->life);
    CORO_END(my->rc);
}

/* LIMITED -- a main coroutine with a limited group and others who spawn into it. */
#define LIMITED(name)                                                                   \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g, spawners;                                                         \
        int i, n, rc;                                                                   \
        CORO_TASK(spawner) s[6];                                                        \
        CORO_TASK(worker) w;                                                            \
    };                                                                                  \
    CORO(name)

#define SPAWNER(n, ...) coro_start(&my->spawners, &my->s[n], spawner, .g = &my->g, __VA_ARGS__)

LIMITED(limited)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 3);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->spawners, CORO_ALL);
    for (my->i = 0; my->i < 100; my->i++)
        coro_spawn(&my->spawners, spawner, .g = &my->g, .turns = my->i % 4,
                   .life = CORO_US(100 * (my->i % 3)));
    CORO_CLOSE(&my->spawners);
    for (my->i = 0; my->i < 50; my->i++) {
        CORO_TRY(coro_group_wait_room(co, &my->g));
        coro_spawn(&my->g, worker, .g = &my->g, .after = CORO_MS(my->i % 5));
    }
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 150);
    CHECK_EQ(high, 3);
    CORO_END(0);
}

static int run_limited(const coro_options *options)
{
    high = 0;
    return ended(coro_run_with(options, limited));
}

TEST(a_limit_is_never_exceeded) /* G35 */
{
    coro_options o = world;
    CHECK_EQ(run_limited(&o), 0);
    for (o.seed = 1; o.seed < 20; o.seed++)
        CHECK_EQ(run_limited(&o), 0);
    o.seed = 0;
    for (o.budget = 1; o.budget < 5; o.budget++)
        CHECK_EQ(run_limited(&o), 0);
}

LIMITED(taking_turns)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->spawners, CORO_ALL);
    for (my->i = 0; my->i < 5; my->i++)
        SPAWNER(my->i, .name = (char)('a' + my->i), .life = CORO_MS(2));
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_STR(trace, "a b");
    CHECK_EQ(coro_task_cancel(&my->s[2]), 1); /* loses its place, and nothing else */
    CORO_TRY(coro_sleep(co, 0));
    sound(co);
    CORO_CLOSE(&my->spawners);
    CORO_CLOSE(&my->g);
    CHECK_EQ(ms(co), 8);
    CHECK_EQ(my->g.started, 4);
    CORO_END(0);
}

TEST(those_who_wait_for_room_are_let_in_in_their_order) /* G35 */
{
    CHECK_EQ(RUN(taking_turns), 0);
    CHECK_STR(trace, "a b c! d e");
}

/* Works for a few turns, then tries for room without waiting. */
struct barger {
    CORO_FRAME;
    coro_group *g;
    int turns, rc;
};

static int barged;

CORO(barger)
{
    CORO_BEGIN();
    while (my->turns-- > 0)
        CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_group_wait_room(co, my->g)));
    barged += my->rc == 0;
    CORO_END(0);
}

LIMITED(crowd)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->spawners, CORO_ALL);
    coro_start(&my->g, &my->w, worker, .g = &my->g, .after = 0);
    SPAWNER(0, .life = CORO_MS(1));
    for (my->i = 0; my->i < 700; my->i++)
        coro_spawn(&my->spawners, barger, .g = &my->g, .turns = 1);
    CORO_CLOSE(&my->spawners);
    CHECK_EQ(my->s[0].frame.rc, 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 2);
    CHECK_EQ(barged, 0);
    CHECK_EQ(high, 1);
    CORO_END(0);
}

TEST(room_that_was_given_is_kept_until_its_owner_has_run_however_many_are_ready) /* G35 */
{
    CHECK_EQ(RUN(crowd), 0);
}

LIMITED(spent)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->spawners, CORO_ALL);
    SPAWNER(0, .life = CORO_MS(1));
    SPAWNER(1, .life = CORO_MS(1));
    CORO_CLOSE(&my->spawners);
    CORO_CLOSE(&my->g);
    CHECK_EQ(high, 1);
    CHECK_EQ(ms(co), 2);
    CORO_END(0);
}

TEST(room_that_was_given_is_kept_when_the_budget_makes_its_owner_wait) /* G35 */
{
    coro_options o = world;
    o.budget = 1; /* every await lets others run */
    CHECK_EQ(ended(coro_run_with(&o, spent)), 0);
}

LIMITED(unused)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, worker, .g = &my->g, .after = CORO_MS(2));
    coro_group_open(co, &my->spawners, CORO_ALL);
    SPAWNER(0, .name = 'a', .idle = true);
    SPAWNER(1, .name = 'b', .idle = true);
    SPAWNER(2, .name = 'c', .life = CORO_MS(3));
    SPAWNER(3, .name = 'd', .life = CORO_MS(3));
    CORO_CLOSE(&my->spawners);
    CHECK_EQ(ms(co), 5);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 3);
    CHECK_EQ(ms(co), 8);
    CHECK_EQ(high, 1);
    CORO_END(0);
}

TEST(room_that_is_not_used_goes_to_the_next) /* G35 */
{
    CHECK_EQ(RUN(unused), 0);
    CHECK_STR(trace, "a b c d");
}

LIMITED(raised)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_open(co, &my->spawners, CORO_ALL);
    for (my->i = 0; my->i < 6; my->i++)
        SPAWNER(my->i, .name = (char)('a' + my->i), .life = CORO_MS(4));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(trace, "a");
    coro_group_limit(&my->g, 3);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(trace, "a b c");
    CHECK_EQ(my->g.alive, 3);
    coro_group_limit(&my->g, 2); /* ends nobody */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->g.alive, 3);
    CORO_TRY(coro_sleep(co, CORO_US(1500)));
    CHECK_STR(trace, "a b c"); /* one of three has ended: there is still no room */
    coro_group_limit(&my->g, 0);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_STR(trace, "a b c d e f");
    CORO_CLOSE(&my->spawners);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 6);
    CORO_END(0);
}

TEST(raising_a_limit_lets_those_in_who_wait) /* G35 */
{
    CHECK_EQ(RUN(raised), 0);
}

LIMITED(closed_to_guests)
{
    CORO_BEGIN();
    coro_group_open(co, &my->spawners, CORO_COLLECT);
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, worker, .g = &my->g, .after = CORO_MS(2));
    SPAWNER(0, .name = 'a', .idle = true);
    SPAWNER(1, .name = 'b', .idle = true);
    SPAWNER(2, .name = 'c', .idle = true);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 2);
    SPAWNER(3, .name = 'd');
    CORO_AWAIT(my->rc, coro_group_close(co, &my->spawners, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 2);
    for (my->i = 0; my->i < 4; my->i++)
        CHECK_EQ(coro_task_result(&my->s[my->i]), -ESHUTDOWN);
    CORO_END(0);
}

TEST(those_who_wait_for_room_in_a_group_that_ends_are_told_so) /* G15, G35 */
{
    CHECK_EQ(RUN(closed_to_guests), 0);
    CHECK_STR(trace, "a! b! c! d!");
}

struct big {
    CORO_FRAME;
    char room[5000];
};

CORO(big)
{
    CORO_BEGIN();
    CORO_END(0);
}

struct big_spawner {
    CORO_FRAME;
    coro_group *g;
};

CORO(big_spawner)
{
    CORO_BEGIN();
    CORO_TRY(coro_group_wait_room(co, my->g));
    out_of_memory = true;
    CHECK_EQ(coro_spawn(my->g, big), -ENOMEM);
    out_of_memory = false;
    CORO_END(0);
}

LIMITED(room_but_no_memory)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 1);
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->w, worker, .g = &my->g, .after = CORO_MS(2));
    coro_group_open(co, &my->spawners, CORO_ALL);
    coro_spawn(&my->spawners, big_spawner, .g = &my->g);
    SPAWNER(0, .name = 'a', .life = CORO_MS(1));
    CORO_CLOSE(&my->spawners);
    CHECK_EQ(ms(co), 2);
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.first, -ENOMEM);
    CHECK_EQ(my->g.started, 3);
    CORO_END(0);
}

TEST(room_for_a_child_that_could_not_be_started_goes_to_the_next) /* G35, L14 */
{
    CHECK_EQ(RUN(room_but_no_memory), 0);
    CHECK_STR(trace, "a");
}

LIMITED(many)
{
    CORO_BEGIN();
    coro_group_limit(&my->g, 50);
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < 100000; my->i++) {
        CORO_TRY(coro_group_wait_room(co, &my->g));
        coro_spawn(&my->g, worker, .g = &my->g, .after = 0);
    }
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 100000);
    CHECK_EQ(coro_stats(coro_loop_of(co)).spawned, 100001);
    CHECK_EQ(high, 50);
    CORO_END(0);
}

TEST(a_hundred_thousand_short_children_run_in_bounded_memory) /* G26 */
{
    CHECK_EQ(RUN(many), 0);
    CHECK(most < 32768);
}

/* ---- loops, deadlines, trees ---------------------------------------------------------------- */

BLOCK(reopened)
{
    CORO_BEGIN();
    for (my->n = 0; my->n < 100; my->n++) {
        my->start = coro_now(co);
        coro_group_open(co, &my->g, my->n % 3 == 0 ? CORO_ALL : my->n % 3 == 1 ? CORO_COLLECT
                                                                              : CORO_RACE);
        CHECK_EQ(my->g.started + my->g.failed + my->g.cancelled, 0);
        CHECK_EQ(my->g.first, 0);
        CHECK_EQ(my->g.winner, -1);
        CHECK(!coro_cancelled(co));
        for (my->i = 0; my->i < 4; my->i++)
            KID(my->i, .after = CORO_MS(1 + my->i), .result = my->i == 1 ? -EIO : my->i);
        CHECK_EQ(coro_task_id(&my->kid[3]), 3);
        CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 5));
        CHECK_EQ(my->rc, my->n % 3 == 0 ? -EIO : my->n % 3 == 1 ? 5 : 0);
        CHECK_EQ(my->g.failed, my->n % 3 == 2 ? 0 : 1);
        CHECK_EQ(my->g.cancelled, my->n % 3 == 0 ? 2 : my->n % 3 == 1 ? 0 : 3);
        CHECK_EQ(coro_now(co) - my->start, CORO_MS(my->n % 3 == 0 ? 2 : my->n % 3 == 1 ? 4 : 1));
        if (my->n == 10)
            my->slots[0] = (int)allocated;
    }
    CHECK_EQ(my->slots[0], allocated);
    sound(co);
    CORO_END(0);
}

TEST(a_group_may_be_opened_again_and_again) /* design.md 5: closed groups may be opened again */
{
    CHECK_EQ(RUN(reopened), 0);
}

BLOCK(rounds)
{
    CORO_BEGIN();
    for (my->n = 0; my->n < 4; my->n++) {
        my->start = coro_now(co);
        CHECK_EQ(coro_scope_deadline(&my->g.scope, my->start + CORO_MS(3)), 0);
        coro_group_open(co, &my->g, CORO_ALL);
        KID(0, .after = CORO_MS(2), .result = 1);
        KID(1, .after = CORO_MS(my->n * 2), .result = 2);
        CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
        say_number(my->rc == -ETIMEDOUT ? 9 : my->rc);
        CHECK_EQ(coro_scope_expired(&my->g.scope), my->n >= 2);
        CHECK_EQ(coro_now(co) - my->start, CORO_MS(my->n >= 2 ? 3 : 2));
        CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    }
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CORO_END(0);
}

TEST(each_round_of_a_loop_may_have_its_deadline) /* T16, of groups */
{
    CHECK_EQ(RUN(rounds), 0);
    CHECK_STR(trace, "0 0 9 9");
}

BLOCK(moved)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(3)), 0);
    KID(0, .name = 'a', .after = CORO_MS(8));
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(6)), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_FOREVER), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(ms(co), 7);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(1)), 0); /* in the past: now */
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(20)), -EALREADY);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(ms(co), 7);
    /* Cancelled first, then late: that is no timeout. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(9)), 0);
    KID(0, .name = 'b', .after = CORO_MS(8), .cleanup = CORO_MS(5));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_group_cancel(&my->g);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(ms(co), 13);
    CHECK(!coro_scope_expired(&my->g.scope));
    /* Late first, then cancelled. */
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(14)), 0);
    KID(0, .name = 'c', .after = CORO_MS(8), .cleanup = CORO_MS(5));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(9)));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_group_cancel(&my->g), 0);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_END(0);
}

TEST(the_deadline_of_an_open_group_can_be_moved_and_the_first_cause_stays) /* T21, T16, T22 */
{
    CHECK_EQ(RUN(moved), 0);
    CHECK_STR(trace, "a a! b b! b. c c! c.");
}

BLOCK(both_late)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->scope, CORO_MS(5));
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(3)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = CORO_MS(9), .cleanup = CORO_MS(1));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* at 4: the inner one alone */
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CHECK_EQ(ms(co), 4);
    coro_timeout_open(co, &my->scope, CORO_MS(5));
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(7)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'b', .after = CORO_MS(9), .cleanup = CORO_MS(4));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(ms(co), 11);
    CHECK_EQ(my->rc, -ECANCELED); /* the outer one, too, by then */
    CHECK(coro_scope_expired(&my->g.scope));
    CHECK(!coro_scope_caught(&my->g.scope));
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), -ETIMEDOUT);
    CHECK(coro_scope_caught(&my->scope));
    CORO_END(0);
}

TEST(of_a_group_and_the_scope_around_it_the_outer_one_that_is_late_wins) /* T14, T15, D14 */
{
    CHECK_EQ(RUN(both_late), 0);
    CHECK_STR(trace, "a a! a. b b! b.");
}

/* A tree of tasks, each with a group of its own. */
static int leaves, nodes;

struct tree {
    CORO_FRAME;
    int depth;
    int result;         /* of the leftmost leaf */
    coro_group g;
};

CORO(tree)
{
    CORO_BEGIN();
    nodes++;
    coro_group_open(co, &my->g, CORO_ALL);
    if (my->depth > 0) {
        coro_spawn(&my->g, tree, .depth = my->depth - 1, .result = my->result);
        coro_spawn(&my->g, tree, .depth = my->depth - 1);
    } else {
        CORO_TRY(coro_sleep(co, my->result ? CORO_MS(3) : CORO_S(1)));
        leaves++;
        if (my->result)
            CORO_FAIL(my->result);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    nodes--;
    CORO_END(0);
}

BLOCK(forest)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, tree, .depth = 6);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(leaves, 64);
    CHECK_EQ(nodes, 0);
    CHECK_EQ(ms(co), 1000);
    /* One failure goes up to the root, and down into everything. */
    leaves = 0;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, tree, .depth = 6, .result = -EIO);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(nodes, 127);
    sound(co);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EIO);
    CHECK_EQ(leaves, 1);
    CHECK_EQ(nodes, 0);
    CHECK_EQ(ms(co), 1003);
    /* A deadline of the root does so, too. */
    CHECK_EQ(coro_scope_deadline(&my->g.scope, coro_now(co) + CORO_MS(2)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, tree, .depth = 6);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(leaves, 1);
    CHECK_EQ(nodes, 0);
    CHECK_EQ(ms(co), 1005);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1);
    CORO_END(0);
}

TEST(a_tree_of_groups_ends_well_or_altogether) /* C25, G20 */
{
    CHECK_EQ(RUN(forest), 0);
}

/* A crawler: what has been found starts more, as they complete, at most two at once. */
BLOCK(crawler)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->n = 0; my->n < 2; my->n++)
        KID(my->n, .after = CORO_MS(2 + my->n), .result = my->n);
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        say_number(my->i);
        for (my->rc = 0; my->rc < 6; my->rc++)
            if (coro_task_status(&my->kid[my->rc]) != CORO_RUNNING)
                break;
        if (my->n < 8) {
            KID(my->rc, .after = CORO_MS(3), .result = my->n);
            CHECK_EQ(coro_task_id(&my->kid[my->rc]), my->n);
            my->n++;
        }
        CHECK(my->g.alive <= 2);
    }
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, 8);
    CHECK_EQ(coro_task_status(&my->kid[2]), CORO_UNSTARTED);
    CORO_END(0);
}

TEST(children_may_be_started_while_others_are_taken_as_they_complete) /* R16, R18 */
{
    CHECK_EQ(RUN(crawler), 0);
    CHECK_STR(trace, "0 1 2 3 4 5 6 7");
}

/* A group in a function that is called under a deadline. */
struct fetch_all {
    CORO_FRAME;
    coro_time after;
    coro_group g;
    CORO_TASK(kid) kid[2];
};

CORO(fetch_all)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    KID(0, .name = 'a', .after = my->after, .result = 3);
    KID(1, .name = 'b', .after = CORO_MS(1), .result = 4);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(coro_task_result(&my->kid[0]) + coro_task_result(&my->kid[1]));
}

struct caller {
    CORO_FRAME;
    coro_scope limit;
    struct fetch_all call;
    int rc;
};

CORO(caller)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(5), &my->call, fetch_all,
                                        .after = CORO_MS(2)));
    CHECK_EQ(my->rc, 7);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(5), &my->call, fetch_all,
                                        .after = CORO_MS(9)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(ms(co), 7);
    CORO_AWAIT(my->rc, coro_call(co, &my->call, fetch_all, .after = CORO_MS(9)));
    CHECK_EQ(my->rc, 7);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CORO_END(0);
}

TEST(a_call_under_a_deadline_ends_the_group_in_it) /* T27 */
{
    CHECK_EQ(RUN(caller), 0);
    CHECK_STR(trace, "a b B A a b B a! a b B A");
}
