/* pipeline.c -- three stages with queues of two between them: the slowest sets the pace, and
 * closing the first queue ends them all, one after the other. */
#include "coro_sync.h"
#include <stdio.h>

typedef CORO_QUEUE(int, 2) int_queue;

struct stage {
    CORO_FRAME;
    int_queue *in, *out;
    coro_time takes;
    int add, n;
    bool got;
};

CORO(stage)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->in, &my->n));
        if (!my->got)
            break;
        CORO_TRY(coro_sleep(co, my->takes));
        my->n += my->add;
        CORO_TRY(coro_queue_put(co, my->out, &my->n));
    }
CORO_FINALLY:
    coro_queue_close(my->out); /* on success, error and cancellation alike */
    CORO_END(0);
}

struct source {
    CORO_FRAME;
    int_queue *out;
    int i;
};

CORO(source)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 5; my->i++)
        CORO_TRY(coro_queue_put(co, my->out, &my->i));
CORO_FINALLY:
    coro_queue_close(my->out);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    int_queue q[4];
    coro_group g;
    int n, sum;
    bool got;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, source, .out = &my->q[0]);
    coro_spawn(&my->g, stage, .in = &my->q[0], .out = &my->q[1], .takes = CORO_MS(1), .add = 100);
    coro_spawn(&my->g, stage, .in = &my->q[1], .out = &my->q[2], .takes = CORO_MS(10), .add = 20);
    coro_spawn(&my->g, stage, .in = &my->q[2], .out = &my->q[3], .takes = CORO_MS(2), .add = 3000);
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, &my->q[3], &my->n));
        if (!my->got)
            break;
        printf("at %d ms: %d\n", (int)(coro_now(co) / CORO_MS(1)), my->n);
        my->sum += my->n;
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->sum);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 15610;
}

/* Output:
 *   at 13 ms: 3120
 *   at 23 ms: 3121
 *   at 33 ms: 3122
 *   at 43 ms: 3123
 *   at 53 ms: 3124
 */
