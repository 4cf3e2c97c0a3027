// A topic where a queue is expected.
//
// gcc: in expansion of macro 'CORO__QUEUE_OF'
// clang: CORO__QUEUE_OF
// both: error:
#include "coro_sync.h"

struct f {
    CORO_FRAME;
#ifdef FIXED
    CORO_QUEUE(int, 4) q;
#else
    CORO_TOPIC(int, 4) q;
#endif /* FIXED */
    int n;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_queue_put(co, &my->q, &my->n));
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}
