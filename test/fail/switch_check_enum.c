// The same with an enum.
//
// gcc: error:
// gcc: -Werror=overflow
// clang: error:
// both: switch
// flags: -DCORO_CHECK=1
// with: -O0..3
#include "coro.h"

enum color { RED, GREEN };

struct f {
    CORO_FRAME;
    enum color c;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    if (my->c == RED)
        CORO_TRY(coro_sleep(co, 7));
#else
    switch (my->c) {
    case RED:
        CORO_TRY(coro_sleep(co, 7));
        break;
    case GREEN:
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
