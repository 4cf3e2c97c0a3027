/* limit_io.c -- the least that servers can do on epoll: every connection registered once, edge
 * triggered, one buffer for all, recv and send. A short read means that no more is there. Nothing
 * is kept for a connection of the echo; the HTTP server keeps what came of an unfinished request.
 */
#define _GNU_SOURCE 1
#include "bench_io.h"
#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { MOST = 32768, EVENTS = 512, PIPELINED = 64 };

static char buffer[BENCH_BUFFER];

/* Returns false when the connection is over. */
static bool echo(int fd)
{
    ssize_t n;

    do {
        n = recv(fd, buffer, sizeof buffer, 0);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        bench_check(send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n, "echo: all goes out at once");
    } while (n == sizeof buffer);
    return true;
}

typedef struct request {
    size_t n;
    char bytes[BENCH_BUFFER];
} request;

static request *requests[MOST]; /* by descriptor */

/* Answers to requests that came together leave together. */
static bool http(int fd)
{
    static char answers[BENCH_BUFFER / 16 * sizeof BENCH_ANSWER];
    request *r = requests[fd];
    char *from, *end;
    size_t out = 0;
    ssize_t n;

    if (!r)
        r = requests[fd] = calloc(1, sizeof *r);
    n = recv(fd, r->bytes + r->n, sizeof r->bytes - r->n, 0);
    if (n <= 0) {
        r->n = 0;
        return n < 0 && errno == EAGAIN;
    }
    r->n += (size_t)n;
    from = r->bytes;
    while ((end = memmem(from, r->n, "\r\n\r\n", 4)) != NULL) {
        memcpy(answers + out, BENCH_ANSWER, sizeof BENCH_ANSWER - 1);
        out += sizeof BENCH_ANSWER - 1;
        r->n -= (size_t)(end + 4 - from);
        from = end + 4;
    }
    memmove(r->bytes, from, r->n);
    bench_check(r->n < sizeof r->bytes, "http: a request fits");
    if (out)
        bench_check(send(fd, answers, out, MSG_NOSIGNAL) == (ssize_t)out, "http: it goes out");
    return true;
}

static void accept_all(int poller, int listener)
{
    struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {0}};

    while ((e.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench_check(e.data.fd < MOST, "descriptors are small");
        bench_check(epoll_ctl(poller, EPOLL_CTL_ADD, e.data.fd, &e) == 0, "epoll_ctl");
    }
}

static void serve(bool (*ready)(int fd))
{
    struct epoll_event events[EVENTS];
    int poller = epoll_create1(EPOLL_CLOEXEC), listener = bench_listen();

    events[0].events = EPOLLIN;
    events[0].data.fd = listener;
    bench_check(epoll_ctl(poller, EPOLL_CTL_ADD, listener, &events[0]) == 0, "epoll_ctl");
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(poller, listener);
            else if ((events[i].events & ~(uint32_t)EPOLLOUT) && !ready(events[i].data.fd))
                close(events[i].data.fd);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "echo"))
        serve(echo);
    if (argc == 2 && !strcmp(argv[1], "http"))
        serve(http);
    return 2;
}
