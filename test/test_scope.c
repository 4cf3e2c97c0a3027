/* test_scope.c -- cancellation: scopes, shields, how they nest, and what an await sees of them.
 *
 * The rules C01 to C40 of semantics.md, section 2, as far as they concern coro.h, and the decisions
 * 1, 2, 3, 6 and 7 of design.md, section 6. Deadlines have a file of their own: test_timer.c.
 */
#include "coro.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the stage ------------------------------------------------------------------------------ */

static char trace[4096];    /* what has happened, in order */
static char reported[4096]; /* what the loop had to say */
static int blocks;          /* of memory that the loop has */
static int cancel_events;   /* CORO_EVENT_CANCEL */

static void append(char *text, size_t size, const char *more)
{
    size_t used = strlen(text);
    if (used + strlen(more) >= size)
        TEST_FAIL("the trace is full: %s", text);
    memcpy(text + used, more, strlen(more) + 1);
}

static void note(const char *what)
{
    append(trace, sizeof trace, what);
    append(trace, sizeof trace, " ");
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

static void on_report(void *arg, const char *text)
{
    (void)arg;
    append(reported, sizeof reported, text);
}

static void on_event(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)task;
    cancel_events += event == CORO_EVENT_CANCEL;
}

static const coro_options *virtual_time(void)
{
    static coro_options o;
    o.clock = CORO_VIRTUAL;
    o.allocator.alloc = counted_alloc;
    o.allocator.free = counted_free;
    o.report.put = on_report;
    return &o;
}

static const coro_options *watched(void)
{
    static coro_options o;
    o = *virtual_time();
    o.on_event = on_event;
    return &o;
}

static int ran(int rc)
{
    CHECK_EQ(blocks, 0);
    return rc;
}

/* A run in which the loop has nothing to complain about. */
static int ran_quietly(int rc)
{
    CHECK_STR(reported, "");
    return ran(rc);
}

#define RUN(...) ran_quietly(coro_run_with(virtual_time(), __VA_ARGS__))

/* Nobody but this task is left, and nothing of it is open. */
static void check_alone(coro_task *co)
{
    coro_loop_stats stats = coro_stats(coro_loop_of(co));
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);
    CHECK_EQ(stats.tasks, 1);
    CHECK_EQ(stats.timers, 0);
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    CHECK(!coro_cancelled(co));
}

#define CHECK_SOUND(co) CHECK_STR(coro_verify(coro_loop_of(co)), NULL)

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
        coro_group g, h;                                                                          \
        CORO_TASK(sleeper) t[3];                                                                  \
        int rc, i;                                                                                \
        __VA_ARGS__                                                                               \
    };                                                                                            \
    CORO(name)
#define SCENE(name) SCENE_WITH(name, int nothing_else;)

/* A gate to pass: an operation as a user would write one. */
struct gate {
    coro_waitq queue; /* must be first */
    bool open;
    int passed; /* how many have */
    int asked;  /* how often somebody asked for an abort */
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

static coro_op pass(coro_task *co, struct gate *g)
{
    static const coro_ops ops = {"gate", NULL, NULL};
    return pass_with(co, g, &ops);
}

static coro_abort never(coro_task *task, coro_waitq *queue)
{
    (void)task;
    ((struct gate *)(void *)queue)->asked++;
    return CORO_ABORT_NEVER;
}

static coro_abort later(coro_task *task, coro_waitq *queue)
{
    (void)task;
    ((struct gate *)(void *)queue)->asked++;
    return CORO_ABORT_LATER;
}

static const coro_ops unabortable = {"unabortable gate", never, NULL};
static const coro_ops slow_to_abort = {"slow gate", later, NULL};

static void let_one_pass(struct gate *g)
{
    g->passed++;
    CHECK(coro_complete(g->queue.head, g->passed));
}

struct passer {
    CORO_FRAME;
    const char *name;
    struct gate *gate;
    const coro_ops *ops; /* null: the ordinary ones */
    coro_scope scope;    /* around it all */
    int rc;
};
CORO(passer)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    if (my->ops)
        CORO_AWAIT(my->rc, pass_with(co, my->gate, my->ops));
    else
        CORO_AWAIT(my->rc, pass(co, my->gate));
    note_rc(my->name, my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    note_rc(my->name, my->rc);
    CORO_END(my->rc);
}

/* ---- a cancelled scope is a state ----------------------------------------------------------- */

SCENE(level)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_cancel(&my->a), 1);
    for (my->i = 0; my->i < 5; my->i++) {
        EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
        EXPECT(coro_sleep(co, 0), -ECANCELED);
        EXPECT(coro_sleep(co, CORO_FOREVER), -ECANCELED);
        EXPECT(coro_sleep_until(co, 0), -ECANCELED);
        EXPECT(coro_sleep_until(co, CORO_S(9)), -ECANCELED);
        CHECK_SOUND(co);
    }
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_now(co), CORO_MS(2));
    check_alone(co);
    CORO_END(0);
}

TEST(every_await_in_a_cancelled_scope_fails_until_it_is_left) /* C01 */
{
    CHECK_EQ(RUN(level), 0);
}

struct stubborn {
    CORO_FRAME;
    int rounds, most;
    bool stop;
};
CORO(stubborn)
{
    CORO_BEGIN();
    for (my->rounds = 0; !my->stop && my->rounds < my->most; my->rounds++)
        CORO_IGNORE(coro_sleep(co, CORO_S(1)));
    CORO_END(my->rounds);
}

SCENE_WITH(starved, CORO_TASK(stubborn) s;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->s, stubborn, .most = 1000000);
    coro_task_cancel(&my->s);
    for (my->i = 0; my->i < 20; my->i++)
        EXPECT(coro_sleep(co, 0), 0);
    my->s.frame.stop = true;
    CHECK(my->s.frame.rounds >= 19 && my->s.frame.rounds <= 21);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_now(co), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_task_that_swallows_its_cancellation_takes_turns_with_the_others) /* C02, F14 */
{
    CHECK_EQ(RUN(starved), 0);
}

SCENE_WITH(starved_timer, CORO_TASK(stubborn) s;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    my->i = 0;
    coro_start(&my->g, &my->s, stubborn, .most = 3000);
    coro_task_cancel(&my->s);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->s), 3000);
    check_alone(co);
    CORO_END(0);
}

TEST(ignoring_a_cancellation_a_thousand_times_is_reported_once) /* decision 1 */
{
    const char *at;
    CHECK_EQ(ran(coro_run_with(virtual_time(), starved_timer)), 0);
    CHECK_CONTAINS(reported, "ignores its cancellation");
#if CORO_NAMES
    CHECK_CONTAINS(reported, "stubborn");
    CHECK_CONTAINS(reported, "test_scope.c:");
#endif /* CORO_NAMES */
    at = strstr(reported, "ignores");
    CHECK(strstr(at + 1, "ignores") == NULL);
}

SCENE(polling)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3000; my->i++) {
        coro_scope_open(co, &my->a);
        coro_scope_cancel(&my->a);
        EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
        CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
        EXPECT(coro_sleep(co, 0), 0); /* an await that does not fail: nothing is ignored */
    }
    check_alone(co);
    CORO_END(0);
}

TEST(many_cancellations_that_are_heeded_are_not_reported_as_ignored) /* decision 1 */
{
    CHECK_EQ(RUN(polling), 0);
}

/* ---- what has happened, and what has not ---------------------------------------------------- */

SCENE_WITH(refused, struct gate gate; int index;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "t", .d = CORO_MS(1));
    EXPECT(coro_sleep(co, CORO_MS(2)), 0);
    my->gate.open = true;
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    EXPECT(pass(co, &my->gate), -ECANCELED);
    CHECK_EQ(my->gate.passed, 0);
    EXPECT(coro_within(co, CORO_S(1), pass(co, &my->gate)), -ECANCELED);
    CHECK_EQ(my->gate.passed, 0);
    EXPECT(coro_join(co, &my->t[0]), -ECANCELED);
    EXPECT(coro_group_wait_room(co, &my->g), -ECANCELED);
    my->index = 77;
    EXPECT(coro_group_next(co, &my->g, &my->index), -ECANCELED);
    CHECK_EQ(my->index, 77);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    EXPECT(coro_group_next(co, &my->g, &my->index), 1); /* it is still there */
    CHECK_EQ(my->index, 0);
    EXPECT(pass(co, &my->gate), 1);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_operation_that_is_started_in_a_cancelled_scope_does_not_happen) /* C03 */
{
    CHECK_EQ(RUN(refused), 0);
    CHECK_STR(trace, "t:ok ");
}

SCENE_WITH(commit, struct gate gate; CORO_TASK(passer) p[2];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p[0], passer, .name = "a", .gate = &my->gate);
    coro_start(&my->g, &my->p[1], passer, .name = "b", .gate = &my->gate);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    let_one_pass(&my->gate); /* a has passed, and is told later */
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    CHECK(my->gate.queue.head == NULL);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, -ECANCELED), 0);
    CHECK_EQ(my->gate.passed, 1);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(my->g.failed, 0);
    check_alone(co);
    CORO_END(0);
}

TEST(what_was_complete_before_the_cancellation_is_delivered_and_the_next_await_fails) /* C04 */
{
    CHECK_EQ(RUN(commit), 0);
    CHECK_STR(trace, "a:1 b:canceled a:canceled b:canceled ");
}

SCENE(slept_enough)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "first", .d = CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_start(&my->g, &my->t[1], sleeper, .name = "second", .d = CORO_MS(4));
    EXPECT(coro_sleep(co, CORO_MS(3)), 0);
    EXPECT(coro_sleep_until(co, CORO_MS(5)), 0);
    CHECK_STR(trace, "first:ok second:ok ");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    trace[0] = 0;
    /* The same again, with the canceller in front: the sleeps are over when it runs. */
    coro_group_open(co, &my->g, CORO_ALL);
    EXPECT(coro_sleep(co, 0), 0);
    coro_start(&my->g, &my->t[0], sleeper, .name = "third", .d = CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    CHECK_EQ(coro_task_cancel(&my->t[0]), 1);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_OK);
    check_alone(co);
    CORO_END(0);
}

TEST(a_sleep_that_is_over_is_not_cancelled_afterwards) /* C04 */
{
    CHECK_EQ(RUN(slept_enough), 0);
    CHECK_STR(trace, "third:ok ");
}

struct eater {
    CORO_FRAME;
    struct gate *gate;
    int rc;
};
CORO(eater)
{
    CORO_BEGIN();
    for (;;) {
        CORO_AWAIT(my->rc, pass(co, my->gate));
        if (my->rc < 0)
            break;
        CHECK_EQ(my->rc, my->gate->passed);
    }
    note_rc("eater", my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(budget_spent, struct gate gate; CORO_TASK(eater) w;)
{
    CORO_BEGIN();
    my->gate.open = true;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, eater, .gate = &my->gate);
    EXPECT(coro_sleep(co, 0), 0);
    CHECK_EQ(my->gate.passed, CORO_BUDGET); /* it has given way, with a result in hand */
    coro_task_cancel(&my->w);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(my->gate.passed, CORO_BUDGET);
    check_alone(co);
    CORO_END(0);
}

TEST(a_result_is_kept_when_the_budget_makes_its_task_give_way_and_it_is_cancelled_then) /* C04 */
{
    CHECK_EQ(RUN(budget_spent), 0);
    CHECK_STR(trace, "eater:canceled ");
}

SCENE(turn_cancelled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "turn", .d = 0);
    EXPECT(coro_sleep(co, 0), 0);
    CHECK_STR(trace, ""); /* it waits for its turn */
    coro_task_cancel(&my->t[0]);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_CANCELLED);
    check_alone(co);
    CORO_END(0);
}

TEST(a_fair_turn_has_no_result_to_keep_and_is_cancelled) /* C01, C33, T19 */
{
    CHECK_EQ(RUN(turn_cancelled), 0);
    CHECK_STR(trace, "turn:canceled ");
}

SCENE(mark_only)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "t0", .d = CORO_S(1));
    coro_start(&my->g, &my->t[1], sleeper, .name = "t1", .d = CORO_S(1));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    note("<");
    CHECK_EQ(coro_task_cancel(&my->t[1]), 1);
    CHECK_EQ(coro_task_cancel(&my->t[0]), 1);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_RUNNING);
    CHECK_EQ(coro_task_result(&my->t[0]), -EINPROGRESS);
    note(">");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_CANCELLED);
    CHECK_EQ(coro_now(co), CORO_MS(1));
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_runs_none_of_the_target_and_does_not_wait) /* C05 */
{
    CHECK_EQ(RUN(mark_only), 0);
    CHECK_STR(trace, "< > t1:canceled t0:canceled "); /* in the order of telling: F13 */
}

SCENE(too_late)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "t", .d = CORO_MS(1));
    EXPECT(coro_join(co, &my->t[0]), 0);
    CHECK_EQ(coro_task_cancel(&my->t[0]), 0);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_OK);
    CHECK_EQ(coro_task_result(&my->t[0]), 0);
    EXPECT(coro_join(co, &my->t[0]), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_cancel(&my->t[1]), 0); /* never started */
    CHECK_EQ(coro_task_result(&my->t[1]), -EINVAL);
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_what_has_ended_changes_nothing) /* C06 */
{
    CHECK_EQ(RUN(too_late), 0);
}

struct tidy {
    CORO_FRAME;
    coro_scope shield;
    int rc;
};
CORO(tidy)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_S(10)));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_S(1));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(100)));
    note_rc("cleanup", my->rc);
    CHECK_EQ(coro_scope_close(co, &my->shield, my->rc), my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(100)));
    note_rc("unshielded", my->rc);
    CORO_END(0);
}

SCENE_WITH(twice, CORO_TASK(tidy) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, tidy);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_task_cancel(&my->w), 1);
    EXPECT(coro_sleep(co, CORO_MS(10)), 0);
    CHECK_EQ(coro_task_cancel(&my->w), 0);
    CHECK_EQ(coro_group_cancel(&my->g), 1); /* a third request, from elsewhere */
    CHECK_EQ(coro_group_cancel(&my->g), 0);
    CHECK_EQ(coro_scope_deadline(&my->g.scope, CORO_MS(50)), -EALREADY);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->w), CORO_CANCELLED);
    CHECK_EQ(coro_now(co), CORO_MS(101));
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_again_does_not_interrupt_shielded_cleanup) /* C07 */
{
    CHECK_EQ(RUN(twice), 0);
    CHECK_STR(trace, "cleanup:ok unshielded:canceled ");
}

struct borrower {
    CORO_FRAME;
    int *held; /* what it was given one of */
};
CORO(borrower)
{
    CORO_BEGIN();
    note("begun");
    CORO_TRY(coro_sleep(co, 0));
    note("not reached");
CORO_FINALLY:
    note("released");
    --*my->held;
    CORO_END(0);
}

SCENE_WITH(stillborn, int held; CORO_TASK(borrower) w[2];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    my->held = 2;
    coro_start(&my->g, &my->w[0], borrower, .held = &my->held);
    CHECK_EQ(coro_task_cancel(&my->w[0]), 1);
    coro_group_cancel(&my->g);
    coro_start(&my->g, &my->w[1], borrower, .held = &my->held); /* born cancelled */
    CHECK_STR(trace, "");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(my->held, 0);
    CHECK_EQ(coro_task_status(&my->w[0]), CORO_CANCELLED);
    CHECK_EQ(coro_task_status(&my->w[1]), CORO_CANCELLED);
    CHECK_EQ(my->g.cancelled, 2);
    check_alone(co);
    CORO_END(0);
}

TEST(a_task_that_is_cancelled_before_its_first_step_runs_to_its_first_await) /* C08, decision 3 */
{
    CHECK_EQ(RUN(stillborn), 0);
    CHECK_STR(trace, "begun begun released released "); /* being refused is a turn, too: C02 */
}

struct suicidal {
    CORO_FRAME;
    coro_group *g;
    int rc;
};
CORO(suicidal)
{
    CORO_BEGIN();
    coro_group_cancel(my->g);
    note("goes on");
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    note_rc("next", my->rc);
    CORO_END(my->rc);
}

struct silent {
    CORO_FRAME;
    coro_group *g;
};
CORO(silent)
{
    CORO_BEGIN();
    coro_group_cancel(my->g);
    CORO_END(42);
}

SCENE_WITH(oneself, CORO_TASK(suicidal) w; CORO_TASK(silent) s;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, suicidal, .g = &my->g);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->w), CORO_CANCELLED);

    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->s, silent, .g = &my->g);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->s), CORO_OK); /* L11: it met no await */
    CHECK_EQ(coro_task_result(&my->s), 42);
    CHECK_EQ(my->g.cancelled, 0);

    coro_scope_open(co, &my->a);
    CHECK_EQ(coro_scope_cancel(&my->a), 1);
    note("still here");
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_oneself_takes_effect_at_the_next_await) /* C09, C34 */
{
    CHECK_EQ(RUN(oneself), 0);
    CHECK_STR(trace, "goes on next:canceled still here ");
}

SCENE(unmet)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_close(co, &my->a, 5), 5);
    CHECK(!coro_scope_caught(&my->a));
    CHECK(coro_scope_cancelled(&my->a));
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancellation_that_no_await_has_met_ends_with_its_scope) /* C10, C23 */
{
    CHECK_EQ(RUN(unmet), 0);
}

/* ---- nesting -------------------------------------------------------------------------------- */

SCENE(passing)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_timeout_open(co, &my->c, CORO_S(1));
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, CORO_S(2)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->c, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), -ECANCELED);
    CHECK(!coro_scope_caught(&my->b) && !coro_scope_caught(&my->c));
    CHECK(!coro_scope_cancelled(&my->b) && !coro_scope_expired(&my->c));
    EXPECT(coro_sleep(co, 0), -ECANCELED); /* between them it is in force */
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK(coro_scope_caught(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancellation_from_outside_passes_through_inner_scopes) /* C11, decision 6 */
{
    CHECK_EQ(RUN(passing), 0);
}

SCENE(own_error)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), -ECANCELED); /* not this one's doing */
    CHECK(!coro_scope_caught(&my->a) && !coro_scope_cancelled(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(a_scope_that_was_not_cancelled_absorbs_no_ecanceled) /* C11, L09 */
{
    CHECK_EQ(RUN(own_error), 0);
}

struct forger {
    CORO_FRAME;
    int result;
};
CORO(forger)
{
    CORO_BEGIN();
    CORO_END(my->result);
}

SCENE_WITH(forged, CORO_TASK(forger) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->w, forger, .result = -ECANCELED);
    EXPECT(coro_join(co, &my->w), -ECHILD); /* -ECANCELED would be of this task (decision 14) */
    CHECK_EQ(coro_task_status(&my->w), CORO_FAILED);
    coro_start(&my->g, &my->w, forger, .result = -ECANCELED);
    coro_task_cancel(&my->w);
    EXPECT(coro_join(co, &my->w), -ECHILD);
    CHECK_EQ(coro_task_status(&my->w), CORO_CANCELLED);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 1);
    check_alone(co);
    CORO_END(0);
}

TEST(ecanceled_of_a_task_that_nobody_cancelled_is_a_failure) /* L09, decision 5 */
{
    CHECK_EQ(RUN(forged), 0);
}

SCENE(both)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_scope_cancel(&my->b);
    EXPECT(coro_sleep(co, 0), -ECANCELED); /* raised by the inner one */
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK(!coro_scope_caught(&my->b));
    CHECK(coro_scope_cancelled(&my->b));
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK(coro_scope_caught(&my->a));

    /* The inner one's exit was before the outer one was cancelled. */
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_scope_cancel(&my->b);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), 0);
    CHECK(coro_scope_caught(&my->b));
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    CHECK(!coro_scope_caught(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(of_two_cancelled_scopes_the_outer_one_catches) /* C12, decision 6 */
{
    CHECK_EQ(RUN(both), 0);
}

SCENE(both_shielded)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_shield_open(co, &my->b, CORO_FOREVER);
    coro_scope_cancel(&my->b);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), 0);
    CHECK(coro_scope_caught(&my->b));
    note("runs on");
    CHECK(coro_cancelled(co));
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    CHECK(coro_scope_caught(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(of_two_cancelled_scopes_the_inner_one_catches_if_it_is_shielded) /* C13 */
{
    CHECK_EQ(RUN(both_shielded), 0);
    CHECK_STR(trace, "runs on ");
}

SCENE(shielded)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);

    coro_shield_open(co, &my->b, CORO_FOREVER);
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_open(co, &my->c); /* a scope inside works as usual */
    coro_scope_cancel(&my->c);
    EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->c, my->rc), 0);
    CHECK(coro_scope_caught(&my->c));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->b); /* and so does its own cancel */
    EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), 0);

    coro_shield_open(co, &my->b, CORO_MS(5)); /* and its deadline */
    EXPECT(coro_sleep(co, CORO_MS(3)), 0);
    EXPECT(coro_sleep(co, CORO_MS(3)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(7));
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ETIMEDOUT);
    CHECK(coro_scope_expired(&my->b));

    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_shield_keeps_out_only_what_comes_from_outside) /* C14, T26 */
{
    CHECK_EQ(RUN(shielded), 0);
}

struct hider {
    CORO_FRAME;
    coro_scope outer, shield;
    int rc;
};
CORO(hider)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_S(10)));
    note_rc("hider", my->rc);
    my->rc = coro_scope_close(co, &my->shield, my->rc);
    note_rc("shield", my->rc);
    my->rc = coro_scope_close(co, &my->outer, my->rc);
    note_rc("outer", my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(lowered, CORO_TASK(hider) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, hider);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_cancel(&my->w.frame.outer), 1);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_STR(trace, "");
    CHECK_SOUND(co);
    coro_scope_shield(&my->w.frame.shield, false);
    CHECK_STR(trace, "");
    CHECK_SOUND(co);
    EXPECT(coro_join(co, &my->w), 0);
    CHECK_EQ(coro_now(co), CORO_MS(2));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(lowering_a_shield_wakes_the_sleeper_behind_it) /* C15 */
{
    CHECK_EQ(RUN(lowered), 0);
    CHECK_STR(trace, "hider:canceled shield:canceled outer:ok ");
}

SCENE(raised)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    coro_scope_shield(&my->b, true); /* on the way out */
    CHECK(!coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK(!coro_scope_caught(&my->b));
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK(coro_scope_caught(&my->a));

    /* Raised and lowered in the midst of it all. */
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_scope_open(co, &my->c);
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    coro_scope_shield(&my->b, true);
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, 0), 0);
    coro_scope_shield(&my->b, false);
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->c, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_shield_that_is_raised_too_late_does_not_stop_a_cancellation) /* C16 */
{
    CHECK_EQ(RUN(raised), 0);
}

SCENE(body_shield)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "before", .d = CORO_S(1));
    coro_shield_open(co, &my->b, CORO_FOREVER);
    coro_start(&my->g, &my->t[1], sleeper, .name = "inside", .d = CORO_S(1));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_STR(trace, "before:canceled inside:canceled ");
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    EXPECT(coro_group_close(co, &my->g, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_shield_in_a_groups_body_does_not_cover_its_children) /* C17 */
{
    CHECK_EQ(RUN(body_shield), 0);
}

SCENE(where_opened)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    coro_start(&my->g, &my->t[0], sleeper, .name = "outside", .d = CORO_MS(5));
    coro_group_open(co, &my->h, CORO_ALL);
    coro_start(&my->h, &my->t[1], sleeper, .name = "inside", .d = CORO_MS(5));
    coro_start(&my->g, &my->t[2], sleeper, .name = "outside too", .d = CORO_MS(4));
    EXPECT(coro_group_close(co, &my->h, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(my->g.cancelled, 0);
    CHECK_EQ(my->h.cancelled, 1);
    check_alone(co);
    CORO_END(0);
}

TEST(children_see_the_scopes_of_where_their_group_was_opened) /* C18 */
{
    CHECK_EQ(RUN(where_opened), 0);
    CHECK_STR(trace, "inside:canceled outside too:ok outside:ok ");
}

/* ---- presets, misuse ------------------------------------------------------------------------ */

SCENE(presets)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_cancel(&my->a), 1);
    CHECK_EQ(coro_scope_cancel(&my->a), 0);
    CHECK(coro_scope_cancelled(&my->a));
    CHECK(!coro_cancelled(co));
    coro_scope_open(co, &my->a);
    CHECK(coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    CHECK(coro_scope_caught(&my->a));

    coro_scope_open(co, &my->a); /* a preset counts once */
    CHECK(!coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->a);

    coro_scope_shield(&my->b, true);
    coro_scope_open(co, &my->b);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    coro_scope_open(co, &my->b);
    EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);

    CHECK_EQ(coro_scope_deadline(&my->c, CORO_MS(10)), 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    coro_scope_open(co, &my->c);
    CHECK_EQ(coro_deadline(co), CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_now(co), CORO_MS(10));
    CHECK_EQ(coro_scope_close(co, &my->c, my->rc), -ETIMEDOUT);
    check_alone(co);
    CORO_END(0);
}

TEST(a_scope_can_be_cancelled_shielded_or_dated_before_it_is_opened) /* C19 */
{
    CHECK_EQ(RUN(presets), 0);
}

SCENE(preset_group)
{
    CORO_BEGIN();
    CHECK_EQ(coro_group_cancel(&my->g), 1);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK(coro_cancelled(co));
    coro_start(&my->g, &my->t[0], sleeper, .name = "t", .d = CORO_MS(1));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "again", .d = CORO_MS(1));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_group_that_was_cancelled_before_it_is_opened_is_opened_cancelled) /* C19, G14 */
{
    CHECK_EQ(RUN(preset_group), 0);
    CHECK_STR(trace, "t:canceled again:ok ");
}

SCENE(closed_void)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, 7), 7);
    CHECK_EQ(coro_scope_close(co, &my->a, -EIO), -EIO);
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), -ECANCELED); /* that was all it absorbs */
    CHECK(coro_scope_cancelled(&my->a) && coro_scope_caught(&my->a)); /* and it stays readable */
    coro_scope_cancel(&my->a);
    coro_scope_shield(&my->a, true);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0); /* voids presets */
    coro_scope_open(co, &my->a);
    CHECK(!coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(closing_a_scope_that_is_not_open_gives_back_what_it_is_told) /* design 3.3 */
{
    CHECK_EQ(RUN(closed_void), 0);
}

SCENE(open_twice)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    if (my->i == 1)
        coro_scope_open(co, &my->a);
    else if (my->i == 2)
        coro_timeout_open(co, &my->a, CORO_S(1));
    else if (my->i == 3)
        coro_shield_open(co, &my->a, CORO_S(1));
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    if (my->i == 4)
        coro_group_open(co, &my->g, CORO_ALL);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    for (my->rc = 0; my->rc < 3; my->rc++) { /* opening again what was closed is fine */
        coro_scope_open(co, &my->a);
        CHECK_EQ(coro_scope_close(co, &my->a, my->rc), my->rc);
    }
    check_alone(co);
    CORO_END(0);
}

static void run_open_twice(void *how)
{
    (void)coro_run_with(virtual_time(), open_twice, .i = *(int *)how);
}

TEST(opening_an_open_scope_or_group_traps) /* C20 */
{
    int how = 0;
    CHECK_EQ(RUN(open_twice, .i = 0), 0);
    for (how = 1; how <= 4; how++)
        CHECK_TRAP(run_open_twice, &how, "is open already");
#if CORO_NAMES
    how = 4;
    CHECK_TRAP(run_open_twice, &how, "test_scope.c:");
#endif /* CORO_NAMES */
}

struct trespasser {
    CORO_FRAME;
    coro_scope *scope;
    coro_group *group;
    int rc;
};
CORO(trespasser)
{
    CORO_BEGIN();
    CHECK_EQ(coro_scope_close(co, my->scope, 0), -EPERM);
    CHECK_EQ(coro_scope_close(co, my->scope, -ECANCELED), -EPERM);
    CORO_AWAIT(my->rc, coro_group_close(co, my->group, 0));
    CHECK_EQ(my->rc, -EPERM);
    CHECK(!coro_scope_cancelled(&my->group->scope));
    CHECK_EQ(coro_scope_cancel(my->scope), 1); /* anybody may do that */
    CORO_END(3);
}

SCENE_WITH(foreign, CORO_TASK(trespasser) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->a);
    coro_start(&my->g, &my->w, trespasser, .scope = &my->a, .group = &my->g);
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_result(&my->w), 3);
    check_alone(co);
    CORO_END(0);
}

TEST(only_the_task_that_opened_a_scope_closes_it_but_anybody_may_cancel_it) /* C22 */
{
    CHECK_EQ(ran(coro_run_with(virtual_time(), foreign)), 0);
}

struct intruder {
    CORO_FRAME;
    coro_scope *scope;
};
CORO(intruder)
{
    CORO_BEGIN();
    coro_scope_open(co, my->scope);
    CORO_END(0);
}

SCENE(open_foreign_scope)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->a);
    coro_spawn(&my->g, intruder, .scope = &my->a);
    EXPECT(coro_sleep(co, CORO_S(1)), 0);
    CORO_END(0);
}

static void run_open_foreign(void *arg)
{
    (void)arg;
    (void)coro_run_with(virtual_time(), open_foreign_scope);
}

TEST(opening_another_tasks_open_scope_traps) /* C20 */
{
    CHECK_TRAP(run_open_foreign, NULL, "is open already");
}

SCENE(misnested)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_scope_close(co, &my->a, 5), -EBUSY);
    CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), -EBUSY);
    CHECK_SOUND(co);
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0); /* nothing has changed */
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, CORO_MS(1)), -ECANCELED);
    EXPECT(coro_group_close(co, &my->g, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);

    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->a);
    EXPECT(coro_group_close(co, &my->g, 0), -EBUSY);
    CHECK_SOUND(co);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(closing_a_scope_around_an_open_one_is_refused_without_effect) /* C21 */
{
    CHECK_EQ(ran(coro_run_with(virtual_time(), misnested)), 0);
}

/* ---- frames close what they have opened ----------------------------------------------------- */

struct leaver {
    CORO_FRAME;
    coro_scope limit, inner, last;
    coro_group g;
    bool finally;
    int rc;
};
CORO(leaver)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(10));
    coro_scope_open(co, &my->inner);
    coro_timeout_open(co, &my->last, CORO_S(3600));
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    note("not reached");
    CORO_END(0);
}

struct careful {
    CORO_FRAME;
    coro_scope limit, inner;
    int rc;
};
CORO(careful)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(10));
    coro_scope_open(co, &my->inner);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -ETIMEDOUT);
    CHECK(!coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(20))); /* outside the expired scope */
    note_rc("cleanup", my->rc);
    CHECK_EQ(coro_scope_close(co, &my->limit, 6), 6); /* closed already: may be undone again */
    CORO_END(0);
}

/* A group in the midst: FINALLY runs with the outer scope open, and END closes that. */
struct around {
    CORO_FRAME;
    coro_scope outer, inner;
    coro_group g;
    CORO_TASK(sleeper) t;
};
CORO(around)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_timeout_open(co, &my->inner, CORO_MS(10));
    coro_start(&my->g, &my->t, sleeper, .name = "child", .d = CORO_S(1));
    CORO_TRY(coro_sleep(co, CORO_S(1)));
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -ETIMEDOUT); /* inner is closed, the group is not */
    CHECK(coro_scope_expired(&my->inner));
    CORO_CLOSE(&my->g);
    CHECK_EQ(CORO_ERR, -ETIMEDOUT);
    coro_scope_cancel(&my->outer);
    CORO_TRY(coro_sleep(co, 0)); /* fails; the first error stays */
    CORO_END(0);
}

SCENE_WITH(left, struct leaver leaver; struct careful careful; struct around around;)
{
    CORO_BEGIN();
    EXPECT(coro_call(co, &my->leaver, leaver), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(10));
    CHECK(coro_scope_expired(&my->leaver.limit));
    CHECK(!coro_scope_expired(&my->leaver.last));
    CHECK(!coro_scope_caught(&my->leaver.inner));
    check_alone(co);
    EXPECT(coro_call(co, &my->careful, careful), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(40));
    check_alone(co);
    EXPECT(coro_call(co, &my->around, around), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(50));
    check_alone(co);
    CORO_END(0);
}

TEST(a_frame_that_leaves_closes_its_scopes_innermost_first) /* design 3.5 */
{
    CHECK_EQ(RUN(left), 0);
    CHECK_STR(trace, "cleanup:ok child:canceled ");
}

struct forgetful {
    CORO_FRAME;
    coro_scope scope, inner;
    bool cancel;
    int rc;
};
CORO(forgetful)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    coro_shield_open(co, &my->inner, CORO_FOREVER);
    if (my->cancel) {
        coro_scope_cancel(&my->scope);
        CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(1)));
        CHECK_EQ(my->rc, 0);
    }
    CORO_END(9); /* with both open */
}

SCENE_WITH(forgot, struct forgetful f;)
{
    CORO_BEGIN();
    EXPECT(coro_call(co, &my->f, forgetful), 9);
    check_alone(co);
    EXPECT(coro_call(co, &my->f, forgetful, .cancel = true), 9); /* a value is not taken away */
    CHECK(coro_scope_cancelled(&my->f.scope));
    CHECK(!coro_scope_caught(&my->f.scope));
    check_alone(co);
    CORO_END(0);
}

TEST(the_end_of_a_frame_closes_the_scopes_it_has_left_open) /* design 3.5 */
{
    CHECK_EQ(RUN(forgot), 0);
}

/* ---- what can be read afterwards ------------------------------------------------------------ */

SCENE(flags)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a); /* nobody cancels */
    CHECK_EQ(coro_scope_close(co, &my->a, 3), 3);
    CHECK(!coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));

    coro_scope_open(co, &my->a); /* cancelled, met, and left by it */
    coro_scope_cancel(&my->a);
    CHECK(coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK(coro_scope_cancelled(&my->a) && coro_scope_caught(&my->a));
    CHECK(!coro_scope_expired(&my->a));

    coro_scope_open(co, &my->a); /* cancelled, but the block has a result: it stands (D12) */
    CHECK(!coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, 7), 7);
    CHECK(coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));

    coro_scope_open(co, &my->a); /* cancelled, but left by another error: that one goes on (C24) */
    coro_scope_cancel(&my->a);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, -EIO), -EIO);
    CHECK(coro_scope_cancelled(&my->a) && !coro_scope_caught(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(a_closed_scope_tells_whether_it_was_cancelled_and_whether_it_caught_that) /* C23, C24 */
{
    CHECK_EQ(RUN(flags), 0);
}

struct failing {
    CORO_FRAME;
    coro_scope scope;
    int rc;
};
CORO(failing)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
CORO_FINALLY:
    note_rc("unwinding", CORO_ERR);
    CORO_ERR = -EIO; /* the cleanup itself fails */
    CORO_END(0);
}

SCENE_WITH(replaced, CORO_TASK(failing) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, failing);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->w);
    EXPECT(coro_sleep(co, CORO_S(1)), -ECANCELED); /* the group fails */
    EXPECT(coro_group_close(co, &my->g, my->rc), -EIO);
    CHECK_EQ(coro_task_status(&my->w), CORO_FAILED);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 0);
    CHECK_EQ(my->g.first, -EIO);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_error_met_while_unwinding_replaces_the_cancellation) /* C24 */
{
    CHECK_EQ(RUN(replaced), 0);
    CHECK_STR(trace, "unwinding:canceled ");
}

/* ---- the tree ------------------------------------------------------------------------------- */

struct branch {
    CORO_FRAME;
    coro_scope scope;
    coro_group g;
    const char *names[2];
    CORO_TASK(sleeper) t[2];
};
CORO(branch)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = my->names[0], .d = CORO_S(1));
    coro_start(&my->g, &my->t[1], sleeper, .name = my->names[1], .d = CORO_S(1));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

SCENE_WITH(tree, CORO_TASK(branch) w[2];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w[0], branch, .names = {"a1", "a2"});
    coro_start(&my->g, &my->t[0], sleeper, .name = "b", .d = CORO_S(1));
    coro_start(&my->g, &my->w[1], branch, .names = {"c1", "c2"});
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 8);
    cancel_events = 0;
    coro_group_cancel(&my->g);
    CHECK_EQ(cancel_events, 8); /* everybody once, this task included, and who waits to close */
    CHECK_EQ(coro_stats(coro_loop_of(co)).ready, 5);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(cancel_events, 8);
    CHECK_EQ(my->g.cancelled, 3);
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(my->w[0].frame.g.cancelled, 2);
    CHECK_EQ(coro_now(co), CORO_MS(1));
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_reaches_every_descendant_once_and_in_order) /* C25 */
{
    CHECK_EQ(ran_quietly(coro_run_with(watched(), tree)), 0);
    CHECK_STR(trace, "a1:canceled a2:canceled b:canceled c1:canceled c2:canceled ");
}

SCENE_WITH(one_branch, CORO_TASK(branch) w[2];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w[0], branch, .names = {"a1", "a2"});
    coro_start(&my->g, &my->w[1], branch, .names = {"c1", "c2"});
    coro_start(&my->g, &my->t[0], sleeper, .name = "b", .d = CORO_S(1));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->w[0]);
    coro_scope_cancel(&my->w[1].frame.scope);
    CHECK_SOUND(co);
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    note("|");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->w[0]), CORO_CANCELLED);
    CHECK_EQ(coro_task_status(&my->w[1]), CORO_OK); /* its own scope caught it */
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_OK);
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_one_task_or_its_scope_touches_neither_parent_nor_siblings) /* C26 */
{
    CHECK_EQ(RUN(one_branch), 0);
    CHECK_STR(trace, "a1:canceled a2:canceled c1:canceled c2:canceled | b:ok ");
}

SCENE(born)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    coro_scope_open(co, &my->b);
    CHECK(coro_cancelled(co));
    CHECK(!coro_scope_cancelled(&my->b)); /* not itself */
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = "started", .d = CORO_MS(1));
    coro_spawn(&my->g, sleeper, .name = "spawned", .d = CORO_MS(1));
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), -ECANCELED);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(coro_scope_close(co, &my->b, my->rc), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(what_is_opened_in_a_cancelled_scope_is_born_cancelled) /* C27 */
{
    CHECK_EQ(RUN(born), 0);
    CHECK_STR(trace, "started:canceled spawned:canceled ");
}

SCENE_WITH(relinked, coro_context node[2]; char key[2];)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_context_set(co, &my->node[0], &my->key[0], &my->i);
    coro_context_set(co, &my->node[1], &my->key[1], &my->rc);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0); /* from between a and the context values */
    CHECK_SOUND(co);
    CHECK(coro_context_get(co, &my->key[0]) == &my->i);
    CHECK(coro_context_get(co, &my->key[1]) == &my->rc);
    CHECK(!coro_cancelled(co));
    coro_scope_cancel(&my->a);
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0); /* the outermost of the chain */
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, 0), 0);
    CHECK(coro_context_get(co, &my->key[0]) == &my->i);

    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->c);
    coro_scope_cancel(&my->c);
    coro_scope_open(co, &my->b);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->c, 0), 0); /* the cancelled link goes: a is not cancelled */
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    CHECK_SOUND(co);
    CORO_END(0);
}

TEST(what_is_inside_a_closed_scope_stays_linked_to_what_is_around_it) /* C28 */
{
    CHECK_EQ(RUN(relinked), 0);
}

SCENE_WITH(cut_out, coro_context node; char key;)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_open(co, &my->b);
    coro_scope_cancel(&my->b);
    coro_context_set(co, &my->node, &my->key, &my->i);
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->b, -ECANCELED), 0); /* the context was born cancelled */
    CHECK_SOUND(co);
    CHECK(!coro_cancelled(co));
    EXPECT(coro_sleep(co, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    CHECK_SOUND(co);
    CORO_END(0);
}

TEST(closing_a_cancelled_scope_frees_the_context_values_inside_from_it) /* C28, C10 */
{
    CHECK_EQ(RUN(cut_out), 0);
}

/* ---- operations that take their time -------------------------------------------------------- */

SCENE_WITH(unwilling, struct gate gate; CORO_TASK(passer) p;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p, passer, .name = "p", .gate = &my->gate, .ops = &unabortable);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->p);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_STR(trace, "");
    coro_scope_cancel(&my->p.frame.scope);
    coro_group_cancel(&my->g);
    CHECK_EQ(my->gate.asked, 1);
    CHECK(my->gate.queue.head == &my->p.task);
    let_one_pass(&my->gate);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->p), CORO_CANCELLED);
    check_alone(co);
    CORO_END(0);
}

TEST(an_operation_that_cannot_be_aborted_gives_its_own_result) /* C29 */
{
    CHECK_EQ(RUN(unwilling), 0);
    CHECK_STR(trace, "p:1 p:canceled ");
}

SCENE_WITH(slow_abort, struct gate gate; CORO_TASK(passer) p;)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p, passer, .name = "p", .gate = &my->gate, .ops = &slow_to_abort);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->p);
    CHECK_EQ(my->gate.asked, 1);
    coro_scope_shield(&my->p.frame.scope, true); /* not cancelled any more, */
    CHECK(!coro_cancelled(&my->p.task));
    coro_scope_shield(&my->p.frame.scope, false); /* and again */
    CHECK(coro_cancelled(&my->p.task));
    CHECK_EQ(my->gate.asked, 1);
    coro_scope_cancel(&my->p.frame.scope);
    CHECK_EQ(my->gate.asked, 1);
    CHECK_SOUND(co);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->a);
    CHECK_EQ(my->gate.asked, 1);
    CHECK_STR(trace, "");
    CHECK(coro_complete(&my->p.task, -ECANCELED)); /* at last */
    CHECK(!coro_complete(&my->p.task, 5));         /* once */
    CHECK(my->gate.queue.head == NULL);
    EXPECT(coro_group_close(co, &my->g, -ECANCELED), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_slow_abort_is_begun_once_and_waited_for) /* C30 */
{
    CHECK_EQ(RUN(slow_abort), 0);
    CHECK_STR(trace, "p:canceled p:canceled ");
}

/* The operation ends of itself while the abort runs. The next one is asked anew. */
SCENE_WITH(second_abort, struct gate gate; CORO_TASK(passer) p;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_shield(&my->p.frame.scope, true);
    coro_start(&my->g, &my->p, passer, .name = "p", .gate = &my->gate, .ops = &slow_to_abort);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->p.frame.scope);
    CHECK_EQ(my->gate.asked, 1);
    let_one_pass(&my->gate);
    EXPECT(coro_group_close(co, &my->g, 0), 0);

    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p, passer, .name = "q", .gate = &my->gate, .ops = &slow_to_abort);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->p);
    CHECK_EQ(my->gate.asked, 2);
    CHECK(coro_complete(&my->p.task, -ECANCELED));
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(an_abort_that_came_too_late_does_not_spoil_the_next_one) /* C30 */
{
    CHECK_EQ(RUN(second_abort), 0);
    CHECK_STR(trace, "p:1 p:canceled q:canceled q:canceled ");
}

SCENE(first_cause)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->a, CORO_MS(5));
    CHECK_EQ(coro_scope_cancel(&my->a), 1);
    coro_shield_open(co, &my->b, CORO_FOREVER);
    EXPECT(coro_sleep(co, CORO_MS(10)), 0); /* the deadline passes meanwhile */
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK(!coro_scope_expired(&my->a));
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    CHECK(!coro_scope_expired(&my->a));

    coro_timeout_open(co, &my->a, CORO_MS(5));
    EXPECT(coro_sleep(co, CORO_MS(10)), -ECANCELED);
    CHECK_EQ(coro_scope_cancel(&my->a), 0); /* too late to be the cause */
    CHECK(coro_scope_expired(&my->a));
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), -ETIMEDOUT);
    CHECK(coro_scope_expired(&my->a));
    check_alone(co);
    CORO_END(0);
}

TEST(the_first_cause_of_a_cancellation_stays) /* C31, T16, decision 6 */
{
    CHECK_EQ(RUN(first_cause), 0);
}

/* ---- asking --------------------------------------------------------------------------------- */

SCENE(asking)
{
    CORO_BEGIN();
    CHECK(!coro_cancelled(co));
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_timeout_open(co, &my->a, CORO_MS(10));
    CHECK_EQ(coro_deadline(co), CORO_MS(11));
    coro_scope_cancel(&my->a);
    CHECK(coro_cancelled(co));
    CHECK(coro_deadline(co) < 0); /* the past, whatever the time */
    coro_shield_open(co, &my->b, CORO_FOREVER);
    CHECK(!coro_cancelled(co));
    CHECK_EQ(coro_deadline(co), CORO_FOREVER);
    coro_timeout_open(co, &my->c, CORO_MS(70));
    CHECK_EQ(coro_deadline(co), CORO_MS(71));
    CHECK_EQ(coro_scope_close(co, &my->c, 0), 0);
    coro_scope_shield(&my->b, false);
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->a, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(one_can_ask_whether_the_next_await_would_fail) /* C32 */
{
    CHECK_EQ(RUN(asking), 0);
}

struct yielder {
    CORO_FRAME;
    const char *name;
};
CORO(yielder)
{
    CORO_BEGIN();
    note(my->name);
    CORO_END(0);
}

SCENE(checks)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    coro_spawn(&my->g, yielder, .name = "other");
    /* Looking alone lets nobody run. */
    EXPECT(coro_cancelled(co) ? -ECANCELED : 0, -ECANCELED);
    CHECK_STR(trace, "");
    /* Giving way alone, whatever is cancelled. */
    coro_shield_open(co, &my->b, CORO_FOREVER);
    EXPECT(coro_sleep(co, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->b, 0), 0);
    CHECK_STR(trace, "other ");
    /* Both. */
    coro_spawn(&my->g, yielder, .name = "another");
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_STR(trace, "other another ");
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(checking_yielding_and_both_are_three_things) /* C33 */
{
    CHECK_EQ(RUN(checks), 0);
}

struct callee {
    CORO_FRAME;
    coro_scope scope;
    coro_group g;
};
CORO(callee)
{
    CORO_BEGIN();
    note("called");
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_CLOSE(&my->g); /* empty: looks at nothing */
    note("closed");
    CORO_TRY(coro_sleep(co, 0));
    note("not reached");
    CORO_END(0);
}

SCENE_WITH(no_check, struct callee f;)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_scope_cancel(&my->a);
    EXPECT(coro_call(co, &my->f, callee), -ECANCELED);
    coro_scope_open(co, &my->b);
    CHECK_EQ(coro_scope_close(co, &my->b, 4), 4); /* nor does a scope's close */
    coro_group_open(co, &my->g, CORO_ALL);
    EXPECT(coro_group_close(co, &my->g, 4), 4);
    CHECK_EQ(coro_scope_close(co, &my->a, -ECANCELED), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(calls_and_closes_are_no_cancellation_checks) /* decision 2 */
{
    CHECK_EQ(RUN(no_check), 0);
    CHECK_STR(trace, "called closed ");
}

SCENE_WITH(close_waits, CORO_TASK(tidy) w;)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->a);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, tidy);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_scope_cancel(&my->a);
    EXPECT(coro_group_close(co, &my->g, 0), -ECANCELED);
    note("closed");
    CHECK_EQ(coro_now(co), CORO_MS(101)); /* after the child's shielded cleanup */
    CHECK_EQ(coro_scope_close(co, &my->a, my->rc), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancelled_close_of_a_group_still_waits_for_its_children) /* C35, decision 2 */
{
    CHECK_EQ(RUN(close_waits), 0);
    CHECK_STR(trace, "cleanup:ok unshielded:canceled closed ");
}

/* ---- hooks that come back ------------------------------------------------------------------- */

/* A permit that is handed on: who leaves the queue lets the next one through. */
static void hand_on(coro_task *task, coro_waitq *queue)
{
    (void)task;
    if (queue->head)
        (void)coro_complete(queue->head, 5);
}

/* An abort that completes everybody else first. */
static coro_abort free_all(coro_task *task, coro_waitq *queue)
{
    while (queue->head != task)
        (void)coro_complete(queue->head, 6);
    while (coro_waitq_next(queue, task))
        (void)coro_complete(coro_waitq_next(queue, task), 7);
    return CORO_ABORT_DONE;
}

static const coro_ops handing_on = {"permit", NULL, hand_on};
static const coro_ops freeing_all = {"avalanche", free_all, NULL};

SCENE_WITH(reentrant, struct gate gate; CORO_TASK(passer) p[4];)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p[0], passer, .name = "a", .gate = &my->gate, .ops = &handing_on);
    coro_start(&my->g, &my->p[1], passer, .name = "b", .gate = &my->gate, .ops = &handing_on);
    coro_start(&my->g, &my->p[2], passer, .name = "c", .gate = &my->gate, .ops = &handing_on);
    coro_start(&my->g, &my->p[3], passer, .name = "d", .gate = &my->gate, .ops = &handing_on);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_group_cancel(&my->g);
    CHECK(my->gate.queue.head == NULL);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_STR(trace, "a:canceled b:5 c:canceled d:5 a:canceled b:canceled c:canceled d:canceled ");
    trace[0] = 0;

    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->p[0], passer, .name = "a", .gate = &my->gate, .ops = &freeing_all);
    coro_start(&my->g, &my->p[1], passer, .name = "b", .gate = &my->gate, .ops = &freeing_all);
    coro_start(&my->g, &my->p[2], passer, .name = "c", .gate = &my->gate, .ops = &freeing_all);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->p[1]);
    CHECK(my->gate.queue.head == NULL);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(hooks_may_complete_others_while_a_cancellation_spreads) /* C36 */
{
    CHECK_EQ(RUN(reentrant), 0);
    CHECK_STR(trace, "a:6 c:7 b:canceled a:ok c:ok b:canceled ");
}

SCENE(with_finished)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->t[0], sleeper, .name = "ended", .d = 0);
    coro_spawn(&my->g, sleeper, .name = "freed", .d = 0);
    coro_start(&my->g, &my->t[1], sleeper, .name = "alive", .d = CORO_S(1));
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    CHECK_EQ(my->g.alive, 1);
    coro_group_cancel(&my->g);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(coro_task_status(&my->t[0]), CORO_OK);
    CHECK_EQ(coro_task_status(&my->t[1]), CORO_CANCELLED);
    CHECK_EQ(my->g.cancelled, 1);
    check_alone(co);
    CORO_END(0);
}

TEST(cancelling_a_group_passes_over_children_that_have_ended) /* C37 */
{
    CHECK_EQ(RUN(with_finished), 0);
    CHECK_STR(trace, "ended:ok freed:ok alive:canceled ");
}

struct structured {
    CORO_FRAME;
    coro_scope limit;
    coro_group g;
    int rc;
};
CORO(structured)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(20));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sleeper, .name = "grandchild", .d = CORO_S(1));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_S(1)));
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, my->rc));
    note_rc("group", my->rc);
    my->rc = coro_scope_close(co, &my->limit, my->rc);
    note_rc("limit", my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, 0));
    note_rc("after", my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(balanced, CORO_TASK(structured) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w, structured);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->w); /* a foreign one goes through */
    EXPECT(coro_join(co, &my->w), -ECHILD);
    CHECK_STR(trace, "grandchild:canceled group:canceled limit:canceled after:canceled ");
    trace[0] = 0;
    coro_start(&my->g, &my->w, structured); /* its own one ends with the scope */
    EXPECT(coro_join(co, &my->w), 0);
    CHECK_STR(trace, "grandchild:canceled group:canceled limit:timedout after:ok ");
    trace[0] = 0;
    coro_start(&my->g, &my->w, structured); /* so does the group's own */
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_group_cancel(&my->w.frame.g);
    EXPECT(coro_join(co, &my->w), 0);
    CHECK_STR(trace, "grandchild:canceled group:ok limit:ok after:ok ");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(scopes_and_groups_absorb_exactly_their_own_request) /* C38 */
{
    CHECK_EQ(RUN(balanced), 0);
}

struct layer {
    CORO_FRAME;
    const char *name;
    struct layer *inner;
    int error;
};
CORO(layer)
{
    CORO_BEGIN();
    if (my->inner)
        CORO_TRY(coro_call(co, my->inner, layer, .name = my->inner->name, .inner = my->inner->inner,
                           .error = my->inner->error));
    else
        CORO_TRY(coro_sleep(co, CORO_MS(5)));
    if (my->error)
        CORO_FAIL(my->error);
CORO_FINALLY:
    note_rc(my->name, CORO_ERR);
    CORO_END(0);
}

struct layered {
    CORO_FRAME;
    struct layer a, b, c;
    int error;
};
CORO(layered)
{
    CORO_BEGIN();
    my->c.name = "c";
    my->c.error = my->error;
    my->b.name = "b";
    my->b.inner = &my->c;
    CORO_TRY(coro_call(co, &my->a, layer, .name = "a", .inner = &my->b));
    CORO_END(0);
}

SCENE_WITH(layers, CORO_TASK(layered) w;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_start(&my->g, &my->w, layered);
    EXPECT(coro_join(co, &my->w), 0);
    CHECK_STR(trace, "c:ok b:ok a:ok ");
    trace[0] = 0;
    coro_start(&my->g, &my->w, layered, .error = -7);
    EXPECT(coro_join(co, &my->w), -7);
    CHECK_STR(trace, "c:-7 b:-7 a:-7 ");
    trace[0] = 0;
    coro_start(&my->g, &my->w, layered);
    EXPECT(coro_sleep(co, CORO_MS(1)), 0);
    coro_task_cancel(&my->w);
    EXPECT(coro_join(co, &my->w), -ECHILD);
    CHECK_STR(trace, "c:canceled b:canceled a:canceled ");
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(cleanup_runs_once_innermost_first_on_every_way_out) /* C40 */
{
    CHECK_EQ(RUN(layers), 0);
}

/* ---- depth ---------------------------------------------------------------------------------- */

enum { DEEP = 20000 };
static coro_scope nest[DEEP];

SCENE(deep)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < DEEP; my->i++)
        coro_scope_open(co, &nest[my->i]);
    CHECK_EQ(coro_scope_cancel(&nest[DEEP / 2]), 1);
    EXPECT(coro_sleep(co, 0), -ECANCELED);
    CHECK_EQ(coro_scope_cancel(&nest[0]), 1);
    CHECK_SOUND(co);
    for (my->i = DEEP; --my->i > 0;)
        CHECK_EQ(coro_scope_close(co, &nest[my->i], -ECANCELED), -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &nest[0], -ECANCELED), 0);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    check_alone(co);
    CORO_END(0);
}

TEST(twenty_thousand_nested_scopes_are_cancelled_without_a_deep_stack) /* L15, decision 13 */
{
    CHECK_EQ(RUN(deep), 0);
}

/* ---- the sweep: cancel at every moment ------------------------------------------------------ */

/* What the victim has taken and must give back, whenever it is cancelled. */
static int held;

struct step_part {
    CORO_FRAME;
    coro_scope limit, shield;
    bool took;
};
CORO(step_part)
{
    CORO_BEGIN();
    held++;
    my->took = true;
    coro_timeout_open(co, &my->limit, CORO_MS(3));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_scope_close(co, &my->limit, 0));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(10));
    CORO_IGNORE(coro_sleep(co, CORO_MS(1))); /* giving back takes time */
    (void)coro_scope_close(co, &my->shield, 0);
    if (my->took)
        held--;
    CORO_END(0);
}

struct victim {
    CORO_FRAME;
    coro_scope scope, limit;
    coro_group g;
    struct step_part call;
    CORO_TASK(step_part) t;
    int rc;
};
CORO(victim)
{
    CORO_BEGIN();
    held++;
    coro_scope_open(co, &my->scope);
    CORO_TRY(coro_call(co, &my->call, step_part));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, step_part);
    coro_spawn(&my->g, step_part);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    coro_timeout_open(co, &my->limit, CORO_MS(1));
    CORO_AWAIT(my->rc, coro_call(co, &my->call, step_part));
    my->rc = coro_scope_close(co, &my->limit, my->rc);
    if (my->rc != -ETIMEDOUT) /* it takes longer than that */
        CORO_FAIL(my->rc);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    held--;
    CORO_END(0);
}

SCENE_WITH(sweep, CORO_TASK(victim) v; coro_time at; int turns; bool whole_group;)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->v, victim);
    if (my->at)
        EXPECT(coro_sleep(co, my->at), 0);
    for (; my->turns > 0; my->turns--)
        EXPECT(coro_sleep(co, 0), 0);
    if (my->whole_group)
        coro_group_cancel(&my->g);
    else
        coro_task_cancel(&my->v);
    CHECK_SOUND(co);
    EXPECT(coro_group_close(co, &my->g, 0), 0);
    CHECK_EQ(my->g.failed, 0);
    note_rc("victim", coro_task_result(&my->v));
    check_alone(co);
    CORO_END(0);
}

TEST(a_cancellation_at_any_moment_leaves_nothing_behind) /* the sweep */
{
    int i, ok = 0;
    for (i = 0; i < 14 * 4; i++) {
        trace[0] = 0;
        held = 0;
        CHECK_EQ(RUN(sweep, .at = CORO_MS(i / 4), .turns = i / 2 % 2, .whole_group = i % 2 == 1),
                 0);
        CHECK_EQ(held, 0);
        CHECK(strcmp(trace, "victim:canceled ") == 0 || strcmp(trace, "victim:ok ") == 0);
        ok += strcmp(trace, "victim:ok ") == 0;
    }
    CHECK_STR(trace, "victim:ok "); /* the last one came too late */
    CHECK(ok < 14 * 2);             /* and most did not */
}
