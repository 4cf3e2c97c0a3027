/* each_in_time.c -- a batch of downloads, each with a deadline of its own, and one over all. */
#include "coro.h"
#include <stdio.h>

struct download {
    CORO_FRAME;
    int ms;
    coro_scope limit;
};

CORO(download)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_MS(50)); /* over all that follows */
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CORO_END(my->ms * 10); /* bytes */
}

static const int takes_ms[4] = {10, 80, 40, 30};

struct app {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(download) items[4];
    coro_time all;
    int good;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT); /* one that is late does not cancel the others */
    coro_scope_deadline(&my->g.scope, coro_now(co) + my->all);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->items[i], download, .ms = takes_ms[i]);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    printf("within %d ms in all:", (int)(my->all / CORO_MS(1)));
    for (int i = 0; i < 4; i++) {
        int rc = coro_task_result(&my->items[i]);
        my->good += rc >= 0;
        printf(" %s", rc >= 0 ? "done" : rc == -ETIMEDOUT ? "late" : "cut off");
    }
    printf("\n");
    CORO_END(my->good);
}

int main(void)
{
    const coro_options virtual_time = {.clock = CORO_VIRTUAL};
    if (coro_run_with(&virtual_time, app, .all = CORO_MS(100)) != 3)
        return 1;
    return coro_run_with(&virtual_time, app, .all = CORO_MS(35)) != -ETIMEDOUT;
}

/* Output:
 *   within 100 ms in all: done late done done
 *   within 35 ms in all: done cut off cut off done
 */
