// A coroutine called as a function, and nobody waits for it.
//
// gcc: ignoring return value
// clang: ignoring return value
#include "coro.h"

struct child {
    CORO_FRAME;
};
CORO(child)
{
    CORO_BEGIN();
    CORO_END(0);
}

struct f {
    CORO_FRAME;
    struct child child;
};
CORO(f)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_call(co, &my->child, child));
#else
    child(co, &my->child);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
