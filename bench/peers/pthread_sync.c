/* pthread_sync.c -- a default pthread mutex, uncontended, in a program with a second thread: that one
 * sleeps, but glibc, which knows when there is only one, cannot leave the atomics out. */
#include <pthread.h>
#include "../bench.h"

static void *sleeper(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static double mutex(long n, long unused)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    long total = 0;
    pthread_t thread;
    double start, ns;

    (void)unused;
    bench_check(pthread_create(&thread, NULL, sleeper, NULL) == 0, "a second thread");
    start = bench_cpu();
    for (long i = 0; i < n; i++) {
        pthread_mutex_lock(&m);
        total++;
        pthread_mutex_unlock(&m);
    }
    ns = (bench_cpu() - start) / (double)n;
    bench_check(total == n, "mutex");
    return ns;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"mutex", mutex, 0},
        {0},
    };

    return bench_main(argc, argv, table);
}
