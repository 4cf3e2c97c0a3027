/* test_topic.c -- topics (S73 to S75), and rings from threads.
 *
 * The tests with threads have "post" in their names, so that FILTER=post runs them under a thread
 * sanitizer.
 */
#include "coro_sync.h"
#include "test.h"

#include <ctype.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

/* clang's address sanitizer keeps locals on the heap, where no check of the stack finds them. */
#if defined __has_feature
#if __has_feature(address_sanitizer)
#define LOCALS_ON_HEAP 1
#endif /* __has_feature(address_sanitizer) */
#endif /* defined __has_feature */
#ifndef LOCALS_ON_HEAP
#define LOCALS_ON_HEAP 0
#endif /* !LOCALS_ON_HEAP */

/* ---- the world: each test is a process of its own, so these are fresh ------------------------ */

static const coro_options fast = {.clock = CORO_VIRTUAL};

static coro_loop loop;

static CORO_TOPIC(int, 4) news;
static CORO_TOPIC(int, 1) latest;

static void publish(int from, int to, int subscribers)
{
    for (int i = from; i <= to; i++)
        CHECK_EQ(coro_topic_publish(&news, &i), subscribers);
}

/* What has happened, in words: "a A1 a!". */
static char trace[512];

static void say(const char *format, int name, int number)
{
    size_t used = strlen(trace);
    CHECK(used + 20 < sizeof trace);
    if (used)
        trace[used++] = ' ';
    snprintf(trace + used, sizeof trace - used, format, name, number);
}

/* The trace since the last time. */
#define CHECK_TRACE(want) (CHECK_STR(trace, want), (void)(trace[0] = 0))

/* ---- actors ---------------------------------------------------------------------------------- */

/* Reads until the end, or n items. "a" waits, "A5" has 5, "A-2" has lost two before the next one,
 * "a0" has the end, "a!" an error: the result says which. */
struct reader {
    CORO_FRAME;
    char name;
    int n;              /* 0: all */
    coro_time patience; /* for each; 0: any */
    coro_sub sub;
    int item, got;
};

CORO(reader)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_subscribe(&news, &my->sub), 0);
    do {
        say("%c", my->name, 0);
        CORO_AWAIT(my->got, coro_within(co, my->patience ? my->patience : CORO_FOREVER,
                                        coro_topic_next(co, &news, &my->sub, &my->item)));
        if (my->got == 1 && my->sub.missed)
            say("%c-%d", toupper(my->name), (int)my->sub.missed);
        if (my->got == 1)
            say("%c%d", toupper(my->name), my->item);
        else
            say(my->got ? "%c!" : "%c0", my->name, 0);
    } while (my->got == 1 && --my->n);
CORO_FINALLY:
    coro_topic_unsubscribe(&news, &my->sub);
    CORO_END(my->got);
}

/* BLOCK -- a main coroutine, with what most of them need. */
#define BLOCK(name)                                                                     \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g;                                                                   \
        coro_scope scope;                                                               \
        coro_sub sub, sub2;                                                             \
        int rc, i, item;                                                                \
        CORO_TASK(reader) r[4];                                                         \
    };                                                                                  \
    CORO(name)

#define READER(i, ...) CHECK_EQ(coro_start(&my->g, &my->r[i], reader, __VA_ARGS__), 0)
#define TURN() CORO_TRY(coro_sleep(co, 1)) /* all others go on until they wait */
#define RUN(name) CHECK_EQ(coro_run_with(&fast, name), 0)
#define NEXT(sub) CORO_TRY(my->rc, coro_topic_next(co, &news, sub, &my->item))

/* Somebody whose task ended like this. */
#define CHECK_ENDED(task, want_status, want_result)                                     \
    (CHECK_EQ(coro_task_status(task), want_status), CHECK_EQ(coro_task_result(task), want_result))

/* The item that came, and what was lost before it and so far. */
#define CHECK_GOT(sub, want, want_missed, want_lost)                                    \
    (CHECK_EQ(my->rc, 1), CHECK_EQ(my->item, want), CHECK_EQ((sub).missed, want_missed), \
     CHECK_EQ((sub).lost, want_lost))

/* ---- topics ---------------------------------------------------------------------------------- */

BLOCK(all_is_told)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    publish(1, 2, 0); /* nobody hears that */
    READER(0, .name = 'a');
    READER(1, .name = 'b', .n = 2);
    TURN();
    publish(3, 3, 2);
    TURN();
    CHECK_TRACE("a b A3 a B3 b");
    READER(2, .name = 'c');
    TURN();
    publish(4, 6, 3); /* at once: the others are told in turn */
    TURN();
    CHECK_TRACE("c A4 a A5 a A6 a B4 C4 c C5 c C6 c");
    publish(7, 7, 2); /* b is gone */
    coro_topic_close(&news);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("A7 a a0 C7 c c0");
    CHECK_EQ(my->r[0].frame.sub.lost, 0);
    CHECK_EQ(news.head.subscribers, 0);
    CHECK_EQ(news.head.sent, 7);
    CHECK_EQ(coro_topic_fini(&news), 0);
    CORO_END(0);
}

/* S73 */
TEST(each_subscriber_is_told_every_item_since_it_subscribed_in_order)
{
    RUN(all_is_told);
}

BLOCK(slow)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_subscribe(&news, &my->sub), 0);
    publish(0, 1, 1);
    CHECK_EQ(coro_topic_subscribe(&news, &my->sub2), 0);
    publish(2, 3, 2);
    NEXT(&my->sub); /* four behind: just in time */
    CHECK_GOT(my->sub, 0, 0, 0);
    publish(4, 5, 2);
    NEXT(&my->sub);
    CHECK_GOT(my->sub, 2, 1, 1);
    NEXT(&my->sub2); /* four behind, too */
    CHECK_GOT(my->sub2, 2, 0, 0);
    NEXT(&my->sub);
    CHECK_GOT(my->sub, 3, 0, 1); /* told once */
    publish(6, 16, 2);
    publish(17, 17, 2); /* lag upon lag */
    NEXT(&my->sub);
    CHECK_GOT(my->sub, 14, 10, 11);
    NEXT(&my->sub2);
    CHECK_GOT(my->sub2, 14, 11, 11);
    coro_topic_close(&news);
    for (my->i = 15; my->i <= 17; my->i++) {
        NEXT(&my->sub);
        CHECK_GOT(my->sub, my->i, 0, 11);
    }
    NEXT(&my->sub);
    CHECK_EQ(my->rc, 0);
    NEXT(&my->sub);
    CHECK_EQ(my->rc, 0);
    NEXT(&my->sub2);
    CHECK_GOT(my->sub2, 15, 0, 11); /* each at its own pace */
    coro_topic_unsubscribe(&news, &my->sub);
    CHECK_EQ(coro_topic_fini(&news), -EBUSY);
    coro_topic_unsubscribe(&news, &my->sub2);
    CHECK_EQ(coro_topic_fini(&news), 0);
    CORO_END(0);
}

/* S74 */
TEST(a_slow_subscriber_hears_once_how_many_it_lost_and_goes_on_with_the_oldest)
{
    RUN(slow);
}

/* S74: so many that their number wraps. */
TEST(a_topic_works_when_the_number_of_its_items_wraps)
{
    news.head.sent = (coro_total)-3;
    RUN(slow);
}

BLOCK(lags_while_it_works)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    READER(0, .name = 'a');
    TURN();
    publish(1, 7, 1); /* the first goes to a, who waits; then four of six are left */
    TURN();
    CHECK_TRACE("a A1 a A-2 A4 a A5 a A6 a A7 a");
    CHECK_EQ(my->r[0].frame.sub.lost, 2);
    coro_topic_close(&news);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a0");
    CORO_END(0);
}

/* S74 */
TEST(a_subscriber_that_waited_has_the_first_item_whatever_comes_after_it)
{
    RUN(lags_while_it_works);
}

BLOCK(subscribing)
{
    CORO_BEGIN();
    NEXT(&my->sub);
    CORO_END(0);
}

/* S73 */
TEST(who_is_not_subscribed_is_told_so)
{
    CHECK_EQ(coro_run_with(&fast, subscribing), -EINVAL);
    CHECK_EQ(news.head.line.waiting, 0);
}

TEST(a_subscriber_is_counted_once)
{
    static coro_sub sub, other;
    coro_topic_unsubscribe(&news, &sub); /* never subscribed */
    CHECK_EQ(news.head.subscribers, 0);
    CHECK_EQ(coro_topic_subscribe(&news, &sub), 0);
    CHECK_EQ(coro_topic_subscribe(&news, &sub), -EBUSY);
    CHECK_EQ(coro_topic_subscribe(&news, &other), 0);
    publish(0, 8, 2);
    coro_topic_unsubscribe(&news, &sub);
    coro_topic_unsubscribe(&news, &sub);
    CHECK_EQ(news.head.subscribers, 1);
    sub.lost = sub.missed = 9;
    CHECK_EQ(coro_topic_subscribe(&news, &sub), 0); /* from now on, as new */
    CHECK_EQ(sub.next, 9);
    CHECK_EQ(sub.lost + sub.missed, 0);
    CHECK_EQ(news.head.subscribers, 2);
}

BLOCK(closed)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    READER(0, .name = 'a');
    READER(1, .name = 'b');
    TURN();
    CHECK_EQ(coro_topic_fini(&news), -EBUSY);
    publish(1, 1, 2);
    coro_topic_close(&news);
    coro_topic_close(&news);
    CHECK_EQ(coro_topic_publish(&news, &my->item), -EPIPE);
    CHECK_EQ(news.head.sent, 1);
    TURN();
    CHECK_TRACE("a b A1 a a0 B1 b b0"); /* the item was theirs already */
    READER(2, .name = 'c');
    CORO_CLOSE(&my->g);
    CHECK_TRACE("c c0"); /* who comes later is told at once */
    CHECK_ENDED(&my->r[2], CORO_OK, 0);
    CHECK_EQ(coro_topic_fini(&news), 0);
    CORO_END(0);
}

/* S74 */
TEST(a_closed_topic_takes_nothing_and_tells_the_end)
{
    RUN(closed);
}

BLOCK(readers_leave)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    READER(0, .name = 'a');
    READER(1, .name = 'b', .patience = CORO_MS(1));
    READER(2, .name = 'c');
    READER(3, .name = 'd', .n = 1);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_task_cancel(&my->r[0]), 1); /* before the item */
    publish(5, 5, 3);                         /* a has not run yet: it is still subscribed */
    CHECK_EQ(coro_task_cancel(&my->r[2]), 1); /* after */
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a b c d b! a! C5 c D5 c!");
    CHECK_ENDED(&my->r[0], CORO_CANCELLED, -ECANCELED);
    CHECK_ENDED(&my->r[1], CORO_FAILED, -ETIMEDOUT);
    CHECK_EQ(my->r[2].frame.item, 5);
    CHECK_EQ(my->r[0].frame.item + my->r[1].frame.item, 0); /* not touched */
    CHECK_EQ(news.head.line.waiting, 0);
    CHECK_EQ(news.head.subscribers, 0);
    CORO_END(0);
}

/* S48, D2: as for queues. */
TEST(a_subscriber_that_leaves_has_an_item_or_not_and_leaves_nothing)
{
    RUN(readers_leave);
}

BLOCK(next_when_cancelled)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_subscribe(&news, &my->sub), 0);
    publish(7, 7, 1);
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, coro_topic_next(co, &news, &my->sub, &my->item));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_topic_next(co, &news, &my->sub, &my->item)));
    CHECK_GOT(my->sub, 7, 0, 0); /* S65: it is there */
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_topic_next(co, &news, &my->sub, &my->item)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK_EQ(news.head.line.waiting, 0);
    publish(8, 8, 1);
    NEXT(&my->sub);
    CHECK_GOT(my->sub, 8, 0, 0);
    coro_topic_unsubscribe(&news, &my->sub);
    CORO_END(0);
}

/* S05, S65 */
TEST(a_cancelled_subscriber_takes_nothing_and_one_without_patience_tries_once)
{
    RUN(next_when_cancelled);
}

/* S09 */
TEST(a_topic_at_which_a_task_of_another_loop_waits_is_not_waited_at)
{
    static CORO_TASK(reader) a, b;
    static coro_loop other;
    CHECK_EQ(coro_loop_init(&loop, &fast), 0);
    CHECK_EQ(coro_loop_init(&other, &fast), 0);
    CHECK_EQ(coro_start(&loop.root, &a, reader, .name = 'a'), 0);
    CHECK_EQ(coro_start(&other.root, &b, reader, .name = 'b'), 0);
    CHECK_EQ(coro_loop_step(&loop), 1);
    CHECK_EQ(coro_loop_run(&other), 0);
    CHECK_ENDED(&b, CORO_FAILED, -EPERM);
    CHECK_EQ(news.head.line.waiting, 1);
    coro_topic_close(&news);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_TRACE("a b b! a0");
    CHECK_EQ(coro_loop_fini(&loop), 0);
    CHECK_EQ(coro_loop_fini(&other), 0);
}

#if CORO_STACK_CHECK && !LOCALS_ON_HEAP
struct local_reader {
    CORO_FRAME;
    bool own_item;
    coro_sub sub;
    int item, got;
};

/* The one or the other is a local, hidden from the compiler, which would warn. */
CORO(local_reader)
{
    int item = 0;
    int *volatile at = my->own_item ? &my->item : &item;
    coro_sub sub = {0, 0, 0, NULL, true};
    coro_sub *volatile by = my->own_item ? &sub : &my->sub;
    CORO_BEGIN();
    my->sub.subscribed = true;
    CORO_TRY(my->got, coro_topic_next(co, &news, by, at));
    CORO_END(0);
}

static void run_local_reader(void *arg)
{
    publish(1, 1, 0);
    (void)coro_run_with(&fast, local_reader, .own_item = *(bool *)arg);
}

TEST(a_local_variable_given_to_a_topic_traps_at_once)
{
    for (int i = 0; i < 2; i++) {
        bool own_item = i;
        CHECK_TRAP(run_local_reader, &own_item, "the address of a local variable");
    }
}
#endif /* CORO_STACK_CHECK && !LOCALS_ON_HEAP */

/* ---- a topic of one: a value that is watched ------------------------------------------------- */

#define WATCH(sub) CORO_TRY(my->rc, coro_topic_next(co, &latest, sub, &my->item))

BLOCK(watched)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_subscribe(&latest, &my->sub), 0);
    CHECK_EQ(coro_topic_subscribe(&latest, &my->sub2), 0);
    for (my->i = 1; my->i <= 5; my->i++)
        CHECK_EQ(coro_topic_publish(&latest, &my->i), 2);
    WATCH(&my->sub);
    CHECK_GOT(my->sub, 5, 4, 4); /* the last one, always */
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_topic_next(co, &latest, &my->sub, &my->item)));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* not changed since */
    CHECK_EQ(coro_topic_publish(&latest, &my->i), 2);
    coro_topic_close(&latest);
    WATCH(&my->sub);
    CHECK_GOT(my->sub, 6, 0, 4); /* not seen before the end: it comes first */
    WATCH(&my->sub);
    CHECK_EQ(my->rc, 0);
    WATCH(&my->sub2);
    CHECK_GOT(my->sub2, 6, 5, 5);
    WATCH(&my->sub2);
    CHECK_EQ(my->rc, 0);
    coro_topic_unsubscribe(&latest, &my->sub);
    coro_topic_unsubscribe(&latest, &my->sub2);
    CHECK_EQ(coro_topic_fini(&latest), 0);
    CORO_END(0);
}

/* S75 */
TEST(a_topic_of_one_gives_the_latest_value_and_never_misses_the_last)
{
    RUN(watched);
}

/* ---- items of several sizes ------------------------------------------------------------------ */

struct wide {
    unsigned char bytes[100];
};

static CORO_TOPIC(char, 3) letters;
static CORO_TOPIC(struct wide, 3) wides;

struct sized {
    CORO_FRAME;
    coro_sub narrow, wide;
    char letter, guard;
    struct wide in, out;
    int i, got;
};

CORO(sized)
{
    CORO_BEGIN();
    CHECK_EQ(coro_topic_subscribe(&letters, &my->narrow), 0);
    CHECK_EQ(coro_topic_subscribe(&wides, &my->wide), 0);
    for (my->i = 0; my->i < 7; my->i++) {
        my->letter = (char)('a' + my->i);
        memset(&my->in, my->i + 1, sizeof my->in);
        CHECK_EQ(coro_topic_publish(&letters, &my->letter), 1);
        CHECK_EQ(coro_topic_publish(&wides, &my->in), 1);
        my->letter = my->guard = '-';
        CORO_TRY(my->got, coro_topic_next(co, &letters, &my->narrow, &my->letter));
        CHECK_EQ(my->letter, 'a' + my->i);
        CHECK_EQ(my->guard, '-');
        CORO_TRY(my->got, coro_topic_next(co, &wides, &my->wide, &my->out));
        CHECK_EQ(memcmp(&my->in, &my->out, sizeof my->in), 0);
    }
    CORO_END(0);
}

TEST(topics_have_items_of_any_size)
{
    CHECK_EQ(coro_run_with(&fast, sized), 0);
}

/* ---- topics at random ------------------------------------------------------------------------ */

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

enum { SUBS = 3 };

struct follows {
    CORO_FRAME;
    int seed;
    coro_sub sub[SUBS];
    int next[SUBS], lost[SUBS]; /* what they should be: items are numbered */
    int sent, i, s, item, got;
};

/* What subscriber s should get now: its next item, or the oldest of the last four. */
static void check_follower(struct follows *my)
{
    int oldest = my->sent < 4 ? 0 : my->sent - 4;
    int want = my->next[my->s] > oldest ? my->next[my->s] : oldest;
    int missed = want - my->next[my->s];
    if (my->next[my->s] == my->sent) {
        CHECK_EQ(my->got, -ETIMEDOUT);
        return;
    }
    my->next[my->s] = want + 1;
    my->lost[my->s] += missed;
    if (my->got != 1 || my->item != want || my->sub[my->s].missed != (coro_total)missed ||
        my->sub[my->s].lost != (coro_total)my->lost[my->s])
        TEST_FAIL("seed %d: got %d, item %d, want %d", my->seed, my->got, my->item, want);
}

static void random_publish(struct follows *my)
{
    for (unsigned n = random_below(7); n; n--, my->sent++)
        CHECK_EQ(coro_topic_publish(&news, &my->sent), SUBS);
}

CORO(follows)
{
    CORO_BEGIN();
    for (my->s = 0; my->s < SUBS; my->s++)
        CHECK_EQ(coro_topic_subscribe(&news, &my->sub[my->s]), 0);
    for (my->i = 0; my->i < 50; my->i++) {
        if (random_below(3) == 0)
            random_publish(my);
        my->s = (int)random_below(SUBS);
        CORO_AWAIT(my->got, coro_within(co, 0, coro_topic_next(co, &news, &my->sub[my->s],
                                                               &my->item)));
        check_follower(my);
    }
    for (my->s = 0; my->s < SUBS; my->s++)
        coro_topic_unsubscribe(&news, &my->sub[my->s]);
    CORO_END(0);
}

/* S73, S74 */
TEST(subscribers_of_different_speed_lose_exactly_what_was_overwritten)
{
    for (int seed = 0; seed < 1000; seed++) {
        random_state = ((uint64_t)seed + 1) * 0x9e3779b97f4a7c15u;
        CHECK_EQ(coro_run_with(&fast, follows, .seed = seed), 0);
        CHECK_EQ(coro_topic_fini(&news), 0);
    }
}

/* ---- rings ----------------------------------------------------------------------------------- */

static CORO_RING(int, 8) ring;
static CORO_RING(char, 1) narrow;

static int ring_next(void)
{
    int item = -1, rc = coro_ring_get(&ring, &item);
    CHECK_EQ(rc, item >= 0);
    return item;
}

TEST(a_ring_gives_items_in_order_and_refuses_what_it_has_no_room_for)
{
    char c = 'a';
    CHECK_EQ(ring_next(), -1);
    for (int i = 0; i < 11; i++)
        CHECK_EQ(coro_ring_put(&ring, &i), i < 8 ? 0 : -EAGAIN);
    CHECK_EQ(ring.head.rejected, 3);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(ring_next(), i);
    CHECK_EQ(ring_next(), -1);
    CHECK_EQ(coro_ring_put(&narrow, &c), 0);
    CHECK_EQ(coro_ring_put(&narrow, &c), -EAGAIN);
    CHECK_EQ(coro_ring_get(&narrow, &c), 1);
    CHECK_EQ(c, 'a');
    CHECK_EQ(coro_ring_get(&narrow, &c), 0);
    CHECK_EQ(coro_ring_put(&narrow, &c), 0);
}

TEST(a_ring_works_when_its_counters_wrap)
{
    ring.head.put = (coro_irq_count)-5;
    ring.head.got = (coro_irq_count)-5;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 9; i++)
            CHECK_EQ(coro_ring_put(&ring, &i), i < 8 ? 0 : -EAGAIN);
        for (int i = 0; i < 8; i++)
            CHECK_EQ(ring_next(), i);
        CHECK_EQ(ring_next(), -1);
    }
    CHECK_EQ(ring.head.put, 27);
    CHECK_EQ(ring.head.rejected, 4);
}

/* "a" waits, "A" has been told that there is something; "a!" has not. */
struct ring_reader {
    CORO_FRAME;
    char name;
    int got;
};

CORO(ring_reader)
{
    CORO_BEGIN();
    say("%c", my->name, 0);
    CORO_AWAIT(my->got, coro_ring_wait(co, &ring));
    say(my->got > 0 ? "%c" : "%c!", my->got > 0 ? toupper(my->name) : my->name, 0);
    CORO_END(my->got);
}

static void ring_put(int item)
{
    CHECK_EQ(coro_ring_put(&ring, &item), 0);
}

#define RING_BLOCK(name)                                                                \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        coro_group g;                                                                   \
        coro_scope scope;                                                               \
        CORO_TASK(ring_reader) a, b;                                                    \
        int i, rc;                                                                      \
    };                                                                                  \
    CORO(name)

#define RING_READER(task, letter)                                                       \
    CHECK_EQ(coro_start(&my->g, task, ring_reader, .name = letter), 0)

/* The clock stands still while somebody waits for a bell. Who is refused has a turn of its own. */
#define TURNS()                                                                         \
    for (my->i = 0; my->i < 3; my->i++)                                                 \
        CORO_TRY(coro_sleep(co, 0))

RING_BLOCK(two_wait)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    RING_READER(&my->a, 'a');
    RING_READER(&my->b, 'b');
    TURNS();
    CHECK_TRACE("a b b!");
    CHECK_ENDED(&my->b, CORO_FAILED, -EBUSY);
    ring_put(3);
    ring_put(4);
    CORO_TRY(coro_join(co, &my->a)); /* bells are heard when nobody is ready */
    CHECK_TRACE("A");
    CORO_TRY(coro_ring_wait(co, &ring)); /* they are there: no waiting */
    CHECK_EQ(ring_next(), 3);
    CORO_TRY(coro_ring_wait(co, &ring));
    CHECK_EQ(ring_next(), 4);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(a_ring_wakes_the_one_who_waits_and_refuses_a_second)
{
    RUN(two_wait);
}

RING_BLOCK(waiter_leaves)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    RING_READER(&my->a, 'a');
    TURNS();
    CHECK_EQ(coro_task_cancel(&my->a), 1);
    ring_put(7);
    TURNS();
    CHECK_TRACE("a a!");
    RING_READER(&my->b, 'b');
    TURNS();
    CHECK_TRACE("b B"); /* the item is still there */
    CHECK_EQ(ring_next(), 7);
    CORO_CLOSE(&my->g);
    CHECK(!ring.head.bell.waiter);
    CORO_END(0);
}

/* S48 */
TEST(a_ring_keeps_its_items_when_the_one_who_waited_leaves)
{
    RUN(waiter_leaves);
}

RING_BLOCK(wait_is_refused)
{
    CORO_BEGIN();
    ring_put(7);
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, coro_ring_wait(co, &ring));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_ring_wait(co, &ring)));
    CHECK(my->rc > 0); /* S65: it is there */
    CHECK_EQ(ring_next(), 7);
    CORO_END(0);
}

/* S05, S65 */
TEST(a_cancelled_task_does_not_hear_of_items_in_a_ring)
{
    RUN(wait_is_refused);
}

RING_BLOCK(drained)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    ring_put(1);
    ring_put(2);
    CHECK_EQ(ring_next(), 1);
    CHECK_EQ(ring_next(), 2);
    CORO_AWAIT(my->rc, coro_within(co, 0, coro_ring_wait(co, &ring)));
    CHECK_EQ(my->rc, -ETIMEDOUT); /* there is nothing */
    RING_READER(&my->a, 'a');
    TURNS();
    CHECK_TRACE("a");
    ring_put(3);
    CORO_TRY(coro_join(co, &my->a));
    CHECK_TRACE("A");
    CHECK_EQ(ring_next(), 3);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

TEST(the_wait_for_a_ring_is_for_an_item_also_when_others_were_taken_without_waiting)
{
    RUN(drained);
}

/* ---- rings and threads ----------------------------------------------------------------------- */

static void start_thread(pthread_t *thread, void *(*body)(void *))
{
    CHECK_EQ(pthread_create(thread, NULL, body, NULL), 0);
}

enum { BURST = 100000, ROUNDS = 1000 };

static CORO_RING(int, 256) burst;
static coro_irq_count refused;

static void *put_burst(void *arg)
{
    (void)arg;
    for (int i = 0; i < BURST; i++) {
        while (coro_ring_put(&burst, &i) < 0) {
            refused++;
            sched_yield();
        }
    }
    return NULL;
}

struct drain {
    CORO_FRAME;
    int i, item;
};

CORO(drain)
{
    CORO_BEGIN();
    while (my->i < BURST) {
        CORO_TRY(coro_ring_wait(co, &burst));
        for (; coro_ring_get(&burst, &my->item); my->i++)
            CHECK_EQ(my->item, my->i);
    }
    CORO_END(0);
}

static void run_with_thread(void *(*body)(void *))
{
    pthread_t thread;
    start_thread(&thread, body);
    CHECK_EQ(coro_loop_run(&loop), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coro_loop_fini(&loop), 0);
}

TEST(a_burst_that_a_thread_posts_through_a_ring_arrives_complete_and_in_order)
{
    static CORO_TASK(drain) t;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, drain);
    run_with_thread(put_burst);
    CHECK_ENDED(&t, CORO_OK, 0);
    CHECK_EQ(burst.head.rejected, refused);
    CHECK_EQ(burst.head.put, BURST);
    CHECK_EQ(burst.head.got, BURST);
}

/* One item at a time, each when the loop has answered the last one and is about to sleep. */
static CORO_RING(int, 1) ball, answer;

static void *put_and_await_answer(void *arg)
{
    int got;
    (void)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        CHECK_EQ(coro_ring_put(&ball, &i), 0);
        while (!coro_ring_get(&answer, &got))
            sched_yield();
        CHECK_EQ(got, i);
    }
    return NULL;
}

struct answerer {
    CORO_FRAME;
    int i, item;
};

CORO(answerer)
{
    CORO_BEGIN();
    while (my->i < ROUNDS) {
        CORO_TRY(coro_ring_wait(co, &ball));
        if (!coro_ring_get(&ball, &my->item))
            continue; /* it was seen, and taken, before its bell was heard */
        CHECK_EQ(my->item, ++my->i);
        CHECK_EQ(coro_ring_put(&answer, &my->item), 0);
    }
    CORO_END(0);
}

TEST(an_item_posted_through_a_ring_to_a_loop_that_falls_asleep_wakes_it)
{
    static CORO_TASK(answerer) t;
    CHECK_EQ(coro_loop_init(&loop, NULL), 0);
    coro_start(&loop.root, &t, answerer);
    run_with_thread(put_and_await_answer);
    CHECK_ENDED(&t, CORO_OK, 0);
    CHECK_EQ(ball.head.rejected, 0);
}
