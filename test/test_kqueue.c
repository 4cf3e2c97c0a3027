/* test_kqueue.c -- the kqueue backend; and that the tests' own kqueue does what BSD's manual says.
 */
#undef CORO_SHARED /* private functions are used */
#include "io.h"

#if CORO_IO_BACKEND == CORO_IO_KQUEUE

static int kq;
static struct kevent got[8];

static void open_queue(void)
{
    kq = kqueue();
    CHECK(kq >= 0);
}

/* One change: 0, or its error. */
static int put(uintptr_t ident, short filter, int flags, unsigned fflags)
{
    struct kevent e;
    EV_SET(&e, ident, filter, (unsigned short)flags, fflags, 0, &kq);
    return kevent(kq, &e, 1, NULL, 0, NULL) < 0 ? errno : 0;
}

/* What is there now: how many. */
static int take(void)
{
    struct timespec none = {0, 0};
    return kevent(kq, NULL, 0, got, 8, &none);
}

static void stream(int ends[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

/* A connection through 127.0.0.1. */
static void tcp(int ends[2])
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(bind(listener, (struct sockaddr *)&at, size), 0);
    CHECK_EQ(listen(listener, 8), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(ends[0], (struct sockaddr *)&at, size), 0);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_EQ(close(listener), 0);
}

static void shut(int ends[2])
{
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(close(kq), 0);
}

/* ---- kqueue itself: what its manual says ----------------------------------------------------- */

TEST(kqueue_tells_again_and_again_unless_told_to_clear)
{
    int ends[2];
    open_queue();
    stream(ends);
    say(ends[1], "abc");
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(take(), 1);
        CHECK_EQ(got[0].ident, ends[0]);
        CHECK_EQ(got[0].filter, EVFILT_READ);
        CHECK_EQ(got[0].data, 3);
        CHECK(got[0].udata == &kq);
        CHECK_EQ(got[0].flags & EV_EOF, 0);
    }
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_DELETE, 0), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0), 0);
    CHECK_EQ(take(), 1); /* what was there before */
    CHECK_EQ(take(), 0);
    say(ends[1], "de");
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].data, 5);
    hear(ends[0], "abcde");
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_DELETE, 0), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
    CHECK_EQ(take(), 0); /* what has been read is not told */
    shut(ends);
}

TEST(kqueue_tells_the_end_with_the_last_data)
{
    int ends[2];
    open_queue();
    stream(ends);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0), 0);
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].filter, EVFILT_WRITE);
    CHECK(got[0].data > 1000);
    say(ends[1], "last");
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(take(), 2);
    for (int i = 0; i < 2; i++) {
        CHECK(got[i].flags & EV_EOF);
        if (got[i].filter == EVFILT_READ)
            CHECK_EQ(got[i].data, 4);
    }
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(kq), 0);
}

TEST(kqueue_oneshot_disable_enable_and_unknown_ones)
{
    int ends[2];
    open_queue();
    stream(ends);
    say(ends[1], "x");
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0), 0);
    CHECK_EQ(take(), 1);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_DELETE, 0), ENOENT);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ENABLE, 0), ENOENT);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD | EV_DISABLE, 0), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ENABLE, 0), 0);
    CHECK_EQ(take(), 1);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_DISABLE, 0), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0); /* enables, too */
    CHECK_EQ(take(), 1);
    CHECK_EQ(put((uintptr_t)ends[0], 99, EV_ADD, 0), EINVAL);
    CHECK_EQ(put(9999, EVFILT_READ, EV_ADD, 0), EBADF);
    CHECK_EQ(put(9999, EVFILT_READ, EV_DELETE, 0), EBADF);
    shut(ends);
    CHECK_EQ(take(), -1);
    CHECK_EQ(errno, EBADF);
}

TEST(kqueue_answers_each_change_when_asked_for_receipts)
{
    struct timespec none = {0, 0};
    struct kevent e[3];
    int ends[2];
    open_queue();
    stream(ends);
    say(ends[1], "x");
    EV_SET(&e[0], (uintptr_t)ends[0], EVFILT_READ, EV_ENABLE | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&e[1], (uintptr_t)ends[0], EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, &e);
    EV_SET(&e[2], 9999, EVFILT_WRITE, EV_ADD | EV_RECEIPT, 0, 0, NULL);
    CHECK_EQ(kevent(kq, e, 3, e, 3, &none), 3); /* and no event, although there is one */
    for (int i = 0; i < 3; i++)
        CHECK_EQ(e[i].flags, EV_ERROR);
    CHECK_EQ(e[0].data, ENOENT);
    CHECK_EQ(e[1].data, 0);
    CHECK_EQ(e[2].data, EBADF);
    CHECK_EQ(e[2].filter, EVFILT_WRITE);
    CHECK_EQ(take(), 1);
    CHECK(got[0].udata == &e);
    EV_SET(&e[0], (uintptr_t)ends[0], EVFILT_READ, EV_ENABLE, 0, 0, &kq);
    CHECK_EQ(kevent(kq, e, 1, NULL, 0, NULL), 0);
    CHECK_EQ(take(), 1);
    CHECK(got[0].udata == &kq); /* each change brings its own */
    shut(ends);
}

TEST(kqueue_forgets_a_number_that_is_closed_whatever_copies_there_are)
{
    int ends[2], copy;
    open_queue();
    for (int again = 0; again < 2; again++) {
        stream(ends);
        copy = dup(ends[0]);
        CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
        CHECK_EQ(put((uintptr_t)ends[0], EVFILT_WRITE, EV_ADD, 0), 0);
        say(ends[1], "x");
        CHECK_EQ(take(), 2);
        if (again)
            CHECK_EQ(dup2(copy, ends[0]), ends[0]); /* closes it, and it is back at once */
        else
            CHECK_EQ(close(ends[0]), 0);
        CHECK_EQ(take(), 0);
        if (!again)
            CHECK_EQ(dup2(copy, ends[0]), ends[0]);
        CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ENABLE, 0), ENOENT);
        CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
        CHECK_EQ(take(), 1);
        CHECK_EQ(close(copy), 0);
        CHECK_EQ(close(ends[0]), 0);
        CHECK_EQ(close(ends[1]), 0);
    }
    CHECK_EQ(close(kq), 0);
}

TEST(kqueue_forgets_what_libc_has_closed)
{
    FILE *f;
    int ends[2];
    open_queue();
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    f = fdopen(ends[0], "r");
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
    CHECK_EQ(fclose(f), 0);
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_DELETE, 0), EBADF);
    CHECK_EQ(take(), 0);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(close(kq), 0);
}

TEST(kqueue_counts_who_waits_to_be_accepted)
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peers[3];
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(bind(listener, (struct sockaddr *)&at, size), 0);
    CHECK_EQ(listen(listener, 8), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    open_queue();
    CHECK_EQ(put((uintptr_t)listener, EVFILT_READ, EV_ADD, 0), 0);
    CHECK_EQ(take(), 0);
    for (int i = 0; i < 3; i++) {
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(peers[i], (struct sockaddr *)&at, size), 0);
        CHECK_EQ(take(), 1);
        CHECK_EQ(got[0].data, i + 1);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(close(peers[i]), 0);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(close(kq), 0);
}

TEST(kqueue_counts_what_an_urgent_byte_hides)
{
    struct pollfd p = {-1, POLLPRI, 0};
    int ends[2];
    open_queue();
    tcp(ends);
    CHECK_EQ(put((uintptr_t)ends[1], EVFILT_READ, EV_ADD, 0), 0);
    say(ends[0], "ab");
    CHECK_EQ(send(ends[0], "!", 1, MSG_OOB), 1);
    say(ends[0], "cde");
    p.fd = ends[1];
    CHECK_EQ(poll(&p, 1, 1000), 1);
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].data, 5);
    hear(ends[1], "ab"); /* a read stops there */
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].data, 3);
    shut(ends);
}

TEST(kqueue_does_not_watch_a_pipe_that_nobody_reads)
{
    int ends[2];
    open_queue();
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(put((uintptr_t)ends[1], EVFILT_WRITE, EV_ADD, 0), 0);
    CHECK_EQ(take(), 1);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(take(), 1);
    CHECK(got[0].flags & EV_EOF);
    CHECK_EQ(put((uintptr_t)ends[1], EVFILT_WRITE, EV_DELETE, 0), 0);
    CHECK_EQ(put((uintptr_t)ends[1], EVFILT_WRITE, EV_ADD, 0), EPIPE);
    CHECK_EQ(put((uintptr_t)ends[1], EVFILT_READ, EV_ADD, 0), 0);
    CHECK_EQ(take(), 1);
    CHECK(got[0].flags & EV_EOF);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(close(kq), 0);
}

#if defined EVFILT_USER
TEST(kqueue_is_triggered_by_its_user)
{
    open_queue();
    CHECK_EQ(put(7, EVFILT_USER, 0, NOTE_TRIGGER), ENOENT);
    CHECK_EQ(put(7, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFCOPY | 5), 0);
    CHECK_EQ(put(8, EVFILT_USER, EV_ADD, NOTE_FFNOP), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put(7, EVFILT_USER, 0, NOTE_FFOR | 2), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put(7, EVFILT_USER, 0, NOTE_FFAND | 6), 0);
    CHECK_EQ(put(7, EVFILT_USER, 0, NOTE_TRIGGER), 0);
    CHECK_EQ(put(7, EVFILT_USER, 0, NOTE_TRIGGER), 0);
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].ident, 7);
    CHECK_EQ(got[0].fflags, 6);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put(8, EVFILT_USER, 0, NOTE_TRIGGER), 0);
    CHECK_EQ(take(), 1); /* until it is deleted */
    CHECK_EQ(take(), 1);
    CHECK_EQ(put(8, EVFILT_USER, EV_DISABLE, 0), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(put(8, EVFILT_USER, EV_DELETE, 0), 0);
    CHECK_EQ(take(), 0);
    CHECK_EQ(close(kq), 0);
}
#endif /* defined EVFILT_USER */

TEST(kqueue_tells_once_that_a_process_has_ended)
{
    int ends[2], status;
    pid_t pid;
    open_queue();
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        char drop;
        close(ends[1]);
        (void)!read(ends[0], &drop, 1);
        _exit(take() == -1 && errno == EBADF ? 3 : 4); /* a queue is not inherited */
    }
    CHECK_EQ(put((uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT), 0);
    CHECK_EQ(take(), 0);
    say(ends[1], "x");
    CHECK_EQ(kevent(kq, NULL, 0, got, 8, NULL), 1);
    CHECK_EQ(got[0].ident, pid);
    CHECK_EQ(got[0].fflags, NOTE_EXIT);
    CHECK_EQ(WEXITSTATUS((int)got[0].data), 3);
    CHECK_EQ(take(), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(put((uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT), ESRCH);
    shut(ends);
}

TEST(kqueue_can_be_watched_itself)
{
    int inner, outer, ends[2];
    struct pollfd p = {-1, POLLIN, 0};
    open_queue();
    inner = kq;
    open_queue();
    outer = kq;
    stream(ends);
    CHECK_EQ(put((uintptr_t)inner, EVFILT_READ, EV_ADD | EV_CLEAR, 0), 0);
    CHECK_EQ(put((uintptr_t)inner, EVFILT_WRITE, EV_ADD, 0), EINVAL);
    kq = inner;
    CHECK_EQ(put((uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0), 0);
    kq = outer;
    CHECK_EQ(take(), 0);
    say(ends[1], "x");
    p.fd = outer;
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(take(), 1);
    CHECK_EQ(got[0].ident, inner);
    CHECK_EQ(take(), 0);
    CHECK_EQ(close(inner), 0);
    shut(ends);
}

TEST(kqueue_waits_as_long_as_it_is_told)
{
    struct timespec limit = {0, 3000000}, before, after;
    int ends[2];
    open_queue();
    stream(ends);
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    CHECK_EQ(kevent(kq, NULL, 0, got, 8, &limit), 0);
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec >=
          3000000);
    CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, NULL), 0); /* no room: it does not wait */
    shut(ends);
}

/* ---- the backend ----------------------------------------------------------------------------- */

static coro_fd a, b;

static void all_closed(int peer)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    if (peer >= 0)
        CHECK_EQ(close(peer), 0);
}

/* Both of its ways come in one batch: the first ends the wait, the handle is gone. */
TEST(a_foreign_descriptor_ready_in_both_ways_is_told_once)
{
    static CORO_TASK(foreign) t;
    int peer = pair(&a), number = coro_fd_release(&a);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN | POLLOUT);
    say(peer, "x");
    finish();
    CHECK_EQ(coro_task_result(&t), POLLIN | POLLOUT);
    CHECK_EQ(close(number), 0);
    all_closed(peer);
}

struct closes {
    CORO_FRAME;
    coro__watched w, *other;
    int calls;
};

static void close_the_other(coro__watched *w)
{
    struct closes *my = CORO__AROUND(struct closes, w, w);
    my->calls++;
    coro__watched_close(my->other);
}

CORO(closes)
{
    int ends[2];
    CORO_BEGIN();
    CHECK_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    coro__watched_open(&my->w, ends[0], close_the_other);
    CHECK_EQ(coro__fd_register(co, &my->w.h), 0);
    say(ends[1], "x");
    CHECK_EQ(close(ends[1]), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro__watched_close(&my->w);
    CORO_END(0);
}

/* Two have something to tell; the first to be heard closes the other, which then is silent. */
TEST(what_a_closed_handle_had_to_tell_in_the_same_batch_is_dropped)
{
    static CORO_TASK(closes) t[2];
    begin();
    coro_start(&io_loop.root, &t[0], closes, .other = &t[1].frame.w);
    coro_start(&io_loop.root, &t[1], closes, .other = &t[0].frame.w);
    finish();
    CHECK((t[0].frame.calls == 0) != (t[1].frame.calls == 0));
}

TEST(a_number_of_a_known_handle_is_refused_and_stays_its)
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) v;
    static CORO_TASK(foreign) u;
    static char much[1 << 20], drop[1 << 16];
    int peer = pair(&a), size = 4096;
    CHECK_EQ(setsockopt(coro_fd_number(&a), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &v, writes, .h = &a, .from = much, .n = sizeof much);
    settle();
    coro_start(&io_loop.root, &u, foreign, .number = coro_fd_number(&a), .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBUSY);
    for (size_t n = 0; n < sizeof much;) { /* more than once there is room again */
        ssize_t r = recv(peer, drop, sizeof drop, MSG_DONTWAIT);
        n += r > 0 ? (size_t)r : 0;
        (void)coro_loop_step(&io_loop);
    }
    say(peer, "mine");
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    CHECK_EQ(coro_task_result(&v), sizeof much);
    all_closed(peer);
}

TEST(a_pipe_that_nobody_reads_need_not_be_waited_for)
{
    static CORO_TASK(foreign) t, u, v;
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(close(ends[0]), 0);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = ends[1], .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_result(&t), POLLOUT);
    coro_start(&io_loop.root, &u, foreign, .number = ends[1], .events = POLLIN | POLLOUT);
    settle();
    CHECK_EQ(coro_task_result(&u), POLLIN | POLLOUT);
    CHECK_EQ(close(ends[1]), 0);
    coro_start(&io_loop.root, &v, foreign, .number = ends[1], .events = POLLOUT);
    finish();
    CHECK_EQ(coro_task_result(&v), -EBADF);
}

/* The second wait is refused; the first one's knote must stay. */
TEST(a_pipe_that_loses_its_reader_is_told_to_both_who_wait)
{
    static CORO_TASK(foreign) t, u;
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = ends[1], .events = POLLIN);
    settle();
    CHECK_EQ(close(ends[0]), 0);
    coro_start(&io_loop.root, &u, foreign, .number = ends[1], .events = POLLOUT);
    finish();
    CHECK_EQ(coro_task_result(&u), POLLOUT);
    CHECK_EQ(coro_task_result(&t), POLLERR);
    CHECK_EQ(close(ends[1]), 0);
}

TEST(a_pipe_that_has_lost_its_reader_before_it_is_watched_is_an_error)
{
    static CORO_TASK(writes) t, u;
    static char much[1 << 17];
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(coro_fd_adopt(&a, ends[1]), 0);
    begin();
    coro_start(&io_loop.root, &t, writes, .h = &a, .from = much, .n = sizeof much);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    finish(); /* the handle is no loop's now, and has no room */
    CHECK_EQ(close(ends[0]), 0);
    begin();
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = much, .n = 1);
    finish();
    CHECK_EQ(coro_task_result(&u), -EPIPE);
    all_closed(-1);
}

/* The kernel says how much is there: whoever takes it all need not try again. */
TEST(a_read_of_all_that_was_told_of_knows_that_it_was_all)
{
    static CORO_TASK(reads) t, u, v, w;
    struct pollfd p = {-1, POLLPRI, 0};
    int ends[2];
    tcp(ends);
    CHECK_EQ(coro_fd_adopt(&a, ends[0]), 0);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    say(ends[1], "abc");
    settle();
    CHECK_EQ(coro_task_result(&t), 3);
    CHECK_EQ(a.flags & CORO__FD_READY_IN, 0);
    coro_start(&io_loop.root, &u, reads, .h = &a, .most = 2);
    settle();
    say(ends[1], "abc");
    settle();
    CHECK_EQ(coro_task_result(&u), 2);
    CHECK(a.flags & CORO__FD_READY_IN);
    coro_start(&io_loop.root, &v, reads, .h = &a, .most = 2); /* not now told of: who knows */
    settle();
    CHECK_EQ(coro_task_result(&v), 1);
    CHECK(a.flags & CORO__FD_READY_IN);
    coro_start(&io_loop.root, &w, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_status(&w), CORO_RUNNING);
    CHECK_EQ(send(ends[1], "ab!cd", 3, MSG_OOB), 3);
    say(ends[1], "cd");
    p.fd = ends[0];
    CHECK_EQ(poll(&p, 1, 1000), 1);
    settle();
    CHECK_EQ(coro_task_result(&w), 2); /* stopped at the urgent byte */
    CHECK(a.flags & CORO__FD_READY_IN);
    finish();
    all_closed(ends[1]);
}

#endif /* CORO_IO_BACKEND == CORO_IO_KQUEUE */
