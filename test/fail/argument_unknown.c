// An argument that the coroutine does not have.
//
// gcc: idd
// clang: field designator 'idd'
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
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sub, .id = 7);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#else
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sub, .idd = 7);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
