/* failure.c -- one child fails: when it has ended, the others are cancelled, clean up (with an
 * await), and the group's error is the first failure. */
#include "coro.h"
#include <stdio.h>

struct worker {
    CORO_FRAME;
    const char *name;
    int fails_after_ms; /* 0: does not */
    coro_scope shield;
};

CORO(worker)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->fails_after_ms ? my->fails_after_ms : 1000)));
    if (my->fails_after_ms)
        CORO_FAIL(-EIO);
CORO_FINALLY:
    printf("%s: %s\n", my->name, CORO_ERR == -EIO ? "fails" : "is cancelled");
    coro_shield_open(co, &my->shield, CORO_MS(100)); /* cancelled, but allowed to say goodbye */
    CORO_IGNORE(coro_sleep(co, CORO_MS(5)));
    printf("%s: has cleaned up\n", my->name);
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
    coro_spawn(&my->g, worker, .name = "steady");
    coro_spawn(&my->g, worker, .name = "broken", .fails_after_ms = 20);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    printf("group: %s, %u failed, %u cancelled\n", CORO_ERR == -EIO ? "-EIO" : "?",
           (unsigned)my->g.failed, (unsigned)my->g.cancelled);
    CORO_END(0);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != -EIO;
}

/* Output:
 *   broken: fails
 *   broken: has cleaned up
 *   steady: is cancelled
 *   steady: has cleaned up
 *   group: -EIO, 1 failed, 1 cancelled
 */
