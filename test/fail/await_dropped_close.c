// A group's close, not awaited.
//
// gcc: ignoring return value of
// clang: ignoring return value of function
// both: error:
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
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#else
    coro_group_open(co, &my->g, CORO_ALL);
    coro_group_close(co, &my->g, 0);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
