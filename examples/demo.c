/* demo.c -- `make demo`: ten thousand connections on one thread, a failure that unwinds, deadlines,
 * a retry, a deadlock that is found, a graceful end: some eight seconds. Ctrl-C stops it, properly,
 * at any moment. Exit status 0: all of it did what it says. */
#include "coro_io.h"
#include "coro_sync.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int failures;

static void expect(bool ok, const char *what)
{
    printf("  %s %s\n", ok ? "ok   " : "WRONG", what);
    failures += !ok;
}

/* ---- the load: another process, in which each connection is a task, too ------------------------
 */

#define MOST 10000
#define MESSAGE 64
#define LAST 'L' /* an answer's last byte: the server is about to close this connection */

/* How often a latency was seen: eight classes for each power of two of microseconds. */
enum { CLASSES = 8 * 24 };

/* Shared by both processes. */
static struct shared {
    unsigned long open, asked, answered, told, broken; /* atomic; the client's */
    unsigned long latency[CLASSES];
} *shared;

static void count(unsigned long *n)
{
    __atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static unsigned long seen(const unsigned long *n)
{
    return __atomic_load_n(n, __ATOMIC_RELAXED);
}

static int class_of(coro_time d)
{
    int n = 0;
    for (d = d / CORO_US(1) + 8; d >= 16; d /= 2)
        n += 8;
    n += (int)d - 8;
    return n < CLASSES ? n : CLASSES - 1;
}

/* The latency that a share of all answers did not exceed, in milliseconds. */
static double percentile(double share)
{
    unsigned long all = 0, sum = 0;
    int n = 0;
    for (int i = 0; i < CLASSES; i++)
        all += seen(&shared->latency[i]);
    while (n < CLASSES - 1 && (double)(sum += seen(&shared->latency[n])) < share * (double)all)
        n++;
    return (double)((8 + n % 8 + 1) * (1 << n / 8) - 8) / 1000;
}

struct client {
    CORO_FRAME;
    const coro_address *to;
    coro_fd conn;
    coro_time sent;
    uint32_t random;
    int got;
    char text[MESSAGE], answer[MESSAGE];
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->to));
    count(&shared->open);
    memset(my->text, 'a' + (int)(my->random % 16), MESSAGE);
    do {
        my->random = my->random * 1664525 + 1013904223;
        CORO_TRY(coro_sleep(co, CORO_MS(100) + CORO_US(200000) / 65536 * (my->random >> 16)));
        count(&shared->asked);
        my->sent = coro_now(co);
        CORO_TRY(coro_write(co, &my->conn, my->text, MESSAGE));
        CORO_TRY(my->got, coro_read_exact(co, &my->conn, my->answer, MESSAGE));
        if (my->got < MESSAGE || memcmp(my->text, my->answer, MESSAGE - 1) != 0)
            CORO_FAIL(-EPROTO);
        count(&shared->latency[class_of(coro_now(co) - my->sent)]);
        count(&shared->answered);
    } while (my->answer[MESSAGE - 1] != LAST);
    count(&shared->told);
CORO_FINALLY:
    if (CORO_ERR < 0 && CORO_ERR != -ECANCELED)
        count(&shared->broken);
    coro_close(&my->conn);
    CORO_END(0);
}

struct load {
    CORO_FRAME;
    coro_group g;
    coro_address to;
    unsigned i, connections;
};

CORO(load)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < my->connections; my->i++) {
        coro_spawn(&my->g, client, .to = &my->to, .random = my->i);
        while (my->i > seen(&shared->open) + 500 && !seen(&shared->broken))
            CORO_TRY(coro_sleep(co, CORO_MS(1))); /* no more than the kernel's queue holds */
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- the server: an idle connection is a task of one descriptor, and no buffer -----------------
 */

static coro_server server;

struct answer {
    CORO_FRAME;
    coro_fd conn;
    char *buffer; /* borrowed while there is something to read */
    int got;
};

CORO(answer)
{
    CORO_BEGIN();
    do {
        CORO_TRY(coro_wait_readable(co, &my->conn));
        my->buffer = (char *)coro_loop_alloc(coro_loop_of(co), MESSAGE);
        if (!my->buffer)
            CORO_FAIL(-ENOMEM);
        CORO_TRY(my->got, coro_read_exact(co, &my->conn, my->buffer, MESSAGE));
        if (my->got < MESSAGE)
            break;
        if (server.draining)
            my->buffer[MESSAGE - 1] = LAST;
        CORO_TRY(coro_write(co, &my->conn, my->buffer, MESSAGE));
        coro_loop_free(coro_loop_of(co), my->buffer, MESSAGE);
        my->buffer = NULL;
    } while (!server.draining);
CORO_FINALLY:
    if (my->buffer)
        coro_loop_free(coro_loop_of(co), my->buffer, MESSAGE);
    coro_close(&my->conn);
    CORO_END(0);
}

struct serve {
    CORO_FRAME;
    coro_fd *listener;
};

CORO(serve)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &server, my->listener, conn, answer));
    CORO_END(0);
}

/* A progress bar is a task like the others. On what is no terminal it is silent. */
struct bar {
    CORO_FRAME;
    unsigned long before;
    int i, steps;
};

CORO(bar)
{
    CORO_BEGIN();
    for (my->i = 0; my->i <= my->steps; my->i++) {
        CORO_TRY(coro_sleep(co, CORO_MS(100)));
        if (isatty(1)) {
            printf("\r  [%.*s%*s] %5lu open  %6lu requests/s  p50 %.1f ms  p99 %.1f ms ",
                   my->i * 30 / my->steps, "##############################",
                   30 - my->i * 30 / my->steps, "", (unsigned long)server.handlers.alive,
                   (seen(&shared->answered) - my->before) * 10, percentile(0.5), percentile(0.99));
            fflush(stdout);
        }
        my->before = seen(&shared->answered);
    }
CORO_FINALLY:
    if (isatty(1))
        printf("\r%100s\r", "");
    CORO_END(0);
}

struct crowd {
    CORO_FRAME;
    coro_group g;
    coro_fd *listener;
    coro_signals signals;
    struct bar bar;
    coro_time began;
    size_t memory;
    unsigned long before;
    unsigned connections;
};

CORO(crowd)
{
    CORO_BEGIN();
    server.drain = CORO_S(5);
    my->memory = coro_stats(coro_loop_of(co)).memory;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, serve, .listener = my->listener);
    my->began = coro_now(co);
    while (server.handlers.alive < my->connections && !seen(&shared->broken))
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
    my->memory = coro_stats(coro_loop_of(co)).memory - my->memory;
    my->began = coro_now(co);
    my->before = seen(&shared->answered);
    CORO_TRY(coro_call(co, &my->bar, bar, .steps = 40));
    printf("  %u connections open at once, %zu bytes of memory each\n",
           (unsigned)server.handlers.alive, my->memory / my->connections);
    printf("  %.0f requests/s; answered within %.2f ms (half of them), %.2f ms (99 %%)\n",
           (double)(seen(&shared->answered) - my->before) * 1e9 /
               (double)(coro_now(co) - my->began),
           percentile(0.5), percentile(0.99));
    expect(server.handlers.alive == my->connections, "all of them were served to the end");

    CORO_TRY(coro_signals_open(co, &my->signals, SIGTERM));
    kill(getpid(), SIGTERM); /* as an operator would */
    CORO_TRY(coro_signals_wait(co, &my->signals));
    my->began = coro_now(co);
    coro_server_stop(&server);
    CORO_CLOSE(&my->g);
    printf("  SIGTERM: no new connections, the last answers, closed: %.0f ms\n",
           (double)(coro_now(co) - my->began) / 1e6);
CORO_FINALLY:
    coro_signals_close(&my->signals);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- a tree of tasks, printed; one of them fails, and all of it unwinds ------------------------
 */

struct query {
    CORO_FRAME;
    coro_time d;
    int result;
};

CORO(query)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(my->result);
}

static int cleanups;

struct request {
    CORO_FRAME;
    struct query sub; /* a call's frame is embedded in its caller's */
    coro_scope limit, shield;
    coro_time d;
    int result;
};

CORO(request)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_S(10));
    CORO_TRY(coro_call(co, &my->sub, query, .d = my->d, .result = my->result));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(50));
    CORO_IGNORE(coro_sleep(co, CORO_MS(1))); /* say goodbye, cancelled or not */
    cleanups++;
    CORO_END(0);
}

static void put(void *arg, const char *text)
{
    printf("  | %s", text);
    (void)arg;
}

struct requests {
    CORO_FRAME;
    coro_group g;
};

CORO(requests)
{
    static const coro_sink sink = {put, NULL};
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, request, .d = CORO_MS(300));
    coro_spawn(&my->g, request, .d = CORO_MS(400));
    coro_spawn(&my->g, request, .d = CORO_MS(20), .result = -EIO);
    CORO_TRY(coro_sleep(co, CORO_MS(10)));
    coro_dump(coro_loop_of(co), &sink);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- a deadline, and a service that is down for a while --------------------------------- */

struct patience {
    CORO_FRAME;
    coro_backoff backoff;
    coro_breaker breaker;
    struct query query;
    coro_scope limit;
    coro_time began;
    int rc, again, tries;
};

/* Fails four times. Three failures open the breaker, for 60 ms: the fourth try is refused. */
CORO(patience)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(20), &my->query, query,
                                        .d = CORO_S(3600)));
    printf("  a query of an hour: %s after %.0f ms\n", strerror(-my->rc),
           (double)(coro_now(co) - my->began) / 1e6);
    expect(my->rc == -ETIMEDOUT, "its deadline ended it");

    my->backoff = (coro_backoff){.tries = 8, .base = CORO_MS(20), .exact = true};
    my->breaker = (coro_breaker){.failures = 3, .cooling = CORO_MS(200)};
    do {
        my->rc = coro_breaker_enter(co, &my->breaker);
        if (my->rc == 0) {
            CORO_AWAIT(my->rc, coro_call(co, &my->query, query, .d = CORO_MS(1),
                                         .result = my->tries++ < 3 ? -ECONNREFUSED : 200));
            coro_breaker_leave(&my->breaker, my->rc);
        }
        printf("  try: %s\n", my->rc == -EHOSTDOWN ? "not made, the breaker is open"
                                : my->rc < 0       ? strerror(-my->rc) : "answered");
        if (my->rc == -EHOSTDOWN)
            my->rc = -ECONNREFUSED; /* worth another try */
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
    } while (my->again);
    expect(my->tries == 4 && my->breaker.opened_times == 1 && my->breaker.rejected > 0,
           "the breaker opened, spared the service, and let a probe through");
    CORO_END(0);
}

/* ---- a task that nobody will wake ------------------------------------------------------ */

struct stuck {
    CORO_FRAME;
    coro_event never;
};

CORO(stuck)
{
    CORO_BEGIN();
    CORO_TRY(coro_event_wait(co, &my->never));
    CORO_END(0);
}

/* ---- all of it -------------------------------------------------------------------------- */

struct app {
    CORO_FRAME;
    coro_fd listener;
    unsigned connections;
    struct crowd crowd;
    struct requests requests;
    struct patience patience;
    int rc;
};

CORO(app)
{
    CORO_BEGIN();
    printf("%u connections to a server of one thread (their other ends: another process)\n",
           my->connections);
    CORO_TRY(coro_call(co, &my->crowd, crowd, .listener = &my->listener,
                       .connections = my->connections));
    printf("a tree of tasks, 10 ms old; one of them is about to fail\n");
    CORO_AWAIT(my->rc, coro_call(co, &my->requests, requests));
    if (my->rc == -ECANCELED)
        CORO_FAIL(my->rc);
    expect(my->rc == -EIO, "the failure cancelled the others and became the group's result");
    expect(cleanups == 3, "every cleanup ran to its end, each with an await in it");
    printf("time-outs, retries, and a circuit breaker\n");
    CORO_TRY(coro_call(co, &my->patience, patience));
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

/* As many as the limit of open files allows. */
static unsigned allowed(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur >= MOST + 50)
        return MOST;
    printf("(ulimit -n is %lu: not %d connections)\n", (unsigned long)files.rlim_cur, MOST);
    return files.rlim_cur > 100 ? (unsigned)files.rlim_cur - 50 : 50;
}

/* Both processes have the listener; the load's end tells whether every client was satisfied. */
static int show(unsigned connections)
{
    static const coro_options options = {.report = {put, NULL}};
    coro_fd listener = {0};
    coro_address to;
    pid_t load;
    int rc = coro_listen(&listener, "127.0.0.1:0", 0), status;
    if (rc < 0 || coro_fd_local(&listener, &to) < 0)
        return rc < 0 ? rc : -EIO;
    fflush(stdout);
    load = fork();
    if (load == 0) {
        coro_close(&listener);
        _exit(coro_run(load, .to = to, .connections = connections) != 0);
    }
    rc = coro_run(app, .listener = listener, .connections = connections);
    if (rc < 0)
        kill(load, SIGTERM);
    waitpid(load, &status, 0);
    if (rc < 0)
        return rc;
    printf("the other process, looking back\n");
    expect(seen(&shared->answered) == seen(&shared->asked) && !seen(&shared->broken),
           "every request was answered, no connection broke");
    expect(seen(&shared->told) == connections && status == 0, "every client was told of the end");
    printf("a task that nobody will ever wake\n");
    rc = coro_run_with(&options, stuck);
    expect(rc == -EDEADLK, "was found, named, and cancelled");
    return 0;
}

int main(void)
{
    int rc;
    shared = (struct shared *)mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    rc = show(allowed());
    if (rc == -EINTR)
        printf("\nstopped by a signal: everything was closed and given back\n");
    else if (rc < 0)
        printf("\nfailed: %s\n", strerror(-rc));
    return rc < 0 || failures;
}
