/* retry.c -- exponential backoff: a service that is down for a while is asked again, ever later. */
#include "coro_sync.h"
#include <stdio.h>

struct request {
    CORO_FRAME;
    coro_time up_at;
};

CORO(request) /* 5 ms, and refused as long as the service is down */
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    if (coro_now(co) < my->up_at)
        CORO_FAIL(-ECONNREFUSED);
    CORO_END(200);
}

struct app {
    CORO_FRAME;
    struct request request;
    coro_backoff backoff;
    int rc, again;
};

CORO(app)
{
    CORO_BEGIN();
    my->backoff.base = CORO_MS(50);
    my->backoff.exact = true; /* no jitter: for this output. Leave it away in earnest */
    for (;;) {
        CORO_AWAIT(my->rc, coro_call(co, &my->request, request, .up_at = CORO_MS(250)));
        printf("at %3d ms: %s\n", (int)(coro_now(co) / CORO_MS(1)),
               my->rc < 0 ? "refused" : "answered");
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
        if (!my->again)
            break;
    }
    CORO_END(my->rc);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 200;
}

/* Output:
 *   at   5 ms: refused
 *   at  60 ms: refused
 *   at 165 ms: refused
 *   at 370 ms: answered
 */
