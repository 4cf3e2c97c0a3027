// A generator of another type.
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
    CORO_GEN(sub) sub;
    CORO_GEN(other) other;
    int got;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_gen_open(&my->sub, sub);
    CORO_TRY(my->got, coro_gen_next(co, &my->sub));
    coro_gen_open(&my->other, other);
#else
    coro_gen_open(&my->other, sub);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
