// A coroutine called as a function: its frame would be nobody's.
//
// both: call_with_coro_call
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
    CORO_TRY(child(co, &my->child));
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(f);
}
