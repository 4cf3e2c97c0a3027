// A local kept across the call of a coroutine.
//
// gcc: kept
// gcc: used uninitialized
// clang: variable 'kept'
// clang: uninitialized
// flags: -O1
// clang with: -O0
// with: -O2 -DCORO_CHECK=1
#include "coro.h"

int make(void);
void use(int n);

struct sub {
    CORO_FRAME;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    int kept;
    struct sub sub;
};
CORO(f)
{
#ifndef FIXED
    int kept;
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    my->kept = make();
    CORO_TRY(coro_call(co, &my->sub, sub));
    use(my->kept);
#else
    kept = make();
    CORO_TRY(coro_call(co, &my->sub, sub));
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
