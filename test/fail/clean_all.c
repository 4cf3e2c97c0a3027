// All three headers together.
//
// clean
// with: -O2
// with: -O2 -DCORO_SHARED -DCORO_IMPLEMENTATION
#include "coro_io.h"
#include "coro_sync.h"

struct f {
    CORO_FRAME;
    coro_event e;
    coro_fd fd;
};
CORO(f)
{
    CORO_BEGIN();
    coro_event_set(&my->e);
    CORO_TRY(coro_event_wait(co, &my->e));
    CORO_TRY(coro_listen(&my->fd, "127.0.0.1:0", 0));
CORO_FINALLY:
    coro_close(&my->fd);
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}
