/* test_debug.c -- what the loop tells of itself: dumps, numbers, reports, hooks. (semantics.md 13)
 *
 * Left out: B01 and B05 are compile errors here, B06 is not in design.md, B07 and B08 are
 * coro_io.h's. B09 is also in test_loop.c, B12 in test_gen.c, B16's counts in test_loop.c.
 */
#include "coro.h"
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOUND(loop) CHECK_STR(coro_verify(loop), NULL)

/* What happened, in order; and what was reported. */
static char trace[4096], text[32768];

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
    size_t used = strlen(trace);
    va_list args;
    va_start(args, format);
    vsnprintf(trace + used, sizeof trace - used, format, args);
    va_end(args);
}

static void keep_text(void *arg, const char *more)
{
    (void)arg;
    CHECK(strlen(text) + strlen(more) < sizeof text);
    strcat(text, more);
}

static const coro_sink keep = {keep_text, NULL};

static coro_options quiet(void)
{
    coro_options o = {.clock = CORO_VIRTUAL};
    o.report = keep;
    return o;
}

/* How often a word occurs in what was reported. */
static int reported(const char *word)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
        n++;
    return n;
}

static coro_loop loop;

/* Where the tests' tasks wait. */
static struct lines {
    int nap, callee, caller, app_group, app, pass;
} lines;

static const char *place(const char *name, int line)
{
    static char buffer[8][128];
    static int next;
    char *p = buffer[next++ % 8];
#if CORO_NAMES
    snprintf(p, sizeof buffer[0], "%s %s:%d\n", name, __FILE__, line);
#else
    (void)name;
    snprintf(p, sizeof buffer[0], "line %d\n", line);
#endif /* CORO_NAMES */
    return p;
}

/* ---- an operation and tasks --------------------------------------------------------------- */

static struct gate {
    coro_waitq waiting;
    bool open, stuck;
    int passed;
} gate;

static coro_abort gate_abort(coro_task *task, coro_waitq *queue)
{
    (void)task;
    (void)queue;
    return gate.stuck ? CORO_ABORT_NEVER : CORO_ABORT_DONE;
}

static coro_op gate_pass(coro_task *co)
{
    static const coro_ops ops = {"the gate", gate_abort, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (gate.open)
        return coro_done(co, gate.passed++);
    return coro_suspend(co, &gate.waiting, &ops, 0);
}

struct nap {
    CORO_FRAME;
    coro_time d;
};

CORO(nap)
{
    CORO_BEGIN();
    lines.nap = __LINE__; CORO_TRY(coro_sleep(co, my->d));
    CORO_END(0);
}

struct passer {
    CORO_FRAME;
    int rc;
};

CORO(passer)
{
    CORO_BEGIN();
    lines.pass = __LINE__; CORO_TRY(my->rc, gate_pass(co));
    CORO_END(my->rc);
}

struct failing {
    CORO_FRAME;
    int error;
};

CORO(failing)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, 0));
    CORO_FAIL(my->error);
    CORO_END(0);
}

/* ---- the dump ----------------------------------------------------------------------------- */

struct callee {
    CORO_FRAME;
    struct passer sub;
};

CORO(callee)
{
    CORO_BEGIN();
    lines.callee = __LINE__; CORO_TRY(coro_call(co, &my->sub, passer));
    CORO_END(0);
}

struct caller {
    CORO_FRAME;
    struct callee sub;
};

CORO(caller)
{
    CORO_BEGIN();
    lines.caller = __LINE__; CORO_TRY(coro_call(co, &my->sub, callee));
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    coro_group g;
};

CORO(app)
{
    CORO_BEGIN();
    lines.app_group = __LINE__; coro_group_open(co, &my->g, CORO_COLLECT);
    coro_spawn(&my->g, caller);
    coro_spawn(&my->g, nap, .d = CORO_S(3));
    coro_spawn(&my->g, failing, .error = -EIO);
CORO_FINALLY:
    lines.app = __LINE__; CORO_CLOSE(&my->g);
    CORO_END(0);
}

static coro_post_node note;
static char dumped[sizeof text];

static void dump_now(coro_loop *l, coro_post_node *node)
{
    (void)node;
    text[0] = 0;
    SOUND(l);
    coro_dump(l, &keep);
    memcpy(dumped, text, sizeof dumped);
    while (gate.waiting.head)
        coro_complete(gate.waiting.head, 0);
}

struct dumper {
    CORO_FRAME;
    int dummy;
};

CORO(dumper)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(1500)));
    note.run = dump_now; /* a safe point: between two tasks */
    coro_post(coro_loop_of(co), &note);
    CORO_END(0);
}

/* Every line of the dump, with each task's whole chain, from the leaf out. */
TEST(dump_shows_each_task_with_what_it_waits_for_and_its_whole_chain) /* B17 */
{
    static CORO_TASK(app) main_task;
    const coro_options o = quiet();
    char want[2048];
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_start(&loop.root, &main_task, app);
    coro_spawn(&loop.root, dumper);
    coro_spawn(&loop.root, nap, .d = CORO_FOREVER);
    CHECK_EQ(coro_loop_run(&loop), -EDEADLK); /* by the last one, long after the dump */
    CHECK_EQ(coro_loop_fini(&loop), 0);
#if CORO_NAMES
    snprintf(want, sizeof want,
             "group collect: 2 alive, 0 failed\n"
             "  task 0 app has waited 1.500 s for group close\n"
             "      %s"
             "    group collect of %.*s: 2 alive, 1 failed\n"
             "      task 0 caller has waited 1.500 s for the gate\n"
             "          %s          %s          %s"
             "      task 1 nap waits for sleep, at most 1.500 s\n"
             "          %s"
             "  task 2 nap has waited 1.500 s for sleep\n"
             "      %s",
             place("app", lines.app), (int)strlen(place("app", lines.app_group)) - 1,
             place("app", lines.app_group), place("passer", lines.pass),
             place("callee", lines.callee), place("caller", lines.caller),
             place("nap", lines.nap), place("nap", lines.nap));
    CHECK_STR(dumped, want);
#else
    (void)want;
    CHECK_CONTAINS(dumped, place("passer", lines.pass));
    CHECK_CONTAINS(dumped, place("callee", lines.callee));
    CHECK_CONTAINS(dumped, place("caller", lines.caller));
#endif /* CORO_NAMES */
}

TEST(dump_goes_where_the_options_say) /* B17 */
{
    const coro_options o = quiet();
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_dump(&loop, NULL);
    CHECK_STR(text, "group collect: 0 alive, 0 failed\n");
    text[0] = 0;
    coro_spawn(&loop.root, nap, .d = CORO_S(1));
    coro_dump(&loop, NULL); /* before its first step */
    CHECK_CONTAINS(text, "group collect: 1 alive, 0 failed\n");
    CHECK_CONTAINS(text, " is ready\n");
    CHECK_CONTAINS(text, " (not begun)\n");
    coro_loop_step(&loop);
    coro_group_cancel(&loop.root);
    text[0] = 0;
    coro_dump(&loop, NULL);
    CHECK_CONTAINS(text, "group collect: 1 alive, 0 failed, cancelled\n");
    CHECK_CONTAINS(text, " is ready, cancelled\n");
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

struct nest {
    CORO_FRAME;
    int depth;
    coro_group g;
    coro_scope scope;
};

/* Tasks in groups in scopes in tasks. */
CORO(nest)
{
    CORO_BEGIN();
    if (my->depth == 0) {
        CORO_TRY(gate_pass(co));
        CORO_LEAVE();
    }
    coro_timeout_open(co, &my->scope, CORO_S(my->depth));
    coro_group_open(co, &my->g, (coro_mode)(my->depth % 3));
    coro_spawn(&my->g, nest, .depth = my->depth - 1);
    coro_spawn(&my->g, nest, .depth = 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(dump_of_a_deep_tree_names_every_task_once_and_returns_to_the_margin) /* B17 */
{
    const coro_options o = quiet();
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, nest, .depth = 20);
    coro_spawn(&loop.root, nap, .d = CORO_MS(1));
    while (coro_stats(&loop).ready)
        CHECK_EQ(coro_loop_step(&loop), 1);
    SOUND(&loop);
    coro_dump(&loop, &keep);
    CHECK_EQ(reported("task "), 20 + 21 + 1);
    CHECK_EQ(reported("group all"), 6);
    CHECK_EQ(reported("group collect"), 7 + 1);
    CHECK_EQ(reported("group race"), 7);
    CHECK_CONTAINS(text, CORO_NAMES ? "\n  task 1 nap waits" : "\n  task 1 task waits");
    gate.open = true;
    while (gate.waiting.head)
        coro_complete(gate.waiting.head, 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- deadlock ----------------------------------------------------------------------------- */

TEST(deadlock_report_says_who_waits_where_for_what) /* B18 */
{
    const coro_options o = quiet();
    CHECK_EQ(coro_run_with(&o, caller), -EDEADLK);
    CHECK_CONTAINS(text, "coro: deadlock: nothing can wake these tasks\n"
                         "group collect: 1 alive, 0 failed\n");
    CHECK_CONTAINS(text, "for the gate\n");
    CHECK_CONTAINS(text, place("passer", lines.pass));
    CHECK_CONTAINS(text, place("callee", lines.callee));
    CHECK_CONTAINS(text, place("caller", lines.caller));
    CHECK_EQ(reported("deadlock"), 1);
}

/* ---- numbers ------------------------------------------------------------------------------ */

TEST(stats_count_what_there_is) /* B16 B20 */
{
    const coro_options o = quiet();
    coro_loop_stats s;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    s = coro_stats(&loop);
    CHECK_EQ(s.tasks + s.ready + s.timers + s.held + s.steps + s.spawned + s.memory, 0);
    coro_spawn(&loop.root, nap, .d = CORO_MS(2));
    coro_spawn(&loop.root, nap, .d = CORO_MS(1));
    coro_spawn(&loop.root, passer);
    coro_loop_hold(&loop);
    s = coro_stats(&loop);
    CHECK_EQ(s.tasks, 3);
    CHECK_EQ(s.ready, 3);
    CHECK_EQ(s.timers, 0);
    CHECK_EQ(s.held, 1);
    CHECK_EQ(s.steps, 0);
    CHECK_EQ(s.spawned, 3);
    CHECK(s.memory > 0);
    CHECK_EQ(coro_loop_step(&loop), 1);
    s = coro_stats(&loop);
    CHECK_EQ(s.tasks, 3);
    CHECK_EQ(s.ready, 0);
    CHECK_EQ(s.timers, 2);
    CHECK_EQ(s.steps, 3);
    CHECK_EQ(coro_loop_deadline(&loop), CORO_MS(1));
    coro_loop_release(&loop);
    coro_complete(gate.waiting.head, 0);
    CHECK_EQ(coro_loop_run(&loop), 0);
    s = coro_stats(&loop);
    CHECK_EQ(s.tasks + s.ready + s.timers + s.held, 0);
    CHECK_EQ(s.steps, 6);
    CHECK_EQ(s.spawned, 3);
    CHECK_EQ(s.parked, 0); /* virtual time needs no sleep */
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(coro_stats(&loop).memory, 0);
}

/* ---- coro_verify -------------------------------------------------------------------------- */

/* Break one thing at a time, and mend it. */
TEST(verify_finds_what_is_broken)
{
    static CORO_TASK(nap) a, b;
    const coro_options o = quiet();
    coro_link *kept;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    SOUND(&loop);
    coro_start(&loop.root, &a, nap, .d = CORO_S(1));
    coro_start(&loop.root, &b, nap, .d = CORO_S(1));
    CHECK_EQ(coro_loop_step(&loop), 1);
    SOUND(&loop);

    loop.alive++;
    CHECK_STR(coro_verify(&loop), "tasks are missing from the tree");
    loop.alive--;
    loop.timers++;
    CHECK_STR(coro_verify(&loop), "timers are missing from the wheel");
    loop.timers--;
    a.task.core.flags ^= CORO__CANCELLED;
    CHECK_STR(coro_verify(&loop), "a task's copy of its innermost scope's state is stale");
    a.task.core.flags ^= CORO__CANCELLED;
    b.task.core.flags ^= CORO__EFFECTIVE;
    CHECK_STR(coro_verify(&loop), "a core's effective state is stale");
    b.task.core.flags ^= CORO__EFFECTIVE;
    kept = a.task.core.timer.link.next;
    a.task.core.timer.link.next = &a.task.core.timer.link;
    CHECK_STR(coro_verify(&loop), "a timer list is broken");
    a.task.core.timer.link.next = kept;
    b.task.core.flags ^= CORO__OPEN;
    CHECK_STR(coro_verify(&loop), "a task in a group has ended");
    b.task.core.flags ^= CORO__OPEN;
    kept = b.task.sibling.next->prev;
    b.task.sibling.next->prev = NULL;
    CHECK_STR(coro_verify(&loop), "a sibling ring is broken");
    b.task.sibling.next->prev = kept;

    SOUND(&loop);
    coro_group_cancel(&loop.root);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- slow steps --------------------------------------------------------------------------- */

static coro_time clock_now;

static coro_time read_clock(void *arg)
{
    (void)arg;
    return clock_now;
}

static void sleep_long(void *arg, coro_loop *l, coro_time until)
{
    (void)arg;
    (void)l;
    if (until > clock_now)
        clock_now = until + CORO_S(10); /* oversleeps: that is nobody's step */
}

static coro_options slow_clock(coro_time slow_step)
{
    coro_options o = {.driver = {read_clock, sleep_long, NULL, NULL, NULL}};
    o.slow_step = slow_step;
    o.report = keep;
    return o;
}

struct worker {
    CORO_FRAME;
    coro_time first, second;
};

static int slow_line;

CORO(worker)
{
    CORO_BEGIN();
    clock_now += my->first;
    slow_line = __LINE__; CORO_TRY(coro_sleep(co, CORO_MS(1)));
    clock_now += my->second;
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CORO_END(0);
}

TEST(step_longer_than_the_limit_is_reported_with_its_place) /* B04 F15 */
{
    const coro_options o = slow_clock(CORO_MS(50));
    char want[256];
    CHECK_EQ(coro_run_with(&o, worker, .first = CORO_MS(50), .second = CORO_MS(1234)), 0);
    snprintf(want, sizeof want,
             "coro: a step took 1.234 s, from %.*s: nothing else ran meanwhile\n",
             (int)strlen(place("worker", slow_line)) - 1, place("worker", slow_line));
    CHECK_STR(text, want); /* not the first step, which took just 50 ms, nor the time asleep */
}

TEST(slow_first_step_is_reported_too) /* B04 */
{
    const coro_options o = slow_clock(CORO_MS(50));
    CHECK_EQ(coro_run_with(&o, worker, .first = CORO_MS(51)), 0);
    CHECK_EQ(reported("a step took 0.051 s"), 1);
    CHECK_EQ(reported("coro:"), 1);
}

TEST(slow_step_is_reported_at_100_ms_in_debug_mode_and_else_when_asked) /* B04 */
{
    const coro_options o = slow_clock(0);
    CHECK_EQ(coro_run_with(&o, worker, .first = CORO_MS(100), .second = CORO_MS(101)), 0);
    CHECK_EQ(reported("a step took 0.101 s"), CORO_DEBUG);
    CHECK_EQ(reported("a step took"), CORO_DEBUG);
}

/* ---- ignored cancellation ----------------------------------------------------------------- */

static int deaf_line;

struct deaf {
    CORO_FRAME;
    int n, i, rc;
};

CORO(deaf)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->n; my->i++) {
        deaf_line = __LINE__; CORO_AWAIT(my->rc, gate_pass(co));
        CHECK_EQ(my->rc, -ECANCELED);
    }
    CORO_END(0);
}

static void run_deaf(int n)
{
    const coro_options o = quiet();
    text[0] = 0;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, deaf, .n = n);
    coro_group_cancel(&loop.root);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(ignored_cancellation_is_reported_once_after_a_thousand_times) /* design 6.1 */
{
    run_deaf(999);
    CHECK_STR(text, "");
    run_deaf(1000);
    CHECK_CONTAINS(text, "ignores its cancellation: 1000 awaits have failed in a row, at ");
    CHECK_CONTAINS(text, place("deaf", deaf_line));
    CHECK_EQ(reported("\n"), 1);
    run_deaf(5000);
    CHECK_EQ(reported("ignores"), 1);
}

/* Cancelled again and again, each time for good reason: nothing is ignored. */
struct obedient {
    CORO_FRAME;
    coro_scope scope;
    int i, rc;
};

CORO(obedient)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 1500; my->i++) {
        coro_scope_open(co, &my->scope);
        coro_scope_cancel(&my->scope);
        CORO_AWAIT(my->rc, gate_pass(co));
        CHECK_EQ(coro_scope_close(co, &my->scope, my->rc), 0);
    }
    CORO_END(0);
}

TEST(task_that_leaves_each_cancelled_scope_is_not_said_to_ignore_it) /* design 6.1 */
{
    const coro_options o = quiet();
    CHECK_EQ(coro_run_with(&o, obedient), 0);
    CHECK_STR(text, "");
}

/* ---- on_error ----------------------------------------------------------------------------- */

static int errors;

static void on_error(void *arg, coro_task *task, int error)
{
    CHECK(arg == &errors);
    errors++;
    say("%s:%d ", task ? coro_task_name(task) : "none", error);
}

static coro_options with_on_error(void)
{
    coro_options o = quiet();
    o.on_error = on_error;
    o.arg = &errors;
    return o;
}

struct cancelled_child {
    CORO_FRAME;
    coro_group g;
    int rc;
};

CORO(cancelled_child)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_spawn(&my->g, failing, .error = -EIO); /* its group sees it */
    coro_spawn(&my->g, failing, .error = -EIO);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(my->g.failed, 2);
    coro_spawn(&my->g, passer);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_group_cancel(&my->g); /* a cancellation is no error */
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(error_that_nobody_sees_is_told_once) /* B02 */
{
    const coro_options o = with_on_error();
    char want[64];
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, failing, .error = -EIO);
    coro_spawn(&loop.root, nap, .d = CORO_MS(1));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(errors, 1);
    snprintf(want, sizeof want, "%s:%d ", CORO_NAMES ? "failing" : "task", -EIO);
    CHECK_STR(trace, want);
    coro_spawn(&loop.root, passer);
    coro_loop_step(&loop);
    coro_group_cancel(&loop.root);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(errors, 1); /* a cancelled task's end is none */
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(error_that_a_group_sees_is_not_told) /* B02 */
{
    const coro_options o = with_on_error();
    CHECK_EQ(coro_run_with(&o, cancelled_child), 0);
    CHECK_EQ(errors, 0);
}

TEST(error_that_coro_run_returns_is_not_told) /* B02 */
{
    const coro_options o = with_on_error();
    CHECK_EQ(coro_run_with(&o, failing, .error = -EIO), -EIO);
    CHECK_EQ(errors, 0);
}

static void *no_memory(void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return NULL;
}

static void free_nothing(void *arg, void *memory, size_t size)
{
    (void)arg;
    (void)memory;
    (void)size;
}

struct spawning {
    CORO_FRAME;
    coro_group g;
};

CORO(spawning)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CHECK_EQ(coro_spawn(&my->g, nap, .d = 0), -ENOMEM);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(failed_spawn_is_the_groups_error_and_told_only_where_there_is_no_group) /* B02 L14 */
{
    coro_options o = with_on_error();
    char want[32];
    o.allocator.alloc = no_memory;
    o.allocator.free = free_nothing;
    CHECK_EQ(coro_run_with(&o, spawning), -ENOMEM);
    CHECK_EQ(errors, 0); /* coro_run returned it */
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    CHECK_EQ(coro_spawn(&loop.root, nap, .d = 0), -ENOMEM);
    CHECK_EQ(errors, 1);
    snprintf(want, sizeof want, "none:%d ", -ENOMEM);
    CHECK_STR(trace, want);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void on_error_that_errs(void *arg, coro_task *task, int error)
{
    coro_loop *l = (coro_loop *)arg;
    (void)task;
    errors++;
    text[0] = 0;
    coro_dump(l, &keep); /* looking around is fine */
    if (error < -5)
        coro_spawn(&l->root, failing, .error = error + 1);
}

TEST(error_hook_may_look_around_and_cause_the_next_error) /* B13 */
{
    coro_options o = quiet();
    o.on_error = on_error_that_errs;
    o.arg = &loop;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, failing, .error = -9);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(errors, 5); /* -9 ... -5: one after the other, not one inside the other */
    SOUND(&loop);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- on_event ----------------------------------------------------------------------------- */

static struct events {
    int n[5];
    coro_task *running;
} events;

static void on_event(void *arg, coro_trace event, coro_task *task)
{
    CHECK(arg == &events);
    events.n[event]++;
    if (event == CORO_EVENT_RESUME) {
        CHECK(!events.running); /* steps do not nest */
        events.running = task;
    } else if (event == CORO_EVENT_SUSPEND || event == CORO_EVENT_END) {
        CHECK(events.running == task);
        events.running = NULL;
    }
    say("%c%u", "srxce"[event], (unsigned)coro_task_id(task));
}

static coro_options with_on_event(void)
{
    coro_options o = quiet();
    o.on_event = on_event;
    o.arg = &events;
    return o;
}

TEST(events_tell_each_tasks_life_in_order) /* B14 */
{
    const coro_options o = with_on_event();
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, nap, .d = CORO_MS(2));
    coro_spawn(&loop.root, nap, .d = CORO_MS(1));
    coro_spawn(&loop.root, nap, .d = CORO_MS(9));
    CHECK_STR(trace, "s0s1s2");
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_STR(trace, "s0s1s2r0x0r1x1r2x2");
    trace[0] = 0;
    coro_group_cancel(&loop.root);
    CHECK_STR(trace, "c0c1c2");
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_STR(trace, "c0c1c2r0e0r1e1r2e2");
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

static void check_balance(void)
{
    CHECK(events.n[CORO_EVENT_SPAWN] > 0);
    CHECK_EQ(events.n[CORO_EVENT_SPAWN], events.n[CORO_EVENT_END]);
    CHECK_EQ(events.n[CORO_EVENT_RESUME],
             events.n[CORO_EVENT_SUSPEND] + events.n[CORO_EVENT_END]);
}

TEST(events_are_balanced_whatever_becomes_of_the_tasks) /* B14 */
{
    coro_options o = with_on_event();
    CHECK_EQ(coro_run_with(&o, cancelled_child), 0);
    check_balance();
    gate.open = true;
    CHECK_EQ(coro_run_with(&o, nest, .depth = 10), 0);
    check_balance();
    gate.open = false;
    o.seed = 77;
    CHECK_EQ(coro_run_with(&o, cancelled_child), 0);
    check_balance();
    CHECK_EQ(coro_run_with(&o, nest, .depth = 5), -ETIMEDOUT);
    check_balance();
    CHECK(events.n[CORO_EVENT_CANCEL] > 0);
}

static int spawned, ended;

static void count_ends(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)task;
    spawned += event == CORO_EVENT_SPAWN;
    ended += event == CORO_EVENT_END;
}

TEST(abandoned_task_has_its_end_event_and_is_told_of) /* B03 B14 */
{
    coro_options o = with_on_error();
    char want[64];
    o.on_event = count_ends;
    gate.stuck = true;
    CHECK_EQ(coro_run_with(&o, passer), -EDEADLK);
    CHECK_EQ(spawned, 1);
    CHECK_EQ(ended, 1);
    snprintf(want, sizeof want, "%s:%d ", CORO_NAMES ? "passer" : "task", -EDEADLK);
    CHECK_STR(trace, want);
    CHECK_CONTAINS(text, place("passer", lines.pass));
}

static void spawn_from_hook(void *arg, coro_trace event, coro_task *task)
{
    coro_loop *l = (coro_loop *)arg;
    (void)task;
    if (event == CORO_EVENT_END && spawned < 5) {
        spawned++;
        coro_spawn(&l->root, nap, .d = CORO_MS(1));
    }
}

TEST(event_hook_may_spawn) /* B14 B15 */
{
    coro_options o = quiet();
    o.on_event = spawn_from_hook;
    o.arg = &loop;
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, nap, .d = CORO_MS(1));
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(spawned, 5);
    CHECK_EQ(coro_stats(&loop).spawned, 6);
    CHECK_EQ(coro_loop_now(&loop), CORO_MS(6));
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

/* ---- looking changes nothing -------------------------------------------------------------- */

struct speaker {
    CORO_FRAME;
    const char *name;
    int n, i;
};

CORO(speaker)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < my->n; my->i++) {
        say("%s", my->name);
        if (my->i % 3 == 2)
            CORO_TRY(coro_sleep(co, CORO_MS(my->i)));
        else
            CORO_TRY(gate_pass(co));
    }
    CORO_END(0);
}

static void ignore_event(void *arg, coro_trace event, coro_task *task)
{
    (void)arg;
    (void)event;
    (void)task;
}

static void run_speakers(bool watched, uint32_t seed, char *out, size_t size)
{
    coro_options o = quiet();
    trace[0] = 0;
    gate.open = true;
    o.seed = seed;
    o.budget = 2;
    if (watched) {
        o.on_event = ignore_event;
        o.slow_step = CORO_MS(1);
    }
    CHECK_EQ(coro_loop_init(&loop, &o), 0);
    coro_spawn(&loop.root, speaker, .name = "a", .n = 20);
    coro_spawn(&loop.root, speaker, .name = "b", .n = 15);
    coro_spawn(&loop.root, speaker, .name = "c", .n = 10);
    if (watched)
        SOUND(&loop);
    CHECK_EQ(coro_loop_run(&loop), 0);
    say(" %lld", (long long)coro_loop_now(&loop));
    CHECK_EQ(coro_loop_fini(&loop), 0);
    snprintf(out, size, "%.*s", (int)size - 1, trace);
}

TEST(diagnostics_do_not_change_the_schedule) /* B21 */
{
    static char plain[128], watched[128];
    for (uint32_t seed = 0; seed < 10; seed++) {
        run_speakers(false, seed, plain, sizeof plain);
        run_speakers(true, seed, watched, sizeof watched);
        CHECK_STR(watched, plain);
        CHECK(strlen(plain) > 45);
    }
}

/* ---- misuse ------------------------------------------------------------------------------- */

static coro_scope *foreign_scope;
static coro_group *foreign_group;
static int misuse_line;

struct thief {
    CORO_FRAME;
    int rc;
};

CORO(thief)
{
    CORO_BEGIN();
    misuse_line = __LINE__; CORO_AWAIT(my->rc, coro_scope_close(co, foreign_scope, 0));
    CHECK_EQ(my->rc, -EPERM);
    CORO_AWAIT(my->rc, coro_group_close(co, foreign_group, 0));
    CHECK_EQ(my->rc, -EPERM);
    CORO_END(0);
}

struct robbed {
    CORO_FRAME;
    coro_scope outer, inner;
    coro_group g;
    int rc, wrong_line;
};

CORO(robbed)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->outer);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_scope_open(co, &my->inner);
    my->wrong_line = __LINE__; CORO_AWAIT(my->rc, coro_scope_close(co, &my->outer, 0));
    CHECK_EQ(my->rc, -EBUSY);
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CHECK_EQ(my->rc, -EBUSY);
    foreign_scope = &my->outer;
    foreign_group = &my->g;
    coro_spawn(&my->g, thief);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    SOUND(coro_loop_of(co)); /* nothing was changed */
    CHECK_EQ(coro_scope_close(co, &my->inner, 0), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_scope_close(co, &my->outer, 0), 0);
    CHECK_EQ(coro_scope_close(co, &my->outer, -EIO), -EIO); /* closed: a no-op */
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(my->wrong_line);
}

TEST(closing_in_the_wrong_order_or_task_is_an_error_and_does_nothing) /* B10 */
{
    const coro_options o = quiet();
    int line = coro_run_with(&o, robbed);
    CHECK(line > 0);
#if CORO_DEBUG
    {
        char want[256];
        const char *where = place("robbed", line);
        snprintf(want, sizeof want, "%.*s: closes a scope or group while one inside it is open\n",
                 (int)strlen(where) - 1, where);
        CHECK_CONTAINS(text, want);
        where = place("thief", misuse_line);
        snprintf(want, sizeof want, "%.*s: closes a scope or group of another task's\n",
                 (int)strlen(where) - 1, where);
        CHECK_CONTAINS(text, want);
        CHECK_EQ(reported("\n"), 4);
    }
#else
    CHECK_STR(text, "");
#endif /* CORO_DEBUG */
}

static int open_what;

struct reopening {
    CORO_FRAME;
    coro_scope scope;
    coro_group group;
};

CORO(reopening)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->scope);
    coro_group_open(co, &my->group, CORO_ALL);
    if (open_what == 0) {
        misuse_line = __LINE__; coro_scope_open(co, &my->scope);
    } else if (open_what == 1) {
        coro_timeout_open(co, &my->scope, CORO_S(1));
    } else if (open_what == 2) {
        coro_shield_open(co, &my->scope, CORO_S(1));
    } else if (open_what == 3) {
        coro_group_open(co, &my->group, CORO_ALL);
    } else {
        coro_timeout_open(co, &my->group.scope, CORO_S(1));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->group);
    CORO_END(0);
}

static void run_reopening(void *what)
{
    const coro_options o = quiet();
    open_what = *(int *)what;
    (void)coro_run_with(&o, reopening);
}

TEST(opening_what_is_open_traps_with_the_place) /* B11 */
{
    for (int what = 0; what < 5; what++) {
        CHECK_TRAP(run_reopening, &what, "this scope or group is open already: close it first");
        CHECK_TRAP(run_reopening, &what, CORO_NAMES ? __FILE__ ":" : ":");
        CHECK_TRAP(run_reopening, &what, CORO_NAMES ? ": reopening: " : ":");
    }
}

struct open_end {
    CORO_FRAME;
    coro_group g;
};

CORO(open_end)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_END(0);
}

static void run_open_end(void *arg)
{
    const coro_options o = quiet();
    (void)arg;
    (void)coro_run_with(&o, open_end);
}

TEST(group_that_is_open_at_the_end_traps) /* design 3.5 */
{
    CHECK_TRAP(run_open_end, NULL, "the group opened here is open at the end of its frame");
    CHECK_TRAP(run_open_end, NULL, CORO_NAMES ? ": open_end: " : ":");
}

static CORO_TASK(nap) alive_task;

struct restarting {
    CORO_FRAME;
    coro_group g;
};

CORO(restarting)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &alive_task, nap, .d = CORO_S(1));
    coro_start(&my->g, &alive_task, nap, .d = CORO_S(1));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

static void run_restarting(void *arg)
{
    const coro_options o = quiet();
    (void)arg;
    (void)coro_run_with(&o, restarting);
}

TEST(starting_a_task_in_the_storage_of_one_that_is_alive_traps) /* L13 B09 */
{
    CHECK_TRAP(run_restarting, NULL, "coro_start: a task in this storage is alive");
}

#if CORO_DEBUG
struct once {
    CORO_FRAME;
    int dummy;
};

CORO(once)
{
    CORO_BEGIN();
    CORO_END(0);
}

struct twice {
    CORO_FRAME;
    struct once sub;
};

/* Calls a frame that has ended, without filling it anew. */
CORO(twice)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->sub, once));
    CORO_TRY((int)once(co, &my->sub).value); /* by force */
    CORO_END(0);
}

static void run_twice(void *arg)
{
    const coro_options o = quiet();
    (void)arg;
    (void)coro_run_with(&o, twice);
}

TEST(resuming_a_frame_that_has_ended_traps_in_debug_mode) /* B09 B19 */
{
    CHECK_TRAP(run_twice, NULL, "once: this coroutine has ended: it cannot be resumed");
}
#endif /* CORO_DEBUG */
