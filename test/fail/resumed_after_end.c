// A coroutine that is resumed after it has ended: CORO_DEBUG sees it.
//
// run: test/fail/resumed_after_end.c:14: sub: this coroutine has ended: it cannot be resumed
// flags: -DCORO_DEBUG=1
// with: -O2
#include "coro.h"

struct sub {
    CORO_FRAME;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));    /* ZZZ */
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    struct sub sub;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->sub, sub));
#ifndef FIXED
    CORO_TRY((int)sub(co, &my->sub).value); /* by force */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
