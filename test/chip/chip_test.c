/* chip_test.c -- what a chip adds to the tests of coro.h: a tick, real interrupts, a processor that
 * sleeps, 16-bit ints, a clock that wraps, no allocator, and two kilobytes of RAM.
 */
#include "chip.h"

/* Two errors of the same value do not compile here. (avr-libc has one number for most of them.) */
CORO__UNUSED static bool all_errors_are_different(int e)
{
    switch (e) {
    case EPERM: case EAGAIN: case ENOMEM: case EBUSY: case EINVAL: case ENOSPC: case EPIPE:
    case EDEADLK: case ENOSYS: case ECHILD: case ESHUTDOWN: case ETIMEDOUT: case EALREADY:
    case EINPROGRESS: case ECANCELED:
        return true;
    default:
        return false;
    }
}

/* ---- turns --------------------------------------------------------------------------------- */

struct turn {
    CORO_FRAME;
    char name;
    uint8_t i;
};

CORO(turn)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        mark(my->name);
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

struct turns {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(turn) t[2];
};

CORO(turns)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], turn, .name = 'a');
    coro_start(&my->g, &my->t[1], turn, .name = 'b');
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(7);
}

/* ---- sleeps -------------------------------------------------------------------------------- */

struct sleeper {
    CORO_FRAME;
    char name;
    uint8_t ms;
    coro_time start;
};

CORO(sleeper)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    CORO_TRY(coro_sleep(co, CORO_MS(my->ms)));
    CHECK(ms_since(co, my->start) >= my->ms);
    CHECK(ms_since(co, my->start) <= my->ms + 1);
    mark(my->name);
    CORO_END(0);
}

struct sleepers {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sleeper) t[4];
    uint16_t sleeps;
};

CORO(sleepers)
{
    CORO_BEGIN();
    my->sleeps = board_sleeps;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = 'a', .ms = 30);
    coro_start(&my->g, &my->t[1], sleeper, .name = 'b', .ms = 10);
    coro_start(&my->g, &my->t[2], sleeper, .name = 'c', .ms = 20);
    coro_start(&my->g, &my->t[3], sleeper, .name = 'd', .ms = 10);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK((uint16_t)(board_sleeps - my->sleeps) >= 29); /* a tick wakes it, and it sleeps again */
    CHECK((uint16_t)(board_sleeps - my->sleeps) <= 31);
    CORO_END(0);
}

/* ---- bells --------------------------------------------------------------------------------- */

static coro_irq bell;

static void ring(void)
{
    coro_irq_raise(&bell);
}

static void ring_three_times(void)
{
    ring();
    ring();
    ring();
}

static void ring_256_times(void)
{
    uint16_t i;
    for (i = 0; i < 256; i++)
        ring();
}

struct bells {
    CORO_FRAME;
    int rc;
    uint16_t sleeps;
};

CORO(bells)
{
    CORO_BEGIN();
    my->sleeps = board_sleeps;
    board_alarm(10000, ring);
    CORO_TRY(my->rc, coro_irq_wait(co, &bell));
    CHECK_EQ(my->rc, 1);
    CHECK(board_alarmed());
    CHECK(board_sleeps != my->sleeps);

    board_alarm(1000, ring_three_times); /* while nobody waits for it */
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK(board_alarmed());
    CORO_TRY(my->rc, coro_irq_wait(co, &bell));
    CHECK_EQ(my->rc, 3);

    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(3), coro_irq_wait(co, &bell)));
    CHECK_EQ(my->rc, -ETIMEDOUT);

    board_alarm(10000, ring); /* the wait that timed out has left nothing behind */
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(30), coro_irq_wait(co, &bell)));
    CHECK_EQ(my->rc, 1);
    CORO_END(0);
}

struct many_rings {
    CORO_FRAME;
    int rc;
};

CORO(many_rings)
{
    CORO_BEGIN();
    board_alarm(1000, ring_256_times);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(20), coro_irq_wait(co, &bell)));
    CHECK_EQ(my->rc, sizeof(coro_irq_count) == 1 ? 255 : 256);
    CORO_END(0);
}

/* The alarm goes off everywhere between the call of coro_irq_wait and the sleep. The tick is off:
 * if the ring is lost between the last look at the bell and the sleep, nothing ever ends that. */
struct ring_sweep {
    CORO_FRAME;
    uint16_t at, sleeps;
    int rc;
};

CORO(ring_sweep)
{
    CORO_BEGIN();
    board_ticks(false);
    for (my->at = BOARD_SWEEP_FROM; my->at < BOARD_SWEEP_TO; my->at++) {
        my->sleeps = board_sleeps;
        board_alarm(my->at, ring);
        CORO_TRY(my->rc, coro_irq_wait(co, &bell));
        CHECK_EQ(my->rc, 1);
        if (my->at == BOARD_SWEEP_FROM)
            CHECK_EQ(board_sleeps, my->sleeps); /* it came long before the sleep */
    }
    CHECK_EQ(board_sleeps, my->sleeps + 1); /* it ended the sleep */
CORO_FINALLY:
    board_ticks(true);
    CORO_END(0);
}

/* ---- posts --------------------------------------------------------------------------------- */

static coro_waitq mailbox;
static coro_post_node letters[2];

static void deliver(coro_loop *to, coro_post_node *letter)
{
    CHECK(to == &loop);
    mark(letter == &letters[0] ? 'x' : 'y');
    if (mailbox.head)
        (void)coro_complete(mailbox.head, 1);
}

static void post_two(void)
{
    CHECK(coro_post(&loop, &letters[0]));
    CHECK(coro_post(&loop, &letters[1]));
    CHECK(!coro_post(&loop, &letters[0])); /* it has not been delivered */
}

static void post_one(void)
{
    CHECK(coro_post(&loop, &letters[0]));
}

static coro_op mail(coro_task *co)
{
    static const coro_ops ops = {"mail", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    return coro_suspend(co, &mailbox, &ops, 0);
}

struct posts {
    CORO_FRAME;
    uint16_t sleeps;
};

CORO(posts)
{
    CORO_BEGIN();
    coro_loop_hold(co->loop); /* else waiting for an interrupt's post is a deadlock */
    letters[0].run = letters[1].run = deliver;
    my->sleeps = board_sleeps;
    board_alarm(10000, post_two);
    CORO_TRY(mail(co));
    CHECK(board_sleeps != my->sleeps);
    CHECK_TRACE("xy");
    board_alarm(10000, post_two); /* the nodes may be posted again */
    CORO_TRY(mail(co));
    CHECK_TRACE("xyxy");
CORO_FINALLY:
    coro_loop_release(co->loop);
    CORO_END(0);
}

struct post_sweep {
    CORO_FRAME;
    uint16_t at, sleeps;
};

CORO(post_sweep)
{
    CORO_BEGIN();
    coro_loop_hold(co->loop);
    board_ticks(false);
    for (my->at = BOARD_SWEEP_FROM; my->at < BOARD_SWEEP_TO; my->at += 3) {
        traced = 0;
        my->sleeps = board_sleeps;
        board_alarm(my->at, post_one);
        CORO_TRY(mail(co)); /* delivered between steps only, so that we wait by then */
        CHECK_TRACE("x");
    }
    CHECK_EQ(board_sleeps, my->sleeps + 1);
CORO_FINALLY:
    board_ticks(true);
    coro_loop_release(co->loop);
    CORO_END(0);
}

/* ---- groups -------------------------------------------------------------------------------- */

struct worker {
    CORO_FRAME;
    coro_time d;
    coro_scope shield;
    int fails;
    char name;
};

CORO(worker)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->d));
    CORO_TRY(my->fails);
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(50));
    CORO_IGNORE(coro_sleep(co, CORO_MS(2))); /* cleanup that awaits */
    CHECK_EQ(coro_scope_close(co, &my->shield, 0), 0);
    mark(my->name);
    CORO_END(0);
}

struct family {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(worker) w[3];
    coro_time start;
    int rc;
};

CORO(family)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->w[0], worker, .d = CORO_FOREVER, .name = 'a');
    coro_start(&my->g, &my->w[1], worker, .d = CORO_MS(5), .fails = -EPIPE, .name = 'b');
    coro_start(&my->g, &my->w[2], worker, .d = CORO_S(60), .name = 'c');
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EPIPE);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.cancelled, 2);
    CHECK_EQ(my->g.first, -EPIPE);
    CHECK_EQ(coro_task_status(&my->w[0]), CORO_CANCELLED);
    CHECK_EQ(coro_task_status(&my->w[1]), CORO_FAILED);
    CHECK_EQ(coro_task_result(&my->w[1]), -EPIPE);
    CHECK(ms_since(co, my->start) >= 9);
    CHECK(ms_since(co, my->start) <= 11);
    CORO_END(0);
}

/* Children tell of their end one by one. */
struct finishers {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(sleeper) t[2];
    int got, index;
};

CORO(finishers)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->t[0], sleeper, .name = 'a', .ms = 4);
    coro_start(&my->g, &my->t[1], sleeper, .name = 'b', .ms = 2);
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->index));
        if (!my->got)
            break;
        mark((char)('0' + my->index));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- timeouts ------------------------------------------------------------------------------ */

struct hangs {
    CORO_FRAME;
};

CORO(hangs)
{
    CORO_BEGIN();
    CORO_TRY(coro_irq_wait(co, &bell));
CORO_FINALLY:
    mark('f');
    CORO_END(0);
}

struct timeouts {
    CORO_FRAME;
    coro_scope limit;
    struct hangs callee;
    coro_time start;
    int rc;
};

CORO(timeouts)
{
    CORO_BEGIN();
    my->start = coro_now(co);
    coro_timeout_open(co, &my->limit, CORO_MS(10));
    CORO_AWAIT(my->rc, coro_irq_wait(co, &bell));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->limit, my->rc), -ETIMEDOUT);
    CHECK(coro_scope_expired(&my->limit));
    CHECK(ms_since(co, my->start) >= 10);
    CHECK(ms_since(co, my->start) <= 11);
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(5), &my->callee, hangs));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_TRACE("f");
    CHECK(ms_since(co, my->start) >= 15);
    coro_timeout_open(co, &my->limit, CORO_MS(5));
    CHECK(coro_deadline(co) != CORO_FOREVER);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(coro_scope_close(co, &my->limit, 3), 3); /* in time */
    CORO_END(0);
}

/* CORO_FOREVER is no deadline, wherever the clock stands. */
struct forevers {
    CORO_FRAME;
    coro_scope limit;
    int left;
};

CORO(forevers)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, CORO_FOREVER);
    CHECK(!coro_cancelled(co));
    CHECK(coro_deadline(co) == CORO_FOREVER);
    CHECK_EQ(co->loop->timers, 0);
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    CHECK_EQ(coro_scope_deadline(&my->limit, CORO_FOREVER), 0); /* before it is opened */
    coro_scope_open(co, &my->limit);
    CHECK(!coro_cancelled(co));
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    coro_timeout_open(co, &my->limit, CORO_MS(100));
    CHECK(coro_deadline(co) != CORO_FOREVER);
    my->left = ms_until(co, coro_deadline(co));
    CHECK(my->left >= 99 && my->left <= 100);
    CHECK_EQ(coro_scope_close(co, &my->limit, 0), 0);
    CORO_END(0);
}

/* ---- generators ---------------------------------------------------------------------------- */

struct count {
    CORO_FRAME;
    int item, to;
};

CORO(count)
{
    CORO_BEGIN();
    for (my->item = 1; my->item <= my->to; my->item++) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        CORO_YIELD();
    }
CORO_FINALLY:
    mark('f');
    CORO_END(0);
}

struct consumer {
    CORO_FRAME;
    CORO_GEN(count) gen;
    int sum, got;
};

CORO(consumer)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, count, .to = 4);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        my->sum += my->gen.frame.item;
    }
    CHECK_EQ(my->sum, 10);
    CHECK_TRACE("f");
    coro_gen_open(&my->gen, count, .to = 1000);
    CORO_TRY(my->got, coro_gen_next(co, &my->gen));
    CHECK_EQ(my->got, 1);
    CHECK_TRACE("f");
    CORO_TRY(coro_gen_close(co, &my->gen)); /* its FINALLY runs */
    CHECK_TRACE("ff");
    CORO_END(0);
}

/* ---- memory -------------------------------------------------------------------------------- */

/* No allocator: spawning fails, and the group says so; a task's storage serves again and again. */
struct no_memory {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(turn) t;
    uint8_t i;
    int rc;
};

CORO(no_memory)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(coro_spawn(&my->g, turn, .name = 'a'), -ENOMEM);
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(my->g.first, -ENOMEM);
    for (my->i = 0; my->i < 2; my->i++) {
        coro_start(&my->g, &my->t, turn, .name = 'b');
        CORO_TRY(my->rc, coro_join(co, &my->t));
    }
    CHECK_TRACE("bbbbbb");
    CHECK_EQ(my->g.failed, 1);
    CHECK_EQ(coro_stats(co->loop).memory, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* A task of an arena's, and the arena: room for two. */
struct arena {
    CORO_FRAME;
    coro_group g;
    uint8_t i;
    size_t used;
};

#define ARENA_SIZE (2 * (sizeof(CORO_TASK(turn)) + CORO_GRAIN))

CORO(arena)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(coro_spawn(&my->g, turn, .name = 'a'), 0);
    CHECK_EQ(coro_spawn(&my->g, turn, .name = 'b'), 0);
    CHECK_EQ(coro_spawn(&my->g, turn, .name = 'c'), -ENOMEM);
    CHECK_EQ(my->g.alive, 2);
    CORO_TRY(coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->g.failed, 1);
    CHECK_TRACE("ababab");
    my->used = coro_stats(co->loop).memory;
    CHECK(my->used >= 2 * sizeof(CORO_TASK(turn)));
    CHECK(my->used <= ARENA_SIZE);
    traced = 0;
    for (my->i = 0; my->i < 3; my->i++) { /* freed memory serves again */
        coro_group_open(co, &my->g, CORO_ALL);
        coro_spawn(&my->g, turn, .name = 'd');
        coro_spawn(&my->g, turn, .name = 'e');
        CORO_TRY(coro_group_close(co, &my->g, 0));
    }
    CHECK_TRACE("dedededededededede");
    CHECK_EQ(coro_stats(co->loop).memory, my->used);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* ---- deadlock ------------------------------------------------------------------------------ */

struct stuck {
    CORO_FRAME;
    int rc;
};

CORO(stuck)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_sleep(co, CORO_FOREVER));
    CHECK_EQ(my->rc, -ECANCELED);
    mark('f');
    CORO_END(0);
}

/* ---- sizes --------------------------------------------------------------------------------- */

struct nothing {
    CORO_FRAME;
};

CORO(nothing)
{
    CORO_BEGIN();
    CORO_END(0);
}

#define EMPTY_TASK_LIMIT (sizeof(void *) == 2 ? 48 : CORO_TIME_BITS == 64 ? 96 : 88)

#if CHIP_SIZES
/* run.sh reads these from the object file's symbol table. */
extern char size_of_coro_task[], size_of_empty_task[], size_of_coro_loop[], size_of_coro_group[];
char size_of_coro_task[sizeof(coro_task)];
char size_of_empty_task[sizeof(CORO_TASK(nothing))];
char size_of_coro_loop[sizeof(coro_loop)];
char size_of_coro_group[sizeof(coro_group)];
#endif /* CHIP_SIZES */

/* ---- the tests ----------------------------------------------------------------------------- */

static union {
    CORO_TASK(turns) turns;
    CORO_TASK(sleepers) sleepers;
    CORO_TASK(bells) bells;
    CORO_TASK(many_rings) many_rings;
    CORO_TASK(ring_sweep) ring_sweep;
    CORO_TASK(posts) posts;
    CORO_TASK(post_sweep) post_sweep;
    CORO_TASK(family) family;
    CORO_TASK(finishers) finishers;
    CORO_TASK(timeouts) timeouts;
    CORO_TASK(forevers) forevers;
    CORO_TASK(consumer) consumer;
    CORO_TASK(no_memory) no_memory;
    CORO_TASK(stuck) stuck;
    struct {
        CORO_TASK(arena) arena;
        coro_time memory[ARENA_SIZE / sizeof(coro_time) + 1];
    };
} storage;

static void two_tasks_take_turns(void)
{
    RUN(turns, 7);
    CHECK_TRACE("ababab");
}

static void sleeps_end_in_order_and_the_processor_sleeps_meanwhile(void)
{
    RUN(sleepers, 0);
    CHECK_TRACE("bdca");
}

static void a_task_waits_for_an_interrupts_bell(void)
{
    RUN(bells, 0);
}

static void a_bell_that_rings_256_times_is_heard(void)
{
    RUN(many_rings, 0);
}

static void no_ring_is_lost_on_the_way_to_sleep(void)
{
    RUN(ring_sweep, 0);
}

static void an_interrupt_posts_to_the_loop(void)
{
    RUN(posts, 0);
}

static void no_post_is_lost_on_the_way_to_sleep(void)
{
    RUN(post_sweep, 0);
}

static void a_failing_child_cancels_its_siblings_and_they_clean_up(void)
{
    RUN(family, 0);
    CHECK_TRACE("bac");
}

static void ended_children_are_told_one_by_one(void)
{
    RUN(finishers, 0);
    CHECK_TRACE("b1a0");
}

static void timeouts_end_waits_and_calls(void)
{
    RUN(timeouts, 0);
}

static void forever_is_no_deadline(void)
{
    RUN(forevers, 0);
}

static void a_generator_waits_between_its_items(void)
{
    RUN(consumer, 0);
    CHECK_TRACE("ff");
}

static void without_an_allocator_storage_is_static(void)
{
    RUN(no_memory, 0);
}

static void an_arena_serves_spawned_tasks(void)
{
    RUN_IN(storage.memory, ARENA_SIZE, arena, 0);
}

static void what_nothing_can_wake_is_a_deadlock(void)
{
    open_loop(&storage.stuck, sizeof storage.stuck, NULL, 0);
    CHECK_EQ(coro_start(&loop.root, &storage.stuck, stuck), 0);
    run_loop(&storage.stuck.task, -EDEADLK, 0);
    CHECK_TRACE("f");
}

#if CORO_TIME_BITS == 32
static void sleeps_go_on_while_the_clock_wraps(void)
{
    board_clock(INT32_MAX - 15);
    RUN(sleepers, 0);
    CHECK_TRACE("bdca");
    traced = 0;
    board_clock(-15);
    RUN(sleepers, 0);
    CHECK_TRACE("bdca");
}

static void timeouts_go_on_while_the_clock_wraps(void)
{
    board_clock(INT32_MAX - 5);
    RUN(timeouts, 0);
}

static void forever_is_no_deadline_while_the_clock_wraps(void)
{
    board_clock(INT32_MAX - 50);
    RUN(forevers, 0);
    board_clock(-50);
    RUN(forevers, 0);
    board_clock(INT32_MIN + 50);
    RUN(forevers, 0);
}

/* A clock that reads CORO_FOREVER is no invitation to sleep. */
static void a_clock_at_its_largest_value_stops_nothing(void)
{
    uint16_t sleeps = board_sleeps;
    board_clock(INT32_MAX);
    RUN(turns, 7);
    CHECK_EQ(board_sleeps, sleeps);
}
#endif /* CORO_TIME_BITS == 32 */

static void a_sleeping_task_is_small(void)
{
    static const uint16_t size = sizeof(CORO_TASK(nothing));
    CHECK(size <= EMPTY_TASK_LIMIT);
}

int main(void)
{
    board_init();
    TEST_RUN(a_sleeping_task_is_small);
    TEST_RUN(two_tasks_take_turns);
    TEST_RUN(sleeps_end_in_order_and_the_processor_sleeps_meanwhile);
    TEST_RUN(a_task_waits_for_an_interrupts_bell);
    TEST_RUN(a_bell_that_rings_256_times_is_heard);
    TEST_RUN(an_interrupt_posts_to_the_loop);
    TEST_RUN(a_failing_child_cancels_its_siblings_and_they_clean_up);
    TEST_RUN(ended_children_are_told_one_by_one);
    TEST_RUN(timeouts_end_waits_and_calls);
    TEST_RUN(forever_is_no_deadline);
    TEST_RUN(a_generator_waits_between_its_items);
    TEST_RUN(without_an_allocator_storage_is_static);
    TEST_RUN(an_arena_serves_spawned_tasks);
    TEST_RUN(what_nothing_can_wake_is_a_deadlock);
#if CORO_TIME_BITS == 32
    TEST_RUN(sleeps_go_on_while_the_clock_wraps);
    TEST_RUN(timeouts_go_on_while_the_clock_wraps);
    TEST_RUN(forever_is_no_deadline_while_the_clock_wraps);
    TEST_RUN(a_clock_at_its_largest_value_stops_nothing);
#endif /* CORO_TIME_BITS == 32 */
    TEST_RUN(no_ring_is_lost_on_the_way_to_sleep);
    TEST_RUN(no_post_is_lost_on_the_way_to_sleep);
    return end_tests();
}
