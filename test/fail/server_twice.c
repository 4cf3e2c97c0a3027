// A coro_server that is given to coro_serve while it serves.
//
// run: calls coro_serve with a coro_server that serves already
#include "coro_io.h"

struct handler {
    CORO_FRAME;
    coro_fd conn;
};
CORO(handler)
{
    CORO_BEGIN();
    coro_close(&my->conn);
    CORO_END(0);
}

static coro_fd listener;
static coro_server server, other;

struct serves {
    CORO_FRAME;
    coro_server *server;
};
CORO(serves)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->server, &listener, conn, handler));
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
};
CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_spawn(&my->g, serves, .server = &server);
#ifndef FIXED
    coro_spawn(&my->g, serves, .server = &server);
#else
    coro_spawn(&my->g, serves, .server = &other); /* -EBUSY: the listener is taken */
#endif /* FIXED */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    if (coro_listen(&listener, "127.0.0.1:0", 0) < 0)
        return 1;
    return coro_run(app) < 0;
}
