/* test_cover.c -- what the other files' tests do not come by: mistakes that trap, corners of bells,
 * drivers, stops and memory. Which branches no test reaches, and why, is in COVERAGE.md.
 *
 * Labels are values here, for the one trap that only they have.
 */
#if !(defined __clang__ && defined __cplusplus)
#undef CORO_LABELS_AS_VALUES
#define CORO_LABELS_AS_VALUES 1
#endif /* !(defined __clang__ && defined __cplusplus) */

#include "coro.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#define SOUND(loop) CHECK_STR(coro_verify(loop), NULL)

/* clang's address sanitizer keeps locals on the heap, where no check of the stack finds them. */
#if defined __has_feature
#if __has_feature(address_sanitizer)
#define LOCALS_ON_HEAP 1
#endif /* __has_feature(address_sanitizer) */
#endif /* defined __has_feature */
#ifndef LOCALS_ON_HEAP
#define LOCALS_ON_HEAP 0
#endif /* !LOCALS_ON_HEAP */

static const coro_options fast = {.clock = CORO_VIRTUAL};

static coro_loop loop;

/* What has happened, in words. */
static char trace[1024];

static void say(const char *what)
{
    size_t used = strlen(trace);
    snprintf(trace + used, sizeof trace - used, "%s%s", used ? " " : "", what);
}

/* Where a loop's reports and dumps go. */
static char said[4096];

static void hear(void *arg, const char *text)
{
    size_t used = strlen(said);
    (void)arg;
    snprintf(said + used, sizeof said - used, "%s", text);
}

/* ---- a driver whose clock the tests move ------------------------------------------------- */

static struct world {
    coro_time now;
    coro_time tick;                   /* the clock moves by this at each reading */
    int parks;                        /* with sleeping */
    int looks;                        /* without */
    int wakes;
    bool heard;                       /* what coro_loop_rung said after `outside` */
    void (*outside)(coro_loop *loop); /* what happens during a sleep; may be null */
} world;

static coro_time world_now(void *arg)
{
    (void)arg;
    world.now += world.tick;
    return world.now;
}

static void world_park(void *arg, coro_loop *l, coro_time until)
{
    (void)arg;
    if (until <= world.now) {
        world.looks++;
        return;
    }
    world.parks++;
    if (until != CORO_FOREVER)
        world.now = until;
    else if (!world.outside)
        TEST_FAIL("slept for ever, and nobody is outside");
    if (world.outside)
        world.outside(l);
    world.heard = coro_loop_rung(l);
}

static void world_wake(void *arg)
{
    (void)arg;
    world.wakes++;
}

/* ---- tasks and operations that many tests use --------------------------------------------- */

struct napper {
    CORO_FRAME;
    const char *name;
    coro_time d;
    int rc;
};

CORO(napper)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, my->d));
    say(my->rc == 0 ? my->name : "cancelled");
    CORO_END(my->rc);
}

struct gate {
    coro_waitq waiting;
};

static coro_abort gate_is_stuck(coro_task *task, coro_waitq *queue)
{
    (void)task;
    (void)queue;
    return CORO_ABORT_NEVER;
}

/* A wait that no cancellation ends. */
static coro_op gate_pass(coro_task *co, struct gate *g)
{
    static const coro_ops ops = {"gate", gate_is_stuck, NULL};
    return coro_suspend(co, &g->waiting, &ops, 0);
}

static struct gate gate;

struct passer {
    CORO_FRAME;
    int rc;
};

CORO(passer)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, gate_pass(co, &gate));
    CORO_END(my->rc);
}

static coro_irq bell, other_bell;

/* Says its name when the bell has rung. */
struct listener {
    CORO_FRAME;
    const char *name;
    coro_irq *bell;
    int rings;
};

CORO(listener)
{
    CORO_BEGIN();
    CORO_TRY(my->rings, coro_irq_wait(co, my->bell));
    say(my->name);
    CORO_END(my->rings);
}

/* ---- addresses of local variables --------------------------------------------------------- */

#if CORO_STACK_CHECK && !LOCALS_ON_HEAP
struct local_scope {
    CORO_FRAME;
};

CORO(local_scope)
{
    coro_scope scope;
    void *volatile hidden = &scope; /* from the compiler, which would warn */
    memset(&scope, 0, sizeof scope);
    CORO_BEGIN();
    coro_scope_open(co, (coro_scope *)hidden);
    CORO_END(0);
}

struct local_index {
    CORO_FRAME;
    coro_group g;
    int got;
};

CORO(local_index)
{
    int index;
    void *volatile hidden = &index;
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_TRY(my->got, coro_group_next(co, &my->g, (int *)hidden));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

struct local_bell {
    CORO_FRAME;
};

CORO(local_bell)
{
    coro_irq irq;
    void *volatile hidden = &irq;
    memset(&irq, 0, sizeof irq);
    CORO_BEGIN();
    CORO_TRY(coro_irq_wait(co, (coro_irq *)hidden));
    CORO_END(0);
}

struct local_task {
    CORO_FRAME;
    coro_group g;
};

CORO(local_task)
{
    CORO_TASK(napper) t;
    void *volatile hidden = &t;
    memset((void *)&t, 0, sizeof t);
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, (CORO_TASK(napper) *)hidden, napper, .name = "a");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

static void run_local_scope(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, local_scope);
}

static void run_local_index(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, local_index);
}

static void run_local_bell(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, local_bell);
}

static void step_local_scope(void *arg)
{
    static CORO_TASK(local_scope) t;
    (void)arg;
    (void)coro_loop_init(&loop, &fast);
    (void)coro_start(&loop.root, &t, local_scope);
    (void)coro_loop_step(&loop);
}

static void run_local_task(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, local_task);
}

TEST(local_variable_given_to_an_operation_traps)
{
    static const char text[] = "an operation was given the address of a local variable";
    CHECK_TRAP(run_local_scope, NULL, text);
    CHECK_TRAP(run_local_index, NULL, text);
    CHECK_TRAP(run_local_bell, NULL, text);
    CHECK_TRAP(step_local_scope, NULL, text);
#if CORO_NAMES
    CHECK_TRAP(run_local_index, NULL, "test_cover.c:");
    CHECK_TRAP(run_local_index, NULL, ": local_index: ");
#endif /* CORO_NAMES */
}

TEST(task_that_is_a_local_variable_traps_at_its_start)
{
    CHECK_TRAP(run_local_task, NULL, "coro_start: the task is a local variable");
}
#endif /* CORO_STACK_CHECK && !LOCALS_ON_HEAP */

/* ---- labels as values --------------------------------------------------------------------- */

#if CORO_LABELS_AS_VALUES && !defined __clang__ && (defined __x86_64__ || defined __i386__)
#define FAR_AWAY() __asm__ volatile("jmp 1f\n\t.skip 80000\n1:")

/* Some label is far from the first one, where gcc puts these blocks. (clang finds other places, and
 * it works.) */
struct giant {
    CORO_FRAME;
};

CORO(giant)
{
    CORO_BEGIN();
    FAR_AWAY();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    FAR_AWAY();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    FAR_AWAY();
    CORO_END(0);
}

static void run_giant(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, giant);
}

TEST(coroutine_too_large_for_labels_as_values_traps)
{
    CHECK_TRAP(run_giant, NULL, "this coroutine has more than 32 KiB of code");
}
#endif /* CORO_LABELS_AS_VALUES && !defined __clang__ && ... */

/* ---- context ------------------------------------------------------------------------------ */

static int key;

struct changes_value {
    CORO_FRAME;
    coro_context node, later;
};

static const char *value_of(const coro_task *co)
{
    const char *value = (const char *)coro_context_get(co, &key);
    return value ? value : "(null)";
}

static char red[] = "red", green[] = "green", blue[] = "blue";

CORO(changes_value)
{
    CORO_BEGIN();
    coro_context_set(co, &my->node, &key, red);
    say(value_of(co));
    coro_context_set(co, &my->node, &key, green);
    say(value_of(co));
    coro_context_set(co, &my->later, &key, blue);
    coro_context_set(co, &my->node, &key, red); /* behind the later one, as before */
    say(value_of(co));
    SOUND(coro_loop_of(co));
    CORO_END(0);
}

struct calls_changer {
    CORO_FRAME;
    struct changes_value sub;
};

CORO(calls_changer)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->sub, changes_value));
    say(value_of(co));
    CORO_END(0);
}

TEST(context_value_set_again_in_its_frame_changes_where_it_stands)
{
    CHECK_EQ(coro_run_with(&fast, calls_changer), 0);
    CHECK_STR(trace, "red green blue (null)");
}

struct sets_callers {
    CORO_FRAME;
    coro_context *node;
};

CORO(sets_callers)
{
    CORO_BEGIN();
    coro_context_set(co, my->node, &key, green);
    CORO_END(0);
}

struct lends_node {
    CORO_FRAME;
    coro_context node;
    struct sets_callers sub;
};

CORO(lends_node)
{
    CORO_BEGIN();
    coro_context_set(co, &my->node, &key, red);
    CORO_TRY(coro_call(co, &my->sub, sets_callers, .node = &my->node));
    CORO_END(0);
}

static void run_lends_node(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, lends_node);
}

TEST(context_node_that_a_caller_has_set_traps_when_it_is_set_again)
{
    CHECK_TRAP(run_lends_node, NULL, "this scope or group is open already");
}

struct closes_context {
    CORO_FRAME;
    coro_context outer, inner;
};

CORO(closes_context)
{
    CORO_BEGIN();
    coro_context_set(co, &my->outer, &key, red);
    coro_context_set(co, &my->inner, &key, green);
    CHECK_EQ(coro_scope_close(co, &my->inner.scope, 7), 7);
    say(value_of(co));
    SOUND(coro_loop_of(co));
    coro_context_set(co, &my->inner, &key, blue);
    say(value_of(co));
    CHECK_EQ(coro_scope_close(co, &my->outer.scope, -EIO), -EIO); /* behind the inner one */
    say(value_of(co));
    SOUND(coro_loop_of(co));
    CHECK_EQ(coro_scope_close(co, &my->inner.scope, 0), 0);
    say(value_of(co));
    SOUND(coro_loop_of(co));
    CORO_END(0);
}

TEST(context_value_whose_scope_is_closed_by_hand_uncovers_the_one_before)
{
    const coro_options o = {.clock = CORO_VIRTUAL, .report = {hear, NULL}};
    CHECK_EQ(coro_run_with(&o, closes_context), 0);
    CHECK_STR(trace, "red blue blue (null)");
}

/* ---- scopes and groups -------------------------------------------------------------------- */

struct closes_group_as_scope {
    CORO_FRAME;
    coro_group g;
    int as_scope, as_group;
};

CORO(closes_group_as_scope)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "child", .d = CORO_MS(1));
    my->as_scope = coro_scope_close(co, &my->g.scope, 0);
    CHECK_EQ(my->as_scope, -EBUSY);
    CHECK_EQ(my->g.alive, 1);
    SOUND(coro_loop_of(co));
    CORO_AWAIT(my->as_group, coro_group_close(co, &my->g, 5));
    say("closed");
    CHECK_EQ(my->as_group, 5);
    CORO_END(my->g.failed);
}

TEST(group_closed_as_a_scope_stays_open)
{
    const coro_options o = {.clock = CORO_VIRTUAL, .report = {hear, NULL}};
    CHECK_EQ(coro_run_with(&o, closes_group_as_scope), 0);
    CHECK_STR(trace, "child closed");
#if CORO_DEBUG
    CHECK_CONTAINS(said, "closes a group as a scope: coro_group_close waits for its tasks");
#endif /* CORO_DEBUG */
}

struct shields_late {
    CORO_FRAME;
    coro_scope outer;
    coro_group g;
    bool shield;
    int refused, rc;
};

/* The child is cut short from outside; then the group is shielded, or not. */
CORO(shields_late)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "child", .d = CORO_S(1));
    CORO_TRY(coro_sleep(co, 0));
    coro_scope_cancel(&my->outer);
    CORO_AWAIT(my->refused, coro_sleep(co, 0));
    CHECK_EQ(my->refused, -ECANCELED);
    CHECK_EQ(my->g.cancelled, 1);
    coro_scope_shield(&my->g.scope, my->shield);
    CHECK_EQ(coro_cancelled(co), !my->shield);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK(coro_cancelled(co)); /* outside of the group, as before */
    SOUND(coro_loop_of(co));
    CORO_END(coro_scope_close(co, &my->outer, 0) + (my->rc == -ECANCELED));
}

TEST(group_whose_child_was_cut_short_is_cancelled_if_it_still_is_at_its_close)
{
    CHECK_EQ(coro_run_with(&fast, shields_late, .shield = false), 1);
    CHECK_EQ(coro_run_with(&fast, shields_late, .shield = true), 0);
    CHECK_STR(trace, "cancelled cancelled");
}

TEST(shield_of_the_root_group_changes_nothing_but_is_no_harm)
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, napper, .name = "a", .d = CORO_MS(1));
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_scope_shield(&loop.root.scope, true);
    SOUND(&loop);
    coro_scope_shield(&loop.root.scope, false);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "a");

    coro_spawn(&loop.root, napper, .name = "b", .d = CORO_MS(1));
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_scope_shield(&loop.root.scope, true);
    CHECK_EQ(coro_group_cancel(&loop.root), 1); /* itself it does not shield from */
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "a cancelled");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- generators --------------------------------------------------------------------------- */

struct broken_pipe {
    CORO_FRAME;
    int i;
};

/* -EPIPE is how a close is told; this one is its own. */
CORO(broken_pipe)
{
    CORO_BEGIN();
    my->i = 1;
    CORO_YIELD();
    CORO_TRY(-EPIPE);
CORO_FINALLY:
    say("finally");
    CORO_TRY(-EIO);
    CORO_END(0);
}

struct reads_pipe {
    CORO_FRAME;
    CORO_GEN(broken_pipe) gen;
    int first, second, third;
};

CORO(reads_pipe)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, broken_pipe);
    CORO_AWAIT(my->first, coro_gen_next(co, &my->gen));
    CORO_AWAIT(my->second, coro_gen_next(co, &my->gen));
    CORO_AWAIT(my->third, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->first, 1);
    CHECK_EQ(my->second, -EPIPE);
    CHECK_EQ(my->third, 0);
    CORO_END(0);
}

TEST(generator_that_fails_with_epipe_of_its_own_keeps_this_first_error)
{
    CHECK_EQ(coro_run_with(&fast, reads_pipe), 0);
    CHECK_STR(trace, "finally");
}

struct fails_twice {
    CORO_FRAME;
};

CORO(fails_twice)
{
    CORO_BEGIN();
    CORO_TRY(-EINVAL);
CORO_FINALLY:
    CORO_TRY(-EIO);
    CORO_END(0);
}

struct calls_failing {
    CORO_FRAME;
    struct fails_twice sub;
    int rc;
};

CORO(calls_failing)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call(co, &my->sub, fails_twice));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_YIELD();
    CORO_END(0);
}

struct reads_failing {
    CORO_FRAME;
    CORO_GEN(calls_failing) gen;
    int got;
};

CORO(reads_failing)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, calls_failing);
    CORO_TRY(my->got, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->got, 1);
    CORO_TRY(my->got, coro_gen_next(co, &my->gen));
    CORO_END(my->got);
}

TEST(first_error_of_a_call_made_by_a_generator_is_the_one_that_counts)
{
    CHECK_EQ(coro_run_with(&fast, reads_failing), 0);
}

/* ---- bells -------------------------------------------------------------------------------- */

TEST(bell_rung_before_anybody_ever_waited_is_told)
{
    coro_irq_raise(&bell);
    coro_irq_raise(&bell);
    CHECK_EQ(coro_run_with(&fast, listener, .name = "rung", .bell = &bell), 2);
    CHECK_STR(trace, "rung");
}

TEST(bell_that_is_full_loses_the_ring_and_not_all_before_it)
{
    bell.raised = (coro_irq_count)-1; /* what rings without end come to */
    coro_irq_raise(&bell);
    CHECK_EQ(bell.raised - bell.seen, (coro_irq_count)-1);
}

struct cancels_listener {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(listener) first, second;
};

CORO(cancels_listener)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->first, listener, .name = "first", .bell = &bell);
    coro_start(&my->g, &my->second, listener, .name = "second", .bell = &other_bell);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_EQ(coro_task_cancel(&my->first), 1);
    coro_irq_raise(&bell);
    coro_irq_raise(&other_bell);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->first), -ECANCELED);
    CHECK_EQ(coro_task_result(&my->second), 1);
    CORO_END(0);
}

TEST(listener_cancelled_leaves_the_other_bells_and_its_own_ring)
{
    CHECK_EQ(coro_run_with(&fast, cancels_listener), 0);
    CHECK_STR(trace, "second");
    CHECK_EQ(coro_run_with(&fast, listener, .name = "kept", .bell = &bell), 1);
}

struct listens_cancelled {
    CORO_FRAME;
    coro_scope scope;
    int rc;
};

CORO(listens_cancelled)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, coro_irq_wait(co, &bell));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
    CORO_TRY(my->rc, coro_irq_wait(co, &bell));
    CORO_END(my->rc);
}

TEST(bell_in_a_cancelled_scope_keeps_its_rings)
{
    coro_irq_raise(&bell);
    CHECK_EQ(coro_run_with(&fast, listens_cancelled), 1);
}

static void ring(coro_loop *l)
{
    (void)l;
    CHECK_EQ(coro_loop_rung(l), false);
    coro_irq_raise(&bell);
}

TEST(bell_that_rings_while_the_loop_sleeps_is_heard_by_its_driver)
{
    const coro_options o = {.driver = {world_now, world_park, world_wake, NULL, NULL}};
    world.outside = ring;
    CHECK_EQ(coro_run_with(&o, listener, .name = "rung", .bell = &bell), 1);
    CHECK_EQ(world.parks, 1);
    CHECK_EQ(world.wakes, 1);
    CHECK(world.heard);
}

struct two_wait {
    CORO_FRAME;
    coro_group g;
    coro_time start;
};

CORO(two_wait)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "hour", .d = CORO_S(3600));
    coro_spawn(&my->g, listener, .name = "bell", .bell = &bell);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_now(co) - my->start, CORO_S(3600));
    CORO_END(0);
}

TEST(virtual_time_stands_still_while_somebody_waits_for_a_bell)
{
    const coro_options o = {.driver = {world_now, world_park, world_wake, NULL, NULL},
                            .clock = CORO_VIRTUAL};
    world.outside = ring;
    CHECK_EQ(coro_run_with(&o, two_wait), 0);
    CHECK_STR(trace, "bell hour");
    CHECK_EQ(world.parks, 1);
}

/* ---- drivers ------------------------------------------------------------------------------ */

static int posts;

static void open_gate(coro_loop *l, coro_post_node *node)
{
    (void)l;
    (void)node;
    posts++;
    if (gate.waiting.head)
        CHECK(coro_complete(gate.waiting.head, 7));
}

static coro_post_node note = {NULL, open_gate};

static void post_note(coro_loop *l)
{
    CHECK(coro_post(l, &note));
}

TEST(driver_without_a_wake_function_is_not_woken_and_the_post_is_seen)
{
    const coro_options o = {.driver = {world_now, world_park, NULL, NULL, NULL}};
    world.outside = post_note;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, passer);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(posts, 1);
    CHECK_EQ(world.parks, 1);
    coro_loop_release(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void post_to_waiter(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)task;
    if (event == CORO_EVENT_SUSPEND)
        (void)coro_post(&loop, &note);
}

TEST(post_that_comes_after_the_last_look_keeps_the_loop_from_sleeping)
{
    const coro_options o = {.driver = {world_now, world_park, world_wake, NULL, NULL},
                            .on_event = post_to_waiter};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, passer);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(posts, 1);
    CHECK_EQ(world.parks, 0);
    CHECK_EQ(coro_stats(&loop).parked, 0);
    coro_loop_release(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(sleep_is_the_only_look_at_the_outside)
{
    const coro_options o = {.driver = {world_now, world_park, NULL, NULL, NULL}};
    world.outside = post_note;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, passer);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(world.parks, 1);
    CHECK_EQ(world.looks, 1); /* when all had ended */
    coro_loop_release(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void post_again(coro_loop *l, coro_post_node *node)
{
    if (++posts < 1000 && world.looks < 3)
        CHECK(coro_post(l, node));
    else
        CHECK(coro_complete(gate.waiting.head, 7));
}

TEST(posts_without_end_leave_the_driver_its_turns)
{
    const coro_options o = {.driver = {world_now, world_park, NULL, NULL, NULL}};
    coro_post_node endless = {NULL, post_again};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, passer);
    CHECK(coro_post(&loop, &endless));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(posts, 3);
    coro_loop_release(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(driver_of_a_clock_alone_lets_the_loop_wait_by_reading_it)
{
    const coro_driver clock_only = {world_now, NULL, NULL, NULL, NULL};
    const coro_driver whole = {world_now, world_park, NULL, NULL, NULL};
    coro_options o = {.report = {hear, NULL}};
    o.driver = whole; /* without a fini: nobody is told that it goes */
    world.tick = CORO_MS(1);
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_loop_drive(&loop, &clock_only);
    coro_spawn(&loop.root, napper, .name = "late", .d = CORO_MS(20));
    coro_spawn(&loop.root, napper, .name = "early", .d = CORO_MS(10));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "early late");
    CHECK_EQ(world.parks, 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct overslept {
    CORO_FRAME;
    coro_group g;
};

CORO(overslept)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, napper, .name = "nap", .d = CORO_MS(5));
    CORO_TRY(coro_sleep(co, 0));
    world.now += CORO_S(1); /* a step that takes long */
    (void)coro_now(co);
    coro_dump(coro_loop_of(co), NULL);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(dump_says_of_an_overdue_sleeper_that_no_time_is_left)
{
    const coro_options o = {.driver = {world_now, world_park, NULL, NULL, NULL},
                            .report = {hear, NULL}};
    CHECK_EQ(coro_run_with(&o, overslept), 0);
#if CORO_TEXTS
    CHECK_CONTAINS(said, " waits for sleep, at most 0.000 s\n");
#endif /* CORO_TEXTS */
    CHECK_STR(trace, "nap");
}

/* ---- tasks that are given up -------------------------------------------------------------- */

static coro_scope left_open;

/* Waits for ever in a scope; started again, tries to close what it has left. */
struct returns {
    CORO_FRAME;
    bool again;
    coro_context node;
    int rc;
};

CORO(returns)
{
    CORO_BEGIN();
    coro_context_set(co, &my->node, &key, red);
    if (my->again)
        CORO_LEAVE();
    coro_scope_open(co, &left_open);
    CORO_TRY(gate_pass(co, &gate));
CORO_FINALLY:
    my->rc = coro_scope_close(co, &left_open, 0);
    CHECK_EQ(my->rc, -EBUSY);
    CHECK_STR(value_of(co), "red");
    SOUND(coro_loop_of(co));
    CORO_END(1);
}

TEST(scope_of_a_task_that_was_given_up_cannot_be_closed_by_the_next_one_in_its_storage)
{
    static CORO_TASK(returns) t;
    const coro_options o = {.clock = CORO_VIRTUAL, .report = {hear, NULL}};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &t, returns);
    CHECK_EQ(coro_loop_run(&loop), -EDEADLK);
    CHECK_EQ(coro_task_result(&t), -EDEADLK);
    coro_start(&loop.root, &t, returns, .again = true);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct limited {
    CORO_FRAME;
    coro_scope limit;
};

CORO(limited)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->limit);
    coro_scope_shield(&my->limit, true); /* the deadlock's cancellation does not come in */
    CORO_TRY(gate_pass(co, &gate));
    CORO_END(0);
}

static CORO_TASK(limited) victims[2];

static void set_deadline(void *arg, coro_task *task, int error)
{
    int *calls = (int *)arg;
    (void)task;
    CHECK_EQ(error, -EDEADLK);
    if (++*calls == 1)
        CHECK_EQ(coro_scope_deadline(&victims[1].frame.limit, CORO_S(1)), 0);
}

TEST(deadline_set_while_tasks_are_given_up_is_dropped_with_its_task)
{
    int calls = 0;
    coro_options o = {.clock = CORO_VIRTUAL, .on_error = set_deadline, .arg = NULL};
    o.report.put = hear;
    o.arg = &calls;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &victims[0], limited);
    coro_start(&loop.root, &victims[1], limited);
    CHECK_EQ(coro_loop_run(&loop), -EDEADLK);
    CHECK_EQ(calls, 2);
    CHECK_EQ(coro_stats(&loop).timers, 0);
    CHECK_EQ(coro_stats(&loop).tasks, 0);
    SOUND(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void start_one_more(void *arg, coro_task *task, int error)
{
    int *calls = (int *)arg;
    (void)task;
    (void)error;
    if (++*calls == 1)
        coro_spawn(&loop.root, napper, .name = "late", .d = 0);
}

TEST(task_started_by_on_error_while_others_are_given_up_leaves_the_loop_in_order)
{
    int calls = 0;
    coro_options o = {.clock = CORO_VIRTUAL, .on_error = start_one_more, .arg = NULL};
    o.report.put = hear;
    o.arg = &calls;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &victims[0], limited);
    CHECK_EQ(coro_loop_run(&loop), -EDEADLK);
    CHECK_EQ(coro_stats(&loop).ready, coro_stats(&loop).tasks);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- stopping, memory --------------------------------------------------------------------- */

TEST(stop_asked_for_before_a_guests_step_ends_the_next_run_without_sleeping)
{
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_spawn(&loop.root, napper, .name = "a", .d = CORO_MS(1));
    coro_spawn(&loop.root, napper, .name = "b", .d = CORO_MS(2));
    coro_loop_stop(&loop);
    CHECK_EQ(coro_loop_step(&loop), 1); /* runs those that the stop let run */
    CHECK_EQ(coro_stats(&loop).ready, 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_stats(&loop).tasks, 2);
    CHECK_EQ(coro_loop_now(&loop), 0);
    CHECK_STR(trace, "");
    CHECK_EQ(coro_loop_run(&loop), 0); /* goes on */
    CHECK_STR(trace, "a b");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(large_pieces_of_an_arena_are_found_again_by_their_size)
{
    static union {
        char bytes[1 << 16];
        coro_time align;
    } arena;
    const size_t size = (size_t)CORO_CLASSES * CORO_GRAIN + 1;
    const coro_options o = {
        .arena = arena.bytes, .arena_size = sizeof arena, .clock = CORO_VIRTUAL};
    void *small, *large, *other;
    size_t used;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    small = coro_loop_alloc(&loop, size);
    large = coro_loop_alloc(&loop, 3 * size);
    CHECK(small && large && small != large);
    used = coro_stats(&loop).memory;
    coro_loop_free(&loop, large, 3 * size);
    coro_loop_free(&loop, small, size);

    CHECK(coro_loop_alloc(&loop, 3 * size) == large); /* behind the other in the list */
    CHECK(coro_loop_alloc(&loop, size) == small);
    CHECK_EQ(coro_stats(&loop).memory, used);

    coro_loop_free(&loop, small, size); /* the only one, and too small */
    other = coro_loop_alloc(&loop, 2 * size);
    CHECK(other && other != small && other != large);
    CHECK(coro_stats(&loop).memory >= used + 2 * size);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- the hosted driver -------------------------------------------------------------------- */

#if CORO_HOSTED
static void *post_soon(void *arg)
{
    struct timespec soon;
    soon.tv_sec = 0;
    soon.tv_nsec = 2000000; /* by then the loop sleeps; if not, it is as well */
    nanosleep(&soon, NULL);
    CHECK(coro_post((coro_loop *)arg, &note));
    return NULL;
}

/* Nothing can end the loop's sleep, and there is no timer: it ends by itself. */
static void run_without_a_pipe(void)
{
    pthread_t thread;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_loop_hold(&loop);
    coro_spawn(&loop.root, passer);
    CHECK_EQ(pthread_create(&thread, NULL, post_soon, &loop), 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(posts, 1);
    coro_loop_release(&loop);
    coro_spawn(&loop.root, napper, .name = "nap", .d = CORO_MS(1));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "nap");

    coro_spawn(&loop.root, passer);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_FOREVER);
    CHECK(coro_post(&loop, &note));
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_EQ(posts, 2);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(loop_that_can_have_no_wake_up_pipe_sees_posts_all_the_same)
{
    struct rlimit none, old;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_without_a_pipe();
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
}

TEST(loop_whose_wake_up_pipe_is_too_large_for_select_sees_posts_all_the_same)
{
    static int open_fds[FD_SETSIZE];
    struct rlimit limit;
    int n = 0;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < FD_SETSIZE + 16)
        return; /* then there are no such descriptors */
    if (limit.rlim_cur < FD_SETSIZE + 16)
        limit.rlim_cur = FD_SETSIZE + 16;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    do
        CHECK((open_fds[n] = dup(STDERR_FILENO)) >= 0);
    while (open_fds[n++] < FD_SETSIZE - 1);
    run_without_a_pipe();
    while (n > 0)
        close(open_fds[--n]);
}

/* Makes every pipe of this process as small as it can be, where that is possible. */
static void shrink_pipes(void)
{
#if defined __linux__
    int fd;
    for (fd = STDERR_FILENO + 1; fd < 64; fd++)
        (void)fcntl(fd, 1031 /* F_SETPIPE_SZ, which only GNU names */, 4096);
#endif /* defined __linux__ */
}

TEST(bell_that_rings_more_often_than_the_wake_up_pipe_can_hold_loses_nothing)
{
    static CORO_TASK(listener) t;
    coro_time start;
    int i;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_spawn(&loop.root, napper, .name = "pipe", .d = CORO_MS(1)); /* now there is one */
    CHECK_EQ(coro_loop_run(&loop), 0);
    shrink_pipes();

    coro_start(&loop.root, &t, listener, .name = "bell", .bell = &bell);
    CHECK_EQ(coro_loop_step(&loop), 1);
    errno = EIO;
    for (i = 0; i < 5000; i++) {
        (void)coro_loop_deadline(&loop); /* the host goes to sleep: rings have to wake it */
        coro_irq_raise(&bell);
    }
    CHECK_EQ(errno, EIO); /* a signal handler may ring */
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 5000);

    start = coro_loop_now(&loop); /* and what is left in the pipe shortens no sleep */
    coro_spawn(&loop.root, napper, .name = "nap", .d = CORO_MS(1));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK(coro_loop_now(&loop) - start >= CORO_MS(1));
    CHECK_STR(trace, "pipe bell nap");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct stuck_at_gate {
    CORO_FRAME;
    coro_scope limit;
    int rc;
};

CORO(stuck_at_gate)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(5));
    CORO_AWAIT(my->rc, gate_pass(co, &gate));
    say(coro_cancelled(co) ? "expired" : "in time");
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    CHECK(coro_scope_expired(&my->limit));
    CORO_END(my->rc);
}

struct opens_gate {
    CORO_FRAME;
};

CORO(opens_gate)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(30)));
    say("opens");
    CHECK(coro_complete(gate.waiting.head, 9));
    CORO_END(0);
}

static coro_time started;

/* In the look before the loop spins, and in the first one while it spins: that one takes long. */
static void dawdle(coro_loop *l, coro_post_node *node)
{
    if (++posts == 1) {
        CHECK(coro_post(l, node));
        return;
    }
    while (coro_loop_now(l) < started + CORO_MS(6))
        continue;
}

TEST(deadline_that_passes_while_the_loop_spins_and_wakes_nobody_lets_it_go_on)
{
    static CORO_TASK(stuck_at_gate) t;
    static coro_post_node node = {NULL, dawdle};
    const coro_options o = {.spin = CORO_MS(1)};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    started = coro_loop_now(&loop);
    coro_start(&loop.root, &t, stuck_at_gate);
    coro_spawn(&loop.root, opens_gate);
    CHECK(coro_post(&loop, &node));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(posts, 2);
    CHECK_EQ(coro_task_result(&t), 9);
    CHECK_STR(trace, "opens expired");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}
#endif /* CORO_HOSTED */

/* ---- alarms, reports ---------------------------------------------------------------------- */

TEST(alarm_is_none_when_it_is_for_ever_or_its_task_does_not_wait)
{
    static CORO_TASK(passer) t;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &t, passer);
    coro_alarm(&t.task, CORO_MS(1)); /* it has not begun */
    CHECK_EQ(coro_stats(&loop).timers, 0);
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_alarm(&t.task, CORO_FOREVER);
    CHECK_EQ(coro_stats(&loop).timers, 0);
    SOUND(&loop);
    CHECK(coro_complete(&t.task, 9));
    coro_alarm(&t.task, CORO_MS(1)); /* it is ready */
    CHECK_EQ(coro_stats(&loop).timers, 0);
    SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 9);
    CHECK_EQ(coro_loop_now(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(report_about_a_task_says_who_it_is_and_where)
{
    static CORO_TASK(passer) t;
    const coro_options o = {.clock = CORO_VIRTUAL, .report = {hear, NULL}};
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &t, passer);
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_report(&t.task, " is at the gate");
#if CORO_TEXTS && CORO_NAMES
    CHECK_CONTAINS(said, "coro: task 0 passer is at the gate, at passer ");
    CHECK_CONTAINS(said, "test_cover.c:");
#elif CORO_TEXTS
    CHECK_CONTAINS(said, " is at the gate, at ");
#else
    CHECK_STR(said, "");
#endif /* CORO_TEXTS && CORO_NAMES */
    CHECK(coro_complete(&t.task, 0));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- coro_verify -------------------------------------------------------------------------- */

struct waits_inside {
    CORO_FRAME;
    coro_scope outer, inner;
};

CORO(waits_inside)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_scope_open(co, &my->inner);
    CORO_TRY(gate_pass(co, &gate));
    CORO_END(0);
}

/* Break one thing at a time, and mend it. (More of this is in test_debug.c.) */
TEST(verify_finds_broken_chains_and_queues)
{
    static CORO_TASK(waits_inside) a, b;
    const coro_waitq *waiting;
    coro_link *next;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &a, waits_inside);
    coro_start(&loop.root, &b, waits_inside);
    CHECK_EQ(coro_loop_step(&loop), 1);
    SOUND(&loop);

    a.frame.outer.core.flags ^= CORO__OPEN;
    CHECK_STR(coro_verify(&loop), "a closed scope is in a chain");
    a.frame.outer.core.flags ^= CORO__OPEN;
    a.frame.outer.core.inner = &a.frame.outer.core;
    CHECK_STR(coro_verify(&loop), "a chain is broken");
    a.frame.outer.core.inner = &a.frame.inner.core;
    next = a.task.wait.next;
    a.task.wait.next = &a.task.wait;
    a.task.wait.prev = next;
    CHECK_STR(coro_verify(&loop), "a wait queue is broken");
    a.task.wait.next = a.task.wait.prev = next;
    waiting = b.task.waiting;
    b.task.waiting = NULL;
    CHECK_STR(coro_verify(&loop), "a task neither waits nor is ready");
    b.task.waiting = waiting;
    SOUND(&loop);

    CHECK(coro_complete(&b.task, 0));
    SOUND(&loop);
    next = b.task.wait.next;
    b.task.wait.next = b.task.wait.prev = &b.task.wait;
    b.task.waiting = waiting;
    CHECK_STR(coro_verify(&loop), "a task is in the run queue and waits as well");
    b.task.waiting = NULL;
    b.task.wait.next = next;
    SOUND(&loop);
    CHECK(coro_complete(&a.task, 0));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- an error inside the hook that is told of errors -------------------------------------- */

static int told;

static void spawn_another(void *arg, coro_task *task, int error)
{
    (void)arg;
    (void)task;
    CHECK_EQ(error, -ENOMEM);
    CHECK(++told < 3);
    CHECK_EQ(coro_spawn(&loop.root, waits_inside), -ENOMEM); /* fails as well */
}

static void *no_memory(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return NULL;
}

static void nothing_to_free(void *arg, void *memory, size_t size)
{
    (void)arg;
    (void)size;
    CHECK(memory == NULL);
}

TEST(what_fails_in_on_error_is_not_told_to_on_error)
{
    const coro_options o = {
        .allocator = {no_memory, nothing_to_free, NULL},
        .clock = CORO_VIRTUAL,
        .on_error = spawn_another,
    };
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    CHECK_EQ(coro_spawn(&loop.root, waits_inside), -ENOMEM);
    CHECK_EQ(told, 1);
    CHECK_EQ(coro_spawn(&loop.root, waits_inside), -ENOMEM); /* the next one is told again */
    CHECK_EQ(told, 2);
    CHECK_EQ(loop.root.failed, 4);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}
