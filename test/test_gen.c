/* test_gen.c -- generators (semantics.md, section 9) and values that travel with tasks (L21).
 *
 * A03's "arguments are released", A13 (there is no finaliser to start one in) and A15 (handles are
 * not counted: the storage is the user's) are not about coro.h. A05 and A18 are as design.md says:
 * a cancelled coro_gen_next cancels the producer's await, and no group may be open across a yield.
 */
#include "coro.h"
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SOUND(co) CHECK_STR(coro_verify(coro_loop_of(co)), NULL)

static const coro_options fast = {.clock = CORO_VIRTUAL};

/* What happened, in order. */
static char trace[1024];

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
    size_t used = strlen(trace);
    va_list args;
    va_start(args, format);
    vsnprintf(trace + used, sizeof trace - used, format, args);
    va_end(args);
}

/* The generator of most tests: 0, 1, 2 ... */
struct source {
    CORO_FRAME;
    int n;           /* how many items */
    coro_time pause; /* before each */
    coro_time tidy;  /* how long the cleanup takes */
    int fail;        /* what it ends with after the items */
    int fail_tidy;   /* what its cleanup fails with */
    int item;
    coro_scope shield;
};

static int begun, cleaned; /* sources */

CORO(source)
{
    CORO_BEGIN();
    begun++;
    say("begin ");
    for (my->item = 0; my->item < my->n; my->item++) {
        CORO_TRY(coro_sleep(co, my->pause));
        say("make%d ", my->item);
        CORO_YIELD();
    }
    CORO_FAIL(my->fail);
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_S(60));
    if (my->tidy)
        CORO_IGNORE(coro_sleep(co, my->tidy));
    (void)coro_scope_close(co, &my->shield, 0);
    say("clean(%d) ", CORO_ERR);
    cleaned++;
    CORO_TRY(my->fail_tidy);
    CORO_END(0);
}

/* The same without an await: it is never waited for. */
struct digits {
    CORO_FRAME;
    int n;
    int item;
};

CORO(digits)
{
    CORO_BEGIN();
    for (my->item = 0; my->item < my->n; my->item++)
        CORO_YIELD();
    CORO_END(0);
}

/* ---- items ------------------------------------------------------------------------------ */

struct adder {
    CORO_FRAME;
    CORO_GEN(digits) gen;
    int got, count;
    long long sum;
    uint64_t steps;
};

CORO(adder)
{
    CORO_BEGIN();
    my->steps = coro_stats(coro_loop_of(co)).steps;
    coro_gen_open(&my->gen, digits, .n = 100000);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        CHECK_EQ(my->got, 1);
        CHECK_EQ(my->gen.frame.item, my->count);
        my->count++;
        my->sum += my->gen.frame.item;
    }
    CHECK_EQ(my->count, 100000);
    CHECK_EQ(my->sum, 4999950000);
    CHECK_EQ(coro_stats(coro_loop_of(co)).steps, my->steps); /* plain calls: no trip to the loop */
    SOUND(co);
    CORO_END(my->count);
}

TEST(generator_hands_over_its_items_one_by_one_without_the_scheduler)
{
    CHECK_EQ(coro_run_with(&fast, adder), 100000);
}

struct sticky {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(sticky)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 1);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->gen.frame.item, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK_STR(trace, "begin make0 clean(0) ");
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen)); /* nothing left to do */
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(cleaned, 1);
    SOUND(co);
    CORO_END(0);
}

TEST(end_of_a_generator_is_told_again_and_again) /* A01 */
{
    CHECK_EQ(coro_run_with(&fast, sticky), 0);
}

struct never_opened {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(never_opened)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_END(0);
}

TEST(zeroed_generator_is_at_its_end)
{
    CHECK_EQ(coro_run_with(&fast, never_opened), 0);
}

struct lazy {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(lazy)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 2);
    CHECK_STR(trace, "");
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    say("use%d ", my->gen.frame.item);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    say("use%d ", my->gen.frame.item);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    say("end ");
    CORO_END(0);
}

TEST(generator_does_not_run_ahead_of_its_consumer) /* A08 */
{
    CHECK_EQ(coro_run_with(&fast, lazy), 0);
    CHECK_STR(trace, "begin make0 use0 make1 use1 clean(0) end ");
}

struct patient {
    CORO_FRAME;
    CORO_GEN(source) gen;
    coro_time start;
    int rc;
};

CORO(patient)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_gen_open(&my->gen, source, .n = 3, .pause = CORO_MS(5));
    for (;;) {
        CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
        if (!my->rc)
            break;
        say("[%d ms] ", (int)((coro_now(co) - my->start) / CORO_MS(1)));
    }
    SOUND(co);
    CORO_END(0);
}

TEST(consumer_waits_for_a_generator_that_waits)
{
    CHECK_EQ(coro_run_with(&fast, patient), 0);
    CHECK_STR(trace, "begin make0 [5 ms] make1 [10 ms] make2 [15 ms] clean(0) ");
}

/* ---- closing early ---------------------------------------------------------------------- */

struct closer {
    CORO_FRAME;
    CORO_GEN(source) gen;
    coro_time start;
    int rc;
};

CORO(closer)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 3, .tidy = CORO_MS(7));
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    my->start = coro_now(co);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_now(co) - my->start, CORO_MS(7)); /* not before the cleanup is over */
    CHECK_EQ(cleaned, 1);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(cleaned, 1);
    SOUND(co);
    CORO_END(0);
}

TEST(closing_a_generator_early_runs_its_cleanup_once_and_waits_for_it) /* A02 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, closer), 0);
    snprintf(want, sizeof want, "begin make0 clean(%d) ", -EPIPE);
    CHECK_STR(trace, want);
}

struct unbegun {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(unbegun)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 3);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    coro_gen_open(&my->gen, source, .n = 3); /* never begun: may be forgotten, or opened anew */
    coro_gen_open(&my->gen, source, .n = 1);
    CHECK_EQ(coro_loop_of(co)->generators, 0);
    CORO_END(0);
}

TEST(closing_a_generator_that_was_never_begun_runs_nothing_of_it) /* A03 */
{
    CHECK_EQ(coro_run_with(&fast, unbegun), 0);
    CHECK_STR(trace, "");
}

/* A generator that hands over what another one makes. */
struct relay {
    CORO_FRAME;
    CORO_GEN(source) in;
    int got, item;
};

CORO(relay)
{
    CORO_BEGIN();
    coro_gen_open(&my->in, source, .n = 9, .tidy = CORO_MS(1));
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->in));
        if (!my->got)
            break;
        my->item = my->in.frame.item * 10;
        CORO_YIELD();
    }
CORO_FINALLY:
    say("outer{ ");
    CORO_IGNORE(coro_gen_close(co, &my->in));
    say("}outer ");
    CORO_END(0);
}

struct relayed {
    CORO_FRAME;
    CORO_GEN(relay) gen;
    int rc;
};

CORO(relayed)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, relay);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->gen.frame.item, 10);
    SOUND(co);
    CORO_TRY(coro_gen_close(co, &my->gen));
    say("closed");
    CHECK_EQ(coro_loop_of(co)->generators, 0);
    CORO_END(0);
}

TEST(closing_the_outer_generator_closes_the_inner_one_first) /* A11 */
{
    char want[128];
    CHECK_EQ(coro_run_with(&fast, relayed), 0);
    snprintf(want, sizeof want, "begin make0 make1 outer{ clean(%d) }outer closed", -EPIPE);
    CHECK_STR(trace, want);
}

/* A generator that would rather go on. */
struct stubborn {
    CORO_FRAME;
    int item;
};

CORO(stubborn)
{
    CORO_BEGIN();
    CORO_YIELD();
    say("went on ");
CORO_FINALLY:
    say("tries(%d) ", CORO_ERR);
    my->item = 99;
    CORO_YIELD();
    say("never ");
    CORO_END(0);
}

struct against_stubborn {
    CORO_FRAME;
    CORO_GEN(stubborn) gen;
    int rc;
};

CORO(against_stubborn)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, stubborn);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    SOUND(co);
    CORO_END(0);
}

TEST(yield_fails_with_epipe_once_the_generator_is_being_closed) /* A14 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, against_stubborn), 0);
    snprintf(want, sizeof want, "tries(%d) ", -EPIPE);
    CHECK_STR(trace, want);
}

struct no_generator {
    CORO_FRAME;
    int item;
};

CORO(no_generator)
{
    CORO_BEGIN();
    CORO_YIELD();
    say("never ");
CORO_FINALLY:
    say("(%d)", CORO_ERR);
    CORO_END(0);
}

/* A generator whose callee yields. */
struct delegating {
    CORO_FRAME;
    struct no_generator sub;
    int rc, item;
};

CORO(delegating)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call(co, &my->sub, no_generator));
    CHECK_EQ(my->rc, -EPERM);
    my->item = 5;
    CORO_YIELD();
    CORO_END(0);
}

struct lost_yield {
    CORO_FRAME;
    CORO_GEN(delegating) gen;
    struct no_generator sub;
    int rc;
};

static void drop_text(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

CORO(lost_yield)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call(co, &my->sub, no_generator));
    CHECK_EQ(my->rc, -EPERM);
    coro_gen_open(&my->gen, delegating);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->gen.frame.item, 5);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_END(0);
}

TEST(yield_outside_of_a_generators_own_body_fails_with_eperm) /* A14 */
{
    coro_options quiet = fast;
    char want[64];
    quiet.report.put = drop_text; /* CORO_DEBUG says it aloud */
    CHECK_EQ(coro_run_with(&quiet, lost_yield), 0);
    snprintf(want, sizeof want, "(%d)(%d)", -EPERM, -EPERM);
    CHECK_STR(trace, want);
}

/* ---- errors ----------------------------------------------------------------------------- */

struct unlucky {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(unlucky)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 1, .fail = -EIO);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -EIO);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(cleaned, 1);
    SOUND(co);
    CORO_END(0);
}

TEST(generators_error_is_delivered_by_one_next_only) /* A01 A07 */
{
    CHECK_EQ(coro_run_with(&fast, unlucky), 0);
}

struct unlucky_close {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(unlucky_close)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 3, .fail_tidy = -EIO);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    say("close gave %d", my->rc);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_END(0);
}

/* -EPIPE is only what CORO_YIELD said: it must not hide what went wrong in the cleanup. */
TEST(error_of_the_cleanup_comes_out_of_the_close) /* A07 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, unlucky_close), 0);
    snprintf(want, sizeof want, "begin make0 clean(%d) close gave %d", -EPIPE, -EIO);
    CHECK_STR(trace, want);
}

struct doubly_unlucky {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(doubly_unlucky)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 0, .fail = -EIO, .fail_tidy = -ENOSPC);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -EIO);
    coro_gen_open(&my->gen, source, .n = 0, .fail_tidy = -ENOSPC);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -ENOSPC);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(begun, 2);
    CHECK_EQ(cleaned, 2);
    CORO_END(0);
}

TEST(error_of_a_generators_body_comes_before_that_of_its_cleanup) /* A10 */
{
    CHECK_EQ(coro_run_with(&fast, doubly_unlucky), 0);
}

/* ---- cancellation ----------------------------------------------------------------------- */

struct impatient {
    CORO_FRAME;
    CORO_GEN(source) gen;
    coro_scope limit;
    coro_time start;
    int rc;
};

CORO(impatient)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 3, .pause = CORO_MS(10));
    my->start = coro_now(co);
    coro_timeout_open(co, &my->limit, CORO_MS(15));
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_now(co) - my->start, CORO_MS(15));
    CHECK_EQ(coro_scope_close(co, &my->limit, my->rc), -ETIMEDOUT);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen)); /* its await failed, so it has ended */
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(cleaned, 1);
    SOUND(co);
    CORO_END(0);
}

TEST(cancelled_next_cancels_the_generators_await) /* A04 A05 A16, design 6.14 */
{
    char want[64];
    CHECK_EQ(coro_run_with(&fast, impatient), 0);
    snprintf(want, sizeof want, "begin make0 clean(%d) ", -ECANCELED);
    CHECK_STR(trace, want);
}

struct spoilt {
    CORO_FRAME;
    CORO_GEN(digits) gen;
    coro_scope scope;
    int rc;
};

CORO(spoilt)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, digits, .n = 2);
    coro_scope_open(co, &my->scope);
    coro_scope_cancel(&my->scope);
    CHECK(coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen)); /* a call, not an operation */
    CHECK_EQ(my->rc, 1);
    CORO_AWAIT(my->rc, coro_gen_close(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CHECK(coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CHECK(!coro_cancelled(co));
    SOUND(co);
    CORO_END(0);
}

TEST(generator_that_does_not_wait_serves_a_cancelled_consumer) /* design 6.2 */
{
    CHECK_EQ(coro_run_with(&fast, spoilt), 0);
}

struct consumer {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int got, sum;
};

/* Uses what the generator makes, and closes it whatever happens. */
CORO(consumer)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 4, .pause = CORO_MS(10), .tidy = CORO_MS(1));
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        my->sum += my->gen.frame.item;
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
    }
CORO_FINALLY:
    CORO_TRY(coro_gen_close(co, &my->gen));
    CORO_END(my->sum);
}

struct sweep {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(consumer) t;
    int n;
};

/* Cancel the consumer at its n-th suspension point, for all n. */
CORO(sweep)
{
    CORO_BEGIN();
    for (my->n = 0; my->n < 10; my->n++) {
        begun = cleaned = 0;
        coro_group_open(co, &my->g, CORO_ALL);
        coro_start(&my->g, &my->t, consumer);
        CORO_TRY(coro_sleep(co, CORO_MS(10) * my->n + CORO_MS(5)));
        CHECK_EQ(coro_task_cancel(&my->t), my->n < 8);
        CORO_CLOSE(&my->g);
        CHECK_EQ(my->g.cancelled, my->n < 8);
        CHECK_EQ(coro_task_result(&my->t), my->n < 8 ? -ECANCELED : 6);
        CHECK_EQ(begun, 1);
        CHECK_EQ(cleaned, 1);
        CHECK_EQ(coro_loop_of(co)->generators, 0);
        CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
        CHECK_EQ(coro_stats(coro_loop_of(co)).tasks, 1);
        SOUND(co);
        trace[0] = 0;
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->n);
}

TEST(consumer_cancelled_anywhere_leaves_no_generator_behind) /* A16 */
{
    CHECK_EQ(coro_run_with(&fast, sweep), 10);
}

/* ---- several tasks ---------------------------------------------------------------------- */

static CORO_GEN(source) shared_gen;

struct sharer {
    CORO_FRAME;
    int rc;
};

CORO(sharer)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_gen_next(co, &shared_gen));
    CHECK_EQ(my->rc, 1);
    say("got%d ", shared_gen.frame.item);
    CORO_END(0);
}

struct intruder {
    CORO_FRAME;
    int rc;
};

CORO(intruder)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_gen_next(co, &shared_gen));
    CHECK_EQ(my->rc, -EBUSY);
    CORO_AWAIT(my->rc, coro_gen_close(co, &shared_gen));
    CHECK_EQ(my->rc, -EBUSY);
    SOUND(co);
    say("busy ");
    CORO_END(0);
}

struct sharing {
    CORO_FRAME;
    coro_group g;
    int rc;
};

CORO(sharing)
{
    CORO_BEGIN();
    coro_gen_open(&shared_gen, source, .n = 3, .pause = CORO_MS(1));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sharer);
    coro_spawn(&my->g, intruder);
    CORO_CLOSE(&my->g);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sharer); /* another task goes on where the first one was */
    CORO_CLOSE(&my->g);
    CORO_TRY(coro_gen_close(co, &shared_gen)); /* and this one ends it */
    SOUND(co);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(generator_is_busy_while_another_task_is_in_it) /* A04 A06 */
{
    char want[128];
    CHECK_EQ(coro_run_with(&fast, sharing), 0);
    snprintf(want, sizeof want, "begin busy make0 got0 make1 got1 clean(%d) ", -EPIPE);
    CHECK_STR(trace, want);
}

/* A generator that asks itself for an item. */
struct ouroboros {
    CORO_FRAME;
    void *self;
    int rc, item;
};

CORO(ouroboros)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_gen_next(co, (CORO_GEN(ouroboros) *)my->self));
    CHECK_EQ(my->rc, -EBUSY);
    CORO_AWAIT(my->rc, coro_gen_close(co, (CORO_GEN(ouroboros) *)my->self));
    CHECK_EQ(my->rc, -EBUSY);
    my->item = 7;
    CORO_YIELD();
    CORO_END(0);
}

struct snake_charmer {
    CORO_FRAME;
    CORO_GEN(ouroboros) gen;
    int rc;
};

CORO(snake_charmer)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, ouroboros, .self = &my->gen);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->gen.frame.item, 7);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    CORO_END(0);
}

TEST(generator_that_asks_itself_is_busy) /* A06 B12 */
{
    CHECK_EQ(coro_run_with(&fast, snake_charmer), 0);
}

/* ---- scopes in generators --------------------------------------------------------------- */

struct nap {
    CORO_FRAME;
    coro_time d;
};

CORO(nap)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(0);
}

/* Each item is made under a deadline, by a group. */
struct careful {
    CORO_FRAME;
    coro_scope limit;
    coro_group g;
    coro_time work;
    int item;
};

CORO(careful)
{
    CORO_BEGIN();
    for (my->item = 0; my->item < 3; my->item++) {
        coro_timeout_open(co, &my->limit, CORO_MS(5));
        coro_group_open(co, &my->g, CORO_ALL);
        coro_spawn(&my->g, nap, .d = my->work);
        coro_spawn(&my->g, nap, .d = my->work);
        CORO_CLOSE(&my->g);
        CORO_TRY(coro_scope_close(co, &my->limit, 0));
        CORO_YIELD();
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

struct slow_reader {
    CORO_FRAME;
    CORO_GEN(careful) gen;
    coro_scope mine;
    int rc;
};

CORO(slow_reader)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, careful, .work = CORO_MS(2));
    coro_timeout_open(co, &my->mine, CORO_S(1));
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CORO_TRY(coro_sleep(co, CORO_MS(50))); /* the generator's deadline is not ours */
    SOUND(co);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(coro_scope_close(co, &my->mine, 0), 0); /* ours is still where we opened it */
    coro_timeout_open(co, &my->mine, CORO_MS(1)); /* and covers the generator while it runs */
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->mine, my->rc), -ETIMEDOUT);
    SOUND(co);
    CORO_END(0);
}

TEST(deadline_inside_a_generator_covers_its_own_code_only) /* A09 A18 */
{
    CHECK_EQ(coro_run_with(&fast, slow_reader), 0);
}

struct own_timeout {
    CORO_FRAME;
    CORO_GEN(careful) gen;
    int rc;
};

CORO(own_timeout)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, careful, .work = CORO_MS(9));
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* an error, not the end */
    CHECK(!coro_cancelled(co));
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 0);
    SOUND(co);
    CORO_END(0);
}

TEST(generators_own_timeout_ends_the_stream_with_an_error) /* A16 */
{
    CHECK_EQ(coro_run_with(&fast, own_timeout), 0);
}

struct between {
    CORO_FRAME;
    CORO_GEN(source) gen;
    coro_scope scope;
    int rc;
};

/* A suspended generator is nowhere: cancellation of a scope that is opened and closed meanwhile
 * does not concern it. */
CORO(between)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 2, .pause = CORO_MS(1));
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    coro_scope_open(co, &my->scope);
    coro_scope_cancel(&my->scope);
    CHECK_EQ(coro_scope_close(co, &my->scope, -ECANCELED), 0);
    CORO_AWAIT(my->rc, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->rc, 1);
    CORO_TRY(coro_gen_close(co, &my->gen));
    CORO_END(0);
}

TEST(cancellation_between_two_items_does_not_reach_the_generator) /* A09 */
{
    CHECK_EQ(coro_run_with(&fast, between), 0);
}

static int open_what; /* across the yield: a scope, a group, a context */
static int yield_line;

struct leaky {
    CORO_FRAME;
    coro_scope scope;
    coro_group group;
    coro_context context;
    int item;
};

CORO(leaky)
{
    CORO_BEGIN();
    if (open_what == 0)
        coro_scope_open(co, &my->scope);
    else if (open_what == 1)
        coro_group_open(co, &my->group, CORO_ALL);
    else
        coro_context_set(co, &my->context, &open_what, &open_what);
    yield_line = __LINE__; CORO_YIELD();
CORO_FINALLY:
    CORO_CLOSE(&my->group);
    CORO_END(0);
}

struct leaky_reader {
    CORO_FRAME;
    CORO_GEN(leaky) gen;
    int rc;
};

CORO(leaky_reader)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, leaky);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_END(0);
}

static void run_leaky(void *what)
{
    open_what = *(int *)what;
    (void)coro_run_with(&fast, leaky_reader);
}

TEST(yield_with_a_scope_or_group_or_context_open_traps) /* A09 A18, design 3.5 */
{
    for (int what = 0; what < 3; what++) {
        CHECK_TRAP(run_leaky, &what, "leaky: CORO_YIELD with a scope, group or context open");
        CHECK_TRAP(run_leaky, &what, __FILE__);
    }
}

/* ---- opening again ---------------------------------------------------------------------- */

struct reopening {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int round, rc;
};

CORO(reopening)
{
    CORO_BEGIN();
    for (my->round = 0; my->round < 3; my->round++) {
        /* The arguments may read the old frame. */
        coro_gen_open(&my->gen, source, .n = my->gen.frame.n + 1);
        do
            CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
        while (my->rc);
        CHECK_EQ(my->gen.frame.item, my->round + 1);
    }
    CHECK_EQ(begun, 3);
    CHECK_EQ(cleaned, 3);
    CORO_END(0);
}

TEST(ended_generator_may_be_opened_again) /* A17 */
{
    CHECK_EQ(coro_run_with(&fast, reopening), 0);
}

struct opening_twice {
    CORO_FRAME;
    CORO_GEN(source) gen;
    int rc;
};

CORO(opening_twice)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, source, .n = 2);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    coro_gen_open(&my->gen, source, .n = 2);
    CORO_END(0);
}

static void run_opening_twice(void *arg)
{
    (void)arg;
    (void)coro_run_with(&fast, opening_twice);
}

TEST(opening_a_generator_that_was_begun_traps) /* A17 B11 */
{
    CHECK_TRAP(run_opening_twice, NULL, "this generator is open already");
}

#if CORO_DEBUG
static void keep_text(void *arg, const char *text)
{
    (void)arg;
    say("%s", text);
}

struct forgetful {
    CORO_FRAME;
    CORO_GEN(digits) gen;
    int rc;
};

CORO(forgetful)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, digits, .n = 2);
    CORO_TRY(my->rc, coro_gen_next(co, &my->gen));
    CORO_END(0);
}

TEST(generator_that_is_never_closed_is_reported_at_the_end) /* A12 B20 */
{
    coro_options o = fast;
    o.report.put = keep_text;
    CHECK_EQ(coro_run_with(&o, forgetful), 0);
    CHECK_STR(trace, "coro: a generator was begun and never ended: coro_gen_close it\n");
}
#endif /* CORO_DEBUG */

/* ---- context: L21 ----------------------------------------------------------------------- */

static char user_key, id_key;

static const char *get(coro_task *co, const void *key)
{
    const char *value = (const char *)coro_context_get(co, key);
    return value ? value : "-";
}

static char alice[] = "alice", bob[] = "bob", seven[] = "7";

struct callee {
    CORO_FRAME;
    coro_context user;
};

CORO(callee)
{
    CORO_BEGIN();
    say("in:%s ", get(co, &user_key));
    coro_context_set(co, &my->user, &user_key, bob);
    say("set:%s ", get(co, &user_key));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    say("still:%s ", get(co, &user_key));
    CORO_END(0);
}

struct caller {
    CORO_FRAME;
    coro_context user, id;
    struct callee sub;
};

CORO(caller)
{
    CORO_BEGIN();
    say("%s ", get(co, &user_key));
    coro_context_set(co, &my->user, &user_key, alice);
    coro_context_set(co, &my->id, &id_key, seven);
    CORO_TRY(coro_call(co, &my->sub, callee));
    say("back:%s,%s ", get(co, &user_key), get(co, &id_key));
    SOUND(co);
    CORO_FAIL(-EIO);
CORO_FINALLY:
    say("finally:%s", get(co, &user_key)); /* END unsets, not the way there */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(0);
}

struct calling {
    CORO_FRAME;
    struct caller sub;
    int rc;
};

CORO(calling)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call(co, &my->sub, caller));
    CHECK_EQ(my->rc, -EIO);
    CHECK_STR(get(co, &user_key), "-");
    CHECK_STR(get(co, &id_key), "-");
    SOUND(co);
    CORO_END(0);
}

TEST(context_value_lasts_to_the_end_of_the_frame_that_set_it)
{
    CHECK_EQ(coro_run_with(&fast, calling), 0);
    CHECK_STR(trace, "- in:alice set:bob still:bob back:alice,7 finally:alice");
}

struct heir {
    CORO_FRAME;
    int n;
    coro_context user;
};

CORO(heir)
{
    CORO_BEGIN();
    say("%d:%s,%s ", my->n, get(co, &user_key), get(co, &id_key));
    coro_context_set(co, &my->user, &user_key, bob); /* unseen by parent and siblings */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    say("%d:%s ", my->n, get(co, &user_key));
    CORO_END(0);
}

struct testator {
    CORO_FRAME;
    coro_context user, id;
    coro_group g;
};

CORO(testator)
{
    CORO_BEGIN();
    coro_context_set(co, &my->user, &user_key, alice);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, heir, .n = 1);
    coro_context_set(co, &my->id, &id_key, seven); /* after the group: not for its children */
    coro_spawn(&my->g, heir, .n = 2);
    CORO_TRY(coro_sleep(co, 0));
    say("parent:%s,%s ", get(co, &user_key), get(co, &id_key));
    SOUND(co);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    say("after:%s,%s", get(co, &user_key), get(co, &id_key));
    CORO_END(0);
}

TEST(children_inherit_what_was_set_when_their_group_was_opened) /* L21 */
{
    CHECK_EQ(coro_run_with(&fast, testator), 0);
    CHECK_STR(trace, "1:alice,- 2:alice,- parent:alice,7 1:bob 2:bob after:alice,7");
}

struct mixed {
    CORO_FRAME;
    coro_scope outer, shield;
    coro_context user, id;
    int rc;
};

/* A scope may be closed while a value that was set inside it lives on, and cancellation and shields
 * pass by values. */
CORO(mixed)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_context_set(co, &my->user, &user_key, alice);
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    coro_context_set(co, &my->id, &id_key, seven);
    CHECK_STR(get(co, &user_key), "alice"); /* a shield is for cancellation only */
    coro_scope_cancel(&my->outer);
    CHECK(!coro_cancelled(co));
    SOUND(co);
    CHECK_EQ(coro_scope_close(co, &my->shield, 0), 0);
    CHECK(coro_cancelled(co)); /* through both values */
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->rc, -ECANCELED);
    SOUND(co);
    CHECK_EQ(coro_scope_close(co, &my->outer, my->rc), 0);
    CHECK(!coro_cancelled(co));
    CHECK_STR(get(co, &user_key), "alice");
    CHECK_STR(get(co, &id_key), "7");
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    SOUND(co);
    CORO_END(0);
}

TEST(context_values_do_not_get_in_the_way_of_scopes)
{
    CHECK_EQ(coro_run_with(&fast, mixed), 0);
}

struct asking {
    CORO_FRAME;
    const char *item;
};

CORO(asking)
{
    CORO_BEGIN();
    for (;;) {
        my->item = get(co, &user_key);
        CORO_YIELD();
    }
    CORO_END(0);
}

static CORO_GEN(asking) asked;

struct asker {
    CORO_FRAME;
    char *name;
    coro_context user;
    int rc;
};

CORO(asker)
{
    CORO_BEGIN();
    coro_context_set(co, &my->user, &user_key, my->name);
    CORO_TRY(my->rc, coro_gen_next(co, &asked));
    CHECK_STR(asked.frame.item, my->name);
    CORO_END(0);
}

struct askers {
    CORO_FRAME;
    struct asker sub;
    int rc;
};

CORO(askers)
{
    CORO_BEGIN();
    coro_gen_open(&asked, asking);
    CORO_TRY(coro_call(co, &my->sub, asker, .name = alice));
    CORO_TRY(coro_call(co, &my->sub, asker, .name = bob));
    CORO_TRY(my->rc, coro_gen_next(co, &asked));
    CHECK_STR(asked.frame.item, "-");
    CORO_TRY(coro_gen_close(co, &asked));
    CORO_END(0);
}

TEST(generator_sees_the_values_of_who_asks_it)
{
    CHECK_EQ(coro_run_with(&fast, askers), 0);
}
