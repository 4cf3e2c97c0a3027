/* test_serve.c -- servers: accepting, limits, counting, draining. (I39 .. I44) */
#include "coro_io.h"
#include "test.h"
#include "world.h"

#include <stdlib.h>
#include <sys/resource.h>

/* ---- a handler that does as it is told: a letter a command ---------------------------------- */

struct obey {
    CORO_FRAME;
    int greeting; /* before conn, so that conn is not first */
    coro_fd conn;
    char c;
    int n;
};

static int finals, cancelled_handlers;

CORO(obey)
{
    CORO_BEGIN();
    if (my->greeting)
        CORO_TRY(coro_write(co, &my->conn, "hello", 5));
    for (;;) {
        CORO_TRY(my->n, coro_read(co, &my->conn, &my->c, 1));
        if (my->n == 0)
            break;
        if (my->c == 'f')
            CORO_FAIL(-EPROTO);
        CORO_TRY(coro_write(co, &my->conn, &my->c, 1));
    }
CORO_FINALLY:
    finals++;
    cancelled_handlers += CORO_ERR == -ECANCELED;
    coro_close(&my->conn);
    CORO_END(0);
}

struct serving {
    CORO_FRAME;
    coro_server *server;
    coro_fd *listener;
    int greeting;
};

CORO(serving)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->server, my->listener, conn, obey, .greeting = my->greeting++));
    CORO_END(0);
}

enum { CLIENTS = 8 };

/* What the tests have in common: a server in a task of its own, and its clients. */
struct with {
    coro_server server;
    coro_fd listener;
    coro_address a;
    coro_group g;
    CORO_TASK(serving) t;
    coro_fd c[CLIENTS];
    char buf[16];
    coro_time start;
    int i, n, rc;
};

static void with_close(struct with *w)
{
    for (int i = 0; i < CLIENTS; i++)
        coro_close(&w->c[i]);
    coro_close(&w->listener);
}

#define OPEN()                                                                          \
    do {                                                                                \
        CORO_TRY(coro_listen(&my->w.listener, "127.0.0.1:0", 0));                       \
        CORO_TRY(coro_fd_local(&my->w.listener, &my->w.a));                             \
        coro_group_open(co, &my->w.g, CORO_COLLECT);                                    \
        coro_start(&my->w.g, &my->w.t, serving, .server = &my->w.server,                \
                   .listener = &my->w.listener);                                        \
    } while (0)

#define CONNECT(k) CORO_TRY(coro_connect_to(co, &my->w.c[k], &my->w.a))

/* Say a letter, hear it. */
#define ECHO(k)                                                                         \
    do {                                                                                \
        CORO_TRY(coro_write(co, &my->w.c[k], "e", 1));                                  \
        CORO_TRY(my->w.n, coro_within(co, CORO_S(2),                                    \
                                      coro_read(co, &my->w.c[k], my->w.buf, 1)));       \
        CHECK_EQ(my->w.n, 1);                                                           \
    } while (0)

#define HEARS_THE_END(k)                                                                \
    do {                                                                                \
        CORO_AWAIT(my->w.n, coro_within(co, CORO_S(2),                                  \
                                        coro_read(co, &my->w.c[k], my->w.buf, 1)));     \
        CHECK(my->w.n == 0 || my->w.n == -ECONNRESET);                                  \
    } while (0)

#define SCENARIO(name)                                                                  \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        struct with w;                                                                  \
    };                                                                                  \
    CORO(name)

static void run_check(int rc, int before)
{
    CHECK_EQ(rc, 0);
    CHECK_EQ(open_descriptors(), before);
}

#define RUN_CHECK(name) run_check(coro_run(name), before)

/* ---- serving ----------------------------------------------------------------------------- */

SCENARIO(some)
{
    CORO_BEGIN();
    my->w.server.drain = CORO_S(1);
    OPEN();
    my->w.t.frame.greeting = 1;
    for (my->w.i = 0; my->w.i < 3; my->w.i++) {
        CONNECT(my->w.i);
        CORO_TRY(my->w.n, coro_read_exact(co, &my->w.c[my->w.i], my->w.buf, 5));
        CHECK_EQ(memcmp(my->w.buf, "hello", 5), 0);
    }
    CHECK_EQ(my->w.t.frame.greeting, 2); /* evaluated once */
    CHECK_EQ(my->w.server.handlers.alive, 3);
    for (my->w.i = 0; my->w.i < 3; my->w.i++)
        ECHO(my->w.i);
    CORO_TRY(coro_write(co, &my->w.c[1], "f", 1)); /* fails, and stops nobody else */
    HEARS_THE_END(1);
    ECHO(0);
    ECHO(2);
    coro_close(&my->w.c[1]);
    CONNECT(1);
    ECHO(1);
    CHECK_EQ(my->w.server.accepted, 4);
    CHECK_EQ(my->w.server.handlers.failed, 1);
    CHECK_EQ(my->w.server.handlers.first, -EPROTO);
    CHECK_EQ(my->w.server.handlers.alive, 3);
    CHECK_EQ(my->w.server.most, 3);
    CHECK(!my->w.server.draining);
    for (my->w.i = 0; my->w.i < 3; my->w.i++)
        coro_shutdown(&my->w.c[my->w.i], CORO_OUT);
    CHECK_EQ(coro_server_stop(&my->w.server), 1);
    CORO_TRY(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(my->w.n, 0);
    CHECK_EQ(my->w.server.handlers.alive, 0);
    CHECK_EQ(cancelled_handlers, 0);
    CHECK_EQ(coro_server_stop(&my->w.server), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_counts_connections_and_survives_failing_handlers)
{
    int before = open_descriptors();
    RUN_CHECK(some);
    CHECK_EQ(finals, 4);
}

SCENARIO(limited)
{
    CORO_BEGIN();
    my->w.server.limit = 2;
    OPEN();
    for (my->w.i = 0; my->w.i < 4; my->w.i++)
        CONNECT(my->w.i);
    ECHO(0);
    ECHO(1);
    CORO_TRY(coro_write(co, &my->w.c[2], "e", 1));
    CORO_AWAIT(my->w.rc, coro_within(co, CORO_MS(5), coro_read(co, &my->w.c[2], my->w.buf, 1)));
    CHECK_EQ(my->w.rc, -ETIMEDOUT);
    CHECK_EQ(my->w.server.accepted, 2);
    coro_close(&my->w.c[0]);
    CORO_TRY(my->w.n, coro_read(co, &my->w.c[2], my->w.buf, 1));
    CHECK_EQ(my->w.n, 1);
    coro_close(&my->w.c[1]);
    ECHO(3);
    CHECK_EQ(my->w.server.accepted, 4);
    CHECK_EQ(my->w.server.most, 2);
    coro_task_cancel(&my->w.t);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_limit_leaves_connections_in_the_backlog) /* I42 */
{
    int before = open_descriptors();
    RUN_CHECK(limited);
}

struct delay {
    CORO_FRAME;
    coro_fd listener, here, there;
    coro_address a;
};

static int no_delay(const coro_fd *h)
{
    int on = 0;
    socklen_t size = sizeof on;
    CHECK_EQ(getsockopt(coro_fd_number(h), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    return on != 0;
}

CORO(delay)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->a));
    CORO_TRY(coro_connect_to(co, &my->here, &my->a));
    CORO_TRY(coro_accept(co, &my->listener, &my->there));
    CHECK(no_delay(&my->here));
    CHECK(no_delay(&my->there));
CORO_FINALLY:
    coro_close(&my->here);
    coro_close(&my->there);
    coro_close(&my->listener);
    CORO_END(0);
}

TEST(accepted_connection_does_not_wait_to_send_like_a_connected_one)
{
    int before = open_descriptors();
    RUN_CHECK(delay);
}

/* ---- the end ----------------------------------------------------------------------------- */

SCENARIO(drained)
{
    CORO_BEGIN();
    my->w.server.drain = CORO_MS(40);
    OPEN();
    CONNECT(0);
    CONNECT(1);
    ECHO(0);
    ECHO(1);
    my->w.start = coro_now(co);
    coro_task_cancel(&my->w.t);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK(my->w.server.draining);
    ECHO(0); /* shielded */
    coro_shutdown(&my->w.c[0], CORO_OUT);
    HEARS_THE_END(0);
    CONNECT(2); /* into the backlog */
    CORO_TRY(coro_write(co, &my->w.c[2], "e", 1));
    HEARS_THE_END(1);
    CHECK(coro_now(co) - my->w.start >= CORO_MS(40));
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(my->w.n, -ECHILD); /* -ECANCELED, of another task */
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
    CHECK_EQ(my->w.server.accepted, 2);
    CHECK_EQ(my->w.server.handlers.failed, 0);
    CHECK_EQ(cancelled_handlers, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_cancelled_drains_then_cancels_its_handlers)
{
    int before = open_descriptors();
    RUN_CHECK(drained);
}

SCENARIO(drained_early)
{
    CORO_BEGIN();
    my->w.server.drain = CORO_S(3600);
    OPEN();
    CONNECT(0);
    ECHO(0);
    coro_task_cancel(&my->w.t);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_result(&my->w.t), -EINPROGRESS);
    coro_close(&my->w.c[0]);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_drain_ends_with_the_last_handler)
{
    int before = open_descriptors();
    RUN_CHECK(drained_early);
}

SCENARIO(not_drained)
{
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    ECHO(0);
    coro_task_cancel(&my->w.t);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
    CHECK_EQ(cancelled_handlers, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_without_a_drain_cancels_at_once)
{
    int before = open_descriptors();
    RUN_CHECK(not_drained);
}

SCENARIO(born_cancelled)
{
    CORO_BEGIN();
    OPEN();
    coro_task_cancel(&my->w.t);
    CONNECT(0);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
    CHECK_EQ(my->w.server.accepted, 0);
    CORO_TRY(coro_accept(co, &my->w.listener, &my->w.c[1])); /* I41: it is still there */
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_in_a_cancelled_task_accepts_nothing) /* I41 */
{
    int before = open_descriptors();
    RUN_CHECK(born_cancelled);
}

SCENARIO(listener_closed)
{
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    CONNECT(1);
    ECHO(0);
    ECHO(1);
    coro_close(&my->w.listener);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK(my->w.server.draining);
    ECHO(0); /* without a drain, too */
    CORO_TRY(coro_listen(&my->w.c[2], "127.0.0.1:0", 0)); /* I44 */
    coro_close(&my->w.c[0]);
    ECHO(1);
    coro_close(&my->w.c[1]);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(my->w.n, -EBADF);
    CHECK_EQ(my->w.server.handlers.failed, 0);
    CHECK_EQ(cancelled_handlers, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_whose_listener_is_closed_lets_its_handlers_end) /* I43 */
{
    int before = open_descriptors();
    RUN_CHECK(listener_closed);
}

SCENARIO(listener_closed_then_cancelled)
{
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    ECHO(0);
    coro_close(&my->w.listener);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    coro_task_cancel(&my->w.t);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
    CHECK_EQ(cancelled_handlers, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_whose_listener_is_closed_can_be_cancelled)
{
    int before = open_descriptors();
    RUN_CHECK(listener_closed_then_cancelled);
}

/* ---- mistakes ------------------------------------------------------------------------------ */

struct mistakes {
    CORO_FRAME;
    struct with w;
    coro_server other;
    coro_fd closed;
};

CORO(mistakes)
{
    CORO_BEGIN();
    OPEN();
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->w.rc, coro_serve(co, &my->other, &my->w.listener, conn, obey));
    CHECK_EQ(my->w.rc, -EBUSY); /* another one accepts */
    my->w.i = 0;
    CHECK_EQ(coro_server_stop(&my->w.server), 1);
    CORO_TRY(coro_join(co, &my->w.t));
    CORO_AWAIT(my->w.rc, coro_serve(co, &my->w.server, &my->closed, conn, obey));
    CHECK_EQ(my->w.rc, -EBADF);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_of_a_busy_listener_is_busy_and_a_closed_listener_is_no_descriptor)
{
    int before = open_descriptors();
    RUN_CHECK(mistakes);
}

/* ---- what runs out ------------------------------------------------------------------------- */

static struct rlimit before_limit;

SCENARIO(emfile)
{
    struct rlimit tight;
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    ECHO(0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before_limit), 0);
    tight = before_limit;
    tight.rlim_cur = (rlim_t)dup(0);
    close((int)tight.rlim_cur++);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    CONNECT(1); /* takes the last descriptor */
    CORO_TRY(coro_write(co, &my->w.c[1], "e", 1));
    CORO_AWAIT(my->w.rc, coro_within(co, CORO_MS(30), coro_read(co, &my->w.c[1], my->w.buf, 1)));
    CHECK_EQ(my->w.rc, -ETIMEDOUT);
    CHECK_EQ(my->w.server.starved, 1); /* it does not spin */
    CHECK(coro_stats(coro_loop_of(co)).steps < 100);
    ECHO(0);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before_limit), 0);
    CORO_TRY(my->w.n, coro_read(co, &my->w.c[1], my->w.buf, 1));
    CHECK_EQ(my->w.n, 1);
    CHECK_EQ(my->w.server.accepted, 2);
    coro_task_cancel(&my->w.t);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_backs_off_without_descriptors_and_comes_back) /* I39 */
{
    int before = open_descriptors();
    RUN_CHECK(emfile);
}

/* An allocator that can be told to fail. */
static size_t used;
static int allowed = -1; /* allocations that succeed; -1: all */

static void *give(void *arg, size_t n)
{
    (void)arg;
    if (allowed == 0)
        return NULL;
    allowed -= allowed > 0;
    used += n;
    return malloc(n);
}

static void take(void *arg, void *memory, size_t n)
{
    (void)arg;
    used -= n;
    free(memory);
}

struct crowd {
    CORO_FRAME;
    struct with w;
    int c[200]; /* in the backlog at once; the reactor does not know them */
};

CORO(crowd)
{
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    ECHO(0);
    allowed = 0;
    for (int i = 0; i < 200; i++) { /* more than what is left of the slab */
        my->c[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(my->c[i], &my->w.a.any, my->w.a.length), 0);
    }
    while (my->w.server.accepted < 201)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    /* failed: poll's table is full */
    CHECK(my->w.server.rejected + my->w.server.handlers.failed > 0);
    CHECK_EQ(my->w.server.rejected + my->w.server.handlers.failed +
                 my->w.server.handlers.alive, my->w.server.accepted);
    ECHO(0);
    coro_task_cancel(&my->w.t);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
CORO_FINALLY:
    allowed = -1;
    CORO_CLOSE(&my->w.g);
    for (int i = 0; i < 200; i++)
        close(my->c[i]);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_closes_connections_for_which_there_is_no_memory)
{
    int before = open_descriptors();
    static coro_options options;
    options.allocator.alloc = give;
    options.allocator.free = take;
    run_check(coro_run_with(&options, crowd), before);
    CHECK_EQ(used, 0);
}

SCENARIO(simple)
{
    CORO_BEGIN();
    OPEN();
    CONNECT(0);
    CORO_TRY(coro_write(co, &my->w.c[0], "e", 1));
    CORO_AWAIT(my->w.n, coro_within(co, CORO_MS(20), coro_read(co, &my->w.c[0], my->w.buf, 1)));
    coro_task_cancel(&my->w.t);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_without_memory_at_any_allocation_leaves_nothing_behind)
{
    int before = open_descriptors();
    static coro_options options;
    options.allocator.alloc = give;
    options.allocator.free = take;
    for (int n = 1; n < 6; n++) {
        allowed = n;
        (void)coro_run_with(&options, simple);
        CHECK_EQ(used, 0);
        CHECK_EQ(open_descriptors(), before);
    }
}

/* ---- cancelled at any moment ---------------------------------------------------------------- */

struct sweep {
    CORO_FRAME;
    struct with w;
    int turns;
    bool drain, client_too;
};

CORO(sweep)
{
    CORO_BEGIN();
    my->w.server.drain = my->drain ? CORO_MS(2) : 0;
    my->w.server.limit = 2;
    OPEN();
    my->w.t.frame.greeting = 1;
    for (my->w.i = 0; my->w.i < 3; my->w.i++) { /* nobody waits for these */
        CORO_TRY(coro_connect_to(co, &my->w.c[my->w.i], &my->w.a));
        CORO_TRY(coro_write(co, &my->w.c[my->w.i], my->w.i ? "e" : "f", 1));
    }
    for (my->w.i = 0; my->w.i < my->turns; my->w.i++)
        CORO_TRY(coro_sleep(co, 0));
    if (my->client_too)
        coro_close(&my->w.c[1]);
    CHECK_EQ(coro_task_cancel(&my->w.t), 1);
    CORO_AWAIT(my->w.n, coro_join(co, &my->w.t));
    CHECK_EQ(coro_task_result(&my->w.t), -ECANCELED);
    CHECK_EQ(my->w.server.handlers.alive, 0);
    CHECK_EQ(my->w.server.accepted, finals);
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_cancelled_at_any_turn_leaves_nothing_behind)
{
    int before = open_descriptors();
    for (int i = 0; i < 4 * 12; i++) {
        finals = 0;
        run_check(coro_run(sweep, .turns = i / 4, .drain = (i & 1) != 0,
                           .client_too = (i & 2) != 0), before);
    }
}

/* ---- many ---------------------------------------------------------------------------------- */

struct client {
    CORO_FRAME;
    const coro_address *a;
    coro_fd c;
    char buf[1];
    int i, n;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->c, my->a));
    for (my->i = 0; my->i < 5; my->i++) {
        CORO_TRY(coro_write(co, &my->c, "e", 1));
        CORO_TRY(my->n, coro_read(co, &my->c, my->buf, 1));
        CHECK_EQ(my->n, 1);
    }
CORO_FINALLY:
    coro_close(&my->c);
    CORO_END(0);
}

struct many {
    CORO_FRAME;
    struct with w;
    coro_group clients;
};

CORO(many)
{
    CORO_BEGIN();
    my->w.server.limit = 7;
    my->w.server.drain = CORO_S(1);
    OPEN();
    coro_group_open(co, &my->clients, CORO_ALL);
    for (int i = 0; i < 60; i++)
        coro_spawn(&my->clients, client, .a = &my->w.a);
    CORO_CLOSE(&my->clients);
    CHECK_EQ(my->w.server.accepted, 60);
    CHECK_EQ(my->w.server.most, 7);
    coro_task_cancel(&my->w.t);
    CORO_CLOSE(&my->w.g);
    CHECK_EQ(my->w.server.handlers.failed, 0);
    CHECK_EQ(my->w.server.handlers.alive, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->w.g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(serve_handles_more_clients_than_its_limit_in_turn)
{
    int before = open_descriptors();
    RUN_CHECK(many);
    CHECK_EQ(finals, 60);
}
