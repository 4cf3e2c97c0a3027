// A local that is initialised and kept across an await.
//
// gcc: kept
// gcc: used uninitialized
// clang: variable 'kept'
// clang: uninitialized
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
    my->kept = make();
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept);
#else
    int kept = make();
    CORO_TRY(coro_sleep(co, 1));
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
