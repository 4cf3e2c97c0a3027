// A connection that would land in a member that is no coro_fd.
//
// both: error:
// both: CORO__STORAGE_OF_THIS_COROUTINE
#include "coro_io.h"

struct echo {
    CORO_FRAME;
    coro_fd conn;
    int number;
};
CORO(echo)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->number));
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

#ifdef FIXED
#define MEMBER conn
#else
#define MEMBER number
#endif /* FIXED */

struct app {
    CORO_FRAME;
    coro_fd listener;
    coro_server server;
};
CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &my->server, &my->listener, MEMBER, echo, .number = 1));
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}
