// A loop counter that is a local, with an await in the loop.
//
// gcc: kept
// gcc: used uninitialized
// clang: variable 'kept'
// clang: uninitialized
// lint: uninitialized
// flags: -O1
// with: -O2..3
// clang with: -O0
// with: -O0..3 -DCORO_CHECK=1
#include "coro.h"

int make(void);
void use(int n);

struct f {
    CORO_FRAME;
    int kept;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    for (my->kept = 0; my->kept < 3; my->kept++)
        CORO_TRY(coro_sleep(co, 1));
#else
    for (int kept = 0; kept < 3; kept++)
        CORO_TRY(coro_sleep(co, 1));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
