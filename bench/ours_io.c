/* ours_io.c -- the I/O benchmarks of README.md with coro_io.h, as a user would write them. */
#include "coro_io.h"
#include "bench_io.h"
#include <malloc.h>
#include <sys/socket.h>

static size_t before, malloc_before; /* memory in use before the connections came */
static uint64_t reads;               /* of tasks that always have data */
static long arrived, wakes;          /* posts; writes to an eventfd */
static double began;                 /* when the posts did */

static void print_port(const coro_fd *listener)
{
    coro_address at;

    bench_check(coro_fd_local(listener, &at) == 0, "the listener's address");
    bench_print_port(coro_address_port(&at));
}

/* ---- echo: a connection has its buffer in its frame ------------------------------------------ */

struct echo {
    CORO_FRAME;
    coro_fd conn;
    size_t n;
    char bytes[BENCH_BUFFER];
};

CORO(echo)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->n, coro_read(co, &my->conn, my->bytes, sizeof my->bytes));
        if (my->n == 0)
            break;
        CORO_TRY(coro_write(co, &my->conn, my->bytes, my->n));
    }
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

/* ---- borrow: it has one while there is data -------------------------------------------------- */

struct buffer {
    struct buffer *next;
    size_t n;
    char bytes[BENCH_BUFFER];
};

static struct buffer *spare;

static struct buffer *take(void)
{
    struct buffer *b = spare;

    if (!b)
        return malloc(sizeof *b);
    spare = b->next;
    return b;
}

static void give_back(struct buffer *b)
{
    b->next = spare;
    spare = b;
}

struct borrow {
    CORO_FRAME;
    coro_fd conn;
    struct buffer *b;
};

CORO(borrow)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_wait_readable(co, &my->conn));
        my->b = take();
        CORO_TRY(my->b->n, coro_read(co, &my->conn, my->b->bytes, sizeof my->b->bytes));
        if (my->b->n == 0)
            break;
        CORO_TRY(coro_write(co, &my->conn, my->b->bytes, my->b->n));
        give_back(my->b);
        my->b = NULL;
    }
CORO_FINALLY:
    if (my->b)
        give_back(my->b);
    coro_close(&my->conn);
    CORO_END(0);
}

struct echo_server {
    CORO_FRAME;
    coro_fd listener;
    coro_server *server;
    bool borrows;
};

CORO(echo_server)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", BENCH_BACKLOG));
    print_port(&my->listener);
    if (my->borrows)
        CORO_TRY(coro_serve(co, my->server, &my->listener, conn, borrow));
    else
        CORO_TRY(coro_serve(co, my->server, &my->listener, conn, echo));
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

static int serve(bool borrows, coro_time spin)
{
    static coro_server server;
    coro_options options = {.spin = spin};

    return coro_run_with(&options, echo_server, .server = &server, .borrows = borrows) < 0;
}

/* ---- memory: n idle connections, counted by the loop and by malloc --------------------------- */

struct memory {
    CORO_FRAME;
    coro_server server;
    coro_group group;
    coro_count n;
};

CORO(memory)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_ALL);
    coro_spawn(&my->group, echo_server, .server = &my->server, .borrows = true);
    while (my->server.handlers.alive < 1)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    before = coro_stats(coro_loop_of(co)).memory;
    malloc_before = mallinfo2().uordblks;
    while (my->server.handlers.alive < my->n)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_sleep(co, CORO_MS(50))); /* the last ones begin to wait */
    printf("%.1f %.1f\n",
           (double)(coro_stats(coro_loop_of(co)).memory - before) / (double)(my->n - 1),
           (double)(mallinfo2().uordblks - malloc_before) / (double)(my->n - 1));
CORO_FINALLY:
    coro_group_cancel(&my->group);
    CORO_CLOSE(&my->group);
    CORO_END(0);
}

static int memory_of(long n)
{
    return coro_run(memory, .n = (coro_count)n) < 0;
}

/* ---- http: answers to requests that came together leave together ----------------------------- */

struct http {
    CORO_FRAME;
    coro_fd conn;
    coro_stream s;
    coro_slice head;
    bool got;
    char in[BENCH_BUFFER], out[4 * BENCH_BUFFER];
};

CORO(http)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_until(co, &my->s, "\r\n\r\n", 4, &my->head));
        if (!my->got)
            break;
        CORO_TRY(coro_stream_write(co, &my->s, BENCH_ANSWER, sizeof BENCH_ANSWER - 1));
    }
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct http_server {
    CORO_FRAME;
    coro_fd listener;
    coro_server server;
};

CORO(http_server)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", BENCH_BACKLOG));
    print_port(&my->listener);
    CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, http));
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

/* ---- late: a 1 ms timer beside 100 tasks that always have data ------------------------------- */

struct busy { /* reads what it has written itself */
    CORO_FRAME;
    coro_fd in, out;
    char bytes[64];
};

CORO(busy)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_write(co, &my->out, my->bytes, sizeof my->bytes));
        CORO_TRY(coro_read(co, &my->in, my->bytes, sizeof my->bytes));
        reads++;
    }
CORO_FINALLY:
    coro_close(&my->in);
    coro_close(&my->out);
    CORO_END(0);
}

struct late {
    CORO_FRAME;
    coro_group group;
    coro_time due, *by;
    long i, n;
};

static int earlier(const void *a, const void *b)
{
    coro_time x = *(const coro_time *)a, y = *(const coro_time *)b;

    return x < y ? -1 : x > y;
}

CORO(late)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_ALL);
    for (int i = 0; i < 100; i++) {
        coro_fd in = {0}, out = {0};
        int ends[2];

        bench_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
        bench_check(coro_fd_adopt(&in, ends[0]) == 0 && coro_fd_adopt(&out, ends[1]) == 0, "adopt");
        coro_spawn(&my->group, busy, .in = in, .out = out);
    }
    my->due = coro_now(co);
    for (; my->i < my->n; my->i++) {
        my->due += CORO_MS(1);
        CORO_TRY(coro_sleep_until(co, my->due));
        my->by[my->i] = coro_now(co) - my->due;
        my->due += my->by[my->i];
    }
    bench_check(reads > 100 * (uint64_t)my->n, "late: the others had their turns");
CORO_FINALLY:
    coro_group_cancel(&my->group);
    CORO_CLOSE(&my->group);
    CORO_END(0);
}

static int late_by(long n)
{
    coro_time *by = calloc((size_t)n, sizeof *by);
    int rc = coro_run(late, .n = n, .by = by);

    qsort(by, (size_t)n, sizeof *by, earlier);
    printf("%.1f %.1f\n", (double)by[n / 2] / 1e3, (double)by[n * 99 / 100] / 1e3);
    free(by);
    return rc < 0;
}

/* ---- post: bursts from another thread -------------------------------------------------------- */

enum { BURST = 1000 };

struct posted { /* waits for what the other thread writes at its end */
    CORO_FRAME;
    coro_fd end;
};

CORO(posted)
{
    CORO_BEGIN();
    CORO_TRY(coro_wait_readable(co, &my->end));
    printf("%.2f %.4f\n", (bench_cpu() - began) / (double)arrived,
           (double)wakes / (double)coro_stats(coro_loop_of(co)).parked);
CORO_FINALLY:
    coro_close(&my->end);
    CORO_END(0);
}

static void arrives(coro_loop *loop, coro_post_node *node)
{
    (void)loop;
    (void)node;
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELEASE);
}

/* In place of libc's, to count how often the loop is woken. */
ssize_t write(int fd, const void *from, size_t n)
{
    wakes += n == sizeof(uint64_t);
    return syscall(SYS_write, fd, from, n);
}

struct poster {
    coro_loop loop;
    coro_post_node nodes[BURST];
    long n;
    int end; /* where to write in the end */
};

static void *post_bursts(void *arg)
{
    struct poster *p = arg;
    struct timespec pause = {0, 200000};

    began = bench_cpu();
    for (long sent = 0; sent < p->n; sent += BURST) {
        nanosleep(&pause, NULL); /* until the loop sleeps */
        for (int i = 0; i < BURST; i++)
            bench_check(coro_post(&p->loop, &p->nodes[i]), "post: it was not posted yet");
        while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < sent + BURST)
            nanosleep(&pause, NULL);
    }
    bench_check(syscall(SYS_write, p->end, "", 1) == 1, "post: the end");
    return NULL;
}

static int posts(long n)
{
    static struct poster p;
    pthread_t thread;
    coro_fd end = {0};
    int ends[2], rc;

    bench_check(coro_loop_init(&p.loop, NULL) == 0 && pipe(ends) == 0, "post: set-up");
    bench_check(coro_fd_adopt(&end, ends[0]) == 0, "adopt");
    p.n = n;
    p.end = ends[1];
    for (int i = 0; i < BURST; i++)
        p.nodes[i].run = arrives;
    coro_spawn(&p.loop.root, posted, .end = end);
    bench_check(pthread_create(&thread, NULL, post_bursts, &p) == 0, "pthread_create");
    rc = coro_loop_run(&p.loop);
    pthread_join(thread, NULL);
    bench_check(arrived == (n + BURST - 1) / BURST * BURST, "post: all have arrived");
    close(ends[1]);
    return rc < 0 || coro_loop_fini(&p.loop) < 0;
}

int main(int argc, char **argv)
{
    const char *bench = argc > 1 ? argv[1] : "";
    long n = argc == 3 ? atol(argv[2]) : 0;

    if (argc == 2 && !strcmp(bench, "echo"))
        return serve(false, 0);
    if (argc == 2 && !strcmp(bench, "borrow"))
        return serve(true, 0);
    if (argc == 2 && !strcmp(bench, "spin"))
        return serve(false, CORO_US(100));
    if (argc == 2 && !strcmp(bench, "http"))
        return coro_run(http_server) < 0;
    if (argc == 3 && !strcmp(bench, "memory"))
        return memory_of(n);
    if (argc == 3 && !strcmp(bench, "late"))
        return late_by(n);
    if (argc == 3 && !strcmp(bench, "post"))
        return posts(n);
    return 2;
}
