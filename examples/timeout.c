/* timeout.c -- a deadline over one operation, over a call, and over a block. */
#include "coro.h"
#include <stdio.h>

struct slow {
    CORO_FRAME;
    int ms;
};

CORO(slow)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CORO_END(my->ms);
}

struct app {
    CORO_FRAME;
    coro_scope limit;
    struct slow call;
    int rc;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(10), coro_sleep(co, CORO_S(1))));
    printf("one operation: %d\n", my->rc);

    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->call, slow, .ms = 1000));
    printf("a call: %d\n", my->rc);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->call, slow, .ms = 5));
    printf("a call that is in time: %d\n", my->rc);

    coro_timeout_open(co, &my->limit, CORO_MS(10));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(6)));
    printf("first half of a block: %d\n", my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(6)));
    printf("second half: %d\n", my->rc); /* -ECANCELED: the block is over ... */
    my->rc = coro_scope_close(co, &my->limit, my->rc);
    printf("the block: %d\n", my->rc); /* ... and here is why */
    CORO_END(0);
}

int main(void)
{
    /* Virtual time: it jumps to the next deadline when all tasks wait. Tests take no time. */
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) < 0;
}

/* Output:
 *   one operation: -110
 *   a call: -110
 *   a call that is in time: 5
 *   first half of a block: 0
 *   second half: -125
 *   the block: -110
 */
