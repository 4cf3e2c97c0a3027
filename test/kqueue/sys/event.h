/* sys/event.h -- BSD's kqueue on Linux, for the tests of coro_io.h alone: see ../kqueue.c.
 *
 * As FreeBSD's manual has it: EVFILT_READ, _WRITE, _USER and _PROC (NOTE_EXIT); EV_ADD, _DELETE,
 * _ENABLE, _DISABLE, _ONESHOT, _CLEAR, _RECEIPT. With KQUEUE_NO_USER there is no EVFILT_USER, as
 * in NetBSD 9.
 *
 * What is not as there: files cannot be watched (EINVAL); EV_EOF comes without the socket's error
 * in fflags, which Linux tells only by taking it; a socket that only we have shut down is writable,
 * but not EV_EOF.
 */
#ifndef KQUEUE_SYS_EVENT_H
#define KQUEUE_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

#if defined __cplusplus
extern "C" {
#endif /* defined __cplusplus */

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_PROC (-5)
#if !defined KQUEUE_NO_USER
#define EVFILT_USER (-11)
#endif /* !defined KQUEUE_NO_USER */

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_FFNOP 0x00000000U
#define NOTE_FFAND 0x40000000U
#define NOTE_FFOR 0x80000000U
#define NOTE_FFCOPY 0xc0000000U
#define NOTE_FFCTRLMASK 0xc0000000U
#define NOTE_FFLAGSMASK 0x00ffffffU
#define NOTE_TRIGGER 0x01000000U
#define NOTE_EXIT 0x80000000U

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
};

#define EV_SET(to, a, b, c, d, e, f) \
    do { \
        struct kevent *set = (to); \
        set->ident = (a); \
        set->filter = (b); \
        set->flags = (c); \
        set->fflags = (d); \
        set->data = (e); \
        set->udata = (f); \
    } while (0)

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int n_changes, struct kevent *events,
           int n_events, const struct timespec *timeout);

#if defined __cplusplus
}
#endif /* defined __cplusplus */

#endif /* !KQUEUE_SYS_EVENT_H */
