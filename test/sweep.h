/* sweep.h -- run a scenario to its end; then again and again, hurting it somewhere else each time.
 *
 *   struct shop { CORO_FRAME; struct sweep_guard guard; coro_group g; };
 *   CORO(shop) { ... sweep_enter(&my->guard); ... CORO_FINALLY: sweep_leave(&my->guard); ... }
 *   SWEEP_MAIN(shop)
 *
 *   TEST(a_shop_closes_whatever_happens)
 *   {
 *       static const struct sweep_scenario s = {&shop_main, 5, false, NULL, shop_check, NULL};
 *       sweep(&s);
 *   }
 *
 * Each kind of trouble strikes at place 1, 2, 3 ... until a run ends before it is reached: that one
 * has to give what the untroubled run gave. All of it is done once for each row of sweep_passes:
 * under coro_loop_run and coro_loop_step, in order and shuffled, with a large budget and with none.
 *
 * After each run the world has to be empty: every task has ended, every frame that was entered has
 * been left exactly once, the allocator has everything back, nothing was reported, and main's
 * result is one that such trouble may cause. From the strike on coro_verify looks on at every step.
 *
 * A failure names the run. SWEEP=1 prints each run before it is made, for those that die or hang.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "coro.h"
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SWEEP_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SWEEP_SANITIZED 1
#endif /* __has_feature(...) */
#endif /* __SANITIZE_ADDRESS__ || __SANITIZE_THREAD__ */
#ifndef SWEEP_SANITIZED
#define SWEEP_SANITIZED 0
#endif /* SWEEP_SANITIZED */

#define SWEEP_LIVE  128         /* tasks of a scenario alive at once, at most */
#define SWEEP_TIMES 512         /* different times at which a scenario's tasks run, at most */
#define SWEEP_STEPS 100000      /* a run that takes more does not end */
#define SWEEP_PICKS 3           /* tasks cancelled, one by one, for each place */
#define SWEEP_ARENA (1 << 20)   /* room for any scenario */
#define SWEEP_PIECE 512         /* by which the arena grows */

/* Bytes to put into a frame that is spawned, or called with coro_call_new: so large that it does
 * not come from a slab. Then each is an allocation of its own, which can be made to fail. */
#define SWEEP_BULK (CORO_CLASSES * CORO_GRAIN)

/* What goes wrong. */
enum sweep_kind {
    SWEEP_NOTHING,
    SWEEP_CANCEL,       /* the main task is cancelled before the n-th step of any task */
    SWEEP_EXPIRE,       /* the deadline of the scope around it becomes now, before the n-th step */
    SWEEP_DEADLINE,     /* that deadline is the n-th time at which anything ran, or just after it */
    SWEEP_ALLOC,        /* the n-th allocation fails */
    SWEEP_MEMORY,       /* it and all later ones fail */
    SWEEP_SMALL,        /* the arena is n pieces large */
    SWEEP_TASK,         /* one of the tasks, not main, is cancelled before the n-th step */
    SWEEP_KINDS
};

/* How a run is made. */
struct sweep_pass {
    bool guest;         /* driven by coro_loop_step and a clock of ours, not coro_loop_run */
    uint32_t seed;      /* of the shuffle; 0: in order */
    uint8_t budget;     /* 1: every await is a point of suspension */
};

struct sweep_run;

/* A main coroutine, made by SWEEP_MAIN. */
struct sweep_main {
    const char *name;
    size_t size;        /* of its storage */
    coro_task *(*start)(coro_loop *loop, void *storage, coro_scope *limit);
};

struct sweep_scenario {
    const struct sweep_main *main;
    long want;                                   /* what it gives when nothing goes wrong */
    bool partial;                                /* hurt, it may also give 0 ... want */
    void (*reset)(void);                         /* before each run; may be null */
    void (*check)(const struct sweep_run *run);  /* the scenario's sums, after it; may be null */
    bool (*accept)(const struct sweep_run *run); /* results that are right, besides; may be null */
};

/* The run under way. */
struct sweep_run {
    const struct sweep_scenario *scenario;
    enum sweep_kind kind;
    int at;                         /* the n-th place */
    int pick;                       /* SWEEP_TASK: which task */
    struct sweep_pass pass;

    coro_loop loop;
    coro_scope limit;               /* around the scenario */
    coro_task *main;
    coro_time base, now;            /* of the clock: at the start; a guest's, now */
    coro_time times[SWEEP_TIMES];   /* at which something ran, since base */
    int times_seen;
    int steps;                      /* of all tasks */
    int allocations;
    bool struck;                    /* the place was reached */

    coro_task *live[SWEEP_LIVE];    /* tasks that have not ended */
    int alive;
    int spawned, ended;
    int entered, left;              /* guards */
    int unseen;                     /* errors given to on_error */
    size_t balance;                 /* bytes that the allocator has given and not got back */
    size_t memory;                  /* as told by coro_stats at the end */
    int rc;                         /* of coro_loop_run */
    long result;                    /* main's */
    coro_status status;
    char said[256];                 /* what was reported */
};

static struct sweep_run *sweep_now;
static char sweep_context[256];     /* says which run this is */

static const char *const sweep_kind_names[SWEEP_KINDS] = {
    "nothing done", "main cancelled at step", "deadline moved at step", "deadline at time",
    "failed allocation", "no memory from allocation", "pieces of arena", "a task cancelled at step",
};

static const struct sweep_pass sweep_passes[] = {
    {false, 0, 0},
    {true, 0, 1},
    {false, 7, 1},
    {true, 99, 0},
};

/* SWEEP_CHECK, SWEEP_EQ -- like CHECK and CHECK_EQ, and say which run it was. */
#define SWEEP_CHECK(condition)                                                              \
    ((condition) ? (void)0 : TEST_FAIL("SWEEP_CHECK(%s): %s", #condition, sweep_context))
#define SWEEP_EQ(got, want)                                                                 \
    sweep_check_eq((long long)(got), (long long)(want), #got, #want, __FILE__, __LINE__)

static inline void sweep_check_eq(long long got, long long want, const char *got_text,
                                  const char *want_text, const char *file, int line)
{
    if (got != want)
        test_fail(file, line, "SWEEP_EQ(%s, %s): got %lld, want %lld: %s", got_text, want_text, got,
                  want, sweep_context);
}

/* ---- saying which run died ------------------------------------------------------------------- */

static inline void sweep_tell(void)
{
    ssize_t n = write(STDERR_FILENO, sweep_context, strlen(sweep_context));
    n += write(STDERR_FILENO, "\n", 1);
    (void)n;
}

static void (*sweep_old_abort)(int);

static inline void sweep_on_abort(int signo)
{
    sweep_tell();
    signal(signo, sweep_old_abort); /* main.c's, which saves the coverage, or the default */
    raise(signo);
}

#if SWEEP_SANITIZED
#ifdef __cplusplus
extern "C"
#endif /* __cplusplus */
void __sanitizer_set_death_callback(void (*callback)(void));
#else
static inline void sweep_on_crash(int signo)
{
    sweep_tell();
    signal(signo, SIG_DFL);
    raise(signo);
}
#endif /* SWEEP_SANITIZED */

/* A test's process says sweep_context when it dies of a trap, a crash or a sanitizer. */
static inline void sweep_watch_for_death(void)
{
    sweep_old_abort = signal(SIGABRT, sweep_on_abort);
#if SWEEP_SANITIZED
    __sanitizer_set_death_callback(sweep_tell);
#else
    signal(SIGSEGV, sweep_on_crash);
    signal(SIGBUS, sweep_on_crash);
#endif /* SWEEP_SANITIZED */
}

/* ---- what scenarios use ---------------------------------------------------------------------- */

/* In a frame: entered once, left once. */
struct sweep_guard {
    int state;          /* 0, 1: entered, 2: left */
};

static inline void sweep_enter(struct sweep_guard *guard)
{
    SWEEP_EQ(guard->state, 0);
    guard->state = 1;
    sweep_now->entered++;
}

static inline void sweep_leave(struct sweep_guard *guard)
{
    SWEEP_EQ(guard->state, 1);
    guard->state = 2;
    sweep_now->left++;
}

/* SWEEP_MAIN -- make a coroutine without arguments a scenario's: fn_main. */
#define SWEEP_MAIN(fn)                                                                      \
    SWEEP_FRAME(fn)                                                                         \
    SWEEP_BODY(fn)                                                                          \
    SWEEP_START(fn)                                                                         \
    static const struct sweep_main fn##_main = {#fn, sizeof(CORO_TASK(fn##_swept)), fn##_start};

#define SWEEP_FRAME(fn)                                                                     \
    struct fn##_swept {                                                                     \
        CORO_FRAME;                                                                         \
        coro_scope *limit;                                                                  \
        struct fn frame;                                                                    \
        int rc;                                                                             \
    };

#define SWEEP_BODY(fn)                                                                      \
    CORO(fn##_swept)                                                                        \
    {                                                                                       \
        CORO_BEGIN();                                                                       \
        coro_scope_open(co, my->limit);                                                     \
        CORO_AWAIT(my->rc, coro_call(co, &my->frame, fn));                                  \
        CORO_END(coro_scope_close(co, my->limit, my->rc));                                  \
    }

#define SWEEP_START(fn)                                                                     \
    static coro_task *fn##_start(coro_loop *loop, void *storage, coro_scope *limit)         \
    {                                                                                       \
        CORO_TASK(fn##_swept) *task = (CORO_TASK(fn##_swept) *)storage;                     \
        int rc = coro_start(&loop->root, task, fn##_swept, .limit = limit);                 \
        return rc == 0 ? &task->task : NULL;                                                \
    }

/* ---- one run --------------------------------------------------------------------------------- */

static inline void sweep_verify(struct sweep_run *run)
{
    const char *wrong;
    if (run->kind != SWEEP_NOTHING && !run->struck)
        return; /* so far it is the untroubled run once more */
    wrong = coro_verify(&run->loop);
    if (wrong)
        TEST_FAIL("coro_verify: %s: step %d of %s", wrong, run->steps, sweep_context);
}

/* Cancel one of the tasks alive: which one depends on place and pick only. */
static inline void sweep_cancel_one(struct sweep_run *run)
{
    uint32_t random = (uint32_t)run->at * 2654435761u + (uint32_t)run->pick * 40503u;
    int i, others = run->alive - 1;
    if (others == 0)
        return;
    random = (random >> 7) % (uint32_t)others;
    for (i = 0; i < run->alive; i++)
        if (run->live[i] != run->main && random-- == 0)
            (void)coro_task_cancel(run->live[i]);
}

static inline void sweep_step(struct sweep_run *run)
{
    coro_time t = coro_loop_now(&run->loop) - run->base;
    run->steps++;
    if (run->steps > SWEEP_STEPS)
        TEST_FAIL("this does not end: %s", sweep_context);
    if (run->times_seen == 0 || run->times[run->times_seen - 1] != t) {
        SWEEP_CHECK(run->times_seen < SWEEP_TIMES);
        run->times[run->times_seen++] = t;
    }
    if (run->steps != run->at)
        return;
    if (run->kind == SWEEP_CANCEL)
        SWEEP_EQ(coro_task_cancel(run->main), 1);
    else if (run->kind == SWEEP_EXPIRE)
        (void)coro_scope_deadline(&run->limit, coro_loop_now(&run->loop));
    else if (run->kind == SWEEP_TASK)
        sweep_cancel_one(run);
    else
        return;
    run->struck = true;
}

static inline void sweep_on_event(void *arg, coro_trace event, coro_task *task)
{
    struct sweep_run *run = (struct sweep_run *)arg;
    int i;
    if (event == CORO_EVENT_SPAWN) {
        SWEEP_CHECK(run->alive < SWEEP_LIVE);
        run->live[run->alive++] = task;
        run->spawned++;
    } else if (event == CORO_EVENT_END) {
        for (i = 0; i < run->alive && run->live[i] != task;)
            i++;
        SWEEP_CHECK(i < run->alive);
        run->live[i] = run->live[--run->alive];
        run->ended++;
    } else if (event == CORO_EVENT_RESUME) {
        sweep_step(run);
        sweep_verify(run);
    } else if (event == CORO_EVENT_SUSPEND) {
        sweep_verify(run);
    }
}

static inline void sweep_on_error(void *arg, coro_task *task, int error)
{
    (void)task;
    SWEEP_CHECK(error < 0);
    ((struct sweep_run *)arg)->unseen++;
}

static inline void sweep_put(void *arg, const char *text)
{
    struct sweep_run *run = (struct sweep_run *)arg;
    size_t used = strlen(run->said);
    snprintf(run->said + used, sizeof run->said - used, "%s", text);
}

static inline void *sweep_alloc(void *arg, size_t size)
{
    struct sweep_run *run = (struct sweep_run *)arg;
    run->allocations++;
    if (run->kind == SWEEP_ALLOC ? run->allocations == run->at
                                 : run->kind == SWEEP_MEMORY && run->allocations >= run->at) {
        run->struck = true;
        return NULL;
    }
    run->balance += size;
    return malloc(size);
}

static inline void sweep_free(void *arg, void *memory, size_t size)
{
    ((struct sweep_run *)arg)->balance -= size;
    free(memory);
}

static inline coro_time sweep_clock(void *arg)
{
    return ((struct sweep_run *)arg)->now;
}

/* A guest never sleeps: sweep_drive moves the clock. */
static inline void sweep_park(void *arg, coro_loop *loop, coro_time until)
{
    (void)loop;
    SWEEP_CHECK(until <= ((struct sweep_run *)arg)->now);
}

static inline void sweep_wake(void *arg)
{
    (void)arg;
}

static inline coro_options sweep_options(struct sweep_run *run, void *arena)
{
    coro_options o;
    memset(&o, 0, sizeof o);
    if (arena) {
        o.arena = arena;
        o.arena_size = (size_t)run->at * SWEEP_PIECE;
    } else {
        o.allocator.alloc = sweep_alloc;
        o.allocator.free = sweep_free;
        o.allocator.arg = run;
    }
    if (run->pass.guest) {
        o.driver.now = sweep_clock;
        o.driver.park = sweep_park;
        o.driver.wake = sweep_wake;
        o.driver.arg = run;
    } else {
        o.clock = CORO_VIRTUAL;
    }
    o.seed = run->pass.seed;
    o.budget = run->pass.budget;
    o.on_error = sweep_on_error;
    o.on_event = sweep_on_event;
    o.arg = run;
    o.report.put = sweep_put;
    o.report.arg = run;
    return o;
}

/* As a loop inside another one: step, and let time pass when nothing is ready. */
static inline int sweep_drive(struct sweep_run *run)
{
    while (coro_loop_step(&run->loop) == 1) {
        coro_time next = coro_loop_deadline(&run->loop);
        sweep_verify(run);
        if (next == CORO_FOREVER) {
            coro_dump(&run->loop, NULL);
            return -EDEADLK;
        }
        if (next > run->now)
            run->now = next;
    }
    return 0;
}

static inline bool sweep_accepts(const struct sweep_run *run)
{
    const struct sweep_scenario *s = run->scenario;
    static const int errors[SWEEP_KINDS] = {0, -ECANCELED, -ETIMEDOUT, -ETIMEDOUT,
                                            -ENOMEM, -ENOMEM, -ENOMEM, -ECHILD};
    if (run->result == s->want)
        return true;
    if (!run->struck)
        return false;
    if (run->result == errors[run->kind])
        return run->kind != SWEEP_CANCEL || run->status == CORO_CANCELLED;
    if (s->partial && run->result >= 0 && run->result < s->want)
        return true;
    return s->accept && s->accept(run);
}

static inline void sweep_check_run(const struct sweep_run *run)
{
    SWEEP_EQ(run->rc, 0);
    if (run->said[0])
        TEST_FAIL("reported: %s: %s", run->said, sweep_context);
    SWEEP_EQ(run->alive, 0);
    SWEEP_EQ(run->spawned, run->ended);
    SWEEP_EQ(run->entered, run->left);
    SWEEP_EQ(run->balance, 0);
    if (!run->struck)
        SWEEP_EQ(run->unseen, 0);
    if (!sweep_accepts(run))
        TEST_FAIL("main ended with %ld: %s", run->result, sweep_context);
    if (run->scenario->check)
        run->scenario->check(run);
}

/* The storage is fresh for each run, so that a sanitizer sees who touches an old one. */
static inline void sweep_make(struct sweep_run *run, void *storage, void *arena)
{
    coro_options options = sweep_options(run, arena);
    if (run->pass.guest)
        run->base = run->now = CORO_S(1000) + 77777;
    SWEEP_EQ(coro_loop_init(&run->loop, &options), 0);
    if (run->kind == SWEEP_DEADLINE) {
        run->struck = true;
        SWEEP_EQ(coro_scope_deadline(&run->limit, run->base + run->times[(run->at - 1) / 2] +
                                     (run->at - 1) % 2), 0);
    }
    run->times_seen = 0;
    run->main = run->scenario->main->start(&run->loop, storage, &run->limit);
    SWEEP_CHECK(run->main != NULL);
    run->rc = run->pass.guest ? sweep_drive(run) : coro_loop_run(&run->loop);
    SWEEP_EQ(run->rc, 0);
    run->result = coro_task_result(run->main);
    run->status = coro_task_status(run->main);
    run->memory = coro_stats(&run->loop).memory;
    SWEEP_EQ(coro_loop_fini(&run->loop), 0);
}

/* Make one run and check it. */
static inline void sweep_one(struct sweep_run *run)
{
    void *storage = calloc(1, run->scenario->main->size);
    void *arena = run->kind == SWEEP_SMALL ? malloc((size_t)run->at * SWEEP_PIECE) : NULL;
    CHECK(storage != NULL);
    snprintf(sweep_context, sizeof sweep_context, "%s, %s %d, pick %d; seed %u, budget %d, %s",
             run->scenario->main->name, sweep_kind_names[run->kind], run->at, run->pick,
             (unsigned)run->pass.seed, run->pass.budget, run->pass.guest ? "guest" : "owner");
    if (getenv("SWEEP"))
        fprintf(stderr, "%s\n", sweep_context);
    sweep_now = run;
    if (run->scenario->reset)
        run->scenario->reset();
    sweep_make(run, storage, arena);
    sweep_check_run(run);
    free(arena);
    free(storage);
}

/* ---- the sweep ------------------------------------------------------------------------------- */

/* Make the run in which this kind of trouble strikes there. Was the place reached? */
static inline bool sweep_strike(const struct sweep_run *clean, enum sweep_kind kind, int at,
                                int pick, bool struck)
{
    static struct sweep_run run;
    memset(&run, 0, sizeof run);
    memcpy(run.times, clean->times, sizeof run.times);
    run.scenario = clean->scenario;
    run.pass = clean->pass;
    run.kind = kind;
    run.at = at;
    run.pick = pick;
    run.struck = struck;
    sweep_one(&run);
    return run.struck;
}

/* Arenas of 1, 2, 3 ... pieces, up to what the untroubled run takes. */
static inline void sweep_arenas(const struct sweep_run *clean)
{
    size_t need;
    (void)sweep_strike(clean, SWEEP_SMALL, SWEEP_ARENA / SWEEP_PIECE, 0, false);
    need = sweep_now->memory;
    for (int at = 1; (size_t)(at - 1) * SWEEP_PIECE < need; at++)
        (void)sweep_strike(clean, SWEEP_SMALL, at, 0, (size_t)at * SWEEP_PIECE < need);
}

/* A deadline at each time at which anything ran, and just after it. */
static inline void sweep_deadlines(const struct sweep_run *clean)
{
    for (int at = 1; at <= 2 * clean->times_seen; at++)
        (void)sweep_strike(clean, SWEEP_DEADLINE, at, 0, true);
}

/* One kind of trouble, at one place after the other. */
static inline void sweep_places(const struct sweep_run *clean, enum sweep_kind kind)
{
    bool struck = true;
    for (int at = 1; struck; at++)
        for (int pick = 0; pick < (kind == SWEEP_TASK ? SWEEP_PICKS : 1); pick++)
            struck = sweep_strike(clean, kind, at, pick, false);
}

/* sweep -- all kinds of trouble at all places in all ways. */
static inline void sweep(const struct sweep_scenario *scenario)
{
    static struct sweep_run clean;
    sweep_watch_for_death();
    for (size_t p = 0; p < sizeof sweep_passes / sizeof *sweep_passes; p++) {
        memset(&clean, 0, sizeof clean);
        clean.scenario = scenario;
        clean.pass = sweep_passes[p];
        sweep_one(&clean);
        CHECK(clean.steps > 3);
        sweep_places(&clean, SWEEP_CANCEL);
        sweep_places(&clean, SWEEP_EXPIRE);
        sweep_deadlines(&clean);
        sweep_places(&clean, SWEEP_ALLOC);
        sweep_places(&clean, SWEEP_MEMORY);
        sweep_arenas(&clean);
        sweep_places(&clean, SWEEP_TASK);
    }
}

#endif /* SWEEP_H */
