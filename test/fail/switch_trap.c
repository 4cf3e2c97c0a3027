// An await in a switch of the user's: a trap when it is resumed.
//
// run: test/fail/switch_trap.c:22:
// run: f: this await is inside a switch of yours and cannot be resumed: use if/else, or
// with: -O0..3
// with: -O2 -DCORO_DEBUG=1
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
        CORO_TRY(coro_sleep(co, 7));    /* here */
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
