/* batcher.c -- rows that come one by one are written in batches: up to four, or what has come 20 ms
 * after the first. */
#include "coro_sync.h"
#include <stdio.h>

typedef CORO_QUEUE(int, 16) row_queue;

struct writer {
    CORO_FRAME;
    row_queue *q;
    int rows[4], n, got;
    coro_time until;
    int written;
};

CORO(writer)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->rows[0]));
        if (!my->got)
            break; /* closed, and all is written */
        my->until = coro_now(co) + CORO_MS(20);
        for (my->n = 1; my->n < 4; my->n++) {
            CORO_AWAIT(my->got, coro_within(co, my->until - coro_now(co),
                                            coro_queue_get(co, my->q, &my->rows[my->n])));
            if (my->got <= 0)
                break; /* time is up, or no more will come */
        }
        printf("at %2d ms:", (int)(coro_now(co) / CORO_MS(1)));
        for (int i = 0; i < my->n; i++)
            printf(" %d", my->rows[i]);
        printf("\n");
        my->written += my->n;
    }
    CORO_END(my->written);
}

struct app {
    CORO_FRAME;
    row_queue q;
    coro_group g;
    CORO_TASK(writer) writer;
    int i;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->writer, writer, .q = &my->q);
    for (my->i = 1; my->i <= 10; my->i++) { /* the first six quickly, then one each 15 ms */
        CORO_TRY(coro_queue_put(co, &my->q, &my->i));
        CORO_TRY(coro_sleep(co, my->i < 6 ? CORO_MS(1) : CORO_MS(15)));
    }
CORO_FINALLY:
    coro_queue_close(&my->q);
    CORO_CLOSE(&my->g);
    CORO_END(coro_task_result(&my->writer));
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 10;
}

/* Output:
 *   at  3 ms: 1 2 3 4
 *   at 24 ms: 5 6 7
 *   at 55 ms: 8 9
 *   at 80 ms: 10
 */
