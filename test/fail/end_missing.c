// A coroutine that forgets CORO_END.
//
// gcc: expected declaration or statement at end of input
// clang: expected '}'
#include "coro.h"

struct f {
    CORO_FRAME;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
#ifdef FIXED
    CORO_END(0);
#endif /* FIXED */
}

int main(void)
{
    return coro_run(f);
}
