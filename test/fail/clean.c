// Correct bodies of all sorts, in which no compiler may find anything to say.
//
// clean
// with: -O1..3
// with: -O0..3 -std=gnu11
// with: -O0..3 -DCORO_CHECK=1
// with: -O0..3 -std=gnu11 -DCORO_CHECK=1
// with: -O0..3 -DCORO_LABELS_AS_VALUES=1
// with: -O0..3 -std=gnu11 -DCORO_LABELS_AS_VALUES=1
// with: -O0..3 -DCORO_LABELS_AS_VALUES=1 -DCORO_CHECK=1
// with: -O0..3 -DCORO_DEBUG=1
// with: -O2 -DCORO_SHARED
// with: -O2 -DCORO_NO_LOCAL_CHECK=1
#include "coro.h"
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */
int work(int n);
bool more(void);
void use(int n);
void use_all(const int *n);
void fill(int *n);
int get(void *to, size_t size);
int put(const void *from, size_t size);
#ifdef __cplusplus
}
#endif /* __cplusplus */

/* A local before an await in the same block: in C++ a label must not skip an initialiser. */
#ifdef __cplusplus
#define LOCAL(type, name, value)                                                                  \
    type name;                                                                                    \
    name = value
#else
#define LOCAL(type, name, value) type name = value
#endif /* __cplusplus */

/* Functions around coroutines are none of our business: the pragmas must not reach them. */
static inline int ordinary_before(int k)
{
    int q = 0;
    if (k)
        q = 3;
    return q;
}

struct step {
    CORO_FRAME;
    int n;
};
CORO(step)
{
    CORO_BEGIN();
    if (my->n < 0)
        CORO_FAIL(-EINVAL);
    CORO_TRY(coro_sleep(co, CORO_MS(my->n)));
    CORO_END(my->n + 1);
}

/* No argument, no await. */
struct nothing {
    CORO_FRAME;
};
CORO(nothing)
{
    CORO_BEGIN();
    CORO_END(0);
}

/* Locals between two awaits: declared before and after CORO_BEGIN, in blocks, loops and branches.
 */
struct between {
    CORO_FRAME;
    int i, sum;
    const char *text;
};
CORO(between)
{
    int x;
    int filled[4];
    struct {
        int a, b;
    } pair;
    const int constant = 7;
    CORO_BEGIN();
    x = work(1);
    use(x);
    CORO_TRY(coro_sleep(co, 1));
    x = work(2);
    use(x + constant);
    fill(filled);
    use_all(filled);
    CORO_TRY(coro_sleep(co, 1));
    fill(filled);
    use(filled[0]);
    pair.a = work(3);
    pair.b = x = 4;
    use(pair.a + pair.b + x);
    for (my->i = 0; my->i < 10; my->i++) {
        {
            int y = work(my->i);
            use(y);
        }
        CORO_TRY(coro_sleep(co, 1));
        {
            const char *p = my->text;
            int v = 0;
            while (p && *p >= '0' && *p <= '9')
                v = v * 10 + (*p++ - '0');
            my->sum += v;
        }
    }
    if (more()) {
        x = work(1);
        for (int k = 0; k < x; k++)
            use(k);
        if (x == 7)
            CORO_TRY(coro_sleep(co, 1));
    }
    CORO_END(my->sum);
}

/* Nested loops, break, continue, goto and awaits at the end of them. */
struct echo {
    CORO_FRAME;
    size_t used, length;
    char buffer[64];
};
CORO(echo)
{
    CORO_BEGIN();
    for (;;) {
        LOCAL(int, n, get(my->buffer, sizeof my->buffer));
        if (n == -EAGAIN) {
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
            continue;
        }
        if (n <= 0)
            break;
        my->length = (size_t)n;
        for (my->used = 0; my->used < my->length;) {
            LOCAL(int, w, put(my->buffer + my->used, my->length - my->used));
            if (w < 0)
                goto wait;
            my->used += (size_t)w;
            continue;
        wait:
            CORO_TRY(coro_sleep(co, CORO_US(10)));
        }
        do
            CORO_TRY(coro_sleep(co, 0));
        while (more());
    }
    CORO_END(0);
}

/* A parser: an inner loop with a local for what came in, and a switch without awaits. */
struct parse {
    CORO_FRAME;
    int n, k, sum, got;
    char line[80];
};
CORO(parse)
{
    CORO_BEGIN();
    while (more()) {
        my->n = 0;
        while (my->n < 79) {
            int c;
            CORO_TRY(my->got, coro_sleep(co, 1));
            c = work(my->n);
            switch (c) {
            case '\r':
                continue;
            case '\n':
                break;
            default:
                my->line[my->n++] = (char)c;
                continue;
            }
            break;
        }
        my->line[my->n] = 0;
        if (!strcmp(my->line, "quit"))
            CORO_LEAVE();
        for (my->k = 0; my->k < my->sum; my->k++) {
            LOCAL(int, t, work(my->k));
            if (t < 0)
                continue;
            use(t);
            CORO_TRY(coro_sleep(co, t));
        }
    }
    CORO_END(my->sum);
}

/* Every kind of await, of result and of left-hand side. */
struct kinds {
    CORO_FRAME;
    int i;
    long l;
    long long ll;
    size_t size;
    unsigned u;
    short s;
    unsigned char c;
    bool b;
    int list[2];
    struct step step;
    struct nothing nothing;
    coro_scope scope, limit;
    int *p;
};
CORO(kinds)
{
    CORO_BEGIN();
    CORO_TRY(my->i, coro_call(co, &my->step, step, .n = 1));
    CORO_TRY(my->l, coro_call(co, &my->step, step, .n = my->step.n + 1));
    CORO_TRY(my->ll, coro_sleep(co, 1));
    CORO_TRY(my->size, coro_sleep(co, 1));
    CORO_TRY(my->u, coro_sleep(co, 1));
    CORO_TRY(my->s, coro_sleep(co, 1));
    CORO_TRY(my->c, coro_sleep(co, 1));
    CORO_TRY(my->b, coro_sleep(co, 1));
    CORO_TRY(my->list[my->i > 0], coro_within(co, CORO_S(1), coro_sleep(co, 1)));
    CORO_AWAIT(my->i, coro_call(co, &my->nothing, nothing));
    CORO_AWAIT(my->l, coro_sleep(co, 1)); CORO_AWAIT(my->ll, coro_sleep(co, 2));
    CORO_IGNORE(coro_call_within(co, &my->limit, CORO_MS(5), &my->step, step, .n = 10));
    CORO_TRY(coro_call_new(co, nothing));
    CORO_TRY(coro_call_new(co, step, .n = 3));
    CORO_TRY(work(3));
    CORO_TRY(my->i, work(4));
    my->p = &my->list[0];
    CORO_TRY(*my->p, work(5));
    if (my->i)
        CORO_TRY(coro_sleep(co, 1));
    else
        CORO_IGNORE(coro_sleep(co, 2));
    coro_timeout_open(co, &my->scope, CORO_S(1));
    CORO_AWAIT(my->i, coro_call(co, &my->step, step, .n = 1));
    CORO_TRY(coro_scope_close(co, &my->scope, my->i));
    CORO_END(0);
}

/* A local for a result at once. */
struct at_once {
    CORO_FRAME;
    int rc;
};
CORO(at_once)
{
    int rc;
    long n;
    CORO_BEGIN();
    CORO_AWAIT(rc, coro_sleep(co, 1));
    my->rc = rc;
    CORO_TRY(n, coro_sleep(co, 2));
    use((int)n);
    {
        LOCAL(int, local, 0);
        CORO_AWAIT(local, coro_sleep(co, 3));
        use(local);
    }
    CORO_END(my->rc);
}

/* Groups, FINALLY with awaits and conditions in it, locals in FINALLY. */
struct group {
    CORO_FRAME;
    coro_group g;
    coro_scope shield;
    CORO_TASK(step) t[3];
    struct nothing bye;
    int i, got, sum;
};
CORO(group)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++)
        coro_start(&my->g, &my->t[i], step, .n = i);
    coro_spawn(&my->g, nothing);
    coro_spawn(&my->g, step, .n = 3);
    for (;;) {
        CORO_TRY(my->got, coro_group_next(co, &my->g, &my->i));
        if (!my->got)
            break;
        my->sum += coro_task_result(&my->t[my->i]);
    }
    CORO_AWAIT(my->got, coro_join(co, &my->t[0]));
CORO_FINALLY:
    {
        int error = CORO_ERR;
        use(error);
    }
    coro_shield_open(co, &my->shield, CORO_S(1));
    CORO_IGNORE(coro_call(co, &my->bye, nothing));
    (void)coro_scope_close(co, &my->shield, 0);
    CORO_CLOSE(&my->g);
    if (CORO_ERR == -ETIMEDOUT)
        CORO_ERR = 0;
    if (my->sum > 100)
        CORO_LEAVE();
    CORO_END(my->sum);
}

/* A generator and its consumer. */
struct pages {
    CORO_FRAME;
    int from, item;
};
CORO(pages)
{
    CORO_BEGIN();
    for (my->item = my->from; my->item < 10; my->item++) {
        CORO_TRY(coro_sleep(co, 1));
        CORO_YIELD();
    }
CORO_FINALLY:
    use(my->item);
    CORO_END(0);
}

struct reader {
    CORO_FRAME;
    CORO_GEN(pages) gen;
    coro_group g;
    int got;
};
CORO(reader)
{
    CORO_BEGIN();
    coro_gen_open(&my->gen, pages, .from = 1);
    for (;;) {
        CORO_TRY(my->got, coro_gen_next(co, &my->gen));
        if (!my->got)
            break;
        use(my->gen.frame.item);
        if (my->gen.frame.item > 5)
            break;
    }
CORO_FINALLY:
    CORO_IGNORE(coro_gen_close(co, &my->gen));
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* An operation of the user's own, two awaits in one macro and in one line. */
struct gate {
    coro_waitq waiting;
    bool open;
};
static coro_op gate_pass(coro_task *co, struct gate *g)
{
    static const coro_ops ops = {"gate", NULL, NULL};
    if (coro_is_local(co, g))
        return coro_local();
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (g->open)
        return coro_done(co, 0);
    return coro_suspend(co, &g->waiting, &ops, 0);
}
#define TWICE(x)                                                                                  \
    do {                                                                                          \
        CORO_TRY(x);                                                                              \
        CORO_TRY(x);                                                                              \
    } while (0)

struct passer {
    CORO_FRAME;
    struct gate *gate;
};
CORO(passer)
{
    CORO_BEGIN();
    TWICE(gate_pass(co, my->gate));
    CORO_TRY(gate_pass(co, my->gate)); CORO_TRY(coro_sleep(co, 1)); TWICE(work(1));
    CORO_END(0);
}

/* Declared here and defined there. */
struct apart {
    CORO_FRAME;
    int n;
};
CORO_DECLARE(apart);
CORO_DEFINE(apart)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, my->n));
    CORO_END(0);
}

static inline int ordinary_after(int k)
{
    int q = 0;
    if (k)
        q = 3;
    return q;
}

struct app {
    CORO_FRAME;
    struct gate gate;
    coro_group g;
};
CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_spawn(&my->g, between, .text = "7");
    coro_spawn(&my->g, echo);
    coro_spawn(&my->g, parse);
    coro_spawn(&my->g, kinds);
    coro_spawn(&my->g, at_once);
    coro_spawn(&my->g, group);
    coro_spawn(&my->g, reader);
    coro_spawn(&my->g, passer, .gate = &my->gate);
    coro_spawn(&my->g, apart, .n = ordinary_before(1) + ordinary_after(2));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}
