/* A million of everything, on a C stack of 64 KB: nothing is recursive, nothing takes quadratic
 * time (which the harness's limit of 5 s would end). */
#include "coro.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif /* __has_feature(...) */
#endif /* __SANITIZE_ADDRESS__ || __SANITIZE_THREAD__ */
#ifndef SANITIZED
#define SANITIZED 0
#endif /* SANITIZED */

#define STACK (64 * 1024)

/* The number of something: a tenth under sanitizers, a hundredth under valgrind and emulators. */
static int many(int n)
{
    const char *slow = getenv("TEST_SLOW");
    return n / ((slow && strtod(slow, NULL) > 10) || !CORO_WHEEL_BITS ? 100 : SANITIZED ? 10 : 1);
}

static void *call_body(void *arg)
{
    (*(void (**)(void))arg)();
    return NULL;
}

/* Run body on a C stack of 64 KB. */
static void on_a_small_stack(void (*body)(void))
{
    pthread_t thread;
    pthread_attr_t attributes;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, STACK), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, call_body, (void *)&body), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
}

static const coro_options *in_virtual_time(void)
{
    static coro_options options;
    options.clock = CORO_VIRTUAL;
    return &options;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- many waiters ---------------------------------------------------------------------------- */

static coro_waitq waiting;
static int woken, refused, late;

static coro_op wait_in_queue(coro_task *co)
{
    static const coro_ops ops = {"queue", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    return coro_suspend(co, &waiting, &ops, 0);
}

struct waiter {
    CORO_FRAME;
    int n, got;
    coro_time limit;
};

CORO(waiter)
{
    CORO_BEGIN();
    CORO_AWAIT(my->got, coro_within(co, my->limit, wait_in_queue(co)));
    if (my->got == 7)
        CHECK_EQ(my->n, woken); /* first come, first served */
    woken += my->got == 7;
    refused += my->got == -ECANCELED;
    late += my->got == -ETIMEDOUT;
    CORO_END(0);
}

struct crowd {
    CORO_FRAME;
    coro_group g;
    int n;
    bool wake, limit;
};

CORO(crowd)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < my->n; i++)
        coro_spawn(&my->g, waiter, .n = i,
                   .limit = my->limit ? CORO_US(1 + i * 7919LL % my->n) : CORO_FOREVER);
    CORO_TRY(coro_sleep(co, 0));
    CHECK(coro_verify(coro_loop_of(co)) == NULL);
    while (my->wake && waiting.head)
        CHECK(coro_complete(waiting.head, 7));
    if (!my->wake && !my->limit)
        coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.started, my->n);
    CHECK_EQ(my->g.failed, 0);
    CHECK(!waiting.head);
    CORO_END(0);
}

static void wake_waiters(void)
{
    int n = many(1000000);
    CHECK_EQ(coro_run_with(in_virtual_time(), crowd, .n = n, .wake = true), 0);
    CHECK_EQ(woken, n);
}

TEST(million_waiters_of_one_queue_are_woken_in_order)
{
    on_a_small_stack(wake_waiters);
}

static void cancel_waiters(void)
{
    int n = many(1000000);
    CHECK_EQ(coro_run_with(in_virtual_time(), crowd, .n = n), 0);
    CHECK_EQ(refused, n);
}

TEST(million_waiters_of_one_queue_are_cancelled_at_once)
{
    on_a_small_stack(cancel_waiters);
}

static void expire_waiters(void)
{
    int n = many(300000);
    CHECK_EQ(coro_run_with(in_virtual_time(), crowd, .n = n, .limit = true), 0);
    CHECK_EQ(late, n);
}

TEST(waiters_leave_the_middle_of_a_long_queue_at_once)
{
    on_a_small_stack(expire_waiters);
}

/* ---- scopes in scopes ------------------------------------------------------------------------ */

static coro_scope *make_scopes(int n)
{
    coro_scope *scopes = (coro_scope *)calloc((size_t)n, sizeof *scopes);
    CHECK(scopes != NULL);
    return scopes;
}

struct nest_one_by_one {
    CORO_FRAME;
    coro_scope *scopes; /* outermost first */
    int n, i, rc;
};

/* The innermost expires first; then the next one, and so on. */
CORO(nest_one_by_one)
{
    CORO_BEGIN();
    for (int i = 0; i < my->n; i++)
        coro_timeout_open(co, &my->scopes[i], CORO_MS(my->n - i));
    for (my->i = my->n - 1; my->i >= 0; my->i--) {
        CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
        CHECK_EQ(my->rc, -ECANCELED);
        CHECK_EQ(coro_now(co), CORO_MS(my->n - my->i));
        CHECK_EQ(coro_scope_close(co, &my->scopes[my->i], my->rc), -ETIMEDOUT);
    }
    CORO_END(1);
}

static void expire_one_by_one(void)
{
    int n = many(100000);
    coro_scope *scopes = make_scopes(n);
    CHECK_EQ(coro_run_with(in_virtual_time(), nest_one_by_one, .scopes = scopes, .n = n), 1);
    free(scopes);
}

TEST(nested_deadlines_expire_innermost_first)
{
    on_a_small_stack(expire_one_by_one);
}

struct nest_at_once {
    CORO_FRAME;
    coro_scope *scopes;
    int n, rc;
};

/* All expire at one moment, and the frame leaves through all: the outermost has caused it. */
CORO(nest_at_once)
{
    CORO_BEGIN();
    for (int i = 0; i < my->n; i++)
        coro_timeout_open(co, &my->scopes[i], CORO_MS(5));
    CHECK(coro_verify(coro_loop_of(co)) == NULL);
    CORO_TRY(coro_sleep(co, CORO_FOREVER));
CORO_FINALLY:
    CHECK_EQ(CORO_ERR, -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(5));
    CHECK(!coro_cancelled(co));
    for (int i = 0; i < my->n; i++) {
        CHECK(coro_scope_expired(&my->scopes[i]));
        CHECK_EQ(coro_scope_caught(&my->scopes[i]), i == 0);
    }
    CORO_ERR = 0;
    CORO_END(2);
}

static void expire_at_once(void)
{
    int n = many(100000);
    coro_scope *scopes = make_scopes(n);
    CHECK_EQ(coro_run_with(in_virtual_time(), nest_at_once, .scopes = scopes, .n = n), 2);
    free(scopes);
}

TEST(nested_deadlines_expire_all_at_once)
{
    on_a_small_stack(expire_at_once);
}

struct sleeper {
    CORO_FRAME;
    coro_scope *scopes;
    int n, i, rc;
};

CORO(sleeper)
{
    CORO_BEGIN();
    for (int i = 0; i < my->n; i++)
        coro_scope_open(co, &my->scopes[i]);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
    CHECK_EQ(my->rc, -ECANCELED);
    for (my->i = my->n - 1; my->i > 0; my->i--)
        CHECK_EQ(coro_scope_close(co, &my->scopes[my->i], my->rc), -ECANCELED);
    CORO_END(coro_scope_close(co, &my->scopes[0], my->rc));
}

struct canceller {
    CORO_FRAME;
    coro_scope *scopes;
    int n;
    bool inside_out;
    coro_group g;
};

CORO(canceller)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sleeper, .scopes = my->scopes, .n = my->n);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    for (int i = 0; i < my->n; i++)
        CHECK_EQ(coro_scope_cancel(&my->scopes[my->inside_out ? my->n - 1 - i : i]), 1);
    CHECK(coro_verify(coro_loop_of(co)) == NULL);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(my->g.failed + my->g.cancelled, 0);
    CORO_END(3);
}

static void cancel_nested_scopes(void)
{
    int n = many(100000);
    coro_scope *scopes = make_scopes(n);
    CHECK_EQ(coro_run_with(in_virtual_time(), canceller, .scopes = scopes, .n = n), 3);
    CHECK_EQ(coro_run_with(in_virtual_time(), canceller, .scopes = scopes, .n = n,
                           .inside_out = true), 3);
    free(scopes);
}

TEST(nested_scopes_are_cancelled_from_either_end)
{
    on_a_small_stack(cancel_nested_scopes);
}

/* ---- groups in groups ------------------------------------------------------------------------ */

static int levels, levels_ended;
static bool deepest_fails;

struct level {
    CORO_FRAME;
    int depth;
    coro_group g;
};

CORO(level)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    if (my->depth < levels)
        coro_spawn(&my->g, level, .depth = my->depth + 1);
    CORO_TRY(coro_sleep(co, my->depth < levels ? CORO_FOREVER : CORO_S(2)));
    if (deepest_fails)
        CORO_FAIL(-EIO);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    levels_ended++;
    CORO_END(0);
}

struct root {
    CORO_FRAME;
    coro_group g;
    int rc;
};

CORO(root)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, level, .depth = 1);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, levels + 1);
    CHECK(coro_verify(coro_loop_of(co)) == NULL);
    if (!deepest_fails)
        coro_group_cancel(&my->g);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(levels_ended, levels);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->rc);
}

static void cancel_levels(void)
{
    levels = many(50000);
    CHECK_EQ(coro_run_with(in_virtual_time(), root), 0);
}

TEST(nested_groups_are_cancelled_from_the_root)
{
    on_a_small_stack(cancel_levels);
}

static void fail_levels(void)
{
    levels = many(50000);
    deepest_fails = true;
    CHECK_EQ(coro_run_with(in_virtual_time(), root), -EIO);
}

TEST(failure_travels_up_through_nested_groups)
{
    on_a_small_stack(fail_levels);
}

/* ---- chains ---------------------------------------------------------------------------------- */

static int links_run;

struct chain_link {
    CORO_FRAME;
    int n;
};

/* The queue's head is the next link. */
CORO(chain_link)
{
    CORO_BEGIN();
    CORO_TRY(wait_in_queue(co));
    CHECK_EQ(my->n, links_run);
    links_run++;
    if (waiting.head)
        (void)coro_complete(waiting.head, 0);
    CORO_END(0);
}

struct chain {
    CORO_FRAME;
    int n;
    uint64_t steps;
    coro_group g;
};

CORO(chain)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < my->n; i++)
        coro_spawn(&my->g, chain_link, .n = i);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    my->steps = coro_stats(coro_loop_of(co)).steps;
    (void)coro_complete(waiting.head, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(links_run, my->n);
    my->steps = coro_stats(coro_loop_of(co)).steps - my->steps;
    CHECK(my->steps + 512 > (uint64_t)my->n && my->steps < (uint64_t)my->n + 512);
    CORO_END(0);
}

static void run_chain(void)
{
    CHECK_EQ(coro_run_with(in_virtual_time(), chain, .n = many(1000000)), 0);
}

/* Steps are counted per round: hence the 512. */
TEST(million_tasks_wake_each_other_one_step_each)
{
    on_a_small_stack(run_chain);
}

struct joiner_task;
struct joiner {
    CORO_FRAME;
    struct joiner_task *before;
    int got;
};

CORO(joiner)
{
    CORO_BEGIN();
    if (my->before)
        CORO_TRY(my->got, coro_join(co, my->before));
    else
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(my->got + 1);
}

struct joined {
    CORO_FRAME;
    CORO_TASK(joiner) *tasks;
    int n, got;
    coro_group g;
};

CORO(joined)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < my->n; i++)
        coro_start(&my->g, &my->tasks[i], joiner, .before = i ? &my->tasks[i - 1] : NULL);
    CORO_TRY(my->got, coro_join(co, &my->tasks[my->n - 1]));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->got);
}

static void run_joins(void)
{
    int n = many(200000);
    CORO_TASK(joiner) *tasks = (CORO_TASK(joiner) *)calloc((size_t)n, sizeof *tasks);
    CHECK(tasks != NULL);
    CHECK_EQ(coro_run_with(in_virtual_time(), joined, .tasks = tasks, .n = n), n);
    free(tasks);
}

TEST(chain_of_joins_ends_one_by_one)
{
    on_a_small_stack(run_joins);
}

struct deep_call {
    CORO_FRAME;
    int depth, got;
    bool fail;
};

/* Each level waits before it calls the next: the way down is the loop's, too. */
CORO(deep_call)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 0));
    if (my->depth > 0)
        CORO_TRY(my->got, coro_call_new(co, deep_call, .depth = my->depth - 1, .fail = my->fail));
    else if (my->fail)
        CORO_FAIL(-EIO);
    CORO_END(my->got + 1);
}

static void run_deep_calls(void)
{
    int n = many(200000);
    CHECK_EQ(coro_run_with(in_virtual_time(), deep_call, .depth = n), n + 1);
    CHECK_EQ(coro_run_with(in_virtual_time(), deep_call, .depth = n, .fail = true), -EIO);
}

TEST(deep_chain_of_calls_returns_without_a_deep_stack)
{
    on_a_small_stack(run_deep_calls);
}

/* ---- many sleepers --------------------------------------------------------------------------- */

static int sleepers_woken;
static coro_time last_woken;

struct random_sleeper {
    CORO_FRAME;
    coro_time until;
};

CORO(random_sleeper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->until));
    CHECK_EQ(coro_now(co), my->until);
    CHECK(coro_now(co) >= last_woken);
    last_woken = coro_now(co);
    sleepers_woken++;
    CORO_END(0);
}

struct dormitory {
    CORO_FRAME;
    int n, cancel_at;
    coro_group g;
};

/* Sleeps from nanoseconds to hours: each order of magnitude has as many. */
CORO(dormitory)
{
    uint32_t state;
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    state = 1;
    for (int i = 0; i < my->n; i++) {
        coro_time d = (coro_time)next_random(&state) + 1;
        d <<= next_random(&state) % 20;
        coro_spawn(&my->g, random_sleeper, .until = d);
    }
    if (my->cancel_at) {
        CORO_TRY(coro_sleep(co, CORO_S(my->cancel_at)));
        coro_group_cancel(&my->g);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(sleepers_woken + (int)my->g.cancelled, my->n);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    CORO_END((int)my->g.cancelled);
}

static void run_sleepers(void)
{
    CHECK_EQ(coro_run_with(in_virtual_time(), dormitory, .n = many(1000000)), 0);
}

TEST(million_sleepers_wake_in_order_and_on_time)
{
    if (!CORO_WHEEL_BITS)
        return; /* a sorted list is for few */
    on_a_small_stack(run_sleepers);
}

static void cancel_sleepers(void)
{
    int n = many(300000);
    int cancelled = coro_run_with(in_virtual_time(), dormitory, .n = n, .cancel_at = 20);
    CHECK(cancelled > n / 100 && cancelled < n);
}

TEST(many_sleepers_are_cancelled_at_once)
{
    on_a_small_stack(cancel_sleepers);
}
