// The same with a byte.
//
// gcc: error:
// gcc: Woverflow
// clang: error:
// both: switch
// flags: -DCORO_CHECK=1
#include "coro.h"

struct f {
    CORO_FRAME;
    unsigned char c;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    if (my->c == 'a')
        CORO_TRY(coro_sleep(co, 7));
#else
    switch (my->c) {
    case 'a':
        CORO_TRY(coro_sleep(co, 7));
        break;
    default:
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
