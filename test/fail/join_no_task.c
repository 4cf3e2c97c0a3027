// coro_join of something that is no task.
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
    coro_group g;
    int rc;
    CORO_TASK(sub) sub;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->sub, sub);
    CORO_AWAIT(my->rc, coro_join(co, &my->sub));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#else
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_AWAIT(my->rc, coro_join(co, &my->g));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
