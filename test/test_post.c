/* test_post.c -- what comes from outside the thread. (F11, V04, X08, X09, Z13, Z18)
 *
 * All names contain "post", so that FILTER=post runs them under a thread sanitizer.
 */
#include "coro.h"
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#define SOUND(loop) CHECK_STR(coro_verify(loop), NULL)

static const coro_options fast = {.clock = CORO_VIRTUAL};

static coro_loop loop;

static void start_thread(pthread_t *thread, void *(*body)(void *), void *arg)
{
    CHECK_EQ(pthread_create(thread, NULL, body, arg), 0);
}

static void end_thread(pthread_t thread)
{
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- a mailbox: wakes a task when something has been posted ------------------------------- */

struct letter {
    coro_post_node node; /* must be first */
    int value;
};

static struct mailbox {
    coro_waitq waiting;
    int value;
    int count;
    pthread_t thread; /* on which the last letter arrived */
} box;

/* On the loop's thread. */
static void letter_arrives(coro_loop *l, coro_post_node *node)
{
    (void)l;
    box.value = ((struct letter *)(void *)node)->value;
    box.count++;
    box.thread = pthread_self();
    if (box.waiting.head)
        CHECK(coro_complete(box.waiting.head, box.value));
}

static coro_op box_wait(coro_task *co)
{
    static const coro_ops ops = {"letter", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    return coro_suspend(co, &box.waiting, &ops, 0);
}

static struct letter letter = {{NULL, letter_arrives}, 0};

/* ---- from threads ----------------------------------------------------------------------- */

static void *post_one(void *arg)
{
    letter.value = *(int *)arg;
    CHECK(coro_post(&loop, &letter.node));
    return NULL;
}

struct receiver {
    CORO_FRAME;
    coro_time start;
    int rc;
};

CORO(receiver)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_loop_hold(coro_loop_of(co));
    CORO_AWAIT(my->rc, box_wait(co));
    coro_loop_release(coro_loop_of(co));
    CORO_END(my->rc);
}

TEST(post_from_a_thread_wakes_a_sleeping_loop_and_runs_on_its_thread)
{
    static CORO_TASK(receiver) t;
    pthread_t thread;
    int value = 42;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, receiver);
    start_thread(&thread, post_one, &value);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 42);
    CHECK_EQ(box.count, 1);
    CHECK(pthread_equal(box.thread, pthread_self()));
    end_thread(thread);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct timer_beside {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(receiver) r;
    coro_time start;
};

/* The hour is not gone when the letter comes, and is gone at once when nobody holds the loop. */
CORO(timer_beside)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->r, receiver);
    CORO_TRY(coro_join(co, &my->r));
    CHECK_EQ(coro_now(co), my->start);
    CORO_TRY(coro_sleep(co, CORO_S(3600)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

struct sleeper {
    CORO_FRAME;
    coro_time d;
};

CORO(sleeper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_END(0);
}

TEST(post_from_a_thread_finds_virtual_time_standing_still) /* V04 */
{
    static CORO_TASK(timer_beside) t;
    pthread_t thread;
    int value = 1;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &t, timer_beside);
    coro_spawn(&loop.root, sleeper, .d = CORO_MS(1));
    start_thread(&thread, post_one, &value);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK_EQ(coro_loop_now(&loop), CORO_S(3600));
    end_thread(thread);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- no wake-up is lost ------------------------------------------------------------------ */

enum { ROUNDS = 1000 };

static struct turns { /* between the two threads */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answered;
} turns = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void answer(int n)
{
    pthread_mutex_lock(&turns.lock);
    turns.answered = n;
    pthread_cond_signal(&turns.changed);
    pthread_mutex_unlock(&turns.lock);
}

static void await_answer(int n)
{
    pthread_mutex_lock(&turns.lock);
    while (turns.answered < n)
        pthread_cond_wait(&turns.changed, &turns.lock);
    pthread_mutex_unlock(&turns.lock);
}

/* Each letter is posted when the loop answered the last one and is about to sleep, or asleep. */
static void *correspond(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        letter.value = i;
        CHECK(coro_post(&loop, &letter.node));
        await_answer(i);
    }
    return NULL;
}

struct correspondent {
    CORO_FRAME;
    int i, rc;
};

CORO(correspondent)
{
    CORO_BEGIN();
    coro_loop_hold(coro_loop_of(co));
    for (my->i = 1; my->i <= ROUNDS; my->i++) {
        if (box.count < my->i) {
            CORO_TRY(my->rc, box_wait(co));
            CHECK_EQ(my->rc, my->i);
        }
        CHECK_EQ(box.count, my->i);
        answer(my->i);
    }
    coro_loop_release(coro_loop_of(co));
    CORO_END(0);
}

TEST(post_to_a_loop_that_is_falling_asleep_is_never_lost)
{
    pthread_t thread;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_spawn(&loop.root, correspondent);
    start_thread(&thread, correspond, NULL);
    CHECK_EQ(coro_loop_run(&loop), 0);
    end_thread(thread);
    CHECK_EQ(box.count, ROUNDS);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- a burst ----------------------------------------------------------------------------- */

enum { BURST = 50000, SENDERS = 2 };

static struct numbered {
    coro_post_node node; /* must be first */
    int sender, number;
} burst[SENDERS][BURST];

static int next_number[SENDERS];

static void numbered_arrives(coro_loop *l, coro_post_node *node)
{
    struct numbered *n = (struct numbered *)(void *)node;
    (void)l;
    CHECK_EQ(n->number, next_number[n->sender]);
    next_number[n->sender]++;
    if (next_number[0] == BURST && next_number[1] == BURST)
        CHECK(coro_complete(box.waiting.head, 1));
}

static void *send_burst(void *arg)
{
    int sender = *(int *)arg;
    for (int i = 0; i < BURST; i++) {
        struct numbered *n = &burst[sender][i];
        n->node.run = numbered_arrives;
        n->sender = sender;
        n->number = i;
        CHECK(coro_post(&loop, &n->node));
    }
    return NULL;
}

TEST(posts_of_two_threads_all_arrive_in_order_of_each_thread) /* F11 */
{
    static CORO_TASK(receiver) t;
    pthread_t thread[SENDERS];
    int sender[SENDERS];
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, receiver);
    CHECK_EQ(coro_loop_step(&loop), 1); /* it waits */
    for (int i = 0; i < SENDERS; i++) {
        sender[i] = i;
        start_thread(&thread[i], send_burst, &sender[i]);
    }
    CHECK_EQ(coro_loop_run(&loop), 0);
    for (int i = 0; i < SENDERS; i++)
        end_thread(thread[i]);
    CHECK_EQ(coro_task_result(&t), 1);
    CHECK_EQ(next_number[0] + next_number[1], SENDERS * BURST);
    CHECK(!coro_loop_rung(&loop));
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* The same node again and again: what was refused was on its way already. */
static int accepted, arrived; /* by the sender's, by the loop's thread */
static bool last_post;

static void repeated_arrives(coro_loop *l, coro_post_node *node)
{
    (void)l;
    (void)node;
    arrived++;
}

static void last_arrives(coro_loop *l, coro_post_node *node)
{
    (void)l;
    (void)node;
    CHECK(coro_complete(box.waiting.head, 1));
}

static void *post_again_and_again(void *arg)
{
    static coro_post_node node = {NULL, repeated_arrives}, last = {NULL, last_arrives};
    (void)arg;
    for (int i = 0; i < 20000; i++)
        accepted += coro_post(&loop, &node);
    last_post = coro_post(&loop, &last);
    return NULL;
}

TEST(post_that_was_accepted_arrives_once_and_one_that_was_refused_does_not)
{
    static CORO_TASK(receiver) t;
    pthread_t thread;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, receiver);
    CHECK_EQ(coro_loop_step(&loop), 1);
    start_thread(&thread, post_again_and_again, NULL);
    CHECK_EQ(coro_loop_run(&loop), 0);
    end_thread(thread);
    CHECK(last_post);
    CHECK(accepted > 0);
    CHECK_EQ(arrived, accepted);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- from signal handlers ---------------------------------------------------------------- */

static void on_signal(int signo)
{
    letter.value = signo;
    (void)coro_post(&loop, &letter.node);
}

static void catch_signal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

struct signalled {
    CORO_FRAME;
    int rc;
};

CORO(signalled)
{
    CORO_BEGIN();
    coro_loop_hold(coro_loop_of(co));
    raise(SIGUSR1); /* handled before it returns */
    CHECK_EQ(box.count, 0);
    CHECK(coro_loop_rung(coro_loop_of(co)));
    CORO_AWAIT(my->rc, box_wait(co));
    coro_loop_release(coro_loop_of(co));
    CORO_END(my->rc);
}

TEST(post_from_a_signal_handler_runs_later_on_the_loop)
{
    static CORO_TASK(signalled) t;
    catch_signal();
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, signalled);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), SIGUSR1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static pthread_t main_thread;

static void *send_signals(void *arg)
{
    (void)arg;
    for (int i = 1; i <= 100; i++) {
        CHECK_EQ(pthread_kill(main_thread, SIGUSR1), 0);
        await_answer(i);
    }
    return NULL;
}

struct signal_reader {
    CORO_FRAME;
    int i, rc;
};

CORO(signal_reader)
{
    CORO_BEGIN();
    coro_loop_hold(coro_loop_of(co));
    for (my->i = 1; my->i <= 100; my->i++) {
        if (box.count < my->i)
            CORO_TRY(my->rc, box_wait(co));
        answer(my->i);
    }
    coro_loop_release(coro_loop_of(co));
    CORO_END(my->i - 1);
}

TEST(post_from_a_signal_handler_wakes_a_sleeping_loop)
{
    static CORO_TASK(signal_reader) t;
    pthread_t thread;
    catch_signal();
    main_thread = pthread_self();
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, signal_reader);
    start_thread(&thread, send_signals, NULL);
    CHECK_EQ(coro_loop_run(&loop), 0);
    end_thread(thread);
    CHECK_EQ(coro_task_result(&t), 100);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- the driver's side ------------------------------------------------------------------- */

static struct fake {
    coro_time now;
    int parks, wakes;
    void (*outside)(void); /* what happens while the loop sleeps */
} fake;

static coro_time fake_now(void *arg)
{
    (void)arg;
    return fake.now;
}

static void fake_park(void *arg, coro_loop *l, coro_time until)
{
    (void)arg;
    (void)l;
    if (until <= fake.now)
        return;
    fake.parks++;
    CHECK(fake.parks < 100);
    if (fake.outside)
        fake.outside();
}

static void fake_wake(void *arg)
{
    (void)arg;
    fake.wakes++;
}

static const coro_options faked = {.driver = {fake_now, fake_park, fake_wake, NULL, NULL}};

static void post_twice(void)
{
    static struct letter second = {{NULL, letter_arrives}, 8};
    letter.value = 7;
    CHECK(coro_post(&loop, &letter.node));
    CHECK(coro_post(&loop, &second.node));
}

TEST(posts_to_a_parked_loop_call_the_drivers_wake_once)
{
    static CORO_TASK(receiver) t;
    fake.outside = post_twice;
    CHECK_EQ(coro_loop_init(&loop, &faked), 0);
    coro_start(&loop.root, &t, receiver);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 7); /* the first one */
    CHECK_EQ(box.count, 2);
    CHECK_EQ(box.value, 8);
    CHECK_EQ(fake.parks, 1);
    CHECK_EQ(fake.wakes, 1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct self_poster {
    CORO_FRAME;
    int rc;
};

CORO(self_poster)
{
    CORO_BEGIN();
    letter.value = 3;
    CHECK(coro_post(coro_loop_of(co), &letter.node));
    CORO_AWAIT(my->rc, box_wait(co));
    CORO_END(my->rc);
}

TEST(post_to_a_loop_that_is_awake_needs_no_wake)
{
    static CORO_TASK(self_poster) t;
    CHECK_EQ(coro_loop_init(&loop, &faked), 0);
    coro_start(&loop.root, &t, self_poster);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 3);
    CHECK_EQ(fake.parks, 0);
    CHECK_EQ(fake.wakes, 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* A guest sleeps in a foreign loop once it has asked for the deadline: wake must end that. */
TEST(post_to_a_guest_that_has_asked_for_its_deadline_calls_wake)
{
    static CORO_TASK(receiver) t;
    CHECK_EQ(coro_loop_init(&loop, &faked), 0);
    coro_start(&loop.root, &t, receiver);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_FOREVER);
    letter.value = 9;
    CHECK(coro_post(&loop, &letter.node));
    CHECK_EQ(fake.wakes, 1);
    CHECK(coro_loop_deadline(&loop) <= fake.now);
    while (coro_loop_step(&loop))
        CHECK(coro_loop_deadline(&loop) <= fake.now);
    CHECK_EQ(coro_task_result(&t), 9);
    CHECK_EQ(fake.wakes, 1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static struct late {
    CORO_TASK(receiver) task;
} late;

static void arrives_too_late(coro_loop *l, coro_post_node *node)
{
    (void)node;
    CHECK(!coro_complete(&late.task.task, 5)); /* has ended: harmless */
    CHECK_EQ(coro_stats(l).tasks, 0);
}

TEST(post_for_a_task_that_has_ended_does_nothing) /* Z13 */
{
    static coro_post_node node = {NULL, arrives_too_late};
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    coro_start(&loop.root, &late.task, receiver);
    coro_task_cancel(&late.task);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_status(&late.task), CORO_CANCELLED);
    CHECK(coro_post(&loop, &node));
    CHECK_EQ(coro_loop_step(&loop), 0);
    CHECK(!coro_loop_rung(&loop));
    CHECK_EQ(coro_task_result(&late.task), -ECANCELED);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- bells ------------------------------------------------------------------------------- */

static coro_irq bell;

static void ring_three_times(void)
{
    coro_irq_raise(&bell);
    coro_irq_raise(&bell);
    coro_irq_raise(&bell);
}

struct bell_waiter {
    CORO_FRAME;
    int rc;
};

CORO(bell_waiter)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_irq_wait(co, &bell));
    CORO_END(my->rc);
}

TEST(post_by_a_bell_in_the_drivers_park_wakes_its_waiter_and_counts)
{
    static CORO_TASK(bell_waiter) t;
    fake.outside = ring_three_times;
    CHECK_EQ(coro_loop_init(&loop, &faked), 0);
    coro_start(&loop.root, &t, bell_waiter);
    CHECK_EQ(coro_loop_run(&loop), 0); /* a bell with a waiter is somebody outside: no deadlock */
    CHECK_EQ(coro_task_result(&t), 3);
    CHECK_EQ(fake.parks, 1);
    CHECK(!coro_loop_rung(&loop));
    coro_irq_raise(&bell); /* with nobody waiting it is kept */
    coro_start(&loop.root, &t, bell_waiter);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_task_result(&t), 1);
    CHECK_EQ(fake.parks, 1);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct bell_rules {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(bell_waiter) first;
    int rc;
};

CORO(bell_rules)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_irq_wait(co, &bell)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK(!coro_loop_of(co)->irqs);
    coro_start(&my->g, &my->first, bell_waiter);
    CORO_TRY(coro_sleep(co, 0));
    CORO_AWAIT(my->rc, coro_irq_wait(co, &bell));
    CHECK_EQ(my->rc, -EBUSY);
    coro_irq_raise(&bell);
    coro_task_cancel(&my->first); /* before the loop has looked: nothing was told */
    CORO_AWAIT(my->rc, coro_join(co, &my->first));
    CHECK_EQ(my->rc, -ECHILD);
    CHECK_EQ(coro_task_result(&my->first), -ECANCELED);
    SOUND(coro_loop_of(co));
    CORO_AWAIT(my->rc, coro_irq_wait(co, &bell)); /* so the ring is still there */
    CHECK_EQ(my->rc, 1);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(post_by_a_bell_is_not_lost_when_its_waiter_is_cancelled)
{
    CHECK_EQ(coro_run_with(&faked, bell_rules), 0);
}

static void *ring_and_ring(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        coro_irq_raise(&bell);
        if (i % 8 == 0)
            await_answer(i); /* else several may be counted at once */
    }
    return NULL;
}

struct bell_counter {
    CORO_FRAME;
    int heard, rc;
};

CORO(bell_counter)
{
    CORO_BEGIN();
    while (my->heard < ROUNDS) {
        CORO_TRY(my->rc, coro_irq_wait(co, &bell));
        CHECK(my->rc > 0);
        my->heard += my->rc;
        answer(my->heard);
    }
    CORO_END(my->heard);
}

TEST(posts_by_a_bell_from_a_thread_are_all_counted_and_none_is_slept_through)
{
    static CORO_TASK(bell_counter) t;
    pthread_t thread;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, bell_counter);
    start_thread(&thread, ring_and_ring, NULL);
    CHECK_EQ(coro_loop_run(&loop), 0);
    end_thread(thread);
    CHECK_EQ(coro_task_result(&t), ROUNDS);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- two loops in two threads ------------------------------------------------------------- */

enum { SERVES = 300 };

static struct player {
    coro_loop loop;
    coro_waitq waiting;
    coro_post_node ball; /* on its way to this player */
    int balls;           /* that have come and were not yet played */
    struct player *other;
    long hits;
} player[2];

static void ball_arrives(coro_loop *l, coro_post_node *node)
{
    struct player *p = (struct player *)(void *)((char *)node - offsetof(struct player, ball));
    CHECK(l == &p->loop);
    p->balls++;
    if (p->waiting.head)
        CHECK(coro_complete(p->waiting.head, 0));
}

static coro_op ball_wait(coro_task *co, struct player *p)
{
    static const coro_ops ops = {"ball", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    return p->balls ? coro_done(co, 0) : coro_suspend(co, &p->waiting, &ops, 0);
}

struct rally {
    CORO_FRAME;
    struct player *self;
};

CORO(rally)
{
    CORO_BEGIN();
    coro_loop_hold(coro_loop_of(co));
    while (my->self->hits < SERVES) {
        CORO_TRY(ball_wait(co, my->self));
        my->self->balls--;
        my->self->hits++;
        CHECK(coro_post(&my->self->other->loop, &my->self->other->ball));
    }
    coro_loop_release(coro_loop_of(co));
    CORO_END(0);
}

static void *play(void *arg)
{
    struct player *p = (struct player *)arg;
    CHECK_EQ(coro_loop_run(&p->loop), 0);
    return NULL;
}

TEST(posts_between_two_loops_of_two_threads_go_to_and_fro) /* Z18 */
{
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coro_loop_init(&player[i].loop, NULL), 0);
        player[i].other = &player[!i];
        player[i].ball.run = ball_arrives;
        coro_spawn(&player[i].loop.root, rally, .self = &player[i]);
    }
    CHECK(coro_post(&player[0].loop, &player[0].ball));
    start_thread(&thread, play, &player[1]);
    (void)play(&player[0]);
    end_thread(thread);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(player[i].hits, SERVES);
        CHECK_EQ(coro_loop_fini(&player[i].loop), 0);
    }
}
