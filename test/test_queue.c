/* test_queue.c -- queues of all kinds: S45 to S66, and what was made up at random. */
#include "coro_sync.h"
#include "test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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

/* The same tests hold for queues of all sizes: these functions take their number. */
enum kind { NONE, ONE, THREE, STACK, KINDS };

static CORO_QUEUE(int, 0) none;
static CORO_QUEUE(int, 1) one;
static CORO_QUEUE(int, 3) three;
static CORO_LIFO(int, 3) stack;

static const coro_count room_of[KINDS] = {0, 1, 3, 3};

static coro_queue *head_of(enum kind k)
{
    coro_queue *heads[KINDS] = {&none.head, &one.head, &three.head, &stack.head};
    return heads[k];
}

static void make_all_new(void)
{
    memset(&none, 0, sizeof none);
    memset(&one, 0, sizeof one);
    memset(&three, 0, sizeof three);
    memset(&stack, 0, sizeof stack);
}

static coro_op put(coro_task *co, enum kind k, const int *item)
{
    return k == NONE  ? coro_queue_put(co, &none, item)
           : k == ONE ? coro_queue_put(co, &one, item)
           : k == THREE ? coro_queue_put(co, &three, item)
                        : coro_queue_put(co, &stack, item);
}

static coro_op get(coro_task *co, enum kind k, int *item)
{
    return k == NONE  ? coro_queue_get(co, &none, item)
           : k == ONE ? coro_queue_get(co, &one, item)
           : k == THREE ? coro_queue_get(co, &three, item)
                        : coro_queue_get(co, &stack, item);
}

static coro_op get_many(coro_task *co, enum kind k, int *items, coro_count n)
{
    return k == NONE  ? coro_queue_get_many(co, &none, items, n)
           : k == ONE ? coro_queue_get_many(co, &one, items, n)
           : k == THREE ? coro_queue_get_many(co, &three, items, n)
                        : coro_queue_get_many(co, &stack, items, n);
}

static int try_put(enum kind k, int item)
{
    return k == NONE  ? coro_queue_try_put(&none, &item)
           : k == ONE ? coro_queue_try_put(&one, &item)
           : k == THREE ? coro_queue_try_put(&three, &item)
                        : coro_queue_try_put(&stack, &item);
}

static int try_get(enum kind k, int *item)
{
    return k == NONE  ? coro_queue_try_get(&none, item)
           : k == ONE ? coro_queue_try_get(&one, item)
           : k == THREE ? coro_queue_try_get(&three, item)
                        : coro_queue_try_get(&stack, item);
}

static int peek(enum kind k, int *item)
{
    return k == NONE  ? coro_queue_peek(&none, item)
           : k == ONE ? coro_queue_peek(&one, item)
           : k == THREE ? coro_queue_peek(&three, item)
                        : coro_queue_peek(&stack, item);
}

static int replace(enum kind k, int item, int *old)
{
    return k == NONE  ? coro_queue_replace(&none, &item, old)
           : k == ONE ? coro_queue_replace(&one, &item, old)
           : k == THREE ? coro_queue_replace(&three, &item, old)
                        : coro_queue_replace(&stack, &item, old);
}

static void close_queue(enum kind k)
{
    if (k == NONE)
        coro_queue_close(&none);
    else if (k == ONE)
        coro_queue_close(&one);
    else if (k == THREE)
        coro_queue_close(&three);
    else
        coro_queue_close(&stack);
}

static int done(enum kind k)
{
    return k == NONE ? coro_queue_done(&none) : k == ONE ? coro_queue_done(&one)
           : k == THREE ? coro_queue_done(&three) : coro_queue_done(&stack);
}

static int fini(enum kind k)
{
    return k == NONE ? coro_queue_fini(&none) : k == ONE ? coro_queue_fini(&one)
           : k == THREE ? coro_queue_fini(&three) : coro_queue_fini(&stack);
}

/* What comes next, without waiting; -1: nothing yet, -2: nothing any more. */
static int next(enum kind k)
{
    int item = -3, rc = try_get(k, &item);
    CHECK(rc == 1 ? item >= 0 : item == -3 && (rc == 0 || rc == -EAGAIN));
    return rc == 1 ? item : rc == -EAGAIN ? -1 : -2;
}

/* What has happened, in words: "a A b!". */
static char trace[1024];

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

/* Puts an item. "a" comes, "A" has put it, "a!" has not: the result says why. "a." was cancelled
 * when it had done so, and sees that at its next await. */
struct putter {
    CORO_FRAME;
    enum kind kind;
    char name;
    int item;
    coro_time patience; /* 0: any; less: none */
    bool quiet;
    int rc;
};

CORO(putter)
{
    CORO_BEGIN();
    if (!my->quiet)
        say("%c", my->name, 0);
    CORO_AWAIT(my->rc, coro_within(co, my->patience ? my->patience : CORO_FOREVER,
                                   put(co, my->kind, &my->item)));
    if (my->quiet)
        CORO_LEAVE();
    say(my->rc < 0 ? "%c!" : "%c", my->rc < 0 ? my->name : toupper(my->name), 0);
    if (my->rc >= 0 && coro_cancelled(co))
        say("%c.", my->name, 0);
    CORO_END(my->rc);
}

/* Gets an item. "x" comes, "X5" has got 5, "x0" the end, "x!" an error; "x." as above. */
struct getter {
    CORO_FRAME;
    enum kind kind;
    char name;
    coro_time patience;
    bool quiet;
    int item, rc;
};

static bool by_many; /* getters call get_many, for one */

static coro_op get_this_way(coro_task *co, enum kind k, int *item)
{
    return by_many ? get_many(co, k, item, 1) : get(co, k, item);
}

CORO(getter)
{
    CORO_BEGIN();
    my->item = -1;
    if (!my->quiet)
        say("%c", my->name, 0);
    CORO_AWAIT(my->rc, coro_within(co, my->patience ? my->patience : CORO_FOREVER,
                                   get_this_way(co, my->kind, &my->item)));
    if (my->quiet)
        CORO_LEAVE();
    if (my->rc == 1)
        say("%c%d", toupper(my->name), my->item);
    else
        say(my->rc ? "%c!" : "%c0", my->name, 0);
    if (my->rc >= 0 && coro_cancelled(co))
        say("%c.", my->name, 0);
    CORO_END(my->rc);
}

/* BLOCK -- a main coroutine, with what most of them need. */
#define BLOCK(name)                                                                     \
    struct name {                                                                       \
        CORO_FRAME;                                                                     \
        enum kind kind;                                                                 \
        coro_group g;                                                                   \
        coro_scope scope;                                                               \
        int rc, i, item, items[8];                                                      \
        CORO_TASK(putter) p[6];                                                         \
        CORO_TASK(getter) x[6];                                                         \
    };                                                                                  \
    CORO(name)

#define PUTTER(i, ...) CHECK_EQ(coro_start(&my->g, &my->p[i], putter, .kind = my->kind, \
                                           __VA_ARGS__), 0)
#define GETTER(i, ...) CHECK_EQ(coro_start(&my->g, &my->x[i], getter, .kind = my->kind, \
                                           __VA_ARGS__), 0)
/* Putters a, b, c ... of the items 0, 1, 2 ...; getters x, y, z. */
#define PUTTERS(n)                                                                      \
    for (my->i = 0; my->i < (n); my->i++)                                               \
        PUTTER(my->i, .name = (char)('a' + my->i), .item = my->i)
#define GETTERS(n)                                                                      \
    for (my->i = 0; my->i < (n); my->i++)                                               \
        GETTER(my->i, .name = (char)('x' + my->i))

#define TURN() CORO_TRY(coro_sleep(co, 1)) /* all others go on until they wait */
#define RUN(name, k) CHECK_EQ(coro_run_with(&fast, name, .kind = k), 0)

/* Somebody whose task ended like this. */
#define CHECK_ENDED(task, want_status, want_result)                                     \
    (CHECK_EQ(coro_task_status(task), want_status), CHECK_EQ(coro_task_result(task), want_result))

/* ---- a rendezvous ---------------------------------------------------------------------------- */

BLOCK(rendezvous)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(coro_queue_capacity(&none), 0);
    CHECK_EQ(try_put(NONE, 7), -EAGAIN);
    CHECK_EQ(none.head.rejected, 1);
    CHECK_EQ(next(NONE), -1);
    CHECK_EQ(replace(NONE, 7, &my->item), -EAGAIN);
    PUTTERS(2);
    TURN();
    CHECK_TRACE("a b");
    CHECK_EQ(none.head.putters.waiting, 2);
    CHECK_EQ(none.head.unfinished, 0); /* nothing has been put yet */
    CHECK_EQ(peek(NONE, &my->item), -EAGAIN); /* nor is anything in it */
    CHECK_EQ(try_put(NONE, 7), -EAGAIN);
    CHECK_EQ(next(NONE), 0);
    CHECK_EQ(none.head.unfinished, 1);
    CORO_TRY(my->rc, coro_queue_get(co, &none, &my->item));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->item, 1);
    TURN();
    CHECK_TRACE("A B");
    GETTERS(3);
    TURN();
    CHECK_EQ(next(NONE), -1);
    CHECK_EQ(try_put(NONE, 7), 0);
    CHECK_EQ(replace(NONE, 8, &my->item), 0);
    my->item = 9;
    CORO_TRY(my->rc, coro_queue_put(co, &none, &my->item));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(try_put(NONE, 7), -EAGAIN); /* all three have their item already */
    TURN();
    CHECK_TRACE("x y z X7 Y8 Z9");
    CHECK_EQ(none.head.unfinished, 5);
    CHECK_EQ(none.head.rejected, 3);
    CHECK_EQ(none.head.most, 0);
    CHECK_EQ(coro_queue_depth(&none), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(fini(NONE), 0);
    CORO_END(0);
}

/* S45 */
TEST(a_queue_without_room_passes_items_from_hand_to_hand)
{
    RUN(rendezvous, NONE);
}

/* ---- order ----------------------------------------------------------------------------------- */

BLOCK(drained_in_order)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    PUTTERS(6);
    TURN();
    CHECK_EQ(head_of(my->kind)->putters.waiting, 6 - room_of[my->kind]);
    for (my->i = 0; my->i < 6; my->i++) {
        if (my->i % 2) { /* an await, or not */
            CORO_TRY(my->rc, get(co, my->kind, &my->item));
        } else {
            my->item = next(my->kind);
        }
        CHECK_EQ(my->item, my->i);
    }
    CHECK_EQ(next(my->kind), -1);
    CORO_CLOSE(&my->g);
    CHECK_EQ(head_of(my->kind)->unfinished, 6);
    CHECK_EQ(head_of(my->kind)->most, room_of[my->kind]);
    CHECK_EQ(fini(my->kind), 0);
    CORO_END(0);
}

/* S46 */
TEST(items_come_out_in_the_order_in_which_they_were_put_or_wanted_to_be)
{
    RUN(drained_in_order, NONE);
    RUN(drained_in_order, ONE);
    RUN(drained_in_order, THREE);
}

/* Puts 0 ... n - 1, and closes. */
struct stream {
    CORO_FRAME;
    enum kind kind;
    int n, pause; /* every so many items it sleeps */
    int i;
};

CORO(stream)
{
    CORO_BEGIN();
    for (; my->i < my->n; my->i++) {
        CORO_TRY(put(co, my->kind, &my->i));
        if (my->i % my->pause == 0)
            CORO_TRY(coro_sleep(co, CORO_US(1)));
    }
CORO_FINALLY:
    close_queue(my->kind);
    CORO_END(my->i);
}

BLOCK(streamed)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, stream, .kind = my->kind, .n = 500, .pause = my->kind == ONE ? 3 : 7);
    for (my->i = 0;; my->i++) {
        CORO_TRY(my->rc, get(co, my->kind, &my->item));
        if (!my->rc)
            break;
        CHECK_EQ(my->item, my->i);
        if (my->i % 5 == 0)
            CORO_TRY(coro_sleep(co, CORO_US(2)));
    }
    CHECK_EQ(my->i, 500);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S46: round the ring many times, sometimes full, sometimes empty. */
TEST(a_stream_arrives_complete_and_in_order)
{
    RUN(streamed, NONE);
    RUN(streamed, ONE);
    RUN(streamed, THREE);
}

BLOCK(newest_first)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(coro_queue_capacity(&stack), 3);
    PUTTERS(5);
    TURN();
    CHECK_TRACE("a A b B c C d e");
    CHECK_EQ(peek(STACK, &my->item), 1);
    CHECK_EQ(my->item, 2);
    CHECK_EQ(next(STACK), 2); /* and d's 3 fills the place */
    CORO_TRY(my->rc, coro_queue_get(co, &stack, &my->item));
    CHECK_EQ(my->item, 3); /* and e's 4 */
    CHECK_EQ(replace(STACK, 5, &my->item), 1);
    CHECK_EQ(my->item, 4); /* the one that would have come next */
    CHECK_EQ(next(STACK), 5);
    CHECK_EQ(next(STACK), 1);
    CHECK_EQ(next(STACK), 0);
    CHECK_EQ(next(STACK), -1);
    CHECK_EQ(peek(STACK, &my->item), -EAGAIN);
    GETTERS(1);
    TURN();
    my->item = 6;
    CORO_TRY(coro_queue_put(co, &stack, &my->item));
    CORO_CLOSE(&my->g);
    CHECK_TRACE("D E x X6");
    CORO_END(0);
}

/* S46, for a LIFO */
TEST(a_lifo_gives_the_newest_first)
{
    RUN(newest_first, STACK);
}

/* ---- fairness -------------------------------------------------------------------------------- */

BLOCK(oldest_served)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    GETTERS(3);
    TURN();
    CHECK_EQ(try_put(my->kind, 5), 0);
    CHECK_EQ(next(my->kind), -1); /* x has it already */
    CHECK_EQ(try_put(my->kind, 6), 0);
    GETTER(3, .name = 'v');
    TURN();
    CHECK_TRACE("x y z X5 Y6 v");
    for (my->i = 0; my->i < 2; my->i++)
        CHECK_EQ(try_put(my->kind, 7 + my->i), 0);
    TURN();
    CHECK_TRACE("Z7 V8");
    PUTTERS(5);
    TURN();
    trace[0] = 0;
    my->rc = (int)room_of[my->kind]; /* the first who waits has this number */
    CHECK_EQ(next(my->kind), 0);
    CHECK_EQ(try_put(my->kind, 9), -EAGAIN); /* its item is in already */
    PUTTER(5, .name = 'z', .item = 5);
    TURN();
    for (my->i = 1; my->i < 6; my->i++)
        CHECK_EQ(next(my->kind), my->i);
    CORO_CLOSE(&my->g);
    CHECK_STR(trace, my->rc == 1 ? "B z C D E Z" : "D z E Z");
    CORO_END(0);
}

/* S47 */
TEST(the_oldest_getter_has_the_item_and_the_oldest_putter_the_room)
{
    RUN(oldest_served, ONE);
    trace[0] = 0;
    RUN(oldest_served, THREE);
}

BLOCK(many_are_woken)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    PUTTERS(6);
    TURN();
    trace[0] = 0;
    CHECK_EQ(next(THREE), 0);
    CHECK_EQ(next(THREE), 1);
    CHECK_EQ(next(THREE), 2);
    CHECK_EQ(three.head.putters.waiting, 0);
    CHECK_EQ(coro_queue_depth(&three), 3);
    TURN();
    CHECK_TRACE("D E F");
    while (next(THREE) >= 0)
        continue;
    GETTERS(3);
    TURN();
    for (my->i = 0; my->i < 3; my->i++)
        CORO_TRY(coro_queue_put(co, &three, &my->i));
    CHECK_EQ(three.head.getters.waiting, 0);
    CHECK_EQ(coro_queue_depth(&three), 0);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("x y z X0 Y1 Z2");
    CORO_END(0);
}

/* S50 */
TEST(taking_three_items_at_once_wakes_three_putters_and_putting_three_wakes_three_getters)
{
    RUN(many_are_woken, THREE);
}

/* ---- cancellation ---------------------------------------------------------------------------- */

BLOCK(getters_leave)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    GETTER(0, .name = 'x');
    GETTER(1, .name = 'y', .patience = CORO_MS(1));
    GETTER(2, .name = 'z');
    GETTER(3, .name = 'v');
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_task_cancel(&my->x[0]), 1); /* before the item comes */
    CHECK_EQ(head_of(my->kind)->getters.waiting, 2);
    CHECK_EQ(try_put(my->kind, 4), 0);
    CHECK_EQ(coro_task_cancel(&my->x[2]), 1); /* after */
    CHECK_EQ(try_put(my->kind, 5), 0);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("x y z v y! x! Z4 z. V5");
    CHECK_ENDED(&my->x[0], CORO_CANCELLED, -ECANCELED);
    CHECK_ENDED(&my->x[1], CORO_FAILED, -ETIMEDOUT);
    CHECK_ENDED(&my->x[2], CORO_OK, 1);
    CHECK_EQ(my->x[0].frame.item, -1);
    CHECK_EQ(my->x[1].frame.item, -1);
    CHECK_EQ(next(my->kind), -1);
    CHECK_EQ(head_of(my->kind)->unfinished, 2);
    CORO_END(0);
}

/* S48 */
TEST(no_item_is_lost_with_a_getter_that_leaves)
{
    for (int k = 0; k < KINDS; k++) {
        trace[0] = 0;
        RUN(getters_leave, (enum kind)k);
    }
}

BLOCK(putters_leave)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < (int)room_of[my->kind]; my->i++)
        CHECK_EQ(try_put(my->kind, 9), 0);
    PUTTER(0, .name = 'a', .item = 0);
    PUTTER(1, .name = 'b', .item = 1, .patience = CORO_MS(1));
    PUTTER(2, .name = 'c', .item = 2);
    PUTTER(3, .name = 'd', .item = 3);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    CHECK_EQ(coro_task_cancel(&my->p[0]), 1); /* before there is room */
    CHECK_EQ(head_of(my->kind)->putters.waiting, 2);
    CHECK_EQ(next(my->kind), my->kind == NONE ? 2 : 9);
    CHECK_EQ(coro_task_cancel(&my->p[2]), 1); /* after */
    CHECK_EQ(next(my->kind), my->kind == NONE ? 3 : my->kind == THREE ? 9 : 2);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("a b c d b! a! C c. D");
    CHECK_ENDED(&my->p[0], CORO_CANCELLED, -ECANCELED);
    CHECK_ENDED(&my->p[1], CORO_FAILED, -ETIMEDOUT);
    CHECK_ENDED(&my->p[2], CORO_OK, 0);
    CHECK_EQ(head_of(my->kind)->unfinished, room_of[my->kind] + 2);
    CHECK_EQ(coro_queue_depth(&none), 0);
    CORO_END(0);
}

/* S49 */
TEST(the_item_of_a_putter_that_leaves_is_not_put_and_its_room_goes_to_the_next)
{
    for (int k = 0; k < KINDS; k++) {
        trace[0] = 0;
        RUN(putters_leave, (enum kind)k);
    }
}

BLOCK(tries_when_cancelled)
{
    CORO_BEGIN();
    my->item = 4;
    if (my->kind != NONE)
        CHECK_EQ(try_put(my->kind, 3), 0);
    coro_scope_open(co, &my->scope);
    (void)coro_scope_cancel(&my->scope);
    CORO_AWAIT(my->rc, put(co, my->kind, &my->item));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, get(co, my->kind, &my->item));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, get_many(co, my->kind, my->items, 1));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, get_many(co, my->kind, my->items, 0));
    CHECK_EQ(my->rc, -ECANCELED);
    CORO_AWAIT(my->rc, coro_queue_join(co, &one));
    CHECK_EQ(my->rc, -ECANCELED);
    CHECK_EQ(coro_scope_close(co, &my->scope, 0), 0);
    CHECK_EQ(my->item, 4);
    CHECK_EQ(next(my->kind), my->kind == NONE ? -1 : 3);
    CHECK_EQ(next(my->kind), -1);
    CHECK_EQ(head_of(my->kind)->putters.most, 0);
    CORO_END(0);
}

/* S05, C03 */
TEST(a_cancelled_task_puts_and_takes_nothing_though_it_could)
{
    for (int k = 0; k < KINDS; k++)
        RUN(tries_when_cancelled, (enum kind)k);
}

BLOCK(no_patience)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i <= (int)room_of[my->kind]; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, 0, put(co, my->kind, &my->i)));
        CHECK_EQ(my->rc, my->i < (int)room_of[my->kind] ? 0 : -ETIMEDOUT);
    }
    CHECK_EQ(head_of(my->kind)->putters.waiting, 0);
    for (my->i = 0; my->i <= (int)room_of[my->kind]; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, -1, get(co, my->kind, &my->item)));
        CHECK_EQ(my->rc, my->i < (int)room_of[my->kind] ? 1 : -ETIMEDOUT);
    }
    PUTTERS(1); /* one that waits is as good as room, or an item */
    TURN();
    CORO_TRY(my->rc, coro_within(co, 0, get(co, my->kind, &my->item)));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->item, 0);
    GETTERS(1);
    TURN();
    CORO_TRY(my->rc, coro_within(co, 0, put(co, my->kind, &my->i)));
    CHECK_EQ(my->rc, 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(head_of(my->kind)->getters.waiting, 0);
    CORO_END(0);
}

/* S65, D11 */
TEST(a_deadline_that_is_over_tries_once)
{
    for (int k = 0; k < KINDS; k++)
        RUN(no_patience, (enum kind)k);
}

/* ---- the end --------------------------------------------------------------------------------- */

BLOCK(closed_with_items)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    PUTTERS(5);
    TURN();
    close_queue(my->kind);
    CHECK(head_of(my->kind)->closed);
    TURN();
    if (my->kind == NONE)
        CHECK_TRACE("a b c d e a! b! c! d! e!");
    else
        CHECK_TRACE(my->kind == ONE ? "a A b c d e b! c! d! e!" : "a A b B c C d e d! e!");
    CHECK_EQ(my->p[4].frame.rc, -EPIPE);
    CHECK_EQ(try_put(my->kind, 9), -EPIPE);
    CHECK_EQ(replace(my->kind, 9, &my->item), -EPIPE);
    CORO_AWAIT(my->rc, put(co, my->kind, &my->i));
    CHECK_EQ(my->rc, -EPIPE);
    close_queue(my->kind); /* S56 */
    for (my->i = 0; my->i < (int)room_of[my->kind]; my->i++) {
        CHECK_EQ(peek(my->kind, &my->item), 1);
        CORO_TRY(my->rc, get(co, my->kind, &my->item));
        CHECK_EQ(my->rc, 1);
        CHECK_EQ(my->item, my->kind == STACK ? 2 - my->i : my->i);
    }
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->rc, get(co, my->kind, &my->item));
        CHECK_EQ(my->rc, 0);
    }
    CORO_TRY(my->rc, get_many(co, my->kind, my->items, 3));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(next(my->kind), -2);
    CHECK_EQ(peek(my->kind, &my->item), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(head_of(my->kind)->rejected, 0);
    CHECK_EQ(head_of(my->kind)->unfinished, room_of[my->kind]);
    CORO_END(0);
}

/* S51, S53, S54, S56, S57 */
TEST(a_closed_queue_gives_what_is_in_it_then_the_end_and_takes_nothing)
{
    for (int k = 0; k < KINDS; k++) {
        trace[0] = 0;
        RUN(closed_with_items, (enum kind)k);
    }
}

BLOCK(closed_on_getters)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    GETTERS(2);
    TURN();
    CHECK_EQ(fini(my->kind), -EBUSY);
    CHECK_EQ(try_put(my->kind, 5), 0);
    close_queue(my->kind);
    CORO_CLOSE(&my->g);
    CHECK_TRACE("x y X5 y0");
    CHECK_ENDED(&my->x[1], CORO_OK, 0);
    CHECK_EQ(fini(my->kind), 0);
    CORO_END(0);
}

/* S51, S61 */
TEST(getters_of_a_queue_that_is_closed_have_the_end)
{
    for (int k = 0; k < KINDS; k++) {
        trace[0] = 0;
        RUN(closed_on_getters, (enum kind)k);
    }
}

BLOCK(in_use)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(fini(my->kind), 0); /* S07: zeroed, it is valid */
    PUTTERS((int)room_of[my->kind] + 1);
    TURN();
    CHECK_EQ(fini(my->kind), -EBUSY);
    CHECK_EQ(head_of(my->kind)->putters.waiting, 1);
    CHECK_EQ(next(my->kind) >= 0, 1);
    CHECK_EQ(fini(my->kind), 0);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S08 */
TEST(a_queue_for_which_somebody_waits_is_in_use)
{
    for (int k = 0; k < KINDS; k++)
        RUN(in_use, (enum kind)k);
}

/* ---- done and join --------------------------------------------------------------------------- */

struct worker {
    CORO_FRAME;
    int item, got;
};

/* Each item but 0 makes a smaller one. */
CORO(worker)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, &three, &my->item));
        if (!my->got)
            break;
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        if (my->item-- > 0)
            CHECK_EQ(try_put(THREE, my->item), 0);
        CHECK_EQ(done(THREE), 0);
    }
    CORO_END(0);
}

BLOCK(joined)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_queue_join(co, &three));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(done(THREE), -EINVAL);
    coro_group_open(co, &my->g, CORO_COLLECT);
    coro_spawn(&my->g, worker);
    CHECK_EQ(try_put(THREE, 2), 0);
    CHECK_EQ(try_put(THREE, 1), 0);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(1), coro_queue_join(co, &three)));
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CORO_TRY(my->rc, coro_queue_join(co, &three));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_now(co), CORO_MS(5)); /* 2, 1 and their 1, 0, 0 */
    CHECK_EQ(three.head.unfinished, 0);
    CHECK_EQ(done(THREE), -EINVAL);
    coro_queue_close(&three);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S60 */
TEST(join_waits_for_all_items_also_for_those_put_meanwhile)
{
    RUN(joined, THREE);
}

BLOCK(joined_when_closed)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CHECK_EQ(try_put(THREE, 0), 0);
    coro_queue_close(&three);
    coro_spawn(&my->g, worker);
    CORO_TRY(coro_queue_join(co, &three));
    CHECK_EQ(coro_now(co), CORO_MS(1));
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S61 */
TEST(join_waits_for_what_was_in_a_queue_that_is_closed)
{
    RUN(joined_when_closed, THREE);
}

/* ---- many at once ---------------------------------------------------------------------------- */

BLOCK(taken_together)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    CORO_TRY(my->rc, get_many(co, my->kind, my->items, 0));
    CHECK_EQ(my->rc, 0);
    PUTTERS(6);
    TURN();
    trace[0] = 0;
    CORO_TRY(my->rc, get_many(co, my->kind, my->items, 2));
    CHECK_EQ(my->rc, 2);
    CHECK_EQ(my->items[0], 0);
    CHECK_EQ(my->items[1], 1);
    CHECK_EQ(head_of(my->kind)->putters.waiting, 4 - room_of[my->kind]);
    CORO_TRY(my->rc, get_many(co, my->kind, my->items, 8));
    CHECK_EQ(my->rc, 4); /* what was in it, and what wanted to be */
    for (my->i = 0; my->i < 4; my->i++)
        CHECK_EQ(my->items[my->i], 2 + my->i);
    TURN();
    PUTTER(0, .name = 'a', .item = 7);
    PUTTER(1, .name = 'b', .item = 8);
    CORO_TRY(my->rc, get_many(co, my->kind, my->items, 8));
    CHECK_EQ(my->rc, 1); /* it waited for the first only */
    CHECK_EQ(my->items[0], 7);
    CORO_AWAIT(my->rc, get_many(co, my->kind, my->items, 1));
    CHECK_EQ(my->rc, 1);
    CHECK_EQ(my->items[0], 8);
    CORO_CLOSE(&my->g);
    CHECK_EQ(head_of(my->kind)->unfinished, 8);
    CORO_END(0);
}

/* S59, S50 */
TEST(many_items_are_taken_at_once_and_only_the_first_is_waited_for)
{
    RUN(taken_together, NONE);
    RUN(taken_together, ONE);
    RUN(taken_together, THREE);
}

/* ---- replace --------------------------------------------------------------------------------- */

BLOCK(replaced)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < (int)room_of[my->kind]; my->i++)
        CHECK_EQ(replace(my->kind, my->i, &my->item), 0);
    CHECK_EQ(my->item, 0); /* not touched */
    CHECK_EQ(replace(my->kind, 8, &my->item), 1);
    CHECK_EQ(my->item, my->kind == STACK ? 2 : 0);
    CHECK_EQ(head_of(my->kind)->unfinished, room_of[my->kind]); /* what went is not to be done */
    CHECK_EQ(head_of(my->kind)->depth, room_of[my->kind]);
    CHECK_EQ(head_of(my->kind)->rejected, 0);
    CHECK_EQ(next(my->kind), my->kind == THREE ? 1 : 8);
    CORO_END(0);
}

/* S63 */
TEST(replace_never_waits_and_tells_what_had_to_go)
{
    RUN(replaced, ONE);
    RUN(replaced, THREE);
    RUN(replaced, STACK);
}

BLOCK(replaced_before_putters)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    PUTTERS((int)room_of[my->kind] + 1);
    TURN();
    my->rc = my->kind == STACK ? (int)room_of[my->kind] - 1 : 0;
    CHECK_EQ(replace(my->kind, 8, &my->item), 1);
    CHECK_EQ(my->item, my->rc);
    CHECK_EQ(head_of(my->kind)->depth, room_of[my->kind]);
    CHECK_EQ(head_of(my->kind)->unfinished, room_of[my->kind]);
    CHECK_EQ(head_of(my->kind)->putters.waiting, 1); /* there is still no room for it */
    my->rc = 0;
    while ((my->i = next(my->kind)) >= 0)
        my->rc = 10 * my->rc + my->i;
    CHECK_EQ(my->rc, my->kind == ONE ? 81 : my->kind == THREE ? 1283 : 8310);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S63: the item that is given is put, and the one that goes is told, also when others wait. */
TEST(replace_in_a_queue_with_waiting_putters_leaves_them_waiting)
{
    RUN(replaced_before_putters, ONE);
    RUN(replaced_before_putters, THREE);
    RUN(replaced_before_putters, STACK);
}

/* ---- counters -------------------------------------------------------------------------------- */

TEST(a_queue_counts_what_is_in_it_at_most_and_what_it_turned_away)
{
    CHECK_EQ(coro_queue_capacity(&three), 3);
    CHECK_EQ(try_put(THREE, 0), 0);
    CHECK_EQ(try_put(THREE, 1), 0);
    CHECK_EQ(next(THREE), 0);
    CHECK_EQ(coro_queue_depth(&three), 1);
    CHECK_EQ(three.head.most, 2);
    CHECK_EQ(three.head.rejected, 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(try_put(THREE, i), i < 2 ? 0 : -EAGAIN);
    CHECK_EQ(three.head.most, 3);
    CHECK_EQ(three.head.rejected, 3);
    CHECK_EQ(three.head.unfinished, 4);
    CHECK_EQ(fini(THREE), 0); /* items are no use */
}

BLOCK(measured)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    GETTERS(2);
    CORO_TRY(coro_sleep(co, CORO_MS(3)));
    CHECK_EQ(try_put(my->kind, 0), 0);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    CHECK_EQ(try_put(my->kind, 1), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(head_of(my->kind)->getters.waiting, 0);
    CHECK_EQ(head_of(my->kind)->getters.most, 2);
#if CORO_LINE_TIMES
    CHECK_EQ(head_of(my->kind)->getters.longest, CORO_MS(4)); /* the second one's */
#endif /* CORO_LINE_TIMES */
    CORO_END(0);
}

/* S10 */
TEST(a_queue_knows_how_many_waited_and_how_long)
{
    RUN(measured, ONE);
}

/* ---- two loops in one thread ----------------------------------------------------------------- */

static coro_loop loops[2];

/* Here one waits, there another comes: step both. */
#define IN_TWO_LOOPS(here, here_fn, there, there_fn, ...)                               \
    CHECK_EQ(coro_loop_init(&loops[0], &fast), 0);                                      \
    CHECK_EQ(coro_loop_init(&loops[1], &fast), 0);                                      \
    CHECK_EQ(coro_start(&loops[0].root, here, here_fn, __VA_ARGS__), 0);                \
    CHECK_EQ(coro_loop_step(&loops[0]), 1);                                             \
    CHECK_EQ(coro_start(&loops[1].root, there, there_fn, __VA_ARGS__), 0);              \
    CHECK_EQ(coro_loop_run(&loops[1]), 0);                                              \
    CHECK_EQ((there)->frame.rc, -EPERM)

static void end_both(void)
{
    CHECK_EQ(coro_loop_run(&loops[0]), 0);
    CHECK_EQ(coro_loop_fini(&loops[0]), 0);
    CHECK_EQ(coro_loop_fini(&loops[1]), 0);
}

/* S09 */
TEST(a_queue_at_which_a_task_of_another_loop_waits_is_not_waited_at)
{
    static CORO_TASK(getter) x, y;
    static CORO_TASK(putter) a, b;
    IN_TWO_LOOPS(&x, getter, &y, getter, .kind = ONE, .quiet = true);
    CHECK_EQ(try_put(ONE, 5), 0);
    end_both();
    CHECK_EQ(x.frame.item, 5);
    IN_TWO_LOOPS(&a, putter, &b, putter, .kind = NONE, .quiet = true);
    CHECK_EQ(next(NONE), 0);
    end_both();
    CHECK_EQ(a.frame.rc, 0);
}

/* S09: to complete it would be a data race, if the loops ran in two threads. */
TEST(an_item_is_not_passed_to_a_task_of_another_loop)
{
    static CORO_TASK(getter) x;
    static CORO_TASK(putter) a;
    IN_TWO_LOOPS(&x, getter, &a, putter, .kind = THREE, .quiet = true);
    CHECK_EQ(three.head.getters.waiting, 1);
    coro_queue_close(&three);
    end_both();
    CHECK_EQ(x.frame.rc, 0);
}

/* S09 */
TEST(an_item_is_not_taken_from_a_task_of_another_loop)
{
    for (int i = 0; i < 2; i++) {
        static CORO_TASK(getter) x;
        static CORO_TASK(putter) a;
        make_all_new();
        by_many = i;
        IN_TWO_LOOPS(&a, putter, &x, getter, .kind = NONE, .quiet = true);
        CHECK_EQ(none.head.putters.waiting, 1);
        coro_queue_close(&none);
        end_both();
        CHECK_EQ(a.frame.rc, -EPIPE);
    }
}

/* ---- items of several sizes ------------------------------------------------------------------ */

#define ITEM_OF(n)                                                                      \
    struct item##n {                                                                    \
        unsigned char bytes[n];                                                         \
    };                                                                                  \
    static CORO_QUEUE(struct item##n, 2) queue##n;

ITEM_OF(1)
ITEM_OF(4)
ITEM_OF(8)
ITEM_OF(16)
ITEM_OF(100)

static const size_t sizes[] = {1, 4, 8, 16, 100};

#define SIZED(operation, at)                                                            \
    (size == 1    ? operation(co, &queue1, (struct item1 *)(at))                        \
     : size == 4  ? operation(co, &queue4, (struct item4 *)(at))                        \
     : size == 8  ? operation(co, &queue8, (struct item8 *)(at))                        \
     : size == 16 ? operation(co, &queue16, (struct item16 *)(at))                      \
                  : operation(co, &queue100, (struct item100 *)(at)))

static coro_op put_sized(coro_task *co, size_t size, void *item)
{
    return SIZED(coro_queue_put, item);
}

static coro_op get_sized(coro_task *co, size_t size, void *item)
{
    return SIZED(coro_queue_get, item);
}

static void fill(unsigned char *item, size_t size, int seed)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(seed * 31 + (int)i * 7 + 1);
}

/* The item is there, and what is behind it is as it was. */
static void check_filled(const unsigned char *item, size_t size, int seed)
{
    unsigned char want[101];
    fill(want, size, seed);
    CHECK_EQ(memcmp(item, want, size), 0);
    CHECK_EQ(item[size], 0xee);
}

TEST(a_queue_goes_round_in_its_own_slots)
{
    static struct {
        CORO_QUEUE(int, 3) q;
        int behind;
    } it;
    int item = 7;
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(coro_queue_try_put(&it.q, &item), 0);
        if (i > 1)
            CHECK_EQ(coro_queue_try_get(&it.q, &item), 1);
        CHECK(it.q.head.first < 3);
    }
    CHECK_EQ(it.behind, 0);
}

struct carrier {
    CORO_FRAME;
    int s, i, got;
    unsigned char item[101];
};

CORO(carrier)
{
    CORO_BEGIN();
    for (my->s = 0; my->s < 5; my->s++) {
        for (my->i = 0; my->i < 5; my->i++) {
            fill(my->item, sizes[my->s], my->i);
            CORO_TRY(put_sized(co, sizes[my->s], my->item));
        }
    }
    CORO_END(0);
}

struct carried {
    CORO_FRAME;
    coro_group g;
    struct carrier carrier;
    int s, i, got;
    unsigned char item[101];
};

CORO(carried)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, carrier);
    for (my->s = 0; my->s < 5; my->s++) {
        for (my->i = 0; my->i < 5; my->i++) {
            memset(my->item, 0xee, sizeof my->item);
            CORO_TRY(my->got, get_sized(co, sizes[my->s], my->item));
            CHECK_EQ(my->got, 1);
            check_filled(my->item, sizes[my->s], my->i);
            if (my->i == 1) /* from now on the carrier is ahead: full, and waiting */
                CORO_TRY(coro_sleep(co, CORO_MS(1)));
        }
    }
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S64: that they have the same size is checked by the compiler. */
TEST(items_of_1_4_8_16_and_100_bytes_arrive_whole)
{
    CHECK_EQ(coro_run_with(&fast, carried), 0);
}

/* ---- addresses of local variables ------------------------------------------------------------ */

#if CORO_STACK_CHECK && !LOCALS_ON_HEAP
struct local_item {
    CORO_FRAME;
    enum kind kind;
    int what, rc;
};

CORO(local_item)
{
    int item = 0;
    int *volatile hidden = &item; /* from the compiler, which would warn */
    CORO_BEGIN();
    if (my->what == 0)
        CORO_TRY(put(co, my->kind, hidden));
    if (my->what == 1)
        CORO_TRY(my->rc, get(co, my->kind, hidden));
    if (my->what == 2)
        CORO_TRY(my->rc, get_many(co, my->kind, hidden, 1));
    CORO_END(0);
}

/* What there is could be taken, and there is room: it must not depend on that. */
static void run_local_item(void *arg)
{
    int what = *(int *)arg;
    (void)try_put(THREE, 5);
    (void)coro_run_with(&fast, local_item, .kind = what < 3 ? THREE : STACK, .what = what % 3);
}

TEST(a_local_variable_as_an_item_traps_at_once)
{
    for (int what = 0; what < 6; what++)
        CHECK_TRAP(run_local_item, &what, "the address of a local variable");
}
#endif /* CORO_STACK_CHECK && !LOCALS_ON_HEAP */

/* ---- priorities ------------------------------------------------------------------------------ */

/* Each value twice: tag 0 before tag 1. Once with the member in front, once behind others. */
#define PRIORITY_TEST(sentence, type, ...)                                              \
    struct sentence##_first { type p; int tag; };                                       \
    struct sentence##_behind { char pad[3]; type p; int tag; };                         \
    TEST(sentence)                                                                      \
    {                                                                                   \
        static const type sorted[5] = {__VA_ARGS__};                                    \
        PRIORITY_CHECK(struct sentence##_first);                                        \
        PRIORITY_CHECK(struct sentence##_behind);                                       \
    }

#define PRIORITY_CHECK(item_type)                                                       \
    do {                                                                                \
        static CORO_PRIORITY_QUEUE(item_type, 10, p) q;                                 \
        item_type item;                                                                 \
        PRIORITY_PUT(item);                                                             \
        PRIORITY_GET(item);                                                             \
    } while (0)

#define PRIORITY_PUT(item)                                                              \
    memset(&item, 0, sizeof item);                                                      \
    for (int i = 0; i < 10; i++) {                                                      \
        item.p = sorted[(i * 3 + 1) % 5];                                               \
        item.tag = i / 5;                                                               \
        CHECK_EQ(coro_queue_try_put(&q, &item), 0);                                     \
    }                                                                                   \
    CHECK_EQ(coro_queue_try_put(&q, &item), -EAGAIN)

#define PRIORITY_GET(got)                                                               \
    for (int i = 0; i < 10; i++) {                                                      \
        CHECK_EQ(coro_queue_peek(&q, &got), 1);                                         \
        CHECK(got.p == sorted[i / 2] && got.tag == i % 2);                              \
        memset(&got, 0, sizeof got);                                                    \
        CHECK_EQ(coro_queue_try_get(&q, &got), 1);                                      \
        CHECK(got.p == sorted[i / 2] && got.tag == i % 2);                              \
    }                                                                                   \
    CHECK_EQ(coro_queue_try_get(&q, &got), -EAGAIN)

enum urgency { NOW, SOON, TODAY, SOMETIME, NEVER };

/* S66: for each integer type. */
PRIORITY_TEST(priorities_of_8_bits_with_a_sign, int8_t, INT8_MIN, -1, 0, 1, INT8_MAX)
PRIORITY_TEST(priorities_of_8_bits_without_a_sign, uint8_t, 0, 1, 127, 128, 255)
PRIORITY_TEST(priorities_of_16_bits_with_a_sign, int16_t, INT16_MIN, -256, -1, 255, INT16_MAX)
PRIORITY_TEST(priorities_of_16_bits_without_a_sign, uint16_t, 0, 255, 256, 32768, UINT16_MAX)
PRIORITY_TEST(priorities_of_32_bits_with_a_sign, int32_t, INT32_MIN, -65536, -1, 65535, INT32_MAX)
PRIORITY_TEST(priorities_of_32_bits_without_a_sign, uint32_t, 0, 1, 65536, 0x80000000u, UINT32_MAX)
PRIORITY_TEST(priorities_of_64_bits_with_a_sign, int64_t, INT64_MIN, -4294967296, 0, 4294967296,
              INT64_MAX)
PRIORITY_TEST(priorities_of_64_bits_without_a_sign, uint64_t, 0, 1, 4294967296,
              0x8000000000000000u, UINT64_MAX)
PRIORITY_TEST(priorities_of_type_char, char, 1, 2, 'a', 'b', 127)
PRIORITY_TEST(priorities_of_type_long, long, LONG_MIN, -1, 0, 1, LONG_MAX)
PRIORITY_TEST(priorities_of_an_enum, enum urgency, NOW, SOON, TODAY, SOMETIME, NEVER)

struct job {
    char name;
    int urgency;
};

static CORO_PRIORITY_QUEUE(struct job, 3, urgency) jobs;

static struct job job_of(char name, int urgency)
{
    struct job j = {name, urgency};
    return j;
}

/* Takes the next job, which says its name; '-': there is none. */
static char next_job(void)
{
    struct job j;
    return coro_queue_try_get(&jobs, &j) == 1 ? j.name : '-';
}

static int add_job(char name, int urgency)
{
    struct job j = job_of(name, urgency);
    return coro_queue_try_put(&jobs, &j);
}

/* S66: their numbers wrap. */
TEST(equal_priorities_keep_their_order_when_the_count_of_items_wraps)
{
    for (coro_count before = 0; before < 8; before++) {
        jobs.head.first = (coro_count)(0 - before);
        CHECK_EQ(add_job('a', 1), 0);
        CHECK_EQ(add_job('b', 1), 0);
        CHECK_EQ(add_job('c', 1), 0);
        CHECK_EQ(next_job(), 'a');
        CHECK_EQ(add_job('d', 1), 0);
        CHECK_EQ(next_job(), 'b');
        CHECK_EQ(add_job('e', 0), 0);
        CHECK_EQ(next_job(), 'e');
        CHECK_EQ(next_job(), 'c');
        CHECK_EQ(next_job(), 'd');
        CHECK_EQ(next_job(), '-');
    }
}

TEST(replace_in_a_priority_queue_sends_the_most_urgent_away)
{
    struct job j = job_of('d', 5), old = j;
    CHECK_EQ(coro_queue_capacity(&jobs), 3);
    CHECK_EQ(add_job('a', 3), 0);
    CHECK_EQ(add_job('b', 1), 0);
    CHECK_EQ(coro_queue_replace(&jobs, &j, &old), 0);
    CHECK_EQ(jobs.head.most, 3);
    j = job_of('e', 0);
    CHECK_EQ(coro_queue_replace(&jobs, &j, &old), 1);
    CHECK_EQ(old.name, 'b');
    CHECK_EQ(jobs.head.depth, 3);
    CHECK_EQ(next_job(), 'e');
    CHECK_EQ(next_job(), 'a');
    CHECK_EQ(next_job(), 'd');
}

struct job_putter {
    CORO_FRAME;
    struct job job;
};

CORO(job_putter)
{
    CORO_BEGIN();
    CORO_TRY(coro_queue_put(co, &jobs, &my->job));
    CORO_END(0);
}

struct job_getter {
    CORO_FRAME;
    struct job job;
    int got;
};

CORO(job_getter)
{
    CORO_BEGIN();
    CORO_TRY(my->got, coro_queue_get(co, &jobs, &my->job));
    CORO_END(my->got);
}

struct prioritised {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(job_getter) x;
    int i, got;
    struct job job, many[4];
};

CORO(prioritised)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 0; my->i < 5; my->i++)
        coro_spawn(&my->g, job_putter, .job = job_of((char)('a' + my->i), 5 - my->i));
    TURN();
    CHECK_EQ(jobs.head.putters.waiting, 2);
    CORO_TRY(my->got, coro_queue_get(co, &jobs, &my->job));
    CHECK_EQ(my->job.name, 'c'); /* only now there is room for d, the most urgent */
    CORO_TRY(my->got, coro_queue_get_many(co, &jobs, my->many, 4));
    CHECK_EQ(my->got, 4);
    CHECK_EQ(my->many[0].name, 'd');
    CHECK_EQ(my->many[1].name, 'e');
    CHECK_EQ(my->many[2].name, 'b');
    CHECK_EQ(my->many[3].name, 'a');
    coro_start(&my->g, &my->x, job_getter);
    TURN();
    CHECK_EQ(add_job('z', 99), 0); /* straight to who waits */
    CHECK_EQ(jobs.head.depth, 0);
    TURN();
    CHECK_EQ(my->x.frame.job.name, 'z');
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_queue_fini(&jobs), 0);
    CORO_END(0);
}

/* S66, S47 */
TEST(a_full_priority_queue_takes_the_next_item_in_order_of_arrival)
{
    CHECK_EQ(coro_run_with(&fast, prioritised), 0);
}

/* ---- at random: a priority queue against a sorted array -------------------------------------- */

static uint64_t random_state;

static void random_begin(int seed)
{
    random_state = ((uint64_t)seed + 1) * 0x9e3779b97f4a7c15u;
}

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

/* SEED=n makes that one run, where a check fails. */
static bool wanted(int seed)
{
    const char *only = getenv("SEED");
    if (only && atoi(only) != seed)
        return false;
    random_begin(seed);
    return true;
}

#define SEEDED(condition)                                                               \
    ((condition) ? (void)0 : TEST_FAIL("seed %d: %s", seed, #condition))

enum { SEEDS = 1000, HEAP = 13 };

struct ticket {
    int16_t urgency;
    int number;
};

static CORO_PRIORITY_QUEUE(struct ticket, HEAP, urgency) tickets;

static struct sorted {
    struct ticket t[HEAP];
    unsigned n;
} sorted;

static void sorted_put(struct ticket t)
{
    unsigned i = sorted.n++;
    for (; i && sorted.t[i - 1].urgency > t.urgency; i--)
        sorted.t[i] = sorted.t[i - 1];
    sorted.t[i] = t;
}

static struct ticket sorted_get(void)
{
    struct ticket t = sorted.t[0];
    memmove(sorted.t, sorted.t + 1, --sorted.n * sizeof *sorted.t);
    return t;
}

static bool same_ticket(struct ticket a, struct ticket b)
{
    return a.urgency == b.urgency && a.number == b.number;
}

static void random_ticket_step(int seed, int number)
{
    struct ticket t = {(int16_t)((int)random_below(7) - 3), number}, got;
    unsigned what = random_below(8);
    if (what < 4) {
        SEEDED(coro_queue_try_put(&tickets, &t) == (sorted.n < HEAP ? 0 : -EAGAIN));
        if (sorted.n < HEAP)
            sorted_put(t);
    } else if (what < 7) {
        SEEDED(coro_queue_peek(&tickets, &got) == (sorted.n ? 1 : -EAGAIN));
        SEEDED(!sorted.n || same_ticket(got, sorted.t[0]));
        SEEDED(coro_queue_try_get(&tickets, &got) == (sorted.n ? 1 : -EAGAIN));
        SEEDED(!sorted.n || same_ticket(got, sorted_get()));
    } else {
        SEEDED(coro_queue_replace(&tickets, &t, &got) == (sorted.n == HEAP));
        SEEDED(sorted.n < HEAP || same_ticket(got, sorted_get()));
        sorted_put(t);
    }
    SEEDED(coro_queue_depth(&tickets) == sorted.n);
}

/* S66 */
TEST(a_priority_queue_does_what_a_sorted_array_does)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        struct ticket got;
        if (!wanted(seed))
            continue;
        tickets.head.first = (coro_count)(0 - random_below(60)); /* most runs go past the wrap */
        for (int i = 0; i < 60; i++)
            random_ticket_step(seed, i);
        while (sorted.n)
            SEEDED(coro_queue_try_get(&tickets, &got) == 1 && same_ticket(got, sorted_get()));
        SEEDED(coro_queue_try_get(&tickets, &got) == -EAGAIN);
    }
}

/* ---- at random: a queue with waiting tasks against a model of it ----------------------------- */

enum { SLOTS = 8, ROUNDS = 24 };

/* What each task should be doing, or have got. */
enum doing { FREE, PUTS, GETS, ENDED };

struct slot {
    enum doing state;
    int rc, item; /* once it has ended */
};

static struct model {
    enum kind kind;
    bool closed;
    int items[3], depth;
    int putters[SLOTS], getters[SLOTS], putting, getting; /* slots, oldest first */
    struct slot slots[SLOTS];
    unsigned unfinished, rejected, most;
} model;

static void drop_first(int *from, int *n)
{
    memmove(from, from + 1, (size_t)--*n * sizeof *from);
}

static void model_end(int s, int rc, int item)
{
    model.slots[s].state = ENDED;
    model.slots[s].rc = rc;
    model.slots[s].item = item;
}

static void model_store(int item)
{
    model.items[model.depth++] = item;
    if (model.most < (unsigned)model.depth)
        model.most = (unsigned)model.depth;
}

static bool model_put(int item)
{
    if (model.getting) {
        model_end(model.getters[0], 1, item);
        drop_first(model.getters, &model.getting);
    } else if (model.depth < (int)room_of[model.kind]) {
        model_store(item);
    } else {
        return false;
    }
    model.unfinished++;
    return true;
}

static int model_next(void)
{
    return model.items[model.kind == STACK ? model.depth - 1 : 0];
}

static void model_remove(void)
{
    if (model.kind == STACK)
        model.depth--;
    else
        drop_first(model.items, &model.depth);
}

static bool model_get(int *item)
{
    int first = model.putters[0];
    if (!model.depth && !model.putting)
        return false;
    *item = model.depth ? model_next() : model.slots[first].item;
    if (model.depth)
        model_remove();
    if (model.putting) {
        if (room_of[model.kind])
            model_store(model.slots[first].item);
        model.unfinished++;
        model_end(first, 0, model.slots[first].item);
        drop_first(model.putters, &model.putting);
    }
    return true;
}

static void model_start_put(int s, int item)
{
    model.slots[s].item = item;
    if (model.closed) {
        model_end(s, -EPIPE, item);
    } else if (model_put(item)) {
        model_end(s, 0, item);
    } else {
        model.slots[s].state = PUTS;
        model.putters[model.putting++] = s;
    }
}

static void model_start_get(int s)
{
    int item;
    if (model_get(&item)) {
        model_end(s, 1, item);
    } else if (model.closed) {
        model_end(s, 0, -1);
    } else {
        model.slots[s].state = GETS;
        model.getters[model.getting++] = s;
    }
}

/* A waiting one: it leaves. One that has ended but does not know it yet: nothing changes. */
static void model_cancel(int s)
{
    bool puts = model.slots[s].state == PUTS;
    int *line = puts ? model.putters : model.getters, *n = puts ? &model.putting : &model.getting;
    if (!puts && model.slots[s].state != GETS)
        return;
    while (*line != s) {
        line++;
        CHECK(line < (puts ? model.putters : model.getters) + *n);
    }
    memmove(line, line + 1,
            (size_t)((puts ? model.putters : model.getters) + *n - line - 1) * sizeof *line);
    --*n;
    model_end(s, -ECANCELED, puts ? model.slots[s].item : -1);
}

static void model_close(void)
{
    model.closed = true;
    for (; model.putting; drop_first(model.putters, &model.putting))
        model_end(model.putters[0], -EPIPE, model.slots[model.putters[0]].item);
    for (; model.getting; drop_first(model.getters, &model.getting))
        model_end(model.getters[0], 0, -1);
}

static void check_counters(int seed)
{
    const coro_queue *q = head_of(model.kind);
    SEEDED(q->depth == (coro_count)model.depth);
    SEEDED(q->putters.waiting == (coro_count)model.putting);
    SEEDED(q->getters.waiting == (coro_count)model.getting);
    SEEDED(q->unfinished == model.unfinished);
    SEEDED(q->rejected == model.rejected);
    SEEDED(q->most == model.most);
    SEEDED(q->closed == model.closed);
}

/* What is done without a task. */
static void random_plain_step(int seed, int number)
{
    enum kind k = model.kind;
    int item = -1, want = -1, full = model.depth && model.depth == (int)room_of[k];
    int end = model.closed ? 0 : -EAGAIN;
    switch (random_below(5)) {
    case 0:
        want = model.closed ? -EPIPE : model_put(number) ? 0 : -EAGAIN;
        model.rejected += want == -EAGAIN;
        SEEDED(try_put(k, number) == want);
        break;
    case 1:
        SEEDED(try_get(k, &item) == (model_get(&want) ? 1 : end) && item == want);
        break;
    case 2:
        SEEDED(peek(k, &item) == (model.depth ? 1 : end));
        SEEDED(item == (model.depth ? model_next() : -1));
        break;
    case 3:
        if (full && !model.closed) {
            want = model_next();
            model_remove();
            model_store(number);
            SEEDED(replace(k, number, &item) == 1 && item == want);
        } else {
            want = model.closed ? -EPIPE : model_put(number) ? 0 : -EAGAIN;
            SEEDED(replace(k, number, &item) == want && item == -1);
        }
        break;
    default:
        SEEDED(done(k) == (model.unfinished ? 0 : -EINVAL));
        model.unfinished -= model.unfinished > 0;
    }
}

struct random_run {
    CORO_FRAME;
    coro_group g;
    int seed, i;
    CORO_TASK(putter) p[SLOTS];
    CORO_TASK(getter) x[SLOTS];
    bool getter[SLOTS];
};

static coro_status status_of(const struct random_run *my, int s)
{
    return my->getter[s] ? coro_task_status(&my->x[s]) : coro_task_status(&my->p[s]);
}

static void random_start(struct random_run *my, int s)
{
    enum kind k = model.kind;
    if (status_of(my, s) == CORO_RUNNING) /* it may have ended without knowing it yet */
        return;
    my->getter[s] = random_below(2);
    if (my->getter[s]) {
        model_start_get(s);
        CHECK_EQ(coro_start(&my->g, &my->x[s], getter, .kind = k, .quiet = true), 0);
    } else {
        model_start_put(s, my->i);
        CHECK_EQ(coro_start(&my->g, &my->p[s], putter, .kind = k, .item = my->i, .quiet = true),
                 0);
    }
}

/* All have run until they wait: those who should have ended have. */
static void check_slots(struct random_run *my)
{
    int seed = my->seed;
    for (int s = 0; s < SLOTS; s++) {
        const struct slot *want = &model.slots[s];
        coro_status status = status_of(my, s);
        if (want->state != ENDED) {
            SEEDED((status == CORO_RUNNING) == (want->state != FREE));
            continue;
        }
        SEEDED(status != CORO_RUNNING);
        SEEDED((my->getter[s] ? my->x[s].frame.rc : my->p[s].frame.rc) == want->rc);
        SEEDED(!my->getter[s] || my->x[s].frame.item == want->item);
    }
}

/* Cancel, or something plain: a few of them before the tasks notice. */
static void random_steps(struct random_run *my)
{
    for (unsigned n = random_below(4); n; n--) {
        int s = (int)random_below(SLOTS);
        if (random_below(4) || model.slots[s].state == FREE) {
            random_plain_step(my->seed, 100 * my->i + (int)n);
        } else {
            model_cancel(s);
            (void)(my->getter[s] ? coro_task_cancel(&my->x[s]) : coro_task_cancel(&my->p[s]));
        }
        check_counters(my->seed);
    }
}

CORO(random_run)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_COLLECT);
    for (my->i = 1; my->i <= ROUNDS; my->i++) {
        random_start(my, (int)random_below(SLOTS));
        CORO_TRY(coro_sleep(co, 1));
        check_slots(my);
        check_counters(my->seed);
        random_steps(my);
        if (my->i == ROUNDS - 3) {
            model_close();
            close_queue(model.kind);
        }
    }
    CORO_TRY(coro_sleep(co, 1));
    check_slots(my);
    CHECK_STR(coro_verify(coro_loop_of(co)), NULL);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

/* S45 to S63 */
TEST(a_queue_does_what_its_model_does)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        if (!wanted(seed))
            continue;
        make_all_new();
        memset(&model, 0, sizeof model);
        model.kind = (enum kind)(seed % KINDS);
        by_many = random_below(2);
        CHECK_EQ(coro_run_with(&fast, random_run, .seed = seed), 0);
        CHECK_EQ(fini(model.kind), 0);
    }
}
