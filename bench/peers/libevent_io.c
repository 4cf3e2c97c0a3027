/* libevent_io.c -- the echo with libevent: a persistent event for each connection, one buffer for
 * all. (Its bufferevents do the same work with 4.9 system calls.) */
#define _GNU_SOURCE 1
#include "../bench_io.h"
#include <errno.h>
#include <event2/event.h>

static char buffer[BENCH_BUFFER];

static void on_data(evutil_socket_t fd, short events, void *arg)
{
    struct event **self = arg;
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);

    (void)events;
    if (n > 0) {
        bench_check(send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n, "all goes out at once");
    } else if (n == 0 || errno != EAGAIN) {
        event_free(*self);
        free(self);
        close(fd);
    }
}

static void on_connection(evutil_socket_t listener, short events, void *base)
{
    int fd;

    (void)events;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct event **self = malloc(sizeof *self);

        *self = event_new(base, fd, EV_READ | EV_PERSIST, on_data, self);
        event_add(*self, NULL);
    }
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();

    if (argc != 2 || strcmp(argv[1], "echo"))
        return 2;
    event_add(event_new(base, bench_listen(), EV_READ | EV_PERSIST, on_connection, base), NULL);
    return event_base_dispatch(base);
}
