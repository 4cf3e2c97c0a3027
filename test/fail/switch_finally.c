// CORO_FINALLY in a switch of the user's.
//
// gcc: error:
// clang: error:
// flags: -DCORO_CHECK=1
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    if (my->n)
        my->n = 7;
CORO_FINALLY:
    my->n = 8;
#else
    switch (my->n) {
    case 0:
        my->n = 7;
        break;
    CORO_FINALLY:
        my->n = 8;
    }
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
