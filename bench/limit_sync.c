/* limit_sync.c -- the least that C can do for each benchmark of coro_sync.h.
 *
 * The algorithms are the library's, so that both make the same switches: those who wait are in a
 * FIFO of nodes, which live in their frames; an item, a permit or the mutex goes directly to the
 * first of them, who then runs behind those that are ready. A get from a full channel moves the
 * first blocked item in. Everything else is missing: cancellation, deadlines, closing, statistics,
 * fairness towards other tasks, items of other types.
 *
 * Tasks and the ready queue are those of limit_core.c: an indirect call of a Duff's-device step
 * function, a ring of pointers in which there is always room.
 */
#include "bench.h"

/* ---- ready queue ----------------------------------------------------------------------------- */

typedef struct task task;

struct task {
    void (*step)(task *t);  /* runs until the task suspends or ends */
    uint32_t pc;            /* resume label */
    uint32_t left;          /* operations still to do */
};

static struct {
    void *slot[16];
    uint32_t tail;          /* free-running */
} ready;

static uint64_t total;

static inline void ready_push(task *t)
{
    ready.slot[ready.tail++ % 16] = t;
}

/* Runs what is ready until nothing is; returns CPU nanoseconds per operation. */
static double timed_run(long n)
{
    double start = bench_cpu();

    for (uint32_t head = 0; head != ready.tail;) {
        task *t = ready.slot[head++ % 16];

        t->step(t);
    }
    return (bench_cpu() - start) / (double)n;
}

/* ---- lines: those who wait, oldest first ----------------------------------------------------- */

typedef struct waiter waiter;

/* next and task are not neighbours: gcc would load both at once, which waits until the two stores
 * of line_append have left the store buffer. */
struct waiter {
    waiter *next;
    uint64_t *item;         /* a channel's: where it is, or goes */
    task *task;
};

typedef struct line {
    waiter *first;          /* null: nobody waits */
    waiter *last;
} line;

static inline void line_append(line *l, waiter *w, task *t)
{
    w->next = NULL;
    w->task = t;
    if (l->first)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
}

static inline waiter *line_pop(line *l)
{
    waiter *w = l->first;

    l->first = w->next;
    return w;
}

/* ---- channels -------------------------------------------------------------------------------- */

typedef struct channel {
    uint32_t put, got;      /* items so far: free-running */
    uint32_t room;          /* a power of two, or 0 */
    line getters, putters;
    uint64_t items[64];
} channel;

/* Puts it, or waits until it has been taken: false. */
static inline int channel_put(channel *c, task *t, waiter *w, uint64_t *item)
{
    if (c->getters.first) {
        waiter *getter = line_pop(&c->getters);

        *getter->item = *item;
        ready_push(getter->task);
        return 1;
    }
    if (c->put - c->got < c->room) {
        c->items[c->put++ & (c->room - 1)] = *item;
        return 1;
    }
    w->item = item;
    line_append(&c->putters, w, t);
    return 0;
}

/* Gets one, or waits until *item has been filled: false. */
static inline int channel_get(channel *c, task *t, waiter *w, uint64_t *item)
{
    waiter *putter = c->putters.first;

    if (c->put != c->got) {
        *item = c->items[c->got++ & (c->room - 1)];
        if (putter)
            c->items[c->put++ & (c->room - 1)] = *putter->item;
    } else if (putter) {
        *item = *putter->item;
    } else {
        w->item = item;
        line_append(&c->getters, w, t);
        return 0;
    }
    if (putter)
        ready_push(line_pop(&c->putters)->task);
    return 1;
}

typedef struct end {        /* a producer, or a consumer */
    task head;
    channel *c;
    uint64_t item;
    waiter waits;
} end;

static void produce(task *t)
{
    end *my = (end *)t;

    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--, my->item++)
            if (!channel_put(my->c, t, &my->waits, &my->item)) {
                t->pc = 1;
                return;
    case 1:;
            }
    }
}

static void consume(task *t)
{
    end *my = (end *)t;

    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--) {
            if (!channel_get(my->c, t, &my->waits, &my->item)) {
                t->pc = 1;
                return;
    case 1:;
            }
            total += my->item;
        }
    }
}

static double channels(long n, long room)
{
    channel c = {.room = (uint32_t)room};
    end producer = {.head = {.step = produce, .left = (uint32_t)n}, .c = &c};
    end consumer = {.head = {.step = consume, .left = (uint32_t)n}, .c = &c};
    double ns;

    ready_push(&producer.head);
    ready_push(&consumer.head);
    ns = timed_run(n);
    bench_check(total == (uint64_t)n * (uint64_t)(n - 1) / 2, "channel: the sum");
    return ns;
}

/* ---- mutex ----------------------------------------------------------------------------------- */

typedef struct mutex {
    task *owner;            /* null: free */
    line line;
} mutex;

/* Locks it, or waits until it has been handed over: false. */
static inline int mutex_lock(mutex *m, task *t, waiter *w)
{
    if (m->owner) {
        line_append(&m->line, w, t);
        return 0;
    }
    m->owner = t;
    return 1;
}

static inline void mutex_unlock(mutex *m)
{
    if (m->line.first) {
        m->owner = line_pop(&m->line)->task;
        ready_push(m->owner);
    } else {
        m->owner = NULL;
    }
}

typedef struct locker {
    task head;
    mutex *mutex;
    waiter waits;
} locker;

static void lock_and_yield(task *t)
{
    locker *my = (locker *)t;

    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--) {
            if (!mutex_lock(my->mutex, t, &my->waits)) {
                t->pc = 1;
                return;
    case 1:;
            }
            total++;
            ready_push(t);
            t->pc = 2;
            return;
    case 2:
            mutex_unlock(my->mutex);
        }
    }
}

static double contended(long n, long tasks)
{
    mutex m = {0};
    locker all[10];
    double ns;

    for (long i = 0; i < tasks; i++) {
        all[i] = (locker){.head = {.step = lock_and_yield, .left = (uint32_t)(n / tasks)},
                          .mutex = &m};
        ready_push(&all[i].head);
    }
    ns = timed_run(n / tasks * tasks);
    bench_check(total == (uint64_t)(n / tasks * tasks), "mutex");
    return ns;
}

/* ---- one task that never waits, but lets others run after every 100 operations --------------- */

static void lock_often(task *t)
{
    locker *my = (locker *)t;

    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--) {
            if (!mutex_lock(my->mutex, t, &my->waits)) {
                t->pc = 1;
                return;
    case 1:;
            }
            total++;
            mutex_unlock(my->mutex);
            if (t->left % 100 == 0) {
                ready_push(t);
                t->pc = 2;
                return;
    case 2:;
            }
        }
    }
}

static double uncontended(long n, long unused)
{
    mutex m = {0};
    locker one = {.head = {.step = lock_often, .left = (uint32_t)n}, .mutex = &m};

    (void)unused;
    ready_push(&one.head);
    return timed_run(n);
}

typedef struct sem {
    long value;
    line line;
} sem;

typedef struct taker {
    task head;
    sem *sem;
    waiter waits;
} taker;

/* Takes one, or waits until one has been handed over: false. */
static inline int sem_acquire(sem *s, task *t, waiter *w)
{
    if (!s->value) {
        line_append(&s->line, w, t);
        return 0;
    }
    s->value--;
    return 1;
}

static inline void sem_release(sem *s)
{
    if (s->line.first)
        ready_push(line_pop(&s->line)->task);
    else
        s->value++;
}

static void acquire_often(task *t)
{
    taker *my = (taker *)t;

    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--) {
            if (!sem_acquire(my->sem, t, &my->waits)) {
                t->pc = 1;
                return;
    case 1:;
            }
            total++;
            sem_release(my->sem);
            if (t->left % 100 == 0) {
                ready_push(t);
                t->pc = 2;
                return;
    case 2:;
            }
        }
    }
}

static double permits(long n, long unused)
{
    sem s = {.value = 2};
    taker one = {.head = {.step = acquire_often, .left = (uint32_t)n}, .sem = &s};

    (void)unused;
    ready_push(&one.head);
    return timed_run(n);
}

/* ---- condition: two tasks take turns --------------------------------------------------------- */

typedef struct table {
    mutex mutex;
    line changed;
    long turn;              /* whose it is: 0 or 1 */
} table;

typedef struct player {
    task head;
    table *table;
    long who;
    waiter waits;
} player;

/* The first one goes on waiting, for the mutex: the signaller has it. */
static inline void cond_signal(line *l, mutex *m)
{
    if (l->first) {
        waiter *w = line_pop(l);

        line_append(&m->line, w, w->task);
    }
}

static void play(task *t)
{
    player *my = (player *)t;
    table *at = my->table;

    switch (t->pc) {
    case 0:
        if (!mutex_lock(&at->mutex, t, &my->waits)) {
            t->pc = 1;
            return;
    case 1:;
        }
        for (; t->left > 0; t->left--) {
            while (at->turn != my->who) {
                line_append(&at->changed, &my->waits, t);
                mutex_unlock(&at->mutex);
                t->pc = 2;
                return;
    case 2:;
            }
            total++;
            at->turn = !my->who;
            cond_signal(&at->changed, &at->mutex);
        }
        mutex_unlock(&at->mutex);
    }
}

static double cond(long n, long unused)
{
    table at = {0};
    player one = {.head = {.step = play, .left = (uint32_t)(n / 2)}, .table = &at};
    player other = one;
    double ns;

    (void)unused;
    other.who = 1;
    ready_push(&one.head);
    ready_push(&other.head);
    ns = timed_run(n / 2 * 2);
    bench_check(total == (uint64_t)(n / 2 * 2), "cond");
    return ns;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"chan64", channels, 64},
        {"chan1", channels, 1},
        {"chan0", channels, 0},
        {"mutex2", contended, 2},
        {"mutex10", contended, 10},
        {"mutex", uncontended, 0},
        {"sem", permits, 0},
        {"cond", cond, 0},
        {0},
    };

    return bench_main(argc, argv, table);
}
