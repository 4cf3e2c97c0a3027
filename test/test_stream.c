/* test_stream.c -- buffered reading and writing on descriptors. (I01 .. I19, I34)
 *
 * The system calls of this file's copy of the library are counted.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif /* !_GNU_SOURCE */
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define UNUSED __attribute__((unused)) /* when the library's calls are in another file */

static int recvs, sends;

UNUSED static ssize_t counted_recv(int fd, void *to, size_t n, int flags)
{
    recvs++;
    return recv(fd, to, n, flags);
}

UNUSED static ssize_t counted_send(int fd, const void *from, size_t n, int flags)
{
    sends++;
    return send(fd, from, n, flags);
}

UNUSED static ssize_t counted_sendmsg(int fd, const struct msghdr *m, int flags)
{
    sends++;
    return sendmsg(fd, m, flags);
}

#define recv counted_recv
#define send counted_send
#define sendmsg counted_sendmsg
#include "coro_io.h"
#undef recv
#undef send
#undef sendmsg

#include "test.h"
#include "world.h"

#include <stdlib.h>

#if defined CORO_SHARED
#define COUNTED 0 /* the library's calls are in another file */
#else
#define COUNTED 1
#endif /* defined CORO_SHARED */

/* The other end of the stream's socket, by hand. */
static int other;

static void say_n(const char *text, size_t n)
{
    CHECK_EQ(send(other, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void say(const char *text)
{
    say_n(text, strlen(text));
}

/* What has come there; "" when nothing has. */
static const char *heard(void)
{
    static char text[4096];
    ssize_t n = recv(other, text, sizeof text - 1, MSG_DONTWAIT);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* ---- the frame that the tests have in common ----------------------------------------------- */

enum { SMALL = 16 };

struct with {
    coro_fd fd;
    coro_stream s;
    coro_slice line;
    char in[SMALL], out[SMALL];
    char to[64];
    int rc;
    int n;
};

static void with_pair(struct with *w, const int pair[2])
{
    other = pair[1];
    CHECK_EQ(coro_fd_adopt(&w->fd, pair[0]), 0);
    CHECK_EQ(coro_stream_open(&w->s, &w->fd, w->in, sizeof w->in, w->out, sizeof w->out), 0);
    recvs = sends = 0;
}

static void with_open(struct with *w)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    with_pair(w, pair);
}

/* Of TCP a short read means that there is no more. */
static void with_open_tcp(struct with *w)
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int pair[2], on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(pair[1], (struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQ(setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    pair[0] = accept(listener, NULL, NULL);
    close(listener);
    with_pair(w, pair);
}

static void with_close(struct with *w)
{
    CHECK_EQ(coro_close(&w->fd), 0);
    if (other >= 0)
        close(other);
}

static bool is(coro_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

#define LINE_IS(text)                                                                   \
    do {                                                                                \
        CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));         \
        CHECK_EQ(my->w.rc, 1);                                                          \
        CHECK(is(my->w.line, text));                                                    \
    } while (0)


/* ---- lines ------------------------------------------------------------------------------- */

struct lines {
    CORO_FRAME;
    struct with w;
};

CORO(lines)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("one\ntwo\r\n\n\r\nrest");
    LINE_IS("one");
    LINE_IS("two");
    LINE_IS("");
    LINE_IS("");
    shutdown(other, SHUT_WR);
    for (my->w.n = 0; my->w.n < 2; my->w.n++) { /* the end is sticky, the rest stays */
        CORO_TRY(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
        CHECK_EQ(my->w.rc, 0);
        CHECK(is(my->w.line, "rest"));
    }
    CORO_TRY(my->w.n, coro_stream_read(co, &my->w.s, my->w.to, sizeof my->w.to));
    CHECK_EQ(my->w.n, 4);
    CORO_TRY(my->w.n, coro_stream_read(co, &my->w.s, my->w.to, sizeof my->w.to));
    CHECK_EQ(my->w.n, 0);
    CORO_TRY(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.rc, 0);
    CHECK_EQ(my->w.line.len, 0);
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_gives_lines_and_keeps_what_comes_after_the_last_one) /* I04, I05, I14 */
{
    int before = open_descriptors();
    CHECK_EQ(coro_run(lines), 0);
    CHECK_EQ(open_descriptors(), before);
}

/* The acts of a helper, in a row: each when the reader waits again. */
struct feeder {
    CORO_FRAME;
    const char *const *texts;
};

CORO(feeder)
{
    CORO_BEGIN();
    for (; *my->texts; my->texts++) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        say(*my->texts);
    }
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    shutdown(other, SHUT_WR);
    CORO_END(0);
}

struct straddle {
    CORO_FRAME;
    struct with w;
    coro_group g;
};

CORO(straddle)
{
    static const char *const texts[] = {"ab-", "-", "+cd", "--", "--+", "x--+0123456789abc",
                                        "\r", "\n", NULL};
    CORO_BEGIN();
    with_open(&my->w);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, feeder, .texts = texts);
    CORO_TRY(my->w.rc, coro_stream_read_until(co, &my->w.s, "--+", 3, &my->w.line));
    CHECK(is(my->w.line, "ab"));
    CORO_TRY(my->w.rc, coro_stream_read_until(co, &my->w.s, "--+", 3, &my->w.line));
    CHECK(is(my->w.line, "cd--"));
    CORO_TRY(my->w.rc, coro_stream_read_until(co, &my->w.s, "--+", 3, &my->w.line));
    CHECK(is(my->w.line, "x"));
    LINE_IS("0123456789abc");
    CORO_TRY(my->w.rc, coro_stream_read_until(co, &my->w.s, "--+", 3, &my->w.line));
    CHECK_EQ(my->w.rc, 0);
    CHECK_EQ(my->w.line.len, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_finds_a_separator_that_comes_in_pieces) /* I14 */
{
    CHECK_EQ(coro_run(straddle), 0);
}

struct too_long {
    CORO_FRAME;
    struct with w;
};

CORO(too_long)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("0123456789abcdefGHI\nnext\n");
    for (my->w.n = 0; my->w.n < 2; my->w.n++) { /* nothing is taken */
        CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
        CHECK_EQ(my->w.rc, -EMSGSIZE);
        CHECK(is(my->w.line, "0123456789abcdef"));
    }
    CHECK_EQ(coro_stream_skip(&my->w.s, my->w.line.len), 16);
    LINE_IS("GHI");
    my->w.s.limit = 4; /* "next" and its separator are five */
    CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.rc, -EMSGSIZE);
    my->w.s.limit = 5;
    LINE_IS("next");
    CORO_AWAIT(my->w.rc, coro_stream_peek(co, &my->w.s, SMALL + 1, &my->w.line));
    CHECK_EQ(my->w.rc, -EMSGSIZE);
    CORO_AWAIT(my->w.rc, coro_stream_read_until(co, &my->w.s, "", 0, &my->w.line));
    CHECK_EQ(my->w.rc, -EINVAL);
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_refuses_a_line_longer_than_the_buffer_or_limit_and_goes_on) /* I14 */
{
    CHECK_EQ(coro_run(too_long), 0);
}

struct exact {
    CORO_FRAME;
    struct with w;
    coro_group g;
};

CORO(exact)
{
    static const char *const texts[] = {"abc", "defg", "0123456789", "0123456789", "xy", NULL};
    CORO_BEGIN();
    with_open(&my->w);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, feeder, .texts = texts);
    CORO_TRY(my->w.rc, coro_stream_peek(co, &my->w.s, 5, &my->w.line));
    CHECK_EQ(my->w.rc, 1);
    CHECK(is(my->w.line, "abcdefg"));
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->w.to, 6));
    CHECK_EQ(my->w.n, 6);
    CHECK_EQ(memcmp(my->w.to, "abcdef", 6), 0);
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->w.to, 21)); /* more than it holds */
    CHECK_EQ(my->w.n, 21);
    CHECK_EQ(memcmp(my->w.to, "g01234567890123456789", 21), 0);
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->w.to, 0));
    CHECK_EQ(my->w.n, 0);
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->w.to, 3));
    CHECK_EQ(my->w.n, 2);
    CHECK_EQ(memcmp(my->w.to, "xy", 2), 0);
    CORO_TRY(my->w.n, coro_stream_peek(co, &my->w.s, 1, &my->w.line));
    CHECK_EQ(my->w.n, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_exact_read_gives_all_or_what_came_before_the_end) /* I01, I15 */
{
    CHECK_EQ(coro_run(exact), 0);
}

/* ---- cancellation ------------------------------------------------------------------------ */

struct cancelled {
    CORO_FRAME;
    struct with w;
};

#define TIMES_OUT(op)                                                                   \
    do {                                                                                \
        CORO_AWAIT(my->w.rc, coro_within(co, CORO_MS(1), op));                          \
        CHECK_EQ(my->w.rc, -ETIMEDOUT);                                                 \
    } while (0)

CORO(cancelled)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("abc");
    TIMES_OUT(coro_stream_read_line(co, &my->w.s, &my->w.line));
    TIMES_OUT(coro_stream_read_exact(co, &my->w.s, my->w.to, 5));
    TIMES_OUT(coro_stream_peek(co, &my->w.s, 4, &my->w.line));
    say("d");
    TIMES_OUT(coro_stream_read_exact(co, &my->w.s, my->w.to, SMALL));
    say("\n");
    LINE_IS("abcd");
    say("0123456789");
    TIMES_OUT(coro_stream_read_exact(co, &my->w.s, my->w.to, 30));
    CHECK_EQ(coro_fd_moved(&my->w.fd, CORO_IN), 10); /* I02 */
    CHECK_EQ(memcmp(my->w.to, "0123456789", 10), 0);
    say("!\n");
    LINE_IS("!");
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_read_that_timed_out_has_lost_nothing) /* I02, I16 */
{
    CHECK_EQ(coro_run(cancelled), 0);
}

/* Says something to a task that waits, and cancels it. */
struct cutter {
    CORO_FRAME;
    coro_scope *scope;
};

CORO(cutter)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    say("23456");
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    (void)coro_scope_cancel(my->scope);
    CORO_END(0);
}

struct cut_off {
    CORO_FRAME;
    struct with w;
    coro_group g;
    coro_scope scope;
};

CORO(cut_off)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("01");
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, cutter, .scope = &my->scope);
    coro_scope_open(co, &my->scope);
    CORO_AWAIT(my->w.rc, coro_stream_read_exact(co, &my->w.s, my->w.to, 30));
    CHECK_EQ(my->w.rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CHECK_EQ(coro_fd_moved(&my->w.fd, CORO_IN), 7);
    CHECK_EQ(memcmp(my->w.to, "0123456", 7), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_exact_read_counts_what_came_while_it_waited) /* I02 */
{
    CHECK_EQ(coro_run(cut_off), 0);
}

struct born_cancelled {
    CORO_FRAME;
    struct with w;
    coro_scope scope;
};

CORO(born_cancelled)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("abc\n");
    CORO_TRY(coro_stream_peek(co, &my->w.s, 1, &my->w.line));
    coro_scope_open(co, &my->scope);
    coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.rc, -ECANCELED);
    CORO_AWAIT(my->w.rc, coro_stream_write(co, &my->w.s, "x", 1));
    CHECK_EQ(my->w.rc, -ECANCELED);
    CORO_AWAIT(my->w.rc, coro_stream_printf(co, &my->w.s, "x"));
    CHECK_EQ(my->w.rc, -ECANCELED);
    CORO_AWAIT(my->w.rc, coro_stream_flush(co, &my->w.s));
    CHECK_EQ(my->w.rc, -ECANCELED);
    (void)coro_scope_close(co, &my->scope, 0);
    CHECK_EQ(coro_stream_buffered(&my->w.s, CORO_OUT), 0);
    LINE_IS("abc");
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_operation_in_a_cancelled_scope_does_not_happen) /* C03 */
{
    CHECK_EQ(coro_run(born_cancelled), 0);
}

/* ---- writing ----------------------------------------------------------------------------- */

struct asker {
    CORO_FRAME;
    const char *text;
    int times, i, answers;
};

/* Sends its text, then waits until all of it has come back. */
CORO(asker)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->times; my->i++) {
        my->answers = 0;
        say(my->text);
        while (my->answers < (int)strlen(my->text)) {
            CORO_TRY(coro_wait_fd(co, other, POLLIN));
            my->answers += (int)strlen(heard());
        }
    }
    shutdown(other, SHUT_WR);
    CORO_END(0);
}

struct echoing {
    CORO_FRAME;
    struct with w;
    coro_group g;
    const char *text;
    char in[400], out[400];
    int times;
    bool got;
};

CORO(echoing)
{
    CORO_BEGIN();
    with_open_tcp(&my->w);
    coro_stream_close(&my->w.s);
    CORO_TRY(coro_stream_open(&my->w.s, &my->w.fd, my->in, sizeof my->in, my->out,
                              sizeof my->out));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, asker, .text = my->text, .times = my->times);
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->w.s, &my->w.line));
        if (!my->got)
            break;
        CORO_TRY(coro_stream_printf(co, &my->w.s, "%.*s\n", (int)my->w.line.len,
                                    my->w.line.data));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_echo_costs_one_recv_and_one_send_for_each_request)
{
    CHECK_EQ(coro_run(echoing, .text = "request 1\n", .times = 10), 0);
    if (COUNTED) {
        CHECK(recvs <= 10 + 2); /* the first one may find nothing, the last one finds the end */
        CHECK_EQ(sends, 10);
    }
}

TEST(stream_echo_answers_sixteen_pipelined_requests_in_one_send)
{
    CHECK_EQ(coro_run(echoing, .text = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n",
                      .times = 10), 0);
    if (COUNTED) {
        CHECK(recvs <= 10 + 2);
        CHECK_EQ(sends, 10);
    }
}

struct half_closed {
    CORO_FRAME;
    struct with w;
    bool got;
};

CORO(half_closed)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("a\nb\n");
    shutdown(other, SHUT_WR);
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->w.s, &my->w.line));
        if (!my->got)
            break;
        CORO_TRY(coro_stream_write(co, &my->w.s, my->w.line.data, my->w.line.len));
        CHECK_STR(heard(), "");
    }
    CHECK_STR(heard(), "ab");
    CORO_TRY(coro_stream_write(co, &my->w.s, "c", 1));
    CHECK_EQ(coro_stream_buffered(&my->w.s, CORO_OUT), 1);
    CORO_TRY(my->got, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_STR(heard(), "c");
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_read_that_meets_the_end_flushes) /* I09 */
{
    CHECK_EQ(coro_run(half_closed), 0);
}

struct high_water {
    CORO_FRAME;
    struct with w;
};

CORO(high_water)
{
    CORO_BEGIN();
    with_open(&my->w);
    CORO_TRY(my->w.n, coro_stream_write(co, &my->w.s, "0123456789", 10));
    CHECK_EQ(my->w.n, 10);
    CHECK_STR(heard(), "");
    CORO_TRY(my->w.n, coro_stream_write(co, &my->w.s, "abcdefghij", 10)); /* does not fit */
    CHECK_STR(heard(), "0123456789");
    CORO_TRY(my->w.n, coro_stream_printf(co, &my->w.s, "%d%s", 12345, "")); /* no room for the 0 */
    CHECK_EQ(my->w.n, 5);
    CORO_TRY(my->w.n, coro_stream_printf(co, &my->w.s, "%040d", 7)); /* longer than the buffer */
    CHECK_EQ(my->w.n, 40);
    CHECK_STR(heard(), "abcdefghij123450000000000000000000000000000000000000007");
    CORO_TRY(my->w.n, coro_stream_printf(co, &my->w.s, "%s", ""));
    CHECK_EQ(my->w.n, 0);
    CORO_TRY(coro_stream_write(co, &my->w.s, "xyz", 3));
    CORO_TRY(my->w.n, coro_stream_flush(co, &my->w.s));
    CHECK_EQ(my->w.n, 0);
    CHECK_STR(heard(), "xyz");
    CORO_TRY(coro_stream_flush(co, &my->w.s));
    if (COUNTED)
        CHECK_EQ(sends, 3);
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_write_beyond_the_high_water_mark_goes_out)
{
    CHECK_EQ(coro_run(high_water), 0);
}

/* The peer does not read: the kernel is full. How much it took. */
static size_t stuff(struct with *w)
{
    static char dots[4096];
    size_t all = 0;
    ssize_t n;
    int fd = coro_fd_number(&w->fd), small = 4096;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    while ((n = send(fd, dots, sizeof dots, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        all += (size_t)n;
    return all;
}

static size_t drain(void)
{
    static char dots[4096];
    size_t all = 0;
    ssize_t n;
    while ((n = recv(other, dots, sizeof dots, MSG_DONTWAIT)) > 0)
        all += (size_t)n;
    return all;
}

struct full {
    CORO_FRAME;
    struct with w;
    size_t stuffed;
    coro_loop_stats stats;
};

CORO(full)
{
    CORO_BEGIN();
    with_open(&my->w);
    my->stuffed = stuff(&my->w);
    CORO_TRY(coro_stream_write(co, &my->w.s, "0123456789", 10));
    TIMES_OUT(coro_stream_write(co, &my->w.s, "abcdefghij", 10)); /* all or nothing */
    CHECK_EQ(coro_fd_moved(&my->w.fd, CORO_OUT), 0);
    TIMES_OUT(coro_stream_printf(co, &my->w.s, "%s", "abcdefghij"));
    CHECK_EQ(coro_stream_buffered(&my->w.s, CORO_OUT), 10);
    TIMES_OUT(coro_stream_flush(co, &my->w.s));
    TIMES_OUT(coro_stream_read_line(co, &my->w.s, &my->w.line)); /* leaves it to be written */
    CHECK_EQ(coro_stream_buffered(&my->w.s, CORO_OUT), 10);
    CORO_TRY(coro_stream_write(co, &my->w.s, "ABC", 3)); /* fits, meanwhile */
    CHECK_EQ(drain(), my->stuffed);
    CORO_TRY(coro_sleep(co, CORO_MS(1))); /* nobody waits for it: the reactor writes */
    CHECK_STR(heard(), "0123456789ABC");
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_write_that_timed_out_has_taken_nothing_and_what_is_left_is_written_behind) /* I02 */
{
    CHECK_EQ(coro_run(full), 0);
}

struct left {
    CORO_FRAME;
    struct with w;
    bool stream_only;
};

CORO(left)
{
    CORO_BEGIN();
    with_open(&my->w);
    (void)stuff(&my->w);
    CORO_TRY(coro_stream_write(co, &my->w.s, "0123456789", 10));
    TIMES_OUT(coro_stream_read_line(co, &my->w.s, &my->w.line));
    if (my->stream_only)
        CHECK_EQ(coro_stream_close(&my->w.s), 0);
    else
        CHECK_EQ(coro_close(&my->w.fd), 0);
    (void)drain();
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_STR(heard(), "");
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_that_is_closed_forgets_what_was_left_to_be_written)
{
    CHECK_EQ(coro_run(left), 0);
    CHECK_EQ(coro_run(left, .stream_only = true), 0);
}

struct writer {
    CORO_FRAME;
    struct with *w;
    const char *data;
    size_t n;
    intptr_t rc;
};

CORO(writer)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_stream_write(co, &my->w->s, my->data, my->n));
    if (my->rc >= 0)
        CORO_AWAIT(my->rc, coro_stream_flush(co, &my->w->s));
    CORO_END(my->rc);
}

struct reader {
    CORO_FRAME;
    struct with *w;
    int rc;
};

CORO(reader)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_stream_read_line(co, &my->w->s, &my->w->line));
    CORO_END(my->rc);
}

struct both_ways {
    CORO_FRAME;
    struct with w;
    coro_group g;
    CORO_TASK(reader) reader, reader2;
    CORO_TASK(writer) writer, writer2;
    size_t stuffed;
    char big[100000];
};

CORO(both_ways)
{
    CORO_BEGIN();
    with_open(&my->w);
    my->stuffed = stuff(&my->w);
    memset(my->big, 'x', sizeof my->big);
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_TRY(coro_stream_write(co, &my->w.s, "answer", 6));
    coro_start(&my->g, &my->reader, reader, .w = &my->w);
    coro_start(&my->g, &my->writer, writer, .w = &my->w, .data = my->big, .n = sizeof my->big);
    coro_start(&my->g, &my->reader2, reader, .w = &my->w);
    coro_start(&my->g, &my->writer2, writer, .w = &my->w, .data = "y", .n = 1);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_task_result(&my->reader2), -EBUSY);
    CHECK_EQ(coro_task_result(&my->writer2), -EBUSY);
    say("hello\n"); /* the full way out does not disturb the way in */
    CORO_TRY(my->w.n, coro_join(co, &my->reader));
    CHECK_EQ(my->w.n, 1);
    CHECK(is(my->w.line, "hello"));
    CHECK_EQ(coro_task_status(&my->writer), CORO_RUNNING);
    my->stuffed += 6 + sizeof my->big;
    while (my->stuffed) {
        CORO_TRY(coro_sleep(co, 0));
        my->stuffed -= drain();
    }
    CORO_TRY(coro_join(co, &my->writer));
    CHECK_EQ(drain(), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_reads_while_a_large_write_waits_and_a_second_one_of_each_is_busy) /* I01, I03 */
{
    CHECK_EQ(coro_run(both_ways), 0);
}

struct closing {
    CORO_FRAME;
    struct with w;
    coro_group g;
    CORO_TASK(reader) reader;
    CORO_TASK(writer) writer;
    bool stream_only;
};

CORO(closing)
{
    CORO_BEGIN();
    with_open(&my->w);
    (void)stuff(&my->w);
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_TRY(coro_stream_printf(co, &my->w.s, "0123456789"));
    coro_start(&my->g, &my->reader, reader, .w = &my->w);
    coro_start(&my->g, &my->writer, writer, .w = &my->w, .data = "0123456789", .n = 10);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->stream_only ? coro_stream_close(&my->w.s) : coro_close(&my->w.fd), 0);
    CHECK_EQ(coro_fd_number(&my->w.fd) >= 0, my->stream_only);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->reader), -EBADF);
    CHECK_EQ(coro_task_result(&my->writer), -EBADF);
    CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.rc, -EBADF);
    CORO_AWAIT(my->w.rc, coro_stream_write(co, &my->w.s, "", 0));
    CHECK_EQ(my->w.rc, -EBADF); /* I18 */
    CHECK_EQ(coro_stream_close(&my->w.s), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_whose_descriptor_is_closed_ends_both_waits) /* I17 */
{
    CHECK_EQ(coro_run(closing), 0);
}

TEST(stream_that_is_closed_ends_both_waits_and_leaves_the_descriptor_open)
{
    CHECK_EQ(coro_run(closing, .stream_only = true), 0);
}

struct broken {
    CORO_FRAME;
    struct with w;
};

CORO(broken)
{
    CORO_BEGIN();
    with_open(&my->w);
    say("last\nwords");
    close(other);
    other = -1;
    LINE_IS("last");
    CORO_TRY(coro_stream_write(co, &my->w.s, "x", 1)); /* in the buffer */
    CORO_AWAIT(my->w.rc, coro_stream_flush(co, &my->w.s));
    CHECK_EQ(my->w.rc, -EPIPE);
    for (my->w.n = 0; my->w.n < 2; my->w.n++) {
        CORO_AWAIT(my->w.rc, coro_stream_flush(co, &my->w.s));
        CHECK_EQ(my->w.rc, -EPIPE);
        CORO_AWAIT(my->w.rc, coro_stream_write(co, &my->w.s, "x", 1));
        CHECK_EQ(my->w.rc, -EPIPE);
        CORO_AWAIT(my->w.rc, coro_stream_write(co, &my->w.s, "", 0)); /* I18 */
        CHECK_EQ(my->w.rc, -EPIPE);
        CORO_AWAIT(my->w.rc, coro_stream_printf(co, &my->w.s, "x"));
        CHECK_EQ(my->w.rc, -EPIPE);
    }
    CORO_TRY(my->w.n, coro_stream_read_line(co, &my->w.s, &my->w.line)); /* reading goes on */
    CHECK_EQ(my->w.n, 0);
    CHECK(is(my->w.line, "words"));
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_that_broke_when_written_stays_broken_and_can_be_read_to_the_end) /* I05, I08, I11 */
{
    CHECK_EQ(coro_run(broken), 0);
}

struct behind_broken {
    CORO_FRAME;
    struct with w;
};

CORO(behind_broken)
{
    CORO_BEGIN();
    with_open(&my->w);
    close(other);
    other = -1;
    CORO_TRY(coro_stream_write(co, &my->w.s, "x", 1));
    CORO_TRY(my->w.n, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.n, 0); /* the read itself is not to blame */
    CORO_AWAIT(my->w.rc, coro_stream_write(co, &my->w.s, "x", 1));
    CHECK_EQ(my->w.rc, -EPIPE);
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_write_behind_a_read_that_broke_is_reported_by_the_next_write) /* I11 */
{
    CHECK_EQ(coro_run(behind_broken), 0);
}

/* Both ends write more than the kernel holds before they read, then read: neither gets stuck. */
struct talker {
    CORO_FRAME;
    coro_fd fd;
    coro_stream s;
    coro_slice line;
    char in[64], out[50000];
    int i, got;
};

CORO(talker)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->fd, my->in, sizeof my->in, my->out, sizeof my->out));
    for (my->i = 0; my->i < 4900; my->i++)
        CORO_TRY(coro_stream_printf(co, &my->s, "line %4d\n", my->i));
    for (my->i = 0; my->i < 4900; my->i++) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        CHECK_EQ(my->got, 1);
        CHECK_EQ(atoi(my->line.data + 5), my->i);
    }
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    coro_close(&my->fd);
    CORO_END(0);
}

struct talk {
    CORO_FRAME;
    coro_group g;
};

CORO(talk)
{
    static coro_fd a, b;
    int pair[2], small = 4096;
    CORO_BEGIN();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    CHECK_EQ(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    CHECK_EQ(coro_fd_adopt(&a, pair[0]), 0);
    CHECK_EQ(coro_fd_adopt(&b, pair[1]), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, talker, .fd = a);
    coro_spawn(&my->g, talker, .fd = b);
    CORO_TRY(coro_within(co, CORO_S(4), coro_group_close(co, &my->g, 0)));
    CORO_END(0);
}

TEST(stream_peers_that_both_write_much_before_they_read_do_not_get_stuck)
{
    int before = open_descriptors();
    CHECK_EQ(coro_run(talk), 0);
    CHECK_EQ(open_descriptors(), before);
}

struct reset {
    CORO_FRAME;
    struct with w;
    coro_fd listener, peer;
    struct linger hard;
    coro_address a;
    char text[64];
};

CORO(reset)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->a));
    CORO_TRY(coro_connect_to(co, &my->peer, &my->a));
    CORO_TRY(coro_accept(co, &my->listener, &my->w.fd));
    CORO_TRY(coro_stream_open(&my->w.s, &my->w.fd, my->w.in, SMALL, my->w.out, SMALL));
    CORO_TRY(coro_write(co, &my->peer, "a\nb", 3));
    LINE_IS("a");
    my->hard.l_onoff = 1;
    CHECK_EQ(setsockopt(coro_fd_number(&my->peer), SOL_SOCKET, SO_LINGER, &my->hard,
                        sizeof my->hard), 0);
    coro_close(&my->peer);
    for (my->w.n = 0; my->w.n < 2; my->w.n++) { /* not an end, and not only once */
        CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
        CHECK_EQ(my->w.rc, -ECONNRESET);
    }
CORO_FINALLY:
    coro_close(&my->w.fd);
    coro_close(&my->peer);
    coro_close(&my->listener);
    CORO_END(0);
}

TEST(stream_read_of_a_reset_connection_fails_for_good) /* I07 */
{
    int before = open_descriptors();
    CHECK_EQ(coro_run(reset), 0);
    CHECK_EQ(open_descriptors(), before);
}

/* ---- other descriptors ------------------------------------------------------------------- */

struct file {
    CORO_FRAME;
    struct with w;
    char all[1000], back[1000];
};

CORO(file)
{
    char name[] = "/tmp/test_stream_XXXXXX";
    int number;
    CORO_BEGIN();
    number = mkstemp(name);
    CHECK(number >= 0);
    unlink(name);
    CHECK_EQ(coro_fd_adopt(&my->w.fd, number), 0);
    CORO_TRY(coro_stream_open(&my->w.s, &my->w.fd, my->w.in, SMALL, my->w.out, SMALL));
    memset(my->all, 'x', sizeof my->all);
    for (my->w.n = 9; my->w.n < 1000; my->w.n += 10)
        my->all[my->w.n] = '\n';
    for (my->w.n = 0; my->w.n < 1000; my->w.n += 50)
        CORO_TRY(coro_stream_write(co, &my->w.s, my->all + my->w.n, 50));
    CORO_TRY(coro_stream_flush(co, &my->w.s));
    CHECK_EQ(lseek(coro_fd_number(&my->w.fd), 0, SEEK_SET), 0);
    for (my->w.n = 0; my->w.n < 50; my->w.n++)
        LINE_IS("xxxxxxxxx");
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->back, 501));
    CHECK_EQ(my->w.n, 500);
    CHECK_EQ(memcmp(my->back, my->all, 500), 0);
CORO_FINALLY:
    coro_close(&my->w.fd);
    CORO_END(0);
}

TEST(stream_on_a_file_never_waits)
{
    CHECK_EQ(coro_run(file), 0);
}

struct bare {
    CORO_FRAME;
    struct with w;
};

CORO(bare)
{
    CORO_BEGIN();
    with_open(&my->w);
    CHECK_EQ(coro_stream_open(&my->w.s, &my->w.fd, NULL, 0, NULL, 0), -EBUSY);
    CHECK_EQ(coro_stream_close(&my->w.s), 0);
    CHECK_EQ(coro_stream_open(&my->w.s, &my->w.fd, NULL, 0, NULL, 0), 0);
    CORO_TRY(coro_stream_write(co, &my->w.s, "one", 3));
    CHECK_STR(heard(), "one");
    CORO_TRY(coro_stream_printf(co, &my->w.s, "%s", "two"));
    CHECK_STR(heard(), "two");
    CORO_TRY(coro_stream_flush(co, &my->w.s));
    say("hello");
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->w.to, 2));
    CORO_TRY(my->w.n, coro_stream_read(co, &my->w.s, my->w.to + 2, 60));
    CHECK_EQ(memcmp(my->w.to, "hello", 5), 0);
    CORO_AWAIT(my->w.rc, coro_stream_read_line(co, &my->w.s, &my->w.line));
    CHECK_EQ(my->w.rc, -EMSGSIZE);
CORO_FINALLY:
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_without_buffers_passes_bytes_through)
{
    static coro_fd closed;
    static coro_stream s;
    CHECK_EQ(coro_stream_open(&s, &closed, NULL, 0, NULL, 0), -EBADF);
    CHECK_EQ(coro_run(bare), 0);
}

struct pieces {
    CORO_FRAME;
    coro_fd fd;
    char buf[64];
    int writer, n;
};

/* Registered first, then two pieces at once: the reactor is told of both only once. */
CORO(pieces)
{
    CORO_BEGIN();
    CORO_AWAIT(my->n, coro_within(co, CORO_MS(1), coro_read(co, &my->fd, my->buf, 64)));
    CHECK_EQ(my->n, -ETIMEDOUT);
    CHECK_EQ(write(my->writer, "one\n", 4), 4);
    CHECK_EQ(write(my->writer, "three\n", 6), 6);
    CORO_TRY(my->n, coro_read(co, &my->fd, my->buf, 64));
    CHECK_EQ(my->n, 4);
    CORO_TRY(my->n, coro_within(co, CORO_S(2), coro_read(co, &my->fd, my->buf, 64)));
    CHECK_EQ(my->n, 6);
CORO_FINALLY:
    coro_close(&my->fd);
    close(my->writer);
    CORO_END(0);
}

TEST(read_of_one_datagram_does_not_forget_the_next)
{
    static coro_fd fd;
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    CHECK_EQ(coro_fd_adopt(&fd, pair[0]), 0);
    CHECK_EQ(coro_run(pieces, .fd = fd, .writer = pair[1]), 0);
}

TEST(read_of_one_line_of_a_terminal_does_not_forget_the_next)
{
    static coro_fd fd;
    int writer = open_terminal();
    CHECK_EQ(coro_fd_adopt(&fd, open(ptsname(writer), O_RDWR | O_NOCTTY)), 0);
    CHECK_EQ(coro_run(pieces, .fd = fd, .writer = writer), 0);
}

/* ---- fairness ---------------------------------------------------------------------------- */

struct turns {
    CORO_FRAME;
    int n;
    bool *over;
};

CORO(turns)
{
    CORO_BEGIN();
    while (!*my->over) {
        my->n++;
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

struct torrent {
    CORO_FRAME;
    struct with w;
    coro_group g;
    CORO_TASK(turns) turns;
    bool over;
    char big[100000], back[100000];
};

CORO(torrent)
{
    CORO_BEGIN();
    with_open(&my->w);
    memset(my->big, 'x', sizeof my->big);
    say_n(my->big, sizeof my->big);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->turns, turns, .over = &my->over);
    CORO_TRY(my->w.n, coro_stream_read_exact(co, &my->w.s, my->back, 16));
    for (my->w.n = 0; my->w.n < 2000; my->w.n++) { /* never waits, and still gives way */
        CORO_TRY(coro_stream_read_exact(co, &my->w.s, my->back, 20));
    }
    my->over = true;
    CHECK(my->turns.frame.n >= 2000 / 128);
CORO_FINALLY:
    my->over = true;
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_reader_that_never_waits_lets_others_run) /* I12, I34 */
{
    CHECK_EQ(coro_run(torrent), 0);
}

struct bulk_sink {
    CORO_FRAME;
    int socket;
    size_t n, want;
    char buf[10000];
};

CORO(bulk_sink)
{
    CORO_BEGIN();
    while (my->n < my->want) {
        ssize_t n;
        CORO_TRY(coro_wait_fd(co, my->socket, POLLIN));
        n = recv(my->socket, my->buf, 1 + my->n % sizeof my->buf, MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ((unsigned char)my->buf[i], (my->n + (size_t)i) % 251);
        my->n += n > 0 ? (size_t)n : 0;
    }
    CORO_END(0);
}

struct bulk {
    CORO_FRAME;
    struct with w;
    coro_group g;
    size_t at, n;
    unsigned random;
    char big[300000];
};

CORO(bulk)
{
    CORO_BEGIN();
    with_open(&my->w);
    for (size_t i = 0; i < sizeof my->big; i++)
        my->big[i] = (char)(i % 251);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, bulk_sink, .socket = other, .want = sizeof my->big);
    while (my->at < sizeof my->big) {
        my->random = my->random * 1103515245 + 12345;
        my->n = (my->random >> 16) % 8 ? (my->random >> 20) % 40 : (my->random >> 16) % 30000;
        my->n = my->n < sizeof my->big - my->at ? my->n : sizeof my->big - my->at;
        CORO_TRY(coro_stream_write(co, &my->w.s, my->big + my->at, my->n));
        my->at += my->n;
    }
    CORO_TRY(coro_stream_flush(co, &my->w.s));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    with_close(&my->w);
    CORO_END(0);
}

TEST(stream_writes_of_all_sizes_arrive_in_order) /* I01 */
{
    CHECK_EQ(coro_run(bulk), 0);
}
