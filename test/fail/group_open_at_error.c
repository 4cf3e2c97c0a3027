// The same when the frame leaves with an error.
//
// run: test/fail/group_open_at_error.c:23: f: the group opened here is open at the end of its frame
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
};
CORO(f)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);    /* here */
    coro_spawn(&my->g, sub);
    if (coro_now(co) == 0)
        CORO_LEAVE();
    CORO_TRY(coro_sleep(co, 5));
#ifdef FIXED
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
