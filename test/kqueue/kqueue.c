/* kqueue.c -- BSD's kqueue on Linux, for the tests of coro_io.h: see sys/event.h.
 *
 * The descriptor is an epoll, so that it can be polled itself:
 *
 *     main epoll --+-- the descriptors of EVFILT_READ; a pidfd for each EVFILT_PROC
 *                  +-- `out`, an epoll: the descriptors of EVFILT_WRITE
 *                  +-- `user`, an eventfd: readable while an EVFILT_USER is triggered
 *
 * So each knote of a descriptor has a registration of its own, with the very meaning that BSD gives
 * it: EV_CLEAR is EPOLLET, a disabled knote has none. What epoll does not have is done here: a
 * number that is closed loses its knotes even if there are copies, and no child of fork inherits
 * the queue. For that, close and dup2 are defined here and come before those of libc.
 */
#define _GNU_SOURCE 1
#undef KQUEUE_NO_USER
#include <sys/event.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct knote {
    struct knote *next;
    struct kevent e;   /* flags: EV_ONESHOT, EV_CLEAR */
    int number;        /* what epoll watches; EVFILT_USER: -1 */
    bool enabled;
    bool triggered;    /* EVFILT_USER */
};

struct queue {
    struct queue *next;
    int number, out, user; /* see above */
    pid_t owner;           /* vfork's child is not meant */
    struct knote *notes;
};

static struct queue *queues;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Signals wait, as a handler may call kevent. */
static void lock(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    pthread_mutex_lock(&mutex);
}

static void unlock(const sigset_t *before)
{
    pthread_mutex_unlock(&mutex);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* TSan has to see that a number is given back: its next owner may be on another thread. */
#if defined __has_feature
#if __has_feature(thread_sanitizer)
extern int __interceptor_close(int number);
#define KQUEUE_TSAN 1
#endif /* __has_feature(thread_sanitizer) */
#endif /* defined __has_feature */

static int real_close(int number)
{
#if defined KQUEUE_TSAN
    return __interceptor_close(number);
#else
    return (int)syscall(SYS_close, number);
#endif /* defined KQUEUE_TSAN */
}

static struct queue *queue_of(int number)
{
    struct queue *q = queues;
    while (q && q->number != number)
        q = q->next;
    return q;
}

/* ---- knotes ---------------------------------------------------------------------------------- */

static int epoll_of(const struct queue *q, const struct knote *k)
{
    return k->e.filter == EVFILT_WRITE ? q->out : q->number;
}

/* What epoll gives back: the filter and the ident. */
static struct epoll_event interest(const struct knote *k)
{
    struct epoll_event e = {k->e.filter == EVFILT_WRITE ? EPOLLOUT : EPOLLIN | EPOLLRDHUP, {NULL}};
    if (k->e.flags & EV_CLEAR)
        e.events |= EPOLLET;
    e.data.u64 = (uint64_t)(unsigned short)k->e.filter << 32 | (uint32_t)k->e.ident;
    return e;
}

static void note_disable(const struct queue *q, struct knote *k)
{
    struct epoll_event none;
    if (k->number >= 0 && k->enabled)
        (void)epoll_ctl(epoll_of(q, k), EPOLL_CTL_DEL, k->number, &none);
    k->enabled = false;
}

static void note_free(struct queue *q, struct knote *k)
{
    struct knote **at = &q->notes;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    note_disable(q, k);
    if (k->e.filter == EVFILT_PROC)
        (void)real_close(k->number);
    free(k);
}

/* Of a number that was closed by libc's own means only what epoll has forgotten is gone. */
static bool note_is_stale(const struct queue *q, const struct knote *k)
{
    struct epoll_event e = {0, {NULL}};
    if (k->number < 0 || !k->enabled || k->e.filter == EVFILT_PROC)
        return false;
    if (epoll_ctl(epoll_of(q, k), EPOLL_CTL_ADD, k->number, &e) == 0)
        (void)epoll_ctl(epoll_of(q, k), EPOLL_CTL_DEL, k->number, &e);
    else if (errno == EEXIST)
        return false;
    return true;
}

static struct knote *note_of(struct queue *q, uintptr_t ident, int filter)
{
    struct knote *k = q->notes;
    while (k && (k->e.ident != ident || k->e.filter != filter))
        k = k->next;
    if (k && note_is_stale(q, k)) {
        note_free(q, k);
        k = NULL;
    }
    return k;
}

/* Tell epoll; what is there already is reported at once. 0, or an error. */
static int note_arm(struct queue *q, struct knote *k, int how)
{
    struct epoll_event e = interest(k);
    if (k->number >= 0 && epoll_ctl(epoll_of(q, k), how, k->number, &e) < 0)
        return errno == EPERM ? EINVAL : errno; /* a file */
    return 0;
}

/* Why a descriptor cannot be watched by EVFILT_WRITE: a queue, a pipe that nobody reads. Or 0. */
static int cannot_write(int number)
{
    struct pollfd p = {number, POLLOUT, 0};
    struct stat st;
    if (queue_of(number))
        return EINVAL;
    return fstat(number, &st) == 0 && S_ISFIFO(st.st_mode) && poll(&p, 1, 0) == 1 &&
           p.revents & POLLERR ? EPIPE : 0;
}

static int note_new(struct queue *q, const struct kevent *e)
{
    struct knote *k;
    int rc = 0, number = (int)e->ident;
    switch (e->filter) {
    case EVFILT_WRITE:
        rc = cannot_write(number);
        break;
    case EVFILT_READ:
        break;
    case EVFILT_PROC:
        number = (int)syscall(SYS_pidfd_open, (pid_t)e->ident, 0u);
        rc = number < 0 ? ESRCH : 0;
        break;
    case EVFILT_USER:
        number = -1;
        break;
    default:
        rc = EINVAL;
    }
    if (rc)
        return rc;
    k = (struct knote *)calloc(1, sizeof *k);
    if (!k)
        return ENOMEM;
    k->e = *e;
    k->e.fflags &= NOTE_FFLAGSMASK;
    k->e.flags &= EV_CLEAR | EV_ONESHOT;
    k->number = number;
    k->next = q->notes;
    q->notes = k;
    rc = note_arm(q, k, EPOLL_CTL_ADD);
    k->enabled = rc == 0;
    if (rc)
        note_free(q, k);
    else if (e->flags & EV_DISABLE)
        note_disable(q, k);
    return rc;
}

static void user_touch(struct queue *q, struct knote *k, unsigned fflags)
{
    unsigned value = fflags & NOTE_FFLAGSMASK & ~NOTE_TRIGGER;
    switch (fflags & NOTE_FFCTRLMASK) {
    case NOTE_FFAND:
        k->e.fflags &= value;
        break;
    case NOTE_FFOR:
        k->e.fflags |= value;
        break;
    case NOTE_FFCOPY:
        k->e.fflags = value;
        break;
    default:
        break;
    }
    if (fflags & NOTE_TRIGGER)
        k->triggered = true;
    if (k->triggered && k->enabled)
        (void)eventfd_write(q->user, 1);
}

/* One change: 0, or an error. Of a knote that is there, the flags stay. */
static int change(struct queue *q, const struct kevent *e)
{
    struct knote *k = note_of(q, e->ident, e->filter);
    int rc = 0;
    if (!k && !(e->flags & EV_ADD))
        return e->filter != EVFILT_PROC && e->filter != EVFILT_USER &&
               fcntl((int)e->ident, F_GETFD) < 0 ? EBADF : ENOENT;
    if (e->flags & EV_DELETE) {
        if (k)
            note_free(q, k);
        return 0;
    }
    if (!k) {
        rc = note_new(q, e);
        k = rc ? NULL : note_of(q, e->ident, e->filter);
    } else {
        k->e.udata = e->udata;
        if (e->flags & EV_DISABLE) {
            note_disable(q, k);
        } else if (e->flags & EV_ADD || (e->flags & EV_ENABLE && !k->enabled)) {
            rc = note_arm(q, k, k->enabled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
            k->enabled = true;
        }
    }
    if (rc == 0 && e->filter == EVFILT_USER)
        user_touch(q, k, e->fflags);
    return rc;
}

/* ---- what has come --------------------------------------------------------------------------- */

/* Bytes to be read, or connections to be accepted. An urgent byte hides from FIONREAD what comes
 * after it, but not if it is among the others. */
static int64_t readable(int number)
{
    int n = 0, listens = 0, inline_ = 0, on = 1;
    socklen_t size = sizeof listens, info_size = sizeof(struct tcp_info);
    struct tcp_info info;
    struct pollfd urgent = {number, POLLPRI, 0};
    memset(&info, 0, sizeof info);
    if (getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens) {
        (void)getsockopt(number, IPPROTO_TCP, TCP_INFO, &info, &info_size);
        return info.tcpi_unacked ? (int64_t)info.tcpi_unacked : 1;
    }
    if (ioctl(number, FIONREAD, &n) < 0)
        return 1; /* a queue, an eventfd */
    if (poll(&urgent, 1, 0) == 1 && urgent.revents & POLLPRI &&
        getsockopt(number, SOL_SOCKET, SO_OOBINLINE, &inline_, &size) == 0 && !inline_) {
        (void)setsockopt(number, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
        (void)ioctl(number, FIONREAD, &n);
        (void)setsockopt(number, SOL_SOCKET, SO_OOBINLINE, &inline_, sizeof inline_);
        n--;
    }
    return n;
}

static int64_t writable(int number)
{
    int room = 0, used = 0;
    socklen_t size = sizeof room;
    if (getsockopt(number, SOL_SOCKET, SO_SNDBUF, &room, &size) == 0)
        (void)ioctl(number, TIOCOUTQ, &used);
    else if ((room = fcntl(number, F_GETPIPE_SZ)) > 0)
        (void)ioctl(number, FIONREAD, &used);
    return room > used ? room - used : 1;
}

/* As wait tells it. */
static int64_t exit_status(pid_t pid)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0)
        return 0;
    return info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
}

static void report(struct kevent *to, const struct knote *k, uint32_t came)
{
    struct stat st;
    uint32_t over = EPOLLHUP | EPOLLRDHUP;
    *to = k->e;
    if (k->e.filter == EVFILT_USER)
        return;
    to->fflags = 0;
    if (k->e.filter == EVFILT_PROC) {
        to->fflags = NOTE_EXIT;
        to->flags |= EV_EOF | EV_ONESHOT;
        to->data = exit_status((pid_t)k->e.ident);
        return;
    }
    if (fstat(k->number, &st) < 0 || !S_ISSOCK(st.st_mode))
        over |= EPOLLERR;
    if (came & over)
        to->flags |= EV_EOF;
    to->data = k->e.filter == EVFILT_READ ? readable(k->number) : writable(k->number);
}

/* Of one epoll, without waiting: how many. */
static int collect_epoll(struct queue *q, int poller, struct kevent *to, int room)
{
    struct epoll_event came[64];
    int n = epoll_wait(poller, came, room < 64 ? room : 64, 0), got = 0;
    for (int i = 0; i < n; i++) {
        uint64_t key = came[i].data.u64;
        struct knote *k = q->notes;
        while (k && interest(k).data.u64 != key)
            k = k->next;
        if (!k)
            continue; /* `out` or `user` */
        report(&to[got], k, came[i].events);
        if (to[got++].flags & EV_ONESHOT)
            note_free(q, k);
    }
    return got;
}

static int collect_user(struct queue *q, struct kevent *to, int room)
{
    struct knote *k, *next;
    eventfd_t drop;
    bool left = false;
    int got = 0;
    for (k = q->notes; k; k = next) {
        next = k->next;
        if (!k->triggered || !k->enabled)
            continue;
        if (got == room) {
            left = true;
            break;
        }
        report(&to[got++], k, 0);
        if (k->e.flags & EV_CLEAR) {
            k->triggered = false;
            k->e.fflags = 0;
        }
        left = left || (k->triggered && !(k->e.flags & EV_ONESHOT));
        if (k->e.flags & EV_ONESHOT)
            note_free(q, k);
    }
    if (!left)
        (void)eventfd_read(q->user, &drop);
    return got;
}

static int collect(struct queue *q, struct kevent *to, int room)
{
    int got = collect_user(q, to, room);
    if (got < room)
        got += collect_epoll(q, q->number, to + got, room - got);
    if (got < room)
        got += collect_epoll(q, q->out, to + got, room - got);
    return got;
}

/* ---- the two calls --------------------------------------------------------------------------- */

static void fork_prepare(void)
{
    pthread_mutex_lock(&mutex);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

static void queue_free(struct queue *q)
{
    struct queue **at = &queues;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    while (q->notes)
        note_free(q, q->notes);
    (void)real_close(q->out);
    (void)real_close(q->user);
    free(q);
}

/* The child has no queues. What its copies are told the parent's would hear: only close them. */
static void fork_child(void)
{
    while (queues) {
        struct queue *q = queues;
        (void)real_close(q->number);
        q->number = q->out;
        for (struct knote *k = q->notes; k; k = k->next)
            k->enabled = false;
        queue_free(q);
    }
    pthread_mutex_unlock(&mutex);
}

static void fork_watch(void)
{
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int kqueue(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct epoll_event e = {EPOLLIN, {NULL}};
    struct queue *q = (struct queue *)calloc(1, sizeof *q);
    sigset_t before;
    int error;
    if (!q) {
        errno = ENOMEM;
        return -1;
    }
    (void)pthread_once(&once, fork_watch);
    q->owner = getpid();
    q->number = epoll_create1(EPOLL_CLOEXEC);
    q->out = epoll_create1(EPOLL_CLOEXEC);
    q->user = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (q->number >= 0 && q->out >= 0 && q->user >= 0 &&
        epoll_ctl(q->number, EPOLL_CTL_ADD, q->out, &e) == 0 &&
        epoll_ctl(q->number, EPOLL_CTL_ADD, q->user, &e) == 0) {
        lock(&before);
        q->next = queues;
        queues = q;
        unlock(&before);
        return q->number;
    }
    error = errno;
    (void)real_close(q->user);
    (void)real_close(q->out);
    (void)real_close(q->number);
    free(q);
    errno = error;
    return -1;
}

/* Until the main epoll has something: 1; 0: not in time; -1: a signal came. */
static int await(int number, const struct timespec *timeout, const struct timespec *start)
{
    struct pollfd p = {number, POLLIN, 0};
    struct timespec now, left;
    int64_t ns;
    if (!timeout)
        return ppoll(&p, 1, NULL, NULL);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (int64_t)(timeout->tv_sec + start->tv_sec - now.tv_sec) * 1000000000 + timeout->tv_nsec +
         start->tv_nsec - now.tv_nsec;
    left.tv_sec = (time_t)(ns > 0 ? ns / 1000000000 : 0);
    left.tv_nsec = (long)(ns > 0 ? ns % 1000000000 : 0);
    return ppoll(&p, 1, &left, NULL);
}

static int kevent_wait(int kq, struct kevent *events, int room, const struct timespec *timeout)
{
    struct timespec start;
    struct queue *q;
    sigset_t before;
    int got = 0, ready = 1;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    while (!got && ready > 0) {
        ready = await(kq, timeout, &start);
        if (ready < 0)
            return -1;
        lock(&before);
        q = queue_of(kq);
        got = q ? collect(q, events, room) : -1;
        unlock(&before);
    }
    if (got < 0)
        errno = EBADF;
    return got;
}

int kevent(int kq, const struct kevent *changes, int n_changes, struct kevent *events,
           int n_events, const struct timespec *timeout)
{
    sigset_t before;
    struct queue *q;
    int told = 0, error = 0;
    lock(&before);
    q = queue_of(kq);
    for (int i = 0; q && i < n_changes; i++) {
        struct kevent e = changes[i]; /* events may be the same array */
        error = change(q, &e);
        if (!error && !(e.flags & EV_RECEIPT))
            continue;
        if (told == n_events)
            break;
        e.flags = EV_ERROR;
        e.data = error;
        events[told++] = e;
        error = 0;
    }
    unlock(&before);
    if (!q || error) {
        errno = q ? error : EBADF;
        return -1;
    }
    return told || !n_events ? told : kevent_wait(kq, events, n_events, timeout);
}

/* ---- descriptors that are closed ------------------------------------------------------------- */

static void number_closes(int number)
{
    sigset_t before;
    int saved = errno;
    lock(&before);
    for (struct queue *q = queues, *next; q; q = next) {
        next = q->next;
        if (q->owner != getpid())
            continue;
        for (struct knote *k = q->notes, *after; k; k = after) {
            after = k->next;
            if (k->e.ident == (uintptr_t)number &&
                (k->e.filter == EVFILT_READ || k->e.filter == EVFILT_WRITE))
                note_free(q, k);
        }
        if (q->number == number)
            queue_free(q);
    }
    unlock(&before);
    errno = saved;
}

int close(int number)
{
    number_closes(number);
    return real_close(number);
}

int dup2(int from, int to)
{
    if (fcntl(from, F_GETFD) < 0 || from == to)
        return fcntl(from, F_GETFD) < 0 ? -1 : to;
    number_closes(to);
    return (int)syscall(SYS_dup3, from, to, 0);
}
