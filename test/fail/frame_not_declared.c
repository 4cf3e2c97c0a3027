// A coroutine whose struct is declared after it, or not at all.
//
// gcc: struct f
// clang: struct f
#include "coro.h"

#ifdef FIXED
struct f {
    CORO_FRAME;
};
#endif /* FIXED */
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
