/* sync_test.c -- what a chip adds to the tests of coro_sync.h: rings filled by real interrupts,
 * 16-bit ints and counts, 8-bit rings, addresses that nothing aligns, ticks that wrap.
 */
#include "board.h"

#include "coro_sync.h"

#include "chip.h"

/* The whole does not fit into the flash of the ATmega328P: the tests of one part; 0: all. */
#ifndef SYNC_PART
#define SYNC_PART 0
#endif /* !SYNC_PART */
#define PART(n) (SYNC_PART == 0 || SYNC_PART == (n))

/* Two errors of the same value do not compile here. */
CORO__UNUSED static bool all_errors_are_different(int e)
{
    switch (e) {
    case EPERM: case EAGAIN: case EBUSY: case EINVAL: case EPIPE: case EDEADLK: case ESHUTDOWN:
    case ETIMEDOUT: case EALREADY: case ECANCELED: case EOVERFLOW: case ECONNABORTED:
    case EHOSTDOWN: case EOWNERDEAD:
        return true;
    default:
        return false;
    }
}

/* ---- queues -------------------------------------------------------------------------------- */

typedef CORO_QUEUE(int, 0) meeting;
typedef CORO_QUEUE(int, 2) pair;

struct giver {
    CORO_FRAME;
    meeting *q;
    int item;
};

CORO(giver)
{
    CORO_BEGIN();
    for (my->item = 1; my->item <= 3; my->item++) {
        CORO_TRY(coro_queue_put(co, my->q, &my->item));
        mark('p');
    }
    CORO_END(0);
}

struct rendezvous {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(giver) t;
    meeting q;
    int i, got, item;
};

CORO(rendezvous)
{
    CORO_BEGIN();
    CHECK_EQ(coro_queue_capacity(&my->q), 0);
    CHECK_EQ(coro_queue_try_put(&my->q, &my->item), -EAGAIN);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, giver, .q = &my->q);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->got, coro_queue_get(co, &my->q, &my->item));
        CHECK_EQ(my->got, 1);
        mark((char)('0' + my->item));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_queue_fini(&my->q), 0);
    CORO_END(0);
}

struct taker {
    CORO_FRAME;
    pair *q;
    int got, item;
};

CORO(taker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->item));
        if (!my->got)
            break;
        mark((char)('0' + my->item));
        CHECK_EQ(coro_queue_done(my->q), 0);
    }
    mark('e');
    CORO_END(0);
}

struct backlog {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(taker) t;
    pair q;
    int item;
};

CORO(backlog)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, taker, .q = &my->q);
    for (my->item = 1; my->item <= 5; my->item++) {
        if (my->item == 3)
            CHECK_EQ(coro_queue_try_put(&my->q, &my->item), -EAGAIN);
        CORO_TRY(coro_queue_put(co, &my->q, &my->item));
        mark('p');
    }
    CORO_TRY(coro_queue_join(co, &my->q));
    CHECK_TRACE("pp123ppp45");
    CHECK_EQ(my->q.head.most, 2);
    CHECK_EQ(my->q.head.rejected, 1);
CORO_FINALLY:
    coro_queue_close(&my->q);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_queue_try_put(&my->q, &my->item), -EPIPE);
    CHECK_EQ(coro_queue_fini(&my->q), 0);
    CORO_END(0);
}

/* ---- priorities ---------------------------------------------------------------------------- */

struct job {
    char name;
    int8_t urgency;
};

struct date {
    char name;
    uint16_t when; /* on AVR at an odd offset */
};

struct priorities {
    CORO_FRAME;
    CORO_PRIORITY_QUEUE(struct job, 5, urgency) jobs;
    CORO_PRIORITY_QUEUE(struct date, 3, when) dates;
    struct job job;
    struct date date;
    uint8_t i;
};

CORO(priorities)
{
    static const int8_t urgencies[] = {3, -2, 3, -2, 0};
    static const uint16_t whens[] = {40000, 7, 255};
    CORO_BEGIN();
    my->jobs.head.first = (coro_count)-1; /* the numbers that keep the order of equals wrap */
    for (my->i = 0; my->i < 5; my->i++) {
        my->job.name = (char)('a' + my->i);
        my->job.urgency = urgencies[my->i];
        CORO_TRY(coro_queue_put(co, &my->jobs, &my->job));
    }
    while (coro_queue_try_get(&my->jobs, &my->job) == 1)
        mark(my->job.name);
    CHECK_TRACE("bdeac");
    for (my->i = 0; my->i < 3; my->i++) {
        my->date.name = (char)('x' + my->i);
        my->date.when = whens[my->i];
        CORO_TRY(coro_queue_put(co, &my->dates, &my->date));
    }
    while (coro_queue_try_get(&my->dates, &my->date) == 1)
        mark(my->date.name);
    CHECK_TRACE("bdeacyzx");
    CORO_END(0);
}

/* ---- rings --------------------------------------------------------------------------------- */

static CORO_RING(uint16_t, 8) uart;
static uint16_t sent, to_send, pause; /* pause: counts between two */

/* An interrupt, which brings on the next one. */
static void receive(void)
{
    (void)coro_ring_put(&uart, &sent);
    if (++sent < to_send)
        board_alarm((uint16_t)(pause + sent), receive); /* at ever other places of the program */
}

static void begin_stream(uint16_t from, uint16_t to, uint16_t counts)
{
    __builtin_memset(&uart, 0, sizeof uart);
    sent = from;
    to_send = to;
    pause = counts;
    board_alarm(counts, receive);
}

struct stream {
    CORO_FRAME;
    uint16_t item, n;
};

CORO(stream)
{
    CORO_BEGIN();
    begin_stream(0, 300, 5000); /* more than an 8-bit counter counts */
    while (my->n < 300) {
        CORO_TRY(coro_ring_wait(co, &uart));
        while (coro_ring_get(&uart, &my->item)) {
            CHECK_EQ(my->item, my->n);
            my->n++;
        }
    }
    CHECK(board_alarmed());
    CHECK_EQ(uart.head.rejected, 0);
    CORO_END(0);
}

struct flood {
    CORO_FRAME;
    uint16_t item, n, lost;
    bool over;
};

CORO(flood)
{
    CORO_BEGIN();
    begin_stream(0, 250, 600);
    while (!my->over) {
        CORO_TRY(coro_sleep(co, CORO_MS(2)));
        my->over = board_alarmed();
        while (coro_ring_get(&uart, &my->item)) {
            CHECK(my->item >= my->n + my->lost);
            my->lost = (uint16_t)(my->item - my->n);
            my->n++;
        }
    }
    CHECK(my->lost > 20); /* more come in two milliseconds than there is room for */
    CHECK_EQ(uart.head.rejected, 250 - my->n);
    CORO_END(0);
}

/* The interrupt comes everywhere between the call of coro_ring_wait and the sleep, without a tick
 * that would end that. */
struct flow_sweep {
    CORO_FRAME;
    uint16_t at, item, n;
};

CORO(flow_sweep)
{
    CORO_BEGIN();
    board_ticks(false);
    for (my->at = BOARD_SWEEP_FROM; my->at < BOARD_SWEEP_TO; my->at += 5) {
        begin_stream(my->n, (uint16_t)(my->n + 1), my->at);
        do
            CORO_TRY(coro_ring_wait(co, &uart));
        while (!coro_ring_get(&uart, &my->item));
        CHECK_EQ(my->item, my->n);
        my->n++;
    }
CORO_FINALLY:
    board_ticks(true);
    CORO_END(0);
}

struct big_ring {
    CORO_FRAME;
    CORO_RING(uint8_t, 128) ring; /* the largest on AVR */
    int rc;
    uint8_t i, item;
};

CORO(big_ring)
{
    CORO_BEGIN();
    my->ring.head.put = my->ring.head.got = (coro_irq_count)-100;
    for (my->i = 0; my->i < 128; my->i++)
        CHECK_EQ(coro_ring_put(&my->ring, &my->i), 0);
    CHECK_EQ(coro_ring_put(&my->ring, &my->i), -EAGAIN);
    for (my->i = 0; my->i < 128; my->i++) {
        CORO_TRY(coro_ring_wait(co, &my->ring));
        CHECK_EQ(coro_ring_get(&my->ring, &my->item), 1);
        CHECK_EQ(my->item, my->i);
    }
    CHECK_EQ(coro_ring_get(&my->ring, &my->item), 0);
    CHECK_EQ(my->ring.head.rejected, 1);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(2), coro_ring_wait(co, &my->ring)));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* it does not end for items that were got long ago */
    CORO_END(0);
}

/* ---- mutex and condition ------------------------------------------------------------------- */

struct pot {
    coro_mutex lock;
    coro_cond changed;
    uint8_t full;
};

struct eater {
    CORO_FRAME;
    struct pot *pot;
    char name;
};

CORO(eater)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->pot->lock));
    while (!my->pot->full)
        CORO_TRY(coro_cond_wait(co, &my->pot->changed, &my->pot->lock));
    my->pot->full--;
    mark(my->name);
CORO_FINALLY:
    coro_mutex_unlock(co, &my->pot->lock);
    CORO_END(0);
}

struct cook {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(eater) t[3];
    struct pot pot;
    int rc;
};

CORO(cook)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], eater, .pot = &my->pot, .name = 'a');
    coro_start(&my->g, &my->t[1], eater, .pot = &my->pot, .name = 'b');
    coro_start(&my->g, &my->t[2], eater, .pot = &my->pot, .name = 'c');
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_cond_signal(&my->pot.changed), -EPERM);
    CORO_TRY(coro_mutex_lock(co, &my->pot.lock));
    my->pot.full = 1;
    CHECK_EQ(coro_cond_signal(&my->pot.changed), 1);
    mark('1');
    CHECK_EQ(coro_mutex_unlock(co, &my->pot.lock), 0);
    CORO_TRY(coro_mutex_lock(co, &my->pot.lock)); /* it has been handed to the eater */
    my->pot.full = 2;
    CHECK_EQ(coro_cond_broadcast(&my->pot.changed), 2);
    mark('2');
    CHECK_EQ(coro_mutex_unlock(co, &my->pot.lock), 0);
    CHECK_EQ(coro_mutex_unlock(co, &my->pot.lock), -EPERM);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_TRY(coro_mutex_lock(co, &my->pot.lock));
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(2),
                                   coro_cond_wait(co, &my->pot.changed, &my->pot.lock)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(coro_mutex_unlock(co, &my->pot.lock), 0); /* it had it again */
    CHECK_EQ(coro_cond_fini(&my->pot.changed), 0);
    CHECK_EQ(coro_mutex_fini(&my->pot.lock), 0);
    CORO_END(0);
}

/* An owner that ends without unlocking two of three. */
struct deserter {
    CORO_FRAME;
    coro_mutex *locks;
};

CORO(deserter)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->locks[0]));
    CORO_TRY(coro_mutex_lock(co, &my->locks[1]));
    CORO_TRY(coro_mutex_lock(co, &my->locks[2]));
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_mutex_unlock(co, &my->locks[1]), 0); /* with somebody who joins behind */
    CORO_END(5);
}

struct heir {
    CORO_FRAME;
    coro_mutex *lock;
    int rc, want;
};

CORO(heir)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_mutex_lock(co, my->lock));
    CHECK_EQ(my->rc, my->want);
    mark(my->rc ? 'd' : 'l');
    CHECK_EQ(coro_mutex_unlock(co, my->lock), my->want ? -EPERM : 0);
    CORO_END(0);
}

struct desertion {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(deserter) t;
    CORO_TASK(heir) heirs[3];
    coro_mutex locks[3];
    int rc;
};

CORO(desertion)
{
    CORO_BEGIN();
    /* A task's joiner may be a note: that takes a bit that neither's address has. */
    CHECK(!(((uintptr_t)&my->locks[0].note | (uintptr_t)&my->locks[1].note) & CORO__NOTE));
    CHECK(!(((uintptr_t)&my->t | (uintptr_t)co) & CORO__NOTE));
#if defined __AVR__
    CHECK(RAMEND < CORO__NOTE);
    CHECK(((uintptr_t)&my->locks[0].note ^ (uintptr_t)&my->locks[1].note) & 1);
#endif /* defined __AVR__ */
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, deserter, .locks = my->locks);
    coro_start(&my->g, &my->heirs[0], heir, .lock = &my->locks[0], .want = -EOWNERDEAD);
    coro_start(&my->g, &my->heirs[1], heir, .lock = &my->locks[1]);
    coro_start(&my->g, &my->heirs[2], heir, .lock = &my->locks[2], .want = -EOWNERDEAD);
    CORO_TRY(my->rc, coro_join(co, &my->t));
    CHECK_EQ(my->rc, 5);
    CORO_TRY(coro_group_close(co, &my->g, 0));
    CHECK_TRACE("ldd");
    CHECK_EQ(coro_mutex_try_lock(co, &my->locks[0]), -EOWNERDEAD);
    CHECK_EQ(coro_mutex_repair(&my->locks[0]), 0);
    CHECK_EQ(coro_mutex_repair(&my->locks[0]), -EINVAL);
    CHECK_EQ(coro_mutex_try_lock(co, &my->locks[0]), 0);
    CHECK_EQ(coro_mutex_try_lock(co, &my->locks[0]), -EDEADLK);
    CHECK_EQ(coro_mutex_unlock(co, &my->locks[0]), 0);
    CHECK_EQ(coro_mutex_try_lock(co, &my->locks[1]), 0);
    CHECK_EQ(coro_mutex_unlock(co, &my->locks[1]), 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- semaphore ----------------------------------------------------------------------------- */

struct user {
    CORO_FRAME;
    coro_sem *s;
    int n;
    char name;
};

CORO(user)
{
    CORO_BEGIN();
    CORO_TRY(coro_sem_acquire_n(co, my->s, my->n));
    mark(my->name);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_sem_release_n(my->s, my->n), 0);
    CORO_END(0);
}

struct users {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(user) t[4];
    coro_sem s;
    int rc;
};

CORO(users)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&my->s, 3, 2), -EINVAL);
    CHECK_EQ(coro_sem_init(&my->s, 2, 2), 0);
    CHECK_EQ(coro_sem_release(&my->s), -EOVERFLOW);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], user, .s = &my->s, .n = 1, .name = 'a');
    coro_start(&my->g, &my->t[1], user, .s = &my->s, .n = 2, .name = 'b');
    coro_start(&my->g, &my->t[2], user, .s = &my->s, .n = 1, .name = 'c'); /* not before b */
    coro_start(&my->g, &my->t[3], user, .s = &my->s, .n = 1, .name = 'd');
    CORO_TRY(coro_sleep(co, 0));
    CHECK_TRACE("a");
    CHECK_EQ(coro_sem_try_acquire(&my->s), -EAGAIN);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_TRACE("abcd");
    CHECK_EQ(my->s.value, 2);
    coro_sem_close(&my->s);
    CORO_AWAIT(my->rc, coro_sem_acquire(co, &my->s));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    CHECK_EQ(coro_sem_fini(&my->s), 0);
    CORO_END(0);
}

/* ---- select -------------------------------------------------------------------------------- */

struct teller {
    CORO_FRAME;
    pair *q;
    coro_event *quit;
    int item;
};

CORO(teller)
{
    CORO_BEGIN();
    my->item = 7;
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CORO_TRY(coro_queue_put(co, my->q, &my->item));
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    coro_event_set(my->quit);
    CORO_END(0);
}

struct chooser {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(teller) t;
    pair q;
    coro_event quit;
    coro_case cases[2];
    coro_time start;
    int i, item;
};

CORO(chooser)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, teller, .q = &my->q, .quit = &my->quit);
    coro_case_get(&my->cases[0], &my->q, &my->item);
    coro_case_event(&my->cases[1], &my->quit);
    CORO_TRY(my->i, coro_select(co, my->cases, 2));
    CHECK_EQ(my->i, 0);
    CHECK_EQ(my->cases[0].rc, 1);
    CHECK_EQ(my->item, 7);
    CORO_TRY(my->i, coro_select(co, my->cases, 2));
    CHECK_EQ(my->i, 1);

    coro_event_clear(&my->quit);
    my->start = coro_now(co);
    CORO_AWAIT(my->i, coro_within(co, CORO_MS(3), coro_select(co, my->cases, 2)));
    CHECK_EQ(my->i, -ETIMEDOUT);
    CHECK(ms_since(co, my->start) >= 3);
    CHECK(ms_since(co, my->start) <= 4);
    CHECK_EQ(my->quit.line.waiting, 0);
    CHECK_EQ(my->quit.line.most, 1);

    coro_event_set(&my->quit);
    CHECK_EQ(coro_queue_try_put(&my->q, &my->item), 0);
    CORO_TRY(my->i, coro_select(co, my->cases, 2));
    CHECK_EQ(my->i, 0); /* of two that are ready the first */
    CORO_TRY(my->i, coro_select(co, my->cases, 2));
    CHECK_EQ(my->i, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_queue_fini(&my->q), 0);
    CHECK_EQ(coro_event_fini(&my->quit), 0);
    CORO_END(0);
}

/* ---- promise ------------------------------------------------------------------------------- */

static struct {
    coro_post_node node;
    coro_promise answer;
} oracle;

static void oracle_speaks(coro_loop *to, coro_post_node *node)
{
    (void)to, (void)node;
    CHECK_EQ(coro_promise_set(&oracle.answer, 42), 0);
}

static void call_oracle(void)
{
    CHECK(coro_post(&loop, &oracle.node));
}

struct asker {
    CORO_FRAME;
    int answer;
};

CORO(asker)
{
    CORO_BEGIN();
    CORO_TRY(my->answer, coro_promise_get(co, &oracle.answer));
    CORO_END(my->answer);
}

struct askers {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(asker) t[2];
    int rc;
};

CORO(askers)
{
    CORO_BEGIN();
    coro_loop_hold(co->loop);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], asker);
    coro_start(&my->g, &my->t[1], asker);
    oracle.node.run = oracle_speaks;
    board_alarm(10000, call_oracle);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_task_result(&my->t[0]), 42);
    CHECK_EQ(coro_task_result(&my->t[1]), 42);
    CHECK_EQ(coro_promise_set(&oracle.answer, 43), -EALREADY);
    CORO_TRY(my->rc, coro_promise_get(co, &oracle.answer));
    CHECK_EQ(my->rc, 42);
    CHECK_EQ(coro_promise_fini(&oracle.answer), 0);
    coro_loop_release(co->loop);
    CORO_END(0);
}

/* ---- barrier ------------------------------------------------------------------------------- */

struct hiker {
    CORO_FRAME;
    coro_barrier *top;
    uint8_t round;
    int i;
};

CORO(hiker)
{
    CORO_BEGIN();
    for (my->round = 0; my->round < 2; my->round++) {
        CORO_TRY(my->i, coro_barrier_wait(co, my->top));
        mark((char)('0' + my->i));
    }
    CORO_END(0);
}

struct hikers {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(hiker) t[3];
    coro_barrier top;
    int rc;
};

CORO(hikers)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&my->top, 3), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], hiker, .top = &my->top);
    coro_start(&my->g, &my->t[1], hiker, .top = &my->top);
    coro_start(&my->g, &my->t[2], hiker, .top = &my->top);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_TRACE("201201"); /* the last one goes on at once */
    coro_barrier_abort(&my->top);
    CORO_AWAIT(my->rc, coro_barrier_wait(co, &my->top));
    CHECK_EQ(my->rc, -ECONNABORTED);
    CHECK_EQ(coro_barrier_fini(&my->top), 0);
    CORO_END(0);
}

/* ---- rate and backoff ---------------------------------------------------------------------- */

struct paced {
    CORO_FRAME;
    coro_rate rate;
    coro_time start;
    uint8_t i;
};

CORO(paced)
{
    CORO_BEGIN();
    my->rate.rate = 200; /* one in 5 ms */
    my->rate.burst = 2;
    my->start = coro_now(co);
    for (my->i = 0; my->i < 5; my->i++)
        CORO_TRY(coro_rate_take(co, &my->rate, 1));
    CHECK(ms_since(co, my->start) >= 15);
    CHECK(ms_since(co, my->start) <= 16);
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), -EAGAIN);
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 3), -EINVAL);
    CORO_TRY(coro_sleep(co, CORO_MS(20)));
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 2), 0); /* saved up, but no more than the burst */
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), -EAGAIN);
    CHECK_EQ(coro_rate_fini(&my->rate), 0);
    CORO_END(0);
}

struct stubborn {
    CORO_FRAME;
    coro_backoff backoff;
    coro_scope limit;
    coro_time start;
    int again;
    uint8_t i;
};

CORO(stubborn)
{
    static const uint8_t until[] = {4, 10, 16}; /* 4 ms, then 6 twice, for 8 is above the cap */
    CORO_BEGIN();
    my->backoff.base = CORO_MS(4);
    my->backoff.cap = CORO_MS(6);
    my->backoff.tries = 4;
    my->backoff.exact = true;
    my->start = coro_now(co);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, -EBUSY));
        CHECK_EQ(my->again, 1);
        CHECK(ms_since(co, my->start) >= until[my->i]);
        CHECK(ms_since(co, my->start) <= until[my->i] + 1 + my->i);
    }
    CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, -EBUSY));
    CHECK_EQ(my->again, -EBUSY); /* four tries were made */
    CHECK(my->backoff.waited == CORO_MS(16));
    CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, 0));
    CHECK_EQ(my->again, 0);
    CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, -EINVAL));
    CHECK_EQ(my->again, -EINVAL); /* which trying again does not cure */

    my->backoff.tried = 0;
    coro_timeout_open(co, &my->limit, CORO_MS(2));
    CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, -EBUSY));
    CHECK_EQ(my->again, -EBUSY); /* too late by then */
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);

    my->backoff.tried = 0;
    my->backoff.exact = false;
    my->start = coro_now(co);
    CORO_AWAIT(my->again, coro_backoff_wait(co, &my->backoff, -EBUSY));
    CHECK_EQ(my->again, 1);
    CHECK(ms_since(co, my->start) <= 5);
    CORO_END(0);
}

/* ---- circuit breaker ----------------------------------------------------------------------- */

struct broken {
    CORO_FRAME;
    coro_breaker breaker;
};

CORO(broken)
{
    CORO_BEGIN();
    my->breaker.failures = 1;
    my->breaker.cooling = CORO_MS(5);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), 0);
    coro_breaker_leave(&my->breaker, -ETIMEDOUT);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), -EHOSTDOWN);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(coro_breaker_state(co, &my->breaker), CORO_BREAKER_OPEN);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(coro_breaker_state(co, &my->breaker), CORO_BREAKER_HALF_OPEN);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), 0);
    coro_breaker_leave(&my->breaker, 0);
    CHECK_EQ(coro_breaker_state(co, &my->breaker), CORO_BREAKER_CLOSED);
    CORO_END(0);
}

/* ---- a month without use ------------------------------------------------------------------- */

struct unused {
    CORO_FRAME;
    coro_rate rate;
    coro_breaker breaker;
};

CORO(unused)
{
    CORO_BEGIN();
    my->rate.rate = 1;
    my->breaker.failures = 1;
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), 0);
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), -EAGAIN);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), 0);
    coro_breaker_leave(&my->breaker, -ETIMEDOUT);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), -EHOSTDOWN);
    board_clock(INT32_MIN + 1000000); /* half of what 32 bits count, and a little */
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), 0);
    CHECK_EQ(coro_rate_try_take(co, &my->rate, 1), -EAGAIN);
    CHECK_EQ(coro_breaker_enter(co, &my->breaker), 0);
    CORO_END(0);
}

/* ---- pool ---------------------------------------------------------------------------------- */

struct bus {
    uint8_t number;
};

typedef CORO_POOL(struct bus, 2) buses;

struct driver {
    CORO_FRAME;
    buses *pool;
    struct bus *bus;
    int fresh;
};

CORO(driver)
{
    CORO_BEGIN();
    CORO_TRY(my->fresh, coro_pool_acquire(co, my->pool, &my->bus));
    CHECK_EQ(my->fresh, 0);
    CHECK_EQ(my->bus->number, 1);
    mark('d');
    CHECK_EQ(coro_pool_release(my->pool, my->bus, false), 0);
    CORO_END(0);
}

struct depot {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(driver) t;
    buses pool;
    struct bus *bus[2];
    int rc;
};

CORO(depot)
{
    CORO_BEGIN();
    my->pool.head.idle_limit = CORO_MS(5);
    CORO_TRY(my->rc, coro_pool_acquire(co, &my->pool, &my->bus[0]));
    CHECK_EQ(my->rc, 1);
    CORO_TRY(my->rc, coro_pool_acquire(co, &my->pool, &my->bus[1]));
    CHECK_EQ(my->rc, 1);
    my->bus[1]->number = 1;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t, driver, .pool = &my->pool);
    CORO_TRY(coro_sleep(co, 0));
    CHECK_TRACE("");
    CHECK_EQ(coro_pool_release(&my->pool, my->bus[1], true), 0);
    CORO_TRY(coro_group_close(co, &my->g, 0));
    CHECK_TRACE("d");
    CHECK_EQ(coro_pool_release(&my->pool, my->bus[1], true), -EPERM);
    CORO_TRY(my->rc, coro_pool_acquire(co, &my->pool, &my->bus[1]));
    CHECK_EQ(my->rc, 1); /* in the place of the broken one */
    CHECK_EQ(coro_pool_release(&my->pool, my->bus[0], true), 0);
    CHECK_EQ(coro_pool_idle(co, &my->pool, &my->bus[0]), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(6)));
    CHECK_EQ(coro_pool_idle(co, &my->pool, &my->bus[0]), 1);
    CHECK_EQ(coro_pool_release(&my->pool, my->bus[0], false), 0);
    coro_pool_close(&my->pool);
    CHECK_EQ(coro_pool_fini(&my->pool), -EBUSY);
    CHECK_EQ(coro_pool_release(&my->pool, my->bus[1], false), 0);
    CORO_TRY(coro_pool_drain(co, &my->pool));
    CHECK_EQ(my->pool.head.most, 2);
    CHECK_EQ(my->pool.head.broken, 3);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_pool_fini(&my->pool), 0);
    CORO_END(0);
}

/* ---- the tests ----------------------------------------------------------------------------- */

static union {
    CORO_TASK(rendezvous) rendezvous;
    CORO_TASK(backlog) backlog;
    CORO_TASK(priorities) priorities;
    CORO_TASK(stream) stream;
    CORO_TASK(flood) flood;
    CORO_TASK(flow_sweep) flow_sweep;
    CORO_TASK(big_ring) big_ring;
    CORO_TASK(cook) cook;
    CORO_TASK(desertion) desertion;
    CORO_TASK(users) users;
    CORO_TASK(chooser) chooser;
    CORO_TASK(askers) askers;
    CORO_TASK(hikers) hikers;
    CORO_TASK(paced) paced;
    CORO_TASK(stubborn) stubborn;
    CORO_TASK(broken) broken;
    CORO_TASK(unused) unused;
    CORO_TASK(depot) depot;
} storage;

#if CHIP_SIZES
extern char size_of_coro_mutex[], size_of_coro_queue[], size_of_coro_case[];
char size_of_coro_mutex[sizeof(coro_mutex)];
char size_of_coro_queue[sizeof(coro_queue)];
char size_of_coro_case[sizeof(coro_case)];
#endif /* CHIP_SIZES */

static void a_rendezvous_hands_items_from_task_to_task(void)
{
    RUN(rendezvous, 0);
    CHECK_TRACE("p12pp3");
}

static void a_full_queue_makes_wait_who_puts(void)
{
    RUN(backlog, 0);
    CHECK_TRACE("pp123ppp45e");
}

static void the_most_urgent_comes_first_and_equals_in_order(void)
{
    RUN(priorities, 0);
}

static void no_item_of_an_interrupts_ring_is_lost(void)
{
    RUN(stream, 0);
}

static void a_ring_counts_what_it_has_no_room_for(void)
{
    RUN(flood, 0);
}

static void no_item_of_a_ring_is_lost_on_the_way_to_sleep(void)
{
    RUN(flow_sweep, 0);
}

static void a_ring_of_128_can_be_filled(void)
{
    RUN(big_ring, 0);
}

static void a_signal_wakes_one_and_a_broadcast_all(void)
{
    RUN(cook, 0);
    CHECK_TRACE("1a2bc");
}

static void a_mutex_whose_owner_ended_says_so_until_it_is_repaired(void)
{
    RUN(desertion, 0);
}

static void who_wants_many_permits_is_not_overtaken(void)
{
    RUN(users, 0);
}

static void a_select_ends_with_the_first_or_in_time(void)
{
    RUN(chooser, 0);
}

static void an_interrupts_post_sets_a_promise(void)
{
    RUN(askers, 0);
}

static void a_barrier_serves_round_after_round(void)
{
    RUN(hikers, 0);
}

static void a_rate_is_kept(void)
{
    RUN(paced, 0);
}

static void tries_are_spaced_out(void)
{
    RUN(stubborn, 0);
}

static void a_breaker_opens_and_cools_down(void)
{
    RUN(broken, 0);
}

static void rates_and_breakers_find_a_month_long_enough(void)
{
    RUN(unused, 0);
}

static void a_pool_hands_out_what_comes_back(void)
{
    RUN(depot, 0);
}

/* So many ticks before the clock wraps, or reads what means never. Ticks of 32 bits do. */
static void set_clock(uint8_t i)
{
    board_clock(i < 20 ? INT32_MAX - i : INT32_MIN + 20 - i);
}

static void rates_go_on_while_the_clock_wraps(void)
{
    uint8_t i;
    for (i = 0; i < 22; i++) {
        set_clock(i);
        RUN(paced, 0);
    }
}

static void tries_go_on_while_the_clock_wraps(void)
{
    uint8_t i;
    for (i = 0; i < 22; i++) {
        set_clock(i);
        RUN(stubborn, 0);
    }
}

static void breakers_go_on_while_the_clock_wraps(void)
{
    uint8_t i;
    for (i = 0; i < 8; i++) {
        set_clock(i);
        RUN(broken, 0);
    }
}

static void pools_go_on_while_the_clock_wraps(void)
{
    uint8_t i;
    for (i = 0; i < 8; i++) {
        set_clock(i);
        traced = 0;
        RUN(depot, 0);
    }
}

static void test_queues_and_rings(void)
{
    TEST_RUN(a_rendezvous_hands_items_from_task_to_task);
    TEST_RUN(a_full_queue_makes_wait_who_puts);
    TEST_RUN(the_most_urgent_comes_first_and_equals_in_order);
    TEST_RUN(no_item_of_an_interrupts_ring_is_lost);
    TEST_RUN(a_ring_counts_what_it_has_no_room_for);
    TEST_RUN(a_ring_of_128_can_be_filled);
    TEST_RUN(no_item_of_a_ring_is_lost_on_the_way_to_sleep);
}

static void test_locks_and_select(void)
{
    TEST_RUN(a_signal_wakes_one_and_a_broadcast_all);
    TEST_RUN(a_mutex_whose_owner_ended_says_so_until_it_is_repaired);
    TEST_RUN(who_wants_many_permits_is_not_overtaken);
    TEST_RUN(a_select_ends_with_the_first_or_in_time);
    TEST_RUN(an_interrupts_post_sets_a_promise);
    TEST_RUN(a_barrier_serves_round_after_round);
}

static void test_patterns(void)
{
    TEST_RUN(a_rate_is_kept);
    TEST_RUN(tries_are_spaced_out);
    TEST_RUN(a_breaker_opens_and_cools_down);
    TEST_RUN(rates_and_breakers_find_a_month_long_enough);
    TEST_RUN(a_pool_hands_out_what_comes_back);
    if (CORO_TIME_BITS == 32) {
        TEST_RUN(rates_go_on_while_the_clock_wraps);
        TEST_RUN(tries_go_on_while_the_clock_wraps);
        TEST_RUN(breakers_go_on_while_the_clock_wraps);
        TEST_RUN(pools_go_on_while_the_clock_wraps);
    }
}

int main(void)
{
    board_init();
    if (PART(1))
        test_queues_and_rings();
    if (PART(2))
        test_locks_and_select();
    if (PART(3))
        test_patterns();
    return end_tests();
}
