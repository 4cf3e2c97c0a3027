/* limit_http.c -- what examples/http.c is measured against: GET /hello by hand, on epoll alone.
 *
 *   limit_http PORT          until it is killed
 *
 * The same bytes, keep-alive, pipelining and partial writes; it looks no closer at a request than
 * it must to find its end, and its method and path. No time-outs, no limits but the buffer's. */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct conn {
    int fd;
    bool blocked; /* waits for room, not for requests */
    size_t have;  /* bytes of requests */
    size_t from, to; /* bytes of answers, not yet written */
    char in[8192], out[8192];
};

static int poller;
static char answer[2][256]; /* 200, 404 */
static size_t length[2];

/* The answers, made anew each second. */
static void refresh(void)
{
    static const char *const lines[2] = {"200 OK", "404 Not Found"};
    static const char *const texts[2] = {"Hello, world!\n", "Not Found"};
    static time_t made;
    time_t now = time(NULL);
    struct tm tm;
    char date[40];
    if (now == made)
        return;
    made = now;
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    for (int i = 0; i < 2; i++)
        length[i] = (size_t)snprintf(answer[i], sizeof answer[i],
                                     "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                                     "Content-Length: %zu\r\n\r\n%s",
                                     lines[i], date, strlen(texts[i]), texts[i]);
}

static void watch(struct conn *c, int how, unsigned events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, how, c->fd, &e) < 0)
        perror("epoll_ctl");
}

/* Answer what is there, as far as there is room. False: no HTTP, or too long. */
static bool answer_all(struct conn *c)
{
    char *at = c->in, *end = c->in + c->have, *stop;
    bool ok = true;
    while (sizeof c->out - c->to >= sizeof *answer &&
           (stop = memmem(at, (size_t)(end - at), "\r\n\r\n", 4)) != NULL) {
        int which = strncmp(at, "GET /hello HTTP/1.1\r\n", 21) != 0;
        ok = ok && strncmp(at, "GET ", 4) == 0;
        memcpy(c->out + c->to, answer[which], length[which]);
        c->to += length[which];
        at = stop + 4;
    }
    c->have = (size_t)(end - at);
    if (at != c->in)
        memmove(c->in, at, c->have);
    return ok && c->have < sizeof c->in;
}

/* False: it has ended. */
static bool serve(struct conn *c)
{
    ssize_t n;
    if (!c->blocked) {
        n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, 0);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        c->have += (size_t)n;
    }
    do {
        if (!answer_all(c))
            return false;
        if (c->from == c->to)
            return true;
        n = send(c->fd, c->out + c->from, c->to - c->from, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        c->from += n > 0 ? (size_t)n : 0;
        if ((c->from < c->to) != c->blocked) {
            c->blocked = !c->blocked;
            watch(c, EPOLL_CTL_MOD, c->blocked ? EPOLLOUT : EPOLLIN);
        }
        if (c->from == c->to)
            c->from = c->to = 0;
    } while (!c->blocked && c->have);
    return true;
}

static void welcome(int listener)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return;
    c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (c->fd < 0) {
        free(c);
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[64];
    struct conn listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 8080));
    (void)setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0 || bind(listener.fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener.fd, SOMAXCONN) < 0) {
        perror(argv[0]);
        return 1;
    }
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int n = epoll_wait(poller, events, 64, -1);
        refresh();
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == &listener) {
                welcome(c->fd);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
