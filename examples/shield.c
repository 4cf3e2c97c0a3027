/* shield.c -- cleanup that awaits: in a cancelled task it needs a shield, and that has a limit. */
#include "coro.h"
#include <stdio.h>

struct rollback {
    CORO_FRAME;
    int ms;
};

CORO(rollback)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CORO_END(0);
}

struct transaction {
    CORO_FRAME;
    int rollback_ms;
    bool shielded;
    coro_scope shield;
    struct rollback rollback;
    int rc;
};

CORO(transaction)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
CORO_FINALLY:
    if (my->shielded)
        coro_shield_open(co, &my->shield, CORO_MS(100)); /* at most */
    CORO_AWAIT(my->rc, coro_call(co, &my->rollback, rollback, .ms = my->rollback_ms));
    my->rc = coro_scope_close(co, &my->shield, my->rc); /* not open: nothing happens */
    printf("%s, rollback of %d ms: %s\n", my->shielded ? "shielded" : "bare", my->rollback_ms,
           my->rc == 0 ? "done" : my->rc == -ETIMEDOUT ? "timed out" : "cancelled");
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
    coro_spawn(&my->g, transaction, .rollback_ms = 20, .shielded = false);
    coro_spawn(&my->g, transaction, .rollback_ms = 20, .shielded = true);
    coro_spawn(&my->g, transaction, .rollback_ms = 999, .shielded = true);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END((int)(coro_now(co) / CORO_MS(1)));
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 1100;
}

/* Output:
 *   bare, rollback of 20 ms: cancelled
 *   shielded, rollback of 20 ms: done
 *   shielded, rollback of 999 ms: timed out
 */
