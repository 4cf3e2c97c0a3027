/* Programs made up at random: a tree of tasks that sleep, call, spawn, open groups, scopes,
 * timeouts and shields, race, join, fail, and cancel each other. Whatever they do, everything that
 * was opened must be closed, what was begun must end, and the world must be empty afterwards.
 *
 * A seed is a program and a schedule. SEED=n repeats one: SEED=17 tests programs_made_up
 */
#include "sweep.h"

#include <errno.h>

#define SEEDS       1000
#define SEEDS_SLOW  100         /* under sanitizers */
#define NODES       150         /* calls and tasks of a program, about */
#define STEPS       100000      /* a program that takes more does not end */
#define VERIFY_EACH 16          /* steps */

/* The program under way. */
static struct {
    uint64_t random;
    int nodes;                  /* that may still be made */
    int opened, closed;         /* groups and scopes */
    int spawned, ended;         /* tasks, as on_event tells */
    int yielded, taken;         /* items of generators */
    int in_group;               /* tasks that groups say they have started */
    int steps;
    coro_waitq resting;
    struct sweep_run run;
} w;

/* test/fuzz/ decides; NULL: the seed does. */
static uint32_t (*choose)(uint32_t n);

static uint32_t below(uint32_t n)
{
    if (choose)
        return choose(n);
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return (uint32_t)(w.random >> 32) % n;
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

/* Often the same one, so that many things happen at one time. */
static coro_time some_time(void)
{
    static const coro_time times[] = {
        0, CORO_US(1), CORO_US(50), CORO_MS(1), CORO_MS(1), CORO_MS(2), CORO_MS(7), CORO_S(1),
    };
    return times[below(sizeof times / sizeof *times)];
}

static int some_error(void)
{
    static const int errors[] = {-EIO, -EPIPE, -EAGAIN, -ENOMEM, -ETIMEDOUT, -ECANCELED};
    return errors[below(sizeof errors / sizeof *errors)];
}

/* ---- small things to do ---------------------------------------------------------------------- */

static coro_op rest(coro_task *co)
{
    static const coro_ops ops = {"rest", NULL, NULL};
    if (coro_cancelled(co))
        return coro_refuse(co);
    return coro_suspend(co, &w.resting, &ops, 0);
}

/* Sleep under a shield: nothing from outside can cut it. */
struct shielded {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_scope shield;
    int rc;
};

CORO(shielded)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    w.opened++;
    coro_shield_open(co, &my->shield, CORO_MS(5));
    CORO_AWAIT(my->rc, coro_sleep(co, one_in(2) ? 0 : CORO_MS(1)));
    SWEEP_EQ(my->rc, 0);
    SWEEP_EQ(coro_scope_close(co, &my->shield, 0), 0);
    w.closed++;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* Items, with waiting between them. */
struct stream {
    CORO_FRAME;
    struct sweep_guard guard;
    struct shielded bye;
    int item, end;
};

CORO(stream)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->item < my->end; my->item++) {
        if (one_in(2))
            CORO_TRY(coro_sleep(co, some_time()));
        if (one_in(10))
            CORO_FAIL(some_error());
        w.yielded++;
        CORO_YIELD();
    }
CORO_FINALLY:
    if (one_in(2))
        CORO_IGNORE(coro_call(co, &my->bye, shielded));
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct reader {
    CORO_FRAME;
    struct sweep_guard guard;
    CORO_GEN(stream) gen;
    int sum;
    bool got;
};

CORO(reader)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_gen_open(&my->gen, stream, .end = (int)below(5));
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        w.taken++;
        my->sum += my->gen.frame.item;
        if (one_in(5))
            CORO_LEAVE();
    }
    SWEEP_EQ(my->sum, my->gen.frame.end * (my->gen.frame.end - 1) / 2);
CORO_FINALLY:
    CORO_IGNORE(coro_gen_close(co, &my->gen));
    sweep_leave(&my->guard);
    CORO_END(0);
}

/* Calls itself. */
struct deep {
    CORO_FRAME;
    struct sweep_guard guard;
    int depth, got;
};

CORO(deep)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (one_in(10))
        CORO_TRY(coro_sleep(co, some_time()));
    if (my->depth > 0)
        CORO_TRY(my->got, coro_call_new(co, deep, .depth = my->depth - 1));
    SWEEP_EQ(my->got, my->depth);
    if (one_in(10))
        CORO_TRY(coro_sleep(co, some_time()));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->depth + 1);
}

/* ---- nodes, families of nodes, and nodes under a limit --------------------------------------- */

static const char key_place = 0;  /* of the context: who set it last */

struct random_node_task;
struct random_family;

/* What a node can see of the world around it; all of it outlives the node. */
struct around {
    struct random_family *family;   /* in whose group its task is */
    coro_scope *scope;              /* a scope that it is in */
    const void *place;              /* what the context says */
};

struct random_node {
    CORO_FRAME;
    struct sweep_guard guard;
    struct around around;
    coro_context context;
    struct shielded shielded;
    struct reader reader;
    struct deep deep;
    int left, rc;                   /* things to do; how the last one ended */
    uint32_t what;
};
CORO_DECLARE(random_node);

struct random_family {
    CORO_FRAME;
    struct sweep_guard guard;
    struct around around;
    coro_group g;
    struct random_node_task *own[3]; /* started, in the loop's memory */
    int i, n, index, rc;
    uint32_t told, what;
    bool got;
};
CORO_DECLARE(random_family);

struct random_limit {
    CORO_FRAME;
    struct sweep_guard guard;
    struct around around;
    coro_scope outer, inner;
    int rc;
};
CORO_DECLARE(random_limit);

static void check_place(const coro_task *co, const struct around *around)
{
    SWEEP_CHECK(coro_context_get(co, &key_place) == around->place);
}

/* What a task in a family's group sees. */
static struct around inside(struct random_family *family)
{
    struct around around = family->around;
    around.family = family;
    return around;
}

/* Do something to others, or to oneself. */
static void meddle(coro_task *co, const struct around *around)
{
    struct random_family *f = around->family;
    uint32_t what = below(8);
    if (what == 0 && f && one_in(4)) /* the program itself is in no family */
        (void)coro_task_cancel(co);
    else if (what == 1 && f && one_in(2))
        (void)coro_group_cancel(&f->g);
    else if (what == 2 && f && f->own[1])
        (void)coro_task_cancel(f->own[1]);
    else if (what == 3 && around->scope)
        (void)coro_scope_cancel(around->scope);
    else if (what == 4 && around->scope)
        (void)coro_scope_deadline(around->scope, coro_now(co) + some_time());
    else if (what == 5 && around->scope)
        coro_scope_shield(around->scope, one_in(2));
    else if (what == 6 && f)
        coro_spawn(&f->g, random_node, .around = inside(f));
    while (w.resting.head && what == 7)
        (void)coro_complete(w.resting.head, 1);
}

CORO_DEFINE(random_node)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    w.nodes--;
    check_place(co, &my->around);
    if (one_in(2)) {
        my->around.place = my;
        coro_context_set(co, &my->context, &key_place, my);
    }
    for (my->left = (int)below(6); my->left >= 0; my->left--) {
        my->what = below(w.nodes > 0 ? 18 : 10);
        my->rc = 0;
        if (my->what < 3)
            CORO_AWAIT(my->rc, coro_sleep(co, some_time()));
        else if (my->what == 3)
            CORO_AWAIT(my->rc, coro_within(co, some_time(), rest(co)));
        else if (my->what == 4)
            CORO_AWAIT(my->rc, coro_call(co, &my->shielded, shielded));
        else if (my->what == 5)
            CORO_AWAIT(my->rc, coro_call(co, &my->reader, reader));
        else if (my->what == 6)
            CORO_AWAIT(my->rc, coro_call(co, &my->deep, deep, .depth = (int)below(20)));
        else if (my->what == 7 && my->around.family && my->around.family->own[0])
            CORO_AWAIT(my->rc, coro_within(co, some_time(),
                                           coro_join(co, my->around.family->own[0])));
        else if (my->what == 8)
            meddle(co, &my->around);
        else if (my->what == 9)
            my->rc = one_in(3) ? some_error() : 0;
        else if (my->what < 14)
            CORO_AWAIT(my->rc, coro_call_new(co, random_family, .around = my->around));
        else
            CORO_AWAIT(my->rc, coro_call_new(co, random_limit, .around = my->around));
        if (my->rc < 0 && !one_in(4)) /* else it is swallowed, even -ECANCELED */
            CORO_FAIL(my->rc);
    }
CORO_FINALLY:
    check_place(co, &my->around);
    if (one_in(3))
        CORO_IGNORE(coro_call(co, &my->shielded, shielded));
    sweep_leave(&my->guard);
    CORO_END(below(100));
}

/* Start a child in memory of ours, or spawn one. */
static void random_child(coro_task *co, struct random_family *f)
{
    int k = f->i;
    if (one_in(2) && k < 3) {
        struct random_node_task *t;
        t = (struct random_node_task *)coro_loop_alloc(coro_loop_of(co), sizeof *t);
        SWEEP_CHECK(t != NULL);
        memset(t, 0, sizeof *t);
        f->own[k] = t;
        f->i++;
        coro_start(&f->g, t, random_node, .around = inside(f));
    } else {
        coro_spawn(&f->g, random_node, .around = inside(f));
    }
}

/* All children have ended: what the group says, and what they say themselves. */
static void check_family(struct random_family *f, int verdict)
{
    const coro_group *g = &f->g;
    SWEEP_EQ(g->alive, 0);
    SWEEP_CHECK(g->failed + g->cancelled <= g->started + 1);
    SWEEP_EQ(g->first < 0, g->failed > 0);
    if (g->mode == CORO_RACE && g->winner >= 0)
        SWEEP_EQ(verdict, 0); /* CORO_CLOSE makes a success of any result >= 0 */
    else if (g->mode != CORO_COLLECT && g->failed > 0)
        SWEEP_CHECK(verdict < 0);
    if (g->mode == CORO_ALL && g->failed > 0)
        SWEEP_EQ(verdict, g->first);
    for (int k = 0; k < f->i; k++)
        SWEEP_CHECK(coro_task_status(f->own[k]) >= CORO_OK);
    w.in_group += (int)g->started;
}

CORO_DEFINE(random_family)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    w.opened++;
    coro_group_limit(&my->g, one_in(3) ? 1 + below(2) : 0);
    coro_group_open(co, &my->g, (coro_mode)below(3));
    for (my->n = (int)below(5); my->n > 0; my->n--) {
        CORO_TRY(coro_group_wait_room(co, &my->g));
        random_child(co, my);
    }
    my->what = below(6);
    if (my->what == 0)
        CORO_TRY(coro_sleep(co, some_time()));
    for (my->got = my->what == 1; my->got; my->told += my->got)
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->index));
    SWEEP_CHECK(my->what != 1 || my->told == (unsigned)my->i || my->g.alive == 0);
    if (my->what == 2 && my->own[2])
        CORO_TRY(coro_join(co, my->own[2]));
    if (my->what == 3 && my->n == 0)
        meddle(co, &my->around);
    if (my->what == 4)
        CORO_FAIL(one_in(3) ? some_error() : 0);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    w.closed++;
    check_family(my, CORO_ERR);
    for (int k = 0; k < my->i; k++)
        coro_loop_free(coro_loop_of(co), my->own[k], sizeof *my->own[k]);
    sweep_leave(&my->guard);
    CORO_END(0);
}

CORO_DEFINE(random_limit)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    w.opened += 2;
    coro_timeout_open(co, &my->outer, one_in(4) ? CORO_FOREVER : some_time());
    coro_scope_open(co, &my->inner);
    my->around.scope = one_in(2) ? &my->outer : &my->inner;
    CORO_AWAIT(my->rc, coro_call_new(co, random_node, .around = my->around));
    my->rc = coro_scope_close(co, &my->inner, my->rc);
    if (coro_scope_caught(&my->inner))
        SWEEP_EQ(my->rc, coro_scope_expired(&my->inner) ? -ETIMEDOUT : 0);
    my->rc = coro_scope_close(co, &my->outer, my->rc);
    if (coro_scope_caught(&my->outer))
        SWEEP_EQ(my->rc, coro_scope_expired(&my->outer) ? -ETIMEDOUT : 0);
    w.closed += 2;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->rc);
}

/* ---- programs -------------------------------------------------------------------------------- */

struct random_program {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

CORO(random_program)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    w.opened++;
    while (w.nodes > 0) {
        w.nodes--;
        CORO_AWAIT(my->rc, coro_call_new(co, random_family));
        SWEEP_CHECK(!coro_cancelled(co));
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    }
CORO_FINALLY:
    w.closed++;
    sweep_leave(&my->guard);
    CORO_END(1);
}

static void random_event(void *arg, coro_trace event, coro_task *task)
{
    const char *wrong;
    (void)arg;
    (void)task;
    w.spawned += event == CORO_EVENT_SPAWN;
    w.ended += event == CORO_EVENT_END;
    if (event != CORO_EVENT_RESUME)
        return;
    if (++w.steps > STEPS)
        TEST_FAIL("this does not end: %s", sweep_context);
    if (w.steps % VERIFY_EACH)
        return;
    wrong = coro_verify(&w.run.loop);
    if (wrong)
        TEST_FAIL("coro_verify: %s: step %d of %s", wrong, w.steps, sweep_context);
}

static coro_options random_options(uint32_t seed)
{
    coro_options o;
    memset(&o, 0, sizeof o);
    o.allocator.alloc = sweep_alloc;
    o.allocator.free = sweep_free;
    o.allocator.arg = &w.run;
    o.clock = CORO_VIRTUAL;
    o.seed = seed;
    o.budget = (uint8_t)(1 + below(5));
    o.on_event = random_event;
    o.report.put = sweep_put;
    o.report.arg = &w.run;
    return o;
}

/* One program; the seed is not 0. */
static void run_seed(uint32_t seed)
{
    CORO_TASK(random_program) program;
    coro_options options;
    memset(&program, 0, sizeof program);
    memset(&w, 0, sizeof w);
    snprintf(sweep_context, sizeof sweep_context, "repeat it with SEED=%u", (unsigned)seed);
    sweep_now = &w.run;
    w.random = seed * 0x9e3779b97f4a7c15u;
    w.nodes = NODES;
    options = random_options(seed);
    SWEEP_EQ(coro_loop_init(&w.run.loop, &options), 0);
    SWEEP_EQ(coro_start(&w.run.loop.root, &program, random_program), 0);
    SWEEP_EQ(coro_loop_run(&w.run.loop), 0);
    SWEEP_EQ(coro_task_result(&program), 1);
    SWEEP_CHECK(coro_verify(&w.run.loop) == NULL);
    SWEEP_EQ(coro_stats(&w.run.loop).tasks, 0);
    SWEEP_EQ(coro_stats(&w.run.loop).timers, 0);
    SWEEP_EQ(coro_stats(&w.run.loop).spawned, w.spawned);
    SWEEP_EQ(coro_loop_fini(&w.run.loop), 0);
    if (w.run.said[0])
        TEST_FAIL("reported: %s: %s", w.run.said, sweep_context);
    SWEEP_EQ(w.run.balance, 0);
    SWEEP_EQ(w.spawned, w.ended);
    SWEEP_EQ(w.spawned, w.in_group + 1); /* the program itself is in no family */
    SWEEP_EQ(w.opened, w.closed);
    SWEEP_EQ(w.yielded, w.taken);
    SWEEP_EQ(w.run.entered, w.run.left);
    SWEEP_CHECK(w.resting.head == NULL);
}

TEST(programs_made_up_at_random_end_with_an_empty_world)
{
    const char *one = getenv("SEED");
    const char *slow = getenv("TEST_SLOW");
    uint32_t seeds = SWEEP_SANITIZED || (slow && strtod(slow, NULL) > 2) ? SEEDS_SLOW : SEEDS;
    long tasks = 0, steps = 0;
    sweep_watch_for_death();
    if (one) {
        run_seed((uint32_t)strtoul(one, NULL, 10));
        return;
    }
    for (uint32_t seed = 1; seed <= seeds; seed++) {
        run_seed(seed);
        tasks += w.spawned;
        steps += w.steps;
    }
    CHECK(tasks > 20 * (long)seeds); /* they were worth something */
    CHECK(steps > 100 * (long)seeds);
}

/* Everything in a run follows from its seed. */
TEST(program_made_up_twice_from_one_seed_is_the_same)
{
    int steps, spawned;
    sweep_watch_for_death();
    for (uint32_t seed = 1; seed <= 5; seed++) {
        run_seed(seed);
        steps = w.steps;
        spawned = w.spawned;
        run_seed(seed);
        CHECK_EQ(w.steps, steps);
        CHECK_EQ(w.spawned, spawned);
    }
}
