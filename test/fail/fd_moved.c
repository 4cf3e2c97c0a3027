// A coro_fd that is moved after an operation of it has waited.
//
// run: moved after an operation of it had waited
// with: -O2
#include "coro_io.h"

struct f {
    CORO_FRAME;
    coro_fd from, to;
    int rc;
    char text[4];
};
CORO(f)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_read(co, &my->from, my->text, 4)));
#ifndef FIXED
    my->to = my->from;
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_read(co, &my->to, my->text, 4)));
#else
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_read(co, &my->from, my->text, 4)));
#endif /* FIXED */
    CORO_END(coro_close(&my->from));
}

int main(void)
{
    coro_fd h = {0};
    int ends[2];
    if (pipe(ends) < 0 || coro_fd_adopt(&h, ends[0]) < 0)
        return 1;
    return coro_run(f, .from = h) < 0;
}
