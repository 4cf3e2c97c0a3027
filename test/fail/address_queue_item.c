// An item that is a local variable: the put may have to wait.
//
// run: test/fail/address_queue_item.c:20: f:
// run: local
// with: -O2
#include "coro_sync.h"

struct f {
    CORO_FRAME;
    CORO_QUEUE(int, 4) q;
    int n;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_queue_put(co, &my->q, &my->n));
#else
    int n = 1;
    CORO_TRY(coro_queue_put(co, &my->q, &n));    /* here */
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}
