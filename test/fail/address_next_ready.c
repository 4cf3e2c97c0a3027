// The same when the operation would be done at once.
//
// run: test/fail/address_next_ready.c:35: f:
// run: local
// with: -O0..3
// with: -O2 -DCORO_CHECK=1
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
    int index;
};
CORO(f)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, sub);
    CORO_TRY(coro_sleep(co, 10));
#ifdef FIXED
    CORO_TRY(coro_group_next(co, &my->g, &my->index));
#else
    int index;
    CORO_TRY(coro_group_next(co, &my->g, &index));    /* here */
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
