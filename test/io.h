/* io.h -- what the tests of coro_io.h share: pairs of sockets, small coroutines, counting.
 *
 * The test itself plays the outside: it starts tasks in `io_loop`, lets them wait (settle), does
 * something to the other end with plain system calls, and runs the loop to its end (finish).
 */
#ifndef IO_H
#define IO_H

#include "coro_io.h"
#include "test.h"
#include "world.h"

#include <stdlib.h>
#include <string.h>

static coro_loop io_loop;

/* Until all wait that have to. */
static inline void settle(void)
{
    for (int i = 0; i < 4; i++)
        (void)coro_loop_step(&io_loop);
    CHECK_STR(coro_verify(&io_loop), NULL);
}

/* What a dump says of it. */
static inline const char *waits_for(const coro_task *task)
{
    return task->waiting ? task->waiting->ops->what : "nothing";
}

static inline void begin(void)
{
    CHECK_EQ(coro_loop_init(&io_loop, NULL), 0);
}

static inline void finish(void)
{
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(coro_stats(&io_loop).held, 0);
    CHECK_EQ(coro_loop_fini(&io_loop), 0);
}

/* A connected pair of a type: ours, and a plain one. */
static inline int pair_of(coro_fd *h, int type)
{
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_EQ(coro_fd_adopt(h, ends[0]), 0);
    return ends[1];
}

static inline int pair(coro_fd *h)
{
    return pair_of(h, SOCK_STREAM);
}

static inline void both(coro_fd *a, coro_fd *b)
{
    CHECK_EQ(coro_fd_adopt(b, pair(a)), 0);
}

/* Both ends of a pipe, ours. */
static inline void pipe_of(coro_fd *in, coro_fd *out)
{
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(coro_fd_adopt(in, ends[0]), 0);
    CHECK_EQ(coro_fd_adopt(out, ends[1]), 0);
}

static inline void say(int number, const char *text)
{
    CHECK_EQ(write(number, text, strlen(text)), strlen(text));
}

/* What comes next is this. */
static inline void hear(int number, const char *text)
{
    char buffer[256];
    CHECK_EQ(read(number, buffer, sizeof buffer), strlen(text));
    CHECK_EQ(memcmp(buffer, text, strlen(text)), 0);
}

static inline bool is_blocking(int number)
{
    return !(fcntl(number, F_GETFL) & O_NONBLOCK);
}

/* ---- coroutines of one operation: their result is its ---------------------------------------- */

struct reads {
    CORO_FRAME;
    coro_fd *h;
    size_t most; /* 0: all of text */
    int rc;
    char text[256];
};

CORO(reads)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, my->most ? my->most : sizeof my->text));
    CORO_END(my->rc);
}

struct reads_exact {
    CORO_FRAME;
    coro_fd *h;
    char *to;
    size_t n;
    int rc;
};

CORO(reads_exact)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_read_exact(co, my->h, my->to, my->n));
    CORO_END(my->rc);
}

struct writes {
    CORO_FRAME;
    coro_fd *h;
    const char *from;
    size_t n;
    int rc;
};

CORO(writes)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_write(co, my->h, my->from, my->n));
    CORO_END(my->rc);
}

struct waits {
    CORO_FRAME;
    coro_fd *h;
    int way, rc;
};

CORO(waits)
{
    CORO_BEGIN();
    if (my->way == CORO_IN)
        CORO_TRY(my->rc, coro_wait_readable(co, my->h));
    else
        CORO_TRY(my->rc, coro_wait_writable(co, my->h));
    CORO_END(my->rc);
}

struct foreign {
    CORO_FRAME;
    int number, events, rc;
};

CORO(foreign)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_wait_fd(co, my->number, my->events));
    CORO_END(my->rc);
}

struct sleeps {
    CORO_FRAME;
    coro_time d;
};

CORO(sleeps)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(0);
}

/* How often the loop goes to sleep in the next 20 ms, in which nothing should happen. */
static inline int wakeups(void)
{
    coro_total before = coro_stats(&io_loop).parked;
    static CORO_TASK(sleeps) t;
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, sleeps, .d = CORO_MS(20));
    while (coro_task_status(&t) == CORO_RUNNING) {
        coro_time until;
        (void)coro_loop_step(&io_loop);
        until = coro_loop_deadline(&io_loop);
        if (coro_task_status(&t) == CORO_RUNNING && until > coro_loop_now(&io_loop)) {
            coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, until);
            before--;
        }
    }
    return (int)(coro_stats(&io_loop).parked - before);
}

#endif /* IO_H */
