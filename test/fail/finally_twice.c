// Two CORO_FINALLY in one coroutine.
//
// both: only_one_CORO_FINALLY
#include "coro.h"

struct f {
    CORO_FRAME;
    coro_group g, h;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_CLOSE(&my->h);
#else
CORO_FINALLY:
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->h);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
