// An array that is kept across an await: clang does not see it, lint does.
//
// gcc: kept
// gcc: used uninitialized
// lint: 'kept' (int[4]) in f()
// flags: -O0 -DCORO_CHECK=1
// with: -O1..3 -DCORO_CHECK=1
#include "coro.h"

int make(void);
void use(int n);
void fill(int *n);

struct f {
    CORO_FRAME;
    int kept[4];
};
CORO(f)
{
#ifndef FIXED
    int kept[4];
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    fill(my->kept);
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept[0]);
#else
    fill(kept);
    CORO_TRY(coro_sleep(co, 1));
    use(kept[0]);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
