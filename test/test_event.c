/* test_event.c -- event, promise, once. (semantics.md 4: S25-S28, S42, S43, S67)
 *
 * Most tests are little plays: each actor, a task, works through a script of words, and what came
 * of each word is written down as "<actor><time in ms>:<word>", with the result where it is not 0:
 *
 *     PLAY("a0:wait b5:set a5:wait",   what is to happen
 *          "wait",                     a
 *          "sleep:5 set");             b
 *
 * word:x gives an argument: a time, a value, an actor; word<5 sets a limit of 5 ms. Sleeps and
 * cancellations that went well are not written down; questions begin with a `?`.
 */
#include "coro_sync.h"
#include "sweep.h"
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stage {
    coro_event event;
    coro_promise promise;
    coro_once once;
    coro_sem notice; /* notify_one: at most one is stored */
} w;

static coro_loop here, there;
static char trace[4096], said[8192];
static bool may_report; /* this play is allowed to report something */

/* Where actors wait. */
static struct lines {
    int sleep, wait, get, enter, select;
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
    coro_case cases[2];
};

static coro_task *actors[8]; /* a, b, c ... */

#include "play.h"

static int ask(const struct actor *my)
{
    if (is(my, "?set"))
        return coro_event_is_set(&w.event);
    if (is(my, "?kept"))
        return coro_promise_is_set(&w.promise);
    if (is(my, "?waiting"))
        return (int)w.event.line.waiting;
    if (is(my, "?getting"))
        return (int)w.promise.line.waiting;
    if (is(my, "?entering"))
        return (int)w.once.line.waiting;
    if (is(my, "?notices"))
        return w.notice.value;
    TEST_FAIL("no such word: %s", my->word);
}

/* The words that do not wait: a plain function, not a coroutine. S06 */
static int act(coro_task *co, const struct actor *my)
{
    if (is(my, "set"))
        coro_event_set(&w.event);
    else if (is(my, "clear"))
        coro_event_clear(&w.event);
    else if (is(my, "keep"))
        return coro_promise_set(&w.promise, my->arg);
    else if (is(my, "leave"))
        return coro_once_leave(co, &w.once, my->arg);
    else if (is(my, "notify"))
        return coro_sem_release(&w.notice);
    else if (is(my, "cancel"))
        return coro_task_cancel(actors[my->arg]) - 1;
    else if (is(my, "eventfini"))
        return coro_event_fini(&w.event);
    else if (is(my, "promisefini"))
        return coro_promise_fini(&w.promise);
    else if (is(my, "oncefini"))
        return coro_once_fini(&w.once);
    else
        return ask(my);
    return 0;
}

CORO(actor)
{
    CORO_BEGIN();
    while (next_word(my)) {
        if (is(my, "sleep")) {
            lines.sleep = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_sleep(co, CORO_MS(my->arg)));
        } else if (is(my, "wait")) {
            lines.wait = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_event_wait(co, &w.event)));
        } else if (is(my, "get")) {
            lines.get = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_promise_get(co, &w.promise)));
        } else if (is(my, "enter")) {
            lines.enter = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_once_enter(co, &w.once)));
        } else if (is(my, "notified")) {
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_sem_acquire(co, &w.notice)));
        } else if (is(my, "select")) {
            coro_case_event(&my->cases[0], &w.event);
            coro_case_promise(&my->cases[1], &w.promise);
            lines.select = __LINE__ + 1;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, coro_select(co, my->cases, 2)));
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
    o.on_event = look;
    o.report.put = keep_report;
    CHECK_EQ(coro_loop_init(l, &o), 0);
    CHECK_EQ(coro_sem_init(&w.notice, 0, 1), 0);
}

static CORO_TASK(actor) roles[8];

/* Actor number n comes on, with a script. */
static void enter(coro_loop *l, int n, const char *script)
{
    char name = (char)('a' + n);
    actors[n] = &roles[n].task;
    CHECK_EQ(coro_start(&l->root, &roles[n], actor, .name = name, .script = script), 0);
}

/* Nobody is left at anything. */
static void check_stage(void)
{
    CHECK_EQ(coro_event_fini(&w.event), 0);
    CHECK_EQ(coro_promise_fini(&w.promise), 0);
    CHECK_EQ(coro_once_fini(&w.once), 0);
    CHECK_EQ(coro_sem_fini(&w.notice), 0);
    CHECK_EQ(w.event.line.waiting, 0);
    CHECK_EQ(w.promise.line.waiting, 0);
    CHECK_EQ(w.once.line.waiting, 0);
}

__attribute__((sentinel))
static void play(const char *want, const char *script, ...)
{
    int n = 0;
    va_list more;
    va_start(more, script);
    *trace = *said = 0;
    memset(&w, 0, sizeof w);
    open_stage(&here);
    for (; script; script = va_arg(more, const char *))
        enter(&here, n++, script);
    va_end(more);
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_STR(trace, want);
    check_stage();
    if (!may_report)
        CHECK_STR(said, "");
}

#define PLAY(want, ...) play(want, __VA_ARGS__, (const char *)NULL)

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

#if CORO_DEBUG
/* "coro: task 1 actor<what>, at actor test_event.c:123\n" */
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

/* ---- event ----------------------------------------------------------------------------------- */

/* S25 */
TEST(event_wakes_all_who_wait_in_order_and_later_ones_do_not_wait)
{
    PLAY("d5:?waiting=3 d5:set d5:?waiting=0 d5:?set=1 a5:wait b5:wait c5:wait e6:wait e6:wait",
         "wait",
         "wait",
         "wait",
         "sleep:5 ?waiting set ?waiting ?set",
         "sleep:6 wait wait");
    CHECK_EQ(w.event.line.most, 3);
}

/* S25 */
TEST(event_set_twice_is_set)
{
    PLAY("a0:set a0:set a0:?set=1 a0:wait a0:clear a0:?set=0 a2:wait=ETIMEDOUT",
         "set set ?set wait clear ?set wait<2");
}

/* S26 */
TEST(event_set_and_cleared_at_once_has_released_all_who_waited_by_then)
{
    PLAY("d1:set d1:clear d1:?set=0 a1:wait b1:wait d3:set a3:wait c3:wait",
         "wait wait",
         "wait",
         "sleep:2 wait",
         "sleep:1 set clear ?set sleep:2 set");
}

/* S03 S14 */
TEST(event_is_left_at_once_by_a_waiter_that_is_cancelled_or_times_out)
{
    PLAY("d2:?waiting=2 a2:wait=ECANCELED b3:wait=ETIMEDOUT d4:?waiting=1 d4:set c4:wait",
         "wait",
         "wait<3",
         "wait",
         "sleep:2 cancel:a ?waiting sleep:2 ?waiting set");
}

/* S05 */
TEST(event_that_is_set_does_not_let_a_cancelled_task_pass)
{
    PLAY("b0:set a0:sleep=ECANCELED a0:wait=ECANCELED",
         "cancel:a sleep wait",
         "set");
}

/* S04 S32 */
TEST(event_set_before_the_cancellation_has_happened_and_after_it_not)
{
    PLAY("c1:set b1:wait=ECANCELED a1:wait a1:sleep=ECANCELED",
         "wait sleep:1",
         "wait",
         "sleep:1 cancel:b set cancel:a");
}

TEST(event_that_is_tried_once_times_out_unless_it_is_set)
{
    PLAY("a0:wait=ETIMEDOUT a0:?waiting=0 a0:set a0:wait", "wait<0 ?waiting set wait<0");
}

static coro_post_node bell;

static void ring(coro_loop *loop, coro_post_node *node)
{
    (void)loop;
    (void)node;
    coro_event_set(&w.event);
}

/* S06 */
TEST(event_may_be_set_by_the_loop_and_between_its_steps)
{
    open_stage(&here);
    enter(&here, 0, "wait clear wait");
    CHECK_EQ(coro_loop_step(&here), 1);
    coro_event_set(&w.event);
    CHECK_EQ(w.event.line.waiting, 0);
    CHECK_EQ(coro_loop_step(&here), 1);
    CHECK_STR(trace, "a0:wait a0:clear");
    bell.run = ring;
    CHECK(coro_post(&here, &bell));
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_STR(trace, "a0:wait a0:clear a0:wait");
    CHECK_EQ(coro_loop_fini(&here), 0);
}

/* S07 S09 */
TEST(event_is_used_by_one_loop_at_a_time)
{
    play_in_two_loops("b0:wait=EPERM b0:select=EPERM b0:?waiting=1 a5:wait=ETIMEDOUT",
                      "wait<5",
                      "wait select ?waiting");
    play_in_two_loops("a0:clear b0:wait=ETIMEDOUT b0:set a1:wait",
                      "clear sleep:1 wait",
                      "wait<0 set");
}

/* S08 */
TEST(event_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("c1:eventfini=EBUSY c1:?waiting=2 c1:set c1:eventfini a1:wait b1:select",
         "wait",
         "select",
         "sleep:1 eventfini ?waiting set eventfini");
#if CORO_DEBUG
    char want[1024];
    snprintf(want, sizeof want, "%s%s", report_of(0, " waits for what is to be ended", lines.wait),
             report_of(1, " waits in a select for what is to be ended", lines.select));
    CHECK_STR(said, want);
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* Three in a line of selects alone, and tasks between them: each is named once. */
TEST(event_names_every_select_that_waits_for_it)
{
    may_report = true;
    PLAY("e1:eventfini=EBUSY e1:?waiting=4 e1:set a1:select b1:wait c1:select d1:select",
         "select",
         "wait",
         "select",
         "select",
         "sleep:1 eventfini ?waiting set");
#if CORO_DEBUG
    for (int i = 0; i < 4; i++)
        CHECK_CONTAINS(said, i == 1 ? report_of(1, " waits for what is to be ended", lines.wait)
                                    : report_of(i, " waits in a select for what is to be ended",
                                                lines.select));
#endif /* CORO_DEBUG */
}

/* ---- notify: a semaphore of at most one ------------------------------------------------------ */

/* S27 */
TEST(notifications_that_nobody_waits_for_are_kept_as_one)
{
    PLAY("a0:notify a0:notify=EOVERFLOW a0:notify=EOVERFLOW a0:?notices=1 a0:notified "
         "a0:notified=ETIMEDOUT",
         "notify notify notify ?notices notified<0 notified<0");
}

/* S27 */
TEST(notifications_go_to_as_many_who_wait_and_then_one_is_kept)
{
    PLAY("c1:notify c1:notify c1:?notices=0 c1:notify c1:notify=EOVERFLOW a1:notified a1:notified "
         "b1:notified",
         "notified notified",
         "notified",
         "sleep:1 notify notify ?notices notify notify");
}

/* S27 */
TEST(notification_of_all_keeps_nothing)
{
    PLAY("c1:set c1:clear a1:wait b1:wait a3:wait=ETIMEDOUT c4:set c4:clear d5:wait=ETIMEDOUT",
         "wait wait<2",
         "wait",
         "sleep:1 set clear sleep:3 set clear",
         "sleep:4 sleep wait<1");
}

/* S28 */
TEST(notification_of_one_that_was_cancelled_before_goes_to_the_next)
{
    PLAY("c1:notify a1:notified=ECANCELED b1:notified c1:?notices=0",
         "notified",
         "notified",
         "sleep:1 cancel:a notify sleep ?notices");
}

/* S28 */
TEST(notification_of_one_that_is_cancelled_afterwards_has_arrived)
{
    PLAY("c1:notify a1:notified a1:sleep=ECANCELED b5:notified=ETIMEDOUT",
         "notified sleep:1",
         "notified<5",
         "sleep:1 notify cancel:a");
}

/* S28 */
TEST(notification_of_one_whose_time_is_up_stays_for_the_next)
{
    PLAY("a3:notified=ETIMEDOUT b4:notify b4:?notices=1 c5:notified",
         "notified<3",
         "sleep:4 notify ?notices",
         "sleep:5 notified");
}

/* ---- promise --------------------------------------------------------------------------------- */

TEST(promise_gives_its_value_to_all_who_wait_in_order_and_to_all_who_come)
{
    PLAY("c5:?kept=0 c5:?getting=2 c5:keep c5:?kept=1 c5:?getting=0 a5:get=42 b5:get=42 d6:get=42 "
         "d6:get=42",
         "get",
         "get",
         "sleep:5 ?kept ?getting keep:42 ?kept ?getting",
         "sleep:6 get get<0");
}

TEST(promise_of_zero_is_a_value)
{
    PLAY("a0:keep a0:get a0:?kept=1", "keep:0 get ?kept");
}

/* S43 */
TEST(promise_is_kept_once)
{
    PLAY("a0:keep a0:keep=EALREADY a0:get=1 b0:keep=EALREADY b0:get=1",
         "keep:1 keep:2 get",
         "keep:3 get");
}

/* S67: sent, then the sender goes */
TEST(promise_keeps_its_value_when_the_one_who_set_it_has_ended)
{
    PLAY("a0:keep b5:get=7", "keep:7", "sleep:5 get");
}

/* S67: who will not send says so */
TEST(promise_may_be_a_failure)
{
    PLAY("b1:keep b1:get=-32 a1:get=-32", "get", "sleep:1 keep:-32 get");
}

TEST(promise_keeps_a_failure_beyond_all_errnos_out_of_the_machinery)
{
    open_stage(&here);
    enter(&here, 0, "get");
    enter(&here, 1, "sleep:1 get");
    CHECK_EQ(coro_loop_step(&here), 1);
    CHECK_EQ(coro_promise_set(&w.promise, INTPTR_MIN), 0);
    CHECK_EQ(coro_loop_run(&here), 0);
    CHECK_EQ(coro_task_status(actors[0]), CORO_OK);
    CHECK_EQ(coro_task_status(actors[1]), CORO_OK);
    CHECK_EQ(coro_loop_fini(&here), 0);
}

/* S03 */
TEST(promise_is_left_at_once_by_a_waiter_that_is_cancelled_or_times_out)
{
    PLAY("c1:?getting=1 a1:get=ECANCELED b3:get=ETIMEDOUT c4:?getting=0 c4:keep",
         "get",
         "get<3",
         "sleep:1 cancel:a ?getting sleep:3 ?getting keep:1");
}

/* S04 S05 */
TEST(promise_kept_before_the_cancellation_was_got_and_after_it_not)
{
    PLAY("c1:keep b1:get=ECANCELED a1:get=9 a1:get=ECANCELED",
         "get get",
         "get",
         "sleep:1 cancel:b keep:9 cancel:a");
}

/* S09 */
TEST(promise_is_used_by_one_loop_at_a_time)
{
    play_in_two_loops("b0:get=EPERM b0:select=EPERM b0:?getting=1 a5:get=ETIMEDOUT",
                      "get<5",
                      "get select ?getting");
}

/* S08 */
TEST(promise_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("b1:promisefini=EBUSY b1:keep b1:promisefini a1:get=1",
         "get",
         "sleep:1 promisefini keep:1 promisefini");
#if CORO_DEBUG
    CHECK_STR(said, report_of(0, " waits for what is to be ended", lines.get));
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

TEST(promise_and_event_in_a_select_the_one_that_comes_ends_both_waits)
{
    PLAY("b1:keep b1:?waiting=0 b1:?getting=0 a1:select=1 a1:get=5 a2:select=1 b3:set a4:select",
         "select get sleep:1 select sleep:2 select",
         "sleep:1 keep:5 ?waiting ?getting sleep:2 set");
}

/* ---- once ------------------------------------------------------------------------------------ */

/* S42 */
TEST(once_is_done_by_the_first_and_the_others_wait_for_that)
{
    PLAY("a0:enter=1 d1:?entering=2 a5:leave b5:enter c5:enter d6:enter d6:enter",
         "enter sleep:5 leave",
         "enter",
         "enter",
         "sleep:1 ?entering sleep:5 enter enter<0");
}

/* S42 */
TEST(once_that_failed_is_tried_by_the_next_and_the_rest_wait_on)
{
    PLAY("a0:enter=1 a5:leave b5:enter=1 d6:?entering=1 b8:leave c8:enter=1 c8:leave d9:enter "
         "a9:enter",
         "enter sleep:5 leave:-5 sleep:4 sleep enter",
         "enter sleep:3 leave:-5",
         "enter leave:3",
         "sleep:6 ?entering sleep:3 enter");
}

/* S42 */
TEST(once_that_failed_with_nobody_waiting_is_as_new)
{
    PLAY("a0:enter=1 a0:leave a0:enter=1 a0:leave a0:enter",
         "enter leave:-1 enter leave enter");
}

/* S42 */
TEST(once_whose_owner_is_cancelled_passes_nothing_of_that_on)
{
    PLAY("a0:enter=1 a3:sleep=ECANCELED a3:leave b3:enter=1 b3:leave c3:enter",
         "enter sleep:9 leave:-125",
         "enter leave",
         "enter",
         "sleep:3 cancel:a");
}

/* S42 S13 */
TEST(once_whose_owner_ended_without_leaving_is_tried_by_the_next)
{
    PLAY("a0:enter=1 b5:enter=1 c5:enter=1 c5:leave d6:enter",
         "enter sleep:5",
         "enter",
         "enter leave",
         "sleep:6 enter");
    PLAY("a0:enter=1 b1:enter=1 b1:leave", "enter", "sleep:1 enter leave");
}

/* S04 */
TEST(once_handed_on_before_the_cancellation_is_that_tasks)
{
    PLAY("a0:enter=1 a1:leave b1:enter=1 b1:sleep=ECANCELED b1:leave c1:enter",
         "enter sleep:1 leave:-5 cancel:b",
         "enter sleep:1 leave",
         "enter");
    PLAY("a0:enter=1 a1:leave b1:enter=ECANCELED c1:enter=1 c1:leave",
         "enter sleep:1 cancel:b leave:-5",
         "enter",
         "enter leave");
}

/* S03 S05 */
TEST(once_is_left_at_once_by_a_waiter_that_is_cancelled_or_times_out)
{
    PLAY("a0:enter=1 c0:enter=ETIMEDOUT d1:?entering=0 b1:enter=ECANCELED b1:enter=ECANCELED "
         "a5:leave",
         "enter sleep:5 leave",
         "enter enter",
         "enter<0",
         "sleep:1 cancel:b ?entering");
}

/* S12 S43 */
TEST(once_is_left_only_by_who_is_at_it_and_entered_by_it_only_once)
{
    PLAY("a0:leave=EPERM a0:enter=1 a0:enter=EDEADLK b0:leave=EPERM a1:leave a1:leave=EPERM "
         "a1:enter b2:leave=EPERM b2:enter",
         "leave enter enter sleep:1 leave leave enter",
         "leave sleep:2 leave enter");
}

/* S09 */
TEST(once_that_a_task_of_another_loop_is_at_is_not_waited_for)
{
    play_in_two_loops("a0:enter=1 b0:enter=EPERM b0:leave=EPERM b0:?entering=0 a1:leave",
                      "enter sleep:1 leave",
                      "enter leave ?entering");
}

/* S08 */
TEST(once_in_use_cannot_be_ended_and_says_by_whom_it_is_used)
{
    may_report = true;
    PLAY("a0:enter=1 c1:oncefini=EBUSY a2:leave b2:enter c3:oncefini",
         "enter sleep:2 leave",
         "enter",
         "sleep:1 oncefini sleep:2 oncefini");
#if CORO_DEBUG
    char want[1024];
    snprintf(want, sizeof want, "%s%s",
             report_of(0, " holds what is to be ended", lines.sleep),
             report_of(1, " waits for what is to be ended", lines.enter));
    CHECK_STR(said, want);
#else
    CHECK_STR(said, "");
#endif /* CORO_DEBUG */
}

/* S08 */
TEST(once_without_anybody_waiting_is_in_use_while_a_task_is_at_it)
{
    may_report = true;
    PLAY("a0:oncefini a0:enter=1 a0:oncefini=EBUSY a0:leave a0:oncefini",
         "oncefini enter oncefini leave oncefini");
}

/* ---- all together, hurt everywhere ----------------------------------------------------------- */

/* A service that is loaded once, by whoever asks first, answers a promise and opens at an event. */
static struct service {
    coro_once once;
    coro_event open;
    coro_promise name;
    int loading, loaded, served;
} service;

struct load { CORO_FRAME; struct sweep_guard guard; };
CORO(load)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(service.loading++, 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_TRY(coro_sleep(co, 0));
    service.loaded++;
CORO_FINALLY:
    service.loading--;
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct client { CORO_FRAME; struct sweep_guard guard; bool mine; struct load load; int name; };
CORO(client)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(my->mine, coro_once_enter(co, &service.once));
    if (my->mine)
        CORO_TRY(coro_call(co, &my->load, load));
    else
        SWEEP_EQ(service.loaded, 1);
    if (my->mine)
        (void)coro_promise_set(&service.name, 5);
    CORO_TRY(my->name, coro_promise_get(co, &service.name));
    SWEEP_EQ(my->name, 5);
    if (my->mine)
        SWEEP_EQ(coro_once_leave(co, &service.once, 0), 0);
    CORO_TRY(coro_event_wait(co, &service.open));
    service.served++;
CORO_FINALLY:
    (void)coro_once_leave(co, &service.once, service.loaded ? 0 : CORO_ERR);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct opener { CORO_FRAME; struct sweep_guard guard; int name; };
CORO(opener)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(my->name, coro_promise_get(co, &service.name));
    SWEEP_EQ(my->name, 5);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
CORO_FINALLY:
    coro_event_set(&service.open);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct service_day { CORO_FRAME; struct sweep_guard guard; coro_group g; int i; };
CORO(service_day)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, opener);
    for (my->i = 0; my->i < 3; my->i++)
        coro_spawn(&my->g, client);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(service.served);
}
SWEEP_MAIN(service_day)

static void open_service(void)
{
    memset(&service, 0, sizeof service);
}

static void check_service(const struct sweep_run *run)
{
    if (run->result == 3)
        SWEEP_EQ(service.loaded, 1);
    SWEEP_CHECK(service.loaded <= 1);
    SWEEP_EQ(service.loading, 0);
    SWEEP_EQ(coro_once_fini(&service.once), 0);
    SWEEP_EQ(coro_event_fini(&service.open), 0);
    SWEEP_EQ(coro_promise_fini(&service.name), 0);
    SWEEP_EQ(service.once.line.waiting + service.open.line.waiting + service.name.line.waiting, 0);
}

TEST(service_that_is_loaded_once_closes_whatever_happens)
{
    static const struct sweep_scenario s = {&service_day_main, 3, true, open_service,
                                            check_service, NULL};
    sweep(&s);
}
