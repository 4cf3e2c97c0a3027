/* client_io.c -- the load: sends 64 bytes, wants them back, on many connections from one thread.
 *
 *   client_io PORT PID CONNECTIONS ACTIVE
 *
 * opens all connections to 127.0.0.1:PORT and prints "ready". Then each line on standard input is
 * a run: "ms N", for so long, "n N", so many requests, or "rate N", so many a second, evenly, for
 * 200 ms, on as many connections as it takes; and is answered by a line
 *
 *   requests ns cpu-of-PID cpu-of-this p50 p99 max
 *
 * all in nanoseconds. ACTIVE requests are under way at any time, each connection having its turn;
 * at a rate each request counts from when it was due, so that one that had to wait has waited.
 * A run ends when all answers are there; what comes back is compared, every byte of it.
 */
#define _GNU_SOURCE 1
#include "bench_io.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { SIZE = 64, EVENTS = 512, SUB = 32, BUCKETS = 40 * SUB };

typedef struct conn {
    int fd;
    uint32_t count; /* requests so far */
    uint64_t sent;  /* when */
    size_t got;     /* bytes of the answer */
} conn;

static conn *conns;
static int poller, total, active;
static uint32_t *idle; /* a ring: who has waited longest comes first */
static int first, under_way;
static uint64_t started, requests, latencies[BUCKETS], longest;

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * BENCH_SECOND + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_of(clockid_t clock)
{
    struct timespec ts;

    bench_check(clock_gettime(clock, &ts) == 0, "the server is gone");
    return (uint64_t)ts.tv_sec * BENCH_SECOND + (uint64_t)ts.tv_nsec;
}

/* ---- latencies: 32 buckets for each power of two --------------------------------------------- */

static int bucket_of(uint64_t ns)
{
    int shift = 58 - __builtin_clzll(ns | SUB), bucket = shift * SUB + (int)(ns >> shift);

    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The upper end of the bucket below which `share` of all lie. */
static uint64_t percentile(double share)
{
    uint64_t left = (uint64_t)((double)requests * share);
    int i = 0;

    while (i < BUCKETS - 1 && left >= latencies[i])
        left -= latencies[i++];
    return i < 2 * SUB ? (uint64_t)i : (uint64_t)(SUB + i % SUB + 1) << (i / SUB - 1);
}

/* ---- one request ----------------------------------------------------------------------------- */

/* The same bytes twice in no two of them. */
static void make(const conn *c, uint64_t *message)
{
    uint64_t seed = (uint64_t)(c - conns) << 32 | c->count;

    for (int i = 0; i < SIZE / 8; i++)
        message[i] = (seed + (uint64_t)i) * UINT64_C(0x9e3779b97f4a7c15);
}

static void ask(uint64_t at)
{
    conn *c = &conns[idle[first]];
    uint64_t message[SIZE / 8];

    first = first + 1 < total ? first + 1 : 0;
    under_way++;
    c->count++;
    c->sent = at;
    c->got = 0;
    make(c, message);
    bench_check(send(c->fd, message, SIZE, MSG_NOSIGNAL) == SIZE, "client: a request goes out");
}

/* True when the answer is complete. */
static bool hear(conn *c)
{
    uint64_t wanted[SIZE / 8];
    char answer[SIZE];
    ssize_t n = recv(c->fd, answer, SIZE - c->got, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    make(c, wanted);
    bench_check(n > 0 && !memcmp(answer, (char *)wanted + c->got, (size_t)n),
                "client: what was sent comes back");
    c->got += (size_t)n;
    return c->got == SIZE;
}

static void answered(conn *c, uint64_t at)
{
    uint64_t took = at - c->sent;
    int last = first - under_way;

    idle[last < 0 ? last + total : last] = (uint32_t)(c - conns);
    under_way--;
    requests++;
    latencies[bucket_of(took)]++;
    longest = took > longest ? took : longest;
}

/* ---- one run --------------------------------------------------------------------------------- */

/* The next events. A single request is waited for spinning, so that only the server's waking up is
 * measured, and not the client's as well. */
static int next_events(struct epoll_event *events, uint64_t since)
{
    int n;

    do
        n = epoll_wait(poller, events, EVENTS, active > 1 ? 5000 : 0);
    while (n == 0 && now() < since + 5 * BENCH_SECOND);
    bench_check(n > 0, "client: no answer for 5 s");
    return n;
}

/* Until the time `end`, or `most` requests, whichever is first. */
static void run(uint64_t end, uint64_t most)
{
    struct epoll_event events[EVENTS];
    uint64_t at = started, asked = 0;

    while (under_way < active && asked < most) {
        ask(at);
        asked++;
    }
    while (under_way) {
        int n = next_events(events, at);

        for (int i = 0; i < n; i++) {
            conn *c = &conns[events[i].data.u32];

            if (!hear(c))
                continue;
            at = now();
            answered(c, at);
            if (at < end && asked < most) {
                ask(at);
                asked++;
            }
        }
    }
}

/* So many requests a second are offered, whether or not the answers keep up. */
static void run_at(uint64_t rate)
{
    struct epoll_event events[EVENTS];
    uint64_t end = started + BENCH_SECOND / 5, due = started, asked = 0;

    while (due < end || under_way) {
        int n = epoll_wait(poller, events, EVENTS, 0);

        for (int i = 0; i < n; i++)
            if (hear(&conns[events[i].data.u32]))
                answered(&conns[events[i].data.u32], now());
        bench_check(now() < end + 30 * BENCH_SECOND, "client: no answer for 30 s");
        while (due < end && due <= now() && under_way < total) {
            ask(due);
            due = started + ++asked * BENCH_SECOND / rate;
        }
    }
}

static void open_all(int port)
{
    struct sockaddr_in to;
    struct epoll_event e = {EPOLLIN | EPOLLET, {0}};

    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc((size_t)total, sizeof *conns);
    idle = calloc((size_t)total, sizeof *idle);
    for (int i = 0; i < total; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        bench_check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
        bench_check(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "fcntl");
        idle[i] = e.data.u32 = (uint32_t)i;
        conns[i].fd = fd;
        bench_check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    clockid_t server;
    char kind[8];
    uint64_t n;

    bench_check(argc == 5, "usage: client_io PORT PID CONNECTIONS ACTIVE");
    total = atoi(argv[3]);
    active = atoi(argv[4]);
    bench_check(clock_getcpuclockid(atoi(argv[2]), &server) == 0, "no such server");
    open_all(atoi(argv[1]));
    puts("ready");
    fflush(stdout);
    while (scanf("%7s %" SCNu64, kind, &n) == 2) {
        uint64_t theirs = cpu_of(server), ours = cpu_of(CLOCK_PROCESS_CPUTIME_ID), took;

        memset(latencies, 0, sizeof latencies);
        requests = longest = 0;
        started = now();
        if (!strcmp(kind, "ms"))
            run(started + n * (BENCH_SECOND / 1000), UINT64_MAX);
        else if (!strcmp(kind, "rate"))
            run_at(n);
        else
            run(UINT64_MAX, n);
        took = now() - started;
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
               "\n", requests, took, cpu_of(server) - theirs,
               cpu_of(CLOCK_PROCESS_CPUTIME_ID) - ours, percentile(0.5), percentile(0.99), longest);
        fflush(stdout);
    }
    return 0;
}
