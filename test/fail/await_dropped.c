// An operation whose result is dropped.
//
// gcc: ignoring return value of
// clang: ignoring return value of function
// both: error:
// with: -O0..3
// with: -O2 -DCORO_CHECK=1
#include "coro.h"

struct f {
    CORO_FRAME;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_IGNORE(coro_sleep(co, 1));
#else
    coro_sleep(co, 1);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
