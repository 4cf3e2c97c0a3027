/* batches.c -- 25 uploads in batches of ten: the next one begins when all of one have ended. */
#include "coro.h"
#include <stdio.h>

struct upload {
    CORO_FRAME;
    int n, *sum;
};

CORO(upload)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->n)));
    *my->sum += my->n;
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    int next, sum;
};

CORO(app)
{
    CORO_BEGIN();
    for (my->next = 1; my->next <= 25;) {
        coro_group_open(co, &my->g, CORO_ALL);
        for (int i = 0; i < 10 && my->next <= 25; i++)
            coro_spawn(&my->g, upload, .n = my->next++, .sum = &my->sum);
        CORO_CLOSE(&my->g); /* as slow as its slowest; fan_out.c has no such pauses */
        printf("up to %d: sum %d, at %d ms\n", my->next - 1, my->sum,
               (int)(coro_now(co) / CORO_MS(1)));
    }
    CORO_END(my->sum);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 325;
}

/* Output:
 *   up to 10: sum 55, at 10 ms
 *   up to 20: sum 210, at 30 ms
 *   up to 25: sum 325, at 55 ms
 */
