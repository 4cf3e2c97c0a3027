/* select.c -- wait for the first of several things: a job, an urgent one, or the order to quit;
 * with a timeout around it all. */
#include "coro_sync.h"
#include <stdio.h>

typedef CORO_QUEUE(int, 4) int_queue;

struct clerk {
    CORO_FRAME;
    int_queue *urgent, *normal;
    coro_event *quit;
    coro_case cases[3];
    int n, i, served;
};

CORO(clerk)
{
    CORO_BEGIN();
    coro_case_event(&my->cases[0], my->quit); /* the first one that is ready is chosen */
    coro_case_get(&my->cases[1], my->urgent, &my->n);
    coro_case_get(&my->cases[2], my->normal, &my->n);
    for (;;) {
        CORO_AWAIT(my->i, coro_within(co, CORO_MS(50), coro_select(co, my->cases, 3)));
        if (my->i == -ETIMEDOUT) {
            printf("nothing to do\n");
            continue;
        }
        CORO_TRY(my->i); /* another error: leave */
        if (my->i == 0)
            break;
        printf("%s %d\n", my->i == 1 ? "urgent" : "normal", my->n);
        my->served++;
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
    }
    printf("good night\n");
    CORO_END(my->served);
}

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(clerk) clerk;
    int_queue urgent, normal;
    coro_event quit;
    int i;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->clerk, clerk, .urgent = &my->urgent, .normal = &my->normal,
               .quit = &my->quit);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(coro_queue_put(co, &my->normal, &my->i));
        CORO_TRY(coro_queue_put(co, &my->urgent, &my->i));
    }
    CORO_TRY(coro_sleep(co, CORO_MS(120)));
    coro_event_set(&my->quit);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(coro_task_result(&my->clerk));
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 6;
}

/* Output:
 *   urgent 0
 *   urgent 1
 *   urgent 2
 *   normal 0
 *   normal 1
 *   normal 2
 *   nothing to do
 *   good night
 */
