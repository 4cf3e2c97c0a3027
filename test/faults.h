/* faults.h -- make the n-th system call of coro_io.h fail, for all n. Include it before coro_io.h.
 *
 *   #include "faults.h"
 *   #include "coro_io.h"
 *
 *   faults_arm(EINTR, 3);       the third call that may fail with EINTR does
 *   rc = coro_run(app);
 *   if (faults_disarm()) ...    it came to that
 *
 * FAULT_SHORT as the error: what moves bytes moves one. A failure leaves nothing done; only an
 * interrupted connect goes on, and an interrupted close has closed. What a wrong EAGAIN and a wrong
 * short read promise, an edge when there is more, is kept: the descriptor is armed anew.
 *
 * What is in the macros below is wrapped in all that follows, the test's own calls, too: they
 * count only between arm and disarm.
 */
#ifndef FAULTS_H
#define FAULTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif /* !_GNU_SOURCE */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#ifndef CORO_IO_BACKEND
#define CORO_IO_BACKEND 1
#endif /* !CORO_IO_BACKEND */
#if CORO_IO_BACKEND == 2
#include <sys/event.h>
typedef struct kevent faults_event;
#else
typedef struct epoll_event faults_event;
#endif /* CORO_IO_BACKEND == 2 */

#define FAULT_SHORT (-1)
#define FAULTS_KNOWN 64 /* descriptors watched for edges */

/* Kinds of calls: which errors they may have. */
enum faults_kind { FAULTS_MOVE, FAULTS_MAKE, FAULTS_ACCEPT, FAULTS_CONNECT, FAULTS_WAIT,
                   FAULTS_LOOK, FAULTS_CONTROL, FAULTS_CLOSE };

static struct faults {
    int error, at;      /* the at-th call that can have it; at 0: none */
    int calls;          /* such calls so far */
    bool struck;
    struct {
        int poller, number, filter; /* kqueue's */
        faults_event event;
    } known[FAULTS_KNOWN];
    int count;
} faults;

static inline void faults_arm(int error, int at)
{
    memset(&faults, 0, sizeof faults);
    faults.error = error;
    faults.at = at;
}

static inline bool faults_disarm(void)
{
    faults.at = 0;
    return faults.struck;
}

static inline bool faults_possible(enum faults_kind kind)
{
    switch (faults.error) {
    case FAULT_SHORT:
    case EAGAIN:
        return kind == FAULTS_MOVE || (faults.error == EAGAIN && kind == FAULTS_ACCEPT);
    case EINTR:
        return kind != FAULTS_MAKE && kind != FAULTS_CONTROL && kind != FAULTS_LOOK;
    case ECONNABORTED:
    case EPROTO:
        return kind == FAULTS_ACCEPT;
    case EMFILE:
    case ENFILE:
        return kind == FAULTS_MAKE || kind == FAULTS_ACCEPT;
    case ECONNREFUSED:
    case ENETUNREACH:
        return kind == FAULTS_CONNECT;
    case ENOSPC:
        return kind == FAULTS_CONTROL;
    case ECONNRESET:
        return kind == FAULTS_MOVE;
    case EIO:
        return kind == FAULTS_MOVE || kind == FAULTS_CLOSE;
    case ENOSYS:
        return kind == FAULTS_WAIT;
    default: /* ENOMEM, ENOBUFS */
        return kind != FAULTS_CLOSE && kind != FAULTS_WAIT;
    }
}

/* Is it this call? Sets errno. */
static inline bool faults_strike(enum faults_kind kind)
{
    if (!faults.at || faults.struck || !faults_possible(kind) || ++faults.calls != faults.at)
        return false;
    faults.struck = true;
    errno = faults.error;
    return true;
}

static inline void faults_arm_anew(int poller, int number, faults_event *e)
{
#if CORO_IO_BACKEND == 2
    (void)number;
    (void)kevent(poller, e, 1, NULL, 0, NULL);
#else
    (void)epoll_ctl(poller, EPOLL_CTL_MOD, number, e);
#endif /* CORO_IO_BACKEND == 2 */
}

/* More is to be had than was said: the kernel would tell. */
static inline void faults_edge(int number)
{
    int saved = errno;
    for (int i = 0; i < faults.count; i++)
        if (faults.known[i].number == number)
            faults_arm_anew(faults.known[i].poller, number, &faults.known[i].event);
    errno = saved;
}

/* A descriptor is watched, or not any more. */
static inline void faults_note(int poller, int number, int filter, const faults_event *e, bool gone)
{
    int i = 0;
    while (i < faults.count && (faults.known[i].number != number ||
                                faults.known[i].filter != filter))
        i++;
    if (i == FAULTS_KNOWN)
        abort();
    faults.count += i == faults.count;
    faults.known[i].poller = poller;
    faults.known[i].number = gone ? -1 : number;
    faults.known[i].filter = filter;
    faults.known[i].event = *e;
}

/* A call that moves n bytes: how many it may, or -1. */
static inline ssize_t faults_move(int number, size_t n)
{
    if (!faults_strike(FAULTS_MOVE))
        return (ssize_t)n;
    if (faults.error == FAULT_SHORT || faults.error == EAGAIN)
        faults_edge(number);
    return faults.error == FAULT_SHORT ? (n > 0) : -1;
}

static inline ssize_t faults_recv(int number, void *to, size_t n, int flags)
{
    ssize_t most = faults_move(number, n);
    return most < 0 ? -1 : recv(number, to, (size_t)most, flags);
}

static inline ssize_t faults_send(int number, const void *from, size_t n, int flags)
{
    ssize_t most = faults_move(number, n);
    return most < 0 ? -1 : send(number, from, (size_t)most, flags);
}

static inline ssize_t faults_read(int number, void *to, size_t n)
{
    ssize_t most = faults_move(number, n);
    return most < 0 ? -1 : read(number, to, (size_t)most);
}

static inline ssize_t faults_write(int number, const void *from, size_t n)
{
    ssize_t most = faults_move(number, n);
    return most < 0 ? -1 : write(number, from, (size_t)most);
}

/* A vector: short means less of its first part. */
static inline ssize_t faults_vector(int number, const struct iovec *v, int count, bool in)
{
    struct iovec first = v[0];
    ssize_t most = faults_move(number, first.iov_len);
    if (most < 0)
        return -1;
    if (faults.at && faults.error == FAULT_SHORT && (size_t)most < first.iov_len) {
        first.iov_len = (size_t)most;
        v = &first;
        count = 1;
    }
    return in ? readv(number, v, count) : writev(number, v, count);
}

static inline ssize_t faults_message(int number, struct msghdr *m, int flags, bool in)
{
    if (faults.error != FAULT_SHORT && faults_move(number, 1) < 0)
        return -1;
    return in ? recvmsg(number, m, flags) : sendmsg(number, m, flags);
}

static inline int faults_accept4(int number, struct sockaddr *a, socklen_t *n, int flags)
{
    if (!faults_strike(FAULTS_ACCEPT))
        return accept4(number, a, n, flags);
    if (errno == EAGAIN)
        faults_edge(number);
    return -1;
}

static inline int faults_connect(int number, const struct sockaddr *a, socklen_t n)
{
    if (!faults_strike(FAULTS_CONNECT))
        return connect(number, a, n);
    if (faults.error == EINTR)
        (void)connect(number, a, n);
    errno = faults.error;
    return -1;
}

static inline int faults_close(int number)
{
    bool strikes = faults_strike(FAULTS_CLOSE);
    int rc = close(number);
    for (int i = 0; i < faults.count; i++)
        if (faults.known[i].number == number || faults.known[i].poller == number)
            faults.known[i].number = -1;
    if (strikes)
        errno = faults.error;
    return strikes ? -1 : rc;
}

static inline int faults_epoll_ctl(int poller, int what, int number, struct epoll_event *e)
{
    int rc;
    if (what != EPOLL_CTL_DEL && faults_strike(FAULTS_CONTROL))
        return -1;
    rc = epoll_ctl(poller, what, number, e);
#if CORO_IO_BACKEND != 2
    if (faults.at && rc == 0)
        faults_note(poller, number, 0, e, what == EPOLL_CTL_DEL);
#endif /* CORO_IO_BACKEND != 2 */
    return rc;
}

#if CORO_IO_BACKEND == 2
/* Taking knotes away, and waking, cannot fail. */
static inline int faults_kevent(int kq, const struct kevent *changes, int n, struct kevent *events,
                                int room, const struct timespec *timeout)
{
    bool adds = false;
    for (int i = 0; i < n; i++)
        adds = adds || (changes[i].flags & EV_ADD);
    if ((adds || !n) && faults_strike(n ? FAULTS_CONTROL : FAULTS_WAIT))
        return -1;
    for (int i = 0; i < n && faults.at; i++) {
        struct kevent e = changes[i];
        e.flags &= (unsigned short)~EV_RECEIPT;
        if (e.filter == EVFILT_READ || e.filter == EVFILT_WRITE)
            faults_note(kq, (int)e.ident, e.filter, &e, !(e.flags & EV_ADD));
    }
    return kevent(kq, changes, n, events, room, timeout);
}
#define kevent(kq, changes, n, events, room, timeout) \
    faults_kevent(kq, changes, n, events, room, timeout)
#define kqueue() FAULTS_CALL(FAULTS_MAKE, kqueue())
#endif /* CORO_IO_BACKEND == 2 */

static inline int faults_poll(struct pollfd *p, nfds_t n, int ms)
{
    return faults_strike(ms ? FAULTS_WAIT : FAULTS_LOOK) ? -1 : poll(p, n, ms);
}

/* A macro's own name is not expanded again: these are the real ones. */
#define FAULTS_CALL(kind, call) (faults_strike(kind) ? -1 : (call))
#define recv(number, to, n, flags) faults_recv(number, to, n, flags)
#define send(number, from, n, flags) faults_send(number, from, n, flags)
#define read(number, to, n) faults_read(number, to, n)
#define write(number, from, n) faults_write(number, from, n)
#define readv(number, v, count) faults_vector(number, v, count, true)
#define writev(number, v, count) faults_vector(number, v, count, false)
#define recvmsg(number, m, flags) faults_message(number, m, flags, true)
#define sendmsg(number, m, flags) faults_message(number, m, flags, false)
#define sendto(number, ...) (faults_move(number, 1) < 0 ? -1 : sendto(number, __VA_ARGS__))
#define accept4(number, a, n, flags) faults_accept4(number, a, n, flags)
#define connect(number, a, n) faults_connect(number, a, n)
#define close(number) faults_close(number)
#define epoll_ctl(poller, what, number, e) faults_epoll_ctl(poller, what, number, e)
#define poll(p, n, ms) faults_poll(p, n, ms)
#define epoll_wait(...) FAULTS_CALL(FAULTS_WAIT, epoll_wait(__VA_ARGS__))
#define syscall(...) FAULTS_CALL(FAULTS_WAIT, syscall(__VA_ARGS__))
#define socket(...) FAULTS_CALL(FAULTS_MAKE, socket(__VA_ARGS__))
#define epoll_create1(...) FAULTS_CALL(FAULTS_MAKE, epoll_create1(__VA_ARGS__))
#define eventfd(...) FAULTS_CALL(FAULTS_MAKE, eventfd(__VA_ARGS__))
#define pipe(...) FAULTS_CALL(FAULTS_MAKE, pipe(__VA_ARGS__))
#define bind(...) FAULTS_CALL(FAULTS_CONTROL, bind(__VA_ARGS__))
#define listen(...) FAULTS_CALL(FAULTS_CONTROL, listen(__VA_ARGS__))

#endif /* FAULTS_H */
