// A generator that is a local variable.
//
// run: test/fail/address_generator.c:32: f:
// run: local
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
    CORO_GEN(sub) g;
    int got;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_gen_open(&my->g, sub);
    CORO_TRY(my->got, coro_gen_next(co, &my->g));
#else
    CORO_GEN(sub) g = {0};
    coro_gen_open(&g, sub);
    CORO_TRY(my->got, coro_gen_next(co, &g));    /* here */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
