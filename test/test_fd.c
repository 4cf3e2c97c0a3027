/* test_fd.c -- descriptors: reading, writing, waiting, closing, foreign ones. (I01 to I36) */
#include "io.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static coro_fd a, b;

static void ends(int number)
{
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_close(&b), 0);
    if (number >= 0)
        CHECK_EQ(close(number), 0);
}

/* ---- reading -------------------------------------------------------------------------------- */

TEST(a_read_waits_and_gives_what_came)
{
    static CORO_TASK(reads) t;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(coro_stats(&io_loop).held, 1);
    say(peer, "hello");
    finish();
    CHECK_EQ(coro_task_result(&t), 5);
    CHECK_EQ(memcmp(t.frame.text, "hello", 5), 0);
    CHECK_EQ(coro_fd_moved(&a, CORO_IN), 5);
    ends(peer);
}

struct reads_twice {
    CORO_FRAME;
    coro_fd *h;
    int first, second, third;
    char text[8];
};

CORO(reads_twice)
{
    CORO_BEGIN();
    CORO_AWAIT(my->first, coro_read(co, my->h, my->text, sizeof my->text));
    CORO_AWAIT(my->second, coro_read(co, my->h, my->text, sizeof my->text));
    CORO_AWAIT(my->third, coro_read(co, my->h, my->text, sizeof my->text));
    CORO_END(0);
}

TEST(the_end_is_0_again_and_again_after_all_that_came) /* I04, I05 */
{
    for (int waiting = 0; waiting < 2; waiting++) {
        static CORO_TASK(reads_twice) t;
        int peer = pair(&a);
        begin();
        coro_start(&io_loop.root, &t, reads_twice, .h = &a);
        if (waiting)
            settle();
        say(peer, "bye");
        CHECK_EQ(close(peer), 0);
        finish();
        CHECK_EQ(t.frame.first, 3);
        CHECK_EQ(t.frame.second, 0);
        CHECK_EQ(t.frame.third, 0);
        ends(-1);
    }
}

struct nothings {
    CORO_FRAME;
    coro_fd *h;
    int rc;
    char text[4];
    struct iovec empty[2];
};

CORO(nothings)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_read(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_AWAIT(my->rc, coro_readv(co, my->h, my->empty, 2));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_AWAIT(my->rc, coro_readv(co, my->h, my->empty, 0));
    CHECK_EQ(my->rc, -EINVAL);
    CORO_AWAIT(my->rc, coro_read_exact(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, 0);
    CORO_AWAIT(my->rc, coro_write(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, 0);
    CHECK_EQ(coro_shutdown(my->h, CORO_OUT), 0);
    CORO_AWAIT(my->rc, coro_write(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, -EPIPE);
    CHECK_EQ(coro_close(my->h), 0);
    CORO_AWAIT(my->rc, coro_write(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, -EBADF);
    CORO_AWAIT(my->rc, coro_read_exact(co, my->h, my->text, 0));
    CHECK_EQ(my->rc, -EBADF);
    CORO_AWAIT(my->rc, coro_wait_readable(co, my->h));
    CHECK_EQ(my->rc, -EBADF);
    CHECK_EQ(coro_shutdown(my->h, CORO_IN), -EBADF);
    CHECK_EQ(coro_fd_release(my->h), -EBADF);
    CHECK_EQ(coro_close(my->h), 0);
    CHECK_EQ(coro_fd_number(my->h), -1);
    CORO_END(0);
}

TEST(reading_nothing_is_refused_and_writing_nothing_reports_what_is_wrong) /* I04, I18 */
{
    static CORO_TASK(nothings) t;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, nothings, .h = &a);
    finish();
    ends(peer);
}


static char room[256];

TEST(read_exact_goes_on_until_all_is_there_and_is_short_at_the_end) /* I01, I15 */
{
    static CORO_TASK(reads_exact) t, u;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads_exact, .h = &a, .to = room, .n = 8);
    for (int i = 0; i < 4; i++) {
        settle();
        CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
        CHECK_EQ(coro_fd_moved(&a, CORO_IN), 2 * i);
        say(peer, "xy");
    }
    settle();
    CHECK_EQ(coro_task_result(&t), 8);
    coro_start(&io_loop.root, &u, reads_exact, .h = &a, .to = room, .n = 8);
    say(peer, "abc");
    settle();
    CHECK_EQ(close(peer), 0);
    finish();
    CHECK_EQ(coro_task_result(&u), 3);
    CHECK_EQ(memcmp(room, "abc", 3), 0);
    ends(-1);
}

TEST(a_cancelled_or_timed_out_read_loses_nothing) /* I16, I29 */
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    say(peer, "kept");
    settle();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(coro_stats(&io_loop).held, 0);
    coro_start(&io_loop.root, &u, reads, .h = &a);
    finish();
    CHECK_EQ(coro_task_result(&u), 4);
    ends(peer);
}

TEST(a_cancelled_read_exact_says_how_much_it_has) /* I02 */
{
    static CORO_TASK(reads_exact) t;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads_exact, .h = &a, .to = room, .n = 8);
    settle();
    say(peer, "abc");
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    finish();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK_EQ(coro_fd_moved(&a, CORO_IN), 3);
    CHECK_EQ(memcmp(room, "abc", 3), 0);
    ends(peer);
}

TEST(what_came_before_the_cancellation_is_delivered) /* D2 */
{
    static CORO_TASK(reads) t;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    say(peer, "first");
    coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, 0); /* it is read */
    (void)coro_task_cancel(&t);
    finish();
    CHECK_EQ(coro_task_result(&t), 5);
    ends(peer);
}

struct within {
    CORO_FRAME;
    coro_fd *h;
    coro_time d;
    int rc;
    char text[8];
};

CORO(within)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_within(co, my->d, coro_read(co, my->h, my->text, sizeof my->text)));
    CORO_END(my->rc);
}

TEST(a_read_that_timed_out_leaves_no_interest_behind) /* I29 */
{
    static CORO_TASK(within) t, u;
    static CORO_TASK(reads) v;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, within, .h = &a, .d = CORO_MS(2));
    while (coro_task_status(&t) == CORO_RUNNING || coro_task_status(&t) == CORO_UNSTARTED)
        settle();
    CHECK_EQ(coro_task_result(&t), -ETIMEDOUT);
    coro_start(&io_loop.root, &u, within, .h = &a, .d = 0);
    settle();
    CHECK_EQ(coro_task_result(&u), -ETIMEDOUT);
    say(peer, "late");
    CHECK(wakeups() <= 4);
    coro_start(&io_loop.root, &v, reads, .h = &a);
    finish();
    CHECK_EQ(coro_task_result(&v), 4);
    ends(peer);
}

/* ---- writing -------------------------------------------------------------------------------- */

enum { MUCH = 10000000 };

enum { SOME = 1 << 20 }; /* more than a socket or a pipe holds */

static char *much(void)
{
    char *data = (char *)malloc(MUCH);
    CHECK(data != NULL);
    for (int i = 0; i < MUCH; i++)
        data[i] = (char)(i * 7 + i / 1000);
    return data;
}

TEST(a_cancelled_write_says_how_much_was_taken_and_the_peer_has_just_that) /* I02 */
{
    static CORO_TASK(writes) t;
    char *data = much(), *got = (char *)malloc(MUCH);
    size_t n = 0;
    ssize_t r;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, writes, .h = &a, .from = data, .n = MUCH);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(coro_task_cancel(&t), 1);
    finish();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    CHECK(coro_fd_moved(&a, CORO_OUT) > 0);
    CHECK_EQ(coro_shutdown(&a, CORO_OUT), 0);
    while ((r = read(peer, got + n, MUCH - n)) > 0)
        n += (size_t)r;
    CHECK_EQ(n, coro_fd_moved(&a, CORO_OUT));
    CHECK_EQ(memcmp(got, data, n), 0);
    free(data);
    free(got);
    ends(peer);
}

TEST(a_close_leaves_what_was_written_to_be_asked_for) /* I02, I17, I20 */
{
    static CORO_TASK(writes) t;
    char *data = much();
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, writes, .h = &a, .from = data, .n = MUCH);
    settle();
    CHECK_EQ(coro_close(&a), 0);
    finish();
    CHECK_EQ(coro_task_result(&t), -EBADF);
    CHECK(coro_fd_moved(&a, CORO_OUT) > 0);
    free(data);
    ends(peer);
}

static struct slow {
    int number;
    const char *data;
    size_t piece;
} slow;

static void *write_slowly(void *arg)
{
    struct slow *s = (struct slow *)arg;
    for (size_t n = 0; n < MUCH;) {
        size_t left = MUCH - n;
        ssize_t w = write(s->number, s->data + n, left < s->piece ? left : s->piece);
        CHECK(w > 0);
        n += (size_t)w;
    }
    return NULL;
}

TEST(ten_megabytes_come_whole_from_a_thread_that_is_slow)
{
    static CORO_TASK(reads_exact) t;
    char *data = much(), *got = (char *)malloc(MUCH);
    pthread_t thread;
    int peer = pair(&a);
    begin();
    slow.number = peer;
    slow.data = data;
    slow.piece = 40000;
    coro_start(&io_loop.root, &t, reads_exact, .h = &a, .to = got, .n = MUCH);
    CHECK_EQ(pthread_create(&thread, NULL, write_slowly, &slow), 0);
    finish();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coro_task_result(&t), MUCH);
    CHECK_EQ(memcmp(data, got, MUCH), 0);
    free(data);
    free(got);
    ends(peer);
}

struct bytewise {
    CORO_FRAME;
    coro_fd *h;
    int i;
};

CORO(bytewise)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 200; my->i++) {
        CORO_TRY(coro_write(co, my->h, &"0123456789"[my->i % 10], 1));
        CORO_TRY(coro_sleep(co, 0));
    }
    CORO_END(0);
}

TEST(a_peer_that_sends_a_byte_at_a_time_is_borne)
{
    static CORO_TASK(reads_exact) t;
    begin();
    both(&a, &b);
    coro_start(&io_loop.root, &t, reads_exact, .h = &a, .to = room, .n = 200);
    coro_spawn(&io_loop.root, bytewise, .h = &b);
    finish();
    CHECK_EQ(coro_task_result(&t), 200);
    CHECK_EQ(memcmp(room + 190, "0123456789", 10), 0);
    ends(-1);
}

TEST(both_ways_of_both_ends_carry_much_at_once) /* I01, I03 */
{
    static CORO_TASK(reads_exact) in[2];
    static CORO_TASK(writes) out[2];
    char *data = much(), *got[2];
    begin();
    both(&a, &b);
    for (int i = 0; i < 2; i++) {
        got[i] = (char *)malloc(MUCH);
        coro_fd *h = i ? &b : &a;
        coro_start(&io_loop.root, &in[i], reads_exact, .h = h, .to = got[i], .n = MUCH / 4);
        coro_start(&io_loop.root, &out[i], writes, .h = h, .from = data, .n = MUCH / 4);
    }
    finish();
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coro_task_result(&in[i]), MUCH / 4);
        CHECK_EQ(coro_task_result(&out[i]), MUCH / 4);
        CHECK_EQ(memcmp(got[i], data, MUCH / 4), 0);
        free(got[i]);
    }
    free(data);
    ends(-1);
}

struct vectors {
    CORO_FRAME;
    struct iovec v[3];
    char x[2], y[3], z[4];
    int rc;
};

CORO(vectors)
{
    CORO_BEGIN();
    my->v[0].iov_base = (void *)(uintptr_t) "ab";
    my->v[0].iov_len = 2;
    my->v[1].iov_base = (void *)(uintptr_t) "cdefg";
    my->v[1].iov_len = 5;
    CORO_TRY(my->rc, coro_writev(co, &a, my->v, 2));
    CHECK_EQ(my->rc, 7);
    my->v[0].iov_base = my->x;
    my->v[0].iov_len = 2;
    my->v[1].iov_base = my->y;
    my->v[1].iov_len = 3;
    my->v[2].iov_base = my->z;
    my->v[2].iov_len = 4;
    CORO_TRY(my->rc, coro_readv(co, &b, my->v, 3));
    CHECK_EQ(my->rc, 7);
    CHECK_EQ(memcmp(my->y, "cde", 3), 0);
    CHECK_EQ(memcmp(my->z, "fg", 2), 0);
    CORO_TRY(my->rc, coro_write_some(co, &b, "back", 4));
    CHECK_EQ(my->rc, 4);
    CORO_TRY(my->rc, coro_readv(co, &a, my->v, 3));
    CORO_END(my->rc);
}

TEST(vectors_are_filled_and_written_in_order)
{
    static CORO_TASK(vectors) t;
    begin();
    both(&a, &b);
    coro_start(&io_loop.root, &t, vectors);
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    ends(-1);
}

TEST(a_short_message_is_put_into_a_pipe_whole) /* I19 */
{
    static CORO_TASK(writes) t;
    static char page[PIPE_BUF], drop[70000];
    int ends_of[2];
    size_t n;
    CHECK_EQ(pipe2(ends_of, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(coro_fd_adopt(&a, ends_of[1]), 0);
    while (write(ends_of[1], drop, 4096) > 0)
        continue;
    CHECK_EQ(read(ends_of[0], drop, 100), 100);
    begin();
    memset(page, 'p', sizeof page);
    coro_start(&io_loop.root, &t, writes, .h = &a, .from = page, .n = sizeof page);
    settle();
    CHECK_EQ(coro_fd_moved(&a, CORO_OUT), 0);
    for (n = 0; n < 8192;)
        n += (size_t)read(ends_of[0], drop, 4096);
    finish();
    CHECK_EQ(coro_task_result(&t), PIPE_BUF);
    ends(ends_of[0]);
}

/* ---- one at a time, and the end for all ------------------------------------------------------ */

TEST(a_second_reader_is_told_busy_and_the_first_goes_on) /* I03, I27 */
{
    static CORO_TASK(reads) t, u;
    static CORO_TASK(waits) w, out;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &u, reads, .h = &a);
    coro_start(&io_loop.root, &w, waits, .h = &a, .way = CORO_IN);
    coro_start(&io_loop.root, &out, waits, .h = &a, .way = CORO_OUT);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBUSY);
    CHECK_EQ(coro_task_result(&w), -EBUSY);
    CHECK_EQ(coro_task_result(&out), 0);
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    say(peer, "one");
    finish();
    CHECK_EQ(coro_task_result(&t), 3);
    ends(peer);
}

TEST(a_reader_and_a_writer_do_not_disturb_each_other) /* I27, I28 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u;
    char *data = much();
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = data, .n = MUCH);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&u), 1);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    say(peer, "still");
    finish();
    CHECK_EQ(coro_task_result(&u), -ECANCELED);
    CHECK_EQ(coro_task_result(&t), 5);
    free(data);
    ends(peer);
}

/* Both are in one queue. One is cancelled, and comes again, behind the other; one has its turn. */
TEST(each_way_has_what_is_its_own_whoever_came_first) /* I27, I28 */
{
    static CORO_TASK(waits) t[2];
    static char drop[1 << 16];
    for (int i = 0; i < 8; i++) {
        int first = i & 1, cancelled = i >> 1 & 1, ready = i >> 2;
        int peer = pair(&a);
        while (send(coro_fd_number(&a), drop, sizeof drop, 0) > 0)
            continue;
        begin();
        coro_start(&io_loop.root, &t[first], waits, .h = &a, .way = first);
        settle();
        CHECK_STR(waits_for(&t[first].task), first == CORO_IN ? "read" : "write");
        coro_start(&io_loop.root, &t[!first], waits, .h = &a, .way = !first);
        settle();
        CHECK_STR(waits_for(&t[first].task), "read or write");
        CHECK_EQ(coro_task_cancel(&t[cancelled]), 1);
        settle();
        CHECK_EQ(coro_task_result(&t[cancelled]), -ECANCELED);
        coro_start(&io_loop.root, &t[cancelled], waits, .h = &a, .way = cancelled);
        settle();
        if (ready == CORO_IN)
            say(peer, "x");
        while (ready == CORO_OUT && recv(peer, drop, sizeof drop, MSG_DONTWAIT) > 0)
            continue;
        settle();
        CHECK_EQ(coro_task_status(&t[ready]), CORO_OK);
        CHECK_EQ(coro_task_status(&t[!ready]), CORO_RUNNING);
        CHECK_EQ(coro_close(&a), 0);
        finish();
        CHECK_EQ(coro_task_result(&t[!ready]), -EBADF);
        CHECK_EQ(close(peer), 0);
    }
}

TEST(a_peer_that_goes_wakes_the_reader_and_the_writer) /* I06 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u;
    char *data = much();
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = data, .n = MUCH);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(close(peer), 0);
    finish();
    CHECK(coro_task_result(&u) == -EPIPE || coro_task_result(&u) == -ECONNRESET);
    CHECK(coro_task_result(&t) == 0 || coro_task_result(&t) == -ECONNRESET);
    free(data);
    ends(-1);
}

TEST(the_writer_of_a_pipe_hears_that_nobody_reads) /* I06 */
{
    static CORO_TASK(writes) t;
    static CORO_TASK(waits) u;
    char *data = much();
    begin();
    pipe_of(&a, &b);
    coro_start(&io_loop.root, &t, writes, .h = &b, .from = data, .n = MUCH);
    settle();
    CHECK_EQ(coro_close(&a), 0);
    settle();
    CHECK_EQ(coro_task_result(&t), -EPIPE);
    coro_start(&io_loop.root, &u, waits, .h = &b, .way = CORO_OUT);
    finish();
    CHECK_EQ(coro_task_result(&u), 0);
    free(data);
    ends(-1);
}

TEST(closing_wakes_all_who_wait_with_EBADF) /* I20 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u;
    char *data = much();
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = data, .n = MUCH);
    settle();
    CHECK_EQ(coro_close(&a), 0);
    CHECK_EQ(coro_stats(&io_loop).held, 0);
    finish();
    CHECK_EQ(coro_task_result(&t), -EBADF);
    CHECK_EQ(coro_task_result(&u), -EBADF);
    free(data);
    ends(peer);
}

/* Reads again when woken; meanwhile the handle was closed and its number is another's. */
TEST(a_close_between_wake_and_step_keeps_the_next_read_off_the_new_number) /* I21, I22 */
{
    static CORO_TASK(reads_twice) t;
    int peer = pair(&a), number = coro_fd_number(&a), other;
    begin();
    coro_start(&io_loop.root, &t, reads_twice, .h = &a);
    settle();
    say(peer, "one");
    coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, 0);
    CHECK_EQ(coro_close(&a), 0);
    other = pair(&b);
    CHECK_EQ(coro_fd_number(&b), number);
    say(other, "two");
    finish();
    CHECK_EQ(t.frame.first, 3);
    CHECK_EQ(t.frame.second, -EBADF);
    hear(coro_fd_number(&b), "two");
    CHECK_EQ(close(other), 0);
    ends(peer);
}

TEST(a_reused_number_has_nothing_of_the_old_one) /* I22, I24 */
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a), number = coro_fd_number(&a), copy = dup(number), other;
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_close(&a), 0);
    other = pair(&b);
    CHECK_EQ(coro_fd_number(&b), number);
    coro_start(&io_loop.root, &u, reads, .h = &b);
    settle();
    say(peer, "old");
    CHECK(wakeups() <= 4);
    CHECK_EQ(coro_task_status(&u), CORO_RUNNING);
    say(other, "newer");
    finish();
    CHECK_EQ(coro_task_result(&u), 5);
    CHECK_EQ(close(copy), 0);
    CHECK_EQ(close(other), 0);
    ends(peer);
}

TEST(copies_that_are_left_over_do_not_make_the_loop_spin) /* I24 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(waits) u;
    int peer = pair(&a), copy = dup(coro_fd_number(&a));
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &u, waits, .h = &a, .way = CORO_OUT);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    say(peer, "nobody reads this");
    CHECK(wakeups() <= 4);
    CHECK_EQ(close(coro_fd_number(&a)), 0); /* behind our back */
    say(peer, "nor this");
    CHECK(wakeups() <= 4);
    CHECK_EQ(coro_close(&a), -EBADF);
    say(peer, "nor this");
    CHECK(wakeups() <= 4);
    CHECK_EQ(close(peer), 0);
    CHECK(wakeups() <= 4);
    finish();
    ends(copy);
}

TEST(a_descriptor_closed_behind_our_back_leaves_its_reader_cancellable) /* I25 */
{
    static CORO_TASK(reads) t;
    int peer = pair(&a), copy = dup(coro_fd_number(&a));
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(close(coro_fd_number(&a)), 0);
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    CHECK(coro_task_result(&t) == -ECANCELED || coro_task_result(&t) == -EBADF);
    CHECK_EQ(coro_close(&a), -EBADF);
    memset(&a, 0x55, sizeof a); /* epoll may still have its address */
    say(peer, "hello");
    settle();
    CHECK_EQ(close(peer), 0);
    settle();
    finish();
    memset(&a, 0, sizeof a);
    ends(copy);
}

TEST(a_wake_that_was_none_is_not_told) /* I32 */
{
    static CORO_TASK(reads) t;
    char drop[8];
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    say(peer, "gone");
    CHECK_EQ(read(coro_fd_number(&a), drop, sizeof drop), 4);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    say(peer, "come");
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    ends(peer);
}

enum { IDLE = 930 }; /* so many fill the slabs that they need */

static int idle_number;

struct idler {
    CORO_FRAME;
    coro_fd conn;
    char *borrowed; /* while there is data */
};

CORO(idler)
{
    CORO_BEGIN();
    CORO_TRY(coro_fd_adopt(&my->conn, dup(idle_number)));
    CORO_TRY(coro_wait_readable(co, &my->conn));
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->conn), 0);
    CORO_END(0);
}

TEST(an_idle_connection_takes_256_bytes_at_most)
{
    bool listed = strcmp(coro_io_backend(), "poll") == 0; /* all are, for each call */
    size_t before, most = 256 + (listed ? sizeof(struct pollfd) : 0);
    int peer = pair(&a);
    CHECK(sizeof(coro_fd) <= 88);
    idle_number = coro_fd_number(&a);
    begin();
    CHECK_EQ(coro_spawn(&io_loop.root, idler), 0);
    settle();
    before = coro_stats(&io_loop).memory;
    for (int i = 0; i < IDLE; i++)
        CHECK_EQ(coro_spawn(&io_loop.root, idler), 0);
    settle();
    CHECK_EQ(coro_stats(&io_loop).tasks, IDLE + 1);
    CHECK(coro_stats(&io_loop).memory - before <= most * IDLE);
    CHECK_EQ(close(peer), 0);
    finish();
    ends(-1);
}

TEST(idle_means_idle) /* I29 */
{
    static CORO_TASK(reads) t;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK(wakeups() <= 3);
    say(peer, "x");
    finish();
    ends(peer);
}

/* ---- waiting without reading ----------------------------------------------------------------- */

struct lazy {
    CORO_FRAME;
    coro_fd *h;
    int i, rc;
    char text[4];
};

/* Waits, then reads a little: there is more, and the next wait must know. */
CORO(lazy)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(coro_wait_readable(co, my->h));
        CORO_TRY(my->rc, coro_read(co, my->h, my->text, 2));
        CHECK_EQ(my->rc, 2);
    }
    CORO_TRY(coro_wait_readable(co, my->h));
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, 2));
    CORO_END(my->rc);
}

TEST(waiting_until_readable_sees_what_is_left_and_the_end)
{
    for (int waiting = 0; waiting < 2; waiting++) {
        static CORO_TASK(lazy) t;
        int peer = pair(&a);
        begin();
        coro_start(&io_loop.root, &t, lazy, .h = &a);
        if (waiting)
            settle();
        say(peer, "abcd");
        settle();
        CHECK_EQ(t.frame.i, 2);
        CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
        say(peer, "ef");
        settle();
        CHECK_EQ(t.frame.i, 3);
        CHECK_EQ(close(peer), 0);
        finish();
        CHECK_EQ(coro_task_result(&t), 0);
        ends(-1);
    }
}

struct drains {
    CORO_FRAME;
    coro_fd *h;
    int peer, rc;
    char text[8];
};

/* Takes all there is; then more comes, or the end, before the wait begins. */
CORO(drains)
{
    CORO_BEGIN();
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
    CHECK_EQ(my->rc, 2);
    say(my->peer, "cd");
    CORO_TRY(coro_wait_readable(co, my->h));
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
    CHECK_EQ(my->rc, 2);
    CHECK_EQ(close(my->peer), 0);
    CORO_TRY(coro_wait_readable(co, my->h));
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
    CORO_END(my->rc);
}

TEST(waiting_until_readable_sees_what_came_after_all_was_read)
{
    for (int waiting = 0; waiting < 2; waiting++) {
        static CORO_TASK(drains) t;
        int peer = pair(&a);
        begin();
        coro_start(&io_loop.root, &t, drains, .h = &a, .peer = peer);
        if (waiting)
            settle();
        say(peer, "ab");
        finish();
        CHECK_EQ(coro_task_result(&t), 0);
        ends(-1);
    }
}

TEST(waiting_until_writable_waits_for_room)
{
    static CORO_TASK(waits) t;
    static char drop[1 << 16];
    int peer = pair(&a);
    begin();
    while (write(coro_fd_number(&a), drop, sizeof drop) > 0)
        continue;
    coro_start(&io_loop.root, &t, waits, .h = &a, .way = CORO_OUT);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    while (recv(peer, drop, sizeof drop, MSG_DONTWAIT) > 0)
        continue;
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    ends(peer);
}

/* ---- half closed ----------------------------------------------------------------------------- */

TEST(half_closed_the_other_half_goes_on) /* I09, I10 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u, v;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_shutdown(&a, CORO_OUT), 0);
    hear(peer, "");
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = "x", .n = 1);
    settle();
    CHECK_EQ(coro_task_result(&u), -EPIPE);
    (void)coro_shutdown(&a, CORO_OUT); /* harmless */
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    say(peer, "on");
    finish();
    CHECK_EQ(coro_task_result(&t), 2);
    ends(peer);

    peer = pair(&a); /* the peer's half: we write on */
    CHECK_EQ(shutdown(peer, SHUT_WR), 0);
    begin();
    memset(&t, 0, sizeof t);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &v, writes, .h = &a, .from = "still", .n = 5);
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK_EQ(coro_task_result(&v), 5);
    hear(peer, "still");
    ends(peer);
}

TEST(a_shutdown_wakes_who_waits_in_that_way) /* I09 */
{
    static CORO_TASK(reads) t;
    static CORO_TASK(writes) u;
    char *data = much();
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &u, writes, .h = &a, .from = data, .n = MUCH);
    settle();
    CHECK_EQ(coro_shutdown(&a, CORO_IN), 0);
    settle();
    CHECK_EQ(coro_task_result(&t), 0);
    CHECK_EQ(coro_shutdown(&a, CORO_OUT), 0);
    finish();
    CHECK_EQ(coro_task_result(&u), -EPIPE);
    free(data);
    ends(peer);
}

/* ---- SIGPIPE --------------------------------------------------------------------------------- */

static volatile sig_atomic_t pipes;

static void on_pipe(int signo)
{
    (void)signo;
    pipes = pipes + 1;
}

TEST(SIGPIPE_never_arrives_and_nothing_of_the_users_changes) /* I08 */
{
    static CORO_TASK(writes) t[2];
    sigset_t before, now, pending;
    int peer = pair(&a);
    coro_fd in;
    memset(&in, 0, sizeof in);
    signal(SIGPIPE, on_pipe);
    sigprocmask(SIG_SETMASK, NULL, &before);
    pipe_of(&in, &b);
    CHECK_EQ(close(peer), 0);
    CHECK_EQ(coro_close(&in), 0);
    begin();
    coro_start(&io_loop.root, &t[0], writes, .h = &a, .from = "x", .n = 1);
    coro_start(&io_loop.root, &t[1], writes, .h = &b, .from = "x", .n = 1);
    finish();
    CHECK_EQ(coro_task_result(&t[0]), -EPIPE);
    CHECK_EQ(coro_task_result(&t[1]), -EPIPE);
    CHECK_EQ(pipes, 0);
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK_EQ(sigismember(&now, SIGPIPE), sigismember(&before, SIGPIPE));
    raise(SIGPIPE);
    CHECK_EQ(pipes, 1);
    ends(-1);
}

/* ---- signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t ticks;

static void on_tick(int signo)
{
    (void)signo;
    ticks = ticks + 1;
}

struct late {
    CORO_FRAME;
    int number;
};

CORO(late)
{
    CORO_BEGIN();
    do
        CORO_TRY(coro_sleep(co, CORO_MS(10)));
    while (ticks <= 3); /* on a busy machine several come at once */
    say(my->number, "late");
    CORO_END(0);
}

TEST(signals_that_interrupt_are_not_seen) /* I31 */
{
    static CORO_TASK(reads) t;
    struct sigaction action;
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    int peer = pair(&a);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_tick; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_spawn(&io_loop.root, late, .number = peer);
    setitimer(ITIMER_REAL, &often, NULL);
    finish();
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(ticks > 3);
    CHECK_EQ(coro_task_result(&t), 4);
    ends(peer);
}

/* ---- other things than sockets --------------------------------------------------------------- */

struct file_user {
    CORO_FRAME;
    coro_fd *h;
    int rc, i;
    char text[16];
};

CORO(file_user)
{
    CORO_BEGIN();
    CORO_TRY(coro_wait_writable(co, my->h));
    CORO_TRY(coro_write(co, my->h, "in a file", 9));
    CHECK_EQ(lseek(coro_fd_number(my->h), 0, SEEK_SET), 0);
    CORO_TRY(coro_wait_readable(co, my->h));
    CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
    CHECK_EQ(my->rc, 9);
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
        CHECK_EQ(my->rc, 0);
    }
    CHECK_EQ(lseek(coro_fd_number(my->h), 0, SEEK_SET), 0);
    CORO_TRY(my->rc, coro_read_exact(co, my->h, my->text, 4));
    CHECK_EQ(my->rc, 4);
    CORO_TRY(my->rc, coro_wait_fd(co, coro_fd_number(my->h), POLLIN));
    CHECK_EQ(my->rc, POLLIN);
    CORO_END(0);
}

TEST(files_never_wait) /* I30 */
{
    static CORO_TASK(file_user) t;
    FILE *file = tmpfile();
    CHECK_EQ(coro_fd_adopt(&a, dup(fileno(file))), 0);
    fclose(file);
    begin();
    coro_start(&io_loop.root, &t, file_user, .h = &a);
    finish();
    CHECK_EQ(coro_task_result(&t), 0);
    ends(-1);
}

struct messages {
    CORO_FRAME;
    coro_fd *h;
    int i, rc, sum;
    char text[64];
};

CORO(messages)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 3; my->i++) {
        CORO_TRY(my->rc, coro_read(co, my->h, my->text, sizeof my->text));
        my->sum += my->rc;
    }
    CORO_END(my->sum);
}

TEST(messages_are_read_one_by_one_though_each_is_short) /* I33 */
{
    static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++)
        for (int waiting = 0; waiting < 2; waiting++) {
            static CORO_TASK(messages) t;
            int peer = pair_of(&a, types[i]);
            memset(&t, 0, sizeof t);
            begin();
            coro_start(&io_loop.root, &t, messages, .h = &a);
            if (waiting)
                settle();
            say(peer, "a");
            say(peer, "bc");
            say(peer, "def");
            finish();
            CHECK_EQ(coro_task_result(&t), 6);
            ends(peer);
        }
}

/* A message with a descriptor ends a read of a stream early. */
TEST(a_stream_with_descriptors_in_it_does_not_stall) /* I33 */
{
    static CORO_TASK(reads_twice) t;
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = {(void *)(uintptr_t) "abcd", 4};
    struct msghdr m;
    int peer = pair(&a);
    memset(&m, 0, sizeof m);
    memset(&control, 0, sizeof control);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = sizeof control;
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &peer, sizeof peer);
    begin();
    coro_start(&io_loop.root, &t, reads_twice, .h = &a);
    settle();
    CHECK_EQ(sendmsg(peer, &m, 0), 4);
    say(peer, "ef");
    settle();
    CHECK_EQ(t.frame.first, 4);
    CHECK_EQ(t.frame.second, 2);
    CHECK_EQ(close(peer), 0);
    finish();
    CHECK_EQ(t.frame.third, 0);
    ends(-1);
}

TEST(a_terminal_gives_its_lines_and_its_end) /* I33 */
{
    static CORO_TASK(messages) t;
    static CORO_TASK(reads) u;
    int master = open_terminal();
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0);
    CHECK_EQ(coro_fd_adopt(&a, slave), 0);
    begin();
    coro_start(&io_loop.root, &t, messages, .h = &a);
    settle();
    say(master, "1\n22\n333\n");
    CHECK_EQ(coro_loop_run(&io_loop), 0); /* a terminal takes its time */
    CHECK_EQ(coro_task_result(&t), 9);
    CHECK_EQ(coro_fd_adopt(&b, master), 0);
    CHECK_EQ(coro_close(&a), 0);
    do { /* the echo of the lines */
        memset(&u, 0, sizeof u);
        coro_start(&io_loop.root, &u, reads, .h = &b);
        CHECK_EQ(coro_loop_run(&io_loop), 0);
    } while (coro_task_result(&u) > 0);
    finish();
    CHECK_EQ(coro_task_result(&u), 0);
    ends(-1);
}

TEST(a_blocking_descriptor_blocks_again_when_it_is_given_back)
{
    int peer = pair(&a), number = coro_fd_number(&a);
    CHECK(!is_blocking(number));
    CHECK_EQ(coro_fd_adopt(&a, peer), -EBUSY);
    CHECK(is_blocking(peer));
    CHECK_EQ(coro_fd_release(&a), number);
    CHECK(is_blocking(number));
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(fcntl(number, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    CHECK_EQ(coro_fd_adopt(&a, number), 0);
    CHECK_EQ(coro_fd_release(&a), number);
    CHECK(!is_blocking(number));
    CHECK_EQ(coro_fd_adopt(&a, -1), -EBADF);
    CHECK_EQ(coro_fd_adopt(&a, 1000), -EBADF);
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(close(number), 0);
    ends(peer);
}

TEST(a_released_descriptor_wakes_its_waiters_and_is_nobodys) /* I20, I22 */
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a), number = coro_fd_number(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_fd_release(&a), number);
    settle();
    CHECK_EQ(coro_task_result(&t), -EBADF);
    say(peer, "for the new owner");
    CHECK(wakeups() <= 3);
    CHECK_EQ(coro_fd_adopt(&b, number), 0);
    coro_start(&io_loop.root, &u, reads, .h = &b);
    finish();
    CHECK_EQ(coro_task_result(&u), 17);
    ends(peer);
}

/* ---- moving ---------------------------------------------------------------------------------- */

struct mover {
    CORO_FRAME;
    coro_fd from, to;
    bool waits;
    int closing, rc;
    char text[4];
};

CORO(mover)
{
    CORO_BEGIN();
    CORO_TRY(coro_write(co, &my->from, "x", 1));
    if (my->waits) {
        CORO_AWAIT(my->rc, coro_within(co, 0, coro_read(co, &my->from, my->text, 4)));
        CHECK_EQ(my->rc, -ETIMEDOUT);
    }
    my->to = my->from;
    memset(&my->from, 0, sizeof my->from);
    if (my->closing)
        CORO_FAIL(coro_close(&my->to));
    CORO_TRY(my->rc, coro_read(co, &my->to, my->text, 4));
    CORO_END(my->rc);
}

static CORO_TASK(mover) moved;

static void move_later(void *arg)
{
    moved.frame.waits = true;
    coro_start(&io_loop.root, &moved, mover, .from = a, .waits = true, .closing = arg != NULL);
    (void)coro_loop_run(&io_loop);
}

TEST(a_handle_may_be_moved_until_it_has_waited)
{
    int peer = pair(&a), there = 1;
    begin();
    CHECK_TRAP(move_later, NULL, "moved after an operation of it had waited");
    CHECK_TRAP(move_later, &there, "moved after an operation of it had waited");
    coro_start(&io_loop.root, &moved, mover, .from = a);
    memset(&a, 0, sizeof a);
    settle();
    say(peer, "abc");
    finish();
    CHECK_EQ(coro_task_result(&moved), 3);
    CHECK_EQ(coro_close(&moved.frame.to), 0);
    ends(peer);
}

struct local {
    CORO_FRAME;
    int which;
};

CORO(local)
{
    char text[8];
    struct iovec v = {text, sizeof text};
    coro_datagram d;
    CORO_BEGIN();
    d.data = text;
    d.size = sizeof text;
    if (my->which == 0)
        CORO_TRY(coro_read(co, &a, text, sizeof text));
    if (my->which == 1)
        CORO_TRY(coro_readv(co, &a, &v, 1));
    if (my->which == 2)
        CORO_TRY(coro_recv_from(co, &a, &d));
    CORO_END(0);
}

static void read_into_local(void *arg)
{
    coro_spawn(&io_loop.root, local, .which = *(int *)arg);
    (void)coro_loop_run(&io_loop);
}

TEST(reading_into_a_local_variable_traps)
{
    int peer = pair(&a);
    begin();
    for (int which = 0; which < 3; which++)
        CHECK_TRAP(read_into_local, &which, "local variable");
    finish();
    ends(peer);
}

/* ---- foreign descriptors --------------------------------------------------------------------- */

TEST(foreign_descriptors_tell_what_came) /* I06, I26 */
{
    static CORO_TASK(foreign) t, u, v, w, x, y;
    int peer = pair(&a), number = coro_fd_release(&a);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    coro_start(&io_loop.root, &u, foreign, .number = number, .events = POLLOUT);
    coro_start(&io_loop.root, &v, foreign, .number = number, .events = POLLIN | POLLOUT);
    coro_start(&io_loop.root, &w, foreign, .number = -1, .events = POLLIN);
    coro_start(&io_loop.root, &x, foreign, .number = 1000, .events = POLLIN);
    coro_start(&io_loop.root, &y, foreign, .number = number, .events = 0);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(coro_task_result(&u), POLLOUT);
    CHECK_EQ(coro_task_result(&v), -EBUSY);
    CHECK_EQ(coro_task_result(&w), -EBADF);
    CHECK_EQ(coro_task_result(&x), -EBADF);
    CHECK_EQ(coro_task_result(&y), -EINVAL);
    say(peer, "x");
    finish();
    CHECK_EQ(coro_task_result(&t), POLLIN);
    CHECK(is_blocking(number));
    CHECK_EQ(close(number), 0);
    ends(peer);
}

TEST(foreign_errors_and_ends_are_told) /* I06 */
{
    static CORO_TASK(foreign) t, u, v;
    static char drop[1 << 16];
    int in_out[2];
    CHECK_EQ(pipe2(in_out, O_CLOEXEC | O_NONBLOCK), 0);
    while (write(in_out[1], drop, sizeof drop) > 0)
        continue;
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = in_out[1], .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_status(&t), CORO_RUNNING);
    CHECK_EQ(close(in_out[0]), 0);
    settle();
    CHECK(coro_task_result(&t) & POLLERR);
    coro_start(&io_loop.root, &u, foreign, .number = in_out[1], .events = POLLIN);
    settle();
    CHECK(coro_task_result(&u) & POLLERR);
    CHECK_EQ(close(in_out[1]), 0);
    CHECK_EQ(pipe2(in_out, O_CLOEXEC), 0);
    coro_start(&io_loop.root, &v, foreign, .number = in_out[0], .events = POLLIN | POLLOUT);
    settle();
    CHECK_EQ(close(in_out[1]), 0);
    finish();
    CHECK_EQ(coro_task_result(&v), POLLHUP);
    CHECK_EQ(close(in_out[0]), 0);
}

TEST(foreign_ways_are_independent) /* I27, I28 */
{
    static CORO_TASK(foreign) t, u, v;
    static char drop[1 << 16];
    int peer = pair(&a), number = coro_fd_release(&a);
    while (send(number, drop, sizeof drop, MSG_DONTWAIT) > 0)
        continue;
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    coro_start(&io_loop.root, &u, foreign, .number = number, .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    CHECK_EQ(coro_task_result(&t), -ECANCELED);
    say(peer, "not asked for");
    CHECK(wakeups() <= 4);
    CHECK_EQ(coro_task_status(&u), CORO_RUNNING);
    coro_start(&io_loop.root, &v, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(coro_task_result(&v), POLLIN);
    while (recv(peer, drop, sizeof drop, MSG_DONTWAIT) > 0)
        continue;
    finish();
    CHECK_EQ(coro_task_result(&u), POLLOUT);
    CHECK_EQ(close(number), 0);
    ends(peer);
}

TEST(a_foreign_descriptor_closed_while_waited_for_corrupts_nothing) /* I22, I25, I28 */
{
    static CORO_TASK(foreign) t, u;
    static CORO_TASK(reads) v;
    int peer = pair(&a), number = coro_fd_release(&a), copy = dup(number), other;
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(close(number), 0);
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    say(peer, "x"); /* the copy keeps the old one in epoll: nobody may be touched */
    settle();
    other = pair(&b);
    CHECK_EQ(coro_fd_number(&b), number);
    coro_start(&io_loop.root, &v, reads, .h = &b);
    settle();
    coro_start(&io_loop.root, &u, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBUSY); /* I36 */
    CHECK(wakeups() <= 4);
    CHECK_EQ(coro_task_status(&v), CORO_RUNNING);
    say(other, "new");
    finish();
    CHECK_EQ(coro_task_result(&v), 3);
    CHECK_EQ(close(copy), 0);
    CHECK_EQ(close(other), 0);
    ends(peer);
}

TEST(a_foreign_directory_is_not_waited_for)
{
    static CORO_TASK(foreign) t;
    int number = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    finish();
    CHECK_EQ(coro_task_result(&t), POLLIN);
    CHECK_EQ(close(number), 0);
}

TEST(a_second_wait_for_a_foreign_descriptor_that_is_closed_is_told_so) /* I25, I28 */
{
    static CORO_TASK(foreign) t, u;
    int peer = pair(&a), number = coro_fd_release(&a);
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(close(number), 0);
    coro_start(&io_loop.root, &u, foreign, .number = number, .events = POLLOUT);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBADF);
    (void)coro_task_cancel(&t);
    finish();
    ends(peer);
}

TEST(a_handle_that_takes_a_number_ends_the_wait_for_the_old_one) /* I22, I28 */
{
    static CORO_TASK(foreign) t;
    static CORO_TASK(reads) u;
    int peer = pair(&a), number = coro_fd_release(&a), copy = dup(number), other;
    begin();
    coro_start(&io_loop.root, &t, foreign, .number = number, .events = POLLIN);
    settle();
    CHECK_EQ(close(number), 0);
    other = pair(&b);
    CHECK_EQ(coro_fd_number(&b), number);
    coro_start(&io_loop.root, &u, reads, .h = &b);
    settle();
    CHECK_EQ(coro_task_result(&t), -EBADF);
    CHECK_EQ(coro_task_status(&u), CORO_RUNNING);
    say(peer, "old");
    settle();
    say(other, "newer");
    finish();
    CHECK_EQ(coro_task_result(&u), 5);
    CHECK_EQ(close(copy), 0);
    CHECK_EQ(close(other), 0);
    ends(peer);
}

TEST(a_descriptor_in_two_handles_is_refused) /* I36 */
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a);
    begin();
    CHECK_EQ(coro_fd_adopt(&b, coro_fd_number(&a)), 0);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    coro_start(&io_loop.root, &u, reads, .h = &b);
    settle();
    CHECK_EQ(coro_task_result(&u), -EBUSY);
    (void)coro_fd_release(&b);
    say(peer, "mine");
    finish();
    CHECK_EQ(coro_task_result(&t), 4);
    ends(peer);
}

TEST(a_number_that_comes_back_is_known_again) /* I35 */
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a), number = coro_fd_number(&a), copy = dup(number);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    settle();
    CHECK_EQ(close(number), 0);
    CHECK_EQ(coro_close(&a), -EBADF); /* epoll still knows the old one */
    CHECK_EQ(dup2(copy, number), number);
    CHECK_EQ(close(copy), 0);
    CHECK_EQ(coro_fd_adopt(&b, number), 0);
    coro_start(&io_loop.root, &u, reads, .h = &b);
    settle();
    say(peer, "again");
    finish();
    CHECK_EQ(coro_task_result(&u), 5);
    ends(peer);
}

/* ---- fairness -------------------------------------------------------------------------------- */

struct busy {
    CORO_FRAME;
    coro_fd in, out;
    char text[16];
    long turns;
};

/* Always readable: what is read is written back at once. */
CORO(busy)
{
    CORO_BEGIN();
    both(&my->in, &my->out);
    CORO_TRY(coro_write(co, &my->out, "0123456789abcdef", 16));
    for (;;) {
        CORO_TRY(coro_read(co, &my->in, my->text, 1));
        CORO_TRY(coro_write(co, &my->out, my->text, 1));
        my->turns++;
    }
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->in), 0);
    CHECK_EQ(coro_close(&my->out), 0);
    CORO_END(0);
}

struct ticker {
    CORO_FRAME;
    coro_time next, late, worst;
    int i;
};

CORO(ticker)
{
    CORO_BEGIN();
    for (my->i = 0; my->i < 8; my->i++) {
        my->next = coro_now(co) + CORO_MS(1);
        CORO_TRY(coro_sleep_until(co, my->next));
        my->late = coro_now(co) - my->next;
        my->worst = my->late > my->worst ? my->late : my->worst;
    }
    CORO_END(0);
}

enum { BUSY = 100 };

struct crowd {
    CORO_FRAME;
    coro_group g;
    CORO_TASK(busy) busy[BUSY];
    CORO_TASK(ticker) ticker;
    int i, rc;
};

CORO(crowd)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    for (my->i = 0; my->i < BUSY; my->i++)
        coro_start(&my->g, &my->busy[my->i], busy);
    coro_start(&my->g, &my->ticker, ticker);
    CORO_TRY(my->rc, coro_join(co, &my->ticker));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_AWAIT(my->rc, coro_group_close(co, &my->g, 0));
    CORO_END(0);
}

TEST(a_hundred_busy_pairs_hold_up_no_ticker_and_each_other) /* I34, D19 */
{
    static CORO_TASK(crowd) t;
    begin();
    coro_start(&io_loop.root, &t, crowd);
    finish();
    CHECK(t.frame.ticker.frame.worst < CORO_MS(200)); /* each has a step: 16 system calls */
    for (int i = 0; i < BUSY; i++)
        CHECK(t.frame.busy[i].frame.turns > 0);
}

TEST(one_that_always_has_data_gives_way_after_sixteen_system_calls) /* I34 */
{
    static CORO_TASK(busy) t;
    coro_total steps;
    begin();
    coro_start(&io_loop.root, &t, busy);
    settle();
    steps = coro_stats(&io_loop).steps;
    CHECK(steps > 1);
    CHECK(t.frame.turns >= (long)steps * 8 - 1 && t.frame.turns <= (long)steps * 8);
    coro_task_cancel(&t);
    finish();
}

/* One whose data always comes in at once has sixteen goes, then it is the others' turn. */
TEST(much_for_one_leaves_turns_for_the_others) /* I34 */
{
    static CORO_TASK(reads_exact) t[3];
    static CORO_TASK(ticker) tick;
    coro_fd h[3];
    pthread_t thread[3];
    struct slow s[3];
    char *data = much(), *got[3];
    memset(h, 0, sizeof h);
    begin();
    for (int i = 0; i < 3; i++) {
        got[i] = (char *)malloc(MUCH);
        s[i].number = pair(&h[i]);
        s[i].data = data;
        s[i].piece = 1000;
        coro_start(&io_loop.root, &t[i], reads_exact, .h = &h[i], .to = got[i], .n = MUCH / 4);
        CHECK_EQ(pthread_create(&thread[i], NULL, write_slowly, &s[i]), 0);
    }
    coro_start(&io_loop.root, &tick, ticker);
    settle();
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK(tick.frame.worst < CORO_MS(200));
    for (int i = 0; i < 3; i++) {
        static char drop[1 << 16];
        CHECK_EQ(coro_task_result(&t[i]), MUCH / 4);
        CHECK_EQ(memcmp(got[i], data, MUCH / 4), 0);
        for (size_t n = MUCH / 4; n < MUCH;) {
            struct pollfd p = {coro_fd_number(&h[i]), POLLIN, 0};
            ssize_t r;
            CHECK_EQ(poll(&p, 1, 1000), 1);
            r = read(coro_fd_number(&h[i]), drop, sizeof drop);
            CHECK(r > 0);
            n += (size_t)r;
        }
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
        CHECK_EQ(coro_close(&h[i]), 0);
        CHECK_EQ(close(s[i].number), 0);
        free(got[i]);
    }
    CHECK_EQ(coro_loop_fini(&io_loop), 0);
    free(data);
}

/* All is there already, in a hundred pieces: no edge will come. */
TEST(what_is_at_hand_is_taken_in_turns) /* I33, I34 */
{
    static CORO_TASK(reads_exact) t[3];
    static CORO_TASK(reads) idle;
    static char to[3][100];
    coro_fd h[3];
    int pipes_of[2], peer = pair(&a);
    memset(h, 0, sizeof h);
    begin();
    coro_start(&io_loop.root, &idle, reads, .h = &a); /* first in the reactor's list */
    settle();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pipe2(pipes_of, O_CLOEXEC | O_DIRECT), 0); /* packets */
        if (fcntl(pipes_of[0], F_SETPIPE_SZ, 1 << 19) < 0)
            return; /* not allowed here */
        for (int n = 0; n < 100; n++)
            say(pipes_of[1], "x");
        CHECK_EQ(close(pipes_of[1]), 0);
        CHECK_EQ(coro_fd_adopt(&h[i], pipes_of[0]), 0);
        coro_start(&io_loop.root, &t[i], reads_exact, .h = &h[i], .to = to[i], .n = 100);
    }
    for (int turn = 0; turn < 4; turn++) {
        if (turn == 0)
            (void)coro_loop_step(&io_loop);
        else
            coro_loop_driver(&io_loop)->park(coro_loop_driver(&io_loop)->arg, &io_loop, 0);
        for (int i = 0; i < 3; i++) /* within a helping of each other */
            CHECK(labs((long)coro_fd_moved(&h[i], CORO_IN) -
                       (long)coro_fd_moved(&h[0], CORO_IN)) <= 16);
    }
    say(peer, "x");
    finish();
    ends(peer);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coro_task_result(&t[i]), 100);
        CHECK_EQ(coro_close(&h[i]), 0);
    }
}

/* ---- loops ----------------------------------------------------------------------------------- */

TEST(handles_outlive_their_loop_and_serve_another)
{
    static CORO_TASK(reads) t, u;
    int peer = pair(&a), before;
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(coro_task_cancel(&t), 1);
    finish();
    before = open_descriptors();
    begin();
    coro_start(&io_loop.root, &u, reads, .h = &a);
    settle();
    say(peer, "second");
    finish();
    CHECK_EQ(coro_task_result(&u), 6);
    CHECK_EQ(open_descriptors(), before);
    ends(peer);
    CHECK_EQ(open_descriptors(), before - 2);
}

TEST(a_handle_of_another_loop_is_refused)
{
    static coro_loop second;
    static CORO_TASK(reads) t, u;
    int peer = pair(&a);
    begin();
    CHECK_EQ(coro_loop_init(&second, NULL), 0);
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    coro_start(&second.root, &u, reads, .h = &a);
    CHECK_EQ(coro_loop_run(&second), 0);
    CHECK_EQ(coro_task_result(&u), -EPERM);
    CHECK_EQ(coro_loop_fini(&second), 0);
    say(peer, "x");
    finish();
    ends(peer);
}

struct pong {
    CORO_FRAME;
    coro_fd *h;
    bool first;
    int i;
    char ball;
};

CORO(pong)
{
    CORO_BEGIN();
    if (my->first)
        CORO_TRY(coro_write(co, my->h, "o", 1));
    for (my->i = 0; my->i < 200; my->i++) {
        CORO_TRY(coro_read_exact(co, my->h, &my->ball, 1));
        if (!my->first || my->i < 199)
            CORO_TRY(coro_write(co, my->h, &my->ball, 1));
    }
    CORO_END(my->i);
}

static void *other_loop(void *arg)
{
    (void)arg;
    CHECK_EQ(coro_run(pong, .h = &b), 200);
    return NULL;
}

TEST(two_loops_in_two_threads_play_ball_without_posts)
{
    pthread_t thread;
    both(&a, &b);
    CHECK_EQ(pthread_create(&thread, NULL, other_loop, NULL), 0);
    CHECK_EQ(coro_run(pong, .h = &a, .first = true), 200);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    ends(-1);
}

TEST(a_reactor_that_cannot_be_made_is_an_error_until_it_can)
{
    static CORO_TASK(reads) t;
    struct rlimit all, few;
    int peer = pair(&a), failed = 0;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
    begin();
    for (few = all, few.rlim_cur = 0;; few.rlim_cur++) {
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
        memset(&t, 0, sizeof t);
        coro_start(&io_loop.root, &t, reads, .h = &a);
        settle();
        if (coro_task_status(&t) == CORO_RUNNING)
            break;
        CHECK_EQ(coro_task_result(&t), -EMFILE);
        failed++;
    }
    CHECK(failed > 2);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
    say(peer, "x");
    finish();
    ends(peer);
}

TEST(the_longest_wait_is_ended_by_a_wake_and_by_what_comes)
{
    static CORO_TASK(sleeps) t;
    static CORO_TASK(reads) u;
    const coro_driver *driver;
    int peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, sleeps, .d = CORO_S(1000000000));
    coro_start(&io_loop.root, &u, reads, .h = &a);
    settle();
    driver = coro_loop_driver(&io_loop);
    for (int i = 0; i < 200; i++) /* as one */
        driver->wake(driver->arg);
    driver->park(driver->arg, &io_loop, coro_loop_deadline(&io_loop));
    CHECK(wakeups() <= 4);
    say(peer, "x");
    driver->park(driver->arg, &io_loop, coro_loop_deadline(&io_loop));
    CHECK_EQ(coro_task_cancel(&t), 1);
    finish();
    CHECK_EQ(coro_task_result(&u), 1);
    ends(peer);
}

/* ---- posts ----------------------------------------------------------------------------------- */

struct postman {
    coro_post_node node; /* must be first */
    int count;
};

static void post_comes(coro_loop *l, coro_post_node *node)
{
    (void)l;
    ((struct postman *)(void *)node)->count++;
}

static struct postman man = {{NULL, post_comes}, 0};
static int post_peer;

static void *post_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        struct timespec t = {0, 100000};
        while (!coro_post(&io_loop, &man.node))
            continue;
        if (i % 10 == 0)
            nanosleep(&t, NULL);
    }
    say(post_peer, "end");
    return NULL;
}

TEST(posts_wake_a_loop_that_waits_for_descriptors) /* F11 */
{
    static CORO_TASK(reads) t;
    pthread_t thread;
    post_peer = pair(&a);
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    CHECK_EQ(pthread_create(&thread, NULL, post_often, NULL), 0);
    CHECK_EQ(coro_loop_run(&io_loop), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    (void)coro_loop_step(&io_loop);
    CHECK_EQ(man.count, 100);
    finish();
    CHECK_EQ(coro_task_result(&t), 3);
    ends(post_peer);
}

/* ---- after a fork ---------------------------------------------------------------------------- */

struct child {
    CORO_FRAME;
    coro_group g;
    coro_fd in, out;
    CORO_TASK(reads) t;
    coro_total parked;
    int rc;
};

/* A loop of its own: it waits, hears of its own descriptors, and of nothing else. */
CORO(child)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    CORO_TRY(coro_pipe(&my->in, &my->out));
    coro_start(&my->g, &my->t, reads, .h = &my->in);
    my->parked = coro_stats(coro_loop_of(co)).parked;
    CORO_TRY(coro_sleep(co, CORO_MS(20)));
    my->parked = coro_stats(coro_loop_of(co)).parked - my->parked;
    CORO_TRY(coro_write(co, &my->out, "mine", 4));
    CORO_TRY(my->rc, coro_join(co, &my->t));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_close(&my->in);
    coro_close(&my->out);
    CORO_END(my->rc == 4 && my->parked <= 4 ? 42 : 1);
}

/* A child with copies of all we have, until it is told to go. */
static pid_t forked(int *told)
{
    int ends_of[2];
    pid_t pid;
    CHECK_EQ(pipe2(ends_of, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        char c;
        int rc = coro_run(child);
        close(ends_of[1]);
        _exit(read(ends_of[0], &c, 1) == 0 ? rc : 2);
    }
    CHECK(pid > 0);
    CHECK_EQ(close(ends_of[0]), 0);
    *told = ends_of[1];
    return pid;
}

TEST(a_forked_child_and_its_parent_hear_nothing_of_each_others_loops) /* I24, I59, Z17 */
{
    static CORO_TASK(reads) t[2];
    int peer = pair(&a), number = coro_fd_number(&a), told, status, i;
    pid_t pid;
    begin();
    coro_start(&io_loop.root, &t[0], reads, .h = &a);
    settle();
    pid = forked(&told);
    CHECK(wakeups() <= 4); /* while the child runs its loop */
    say(peer, "ours");
    settle();
    CHECK_EQ(coro_task_result(&t[0]), 4);
    CHECK_EQ(coro_close(&a), 0); /* the child keeps a copy open */
    say(peer, "nobody's");
    CHECK(wakeups() <= 4);
    i = pair(&b);
    CHECK_EQ(coro_fd_number(&b), number); /* the next one with that number */
    coro_start(&io_loop.root, &t[1], reads, .h = &b);
    settle();
    CHECK_EQ(close(peer), 0); /* the old one's end is not the new one's */
    CHECK(wakeups() <= 4);
    CHECK_EQ(coro_task_status(&t[1]), CORO_RUNNING);
    say(i, "new");
    finish();
    CHECK_EQ(coro_task_result(&t[1]), 3);
    CHECK_EQ(close(told), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 42);
    ends(i);
}

TEST(a_descriptor_closed_behind_our_back_and_kept_by_a_child_does_not_make_the_loop_spin) /* I24 */
{
    static CORO_TASK(reads) t;
    int peer = pair(&a), told, status;
    pid_t pid;
    begin();
    coro_start(&io_loop.root, &t, reads, .h = &a);
    settle();
    pid = forked(&told);
    CHECK_EQ(close(coro_fd_number(&a)), 0);
    say(peer, "still registered");
    CHECK(wakeups() <= 4);
    (void)coro_task_cancel(&t);
    settle();
    CHECK_EQ(coro_close(&a), -EBADF);
    say(peer, "nor this");
    CHECK(wakeups() <= 4);
    CHECK_EQ(close(told), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid); /* now it is gone for good */
    CHECK_EQ(WEXITSTATUS(status), 42);
    CHECK(wakeups() <= 4);
    finish();
    ends(peer);
}

/* ---- one batch ------------------------------------------------------------------------------- */

struct closer {
    CORO_FRAME;
    coro_fd *h, *other;
    int rc;
    char c;
};

CORO(closer)
{
    CORO_BEGIN();
    CORO_AWAIT(my->rc, coro_read(co, my->h, &my->c, 1));
    coro_close(my->other);
    CORO_END(my->rc);
}

/* Both are told of at once: what came is delivered, and whoever closes disturbs nobody. */
TEST(two_that_close_each_others_handles_in_one_turn_both_have_their_data) /* I23, D2 */
{
    static CORO_TASK(closer) t[2];
    int peers[2] = {pair(&a), pair(&b)};
    begin();
    coro_start(&io_loop.root, &t[0], closer, .h = &a, .other = &b);
    coro_start(&io_loop.root, &t[1], closer, .h = &b, .other = &a);
    settle();
    say(peers[0], "x");
    say(peers[1], "y");
    finish();
    CHECK_EQ(coro_task_result(&t[0]), 1);
    CHECK_EQ(coro_task_result(&t[1]), 1);
    CHECK_EQ(coro_fd_number(&a), -1);
    CHECK_EQ(coro_fd_number(&b), -1);
    CHECK_EQ(close(peers[0]), 0);
    CHECK_EQ(close(peers[1]), 0);
}

TEST(the_backend_tells_its_name)
{
    const char *const names[] = {"", "epoll", "kqueue", "poll"};
    CHECK_STR(coro_io_backend(), names[CORO_IO_BACKEND]);
}
