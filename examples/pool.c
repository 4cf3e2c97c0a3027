/* pool.c -- ten clients share three connections. One breaks and is not used again; a reaper ends
 * those that nobody has needed for a while. */
#include "coro_sync.h"
#include <stdio.h>

struct conn {
    int number;
    int uses;
};
typedef CORO_POOL(struct conn, 3) conn_pool;

static int connects, closes;

struct client {
    CORO_FRAME;
    conn_pool *pool;
    struct conn *conn; /* null: none */
    int id, fresh;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(my->fresh, coro_pool_acquire(co, my->pool, &my->conn));
    if (my->fresh) {
        CORO_TRY(coro_sleep(co, CORO_MS(20))); /* connecting is yours to do */
        *my->conn = (struct conn){.number = ++connects};
    }
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    my->conn->uses++;
    if (my->id == 4)
        CORO_FAIL(-EPIPE);
CORO_FINALLY:
    coro_pool_release(my->pool, my->conn, CORO_ERR == 0); /* a broken one is not given to others */
    CORO_END(0);
}

struct reaper {
    CORO_FRAME;
    conn_pool *pool;
    struct conn *conn;
};

CORO(reaper)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(100)));
        while (coro_pool_idle(co, my->pool, &my->conn)) {
            printf("connection %d was used %d times, is idle: closed\n", my->conn->number,
                   my->conn->uses);
            closes++;
            coro_pool_release(my->pool, my->conn, false);
        }
    }
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group clients, reapers;
    conn_pool pool;
};

CORO(app)
{
    CORO_BEGIN();
    my->pool.head.idle_limit = CORO_MS(150);
    coro_group_open(co, &my->reapers, CORO_ALL);
    coro_spawn(&my->reapers, reaper, .pool = &my->pool);
    coro_group_open(co, &my->clients, CORO_COLLECT);
    for (int i = 0; i < 10; i++)
        coro_spawn(&my->clients, client, .pool = &my->pool, .id = i);
    CORO_CLOSE(&my->clients);
    printf("%d connects for 10 clients, %u failed, %u waited at once\n", connects,
           (unsigned)my->clients.failed, (unsigned)my->pool.head.line.most);
    CORO_TRY(coro_sleep(co, CORO_S(1)));
CORO_FINALLY:
    coro_group_cancel(&my->reapers);
    CORO_CLOSE(&my->reapers);
    printf("%d left\n", connects - closes - (int)my->clients.failed);
    CORO_END(coro_pool_fini(&my->pool));
}

int main(void)
{
    return coro_run_with(&(coro_options){.clock = CORO_VIRTUAL}, app) < 0;
}

/* Output:
 *   4 connects for 10 clients, 1 failed, 7 waited at once
 *   connection 3 was used 3 times, is idle: closed
 *   connection 1 was used 4 times, is idle: closed
 *   connection 4 was used 1 times, is idle: closed
 *   0 left
 */
