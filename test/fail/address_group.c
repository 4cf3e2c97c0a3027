// A group that is a local variable.
//
// run: test/fail/address_group.c:22: f:
// run: local
// with: -O2
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_group g;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_TRY(coro_sleep(co, 1));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#else
    coro_group g = {0};
    coro_group_open(co, &g, CORO_ALL);    /* here */
    CORO_TRY(coro_sleep(co, 1));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
