// A generator's next item used as a condition.
//
// gcc: used struct type value where scalar is required
// clang: CORO_TRY
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
    int got;
    CORO_GEN(sub) gen;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_gen_open(&my->gen, sub);
    CORO_TRY(my->got, coro_gen_next(co, &my->gen));
#else
    coro_gen_open(&my->gen, sub);
    while (coro_gen_next(co, &my->gen))
        my->got++;
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
