// A group that is opened while it is open.
//
// run: test/fail/group_opened_twice.c:17: f: this scope or group is open already: close it first
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_group g;
};
CORO(f)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
#ifdef FIXED
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    coro_group_open(co, &my->g, CORO_ALL);    /* here */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
