// A generator that yields with a scope open.
//
// run: test/fail/yield_in_scope.c:22:
// run: pages: CORO_YIELD with a scope, group or context open: close it before, open it after
// with: -O0..3
// with: -O2 -DCORO_DEBUG=1
#include "coro.h"

struct pages {
    CORO_FRAME;
    int item;
    coro_scope s;
};
CORO(pages)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->s, 5);
    my->item = 1;
#ifdef FIXED
    CORO_TRY(coro_scope_close(co, &my->s, 0));
#endif /* FIXED */
    CORO_YIELD();    /* here */
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    CORO_GEN(pages) gen;
    int got;
};
CORO(f)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, pages);
    do
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
    while (my->got);
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
