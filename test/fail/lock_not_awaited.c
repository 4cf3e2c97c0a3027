// A lock that is not awaited.
//
// gcc: ignoring return value of
// clang: ignoring return value of function
// both: error:
// with: -O0..3
#include "coro_sync.h"

struct f {
    CORO_FRAME;
    coro_mutex m;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_mutex_lock(co, &my->m));
#else
    coro_mutex_lock(co, &my->m);
#endif /* FIXED */
    coro_mutex_unlock(co, &my->m);
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
