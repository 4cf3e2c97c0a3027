/* echo.c -- an echo server that numbers lines, and three clients; then a fourth one, which is still
 * there when the server is stopped, and has 50 ms to finish. */
#include "coro_io.h"
#include <stdio.h>

struct echo {
    CORO_FRAME;
    coro_fd conn; /* filled in by coro_serve */
    coro_stream s;
    coro_slice line;
    const char *prompt;
    char in[1024], out[1024]; /* the longest line; what goes out at once */
    int count;
    bool got;
};

CORO(echo)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line)); /* flushes, if it waits */
        if (!my->got)
            break;
        if (my->line.len == 0)
            CORO_FAIL(-EPROTO); /* this connection's problem alone */
        CORO_TRY(coro_stream_printf(co, &my->s, "%s%d %.*s\n", my->prompt, ++my->count,
                                    (int)my->line.len, my->line.data));
    }
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct server {
    CORO_FRAME;
    coro_fd *listener;
    coro_server *state;
};

CORO(server)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->state, my->listener, conn, echo, .prompt = "> "));
    CORO_END(0);
}

struct client {
    CORO_FRAME;
    const coro_address *server;
    const char *lines;
    coro_time wait; /* before the farewell */
    coro_fd conn;
    coro_stream s;
    coro_slice line;
    char in[256], out[256];
    bool got;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->server));
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    CORO_TRY(coro_stream_printf(co, &my->s, "%s", my->lines));
    CORO_TRY(coro_stream_flush(co, &my->s));
    CORO_TRY(coro_sleep(co, my->wait));
    CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            break;
        printf("%.*s\n", (int)my->line.len, my->line.data);
    }
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_fd listener;
    coro_address address;
    coro_server state;
    coro_group servers, clients;
    struct client client;
    CORO_TASK(client) last;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->address));
    my->state.limit = 100;
    my->state.drain = CORO_S(10);
    coro_group_open(co, &my->servers, CORO_ALL);
    coro_spawn(&my->servers, server, .listener = &my->listener, .state = &my->state);
    CORO_TRY(coro_call(co, &my->client, client, .server = &my->address, .lines = "hello\nworld\n"));
    CORO_TRY(coro_call(co, &my->client, client, .server = &my->address,
                       .lines = "one\ntwo\nthree\n"));
    CORO_TRY(coro_call(co, &my->client, client, .server = &my->address, .lines = "oops\n\nlost\n"));
    coro_group_open(co, &my->clients, CORO_ALL);
    coro_start(&my->clients, &my->last, client, .server = &my->address, .lines = "bye\n",
               .wait = CORO_MS(50));
    while (my->state.accepted < 4)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_server_stop(&my->state);
CORO_FINALLY:
    CORO_CLOSE(&my->clients);
    CORO_CLOSE(&my->servers);
    coro_close(&my->listener);
    printf("%d connections, %d failed, %d left\n", (int)my->state.accepted,
           (int)my->state.handlers.failed, (int)my->state.handlers.alive);
    CORO_END((int)my->state.accepted);
}

int main(void)
{
    return coro_run(app) != 4;
}

/* Output:
 *   > 1 hello
 *   > 2 world
 *   > 1 one
 *   > 2 two
 *   > 3 three
 *   > 1 bye
 *   4 connections, 1 failed, 0 left
 */
