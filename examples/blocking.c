/* blocking.c -- a function that blocks runs on a thread, while the loop goes on; cancelled, it is
 * asked to end, and is waited for. */
#include "coro_io.h"
#include <stdio.h>

/* A database, a compressor, the C library: any function. It may use no coroutines. */
static intptr_t count_slowly(coro_job *job, void *arg)
{
    const int *steps = (const int *)arg;
    for (int i = 0; i < *steps; i++) {
        if (coro_job_cancelled(job))
            return i; /* as far as it came */
        usleep(1000);
    }
    return *steps;
}

struct ticker {
    CORO_FRAME;
    int *ticks;
};

CORO(ticker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        ++*my->ticks;
    }
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
    int steps, ticks, counted;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, ticker, .ticks = &my->ticks);

    my->steps = 50;
    CORO_TRY(my->counted, coro_blocking(co, count_slowly, &my->steps));
    printf("counted to %d; the ticker %s\n", my->counted,
           my->ticks > 3 ? "went on" : "stood still");

    my->steps = 1000000; /* its result counts, also when it comes too late */
    CORO_TRY(my->counted, coro_within(co, CORO_MS(20), coro_blocking(co, count_slowly,
                                                                     &my->steps)));
    printf("asked to end after 20 ms: it %s\n", my->counted < my->steps ? "did" : "did not");
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->ticks > 3 && my->counted < my->steps);
}

int main(void)
{
    return coro_run(app) != true;
}

/* Output:
 *   counted to 50; the ticker went on
 *   asked to end after 20 ms: it did
 */
