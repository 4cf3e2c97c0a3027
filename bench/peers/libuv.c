/* libuv.c -- timers of libuv: a binary heap of pointers, milliseconds. */
#include "timer_peer.h"
#include <uv.h>

static long fired;
static uint64_t last;

typedef struct sleeper {
    uv_timer_t timer;
    uint64_t after;         /* deadline in milliseconds, for the check of the order */
} sleeper;

static void on_timer(uv_timer_t *timer)
{
    sleeper *s = (sleeper *)timer;

    bench_check(s->after >= last, "the order of firing");
    last = s->after;
    fired++;
}

static double guard(long n, long others)
{
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t *other = calloc((size_t)others, sizeof *other), deadline;
    uint64_t *ns = bench_random_ns(others, BENCH_SECOND);
    double start;

    for (long i = 0; i < others; i++) {
        uv_timer_init(loop, &other[i]);
        uv_timer_start(&other[i], on_timer, 30000 + ns[i] / 1000000, 0);
    }
    uv_timer_init(loop, &deadline);
    start = bench_cpu();
    for (long i = 0; i < n; i++) {
        uv_timer_start(&deadline, on_timer, 5000, 0);
        uv_timer_stop(&deadline);
    }
    return (bench_cpu() - start) / (double)n;
}

static double sleeps(long n, long unused)
{
    uv_loop_t *loop = uv_default_loop();
    sleeper *all = calloc((size_t)n, sizeof *all);
    uint64_t *ns = bench_random_ns(n, 10 * BENCH_SECOND);
    double start, spent;

    (void)unused;
    for (long i = 0; i < n; i++) {
        all[i].after = ns[i] / 1000000;
        uv_timer_init(loop, &all[i].timer);
    }
    start = bench_cpu();
    for (long i = 0; i < n; i++)
        uv_timer_start(&all[i].timer, on_timer, all[i].after, 0);
    peer_now += 11 * BENCH_SECOND;
    uv_run(loop, UV_RUN_NOWAIT);
    spent = (bench_cpu() - start) / (double)n;
    bench_check(fired == n, "sleeps: all fired");
    return spent;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"guard", guard, 100000},
        {"sleeps", sleeps, 0},
        {0},
    };

    return bench_main(argc, argv, table);
}
