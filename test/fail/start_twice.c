// A task that is started in the storage of one that is alive.
//
// run: test/fail/start_twice.c:32:
// run: coro_start: a task in this storage is alive
// with: -O0..3
// with: -O2 -DCORO_DEBUG=1
#include "coro.h"

struct sub {
    CORO_FRAME;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sub) t;
};
CORO(f)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, sub);
#ifdef FIXED
    CORO_TRY(coro_join(co, &my->t));
#endif /* FIXED */
    coro_start(&my->g, &my->t, sub);    /* here */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
