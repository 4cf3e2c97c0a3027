/* start_signal.c -- an event as a start signal: all who wait go at once, who comes later needs not
 * wait. */
#include "coro_sync.h"
#include <stdio.h>

struct runner {
    CORO_FRAME;
    coro_event *start;
    int lane, late_ms;
    coro_time came;
};

CORO(runner)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->late_ms)));
    my->came = coro_now(co);
    CORO_TRY(coro_event_wait(co, my->start));
    printf("lane %d waited %d ms\n", my->lane, (int)((coro_now(co) - my->came) / CORO_MS(1)));
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_event start; /* zeroed: not set */
    coro_group g;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, runner, .start = &my->start, .lane = 1, .late_ms = 0);
    coro_spawn(&my->g, runner, .start = &my->start, .lane = 2, .late_ms = 20);
    coro_spawn(&my->g, runner, .start = &my->start, .lane = 3, .late_ms = 200);
    CORO_TRY(coro_sleep(co, CORO_MS(100)));
    printf("%u are ready: go!\n", (unsigned)my->start.line.waiting);
    coro_event_set(&my->start);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END((int)my->start.line.most);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 2;
}

/* Output:
 *   2 are ready: go!
 *   lane 1 waited 100 ms
 *   lane 2 waited 80 ms
 *   lane 3 waited 0 ms
 */
