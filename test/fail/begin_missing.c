// A coroutine without CORO_BEGIN.
//
// both: CORO_BEGIN_must_come_first
#include "coro.h"

struct f {
    CORO_FRAME;
};
CORO(f)
{
#ifdef FIXED
    CORO_BEGIN();
#endif /* FIXED */
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
