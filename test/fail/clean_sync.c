// Everything of coro_sync.h, with all warnings.
//
// clean
// with: -O0..3
// with: -O2 -DCORO_CHECK=1
// with: -O2 -DCORO_DEBUG=1
// with: -O2 -DCORO_SHARED -DCORO_IMPLEMENTATION
#include "coro_sync.h"

struct job {
    int id;
    short urgency;
    unsigned char class_;
};
typedef CORO_QUEUE(struct job, 4) job_queue;
typedef CORO_QUEUE(int *, 0) hand_over;
typedef CORO_LIFO(double, 3) stack;
typedef CORO_PRIORITY_QUEUE(struct job, 5, urgency) agenda;
typedef CORO_PRIORITY_QUEUE(struct job, 5, class_) agenda_by_class;
typedef CORO_RING(char, 16) uart;
typedef CORO_TOPIC(struct job, 1) news;
typedef CORO_POOL(struct job, 2) pool;

struct f {
    CORO_FRAME;
    job_queue q;
    hand_over h;
    stack s;
    agenda a;
    agenda_by_class b;
    uart u;
    news n;
    pool p;
    coro_sub sub;
    struct job job, jobs[3], *conn;
    double d;
    int number, *pointer;
    char c;
    bool got;
    size_t count;
    uint32_t seed;
    coro_event e;
    coro_promise promise;
    coro_once once;
    coro_mutex m;
    coro_cond changed;
    coro_rwlock rw;
    coro_sem sem;
    coro_barrier barrier;
    coro_backoff backoff;
    coro_rate rate;
    coro_breaker breaker;
    coro_case cases[7];
};
CORO(f)
{
    const struct job *constant = &my->job;
    CORO_BEGIN();
    constant = &my->job;
    CORO_TRY(coro_queue_put(co, &my->q, constant));
    CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->job));
    CORO_TRY(coro_queue_put(co, &my->q, &my->job));
    CORO_TRY(my->count, coro_queue_get_many(co, &my->q, my->jobs, 3));
    my->number = coro_queue_try_put(&my->q, &my->job);
    (void)coro_queue_peek(&my->q, &my->job);
    (void)coro_queue_replace(&my->q, &my->job, &my->jobs[0]);
    my->number = coro_queue_try_get(&my->q, &my->job);
    coro_queue_done(&my->q);
    CORO_AWAIT(my->number, coro_within(co, 0, coro_queue_join(co, &my->q)));
    my->pointer = &my->number;
    my->number = coro_queue_try_put(&my->h, &my->pointer);
    CORO_TRY(coro_queue_put(co, &my->s, &my->d));
    CORO_TRY(coro_queue_put(co, &my->a, &my->job));
    CORO_TRY(coro_queue_put(co, &my->b, &my->job));
    (void)coro_ring_put(&my->u, &my->c);
    CORO_TRY(coro_ring_wait(co, &my->u));
    (void)coro_ring_get(&my->u, &my->c);
    (void)coro_topic_subscribe(&my->n, &my->sub);
    (void)coro_topic_publish(&my->n, &my->job);
    CORO_TRY(my->got, coro_topic_next(co, &my->n, &my->sub, &my->job));
    coro_topic_unsubscribe(&my->n, &my->sub);
    coro_topic_close(&my->n);
    CORO_TRY(my->number, coro_pool_acquire(co, &my->p, &my->conn));
    coro_pool_release(&my->p, my->conn, true);
    while (coro_pool_idle(co, &my->p, &my->conn))
        coro_pool_release(&my->p, my->conn, false);
    CORO_TRY(coro_pool_drain(co, &my->p));
    coro_pool_close(&my->p);
    coro_event_set(&my->e);
    CORO_TRY(coro_event_wait(co, &my->e));
    coro_promise_set(&my->promise, 1);
    CORO_TRY(my->number, coro_promise_get(co, &my->promise));
    CORO_TRY(my->got, coro_once_enter(co, &my->once));
    coro_once_leave(co, &my->once, 0);
    CORO_TRY(coro_mutex_lock(co, &my->m));
    CORO_AWAIT(my->number, coro_within(co, 0, coro_cond_wait(co, &my->changed, &my->m)));
    coro_cond_signal(&my->changed);
    coro_mutex_unlock(co, &my->m);
    CORO_TRY(coro_rwlock_write_lock(co, &my->rw));
    coro_rwlock_downgrade(co, &my->rw);
    coro_rwlock_read_unlock(&my->rw);
    CORO_TRY(coro_sem_init(&my->sem, 2, 2));
    CORO_TRY(coro_sem_acquire(co, &my->sem));
    coro_sem_release(&my->sem);
    CORO_TRY(coro_barrier_init(&my->barrier, 1));
    CORO_TRY(my->number, coro_barrier_wait(co, &my->barrier));
    coro_case_event(&my->cases[0], &my->e);
    coro_case_get(&my->cases[1], &my->q, &my->job);
    coro_case_put(&my->cases[2], &my->q, constant);
    coro_case_promise(&my->cases[3], &my->promise);
    coro_case_mutex(&my->cases[4], &my->m);
    coro_case_sem(&my->cases[5], &my->sem);
    coro_case_topic(&my->cases[6], &my->n, &my->sub, &my->job);
    CORO_TRY(my->number, coro_select(co, my->cases, 7));
    my->seed = 1;
    CORO_TRY(my->number, coro_select_random(co, my->cases, 7, &my->seed));
    CORO_TRY(my->number, coro_backoff_wait(co, &my->backoff, 0));
    my->rate.rate = 10;
    CORO_TRY(coro_rate_take(co, &my->rate, 1));
    CORO_TRY(coro_breaker_enter(co, &my->breaker));
    coro_breaker_leave(&my->breaker, 0);
    coro_queue_close(&my->q);
    CORO_END(0);
}

int main(void)
{
    return coro_run(f) < 0;
}
