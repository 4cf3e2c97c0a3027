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
    int rc, late;
};

static int say(const char *what, int rc)
{
    printf("%s: %s\n", what, rc == -ETIMEDOUT ? "-ETIMEDOUT" :
                             rc == -ECANCELED ? "-ECANCELED" : rc < 0 ? "?" : "in time");
    return rc == -ETIMEDOUT;
}

CORO(app)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(10), coro_sleep(co, CORO_S(1))));
    my->late += say("one operation", my->rc);

    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->call, slow, .ms = 1000));
    my->late += say("a call", my->rc);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(10), &my->call, slow, .ms = 5));
    my->late += say("a shorter call", my->rc);

    coro_timeout_open(co, &my->limit, CORO_MS(10));
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(6)));
    my->late += say("first half of a block", my->rc);
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(6)));
    my->late += say("second half", my->rc); /* the block is over ... */
    my->rc = coro_scope_close(co, &my->limit, my->rc);
    my->late += say("the block", my->rc); /* ... and here is why */
    CORO_END(my->late);
}

int main(void)
{
    /* Virtual time: it jumps to the next deadline when all tasks wait. Tests take no time. */
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 3;
}

/* Output:
 *   one operation: -ETIMEDOUT
 *   a call: -ETIMEDOUT
 *   a shorter call: in time
 *   first half of a block: in time
 *   second half: -ECANCELED
 *   the block: -ETIMEDOUT
 */
