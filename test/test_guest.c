/* test_guest.c -- the loop as a guest in a foreign one: a hand-written poll(2) loop. */
#include "io.h"

#include <sys/resource.h>

#if CORO_IO_BACKEND == CORO_IO_POLL

TEST(guest_has_no_descriptor_with_poll)
{
    begin();
    CHECK_EQ(coro_loop_fd(&io_loop), -ENOSYS);
    finish();
}

#else

/* ---- the host -------------------------------------------------------------------------------- */

static int turns, idle_turns; /* of the host: all; those whose step had nothing to do */

/* Milliseconds to sleep, rounded up; -1: until the descriptor is ready. */
static int sleep_of(coro_loop *loop)
{
    coro_time until = coro_loop_deadline(loop), now = coro_loop_now(loop);
    if (until == CORO_FOREVER)
        return -1;
    return until <= now ? 0 : (int)((until - now + CORO_MS(1) - 1) / CORO_MS(1));
}

/* The host's loop. It may only sleep: a wake-up that is lost ends in the harness's alarm. */
static void host(void)
{
    struct pollfd p = {coro_loop_fd(&io_loop), POLLIN, 0};
    CHECK(p.fd >= 0);
    turns = idle_turns = 0;
    for (;;) {
        coro_total steps = coro_stats(&io_loop).steps;
        int alive = coro_loop_step(&io_loop);
        CHECK(coro_stats(&io_loop).steps - steps <= CORO_STEPS);
        idle_turns += coro_stats(&io_loop).steps == steps;
        turns++;
        if (!alive)
            break;
        CHECK(poll(&p, 1, sleep_of(&io_loop)) >= 0);
    }
    CHECK_STR(coro_verify(&io_loop), NULL);
}

static void end(void)
{
    CHECK_EQ(coro_stats(&io_loop).held, 0);
    CHECK_EQ(coro_loop_fini(&io_loop), 0);
}

/* ---- what wakes the host --------------------------------------------------------------------- */

struct ticks {
    CORO_FRAME;
    coro_time every;
    int n, i;
};

CORO(ticks)
{
    CORO_BEGIN();
    for (; my->i < my->n; my->i++)
        CORO_TRY(coro_sleep(co, my->every));
    CORO_END(0);
}

TEST(guest_sleeps_from_timer_to_timer)
{
    static CORO_TASK(ticks) t;
    begin();
    coro_start(&io_loop.root, &t, ticks, .every = CORO_MS(2), .n = 10);
    host();
    CHECK_EQ(t.frame.i, 10);
    CHECK(turns <= 40); /* one each, and some in which the timer wheel moves a far one nearer */
    end();
}

struct ping {
    CORO_FRAME;
    coro_fd h;
    int n, i;
    char c;
};

CORO(ping)
{
    CORO_BEGIN();
    for (; my->i < my->n; my->i++) {
        CORO_TRY(coro_write(co, &my->h, "x", 1));
        CORO_TRY(coro_read(co, &my->h, &my->c, 1));
    }
CORO_FINALLY:
    coro_close(&my->h);
    CORO_END(my->i);
}

TEST(guest_is_woken_by_sockets)
{
    static CORO_TASK(ping) a, b;
    coro_fd one = {0}, other = {0};
    begin();
    both(&one, &other);
    coro_start(&io_loop.root, &a, ping, .h = one, .n = 100);
    coro_start(&io_loop.root, &b, ping, .h = other, .n = 100);
    host();
    CHECK_EQ(coro_task_result(&a), 100);
    CHECK_EQ(coro_task_result(&b), 100);
    CHECK(turns <= 250);
    end();
}

struct listens {
    CORO_FRAME;
    coro_irq irq;
    unsigned wanted, heard;
    int n;
};

CORO(listens)
{
    CORO_BEGIN();
    for (; my->heard < my->wanted; my->heard += (unsigned)my->n)
        CORO_TRY(my->n, coro_irq_wait(co, &my->irq));
    CORO_END(0);
}

static CORO_TASK(listens) listener;

static void *rings(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        coro_irq_raise(&listener.frame.irq);
        if (i % 100 == 0)
            usleep(10); /* the host falls asleep now and then */
    }
    return arg;
}

TEST(guest_is_woken_by_a_thread_that_rings)
{
    pthread_t thread;
    begin();
    coro_start(&io_loop.root, &listener, listens, .wanted = 2000);
    CHECK_EQ(pthread_create(&thread, NULL, rings, NULL), 0);
    host();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(listener.frame.heard, 2000);
    CHECK(turns <= 2100);
    end();
}

static intptr_t doubles(coro_job *job, void *arg)
{
    (void)job;
    usleep(1000);
    return 2 * *(int *)arg;
}

struct asks {
    CORO_FRAME;
    int n, rc;
};

CORO(asks)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_blocking(co, doubles, &my->n));
    CORO_END(my->rc);
}

TEST(guest_is_woken_by_the_end_of_a_blocking_job)
{
    static CORO_TASK(asks) t[8];
    begin();
    for (int i = 0; i < 8; i++)
        coro_start(&io_loop.root, &t[i], asks, .n = i);
    host();
    for (int i = 0; i < 8; i++)
        CHECK_EQ(coro_task_result(&t[i]), 2 * i);
    CHECK(turns <= 20);
    end();
}

struct runs {
    CORO_FRAME;
    struct coro_process_task run;
    coro_command command;
    int status;
};

CORO(runs)
{
    static const char *const argv[] = {"true", NULL};
    CORO_BEGIN();
    my->command.argv = argv;
    CORO_TRY(my->status, coro_process_run(co, &my->run, &my->command));
    CORO_END(my->status);
}

TEST(guest_is_woken_by_the_end_of_a_process)
{
    static CORO_TASK(runs) t;
    begin();
    coro_start(&io_loop.root, &t, runs);
    host();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK(turns <= 20);
    end();
}

/* ---- what the host must not miss ------------------------------------------------------------- */

TEST(guest_goes_on_with_what_has_had_its_share_of_a_turn)
{
    static CORO_TASK(reads_exact) t;
    static char got[200];
    coro_fd h = {0};
    int peer;
    begin();
    peer = pair_of(&h, SOCK_SEQPACKET); /* a read moves a byte, and a turn has sixteen of them */
    coro_start(&io_loop.root, &t, reads_exact, .h = &h, .to = got, .n = sizeof got);
    settle();
    for (size_t i = 0; i < sizeof got; i++)
        say(peer, "x");
    host(); /* no edge tells of what is there already */
    CHECK_EQ(coro_task_result(&t), sizeof got);
    CHECK(turns >= (int)sizeof got / 16);
    CHECK(turns <= (int)sizeof got / 16 + 10);
    coro_close(&h);
    close(peer);
    end();
}

TEST(guest_serves_more_descriptors_than_one_look_tells_of)
{
    enum { N = 300 };
    static CORO_TASK(reads) t[N];
    static coro_fd h[N];
    static int peer[N];
    begin();
    for (int i = 0; i < N; i++) {
        peer[i] = pair(&h[i]);
        coro_start(&io_loop.root, &t[i], reads, .h = &h[i]);
    }
    settle();
    for (int i = 0; i < N; i++)
        say(peer[i], "x");
    host();
    for (int i = 0; i < N; i++) {
        CHECK_EQ(coro_task_result(&t[i]), 1);
        coro_close(&h[i]);
        close(peer[i]);
    }
    CHECK(turns <= 10);
    end();
}

TEST(guest_does_nothing_while_nothing_happens)
{
    static CORO_TASK(reads) quiet;
    static CORO_TASK(sleeps) alarm;
    coro_fd h = {0};
    int peer;
    begin();
    peer = pair(&h);
    coro_start(&io_loop.root, &quiet, reads, .h = &h);
    say(peer, "x"); /* the handle is registered and has been read once: nothing is left of that */
    settle();
    CHECK_EQ(coro_task_result(&quiet), 1);
    memset(&quiet, 0, sizeof quiet);
    coro_start(&io_loop.root, &quiet, reads, .h = &h);
    coro_start(&io_loop.root, &alarm, sleeps, .d = CORO_MS(30));
    settle();
    CHECK_EQ(coro_task_status(&quiet), CORO_RUNNING);
    while (coro_task_status(&alarm) == CORO_RUNNING) {
        struct pollfd p = {coro_loop_fd(&io_loop), POLLIN, 0};
        coro_total steps = coro_stats(&io_loop).steps;
        CHECK_EQ(poll(&p, 1, sleep_of(&io_loop)), 0);
        (void)coro_loop_step(&io_loop);
        idle_turns += coro_stats(&io_loop).steps == steps;
    }
    CHECK(idle_turns <= 3); /* the timer wheel moves the alarm nearer */
    coro_close(&h);
    host();
    CHECK_EQ(coro_task_result(&quiet), -EBADF);
    close(peer);
    end();
}

TEST(guest_that_was_told_of_a_post_is_not_told_again)
{
    struct pollfd p;
    begin();
    p.fd = coro_loop_fd(&io_loop);
    p.events = POLLIN;
    memset(&listener, 0, sizeof listener);
    coro_start(&io_loop.root, &listener, listens, .wanted = 2);
    settle();
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sleep_of(&io_loop), -1);
        CHECK_EQ(poll(&p, 1, 0), 0);
        coro_irq_raise(&listener.frame.irq);
        CHECK_EQ(sleep_of(&io_loop), 0);
        CHECK_EQ(poll(&p, 1, 0), 1);
        (void)coro_loop_step(&io_loop);
        CHECK_EQ(poll(&p, 1, 0), 0);
    }
    CHECK_EQ(listener.frame.heard, 2);
    end();
}

/* ---- the host's own doings ------------------------------------------------------------------- */

TEST(guest_is_cancelled_by_its_host)
{
    static CORO_TASK(reads) t;
    coro_fd h = {0};
    int peer;
    begin();
    peer = pair(&h);
    coro_start(&io_loop.root, &t, reads, .h = &h);
    CHECK_EQ(coro_loop_step(&io_loop), 1);
    CHECK_EQ(sleep_of(&io_loop), -1);
    coro_task_cancel(&t);
    CHECK_EQ(sleep_of(&io_loop), 0);
    host();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK(turns <= 2);
    coro_close(&h);
    close(peer);
    end();
}

TEST(guest_descriptor_is_the_same_for_life_and_the_loop_runs_by_itself_too)
{
    static CORO_TASK(ticks) t;
    int number;
    begin();
    number = coro_loop_fd(&io_loop);
    CHECK(number >= 0);
    CHECK(fcntl(number, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(coro_loop_fd(&io_loop), number);
    coro_start(&io_loop.root, &t, ticks, .every = CORO_MS(1), .n = 2);
    host();
    CHECK_EQ(coro_loop_fd(&io_loop), number);
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, ticks, .every = CORO_MS(1), .n = 2);
    finish();
    CHECK_EQ(t.frame.i, 2);
    CHECK_EQ(fcntl(number, F_GETFD), -1);
}

TEST(guest_that_gets_no_descriptor_is_told_why)
{
    struct rlimit before, none;
    int open = open_descriptors();
    begin();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(coro_loop_fd(&io_loop), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(coro_loop_fd(&io_loop) >= 0);
    end();
    CHECK_EQ(open_descriptors(), open);
}

#endif /* CORO_IO_BACKEND == CORO_IO_POLL */
