/* test_peers.c -- a server of lines, and peers that do not behave. (I07, I09, I14, I34)
 *
 * The peers are plain sockets of the test, or threads. The server answers each line with the same.
 */
#include "io.h"

static coro_fd listener;
static coro_server server;
static int descriptors;
static size_t skipped; /* bytes of lines that were too long */

struct lines {
    CORO_FRAME;
    coro_fd conn;
    coro_time patience; /* for each wait */
    bool strict;        /* a line that is too long ends it */
    coro_stream s;
    coro_slice line;
    int got;
    char in[4096], out[4096];
};

CORO(lines)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    for (;;) {
        CORO_AWAIT(my->got, coro_within(co, my->patience,
                                        coro_stream_read_line(co, &my->s, &my->line)));
        if (my->got == -EMSGSIZE && !my->strict) {
            skipped += coro_stream_skip(&my->s, my->line.len);
            continue;
        }
        CORO_TRY(my->got);
        if (!my->got)
            break;
        my->line.data[my->line.len++] = '\n';
        CORO_TRY(coro_within(co, my->patience, coro_stream_write(co, &my->s, my->line.data,
                                                                 my->line.len)));
    }
    CORO_TRY(coro_within(co, my->patience, coro_stream_flush(co, &my->s)));
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct serving {
    CORO_FRAME;
    coro_time patience;
    bool strict;
};

CORO(serving)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &server, &listener, conn, lines, .patience = my->patience,
                        .strict = my->strict));
    CORO_END(0);
}

static void open_house(coro_time patience, bool strict)
{
    static CORO_TASK(serving) t;
    memset(&t, 0, sizeof t);
    descriptors = open_descriptors();
    CHECK_EQ(coro_listen(&listener, "127.0.0.1:0", 0), 0);
    begin();
    coro_start(&io_loop.root, &t, serving, .patience = patience, .strict = strict);
    settle();
}

static void close_house(void)
{
    CHECK_EQ(coro_server_stop(&server), 1);
    finish();
    CHECK_EQ(server.handlers.alive, 0);
    CHECK_EQ(coro_close(&listener), 0);
    CHECK_EQ(open_descriptors(), descriptors);
}

/* Connected; and, if it is asked to wait, with a handler. */
static int caller(bool wait)
{
    coro_total before = server.accepted;
    coro_address at;
    int number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    CHECK_EQ(coro_fd_local(&listener, &at), 0);
    CHECK_EQ(connect(number, &at.any, at.length), 0);
    CHECK_EQ(setsockopt(number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    while (wait && server.accepted == before)
        (void)coro_loop_step(&io_loop);
    return number;
}

static int client(void)
{
    return caller(true);
}

/* Its close is a reset. */
static void slam(int number)
{
    struct linger hard = {1, 0};
    CHECK_EQ(setsockopt(number, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    CHECK_EQ(close(number), 0);
}

static void until_gone(coro_count handlers)
{
    while (server.handlers.alive > handlers)
        (void)coro_loop_step(&io_loop);
}

/* A line is answered as if nothing else was. */
static void answers(int number, const char *line)
{
    char text[16];
    ssize_t n = -1;
    say(number, line);
    while (n < 0)
        if (coro_loop_step(&io_loop) >= 0)
            n = recv(number, text, sizeof text, MSG_DONTWAIT);
    CHECK_EQ(n, strlen(line));
    CHECK_EQ(memcmp(text, line, strlen(line)), 0);
}

TEST(peer_that_sends_and_takes_a_byte_at_a_time_is_served)
{
    static const char text[] = "one\ntwo\n\nthree\n";
    int c;
    open_house(CORO_FOREVER, true);
    c = client();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        CHECK_EQ(write(c, text + i, 1), 1);
        settle();
    }
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char byte;
        CHECK_EQ(read(c, &byte, 1), 1);
        CHECK_EQ(byte, text[i]);
    }
    CHECK_EQ(close(c), 0);
    until_gone(0);
    CHECK_EQ(server.handlers.failed, 0);
    close_house();
}

TEST(peer_that_closes_its_half_gets_all_its_answers) /* I09 */
{
    int c;
    open_house(CORO_FOREVER, true);
    c = client();
    say(c, "one\ntwo\nrest");
    CHECK_EQ(shutdown(c, SHUT_WR), 0);
    until_gone(0);
    hear(c, "one\ntwo\n");
    hear(c, "");
    CHECK_EQ(server.handlers.failed, 0);
    CHECK_EQ(close(c), 0);
    close_house();
}

TEST(peer_that_resets_fails_its_handler_and_nobody_elses) /* I07 */
{
    int c, d;
    open_house(CORO_FOREVER, true);
    d = client();
    c = client();
    say(c, "half a li");
    settle();
    CHECK_EQ(server.handlers.alive, 2);
    slam(c);
    until_gone(1);
    CHECK_EQ(server.handlers.failed, 1);
    CHECK_EQ(server.handlers.first, -ECONNRESET);
    c = client(); /* with answers under way */
    say(c, "one\ntwo\n");
    settle();
    CHECK_EQ(server.handlers.alive, 2);
    slam(c);
    until_gone(1);
    CHECK_EQ(server.handlers.failed, 2);
    c = caller(false); /* gone before it is accepted */
    slam(c);
    answers(d, "still there?\n");
    CHECK_EQ(close(d), 0);
    until_gone(0);
    close_house();
}

TEST(peer_that_stalls_in_a_line_is_given_up_after_a_while)
{
    int c;
    open_house(CORO_MS(5), true);
    c = client();
    say(c, "whole\nhalf a li");
    settle();
    hear(c, "whole\n");
    CHECK_EQ(server.handlers.alive, 1);
    until_gone(0);
    CHECK_EQ(server.handlers.first, -ETIMEDOUT);
    hear(c, "");
    CHECK_EQ(close(c), 0);
    close_house();
}

/* It asks and asks, and takes no answer: its questions are not taken any more, either. */
TEST(peer_that_takes_no_answers_is_given_up_after_a_while)
{
    static char questions[4000];
    coro_count most;
    int c;
    memset(questions, 'q', sizeof questions - 1);
    questions[sizeof questions - 1] = '\n';
    open_house(CORO_MS(10), true);
    most = coro_stats(&io_loop).tasks;
    c = client();
    settle();
    while (server.handlers.alive) {
        while (send(c, questions, sizeof questions, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            (void)coro_loop_step(&io_loop);
        (void)coro_loop_step(&io_loop);
    }
    CHECK_EQ(server.handlers.failed, 1);
    CHECK_EQ(server.handlers.first, -ETIMEDOUT);
    CHECK_EQ(coro_stats(&io_loop).tasks, most);
    CHECK_EQ(close(c), 0);
    close_house();
}

/* ---- lines without an end -------------------------------------------------------------------- */

enum { PIECE = 1 << 20 };

struct flood {
    pthread_t thread;
    int number;
    size_t size, sent;
};

static void *pour(void *arg)
{
    struct flood *f = (struct flood *)arg;
    char *piece = (char *)malloc(PIECE);
    ssize_t n = 0;
    memset(piece, 'x', PIECE);
    while (f->sent < f->size && n >= 0) {
        n = send(f->number, piece, PIECE, MSG_NOSIGNAL);
        f->sent += n > 0 ? (size_t)n : 0;
    }
    free(piece);
    return NULL;
}

static void flooded(size_t size, bool strict)
{
    static struct flood f;
    int other;
    memset(&f, 0, sizeof f);
    open_house(CORO_FOREVER, strict);
    other = client();
    f.number = client();
    f.size = size;
    CHECK_EQ(pthread_create(&f.thread, NULL, pour, &f), 0);
    while (strict ? !server.handlers.failed : skipped < size / 2)
        (void)coro_loop_step(&io_loop);
    answers(other, "still there?\n"); /* meanwhile, or after */
    while (!strict && skipped < size)
        (void)coro_loop_step(&io_loop);
    CHECK_EQ(pthread_join(f.thread, NULL), 0);
    if (strict) {
        CHECK_EQ(server.handlers.first, -EMSGSIZE);
        CHECK(f.sent < size);
    } else { /* the line ends, and the next one is as good as any */
        CHECK_EQ(f.sent, size);
        answers(other, "still there?\n");
        answers(f.number, "x\n");
        answers(f.number, "next\n");
    }
    CHECK_EQ(close(f.number), 0);
    CHECK_EQ(close(other), 0);
    until_gone(0);
    close_house();
}

TEST(peer_that_sends_a_gigabyte_without_a_newline_is_cut_off) /* I14 */
{
    flooded((size_t)1 << 30, true);
}

TEST(peer_that_sends_a_line_of_64_megabytes_can_be_borne_in_four_kilobytes) /* I14, I34 */
{
    flooded((size_t)1 << 26, false);
}
