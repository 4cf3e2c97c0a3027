/* retry.c -- a service that is down for a while: exponential backoff, then a circuit breaker that
 * does not even try, and lets a probe through when it has cooled down. */
#include "coro_sync.h"
#include <stdio.h>

struct service {
    coro_time up_at;
    int calls;
};

struct request {
    CORO_FRAME;
    struct service *service;
};

CORO(request) /* 5 ms, and refused as long as the service is down */
{
    CORO_BEGIN();
    my->service->calls++;
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    if (coro_now(co) < my->service->up_at)
        CORO_FAIL(-ECONNREFUSED);
    CORO_END(200);
}

struct app {
    CORO_FRAME;
    struct service service;
    struct request request;
    coro_backoff backoff;
    coro_breaker breaker;
    coro_time began;
    int rc, again, i;
};

static int ms_since(coro_task *co, coro_time began)
{
    return (int)((coro_now(co) - began) / CORO_MS(1));
}

CORO(app)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    my->service.up_at = my->began + CORO_MS(250);
    my->backoff = (coro_backoff){.tries = 6, .base = CORO_MS(50), .exact = true}; /* no jitter */
    for (;;) {
        CORO_AWAIT(my->rc, coro_call(co, &my->request, request, .service = &my->service));
        printf("%4d ms: %s\n", ms_since(co, my->began), my->rc < 0 ? "refused" : "answered");
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
        if (!my->again)
            break;
    }

    my->service = (struct service){.up_at = coro_now(co) + CORO_MS(90)};
    my->breaker = (coro_breaker){.failures = 3, .cooling = CORO_MS(50)};
    for (my->i = 0; my->i < 20; my->i++) {
        my->rc = coro_breaker_enter(co, &my->breaker);
        if (my->rc == 0) {
            CORO_AWAIT(my->rc, coro_call(co, &my->request, request, .service = &my->service));
            coro_breaker_leave(&my->breaker, my->rc);
        }
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
    }
    printf("20 requests: %d were sent, %u were refused by the breaker, which opened %u times\n",
           my->service.calls, (unsigned)my->breaker.rejected, (unsigned)my->breaker.opened_times);
    CORO_END(0);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) < 0;
}

/* Output:
 *      5 ms: refused
 *     60 ms: refused
 *    165 ms: refused
 *    370 ms: answered
 *   20 requests: 16 were sent, 4 were refused by the breaker, which opened 1 times
 */
