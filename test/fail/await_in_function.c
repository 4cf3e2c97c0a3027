// An await in an ordinary function.
//
// both: CORO_BEGIN_must_come_first
#include "coro.h"

struct f {
    CORO_FRAME;
    int n;
};
#ifdef FIXED
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
#else
int helper(coro_task *co, struct f *my);
int helper(coro_task *co, struct f *my)
{
    CORO_TRY(coro_sleep(co, my->n));
    return 0;
}
#endif /* FIXED */
