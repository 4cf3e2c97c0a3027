/* test_patterns.c -- what servers are made of: retry with backoff, rate limit, circuit breaker,
 * resource pool. Time is virtual, so that all of it is exact.
 */
#include "coro_sync.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the stage ------------------------------------------------------------------------------- */

static char trace[4096];  /* what has happened, in order */
static char report[1024]; /* what the loop has said */
static size_t allocated;

static void say(const char *what)
{
    size_t used = strlen(trace);
    if (used + strlen(what) + 2 > sizeof trace)
        TEST_FAIL("the trace is full: %s", trace);
    snprintf(trace + used, sizeof trace - used, "%s%s", used ? " " : "", what);
}

/* "a:0@100": a had 0 after 100 ms. */
static void tell(coro_task *co, char name, long rc)
{
    char text[64];
    long ms = (long)(coro_now(co) / CORO_MS(1));
    if (rc == -ECANCELED)
        snprintf(text, sizeof text, "%c:canceled@%ld", name, ms);
    else if (rc == -ETIMEDOUT)
        snprintf(text, sizeof text, "%c:timedout@%ld", name, ms);
    else if (rc == -ESHUTDOWN)
        snprintf(text, sizeof text, "%c:shutdown@%ld", name, ms);
    else if (rc == -EPERM)
        snprintf(text, sizeof text, "%c:eperm@%ld", name, ms);
    else
        snprintf(text, sizeof text, "%c:%ld@%ld", name, rc, ms);
    say(text);
}

/* The trace since the last time. */
#define CHECK_TRACE(want)                                                                         \
    do {                                                                                          \
        CHECK_STR(trace, want);                                                                   \
        trace[0] = 0;                                                                             \
    } while (0)

static void *take(void *arg, size_t size)
{
    (void)arg;
    allocated += size;
    return malloc(size);
}

static void give(void *arg, void *memory, size_t size)
{
    (void)arg;
    allocated -= size;
    free(memory);
}

static void keep_report(void *arg, const char *text)
{
    size_t used = strlen(report);
    (void)arg;
    snprintf(report + used, sizeof report - used, "%s", text);
}

static const coro_options world = {
    .allocator = {take, give, NULL}, .clock = CORO_VIRTUAL, .report = {keep_report, NULL}};

static int ended(int rc)
{
    CHECK_EQ(allocated, 0);
    CHECK_STR(report, "");
    CHECK_STR(trace, "");
    return rc;
}

#define RUN(...) ended(coro_run_with(&world, __VA_ARGS__))

/* The main coroutine of a test: what it spawns has ended when it ends. */
#define SCENE_WITH(scene, ...)                                                                    \
    struct scene {                                                                                \
        CORO_FRAME;                                                                               \
        coro_group g;                                                                             \
        coro_scope limit;                                                                         \
        coro_backoff b;                                                                           \
        coro_time t;                                                                              \
        int i, rc;                                                                                \
        __VA_ARGS__                                                                               \
    };                                                                                            \
    CORO(scene)
#define SCENE(scene) SCENE_WITH(scene, int nothing_else;)

#define BEGIN()                                                                                   \
    CORO_BEGIN();                                                                                 \
    coro_group_open(co, &my->g, CORO_COLLECT)

#define END()                                                                                     \
    CORO_CLOSE(&my->g);                                                                           \
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);                                               \
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);                                             \
    CORO_END(0)

#define SLEEP(d) CORO_TRY(coro_sleep(co, d))
#define SLEEP_UNTIL(t) CORO_TRY(coro_sleep_until(co, t))

#define EXPECT(x, want)                                                                           \
    do {                                                                                          \
        CORO_AWAIT(my->rc, x);                                                                    \
        CHECK_EQ(my->rc, want);                                                                   \
    } while (0)

/* ---- retry ----------------------------------------------------------------------------------- */

SCENE(exact_waits)
{
    static const int want[] = {10, 30, 70, 120, 170, 220}; /* ms: 10, 20, 40, then the cap */
    BEGIN();
    my->b.tries = -1;
    my->b.exact = true;
    my->b.base = CORO_MS(10);
    my->b.cap = CORO_MS(50);
    for (my->i = 0; my->i < 6; my->i++) {
        EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
        CHECK_EQ(coro_now(co), CORO_MS(want[my->i]));
        CHECK_EQ(my->b.tried, my->i + 1);
        CHECK_EQ(my->b.waited, CORO_MS(want[my->i]));
    }
    CHECK_EQ(my->b.seed, 0);
    EXPECT(coro_backoff_wait(co, &my->b, 5), 0);
    CHECK_EQ(my->b.tried, 0); /* it begins anew */
    CHECK_EQ(my->b.waited, CORO_MS(220));
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
    CHECK_EQ(coro_now(co), CORO_MS(230));
    EXPECT(coro_backoff_wait(co, &my->b, 0), 0);
    CHECK_EQ(coro_now(co), CORO_MS(230));
    END();
}

TEST(backoff_without_jitter_doubles_up_to_the_cap)
{
    CHECK_EQ(RUN(exact_waits), 0);
}

SCENE(default_waits)
{
    BEGIN();
    my->b.exact = true;
    for (my->i = 0; my->i < 4; my->i++)
        EXPECT(coro_backoff_wait(co, &my->b, -ETIMEDOUT), 1);
    CHECK_EQ(coro_now(co), CORO_MS(100 + 200 + 400 + 800));
    EXPECT(coro_backoff_wait(co, &my->b, -EBUSY), -EBUSY); /* the fifth try was the last */
    CHECK_EQ(my->b.tried, 5);
    EXPECT(coro_backoff_wait(co, &my->b, -EBUSY), -EBUSY);
    CHECK_EQ(coro_now(co), CORO_MS(1500));
    my->b.tried = 0;
    my->b.tries = -1;
    for (my->i = 0; my->i < 9; my->i++)
        EXPECT(coro_backoff_wait(co, &my->b, -ETIMEDOUT), 1);
    CHECK_EQ(coro_now(co), CORO_MS(1500 + 12700 + 10000 + 10000)); /* the cap is 10 s */
    END();
}

TEST(backoff_tries_five_times_from_100_ms_by_default)
{
    CHECK_EQ(RUN(default_waits), 0);
}

SCENE(few_tries)
{
    BEGIN();
    my->b.exact = true;
    my->b.tries = 1;
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), -EAGAIN);
    CHECK_EQ(coro_now(co), 0);
    my->b.tried = 0;
    my->b.tries = 3;
    my->b.base = CORO_S(2); /* above the cap */
    my->b.cap = CORO_MS(700);
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
    EXPECT(coro_backoff_wait(co, &my->b, -EPIPE), 1);
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), -EAGAIN);
    CHECK_EQ(coro_now(co), CORO_MS(1400));
    END();
}

TEST(backoff_gives_the_last_trys_error_back)
{
    CHECK_EQ(RUN(few_tries), 0);
}

static bool only_einval(int rc)
{
    return rc == -EINVAL || rc == -ECANCELED;
}

SCENE(not_transient)
{
    BEGIN();
    my->b.exact = true;
    EXPECT(coro_backoff_wait(co, &my->b, -EINVAL), -EINVAL);
    EXPECT(coro_backoff_wait(co, &my->b, -ECANCELED), -ECANCELED); /* from elsewhere */
    CHECK_EQ(coro_now(co), 0);
    my->b.transient = only_einval;
    my->b.tried = 0;
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), -EAGAIN);
    EXPECT(coro_backoff_wait(co, &my->b, -ECANCELED), -ECANCELED); /* whatever that says */
    CHECK_EQ(coro_now(co), 0);
    my->b.tried = 0;
    EXPECT(coro_backoff_wait(co, &my->b, -EINVAL), 1);
    CHECK_EQ(coro_now(co), CORO_MS(100));
    END();
}

TEST(backoff_does_not_wait_after_an_error_that_will_stay)
{
    CHECK_EQ(RUN(not_transient), 0);
}

TEST(backoff_knows_which_errors_pass_by_themselves)
{
    static const int yes[] = {EAGAIN, EBUSY, ETIMEDOUT, EPIPE, ECONNABORTED, EHOSTDOWN,
#if CORO_HOSTED
                              EINTR, ECONNREFUSED, ECONNRESET, ENETDOWN, ENETUNREACH,
                              EHOSTUNREACH, ENETRESET, ENOBUFS, EMFILE, ENFILE,
#endif /* CORO_HOSTED */
    };
    static const int no[] = {ECANCELED, EINVAL, EPERM, ENOMEM, EDEADLK, ESHUTDOWN, 0};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        CHECK(coro_is_transient(-yes[i]));
        CHECK(!coro_is_transient(yes[i]));
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        CHECK(!coro_is_transient(-no[i]));
}

SCENE(in_time)
{
    BEGIN();
    my->b.exact = true;
    my->b.base = CORO_MS(30);
    coro_timeout_open(co, &my->limit, CORO_MS(100));
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1); /* until 90 */
    CHECK_EQ(coro_now(co), CORO_MS(90));
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), -EAGAIN); /* 210 would be too late */
    CHECK_EQ(coro_now(co), CORO_MS(90));
    CHECK_EQ(my->b.waited, CORO_MS(90));
    CHECK_EQ(coro_scope_close(co, &my->limit, my->rc), -EAGAIN);
    CHECK(!coro_scope_expired(&my->limit));
    END();
}

TEST(backoff_does_not_wait_for_a_try_after_the_deadline)
{
    CHECK_EQ(RUN(in_time), 0);
}

SCENE(just_in_time)
{
    BEGIN();
    my->b.exact = true;
    my->b.base = CORO_MS(30);
    coro_timeout_open(co, &my->limit, CORO_MS(30));
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), -EAGAIN); /* a try at 30 would be refused */
    CHECK_EQ(coro_now(co), 0);
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    coro_timeout_open(co, &my->limit, CORO_MS(60) + 1);
    EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
    CHECK_EQ(coro_now(co), CORO_MS(60));
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    END();
}

/* D11: at its deadline a scope is expired. */
TEST(backoff_does_not_wait_for_a_try_at_the_deadline)
{
    CHECK_EQ(RUN(just_in_time), 0);
}

struct retrier {
    CORO_FRAME;
    char name;
    coro_backoff b;
    coro_time within;
    int rc;
};

CORO(retrier)
{
    CORO_BEGIN();
    my->b.exact = true;
    CORO_AWAIT(my->rc, coro_within(co, my->within ? my->within : CORO_FOREVER,
                                   coro_backoff_wait(co, &my->b, -EAGAIN)));
    CHECK(!my->b.sleeping.head);
    tell(co, my->name, my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(cut_short, CORO_TASK(retrier) r;)
{
    BEGIN();
    coro_start(&my->g, &my->r, retrier, .name = 'a');
    SLEEP(CORO_MS(50));
    CHECK_EQ(coro_task_cancel(&my->r), 1);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("a:canceled@50");
    coro_start(&my->g, &my->r, retrier, .name = 'b');
    CHECK_EQ(coro_task_cancel(&my->r), 1);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("b:canceled@51");
    CHECK_EQ(my->r.frame.b.tried, 0);
    CHECK_EQ(coro_stats(coro_loop_of(co)).timers, 0);
    END();
}

TEST(backoff_ends_when_its_task_is_cancelled)
{
    CHECK_EQ(RUN(cut_short), 0);
}

SCENE(limits)
{
    BEGIN();
    coro_spawn(&my->g, retrier, .name = 'a', .within = CORO_MS(20));
    coro_spawn(&my->g, retrier, .name = 'b', .within = CORO_MS(100));
    coro_spawn(&my->g, retrier, .name = 'c', .within = CORO_MS(500));
    coro_spawn(&my->g, retrier, .name = 'd', .within = -1);
    SLEEP(CORO_S(1));
    CHECK_TRACE("d:timedout@0 a:timedout@20 b:1@100 c:1@100");
    END();
}

TEST(backoff_within_a_limit_ends_at_what_comes_first)
{
    CHECK_EQ(RUN(limits), 0);
}

SCENE(endless)
{
    BEGIN();
    SLEEP(CORO_MS(1));
    my->b.exact = true;
    my->b.tries = -1;
    my->b.base = CORO_FOREVER / 2 + 2;
    my->b.cap = CORO_FOREVER;
    my->b.tried = 1;
    EXPECT(coro_within(co, CORO_S(1), coro_backoff_wait(co, &my->b, -EAGAIN)), -ETIMEDOUT);
    EXPECT(coro_within(co, CORO_S(1), coro_backoff_wait(co, &my->b, -EAGAIN)), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(2001));
    END();
}

TEST(backoff_without_a_cap_saturates)
{
    CHECK_EQ(RUN(endless), 0);
}

/* ---- its jitter ------------------------------------------------------------------------------ */

enum { BUCKETS = 16, WAITS = 4096 };

/* The square of the distance from even, in units in which its mean is BUCKETS - 1. */
static long unevenness(const int *bucket, int n)
{
    long sum = 0, even = n / BUCKETS;
    for (int i = 0; i < BUCKETS; i++)
        sum += (bucket[i] - even) * (bucket[i] - even);
    return sum / even;
}

SCENE_WITH(jitter, uint32_t seed; int bucket[BUCKETS]; coro_time first[4], sum;)
{
    BEGIN();
    my->b.seed = my->seed;
    my->b.tries = -1;
    my->b.base = my->b.cap = CORO_MS(16);
    for (my->i = 0; my->i < WAITS; my->i++) {
        my->t = coro_now(co);
        EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
        my->t = coro_now(co) - my->t;
        CHECK(my->t >= 0 && my->t < CORO_MS(16));
        my->bucket[my->t / CORO_MS(1)]++;
        if (my->i < 4)
            my->first[my->i] = my->t;
    }
    CHECK(unevenness(my->bucket, WAITS) < 40); /* above it by chance: less than 1 in 1000 */
    for (my->i = 0; my->i < 4; my->i++) {
        char text[24];
        snprintf(text, sizeof text, "%ld", (long)my->first[my->i]);
        say(text);
    }
    END();
}

/* V08 */
TEST(backoff_jitter_is_even_and_for_a_seed_the_same)
{
    char first[sizeof trace];
    CHECK_EQ(coro_run_with(&world, jitter, .seed = 12345), 0);
    memcpy(first, trace, sizeof first);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, jitter, .seed = 54321), 0);
    CHECK(strcmp(first, trace) != 0);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, jitter, .seed = 12345), 0);
    CHECK_STR(trace, first);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, jitter, .seed = 0), 0); /* of its own choice */
    CHECK(strcmp(first, trace) != 0);
}

SCENE_WITH(growing, coro_time most[6];)
{
    BEGIN();
    my->b.tries = -1;
    my->b.base = CORO_S(1);
    my->b.cap = CORO_S(10); /* more than 32 bits of ns */
    my->b.seed = 77;
    for (my->i = 0; my->i < 600; my->i++) {
        if (my->i % 6 == 0)
            my->b.tried = 0;
        my->t = coro_now(co);
        EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
        my->t = coro_now(co) - my->t;
        if (my->t > my->most[my->i % 6])
            my->most[my->i % 6] = my->t;
    }
    for (my->i = 0; my->i < 6; my->i++) {
        my->t = my->i < 4 ? CORO_S(1 << my->i) : CORO_S(10);
        CHECK(my->most[my->i] < my->t && my->most[my->i] > my->t / 10 * 9);
    }
    END();
}

TEST(backoff_jitter_is_between_nothing_and_base_twice_that_and_so_on)
{
    CHECK_EQ(RUN(growing), 0);
}

/* Workers that take their numbers as seeds must not all come back at the same moment. */
SCENE_WITH(numbered, int bucket[BUCKETS];)
{
    BEGIN();
    for (my->i = 1; my->i <= 256; my->i++) {
        memset(&my->b, 0, sizeof my->b);
        my->b.base = CORO_MS(16);
        my->b.seed = (uint32_t)my->i;
        my->t = coro_now(co);
        EXPECT(coro_backoff_wait(co, &my->b, -EAGAIN), 1);
        my->bucket[(coro_now(co) - my->t) / CORO_MS(1)]++;
    }
    for (my->i = 0; my->i < BUCKETS; my->i++)
        CHECK(my->bucket[my->i] > 0 && my->bucket[my->i] < 64); /* 16 if they were even */
    END();
}

TEST(backoff_jitter_of_seeds_1_2_3_is_spread)
{
    CHECK_EQ(RUN(numbered), 0);
}

SCENE_WITH(own_seed, coro_backoff b2; coro_time d[2];)
{
    BEGIN();
    SLEEP_UNTIL((coro_time)(uint32_t)(uintptr_t)&my->b); /* where time and address cancel out */
    for (my->i = 0; my->i < 2; my->i++) {
        my->t = coro_now(co);
        EXPECT(coro_backoff_wait(co, my->i ? &my->b2 : &my->b, -EAGAIN), 1);
        my->d[my->i] = coro_now(co) - my->t;
    }
    CHECK(my->b.seed && my->b2.seed);
    CHECK(my->b.seed != my->b2.seed);
    CHECK(my->d[0] != my->d[1]);
    END();
}

TEST(backoff_finds_a_seed_of_its_own)
{
    CHECK_EQ(RUN(own_seed), 0);
}

/* ---- rate limit ------------------------------------------------------------------------------ */

static coro_rate rate;

struct taker {
    CORO_FRAME;
    char name;
    uint32_t n;
    coro_time within; /* 0: no limit */
    int rc;
};

CORO(taker)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->within ? my->within : CORO_FOREVER,
                                   coro_rate_take(co, &rate, my->n)));
    tell(co, my->name, my->rc);
    CORO_END(my->rc);
}

#define TAKE(who, ...) coro_spawn(&my->g, taker, .name = who, .n = __VA_ARGS__)

SCENE(bursts)
{
    static const int want[] = {0, 0, 0, 100, 200, 300};
    BEGIN();
    rate.rate = 10;
    rate.burst = 3;
    for (my->i = 0; my->i < 6; my->i++) {
        EXPECT(coro_rate_take(co, &rate, 1), 0);
        CHECK_EQ(coro_now(co), CORO_MS(want[my->i]));
    }
    SLEEP(CORO_MS(50));
    EXPECT(coro_rate_take(co, &rate, 1), 0); /* what has come by halves counts */
    CHECK_EQ(coro_now(co), CORO_MS(400));
    SLEEP(CORO_MS(250));
    EXPECT(coro_rate_take(co, &rate, 2), 0);
    CHECK_EQ(coro_now(co), CORO_MS(650));
    EXPECT(coro_rate_take(co, &rate, 1), 0);
    CHECK_EQ(coro_now(co), CORO_MS(700));
    EXPECT(coro_rate_take(co, &rate, 3), 0);
    CHECK_EQ(coro_now(co), CORO_MS(1000));
    CHECK_EQ(coro_rate_fini(&rate), 0);
    END();
}

TEST(rate_gives_a_burst_at_once_and_then_as_many_as_a_second_has)
{
    CHECK_EQ(RUN(bursts), 0);
}

SCENE(long_idle)
{
    BEGIN();
    rate.rate = 10;
    rate.burst = 3;
    EXPECT(coro_rate_take(co, &rate, 3), 0);
    for (my->i = 0; my->i < 2; my->i++) {
        SLEEP_UNTIL(my->i ? CORO_S(400000000) : CORO_S(3600));
        my->t = coro_now(co);
        EXPECT(coro_rate_take(co, &rate, 2), 0);
        EXPECT(coro_rate_try_take(co, &rate, 1), 0);
        EXPECT(coro_rate_try_take(co, &rate, 1), -EAGAIN);
        EXPECT(coro_rate_take(co, &rate, 1), 0);
        CHECK_EQ(coro_now(co) - my->t, CORO_MS(100));
    }
    END();
}

TEST(rate_saves_up_no_more_than_a_burst_however_long_it_was_idle)
{
    CHECK_EQ(RUN(long_idle), 0);
}

struct one_of_many {
    CORO_FRAME;
    int number;
    int *next;
};

CORO(one_of_many)
{
    CORO_BEGIN();
    CORO_TRY(coro_rate_take(co, &rate, 1));
    CHECK_EQ(my->number, (*my->next)++);
    CHECK_EQ(coro_now(co), my->number * (coro_time)((CORO_TICKS_PER_S - 1) / rate.rate + 1));
    CORO_END(0);
}

SCENE_WITH(thousand, uint32_t rate; int next; coro_time total;)
{
    BEGIN();
    rate.rate = my->rate;
    for (my->i = 0; my->i < 1000; my->i++)
        coro_spawn(&my->g, one_of_many, .number = my->i, .next = &my->next);
    CORO_TRY(coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->next, 1000);
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(coro_now(co), my->total);
    CHECK_EQ(rate.line.most, 999);
    CHECK_EQ(coro_rate_fini(&rate), 0);
    memset(&rate, 0, sizeof rate);
    END();
}

TEST(rate_lets_a_thousand_pass_in_order_each_at_its_exact_time)
{
    CHECK_EQ(RUN(thousand, .rate = 1000, .total = CORO_MS(999)), 0);
    CHECK_EQ(RUN(thousand, .rate = 3, .total = 999 * (coro_time)333333334), 0); /* never early */
    CHECK_EQ(RUN(thousand, .rate = UINT32_MAX, .total = 999), 0); /* a token each ns at most */
}

SCENE(lowered_burst)
{
    BEGIN();
    rate.rate = 10;
    rate.burst = 5;
    EXPECT(coro_rate_take(co, &rate, 5), 0);
    TAKE('a', 5);
    TAKE('b', 2);
    SLEEP(CORO_MS(1));
    rate.burst = 2;
    SLEEP(CORO_S(1)); /* at 500 ms it is seen */
    CHECK_TRACE("a:-22@500 b:0@500");
    END();
}

TEST(rate_with_a_lowered_burst_turns_away_who_wants_more)
{
    CHECK_EQ(RUN(lowered_burst), 0);
}

SCENE(large_bursts)
{
    BEGIN();
    rate.rate = 1;
    rate.burst = 5000000; /* more than ticks of 32 bits can hold */
    EXPECT(coro_rate_take(co, &rate, 1000000), 0);
    EXPECT(coro_rate_try_take(co, &rate, 1), 0);
    EXPECT(coro_rate_try_take(co, &rate, 4000000), -EAGAIN);
    END();
}

TEST(rate_with_a_burst_of_weeks_does_not_overflow)
{
    CHECK_EQ(RUN(large_bursts), 0);
}

SCENE(not_now)
{
    BEGIN();
    CHECK_EQ(coro_rate_try_take(co, &rate, 1), -EINVAL); /* a rate of 0 */
    EXPECT(coro_rate_take(co, &rate, 1), -EINVAL);
    rate.rate = 10;
    CHECK_EQ(coro_rate_try_take(co, &rate, 2), -EINVAL); /* the burst is 1 */
    EXPECT(coro_rate_take(co, &rate, 2), -EINVAL);
    CHECK_EQ(coro_rate_try_take(co, &rate, 1), 0);
    CHECK_EQ(coro_rate_try_take(co, &rate, 1), -EAGAIN);
    CHECK_EQ(coro_rate_try_take(co, &rate, 0), 0);
    rate.burst = 5;
    CHECK_EQ(coro_rate_try_take(co, &rate, 5), -EAGAIN);
    CHECK_EQ(coro_rate_try_take(co, &rate, 6), -EINVAL);
    TAKE('a', 5);
    TAKE('z', 0);
    SLEEP(CORO_MS(150));
    CHECK_EQ(coro_rate_fini(&rate), -EBUSY);
    report[0] = 0;
    CHECK_EQ(coro_rate_try_take(co, &rate, 1), -EAGAIN); /* one is there, but not for us */
    CHECK_EQ(coro_rate_try_take(co, &rate, 0), -EAGAIN);
    SLEEP(CORO_S(1));
    CHECK_TRACE("a:0@500 z:0@500");
    END();
}

TEST(rate_try_take_never_waits_and_never_overtakes)
{
    CHECK_EQ(RUN(not_now), 0);
}

SCENE(in_order)
{
    BEGIN();
    rate.rate = 10;
    rate.burst = 3;
    TAKE('a', 3);
    TAKE('b', 3); /* at 300, before all who want less */
    TAKE('c', 1);
    TAKE('d', 2);
    TAKE('e', 1);
    SLEEP(CORO_MS(350));
    TAKE('f', 1);
    SLEEP(CORO_S(1));
    CHECK_TRACE("a:0@0 b:0@300 c:0@400 d:0@600 e:0@700 f:0@800");
    END();
}

/* F01 */
TEST(rate_serves_those_who_want_many_and_few_in_the_order_they_came)
{
    CHECK_EQ(RUN(in_order), 0);
}

SCENE_WITH(gives_up, CORO_TASK(taker) t4[4]; int who; coro_time when; const char *want;)
{
    static const uint32_t wants[4] = {5, 1, 3, 1};
    BEGIN();
    rate.rate = 10;
    rate.burst = 5;
    EXPECT(coro_rate_take(co, &rate, 5), 0);
    for (my->i = 0; my->i < 4; my->i++)
        coro_start(&my->g, &my->t4[my->i], taker, .name = (char)('a' + my->i),
                   .n = wants[my->i]);
    SLEEP(my->when);
    CHECK_EQ(coro_task_cancel(&my->t4[my->who]), 1);
    CHECK_EQ(rate.line.waiting, 3 - (my->who == 0 && my->when == CORO_MS(150)));
    SLEEP(CORO_S(2));
    CHECK_TRACE(my->want);
    memset(&rate, 0, sizeof rate);
    END();
}

/* What a waiter who gives up would have had goes to those behind it, at once if it is enough. */
TEST(rate_gives_on_the_tokens_of_a_waiter_who_is_cancelled)
{
    static const struct {
        int who, ms;
        const char *want;
    } row[] = {
        {0, 150, "a:canceled@150 b:0@150 c:0@400 d:0@500"},
        {0, 50, "a:canceled@50 b:0@100 c:0@400 d:0@500"},
        {1, 50, "b:canceled@50 a:0@500 c:0@800 d:0@900"},
        {2, 450, "c:canceled@450 a:0@500 b:0@600 d:0@700"},
        {3, 450, "d:canceled@450 a:0@500 b:0@600 c:0@900"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        CHECK_EQ(RUN(gives_up, .who = row[i].who, .when = CORO_MS(row[i].ms), .want = row[i].want),
                 0);
}

SCENE_WITH(too_late, CORO_TASK(taker) t1;)
{
    BEGIN();
    rate.rate = 10;
    EXPECT(coro_rate_take(co, &rate, 1), 0);
    coro_start(&my->g, &my->t1, taker, .name = 'a', .n = 1);
    TAKE('b', 1);
    SLEEP(CORO_MS(100)); /* this timer was the first for that moment */
    CHECK_EQ(coro_task_cancel(&my->t1), 1);
    SLEEP(CORO_MS(150));
    CHECK_TRACE("a:0@100 b:0@200");
    coro_start(&my->g, &my->t1, taker, .name = 'c', .n = 0);
    CHECK_EQ(coro_task_cancel(&my->t1), 1);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("c:canceled@250");
    END();
}

TEST(rate_taken_before_the_cancellation_is_taken)
{
    CHECK_EQ(RUN(too_late), 0);
}

SCENE(taken_within)
{
    BEGIN();
    rate.rate = 10;
    EXPECT(coro_rate_take(co, &rate, 1), 0);
    TAKE('a', 1, .within = CORO_MS(40));
    TAKE('b', 1, .within = CORO_MS(70)); /* first in line then, and still too early */
    TAKE('c', 1, .within = CORO_MS(100));
    TAKE('d', 1, .within = CORO_MS(80)); /* behind c */
    TAKE('e', 1, .within = CORO_S(3));
    TAKE('f', 1, .within = CORO_MS(299));
    TAKE('g', 1);
    TAKE('h', 1, .within = -1);
    SLEEP(CORO_S(1));
    CHECK_TRACE("h:timedout@0 a:timedout@40 b:timedout@70 d:timedout@80 c:0@100 e:0@200 "
                "f:timedout@299 g:0@300");
    END();
}

TEST(rate_within_a_limit_takes_nothing_when_that_is_over)
{
    CHECK_EQ(RUN(taken_within), 0);
}

SCENE(little_behind_much)
{
    BEGIN();
    rate.rate = 10;
    rate.burst = 5;
    EXPECT(coro_rate_take(co, &rate, 5), 0);
    TAKE('a', 5);
    TAKE('b', 1, .within = CORO_MS(250)); /* there would be two by then */
    TAKE('c', 1);
    SLEEP(CORO_S(1));
    CHECK_TRACE("b:timedout@250 a:0@500 c:0@600");
    END();
}

TEST(rate_within_a_limit_does_not_overtake_when_that_is_over)
{
    CHECK_EQ(RUN(little_behind_much), 0);
}

static coro_loop here, there;

/* Until nobody can go on. */
static void step(coro_loop *loop)
{
    for (int i = 0; i < 5; i++)
        (void)coro_loop_step(loop);
}

static void make_loops(void)
{
    CHECK_EQ(coro_loop_init(&here, &world), 0);
    CHECK_EQ(coro_loop_init(&there, &world), 0);
}

static void end_loops(void)
{
    coro_group_cancel(&here.root);
    coro_group_cancel(&there.root);
    step(&here);
    step(&there);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_EQ(coro_loop_fini(&there), 0);
    CHECK_STR(report, "");
    CHECK_EQ(allocated, 0);
}

/* B06 */
TEST(rate_where_a_task_of_another_loop_waits_gives_eperm)
{
    rate.rate = 10;
    make_loops();
    coro_spawn(&here.root, taker, .name = 'a', .n = 1);
    coro_spawn(&here.root, taker, .name = 'b', .n = 1);
    (void)coro_loop_step(&here);
    coro_spawn(&there.root, taker, .name = 'c', .n = 1);
    step(&there);
    CHECK_TRACE("a:0@0 c:eperm@0");
    coro_group_cancel(&here.root);
    step(&here);
    trace[0] = 0;
    end_loops();
}

/* ---- circuit breaker ------------------------------------------------------------------------- */

static coro_breaker breaker;

/* Calls that end with these results, one after the other. */
static void calls(coro_task *co, int n, int rc)
{
    for (int i = 0; i < n; i++) {
        CHECK_EQ(coro_breaker_enter(co, &breaker), 0);
        coro_breaker_leave(&breaker, rc);
    }
}

#define IS(what) CHECK_EQ(coro_breaker_state(co, &breaker), CORO_BREAKER_##what)

SCENE(all_transitions)
{
    BEGIN();
    IS(CLOSED);
    calls(co, 4, -EPIPE);
    calls(co, 1, 0); /* in a row, that is */
    calls(co, 4, -EPIPE);
    IS(CLOSED);
    CHECK_EQ(breaker.failed, 4);
    calls(co, 1, -ETIMEDOUT);
    IS(OPEN);
    SLEEP(CORO_S(30) - 1);
    IS(OPEN);
    EXPECT(coro_breaker_enter(co, &breaker), -EHOSTDOWN);
    SLEEP(1);
    IS(HALF_OPEN);
    CHECK_EQ(breaker.state, CORO_BREAKER_OPEN); /* asking changes nothing */
    calls(co, 1, -EPIPE);                       /* the probe fails: all anew */
    IS(OPEN);
    EXPECT(coro_breaker_enter(co, &breaker), -EHOSTDOWN);
    SLEEP(CORO_S(29));
    IS(OPEN);
    SLEEP(CORO_S(1));
    calls(co, 1, 7);
    IS(CLOSED);
    CHECK_EQ(breaker.opened_times, 2);
    CHECK_EQ(breaker.rejected, 2);
    calls(co, 4, -EPIPE); /* the count began anew, too */
    IS(CLOSED);
    calls(co, 1, -EPIPE);
    IS(OPEN);
    CHECK_EQ(breaker.opened_times, 3);
    CHECK_EQ(breaker.opened, CORO_S(60));
    END();
}

TEST(breaker_goes_through_all_its_states)
{
    CHECK_EQ(RUN(all_transitions), 0);
}

SCENE(own_numbers)
{
    BEGIN();
    breaker.failures = 1;
    breaker.probes = 2;
    breaker.cooling = CORO_MS(5);
    calls(co, 1, -1);
    IS(OPEN);
    SLEEP(CORO_MS(5));
    calls(co, 1, 0);
    IS(HALF_OPEN);
    calls(co, 1, 0);
    IS(CLOSED);
    calls(co, 1, -1);
    SLEEP(CORO_MS(6));
    calls(co, 1, 0);
    IS(HALF_OPEN);
    calls(co, 1, -1); /* one good probe is not enough, and is forgotten */
    IS(OPEN);
    SLEEP(CORO_MS(5));
    calls(co, 1, 0);
    IS(HALF_OPEN);
    calls(co, 1, 0);
    IS(CLOSED);
    END();
}

TEST(breaker_has_the_numbers_it_is_given)
{
    CHECK_EQ(RUN(own_numbers), 0);
}

SCENE(bounded)
{
    BEGIN();
    breaker.probes = 3;
    calls(co, 5, -EPIPE);
    SLEEP(CORO_S(30));
    for (my->i = 0; my->i < 5; my->i++)
        EXPECT(coro_breaker_enter(co, &breaker), my->i < 3 ? 0 : -EHOSTDOWN);
    CHECK_EQ(breaker.probing, 3);
    CHECK_EQ(breaker.rejected, 2);
    coro_breaker_leave(&breaker, 0);
    EXPECT(coro_breaker_enter(co, &breaker), -EHOSTDOWN); /* as many as are needed are under way */
    coro_breaker_leave(&breaker, 0);
    IS(HALF_OPEN);
    coro_breaker_leave(&breaker, 0);
    IS(CLOSED);
    END();
}

TEST(breaker_lets_a_bounded_number_of_probes_through)
{
    CHECK_EQ(RUN(bounded), 0);
}

SCENE(neither_way)
{
    BEGIN();
    calls(co, 4, -EPIPE);
    calls(co, 3, -ECANCELED);
    CHECK_EQ(breaker.failed, 4);
    IS(CLOSED);
    calls(co, 1, -EPIPE);
    IS(OPEN);
    SLEEP(CORO_S(30));
    EXPECT(coro_breaker_enter(co, &breaker), 0);
    EXPECT(coro_breaker_enter(co, &breaker), -EHOSTDOWN);
    coro_breaker_leave(&breaker, -ECANCELED);
    IS(HALF_OPEN);
    CHECK_EQ(breaker.probing, 0);
    CHECK_EQ(breaker.good, 0);
    calls(co, 1, 0); /* the next one may try in its place */
    IS(CLOSED);
    END();
}

TEST(breaker_counts_a_cancelled_call_neither_way)
{
    CHECK_EQ(RUN(neither_way), 0);
}

static bool only_epipe(int rc)
{
    return rc == -EPIPE;
}

SCENE(own_failures)
{
    BEGIN();
    breaker.failure = only_epipe;
    calls(co, 4, -EPIPE);
    calls(co, 1, -EINVAL); /* an answer: it is there */
    calls(co, 4, -EPIPE);
    IS(CLOSED);
    calls(co, 1, -EPIPE);
    IS(OPEN);
    SLEEP(CORO_S(30));
    calls(co, 1, -EINVAL);
    IS(CLOSED);
    END();
}

TEST(breaker_takes_for_a_failure_what_it_is_told)
{
    CHECK_EQ(RUN(own_failures), 0);
}

SCENE(stale)
{
    BEGIN();
    for (my->i = 0; my->i < 9; my->i++)
        EXPECT(coro_breaker_enter(co, &breaker), 0);
    for (my->i = 0; my->i < 5; my->i++)
        coro_breaker_leave(&breaker, -EPIPE);
    IS(OPEN);
    SLEEP(CORO_S(10));
    coro_breaker_leave(&breaker, 0); /* of calls that began before it opened: no news */
    coro_breaker_leave(&breaker, -EPIPE);
    IS(OPEN);
    CHECK_EQ(breaker.opened, 0);
    CHECK_EQ(breaker.opened_times, 1);
    SLEEP(CORO_S(20));
    EXPECT(coro_breaker_enter(co, &breaker), 0);
    coro_breaker_leave(&breaker, -ECANCELED);
    coro_breaker_leave(&breaker, 0); /* half-open, and nobody probes */
    coro_breaker_leave(&breaker, -EPIPE);
    CHECK_EQ(breaker.state, CORO_BREAKER_HALF_OPEN);
    CHECK_EQ(breaker.probing, 0);
    CHECK_EQ(breaker.good, 0);
    calls(co, 1, 0);
    IS(CLOSED);
    END();
}

TEST(breaker_does_not_count_calls_that_began_before_it_opened)
{
    CHECK_EQ(RUN(stale), 0);
}

struct caller {
    CORO_FRAME;
    char name;
    coro_time takes;
    int ends_with, rc;
};

CORO(caller)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_breaker_enter(co, &breaker));
    if (my->rc == 0) {
        CORO_AWAIT(my->rc, coro_sleep(co, my->takes));
        if (my->rc == 0)
            my->rc = my->ends_with;
        coro_breaker_leave(&breaker, my->rc);
    }
    tell(co, my->name, my->rc == -EHOSTDOWN ? -1000 : my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(service, CORO_TASK(caller) probe;)
{
    BEGIN();
    breaker.failures = 2;
    breaker.cooling = CORO_MS(100);
    coro_spawn(&my->g, caller, .name = 'a', .takes = CORO_MS(10), .ends_with = -7);
    coro_spawn(&my->g, caller, .name = 'b', .takes = CORO_MS(20), .ends_with = -7);
    SLEEP(CORO_MS(50));
    coro_spawn(&my->g, caller, .name = 'c', .takes = CORO_MS(10));
    SLEEP(CORO_MS(70)); /* until 120, when it is half-open */
    coro_start(&my->g, &my->probe, caller, .name = 'd', .takes = CORO_MS(10));
    coro_spawn(&my->g, caller, .name = 'e', .takes = CORO_MS(10));
    SLEEP(CORO_MS(5));
    coro_task_cancel(&my->probe);
    SLEEP(CORO_MS(1));
    coro_spawn(&my->g, caller, .name = 'f', .takes = CORO_MS(10));
    SLEEP(CORO_MS(20));
    coro_spawn(&my->g, caller, .name = 'g', .takes = CORO_MS(10));
    SLEEP(CORO_MS(20));
    CHECK_TRACE("a:-7@10 b:-7@20 c:-1000@50 e:-1000@120 d:canceled@125 f:0@136 g:0@156");
    CHECK_EQ(breaker.rejected, 2);
    END();
}

TEST(breaker_protects_a_service_that_is_down)
{
    CHECK_EQ(RUN(service), 0);
}

/* ---- resource pool --------------------------------------------------------------------------- */

struct conn {
    int serial; /* given when it is connected */
    char buffer[20];
};

static CORO_POOL(struct conn, 3) pool;
static int serial;

/* Where its slots are. */
static struct conn *conn_at(int i)
{
    return &pool.slots[i].item;
}

struct user { /* "a:1@0": at 0 it got one that was fresh; "a#2" is its serial */
    CORO_FRAME;
    char name;
    coro_time stays, within;
    bool breaks;
    struct conn *conn;
    int rc;
};

CORO(user)
{
    char text[16];
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->within ? my->within : CORO_FOREVER,
                                   coro_pool_acquire(co, &pool, &my->conn)));
    tell(co, my->name, my->rc);
    if (my->rc < 0) {
        CHECK(!my->conn);
        CORO_FAIL(my->rc);
    }
    if (my->rc == 1)
        my->conn->serial = ++serial;
    snprintf(text, sizeof text, "%c#%d", my->name, my->conn->serial % 1000);
    say(text);
    CORO_IGNORE(coro_sleep(co, my->stays));
CORO_FINALLY:
    CHECK_EQ(coro_pool_release(&pool, my->conn, !my->breaks), 0);
    CORO_END(0);
}

#define USE(who, ...) coro_spawn(&my->g, user, .name = who, .stays = __VA_ARGS__)

/* End what has been idle for too long: how many. */
static int reap(coro_task *co)
{
    struct conn *conn;
    int n = 0;
    for (; coro_pool_idle(co, &pool, &conn); n++)
        CHECK_EQ(coro_pool_release(&pool, conn, false), 0);
    return n;
}

/* All that was handed out has come back, and is ended. */
static void end_pool(coro_task *co)
{
    coro_pool_close(&pool);
    (void)reap(co);
    CHECK_EQ(pool.head.out + pool.head.idle + pool.head.line.waiting, 0);
    CHECK_EQ(coro_pool_fini(&pool), 0);
}

SCENE(three_places)
{
    BEGIN();
    USE('a', CORO_MS(10));
    USE('b', CORO_MS(20));
    USE('c', CORO_MS(30));
    USE('d', CORO_MS(5));
    USE('e', CORO_MS(50));
    USE('f', CORO_MS(50));
    SLEEP(CORO_MS(1));
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:1@0 c#3");
    CHECK_EQ(pool.head.out, 3);
    CHECK_EQ(pool.head.line.waiting, 3);
    CHECK_EQ(coro_pool_fini(&pool), -EBUSY);
    report[0] = 0;
    SLEEP(CORO_MS(100));
    CHECK_TRACE("d:0@10 d#1 e:0@15 e#1 f:0@20 f#2");
    CHECK_EQ(pool.head.out, 0);
    CHECK_EQ(pool.head.idle, 3);
    CHECK_EQ(pool.head.most, 3);
    CHECK_EQ(pool.head.fresh, 3);
    CHECK_EQ(pool.head.reused, 3);
    CHECK_EQ(pool.head.broken, 0);
    CHECK_EQ(coro_pool_fini(&pool), -EBUSY); /* they are not ended yet */
    CHECK_EQ(reap(co), 0);
    end_pool(co);
    CHECK_EQ(pool.head.broken, 3);
    END();
}

TEST(pool_hands_out_as_many_as_it_has_and_then_to_whoever_waited_longest)
{
    CHECK_EQ(RUN(three_places), 0);
}

SCENE(newest_first)
{
    BEGIN();
    USE('a', CORO_MS(30));
    USE('b', CORO_MS(10));
    USE('c', CORO_MS(20));
    SLEEP(CORO_MS(40)); /* back: 2, 3, 1 */
    USE('d', CORO_MS(50));
    USE('e', CORO_MS(40));
    USE('f', CORO_MS(30));
    SLEEP(CORO_MS(1));
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:1@0 c#3 d:0@40 d#1 e:0@40 e#3 f:0@40 f#2");
    SLEEP(CORO_MS(100));
    end_pool(co);
    END();
}

TEST(pool_reuses_the_one_that_was_used_last)
{
    CHECK_EQ(RUN(newest_first), 0);
}

SCENE(limited)
{
    BEGIN();
    pool.head.limit = 2;
    USE('a', CORO_MS(10));
    USE('b', CORO_MS(20));
    USE('c', CORO_MS(10));
    SLEEP(CORO_MS(50));
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:0@10 c#1");
    CHECK_EQ(pool.head.most, 2);
    pool.head.limit = 9; /* more than there is room for */
    USE('d', CORO_MS(10));
    USE('e', CORO_MS(10));
    USE('f', CORO_MS(10));
    USE('g', CORO_MS(10));
    SLEEP(CORO_MS(50));
    CHECK_TRACE("d:0@50 d#1 e:0@50 e#2 f:1@50 f#3 g:0@60 g#1");
    CHECK_EQ(pool.head.most, 3);
    end_pool(co);
    END();
}

TEST(pool_has_a_limit_below_its_room)
{
    CHECK_EQ(RUN(limited), 0);
}

SCENE(lowered)
{
    BEGIN();
    pool.head.limit = 2;
    USE('a', CORO_MS(10), .breaks = true);
    USE('b', CORO_MS(20), .breaks = true);
    USE('c', CORO_MS(5));
    SLEEP(CORO_MS(5));
    pool.head.limit = 1;
    SLEEP(CORO_MS(50)); /* at 10 there is one less, but not yet room for one more */
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:1@20 c#3");
    end_pool(co);
    END();
}

TEST(pool_whose_limit_was_lowered_lets_the_next_wait_for_it)
{
    CHECK_EQ(RUN(lowered), 0);
}

SCENE(raised)
{
    BEGIN();
    pool.head.limit = 1;
    USE('a', CORO_MS(10));
    USE('b', CORO_MS(10));
    USE('c', CORO_MS(10));
    USE('d', CORO_MS(10));
    SLEEP(CORO_MS(5));
    pool.head.limit = 3;
    SLEEP(CORO_MS(50));
    CHECK_TRACE("a:1@0 a#1 b:0@10 b#1 c:1@10 c#2 d:1@10 d#3");
    end_pool(co);
    END();
}

TEST(pool_whose_limit_was_raised_lets_in_as_many_as_fit_at_the_next_release)
{
    CHECK_EQ(RUN(raised), 0);
}

SCENE(broken)
{
    BEGIN();
    pool.head.limit = 1;
    USE('a', CORO_MS(10), .breaks = true);
    USE('b', CORO_MS(10));
    USE('c', CORO_MS(10), .breaks = true);
    SLEEP(CORO_MS(50));
    CHECK_TRACE("a:1@0 a#1 b:1@10 b#2 c:0@20 c#2");
    CHECK_EQ(pool.head.broken, 2);
    CHECK_EQ(pool.head.fresh, 2);
    CHECK_EQ(pool.head.reused, 1);
    CHECK_EQ(coro_pool_fini(&pool), 0);
    END();
}

TEST(pool_makes_room_for_a_fresh_one_when_one_is_broken)
{
    CHECK_EQ(RUN(broken), 0);
}

SCENE_WITH(waits_end, CORO_TASK(user) u;)
{
    BEGIN();
    pool.head.limit = 1;
    USE('a', CORO_MS(50));
    coro_start(&my->g, &my->u, user, .name = 'b', .stays = CORO_MS(10));
    USE('c', CORO_MS(10), .within = CORO_MS(30));
    USE('d', CORO_MS(10));
    USE('e', CORO_MS(10), .within = -1);
    SLEEP(CORO_MS(10));
    CHECK_EQ(coro_task_cancel(&my->u), 1);
    SLEEP(CORO_MS(100));
    CHECK_TRACE("a:1@0 a#1 e:timedout@0 b:canceled@10 c:timedout@30 d:0@50 d#1");
    coro_start(&my->g, &my->u, user, .name = 'f', .stays = CORO_MS(10));
    CHECK_EQ(coro_task_cancel(&my->u), 1); /* one is idle, but it may not have it */
    SLEEP(CORO_MS(1));
    CHECK_TRACE("f:canceled@110");
    CHECK_EQ(pool.head.idle, 1);
    USE('g', CORO_MS(20));
    coro_start(&my->g, &my->u, user, .name = 'h', .stays = CORO_MS(10));
    SLEEP(CORO_MS(20)); /* this timer is older than g's */
    SLEEP(0);
    CHECK_EQ(pool.head.reused, 3);
    CHECK_EQ(coro_task_cancel(&my->u), 1); /* handed over already */
    SLEEP(CORO_MS(1));
    CHECK_TRACE("g:0@111 g#1 h:0@131 h#1");
    CHECK_EQ(pool.head.out, 0); /* it has given it back, unused */
    end_pool(co);
    END();
}

TEST(pool_waits_can_be_cancelled_and_limited)
{
    CHECK_EQ(RUN(waits_end), 0);
}

/* Looks every 10 ms for what can be ended; closing one takes 1 ms. */
struct reaper {
    CORO_FRAME;
    struct conn *conn;
    int got;
};

CORO(reaper)
{
    char text[32];
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
        for (;;) {
            CORO_TRY(my->got, coro_pool_idle(co, &pool, &my->conn));
            if (!my->got)
                break;
            snprintf(text, sizeof text, "reap#%d@%ld", my->conn->serial % 1000,
                     (long)(coro_now(co) / CORO_MS(1)));
            say(text);
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
            CHECK_EQ(coro_pool_release(&pool, my->conn, false), 0);
        }
    }
    CORO_END(0);
}

SCENE_WITH(idle_limit, CORO_TASK(reaper) r;)
{
    BEGIN();
    pool.head.idle_limit = CORO_MS(100);
    coro_start(&my->g, &my->r, reaper);
    USE('a', CORO_MS(4));
    USE('b', CORO_MS(50)); /* idle from 50 */
    USE('c', CORO_MS(14)); /* idle from 14 */
    SLEEP(CORO_MS(60));
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:1@0 c#3");
    SLEEP(CORO_MS(45)); /* 105: 1 is too old, 2 and 3 are not */
    CHECK_EQ(pool.head.idle, 3);
    SLEEP(CORO_MS(8)); /* at 110 and 111 it was ended */
    CHECK_TRACE("reap#1@110");
    CHECK_EQ(pool.head.idle, 2);
    USE('d', CORO_MS(20)); /* the newest: 2 */
    USE('e', CORO_MS(20)); /* 3 is too old by now, and there is room */
    SLEEP(CORO_MS(4));
    CHECK_TRACE("d:0@113 d#2 e:0@113 e#3");
    SLEEP(CORO_S(1)); /* both unused since 133 */
    CHECK_TRACE("reap#2@241 reap#3@242");
    CHECK_EQ(pool.head.idle + pool.head.out, 0);
    CHECK_EQ(coro_pool_fini(&pool), 0);
    CHECK_EQ(coro_task_cancel(&my->r), 1);
    END();
}

TEST(pool_gives_a_reaper_what_was_idle_for_too_long_oldest_first)
{
    CHECK_EQ(RUN(idle_limit), 0);
}

SCENE(too_old)
{
    BEGIN();
    pool.head.age_limit = CORO_MS(100);
    pool.head.limit = 2;
    USE('a', CORO_MS(60));
    SLEEP(CORO_MS(60) + 1);
    USE('b', CORO_MS(60)); /* the same, until it is too old */
    SLEEP(CORO_MS(90));
    CHECK_EQ(pool.head.idle, 1);
    USE('c', CORO_MS(10)); /* so a fresh one, while there is room */
    USE('d', CORO_MS(10)); /* and an old one when there is none */
    SLEEP(CORO_MS(1));
    CHECK_TRACE("a:1@0 a#1 b:0@60 b#1 c:1@150 c#2 d:0@150 d#1");
    SLEEP(CORO_MS(50));
    CHECK_EQ(reap(co), 1);
    CHECK_EQ(pool.head.idle, 1);
    SLEEP(CORO_MS(48)); /* c's will be 100 ms old at 250 */
    CHECK_EQ(reap(co), 0);
    SLEEP(CORO_MS(2));
    CHECK_EQ(reap(co), 1);
    CHECK_EQ(coro_pool_fini(&pool), 0);
    END();
}

TEST(pool_prefers_a_fresh_one_to_one_that_is_too_old)
{
    CHECK_EQ(RUN(too_old), 0);
}

SCENE_WITH(reaper_has_it, struct conn *conn; CORO_TASK(user) u;)
{
    BEGIN();
    pool.head.limit = 1;
    pool.head.idle_limit = CORO_MS(10);
    USE('a', 0);
    SLEEP(CORO_MS(10));
    EXPECT(coro_pool_idle(co, &pool, &my->conn), 1);
    CHECK(my->conn == conn_at(0));
    CHECK_EQ(pool.head.out, 1);
    CHECK_EQ(pool.head.reused, 0); /* a reaper does not use it */
    USE('b', CORO_MS(5)); /* must wait for the place */
    SLEEP(CORO_MS(5));
    CHECK_TRACE("a:1@0 a#1");
    EXPECT(coro_pool_release(&pool, my->conn, false), 0);
    SLEEP(CORO_MS(10));
    CHECK_TRACE("b:1@15 b#2");
    SLEEP(CORO_MS(20));
    EXPECT(coro_pool_idle(co, &pool, &my->conn), 1);
    EXPECT(coro_pool_release(&pool, my->conn, true), 0); /* changed its mind: used just now */
    EXPECT(coro_pool_idle(co, &pool, &my->conn), 0);
    end_pool(co);
    END();
}

TEST(pool_counts_what_the_reaper_has_as_out)
{
    CHECK_EQ(RUN(reaper_has_it), 0);
}

struct drainer {
    CORO_FRAME;
    char name;
    int rc;
};

CORO(drainer)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_pool_drain(co, &pool));
    tell(co, my->name, my->rc);
    CORO_END(my->rc);
}

SCENE_WITH(closing, CORO_TASK(drainer) d[2];)
{
    BEGIN();
    pool.head.limit = 2;
    EXPECT(coro_pool_drain(co, &pool), 0); /* none is out */
    USE('a', CORO_MS(10));
    USE('b', CORO_MS(20), .breaks = true);
    USE('c', CORO_MS(10));
    USE('d', CORO_MS(10));
    SLEEP(CORO_MS(5));
    coro_start(&my->g, &my->d[0], drainer, .name = 'x');
    coro_start(&my->g, &my->d[1], drainer, .name = 'y');
    coro_spawn(&my->g, drainer, .name = 'z');
    SLEEP(CORO_MS(1));
    CHECK_EQ(pool.head.drainers.waiting, 3);
    coro_pool_close(&pool);
    coro_pool_close(&pool);
    USE('e', CORO_MS(10));
    CHECK_EQ(coro_task_cancel(&my->d[0]), 1);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("a:1@0 a#1 b:1@0 b#2 c:shutdown@6 d:shutdown@6 e:shutdown@6 x:canceled@6");
    CHECK_EQ(coro_pool_fini(&pool), -EBUSY); /* two are out, two tasks drain */
    report[0] = 0;
    SLEEP(CORO_MS(5));
    CHECK_EQ(pool.head.idle, 1); /* a's is back */
    CHECK_EQ(reap(co), 1);       /* closed: any one */
    SLEEP(CORO_MS(50));
    CHECK_TRACE("y:0@20 z:0@20");
    CHECK_EQ(coro_pool_fini(&pool), 0);
    coro_start(&my->g, &my->d[0], drainer, .name = 'w');
    CHECK_EQ(coro_task_cancel(&my->d[0]), 1);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("w:canceled@62");
    END();
}

TEST(pool_that_is_closed_turns_all_away_and_can_be_drained)
{
    CHECK_EQ(RUN(closing), 0);
}

SCENE_WITH(drained_only, struct conn *conn;)
{
    BEGIN();
    EXPECT(coro_pool_acquire(co, &pool, &my->conn), 1);
    coro_spawn(&my->g, drainer, .name = 'x');
    SLEEP(CORO_MS(1));
    CHECK_EQ(coro_pool_release(&pool, my->conn, false), 0);
    CHECK_EQ(coro_pool_fini(&pool), 0); /* whoever drained has been told */
    SLEEP(CORO_MS(1));
    CHECK_TRACE("x:0@1");
    EXPECT(coro_pool_acquire(co, &pool, &my->conn), 1);
    coro_spawn(&my->g, drainer, .name = 'y');
    SLEEP(CORO_MS(1));
    CHECK_EQ(coro_pool_fini(&pool), -EBUSY);
    report[0] = 0;
    EXPECT(coro_within(co, CORO_MS(5), coro_pool_drain(co, &pool)), -ETIMEDOUT);
    CHECK_EQ(coro_pool_release(&pool, my->conn, false), 0);
    SLEEP(CORO_MS(1));
    CHECK_TRACE("y:0@8");
    END();
}

TEST(pool_can_be_drained_without_being_closed)
{
    CHECK_EQ(RUN(drained_only), 0);
}

static struct conn below; /* not in the pool; where it lies is the linker's choice */

SCENE_WITH(wrong, struct conn *conn, *other, *null, above; int k;)
{
    static char text[64];
    BEGIN();
    EXPECT(coro_pool_acquire(co, &pool, &my->conn), 1);
    CHECK(my->conn == conn_at(0));
    CHECK_EQ(coro_pool_release(&pool, my->null, true), 0); /* what was never acquired */
    CHECK_EQ(coro_pool_release(&pool, my->null, false), 0);
    CHECK_EQ(coro_pool_release(&pool, conn_at(1), true), -EPERM);
    CHECK_EQ(coro_pool_release(&pool, conn_at(2), false), -EPERM);
    CHECK_EQ(coro_pool_release(&pool, &below, true), -EINVAL);
    CHECK_EQ(coro_pool_release(&pool, &my->above, true), -EINVAL);
    my->other = (struct conn *)(void *)((char *)conn_at(0) + 4);
    CHECK_EQ(coro_pool_release(&pool, my->other, true), -EINVAL);
    my->other = (struct conn *)(void *)((char *)conn_at(2) + sizeof pool.slots[0]); /* one past */
    CHECK_EQ(coro_pool_release(&pool, my->other, true), -EINVAL);
    my->other = (struct conn *)(void *)((char *)conn_at(0) - sizeof pool.slots[0]); /* one before */
    CHECK_EQ(coro_pool_release(&pool, my->other, true), -EINVAL);
    my->other = (struct conn *)(void *)text;
    CHECK_EQ(coro_pool_release(&pool, my->other, true), -EINVAL);
    CHECK_EQ(pool.head.out, 1);
    CHECK_EQ(coro_pool_release(&pool, my->conn, true), 0);
    CHECK_EQ(coro_pool_release(&pool, my->conn, true), -EPERM); /* twice */
    CHECK_EQ(coro_pool_release(&pool, my->conn, false), -EPERM);
    CHECK_EQ(pool.head.out, 0);
    CHECK_EQ(pool.head.idle, 1);
    EXPECT(coro_pool_acquire(co, &pool, &my->conn), 0);
    CHECK_EQ(coro_pool_release(&pool, my->conn, false), 0);
    CHECK_EQ(coro_pool_release(&pool, my->conn, false), -EPERM);
    CHECK_EQ(coro_pool_fini(&pool), 0);
    END();
}

TEST(pool_takes_back_only_what_is_out)
{
    CHECK_EQ(RUN(wrong), 0);
}

/* B06 */
TEST(pool_where_a_task_of_another_loop_waits_gives_eperm)
{
    pool.head.limit = 1;
    make_loops();
    coro_spawn(&here.root, user, .name = 'a', .stays = CORO_S(1));
    coro_spawn(&here.root, user, .name = 'b');
    (void)coro_loop_step(&here);
    coro_spawn(&there.root, user, .name = 'c');
    step(&there);
    CHECK_TRACE("a:1@0 a#1 c:eperm@0");
    end_loops();
    trace[0] = 0;
}

struct visitor {
    CORO_FRAME;
    int i;
    struct conn *conn;
};

CORO(visitor)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 20; my->i++) {
        CORO_TRY(coro_pool_acquire(co, &pool, &my->conn));
        my->conn->serial++;
        CHECK(pool.head.out <= 3);
        CORO_TRY(coro_sleep(co, CORO_MS(my->i % 3)));
        CHECK_EQ(coro_pool_release(&pool, my->conn, (my->i + serial++) % 7 != 0), 0);
        my->conn = NULL;
    }
    CORO_END(0);
}

SCENE(busy)
{
    BEGIN();
    for (my->i = 0; my->i < 10; my->i++)
        coro_spawn(&my->g, visitor);
    CORO_TRY(coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->g.failed, 0);
    CHECK_EQ(pool.head.fresh + pool.head.reused, 200);
    CHECK_EQ(pool.head.fresh, pool.head.broken + pool.head.idle);
    CHECK_EQ(pool.head.out, 0);
    CHECK_EQ(pool.head.most, 3);
    CHECK_EQ(pool.head.line.waiting, 0);
    end_pool(co);
    END();
}

TEST(pool_keeps_its_sums_when_many_share_it)
{
    CHECK_EQ(RUN(busy), 0);
}

#if CORO_STACK_CHECK
struct with_local {
    CORO_FRAME;
    int rc;
};

CORO(with_local)
{
    struct conn *conn = NULL, **volatile p = &conn;
    CORO_BEGIN();
    CORO_TRY(coro_pool_acquire(co, &pool, p));
    CORO_END(0);
}

static void run_with_local(void *arg)
{
    (void)arg;
    (void)coro_run(with_local);
}

TEST(pool_acquired_into_a_local_variable_traps)
{
    CHECK_TRAP(run_with_local, NULL, "local");
}
#endif /* CORO_STACK_CHECK */
