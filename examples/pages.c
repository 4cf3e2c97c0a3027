/* pages.c -- a generator that awaits, closed before its end; and a value that travels with the
 * task. */
#include "coro.h"
#include <stdio.h>

static const char user_key; /* its address is the key */

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
CORO_FINALLY:
    printf("generator: closed at page %d\n", my->page);
    CORO_END(0);
}

struct reader {
    CORO_FRAME;
    CORO_GEN(pages) gen;
    int got;
};

CORO(reader)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, pages);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got || my->gen.frame.page > 3)
            break;
        printf("%s reads page %d\n", (const char *)coro_context_get(co, &user_key),
               my->gen.frame.page);
    }
CORO_FINALLY:
    CORO_TRY(coro_gen_close(co, &my->gen));
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    coro_context user;
};

CORO(app)
{
    CORO_BEGIN();
    coro_context_set(co, &my->user, &user_key, (void *)(uintptr_t) "ada");
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, reader);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) < 0;
}

/* Output:
 *   ada reads page 1
 *   ada reads page 2
 *   ada reads page 3
 *   generator: closed at page 4
 */
