/* test_sync_cover.c -- what the other files' tests of coro_sync.h do not come by: objects that a
 * second loop takes over, whose clock begins anew. What no test reaches is in COVERAGE.md.
 */
#include "coro_sync.h"
#include "test.h"

static const coro_options fast = {.clock = CORO_VIRTUAL};

typedef CORO_POOL(int, 2) int_pool;

static coro_rate rate;
static coro_breaker breaker;
static int_pool pool;

/* ---- first and second life ------------------------------------------------------------------- */

struct rate_life { CORO_FRAME; bool second; };

CORO(rate_life)
{
    CORO_BEGIN();
    if (!my->second)
        CORO_TRY(coro_sleep(co, CORO_S(1000)));
    CHECK_EQ(coro_rate_try_take(co, &rate, 2), 0); /* the burst, */
    CHECK_EQ(coro_rate_try_take(co, &rate, 1), -EAGAIN);
    CORO_TRY(coro_rate_take(co, &rate, 1)); /* and one a second */
    CHECK_EQ(coro_now(co), my->second ? CORO_S(1) : CORO_S(1001));
    CORO_END(coro_rate_fini(&rate));
}

TEST(rate_whose_second_loop_has_an_earlier_clock_begins_with_a_full_bucket)
{
    rate.rate = 1;
    rate.burst = 2;
    CHECK_EQ(coro_run_with(&fast, rate_life), 0);
    CHECK_EQ(coro_run_with(&fast, rate_life, .second = true), 0);
}

struct breaker_life { CORO_FRAME; bool second; };

CORO(breaker_life)
{
    CORO_BEGIN();
    if (my->second) {
        CHECK_EQ(coro_breaker_state(co, &breaker), CORO_BREAKER_HALF_OPEN);
        CHECK_EQ(coro_breaker_enter(co, &breaker), 0); /* the probe */
        CHECK_EQ(coro_breaker_enter(co, &breaker), -EHOSTDOWN);
        coro_breaker_leave(&breaker, 0);
        CHECK_EQ(coro_breaker_state(co, &breaker), CORO_BREAKER_CLOSED);
        CORO_LEAVE();
    }
    CORO_TRY(coro_sleep(co, CORO_S(1000)));
    CHECK_EQ(coro_breaker_enter(co, &breaker), 0);
    coro_breaker_leave(&breaker, -EPIPE);
    CHECK_EQ(breaker.opened, CORO_S(1000));
    CHECK_EQ(coro_breaker_state(co, &breaker), CORO_BREAKER_OPEN);
    CORO_END(0);
}

TEST(breaker_that_an_earlier_loop_opened_lets_a_probe_through)
{
    breaker.failures = 1;
    CHECK_EQ(coro_run_with(&fast, breaker_life), 0);
    CHECK_EQ(coro_run_with(&fast, breaker_life, .second = true), 0);
    CHECK_EQ(breaker.opened_times, 1);
    CHECK_EQ(breaker.rejected, 1);
}

struct pool_life { CORO_FRAME; bool second; int fresh; int *item; };

CORO(pool_life)
{
    CORO_BEGIN();
    if (!my->second)
        CORO_TRY(coro_sleep(co, CORO_S(1000)));
    CORO_TRY(my->fresh, coro_pool_acquire(co, &pool, &my->item));
    CHECK_EQ(my->fresh, 1); /* what the first loop has left is taken for too old */
    CHECK_EQ(coro_pool_release(&pool, my->item, true), 0);
    CHECK_EQ(coro_pool_idle(co, &pool, &my->item), my->second);
    if (my->second)
        CHECK_EQ(coro_pool_release(&pool, my->item, false), 0);
    CORO_END(0);
}

TEST(pool_takes_what_an_earlier_loop_left_idle_for_too_old)
{
    pool.head.idle_limit = CORO_S(1);
    CHECK_EQ(coro_run_with(&fast, pool_life), 0);
    CHECK_EQ(pool.head.idle, 1);
    CHECK_EQ(coro_run_with(&fast, pool_life, .second = true), 0);
    CHECK_EQ(pool.head.idle, 1);
    CHECK_EQ(pool.head.fresh, 2);
    CHECK_EQ(pool.head.broken, 1);
    CHECK_EQ(coro_pool_fini(&pool), -EBUSY); /* the one that is idle */
}

/* ---- a call that did not enter --------------------------------------------------------------- */

TEST(breaker_left_before_anybody_entered_counts_nothing)
{
    int i;
    for (i = 0; i < 10; i++)
        coro_breaker_leave(&breaker, -EPIPE);
    CHECK_EQ(breaker.failed, 0);
    CHECK_EQ(breaker.state, CORO_BREAKER_CLOSED);
    CHECK_EQ(breaker.opened_times, 0);
}

/* ---- a case that is being waited for --------------------------------------------------------- */

#if CORO_DEBUG
static coro_event first, second;
static coro_case shared[1];

struct selects { CORO_FRAME; int chosen; };

CORO(selects)
{
    CORO_BEGIN();
    coro_case_event(&shared[0], &first);
    CORO_TRY(my->chosen, coro_select(co, shared, 1));
    CORO_END(my->chosen);
}

static void fill_while_it_waits(void *arg)
{
    static coro_loop loop;
    (void)arg;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    CHECK_EQ(coro_spawn(&loop.root, selects), 0);
    CHECK_EQ(coro_loop_step(&loop), 1);
    coro_case_event(&shared[0], &second);
}

TEST(case_filled_while_a_select_waits_for_it_traps)
{
    CHECK_TRAP(fill_while_it_waits, NULL, "c->next");
}
#endif /* CORO_DEBUG */
