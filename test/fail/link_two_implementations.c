// CORO_IMPLEMENTATION in two files.
//
// both: CORO_IMPLEMENTATION_belongs_in_one_file
// both: multiple definition
// flags: -DCORO_SHARED
// again: -DSECOND
// link
// with: -O2
#if !defined FIXED || defined SECOND
#define CORO_IMPLEMENTATION
#endif /* !defined FIXED || defined SECOND */
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
