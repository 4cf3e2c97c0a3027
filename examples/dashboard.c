/* dashboard.c -- two requests: one after the other 1 s + 1.5 s, together 1.5 s. */
#include "coro.h"
#include <stdio.h>

struct fetch {
    CORO_FRAME;
    int ms, value;
};

CORO(fetch)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms))); /* the request */
    CORO_END(my->value);
}

struct app {
    CORO_FRAME;
    coro_time began;
    struct fetch fetch;
    int user, count;
    coro_group g;
    CORO_TASK(fetch) profile, orders;
};

static int ms_since(coro_task *co, coro_time began)
{
    return (int)((coro_now(co) - began) / CORO_MS(1));
}

CORO(app)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    CORO_TRY(my->user, coro_call(co, &my->fetch, fetch, .ms = 1000, .value = 42));
    CORO_TRY(my->count, coro_call(co, &my->fetch, fetch, .ms = 1500, .value = 3));
    printf("one after the other: user %d has %d orders, %d ms\n", my->user, my->count,
           ms_since(co, my->began));

    my->began = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->profile, fetch, .ms = 1000, .value = 42);
    coro_start(&my->g, &my->orders, fetch, .ms = 1500, .value = 3);
    CORO_CLOSE(&my->g); /* waits for both; a failure would cancel the other, and be ours */
    printf("together: user %d has %d orders, %d ms\n", coro_task_result(&my->profile),
           coro_task_result(&my->orders), ms_since(co, my->began));
    CORO_END(ms_since(co, my->began));
}

int main(void)
{
    /* Virtual time jumps to the next deadline when all tasks wait: this takes no time at all. */
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 1500;
}

/* Output:
 *   one after the other: user 42 has 3 orders, 2500 ms
 *   together: user 42 has 3 orders, 1500 ms
 */
