/* workers.c -- three workers on a queue: ten jobs, done in any order, all accounted for. */
#include "coro_sync.h"
#include <stdio.h>

struct job {
    int id;
    coro_time takes;
};
typedef CORO_QUEUE(struct job, 4) job_queue;

struct worker {
    CORO_FRAME;
    job_queue *q;
    struct job job;
    bool got;
    int done;
};

CORO(worker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->job));
        if (!my->got)
            break; /* closed and drained */
        CORO_TRY(coro_sleep(co, my->job.takes));
        my->done++;
        coro_queue_done(my->q);
    }
    CORO_END(my->done);
}

struct app {
    CORO_FRAME;
    job_queue q;
    coro_group g;
    CORO_TASK(worker) w[3];
    struct job job;
    int done;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->w[i], worker, .q = &my->q);
    for (my->job.id = 0; my->job.id < 10; my->job.id++) {
        my->job.takes = CORO_MS(10 * (1 + my->job.id % 3));
        CORO_TRY(coro_queue_put(co, &my->q, &my->job)); /* waits while four are in it */
    }
    CORO_TRY(coro_queue_join(co, &my->q)); /* until all that was put is done */
    printf("all done; at most %u waited in the queue\n", (unsigned)my->q.head.most);
CORO_FINALLY:
    coro_queue_close(&my->q); /* the workers' next get is 0: they end */
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 3; i++) {
        printf("worker %d: %d jobs\n", i, coro_task_result(&my->w[i]));
        my->done += coro_task_result(&my->w[i]);
    }
    CORO_END(my->done);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 10;
}

/* Output:
 *   all done; at most 4 waited in the queue
 *   worker 0: 4 jobs
 *   worker 1: 3 jobs
 *   worker 2: 3 jobs
 */
