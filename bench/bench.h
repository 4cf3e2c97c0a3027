/* bench.h -- what every benchmark program in C and C++ shares: the command line, the clock and
 * the random numbers.
 *
 *   prog BENCH N     runs BENCH with about N operations and prints CPU nanoseconds per operation.
 *
 * Exit status: 0; 1 if the benchmark's own check failed; 2 if BENCH is not one of the program's.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BENCH_SECOND UINT64_C(1000000000)

/* A function that must stay a real call: the limit of a call is not an inlined body. */
#if defined(__clang__)
#define BENCH_NOINLINE __attribute__((noinline))
#else
#define BENCH_NOINLINE __attribute__((noipa))
#endif /* __clang__ */

typedef struct bench_entry {
    const char *name;                 /* as on the command line */
    double (*run)(long n, long arg);  /* runs it; returns nanoseconds per operation */
    long arg;                         /* number of tasks, depth, ... */
} bench_entry;

/* bench_cpu -- the CPU time of this process. A raw system call, because the timer peers replace
 * clock_gettime to move their loops' time. */
static inline double bench_cpu(void)
{
    struct timespec ts;

    syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* bench_random -- splitmix64; with fixed seeds, so that every program sees the same numbers. */
static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* bench_shuffled -- the numbers 0 .. n-1 in a random, always the same, order; free() it. */
static inline uint32_t *bench_shuffled(long n)
{
    uint32_t *order = (uint32_t *)malloc((size_t)n * sizeof *order);
    uint64_t seed = 42;

    for (long i = 0; i < n; i++) {
        long j = (long)(bench_random(&seed) % (uint64_t)(i + 1));

        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
    return order;
}

/* bench_random_ns -- n random times below limit, always the same; free() it. */
static inline uint64_t *bench_random_ns(long n, uint64_t limit)
{
    uint64_t *ns = (uint64_t *)malloc((size_t)n * sizeof *ns);
    uint64_t seed = 7;

    for (long i = 0; i < n; i++)
        ns[i] = bench_random(&seed) % limit;
    return ns;
}

static inline void bench_check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "wrong: %s\n", what);
        exit(1);
    }
}

static inline int bench_main(int argc, char **argv, const bench_entry *table)
{
    if (argc == 3)
        for (; table->name; table++)
            if (!strcmp(table->name, argv[1])) {
                printf("%.3f\n", table->run(atol(argv[2]), table->arg));
                return 0;
            }
    return 2;
}

#endif /* BENCH_H */
