// A frame that is a local variable.
//
// run: test/fail/address_frame.c:30: f:
// run: local
// flags: -DCORO_DEBUG=1
// with: -O2
#include "coro.h"

struct sub {
    CORO_FRAME;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    struct sub sub;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call(co, &my->sub, sub));
#else
    struct sub child;
    CORO_TRY(coro_call(co, &child, sub));    /* here */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
