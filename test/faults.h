/* faults.h -- make the n-th call of a system function in coro_io.h fail, for all n. Include it
 * before coro_io.h.
 *
 *   #include "faults.h"
 *   #include "coro_io.h"
 *
 *   faults_arm("recv", EINTR, 3);       the third recv is interrupted; 0: three of four are
 *   rc = coro_run(app);
 *   if (faults_disarm()) ...            it came to that
 *
 * FAULT_SHORT as the error: what moves bytes moves one. A failure leaves nothing done; only an
 * interrupted connect goes on, and a close that fails has closed. What a wrong EAGAIN and a wrong
 * short read promise, an edge when there is more, is kept: the descriptor is armed anew.
 *
 * What is in the macros below is wrapped in all that follows, the test's own calls, too: they
 * count only between arm and disarm. The calls of a child before it executes its program count as
 * well: what is counted is in memory that is shared with it.
 *
 * Time: a sleep in which nothing comes for a moment ends there, and the clock has jumped to its
 * end. So whatever hangs meets its deadline soon.
 */
#ifndef FAULTS_H
#define FAULTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif /* !_GNU_SOURCE */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifndef CORO_IO_BACKEND
#define CORO_IO_BACKEND 1
#endif /* !CORO_IO_BACKEND */
#define FAULTS_KQUEUE (CORO_IO_BACKEND == 2)
#if FAULTS_KQUEUE
#include <sys/event.h>
typedef struct kevent faults_event;
#else
typedef struct epoll_event faults_event;
#endif /* FAULTS_KQUEUE */

#define FAULT_SHORT INT_MIN
#define FAULTS_KNOWN 64 /* descriptors watched for edges */

/* The calls, and the errors that each may have, as its manual page says, in the way it is used.
 * unseen: changes nothing that a program sees. told: somebody's result. write: not into wakers,
 * which are never refused when it matters, nor by a child to a parent that waits for it. Not here:
 * fcntl but for copies (of a descriptor that is open it gives no error), pthread_sigmask,
 * sigpending, sigaction, clock_gettime (likewise). */
static const struct faults_call {
    const char *name;
    int unseen[14], told[14];
} faults_calls[] = {
    {"socket", {0}, {EMFILE, ENFILE, ENOMEM, ENOBUFS, EACCES, EAFNOSUPPORT}},
    {"bind", {0}, {EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM, EROFS, ENOENT, ENOTDIR, ELOOP}},
    {"listen", {0}, {EADDRINUSE}},
    {"accept4",
     {EINTR, EAGAIN, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH,
      ENOPROTOOPT, EOPNOTSUPP, ENONET},
     {EMFILE, ENFILE, ENOMEM, ENOBUFS}},
    {"connect", {EINTR}, {ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EADDRNOTAVAIL, EACCES,
                          EPERM, EAGAIN, ECONNRESET}},
    {"recv", {EINTR, EAGAIN, FAULT_SHORT}, {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM}},
    {"recvmsg", {EINTR, EAGAIN}, {ECONNREFUSED, ENOMEM}},
    {"send", {EINTR, EAGAIN, FAULT_SHORT}, {ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS, ENOMEM}},
    {"sendmsg", {EINTR, EAGAIN, FAULT_SHORT}, {ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS, ENOMEM}},
    {"sendto", {EINTR, EAGAIN}, {ECONNREFUSED, ENETUNREACH, EMSGSIZE, ENOBUFS, ENOMEM, EACCES}},
    {"read", {EINTR, EAGAIN, FAULT_SHORT}, {EIO}},
    {"readv", {EINTR, EAGAIN, FAULT_SHORT}, {EIO, ECONNRESET, ENOMEM}},
    {"writev", {EINTR, EAGAIN, FAULT_SHORT}, {EPIPE, EIO, ENOSPC, EDQUOT, EFBIG}},
    {"write", {EINTR, EAGAIN, FAULT_SHORT}, {EPIPE, EIO, ENOSPC, EDQUOT, EFBIG}},
    {"sendfile", /* by hand where it does not work; on other systems it says so in other words */
     {EINTR, EAGAIN, FAULT_SHORT, EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP},
     {ECONNRESET, EPIPE, EIO, ENOMEM, EOVERFLOW}},
    {"close", {EINTR}, {EIO, ENOSPC, EDQUOT}},
    {"fcntl", {0}, {EMFILE}}, /* F_DUPFD_CLOEXEC */
    {"shutdown", {0}, {ENOTCONN, ENOBUFS}},
    {"getsockopt", {0}, {ENOBUFS}},
    {"setsockopt", {0}, {ENOMEM, ENOBUFS, ENOPROTOOPT}},
    {"getsockname", {0}, {ENOBUFS}},
    {"getpeername", {0}, {ENOBUFS, ENOTCONN}},
    {"lstat", {0}, {EACCES, ENOMEM, ENOENT}},
    {"unlink", {0}, {EACCES, EPERM, EIO, EBUSY, ENOENT, EROFS}},
    {"pipe2", {0}, {EMFILE, ENFILE}},
    /* the poller and its waker */
    {"epoll_create1", {0}, {EMFILE, ENFILE, ENOMEM}},
    {"eventfd", {0}, {EMFILE, ENFILE, ENODEV, ENOMEM}},
    {"epoll_ctl", {0}, {ENOMEM, ENOSPC}},
    {"epoll_wait", {EINTR}, {0}},
    {"epoll_pwait2", {EINTR, ENOSYS, EPERM}, {0}}, /* too old, or forbidden: without it */
    {"kqueue", {0}, {EMFILE, ENFILE, ENOMEM}},
    {"kevent", {0}, {ENOMEM}}, /* each addition */
    {"kevent that waits", {EINTR}, {0}},
    {"pipe", {0}, {EMFILE, ENFILE}},
    {"poll", {EINTR}, {0}},             /* of one, without waiting */
    {"poll that waits", {EINTR, ENOMEM}, {0}},
    /* files */
    {"open", {EINTR}, {EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ENOSPC, EROFS, EIO}},
    {"pread", {EINTR, FAULT_SHORT}, {EIO}},
    {"pwrite", {EINTR, FAULT_SHORT}, {EIO, ENOSPC, EDQUOT, EFBIG, EPERM}},
    {"fstat", {0}, {ENOMEM, EOVERFLOW, EIO}},
    {"fsync", {EINTR}, {EIO, ENOSPC, EDQUOT, EROFS}},
    /* processes: ours, then the child's until it is another program */
    {"vfork", {0}, {EAGAIN, ENOMEM}},
    {"waitpid", {EINTR}, {0}},
    {"waitid", {EINTR}, {0}},
    {"kill", {0}, {EPERM}},
    {"pidfd_open", {ENOSYS, EPERM}, {EMFILE, ENFILE, ENODEV, ENOMEM}}, /* unseen: by a thread */
    {"setpgid", {0}, {EPERM, EACCES}},
    {"dup2", {0}, {EBUSY, EMFILE}},
    {"chdir", {0}, {EACCES, EIO, ELOOP, ENOENT, ENOTDIR, ENOMEM}},
    {"close_range", {ENOSYS, EPERM}, {0}},
    {"execve", {0}, {E2BIG, EACCES, EIO, EMFILE, ENFILE, ENOENT, ENOEXEC, ENOMEM, ETXTBSY, EPERM,
                     EAGAIN, ELOOP}},
    /* the library's */
    {"malloc", {0}, {ENOMEM}},
    {"calloc", {0}, {ENOMEM}},
    {"pthread_attr_init", {0}, {ENOMEM}},
    {"pthread_create", {0}, {EAGAIN, EPERM}},
    {"pthread_mutex_init", {0}, {EAGAIN, ENOMEM}},
    {"pthread_cond_init", {0}, {EAGAIN, ENOMEM}},
    {"pthread_condattr_init", {0}, {ENOMEM}},
    {"getaddrinfo", {0}, {EAI_AGAIN, EAI_FAIL, EAI_FAMILY, EAI_MEMORY, EAI_NODATA, EAI_SERVICE,
                          EAI_SYSTEM, EAI_NONAME, EAI_BADFLAGS, EAI_SOCKTYPE, EAI_ADDRFAMILY}},
};

/* Whose event it is; null: a waker's. */
static inline const void *faults_user(const faults_event *e)
{
#if FAULTS_KQUEUE
    return e->udata;
#else
    return e->data.ptr;
#endif /* FAULTS_KQUEUE */
}

enum { FAULTS_CALLS = sizeof faults_calls / sizeof *faults_calls };

/* Shared with children. */
static struct faults {
    int call, error, at; /* the at-th time that it is called; at 0: three of four times */
    int calls[FAULTS_CALLS], struck;
} *faults;

static int64_t faults_ahead; /* of the clock, in ns */

/* Whose edges are promised. */
static struct {
    int poller, number, filter; /* filter: kqueue's */
    faults_event event;
} faults_known[FAULTS_KNOWN];
static pthread_mutex_t faults_lock = PTHREAD_MUTEX_INITIALIZER; /* of these */

static inline int faults_row(const char *name)
{
    int call = 0;
    while (call < FAULTS_CALLS && strcmp(name, faults_calls[call].name) != 0)
        call++;
    if (call == FAULTS_CALLS)
        abort();
    return call;
}

/* name null: nothing fails, but is counted. */
static inline void faults_arm(const char *name, int error, int at)
{
    if (!faults) {
        faults = (struct faults *)mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (faults == MAP_FAILED)
            abort();
    }
    memset(faults, 0, sizeof *faults);
    memset(faults_known, 0, sizeof faults_known);
    faults_ahead = 0;
    faults->error = error;
    faults->at = at;
    faults->call = name ? faults_row(name) + 1 : -1;
}

static inline bool faults_disarm(void)
{
    faults->call = 0;
    return faults->struck > 0;
}

static inline bool faults_armed(void)
{
    return faults && faults->call;
}

/* Is it this call? Sets errno. */
static inline bool faults_strike(const char *name)
{
    int call, n;
    if (!faults_armed())
        return false;
    call = faults_row(name);
    n = __atomic_add_fetch(&faults->calls[call], 1, __ATOMIC_SEQ_CST);
    if (call + 1 != faults->call || (faults->at ? n != faults->at : n % 4 == 0))
        return false;
    (void)__atomic_add_fetch(&faults->struck, 1, __ATOMIC_SEQ_CST);
    errno = faults->error;
    return true;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* For how many ms to sleep in place of d ns, less than 0: for ever. What is meant to be a time that
 * never comes is given some. */
static inline int faults_pause(int64_t d)
{
    return d < 0 ? -1 : d > 100000000000 ? 2000 : d > 1000000000 ? 20 : d > 0;
}

static inline int faults_slept(int came, int64_t d)
{
    if (came == 0 && d > 0)
        (void)__atomic_add_fetch(&faults_ahead, d, __ATOMIC_SEQ_CST);
    return came;
}

static inline int faults_clock(clockid_t clock, struct timespec *t)
{
    int rc = clock_gettime(clock, t);
    int64_t ahead = __atomic_load_n(&faults_ahead, __ATOMIC_SEQ_CST) + t->tv_nsec;
    t->tv_sec += (time_t)(ahead / 1000000000);
    t->tv_nsec = (long)(ahead % 1000000000);
    return rc;
}

#if FAULTS_KQUEUE
static inline int faults_kevent_wait(int kq, struct kevent *events, int room,
                                     const struct timespec *timeout)
{
    int64_t d = timeout ? (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec : -1;
    int ms = faults_pause(d);
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
    if (faults_strike("kevent that waits"))
        return -1;
    return faults_slept(kevent(kq, NULL, 0, events, room, ms < 0 ? NULL : &pause), d);
}
#else
static inline int faults_epoll_wait(int poller, struct epoll_event *e, int n, int ms)
{
    int64_t d = (int64_t)ms * 1000000;
    return faults_strike("epoll_wait") ? -1
                                       : faults_slept(epoll_wait(poller, e, n, faults_pause(d)), d);
}
#endif /* FAULTS_KQUEUE */

static inline int faults_poll(struct pollfd *p, nfds_t n, int ms)
{
    int64_t d = (int64_t)ms * 1000000;
    return faults_strike(ms ? "poll that waits" : "poll") ? -1
                                                 : faults_slept(poll(p, n, faults_pause(d)), d);
}

/* epoll_pwait2's arguments. */
static inline long faults_pwait2(va_list args)
{
    int poller = va_arg(args, int);
    struct epoll_event *events = va_arg(args, struct epoll_event *);
    int n = va_arg(args, int), ms;
    const int64_t *t = va_arg(args, const int64_t *);
    int64_t d = t[0] * 1000000000 + t[1], pause[2];
    if (faults_strike("epoll_pwait2"))
        return -1;
    ms = faults_pause(d);
    pause[0] = ms / 1000;
    pause[1] = (int64_t)(ms % 1000) * 1000000;
    return faults_slept((int)syscall(SYS_epoll_pwait2, poller, events, n, pause, NULL, (size_t)0),
                        d);
}

static inline long faults_syscall(long number, ...)
{
    va_list args;
    unsigned a, b = 0, c = 0;
    long rc = -1;
    va_start(args, number);
    if (number == SYS_epoll_pwait2) {
        rc = faults_pwait2(args);
    } else if (!faults_strike(number == SYS_pidfd_open ? "pidfd_open" : "close_range")) {
        a = va_arg(args, unsigned);
        b = va_arg(args, unsigned);
        if (number == SYS_close_range)
            c = va_arg(args, unsigned);
        rc = syscall(number, a, b, c);
    }
    va_end(args);
    return rc;
}

/* ---- moving bytes ---------------------------------------------------------------------------- */

/* A descriptor is watched, or not any more. */
static inline void faults_note(int poller, int number, int filter, const faults_event *e, bool gone)
{
    int i = 0;
    pthread_mutex_lock(&faults_lock);
    while (i < FAULTS_KNOWN && (faults_known[i].number != number ||
                                faults_known[i].filter != filter))
        i++;
    for (i %= FAULTS_KNOWN; faults_known[i].number > 0 && (faults_known[i].number != number ||
                                                           faults_known[i].filter != filter);)
        if (++i == FAULTS_KNOWN)
            abort();
    faults_known[i].poller = poller;
    faults_known[i].number = gone ? -1 : number;
    faults_known[i].filter = filter;
    faults_known[i].event = *e;
    pthread_mutex_unlock(&faults_lock);
}

static inline void faults_arm_anew(int poller, int number, faults_event *e)
{
#if FAULTS_KQUEUE
    (void)number;
    (void)kevent(poller, e, 1, NULL, 0, NULL);
#else
    (void)epoll_ctl(poller, EPOLL_CTL_MOD, number, e);
#endif /* FAULTS_KQUEUE */
}

/* More is to be had than was said: the kernel would tell. */
static inline void faults_edge(int number)
{
    int saved = errno;
    pthread_mutex_lock(&faults_lock);
    for (int i = 0; i < FAULTS_KNOWN; i++)
        if (faults_known[i].number == number)
            faults_arm_anew(faults_known[i].poller, number, &faults_known[i].event);
    pthread_mutex_unlock(&faults_lock);
    errno = saved;
}

static inline bool faults_is_waker(int number)
{
    bool is = false;
    pthread_mutex_lock(&faults_lock);
    for (int i = 0; i < FAULTS_KNOWN && !is; i++)
        is = faults_known[i].number == number && !faults_user(&faults_known[i].event);
    pthread_mutex_unlock(&faults_lock);
    return is;
}

#if FAULTS_KQUEUE
/* One by one: each has its own answer. Taking away and triggering do not fail. */
static inline int faults_kevent(int kq, const struct kevent *changes, int n, struct kevent *events,
                                int room, const struct timespec *timeout)
{
    for (int i = 0; i < n; i++) {
        struct kevent e = changes[i]; /* events may be the same array */
        if (e.flags & EV_ADD && faults_strike("kevent")) {
            if (!room)
                return -1;
            events[i] = e;
            events[i].flags = EV_ERROR;
            events[i].data = errno;
        } else if (kevent(kq, &e, 1, room ? &events[i] : NULL, room > 0, timeout) < 0) {
            return -1;
        } else if (faults_armed() && (e.filter == EVFILT_READ || e.filter == EVFILT_WRITE) &&
                   e.flags & (EV_ADD | EV_DELETE) && !(e.flags & EV_ONESHOT)) {
            bool gone = (e.flags & EV_ADD) == 0 || (room && events[i].data);
            e.flags &= (unsigned short)~EV_RECEIPT;
            faults_note(kq, (int)e.ident, e.filter, &e, gone);
        }
    }
    return n ? room ? n : 0 : faults_kevent_wait(kq, events, room, timeout);
}
#else
static inline int faults_epoll_ctl(int poller, int what, int number, struct epoll_event *e)
{
    int rc;
    if (what != EPOLL_CTL_DEL && faults_strike("epoll_ctl"))
        return -1;
    rc = epoll_ctl(poller, what, number, e);
    if (faults_armed() && rc == 0)
        faults_note(poller, number, 0, e, what == EPOLL_CTL_DEL);
    return rc;
}
#endif /* FAULTS_KQUEUE */

/* A call that moves n bytes: how many it may, or -1. What blocks is interrupted, and else told what
 * is so; a waker has all or nothing. */
static inline ssize_t faults_move(const char *name, int number, size_t n)
{
    if (faults_armed() && (faults_is_waker(number) ||
                           (faults->error != EINTR && !(fcntl(number, F_GETFL) & O_NONBLOCK))))
        return (ssize_t)n;
    if (!faults_strike(name))
        return (ssize_t)n;
    if (faults->error == FAULT_SHORT || faults->error == EAGAIN)
        faults_edge(number);
    else if (faults->error == ECONNRESET || faults->error == ETIMEDOUT || faults->error == EPIPE ||
             faults->error == EHOSTUNREACH)
        (void)shutdown(number, SHUT_RDWR); /* if that is so, the connection is over */
    errno = faults->error;
    return faults->error == FAULT_SHORT ? (n > 0) : -1;
}

static inline ssize_t faults_recv(int number, void *to, size_t n, int flags)
{
    ssize_t most = faults_move("recv", number, n);
    return most < 0 ? -1 : recv(number, to, (size_t)most, flags);
}

static inline ssize_t faults_send(int number, const void *from, size_t n, int flags)
{
    ssize_t most = faults_move("send", number, n);
    return most < 0 ? -1 : send(number, from, (size_t)most, flags);
}

static inline ssize_t faults_read(int number, void *to, size_t n)
{
    ssize_t most = faults_move("read", number, n);
    return most < 0 ? -1 : read(number, to, (size_t)most);
}

static inline ssize_t faults_write(int number, const void *from, size_t n)
{
    ssize_t most = faults_armed() && !(fcntl(number, F_GETFL) & O_NONBLOCK)
                       ? (ssize_t)n : faults_move("write", number, n);
    return most < 0 ? -1 : write(number, from, (size_t)most);
}

static inline ssize_t faults_sendfile(int number, int file, off_t *at, size_t n)
{
    ssize_t most = faults_move("sendfile", number, n);
    return most < 0 ? -1 : sendfile(number, file, at, (size_t)most);
}

/* Of a file, which never waits. */
static inline ssize_t faults_pread(int number, void *to, size_t n, off_t at)
{
    bool strikes = faults_strike("pread");
    return strikes && faults->error != FAULT_SHORT ? -1 : pread(number, to, strikes ? 1 : n, at);
}

static inline ssize_t faults_pwrite(int number, const void *from, size_t n, off_t at)
{
    bool strikes = faults_strike("pwrite");
    return strikes && faults->error != FAULT_SHORT ? -1 : pwrite(number, from, strikes ? 1 : n, at);
}

/* How many parts of a vector may be moved, or -1. Short means less of its first part. */
static inline int faults_vector(const char *name, int number, const struct iovec *v, int count,
                                struct iovec *first)
{
    ssize_t most;
    *first = v[0];
    most = faults_move(name, number, v[0].iov_len);
    if (most < 0)
        return -1;
    first->iov_len = (size_t)most;
    return (size_t)most < v[0].iov_len ? 1 : count;
}

static inline ssize_t faults_readv(int number, const struct iovec *v, int count)
{
    struct iovec first;
    int n = faults_vector("readv", number, v, count, &first);
    return n < 0 ? -1 : readv(number, n < count ? &first : v, n);
}

static inline ssize_t faults_writev(int number, const struct iovec *v, int count)
{
    struct iovec first;
    int n = faults_vector("writev", number, v, count, &first);
    return n < 0 ? -1 : writev(number, n < count || count == 1 ? &first : v, n);
}

static inline ssize_t faults_sendmsg(int number, const struct msghdr *m, int flags)
{
    struct iovec first;
    struct msghdr less = *m;
    int n = faults_vector("sendmsg", number, m->msg_iov, (int)m->msg_iovlen, &first);
    if (n < 0)
        return -1;
    if (first.iov_len < m->msg_iov[0].iov_len) {
        less.msg_iov = &first;
        less.msg_iovlen = 1;
    }
    return sendmsg(number, &less, flags);
}

/* ---- calls that do something even so --------------------------------------------------------- */

static inline int faults_accept4(int number, struct sockaddr *a, socklen_t *n, int flags)
{
    if (!faults_strike("accept4"))
        return accept4(number, a, n, flags);
    if (errno == EAGAIN)
        faults_edge(number);
    return -1;
}

/* Local ones are made at once. */
static inline int faults_connect(int number, const struct sockaddr *a, socklen_t n)
{
    if (faults_armed() && faults->error == EINTR && a->sa_family == AF_UNIX)
        return connect(number, a, n);
    if (!faults_strike("connect"))
        return connect(number, a, n);
    if (faults->error == EINTR)
        (void)connect(number, a, n);
    errno = faults->error;
    return -1;
}

static inline int faults_close(int number)
{
    bool strikes = faults_strike("close");
    int rc;
    pthread_mutex_lock(&faults_lock);
    for (int i = 0; i < FAULTS_KNOWN; i++)
        if (faults_known[i].number == number || faults_known[i].poller == number)
            faults_known[i].number = -1;
    pthread_mutex_unlock(&faults_lock);
    rc = close(number);
    if (strikes)
        errno = faults->error;
    return strikes ? -1 : rc;
}

static inline int faults_getaddrinfo(const char *host, const char *port,
                                     const struct addrinfo *hints, struct addrinfo **all)
{
    int error;
    if (!faults_strike("getaddrinfo"))
        return getaddrinfo(host, port, hints, all);
    error = errno;
    errno = EMFILE; /* for EAI_SYSTEM */
    return error;
}

/* Copies only. The other operations here have an argument that is an int, or none. */
static inline int faults_fcntl(int number, int what, ...)
{
    va_list args;
    int value = 0;
    if (what == F_DUPFD_CLOEXEC && faults_strike("fcntl"))
        return -1;
    va_start(args, what);
    if (what == F_DUPFD_CLOEXEC || what == F_SETFL || what == F_SETFD)
        value = va_arg(args, int);
    va_end(args);
    return fcntl(number, what, value);
}

static inline int faults_open(const char *path, int flags, mode_t mode)
{
    return faults_strike("open") ? -1 : open(path, flags, mode);
}

/* It takes its time, and nobody sees the difference. */
static inline int faults_fsync(int number)
{
    (void)number;
    return faults_strike("fsync") ? -1 : 0;
}

static inline ssize_t faults_recvmsg(int number, struct msghdr *m, int flags)
{
    return faults_move("recvmsg", number, 1) < 0 ? -1 : recvmsg(number, m, flags);
}

static inline ssize_t faults_sendto(int number, const void *from, size_t n, int flags,
                                    const struct sockaddr *a, socklen_t size)
{
    return faults_move("sendto", number, 1) < 0 ? -1 : sendto(number, from, n, flags, a, size);
}

/* A waker's: all others are of pipe2. */
static inline int faults_pipe(int ends[2])
{
    faults_event none;
    memset(&none, 0, sizeof none);
    if (faults_strike("pipe") || pipe(ends) < 0)
        return -1;
    for (int i = 0; i < 2 && faults_armed(); i++)
        faults_note(-1, ends[i], 0, &none, false);
    return 0;
}

static inline void *faults_malloc(size_t n)
{
    return faults_strike("malloc") ? NULL : malloc(n);
}

static inline void *faults_calloc(size_t n, size_t size)
{
    return faults_strike("calloc") ? NULL : calloc(n, size);
}

/* ---- calls that only fail -------------------------------------------------------------------- */

/* Functions, not conditions in macros: those would be branches of the code that is measured. GIVES:
 * the error is what is returned. */
#define FAULTS_FAILS(name, parameters, ...)                                                       \
    static inline int faults_##name parameters                                                    \
    {                                                                                             \
        return faults_strike(#name) ? -1 : name(__VA_ARGS__);                                     \
    }
#define FAULTS_GIVES(name, parameters, ...)                                                       \
    static inline int faults_##name parameters                                                    \
    {                                                                                             \
        return faults_strike(#name) ? errno : name(__VA_ARGS__);                                  \
    }
FAULTS_FAILS(socket, (int family, int type, int protocol), family, type, protocol)
FAULTS_FAILS(bind, (int n, const struct sockaddr *a, socklen_t size), n, a, size)
FAULTS_FAILS(listen, (int n, int backlog), n, backlog)
FAULTS_FAILS(shutdown, (int n, int how), n, how)
FAULTS_FAILS(getsockopt, (int n, int level, int o, void *v, socklen_t *size), n, level, o, v, size)
FAULTS_FAILS(setsockopt, (int n, int level, int o, const void *v, socklen_t size), n, level, o, v,
             size)
FAULTS_FAILS(getsockname, (int n, struct sockaddr *a, socklen_t *size), n, a, size)
FAULTS_FAILS(getpeername, (int n, struct sockaddr *a, socklen_t *size), n, a, size)
FAULTS_FAILS(lstat, (const char *path, struct stat *st), path, st)
FAULTS_FAILS(fstat, (int n, struct stat *st), n, st)
FAULTS_FAILS(unlink, (const char *path), path)
FAULTS_FAILS(pipe2, (int ends[2], int flags), ends, flags)
#if FAULTS_KQUEUE
FAULTS_FAILS(kqueue, (void), )
#endif /* FAULTS_KQUEUE */
FAULTS_FAILS(epoll_create1, (int flags), flags)
FAULTS_FAILS(eventfd, (unsigned value, int flags), value, flags)
FAULTS_FAILS(waitpid, (pid_t pid, int *status, int flags), pid, status, flags)
FAULTS_FAILS(waitid, (idtype_t type, id_t id, siginfo_t *info, int flags), type, id, info, flags)
FAULTS_FAILS(kill, (pid_t pid, int n), pid, n)
FAULTS_FAILS(setpgid, (pid_t pid, pid_t group), pid, group)
FAULTS_FAILS(dup2, (int from, int to), from, to)
FAULTS_FAILS(chdir, (const char *path), path)
FAULTS_FAILS(execve, (const char *path, char *const *argv, char *const *env), path, argv, env)
FAULTS_GIVES(pthread_attr_init, (pthread_attr_t *a), a)
FAULTS_GIVES(pthread_create, (pthread_t *id, const pthread_attr_t *a, void *(*fn)(void *), void *x),
             id, a, fn, x)
FAULTS_GIVES(pthread_mutex_init, (pthread_mutex_t *m, const pthread_mutexattr_t *a), m, a)
FAULTS_GIVES(pthread_cond_init, (pthread_cond_t *c, const pthread_condattr_t *a), c, a)
FAULTS_GIVES(pthread_condattr_init, (pthread_condattr_t *a), a)

/* ---- from here on: names alone, so that what is called keeps its line ------------------------ */

#define vfork() (faults_strike("vfork") ? -1 : vfork()) /* must not be left before exec */
#define recv faults_recv
#define send faults_send
#define read faults_read
#define write(number, from, n) faults_write(number, from, n) /* (write): not */
#define sendfile faults_sendfile
#define pread faults_pread
#define pwrite faults_pwrite
#define readv faults_readv
#define writev faults_writev
#define recvmsg faults_recvmsg
#define sendmsg faults_sendmsg
#define sendto faults_sendto
#define accept4 faults_accept4
#define connect faults_connect
#define close faults_close
#define getaddrinfo faults_getaddrinfo
#define fcntl faults_fcntl
#define open faults_open
#define fsync faults_fsync
#define poll faults_poll
#if FAULTS_KQUEUE
#define kqueue faults_kqueue
#define kevent(...) faults_kevent(__VA_ARGS__) /* struct kevent is not meant */
#else
#define epoll_ctl faults_epoll_ctl
#define epoll_wait faults_epoll_wait
#endif /* FAULTS_KQUEUE */
#define syscall faults_syscall
#define malloc faults_malloc
#define calloc faults_calloc
#define socket faults_socket
#define bind faults_bind
#define listen faults_listen
#define shutdown faults_shutdown
#define getsockopt faults_getsockopt
#define setsockopt faults_setsockopt
#define getsockname faults_getsockname
#define getpeername faults_getpeername
#define lstat faults_lstat
#define fstat faults_fstat
#define unlink faults_unlink
#define pipe faults_pipe
#define pipe2 faults_pipe2
#define epoll_create1 faults_epoll_create1
#define eventfd faults_eventfd
#define waitpid faults_waitpid
#define waitid faults_waitid
#define kill faults_kill
#define setpgid faults_setpgid
#define dup2 faults_dup2
#define chdir faults_chdir
#define execve faults_execve
#define pthread_attr_init faults_pthread_attr_init
#define pthread_create faults_pthread_create
#define pthread_mutex_init faults_pthread_mutex_init
#define pthread_cond_init faults_pthread_cond_init
#define pthread_condattr_init faults_pthread_condattr_init
#define clock_gettime faults_clock

#endif /* FAULTS_H */
