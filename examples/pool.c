/* pool.c -- ten clients share three connections; one that breaks is replaced. */
#include "coro_sync.h"
#include <stdio.h>

struct conn {
    int number, clients;
};
typedef CORO_POOL(struct conn, 3) conn_pool;

struct client {
    CORO_FRAME;
    conn_pool *pool;
    int id;
    struct conn *conn; /* null: none */
    bool fresh;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(my->fresh, coro_pool_acquire(co, my->pool, &my->conn));
    if (my->fresh) {
        my->conn->number = (int)my->pool->head.fresh;
        my->conn->clients = 0;
        CORO_TRY(coro_sleep(co, CORO_MS(20))); /* connecting is yours to do */
    }
    my->conn->clients++;
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    if (my->id == 4)
        CORO_FAIL(-EPIPE);
CORO_FINALLY:
    coro_pool_release(my->pool, my->conn, CORO_ERR == 0); /* broken: its place is free */
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    conn_pool pool;
    coro_group g;
    struct conn *conn;
    int clients;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < 10; i++)
        coro_spawn(&my->g, client, .pool = &my->pool, .id = i);
    CORO_CLOSE(&my->g);
    printf("%d connections were made, %d broke, %u clients waited at once\n",
           (int)my->pool.head.fresh, (int)my->pool.head.broken,
           (unsigned)my->pool.head.line.most);
CORO_FINALLY:
    coro_pool_close(&my->pool); /* now all that are idle are to be closed; see .idle_limit, too */
    while (coro_pool_idle(co, &my->pool, &my->conn)) {
        printf("connection %d has served %d\n", my->conn->number, my->conn->clients);
        my->clients += my->conn->clients;
        coro_pool_release(&my->pool, my->conn, false);
    }
    CORO_TRY(coro_pool_fini(&my->pool)); /* none is left */
    CORO_END(my->clients);
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) != 8;
}

/* Output:
 *   4 connections were made, 1 broke, 7 clients waited at once
 *   connection 3 has served 3
 *   connection 1 has served 4
 *   connection 4 has served 1
 */
