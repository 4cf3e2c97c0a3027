/* Scenarios that are hurt at every place where they can be: see sweep.h. */
#include "sweep.h"

#include <errno.h>

/* Frames of this size are allocations of their own. */
#define BULK char bulk[SWEEP_BULK]

/* ---- groups in groups ------------------------------------------------------------------------ */

struct leaf {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_time d;
    int *sum;
    BULK;
};

CORO(leaf)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, my->d));
    ++*my->sum;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(1);
}

struct branch {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_mode mode;
    int n, sum;
    int *total;
    coro_group g;
    BULK;
};

CORO(branch)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, my->mode);
    for (int i = 0; i < 3; i++)
        coro_spawn(&my->g, leaf, .d = CORO_MS(my->n + 2 * i), .sum = &my->sum);
    CORO_TRY(coro_sleep(co, CORO_MS(my->n)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    *my->total += my->sum;
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct nested_groups {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(branch) own;
    int total;
};

CORO(nested_groups)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, branch, .mode = CORO_ALL, .n = 1, .total = &my->total);
    coro_spawn(&my->g, branch, .mode = CORO_COLLECT, .n = 2, .total = &my->total);
    coro_start(&my->g, &my->own, branch, .mode = CORO_ALL, .n = 3, .total = &my->total);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(my->total);
}

SWEEP_MAIN(nested_groups)

TEST(nested_groups_come_down_whole_wherever_they_are_hit)
{
    static const struct sweep_scenario s = {&nested_groups_main, 9, true, NULL, NULL, NULL};
    sweep(&s);
}

/* ---- races ----------------------------------------------------------------------------------- */

struct runner {
    CORO_FRAME;
    struct sweep_guard guard;
    int n;
    BULK;
};

/* Number 0 is the fastest, and fails. */
CORO(runner)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(2 + my->n)));
    if (my->n == 0)
        CORO_FAIL(-EIO);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(100 + my->n);
}

struct races {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(runner) own;
    int round, won, sum;
};

CORO(races)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->round = 0; my->round < 3; my->round++) {
        coro_group_open(co, &my->g, CORO_RACE);
        for (int i = 0; i < 4; i++)
            coro_spawn(&my->g, runner, .n = i);
        coro_start(&my->g, &my->own, runner, .n = 4);
        CORO_TRY(my->won, coro_group_close(co, &my->g, 0));
        SWEEP_EQ(my->won, 100 + my->g.winner);
        SWEEP_EQ(my->g.started, 5);
        SWEEP_EQ(my->g.failed + my->g.cancelled, 4); /* nobody else came to the end */
        my->sum += my->won;
    }
CORO_FINALLY:
    SWEEP_EQ(my->g.alive, 0);
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

SWEEP_MAIN(races)

/* Runner 0's failure is the result of a race that is cut short later; and when runner 1 is hurt,
 * another one wins, in the end the one that needs no memory. */
static bool races_accept(const struct sweep_run *run)
{
    if (run->result > 303)
        return run->kind >= SWEEP_ALLOC && run->result <= 3 * 104;
    return run->result == -EIO && run->kind != SWEEP_TASK;
}

TEST(races_leave_no_loser_behind_wherever_they_are_hit)
{
    static const struct sweep_scenario s = {&races_main, 303, false, NULL, NULL, races_accept};
    sweep(&s);
}

/* ---- generators ------------------------------------------------------------------------------ */

static int numbers_yielded, numbers_taken, numbers_bye;

static void numbers_reset(void)
{
    numbers_yielded = numbers_taken = numbers_bye = 0;
}

struct numbers {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope shield;
    int to, item;
};

CORO(numbers)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->item = 0; my->item < my->to; my->item++) {
        CORO_TRY(coro_sleep(co, CORO_US(400)));
        numbers_yielded++;
        CORO_YIELD();
    }
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(50));
    CORO_IGNORE(coro_sleep(co, CORO_US(100)));
    numbers_bye += !coro_cancelled(co);
    CORO_ERR = coro_scope_close(co, &my->shield, CORO_ERR);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct evens {
    CORO_FRAME;
    struct sweep_guard guard;
    CORO_GEN(numbers) source;
    coro_scope limit;
    bool got;
    int item, closed;
};

CORO(evens)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_gen_open(&my->source, numbers, .to = 9);
    for (;;) {
        coro_timeout_open(co, &my->limit, CORO_MS(1));
        CORO_TRY(my->got, coro_gen_next(co, &my->source));
        CORO_TRY(coro_scope_close(co, &my->limit, 0));
        if (!my->got)
            break;
        numbers_taken++;
        my->item = my->source.frame.item;
        if (my->item % 2 == 0)
            CORO_YIELD();
    }
CORO_FINALLY:
    CORO_AWAIT(my->closed, coro_gen_close(co, &my->source));
    SWEEP_EQ(my->closed, 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct summer {
    CORO_FRAME;
    struct sweep_guard guard;
    CORO_GEN(evens) gen;
    int last, sum;
    bool got;
};

CORO(summer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_gen_open(&my->gen, evens);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        my->sum += my->gen.frame.item;
        if (my->gen.frame.item == my->last)
            CORO_LEAVE();
    }
CORO_FINALLY:
    CORO_AWAIT(my->last, coro_gen_close(co, &my->gen));
    SWEEP_EQ(my->last, 0);
    CORO_AWAIT(my->last, coro_gen_next(co, &my->gen));
    SWEEP_EQ(my->last, 0);
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

struct generators {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(summer) early;
    struct summer here;
    int sum, other;
};

CORO(generators)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->early, summer, .last = 4);
    CORO_TRY(my->sum, coro_call(co, &my->here, summer, .last = -1));
    CORO_TRY(my->other, coro_join(co, &my->early));
    my->sum += 100 * my->other;
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

SWEEP_MAIN(generators)

static void numbers_check(const struct sweep_run *run)
{
    SWEEP_EQ(numbers_yielded, numbers_taken);
    SWEEP_CHECK(numbers_bye <= 2);
    if (!run->struck)
        SWEEP_EQ(numbers_yielded, 9 + 5);
    if (!run->struck)
        SWEEP_EQ(numbers_bye, 2);
}

TEST(generators_are_closed_and_lose_nothing_wherever_they_are_hit)
{
    static const struct sweep_scenario s = {&generators_main, 620, false, numbers_reset,
                                            numbers_check, NULL};
    sweep(&s);
}

/* ---- cleanup that awaits --------------------------------------------------------------------- */

static int visits_begun, visits_said_goodbye, visits_cut;

static void visits_reset(void)
{
    visits_begun = visits_said_goodbye = visits_cut = 0;
}

struct goodbye {
    CORO_FRAME;
    struct sweep_guard guard;
};

CORO(goodbye)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    visits_said_goodbye++;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct visit {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope shield;
    struct goodbye bye;
    coro_time d;
};

CORO(visit)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    visits_begun++;
    CORO_TRY(coro_sleep(co, my->d));
CORO_FINALLY:
    coro_shield_open(co, &my->shield, CORO_MS(5));
    CORO_IGNORE(coro_call(co, &my->bye, goodbye));
    SWEEP_EQ(coro_scope_close(co, &my->shield, 0), 0);
    coro_shield_open(co, &my->shield, CORO_US(1)); /* this one is too short */
    CORO_TRY(coro_call(co, &my->bye, goodbye));
    visits_cut += 1000;
    sweep_leave(&my->guard); /* never: the TRY above fails, and goes to the END */
    CORO_END(0);
}

struct visitor {
    CORO_FRAME;
    struct visit visit;
    coro_time d;
    int rc;
};

CORO(visitor)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_call(co, &my->visit, visit, .d = my->d));
    visits_cut++;
    sweep_leave(&my->visit.guard);
    CORO_END(my->rc == -ETIMEDOUT ? 0 : my->rc);
}

struct shields {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(visitor) visitors[3];
};

CORO(shields)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->visitors[i], visitor, .d = CORO_MS(1 + 2 * i));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(visits_said_goodbye);
}

SWEEP_MAIN(shields)

static void visits_check(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(visits_begun, 3);
    SWEEP_EQ(visits_said_goodbye, 3);
    SWEEP_EQ(visits_cut, 3);
}

TEST(cleanup_under_a_shield_is_made_once_and_wholly_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&shields_main, 3, false, visits_reset, visits_check,
                                            NULL};
    sweep(&s);
}

/* ---- timeouts in loops ----------------------------------------------------------------------- */

static int ticks_fine, ticks_late, ticks_tried;

static void ticks_reset(void)
{
    ticks_fine = ticks_late = ticks_tried = 0;
}

struct tick {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_time d;
};

CORO(tick)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, my->d));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct timeouts {
    CORO_FRAME;
    struct sweep_guard guard;
    struct tick tick;
    coro_scope limit, inner;
    coro_time start;
    int i, rc;
};

/* The same wait of 1, 2 ... 6 ms, cut at 3.5 ms in three ways. */
CORO(timeouts)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = 3; my->i < 21; my->i++) {
        ticks_tried++;
        my->start = coro_now(co);
        if (my->i % 3 == 0) {
            coro_timeout_open(co, &my->limit, CORO_US(3500));
            coro_scope_open(co, &my->inner);
            CORO_AWAIT(my->rc, coro_call(co, &my->tick, tick, .d = CORO_MS(my->i / 3)));
            my->rc = coro_scope_close(co, &my->inner, my->rc);
            my->rc = coro_scope_close(co, &my->limit, my->rc);
        } else if (my->i % 3 == 1) {
            CORO_AWAIT(my->rc, coro_within(co, CORO_US(3500), coro_sleep(co, CORO_MS(my->i / 3))));
        } else {
            CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_US(3500), &my->tick, tick,
                                                .d = CORO_MS(my->i / 3)));
        }
        ticks_fine += my->rc == 0;
        ticks_late += my->rc == -ETIMEDOUT;
        if (my->rc == -ETIMEDOUT && my->i % 3 != 1)
            SWEEP_CHECK(!coro_cancelled(co)); /* else that would have been the cause */
        if (my->rc == -ETIMEDOUT)
            SWEEP_EQ(coro_now(co) - my->start, CORO_US(3500));
        else if (my->rc == 0)
            SWEEP_EQ(coro_now(co) - my->start, CORO_MS(my->i / 3));
        else
            CORO_FAIL(my->rc);
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(ticks_fine * 100 + ticks_late);
}

SWEEP_MAIN(timeouts)

static void ticks_check(const struct sweep_run *run)
{
    SWEEP_EQ(ticks_tried, ticks_fine + ticks_late + (run->result < 0));
}

TEST(timeouts_in_a_loop_are_told_from_everything_else_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&timeouts_main, 909, false, ticks_reset, ticks_check,
                                            NULL};
    sweep(&s);
}

/* ---- trees of calls with frames from the allocator ------------------------------------------- */

struct call_tree {
    CORO_FRAME;
    struct sweep_guard guard;
    int depth, sum, got;
    BULK;
};

CORO(call_tree)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (my->depth == 0 || my->depth == 2)
        CORO_TRY(coro_sleep(co, CORO_US(10)));
    if (my->depth < 4) {
        CORO_TRY(my->got, coro_call_new(co, call_tree, .depth = my->depth + 1));
        my->sum += my->got;
        CORO_TRY(my->got, coro_call_new(co, call_tree, .depth = my->depth + 1));
        my->sum += my->got;
    }
    if (my->depth % 2)
        CORO_TRY(coro_sleep(co, 0));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->sum + 1);
}

SWEEP_MAIN(call_tree)

TEST(a_tree_of_calls_gives_its_frames_back_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&call_tree_main, 31, false, NULL, NULL, NULL};
    sweep(&s);
}

/* ---- joins ----------------------------------------------------------------------------------- */

struct chained {
    CORO_FRAME;
    struct sweep_guard guard;
    CORO_TASK(chained) *before;
    int n, got;
};

/* Joins the one before, after a while or at once. */
CORO(chained)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (my->n % 2)
        CORO_TRY(coro_sleep(co, CORO_MS(3)));
    if (my->before)
        CORO_TRY(my->got, coro_join(co, my->before));
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->got + 1);
}

struct joins {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g, others;
    CORO_TASK(chained) chain[6], fans[3];
    int i, got, sum;
};

CORO(joins)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_group_open(co, &my->others, CORO_COLLECT);
    for (int i = 0; i < 6; i++)
        coro_start(&my->g, &my->chain[i], chained, .before = i ? &my->chain[i - 1] : NULL, .n = i);
    for (int i = 0; i < 3; i++)
        coro_start(&my->others, &my->fans[i], chained, .before = &my->chain[5], .n = i);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->got, coro_join(co, &my->fans[my->i]));
        my->sum += my->got;
    }
    CORO_TRY(my->got, coro_join(co, &my->chain[5]));
    SWEEP_EQ(my->got, 6);
CORO_FINALLY:
    CORO_CLOSE(&my->others);
    CORO_CLOSE(&my->g);
    SWEEP_EQ(my->g.started, 6);
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

SWEEP_MAIN(joins)

/* Without memory for the run queue a link never was: who joins it reads -ENOMEM. */
TEST(joiners_read_how_it_ended_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&joins_main, 21, false, NULL, NULL, NULL};
    sweep(&s);
}

/* ---- children as they complete --------------------------------------------------------------- */

static int told[16], told_sum;

static void told_reset(void)
{
    memset(told, 0, sizeof told);
    told_sum = 0;
}

struct job {
    CORO_FRAME;
    struct sweep_guard guard;
    int n;
};

CORO(job)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(7 - my->n % 5)));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->n);
}

struct as_completed {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(job) jobs[4];
    int slot[16];
    int next, index;
    bool got;
};

/* Twelve jobs in four places: who ends makes room for the next. */
CORO(as_completed)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (; my->next < 4; my->next++) {
        my->slot[my->next] = my->next;
        coro_start(&my->g, &my->jobs[my->next], job, .n = my->next);
    }
    CORO_TRY(my->index, coro_join(co, &my->jobs[3]));
    SWEEP_EQ(my->index, 3);
    my->slot[my->next] = 3; /* started again before it was told: then it never is */
    coro_start(&my->g, &my->jobs[3], job, .n = my->next++);
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->index));
        if (!my->got)
            break;
        SWEEP_CHECK(my->index >= 0 && my->index < my->next);
        SWEEP_EQ(++told[my->index], 1);
        told_sum += coro_task_status(&my->jobs[my->slot[my->index]]) == CORO_OK;
        if (my->next < 12) {
            my->slot[my->next] = my->slot[my->index];
            coro_start(&my->g, &my->jobs[my->slot[my->next]], job, .n = my->next);
            my->next++;
        }
    }
    for (int i = 0; i < 12; i++)
        SWEEP_EQ(told[i], i != 3);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_EQ(my->g.started, my->next);
    sweep_leave(&my->guard);
    CORO_END(told_sum);
}

SWEEP_MAIN(as_completed)

TEST(each_completed_child_is_told_once_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&as_completed_main, 11, true, told_reset, NULL, NULL};
    sweep(&s);
}

/* ---- a group with limited room --------------------------------------------------------------- */

static int crowd, crowd_most, crowd_sum;

static void crowd_reset(void)
{
    crowd = crowd_most = crowd_sum = 0;
}

struct guest {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_time d;
    BULK;
};

CORO(guest)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    crowd++;
    crowd_most = crowd > crowd_most ? crowd : crowd_most;
    CORO_TRY(coro_sleep(co, my->d));
    crowd_sum++;
CORO_FINALLY:
    crowd--;
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct host {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group *room;
    int n;
};

/* Gives up when cancelled, even when there is room: others wait for that room. */
CORO(host)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->n > 0; my->n--) {
        CORO_TRY(coro_group_wait_room(co, my->room));
        if (coro_cancelled(co))
            CORO_FAIL(-ECANCELED);
        coro_spawn(my->room, guest, .d = CORO_MS(my->n));
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct limits {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group room, hosts;
};

CORO(limits)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->room, CORO_COLLECT);
    coro_group_limit(&my->room, 2);
    coro_group_open(co, &my->hosts, CORO_COLLECT);
    for (int i = 0; i < 4; i++)
        coro_spawn(&my->hosts, host, .room = &my->room, .n = 3);
CORO_FINALLY:
    CORO_CLOSE(&my->hosts);
    CORO_CLOSE(&my->room);
    sweep_leave(&my->guard);
    CORO_END(crowd_sum);
}

SWEEP_MAIN(limits)

static void crowd_check(const struct sweep_run *run)
{
    SWEEP_EQ(crowd, 0);
    SWEEP_CHECK(crowd_most <= 2);
    if (!run->struck)
        SWEEP_EQ(crowd_most, 2);
}

TEST(limited_room_is_never_exceeded_nor_lost_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&limits_main, 12, true, crowd_reset, crowd_check, NULL};
    sweep(&s);
}

struct late_host {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group *room;
    int n, rc;
};

/* Goes on until the house closes. */
CORO(late_host)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->n < 20; my->n++) {
        CORO_AWAIT(my->rc, coro_group_wait_room(co, my->room));
        if (my->rc == 0)
            my->rc = coro_spawn(my->room, guest, .d = CORO_MS(1));
        if (my->rc == -ESHUTDOWN)
            CORO_LEAVE();
        if (my->rc < 0)
            CORO_FAIL(my->rc);
        if (my->n == 2)
            CORO_TRY(coro_sleep(co, CORO_MS(9)));
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct closing_time {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group room, hosts;
};

CORO(closing_time)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->hosts, CORO_COLLECT);
    coro_group_open(co, &my->room, CORO_COLLECT);
    coro_group_limit(&my->room, 1);
    for (int i = 0; i < 3; i++)
        coro_spawn(&my->hosts, late_host, .room = &my->room);
    CORO_TRY(coro_sleep(co, CORO_US(2500)));
    coro_group_cancel(&my->room);
CORO_FINALLY:
    CORO_CLOSE(&my->room);
    CORO_CLOSE(&my->hosts);
    SWEEP_CHECK(!my->room.room.head);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(closing_time)

static void closing_time_check(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(crowd, 0);
    SWEEP_CHECK(crowd_most <= 1);
}

TEST(waiters_for_room_are_told_when_the_group_closes_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&closing_time_main, 0, false, crowd_reset,
                                            closing_time_check, NULL};
    sweep(&s);
}

/* ---- context --------------------------------------------------------------------------------- */

static const char key_user = 0, key_depth = 0;

struct talker {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_context user, deeper;
    coro_scope scope;
    int depth;
    coro_group g;
    BULK;
};

static int depth_of(coro_task *co)
{
    const int *depth = (const int *)coro_context_get(co, &key_depth);
    return depth ? *depth : -1;
}

/* Each level sees its own value, and after its block the one of the level above. */
CORO(talker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(depth_of(co), my->depth - 1);
    coro_context_set(co, &my->deeper, &key_depth, &my->depth);
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->g, CORO_ALL);
    if (my->depth == 0)
        coro_context_set(co, &my->user, &key_user, &my->guard); /* the group does not see it */
    for (int i = 0; i < 2 && my->depth < 2; i++)
        coro_spawn(&my->g, talker, .depth = my->depth + 1);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    SWEEP_EQ(depth_of(co), my->depth);
    SWEEP_CHECK(coro_context_get(co, &key_user) == (my->depth == 0 ? &my->guard : NULL));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct contexts {
    CORO_FRAME;
    struct sweep_guard guard;
    struct talker talker;
    int i;
};

CORO(contexts)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = 0; my->i < 2; my->i++) {
        CORO_TRY(coro_call(co, &my->talker, talker, .depth = 0));
        SWEEP_EQ(depth_of(co), -1);
    }
CORO_FINALLY:
    SWEEP_EQ(depth_of(co), -1);
    SWEEP_CHECK(coro_context_get(co, &key_user) == NULL);
    sweep_leave(&my->guard);
    CORO_END(my->i);
}

SWEEP_MAIN(contexts)

TEST(context_is_that_of_the_block_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&contexts_main, 2, false, NULL, NULL, NULL};
    sweep(&s);
}

/* ---- trying again ---------------------------------------------------------------------------- */

struct flaky {
    CORO_FRAME;
    struct sweep_guard guard;
    int n;
    BULK;
};

CORO(flaky)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    if (my->n < 2)
        CORO_FAIL(-EAGAIN);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(7);
}

struct retries {
    CORO_FRAME;
    struct sweep_guard guard;
    int tries, n, rc;
};

CORO(retries)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->tries < 5; my->tries++) {
        CORO_AWAIT(my->rc, coro_call_new(co, flaky, .n = my->n));
        if (my->rc != -EAGAIN && my->rc != -ENOMEM)
            break;
        my->n += my->rc == -EAGAIN;
        CORO_TRY(coro_within(co, CORO_S(1), coro_sleep(co, CORO_MS(1 << my->tries))));
    }
    if (my->rc < 0)
        CORO_FAIL(my->rc);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->rc);
}

SWEEP_MAIN(retries)

/* One missing piece of memory is outlived. */
static void retries_check(const struct sweep_run *run)
{
    if (run->kind == SWEEP_ALLOC)
        SWEEP_EQ(run->result, 7);
}

TEST(trying_again_ends_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&retries_main, 7, false, NULL, retries_check, NULL};
    sweep(&s);
}

/* ---- a queue of the user's own, which hands over directly ------------------------------------ */

#define ITEMS 18

struct item_queue {
    int items[2];
    int count;
    bool closed;
    coro_waitq getters, putters;
};

static struct item_queue items;
static int items_put[ITEMS], items_got[ITEMS];

static void items_reset(void)
{
    memset(&items, 0, sizeof items);
    memset(items_put, 0, sizeof items_put);
    memset(items_got, 0, sizeof items_got);
}

static coro_op item_put(coro_task *co, struct item_queue *q, int *item)
{
    static const coro_ops ops = {"item put", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (q->getters.head) {
        *(int *)coro_word(q->getters.head) = *item;
        (void)coro_complete(q->getters.head, 1);
        return coro_done(co, 0);
    }
    if (q->count == 2)
        return coro_suspend(co, &q->putters, &ops, (intptr_t)item);
    q->items[q->count++] = *item;
    return coro_done(co, 0);
}

static coro_op item_get(coro_task *co, struct item_queue *q, int *item)
{
    static const coro_ops ops = {"item get", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (q->count == 0)
        return q->closed ? coro_done(co, 0) : coro_suspend(co, &q->getters, &ops, (intptr_t)item);
    *item = q->items[0];
    q->items[0] = q->items[1];
    if (q->putters.head) {
        q->items[1] = *(int *)coro_word(q->putters.head);
        (void)coro_complete(q->putters.head, 0);
    } else {
        q->count--;
    }
    return coro_done(co, 1);
}

static void item_close(struct item_queue *q)
{
    q->closed = true;
    while (q->getters.head)
        (void)coro_complete(q->getters.head, 0);
}

struct producer {
    CORO_FRAME;
    struct sweep_guard guard;
    int item, end;
};

CORO(producer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->item < my->end; my->item++) {
        CORO_TRY(item_put(co, &items, &my->item));
        items_put[my->item]++;
        if (my->item % 4 == 0)
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct consumer {
    CORO_FRAME;
    struct sweep_guard guard;
    int item, sum;
    bool got;
};

CORO(consumer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_TRY(my->got, item_get(co, &items, &my->item));
        if (!my->got)
            break;
        items_got[my->item]++;
        my->sum++;
        if (my->item % 3 == 0)
            CORO_TRY(coro_within(co, CORO_MS(1), coro_sleep(co, CORO_MS(2 - my->item % 2))));
    }
CORO_FINALLY:
    if (CORO_ERR == -ETIMEDOUT)
        CORO_ERR = 0;
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

struct hand_off {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group consumers, producers;
};

CORO(hand_off)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->consumers, CORO_COLLECT);
    for (int i = 0; i < 4; i++)
        coro_spawn(&my->consumers, consumer);
    coro_group_open(co, &my->producers, CORO_COLLECT);
    for (int i = 0; i < 3; i++)
        coro_spawn(&my->producers, producer, .item = i * ITEMS / 3, .end = (i + 1) * ITEMS / 3);
    CORO_TRY(coro_sleep(co, CORO_MS(50)));
    coro_group_cancel(&my->producers); /* they wait for ever when the consumers are gone */
CORO_FINALLY:
    CORO_CLOSE(&my->producers);
    item_close(&items);
    CORO_CLOSE(&my->consumers);
    SWEEP_CHECK(!items.getters.head && !items.putters.head);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(hand_off)

static void items_check(const struct sweep_run *run)
{
    int left[ITEMS] = {0};
    for (int i = 0; i < items.count; i++)
        left[items.items[i]]++;
    for (int i = 0; i < ITEMS; i++) {
        SWEEP_EQ(items_got[i] + left[i], items_put[i]);
        SWEEP_CHECK(items_put[i] <= 1);
        if (!run->struck)
            SWEEP_EQ(items_put[i], 1);
    }
}

TEST(a_queue_of_ones_own_loses_no_item_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&hand_off_main, 0, false, items_reset, items_check,
                                            NULL};
    sweep(&s);
}

/* ---- permits: who leaves a queue may let others through -------------------------------------- */

#define PERMITS 4

struct permits {
    int free;
    coro_waitq waiting;
};

static struct permits permits;

static void permits_reset(void)
{
    memset(&permits, 0, sizeof permits);
    permits.free = PERMITS;
}

static void permits_serve(struct permits *p)
{
    while (p->waiting.head && coro_word(p->waiting.head) <= p->free) {
        p->free -= (int)coro_word(p->waiting.head);
        (void)coro_complete(p->waiting.head, 0);
    }
}

static void permits_gone(coro_task *task, coro_waitq *queue)
{
    (void)task;
    SWEEP_CHECK(queue == &permits.waiting);
    permits_serve(&permits);
}

static coro_op permits_take(coro_task *co, struct permits *p, int n)
{
    static const coro_ops ops = {"permits", NULL, permits_gone};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (p->waiting.head || n > p->free)
        return coro_suspend(co, &p->waiting, &ops, n);
    p->free -= n;
    return coro_done(co, 0);
}

static void permits_give(struct permits *p, int n)
{
    p->free += n;
    SWEEP_CHECK(p->free <= PERMITS);
    permits_serve(p);
}

/* Nobody waits for what is there. */
static void permits_check_waiters(const struct permits *p)
{
    SWEEP_CHECK(!p->waiting.head || coro_word(p->waiting.head) > p->free);
}

struct worker {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, held, i;
};

CORO(worker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 2; my->i++) {
        CORO_TRY(permits_take(co, &permits, my->n));
        my->held = my->n;
        permits_check_waiters(&permits);
        CORO_TRY(coro_sleep(co, CORO_US(my->n * 700)));
        permits_check_waiters(&permits);
        permits_give(&permits, my->held);
        my->held = 0;
    }
CORO_FINALLY:
    permits_give(&permits, my->held);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct large {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

/* Stands in front of smaller ones, and gives up. */
CORO(large)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_AWAIT(my->rc, coro_within(co, CORO_US(500), permits_take(co, &permits, PERMITS)));
    permits_check_waiters(&permits);
    if (my->rc == 0)
        permits_give(&permits, PERMITS);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->rc == -ETIMEDOUT ? 0 : my->rc);
}

struct workshop {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    int held;
};

CORO(workshop)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 6; i++) {
        coro_spawn(&my->g, worker, .n = 1 + i % 4);
        if (i == 0)
            coro_spawn(&my->g, large);
    }
    CORO_TRY(permits_take(co, &permits, PERMITS));
    my->held = PERMITS;
CORO_FINALLY:
    permits_give(&permits, my->held);
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(workshop)

static void permits_check(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(permits.free, PERMITS);
    SWEEP_CHECK(!permits.waiting.head);
}

TEST(permits_all_come_back_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&workshop_main, 0, false, permits_reset, permits_check,
                                            NULL};
    sweep(&s);
}

/* ---- a device whose requests take time to be called off, and one that cannot call off -------- */

struct device {
    bool gone, stubborn;
    int asked, answered;
    coro_waitq requests;
};

static struct device devices[2];

static void devices_reset(void)
{
    memset(devices, 0, sizeof devices);
    devices[1].stubborn = true;
}

static struct device *device_of(const coro_waitq *queue)
{
    return queue == &devices[0].requests ? &devices[0] : &devices[1];
}

static coro_abort device_abort(coro_task *task, coro_waitq *queue)
{
    struct device *d = device_of(queue);
    SWEEP_EQ(++*(int *)coro_word(task), 1); /* asked once only */
    return d->stubborn ? CORO_ABORT_NEVER : CORO_ABORT_LATER;
}

/* *called_off: how often it was. */
static coro_op device_ask(coro_task *co, struct device *d, int *called_off)
{
    static const coro_ops ops = {"device", device_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (d->gone)
        return coro_done(co, -EPIPE);
    d->asked++;
    *called_off = 0;
    return coro_suspend(co, &d->requests, &ops, (intptr_t)called_off);
}

static void device_answer(struct device *d, int result)
{
    d->answered++;
    (void)coro_complete(d->requests.head, result);
}

struct servant {
    CORO_FRAME;
    struct sweep_guard guard;
    struct device *d;
};

/* The device's own side: an answer a millisecond. */
CORO(servant)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        if (my->d->requests.head)
            device_answer(my->d, 0);
    }
CORO_FINALLY:
    my->d->gone = true;
    while (my->d->requests.head)
        device_answer(my->d, -EPIPE);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct asker {
    CORO_FRAME;
    struct sweep_guard guard;
    int i, rc, called_off;
};

CORO(asker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = 0; my->i < 4; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, CORO_US(1500),
                                       device_ask(co, &devices[my->i % 2], &my->called_off)));
        if (my->rc < 0 && my->rc != -EPIPE)
            CORO_FAIL(my->rc);
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct slow_aborts {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope shield;
    coro_group servants, askers;
    int rc;
};

/* The servants outlive the askers, whatever is cancelled from outside. */
CORO(slow_aborts)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    coro_group_open(co, &my->servants, CORO_COLLECT);
    for (int i = 0; i < 2; i++)
        coro_spawn(&my->servants, servant, .d = &devices[i]);
    devices[0].gone = devices[1].gone = my->servants.failed != 0;
    coro_scope_shield(&my->shield, false);
    coro_group_open(co, &my->askers, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_spawn(&my->askers, asker);
    coro_scope_shield(&my->shield, true);
CORO_FINALLY:
    CORO_CLOSE(&my->askers);
    my->rc = CORO_ERR;
    coro_group_cancel(&my->servants);
    CORO_CLOSE(&my->servants);
    CORO_ERR = my->rc;
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(slow_aborts)

static void devices_check(const struct sweep_run *run)
{
    for (int i = 0; i < 2; i++) {
        SWEEP_CHECK(!devices[i].requests.head);
        SWEEP_EQ(devices[i].answered, devices[i].asked);
        if (!run->struck)
            SWEEP_EQ(devices[i].asked, 8);
    }
}

TEST(operations_that_end_slowly_end_once_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&slow_aborts_main, 0, false, devices_reset,
                                            devices_check, NULL};
    sweep(&s);
}

/* ---- failures, and tasks that cancel each other ---------------------------------------------- */

static int fights_failed;

static void fights_reset(void)
{
    fights_failed = 0;
}

struct fighter {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope scope;
    coro_task *foe;
    coro_group *ring;
    int n;
};

/* 0 and 1 cancel each other, 2 fails, 3 fails while it is cancelled, 4 ends all. */
CORO(fighter)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_scope_open(co, &my->scope);
    CORO_TRY(coro_sleep(co, CORO_MS(1 + my->n / 2)));
    if (my->foe)
        (void)coro_task_cancel(my->foe);
    if (my->n == 2)
        CORO_FAIL(-EIO);
    if (my->n == 4)
        coro_group_cancel(my->ring);
    CORO_TRY(coro_sleep(co, CORO_MS(10)));
CORO_FINALLY:
    if (my->n == 3 && CORO_ERR == -ECANCELED)
        CORO_ERR = -EPROTO;
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct fights {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(fighter) f[5];
    coro_time start;
    int round, rc;
};

CORO(fights)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->round = 0; my->round < 3; my->round++) {
        my->start = coro_now(co);
        coro_group_open(co, &my->g, my->round == 0 ? CORO_ALL : CORO_COLLECT);
        for (int i = 0; i < 5; i++)
            coro_start(&my->g, &my->f[i], fighter, .foe = i < 2 ? &my->f[1 - i].task : NULL,
                       .ring = &my->g, .n = i);
        CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
        fights_failed += (int)my->g.failed;
        SWEEP_EQ(my->g.started, 5);
        SWEEP_CHECK(my->rc == 0 || my->rc == -ECANCELED || my->rc == my->g.first);
        if (my->round == 0 && my->g.first == -EIO) /* that was the end of it */
            SWEEP_EQ(coro_now(co) - my->start, CORO_MS(2));
        if (my->rc == -ECANCELED)
            CORO_FAIL(my->rc);
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(fights_failed);
}

SWEEP_MAIN(fights)

TEST(tasks_that_fail_and_cancel_each_other_all_end_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&fights_main, 6, true, fights_reset, NULL, NULL};
    sweep(&s);
}

/* ---- a crowd, for which the run queue has to grow -------------------------------------------- */

struct crowded {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(leaf) own[10];
    int sum;
};

CORO(crowded)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (int i = 0; i < 10; i++) {
        coro_start(&my->g, &my->own[i], leaf, .d = CORO_MS(i % 3), .sum = &my->sum);
        coro_spawn(&my->g, leaf, .d = CORO_MS(i % 3), .sum = &my->sum);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_EQ(my->g.started, 20);
    SWEEP_CHECK(my->g.failed + my->g.cancelled + (unsigned)my->sum == 20);
    sweep_leave(&my->guard);
    CORO_END(my->sum);
}

SWEEP_MAIN(crowded)

TEST(a_crowd_is_counted_right_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&crowded_main, 20, true, NULL, NULL, NULL};
    sweep(&s);
}
