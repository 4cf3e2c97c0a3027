/* test_mutex.c -- mutex, condition, rwlock; and the hooks of coro.h that they stand on: notes,
 * coro_move, coro_alarm. (semantics.md 4: S01-S15, S29-S35, S68-S72)
 *
 * Most tests are little plays: each actor, a task, works through a script of words, and what came
 * of each word is written down as "<actor><time in ms>:<word>", with the result where it is not 0:
 *
 *     PLAY("a0:lock a5:unlock b5:lock b5:unlock",     what is to happen
 *          "lock sleep:5 unlock",                     a
 *          "lock unlock");                            b
 *
 * word:x gives an argument: a time, a number, an object, an actor; word<5 sets a limit of 5 ms.
 * Sleeps and cancellations that went well are not written down; questions begin with a `?`.
 */
#include "coro_sync.h"
#include "sweep.h"
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stage {
    coro_mutex mutex[2];
    coro_cond cond;
    coro_rwlock rw;
} w;

static coro_loop here, there;
static char trace[4096], said[8192];
static uint8_t budget;      /* of the loop */
static bool may_report;     /* this play is allowed to report something */

/* Where actors wait. */
static struct lines {
    int sleep, lock, wait, read, select;
} lines;

/* ---- plays ----------------------------------------------------------------------------------- */

struct actor {
    CORO_FRAME;
    char name;
    const char *script; /* the rest of it */
    char word[16];
    int arg;
    coro_time limit;
    int rc;
    coro_case c;
};

#include "play.h"

static coro_task *actors[8]; /* a, b, c ... */

static int act_on_rwlock(coro_task *co, const struct actor *my)
{
    if (is(my, "tryread"))
        return coro_rwlock_try_read_lock(co, &w.rw);
    if (is(my, "trywrite"))
        return coro_rwlock_try_write_lock(co, &w.rw);
    if (is(my, "unread"))
        return coro_rwlock_read_unlock(&w.rw);
    if (is(my, "unwrite"))
        return coro_rwlock_write_unlock(co, &w.rw);
    if (is(my, "downgrade"))
        return coro_rwlock_downgrade(co, &w.rw);
    if (is(my, "limit"))
        return coro_rwlock_limit(&w.rw, (coro_count)my->arg);
    if (is(my, "rwrepair"))
        return coro_rwlock_repair(&w.rw);
    if (is(my, "rwfini"))
        return coro_rwlock_fini(&w.rw);
    if (is(my, "?readers"))
        return (int)w.rw.readers;
    if (is(my, "?rwwaiting"))
        return (int)w.rw.line.waiting;
    TEST_FAIL("no such word: %s", my->word);
}

/* The words that do not wait: a plain function, not a coroutine. S06 */
static int act(coro_task *co, const struct actor *my)
{
    coro_mutex *m = &w.mutex[my->arg == 1];
    if (is(my, "trylock"))
        return coro_mutex_try_lock(co, m);
    if (is(my, "unlock"))
        return coro_mutex_unlock(co, m);
    if (is(my, "repair"))
        return coro_mutex_repair(m);
    if (is(my, "fini"))
        return coro_mutex_fini(m);
    if (is(my, "signal"))
        return coro_cond_signal(&w.cond);
    if (is(my, "broadcast"))
        return coro_cond_broadcast(&w.cond);
    if (is(my, "condfini"))
        return coro_cond_fini(&w.cond);
    if (is(my, "cancel"))
        return coro_task_cancel(actors[my->arg]) - 1;
    if (is(my, "?waiting"))
        return (int)m->line.waiting;
    if (is(my, "?most"))
        return (int)m->line.most;
    if (is(my, "?parked"))
        return (int)w.cond.line.waiting;
#if CORO_LINE_TIMES
    if (is(my, "?longest"))
        return (int)(m->line.longest / CORO_MS(1));
#endif /* CORO_LINE_TIMES */
    return act_on_rwlock(co, my);
}

static coro_op lock(coro_task *co, const struct actor *my)
{
    return coro_mutex_lock(co, &w.mutex[my->arg]);
}

static coro_op cond_wait(coro_task *co, const struct actor *my)
{
    return coro_cond_wait(co, &w.cond, &w.mutex[my->arg]);
}

CORO(actor)
{
    CORO_BEGIN();
    while (next_word(my)) {
        if (is(my, "sleep")) {
            lines.sleep = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(my->arg)));
        } else if (is(my, "lock")) {
            lines.lock = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, lock(co, my)));
        } else if (is(my, "wait")) {
            lines.wait = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, cond_wait(co, my)));
        } else if (is(my, "read")) {
            lines.read = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_rwlock_read_lock(co, &w.rw)));
        } else if (is(my, "write")) {
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_rwlock_write_lock(co, &w.rw)));
        } else if (is(my, "select")) {
            coro_case_mutex(&my->c, &w.mutex[0]);
            lines.select = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_select(co, &my->c, 1)));
            my->rc = my->rc ? my->rc : (int)my->c.rc;
        } else if (is(my, "join")) {
            CORO_AWAIT(my->rc, coro_join(co, actors[my->arg]));
        } else {
            my->rc = act(co, my);
        }
        tell(co, my);
    }
    CORO_END(0);
}

/* At every step: all lists are whole. */
static void look(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    if (event == CORO_EVENT_RESUME || event == CORO_EVENT_SUSPEND)
        CHECK_STR(coro_verify(coro_loop_of(task)), NULL);
}

static void open_stage(coro_loop *l)
{
    coro_options o = {.clock = CORO_VIRTUAL};
    o.budget = budget;
    o.on_event = look;
    o.report.put = keep_report;
    CHECK_EQ(coro_loop_init(l, &o), 0);
}

static CORO_TASK(actor) roles[8];

/* Actor number n comes on, with a script. */
static void enter(coro_loop *l, int n, const char *script)
{
    char name = (char)('a' + n);
    actors[n] = &roles[n].task;
    CHECK_EQ(coro_start(&l->root, &roles[n], actor, .name = name, .script = script), 0);
}

/* Everything lies where it was in the beginning. */
static void check_stage(void)
{
    CHECK_EQ(coro_mutex_fini(&w.mutex[0]), 0);
    CHECK_EQ(coro_mutex_fini(&w.mutex[1]), 0);
    CHECK_EQ(coro_cond_fini(&w.cond), 0);
    CHECK_EQ(coro_rwlock_fini(&w.rw), 0);
    CHECK_EQ(w.mutex[0].line.waiting, 0);
    CHECK_EQ(w.mutex[1].line.waiting, 0);
    CHECK_EQ(w.cond.line.waiting, 0);
    CHECK_EQ(w.rw.line.waiting, 0);
}

static int perform(const char *want, const char *script, va_list more)
{
    int n = 0, rc;
    *trace = *said = 0;
    open_stage(&here);
    for (; script; script = va_arg(more, const char *))
        enter(&here, n++, script);
    rc = coro_loop_run(&here);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_STR(trace, want);
    check_stage();
    return rc;
}

__attribute__((sentinel))
static void play(const char *want, const char *script, ...)
{
    va_list more;
    va_start(more, script);
    CHECK_EQ(perform(want, script, more), 0);
    va_end(more);
    if (!may_report)
        CHECK_STR(said, "");
}

/* It comes to a point where all wait for each other. */
__attribute__((sentinel))
static void play_deadlock(const char *want, const char *script, ...)
{
    va_list more;
    va_start(more, script);
    CHECK_EQ(perform(want, script, more), -EDEADLK);
    va_end(more);
}

#define PLAY(want, ...) play(want, __VA_ARGS__, (const char *)NULL)
#define PLAY_DEADLOCK(want, ...) play_deadlock(want, __VA_ARGS__, (const char *)NULL)

#if CORO_DEBUG
/* "coro: task 1 actor<what>, at actor test_mutex.c:123\n" */
static const char *report_of(int task, const char *what, int line)
{
    static char buffer[4][256];
    static int next;
    char *p = buffer[next++ % 4];
#if CORO_NAMES
    snprintf(p, sizeof buffer[0], "coro: task %d actor%s, at actor %s:%d\n", task, what, __FILE__,
             line);
#else
    snprintf(p, sizeof buffer[0], "coro: task %d task%s, at line %d\n", task, what, line);
#endif /* CORO_NAMES */
    return p;
}
#endif /* CORO_DEBUG */

/* ---- mutex: order ---------------------------------------------------------------------------- */

/* S01 */
TEST(mutex_goes_to_those_who_wait_in_the_order_in_which_they_came)
{
    PLAY("a0:lock a10:unlock b10:lock b10:unlock c10:lock c10:unlock d10:lock d10:unlock",
         "lock sleep:10 unlock",
         "sleep:1 lock unlock",
         "sleep:2 lock unlock",
         "sleep:3 lock unlock");
    CHECK_EQ(w.mutex[0].line.most, 3);
}

/* S02 */
TEST(unlocked_mutex_is_the_next_ones_before_that_one_has_run)
{
    PLAY("a0:lock a2:unlock a2:trylock=EAGAIN c2:trylock=EAGAIN b2:lock b2:unlock a2:lock "
         "a2:unlock",
         "lock sleep:2 unlock trylock lock unlock",
         "lock unlock",
         "sleep:2 trylock");
}

/* S02 */
TEST(who_unlocks_and_locks_again_at_once_queues_behind_all_who_wait)
{
    PLAY("a0:lock a2:unlock b2:lock b2:unlock c2:lock c2:unlock a2:lock a2:unlock",
         "lock sleep:2 unlock lock unlock",
         "lock unlock",
         "lock unlock");
}

/* S03 */
TEST(waiter_whose_time_is_up_leaves_the_mutexs_line_at_once)
{
    PLAY("a0:lock c4:?waiting=1 b5:lock=ETIMEDOUT c6:?waiting=0 a10:unlock c10:trylock c10:unlock",
         "lock sleep:10 unlock",
         "lock<5",
         "sleep:4 ?waiting sleep:2 ?waiting sleep:4 trylock unlock");
}

/* S03 S14 */
TEST(cancelled_waiter_leaves_the_mutexs_line_and_wakes_no_other)
{
    PLAY("a0:lock d1:?waiting=1 b1:lock=ECANCELED a10:unlock c10:lock c10:unlock",
         "lock sleep:10 unlock",
         "lock",
         "lock unlock",
         "sleep:1 cancel:b ?waiting");
}

TEST(mutex_that_is_tried_once_is_got_when_it_is_free_and_times_out_when_not)
{
    PLAY("a0:lock b0:lock=ETIMEDOUT b0:?waiting=0 a1:unlock b2:lock b2:unlock",
         "lock<0 sleep:1 unlock",
         "lock<0 ?waiting sleep:2 lock<0 unlock");
}

/* S15 */
TEST(mutex_that_nobody_else_wants_does_not_change_the_order_of_tasks)
{
    PLAY("a0:?most=0 a0:lock a0:unlock a0:lock a0:unlock b0:?most=0 a0:lock a0:unlock "
         "b0:lock b0:unlock",
         "?most lock unlock lock unlock sleep lock unlock",
         "?most sleep lock unlock");
}

/* S15 F04 */
TEST(mutex_that_is_got_at_once_counts_against_the_budget_and_is_held_meanwhile)
{
    budget = 1;
    PLAY("b0:trylock=EAGAIN a0:lock a0:unlock",
         "lock unlock",
         "trylock");
}

/* S10 */
TEST(mutex_tells_how_many_wait_and_did_and_how_long_the_longest_wait_was_that_was_seen)
{
    PLAY("a0:lock d5:?waiting=2 d5:?most=2 a10:unlock b10:lock "
         "d11:?waiting=1 d11:?most=2 b15:unlock c15:lock c15:unlock d20:?waiting=0 d20:?most=2",
         "lock sleep:10 unlock",
         "sleep:1 lock sleep:5 unlock",
         "sleep:2 lock unlock",
         "sleep:5 ?waiting ?most sleep:6 ?waiting ?most sleep:9 ?waiting ?most");
#if CORO_LINE_TIMES
    CHECK_EQ(w.mutex[0].line.longest, CORO_MS(13)); /* c's */
    PLAY("a0:lock b5:lock=ETIMEDOUT a20:unlock c20:lock c20:unlock c20:?longest=14",
         "lock sleep:20 unlock",
         "lock<5",
         "sleep:6 lock unlock ?longest");
    PLAY("a0:lock a1:unlock b1:lock b1:unlock b1:?longest=14",
         "lock sleep:1 unlock",
         "lock unlock ?longest");
#endif /* CORO_LINE_TIMES */
}

/* S07 */
TEST(mutex_that_is_all_zeros_is_free_and_goes_from_one_loop_to_the_next)
{
    static coro_mutex zeros;
    CHECK_EQ(memcmp(&w.mutex[0], &zeros, sizeof zeros), 0);
    PLAY("a0:lock b0:trylock=EAGAIN a1:unlock", "lock sleep:1 unlock", "trylock");
    PLAY("a0:lock b0:trylock=EAGAIN a1:unlock", "lock sleep:1 unlock", "trylock");
}

/* ---- mutex: cancellation --------------------------------------------------------------------- */

/* S04 */
TEST(waiter_that_is_cancelled_just_before_the_unlock_is_passed_over)
{
    PLAY("a0:lock a5:unlock b5:lock=ECANCELED c5:lock c5:unlock",
         "lock sleep:5 cancel:b unlock",
         "lock",
         "lock unlock");
}

/* S04 */
TEST(waiter_that_is_cancelled_just_after_the_unlock_has_the_mutex)
{
    PLAY("a0:lock a5:unlock b5:lock b5:sleep=ECANCELED b5:unlock c5:lock c5:unlock",
         "lock sleep:5 unlock cancel:b",
         "lock sleep:1 unlock",
         "lock unlock");
}

/* S04 */
TEST(waiter_whose_time_is_up_at_the_moment_of_the_unlock_did_not_get_the_mutex)
{
    PLAY("a5:trylock a10:unlock b10:lock=ETIMEDOUT c10:lock c10:unlock",
         "sleep:5 trylock sleep:5 unlock",
         "sleep:6 lock<4",
         "sleep:7 lock unlock");
}

/* S05 */
TEST(cancelled_task_does_not_get_a_free_mutex_by_waiting_and_can_unlock_its_own)
{
    PLAY("b0:?waiting=0 b0:trylock b0:unlock a0:lock=ECANCELED",
         "cancel:a lock",
         "?waiting trylock unlock");
    PLAY("a0:lock a0:unlock b0:lock b0:unlock a0:lock=ECANCELED",
         "lock cancel:a unlock lock",
         "lock unlock");
}

/* ---- mutex: mistakes ------------------------------------------------------------------------- */

/* S11 */
TEST(mutex_is_unlocked_only_by_who_has_it)
{
    may_report = true;
    PLAY("a0:unlock=EPERM a0:lock b0:unlock=EPERM b0:trylock=EAGAIN a1:unlock a1:unlock=EPERM "
         "b2:lock b2:unlock",
         "unlock lock sleep:1 unlock unlock",
         "unlock trylock sleep:2 lock unlock");
}

/* S12 */
TEST(mutex_that_is_locked_twice_by_one_task_is_a_deadlock_at_once)
{
    PLAY("a0:lock a0:lock=EDEADLK a0:trylock=EDEADLK a0:lock=EDEADLK a0:?waiting=0 a0:unlock "
         "a0:trylock a0:trylock=EDEADLK a0:unlock",
         "lock lock trylock lock<0 ?waiting unlock trylock trylock unlock");
}

TEST(two_who_lock_two_mutexes_in_opposite_order_are_reported_and_cancelled)
{
    PLAY_DEADLOCK("a0:lock b0:lock a0:lock=ECANCELED a0:unlock b0:lock=ECANCELED b0:unlock",
                  "lock:0 sleep lock:1 unlock:0",
                  "lock:1 sleep lock:0 unlock:1");
    CHECK_CONTAINS(said, "deadlock");
    CHECK_CONTAINS(said, "for mutex\n");
}

/* ---- mutex: owners that end ------------------------------------------------------------------ */

/* S13 */
TEST(mutex_whose_owner_ended_fails_for_all_who_wait_and_come_until_it_is_repaired)
{
    may_report = true;
    PLAY("d0:repair=EINVAL a0:lock b5:lock=EOWNERDEAD c5:lock=EOWNERDEAD c5:unlock=EPERM "
         "d6:lock=EOWNERDEAD d6:trylock=EOWNERDEAD d6:?waiting=0 d6:fini "
         "d6:repair d6:repair=EINVAL d6:trylock d6:unlock d6:lock d6:unlock",
         "sleep lock sleep:5",
         "sleep lock",
         "sleep lock unlock",
         "repair sleep:6 lock trylock ?waiting fini repair repair trylock unlock lock unlock");
#if CORO_DEBUG
    CHECK_STR(said, report_of(0, " has ended without unlocking a mutex", lines.sleep));
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* S13 */
TEST(task_that_ends_with_two_mutexes_leaves_both_to_be_repaired)
{
    may_report = true;
    PLAY("a0:lock a0:lock b1:trylock=EOWNERDEAD b1:trylock=EOWNERDEAD b1:repair b1:repair "
         "b1:lock b1:lock b1:unlock b1:unlock",
         "lock:0 lock:1",
         "sleep:1 trylock:0 trylock:1 repair:0 repair:1 lock:0 lock:1 unlock:0 unlock:1");
}

/* S13 */
TEST(mutex_handed_to_a_waiter_that_ends_with_it_is_dead_as_well)
{
    may_report = true;
    PLAY("a0:lock a1:unlock b1:lock c1:lock=EOWNERDEAD c1:repair",
         "lock sleep:1 unlock",
         "lock",
         "lock repair");
}

/* Notes come first, then joiners: who waits for the mutex knows before. */
TEST(those_who_wait_for_a_dead_owners_mutex_run_before_those_who_join_it)
{
    may_report = true;
    PLAY("a0:lock c5:lock=EOWNERDEAD c5:repair b5:join",
         "lock sleep:5",
         "join:a",
         "lock repair");
}

TEST(mutex_unlocked_out_of_order_is_forgotten_by_its_owner)
{
    PLAY("a0:lock a0:lock a0:unlock a0:unlock", "lock:0 lock:1 unlock:0 unlock:1");
    PLAY("a0:lock a0:lock a0:unlock a0:unlock", "lock:0 lock:1 unlock:1 unlock:0");
}

TEST(mutex_is_handed_to_a_select_in_its_turn)
{
    PLAY("a0:lock a0:select=EDEADLK a5:unlock b5:lock b5:unlock d5:trylock=EAGAIN c5:select "
         "c5:lock=EDEADLK c5:unlock",
         "lock select sleep:5 unlock",
         "lock unlock",
         "select lock unlock",
         "sleep:5 sleep trylock"); /* after b's step, before c's */
    PLAY("a0:lock c3:select=ETIMEDOUT a5:unlock b5:lock b5:unlock",
         "lock sleep:5 unlock",
         "lock unlock",
         "select<3");
}

/* S01: also when the task before a select has gone, or gives up */
TEST(mutex_goes_to_tasks_and_selects_in_the_order_in_which_they_came)
{
    PLAY("a0:lock d2:lock=ETIMEDOUT a5:unlock b5:lock b5:unlock c5:select c5:unlock e5:select "
         "e5:unlock f5:lock f5:unlock g5:select g5:unlock",
         "lock sleep:5 unlock",
         "lock unlock",
         "select unlock",
         "lock<2",
         "select unlock",
         "lock unlock",
         "select unlock");
}

TEST(select_that_waits_for_a_dead_owners_mutex_is_told)
{
    may_report = true;
    PLAY("a0:lock b5:select=EOWNERDEAD b5:repair b5:select b5:unlock",
         "lock sleep:5",
         "select repair select unlock");
}

/* ---- mutex: in use --------------------------------------------------------------------------- */

/* S08 */
TEST(mutex_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("a0:lock d1:fini=EBUSY d1:?waiting=2 a5:unlock b5:lock b5:unlock c5:select c5:unlock "
         "d6:fini",
         "lock sleep:5 unlock",
         "lock unlock",
         "select unlock",
         "sleep:1 fini ?waiting sleep:5 fini");
#if CORO_DEBUG
    static char want[1024];
    snprintf(want, sizeof want, "%s%s%s",
             report_of(0, " holds what is to be ended", lines.sleep),
             report_of(1, " waits for what is to be ended", lines.lock),
             report_of(2, " waits in a select for what is to be ended", lines.select));
    CHECK_STR(said, want);
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* S08 */
TEST(mutex_without_anybody_waiting_is_in_use_while_it_is_locked)
{
    may_report = true;
    PLAY("a0:fini a0:lock a0:fini=EBUSY a0:unlock a0:fini", "fini lock fini unlock fini");
}

TEST(mutex_that_was_perhaps_not_locked_may_be_unlocked_in_silence)
{
    PLAY("a0:lock b0:lock=ECANCELED b0:unlock=EPERM a5:unlock",
         "lock sleep:5 unlock",
         "cancel:b lock unlock");
}

/* ---- two loops ------------------------------------------------------------------------------- */

/* a comes on in one loop and begins; then b in another one, which runs to its end; then a's goes on
 * to its end. */
static void play_in_two_loops(const char *want, const char *a, const char *b)
{
    *trace = *said = 0;
    open_stage(&here);
    open_stage(&there);
    enter(&here, 0, a);
    enter(&there, 1, b);
    CHECK_EQ(coro_loop_step(&here), 1);
    CHECK_EQ(coro_loop_run(&there), 0);
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_EQ(coro_loop_fini(&there), 0);
    CHECK_STR(trace, want);
    check_stage();
}

/* S09 */
TEST(mutex_that_a_task_of_another_loop_has_is_not_waited_for)
{
    play_in_two_loops("a0:lock b0:lock=EPERM b0:trylock=EPERM b0:?waiting=0 a1:unlock",
                      "lock sleep:1 unlock",
                      "lock trylock ?waiting");
}

/* S09 */
TEST(mutex_that_a_task_of_another_loop_has_is_no_case_of_a_select)
{
    play_in_two_loops("a0:lock b0:select=EPERM b0:?waiting=0 a1:unlock",
                      "lock sleep:1 unlock",
                      "select ?waiting");
}

/* S09 */
TEST(rwlock_that_a_task_of_another_loop_writes_is_not_waited_for)
{
    play_in_two_loops("a0:write b0:read=EPERM b0:write=EPERM b0:tryread=EPERM b0:?rwwaiting=0 "
                      "a1:unwrite",
                      "write sleep:1 unwrite",
                      "read write tryread ?rwwaiting");
}

/* S09 */
TEST(rwlock_that_a_task_of_another_loop_waits_for_is_not_waited_for)
{
    play_in_two_loops("a0:read b0:write=EPERM b0:read=EPERM a9:write=ETIMEDOUT a9:unread",
                      "read write<9 unread",
                      "write read");
}

/* S09 */
TEST(condition_at_which_a_task_of_another_loop_waits_is_not_waited_for)
{
    play_in_two_loops("a0:lock b0:lock b0:wait=EPERM b0:unlock a9:wait=ETIMEDOUT a9:unlock",
                      "lock wait<9 unlock",
                      "lock wait unlock");
}

/* S09 */
TEST(condition_at_which_a_task_of_another_loop_waits_is_not_signalled)
{
    play_in_two_loops("a0:lock b0:lock b0:signal=EPERM b0:broadcast=EPERM b0:unlock "
                      "a9:wait=ETIMEDOUT a9:unlock",
                      "lock wait<9 unlock",
                      "lock signal broadcast unlock");
}

/* ---- condition ------------------------------------------------------------------------------- */

/* S29 */
TEST(condition_is_waited_for_and_signalled_with_the_mutex_only)
{
    may_report = true;
    PLAY("a0:wait=EPERM a0:lock b0:wait=EPERM b1:signal=EPERM b1:broadcast=EPERM b1:?parked=1 "
         "b1:lock b1:signal=1 b1:unlock a1:wait a1:unlock",
         "wait lock wait unlock",
         "wait sleep:1 signal broadcast ?parked lock signal unlock");
}

/* S30 S33 */
TEST(condition_gives_the_mutex_up_and_wakes_when_the_one_who_signals_unlocks)
{
    PLAY("a0:lock b0:lock b0:signal=1 b0:?parked=0 b0:?waiting=1 b5:unlock a5:wait a5:unlock",
         "lock wait unlock",
         "lock signal ?parked ?waiting sleep:5 unlock");
}

/* S33 */
TEST(condition_wakes_in_order_and_behind_those_who_want_the_mutex_already)
{
    PLAY("a0:lock b0:lock c0:lock d0:lock d5:signal=1 d5:?parked=2 d5:unlock "
         "e5:lock e6:broadcast=2 e6:unlock a6:wait a6:unlock b6:wait b6:unlock c6:wait c6:unlock",
         "lock wait unlock",
         "lock wait unlock",
         "lock wait unlock",
         "lock sleep:5 signal ?parked unlock",
         "sleep:1 lock sleep:1 broadcast unlock");
}

/* S33 */
TEST(condition_broadcast_wakes_all_however_many)
{
    PLAY("a0:lock b0:lock c0:lock d0:lock e1:lock e1:broadcast=4 e1:?waiting=4 e1:broadcast "
         "e1:unlock a1:wait a1:unlock b1:wait b1:unlock c1:wait c1:unlock d1:wait d1:unlock",
         "lock wait unlock",
         "lock wait unlock",
         "lock wait unlock",
         "lock wait unlock",
         "sleep:1 lock broadcast ?waiting broadcast unlock");
}

/* S34 */
TEST(condition_keeps_no_signal_for_those_who_come_later)
{
    PLAY("a0:signal a0:lock a0:signal a0:broadcast a5:wait=ETIMEDOUT a5:unlock",
         "signal lock signal broadcast wait<5 unlock");
}

/* S31 */
TEST(condition_whose_wait_times_out_has_the_mutex_again_however_long_that_takes)
{
    PLAY("a0:lock b1:lock b3:?parked=1 b6:?parked=0 b6:?waiting=1 b10:unlock a10:wait=ETIMEDOUT "
         "a10:unlock",
         "lock wait<5 unlock",
         "sleep:1 lock sleep:2 ?parked sleep:3 ?parked ?waiting sleep:4 unlock");
    PLAY("a0:lock a5:wait=ETIMEDOUT a5:trylock=EDEADLK a5:unlock",
         "lock wait<5 trylock unlock");
}

/* S31 */
TEST(condition_that_is_tried_once_times_out_and_lets_those_who_want_the_mutex_have_it)
{
    PLAY("a0:lock a0:wait=ETIMEDOUT a0:unlock", "lock wait<0 unlock");
    PLAY("a0:lock b1:lock b1:unlock a1:wait=ETIMEDOUT a1:unlock",
         "lock sleep:1 wait<0 unlock",
         "lock unlock");
}

/* S31 */
TEST(condition_whose_waiter_is_cancelled_has_the_mutex_again_however_long_that_takes)
{
    PLAY("a0:lock b1:lock b2:?parked=0 b2:?waiting=1 b9:unlock a9:wait=ECANCELED "
         "a9:trylock=EDEADLK a9:wait=ECANCELED a9:unlock",
         "lock wait trylock wait unlock",
         "sleep:1 lock sleep:1 cancel:a ?parked ?waiting sleep:7 unlock");
    PLAY("a0:lock a3:wait=ECANCELED a3:trylock=EDEADLK a3:unlock",
         "lock wait trylock unlock",
         "sleep:3 cancel:a");
}

/* S31 */
TEST(condition_whose_wait_has_ended_is_not_ended_again_on_the_way_to_the_mutex)
{
    PLAY("a0:lock c0:lock b1:lock b1:?parked=2 b5:?waiting=2 b9:unlock c9:wait=ECANCELED c9:unlock "
         "a9:wait=ETIMEDOUT a9:unlock",
         "lock wait<3 unlock",
         "sleep:1 lock ?parked sleep:4 cancel:a ?waiting sleep:4 unlock",
         "lock wait<7 unlock",
         "sleep:2 cancel:c");
}

/* S32 */
TEST(condition_signalled_before_the_cancellation_has_happened)
{
    PLAY("a0:lock b0:lock c1:lock c1:signal=1 c1:unlock a1:wait a1:sleep=ECANCELED a1:unlock "
         "c9:lock c9:signal=1 c9:unlock b9:wait b9:unlock",
         "lock wait sleep:1 unlock",
         "lock wait unlock",
         "sleep:1 lock signal cancel:a unlock sleep:8 lock signal unlock");
}

/* S32 */
TEST(condition_signalled_before_its_time_is_up_has_happened)
{
    PLAY("a0:lock b1:lock b1:signal=1 b9:unlock a9:wait a9:unlock",
         "lock wait<5 unlock",
         "sleep:1 lock signal sleep:8 unlock");
}

/* S32 */
TEST(condition_signalled_after_the_cancellation_wakes_another)
{
    PLAY("a0:lock b0:lock c1:lock c1:signal=1 c1:?parked=0 c1:unlock a1:wait=ECANCELED a1:unlock "
         "b1:wait b1:unlock",
         "lock wait unlock",
         "lock wait unlock",
         "sleep:1 lock cancel:a signal ?parked unlock");
}

TEST(condition_is_used_with_one_mutex_at_a_time)
{
    PLAY("a0:lock b0:lock b0:wait=EINVAL b0:trylock=EDEADLK b0:unlock c1:lock c1:signal=1 "
         "c1:unlock a1:wait a1:unlock b2:lock b3:wait=ETIMEDOUT b3:unlock",
         "lock:0 wait:0 unlock:0",
         "lock:1 wait:1 trylock:1 unlock:1 sleep:2 lock:1 wait:1<1 unlock:1",
         "sleep:1 lock signal unlock");
}

TEST(cancelled_task_does_not_begin_to_wait_at_a_condition_and_keeps_the_mutex)
{
    PLAY("a0:lock a0:wait=ECANCELED a0:?parked=0 a0:unlock", "lock cancel:a wait ?parked unlock");
}

/* S13 */
TEST(condition_whose_mutexs_owner_ended_fails_for_those_who_were_signalled)
{
    may_report = true;
    PLAY("a0:lock b0:lock c1:lock c1:signal=1 c1:?parked=1 a1:wait=EOWNERDEAD a1:unlock=EPERM "
         "d2:signal=EPERM d2:repair d2:lock d2:signal=1 d2:unlock b2:wait b2:unlock",
         "lock wait unlock",
         "lock wait unlock",
         "sleep:1 lock signal ?parked",
         "sleep:2 signal repair lock signal unlock");
}

/* S13 */
TEST(condition_that_times_out_while_the_mutex_is_dead_does_not_get_it)
{
    may_report = true;
    PLAY("a0:lock b0:lock c1:lock a3:wait=EOWNERDEAD d4:repair b5:wait=ECANCELED b5:unlock",
         "lock wait<3",
         "lock wait unlock",
         "sleep:1 lock",
         "sleep:4 repair sleep:1 cancel:b");
}

/* S08 */
TEST(condition_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("a0:lock b1:condfini=EBUSY b1:?parked=1 b1:lock b1:signal=1 b1:condfini b1:fini=EBUSY "
         "b1:unlock a1:wait a1:unlock",
         "lock wait unlock",
         "sleep:1 condfini ?parked lock signal condfini fini unlock");
#if CORO_DEBUG
    CHECK_CONTAINS(said, report_of(0, " waits for what is to be ended", lines.wait));
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

struct pot {
    coro_mutex lock;
    coro_cond changed;
    int coins;
    char log[64];
};

struct saver { CORO_FRAME; struct pot *pot; int want; };
CORO(saver)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &my->pot->lock));
    while (my->pot->coins < my->want)
        CORO_TRY(coro_cond_wait(co, &my->pot->changed, &my->pot->lock));
    my->pot->coins -= my->want;
    snprintf(my->pot->log + strlen(my->pot->log), 8, "%d ", my->want);
CORO_FINALLY:
    (void)coro_mutex_unlock(co, &my->pot->lock);
    CORO_END(0);
}

struct giver { CORO_FRAME; struct pot *pot; int i; };
CORO(giver)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 9; my->i++) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        CORO_TRY(coro_mutex_lock(co, &my->pot->lock));
        my->pot->coins++;
        (void)coro_cond_broadcast(&my->pot->changed);
        (void)coro_mutex_unlock(co, &my->pot->lock);
    }
    CORO_END(0);
}

/* S35 */
TEST(condition_in_a_loop_waits_until_what_it_waits_for_is_true)
{
    static struct pot pot;
    static CORO_TASK(saver) savers[3];
    open_stage(&here);
    for (int i = 0; i < 3; i++)
        coro_start(&here.root, &savers[i], saver, .pot = &pot, .want = 4 - i);
    coro_spawn(&here.root, giver, .pot = &pot);
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_STR(pot.log, "2 3 4 ");
    CHECK_EQ(pot.coins, 0);
    CHECK_EQ(coro_cond_fini(&pot.changed), 0);
    CHECK_EQ(coro_mutex_fini(&pot.lock), 0);
    CHECK_EQ(coro_loop_fini(&here), 0);
}

/* ---- rwlock ---------------------------------------------------------------------------------- */

/* S68 */
TEST(rwlock_lets_readers_read_together_and_a_writer_write_alone)
{
    PLAY("a0:read b0:read b0:?readers=2 c0:trywrite=EAGAIN a5:unread b5:unread "
         "a5:tryread=EAGAIN c5:write c6:unwrite a7:tryread a7:unread",
         "read sleep:5 unread sleep tryread sleep:2 tryread unread",
         "read ?readers sleep:5 unread",
         "trywrite write sleep:1 unwrite");
}

/* S68 */
TEST(rwlock_makes_a_reader_behind_a_waiting_writer_wait_and_admits_readers_together)
{
    PLAY("a0:read d0:tryread=EAGAIN d0:?rwwaiting=2 a5:unread b5:write b9:unwrite c9:read "
         "d9:read e9:read e9:?readers=3 e9:?rwwaiting=1 c9:unread d9:unread e9:unread f9:write "
         "f9:unwrite",
         "read sleep:5 unread",
         "write sleep:4 unwrite",
         "read sleep unread",
         "tryread ?rwwaiting read sleep unread",
         "read ?readers ?rwwaiting sleep unread",
         "write unwrite");
}

/* S69 */
TEST(rwlock_admits_the_readers_behind_a_writer_that_is_cancelled_or_times_out)
{
    PLAY("a0:read e3:?readers=3 b3:write=ECANCELED c3:read c3:unread d3:read d3:unread a9:unread",
         "read sleep:9 unread",
         "write",
         "read unread",
         "read unread",
         "sleep:3 cancel:b ?readers");
    PLAY("a0:read b3:write=ETIMEDOUT c3:read c3:unread a9:unread d9:write d9:unwrite",
         "read sleep:9 unread",
         "write<3",
         "read unread",
         "write unwrite");
    PLAY("a0:write b3:write=ETIMEDOUT d4:?rwwaiting=1 a9:unwrite c9:read c9:unread",
         "write sleep:9 unwrite",
         "write<3",
         "read unread",
         "sleep:4 ?rwwaiting");
}

/* S04 */
TEST(rwlock_that_was_given_before_the_cancellation_is_held)
{
    PLAY("a0:write a5:unwrite b5:read c5:read c5:unread d5:write=ECANCELED d5:unwrite=EPERM "
         "b5:sleep=ECANCELED b5:unread",
         "write sleep:5 unwrite cancel:b cancel:d",
         "read sleep:1 unread",
         "read unread",
         "write unwrite");
    PLAY("a0:write a5:unwrite b5:write b5:sleep=ECANCELED b5:unwrite c5:read c5:unread",
         "write sleep:5 unwrite cancel:b",
         "write sleep:1 unwrite",
         "read unread");
}

/* S05 */
TEST(rwlock_is_not_given_to_a_cancelled_task_that_waits_and_is_taken_from_it)
{
    PLAY("b0:?readers=0 b0:trywrite b0:unwrite a0:read=ECANCELED a0:write=ECANCELED",
         "cancel:a read write",
         "?readers trywrite unwrite");
    PLAY("a0:write a0:downgrade a0:unread", "write cancel:a downgrade unread");
}

TEST(rwlock_that_is_tried_once_times_out_when_it_is_not_free)
{
    PLAY("a0:write b0:read=ETIMEDOUT b0:write=ETIMEDOUT b0:?rwwaiting=0 a1:unwrite b2:write "
         "b2:downgrade b2:unread",
         "write<0 sleep:1 unwrite",
         "read<0 write<0 ?rwwaiting sleep:2 write<0 downgrade unread");
}

/* S70 */
TEST(rwlock_downgraded_lets_waiting_readers_in_and_no_writer_in_between)
{
    PLAY("a0:write d0:trywrite=EAGAIN a5:downgrade a5:?readers=2 a5:unwrite=EPERM b5:read "
         "b5:unread a9:unread d9:tryread=EAGAIN c9:write c9:unwrite",
         "write sleep:5 downgrade ?readers unwrite sleep:4 unread",
         "read unread",
         "write sleep unwrite",
         "trywrite sleep:9 sleep tryread");
}

/* S71: documented; the loop sees it */
TEST(rwlock_read_twice_by_one_task_around_a_waiting_writer_is_a_deadlock)
{
    PLAY_DEADLOCK("a0:read a1:read=ECANCELED a1:unread b1:write=ECANCELED",
                  "read sleep:1 read unread",
                  "write");
    CHECK_CONTAINS(said, "deadlock");
    CHECK_CONTAINS(said, "for rwlock\n");
}

/* S72 */
TEST(rwlock_with_a_limit_lets_so_many_readers_in)
{
    PLAY("a0:limit=EINVAL a0:limit a0:read b0:read c0:tryread=EAGAIN d0:?rwwaiting=1 a5:unread "
         "c5:read c5:unread b6:unread",
         "limit:0 limit:2 read sleep:5 unread",
         "read sleep:6 unread",
         "tryread read unread",
         "?rwwaiting");
}

/* S72 */
TEST(rwlock_whose_limit_is_raised_admits_as_many_as_fit)
{
    PLAY("a0:limit a0:read a1:limit a1:?readers=3 a1:?rwwaiting=1 a1:unread b1:read c1:read "
         "d1:read b1:unread c1:unread d1:unread",
         "limit:1 read sleep:1 limit:3 ?readers ?rwwaiting unread",
         "read sleep unread",
         "read sleep unread",
         "read sleep unread");
}

/* S11 S12 */
TEST(rwlock_mistakes_are_told_and_change_nothing)
{
    PLAY("a0:unread=EPERM a0:unwrite=EPERM a0:downgrade=EPERM a0:rwrepair=EINVAL a0:write "
         "a0:write=EDEADLK a0:read=EDEADLK a0:tryread=EDEADLK a0:trywrite=EDEADLK a0:unread=EPERM "
         "b0:unwrite=EPERM b0:downgrade=EPERM b0:tryread=EAGAIN a1:unwrite b2:read "
         "b2:unwrite=EPERM b2:unread b2:unread=EPERM",
         "unread unwrite downgrade rwrepair write write read tryread trywrite unread sleep:1 "
         "unwrite",
         "unwrite downgrade tryread sleep:2 read unwrite unread unread");
}

/* S13 */
TEST(rwlock_whose_writer_ended_fails_until_it_is_repaired)
{
    may_report = true;
    PLAY("a0:write b5:read=EOWNERDEAD c5:write=EOWNERDEAD d6:read=EOWNERDEAD "
         "d6:trywrite=EOWNERDEAD d6:?rwwaiting=0 d6:rwfini d6:rwrepair d6:rwrepair=EINVAL d6:write "
         "d6:unwrite d6:read d6:unread",
         "write sleep:5",
         "read",
         "write",
         "sleep:6 read trywrite ?rwwaiting rwfini rwrepair rwrepair write unwrite read unread");
#if CORO_DEBUG
    CHECK_STR(said, report_of(0, " has ended without unlocking a rwlock", lines.sleep));
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* S08 */
TEST(rwlock_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("a0:write c1:rwfini=EBUSY a2:unwrite b2:read c3:rwfini=EBUSY b4:unread c5:rwfini",
         "write sleep:2 unwrite",
         "read sleep:2 unread",
         "sleep:1 rwfini sleep:2 rwfini sleep:2 rwfini");
#if CORO_DEBUG
    CHECK_CONTAINS(said, report_of(0, " holds what is to be ended", lines.sleep));
    CHECK_CONTAINS(said, report_of(1, " waits for what is to be ended", lines.read));
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* ---- notes ----------------------------------------------------------------------------------- */

/* A note that writes its letter down when its task ends. */
struct letter {
    coro_note note;
    char letter;
    struct letter *takes_along; /* dropped from the task that ends */
};

static void letter_ended(coro_note *note, coro_task *task)
{
    const struct letter *l = (const struct letter *)(const void *)note;
    note_down("%c%d", l->letter, coro_task_result(task));
    if (l->takes_along)
        coro_note_drop(task, &l->takes_along->note);
}

static struct letter letters[5];

static void add_letter(coro_task *task, int i)
{
    letters[i].note.ended = letter_ended;
    letters[i].letter = (char)('A' + i);
    coro_note_add(task, &letters[i].note);
}

struct mourned { CORO_FRAME; int rc; };
CORO(mourned)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(9)));
    CORO_END(my->rc);
}

struct joiner { CORO_FRAME; coro_task *task; char letter; coro_time limit; int rc; };
CORO(joiner)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_join(co, my->task)));
    note_down("%c%d", my->letter, my->rc);
    CORO_END(0);
}

static CORO_TASK(mourned) mourned_task;
static CORO_TASK(joiner) joiners[3];

static coro_task *start_mourned(int rc)
{
    open_stage(&here);
    coro_start(&here.root, &mourned_task, mourned, .rc = rc);
    return &mourned_task.task;
}

static void start_joiner(int i, char letter, coro_time limit)
{
    coro_start(&here.root, &joiners[i], joiner, .task = &mourned_task.task, .letter = letter,
               .limit = limit);
}

static void end_mourned(const char *want)
{
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_STR(trace, want);
}

TEST(notes_are_told_of_the_end_the_newest_first)
{
    coro_task *t = start_mourned(7);
    add_letter(t, 0);
    add_letter(t, 1);
    add_letter(t, 2);
    end_mourned("C7B7A7");
}

TEST(notes_are_told_of_a_failure_and_of_a_cancellation)
{
    coro_task *t = start_mourned(-EIO);
    char want[16];
    add_letter(t, 0);
    snprintf(want, sizeof want, "A%d", -EIO);
    end_mourned(want);
    *trace = 0;
    t = start_mourned(0);
    add_letter(t, 0);
    coro_loop_step(&here);
    coro_task_cancel(t);
    snprintf(want, sizeof want, "A%d", -ECANCELED);
    end_mourned(want);
}

TEST(notes_dropped_first_last_and_from_the_middle_are_not_told)
{
    coro_task *t = start_mourned(0);
    for (int i = 0; i < 5; i++)
        add_letter(t, i);
    coro_note_drop(t, &letters[2].note);
    coro_note_drop(t, &letters[0].note);
    coro_note_drop(t, &letters[4].note);
    end_mourned("D0B0");
}

TEST(notes_come_before_those_who_join_whoever_came_first)
{
    coro_task *t = start_mourned(0);
    add_letter(t, 0);
    start_joiner(0, 'x', CORO_FOREVER);
    start_joiner(1, 'y', CORO_FOREVER);
    coro_loop_step(&here);
    add_letter(t, 1);
    add_letter(t, 2);
    coro_note_drop(t, &letters[1].note);
    coro_note_drop(t, &letters[0].note); /* the ring of joiners is behind this one */
    add_letter(t, 3);
    end_mourned("D0C0x0y0");
}

TEST(notes_all_dropped_leave_the_joiners)
{
    coro_task *t = start_mourned(0);
    add_letter(t, 0);
    start_joiner(0, 'x', CORO_FOREVER);
    start_joiner(1, 'y', CORO_FOREVER);
    coro_loop_step(&here);
    coro_note_drop(t, &letters[0].note);
    end_mourned("x0y0");
}

TEST(notes_stay_when_joiners_give_up)
{
    coro_task *t = start_mourned(0);
    char want[32];
    add_letter(t, 0);
    start_joiner(0, 'x', CORO_MS(1));
    start_joiner(1, 'y', CORO_MS(3));
    start_joiner(2, 'z', CORO_FOREVER);
    coro_loop_step(&here);
    add_letter(t, 1);
    coro_task_cancel(&joiners[2]);
    snprintf(want, sizeof want, "z%dx%dy%dB0A0", -ECANCELED, -ETIMEDOUT, -ETIMEDOUT);
    end_mourned(want);
}

TEST(note_may_drop_another_one_of_the_task_that_ends)
{
    coro_task *t = start_mourned(0);
    add_letter(t, 0);
    add_letter(t, 1);
    add_letter(t, 2);
    letters[2].takes_along = &letters[1];
    end_mourned("C0A0");
}

TEST(note_is_of_use_again_once_it_was_dropped)
{
    coro_task *t = start_mourned(0);
    add_letter(t, 0);
    coro_note_drop(t, &letters[0].note);
    add_letter(t, 1);
    add_letter(t, 0);
    end_mourned("A0B0");
}

/* ---- coro_move and coro_alarm ---------------------------------------------------------------- */

/* Two queues; a task's word says which letter it is. */
static struct hall {
    coro_waitq first, second;
    coro_abort how;  /* what becomes of waits that are to end */
    int aborts, gone;
    intptr_t early; /* not 0: the wait ends with it at its alarm */
} hall;

static coro_abort hall_abort(coro_task *task, coro_waitq *queue)
{
    CHECK(queue == &hall.first || queue == &hall.second);
    CHECK(queue->head != NULL);
    hall.aborts++;
    if (hall.early)
        CHECK(coro_complete(task, hall.early));
    return hall.how;
}

static void hall_gone(coro_task *task, coro_waitq *queue)
{
    (void)task;
    CHECK(queue == &hall.second);
    hall.gone++;
}

static const coro_ops first_ops = {"the first", hall_abort, NULL};
static const coro_ops second_ops = {"the second", hall_abort, hall_gone};

struct guest { CORO_FRAME; char letter; coro_time limit, alarm[2]; coro_time since; int rc; };

static coro_op hall_wait(coro_task *co, const struct guest *my)
{
    coro_op op = coro_suspend(co, &hall.first, &first_ops, my->letter);
    for (int i = 0; i < 2; i++)
        if (my->alarm[i])
            coro_alarm(co, my->alarm[i]);
    return op;
}

CORO(guest)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->limit, hall_wait(co, my)));
    note_down("%s%c%lld=%s", *trace ? " " : "", my->letter,
              (long long)(coro_now(co) / CORO_MS(1)), error_name(my->rc));
    CORO_TRY(coro_sleep(co, CORO_MS(20))); /* no timer of the wait is left to disturb it */
    CORO_END(my->rc);
}

static CORO_TASK(guest) guests[4];

static void seat_guest(int i, coro_time limit, coro_time alarm, coro_time second_alarm)
{
    char letter = (char)('a' + i);
    coro_start(&here.root, &guests[i], guest, .letter = letter, .limit = limit,
               .alarm = {alarm, second_alarm});
}

static void seat_guests(int n)
{
    open_stage(&here);
    for (int i = 0; i < n; i++)
        seat_guest(i, CORO_FOREVER, 0, 0);
    CHECK_EQ(coro_loop_step(&here), 1);
}

static void call_all(coro_waitq *queue)
{
    while (queue->head)
        CHECK(coro_complete(queue->head, coro_word(queue->head)));
}

static void end_hall(const char *want)
{
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_STR(trace, want);
    CHECK(!hall.first.head && !hall.second.head);
}

TEST(moved_tasks_wait_at_the_end_of_the_other_queue_with_another_word)
{
    const coro_sink sink = {keep_report, NULL};
    seat_guests(3);
    coro_move(hall.first.head, &hall.second, &second_ops, 'x');
    CHECK_STR(coro_verify(&here), NULL);
    CHECK(hall.first.head == &guests[1].task);
    CHECK(coro_waitq_last(&hall.first) == &guests[2].task);
    coro_move(&guests[2].task, &hall.second, &second_ops, 'y');
    coro_move(&guests[0].task, &hall.second, &second_ops, 'z'); /* to the end of its own */
    CHECK_STR(coro_verify(&here), NULL);
    CHECK(hall.second.head == &guests[2].task);
    CHECK(coro_waitq_next(&hall.second, hall.second.head) == &guests[0].task);
    CHECK(coro_waitq_next(&hall.second, &guests[0].task) == NULL);
    coro_dump(&here, &sink);
    CHECK_CONTAINS(said, "for the first\n");
    CHECK_CONTAINS(said, "for the second\n");
    call_all(&hall.second);
    call_all(&hall.first);
    end_hall("c0=121 a0=122 b0=98"); /* y, z, b */
    CHECK_EQ(hall.aborts + hall.gone, 0);
}

TEST(moved_task_that_is_cancelled_is_given_up_by_the_queue_it_is_in)
{
    seat_guests(2);
    coro_move(&guests[0].task, &hall.second, &second_ops, 'x');
    coro_task_cancel(&guests[0]);
    CHECK_EQ(hall.aborts, 1);
    CHECK_EQ(hall.gone, 1);
    CHECK(!hall.second.head);
    CHECK(hall.first.head == &guests[1].task);
    call_all(&hall.first);
    end_hall("a0=ECANCELED b0=98");
}

TEST(moved_task_keeps_its_limit)
{
    open_stage(&here);
    seat_guest(0, CORO_MS(5), 0, 0);
    coro_loop_step(&here);
    coro_move(&guests[0].task, &hall.second, &second_ops, 'x');
    end_hall("a5=ETIMEDOUT");
    CHECK_EQ(hall.gone, 1);
}

TEST(alarm_ends_a_wait_as_a_limit_would_and_the_first_of_several_counts)
{
    open_stage(&here);
    seat_guest(0, CORO_FOREVER, CORO_MS(5), 0);
    seat_guest(1, CORO_FOREVER, CORO_MS(5), CORO_MS(3));
    seat_guest(2, CORO_FOREVER, CORO_MS(3), CORO_MS(7));
    seat_guest(3, CORO_FOREVER, CORO_FOREVER, CORO_MS(4));
    end_hall("b3=ETIMEDOUT c3=ETIMEDOUT d4=ETIMEDOUT a5=ETIMEDOUT");
    CHECK_EQ(hall.aborts, 4);
}

TEST(alarm_and_limit_the_first_of_them_counts)
{
    open_stage(&here);
    seat_guest(0, CORO_MS(2), CORO_MS(5), 0);
    seat_guest(1, CORO_MS(5), CORO_MS(3), 0);
    seat_guest(2, 0, CORO_MS(3), 0);
    end_hall("c0=ETIMEDOUT a2=ETIMEDOUT b3=ETIMEDOUT");
}

TEST(alarm_is_gone_with_the_wait)
{
    open_stage(&here);
    seat_guest(0, CORO_FOREVER, CORO_MS(5), 0);
    coro_loop_step(&here);
    call_all(&hall.first);
    end_hall("a0=97");
    CHECK_EQ(hall.aborts, 0);
}

TEST(alarm_may_end_the_wait_with_a_result_of_the_operations_own)
{
    hall.early = 42;
    hall.how = CORO_ABORT_LATER;
    open_stage(&here);
    seat_guest(0, CORO_FOREVER, CORO_MS(5), 0);
    end_hall("a5=42");
}

struct usher { CORO_FRAME; int nothing; };
CORO(usher)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(hall.aborts, 1); /* at 1 ms, by the alarm */
    CHECK_EQ(coro_task_cancel(&guests[0]), 1);
    CHECK_EQ(hall.aborts, 1);
    call_all(&hall.first);
    CORO_END(0);
}

TEST(alarm_that_begins_an_end_is_not_asked_again)
{
    hall.how = CORO_ABORT_LATER;
    open_stage(&here);
    seat_guest(0, CORO_MS(2), CORO_MS(1), 0);
    coro_spawn(&here.root, usher);
    end_hall("a3=97");
    CHECK_EQ(coro_task_status(&guests[0]), CORO_CANCELLED);
}

/* ---- all together, hurt everywhere ----------------------------------------------------------- */

enum { WORKERS = 2, ROUNDS = 2 };

/* What the workers share: a counter under a mutex, a shelf under the rwlock, a bell. */
static struct workshop {
    coro_mutex mutex;
    coro_cond changed;
    coro_rwlock shelf;
    int inside, readers, writers;
    int count;
} shop;

struct worker { CORO_FRAME; struct sweep_guard guard; int i; };
CORO(worker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = 0; my->i < ROUNDS; my->i++) {
        CORO_TRY(coro_mutex_lock(co, &shop.mutex));
        SWEEP_EQ(shop.inside++, 0);
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        shop.inside--;
        shop.count++;
        (void)coro_cond_signal(&shop.changed);
        (void)coro_mutex_unlock(co, &shop.mutex);
    }
CORO_FINALLY:
    if (shop.mutex.owner == co && my->i < ROUNDS)
        shop.inside--;
    (void)coro_mutex_unlock(co, &shop.mutex);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct overseer { CORO_FRAME; struct sweep_guard guard; int want; };
CORO(overseer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_mutex_lock(co, &shop.mutex));
    while (shop.count < my->want)
        CORO_TRY(coro_within(co, CORO_MS(20), coro_cond_wait(co, &shop.changed, &shop.mutex)));
    (void)coro_cond_signal(&shop.changed);
CORO_FINALLY:
    if (shop.mutex.owner == co)
        SWEEP_EQ(shop.inside, 0);
    (void)coro_mutex_unlock(co, &shop.mutex);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct shelver { CORO_FRAME; struct sweep_guard guard; bool reads, writes; };
CORO(shelver)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_rwlock_read_lock(co, &shop.shelf));
    my->reads = true;
    shop.readers++;
    SWEEP_EQ(shop.writers, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    my->reads = false;
    shop.readers--;
    (void)coro_rwlock_read_unlock(&shop.shelf);
    CORO_TRY(coro_rwlock_write_lock(co, &shop.shelf));
    my->writes = true;
    SWEEP_EQ(shop.writers++, 0);
    SWEEP_EQ(shop.readers, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
CORO_FINALLY:
    shop.writers -= my->writes;
    shop.readers -= my->reads;
    (void)coro_rwlock_write_unlock(co, &shop.shelf);
    if (my->reads)
        (void)coro_rwlock_read_unlock(&shop.shelf);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct workshop_day { CORO_FRAME; struct sweep_guard guard; coro_group g; int i; };
CORO(workshop_day)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, overseer, .want = 1);
    coro_spawn(&my->g, overseer, .want = 2);
    for (my->i = 0; my->i < WORKERS; my->i++)
        coro_spawn(&my->g, worker);
    coro_spawn(&my->g, shelver);
    coro_spawn(&my->g, shelver);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(shop.count);
}
SWEEP_MAIN(workshop_day)

static void open_workshop(void)
{
    memset(&shop, 0, sizeof shop);
}

static void check_workshop(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(shop.inside, 0);
    SWEEP_EQ(shop.readers, 0);
    SWEEP_EQ(shop.writers, 0);
    SWEEP_EQ(coro_mutex_fini(&shop.mutex), 0);
    SWEEP_EQ(coro_cond_fini(&shop.changed), 0);
    SWEEP_EQ(coro_rwlock_fini(&shop.shelf), 0);
    SWEEP_EQ(shop.mutex.line.waiting + shop.changed.line.waiting + shop.shelf.line.waiting, 0);
    SWEEP_EQ(shop.mutex.dead || shop.shelf.dead, 0);
}

TEST(workshop_with_mutex_condition_and_rwlock_closes_whatever_happens)
{
    static const struct sweep_scenario s = {&workshop_day_main, WORKERS * ROUNDS, true,
                                            open_workshop, check_workshop, NULL};
    sweep(&s);
}
