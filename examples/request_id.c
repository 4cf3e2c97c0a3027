/* request_id.c -- a value that travels with the task: each line of the log knows its request. */
#include "coro.h"
#include <stdio.h>

static const char request_id = 0; /* its address is the key */

static void say(coro_task *co, const char *what)
{
    const int *id = (const int *)coro_context_get(co, &request_id); /* null: none */
    printf("%2d ms, request %d %s\n", (int)(coro_now(co) / CORO_MS(1)), id ? *id : 0, what);
}

struct store {
    CORO_FRAME;
};

CORO(store)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(20)));
    say(co, "is stored");
    CORO_END(0);
}

struct publish {
    CORO_FRAME;
};

CORO(publish)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(30)));
    say(co, "is published");
    CORO_END(0);
}

struct handle {
    CORO_FRAME;
    int id, arrives_ms;
    coro_context node;
    struct store store;
    coro_group g;
};

CORO(handle)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(my->arrives_ms)));
    coro_context_set(co, &my->node, &request_id, &my->id);
    say(co, "begins");
    CORO_TRY(coro_call(co, &my->store, store)); /* what it calls has the id */
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, publish); /* and the tasks that it starts */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
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
    coro_spawn(&my->g, handle, .id = 17, .arrives_ms = 0);
    coro_spawn(&my->g, handle, .id = 18, .arrives_ms = 15);
    CORO_CLOSE(&my->g);
    CORO_END(coro_context_get(co, &request_id) == NULL); /* out here there is none */
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != true;
}

/* Output:
 *    0 ms, request 17 begins
 *   15 ms, request 18 begins
 *   20 ms, request 17 is stored
 *   35 ms, request 18 is stored
 *   50 ms, request 17 is published
 *   65 ms, request 18 is published
 */
