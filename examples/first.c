/* first.c -- a server: what a client says comes back. Ctrl-C stops it, gently. */
#include "coro_io.h"
#include <stdio.h>
#include <string.h>

struct talk { /* a connection; what must live across an await is a member */
    CORO_FRAME;
    coro_fd conn;
    char text[1024];
    size_t n;
};

CORO(talk) /* inside: co is this task, my is this frame */
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->n, coro_within(co, CORO_S(60),
                                    coro_read(co, &my->conn, my->text, sizeof my->text)));
        if (my->n == 0)
            break; /* the client has said all */
        CORO_TRY(coro_write(co, &my->conn, my->text, my->n));
    }
CORO_FINALLY: /* reached at the end, and on an error, a time-out, a cancellation */
    coro_close(&my->conn);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    const char *address;
    coro_fd listener;
    coro_server server;
};

CORO(app)
{
    CORO_BEGIN();
    my->server.limit = 10000;     /* connections at once */
    my->server.drain = CORO_S(5); /* after Ctrl-C or SIGTERM they have so long to finish */
    CORO_TRY(coro_listen(&my->listener, my->address, 0));
    CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, talk)); /* a task for each */
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

int main(void)
{
    int rc = coro_run(app, .address = "127.0.0.1:7000");
    if (rc != -EINTR)
        fprintf(stderr, "%s\n", strerror(-rc));
    return rc != -EINTR;
}
