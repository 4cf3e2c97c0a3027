/* bench_io.h -- what the servers of the I/O benchmarks share: where they listen, what they answer.
 *
 *   prog BENCH        serves until it is killed, and prints the port first
 *   prog BENCH N      runs BENCH with about N operations and prints its figures
 *
 * Exit status: as in bench.h.
 */
#ifndef BENCH_IO_H
#define BENCH_IO_H

#include "bench.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { BENCH_BUFFER = 4096, BENCH_BACKLOG = 4096 };

/* What nginx answers, but for the date. */
#define BENCH_ANSWER                                                                              \
    "HTTP/1.1 200 OK\r\nServer: bench/1.0\r\nContent-Type: text/plain\r\n"                        \
    "Content-Length: 6\r\nConnection: keep-alive\r\n\r\nhello\n"

static inline void bench_print_port(int port)
{
    printf("%d\n", port);
    fflush(stdout);
}

/* bench_listen -- a non-blocking listener on a free port, which is printed. */
static inline int bench_listen(void)
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bench_check(fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 &&
                listen(fd, BENCH_BACKLOG) == 0 &&
                getsockname(fd, (struct sockaddr *)&at, &size) == 0, "listen");
    bench_print_port(ntohs(at.sin_port));
    return fd;
}

#endif /* BENCH_IO_H */
