// A server that is called, and not awaited.
//
// both: error:
// both: warn_unused_result
#include "coro_io.h"

struct echo {
    CORO_FRAME;
    coro_fd conn;
};
CORO(echo)
{
    CORO_BEGIN();
    coro_close(&my->conn);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_fd listener;
    coro_server server;
};
CORO(app)
{
    CORO_BEGIN();
#ifdef FIXED
    CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, echo));
#else
    coro_serve(co, &my->server, &my->listener, conn, echo);
#endif /* FIXED */
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}
