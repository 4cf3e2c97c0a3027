// The same in an ordinary function, where no pragma of ours is in force.
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

int start(coro_group *g, CORO_TASK(sub) *sub, CORO_TASK(other) *other);
int start(coro_group *g, CORO_TASK(sub) *sub, CORO_TASK(other) *other)
{
#ifdef FIXED
    return coro_start(g, sub, sub) + coro_start(g, other, other);
#else
    (void)sub;
    return coro_start(g, other, sub);
#endif /* FIXED */
}
