/* gather.c -- three requests at once: results in order, then as they complete, then the fastest
 * only. */
#include "coro.h"
#include <stdio.h>

struct fetch {
    CORO_FRAME;
    int ms;
};

CORO(fetch)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CORO_END(my->ms);
}

static const int delays[3] = {30, 10, 20};

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(fetch) t[3];
    int i, got;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++) /* a local is fine where nothing is awaited */
        coro_start(&my->g, &my->t[i], fetch, .ms = delays[i]);
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 3; i++)
        printf("in order: %d\n", coro_task_result(&my->t[i]));

    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->t[i], fetch, .ms = delays[i]);
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        printf("as they complete: %d, which was number %d\n", coro_task_result(&my->t[my->i]),
               my->i);
    }
    CORO_CLOSE(&my->g);

    coro_group_open(co, &my->g, CORO_RACE);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->t[i], fetch, .ms = delays[i]);
    CORO_CLOSE(&my->g); /* the first success; the others are cancelled */
    printf("the fastest: number %d, %u cancelled\n", my->g.winner, (unsigned)my->g.cancelled);
CORO_FINALLY:
    CORO_CLOSE(&my->g); /* closed already, unless there was an error */
    CORO_END(my->g.winner);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 1;
}

/* Output:
 *   in order: 30
 *   in order: 10
 *   in order: 20
 *   as they complete: 10, which was number 1
 *   as they complete: 20, which was number 2
 *   as they complete: 30, which was number 0
 *   the fastest: number 1, 2 cancelled
 */
