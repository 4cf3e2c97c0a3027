/* coro_io.h -- the reactor: sockets, streams, servers, signals, processes, threads.
 *
 * The third of three headers, on the public hooks of coro.h. Linux (epoll), BSD and macOS (kqueue),
 * any POSIX (poll). MIT licence: see the end of coro.h.
 *
 *     #include "coro_io.h"
 *
 *     struct echo { CORO_FRAME; coro_fd conn; char buf[4096]; size_t n; };
 *     CORO(echo)
 *     {
 *         CORO_BEGIN();
 *         for (;;) {
 *             CORO_TRY(my->n, coro_read(co, &my->conn, my->buf, sizeof my->buf));
 *             if (my->n == 0)
 *                 break;                                    // the peer has closed
 *             CORO_TRY(coro_write(co, &my->conn, my->buf, my->n));
 *         }
 *     CORO_FINALLY:
 *         coro_close(&my->conn);
 *         CORO_END(0);
 *     }
 *
 *     struct app { CORO_FRAME; coro_fd listener; coro_server server; };
 *     CORO(app)
 *     {
 *         CORO_BEGIN();
 *         CORO_TRY(coro_listen(&my->listener, "127.0.0.1:7000", 0));
 *         CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, echo));
 *     CORO_FINALLY:
 *         coro_close(&my->listener);
 *         CORO_END(0);
 *     }
 *     int main(void) { return coro_run(app) < 0; }
 *
 * CONTENTS (search for the tag)
 *
 *     >>guide      what holds for all of it
 *     >>names      every public name: may it wait, be cancelled, fail; where may it be called
 *     >>fd         descriptors: adopting, reading, writing, closing
 *     >>net        addresses, listening, connecting, datagrams
 *     @contents stream
 *     @contents thread
 *     @contents process
 *     >>impl       the implementation; nothing below is needed to use this
 *
 * >>guide
 *
 * A coro_fd is a handle in your frame, not a number in a table. Zeroed it is closed. It may be moved
 * (`.conn = my->conn`) until its first operation that has to wait; moving it later traps. From that
 * operation on the kernel knows it, once and for both directions, until it is closed.
 *
 * An operation is tried first; if it would have to wait, the reactor does it as soon as it can be
 * done, and the task is resumed with the result. One task may read and one may write at a time; a
 * second one has -EBUSY. Closing a handle ends both waits with -EBADF. Data that came before the end
 * is delivered before the end: 0. Nothing raises SIGPIPE.
 *
 * On -ECANCELED and -ETIMEDOUT nothing was moved; for those that move all or nothing less
 * (coro_write, coro_read_exact) coro_fd_moved says how much was.
 *
 * >>names
 *
 *   may wait: suspends the task.  cancel: fails with -ECANCELED in a cancelled scope.
 *   where: c = in a coroutine's body, t = anywhere on the loop's thread.
 *
 *   name                       may wait  cancel  can fail  where
 *   coro_io_backend            no        no      no        t
 *   coro_fd_adopt coro_close   no        no      yes       t
 *   coro_fd_release coro_fd_number coro_fd_moved     no  no  no   t
 *   coro_read coro_read_exact coro_readv             yes yes yes  c
 *   coro_write coro_write_some coro_writev           yes yes yes  c
 *   coro_wait_readable coro_wait_writable coro_wait_fd    yes yes yes  c
 *   coro_shutdown              no        no      yes       t
 *   coro_address_parse coro_address_print            no  no  yes  t
 *   coro_address_port          no        no      no        t
 *   coro_fd_local coro_fd_peer no        no      yes       t
 *   coro_listen coro_udp_open coro_udp_join          no  no  yes  t
 *   coro_accept coro_connect coro_connect_to         yes yes yes  c
 *   coro_recv_from coro_send_to    yes   yes     yes       c
 *   @names stream
 *   @names thread
 *   @names process
 */
#if !defined CORO_IO_H
#define CORO_IO_H

#if defined __linux__ && !defined _GNU_SOURCE
#define _GNU_SOURCE 1 /* accept4, pipe2, epoll_pwait2 */
#endif /* defined __linux__ && !defined _GNU_SOURCE */

#include "coro.h"

#if defined __GLIBC__ && !defined __USE_GNU
#error "coro_io.h: include it before the headers of libc, or compile with -D_GNU_SOURCE"
#endif /* defined __GLIBC__ && !defined __USE_GNU */
#if !CORO_HOSTED
#error "coro_io.h: needs an operating system; coro.h and coro_sync.h do not"
#endif /* !CORO_HOSTED */

/* CORO_IO_BACKEND: which one; default: the system's best. */
#define CORO_IO_EPOLL 1
#define CORO_IO_KQUEUE 2
#define CORO_IO_POLL 3
#ifndef CORO_IO_BACKEND
#if defined __linux__
#define CORO_IO_BACKEND CORO_IO_EPOLL
#elif defined __APPLE__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__
#define CORO_IO_BACKEND CORO_IO_KQUEUE
#else
#define CORO_IO_BACKEND CORO_IO_POLL
#endif /* defined __linux__ */
#endif /* !CORO_IO_BACKEND */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
/* @include thread */
/* @include process */
#if CORO_IO_BACKEND == CORO_IO_EPOLL
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#elif CORO_IO_BACKEND == CORO_IO_KQUEUE
#include <sys/event.h>
#endif /* CORO_IO_BACKEND == CORO_IO_EPOLL */

/* ================================================================================================
 * >>fd
 */

typedef struct coro_reactor coro_reactor;
typedef struct coro_fd coro_fd;

/* One direction of a descriptor: what waits there. The word of the task: the buffer. */
typedef struct coro_way {
    coro_waitq queue; /* at most one task */
    size_t length;    /* of the buffer */
    size_t moved;     /* bytes so far, in this operation or the last one */
} coro_way;

/* A descriptor. Zeroed: closed. */
struct coro_fd {
    int number1;           /* the descriptor, + 1 */
    uint16_t flags;        /* CORO__FD_... */
    uint8_t doing[2];      /* what waits in each way, CORO__IO_... */
    coro_reactor *reactor; /* that knows it; null: none, it may be moved */
    coro_fd *next, *prev;  /* all that the reactor knows, a ring */
    coro_way way[2];       /* CORO_IN, CORO_OUT */
};

enum { CORO_IN, CORO_OUT };

/* coro_io_backend -- "epoll", "kqueue" or "poll". */
CORO_API const char *coro_io_backend(void);

/* coro_fd_adopt -- take over a descriptor of yours: it is made non-blocking, and is closed by
 * coro_close. -EBADF: it is none. -EBUSY: the handle is in use. Copies of one descriptor, as a
 * terminal's 0, 1 and 2, become blocking together: the first adopted is given back last. */
CORO_API int coro_fd_adopt(coro_fd *h, int number);

/* coro_fd_release -- give it back as it was, blocking if it was: the descriptor; -EBADF: closed. Who
 * waits has -EBADF. */
CORO_API int coro_fd_release(coro_fd *h);

/* coro_close -- close it; whoever waits has -EBADF. Closed already: 0. */
CORO_API int coro_close(coro_fd *h);

/* coro_fd_number -- the descriptor, or -1. It stays the handle's. */
static inline int coro_fd_number(const coro_fd *h)
{
    return h->number1 - 1;
}

/* coro_fd_moved -- how many bytes the last operation in this way (CORO_IN, CORO_OUT) has moved, also
 * one that failed or was cancelled. */
static inline size_t coro_fd_moved(const coro_fd *h, int way)
{
    return h->way[way].moved;
}

/* coro_read -- read up to n bytes.
 *
 *   CORO_TRY(my->n, coro_read(co, &my->conn, my->buf, sizeof my->buf));
 *
 * Waits:      until there is something to read, or the end.
 * Returns:    how many bytes; 0: the end.
 * Errors:     -ECANCELED, -ETIMEDOUT: nothing was read. -EBUSY: another task reads. -EBADF: closed,
 *             before or meanwhile. -EINVAL: n is 0. -EPERM: the handle is another loop's. Else
 *             read's own: -ECONNRESET ...
 */
CORO_API CORO__MUST_USE coro_op coro_read(coro_task *co, coro_fd *h, void *buffer, size_t n);

/* coro_read_exact -- read n bytes. Returns: n; less: the end came first. On an error see
 * coro_fd_moved. */
CORO_API CORO__MUST_USE coro_op coro_read_exact(coro_task *co, coro_fd *h, void *buffer, size_t n);

/* coro_readv -- as coro_read, into several buffers; they stay in the frame. */
CORO_API CORO__MUST_USE coro_op coro_readv(coro_task *co, coro_fd *h, const struct iovec *to,
                                           int count);

/* coro_write -- write all n bytes.
 *
 *   CORO_TRY(coro_write(co, &my->conn, "hello\n", 6));
 *
 * Waits:      while the kernel has no room.
 * Returns:    n
 * Errors:     as coro_read; -EPIPE: nobody will read it. coro_fd_moved says how much was written.
 */
CORO_API CORO__MUST_USE coro_op coro_write(coro_task *co, coro_fd *h, const void *data, size_t n);

/* coro_write_some -- write what there is room for, at least a byte: how many. */
CORO_API CORO__MUST_USE coro_op coro_write_some(coro_task *co, coro_fd *h, const void *data,
                                                size_t n);

/* coro_writev -- as coro_write_some, from several buffers; they stay in the frame. */
CORO_API CORO__MUST_USE coro_op coro_writev(coro_task *co, coro_fd *h, const struct iovec *from,
                                            int count);

/* coro_wait_readable -- wait until coro_read would not: 0. Then borrow a buffer; idle ones need
 * none. */
CORO_API CORO__MUST_USE coro_op coro_wait_readable(coro_task *co, coro_fd *h);

/* coro_wait_writable -- wait until there is room: 0. */
CORO_API CORO__MUST_USE coro_op coro_wait_writable(coro_task *co, coro_fd *h);

/* coro_shutdown -- CORO_OUT: the peer will read the end; CORO_IN: nothing more is read. */
CORO_API int coro_shutdown(coro_fd *h, int way);

/* coro_wait_fd -- wait for POLLIN or POLLOUT, or both, of a descriptor that is not ours: a foreign
 * library's, which may close it, and another one with its number may follow.
 *
 *   CORO_TRY(my->events, coro_wait_fd(co, PQsocket(my->db), POLLIN));
 *
 * Returns:    the events that came, POLLERR and POLLHUP among them.
 * Errors:     -ECANCELED, -ETIMEDOUT; -EBADF, also when a coro_fd takes this number meanwhile;
 *             -EBUSY: another task waits for this descriptor, or a coro_fd has it; -ENOMEM.
 */
CORO_API CORO__MUST_USE coro_op coro_wait_fd(coro_task *co, int number, int events);

/* ================================================================================================
 * >>net
 */

/* An address. */
typedef struct coro_address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    };
} coro_address;

/* coro_address_parse -- "127.0.0.1:80", "[::1]:80", ":80" (any), "unix:/path". Not a name: that is
 * for coro_dial. -EINVAL. */
CORO_API int coro_address_parse(coro_address *a, const char *text);

/* coro_address_print -- the same the other way, cut to size; text. */
CORO_API const char *coro_address_print(const coro_address *a, char *text, size_t size);

/* coro_address_port -- or 0, where there is none. */
CORO_API int coro_address_port(const coro_address *a);

/* coro_fd_local -- the address of our end. */
CORO_API int coro_fd_local(const coro_fd *h, coro_address *a);

/* coro_fd_peer -- the address of the other end. */
CORO_API int coro_fd_peer(const coro_fd *h, coro_address *a);

/* coro_listen -- a listening socket: 0. backlog 0: default. A stale "unix:" socket is replaced; a
 * port can be taken again at once after a restart.
 *
 *   CORO_TRY(coro_listen(&my->listener, "[::]:8080", 0));
 *
 * Errors:     -EINVAL: no address. -EBUSY: the handle is in use. -EADDRINUSE ...
 */
CORO_API int coro_listen(coro_fd *h, const char *address, int backlog);

/* coro_accept -- the next connection: 0, and conn is open. What ails a connection that is gone
 * already is skipped.
 *
 * Errors:     -ECANCELED, -ETIMEDOUT: no connection is lost. -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM:
 *             it waits in the kernel; try again later. -EBUSY: another task accepts, or conn is open.
 */
CORO_API CORO__MUST_USE coro_op coro_accept(coro_task *co, coro_fd *listener, coro_fd *conn);

/* coro_connect -- connect to an address: 0. On an error h is closed.
 *
 *   CORO_TRY(coro_connect(co, &my->conn, "127.0.0.1:7000"));
 *
 * Errors:     -EINVAL: no address. -EBUSY: h is in use. -EAGAIN: the queue of a "unix:" listener is
 *             full. -ECONNREFUSED, -ENETUNREACH ...
 */
CORO_API CORO__MUST_USE coro_op coro_connect(coro_task *co, coro_fd *h, const char *address);

/* coro_connect_to -- the same, to an address that is known already. */
CORO_API CORO__MUST_USE coro_op coro_connect_to(coro_task *co, coro_fd *h, const coro_address *a);

/* coro_udp_open -- a datagram socket at this address (":0": anywhere): 0. */
CORO_API int coro_udp_open(coro_fd *h, const char *address);

/* coro_udp_join -- hear a multicast group: "239.1.2.3", "ff02::1". interface: its index, or 0. */
CORO_API int coro_udp_join(coro_fd *h, const char *group, unsigned interface);

/* A datagram that came, or goes. */
typedef struct coro_datagram {
    void *data;
    size_t size;       /* room for one that comes; length of one that goes */
    coro_address peer; /* from whom; to whom, length 0: to the connected one */
    bool truncated;    /* it was longer: the rest is lost */
} coro_datagram;

/* coro_recv_from -- the next datagram: its length, which may be 0. */
CORO_API CORO__MUST_USE coro_op coro_recv_from(coro_task *co, coro_fd *h, coro_datagram *d);

/* coro_send_to -- send one: its length. -EMSGSIZE: too long. */
CORO_API CORO__MUST_USE coro_op coro_send_to(coro_task *co, coro_fd *h, coro_datagram *d);

/* @api stream */

/* @api thread */

/* @api process */

/* ================================================================================================
 * >>impl -- nothing from here on is needed to use the library.
 */
#if !defined CORO_SHARED || defined CORO_IMPLEMENTATION

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* The object whose member p points to. */
#define CORO__AROUND(type, member, p) ((type *)(void *)((char *)(p) - offsetof(type, member)))

/* --- the reactor ----------------------------------------------------------------------------------
 * One for each loop, made by the first operation that has to wait. Each backend has the same few
 * functions: coro__poller_init, _fini, _add, _drop, _wait, _wake.
 *
 *     the kernel says: ready      bits in the handle         a task waits: the operation is done
 *                                                            by the reactor, the task resumed
 *     an operation would block:   the bit is cleared
 */
enum {
    CORO__FD_READY_IN = 1,  /* a read would not block, as far as is known */
    CORO__FD_READY_OUT = 2, /* likewise */
    CORO__FD_ENDED = 4,     /* no more data will come than what is there: READY_IN stays */
    CORO__FD_SOCKET = 8,
    CORO__FD_ALWAYS = 16,  /* cannot be polled, like a file: never waits */
    CORO__FD_RESTORE = 32, /* was blocking, and is again when it is given back */
    CORO__FD_AGAIN = 64,   /* to be looked at in the next turn, without being asked to */
    CORO__FD_FOREIGN = 128, /* of coro_wait_fd */
    CORO__FD_STREAM = 256   /* less than asked for means: there is no more for now */
};

enum {
    CORO__IO_NONE,
    CORO__IO_READY,
    CORO__IO_READ,
    CORO__IO_READ_EXACT,
    CORO__IO_READV,
    CORO__IO_RECV_FROM,
    CORO__IO_ACCEPT,
    CORO__IO_WRITE,
    CORO__IO_WRITE_SOME,
    CORO__IO_WRITEV,
    CORO__IO_SEND_TO,
    CORO__IO_CONNECT
};

#define CORO__IO_BLOCKED INTPTR_MIN /* of an attempt: it would block */

struct coro_reactor {
    coro_loop *loop;
    coro_fd *known; /* a ring; those to be looked at again come first */
    struct coro__foreign *foreign; /* in coro_wait_fd */
    int poller;     /* epoll's or kqueue's descriptor */
    int waker[2];   /* eventfd, or the two ends of a pipe */
    bool ms_only;   /* no epoll_pwait2 here */
    bool stray;     /* epoll may know a handle that is gone: its number was closed elsewhere */
    struct pollfd *polled; /* poll's: as many as `room` */
    size_t room, count;    /* count: known handles */
};

/* A descriptor that is not ours, as long as somebody waits for it. */
struct coro__foreign {
    coro_fd h; /* must be first */
    struct coro__foreign *next;
};

static inline void coro__fd_ready(coro_reactor *r, coro_fd *h, bool in, bool out, bool ended);

/* Has another handle the same number? */
static inline bool coro__number_known(const coro_reactor *r, const coro_fd *h)
{
    const coro_fd *at = r->known;
    for (size_t n = r->count; n; n--, at = at->next) {
        if (at != h && at->number1 == h->number1)
            return true;
    }
    return false;
}

static inline bool coro__handle_known(const coro_reactor *r, const coro_fd *h)
{
    const coro_fd *at = r->known;
    for (size_t n = r->count; n; n--, at = at->next) {
        if (at == h)
            return true;
    }
    return false;
}

static inline int coro__no_block(int number)
{
    int flags = fcntl(number, F_GETFL);
    return flags < 0 || fcntl(number, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : flags & O_NONBLOCK;
}

#if CORO_IO_BACKEND == CORO_IO_EPOLL
/* --- epoll ---------------------------------------------------------------------------------------- */

CORO_API const char *coro_io_backend(void)
{
    return "epoll";
}

static inline int coro__poller_init(coro_reactor *r)
{
    struct epoll_event e = {EPOLLIN | EPOLLET, {NULL}};
    r->poller = epoll_create1(EPOLL_CLOEXEC);
    r->waker[0] = r->waker[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->poller >= 0 && r->waker[0] >= 0 &&
        epoll_ctl(r->poller, EPOLL_CTL_ADD, r->waker[0], &e) == 0)
        return 0;
    return -errno;
}

static inline void coro__poller_fini(coro_reactor *r)
{
    if (r->poller >= 0)
        close(r->poller);
    if (r->waker[0] >= 0)
        close(r->waker[0]);
}

static inline void coro__poller_wake(coro_reactor *r)
{
    uint64_t one = 1;
    ssize_t n = write(r->waker[1], &one, sizeof one);
    (void)n; /* full: then it wakes anyhow */
}

/* Foreign ones are asked for what is waited for, once, and anew each time. */
static inline int coro__poller_add(coro_reactor *r, coro_fd *h)
{
    struct epoll_event e;
    e.data.ptr = h;
    e.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (h->flags & CORO__FD_FOREIGN)
        e.events = EPOLLONESHOT | (h->doing[CORO_IN] ? EPOLLIN : 0u) |
                   (h->doing[CORO_OUT] ? EPOLLOUT : 0u);
    if (h->reactor && epoll_ctl(r->poller, EPOLL_CTL_MOD, coro_fd_number(h), &e) == 0)
        return 0;
    if (epoll_ctl(r->poller, EPOLL_CTL_ADD, coro_fd_number(h), &e) == 0)
        return 0;
    if (errno == EEXIST && coro__number_known(r, h))
        return -EBUSY;
    if (errno == EEXIST && epoll_ctl(r->poller, EPOLL_CTL_MOD, coro_fd_number(h), &e) == 0)
        return 0;
    return -errno;
}

/* Also before a close: a copy of the descriptor elsewhere would keep it registered. */
static inline void coro__poller_drop(coro_reactor *r, coro_fd *h)
{
    struct epoll_event e;
    if (epoll_ctl(r->poller, EPOLL_CTL_DEL, coro_fd_number(h), &e) < 0)
        r->stray = true;
}

static inline int coro__epoll(coro_reactor *r, struct epoll_event *events, int n, coro_time d)
{
    coro_time ms = d / CORO_MS(1) + (d % CORO_MS(1) != 0);
#if defined SYS_epoll_pwait2
    if (!r->ms_only && d > 0 && d != CORO_FOREVER) {
        struct timespec t = {(time_t)(d / CORO_S(1)),
                             (long)(d % CORO_S(1)) * (1000000000 / CORO_TICKS_PER_S)};
        int got = (int)syscall(SYS_epoll_pwait2, r->poller, events, n, &t, NULL, (size_t)0);
        if (got >= 0 || errno == EINTR)
            return got;
        r->ms_only = true; /* not here, or forbidden */
    }
#endif /* defined SYS_epoll_pwait2 */
    return epoll_wait(r->poller, events, n,
                      d == CORO_FOREVER ? -1 : ms > INT_MAX ? INT_MAX : (int)ms);
}

/* Wait for at most d, then deal with what has come. */
static inline void coro__poller_wait(coro_reactor *r, coro_time d)
{
    struct epoll_event events[128];
    int n = coro__epoll(r, events, 128, d);
    for (int i = 0; i < n; i++) {
        uint32_t e = events[i].events;
        coro_fd *h = (coro_fd *)events[i].data.ptr;
        uint64_t drop;
        if (!h) {
            ssize_t got = read(r->waker[0], &drop, sizeof drop);
            (void)got;
            continue;
        }
        if (r->stray && !coro__handle_known(r, h))
            continue;
        if (e & EPOLLPRI) /* reads stop at the urgent byte, short as they are */
            h->flags &= (uint16_t)~CORO__FD_STREAM;
        coro__fd_ready(r, h, (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
                       (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0,
                       (e & (EPOLLRDHUP | EPOLLHUP)) != 0);
    }
}
#endif /* CORO_IO_BACKEND == CORO_IO_EPOLL */

#if CORO_IO_BACKEND == CORO_IO_POLL
/* --- poll ----------------------------------------------------------------------------------------- */

CORO_API const char *coro_io_backend(void)
{
    return "poll";
}

static inline int coro__poller_init(coro_reactor *r)
{
    if (pipe(r->waker) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        (void)coro__no_block(r->waker[i]);
        (void)fcntl(r->waker[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static inline void coro__poller_fini(coro_reactor *r)
{
    if (r->waker[0] >= 0)
        close(r->waker[0]);
    if (r->waker[1] >= 0)
        close(r->waker[1]);
    if (r->polled)
        coro_loop_free(r->loop, r->polled, r->room * sizeof *r->polled);
}

static inline void coro__poller_wake(coro_reactor *r)
{
    ssize_t n = write(r->waker[1], "", 1);
    (void)n; /* full: then it wakes anyhow */
}

/* Room for all that are known, and the waker. A file is noticed here, as epoll does it. */
static inline int coro__poller_add(coro_reactor *r, coro_fd *h)
{
    struct pollfd *more;
    struct stat st;
    size_t room = r->room ? r->room * 2 : 16;
    if (fstat(coro_fd_number(h), &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return -EPERM;
    if (!h->reactor && coro__number_known(r, h))
        return -EBUSY;
    if (r->count + 2 <= r->room)
        return 0;
    more = (struct pollfd *)coro_loop_alloc(r->loop, room * sizeof *more);
    if (!more)
        return -ENOMEM;
    if (r->polled)
        coro_loop_free(r->loop, r->polled, r->room * sizeof *r->polled);
    r->polled = more;
    r->room = room;
    return 0;
}

static inline void coro__poller_drop(coro_reactor *r, coro_fd *h)
{
}

/* Only what somebody waits for is asked for: else what is not read would be told again and again. */
static inline void coro__poller_wait(coro_reactor *r, coro_time d)
{
    coro_time ms = d / CORO_MS(1) + (d % CORO_MS(1) != 0);
    coro_fd *h = r->known, *next;
    nfds_t n = 1, i = 1;
    char drop[64];
    struct pollfd alone, *polled = r->polled ? r->polled : &alone;
    polled->fd = r->waker[0];
    polled->events = POLLIN;
    if (h) {
        do {
            polled[n].fd = coro_fd_number(h);
            polled[n].events = (short)((h->doing[CORO_IN] ? POLLIN : 0) |
                                       (h->doing[CORO_OUT] ? POLLOUT : 0));
            if (!polled[n].events)
                polled[n].fd = -1;
            n++;
        } while ((h = h->next) != r->known);
    }
    if (poll(polled, n, d == CORO_FOREVER ? -1 : ms > INT_MAX ? INT_MAX : (int)ms) <= 0)
        return;
    if (polled->revents)
        while (read(r->waker[0], drop, sizeof drop) == (ssize_t)sizeof drop)
            continue;
    for (h = r->known; i < n; i++, h = next) {
        short e = polled[i].revents;
        next = h->next;
        if (e)
            coro__fd_ready(r, h, (e & ~POLLOUT) != 0, (e & ~POLLIN) != 0, (e & POLLHUP) != 0);
    }
}
#endif /* CORO_IO_BACKEND == CORO_IO_POLL */

/* --- what all backends share -------------------------------------------------------------------- */

static inline coro_time coro__reactor_now(void *arg)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (coro_time)((coro__utime)t.tv_sec * CORO_TICKS_PER_S +
                       (coro__utime)(t.tv_nsec / (1000000000 / CORO_TICKS_PER_S)));
}

static inline void coro__reactor_wake(void *arg)
{
    int saved = errno; /* this may be a signal handler */
    coro__poller_wake((coro_reactor *)arg);
    errno = saved;
}

/* Handles whose operation has had its share of a turn. */
static inline void coro__reactor_again(coro_reactor *r)
{
    coro_fd *h = r->known, *next;
    size_t n = 0;
    for (; n < r->count && (h->flags & CORO__FD_AGAIN); n++)
        h = h->next;
    for (h = r->known; n; n--, h = next) { /* once each, though some come to the front again */
        next = h->next;
        h->flags &= (uint16_t)~CORO__FD_AGAIN;
        coro__fd_ready(r, h, true, true, false);
    }
}

static inline void coro__reactor_park(void *arg, coro_loop *loop, coro_time until)
{
    coro_reactor *r = (coro_reactor *)arg;
    bool again = r->known && (r->known->flags & CORO__FD_AGAIN);
    coro_time d = until == CORO_FOREVER ? CORO_FOREVER : until - coro__reactor_now(NULL);
    if (again || d <= 0 || coro_loop_rung(loop))
        d = 0;
    if (again)
        coro__reactor_again(r);
    coro__poller_wait(r, d);
}

/* Not where the reactor has it. */
static inline bool coro__fd_moved_away(const coro_fd *h)
{
    return h->reactor && h->prev->next != h;
}

static inline void coro__reactor_forget(coro_reactor *r, coro_fd *h)
{
    if (r->known == h)
        r->known = h->next == h ? NULL : h->next;
    h->next->prev = h->prev;
    h->prev->next = h->next;
    h->reactor = NULL;
    r->count--;
}

static inline void coro__reactor_fini(void *arg)
{
    coro_reactor *r = (coro_reactor *)arg;
    coro_loop *loop = r->loop;
    while (r->known)
        coro__reactor_forget(r, r->known); /* still open: the user's to close */
    coro__poller_fini(r);
    coro_loop_free(loop, r, sizeof *r);
}

/* The loop's reactor, made if need be. Null: *rc says why. */
static inline coro_reactor *coro__reactor_of(coro_loop *loop, int *rc)
{
    const coro_driver *present = coro_loop_driver(loop);
    coro_driver driver = {coro__reactor_now, coro__reactor_park, coro__reactor_wake,
                          coro__reactor_fini, NULL};
    coro_reactor *r, fresh = CORO__ZERO;
    if (present->park == coro__reactor_park)
        return (coro_reactor *)present->arg;
    r = (coro_reactor *)coro_loop_alloc(loop, sizeof *r);
    *rc = -ENOMEM;
    if (!r)
        return NULL;
    fresh.loop = loop;
    fresh.poller = fresh.waker[0] = fresh.waker[1] = -1;
    *r = fresh;
    *rc = coro__poller_init(r);
    if (*rc < 0) {
        coro__poller_fini(r);
        coro_loop_free(loop, r, sizeof *r);
        return NULL;
    }
    driver.arg = r;
    coro_loop_drive(loop, &driver);
    return r;
}

static inline void coro__foreign_taken(coro_reactor *r, int number);

/* Make the handle known to the loop's reactor: 0, or why not. A file never waits. */
static inline int coro__fd_register(coro_task *co, coro_fd *h)
{
    int rc = 0;
    coro_reactor *r = coro__reactor_of(coro_loop_of(co), &rc);
    if (!r)
        return rc;
    if (!(h->flags & CORO__FD_FOREIGN))
        coro__foreign_taken(r, coro_fd_number(h));
    rc = coro__poller_add(r, h);
    if (rc == -EPERM) {
        h->flags |= CORO__FD_ALWAYS;
        return 0;
    }
    if (rc < 0)
        return rc;
    if (!r->known) {
        r->known = h->next = h->prev = h;
    } else {
        h->next = r->known;
        h->prev = r->known->prev;
        h->prev->next = h->next->prev = h;
    }
    h->reactor = r;
    r->count++;
    return 0;
}

/* Local sockets stop at a message that carries descriptors: only others are drained when short. */
static inline int coro__stream_flag(const coro_address *a, int type)
{
    return type == SOCK_STREAM && (a->any.sa_family == AF_INET || a->any.sa_family == AF_INET6)
               ? CORO__FD_STREAM : 0;
}

/* A handle takes a descriptor over, which is non-blocking. */
static inline int coro__fd_open(coro_fd *h, int number, int flags)
{
    coro_fd fresh = CORO__ZERO;
    if (h->number1) {
        close(number);
        return -EBUSY;
    }
    fresh.number1 = number + 1;
    fresh.flags = (uint16_t)(flags | CORO__FD_READY_IN | CORO__FD_READY_OUT);
    *h = fresh;
    return 0;
}

/* --- attempts ------------------------------------------------------------------------------------- */

/* A read(2) or recv(2) of whatever there is. */
static inline intptr_t coro__attempt_read(coro_fd *h, void *to, size_t n)
{
    for (;;) {
        ssize_t got = h->flags & CORO__FD_SOCKET ? recv(coro_fd_number(h), to, n, 0)
                                                 : read(coro_fd_number(h), to, n);
        if (got >= 0) {
            if ((size_t)got < n && (h->flags & CORO__FD_STREAM) && !(h->flags & CORO__FD_ENDED))
                h->flags &= (uint16_t)~CORO__FD_READY_IN; /* drained: the next try would block */
            return got;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno == EIO && !(h->flags & CORO__FD_SOCKET)) /* isatty changes errno */
            return isatty(coro_fd_number(h)) ? 0 : -EIO; /* 0: a terminal; its other end is gone */
        if (errno != EINTR)
            return -errno;
    }
}

/* A write to what is no socket raises SIGPIPE when nobody reads: keep it from us. */
static inline ssize_t coro__write_quietly(int number, const struct iovec *from, int count)
{
    struct timespec none = {0, 0};
    sigset_t pipe_only, before, pending;
    ssize_t n;
    int error;
    sigpending(&pending);
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    n = writev(number, from, count);
    error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe_only, NULL, &none) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}

static inline intptr_t coro__attempt_writev(coro_fd *h, const struct iovec *from, int count)
{
    struct msghdr m;
    memset(&m, 0, sizeof m);
    m.msg_iov = (struct iovec *)(uintptr_t)from;
    m.msg_iovlen = (size_t)count;
    for (;;) {
        ssize_t n = h->flags & CORO__FD_SOCKET ? sendmsg(coro_fd_number(h), &m, MSG_NOSIGNAL)
                                               : coro__write_quietly(coro_fd_number(h), from, count);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno != EINTR)
            return -errno;
    }
}

static inline intptr_t coro__attempt_write(coro_fd *h, const void *from, size_t n)
{
    struct iovec v;
    ssize_t sent;
    if (h->flags & CORO__FD_SOCKET) {
        do
            sent = send(coro_fd_number(h), from, n, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0)
            return sent;
        return errno == EAGAIN || errno == EWOULDBLOCK ? CORO__IO_BLOCKED : -errno;
    }
    v.iov_base = (void *)(uintptr_t)from;
    v.iov_len = n;
    return coro__attempt_writev(h, &v, 1);
}

static inline intptr_t coro__attempt_accept(coro_fd *h, coro_fd *conn)
{
    for (int gone = 0;; gone++) {
#if defined __linux__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__
        int number = accept4(coro_fd_number(h), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        int number = accept(coro_fd_number(h), NULL, NULL);
        if (number >= 0) {
            (void)fcntl(number, F_SETFD, FD_CLOEXEC);
            (void)coro__no_block(number);
        }
#endif /* defined __linux__ || defined __FreeBSD__ || ... */
        if (number >= 0)
            return coro__fd_open(conn, number, h->flags & (CORO__FD_SOCKET | CORO__FD_STREAM));
        switch (errno) {
        case EAGAIN:
            return CORO__IO_BLOCKED;
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM: /* a firewall's word about one connection */
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENOPROTOOPT:
        case EOPNOTSUPP:
            if (gone < 64) /* it is not about a connection */
                continue;
            return -errno;
        default:
            return -errno;
        }
    }
}

static inline intptr_t coro__attempt_readv(coro_fd *h, const struct iovec *to, int count)
{
    for (;;) {
        ssize_t got = readv(coro_fd_number(h), to, count);
        if (got >= 0)
            return got;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno != EINTR)
            return -errno;
    }
}

static inline intptr_t coro__attempt_recv_from(coro_fd *h, coro_datagram *d)
{
    struct iovec v = {d->data, d->size};
    struct msghdr m;
    for (;;) {
        ssize_t n;
        memset(&m, 0, sizeof m);
        m.msg_name = &d->peer.any;
        m.msg_namelen = sizeof d->peer - offsetof(coro_address, any);
        m.msg_iov = &v;
        m.msg_iovlen = 1;
        n = recvmsg(coro_fd_number(h), &m, 0);
        d->peer.length = m.msg_namelen;
        d->truncated = (m.msg_flags & MSG_TRUNC) != 0;
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno != EINTR)
            return -errno;
    }
}

static inline intptr_t coro__attempt_send_to(coro_fd *h, const coro_datagram *d)
{
    for (;;) {
        ssize_t n = sendto(coro_fd_number(h), d->data, d->size, MSG_NOSIGNAL,
                           d->peer.length ? &d->peer.any : NULL, d->peer.length);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno != EINTR)
            return -errno;
    }
}

static inline intptr_t coro__attempt_connect(coro_fd *h)
{
    int error = 0;
    socklen_t size = sizeof error;
    struct pollfd p = {coro_fd_number(h), POLLOUT, 0};
    int n = poll(&p, 1, 0);
    if (n == 0)
        return CORO__IO_BLOCKED; /* what woke us was of the time before connect */
    if (n < 0 || getsockopt(coro_fd_number(h), SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

/* Do what waits in one way: the result, or CORO__IO_BLOCKED. What moves much has sixteen goes at it,
 * then others have theirs. */
static inline intptr_t coro__attempt(coro_fd *h, int way, intptr_t word)
{
    coro_way *w = &h->way[way];
    char *at = (char *)word;
    intptr_t n = CORO__IO_BLOCKED;
    int goes = 0, doing = h->doing[way];
    switch (doing) {
    case CORO__IO_READ:
        n = coro__attempt_read(h, at, w->length);
        break;
    case CORO__IO_READ_EXACT:
    case CORO__IO_WRITE:
        while (goes++ < 16 || (h->flags & CORO__FD_ALWAYS)) {
            n = doing == CORO__IO_WRITE
                    ? coro__attempt_write(h, at + w->moved, w->length - w->moved)
                    : coro__attempt_read(h, at + w->moved, w->length - w->moved);
            if (n > 0)
                w->moved += (size_t)n;
            if (n < 0)
                return n;
            if (n == 0 || w->moved == w->length)
                return (intptr_t)w->moved;
        }
        h->flags |= CORO__FD_AGAIN;
        return CORO__IO_BLOCKED;
    case CORO__IO_WRITE_SOME:
        n = coro__attempt_write(h, at, w->length);
        break;
    case CORO__IO_WRITEV:
        n = coro__attempt_writev(h, (const struct iovec *)word, (int)w->length);
        break;
    case CORO__IO_READV:
        n = coro__attempt_readv(h, (const struct iovec *)word, (int)w->length);
        break;
    case CORO__IO_RECV_FROM:
        return coro__attempt_recv_from(h, (coro_datagram *)word);
    case CORO__IO_SEND_TO:
        return coro__attempt_send_to(h, (coro_datagram *)word);
    case CORO__IO_ACCEPT:
        return coro__attempt_accept(h, (coro_fd *)word);
    case CORO__IO_CONNECT:
        return coro__attempt_connect(h);
    default: /* CORO__IO_READY */
        return h->flags & (way == CORO_IN ? CORO__FD_READY_IN : CORO__FD_READY_OUT)
                   ? 0 : CORO__IO_BLOCKED;
    }
    w->moved = n > 0 ? (size_t)n : 0;
    return n;
}

/* The same, and the bit that says whether trying again is any use. */
static inline intptr_t coro__attempt_noted(coro_fd *h, int way, intptr_t word)
{
    intptr_t n = coro__attempt(h, way, word);
    if (n == CORO__IO_BLOCKED && !(h->flags & CORO__FD_AGAIN))
        h->flags &= (uint16_t) ~(way == CORO_IN ? CORO__FD_READY_IN | CORO__FD_ENDED
                                                : CORO__FD_READY_OUT);
    return n;
}

/* --- waiting ------------------------------------------------------------------------------------ */

static inline void coro__fd_end_wait(coro_fd *h, int way, intptr_t result)
{
    coro_task *task = h->way[way].queue.head;
    bool failed = result < 0 && h->doing[way] == CORO__IO_CONNECT;
    h->doing[way] = CORO__IO_NONE;
    coro_loop_release(coro_loop_of(task));
    (void)coro_complete(task, result);
    if (failed && result != -EBADF) /* that one is being closed */
        (void)coro_close(h);
}

static inline void coro__foreign_ready(coro_reactor *r, coro_fd *h);

/* What the kernel says of a handle. */
static inline void coro__fd_ready(coro_reactor *r, coro_fd *h, bool in, bool out, bool ended)
{
    if (h->flags & CORO__FD_FOREIGN) {
        coro__foreign_ready(r, h);
        return;
    }
    h->flags |= (uint16_t)((in ? CORO__FD_READY_IN : 0) | (out ? CORO__FD_READY_OUT : 0) |
                           (ended ? CORO__FD_ENDED : 0));
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        bool ready = way == CORO_IN ? in : out;
        intptr_t n;
        if (!ready || !h->doing[way])
            continue;
        n = coro__attempt_noted(h, way, coro_word(h->way[way].queue.head));
        if (n != CORO__IO_BLOCKED)
            coro__fd_end_wait(h, way, n);
    }
    if (h->flags & CORO__FD_AGAIN) { /* to the front */
        coro_fd *first = r->known;
        if (first != h) {
            h->next->prev = h->prev;
            h->prev->next = h->next;
            h->next = first;
            h->prev = first->prev;
            h->prev->next = h->next->prev = h;
            r->known = h;
        }
    }
}

static inline coro_abort coro__in_abort(coro_task *task, coro_waitq *queue)
{
    CORO__AROUND(coro_fd, way[CORO_IN].queue, queue)->doing[CORO_IN] = CORO__IO_NONE;
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

static inline coro_abort coro__out_abort(coro_task *task, coro_waitq *queue)
{
    CORO__AROUND(coro_fd, way[CORO_OUT].queue, queue)->doing[CORO_OUT] = CORO__IO_NONE;
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

/* A connection that was not made is closed. */
static inline void coro__connect_gone(coro_task *task, coro_waitq *queue)
{
    (void)coro_close(CORO__AROUND(coro_fd, way[CORO_OUT].queue, queue));
}

/* Start an operation: try it, if that may be of use; else wait until the reactor has done it. */
static inline coro_op coro__fd_begin(coro_task *co, coro_fd *h, int way, int doing, intptr_t word,
                                     size_t length)
{
    static const coro_ops ops[3] = {{CORO__T("read"), coro__in_abort, NULL},
                                    {CORO__T("write"), coro__out_abort, NULL},
                                    {CORO__T("connect"), coro__out_abort, coro__connect_gone}};
    intptr_t n = CORO__IO_BLOCKED;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, (const void *)word) || coro_is_local(co, h))
        return coro_local();
    if (!h->number1)
        return coro_done(co, -EBADF);
    if (coro__fd_moved_away(h)) {
        coro_report(co, " uses a coro_fd that was moved after an operation of it had waited");
        abort();
    }
    if (h->reactor && h->reactor->loop != coro_loop_of(co))
        return coro_done(co, -EPERM);
    if (h->doing[way])
        return coro_done(co, -EBUSY);
    h->doing[way] = (uint8_t)doing;
    h->way[way].length = length;
    h->way[way].moved = 0;
    if (h->flags & (way == CORO_IN ? CORO__FD_READY_IN : CORO__FD_READY_OUT))
        n = coro__attempt_noted(h, way, word);
    if (n == CORO__IO_BLOCKED && !h->reactor) {
        n = coro__fd_register(co, h);
        if (n == 0)
            n = h->flags & CORO__FD_ALWAYS ? coro__attempt(h, way, word) : CORO__IO_BLOCKED;
    }
    if (n != CORO__IO_BLOCKED) {
        h->doing[way] = CORO__IO_NONE;
        if (n < 0 && doing == CORO__IO_CONNECT)
            (void)coro_close(h);
        return coro_done(co, n);
    }
    coro_loop_hold(coro_loop_of(co));
    if (h->flags & CORO__FD_AGAIN)
        coro__fd_ready(h->reactor, h, false, false, false);
    return coro_suspend(co, &h->way[way].queue, &ops[doing == CORO__IO_CONNECT ? 2 : way], word);
}

/* --- descriptors ---------------------------------------------------------------------------------- */

CORO_API int coro_fd_adopt(coro_fd *h, int number)
{
    int type = 0, rc, blocking, flags = 0;
    coro_address at;
    socklen_t size = sizeof type, room = sizeof at - offsetof(coro_address, any);
    if (h->number1)
        return -EBUSY;
    blocking = coro__no_block(number);
    if (blocking < 0)
        return blocking;
    rc = getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size);
    if (rc == 0)
        flags = CORO__FD_SOCKET;
    if (rc == 0 && getsockname(number, &at.any, &room) == 0)
        flags |= coro__stream_flag(&at, type);
    return coro__fd_open(h, number, flags | (blocking ? 0 : CORO__FD_RESTORE));
}

CORO_API int coro_fd_release(coro_fd *h)
{
    int number = coro_fd_number(h);
    coro_fd closed = CORO__ZERO;
    if (number < 0)
        return -EBADF;
    if (coro__fd_moved_away(h)) {
        CORO_TRAP("coro_io.h", __LINE__, "coro_close",
                  CORO__T("this coro_fd was moved after an operation of it had waited"));
        abort();
    }
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        if (h->doing[way])
            coro__fd_end_wait(h, way, -EBADF);
        closed.way[way].moved = h->way[way].moved;
    }
    if (h->reactor) {
        coro__poller_drop(h->reactor, h);
        coro__reactor_forget(h->reactor, h);
    }
    if (h->flags & CORO__FD_RESTORE)
        (void)fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK);
    *h = closed;
    return number;
}

CORO_API int coro_close(coro_fd *h)
{
    int number = coro_fd_release(h);
    if (number < 0)
        return 0;
    return close(number) < 0 && errno != EINTR ? -errno : 0;
}

CORO_API coro_op coro_read(coro_task *co, coro_fd *h, void *buffer, size_t n)
{
    if (!n && !coro_cancelled(co))
        return coro_done(co, -EINVAL);
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_READ, (intptr_t)buffer, n);
}

CORO_API coro_op coro_read_exact(coro_task *co, coro_fd *h, void *buffer, size_t n)
{
    if (!n && !coro_cancelled(co))
        return coro_done(co, h->number1 ? 0 : -EBADF);
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_READ_EXACT, (intptr_t)buffer, n);
}

/* How many are not empty; -1: a local variable is among them. */
static inline intptr_t coro__iovec_check(const coro_task *co, const struct iovec *v, int count)
{
    intptr_t n = 0;
    for (int i = 0; i < count; i++) {
        if (coro_is_local(co, v[i].iov_base))
            return -1;
        n += v[i].iov_len != 0;
    }
    return n;
}

CORO_API coro_op coro_readv(coro_task *co, coro_fd *h, const struct iovec *to, int count)
{
    intptr_t full = coro__iovec_check(co, to, count);
    if (full < 0)
        return coro_local();
    if (!full && !coro_cancelled(co))
        return coro_done(co, -EINVAL);
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_READV, (intptr_t)to, (size_t)count);
}

CORO_API coro_op coro_write(coro_task *co, coro_fd *h, const void *data, size_t n)
{
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_WRITE, (intptr_t)data, n);
}

CORO_API coro_op coro_write_some(coro_task *co, coro_fd *h, const void *data, size_t n)
{
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_WRITE_SOME, (intptr_t)data, n);
}

CORO_API coro_op coro_writev(coro_task *co, coro_fd *h, const struct iovec *from, int count)
{
    if (coro__iovec_check(co, from, count) < 0)
        return coro_local();
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_WRITEV, (intptr_t)from, (size_t)count);
}

/* A handle that has never waited is not known to be drained: ask the kernel. */
static inline coro_op coro__fd_wait(coro_task *co, coro_fd *h, int way)
{
    struct pollfd p = {coro_fd_number(h), 0, 0};
    p.events = way == CORO_IN ? POLLIN : POLLOUT;
    if (h->number1 && poll(&p, 1, 0) == 0)
        h->flags &= (uint16_t) ~(way == CORO_IN ? CORO__FD_READY_IN : CORO__FD_READY_OUT);
    return coro__fd_begin(co, h, way, CORO__IO_READY, 0, 0);
}

CORO_API coro_op coro_wait_readable(coro_task *co, coro_fd *h)
{
    return coro__fd_wait(co, h, CORO_IN);
}

CORO_API coro_op coro_wait_writable(coro_task *co, coro_fd *h)
{
    return coro__fd_wait(co, h, CORO_OUT);
}

CORO_API int coro_shutdown(coro_fd *h, int way)
{
    if (!h->number1)
        return -EBADF;
    return shutdown(coro_fd_number(h), way == CORO_IN ? SHUT_RD : SHUT_WR) < 0 ? -errno : 0;
}

/* --- foreign descriptors ---------------------------------------------------------------------------
 * Registered for one event, while somebody waits: the number may be another descriptor's later. A
 * task that waits for both ways is in the first one's queue.
 */
static inline void coro__foreign_drop(coro_reactor *r, coro_fd *h)
{
    struct coro__foreign **at = &r->foreign;
    while (&(*at)->h != h)
        at = &(*at)->next;
    *at = (*at)->next;
    coro__poller_drop(r, h);
    coro__reactor_forget(r, h);
    coro_loop_free(r->loop, h, sizeof(struct coro__foreign));
}

/* What came may be of a descriptor that had this number before: ask what is so now. */
static inline void coro__foreign_ready(coro_reactor *r, coro_fd *h)
{
    struct pollfd p = {coro_fd_number(h), 0, 0};
    p.events = (short)((h->doing[CORO_IN] ? POLLIN : 0) | (h->doing[CORO_OUT] ? POLLOUT : 0));
    (void)poll(&p, 1, 0);
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        coro_task *task = h->way[way].queue.head;
        int wanted = task ? (int)coro_word(task) : 0;
        int events = p.revents & (wanted | POLLERR | POLLHUP | POLLNVAL);
        if (!events || !task)
            continue;
        if (wanted & POLLOUT)
            h->doing[CORO_OUT] = CORO__IO_NONE;
        if (wanted & POLLIN)
            h->doing[CORO_IN] = CORO__IO_NONE;
        coro_loop_release(r->loop);
        (void)coro_complete(task, events & POLLNVAL ? -EBADF : events);
    }
    if (!h->doing[CORO_IN] && !h->doing[CORO_OUT])
        coro__foreign_drop(r, h);
    else
        (void)coro__poller_add(r, h); /* the other way, anew */
}

/* A handle has this number now: what had it is gone. */
static inline void coro__foreign_taken(coro_reactor *r, int number)
{
    struct coro__foreign *f = r->foreign;
    while (f && coro_fd_number(&f->h) != number)
        f = f->next;
    if (!f)
        return;
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        if (f->h.way[way].queue.head)
            coro__fd_end_wait(&f->h, way, -EBADF);
    }
    coro__foreign_drop(r, &f->h);
}

static inline coro_abort coro__foreign_abort(coro_task *task, coro_waitq *queue)
{
    coro_way *w = CORO__AROUND(coro_way, queue, queue);
    coro_fd *h = coro_word(task) & POLLIN ? CORO__AROUND(coro_fd, way[CORO_IN], w)
                                          : CORO__AROUND(coro_fd, way[CORO_OUT], w);
    if (coro_word(task) & POLLIN)
        h->doing[CORO_IN] = CORO__IO_NONE;
    if (coro_word(task) & POLLOUT)
        h->doing[CORO_OUT] = CORO__IO_NONE;
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

static inline void coro__foreign_gone(coro_task *task, coro_waitq *queue)
{
    struct coro__foreign *f = NULL;
    int rc = 0;
    coro_reactor *r = coro__reactor_of(coro_loop_of(task), &rc);
    for (f = r->foreign; f; f = f->next) {
        if (&f->h.way[CORO_IN].queue == queue || &f->h.way[CORO_OUT].queue == queue)
            break;
    }
    if (f && !f->h.doing[CORO_IN] && !f->h.doing[CORO_OUT])
        coro__foreign_drop(r, &f->h);
}

CORO_API coro_op coro_wait_fd(coro_task *co, int number, int events)
{
    static const coro_ops ops = {CORO__T("descriptor"), coro__foreign_abort, coro__foreign_gone};
    struct coro__foreign *f, fresh = CORO__ZERO;
    bool in = (events & POLLIN) != 0, out = (events & POLLOUT) != 0;
    coro_reactor *r;
    int rc = 0;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!in && !out)
        return coro_done(co, -EINVAL);
    r = coro__reactor_of(coro_loop_of(co), &rc);
    if (!r)
        return coro_done(co, rc);
    for (f = r->foreign; f && coro_fd_number(&f->h) != number; f = f->next)
        continue;
    if (f && ((in && f->h.doing[CORO_IN]) || (out && f->h.doing[CORO_OUT])))
        return coro_done(co, -EBUSY);
    if (!f) {
        f = (struct coro__foreign *)coro_loop_alloc(r->loop, sizeof *f);
        if (!f)
            return coro_done(co, -ENOMEM);
        fresh.h.number1 = number + 1;
        fresh.h.flags = CORO__FD_FOREIGN;
        fresh.h.doing[CORO_IN] = in ? CORO__IO_READY : CORO__IO_NONE;
        fresh.h.doing[CORO_OUT] = out ? CORO__IO_READY : CORO__IO_NONE;
        *f = fresh;
        rc = coro__fd_register(co, &f->h);
        if (rc < 0 || (f->h.flags & CORO__FD_ALWAYS)) {
            coro_loop_free(r->loop, f, sizeof *f);
            return coro_done(co, rc < 0 ? rc : events & (POLLIN | POLLOUT));
        }
        f->next = r->foreign;
        r->foreign = f;
    } else {
        if (in)
            f->h.doing[CORO_IN] = CORO__IO_READY;
        if (out)
            f->h.doing[CORO_OUT] = CORO__IO_READY;
        (void)coro__poller_add(r, &f->h);
    }
    coro_loop_hold(r->loop);
    return coro_suspend(co, &f->h.way[in ? CORO_IN : CORO_OUT].queue, &ops,
                        events & (POLLIN | POLLOUT));
}

/* --- addresses and sockets ------------------------------------------------------------------------ */

/* "123": 123; anything else: -1. */
static inline int coro__port_of(const char *text)
{
    int n = 0, digits = 0;
    for (; *text >= '0' && *text <= '9' && digits < 5; digits++)
        n = n * 10 + (*text++ - '0');
    return *text || !digits || n > 65535 ? -1 : n;
}

CORO_API int coro_address_parse(coro_address *a, const char *text)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t n = colon ? (size_t)(colon - text) : 0;
    int port = colon ? coro__port_of(colon + 1) : -1;
    memset(a, 0, sizeof *a);
    if (strncmp(text, "unix:", 5) == 0) {
        n = strlen(text + 5);
        if (!n || n >= sizeof a->local.sun_path)
            return -EINVAL;
        a->local.sun_family = AF_UNIX;
        memcpy(a->local.sun_path, text + 5, n + 1);
        a->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
        return 0;
    }
    if (port < 0 || n >= sizeof host)
        return -EINVAL;
    memcpy(host, text, n);
    host[n] = 0;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons((uint16_t)port);
        a->length = sizeof a->v6;
        return inet_pton(AF_INET6, host + 1, &a->v6.sin6_addr) == 1 ? 0 : -EINVAL;
    }
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = htons((uint16_t)port);
    a->length = sizeof a->v4;
    return !n || inet_pton(AF_INET, host, &a->v4.sin_addr) == 1 ? 0 : -EINVAL;
}

CORO_API const char *coro_address_print(const coro_address *a, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    int n;
    if (a->length && a->any.sa_family == AF_UNIX) {
        size_t most = a->length - offsetof(struct sockaddr_un, sun_path);
        if (most > sizeof a->local.sun_path) /* the kernel's, with no zero at its end */
            most = sizeof a->local.sun_path;
        n = snprintf(text, size, "unix:%.*s", (int)most, a->local.sun_path);
    } else if (a->length && a->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        n = snprintf(text, size, "[%s]:%d", host, coro_address_port(a));
    } else if (a->length) {
        (void)inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        n = snprintf(text, size, "%s:%d", host, coro_address_port(a));
    } else {
        n = snprintf(text, size, "-");
    }
    if (n < 0 && size) /* used, so that a buffer that is meant to cut brings no warning */
        *text = 0;
    return text;
}

CORO_API int coro_address_port(const coro_address *a)
{
    if (a->length && a->any.sa_family == AF_INET)
        return ntohs(a->v4.sin_port);
    return a->length && a->any.sa_family == AF_INET6 ? ntohs(a->v6.sin6_port) : 0;
}

CORO_API int coro_fd_local(const coro_fd *h, coro_address *a)
{
    memset(a, 0, sizeof *a);
    a->length = sizeof *a - offsetof(coro_address, any);
    return getsockname(coro_fd_number(h), &a->any, &a->length) < 0 ? -errno : 0;
}

CORO_API int coro_fd_peer(const coro_fd *h, coro_address *a)
{
    memset(a, 0, sizeof *a);
    a->length = sizeof *a - offsetof(coro_address, any);
    return getpeername(coro_fd_number(h), &a->any, &a->length) < 0 ? -errno : 0;
}

/* A socket for an address: its number, or an error. */
static inline int coro__socket(const coro_address *a, int type)
{
#if defined SOCK_NONBLOCK && defined SOCK_CLOEXEC
    int number = socket(a->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (number < 0)
        return -errno;
#else
    int number = socket(a->any.sa_family, type, 0);
    if (number < 0)
        return -errno;
    (void)fcntl(number, F_SETFD, FD_CLOEXEC);
    (void)coro__no_block(number);
#endif /* defined SOCK_NONBLOCK && defined SOCK_CLOEXEC */
#if defined SO_NOSIGPIPE
    {
        int on = 1;
        (void)setsockopt(number, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    }
#endif /* defined SO_NOSIGPIPE */
    return number;
}

/* A "unix:" path in which nobody listens any more may be taken. */
static inline bool coro__stale(const coro_address *a)
{
    int number;
    bool stale = false;
    struct stat st;
    if (a->any.sa_family != AF_UNIX || lstat(a->local.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    number = coro__socket(a, SOCK_STREAM);
    if (number >= 0) {
        stale = connect(number, &a->any, a->length) < 0 && errno == ECONNREFUSED;
        close(number);
    }
    return stale && unlink(a->local.sun_path) == 0;
}

static inline int coro__bind(coro_fd *h, const char *address, int type, int backlog)
{
    coro_address a;
    int number, on = 1, rc = coro_address_parse(&a, address);
    if (h->number1)
        return -EBUSY;
    if (rc < 0)
        return rc;
    number = coro__socket(&a, type);
    if (number < 0)
        return number;
    if (type == SOCK_STREAM)
        (void)setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (type == SOCK_STREAM && a.any.sa_family != AF_UNIX) /* for those that are accepted */
        (void)setsockopt(number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    rc = bind(number, &a.any, a.length) < 0 ? -errno : 0;
    if (rc == -EADDRINUSE && coro__stale(&a))
        rc = bind(number, &a.any, a.length) < 0 ? -errno : 0;
    if (rc == 0 && type == SOCK_STREAM && listen(number, backlog > 0 ? backlog : SOMAXCONN) < 0)
        rc = -errno;
    if (rc < 0) {
        close(number);
        return rc;
    }
    return coro__fd_open(h, number, CORO__FD_SOCKET | coro__stream_flag(&a, type));
}

CORO_API int coro_listen(coro_fd *h, const char *address, int backlog)
{
    return coro__bind(h, address, SOCK_STREAM, backlog);
}

CORO_API coro_op coro_accept(coro_task *co, coro_fd *listener, coro_fd *conn)
{
    if (conn->number1 && !coro_cancelled(co))
        return coro_done(co, -EBUSY);
    if (coro_is_local(co, conn))
        return coro_local();
    return coro__fd_begin(co, listener, CORO_IN, CORO__IO_ACCEPT, (intptr_t)conn, 0);
}

CORO_API coro_op coro_connect_to(coro_task *co, coro_fd *h, const coro_address *a)
{
    int number, rc, on = 1;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, h))
        return coro_local();
    if (h->number1)
        return coro_done(co, -EBUSY);
    number = coro__socket(a, SOCK_STREAM);
    if (number < 0)
        return coro_done(co, number);
    if (a->any.sa_family != AF_UNIX)
        (void)setsockopt(number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    rc = connect(number, &a->any, a->length) < 0 ? -errno : 0;
    (void)coro__fd_open(h, number, CORO__FD_SOCKET | coro__stream_flag(a, SOCK_STREAM));
    if (rc == 0)
        return coro_done(co, 0);
    if (rc != -EINPROGRESS && rc != -EINTR) { /* interrupted: it goes on all the same */
        (void)coro_close(h);
        return coro_done(co, rc);
    }
    h->flags &= (uint16_t)~CORO__FD_READY_OUT;
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_CONNECT, 0, 0);
}

CORO_API coro_op coro_connect(coro_task *co, coro_fd *h, const char *address)
{
    coro_address a;
    int rc = coro_address_parse(&a, address);
    if (rc < 0 && !coro_cancelled(co))
        return coro_done(co, rc);
    return coro_connect_to(co, h, &a);
}

CORO_API int coro_udp_open(coro_fd *h, const char *address)
{
    return coro__bind(h, address, SOCK_DGRAM, 0);
}

CORO_API int coro_udp_join(coro_fd *h, const char *group, unsigned interface)
{
    struct ipv6_mreq v6;
    struct ip_mreqn v4;
    int n = coro_fd_number(h);
    memset(&v6, 0, sizeof v6);
    memset(&v4, 0, sizeof v4);
    v6.ipv6mr_interface = interface;
    v4.imr_ifindex = (int)interface;
    if (inet_pton(AF_INET, group, &v4.imr_multiaddr) == 1)
        return setsockopt(n, IPPROTO_IP, IP_ADD_MEMBERSHIP, &v4, sizeof v4) < 0 ? -errno : 0;
    if (inet_pton(AF_INET6, group, &v6.ipv6mr_multiaddr) == 1)
        return setsockopt(n, IPPROTO_IPV6, IPV6_JOIN_GROUP, &v6, sizeof v6) < 0 ? -errno : 0;
    return -EINVAL;
}

CORO_API coro_op coro_recv_from(coro_task *co, coro_fd *h, coro_datagram *d)
{
    if (coro_is_local(co, d->data))
        return coro_local();
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_RECV_FROM, (intptr_t)d, 0);
}

CORO_API coro_op coro_send_to(coro_task *co, coro_fd *h, coro_datagram *d)
{
    if (coro_is_local(co, d->data))
        return coro_local();
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_SEND_TO, (intptr_t)d, 0);
}

/* @impl stream */

/* @impl thread */

/* @impl process */

#pragma GCC diagnostic pop
#endif /* !defined CORO_SHARED || defined CORO_IMPLEMENTATION */
#endif /* !defined CORO_IO_H */
