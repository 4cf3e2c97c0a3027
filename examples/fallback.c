/* fallback.c -- a timeout with a default: the price within 50 ms, or else the one that we know. */
#include "coro.h"
#include <stdio.h>

struct fetch {
    CORO_FRAME;
    int ms, price;
};

CORO(fetch)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CORO_END(my->price);
}

struct quote {
    CORO_FRAME;
    int ms, known;
    struct fetch fetch;
    coro_scope limit;
    int rc;
};

CORO(quote)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(50), &my->fetch, fetch,
                                        .ms = my->ms, .price = 2100));
    CORO_END(my->rc == -ETIMEDOUT ? my->known : my->rc); /* other errors stay errors */
}

struct app {
    CORO_FRAME;
    struct quote quote;
    int fast, slow;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(my->fast, coro_call(co, &my->quote, quote, .ms = 20, .known = 1999));
    CORO_TRY(my->slow, coro_call(co, &my->quote, quote, .ms = 80, .known = 1999));
    printf("a fast answer: %d\n", my->fast);
    printf("a slow one: %d, after %d ms in all\n", my->slow, (int)(coro_now(co) / CORO_MS(1)));
    CORO_END(my->fast + my->slow);
}

int main(void)
{
    /* Virtual time begins at 0. */
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 4099;
}

/* Output:
 *   a fast answer: 2100
 *   a slow one: 1999, after 70 ms in all
 */
