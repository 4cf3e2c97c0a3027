// A context value that is a local variable.
//
// run: test/fail/address_context.c:22: f:
// run: local
// with: -O2
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_context c;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    static const char key;
    coro_context_set(co, &my->c, &key, NULL);
    CORO_TRY(coro_sleep(co, 1));
#else
    static const char key;
    coro_context c = {0};
    coro_context_set(co, &c, &key, NULL);    /* here */
    CORO_TRY(coro_sleep(co, 1));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
