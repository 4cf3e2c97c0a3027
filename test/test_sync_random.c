/* Programs made up at random from all objects of coro_sync.h. Workers lock, put, acquire, select,
 * under limits of their own, and cancel each other; servers take what they put, and set what they
 * wait for. Whatever is cut short: no item, permit or wake-up may be lost, and all is free again in
 * the end.
 *
 * A program ends if no wake-up is lost, because nobody keeps a thing for ever, and the servers end
 * when the workers have: a deadlock is a failure. And between steps nobody may wait for what is
 * there: see check_world.
 *
 * A program uses a few kinds of objects much, so that there is a crowd, and the others a little.
 *
 * A seed is a program and a schedule. SEED=n repeats one: SEED=17 tests objects_used_at_random
 */
#include "coro_sync.h"
#include "sweep.h"

#include <errno.h>

#define SEEDS      10000
#define SEEDS_SLOW 300          /* under valgrind */
#define STEPS      20000        /* a program that takes more does not end */
#define WORKERS    5
#define ITEMS      256
#define PERMITS    4
#define PARTIES    2
#define OPERATIONS 22           /* see worker */
#define BURST      3
#define CASES      5            /* of a select, at most */
#define WAITERS    (WORKERS * CASES + 5) /* in a line, at most */
#define ORDERED    17           /* lines whose order is looked at */
#define CHECK_EACH 4            /* steps */

struct item {
    int id;
    int8_t urgency;
};

struct conn {
    coro_task *user;
    bool open;
};

/* The kinds of queues: a name, and where their items are counted. */
#define QUEUES(X) X(hand) X(slot) X(shelf) X(pile) X(desk)
enum { HAND, SLOT, SHELF, PILE, DESK, KINDS };

/* Cases of a select: puts and gets of all kinds of queues, and these. */
enum { CASE_GET = KINDS, CASE_EVENT = 2 * KINDS, CASE_PROMISE, CASE_MUTEX, CASE_SEM, CASE_TOPIC,
       CASE_OFF, CASE_KINDS };

/* All objects. They are zeroed for each program. */
static struct {
    CORO_QUEUE(struct item, 0) hand;
    CORO_QUEUE(struct item, 1) slot;
    CORO_QUEUE(struct item, 3) shelf;
    CORO_LIFO(struct item, 2) pile;
    CORO_PRIORITY_QUEUE(struct item, 3, urgency) desk;
    coro_event event;
    coro_promise promise;
    coro_once once;
    coro_mutex mutex;
    coro_mutex pot_lock;
    coro_cond pot_filled;
    coro_rwlock rwlock;
    coro_sem sem;
    coro_barrier barrier;
    CORO_RING(int, 4) ring;
    CORO_TOPIC(int, 2) topic;
    coro_rate rate;
    coro_breaker breaker;
    CORO_POOL(struct conn, 2) pool;
} o;

/* Those who waited in a line. */
struct order {
    const void *who[WAITERS];
    int n;
};

/* The program under way. */
static struct {
    uint32_t random;
    int items;                          /* made so far */
    uint8_t put[ITEMS], got[ITEMS];     /* by id */
    int pot, pot_put, pot_got;          /* in the pot */
    int inside, writing, reading;       /* those who know that they hold a lock */
    int permits;                        /* those who know that they hold them */
    int tokens;                         /* taken */
    int rung, heard;                    /* of the ring */
    int published, setting_up;
    bool over;                          /* the workers have ended */
    uint32_t favourites[2], kind, cases[2]; /* used much: operations; a queue; cases of select */
    int ops, cut;                       /* operations begun; ended by cancellation or time */
    int steps;
    coro_task *workers[WORKERS];
    struct order orders[ORDERED];       /* before this step */
    struct sweep_run run;
} w;

/* test/fuzz/ decides; NULL: the seed does. */
static uint32_t (*choose)(uint32_t n);

static uint32_t below(uint32_t n)
{
    if (choose)
        return choose(n);
    w.random ^= w.random << 13;
    w.random ^= w.random >> 17;
    w.random ^= w.random << 5;
    return (uint32_t)((uint64_t)w.random * n >> 32);
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

/* Often the same one, so that many things happen at one time. */
static coro_time some_time(void)
{
    static const coro_time times[] = {0, 0, CORO_US(100), CORO_US(100), CORO_MS(1), CORO_MS(3)};
    return times[below(sizeof times / sizeof *times)];
}

/* Of an operation that ends by itself: mostly none. */
static coro_time some_limit(void)
{
    return one_in(3) ? some_time() : CORO_FOREVER;
}

/* Of n things, mostly one of those that are used much in this program. */
static uint32_t some_of(uint32_t n, const uint32_t *much, uint32_t many)
{
    return one_in(3) ? below(n) : much[below(many)];
}

static int some_kind(void)
{
    return (int)some_of(KINDS, &w.kind, 1);
}

/* What an operation gave that may be cut short. True: it was done. */
static bool done(int rc)
{
    SWEEP_CHECK(rc >= 0 || rc == -ECANCELED || rc == -ETIMEDOUT);
    w.cut += rc < 0;
    return rc >= 0;
}

/* ---- between steps: nobody waits for what is there ------------------------------------------- */

/* Those who wait, in order: tasks and cases. Links and counts are right, and each case is behind a
 * task that is there. */
static int in_order(const coro_line *line, const void *who[WAITERS])
{
    const coro_task *task = NULL;
    const coro_case *c = line->cases;
    coro_count n = 0;
    do {
        if (task)
            who[n++] = task;
        while (c && c->after == task) {
            SWEEP_CHECK(c->line == line && c->next->prev == c && n < WAITERS);
            who[n++] = c;
            c = c->next == line->cases ? NULL : c->next;
        }
        task = task ? coro_waitq_next(&line->tasks, task) : line->tasks.head;
    } while (task);
    SWEEP_CHECK(!c); /* it comes after one who is not there, or out of order */
    SWEEP_EQ(line->waiting, n);
    SWEEP_CHECK(n <= line->most);
    return (int)n;
}

static void check_line(const coro_line *line)
{
    const void *who[WAITERS];
    (void)in_order(line, who);
}

/* Who waited before the last step, too, keeps the order; who has come since is behind them. */
static void check_order(const coro_line *line, struct order *before)
{
    struct order now;
    int at = 0;
    bool fresh = false;
    if (!line->waiting && !before->n)
        return;
    now.n = in_order(line, now.who);
    for (int i = 0; i < now.n; i++) {
        int k = 0;
        while (k < before->n && before->who[k] != now.who[i])
            k++;
        SWEEP_CHECK(k == before->n || (k >= at && !fresh));
        fresh = k == before->n;
        at = k + 1;
    }
    *before = now;
}

static void check_orders(void)
{
    const coro_line *const lines[ORDERED] = {
        &o.event.line, &o.promise.line, &o.mutex.line, &o.sem.line, &o.topic.head.line,
        &o.rwlock.line, &o.pool.head.line,
#define ORDERED_LINES(name) &o.name.head.getters, &o.name.head.putters,
        QUEUES(ORDERED_LINES)
    };
    for (int i = 0; i < ORDERED; i++)
        check_order(lines[i], &w.orders[i]);
}

static bool waits(const coro_line *line)
{
    check_line(line);
    return line->waiting > 0;
}

/* Who is first; 0: nobody. */
static intptr_t first_word(const coro_line *line)
{
    coro_waiter first;
    return waits(line) && coro_line_first(line, &first) ? coro_waiter_word(first) : 0;
}

/* A select may be on both sides, as long as nobody else is. */
static void check_queue(const coro_queue *q, coro_count room)
{
    coro_waiter getter, putter;
    SWEEP_CHECK(q->depth <= room);
    SWEEP_CHECK(!waits(&q->getters) || (!q->depth && !q->closed));
    SWEEP_CHECK(!waits(&q->putters) || (q->depth == room && !q->closed));
    SWEEP_CHECK(!waits(&q->joiners) || q->unfinished);
    if (coro_line_first(&q->getters, &getter) && coro_line_first(&q->putters, &putter))
        SWEEP_CHECK(getter.chosen && putter.chosen && getter.chosen->task == putter.chosen->task);
}

static void check_locks(void)
{
    bool write = o.rwlock.line.tasks.head && coro_word(o.rwlock.line.tasks.head);
    SWEEP_CHECK(!waits(&o.mutex.line) || o.mutex.owner);
    SWEEP_CHECK(!waits(&o.pot_lock.line) || o.pot_lock.owner);
    SWEEP_CHECK(!waits(&o.once.line) || o.once.owner);
    SWEEP_CHECK(!o.rwlock.writer || !o.rwlock.readers);
    SWEEP_CHECK(w.reading <= (int)o.rwlock.readers && w.reading <= 2 && w.writing <= 1);
    if (waits(&o.rwlock.line))
        SWEEP_CHECK(o.rwlock.writer || o.rwlock.readers >= (write ? 1u : o.rwlock.limit));
    check_line(&o.pot_filled.line);
    SWEEP_CHECK(w.inside <= 1);
    SWEEP_CHECK(o.pot_lock.owner || !w.pot || !o.pot_filled.line.waiting);
}

static void check_world(void)
{
    const coro_pool *pool = &o.pool.head;
#define CHECK_QUEUE(name) check_queue(&o.name.head, (coro_count)coro_queue_capacity(&o.name));
    QUEUES(CHECK_QUEUE)
    check_locks();
    SWEEP_CHECK(!waits(&o.event.line) || !o.event.set);
    SWEEP_CHECK(!waits(&o.promise.line) || !o.promise.set);
    SWEEP_CHECK(!waits(&o.sem.line) || first_word(&o.sem.line) > o.sem.value);
    SWEEP_CHECK(o.sem.value + w.permits <= o.sem.bound);
    SWEEP_EQ(o.barrier.arrived, (waits(&o.barrier.line), o.barrier.line.waiting));
    SWEEP_CHECK(o.barrier.arrived < PARTIES);
    if (waits(&o.topic.head.line))
        SWEEP_EQ(((coro_sub *)first_word(&o.topic.head.line))->next, o.topic.head.sent);
    check_line(&o.rate.line);
    SWEEP_CHECK(!waits(&pool->line) || (pool->out == pool->limit && !pool->idle));
    SWEEP_CHECK(!waits(&pool->drainers) || pool->out);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static coro_op queue_put(coro_task *co, int kind, const struct item *item)
{
#define PUT(name) if (kind-- == 0) return coro_queue_put(co, &o.name, item);
    QUEUES(PUT)
    return coro_done(co, -EINVAL);
}

static coro_op queue_get(coro_task *co, int kind, struct item *items, coro_count n)
{
#define GET(name)                                                                           \
    if (kind-- == 0)                                                                        \
        return n > 1 ? coro_queue_get_many(co, &o.name, items, n)                           \
                     : coro_queue_get(co, &o.name, items);
    QUEUES(GET)
    return coro_done(co, -EINVAL);
}

static coro_op queue_join(coro_task *co, int kind)
{
#define JOIN(name) if (kind-- == 0) return coro_queue_join(co, &o.name);
    QUEUES(JOIN)
    return coro_done(co, -EINVAL);
}

static int queue_try_put(int kind, const struct item *item)
{
#define TRY_PUT(name) if (kind-- == 0) return coro_queue_try_put(&o.name, item);
    QUEUES(TRY_PUT)
    return -EINVAL;
}

static int queue_replace(int kind, const struct item *item, struct item *old)
{
#define REPLACE(name) if (kind-- == 0) return coro_queue_replace(&o.name, item, old);
    QUEUES(REPLACE)
    return -EINVAL;
}

static int queue_try_get(int kind, struct item *item)
{
#define TRY_GET(name) if (kind-- == 0) return coro_queue_try_get(&o.name, item);
    QUEUES(TRY_GET)
    return -EINVAL;
}

static void queue_done(int kind)
{
#define DONE(name) if (kind-- == 0) SWEEP_EQ(coro_queue_done(&o.name), 0);
    QUEUES(DONE)
}

static struct item new_item(void)
{
    struct item item = {w.items++, (int8_t)((int)below(3) - 1)};
    SWEEP_CHECK(w.items < ITEMS);
    return item;
}

static void was_put(const struct item *item)
{
    w.put[item->id]++;
}

static void was_got(const struct item *item)
{
    SWEEP_CHECK(item->id >= 0 && item->id < w.items);
    SWEEP_EQ(w.got[item->id]++, 0);
}

struct use_put {
    CORO_FRAME;
    struct sweep_guard guard;
    struct item item, old;
    int kind, rc;
    uint32_t how;
};

CORO(use_put)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->item = new_item();
    my->kind = some_kind();
    my->how = below(6);
    if (my->how == 0) {
        my->rc = queue_try_put(my->kind, &my->item);
    } else if (my->how == 1) {
        my->rc = queue_replace(my->kind, &my->item, &my->old);
        if (my->rc == 1)
            was_got(&my->old);
    } else {
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), queue_put(co, my->kind, &my->item)));
    }
    if (my->rc == -EAGAIN)
        SWEEP_CHECK(my->how < 2);
    else if (done(my->rc))
        was_put(&my->item);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_get {
    CORO_FRAME;
    struct sweep_guard guard;
    struct item items[3];
    int kind, rc, undone;
};

CORO(use_get)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->kind = some_kind();
    if (one_in(4))
        my->rc = queue_try_get(my->kind, my->items);
    else
        CORO_AWAIT(my->rc, coro_within(co, some_time(),
                                       queue_get(co, my->kind, my->items, 1 + below(3))));
    my->undone = my->rc == -EAGAIN || !done(my->rc) ? 0 : my->rc;
    SWEEP_CHECK(my->rc != 0);
    for (int i = 0; i < my->undone; i++)
        was_got(&my->items[i]);
    if (one_in(2))
        CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    for (; my->undone; my->undone--)
        queue_done(my->kind);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_join {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

CORO(use_join)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (one_in(3))
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_pool_drain(co, &o.pool)));
    else
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), queue_join(co, some_kind())));
    done(my->rc);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct queue_server {
    CORO_FRAME;
    struct sweep_guard guard;
    struct item items[2];
    int kind, rc;
};

/* Takes all that is put, until the queue is closed and drained. */
CORO(queue_server)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_AWAIT(my->rc, coro_within(co, one_in(4) ? some_time() : CORO_FOREVER,
                                       queue_get(co, my->kind, my->items, 1 + below(2))));
        if (my->rc == 0)
            CORO_LEAVE();
        for (int i = 0; i < my->rc; i++)
            was_got(&my->items[i]);
        if (one_in(3))
            CORO_TRY(coro_sleep(co, some_time()));
        for (int i = 0; i < my->rc; i++)
            queue_done(my->kind);
    }
CORO_FINALLY:
    SWEEP_EQ(queue_try_get(my->kind, my->items), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- locks ----------------------------------------------------------------------------------- */

struct use_mutex {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

CORO(use_mutex)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (one_in(4))
        my->rc = coro_mutex_try_lock(co, &o.mutex);
    else
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_mutex_lock(co, &o.mutex)));
    SWEEP_EQ(o.mutex.owner == co, my->rc == 0);
    if (my->rc == -EAGAIN || !done(my->rc))
        CORO_LEAVE();
    w.inside++;
    CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    if (o.mutex.owner == co) {
        w.inside--;
        SWEEP_EQ(coro_mutex_unlock(co, &o.mutex), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

static void pot_fill(void)
{
    w.pot++;
    w.pot_put++;
    SWEEP_CHECK((one_in(4) ? coro_cond_broadcast(&o.pot_filled)
                           : coro_cond_signal(&o.pot_filled)) >= 0);
}

static void pot_take(void)
{
    SWEEP_CHECK(w.pot > 0);
    w.pot--;
    w.pot_got++;
}

struct use_pot {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

CORO(use_pot)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_mutex_lock(co, &o.pot_lock)));
    if (!done(my->rc))
        CORO_LEAVE();
    if (one_in(2)) {
        pot_fill();
    } else {
        while (!w.pot) {
            CORO_AWAIT(my->rc, coro_within(co, some_time(),
                                           coro_cond_wait(co, &o.pot_filled, &o.pot_lock)));
            SWEEP_CHECK(o.pot_lock.owner == co);
            if (!done(my->rc))
                CORO_LEAVE();
        }
        pot_take();
    }
    if (one_in(2))
        CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    if (o.pot_lock.owner == co)
        SWEEP_EQ(coro_mutex_unlock(co, &o.pot_lock), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct pot_server {
    CORO_FRAME;
    struct sweep_guard guard;
};

CORO(pot_server)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_mutex_lock(co, &o.pot_lock));
    for (;;) {
        while (!w.pot && !w.over)
            CORO_TRY(coro_cond_wait(co, &o.pot_filled, &o.pot_lock));
        if (!w.pot)
            CORO_LEAVE();
        pot_take();
    }
CORO_FINALLY:
    SWEEP_EQ(coro_mutex_unlock(co, &o.pot_lock), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_rwlock {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
    bool write, in;
};

CORO(use_rwlock)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->write = one_in(3);
    if (my->write)
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_rwlock_write_lock(co, &o.rwlock)));
    else
        CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_rwlock_read_lock(co, &o.rwlock)));
    my->in = done(my->rc);
    if (!my->in)
        CORO_LEAVE();
    *(my->write ? &w.writing : &w.reading) += 1;
    CORO_TRY(coro_sleep(co, some_time()));
    if (my->write && one_in(2)) {
        w.writing--;
        w.reading++;
        my->write = false;
        SWEEP_EQ(coro_rwlock_downgrade(co, &o.rwlock), 0);
        CORO_TRY(coro_sleep(co, some_time()));
    }
CORO_FINALLY:
    if (my->in) {
        *(my->write ? &w.writing : &w.reading) -= 1;
        SWEEP_EQ(my->write ? coro_rwlock_write_unlock(co, &o.rwlock)
                           : coro_rwlock_read_unlock(&o.rwlock), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_sem {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc, held;
};

CORO(use_sem)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->n = 1 + (int)below(3);
    CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_sem_acquire_n(co, &o.sem, my->n)));
    my->held = done(my->rc) ? my->n : 0;
    w.permits += my->held;
    CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    w.permits -= my->held;
    SWEEP_EQ(coro_sem_release_n(&o.sem, my->held), my->held ? 0 : -EINVAL);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_once {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

CORO(use_once)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_AWAIT(my->rc, coro_within(co, some_limit(), coro_once_enter(co, &o.once)));
    if (!done(my->rc) || my->rc == 0)
        CORO_LEAVE();
    SWEEP_EQ(w.setting_up++, 0);
    CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    if (my->rc == 1) {
        w.setting_up--;
        SWEEP_EQ(coro_once_leave(co, &o.once, CORO_ERR || one_in(2) ? -EIO : 0), 0);
    }
    SWEEP_CHECK(my->rc != 0 || o.once.done);
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- what is waited for by many -------------------------------------------------------------- */

struct use_signal {
    CORO_FRAME;
    struct sweep_guard guard;
    uint32_t what;
    int rc;
};

CORO(use_signal)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->what = below(3);
    if (my->what == 0)
        CORO_AWAIT(my->rc, coro_within(co, some_time(), coro_event_wait(co, &o.event)));
    else if (my->what == 1)
        CORO_AWAIT(my->rc, coro_within(co, some_time(), coro_promise_get(co, &o.promise)));
    else
        CORO_AWAIT(my->rc, coro_within(co, some_time(), coro_barrier_wait(co, &o.barrier)));
    if (done(my->rc))
        SWEEP_CHECK(my->what == 1 ? my->rc == 42 : my->rc < PARTIES);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct signal_server {
    CORO_FRAME;
    struct sweep_guard guard;
    int what, rc;
};

/* Waits for as long as it takes. */
CORO(signal_server)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (my->what == 1)
        CORO_TRY(my->rc, coro_promise_get(co, &o.promise));
    while (my->what == 0 && !w.over) {
        CORO_TRY(coro_event_wait(co, &o.event));
        coro_event_clear(&o.event);
    }
    while (my->what == 2 && my->rc != -ECONNABORTED) {
        CORO_AWAIT(my->rc, coro_barrier_wait(co, &o.barrier));
        if (my->rc < 0 && my->rc != -ECONNABORTED)
            CORO_FAIL(my->rc);
        SWEEP_CHECK(my->rc < PARTIES);
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

static void check_read(const coro_sub *sub, int item, int read, coro_total from)
{
    SWEEP_EQ(item, sub->next);
    SWEEP_EQ((coro_total)read + sub->lost, sub->next - from);
}

struct use_topic {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_sub sub;
    int item, read, rc;
    coro_total from;
};

CORO(use_topic)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(coro_topic_subscribe(&o.topic, &my->sub), 0);
    my->from = my->sub.next;
    while (my->rc >= 0 && !one_in(4)) {
        CORO_AWAIT(my->rc, coro_within(co, some_time(),
                                       coro_topic_next(co, &o.topic, &my->sub, &my->item)));
        if (done(my->rc))
            check_read(&my->sub, my->item, ++my->read, my->from);
        if (one_in(2))
            CORO_TRY(coro_sleep(co, some_time()));
    }
CORO_FINALLY:
    coro_topic_unsubscribe(&o.topic, &my->sub);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct topic_server {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_sub sub;
    int item, read;
    bool got;
};

CORO(topic_server)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(coro_topic_subscribe(&o.topic, &my->sub), 0);
    for (;;) {
        CORO_TRY(my->got, coro_topic_next(co, &o.topic, &my->sub, &my->item));
        if (!my->got)
            break;
        check_read(&my->sub, my->item, ++my->read, 0);
        if (one_in(4))
            CORO_TRY(coro_sleep(co, some_time()));
    }
    SWEEP_EQ(my->read + (int)my->sub.lost, w.published);
CORO_FINALLY:
    coro_topic_unsubscribe(&o.topic, &my->sub);
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- patterns -------------------------------------------------------------------------------- */

struct use_rate {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
};

CORO(use_rate)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->n = 1 + (int)below(BURST);
    if (one_in(4))
        my->rc = coro_rate_try_take(co, &o.rate, (uint32_t)my->n);
    else
        CORO_AWAIT(my->rc, coro_within(co, some_limit(),
                                       coro_rate_take(co, &o.rate, (uint32_t)my->n)));
    if (my->rc != -EAGAIN && done(my->rc))
        w.tokens += my->n;
    SWEEP_CHECK((w.tokens - BURST) * CORO_MS(1) <= coro_now(co) - w.run.base);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_breaker {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_backoff backoff;
    int rc, again;
    bool in;
};

/* A call through the circuit breaker, tried again a few times. */
CORO(use_breaker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->backoff.base = CORO_US(200);
    my->backoff.seed = 1 + below(1000);
    my->again = 1;
    while (my->again == 1) {
        my->rc = coro_breaker_enter(co, &o.breaker);
        my->in = my->rc == 0;
        if (my->in) {
            CORO_TRY(coro_sleep(co, some_time()));
            my->in = false;
            my->rc = one_in(2) ? -EAGAIN : 0;
            coro_breaker_leave(&o.breaker, my->rc);
        }
        CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
        SWEEP_CHECK(my->again == 1 || my->again == my->rc || my->again == -ECANCELED);
    }
CORO_FINALLY:
    if (my->in)
        coro_breaker_leave(&o.breaker, CORO_ERR);
    SWEEP_CHECK(!my->backoff.sleeping.head);
    sweep_leave(&my->guard);
    CORO_END(0);
}

static void conn_end(struct conn *conn)
{
    SWEEP_CHECK(!conn->user && conn->open);
    conn->open = false;
    SWEEP_EQ(coro_pool_release(&o.pool, conn, false), 0);
}

struct use_pool {
    CORO_FRAME;
    struct sweep_guard guard;
    struct conn *conn;
    int rc;
};

CORO(use_pool)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    while (one_in(3) && coro_pool_idle(co, &o.pool, &my->conn))
        conn_end(my->conn);
    my->conn = NULL;
    CORO_AWAIT(my->rc, coro_within(co, some_limit(),
                                   coro_pool_acquire(co, &o.pool, &my->conn)));
    if (!done(my->rc))
        CORO_LEAVE();
    SWEEP_CHECK(!my->conn->user && my->conn->open == !my->rc);
    my->conn->open = true;
    my->conn->user = co;
    CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    if (my->rc >= 0) {
        SWEEP_CHECK(my->conn->user == co);
        my->conn->user = NULL;
        if (one_in(3))
            conn_end(my->conn);
        else
            SWEEP_EQ(coro_pool_release(&o.pool, my->conn, true), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct use_ring {
    CORO_FRAME;
    struct sweep_guard guard;
    int i, byte, rc;
};

/* Only tries: virtual time stands still while a bell is waited for. */
CORO(use_ring)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = (int)below(6); my->i; my->i--)
        w.rung += coro_ring_put(&o.ring, &w.rung) == 0;
    if (one_in(2))
        CORO_TRY(coro_sleep(co, some_time()));
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_ring_wait(co, &o.ring)));
    done(my->rc);
    while (!one_in(4) && coro_ring_get(&o.ring, &my->byte))
        SWEEP_EQ(my->byte, w.heard++);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- select ---------------------------------------------------------------------------------- */

struct use_select {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_case cases[CASES];
    int what[CASES];
    struct item items[CASES];
    coro_sub sub;
    int news, n, i;
    uint32_t seed;
    bool sure, permit;      /* it ends by itself */
};

static void case_queue(coro_case *c, int what, struct item *item)
{
#define CASE_OF_PUT(name) if (what-- == 0) coro_case_put(c, &o.name, item);
#define CASE_OF_GET(name) if (what-- == 0) coro_case_get(c, &o.name, item);
    QUEUES(CASE_OF_PUT)
    QUEUES(CASE_OF_GET)
}

static void case_make(struct use_select *my, int i)
{
    coro_case *c = &my->cases[i];
    int what = my->what[i] = (int)some_of(CASE_KINDS, w.cases, 2);
    my->sure = my->sure || what < CASE_GET || what == CASE_MUTEX || what == CASE_SEM;
    if (what < CASE_GET)
        my->items[i] = new_item();
    if (what < CASE_EVENT)
        case_queue(c, what, &my->items[i]);
    else if (what == CASE_EVENT)
        coro_case_event(c, &o.event);
    else if (what == CASE_PROMISE)
        coro_case_promise(c, &o.promise);
    else if (what == CASE_MUTEX)
        coro_case_mutex(c, &o.mutex);
    else if (what == CASE_SEM)
        coro_case_sem(c, &o.sem);
    else if (what == CASE_TOPIC)
        coro_case_topic(c, &o.topic, &my->sub, &my->news);
    else
        coro_case_off(c);
}

/* A case was done. */
static void case_done(struct use_select *my, int what, intptr_t rc)
{
    SWEEP_CHECK(what != CASE_OFF);
    SWEEP_EQ(rc, what == CASE_PROMISE ? 42 : (what >= CASE_GET && what < CASE_EVENT) ||
                 what == CASE_TOPIC);
    if (what < CASE_GET) {
        was_put(&my->items[my->i]);
    } else if (what < CASE_EVENT) {
        was_got(&my->items[my->i]);
        queue_done(what - CASE_GET);
    } else if (what == CASE_MUTEX) {
        w.inside++;
    } else if (what == CASE_SEM) {
        my->permit = true;
        w.permits++;
    } else if (what == CASE_TOPIC) {
        SWEEP_EQ(my->news, my->sub.next);
    }
}

CORO(use_select)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(coro_topic_subscribe(&o.topic, &my->sub), 0);
    my->seed = 1 + below(1000);
    my->n = 1 + (int)below(CASES);
    for (int i = 0; i < my->n; i++)
        case_make(my, i);
    if (one_in(2))
        CORO_AWAIT(my->i, coro_within(co, my->sure ? some_limit() : some_time(),
                                      coro_select(co, my->cases, my->n)));
    else
        CORO_AWAIT(my->i, coro_within(co, my->sure ? some_limit() : some_time(),
                                      coro_select_random(co, my->cases, my->n, &my->seed)));
    for (int i = 0; i < my->n; i++)
        SWEEP_CHECK(!my->cases[i].next && (my->i != -EINVAL || my->what[i] == CASE_OFF));
    if (my->i != -EINVAL && done(my->i))
        case_done(my, my->what[my->i], my->cases[my->i].rc);
    CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    if (o.mutex.owner == co) {
        w.inside--;
        SWEEP_EQ(coro_mutex_unlock(co, &o.mutex), 0);
    }
    w.permits -= my->permit;
    SWEEP_EQ(coro_sem_release_n(&o.sem, my->permit), my->permit ? 0 : -EINVAL);
    coro_topic_unsubscribe(&o.topic, &my->sub);
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- workers --------------------------------------------------------------------------------- */

/* Do something to others, or to oneself. */
static void meddle(void)
{
    uint32_t what = below(8);
    if (what == 0) {
        (void)coro_task_cancel(w.workers[below(WORKERS)]);
    } else if (what == 1) {
        SWEEP_EQ(coro_sem_resize(&o.sem, PERMITS - (int)below(2)), 0);
    } else if (what == 2) {
        if (one_in(4))
            SWEEP_CHECK(coro_promise_set(&o.promise, 42) == 0 || o.promise.value == 42);
    } else if (what < 5) {
        coro_event_set(&o.event);
        if (one_in(2))
            coro_event_clear(&o.event);
    } else {
        for (uint32_t n = 1 + below(4); n; n--) {
            w.published++; /* the number of an item is that of the next one to come */
            SWEEP_CHECK(coro_topic_publish(&o.topic, &w.published) > 0);
        }
    }
}

struct worker {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope limit;
    int left, rc;
    uint32_t what;
};

CORO(worker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->left = 3 + (int)below(5); my->left > 0; my->left--) {
        w.ops++;
        my->what = some_of(OPERATIONS, w.favourites, 2);
        coro_timeout_open(co, &my->limit, one_in(4) ? some_time() : CORO_FOREVER);
        if (my->what < 4)
            CORO_AWAIT(my->rc, coro_call_new(co, use_put));
        else if (my->what < 6)
            CORO_AWAIT(my->rc, coro_call_new(co, use_get));
        else if (my->what == 6)
            CORO_AWAIT(my->rc, coro_call_new(co, use_join));
        else if (my->what == 7)
            CORO_AWAIT(my->rc, coro_call_new(co, use_mutex));
        else if (my->what == 8)
            CORO_AWAIT(my->rc, coro_call_new(co, use_pot));
        else if (my->what == 9)
            CORO_AWAIT(my->rc, coro_call_new(co, use_rwlock));
        else if (my->what == 10)
            CORO_AWAIT(my->rc, coro_call_new(co, use_sem));
        else if (my->what == 11)
            CORO_AWAIT(my->rc, coro_call_new(co, use_once));
        else if (my->what == 12)
            CORO_AWAIT(my->rc, coro_call_new(co, use_signal));
        else if (my->what == 13)
            CORO_AWAIT(my->rc, coro_call_new(co, use_topic));
        else if (my->what == 14)
            CORO_AWAIT(my->rc, coro_call_new(co, use_rate));
        else if (my->what == 15)
            CORO_AWAIT(my->rc, coro_call_new(co, use_breaker));
        else if (my->what == 16)
            CORO_AWAIT(my->rc, coro_call_new(co, use_pool));
        else if (my->what == 17)
            CORO_AWAIT(my->rc, coro_call_new(co, use_ring));
        else if (my->what < 21)
            CORO_AWAIT(my->rc, coro_call_new(co, use_select));
        else
            meddle();
        my->rc = coro_scope_close(co, &my->limit, my->rc);
        SWEEP_CHECK(my->rc == 0 || my->rc == -ETIMEDOUT || my->rc == -ECANCELED);
        if (coro_cancelled(co) && one_in(2))
            CORO_LEAVE();
        meddle();
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* ---- programs -------------------------------------------------------------------------------- */

struct use_of_objects {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group serving, working;
    CORO_TASK(queue_server) queue_servers[KINDS];
    CORO_TASK(pot_server) pot_server;
    CORO_TASK(signal_server) signal_servers[3];
    CORO_TASK(topic_server) topic_server;
    CORO_TASK(worker) workers[WORKERS];
    struct conn *conn;
};

static void start_servers(struct use_of_objects *my)
{
    for (int i = 0; i < KINDS; i++)
        coro_start(&my->serving, &my->queue_servers[i], queue_server, .kind = i);
    coro_start(&my->serving, &my->pot_server, pot_server);
    for (int i = 0; i < 3; i++)
        coro_start(&my->serving, &my->signal_servers[i], signal_server, .what = i);
    coro_start(&my->serving, &my->topic_server, topic_server);
}

static void end_servers(coro_task *co)
{
    w.over = true;
    SWEEP_CHECK(coro_cond_broadcast(&o.pot_filled) >= 0);
    SWEEP_EQ(coro_mutex_unlock(co, &o.pot_lock), 0);
#define CLOSE(name) coro_queue_close(&o.name);
    QUEUES(CLOSE)
    coro_topic_close(&o.topic);
    coro_pool_close(&o.pool);
    coro_barrier_abort(&o.barrier);
    coro_event_set(&o.event);
    (void)coro_promise_set(&o.promise, 42);
}

/* The servers go first, so that the topic is heard from its beginning. */
CORO(use_of_objects)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->serving, CORO_COLLECT);
    start_servers(my);
    CORO_TRY(coro_sleep(co, 0));
    coro_group_open(co, &my->working, CORO_COLLECT);
    for (int i = 0; i < WORKERS; i++) {
        w.workers[i] = &my->workers[i].task;
        coro_start(&my->working, &my->workers[i], worker);
    }
    if (one_in(8))
        SWEEP_EQ(coro_scope_deadline(&my->working.scope, coro_now(co) + some_time()), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->working);
    SWEEP_CHECK(CORO_ERR == 0 || CORO_ERR == -ETIMEDOUT);
    CORO_IGNORE(coro_mutex_lock(co, &o.pot_lock));
    SWEEP_CHECK(o.pot_lock.owner == co);
    end_servers(co);
    CORO_ERR = 0;
    CORO_CLOSE(&my->serving);
    SWEEP_EQ(my->serving.failed + my->serving.cancelled, 0);
    while (coro_pool_idle(co, &o.pool, &my->conn))
        conn_end(my->conn);
    sweep_leave(&my->guard);
    CORO_END(1);
}

static void random_event(void *arg, coro_trace event, coro_task *task)
{
    const char *wrong;
    (void)arg;
    (void)task;
    if (event != CORO_EVENT_RESUME)
        return;
    if (++w.steps > STEPS)
        TEST_FAIL("this does not end: %s", sweep_context);
    check_orders();
    if (w.steps % CHECK_EACH == 0)
        check_world();
    wrong = w.steps % (8 * CHECK_EACH) ? NULL : coro_verify(&w.run.loop);
    if (wrong)
        TEST_FAIL("coro_verify: %s: step %d of %s", wrong, w.steps, sweep_context);
}

/* A deadlock is reported before it is broken up, at which some check is sure to fail: show it. */
static void random_said(void *arg, const char *text)
{
    sweep_put(arg, text);
    fputs(text, stderr);
}

static coro_options random_options(uint32_t seed)
{
    coro_options options;
    memset(&options, 0, sizeof options);
    options.allocator.alloc = sweep_alloc;
    options.allocator.free = sweep_free;
    options.allocator.arg = &w.run;
    options.clock = CORO_VIRTUAL;
    options.seed = one_in(8) ? 0 : seed;
    options.budget = (uint8_t)(1 + below(5));
    options.on_event = random_event;
    options.report.put = random_said;
    options.report.arg = &w.run;
    return options;
}

static void make_world(uint32_t seed)
{
    memset(&o, 0, sizeof o);
    memset(&w, 0, sizeof w);
    snprintf(sweep_context, sizeof sweep_context, "repeat it with SEED=%u", (unsigned)seed);
    sweep_now = &w.run;
    w.random = seed * 2654435761u;
    for (int i = 0; i < 4; i++) /* neighbours become strangers */
        (void)below(2);
    w.kind = below(KINDS);
    for (int i = 0; i < 2; i++) {
        w.favourites[i] = below(OPERATIONS);
        w.cases[i] = below(CASE_KINDS);
    }
    SWEEP_EQ(coro_rwlock_limit(&o.rwlock, 2), 0);
    SWEEP_EQ(coro_sem_init(&o.sem, PERMITS, PERMITS), 0);
    SWEEP_EQ(coro_barrier_init(&o.barrier, PARTIES), 0);
    o.rate.rate = 1000;
    o.rate.burst = BURST;
    o.breaker.failures = 2;
    o.breaker.cooling = CORO_MS(1);
    o.pool.head.limit = 2;
    o.pool.head.idle_limit = CORO_MS(1);
    o.pool.head.age_limit = CORO_MS(4);
}

/* Nobody waits, nothing is held, and all that was put was got once. */
static void check_end(void)
{
    const coro_line *const lines[] = {
        &o.event.line, &o.promise.line, &o.once.line, &o.mutex.line, &o.pot_lock.line,
        &o.pot_filled.line, &o.rwlock.line, &o.sem.line, &o.barrier.line, &o.topic.head.line,
        &o.rate.line, &o.pool.head.line, &o.pool.head.drainers,
#define QUEUE_LINES(name) &o.name.head.getters, &o.name.head.putters, &o.name.head.joiners,
        QUEUES(QUEUE_LINES)
    };
    check_world();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        SWEEP_EQ(lines[i]->waiting, 0);
    for (int i = 0; i < w.items; i++)
        SWEEP_EQ(w.got[i], w.put[i]);
#define END_QUEUE(name)                                                                     \
    SWEEP_EQ(coro_queue_fini(&o.name), 0);                                                  \
    SWEEP_EQ(o.name.head.depth + o.name.head.unfinished, 0);
    QUEUES(END_QUEUE)
    SWEEP_EQ(w.pot_put, w.pot_got);
    SWEEP_EQ(w.inside + w.reading + w.writing + w.permits + w.setting_up, 0);
    SWEEP_EQ(o.sem.value, o.sem.bound);
    SWEEP_EQ(o.rwlock.readers, 0);
    SWEEP_EQ(o.pool.head.out + o.pool.head.idle, 0);
    SWEEP_EQ(o.topic.head.subscribers, 0);
    SWEEP_CHECK(o.breaker.state != CORO_BREAKER_HALF_OPEN || !o.breaker.probing);
    SWEEP_CHECK(!o.ring.head.bell.waiter);
    SWEEP_EQ(o.ring.head.put - o.ring.head.got, w.rung - w.heard);
}

static void check_finis(void)
{
    SWEEP_EQ(coro_event_fini(&o.event), 0);
    SWEEP_EQ(coro_promise_fini(&o.promise), 0);
    SWEEP_EQ(coro_once_fini(&o.once), 0);
    SWEEP_EQ(coro_mutex_fini(&o.mutex), 0);
    SWEEP_EQ(coro_mutex_fini(&o.pot_lock), 0);
    SWEEP_EQ(coro_cond_fini(&o.pot_filled), 0);
    SWEEP_EQ(coro_rwlock_fini(&o.rwlock), 0);
    SWEEP_EQ(coro_sem_fini(&o.sem), 0);
    SWEEP_EQ(coro_barrier_fini(&o.barrier), 0);
    SWEEP_EQ(coro_topic_fini(&o.topic), 0);
    SWEEP_EQ(coro_rate_fini(&o.rate), 0);
    SWEEP_EQ(coro_pool_fini(&o.pool), 0);
}

/* One program; the seed is not 0. */
static void run_seed(uint32_t seed)
{
    static CORO_TASK(use_of_objects) program;
    coro_options options;
    memset(&program, 0, sizeof program);
    make_world(seed);
    options = random_options(seed);
    SWEEP_EQ(coro_loop_init(&w.run.loop, &options), 0);
    w.run.base = coro_loop_now(&w.run.loop);
    SWEEP_EQ(coro_start(&w.run.loop.root, &program, use_of_objects), 0);
    if (coro_loop_run(&w.run.loop) != 0 || w.run.said[0])
        TEST_FAIL("reported: %s: %s", w.run.said, sweep_context);
    SWEEP_EQ(coro_task_result(&program), 1);
    SWEEP_EQ(coro_stats(&w.run.loop).tasks, 0);
    SWEEP_EQ(coro_stats(&w.run.loop).timers, 0);
    SWEEP_EQ(coro_loop_fini(&w.run.loop), 0);
    SWEEP_EQ(w.run.balance, 0);
    SWEEP_EQ(w.run.entered, w.run.left);
    check_end();
    check_finis();
}

TEST(objects_used_at_random_lose_nothing_and_are_free_in_the_end)
{
    const char *one = getenv("SEED");
    const char *slow = getenv("TEST_SLOW");
    uint32_t seeds = slow && strtod(slow, NULL) > 4 ? SEEDS_SLOW : SEEDS;
    long ops = 0, cut = 0;
    sweep_watch_for_death();
    if (one) {
        run_seed((uint32_t)strtoul(one, NULL, 10));
        return;
    }
    for (uint32_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed);
        ops += w.ops;
        cut += w.cut;
    }
    CHECK(ops > 20 * (long)seeds); /* they were worth something */
    CHECK(cut > 5 * (long)seeds);
}

/* Everything in a run follows from its seed. */
TEST(objects_used_twice_at_random_from_one_seed_fare_the_same)
{
    int steps, cut;
    sweep_watch_for_death();
    for (uint32_t seed = 1; seed <= 20; seed++) {
        run_seed(seed);
        steps = w.steps;
        cut = w.cut;
        run_seed(seed);
        CHECK_EQ(w.steps, steps);
        CHECK_EQ(w.cut, cut);
    }
}
