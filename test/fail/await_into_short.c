// CORO_AWAIT into a short, in which an error would be something else.
//
// both: CORO_AWAIT needs an int, long or long long: an error is negative.
// both: For other types use CORO_TRY
#include "coro.h"

struct f {
    CORO_FRAME;
    short n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(my->n, coro_sleep(co, 1));
#else
    CORO_AWAIT(my->n, coro_sleep(co, 1));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
