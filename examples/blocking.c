/* blocking.c -- a blocking function runs on a thread while the loop goes on: a ticker ticks. What
 * is cancelled while it runs is asked to end, and is waited for. */
#include "coro_io.h"
#include <stdio.h>

/* Any function that blocks: a database, a compressor, the C library. It may use no coroutines. */
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
    coro_address to[4];
    int steps, ticks, rc;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, ticker, .ticks = &my->ticks);

    my->steps = 30;
    CORO_TRY(my->rc, coro_blocking(co, count_slowly, &my->steps));
    printf("counted %d, the ticker went %s\n", my->rc, my->ticks > 3 ? "on" : "nowhere");

    my->steps = 100000;
    CORO_TRY(my->rc, coro_within(co, CORO_MS(20), coro_blocking(co, count_slowly, &my->steps)));
    printf("told to end early: %s\n", my->rc < my->steps ? "yes" : "no");

    CORO_TRY(my->rc, coro_resolve(co, "localhost", "80", my->to, 4));
    printf("localhost has %s\n", my->rc > 0 ? "an address" : "none");
CORO_FINALLY:
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}

/* Output:
 *   counted 30, the ticker went on
 *   told to end early: yes
 *   localhost has an address
 */
