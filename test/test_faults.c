/* test_faults.c -- the n-th system call fails, for all n: nothing hangs, nothing is left.
 *
 * What a program should not see (interruptions, EAGAIN, short reads and writes, connections that
 * are gone before they are accepted) changes nothing. Any other failure is somebody's result.
 */
#undef CORO_SHARED /* the calls to be wrapped are in this file */
#include "faults.h"

#include "io.h"

/* ---- scenarios ------------------------------------------------------------------------------ */

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

static int raw[2];

static void say_really(int number)
{
    CHECK_EQ((write)(number, "x", 1), 1);
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

/* ---- running -------------------------------------------------------------------------------- */

static size_t balance;

static void *take(void *arg, size_t size)
{
    (void)arg;
    balance += size;
    return malloc(size);
}

static void give(void *arg, void *memory, size_t size)
{
    (void)arg;
    balance -= size;
    free(memory);
}

static int run_echo(const coro_options *o)
{
    return coro_run_with(o, echo);
}

static int run_meeting(const coro_options *o)
{
    return coro_run_with(o, meeting);
}

static int run_watching(const coro_options *o)
{
    return coro_run_with(o, watching);
}

static void set_up(void)
{
    both(&a, &b);
    pipe_of(&in, &out);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw), 0);
    memset(back, 0, sizeof back);
    for (int i = 0; i < LOAD; i++)
        load[i] = (char)(i % 251);
}

static void clear(void)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(coro_close(&in), 0);
    CHECK_EQ(coro_close(&out), 0);
    CHECK_EQ(close(raw[0]), 0);
    CHECK_EQ(close(raw[1]), 0);
}

static const struct trouble {
    int error;
    bool seen; /* may be somebody's result */
} troubles[] = {
    {EINTR, false},  {EAGAIN, false}, {FAULT_SHORT, false}, {ECONNABORTED, false}, {EPROTO, false},
    {ENOSYS, false}, {EMFILE, true},  {ENFILE, true},       {ENOMEM, true},        {ENOBUFS, true},
    {ENOSPC, true},  {EIO, true},     {ECONNRESET, true},   {ECONNREFUSED, true},
    {ENETUNREACH, true},
};

static void check_result(const struct trouble *t, int at, bool struck, int rc, int want)
{
    if (rc == want)
        return;
    if (struck && t->seen && (rc == -t->error || rc == -EPIPE || rc == -ECONNRESET))
        return;
    if (struck && t->seen && rc >= 0 && rc < want)
        return; /* the sender has failed, the end came early */
    TEST_FAIL("error %d (%s) at call %d: %d instead of %d", t->error,
              t->error > 0 ? strerror(t->error) : "short", at, rc, want);
}

/* own: the scenario makes its connections itself. */
static void all_faults(int (*run)(const coro_options *), int want, bool own)
{
    coro_options options;
    int struck_in_all = 0;
    memset(&options, 0, sizeof options);
    options.allocator.alloc = take;
    options.allocator.free = give;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        bool struck = true;
        for (int at = 1; struck; at++) {
            int before, rc;
            set_up();
            if (own) {
                CHECK_EQ(coro_close(&a), 0);
                CHECK_EQ(coro_close(&b), 0);
            }
            before = open_descriptors();
            if (getenv("SWEEP"))
                fprintf(stderr, "error %d at call %d\n", troubles[i].error, at);
            faults_arm(troubles[i].error, at);
            rc = run(&options);
            struck = faults_disarm();
            struck_in_all += struck;
            check_result(&troubles[i], at, struck, rc, want);
            CHECK_EQ(balance, 0);
            CHECK_EQ(open_descriptors() + (coro_fd_number(&out) < 0 ? 1 : 0), before);
            clear();
        }
    }
    CHECK(struck_in_all > 20);
}

TEST(an_echo_bears_every_fault)
{
    all_faults(run_echo, LOAD, false);
}

TEST(connecting_and_accepting_bear_every_fault) /* I31, I37, I39, I40 */
{
    all_faults(run_meeting, 1, true);
}

TEST(waiting_for_foreign_descriptors_bears_every_fault)
{
    all_faults(run_watching, 2, false);
}
