// An await in a switch of the user's: with CORO_CHECK it does not compile.
//
// gcc: error:
// gcc: -Werror=overflow
// clang: error:
// both: switch
// lint: switch_check.c
// flags: -DCORO_CHECK=1
// with: -O0..3
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    if (my->n == 0)
        CORO_TRY(coro_sleep(co, 7));
#else
    switch (my->n) {
    case 0:
        CORO_TRY(coro_sleep(co, 7));
        break;
    case 100:
        break;
    }
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
