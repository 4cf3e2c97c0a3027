/* test_sem.c -- semaphore, barrier, and a queue's join as a wait group: S16 to S24, S36 to S41. */
#include "coro_sync.h"
#include "test.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- the world: each test is a process of its own, so these are fresh ------------------------ */

static const coro_options fast = {.clock = CORO_VIRTUAL};

static coro_sem sem;
static coro_barrier barrier;

/* What has happened, in words: "a A b!". */
static char trace[512];

static void say(const char *format, int name)
{
    size_t used = strlen(trace);
    CHECK(used + 16 < sizeof trace);
    if (used)
        trace[used++] = ' ';
    snprintf(trace + used, sizeof trace - used, format, name);
}

/* The trace since the last time. */
#define CHECK_TRACE(want) (CHECK_STR(trace, want), (void)(trace[0] = 0))

/* ---- actors ---------------------------------------------------------------------------------- */

/* "a" comes, "A" has its permits, "a!" was turned away: my->got says why. "a." saw, at its next
 * await, that it is cancelled. */
struct taker {
    CORO_FRAME;
    char name;
    int n;              /* how many permits */
    coro_time hold;     /* for how long; 0: for good, and it looks whether it is cancelled */
    coro_time patience; /* 0: any */
    int got;
};

static coro_op acquire(coro_task *co, int n)
{
    return n == 1 ? coro_sem_acquire(co, &sem) : coro_sem_acquire_n(co, &sem, n);
}

CORO(taker)
{
    CORO_BEGIN();
    say("%c", my->name);
    CORO_AWAIT(my->got, coro_within(co, my->patience ? my->patience : CORO_FOREVER,
                                    acquire(co, my->n)));
    if (my->got < 0) {
        say("%c!", my->name);
        CORO_FAIL(my->got);
    }
    say("%c", toupper(my->name));
    CORO_AWAIT(my->got, coro_sleep(co, my->hold));
    if (my->hold)
        CHECK_EQ(coro_sem_release_n(&sem, my->n), 0);
    else if (my->got < 0)
        say("%c.", my->name);
    CORO_END(0);
}

/* "a" comes, "A2" goes on as number 2 of its round, "a!" does not: my->got says why. */
struct party {
    CORO_FRAME;
    char name;
    int rounds;
    coro_time patience; /* 0: any */
    int got, indices;   /* a bit for each index that it had */
};

CORO(party)
{
    CORO_BEGIN();
    while (my->rounds--) {
        say("%c", my->name);
        CORO_AWAIT(my->got, coro_within(co, my->patience ? my->patience : CORO_FOREVER,
                                        coro_barrier_wait(co, &barrier)));
        if (my->got < 0) {
            say("%c!", my->name);
            CORO_FAIL(my->got);
        }
        say("%c", toupper(my->name));
        say("%d", my->got);
        my->indices |= 1 << my->got;
    }
    CORO_END(my->got);
}

/* BLOCK -- a main coroutine, with what most of them need. */
#define BLOCK(name)                                                                     \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g;                                                                   \
        coro_scope scope;                                                               \
        int rc, i;                                                                      \
        CORO_TASK(taker) t[6];                                                          \
        CORO_TASK(party) p[6];                                                          \
    };                                                                                  \
    CORO(name)

#define TAKER(i, ...) CHECK_EQ(coro_start(&my->g, &my->t[i], taker, __VA_ARGS__), 0)
#define PARTY(i, ...) CHECK_EQ(coro_start(&my->g, &my->p[i], party, __VA_ARGS__), 0)
#define TURN() CORO_TRY(coro_sleep(co, 1)) /* all others go on until they wait */
#define RUN(name) CHECK_EQ(coro_run_with(&fast, name), 0)

/* Somebody whose task ended like this. */
#define CHECK_ENDED(task, want_status, want_result)                                     \
    (CHECK_EQ(coro_task_status(task), want_status), CHECK_EQ(coro_task_result(task), want_result))

/* ---- semaphore ------------------------------------------------------------------------------- */

/* S16 */
TEST(a_semaphore_cannot_begin_with_a_negative_value_or_more_than_its_bound)
{
    CHECK_EQ(coro_sem_init(&sem, 2, 3), 0);
    CHECK_EQ(coro_sem_init(&sem, -1, 0), -EINVAL);
    CHECK_EQ(coro_sem_init(&sem, 0, -1), -EINVAL);
    CHECK_EQ(coro_sem_init(&sem, 4, 3), -EINVAL);
    CHECK_EQ(sem.value, 2); /* as it was */
    CHECK_EQ(sem.bound, 3);
    CHECK_EQ(coro_sem_init(&sem, 3, 3), 0);
    CHECK_EQ(coro_sem_init(&sem, 4, 0), 0); /* no bound */
    CHECK_EQ(sem.value, 4);
    CHECK(!sem.bounded);
}

BLOCK(signalled)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    TURN();
    CHECK_TRACE("a");
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("A");
    CHECK_EQ(coro_sem_release(&sem), 0); /* kept until somebody comes */
    CORO_TRY(coro_sem_acquire(co, &sem));
    CHECK_EQ(sem.value, 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_sem_fini(&sem), 0);
    CORO_END(0);
}

/* S16, S07: zeroed, it is valid. */
TEST(a_zeroed_semaphore_is_a_signal)
{
    RUN(signalled);
}

/* S17 */
TEST(a_bounded_semaphore_refuses_more_than_its_bound)
{
    CHECK_EQ(coro_sem_init(&sem, 1, 3), 0);
    CHECK_EQ(coro_sem_release_n(&sem, 3), -EOVERFLOW);
    CHECK_EQ(coro_sem_release_n(&sem, 4), -EOVERFLOW);
    CHECK_EQ(coro_sem_release_n(&sem, INT_MAX), -EOVERFLOW);
    CHECK_EQ(coro_sem_release_n(&sem, 0), -EINVAL);
    CHECK_EQ(coro_sem_release_n(&sem, -1), -EINVAL);
    CHECK_EQ(sem.value, 1);
    CHECK_EQ(coro_sem_release_n(&sem, 2), 0);
    CHECK_EQ(coro_sem_release(&sem), -EOVERFLOW);
    CHECK_EQ(sem.value, 3);
}

/* S17 */
TEST(a_semaphore_without_a_bound_refuses_overflow_only)
{
    CHECK_EQ(coro_sem_release_n(&sem, INT_MAX - 1), 0);
    CHECK_EQ(coro_sem_release_n(&sem, 2), -EOVERFLOW);
    CHECK_EQ(sem.value, INT_MAX - 1);
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_sem_release(&sem), -EOVERFLOW);
    CHECK_EQ(sem.value, INT_MAX);
}

BLOCK(released_twice)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    TAKER(1, .name = 'b', .n = 1);
    TAKER(2, .name = 'c', .n = 1);
    TURN();
    CHECK_EQ(sem.line.waiting, 3);
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(sem.line.waiting, 1);
    CHECK_EQ(sem.value, 0);
    CHECK_EQ(coro_sem_try_acquire(&sem), -EAGAIN); /* S02: they have them already */
    TAKER(3, .name = 'd', .n = 1);
    TURN();
    CHECK_TRACE("a b c A B d");
    CHECK_EQ(coro_sem_release_n(&sem, 3), 0);
    CHECK_EQ(sem.value, 1);
    TURN();
    CHECK_TRACE("C D");
    CHECK_EQ(coro_sem_try_acquire(&sem), 0);
    CHECK_EQ(sem.line.most, 3);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S18 */
TEST(permits_released_in_a_row_go_to_as_many_waiters_and_not_to_who_comes_later)
{
    RUN(released_twice);
}

BLOCK(release_then_cancel)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    TAKER(1, .name = 'b', .n = 1);
    TURN();
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_task_cancel(&my->t[0]), 1);
    TURN();
    CHECK_TRACE("a b A a."); /* it has the permit, and hears of the cancellation after that */
    CHECK_EQ(sem.value, 0);
    CHECK_EQ(coro_sem_release(&sem), 0); /* a's */
    TURN();
    CHECK_TRACE("B");
    CORO_CLOSE(&my->g);
    CHECK_EQ(sem.value, 0);
    CORO_END(0);
}

/* S19, S04 */
TEST(a_taker_that_is_cancelled_after_it_was_granted_has_its_permit)
{
    RUN(release_then_cancel);
}

BLOCK(cancel_then_release)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    TAKER(1, .name = 'b', .n = 1);
    TURN();
    CHECK_EQ(coro_task_cancel(&my->t[0]), 1);
    CHECK_EQ(sem.line.waiting, 1); /* S03: at once */
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("a b a! B");
    CORO_CLOSE(&my->g);
    CHECK_ENDED(&my->t[0], CORO_CANCELLED, -ECANCELED);
    CHECK_EQ(sem.value, 0);
    CORO_END(0);
}

/* S19, S04, S03 */
TEST(a_permit_released_after_a_waiter_was_cancelled_goes_to_the_next)
{
    RUN(cancel_then_release);
}

BLOCK(cancelled_at_zero)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 4; my->i++)
        TAKER(my->i, .name = (char)('a' + my->i), .n = 1);
    TURN();
    CHECK_EQ(coro_task_cancel(&my->t[0]), 1);
    CHECK_EQ(coro_task_cancel(&my->t[2]), 1);
    TURN();
    CHECK_TRACE("a b c d a! c!");
    CHECK_EQ(sem.line.waiting, 2);
    CHECK_EQ(coro_sem_fini(&sem), -EBUSY); /* S08 */
    CHECK_EQ(coro_sem_release_n(&sem, 2), 0);
    TURN();
    CHECK_TRACE("B D");
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_sem_fini(&sem), 0);
    CORO_END(0);
}

/* S20 */
TEST(cancelling_waiters_of_an_empty_semaphore_wakes_nobody_else)
{
    RUN(cancelled_at_zero);
}

BLOCK(large_first)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 2, 0), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 3);
    TAKER(1, .name = 'b', .n = 1);
    TAKER(2, .name = 'c', .n = 2);
    TURN();
    CHECK_EQ(sem.value, 2);
    CHECK_EQ(coro_sem_try_acquire(&sem), -EAGAIN);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_sem_acquire(co, &sem)));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* though there are two */
    CHECK_EQ(sem.line.waiting, 3);
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("a b c A");
    CHECK_EQ(sem.value, 0);
    CHECK_EQ(coro_sem_release_n(&sem, 2), 0);
    TURN();
    CHECK_TRACE("B");
    CHECK_EQ(sem.value, 1);
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("C");
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S21 */
TEST(who_wants_many_permits_is_not_overtaken_by_those_who_want_few)
{
    RUN(large_first);
}

BLOCK(large_leaves)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 3, 9), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 4, .patience = CORO_MS(5));
    TAKER(1, .name = 'b', .n = 9);
    TAKER(2, .name = 'c', .n = 1);
    TAKER(3, .name = 'd', .n = 2);
    TAKER(4, .name = 'e', .n = 1);
    CORO_TRY(coro_sleep(co, CORO_MS(6)));
    CHECK_TRACE("a b c d e a!"); /* b wants even more */
    CHECK_EQ(coro_task_cancel(&my->t[1]), 1);
    CHECK_EQ(sem.value, 0);
    TURN();
    CHECK_TRACE("b! C D");
    CHECK_EQ(coro_sem_release(&sem), 0);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("E");
    CHECK_ENDED(&my->t[0], CORO_FAILED, -ETIMEDOUT);
    CHECK_ENDED(&my->t[1], CORO_CANCELLED, -ECANCELED);
    CHECK_EQ(sem.value, 0);
    CORO_END(0);
}

/* S21, S24 */
TEST(those_behind_one_who_wanted_many_are_served_when_it_gives_up)
{
    RUN(large_leaves);
}

BLOCK(acquires_in_a_cancelled_scope)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 5, 5), 0);
    coro_scope_open(co, &my->scope);
    CHECK_EQ(coro_scope_cancel(&my->scope), 1);
    CORO_AWAIT(my->rc, coro_sem_acquire(co, &sem));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_sem_acquire_n(co, &sem, 2));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(sem.value, 5);
    CHECK_EQ(sem.line.most, 0);
    CHECK_EQ(coro_sem_try_acquire(&sem), 0); /* S06: these do not ask */
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CORO_END(0);
}

/* S05, S24 */
TEST(a_cancelled_task_takes_no_permit_though_there_are_some)
{
    RUN(acquires_in_a_cancelled_scope);
}

BLOCK(impossible_numbers)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 2, 5), 0);
    CORO_AWAIT(my->rc, coro_sem_acquire_n(co, &sem, 0));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_AWAIT(my->rc, coro_sem_acquire_n(co, &sem, -1));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_AWAIT(my->rc, coro_sem_acquire_n(co, &sem, 6));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_TRY(coro_sem_acquire_n(co, &sem, 2));
    CHECK_EQ(sem.value, 0);
    CHECK_EQ(sem.line.most, 0);
    CORO_END(0);
}

TEST(so_many_permits_as_there_will_never_be_are_refused_at_once)
{
    RUN(impossible_numbers);
}

BLOCK(closes)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 1, 2), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1, .hold = CORO_MS(5));
    TAKER(1, .name = 'b', .n = 1);
    TAKER(2, .name = 'c', .n = 2);
    TURN();
    coro_sem_close(&sem);
    TURN();
    CHECK_TRACE("a A b c b! c!");
    CORO_CLOSE(&my->g);
    CHECK_ENDED(&my->t[0], CORO_OK, 0); /* it has released */
    CHECK_ENDED(&my->t[1], CORO_FAILED, -ESHUTDOWN);
    CHECK_ENDED(&my->t[2], CORO_FAILED, -ESHUTDOWN);
    CHECK_EQ(sem.value, 1);
    CORO_AWAIT(my->rc, coro_sem_acquire(co, &sem));
    CHECK_EQ(my->rc, -ESHUTDOWN);
    CHECK_EQ(coro_sem_try_acquire(&sem), -ESHUTDOWN);
    coro_sem_close(&sem); /* again: nothing */
    CHECK_EQ(sem.value, 1);
    CHECK_EQ(coro_sem_fini(&sem), 0);
    CORO_END(0);
}

/* S22 */
TEST(a_closed_semaphore_turns_all_away_and_takes_permits_back)
{
    RUN(closes);
}

BLOCK(limiter)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 3, 3), 0);
    CORO_TRY(coro_sem_acquire_n(co, &sem, 3));
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 4; my->i++)
        TAKER(my->i, .name = (char)('a' + my->i), .n = 1);
    CHECK_EQ(coro_sem_resize(&sem, 1), 0);
    CHECK_EQ(sem.value, -2);
    TURN();
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("a b c d"); /* there is one out of one */
    CHECK_EQ(coro_sem_resize(&sem, 3), 0);
    CHECK_EQ(sem.value, 0);
    TURN();
    CHECK_TRACE("A B"); /* as many as fit */
    CHECK_EQ(coro_sem_release(&sem), 0);
    TURN();
    CHECK_TRACE("C");
    CHECK_EQ(coro_sem_resize(&sem, -1), -EINVAL);
    CHECK_EQ(sem.bound, 3);
    CHECK_EQ(coro_sem_resize(&sem, 8), 0);
    CHECK_EQ(sem.value, 4);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_sem_release_n(&sem, 4), 0);
    CHECK_EQ(coro_sem_release(&sem), -EOVERFLOW); /* S23: nobody has one */
    CORO_END(0);
}

/* S23 */
TEST(a_limiter_made_smaller_drains_and_made_larger_lets_in_as_many_as_fit)
{
    RUN(limiter);
    memset(&sem, 0, sizeof sem);
    CHECK_EQ(coro_sem_resize(&sem, 4), -EINVAL); /* it has no bound */
    CHECK_EQ(sem.value, 0);
}

BLOCK(limiter_to_zero)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 2, 2), 0);
    CORO_TRY(coro_sem_acquire_n(co, &sem, 2));
    CHECK_EQ(coro_sem_resize(&sem, 0), 0);
    CHECK_EQ(sem.value, -2);
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    TURN();
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(coro_sem_release(&sem), 0);
    CHECK_EQ(sem.value, 0);
    CHECK_EQ(coro_sem_release(&sem), -EOVERFLOW);
    CHECK_EQ(coro_sem_try_acquire(&sem), -EAGAIN);
    TURN();
    CHECK_TRACE("a");
    CHECK_EQ(coro_sem_resize(&sem, 1), 0);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("A");
    CHECK_EQ(sem.value, 0);
    CORO_END(0);
}

/* S23 */
TEST(a_limiter_of_zero_takes_permits_back_and_gives_none)
{
    RUN(limiter_to_zero);
}

/* S23: more at once than the new bound, which is what makes room again. */
TEST(many_permits_can_come_back_at_once_to_a_limiter_made_smaller)
{
    CHECK_EQ(coro_sem_init(&sem, 1, 5), 0); /* four are out */
    CHECK_EQ(coro_sem_resize(&sem, 2), 0);
    CHECK_EQ(sem.value, -2);
    CHECK_EQ(coro_sem_release_n(&sem, 5), -EOVERFLOW);
    CHECK_EQ(sem.value, -2);
    CHECK_EQ(coro_sem_release_n(&sem, 4), 0);
    CHECK_EQ(sem.value, 2);
}

BLOCK(limiter_too_small)
{
    CORO_BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 5, 5), 0);
    CORO_TRY(coro_sem_acquire(co, &sem));
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 5);
    TAKER(1, .name = 'b', .n = 1);
    TURN();
    CHECK_TRACE("a b");
    CHECK_EQ(coro_sem_resize(&sem, 0), 0); /* for a while: nobody is turned away */
    TURN();
    CHECK_TRACE("");
    CHECK_EQ(coro_sem_resize(&sem, 3), 0);
    TURN();
    CHECK_TRACE("a! B");
    CHECK_EQ(my->t[0].frame.got, -EINVAL);
    CORO_CLOSE(&my->g);
    CHECK_EQ(sem.value, 1);
    CORO_END(0);
}

/* S23 */
TEST(a_limiter_made_smaller_turns_away_who_wants_more_than_there_will_ever_be)
{
    RUN(limiter_too_small);
}

BLOCK(waits_are_measured)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    TAKER(0, .name = 'a', .n = 1);
    CORO_TRY(coro_sleep(co, CORO_MS(7)));
    TAKER(1, .name = 'b', .n = 1, .patience = CORO_MS(3));
    CORO_TRY(coro_sleep(co, CORO_MS(10)));
    CHECK_EQ(sem.line.waiting, 1);
    CHECK_EQ(coro_sem_release(&sem), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(sem.line.waiting, 0);
    CHECK_EQ(sem.line.most, 2);
#if CORO_LINE_TIMES
    CHECK_EQ(sem.line.longest, CORO_MS(17));
#endif /* CORO_LINE_TIMES */
    CORO_END(0);
}

/* S10 */
TEST(a_semaphore_knows_its_longest_wait_and_its_longest_line)
{
    RUN(waits_are_measured);
}

/* ---- two loops in one thread ----------------------------------------------------------------- */

/* Here one waits, there another comes: step both, and let them go. */
#define IN_TWO_LOOPS(actor, here, there, ...)                                           \
    CHECK_EQ(coro_loop_init(&loops[0], &fast), 0);                                      \
    CHECK_EQ(coro_loop_init(&loops[1], &fast), 0);                                      \
    CHECK_EQ(coro_start(&loops[0].root, here, actor, .name = 'a', __VA_ARGS__), 0);     \
    CHECK_EQ(coro_start(&loops[1].root, there, actor, .name = 'b', __VA_ARGS__), 0);    \
    CHECK_EQ(coro_loop_step(&loops[0]), 1);                                             \
    CHECK_EQ(coro_loop_run(&loops[1]), 0)

static coro_loop loops[2];

static void end_both(void)
{
    CHECK_EQ(coro_loop_run(&loops[0]), 0);
    CHECK_EQ(coro_loop_fini(&loops[0]), 0);
    CHECK_EQ(coro_loop_fini(&loops[1]), 0);
}

/* S09 */
TEST(a_semaphore_on_which_a_task_of_another_loop_waits_is_not_waited_for)
{
    static CORO_TASK(taker) a, b;
    IN_TWO_LOOPS(taker, &a, &b, .n = 1);
    CHECK_ENDED(&b, CORO_FAILED, -EPERM);
    CHECK_EQ(sem.line.waiting, 1);
    CHECK_EQ(coro_sem_release(&sem), 0);
    end_both();
    CHECK_ENDED(&a, CORO_OK, 0);
    CHECK_TRACE("a b b! A");
}

/* S09 */
TEST(a_barrier_on_which_a_task_of_another_loop_waits_does_not_count_who_comes)
{
    static CORO_TASK(party) a, b, c;
    CHECK_EQ(coro_barrier_init(&barrier, 3), 0);
    IN_TWO_LOOPS(party, &a, &b, .rounds = 1);
    CHECK_ENDED(&b, CORO_FAILED, -EPERM);
    CHECK_EQ(barrier.arrived, 1);
    CHECK_EQ(coro_start(&loops[0].root, &c, party, .name = 'c', .rounds = 1), 0);
    CHECK_EQ(coro_loop_step(&loops[0]), 1);
    CHECK_TRACE("a b b! c"); /* two of three */
    coro_barrier_abort(&barrier);
    end_both();
    CHECK_TRACE("a! c!");
}

/* S09: nor does it let the others go on. */
TEST(a_barrier_is_not_completed_by_a_task_of_another_loop)
{
    static CORO_TASK(party) a, b;
    CHECK_EQ(coro_barrier_init(&barrier, 2), 0);
    IN_TWO_LOOPS(party, &a, &b, .rounds = 1);
    CHECK_ENDED(&b, CORO_FAILED, -EPERM);
    CHECK_EQ(barrier.arrived, 1);
    coro_barrier_reset(&barrier);
    end_both();
    CHECK_TRACE("a b b! a!");
}

/* ---- barrier --------------------------------------------------------------------------------- */

BLOCK(alone)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(my->rc, -EINVAL); /* zeroed: nobody would ever come last */
    CHECK_EQ(coro_barrier_init(&barrier, 1), 0);
    CHECK_EQ(coro_barrier_init(&barrier, 0), -EINVAL);
    CHECK_EQ(coro_barrier_init(&barrier, -1), -EINVAL);
    CHECK_EQ(barrier.parties, 1);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->rc, coro_barrier_wait(co, &barrier));
        CHECK_EQ(my->rc, 0);
    }
    CHECK_EQ(barrier.line.most, 0);
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CHECK_EQ(barrier.arrived, 0);
    CORO_END(0);
}

/* S36 */
TEST(a_barrier_of_one_never_waits_and_of_none_is_refused)
{
    RUN(alone);
}

BLOCK(three_rounds)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 3), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 3; my->i++)
        PARTY(my->i, .name = (char)('a' + my->i), .rounds = 3);
    CORO_CLOSE(&my->g);
    /* who comes last goes on first, and is the first to come to the next round */
    CHECK_TRACE("a b c C 2 c A 0 a B 1 b B 2 b C 0 c A 1 a A 2 B 0 C 1");
    for (my->i = 0; my->i < 3; my->i++)
        CHECK_EQ(my->p[my->i].frame.indices, 7);
    CHECK_EQ(barrier.arrived, 0);
    CHECK_EQ(barrier.line.most, 2);
    CHECK_EQ(coro_barrier_fini(&barrier), 0);
    CORO_END(0);
}

/* S37 */
TEST(in_every_round_of_a_barrier_each_index_is_given_once)
{
    RUN(three_rounds);
}

BLOCK(comes_again)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 3), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    PARTY(0, .name = 'a', .rounds = 2);
    PARTY(1, .name = 'b', .rounds = 1);
    TURN();
    CHECK_TRACE("a b");
    CORO_TRY(my->rc, coro_barrier_wait(co, &barrier)); /* lets them go */
    CHECK_EQ(my->rc, 2);
    CHECK_TRACE(""); /* they have not run yet */
    CHECK_EQ(barrier.line.waiting, 0);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_barrier_wait(co, &barrier)));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* a came, too: two of three */
    CHECK_TRACE("A 0 a B 1");
    CHECK_EQ(barrier.arrived, 1);
    PARTY(2, .name = 'c', .rounds = 1);
    PARTY(3, .name = 'd', .rounds = 1);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("c d D 2 A 0 C 1");
    CORO_END(0);
}

/* S38 */
TEST(a_party_that_comes_again_at_once_waits_for_the_next_round)
{
    RUN(comes_again);
}

BLOCK(one_leaves)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 3), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    PARTY(0, .name = 'a', .rounds = 1);
    PARTY(1, .name = 'b', .rounds = 1, .patience = CORO_MS(2));
    PARTY(2, .name = 'e', .rounds = 1);
    CHECK_EQ(coro_task_cancel(&my->p[2]), 1); /* before it comes */
    TURN();
    CHECK_TRACE("a b e e!");
    CHECK_EQ(barrier.arrived, 2);
    CHECK_EQ(coro_task_cancel(&my->p[0]), 1);
    CHECK_EQ(barrier.arrived, 1);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(barrier.arrived, 0);
    CHECK_TRACE("a! b!");
    for (my->i = 3; my->i < 6; my->i++)
        PARTY(my->i, .name = (char)('c' + my->i), .rounds = 1);
    TURN();
    CHECK_TRACE("f g h H 2 F 0 G 1");
    CORO_CLOSE(&my->g);
    CHECK_ENDED(&my->p[0], CORO_CANCELLED, -ECANCELED);
    CHECK_ENDED(&my->p[1], CORO_FAILED, -ETIMEDOUT);
    CORO_END(0);
}

/* S39 */
TEST(a_party_that_leaves_is_not_counted_and_breaks_nothing)
{
    RUN(one_leaves);
}

BLOCK(resets)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 3), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    PARTY(0, .name = 'a', .rounds = 1);
    PARTY(1, .name = 'b', .rounds = 1);
    TURN();
    CHECK_EQ(coro_barrier_fini(&barrier), -EBUSY);
    coro_barrier_reset(&barrier);
    CHECK_EQ(barrier.arrived, 0);
    for (my->i = 2; my->i < 4; my->i++)
        PARTY(my->i, .name = (char)('a' + my->i), .rounds = 1);
    TURN();
    CHECK_TRACE("a b a! b! c d");
    CORO_TRY(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(my->rc, 2);
    coro_barrier_reset(&barrier); /* c and d have been let go, and have not run yet */
    CORO_CLOSE(&my->g);
    CHECK_TRACE("C 0 D 1");
    CHECK_ENDED(&my->p[0], CORO_FAILED, -ECONNABORTED);
    CHECK_ENDED(&my->p[1], CORO_FAILED, -ECONNABORTED);
    CHECK_EQ(barrier.arrived, 0);
    CORO_END(0);
}

/* S40 */
TEST(a_reset_barrier_fails_those_who_wait_and_not_those_who_were_let_go)
{
    RUN(resets);
}

BLOCK(aborts)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 2), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    PARTY(0, .name = 'a', .rounds = 1);
    TURN();
    coro_barrier_abort(&barrier);
    CORO_AWAIT(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(my->rc, -ECONNABORTED);
    TURN();
    CORO_AWAIT(my->rc, coro_barrier_wait(co, &barrier)); /* and again */
    CHECK_EQ(my->rc, -ECONNABORTED);
    CHECK_TRACE("a a!");
    coro_barrier_reset(&barrier);
    PARTY(1, .name = 'b', .rounds = 1);
    TURN();
    CORO_TRY(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(my->rc, 1);
    coro_barrier_abort(&barrier); /* b has been let go */
    CORO_CLOSE(&my->g);
    CHECK_TRACE("b B 0");
    CHECK_ENDED(&my->p[0], CORO_FAILED, -ECONNABORTED);
    CORO_END(0);
}

/* S41 */
TEST(an_aborted_barrier_fails_all_who_come_until_it_is_reset)
{
    RUN(aborts);
}

BLOCK(cancelled_when_let_go)
{
    CORO_BEGIN();
    CHECK_EQ(coro_barrier_init(&barrier, 2), 0);
    coro_group_open(co, &my->g, CORO_COLLECT);
    PARTY(0, .name = 'a', .rounds = 1);
    TURN();
    CORO_TRY(my->rc, coro_barrier_wait(co, &barrier));
    CHECK_EQ(coro_task_cancel(&my->p[0]), 1);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a A 0");
    CHECK_ENDED(&my->p[0], CORO_OK, 0);
    CHECK_EQ(barrier.arrived, 0);
    CORO_END(0);
}

/* S04, D2 */
TEST(a_party_cancelled_after_the_last_one_came_has_passed)
{
    RUN(cancelled_when_let_go);
}

/* ---- a queue as a wait group ----------------------------------------------------------------- */

static CORO_QUEUE(int, 8) work;

struct joiner {
    CORO_FRAME;
    char name;
    int got;
};

CORO(joiner)
{
    CORO_BEGIN();
    say("%c", my->name);
    CORO_AWAIT(my->got, coro_queue_join(co, &work));
    say(my->got ? "%c!" : "%c.", my->name);
    CORO_END(my->got);
}

struct wait_group {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(joiner) j[3];
    int i, rc;
};

CORO(wait_group)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_queue_join(co, &work)); /* nothing to wait for */
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_queue_done(&work), -EINVAL);
    CHECK_EQ(work.head.unfinished, 0);
    for (my->i = 0; my->i < 3; my->i++)
        CORO_TRY(coro_queue_put(co, &work, &my->i));
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 3; my->i++)
        coro_start(&my->g, &my->j[my->i], joiner, .name = (char)('a' + my->i));
    TURN();
    CHECK_EQ(coro_task_cancel(&my->j[1]), 1);
    TURN();
    CHECK_TRACE("a b c b!");
    CHECK_EQ(work.head.unfinished, 3);
    CHECK_EQ(work.head.joiners.waiting, 2);
    CHECK_EQ(coro_queue_fini(&work), -EBUSY);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->rc, coro_queue_get(co, &work, &my->rc));
        CHECK_EQ(coro_queue_done(&work), 0);
        CHECK_EQ(work.head.joiners.waiting, my->i < 2 ? 2 : 0);
    }
    CHECK_EQ(coro_queue_done(&work), -EINVAL);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a. c.");
    CHECK_EQ(coro_queue_fini(&work), 0);
    CORO_END(0);
}

/* S44 */
TEST(a_wait_group_ends_at_zero_and_cannot_go_below)
{
    RUN(wait_group);
}
