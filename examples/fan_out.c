/* fan_out.c -- a million items, a hundred at a time: a semaphore bounds the work, so the memory is
 * that of a hundred tasks. Then the same in chunks of 250,000, each a group of its own. */
#include "coro_sync.h"
#include <stdio.h>

struct item {
    CORO_FRAME;
    coro_sem *slots;
    long *sum;
    int n;
};

CORO(item)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    *my->sum += my->n;
CORO_FINALLY:
    if (my->slots)
        coro_sem_release(my->slots);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    coro_sem slots;
    int i;
    long sum;
    coro_time began;
};

CORO(app)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    CORO_TRY(coro_sem_init(&my->slots, 100, 100));
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 1; my->i <= 1000000; my->i++) {
        CORO_TRY(coro_sem_acquire(co, &my->slots));
        coro_spawn(&my->g, item, .slots = &my->slots, .sum = &my->sum, .n = my->i);
    }
    CORO_CLOSE(&my->g);
    printf("sum %ld after %d s, %d KB\n", my->sum,
           (int)((coro_now(co) - my->began) / CORO_S(1)),
           (int)(coro_stats(coro_loop_of(co)).memory / 1024));

    my->sum = 0;
    for (my->i = 1; my->i <= 1000000;) { /* chunked batches: the next begins when one has ended */
        coro_group_open(co, &my->g, CORO_ALL);
        for (int n = 0; n < 250000; n++, my->i++)
            coro_spawn(&my->g, item, .sum = &my->sum, .n = my->i);
        CORO_CLOSE(&my->g);
        printf("chunk up to %d: sum %ld\n", my->i - 1, my->sum);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) < 0;
}

/* Output:
 *   sum 500000500000 after 10 s, 30 KB
 *   chunk up to 250000: sum 31250125000
 *   chunk up to 500000: sum 125000250000
 *   chunk up to 750000: sum 281250375000
 *   chunk up to 1000000: sum 500000500000
 */
