// An await before CORO_BEGIN.
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
    CORO_TRY(coro_sleep(co, 1));
#else
    CORO_TRY(coro_sleep(co, 1));
    CORO_BEGIN();
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
