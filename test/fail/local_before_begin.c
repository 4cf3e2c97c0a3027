// A local that is initialised before CORO_BEGIN, changed after it, and kept across an await:
// on every resumption it starts over. No compiler sees that.
//
// lint: 'kept' (int) in f() is used at line
// flags: -O1
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
    int kept = 0;
#endif /* FIXED */
    CORO_BEGIN();
#ifdef FIXED
    my->kept = make();
    CORO_TRY(coro_sleep(co, 1));
    use(my->kept);
#else
    kept = make();
    CORO_TRY(coro_sleep(co, 1));
    use(kept);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
