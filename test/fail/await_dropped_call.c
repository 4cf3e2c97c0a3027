// The call of a coroutine, not awaited.
//
// gcc: awaited_with_CORO_TRY
// clang: ignoring return value of function
// both: error:
// with: -O0..3
// with: -O2 -DCORO_CHECK=1
#include "coro.h"

struct sub {
    CORO_FRAME;
    int id;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(my->id);
}

struct f {
    CORO_FRAME;
    struct sub sub;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call(co, &my->sub, sub, .id = 7));
#else
    coro_call(co, &my->sub, sub, .id = 7);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
