/* lock.c -- a lock around awaits; who does not get it in time does without. */
#include "coro_sync.h"
#include <stdio.h>

struct account {
    coro_mutex lock;
    int balance;
};

struct deposit {
    CORO_FRAME;
    struct account *account;
    int amount, patience_ms;
    int rc, balance;
};

CORO(deposit)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(my->patience_ms),
                                   coro_mutex_lock(co, &my->account->lock)));
    if (my->rc == -ETIMEDOUT) {
        printf("%3d: not today\n", my->amount);
        CORO_LEAVE();
    }
    CORO_TRY(my->rc);
    my->balance = my->account->balance;
    CORO_TRY(coro_sleep(co, CORO_MS(40))); /* without an await in between no lock is needed */
    my->account->balance = my->balance + my->amount;
    printf("%3d: balance %d\n", my->amount, my->account->balance);
CORO_FINALLY:
    coro_mutex_unlock(co, &my->account->lock); /* not ours: nothing happens */
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct account account;
    coro_group g;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, deposit, .account = &my->account, .amount = 100, .patience_ms = 1000);
    coro_spawn(&my->g, deposit, .account = &my->account, .amount = 7, .patience_ms = 1000);
    coro_spawn(&my->g, deposit, .account = &my->account, .amount = 500, .patience_ms = 50);
    coro_spawn(&my->g, deposit, .account = &my->account, .amount = 30, .patience_ms = 1000);
    CORO_CLOSE(&my->g);
    CORO_END(my->account.balance);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 137;
}

/* Output:
 *   100: balance 100
 *   500: not today
 *     7: balance 107
 *    30: balance 137
 */
