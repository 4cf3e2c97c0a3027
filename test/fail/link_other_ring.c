// CORO_READY_RING in one file, and another in the one with CORO_IMPLEMENTATION.
//
// both: the_same_options_in_all
// flags: -DCORO_SHARED
// again: -DSECOND
// link
#ifdef SECOND
#define CORO_IMPLEMENTATION
#elif !defined FIXED
#define CORO_READY_RING 0
#endif /* SECOND, FIXED */
#include "coro.h"

#ifndef SECOND
struct f {
    CORO_FRAME;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
#endif /* SECOND */
