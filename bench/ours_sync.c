/* ours_sync.c -- the benchmarks of README.md with coro_sync.h, as a user would write them. */
#include "coro_sync.h"
#include "bench.h"

static double started, ended; /* the clock, read by the benchmark's own task */
static uint64_t total;

/* ---- channels: a producer, a consumer, and a queue of 8-byte items between them -------------- */

#define PRODUCER(producer, queue)                                                                 \
    struct producer { CORO_FRAME; queue *q; uint64_t item, n; };                                  \
    CORO(producer)                                                                                \
    {                                                                                             \
        CORO_BEGIN();                                                                             \
        for (; my->item < my->n; my->item++)                                                      \
            CORO_TRY(coro_queue_put(co, my->q, &my->item));                                       \
        CORO_END(0);                                                                              \
    }

#define CONSUMER(consumer, queue)                                                                 \
    struct consumer { CORO_FRAME; queue *q; uint64_t item, n; };                                  \
    CORO(consumer)                                                                                \
    {                                                                                             \
        CORO_BEGIN();                                                                             \
        for (; my->n > 0; my->n--) {                                                              \
            CORO_TRY(coro_queue_get(co, my->q, &my->item));                                       \
            total += my->item;                                                                    \
        }                                                                                         \
        CORO_END(0);                                                                              \
    }

#define CHANNEL(channel, queue, producer, consumer)                                               \
    struct channel { CORO_FRAME; coro_group group; queue q; uint64_t n; };                        \
    CORO(channel)                                                                                 \
    {                                                                                             \
        CORO_BEGIN();                                                                             \
        coro_group_open(co, &my->group, CORO_ALL);                                                \
        coro_spawn(&my->group, producer, .q = &my->q, .n = my->n);                                \
        coro_spawn(&my->group, consumer, .q = &my->q, .n = my->n);                                \
        started = bench_cpu();                                                                    \
        CORO_CLOSE(&my->group);                                                                   \
        ended = bench_cpu();                                                                      \
        CORO_END(0); }

typedef CORO_QUEUE(uint64_t, 64) queue64;
typedef CORO_QUEUE(uint64_t, 1) queue1;
typedef CORO_QUEUE(uint64_t, 0) queue0;

PRODUCER(producer64, queue64)
CONSUMER(consumer64, queue64)
CHANNEL(channel64, queue64, producer64, consumer64)
PRODUCER(producer1, queue1)
CONSUMER(consumer1, queue1)
CHANNEL(channel1, queue1, producer1, consumer1)
PRODUCER(producer0, queue0)
CONSUMER(consumer0, queue0)
CHANNEL(channel0, queue0, producer0, consumer0)

static double channel(long n, long room)
{
    int rc = room == 64  ? coro_run(channel64, .n = (uint64_t)n)
             : room == 1 ? coro_run(channel1, .n = (uint64_t)n)
                         : coro_run(channel0, .n = (uint64_t)n);

    bench_check(rc == 0 && total == (uint64_t)n * (uint64_t)(n - 1) / 2, "channel: the sum");
    return (ended - started) / (double)n;
}

/* ---- mutex, contended ------------------------------------------------------------------------ */

struct locker { /* holds the mutex while the others have their turn */
    CORO_FRAME;
    coro_mutex *mutex;
    long n;
};

CORO(locker)
{
    CORO_BEGIN();
    while (my->n-- > 0) {
        CORO_TRY(coro_mutex_lock(co, my->mutex));
        total++;
        CORO_TRY(coro_sleep(co, 0));
        coro_mutex_unlock(co, my->mutex);
    }
CORO_FINALLY:
    coro_mutex_unlock(co, my->mutex);
    CORO_END(0);
}

struct contending {
    CORO_FRAME;
    coro_group group;
    coro_mutex mutex;
    long n, tasks, i;
};

CORO(contending)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_ALL);
    for (my->i = 0; my->i < my->tasks; my->i++)
        coro_spawn(&my->group, locker, .mutex = &my->mutex, .n = my->n / my->tasks);
    started = bench_cpu();
    CORO_CLOSE(&my->group);
    ended = bench_cpu();
    CORO_END(0);
}

static double contended(long n, long tasks)
{
    n = n / tasks * tasks;
    bench_check(coro_run(contending, .n = n, .tasks = tasks) == 0 && total == (uint64_t)n, "mutex");
    return (ended - started) / (double)n;
}

/* ---- one task that never waits, but lets others run after every 100 operations --------------- */

struct mutexes {
    CORO_FRAME;
    coro_mutex mutex;
    long n, i;
};

CORO(mutexes)
{
    CORO_BEGIN();
    started = bench_cpu();
    for (; my->n > 0; my->n -= 100) {
        for (my->i = 0; my->i < 100; my->i++) {
            CORO_TRY(coro_mutex_lock(co, &my->mutex));
            total++;
            coro_mutex_unlock(co, &my->mutex);
        }
        CORO_TRY(coro_sleep(co, 0));
    }
    ended = bench_cpu();
CORO_FINALLY:
    coro_mutex_unlock(co, &my->mutex);
    CORO_END(0);
}

static double mutex(long n, long unused)
{
    (void)unused;
    bench_check(coro_run(mutexes, .n = n) == 0, "mutex");
    return (ended - started) / (double)n;
}

struct permits {
    CORO_FRAME;
    coro_sem sem;
    long n, i;
};

CORO(permits)
{
    CORO_BEGIN();
    coro_sem_init(&my->sem, 2, 2);
    started = bench_cpu();
    for (; my->n > 0; my->n -= 100) {
        for (my->i = 0; my->i < 100; my->i++) {
            CORO_TRY(coro_sem_acquire(co, &my->sem));
            total++;
            coro_sem_release(&my->sem);
        }
        CORO_TRY(coro_sleep(co, 0));
    }
    ended = bench_cpu();
    CORO_END(0);
}

static double sem(long n, long unused)
{
    (void)unused;
    bench_check(coro_run(permits, .n = n) == 0, "sem");
    return (ended - started) / (double)n;
}

/* ---- select against a plain get: the filling of the queues is not timed ---------------------- */

#define FILLING 4000

typedef CORO_QUEUE(uint64_t, FILLING) filled;

static filled queues[8];
static double spent;

/* Fills all queues, and starts the clock. */
static void fill(void)
{
    uint64_t item = 1;

    for (int i = 0; i < 8; i++)
        while (coro_queue_try_put(&queues[i], &item) == 0)
            continue;
    started = bench_cpu();
}

struct selecting {
    CORO_FRAME;
    coro_case cases[8];
    uint64_t item;
    long n, i;
};

CORO(selecting)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 8; my->i++)
        coro_case_get(&my->cases[my->i], &queues[my->i], &my->item);
    for (; my->n > 0; my->n -= FILLING) {
        fill();
        for (my->i = 0; my->i < FILLING; my->i++) {
            CORO_TRY(coro_select(co, my->cases, 8));
            total += my->item;
            if (my->i % 100 == 99)
                CORO_TRY(coro_sleep(co, 0));
        }
        spent += bench_cpu() - started;
    }
    CORO_END(0);
}

struct getting {
    CORO_FRAME;
    uint64_t item;
    long n, i;
};

CORO(getting)
{
    CORO_BEGIN();
    for (; my->n > 0; my->n -= FILLING) {
        fill();
        for (my->i = 0; my->i < FILLING; my->i++) {
            CORO_TRY(coro_queue_get(co, &queues[0], &my->item));
            total += my->item;
            if (my->i % 100 == 99)
                CORO_TRY(coro_sleep(co, 0));
        }
        spent += bench_cpu() - started;
    }
    CORO_END(0);
}

static double gets(long n, long with_select)
{
    n = n / FILLING * FILLING;
    bench_check((with_select ? coro_run(selecting, .n = n) : coro_run(getting, .n = n)) == 0 &&
                    total == (uint64_t)n,
                "gets");
    return spent / (double)n;
}

/* ---- condition: two tasks take turns --------------------------------------------------------- */

struct table {
    coro_mutex mutex;
    coro_cond cond;
    long turn; /* whose it is: 0 or 1 */
};

struct player {
    CORO_FRAME;
    struct table *table;
    long who, n;
};

CORO(player)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->table->mutex));
    while (my->n-- > 0) {
        while (my->table->turn != my->who)
            CORO_TRY(coro_cond_wait(co, &my->table->cond, &my->table->mutex));
        total++;
        my->table->turn = !my->who;
        coro_cond_signal(&my->table->cond);
    }
CORO_FINALLY:
    coro_mutex_unlock(co, &my->table->mutex);
    CORO_END(0);
}

struct game {
    CORO_FRAME;
    coro_group group;
    struct table table;
    long n;
};

CORO(game)
{
    CORO_BEGIN();
    coro_group_open(co, &my->group, CORO_ALL);
    coro_spawn(&my->group, player, .table = &my->table, .who = 0, .n = my->n / 2);
    coro_spawn(&my->group, player, .table = &my->table, .who = 1, .n = my->n / 2);
    started = bench_cpu();
    CORO_CLOSE(&my->group);
    ended = bench_cpu();
    CORO_END(0);
}

static double cond(long n, long unused)
{
    (void)unused;
    n = n / 2 * 2;
    bench_check(coro_run(game, .n = n) == 0 && total == (uint64_t)n, "cond");
    return (ended - started) / (double)n;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"chan64", channel, 64},
        {"chan1", channel, 1},
        {"chan0", channel, 0},
        {"mutex2", contended, 2},
        {"mutex10", contended, 10},
        {"mutex", mutex, 0},
        {"sem", sem, 0},
        {"select8", gets, 1},
        {"get1", gets, 0},
        {"cond", cond, 0},
        {0},
    };

    return bench_main(argc, argv, table);
}
