/* test_io_cover.c -- what all operations of coro_io.h have in common: none keeps the address of a
 * local variable, none happens in a cancelled scope, each refuses what it cannot do.
 */
#include "io.h"

#include <sys/wait.h>

typedef CORO_MAILBOX(int, 1) ints;

static coro_fd h, other;
static coro_stream s;
static coro_slice slice;
static coro_threads threads;
static coro_process process;
static coro_file file;
static coro_address address;
static coro_datagram datagram;
static ints box;
static char text[64];

/* As large as anything that an operation is given the address of. */
union room {
    coro_fd fd;
    coro_stream stream;
    coro_process process;
    coro_file file;
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

enum { BYTES = 10, STREAMS = 10, OTHERS = 16 };

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

enum { NONSENSE = 20 };

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
