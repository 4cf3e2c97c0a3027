/* test_coroutine.c -- the macros in capitals, calls of coroutines, and operations of one's own. */
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

/* An allocator that counts, and fails once. */
static size_t live_bytes;
static int allocations, fail_at;

static void *counting_alloc(void *arg, size_t size)
{
    (void)arg;
    if (++allocations == fail_at)
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

static int resumes;

static void count_resumes(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)task;
    resumes += event == CORO_EVENT_RESUME;
}

static const coro_options plain = {
    .allocator = {counting_alloc, counting_free, NULL},
    .clock = CORO_VIRTUAL,
};

static const coro_options watched = {
    .allocator = {counting_alloc, counting_free, NULL},
    .clock = CORO_VIRTUAL,
    .on_event = count_resumes,
};

/* The loop is gone: so must be all that it took. */
static int empty_world(int rc)
{
    CHECK_EQ(live_bytes, 0);
    return rc;
}

#define RUN(...) empty_world(coro_run_with(&plain, __VA_ARGS__))

#define CHECK_SOUND(co) CHECK_STR(coro_verify(coro_loop_of(co)), NULL)

/* An operation that is done at once. */
static int ready_calls;

static coro_op ready(coro_task *co, intptr_t v)
{
    ready_calls++;
    return coro_cancelled(co) ? coro_refuse(co) : coro_done(co, v);
}

/* One that has to wait for the loop to look outside. */
static int later_calls;
static coro_waitq later_queue;
static coro_post_node later_node;

static void later_run(coro_loop *loop, coro_post_node *node)
{
    (void)loop;
    (void)node;
    while (later_queue.head)
        CHECK(coro_complete(later_queue.head, coro_word(later_queue.head)));
}

static coro_op later(coro_task *co, intptr_t v)
{
    static const coro_ops ops = {"later", NULL, NULL};
    later_calls++;
    if (coro_cancelled(co))
        return coro_refuse(co);
    later_node.run = later_run;
    (void)coro_post(coro_loop_of(co), &later_node);
    return coro_suspend(co, &later_queue, &ops, v);
}

/* A coroutine that ends with v, having waited or not. */
struct echo {
    CORO_FRAME;
    intptr_t v;
    int wait; /* or not */
};

CORO(echo)
{
    CORO_BEGIN();
    if (my->wait)
        CORO_TRY(later(co, 1));
    CORO_END(my->v);
}

/* ---- values ---------------------------------------------------------------------------------- */

TEST(run_gives_what_the_coroutine_ends_with)
{
    CHECK_EQ(RUN(echo), 0);
    CHECK_EQ(RUN(echo, .v = 7), 7);
    CHECK_EQ(RUN(echo, .v = 7, .wait = true), 7);
    CHECK_EQ(RUN(echo, .v = -7), -7);
    CHECK_EQ(RUN(echo, .v = -7, .wait = true), -7);
    CHECK_EQ(RUN(echo, .v = INT_MAX), INT_MAX);
}

TEST(errors_near_int_min_are_errors_and_not_taken_for_a_wait)
{
    CHECK(RUN(echo, .v = INT_MIN) < 0);
    CHECK(RUN(echo, .v = INT_MIN + 3, .wait = true) < 0);
    CHECK(RUN(echo, .v = INTPTR_MIN) < 0);
}

struct empty_body {
    CORO_FRAME;
};

CORO(empty_body)
{
    CORO_BEGIN();
    CORO_END(3);
}

struct only_finally {
    CORO_FRAME;
};

CORO(only_finally)
{
    CORO_BEGIN();
CORO_FINALLY:
    CORO_END(4);
}

TEST(body_may_be_empty)
{
    CHECK_EQ(RUN(empty_body), 3);
    CHECK_EQ(RUN(only_finally), 4);
}

static int ends;

static int count_end(int v)
{
    ends++;
    return v;
}

struct counted_end {
    CORO_FRAME;
    int rc;
};

CORO(counted_end)
{
    CORO_BEGIN();
    CORO_TRY(my->rc);
    CORO_TRY(later(co, 0));
    CORO_END(count_end(9));
}

TEST(value_of_end_is_evaluated_once_and_only_on_success)
{
    CHECK_EQ(RUN(counted_end, .rc = 0), 9);
    CHECK_EQ(ends, 1);
    CHECK_EQ(RUN(counted_end, .rc = -3), -3);
    CHECK_EQ(ends, 1);
}

struct zeroed {
    CORO_FRAME;
    int given;
    int numbers[4];
    void *pointer;
    struct echo inner;
};

CORO(zeroed)
{
    CORO_BEGIN();
    CHECK_EQ(my->numbers[0] | my->numbers[1] | my->numbers[2] | my->numbers[3], 0);
    CHECK(my->pointer == NULL);
    CHECK_EQ(my->inner.v, 0);
    my->numbers[3] = my->given;
    my->pointer = my;
    my->inner.v = 5;
    CORO_TRY(later(co, 0));
    CHECK(my->pointer == my);
    CHECK_EQ(my->numbers[3], my->given);
    CORO_END(my->given);
}

struct calls_twice {
    CORO_FRAME;
    struct zeroed sub;
    int sum, rc;
};

CORO(calls_twice)
{
    CORO_BEGIN();
    memset(&my->sub, 0xa5, sizeof my->sub);
    CORO_TRY(my->rc, coro_call(co, &my->sub, zeroed, .given = 20));
    my->sum += my->rc;
    CORO_TRY(my->rc, coro_call(co, &my->sub, zeroed, .given = 3));
    my->sum += my->rc;
    CORO_TRY(my->rc, coro_call(co, &my->sub, zeroed));
    my->sum += my->rc;
    CORO_END(my->sum);
}

TEST(members_that_are_not_named_in_a_call_are_zero)
{
    CHECK_EQ(RUN(calls_twice), 23);
}

struct reads_old {
    CORO_FRAME;
    struct echo sub;
    intptr_t sum;
    int i;
};

CORO(reads_old)
{
    CORO_BEGIN();
    my->sub.v = 1;
    for (my->i = 0; my->i < 5; my->i++)
        CORO_TRY(my->sum, coro_call(co, &my->sub, echo, .v = my->sub.v * 2, .wait = my->i % 2));
    CORO_END(my->sum);
}

TEST(arguments_of_a_call_may_read_the_old_frame)
{
    CHECK_EQ(RUN(reads_old), 32);
}

/* ---- each argument once ---------------------------------------------------------------------- */

struct awaits_once {
    CORO_FRAME;
    int got, i;
    int a[4];
    coro_group g;
    int groups;
};

CORO(awaits_once)
{
    CORO_BEGIN();
    CORO_TRY(ready(co, 1));
    CORO_TRY(later(co, 1));
    CORO_TRY(my->got, ready(co, 2));
    CORO_TRY(my->got, later(co, 2));
    CORO_AWAIT(my->got, ready(co, 3));
    CORO_AWAIT(my->got, later(co, 3));
    CORO_IGNORE(ready(co, 4));
    CORO_IGNORE(later(co, 4));
    CHECK_EQ(ready_calls, 4);
    CHECK_EQ(later_calls, 4);
    CORO_TRY(my->a[my->i++], ready(co, 10));
    CORO_TRY(my->a[my->i++], later(co, 11));
    CORO_AWAIT(my->a[my->i++], ready(co, 12));
    CORO_AWAIT(my->a[my->i++], later(co, 13));
    CHECK_EQ(my->i, 4);
    CHECK_EQ(my->a[0], 10);
    CHECK_EQ(my->a[1], 11);
    CHECK_EQ(my->a[2], 12);
    CHECK_EQ(my->a[3], 13);
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, echo, .wait = true);
    CORO_CLOSE((my->groups++, &my->g));
    CHECK_EQ(my->groups, 1);
    CORO_END(0);
}

TEST(awaited_expression_and_target_are_evaluated_once)
{
    CHECK_EQ(RUN(awaits_once), 0);
}

static int evaluated[16];

static int once(int which, int v)
{
    evaluated[which]++;
    return v;
}

#define ONCE(which, x) (once((which), 0), (x))

struct arguments_once {
    CORO_FRAME;
    coro_group g;
    coro_scope limit;
    CORO_TASK(echo) t[2];
    struct echo sub;
    int rc;
};

CORO(arguments_once)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(ONCE(0, co), ONCE(1, &my->sub), echo, .v = once(2, 5), .wait = true));
    CORO_TRY(my->rc, coro_call_new(ONCE(3, co), echo, .v = once(4, 5), .wait = true));
    CORO_TRY(my->rc, coro_call_within(ONCE(5, co), ONCE(6, &my->limit), once(7, 1000000),
                                      ONCE(8, &my->sub), echo, .v = once(9, 5), .wait = true));
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_spawn(ONCE(10, &my->g), echo, .v = once(11, 5), .wait = true), 0);
    CHECK_EQ(coro_start(ONCE(12, &my->g), &my->t[once(13, 1)], echo, .v = once(14, 5)), 0);
    CORO_TRY(my->rc, coro_join(co, &my->t[once(15, 1)]));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->rc);
}

TEST(macros_evaluate_each_argument_once)
{
    CHECK_EQ(RUN(arguments_once), 5);
    for (int i = 0; i < 16; i++) {
        if (evaluated[i] != 1)
            TEST_FAIL("argument %d was evaluated %d times", i, evaluated[i]);
    }
}

/* ---- TRY, AWAIT, IGNORE ---------------------------------------------------------------------- */

enum colour { RED, GREEN, BLUE };

struct every_type {
    CORO_FRAME;
    bool b, no;
    char c;
    signed char sc;
    unsigned char uc;
    short s;
    unsigned short us;
    int i;
    unsigned u;
    long l;
    unsigned long ul;
    long long ll;
    unsigned long long ull;
    size_t size;
    ptrdiff_t diff;
    int8_t i8;
    uint16_t u16;
    int32_t i32;
    uint64_t u64;
    intptr_t ip;
    uintptr_t up;
    enum colour e;
};

CORO(every_type)
{
    CORO_BEGIN();
    CORO_TRY(my->b, later(co, 512));
    CORO_TRY(my->no, later(co, 0));
    CORO_TRY(my->c, later(co, 65));
    CORO_TRY(my->sc, later(co, 66));
    CORO_TRY(my->uc, later(co, 200));
    CORO_TRY(my->s, later(co, 30000));
    CORO_TRY(my->us, later(co, 60000));
    CORO_TRY(my->i, later(co, INT_MAX));
    CORO_TRY(my->u, later(co, INT_MAX));
    CORO_TRY(my->l, later(co, INTPTR_MAX));
    CORO_TRY(my->ul, later(co, INTPTR_MAX));
    CORO_TRY(my->ll, later(co, INTPTR_MAX));
    CORO_TRY(my->ull, later(co, INTPTR_MAX));
    CORO_TRY(my->size, later(co, INTPTR_MAX));
    CORO_TRY(my->diff, later(co, INTPTR_MAX));
    CORO_TRY(my->i8, ready(co, 100));
    CORO_TRY(my->u16, ready(co, 65535));
    CORO_TRY(my->i32, ready(co, 1 << 30));
    CORO_TRY(my->u64, ready(co, INTPTR_MAX));
    CORO_TRY(my->ip, ready(co, INTPTR_MAX));
    CORO_TRY(my->up, ready(co, INTPTR_MAX));
    CORO_TRY(my->e, ready(co, BLUE));
    CHECK(my->b && !my->no);
    CHECK(my->c == 65 && my->sc == 66 && my->uc == 200);
    CHECK(my->s == 30000 && my->us == 60000);
    CHECK(my->i == INT_MAX && my->u == (unsigned)INT_MAX);
    CHECK(my->l == INTPTR_MAX && my->ul == (unsigned long)INTPTR_MAX);
    CHECK(my->ll == INTPTR_MAX && my->ull == (unsigned long long)INTPTR_MAX);
    CHECK(my->size == (size_t)INTPTR_MAX && my->diff == INTPTR_MAX);
    CHECK(my->i8 == 100 && my->u16 == 65535 && my->i32 == 1 << 30);
    CHECK(my->u64 == (uint64_t)INTPTR_MAX && my->ip == INTPTR_MAX);
    CHECK(my->up == (uintptr_t)INTPTR_MAX);
    CHECK(my->e == BLUE);
    CORO_END(0);
}

TEST(try_stores_into_every_integer_type)
{
    CHECK_EQ(RUN(every_type), 0);
}

enum source { AN_OP, A_LATE_OP, A_CALL, A_LATE_CALL, AN_INT, SOURCES };

struct tries {
    CORO_FRAME;
    struct echo sub;
    unsigned char target;
    int from;
    int v;
};

CORO(tries)
{
    CORO_BEGIN();
    my->target = 77;
    note("<");
    if (my->from == AN_OP)
        CORO_TRY(my->target, ready(co, my->v));
    else if (my->from == A_LATE_OP)
        CORO_TRY(my->target, later(co, my->v));
    else if (my->from == A_CALL)
        CORO_TRY(my->target, coro_call(co, &my->sub, echo, .v = my->v));
    else if (my->from == A_LATE_CALL)
        CORO_TRY(my->target, coro_call(co, &my->sub, echo, .v = my->v, .wait = true));
    else
        CORO_TRY(my->target, my->v);
    note(">");
CORO_FINALLY:
    note_number(my->target);
    CORO_END(my->target);
}

TEST(try_takes_operations_calls_and_ints)
{
    for (int from = 0; from < SOURCES; from++) {
        trace[0] = 0;
        CHECK_EQ(RUN(tries, .from = from, .v = 200), 200);
        CHECK_STR(trace, "<>200 ");
    }
}

TEST(failed_try_leaves_and_does_not_touch_its_target)
{
    for (int from = 0; from < SOURCES; from++) {
        trace[0] = 0;
        CHECK_EQ(RUN(tries, .from = from, .v = -EPIPE), -EPIPE);
        CHECK_STR(trace, "<77 ");
    }
}

struct awaits {
    CORO_FRAME;
    struct echo sub;
    int i;
    long l;
    long long ll;
};

CORO(awaits)
{
    CORO_BEGIN();
    CORO_AWAIT(my->i, ready(co, -EPIPE));
    CORO_AWAIT(my->l, later(co, -EBUSY));
    CORO_AWAIT(my->ll, coro_call(co, &my->sub, echo, .v = -EPERM, .wait = true));
    CHECK(my->i == -EPIPE && my->l == -EBUSY && my->ll == -EPERM);
    CORO_AWAIT(my->i, coro_call(co, &my->sub, echo, .v = 12));
    CORO_AWAIT(my->l, later(co, INTPTR_MAX));
    CORO_AWAIT(my->ll, ready(co, INTPTR_MAX));
    CHECK(my->i == 12 && my->l == INTPTR_MAX && my->ll == INTPTR_MAX);
    CORO_AWAIT(my->i, -3);
    CHECK_EQ(my->i, -3);
    CORO_END(1);
}

TEST(await_hands_over_the_result_and_goes_on)
{
    CHECK_EQ(RUN(awaits), 1);
}

struct ignores {
    CORO_FRAME;
    struct echo sub;
};

CORO(ignores)
{
    CORO_BEGIN();
    CORO_IGNORE(ready(co, -EPIPE));
    CORO_IGNORE(later(co, -EPIPE));
    CORO_IGNORE(coro_call(co, &my->sub, echo, .v = -EPIPE));
    CORO_IGNORE(coro_call(co, &my->sub, echo, .v = -EPIPE, .wait = true));
    CORO_IGNORE(-EPIPE);
    CHECK_EQ(later_calls, 2);
    CORO_END(2);
}

TEST(ignore_drops_errors_and_goes_on)
{
    CHECK_EQ(RUN(ignores), 2);
}

/* ---- ways out -------------------------------------------------------------------------------- */

enum way {
    FALLS_THROUGH, LEAVES, LEAVES_LATE, FAILS, FAILS_LATE, TRY_FAILS, TRY_FAILS_LATE, CALL_FAILS,
    CALL_FAILS_LATE, CLOSE_FAILS, CLOSE_FAILS_LATE, IS_CANCELLED, WAYS
};

struct leaver {
    CORO_FRAME;
    int way;
    struct echo sub;
    coro_group g;
};

CORO(leaver)
{
    CORO_BEGIN();
    if (my->way == LEAVES)
        CORO_LEAVE();
    if (my->way == FAILS)
        CORO_FAIL(-EPIPE);
    if (my->way == TRY_FAILS)
        CORO_TRY(ready(co, -EPIPE));
    if (my->way == TRY_FAILS_LATE)
        CORO_TRY(later(co, -EPIPE));
    if (my->way == CALL_FAILS || my->way == CALL_FAILS_LATE)
        CORO_TRY(coro_call(co, &my->sub, echo, .v = -EPIPE, .wait = my->way == CALL_FAILS_LATE));
    if (my->way == CLOSE_FAILS || my->way == CLOSE_FAILS_LATE) {
        coro_group_open(co, &my->g, CORO_ALL);
        (void)coro_spawn(&my->g, echo, .v = -EPIPE, .wait = my->way == CLOSE_FAILS_LATE);
        CORO_CLOSE(&my->g);
    }
    CORO_TRY(later(co, 0));
    if (my->way == LEAVES_LATE)
        CORO_LEAVE();
    if (my->way == FAILS_LATE)
        CORO_FAIL(-EPIPE);
    if (my->way == IS_CANCELLED) {
        coro_task_cancel(co);
        CORO_TRY(coro_sleep(co, CORO_S(1)));
    }
    note("body ");
CORO_FINALLY:
    note("finally ");
    note_number(CORO_ERR);
    CORO_IGNORE(later(co, 0));
    note("end");
    CORO_END(5);
}

static void check_way(int way, int rc, const char *text)
{
    int got;
    trace[0] = 0;
    got = RUN(leaver, .way = way);
    if (got != rc || strcmp(trace, text))
        TEST_FAIL("way %d: got %d \"%s\", want %d \"%s\"", way, got, trace, rc, text);
}

TEST(finally_runs_once_on_every_way_out)
{
    char failed[32], cancelled[32];
    snprintf(failed, sizeof failed, "finally %d end", -EPIPE);
    snprintf(cancelled, sizeof cancelled, "finally %d end", -ECANCELED);
    check_way(FALLS_THROUGH, 5, "body finally 0 end");
    check_way(LEAVES, 5, "finally 0 end");
    check_way(LEAVES_LATE, 5, "finally 0 end");
    for (int way = FAILS; way < IS_CANCELLED; way++)
        check_way(way, -EPIPE, failed);
    check_way(IS_CANCELLED, -ECANCELED, cancelled);
}

struct no_finally {
    CORO_FRAME;
    int rc;
    bool wait, leave;
    int ended;
};

CORO(no_finally)
{
    CORO_BEGIN();
    if (my->wait)
        CORO_TRY(later(co, 0));
    if (my->leave)
        CORO_LEAVE();
    CORO_TRY(my->rc);
    note("body ");
    CORO_END((note("end "), 5));
}

TEST(without_finally_an_error_goes_to_the_end)
{
    CHECK_EQ(RUN(no_finally), 5);
    CHECK_STR(trace, "body end ");
    trace[0] = 0;
    CHECK_EQ(RUN(no_finally, .leave = true), 5);
    CHECK_EQ(RUN(no_finally, .wait = true, .leave = true), 5);
    CHECK_STR(trace, "end end ");
    trace[0] = 0;
    CHECK_EQ(RUN(no_finally, .rc = -4), -4);
    CHECK_EQ(RUN(no_finally, .rc = -4, .wait = true), -4);
    CHECK_STR(trace, "");
}

/* Body and cleanup each fail or not; the cleanup in one of several ways. */
enum undo { UNDO_WELL, UNDO_TRY, UNDO_TRY_LATE, UNDO_FAIL, UNDO_LEAVE, UNDO_CALL, UNDO_CLOSE };

struct undoes {
    CORO_FRAME;
    int body, undo;
    struct echo sub;
    coro_group g;
};

CORO(undoes)
{
    CORO_BEGIN();
    CORO_TRY(my->body);
    note("b");
CORO_FINALLY:
    note("f");
    if (my->undo == UNDO_TRY)
        CORO_TRY(ready(co, -EBUSY));
    if (my->undo == UNDO_TRY_LATE)
        CORO_TRY(later(co, -EBUSY));
    if (my->undo == UNDO_FAIL)
        CORO_FAIL(-EBUSY);
    if (my->undo == UNDO_LEAVE)
        CORO_LEAVE();
    if (my->undo == UNDO_CALL)
        CORO_TRY(coro_call(co, &my->sub, echo, .v = -EBUSY, .wait = true));
    if (my->undo == UNDO_CLOSE) {
        coro_group_open(co, &my->g, CORO_COLLECT);
        CORO_CLOSE(&my->g);
    }
    note("u");
    CORO_END(6);
}

static void check_undo(int body, int undo, int rc, const char *text)
{
    int got;
    trace[0] = 0;
    got = RUN(undoes, .body = body, .undo = undo);
    if (got != rc || strcmp(trace, text))
        TEST_FAIL("undo %d: got %d \"%s\", want %d \"%s\"", undo, got, trace, rc, text);
}

TEST(error_in_finally_goes_to_the_end_and_is_the_result)
{
    check_undo(0, UNDO_WELL, 6, "bfu");
    check_undo(0, UNDO_TRY, -EBUSY, "bf");
    check_undo(0, UNDO_TRY_LATE, -EBUSY, "bf");
    check_undo(0, UNDO_FAIL, -EBUSY, "bf");
    check_undo(0, UNDO_CALL, -EBUSY, "bf");
    check_undo(0, UNDO_LEAVE, 6, "bf");
    check_undo(0, UNDO_CLOSE, 6, "bfu");
}

TEST(first_error_is_kept_when_finally_fails_too)
{
    check_undo(-EPIPE, UNDO_WELL, -EPIPE, "fu");
    check_undo(-EPIPE, UNDO_TRY, -EPIPE, "f");
    check_undo(-EPIPE, UNDO_TRY_LATE, -EPIPE, "f");
    check_undo(-EPIPE, UNDO_FAIL, -EPIPE, "f");
    check_undo(-EPIPE, UNDO_CALL, -EPIPE, "f");
    check_undo(-EPIPE, UNDO_LEAVE, -EPIPE, "f");
    check_undo(-EPIPE, UNDO_CLOSE, -EPIPE, "fu");
}

struct assigns_err {
    CORO_FRAME;
    int body, to, wait;
};

CORO(assigns_err)
{
    CORO_BEGIN();
    CORO_TRY(my->body);
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, my->body);
    CORO_ERR = my->to;
    if (my->wait)
        CORO_TRY(later(co, 0));
    CHECK_EQ(CORO_ERR, my->to);
    CORO_END(6);
}

TEST(error_may_be_assigned_in_finally)
{
    for (int wait = 0; wait < 2; wait++) {
        CHECK_EQ(RUN(assigns_err, .body = -EPIPE, .to = 0, .wait = wait), 6);
        CHECK_EQ(RUN(assigns_err, .body = -EPIPE, .to = -EBUSY, .wait = wait), -EBUSY);
        CHECK_EQ(RUN(assigns_err, .body = 0, .to = -EBUSY, .wait = wait), -EBUSY);
        CHECK_EQ(RUN(assigns_err, .body = 0, .to = 0, .wait = wait), 6);
    }
}

struct swallows {
    CORO_FRAME;
    int i;
    struct assigns_err sub;
};

CORO(swallows)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++)
        CORO_TRY(coro_call(co, &my->sub, assigns_err, .body = -EPIPE));
    CORO_TRY(coro_call(co, &my->sub, assigns_err, .body = 0, .to = -EBUSY));
    CORO_END(0);
}

TEST(frame_that_failed_may_be_called_again)
{
    CHECK_EQ(RUN(swallows), -EBUSY);
}

/* CORO_CLOSE in the body: goes on after a success, takes the verdict for the frame's error else. */
struct closes {
    CORO_FRAME;
    coro_group g;
    int rc;
    coro_mode mode;
};

CORO(closes)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, my->mode);
    (void)coro_spawn(&my->g, echo, .v = my->rc, .wait = true);
    (void)coro_spawn(&my->g, echo, .v = 1);
    CORO_CLOSE(&my->g);
    note("on ");
    CHECK_EQ(CORO_ERR, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g); /* closed already: nothing */
    note_number(CORO_ERR);
    CORO_END(8);
}

TEST(close_in_the_body_goes_on_after_a_success)
{
    CHECK_EQ(RUN(closes, .mode = CORO_ALL), 8);
    CHECK_STR(trace, "on 0 ");
    CHECK_EQ(RUN(closes, .rc = -EPIPE, .mode = CORO_COLLECT), 8);
    CHECK_EQ(RUN(closes, .rc = -EPIPE, .mode = CORO_RACE), 8);
    CHECK_STR(trace, "on 0 on 0 on 0 ");
}

TEST(close_in_the_body_fails_the_frame_with_the_groups_error)
{
    char want[32];
    snprintf(want, sizeof want, "%d ", -EPIPE);
    CHECK_EQ(RUN(closes, .rc = -EPIPE, .mode = CORO_ALL), -EPIPE);
    CHECK_STR(trace, want);
}

/* ---- where awaits may stand ------------------------------------------------------------------ */

/* clang-format would put these on two lines, and that is the point. */
#define TRY_BOTH(a, b) CORO_TRY(a); CORO_TRY(b)

struct one_line {
    CORO_FRAME;
    int a, b, c, d;
};

CORO(one_line)
{
    CORO_BEGIN();
    CORO_TRY(my->a, later(co, 1)); CORO_TRY(my->b, later(co, 2)); CORO_TRY(my->c, ready(co, 3));
    note_number(my->a); note_number(my->b); note_number(my->c);
    TRY_BOTH(my->c, later(co, 4)); TRY_BOTH(my->d, later(co, 5));
    CORO_AWAIT(my->a, later(co, 6)); CORO_IGNORE(later(co, -1)); CORO_AWAIT(my->b, later(co, 7));
    note_number(my->a); note_number(my->b);
    CORO_END(later_calls);
}

TEST(several_awaits_may_stand_on_one_line_and_in_one_macro)
{
    CHECK_EQ(RUN(one_line), 7);
    CHECK_STR(trace, "1 2 3 6 7 ");
}

struct branches {
    CORO_FRAME;
    int i;
    struct echo sub;
    coro_group g;
};

CORO(branches)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 4; my->i++)
        if (my->i == 0)
            CORO_TRY(later(co, 0));
        else if (my->i == 1)
            CORO_IGNORE(later(co, 0));
        else if (my->i == 2)
            CORO_AWAIT(my->sub.v, coro_call(co, &my->sub, echo, .v = 30, .wait = true));
        else
            note_number(my->sub.v);
    if (my->i == 4)
        CORO_CLOSE(&my->g);
    else
        CORO_LEAVE();
    if (my->i == 5)
        CORO_FAIL(-EPIPE);
    else
        note("else ");
    if (my->i == 4)
        CORO_LEAVE();
    else
        CORO_FAIL(-EPIPE);
    note("not reached");
    CORO_END(later_calls);
}

TEST(awaits_are_statements_in_if_and_else_without_braces)
{
    CHECK_EQ(RUN(branches), 3);
    CHECK_STR(trace, "30 else ");
}

struct loops {
    CORO_FRAME;
    int i, j, n;
};

CORO(loops)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        for (my->j = 0;; my->j++) {
            if (my->j == 1)
                continue;
            if (my->j == 3)
                break;
            CORO_TRY(my->n, later(co, my->i * 10 + my->j));
            note_number(my->n);
        }
        CORO_TRY(ready(co, 0));
    }
    while (my->i > 0) {
        CORO_TRY(later(co, 0));
        my->i--;
    }
    do
        CORO_TRY(my->j, later(co, my->j - 1));
    while (my->j);
    CORO_END(later_calls);
}

TEST(awaits_may_stand_in_loops)
{
    CHECK_EQ(RUN(loops), 6 + 3 + 3);
    CHECK_STR(trace, "0 2 10 12 20 22 ");
}

struct in_switch {
    CORO_FRAME;
    int kind;
};

#if CORO_LABELS_AS_VALUES || !CORO_CHECK
CORO(in_switch)
{
    CORO_BEGIN();
    switch (my->kind) {
    case 1000:
        CORO_TRY(later(co, 0));
        note("thousand ");
        break;
    default:
        note("default ");
        break;
    }
    note("after");
    CORO_END(0);
}
#endif /* CORO_LABELS_AS_VALUES || !CORO_CHECK */

#if CORO_LABELS_AS_VALUES
TEST(await_may_stand_in_a_switch_with_labels_as_values)
{
    CHECK_EQ(RUN(in_switch, .kind = 1000), 0);
    CHECK_STR(trace, "thousand after");
    trace[0] = 0;
    CHECK_EQ(RUN(in_switch, .kind = 1), 0);
    CHECK_STR(trace, "default after");
}
#elif !CORO_CHECK
static void run_in_switch(void *arg)
{
    (void)arg;
    (void)RUN(in_switch, .kind = 1000);
}

TEST(await_in_a_switch_traps_and_names_the_coroutine)
{
    CHECK_TRAP(run_in_switch, NULL, "this await is inside a switch of yours");
#if CORO_NAMES
    CHECK_TRAP(run_in_switch, NULL, "in_switch: ");
    CHECK_TRAP(run_in_switch, NULL, "test_coroutine.c:");
#endif /* CORO_NAMES */
}

TEST(switch_around_an_await_that_is_not_reached_works)
{
    CHECK_EQ(RUN(in_switch, .kind = -5), 0);
    CHECK_STR(trace, "default after");
}

TEST(switch_of_ones_own_does_not_jump_into_an_await)
{
    CHECK_EQ(RUN(in_switch, .kind = 1), 0);
    CHECK_STR(trace, "default after");
}
#endif /* CORO_LABELS_AS_VALUES */

/* ---- chains of calls ------------------------------------------------------------------------- */

/* Three frames, each with a FINALLY that waits. */
struct inner_frame {
    CORO_FRAME;
    int rc;
};

CORO(inner_frame)
{
    CORO_BEGIN();
    CORO_TRY(later(co, my->rc));
    note("inner ");
CORO_FINALLY:
    CORO_IGNORE(later(co, 0));
    note("~inner ");
    CORO_END(1);
}

struct middle_frame {
    CORO_FRAME;
    int rc;
    struct inner_frame sub;
};

CORO(middle_frame)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_call(co, &my->sub, inner_frame, .rc = my->rc));
    note("middle ");
CORO_FINALLY:
    CORO_IGNORE(later(co, 0));
    note("~middle ");
    CORO_END(my->rc + 1);
}

struct outer_frame {
    CORO_FRAME;
    int rc;
    struct middle_frame sub;
};

CORO(outer_frame)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_call(co, &my->sub, middle_frame, .rc = my->rc));
    note("outer ");
CORO_FINALLY:
    CORO_IGNORE(later(co, 0));
    note("~outer");
    CORO_END(my->rc + 1);
}

TEST(result_passes_up_a_chain_of_calls)
{
    CHECK_EQ(RUN(outer_frame), 3);
    CHECK_STR(trace, "inner ~inner middle ~middle outer ~outer");
}

TEST(error_unwinds_a_chain_of_calls_innermost_first)
{
    CHECK_EQ(RUN(outer_frame, .rc = -EPIPE), -EPIPE);
    CHECK_STR(trace, "~inner ~middle ~outer");
}

/* A chain of any depth, whose innermost frame waits. Code before CORO_BEGIN runs at each entry. */
#define DEEPEST 100

static int entries[DEEPEST + 1];

struct level {
    CORO_FRAME;
    struct level *below; /* where the frame of the call goes */
    int depth, waits, fail;
    intptr_t sum;
};

CORO(level)
{
    entries[my->depth]++;
    CORO_BEGIN();
    if (my->depth) {
        CORO_TRY(my->sum, coro_call(co, my->below, level, .below = my->below + 1,
                                    .depth = my->depth - 1, .waits = my->waits, .fail = my->fail));
        CORO_TRY(ready(co, 0));
    } else {
        for (; my->waits; my->waits--)
            CORO_TRY(my->sum, later(co, my->sum + 1));
        CORO_TRY(my->fail);
    }
    CORO_END(my->sum + my->depth);
}

static void check_depth(int depth)
{
    static struct level frames[DEEPEST + 1];
    memset(entries, 0, sizeof entries);
    resumes = 0;
    CHECK_EQ(empty_world(coro_run_with(&watched, level, .below = frames, .depth = depth,
                                       .waits = 10)), 10 + depth * (depth + 1) / 2);
    CHECK_EQ(resumes, 1 + 10);
#if !CORO_CHECK
    CHECK_EQ(entries[0], 1 + 10);
    for (int i = 1; i <= depth; i++)
        CHECK_EQ(entries[i], 1 + 1); /* called, and given the result: no frame is passed through */
#endif /* !CORO_CHECK */
    CHECK_EQ(RUN(level, .below = frames, .depth = depth, .waits = 2, .fail = -EPIPE), -EPIPE);
    CHECK_EQ(RUN(level, .below = frames, .depth = depth, .fail = -EPIPE), -EPIPE);
    CHECK_EQ(RUN(level, .below = frames, .depth = depth), depth * (depth + 1) / 2);
}

TEST(resume_goes_to_the_innermost_frame_at_any_depth)
{
    check_depth(0);
    check_depth(1);
    check_depth(10);
    check_depth(100);
}

/* Results of all sizes pass between frames whole; what leaves the loop is an int. */
TEST(results_that_are_no_int_are_clamped_when_they_leave_the_loop)
{
    CHECK_EQ(RUN(echo, .v = INTPTR_MAX), INT_MAX);
    CHECK_EQ(RUN(echo, .v = INTPTR_MAX, .wait = true), INT_MAX);
}

struct long_result {
    CORO_FRAME;
    struct echo sub;
    intptr_t v;
};

CORO(long_result)
{
    CORO_BEGIN();
    CORO_TRY(my->v, coro_call(co, &my->sub, echo, .v = INTPTR_MAX));
    CHECK(my->v == INTPTR_MAX);
    CORO_TRY(my->v, coro_call(co, &my->sub, echo, .v = INTPTR_MAX - 1, .wait = true));
    CHECK(my->v == INTPTR_MAX - 1);
    CORO_TRY(my->v, coro_call_new(co, echo, .v = INTPTR_MAX - 2));
    CHECK(my->v == INTPTR_MAX - 2);
    CORO_TRY(my->v, coro_call_new(co, echo, .v = INTPTR_MAX - 3, .wait = true));
    CHECK(my->v == INTPTR_MAX - 3);
    CORO_END(0);
}

TEST(calls_pass_results_of_a_pointers_size)
{
    CHECK_EQ(RUN(long_result), 0);
}

/* ---- coro_call_new --------------------------------------------------------------------------- */

struct fibonacci {
    CORO_FRAME;
    int n, a, b;
};

CORO(fibonacci)
{
    CORO_BEGIN();
    if (my->n < 2) {
        CORO_TRY(coro_sleep(co, CORO_MS(my->n)));
        my->a = my->n;
        CORO_LEAVE();
    }
    CORO_TRY(my->a, coro_call_new(co, fibonacci, .n = my->n - 1));
    CORO_TRY(my->b, coro_call_new(co, fibonacci, .n = my->n - 2));
    CORO_END(my->a + my->b);
}

TEST(recursive_calls_take_their_frames_from_the_allocator)
{
    CHECK_EQ(RUN(fibonacci, .n = 12), 144);
}

/* 2,000 bytes: larger than what comes from slabs. */
struct big_frame {
    CORO_FRAME;
    char bytes[2000];
    int rc, wait;
};

CORO(big_frame)
{
    CORO_BEGIN();
    CHECK_EQ(my->bytes[0] | my->bytes[1999], 0);
    memset(my->bytes, 1, sizeof my->bytes);
    if (my->wait == 1)
        CORO_TRY(later(co, 0));
    if (my->wait == 2)
        CORO_TRY(coro_sleep(co, CORO_FOREVER));
    CORO_END(my->rc);
}

struct calls_new {
    CORO_FRAME;
    int i, rc;
    size_t memory;
    coro_scope limit;
};

CORO(calls_new)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 100; my->i++) {
        CORO_TRY(my->rc, coro_call_new(co, echo, .v = my->i, .wait = my->i & 1));
        CHECK_EQ(my->rc, my->i);
        CORO_AWAIT(my->rc, coro_call_new(co, big_frame, .rc = -EPIPE, .wait = my->i & 1));
        CHECK_EQ(my->rc, -EPIPE);
        coro_timeout_open(co, &my->limit, CORO_MS(1));
        CORO_AWAIT(my->rc, coro_call_new(co, big_frame, .wait = 2));
        CHECK_EQ(my->rc, -ECANCELED);
        CHECK_EQ(coro_scope_close(co, &my->limit, my->rc), -ETIMEDOUT);
        if (my->i == 0)
            my->memory = live_bytes;
        CHECK_EQ(live_bytes, my->memory);
        CHECK_SOUND(co);
    }
    CORO_END(0);
}

TEST(memory_of_a_new_frame_goes_back_however_its_call_ends)
{
    CHECK_EQ(RUN(calls_new), 0);
}

static void *no_memory(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return NULL;
}

struct starved {
    CORO_FRAME;
    int rc;
};

CORO(starved)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call_new(co, fibonacci, .n = 1));
    CHECK_EQ(my->rc, -ENOMEM);
    CORO_TRY(coro_call_new(co, fibonacci, .n = 1));
    note("not reached");
CORO_FINALLY:
    note("finally");
    CORO_END(0);
}

TEST(call_without_memory_fails_and_does_not_run)
{
    static const coro_options none = {
        .allocator = {no_memory, counting_free, NULL},
        .clock = CORO_VIRTUAL,
    };
    CHECK_EQ(empty_world(coro_run_with(&none, starved)), -ENOMEM);
    CHECK_STR(trace, "finally");
}

/* The sweep: the n-th allocation fails, for all n. */
struct tree {
    CORO_FRAME;
    int depth, sum, rc;
    char ballast[900];
};

CORO(tree)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    if (my->depth) {
        CORO_TRY(my->rc, coro_call_new(co, tree, .depth = my->depth - 1));
        my->sum += my->rc;
        CORO_TRY(my->rc, coro_call_new(co, tree, .depth = my->depth - 1));
        my->sum += my->rc;
    }
    CORO_END(my->sum + 1);
}

TEST(each_allocation_of_a_recursion_may_fail_and_nothing_leaks)
{
    int rc = -ENOMEM, n;
    for (n = 1; rc < 0; n++) {
        allocations = 0;
        fail_at = n;
        rc = RUN(tree, .depth = 5);
        CHECK(rc == -ENOMEM || allocations < n);
    }
    CHECK_EQ(rc, 63);
    CHECK(n > 3);
}

/* ---- coro_call_within ------------------------------------------------------------------------ */

struct slow_call {
    CORO_FRAME;
    coro_time d, cleanup;
    int rc;
    bool has_finally, swallow;
};

CORO(slow_call)
{
    CORO_BEGIN();
    note("in ");
    if (my->swallow) {
        CORO_AWAIT(my->rc, coro_sleep(co, my->d));
        note_number(my->rc);
        my->rc = 5;
        CORO_LEAVE();
    }
    CORO_TRY(coro_sleep(co, my->d));
    note("slept ");
CORO_FINALLY:
    CORO_TRY(coro_sleep(co, my->cleanup)); /* outside the expired scope */
    note("out ");
    CORO_END(my->rc);
}

struct plain_slow {
    CORO_FRAME;
    coro_time d;
    int rc;
};

CORO(plain_slow)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(my->rc);
}

struct limits_call {
    CORO_FRAME;
    coro_scope limit;
    struct slow_call sub;
    struct plain_slow plain;
    coro_time start;
    int rc, i;
};

CORO(limits_call)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->sub, slow_call,
                                        .d = CORO_MS(9), .rc = 4));
    CHECK_EQ(my->rc, 4);
    CHECK(!coro_scope_expired(&my->limit));
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->sub, slow_call,
                                        .d = CORO_MS(11), .cleanup = CORO_MS(100), .rc = 4));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK(coro_scope_expired(&my->limit) && coro_scope_caught(&my->limit));
    CHECK_EQ(coro_now(co) - my->start, CORO_MS(9 + 10 + 100)); /* T27: cleaned up first */
    CHECK_STR(trace, "in slept out in out ");
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(1), &my->plain, plain_slow,
                                            .d = CORO_MS(2)));
        CHECK_EQ(my->rc, -ETIMEDOUT);
        CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(2), &my->plain, plain_slow,
                                            .d = CORO_MS(1), .rc = -EPIPE));
        CHECK_EQ(my->rc, -EPIPE);
        CORO_TRY(coro_sleep(co, CORO_MS(5))); /* no limit is left behind */
    }
    CHECK_SOUND(co);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CORO_END(0);
}

TEST(call_within_a_deadline_gives_the_result_or_a_timeout_after_its_cleanup)
{
    CHECK_EQ(RUN(limits_call), 0);
}

struct expired_call {
    CORO_FRAME;
    coro_scope limit;
    struct slow_call sub;
    int rc;
};

CORO(expired_call)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, 0, &my->sub, slow_call));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, -5, &my->sub, slow_call, .d = 5));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_STR(trace, "in out in out ");
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_FOREVER, &my->sub, slow_call,
                                        .d = CORO_S(100000), .rc = 3));
    CHECK_EQ(my->rc, 3);
    CORO_END(0);
}

/* T01, T03 */
TEST(call_within_no_time_starts_and_fails_at_its_first_await)
{
    CHECK_EQ(RUN(expired_call), 0);
}

struct swallowed_limit {
    CORO_FRAME;
    coro_scope limit;
    struct slow_call sub;
    int rc;
};

CORO(swallowed_limit)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_call_within(co, &my->limit, CORO_MS(1), &my->sub, slow_call,
                                      .d = CORO_S(1), .swallow = true));
    CHECK(coro_scope_expired(&my->limit));
    CHECK(!coro_scope_caught(&my->limit));
    CORO_TRY(coro_sleep(co, CORO_MS(1))); /* C10: nothing of it is left */
    CORO_END(my->rc);
}

/* T25, D12 */
TEST(call_that_succeeds_although_its_time_is_over_has_succeeded)
{
    char want[32];
    snprintf(want, sizeof want, "in %d out ", -ECANCELED);
    CHECK_EQ(RUN(swallowed_limit), 5);
    CHECK_STR(trace, want);
}

struct outer_limit {
    CORO_FRAME;
    coro_scope outer, limit;
    struct slow_call sub;
    int rc;
};

CORO(outer_limit)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->outer, CORO_MS(1));
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(2), &my->sub, slow_call,
                                        .d = CORO_S(1)));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK(!coro_scope_expired(&my->limit));
    CHECK_EQ(coro_scope_close(co, &my->outer, my->rc), -ETIMEDOUT);
    CORO_END(0);
}

/* C11, T16 */
TEST(call_within_a_deadline_passes_on_what_an_outer_scope_cancels)
{
    CHECK_EQ(RUN(outer_limit), 0);
}

/* ---- several files --------------------------------------------------------------------------- */

/* What a header would hold: test_coroutine2.c has the same lines, and defines far_away. */
struct far_away {
    CORO_FRAME;
    int n;
    bool wait;
};
CORO_DECLARE(far_away);

struct near_by {
    CORO_FRAME;
    int n;
    struct far_away sub;
};
CORO_DECLARE(near_by);

CORO_DEFINE(near_by)
{
    CORO_BEGIN();
    note("near ");
    CORO_TRY(my->n, coro_call(co, &my->sub, far_away, .n = my->n, .wait = true));
    CORO_END(my->n + 1);
}

struct uses_other_file {
    CORO_FRAME;
    CORO_TASK(far_away) t;
    struct far_away sub;
    coro_group g;
    coro_scope limit;
    int a, b, c, d;
};

CORO(uses_other_file)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    (void)coro_start(&my->g, &my->t, far_away, .n = 1, .wait = true);
    (void)coro_spawn(&my->g, far_away, .n = -EPIPE, .wait = true);
    CORO_TRY(my->a, coro_call(co, &my->sub, far_away, .n = 2));
    CORO_TRY(my->b, coro_call(co, &my->sub, far_away, .n = 3, .wait = true));
    CORO_TRY(my->c, coro_call_new(co, far_away, .n = 4, .wait = true));
    CORO_TRY(my->d, coro_call_within(co, &my->limit, CORO_S(1), &my->sub, far_away, .n = 5));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(coro_task_result(&my->t), 2);
    CORO_END(my->a * 1000 + my->b * 100 + my->c * 10 + my->d);
}

TEST(coroutine_of_another_file_can_be_called_started_spawned_and_run)
{
    CHECK_EQ(RUN(far_away, .n = 1, .wait = true), 2);
    CHECK_EQ(RUN(uses_other_file), 3456);
}

TEST(coroutines_of_two_files_may_call_each_other)
{
    CHECK_EQ(RUN(near_by, .n = 1), 3);
    CHECK_STR(trace, "near ");
}

/* Mutual recursion: both are declared before either is defined. */
struct odd {
    CORO_FRAME;
    int n, rc;
};
CORO_DECLARE(odd);

struct even {
    CORO_FRAME;
    int n, rc;
};
CORO_DECLARE(even);

CORO_DEFINE(odd)
{
    CORO_BEGIN();
    note("o");
    if (my->n == 0)
        CORO_LEAVE();
    CORO_TRY(my->rc, coro_call_new(co, even, .n = my->n - 1));
    CORO_END(my->rc);
}

CORO_DEFINE(even)
{
    CORO_BEGIN();
    note("e");
    CORO_TRY(later(co, 0));
    my->rc = 1;
    if (my->n == 0)
        CORO_LEAVE();
    CORO_TRY(my->rc, coro_call_new(co, odd, .n = my->n - 1));
    CORO_END(my->rc);
}

TEST(two_coroutines_may_recur_through_each_other)
{
    CHECK_EQ(RUN(even, .n = 6), 1);
    CHECK_EQ(RUN(even, .n = 7), 0);
    CHECK_STR(trace, "eoeoeoeeoeoeoeo");
    CHECK_EQ(later_calls, 8);
}

/* ---- the budget ------------------------------------------------------------------------------ */

static int effects; /* of the greedy one so far */

struct greedy {
    CORO_FRAME;
    int i, n, got, every;
};

/* Something that is always ready; after each so many something that waits. */
CORO(greedy)
{
    CORO_BEGIN();
    for (my->i = 1; my->i <= my->n; my->i++) {
        CORO_TRY(my->got, (effects++, ready(co, my->i)));
        CHECK_EQ(my->got, my->i); /* also when others ran in between */
        if (my->every && my->i % my->every == 0)
            CORO_TRY(later(co, 0));
    }
    CORO_END(0);
}

/* Notes how far the greedy one has come, whenever it gets to run. */
struct bystander {
    CORO_FRAME;
    const coro_group *g;
    int seen;
};

CORO(bystander)
{
    CORO_BEGIN();
    while (my->g->alive > 1) {
        if (my->seen != effects)
            note_number(effects);
        my->seen = effects;
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

struct two_of_them {
    CORO_FRAME;
    coro_group g;
    int n, every;
};

CORO(two_of_them)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, greedy, .n = my->n, .every = my->every);
    (void)coro_spawn(&my->g, bystander, .g = &my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(task_gives_way_after_128_awaits_that_were_done_at_once)
{
    CHECK_EQ(RUN(two_of_them, .n = 300), 0);
    CHECK_STR(trace, "128 256 ");
    CHECK_EQ(effects, 300);
}

TEST(budget_begins_anew_when_a_task_waits)
{
    CHECK_EQ(RUN(two_of_them, .n = 300, .every = 100), 0);
    CHECK_STR(trace, "100 200 300 ");
}

TEST(budget_can_be_set)
{
    static const coro_options small_budget = {.clock = CORO_VIRTUAL, .budget = 3};
    static const coro_options no_budget = {.clock = CORO_VIRTUAL, .budget = 1};
    CHECK_EQ(coro_run_with(&small_budget, two_of_them, .n = 10), 0);
    CHECK_STR(trace, "3 6 9 ");
    trace[0] = 0;
    effects = 0;
    CHECK_EQ(coro_run_with(&no_budget, two_of_them, .n = 3), 0);
    CHECK_STR(trace, "1 2 3 ");
}

/* Calls share the budget of their task, and errors count as well. */
struct greedy_calls {
    CORO_FRAME;
    struct greedy sub;
    int i, rc;
};

CORO(greedy_calls)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(coro_call(co, &my->sub, greedy, .n = 50));
        CORO_AWAIT(my->rc, (effects++, ready(co, -EPIPE)));
        CHECK_EQ(my->rc, -EPIPE);
    }
    CORO_END(0);
}

struct calls_and_bystander {
    CORO_FRAME;
    coro_group g;
};

CORO(calls_and_bystander)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_spawn(&my->g, greedy_calls);
    (void)coro_spawn(&my->g, bystander, .g = &my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(budget_is_the_tasks_and_calls_share_it)
{
    CHECK_EQ(RUN(calls_and_bystander), 0);
    CHECK_STR(trace, "128 ");
    CHECK_EQ(effects, 153);
}

/* ---- operations of one's own ----------------------------------------------------------------- */

/* A gate that lets through n at a time. The word of each who waits is where to tell how many were
 * before him. */
struct gate {
    coro_waitq waiting;
    int passed;
    coro_abort answer; /* to the question whether a wait can be ended */
    int asked, gone;
};

static coro_abort gate_abort(coro_task *task, coro_waitq *queue)
{
    struct gate *g = (struct gate *)(void *)queue;
    CHECK(coro_word(task) != 0); /* still the operation's own */
    g->asked++;
    return g->answer;
}

static void gate_gone(coro_task *task, coro_waitq *queue)
{
    struct gate *g = (struct gate *)(void *)queue;
    for (coro_task *t = queue->head; t; t = coro_waitq_next(queue, t))
        CHECK(t != task); /* it is out of the queue */
    g->gone++;
}

static coro_op gate_pass(coro_task *co, struct gate *g, int *number)
{
    static const coro_ops ops = {"gate", gate_abort, gate_gone};
    if (coro_is_local(co, number))
        return coro_local();
    if (coro_cancelled(co))
        return coro_refuse(co);
    return coro_suspend(co, &g->waiting, &ops, (intptr_t)number);
}

static int gate_let(struct gate *g, int n)
{
    int let = 0;
    for (; let < n && g->waiting.head; let++) {
        coro_task *first = g->waiting.head;
        *(int *)coro_word(first) = g->passed++;
        CHECK(coro_complete(first, 100));
        CHECK(!coro_complete(first, 200)); /* it does not wait any more */
    }
    return let;
}

static int gate_count(const struct gate *g)
{
    int n = 0;
    for (coro_task *t = g->waiting.head; t; t = coro_waitq_next(&g->waiting, t))
        n++;
    return n;
}

struct passer {
    CORO_FRAME;
    struct gate *gate;
    int number, rc, id;
    int next; /* what the await after it gives */
    coro_time limit;
};

CORO(passer)
{
    CORO_BEGIN();
    my->number = -1;
    if (my->limit)
        CORO_AWAIT(my->rc, coro_within(co, my->limit, gate_pass(co, my->gate, &my->number)));
    else
        CORO_AWAIT(my->rc, gate_pass(co, my->gate, &my->number));
    note_number(my->id);
    CORO_AWAIT(my->next, coro_sleep(co, 0));
    CORO_END(my->rc);
}

/* A gate and those who want to pass. */
struct crowd {
    struct gate gate;
    coro_group g;
    CORO_TASK(passer) t[4];
};

static void start_crowd(struct crowd *crowd, coro_time limit)
{
    for (int i = 0; i < 4; i++)
        (void)coro_start(&crowd->g, &crowd->t[i], passer, .gate = &crowd->gate, .id = i,
                         .limit = limit);
}

struct opens_gate {
    CORO_FRAME;
    struct crowd all;
};

CORO(opens_gate)
{
    CORO_BEGIN();
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(gate_count(&my->all.gate), 4);
    CHECK_EQ(gate_let(&my->all.gate, 2), 2);
    CHECK_STR(trace, ""); /* nobody runs inside coro_complete */
    CHECK_EQ(gate_count(&my->all.gate), 2);
    CHECK_SOUND(co);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(trace, "0 1 ");
    CHECK_EQ(gate_let(&my->all.gate, 5), 2);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK(my->all.gate.waiting.head == NULL);
    CHECK_EQ(my->all.gate.asked + my->all.gate.gone, 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(coro_task_result(&my->all.t[i]), 100);
        CHECK_EQ(my->all.t[i].frame.number, i);
        CHECK_EQ(my->all.t[i].frame.next, 0);
    }
    CORO_END(0);
}

TEST(operation_of_ones_own_wakes_its_waiters_in_order)
{
    CHECK_EQ(RUN(opens_gate), 0);
    CHECK_STR(trace, "0 1 2 3 ");
}

struct cancels_passer {
    CORO_FRAME;
    struct crowd all;
};

CORO(cancels_passer)
{
    CORO_BEGIN();
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_cancel(&my->all.t[1]), 1);
    CHECK_EQ(coro_task_cancel(&my->all.t[1]), 0);
    CHECK_EQ(gate_count(&my->all.gate), 3);
    CHECK_EQ(my->all.gate.asked, 1);
    CHECK_EQ(my->all.gate.gone, 1);
    CHECK_SOUND(co);
    CHECK_EQ(coro_task_cancel(&my->all.t[0]), 1); /* the head */
    CHECK_EQ(coro_task_cancel(&my->all.t[3]), 1); /* the tail */
    CHECK_EQ(gate_let(&my->all.gate, 5), 1);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK_EQ(my->all.g.cancelled, 3);
    CHECK_EQ(my->all.g.failed, 0);
    CHECK_EQ(my->all.gate.asked, 3);
    CHECK_EQ(my->all.gate.gone, 3);
    CHECK_EQ(coro_task_result(&my->all.t[1]), -ECANCELED);
    CHECK_EQ(my->all.t[1].frame.number, -1);
    CHECK_EQ(my->all.t[1].frame.next, -ECANCELED);
    CHECK_EQ(coro_task_result(&my->all.t[2]), 100);
    CHECK_EQ(my->all.t[2].frame.number, 0);
    CORO_END(0);
}

TEST(abort_done_takes_the_task_out_of_the_queue_and_tells_the_operation)
{
    CHECK_EQ(RUN(cancels_passer), 0);
    CHECK_STR(trace, "1 0 3 2 ");
}

struct limits_passers {
    CORO_FRAME;
    struct crowd all;
    coro_time start;
};

CORO(limits_passers)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, CORO_MS(5));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 4);
    CHECK_EQ(gate_let(&my->all.gate, 1), 1);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 3);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK_EQ(coro_now(co) - my->start, CORO_MS(5));
    CHECK_EQ(coro_task_result(&my->all.t[0]), 100);
    CHECK_EQ(coro_task_result(&my->all.t[3]), -ETIMEDOUT);
    CHECK_EQ(my->all.t[3].frame.next, 0);
    CHECK_EQ(my->all.g.failed, 3);
    CHECK_EQ(my->all.gate.gone, 3);
    CHECK(my->all.gate.waiting.head == NULL);
    CORO_END(0);
}

TEST(operation_of_ones_own_can_be_given_a_limit)
{
    CHECK_EQ(RUN(limits_passers), 0);
    CHECK_STR(trace, "0 1 2 3 ");
}

struct tries_once {
    CORO_FRAME;
    struct gate gate;
    int rc, number;
};

CORO(tries_once)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, 0, gate_pass(co, &my->gate, &my->number)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_within(co, -1, gate_pass(co, &my->gate, &my->number)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(my->gate.gone, 2);
    CHECK(my->gate.waiting.head == NULL);
    CORO_AWAIT(my->rc, coro_within(co, 0, ready(co, 8)));
    CHECK_EQ(my->rc, 8);
    CORO_TRY(coro_sleep(co, CORO_MS(1))); /* the limit does not end what comes after it */
    CHECK_SOUND(co);
    CORO_END(0);
}

/* T02 */
TEST(operation_within_no_time_is_tried_once)
{
    CHECK_EQ(RUN(tries_once), 0);
}

/* An abort that takes its time: the task waits on until the operation completes it. */
struct slow_abort {
    CORO_FRAME;
    struct crowd all;
    coro_abort answer;
    coro_scope scope;
};

CORO(slow_abort)
{
    CORO_BEGIN();
    my->all.gate.answer = my->answer;
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_cancel(&my->all.t[1]), 1);
    CHECK_EQ(my->all.gate.asked, 1);
    coro_scope_cancel(&my->scope); /* C30: the second cancellation asks only the others */
    CHECK_EQ(my->all.gate.asked, 4);
    CHECK_EQ(gate_count(&my->all.gate), 4);
    CHECK_SOUND(co);
    CORO_IGNORE(coro_sleep(co, CORO_MS(1)));
    CORO_IGNORE(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(trace, ""); /* they wait on */
    CHECK_EQ(gate_let(&my->all.gate, 4), 4);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK_EQ(my->all.gate.asked, 4);
    CHECK_EQ(my->all.gate.gone, 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(coro_task_result(&my->all.t[i]), 100); /* C29: the real result, */
        CHECK_EQ(my->all.t[i].frame.next, -ECANCELED);  /* and the cancellation next */
    }
    CORO_END(0);
}

/* C29, C30 */
TEST(abort_later_and_never_leave_the_wait_to_the_operation)
{
    CHECK_EQ(RUN(slow_abort, .answer = CORO_ABORT_LATER), 0);
    CHECK_STR(trace, "0 1 2 3 ");
    trace[0] = 0;
    CHECK_EQ(RUN(slow_abort, .answer = CORO_ABORT_NEVER), 0);
    CHECK_STR(trace, "0 1 2 3 ");
}

struct slow_limit {
    CORO_FRAME;
    struct crowd all;
    coro_time start;
};

CORO(slow_limit)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    my->all.gate.answer = CORO_ABORT_LATER;
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, CORO_MS(1));
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    CHECK_EQ(my->all.gate.asked, 4);
    CHECK_STR(trace, "");
    coro_task_cancel(&my->all.t[2]); /* C30: it has been told to end already */
    CHECK_EQ(my->all.gate.asked, 4);
    (void)gate_let(&my->all.gate, 4);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK_EQ(coro_now(co) - my->start, CORO_MS(5));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(my->all.t[i].frame.rc, 100);
    CORO_END(0);
}

/* T31 */
TEST(limit_over_an_operation_that_cannot_end_at_once_overruns)
{
    CHECK_EQ(RUN(slow_limit), 0);
}

/* Waits twice: the first wait cannot be ended, the second one can. */
struct waits_again {
    CORO_FRAME;
    struct gate *gate;
    int number, first, second;
};

CORO(waits_again)
{
    CORO_BEGIN();
    CORO_AWAIT(my->first, coro_within(co, CORO_MS(1), gate_pass(co, my->gate, &my->number)));
    my->gate->answer = CORO_ABORT_DONE;
    CORO_AWAIT(my->second, coro_within(co, CORO_MS(1), gate_pass(co, my->gate, &my->number)));
    CORO_END(0);
}

struct lets_once {
    CORO_FRAME;
    struct gate gate;
    coro_group g;
    CORO_TASK(waits_again) t;
};

CORO(lets_once)
{
    CORO_BEGIN();
    my->gate.answer = CORO_ABORT_NEVER;
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t, waits_again, .gate = &my->gate);
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    (void)gate_let(&my->gate, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->t.frame.first, 100);
    CHECK_EQ(my->t.frame.second, -ETIMEDOUT);
    CHECK_EQ(my->gate.asked, 2);
    CORO_END(0);
}

TEST(wait_after_one_that_could_not_be_ended_can_be_ended)
{
    CHECK_EQ(RUN(lets_once), 0);
}

struct commits {
    CORO_FRAME;
    struct crowd all;
};

CORO(commits)
{
    CORO_BEGIN();
    coro_group_open(co, &my->all.g, CORO_COLLECT);
    start_crowd(&my->all, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)gate_let(&my->all.gate, 1);
    coro_task_cancel(&my->all.t[0]); /* too late for this wait */
    coro_task_cancel(&my->all.t[1]);
    (void)gate_let(&my->all.gate, 9);
CORO_FINALLY:
    CORO_CLOSE(&my->all.g);
    CHECK_EQ(my->all.t[0].frame.rc, 100);
    CHECK_EQ(my->all.t[0].frame.next, -ECANCELED);
    CHECK_EQ(my->all.t[1].frame.rc, -ECANCELED);
    CHECK_EQ(my->all.t[1].frame.number, -1);
    CHECK_EQ(my->all.t[2].frame.number, 1); /* nobody's turn was lost */
    CORO_END(0);
}

/* C04, D2 */
TEST(result_that_came_before_the_cancellation_is_delivered)
{
    CHECK_EQ(RUN(commits), 0);
    CHECK_STR(trace, "0 1 2 3 ");
}

struct refused {
    CORO_FRAME;
    struct gate gate;
    int rc, number;
};

CORO(refused)
{
    CORO_BEGIN();
    coro_task_cancel(co);
    CORO_AWAIT(my->rc, ready(co, 5));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, gate_pass(co, &my->gate, &my->number));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), gate_pass(co, &my->gate, &my->number)));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(my->gate.asked + my->gate.gone, 0);
    CORO_END(4);
}

/* C03 */
TEST(refused_operation_has_done_nothing)
{
    CHECK_EQ(RUN(refused), 4);
}

/* The operation's own word: a count of what it still wants, as a semaphore has it. */
struct permits {
    coro_waitq waiting;
    intptr_t free;
};

static void permits_grant(struct permits *p)
{
    while (p->waiting.head && coro_word(p->waiting.head) <= p->free) {
        p->free -= coro_word(p->waiting.head);
        (void)coro_complete(p->waiting.head, 0);
    }
}

static void permits_gone(coro_task *task, coro_waitq *queue)
{
    (void)task;
    permits_grant((struct permits *)(void *)queue);
}

static coro_op permits_take(coro_task *co, struct permits *p, intptr_t n)
{
    static const coro_ops ops = {"permits", NULL, permits_gone};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (p->waiting.head || p->free < n)
        return coro_suspend(co, &p->waiting, &ops, n);
    p->free -= n;
    return coro_done(co, 0);
}

struct taker {
    CORO_FRAME;
    struct permits *p;
    int n;
};

CORO(taker)
{
    CORO_BEGIN();
    CORO_TRY(permits_take(co, my->p, my->n));
    note_number(my->n);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    my->p->free += my->n;
    permits_grant(my->p);
    CORO_END(0);
}

struct takers {
    CORO_FRAME;
    struct permits p;
    coro_group g;
    CORO_TASK(taker) t[4];
};

CORO(takers)
{
    CORO_BEGIN();
    my->p.free = 3;
    coro_group_open(co, &my->g, CORO_ALL);
    (void)coro_start(&my->g, &my->t[0], taker, .p = &my->p, .n = 1);
    (void)coro_start(&my->g, &my->t[1], taker, .p = &my->p, .n = 9); /* never has so many */
    (void)coro_start(&my->g, &my->t[2], taker, .p = &my->p, .n = 2); /* waits behind it */
    (void)coro_start(&my->g, &my->t[3], taker, .p = &my->p, .n = 3);
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    CHECK_STR(trace, "1 ");
    coro_task_cancel(&my->t[1]);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->p.free, 3);
    CHECK(my->p.waiting.head == NULL);
    CORO_END(0);
}

TEST(gone_lets_the_operation_look_at_the_next_waiter)
{
    CHECK_EQ(RUN(takers), 0);
    CHECK_STR(trace, "1 2 3 ");
}

#if CORO_STACK_CHECK
struct keeps_local {
    CORO_FRAME;
    struct gate gate;
};

enum { LOCAL_LINE = __LINE__ + 6 };

CORO(keeps_local)
{
    int number = 0;
    CORO_BEGIN();
    CORO_TRY(gate_pass(co, &my->gate, &number));
    CORO_END(0);
}

struct calls_keeper {
    CORO_FRAME;
    struct keeps_local sub;
};

CORO(calls_keeper)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->sub, keeps_local));
    CORO_END(0);
}

static void run_keeper(void *arg)
{
    (void)arg;
    (void)RUN(calls_keeper);
}

TEST(operation_that_keeps_the_address_of_a_local_traps_with_its_line)
{
    char place[64];
    snprintf(place, sizeof place, CORO_NAMES ? "test_coroutine.c:%d: keeps_local: " : ":%d: ",
             LOCAL_LINE);
    CHECK_TRAP(run_keeper, NULL, place);
    CHECK_TRAP(run_keeper, NULL, "make it a member of the frame");
}
#endif /* CORO_STACK_CHECK */

/* What is stuck in an operation that cannot be aborted is given up, and leaves nothing behind. */
static struct gate stuck_gate;

struct stuck_deep {
    CORO_FRAME;
    char ballast[1500];
    int number;
};

CORO(stuck_deep)
{
    CORO_BEGIN();
    CORO_TRY(gate_pass(co, &stuck_gate, &my->number));
    CORO_END(0);
}

struct stuck {
    CORO_FRAME;
};

CORO(stuck)
{
    CORO_BEGIN();
    CORO_TRY(coro_call_new(co, stuck_deep));
    CORO_END(0);
}

static void drop_text(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

TEST(abandoned_task_leaves_its_queue_and_gives_back_its_new_frames)
{
    static const coro_options silent = {
        .allocator = {counting_alloc, counting_free, NULL},
        .clock = CORO_VIRTUAL,
        .report = {drop_text, NULL},
    };
    stuck_gate.answer = CORO_ABORT_NEVER;
    CHECK_EQ(coro_run_with(&silent, stuck), -EDEADLK);
    CHECK_EQ(stuck_gate.asked, 1);
    CHECK(stuck_gate.waiting.head == NULL);
    CHECK_EQ(live_bytes, 0);
}
