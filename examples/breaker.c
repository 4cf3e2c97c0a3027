/* breaker.c -- a circuit breaker: after two failures in a row calls are refused without being
 * sent, until a probe finds the service up again. */
#include "coro_sync.h"
#include <stdio.h>

struct request {
    CORO_FRAME;
    coro_time up_at;
    int *sent;
};

CORO(request)
{
    CORO_BEGIN();
    ++*my->sent;
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    if (coro_now(co) < my->up_at)
        CORO_FAIL(-ECONNREFUSED);
    CORO_END(200);
}

struct guarded {
    CORO_FRAME;
    coro_breaker *breaker;
    int *sent;
    struct request request;
    int rc;
};

CORO(guarded)
{
    CORO_BEGIN();
    CORO_TRY(coro_breaker_enter(co, my->breaker)); /* -EHOSTDOWN: open */
    CORO_AWAIT(my->rc, coro_call(co, &my->request, request, .up_at = CORO_MS(100),
                                 .sent = my->sent));
    coro_breaker_leave(my->breaker, my->rc);
    CORO_END(my->rc);
}

struct app {
    CORO_FRAME;
    coro_breaker breaker;
    struct guarded call;
    int i, rc, sent, good;
};

CORO(app)
{
    CORO_BEGIN();
    my->breaker.failures = 2;
    my->breaker.cooling = CORO_MS(50);
    for (my->i = 0; my->i < 9; my->i++) {
        CORO_AWAIT(my->rc, coro_call(co, &my->call, guarded, .breaker = &my->breaker,
                                     .sent = &my->sent));
        printf("at %3d ms: %s\n", (int)(coro_now(co) / CORO_MS(1)),
               my->rc == -EHOSTDOWN ? "the breaker is open" :
               my->rc < 0 ? "refused" : "answered");
        my->good += my->rc == 200;
        CORO_TRY(coro_sleep(co, CORO_MS(20)));
    }
    printf("%d requests, %d sent, %d answered\n", my->i, my->sent, my->good);
    CORO_END(my->good);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 2;
}

/* Output:
 *   at   5 ms: refused
 *   at  30 ms: refused
 *   at  50 ms: the breaker is open
 *   at  70 ms: the breaker is open
 *   at  95 ms: refused
 *   at 115 ms: the breaker is open
 *   at 135 ms: the breaker is open
 *   at 160 ms: answered
 *   at 185 ms: answered
 *   9 requests, 5 sent, 2 answered
 */
