/* limit_core.c -- the least that C can do for each benchmark: what the library is measured against.
 *
 * Every benchmark is written by hand for its own purpose, with no more state than it needs. Tasks
 * are objects with an indirect call of a Duff's-device step function; the ready queue is a ring of
 * pointers whose capacity is reserved when a task is made, so that a push tests nothing.
 *
 *   switch*      a ring of pointers; from 100,000 tasks on with prefetch, over tasks of TASK_SIZE
 *   call         the frame embedded in the caller's, filled in, and a plain C call
 *   depth*       one task; the leaf is resumed directly, callers are linked
 *   spawn*       slabs and a LIFO free list, or the caller's array; a group is a counter
 *   guard, ...   a hierarchical wheel of 8 x 64 slots with bitmaps; the due slot is sorted
 *
 * The benchmarks called *_same are those of that name over tasks of TASK_SIZE.
 */
#include "bench.h"

#ifndef TASK_SIZE
#define TASK_SIZE 144
#endif /* TASK_SIZE */
#define PREFETCH_AHEAD 16

/* ---- ready queue -------------------------------------------------------------------------- */

typedef struct task task;
typedef struct group group;

struct task {
    void (*step)(task *t);  /* runs until the task suspends or ends */
    uint32_t pc;            /* resume label */
    uint32_t left;          /* yields still to do */
    union {
        group *in;          /* spawn: the group to tell */
        task *next_free;    /* in the free list */
    };
};

/* A task as large as the library's: after the header comes what is only stepped over. */
typedef union big_task {
    task head;
    char size[TASK_SIZE];
} big_task;

static struct {
    void **slot;            /* power of two, indices free-running */
    uint32_t tail;
    uint32_t mask;
} ready;

static void ready_init(uint32_t capacity)
{
    uint32_t size = 1;

    while (size < capacity)
        size *= 2;
    ready.slot = malloc(size * sizeof *ready.slot);
    memset(ready.slot, 1, size * sizeof *ready.slot);
    ready.mask = size - 1;
}

static inline void ready_push(void *t)
{
    ready.slot[ready.tail++ & ready.mask] = t;
}

/* Only the tail is shared with the steps: the head, the array and its size live in registers, since
 * a push never finds the ring full. */
static uint32_t ready_run_from(uint32_t head)
{
    void **slot = ready.slot;
    uint32_t mask = ready.mask;

    while (head != ready.tail) {
        task *t = slot[head++ & mask];

        t->step(t);
    }
    return head;
}

static void ready_run_prefetching(void)
{
    void **slot = ready.slot;
    uint32_t head = 0, mask = ready.mask;

    while (head != ready.tail) {
        task *t = slot[head & mask];

        __builtin_prefetch(slot[(head + PREFETCH_AHEAD) & mask], 1);
        head++;
        t->step(t);
    }
}

/* ---- switch ------------------------------------------------------------------------------- */

static void yielder(task *t)
{
    switch (t->pc) {
    case 0:
        for (; t->left > 0; t->left--) {
            ready_push(t);
            t->pc = 1;
            return;
    case 1:;
        }
    }
}

static double switch_small(long n, long tasks)
{
    task *all = calloc((size_t)tasks, sizeof *all);
    double start;

    ready_init((uint32_t)tasks);
    for (long i = 0; i < tasks; i++) {
        all[i] = (task){.step = yielder, .left = (uint32_t)(n / tasks)};
        ready_push(&all[i]);
    }
    start = bench_cpu();
    ready_run_from(0);
    return (bench_cpu() - start) / (double)(n / tasks * tasks);
}

static double switch_many(long n, long tasks)
{
    big_task *all = calloc((size_t)tasks, sizeof *all);
    uint32_t *order = bench_shuffled(tasks);
    double start;

    ready_init((uint32_t)tasks);
    for (long i = 0; i < tasks; i++)
        all[i].head = (task){.step = yielder, .left = (uint32_t)(n / tasks)};
    for (long i = 0; i < tasks; i++)
        ready_push(&all[order[i]]);
    start = bench_cpu();
    ready_run_prefetching();
    return (bench_cpu() - start) / (double)(n / tasks * tasks);
}

/* ---- call and depth ----------------------------------------------------------------------- */

enum { DONE, PENDING };

typedef struct frame frame;
typedef struct stack stack;
typedef int frame_fn(stack *s, frame *f);

typedef struct frame_info {
    frame_fn *fn;
    const char *name;
} frame_info;

struct frame {
    const frame_info *info;
    frame *caller;
    uint32_t state;         /* resume label */
    int err;
    int arg;
    int local;
};

/* A task that consists of frames. */
struct stack {
    frame *leaf;            /* what to resume */
    frame frames[101];      /* each embeds the next: that makes them neighbours */
    long total;             /* sum of what the calls returned */
};

static void stacks_run(void)
{
    void **slot = ready.slot;
    uint32_t head = 0, mask = ready.mask;

    while (head != ready.tail) {
        stack *s = slot[head++ & mask];
        frame *f = s->leaf;

        while (f && f->info->fn(s, f) != PENDING)
            f = f->caller;
    }
}

static BENCH_NOINLINE int add_one(stack *s, frame *f)
{
    (void)s;
    switch (f->state) {
    case 0:
        f->local = f->arg + 1;
    }
    return f->local;
}

static const frame_info add_one_info = {add_one, "add_one"};

static int caller_of_add_one(stack *s, frame *f)
{
    frame *child = f + 1;

    switch (f->state) {
    case 0:
        for (f->local = 0; f->local < f->arg; f->local++) {
            *child = (frame){.info = &add_one_info, .caller = f, .arg = f->local};
            s->total += add_one(s, child);
            if (f->local % 100 == 99) {
                f->state = 1;
                s->leaf = f;
                ready_push(s);
                return PENDING;
    case 1:;
            }
        }
    }
    return DONE;
}

static const frame_info caller_info = {caller_of_add_one, "caller_of_add_one"};

static double call(long n, long unused)
{
    static stack s;
    double start, ns;

    (void)unused;
    ready_init(1);
    s.leaf = s.frames;
    s.frames[0] = (frame){.info = &caller_info, .arg = (int)n};
    ready_push(&s);
    start = bench_cpu();
    stacks_run();
    ns = (bench_cpu() - start) / (double)n;
    bench_check(s.total == n * (n + 1) / 2, "call: the sum");
    return ns;
}

static BENCH_NOINLINE int yielding_leaf(stack *s, frame *f)
{
    switch (f->state) {
    case 0:
        for (f->local = 0; f->local < f->arg; f->local++) {
            f->state = 1;
            s->leaf = f;
            ready_push(s);
            return PENDING;
    case 1:;
        }
        s->total++;
    }
    return DONE;
}

static const frame_info leaf_info = {yielding_leaf, "yielding_leaf"};

static BENCH_NOINLINE int level(stack *s, frame *f);

static const frame_info level_info = {level, "level"};

static int level(stack *s, frame *f)
{
    frame *child = f + 1;

    switch (f->state) {
    case 0:
        *child = (frame){.caller = f, .arg = f->arg, .local = f->local - 1};
        child->info = child->local > 0 ? &level_info : &leaf_info;
        if (child->info->fn(s, child) == PENDING) {
            f->state = 1;
            return PENDING;
    case 1:;
        }
        s->total++;
    }
    return DONE;
}

static double depth(long n, long levels)
{
    static stack s;
    double start, ns;

    ready_init(1);
    s.leaf = s.frames;
    s.frames[0] = (frame){.info = &level_info, .arg = (int)n, .local = (int)levels};
    ready_push(&s);
    start = bench_cpu();
    stacks_run();
    ns = (bench_cpu() - start) / (double)n;
    bench_check(s.total == levels + 1, "depth: every level ended");
    return ns;
}

/* ---- spawn -------------------------------------------------------------------------------- */

struct group {
    uint32_t count;         /* children still running */
    task *waiter;           /* to be woken by the last */
};

typedef struct parent {
    task head;
    group children;
    char *own;              /* the caller's storage, or null: from the slabs */
    size_t size;            /* of a task */
    uint32_t at_once;       /* children between two joins */
    uint32_t made;
} parent;

#define SLAB_BYTES 65536

static task *free_tasks;
static uint32_t ended_tasks;

static BENCH_NOINLINE void slab_add(size_t size)
{
    char *slab = malloc(SLAB_BYTES);

    for (size_t i = SLAB_BYTES / size; i-- > 0;) {
        task *t = (task *)(slab + i * size);

        t->next_free = free_tasks;
        free_tasks = t;
    }
}

static inline void group_child_ended(group *g)
{
    ended_tasks++;
    if (--g->count == 0 && g->waiter)
        ready_push(g->waiter);
}

static void slab_child(task *t)
{
    switch (t->pc) {
    case 0: {
        group *g = t->in;

        t->next_free = free_tasks;
        free_tasks = t;
        group_child_ended(g);
    }
    }
}

static void own_child(task *t)
{
    switch (t->pc) {
    case 0:
        group_child_ended(t->in);
    }
}

static inline void group_spawn(group *g, task *t, void (*step)(task *t))
{
    t->step = step;
    t->pc = 0;
    t->in = g;
    g->count++;
    ready_push(t);
}

/* Both parents spawn at_once children, wait for them, and begin again until all are made. */
static void slab_parent(task *t)
{
    parent *p = (parent *)t;

    switch (t->pc) {
    case 0:
        while (t->left) {
            for (p->made = 0; p->made < p->at_once; p->made++) {
                task *child = free_tasks;

                if (!child) {
                    slab_add(p->size);
                    child = free_tasks;
                }
                free_tasks = child->next_free;
                group_spawn(&p->children, child, slab_child);
            }
            t->left -= p->at_once;
            p->children.waiter = t;
            t->pc = 1;
            return;
    case 1:;
        }
    }
}

static void own_parent(task *t)
{
    parent *p = (parent *)t;

    switch (t->pc) {
    case 0:
        while (t->left) {
            for (p->made = 0; p->made < p->at_once; p->made++)
                group_spawn(&p->children, (task *)(p->own + p->made * p->size), own_child);
            t->left -= p->at_once;
            p->children.waiter = t;
            t->pc = 1;
            return;
    case 1:;
        }
    }
}

static double run_parent(parent *p, long n)
{
    double start, ns;

    p->head.left = (uint32_t)n;
    ready_init(p->at_once + 1);
    ready_push(&p->head);
    start = bench_cpu();
    ready_run_from(0);
    ns = (bench_cpu() - start) / (double)n;
    bench_check(ended_tasks == n, "spawn: every child ended");
    return ns;
}

static double spawn(long n, long size)
{
    parent p = {.head.step = slab_parent, .size = (size_t)size, .at_once = 1};

    return run_parent(&p, n);
}

static double spawn_mass(long n, long size)
{
    parent p = {.head.step = slab_parent, .size = (size_t)size, .at_once = (uint32_t)n};

    return run_parent(&p, n);
}

static double spawn_own(long n, long size)
{
    static big_task own;
    parent p = {.head.step = own_parent, .size = (size_t)size, .at_once = 1};

    p.own = own.size;
    return run_parent(&p, n);
}

static double spawn_own_mass(long n, long size)
{
    parent p = {.head.step = own_parent, .size = (size_t)size, .at_once = (uint32_t)n};

    p.own = malloc((size_t)n * p.size);
    memset(p.own, 1, (size_t)n * p.size);
    return run_parent(&p, n);
}

/* ---- wheel --------------------------------------------------------------------------------
 *
 * Level l has 64 slots of 64^l ticks each; a node sits at the highest digit (base 64) in which its
 * tick differs from the current one. Time reaching a slot of level l > 0 moves its nodes down; time
 * reaching a slot of level 0 opens it: its nodes are sorted and become the due list.
 */
#define WHEEL_LEVELS 8
#define TICK_SHIFT 16

typedef struct hook hook;

struct hook {
    hook *next, *prev;
};

typedef struct node {
    hook at;                /* first: a hook's address is its node's */
    uint64_t when;          /* nanoseconds */
} node;

static struct {
    uint64_t now;
    uint64_t tick;          /* the tick whose slot was opened last */
    uint64_t map[WHEEL_LEVELS]; /* which slots hold nodes */
    hook slot[WHEEL_LEVELS][64];
    hook due;               /* what the open tick still holds, sorted */
} wheel;

static void wheel_init(void)
{
    for (int i = 0; i < WHEEL_LEVELS * 64; i++) {
        hook *head = &wheel.slot[i / 64][i % 64];

        head->next = head->prev = head;
    }
    wheel.due.next = wheel.due.prev = &wheel.due;
}

/* The order of the stores keeps gcc from merging two of them in a vector register: that takes
 * longer than the whole of arming. */
static inline void list_append(hook *head, hook *n)
{
    hook *last = head->prev;

    n->prev = last;
    last->next = n;
    n->next = head;
    head->prev = n;
}

static inline void wheel_put(node *n)
{
    uint64_t tick = n->when >> TICK_SHIFT;
    unsigned level = (63u - (unsigned)__builtin_clzll((tick ^ wheel.tick) | 1)) / 6;
    unsigned slot = (tick >> (6 * level)) & 63;

    wheel.map[level] |= UINT64_C(1) << slot;
    list_append(&wheel.slot[level][slot], &n->at);
}

/* Puts n where it belongs among the due nodes; equal times stay in order. */
static void due_insert(node *n)
{
    hook *at = wheel.due.prev;

    while (at != &wheel.due && ((node *)at)->when > n->when)
        at = at->prev;
    n->at.prev = at;
    n->at.next = at->next;
    at->next->prev = &n->at;
    at->next = &n->at;
}

static inline void timer_arm(node *n, uint64_t when)
{
    n->when = when;
    if (when >> TICK_SHIFT <= wheel.tick)
        due_insert(n);
    else
        wheel_put(n);
}

static inline void timer_drop(node *n)
{
    hook *next = n->at.next, *prev = n->at.prev;

    next->prev = prev;
    prev->next = next;
    if (next == prev) {
        /* Only the slot's head may be left, and its address tells which slot that is. */
        size_t i = (size_t)(next - &wheel.slot[0][0]);

        if (i < WHEEL_LEVELS * 64)
            wheel.map[i / 64] &= ~(UINT64_C(1) << (i % 64));
    }
}

/* Moves a slot's nodes down. They lie all over the memory, and the list's forward chain of cache
 * misses is what costs; the backward chain is a second one, which can be missing at the same time.
 */
static void wheel_cascade(unsigned level, unsigned slot)
{
    hook *head = &wheel.slot[level][slot], *at = head->next, *scout = head->prev;

    wheel.map[level] &= ~(UINT64_C(1) << slot);
    head->next = head->prev = head;
    while (at != head) {
        hook *next = at->next;

        scout = scout->prev;
        __builtin_prefetch(scout);
        wheel_put((node *)at);
        at = next;
    }
}

/* Makes a slot of level 0 the due list, sorted: a handful of nodes in most cases. */
static void wheel_open(unsigned slot)
{
    hook *head = &wheel.slot[0][slot], *at = head->next;

    wheel.map[0] &= ~(UINT64_C(1) << slot);
    head->next = head->prev = head;
    while (at != head) {
        hook *next = at->next;

        due_insert((node *)at);
        at = next;
    }
}

/* Opens the next slot that holds nodes; false if there is none. */
static int wheel_advance(void)
{
    for (unsigned level = 0; level < WHEEL_LEVELS;) {
        unsigned digit = (wheel.tick >> (6 * level)) & 63;
        uint64_t map = wheel.map[level] >> digit << digit;

        if (!map) {
            level++;
            continue;
        }
        digit = (unsigned)__builtin_ctzll(map);
        wheel.tick = (wheel.tick >> (6 * level) & ~UINT64_C(63)) + digit;
        wheel.tick <<= 6 * level;
        if (level == 0) {
            wheel_open(digit);
            return 1;
        }
        wheel_cascade(level, digit);
        level = 0;
    }
    return 0;
}

/* ---- guard, sleeps, hold ------------------------------------------------------------------ */

/* The others were armed within a second, as those of connections are: equal deadlines, which the
 * wheel would not notice, are a gift to a heap. */
static double guard(long n, long others)
{
    node *other = calloc((size_t)others, sizeof *other);
    uint64_t *ns = bench_random_ns(others, BENCH_SECOND);
    node deadline;
    double start;

    wheel_init();
    for (long i = 0; i < others; i++)
        timer_arm(&other[i], wheel.now + 30 * BENCH_SECOND + ns[i]);
    start = bench_cpu();
    for (long i = 0; i < n; i++) {
        timer_arm(&deadline, wheel.now + 5 * BENCH_SECOND);
        __asm__ volatile("" ::: "memory");  /* the work that the deadline guards */
        timer_drop(&deadline);
    }
    return (bench_cpu() - start) / (double)n;
}

/* One cache line: a sleeping task is touched for its step and its node alike. */
typedef struct sleeper {
    task head;
    node timer;
    uint64_t ns;            /* how long to sleep */
} sleeper;

static uint64_t woken, last_when, sleep_seed;
static long wakes_left;

/* Runs everything that is ready, then lets the time jump to the next deadline, and so on. */
static void run_with_timers(void)
{
    uint32_t head = ready_run_from(0);

    do {
        while (wheel.due.next != &wheel.due) {
            node *n = (node *)wheel.due.next;

            wheel.due.next = n->at.next;
            n->at.next->prev = &wheel.due;
            wheel.now = n->when;
            ready_push((char *)n - offsetof(sleeper, timer));
            head = ready_run_from(head);
        }
    } while (wakes_left > 0 && wheel_advance());
}

static inline void check_order(sleeper *s)
{
    bench_check(s->timer.when >= last_when && s->timer.when == wheel.now, "the order of waking");
    last_when = s->timer.when;
}

static void sleep_once(task *t)
{
    sleeper *s = (sleeper *)t;

    switch (t->pc) {
    case 0:
        timer_arm(&s->timer, wheel.now + s->ns);
        t->pc = 1;
        return;
    case 1:
        check_order(s);
        woken++;
    }
}

static sleeper *sleepers_new(long n, void (*step)(task *t), uint64_t limit)
{
    sleeper *all = aligned_alloc(64, (size_t)n * sizeof *all);
    uint64_t *ns = bench_random_ns(n, limit);

    wheel_init();
    ready_init((uint32_t)n);
    for (long i = 0; i < n; i++) {
        all[i] = (sleeper){.head.step = step, .ns = ns[i]};
        ready_push(&all[i].head);
    }
    free(ns);
    return all;
}

static double sleeps(long n, long unused)
{
    double start, ns;

    (void)unused;
    sleepers_new(n, sleep_once, 10 * BENCH_SECOND);
    wakes_left = n;
    start = bench_cpu();
    run_with_timers();
    ns = (bench_cpu() - start) / (double)n;
    bench_check(woken == (uint64_t)n, "sleeps: all woke");
    return ns;
}

static void sleep_again(task *t)
{
    sleeper *s = (sleeper *)t;

    switch (t->pc) {
    case 0:
        t->pc = 1;
        while (wakes_left > 0) {
            timer_arm(&s->timer, wheel.now + s->ns);
            return;
    case 1:
            check_order(s);
            wakes_left--;
            s->ns = bench_random(&sleep_seed) % BENCH_SECOND;
        }
    }
}

static double hold(long n, long tasks)
{
    double start;

    sleepers_new(tasks, sleep_again, BENCH_SECOND);
    wakes_left = n;
    start = bench_cpu();
    run_with_timers();
    return (bench_cpu() - start) / (double)n;
}

int main(int argc, char **argv)
{
    static const bench_entry table[] = {
        {"switch2", switch_small, 2},
        {"switch1k", switch_small, 1000},
        {"switch100k", switch_many, 100000},
        {"switch1m", switch_many, 1000000},
        {"call", call, 0},
        {"depth1", depth, 1},
        {"depth10", depth, 10},
        {"depth100", depth, 100},
        {"spawn", spawn, sizeof(task) + 8},
        {"spawn_same", spawn, TASK_SIZE},
        {"spawn_mass", spawn_mass, sizeof(task) + 8},
        {"spawn_mass_same", spawn_mass, TASK_SIZE},
        {"spawn_own", spawn_own, sizeof(task) + 8},
        {"spawn_own_mass", spawn_own_mass, sizeof(task) + 8},
        {"spawn_own_mass_same", spawn_own_mass, TASK_SIZE},
        {"guard", guard, 100000},
        {"sleeps", sleeps, 0},
        {"hold", hold, 10000},
        {0},
    };

    return bench_main(argc, argv, table);
}
