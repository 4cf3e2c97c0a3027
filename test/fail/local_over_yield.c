// A local kept across CORO_YIELD.
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

struct f {
    CORO_FRAME;
    int kept;
};
CORO(f)
{
#ifndef FIXED
    int kept;
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    my->kept = make();
    CORO_YIELD();
    use(my->kept);
#else
    kept = make();
    CORO_YIELD();
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
