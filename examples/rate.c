/* rate.c -- at most ten requests a second, of which three may come at once. */
#include "coro_sync.h"
#include <stdio.h>

struct request {
    CORO_FRAME;
    coro_rate *rate;
    int n;
};

CORO(request)
{
    CORO_BEGIN();
    CORO_TRY(coro_rate_take(co, my->rate, 1)); /* first come, first served */
    printf("request %d at %d ms\n", my->n, (int)(coro_now(co) / CORO_MS(1)));
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_rate rate;
    coro_group g;
};

CORO(app)
{
    CORO_BEGIN();
    my->rate.rate = 10;
    my->rate.burst = 3;
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 1; i <= 6; i++)
        coro_spawn(&my->g, request, .rate = &my->rate, .n = i);
    CORO_CLOSE(&my->g);
    if (coro_rate_try_take(co, &my->rate, 1) != -EAGAIN) /* for those who would rather not wait */
        CORO_FAIL(-EPROTO);
    CORO_END((int)(coro_now(co) / CORO_MS(1)));
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 300;
}

/* Output:
 *   request 1 at 0 ms
 *   request 2 at 0 ms
 *   request 3 at 0 ms
 *   request 4 at 100 ms
 *   request 5 at 200 ms
 *   request 6 at 300 ms
 */
