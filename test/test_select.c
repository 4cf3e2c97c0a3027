/* test_select.c -- waiting for the first of several: coro_select, its cases, the lines in which
 * they stand among plain waiters, and an object of one's own that can be selected.
 *
 * The rules R19 to R30 of semantics.md, section 7. (R27 and R28 speak of shielded futures, in place
 * of which there are scopes here: see test_scope.c.)
 */
#include "coro_sync.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- an object of one's own ---------------------------------------------------------------------
 * A letterbox holds one letter. Tasks wait for it by letterbox_take, selects by letterbox_case, all
 * in one line, and each with the address where the letter goes.
 */
typedef struct letterbox {
    coro_line line;
    int letter;
    bool full;
} letterbox;

static const coro_ops letterbox_ops = {"letterbox", coro_line_abort, NULL};

/* Take the letter, if there is one. */
static bool letterbox_try(letterbox *box, int *letter)
{
    bool full = box->full;
    if (full)
        *letter = box->letter;
    box->full = false;
    return full;
}

/* Wait for a letter: 1. */
static coro_op letterbox_take(coro_task *co, letterbox *box, int *letter)
{
    if (coro_cancelled(co))
        return coro_refuse(co);
    if (letterbox_try(box, letter))
        return coro_done(co, 1);
    return coro_line_wait(co, &box->line, &letterbox_ops, (intptr_t)letter);
}

/* Deliver one: to whoever is first, or into the box. -EAGAIN: it is full. */
static int letterbox_drop(letterbox *box, int letter)
{
    coro_waiter w;
    if (box->full)
        return -EAGAIN;
    if (coro_line_first(&box->line, &w)) {
        *(int *)coro_waiter_word(w) = letter;
        coro_line_end(&box->line, w, 1);
    } else {
        box->letter = letter;
        box->full = true;
    }
    return 0;
}

/* The one who waits here goes on waiting there. */
static void letterbox_forward(letterbox *from, coro_task *task, letterbox *to)
{
    coro_line_move(&from->line, task, &to->line, &letterbox_ops, coro_word(task));
}

static bool letterbox_attempt(coro_case *c, coro_task *co)
{
    (void)co;
    c->rc = 1;
    return letterbox_try((letterbox *)c->object, (int *)c->word);
}

/* A case: the letter. */
static void letterbox_case(coro_case *c, letterbox *box, int *letter)
{
    coro_case_fill(c, letterbox_attempt, &box->line, box, (intptr_t)letter);
}

/* ---- the stage ------------------------------------------------------------------------------- */

typedef CORO_QUEUE(int, 2) pair;
typedef CORO_QUEUE(int, 0) meeting;
typedef CORO_TOPIC(int, 2) news;

/* One of each, and the letter that stands for it below. */
static pair queue;          /* g, p: get, put */
static meeting hand;        /* G, P: get, put */
static news topic;          /* t */
static coro_event event;    /* e */
static coro_promise answer; /* f */
static coro_mutex lock;     /* m */
static coro_sem sem;        /* s */
static letterbox box;       /* o; - is a case that is off */

static char trace[2048];   /* what has happened, in order */
static char report[2048];  /* what the loop has said */
static size_t allocated;

static void say(const char *what)
{
    size_t used = strlen(trace);
    if (used + strlen(what) + 2 > sizeof trace)
        TEST_FAIL("the trace is full: %s", trace);
    snprintf(trace + used, sizeof trace - used, "%s%s", used ? " " : "", what);
}

static const char *rc_name(long rc)
{
    static char number[24];
    snprintf(number, sizeof number, "%ld", rc);
    return rc == -ECANCELED    ? "canceled"
           : rc == -ETIMEDOUT  ? "timedout"
           : rc == -EINVAL     ? "EINVAL"
           : rc == -EPIPE      ? "EPIPE"
           : rc == -EPERM      ? "EPERM"
           : rc == -EDEADLK    ? "EDEADLK"
           : rc == -ESHUTDOWN  ? "ESHUTDOWN"
           : rc == -EOWNERDEAD ? "EOWNERDEAD"
                               : number;
}

/* The trace since the last time. */
#define CHECK_TRACE(want)                                                                         \
    do {                                                                                          \
        CHECK_STR(trace, want);                                                                   \
        trace[0] = 0;                                                                             \
    } while (0)

static void *take(void *arg, size_t size)
{
    (void)arg;
    allocated += size;
    return malloc(size);
}

static void give(void *arg, void *memory, size_t size)
{
    (void)arg;
    allocated -= size;
    free(memory);
}

static void keep_report(void *arg, const char *text)
{
    size_t used = strlen(report);
    (void)arg;
    snprintf(report + used, sizeof report - used, "%s", text);
}

static const coro_options world = {
    .allocator = {take, give, NULL}, .clock = CORO_VIRTUAL, .report = {keep_report, NULL}};

/* Nobody waits anywhere. */
static void check_empty(void)
{
    CHECK_EQ(coro_queue_fini(&queue), 0);
    CHECK_EQ(coro_queue_fini(&hand), 0);
    CHECK_EQ(coro_topic_fini(&topic), 0);
    CHECK_EQ(coro_event_fini(&event), 0);
    CHECK_EQ(coro_promise_fini(&answer), 0);
    CHECK_EQ(coro_mutex_fini(&lock), 0);
    CHECK_EQ(coro_sem_fini(&sem), 0);
    CHECK(!box.line.tasks.head && !box.line.cases);
    CHECK_EQ(queue.head.getters.waiting + queue.head.putters.waiting, 0);
    CHECK_EQ(hand.head.getters.waiting + hand.head.putters.waiting, 0);
    CHECK_EQ(topic.head.line.waiting + event.line.waiting + answer.line.waiting, 0);
    CHECK_EQ(lock.line.waiting + sem.line.waiting + box.line.waiting, 0);
    CHECK_EQ(allocated, 0);
}

static int ended(int rc)
{
    check_empty();
    CHECK_STR(report, "");
    CHECK_STR(trace, "");
    return rc;
}

#define RUN(...) ended(coro_run_with(&world, __VA_ARGS__))

static void sound(coro_task *co)
{
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);
}

static int put(int item)
{
    return coro_queue_try_put(&queue, &item);
}

static void fill(coro_case *c, char kind, int *item, coro_sub *sub)
{
    if (kind == 'g')
        coro_case_get(c, &queue, item);
    else if (kind == 'p')
        coro_case_put(c, &queue, item);
    else if (kind == 'G')
        coro_case_get(c, &hand, item);
    else if (kind == 'P')
        coro_case_put(c, &hand, item);
    else if (kind == 't')
        coro_case_topic(c, &topic, sub, item);
    else if (kind == 'e')
        coro_case_event(c, &event);
    else if (kind == 'f')
        coro_case_promise(c, &answer);
    else if (kind == 'm')
        coro_case_mutex(c, &lock);
    else if (kind == 's')
        coro_case_sem(c, &sem);
    else if (kind == 'o')
        letterbox_case(c, &box, item);
    else
        coro_case_off(c);
}

/* "a=0", or "a=1(7)": the item is told where there is one. */
static void tell(char name, const char *how, long rc, char kind, int item)
{
    char text[80];
    if (rc == 1 && strchr("gGto", kind))
        snprintf(text, sizeof text, "%c%s=1(%d)", name, how, item);
    else
        snprintf(text, sizeof text, "%c%s=%s", name, how, rc_name(rc));
    say(text);
}

enum { CASES = 8 };

/* Selects once: "a:1=0" says that a's case 1 was done and gave 0. */
struct chooser {
    CORO_FRAME;
    char name;
    const char *cases; /* a letter each */
    int item;          /* to put */
    coro_time limit;   /* 0: none; less: tries once */
    uint32_t *seed;    /* for coro_select_random */
    coro_time stay;    /* before it gives back what it has got */
    coro_sub sub;
    coro_case c[CASES];
    int i, n;
};

CORO(chooser)
{
    CORO_BEGIN();
    my->n = (int)strlen(my->cases);
    if (strchr(my->cases, 't'))
        CHECK_EQ(coro_topic_subscribe(&topic, &my->sub), 0);
    for (my->i = 0; my->i < my->n; my->i++)
        fill(&my->c[my->i], my->cases[my->i], &my->item, &my->sub);
    if (!my->limit)
        my->limit = CORO_FOREVER;
    if (my->seed)
        CORO_AWAIT(my->i, coro_select_random(co, my->c, my->n, my->seed));
    else
        CORO_AWAIT(my->i, coro_within(co, my->limit, coro_select(co, my->c, my->n)));
    for (int k = 0; k < my->n; k++)
        CHECK(!my->c[k].next);
    if (my->i < 0) {
        tell(my->name, "", my->i, 0, 0);
    } else {
        char how[16];
        snprintf(how, sizeof how, ":%d", my->i);
        tell(my->name, how, my->c[my->i].rc, my->cases[my->i], my->item);
    }
    if (my->stay)
        CORO_IGNORE(coro_sleep(co, my->stay));
    if (my->i >= 0 && my->cases[my->i] == 'm' && !my->c[my->i].rc)
        CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    coro_topic_unsubscribe(&topic, &my->sub);
    CORO_END(my->i);
}

/* Waits for one of them as plain operations do. */
struct plain {
    CORO_FRAME;
    char name, kind;
    int item;
    coro_sub sub;
    long rc;
};

CORO(plain)
{
    CORO_BEGIN();
    if (my->kind == 'g') {
        CORO_AWAIT(my->rc, coro_queue_get(co, &queue, &my->item));
    } else if (my->kind == 'p') {
        CORO_AWAIT(my->rc, coro_queue_put(co, &queue, &my->item));
    } else if (my->kind == 'G') {
        CORO_AWAIT(my->rc, coro_queue_get(co, &hand, &my->item));
    } else if (my->kind == 'P') {
        CORO_AWAIT(my->rc, coro_queue_put(co, &hand, &my->item));
    } else if (my->kind == 't') {
        CHECK_EQ(coro_topic_subscribe(&topic, &my->sub), 0);
        CORO_AWAIT(my->rc, coro_topic_next(co, &topic, &my->sub, &my->item));
        coro_topic_unsubscribe(&topic, &my->sub);
    } else if (my->kind == 'e') {
        CORO_AWAIT(my->rc, coro_event_wait(co, &event));
    } else if (my->kind == 'f') {
        CORO_AWAIT(my->rc, coro_promise_get(co, &answer));
    } else if (my->kind == 'm') {
        CORO_AWAIT(my->rc, coro_mutex_lock(co, &lock));
        if (!my->rc)
            CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    } else if (my->kind == 's' || my->kind == 'S') { /* S: three */
        CORO_AWAIT(my->rc, coro_sem_acquire_n(co, &sem, my->kind == 's' ? 1 : 3));
    } else {
        CORO_AWAIT(my->rc, letterbox_take(co, &box, &my->item));
    }
    tell(my->name, "", my->rc, my->kind, my->item);
    CORO_END(my->rc);
}

/* The main coroutine of a test: what it spawns has ended when it ends. */
#define SCENE_WITH(scene, ...)                                                                    \
    struct scene {                                                                                \
        CORO_FRAME;                                                                               \
        coro_group g;                                                                             \
        CORO_TASK(chooser) c[4];                                                                  \
        CORO_TASK(plain) p[4];                                                                    \
        coro_case sel[CASES];                                                                     \
        coro_sub sub;                                                                             \
        int i, rc, item;                                                                          \
        __VA_ARGS__                                                                               \
    };                                                                                            \
    CORO(scene)
#define SCENE(scene) SCENE_WITH(scene, int nothing_else;)

#define BEGIN()                                                                                   \
    CORO_BEGIN();                                                                                 \
    coro_group_open(co, &my->g, CORO_COLLECT)

#define END()                                                                                     \
    CORO_CLOSE(&my->g);                                                                           \
    sound(co);                                                                                    \
    CORO_END(0)

/* All others have gone on as far as they can. */
#define SETTLE() CORO_TRY(coro_sleep(co, CORO_MS(1)))

/* CHOOSE('a', "ge", .limit = 5) */
#define CHOOSE(who, ...) coro_spawn(&my->g, chooser, .name = who, .cases = __VA_ARGS__)
#define PLAIN(who, ...) coro_spawn(&my->g, plain, .name = who, .kind = __VA_ARGS__)

#define EXPECT(x, want)                                                                           \
    do {                                                                                          \
        CORO_AWAIT(my->rc, x);                                                                    \
        CHECK_EQ(my->rc, want);                                                                   \
    } while (0)

/* ---- one case is done, and none of the others ------------------------------------------------ */

/* Everything is ready: an item, room, a letter, a permit ... */
static void make_all_ready(void)
{
    CHECK_EQ(put(7), 0);
    CHECK_EQ(coro_sem_init(&sem, 1, 0), 0);
    coro_event_set(&event);
    CHECK_EQ(coro_promise_set(&answer, 42), 0);
    CHECK_EQ(letterbox_drop(&box, 9), 0);
}

SCENE_WITH(one_of_all_ready, const char *cases, *want; int depth, permits; bool letter;)
{
    BEGIN();
    make_all_ready();
    CHOOSE('a', my->cases, .item = 5, .stay = CORO_MS(2));
    SETTLE();
    CHECK_TRACE(my->want);
    CHECK_EQ(coro_queue_depth(&queue), my->depth);
    CHECK_EQ(sem.value, my->permits);
    CHECK_EQ(box.full, my->letter);
    CHECK_EQ(lock.owner != NULL, my->cases[0] == 'm');
    END();
}

static void clear_all(void)
{
    memset(&queue, 0, sizeof queue);
    memset(&hand, 0, sizeof hand);
    memset(&topic, 0, sizeof topic);
    memset(&event, 0, sizeof event);
    memset(&answer, 0, sizeof answer);
    memset(&lock, 0, sizeof lock);
    memset(&sem, 0, sizeof sem);
    memset(&box, 0, sizeof box);
}

/* R19, R23 */
TEST(select_does_the_first_case_that_is_ready_and_nothing_of_the_others)
{
    static const struct {
        const char *cases, *want;
        int depth, permits;
        bool letter;
    } row[] = {
        {"gpsmefo", "a:0=1(7)", 0, 1, true}, {"pgsmefo", "a:0=0", 2, 1, true},
        {"sgpmefo", "a:0=0", 1, 0, true},    {"mgpsefo", "a:0=0", 1, 1, true},
        {"emgpsfo", "a:0=0", 1, 1, true},    {"femgpso", "a:0=42", 1, 1, true},
        {"ofemgps", "a:0=1(9)", 1, 1, false}, {"-GPts", "a:4=0", 1, 0, true},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        CHECK_EQ(RUN(one_of_all_ready, .cases = row[i].cases, .want = row[i].want,
                     .depth = row[i].depth, .permits = row[i].permits, .letter = row[i].letter), 0);
        clear_all();
    }
}

SCENE_WITH(one_of_all_waiting, const char *want; char first;)
{
    BEGIN();
    EXPECT(coro_mutex_lock(co, &lock), 0);
    CHOOSE('a', "gGPtefso", .item = 5);
    SETTLE();
    CHECK_EQ(queue.head.getters.waiting + hand.head.putters.waiting + sem.line.waiting, 3);
    if (my->first == 'e')
        coro_event_set(&event);
    if (my->first == 's')
        CHECK_EQ(coro_sem_release(&sem), 0);
    if (my->first == 'f')
        CHECK_EQ(coro_promise_set(&answer, -77), 0);
    my->item = 3; /* then all the others, before it has had its step */
    CHECK_EQ(coro_queue_try_put(&queue, &my->item), 0);
    CHECK_EQ(coro_queue_try_put(&hand, &my->item), -EAGAIN);
    CHECK_EQ(coro_queue_try_get(&hand, &my->item), -EAGAIN);
    CHECK_EQ(coro_topic_publish(&topic, &my->item), 1);
    CHECK_EQ(letterbox_drop(&box, 4), 0);
    CHECK_EQ(coro_sem_release(&sem), 0);
    SETTLE();
    CHECK_TRACE(my->want);
    CHECK_EQ(coro_queue_depth(&queue), my->first != 'g');
    CHECK_EQ(sem.value, 1);
    CHECK(box.full);
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    END();
}

/* R19 */
TEST(select_that_waited_takes_what_came_first_and_leaves_what_came_then)
{
    CHECK_EQ(RUN(one_of_all_waiting, .want = "a:0=1(3)", .first = 'g'), 0);
    clear_all();
    CHECK_EQ(RUN(one_of_all_waiting, .want = "a:4=0", .first = 'e'), 0);
    clear_all();
    CHECK_EQ(RUN(one_of_all_waiting, .want = "a:5=-77", .first = 'f'), 0);
    clear_all();
    CHECK_EQ(RUN(one_of_all_waiting, .want = "a:6=0", .first = 's'), 0);
}

SCENE_WITH(each_alone, char kind; char cases_of_it[3];)
{
    BEGIN();
    my->cases_of_it[0] = '-';
    my->cases_of_it[1] = my->kind;
    if (my->kind == 'm')
        EXPECT(coro_mutex_lock(co, &lock), 0);
    if (my->kind == 'p') {
        CHECK_EQ(put(1), 0);
        CHECK_EQ(put(2), 0);
    }
    CHOOSE('a', my->cases_of_it, .item = 5);
    SETTLE();
    CHECK_TRACE("");
    my->item = 6;
    if (my->kind == 'g')
        CHECK_EQ(put(6), 0);
    else if (my->kind == 'p' || my->kind == 'P')
        CHECK_EQ(my->kind == 'p' ? coro_queue_try_get(&queue, &my->item)
                                 : coro_queue_try_get(&hand, &my->item), 1);
    else if (my->kind == 'G')
        CHECK_EQ(coro_queue_try_put(&hand, &my->item), 0);
    else if (my->kind == 't')
        CHECK_EQ(coro_topic_publish(&topic, &my->item), 1);
    else if (my->kind == 'e')
        coro_event_set(&event);
    else if (my->kind == 'f')
        CHECK_EQ(coro_promise_set(&answer, 6), 0);
    else if (my->kind == 'm')
        CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    else if (my->kind == 's')
        CHECK_EQ(coro_sem_release(&sem), 0);
    else
        CHECK_EQ(letterbox_drop(&box, 6), 0);
    SETTLE();
    CHECK_TRACE(strchr("gGto", my->kind) ? "a:1=1(6)" : my->kind == 'f' ? "a:1=6" : "a:1=0");
    END();
}

TEST(select_with_one_case_waits_for_any_kind_of_object)
{
    for (const char *kind = "gpGPtefmso"; *kind; kind++) {
        clear_all();
        CHECK_EQ(RUN(each_alone, .kind = *kind), 0);
        if (*kind == 'p')
            CHECK_EQ(coro_queue_depth(&queue), 2); /* 2, and the 5 of the case */
        CHECK_EQ(sem.value, 0);
        CHECK(!box.full);
    }
}

struct job {
    int urgency;
};

struct ranks {
    CORO_FRAME;
    CORO_LIFO(int, 4) pile;
    CORO_PRIORITY_QUEUE(struct job, 4, urgency) desk;
    coro_case cases[1];
    struct job job;
    int number, which;
};

CORO(ranks)
{
    CORO_BEGIN();
    for (my->number = 1; my->number <= 3; my->number++) {
        my->job.urgency = 10 - my->number;
        CHECK_EQ(coro_queue_try_put(&my->pile, &my->number), 0);
        CHECK_EQ(coro_queue_try_put(&my->desk, &my->job), 0);
    }
    coro_case_get(&my->cases[0], &my->pile, &my->number);
    CORO_TRY(my->which, coro_select(co, my->cases, 1));
    CHECK_EQ(my->number, 3);
    coro_case_get(&my->cases[0], &my->desk, &my->job);
    CORO_TRY(my->which, coro_select(co, my->cases, 1));
    CHECK_EQ(my->job.urgency, 7);
    CORO_END(0);
}

TEST(select_takes_the_newest_of_a_lifo_and_the_smallest_of_a_priority_queue)
{
    CHECK_EQ(coro_run(ranks), 0);
}

SCENE(two_senders)
{
    BEGIN();
    PLAIN('x', 'P', .item = 1);
    PLAIN('y', 'p', .item = 2);
    PLAIN('z', 'p', .item = 3);
    PLAIN('w', 'p', .item = 4); /* waits: there is room for two */
    SETTLE();
    CHECK_TRACE("y=0 z=0");
    CHOOSE('a', "Gg");
    SETTLE();
    CHECK_TRACE("a:0=1(1) x=0");
    CHOOSE('b', "Gg");
    SETTLE();
    CHECK_TRACE("b:1=1(2) w=0");
    CHECK_EQ(coro_queue_depth(&queue), 2);
    END();
}

/* R19 */
TEST(select_between_two_senders_takes_from_one_and_the_other_goes_on_waiting)
{
    CHECK_EQ(RUN(two_senders), 0);
}

SCENE(two_receivers)
{
    BEGIN();
    PLAIN('x', 'G');
    PLAIN('y', 'g');
    SETTLE();
    CHOOSE('a', "Pp", .item = 8);
    SETTLE();
    CHECK_TRACE("a:0=0 x=1(8)");
    CHECK_EQ(queue.head.getters.waiting, 1);
    CHOOSE('b', "Pp", .item = 9);
    SETTLE();
    CHECK_TRACE("b:1=0 y=1(9)");
    CHECK_EQ(queue.head.unfinished, 1);
    CHECK_EQ(hand.head.unfinished, 1);
    END();
}

/* R19 */
TEST(select_between_two_receivers_gives_to_one_and_the_other_goes_on_waiting)
{
    CHECK_EQ(RUN(two_receivers), 0);
}

/* ---- however it ends, no case is left in a line ---------------------------------------------- */

enum how { CANCELLED, TIMED_OUT, CANCELLED_AFTER };

SCENE_WITH(given_up, enum how how;)
{
    BEGIN();
    EXPECT(coro_mutex_lock(co, &lock), 0);
    coro_start(&my->g, &my->c[0], chooser, .name = 'a', .cases = "gGPtefms", .item = 5,
               .limit = my->how == TIMED_OUT ? CORO_MS(1) : CORO_FOREVER);
    CORO_TRY(coro_sleep(co, CORO_US(500)));
    CHECK_EQ(lock.line.waiting, 1);
    if (my->how == CANCELLED) {
        CHECK_EQ(coro_task_cancel(&my->c[0]), 1);
        CHECK_EQ(lock.line.waiting, 0); /* at once: what comes now is not its */
        CHECK_EQ(put(3), 0);
    } else if (my->how == CANCELLED_AFTER) {
        CHECK_EQ(put(3), 0);
        CHECK_EQ(coro_task_cancel(&my->c[0]), 1);
    }
    SETTLE();
    CHECK_TRACE(my->how == CANCELLED ? "a=canceled" : my->how == TIMED_OUT ? "a=timedout"
                                                                            : "a:0=1(3)");
    CHECK_EQ(coro_queue_depth(&queue), my->how == CANCELLED);
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    CHECK_EQ(lock.line.most, 1);
    CHECK_EQ(queue.head.getters.waiting + queue.head.putters.waiting, 0);
    CHECK_EQ(hand.head.getters.waiting + hand.head.putters.waiting, 0);
    CHECK_EQ(topic.head.line.waiting + event.line.waiting + answer.line.waiting, 0);
    END();
}

/* R20 */
TEST(select_that_was_cancelled_is_in_no_line_and_took_nothing)
{
    CHECK_EQ(RUN(given_up, .how = CANCELLED), 0);
}

/* R20 */
TEST(select_that_timed_out_is_in_no_line_and_took_nothing)
{
    CHECK_EQ(RUN(given_up, .how = TIMED_OUT), 0);
}

/* R20: what has been handed over has happened. */
TEST(select_that_is_cancelled_after_its_case_was_chosen_gives_the_case)
{
    CHECK_EQ(RUN(given_up, .how = CANCELLED_AFTER), 0);
}

struct disposer { /* its frame, and the cases in it, are gone when it ends */
    CORO_FRAME;
    coro_case c[2];
    int item;
};

CORO(disposer)
{
    CORO_BEGIN();
    coro_case_get(&my->c[0], &queue, &my->item);
    coro_case_event(&my->c[1], &event);
    CORO_TRY(coro_within(co, CORO_MS(1), coro_select(co, my->c, 2)));
    CORO_END(0);
}

SCENE(many_rounds)
{
    BEGIN();
    for (my->i = 0; my->i < 100; my->i++) {
        EXPECT(coro_call_new(co, disposer), -ETIMEDOUT);
        CHECK(!event.line.cases && !queue.head.getters.cases);
    }
    CHECK_EQ(event.line.most, 1);
    CHECK_EQ(coro_now(co), CORO_MS(100));
    END();
}

/* R20 */
TEST(select_in_a_frame_that_goes_away_leaves_nothing_in_many_rounds)
{
    CHECK_EQ(RUN(many_rounds), 0);
}

static uint32_t seeds[3];

SCENE(refused)
{
    BEGIN();
    make_all_ready();
    coro_start(&my->g, &my->c[0], chooser, .name = 'a', .cases = "gsmefot");
    coro_start(&my->g, &my->c[1], chooser, .name = 'b', .cases = "gsmefot", .seed = &seeds[0]);
    CHECK_EQ(coro_task_cancel(&my->c[0]) + coro_task_cancel(&my->c[1]), 2);
    SETTLE();
    CHECK_TRACE("a=canceled b=canceled");
    CHECK_EQ(coro_queue_depth(&queue), 1);
    CHECK_EQ(sem.value, 1);
    CHECK(box.full && !lock.owner);
    END();
}

TEST(select_in_a_cancelled_task_does_nothing_though_all_is_ready)
{
    CHECK_EQ(RUN(refused), 0);
}

SCENE(finis)
{
    BEGIN();
    coro_start(&my->g, &my->c[0], chooser, .name = 'a', .cases = "-gGPtefs");
    coro_start(&my->g, &my->c[1], chooser, .name = 'b', .cases = "gs");
    SETTLE();
    CHECK_EQ(coro_queue_fini(&queue), -EBUSY);
    CHECK_EQ(coro_queue_fini(&hand), -EBUSY);
    CHECK_EQ(coro_topic_fini(&topic), -EBUSY);
    CHECK_EQ(coro_event_fini(&event), -EBUSY);
    CHECK_EQ(coro_promise_fini(&answer), -EBUSY);
    CHECK_EQ(coro_mutex_fini(&lock), 0);
    CHECK_EQ(coro_sem_fini(&sem), -EBUSY);
#if CORO_DEBUG
    CHECK_CONTAINS(report, "chooser waits in a select for what is to be ended");
#endif /* CORO_DEBUG */
    report[0] = 0;
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a=canceled b=canceled");
    CORO_END(0);
}

TEST(select_keeps_its_objects_in_use)
{
    CHECK_EQ(RUN(finis), 0);
}

/* ---- select against select ------------------------------------------------------------------- */

SCENE_WITH(rendezvous, const char *a, *b, *want;)
{
    BEGIN();
    CHOOSE('a', my->a, .item = 1, .limit = CORO_MS(10));
    SETTLE();
    CHOOSE('b', my->b, .item = 2, .limit = CORO_MS(10));
    SETTLE();
    CHECK_TRACE(my->want);
    END();
}

/* R21 */
TEST(select_meets_select_in_all_pairings_of_a_rendezvous)
{
    static const char *const row[][3] = {
        {"G", "P", "b:0=0 a:0=1(2)"},    {"P", "G", "b:0=1(1) a:0=0"},
        {"GP", "GP", "b:0=1(1) a:1=0"},  {"GP", "PG", "b:0=0 a:0=1(2)"},
        {"PG", "GP", "b:0=1(1) a:0=0"},  {"PG", "PG", "b:0=0 a:1=1(2)"},
        {"eG", "GP", "b:1=0 a:1=1(2)"},  {"ePG", "-G", "b:1=1(1) a:1=0"},
        {"GPGP", "PP", "b:0=0 a:0=1(2)"}, {"ssG", "mP", NULL},
    };
    for (size_t i = 0; i + 1 < sizeof row / sizeof *row; i++) {
        clear_all();
        CHECK_EQ(RUN(rendezvous, .a = row[i][0], .b = row[i][1], .want = row[i][2]), 0);
    }
}

SCENE(not_itself)
{
    BEGIN();
    CHOOSE('a', "GPPG", .item = 1, .limit = CORO_MS(10));
    CHOOSE('b', "G", .limit = CORO_MS(20));
    CHOOSE('c', "G", .limit = CORO_MS(20));
    SETTLE();
    CHECK_TRACE("b:0=1(1) a:1=0");
    EXPECT(coro_sleep(co, CORO_MS(40)), 0);
    CHECK_TRACE("c=timedout");
    CHOOSE('d', "GPPG", .item = 1, .limit = CORO_MS(10));
    EXPECT(coro_sleep(co, CORO_MS(40)), 0);
    CHECK_TRACE("d=timedout");
    CHOOSE('e', "GP", .item = 1, .limit = -1);
    SETTLE();
    CHECK_TRACE("e=timedout");
    END();
}

/* R21 */
TEST(select_on_both_ends_of_a_rendezvous_does_not_meet_itself)
{
    CHECK_EQ(RUN(not_itself), 0);
}

SCENE(plain_partners)
{
    BEGIN();
    CHOOSE('a', "GP", .item = 1);
    CHOOSE('b', "PG", .item = 2); /* these two meet */
    SETTLE();
    CHECK_TRACE("b:0=0 a:0=1(2)");
    CHOOSE('c', "GP", .item = 3);
    SETTLE();
    PLAIN('x', 'G');
    PLAIN('y', 'G');
    SETTLE();
    CHECK_TRACE("x=1(3) c:1=0"); /* x did not wait */
    CHOOSE('d', "PG", .item = 4);
    SETTLE();
    CHECK_TRACE("d:0=0 y=1(4)");
    PLAIN('z', 'P', .item = 5);
    SETTLE();
    CHOOSE('e', "PG", .item = 6);
    SETTLE();
    CHECK_TRACE("e:1=1(5) z=0");
    END();
}

/* R21 */
TEST(select_on_both_ends_meets_plain_getters_and_putters)
{
    CHECK_EQ(RUN(plain_partners), 0);
}

SCENE(ring_of_three)
{
    BEGIN();
    CHOOSE('a', "Gg");
    CHOOSE('b', "GP", .item = 2); /* gives to a */
    CHOOSE('c', "gP", .item = 3); /* waits for d */
    CHOOSE('d', "GP", .item = 4);
    SETTLE();
    CHECK_TRACE("b:1=0 d:0=1(3) a:0=1(2) c:1=0");
    END();
}

TEST(selects_in_a_row_each_meet_one_other)
{
    CHECK_EQ(RUN(ring_of_three), 0);
}

/* ---- the same object twice ------------------------------------------------------------------- */

SCENE(twice)
{
    BEGIN();
    CHECK_EQ(put(1), 0);
    CHOOSE('a', "-gg");
    CHOOSE('b', "-gge-gee"); /* waits */
    CHOOSE('c', "ss");
    CHOOSE('d', "ss");
    SETTLE();
    CHECK_TRACE("a:1=1(1)");
    CHECK_EQ(queue.head.getters.waiting, 3);
    CHECK_EQ(sem.line.waiting, 4);
    CHECK_EQ(put(2), 0);
    CHECK_EQ(put(3), 0);
    CHECK_EQ(coro_sem_release_n(&sem, 3), 0);
    SETTLE();
    CHECK_TRACE("b:1=1(2) c:0=0 d:0=0");
    CHECK_EQ(coro_queue_depth(&queue), 1);
    CHECK_EQ(sem.value, 1);
    END();
}

/* R22 */
TEST(select_with_the_same_object_twice_takes_the_lower_case_and_once)
{
    CHECK_EQ(RUN(twice), 0);
}

/* ---- which one, of several ------------------------------------------------------------------- */

SCENE_WITH(by_chance, int chosen[3]; uint32_t seed; char picks[33]; int others;)
{
    BEGIN();
    coro_event_set(&event);
    coro_case_event(&my->sel[0], &event);
    coro_case_event(&my->sel[1], &event);
    coro_case_event(&my->sel[2], &event);
    for (my->i = 0; my->i < 3000; my->i++) {
        CORO_TRY(my->rc, coro_select_random(co, my->sel, 3, &my->seed));
        my->chosen[my->rc]++;
        if (my->i < 32)
            my->picks[my->i] = (char)('0' + my->rc);
    }
    say(my->picks);
    for (my->i = 0; my->i < 3; my->i++)
        CHECK(my->chosen[my->i] > 850 && my->chosen[my->i] < 1150);
    coro_case_off(&my->sel[1]);
    for (my->i = 0; my->i < 100; my->i++) {
        CORO_TRY(my->rc, coro_select_random(co, my->sel, 3, &my->seed));
        CHECK(my->rc == 0 || my->rc == 2);
    }
    END();
}

/* R23, V08 */
TEST(select_random_picks_evenly_and_for_a_seed_the_same)
{
    char first[sizeof trace];
    CHECK_EQ(coro_run_with(&world, by_chance, .seed = 1), 0);
    memcpy(first, trace, sizeof first);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, by_chance, .seed = 2), 0);
    CHECK(strcmp(first, trace) != 0);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, by_chance, .seed = 1), 0);
    CHECK_STR(trace, first);
}

SCENE(random_waits)
{
    BEGIN();
    seeds[0] = 5;
    CHOOSE('a', "gse", .seed = &seeds[0]);
    SETTLE();
    CHECK_EQ(coro_sem_release(&sem), 0);
    SETTLE();
    CHECK_TRACE("a:1=0");
    CHOOSE('b', "---", .seed = &seeds[0]);
    CHOOSE('c', "", .seed = &seeds[0]);
    SETTLE();
    CHECK_TRACE("b=EINVAL c=EINVAL");
    END();
}

TEST(select_random_waits_as_the_other_does)
{
    CHECK_EQ(RUN(random_waits), 0);
}

struct counter_task {
    CORO_FRAME;
    int *count;
};

CORO(counter_task)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, 0));
        ++*my->count;
    }
    CORO_END(0);
}

SCENE_WITH(greedy, int turns; CORO_TASK(counter_task) other;)
{
    BEGIN();
    coro_start(&my->g, &my->other, counter_task, .count = &my->turns);
    coro_event_set(&event);
    coro_case_event(&my->sel[0], &event);
    for (my->i = 0; my->i < 10 * CORO_BUDGET; my->i++)
        EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK(my->turns >= 9 && my->turns <= 11);
    coro_task_cancel(&my->other);
    END();
}

/* R23, F04 */
TEST(select_that_is_always_ready_lets_others_run)
{
    CHECK_EQ(RUN(greedy), 0);
}

SCENE_WITH(no_step, coro_total steps;)
{
    BEGIN();
    CHECK_EQ(coro_promise_set(&answer, 8), 0);
    coro_case_event(&my->sel[0], &event);
    coro_case_promise(&my->sel[1], &answer);
    my->steps = coro_stats(coro_loop_of(co)).steps;
    EXPECT(coro_select(co, my->sel, 2), 1);
    CHECK_EQ(my->sel[1].rc, 8);
    CHECK_EQ(coro_stats(coro_loop_of(co)).steps, my->steps);
    END();
}

/* R29 */
TEST(select_over_what_is_ready_takes_no_step)
{
    CHECK_EQ(RUN(no_step), 0);
}

/* ---- what is closed, dead, off --------------------------------------------------------------- */

struct lock_and_die {
    CORO_FRAME;
    coro_time after;
};

CORO(lock_and_die)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &lock));
    CORO_TRY(coro_sleep(co, my->after));
    CORO_END(0);
}

static void close_all(void)
{
    coro_queue_close(&queue);
    coro_queue_close(&hand);
    coro_topic_close(&topic);
    coro_sem_close(&sem);
}

SCENE(closed_before)
{
    BEGIN();
    CHECK_EQ(put(4), 0);
    close_all();
    CHOOSE('a', "g");
    CHOOSE('b', "eg");
    CHOOSE('c', "ep");
    CHOOSE('d', "eG");
    CHOOSE('e', "eP");
    CHOOSE('f', "et");
    CHOOSE('g', "es");
    SETTLE();
    CHECK_TRACE("a:0=1(4) b:1=0 c:1=EPIPE d:1=0 e:1=EPIPE f:1=0 g:1=ESHUTDOWN");
    END();
}

/* R24 */
TEST(select_on_a_closed_object_is_ready_with_its_end)
{
    CHECK_EQ(RUN(closed_before), 0);
}

SCENE(closed_meanwhile)
{
    BEGIN();
    CHECK_EQ(put(1), 0);
    CHECK_EQ(put(2), 0);
    CHOOSE('c', "ep");
    CHOOSE('d', "eG");
    CHOOSE('f', "et");
    CHOOSE('g', "es");
    SETTLE();
    close_all();
    SETTLE();
    CHECK_TRACE("c:1=EPIPE d:1=0 f:1=0 g:1=ESHUTDOWN");
    memset(&queue, 0, sizeof queue);
    memset(&hand, 0, sizeof hand);
    CHOOSE('b', "eg");
    CHOOSE('e', "eP");
    SETTLE();
    close_all();
    SETTLE();
    CHECK_TRACE("b:1=0 e:1=EPIPE");
    END();
}

/* R24 */
TEST(select_whose_object_is_closed_meanwhile_ends)
{
    CHECK_EQ(RUN(closed_meanwhile), 0);
}

SCENE(not_subscribed)
{
    BEGIN();
    coro_case_event(&my->sel[0], &event);
    coro_case_topic(&my->sel[1], &topic, &my->sub, &my->item);
    EXPECT(coro_select(co, my->sel, 2), 1);
    CHECK_EQ(my->sel[1].rc, -EINVAL);
    END();
}

TEST(select_on_a_topic_without_subscription_gives_einval)
{
    CHECK_EQ(RUN(not_subscribed), 0);
}

SCENE(reset)
{
    BEGIN();
    CHOOSE('a', "ge");
    SETTLE();
    coro_event_set(&event);
    coro_event_clear(&event);
    CHOOSE('b', "ge");
    SETTLE();
    CHECK_TRACE("a:1=0");
    coro_event_set(&event);
    SETTLE();
    CHECK_TRACE("b:1=0");
    END();
}

TEST(select_on_an_event_that_was_set_and_cleared_is_released)
{
    CHECK_EQ(RUN(reset), 0);
}

SCENE(nothing_on)
{
    BEGIN();
    EXPECT(coro_select(co, my->sel, 0), -EINVAL);
    EXPECT(coro_select(co, my->sel, CASES), -EINVAL);
    EXPECT(coro_within(co, CORO_MS(5), coro_select(co, my->sel, 2)), -EINVAL);
    CHECK_EQ(coro_now(co), 0);
    coro_event_set(&event);
    coro_case_event(&my->sel[0], &event);
    coro_case_event(&my->sel[3], &event);
    coro_case_off(&my->sel[0]);
    EXPECT(coro_select(co, my->sel, 3), -EINVAL);
    EXPECT(coro_select(co, my->sel, CASES), 3);
    coro_event_clear(&event);
    EXPECT(coro_within(co, CORO_MS(5), coro_select(co, my->sel, CASES)), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(5));
    END();
}

/* R26 */
TEST(select_without_a_case_that_is_on_fails_at_once)
{
    CHECK_EQ(RUN(nothing_on), 0);
}

SCENE(try_once)
{
    BEGIN();
    CHOOSE('a', "egs", .limit = -1);
    CHECK_EQ(put(3), 0);
    CHOOSE('b', "egs", .limit = -1);
    SETTLE();
    CHECK_TRACE("a:1=1(3) b=timedout");
    CHECK_EQ(event.line.waiting + sem.line.waiting, 0);
    END();
}

/* R25 */
TEST(select_within_no_time_scans_its_cases_once)
{
    CHECK_EQ(RUN(try_once), 0);
}

struct in_a_scope {
    CORO_FRAME;
    coro_scope limit;
    coro_case c[1];
    int rc;
};

CORO(in_a_scope)
{
    CORO_BEGIN();
    coro_case_event(&my->c[0], &event);
    coro_timeout_open(co, &my->limit, CORO_MS(5));
    CORO_TRY(my->rc, coro_select(co, my->c, 1));
    CORO_END(my->rc);
}

SCENE(expired_scope)
{
    BEGIN();
    EXPECT(coro_call_new(co, in_a_scope), -ETIMEDOUT);
    CHECK_EQ(coro_now(co), CORO_MS(5));
    CHECK(!event.line.cases);
    END();
}

TEST(select_in_a_timeout_scope_ends_with_it)
{
    CHECK_EQ(RUN(expired_scope), 0);
}

/* ---- mutex ----------------------------------------------------------------------------------- */

SCENE(handed_over)
{
    BEGIN();
    EXPECT(coro_mutex_lock(co, &lock), 0);
    coro_start(&my->g, &my->c[0], chooser, .name = 'a', .cases = "gm", .stay = CORO_MS(2));
    PLAIN('x', 'm');
    SETTLE();
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    CHECK(lock.owner == &my->c[0].task); /* from that moment on */
    CHECK_EQ(coro_mutex_try_lock(co, &lock), -EAGAIN);
    CHECK_EQ(coro_task_cancel(&my->c[0]), 1); /* too late: it has the lock, and gives it back */
    SETTLE();
    CHECK_TRACE("a:1=0 x=0");
    CHECK(!lock.owner);
    EXPECT(coro_mutex_lock(co, &lock), 0);
    coro_case_mutex(&my->sel[0], &lock);
    EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK_EQ(my->sel[0].rc, -EDEADLK);
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    END();
}

/* R30, D9 */
TEST(select_is_handed_a_mutex_as_a_plain_waiter_is)
{
    CHECK_EQ(RUN(handed_over), 0);
}

SCENE(owner_dies)
{
    BEGIN();
    coro_spawn(&my->g, lock_and_die, .after = CORO_MS(3));
    SETTLE();
    CHOOSE('a', "em");
    PLAIN('x', 'm');
    CHOOSE('b', "em");
    SETTLE();
    CHECK_TRACE("");
    EXPECT(coro_sleep(co, CORO_MS(5)), 0);
    CHECK_TRACE("a:1=EOWNERDEAD x=EOWNERDEAD b:1=EOWNERDEAD");
    CHOOSE('c', "em");
    SETTLE();
    CHECK_TRACE("c:1=EOWNERDEAD");
    CHECK_EQ(coro_mutex_repair(&lock), 0);
    CHOOSE('d', "em");
    SETTLE();
    CHECK_TRACE("d:1=0");
    report[0] = 0; /* CORO_DEBUG names the dead owner */
    END();
}

TEST(select_on_a_mutex_whose_owner_died_is_told)
{
    CHECK_EQ(RUN(owner_dies), 0);
}

struct forgetful { /* a select's mutex is as much its own as a plain lock's */
    CORO_FRAME;
    coro_case c[1];
};

CORO(forgetful)
{
    CORO_BEGIN();
    coro_case_mutex(&my->c[0], &lock);
    CORO_TRY(coro_select(co, my->c, 1));
    CORO_END(0);
}

SCENE(forgotten)
{
    BEGIN();
    coro_spawn(&my->g, forgetful);
    SETTLE();
    EXPECT(coro_mutex_lock(co, &lock), -EOWNERDEAD);
    CHECK_EQ(coro_mutex_repair(&lock), 0);
    EXPECT(coro_mutex_lock(co, &lock), 0);
    coro_spawn(&my->g, forgetful); /* now it has to wait for it */
    SETTLE();
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    SETTLE();
    EXPECT(coro_mutex_lock(co, &lock), -EOWNERDEAD);
    CHECK_EQ(coro_mutex_repair(&lock), 0);
    report[0] = 0;
    END();
}

TEST(select_that_locked_a_mutex_and_ended_leaves_it_dead)
{
    CHECK_EQ(RUN(forgotten), 0);
}

SCENE_WITH(loses, char kind;)
{
    BEGIN();
    if (my->kind == 'm')
        EXPECT(coro_mutex_lock(co, &lock), 0);
    PLAIN('x', my->kind);
    CHOOSE('a', my->kind == 'm' ? "em" : "es");
    PLAIN('y', my->kind);
    CHOOSE('b', my->kind == 'm' ? "fm" : "fs");
    PLAIN('z', my->kind);
    SETTLE();
    coro_event_set(&event);
    SETTLE();
    CHECK_TRACE("a:0=0");
    CHECK_EQ(sem.line.waiting + lock.line.waiting, 4);
    if (my->kind == 'm')
        CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    else
        CHECK_EQ(coro_sem_release_n(&sem, 4), 0);
    SETTLE();
    CHECK_TRACE(my->kind == 'm' ? "x=0 y=0 b:1=0 z=0" : "x=0 y=0 b:1=0 z=0");
    CHECK(!lock.owner);
    CHECK_EQ(sem.value, 0);
    END();
}

/* R30 */
TEST(select_that_loses_a_mutex_or_semaphore_leaves_the_order_of_others)
{
    CHECK_EQ(RUN(loses, .kind = 'm'), 0);
    clear_all();
    CHECK_EQ(RUN(loses, .kind = 's'), 0);
}

/* ---- one line of plain waiters and cases ----------------------------------------------------- */

enum { LINE = 6 };

struct in_line { /* waits for a permit, as a task or as a case; tells when it has it */
    CORO_FRAME;
    int number;
    bool selects;
    coro_case c[2];
    int rc;
};

CORO(in_line)
{
    char text[2] = {(char)('0' + my->number), 0};
    CORO_BEGIN();
    coro_case_sem(&my->c[my->number % 2], &sem);
    if (my->selects) {
        CORO_TRY(my->rc, coro_select(co, my->c, 2));
        CHECK_EQ(my->rc, my->number % 2);
    } else {
        CORO_TRY(coro_sem_acquire(co, &sem));
    }
    say(text);
    CORO_END(0);
}

/* In the order in which they came: tasks where the bit is 0, cases where it is 1. Those of `gone`
 * give up, the last bit first if from_back; then one more of each kind comes. */
SCENE_WITH(mixed, unsigned kinds, gone; bool from_back; CORO_TASK(in_line) w[LINE + 2];)
{
    BEGIN();
    for (my->i = 0; my->i < LINE; my->i++)
        coro_start(&my->g, &my->w[my->i], in_line, .number = my->i,
                   .selects = (my->kinds >> my->i & 1) != 0);
    SETTLE();
    for (my->i = 0; my->i < LINE; my->i++) {
        int at = my->from_back ? LINE - 1 - my->i : my->i;
        if (my->gone >> at & 1)
            CHECK_EQ(coro_task_cancel(&my->w[at]), 1);
    }
    coro_start(&my->g, &my->w[LINE], in_line, .number = LINE, .selects = true);
    coro_start(&my->g, &my->w[LINE + 1], in_line, .number = LINE + 1);
    SETTLE();
    for (my->i = 0; my->i < LINE + 2; my->i++) {
        CHECK_EQ(coro_sem_release(&sem), 0); /* one by one, and then all that are left at once */
        if (my->i < 3)
            SETTLE();
    }
    END();
}

static void check_line(unsigned kinds, unsigned gone, bool from_back)
{
    char want[4 * LINE + 1] = "";
    int left = 0;
    memset(&sem, 0, sizeof sem);
    trace[0] = 0;
    CHECK_EQ(coro_run_with(&world, mixed, .kinds = kinds, .gone = gone, .from_back = from_back), 0);
    for (int i = 0; i < LINE + 2; i++)
        if (!(gone >> i & 1))
            snprintf(want + strlen(want), sizeof want - strlen(want), "%s%d", left++ ? " " : "", i);
    if (strcmp(trace, want) != 0)
        TEST_FAIL("kinds %x, gone %x, from back %d: got %s, want %s", kinds, gone, from_back, trace,
                  want);
    CHECK_EQ(sem.line.waiting, 0);
    CHECK_EQ(sem.line.most, LINE + (left == LINE + 2 ? 2 : left == LINE + 1));
    CHECK_EQ(sem.value, LINE + 2 - left);
    CHECK_EQ(coro_sem_fini(&sem), 0);
}

/* D9: all patterns of tasks and cases, and each with one or two that leave from anywhere. */
TEST(select_cases_and_plain_waiters_of_one_line_are_served_in_the_order_they_came)
{
    for (unsigned kinds = 0; kinds < 1u << LINE; kinds++)
        for (unsigned first = 0; first < LINE; first++)
            for (unsigned second = first; second < LINE; second++)
                check_line(kinds, 1u << first | 1u << second, (kinds + first) % 2 != 0);
}

TEST(select_cases_keep_their_place_when_all_but_one_leave)
{
    for (unsigned kinds = 0; kinds < 1u << LINE; kinds++) {
        check_line(kinds, 0, false);
        check_line(kinds, (1u << LINE) - 1, kinds % 2 != 0);
        for (unsigned stays = 0; stays < LINE; stays++)
            check_line(kinds, ((1u << LINE) - 1) & ~(1u << stays), kinds % 2 != 0);
    }
}

SCENE(wants_many)
{
    BEGIN();
    CHECK_EQ(coro_sem_init(&sem, 2, 0), 0);
    coro_start(&my->g, &my->p[0], plain, .name = 'x', .kind = 'S');
    CHOOSE('a', "es");
    CHOOSE('b', "es");
    PLAIN('y', 's');
    SETTLE();
    CHECK_EQ(sem.line.waiting, 4); /* behind one who wants three */
    CHECK_EQ(coro_task_cancel(&my->p[0]), 1);
    SETTLE();
    CHECK_TRACE("x=canceled a:1=0 b:1=0");
    CHECK_EQ(coro_sem_release(&sem), 0);
    SETTLE();
    CHECK_TRACE("y=0");
    END();
}

TEST(select_cases_behind_one_who_gives_up_have_their_turn)
{
    CHECK_EQ(RUN(wants_many), 0);
}

/* ---- a task that moves into a line with cases ------------------------------------------------ */

static coro_cond cond;

struct on_condition {
    CORO_FRAME;
    char name;
    int rc;
};

CORO(on_condition)
{
    CORO_BEGIN();
    CORO_TRY(coro_mutex_lock(co, &lock));
    CORO_AWAIT(my->rc, coro_cond_wait(co, &cond, &lock));
    tell(my->name, "", my->rc, 0, 0);
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    CORO_END(0);
}

SCENE(moved)
{
    BEGIN();
    coro_spawn(&my->g, on_condition, .name = 'x');
    coro_spawn(&my->g, on_condition, .name = 'y');
    SETTLE();
    EXPECT(coro_mutex_lock(co, &lock), 0);
    CHOOSE('a', "em");
    SETTLE();
    CHECK_EQ(coro_cond_signal(&cond), 1); /* x is behind a now */
    CHOOSE('b', "em");
    SETTLE();
    CHECK_EQ(coro_cond_signal(&cond), 1);
    CHOOSE('c', "em");
    SETTLE();
    CHECK_EQ(lock.line.waiting, 5);
    CHECK_EQ(coro_mutex_unlock(co, &lock), 0);
    SETTLE();
    CHECK_TRACE("a:1=0 x=0 b:1=0 y=0 c:1=0");
    CHECK_EQ(coro_cond_fini(&cond), 0);
    END();
}

TEST(select_and_tasks_back_from_a_condition_are_in_order)
{
    CHECK_EQ(RUN(moved), 0);
}

/* ---- the object of one's own ----------------------------------------------------------------- */

SCENE(letters)
{
    BEGIN();
    PLAIN('x', 'o');
    CHOOSE('a', "eo");
    PLAIN('y', 'o');
    CHOOSE('b', "o");
    SETTLE();
    CHECK_EQ(box.line.waiting, 4);
    for (my->i = 1; my->i <= 5; my->i++)
        CHECK_EQ(letterbox_drop(&box, my->i), 0);
    CHECK_EQ(letterbox_drop(&box, 6), -EAGAIN);
    SETTLE();
    CHECK_TRACE("x=1(1) a:1=1(2) y=1(3) b:0=1(4)");
    CHOOSE('c', "eo");
    SETTLE();
    CHECK_TRACE("c:1=1(5)");
    CHECK_EQ(letterbox_drop(&box, 7), 0);
    PLAIN('z', 'o');
    SETTLE();
    CHECK_TRACE("z=1(7)");
    END();
}

TEST(select_works_with_an_object_of_ones_own)
{
    CHECK_EQ(RUN(letters), 0);
}

SCENE_WITH(forwarded, letterbox from;)
{
    BEGIN();
    coro_start(&my->g, &my->p[0], plain, .name = 'x', .kind = 'o');
    CHOOSE('a', "eo");
    coro_start(&my->g, &my->p[1], plain, .name = 'y', .kind = 'o');
    CHOOSE('b', "eo");
    SETTLE();
    letterbox_forward(&box, &my->p[0].task, &my->from); /* cases stand behind it */
    CHECK_EQ(box.line.waiting, 3);
    CHECK_EQ(my->from.line.waiting, 1);
    CHECK_EQ(letterbox_drop(&box, 1), 0);
    SETTLE();
    CHECK_TRACE("a:1=1(1)");
    letterbox_forward(&my->from, &my->p[0].task, &box); /* and back, behind b */
    CHECK_EQ(letterbox_drop(&box, 2), 0);
    CHECK_EQ(letterbox_drop(&box, 3), 0);
    CHECK_EQ(letterbox_drop(&box, 4), 0);
    SETTLE();
    CHECK_TRACE("y=1(2) b:1=1(3) x=1(4)");
    coro_start(&my->g, &my->p[2], plain, .name = 'z', .kind = 'o');
    SETTLE();
    letterbox_forward(&box, &my->p[2].task, &my->from);
    CHECK_EQ(coro_task_cancel(&my->p[2]), 1); /* it leaves the line in which it is */
    CHECK_EQ(my->from.line.waiting, 0);
    SETTLE();
    CHECK_TRACE("z=canceled");
    END();
}

TEST(select_cases_keep_their_order_when_a_task_is_moved_out_of_the_line_and_back)
{
    CHECK_EQ(RUN(forwarded), 0);
}

/* ---- again and again ------------------------------------------------------------------------- */

struct producer {
    CORO_FRAME;
    int from, n, item;
    bool directly;
};

CORO(producer)
{
    CORO_BEGIN();
    for (my->item = my->from; my->item < my->from + my->n; my->item++) {
        if (my->directly)
            CORO_TRY(coro_queue_put(co, &hand, &my->item));
        else
            CORO_TRY(coro_queue_put(co, &queue, &my->item));
    }
    CORO_END(0);
}

struct closer {
    CORO_FRAME;
    coro_group g;
};

CORO(closer)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, producer, .from = 0, .n = 50);
    coro_spawn(&my->g, producer, .from = 1000, .n = 50, .directly = true);
    coro_spawn(&my->g, producer, .from = 2000, .n = 50);
    CORO_CLOSE(&my->g);
    coro_queue_close(&queue);
    coro_queue_close(&hand);
    CORO_END(0);
}

SCENE_WITH(fan_in, int items[2], sum, next[3];)
{
    BEGIN();
    coro_spawn(&my->g, closer);
    coro_case_get(&my->sel[0], &queue, &my->items[0]);
    coro_case_get(&my->sel[1], &hand, &my->items[1]);
    while (my->sel[0].attempt || my->sel[1].attempt) {
        CORO_TRY(my->i, coro_select(co, my->sel, 2));
        if (my->sel[my->i].rc) {
            int item = my->items[my->i];
            CHECK_EQ(item, item / 1000 * 1000 + my->next[item / 1000]); /* in order of each */
            CHECK_EQ(item / 1000 == 1, my->i);
            my->next[item / 1000]++;
            my->sum += item;
        } else {
            coro_case_off(&my->sel[my->i]);
        }
    }
    EXPECT(coro_select(co, my->sel, 2), -EINVAL);
    CHECK_EQ(my->sum, 3 * (49 * 50 / 2) + 50 * 1000 + 50 * 2000);
    END();
}

TEST(select_in_a_loop_merges_queues_until_all_are_closed)
{
    CHECK_EQ(RUN(fan_in), 0);
    CHECK(queue.head.getters.most <= 1 && hand.head.getters.most <= 1);
}

SCENE_WITH(put_and_get, int out, in, sent, got;)
{
    BEGIN();
    coro_case_put(&my->sel[0], &hand, &my->out);
    coro_case_get(&my->sel[1], &queue, &my->in);
    for (my->i = 0; my->i < 20; my->i++)
        coro_spawn(&my->g, plain, .name = 'x', .kind = my->i % 2 ? 'G' : 'p', .item = 100 + my->i);
    while (my->sent + my->got < 20) {
        my->out = my->sent;
        CORO_TRY(my->rc, coro_select(co, my->sel, 2));
        my->sent += my->rc == 0;
        my->got += my->rc == 1;
    }
    CHECK_EQ(my->sent, 10);
    CHECK_EQ(my->got, 10);
    SETTLE();
    CHECK_EQ(strlen(trace), 10 * strlen("x=0 ") + 10 * strlen("x=1(0) ") - 1);
    trace[0] = 0;
    END();
}

TEST(select_in_a_loop_puts_and_gets)
{
    CHECK_EQ(RUN(put_and_get), 0);
}

SCENE_WITH(sub_twice, int other;)
{
    BEGIN();
    CHECK_EQ(coro_topic_subscribe(&topic, &my->sub), 0);
    coro_case_topic(&my->sel[0], &topic, &my->sub, &my->item);
    EXPECT(coro_within(co, CORO_MS(1), coro_topic_next(co, &topic, &my->sub, &my->other)),
           -ETIMEDOUT);
    my->i = 6;
    CHECK_EQ(coro_topic_publish(&topic, &my->i), 1);
    EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK_EQ(my->other, 0); /* the case has its own place for the item */
    CHECK_EQ(my->item, 6);
    coro_topic_unsubscribe(&topic, &my->sub);
    END();
}

TEST(select_of_a_topic_puts_the_item_where_its_case_says_whatever_was_awaited_meanwhile)
{
    CHECK_EQ(RUN(sub_twice), 0);
}

SCENE(topic_again)
{
    BEGIN();
    CHECK_EQ(coro_topic_subscribe(&topic, &my->sub), 0);
    coro_case_topic(&my->sel[0], &topic, &my->sub, &my->item);
    for (my->i = 1; my->i <= 4; my->i++)
        CHECK_EQ(coro_topic_publish(&topic, &my->i), 1);
    EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK_EQ(my->item, 3);
    CHECK_EQ(my->sub.missed, 2);
    EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK_EQ(my->item, 4);
    CHECK_EQ(my->sub.missed, 0);
    EXPECT(coro_within(co, CORO_MS(1), coro_select(co, my->sel, 1)), -ETIMEDOUT);
    coro_topic_close(&topic);
    EXPECT(coro_select(co, my->sel, 1), 0);
    CHECK_EQ(my->sel[0].rc, 0);
    coro_topic_unsubscribe(&topic, &my->sub);
    END();
}

TEST(select_of_a_topic_tells_what_was_missed)
{
    CHECK_EQ(RUN(topic_again), 0);
}

/* ---- statistics ------------------------------------------------------------------------------ */

SCENE(statistics)
{
    BEGIN();
    CHOOSE('a', "es");
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHOOSE('b', "sss");
    CORO_TRY(coro_sleep(co, CORO_MS(5)));
    CHECK_EQ(sem.line.waiting, 4);
    coro_event_set(&event);
    SETTLE();
    CHECK_TRACE("a:0=0");
    CHECK_EQ(sem.line.waiting, 3);
    CHECK_EQ(sem.line.most, 4);
    CHECK_EQ(event.line.most, 1);
#if CORO_LINE_TIMES
    CHECK_EQ(event.line.longest, CORO_MS(7));
    CHECK_EQ(sem.line.longest, CORO_MS(7));
    PLAIN('x', 's');
    CORO_TRY(coro_sleep(co, CORO_MS(20)));
    CHECK_EQ(coro_sem_release_n(&sem, 2), 0);
    SETTLE();
    CHECK_TRACE("b:0=0 x=0");
    CHECK_EQ(sem.line.longest, CORO_MS(26)); /* b's */
#endif /* CORO_LINE_TIMES */
    CHECK_EQ(coro_sem_release(&sem), 0);
    SETTLE();
    trace[0] = 0;
    END();
}

struct publisher {
    CORO_FRAME;
    int item;
};

CORO(publisher)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_publish(&topic, &my->item), 1);
    CORO_END(0);
}

SCENE_WITH(topic_twice, int other;)
{
    BEGIN();
    coro_topic_subscribe(&topic, &my->sub);
    coro_case_topic(&my->sel[0], &topic, &my->sub, &my->item);
    coro_case_topic(&my->sel[1], &topic, &my->sub, &my->other);
    coro_spawn(&my->g, publisher, .item = 7);
    CORO_TRY(my->i, coro_select(co, my->sel, 2));
    CHECK_EQ(my->i, 0);
    CHECK_EQ(my->item, 7);
    CHECK_EQ(my->other, 0);
    coro_topic_unsubscribe(&topic, &my->sub);
    END();
}

/* R22 */
TEST(select_on_a_topic_twice_puts_the_item_where_the_chosen_case_says)
{
    CHECK_EQ(RUN(topic_twice), 0);
}

TEST(select_cases_are_counted_and_timed_as_waiters)
{
    CHECK_EQ(RUN(statistics), 0);
}

/* ---- of another loop ------------------------------------------------------------------------- */

static coro_loop here, there;

/* Until nobody can go on. */
static void step(coro_loop *loop)
{
    for (int i = 0; i < 5; i++)
        (void)coro_loop_step(loop);
}

static void make_loops(void)
{
    CHECK_EQ(coro_loop_init(&here, &world), 0);
    CHECK_EQ(coro_loop_init(&there, &world), 0);
}

static void end_loops(void)
{
    coro_group_cancel(&here.root);
    coro_group_cancel(&there.root);
    step(&here);
    step(&there);
    CHECK_EQ(coro_loop_fini(&here), 0);
    CHECK_EQ(coro_loop_fini(&there), 0);
    CHECK_STR(report, "");
    check_empty();
}

/* B06 */
TEST(select_where_a_task_of_another_loop_waits_gives_eperm)
{
    make_loops();
    coro_spawn(&here.root, plain, .name = 'x', .kind = 's');
    step(&here);
    coro_spawn(&there.root, chooser, .name = 'a', .cases = "es");
    coro_spawn(&there.root, plain, .name = 'y', .kind = 's');
    step(&there);
    CHECK_TRACE("a=EPERM y=EPERM");
    CHECK_EQ(event.line.waiting, 0);
    CHECK_EQ(sem.line.waiting, 1);
    end_loops();
    CHECK_TRACE("x=canceled");
}

/* B06: at the other end of a queue. */
TEST(select_does_not_deal_with_a_task_of_another_loop)
{
    make_loops();
    coro_spawn(&here.root, plain, .name = 'x', .kind = 'G');
    step(&here);
    coro_spawn(&there.root, plain, .name = 'y', .kind = 'P');
    coro_spawn(&there.root, chooser, .name = 'a', .cases = "eP");
    step(&there);
    CHECK_TRACE("y=EPERM a:1=EPERM");
    coro_group_cancel(&here.root);
    step(&here);
    CHECK_TRACE("x=canceled");
    coro_spawn(&there.root, plain, .name = 'y', .kind = 'P');
    step(&there);
    coro_loop_fini(&here);
    CHECK_EQ(coro_loop_init(&here, &world), 0);
    coro_spawn(&here.root, chooser, .name = 'b', .cases = "G");
    step(&here);
    CHECK_TRACE("b:0=EPERM");
    CHECK_EQ(hand.head.putters.waiting, 1);
    end_loops();
    CHECK_TRACE("y=canceled");
}

/* B06 */
TEST(select_of_another_loop_waits_and_whoever_comes_has_eperm)
{
    make_loops();
    coro_spawn(&here.root, chooser, .name = 'a', .cases = "es");
    step(&here);
    coro_spawn(&there.root, plain, .name = 'x', .kind = 's');
    coro_spawn(&there.root, chooser, .name = 'b', .cases = "se");
    coro_spawn(&there.root, chooser, .name = 'c', .cases = "gs");
    coro_spawn(&there.root, chooser, .name = 'd', .cases = "gf", .limit = -1);
    step(&there);
    CHECK_TRACE("x=EPERM b=EPERM c=EPERM d=timedout");
    end_loops();
    CHECK_TRACE("a=canceled");
}

/* B06: nobody waits yet, but the owner would have to wake us. */
TEST(select_on_a_mutex_held_in_another_loop_gives_eperm_as_a_plain_lock_does)
{
    make_loops();
    coro_spawn(&here.root, lock_and_die, .after = CORO_S(1));
    (void)coro_loop_step(&here);
    CHECK(lock.owner != NULL);
    coro_spawn(&there.root, plain, .name = 'x', .kind = 'm');
    coro_spawn(&there.root, chooser, .name = 'a', .cases = "em");
    step(&there);
    CHECK_TRACE("x=EPERM a:1=EPERM");
    coro_group_cancel(&here.root);
    step(&here);
    report[0] = 0;
    CHECK_EQ(coro_mutex_repair(&lock), 0);
    end_loops();
}

/* ---- mistakes -------------------------------------------------------------------------------- */

#if CORO_STACK_CHECK
static coro_case *hidden(coro_case *c)
{
    coro_case *volatile p = c;
    return p;
}

struct with_locals {
    CORO_FRAME;
    uint32_t seed;
};

CORO(with_locals)
{
    coro_case c[1];
    CORO_BEGIN();
    memset(c, 0, sizeof c);
    coro_case_event(c, &event);
    if (my->seed)
        CORO_TRY(coro_select_random(co, hidden(c), 1, &my->seed));
    else
        CORO_TRY(coro_select(co, hidden(c), 1));
    CORO_END(0);
}

static void run_with_locals(void *arg)
{
    (void)coro_run(with_locals, .seed = *(uint32_t *)arg);
}

TEST(select_with_cases_that_are_local_variables_traps)
{
    uint32_t seed = 0;
    CHECK_TRAP(run_with_locals, &seed, "local");
    seed = 1;
    CHECK_TRAP(run_with_locals, &seed, "local");
}

static int *hidden_item(int *item)
{
    int *volatile p = item;
    return p;
}

struct with_a_local_item {
    CORO_FRAME;
    char kind;
    coro_sub sub;
    coro_case c[2];
};

CORO(with_a_local_item)
{
    int item[1];
    CORO_BEGIN();
    fill(&my->c[0], my->kind, hidden_item(item), &my->sub);
    coro_case_event(&my->c[1], &event);
    CORO_TRY(coro_select(co, my->c, 2));
    CORO_END(0);
}

static void run_with_a_local_item(void *arg)
{
    event.set = true; /* also when it need not wait */
    (void)coro_run(with_a_local_item, .kind = *(char *)arg);
}

TEST(select_with_an_item_that_is_a_local_variable_traps)
{
    static char kinds[] = "gpGPt";
    for (char *kind = kinds; *kind; kind++)
        CHECK_TRAP(run_with_a_local_item, kind, "local");
}
#endif /* CORO_STACK_CHECK */
