/* libev.c -- timers of libev: a 4-ary heap, times as doubles. */
#include "timer_peer.h"
#include <ev.h>

static long fired;
static double last;

typedef struct sleeper {
    ev_timer timer;
    double after;           /* deadline, for the check of the order */
} sleeper;

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
    sleeper *s = (sleeper *)w;

    (void)loop;
    (void)events;
    bench_check(s->after >= last, "the order of firing");
    last = s->after;
    fired++;
}

static double guard(long n, long others)
{
    struct ev_loop *loop = ev_loop_new(0);
    ev_timer *other = calloc((size_t)others, sizeof *other), deadline;
    uint64_t *ns = bench_random_ns(others, BENCH_SECOND);
    double start;

    for (long i = 0; i < others; i++) {
        ev_timer_init(&other[i], on_timer, 30 + (double)ns[i] / 1e9, 0);
        ev_timer_start(loop, &other[i]);
    }
    ev_timer_init(&deadline, on_timer, 5, 0);
    start = bench_cpu();
    for (long i = 0; i < n; i++) {
        ev_timer_set(&deadline, 5, 0);
        ev_timer_start(loop, &deadline);
        ev_timer_stop(loop, &deadline);
    }
    return (bench_cpu() - start) / (double)n;
}

static double sleeps(long n, long unused)
{
    struct ev_loop *loop = ev_loop_new(0);
    sleeper *all = calloc((size_t)n, sizeof *all);
    uint64_t *ns = bench_random_ns(n, 10 * BENCH_SECOND);
    double start, spent;

    (void)unused;
    for (long i = 0; i < n; i++) {
        all[i].after = (double)ns[i] / 1e9;
        ev_timer_init(&all[i].timer, on_timer, all[i].after, 0);
    }
    start = bench_cpu();
    for (long i = 0; i < n; i++)
        ev_timer_start(loop, &all[i].timer);
    peer_now += 11 * BENCH_SECOND;
    ev_run(loop, EVRUN_NOWAIT);
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
