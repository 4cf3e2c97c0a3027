/* Every object of coro_sync.h with several tasks at it, hurt at every place where that can be: see
 * sweep.h. The tasks need no memory of the loop, so what is swept is cancellation of the whole, of
 * one task, and deadlines. After each run nothing may be lost: items, permits, wake-ups. */
#include "coro_sync.h"
#include "sweep.h"

#include <errno.h>

static void check_line(const coro_line *line)
{
    SWEEP_EQ(line->waiting, 0);
    SWEEP_CHECK(!line->tasks.head && !line->cases);
}

/* A wait under a limit of its own came to one of the ends that it may have. */
static bool in_time(int rc)
{
    SWEEP_CHECK(rc >= 0 || rc == -ETIMEDOUT || rc == -ECANCELED);
    return rc >= 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct {
    coro_event first, second;
    int through;
} bells;

static void bells_reset(void)
{
    memset(&bells, 0, sizeof bells);
}

struct listener {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
};

CORO(listener)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    if (my->n % 2) {
        CORO_AWAIT(my->rc, coro_within(co, CORO_US(500), coro_event_wait(co, &bells.first)));
        SWEEP_CHECK(!in_time(my->rc) || coro_event_is_set(&bells.first));
    }
    CORO_TRY(coro_event_wait(co, &bells.first));
    bells.through++;
    CORO_TRY(coro_event_wait(co, &bells.second));
    bells.through++;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct ringer {
    CORO_FRAME;
    struct sweep_guard guard;
};

/* The first bell is only struck: who waited has heard it all the same. */
CORO(ringer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_event_set(&bells.first);
    coro_event_clear(&bells.first);
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
CORO_FINALLY:
    coro_event_set(&bells.first);
    coro_event_set(&bells.second);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct events {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(listener) listeners[4];
    CORO_TASK(ringer) ringer;
};

CORO(events)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->listeners[i], listener, .n = i);
    coro_start(&my->g, &my->ringer, ringer);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(bells.through);
}

SWEEP_MAIN(events)

static void events_check(const struct sweep_run *run)
{
    check_line(&bells.first.line);
    check_line(&bells.second.line);
    SWEEP_EQ(coro_event_fini(&bells.first), 0);
    SWEEP_EQ(coro_event_fini(&bells.second), 0);
    if (!run->struck)
        SWEEP_EQ(bells.first.line.most, 4);
}

TEST(who_waits_for_an_event_hears_it_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&events_main, 8, true, bells_reset, events_check, NULL};
    sweep(&s);
}

/* ---- promises -------------------------------------------------------------------------------- */

static struct {
    coro_promise answer;
    int got, broken;
} oracle;

static void oracle_reset(void)
{
    memset(&oracle, 0, sizeof oracle);
}

struct asking {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
};

CORO(asking)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->rc = -ETIMEDOUT;
    while (my->rc == -ETIMEDOUT)
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(600),
                                       coro_promise_get(co, &oracle.answer)));
    SWEEP_CHECK(my->rc == 42 || my->rc == -EIO || my->rc == -ECANCELED);
    oracle.got += my->rc == 42;
    oracle.broken += my->rc == -EIO;
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct answering {
    CORO_FRAME;
    struct sweep_guard guard;
    int rc;
};

/* What cannot be kept is broken. */
CORO(answering)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
    SWEEP_EQ(coro_promise_set(&oracle.answer, 42), 0);
    CORO_TRY(coro_sleep(co, 0));
CORO_FINALLY:
    my->rc = coro_promise_set(&oracle.answer, -EIO);
    SWEEP_CHECK(my->rc == -EALREADY || (my->rc == 0 && CORO_ERR));
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct promises {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(asking) asking[4];
    CORO_TASK(answering) answering;
};

CORO(promises)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->asking[i], asking, .n = i);
    coro_start(&my->g, &my->answering, answering);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(oracle.got);
}

SWEEP_MAIN(promises)

static void promises_check(const struct sweep_run *run)
{
    check_line(&oracle.answer.line);
    SWEEP_EQ(coro_promise_fini(&oracle.answer), 0);
    SWEEP_CHECK(!oracle.broken || (!oracle.got && run->struck));
    SWEEP_CHECK(coro_promise_is_set(&oracle.answer) || run->kind == SWEEP_DEADLINE || run->struck);
}

TEST(promises_are_kept_or_broken_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&promises_main, 4, true, oracle_reset, promises_check,
                                            NULL};
    sweep(&s);
}

/* ---- once ------------------------------------------------------------------------------------ */

static struct {
    coro_once once;
    int busy, tries, done;
} setup;

static void setup_reset(void)
{
    memset(&setup, 0, sizeof setup);
}

struct initialiser {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
    bool mine;
};

/* The first try fails; number 1 never says how it went. */
CORO(initialiser)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(my->mine, coro_once_enter(co, &setup.once));
    if (!my->mine) {
        SWEEP_EQ(setup.done, 1);
        CORO_LEAVE();
    }
    SWEEP_EQ(setup.busy++, 0);
    my->rc = setup.tries++ == 0 ? -EIO : 0;
    CORO_TRY(coro_sleep(co, CORO_MS(1)));
CORO_FINALLY:
    setup.busy -= my->mine;
    if (my->mine && my->n != 1) {
        my->rc = CORO_ERR ? CORO_ERR : my->rc;
        setup.done += my->rc == 0;
        SWEEP_EQ(coro_once_leave(co, &setup.once, my->rc), 0);
        SWEEP_EQ(coro_once_leave(co, &setup.once, my->rc), -EPERM);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct onces {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(initialiser) tasks[5];
};

CORO(onces)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 5; i++)
        coro_start(&my->g, &my->tasks[i], initialiser, .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(setup.done);
}

SWEEP_MAIN(onces)

static void onces_check(const struct sweep_run *run)
{
    check_line(&setup.once.line);
    SWEEP_EQ(coro_once_fini(&setup.once), 0);
    SWEEP_EQ(setup.busy, 0);
    SWEEP_EQ(setup.once.done, setup.done);
    if (run->kind == SWEEP_TASK) /* three could try */
        SWEEP_EQ(setup.done, 1);
}

TEST(what_is_done_once_is_tried_until_it_is_done_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&onces_main, 1, true, setup_reset, onces_check, NULL};
    sweep(&s);
}

/* ---- mutexes --------------------------------------------------------------------------------- */

static struct {
    coro_mutex lock;
    int inside, visits;
} room;

static void room_reset(void)
{
    memset(&room, 0, sizeof room);
}

struct visitor {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc;
    bool held;
};

/* Number 3 is impatient, number 2 does not wait at all. */
CORO(visitor)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (my->i = 0; my->i < 3; my->i++) {
        if (my->n == 3)
            CORO_AWAIT(my->rc, coro_within(co, CORO_US(300), coro_mutex_lock(co, &room.lock)));
        else if (my->n == 2)
            my->rc = coro_mutex_try_lock(co, &room.lock);
        else
            CORO_AWAIT(my->rc, coro_mutex_lock(co, &room.lock));
        my->held = my->rc == 0;
        if (my->held) {
            SWEEP_EQ(room.inside++, 0);
            CORO_TRY(coro_sleep(co, CORO_US(700)));
            room.inside--;
            room.visits++;
            my->held = false;
            SWEEP_EQ(coro_mutex_unlock(co, &room.lock), 0);
        }
        SWEEP_CHECK(my->rc != -EAGAIN || room.lock.owner);
        CORO_TRY(coro_sleep(co, CORO_US(my->n * 50)));
    }
CORO_FINALLY:
    SWEEP_EQ(room.lock.owner == co, my->held);
    if (my->held) {
        room.inside--;
        SWEEP_EQ(coro_mutex_unlock(co, &room.lock), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct mutexes {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(visitor) visitors[5];
};

CORO(mutexes)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 5; i++)
        coro_start(&my->g, &my->visitors[i], visitor, .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_EQ(coro_mutex_try_lock(co, &room.lock), 0); /* it is good for the next one */
    SWEEP_EQ(coro_mutex_unlock(co, &room.lock), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(mutexes)

static void mutexes_check(const struct sweep_run *run)
{
    check_line(&room.lock.line);
    SWEEP_EQ(room.inside, 0);
    SWEEP_CHECK(!room.lock.owner && !room.lock.dead);
    SWEEP_EQ(coro_mutex_fini(&room.lock), 0);
    if (!run->struck)
        SWEEP_CHECK(room.visits >= 9);
}

TEST(mutex_is_one_tasks_and_free_in_the_end_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&mutexes_main, 0, false, room_reset, mutexes_check,
                                            NULL};
    sweep(&s);
}

/* ---- conditions: a bounded buffer, by hand --------------------------------------------------- */

#define MEALS 3
#define COOKS 2

static struct {
    coro_mutex lock;
    coro_cond filled, drained;
    int items, put, got;
    bool over;
} pot;

static void pot_reset(void)
{
    memset(&pot, 0, sizeof pot);
}

struct cook {
    CORO_FRAME;
    struct sweep_guard guard;
    int i, rc;
};

CORO(cook)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < MEALS; my->i++) {
        CORO_TRY(coro_mutex_lock(co, &pot.lock));
        while (pot.items == 1) {
            CORO_AWAIT(my->rc, coro_cond_wait(co, &pot.drained, &pot.lock));
            SWEEP_CHECK(pot.lock.owner == co);
            CORO_TRY(my->rc);
        }
        pot.items++;
        pot.put++;
        SWEEP_CHECK(coro_cond_signal(&pot.filled) >= 0);
        SWEEP_EQ(coro_mutex_unlock(co, &pot.lock), 0);
        CORO_TRY(coro_sleep(co, CORO_US(100)));
    }
CORO_FINALLY:
    if (pot.lock.owner == co)
        SWEEP_EQ(coro_mutex_unlock(co, &pot.lock), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct eater {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
};

/* Number 0 is impatient. The lock is kept for a while, so that others come back to a locked one. */
CORO(eater)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_TRY(coro_mutex_lock(co, &pot.lock));
        while (!pot.items && !pot.over) {
            CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(200),
                                           coro_cond_wait(co, &pot.filled, &pot.lock)));
            SWEEP_CHECK(pot.lock.owner == co);
            if (!in_time(my->rc) && my->rc != -ETIMEDOUT)
                CORO_FAIL(my->rc);
        }
        if (!pot.items)
            CORO_LEAVE();
        pot.items--;
        pot.got++;
        CORO_TRY(coro_sleep(co, CORO_US(150)));
        SWEEP_CHECK(coro_cond_signal(&pot.drained) >= 0);
        SWEEP_EQ(coro_mutex_unlock(co, &pot.lock), 0);
    }
CORO_FINALLY:
    if (pot.lock.owner == co) {
        SWEEP_CHECK(coro_cond_signal(&pot.drained) >= 0);
        SWEEP_EQ(coro_mutex_unlock(co, &pot.lock), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct kitchen {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group eating, cooking;
    coro_scope shield;
    CORO_TASK(eater) eaters[3];
    CORO_TASK(cook) cooks[COOKS];
    int rc;
};

CORO(kitchen)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->eating, CORO_COLLECT);
    for (int i = 0; i < 3; i++)
        coro_start(&my->eating, &my->eaters[i], eater, .n = i);
    coro_group_open(co, &my->cooking, CORO_COLLECT);
    for (int i = 0; i < COOKS; i++)
        coro_start(&my->cooking, &my->cooks[i], cook);
CORO_FINALLY:
    CORO_CLOSE(&my->cooking);
    my->rc = CORO_ERR;
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    CORO_IGNORE(coro_mutex_lock(co, &pot.lock));
    SWEEP_CHECK(pot.lock.owner == co);
    pot.over = true;
    SWEEP_CHECK(coro_cond_broadcast(&pot.filled) >= 0);
    SWEEP_EQ(coro_mutex_unlock(co, &pot.lock), 0);
    CORO_ERR = coro_scope_close(co, &my->shield, my->rc);
    CORO_CLOSE(&my->eating);
    sweep_leave(&my->guard);
    CORO_END(pot.got);
}

SWEEP_MAIN(kitchen)

static void kitchen_check(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(pot.got + pot.items, pot.put);
    SWEEP_CHECK(!pot.lock.owner && !pot.lock.dead);
    check_line(&pot.lock.line);
    check_line(&pot.filled.line);
    check_line(&pot.drained.line);
    SWEEP_EQ(coro_mutex_fini(&pot.lock), 0);
    SWEEP_EQ(coro_cond_fini(&pot.filled), 0);
    SWEEP_EQ(coro_cond_fini(&pot.drained), 0);
}

TEST(who_waits_for_a_condition_has_the_mutex_again_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&kitchen_main, MEALS * COOKS, true, pot_reset,
                                            kitchen_check, NULL};
    sweep(&s);
}

/* ---- locks for readers and writers ----------------------------------------------------------- */

static struct {
    coro_rwlock lock;
    int reading, writing, reads, writes;
} book;

static void book_reset(void)
{
    memset(&book, 0, sizeof book);
    SWEEP_EQ(coro_rwlock_limit(&book.lock, 2), 0);
}

static void book_check_inside(void)
{
    coro_waiter w;
    SWEEP_CHECK(book.reading <= 2 && book.writing <= 1 && !(book.reading && book.writing));
    SWEEP_CHECK((int)book.lock.readers >= book.reading); /* who was let in need not know yet */
    SWEEP_CHECK(book.lock.writer || !book.writing);
    if (coro_line_first(&book.lock.line, &w))
        SWEEP_CHECK(book.lock.writer || (int)book.lock.readers >= (coro_waiter_word(w) ? 1 : 2));
}

struct book_reader {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc, in;
};

CORO(book_reader)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 2; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(250),
                                       coro_rwlock_read_lock(co, &book.lock)));
        my->in = in_time(my->rc);
        book.reading += my->in;
        book_check_inside();
        book.reads += my->in;
        CORO_TRY(coro_sleep(co, CORO_US(300)));
        if (my->in) {
            book_check_inside();
            my->in = 0;
            book.reading--;
            SWEEP_EQ(coro_rwlock_read_unlock(&book.lock), 0);
        }
    }
CORO_FINALLY:
    if (my->in) {
        book.reading--;
        SWEEP_EQ(coro_rwlock_read_unlock(&book.lock), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct book_writer {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc;
    bool reads;
};

/* Number 0 is impatient, and keeps readers waiting meanwhile; number 1 reads what it wrote. */
CORO(book_writer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 2; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(200),
                                       coro_rwlock_write_lock(co, &book.lock)));
        book_check_inside();
        if (!in_time(my->rc))
            continue;
        book.writing++;
        book.writes++;
        CORO_TRY(coro_sleep(co, CORO_US(400)));
        book_check_inside();
        book.writing--;
        if (my->n == 1) {
            my->reads = true;
            book.reading++;
            SWEEP_EQ(coro_rwlock_downgrade(co, &book.lock), 0);
            CORO_TRY(coro_sleep(co, CORO_US(100)));
            my->reads = false;
            book.reading--;
            SWEEP_EQ(coro_rwlock_read_unlock(&book.lock), 0);
        } else {
            SWEEP_EQ(coro_rwlock_write_unlock(co, &book.lock), 0);
        }
    }
CORO_FINALLY:
    if (my->reads) {
        book.reading--;
        SWEEP_EQ(coro_rwlock_read_unlock(&book.lock), 0);
    }
    if (book.lock.writer == co) {
        book.writing--;
        SWEEP_EQ(coro_rwlock_write_unlock(co, &book.lock), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct library {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(book_reader) readers[4];
    CORO_TASK(book_writer) writers[3];
};

CORO(library)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++) {
        coro_start(&my->g, &my->readers[i], book_reader, .n = i);
        if (i < 3)
            coro_start(&my->g, &my->writers[i], book_writer, .n = i);
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_EQ(coro_rwlock_try_write_lock(co, &book.lock), 0);
    SWEEP_EQ(coro_rwlock_write_unlock(co, &book.lock), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(library)

static void library_check(const struct sweep_run *run)
{
    SWEEP_EQ(book.reading + book.writing, 0);
    SWEEP_EQ(book.lock.readers, 0);
    check_line(&book.lock.line);
    SWEEP_EQ(coro_rwlock_fini(&book.lock), 0);
    if (!run->struck)
        SWEEP_CHECK(book.reads >= 6 && book.writes >= 4);
}

TEST(writers_are_alone_and_all_leave_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&library_main, 0, false, book_reset, library_check,
                                            NULL};
    sweep(&s);
}

/* ---- semaphores ------------------------------------------------------------------------------ */

#define PERMITS 4

static struct {
    coro_sem sem;
    int out;
} store;

static void store_reset(void)
{
    memset(&store, 0, sizeof store);
    SWEEP_EQ(coro_sem_init(&store.sem, PERMITS, PERMITS), 0);
}

/* None too many, though who was granted some need not know yet; nobody waits for what is there. */
static void store_check_inside(void)
{
    coro_waiter w;
    SWEEP_CHECK(store.sem.value + store.out <= store.sem.bound);
    SWEEP_CHECK(!coro_line_first(&store.sem.line, &w) || coro_waiter_word(w) > store.sem.value);
}

struct client {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc, held;
};

/* Number 5 wants many, stands in front of smaller ones, and gives up. */
CORO(client)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 2; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n == 5 ? CORO_US(500) : CORO_FOREVER,
                                       coro_sem_acquire_n(co, &store.sem, 1 + my->n % 3)));
        my->held = in_time(my->rc) ? 1 + my->n % 3 : 0;
        store.out += my->held;
        store_check_inside();
        CORO_TRY(coro_sleep(co, CORO_US(300 + my->n * 10)));
        store_check_inside();
        store.out -= my->held;
        SWEEP_EQ(coro_sem_release_n(&store.sem, my->held), my->held ? 0 : -EINVAL);
        my->held = 0;
        store_check_inside();
    }
CORO_FINALLY:
    if (my->held) {
        store.out -= my->held;
        SWEEP_EQ(coro_sem_release_n(&store.sem, my->held), 0);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct manager {
    CORO_FRAME;
    struct sweep_guard guard;
};

/* For a while there are fewer. */
CORO(manager)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_sleep(co, CORO_US(350)));
    SWEEP_EQ(coro_sem_resize(&store.sem, PERMITS - 1), 0);
    CORO_TRY(coro_sleep(co, CORO_US(700)));
CORO_FINALLY:
    SWEEP_EQ(coro_sem_resize(&store.sem, PERMITS), 0);
    store_check_inside();
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct semaphores {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(client) clients[7];
    CORO_TASK(manager) manager;
};

CORO(semaphores)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 7; i++)
        coro_start(&my->g, &my->clients[i], client, .n = 6 - i);
    coro_start(&my->g, &my->manager, manager);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    for (int i = 0; i < PERMITS; i++)
        SWEEP_EQ(coro_sem_try_acquire(&store.sem), 0);
    SWEEP_EQ(coro_sem_try_acquire(&store.sem), -EAGAIN);
    SWEEP_EQ(coro_sem_release_n(&store.sem, PERMITS), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(semaphores)

static void semaphores_check(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(store.out, 0);
    SWEEP_EQ(store.sem.value, PERMITS);
    check_line(&store.sem.line);
    SWEEP_EQ(coro_sem_fini(&store.sem), 0);
}

TEST(permits_of_a_semaphore_all_come_back_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&semaphores_main, 0, false, store_reset,
                                            semaphores_check, NULL};
    sweep(&s);
}

/* ---- barriers -------------------------------------------------------------------------------- */

#define PARTIES 3
#define ROUNDS  3

static struct {
    coro_barrier barrier;
    unsigned seen[ROUNDS];      /* places, a bit each */
} march;

static void march_reset(void)
{
    memset(&march, 0, sizeof march);
    SWEEP_EQ(coro_barrier_init(&march.barrier, PARTIES), 0);
}

struct marcher {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, round, rc;
};

/* Who cannot go on tells the others. Number 0 leaves its place from time to time. */
CORO(marcher)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    while (my->round < ROUNDS) {
        CORO_TRY(coro_sleep(co, CORO_US(my->n * 300)));
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(200),
                                       coro_barrier_wait(co, &march.barrier)));
        SWEEP_EQ(march.barrier.arrived, march.barrier.line.waiting);
        if (my->rc == -ECONNABORTED)
            CORO_LEAVE();
        if (!in_time(my->rc))
            continue;
        SWEEP_CHECK(my->rc < PARTIES && !(march.seen[my->round] & 1u << my->rc));
        march.seen[my->round++] |= 1u << my->rc;
    }
CORO_FINALLY:
    if (my->round < ROUNDS)
        coro_barrier_abort(&march.barrier);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct barriers {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(marcher) marchers[PARTIES];
};

CORO(barriers)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < PARTIES; i++)
        coro_start(&my->g, &my->marchers[i], marcher, .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(barriers)

static void barriers_check(const struct sweep_run *run)
{
    SWEEP_EQ(march.barrier.arrived, 0);
    check_line(&march.barrier.line);
    SWEEP_EQ(coro_barrier_fini(&march.barrier), 0);
    for (int i = 0; i < ROUNDS && !run->struck; i++)
        SWEEP_EQ(march.seen[i], (1u << PARTIES) - 1);
}

TEST(parties_of_a_barrier_go_on_together_or_are_told_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&barriers_main, 0, false, march_reset, barriers_check,
                                            NULL};
    sweep(&s);
}

/* ---- queues of all kinds --------------------------------------------------------------------- */

#define ITEMS     12
#define PRODUCERS 3
#define MANY      3

struct item {
    int id;
    short urgency;
};

/* What differs from one kind of queue to the other. */
struct queue_kind {
    coro_queue *head;
    size_t size;
    coro_op (*put)(coro_task *co, const struct item *item);
    coro_op (*get)(coro_task *co, struct item *item);
    coro_op (*get_many)(coro_task *co, struct item *items, coro_count n);
    int (*try_put)(const struct item *item);
    int (*try_get)(struct item *item);
    coro_op (*join)(coro_task *co);
    int (*done)(void);
    void (*close)(void);
    int (*fini)(void);
    coro_count capacity;
};

static const struct queue_kind *kind;
static int items_put[ITEMS], items_got[ITEMS];

static void queue_reset(const struct queue_kind *k)
{
    kind = k;
    memset(k->head, 0, k->size);
    memset(items_put, 0, sizeof items_put);
    memset(items_got, 0, sizeof items_got);
}

#define QUEUE_PUT(name)                                                                     \
    static coro_op name##_put(coro_task *co, const struct item *item)                       \
    {                                                                                       \
        return coro_queue_put(co, &name, item);                                             \
    }                                                                                       \
    static int name##_try_put(const struct item *item)                                      \
    {                                                                                       \
        return coro_queue_try_put(&name, item);                                             \
    }

#define QUEUE_GET(name)                                                                     \
    static coro_op name##_get(coro_task *co, struct item *item)                             \
    {                                                                                       \
        return coro_queue_get(co, &name, item);                                             \
    }                                                                                       \
    static coro_op name##_get_many(coro_task *co, struct item *items, coro_count n)         \
    {                                                                                       \
        return coro_queue_get_many(co, &name, items, n);                                    \
    }

#define QUEUE_KIND(name)                                                                    \
    QUEUE_PUT(name)                                                                         \
    QUEUE_GET(name)                                                                         \
    static int name##_try_get(struct item *item)                                            \
    {                                                                                       \
        return coro_queue_try_get(&name, item);                                             \
    }                                                                                       \
    QUEUE_END(name)                                                                         \
    QUEUE_RESET(name)

#define QUEUE_END(name)                                                                     \
    static coro_op name##_join(coro_task *co)                                               \
    {                                                                                       \
        return coro_queue_join(co, &name);                                                  \
    }                                                                                       \
    static int name##_done(void) { return coro_queue_done(&name); }                         \
    static void name##_close(void) { coro_queue_close(&name); }                             \
    static int name##_fini(void) { return coro_queue_fini(&name); }

#define QUEUE_RESET(name)                                                                   \
    static void name##_reset(void)                                                          \
    {                                                                                       \
        static const struct queue_kind k = {                                                \
            &name.head, sizeof name, name##_put, name##_get, name##_get_many,               \
            name##_try_put, name##_try_get, name##_join, name##_done, name##_close,         \
            name##_fini, coro_queue_capacity(&name)};                                       \
        queue_reset(&k);                                                                    \
    }

static CORO_QUEUE(struct item, 0) hand;
static CORO_QUEUE(struct item, 1) slot;
static CORO_QUEUE(struct item, 3) shelf;
static CORO_LIFO(struct item, 3) pile;
static CORO_PRIORITY_QUEUE(struct item, 3, urgency) desk;
QUEUE_KIND(hand)
QUEUE_KIND(slot)
QUEUE_KIND(shelf)
QUEUE_KIND(pile)
QUEUE_KIND(desk)

/* Nobody waits for what is there. */
static void queue_check_inside(void)
{
    SWEEP_CHECK(kind->head->depth <= kind->capacity);
    SWEEP_CHECK(!kind->head->getters.waiting || !kind->head->depth);
    SWEEP_CHECK(!kind->head->putters.waiting || kind->head->depth == kind->capacity);
    SWEEP_CHECK(!kind->head->getters.waiting || !kind->head->putters.waiting);
    SWEEP_CHECK(!kind->head->joiners.waiting || kind->head->unfinished);
}

struct producer {
    CORO_FRAME;
    struct sweep_guard guard;
    struct item item;
    int end, rc;
};

/* Each tries at once; if that fails waits, at first not for long. */
CORO(producer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->item.id < my->end; my->item.id++) {
        my->item.urgency = (short)(my->item.id % 3 - 1);
        my->rc = my->item.id % 2 ? kind->try_put(&my->item) : -EAGAIN;
        if (my->rc == -EAGAIN)
            CORO_AWAIT(my->rc, coro_within(co, CORO_US(300), kind->put(co, &my->item)));
        if (my->rc == -ETIMEDOUT)
            CORO_AWAIT(my->rc, kind->put(co, &my->item));
        SWEEP_CHECK(my->rc == 0 || my->rc == -ECANCELED);
        if (my->rc < 0)
            CORO_FAIL(my->rc);
        items_put[my->item.id]++;
        queue_check_inside();
        if (my->item.id % 4 == 0)
            CORO_TRY(coro_sleep(co, CORO_MS(1)));
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct consumer {
    CORO_FRAME;
    struct sweep_guard guard;
    struct item items[MANY];
    int n, rc, undone;
};

/* Number 1 is impatient, number 2 takes many at a time. */
CORO(consumer)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        if (my->n == 2)
            CORO_AWAIT(my->rc, kind->get_many(co, my->items, MANY));
        else
            CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_US(400) : CORO_FOREVER,
                                           kind->get(co, my->items)));
        my->undone = my->rc < 0 ? 0 : my->rc;
        for (int i = 0; i < my->undone; i++)
            items_got[my->items[i].id]++;
        queue_check_inside();
        if (my->rc == 0)
            CORO_LEAVE();
        in_time(my->rc);
        CORO_TRY(coro_sleep(co, CORO_US(350)));
        for (; my->undone; my->undone--)
            SWEEP_EQ(kind->done(), 0);
    }
CORO_FINALLY:
    for (; my->undone; my->undone--)
        SWEEP_EQ(kind->done(), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct market {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group consuming, producing;
    CORO_TASK(consumer) consumers[3];
    CORO_TASK(producer) producers[PRODUCERS];
};

/* The market is over when all that was put is done. */
CORO(market)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->consuming, CORO_COLLECT);
    for (int i = 0; i < 3; i++)
        coro_start(&my->consuming, &my->consumers[i], consumer, .n = i);
    coro_group_open(co, &my->producing, CORO_COLLECT);
    for (int i = 0; i < PRODUCERS; i++)
        coro_start(&my->producing, &my->producers[i], producer,
                   .item = {i * ITEMS / PRODUCERS, 0}, .end = (i + 1) * ITEMS / PRODUCERS);
    CORO_CLOSE(&my->producing);
    CORO_TRY(kind->join(co));
    SWEEP_EQ(kind->head->unfinished, 0);
CORO_FINALLY:
    CORO_CLOSE(&my->producing);
    kind->close();
    CORO_CLOSE(&my->consuming);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(market)

static void market_check(const struct sweep_run *run)
{
    int left[ITEMS] = {0};
    struct item item;
    check_line(&kind->head->getters);
    check_line(&kind->head->putters);
    check_line(&kind->head->joiners);
    SWEEP_EQ(kind->head->unfinished, kind->head->depth);
    while (kind->try_get(&item) == 1)
        left[item.id]++;
    SWEEP_EQ(kind->head->depth, 0);
    SWEEP_EQ(kind->fini(), 0);
    for (int i = 0; i < ITEMS; i++) {
        SWEEP_CHECK(items_put[i] <= 1);
        SWEEP_EQ(items_got[i] + left[i], items_put[i]);
        if (!run->struck)
            SWEEP_EQ(items_got[i], 1);
    }
}

#define MARKET(reset)                                                                       \
    static const struct sweep_scenario s = {&market_main, 0, false, reset, market_check, NULL}; \
    sweep(&s)

TEST(rendezvous_loses_no_item_wherever_it_is_hit)
{
    MARKET(hand_reset);
}

TEST(queue_of_one_loses_no_item_wherever_it_is_hit)
{
    MARKET(slot_reset);
}

TEST(queue_loses_no_item_wherever_it_is_hit)
{
    MARKET(shelf_reset);
}

TEST(lifo_loses_no_item_wherever_it_is_hit)
{
    MARKET(pile_reset);
}

TEST(priority_queue_loses_no_item_wherever_it_is_hit)
{
    MARKET(desk_reset);
}

/* ---- rings ----------------------------------------------------------------------------------- */

#define BYTES 14

static struct {
    CORO_RING(int, 4) ring;
    coro_event drained;
    int tried, got, waits;
    bool over, deaf;
} uart;

static void uart_reset(void)
{
    memset(&uart, 0, sizeof uart);
}

struct interrupts {
    CORO_FRAME;
    struct sweep_guard guard;
};

/* Bursts, the longer of which do not fit. Virtual time stands still while a bell is waited for. */
CORO(interrupts)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    while (uart.tried < BYTES) {
        do
            SWEEP_CHECK(coro_ring_put(&uart.ring, &uart.tried) <= 0);
        while (++uart.tried % 7 != 3 && uart.tried < BYTES);
        CORO_TRY(coro_event_wait(co, &uart.drained));
        if (!uart.deaf)
            coro_event_clear(&uart.drained);
    }
CORO_FINALLY:
    uart.over = true;
    (void)coro_ring_put(&uart.ring, &uart.tried);
    uart.tried++;
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct receiver {
    CORO_FRAME;
    struct sweep_guard guard;
    int byte, last, rc;
};

CORO(receiver)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->last = -1;
    while (!uart.over) {
        my->rc = -ETIMEDOUT;
        if (my->last % 2)
            CORO_AWAIT(my->rc, coro_within(co, 0, coro_ring_wait(co, &uart.ring)));
        if (!in_time(my->rc)) {
            uart.waits += uart.ring.head.put == uart.ring.head.got;
            CORO_TRY(my->rc, coro_ring_wait(co, &uart.ring));
        }
        while (coro_ring_get(&uart.ring, &my->byte)) {
            SWEEP_CHECK(my->byte > my->last);
            my->last = my->byte;
            uart.got++;
            CORO_TRY(coro_sleep(co, 0));
        }
        coro_event_set(&uart.drained);
    }
CORO_FINALLY:
    uart.deaf = true;
    coro_event_set(&uart.drained);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct rings {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(interrupts) interrupts;
    CORO_TASK(receiver) receiver;
};

CORO(rings)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_start(&my->g, &my->receiver, receiver);
    coro_start(&my->g, &my->interrupts, interrupts);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(rings)

static void rings_check(const struct sweep_run *run)
{
    int left = 0, byte;
    while (coro_ring_get(&uart.ring, &byte))
        left++;
    SWEEP_EQ(uart.got + left + (int)uart.ring.head.rejected, uart.tried);
    SWEEP_CHECK(!uart.ring.head.bell.waiter);
    if (run->struck)
        return;
    SWEEP_EQ(uart.got, uart.tried - (int)uart.ring.head.rejected);
    SWEEP_CHECK(uart.waits >= 2);
    SWEEP_EQ(uart.ring.head.rejected, 3);
}

TEST(ring_loses_only_what_it_rejects_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&rings_main, 0, false, uart_reset, rings_check, NULL};
    sweep(&s);
}

/* ---- topics ---------------------------------------------------------------------------------- */

#define EDITIONS 8

static struct {
    CORO_TOPIC(int, 2) topic;
    int read, lost;
} news;

static void news_reset(void)
{
    memset(&news, 0, sizeof news);
}

struct publisher {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, rc;
};

CORO(publisher)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->n < EDITIONS; my->n++) {
        CORO_TRY(coro_sleep(co, CORO_US(my->n % 3 * 400)));
        my->rc = coro_topic_publish(&news.topic, &my->n);
        SWEEP_EQ(my->rc, news.topic.head.subscribers);
        SWEEP_EQ(news.topic.head.line.waiting, 0); /* all were told */
    }
CORO_FINALLY:
    coro_topic_close(&news.topic);
    SWEEP_EQ(coro_topic_publish(&news.topic, &my->n), -EPIPE);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct subscriber {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_sub sub;
    int n, item, rc, read;
    coro_total from;
};

/* Number 1 is impatient, number 2 slow. */
CORO(subscriber)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    SWEEP_EQ(coro_topic_subscribe(&news.topic, &my->sub), 0);
    my->from = my->sub.next;
    for (;;) {
        CORO_AWAIT(my->rc, coro_within(co, my->n == 1 ? CORO_US(150) : CORO_FOREVER,
                                       coro_topic_next(co, &news.topic, &my->sub, &my->item)));
        if (my->rc == 0)
            break;
        if (in_time(my->rc)) {
            my->read++;
            SWEEP_EQ(my->item, my->sub.next - 1);
            SWEEP_EQ((coro_total)my->read + my->sub.lost, my->sub.next - my->from);
        }
        CORO_TRY(coro_sleep(co, CORO_US(my->n == 2 ? 1000 : 10)));
    }
    SWEEP_EQ(my->sub.next, news.topic.head.sent);
CORO_FINALLY:
    news.read += my->read;
    news.lost += (int)my->sub.lost;
    coro_topic_unsubscribe(&news.topic, &my->sub);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct topics {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(publisher) publisher;
    CORO_TASK(subscriber) subscribers[4];
};

CORO(topics)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->subscribers[i], subscriber, .n = i);
    CORO_TRY(coro_sleep(co, 0));
    coro_start(&my->g, &my->publisher, publisher);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(topics)

static void topics_check(const struct sweep_run *run)
{
    check_line(&news.topic.head.line);
    SWEEP_EQ(news.topic.head.subscribers, 0);
    SWEEP_EQ(coro_topic_fini(&news.topic), 0);
    if (!run->struck)
        SWEEP_CHECK(news.lost > 0 && news.read > EDITIONS);
}

TEST(subscriber_reads_or_misses_each_item_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&topics_main, 0, false, news_reset, topics_check, NULL};
    sweep(&s);
}

/* ---- select, over all that there is ---------------------------------------------------------- */

enum { CASE_GET, CASE_PUT, CASE_EVENT, CASE_PROMISE, CASE_MUTEX, CASE_SEM, CASE_TOPIC, CASES };

#define FED       6
#define SELECTORS 2

static struct {
    CORO_QUEUE(int, 1) in;
    CORO_QUEUE(int, 0) out;
    coro_event event;
    coro_promise promise;
    coro_mutex mutex;
    coro_sem sem;
    CORO_TOPIC(int, 2) topic;
    int fed, got, put, taken, inside, told[CASES];
} desks;

static void desks_reset(void)
{
    memset(&desks, 0, sizeof desks);
    SWEEP_EQ(coro_sem_init(&desks.sem, 1, 1), 0);
}

/* Nobody waits for what is there. */
static void desks_check_inside(void)
{
    SWEEP_CHECK(!desks.mutex.line.waiting || desks.mutex.owner);
    SWEEP_CHECK(!desks.sem.line.waiting || !desks.sem.value);
    SWEEP_CHECK(!desks.event.line.waiting || !coro_event_is_set(&desks.event));
    SWEEP_CHECK(!desks.in.head.getters.waiting || !coro_queue_depth(&desks.in));
}

struct selector {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_case cases[CASES];
    coro_sub sub;
    int n, i, rc, in, out, news, turns;
    bool permit;
    uint32_t seed;
};

static void selector_fill(struct selector *my)
{
    coro_case_get(&my->cases[CASE_GET], &desks.in, &my->in);
    coro_case_put(&my->cases[CASE_PUT], &desks.out, &my->out);
    coro_case_event(&my->cases[CASE_EVENT], &desks.event);
    coro_case_promise(&my->cases[CASE_PROMISE], &desks.promise);
    coro_case_mutex(&my->cases[CASE_MUTEX], &desks.mutex);
    coro_case_sem(&my->cases[CASE_SEM], &desks.sem);
    coro_case_topic(&my->cases[CASE_TOPIC], &desks.topic, &my->sub, &my->news);
}

/* One case was chosen: what its operation gave. Those that have come to their end are let off. */
static void selector_serve(coro_task *co, struct selector *my, int i)
{
    coro_case *c = &my->cases[i];
    bool over = i == CASE_EVENT || i == CASE_PROMISE || ++my->turns > 9;
    desks.told[i]++;
    desks_check_inside();
    if (i == CASE_GET) {
        desks.got += (int)c->rc;
        over = c->rc == 0;
    } else if (i == CASE_PUT) {
        SWEEP_CHECK(c->rc == 0 || c->rc == -EPIPE);
        desks.put += c->rc == 0;
        over = c->rc < 0;
    } else if (i == CASE_EVENT) {
        SWEEP_CHECK(coro_event_is_set(&desks.event));
    } else if (i == CASE_PROMISE) {
        SWEEP_EQ(c->rc, 42);
    } else if (i == CASE_MUTEX) {
        SWEEP_CHECK(desks.mutex.owner == co);
        SWEEP_EQ(desks.inside++, 0);
    } else if (i == CASE_SEM) {
        SWEEP_EQ(c->rc, 0);
        my->permit = true;
    } else {
        over = c->rc == 0;
    }
    if (over)
        coro_case_off(c);
}

static void selector_give_back(coro_task *co, struct selector *my)
{
    if (desks.mutex.owner == co) {
        desks.inside--;
        SWEEP_EQ(coro_mutex_unlock(co, &desks.mutex), 0);
    }
    if (my->permit)
        SWEEP_EQ(coro_sem_release(&desks.sem), 0);
    my->permit = false;
}

/* Number 0 is impatient and takes what is first, the other one by chance. */
CORO(selector)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->seed = 5;
    SWEEP_EQ(coro_topic_subscribe(&desks.topic, &my->sub), 0);
    selector_fill(my);
    for (;;) {
        if (my->n == 0)
            CORO_AWAIT(my->i, coro_within(co, CORO_US(450), coro_select(co, my->cases, CASES)));
        else
            CORO_AWAIT(my->i, coro_select_random(co, my->cases, CASES, &my->seed));
        for (int i = 0; i < CASES; i++)
            SWEEP_CHECK(!my->cases[i].next);
        if (my->i == -EINVAL)
            CORO_LEAVE(); /* all are off */
        if (in_time(my->i))
            selector_serve(co, my, my->i);
        CORO_TRY(coro_sleep(co, my->i == -ETIMEDOUT ? 0 : CORO_US(100)));
        selector_give_back(co, my);
    }
CORO_FINALLY:
    selector_give_back(co, my);
    coro_topic_unsubscribe(&desks.topic, &my->sub);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct feeder {
    CORO_FRAME;
    struct sweep_guard guard;
    int i;
};

/* Puts into `in`, and tells the news. */
CORO(feeder)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < FED; my->i++) {
        CORO_TRY(coro_queue_put(co, &desks.in, &my->i));
        desks.fed++;
        if (my->i % 2)
            CORO_TRY(coro_sleep(co, CORO_US(400)));
        SWEEP_CHECK(coro_topic_publish(&desks.topic, &my->i) <= SELECTORS);
    }
CORO_FINALLY:
    coro_queue_close(&desks.in);
    coro_topic_close(&desks.topic);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct taker {
    CORO_FRAME;
    struct sweep_guard guard;
    int i, item;
};

/* Gets from `out`, and sets what can be set. */
CORO(taker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < FED; my->i++) {
        if (my->i % 2)
            CORO_TRY(coro_sleep(co, CORO_US(350)));
        CORO_TRY(coro_queue_get(co, &desks.out, &my->item));
        desks.taken++;
        if (my->i == 2)
            coro_event_set(&desks.event);
        if (my->i == 4)
            SWEEP_EQ(coro_promise_set(&desks.promise, 42), 0);
    }
CORO_FINALLY:
    coro_queue_close(&desks.out);
    coro_event_set(&desks.event);
    (void)coro_promise_set(&desks.promise, 42);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct neighbour {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc;
    bool permit;
};

/* Stands in the same lines, between the cases. Number 0 is impatient, and behind number 1, who
 * takes a long time. */
CORO(neighbour)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 3; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(120),
                                       coro_mutex_lock(co, &desks.mutex)));
        if (in_time(my->rc))
            SWEEP_EQ(desks.inside++, 0);
        desks_check_inside();
        CORO_TRY(coro_sleep(co, CORO_US(my->n == 1 ? 600 : 130)));
        if (my->rc == 0) {
            desks.inside--;
            SWEEP_EQ(coro_mutex_unlock(co, &desks.mutex), 0);
        }
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(120),
                                       coro_sem_acquire(co, &desks.sem)));
        my->permit = in_time(my->rc);
        CORO_TRY(coro_sleep(co, CORO_US(130)));
        SWEEP_EQ(coro_sem_release_n(&desks.sem, my->permit), my->permit ? 0 : -EINVAL);
        my->permit = false;
    }
CORO_FINALLY:
    if (desks.mutex.owner == co) {
        desks.inside--;
        SWEEP_EQ(coro_mutex_unlock(co, &desks.mutex), 0);
    }
    SWEEP_EQ(coro_sem_release_n(&desks.sem, my->permit), my->permit ? 0 : -EINVAL);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct selects {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(neighbour) neighbours[3];
    CORO_TASK(selector) selectors[SELECTORS];
    CORO_TASK(feeder) feeder;
    CORO_TASK(taker) taker;
};

CORO(selects)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 3; i++) {
        coro_start(&my->g, &my->neighbours[i], neighbour, .n = i);
        if (i < SELECTORS)
            coro_start(&my->g, &my->selectors[i], selector, .n = i);
    }
    coro_start(&my->g, &my->feeder, feeder);
    coro_start(&my->g, &my->taker, taker);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(selects)

static void selects_check(const struct sweep_run *run)
{
    SWEEP_EQ(desks.got + (int)coro_queue_depth(&desks.in), desks.fed);
    SWEEP_EQ(desks.put, desks.taken);
    SWEEP_EQ(desks.sem.value, 1);
    SWEEP_CHECK(!desks.mutex.owner && !desks.mutex.dead && !desks.inside);
    check_line(&desks.event.line);
    check_line(&desks.promise.line);
    check_line(&desks.topic.head.line);
    SWEEP_EQ(coro_queue_fini(&desks.in), 0);
    SWEEP_EQ(coro_queue_fini(&desks.out), 0);
    SWEEP_EQ(coro_mutex_fini(&desks.mutex), 0);
    SWEEP_EQ(coro_sem_fini(&desks.sem), 0);
    SWEEP_EQ(coro_topic_fini(&desks.topic), 0);
    if (run->struck)
        return;
    SWEEP_EQ(desks.got, FED);
    SWEEP_EQ(desks.taken, FED);
    for (int i = 0; i < CASES; i++)
        SWEEP_CHECK(desks.told[i] >= SELECTORS);
}

TEST(select_does_one_thing_and_leaves_the_others_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&selects_main, 0, false, desks_reset, selects_check,
                                            NULL};
    sweep(&s);
}

/* ---- selects that meet each other: each puts and gets at one rendezvous ---------------------- */

static struct {
    CORO_QUEUE(int, 0) place;
    int put, got;
} meeting;

static void meeting_reset(void)
{
    memset(&meeting, 0, sizeof meeting);
}

struct guest {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_case cases[2];
    int n, i, other;
};

CORO(guest)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_case_put(&my->cases[0], &meeting.place, &my->n);
    coro_case_get(&my->cases[1], &meeting.place, &my->other);
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_US(my->n * 60)));
        CORO_AWAIT(my->i, coro_within(co, CORO_US(200), coro_select(co, my->cases, 2)));
        SWEEP_CHECK(!my->cases[0].next && !my->cases[1].next);
        if (!in_time(my->i))
            continue;
        SWEEP_CHECK(my->i == 0 || my->other != my->n); /* nobody meets himself */
        if (my->cases[my->i].rc == (my->i == 0 ? -EPIPE : 0))
            CORO_LEAVE();
        SWEEP_EQ(my->cases[my->i].rc, my->i);
        meeting.put += my->i == 0;
        meeting.got += my->i == 1;
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct party {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(guest) guests[4];
};

CORO(party)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->guests[i], guest, .n = i);
    CORO_TRY(coro_sleep(co, CORO_MS(2)));
CORO_FINALLY:
    coro_queue_close(&meeting.place);
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(party)

static void party_check(const struct sweep_run *run)
{
    SWEEP_EQ(meeting.put, meeting.got);
    check_line(&meeting.place.head.getters);
    check_line(&meeting.place.head.putters);
    SWEEP_EQ(coro_queue_fini(&meeting.place), 0);
    if (!run->struck)
        SWEEP_CHECK(meeting.got >= 4);
}

TEST(selects_on_both_sides_of_a_rendezvous_meet_wherever_they_are_hit)
{
    static const struct sweep_scenario s = {&party_main, 0, false, meeting_reset, party_check,
                                            NULL};
    sweep(&s);
}

/* ---- trying again ---------------------------------------------------------------------------- */

static struct {
    coro_backoff backoffs[4];
    int well, given_up;
} efforts;

static void efforts_reset(void)
{
    memset(&efforts, 0, sizeof efforts);
}

struct trier {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_backoff *backoff;
    int n, rc, again, calls;
};

/* It goes well the third time, but number 1 tries twice only, and number 2 fails for good. */
CORO(trier)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->backoff->base = CORO_MS(1);
    my->backoff->exact = my->n == 0;
    my->backoff->seed = 7;
    my->backoff->tries = my->n == 1 ? 2 : 0;
    do {
        my->rc = ++my->calls == 3 ? 0 : my->n == 2 ? -EINVAL : -EAGAIN;
        CORO_AWAIT(my->again, coro_backoff_wait(co, my->backoff, my->rc));
        SWEEP_CHECK(!my->backoff->sleeping.head);
        if (my->again == -ECANCELED)
            CORO_FAIL(my->again);
        SWEEP_CHECK(my->again == my->rc || my->again == 1);
    } while (my->again == 1);
    efforts.well += my->again == 0;
    efforts.given_up += my->again < 0;
    SWEEP_CHECK(my->again < 0 || my->backoff->tried == 0);
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct backoffs {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(trier) triers[4];
};

CORO(backoffs)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->triers[i], trier, .backoff = &efforts.backoffs[i], .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    sweep_leave(&my->guard);
    CORO_END(efforts.well);
}

SWEEP_MAIN(backoffs)

static void backoffs_check(const struct sweep_run *run)
{
    for (int i = 0; i < 4; i++)
        SWEEP_CHECK(!efforts.backoffs[i].sleeping.head);
    if (run->struck)
        return;
    SWEEP_EQ(efforts.given_up, 2);
    SWEEP_EQ(efforts.backoffs[0].waited, CORO_MS(3));
    SWEEP_CHECK(efforts.backoffs[3].waited <= CORO_MS(3));
}

TEST(trying_again_with_backoff_ends_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&backoffs_main, 2, true, efforts_reset, backoffs_check,
                                            NULL};
    sweep(&s);
}

/* ---- rate limits ----------------------------------------------------------------------------- */

#define BURST 3

static struct {
    coro_rate rate;
    coro_time start;
    int tokens, takes;
} tap;

static void tap_reset(void)
{
    memset(&tap, 0, sizeof tap);
    tap.rate.rate = 1000;
    tap.rate.burst = BURST;
}

struct drinker {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc;
};

/* Numbers 1 and 4 are impatient, and stand in front of others meanwhile. */
CORO(drinker)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 3; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n % 3 == 1 ? CORO_US(1500) : CORO_FOREVER,
                                       coro_rate_take(co, &tap.rate, 1u + (unsigned)my->n % 3)));
        if (!in_time(my->rc))
            continue;
        tap.tokens += 1 + my->n % 3;
        tap.takes++;
        SWEEP_CHECK((tap.tokens - BURST) * CORO_MS(1) <= coro_now(co) - tap.start);
    }
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct taps {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    CORO_TASK(drinker) drinkers[6];
};

CORO(taps)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    tap.start = coro_now(co);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 6; i++)
        coro_start(&my->g, &my->drinkers[i], drinker, .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_CHECK(CORO_ERR || (tap.tokens - BURST) * CORO_MS(1) <= coro_now(co) - tap.start);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(taps)

static void taps_check(const struct sweep_run *run)
{
    check_line(&tap.rate.line);
    SWEEP_EQ(coro_rate_fini(&tap.rate), 0);
    if (!run->struck)
        SWEEP_CHECK(tap.takes >= 12);
}

TEST(rate_is_kept_and_nobody_forgotten_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&taps_main, 0, false, tap_reset, taps_check, NULL};
    sweep(&s);
}

/* ---- circuit breakers ------------------------------------------------------------------------ */

static struct {
    coro_breaker breaker;
    int calls, out, refused, half_open;
} fuse;

static void fuse_reset(void)
{
    memset(&fuse, 0, sizeof fuse);
    fuse.breaker.failures = 2;
    fuse.breaker.cooling = CORO_MS(1);
}

struct caller {
    CORO_FRAME;
    struct sweep_guard guard;
    int n, i, rc;
    bool in;
};

/* The first four calls fail, whoever makes them. */
CORO(caller)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 4; my->i++) {
        my->rc = coro_breaker_enter(co, &fuse.breaker);
        SWEEP_CHECK(my->rc == 0 || my->rc == -EHOSTDOWN);
        my->in = my->rc == 0;
        fuse.refused += !my->in;
        fuse.half_open += fuse.breaker.state == CORO_BREAKER_HALF_OPEN;
        if (my->in) {
            fuse.out++;
            SWEEP_CHECK(fuse.breaker.probing <= 1);
            CORO_TRY(coro_sleep(co, CORO_US(200 + my->n * 10)));
            my->in = false;
            fuse.out--;
            coro_breaker_leave(&fuse.breaker, ++fuse.calls <= 4 ? -EIO : 0);
        }
        CORO_TRY(coro_sleep(co, CORO_US(400)));
    }
CORO_FINALLY:
    if (my->in) {
        fuse.out--;
        coro_breaker_leave(&fuse.breaker, CORO_ERR);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct fuses {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    coro_scope shield;
    CORO_TASK(caller) callers[4];
    int rc;
};

/* Whatever was cancelled: after a while it lets a probe through, and closes. */
CORO(fuses)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->g, CORO_ALL);
    for (int i = 0; i < 4; i++)
        coro_start(&my->g, &my->callers[i], caller, .n = i);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    SWEEP_EQ(fuse.out, 0);
    SWEEP_EQ(fuse.breaker.state == CORO_BREAKER_HALF_OPEN && fuse.breaker.probing, 0);
    my->rc = CORO_ERR;
    coro_shield_open(co, &my->shield, CORO_FOREVER);
    CORO_IGNORE(coro_sleep(co, CORO_MS(1)));
    CORO_ERR = coro_scope_close(co, &my->shield, my->rc);
    SWEEP_EQ(coro_breaker_enter(co, &fuse.breaker), 0);
    coro_breaker_leave(&fuse.breaker, 0);
    SWEEP_EQ(coro_breaker_state(co, &fuse.breaker), CORO_BREAKER_CLOSED);
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(fuses)

static void fuses_check(const struct sweep_run *run)
{
    SWEEP_EQ(fuse.refused, fuse.breaker.rejected);
    if (!run->struck)
        SWEEP_CHECK(fuse.refused > 0 && fuse.half_open > 0);
}

TEST(circuit_breaker_is_left_by_all_and_closes_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&fuses_main, 0, false, fuse_reset, fuses_check, NULL};
    sweep(&s);
}

/* ---- pools, with a reaper -------------------------------------------------------------------- */

struct conn {
    coro_task *user;
    bool open;
};

static struct {
    CORO_POOL(struct conn, 2) pool;
    int open, uses, reaped;
} conns;

static void conns_reset(void)
{
    memset(&conns, 0, sizeof conns);
    conns.pool.head.idle_limit = CORO_US(500);
    conns.pool.head.age_limit = CORO_MS(3);
}

/* A resource that is not healthy is closed before it goes back. */
static void conn_end(struct conn *conn)
{
    conns.open -= conn->open;
    conn->open = false;
    SWEEP_EQ(coro_pool_release(&conns.pool, conn, false), 0);
}

struct conn_user {
    CORO_FRAME;
    struct sweep_guard guard;
    struct conn *conn;
    int n, i, rc;
    bool healthy;
};

/* Number 0 is impatient, number 2 breaks things. */
CORO(conn_user)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (; my->i < 3; my->i++) {
        CORO_AWAIT(my->rc, coro_within(co, my->n ? CORO_FOREVER : CORO_US(250),
                                       coro_pool_acquire(co, &conns.pool, &my->conn)));
        if (my->rc == -ESHUTDOWN)
            CORO_LEAVE();
        if (in_time(my->rc)) {
            SWEEP_CHECK(!my->conn->user && my->conn->open == !my->rc);
            conns.open += my->rc;
            conns.uses++;
            my->conn->open = true;
            my->conn->user = co;
            CORO_TRY(coro_sleep(co, CORO_US(300)));
            SWEEP_CHECK(my->conn->user == co);
            my->conn->user = NULL;
            if (my->n == 2)
                conn_end(my->conn);
            else
                SWEEP_EQ(coro_pool_release(&conns.pool, my->conn, true), 0);
            my->conn = NULL;
        }
        CORO_TRY(coro_sleep(co, CORO_US(my->n * 300)));
    }
CORO_FINALLY:
    if (my->conn) {
        my->conn->user = NULL;
        conn_end(my->conn);
    }
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct reaper {
    CORO_FRAME;
    struct sweep_guard guard;
    struct conn *conn;
};

/* It takes a while to end one. */
CORO(reaper)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_US(250)));
        while (coro_pool_idle(co, &conns.pool, &my->conn)) {
            SWEEP_CHECK(!my->conn->user && my->conn->open);
            CORO_TRY(coro_sleep(co, CORO_US(70)));
            conns.reaped++;
            conn_end(my->conn);
            my->conn = NULL;
        }
        my->conn = NULL;
    }
CORO_FINALLY:
    if (my->conn)
        conn_end(my->conn);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct pools {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group reaping, using_them;
    coro_scope shield;
    CORO_TASK(conn_user) users[5];
    CORO_TASK(reaper) reaper;
    struct conn *conn;
    int rc;
};

/* Closed while some are out, and others wait. */
CORO(pools)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    coro_group_open(co, &my->reaping, CORO_COLLECT);
    coro_start(&my->reaping, &my->reaper, reaper);
    coro_group_open(co, &my->using_them, CORO_COLLECT);
    for (int i = 0; i < 5; i++)
        coro_start(&my->using_them, &my->users[i], conn_user, .n = i);
    CORO_TRY(coro_sleep(co, CORO_US(1250)));
    coro_pool_close(&conns.pool);
    CORO_TRY(coro_pool_drain(co, &conns.pool));
CORO_FINALLY:
    coro_pool_close(&conns.pool);
    CORO_CLOSE(&my->using_them);
    my->rc = CORO_ERR;
    coro_group_cancel(&my->reaping);
    CORO_CLOSE(&my->reaping);
    SWEEP_EQ(conns.pool.head.out, 0);
    SWEEP_EQ(conns.open, conns.pool.head.idle);
    while (coro_pool_idle(co, &conns.pool, &my->conn))
        conn_end(my->conn);
    CORO_ERR = my->rc;
    sweep_leave(&my->guard);
    CORO_END(0);
}

SWEEP_MAIN(pools)

static void pools_check(const struct sweep_run *run)
{
    SWEEP_EQ(conns.open, 0);
    SWEEP_CHECK(!conns.pool.head.out && !conns.pool.head.idle);
    check_line(&conns.pool.head.line);
    check_line(&conns.pool.head.drainers);
    SWEEP_EQ(coro_pool_fini(&conns.pool), 0);
    if (!run->struck)
        SWEEP_CHECK(conns.uses > 4 && conns.reaped > 0 && conns.pool.head.reused > 0);
}

TEST(pool_gets_back_all_that_was_out_wherever_it_is_hit)
{
    static const struct sweep_scenario s = {&pools_main, 0, false, conns_reset, pools_check, NULL};
    sweep(&s);
}
