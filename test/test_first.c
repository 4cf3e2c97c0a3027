/* test_first.c -- the server on README.md's first page, as it stands there. */
#define main first_main
#include "../examples/first.c"
#undef main
#include "test.h"

struct guest {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(app) server;
    coro_address at;
    coro_fd conn;
    char heard[8];
    int n;
};

CORO(guest)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->server, app, .address = "127.0.0.1:0");
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_fd_local(&my->server.frame.listener, &my->at));
    CORO_TRY(coro_connect_to(co, &my->conn, &my->at));
    CORO_TRY(coro_write(co, &my->conn, "hello\n", 6));
    CORO_TRY(my->n, coro_read_exact(co, &my->conn, my->heard, 6));
    CHECK_EQ(my->n, 6);
    CHECK_STR(my->heard, "hello\n");
    coro_task_cancel(&my->server); /* as Ctrl-C would; but who talks may finish */
    CORO_TRY(coro_write(co, &my->conn, "bye\n", 4));
    CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));
    CORO_TRY(my->n, coro_read_exact(co, &my->conn, my->heard, sizeof my->heard));
    CHECK_EQ(my->n, 4); /* the end came after it */
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->server), -ECANCELED);
    CHECK_EQ(my->server.frame.server.accepted, 1);
    CHECK_EQ(my->server.frame.server.handlers.failed, 0);
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(first_server_answers_and_lets_who_talks_finish)
{
    CHECK_EQ(coro_run(guest), 0);
}
