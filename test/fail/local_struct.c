// A struct that is kept across an await: clang does not see it, lint does.
//
// gcc: kept
// gcc: used uninitialized
// lint: 'kept' (struct pair) in f()
// flags: -O0 -DCORO_CHECK=1
// with: -O1..3 -DCORO_CHECK=1
#include "coro.h"

struct pair {
    int a, b;
};
int make(void);
void use(int n);

struct f {
    CORO_FRAME;
    struct pair kept;
};
CORO(f)
{
#ifndef FIXED
    struct pair kept;
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    my->kept.a = make();
    my->kept.b = 2;
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept.a);
#else
    kept.a = make();
    kept.b = 2;
    CORO_TRY(coro_sleep(co, 1));
    use(kept.a);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
