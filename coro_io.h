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
 *     >>signals    signals as something to wait for; coro_main
 *     >>process    other programs: spawning, waiting, killing
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
 *   coro_signals_open coro_signals_close             no  no  yes  t
 *   coro_signals_wait          yes       yes     yes       c
 *   coro_process_spawn coro_process_kill             no  no  yes  t
 *   coro_process_wait          yes       yes     yes       c
 *   coro_process_run coro_process_task     as coro_call       c
 *   coro_process_fini          no        no      no        t
 *   coro_main coro_main_with   blocks    -       yes       outside a loop
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
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#if defined __linux__
#include <sys/signalfd.h>
#include <sys/syscall.h>
#endif /* defined __linux__ */

/* How signals and the ends of processes are heard. 0: the portable way: a handler that writes into
 * a pipe; a thread that waits. Processes change to it by themselves where the kernel is too old. */
#ifndef CORO_IO_SIGNALFD
#if defined __linux__
#define CORO_IO_SIGNALFD 1
#else
#define CORO_IO_SIGNALFD 0
#endif /* defined __linux__ */
#endif /* !CORO_IO_SIGNALFD */
#ifndef CORO_IO_PIDFD
#if defined __linux__ && defined SYS_pidfd_open
#define CORO_IO_PIDFD 1
#else
#define CORO_IO_PIDFD 0
#endif /* defined __linux__ && defined SYS_pidfd_open */
#endif /* !CORO_IO_PIDFD */
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
 * coro_close. -EBADF: it is none. -EBUSY: the handle is in use. */
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
 *             before or meanwhile. -EINVAL: n is 0. Else read's own: -ECONNRESET ...
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
 * Errors:     -ECANCELED, -ETIMEDOUT; -EBADF; -EBUSY: another task waits for this descriptor;
 *             -ENOMEM.
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
 * Errors:     -EINVAL: no address. -EBUSY: h is in use. -ECONNREFUSED, -ENETUNREACH ...
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
    coro_waitq queue;            /* at most one task */
    struct coro__signal_hub *hub; /* the loop's; null: closed */
    struct coro_signals *next;   /* the loop's other watchers */
    uint64_t watched, come;      /* bit n - 1: signal n */
    int last;                    /* that was taken: the search goes on behind it */
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
 * On Linux (signalfd) the signal is blocked in this thread as long as it is watched, and must be in
 * all others, else the kernel may give it to one of them, where it does what it did before: open
 * the watcher before you start threads, which inherit the mask. Elsewhere a handler writes into a
 * pipe; which pipe is the library's only static variable beside coro_main's. In several loops
 * one signal can be watched in one of them: on Linux it goes to any of them, elsewhere -EBUSY.
 *
 * Errors:     -EINVAL: no signal; none that can be watched (SIGKILL, SIGSTOP; SIGSEGV, SIGBUS,
 *             SIGFPE, SIGILL, which cannot be waited for). -EBUSY: the watcher is open. -ENOMEM,
 *             -EMFILE. Then nothing is watched.
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

/* coro_main -- coro_run for a program's main task: int main(void) { return coro_main(app) < 0; }
 *
 * The first SIGINT or SIGTERM cancels the task, so that it can clean up; the second one ends the
 * process at once, as it would without us. A signal that is ignored, or has a handler of yours, or
 * is blocked stays what it is. A coro_signals of yours takes a signal over as long as it is open. A
 * task that waits for nothing but the end has to wait for the signal: for us nothing else than a
 * deadlock is a task that sleeps for ever. The handler needs a static variable.
 *
 * Returns:    as coro_run.
 * Errors:     -EINTR: the task ended with -ECANCELED, because of the signal. One that came too late
 *             to be told to the task does what it would without us.
 */
#define coro_main(...) CORO__MAIN(NULL, __VA_ARGS__, )

/* coro_main_with -- with options, as coro_run_with. */
#define coro_main_with(options, ...) CORO__MAIN(options, __VA_ARGS__, )

#define CORO__MAIN(options_, fn, ...)                                                             \
    __extension__({                                                                               \
        CORO_TASK(fn) coro__main_task;                                                            \
        coro__main_task.frame = CORO__NEW(fn, NULL, __VA_ARGS__);                                 \
        coro__main((options_), &coro__main_task.task, &CORO__CAT(fn, _coro));                     \
    })

CORO_API int coro__signals_open(coro_task *co, coro_signals *s, ...);
CORO_API int coro__main(const coro_options *options, coro_task *task, const coro_info *info);

/* ================================================================================================
 * >>process
 *
 * If you fork yourself: the child must leave the loops and handles of the parent alone, which share
 * descriptors with it. It may run a loop of its own, and ends with exec or _exit. Signals that were
 * watched are blocked in it on Linux.
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
 * Any number of tasks may wait, as often as they like. Only this child is reaped, no other. It may
 * have ended while its output is still to be read, or a grandchild of its holds the pipes.
 *
 * Errors:     -ECANCELED, -ETIMEDOUT: it goes on. -ECHILD: another part of the program has reaped
 *             it, or SIGCHLD is ignored: how it ended is not known. -EINVAL: none was spawned, or
 *             it is another loop's. -ENOMEM, -EMFILE: it cannot be watched.
 */
CORO_API CORO__MUST_USE coro_op coro_process_wait(coro_task *co, coro_process *p);

/* coro_process_kill -- send it a signal; if it has a group of its own, send it to the group. -ESRCH:
 * it has been reaped. -EINVAL: no signal. -EPERM. */
CORO_API int coro_process_kill(coro_process *p, int signal);

/* coro_process_fini -- end with it: close the pipes; if it has not ended, kill it (and its group,
 * if it has its own) with SIGKILL, and reap it. Tasks that wait for it are told. None there: nothing
 * is done. */
CORO_API void coro_process_fini(coro_process *p);

/* coro_process_run -- run a program to its end; a coroutine's call: as coro_process_wait.
 *
 *   struct coro_process_task run;  char text[100];  coro_output out;  ...
 *   my->out = (coro_output){.data = my->text, .size = sizeof my->text};
 *   CORO_TRY(my->status, coro_process_run(co, &my->run, &(coro_command){.argv = argv,
 *                                                                       .out = &my->out}));
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

/* A coroutine of the library's own: as CORO_DECLARE and CORO_DEFINE, or all in this file. */
#if defined CORO_SHARED && defined __cplusplus
#define CORO__COROUTINE_DECLARE(name) extern "C" { CORO_DECLARE(name); } CORO__SEMICOLON
#define CORO__COROUTINE(name) CORO_DEFINE(name)
#elif defined CORO_SHARED
#define CORO__COROUTINE_DECLARE(name) CORO_DECLARE(name)
#define CORO__COROUTINE(name) CORO_DEFINE(name)
#else
#define CORO__COROUTINE_DECLARE(name)                                                             \
    CORO__TYPES(name)                                                                             \
    CORO__STRICT CORO__UNUSED static coro_ret name(coro_task *co, struct name *my);               \
    CORO__STRICT_END CORO__SEMICOLON
#define CORO__COROUTINE(name)                                                                     \
    CORO__RUN_FUNCTION(name)                                                                      \
    CORO__UNUSED static const coro_info CORO__CAT(name, _coro) = CORO__INFO(name);                \
    CORO__STRICT CORO__COMPILE static coro_ret name(coro_task *co, struct name *my)
#endif /* defined CORO_SHARED && defined __cplusplus */
#define CORO__SEMICOLON CORO__STATIC_ASSERT(true, "")

/* Feeds the child's stdin. */
struct coro__process_feed {
    CORO_FRAME;
    coro_process *p;
    const char *data;
    size_t size;
};
CORO__COROUTINE_DECLARE(coro__process_feed);

/* Collects what it writes. */
struct coro__process_drain {
    CORO_FRAME;
    coro_fd *from;
    coro_output *to;
};
CORO__COROUTINE_DECLARE(coro__process_drain);

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
CORO__COROUTINE_DECLARE(coro_process_task);

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
    CORO__FD_WATCHED = 1024 /* of a coro__watched: somebody is called */
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
    struct coro__signal_hub *signals; /* of coro_signals; null: nobody watches any */
    struct pollfd *polled; /* poll's: as many as `room` */
    size_t room, count;    /* count: known handles */
};

/* A descriptor that is not ours, as long as somebody waits for it. */
struct coro__foreign {
    coro_fd h; /* must be first */
    struct coro__foreign *next;
};

static inline void coro__fd_ready(coro_reactor *r, coro_fd *h, bool in, bool out, bool ended);

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
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (h->flags & CORO__FD_FOREIGN)
        e.events = EPOLLONESHOT | (h->doing[CORO_IN] ? EPOLLIN : 0u) |
                   (h->doing[CORO_OUT] ? EPOLLOUT : 0u);
    if (epoll_ctl(r->poller, EPOLL_CTL_ADD, coro_fd_number(h), &e) == 0)
        return 0;
    if (errno == EEXIST && epoll_ctl(r->poller, EPOLL_CTL_MOD, coro_fd_number(h), &e) == 0)
        return 0;
    return -errno;
}

/* Also before a close: a copy of the descriptor elsewhere would keep it registered. */
static inline void coro__poller_drop(coro_reactor *r, coro_fd *h)
{
    struct epoll_event e;
    (void)epoll_ctl(r->poller, EPOLL_CTL_DEL, coro_fd_number(h), &e);
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
        if (got >= 0 || errno != ENOSYS)
            return got;
        r->ms_only = true;
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
    return (coro_time)t.tv_sec * CORO_TICKS_PER_S + t.tv_nsec;
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
    for (size_t n = r->count; n && r->known && (r->known->flags & CORO__FD_AGAIN); n--) {
        coro_fd *h = r->known;
        r->known = h->next; /* to the end */
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

/* Make the handle known to the loop's reactor: 0, or why not. A file never waits. */
static inline int coro__fd_register(coro_task *co, coro_fd *h)
{
    int rc = 0;
    coro_reactor *r = coro__reactor_of(coro_loop_of(co), &rc);
    if (!r)
        return rc;
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
            if ((size_t)got < n && !(h->flags & (CORO__FD_ENDED | CORO__FD_ALWAYS)))
                h->flags &= (uint16_t)~CORO__FD_READY_IN; /* drained: the next try would block */
            return got;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return CORO__IO_BLOCKED;
        if (errno == EIO && !(h->flags & CORO__FD_SOCKET) && isatty(coro_fd_number(h)))
            return 0; /* a terminal whose other end is gone */
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
    for (;;) {
#if defined __linux__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__
        int number = accept4(coro_fd_number(h), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        int number = accept(coro_fd_number(h), NULL, NULL);
#endif /* defined __linux__ || defined __FreeBSD__ || ... */
        if (number >= 0)
            return coro__fd_open(conn, number, CORO__FD_SOCKET);
        switch (errno) {
        case EAGAIN:
            return CORO__IO_BLOCKED;
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM: /* a firewall's word about one connection */
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
            continue;
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
    if (poll(&p, 1, 0) == 0)
        return CORO__IO_BLOCKED; /* what woke us was of the time before connect */
    if (getsockopt(coro_fd_number(h), SOL_SOCKET, SO_ERROR, &error, &size) < 0)
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
            if (n == 0 || w->moved == w->length)
                return (intptr_t)w->moved;
            if (n < 0)
                return n;
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
    h->doing[way] = CORO__IO_NONE;
    coro_loop_release(coro_loop_of(task));
    (void)coro_complete(task, result);
}

static inline void coro__foreign_ready(coro_reactor *r, coro_fd *h, int events);

/* What the kernel says of a handle. */
static inline void coro__fd_ready(coro_reactor *r, coro_fd *h, bool in, bool out, bool ended)
{
    if (h->flags & CORO__FD_FOREIGN) {
        coro__foreign_ready(r, h, (in ? POLLIN : 0) | (out ? POLLOUT : 0) | (ended ? POLLHUP : 0));
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

/* Start an operation: try it, if that may be of use; else wait until the reactor has done it. */
static inline coro_op coro__fd_begin(coro_task *co, coro_fd *h, int way, int doing, intptr_t word,
                                     size_t length)
{
    static const coro_ops ops[2] = {{CORO__T("read"), coro__in_abort, NULL},
                                    {CORO__T("write"), coro__out_abort, NULL}};
    intptr_t n = CORO__IO_BLOCKED;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, (const void *)word) || coro_is_local(co, h))
        return coro_local();
    if (!h->number1)
        return coro_done(co, -EBADF);
    if (h->reactor && h->prev->next != h) {
        coro_report(co, " uses a coro_fd that was moved after an operation of it had waited");
        abort();
    }
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
        return coro_done(co, n);
    }
    coro_loop_hold(coro_loop_of(co));
    if (h->flags & CORO__FD_AGAIN)
        coro__fd_ready(h->reactor, h, false, false, false);
    return coro_suspend(co, &h->way[way].queue, &ops[way], word);
}

/* --- descriptors ---------------------------------------------------------------------------------- */

CORO_API int coro_fd_adopt(coro_fd *h, int number)
{
    int type, rc, blocking;
    socklen_t size = sizeof type;
    if (h->number1)
        return -EBUSY;
    blocking = coro__no_block(number);
    if (blocking < 0)
        return blocking;
    rc = getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &size);
    return coro__fd_open(h, number, (rc == 0 ? CORO__FD_SOCKET : 0) |
                                        (blocking ? 0 : CORO__FD_RESTORE));
}

CORO_API int coro_fd_release(coro_fd *h)
{
    int number = coro_fd_number(h);
    coro_fd closed = CORO__ZERO;
    if (number < 0)
        return -EBADF;
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        if (h->doing[way])
            coro__fd_end_wait(h, way, -EBADF);
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

CORO_API coro_op coro_readv(coro_task *co, coro_fd *h, const struct iovec *to, int count)
{
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

static inline void coro__foreign_ready(coro_reactor *r, coro_fd *h, int events)
{
    for (int way = CORO_IN; way <= CORO_OUT; way++) {
        coro_task *task = h->way[way].queue.head;
        int wanted = task ? (int)coro_word(task) : 0;
        if (!(events & (wanted | POLLHUP)) || !task)
            continue;
        if (wanted & POLLOUT)
            h->doing[CORO_OUT] = CORO__IO_NONE;
        if (wanted & POLLIN)
            h->doing[CORO_IN] = CORO__IO_NONE;
        coro_loop_release(r->loop);
        (void)coro_complete(task, events & (wanted | POLLHUP));
    }
    if (!h->doing[CORO_IN] && !h->doing[CORO_OUT])
        coro__foreign_drop(r, h);
    else
        (void)coro__poller_add(r, h); /* the other way, anew */
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
    if (a->length && a->any.sa_family == AF_UNIX) {
        snprintf(text, size, "unix:%.*s", (int)(size > 6 ? size - 6 : 0), a->local.sun_path);
    } else if (a->length && a->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        snprintf(text, size, "[%s]:%d", host, coro_address_port(a));
    } else if (a->length) {
        (void)inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%d", host, coro_address_port(a));
    } else {
        snprintf(text, size, "-");
    }
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
    if (bind(number, &a.any, a.length) < 0 &&
        (errno != EADDRINUSE || !coro__stale(&a) || bind(number, &a.any, a.length) < 0))
        rc = -errno;
    if (rc == 0 && type == SOCK_STREAM && listen(number, backlog > 0 ? backlog : SOMAXCONN) < 0)
        rc = -errno;
    if (rc < 0) {
        close(number);
        return rc;
    }
    return coro__fd_open(h, number, CORO__FD_SOCKET);
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
    do
        rc = connect(number, &a->any, a->length) < 0 ? -errno : 0;
    while (rc == -EINTR);
    (void)coro__fd_open(h, number, CORO__FD_SOCKET);
    if (rc == 0)
        return coro_done(co, 0);
    if (rc != -EINPROGRESS) {
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
    return coro__fd_begin(co, h, CORO_IN, CORO__IO_RECV_FROM, (intptr_t)d, 0);
}

CORO_API coro_op coro_send_to(coro_task *co, coro_fd *h, coro_datagram *d)
{
    return coro__fd_begin(co, h, CORO_OUT, CORO__IO_SEND_TO, (intptr_t)d, 0);
}

/* @impl stream */

/* @impl thread */

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

/* --- signals -------------------------------------------------------------------------------------
 * A loop has one hub while it has watchers. What comes is told to all that watch it:
 *
 *     kernel -> hub's descriptor -> watcher.come, hub.untaken -> coro_signals_wait
 *
 * untaken: has come, and no watcher has taken it. A signal whose last watcher goes is raised anew
 * when it is still untaken.
 */
struct coro__signal_hub {
    coro__watched w; /* must be first: the signalfd, or the pipe's end */
    coro_reactor *reactor;
    coro_signals *first;
    uint64_t watched;  /* by anybody */
    uint64_t untaken;  /* see above */
    uint64_t blocked;  /* signalfd: by somebody else, before us */
    int in;            /* pipe: where the handler writes */
    struct coro__signal_before *before; /* pipe: what the signals did */
};

static inline uint64_t coro__signal_bit(int n)
{
    return (uint64_t)1 << (n - 1);
}

/* The lowest one: its number. */
static inline int coro__signal_lowest(uint64_t set)
{
    return __builtin_ctzll(set) + 1;
}

static inline sigset_t coro__signal_set(uint64_t set)
{
    sigset_t s;
    sigemptyset(&s);
    for (; set; set &= set - 1)
        sigaddset(&s, coro__signal_lowest(set));
    return s;
}

#if CORO_IO_SIGNALFD
/* The signals are blocked, so that they stay in the kernel until they are read. */
static inline int coro__signal_source(struct coro__signal_hub *hub)
{
    sigset_t none;
    int number;
    sigemptyset(&none);
    number = signalfd(-1, &none, SFD_NONBLOCK | SFD_CLOEXEC);
    return number < 0 ? -errno : number;
}

static inline int coro__signal_begin(struct coro__signal_hub *hub, int n)
{
    sigset_t one = coro__signal_set(coro__signal_bit(n)), all, before;
    all = coro__signal_set(hub->watched | coro__signal_bit(n));
    pthread_sigmask(SIG_BLOCK, &one, &before);
    if (sigismember(&before, n))
        hub->blocked |= coro__signal_bit(n);
    (void)signalfd(coro_fd_number(&hub->w.h), &all, 0);
    return 0;
}

static inline uint64_t coro__signal_read(struct coro__signal_hub *hub)
{
    struct signalfd_siginfo came[4];
    uint64_t set = 0;
    for (;;) {
        ssize_t n = read(coro_fd_number(&hub->w.h), came, sizeof came);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return set;
        for (size_t i = 0; i < (size_t)n / sizeof came[0]; i++)
            set |= coro__signal_bit((int)came[i].ssi_signo);
    }
}

/* Nothing yet: what comes meanwhile is still to be read. */
static inline void coro__signal_end(struct coro__signal_hub *hub, int n)
{
}

static inline void coro__signal_free(struct coro__signal_hub *hub, uint64_t gone)
{
    sigset_t ours = coro__signal_set(gone & ~hub->blocked);
    sigset_t rest = coro__signal_set(hub->watched);
    (void)signalfd(coro_fd_number(&hub->w.h), &rest, 0);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    hub->blocked &= ~gone;
}

static inline void coro__signal_source_close(struct coro__signal_hub *hub)
{
}
#else
/* What a signal did before. */
struct coro__signal_before {
    struct coro__signal_before *next;
    int number;
    struct sigaction action;
};

/* For the handler, which is told nothing but a number: the library's only static variable but one. A
 * forked child has a copy, in which nothing is its own. */
struct coro__signal_pipes {
    int to[65];      /* where each signal is written to, + 1 */
    pid_t owner[65]; /* the process whose hub that is */
    int came[65];    /* not read yet: a full pipe loses none */
    int inside;      /* handlers that run */
};

static inline struct coro__signal_pipes *coro__signal_pipes(void)
{
    static struct coro__signal_pipes one;
    return &one;
}

static inline void coro__signal_handler(int n)
{
    struct coro__signal_pipes *pipes = coro__signal_pipes();
    int saved = errno, number1;
    __atomic_add_fetch(&pipes->inside, 1, __ATOMIC_SEQ_CST);
    number1 = __atomic_load_n(&pipes->to[n], __ATOMIC_SEQ_CST);
    if (number1 && __atomic_load_n(&pipes->owner[n], __ATOMIC_SEQ_CST) == getpid()) {
        ssize_t sent;
        __atomic_store_n(&pipes->came[n], 1, __ATOMIC_SEQ_CST);
        sent = write(number1 - 1, "", 1);
        (void)sent; /* full: then it will be looked at anyhow */
    }
    __atomic_sub_fetch(&pipes->inside, 1, __ATOMIC_SEQ_CST);
    errno = saved;
}

static inline int coro__signal_source(struct coro__signal_hub *hub)
{
    int ends[2], rc = coro__pipe(ends);
    if (rc < 0)
        return rc;
    (void)coro__no_block(ends[0]);
    (void)coro__no_block(ends[1]);
    hub->in = ends[1];
    return ends[0];
}

static inline int coro__signal_begin(struct coro__signal_hub *hub, int n)
{
    struct coro__signal_pipes *pipes = coro__signal_pipes();
    struct sigaction action;
    struct coro__signal_before *b = (struct coro__signal_before *)coro_loop_alloc(
        hub->reactor->loop, sizeof *b);
    pid_t us = getpid(), owner = __atomic_load_n(&pipes->owner[n], __ATOMIC_SEQ_CST);
    if (!b)
        return -ENOMEM;
    if (owner == us || !__atomic_compare_exchange_n(&pipes->owner[n], &owner, us, false,
                                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        coro_loop_free(hub->reactor->loop, b, sizeof *b);
        return -EBUSY;
    }
    __atomic_store_n(&pipes->to[n], hub->in + 1, __ATOMIC_SEQ_CST);
    memset(&action, 0, sizeof action);
    action.sa_handler = coro__signal_handler;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    (void)sigaction(n, &action, &b->action);
    b->number = n;
    b->next = hub->before;
    hub->before = b;
    return 0;
}

static inline uint64_t coro__signal_read(struct coro__signal_hub *hub)
{
    struct coro__signal_pipes *pipes = coro__signal_pipes();
    char drop[64];
    uint64_t set = 0;
    ssize_t n;
    do
        n = read(coro_fd_number(&hub->w.h), drop, sizeof drop);
    while (n > 0 || (n < 0 && errno == EINTR));
    for (uint64_t left = hub->watched; left; left &= left - 1) {
        if (__atomic_exchange_n(&pipes->came[coro__signal_lowest(left)], 0, __ATOMIC_SEQ_CST))
            set |= coro__signal_bit(coro__signal_lowest(left));
    }
    return set;
}

static inline void coro__signal_end(struct coro__signal_hub *hub, int n)
{
    struct coro__signal_pipes *pipes = coro__signal_pipes();
    struct coro__signal_before *b, **at = &hub->before;
    while ((*at)->number != n)
        at = &(*at)->next;
    b = *at;
    *at = b->next;
    (void)sigaction(n, &b->action, NULL);
    coro_loop_free(hub->reactor->loop, b, sizeof *b);
    while (__atomic_load_n(&pipes->inside, __ATOMIC_SEQ_CST)) /* in other threads */
        sched_yield();
    __atomic_store_n(&pipes->to[n], 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&pipes->owner[n], 0, __ATOMIC_SEQ_CST);
}

static inline void coro__signal_free(struct coro__signal_hub *hub, uint64_t gone)
{
}

static inline void coro__signal_source_close(struct coro__signal_hub *hub)
{
    close(hub->in);
}
#endif /* CORO_IO_SIGNALFD */

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
static inline void coro__signals_hear(coro__watched *w)
{
    struct coro__signal_hub *hub = (struct coro__signal_hub *)(void *)w;
    uint64_t came = coro__signal_read(hub) & hub->watched;
    hub->untaken |= came;
    for (coro_signals *s = hub->first; s && came; s = s->next) {
        s->come |= came & s->watched;
    }
    for (coro_signals *s = hub->first; s && came; s = s->next) {
        coro_task *task = s->queue.head;
        if (!task || !s->come)
            continue;
        coro_loop_release(hub->reactor->loop);
        (void)coro_complete(task, coro__signals_take(s));
    }
}

/* Nobody watches these any more: as they were. What was caught is raised anew. */
static inline void coro__signals_restore(struct coro__signal_hub *hub, uint64_t gone)
{
    for (uint64_t left = gone; left; left &= left - 1)
        coro__signal_end(hub, coro__signal_lowest(left));
    coro__signals_hear(&hub->w); /* this moment's */
    hub->watched &= ~gone;
    for (uint64_t left = gone & hub->untaken; left; left &= left - 1)
        (void)kill(getpid(), coro__signal_lowest(left));
    hub->untaken &= ~gone;
    coro__signal_free(hub, gone);
}

static inline void coro__signal_hub_close(struct coro__signal_hub *hub)
{
    coro_reactor *r = hub->reactor;
    coro__watched_close(&hub->w);
    coro__signal_source_close(hub);
    coro_loop_free(r->loop, hub, sizeof *hub);
    r->signals = NULL;
}

/* The loop's hub, made if need be. Null: *rc says why. */
static inline struct coro__signal_hub *coro__signal_hub_of(coro_task *co, int *rc)
{
    coro_reactor *r = coro__reactor_of(coro_loop_of(co), rc);
    struct coro__signal_hub *hub, fresh = CORO__ZERO;
    int number;
    if (!r || r->signals)
        return r ? r->signals : NULL;
    hub = (struct coro__signal_hub *)coro_loop_alloc(r->loop, sizeof *hub);
    *rc = -ENOMEM;
    if (!hub)
        return NULL;
    *hub = fresh;
    hub->reactor = r;
    *rc = number = coro__signal_source(hub);
    if (number < 0) {
        coro_loop_free(r->loop, hub, sizeof *hub);
        return NULL;
    }
    coro__watched_open(&hub->w, number, coro__signals_hear);
    *rc = coro__fd_register(co, &hub->w.h);
    if (*rc < 0) {
        coro__signal_hub_close(hub);
        return NULL;
    }
    r->signals = hub;
    return hub;
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
    coro__signals_hear(&hub->w); /* what came before is not for this one */
    for (uint64_t left = fresh.watched & ~hub->watched; left && rc >= 0; left &= left - 1) {
        rc = coro__signal_begin(hub, coro__signal_lowest(left));
        if (rc >= 0)
            begun |= coro__signal_bit(coro__signal_lowest(left));
        hub->watched |= begun;
    }
    if (rc < 0) {
        coro__signals_restore(hub, begun);
        if (!hub->first)
            coro__signal_hub_close(hub);
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
    coro__signals_hear(&s->hub->w);
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
    coro__signals_hear(&hub->w);
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
    if (!hub->first)
        coro__signal_hub_close(hub);
    *s = closed;
    return 0;
}

/* The loop ends before its watchers. */
static inline void coro__signals_fini(coro_reactor *r)
{
    while (r->signals)
        (void)coro_signals_close(r->signals->first);
}

/* --- coro_main -------------------------------------------------------------------------------- */

/* A coro_main that runs. */
struct coro__main_watch {
    coro_post_node node; /* must be first: posted by the handler */
    coro_note note;      /* left with the task */
    coro_task *task;
    coro_loop loop;
    pid_t owner;         /* the process: a forked child has a copy */
    int came;            /* the signal; 0: none yet */
    bool ended;          /* the task */
    bool told;           /* the task, of the signal */
    bool caused;         /* its cancellation */
    bool ours[2];        /* SIGINT, SIGTERM: we have a handler for it */
};

/* For the handler. The other static variable of the library. */
struct coro__main_static {
    struct coro__main_watch *watch;
    int inside; /* handlers that run */
};

static inline struct coro__main_static *coro__main_shared(void)
{
    static struct coro__main_static one;
    return &one;
}

static inline void coro__main_default(const struct coro__main_watch *m)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigemptyset(&action.sa_mask);
    if (m->ours[0])
        (void)sigaction(SIGINT, &action, NULL);
    if (m->ours[1])
        (void)sigaction(SIGTERM, &action, NULL);
}

/* The first one posts, and lets the second one kill, even if the loop never looks again. */
static inline void coro__main_handler(int n)
{
    struct coro__main_static *one = coro__main_shared();
    struct coro__main_watch *m;
    int saved = errno;
    __atomic_add_fetch(&one->inside, 1, __ATOMIC_SEQ_CST);
    m = __atomic_load_n(&one->watch, __ATOMIC_SEQ_CST);
    if (m)
        coro__main_default(m);
    if (m && m->owner != getpid()) {
        (void)raise(n); /* not ours to handle: once this handler is left, as without us */
    } else if (m) {
        __atomic_store_n(&m->came, n, __ATOMIC_SEQ_CST);
        (void)coro_post(&m->loop, &m->node);
    }
    __atomic_sub_fetch(&one->inside, 1, __ATOMIC_SEQ_CST);
    errno = saved;
}

/* On the loop's thread. */
static inline void coro__main_cancel(coro_loop *loop, coro_post_node *node)
{
    struct coro__main_watch *m = (struct coro__main_watch *)(void *)node;
    if (m->ended)
        return;
    m->told = true;
    m->caused = !coro_cancelled(m->task) && coro_task_cancel(m->task) == 1;
}

static inline void coro__main_ended(coro_note *note, coro_task *task)
{
    CORO__AROUND(struct coro__main_watch, note, note)->ended = true;
}

/* Unless somebody else, or the user, has the signals. */
static inline void coro__main_begin(struct coro__main_watch *m)
{
    static const int signals[2] = {SIGINT, SIGTERM};
    struct coro__main_static *one = coro__main_shared();
    struct coro__main_watch *old = __atomic_load_n(&one->watch, __ATOMIC_SEQ_CST);
    struct sigaction action, now;
    m->owner = getpid();
    if ((old && old->owner == m->owner) ||
        !__atomic_compare_exchange_n(&one->watch, &old, m, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return;
    memset(&action, 0, sizeof action);
    action.sa_handler = coro__main_handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    for (int i = 0; i < 2; i++) {
        if (sigaction(signals[i], NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
            (now.sa_handler == SIG_DFL || now.sa_handler == coro__main_handler))
            m->ours[i] = true; /* before the handler, which looks at it */
        if (m->ours[i])
            (void)sigaction(signals[i], &action, NULL);
    }
}

static inline void coro__main_finish(struct coro__main_watch *m)
{
    struct coro__main_static *one = coro__main_shared();
    if (__atomic_load_n(&one->watch, __ATOMIC_SEQ_CST) != m)
        return;
    if (!__atomic_load_n(&m->came, __ATOMIC_SEQ_CST))
        coro__main_default(m);
    __atomic_store_n(&one->watch, NULL, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&one->inside, __ATOMIC_SEQ_CST)) /* in other threads */
        sched_yield();
}

CORO_API int coro__main(const coro_options *options, coro_task *task, const coro_info *info)
{
    struct coro__main_watch m;
    int rc;
    memset(&m, 0, sizeof m);
    rc = coro_loop_init(&m.loop, options);
    if (rc < 0)
        return rc;
    m.node.run = coro__main_cancel;
    m.note.ended = coro__main_ended;
    m.task = task;
    task->core.flags = 0;
    task->core.outer = NULL;
    m.loop.main = task;
    rc = coro__start(&m.loop.root, task, info);
    if (rc == 0) {
        coro_note_add(task, &m.note);
        coro__main_begin(&m);
        rc = coro_loop_run(&m.loop);
        coro__main_finish(&m);
        if (rc == 0)
            rc = coro_task_result(task);
    }
    (void)coro_loop_fini(&m.loop);
    if (m.came && !m.told)
        (void)raise(m.came);
    return rc == -ECANCELED && m.caused ? -EINTR : rc;
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
    do
        got = waitpid(pid, status, flags);
    while (got < 0 && errno == EINTR);
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
    do
        n = pid < 0 ? 0 : read(ends[0], &error, sizeof error); /* nothing: exec has closed it */
    while (n < 0 && errno == EINTR);
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
        *theirs = open("/dev/null", O_RDWR | O_CLOEXEC);
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
    do
        rc = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOWAIT | flags);
    while (rc < 0 && errno == EINTR);
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

static inline void coro__process_ready(coro__watched *w)
{
    coro__process_reap(CORO__AROUND(coro_process, watched, w), WNOHANG);
}

/* Where there is no pidfd: wait for it, and close the pipe. */
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
    int ends[2], number = -1, rc;
    if (p->watched.h.number1 && !p->watched.h.reactor)
        return coro__fd_register(co, &p->watched.h); /* the loop it was watched by has ended */
    if (p->watched.h.number1)
        return p->watched.h.reactor->loop == coro_loop_of(co) ? 0 : -EINVAL;
#if CORO_IO_PIDFD
    number = (int)syscall(SYS_pidfd_open, p->pid, 0u);
    if (number < 0 && errno != ENOSYS && errno != EPERM) /* too old, or forbidden: a thread */
        return -errno;
#endif /* CORO_IO_PIDFD */
    ends[1] = -1;
    if (number < 0) {
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
    if (rc == -ESRCH) /* it has ended this moment, and SIGCHLD is ignored */
        coro__process_ended(p, rc = -ECHILD);
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

CORO__COROUTINE(coro__process_feed)
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

CORO__COROUTINE(coro__process_drain)
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

CORO__COROUTINE(coro_process_task)
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
