// A local that is kept across an await and given to CORO_END. For gcc the pragmas end where
// CORO_END begins, so that it takes the user's -Wall -Werror.
//
// gcc: kept
// gcc: used uninitialized
// clang: variable 'kept'
// clang: uninitialized
// flags: -O1 -Wall -Werror
// with: -O2..3
// clang with: -O0
// with: -O0..3 -DCORO_CHECK=1
#include "coro.h"

int make(void);

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
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(my->kept);
#else
    kept = make();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(kept);
#endif /* FIXED */
}

int main(void)
{
    return coro_run(f);
}
