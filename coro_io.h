/* coro_io.h -- the reactor: sockets, streams, servers, signals, processes, threads.
 *
 * The third of three headers, on the public hooks of coro.h. Linux (epoll), macOS and the BSDs
 * (kqueue), any POSIX (poll). MIT licence: see the end of coro.h.
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
 *     int main(void)
 *     {
 *         int rc = coro_run(app);                               // Ctrl-C: -EINTR
 *         if (rc < 0)
 *             fprintf(stderr, "%s\n", strerror(-rc));           // Address already in use
 *         return rc < 0;
 *     }
 *
 * CONTENTS (search for the tag)
 *
 *     >>guide      what holds for all of it
 *     >>names      every public name: may it wait, be cancelled, fail; where may it be called
 *     >>fd         descriptors: adopting, reading, writing, closing
 *     >>net        addresses, listening, connecting, datagrams
 *     >>stream     buffered reading and writing: lines, separators, exact sizes, printf
 *     >>serve      servers: accepting, limits, draining
 *     >>thread     blocking functions, names, dialling, mailboxes, a loop per core, files
 *     >>signals    signals as something to wait for; coro_run
 *     >>process    other programs: spawning, waiting, killing
 *     >>impl       the implementation; nothing below is needed to use this
 *
 * >>guide
 *
 * A coro_fd is a handle in your frame, not a number in a table. Zeroed it is closed. It may be
 * moved (`.conn = my->conn`) until its first operation that has to wait; moving it later traps.
 * From that operation on the kernel knows it, once and for both directions, until it is closed.
 *
 * An operation is tried first; if it would have to wait, the reactor does it as soon as it can be
 * done, and the task is resumed with the result. One task may read and one may write at a time; a
 * second one has -EBUSY. Closing a handle ends both waits with -EBADF. Data that came before the
 * end is delivered before the end: 0. Nothing raises SIGPIPE.
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
 *   coro_loop_fd               no        no      yes       t
 *   coro_fd_adopt coro_close   no        no      yes       t
 *   coro_fd_release coro_fd_number coro_fd_moved     no  no  no   t
 *   coro_pipe                  no        no      yes       t
 *   coro_read coro_read_exact coro_readv             yes yes yes  c
 *   coro_write coro_write_some coro_writev           yes yes yes  c
 *   coro_sendfile coro_stream_sendfile               yes yes yes  c
 *   coro_wait_readable coro_wait_writable coro_wait_fd    yes yes yes  c
 *   coro_shutdown              no        no      yes       t
 *   coro_address_parse coro_address_print            no  no  yes  t
 *   coro_address_port          no        no      no        t
 *   coro_fd_local coro_fd_peer no        no      yes       t
 *   coro_listen coro_udp_open coro_udp_join          no  no  yes  t
 *   coro_accept coro_connect coro_connect_to         yes yes yes  c
 *   coro_recv_from coro_send_to coro_recv_fd coro_send_fd     yes  yes  yes  c
 *   coro_stream_open coro_stream_close coro_stream_skip     no  no  yes  t
 *   coro_stream_buffered       no        no      no        t
 *   coro_stream_read_line coro_stream_read_until coro_stream_read_exact coro_stream_read
 *   coro_stream_peek coro_stream_write coro_stream_printf
 *   coro_stream_flush          yes       yes     yes       c
 *   coro_serve                 yes       yes     yes       c
 *   coro_server_stop           no        no      no        t
 *   coro_blocking coro_blocking_on coro_blocking_abandon  yes  yes  yes  c
 *   coro_job_cancelled         no        no      no        i (in the job)
 *   coro_threads_init coro_threads_fini coro_threads_for   no  no  yes  t
 *   coro_resolve coro_dial     yes       yes     yes       c
 *   CORO_MAILBOX               declares
 *   coro_mailbox_put coro_mailbox_get      yes   yes  yes  c
 *   coro_mailbox_try_put coro_mailbox_try_get coro_mailbox_close coro_mailbox_depth  no no yes i
 *   coro_mailbox_init coro_mailbox_fini    no    no   yes  i
 *   coro_portal_open coro_portal_fini      no    no   yes  t
 *   coro_portal_call           blocks    -       yes       on other threads
 *   coro_run_threads           blocks    -       yes       outside a loop
 *   coro_listen_shared         no        no      yes       t
 *   coro_file_open coro_file_read coro_file_write coro_file_stat coro_file_sync  yes yes yes c
 *   coro_file_close coro_file_number     no   no   yes       t
 *   coro_signals_open coro_signals_close             no  no  yes  t
 *   coro_signals_wait          yes       yes     yes       c
 *   coro_process_spawn coro_process_kill             no  no  yes  t
 *   coro_process_wait          yes       yes     yes       c
 *   coro_process_run coro_process_task     as coro_call       c
 *   coro_process_fini          no        no      no        t
 *   coro_run coro_run_with     blocks    -       yes       outside a loop
 *
 *   you embed    coro_fd coro_stream coro_server coro_threads coro_dial coro_file coro_signals
 *                coro_process coro_process_task coro_portal
 *   you fill in  coro_datagram coro_parcel coro_file_part coro_command coro_output
 *                coro_threads_options
 *   you get      coro_address coro_slice coro_job; a part of others: coro_way coro_reactor
 *                coro_mailbox
 *   constants    CORO_IN CORO_OUT CORO_INHERIT CORO_PIPE CORO_NULL CORO_STDOUT CORO_DIAL_MOST
 *   options      CORO_IO_BACKEND CORO_IO_EPOLL CORO_IO_KQUEUE CORO_IO_POLL CORO_IO_PIDFD
 *                CORO_IO_SENDFILE
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
#elif defined __APPLE__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__ || \
    defined __DragonFly__
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
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include <netdb.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#if defined __linux__
#include <sys/syscall.h>
#endif /* defined __linux__ */

/* How the ends of processes are heard. 0: the portable way: a thread that waits. It comes to that
 * by itself where the kernel is too old. */
#ifndef CORO_IO_PIDFD
#if defined SYS_pidfd_open && CORO_IO_BACKEND != CORO_IO_KQUEUE
#define CORO_IO_PIDFD 1
#else
#define CORO_IO_PIDFD 0
#endif /* defined SYS_pidfd_open && CORO_IO_BACKEND != CORO_IO_KQUEUE */
#endif /* !CORO_IO_PIDFD */

/* coro_sendfile by the system's own call. 0: by reading into a small buffer, and writing. */
#ifndef CORO_IO_SENDFILE
#if defined __linux__ || defined __FreeBSD__ || defined __APPLE__
#define CORO_IO_SENDFILE 1
#else
#define CORO_IO_SENDFILE 0
#endif /* defined __linux__ || defined __FreeBSD__ || defined __APPLE__ */
#endif /* !CORO_IO_SENDFILE */

#if defined __linux__
#include <sys/sendfile.h>
#endif /* defined __linux__ */
#if CORO_IO_BACKEND == CORO_IO_EPOLL
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#endif /* CORO_IO_BACKEND == CORO_IO_EPOLL */
#if CORO_IO_BACKEND == CORO_IO_KQUEUE
#include <sys/event.h>
#endif /* CORO_IO_BACKEND == CORO_IO_KQUEUE */
#if !defined MSG_NOSIGNAL /* an old macOS: see SO_NOSIGPIPE */
#define CORO__NOSIGNAL 0
#else
#define CORO__NOSIGNAL MSG_NOSIGNAL
#endif /* !defined MSG_NOSIGNAL */
#if defined MSG_CMSG_CLOEXEC
#define CORO__CLOEXEC MSG_CMSG_CLOEXEC
#else
#define CORO__CLOEXEC 0
#endif /* defined MSG_CMSG_CLOEXEC */

/* ================================================================================================
 * >>fd
 */

/* What a loop waits with. */
typedef struct coro_reactor coro_reactor;

typedef struct coro_fd coro_fd;
typedef struct coro_stream coro_stream;

/* One direction of a descriptor: what is done there. The word of the task: the buffer. */
typedef struct coro_way {
    size_t length; /* of the buffer */
    size_t moved;  /* bytes so far, in this operation or the last one */
} coro_way;

/* A descriptor. Zeroed: closed. */
struct coro_fd {
    int number1;           /* the descriptor, + 1 */
    uint16_t flags;        /* CORO__FD_... */
    uint8_t doing[2];      /* what is done in each way, CORO__IO_... */
    coro_reactor *reactor; /* that knows it; null: none, it may be moved */
    coro_fd *next, *prev;  /* all that the reactor knows, a ring */
    coro_stream *stream;   /* that is open on it */
    coro_waitq queue;      /* at most one task for each way, the reader first */
    coro_way way[2];       /* CORO_IN, CORO_OUT */
};

/* The ways of a descriptor. */
enum { CORO_IN, CORO_OUT };

/* coro_io_backend -- "epoll", "kqueue" or "poll": puts(coro_io_backend()); */
CORO_API const char *coro_io_backend(void);

/* coro_fd_adopt -- take over a descriptor of yours: it is made non-blocking, and is closed by
 * coro_close. -EBADF: it is none. -EBUSY: the handle is in use. Copies of one descriptor, as a
 * terminal's 0, 1 and 2, become blocking together: the first adopted is given back last.
 *
 *   CORO_TRY(coro_fd_adopt(&my->terminal, STDIN_FILENO));
 *   CORO_TRY(my->n, coro_read(co, &my->terminal, my->buf, sizeof my->buf));
 *   CORO_FINALLY:
 *   if (coro_fd_number(&my->terminal) >= 0)
 *       coro_fd_release(&my->terminal);
 */
CORO_API int coro_fd_adopt(coro_fd *h, int number);

/* coro_fd_release -- give it back as it was, blocking if it was: the descriptor; -EBADF: closed.
 * Who waits has -EBADF. */
CORO_API int coro_fd_release(coro_fd *h);

/* coro_pipe -- what is written to out is read from in: CORO_TRY(coro_pipe(&my->from, &my->to));
 * -EBUSY: in use. -EMFILE ... */
CORO_API int coro_pipe(coro_fd *in, coro_fd *out);

/* coro_close -- close it; whoever waits has -EBADF. Closed already: 0. */
CORO_API int coro_close(coro_fd *h);

/* coro_fd_number -- the descriptor, or -1. It stays the handle's. */
static inline int coro_fd_number(const coro_fd *h)
{
    return h->number1 - 1;
}

/* coro_fd_moved -- how many bytes the last operation in this way (CORO_IN, CORO_OUT) has moved,
 * also one that failed or was cancelled. */
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
 * coro_fd_moved.
 *
 *   CORO_AWAIT(my->rc, coro_read_exact(co, &my->conn, my->buf, 512));
 *   if (my->rc < 0)
 *       my->n = (long)coro_fd_moved(&my->conn, CORO_IN);
 */
CORO_API CORO__MUST_USE coro_op coro_read_exact(coro_task *co, coro_fd *h, void *buffer, size_t n);

/* coro_readv -- as coro_read, into several buffers; they stay in the frame.
 *
 *   my->iov[0] = (struct iovec){my->head, sizeof my->head};
 *   my->iov[1] = (struct iovec){my->buf, sizeof my->buf};
 *   CORO_TRY(my->n, coro_readv(co, &my->conn, my->iov, 2));
 *   CORO_TRY(my->n, coro_writev(co, &my->conn, my->iov, 2));
 */
CORO_API CORO__MUST_USE coro_op coro_readv(coro_task *co, coro_fd *h, const struct iovec *to,
                                           int count);

/* coro_write -- write all n bytes.
 *
 *   CORO_TRY(coro_write(co, &my->conn, "hello\n", 6));
 *   CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));     // if that was all: the peer reads the end
 *
 * Waits:      while the kernel has no room.
 * Returns:    n
 * Errors:     as coro_read; -EPIPE: nobody will read it. coro_fd_moved says how much was written.
 */
CORO_API CORO__MUST_USE coro_op coro_write(coro_task *co, coro_fd *h, const void *data, size_t n);

/* coro_write_some -- write what there is room for, at least a byte: how many.
 *
 *   CORO_TRY(my->n, coro_write_some(co, &my->conn, my->buf, sizeof my->buf));
 */
CORO_API CORO__MUST_USE coro_op coro_write_some(coro_task *co, coro_fd *h, const void *data,
                                                size_t n);

/* coro_writev -- as coro_write_some, from several buffers; they stay in the frame. */
CORO_API CORO__MUST_USE coro_op coro_writev(coro_task *co, coro_fd *h, const struct iovec *from,
                                            int count);

/* A part of a regular file. It stays in the frame. */
typedef struct coro_file_part {
    int file;       /* its descriptor, see coro_file_number */
    int64_t offset; /* where the part begins */
    size_t size;    /* how long it is */
} coro_file_part;

/* coro_sendfile -- write a part of a file; between file and socket the kernel copies nothing.
 *
 *   my->part = (coro_file_part){.file = coro_file_number(&my->log), .size = 4096};
 *   CORO_TRY(my->n, coro_sendfile(co, &my->conn, &my->part));
 *
 * Neither the file's position nor the part is changed. What of the file is not in the system's
 * cache is read from the disk at once, and this thread stands still so long, 64 KiB at a time.
 *
 * Waits:      while the kernel has no room.
 * Returns:    how many bytes; less than size: the file ended.
 * Errors:     as coro_write, and those of reading the file: -EIO, -ESPIPE: it is a pipe or so ...
 *             coro_fd_moved says how much was written.
 */
CORO_API CORO__MUST_USE coro_op coro_sendfile(coro_task *co, coro_fd *h,
                                              const coro_file_part *part);

/* coro_wait_readable -- wait until coro_read would not: 0. Then borrow a buffer; idle ones need
 * none: CORO_TRY(coro_wait_readable(co, &my->conn)); */
CORO_API CORO__MUST_USE coro_op coro_wait_readable(coro_task *co, coro_fd *h);

/* coro_wait_writable -- wait until there is room: CORO_TRY(coro_wait_writable(co, &my->conn)); */
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

/* coro_loop_fd -- the other way round: to be a guest in a foreign loop, the descriptor that it has
 * to poll for us, for POLLIN.
 *
 *   struct pollfd p = {coro_loop_fd(&loop), POLLIN, 0};
 *   while (coro_loop_step(&loop) > 0)
 *       poll(&p, 1, ms_until(coro_loop_deadline(&loop)));
 *
 * Step when it is readable, or the deadline has come. Ask for the deadline before each sleep: from
 * then on a post makes it readable. It is the loop's, as long as that lives.
 *
 * Errors:     -ENOSYS: there is none with poll(2). -ENOMEM, -EMFILE ...
 */
CORO_API int coro_loop_fd(coro_loop *loop);

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
 * for coro_dial. -EINVAL.
 *
 *   CORO_TRY(coro_address_parse(&my->address, "[::1]:7000"));
 *   CORO_TRY(coro_connect_to(co, &my->conn, &my->address));
 */
CORO_API int coro_address_parse(coro_address *a, const char *text);

/* coro_address_print -- the same the other way, cut to size; text. */
CORO_API const char *coro_address_print(const coro_address *a, char *text, size_t size);

/* coro_address_port -- or 0, where there is none. */
CORO_API int coro_address_port(const coro_address *a);

/* coro_fd_local -- the address of our end. */
CORO_API int coro_fd_local(const coro_fd *h, coro_address *a);

/* coro_fd_peer -- the address of the other end.
 *
 *   char text[80];
 *   CORO_TRY(coro_fd_peer(&my->conn, &my->address));
 *   puts(coro_address_print(&my->address, text, sizeof text));
 *   CORO_TRY(coro_fd_local(&my->listener, &my->address));
 *   printf("port %d\n", coro_address_port(&my->address));        // that ":0" has become
 */
CORO_API int coro_fd_peer(const coro_fd *h, coro_address *a);

/* coro_listen -- a listening socket: 0. backlog 0: default. A port can be taken again at once after
 * a restart. A stale "unix:" socket is replaced; coro_close removes its path, unless somebody else
 * has put another one there.
 *
 *   CORO_TRY(coro_listen(&my->listener, "[::]:8080", 0));
 *
 * At several addresses: a handle for each, all closed in CORO_FINALLY, so that none stays open when
 * one cannot be had.
 *
 * Errors:     -EINVAL: no address. -EBUSY: the handle is in use. -EADDRINUSE ...
 */
CORO_API int coro_listen(coro_fd *h, const char *address, int backlog);

/* coro_accept -- the next connection: 0, and conn is open. What ails a connection that is gone
 * already is skipped.
 *
 *   CORO_TRY(coro_accept(co, &my->listener, &my->conn));
 *
 * Errors:     -ECANCELED, -ETIMEDOUT: no connection is lost. -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM:
 *             it waits in the kernel; try again later. -EBUSY: another task accepts, or conn is
 *             open.
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

/* coro_udp_open -- a datagram socket at this address (":0": anywhere): 0.
 *
 *   CORO_TRY(coro_udp_open(&my->udp, ":5353"));
 *   CORO_TRY(coro_udp_join(&my->udp, "224.0.0.251", 0));
 */
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

/* coro_recv_from -- the next datagram: its length, which may be 0.
 *
 *   my->datagram = (coro_datagram){.data = my->buf, .size = sizeof my->buf};
 *   CORO_TRY(my->n, coro_recv_from(co, &my->udp, &my->datagram));
 *   my->datagram.size = (size_t)my->n;
 *   CORO_TRY(coro_send_to(co, &my->udp, &my->datagram));           // to where it came from
 */
CORO_API CORO__MUST_USE coro_op coro_recv_from(coro_task *co, coro_fd *h, coro_datagram *d);

/* coro_send_to -- send one: its length. -EMSGSIZE: too long. */
CORO_API CORO__MUST_USE coro_op coro_send_to(coro_task *co, coro_fd *h, coro_datagram *d);

/* Bytes that bring a descriptor along, through a "unix:" socket. */
typedef struct coro_parcel {
    void *data;  /* the bytes; where they go */
    size_t size; /* how many, at least one; room */
    coro_fd *fd; /* a copy of its descriptor goes; closed: what comes is put here */
    bool lost;   /* one came that was closed: only one is taken, or we have too many open */
} coro_parcel;

/* coro_send_fd -- send a descriptor, and bytes with it.
 *
 *   my->parcel = (coro_parcel){.data = my->text, .size = 1, .fd = &my->conn};
 *   CORO_TRY(my->n, coro_send_fd(co, &my->sock, &my->parcel));
 *   CORO_TRY(coro_close(&my->conn));                      // the other end has it now
 *
 * Waits:      while the kernel has no room.
 * Returns:    how many bytes, at least one, and the descriptor went with the first; write the rest.
 * Errors:     as coro_write. -ECANCELED, -ETIMEDOUT: nothing went. -EINVAL: no bytes. -EBADF also:
 *             parcel->fd is closed. -EOPNOTSUPP: no "unix:" socket. -ETOOMANYREFS: too many are
 *             under way.
 */
CORO_API CORO__MUST_USE coro_op coro_send_fd(coro_task *co, coro_fd *h, coro_parcel *parcel);

/* coro_recv_fd -- the next bytes, and the descriptor that came with them, if one did.
 *
 *   my->parcel = (coro_parcel){.data = my->text, .size = sizeof my->text, .fd = &my->conn};
 *   CORO_TRY(my->n, coro_recv_fd(co, &my->sock, &my->parcel));
 *
 * Waits:      until there is something to read, or the end.
 * Returns:    how many bytes; 0: the end. parcel->fd is open if a descriptor came.
 * Errors:     as coro_read; no descriptor was taken. -EBUSY also: parcel->fd is open.
 */
CORO_API CORO__MUST_USE coro_op coro_recv_fd(coro_task *co, coro_fd *h, coro_parcel *parcel);

/* ================================================================================================
 * >>stream -- buffered reading and writing, with buffers of yours.
 *
 *       // coro_fd conn; coro_stream s; coro_slice line; bool got; char in[4096], out[4096];
 *       CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in,
 *                                 my->out, sizeof my->out));
 *       for (;;) {
 *           CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
 *           if (!my->got)
 *               break;
 *           CORO_TRY(coro_stream_printf(co, &my->s, "%.*s\n", (int)my->line.len, my->line.data));
 *       }
 *       CORO_TRY(coro_stream_flush(co, &my->s));
 *
 * A read that is about to wait, or meets the end, first writes what is in the buffer: answers to
 * requests that came together leave together, one recv and one send for all. The read does not wait
 * for that write: both go on, so that two peers who write to each other never get stuck. Who only
 * writes, or is about to close, must flush.
 *
 * One task may read and one may write, as with coro_fd: a second one has -EBUSY. A read that was
 * cancelled or timed out has lost nothing: the bytes are in the buffer, and the next read gets
 * them. What has broken stays broken: reads give what came before, then the error; writes and
 * flushes give the error.
 */

/* Bytes in a buffer. */
typedef struct coro_slice {
    char *data; /* in the stream's buffer, until the next read */
    size_t len; /* how many */
} coro_slice;

/* A stream on a descriptor. Zeroed: closed. limit is yours to set; the rest is ours. */
struct coro_stream {
    coro_fd *fd;     /* whose .stream this is; else: closed */
    size_t limit;    /* of a line with its separator; 0, or too large: the buffer's size */
    char *in, *out;  /* the buffers */
    size_t in_size;  /* the one for reading: */
    size_t in_from;  /*     not yet taken */
    size_t in_to;    /*     .. up to here */
    size_t out_size; /* the one for writing: */
    size_t out_from; /*     not yet written */
    size_t out_to;   /*     .. up to here */
    int failed;      /* what a read failed with, for good */
    int broken;      /* what a write failed with, for good */
    bool ended;      /* a read met the end */
    bool behind;     /* a reader left the buffer to be written */
    uint8_t reading; /* what is read now, CORO__STREAM_... */
    size_t scanned;  /* bytes that hold no separator's beginning */
    size_t wanted;   /* bytes that are read; of the separator */
    size_t moved;    /* of these, in this operation */
    const char *sep; /* the separator */
    char *to;        /* where the bytes go */
    coro_slice *slice; /* where the result goes */
    coro_loop *loop;   /* of the text */
    char *text;        /* of a coro_stream_printf that waits; of the loop's memory */
    size_t text_size;  /* its room */
};

/* coro_stream_open -- open a stream on an open descriptor: 0. The buffers stay in your frame.
 *
 * in_size is the longest line; out_size is the high-water mark: a write that would exceed it waits.
 * Without an output buffer, writes go out at once. The descriptor must not be moved any more.
 *
 * Errors:     -EBADF: it is closed. -EBUSY: a stream is open on it.
 */
CORO_API int coro_stream_open(coro_stream *s, coro_fd *h, void *in, size_t in_size, void *out,
                              size_t out_size);

/* coro_stream_close -- take it off the descriptor, which stays open: 0. Who waits has -EBADF; what
 * was not flushed is lost. coro_close of the descriptor does it, too.
 *
 *   if (coro_stream_buffered(&my->s, CORO_OUT))
 *       CORO_TRY(coro_stream_flush(co, &my->s));
 *   coro_stream_close(&my->s);
 */
CORO_API int coro_stream_close(coro_stream *s);

/* coro_stream_read_line -- the next line, without its "\n" or "\r\n".
 *
 *   CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
 *
 * line.data[line.len] may be overwritten: with a 0 it is a string.
 *
 * Waits:      until there is a line, or the end.
 * Returns:    1; 0: the end. Then line is what came after the last separator, usually nothing; it
 *             stays in the stream, for coro_stream_read.
 * Errors:     -EMSGSIZE: the line is longer than the buffer, or the limit: line is its beginning,
 *             and nothing was taken. Take it with coro_stream_skip or coro_stream_read, and the
 *             next read goes on in that line. Else as coro_read.
 */
CORO_API CORO__MUST_USE coro_op coro_stream_read_line(coro_task *co, coro_stream *s,
                                                      coro_slice *line);

/* coro_stream_read_until -- the same up to any separator, of any bytes, which is not part of it.
 *
 *   CORO_TRY(my->got, coro_stream_read_until(co, &my->s, "\r\n\r\n", 4, &my->line));
 */
CORO_API CORO__MUST_USE coro_op coro_stream_read_until(coro_task *co, coro_stream *s,
                                                       const void *separator, size_t n,
                                                       coro_slice *part);

/* coro_stream_read_exact -- copy n bytes: n; less: the end came first. More than the buffer holds
 * go past it; then coro_fd_moved(s.fd, CORO_IN) says how many came before an error. */
CORO_API CORO__MUST_USE coro_op coro_stream_read_exact(coro_task *co, coro_stream *s, void *to,
                                                       size_t n);

/* coro_stream_read -- copy up to n bytes: how many; 0: the end.
 *
 *   CORO_TRY(my->n, coro_stream_read_exact(co, &my->s, my->head, sizeof my->head));
 *   CORO_TRY(my->n, coro_stream_read(co, &my->s, my->buf, sizeof my->buf));
 */
CORO_API CORO__MUST_USE coro_op coro_stream_read(coro_task *co, coro_stream *s, void *to, size_t n);

/* coro_stream_peek -- see what comes, at least n bytes, without taking it: 1; 0: the end came
 * first. seen is all there is. Take it with coro_stream_skip. -EMSGSIZE: the buffer is smaller.
 *
 *   CORO_TRY(my->got, coro_stream_peek(co, &my->s, 2, &my->line));
 *   if (my->got && my->line.data[0] == '#')
 *       coro_stream_skip(&my->s, my->line.len);
 */
CORO_API CORO__MUST_USE coro_op coro_stream_peek(coro_task *co, coro_stream *s, size_t n,
                                                 coro_slice *seen);

/* coro_stream_skip -- drop up to n bytes that are in the buffer: how many. */
CORO_API size_t coro_stream_skip(coro_stream *s, size_t n);

/* coro_stream_write -- write n bytes: CORO_TRY(coro_stream_write(co, &my->s, "hello\n", 6));
 *
 * They are copied into the buffer; see above for when it is written.
 *
 * Waits:      while the buffer has no room, and the kernel neither.
 * Returns:    n
 * Errors:     as coro_write, also those of earlier writes. On -ECANCELED, -ETIMEDOUT nothing was
 *             taken if n bytes fit into the buffer; else see coro_fd_moved(s.fd, CORO_OUT).
 */
CORO_API CORO__MUST_USE coro_op coro_stream_write(coro_task *co, coro_stream *s, const void *data,
                                                  size_t n);

/* coro_stream_printf -- write text as printf does: its length. A text that has to wait for room is
 * kept in the loop's memory meanwhile: -ENOMEM. */
CORO_API CORO__MUST_USE __attribute__((format(printf, 3, 4))) coro_op
coro_stream_printf(coro_task *co, coro_stream *s, const char *format, ...);

/* coro_stream_flush -- wait until the kernel has all that was written: 0. */
CORO_API CORO__MUST_USE coro_op coro_stream_flush(coro_task *co, coro_stream *s);

/* coro_stream_sendfile -- write a part of a file, behind what was written before, which is flushed:
 * CORO_TRY(my->n, coro_stream_sendfile(co, &my->s, &my->part)); As coro_sendfile. */
CORO_API CORO__MUST_USE coro_op coro_stream_sendfile(coro_task *co, coro_stream *s,
                                                     const coro_file_part *part);

/* coro_stream_buffered -- how many bytes are in a buffer: CORO_IN, not yet taken; CORO_OUT, not
 * yet written. */
static inline size_t coro_stream_buffered(const coro_stream *s, int way)
{
    return way == CORO_IN ? s->in_to - s->in_from : s->out_to - s->out_from;
}

/* ================================================================================================
 * >>serve
 */

struct coro__acceptor {
    CORO_FRAME;
    struct coro_server *server;
    int rc;
};
CORO_LIBRARY_DECLARE(coro__acceptor);

/* The frame of coro_serve. */
struct coro__serving {
    CORO_FRAME;
    struct coro_server *server;
    coro_group accepting;
    coro_scope shield; /* of the handlers */
    CORO_TASK(coro__acceptor) acceptor;
};
CORO_LIBRARY_DECLARE(coro__serving);

/* A server. Set what you need, zero the rest; it may be read at any time. */
typedef struct coro_server {
    coro_count limit;    /* of handlers at once; more wait in the kernel's backlog; 0: none */
    coro_time drain;     /* how long handlers may go on when it is cancelled */
    coro_total accepted; /* connections, */
    coro_total rejected; /* that were closed because there was no memory for a handler */
    coro_total starved;  /* times that the system had no descriptor or memory left */
    coro_count most;     /* handlers at once, so far */
    bool draining;       /* it accepts no more: handlers may look here */
    bool serving;
    coro_group handlers; /* .alive: now; .failed: how many; .first: with which error the first */

    struct coro__serving frame;
    coro_fd *listener;
    coro_fd conn;           /* accepted, not yet handed over */
    const coro_info *info;  /* of the handlers */
    void *fresh;            /* what their frames are copied from */
    size_t size, at;        /* of that; of the connection in it */
} coro_server;

/* coro_serve -- accept connections, and have each handled by a task of its own. A coroutine's call.
 *
 *   coro_server server = {.limit = 1000, .drain = CORO_S(5)};        // in the frame
 *   CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, echo, .greeting = "hello"));
 *
 * Runs coroutine echo for each connection, which is in its frame's member conn, a coro_fd, and is
 * the handler's to close. The other members are as given: evaluated once, copied for each.
 *
 * A handler's failure is counted, and stops nothing. When descriptors or memory run out, the next
 * attempt comes 100 ms later.
 *
 * When it is cancelled, it accepts no more. Handlers are shielded from that for server.drain, then
 * cancelled, too. It returns when all have ended. Meanwhile the listener stays open, so that
 * another server can take over; coro_close it, and clients who come now are refused.
 *
 * Returns:    0, after coro_server_stop; else not without an error.
 * Errors:     -ECANCELED. -EBADF: the listener is closed, or was closed meanwhile; then handlers go
 *             on as long as they like, or until this is cancelled. -EBUSY: another task accepts.
 *             -ENOMEM. Else as coro_accept.
 */
#define coro_serve(co, server, listener, member, ...)                                             \
    CORO__SERVE(co, server, listener, member, __VA_ARGS__, )

/* coro_server_stop -- as if coro_serve were cancelled; but its result is 0. Returns 1; 0: it does
 * not serve, or has been stopped: coro_server_stop(&my->server); */
CORO_API int coro_server_stop(coro_server *server);

#define CORO__SERVE(co, server_, listener_, member_, fn, ...)                                     \
    coro_call((co), __extension__({                                                               \
        coro_server *coro__sv = (server_);                                                        \
        struct fn *coro__sn = (struct fn *)coro__serve_open((co), coro__sv, (listener_),          \
                              coro_info_of(fn), sizeof(struct fn), offsetof(struct fn, member_)); \
        if (coro__sn) {                                                                           \
            coro_fd *coro__sm = CORO__STORAGE_OF_THIS_COROUTINE(coro_fd, &coro__sn->member_);     \
            *coro__sn = CORO__NEW(fn, NULL, __VA_ARGS__);                                         \
            (void)coro__sm;                                                                       \
        }                                                                                         \
        &coro__sv->frame;                                                                         \
    }), coro__serving)

CORO_API void *coro__serve_open(coro_task *, coro_server *, coro_fd *listener, const coro_info *,
                                size_t size, size_t at);

/* ================================================================================================
 * >>thread -- what blocks is done on threads, of which a loop has a few.
 *
 *     static intptr_t hash(coro_job *job, void *file)
 *     {
 *         while (!coro_job_cancelled(job) && hash_more(file))
 *             continue;
 *         return 0;
 *     }
 *
 *     CORO_TRY(my->rc, coro_blocking(co, hash, &my->file));
 */

/* A call on a thread, as the function sees it. */
typedef struct coro_job coro_job;

/* How a crew of threads should be. Zero means default. */
typedef struct coro_threads_options {
    unsigned threads; /* at most; each is started when it is needed. Default: 4 */
    unsigned queue;   /* jobs that may wait for a thread; more have -EAGAIN. Default: any number */
    coro_time limit;  /* the end waits so long for abandoned jobs; < 0: not at all. Default: ever */
    size_t stack;     /* of each thread. Default: the system's */
} coro_threads_options;

/* Threads that several loops share; a loop's own need none of this. */
typedef struct coro_threads {
    struct coro__crew *crew; /* null: not initialised */
} coro_threads;

/* coro_blocking -- call intptr_t fn(coro_job *job, void *arg) on a thread: what it returns.
 *
 *   CORO_TRY(my->rc, coro_blocking(co, hash, &my->file));
 *
 * The await does not end before fn has, so that arg may be in the frame. Cancelled while no thread
 * is free: fn is never called. Cancelled later: fn goes on, and its result is delivered; it may ask
 * coro_job_cancelled and end early. All signals are blocked on the thread. Values of
 * coro_context_get are to be looked up before.
 *
 * Waits:      until fn has returned.
 * Returns:    what fn returns
 * Errors:     fn's own. -ECANCELED, -ETIMEDOUT: it was not called. -EAGAIN: no thread could be
 *             started, or too many jobs wait (coro_threads_for). -ENOMEM. -EINVAL: fn is null.
 */
CORO_API CORO__MUST_USE coro_op coro_blocking(coro_task *co,
                                              intptr_t (*fn)(coro_job *job, void *arg), void *arg);

/* coro_blocking_on -- the same, on threads that are shared.
 *
 *   static coro_threads crew;                                      // of the whole program
 *   CORO_TRY(coro_threads_init(&crew, &(coro_threads_options){.threads = 8}));
 *   CORO_TRY(my->rc, coro_blocking_on(co, &crew, hash, &my->file));
 *   CORO_TRY(coro_threads_fini(&crew));                            // when all loops have ended
 */
CORO_API CORO__MUST_USE coro_op coro_blocking_on(coro_task *co, coro_threads *threads,
                                                 intptr_t (*fn)(coro_job *job, void *arg),
                                                 void *arg);

/* coro_blocking_abandon -- the same, but cancelled while fn runs it ends at once.
 *
 *   void *request;                                        // in the frame; not what it points to
 *   CORO_AWAIT(my->rc, coro_blocking_abandon(co, NULL, look_up, &my->request, free));
 *   if (my->request)
 *       ...                                               // it is ours, as before
 *
 * Calls fn(job, *arg). An abandoned job goes on with *arg, which is its own from then on: arg
 * becomes null, and when fn has returned, drop(its arg) is called on the thread; drop may be null.
 * In all other cases *arg stays as it is. threads may be null: the loop's own. The thread is busy
 * until fn returns; so long the loop's end may wait for it, see coro_threads_options.limit.
 *
 * Errors:     -ECANCELED, -ETIMEDOUT: abandoned, or not called. Else as coro_blocking.
 */
CORO_API CORO__MUST_USE coro_op coro_blocking_abandon(coro_task *co, coro_threads *threads,
                                                      intptr_t (*fn)(coro_job *job, void *arg),
                                                      void **arg, void (*drop)(void *arg));

/* coro_job_cancelled -- for fn: does nobody want the result any more? Never true again false. */
CORO_API bool coro_job_cancelled(const coro_job *job);

/* coro_threads_init -- threads for several loops, none of which is started yet. options may be
 * null. -EBUSY: it is one already. -ENOMEM. */
CORO_API int coro_threads_init(coro_threads *threads, const coro_threads_options *options);

/* coro_threads_fini -- end them: 0, also when there are none. -EBUSY, and nothing is done: somebody
 * awaits a job. -ETIMEDOUT: over, but for abandoned jobs that have not ended within
 * options.limit; they go on, and what they use must stay. */
CORO_API int coro_threads_fini(coro_threads *threads);

/* coro_threads_for -- options for the loop's own threads, before the first job. -EBUSY: too late.
 * They end with the loop. -ENOMEM; or what keeps a poller from being made: -EMFILE ...
 *
 *   CORO_TRY(coro_threads_for(coro_loop_of(co), &(coro_threads_options){.threads = 16}));
 */
CORO_API int coro_threads_for(coro_loop *loop, const coro_threads_options *options);

/* coro_resolve -- the addresses of a host, by getaddrinfo on a thread.
 *
 *   CORO_TRY(my->n, coro_resolve(co, "example.org", "80", my->addresses, 8));
 *
 * Numeric ones need no thread. At most half of the threads do this.
 *
 * Waits:      until there is an answer. Cancelled: no longer.
 * Returns:    how many, at most max, and at most 64.
 * Errors:     -ENOENT: no such name. -EAGAIN: the name servers do not answer. -EINVAL: empty or
 *             too long, no such port. -EIO: resolving failed. -ECANCELED, -ETIMEDOUT, -ENOMEM ...
 */
CORO_API CORO__MUST_USE coro_op coro_resolve(coro_task *co, const char *host, const char *port,
                                             coro_address *addresses, int max);

/* How many addresses coro_dial tries. */
#define CORO_DIAL_MOST 8

struct coro__dial_one {
    CORO_FRAME;
    coro_fd *h;
    const coro_address *to;
};

CORO_LIBRARY_DECLARE(coro__dial_one);

/* The frame of coro_dial. */
struct coro__dialling {
    CORO_FRAME;
    struct coro_dial *dial; /* around this */
    coro_group group;
    CORO_TASK(coro__dial_one) tasks[CORO_DIAL_MOST];
    coro_fd fds[CORO_DIAL_MOST]; /* of the attempts */
    coro_address to[CORO_DIAL_MOST];
    int count, i, rc, ended;
    char host[256], port[8];
};
CORO_LIBRARY_DECLARE(coro__dialling);

/* An attempt to reach a name. Zeroed: a valid one. */
typedef struct coro_dial {
    struct coro__dialling frame; /* must be first */
    coro_fd *conn;               /* where the connection goes */
    const char *address;
    /* How names are looked up; default coro_resolve. */
    coro_op (*resolve)(coro_task *co, const char *host, const char *port, coro_address *addresses,
                       int max);
    coro_time stagger; /* between two attempts; default 250 ms */
} coro_dial;

CORO_API struct coro__dialling *coro__dial_frame(coro_dial *dial, coro_fd *conn,
                                                 const char *address);

/* coro_dial -- connect to "host:port"; a coroutine's call.
 *
 *   coro_dial dial;                                                   // in the frame, zeroed
 *   CORO_TRY(coro_dial(co, &my->dial, &my->conn, "example.org:80"));
 *
 * Also what coro_connect takes. A name's addresses are tried one after the other, IPv6 and IPv4 in
 * turn, as RFC 8305 has it: the next one after 250 ms, or at once when one has failed. The first
 * connection wins, and all others are closed.
 *
 * Returns:    0, and conn is open.
 * Errors:     nothing is open then. -EINVAL: no address. -EBUSY: conn is in use. Those of
 *             coro_resolve. When all addresses failed, the first one's: -ECONNREFUSED ...
 */
#define coro_dial(co, dial, conn, address)                                                        \
    coro_call((co), coro__dial_frame((dial), (conn), (address)), coro__dialling)

/* What mailboxes of all types have in common: a bounded queue between loops and threads. */
typedef struct coro_mailbox {
    pthread_mutex_t lock;                  /* of all that follows, and of the items */
    struct coro__mail *putting, *getting;  /* who waits, oldest first: rings */
    size_t at, size;                       /* where the items are; of one */
    coro_count capacity, depth, first;     /* items; the oldest one */
    bool closed;
    bool ready;                            /* initialised */
} coro_mailbox;

/* CORO_MAILBOX -- a mailbox with room for n >= 1 items: typedef CORO_MAILBOX(struct job, 20) jobs;
 *
 * As a CORO_QUEUE, but each side may be on any thread. Needs coro_mailbox_init. First come, first
 * served. A loop with a task that waits here goes on waiting: no deadlock is reported.
 */
#define CORO_MAILBOX(type, n)                                                                     \
    struct {                                                                                      \
        coro_mailbox head;                                                                        \
        type slots[(n) > 0 ? (n) : -1];                                                           \
    }

/* coro_mailbox_init -- before its first use: 0.
 *
 *   static job_mailbox box;
 *   CORO_TRY(coro_mailbox_init(&box));
 *   ...
 *   coro_mailbox_fini(&box);                                       // when nobody uses it any more
 */
#define coro_mailbox_init(box)                                                                    \
    coro__mailbox_init(CORO__MAILBOX_OF(box), offsetof(__typeof__(*(box)), slots),                \
                       sizeof((box)->slots[0]), sizeof((box)->slots) / sizeof((box)->slots[0]))

/* coro_mailbox_put -- put a copy of *item, waiting while it is full. From a task.
 *
 *   CORO_TRY(coro_mailbox_put(co, my->box, &my->item));
 *
 * Returns:    0
 * Errors:     -EPIPE: closed. -ENOMEM. -ECANCELED, -ETIMEDOUT: not put, as with every error.
 */
#define coro_mailbox_put(co, box, item)                                                           \
    coro__mailbox_put((co), CORO__MAILBOX_OF(box), CORO__MAIL_PUT(box, item))

/* coro_mailbox_get -- take the next item, waiting for one if need be. From a task.
 *
 *   CORO_TRY(my->got, coro_mailbox_get(co, my->box, &my->item));
 *
 * Returns:    1, item filled; 0, closed and drained.
 * Errors:     -ECANCELED, -ETIMEDOUT, -ENOMEM: nothing was taken.
 */
#define coro_mailbox_get(co, box, item)                                                           \
    coro__mailbox_get((co), CORO__MAILBOX_OF(box), CORO__MAIL(box, item))

/* coro_mailbox_try_put -- 0; -EAGAIN: full; -EPIPE: closed. From any thread, not from signal
 * handlers.
 *
 *   while (coro_mailbox_try_get(my->box, &my->item) == 1)
 *       if (coro_mailbox_try_put(my->box2, &my->item) < 0)
 *           printf("lost; %u are in it\n", (unsigned)coro_mailbox_depth(my->box2));
 *   coro_mailbox_close(my->box2);
 */
#define coro_mailbox_try_put(box, item)                                                           \
    coro__mailbox_try_put(CORO__MAILBOX_OF(box), CORO__MAIL_PUT(box, item))

/* coro_mailbox_try_get -- 1, item filled; 0, closed and drained; -EAGAIN: empty. */
#define coro_mailbox_try_get(box, item)                                                           \
    coro__mailbox_try_get(CORO__MAILBOX_OF(box), CORO__MAIL(box, item))

/* coro_mailbox_close -- no more puts: who waits in one has -EPIPE. What is in it can be got; then
 * gets return 0. Closing twice does nothing. */
#define coro_mailbox_close(box) coro__mailbox_close(CORO__MAILBOX_OF(box))

/* coro_mailbox_depth -- how many items are in it, just now. */
#define coro_mailbox_depth(box) coro__mailbox_depth(CORO__MAILBOX_OF(box))

/* coro_mailbox_fini -- 0; -EBUSY: somebody waits in it. */
#define coro_mailbox_fini(box) coro__mailbox_fini(CORO__MAILBOX_OF(box))

#if defined __cplusplus
static inline coro_mailbox *coro__mailbox_of(coro_mailbox *, void *box)
{
    return static_cast<coro_mailbox *>(box);
}
template <class T> static inline T *coro__mail_of(T *p) { return p; }
template <class T> static inline const T *coro__mail_to_put(const T *p) { return p; }
#define CORO__MAILBOX_OF(box) coro__mailbox_of(&(box)->head, (box))
#define CORO__MAIL(box, p) coro__mail_of<__typeof__((box)->slots[0])>(p)
#define CORO__MAIL_PUT(box, p) coro__mail_to_put<__typeof__((box)->slots[0])>(p)
#else
/* The head is the first member. No association: the argument is no pointer to such an item. */
#define CORO__MAILBOX_OF(box) _Generic(&(box)->head, coro_mailbox *: (coro_mailbox *)(void *)(box))
#define CORO__MAIL(box, p) _Generic((p), __typeof__((box)->slots[0]) *: (p))
#define CORO__MAIL_PUT(box, p)                                                                    \
    _Generic((p), __typeof__((box)->slots[0]) *: (p), const __typeof__((box)->slots[0]) *: (p))
#endif /* defined __cplusplus */

CORO_API int coro__mailbox_init(coro_mailbox *box, size_t at, size_t size, size_t capacity);
CORO_API CORO__MUST_USE coro_op coro__mailbox_put(coro_task *co, coro_mailbox *box,
                                                  const void *item);
CORO_API CORO__MUST_USE coro_op coro__mailbox_get(coro_task *co, coro_mailbox *box, void *item);
CORO_API int coro__mailbox_try_put(coro_mailbox *box, const void *item);
CORO_API int coro__mailbox_try_get(coro_mailbox *box, void *item);
CORO_API void coro__mailbox_close(coro_mailbox *box);
CORO_API coro_count coro__mailbox_depth(coro_mailbox *box);
CORO_API int coro__mailbox_fini(coro_mailbox *box);

/* Through which other threads call into a loop. Zeroed: closed. It stays until no thread calls any
 * more, which is later than the loop's end, perhaps. */
typedef struct coro_portal {
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t news;  /* of a call */
    pthread_t thread;     /* the loop's */
    coro_loop *loop;      /* null: over */
    struct coro__visit *visits; /* calls under way */
    struct coro_portal *next;   /* the loop's others */
    bool ready;                 /* initialised */
} coro_portal;

/* coro_portal_open -- let other threads call into this task's loop, as long as that lasts: 0.
 *
 *   CORO_TRY(coro_portal_open(co, &portal));
 *
 * So long no deadlock is reported.
 *
 * Errors:     -EBUSY: it is open. -ENOMEM ...
 */
CORO_API int coro_portal_open(coro_task *co, coro_portal *portal);

/* coro_portal_fini -- after the loop's end: 0; none there: 0. -EBUSY: too early.
 *
 *   rc = coro_portal_fini(&portal);
 */
CORO_API int coro_portal_fini(coro_portal *portal);

/* coro_portal_call -- from another thread: run a coroutine in the loop, and wait for its end.
 *
 *   rc = coro_portal_call(&portal, CORO_S(5), worker, .q = &jobs);
 *
 * It is a task beside the main one: its failure is told to options.on_error, too. When the time is
 * over it is cancelled, and still waited for, so that what it was given may be on this thread's
 * stack. CORO_FOREVER: no limit. A job of the loop's own threads should have one: the coroutine may
 * have to wait for such a thread.
 *
 * Returns:    what the coroutine returns
 * Errors:     its own. -ETIMEDOUT: it was cancelled, or has not begun. -ESHUTDOWN: the loop is
 *             over, or ended, and cancelled it. -EDEADLK: this is the loop's thread. -EINVAL: the
 *             portal was never opened. -ENOMEM.
 */
#define coro_portal_call(portal, limit, ...) CORO__PORTAL_CALL(portal, limit, __VA_ARGS__, )
#define CORO__PORTAL_CALL(portal, limit, fn, ...)                                                 \
    __extension__({                                                                               \
        struct fn coro__visitor = CORO__NEW(fn, NULL, __VA_ARGS__);                               \
        coro__portal_call((portal), (limit), coro_info_of(fn), &coro__visitor,                    \
                          sizeof coro__visitor);                                                  \
    })
CORO_API int coro__portal_call(coro_portal *portal, coro_time limit, const coro_info *info,
                               const void *frame, size_t size);

/* coro_run_threads -- run a coroutine on n threads at once, a loop on each: coro_run's sibling.
 *
 *   rc = coro_run_threads(0, app, .port = 80);          // n <= 0: one for each processor
 *
 * Each has its own copy of the arguments; what they point to is shared. One of them is the calling
 * thread, which hears signals as coro_run does; the others have all signals blocked. The first one
 * that fails cancels the others. Each
 * loop reports its own deadlock: to wait for other threads use what they can end, a mailbox, say.
 *
 * Returns:    when all have ended, 0
 * Errors:     the first one's in time. -EAGAIN, -ENOMEM: not all could be started.
 */
#define coro_run_threads(n, ...) CORO__RUN_THREADS(n, __VA_ARGS__, )
#define CORO__RUN_THREADS(n, fn, ...)                                                             \
    __extension__({                                                                               \
        struct fn coro__first = CORO__NEW(fn, NULL, __VA_ARGS__);                                 \
        coro__run_threads((n), coro_info_of(fn), &coro__first, sizeof coro__first);               \
    })
CORO_API int coro__run_threads(int n, const coro_info *info, const void *frame, size_t size);

/* coro_listen_shared -- as coro_listen, and others may listen at the same address: the kernel deals
 * the connections out among them. For coro_run_threads.
 *
 *   CORO_TRY(coro_listen_shared(&my->listener, "[::]:8080", 0));
 */
CORO_API int coro_listen_shared(coro_fd *h, const char *address, int backlog);

/* A file, which is read and written on threads. Zeroed: closed. It may be moved while nothing is
 * being done with it. */
typedef struct coro_file {
    int number1; /* the descriptor, + 1 */
    unsigned busy; /* operations under way */
} coro_file;

/* coro_file_open -- open(2): 0.
 *
 *   CORO_TRY(coro_file_open(co, &my->log, "log", O_WRONLY | O_CREAT, 0644));
 *
 * Errors:     -EBUSY: it is open. open's own: -ENOENT, -EACCES ... coro_blocking's.
 */
CORO_API CORO__MUST_USE coro_op coro_file_open(coro_task *co, coro_file *f, const char *path,
                                               int flags, unsigned mode);

/* coro_file_read -- read up to n bytes at an offset: how many; less than n: the end. */
CORO_API CORO__MUST_USE coro_op coro_file_read(coro_task *co, coro_file *f, void *buffer, size_t n,
                                               int64_t offset);

/* coro_file_write -- write all n bytes at an offset: n. On an error some may have been written.
 *
 *   CORO_TRY(my->n, coro_file_read(co, &my->log, my->buf, sizeof my->buf, 0));
 *   CORO_TRY(coro_file_stat(co, &my->log, &my->st));
 *   CORO_TRY(coro_file_write(co, &my->log, my->buf, (size_t)my->n, my->st.st_size));
 *   CORO_TRY(coro_file_sync(co, &my->log));
 *   CORO_FINALLY:
 *   coro_file_close(&my->log);
 */
CORO_API CORO__MUST_USE coro_op coro_file_write(coro_task *co, coro_file *f, const void *data,
                                                size_t n, int64_t offset);

/* coro_file_stat -- fstat(2): 0. */
CORO_API CORO__MUST_USE coro_op coro_file_stat(coro_task *co, coro_file *f, struct stat *st);

/* coro_file_sync -- fsync(2): 0. */
CORO_API CORO__MUST_USE coro_op coro_file_sync(coro_task *co, coro_file *f);

/* coro_file_close -- at once; closed already: 0. -EBUSY: somebody reads or writes. */
CORO_API int coro_file_close(coro_file *f);

/* coro_file_number -- its descriptor, for coro_sendfile, say; or -1. It stays the file's. */
static inline int coro_file_number(const coro_file *f)
{
    return f->number1 - 1;
}

/* ================================================================================================
 * >>signals
 */

/* A descriptor that is not for reading data: `ready` is called when it can be read. */
typedef struct coro__watched {
    coro_fd h; /* must be first */
    void (*ready)(struct coro__watched *w);
} coro__watched;

/* Watches some signals. Zeroed: closed. It must not be moved while it is open. */
typedef struct coro_signals {
    coro_waitq queue;             /* at most one task */
    struct coro__signal_hub *hub; /* the loop's; null: closed */
    struct coro_signals *next;    /* the loop's other watchers */
    uint64_t watched, come;       /* bit n - 1: signal n */
    int last;                     /* that was taken: the search goes on behind it */
} coro_signals;

/* coro_signals_open -- watch signals, instead of what they did so far: 0.
 *
 *   CORO_TRY(coro_signals_open(co, &my->sig, SIGHUP, SIGUSR1));
 *   for (;;) {
 *       CORO_TRY(my->n, coro_signals_wait(co, &my->sig));
 *       ...
 *   CORO_FINALLY:
 *       coro_signals_close(&my->sig);
 *
 * Each watcher of a signal hears it; one that comes several times before it is taken is heard once.
 *
 * A handler posts to the loop, whichever thread it runs on; on one at least the signal must not be
 * blocked. Several loops cannot watch one signal at a time.
 *
 * Errors:     -EINVAL: no signal; none that can be watched (SIGKILL, SIGSTOP; SIGSEGV, SIGBUS,
 *             SIGFPE, SIGILL, which cannot be waited for). -EBUSY: the watcher is open, or another
 *             loop watches the signal. -ENOMEM ... Then nothing is watched.
 * Context:    in a coroutine
 */
#define coro_signals_open(co, s, ...) coro__signals_open((co), (s), __VA_ARGS__, 0)

/* coro_signals_wait -- the number of one that has come.
 *
 * Waits:      until one comes that this watcher has not taken yet.
 * Errors:     -ECANCELED, -ETIMEDOUT: none was taken. -EBUSY: another task waits. -EBADF: closed,
 *             before or meanwhile.
 */
CORO_API CORO__MUST_USE coro_op coro_signals_wait(coro_task *co, coro_signals *s);

/* coro_signals_close -- stop watching; who waits has -EBADF. A signal's last watcher puts back what
 * was before; if the signal has come and nobody took it, it is raised anew. Closed already: 0. */
CORO_API int coro_signals_close(coro_signals *s);

/* coro_run -- with this header: the first SIGINT or SIGTERM cancels the task, so that it can clean
 * up; the second one ends the process at once, as it would without us.
 *
 * A signal that is ignored, or has a handler of yours, or is blocked stays what it is. A
 * coro_signals of yours takes a signal over as long as it is open. The outermost coro_run has them.
 *
 * Errors:     -EINTR: the task ended with -ECANCELED, because of the signal. One that came too late
 *             to be told to the task does what it would without us.
 */
#undef coro_run
#define coro_run(...) CORO__RUN_WITH_SIGNALS(NULL, __VA_ARGS__)
#undef coro_run_with
/* coro_run_with -- the same, with options. */
#define coro_run_with(options, ...) CORO__RUN_WITH_SIGNALS(options, __VA_ARGS__)

#define CORO__RUN_WITH_SIGNALS(options, ...)                                                      \
    __extension__({                                                                               \
        coro__run_watch coro__watch;                                                              \
        const coro_options *coro__given = (options);                                              \
        coro_run_around(coro__given, coro__run_watched(&coro__watch, coro__given), __VA_ARGS__);  \
    })

/* A loop to which a signal handler posts. */
typedef struct coro__hearer {
    coro_post_node node; /* must be first */
    coro_loop *loop;
    pid_t owner;         /* the process: a forked child has a copy */
    uint8_t came[65];    /* signals that nobody has looked at yet; atomic */
} coro__hearer;

/* A coro_run that runs. */
typedef struct coro__run_watch {
    coro__hearer hearer; /* must be first */
    coro_around around;
    coro_note note;      /* left with the task */
    coro_task *task;
    bool ended;          /* the task */
    bool told;           /* the task, of a signal */
    bool caused;         /* its cancellation */
    bool interrupt, terminate; /* SIGINT, SIGTERM: we have a handler for it */
    bool driven;         /* by a driver of the user's */
} coro__run_watch;

CORO_API coro_around *coro__run_watched(coro__run_watch *watch, const coro_options *options);
CORO_API int coro__signals_open(coro_task *co, coro_signals *s, ...);

/* ================================================================================================
 * >>process
 *
 * If you fork yourself: the child must leave the loops and handles of the parent alone, which share
 * descriptors with it. It may run a loop of its own, and ends with exec or _exit.
 */

/* What a child has as stdin, stdout or stderr: one of these, or a descriptor > 0 of ours. */
enum {
    CORO_INHERIT = 0, /* ours */
    CORO_PIPE = -1,   /* a pipe: the other end is in the coro_process */
    CORO_NULL = -2,   /* /dev/null */
    CORO_STDOUT = -3  /* stderr_: where its stdout goes */
};

/* What coro_process_run collects. */
typedef struct coro_output {
    char *data;    /* yours */
    size_t size;   /* room in it */
    size_t length; /* how much has come */
    size_t lost;   /* what there was no room for */
} coro_output;

/* A program to be run. Zero means default. */
typedef struct coro_command {
    const char *const *argv;      /* null at its end; [0] without a slash is looked for in PATH */
    const char *const *env;       /* null at its end, "NAME=value"; default: ours */
    const char *dir;              /* where it runs; default: where we do */
    int stdin_, stdout_, stderr_; /* CORO_PIPE ... */
    bool group;                   /* a process group of its own, which coro_process_kill reaches */
    /* for coro_process_run: */
    const char *input; /* goes to its stdin, which is then a pipe */
    size_t input_size;
    coro_output *out, *err; /* what it writes goes here, through pipes */
    coro_time grace;        /* when cancelled, from SIGTERM to SIGKILL; default: 2 s */
} coro_command;

/* A child process. Zeroed: none. It may be moved until its first wait. */
typedef struct coro_process {
    pid_t pid;             /* of the present one, or the last */
    coro_fd in, out, err;  /* our ends of CORO_PIPE: write to .in, read .out and .err; close them */
    coro_waitq waiters;    /* in coro_process_wait */
    coro__watched watched; /* readable when it has ended: a pidfd, or a thread's pipe */
    pthread_t thread;      /* that waits where there is no pidfd */
    int thread_end;        /* its end of the pipe, + 1; 0: there is none */
    int status;            /* once it has ended */
    uint8_t state;         /* CORO__PROCESS_... */
    bool group;            /* it leads one */
    bool sweep;            /* its group goes when it goes */
} coro_process;

/* coro_process_spawn -- start a program: 0, and it runs.
 *
 *   static const char *const argv[] = {"sort", "-u", NULL};
 *   CORO_TRY(coro_process_spawn(&my->p, &(coro_command){.argv = argv, .stdin_ = CORO_PIPE}));
 *
 * It has default signal handling, an empty signal mask, and no descriptors but 0, 1 and 2.
 *
 * Errors:     -ENOENT, -EACCES, -ENOEXEC, ...: why it cannot be run, or not in that directory.
 *             -EBUSY: p is in use, coro_process_fini it. -EINVAL: no argv. -EMFILE, -EAGAIN ...
 *             Then there is no process, and no descriptor.
 */
CORO_API int coro_process_spawn(coro_process *p, const coro_command *command);

/* coro_process_wait -- wait for its end: its exit code, 0..255; or 256 + the signal that killed it.
 *
 *   CORO_AWAIT(my->status, coro_within(co, CORO_S(5), coro_process_wait(co, &my->p)));
 *   if (my->status == -ETIMEDOUT)
 *       coro_process_kill(&my->p, SIGTERM);
 *   CORO_FINALLY:
 *   coro_process_fini(&my->p);
 *
 * Any number of tasks may wait, as often as they like. Only this child is reaped, no other. It may
 * have ended while its output is still to be read, or a grandchild of its holds the pipes.
 *
 * Errors:     -ECANCELED, -ETIMEDOUT: it goes on. -ECHILD: another part of the program has reaped
 *             it, or SIGCHLD is ignored: how it ended is not known. -EINVAL: none was spawned, or
 *             it is another loop's. -ENOMEM, -EMFILE: it cannot be watched.
 */
CORO_API CORO__MUST_USE coro_op coro_process_wait(coro_task *co, coro_process *p);

/* coro_process_kill -- send it a signal; if it has a group of its own, send it to the group.
 * -ESRCH: it has been reaped. -EINVAL: no signal. -EPERM. */
CORO_API int coro_process_kill(coro_process *p, int signal);

/* coro_process_fini -- end with it: close the pipes; if it has not ended, kill it (and its group,
 * if it has its own) with SIGKILL, and reap it. Tasks that wait for it are told. None there:
 * nothing is done. */
CORO_API void coro_process_fini(coro_process *p);

/* coro_process_run -- run a program to its end; a coroutine's call: as coro_process_wait.
 *
 *   struct coro_process_task run;  char text[100];  coro_output said;  ...
 *   my->said = (coro_output){.data = my->text, .size = sizeof my->text};
 *   CORO_TRY(my->status, coro_process_run(co, &my->run, &(coro_command){.argv = argv,
 *                                                                       .out = &my->said}));
 *
 * It has a process group of its own. When this call is cancelled the group has SIGTERM, after the
 * grace SIGKILL; the child is reaped before the call ends, and what is left of the group is killed
 * then. No process and no descriptor stays on any way out. To run it as a task of its own:
 * coro_spawn(&my->g, coro_process_task, .command = {.argv = argv});
 *
 * Errors:     as coro_process_spawn and coro_process_wait; -ECANCELED, -ETIMEDOUT: it was ended.
 */
#define coro_process_run(co, frame, ...)                                                          \
    coro_call(co, frame, coro_process_task, .command = *(__VA_ARGS__))

/* Feeds the child's stdin. */
struct coro__process_feed {
    CORO_FRAME;
    coro_process *p;
    const char *data;
    size_t size;
};
CORO_LIBRARY_DECLARE(coro__process_feed);

/* Collects what it writes. */
struct coro__process_drain {
    CORO_FRAME;
    coro_fd *from;
    coro_output *to;
};
CORO_LIBRARY_DECLARE(coro__process_drain);

/* The frame of coro_process_run. */
struct coro_process_task {
    CORO_FRAME;
    coro_command command;
    coro_process p;
    int status;
    coro_group group;
    coro_scope shield;
    coro_output none[2]; /* for what nobody wants */
    CORO_TASK(coro__process_feed) feed;
    CORO_TASK(coro__process_drain) drain[2];
};
CORO_LIBRARY_DECLARE(coro_process_task);

/* ================================================================================================
 * >>impl -- nothing from here on is needed to use the library.
 */
#if !defined CORO_SHARED || defined CORO_IMPLEMENTATION

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#if defined __cplusplus /* in C it does not mean designated ones */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif /* defined __cplusplus */

/* --- the reactor --------------------------------------------------------------------------------
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
    CORO__FD_STREAM = 256,  /* less than asked for means: no more is there */
    CORO__FD_WATCHED = 1024, /* of a coro__watched: somebody is called */
    CORO__FD_PATH = 4096     /* a listener, whose path is to go: way[CORO_OUT] has its inode */
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
    CORO__IO_SENDFILE,
    CORO__IO_SEND_FD,
    CORO__IO_RECV_FD,
    CORO__IO_CONNECT,
    CORO__IO_STREAM_READ,
    CORO__IO_STREAM_WRITE,
    CORO__IO_STREAM_SENDFILE,
    CORO__IO_STREAM_BEHIND /* a write for which no task waits */
};

#define CORO__IO_BLOCKED INTPTR_MIN /* of an attempt: it would block */

struct coro_reactor {
    coro_loop *loop;
    struct coro__offload *offload; /* what is done on threads; null: nothing yet */
    coro_fd *known; /* a ring; those to be looked at again come first */
    struct coro__foreign *foreign; /* in coro_wait_fd */
    int poller;     /* epoll's descriptor, or kqueue's; -1: there is none */
    int waker[2];   /* eventfd, or the two ends of a pipe */
    bool ms_only;   /* no epoll_pwait2 here */
    bool guest;     /* a foreign loop sleeps for us, see coro_loop_fd */
    bool stray;     /* epoll may know a handle that is gone: its number was closed elsewhere */
    coro_portal *portals;
    struct coro__signal_hub *signals; /* of coro_signals; null: nobody watches any */
    struct kevent *batch; /* kqueue's: events; the first is being dealt with */
    int left;             /* how many */
    struct pollfd *polled; /* poll's: as many as `room` */
    size_t room, count;    /* count: known handles */
};

/* A descriptor that is not ours, as long as somebody waits for it. */
struct coro__foreign {
    coro_fd h; /* must be first */
    struct coro__foreign *next;
};

static inline void coro__fd_ready(coro_reactor *r, coro_fd *h, bool in, bool out, bool ended);
static inline void coro__offload_fini(coro_reactor *r);
static inline void coro__portals_fini(coro_reactor *r);

/* Another handle with the same number, or null. */
static inline coro_fd *coro__number_known(const coro_reactor *r, const coro_fd *h)
{
    coro_fd *at = r->known;
    for (size_t n = r->count; n; n--, at = at->next) {
        if (at != h && at->number1 == h->number1)
            return at;
    }
    return NULL;
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
    if (flags < 0 || fcntl(number, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return flags & O_NONBLOCK;
}

/* A system call that a signal does not interrupt. */
#define CORO__UNINTERRUPTED(n, call)                                                              \
    do                                                                                            \
        n = (call);                                                                               \
    while (n < 0 && errno == EINTR)

/* What is so now, of these events; 0: nothing. Even this may be interrupted. */
static inline int coro__poll_now(int number, int events)
{
    struct pollfd p = {number, (short)events, 0};
    int n;
    CORO__UNINTERRUPTED(n, poll(&p, 1, 0));
    return n > 0 ? p.revents : 0;
}

#if CORO_IO_BACKEND != CORO_IO_EPOLL
/* Files are never waited for: they get epoll's own answer. */
static inline int coro__poller_check(const coro_fd *h)
{
    struct stat st;
    if (fstat(coro_fd_number(h), &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? -EPERM : 0;
}
#endif /* CORO_IO_BACKEND != CORO_IO_EPOLL */

#if CORO_IO_BACKEND == CORO_IO_POLL || (CORO_IO_BACKEND == CORO_IO_KQUEUE && !defined EVFILT_USER)
/* --- a pipe that wakes ------------------------------------------------------------------------ */

static inline int coro__waker_init(coro_reactor *r)
{
    if (pipe(r->waker) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        (void)coro__no_block(r->waker[i]);
        (void)fcntl(r->waker[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static inline void coro__waker_fini(coro_reactor *r)
{
    if (r->waker[0] >= 0)
        close(r->waker[0]);
    if (r->waker[1] >= 0)
        close(r->waker[1]);
}

static inline void coro__waker_drain(coro_reactor *r)
{
    char drop[64];
    while (read(r->waker[0], drop, sizeof drop) == (ssize_t)sizeof drop)
        continue;
}

static inline void coro__poller_wake(coro_reactor *r)
{
    ssize_t n = write(r->waker[1], "", 1);
    (void)n; /* full: then it wakes anyhow */
}
#endif /* CORO_IO_BACKEND == CORO_IO_POLL || ... */

#if CORO_IO_BACKEND == CORO_IO_EPOLL
/* --- epoll ------------------------------------------------------------------------------------ */

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

/* A memory sanitizer does not see what a raw system call writes. */
#if defined __has_feature
#if __has_feature(memory_sanitizer)
#undef SYS_epoll_pwait2
#endif /* __has_feature(memory_sanitizer) */
#endif /* defined __has_feature */

static inline int coro__epoll(coro_reactor *r, struct epoll_event *events, int n, coro_time d)
{
    coro_time ms = d / CORO_MS(1) + (d % CORO_MS(1) != 0);
#if defined SYS_epoll_pwait2
    if (!r->ms_only && d > 0 && d != CORO_FOREVER) {
        int64_t t[2] = {d / CORO_S(1), /* 64 bits each, on 32-bit machines, too */
                        (int64_t)(d % CORO_S(1)) * (1000000000 / CORO_TICKS_PER_S)};
        int got = (int)syscall(SYS_epoll_pwait2, r->poller, events, n, t, NULL, (size_t)0);
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

#if CORO_IO_BACKEND == CORO_IO_KQUEUE
/* --- kqueue -----------------------------------------------------------------------------------
 * A knote for each way, which tells once what comes (EV_CLEAR). A number that is closed takes its
 * knotes along, whatever copies there are; what they had told already is in r->batch.
 */

CORO_API const char *coro_io_backend(void)
{
    return "kqueue";
}

static inline int coro__poller_init(coro_reactor *r)
{
    struct kevent e;
    r->poller = kqueue();
    if (r->poller < 0)
        return -errno;
#if defined EVFILT_USER
    EV_SET(&e, 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
#else
    if (coro__waker_init(r) < 0)
        return -errno;
    EV_SET(&e, (uintptr_t)r->waker[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
#endif /* defined EVFILT_USER */
    return kevent(r->poller, &e, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

static inline void coro__poller_fini(coro_reactor *r)
{
    if (r->poller >= 0)
        close(r->poller);
#if !defined EVFILT_USER
    coro__waker_fini(r);
#endif /* !defined EVFILT_USER */
}

#if defined EVFILT_USER
static inline void coro__poller_wake(coro_reactor *r)
{
    struct kevent e;
    EV_SET(&e, 0, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    (void)kevent(r->poller, &e, 1, NULL, 0, NULL);
}
#endif /* defined EVFILT_USER */

/* Each change has an answer in its place (EV_RECEIPT): .data is 0, or why it was not made. */
static inline int coro__kqueue_change(coro_reactor *r, struct kevent *e, unsigned short n)
{
    struct timespec none = {0, 0};
    return kevent(r->poller, e, n, e, n, &none) < 0 ? -errno : 0;
}

static inline void coro__poller_drop(coro_reactor *r, coro_fd *h)
{
    uintptr_t number = (uintptr_t)coro_fd_number(h);
    struct kevent e[2];
    EV_SET(&e[0], number, EVFILT_READ, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&e[1], number, EVFILT_WRITE, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
    (void)coro__kqueue_change(r, e, 2);
    for (int i = 0; i < r->left; i++) {
        if (r->batch[i].udata == h)
            r->batch[i].udata = NULL;
    }
}

/* Foreign ones are asked for what is waited for, once, and anew each time. The first change is to
 * fail: else the number is known. A way that cannot be watched, like that into a pipe that nobody
 * reads, concerns who waits in it: -EPERM to a foreign one is that it need not wait. Without memory
 * for both, who waits later would not be told. */
static inline int coro__poller_add(coro_reactor *r, coro_fd *h)
{
    uintptr_t number = (uintptr_t)coro_fd_number(h);
    bool foreign = (h->flags & CORO__FD_FOREIGN) != 0;
    int add = EV_ADD | EV_RECEIPT | (foreign ? EV_ONESHOT : EV_CLEAR);
    int none = EV_DELETE | EV_RECEIPT;
    int in = foreign && !h->doing[CORO_IN] ? none : add;
    int out = foreign && !h->doing[CORO_OUT] ? none : add;
    int rc = h->flags & CORO__FD_SOCKET ? 0 : coro__poller_check(h);
    struct kevent e[3];
    coro_fd *other;
    if (rc < 0)
        return rc;
    EV_SET(&e[0], number, EVFILT_READ, EV_ENABLE | EV_RECEIPT, 0, 0, h);
    EV_SET(&e[1], number, EVFILT_READ, (unsigned short)in, 0, 0, h);
    EV_SET(&e[2], number, EVFILT_WRITE, (unsigned short)out, 0, 0, h);
    rc = coro__kqueue_change(r, e, 3);
    other = rc == 0 && !h->reactor && !e[0].data ? coro__number_known(r, h) : NULL;
    if (other) { /* what was its is now ours: give it back */
        coro__poller_drop(r, other);
        (void)coro__poller_add(r, other);
        return -EBUSY;
    }
    for (int way = CORO_IN; way <= CORO_OUT && rc == 0; way++) {
        int error = (int)e[1 + way].data;
        if (error == ENOMEM || (error && h->doing[way]))
            rc = foreign && error != ENOMEM ? -EPERM : -error;
    }
    if (rc < 0 && !h->reactor)
        coro__poller_drop(r, h);
    return rc;
}

/* Have we taken all that the kernel has told of? Then the next try would block. A read that is
 * short proves nothing: it stops at an urgent byte, too, of which kqueue does not tell. */
static inline bool coro__drained(const coro_fd *h, ssize_t got, size_t n)
{
    coro_reactor *r = h->reactor;
    if (!r || r->left <= 0 || r->batch->udata != h || r->batch->filter != EVFILT_READ)
        return false;
    r->batch->data -= got;
    return r->batch->data <= 0;
}

/* Wait for at most d, then deal with what has come. An end concerns both ways; the error that may
 * come with it is told by the attempt. */
static inline void coro__poller_wait(coro_reactor *r, coro_time d)
{
    coro_time most = d < CORO_S(100000) ? d : CORO_S(100000); /* as some systems have a limit */
    struct timespec t = {(time_t)(most / CORO_S(1)),
                         (long)(most % CORO_S(1) * (1000000000 / CORO_TICKS_PER_S))};
    struct kevent events[128];
    r->left = kevent(r->poller, NULL, 0, events, 128, d == CORO_FOREVER ? NULL : &t);
    for (r->batch = events; r->left > 0; r->batch++, r->left--) {
        coro_fd *h = (coro_fd *)r->batch->udata;
        bool in = r->batch->filter == EVFILT_READ;
        bool over = (r->batch->flags & (EV_EOF | EV_ERROR)) != 0;
        if (h)
            coro__fd_ready(r, h, in || over, !in || over, in && over);
#if !defined EVFILT_USER
        else if ((int)r->batch->ident == r->waker[0])
            coro__waker_drain(r);
#endif /* !defined EVFILT_USER */
    }
    r->batch = NULL;
}
#endif /* CORO_IO_BACKEND == CORO_IO_KQUEUE */

#if CORO_IO_BACKEND == CORO_IO_POLL
/* --- poll ------------------------------------------------------------------------------------- */

CORO_API const char *coro_io_backend(void)
{
    return "poll";
}

static inline int coro__poller_init(coro_reactor *r)
{
    return coro__waker_init(r);
}

static inline void coro__poller_fini(coro_reactor *r)
{
    coro__waker_fini(r);
    if (r->polled)
        coro_loop_free(r->loop, r->polled, r->room * sizeof *r->polled);
}

/* Room for all that are known, and the waker. */
static inline int coro__poller_add(coro_reactor *r, coro_fd *h)
{
    struct pollfd *more;
    size_t room = r->room ? r->room * 2 : 16;
    int rc = coro__poller_check(h);
    if (rc < 0)
        return rc;
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

/* Only what somebody waits for is asked for: what is not read would be told again and again. */
static inline void coro__poller_wait(coro_reactor *r, coro_time d)
{
    coro_time ms = d / CORO_MS(1) + (d % CORO_MS(1) != 0);
    coro_fd *h = r->known, *next;
    nfds_t n = 1, i = 1;
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
        coro__waker_drain(r);
    for (h = r->known; i < n; i++, h = next) {
        short e = polled[i].revents;
        next = h->next;
        if (e)
            coro__fd_ready(r, h, (e & ~POLLOUT) != 0, (e & ~POLLIN) != 0, (e & POLLHUP) != 0);
    }
}
#endif /* CORO_IO_BACKEND == CORO_IO_POLL */

#if CORO_IO_BACKEND != CORO_IO_KQUEUE
/* A short read of a stream has taken all that was there: the next try would block. */
static inline bool coro__drained(const coro_fd *h, ssize_t got, size_t n)
{
    return (size_t)got < n;
}
#endif /* CORO_IO_BACKEND != CORO_IO_KQUEUE */

/* --- what all backends share ------------------------------------------------------------------ */

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
    if (r->guest && r->known && (r->known->flags & CORO__FD_AGAIN))
        coro__poller_wake(r); /* the host has to come again at once */
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

static inline void coro__signals_fini(coro_reactor *r);

static inline void coro__reactor_fini(void *arg)
{
    coro_reactor *r = (coro_reactor *)arg;
    coro_loop *loop = r->loop;
    coro__portals_fini(r); /* a job may wait in one */
    if (r->offload)
        coro__offload_fini(r);
    coro__signals_fini(r);
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

CORO_API int coro_loop_fd(coro_loop *loop)
{
    int rc = 0;
    coro_reactor *r = coro__reactor_of(loop, &rc);
    if (!r)
        return rc;
    r->guest = true;
    return r->poller < 0 ? -ENOSYS : r->poller;
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
#if defined __APPLE__ /* MSG_NOSIGNAL is new there */
    if (flags & CORO__FD_SOCKET) {
        int on = 1;
        (void)setsockopt(number, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    }
#endif /* defined __APPLE__ */
    return 0;
}

/* --- attempts --------------------------------------------------------------------------------- */

/* What a system call that must not wait came to. */
static inline intptr_t coro__outcome(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? CORO__IO_BLOCKED : -errno;
}

/* A read(2) or recv(2) of whatever there is. */
static inline intptr_t coro__attempt_read(coro_fd *h, void *to, size_t n)
{
    int number = coro_fd_number(h);
    ssize_t got;
    CORO__UNINTERRUPTED(got, h->flags & CORO__FD_SOCKET ? recv(number, to, n, 0)
                                                        : read(number, to, n));
    if (got >= 0 && coro__drained(h, got, n) && (h->flags & CORO__FD_STREAM) &&
        !(h->flags & CORO__FD_ENDED))
        h->flags &= (uint16_t)~CORO__FD_READY_IN;
    if (got < 0 && errno == EIO && !(h->flags & CORO__FD_SOCKET)) /* isatty changes errno */
        return isatty(number) ? 0 : -EIO; /* 0: a terminal; its other end is gone */
    return coro__outcome(got);
}

/* Sixteen pages are what Linux moves at once. Files that the kernel cannot send are copied. */
static inline ssize_t coro__send_part(int to, const coro_file_part *part)
{
    char copy[16384];
    off_t at = (off_t)part->offset;
    size_t n = part->size < 65536 ? part->size : 65536;
    ssize_t got = 0;
    if (at != part->offset) {
        errno = EOVERFLOW;
        return -1;
    }
#if CORO_IO_SENDFILE && defined __linux__
    got = sendfile(to, part->file, &at, n);
#elif CORO_IO_SENDFILE && defined __FreeBSD__
    {
        off_t sent = 0;
        got = sendfile(part->file, to, at, n, NULL, &sent, 0);
        got = sent ? (ssize_t)sent : got;
    }
#elif CORO_IO_SENDFILE
    {
        off_t sent = (off_t)n;
        got = sendfile(part->file, to, at, &sent, NULL, 0);
        got = sent ? (ssize_t)sent : got;
    }
#endif /* CORO_IO_SENDFILE && defined __linux__ */
    if (CORO_IO_SENDFILE && (got >= 0 || (errno != EINVAL && errno != ENOSYS &&
                                          errno != ENOTSOCK && errno != EOPNOTSUPP)))
        return got;
    got = pread(part->file, copy, n < sizeof copy ? n : sizeof copy, (off_t)part->offset);
    return got > 0 ? write(to, copy, (size_t)got) : got;
}

/* A write to what is no socket, or of a part of a file (else null), raises SIGPIPE when nobody
 * reads: keep it from us. */
#if defined F_SETNOSIGPIPE
static inline ssize_t coro__write_quietly(int number, const struct iovec *from, int count,
                                          const coro_file_part *part)
{
    (void)fcntl(number, F_SETNOSIGPIPE, 1);
    return part ? coro__send_part(number, part) : writev(number, from, count);
}
#else
static inline ssize_t coro__write_quietly(int number, const struct iovec *from, int count,
                                          const coro_file_part *part)
{
    sigset_t pipe_only, before, pending, now;
    ssize_t n;
    int error, ignored;
    sigpending(&pending);
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    n = part ? coro__send_part(number, part) : writev(number, from, count);
    error = errno;
    sigemptyset(&now);
    if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        sigpending(&now);
    if (sigismember(&now, SIGPIPE)) /* this thread's: it does not wait */
        (void)sigwait(&pipe_only, &ignored);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}
#endif /* defined F_SETNOSIGPIPE */

static inline intptr_t coro__attempt_writev(coro_fd *h, const struct iovec *from, int count)
{
    int number = coro_fd_number(h);
    ssize_t n;
    struct msghdr m;
    memset(&m, 0, sizeof m);
    m.msg_iov = (struct iovec *)(uintptr_t)from;
    m.msg_iovlen = (unsigned short)(count < USHRT_MAX ? count : USHRT_MAX); /* an int, or longer */
    CORO__UNINTERRUPTED(n, h->flags & CORO__FD_SOCKET
                               ? sendmsg(number, &m, CORO__NOSIGNAL)
                               : coro__write_quietly(number, from, count, NULL));
    return coro__outcome(n);
}

static inline intptr_t coro__attempt_write(coro_fd *h, const void *from, size_t n)
{
    struct iovec v;
    ssize_t sent;
    if (h->flags & CORO__FD_SOCKET) {
        CORO__UNINTERRUPTED(sent, send(coro_fd_number(h), from, n, CORO__NOSIGNAL));
        return coro__outcome(sent);
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
#if defined ENONET
        case ENONET:
#endif /* defined ENONET */
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
    ssize_t n;
    CORO__UNINTERRUPTED(n, readv(coro_fd_number(h), to, count));
    return coro__outcome(n);
}

static inline intptr_t coro__attempt_recv_from(coro_fd *h, coro_datagram *d)
{
    struct iovec v = {d->data, d->size};
    struct msghdr m;
    ssize_t n;
    memset(&m, 0, sizeof m);
    m.msg_name = &d->peer.any;
    m.msg_namelen = sizeof d->peer - offsetof(coro_address, any);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    CORO__UNINTERRUPTED(n, recvmsg(coro_fd_number(h), &m, 0));
    d->peer.length = m.msg_namelen;
    d->truncated = (m.msg_flags & MSG_TRUNC) != 0;
    return coro__outcome(n);
}

static inline intptr_t coro__attempt_send_to(coro_fd *h, const coro_datagram *d)
{
    ssize_t n;
    CORO__UNINTERRUPTED(n, sendto(coro_fd_number(h), d->data, d->size, CORO__NOSIGNAL,
                                  d->peer.length ? &d->peer.any : NULL, d->peer.length));
    return coro__outcome(n);
}

static inline intptr_t coro__attempt_send_fd(coro_fd *h, const coro_parcel *p)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = {p->data, p->size};
    struct msghdr m;
    int number = coro_fd_number(p->fd);
    ssize_t n;
    if (number < 0)
        return -EBADF;
    memset(&control, 0, sizeof control);
    memset(&m, 0, sizeof m);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = sizeof control;
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof number);
    memcpy(CMSG_DATA(&control.head), &number, sizeof number);
    CORO__UNINTERRUPTED(n, sendmsg(coro_fd_number(h), &m, CORO__NOSIGNAL));
    return coro__outcome(n);
}

/* The first descriptor is the handle's; all others are closed: are there any? */
static inline bool coro__unpack(struct msghdr *m, coro_fd *h)
{
    bool lost = (m->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t n = (size_t)c->cmsg_len - CMSG_LEN(0);
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n / sizeof(int); i++) {
            int number;
            memcpy(&number, CMSG_DATA(c) + i * sizeof number, sizeof number);
            (void)fcntl(number, F_SETFD, FD_CLOEXEC);
            if (coro_fd_adopt(h, number) < 0) {
                close(number);
                lost = true;
            }
        }
    }
    return lost;
}

/* Room for all that one message may bring: what there is no room for leaks on some systems. */
static inline intptr_t coro__attempt_recv_fd(coro_fd *h, coro_parcel *p)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec v = {p->data, p->size};
    struct msghdr m;
    ssize_t n;
    memset(&m, 0, sizeof m);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = sizeof control;
    CORO__UNINTERRUPTED(n, recvmsg(coro_fd_number(h), &m, CORO__CLOEXEC));
    if (n >= 0)
        p->lost = coro__unpack(&m, p->fd);
    return coro__outcome(n);
}

static inline intptr_t coro__attempt_connect(coro_fd *h)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (!coro__poll_now(coro_fd_number(h), POLLOUT))
        return CORO__IO_BLOCKED; /* what woke us was of the time before connect */
    if (getsockopt(coro_fd_number(h), SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

static inline intptr_t coro__attempt_stream_read(coro_fd *h, coro_stream *s);
static inline intptr_t coro__attempt_stream_write(coro_fd *h, coro_stream *s, const char *data);
static inline intptr_t coro__stream_send(coro_fd *h, coro_stream *s, const char *more, size_t n);
static inline void coro__stream_behind(coro_fd *h);

/* A part of a file; first what is in the stream's buffer, if it is to be written to that. */
static inline intptr_t coro__attempt_sendfile(coro_fd *h, const coro_file_part *part)
{
    coro_way *w = &h->way[CORO_OUT];
    coro_stream *s = h->doing[CORO_OUT] == CORO__IO_STREAM_SENDFILE ? h->stream : NULL;
    for (int goes = 0; goes < 16 || (h->flags & CORO__FD_ALWAYS); goes++) {
        coro_file_part rest = {part->file, part->offset + (int64_t)w->moved,
                               part->size - w->moved};
        intptr_t n;
        if (s && s->out_from < s->out_to) {
            n = coro__stream_send(h, s, NULL, 0);
            if (n < 0)
                return n;
            continue;
        }
        CORO__UNINTERRUPTED(n, !rest.size ? 0
                                          : coro__write_quietly(coro_fd_number(h), NULL, 0, &rest));
        if (n <= 0)
            return n < 0 ? coro__outcome(n) : (intptr_t)w->moved;
        w->moved += (size_t)n;
    }
    h->flags |= CORO__FD_AGAIN;
    return CORO__IO_BLOCKED;
}

/* Do what waits in one way: the result, or CORO__IO_BLOCKED. What moves much has sixteen goes at
 * it, then others have theirs. */
CORO__FAST static inline intptr_t coro__attempt(coro_fd *h, int way, intptr_t word)
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
    case CORO__IO_SENDFILE:
    case CORO__IO_STREAM_SENDFILE:
        return coro__attempt_sendfile(h, (const coro_file_part *)word);
    case CORO__IO_SEND_FD:
        n = coro__attempt_send_fd(h, (const coro_parcel *)word);
        break;
    case CORO__IO_RECV_FD:
        n = coro__attempt_recv_fd(h, (coro_parcel *)word);
        break;
    case CORO__IO_ACCEPT:
        return coro__attempt_accept(h, (coro_fd *)word);
    case CORO__IO_CONNECT:
        return coro__attempt_connect(h);
    case CORO__IO_STREAM_READ:
        return coro__attempt_stream_read(h, h->stream);
    case CORO__IO_STREAM_WRITE:
    case CORO__IO_STREAM_BEHIND:
        return coro__attempt_stream_write(h, h->stream, at);
    default: /* CORO__IO_READY */
        return h->flags & (way == CORO_IN ? CORO__FD_READY_IN : CORO__FD_READY_OUT)
                   ? 0 : CORO__IO_BLOCKED;
    }
    w->moved = n > 0 ? (size_t)n : 0;
    return n;
}

/* The same, and the bit that says whether trying again is any use. */
CORO__FAST static inline intptr_t coro__attempt_noted(coro_fd *h, int way, intptr_t word)
{
    intptr_t n = coro__attempt(h, way, word);
    if (n == CORO__IO_BLOCKED && !(h->flags & CORO__FD_AGAIN))
        h->flags &= (uint16_t) ~(way == CORO_IN ? CORO__FD_READY_IN | CORO__FD_ENDED
                                                : CORO__FD_READY_OUT);
    return n;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Nobody waits in this way any more. What a stream's reader left behind is written now. */
static inline void coro__fd_idle(coro_fd *h, int way)
{
    h->doing[way] = CORO__IO_NONE;
    if (way == CORO_OUT && h->stream)
        coro__stream_behind(h);
}

/* Who waits in this way, in which something is done. Null: nobody, CORO__IO_STREAM_BEHIND. */
static inline coro_task *coro__fd_waiter(const coro_fd *h, int way)
{
    if (way == CORO_IN)
        return h->queue.head;
    return h->doing[way] == CORO__IO_STREAM_BEHIND ? NULL : coro_waitq_last(&h->queue);
}

static inline void coro__fd_end_wait(coro_fd *h, int way, intptr_t result)
{
    coro_task *task = coro__fd_waiter(h, way);
    bool failed = result < 0 && h->doing[way] == CORO__IO_CONNECT;
    coro__fd_idle(h, way);
    if (!task)
        return;
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
    if (h->flags & CORO__FD_WATCHED) {
        coro__watched *w = (coro__watched *)(void *)h;
        w->ready(w);
        return;
    }
    h->flags |= (uint16_t)((in ? CORO__FD_READY_IN : 0) | (out ? CORO__FD_READY_OUT : 0) |
                           (ended ? CORO__FD_ENDED : 0));
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        bool ready = way == CORO_IN ? in : out;
        coro_task *task;
        intptr_t n;
        if (!ready || !h->doing[way])
            continue;
        task = coro__fd_waiter(h, way);
        n = coro__attempt_noted(h, way, task ? coro_word(task) : 0);
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

/* A connection that was not made is closed, and with it the queue: the core just wakes the task. */
static inline coro_abort coro__fd_abort(coro_task *task, coro_waitq *queue)
{
    coro_fd *h = CORO__AROUND(coro_fd, queue, queue);
    int way = h->doing[CORO_IN] && task == queue->head ? CORO_IN : CORO_OUT;
    bool connects = h->doing[way] == CORO__IO_CONNECT;
    coro__fd_idle(h, way);
    coro_loop_release(coro_loop_of(task));
    if (connects)
        (void)coro_close(h);
    return CORO_ABORT_DONE;
}

/* Start an operation: try it, if that may be of use; else wait until the reactor has done it. Those
 * that are used most have a copy of this each, in which `doing` is a constant. */
CORO__FAST static inline coro_op coro__fd_begin_this(coro_task *co, coro_fd *h, int way, int doing,
                                                     intptr_t word, size_t length)
{
    static const coro_ops ops[4] = {{CORO__T("read"), coro__fd_abort, NULL},
                                    {CORO__T("write"), coro__fd_abort, NULL},
                                    {CORO__T("connect"), coro__fd_abort, NULL},
                                    {CORO__T("read or write"), coro__fd_abort, NULL}};
    intptr_t n = CORO__IO_BLOCKED;
    coro_op op;
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
        coro__fd_idle(h, way);
        if (n < 0 && doing == CORO__IO_CONNECT)
            (void)coro_close(h);
        coro_charge(co, 7 + (n > 0 ? n / 1024 : 0));
        return coro_done(co, n);
    }
    coro_loop_hold(coro_loop_of(co));
    if (h->flags & CORO__FD_AGAIN)
        coro__fd_ready(h->reactor, h, false, false, false);
    op = coro_suspend(co, &h->queue,
                      &ops[h->queue.head ? 3 : doing == CORO__IO_CONNECT ? 2 : way], word);
    if (way == CORO_IN)
        h->queue.head = co; /* before the writer: it is a ring */
    return op;
}

static CORO__NOINLINE CORO__UNUSED coro_op coro__fd_begin(coro_task *co, coro_fd *h, int way,
                                                          int doing, intptr_t word, size_t length)
{
    return coro__fd_begin_this(co, h, way, doing, word, length);
}

/* --- descriptors ------------------------------------------------------------------------------ */

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
    if (h->stream)
        h->stream->behind = false;
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

static inline int coro__pipe(int ends[2]);

CORO_API int coro_pipe(coro_fd *in, coro_fd *out)
{
    int ends[2], rc = in->number1 || out->number1 ? -EBUSY : coro__pipe(ends);
    if (rc < 0)
        return rc;
    (void)coro__no_block(ends[0]);
    (void)coro__no_block(ends[1]);
    (void)coro__fd_open(in, ends[0], 0);
    return coro__fd_open(out, ends[1], 0);
}

/* Of a listener: note its path's inode, which belongs to nobody else before the socket is closed;
 * then remove the path, if it still leads there. A listener never writes: there is room. */
static inline void coro__path(coro_fd *h, bool note)
{
    coro_way *w = &h->way[CORO_OUT];
    coro_address a;
    struct stat st;
    if (coro_fd_local(h, &a) < 0 || lstat(a.local.sun_path, &st) < 0)
        return;
    if (note) {
        h->flags |= CORO__FD_PATH;
        w->length = (size_t)st.st_ino;
        w->moved = (size_t)st.st_dev;
    } else if (w->length == (size_t)st.st_ino && w->moved == (size_t)st.st_dev) {
        (void)unlink(a.local.sun_path);
        w->moved = 0;
    }
}

CORO_API int coro_close(coro_fd *h)
{
    int number;
    if (h->flags & CORO__FD_PATH)
        coro__path(h, false);
    number = coro_fd_release(h);
    if (number < 0)
        return 0;
    return close(number) < 0 && errno != EINTR ? -errno : 0;
}

CORO_API coro_op coro_read(coro_task *co, coro_fd *h, void *buffer, size_t n)
{
    if (!n && !coro_cancelled(co))
        return coro_done(co, -EINVAL);
    return coro__fd_begin_this(co, h, CORO_IN, CORO__IO_READ, (intptr_t)buffer, n);
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
    return coro__fd_begin_this(co, h, CORO_OUT, CORO__IO_WRITE, (intptr_t)data, n);
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

CORO_API coro_op coro_sendfile(coro_task *co, coro_fd *h, const coro_file_part *part)
{
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_SENDFILE, (intptr_t)part, part->size);
}

/* That it is ready may be no longer true, or a guess: ask the kernel. Drained is known for sure. */
CORO__FAST static inline coro_op coro__fd_wait(coro_task *co, coro_fd *h, int way)
{
    int bit = way == CORO_IN ? CORO__FD_READY_IN : CORO__FD_READY_OUT;
    if (h->number1 && (h->flags & bit) &&
        !coro__poll_now(coro_fd_number(h), way == CORO_IN ? POLLIN : POLLOUT))
        h->flags &= (uint16_t)~bit;
    return coro__fd_begin_this(co, h, way, CORO__IO_READY, 0, 0);
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

/* --- foreign descriptors ------------------------------------------------------------------------
 * Registered for one event, while somebody waits: the number may be another descriptor's later. The
 * word of a task: what it waits for, POLLIN, POLLOUT or both.
 */
static inline void coro__foreign_set(coro_fd *h, intptr_t events, int doing)
{
    if (events & POLLIN)
        h->doing[CORO_IN] = (uint8_t)doing;
    if (events & POLLOUT)
        h->doing[CORO_OUT] = (uint8_t)doing;
}

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
    int came = coro__poll_now(coro_fd_number(h), (h->doing[CORO_IN] ? POLLIN : 0) |
                                                     (h->doing[CORO_OUT] ? POLLOUT : 0));
    for (coro_task *next, *task = h->queue.head; task; task = next) {
        int events = came & ((int)coro_word(task) | POLLERR | POLLHUP | POLLNVAL);
        next = coro_waitq_next(&h->queue, task);
        if (!events)
            continue;
        coro__foreign_set(h, coro_word(task), CORO__IO_NONE);
        coro_loop_release(r->loop);
        (void)coro_complete(task, events & POLLNVAL ? -EBADF : events);
    }
    if (!h->queue.head)
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
    while (f->h.queue.head) {
        coro_loop_release(r->loop);
        (void)coro_complete(f->h.queue.head, -EBADF);
    }
    coro__foreign_drop(r, &f->h);
}

static inline coro_abort coro__foreign_abort(coro_task *task, coro_waitq *queue)
{
    coro__foreign_set(CORO__AROUND(coro_fd, queue, queue), coro_word(task), CORO__IO_NONE);
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

static inline void coro__foreign_gone(coro_task *task, coro_waitq *queue)
{
    coro_fd *h = CORO__AROUND(coro_fd, queue, queue);
    (void)task;
    if (!queue->head)
        coro__foreign_drop(h->reactor, h);
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
        coro__foreign_set(&fresh.h, events, CORO__IO_READY);
        *f = fresh;
        rc = coro__fd_register(co, &f->h);
        if (rc < 0 || (f->h.flags & CORO__FD_ALWAYS)) {
            coro_loop_free(r->loop, f, sizeof *f);
            return coro_done(co, rc < 0 ? rc : events & (POLLIN | POLLOUT));
        }
        f->next = r->foreign;
        r->foreign = f;
    } else {
        coro__foreign_set(&f->h, events, CORO__IO_READY);
        rc = coro__poller_add(r, &f->h);
        if (rc < 0) {
            coro__foreign_set(&f->h, events, CORO__IO_NONE);
            return coro_done(co, rc == -EPERM ? events & (POLLIN | POLLOUT) : rc);
        }
    }
    coro_loop_hold(r->loop);
    return coro_suspend(co, &f->h.queue, &ops, events & (POLLIN | POLLOUT));
}

/* --- addresses and sockets -------------------------------------------------------------------- */

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

/* Several sockets of one port: the kernel deals connections out among them. */
static inline int coro__share_port(int number)
{
#if defined SO_REUSEPORT
    int on = 1;
    return setsockopt(number, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ? -errno : 0;
#else
    return -ENOSYS;
#endif /* defined SO_REUSEPORT */
}

static inline int coro__bind(coro_fd *h, const char *address, int type, int backlog, bool shared)
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
    if (shared)
        rc = coro__share_port(number);
    if (rc == 0)
        rc = bind(number, &a.any, a.length) < 0 ? -errno : 0;
    if (rc == -EADDRINUSE && coro__stale(&a))
        rc = bind(number, &a.any, a.length) < 0 ? -errno : 0;
    if (rc == 0 && type == SOCK_STREAM && listen(number, backlog > 0 ? backlog : SOMAXCONN) < 0)
        rc = -errno;
    if (rc < 0) {
        close(number);
        return rc;
    }
    rc = coro__fd_open(h, number, CORO__FD_SOCKET | coro__stream_flag(&a, type));
    if (type == SOCK_STREAM && a.any.sa_family == AF_UNIX)
        coro__path(h, true);
    return rc;
}

CORO_API int coro_listen(coro_fd *h, const char *address, int backlog)
{
    return coro__bind(h, address, SOCK_STREAM, backlog, false);
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
    return coro__bind(h, address, SOCK_DGRAM, 0, false);
}

CORO_API int coro_udp_join(coro_fd *h, const char *group, unsigned interface)
{
    struct ipv6_mreq v6;
    int n = coro_fd_number(h);
#if defined __NetBSD__
    struct ip_mreq v4;
    memset(&v4, 0, sizeof v4);
    v4.imr_interface.s_addr = htonl(interface); /* 0.0.0.n means number n */
#else
    struct ip_mreqn v4;
    memset(&v4, 0, sizeof v4);
    v4.imr_ifindex = (int)interface;
#endif /* defined __NetBSD__ */
    memset(&v6, 0, sizeof v6);
    v6.ipv6mr_interface = interface;
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

/* 0, or why a parcel cannot go through this socket: another kind would send the bytes alone. */
static inline int coro__parcel_check(const coro_fd *h, const coro_parcel *p)
{
    coro_address a;
    int rc = p->size ? coro_fd_local(h, &a) : -EINVAL;
    return rc == 0 && a.any.sa_family != AF_UNIX ? -EOPNOTSUPP : rc;
}

CORO_API coro_op coro_send_fd(coro_task *co, coro_fd *h, coro_parcel *parcel)
{
    int rc = coro_cancelled(co) ? 0 : coro__parcel_check(h, parcel);
    if (coro_is_local(co, parcel->data) || coro_is_local(co, parcel->fd))
        return coro_local();
    if (rc < 0)
        return coro_done(co, rc);
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_SEND_FD, (intptr_t)parcel, 0);
}

CORO_API coro_op coro_recv_fd(coro_task *co, coro_fd *h, coro_parcel *parcel)
{
    int rc = coro_cancelled(co) ? 0 : coro__parcel_check(h, parcel);
    if (coro_is_local(co, parcel->data) || coro_is_local(co, parcel->fd))
        return coro_local();
    if (rc == 0 && parcel->fd->number1 && !coro_cancelled(co))
        rc = -EBUSY;
    if (rc < 0)
        return coro_done(co, rc);
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_RECV_FD, (intptr_t)parcel, 0);
}

/* --- streams ------------------------------------------------------------------------------------
 *
 *     in:   |  taken  | in_from ... not yet taken ... in_to |  room  |      moved to the front when
 *     out:  | written | out_from .. not yet written . out_to |  room  |      more is to come
 *
 * A read takes from the buffer; where that is not enough, it fills it, and takes again. Only taking
 * moves in_from: a wait that ends without a result has changed nothing that the next read sees.
 */
enum {
    CORO__STREAM_SOME,
    CORO__STREAM_EXACT,
    CORO__STREAM_PEEK,
    CORO__STREAM_UNTIL,
    CORO__STREAM_LINE
};

/* Where the separator begins, of the first n bytes; or n. */
static inline size_t coro__stream_find(const coro_stream *s, size_t n)
{
    const char *begin = s->in + s->in_from, *at = begin + s->scanned;
    while (s->scanned + s->wanted <= n) {
        at = (const char *)memchr(at, s->sep[0], n - (size_t)(at - begin) - s->wanted + 1);
        if (!at)
            break;
        if (memcmp(at, s->sep, s->wanted) == 0)
            return (size_t)(at - begin);
        at++;
        if ((size_t)(at - begin) + s->wanted > n)
            break;
    }
    return n;
}

/* A line or another part, if it is there. */
static inline intptr_t coro__stream_take_part(coro_stream *s)
{
    size_t have = s->in_to - s->in_from, n, found;
    size_t limit = s->limit && s->limit < s->in_size ? s->limit : s->in_size;
    n = have < limit ? have : limit;
    found = coro__stream_find(s, n);
    s->slice->data = s->in + s->in_from;
    s->slice->len = n;
    if (found < n) {
        s->in_from += found + s->wanted;
        s->slice->len = found;
        if (s->reading == CORO__STREAM_LINE && found && s->slice->data[found - 1] == '\r')
            s->slice->len--;
        return 1;
    }
    s->scanned = n >= s->wanted ? n - s->wanted + 1 : 0;
    if (n == limit)
        return -EMSGSIZE;
    return s->failed ? s->failed : s->ended ? 0 : CORO__IO_BLOCKED;
}

/* Copy what is there, up to what is wanted. */
static inline void coro__stream_copy(coro_stream *s)
{
    size_t have = s->in_to - s->in_from, n = s->wanted - s->moved;
    n = n < have ? n : have;
    if (n)
        memcpy(s->to + s->moved, s->in + s->in_from, n);
    s->in_from += n;
    s->moved += n;
}

/* The result of a read, from what is in the buffer; or CORO__IO_BLOCKED. An exact read that fits
 * into the buffer takes all or, before the end, nothing. */
static inline intptr_t coro__stream_take(coro_stream *s)
{
    size_t have = s->in_to - s->in_from;
    bool over = s->ended || s->failed;
    if (s->reading >= CORO__STREAM_UNTIL)
        return coro__stream_take_part(s);
    if (s->reading == CORO__STREAM_PEEK) {
        s->slice->data = s->in + s->in_from;
        s->slice->len = have;
        if (have >= s->wanted)
            return 1;
        return s->wanted > s->in_size ? -EMSGSIZE
                                      : s->failed ? s->failed : s->ended ? 0 : CORO__IO_BLOCKED;
    }
    if (s->reading == CORO__STREAM_SOME || have >= s->wanted || s->wanted > s->in_size ||
        (s->ended && !s->failed))
        coro__stream_copy(s);
    if (s->moved == s->wanted || (s->moved && s->reading == CORO__STREAM_SOME))
        return (intptr_t)s->moved;
    if (!over)
        return CORO__IO_BLOCKED;
    return s->failed ? s->failed : (intptr_t)s->moved;
}

/* Bytes that are gone by are dropped, if there is no room behind, or that costs little. */
static inline void coro__stream_pack(char *buffer, size_t *from, size_t *to, size_t size)
{
    size_t have = *to - *from;
    if (!*from || (have > *from && *to < size))
        return;
    if (have)
        memmove(buffer, buffer + *from, have);
    *from = 0;
    *to = have;
}

/* Memory that has run out comes back; all else is for good. */
static inline bool coro__for_good(intptr_t error)
{
    return error != CORO__IO_BLOCKED && error != -ENOMEM && error != -ENOBUFS;
}

/* Read more: into the buffer, or, what is no less than that, straight to where it goes. */
static inline intptr_t coro__stream_fill(coro_fd *h, coro_stream *s)
{
    size_t rest = s->wanted - s->moved;
    bool past = s->reading <= CORO__STREAM_EXACT && s->in_from == s->in_to && rest >= s->in_size &&
                (s->reading == CORO__STREAM_SOME || s->wanted > s->in_size);
    intptr_t n;
    if (past) {
        n = coro__attempt_read(h, s->to + s->moved, rest);
        s->moved += n > 0 ? (size_t)n : 0;
    } else {
        coro__stream_pack(s->in, &s->in_from, &s->in_to, s->in_size);
        n = coro__attempt_read(h, s->in + s->in_to, s->in_size - s->in_to);
        s->in_to += n > 0 ? (size_t)n : 0;
    }
    if (n == 0)
        s->ended = true;
    else if (n < 0 && coro__for_good(n))
        s->failed = (int)n;
    return n;
}

/* What has been written so far is to go out: the reader is not going to add to it. */
static inline void coro__stream_leave(coro_fd *h, coro_stream *s)
{
    if (s->out_from < s->out_to)
        s->behind = true;
    coro__stream_behind(h);
}

static inline intptr_t coro__attempt_stream_read(coro_fd *h, coro_stream *s)
{
    intptr_t n;
    for (int goes = 0;;) {
        n = coro__stream_take(s);
        if (n != CORO__IO_BLOCKED)
            break;
        if (!(h->flags & (CORO__FD_READY_IN | CORO__FD_ALWAYS)))
            break; /* drained: no need to ask */
        if (goes++ == 16 && !(h->flags & CORO__FD_ALWAYS)) {
            h->flags |= CORO__FD_AGAIN;
            return n;
        }
        n = coro__stream_fill(h, s);
        if (n < 0 && !s->failed)
            break;
    }
    if (n == CORO__IO_BLOCKED || s->ended || s->failed)
        coro__stream_leave(h, s);
    h->way[CORO_IN].moved = s->moved;
    return n;
}

/* Start a read whose parameters are in place. */
static inline coro_op coro__stream_read(coro_task *co, coro_stream *s, int reading)
{
    coro_fd *h = s->fd;
    coro_op op;
    intptr_t n;
    s->reading = (uint8_t)reading;
    s->scanned = s->moved = 0;
    n = coro__stream_take(s);
    h->way[CORO_IN].moved = s->moved;
    if (n != CORO__IO_BLOCKED ? s->ended || s->failed : !(h->flags & CORO__FD_READY_IN))
        coro__stream_leave(h, s);
    if (n != CORO__IO_BLOCKED)
        return coro_done(co, n);
    op = coro__fd_begin(co, h, CORO_IN, CORO__IO_STREAM_READ, (intptr_t)s, 0);
    h->way[CORO_IN].moved = s->moved;
    return op;
}

/* May this way be used? 0, or why not. */
static inline int coro__stream_check(const coro_stream *s, int way)
{
    if (!s->fd || s->fd->stream != s || !s->fd->number1)
        return -EBADF;
    return s->fd->doing[way] && s->fd->doing[way] != CORO__IO_STREAM_BEHIND ? -EBUSY : 0;
}

static inline coro_op coro__stream_read_part(coro_task *co, coro_stream *s, int reading,
                                             const char *sep, size_t n, coro_slice *slice)
{
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s) || coro_is_local(co, sep) || coro_is_local(co, slice))
        return coro_local();
    rc = coro__stream_check(s, CORO_IN);
    if (rc < 0 || !n)
        return coro_done(co, rc < 0 ? rc : -EINVAL);
    s->sep = sep;
    s->wanted = n;
    s->slice = slice;
    return coro__stream_read(co, s, reading);
}

CORO_API coro_op coro_stream_read_line(coro_task *co, coro_stream *s, coro_slice *line)
{
    return coro__stream_read_part(co, s, CORO__STREAM_LINE, "\n", 1, line);
}

CORO_API coro_op coro_stream_read_until(coro_task *co, coro_stream *s, const void *separator,
                                        size_t n, coro_slice *part)
{
    return coro__stream_read_part(co, s, CORO__STREAM_UNTIL, (const char *)separator, n, part);
}

CORO_API coro_op coro_stream_peek(coro_task *co, coro_stream *s, size_t n, coro_slice *seen)
{
    return coro__stream_read_part(co, s, CORO__STREAM_PEEK, NULL, n, seen);
}

static inline coro_op coro__stream_read_bytes(coro_task *co, coro_stream *s, int reading, void *to,
                                              size_t n)
{
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s) || coro_is_local(co, to))
        return coro_local();
    rc = coro__stream_check(s, CORO_IN);
    if (rc == 0 && !n && reading == CORO__STREAM_SOME)
        rc = -EINVAL;
    if (rc < 0)
        return coro_done(co, rc);
    s->to = (char *)to;
    s->wanted = n;
    return coro__stream_read(co, s, reading);
}

CORO_API coro_op coro_stream_read_exact(coro_task *co, coro_stream *s, void *to, size_t n)
{
    return coro__stream_read_bytes(co, s, CORO__STREAM_EXACT, to, n);
}

CORO_API coro_op coro_stream_read(coro_task *co, coro_stream *s, void *to, size_t n)
{
    return coro__stream_read_bytes(co, s, CORO__STREAM_SOME, to, n);
}

CORO_API size_t coro_stream_skip(coro_stream *s, size_t n)
{
    size_t have = s->in_to - s->in_from;
    n = n < have ? n : have;
    s->in_from += n;
    s->scanned = 0; /* of a read that another task waits in */
    return n;
}

/* --- streams: writing ------------------------------------------------------------------------- */

/* Copy n bytes into the buffer, if they fit. */
static inline bool coro__stream_put(coro_stream *s, const char *data, size_t n)
{
    if (s->out_size - (s->out_to - s->out_from) < n)
        return false;
    if (s->out_size - s->out_to < n) {
        memmove(s->out, s->out + s->out_from, s->out_to - s->out_from);
        s->out_to -= s->out_from;
        s->out_from = 0;
    }
    if (n)
        memcpy(s->out + s->out_to, data, n);
    s->out_to += n;
    return true;
}

/* A write of what is in the buffer, and of more behind it: bytes of that, or an error. */
static inline intptr_t coro__stream_send(coro_fd *h, coro_stream *s, const char *more, size_t n)
{
    struct iovec v[2];
    size_t have = s->out_to - s->out_from, sent;
    intptr_t rc;
    v[0].iov_base = s->out + s->out_from;
    v[0].iov_len = have;
    v[1].iov_base = (void *)(uintptr_t)more;
    v[1].iov_len = n;
    rc = !have ? coro__attempt_write(h, more, n)
         : n   ? coro__attempt_writev(h, v, 2)
               : coro__attempt_write(h, s->out + s->out_from, have);
    if (rc < 0) {
        if (coro__for_good(rc)) {
            s->broken = (int)rc;
            s->out_from = s->out_to = 0;
        }
        return rc;
    }
    sent = (size_t)rc < have ? (size_t)rc : have;
    s->out_from += sent;
    if (s->out_from == s->out_to)
        s->out_from = s->out_to = 0;
    return rc - (intptr_t)sent;
}

/* A write, or, of no length, a flush. A write that fits into the buffer waits until it does: all or
 * nothing. A longer one goes out together with the buffer. */
static inline intptr_t coro__attempt_stream_write(coro_fd *h, coro_stream *s, const char *data)
{
    coro_way *w = &h->way[CORO_OUT];
    bool write = h->doing[CORO_OUT] == CORO__IO_STREAM_WRITE && w->length;
    for (int goes = 0; goes < 16 || !write || (h->flags & CORO__FD_ALWAYS); goes++) {
        size_t rest = write ? w->length - w->moved : 0;
        intptr_t n;
        if (s->out_from == s->out_to)
            s->behind = false;
        if (s->broken)
            return s->broken;
        if (write && coro__stream_put(s, data + w->moved, rest)) {
            w->moved = w->length;
            return (intptr_t)w->length;
        }
        if (!write && s->out_from == s->out_to)
            return 0;
        n = coro__stream_send(h, s, write ? data + w->moved : NULL,
                              write && w->length > s->out_size ? rest : 0);
        if (n < 0 && h->doing[CORO_OUT] == CORO__IO_STREAM_BEHIND && !coro__for_good(n) &&
            n != CORO__IO_BLOCKED)
            break; /* nobody is there to be told of it */
        if (n < 0)
            return n;
        w->moved += (size_t)n;
    }
    h->flags |= CORO__FD_AGAIN;
    return CORO__IO_BLOCKED;
}

/* Nobody is writing: go on with what a reader has left, as far as the kernel takes it. The reactor
 * does the rest. */
static inline void coro__stream_behind(coro_fd *h)
{
    coro_stream *s = h->stream;
    if (s->text) {
        coro_loop_free(s->loop, s->text, s->text_size);
        s->text = NULL;
    }
    if (!s->behind || h->doing[CORO_OUT])
        return;
    h->doing[CORO_OUT] = CORO__IO_STREAM_BEHIND;
    if ((h->flags & (CORO__FD_READY_OUT | CORO__FD_ALWAYS)) &&
        coro__attempt_noted(h, CORO_OUT, 0) != CORO__IO_BLOCKED) {
        h->doing[CORO_OUT] = CORO__IO_NONE;
        s->behind = false;
    }
}

/* Write what does not fit, or flush: all tests have been made. */
static inline coro_op coro__stream_begin_write(coro_task *co, coro_stream *s, const void *data,
                                               size_t n)
{
    s->fd->doing[CORO_OUT] = CORO__IO_NONE; /* what is behind goes along with it */
    return coro__fd_begin(co, s->fd, CORO_OUT, CORO__IO_STREAM_WRITE, (intptr_t)data, n);
}

/* 0, or why there can be no write. */
static inline int coro__stream_check_write(const coro_stream *s)
{
    int rc = coro__stream_check(s, CORO_OUT);
    return rc < 0 ? rc : s->broken;
}

CORO_API coro_op coro_stream_write(coro_task *co, coro_stream *s, const void *data, size_t n)
{
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s) || coro_is_local(co, data))
        return coro_local();
    rc = coro__stream_check_write(s);
    if (rc < 0)
        return coro_done(co, rc);
    if (!coro__stream_put(s, (const char *)data, n))
        return coro__stream_begin_write(co, s, data, n);
    s->fd->way[CORO_OUT].moved = n;
    return coro_done(co, (intptr_t)n);
}

CORO_API coro_op coro_stream_printf(coro_task *co, coro_stream *s, const char *format, ...)
{
    va_list args;
    size_t room;
    int n;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s))
        return coro_local();
    n = coro__stream_check_write(s);
    if (n < 0)
        return coro_done(co, n);
    coro__stream_pack(s->out, &s->out_from, &s->out_to, s->out_size);
    room = s->out_size - s->out_to;
    va_start(args, format);
    n = vsnprintf(room ? s->out + s->out_to : NULL, room, format, args);
    va_end(args);
    if (n < 0)
        return coro_done(co, -EINVAL);
    if ((size_t)n < room || !n) { /* a 0 comes behind it */
        s->fd->way[CORO_OUT].moved = (size_t)n;
        s->out_to += (size_t)n;
        return coro_done(co, n);
    }
    s->loop = coro_loop_of(co);
    s->text_size = (size_t)n + 1;
    s->text = (char *)coro_loop_alloc(s->loop, s->text_size);
    if (!s->text)
        return coro_done(co, -ENOMEM);
    va_start(args, format);
    (void)vsnprintf(s->text, s->text_size, format, args);
    va_end(args);
    return coro__stream_begin_write(co, s, s->text, (size_t)n); /* its end frees the text */
}

CORO_API coro_op coro_stream_flush(coro_task *co, coro_stream *s)
{
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s))
        return coro_local();
    rc = coro__stream_check_write(s);
    if (rc < 0 || s->out_from == s->out_to)
        return coro_done(co, rc);
    return coro__stream_begin_write(co, s, NULL, 0);
}

CORO_API coro_op coro_stream_sendfile(coro_task *co, coro_stream *s, const coro_file_part *part)
{
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s))
        return coro_local();
    rc = coro__stream_check_write(s);
    if (rc < 0)
        return coro_done(co, rc);
    s->fd->doing[CORO_OUT] = CORO__IO_NONE; /* what is behind goes first */
    return coro__fd_begin(co, s->fd, CORO_OUT, CORO__IO_STREAM_SENDFILE, (intptr_t)part,
                          part->size);
}

CORO_API int coro_stream_open(coro_stream *s, coro_fd *h, void *in, size_t in_size, void *out,
                              size_t out_size)
{
    coro_stream fresh = CORO__ZERO;
    if (!h->number1)
        return -EBADF;
    if (h->stream)
        return -EBUSY;
    fresh.fd = h;
    fresh.limit = s->limit;
    fresh.in = in ? (char *)in : (char *)s; /* any address that is none of null's */
    fresh.in_size = in_size;
    fresh.out = out ? (char *)out : (char *)s;
    fresh.out_size = out_size;
    *s = fresh;
    h->stream = s;
    return 0;
}

CORO_API int coro_stream_close(coro_stream *s)
{
    coro_fd *h = s->fd;
    coro_stream closed = CORO__ZERO;
    if (h && h->stream == s) {
        s->behind = false;
        for (int way = CORO_IN; way <= CORO_OUT; way++) {
            if (h->doing[way] >= CORO__IO_STREAM_READ)
                coro__fd_end_wait(h, way, -EBADF);
        }
        h->stream = NULL;
    }
    closed.limit = s->limit;
    *s = closed;
    return 0;
}

/* --- servers ------------------------------------------------------------------------------------
 *
 *     the task of coro_serve          group `accepting`: cancelled with the task
 *       waits for the acceptor          `- acceptor
 *       then gives the shield           scope `shield`: cancelled when the drain is over
 *       its deadline                      `- group `handlers`
 */
/* A connection's handler. Without memory for it, the connection is closed. */
static inline void coro__serve_one(coro_server *s)
{
    coro_fd closed = CORO__ZERO;
    s->accepted++;
    *(coro_fd *)(void *)((char *)s->fresh + s->at) = s->conn;
    if (coro_spawn_copy(&s->handlers, s->info, s->fresh, s->size)) {
        s->conn = closed;
        s->most = s->handlers.alive > s->most ? s->handlers.alive : s->most;
    } else {
        s->rejected++;
        (void)coro_close(&s->conn);
    }
}

/* No descriptor, or no memory, is left for a connection: it waits in the kernel. */
static inline bool coro__is_starved(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

CORO_LIBRARY(coro__acceptor)
{
    CORO_BEGIN();
    for (;;) {
        coro_group_limit(&my->server->handlers, my->server->limit);
        CORO_TRY(coro_group_wait_room(co, &my->server->handlers));
        CORO_AWAIT(my->rc, coro_accept(co, my->server->listener, &my->server->conn));
        if (my->rc == 0) {
            coro__serve_one(my->server);
            continue;
        }
        if (!coro__is_starved(my->rc))
            break;
        my->server->starved++;
        CORO_TRY(coro_sleep(co, CORO_MS(100)));
    }
    if (my->rc == -EBADF) { /* the listener is closed: wait until no handler is left */
        my->server->draining = true;
        coro_group_limit(&my->server->handlers, 1);
        CORO_TRY(coro_group_wait_room(co, &my->server->handlers));
    }
    CORO_END(my->rc);
}

CORO_LIBRARY(coro__serving)
{
    CORO_BEGIN();
    my->server = CORO__AROUND(coro_server, frame, my);
    if (!my->server->fresh)
        CORO_FAIL(-ENOMEM);
    coro_group_open(co, &my->accepting, CORO_ALL);
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    coro_group_open(co, &my->server->handlers, CORO_COLLECT);
    coro_start(&my->accepting, &my->acceptor, coro__acceptor, .server = my->server);
    CORO_IGNORE(coro_join(co, &my->acceptor));
    my->server->draining = true;
    (void)coro_scope_deadline(&my->shield, coro_time_after(coro_now(co), my->server->drain));
    CORO_IGNORE(coro_group_close(co, &my->server->handlers, 0));
    (void)coro_scope_close(co, &my->shield, 0);
    CORO_CLOSE(&my->accepting);
CORO_FINALLY:
    if (my->server->fresh)
        coro_loop_free(coro_loop_of(co), my->server->fresh, my->server->size);
    my->server->serving = false;
    CORO_END(0);
}

CORO_API void *coro__serve_open(coro_task *co, coro_server *s, coro_fd *listener,
                                const coro_info *info, size_t size, size_t at)
{
    if (s->serving) {
        coro_report(co, " calls coro_serve with a coro_server that serves already");
        abort();
    }
    s->listener = listener;
    s->info = info;
    s->size = size;
    s->at = at;
    s->serving = true;
    s->draining = false;
    s->fresh = coro_loop_alloc(coro_loop_of(co), size);
    return s->fresh;
}

CORO_API int coro_server_stop(coro_server *server)
{
    return server->serving ? coro_group_cancel(&server->frame.accepting) : 0;
}

/* --- jobs on threads -----------------------------------------------------------------------------
 *
 *     queued --taken by a thread--> running --fn has returned--> done --posted--> the task goes on
 *        \--cancelled: freed           \--cancelled, to be abandoned: the thread frees it
 *
 * A crew's lock is held while a job is posted to its loop, and taken before the task is completed:
 * nobody is in coro_post of a loop that is over. What may outlive the loop is malloc's.
 */
enum { CORO__JOB_QUEUED, CORO__JOB_RUNNING, CORO__JOB_DONE };
enum {
    CORO__JOB_ABANDON = 1, /* ends at once when it is cancelled; the memory is malloc's */
    CORO__JOB_SLOW = 2,    /* a lookup: at most half of the threads; the end does not wait for it */
    CORO__JOB_LEFT = 4     /* abandoned: the thread frees it */
};

struct coro_job {
    coro_post_node node; /* must be first */
    coro_job *next;      /* in the queue */
    coro_job **at;       /* what points to this one there */
    intptr_t (*fn)(coro_job *job, void *arg);
    void *arg;
    void (*deliver)(coro_job *job); /* on the loop's thread, before the task is; may be null */
    void **own;                     /* whose argument it is, to be told when it is left; or null */
    void (*drop)(void *arg);        /* on the thread, when it was left; may be null */
    struct coro__crew *crew;
    coro_loop *loop;
    coro_task *task;
    intptr_t result;
    size_t size;    /* of this memory */
    uint8_t state;  /* CORO__JOB_QUEUED ...; of the crew's lock, as all but `cancelled` */
    uint8_t flags;  /* CORO__JOB_ABANDON ... */
    int cancelled;  /* atomic */
};

typedef struct coro__worker {
    pthread_t id;
    struct coro__crew *crew;
    bool ended;
} coro__worker;

typedef struct coro__crew {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job has come, or the end */
    pthread_cond_t over; /* after the end: a thread is nearer to its own */
    coro_job *first, **last;
    unsigned queued;  /* jobs */
    unsigned slow;    /* running ones that are */
    unsigned lasting; /* running ones for which the end waits */
    unsigned busy;    /* threads with a job */
    unsigned idle;    /* threads that wait for one */
    unsigned started, alive; /* threads */
    unsigned awaited; /* jobs that a task waits for */
    bool stop;        /* the end */
    bool orphan;      /* the last thread frees all */
    coro_threads_options options;
    coro__worker *workers; /* behind this */
} coro__crew;

/* What a reactor has of it. */
struct coro__offload {
    coro_waitq waiting; /* tasks; the word: the job */
    coro__crew *crew;   /* the loop's own; null: none yet */
};

CORO_API bool coro_job_cancelled(const coro_job *job)
{
    return __atomic_load_n(&job->cancelled, __ATOMIC_ACQUIRE) != 0;
}

static inline void coro__job_free(coro_job *job)
{
    if (job->flags & CORO__JOB_ABANDON)
        free(job);
    else
        coro_loop_free(job->loop, job, job->size);
}

/* It will not run. */
static inline void coro__job_drop(coro_job *job)
{
    if (job->deliver)
        job->deliver(job);
    coro__job_free(job);
}

static inline void coro__crew_unlink(coro__crew *c, coro_job *job)
{
    *job->at = job->next;
    if (job->next)
        job->next->at = job->at;
    else
        c->last = job->at;
    c->queued--;
}

/* The next job, out of the queue; null: none that may run now. */
static inline coro_job *coro__crew_take(coro__crew *c)
{
    coro_job *job = c->first;
    while (job && (job->flags & CORO__JOB_SLOW) && c->slow >= (c->options.threads + 1) / 2)
        job = job->next;
    if (job)
        coro__crew_unlink(c, job);
    return job;
}

/* With the lock, which is let go meanwhile. */
static inline void coro__crew_work(coro__crew *c, coro_job *job)
{
    unsigned slow = (job->flags & CORO__JOB_SLOW) != 0;
    intptr_t result;
    job->state = CORO__JOB_RUNNING;
    c->busy++;
    c->slow += slow;
    c->lasting += !slow;
    pthread_mutex_unlock(&c->lock);
    result = job->fn(job, job->arg);
    pthread_mutex_lock(&c->lock);
    job->result = result;
    job->state = CORO__JOB_DONE; /* from here on it is not left any more */
    if ((job->flags & CORO__JOB_LEFT) && job->drop) {
        pthread_mutex_unlock(&c->lock);
        job->drop(job->arg);
        pthread_mutex_lock(&c->lock);
    }
    c->busy--;
    c->slow -= slow;
    c->lasting -= !slow;
    if (job->flags & CORO__JOB_LEFT)
        coro__job_free(job);
    else
        (void)coro_post(job->loop, &job->node);
    pthread_cond_signal(&c->over);
}

static inline void coro__crew_free(coro__crew *c)
{
    pthread_cond_destroy(&c->over);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void *coro__worker_main(void *arg)
{
    coro__worker *self = (coro__worker *)arg;
    coro__crew *c = self->crew;
    bool last;
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        coro_job *job = coro__crew_take(c);
        if (job) {
            coro__crew_work(c, job);
            continue;
        }
        c->idle++;
        pthread_cond_wait(&c->work, &c->lock);
        c->idle--;
    }
    self->ended = true;
    c->alive--;
    last = c->orphan && !c->alive;
    pthread_cond_signal(&c->over);
    pthread_mutex_unlock(&c->lock);
    if (last)
        coro__crew_free(c);
    return NULL;
}

/* A thread that no signal reaches: 0, or an error. */
static inline int coro__thread_start(pthread_t *id, size_t stack, void *(*body)(void *), void *arg)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc)
        return -rc;
    if (stack)
        rc = pthread_attr_setstacksize(&attr, stack);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!rc)
        rc = pthread_create(id, &attr, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return -rc;
}

/* A condition to be waited for until a coro__crew_time: made? */
static inline bool coro__timed_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    bool made;
    if (pthread_condattr_init(&attr))
        return false;
#if !defined __APPLE__
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif /* !defined __APPLE__ */
    made = pthread_cond_init(cond, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return made;
}

/* A lock, and one or two conditions, or none of them. */
static inline bool coro__locks_init(pthread_mutex_t *lock, pthread_cond_t *timed,
                                    pthread_cond_t *other)
{
    if (pthread_mutex_init(lock, NULL))
        return false;
    if (coro__timed_cond(timed)) {
        if (!other || pthread_cond_init(other, NULL) == 0)
            return true;
        pthread_cond_destroy(timed);
    }
    pthread_mutex_destroy(lock);
    return false;
}

static inline coro__crew *coro__crew_new(const coro_threads_options *options)
{
    unsigned n = options && options->threads ? options->threads : 4;
    coro__crew *c = (coro__crew *)calloc(1, sizeof *c + n * sizeof *c->workers);
    if (!c || !coro__locks_init(&c->lock, &c->over, &c->work)) {
        free(c);
        return NULL;
    }
    if (options)
        c->options = *options;
    c->options.threads = n;
    c->workers = (coro__worker *)(void *)(c + 1);
    c->last = &c->first;
    return c;
}

/* d from now, on the clock of coro__timed_cond. */
static inline struct timespec coro__crew_time(coro_time d)
{
    struct timespec t;
#if defined __APPLE__
    clock_gettime(CLOCK_REALTIME, &t);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif /* defined __APPLE__ */
    d = (d < CORO_S(1000000000) ? d : CORO_S(1000000000)) + t.tv_nsec;
    t.tv_sec += (time_t)(d / CORO_S(1));
    t.tv_nsec = (long)(d % CORO_S(1));
    return t;
}

/* No job is queued or awaited. 0, or -ETIMEDOUT: some that were abandoned go on. Lookups that go on
 * use only what is theirs. */
static inline int coro__crew_end(coro__crew *c)
{
    struct timespec end = coro__crew_time(c->options.limit > 0 ? c->options.limit : 0);
    int rc = 0;
    bool orphan;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->work);
    while (c->lasting && rc == 0) {
        if (c->options.limit)
            rc = pthread_cond_timedwait(&c->over, &c->lock, &end);
        else
            (void)pthread_cond_wait(&c->over, &c->lock);
    }
    rc = c->lasting ? -ETIMEDOUT : 0;
    while (c->alive > c->busy)
        (void)pthread_cond_wait(&c->over, &c->lock);
    for (unsigned i = 0; i < c->started; i++) {
        if (c->workers[i].ended)
            (void)pthread_join(c->workers[i].id, NULL); /* it has let go of the lock */
        else
            (void)pthread_detach(c->workers[i].id);
    }
    c->orphan = orphan = c->alive > 0;
    pthread_mutex_unlock(&c->lock);
    if (!orphan)
        coro__crew_free(c);
    return rc;
}

/* Put a job into the queue, and see that somebody is there for it: 0, or why not. */
static inline int coro__crew_submit(coro__crew *c, coro_job *job)
{
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    if (c->queued >= c->idle && c->started < c->options.threads) {
        coro__worker *w = &c->workers[c->started];
        w->crew = c;
        rc = coro__thread_start(&w->id, c->options.stack, coro__worker_main, w);
        c->started += rc == 0;
        c->alive += rc == 0;
        if (c->started)
            rc = 0; /* then it waits for another one */
    } else if (c->options.queue && c->queued >= c->idle + c->options.queue) {
        rc = -EAGAIN;
    }
    if (rc == 0) {
        job->state = CORO__JOB_QUEUED;
        job->next = NULL;
        job->at = c->last;
        *c->last = job;
        c->last = &job->next;
        c->queued++;
        c->awaited++;
        pthread_cond_signal(&c->work);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* On the loop's thread. */
static inline void coro__job_arrived(coro_loop *loop, coro_post_node *node)
{
    coro_job *job = (coro_job *)(void *)node;
    pthread_mutex_lock(&job->crew->lock); /* whoever posted it has let go of it */
    job->crew->awaited--;
    pthread_mutex_unlock(&job->crew->lock);
    if (job->deliver)
        job->deliver(job);
    coro_loop_release(loop);
    (void)coro_complete(job->task, job->result);
    coro__job_free(job);
}

static inline coro_abort coro__job_abort(coro_task *task, coro_waitq *queue)
{
    coro_job *job = (coro_job *)coro_word(task);
    coro__crew *c = job->crew;
    coro_abort how = CORO_ABORT_LATER; /* its result counts */
    bool queued;
    pthread_mutex_lock(&c->lock);
    queued = job->state == CORO__JOB_QUEUED;
    __atomic_store_n(&job->cancelled, 1, __ATOMIC_RELEASE);
    if (queued)
        coro__crew_unlink(c, job);
    else if (job->state == CORO__JOB_RUNNING && (job->flags & CORO__JOB_ABANDON))
        job->flags |= CORO__JOB_LEFT;
    if ((job->flags & CORO__JOB_LEFT) && job->own)
        *job->own = NULL;
    if (queued || (job->flags & CORO__JOB_LEFT)) {
        how = CORO_ABORT_DONE;
        c->awaited--;
    }
    pthread_mutex_unlock(&c->lock);
    if (queued)
        coro__job_drop(job);
    if (how == CORO_ABORT_DONE)
        coro_loop_release(coro_loop_of(task));
    return how;
}

static inline struct coro__offload *coro__offload_of(coro_loop *loop, int *rc)
{
    struct coro__offload fresh = CORO__ZERO;
    coro_reactor *r = coro__reactor_of(loop, rc);
    if (!r || r->offload)
        return r ? r->offload : NULL;
    r->offload = (struct coro__offload *)coro_loop_alloc(loop, sizeof fresh);
    if (r->offload)
        *r->offload = fresh;
    else
        *rc = -ENOMEM;
    return r->offload;
}

static inline void coro__offload_fini(coro_reactor *r)
{
    const coro_sink *sink = &r->loop->options.report;
    if (r->offload->crew && coro__crew_end(r->offload->crew) < 0 && sink->put)
        sink->put(sink->arg, CORO__T("coro: the loop has ended, abandoned jobs have not: they "
                                     "go on, on threads of their own\n"));
    coro_loop_free(r->loop, r->offload, sizeof *r->offload);
    r->offload = NULL;
}

/* A job for a crew, null: the loop's own; with room for its argument behind it. Null: see *rc. */
static inline coro_job *coro__job_new(coro_task *co, coro__crew *crew, int flags, size_t extra,
                                      int *rc)
{
    coro_loop *loop = coro_loop_of(co);
    struct coro__offload *o = coro__offload_of(loop, rc);
    size_t size = sizeof(coro_job) + extra;
    coro_job *job = NULL, fresh = CORO__ZERO;
    if (!o)
        return NULL;
    *rc = -ENOMEM;
    if (!crew && !o->crew)
        o->crew = coro__crew_new(NULL);
    if (crew || o->crew)
        job = (coro_job *)(flags & CORO__JOB_ABANDON ? malloc(size) : coro_loop_alloc(loop, size));
    if (!job)
        return NULL;
    fresh.node.run = coro__job_arrived;
    fresh.crew = crew ? crew : o->crew;
    fresh.loop = loop;
    fresh.task = co;
    fresh.size = size;
    fresh.flags = (uint8_t)flags;
    fresh.result = -ECANCELED;
    *job = fresh;
    job->arg = job + 1;
    return job;
}

static inline coro_op coro__job_start(coro_task *co, coro_job *job)
{
    static const coro_ops ops = {CORO__T("blocking call"), coro__job_abort, NULL};
    int rc = 0;
    struct coro__offload *o = coro__offload_of(coro_loop_of(co), &rc);
    coro_loop_hold(coro_loop_of(co));
    rc = coro__crew_submit(job->crew, job);
    if (rc < 0) {
        coro_loop_release(coro_loop_of(co));
        coro__job_drop(job);
        return coro_done(co, rc);
    }
    return coro_suspend(co, &o->waiting, &ops, (intptr_t)job);
}

static inline coro_op coro__blocking(coro_task *co, coro__crew *crew,
                                     intptr_t (*fn)(coro_job *job, void *arg), void *arg)
{
    int rc = 0;
    coro_job *job;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, arg))
        return coro_local();
    if (!fn)
        return coro_done(co, -EINVAL);
    job = coro__job_new(co, crew, 0, 0, &rc);
    if (!job)
        return coro_done(co, rc);
    job->fn = fn;
    job->arg = arg;
    return coro__job_start(co, job);
}

CORO_API coro_op coro_blocking(coro_task *co, intptr_t (*fn)(coro_job *job, void *arg), void *arg)
{
    return coro__blocking(co, NULL, fn, arg);
}

CORO_API coro_op coro_blocking_on(coro_task *co, coro_threads *threads,
                                  intptr_t (*fn)(coro_job *job, void *arg), void *arg)
{
    if (!threads->crew && !coro_cancelled(co))
        return coro_done(co, -EINVAL);
    return coro__blocking(co, threads->crew, fn, arg);
}

CORO_API coro_op coro_blocking_abandon(coro_task *co, coro_threads *threads,
                                       intptr_t (*fn)(coro_job *job, void *arg), void **arg,
                                       void (*drop)(void *arg))
{
    int rc = 0;
    coro_job *job;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, arg) || coro_is_local(co, *arg))
        return coro_local();
    if (!fn || (threads && !threads->crew))
        return coro_done(co, -EINVAL);
    job = coro__job_new(co, threads ? threads->crew : NULL, CORO__JOB_ABANDON, 0, &rc);
    if (!job)
        return coro_done(co, rc);
    job->fn = fn;
    job->arg = *arg;
    job->own = arg;
    job->drop = drop;
    return coro__job_start(co, job);
}

CORO_API int coro_threads_init(coro_threads *threads, const coro_threads_options *options)
{
    if (threads->crew)
        return -EBUSY;
    threads->crew = coro__crew_new(options);
    return threads->crew ? 0 : -ENOMEM;
}

CORO_API int coro_threads_fini(coro_threads *threads)
{
    coro__crew *c = threads->crew;
    unsigned awaited;
    if (!c)
        return 0;
    pthread_mutex_lock(&c->lock);
    awaited = c->awaited;
    pthread_mutex_unlock(&c->lock);
    if (awaited)
        return -EBUSY;
    threads->crew = NULL;
    return coro__crew_end(c);
}

CORO_API int coro_threads_for(coro_loop *loop, const coro_threads_options *options)
{
    int rc = 0;
    struct coro__offload *o = coro__offload_of(loop, &rc);
    if (!o)
        return rc;
    if (o->crew)
        return -EBUSY;
    o->crew = coro__crew_new(options);
    return o->crew ? 0 : -ENOMEM;
}

/* --- names ------------------------------------------------------------------------------------ */

/* A lookup has copies of all that it needs: it may be abandoned. */
struct coro__lookup {
    coro_address *to; /* the caller's */
    int max, count;
    char host[256], port[32];
    coro_address found[1]; /* max of them */
};

static inline int coro__resolve_error(int e)
{
    switch (e) {
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_FAMILY:
        return -EAFNOSUPPORT;
    case EAI_SERVICE:
    case EAI_BADFLAGS:
    case EAI_SOCKTYPE:
        return -EINVAL;
    case EAI_SYSTEM:
        return errno ? -errno : -EIO;
    case EAI_FAIL:
        return -EIO;
    default: /* EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY */
        return -ENOENT;
    }
}

/* How many, copied; an error; or 1 - INT_MAX: not numeric, with AI_NUMERICHOST. */
static inline int coro__lookup_now(const char *host, const char *port, int flags, coro_address *to,
                                   int max)
{
    struct addrinfo hints, *all = NULL;
    int e, n = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    e = getaddrinfo(host, *port ? port : NULL, &hints, &all);
    if (e)
        return e == EAI_NONAME && flags ? 1 - INT_MAX : coro__resolve_error(e);
    for (struct addrinfo *a = all; a && n < max; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        memset(&to[n], 0, sizeof to[n]);
        memcpy(&to[n].any, a->ai_addr, a->ai_addrlen);
        to[n++].length = a->ai_addrlen;
    }
    freeaddrinfo(all);
    return n ? n : -ENOENT;
}

static inline intptr_t coro__lookup_job(coro_job *job, void *arg)
{
    struct coro__lookup *l = (struct coro__lookup *)arg;
    l->count = coro__lookup_now(l->host, l->port, 0, l->found, l->max);
    return l->count;
}

static inline void coro__lookup_deliver(coro_job *job)
{
    struct coro__lookup *l = (struct coro__lookup *)job->arg;
    if (l->count > 0)
        memcpy(l->to, l->found, (size_t)l->count * sizeof *l->found);
}

CORO_API coro_op coro_resolve(coro_task *co, const char *host, const char *port,
                              coro_address *addresses, int max)
{
    size_t host_length = host ? strlen(host) : 0, port_length = port ? strlen(port) : 0;
    struct coro__lookup *l;
    coro_job *job;
    int rc = 0;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, addresses))
        return coro_local();
    if (!host_length || host_length >= sizeof l->host || port_length >= sizeof l->port ||
        max <= 0 || (port_length && strspn(port, "0123456789") == port_length &&
                     coro__port_of(port) < 0))
        return coro_done(co, -EINVAL);
    max = max < 64 ? max : 64;
    rc = coro__lookup_now(host, port_length ? port : "", AI_NUMERICHOST | AI_NUMERICSERV,
                          addresses, max);
    if (rc != 1 - INT_MAX)
        return coro_done(co, rc);
    job = coro__job_new(co, NULL, CORO__JOB_ABANDON | CORO__JOB_SLOW,
                        sizeof *l + (size_t)(max - 1) * sizeof *l->found, &rc);
    if (!job)
        return coro_done(co, rc);
    job->fn = coro__lookup_job;
    job->deliver = coro__lookup_deliver;
    l = (struct coro__lookup *)job->arg;
    l->to = addresses;
    l->max = max;
    l->count = 0; /* of a job that never runs, too */
    memcpy(l->host, host, host_length + 1);
    memcpy(l->port, port_length ? port : "", port_length + 1);
    return coro__job_start(co, job);
}

/* --- dialling --------------------------------------------------------------------------------- */

CORO_LIBRARY(coro__dial_one)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, my->h, my->to));
    CORO_END(0);
}

CORO_API struct coro__dialling *coro__dial_frame(coro_dial *dial, coro_fd *conn,
                                                 const char *address)
{
    dial->conn = conn;
    dial->address = address;
    return &dial->frame;
}

/* "host:port" in two, brackets off: 0, or -EINVAL. */
static inline int coro__dial_split(struct coro__dialling *my)
{
    const char *address = my->dial->address, *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    int bracket = n > 2 && address[0] == '[' && address[n - 1] == ']';
    if (!n || coro__port_of(colon + 1) < 0 || n >= sizeof my->host || (*address == '[' && !bracket))
        return -EINVAL;
    if (memchr(address, bracket ? ']' : ':', n - (size_t)bracket))
        return -EINVAL; /* an IPv6 address without brackets */
    memcpy(my->host, address + bracket, n - (size_t)(2 * bracket));
    memcpy(my->port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

/* Families in turn, beginning with the first one's; else in the resolver's order. */
static inline void coro__dial_interleave(coro_address *a, int n)
{
    for (int i = 1; i < n; i++) {
        int from = i;
        coro_address next;
        while (from < n && a[from].any.sa_family == a[i - 1].any.sa_family)
            from++;
        if (from == n)
            return; /* one family is left */
        next = a[from];
        memmove(&a[i + 1], &a[i], (size_t)(from - i) * sizeof *a);
        a[i] = next;
    }
}

/* Why it failed: the first error in time; that of a family which this machine does not have, only
 * if there is no other. */
static inline int coro__dial_error(const struct coro__dialling *my, int verdict)
{
    for (int i = 0; i < my->count && verdict == -EAFNOSUPPORT; i++) {
        int e = coro_task_result(&my->tasks[i]);
        if (e < 0 && e != -EAFNOSUPPORT && e != -ECANCELED)
            verdict = e;
    }
    return verdict;
}

/* Close all attempts, but the one that won: it becomes the connection. */
static inline int coro__dial_settle(struct coro__dialling *my, int verdict)
{
    int winner = verdict >= 0 ? my->group.winner : -1;
    for (int i = 0; i < my->count; i++) {
        if (i == winner)
            verdict = coro__fd_open(my->dial->conn, coro_fd_release(&my->fds[i]), CORO__FD_SOCKET);
        else
            (void)coro_close(&my->fds[i]);
    }
    return winner < 0 ? coro__dial_error(my, verdict) : verdict;
}

CORO_LIBRARY(coro__dialling)
{
    CORO_BEGIN();
    my->dial = (coro_dial *)(void *)my;
    if (my->dial->conn->number1)
        CORO_FAIL(-EBUSY);
    if (coro_address_parse(&my->to[0], my->dial->address) == 0 && my->dial->address[0] != ':') {
        my->count = 1;
    } else {
        CORO_TRY(coro__dial_split(my));
        CORO_TRY(my->count, (my->dial->resolve ? my->dial->resolve : coro_resolve)(
                                co, my->host, my->port, my->to, CORO_DIAL_MOST));
        if (!my->count)
            CORO_FAIL(-ENOENT);
        coro__dial_interleave(my->to, my->count);
    }
    if (my->count == 1) {
        CORO_TRY(coro_connect_to(co, my->dial->conn, &my->to[0]));
        CORO_LEAVE();
    }
    coro_group_open(co, &my->group, CORO_RACE);
    for (my->i = 0; my->i < my->count; my->i++) {
        coro_start(&my->group, &my->tasks[my->i], coro__dial_one, .h = &my->fds[my->i],
                   .to = &my->to[my->i]);
        if (my->i + 1 == my->count)
            break;
        CORO_AWAIT(my->rc,
                   coro_within(co, my->dial->stagger ? my->dial->stagger : CORO_MS(250),
                               coro_group_next(co, &my->group, &my->ended)));
        if (my->rc < 0 && my->rc != -ETIMEDOUT)
            break; /* somebody has won, or we are cancelled */
    }
    CORO_AWAIT(my->rc, coro_group_close(co, &my->group, 0));
    if (my->rc < 0 && coro_cancelled(co))
        my->rc = -ECANCELED; /* not all have failed */
    CORO_TRY(coro__dial_settle(my, my->rc));
    CORO_END(0);
}

/* --- mailboxes -----------------------------------------------------------------------------------
 * Whoever brings the two sides together, on whatever thread, settles the other's wait: the item is
 * copied, and the result decided, under the lock; the loop of the other is told by a post. An abort
 * that comes later finds it decided, and waits for the post.
 */
struct coro__mail {
    coro_post_node node; /* must be first */
    coro_waitq queue;    /* the task */
    struct coro__mail *next, *prev; /* who waits for the same, a ring */
    coro_mailbox *box;
    coro_loop *loop;
    void *item;
    int result;
    bool putting, decided;
};

static inline void coro__mail_append(struct coro__mail **ring, struct coro__mail *m)
{
    if (!*ring) {
        *ring = m->next = m->prev = m;
        return;
    }
    m->next = *ring;
    m->prev = (*ring)->prev;
    m->prev->next = m->next->prev = m;
}

static inline void coro__mail_remove(struct coro__mail **ring, struct coro__mail *m)
{
    if (*ring == m)
        *ring = m->next == m ? NULL : m->next;
    m->next->prev = m->prev;
    m->prev->next = m->next;
}

/* The first one's wait is over. The lock is held. */
static inline void coro__mail_decide(struct coro__mail **ring, int result)
{
    struct coro__mail *m = *ring;
    coro__mail_remove(ring, m);
    m->result = result;
    m->decided = true;
    (void)coro_post(m->loop, &m->node);
}

static inline char *coro__mail_slot(coro_mailbox *box, coro_count i)
{
    return (char *)box + box->at + ((box->first + i) % box->capacity) * box->size;
}

/* With the lock: as try_put. */
static inline int coro__mail_give(coro_mailbox *box, const void *item)
{
    if (box->closed)
        return -EPIPE;
    if (box->getting) {
        memcpy(box->getting->item, item, box->size);
        coro__mail_decide(&box->getting, 1);
        return 0;
    }
    if (box->depth == box->capacity)
        return -EAGAIN;
    memcpy(coro__mail_slot(box, box->depth++), item, box->size);
    return 0;
}

/* With the lock: as try_get. */
static inline int coro__mail_take(coro_mailbox *box, void *item)
{
    if (!box->depth)
        return box->closed ? 0 : -EAGAIN;
    memcpy(item, coro__mail_slot(box, 0), box->size);
    box->first = (box->first + 1) % box->capacity;
    box->depth--;
    if (box->putting) {
        memcpy(coro__mail_slot(box, box->depth++), box->putting->item, box->size);
        coro__mail_decide(&box->putting, 0);
    }
    return 1;
}

static inline void coro__mail_arrived(coro_loop *loop, coro_post_node *node)
{
    struct coro__mail *m = (struct coro__mail *)(void *)node;
    pthread_mutex_lock(&m->box->lock); /* whoever posted it has let go of it */
    pthread_mutex_unlock(&m->box->lock);
    coro_loop_release(loop);
    (void)coro_complete(m->queue.head, m->result);
    coro_loop_free(loop, m, sizeof *m);
}

static inline coro_abort coro__mail_abort(coro_task *task, coro_waitq *queue)
{
    struct coro__mail *m = CORO__AROUND(struct coro__mail, queue, queue);
    bool decided;
    pthread_mutex_lock(&m->box->lock);
    decided = m->decided;
    if (!decided)
        coro__mail_remove(m->putting ? &m->box->putting : &m->box->getting, m);
    pthread_mutex_unlock(&m->box->lock);
    if (decided)
        return CORO_ABORT_LATER;
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

static inline void coro__mail_gone(coro_task *task, coro_waitq *queue)
{
    coro_loop_free(coro_loop_of(task), CORO__AROUND(struct coro__mail, queue, queue),
                   sizeof(struct coro__mail));
}

/* Do it now, or wait until somebody has done it. */
static inline coro_op coro__mail_begin(coro_task *co, coro_mailbox *box, void *item, bool putting)
{
    static const coro_ops ops[2] = {
        {CORO__T("mailbox get"), coro__mail_abort, coro__mail_gone},
        {CORO__T("mailbox put"), coro__mail_abort, coro__mail_gone}};
    struct coro__mail *m = NULL, fresh = CORO__ZERO;
    coro_loop *loop = coro_loop_of(co);
    int rc = 0;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, item))
        return coro_local();
    if (!box->ready)
        return coro_done(co, -EINVAL);
    pthread_mutex_lock(&box->lock);
    rc = putting ? coro__mail_give(box, item) : coro__mail_take(box, item);
    if (rc == -EAGAIN && coro__reactor_of(loop, &rc)) { /* later its driver must not change */
        m = (struct coro__mail *)coro_loop_alloc(loop, sizeof *m);
        rc = m ? 0 : -ENOMEM;
    }
    if (m) {
        fresh.node.run = coro__mail_arrived;
        fresh.box = box;
        fresh.loop = loop;
        fresh.item = item;
        fresh.putting = putting;
        *m = fresh;
        coro__mail_append(putting ? &box->putting : &box->getting, m);
    }
    pthread_mutex_unlock(&box->lock);
    if (!m)
        return coro_done(co, rc);
    coro_loop_hold(loop);
    return coro_suspend(co, &m->queue, &ops[putting], 0);
}

CORO_API int coro__mailbox_init(coro_mailbox *box, size_t at, size_t size, size_t capacity)
{
    coro_mailbox fresh = CORO__ZERO;
    int rc;
    if (box->ready)
        return -EBUSY;
    fresh.at = at;
    fresh.size = size;
    fresh.capacity = (coro_count)capacity;
    *box = fresh;
    rc = pthread_mutex_init(&box->lock, NULL);
    box->ready = rc == 0;
    return -rc;
}

CORO_API coro_op coro__mailbox_put(coro_task *co, coro_mailbox *box, const void *item)
{
    return coro__mail_begin(co, box, (void *)(uintptr_t)item, true);
}

CORO_API coro_op coro__mailbox_get(coro_task *co, coro_mailbox *box, void *item)
{
    return coro__mail_begin(co, box, item, false);
}

CORO_API int coro__mailbox_try_put(coro_mailbox *box, const void *item)
{
    int rc;
    pthread_mutex_lock(&box->lock);
    rc = coro__mail_give(box, item);
    pthread_mutex_unlock(&box->lock);
    return rc;
}

CORO_API int coro__mailbox_try_get(coro_mailbox *box, void *item)
{
    int rc;
    pthread_mutex_lock(&box->lock);
    rc = coro__mail_take(box, item);
    pthread_mutex_unlock(&box->lock);
    return rc;
}

CORO_API void coro__mailbox_close(coro_mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    while (box->putting)
        coro__mail_decide(&box->putting, -EPIPE);
    while (box->getting)
        coro__mail_decide(&box->getting, 0);
    pthread_mutex_unlock(&box->lock);
}

CORO_API coro_count coro__mailbox_depth(coro_mailbox *box)
{
    coro_count depth;
    pthread_mutex_lock(&box->lock);
    depth = box->depth;
    pthread_mutex_unlock(&box->lock);
    return depth;
}

CORO_API int coro__mailbox_fini(coro_mailbox *box)
{
    bool used;
    if (!box->ready)
        return 0;
    pthread_mutex_lock(&box->lock);
    used = box->putting || box->getting;
    pthread_mutex_unlock(&box->lock);
    if (used)
        return -EBUSY;
    box->ready = false;
    return -pthread_mutex_destroy(&box->lock);
}

/* --- calls from other threads -------------------------------------------------------------------
 *
 *     posted --the post--> a task runs --its end--> ended: the caller goes on
 *        \--over, or late: ended       \--late: cancelled by a second post
 *
 * A visit is on its caller's stack: it ends with none of its posts under way. A loop that is over
 * runs no posts.
 */
struct coro__visit {
    coro_post_node enter; /* must be first */
    coro_post_node leave; /* cancels it */
    coro_note note;       /* of the task's end */
    coro_portal *portal;
    struct coro__visit *next;
    const coro_info *info;
    const void *frame;
    size_t size;
    coro_task *task; /* while it runs */
    int result;
    bool ended, late, left; /* late: its time is over; left: and the task knows */
};

static inline void coro__visit_ended(coro_note *note, coro_task *task)
{
    struct coro__visit *v = CORO__AROUND(struct coro__visit, note, note);
    coro_portal *p = v->portal;
    pthread_mutex_lock(&p->lock);
    v->task = NULL;
    v->result = coro_task_result(task);
    if (coro_task_status(task) == CORO_CANCELLED)
        v->result = v->late ? -ETIMEDOUT : -ESHUTDOWN;
    v->ended = true;
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
}

static inline void coro__visit_enter(coro_loop *loop, coro_post_node *node)
{
    struct coro__visit *v = (struct coro__visit *)(void *)node;
    coro_portal *p = v->portal;
    pthread_mutex_lock(&p->lock);
    v->result = v->late ? -ETIMEDOUT : -ENOMEM;
    if (!v->late)
        v->task = coro_spawn_copy(&loop->root, v->info, v->frame, v->size);
    v->note.ended = coro__visit_ended;
    if (v->task)
        coro_note_add(v->task, &v->note);
    v->ended = !v->task;
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
}

static inline void coro__visit_leave(coro_loop *loop, coro_post_node *node)
{
    struct coro__visit *v = CORO__AROUND(struct coro__visit, leave, node);
    coro_portal *p = v->portal;
    pthread_mutex_lock(&p->lock);
    v->left = true;
    if (v->task)
        (void)coro_task_cancel(v->task);
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
}

CORO_API int coro__portal_call(coro_portal *p, coro_time limit, const coro_info *info,
                               const void *frame, size_t size)
{
    struct coro__visit v = CORO__ZERO, **at = &p->visits;
    struct timespec end = coro__crew_time(limit > 0 ? limit : 0);
    if (!p->ready)
        return -EINVAL;
    v.enter.run = coro__visit_enter;
    v.leave.run = coro__visit_leave;
    v.portal = p;
    v.info = info;
    v.frame = frame;
    v.size = size;
    pthread_mutex_lock(&p->lock);
    v.ended = !p->loop;
    v.result = -ESHUTDOWN;
    if (p->loop && pthread_equal(p->thread, pthread_self())) {
        v.ended = true;
        v.result = -EDEADLK;
    }
    v.next = *at;
    *at = &v;
    if (!v.ended)
        (void)coro_post(p->loop, &v.enter);
    while (!v.ended || (v.late && !v.left)) {
        if (v.late || limit == CORO_FOREVER) {
            (void)pthread_cond_wait(&p->news, &p->lock);
        } else if (pthread_cond_timedwait(&p->news, &p->lock, &end) && !v.ended) {
            v.late = true;
            (void)coro_post(p->loop, &v.leave);
        }
    }
    while (*at != &v)
        at = &(*at)->next;
    *at = v.next;
    pthread_mutex_unlock(&p->lock);
    return v.result;
}

CORO_API int coro_portal_open(coro_task *co, coro_portal *p)
{
    coro_portal fresh = CORO__ZERO;
    int rc = 0;
    coro_reactor *r = coro__reactor_of(coro_loop_of(co), &rc); /* now its driver stays */
    if (!r || p->ready)
        return r ? -EBUSY : rc;
    *p = fresh;
    if (!coro__locks_init(&p->lock, &p->news, NULL))
        return -ENOMEM;
    p->thread = pthread_self();
    p->loop = r->loop;
    p->ready = true;
    p->next = r->portals;
    r->portals = p;
    coro_loop_hold(r->loop);
    return 0;
}

static inline void coro__portals_fini(coro_reactor *r)
{
    for (coro_portal *p = r->portals, *next; p; p = next) {
        pthread_mutex_lock(&p->lock);
        next = p->next;
        p->loop = NULL;
        for (struct coro__visit *v = p->visits; v; v = v->next) {
            if (!v->ended)
                v->result = -ESHUTDOWN;
            v->ended = v->left = true;
        }
        pthread_cond_broadcast(&p->news);
        pthread_mutex_unlock(&p->lock);
        coro_loop_release(r->loop);
    }
}

CORO_API int coro_portal_fini(coro_portal *p)
{
    bool used;
    if (!p->ready)
        return 0;
    pthread_mutex_lock(&p->lock);
    used = p->loop || p->visits;
    pthread_mutex_unlock(&p->lock);
    if (used)
        return -EBUSY;
    p->ready = false;
    (void)pthread_cond_destroy(&p->news);
    return -pthread_mutex_destroy(&p->lock);
}

/* --- a loop on each thread -------------------------------------------------------------------- */

struct coro__lane {
    coro_post_node node;       /* cancels it */
    struct coro__lanes *lanes; /* all of them */
    coro_loop *loop;           /* running; null: not, or no longer */
    coro_note note;            /* of the task's end */
    int result;                /* of the task */
    pthread_t id;
};

struct coro__lanes {
    pthread_mutex_t lock;
    int n, error; /* error: the first */
    const coro_info *info;
    const void *frame;
    size_t size;
    struct coro__lane *lane;
};

static inline void coro__lane_cancel(coro_loop *loop, coro_post_node *node)
{
    (void)coro_group_cancel(&loop->root);
}

/* The main task is over: so are those beside it. */
static inline void coro__lane_ended(coro_note *note, coro_task *task)
{
    CORO__AROUND(struct coro__lane, note, note)->result = coro_task_result(task);
    (void)coro_group_cancel(&coro_loop_of(task)->root);
}

/* The first failure cancels the others. */
static inline void coro__lanes_failed(struct coro__lanes *all, int error)
{
    pthread_mutex_lock(&all->lock);
    if (!all->error) {
        all->error = error;
        for (int i = 0; i < all->n; i++)
            if (all->lane[i].loop)
                (void)coro_post(all->lane[i].loop, &all->lane[i].node);
    }
    pthread_mutex_unlock(&all->lock);
}

/* Others may post to the loop while it runs. */
static inline void coro__lane_open(struct coro__lane *lane, coro_loop *loop)
{
    bool late;
    pthread_mutex_lock(&lane->lanes->lock);
    lane->loop = loop;
    late = loop && lane->lanes->error;
    pthread_mutex_unlock(&lane->lanes->lock);
    if (late)
        (void)coro_group_cancel(&loop->root);
}

/* Run the task on this thread: its result. The first lane hears signals as coro_run does. */
static inline int coro__lane_run(struct coro__lane *lane)
{
    struct coro__lanes *all = lane->lanes;
    coro__run_watch watch;
    coro_around *around = coro__run_watched(&watch, NULL);
    coro_loop loop;
    coro_task *task = NULL;
    int rc = coro_loop_init(&loop, NULL);
    if (rc < 0)
        return rc;
    rc = -ENOMEM;
    if (coro__reactor_of(&loop, &rc)) /* later its driver must not change */
        task = coro_spawn_copy(&loop.root, all->info, all->frame, all->size);
    if (task) {
        lane->note.ended = coro__lane_ended;
        coro_note_add(task, &lane->note);
        if (lane == all->lane)
            around->begin(around, task);
        coro__lane_open(lane, &loop);
        rc = coro_loop_run(&loop);
        coro__lane_open(lane, NULL);
        rc = rc < 0 ? rc : lane->result;
        if (lane == all->lane)
            rc = around->end(around, rc);
    }
    (void)coro_loop_fini(&loop);
    return rc;
}

static void *coro__lane_main(void *arg)
{
    struct coro__lane *lane = (struct coro__lane *)arg;
    int rc = coro__lane_run(lane);
    if (rc < 0)
        coro__lanes_failed(lane->lanes, rc);
    return NULL;
}

/* The first lane is the calling thread's. */
CORO_API int coro__run_threads(int n, const coro_info *info, const void *frame, size_t size)
{
    struct coro__lanes all = CORO__ZERO;
    int started = 1, rc = -pthread_mutex_init(&all.lock, NULL);
    if (rc < 0)
        return rc;
    if (n <= 0)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    n = n > 0 ? n : 1;
    all.lane = (struct coro__lane *)calloc((size_t)n, sizeof *all.lane);
    if (!all.lane) {
        pthread_mutex_destroy(&all.lock);
        return -ENOMEM;
    }
    all.n = n;
    all.info = info;
    all.frame = frame;
    all.size = size;
    for (int i = 0; i < n; i++) {
        all.lane[i].lanes = &all;
        all.lane[i].node.run = coro__lane_cancel;
    }
    while (rc == 0 && started < n) {
        struct coro__lane *lane = &all.lane[started];
        rc = coro__thread_start(&lane->id, 0, coro__lane_main, lane);
        started += rc == 0;
    }
    if (rc < 0)
        coro__lanes_failed(&all, rc);
    else
        (void)coro__lane_main(&all.lane[0]);
    while (--started > 0)
        (void)pthread_join(all.lane[started].id, NULL);
    pthread_mutex_destroy(&all.lock);
    free(all.lane);
    return all.error;
}

CORO_API int coro_listen_shared(coro_fd *h, const char *address, int backlog)
{
    return coro__bind(h, address, SOCK_STREAM, backlog, true);
}

/* --- files ------------------------------------------------------------------------------------ */

enum { CORO__FILE_OPEN, CORO__FILE_READ, CORO__FILE_WRITE, CORO__FILE_STAT, CORO__FILE_SYNC };

struct coro__file_job {
    coro_file *file;
    int doing; /* CORO__FILE_... */
    int number, flags;
    mode_t mode;
    const char *path;
    char *data;
    struct stat *st;
    size_t n;
    off_t offset;
};

/* All n bytes, or up to the end: how many. */
static inline intptr_t coro__file_move(struct coro__file_job *f)
{
    size_t moved = 0;
    while (moved < f->n) {
        off_t at = f->offset + (off_t)moved;
        char *data = f->data + moved;
        ssize_t n = f->doing == CORO__FILE_READ ? pread(f->number, data, f->n - moved, at)
                                                : pwrite(f->number, data, f->n - moved, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return moved && f->doing == CORO__FILE_READ ? (intptr_t)moved : -errno;
        if (n == 0)
            break;
        moved += (size_t)n;
    }
    return (intptr_t)moved;
}

static inline int coro__open(const char *path, int flags, mode_t mode)
{
    int number;
    CORO__UNINTERRUPTED(number, open(path, flags | O_CLOEXEC, mode));
    return number;
}

static inline intptr_t coro__file_work(coro_job *job, void *arg)
{
    struct coro__file_job *f = (struct coro__file_job *)arg;
    int rc = 0;
    switch (f->doing) {
    case CORO__FILE_OPEN:
        rc = coro__open(f->path, f->flags, f->mode);
        break;
    case CORO__FILE_STAT:
        rc = fstat(f->number, f->st);
        break;
    case CORO__FILE_SYNC:
        CORO__UNINTERRUPTED(rc, fsync(f->number));
        break;
    default:
        return coro__file_move(f);
    }
    return rc < 0 ? -errno : rc;
}

static inline void coro__file_deliver(coro_job *job)
{
    struct coro__file_job *f = (struct coro__file_job *)job->arg;
    f->file->busy--;
    if (f->doing == CORO__FILE_OPEN && job->result >= 0) {
        f->file->number1 = (int)job->result + 1;
        job->result = 0;
    }
}

static inline coro_op coro__file_begin(coro_task *co, const struct coro__file_job *what)
{
    coro_job *job;
    int rc = 0;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, what->file) || coro_is_local(co, what->path) ||
        coro_is_local(co, what->data) || coro_is_local(co, what->st))
        return coro_local();
    if (what->doing == CORO__FILE_OPEN ? what->file->number1 || what->file->busy : false)
        return coro_done(co, -EBUSY);
    if (what->doing != CORO__FILE_OPEN && !what->file->number1)
        return coro_done(co, -EBADF);
    job = coro__job_new(co, NULL, 0, sizeof *what, &rc);
    if (!job)
        return coro_done(co, rc);
    job->fn = coro__file_work;
    job->deliver = coro__file_deliver;
    memcpy(job->arg, what, sizeof *what);
    ((struct coro__file_job *)job->arg)->number = what->file->number1 - 1;
    what->file->busy++;
    return coro__job_start(co, job);
}

CORO_API coro_op coro_file_open(coro_task *co, coro_file *f, const char *path, int flags,
                                unsigned mode)
{
    struct coro__file_job job = CORO__ZERO;
    job.doing = CORO__FILE_OPEN;
    job.file = f;
    job.path = path;
    job.flags = flags;
    job.mode = (mode_t)mode;
    return coro__file_begin(co, &job);
}

CORO_API coro_op coro_file_read(coro_task *co, coro_file *f, void *buffer, size_t n, int64_t offset)
{
    struct coro__file_job job = CORO__ZERO;
    job.doing = CORO__FILE_READ;
    job.file = f;
    job.data = (char *)buffer;
    job.n = n;
    job.offset = (off_t)offset;
    return coro__file_begin(co, &job);
}

CORO_API coro_op coro_file_write(coro_task *co, coro_file *f, const void *data, size_t n,
                                 int64_t offset)
{
    struct coro__file_job job = CORO__ZERO;
    job.doing = CORO__FILE_WRITE;
    job.file = f;
    job.data = (char *)(uintptr_t)data;
    job.n = n;
    job.offset = (off_t)offset;
    return coro__file_begin(co, &job);
}

CORO_API coro_op coro_file_stat(coro_task *co, coro_file *f, struct stat *st)
{
    struct coro__file_job job = CORO__ZERO;
    job.doing = CORO__FILE_STAT;
    job.file = f;
    job.st = st;
    return coro__file_begin(co, &job);
}

CORO_API coro_op coro_file_sync(coro_task *co, coro_file *f)
{
    struct coro__file_job job = CORO__ZERO;
    job.doing = CORO__FILE_SYNC;
    job.file = f;
    return coro__file_begin(co, &job);
}

CORO_API int coro_file_close(coro_file *f)
{
    int number = f->number1 - 1;
    if (f->busy)
        return -EBUSY;
    f->number1 = 0;
    return number >= 0 && close(number) < 0 && errno != EINTR ? -errno : 0;
}

/* --- descriptors that tell us something ----------------------------------------------------------
 * They are registered like others, with a reader that never waits: the reactor calls `ready`.
 */

/* Take over a descriptor; coro__fd_register follows. */
static inline void coro__watched_open(coro__watched *w, int number,
                                      void (*ready)(coro__watched *w))
{
    (void)coro__fd_open(&w->h, number, CORO__FD_WATCHED);
    w->h.doing[CORO_IN] = CORO__IO_READY;
    w->ready = ready;
}

static inline void coro__watched_close(coro__watched *w)
{
    w->h.doing[CORO_IN] = CORO__IO_NONE;
    (void)coro_close(&w->h);
}

/* A pipe, neither end of which a child inherits. */
static inline int coro__pipe(int ends[2])
{
#if defined __linux__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__
    return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
#else
    if (pipe(ends) < 0)
        return -errno;
    (void)fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
#endif /* defined __linux__ || defined __FreeBSD__ || ... */
}

/* --- signals ------------------------------------------------------------------------------------
 *     handler -> hearer.came, coro_post -> watcher.come, hub.untaken -> coro_signals_wait
 *                                      `-> coro_run's task is cancelled
 *
 * A loop has one hub, which tells what comes to all that watch it. untaken: has come, and no
 * watcher has taken it. A signal whose last watcher goes is raised anew when it is still untaken.
 */
struct coro__signal_hub {
    coro__hearer hearer; /* must be first */
    coro_signals *first;
    uint64_t watched;    /* by anybody */
    uint64_t untaken;    /* see above */
    struct coro__signal_before *before;
};

/* What a watched signal did before. */
struct coro__signal_before {
    struct coro__signal_before *next;
    int number;
    struct sigaction action;
};

/* For the handler, which is told nothing but a number: the library's only static variable. A forked
 * child has a copy, in which nothing is its own. */
struct coro__signal_table {
    coro__hearer *of[65]; /* watched by coro_signals */
    coro__hearer *main;   /* the outermost coro_run's: what it has nobody else watches */
    int inside;           /* handlers that run */
};

static inline struct coro__signal_table *coro__signals_heard(void)
{
    static struct coro__signal_table one;
    return &one;
}

static inline void coro__signal_default(int n)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigemptyset(&action.sa_mask);
    (void)sigaction(n, &action, NULL);
}

/* What a coro_signals has is not touched. */
static inline void coro__run_watch_default(const coro__run_watch *w)
{
    struct coro__signal_table *table = coro__signals_heard();
    if (w->interrupt && !__atomic_load_n(&table->of[SIGINT], __ATOMIC_SEQ_CST))
        coro__signal_default(SIGINT);
    if (w->terminate && !__atomic_load_n(&table->of[SIGTERM], __ATOMIC_SEQ_CST))
        coro__signal_default(SIGTERM);
}

/* coro_run's: the first one lets the second one kill, even if the loop never looks again. */
static inline void coro__signal_handler(int n)
{
    struct coro__signal_table *table = coro__signals_heard();
    coro__hearer *to, *main;
    int saved = errno;
    __atomic_add_fetch(&table->inside, 1, __ATOMIC_SEQ_CST);
    to = __atomic_load_n(&table->of[n], __ATOMIC_SEQ_CST);
    main = __atomic_load_n(&table->main, __ATOMIC_SEQ_CST);
    if (!to && main)
        coro__run_watch_default((coro__run_watch *)(void *)main);
    else if (!to)
        coro__signal_default(n); /* a coro_run that is over */
    to = to ? to : main;
    if (to && to->owner == getpid()) {
        __atomic_store_n(&to->came[n], 1, __ATOMIC_SEQ_CST);
        (void)coro_post(to->loop, &to->node); /* it may be on its way already */
    } else if (!to || to == main) {
        (void)raise(n); /* not ours: once this handler is left, as without us */
    }
    __atomic_sub_fetch(&table->inside, 1, __ATOMIC_SEQ_CST);
    errno = saved;
}

static inline int coro__signal_handle(int n, struct sigaction *before)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = coro__signal_handler;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    return sigaction(n, &action, before) < 0 ? -errno : 0;
}

/* No handler has what it found in the table any more. (In other threads: this one has left it.) */
static inline void coro__signal_settle(void)
{
    while (__atomic_load_n(&coro__signals_heard()->inside, __ATOMIC_SEQ_CST))
        sched_yield();
}

/* Has it come? It is looked at now. */
static inline bool coro__signal_came(coro__hearer *h, int n)
{
    return __atomic_exchange_n(&h->came[n], 0, __ATOMIC_SEQ_CST);
}

/* A place of the table, unless a loop of this process has it. */
static inline bool coro__signal_claim(coro__hearer **place, coro__hearer *h)
{
    coro__hearer *old = __atomic_load_n(place, __ATOMIC_SEQ_CST);
    h->owner = getpid();
    return (!old || old->owner != h->owner) &&
           __atomic_compare_exchange_n(place, &old, h, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t coro__signal_bit(int n)
{
    return (uint64_t)1 << (n - 1);
}

/* The lowest one: its number. */
static inline int coro__signal_lowest(uint64_t set)
{
    return __builtin_ctzll(set) + 1;
}

static inline int coro__signal_begin(struct coro__signal_hub *hub, int n)
{
    struct coro__signal_table *table = coro__signals_heard();
    coro_loop *loop = hub->hearer.loop;
    struct coro__signal_before *b = (struct coro__signal_before *)coro_loop_alloc(loop, sizeof *b);
    if (!b)
        return -ENOMEM;
    if (!coro__signal_claim(&table->of[n], &hub->hearer)) {
        coro_loop_free(loop, b, sizeof *b);
        return -EBUSY;
    }
    (void)coro__signal_handle(n, &b->action);
    b->number = n;
    b->next = hub->before;
    hub->before = b;
    return 0;
}

static inline void coro__signal_end(struct coro__signal_hub *hub, int n)
{
    struct coro__signal_before *b, **at = &hub->before;
    while ((*at)->number != n)
        at = &(*at)->next;
    b = *at;
    *at = b->next;
    (void)sigaction(n, &b->action, NULL);
    coro_loop_free(hub->hearer.loop, b, sizeof *b);
    coro__signal_settle();
    __atomic_store_n(&coro__signals_heard()->of[n], NULL, __ATOMIC_SEQ_CST);
}

/* Take one: those with higher numbers than the last one first, then from the start. */
static inline int coro__signals_take(coro_signals *s)
{
    uint64_t behind = s->last < 64 ? s->come >> s->last << s->last : 0;
    s->last = coro__signal_lowest(behind ? behind : s->come);
    s->come &= ~coro__signal_bit(s->last);
    s->hub->untaken &= ~coro__signal_bit(s->last);
    return s->last;
}

/* Tell all watchers what has come. */
static inline void coro__signals_hear(struct coro__signal_hub *hub)
{
    uint64_t came = 0;
    for (uint64_t left = hub->watched; left; left &= left - 1) {
        if (coro__signal_came(&hub->hearer, coro__signal_lowest(left)))
            came |= coro__signal_bit(coro__signal_lowest(left));
    }
    hub->untaken |= came;
    for (coro_signals *s = hub->first; s; s = s->next)
        s->come |= came & s->watched;
    for (coro_signals *s = hub->first; s; s = s->next) {
        coro_task *task = s->queue.head;
        if (!task || !s->come)
            continue;
        coro_loop_release(hub->hearer.loop);
        (void)coro_complete(task, coro__signals_take(s));
    }
}

static inline void coro__signals_posted(coro_loop *loop, coro_post_node *node)
{
    coro__signals_hear((struct coro__signal_hub *)(void *)node);
}

/* Nobody watches these any more: as they were. What was caught is raised anew. */
static inline void coro__signals_restore(struct coro__signal_hub *hub, uint64_t gone)
{
    for (uint64_t left = gone; left; left &= left - 1)
        coro__signal_end(hub, coro__signal_lowest(left));
    coro__signals_hear(hub); /* this moment's */
    hub->watched &= ~gone;
    for (uint64_t left = gone & hub->untaken; left; left &= left - 1)
        (void)kill(getpid(), coro__signal_lowest(left));
    hub->untaken &= ~gone;
}

/* The loop's hub, made if need be: it stays, as it may be posted. Null: *rc says why. */
static inline struct coro__signal_hub *coro__signal_hub_of(coro_task *co, int *rc)
{
    coro_reactor *r = coro__reactor_of(coro_loop_of(co), rc);
    struct coro__signal_hub fresh = CORO__ZERO;
    if (!r || r->signals)
        return r ? r->signals : NULL;
    r->signals = (struct coro__signal_hub *)coro_loop_alloc(r->loop, sizeof fresh);
    *rc = -ENOMEM;
    if (!r->signals)
        return NULL;
    fresh.hearer.node.run = coro__signals_posted;
    fresh.hearer.loop = r->loop;
    *r->signals = fresh;
    *rc = 0;
    return r->signals;
}

static inline bool coro__signal_can_be_watched(int n)
{
    sigset_t set;
    sigemptyset(&set);
    return n >= 1 && n <= 64 && n != SIGKILL && n != SIGSTOP && n != SIGSEGV && n != SIGBUS &&
           n != SIGFPE && n != SIGILL && sigaddset(&set, n) == 0;
}

CORO_API int coro__signals_open(coro_task *co, coro_signals *s, ...)
{
    coro_signals fresh = CORO__ZERO;
    struct coro__signal_hub *hub;
    uint64_t begun = 0;
    va_list args;
    int rc = 0, n;
    if (s->hub)
        return -EBUSY;
    va_start(args, s);
    while ((n = va_arg(args, int)) != 0) {
        if (coro__signal_can_be_watched(n))
            fresh.watched |= coro__signal_bit(n);
        else
            rc = -EINVAL;
    }
    va_end(args);
    if (rc < 0 || !fresh.watched)
        return -EINVAL;
    hub = coro__signal_hub_of(co, &rc);
    if (!hub)
        return rc;
    coro__signals_hear(hub); /* what came before is not for this one */
    for (uint64_t left = fresh.watched & ~hub->watched; left && rc >= 0; left &= left - 1) {
        rc = coro__signal_begin(hub, coro__signal_lowest(left));
        if (rc >= 0)
            begun |= coro__signal_bit(coro__signal_lowest(left));
        hub->watched |= begun;
    }
    if (rc < 0) {
        coro__signals_restore(hub, begun);
        return rc;
    }
    *s = fresh;
    s->hub = hub;
    s->next = hub->first;
    hub->first = s;
    return 0;
}

static inline coro_abort coro__signals_abort(coro_task *task, coro_waitq *queue)
{
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

CORO_API coro_op coro_signals_wait(coro_task *co, coro_signals *s)
{
    static const coro_ops ops = {CORO__T("signal"), coro__signals_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, s))
        return coro_local();
    if (!s->hub)
        return coro_done(co, -EBADF);
    if (s->queue.head)
        return coro_done(co, -EBUSY);
    coro__signals_hear(s->hub);
    if (s->come)
        return coro_done(co, coro__signals_take(s));
    coro_loop_hold(coro_loop_of(co));
    return coro_suspend(co, &s->queue, &ops, 0);
}

CORO_API int coro_signals_close(coro_signals *s)
{
    struct coro__signal_hub *hub = s->hub;
    coro_signals closed = CORO__ZERO, **at;
    coro_task *task;
    uint64_t kept = 0;
    if (!hub)
        return 0;
    coro__signals_hear(hub);
    task = s->queue.head;
    if (task) {
        coro_loop_release(coro_loop_of(task));
        (void)coro_complete(task, -EBADF);
    }
    for (at = &hub->first; *at != s; at = &(*at)->next)
        continue;
    *at = s->next;
    for (coro_signals *other = hub->first; other; other = other->next)
        kept |= other->watched;
    coro__signals_restore(hub, s->watched & ~kept);
    *s = closed;
    return 0;
}

/* The loop ends before its watchers. */
static inline void coro__signals_fini(coro_reactor *r)
{
    if (!r->signals)
        return;
    while (r->signals->first)
        (void)coro_signals_close(r->signals->first);
    coro_loop_free(r->loop, r->signals, sizeof *r->signals);
}

/* --- coro_run --------------------------------------------------------------------------------- */

/* On the loop's thread. */
static inline void coro__run_signalled(coro_loop *loop, coro_post_node *node)
{
    coro__run_watch *w = (coro__run_watch *)(void *)node;
    if (w->ended)
        return; /* too late: coro__run_end finds it */
    (void)coro__signal_came(&w->hearer, SIGINT);
    (void)coro__signal_came(&w->hearer, SIGTERM);
    w->told = true;
    w->caused = !coro_cancelled(w->task) && coro_task_cancel(w->task) == 1;
}

static inline void coro__run_ended(coro_note *note, coro_task *task)
{
    CORO__AROUND(coro__run_watch, note, note)->ended = true;
}

/* May it be ours? Nobody has done anything about it. */
static inline bool coro__run_takes(int n)
{
    struct sigaction now;
    return sigaction(n, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           (now.sa_handler == SIG_DFL || now.sa_handler == coro__signal_handler);
}

static inline void coro__run_begin(coro_around *around, coro_task *task)
{
    coro__run_watch *w = CORO__AROUND(coro__run_watch, around, around);
    int rc = 0;
    w->task = task;
    w->hearer.loop = coro_loop_of(task);
    w->interrupt = coro__run_takes(SIGINT); /* before the handler, which looks at it */
    w->terminate = coro__run_takes(SIGTERM);
    if (!w->driven && !coro__reactor_of(w->hearer.loop, &rc))
        return; /* later its driver must not change */
    if (!coro__signal_claim(&coro__signals_heard()->main, &w->hearer))
        return;
    w->note.ended = coro__run_ended;
    coro_note_add(task, &w->note);
    if (w->interrupt)
        (void)coro__signal_handle(SIGINT, NULL);
    if (w->terminate)
        (void)coro__signal_handle(SIGTERM, NULL);
}

static inline int coro__run_end(coro_around *around, int result)
{
    coro__run_watch *w = CORO__AROUND(coro__run_watch, around, around);
    struct coro__signal_table *table = coro__signals_heard();
    if (__atomic_load_n(&table->main, __ATOMIC_SEQ_CST) != &w->hearer)
        return result;
    if (!w->told)
        coro__run_watch_default(w);
    __atomic_store_n(&table->main, NULL, __ATOMIC_SEQ_CST);
    coro__signal_settle();
    if (coro__signal_came(&w->hearer, SIGINT))
        (void)raise(SIGINT);
    if (coro__signal_came(&w->hearer, SIGTERM))
        (void)raise(SIGTERM);
    return result == -ECANCELED && w->caused ? -EINTR : result;
}

CORO_API coro_around *coro__run_watched(coro__run_watch *watch, const coro_options *options)
{
    coro__run_watch fresh = CORO__ZERO;
    *watch = fresh;
    watch->hearer.node.run = coro__run_signalled;
    watch->driven = options && options->driver.park;
    watch->around.begin = coro__run_begin;
    watch->around.end = coro__run_end;
    return &watch->around;
}

/* --- processes: the child's side -----------------------------------------------------------------
 * Between fork and exec only what is async-signal-safe may be called. With vfork this memory is the
 * parent's, which waits.
 */
enum { CORO__PROCESS_NONE, CORO__PROCESS_RUNS, CORO__PROCESS_ENDED };

struct coro__launch {
    const coro_command *command;
    const char *path; /* our PATH */
    int from[3];      /* what becomes 0, 1 and 2; -1: as it is */
    int report;       /* why it failed goes here */
};

#if !defined __linux__
CORO__EXTERN char **environ;
#endif /* !defined __linux__ */

/* Out of the way of 0, 1 and 2; the original is closed by exec, or replaced. */
static inline int coro__child_lift(int number)
{
    int lifted = number;
    if (number >= 0 && number < 3)
        lifted = fcntl(number, F_DUPFD_CLOEXEC, 3);
    return lifted < 0 && number >= 0 ? -errno : lifted;
}

static inline int coro__child_descriptors(const struct coro__launch *l)
{
    int from[3], rc = 0;
    for (int i = 0; i < 3; i++) {
        from[i] = l->from[i] == i ? i : coro__child_lift(l->from[i]);
        if (from[i] < -1)
            return from[i];
    }
    for (int i = 0; i < 3 && rc >= 0; i++) {
        if (from[i] == i)
            rc = fcntl(i, F_SETFD, 0); /* even if it was made to be closed */
        else if (from[i] >= 0)
            rc = dup2(from[i], i);
    }
    return rc < 0 ? -errno : 0;
}

/* Whatever is open beyond is closed by exec. */
static inline void coro__child_seal(void)
{
    long n;
#if defined SYS_close_range
    if (syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
#endif /* defined SYS_close_range */
    n = sysconf(_SC_OPEN_MAX);
    for (int i = 3; i < (n > 0 && n < 65536 ? n : 65536); i++)
        (void)fcntl(i, F_SETFD, FD_CLOEXEC);
}

/* All signals are blocked until all of them have their default: a handler of ours must not run. */
static inline void coro__child_signals(void)
{
    struct sigaction usual, now;
    sigset_t none;
    memset(&usual, 0, sizeof usual);
    usual.sa_handler = SIG_DFL;
    sigemptyset(&usual.sa_mask);
    for (int n = 1; n <= 64; n++) {
        if (sigaction(n, NULL, &now) == 0 && now.sa_handler != SIG_DFL)
            (void)sigaction(n, &usual, NULL);
    }
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* Comes back with why it has failed. */
static inline int coro__child_exec(const coro_command *c, const char *path)
{
    char *const *argv = (char *const *)(uintptr_t)c->argv;
    char *const *env = c->env ? (char *const *)(uintptr_t)c->env : environ;
    const char *name = c->argv[0];
    size_t length = strlen(name);
    char file[4096];
    int rc = -ENOENT;
    if (strchr(name, '/') || !length) {
        (void)execve(name, argv, env);
        return -errno;
    }
    for (;;) {
        size_t n = strcspn(path, ":");
        if (n + length + 2 <= sizeof file) {
            memcpy(file, path, n);
            file[n] = '/';
            memcpy(file + n + (n > 0), name, length + 1); /* an empty one is the directory */
            (void)execve(file, argv, env);
            if (errno == EACCES)
                rc = -EACCES; /* there may be another one */
            else if (errno != ENOENT && errno != ENOTDIR)
                return -errno;
        }
        if (!path[n])
            return rc;
        path += n + 1;
    }
}

static CORO__NOINLINE CORO__UNUSED CORO__NORETURN void coro__child(const struct coro__launch *l)
{
    int report = coro__child_lift(l->report), rc = report < 0 ? report : 0;
    ssize_t sent;
    if (l->command->group && setpgid(0, 0) < 0)
        rc = -errno;
    if (rc == 0)
        rc = coro__child_descriptors(l);
    if (rc == 0 && l->command->dir && chdir(l->command->dir) < 0)
        rc = -errno;
    if (rc == 0) {
        coro__child_signals();
        coro__child_seal();
        rc = coro__child_exec(l->command, l->path);
    }
    sent = write(report < 0 ? l->report : report, &rc, sizeof rc);
    (void)sent;
    _exit(127);
}

static CORO__NOINLINE CORO__UNUSED pid_t coro__fork(const struct coro__launch *l)
{
#if defined __linux__
    pid_t pid = vfork();
#else
    pid_t pid = fork();
#endif /* defined __linux__ */
    if (pid == 0)
        coro__child(l);
    return pid;
}

/* --- processes: ours -------------------------------------------------------------------------- */

static inline pid_t coro__waitpid(pid_t pid, int *status, int flags)
{
    pid_t got;
    CORO__UNINTERRUPTED(got, waitpid(pid, status, flags));
    return got;
}

/* Fork and exec: its number, or an error. */
static inline int coro__start_child(struct coro__launch *l)
{
    sigset_t all, before;
    int ends[2], rc = coro__pipe(ends), error = 0, ignored;
    pid_t pid;
    ssize_t n;
    if (rc < 0)
        return rc;
    l->report = ends[1];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = coro__fork(l);
    rc = pid < 0 ? -errno : (int)pid;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    CORO__UNINTERRUPTED(n, pid < 0 ? 0 : read(ends[0], &error, sizeof error)); /* 0: by exec */
    close(ends[0]);
    if (n == (ssize_t)sizeof error) {
        (void)coro__waitpid(pid, &ignored, 0);
        return error;
    }
    return rc;
}

/* What the child has as number i; ours: our end, where there is one. */
static inline int coro__stdio_open(const coro_command *c, int i, int *theirs, int *ours)
{
    int wanted = i == 0 ? c->stdin_ : i == 1 ? c->stdout_ : c->stderr_, ends[2], rc;
    *theirs = *ours = -1;
    if (wanted == CORO_INHERIT || (wanted == CORO_STDOUT && i == 2))
        return 0;
    if (wanted == CORO_NULL) {
        *theirs = coro__open("/dev/null", O_RDWR, 0);
        return *theirs < 0 ? -errno : 0;
    }
    if (wanted == CORO_PIPE) {
        rc = coro__pipe(ends);
        if (rc < 0)
            return rc;
        *theirs = ends[i != 0];
        *ours = ends[i == 0];
        (void)coro__no_block(*ours);
        return 0;
    }
    *theirs = wanted;
    return wanted < 0 || fcntl(wanted, F_GETFD) < 0 ? -EBADF : 0;
}

CORO_API int coro_process_spawn(coro_process *p, const coro_command *command)
{
    coro_process fresh = CORO__ZERO;
    struct coro__launch l = {command, getenv("PATH"), {-1, -1, -1}, -1};
    int ours[3] = {-1, -1, -1}, rc = 0;
    if (p->state != CORO__PROCESS_NONE)
        return -EBUSY;
    if (!command->argv || !command->argv[0])
        return -EINVAL;
    if (!l.path)
        l.path = "/usr/bin:/bin";
    for (int i = 0; i < 3 && rc >= 0; i++)
        rc = coro__stdio_open(command, i, &l.from[i], &ours[i]);
    if (command->stderr_ == CORO_STDOUT)
        l.from[2] = l.from[1] >= 0 ? l.from[1] : 1;
    if (rc >= 0)
        rc = coro__start_child(&l);
    for (int i = 0; i < 3; i++) {
        int wanted = i == 0 ? command->stdin_ : i == 1 ? command->stdout_ : command->stderr_;
        if ((wanted == CORO_PIPE || wanted == CORO_NULL) && l.from[i] >= 0)
            close(l.from[i]);
        if (rc < 0 && ours[i] >= 0)
            close(ours[i]);
    }
    if (rc < 0)
        return rc;
    *p = fresh;
    p->pid = rc;
    p->state = CORO__PROCESS_RUNS;
    p->group = command->group;
    if (ours[0] >= 0)
        (void)coro__fd_open(&p->in, ours[0], 0);
    if (ours[1] >= 0)
        (void)coro__fd_open(&p->out, ours[1], 0);
    if (ours[2] >= 0)
        (void)coro__fd_open(&p->err, ours[2], 0);
    return 0;
}

/* What the system calls "status", as we give it. */
static inline int coro__status_of(int status)
{
    return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* It is reaped: tell everybody, and watch it no longer. */
static inline void coro__process_ended(coro_process *p, int status)
{
    p->status = status;
    p->state = CORO__PROCESS_ENDED;
    coro__watched_close(&p->watched);
    while (p->waiters.head) {
        coro_loop_release(coro_loop_of(p->waiters.head));
        (void)coro_complete(p->waiters.head, status);
    }
}

/* Has it ended? flags 0: wait until it has. It stays a zombie, so that its number is nobody else's.
 * 1; 0: it runs; -ECHILD: somebody else has reaped it. */
static inline int coro__process_look(const coro_process *p, int flags)
{
    siginfo_t info;
    int rc;
    memset(&info, 0, sizeof info);
    CORO__UNINTERRUPTED(rc, waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOWAIT | flags));
    return rc < 0 ? -errno : info.si_pid == p->pid;
}

/* Reap it, if it has ended; flags 0: wait until it has. Its thread, and its group where that is to
 * go with it, come first: after that others may have its number. */
static inline void coro__process_reap(coro_process *p, int flags)
{
    int status = 0, look = 1;
    pid_t got;
    if (p->sweep || p->thread_end)
        look = coro__process_look(p, flags);
    if (look == 0)
        return;
    if (p->thread_end) {
        (void)pthread_join(p->thread, NULL);
        p->thread_end = 0;
    }
    if (p->sweep && look > 0)
        (void)kill(-p->pid, SIGKILL);
    got = coro__waitpid(p->pid, &status, flags);
    if (got != 0)
        coro__process_ended(p, got < 0 ? -errno : coro__status_of(status));
}

/* kqueue tells a moment before it can be reaped. */
static inline void coro__process_ready(coro__watched *w)
{
    coro__process_reap(CORO__AROUND(coro_process, watched, w),
                       CORO_IO_BACKEND == CORO_IO_KQUEUE ? 0 : WNOHANG);
}

/* A descriptor that is readable once it has ended. -ENOSYS: there is no such thing here. */
static inline int coro__process_descriptor(pid_t pid)
{
#if CORO_IO_BACKEND == CORO_IO_KQUEUE
    struct kevent e;
    int number = kqueue(), rc = number < 0 ? -errno : number;
    EV_SET(&e, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
    if (number >= 0 && kevent(number, &e, 1, NULL, 0, NULL) < 0) {
        rc = -errno;
        close(number);
    }
    return rc;
#elif CORO_IO_PIDFD
    int number = (int)syscall(SYS_pidfd_open, pid, 0u);
    return number >= 0 ? number : errno == EPERM ? -ENOSYS : -errno; /* forbidden, or too old */
#else
    return -ENOSYS;
#endif /* CORO_IO_BACKEND == CORO_IO_KQUEUE */
}

/* Where there is none: wait for it, and close the pipe. */
static inline void *coro__process_thread(void *arg)
{
    coro_process *p = (coro_process *)arg;
    (void)coro__process_look(p, 0);
    close(p->thread_end - 1);
    return NULL;
}

static inline int coro__process_thread_start(coro_process *p)
{
    sigset_t all, before;
    int rc;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&p->thread, NULL, coro__process_thread, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

/* Have the loop told of its end. */
static inline int coro__process_watch(coro_task *co, coro_process *p)
{
    int ends[2] = {-1, -1}, number, rc;
    if (p->watched.h.number1 && !p->watched.h.reactor)
        return coro__fd_register(co, &p->watched.h); /* the loop it was watched by has ended */
    if (p->watched.h.number1)
        return p->watched.h.reactor->loop == coro_loop_of(co) ? 0 : -EINVAL;
    number = coro__process_descriptor(p->pid);
    if (number < 0 && number != -ENOSYS)
        return number;
    if (number < 0) { /* a thread */
        rc = coro__pipe(ends);
        if (rc < 0)
            return rc;
        number = ends[0];
    }
    coro__watched_open(&p->watched, number, coro__process_ready);
    rc = coro__fd_register(co, &p->watched.h);
    if (rc == 0 && ends[1] >= 0) {
        p->thread_end = ends[1] + 1;
        rc = coro__process_thread_start(p);
    }
    if (rc < 0) {
        coro__watched_close(&p->watched);
        p->thread_end = 0;
        if (ends[1] >= 0)
            close(ends[1]);
    }
    return rc;
}

static inline coro_abort coro__process_abort(coro_task *task, coro_waitq *queue)
{
    coro_loop_release(coro_loop_of(task));
    return CORO_ABORT_DONE;
}

CORO_API coro_op coro_process_wait(coro_task *co, coro_process *p)
{
    static const coro_ops ops = {CORO__T("process"), coro__process_abort, NULL};
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, p))
        return coro_local();
    if (p->state == CORO__PROCESS_NONE)
        return coro_done(co, -EINVAL);
    if (p->watched.h.reactor && p->watched.h.prev->next != &p->watched.h) {
        coro_report(co, " waits for a coro_process that was moved after its first wait");
        abort();
    }
    if (p->state == CORO__PROCESS_RUNS)
        coro__process_reap(p, WNOHANG);
    if (p->state == CORO__PROCESS_ENDED)
        return coro_done(co, p->status);
    rc = coro__process_watch(co, p);
    if (rc == -ESRCH) { /* it ends this moment, or has ended and SIGCHLD is ignored */
        coro__process_reap(p, 0);
        return coro_done(co, p->status);
    }
    if (rc < 0)
        return coro_done(co, rc);
    coro_loop_hold(coro_loop_of(co));
    return coro_suspend(co, &p->waiters, &ops, 0);
}

CORO_API int coro_process_kill(coro_process *p, int signal)
{
    if (p->state != CORO__PROCESS_RUNS || coro__process_look(p, WNOHANG) < 0)
        return -ESRCH;
    return kill(p->group ? -p->pid : p->pid, signal) < 0 ? -errno : 0;
}

CORO_API void coro_process_fini(coro_process *p)
{
    coro_process none = CORO__ZERO;
    if (p->state == CORO__PROCESS_NONE)
        return;
    if (p->state == CORO__PROCESS_RUNS) {
        (void)coro_process_kill(p, SIGKILL);
        coro__process_reap(p, 0);
    }
    (void)coro_close(&p->in);
    (void)coro_close(&p->out);
    (void)coro_close(&p->err);
    *p = none;
}

/* --- coro_process_run ------------------------------------------------------------------------- */

CORO_LIBRARY(coro__process_feed)
{
    CORO_BEGIN();
    if (my->size)
        CORO_IGNORE(coro_write(co, &my->p->in, my->data, my->size)); /* it need not read it all */
CORO_FINALLY:
    (void)coro_close(&my->p->in);
    CORO_END(0);
}

/* n more bytes are where coro__output_room said. */
static inline void coro__output_add(coro_output *o, size_t n)
{
    if (o->length < o->size)
        o->length += n;
    else
        o->lost += n;
}

/* Take what is there already. False: the end was there, too. */
static inline bool coro__output_rest(coro_fd *from, coro_output *o)
{
    char waste[512];
    for (int goes = 0; from->number1 && goes < 1024; goes++) {
        bool room = o->length < o->size;
        intptr_t n = coro__attempt_read(from, room ? o->data + o->length : waste,
                                        room ? o->size - o->length : sizeof waste);
        if (n <= 0)
            return n == CORO__IO_BLOCKED;
        coro__output_add(o, (size_t)n);
    }
    return true;
}

CORO_LIBRARY(coro__process_drain)
{
    CORO_BEGIN();
    do
        CORO_TRY(coro_wait_readable(co, my->from));
    while (coro__output_rest(my->from, my->to));
    CORO_END(0);
}

/* Its pipes are served by two or three tasks, until it has ended. */
static inline int coro__process_begin(struct coro_process_task *my)
{
    coro_command *c = &my->command;
    int rc;
    c->group = true;
    if (c->input && !c->stdin_)
        c->stdin_ = CORO_PIPE;
    if (c->out && !c->stdout_)
        c->stdout_ = CORO_PIPE;
    if (c->err && !c->stderr_)
        c->stderr_ = CORO_PIPE;
    rc = coro_process_spawn(&my->p, c);
    if (my->p.in.number1)
        coro_start(&my->group, &my->feed, coro__process_feed, .p = &my->p, .data = c->input,
                   .size = c->input_size);
    if (my->p.out.number1)
        coro_start(&my->group, &my->drain[0], coro__process_drain, .from = &my->p.out,
                   .to = c->out ? c->out : &my->none[0]);
    if (my->p.err.number1)
        coro_start(&my->group, &my->drain[1], coro__process_drain, .from = &my->p.err,
                   .to = c->err ? c->err : &my->none[1]);
    return rc;
}

CORO_LIBRARY(coro_process_task)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_COLLECT);
    if (coro_cancelled(co))
        CORO_FAIL(-ECANCELED); /* nothing is begun */
    CORO_TRY(coro__process_begin(my));
    CORO_TRY(my->status, coro_process_wait(co, &my->p));
CORO_FINALLY:
    if (my->p.state == CORO__PROCESS_RUNS) {
        my->p.sweep = true;
        coro_shield_open(co, &my->shield, my->command.grace ? my->command.grace : CORO_S(2));
        (void)coro_process_kill(&my->p, SIGTERM);
        CORO_IGNORE(coro_process_wait(co, &my->p));
        (void)coro_scope_close(co, &my->shield, 0);
    }
    if (my->p.state == CORO__PROCESS_RUNS) {
        coro_shield_open(co, &my->shield, CORO_FOREVER);
        (void)coro_process_kill(&my->p, SIGKILL);
        CORO_IGNORE(coro_process_wait(co, &my->p));
        (void)coro_scope_close(co, &my->shield, 0);
    }
    coro_group_cancel(&my->group);
    CORO_CLOSE(&my->group);
    (void)coro__output_rest(&my->p.out, my->command.out ? my->command.out : &my->none[0]);
    (void)coro__output_rest(&my->p.err, my->command.err ? my->command.err : &my->none[1]);
    coro_process_fini(&my->p);
    CORO_END(my->status);
}

#pragma GCC diagnostic pop
#endif /* !defined CORO_SHARED || defined CORO_IMPLEMENTATION */
#endif /* !defined CORO_IO_H */
