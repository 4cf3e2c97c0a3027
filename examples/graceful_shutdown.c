/* graceful_shutdown.c -- Ctrl-C or SIGTERM: no new job is begun, those that were are finished. */
#include "coro_io.h"
#include "coro_sync.h"
#include <stdio.h>

typedef CORO_QUEUE(int, 10) job_queue;

struct worker {
    CORO_FRAME;
    job_queue *q;
    int id;
    bool got;
    coro_scope shield;
};

CORO(worker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->id)); /* here it may be cancelled */
        if (!my->got)
            break;
        coro_shield_open(co, &my->shield, CORO_S(1)); /* not here, for a second at most */
        CORO_TRY(coro_sleep(co, CORO_MS(20)));        /* the job */
        CORO_TRY(coro_scope_close(co, &my->shield, 0));
        printf("at %d ms: job %d is done\n", (int)(coro_now(co) / CORO_MS(1)), my->id);
    }
    CORO_END(0);
}

struct user {
    CORO_FRAME;
};

CORO(user) /* who has seen enough, and presses Ctrl-C */
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(30)));
    raise(SIGINT);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    job_queue q;
    coro_group g;
    int id;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, worker, .q = &my->q);
    coro_spawn(&my->g, worker, .q = &my->q);
    coro_spawn(&my->g, user);
    for (my->id = 1; my->id <= 10; my->id++)
        CORO_TRY(coro_queue_put(co, &my->q, &my->id));
CORO_FINALLY:
    coro_queue_close(&my->q);
    CORO_CLOSE(&my->g); /* the signal cancels app, and so its group */
    printf("%s, with %u jobs left in the queue\n",
           CORO_ERR == -ECANCELED ? "stopped" : "the end", (unsigned)coro_queue_depth(&my->q));
    CORO_END(0);
}

int main(void)
{
    /* The first SIGINT or SIGTERM cancels app; a second one would end the process at once. */
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != -EINTR;
}

/* Output:
 *   at 20 ms: job 1 is done
 *   at 20 ms: job 2 is done
 *   at 40 ms: job 3 is done
 *   at 40 ms: job 4 is done
 *   stopped, with 6 jobs left in the queue
 */
