// CORO_FRAME that is not the first member.
//
// both: CORO_FRAME; must be the first member of struct f
#include "coro.h"

struct f {
#ifdef FIXED
    CORO_FRAME;
    int n;
#else
    int n;
    CORO_FRAME;
#endif /* FIXED */
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->n));
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
