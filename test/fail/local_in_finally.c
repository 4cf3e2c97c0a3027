// A local of the body that is used in CORO_FINALLY: a failure enters the function anew.
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
#ifndef FIXED
    int kept;
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    my->kept = make();
    if (my->kept < 0)
        CORO_FAIL(my->kept);
CORO_FINALLY:
    use(my->kept);
#else
    kept = make();
    if (kept < 0)
        CORO_FAIL(kept);
CORO_FINALLY:
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
