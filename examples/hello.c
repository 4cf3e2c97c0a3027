/* hello.c -- two tasks take turns; their group waits for both. */
#include "coro.h"
#include <stdio.h>

struct tick { /* whatever must live across an await is a member */
    CORO_FRAME;
    const char *name;
    coro_time every;
    int i;
};

CORO(tick) /* inside: co is this task, my is this frame */
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(coro_sleep(co, my->every));
        printf("%s %d\n", my->name, my->i);
    }
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, tick, .name = "fast", .every = CORO_MS(100));
    coro_spawn(&my->g, tick, .name = "slow", .every = CORO_MS(250));
CORO_FINALLY:           /* reached on success, error and cancellation alike */
    CORO_CLOSE(&my->g); /* waits for both; a failure cancels the other */
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}

/* Output:
 *   fast 0
 *   fast 1
 *   slow 0
 *   fast 2
 *   slow 1
 *   slow 2
 */
