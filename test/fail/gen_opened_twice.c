// A generator that is opened anew while it is in use.
//
// run: test/fail/gen_opened_twice.c:31:
// run: coro_gen_open: this generator is open already: coro_gen_close it first
#include "coro.h"

struct pages {
    CORO_FRAME;
    int item;
};
CORO(pages)
{
    CORO_BEGIN();
    CORO_YIELD();
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
    CORO_TRY(my->got, coro_gen_next(co, &my->gen));
#ifdef FIXED
    CORO_TRY(coro_gen_close(co, &my->gen));
#endif /* FIXED */
    coro_gen_open(&my->gen, pages);    /* here */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
