/* blocking_wrong.c -- the mistake that blocking.c avoids: a coroutine that blocks stops all others.
 * slow_step reports who it was. */
#include "coro.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct hash {
    CORO_FRAME;
};

CORO(hash)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    usleep(100000); /* not an await: the loop stands still */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(0);
}

struct ticker {
    CORO_FRAME;
    int *ticks;
};

CORO(ticker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
        ++*my->ticks;
    }
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct hash hash;
    coro_group g;
    int ticks;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, ticker, .ticks = &my->ticks);
    CORO_TRY(coro_call(co, &my->hash, hash));
    printf("100 ms later the ticker has %s\n", my->ticks > 3 ? "gone on" : "stood still");
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->ticks <= 3);
}

/* It goes to stderr by default. Here only the part that is the same in each run is printed. */
static void report(void *arg, const char *text)
{
    bool *reported = (bool *)arg;
    const char *where = strstr(text, "from hash");
    if (where) {
        printf("a slow step, %s", where);
        *reported = true;
    }
}

int main(void)
{
    bool reported = false;
    const coro_options options = {.slow_step = CORO_MS(50), .report = {report, &reported}};
    return coro_run_with(&options, app) != true || !reported;
}

/* Output:
 *   a slow step, from hash examples/blocking_wrong.c:15: nothing else ran meanwhile
 *   100 ms later the ticker has stood still
 */
