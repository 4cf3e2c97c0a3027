// An interrupt's bell that is a local variable.
//
// run: test/fail/address_irq.c:21: f:
// run: local
// with: -O2
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_irq irq;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_irq_raise(&my->irq);
    CORO_TRY(my->n, coro_irq_wait(co, &my->irq));
#else
    coro_irq irq = {0};
    CORO_TRY(my->n, coro_irq_wait(co, &irq));    /* here */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
