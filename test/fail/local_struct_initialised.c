// A struct that is initialised, and kept across an await.
//
// gcc: kept
// gcc: used uninitialized
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
    CORO_BEGIN();
#ifdef FIXED
    my->kept.a = make();
    my->kept.b = 2;
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept.a);
#else
    struct pair kept = {make(), 2};
    CORO_TRY(coro_sleep(co, 1));
    use(kept.a);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
