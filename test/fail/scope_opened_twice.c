// A scope that is opened while it is open.
//
// run: test/fail/scope_opened_twice.c:17: f: this scope or group is open already: close it first
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_scope s;
};
CORO(f)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->s, 5);
#ifdef FIXED
    CORO_TRY(coro_scope_close(co, &my->s, 0));
#endif /* FIXED */
    coro_timeout_open(co, &my->s, 5);    /* here */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
