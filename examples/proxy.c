/* proxy.c -- a TCP proxy with limits and statistics.
 *
 *     proxy [-c connections] [-b bytes per second] [-i seconds idle] listen target
 *     proxy -b 1000000 127.0.0.1:8080 example.org:80
 *
 * What one side sends goes to the other, an end of one direction, too: the other goes on. More
 * connections than -c wait in the kernel. -b holds for each connection and direction. SIGUSR1
 * prints the statistics. SIGTERM or Ctrl-C: no new connections; those that are open have DRAIN to
 * end. Without arguments it shows itself. */
#include "coro_io.h"
#include "coro_sync.h"
#include <stdio.h>

#define CONNECTIONS 1000      /* at once, by default */
#define IDLE_S 300            /* seconds in which nothing moves, either way, by default */
#define DIAL_TIME CORO_S(10)  /* to reach the target */
#define DRAIN CORO_S(5)       /* for open connections, after SIGTERM */
#define CHUNK 16384           /* bytes that are moved at once, at most */
#define RATE_STEPS 10         /* with a limit: a chunk is at most the bytes of 1 / 10 s */
#define RATE_MOST 100000000   /* bytes per second: the most that a limit can be */

/* What all connections share. */
struct proxy {
    const char *target;
    uint32_t rate; /* bytes per second; 0: no limit */
    coro_time idle;
    coro_server server;
    coro_signals usr1;
    uint64_t bytes[2]; /* to the target, from it */
    unsigned unreachable, idled, broken;
};

static void print_statistics(const struct proxy *p)
{
    printf("%u connections, %u open, %u at most; %llu bytes to the target, %llu from it\n"
           "%u times unreachable, %u idle too long, %u broken\n",
           (unsigned)p->server.accepted, (unsigned)p->server.handlers.alive,
           (unsigned)p->server.most, (unsigned long long)p->bytes[0],
           (unsigned long long)p->bytes[1], p->unreachable, p->idled, p->broken);
    fflush(stdout);
}

/* ---- one direction ----------------------------------------------------------------------- */

struct pump {
    CORO_FRAME;
    coro_fd *from, *to;
    struct proxy *proxy;
    coro_scope *idle; /* its deadline moves with every byte, in either direction */
    uint64_t *count;
    coro_rate rate;
    size_t chunk, at;
    int got, sent;
    char data[CHUNK];
};

CORO(pump)
{
    CORO_BEGIN();
    my->chunk = sizeof my->data;
    if (my->proxy->rate && my->proxy->rate / RATE_STEPS < my->chunk)
        my->chunk = my->proxy->rate / RATE_STEPS + 1;
    my->rate = (coro_rate){.rate = my->proxy->rate, .burst = (uint32_t)my->chunk};
    for (;;) {
        CORO_TRY(my->got, coro_read(co, my->from, my->data, my->chunk));
        if (my->got == 0)
            break;
        if (my->proxy->rate)
            CORO_TRY(coro_rate_take(co, &my->rate, (uint32_t)my->got));
        for (my->at = 0; my->at < (size_t)my->got; my->at += (size_t)my->sent) {
            CORO_TRY(my->sent, coro_write_some(co, my->to, my->data + my->at,
                                               (size_t)my->got - my->at));
            *my->count += (uint64_t)my->sent;
            coro_scope_deadline(my->idle, coro_time_after(coro_now(co), my->proxy->idle));
        }
    }
    CORO_TRY(coro_shutdown(my->to, CORO_OUT));
    CORO_END(0);
}

/* ---- a connection ------------------------------------------------------------------------ */

struct reach {
    CORO_FRAME;
    coro_fd *to;
    const char *target;
    coro_dial dial;
};

CORO(reach)
{
    CORO_BEGIN();
    CORO_TRY(coro_dial(co, &my->dial, my->to, my->target));
    CORO_END(0);
}

struct relay {
    CORO_FRAME;
    coro_fd client, target; /* client: filled in by coro_serve */
    struct proxy *proxy;
    coro_group pumps;
    CORO_TASK(pump) up, down;
    coro_scope limit;
    int rc;
};

CORO(relay)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, DIAL_TIME);
    CORO_AWAIT(my->rc, coro_call_new(co, reach, .to = &my->target, .target = my->proxy->target));
    my->rc = coro_scope_close(co, &my->limit, my->rc);
    if (my->rc < 0 && my->rc != -ECANCELED)
        my->proxy->unreachable++;
    CORO_TRY(my->rc);
    coro_group_open(co, &my->pumps, CORO_ALL); /* if one breaks, so does the other */
    coro_scope_deadline(&my->pumps.scope, coro_time_after(coro_now(co), my->proxy->idle));
    coro_start(&my->pumps, &my->up, pump, .from = &my->client, .to = &my->target,
               .proxy = my->proxy, .idle = &my->pumps.scope, .count = &my->proxy->bytes[0]);
    coro_start(&my->pumps, &my->down, pump, .from = &my->target, .to = &my->client,
               .proxy = my->proxy, .idle = &my->pumps.scope, .count = &my->proxy->bytes[1]);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->pumps, 0));
    if (coro_scope_expired(&my->pumps.scope))
        my->proxy->idled++;
    else if (my->rc < 0 && my->rc != -ECANCELED)
        my->proxy->broken++;
    CORO_TRY(my->rc);
CORO_FINALLY:
    coro_close(&my->client);
    coro_close(&my->target);
    CORO_END(0);
}

/* ---- the proxy --------------------------------------------------------------------------- */

/* Goes on while the connections are drained: it ends when its signals are closed. */
struct reporter {
    CORO_FRAME;
    struct proxy *proxy;
    coro_scope shield;
};

CORO(reporter)
{
    CORO_BEGIN();
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    for (;;) {
        CORO_TRY(coro_signals_wait(co, &my->proxy->usr1));
        print_statistics(my->proxy);
    }
    CORO_END(0);
}

/* When all is cancelled: the open connections go on for a while, new ones are refused. */
struct closer {
    CORO_FRAME;
    coro_fd *listener;
};

CORO(closer)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_FOREVER));
CORO_FINALLY:
    coro_close(my->listener);
    CORO_END(0);
}

struct serve {
    CORO_FRAME;
    struct proxy *proxy;
    coro_fd *listener;
    coro_group g;
};

CORO(serve)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_TRY(coro_signals_open(co, &my->proxy->usr1, SIGUSR1));
    coro_spawn(&my->g, reporter, .proxy = my->proxy);
    coro_spawn(&my->g, closer, .listener = my->listener);
    CORO_TRY(coro_serve(co, &my->proxy->server, my->listener, client, relay, .proxy = my->proxy));
CORO_FINALLY:
    coro_signals_close(&my->proxy->usr1);
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    print_statistics(my->proxy);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct proxy *proxy;
    const char *address;
    coro_fd listener;
    struct serve serve;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, my->address, 0));
    CORO_TRY(coro_call(co, &my->serve, serve, .proxy = my->proxy, .listener = &my->listener));
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

/* ---- the show: a server that counts, and clients ----------------------------------------- */

/* Answers at the end of what it is sent: so many bytes. */
struct counter {
    CORO_FRAME;
    coro_fd conn;
    char data[CHUNK];
    int got, sum;
};

CORO(counter)
{
    CORO_BEGIN();
    do {
        CORO_TRY(my->got, coro_read(co, &my->conn, my->data, sizeof my->data));
        my->sum += my->got;
    } while (my->got);
    my->got = snprintf(my->data, sizeof my->data, "%d bytes", my->sum);
    CORO_TRY(coro_write(co, &my->conn, my->data, (size_t)my->got));
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct counting {
    CORO_FRAME;
    coro_fd *listener;
    coro_server server;
};

CORO(counting)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &my->server, my->listener, conn, counter));
    CORO_END(0);
}

/* Sends n bytes, and the end; or nothing at all; and takes what comes. */
struct client {
    CORO_FRAME;
    const coro_address *to;
    int n, got;
    coro_fd conn;
    char data[100000];
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->to));
    if (my->n) {
        CORO_TRY(coro_write(co, &my->conn, my->data, (size_t)my->n));
        CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));
    }
    CORO_TRY(my->got, coro_read_exact(co, &my->conn, my->data, sizeof my->data));
    printf("sent %d bytes, and had for an answer: \"%.*s\"\n", my->n, my->got, my->data);
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct show {
    CORO_FRAME;
    coro_group g;
    coro_fd front, back;
    coro_address address;
    char target[64];
    struct proxy proxy;
    struct client client;
    coro_time began;
};

CORO(show)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->front, "127.0.0.1:0", 0));
    CORO_TRY(coro_listen(&my->back, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->back, &my->address));
    coro_address_print(&my->address, my->target, sizeof my->target);
    CORO_TRY(coro_fd_local(&my->front, &my->address));
    my->proxy.target = my->target;
    my->proxy.idle = CORO_S(IDLE_S);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, counting, .listener = &my->back);
    coro_spawn(&my->g, serve, .proxy = &my->proxy, .listener = &my->front);
    CORO_TRY(coro_call(co, &my->client, client, .to = &my->address, .n = 100000));
    my->proxy.rate = 200000;
    my->began = coro_now(co);
    CORO_TRY(coro_call(co, &my->client, client, .to = &my->address, .n = 100000));
    printf("with 200,000 bytes per second it took at least 0.3 s: %s\n",
           coro_now(co) - my->began > CORO_MS(300) ? "yes" : "no");
    my->proxy.idle = CORO_MS(50);
    CORO_TRY(coro_call(co, &my->client, client, .to = &my->address, .n = 0));
    coro_server_stop(&my->proxy.server);
CORO_FINALLY:
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    coro_close(&my->front);
    coro_close(&my->back);
    CORO_END(0);
}

static int usage(void)
{
    fprintf(stderr, "usage: proxy [-c connections] [-b bytes per second] [-i seconds idle] "
                    "listen target\n");
    return 2;
}

int main(int argc, char **argv)
{
    static struct proxy proxy = {.idle = CORO_S(IDLE_S),
                                 .server = {.limit = CONNECTIONS, .drain = DRAIN}};
    int option, rc;
    if (argc == 1)
        return coro_run(show) < 0;
    while ((option = getopt(argc, argv, "c:b:i:")) != -1) {
        char *end = NULL;
        double n = optarg ? strtod(optarg, &end) : 0;
        if (option == '?' || end == optarg || *end || !(n > 0 && n <= RATE_MOST))
            return usage();
        if (option == 'c')
            proxy.server.limit = (coro_count)n;
        else if (option == 'b')
            proxy.rate = (uint32_t)n;
        else
            proxy.idle = (coro_time)(n * 1e9);
    }
    if (argc - optind != 2)
        return usage();
    proxy.target = argv[optind + 1];
    rc = coro_run(app, .proxy = &proxy, .address = argv[optind]);
    if (rc == -EINTR)
        return 0; /* stopped, as it should be */
    fprintf(stderr, "proxy: %s\n", strerror(-rc));
    return 1;
}

/* Output:
 *   sent 100000 bytes, and had for an answer: "100000 bytes"
 *   sent 100000 bytes, and had for an answer: "100000 bytes"
 *   with 200,000 bytes per second it took at least 0.3 s: yes
 *   sent 0 bytes, and had for an answer: ""
 *   3 connections, 0 open, 1 at most; 200000 bytes to the target, 24 from it
 *   0 times unreachable, 1 idle too long, 0 broken
 */
