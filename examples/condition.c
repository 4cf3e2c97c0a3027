/* condition.c -- customers wait until there is enough in stock; each delivery wakes all. */
#include "coro_sync.h"
#include <stdio.h>

struct shop {
    coro_mutex lock;
    coro_cond delivered;
    int stock;
};

struct customer {
    CORO_FRAME;
    struct shop *shop;
    int wants;
};

CORO(customer)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->shop->lock));
    while (my->shop->stock < my->wants)
        CORO_TRY(coro_cond_wait(co, &my->shop->delivered, &my->shop->lock));
    my->shop->stock -= my->wants;
    printf("at %3d ms: %d sold\n", (int)(coro_now(co) / CORO_MS(1)), my->wants);
CORO_FINALLY:
    coro_mutex_unlock(co, &my->shop->lock);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct shop shop;
    coro_group g;
    int i;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, customer, .shop = &my->shop, .wants = 5);
    coro_spawn(&my->g, customer, .shop = &my->shop, .wants = 1);
    coro_spawn(&my->g, customer, .shop = &my->shop, .wants = 3);
    for (my->i = 0; my->i < 5; my->i++) {
        CORO_TRY(coro_sleep(co, CORO_MS(100)));
        CORO_TRY(coro_mutex_lock(co, &my->shop.lock));
        my->shop.stock += 2;
        coro_cond_broadcast(&my->shop.delivered);
        coro_mutex_unlock(co, &my->shop.lock);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->shop.stock);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 1;
}

/* Output:
 *   at 100 ms: 1 sold
 *   at 200 ms: 3 sold
 *   at 500 ms: 5 sold
 */
