// A call of a coroutine that does not exist.
//
// both: suub
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
    struct sub sub;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call(co, &my->sub, sub, .id = 7));
#else
    CORO_TRY(coro_call(co, &my->sub, suub, .id = 7));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
