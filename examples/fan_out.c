/* fan_out.c -- a million items, a hundred at a time: a semaphore bounds the work, so the memory is
 * that of a hundred tasks. */
#include "coro_sync.h"
#include <stdio.h>

struct item {
    CORO_FRAME;
    coro_sem *slots;
    long long *sum;
    int n;
};

CORO(item)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    *my->sum += my->n;
CORO_FINALLY:
    coro_sem_release(my->slots);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_sem slots;
    coro_group g;
    int i;
    long long sum;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(coro_sem_init(&my->slots, 100, 100));
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 1; my->i <= 1000000; my->i++) {
        CORO_TRY(coro_sem_acquire(co, &my->slots));
        coro_spawn(&my->g, item, .slots = &my->slots, .sum = &my->sum, .n = my->i);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    printf("sum %lld, after %d s\n", my->sum, (int)(coro_now(co) / CORO_S(1)));
    CORO_END((int)(coro_stats(coro_loop_of(co)).memory / 1024)); /* never given back before */
}

int main(void)
{
    int kilobytes = coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app);
    printf("%s\n", kilobytes < 0 ? "failed" : kilobytes < 50 ? "less than 50 KB" : "too much");
    return kilobytes < 0 || kilobytes >= 50;
}

/* Output:
 *   sum 500000500000, after 10 s
 *   less than 50 KB
 */
