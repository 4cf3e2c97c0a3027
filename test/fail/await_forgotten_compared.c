// An operation compared with a number.
//
// both: until_CORO_TRY_awaits_it
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_AWAIT(my->n, coro_sleep(co, 1));
    if (my->n < 0)
        CORO_LEAVE();
#else
    if (coro_sleep(co, 1) < 0)
        CORO_LEAVE();
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
