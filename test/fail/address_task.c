// A task that is a local variable.
//
// run: test/fail/address_task.c:33:
// run: coro_start: the task is a local variable: make it a member of the frame
// run: local
// with: -O2
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
#ifdef FIXED
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, sub);
#else
    CORO_TASK(sub) t = {0};
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &t, sub);    /* here */
#endif /* FIXED */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
