// CORO_SHARED in all files and CORO_IMPLEMENTATION in none.
//
// both: CORO_IMPLEMENTATION_belongs_in_one_file
// flags: -DCORO_SHARED
// link
// with: -O2
#ifdef FIXED
#define CORO_IMPLEMENTATION
#endif /* FIXED */
#include "coro.h"

struct f {
    CORO_FRAME;
};
CORO(f)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 1));
    CORO_END(0);
}

int main(void)
{
    const coro_options options = {.clock = CORO_VIRTUAL};
    return coro_run_with(&options, f) < 0;
}
