// `return;` in a coroutine instead of CORO_LEAVE.
//
// gcc: with no value, in function returning non-void
// clang: error: non-void function 'f' should return a value
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
        return;
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
