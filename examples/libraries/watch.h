/* watch.h -- for libraries that want to be called when a descriptor is ready or a time has come, as
 * libcurl and c-ares do: they say what they wait for, and tasks of ours wait for it. */
#ifndef WATCH_H
#define WATCH_H

#include "coro_io.h"

enum { WATCH_SOCKETS = 32 }; /* at once */

/* Tells the library: fd is ready for events (POLLIN, POLLOUT). fd -1: the time has come. */
typedef void watch_tell(void *library, int fd, int events);

/* A task that waits for one descriptor, or for a time, over and over, until it is cancelled. */
struct watcher {
    CORO_FRAME;
    watch_tell *tell;
    void *library;
    int fd, events;  /* 0: for no descriptor, but */
    coro_time until; /* for this */
    coro_scope turn; /* one wait: cancelled when it has to be another one */
    int rc;
};

CORO(watcher)
{
    CORO_BEGIN();
    for (;;) {
        int fd;
        coro_scope_open(co, &my->turn);
        CORO_AWAIT(my->rc, my->events ? coro_wait_fd(co, my->fd, my->events)
                                      : coro_sleep_until(co, my->until));
        CORO_TRY(coro_scope_close(co, &my->turn, my->rc == -ECANCELED ? my->rc : 0));
        if (coro_scope_cancelled(&my->turn))
            continue; /* the library has changed its mind */
        fd = my->events ? my->fd : -1;
        my->until = CORO_FOREVER;
        my->events = my->rc < 0 ? 0 : my->events; /* no descriptor: it will find out */
        my->tell(my->library, fd, my->rc < 0 ? POLLERR : my->rc);
    }
    CORO_END(0);
}

struct watch {
    CORO_TASK(watcher) timer, sockets[WATCH_SOCKETS];
};

static inline void watch_start(struct watch *w, coro_group *g, watch_tell *tell, void *library)
{
    for (int i = -1; i < WATCH_SOCKETS; i++)
        coro_start(g, i < 0 ? &w->timer : &w->sockets[i], watcher, .tell = tell,
                   .library = library, .until = CORO_FOREVER);
}

/* The library waits for these events of fd from now on; 0: for none. -EMFILE: too many. */
static inline int watch_socket(struct watch *w, int fd, int events)
{
    struct watcher *free = NULL, *it = NULL;
    for (int i = 0; i < WATCH_SOCKETS; i++) {
        it = &w->sockets[i].frame;
        if (it->events && it->fd == fd)
            break;
        free = it->events ? free : it;
        it = NULL;
    }
    it = it ? it : free;
    if (!it)
        return events ? -EMFILE : 0;
    it->fd = fd;
    it->events = events;
    coro_scope_cancel(&it->turn);
    return 0;
}

/* The library wants to be called then; CORO_FOREVER: not at all. */
static inline void watch_time(struct watch *w, coro_time until)
{
    w->timer.frame.until = until;
    coro_scope_cancel(&w->timer.frame.turn);
}

#endif /* WATCH_H */
