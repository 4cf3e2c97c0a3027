// A local that is filled through its address and kept across an await.
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
void fill(int *n);

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
    fill(&my->kept);
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept);
#else
    fill(&kept);
    CORO_TRY(coro_sleep(co, 1));
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
