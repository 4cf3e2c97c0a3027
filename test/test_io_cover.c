/* test_io_cover.c -- what all operations of coro_io.h have in common: none keeps the address of a
 * local variable, none happens in a cancelled scope, each refuses what it cannot do. And what is
 * rare: full queues and buffers, numbers reused behind our back, odd names and paths.
 */
#include "io.h"

#include <sys/wait.h>
#include <wchar.h>
#if defined __GLIBC__
#include <malloc.h>
#endif /* defined __GLIBC__ */

typedef CORO_MAILBOX(int, 1) ints;

static coro_fd h, other, third;
static coro_stream s;
static coro_slice slice;
static coro_threads threads;
static coro_process process;
static coro_file file;
static coro_address address;
static coro_datagram datagram;
static coro_file_part part;
static ints box;
static char text[64];
static coro_parcel parcel = {text, 1, NULL, false};

/* As large as anything that an operation is given the address of. */
union room {
    coro_fd fd;
    coro_stream stream;
    coro_process process;
    coro_file file;
    coro_signals signals;
    coro_slice slice;
    struct stat stat;
    coro_address address[2];
    void *pointer;
    int number;
    char text[64];
};

static union room room;

static intptr_t no_job(coro_job *job, void *arg)
{
    (void)job;
    (void)arg;
    return 0;
}

enum { BYTES = 10, STREAMS = 11, OTHERS = 21 };

/* Operations that keep the address p, none of which must happen. */
static coro_op with_bytes(coro_task *co, int which, union room *p)
{
    static struct iovec v;
    v.iov_base = p;
    v.iov_len = 1;
    datagram.data = p;
    datagram.size = 1;
    switch (which) {
    case 0:
        return coro_read(co, &h, p, 1);
    case 1:
        return coro_read_exact(co, &p->fd, text, 1);
    case 2:
        return coro_readv(co, &h, &v, 1);
    case 3:
        return coro_write(co, &h, p, 1);
    case 4:
        return coro_writev(co, &h, &v, 1);
    case 5:
        return coro_wait_readable(co, &p->fd);
    case 6:
        return coro_accept(co, &h, &p->fd);
    case 7:
        return coro_connect(co, &p->fd, "127.0.0.1:1");
    case 8:
        return coro_recv_from(co, &h, &datagram);
    default:
        return coro_send_to(co, &h, &datagram);
    }
}

static coro_op with_streams(coro_task *co, int which, union room *p)
{
    switch (which) {
    case 0:
        return coro_stream_read_line(co, &p->stream, &slice);
    case 1:
        return coro_stream_read_line(co, &s, &p->slice);
    case 2:
        return coro_stream_read_until(co, &s, p, 1, &slice);
    case 3:
        return coro_stream_read(co, &p->stream, text, 1);
    case 4:
        return coro_stream_read_exact(co, &s, p, 1);
    case 5:
        return coro_stream_write(co, &p->stream, text, 1);
    case 6:
        return coro_stream_write(co, &s, p, 1);
    case 7:
        return coro_stream_printf(co, &p->stream, "x");
    case 8:
        return coro_stream_peek(co, &s, 1, &p->slice);
    case 9:
        return coro_stream_sendfile(co, &p->stream, &part);
    default:
        return coro_stream_flush(co, &p->stream);
    }
}

static coro_op with_others(coro_task *co, int which, union room *p)
{
    room.pointer = p;
    switch (which) {
    case 0:
        return coro_blocking(co, no_job, p);
    case 1:
        return coro_blocking_abandon(co, NULL, no_job, &p->pointer, NULL);
    case 2:
        return coro_blocking_abandon(co, NULL, no_job, &room.pointer, NULL);
    case 3:
        return coro_resolve(co, "127.0.0.1", "80", p->address, 1);
    case 4:
        return coro_mailbox_get(co, &box, &p->number);
    case 5:
        return coro_mailbox_put(co, &box, &p->number);
    case 6:
        return coro_file_open(co, &p->file, "/dev/null", O_RDONLY, 0);
    case 7:
        return coro_file_open(co, &file, p->text, O_RDONLY, 0);
    case 8:
        return coro_file_read(co, &file, p->text, 1, 0);
    case 9:
        return coro_file_write(co, &file, p->text, 1, 0);
    case 10:
        return coro_file_stat(co, &file, &p->stat);
    case 11:
        return coro_file_sync(co, &p->file);
    case 12:
        return coro_process_wait(co, &p->process);
    case 13:
        return coro_blocking_on(co, &threads, no_job, p);
    case 14:
        return coro_write_some(co, &h, p, 1);
    case 15:
    case 16:
        parcel.data = p;
        parcel.fd = &third;
        return which == 15 ? coro_send_fd(co, &h, &parcel) : coro_recv_fd(co, &h, &parcel);
    case 17:
    case 18:
        parcel.data = text;
        parcel.fd = &p->fd;
        return which == 17 ? coro_send_fd(co, &h, &parcel) : coro_recv_fd(co, &h, &parcel);
    case 19:
        return coro_signals_wait(co, &p->signals);
    default:
        return coro_wait_writable(co, &p->fd);
    }
}

static coro_op operation(coro_task *co, int which, union room *p)
{
    return which < BYTES             ? with_bytes(co, which, p)
           : which < BYTES + STREAMS ? with_streams(co, which - BYTES, p)
                                     : with_others(co, which - BYTES - STREAMS, p);
}

/* What the operations are given besides. */
static int open_things(void)
{
    int number = pair(&h);
    CHECK_EQ(coro_stream_open(&s, &h, text, 32, text + 32, 32), 0);
    CHECK_EQ(coro_mailbox_init(&box), 0);
    CHECK_EQ(coro_threads_init(&threads, NULL), 0);
    return number;
}

static void close_things(int number)
{
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
    CHECK_EQ(coro_threads_fini(&threads), 0);
}

#if CORO_STACK_CHECK
struct with_a_local {
    CORO_FRAME;
    int which;
};

CORO(with_a_local)
{
    union room here;
    CORO_BEGIN();
    memset(&here, 0, sizeof here);
    CORO_TRY(operation(co, my->which, &here));
    CORO_END(0);
}

static void run_with_a_local(void *which)
{
    coro_run(with_a_local, .which = *(int *)which);
}

TEST(operations_that_would_keep_the_address_of_a_local_variable_trap)
{
    int number = open_things();
    for (int which = 0; which < BYTES + STREAMS + OTHERS; which++)
        CHECK_TRAP(run_with_a_local, &which, "local");
    close_things(number);
}
#endif /* CORO_STACK_CHECK */

/* ---- in a cancelled scope, and with nonsense ------------------------------------------------- */

enum { NONSENSE = 21 };

/* What cannot be, and what is said to it. */
static coro_op nonsense(coro_task *co, int which, int *want)
{
    static char long_text[300];
    static void *none;
    memset(long_text, 'x', sizeof long_text - 1);
    *want = -EINVAL;
    switch (which) {
    case 0:
        return coro_read(co, &h, text, 0);
    case 1:
        return coro_readv(co, &h, NULL, 0);
    case 2:
        *want = -EBADF;
        return coro_read_exact(co, &other, text, 0);
    case 3:
        *want = -EBUSY;
        return coro_accept(co, &h, &h);
    case 4:
        return coro_connect(co, &other, "nowhere");
    case 5:
        return coro_stream_read(co, &s, text, 0);
    case 6:
        return coro_stream_peek(co, &s, 0, &slice);
    case 7:
        *want = -EBADF;
        return coro_stream_read_exact(co, &room.stream, text, 1);
    case 8:
        return coro_blocking(co, NULL, NULL);
    case 9:
        return coro_blocking_on(co, (coro_threads *)&room.pointer, no_job, NULL);
    case 10:
        return coro_blocking_abandon(co, NULL, NULL, &none, NULL);
    case 11:
        return coro_blocking_abandon(co, (coro_threads *)&room.pointer, no_job, &none, NULL);
    case 12:
        return coro_resolve(co, NULL, "80", &address, 1);
    case 13:
        return coro_resolve(co, long_text, NULL, &address, 1);
    case 14:
        return coro_resolve(co, "localhost", long_text, &address, 1);
    case 15:
        return coro_resolve(co, "localhost", "80", &address, 0);
    case 16:
        return coro_resolve(co, "localhost", "65536", &address, 1);
    case 17:
        return coro_wait_fd(co, 0, 0);
    case 18:
        *want = -EBADF;
        return coro_file_stat(co, &file, &room.stat);
    case 19:
        parcel.data = text;
        parcel.fd = &h;
        *want = -EBUSY;
        return coro_recv_fd(co, &h, &parcel);
    default:
        return coro_process_wait(co, &process);
    }
}

struct refused {
    CORO_FRAME;
    coro_scope scope;
    int which, rc, want;
};

CORO(refused)
{
    CORO_BEGIN();
    memset(&room, 0, sizeof room);
    for (my->which = 0; my->which < NONSENSE; my->which++) {
        CORO_AWAIT(my->rc, nonsense(co, my->which, &my->want));
        CHECK_EQ(my->rc, my->want);
    }
    coro_scope_open(co, &my->scope);
    coro_scope_cancel(&my->scope);
    for (my->which = 0; my->which < NONSENSE; my->which++) {
        CORO_AWAIT(my->rc, nonsense(co, my->which, &my->want));
        CHECK_EQ(my->rc, -ECANCELED);
    }
    for (my->which = 0; my->which < BYTES + STREAMS + OTHERS; my->which++) {
        CORO_AWAIT(my->rc, operation(co, my->which, &room));
        CHECK_EQ(my->rc, -ECANCELED);
    }
    (void)coro_scope_close(co, &my->scope, 0);
    CHECK_EQ(coro_fd_number(&other), -1);
    CHECK_EQ(coro_stream_buffered(&s, CORO_OUT), 0);
    CORO_END(0);
}

TEST(operations_refuse_nonsense_and_do_not_happen_in_a_cancelled_scope) /* C03 */
{
    int number = open_things();
    CHECK_EQ(coro_run(refused), 0);
    close_things(number);
}

/* ---- foreign descriptors --------------------------------------------------------------------- */

/* Three wait; then a handle of another number is registered, and each ends in its way. */
TEST(foreign_waits_end_in_any_order)
{
    static CORO_TASK(foreign) t[3];
    static CORO_TASK(reads) reader;
    coro_fd mine[3];
    int number[3];
    memset(mine, 0, sizeof mine);
    begin();
    for (int i = 0; i < 3; i++) {
        number[i] = pair(&mine[i]);
        coro_start(&io_loop.root, &t[i], foreign, .number = number[i], .events = POLLIN);
    }
    settle();
    coro_start(&io_loop.root, &reader, reads, .h = &mine[1]);
    settle();
    CHECK_EQ(coro_task_cancel(&t[1]), 1);
    say(number[1], "for the handle");
    say(coro_fd_number(&mine[0]), "x");
    settle();
    CHECK_EQ(coro_task_result(&t[0]), POLLIN);
    CHECK_EQ(coro_task_result(&t[1]), -ECANCELED);
    say(coro_fd_number(&mine[2]), "x");
    finish();
    CHECK_EQ(coro_task_result(&t[2]), POLLIN);
    CHECK_EQ(coro_task_result(&reader), 14);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coro_close(&mine[i]), 0);
        CHECK_EQ(close(number[i]), 0);
    }
}

static int full_pair(coro_fd *mine)
{
    int number = pair(mine);
    CHECK_EQ(fcntl(number, F_SETFL, O_NONBLOCK), 0);
    while (write(number, text, sizeof text) > 0)
        continue;
    return number;
}

TEST(foreign_wait_for_room_is_one_at_a_time) /* I27 */
{
    static CORO_TASK(foreign) writer, second, reader;
    int number = full_pair(&other);
    begin();
    coro_start(&io_loop.root, &writer, foreign, .number = number, .events = POLLOUT);
    coro_start(&io_loop.root, &second, foreign, .number = number, .events = POLLOUT);
    coro_start(&io_loop.root, &reader, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(coro_task_result(&second), -EBUSY);
    CHECK_EQ(coro_task_status(&writer), CORO_RUNNING);
    while (recv(coro_fd_number(&other), text, sizeof text, MSG_DONTWAIT) > 0)
        continue;
    say(coro_fd_number(&other), "x");
    finish();
    CHECK_EQ(coro_task_result(&writer), POLLOUT);
    CHECK_EQ(coro_task_result(&reader), POLLIN);
    CHECK_EQ(coro_close(&other), 0);
    CHECK_EQ(close(number), 0);
}

/* Behind our back another descriptor has the number: who waits for the other way waits for it. */
TEST(foreign_number_that_is_another_descriptors_is_registered_anew) /* I22, I28 */
{
    static CORO_TASK(foreign) in, out;
    coro_fd old = CORO__ZERO;
    int number = pair(&old), next = pair(&other);
    begin();
    coro_start(&io_loop.root, &in, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(dup2(next, number), number);
    coro_start(&io_loop.root, &out, foreign, .number = number, .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_result(&out), POLLOUT);
    CHECK_EQ(coro_task_status(&in), CORO_RUNNING);
    say(coro_fd_number(&other), "x");
    finish();
    CHECK_EQ(coro_task_result(&in), POLLIN);
    CHECK_EQ(coro_close(&old), 0);
    CHECK_EQ(coro_close(&other), 0);
    CHECK_EQ(close(number), 0);
    CHECK_EQ(close(next), 0);
}

#if CORO_IO_BACKEND == CORO_IO_EPOLL
TEST(foreign_descriptor_closed_here_and_open_elsewhere_is_told_to_be_none) /* I25 */
{
    static CORO_TASK(foreign) t;
    int number = pair(&other), copy = dup(number);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(close(number), 0);
    say(coro_fd_number(&other), "x");
    finish();
    CHECK_EQ(coro_task_result(&t), -EBADF);
    CHECK_EQ(coro_close(&other), 0);
    CHECK_EQ(close(copy), 0);
}
#endif /* CORO_IO_BACKEND == CORO_IO_EPOLL */

/* Its number is nobody's any more: who comes now is told so, in whatever way. */
TEST(foreign_number_that_is_none_any_more_is_refused_in_either_way) /* I25 */
{
    for (int in = 0; in < 2; in++) {
        static CORO_TASK(foreign) first, second;
        int number = full_pair(&other);
        memset(&first, 0, sizeof first);
        memset(&second, 0, sizeof second);
        begin();
        coro_start(&io_loop.root, &first, foreign, .number = number,
                   .events = in ? POLLOUT : POLLIN);
        settle();
        CHECK_EQ(close(number), 0);
        coro_start(&io_loop.root, &second, foreign, .number = number,
                   .events = in ? POLLIN : POLLOUT);
        settle();
        CHECK_EQ(coro_task_result(&second), -EBADF);
        (void)coro_task_cancel(&first);
        finish();
        CHECK_EQ(coro_close(&other), 0);
    }
}

/* ---- descriptors ----------------------------------------------------------------------------- */

struct gets_parcel {
    CORO_FRAME;
    coro_parcel parcel;
    int rc;
};

CORO(gets_parcel)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_recv_fd(co, &h, &my->parcel));
    CORO_END(my->rc);
}

TEST(parcel_with_its_sender_s_credentials_is_no_descriptor_more)
{
    static CORO_TASK(gets_parcel) t;
    int on = 1, number = pair(&h);
    CHECK_EQ(setsockopt(coro_fd_number(&h), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    say(number, "abc");
    begin();
    coro_start(&io_loop.root, &t, gets_parcel, .parcel = {text, sizeof text, &other, false});
    finish();
    CHECK_EQ(coro_task_result(&t), 3);
    CHECK_EQ(coro_fd_number(&other), -1);
    CHECK(!t.frame.parcel.lost);
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

struct accepts {
    CORO_FRAME;
    coro_fd *to;
};

CORO(accepts)
{
    CORO_BEGIN();
    CORO_TRY(coro_accept(co, &h, my->to));
    CORO_END(0);
}

TEST(accept_into_a_handle_that_was_opened_meanwhile_closes_the_connection)
{
    static CORO_TASK(accepts) t;
    int number, before;
    char c;
    CHECK_EQ(coro_listen(&h, "127.0.0.1:0", 0), 0);
    CHECK_EQ(coro_fd_local(&h, &address), 0);
    begin();
    coro_start(&io_loop.root, &t, accepts, .to = &other);
    settle();
    number = pair(&other);
    before = coro_fd_number(&other);
    CHECK_EQ(coro_fd_adopt(&third, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), 0);
    CHECK_EQ(fcntl(coro_fd_number(&third), F_SETFL, 0), 0);
    CHECK_EQ(connect(coro_fd_number(&third), &address.any, address.length), 0);
    finish();
    CHECK_EQ(coro_task_result(&t), -EBUSY);
    CHECK_EQ(coro_fd_number(&other), before);
    CHECK_EQ(recv(coro_fd_number(&third), &c, 1, 0), 0);
    CHECK_EQ(coro_close(&third), 0);
    CHECK_EQ(coro_close(&other), 0);
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

TEST(SIGPIPE_that_was_pending_before_stays_so) /* I08 */
{
    static CORO_TASK(writes) t;
    sigset_t pipe_only, pending;
    coro_fd in = CORO__ZERO;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &pipe_only, NULL), 0);
    CHECK_EQ(raise(SIGPIPE), 0);
    pipe_of(&in, &h);
    CHECK_EQ(coro_close(&in), 0);
    begin();
    coro_start(&io_loop.root, &t, writes, .h = &h, .from = "x", .n = 1);
    finish();
    CHECK_EQ(coro_task_result(&t), -EPIPE);
    CHECK_EQ(sigpending(&pending), 0);
    CHECK_EQ(sigismember(&pending, SIGPIPE), 1);
    CHECK_EQ(coro_close(&h), 0);
}

struct one_datagram {
    CORO_FRAME;
    coro_datagram d;
    int rc;
};

/* To whom it is connected. */
CORO(one_datagram)
{
    CORO_BEGIN();
    my->d.data = text;
    my->d.size = 3;
    CORO_TRY(my->rc, coro_send_to(co, &h, &my->d));
    CORO_END(my->rc);
}

TEST(datagram_without_an_address_goes_to_the_connected_one)
{
    CHECK_EQ(coro_udp_open(&other, "127.0.0.1:0"), 0);
    CHECK_EQ(coro_fd_local(&other, &address), 0);
    CHECK_EQ(coro_udp_open(&h, "127.0.0.1:0"), 0);
    CHECK_EQ(connect(coro_fd_number(&h), &address.any, address.length), 0);
    memcpy(text, "abc", 3);
    CHECK_EQ(coro_run(one_datagram), 3);
    hear(coro_fd_number(&other), "abc");
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(coro_close(&other), 0);
    if (coro_udp_open(&h, "[::1]:0") == 0) { /* there is IPv6 */
        CHECK_EQ(coro_udp_join(&h, "ff02::77:77", 1), 0);
        CHECK_EQ(coro_fd_local(&h, &address), 0);
        CHECK(coro_address_port(&address) > 0);
        CHECK_EQ(coro_close(&h), 0);
    }
}

TEST(addresses_of_the_greatest_length_and_of_none_are_printed)
{
    char longest[sizeof address.local.sun_path + 16];
    memset(&address, 0, sizeof address);
    CHECK_EQ(coro_address_port(&address), 0);
    CHECK_STR(coro_address_print(&address, longest, sizeof longest), "-");
    address.local.sun_family = AF_UNIX; /* as the kernel gives it: no zero, and longer by one */
    memset(address.local.sun_path, 'p', sizeof address.local.sun_path);
    address.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                 sizeof address.local.sun_path + 1);
    CHECK_EQ(strlen(coro_address_print(&address, longest, sizeof longest)),
             5 + sizeof address.local.sun_path);
    CHECK_EQ(coro_address_port(&address), 0);
}

/* ---- streams --------------------------------------------------------------------------------- */

static char in_buffer[32], out_buffer[8];

/* A stream on h; the other end. */
static int stream_pair(int type)
{
    int number = pair_of(&h, type);
    s.limit = 1000; /* more than the buffer has: that counts */
    CHECK_EQ(coro_stream_open(&s, &h, in_buffer, sizeof in_buffer, out_buffer, sizeof out_buffer),
             0);
    return number;
}

struct parts {
    CORO_FRAME;
    coro_slice part;
    int rc;
};

/* The separator's first letter comes before it, and at the end. */
CORO(parts)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_stream_read_until(co, &s, "ab", 2, &my->part));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->part.len, 1);
    CORO_TRY(my->rc, coro_stream_read_until(co, &s, "ab", 2, &my->part));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->part.len, 3);
    CHECK_EQ(memcmp(my->part.data, "xax", 3), 0);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_stream_read_until(co, &s, "aab", 3, &my->part)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_END(0);
}

TEST(stream_finds_a_separator_behind_its_own_beginning) /* I14 */
{
    int number = stream_pair(SOCK_STREAM);
    say(number, "aabxaxabxaax");
    CHECK_EQ(coro_run(parts), 0);
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

struct two_lines {
    CORO_FRAME;
    int peer;
    coro_slice line;
    int rc;
};

CORO(two_lines)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_stream_read_line(co, &s, &my->line));
    CHECK_EQ(my->line.len, 3);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_stream_read_line(co, &s, &my->line)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(my->line.data - in_buffer, 4); /* there is room behind: it stays */
    say(my->peer, "012345678901234567890\n");
    CORO_TRY(my->rc, coro_stream_read_line(co, &s, &my->line));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->line.len, 31);
    CHECK_EQ(memcmp(my->line.data, "0123456789012345678901234567890", 31), 0);
    CORO_END(0);
}

TEST(stream_line_that_reaches_the_end_of_the_buffer_is_moved_to_its_start) /* I14 */
{
    int number = stream_pair(SOCK_STREAM);
    say(number, "abc\n0123456789");
    CHECK_EQ(coro_run(two_lines, .peer = number), 0);
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

struct prints {
    CORO_FRAME;
    int rc;
};

CORO(prints)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_stream_printf(co, &s, "%s", ""));
    CHECK_EQ(my->rc, 0);
    CORO_TRY(coro_stream_write(co, &s, "12345678", 8));
    CHECK_EQ(coro_stream_buffered(&s, CORO_OUT), 8);
    CHECK_EQ(coro_stream_buffered(&s, CORO_IN), 0);
    CORO_TRY(my->rc, coro_stream_printf(co, &s, "%s", "")); /* no room is room enough for it */
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_stream_buffered(&s, CORO_OUT), 8);
    CORO_AWAIT(my->rc, coro_stream_printf(co, &s, "%lc", (wint_t)0x7fffffff));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_TRY(coro_stream_flush(co, &s));
    CORO_END(0);
}

TEST(stream_printf_of_nothing_and_of_what_cannot_be_printed_writes_nothing)
{
    int number = stream_pair(SOCK_STREAM);
    CHECK_EQ(coro_run(prints), 0);
    hear(number, "12345678");
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

enum { MESSAGES = 200 };

struct gathers {
    CORO_FRAME;
    char got[MESSAGES];
    int rc;
};

CORO(gathers)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_stream_read_exact(co, &s, my->got, sizeof my->got));
    CHECK_EQ(my->rc, MESSAGES);
    for (int i = 0; i < MESSAGES; i++)
        CHECK_EQ(my->got[i], 'a' + i % 26);
    CORO_END(0);
}

TEST(stream_exact_read_of_very_many_messages_gives_others_their_turn) /* I12, I34 */
{
    static CORO_TASK(gathers) t;
    static CORO_TASK(sleeps) turn;
    int number = stream_pair(SOCK_SEQPACKET);
    for (int i = 0; i < MESSAGES; i++) {
        char c = (char)('a' + i % 26);
        CHECK_EQ(send(number, &c, 1, 0), 1);
    }
    begin();
    coro_start(&io_loop.root, &t, gathers);
    coro_start(&io_loop.root, &turn, sleeps, .d = 0);
    while (coro_task_status(&turn) == CORO_RUNNING)
        (void)coro_loop_step(&io_loop);
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK_EQ(coro_close(&h), 0);
    CHECK_EQ(close(number), 0);
}

struct peeks {
    CORO_FRAME;
    coro_slice seen;
    char got[4];
    int rc;
};

/* What came before the reset is there, then it is told by all reads. */
CORO(peeks)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_stream_peek(co, &s, 2, &my->seen));
    CHECK_EQ(my->rc, 1);
    CORO_AWAIT(my->rc, coro_stream_peek(co, &s, 33, &my->seen));
    CHECK_EQ(my->rc, -EMSGSIZE);
    CORO_AWAIT(my->rc, coro_stream_peek(co, &s, 3, &my->seen));
    CHECK_EQ(my->rc, -ECONNRESET);
    CHECK_EQ(my->seen.len, 2);
    CORO_AWAIT(my->rc, coro_stream_read_exact(co, &s, my->got, 3));
    CHECK_EQ(my->rc, -ECONNRESET);
    CORO_TRY(my->rc, coro_stream_read(co, &s, my->got, 3));
    CHECK_EQ(my->rc, 2);
    CORO_END(0);
}

TEST(stream_peek_sees_what_came_before_a_reset) /* I07 */
{
    int number = stream_pair(SOCK_STREAM);
    say(coro_fd_number(&h), "never read"); /* this makes the close a reset */
    say(number, "ab");
    CHECK_EQ(close(number), 0);
    CHECK_EQ(coro_run(peeks), 0);
    CHECK_EQ(coro_close(&h), 0);
}

/* ---- threads, mailboxes, files --------------------------------------------------------------- */

struct tiny_stack {
    CORO_FRAME;
    coro_threads_options options;
    int rc;
};

CORO(tiny_stack)
{
    CORO_BEGIN();
    my->options.stack = 1;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    CORO_AWAIT(my->rc, coro_blocking(co, no_job, NULL));
    CORO_END(my->rc);
}

TEST(threads_on_a_stack_that_is_too_small_are_refused)
{
    CHECK_EQ(coro_run(tiny_stack), -EINVAL);
}

struct puts_two {
    CORO_FRAME;
    int item;
};

CORO(puts_two)
{
    CORO_BEGIN();
    CORO_TRY(coro_mailbox_put(co, &box, &my->item));
    CORO_TRY(coro_mailbox_put(co, &box, &my->item));
    CORO_END(0);
}

static int go;

static intptr_t holds_the_thread(coro_job *job, void *arg)
{
    (void)job;
    (void)arg;
    while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
        sched_yield();
    return 0;
}

struct holds {
    CORO_FRAME;
};

CORO(holds)
{
    CORO_BEGIN();
    CORO_TRY(coro_blocking(co, holds_the_thread, NULL));
    CORO_END(0);
}

struct looks_up {
    CORO_FRAME;
    coro_threads_options options;
    coro_group g;
    coro_address to[2], before;
    int rc;
};

/* The only thread has something else to do. */
CORO(looks_up)
{
    CORO_BEGIN();
    my->options.threads = 1;
    CORO_TRY(coro_threads_for(coro_loop_of(co), &my->options));
    memset(my->to, 'x', sizeof my->to);
    memset(&my->before, 'x', sizeof my->before);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, holds);
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_resolve(co, "localhost", "80", my->to, 2)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(memcmp(&my->to[0], &my->before, sizeof my->before), 0);
    CHECK_EQ(memcmp(&my->to[1], &my->before, sizeof my->before), 0);
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CORO_END(0);
}

TEST(lookup_that_is_cancelled_before_it_began_writes_nothing)
{
#if defined M_PERTURB
    (void)mallopt(M_PERTURB, 0xfe); /* what is new is full of ones */
#endif /* defined M_PERTURB */
    CHECK_EQ(coro_run(looks_up), 0);
}

TEST(mailbox_in_which_a_put_waits_is_in_use)
{
    static CORO_TASK(puts_two) t;
    begin();
    coro_start(&io_loop.root, &t, puts_two, .item = 1);
    settle();
    CHECK_EQ(coro_task_result(&t), -EINVAL); /* it is not initialised */
    CHECK_EQ(coro_mailbox_init(&box), 0);
    CHECK_EQ(coro_mailbox_init(&box), -EBUSY);
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, puts_two, .item = 1);
    settle();
    CHECK_EQ(coro_mailbox_fini(&box), -EBUSY);
    coro_mailbox_close(&box);
    finish();
    CHECK_EQ(coro_task_result(&t), -EPIPE);
    CHECK_EQ(coro_mailbox_fini(&box), 0);
}

static int lanes;

struct lane {
    CORO_FRAME;
    bool for_ever;
};

CORO(lane)
{
    CORO_BEGIN();
    (void)__atomic_fetch_add(&lanes, 1, __ATOMIC_SEQ_CST);
    if (my->for_ever)
        CORO_TRY(coro_sleep(co, CORO_FOREVER));
    CORO_END(0);
}

TEST(run_threads_runs_one_for_each_processor_and_tells_of_a_deadlock)
{
    CHECK_EQ(coro_run_threads(0, lane), 0);
    CHECK_EQ(lanes, (int)sysconf(_SC_NPROCESSORS_ONLN));
    CHECK_EQ(coro_run_threads(1, lane, .for_ever = true), -EDEADLK);
}

struct opens {
    CORO_FRAME;
    int rc;
};

CORO(opens)
{
    CORO_BEGIN();
    CORO_TRY(coro_file_open(co, &file, text, O_RDONLY, 0));
    CORO_END(0);
}

/* A FIFO opens when there is somebody at its other end. */
TEST(file_that_is_being_opened_can_neither_be_opened_nor_closed)
{
    static CORO_TASK(opens) first, second;
    int number;
    snprintf(text, sizeof text, "/tmp/coro-fifo-%d", (int)getpid());
    CHECK_EQ(mkfifo(text, 0600), 0);
    begin();
    coro_start(&io_loop.root, &first, opens);
    coro_start(&io_loop.root, &second, opens);
    settle();
    CHECK_EQ(coro_file_close(&file), -EBUSY);
    number = open(text, O_RDWR | O_CLOEXEC);
    CHECK(number >= 0);
    finish();
    CHECK_EQ(coro_task_result(&first), 0);
    CHECK_EQ(coro_task_result(&second), -EBUSY);
    CHECK_EQ(coro_file_close(&file), 0);
    CHECK_EQ(close(number), 0);
    CHECK_EQ(unlink(text), 0);
}

/* ---- dialling and other programs ------------------------------------------------------------- */

struct dials {
    CORO_FRAME;
    coro_dial dial;
    int i, rc;
};

static const char *const malformed[] = {"[our.host:80", "[]:80", "[our]host:80", "::1:80",
                                        "our.host:", ":80", "[our.host]x:80", "host"};

CORO(dials)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < (int)(sizeof malformed / sizeof *malformed); my->i++) {
        CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &other, malformed[my->i]));
        CHECK_EQ(my->rc, -EINVAL);
    }
    CORO_AWAIT(my->rc, coro_dial(co, &my->dial, &other, "[localhost]:1")); /* odd, but clear */
    CHECK_EQ(my->rc, -ECONNREFUSED);
    CORO_END(0);
}

TEST(dial_refuses_brackets_that_do_not_match) /* I46 */
{
    need_localhost();
    CHECK_EQ(coro_run(dials), 0);
}

static const char *const true_[] = {"true", NULL};

struct runs {
    CORO_FRAME;
    struct coro_process_task run;
    coro_command command;
    int status;
};

CORO(runs)
{
    CORO_BEGIN();
    CORO_TRY(my->status, coro_process_run(co, &my->run, &my->command));
    CORO_END(my->status);
}

static int run_true(coro_command c)
{
    c.argv = true_;
    return coro_run(runs, .command = c);
}

TEST(programs_are_found_in_a_path_with_nonsense_in_it_and_without_one)
{
    static char long_path[5000];
    coro_command c = CORO__ZERO;
    memset(long_path, 'x', sizeof long_path);
    memcpy(long_path + sizeof long_path - 30, ":/etc/passwd::/usr/bin:/bin", 28);
    CHECK_EQ(setenv("PATH", long_path, 1), 0);
    CHECK_EQ(run_true(c), 0);
    CHECK_EQ(unsetenv("PATH"), 0);
    CHECK_EQ(run_true(c), 0);
}

TEST(programs_are_not_started_with_descriptors_that_are_none)
{
    coro_command c = CORO__ZERO;
    CHECK_EQ(coro_process_spawn(&process, &c), -EINVAL);
    c.stdin_ = -5;
    CHECK_EQ(run_true(c), -EBADF);
    c.stdin_ = 0;
    c.stdout_ = CORO_STDOUT; /* that is for stderr_ */
    CHECK_EQ(run_true(c), -EBADF);
}

TEST(process_run_neither_feeds_nor_collects_what_goes_elsewhere)
{
    coro_output out = CORO__ZERO, err = CORO__ZERO;
    coro_command c = CORO__ZERO;
    c.input = "x";
    c.input_size = 1;
    c.out = &out;
    c.err = &err;
    c.stdin_ = c.stdout_ = CORO_NULL;
    c.stderr_ = CORO_STDOUT;
    CHECK_EQ(run_true(c), 0);
    CHECK_EQ(out.length + out.lost + err.length + err.lost, 0);
    c.stdout_ = CORO_INHERIT;
    c.out = NULL;
    CHECK_EQ(run_true(c), 0);
    CHECK_EQ(err.length + err.lost, 0);
}

struct waits_for_process {
    CORO_FRAME;
    int rc;
};

CORO(waits_for_process)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_process_wait(co, &process));
    CORO_END(my->rc);
}

TEST(process_is_waited_for_in_one_loop_at_a_time)
{
    static const char *const cat[] = {"cat", NULL};
    static CORO_TASK(waits_for_process) here, there;
    static coro_loop second;
    coro_command c = CORO__ZERO;
    c.argv = cat;
    c.stdin_ = CORO_PIPE;
    CHECK_EQ(coro_process_spawn(&process, &c), 0);
    begin();
    coro_start(&io_loop.root, &here, waits_for_process);
    settle();
    CHECK_EQ(coro_loop_init(&second, NULL), 0);
    coro_start(&second.root, &there, waits_for_process);
    CHECK_EQ(coro_loop_run(&second), 0);
    CHECK_EQ(coro_task_result(&there), -EINVAL);
    CHECK_EQ(coro_loop_fini(&second), 0);
    CHECK_EQ(coro_close(&process.in), 0);
    finish();
    CHECK_EQ(coro_task_result(&here), 0);
    coro_process_fini(&process);
}

/* ---- servers --------------------------------------------------------------------------------- */

struct serves {
    CORO_FRAME;
    coro_server *server;
};

struct served {
    CORO_FRAME;
    coro_fd conn;
};

CORO(served)
{
    CORO_BEGIN();
    CORO_END(coro_close(&my->conn));
}

CORO(serves)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->server, &h, conn, served));
    CORO_END(0);
}

static void serve_twice(void *server)
{
    begin();
    CHECK_EQ(coro_listen(&h, "127.0.0.1:0", 0), 0);
    coro_spawn(&io_loop.root, serves, .server = (coro_server *)server);
    coro_spawn(&io_loop.root, serves, .server = (coro_server *)server);
    finish();
}

TEST(server_that_serves_already_traps)
{
    static coro_server server;
    CHECK_TRAP(serve_twice, &server, "serves already");
}

/* ---- portals --------------------------------------------------------------------------------- */

static coro_portal portal;

struct opens_portal {
    CORO_FRAME;
};

CORO(opens_portal)
{
    CORO_BEGIN();
    CORO_TRY(coro_portal_open(co, &portal));
    CORO_END(0);
}

static void *calls(void *limit)
{
    return (void *)(intptr_t)coro_portal_call(&portal, *(const coro_time *)limit, opens_portal);
}

/* Its post is in the loop, which never looks again. */
TEST(portal_s_caller_is_told_when_the_loop_is_over_before_it_was_let_in) /* X14 */
{
    static const coro_time limits[] = {CORO_FOREVER, CORO_S(1000)};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        void *result;
        bool called = false;
        begin();
        coro_spawn(&io_loop.root, opens_portal);
        settle();
        CHECK_EQ(pthread_create(&thread, NULL, calls, (void *)(uintptr_t)&limits[i]), 0);
        while (!called) {
            pthread_mutex_lock(&portal.lock);
            called = portal.visits != NULL;
            pthread_mutex_unlock(&portal.lock);
        }
        CHECK_EQ(coro_loop_fini(&io_loop), 0);
        CHECK_EQ(pthread_join(thread, &result), 0);
        CHECK_EQ((intptr_t)result, -ESHUTDOWN);
        CHECK_EQ(coro_portal_fini(&portal), 0);
    }
}

/* ---- signals --------------------------------------------------------------------------------- */

static int status_of_child(void (*f)(void))
{
    int status = 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        f();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static bool handled(int n)
{
    struct sigaction now;
    CHECK_EQ(sigaction(n, NULL, &now), 0);
    return now.sa_handler != SIG_DFL;
}

struct in_turn {
    CORO_FRAME;
    coro_signals s;
    int i, n, rc;
};

/* One that is never taken: the others come before it. */
CORO(in_turn)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGUSR1, 64));
    for (my->i = 0; my->i < 3; my->i++) {
        CHECK_EQ(raise(64), 0);
        CHECK_EQ(raise(SIGUSR1), 0);
        for (my->n = 0; my->n < 2; my->n++) {
            CORO_TRY(my->rc, coro_signals_wait(co, &my->s));
            CHECK_EQ(my->rc, my->n == 0 ? SIGUSR1 : 64);
        }
    }
    CORO_END(coro_signals_close(&my->s));
}

TEST(signals_are_taken_in_turn_up_to_the_highest) /* I53 */
{
    CHECK_EQ(coro_run(in_turn), 0);
}

struct none_of_these {
    CORO_FRAME;
    coro_signals s;
};

CORO(none_of_these)
{
    static const int n[] = {-1, 32, 65, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    CORO_BEGIN();
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        CHECK_EQ(coro_signals_open(co, &my->s, n[i]), -EINVAL);
    CORO_END(0);
}

TEST(signals_that_tell_of_bugs_or_are_not_the_program_s_are_refused) /* I57 */
{
    CHECK_EQ(coro_run(none_of_these), 0);
}

static struct sigaction kept;

struct keeps_handler {
    CORO_FRAME;
    coro_signals s;
    int n;
};

CORO(keeps_handler)
{
    CORO_BEGIN();
    if (my->n == SIGWINCH)
        CORO_TRY(coro_signals_open(co, &my->s, SIGWINCH));
    CHECK_EQ(sigaction(my->n, NULL, &kept), 0);
    CORO_END(coro_signals_close(&my->s));
}

/* Somebody has put our handler back, when nobody of us is there any more. */
static void raise_with_old_handler(int n)
{
    CHECK_EQ(coro_run(keeps_handler, .n = n), 0);
    CHECK(!handled(n));
    CHECK_EQ(sigaction(n, &kept, NULL), 0);
    CHECK(handled(n));
    CHECK_EQ(raise(n), 0);
    CHECK(!handled(n));
}

static void raise_interrupt(void)
{
    raise_with_old_handler(SIGINT);
}

TEST(signals_that_meet_a_handler_of_a_loop_that_is_over_do_what_they_do_without_us) /* Z10 */
{
    int status = status_of_child(raise_interrupt);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
    raise_with_old_handler(SIGWINCH); /* nothing */
}

struct term_first {
    CORO_FRAME;
    coro_signals s;
    coro_scope shield;
    int n;
};

CORO(term_first)
{
    CORO_BEGIN();
    CORO_TRY(coro_signals_open(co, &my->s, SIGINT));
    CHECK_EQ(raise(SIGTERM), 0);
    CORO_TRY(coro_sleep(co, CORO_S(60)));
CORO_FINALLY:
    CHECK(!handled(SIGTERM)); /* the second one kills */
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    CHECK_EQ(raise(SIGINT), 0);
    CORO_TRY(my->n, coro_signals_wait(co, &my->s));
    CHECK_EQ(my->n, SIGINT);
    (void)coro_scope_close(co, &my->shield, 0);
    CORO_END(coro_signals_close(&my->s));
}

TEST(coro_run_s_first_SIGTERM_leaves_a_watched_SIGINT_alone) /* Z11 */
{
    CHECK_EQ(coro_run(term_first), -EINTR);
}

static volatile sig_atomic_t told;

static void with_information(int n, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    told = n;
}

struct interrupted {
    CORO_FRAME;
    bool cancelled;
};

CORO(interrupted)
{
    CORO_BEGIN();
    if (my->cancelled)
        (void)coro_task_cancel(co);
    CHECK_EQ(raise(SIGINT), 0);
    CORO_TRY(coro_sleep(co, my->cancelled ? CORO_S(60) : CORO_MS(1)));
    CORO_END(0);
}

TEST(coro_run_leaves_a_handler_that_wants_to_know_more_alone) /* Z11 */
{
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = with_information;
    ours.sa_flags = SA_SIGINFO;
    CHECK_EQ(sigaction(SIGINT, &ours, NULL), 0);
    CHECK_EQ(coro_run(interrupted), 0);
    CHECK_EQ(told, SIGINT);
}

TEST(coro_run_that_was_cancelled_before_the_signal_says_so) /* Z10 */
{
    CHECK_EQ(coro_run(interrupted, .cancelled = true), -ECANCELED);
}

struct lingers {
    CORO_FRAME;
    coro_task *main;
    coro_scope shield;
};

/* Goes on while the main task has ended already. */
CORO(lingers)
{
    CORO_BEGIN();
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK(coro_task_status(my->main) != CORO_RUNNING);
    CHECK_EQ(raise(SIGINT), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(coro_scope_close(co, &my->shield, 0));
}

struct leaves {
    CORO_FRAME;
};

CORO(leaves)
{
    CORO_BEGIN();
    coro_spawn(&coro_loop_of(co)->root, lingers, .main = co);
    CORO_END(0);
}

static void run_leaves(void)
{
    coro_run(leaves);
}

TEST(coro_run_whose_task_has_ended_does_not_swallow_a_signal) /* Z10 */
{
    int status = status_of_child(run_leaves);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
}
