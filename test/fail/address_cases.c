// The cases of a select are local variables.
//
// run: test/fail/address_cases.c:23: f:
// run: local
// with: -O2
#include "coro_sync.h"

struct f {
    CORO_FRAME;
    coro_event e;
    coro_case cases[1];
};
CORO(f)
{
    CORO_BEGIN();
    coro_event_set(&my->e);
#ifdef FIXED
    coro_case_event(&my->cases[0], &my->e);
    CORO_TRY(coro_select(co, my->cases, 1));
#else
    coro_case cases[1] = {{0}};
    coro_case_event(&cases[0], &my->e);
    CORO_TRY(coro_select(co, cases, 1));    /* here */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}
