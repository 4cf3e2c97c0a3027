/* testing.c -- a test of one's own code: an hour passes in no time, in a hundred random orders. */
#include "coro_sync.h"
#include <stdio.h>

/* What is to be tested: a value that is loaded when it is older than an hour, by one task only. */
struct cache {
    coro_mutex loading;
    coro_time until;
    int loads;
};

struct lookup {
    CORO_FRAME;
    struct cache *cache;
};

CORO(lookup)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->cache->loading));
    if (coro_now(co) >= my->cache->until) {
        CORO_TRY(coro_sleep(co, CORO_MS(100)));
        my->cache->loads++;
        my->cache->until = coro_now(co) + CORO_S(3600);
    }
CORO_FINALLY:
    coro_mutex_unlock(co, &my->cache->loading);
    CORO_END(my->cache->loads);
}

/* The test. */
struct test {
    CORO_FRAME;
    struct cache cache;
    coro_group g;
    struct lookup lookup;
    int loads;
};

static int check(bool ok, const char *what)
{
    if (!ok)
        printf("not so: %s\n", what);
    return ok ? 0 : -EPROTO;
}

CORO(test)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 5; i++)
        coro_spawn(&my->g, lookup, .cache = &my->cache);
    CORO_CLOSE(&my->g);
    CORO_TRY(check(my->cache.loads == 1, "five tasks at once load once"));
    CORO_TRY(check(coro_now(co) == CORO_MS(100), "and wait for that only"));

    CORO_TRY(coro_sleep(co, CORO_S(3599)));
    CORO_TRY(my->loads, coro_call(co, &my->lookup, lookup, .cache = &my->cache));
    CORO_TRY(check(my->loads == 1, "it is kept for nearly an hour"));
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    CORO_TRY(my->loads, coro_call(co, &my->lookup, lookup, .cache = &my->cache));
    CORO_TRY(check(my->loads == 2, "and loaded anew after that"));
    CORO_END(0);
}

int main(void)
{
    coro_options options = {.clock = CORO_VIRTUAL};
    for (options.seed = 1; options.seed <= 100; options.seed++) /* ready tasks: shuffled */
        if (coro_run_with(&options, test) < 0) {
            printf("again with .seed = %u\n", (unsigned)options.seed);
            return 1;
        }
    printf("100 orders passed\n");
    return 0;
}

/* Output:
 *   100 orders passed
 */
