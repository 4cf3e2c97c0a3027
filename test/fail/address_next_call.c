// The same in a coroutine that is called: the line is the one that awaits.
//
// run: test/fail/address_next_call.c:32: inner:
// run: local
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

struct inner {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sub) t;
    int index;
};
CORO(inner)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, sub);
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

struct f {
    CORO_FRAME;
    struct inner inner;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->inner, inner));
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
