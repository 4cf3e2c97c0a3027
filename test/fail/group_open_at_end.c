// A group that is open at the end of its frame.
//
// run: test/fail/group_open_at_end.c:26: f: the group opened here is open at the end of its frame
// run: CORO_FINALLY: CORO_CLOSE(&group);
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
};
CORO(f)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);    /* here */
    coro_spawn(&my->g, sub);
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
