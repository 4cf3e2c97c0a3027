// A start in storage for another coroutine.
//
// both: error:
// both: struct other
// both: CORO__STORAGE_OF_THIS_COROUTINE
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

struct other {
    CORO_FRAME;
    int id;
};
CORO(other)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(my->id);
}

struct f {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sub) sub;
    CORO_TASK(other) other;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->sub, sub);
    coro_start(&my->g, &my->other, other);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#else
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->other, sub);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
