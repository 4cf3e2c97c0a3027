// `return 0` in a coroutine instead of CORO_LEAVE.
//
// both: leave_with_CORO_LEAVE
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    if (my->n)
        CORO_LEAVE();
#else
    if (my->n)
        return 0;
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
