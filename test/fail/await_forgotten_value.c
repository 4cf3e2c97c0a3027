// An operation used as a number.
//
// both: until_CORO_TRY_awaits_it
// with: -O2 -DCORO_CHECK=1
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(my->n, coro_sleep(co, 1));
#else
    my->n = coro_sleep(co, 1);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
