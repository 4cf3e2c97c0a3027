// A coroutine's struct without CORO_FRAME.
//
// both: CORO_FRAME
// gcc: has no member named
// clang: no member named 'CORO_FRAME_first'
#include "coro.h"

struct f {
#ifdef FIXED
    CORO_FRAME;
#endif /* FIXED */
    int n;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->n));
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
