/* pages.c -- a generator that awaits; the reader has enough after three pages, and closes it. */
#include "coro.h"
#include <stdio.h>

struct pages {
    CORO_FRAME;
    int page; /* the item */
};

CORO(pages)
{
    CORO_BEGIN();
    for (my->page = 1; my->page <= 100; my->page++) {
        CORO_TRY(coro_sleep(co, CORO_MS(10))); /* fetch it */
        CORO_YIELD();
    }
CORO_FINALLY: /* at the end, or when it is closed: close the connection, say */
    printf("generator: stopped at page %d\n", my->page);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    CORO_GEN(pages) gen;
    int got, sum;
};

CORO(app)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, pages);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen)); /* 1: an item; 0: the end */
        if (!my->got || my->gen.frame.page > 3)
            break;
        printf("page %d\n", my->gen.frame.page);
        my->sum += my->gen.frame.page;
    }
CORO_FINALLY:
    CORO_TRY(coro_gen_close(co, &my->gen)); /* ended already: nothing happens */
    CORO_END(my->sum);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 6;
}

/* Output:
 *   page 1
 *   page 2
 *   page 3
 *   generator: stopped at page 4
 */
