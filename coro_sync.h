/* coro_sync.h -- what tasks use to coordinate: locks, queues, select, retry, pools.
 *
 * The second of three headers: asyncio's synchronisation toolbox and the patterns that servers are
 * made of, on coro.h's public hooks alone. No allocation, no global; every object is a struct that
 * you embed, and a zeroed one is valid and empty. MIT licence: see the end of coro.h.
 *
 *     #include "coro_sync.h"
 *     #include <stdio.h>
 *
 *     typedef CORO_QUEUE(int, 4) job_queue;
 *
 *     struct worker { CORO_FRAME; job_queue *q; int job; bool got; };
 *     CORO(worker)
 *     {
 *         CORO_BEGIN();
 *         for (;;) {
 *             CORO_TRY(my->got, coro_queue_get(co, my->q, &my->job));
 *             if (!my->got)
 *                 break;                                    // closed and drained
 *             CORO_TRY(coro_sleep(co, CORO_MS(10)));        // the work
 *             printf("job %d\n", my->job);
 *         }
 *         CORO_END(0);
 *     }
 *
 *     struct app { CORO_FRAME; coro_group g; job_queue q; int i; };
 *     CORO(app)
 *     {
 *         CORO_BEGIN();
 *         coro_group_open(co, &my->g, CORO_ALL);
 *         coro_spawn(&my->g, worker, .q = &my->q);
 *         coro_spawn(&my->g, worker, .q = &my->q);
 *         for (my->i = 0; my->i < 10; my->i++)
 *             CORO_TRY(coro_queue_put(co, &my->q, &my->i));
 *     CORO_FINALLY:
 *         coro_queue_close(&my->q);
 *         CORO_CLOSE(&my->g);
 *         CORO_END(0);
 *     }
 *     int main(void) { return coro_run(app) < 0; }
 *
 * CONTENTS (search for the tag)
 *
 *     >>guide      what holds for all of them
 *     >>names      every public name: may it wait, be cancelled, fail; where may it be called
 *     >>line       those who wait, and select cases among them
 *     >>event      event, promise, once
 *     >>mutex      mutex, condition, rwlock
 *     >>semaphore  semaphore, barrier
 *     >>queue      queue, LIFO, priority queue, ring for interrupts, topic
 *     >>select     the first of several
 *     >>patterns   retry, rate limit, circuit breaker, resource pool
 *     >>impl       the implementation; nothing below is needed to use this
 *
 * >>guide
 *
 * Who comes first is served first. A release hands over directly: the lock, permit or item belongs
 * to the oldest waiter from that moment on, and nobody who comes later gets in between, not even
 * with a try_. What has been handed over has happened: a cancellation that comes after it is met by
 * the task's next await. On -ECANCELED and -ETIMEDOUT nothing was taken and nothing given.
 *
 * try_, set, release, close never wait and may be called from plain functions on the loop's thread.
 * Any wait may have a deadline: coro_within(co, d, coro_queue_get(...)). An object belongs to one
 * loop at a time (-EPERM, where that is noticed); between threads there is coro_post, and CORO_RING
 * for one producer.
 *
 * xxx_fini says -EBUSY, and with CORO_DEBUG by whom, while an object is in use; else 0. There is
 * nothing to free: it is a check.
 *
 *     line.waiting, .most, .longest    waiting now, at most so far; the longest wait that was seen
 *
 * are in every object, to be read at any time. The longest wait is by the clock's last reading; who
 * waits with a deadline of its own (coro_within) does not count.
 *
 * >>names
 *
 *   wait: may suspend the task; fails with -ECANCELED in a cancelled scope. fail: otherwise, too.
 *   where: c = in a coroutine's body, t = anywhere on the loop's thread, i = interrupts, threads.
 *
 *   wait fail where
 *   yes  yes  c     coro_promise_get coro_mutex_lock coro_cond_wait coro_rwlock_read_lock
 *                   coro_rwlock_write_lock coro_sem_acquire coro_sem_acquire_n coro_once_enter
 *                   coro_barrier_wait coro_queue_put coro_queue_get coro_queue_get_many
 *                   coro_ring_wait coro_topic_next coro_select coro_select_random
 *                   coro_backoff_wait coro_rate_take coro_pool_acquire coro_pool_drain
 *   yes  no   c     coro_event_wait coro_queue_join
 *   no   no   c     coro_case_get coro_case_put coro_case_event coro_case_promise
 *                   coro_case_mutex coro_case_sem coro_case_topic coro_case_fill coro_case_off
 *   no   yes  i     coro_ring_put
 *   no   no   t     coro_event_set coro_event_clear coro_event_is_set coro_promise_is_set
 *                   coro_queue_depth coro_queue_capacity coro_queue_close coro_sem_close
 *                   coro_barrier_reset coro_barrier_abort coro_topic_unsubscribe
 *                   coro_topic_close coro_breaker_leave coro_breaker_state coro_pool_close
 *                   coro_ring_get coro_is_transient
 *   no   yes  t     coro_promise_set coro_once_leave coro_mutex_try_lock coro_mutex_unlock
 *                   coro_mutex_repair coro_cond_signal coro_cond_broadcast
 *                   coro_rwlock_try_read_lock coro_rwlock_try_write_lock coro_rwlock_read_unlock
 *                   coro_rwlock_write_unlock coro_rwlock_downgrade coro_rwlock_limit
 *                   coro_rwlock_repair coro_sem_init coro_sem_try_acquire coro_sem_release
 *                   coro_sem_release_n coro_sem_resize coro_barrier_init coro_queue_try_put
 *                   coro_queue_try_get coro_queue_replace coro_queue_peek coro_queue_done
 *                   coro_topic_publish coro_topic_subscribe coro_rate_try_take
 *                   coro_breaker_enter coro_pool_release coro_pool_idle coro_event_fini
 *                   coro_promise_fini coro_once_fini coro_mutex_fini coro_cond_fini
 *                   coro_rwlock_fini coro_sem_fini coro_barrier_fini coro_queue_fini
 *                   coro_topic_fini coro_rate_fini coro_pool_fini
 *   declare         CORO_QUEUE CORO_LIFO CORO_PRIORITY_QUEUE CORO_RING CORO_TOPIC CORO_POOL
 *   of your own     coro_line_wait coro_line_first coro_line_end coro_line_abort coro_line_move
 *                   coro_waiter_word: for objects that you write
 *   you embed       coro_event coro_promise coro_once coro_mutex coro_cond coro_rwlock coro_sem
 *                   coro_barrier coro_sub coro_case coro_backoff coro_rate coro_breaker coro_line
 *   parts of them   coro_queue coro_ring coro_topic coro_pool coro_waiter
 *   coro_breaker_is CORO_BREAKER_CLOSED CORO_BREAKER_OPEN CORO_BREAKER_HALF_OPEN
 */
#if !defined CORO_SYNC_H
#define CORO_SYNC_H

#include "coro.h"

#if !defined EOVERFLOW || defined __AVR__
#undef EOVERFLOW
#define EOVERFLOW 75
#endif /* !defined EOVERFLOW || defined __AVR__ */
#if !defined ECONNABORTED || defined __AVR__
#undef ECONNABORTED
#define ECONNABORTED 103
#endif /* !defined ECONNABORTED || defined __AVR__ */
#if !defined EHOSTDOWN || defined __AVR__
#undef EHOSTDOWN
#define EHOSTDOWN 112
#endif /* !defined EHOSTDOWN || defined __AVR__ */
#if !defined EOWNERDEAD || defined __AVR__
#undef EOWNERDEAD
#define EOWNERDEAD 130
#endif /* !defined EOWNERDEAD || defined __AVR__ */

/* ================================================================================================
 * >>line -- those who wait at an object, in the order in which they came.
 *
 * A task that waits for this object alone is in `tasks`, linked through itself. A task in
 * coro_select waits at several: it has a case at each. A case comes after the task that was last
 * when it came; when that one leaves, after the one before it; and when there is none, the case is
 * first.
 *
 *     tasks:  T1 -> T2 -> T3           the order:  T1  a  b  T2  T3  c
 *     cases:  a(T1) -> b(T1) -> c(T3)
 */

typedef struct coro_case coro_case;

/* What every object has: those who wait at it. */
typedef struct coro_line {
    coro_waitq tasks;   /* in an operation of this object alone */
    coro_case *cases;   /* of selects: a ring */
    coro_count waiting; /* tasks and cases */
    coro_count most;    /* of them so far */
#if CORO_LINE_TIMES
    coro_time longest;  /* wait that was seen */
#endif /* CORO_LINE_TIMES */
} coro_line;

/* Somebody who waits: one of the two. */
typedef struct coro_waiter {
    coro_task *task; /* in tasks; null: a case */
    coro_case *chosen;
} coro_waiter;

/* How the slots of a queue lie behind its head: constants of its type, in two registers. */
typedef struct coro__shape {
    uint16_t slots; /* bytes from the head to the first slot, */
    uint16_t item;  /* from a slot to its item, */
    uint16_t after; /* from the item's end to the next slot */
    uint16_t order;
    coro_count size; /* of an item */
    coro_count room; /* slots that may be used */
} coro__shape;

/* One of the things that a select waits for. Zeroed, as it must be at first: off. */
struct coro_case {
    bool (*attempt)(coro_case *c, coro_task *co); /* do it, if that can be now; null: off */
    coro_line *line;        /* where to wait else */
    void *object;           /* the queue, event ... */
    intptr_t word;          /* the operation's: where the item goes, or comes from; who */
    void *item;             /* a queue's or topic's: where it is, or goes; null: none of ours */
    coro__shape shape;      /* of the queue or topic */
    intptr_t rc;            /* once it is chosen: what the operation would have returned */
    coro_case *next, *prev; /* in its line; null: it does not wait */
    coro_task *after;       /* the task in line->tasks before it; null: it comes first */
    coro_task *task;        /* whose select this is */
    int index, count;       /* which one, of how many */
    coro_waitq selecting;   /* the first case's: where the task waits */
};

/* coro_line_wait -- wait at the end of a line; as coro_suspend. ops.abort is coro_line_abort, or
 * one of your own that ends with it. For objects of your own, which work with coro_select then:
 *
 *   static const coro_ops letter_ops = {"letter", coro_line_abort, NULL};
 *   coro_op letter_take(coro_task *co, struct letterbox *box, int *letter)
 *   {
 *       if (coro_cancelled(co))
 *           return coro_refuse(co);
 *       if (!box->full)
 *           return coro_line_wait(co, &box->line, &letter_ops, (intptr_t)letter);
 *       box->full = false;
 *       *letter = box->letter;
 *       return coro_done(co, 1);
 *   }
 *   int letter_drop(struct letterbox *box, int letter)
 *   {
 *       coro_waiter w;
 *       if (coro_line_first(&box->line, &w)) {
 *           *(int *)coro_waiter_word(w) = letter;
 *           coro_line_end(&box->line, w, 1);
 *       } else {
 *           box->letter = letter;
 *           box->full = true;
 *       }
 *       return 0;
 *   }
 */
CORO_API CORO__MUST_USE coro_op coro_line_wait(coro_task *co, coro_line *line, const coro_ops *ops,
                                               intptr_t word);

/* coro_line_abort -- for ops.abort: the task leaves the line. */
CORO_API coro_abort coro_line_abort(coro_task *task, coro_waitq *queue);

/* coro_line_end -- end the wait of who is first, with this result: a select's with this case. */
CORO_API void coro_line_end(coro_line *line, coro_waiter w, intptr_t result);

/* coro_line_move -- a task in a line goes on waiting at the end of another.
 *
 *   coro_line_move(&box.line, box.line.tasks.head, &box2.line, &letter_ops, (intptr_t)&my->n);
 */
CORO_API void coro_line_move(coro_line *line, coro_task *task, coro_line *to, const coro_ops *ops,
                             intptr_t word);

static inline bool coro__line_empty(const coro_line *line)
{
    return !line->tasks.head && !line->cases;
}

/* coro_line_first -- who is first? False: nobody. */
static inline bool coro_line_first(const coro_line *line, coro_waiter *w)
{
    w->chosen = line->cases && !line->cases->after ? line->cases : NULL;
    w->task = w->chosen ? NULL : line->tasks.head;
    return w->chosen || w->task;
}

/* For xxx_fini: is it in use? CORO_DEBUG says by whom. */
CORO__COLD_API int coro__in_use(const coro_line *line, const coro_task *holder, bool used);

/* coro_waiter_word -- what it waits with. */
static inline intptr_t coro_waiter_word(coro_waiter w)
{
    return w.task ? coro_word(w.task) : w.chosen->word;
}

static inline coro_task *coro__waiter_task(coro_waiter w)
{
    return w.task ? w.task : w.chosen->task;
}

/* ================================================================================================
 * >>event
 */

/* An event: tasks wait until it is set. */
typedef struct coro_event {
    coro_line line; /* in coro_event_wait */
    bool set;
} coro_event;

/* coro_event_wait -- wait until it is set: CORO_TRY(coro_event_wait(co, &my->ready));
 *
 *   coro_event_set(&my->ready);                            // in another task, or any function
 *   if (coro_event_is_set(&my->ready))
 *       coro_event_clear(&my->ready);
 *
 * A set that is followed by a clear before this task runs again has released it all the same.
 *
 * Returns:    0
 * Errors:     -ECANCELED, -ETIMEDOUT
 */
CORO_API CORO__MUST_USE coro_op coro_event_wait(coro_task *co, coro_event *e);

/* coro_event_set -- release all who wait, in order; later ones do not wait. */
CORO_API void coro_event_set(coro_event *e);

/* coro_event_clear -- from now on they wait. */
static inline void coro_event_clear(coro_event *e)
{
    e->set = false;
}

/* coro_event_is_set -- would a wait end at once? */
static inline bool coro_event_is_set(const coro_event *e)
{
    return e->set;
}

/* coro_event_fini -- check that nobody uses it: 0; -EBUSY. All xxx_fini are such checks.
 *
 *   my->busy = coro_event_fini(&my->ready) | coro_promise_fini(&my->answer) |
 *              coro_once_fini(my->config_once) | coro_mutex_fini(&my->lock) |
 *              coro_cond_fini(&my->changed) | coro_rwlock_fini(&my->table) |
 *              coro_sem_fini(&my->slots) | coro_barrier_fini(&my->start) |
 *              coro_queue_fini(&my->q) | coro_topic_fini(my->news) | coro_rate_fini(&my->rate) |
 *              coro_pool_fini(my->pool);
 */
static inline int coro_event_fini(coro_event *e)
{
    return coro__in_use(&e->line, NULL, false);
}

/* A promise: a value that will be set once; a future. */
typedef struct coro_promise {
    coro_line line; /* in coro_promise_get */
    intptr_t value;
    bool set;
} coro_promise;

/* coro_promise_get -- wait for the value: CORO_TRY(my->n, coro_promise_get(co, &my->answer));
 *
 *   if (!coro_promise_is_set(&my->answer))                 // elsewhere
 *       coro_promise_set(&my->answer, 42);
 *
 * Returns:    the value; a negative one is a failure, as everywhere.
 * Errors:     -ECANCELED, -ETIMEDOUT: of this wait
 */
CORO_API CORO__MUST_USE coro_op coro_promise_get(coro_task *co, coro_promise *p);

/* coro_promise_set -- set it and wake all who wait. -EALREADY: it was set, and stays. */
CORO_API int coro_promise_set(coro_promise *p, intptr_t value);

/* coro_promise_is_set -- is there a value? */
static inline bool coro_promise_is_set(const coro_promise *p)
{
    return p->set;
}

/* coro_promise_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_promise_fini(coro_promise *p)
{
    return coro__in_use(&p->line, NULL, false);
}

/* Something that is done once, by whoever comes first. */
typedef struct coro_once {
    coro_note note;   /* with the owner; not next to it, see coro_mutex */
    coro_line line;   /* in coro_once_enter */
    coro_task *owner; /* who is at it */
    bool done;
} coro_once;

/* coro_once_enter -- 1: do it, then coro_once_leave; 0: it has been done.
 *
 *   CORO_TRY(my->mine, coro_once_enter(co, my->config_once));
 *   if (my->mine)
 *       CORO_TRY(coro_call(co, &my->load, load_config));
 *   CORO_FINALLY:
 *   if (my->mine)
 *       coro_once_leave(co, my->config_once, CORO_ERR);
 *
 * Waits:      while another task is at it.
 * Errors:     -ECANCELED, -ETIMEDOUT; -EDEADLK: this task is at it.
 */
CORO_API CORO__MUST_USE coro_op coro_once_enter(coro_task *co, coro_once *o);

/* coro_once_leave -- rc < 0: it failed, the next one tries. -EPERM: this task is not at it. */
CORO_API int coro_once_leave(coro_task *co, coro_once *o, int rc);

/* coro_once_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_once_fini(coro_once *o)
{
    return coro__in_use(&o->line, o->owner, false);
}

/* ================================================================================================
 * >>mutex
 */

/* A mutex. Needed only around awaits: between two of them nobody else runs. */
typedef struct coro_mutex {
    coro_note note;   /* with the owner. Not next to it: stored as one, they load slowly */
    coro_line line;   /* in coro_mutex_lock, or on the way back from coro_cond_wait */
    coro_task *owner; /* null: free */
    bool dead;        /* an owner ended without unlocking */
} coro_mutex;

/* coro_mutex_lock -- lock it; coro_mutex_unlock in FINALLY.
 *
 *   CORO_TRY(coro_mutex_lock(co, &my->lock));
 *   ...
 *   CORO_FINALLY:
 *   coro_mutex_unlock(co, &my->lock);
 *
 * Waits:      while somebody has it.
 * Returns:    0: it is yours.
 * Errors:     -ECANCELED, -ETIMEDOUT: not taken. -EDEADLK: it is yours already. -EOWNERDEAD: its
 *             owner ended without unlocking; see coro_mutex_repair.
 */
CORO__MUST_USE static inline coro_op coro_mutex_lock(coro_task *co, coro_mutex *m);

/* coro_mutex_try_lock -- 0: it is yours; -EAGAIN: somebody has it; else as coro_mutex_lock. */
CORO_API CORO__MUST_USE int coro_mutex_try_lock(coro_task *co, coro_mutex *m);

/* coro_mutex_unlock -- hand it to the one who has waited longest. -EPERM: it is not yours; nothing
 * is done, so that FINALLY may unlock what was perhaps not locked. */
static inline int coro_mutex_unlock(coro_task *co, coro_mutex *m);

/* coro_mutex_repair -- after -EOWNERDEAD, when what it protects is in order again: it can be used.
 * -EINVAL: it was in order.
 *
 *   if (coro_mutex_try_lock(co, &my->lock) == -EOWNERDEAD) {
 *       tidy_up();
 *       coro_mutex_repair(&my->lock);
 *   }
 */
static inline int coro_mutex_repair(coro_mutex *m)
{
    int rc = m->dead ? 0 : -EINVAL;
    m->dead = false;
    return rc;
}

/* coro_mutex_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_mutex_fini(coro_mutex *m)
{
    return coro__in_use(&m->line, m->owner, false);
}

/* A condition variable. */
typedef struct coro_cond {
    coro_line line;    /* in coro_cond_wait, not signalled */
    coro_mutex *mutex; /* of those who wait */
} coro_cond;

/* coro_cond_wait -- give the mutex back, wait for a signal, take it again.
 *
 *   while (!my->pot->full)
 *       CORO_TRY(coro_cond_wait(co, &my->pot->changed, &my->pot->lock));
 *
 * However it returns, the mutex is this task's again: a cancelled one waits for it all the same.
 *
 * Returns:    0
 * Errors:     -ECANCELED, -ETIMEDOUT: not signalled. -EPERM: the mutex is not this task's. -EINVAL:
 *             others wait here with another mutex. -EOWNERDEAD: see coro_mutex_lock, not locked.
 */
CORO_API CORO__MUST_USE coro_op coro_cond_wait(coro_task *co, coro_cond *c, coro_mutex *m);

CORO_API int coro__cond_wake(coro_cond *c, int n);

/* coro_cond_signal -- wake the one who has waited longest; it runs when it gets the mutex. How many
 * were woken. -EPERM: nobody holds the mutex.
 *
 *   my->pot->full = true;
 *   coro_cond_signal(&my->pot->changed);                   // all: coro_cond_broadcast
 */
static inline int coro_cond_signal(coro_cond *c)
{
    return coro__cond_wake(c, 1);
}

/* coro_cond_broadcast -- wake all: coro_cond_broadcast(&my->pot->changed); */
static inline int coro_cond_broadcast(coro_cond *c)
{
    return coro__cond_wake(c, INT_MAX);
}

/* coro_cond_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_cond_fini(coro_cond *c)
{
    return coro__in_use(&c->line, NULL, false);
}

/* A lock for one writer or many readers. First come, first served: a reader behind a waiting writer
 * waits, so a task that has a read lock must not take another. Readers are counted, not known. */
typedef struct coro_rwlock {
    coro_note note; /* with the writer; not next to it, see coro_mutex */
    coro_line line;
    coro_task *writer;
    coro_count readers; /* who hold it */
    coro_count limit;   /* of readers, once it is set; 0: none */
    bool dead;          /* a writer ended without unlocking */
} coro_rwlock;

CORO_API CORO__MUST_USE coro_op coro__rwlock_lock(coro_task *co, coro_rwlock *l, bool write);
CORO_API CORO__MUST_USE int coro__rwlock_try(coro_task *co, coro_rwlock *l, bool write);
CORO_API int coro__rwlock_end_write(coro_task *co, coro_rwlock *l, bool read_on);

/* coro_rwlock_read_lock -- to read: waits and fails as coro_mutex_lock.
 *
 *   if (coro_rwlock_try_read_lock(co, &my->table) < 0)     // not at once
 *       CORO_TRY(coro_rwlock_read_lock(co, &my->table));
 *   ...
 *   coro_rwlock_read_unlock(&my->table);
 */
CORO__MUST_USE static inline coro_op coro_rwlock_read_lock(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_lock(co, l, false);
}

/* coro_rwlock_write_lock -- to write, alone.
 *
 *   CORO_TRY(coro_rwlock_write_lock(co, &my->table));
 *   ...
 *   if (my->again)
 *       coro_rwlock_downgrade(co, &my->table);             // read on, then coro_rwlock_read_unlock
 *   else
 *       coro_rwlock_write_unlock(co, &my->table);
 */
CORO__MUST_USE static inline coro_op coro_rwlock_write_lock(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_lock(co, l, true);
}

/* coro_rwlock_try_read_lock -- 0; -EAGAIN: it would have to wait; else as coro_rwlock_read_lock. */
CORO__MUST_USE static inline int coro_rwlock_try_read_lock(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_try(co, l, false);
}

/* coro_rwlock_try_write_lock -- likewise: my->rc = coro_rwlock_try_write_lock(co, &my->table); */
CORO__MUST_USE static inline int coro_rwlock_try_write_lock(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_try(co, l, true);
}

/* coro_rwlock_read_unlock -- -EPERM: nobody reads. */
CORO_API int coro_rwlock_read_unlock(coro_rwlock *l);

/* coro_rwlock_write_unlock -- -EPERM: this task does not write. */
static inline int coro_rwlock_write_unlock(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_end_write(co, l, false);
}

/* coro_rwlock_downgrade -- the writer becomes a reader, nobody writes in between. -EPERM. */
static inline int coro_rwlock_downgrade(coro_task *co, coro_rwlock *l)
{
    return coro__rwlock_end_write(co, l, true);
}

/* coro_rwlock_limit -- how many may read: coro_rwlock_limit(&my->table, 10); -EINVAL: none. */
CORO_API int coro_rwlock_limit(coro_rwlock *l, coro_count readers);

/* coro_rwlock_repair -- as coro_mutex_repair: coro_rwlock_repair(&my->table); */
static inline int coro_rwlock_repair(coro_rwlock *l)
{
    int rc = l->dead ? 0 : -EINVAL;
    l->dead = false;
    return rc;
}

/* coro_rwlock_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_rwlock_fini(coro_rwlock *l)
{
    return coro__in_use(&l->line, l->writer, l->readers > 0);
}

/* ================================================================================================
 * >>semaphore
 */

/* A semaphore. Zeroed: no permits, no bound. */
typedef struct coro_sem {
    coro_line line;
    int value;   /* permits left; less than 0 after a coro_sem_resize */
    int bound;   /* of value */
    bool bounded, closed;
} coro_sem;

/* coro_sem_init -- so many permits, at most bound (0: no bound): a limiter has both the same.
 * -EINVAL: negative, or more than the bound. */
CORO_API int coro_sem_init(coro_sem *s, int value, int bound);

/* coro_sem_acquire_n -- take n permits at once.
 *
 *   coro_sem_init(&my->slots, 10, 10);                     // once
 *   CORO_TRY(coro_sem_acquire_n(co, &my->slots, 3));
 *   ...
 *   coro_sem_release_n(&my->slots, 3);
 *
 * Who wants many is not overtaken by those who want few.
 *
 * Waits:      until there are n, and nobody who came before waits.
 * Returns:    0
 * Errors:     -ECANCELED, -ETIMEDOUT: none taken. -ESHUTDOWN: closed. -EINVAL: n < 1, or more than
 *             the bound.
 */
CORO_API CORO__MUST_USE coro_op coro_sem_acquire_n(coro_task *co, coro_sem *s, int n);

/* coro_sem_acquire -- take one: CORO_TRY(coro_sem_acquire(co, &my->slots)); */
CORO__MUST_USE static inline coro_op coro_sem_acquire(coro_task *co, coro_sem *s);

/* coro_sem_try_acquire -- 0: one is yours; -EAGAIN; -ESHUTDOWN.
 *
 *   if (coro_sem_try_acquire(&my->slots) == 0) {
 *       ...
 *       coro_sem_release(&my->slots);
 *   }
 */
CORO_API CORO__MUST_USE int coro_sem_try_acquire(coro_sem *s);

/* coro_sem_release_n -- give n back. -EOVERFLOW: more than the bound, nothing is done; -EINVAL. */
CORO_API int coro_sem_release_n(coro_sem *s, int n);

/* coro_sem_release -- give one back. */
static inline int coro_sem_release(coro_sem *s)
{
    return coro_sem_release_n(s, 1);
}

/* coro_sem_resize -- change the bound, and the permits with it. Fewer than are out: nobody gets one
 * until enough have come back, and who is first and wants more than there will ever be has -EINVAL.
 * -EINVAL: it has no bound, or negative.
 *
 *   coro_sem_resize(&my->slots, 5);
 */
CORO_API int coro_sem_resize(coro_sem *s, int bound);

/* coro_sem_close -- whoever waits or comes has -ESHUTDOWN: coro_sem_close(&my->slots); Permits that
 * are out can come back. */
CORO_API void coro_sem_close(coro_sem *s);

/* coro_sem_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_sem_fini(coro_sem *s)
{
    return coro__in_use(&s->line, NULL, false);
}

/* A barrier: all wait for the last. */
typedef struct coro_barrier {
    coro_line line;
    coro_count parties; /* who go on together */
    coro_count arrived; /* of them */
    bool broken;        /* coro_barrier_abort */
} coro_barrier;

/* coro_barrier_init -- for so many. -EINVAL: less than one. */
CORO_API int coro_barrier_init(coro_barrier *b, int parties);

/* coro_barrier_wait -- wait for the others. It can be used again at once, for the next round.
 *
 *   coro_barrier_init(&my->start, 3);
 *   CORO_TRY(my->i, coro_barrier_wait(co, &my->start));
 *   if (my->i == 0)
 *       puts("all three are here");
 *
 * Returns:    0 ... parties - 1, each once.
 * Errors:     -ECANCELED, -ETIMEDOUT: the others go on waiting. -ECONNABORTED: reset or aborted.
 *             -EINVAL: not initialised.
 */
CORO_API CORO__MUST_USE coro_op coro_barrier_wait(coro_task *co, coro_barrier *b);

/* coro_barrier_reset -- those who wait have -ECONNABORTED; then it is as new. */
CORO_API void coro_barrier_reset(coro_barrier *b);

/* coro_barrier_abort -- the same for all who come, until coro_barrier_reset.
 *
 *   coro_barrier_abort(&my->start);
 *   coro_barrier_reset(&my->start);
 */
CORO_API void coro_barrier_abort(coro_barrier *b);

/* coro_barrier_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_barrier_fini(coro_barrier *b)
{
    return coro__in_use(&b->line, NULL, false);
}

/* ================================================================================================
 * >>queue
 */

/* What queues of all types have in common. */
typedef struct coro_queue {
    coro_line getters, putters; /* in get; in put */
    coro_line joiners;          /* in coro_queue_join */
    coro_count first;           /* where the oldest is; with priorities: the next one's number */
    coro_count depth;           /* how many items there are */
    coro_count most;            /* items so far */
    coro_count unfinished;      /* put, and not yet coro_queue_done */
    coro_count rejected;        /* -EAGAIN of coro_queue_try_put */
    bool closed;
} coro_queue;

/* CORO_QUEUE -- a queue with room for n items inside: typedef CORO_QUEUE(struct job, 20) job_queue;
 * n = 0: a rendezvous, where an item goes from hand to hand. */
#define CORO_QUEUE(type, n) CORO__SLOTS_OF(coro_queue, struct { type item; }, n, CORO__FIFO)

/* CORO_LIFO -- the newest comes first: typedef CORO_LIFO(struct job, 20) job_stack; */
#define CORO_LIFO(type, n) CORO__SLOTS_OF(coro_queue, struct { type item; }, n, CORO__LIFO)

/* CORO_PRIORITY_QUEUE -- the smallest comes first, of equal ones the oldest. member is an integer
 * of the struct `type`: typedef CORO_PRIORITY_QUEUE(struct job, 20, urgency) urgent_queue; n is at
 * least 1. */
#define CORO_PRIORITY_QUEUE(type, n, member)                                                      \
    CORO__SLOTS_OF(coro_queue, struct { coro_count order; type item; }, (n) > 0 ? (n) : -2,       \
                   CORO__BY(type, member))

/* coro_queue_put -- put a copy of *item, waiting while the queue is full.
 *
 *   CORO_TRY(coro_queue_put(co, &my->q, &my->item));
 *
 * Returns:    0
 * Errors:     -EPIPE: closed. -ECANCELED, -ETIMEDOUT: not put, as with every error.
 */
#define coro_queue_put(co, q, item)                                                               \
    coro__queue_put((co), CORO__QUEUE_OF(q), CORO__TO_ELEMENT_PUT(q, item), CORO__SHAPE(q))

/* coro_queue_get -- take the next item, waiting for one if need be.
 *
 *   CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->item));
 *
 * Returns:    1, item filled; 0, closed and drained.
 * Errors:     -ECANCELED, -ETIMEDOUT: nothing was taken.
 */
#define coro_queue_get(co, q, item)                                                               \
    coro__queue_get((co), CORO__QUEUE_OF(q), CORO__TO_ELEMENT(q, item), CORO__SHAPE(q))

/* coro_queue_get_many -- take up to n items, waiting for the first only: how many; 0, closed and
 * drained, or n is 0.
 *
 *   CORO_TRY(my->n, coro_queue_get_many(co, &my->q, my->batch, 10));     // struct job batch[10];
 */
#define coro_queue_get_many(co, q, items, n)                                                      \
    coro__queue_get_many((co), CORO__QUEUE_OF(q), CORO__TO_ELEMENT(q, items), (n), CORO__SHAPE(q))

/* coro_queue_try_put -- 0; -EAGAIN: full (or nobody takes it, n = 0); -EPIPE: closed.
 *
 *   if (coro_queue_try_put(&my->q, &my->item) == -EAGAIN)
 *       printf("%u of %u\n", (unsigned)coro_queue_depth(&my->q),
 *              (unsigned)coro_queue_capacity(&my->q));
 */
#define coro_queue_try_put(q, item)                                                               \
    coro__queue_try_put(CORO__QUEUE_OF(q), CORO__TO_ELEMENT_PUT(q, item), CORO__SHAPE(q))

/* coro_queue_try_get -- 1, item filled; 0, closed and drained; -EAGAIN: empty.
 *
 *   while (coro_queue_try_get(&my->q, &my->item) == 1)
 *       use(my->item.id);
 */
#define coro_queue_try_get(q, item)                                                               \
    coro__queue_try_get(CORO__QUEUE_OF(q), CORO__TO_ELEMENT(q, item), CORO__SHAPE(q))

/* coro_queue_replace -- put at once; if the queue is full, the one that would have come next
 * goes: 1, and it is in *old. 0: there was room. -EPIPE: closed. -EAGAIN: n = 0, and nobody waits
 * for it.
 *
 *   if (coro_queue_replace(&my->q, &my->item, &my->old) == 1)
 *       use(my->old.id);
 */
#define coro_queue_replace(q, item, old)                                                          \
    coro__queue_replace(CORO__QUEUE_OF(q), CORO__TO_ELEMENT_PUT(q, item),                         \
                        CORO__TO_ELEMENT(q, old), CORO__SHAPE(q))

/* coro_queue_peek -- a copy of the next item, which stays: 1; 0: closed and drained; -EAGAIN.
 *
 *   if (coro_queue_peek(&my->q, &my->item) == 1 && my->item.urgency == 0) ...
 */
#define coro_queue_peek(q, item)                                                                  \
    coro__queue_peek(CORO__QUEUE_OF(q), CORO__TO_ELEMENT(q, item), CORO__SHAPE(q))

/* coro_queue_close -- no more puts: who waits in one has -EPIPE. What is in it can be got; then
 * gets return 0. Closing twice does nothing. */
#define coro_queue_close(q) coro__queue_close(CORO__QUEUE_OF(q))

/* coro_queue_done -- the work for one item is done. -EINVAL: for more than were put.
 *
 *   CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->item));
 *   ...
 *   coro_queue_done(&my->q);                               // as often as that, and coro_queue_join
 */
#define coro_queue_done(q) coro__queue_done(CORO__QUEUE_OF(q))

/* coro_queue_join -- wait until all that was put is done: CORO_TRY(coro_queue_join(co, &my->q)); */
#define coro_queue_join(co, q) coro__queue_join((co), CORO__QUEUE_OF(q))

/* coro_queue_depth -- how many items are in it. */
#define coro_queue_depth(q) (CORO__QUEUE_OF(q)->depth)

/* coro_queue_capacity -- how many can be. A constant. */
#define coro_queue_capacity(q) (sizeof *(q)->room - 1)

/* coro_queue_fini -- check that nobody uses it: 0; -EBUSY. */
#define coro_queue_fini(q) coro__queue_fini(CORO__QUEUE_OF(q))

/* What rings of all types have in common: items from one interrupt or thread to one task. */
typedef struct coro_ring {
    coro_irq bell;
    volatile coro_irq_count put; /* so far; by the producer only */
    volatile coro_irq_count got; /* by the consumer only */
    coro_count rejected;         /* when it was full; by the producer only */
} coro_ring;

/* CORO_RING -- a ring with room for n items, a power of two (at most 128 on AVR).
 *
 *   static CORO_RING(uint8_t, 64) uart;
 *   void uart_received(uint8_t byte) { coro_ring_put(&uart, &byte); }     // the interrupt
 */
#define CORO_RING(type, n)                                                                        \
    CORO__SLOTS_OF(coro_ring, struct { type item; },                                              \
                   ((n) & ((n) - 1)) == 0 && (n) > 0 && (coro_irq_count)(2 * (n) - 1) >= (n)      \
                       ? (n) : -2, CORO__FIFO)

/* coro_ring_put -- put a copy of *item: 0; -EAGAIN: it is full. From one interrupt or thread. */
#define coro_ring_put(r, item)                                                                    \
    coro__ring_put(CORO__HEAD_OF(coro_ring, r), CORO__TO_ELEMENT_PUT(r, item), CORO__SHAPE(r))

/* coro_ring_get -- take the oldest: 1; 0: it is empty.
 *
 *   for (;;) {
 *       CORO_TRY(coro_ring_wait(co, &uart));
 *       while (coro_ring_get(&uart, &my->byte))
 *           ...
 *   }
 */
#define coro_ring_get(r, item)                                                                    \
    coro__ring_get(CORO__HEAD_OF(coro_ring, r), CORO__TO_ELEMENT(r, item), CORO__SHAPE(r))

/* coro_ring_wait -- wait until there is an item, or, rarely, for nothing: 1 or more. -EBUSY:
 * another task waits. While one does virtual time stands still, as with coro_irq_wait. */
#define coro_ring_wait(co, r) coro__ring_wait((co), CORO__HEAD_OF(coro_ring, r))

/* What topics of all types have in common: every subscriber gets every item. */
typedef struct coro_topic {
    coro_line line;         /* in coro_topic_next */
    coro_total sent;        /* items so far */
    coro_count at;          /* where the next one goes */
    coro_count subscribers;
    bool closed;
} coro_topic;

/* A subscriber's place, for one task. Zeroed: not subscribed. */
typedef struct coro_sub {
    coro_total next;   /* the number of the item to come */
    coro_total missed; /* how many were lost just before the item that was got last */
    coro_total lost;   /* in all */
    void *item;        /* while it waits in coro_topic_next: where the item goes */
    bool subscribed;
} coro_sub;

/* CORO_TOPIC -- a topic that keeps the last n items for those who are slow. n = 1: the latest
 * value, to be watched: typedef CORO_TOPIC(struct job, 16) job_news; */
#define CORO_TOPIC(type, n)                                                                       \
    CORO__SLOTS_OF(coro_topic, struct { type item; }, (n) > 0 ? (n) : -2, CORO__FIFO)

/* coro_topic_subscribe -- from now on. -EBUSY: it is subscribed. */
#define coro_topic_subscribe(t, sub) coro__topic_subscribe(CORO__HEAD_OF(coro_topic, t), (sub))

/* coro_topic_unsubscribe -- never waits; not subscribed: nothing. */
#define coro_topic_unsubscribe(t, sub) coro__topic_unsubscribe(CORO__HEAD_OF(coro_topic, t), (sub))

/* coro_topic_publish -- tell all; never waits. How many subscribers there are. -EPIPE: closed.
 *
 *   my->n = coro_topic_publish(my->news, &my->item);
 *   coro_topic_close(my->news);                            // they get what they have not seen yet
 */
#define coro_topic_publish(t, item)                                                               \
    coro__topic_publish(CORO__HEAD_OF(coro_topic, t), CORO__TO_ELEMENT_PUT(t, item), CORO__SHAPE(t))

/* coro_topic_next -- the next item for this subscriber.
 *
 *   coro_topic_subscribe(my->news, &my->place);
 *   CORO_TRY(my->got, coro_topic_next(co, my->news, &my->place, &my->item));
 *   CORO_FINALLY:
 *   coro_topic_unsubscribe(my->news, &my->place);
 *
 * Who was too slow goes on with the oldest item that is left: sub.missed says how many were lost
 * before it.
 *
 * Returns:    1; 0: closed, and all has been told.
 * Errors:     -ECANCELED, -ETIMEDOUT; -EINVAL: not subscribed.
 */
#define coro_topic_next(co, t, sub, item)                                                         \
    coro__topic_next((co), CORO__HEAD_OF(coro_topic, t), (sub), CORO__TO_ELEMENT(t, item),        \
                     CORO__SHAPE(t))

/* coro_topic_close -- no more items. */
#define coro_topic_close(t) coro__topic_close(CORO__HEAD_OF(coro_topic, t))

/* coro_topic_fini -- check that nobody uses it: 0; -EBUSY. */
#define coro_topic_fini(t) coro__topic_fini(CORO__HEAD_OF(coro_topic, t))

/* ================================================================================================
 * >>select
 */

/* coro_select_random -- as coro_select; of several that are ready, one by chance. The seed is in
 * the frame; null: the first one.
 *
 *   CORO_TRY(my->i, coro_select_random(co, my->cases, 2, &my->seed));
 */
CORO_API CORO__MUST_USE coro_op coro_select_random(coro_task *co, coro_case *cases, int n,
                                                   uint32_t *seed);

/* coro_select -- wait for the first of n cases; do that one, and none of the others.
 *
 *   coro_case cases[2];                                            // in the frame, zeroed
 *
 *   coro_case_get(&my->cases[0], &my->q, &my->item);
 *   coro_case_event(&my->cases[1], &my->quit);
 *   CORO_TRY(my->i, coro_select(co, my->cases, 2));
 *   if (my->i == 0 && my->cases[0].rc == 1) ...
 *
 * Of several that are ready the first one is chosen. The cases stay as they are, for the next time.
 *
 * Returns:    the index of the case; what its operation gave is in its .rc.
 * Errors:     -ECANCELED, -ETIMEDOUT: none was done. -EINVAL: all are off. -EPERM: a task of
 *             another loop waits at one.
 */
CORO__MUST_USE static inline coro_op coro_select(coro_task *co, coro_case *cases, int n)
{
    return coro_select_random(co, cases, n, NULL);
}

/* coro_case_get -- fill a case: take the next item, as coro_queue_get does. */
#define coro_case_get(c, q, item)                                                                 \
    coro__case_get((c), CORO__QUEUE_OF(q), CORO__TO_ELEMENT(q, item), CORO__SHAPE(q))

/* coro_case_put -- put *item, which stays: coro_case_put(&my->cases[0], &my->q, &my->item); */
#define coro_case_put(c, q, item)                                                                 \
    coro__case_put((c), CORO__QUEUE_OF(q), CORO__TO_ELEMENT_PUT(q, item), CORO__SHAPE(q))

/* coro_case_topic -- the next item for this subscriber, as coro_topic_next.
 *
 *   coro_case_topic(&my->cases[0], my->news, &my->place, &my->item);
 */
#define coro_case_topic(c, t, sub, item)                                                          \
    coro__case_topic((c), CORO__HEAD_OF(coro_topic, t), (sub), CORO__TO_ELEMENT(t, item),         \
                     CORO__SHAPE(t))

/* coro_case_event -- it is set. */
CORO_API void coro_case_event(coro_case *c, coro_event *e);

/* coro_case_promise -- it is set, rc its value: coro_case_promise(&my->cases[0], &my->answer); */
CORO_API void coro_case_promise(coro_case *c, coro_promise *p);

/* coro_case_mutex -- lock it: coro_case_mutex(&my->cases[0], &my->lock); */
CORO_API void coro_case_mutex(coro_case *c, coro_mutex *m);

/* coro_case_sem -- acquire one permit: coro_case_sem(&my->cases[0], &my->slots); */
CORO_API void coro_case_sem(coro_case *c, coro_sem *s);

/* coro_case_fill -- for an object of your own. attempt does it, if that can be done now: true, and
 * c->rc is set. Else the case waits in line; coro_waiter_word of it is word.
 *
 *   coro_case_fill(&my->cases[0], letter_attempt, &box.line, &box, (intptr_t)&my->n);
 */
static inline void coro_case_fill(coro_case *c, bool (*attempt)(coro_case *c, coro_task *co),
                                  coro_line *line, void *object, intptr_t word)
{
    CORO_ASSERT(!c->next); /* else it is being waited for */
    c->attempt = attempt;
    c->line = line;
    c->object = object;
    c->word = word;
    c->item = NULL;
}

/* coro_case_off -- this one is not waited for: coro_case_off(&my->cases[0]); */
static inline void coro_case_off(coro_case *c)
{
    c->attempt = NULL;
}

/* ================================================================================================
 * >>patterns
 */

/* How often, and how long apart, something is tried again, by one task. Zero means default. Clear
 * .tried to use it for something else. */
typedef struct coro_backoff {
    int tries;                  /* in all; default 5; less than 0: any number */
    bool exact;                 /* no jitter: base, twice that, four times ... */
    coro_time base;             /* the first wait is at most this; default 100 ms */
    coro_time cap;              /* no wait is longer; default 10 s */
    bool (*transient)(int rc);  /* may it go well next time? Default coro_is_transient */
    uint32_t seed;              /* of the jitter; default: from the time and this address */
    int tried;                  /* so far */
    coro_time waited;           /* in all, for operators */
    coro_time until;            /* the end of this wait */
    coro_waitq sleeping;
} coro_backoff;

/* coro_backoff_wait -- between two tries: wait, unless that is pointless.
 *
 *   for (;;) {
 *       CORO_AWAIT(my->rc, coro_call(co, &my->f, fetch, .url = my->url));
 *       CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
 *       if (!my->again)
 *           break;
 *   }
 *
 * Each wait is a random time between 0 and base, 2 base, 4 base ... cap (full jitter).
 *
 * Returns:    1: waited, try again. 0: rc is no error, done.
 * Errors:     rc: it is not transient, it was the last try, or the deadline in force would be over
 *             before the next one. -ECANCELED: this task's.
 */
CORO_API CORO__MUST_USE coro_op coro_backoff_wait(coro_task *co, coro_backoff *b, int rc);

/* coro_is_transient -- the default: time-outs, refused and broken connections, busy, try again.
 *
 *   static bool worth_it(int rc) { return rc == -ENOENT || coro_is_transient(rc); }
 *
 *   my->backoff.transient = worth_it;
 */
CORO_API bool coro_is_transient(int rc);

/* A token bucket: .rate a second, and up to .burst at once. The time for one is rounded up to a
 * whole tick: with ticks of 1 ms 300 a second are 250. */
typedef struct coro_rate {
    uint32_t rate;   /* tokens a second; set it while nobody waits */
    uint32_t burst;  /* so many may be saved up; default 1 */
    coro_line line;  /* in coro_rate_take */
    coro_time empty; /* when the bucket was empty: it has a token for each 1 / rate s since */
    bool begun;
} coro_rate;

/* coro_rate_take -- take n tokens, waiting for them: CORO_TRY(coro_rate_take(co, &my->rate, 1));
 *
 * Returns:    0
 * Errors:     -ECANCELED, -ETIMEDOUT: none taken. -EINVAL: more than the burst; a rate of 0.
 */
CORO_API CORO__MUST_USE coro_op coro_rate_take(coro_task *co, coro_rate *r, uint32_t n);

/* coro_rate_try_take -- 0; -EAGAIN: not now.
 *
 *   my->rate = (coro_rate){.rate = 100, .burst = 10};      // a second; at once
 *   if (coro_rate_try_take(co, &my->rate, 1) < 0)
 *       CORO_FAIL(-EBUSY);
 */
CORO_API CORO__MUST_USE int coro_rate_try_take(coro_task *co, coro_rate *r, uint32_t n);

/* coro_rate_fini -- check that nobody uses it: 0; -EBUSY. */
static inline int coro_rate_fini(coro_rate *r)
{
    return coro__in_use(&r->line, NULL, false);
}

/* What a circuit breaker does with calls: lets them through; refuses them; tries a few. */
typedef enum coro_breaker_is { CORO_BREAKER_CLOSED, CORO_BREAKER_OPEN, CORO_BREAKER_HALF_OPEN }
    coro_breaker_is;

/* A circuit breaker: after some failures in a row calls are refused for a while, then a few probes
 * find out whether it is better. Zero means default.
 *
 *            `failures` in a row            `cooling` later
 *     closed ------------------> open ------------------------> half-open
 *        ^                        ^            a probe fails       |
 *        |                        `--------------------------------|
 *        `---------------------------------------------------------'  `probes` successes
 */
typedef struct coro_breaker {
    int failures;             /* in a row that open it; default 5 */
    int probes;               /* at once when half-open, and successes that close it; default 1 */
    coro_time cooling;        /* how long it stays open; default 30 s */
    coro_time opened;         /* when */
    bool (*failure)(int rc);  /* is this one? Default: every error but -ECANCELED */
    coro_breaker_is state;
    int failed;               /* in a row */
    int probing, good;        /* half-open: probes out, and those that went well */
    coro_count opened_times, rejected; /* for operators */
    coro_loop *loop;
} coro_breaker;

/* coro_breaker_enter -- before a call: 0; -EHOSTDOWN: it is open, do not even try.
 *
 *   CORO_TRY(coro_breaker_enter(co, my->breaker));
 *   CORO_AWAIT(my->rc, coro_call(co, &my->f, fetch));
 *   coro_breaker_leave(my->breaker, my->rc);
 */
CORO_API CORO__MUST_USE int coro_breaker_enter(coro_task *co, coro_breaker *b);

/* coro_breaker_leave -- after it: how it went. A cancellation counts neither way. A call that began
 * before it opened, and ends while a probe is out, is taken for the probe. */
CORO_API void coro_breaker_leave(coro_breaker *b, int rc);

/* coro_breaker_state -- what coro_breaker_enter would find now.
 *
 *   if (coro_breaker_state(co, my->breaker) == CORO_BREAKER_OPEN) ...
 */
CORO_API coro_breaker_is coro_breaker_state(coro_task *co, const coro_breaker *b);

/* What pools of all types have in common. The first three are yours to set; zero: none. */
typedef struct coro_pool {
    coro_time idle_limit; /* resources unused for so long are for coro_pool_idle */
    coro_time age_limit;  /* and those that old */
    coro_count limit;     /* of resources; the pool's room is one, too */
    coro_count newest;    /* idle slot that was released last, + 1 */
    coro_line line;       /* in coro_pool_acquire */
    coro_line drainers;   /* in coro_pool_drain */
    coro_count out;       /* acquired, or given to the reaper */
    coro_count idle;      /* waiting for use */
    coro_count most;      /* out at once so far */
    bool closed;
    coro_total fresh, reused, broken; /* handed out; released as not healthy */
    coro_loop *loop;
} coro_pool;

/* A slot's head. */
typedef struct coro__pool_slot {
    coro_time born, since; /* handed out fresh; released */
    coro_count next;       /* the idle slot released before this, + 1 */
    uint8_t state;         /* CORO__POOL_FREE ... */
} coro__pool_slot;

/* CORO_POOL -- a pool of n resources, which live in it: typedef CORO_POOL(struct db, 8) db_pool; */
#define CORO_POOL(type, n)                                                                        \
    CORO__SLOTS_OF(coro_pool, struct { coro__pool_slot slot; type item; }, (n) > 0 ? (n) : -2,    \
                   CORO__FIFO)

/* coro_pool_acquire -- get a resource: *item points to it.
 *
 *   CORO_TRY(my->fresh, coro_pool_acquire(co, my->pool, &my->db));       // struct db *db;
 *   if (my->fresh)
 *       CORO_TRY(coro_call(co, &my->open, db_open, .db = my->db));
 *   ...
 *   CORO_FINALLY:
 *   coro_pool_release(my->pool, my->db, CORO_ERR == 0);
 *
 * The one that was used last comes first. Waits while all are out. One that is too old is given
 * only when there is no other, and no room: a busy pool goes on using those.
 *
 * Returns:    1: it is fresh, connect it; 0: it was used before.
 * Errors:     -ECANCELED, -ETIMEDOUT: none taken; -ESHUTDOWN: the pool is closed.
 */
#define coro_pool_acquire(co, p, item)                                                            \
    coro__pool_acquire((co), CORO__HEAD_OF(coro_pool, p),                                         \
                       (void *)CORO__TO_A_POINTER(p, item), CORO__SHAPE(p))

/* coro_pool_release -- give it back. Not healthy: you have closed it, and its place is free. 0;
 * null: 0, too. -EPERM: it is not out. -EINVAL: not this pool's. */
#define coro_pool_release(p, item, healthy)                                                       \
    coro__pool_release(CORO__HEAD_OF(coro_pool, p), CORO__TO_ELEMENT(p, item), (healthy),         \
                       CORO__SHAPE(p))

/* coro_pool_idle -- for a reaper: 1, and *item is one that has been idle, or alive, for too long,
 * or any one if the pool is closed; end it and release it as not healthy. 0: there is none.
 *
 *   coro_pool_close(my->pool);                             // this and the next line: at the end
 *   CORO_TRY(coro_pool_drain(co, my->pool));
 *   while (coro_pool_idle(co, my->pool, &my->db)) {
 *       db_close(my->db);
 *       coro_pool_release(my->pool, my->db, false);
 *   }
 */
#define coro_pool_idle(co, p, item)                                                               \
    coro__pool_idle((co), CORO__HEAD_OF(coro_pool, p), (void *)CORO__TO_A_POINTER(p, item),       \
                    CORO__SHAPE(p))

/* coro_pool_close -- whoever waits or comes has -ESHUTDOWN. Those that are out can come back. */
#define coro_pool_close(p) coro__pool_close(CORO__HEAD_OF(coro_pool, p))

/* coro_pool_drain -- wait until none is out: 0. Then coro_pool_idle gives what is left. (End a
 * reaper first: what it has is out.) */
#define coro_pool_drain(co, p) coro__pool_drain((co), CORO__HEAD_OF(coro_pool, p))

/* coro_pool_fini -- 0; -EBUSY: somebody waits, or one is out, or idle and not yet ended. */
#define coro_pool_fini(p) coro__pool_fini(CORO__HEAD_OF(coro_pool, p))

/* --- the machinery of the macros above -------------------------------------------------------- */

/* Slots behind a head, and two numbers that are part of the type. */
#define CORO__SLOTS_OF(type, slot, n, order_)                                                     \
    struct {                                                                                      \
        type head;                                                                                \
        union {                                                                                   \
            char (*room)[(n) + 1];                                                                \
            char (*order)[order_];                                                                \
        };                                                                                        \
        slot slots[(n) > 0 ? (n) : 1];                                                            \
    }

/* Which item comes next. Priorities: where the member is, how large, whether it has a sign. Less
 * than 0: it is no integer, or too far behind. */
enum { CORO__FIFO = 1, CORO__LIFO = 2, CORO__PRIORITY = 3 };
#if defined __cplusplus
template <class T, bool = __is_enum(T)> struct coro__integer { typedef T type; };
template <class T> struct coro__integer<T, true> { typedef __underlying_type(T) type; };
#define CORO__INTEGER(x) coro__integer<__typeof__(x)>::type
#else
#define CORO__INTEGER(x) __typeof__(x)
#endif /* defined __cplusplus */
#define CORO__BY(type, member)                                                                    \
    (offsetof(type, member) < 2000 && sizeof(((type *)0)->member) <= 8 &&                         \
             (CORO__INTEGER(((type *)0)->member))0.5 == 0                                         \
         ? (int)(offsetof(type, member) * 16 + sizeof(((type *)0)->member)) * 2 +                 \
               ((CORO__INTEGER(((type *)0)->member))-1 <                                          \
                (CORO__INTEGER(((type *)0)->member))1) + CORO__PRIORITY                           \
         : -1)

static inline coro__shape coro__shape_of(size_t slots, size_t item, size_t size, size_t stride,
                                         size_t room, size_t order)
{
    coro__shape s = {(uint16_t)slots, (uint16_t)item,   (uint16_t)(stride - item - size),
                     (uint16_t)order, (coro_count)size, (coro_count)room};
    return s;
}

#define CORO__SHAPE(q)                                                                            \
    coro__shape_of(offsetof(__typeof__(*(q)), slots), offsetof(__typeof__((q)->slots[0]), item),  \
                   sizeof((q)->slots[0].item), sizeof((q)->slots[0]), sizeof(*(q)->room) - 1,     \
                   sizeof(*(q)->order))

#define CORO__QUEUE_OF(q) CORO__HEAD_OF(coro_queue, q)
#if defined __cplusplus
template <class T> static inline T *coro__head_of(T *, void *q)
{
    return static_cast<T *>(q);
}
template <class T> static inline T *coro__pointer(T *p) { return p; }
template <class T> static inline const T *coro__pointer_to_put(const T *p) { return p; }
#define CORO__HEAD_OF(type, q) coro__head_of<type>(&(q)->head, (q))
#define CORO__TO_ELEMENT(q, p) coro__pointer<__typeof__((q)->slots[0].item)>(p)
#define CORO__TO_ELEMENT_PUT(q, p) coro__pointer_to_put<__typeof__((q)->slots[0].item)>(p)
#define CORO__TO_A_POINTER(q, p) coro__pointer<__typeof__((q)->slots[0].item) *>(p)
#else
/* The head is the first member. No association: the argument is no pointer to such an element. */
#define CORO__HEAD_OF(type, q) _Generic(&(q)->head, type *: (type *)(void *)(q))
#define CORO__TO_ELEMENT(q, p) _Generic((p), __typeof__((q)->slots[0].item) *: (p))
#define CORO__TO_ELEMENT_PUT(q, p)                                                                \
    _Generic((p), __typeof__((q)->slots[0].item) *: (p),                                          \
             const __typeof__((q)->slots[0].item) *: (p))
#define CORO__TO_A_POINTER(q, p) _Generic((p), __typeof__((q)->slots[0].item) **: (p))
#endif /* defined __cplusplus */

CORO_API coro_op coro__mutex_wait(coro_task *co, coro_mutex *m);
CORO_API void coro__mutex_hand_over(coro_mutex *m);
CORO_API void coro__mutex_ended(coro_note *note, coro_task *task);
CORO__SLOW_API coro_op coro__queue_put_slow(coro_task *, coro_queue *, const void *, coro__shape);
CORO__SLOW_API coro_op coro__queue_get_slow(coro_task *, coro_queue *, void *, coro__shape);
CORO_API CORO__MUST_USE coro_op coro__queue_get_many(coro_task *, coro_queue *, void *items,
                                                     coro_count n, coro__shape);
CORO_API CORO__MUST_USE int coro__queue_try_put(coro_queue *, const void *item, coro__shape);
CORO_API CORO__MUST_USE int coro__queue_try_get(coro_queue *, void *item, coro__shape);
CORO_API int coro__queue_replace(coro_queue *, const void *item, void *old, coro__shape);
CORO_API int coro__queue_peek(coro_queue *, void *item, coro__shape);
CORO_API void coro__queue_close(coro_queue *);
CORO_API int coro__queue_done(coro_queue *);
CORO_API CORO__MUST_USE coro_op coro__queue_join(coro_task *, coro_queue *);
CORO_API int coro__queue_fini(coro_queue *);
CORO_API int coro__ring_put(coro_ring *, const void *item, coro__shape);
CORO_API int coro__ring_get(coro_ring *, void *item, coro__shape);
CORO_API CORO__MUST_USE coro_op coro__ring_wait(coro_task *, coro_ring *);
CORO_API int coro__topic_subscribe(coro_topic *, coro_sub *);
CORO_API void coro__topic_unsubscribe(coro_topic *, coro_sub *);
CORO_API int coro__topic_publish(coro_topic *, const void *item, coro__shape);
CORO_API CORO__MUST_USE coro_op coro__topic_next(coro_task *, coro_topic *, coro_sub *, void *item,
                                                 coro__shape);
CORO_API void coro__topic_close(coro_topic *);
CORO_API int coro__topic_fini(coro_topic *);
CORO_API void coro__case_get(coro_case *, coro_queue *, void *item, coro__shape);
CORO_API void coro__case_put(coro_case *, coro_queue *, const void *item, coro__shape);
CORO_API void coro__case_topic(coro_case *, coro_topic *, coro_sub *, void *item, coro__shape);
CORO_API CORO__MUST_USE coro_op coro__pool_acquire(coro_task *, coro_pool *, void *item,
                                                   coro__shape);
CORO_API int coro__pool_release(coro_pool *, void *item, bool healthy, coro__shape);
CORO_API int coro__pool_idle(coro_task *, coro_pool *, void *item, coro__shape);
CORO_API void coro__pool_close(coro_pool *);
CORO_API CORO__MUST_USE coro_op coro__pool_drain(coro_task *, coro_pool *);
CORO_API int coro__pool_fini(coro_pool *);

static inline void coro__mutex_take(coro_task *task, coro_mutex *m)
{
    m->owner = task;
    m->note.ended = coro__mutex_ended;
    coro_note_add(task, &m->note);
}

CORO__FAST CORO__MUST_USE static inline coro_op coro_mutex_lock(coro_task *co, coro_mutex *m)
{
    if (CORO__UNLIKELY(coro_cancelled(co)))
        return coro_refuse(co);
    if (CORO__UNLIKELY(m->owner || m->dead))
        return coro__mutex_wait(co, m);
    coro__mutex_take(co, m);
    return coro_done(co, 0);
}

CORO__FAST static inline int coro_mutex_unlock(coro_task *co, coro_mutex *m)
{
    if (CORO__UNLIKELY(m->owner != co))
        return -EPERM;
    coro_note_drop(co, &m->note);
    m->owner = NULL;
    if (!coro__line_empty(&m->line))
        coro__mutex_hand_over(m);
    return 0;
}

CORO__FAST CORO__MUST_USE static inline coro_op coro_sem_acquire(coro_task *co, coro_sem *s)
{
    if (CORO__UNLIKELY(coro_cancelled(co) || s->value < 1 || s->closed ||
                       !coro__line_empty(&s->line)))
        return coro_sem_acquire_n(co, s, 1);
    s->value--;
    return coro_done(co, 0);
}

static inline size_t coro__stride(coro__shape shape)
{
    return (size_t)shape.item + shape.size + shape.after;
}

static inline char *coro__slot(const void *head, coro_count i, coro__shape shape)
{
    return (char *)(uintptr_t)head + shape.slots + i * coro__stride(shape);
}

/* Where an item is copied its size is a constant, or else likely one of these. */
static inline void coro__copy(void *to, const void *from, coro_count size)
{
    if (size == 8)
        CORO_MEMCPY(to, from, 8);
    else if (size == 4)
        CORO_MEMCPY(to, from, 4);
    else if (size == 16)
        CORO_MEMCPY(to, from, 16);
    else
        CORO_MEMCPY(to, from, size);
}

static inline coro_count coro__ring_index(coro_count first, coro_count n, coro_count room)
{
    uint32_t i = (uint32_t)first + n;
    return (coro_count)(room & (room - 1) ? (i >= room ? i - room : i) : i & (room - 1));
}

static inline void coro__queue_append(coro_queue *q, const void *item, coro__shape shape)
{
    coro_count depth = q->depth, at = coro__ring_index(q->first, depth, shape.room);
    q->depth = ++depth; /* before the copy, which, for all that gcc knows, could change it */
    if (CORO__UNLIKELY(depth > q->most))
        q->most = depth;
    coro__copy(coro__slot(q, at, shape) + shape.item, item, shape.size);
}

static inline void coro__queue_take_first(coro_queue *q, void *item, coro__shape shape)
{
    coro_count at = q->first;
    q->first = coro__ring_index(at, 1, shape.room);
    q->depth--;
    coro__copy(item, coro__slot(q, at, shape) + shape.item, shape.size);
}

/* Neither empty nor full: nobody waits. In one comparison. */
static inline bool coro__queue_between(const coro_queue *q, coro__shape shape)
{
    return shape.room && (uint32_t)q->depth - 1 < shape.room - 1;
}

CORO__FAST CORO__MUST_USE static inline coro_op coro__queue_put(coro_task *co, coro_queue *q,
                                                                const void *item,
                                                                coro__shape shape)
{
    if (shape.order != CORO__FIFO ||
        CORO__UNLIKELY(!(shape.room == 1 ? !q->depth && coro__line_empty(&q->getters)
                                         : coro__queue_between(q, shape)) ||
                       coro_cancelled(co) || q->closed || coro_may_be_local(co, item)))
        return coro__queue_put_slow(co, q, item, shape);
    q->unfinished++;
    coro__queue_append(q, item, shape);
    return coro_done(co, 0);
}

/* Not empty, and nobody waits to put. */
CORO__FAST CORO__MUST_USE static inline coro_op coro__queue_get(coro_task *co, coro_queue *q,
                                                                void *item, coro__shape shape)
{
    if (shape.order != CORO__FIFO ||
        CORO__UNLIKELY(!(shape.room == 1 ? q->depth && coro__line_empty(&q->putters)
                                         : coro__queue_between(q, shape)) ||
                       coro_cancelled(co) || coro_may_be_local(co, item)))
        return coro__queue_get_slow(co, q, item, shape);
    coro__queue_take_first(q, item, shape);
    return coro_done(co, 1);
}

/* ================================================================================================
 * >>impl -- nothing from here on is needed to use the library.
 */
#if !defined CORO_SHARED || defined CORO_IMPLEMENTATION

/* Hooks have parameters that some of them do not need. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* --- lines ------------------------------------------------------------------------------------ */

static inline void coro__line_count_in(coro_line *line)
{
    if (CORO__UNLIKELY(++line->waiting > line->most))
        line->most = line->waiting;
}

static inline void coro__line_count_out(coro_line *line, const coro_task *task)
{
#if CORO_LINE_TIMES
    coro_time d = coro_time_since(coro_loop_recent(coro_loop_of(task)), coro_waits_since(task));
    if (CORO__UNLIKELY(d > line->longest))
        line->longest = d;
#else
    (void)task;
#endif /* CORO_LINE_TIMES */
    line->waiting--;
}

/* Cases that came after this task come after the one before it. */
CORO__COLD_PRIVATE void coro__line_close_up(coro_line *line, const coro_task *task)
{
    coro_case *c = line->cases;
    do
        if (c->after == task)
            c->after = coro_waitq_before(&line->tasks, task);
    while ((c = c->next) != line->cases);
}

/* A task is about to leave. */
static inline void coro__line_leave(coro_line *line, coro_task *task)
{
    if (CORO__UNLIKELY(line->cases))
        coro__line_close_up(line, task);
    coro__line_count_out(line, task);
}

/* Everything here is one loop's: what another's task waits for could be completed by a thread that
 * has no right to. */
static inline bool coro__of_another(const coro_task *holder, const coro_task *co)
{
    return holder && coro_loop_of(holder) != coro_loop_of(co);
}

static inline bool coro__line_foreign(const coro_line *line, const coro_task *co)
{
    coro_waiter w;
    return coro_line_first(line, &w) && coro__of_another(coro__waiter_task(w), co);
}

CORO_API coro_op coro_line_wait(coro_task *co, coro_line *line, const coro_ops *ops, intptr_t word)
{
    if (CORO__UNLIKELY(coro__line_foreign(line, co)))
        return coro_done(co, -EPERM);
    coro__line_count_in(line);
    return coro_suspend(co, &line->tasks, ops, word);
}

CORO_API coro_abort coro_line_abort(coro_task *task, coro_waitq *queue)
{
    coro__line_leave(CORO__AROUND(coro_line, tasks, queue), task);
    return CORO_ABORT_DONE;
}

CORO_API void coro_line_move(coro_line *line, coro_task *task, coro_line *to, const coro_ops *ops,
                             intptr_t word)
{
    coro__line_leave(line, task);
    coro__line_count_in(to);
    coro_move(task, &to->tasks, ops, word);
}

static inline void coro__case_park(coro_case *c)
{
    coro_line *line = c->line;
    c->after = coro_waitq_last(&line->tasks);
    if (!line->cases) {
        line->cases = c->next = c->prev = c;
    } else {
        c->next = line->cases;
        c->prev = line->cases->prev;
        c->prev->next = c->next->prev = c;
    }
    coro__line_count_in(line);
}

static inline void coro__case_unpark(coro_case *c)
{
    coro_line *line = c->line;
    if (!c->next)
        return;
    if (line->cases == c)
        line->cases = c->next == c ? NULL : c->next;
    c->next->prev = c->prev;
    c->prev->next = c->next;
    c->next = NULL;
    coro__line_count_out(line, c->task);
}

static inline void coro__cases_unpark(coro_case *cases)
{
    for (int i = 0, n = cases->count; i < n; i++)
        coro__case_unpark(&cases[i]);
}

CORO__COLD_PRIVATE void coro__case_chosen(coro_case *c, intptr_t rc)
{
    c->rc = rc;
    coro__cases_unpark(c - c->index);
    (void)coro_complete(c->task, c->index);
}

CORO__FAST static inline void coro__line_end(coro_line *line, coro_waiter w, intptr_t result)
{
    if (CORO__UNLIKELY(w.chosen)) {
        coro__case_chosen(w.chosen, result);
    } else {
        coro__line_leave(line, w.task);
        (void)coro_complete(w.task, result);
    }
}

CORO_API void coro_line_end(coro_line *line, coro_waiter w, intptr_t result)
{
    coro__line_end(line, w, result);
}

static inline void coro__line_end_all(coro_line *line, intptr_t result)
{
    coro_waiter w;
    while (coro_line_first(line, &w))
        coro_line_end(line, w, result);
}

CORO__COLD_API int coro__in_use(const coro_line *line, const coro_task *holder, bool used)
{
    if (coro__line_empty(line) && !holder && !used)
        return 0;
#if CORO_DEBUG
    coro_task *task = line->tasks.head;
    coro_case *c = line->cases;
    if (holder)
        coro_report(holder, " holds what is to be ended");
    for (; task; task = coro_waitq_next(&line->tasks, task))
        coro_report(task, " waits for what is to be ended");
    for (; c; c = c->next == line->cases ? NULL : c->next)
        coro_report(c->task, " waits in a select for what is to be ended");
#endif /* CORO_DEBUG */
    return -EBUSY;
}

/* --- event, promise, once --------------------------------------------------------------------- */

CORO_API coro_op coro_event_wait(coro_task *co, coro_event *e)
{
    static const coro_ops ops = {CORO__T("event"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (e->set)
        return coro_done(co, 0);
    return coro_line_wait(co, &e->line, &ops, 0);
}

CORO_API void coro_event_set(coro_event *e)
{
    e->set = true;
    coro__line_end_all(&e->line, 0);
}

CORO_API coro_op coro_promise_get(coro_task *co, coro_promise *p)
{
    static const coro_ops ops = {CORO__T("promise"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (p->set)
        return coro_done(co, p->value);
    return coro_line_wait(co, &p->line, &ops, 0);
}

CORO_API int coro_promise_set(coro_promise *p, intptr_t value)
{
    if (p->set)
        return -EALREADY;
    p->set = true;
    p->value = value;
    coro__line_end_all(&p->line, value);
    return 0;
}

static inline void coro__once_ended(coro_note *note, coro_task *task);

static inline void coro__once_take(coro_task *task, coro_once *o)
{
    o->owner = task;
    o->note.ended = coro__once_ended;
    coro_note_add(task, &o->note);
}

/* Its owner has gone: all are let through, or the next one tries. */
static inline void coro__once_left(coro_once *o, bool done)
{
    coro_waiter w;
    o->owner = NULL;
    o->done = done;
    if (done) {
        coro__line_end_all(&o->line, 0);
    } else if (coro_line_first(&o->line, &w)) {
        coro__once_take(w.task, o);
        coro_line_end(&o->line, w, 1);
    }
}

static inline void coro__once_ended(coro_note *note, coro_task *task)
{
    coro__once_left(CORO__AROUND(coro_once, note, note), false);
}

CORO_API coro_op coro_once_enter(coro_task *co, coro_once *o)
{
    static const coro_ops ops = {CORO__T("once"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (o->owner == co)
        return coro_done(co, -EDEADLK);
    if (coro__of_another(o->owner, co))
        return coro_done(co, -EPERM);
    if (o->owner)
        return coro_line_wait(co, &o->line, &ops, 0);
    if (o->done)
        return coro_done(co, 0);
    coro__once_take(co, o);
    return coro_done(co, 1);
}

CORO_API int coro_once_leave(coro_task *co, coro_once *o, int rc)
{
    if (o->owner != co)
        return -EPERM;
    coro_note_drop(co, &o->note);
    coro__once_left(o, rc >= 0);
    return 0;
}

/* --- mutex --------------------------------------------------------------------------------------
 * The word of a waiter: 0: it came by coro_mutex_lock. Else it comes back from coro_cond_wait, and
 * cannot be turned away: 1: it was signalled; less than 0: the error that it will return.
 */
static inline coro_abort coro__mutex_abort(coro_task *task, coro_waitq *queue)
{
    return coro_word(task) ? CORO_ABORT_LATER : coro_line_abort(task, queue);
}

static inline const coro_ops *coro__mutex_ops(void)
{
    static const coro_ops ops = {CORO__T("mutex"), coro__mutex_abort, NULL};
    return &ops;
}

CORO_API coro_op coro__mutex_wait(coro_task *co, coro_mutex *m)
{
    int rc = coro_mutex_try_lock(co, m);
    return rc == -EAGAIN ? coro_line_wait(co, &m->line, coro__mutex_ops(), 0) : coro_done(co, rc);
}

CORO_API int coro_mutex_try_lock(coro_task *co, coro_mutex *m)
{
    if (m->dead)
        return -EOWNERDEAD;
    if (m->owner)
        return m->owner == co ? -EDEADLK : coro__of_another(m->owner, co) ? -EPERM : -EAGAIN;
    coro__mutex_take(co, m);
    return 0;
}

CORO_API void coro__mutex_hand_over(coro_mutex *m)
{
    coro_waiter w;
    (void)coro_line_first(&m->line, &w); /* there is one */
    coro__mutex_take(coro__waiter_task(w), m);
    coro_line_end(&m->line, w, w.task && coro_word(w.task) < 0 ? coro_word(w.task) : 0);
}

CORO_API void coro__mutex_ended(coro_note *note, coro_task *task)
{
    coro_mutex *m = CORO__AROUND(coro_mutex, note, note);
    if (CORO_DEBUG)
        coro_report(task, " has ended without unlocking a mutex");
    m->owner = NULL;
    m->dead = true;
    coro__line_end_all(&m->line, -EOWNERDEAD);
}

/* --- condition -------------------------------------------------------------------------------- */

/* To the mutex, with what to return then. */
static inline void coro__cond_go_back(coro_cond *c, coro_task *task, intptr_t word)
{
    coro_mutex *m = c->mutex;
    coro_waiter w = {task, NULL};
    if (m->owner) {
        coro_line_move(&c->line, task, &m->line, coro__mutex_ops(), word);
    } else if (m->dead) {
        coro_line_end(&c->line, w, -EOWNERDEAD);
    } else {
        coro__mutex_take(task, m);
        coro_line_end(&c->line, w, word);
    }
}

static inline coro_abort coro__cond_abort(coro_task *task, coro_waitq *queue)
{
    coro__cond_go_back(CORO__AROUND(coro_cond, line.tasks, queue), task,
                       coro_cancelled(task) ? -ECANCELED : -ETIMEDOUT);
    return CORO_ABORT_LATER;
}

CORO_API coro_op coro_cond_wait(coro_task *co, coro_cond *c, coro_mutex *m)
{
    static const coro_ops ops = {CORO__T("condition"), coro__cond_abort, NULL};
    if (m->owner != co)
        return coro_done(co, -EPERM);
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro__line_foreign(&c->line, co))
        return coro_done(co, -EPERM);
    if (c->line.tasks.head && c->mutex != m)
        return coro_done(co, -EINVAL);
    c->mutex = m;
    (void)coro_mutex_unlock(co, m);
    return coro_line_wait(co, &c->line, &ops, 0);
}

CORO_API int coro__cond_wake(coro_cond *c, int n)
{
    int i = 0;
    if (c->line.tasks.head && (!c->mutex->owner || coro__line_foreign(&c->line, c->mutex->owner)))
        return -EPERM;
    for (; i < n && c->line.tasks.head; i++)
        coro__cond_go_back(c, c->line.tasks.head, 1);
    return i;
}

/* --- rwlock -------------------------------------------------------------------------------------
 * The word of a waiter: whether it is to write.
 */
static inline bool coro__rwlock_room(const coro_rwlock *l, bool write)
{
    return !l->writer && (write ? !l->readers : !l->limit || l->readers < l->limit);
}

static inline void coro__rwlock_ended(coro_note *note, coro_task *task)
{
    coro_rwlock *l = CORO__AROUND(coro_rwlock, note, note);
    if (CORO_DEBUG)
        coro_report(task, " has ended without unlocking a rwlock");
    l->writer = NULL;
    l->dead = true;
    coro__line_end_all(&l->line, -EOWNERDEAD);
}

static inline void coro__rwlock_take(coro_rwlock *l, coro_task *task, bool write)
{
    if (write) {
        l->writer = task;
        l->note.ended = coro__rwlock_ended;
        coro_note_add(task, &l->note);
    } else {
        l->readers++;
    }
}

/* Let in whoever is first, as long as there is room. */
static inline void coro__rwlock_admit(coro_rwlock *l)
{
    coro_waiter w;
    while (coro_line_first(&l->line, &w) && coro__rwlock_room(l, coro_waiter_word(w) != 0)) {
        coro__rwlock_take(l, w.task, coro_word(w.task) != 0);
        coro_line_end(&l->line, w, 0);
    }
}

/* A writer who gives up may have kept readers waiting. */
static inline void coro__rwlock_gone(coro_task *task, coro_waitq *queue)
{
    coro__rwlock_admit(CORO__AROUND(coro_rwlock, line.tasks, queue));
}

CORO_API int coro__rwlock_try(coro_task *co, coro_rwlock *l, bool write)
{
    if (l->dead)
        return -EOWNERDEAD;
    if (l->writer == co)
        return -EDEADLK;
    if (coro__of_another(l->writer, co))
        return -EPERM;
    if (!coro__line_empty(&l->line) || !coro__rwlock_room(l, write))
        return -EAGAIN;
    coro__rwlock_take(l, co, write);
    return 0;
}

CORO_API coro_op coro__rwlock_lock(coro_task *co, coro_rwlock *l, bool write)
{
    static const coro_ops ops = {CORO__T("rwlock"), coro_line_abort, coro__rwlock_gone};
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    rc = coro__rwlock_try(co, l, write);
    return rc == -EAGAIN ? coro_line_wait(co, &l->line, &ops, write) : coro_done(co, rc);
}

CORO_API int coro_rwlock_read_unlock(coro_rwlock *l)
{
    if (!l->readers)
        return -EPERM;
    l->readers--;
    coro__rwlock_admit(l);
    return 0;
}

CORO_API int coro__rwlock_end_write(coro_task *co, coro_rwlock *l, bool read_on)
{
    if (l->writer != co)
        return -EPERM;
    coro_note_drop(co, &l->note);
    l->writer = NULL;
    l->readers += read_on;
    coro__rwlock_admit(l);
    return 0;
}

CORO_API int coro_rwlock_limit(coro_rwlock *l, coro_count readers)
{
    if (!readers)
        return -EINVAL;
    l->limit = readers;
    coro__rwlock_admit(l);
    return 0;
}

/* --- semaphore ----------------------------------------------------------------------------------
 * The word of a waiter: how many it wants.
 */
static inline bool coro__sem_never(const coro_sem *s, int n)
{
    return s->bound && n > s->bound; /* a bound of 0 is for a while */
}

static inline void coro__sem_grant(coro_sem *s)
{
    coro_waiter w;
    while (coro_line_first(&s->line, &w)) {
        int n = (int)coro_waiter_word(w);
        bool never = coro__sem_never(s, n); /* the bound came down: it would be in the way */
        if (!never && n > s->value)
            break;
        s->value -= never ? 0 : n;
        coro_line_end(&s->line, w, never ? -EINVAL : 0);
    }
}

/* One who wanted many may have kept others waiting who want few. */
static inline void coro__sem_gone(coro_task *task, coro_waitq *queue)
{
    coro__sem_grant(CORO__AROUND(coro_sem, line.tasks, queue));
}

CORO_API int coro_sem_init(coro_sem *s, int value, int bound)
{
    coro_sem fresh = CORO__ZERO;
    if (value < 0 || bound < 0 || (bound && value > bound))
        return -EINVAL;
    fresh.value = value;
    fresh.bound = bound;
    fresh.bounded = bound > 0;
    *s = fresh;
    return 0;
}

static inline int coro__sem_try(coro_sem *s, int n)
{
    if (n < 1 || coro__sem_never(s, n))
        return -EINVAL;
    if (s->closed)
        return -ESHUTDOWN;
    if (s->value < n || !coro__line_empty(&s->line))
        return -EAGAIN;
    s->value -= n;
    return 0;
}

CORO_API int coro_sem_try_acquire(coro_sem *s)
{
    return coro__sem_try(s, 1);
}

CORO_API coro_op coro_sem_acquire_n(coro_task *co, coro_sem *s, int n)
{
    static const coro_ops ops = {CORO__T("semaphore"), coro_line_abort, coro__sem_gone};
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    rc = coro__sem_try(s, n);
    return rc == -EAGAIN ? coro_line_wait(co, &s->line, &ops, n) : coro_done(co, rc);
}

CORO_API int coro_sem_release_n(coro_sem *s, int n)
{
    int top = s->bounded ? s->bound : INT_MAX;
    if (n < 1)
        return -EINVAL;
    if (s->value > top - n)
        return -EOVERFLOW;
    s->value += n;
    coro__sem_grant(s);
    return 0;
}

CORO_API int coro_sem_resize(coro_sem *s, int bound)
{
    if (!s->bounded || bound < 0)
        return -EINVAL;
    s->value += bound - s->bound;
    s->bound = bound;
    coro__sem_grant(s);
    return 0;
}

CORO_API void coro_sem_close(coro_sem *s)
{
    s->closed = true;
    coro__line_end_all(&s->line, -ESHUTDOWN);
}

/* --- barrier ---------------------------------------------------------------------------------- */

static inline void coro__barrier_gone(coro_task *task, coro_waitq *queue)
{
    CORO__AROUND(coro_barrier, line.tasks, queue)->arrived--;
}

CORO_API int coro_barrier_init(coro_barrier *b, int parties)
{
    coro_barrier fresh = CORO__ZERO;
    if (parties < 1)
        return -EINVAL;
    fresh.parties = (coro_count)parties;
    *b = fresh;
    return 0;
}

CORO_API coro_op coro_barrier_wait(coro_task *co, coro_barrier *b)
{
    static const coro_ops ops = {CORO__T("barrier"), coro_line_abort, coro__barrier_gone};
    intptr_t i;
    coro_waiter w;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!b->parties)
        return coro_done(co, -EINVAL);
    if (b->broken)
        return coro_done(co, -ECONNABORTED);
    if (coro__line_foreign(&b->line, co))
        return coro_done(co, -EPERM);
    if (++b->arrived < b->parties)
        return coro_line_wait(co, &b->line, &ops, 0);
    for (i = 0; coro_line_first(&b->line, &w); i++)
        coro_line_end(&b->line, w, i);
    b->arrived = 0;
    return coro_done(co, i);
}

CORO_API void coro_barrier_reset(coro_barrier *b)
{
    b->broken = false;
    b->arrived = 0;
    coro__line_end_all(&b->line, -ECONNABORTED);
}

CORO_API void coro_barrier_abort(coro_barrier *b)
{
    coro_barrier_reset(b);
    b->broken = true;
}

/* --- queue --------------------------------------------------------------------------------------
 * Getters wait only while it is empty, putters only while it is full; the word of each is where its
 * item is, or goes. A select may wait on both sides of a rendezvous, with itself as the other.
 *
 * Priorities are a heap: each slot begins with the number of the item, so that equals keep their
 * order.
 */
static inline uint64_t coro__priority_of(const void *item, coro__shape shape)
{
    coro_count code = (coro_count)(shape.order - CORO__PRIORITY);
    uint8_t size = (uint8_t)(code / 2 % 16);
    const char *at = (const char *)item + code / 32;
    uint64_t v, sign = (uint64_t)1 << (size * 8 - 1);
    if (shape.order < CORO__PRIORITY)
        __builtin_unreachable(); /* else gcc warns of what it will throw away */
    v = *(const uint8_t *)at;
    if (size == 2) {
        uint16_t v16;
        CORO_MEMCPY(&v16, at, 2);
        v = v16;
    } else if (size == 4) {
        uint32_t v32;
        CORO_MEMCPY(&v32, at, 4);
        v = v32;
    } else if (size == 8) {
        CORO_MEMCPY(&v, at, 8);
    }
    return code % 2 ? v ^ sign : v; /* so that less than 0 is less */
}

static inline coro_count *coro__number_of(const coro_queue *q, coro_count i, coro__shape shape)
{
    return (coro_count *)(void *)coro__slot(q, i, shape);
}

/* Does the item of slot i come before the one in slot j? */
static inline bool coro__slot_before(const coro_queue *q, coro_count i, coro_count j,
                                     coro__shape shape)
{
    uint64_t a = coro__priority_of(coro__slot(q, i, shape) + shape.item, shape);
    uint64_t b = coro__priority_of(coro__slot(q, j, shape) + shape.item, shape);
    coro_count age = (coro_count)(*coro__number_of(q, i, shape) - *coro__number_of(q, j, shape));
    return a != b ? a < b : age > (coro_count)-1 / 2;
}

CORO__SLOW_PRIVATE void coro__heap_put(coro_queue *q, const void *item, coro__shape shape)
{
    uint64_t urgency = coro__priority_of(item, shape);
    coro_count i = q->depth;
    while (i) {
        coro_count up = (coro_count)((i - 1) / 2);
        const char *above = coro__slot(q, up, shape);
        if (coro__priority_of(above + shape.item, shape) <= urgency)
            break;
        CORO_MEMCPY(coro__slot(q, i, shape), above, coro__stride(shape));
        i = up;
    }
    coro__copy(coro__slot(q, i, shape) + shape.item, item, shape.size);
    *coro__number_of(q, i, shape) = q->first++;
}

/* The first has been taken: the last fills the gap, from the top down. */
CORO__SLOW_PRIVATE void coro__heap_close_up(coro_queue *q, coro__shape shape)
{
    coro_count n = q->depth, i = 0, down; /* the last is in slot n */
    for (; (down = (coro_count)(2 * i + 1)) < n; i = down) {
        if (down + 1u < n && coro__slot_before(q, (coro_count)(down + 1), down, shape))
            down++;
        if (coro__slot_before(q, n, down, shape))
            break;
        CORO_MEMCPY(coro__slot(q, i, shape), coro__slot(q, down, shape), coro__stride(shape));
    }
    if (i != n)
        CORO_MEMCPY(coro__slot(q, i, shape), coro__slot(q, n, shape), coro__stride(shape));
}

CORO__FAST static inline void coro__queue_insert(coro_queue *q, const void *item, coro__shape shape)
{
    if (shape.order < CORO__PRIORITY) {
        coro__queue_append(q, item, shape);
        return;
    }
    coro__heap_put(q, item, shape);
    if (++q->depth > q->most)
        q->most = q->depth;
}

/* Where the next item is. */
static inline char *coro__queue_next(const coro_queue *q, coro__shape shape)
{
    coro_count at = shape.order == CORO__FIFO ? q->first : 0;
    if (shape.order == CORO__LIFO)
        at = (coro_count)(q->depth - 1);
    return coro__slot(q, at, shape) + shape.item;
}

CORO__FAST static inline void coro__queue_remove(coro_queue *q, void *item, coro__shape shape)
{
    if (shape.order == CORO__FIFO) {
        coro__queue_take_first(q, item, shape);
        return;
    }
    coro__copy(item, coro__queue_next(q, shape), shape.size);
    q->depth--;
    if (shape.order != CORO__LIFO)
        coro__heap_close_up(q, shape);
}

/* Put, if that can be done now. */
CORO__FAST static inline bool coro__queue_give_now(coro_queue *q, const void *item,
                                                   coro__shape shape)
{
    coro_waiter w;
    if (!q->depth && coro_line_first(&q->getters, &w)) {
        coro__copy((void *)coro_waiter_word(w), item, shape.size);
        coro__line_end(&q->getters, w, 1);
    } else if (q->depth < shape.room) {
        coro__queue_insert(q, item, shape);
    } else {
        return false;
    }
    q->unfinished++;
    return true;
}

/* Get, if that can be done now. The oldest putter's item fills the place, or is the one. */
CORO__FAST static inline bool coro__queue_take_now(coro_queue *q, void *item, coro__shape shape)
{
    coro_waiter w;
    bool waits = coro_line_first(&q->putters, &w);
    if (q->depth)
        coro__queue_remove(q, item, shape);
    else if (waits)
        coro__copy(item, (const void *)coro_waiter_word(w), shape.size);
    else
        return false;
    if (waits) {
        if (shape.room)
            coro__queue_insert(q, (const void *)coro_waiter_word(w), shape);
        q->unfinished++;
        coro__line_end(&q->putters, w, 0);
    }
    return true;
}

/* The same, not in line: where every instruction does not count. */
CORO__SLOW_PRIVATE bool coro__queue_give(coro_queue *q, const void *item, coro__shape shape)
{
    return coro__queue_give_now(q, item, shape);
}

CORO__SLOW_PRIVATE bool coro__queue_take(coro_queue *q, void *item, coro__shape shape)
{
    return coro__queue_take_now(q, item, shape);
}

CORO_API int coro__queue_try_put(coro_queue *q, const void *item, coro__shape shape)
{
    if (q->closed)
        return -EPIPE;
    if (coro__queue_give(q, item, shape))
        return 0;
    q->rejected++;
    return -EAGAIN;
}

CORO_API int coro__queue_try_get(coro_queue *q, void *item, coro__shape shape)
{
    if (coro__queue_take(q, item, shape))
        return 1;
    return q->closed ? 0 : -EAGAIN;
}

CORO__SLOW_API coro_op coro__queue_put_slow(coro_task *co, coro_queue *q, const void *item,
                                            coro__shape shape)
{
    static const coro_ops ops = {CORO__T("queue put"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, item))
        return coro_local();
    if (q->closed)
        return coro_done(co, -EPIPE);
    if (coro__line_foreign(&q->getters, co))
        return coro_done(co, -EPERM);
    if (coro__queue_give_now(q, item, shape))
        return coro_done(co, 0);
    return coro_line_wait(co, &q->putters, &ops, (intptr_t)item);
}

CORO__SLOW_API coro_op coro__queue_get_slow(coro_task *co, coro_queue *q, void *item,
                                            coro__shape shape)
{
    static const coro_ops ops = {CORO__T("queue get"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, item))
        return coro_local();
    if (coro__line_foreign(&q->putters, co))
        return coro_done(co, -EPERM);
    if (coro__queue_take_now(q, item, shape))
        return coro_done(co, 1);
    if (q->closed)
        return coro_done(co, 0);
    return coro_line_wait(co, &q->getters, &ops, (intptr_t)item);
}

CORO_API coro_op coro__queue_get_many(coro_task *co, coro_queue *q, void *items, coro_count n,
                                      coro__shape shape)
{
    coro_count i = 0;
    if (!n && !coro_cancelled(co))
        return coro_done(co, 0);
    if (!coro_cancelled(co) && !coro_is_local(co, items) && !coro__line_foreign(&q->putters, co))
        while (i < n && coro__queue_take(q, (char *)items + (size_t)i * shape.size, shape))
            i++;
    return i ? coro_done(co, (intptr_t)i) : coro__queue_get_slow(co, q, items, shape);
}

CORO_API int coro__queue_replace(coro_queue *q, const void *item, void *old, coro__shape shape)
{
    if (q->closed)
        return -EPIPE;
    if (q->depth && q->depth == shape.room) {
        coro__queue_remove(q, old, shape); /* those who wait to put have no more room than before */
        coro__queue_insert(q, item, shape);
        return 1;
    }
    return coro__queue_give(q, item, shape) ? 0 : -EAGAIN;
}

CORO_API int coro__queue_peek(coro_queue *q, void *item, coro__shape shape)
{
    if (q->depth)
        coro__copy(item, coro__queue_next(q, shape), shape.size);
    return q->depth ? 1 : q->closed ? 0 : -EAGAIN;
}

CORO_API void coro__queue_close(coro_queue *q)
{
    q->closed = true;
    coro__line_end_all(&q->putters, -EPIPE);
    coro__line_end_all(&q->getters, 0);
}

CORO_API int coro__queue_done(coro_queue *q)
{
    if (!q->unfinished)
        return -EINVAL;
    if (!--q->unfinished)
        coro__line_end_all(&q->joiners, 0);
    return 0;
}

CORO_API coro_op coro__queue_join(coro_task *co, coro_queue *q)
{
    static const coro_ops ops = {CORO__T("queue join"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!q->unfinished)
        return coro_done(co, 0);
    return coro_line_wait(co, &q->joiners, &ops, 0);
}

CORO_API int coro__queue_fini(coro_queue *q)
{
    int rc = coro__in_use(&q->getters, NULL, false); /* each tells who waits */
    rc |= coro__in_use(&q->putters, NULL, false);
    return rc | coro__in_use(&q->joiners, NULL, false);
}

/* --- ring ---------------------------------------------------------------------------------------
 * Two free-running counters, each written by one side: their difference is what is in it.
 */
CORO_API int coro__ring_put(coro_ring *r, const void *item, coro__shape shape)
{
    coro_irq_count at = r->put;
    if ((coro_irq_count)(at - CORO__LOAD(&r->got)) == shape.room) {
        r->rejected++;
        return -EAGAIN;
    }
    coro__copy(coro__slot(r, (coro_count)(at & (shape.room - 1)), shape), item, shape.size);
    CORO__STORE(&r->put, (coro_irq_count)(at + 1));
    coro_irq_raise(&r->bell);
    return 0;
}

CORO_API int coro__ring_get(coro_ring *r, void *item, coro__shape shape)
{
    coro_irq_count at = r->got;
    if (at == CORO__LOAD(&r->put))
        return 0;
    __asm__ volatile("" : : : "memory"); /* chips: the item is read after `put`, before `got` */
    coro__copy(item, coro__slot(r, (coro_count)(at & (shape.room - 1)), shape), shape.size);
    __asm__ volatile("" : : : "memory");
    CORO__STORE(&r->got, (coro_irq_count)(at + 1));
    return 1;
}

CORO_API coro_op coro__ring_wait(coro_task *co, coro_ring *r)
{
    if (coro_cancelled(co))
        return coro_refuse(co);
    coro_irq_forget(&r->bell); /* of items that have been got, nothing is to be heard any more */
    if (r->got != CORO__LOAD(&r->put))
        return coro_done(co, 1);
    return coro_irq_wait(co, &r->bell);
}

/* --- topic --------------------------------------------------------------------------------------
 * The word of a waiter: its coro_sub.
 */
static inline void coro__topic_copy(const coro_topic *t, coro_sub *sub, void *item,
                                    coro__shape shape)
{
    coro_total behind = t->sent - sub->next;
    coro_count at;
    sub->missed = behind > shape.room ? behind - shape.room : 0;
    sub->lost += sub->missed;
    sub->next += sub->missed + 1;
    behind -= sub->missed;
    at = coro__ring_index(t->at, (coro_count)(shape.room - behind), shape.room);
    coro__copy(item, coro__slot(t, at, shape) + shape.item, shape.size);
}

CORO_API int coro__topic_subscribe(coro_topic *t, coro_sub *sub)
{
    if (sub->subscribed)
        return -EBUSY;
    sub->subscribed = true;
    sub->next = t->sent;
    sub->missed = sub->lost = 0;
    t->subscribers++;
    return 0;
}

CORO_API void coro__topic_unsubscribe(coro_topic *t, coro_sub *sub)
{
    t->subscribers -= sub->subscribed;
    sub->subscribed = false;
}

CORO_API int coro__topic_publish(coro_topic *t, const void *item, coro__shape shape)
{
    coro_waiter w;
    if (t->closed)
        return -EPIPE;
    coro__copy(coro__slot(t, t->at, shape) + shape.item, item, shape.size);
    t->at = coro__ring_index(t->at, 1, shape.room);
    t->sent++;
    while (coro_line_first(&t->line, &w)) {
        coro_sub *sub = (coro_sub *)coro_waiter_word(w);
        coro__topic_copy(t, sub, w.chosen ? w.chosen->item : sub->item, shape);
        coro_line_end(&t->line, w, 1);
    }
    return (int)t->subscribers;
}

/* The next item, if there is one, or the end: true. */
static inline bool coro__topic_take(const coro_topic *t, coro_sub *sub, void *item,
                                    coro__shape shape, intptr_t *rc)
{
    *rc = !sub->subscribed ? -EINVAL : t->sent != sub->next;
    if (*rc == 1)
        coro__topic_copy(t, sub, item, shape);
    return *rc || t->closed;
}

CORO_API coro_op coro__topic_next(coro_task *co, coro_topic *t, coro_sub *sub, void *item,
                                  coro__shape shape)
{
    static const coro_ops ops = {CORO__T("topic"), coro_line_abort, NULL};
    intptr_t rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, item) || coro_is_local(co, sub))
        return coro_local();
    if (coro__topic_take(t, sub, item, shape, &rc))
        return coro_done(co, rc);
    sub->item = item;
    return coro_line_wait(co, &t->line, &ops, (intptr_t)sub);
}

CORO_API void coro__topic_close(coro_topic *t)
{
    t->closed = true;
    coro__line_end_all(&t->line, 0);
}

CORO_API int coro__topic_fini(coro_topic *t)
{
    return coro__in_use(&t->line, NULL, t->subscribers > 0);
}

/* --- select ----------------------------------------------------------------------------------- */

static inline bool coro__case_attempt_get(coro_case *c, coro_task *co)
{
    coro_queue *q = (coro_queue *)c->object;
    c->rc = 1;
    if (c->shape.order == CORO__FIFO && coro__queue_between(q, c->shape))
        coro__queue_take_first(q, (void *)c->word, c->shape); /* nobody waits */
    else
        c->rc = coro__line_foreign(&q->putters, co)
                    ? -EPERM : coro__queue_take(q, (void *)c->word, c->shape);
    return c->rc || q->closed;
}

CORO_API void coro__case_get(coro_case *c, coro_queue *q, void *item, coro__shape shape)
{
    coro_case_fill(c, coro__case_attempt_get, &q->getters, q, (intptr_t)item);
    c->shape = shape;
    c->item = item;
}

static inline bool coro__case_attempt_put(coro_case *c, coro_task *co)
{
    coro_queue *q = (coro_queue *)c->object;
    c->rc = q->closed ? -EPIPE : coro__line_foreign(&q->getters, co) ? -EPERM : 0;
    return c->rc || coro__queue_give(q, (const void *)c->word, c->shape);
}

CORO_API void coro__case_put(coro_case *c, coro_queue *q, const void *item, coro__shape shape)
{
    coro_case_fill(c, coro__case_attempt_put, &q->putters, q, (intptr_t)item);
    c->shape = shape;
    c->item = (void *)c->word;
}

static inline bool coro__case_attempt_event(coro_case *c, coro_task *co)
{
    c->rc = 0;
    return ((coro_event *)c->object)->set;
}

CORO_API void coro_case_event(coro_case *c, coro_event *e)
{
    coro_case_fill(c, coro__case_attempt_event, &e->line, e, 0);
}

static inline bool coro__case_attempt_promise(coro_case *c, coro_task *co)
{
    coro_promise *p = (coro_promise *)c->object;
    c->rc = p->value;
    return p->set;
}

CORO_API void coro_case_promise(coro_case *c, coro_promise *p)
{
    coro_case_fill(c, coro__case_attempt_promise, &p->line, p, 0);
}

static inline bool coro__case_attempt_mutex(coro_case *c, coro_task *co)
{
    c->rc = coro_mutex_try_lock(co, (coro_mutex *)c->object);
    return c->rc != -EAGAIN;
}

CORO_API void coro_case_mutex(coro_case *c, coro_mutex *m)
{
    coro_case_fill(c, coro__case_attempt_mutex, &m->line, m, 0);
}

static inline bool coro__case_attempt_sem(coro_case *c, coro_task *co)
{
    c->rc = coro_sem_try_acquire((coro_sem *)c->object);
    return c->rc != -EAGAIN;
}

CORO_API void coro_case_sem(coro_case *c, coro_sem *s)
{
    coro_case_fill(c, coro__case_attempt_sem, &s->line, s, 1);
}

static inline bool coro__case_attempt_topic(coro_case *c, coro_task *co)
{
    coro_topic *t = (coro_topic *)c->object;
    return coro__topic_take(t, (coro_sub *)c->word, c->item, c->shape, &c->rc);
}

CORO_API void coro__case_topic(coro_case *c, coro_topic *t, coro_sub *sub, void *item,
                               coro__shape shape)
{
    coro_case_fill(c, coro__case_attempt_topic, &t->line, t, (intptr_t)sub);
    c->shape = shape;
    c->item = item;
}

static inline coro_abort coro__select_abort(coro_task *task, coro_waitq *queue)
{
    coro__cases_unpark((coro_case *)coro_word(task));
    return CORO_ABORT_DONE;
}

/* A random number less than n, n >= 1: the product makes the first ones of small seeds large. */
static inline uint64_t coro__random_below(uint32_t *seed, uint64_t n)
{
    uint32_t r;
    *seed += !*seed;
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    r = *seed * 0x9e3779b1u;
    return (n >> 32) * r + (((n & 0xffffffffu) * r) >> 32);
}

/* Which case to try i-th, by chance: their indices are shuffled as far as they are needed. */
static inline int coro__case_drawn(coro_case *cases, int n, int i, uint32_t *seed)
{
    int j = i + (int)coro__random_below(seed, (unsigned)(n - i)), at = cases[j].index;
    cases[j].index = cases[i].index;
    cases[i].index = at;
    return at;
}

CORO_API coro_op coro_select_random(coro_task *co, coro_case *cases, int n, uint32_t *seed)
{
    static const coro_ops ops = {CORO__T("select"), coro__select_abort, NULL};
    int i, on = 0;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, cases))
        return coro_local();
    for (i = 0; seed && i < n; i++)
        cases[i].index = i;
    for (i = 0; i < n; i++) {
        int at = seed ? coro__case_drawn(cases, n, i, seed) : i;
        const coro_case *c = &cases[at];
        if (!c->attempt)
            continue;
        if (c->item && /* else the word is the user's, and may be any number */
            (coro_is_local(co, (const void *)c->word) || coro_is_local(co, c->item)))
            return coro_local();
        if (c->attempt(&cases[at], co))
            return coro_done(co, at);
        if (coro__line_foreign(cases[at].line, co))
            return coro_done(co, -EPERM);
        on++;
    }
    if (!on)
        return coro_done(co, -EINVAL);
    cases->count = n;
    for (i = 0; i < n; i++) {
        cases[i].index = i;
        cases[i].task = co;
        if (cases[i].attempt)
            coro__case_park(&cases[i]);
    }
    return coro_suspend(co, &cases->selecting, &ops, (intptr_t)cases);
}

/* --- retry ------------------------------------------------------------------------------------ */

CORO_API bool coro_is_transient(int rc)
{
    static const int errors[] = {
        EAGAIN, EBUSY, ETIMEDOUT, EPIPE, ECONNABORTED, EHOSTDOWN,
#if CORO_HOSTED
        EINTR, ECONNREFUSED, ECONNRESET, ENETDOWN, ENETUNREACH, EHOSTUNREACH, ENETRESET, ENOBUFS,
        EMFILE, ENFILE,
#endif /* CORO_HOSTED */
    };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (rc == -errors[i])
            return true;
    return false;
}

/* Its time has come, or a limit of the user's; or it is cancelled. */
static inline coro_abort coro__backoff_abort(coro_task *task, coro_waitq *queue)
{
    coro_backoff *b = CORO__AROUND(coro_backoff, sleeping, queue);
    if (coro_cancelled(task) || coro_time_before(coro_loop_now(coro_loop_of(task)), b->until))
        return CORO_ABORT_DONE;
    (void)coro_complete(task, 1);
    return CORO_ABORT_LATER;
}

/* How long to wait after try number b->tried. */
static inline coro_time coro__backoff_time(coro_backoff *b, coro_time now)
{
    coro_time cap = b->cap > 0 ? b->cap : CORO_S(10);
    coro_time d = b->base > 0 ? b->base : CORO_MS(100);
    for (int i = 1; i < b->tried && d < cap; i++)
        d = d > CORO_FOREVER / 2 ? cap : d * 2;
    d = d < cap ? d : cap;
    if (b->exact)
        return d;
    if (!b->seed)
        b->seed = (uint32_t)(uintptr_t)b ^ (uint32_t)now ^ (uint32_t)(now >> 16 >> 16);
    return (coro_time)coro__random_below(&b->seed, (uint64_t)d);
}

CORO_API coro_op coro_backoff_wait(coro_task *co, coro_backoff *b, int rc)
{
    static const coro_ops ops = {CORO__T("backoff"), coro__backoff_abort, NULL};
    coro_op op;
    coro_time now, d;
    if (rc >= 0) {
        b->tried = 0;
        return coro_done(co, 0);
    }
    if (coro_cancelled(co))
        return coro_refuse(co);
    b->tried++;
    if (rc == -ECANCELED || !(b->transient ? b->transient : coro_is_transient)(rc) ||
        (b->tries >= 0 && b->tried >= (b->tries ? b->tries : 5)))
        return coro_done(co, rc);
    now = coro_now(co);
    d = coro__backoff_time(b, now);
    b->until = coro_time_after(now, d);
    if (coro_deadline(co) != CORO_FOREVER && !coro_time_before(b->until, coro_deadline(co)))
        return coro_done(co, rc);
    b->waited = coro_time_after(b->waited, d);
    op = coro_suspend(co, &b->sleeping, &ops, 0);
    coro_alarm(co, b->until);
    return op;
}

/* --- rate limit ---------------------------------------------------------------------------------
 * Tokens are time: the bucket holds what has gone by since `empty`. Only the first who waits has an
 * alarm. The word of a waiter: how many tokens it wants.
 */
static inline coro_time coro__rate_cost(const coro_rate *r, uint32_t n)
{
    uint64_t cost = (uint64_t)(((uint32_t)CORO_TICKS_PER_S - 1) / r->rate + 1) * n;
    return cost < CORO_FOREVER / 2 ? (coro_time)cost : CORO_FOREVER / 2; /* what sums can hold */
}

static inline uint32_t coro__rate_burst(const coro_rate *r)
{
    return r->burst ? r->burst : 1;
}

static inline bool coro__rate_try(coro_rate *r, uint32_t n, coro_time now)
{
    coro_time full = coro__rate_cost(r, coro__rate_burst(r));
    coro_time since = coro_time_since(now, r->empty);
    if (!r->begun || since < 0 || since > full) /* less than 0: ticks of 32 bits have wrapped */
        r->empty = coro_time_since(now, full);
    r->begun = true;
    if (coro_time_since(now, r->empty) < coro__rate_cost(r, n))
        return false;
    r->empty = coro_time_after(r->empty, coro__rate_cost(r, n));
    return true;
}

/* When there will be enough for the one who is first. */
static inline void coro__rate_alarm(const coro_rate *r, coro_task *task)
{
    coro_alarm(task, coro_time_after(r->empty, coro__rate_cost(r, (uint32_t)coro_word(task))));
}

static inline void coro__rate_grant(coro_rate *r, coro_time now)
{
    coro_waiter w;
    while (coro_line_first(&r->line, &w)) {
        uint32_t n = (uint32_t)coro_word(w.task);
        bool never = n > coro__rate_burst(r); /* it came down: there will never be so many */
        if (!never && !coro__rate_try(r, n, now)) {
            coro__rate_alarm(r, w.task);
            break;
        }
        coro_line_end(&r->line, w, never ? -EINVAL : 0);
    }
}

static inline void coro__rate_gone(coro_task *task, coro_waitq *queue)
{
    coro__rate_grant(CORO__AROUND(coro_rate, line.tasks, queue), coro_loop_now(coro_loop_of(task)));
}

/* The first one's time has come; or a limit of the user's; or it is cancelled. */
static inline coro_abort coro__rate_abort(coro_task *task, coro_waitq *queue)
{
    coro_rate *r = CORO__AROUND(coro_rate, line.tasks, queue);
    coro_time now = coro_loop_now(coro_loop_of(task));
    if (coro_cancelled(task) || queue->head != task ||
        coro_time_since(now, r->empty) < coro__rate_cost(r, (uint32_t)coro_word(task)))
        return coro_line_abort(task, queue);
    coro__rate_grant(r, now);
    return CORO_ABORT_LATER;
}

CORO_API int coro_rate_try_take(coro_task *co, coro_rate *r, uint32_t n)
{
    if (!r->rate || n > coro__rate_burst(r))
        return -EINVAL;
    return coro__line_empty(&r->line) && coro__rate_try(r, n, coro_now(co)) ? 0 : -EAGAIN;
}

CORO_API coro_op coro_rate_take(coro_task *co, coro_rate *r, uint32_t n)
{
    static const coro_ops ops = {CORO__T("rate limit"), coro__rate_abort, coro__rate_gone};
    coro_op op;
    int rc;
    if (coro_cancelled(co))
        return coro_refuse(co);
    rc = coro_rate_try_take(co, r, n);
    if (rc != -EAGAIN)
        return coro_done(co, rc);
    op = coro_line_wait(co, &r->line, &ops, (intptr_t)n);
    if (r->line.tasks.head == co)
        coro__rate_alarm(r, co);
    return op;
}

/* Has it been so long? What ticks of 32 bits cannot say any more was. */
static inline bool coro__elapsed(coro_time now, coro_time then, coro_time d)
{
    coro_time since = coro_time_since(now, then);
    return since < 0 || since >= d;
}

/* --- circuit breaker -------------------------------------------------------------------------- */

CORO_API coro_breaker_is coro_breaker_state(coro_task *co, const coro_breaker *b)
{
    coro_time cooling = b->cooling > 0 ? b->cooling : CORO_S(30);
    return b->state == CORO_BREAKER_OPEN && coro__elapsed(coro_now(co), b->opened, cooling)
               ? CORO_BREAKER_HALF_OPEN
               : b->state;
}

CORO_API int coro_breaker_enter(coro_task *co, coro_breaker *b)
{
    coro_breaker_is state = coro_breaker_state(co, b);
    b->loop = coro_loop_of(co);
    if (state != b->state) {
        b->state = state;
        b->probing = b->good = 0;
    }
    if (state == CORO_BREAKER_CLOSED)
        return 0;
    if (state == CORO_BREAKER_OPEN || b->probing + b->good >= (b->probes > 0 ? b->probes : 1)) {
        b->rejected++;
        return -EHOSTDOWN;
    }
    b->probing++;
    return 0;
}

static inline void coro__breaker_open(coro_breaker *b)
{
    b->state = CORO_BREAKER_OPEN;
    b->opened = coro_loop_now(b->loop);
    b->opened_times++;
    b->failed = 0;
}

CORO_API void coro_breaker_leave(coro_breaker *b, int rc)
{
    bool failure = b->loop && rc < 0 && rc != -ECANCELED && (!b->failure || b->failure(rc));
    if (b->state == CORO_BREAKER_CLOSED) {
        if (!failure)
            b->failed = rc == -ECANCELED ? b->failed : 0;
        else if (++b->failed >= (b->failures > 0 ? b->failures : 5))
            coro__breaker_open(b);
    } else if (b->state == CORO_BREAKER_HALF_OPEN && b->probing) {
        b->probing--;
        if (failure)
            coro__breaker_open(b);
        else if (rc != -ECANCELED && ++b->good >= (b->probes > 0 ? b->probes : 1))
            b->state = CORO_BREAKER_CLOSED;
    } /* else: of a call that began before it opened */
}

/* --- resource pool ------------------------------------------------------------------------------
 *
 *              acquire: fresh                release, healthy
 *     free ------------------> out -----------------------------> idle
 *       ^                     |  ^          acquire: reused         |
 *       `---------------------'  `---------------------------------'
 *          release, broken             coro_pool_idle: too old
 *
 * Idle ones are a stack. The word of a waiter: where the pointer goes.
 */
enum { CORO__POOL_FREE, CORO__POOL_OUT, CORO__POOL_IDLE };

static inline coro__pool_slot *coro__pool_slot_at(const coro_pool *p, coro_count i,
                                                  coro__shape shape)
{
    return (coro__pool_slot *)(void *)coro__slot(p, i, shape);
}

/* Where nothing has a limit, nobody asks for the time. */
static inline coro_time coro__pool_now(const coro_pool *p)
{
    return p->idle_limit || p->age_limit ? coro_loop_now(p->loop) : 0;
}

static inline bool coro__pool_expired(const coro_pool *p, const coro__pool_slot *slot,
                                      coro_time now)
{
    return (p->idle_limit && coro__elapsed(now, slot->since, p->idle_limit)) ||
           (p->age_limit && coro__elapsed(now, slot->born, p->age_limit));
}

/* The idle slot to take, + 1: the newest one that is not expired; or, for the reaper, the oldest
 * that is. *link is what points to it. 0: none. */
static inline coro_count coro__pool_find(coro_pool *p, bool expired, coro_count **link,
                                         coro__shape shape)
{
    coro_time now = coro__pool_now(p);
    coro_count *at = &p->newest, found = 0;
    for (; *at; at = &coro__pool_slot_at(p, (coro_count)(*at - 1), shape)->next) {
        if ((coro__pool_expired(p, coro__pool_slot_at(p, (coro_count)(*at - 1), shape), now) ||
             (expired && p->closed)) != expired)
            continue;
        found = *at;
        *link = at;
        if (!expired)
            break;
    }
    return found;
}

static inline void coro__pool_out(coro_pool *p, coro_count i, void *item, coro__shape shape)
{
    coro__pool_slot *slot = coro__pool_slot_at(p, i, shape);
    void *at = (char *)slot + shape.item;
    slot->state = CORO__POOL_OUT;
    if (++p->out > p->most)
        p->most = p->out;
    CORO_MEMCPY(item, &at, sizeof at);
}

static inline void coro__pool_reuse(coro_pool *p, coro_count *link, void *item, coro__shape shape)
{
    coro_count i = (coro_count)(*link - 1);
    *link = coro__pool_slot_at(p, i, shape)->next;
    p->idle--;
    coro__pool_out(p, i, item, shape);
}

/* Hand one out, if there is one: 0 or 1, else -EAGAIN. */
static inline int coro__pool_take(coro_pool *p, void *item, coro__shape shape)
{
    coro_count limit = p->limit && p->limit < shape.room ? p->limit : (coro_count)shape.room;
    coro_count i = 0, *link = &p->newest;
    bool room = p->out + p->idle < limit;
    if (p->out >= limit)
        return -EAGAIN;
    if (!coro__pool_find(p, false, &link, shape) && room) {
        while (coro__pool_slot_at(p, i, shape)->state != CORO__POOL_FREE)
            i++;
        coro__pool_slot_at(p, i, shape)->born = coro__pool_now(p);
        coro__pool_out(p, i, item, shape);
        p->fresh++;
        return 1;
    }
    coro__pool_reuse(p, link, item, shape); /* if all are too old, and it is full: the newest */
    p->reused++;
    return 0;
}

CORO_API coro_op coro__pool_acquire(coro_task *co, coro_pool *p, void *item, coro__shape shape)
{
    static const coro_ops ops = {CORO__T("pool"), coro_line_abort, NULL};
    int rc = -EAGAIN;
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (coro_is_local(co, item))
        return coro_local();
    if (p->closed)
        return coro_done(co, -ESHUTDOWN);
    p->loop = coro_loop_of(co);
    if (coro__line_empty(&p->line))
        rc = coro__pool_take(p, item, shape);
    if (rc != -EAGAIN)
        return coro_done(co, rc);
    return coro_line_wait(co, &p->line, &ops, (intptr_t)item);
}

CORO_API int coro__pool_release(coro_pool *p, void *item, bool healthy, coro__shape shape)
{
    size_t at = (size_t)((char *)item - coro__slot(p, 0, shape)) - shape.item;
    coro_count i = (coro_count)(at / coro__stride(shape));
    coro__pool_slot *slot;
    coro_waiter w;
    if (!item)
        return 0;
    if (at % coro__stride(shape) || at / coro__stride(shape) >= shape.room)
        return -EINVAL;
    slot = coro__pool_slot_at(p, i, shape);
    if (slot->state != CORO__POOL_OUT)
        return -EPERM;
    p->out--;
    if (healthy) {
        slot->state = CORO__POOL_IDLE;
        slot->since = coro__pool_now(p);
        slot->next = p->newest;
        p->newest = (coro_count)(i + 1);
        p->idle++;
    } else {
        slot->state = CORO__POOL_FREE;
        p->broken++;
    }
    while (coro_line_first(&p->line, &w)) { /* more than one, if the limit was raised */
        int rc = coro__pool_take(p, (void *)coro_word(w.task), shape);
        if (rc == -EAGAIN)
            break;
        coro_line_end(&p->line, w, rc);
    }
    if (!p->out)
        coro__line_end_all(&p->drainers, 0);
    return 0;
}

CORO_API int coro__pool_idle(coro_task *co, coro_pool *p, void *item, coro__shape shape)
{
    coro_count *link;
    p->loop = coro_loop_of(co);
    if (!coro__pool_find(p, true, &link, shape))
        return 0;
    coro__pool_reuse(p, link, item, shape);
    return 1;
}

CORO_API void coro__pool_close(coro_pool *p)
{
    p->closed = true;
    coro__line_end_all(&p->line, -ESHUTDOWN);
}

CORO_API coro_op coro__pool_drain(coro_task *co, coro_pool *p)
{
    static const coro_ops ops = {CORO__T("pool drain"), coro_line_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (!p->out)
        return coro_done(co, 0);
    return coro_line_wait(co, &p->drainers, &ops, 0);
}

CORO_API int coro__pool_fini(coro_pool *p)
{
    return coro__in_use(&p->line, NULL, p->out || p->idle) |
           coro__in_use(&p->drainers, NULL, false);
}

#pragma GCC diagnostic pop
#endif /* !defined CORO_SHARED || defined CORO_IMPLEMENTATION */
#endif /* !defined CORO_SYNC_H */
