/* test_faults.c -- the n-th call of each system function fails, for all n, with each error that it
 * may have: nothing hangs, nothing is left.
 *
 * What a program should not see (interruptions, EAGAIN, short reads and writes, connections that
 * are gone before they are accepted) changes nothing. Any other failure is somebody's result. The
 * calls and their errors are in faults.h.
 */
#undef CORO_SHARED /* the calls to be wrapped are in this file */
#include "faults.h"

#include "io.h"

#include <sched.h>

/* SCENARIO -- make a coroutine without arguments a scenario, run_fn: under a deadline that is never
 * met, unless it hangs. */
#define SCENARIO(fn)                                                                        \
    struct fn##_run { CORO_FRAME; coro_scope limit; struct fn frame; int rc; };             \
    CORO(fn##_run)                                                                          \
    {                                                                                       \
        CORO_BEGIN();                                                                       \
        CORO_TRY(my->rc, coro_call_within(co, &my->limit, NEVER, &my->frame, fn));          \
        CORO_END(my->rc);                                                                   \
    }                                                                                       \
    static int run_##fn(const coro_options *o) { return coro_run_with(o, fn##_run); }

#define NEVER CORO_S(1000)

/* ---- bytes: sockets and pipes ---------------------------------------------------------------- */

enum { LOAD = 20000 };

static char load[LOAD], back[LOAD];
static coro_fd a, b, in, out, listener;

struct forward {
    CORO_FRAME;
    coro_fd *from, *to;
    size_t n;
    char buffer[4096];
};

CORO(forward)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->n, coro_read(co, my->from, my->buffer, sizeof my->buffer));
        if (my->n == 0)
            break;
        CORO_TRY(coro_write(co, my->to, my->buffer, my->n));
    }
CORO_FINALLY:
    (void)coro_close(my->to);
    CORO_END(0);
}

struct push {
    CORO_FRAME;
    coro_fd *h;
};

CORO(push)
{
    CORO_BEGIN();
    CORO_TRY(coro_write(co, my->h, load, LOAD));
    CORO_TRY(coro_shutdown(my->h, CORO_OUT));
    CORO_END(0);
}

/* Through a socket, then through a pipe. */
struct echo {
    CORO_FRAME;
    coro_group g;
    size_t n;
};

CORO(echo)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, forward, .from = &b, .to = &out);
    coro_spawn(&my->g, push, .h = &a);
    CORO_TRY(my->n, coro_read_exact(co, &in, back, LOAD));
    if (my->n == LOAD)
        CHECK_EQ(memcmp(load, back, LOAD), 0);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END((int)my->n);
}

SCENARIO(echo)

/* ---- a part of a file ------------------------------------------------------------------------ */

static int file; /* the load is in it */

struct sends_file {
    CORO_FRAME;
    coro_fd *h;
    coro_file_part part;
    coro_stream s;
    char buffer[64];
};

/* One half as such, the other one through a stream, behind its first bytes. */
CORO(sends_file)
{
    CORO_BEGIN();
    my->part.file = file;
    my->part.size = LOAD / 2;
    CORO_TRY(coro_sendfile(co, my->h, &my->part));
    CORO_TRY(coro_stream_open(&my->s, my->h, NULL, 0, my->buffer, sizeof my->buffer));
    CORO_TRY(coro_stream_write(co, &my->s, load + LOAD / 2, 40));
    my->part.offset = LOAD / 2 + 40;
    my->part.size = LOAD / 2 - 40;
    CORO_TRY(coro_stream_sendfile(co, &my->s, &my->part));
CORO_FINALLY:
    (void)coro_close(my->h);
    CORO_END(0);
}

struct sending {
    CORO_FRAME;
    coro_group g;
    coro_fd *from;
    size_t n;
};

/* Into a socket, then into a pipe. */
CORO(sending)
{
    CORO_BEGIN();
    for (my->from = &b; my->from; my->from = my->from == &b ? &in : NULL) {
        memset(back, 0, LOAD);
        coro_group_open(co, &my->g, CORO_ALL);
        coro_spawn(&my->g, sends_file, .h = my->from == &b ? &a : &out);
        CORO_TRY(my->n, coro_read_exact(co, my->from, back, LOAD));
        if (my->n != LOAD)
            CORO_FAIL(-EPIPE);
        CHECK_EQ(memcmp(load, back, LOAD), 0);
        CORO_CLOSE(&my->g);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(LOAD);
}

SCENARIO(sending)

/* ---- a descriptor on its way ----------------------------------------------------------------- */

struct sends_parcel {
    CORO_FRAME;
    coro_fd *fd;
    coro_parcel parcel;
    char text[4];
    size_t n;
};

CORO(sends_parcel)
{
    CORO_BEGIN();
    memcpy(my->text, "boat", 4);
    my->parcel.data = my->text;
    my->parcel.size = 4;
    my->parcel.fd = my->fd;
    CORO_TRY(my->n, coro_send_fd(co, &a, &my->parcel));
    CORO_TRY(coro_close(my->fd));
    CORO_TRY(coro_write(co, &a, my->text + my->n, 4 - my->n));
CORO_FINALLY:
    (void)coro_close(&a);
    CORO_END(0);
}

struct moving {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sends_parcel) t;
    coro_fd here, there, came;
    coro_parcel parcel;
    char text[8];
    size_t n;
};

/* The end of a pipe that we make goes through a socket; what is written to the other comes out. */
CORO(moving)
{
    CORO_BEGIN();
    CORO_TRY(coro_pipe(&my->here, &my->there));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, sends_parcel, .fd = &my->here);
    my->parcel.data = my->text;
    my->parcel.size = 4;
    my->parcel.fd = &my->came;
    CORO_TRY(my->n, coro_recv_fd(co, &b, &my->parcel));
    if (coro_fd_number(&my->came) < 0)
        CORO_FAIL(-EPIPE);
    CHECK(!my->parcel.lost);
    CORO_TRY(coro_read_exact(co, &b, my->text + my->n, 4 - my->n));
    CORO_CLOSE(&my->g);
    CORO_TRY(coro_write(co, &my->there, my->text, 4));
    CORO_TRY(my->n, coro_read_exact(co, &my->came, back, 4));
    CHECK_EQ(memcmp(back, "boat", 4), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    (void)coro_close(&my->here);
    (void)coro_close(&my->there);
    (void)coro_close(&my->came);
    CORO_END(7);
}

SCENARIO(moving)

/* ---- connecting and accepting ---------------------------------------------------------------- */

static coro_address server;

struct client {
    CORO_FRAME;
    char text[8];
    size_t n;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &a, &server));
    CORO_TRY(coro_write(co, &a, "question", 8));
    CORO_TRY(my->n, coro_read_exact(co, &a, my->text, 6));
    if (my->n != 6 || memcmp(my->text, "answer", 6) != 0)
        CORO_FAIL(-EPIPE);
CORO_FINALLY:
    (void)coro_close(&a);
    CORO_END(0);
}

struct meeting {
    CORO_FRAME;
    coro_group g;
    char text[8];
    size_t n;
};

CORO(meeting)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&listener, &server));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, client);
    CORO_TRY(coro_accept(co, &listener, &b));
    CORO_TRY(my->n, coro_read_exact(co, &b, my->text, 8));
    if (my->n != 8)
        CORO_FAIL(-EPIPE);
    CORO_TRY(coro_write(co, &b, "answer", 6));
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    (void)coro_close(&b);
    (void)coro_close(&listener);
    CORO_END(1);
}

SCENARIO(meeting)

/* ---- foreign descriptors --------------------------------------------------------------------- */

static int raw[2];

static void say_really(int number)
{
    CHECK_EQ((write)(number, "x", 1), 1); /* not ours */
}

struct says {
    CORO_FRAME;
    int rc;
};

CORO(says)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(my->rc, coro_wait_fd(co, raw[1], POLLOUT));
    CHECK_EQ(my->rc, POLLOUT);
    say_really(raw[1]);
    CORO_END(0);
}

/* One that comes, one that has come already, one that does not come. */
struct watching {
    CORO_FRAME;
    coro_group g;
    int rc;
};

CORO(watching)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, says);
    CORO_TRY(my->rc, coro_wait_fd(co, raw[0], POLLIN));
    CHECK_EQ(my->rc, POLLIN);
    CORO_TRY(my->rc, coro_wait_fd(co, raw[0], POLLIN | POLLOUT));
    CHECK_EQ(my->rc, POLLIN | POLLOUT);
    CORO_AWAIT(my->rc, coro_within(co, CORO_US(50), coro_wait_fd(co, raw[1], POLLIN)));
    if (my->rc != -ETIMEDOUT)
        CORO_FAIL(my->rc);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(2);
}

SCENARIO(watching)

/* ---- parts: vectors, and descriptors of ours that are adopted -------------------------------- */

struct parts {
    CORO_FRAME;
    coro_fd in, out;
    struct iovec v[2];
    char text[8];
    size_t n, moved;
    int rc;
};

/* Through a socket and through a pipe, the end of which goes away then. */
CORO(parts)
{
    CORO_BEGIN();
    CORO_TRY(coro_fd_adopt(&my->in, dup(raw[0])));
    CORO_TRY(coro_fd_adopt(&my->out, dup(raw[1])));
    for (;;) {
        CORO_TRY(coro_wait_writable(co, &my->out));
        for (my->moved = 0; my->moved < 8; my->moved += my->n) {
            my->v[0].iov_base = &load[my->moved];
            my->v[1].iov_base = &load[my->moved + (8 - my->moved) / 2];
            my->v[0].iov_len = (8 - my->moved) / 2;
            my->v[1].iov_len = 8 - my->moved - my->v[0].iov_len;
            CORO_TRY(my->n, coro_writev(co, &my->out, my->v, 2));
        }
        CORO_TRY(coro_wait_readable(co, &my->in));
        for (my->moved = 0; my->moved < 8; my->moved += my->n) {
            my->v[0].iov_base = &my->text[my->moved];
            my->v[0].iov_len = 8 - my->moved;
            CORO_TRY(my->n, coro_readv(co, &my->in, my->v, 1));
        }
        CHECK_EQ(memcmp(my->text, load, 8), 0);
        if (coro_fd_number(&in) < 0)
            break;
        CORO_TRY(coro_close(&my->in));
        CORO_TRY(coro_close(&my->out));
        CORO_TRY(coro_fd_adopt(&my->in, coro_fd_release(&in)));
        CORO_TRY(coro_fd_adopt(&my->out, coro_fd_release(&out)));
    }
    CORO_TRY(coro_close(&my->in));
    CORO_AWAIT(my->rc, coro_write_some(co, &my->out, load, 1));
    if (my->rc != -EPIPE)
        CORO_FAIL(my->rc);
CORO_FINALLY:
    (void)coro_close(&my->in);
    (void)coro_close(&my->out);
    CORO_END(8);
}

SCENARIO(parts)

/* ---- lines: a server with streams ------------------------------------------------------------ */

struct answers {
    CORO_FRAME;
    coro_fd conn;
    coro_stream s;
    coro_slice line;
    bool got;
    char in[32], out[32];
};

CORO(answers)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            break;
        CORO_TRY(coro_stream_printf(co, &my->s, "<%.*s>\n", (int)my->line.len, my->line.data));
    }
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    (void)coro_close(&my->conn);
    CORO_END(0);
}

struct serving {
    CORO_FRAME;
    coro_server server;
};

CORO(serving)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &my->server, &listener, conn, answers));
    CORO_END(0);
}

struct lines {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(serving) t;
    coro_stream s;
    coro_slice line;
    int n, got;
    char in[32], out[32], want[24], more[24];
};

/* The last answer is longer than the buffer has room for. */
CORO(lines)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen_shared(&listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&listener, &server));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, serving, .server = {.limit = 2, .drain = CORO_S(1)});
    CORO_TRY(coro_connect_to(co, &a, &server));
    CORO_TRY(coro_stream_open(&my->s, &a, my->in, sizeof my->in, my->out, sizeof my->out));
    for (my->n = 0; my->n < 5; my->n++)
        CORO_TRY(coro_stream_printf(co, &my->s, "line %*d\n", 3 * my->n, my->n));
    CORO_TRY(coro_stream_flush(co, &my->s));
    for (my->n = 0; my->n < 5; my->n++) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            break;
        snprintf(my->want, sizeof my->want, "<line %*d>", 3 * my->n, my->n);
        CHECK_EQ(my->line.len, strlen(my->want));
        CHECK_EQ(memcmp(my->line.data, my->want, my->line.len), 0);
    }
    CORO_TRY(coro_shutdown(&a, CORO_OUT));
    CORO_TRY(my->got, coro_stream_read(co, &my->s, my->more, sizeof my->more));
    if (my->got != 0)
        CORO_FAIL(-EPIPE);
    (void)coro_server_stop(&my->t.frame.server);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    (void)coro_close(&a);
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    (void)coro_close(&listener);
    CORO_END(my->n);
}

SCENARIO(lines)

/* ---- dialling -------------------------------------------------------------------------------- */

static coro_address closed;

/* A port that is closed, and one that is open. */
static coro_op look_up(coro_task *co, const char *host, const char *port, coro_address *to, int max)
{
    (void)host;
    (void)port;
    CHECK(max >= 2);
    to[0] = closed;
    to[1] = server;
    return coro_done(co, 2);
}

/* A port that is nobody else's, and at which nobody listens. */
static int taken_port(void)
{
    int number, call = faults->call;
    faults->call = 0; /* meanwhile nothing fails */
    number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(coro_address_parse(&closed, "127.0.0.1:0"), 0);
    CHECK_EQ(bind(number, &closed.any, closed.length), 0);
    CHECK_EQ(getsockname(number, &closed.any, &closed.length), 0);
    faults->call = call;
    return number;
}

struct dialling {
    CORO_FRAME;
    coro_dial dial;
    coro_fd taken;
};

CORO(dialling)
{
    CORO_BEGIN();
    CORO_TRY(coro_fd_adopt(&my->taken, taken_port()));
    CORO_TRY(coro_listen(&listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&listener, &server));
    my->dial.resolve = look_up;
    CORO_TRY(coro_dial(co, &my->dial, &a, "our.host:80"));
    CORO_TRY(coro_accept(co, &listener, &b));
    CORO_TRY(coro_fd_peer(&b, &closed));
CORO_FINALLY:
    (void)coro_close(&a);
    (void)coro_close(&b);
    (void)coro_close(&listener);
    (void)coro_close(&my->taken);
    CORO_END(1);
}

SCENARIO(dialling)

/* ---- datagrams ------------------------------------------------------------------------------- */

struct datagrams {
    CORO_FRAME;
    coro_group g;
    coro_datagram d;
    char text[8];
    int i;
};

struct sends_three {
    CORO_FRAME;
    coro_datagram d;
    int i;
};

CORO(sends_three)
{
    CORO_BEGIN();
    my->d.peer = server;
    for (my->i = 0; my->i < 3; my->i++) {
        my->d.data = load;
        my->d.size = (size_t)my->i + 1;
        CORO_TRY(coro_send_to(co, &a, &my->d));
    }
    CORO_END(0);
}

CORO(datagrams)
{
    CORO_BEGIN();
    CORO_TRY(coro_udp_open(&a, "127.0.0.1:0"));
    CORO_TRY(coro_udp_open(&b, "127.0.0.1:0"));
    CORO_TRY(coro_udp_join(&b, "239.255.77.77", 1));
    CORO_TRY(coro_fd_local(&b, &server));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sends_three);
    for (my->i = 0; my->i < 3; my->i++) {
        my->d.data = my->text;
        my->d.size = sizeof my->text;
        CORO_TRY(coro_recv_from(co, &b, &my->d));
        CHECK_EQ(memcmp(my->text, load, (size_t)my->i + 1), 0);
    }
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    (void)coro_close(&a);
    (void)coro_close(&b);
    CORO_END(3);
}

SCENARIO(datagrams)

/* ---- a path that nobody listens at any more -------------------------------------------------- */

static char path[64];

/* What a server leaves that was killed. */
static void leave_a_path(void)
{
    coro_address at;
    int number, call = faults->call;
    faults->call = 0; /* meanwhile nothing fails */
    (void)unlink(path + 5);
    number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(coro_address_parse(&at, path), 0);
    CHECK_EQ(bind(number, &at.any, at.length), 0);
    CHECK_EQ(close(number), 0);
    faults->call = call;
}

struct stale {
    CORO_FRAME;
    coro_fd old;
    char text[4];
    int i;
};

CORO(stale)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 2; my->i++) {
        leave_a_path();
        CORO_TRY(coro_listen(&listener, path, 0));
        CORO_TRY(coro_connect(co, &a, path));
        CORO_TRY(coro_accept(co, &listener, &b));
        CORO_TRY(coro_write(co, &a, "abc", 3));
        CORO_TRY(coro_read_exact(co, &b, my->text, 3));
        CHECK_EQ(memcmp(my->text, "abc", 3), 0);
        CORO_TRY(coro_close(&a));
        CORO_TRY(coro_close(&b));
        CORO_TRY(coro_close(&listener));
    }
CORO_FINALLY:
    (void)coro_close(&a);
    (void)coro_close(&b);
    (void)coro_close(&listener);
    CORO_END(4);
}

SCENARIO(stale)

/* ---- threads: jobs, names, files ------------------------------------------------------------- */

static intptr_t twice(coro_job *job, void *arg)
{
    (void)job;
    return 2 * *(const int *)arg;
}

typedef CORO_MAILBOX(int, 3) ints;

static ints box;

struct jobs {
    CORO_FRAME;
    coro_threads threads;
    coro_threads_options options;
    coro_address found[4];
    int number, rc;
    void *arg;
};

CORO(jobs)
{
    CORO_BEGIN();
    my->number = 21;
    my->arg = &my->number;
    my->options.stack = 1 << 18;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    CORO_TRY(my->rc, coro_blocking(co, twice, my->arg));
    CHECK_EQ(my->rc, 42);
    CORO_TRY(coro_threads_init(&my->threads, &my->options));
    CORO_TRY(my->rc, coro_blocking_on(co, &my->threads, twice, my->arg));
    CHECK_EQ(my->rc, 42);
    CORO_TRY(my->rc, coro_blocking_abandon(co, &my->threads, twice, &my->arg, NULL));
    CHECK_EQ(my->rc, 42);
    CORO_TRY(my->rc, coro_resolve(co, "localhost", "80", my->found, 4));
    CHECK(my->rc > 0);
    CHECK_EQ(coro_address_port(&my->found[0]), 80);
    CORO_TRY(my->rc, coro_resolve(co, "localhost", NULL, my->found, 1));
    CHECK_EQ(my->rc, 1);
    CORO_TRY(coro_mailbox_init(&box));
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_mailbox_get(co, &box, &my->number)));
    CHECK(my->rc == -ETIMEDOUT || my->rc == -ENOMEM);
CORO_FINALLY:
    CHECK_EQ(coro_threads_fini(&my->threads), 0);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    CORO_END(1);
}

SCENARIO(jobs)

struct filing {
    CORO_FRAME;
    coro_file f;
    struct stat st;
    char text[16];
    int n;
};

CORO(filing)
{
    CORO_BEGIN();
    CORO_TRY(coro_file_open(co, &my->f, path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    CORO_TRY(my->n, coro_file_write(co, &my->f, "0123456789", 10, 2));
    CHECK_EQ(my->n, 10);
    CORO_TRY(coro_file_sync(co, &my->f));
    CORO_TRY(coro_file_stat(co, &my->f, &my->st));
    CHECK_EQ(my->st.st_size, 12);
    CORO_TRY(my->n, coro_file_read(co, &my->f, my->text, 16, 4));
    CHECK_EQ(memcmp(my->text, "23456789", (size_t)my->n), 0);
    CORO_TRY(coro_file_close(&my->f));
CORO_FINALLY:
    (void)coro_file_close(&my->f);
    CORO_END(my->n);
}

SCENARIO(filing)

/* ---- two loops and a mailbox ----------------------------------------------------------------- */

static int sides;

struct side {
    CORO_FRAME;
    coro_scope limit;
    int i, item, got;
};

/* One puts, the other one takes. */
CORO(side)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, NEVER);
    if (__atomic_fetch_add(&sides, 1, __ATOMIC_SEQ_CST) == 0) {
        for (my->i = 0; my->i < 20; my->i++)
            CORO_TRY(coro_mailbox_put(co, &box, &my->i));
    } else {
        for (my->i = 0; my->i < 20; my->i++) {
            CORO_TRY(my->got, coro_mailbox_get(co, &box, &my->item));
            if (!my->got)
                CORO_FAIL(-EPIPE);
            CHECK_EQ(my->item, my->i);
        }
    }
CORO_FINALLY:
    CORO_END(coro_scope_close(co, &my->limit, 0));
}

static int run_mail(const coro_options *o)
{
    int rc = coro_mailbox_init(&box);
    (void)o;
    if (rc < 0)
        return rc;
    sides = 0;
    rc = coro_run_threads(2, side);
    coro_mailbox_close(&box);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    return rc;
}

/* ---- a call from another thread -------------------------------------------------------------- */

static coro_portal portal;

struct visitor {
    CORO_FRAME;
};

CORO(visitor)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_US(50)));
    CORO_END(9);
}

static intptr_t visit(coro_job *job, void *arg)
{
    (void)job;
    (void)arg;
    return coro_portal_call(&portal, NEVER, visitor);
}

struct visited {
    CORO_FRAME;
    int rc;
};

CORO(visited)
{
    CORO_BEGIN();
    CORO_TRY(coro_portal_open(co, &portal));
    CORO_TRY(my->rc, coro_blocking(co, visit, NULL));
    CORO_END(my->rc);
}

SCENARIO(visited)

static int run_portal(const coro_options *o)
{
    int rc = run_visited(o);
    CHECK_EQ(coro_portal_fini(&portal), 0);
    return rc;
}

/* ---- signals --------------------------------------------------------------------------------- */

struct raises {
    CORO_FRAME;
};

CORO(raises)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_US(50)));
    CHECK_EQ(raise(SIGUSR2), 0);
    CORO_END(0);
}

struct hearing {
    CORO_FRAME;
    coro_group g;
    coro_signals s, t;
    int rc;
};

/* Two watchers: what the second one does not take is not raised anew, the first one has it. */
CORO(hearing)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1, SIGUSR2));
    CORO_TRY(coro_signals_open(co, &my->t, SIGUSR2, SIGWINCH));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, raises);
    CORO_TRY(my->rc, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->rc, SIGUSR2);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_signals_close(&my->s), 0);
    CHECK_EQ(coro_signals_close(&my->t), 0);
    CORO_END(8);
}

SCENARIO(hearing)

static int run_signals(const coro_options *o)
{
    struct sigaction now;
    int rc = run_hearing(o);
    CHECK_EQ(sigaction(SIGUSR2, NULL, &now), 0); /* as before */
    CHECK(now.sa_handler == SIG_DFL);
    return rc;
}

/* ---- a guest in a foreign loop --------------------------------------------------------------- */

/* ---- a guest in a foreign loop --------------------------------------------------------------- */

#if CORO_IO_BACKEND != CORO_IO_POLL /* which has no descriptor for a host */

/* The host takes no notice of what its own poll comes to. */
static int run_guest(const coro_options *o)
{
    static CORO_TASK(echo_run) t;
    struct pollfd p = {-1, POLLIN, 0};
    coro_loop loop;
    int rc = coro_loop_init(&loop, o);
    memset(&t, 0, sizeof t);
    if (rc < 0)
        return rc;
    p.fd = rc = coro_loop_fd(&loop);
    if (rc < 0) {
        CHECK_EQ(coro_loop_fini(&loop), 0);
        return rc;
    }
    coro_start(&loop.root, &t, echo_run);
    while (coro_loop_step(&loop)) {
        coro_time d = coro_loop_deadline(&loop) - coro_loop_now(&loop);
        (void)poll(&p, 1, d > 0 ? (int)(d / CORO_MS(1)) + 1 : 0); /* NEVER is not too long */
    }
    rc = coro_loop_fini(&loop);
    return rc < 0 ? rc : coro_task_result(&t);
}

#endif /* CORO_IO_BACKEND != CORO_IO_POLL */

/* ---- other programs -------------------------------------------------------------------------- */

struct child {
    CORO_FRAME;
    struct coro_process_task run;
    coro_command command;
    coro_output out;
    char text[16];
    int status;
};

static const char *const cat[] = {"cat", NULL};

CORO(child)
{
    CORO_BEGIN();
    my->out.data = my->text;
    my->out.size = sizeof my->text;
    my->command.argv = cat;
    my->command.dir = "/";
    my->command.input = "what it reads";
    my->command.input_size = 13;
    my->command.out = &my->out;
    my->command.stderr_ = 1; /* ours, which is in the way of its own */
    CORO_TRY(my->status, coro_process_run(co, &my->run, &my->command));
    if (my->status != 0 || my->out.length != 13)
        CORO_FAIL(-EPIPE);
    CHECK_EQ(memcmp(my->text, "what it reads", 13), 0);
    CORO_END(5);
}

SCENARIO(child)

struct stopped {
    CORO_FRAME;
    struct coro_process_task run;
    coro_scope limit;
    coro_command command;
    int status;
};

/* It reads from a terminal that is none, a pipe that is never written to. */
CORO(stopped)
{
    CORO_BEGIN();
    my->command.argv = cat;
    my->command.stdin_ = raw[0];
    my->command.stdout_ = CORO_NULL;
    my->command.grace = CORO_S(10);
    CORO_AWAIT(my->status, coro_call_within(co, &my->limit, CORO_MS(1), &my->run,
                                            coro_process_task, .command = my->command));
    if (my->status != -ETIMEDOUT)
        CORO_FAIL(my->status);
    CORO_END(6);
}

SCENARIO(stopped)

/* ---- running -------------------------------------------------------------------------------- */

static size_t balance;

static void *take(void *arg, size_t size)
{
    void *memory = malloc(size);
    (void)arg;
    balance += memory ? size : 0;
    return memory;
}

static void give(void *arg, void *memory, size_t size)
{
    (void)arg;
    balance -= size;
    free(memory);
}

/* What it is that fails. */
struct trouble {
    const char *call;
    int error, at;
    bool unseen;
};

struct scenario {
    int (*run)(const coro_options *o);
    int want;
    bool pairs;  /* it is given a, b, in, out */
    int also[6]; /* what failures may become */
};

static void set_up(bool pairs)
{
    if (pairs) {
        both(&a, &b);
        pipe_of(&in, &out);
        memset(back, 0, sizeof back);
    }
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw), 0);
    file = memfd_create("load", MFD_CLOEXEC);
    CHECK_EQ(write(file, load, LOAD), LOAD);
}

static void clear(void)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(coro_close(&in), 0);
    CHECK_EQ(coro_close(&out), 0);
    CHECK_EQ(close(raw[0]), 0);
    CHECK_EQ(close(raw[1]), 0);
    CHECK_EQ(close(file), 0);
}

/* No thread, though one that was joined may go on for a moment; and no child, not even a zombie. */
static void check_alone(void)
{
    static int usual; /* a sanitizer has one of its own */
    usual = usual ? usual : open_threads();
    while (open_threads() > usual)
        sched_yield();
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

/* The names' errors are not the system's. */
static int as_result(const struct trouble *t)
{
    static const int names[][2] = {
        {EAI_AGAIN, -EAGAIN}, {EAI_MEMORY, -ENOMEM}, {EAI_FAMILY, -EAFNOSUPPORT},
        {EAI_SERVICE, -EINVAL}, {EAI_BADFLAGS, -EINVAL}, {EAI_SOCKTYPE, -EINVAL},
        {EAI_SYSTEM, -EMFILE}, {EAI_FAIL, -EIO},
    };
    if (!t->call || strcmp(t->call, "getaddrinfo") != 0)
        return -t->error;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i][0] == t->error)
            return names[i][1];
    return -ENOENT;
}

static const char *name_of(const struct trouble *t)
{
    return t->call ? t->call : "memory";
}

static void check_result(const struct scenario *s, const struct trouble *t, bool struck, int rc)
{
    bool right = rc == s->want;
    if (struck && !t->unseen) {
        right = right || rc == as_result(t) || rc == -EPIPE || rc == -ECONNRESET;
        right = right || (rc >= 0 && rc < s->want); /* the other side has failed: an early end */
        for (size_t i = 0; i < sizeof s->also / sizeof *s->also; i++)
            right = right || (s->also[i] && rc == -s->also[i]);
    }
    if (struck && t->call && (strstr(t->call, "_mutex_") || strstr(t->call, "_cond")))
        right = right && rc != s->want; /* without a lock nothing goes on */
    if (!right || faults_ahead > NEVER / 2)
        TEST_FAIL("call %d of %s, error %d (%s): %d instead of %d%s", t->at, name_of(t), t->error,
                  t->error == FAULT_SHORT ? "short" : strerror(t->error), rc, s->want,
                  faults_ahead > NEVER / 2 ? ": it hangs" : "");
}

/* The loop's memory: where it is less than what is needed, the size of it is `at`. */
static void set_memory(coro_options *options, const struct trouble *t)
{
    memset(options, 0, sizeof *options);
    if (t->error == ENOMEM && !t->call) {
        options->arena_size = (size_t)t->at;
        options->arena = malloc(options->arena_size);
        CHECK(options->arena != NULL);
        return;
    }
    options->allocator.alloc = take;
    options->allocator.free = give;
}

/* Did it come to that? */
static bool run_once(const struct scenario *s, const struct trouble *t)
{
    coro_options options;
    int rc, before = open_descriptors();
    bool struck;
    set_memory(&options, t);
    set_up(s->pairs);
    if (getenv("SWEEP"))
        fprintf(stderr, "error %d at call %d of %s\n", t->error, t->at, name_of(t));
    faults_arm(t->call, t->error, t->at);
    rc = s->run(&options);
    struck = faults_disarm();
    if (options.arena)
        struck = rc != s->want;
    check_result(s, t, struck, rc);
    CHECK_EQ(balance, 0);
    free(options.arena);
    clear();
    CHECK_EQ(open_descriptors(), before);
    check_alone();
    return struck;
}

/* Each error of a list, at each place; what nobody sees, three times out of four, too. */
static int each_error(const struct scenario *s, const char *call, const int *errors, bool unseen)
{
    int struck = 0;
    for (; *errors; errors++) {
        struct trouble t = {call, *errors, 1, unseen};
        for (; run_once(s, &t); t.at++)
            struck++;
        if (unseen && t.at > 1) {
            t.at = 0;
            CHECK(run_once(s, &t));
        }
    }
    return struck;
}

/* With any amount of memory that is too little: requests fail that are met from larger pieces, too.
 * Until it is enough several times over: it may be by chance. */
static void each_memory(const struct scenario *s)
{
    struct trouble t = {NULL, ENOMEM, 64, false};
    for (int enough = 0; enough < 8 && t.at < 1 << 16; t.at += 64)
        enough = run_once(s, &t) ? 0 : enough + 1;
    CHECK(t.at > 512 && t.at < 1 << 16);
}

static void all_faults(const struct scenario *s)
{
    static int used[FAULTS_CALLS];
    struct trouble none = {NULL, 0, 0, true};
    int struck = 0;
    for (int i = 0; i < LOAD; i++)
        load[i] = (char)(i % 251);
    (void)run_once(s, &none);
    memcpy(used, faults->calls, sizeof used);
    for (int i = 0; i < FAULTS_CALLS; i++) {
        if (!used[i])
            continue;
        struck += each_error(s, faults_calls[i].name, faults_calls[i].unseen, true);
        struck += each_error(s, faults_calls[i].name, faults_calls[i].told, false);
    }
    CHECK(struck > 5);
    each_memory(s);
}

TEST(an_echo_bears_every_fault)
{
    static const struct scenario s = {run_echo, LOAD, true, {0}};
    all_faults(&s);
}

TEST(vectors_bear_every_fault)
{
    static const struct scenario s = {run_parts, 8, true, {0}};
    all_faults(&s);
}

TEST(sending_files_bears_every_fault)
{
    static const struct scenario s = {run_sending, LOAD, true, {0}};
    all_faults(&s);
}

TEST(sending_descriptors_bears_every_fault) /* I16, I41 */
{
    static const struct scenario s = {run_moving, 7, true, {0}};
    all_faults(&s);
}

#if CORO_IO_BACKEND != CORO_IO_POLL /* which has no descriptor for a host */
TEST(a_guest_bears_every_fault)
{
    static const struct scenario s = {run_guest, LOAD, true, {0}};
    all_faults(&s);
}
#endif /* CORO_IO_BACKEND != CORO_IO_POLL */

TEST(calls_from_other_threads_bear_every_fault) /* X13 */
{
    static const struct scenario s = {run_portal, 9, false, {ENOMEM}};
    all_faults(&s);
}

TEST(watching_signals_bears_every_fault)
{
    static const struct scenario s = {run_signals, 8, false, {0}};
    all_faults(&s);
}

TEST(connecting_and_accepting_bear_every_fault) /* I31, I37, I39, I40 */
{
    static const struct scenario s = {run_meeting, 1, false, {0}};
    all_faults(&s);
}

TEST(waiting_for_foreign_descriptors_bears_every_fault)
{
    static const struct scenario s = {run_watching, 2, false, {0}};
    all_faults(&s);
}

TEST(a_server_with_streams_bears_every_fault)
{
    static const struct scenario s = {run_lines, 5, false, {ENOTCONN}};
    all_faults(&s);
}

TEST(dialling_bears_every_fault)
{
    static const struct scenario s = {run_dialling, 1, false, {ECONNREFUSED}};
    all_faults(&s);
}

TEST(datagrams_bear_every_fault)
{
    static const struct scenario s = {run_datagrams, 3, false, {0}};
    all_faults(&s);
}

TEST(taking_a_stale_path_bears_every_fault) /* I45 */
{
    static const struct scenario s = {run_stale, 4, false, {EADDRINUSE}};
    snprintf(path, sizeof path, "unix:/tmp/coro-faults-%d.sock", (int)getpid());
    all_faults(&s);
    (void)unlink(path + 5); /* there, if its removal failed at last */
}

TEST(jobs_bear_every_fault)
{
    static const struct scenario s = {run_jobs, 1, false, {ENOMEM}};
    need_localhost();
    all_faults(&s);
}

TEST(files_bear_every_fault)
{
    static const struct scenario s = {run_filing, 8, false, {ENOMEM}};
    snprintf(path, sizeof path, "/tmp/coro-faults-%d", (int)getpid());
    all_faults(&s);
    CHECK_EQ(unlink(path), 0);
}

TEST(loops_on_several_threads_bear_every_fault)
{
    static const struct scenario s = {run_mail, 0, false, {0}};
    all_faults(&s);
}

TEST(other_programs_bear_every_fault) /* I66, I70 */
{
    static const struct scenario s = {run_child, 5, false, {0}};
    all_faults(&s);
}

TEST(ending_other_programs_bears_every_fault) /* I69, I70 */
{
    static const struct scenario s = {run_stopped, 6, false, {0}};
    all_faults(&s);
}

/* ---- a clock of milliseconds ----------------------------------------------------------------- */

static intptr_t takes_a_while(coro_job *job, void *arg)
{
    struct timespec moment = {0, 2000000};
    (void)job;
    (void)arg;
    return nanosleep(&moment, NULL);
}

struct patient {
    CORO_FRAME;
    int rc;
};

/* Two months are more than an int of milliseconds. */
CORO(patient)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_within(co, CORO_S(5000000), coro_blocking(co, takes_a_while, NULL)));
    CORO_END(my->rc);
}

TEST(a_deadline_in_months_is_no_deadline_now)
{
    faults_arm("epoll_pwait2", ENOSYS, 1);
    CHECK_EQ(coro_run(patient), 0);
    (void)faults_disarm();
}
