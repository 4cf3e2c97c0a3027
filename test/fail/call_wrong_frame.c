// A call with the frame of another coroutine.
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
    struct sub sub;
    struct other other;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call(co, &my->sub, sub));
    CORO_TRY(coro_call(co, &my->other, other));
#else
    CORO_TRY(coro_call(co, &my->other, sub));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
