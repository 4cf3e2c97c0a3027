/* libev_io.c -- the echo with libev: one watcher for each connection, one buffer for all. */
#define _GNU_SOURCE 1
#include "../bench_io.h"
#include <errno.h>
#include <ev.h>

static char buffer[BENCH_BUFFER];

static void on_data(struct ev_loop *loop, ev_io *w, int events)
{
    ssize_t n = recv(w->fd, buffer, sizeof buffer, 0);

    (void)events;
    if (n > 0) {
        bench_check(send(w->fd, buffer, (size_t)n, MSG_NOSIGNAL) == n, "all goes out at once");
    } else if (n == 0 || errno != EAGAIN) {
        ev_io_stop(loop, w);
        close(w->fd);
        free(w);
    }
}

static void on_connection(struct ev_loop *loop, ev_io *w, int events)
{
    int fd;

    (void)events;
    while ((fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        ev_io *conn = malloc(sizeof *conn);

        ev_io_init(conn, on_data, fd, EV_READ);
        ev_io_start(loop, conn);
    }
}

int main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    ev_io listener;

    if (argc != 2 || strcmp(argv[1], "echo"))
        return 2;
    ev_io_init(&listener, on_connection, bench_listen(), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
