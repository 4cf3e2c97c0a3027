// coro_join of a frame.
//
// both: CORO_TASK_or_coro_task_expected
#include "coro.h"

struct sub {
    CORO_FRAME;
    int id;
};
CORO(sub)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(my->id);
}

struct f {
    CORO_FRAME;
    int rc;
    struct sub sub;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_AWAIT(my->rc, coro_call(co, &my->sub, sub));
#else
    CORO_AWAIT(my->rc, coro_join(co, &my->sub));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
