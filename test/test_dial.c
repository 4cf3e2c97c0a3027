/* test_dial.c -- connecting to names: one address after the other, the first connection wins.
 * (I37, I38, I46, I47)
 */
#include "coro_io.h"
#include "test.h"
#include "world.h"

#define RUN_CLEAN(want, ...)                                                                      \
    do {                                                                                          \
        int fds_before = open_descriptors();                                                      \
        CHECK_EQ(coro_run(__VA_ARGS__), want);                                                    \
        CHECK_EQ(open_descriptors(), fds_before);                                                 \
    } while (0)

/* ---- a world of our own: what names there are, who listens ----------------------------------- */

static coro_address book[CORO_DIAL_MOST];
static int book_size;      /* or an error */
static int book_looked_up; /* how often */

static coro_op look_up(coro_task *co, const char *host, const char *port, coro_address *to, int max)
{
    CHECK_STR(host, "our.host");
    CHECK_STR(port, "80");
    CHECK_EQ(max, CORO_DIAL_MOST);
    book_looked_up++;
    for (int i = 0; i < book_size; i++)
        to[i] = book[i];
    return coro_done(co, book_size);
}

struct listeners {
    coro_fd good, other; /* accept */
    coro_fd full;        /* whoever connects waits for ever */
    coro_fd filler[4];
    coro_address good_at, other_at, full_at, closed_at, unix_at, strange_at;
};

static void listen_at(coro_fd *h, coro_address *a, int backlog)
{
    CHECK_EQ(coro_listen(h, "127.0.0.1:0", backlog), 0);
    CHECK_EQ(coro_fd_local(h, a), 0);
}

/* The full one's queue has room for two; who comes then is not answered. */
static void listeners_open(struct listeners *l)
{
    coro_fd none = CORO__ZERO;
    listen_at(&l->good, &l->good_at, 0);
    listen_at(&l->other, &l->other_at, 0);
    listen_at(&l->full, &l->full_at, 1);
    for (int i = 0; i < 4; i++) {
        int number = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(number >= 0);
        (void)!connect(number, &l->full_at.any, l->full_at.length);
        CHECK_EQ(coro_fd_adopt(&l->filler[i], number), 0);
    }
    listen_at(&none, &l->closed_at, 0);
    CHECK_EQ(coro_close(&none), 0);
    CHECK_EQ(coro_address_parse(&l->unix_at, "unix:/nowhere/at/all"), 0);
    l->strange_at = l->good_at;
    l->strange_at.any.sa_family = 250;
}

static void listeners_close(struct listeners *l)
{
    coro_close(&l->good);
    coro_close(&l->other);
    coro_close(&l->full);
    for (int i = 0; i < 4; i++)
        coro_close(&l->filler[i]);
}

struct dialler {
    CORO_FRAME;
    const char *address;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn, accepted;
    coro_address peer;
    coro_time start, took;
    char c;
    int rc;
};

/* Dial our.host, and tell who it was, or what went wrong. */
#define DIAL_OUR_HOST()                                                                           \
    my->dial.resolve = look_up;                                                                   \
    my->dial.stagger = my->stagger;                                                               \
    my->start = coro_now(co);                                                                     \
    CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &my->conn, "our.host:80"));                       \
    my->took = coro_now(co) - my->start;                                                          \
    CHECK(coro_fd_number(&my->conn) >= 0 ? my->rc == 0 : my->rc < 0);                             \
    if (my->rc == 0)                                                                              \
    CHECK_EQ(coro_fd_peer(&my->conn, &my->peer), 0)

#define CHECK_PEER(who) CHECK_EQ(coro_address_port(&my->peer), coro_address_port(&my->l.who))

static void book_of(int n, const coro_address *a, const coro_address *b, const coro_address *c)
{
    book_size = n;
    if (n > 0)
        book[0] = *a;
    if (n > 1)
        book[1] = *b;
    if (n > 2)
        book[2] = *c;
}

/* ---- what connects --------------------------------------------------------------------------- */

CORO(dialler)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(1, &my->l.good_at, NULL, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(book_looked_up, 1);
    CHECK_PEER(good_at);
    CORO_TRY(coro_accept(co, &my->l.good, &my->accepted));
    CORO_TRY(coro_write(co, &my->accepted, "x", 1));
    CORO_TRY(coro_read(co, &my->conn, &my->c, 1));
    CHECK_EQ(my->c, 'x');
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    coro_close(&my->accepted);
    CORO_END(0);
}

TEST(dial_connects_to_the_address_of_a_name)
{
    RUN_CLEAN(0, dialler);
}

struct dial_without_names {
    CORO_FRAME;
    coro_fd listener, conn;
    coro_address a;
    coro_dial dial;
    char text[80], path[80];
};

CORO(dial_without_names)
{
    CORO_BEGIN();
    my->dial.resolve = look_up;
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->a));
    coro_address_print(&my->a, my->text, sizeof my->text);
    CORO_TRY(coro_dial(co, &my->dial, &my->conn, my->text));
    coro_close(&my->conn);
    coro_close(&my->listener);
    snprintf(my->path, sizeof my->path, "unix:/tmp/coro_test_dial.%d", (int)getpid());
    CORO_TRY(coro_listen(&my->listener, my->path, 0));
    CORO_TRY(coro_dial(co, &my->dial, &my->conn, my->path));
    CHECK_EQ(book_looked_up, 0);
CORO_FINALLY:
    coro_close(&my->conn);
    coro_close(&my->listener);
    unlink(my->path + 5);
    CORO_END(0);
}

TEST(dial_takes_what_connect_takes)
{
    RUN_CLEAN(0, dial_without_names);
}

struct dial_localhost {
    CORO_FRAME;
    coro_fd listener, conn;
    coro_address a;
    coro_dial dial;
    char text[80];
};

CORO(dial_localhost)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->a));
    snprintf(my->text, sizeof my->text, "localhost:%d", coro_address_port(&my->a));
    CORO_TRY(coro_dial(co, &my->dial, &my->conn, my->text));
CORO_FINALLY:
    coro_close(&my->conn);
    coro_close(&my->listener);
    CORO_END(0);
}

TEST(dial_finds_localhost)
{
    need_localhost();
    RUN_CLEAN(0, dial_localhost);
}

/* ---- happy eyeballs -------------------------------------------------------------------------- */

struct failure_expedites {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc;
};

/* I46 */
CORO(failure_expedites)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(3, &my->l.closed_at, &my->l.unix_at, &my->l.good_at);
    DIAL_OUR_HOST();
    CHECK_PEER(good_at);
    CHECK(my->took < CORO_S(5));
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_goes_on_at_once_after_a_failure)
{
    RUN_CLEAN(0, failure_expedites, .stagger = CORO_S(10));
}

struct silence_delays {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc;
};

/* I46: and the losers' sockets are closed. */
CORO(silence_delays)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(3, &my->l.full_at, &my->l.full_at, &my->l.good_at);
    DIAL_OUR_HOST();
    CHECK_PEER(good_at);
    CHECK(my->took >= CORO_MS(6));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coro_fd_number(&my->dial.frame.fds[i]), -1);
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_tries_the_next_address_after_a_while_without_an_answer)
{
    RUN_CLEAN(0, silence_delays, .stagger = CORO_MS(3));
}

struct default_delay {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc;
};

CORO(default_delay)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(2, &my->l.full_at, &my->l.good_at, NULL);
    DIAL_OUR_HOST();
    CHECK_PEER(good_at);
    CHECK(my->took >= CORO_MS(250));
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_waits_250_ms_for_an_answer)
{
    RUN_CLEAN(0, default_delay);
}

struct two_at_once {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc, i;
};

/* All may succeed in the same turn: one is kept. */
CORO(two_at_once)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(3, &my->l.good_at, &my->l.other_at, &my->l.good_at);
    for (my->i = 0; my->i < 20; my->i++) {
        DIAL_OUR_HOST();
        CHECK_EQ(my->rc, 0);
        coro_close(&my->conn);
        CHECK_EQ(coro_loop_of(co)->alive, 1);
    }
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_keeps_one_connection_when_several_succeed)
{
    RUN_CLEAN(0, two_at_once, .stagger = -1);
}

#if !defined CORO_SHARED
TEST(dial_takes_families_in_turn)
{
    static const int before[] = {6, 6, 6, 4, 4, 6, 4};
    static const int after[] = {6, 4, 6, 4, 6, 4, 6};
    coro_address a[7];
    memset(a, 0, sizeof a);
    for (int i = 0; i < 7; i++) {
        a[i].any.sa_family = before[i] == 6 ? AF_INET6 : AF_INET;
        a[i].length = (socklen_t)(i + 1);
    }
    coro__dial_interleave(a, 7);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(a[i].any.sa_family, after[i] == 6 ? AF_INET6 : AF_INET);
    CHECK_EQ(a[0].length, 1); /* within a family the order stays */
    CHECK_EQ(a[2].length, 2);
    CHECK_EQ(a[4].length, 3);
    CHECK_EQ(a[6].length, 6);
    CHECK_EQ(a[1].length, 4);
    CHECK_EQ(a[3].length, 5);
    CHECK_EQ(a[5].length, 7);
    coro__dial_interleave(a, 0);
}
#endif /* !defined CORO_SHARED */

/* ---- what fails ------------------------------------------------------------------------------ */

struct all_fail {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc;
};

/* I46, I47 */
CORO(all_fail)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(2, &my->l.unix_at, &my->l.closed_at, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ENOENT);
    book_of(2, &my->l.closed_at, &my->l.unix_at, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ECONNREFUSED);
    book_of(1, &my->l.closed_at, NULL, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ECONNREFUSED);
    book_of(2, &my->l.strange_at, &my->l.closed_at, NULL); /* a family that is not there */
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ECONNREFUSED);
    book_of(2, &my->l.strange_at, &my->l.strange_at, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -EAFNOSUPPORT);
    book_of(2, &my->l.strange_at, &my->l.good_at, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, 0);
    coro_close(&my->conn);
    book_size = 0;
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ENOENT);
    book_size = -EAGAIN;
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -EAGAIN);
    CHECK_EQ(coro_fd_number(&my->conn), -1);
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_gives_the_first_error_when_all_addresses_fail)
{
    RUN_CLEAN(0, all_fail, .stagger = CORO_S(5));
}

struct no_address {
    CORO_FRAME;
    coro_fd conn;
    coro_dial dial;
    char long_name[400];
    int i, rc, fds;
};

static const char *const not_addresses[] = {
    "", "host", "host:", "host:99999", "host:-1", "host:http", ":80", "::1:80", "[::1]", "[]:80",
    "a:b:80", "host:80 ", "unix:"};

CORO(no_address)
{
    CORO_BEGIN();
    my->dial.resolve = look_up;
    my->fds = open_descriptors();
    for (my->i = 0; my->i < (int)(sizeof not_addresses / sizeof *not_addresses); my->i++) {
        CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &my->conn, not_addresses[my->i]));
        if (my->rc != -EINVAL)
            TEST_FAIL("\"%s\" gives %d", not_addresses[my->i], my->rc);
    }
    memset(my->long_name, 'a', 300);
    memcpy(my->long_name + 300, ":80", 4);
    CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &my->conn, my->long_name));
    CHECK_EQ(my->rc, -EINVAL);
    CHECK_EQ(book_looked_up, 0);
    CHECK_EQ(open_descriptors(), my->fds);
    CORO_END(0);
}

TEST(dial_refuses_what_is_no_address)
{
    RUN_CLEAN(0, no_address);
}

struct conn_in_use {
    CORO_FRAME;
    coro_fd conn;
    coro_dial dial;
    int rc, number;
};

CORO(conn_in_use)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->conn, "127.0.0.1:0", 0));
    my->number = coro_fd_number(&my->conn);
    CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &my->conn, "127.0.0.1:1"));
    CHECK_EQ(my->rc, -EBUSY);
    CHECK_EQ(coro_fd_number(&my->conn), my->number);
CORO_FINALLY:
    CORO_END(coro_close(&my->conn));
}

TEST(dial_leaves_a_connection_alone_that_is_open)
{
    RUN_CLEAN(0, conn_in_use);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

struct cancelled_dial {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_scope s;
    coro_time start, took;
    int rc, i, fds;
};

/* I38, I47 */
CORO(cancelled_dial)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    my->fds = -1;
    for (my->i = 0; my->i < 4; my->i++) { /* 2: one has failed; 3: one address only */
        book_of(my->i == 3 ? 1 : 3, my->i == 2 ? &my->l.closed_at : &my->l.full_at, &my->l.full_at,
                &my->l.full_at);
        coro_timeout_open(co, &my->s, CORO_MS(2));
        DIAL_OUR_HOST();
        CHECK_EQ(my->rc, -ECANCELED);
        CHECK_EQ(coro_scope_close(co, &my->s, my->rc), -ETIMEDOUT);
        if (my->i)
            CHECK_EQ(open_descriptors(), my->fds);
        my->fds = open_descriptors();
        CHECK_EQ(coro_stats(coro_loop_of(co)).held, 0);
    }
    coro_scope_open(co, &my->s);
    coro_scope_cancel(&my->s);
    book_of(2, &my->l.good_at, &my->l.good_at, NULL);
    DIAL_OUR_HOST();
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->s, my->rc), 0);
    CHECK_EQ(open_descriptors(), my->fds);
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_that_is_cancelled_closes_all_attempts)
{
    RUN_CLEAN(0, cancelled_dial, .stagger = CORO_US(300));
}

static int allocations_left;

static void *alloc(void *arg, size_t size)
{
    (void)arg;
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void dealloc(void *arg, void *memory, size_t size)
{
    (void)arg;
    (void)size;
    free(memory);
}

struct dial_without_memory {
    CORO_FRAME;
    coro_time stagger;
    struct listeners l;
    coro_dial dial;
    coro_fd conn;
    coro_address peer;
    coro_time start, took;
    int rc;
};

CORO(dial_without_memory)
{
    CORO_BEGIN();
    listeners_open(&my->l);
    book_of(3, &my->l.closed_at, &my->l.full_at, &my->l.good_at);
    DIAL_OUR_HOST();
    if (my->rc == 0)
        CHECK_PEER(good_at);
    CORO_TRY(my->rc);
CORO_FINALLY:
    listeners_close(&my->l);
    coro_close(&my->conn);
    CORO_END(0);
}

TEST(dial_survives_every_failing_allocation)
{
    int rc = -1, fds = open_descriptors(), n;
    for (n = 0; n < 40 && rc < 0; n++) {
        coro_options options = CORO__ZERO;
        options.allocator.alloc = alloc;
        options.allocator.free = dealloc;
        allocations_left = n;
        rc = coro_run_with(&options, dial_without_memory, .stagger = CORO_US(10));
        CHECK_EQ(open_descriptors(), fds);
    }
    CHECK_EQ(rc, 0);
}
