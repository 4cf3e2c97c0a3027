/* test_net.c -- addresses, listening, accepting, connecting, datagrams. (I07, I37 to I51) */
#include "io.h"

#include <sys/resource.h>

static coro_fd listener, a, b;

/* ---- addresses ------------------------------------------------------------------------------ */

TEST(addresses_are_read_and_printed)
{
    static const char *const same[] = {"127.0.0.1:80",  "0.0.0.0:0",         "[::1]:65535",
                                       "[fe80::1]:443", "unix:/tmp/a socket", "[::]:1"};
    char text[128];
    coro_address at;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        CHECK_EQ(coro_address_parse(&at, same[i]), 0);
        CHECK_STR(coro_address_print(&at, text, sizeof text), same[i]);
    }
    CHECK_EQ(coro_address_port(&at), 1);
    CHECK_EQ(coro_address_parse(&at, ":8080"), 0);
    CHECK_STR(coro_address_print(&at, text, sizeof text), "0.0.0.0:8080");
    CHECK_EQ(coro_address_port(&at), 8080);
    CHECK_STR(coro_address_print(&at, text, 8), "0.0.0.0");
    CHECK_EQ(coro_address_parse(&at, "unix:/x"), 0);
    CHECK_EQ(coro_address_port(&at), 0);
    memset(&at, 0, sizeof at);
    CHECK_STR(coro_address_print(&at, text, sizeof text), "-");
    at.length = 2; /* unnamed, and what was there before */
    at.local.sun_family = AF_UNIX;
    memset(at.local.sun_path, 'x', sizeof at.local.sun_path);
    CHECK_STR(coro_address_print(&at, text, sizeof text), "unix:");
    at.length = sizeof at.local; /* full: no zero at its end */
    CHECK_EQ(strlen(coro_address_print(&at, text, sizeof text)), 5 + sizeof at.local.sun_path);
}

TEST(what_is_no_address_is_refused)
{
    static const char *const bad[] = {
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "localhost:80", "::1:80",
        "[::1]", "[::1:80", "[]:80", "1.2.3.4:8x", "unix:", "1.2.3:80", "[1.2.3.4]:80",
        "1.2.3.4:000080"};
    char path[200] = "unix:/";
    coro_address at;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (coro_address_parse(&at, bad[i]) != -EINVAL)
            TEST_FAIL("taken for an address: %s", bad[i]);
    memset(path + 6, 'p', 150);
    CHECK_EQ(coro_address_parse(&at, path), -EINVAL);
    memset(path, '1', 150);
    memcpy(path + 150, ":80", 4);
    CHECK_EQ(coro_address_parse(&at, path), -EINVAL);
    CHECK_EQ(coro_listen(&listener, "nowhere", 0), -EINVAL);
    CHECK_EQ(coro_udp_open(&listener, "nowhere"), -EINVAL);
    CHECK_EQ(coro_fd_local(&listener, &at), -EBADF);
    CHECK_EQ(coro_fd_peer(&listener, &at), -EBADF);
    CHECK_EQ(coro_udp_join(&listener, "239.1.2.3", 0), -EBADF);
    CHECK_EQ(coro_fd_number(&listener), -1);
}

/* ---- helpers -------------------------------------------------------------------------------- */

static char where[64];

/* Where a handle listens: to be connected to. */
static const char *at_of(const coro_fd *h)
{
    coro_address at;
    CHECK_EQ(coro_fd_local(h, &at), 0);
    return coro_address_print(&at, where, sizeof where);
}

struct accepts {
    CORO_FRAME;
    coro_fd *from, *conn;
    int rc;
};

CORO(accepts)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_accept(co, my->from, my->conn));
    CORO_END(my->rc);
}

struct connects {
    CORO_FRAME;
    coro_fd *h;
    const char *to;
    int rc;
};

CORO(connects)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_connect(co, my->h, my->to));
    CORO_END(my->rc);
}

/* a is connected to b. */
static void connected(const char *address)
{
    static CORO_TASK(accepts) t;
    static CORO_TASK(connects) u;
    memset(&t, 0, sizeof t);
    memset(&u, 0, sizeof u);
    CHECK_EQ(coro_listen(&listener, address, 0), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &listener, .conn = &b);
    coro_start(&io_loop.root, &u, connects, .h = &a, .to = at_of(&listener));
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK_EQ(coro_task_result(&u), 0);
    CHECK_EQ(coro_close(&listener), 0);
}

static void done(void)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(coro_close(&listener), 0);
}

static bool has_ipv6(void)
{
    bool has = coro_listen(&listener, "[::1]:0", 0) == 0;
    CHECK_EQ(coro_close(&listener), 0);
    return has;
}

static const char *a_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "unix:/tmp/coro-test-%d.sock", (int)getpid());
    return path;
}

/* ---- streams -------------------------------------------------------------------------------- */

static int option(const coro_fd *h, int level, int name)
{
    int value = 0;
    socklen_t size = sizeof value;
    CHECK_EQ(getsockopt(coro_fd_number(h), level, name, &value, &size), 0);
    return value;
}

static void check_flags(const coro_fd *h)
{
    CHECK(!is_blocking(coro_fd_number(h)));
    CHECK_EQ(fcntl(coro_fd_number(h), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void talk(const char *address)
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u;
    coro_address here, there;
    char x[128], y[128];
    memset(&t, 0, sizeof t);
    memset(&u, 0, sizeof u);
    connected(address);
    check_flags(&a);
    check_flags(&b);
    CHECK_EQ(coro_fd_local(&b, &here), 0);
    CHECK_EQ(coro_fd_peer(&a, &there), 0);
    CHECK_STR(coro_address_print(&here, x, sizeof x), coro_address_print(&there, y, sizeof y));
    if (here.any.sa_family != AF_UNIX) {
        CHECK(option(&a, IPPROTO_TCP, TCP_NODELAY) != 0);
        CHECK(option(&b, IPPROTO_TCP, TCP_NODELAY) != 0);
    }
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &b);
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = "hello", .n = 5);
    finish();
    CHECK_EQ(coro_task_result(&t), 5);
    done();
}

TEST(connections_are_made_over_all_kinds_of_addresses) /* I37 */
{
    talk("127.0.0.1:0");
    talk(":0");
    if (has_ipv6())
        talk("[::1]:0");
    talk(a_path());
    CHECK_EQ(access(a_path() + 5, F_OK), -1);
}

TEST(a_port_can_be_taken_again_at_once) /* I44 */
{
    char again[64];
    connected("127.0.0.1:0");
    snprintf(again, sizeof again, "%s", at_of(&b));
    CHECK_EQ(coro_close(&b), 0); /* its end waits in TIME_WAIT */
    CHECK_EQ(coro_close(&a), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coro_listen(&listener, again, 0), 0);
        CHECK_EQ(coro_listen(&a, again, 0), -EADDRINUSE);
        CHECK_EQ(coro_listen(&listener, again, 0), -EBUSY);
        CHECK_EQ(coro_close(&listener), 0);
    }
    done();
}

/* A socket's path, as a process leaves it that is killed. */
static void leave_path(const char *path)
{
    coro_address at;
    int number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(coro_address_parse(&at, path), 0);
    CHECK_EQ(bind(number, &at.any, at.length), 0);
    CHECK_EQ(close(number), 0);
}

TEST(a_stale_path_is_taken_and_one_in_use_is_not) /* I45 */
{
    const char *path = a_path();
    int file;
    leave_path(path);
    CHECK_EQ(coro_listen(&listener, path, 0), 0);
    CHECK_EQ(coro_listen(&a, path, 0), -EADDRINUSE);
    CHECK_EQ(coro_close(&listener), 0);
    CHECK_EQ(coro_udp_open(&a, path), 0); /* another type listens there */
    CHECK_EQ(coro_listen(&listener, path, 0), -EADDRINUSE);
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(unlink(path + 5), 0);
    file = open(path + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK_EQ(coro_listen(&listener, path, 0), -EADDRINUSE);
    CHECK_EQ(close(file), 0);
    CHECK_EQ(unlink(path + 5), 0); /* no socket: it is still there */
    done();
}

TEST(a_closed_listener_takes_its_path_along_unless_it_is_anothers_now) /* I45 */
{
    const char *path = a_path();
    coro_fd moved;
    int number;
    CHECK_EQ(coro_listen(&listener, path, 0), 0);
    moved = listener;
    CHECK_EQ(coro_close(&moved), 0);
    CHECK_EQ(access(path + 5, F_OK), -1);

    memset(&listener, 0, sizeof listener);
    CHECK_EQ(coro_listen(&listener, path, 0), 0);
    CHECK_EQ(unlink(path + 5), 0); /* gone already */
    CHECK_EQ(coro_close(&listener), 0);

    CHECK_EQ(coro_listen(&listener, path, 0), 0);
    CHECK_EQ(unlink(path + 5), 0);
    CHECK_EQ(coro_listen(&a, path, 0), 0); /* the successor is there already */
    CHECK_EQ(coro_close(&listener), 0);
    CHECK_EQ(access(path + 5, F_OK), 0);
    number = coro_fd_release(&a); /* given away: whose it is now may remove it */
    CHECK_EQ(close(number), 0);
    CHECK_EQ(access(path + 5, F_OK), 0);
    CHECK_EQ(unlink(path + 5), 0);
    done();
}

/* ---- several addresses ----------------------------------------------------------------------- */

struct several {
    CORO_FRAME;
    coro_fd at[3];
};

CORO(several)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->at[0], "127.0.0.1:0", 0));
    CORO_TRY(coro_listen(&my->at[1], a_path(), 0));
    CORO_TRY(coro_listen(&my->at[2], at_of(&my->at[0]), 0)); /* in use */
CORO_FINALLY:
    for (int i = 0; i < 3; i++)
        coro_close(&my->at[i]);
    CORO_END(0);
}

TEST(one_address_that_cannot_be_had_leaves_none_open) /* I48 */
{
    int before = open_descriptors();
    CHECK_EQ(coro_run(several), -EADDRINUSE);
    CHECK_EQ(open_descriptors(), before);
    CHECK_EQ(access(a_path() + 5, F_OK), -1);
}

TEST(a_connection_refused_is_closed) /* I37 */
{
    static CORO_TASK(connects) t, u, v, w;
    int before = open_descriptors();
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    (void)at_of(&listener);
    CHECK_EQ(coro_close(&listener), 0);
    begin();
    coro_start(&io_loop.root, &t, connects, .h = &a, .to = where);
    coro_start(&io_loop.root, &u, connects, .h = &b, .to = a_path());
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -ECONNREFUSED);
    CHECK_EQ(coro_task_result(&u), -ENOENT);
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(coro_fd_number(&b), -1);
    coro_start(&io_loop.root, &v, connects, .h = &a, .to = "no address");
    CHECK_EQ(coro_listen(&b, "127.0.0.1:0", 0), 0);
    coro_start(&io_loop.root, &w, connects, .h = &b, .to = where);
    finish();
    CHECK_EQ(coro_task_result(&v), -EINVAL);
    CHECK_EQ(coro_task_result(&w), -EBUSY);
    done();
    CHECK_EQ(open_descriptors(), before);
}

/* A listener whose queue is full answers nobody: a connection to it stays on its way. */
static void full_listener(coro_fd queued[8], int *n)
{
    coro_address at;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 1), 0);
    CHECK_EQ(coro_fd_local(&listener, &at), 0);
    (void)at_of(&listener);
    for (*n = 0; *n < 8; ++*n) {
        struct pollfd p;
        int number = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(number, &at.any, at.length);
        CHECK_EQ(coro_fd_adopt(&queued[*n], number), 0);
        p.fd = number;
        p.events = POLLOUT;
        if (poll(&p, 1, 5) == 0) {
            ++*n;
            return;
        }
    }
}

struct connects_within {
    CORO_FRAME;
    coro_time d;
    int rc;
};

CORO(connects_within)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->d, coro_connect(co, &a, where)));
    CHECK_EQ(coro_fd_number(&a), -1);
    CORO_END(my->rc);
}

TEST(a_connection_given_up_is_closed) /* I38 */
{
    static CORO_TASK(connects) t, u;
    static CORO_TASK(connects_within) v, w;
    coro_fd queued[8];
    int n, before, without;
    memset(queued, 0, sizeof queued);
    full_listener(queued, &n);
    without = open_descriptors(); /* those of the reactor */
    begin();
    coro_start(&io_loop.root, &w, connects_within, .d = 0);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&w), -ETIMEDOUT);
    before = open_descriptors();
    coro_start(&io_loop.root, &t, connects, .h = &a, .to = where);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(coro_task_cancel(&t), 1);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(open_descriptors(), before);
    coro_start(&io_loop.root, &v, connects_within, .d = CORO_MS(2));
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&v), -ETIMEDOUT);
    coro_start(&io_loop.root, &u, connects, .h = &a, .to = where);
    settle();
    CHECK_EQ(coro_close(&a), 0); /* by another task */
    finish();
    CHECK_EQ(coro_task_result(&u), -EBADF);
    CHECK_EQ(open_descriptors(), without);
    while (n--)
        CHECK_EQ(coro_close(&queued[n]), 0);
    done();
}

TEST(a_connection_given_up_is_closed_also_if_somebody_would_read_from_it) /* I20, I38 */
{
    static CORO_TASK(connects) t;
    static CORO_TASK(reads) u, v;
    coro_fd queued[8];
    int n;
    memset(queued, 0, sizeof queued);
    full_listener(queued, &n);
    begin();
    coro_start(&io_loop.root, &t, connects, .h = &a, .to = where);
    settle();
    CHECK_STR(waits_for(&t.task), "connect");
    coro_start(&io_loop.root, &u, reads, .h = &a);
    coro_start(&io_loop.root, &v, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_result(&v), -EBUSY);
    CHECK_EQ(coro_task_cancel(&u), 1); /* the reader alone */
    settle();
    CHECK_EQ(coro_task_result(&u), -ECANCELED);
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    coro_start(&io_loop.root, &v, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    CHECK_EQ(coro_fd_number(&a), -1);
    finish();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(coro_task_result(&v), -EBADF);
    while (n--)
        CHECK_EQ(coro_close(&queued[n]), 0);
    done();
}

static void reset_by_peer(void)
{
    struct linger now = {1, 0};
    CHECK_EQ(setsockopt(coro_fd_number(&b), SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    CHECK_EQ(coro_close(&b), 0);
}

TEST(a_reset_is_an_error_and_no_end) /* I07 */
{
    static CORO_TASK(reads) t, u;
    static CORO_TASK(writes) v, w;
    static char data[8 << 20];
    connected("127.0.0.1:0");
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    reset_by_peer();
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -ECONNRESET);
    coro_start(&io_loop.root, &v, writes, .h = &a, .from = data, .n = 1);
    finish();
    CHECK_EQ(coro_task_result(&v), -EPIPE);
    done();
    connected("127.0.0.1:0"); /* not registered, and a writer */
    begin();
    coro_start(&io_loop.root, &w, writes, .h = &a, .from = data, .n = sizeof data);
    settle();
    reset_by_peer();
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&w), -ECONNRESET);
    finish();
    done();
    connected("127.0.0.1:0");
    reset_by_peer();
    begin();
    coro_start(&io_loop.root, &u, reads, .h = &a);
    finish();
    CHECK_EQ(coro_task_result(&u), -ECONNRESET);
    done();
}

TEST(urgent_data_does_not_stall_what_follows) /* I33 */
{
    static CORO_TASK(reads) t, u;
    connected("127.0.0.1:0");
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    CHECK_EQ(send(coro_fd_number(&b), "ab", 2, 0), 2);
    CHECK_EQ(send(coro_fd_number(&b), "!", 1, MSG_OOB), 1);
    CHECK_EQ(send(coro_fd_number(&b), "cd", 2, 0), 2);
    CHECK(wakeups() <= 8); /* all has come, and was told */
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_result(&t), 2);
    coro_start(&io_loop.root, &u, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_result(&u), 2);
    finish();
    done();
}

/* ---- accepting ------------------------------------------------------------------------------ */

static int plain_connect(void)
{
    coro_address at;
    int number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(coro_fd_local(&listener, &at), 0);
    CHECK_EQ(connect(number, &at.any, at.length), 0);
    return number;
}

TEST(a_cancelled_accept_loses_no_connection) /* I41 */
{
    static CORO_TASK(accepts) t, u;
    int peer;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &listener, .conn = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    peer = plain_connect();
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(coro_fd_number(&a), -1);
    coro_start(&io_loop.root, &u, accepts, .from = &listener, .conn = &a);
    finish();
    CHECK_EQ(coro_task_result(&u), 0);
    CHECK_EQ(close(peer), 0);
    done();
}

TEST(an_accepted_connection_is_the_results_though_cancelled_after) /* I41, D2 */
{
    static CORO_TASK(accepts) t;
    int peer;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &listener, .conn = &a);
    settle();
    peer = plain_connect();
    coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, 0);
    (void)coro_task_cancel(&t);
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK(coro_fd_number(&a) >= 0);
    CHECK_EQ(close(peer), 0);
    done();
}

TEST(a_closed_listener_wakes_its_acceptor_and_connections_live_on) /* I43 */
{
    static CORO_TASK(accepts) t, u, v;
    static CORO_TASK(reads) w;
    int peer;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &listener, .conn = &a);
    settle();
    coro_start(&io_loop.root, &u, accepts, .from = &listener, .conn = &b);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBUSY);
    peer = plain_connect();
    settle();
    CHECK_EQ(coro_task_result(&t), 0);
    memset(&u, 0, sizeof u);
    coro_start(&io_loop.root, &u, accepts, .from = &listener, .conn = &b);
    coro_start(&io_loop.root, &v, accepts, .from = &listener, .conn = &a);
    coro_start(&io_loop.root, &w, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_result(&v), -EBUSY); /* a is open */
    CHECK_EQ(coro_close(&listener), 0);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBADF);
    say(peer, "on");
    finish();
    CHECK_EQ(coro_task_result(&w), 2);
    CHECK_EQ(close(peer), 0);
    done();
}

TEST(accepting_where_it_cannot_be_done_ends) /* I40 */
{
    static CORO_TASK(accepts) t, u;
    int peer = pair(&b);
    CHECK_EQ(coro_udp_open(&a, "127.0.0.1:0"), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &a, .conn = &listener);
    coro_start(&io_loop.root, &u, accepts, .from = &b, .conn = &listener);
    finish();
    CHECK_EQ(coro_task_result(&t), -EOPNOTSUPP);
    CHECK_EQ(coro_task_result(&u), -EINVAL);
    CHECK_EQ(close(peer), 0);
    done();
}

TEST(without_descriptors_a_connection_waits_in_the_kernel) /* I39 */
{
    static CORO_TASK(accepts) t, u;
    struct rlimit limit, tight;
    int peer;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .from = &listener, .conn = &a);
    settle();
    peer = plain_connect();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = limit;
    tight.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -EMFILE);
    CHECK(wakeups() <= 4); /* nobody spins */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    coro_start(&io_loop.root, &u, accepts, .from = &listener, .conn = &a);
    finish();
    CHECK_EQ(coro_task_result(&u), 0);
    CHECK_EQ(close(peer), 0);
    done();
}

enum { MANY = 50 };

struct crowd {
    CORO_FRAME;
    coro_group g;
    coro_fd out[MANY], in[MANY];
    CORO_TASK(connects) c[MANY];
    int i, rc;
};

/* Nothing is accepted for a while: the others' business goes on. (I42) */
CORO(crowd)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < MANY; my->i++)
        coro_start(&my->g, &my->c[my->i], connects, .h = &my->out[my->i], .to = where);
    for (my->i = 0; my->i < MANY; my->i++) {
        CORO_TRY(coro_accept(co, &listener, &my->in[my->i]));
        CORO_TRY(my->rc, coro_write(co, &my->in[my->i], "x", 1));
    }
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(coro_close(&my->in[i]), 0);
        CHECK_EQ(coro_close(&my->out[i]), 0);
    }
    CORO_END(0);
}

TEST(a_crowd_of_connections_is_accepted) /* I42 */
{
    static CORO_TASK(crowd) t;
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    (void)at_of(&listener);
    begin();
    coro_start(&io_loop.root, &t, crowd);
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    done();
}

/* ---- datagrams ------------------------------------------------------------------------------ */

struct receives {
    CORO_FRAME;
    coro_fd *h;
    coro_datagram d;
    size_t most;
    int rc;
    char text[64];
};

CORO(receives)
{
    CORO_BEGIN();
    my->d.data = my->text;
    my->d.size = my->most ? my->most : sizeof my->text;
    CORO_TRY(my->rc, coro_recv_from(co, my->h, &my->d));
    CORO_END(my->rc);
}

struct sends {
    CORO_FRAME;
    coro_fd *h;
    const char *text;
    size_t n;
    coro_address to;
    coro_datagram d;
    int rc;
};

CORO(sends)
{
    CORO_BEGIN();
    my->d.data = (void *)(uintptr_t)my->text;
    my->d.size = my->n;
    my->d.peer = my->to;
    CORO_TRY(my->rc, coro_send_to(co, my->h, &my->d));
    CORO_END(my->rc);
}

static int received(size_t most, coro_datagram *d)
{
    static CORO_TASK(receives) t;
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, receives, .h = &b, .most = most);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    *d = t.frame.d;
    return coro_task_result(&t);
}

static int sent(const char *text, size_t n, const coro_address *to)
{
    static CORO_TASK(sends) t;
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, sends, .h = &a, .text = text, .n = n, .to = *to);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    return coro_task_result(&t);
}

TEST(datagrams_keep_order_bounds_and_senders) /* I49, I50 */
{
    static char large[70000];
    coro_address to, from;
    coro_datagram d;
    char x[64], y[64];
    CHECK_EQ(coro_udp_open(&a, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_udp_open(&b, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_udp_open(&b, "127.0.0.1:0"), -EBUSY);
    check_flags(&a);
    CHECK_EQ(coro_fd_local(&a, &from), 0);
    CHECK_EQ(coro_fd_local(&b, &to), 0);
    begin();
    CHECK_EQ(sent("one", 3, &to), 3);
    CHECK_EQ(sent("", 0, &to), 0);
    CHECK_EQ(sent("three", 5, &to), 5);
    CHECK_EQ(sent(large, sizeof large, &to), -EMSGSIZE);
    CHECK_EQ(received(0, &d), 3);
    CHECK(!d.truncated);
    CHECK_STR(coro_address_print(&d.peer, x, sizeof x), coro_address_print(&from, y, sizeof y));
    CHECK_EQ(received(0, &d), 0);
    CHECK_EQ(coro_address_port(&d.peer), coro_address_port(&from));
    CHECK_EQ(received(2, &d), 2);
    CHECK(d.truncated);
    finish();
    done();
}

TEST(a_datagram_is_waited_for_and_a_cancelled_wait_loses_none)
{
    static CORO_TASK(receives) t;
    coro_address to;
    coro_datagram d;
    CHECK_EQ(coro_udp_open(&a, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_udp_open(&b, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_fd_local(&b, &to), 0);
    begin();
    coro_start(&io_loop.root, &t, receives, .h = &b);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(coro_task_cancel(&t), 1);
    CHECK_EQ(sent("kept", 4, &to), 4);
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(received(0, &d), 4);
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, receives, .h = &b);
    settle();
    CHECK_EQ(sent("later", 5, &to), 5);
    CHECK_EQ(coro_task_result(&t), 5);
    finish();
    done();
}

TEST(nobody_there_is_told_once_and_the_socket_goes_on) /* I51 */
{
    static CORO_TASK(receives) t;
    coro_address to, none;
    coro_datagram d;
    memset(&none, 0, sizeof none);
    CHECK_EQ(coro_udp_open(&a, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_udp_open(&b, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_fd_local(&b, &to), 0);
    CHECK_EQ(connect(coro_fd_number(&a), &to.any, to.length), 0);
    CHECK_EQ(coro_close(&b), 0);
    begin();
    CHECK_EQ(sent("lost", 4, &none), 4);
    CHECK_EQ(sent("told", 4, &none), -ECONNREFUSED);
    coro_start(&io_loop.root, &t, receives, .h = &a);
    settle();
    if (coro_task_status(&t) == CORO_RUNNING)
        CHECK_EQ(sent("lost", 4, &none), 4);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), -ECONNREFUSED); /* the reader is woken with it */
    {
        char text[64];
        CHECK_EQ(coro_udp_open(&b, coro_address_print(&to, text, sizeof text)), 0);
    }
    CHECK_EQ(sent("heard", 5, &none), 5);
    CHECK_EQ(received(0, &d), 5);
    finish();
    done();
}

TEST(local_datagrams_wait_for_room_and_have_no_senders_name)
{
    static CORO_TASK(sends) t;
    coro_address to, none;
    coro_datagram d;
    int n = 0, more;
    char text[64];
    memset(&none, 0, sizeof none);
    CHECK_EQ(coro_udp_open(&b, a_path()), 0);
    CHECK_EQ(coro_address_parse(&to, a_path()), 0);
    CHECK_EQ(coro_fd_adopt(&a, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)), 0);
    CHECK_EQ(connect(coro_fd_number(&a), &to.any, to.length), 0);
    while (send(coro_fd_number(&a), "fill", 4, 0) == 4)
        n++;
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .text = "last", .n = 4, .to = none);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    for (more = 0; more < n; more++)
        CHECK_EQ(recv(coro_fd_number(&b), text, sizeof text, MSG_DONTWAIT), 4);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_task_result(&t), 4);
    CHECK_EQ(received(0, &d), 4);
    CHECK_STR(coro_address_print(&d.peer, text, sizeof text), d.peer.length ? "unix:" : "-");
    finish();
    done();
    CHECK_EQ(unlink(a_path() + 5), 0);
}

TEST(a_group_is_joined_and_heard)
{
    coro_address to;
    coro_datagram d;
    struct in_addr here;
    struct ip_mreqn out;
    char text[64];
    int rc;
    CHECK_EQ(coro_udp_open(&a, ":0"), 0);
    CHECK_EQ(coro_udp_open(&b, "239.255.77.77:0"), 0);
    CHECK_EQ(coro_udp_join(&b, "no group", 0), -EINVAL);
    here.s_addr = htonl(INADDR_LOOPBACK);
    errno = EIO; /* of some call before */
    rc = coro_udp_join(&b, "239.255.77.77", 1); /* 1: the loopback interface */
    CHECK(rc != -EIO);
    if (rc == 0) {
        memset(&out, 0, sizeof out);
        out.imr_ifindex = 1;
        out.imr_address = here;
        CHECK_EQ(setsockopt(coro_fd_number(&a), IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out), 0);
        CHECK_EQ(coro_fd_local(&b, &to), 0);
        CHECK_STR(coro_address_print(&to, text, 14), "239.255.77.77");
        begin();
        CHECK_EQ(sent("all", 3, &to), 3);
        CHECK_EQ(received(0, &d), 3);
        finish();
    }
    CHECK_EQ(coro_udp_join(&b, "ff02::77:77", 1) == 0, false); /* not of this family */
    done();
}
