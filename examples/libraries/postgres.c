/* postgres.c -- PostgreSQL through libpq: ten queries share three connections, each has 500 ms, and
 * one does not make it. Needs a server: PGHOST, PGPORT, PGUSER say which. */
#include "coro_io.h"
#include "coro_sync.h"
#include <libpq-fe.h>
#include <stdio.h>

/* ---- libpq with coroutines ------------------------------------------------------------------- */

struct dial {
    CORO_FRAME;
    PGconn **db; /* where it goes; the caller's to finish, also on an error */
    PostgresPollingStatusType next;
};

CORO(dial)
{
    CORO_BEGIN();
    *my->db = PQconnectStart("");
    if (!*my->db)
        CORO_FAIL(-ENOMEM);
    for (my->next = PGRES_POLLING_WRITING; my->next != PGRES_POLLING_OK;
         my->next = PQconnectPoll(*my->db)) {
        if (my->next == PGRES_POLLING_FAILED || PQstatus(*my->db) == CONNECTION_BAD)
            CORO_FAIL(-ECONNREFUSED); /* PQerrorMessage says why */
        CORO_TRY(coro_wait_fd(co, PQsocket(*my->db),
                              my->next == PGRES_POLLING_READING ? POLLIN : POLLOUT));
    }
    CORO_END(PQsetnonblocking(*my->db, 1) < 0 ? -EIO : 0);
}

/* Tell the server to stop: libpq does that with a connection of its own, blocking. */
static intptr_t stop_query(coro_job *job, void *arg)
{
    PGcancel *cancel = PQgetCancel(arg);
    char why[256];
    int stopped = cancel && PQcancel(cancel, why, sizeof why);
    (void)job;
    PQfreeCancel(cancel);
    return stopped ? 0 : -EIO;
}

struct query {
    CORO_FRAME;
    PGconn *db;
    const char *sql;
    PGresult **result; /* of the last statement; the caller's to clear */
    coro_scope shield;
    int left, rc;
};

CORO(query)
{
    CORO_BEGIN();
    if (!PQsendQuery(my->db, my->sql))
        CORO_FAIL(-EIO);
    while ((my->left = PQflush(my->db)) > 0) {
        CORO_TRY(my->rc, coro_wait_fd(co, PQsocket(my->db), POLLIN | POLLOUT));
        if ((my->rc & POLLIN) && !PQconsumeInput(my->db))
            CORO_FAIL(-EIO);
    }
    if (my->left < 0)
        CORO_FAIL(-EIO);
    for (;;) {
        PGresult *next;
        while (PQisBusy(my->db)) {
            CORO_TRY(coro_wait_fd(co, PQsocket(my->db), POLLIN));
            if (!PQconsumeInput(my->db))
                CORO_FAIL(-EIO);
        }
        next = PQgetResult(my->db); /* does not block now */
        if (!next)
            break;
        PQclear(*my->result);
        *my->result = next;
    }
    if (PQresultStatus(*my->result) != PGRES_TUPLES_OK)
        CORO_FAIL(-EINVAL);
CORO_FINALLY:
    if (CORO_ERR == -ECANCELED) { /* so it ends over there, too, as far as that takes a second */
        coro_shield_open(co, &my->shield, CORO_S(1));
        CORO_AWAIT(my->rc, coro_blocking(co, stop_query, my->db));
        coro_scope_close(co, &my->shield, my->rc);
    }
    CORO_END(0);
}

/* ---- a program ------------------------------------------------------------------------------- */

typedef CORO_POOL(PGconn *, 3) pg_pool;

static int connects;

struct report { /* runs one query on a connection of the pool */
    CORO_FRAME;
    pg_pool *pool;
    const char *sql;
    char *answer; /* 32 bytes */
    PGconn **db;
    PGresult *result;
    struct dial dial;
    struct query query;
    coro_scope limit;
    int fresh;
};

CORO(report)
{
    CORO_BEGIN();
    CORO_TRY(my->fresh, coro_pool_acquire(co, my->pool, &my->db));
    connects += my->fresh;
    if (my->fresh)
        CORO_TRY(coro_call(co, &my->dial, dial, .db = my->db));
    CORO_TRY(coro_call_within(co, &my->limit, CORO_MS(500), &my->query, query, .db = *my->db,
                              .sql = my->sql, .result = &my->result));
    snprintf(my->answer, 32, "%s", PQgetvalue(my->result, 0, 0));
CORO_FINALLY:
    if (CORO_ERR)
        snprintf(my->answer, 32, "%s", CORO_ERR == -ETIMEDOUT ? "timed out" : "failed");
    PQclear(my->result);
    if (CORO_ERR && my->db)
        PQfinish(*my->db); /* in the middle of something: not for others */
    coro_pool_release(my->pool, my->db, CORO_ERR == 0);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    pg_pool pool;
    coro_group g;
    PGconn **db;
    char sql[10][80], answers[10][32];
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < 10; i++) {
        snprintf(my->sql[i], sizeof my->sql[i],
                 i == 4 ? "select pg_sleep(60)" : "select sum(n) from generate_series(1, %d) n",
                 1000 * (i + 1));
        coro_spawn(&my->g, report, .pool = &my->pool, .sql = my->sql[i],
                   .answer = my->answers[i]);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    for (int i = 0; i < 10; i++)
        printf("%s: %s\n", my->sql[i], my->answers[i]);
    printf("%d connections made, %u failed\n", connects, (unsigned)my->g.failed);
    coro_pool_close(&my->pool);
    while (coro_pool_idle(co, &my->pool, &my->db)) {
        PQfinish(*my->db);
        coro_pool_release(&my->pool, my->db, false);
    }
    CORO_END(coro_pool_fini(&my->pool));
}

int main(void)
{
    return coro_run(app) < 0;
}

/* Output:
 *   select sum(n) from generate_series(1, 1000) n: 500500
 *   select sum(n) from generate_series(1, 2000) n: 2001000
 *   select sum(n) from generate_series(1, 3000) n: 4501500
 *   select sum(n) from generate_series(1, 4000) n: 8002000
 *   select pg_sleep(60): timed out
 *   select sum(n) from generate_series(1, 6000) n: 18003000
 *   select sum(n) from generate_series(1, 7000) n: 24503500
 *   select sum(n) from generate_series(1, 8000) n: 32004000
 *   select sum(n) from generate_series(1, 9000) n: 40504500
 *   select sum(n) from generate_series(1, 10000) n: 50005000
 *   3 connections made, 1 failed
 */
