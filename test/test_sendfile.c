/* test_sendfile.c -- parts of files, to sockets, pipes and streams. (I01, I02, I08, I34)
 *
 * The library's sendfile is this file's: it may be told to send less, or to be interrupted.
 */
#undef CORO_SHARED /* the calls to be wrapped are in this file */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif /* !_GNU_SOURCE */
#include <errno.h>
#include <stdbool.h>
#include <sys/sendfile.h>

static size_t send_most; /* bytes in a go; 0: any number */
static bool send_interrupted;

__attribute__((unused)) static ssize_t our_sendfile(int to, int from, off_t *at, size_t n)
{
    if (send_interrupted) {
        send_interrupted = false;
        errno = EINTR;
        return -1;
    }
    return sendfile(to, from, at, send_most && send_most < n ? send_most : n);
}

#define sendfile(to, from, at, n) our_sendfile(to, from, at, n)
#include "io.h"

enum { SIZE = 1000000 };

static coro_fd a, b;
static int file = -1, descriptors;
static char *content, *came;

static void file_made(void)
{
    char name[] = "/tmp/coro-sendfile-XXXXXX";
    descriptors = open_descriptors();
    file = mkstemp(name);
    CHECK(file >= 0);
    CHECK_EQ(unlink(name), 0);
    content = (char *)malloc(SIZE);
    came = (char *)calloc(1, SIZE);
    for (int i = 0; i < SIZE; i++)
        content[i] = (char)(i % 251);
    CHECK_EQ(write(file, content, SIZE), SIZE);
}

static void file_gone(int peer)
{
    CHECK_EQ(lseek(file, 0, SEEK_CUR), SIZE); /* its position is the user's */
    CHECK_EQ(close(file), 0);
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    if (peer >= 0)
        CHECK_EQ(close(peer), 0);
    CHECK_EQ(open_descriptors(), descriptors);
    free(content);
    free(came);
}

struct sends {
    CORO_FRAME;
    coro_fd *h;
    coro_file_part part;
    int rc;
};

CORO(sends)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_sendfile(co, my->h, &my->part));
    CORO_END(my->rc);
}

static coro_file_part part_of(int64_t offset, size_t size)
{
    coro_file_part part = {file, offset, size};
    return part;
}

/* From a to b: the same bytes. */
static void carried(int64_t offset, size_t size)
{
    static CORO_TASK(sends) t;
    static CORO_TASK(reads_exact) u;
    memset(&t, 0, sizeof t);
    memset(&u, 0, sizeof u);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(offset, size));
    coro_start(&io_loop.root, &u, reads_exact, .h = &b, .to = came, .n = size);
    finish();
    CHECK_EQ(coro_task_result(&t), size);
    CHECK_EQ(coro_fd_moved(&a, CORO_OUT), size);
    CHECK_EQ(coro_task_result(&u), size);
    CHECK_EQ(memcmp(came, content + offset, size), 0);
}

TEST(sendfile_brings_a_part_of_a_file_through_sockets_and_pipes) /* I01 */
{
    file_made();
    both(&a, &b);
    carried(0, SIZE);
    carried(12345, 54321);
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(coro_pipe(&b, &a), 0);
    carried(1, SIZE - 1);
    file_gone(-1);
}

TEST(sendfile_interrupted_and_in_small_pieces_brings_all) /* I01, I31 */
{
    file_made();
    both(&a, &b);
    send_interrupted = true;
    send_most = 7;
    carried(3, 5000);
    CHECK(!CORO_IO_SENDFILE || !send_interrupted);
    file_gone(-1);
}

TEST(sendfile_copies_what_the_kernel_does_not_send) /* into a file that is appended to */
{
    char name[] = "/tmp/coro-sendfile-XXXXXX";
    static CORO_TASK(sends) t;
    int copy = mkstemp(name);
    CHECK_EQ(fcntl(copy, F_SETFL, O_APPEND), 0);
    CHECK_EQ(unlink(name), 0);
    file_made();
    CHECK_EQ(coro_fd_adopt(&a, dup(copy)), 0);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(10, SIZE));
    finish();
    CHECK_EQ(coro_task_result(&t), SIZE - 10); /* less: the file has ended */
    CHECK_EQ(pread(copy, came, SIZE, 0), SIZE - 10);
    CHECK_EQ(memcmp(came, content + 10, SIZE - 10), 0);
    descriptors--;
    file_gone(copy);
}

TEST(sendfile_is_short_where_the_file_ends)
{
    static CORO_TASK(sends) t[3];
    int peer;
    file_made();
    peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t[0], sends, .h = &a, .part = part_of(SIZE - 5, 100));
    settle();
    coro_start(&io_loop.root, &t[1], sends, .h = &a, .part = part_of(SIZE, 100));
    settle();
    coro_start(&io_loop.root, &t[2], sends, .h = &a, .part = part_of(0, 0));
    finish();
    CHECK_EQ(coro_task_result(&t[0]), 5);
    CHECK_EQ(coro_task_result(&t[1]), 0);
    CHECK_EQ(coro_task_result(&t[2]), 0);
    CHECK_EQ(recv(peer, came, SIZE, MSG_DONTWAIT), 5);
    file_gone(peer);
}

TEST(sendfile_that_is_cancelled_says_how_much_went_and_can_go_on_from_there) /* I02 */
{
    static CORO_TASK(sends) t, rest;
    static CORO_TASK(reads_exact) u;
    size_t moved;
    file_made();
    both(&a, &b);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(0, SIZE));
    settle();
    CHECK(coro_task_cancel(&t));
    finish();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    moved = coro_fd_moved(&a, CORO_OUT);
    CHECK(moved > 0 && moved < SIZE);
    begin();
    coro_start(&io_loop.root, &rest, sends, .h = &a,
               .part = part_of((int64_t)moved, SIZE - moved));
    coro_start(&io_loop.root, &u, reads_exact, .h = &b, .to = came, .n = SIZE);
    finish();
    CHECK_EQ(coro_task_result(&u), SIZE);
    CHECK_EQ(memcmp(came, content, SIZE), 0);
    file_gone(-1);
}

static volatile sig_atomic_t pipes;

static void on_pipe(int signo)
{
    (void)signo;
    pipes = pipes + 1;
}

TEST(sendfile_to_a_peer_that_has_gone_raises_no_SIGPIPE) /* I08 */
{
    static CORO_TASK(sends) t;
    sigset_t pending;
    int peer;
    file_made();
    peer = pair(&a);
    signal(SIGPIPE, on_pipe);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(0, SIZE));
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(close(peer), 0);
    (void)coro_loop_run(&io_loop);
    finish();
    CHECK(coro_task_result(&t) == -EPIPE || coro_task_result(&t) == -ECONNRESET);
    CHECK(coro_fd_moved(&a, CORO_OUT) > 0);
    memset(&t, 0, sizeof t);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(0, SIZE));
    finish();
    CHECK_EQ(coro_task_result(&t), -EPIPE);
    CHECK_EQ(coro_fd_moved(&a, CORO_OUT), 0);
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
    CHECK_EQ(pipes, 0);
    file_gone(-1);
}

static int result_of(coro_file_part part)
{
    static CORO_TASK(sends) t;
    memset(&t, 0, sizeof t);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part);
    finish();
    return coro_task_result(&t);
}

TEST(sendfile_refuses_what_is_no_file)
{
    coro_file_part part = {-1, 0, 10};
    int peer, ends[2];
    file_made();
    CHECK_EQ(result_of(part_of(0, 10)), -EBADF); /* a is closed */
    peer = pair(&a);
    CHECK_EQ(result_of(part), -EBADF);
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    part.file = ends[0];
    CHECK_EQ(result_of(part), -ESPIPE);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
    part.file = open("/tmp", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(result_of(part), -EISDIR);
    CHECK_EQ(close(part.file), 0);
    CHECK_EQ(result_of(part_of(-1, 10)), -EINVAL);
    CHECK_EQ(recv(peer, came, 1, MSG_DONTWAIT), -1);
    file_gone(peer);
}

struct bystander {
    CORO_FRAME;
    coro_task *of;
    int turns;
};

CORO(bystander)
{
    CORO_BEGIN();
    for (; coro_task_status(my->of) == CORO_RUNNING; my->turns++)
        CORO_TRY(coro_sleep(co, 0));
    CORO_END(my->turns);
}

/* A go is a byte. Sixteen, then it is the others' turn. */
TEST(sendfile_that_never_has_to_wait_leaves_turns_for_others) /* I34 */
{
    static CORO_TASK(sends) t;
    static CORO_TASK(bystander) u;
    int peer;
    file_made();
    peer = pair(&a);
    send_most = 1;
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .part = part_of(0, 160));
    coro_start(&io_loop.root, &u, bystander, .of = &t.task);
    finish();
    CHECK_EQ(coro_task_result(&u) >= 8, CORO_IO_SENDFILE);
    CHECK_EQ(recv(peer, came, SIZE, 0), 160);
    CHECK_EQ(memcmp(came, content, 160), 0);
    file_gone(peer);
}

/* ---- streams --------------------------------------------------------------------------------- */

struct page {
    CORO_FRAME;
    coro_stream s;
    coro_file_part part;
    int rc;
    char out[64];
};

CORO(page)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &a, NULL, 0, my->out, sizeof my->out));
    CORO_TRY(coro_stream_write(co, &my->s, "head", 4));
    CORO_TRY(my->rc, coro_stream_sendfile(co, &my->s, &my->part));
    CHECK_EQ(my->rc, my->part.size);
    CORO_TRY(coro_stream_write(co, &my->s, "foot", 4));
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    coro_stream_close(&my->s);
    CORO_END(my->rc);
}

static void a_page(bool full)
{
    static CORO_TASK(page) t;
    static CORO_TASK(reads_exact) u;
    char *text = (char *)malloc(SIZE + 8), *filler = (char *)calloc(1, SIZE);
    ssize_t filled = 0;
    memset(&t, 0, sizeof t);
    memset(&u, 0, sizeof u);
    file_made();
    both(&a, &b);
    if (full) /* the head has to wait, too */
        filled = write(coro_fd_number(&a), filler, SIZE);
    begin();
    coro_start(&io_loop.root, &t, page, .part = part_of(0, SIZE - 1000));
    settle();
    while (filled > 0)
        filled -= read(coro_fd_number(&b), filler, (size_t)filled);
    coro_start(&io_loop.root, &u, reads_exact, .h = &b, .to = text, .n = SIZE - 1000 + 8);
    finish();
    CHECK_EQ(coro_task_result(&u), SIZE - 1000 + 8);
    CHECK_EQ(memcmp(text, "head", 4), 0);
    CHECK_EQ(memcmp(text + 4, content, SIZE - 1000), 0);
    CHECK_EQ(memcmp(text + 4 + SIZE - 1000, "foot", 4), 0);
    free(text);
    free(filler);
    file_gone(-1);
}

TEST(stream_sendfile_writes_what_was_there_before_and_then_the_file)
{
    a_page(false);
    a_page(true);
}

struct gone_page {
    CORO_FRAME;
    coro_stream s;
    coro_file_part part;
    int rc;
    char out[64];
};

CORO(gone_page)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_stream_sendfile(co, &my->s, &my->part));
    CHECK_EQ(my->rc, -EBADF); /* no stream yet */
    CORO_TRY(coro_stream_open(&my->s, &a, NULL, 0, my->out, sizeof my->out));
    CORO_TRY(coro_stream_write(co, &my->s, "head", 4));
    CORO_AWAIT(my->rc, coro_stream_sendfile(co, &my->s, &my->part));
    CHECK_EQ(my->rc, -EPIPE);
    CHECK_EQ(coro_fd_moved(&a, CORO_OUT), 0);
    CORO_AWAIT(my->rc, coro_stream_sendfile(co, &my->s, &my->part));
CORO_FINALLY:
    coro_stream_close(&my->s);
    CORO_END(my->rc);
}

TEST(stream_sendfile_to_a_peer_that_has_gone_fails_for_good) /* I11 */
{
    static CORO_TASK(gone_page) t;
    file_made();
    CHECK_EQ(close(pair(&a)), 0);
    begin();
    coro_start(&io_loop.root, &t, gone_page, .part = part_of(0, 100));
    finish();
    CHECK_EQ(coro_task_result(&t), -EPIPE);
    file_gone(-1);
}

struct slow_page {
    CORO_FRAME;
    coro_stream s;
    coro_file_part part;
    int rc;
    char out[64];
};

/* Its reader comes when the time is over. */
CORO(slow_page)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &a, NULL, 0, my->out, sizeof my->out));
    CORO_TRY(coro_stream_write(co, &my->s, "head", 4));
    CORO_AWAIT(my->rc,
               coro_within(co, CORO_MS(1), coro_stream_sendfile(co, &my->s, &my->part)));
CORO_FINALLY:
    coro_stream_close(&my->s);
    CORO_END(my->rc);
}

TEST(stream_sendfile_that_timed_out_says_how_much_of_the_file_went) /* I02 */
{
    static CORO_TASK(slow_page) t;
    static CORO_TASK(reads_exact) u;
    size_t moved;
    file_made();
    both(&a, &b);
    begin();
    coro_start(&io_loop.root, &t, slow_page, .part = part_of(0, SIZE));
    finish();
    CHECK_EQ(coro_task_result(&t), -ETIMEDOUT);
    moved = coro_fd_moved(&a, CORO_OUT);
    CHECK(moved > 0 && moved < SIZE);
    CHECK_EQ(coro_close(&a), 0);
    begin();
    coro_start(&io_loop.root, &u, reads_exact, .h = &b, .to = came, .n = SIZE);
    finish();
    CHECK_EQ(coro_task_result(&u), moved + 4);
    CHECK_EQ(memcmp(came, "head", 4), 0);
    CHECK_EQ(memcmp(came + 4, content, moved), 0);
    file_gone(-1);
}
