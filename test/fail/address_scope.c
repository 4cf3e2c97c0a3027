// A scope that is a local variable.
//
// run: test/fail/address_scope.c:20: f:
// run: local
// with: -O2
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_scope s;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_timeout_open(co, &my->s, 5);
    CORO_TRY(coro_sleep(co, 1));
#else
    coro_scope s = {0};
    coro_timeout_open(co, &s, 5);    /* here */
    CORO_TRY(coro_sleep(co, 1));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
