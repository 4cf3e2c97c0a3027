// coro_within around the call of a coroutine: that is coro_call_within.
//
// both: op_for_a_call_there_is_coro_call_within
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
    coro_scope limit;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call_within(co, &my->limit, 5, &my->sub, sub));
#else
    CORO_TRY(coro_within(co, 5, coro_call(co, &my->sub, sub)));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
