/* test_parcel.c -- descriptors sent from process to process. (I02, I16, I41, D2) */
#include "io.h"

#include <sys/resource.h>

static coro_fd a, b, gift, got;
static char in_text[64];
static int descriptors;

static void start(void)
{
    descriptors = open_descriptors();
    both(&a, &b);
    CHECK_EQ(coro_pipe(&got, &gift), 0);
    CHECK_EQ(coro_close(&got), 0);
}

static void end(void)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(coro_close(&gift), 0);
    CHECK_EQ(coro_close(&got), 0);
    CHECK_EQ(open_descriptors(), descriptors);
}

struct sends {
    CORO_FRAME;
    coro_fd *h;
    coro_parcel parcel;
    int rc;
};

CORO(sends)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_send_fd(co, my->h, &my->parcel));
    CORO_END(my->rc);
}

struct receives {
    CORO_FRAME;
    coro_fd *h;
    coro_parcel parcel;
    int rc;
};

CORO(receives)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_recv_fd(co, my->h, &my->parcel));
    CORO_END(my->rc);
}

/* What there is room for: one descriptor. */
static coro_parcel room(void)
{
    coro_parcel p = {in_text, sizeof in_text, &got, false};
    memset(in_text, 0, sizeof in_text);
    return p;
}

static coro_parcel letter(const char *text)
{
    coro_parcel p = {(void *)(uintptr_t)text, strlen(text), &gift, false};
    return p;
}

/* Is it the same file? */
static bool same(const coro_fd *h, const coro_fd *k)
{
    struct stat s, t;
    CHECK_EQ(fstat(coro_fd_number(h), &s), 0);
    CHECK_EQ(fstat(coro_fd_number(k), &t), 0);
    return s.st_ino == t.st_ino && s.st_dev == t.st_dev;
}

/* Several descriptors in one message, by hand. */
static void send_several(int through, const int *numbers, size_t n)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec v = {(void *)(uintptr_t) "many", 4};
    struct msghdr m;
    memset(&m, 0, sizeof m);
    memset(&control, 0, sizeof control);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(&control.head), numbers, n * sizeof(int));
    CHECK_EQ(sendmsg(through, &m, 0), 4);
}

TEST(a_descriptor_arrives_with_its_bytes_whether_waited_for_or_not)
{
    for (int waiting = 0; waiting < 2; waiting++) {
        static CORO_TASK(sends) t;
        static CORO_TASK(receives) u;
        memset(&t, 0, sizeof t);
        memset(&u, 0, sizeof u);
        start();
        begin();
        if (waiting)
            coro_start(&io_loop.root, &u, receives, .h = &b, .parcel = room());
        settle();
        coro_start(&io_loop.root, &t, sends, .h = &a, .parcel = letter("hello"));
        settle();
        if (!waiting)
            coro_start(&io_loop.root, &u, receives, .h = &b, .parcel = room());
        finish();
        CHECK_EQ(coro_task_result(&t), 5);
        CHECK_EQ(coro_task_result(&u), 5);
        CHECK_STR(in_text, "hello");
        CHECK(!u.frame.parcel.lost);
        CHECK(coro_fd_number(&got) != coro_fd_number(&gift));
        CHECK(same(&got, &gift));
        CHECK_EQ(fcntl(coro_fd_number(&got), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK(!is_blocking(coro_fd_number(&got)));
        end();
    }
}

TEST(bytes_without_a_descriptor_and_the_end_are_told)
{
    static CORO_TASK(receives) t[2];
    start();
    say(coro_fd_number(&a), "plain");
    CHECK_EQ(coro_shutdown(&a, CORO_OUT), 0);
    begin();
    coro_start(&io_loop.root, &t[0], receives, .h = &b, .parcel = room());
    settle();
    coro_start(&io_loop.root, &t[1], receives, .h = &b, .parcel = room());
    finish();
    CHECK_EQ(coro_task_result(&t[0]), 5);
    CHECK_EQ(coro_task_result(&t[1]), 0);
    CHECK_EQ(coro_fd_number(&got), -1);
    CHECK(!t[1].frame.parcel.lost);
    end();
}

TEST(descriptors_that_are_too_many_are_closed_and_reported)
{
    static const size_t counts[] = {2, 3, 253};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        static CORO_TASK(receives) t;
        int many[253];
        memset(&t, 0, sizeof t);
        start();
        for (size_t k = 0; k < counts[i]; k++)
            many[k] = coro_fd_number(&gift);
        send_several(coro_fd_number(&a), many, counts[i]);
        begin();
        coro_start(&io_loop.root, &t, receives, .h = &b, .parcel = room());
        finish();
        CHECK_EQ(coro_task_result(&t), 4);
        CHECK(t.frame.parcel.lost);
        CHECK(same(&got, &gift));
        end();
    }
}

TEST(a_descriptor_that_this_process_has_no_room_for_is_reported)
{
    static CORO_TASK(receives) t;
    struct rlimit before, few;
    int one;
    start();
    one = coro_fd_number(&gift);
    send_several(coro_fd_number(&a), &one, 1);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 3;
    begin();
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    coro_start(&io_loop.root, &t, receives, .h = &b, .parcel = room());
    settle();
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    CHECK(t.frame.parcel.lost);
    CHECK_EQ(coro_fd_number(&got), -1);
    end();
}

TEST(a_cancelled_receive_loses_no_descriptor) /* I16, I41 */
{
    static CORO_TASK(sends) t;
    static CORO_TASK(receives) u[3];
    start();
    begin();
    coro_start(&io_loop.root, &u[0], receives, .h = &b, .parcel = room());
    settle();
    CHECK(coro_task_cancel(&u[0]));
    settle();
    CHECK_EQ(coro_task_result(&u[0]), -ECANCELED);
    CHECK_EQ(coro_fd_number(&got), -1);
    coro_start(&io_loop.root, &t, sends, .h = &a, .parcel = letter("x"));
    coro_start(&io_loop.root, &u[1], receives, .h = &b, .parcel = room());
    CHECK(coro_task_cancel(&u[1])); /* in a cancelled task nothing happens */
    settle();
    CHECK_EQ(coro_task_result(&u[1]), -ECANCELED);
    CHECK_EQ(coro_fd_number(&got), -1);
    coro_start(&io_loop.root, &u[2], receives, .h = &b, .parcel = room());
    finish();
    CHECK_EQ(coro_task_result(&u[2]), 1);
    CHECK(same(&got, &gift));
    end();
}

TEST(a_descriptor_that_came_before_the_cancellation_is_delivered) /* D2 */
{
    static CORO_TASK(receives) t;
    int one;
    start();
    begin();
    coro_start(&io_loop.root, &t, receives, .h = &b, .parcel = room());
    settle();
    one = coro_fd_number(&gift);
    send_several(coro_fd_number(&a), &one, 1);
    while (coro_fd_number(&got) < 0) /* taken, its task not yet resumed */
        coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, 0);
    (void)coro_task_cancel(&t);
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    end();
}

static int result_of_send(coro_fd *h, coro_parcel parcel)
{
    static CORO_TASK(sends) t;
    memset(&t, 0, sizeof t);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = h, .parcel = parcel);
    finish();
    return coro_task_result(&t);
}

static int result_of_receive(coro_fd *h, coro_parcel parcel)
{
    static CORO_TASK(receives) t;
    memset(&t, 0, sizeof t);
    begin();
    coro_start(&io_loop.root, &t, receives, .h = h, .parcel = parcel);
    finish();
    return coro_task_result(&t);
}

TEST(parcels_that_cannot_go_are_refused)
{
    coro_fd udp, closed;
    coro_parcel p;
    start();
    memset(&udp, 0, sizeof udp);
    memset(&closed, 0, sizeof closed);
    CHECK_EQ(coro_udp_open(&udp, "127.0.0.1:0"), 0);
    CHECK_EQ(result_of_send(&udp, letter("x")), -EOPNOTSUPP);
    CHECK_EQ(result_of_receive(&udp, room()), -EOPNOTSUPP);
    CHECK_EQ(result_of_send(&gift, letter("x")), -ENOTSOCK);
    CHECK_EQ(result_of_send(&closed, letter("x")), -EBADF);
    CHECK_EQ(result_of_receive(&closed, room()), -EBADF);
    CHECK_EQ(result_of_send(&a, letter("")), -EINVAL);
    p = letter("x");
    p.fd = &closed;
    CHECK_EQ(result_of_send(&a, p), -EBADF);
    p = room();
    p.fd = &gift;
    CHECK_EQ(result_of_receive(&b, p), -EBUSY);
    p = room();
    p.size = 0;
    CHECK_EQ(result_of_receive(&b, p), -EINVAL);
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(result_of_send(&a, letter("x")), -EPIPE);
    CHECK_EQ(coro_close(&udp), 0);
    end();
}

TEST(a_parcel_waits_for_room)
{
    static CORO_TASK(sends) t;
    static CORO_TASK(receives) u;
    char filler[4096];
    ssize_t n;
    memset(filler, 'f', sizeof filler);
    start();
    while (write(coro_fd_number(&a), filler, sizeof filler) > 0)
        continue;
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .parcel = letter("late"));
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    do
        n = read(coro_fd_number(&b), filler, sizeof filler);
    while (n > 0 && filler[0] == 'f');
    coro_start(&io_loop.root, &u, receives, .h = &b, .parcel = room());
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    CHECK_EQ(coro_task_result(&u), 4);
    CHECK_STR(in_text, "late");
    CHECK(same(&got, &gift));
    end();
}

/* One that nobody took goes with the socket. */
TEST(a_descriptor_under_way_goes_when_its_socket_is_closed)
{
    static CORO_TASK(sends) t;
    coro_fd in;
    char c;
    descriptors = open_descriptors();
    memset(&in, 0, sizeof in);
    both(&a, &b);
    CHECK_EQ(coro_pipe(&in, &gift), 0);
    begin();
    coro_start(&io_loop.root, &t, sends, .h = &a, .parcel = letter("x"));
    finish();
    CHECK_EQ(coro_close(&gift), 0);
    CHECK_EQ(read(coro_fd_number(&in), &c, 1), -1); /* a writer is left */
    CHECK_EQ(coro_close(&b), 0);
    CHECK_EQ(read(coro_fd_number(&in), &c, 1), 0);
    CHECK_EQ(coro_close(&in), 0);
    end();
}

/* ---- pipes ----------------------------------------------------------------------------------- */

TEST(a_pipe_carries_from_its_one_end_to_the_other)
{
    static CORO_TASK(writes) t;
    static CORO_TASK(reads) u;
    descriptors = open_descriptors();
    CHECK_EQ(coro_pipe(&a, &b), 0);
    CHECK(!is_blocking(coro_fd_number(&a)));
    CHECK(!is_blocking(coro_fd_number(&b)));
    CHECK_EQ(fcntl(coro_fd_number(&a), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(coro_fd_number(&b), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    begin();
    coro_start(&io_loop.root, &u, reads, .h = &a);
    settle();
    coro_start(&io_loop.root, &t, writes, .h = &b, .from = "through", .n = 7);
    finish();
    CHECK_EQ(coro_task_result(&u), 7);
    CHECK_EQ(memcmp(u.frame.text, "through", 7), 0);
    CHECK_EQ(coro_pipe(&a, &got), -EBUSY);
    CHECK_EQ(coro_pipe(&got, &b), -EBUSY);
    CHECK_EQ(coro_fd_number(&got), -1);
    end();
}

TEST(a_pipe_that_cannot_be_had_leaves_nothing_open)
{
    struct rlimit before, few;
    descriptors = open_descriptors();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 4;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    CHECK_EQ(coro_pipe(&a, &b), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(coro_fd_number(&b), -1);
    end();
}
