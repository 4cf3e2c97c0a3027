// A generator that yields with a group open.
//
// run: test/fail/yield_in_group.c:20:
// run: pages: CORO_YIELD with a scope, group or context open: close it before, open it after
#include "coro.h"

struct pages {
    CORO_FRAME;
    int item;
    coro_group g;
};
CORO(pages)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    my->item = 1;
#ifdef FIXED
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    CORO_YIELD();    /* here */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
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
