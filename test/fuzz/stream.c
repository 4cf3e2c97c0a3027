/* coro_stream against a model: the bytes that were sent, and how many of them were taken.
 *
 * A task reads and writes in all ways, as the input decides; the outside sends in pieces, cancels
 * what the task waits in, lets its time run out, and reads what it writes. Whatever happens, no
 * byte may be lost, come twice, or not come although it is there.
 */
#include "../io.h"
#include "fuzz.h"

#include <errno.h>

#define SENT    4096  /* bytes to the task, at most */
#define OPS     64    /* of the task */
#define ACTIONS 400   /* of the outside */
#define IN_MOST 48    /* size of the buffer for reading */

enum op { LINE, UNTIL, EXACT, PEEK, SOME, SKIP, WRITE, FLUSH, OP_KINDS };

static const char *const separators[] = {"\n", "\r\n", "aa", "aab", "\r\n\r\n"};

struct user {
    CORO_FRAME;
    coro_fd h;
    coro_stream s;
    coro_scope scope; /* around each operation; the outside cancels it */
    coro_time limit;  /* of the operation */
    coro_slice slice;
    enum op op;
    size_t n;         /* how many bytes */
    const char *sep;
    char *bytes;      /* of this operation */
    intptr_t rc;
    int left;         /* operations */
};

/* The model. */
static struct {
    char sent[SENT];
    size_t made, taken;      /* of these bytes */
    bool ended, hurt;        /* no more will come; the operation was cancelled or had no time */
    size_t wrote, heard;     /* bytes of the task's; that came out */
    bool waiting;            /* it is in an operation */
    char *in, *out;
    size_t in_size, out_size;
    int peer;
} w;

/* The n-th byte that the task writes. */
static char pattern(size_t n)
{
    return (char)(n * 7 + (n >> 8));
}

#define BLOCKED (-1000)

static intptr_t expected_part(const struct user *my, size_t *len)
{
    size_t limit = my->s.limit && my->s.limit < w.in_size ? my->s.limit : w.in_size;
    size_t have = w.made - w.taken, n = strlen(my->sep);
    const char *from = w.sent + w.taken;
    *len = have < limit ? have : limit;
    for (size_t i = 0; i + n <= *len; i++) {
        if (memcmp(from + i, my->sep, n) == 0) {
            *len = i - (my->op == LINE && i && from[i - 1] == '\r');
            w.taken += i + n;
            return 1;
        }
    }
    return *len == limit ? -EMSGSIZE : w.ended ? 0 : BLOCKED;
}

/* What the operation must give, when all that was sent has arrived; of SOME: at most. What that
 * takes is taken. */
static intptr_t expected(const struct user *my, size_t *len)
{
    size_t have = w.made - w.taken, n = my->n < have ? my->n : have;
    if (my->op == LINE || my->op == UNTIL)
        return expected_part(my, len);
    if (my->op == PEEK) {
        *len = n;
        return my->n > w.in_size ? -EMSGSIZE : have >= my->n ? 1 : w.ended ? 0 : BLOCKED;
    }
    if (w.ended || (my->op == EXACT ? have >= my->n : have > 0))
        return (intptr_t)n;
    return BLOCKED;
}

static void check_bytes(const char *bytes, size_t at, size_t n)
{
    CHECK(at + n <= w.made);
    CHECK(n == 0 || memcmp(bytes, w.sent + at, n) == 0);
}

static void check_write(struct user *my)
{
    if (my->rc >= 0 && my->op == WRITE) {
        CHECK_EQ(my->rc, my->n);
        w.wrote += my->n;
    } else if (my->rc < 0) {
        CHECK(w.hurt && (my->rc == -ECANCELED || my->rc == -ETIMEDOUT));
        if (my->op == WRITE && my->n > w.out_size)
            w.wrote += coro_fd_moved(&my->h, CORO_OUT);
    }
}

static void check_read(struct user *my)
{
    size_t len = 0, before = w.taken;
    intptr_t want;
    if (my->rc == -ECANCELED || my->rc == -ETIMEDOUT) {
        size_t moved = my->op == EXACT && my->n > w.in_size ? coro_fd_moved(&my->h, CORO_IN) : 0;
        CHECK(w.hurt);
        check_bytes(my->bytes, w.taken, moved);
        w.taken += moved;
        return;
    }
    want = expected(my, &len);
    CHECK(want != BLOCKED);
    if (my->op == SOME)
        CHECK(my->rc <= want && (my->rc > 0) == (want > 0));
    else
        CHECK_EQ(my->rc, want);
    if (my->op == PEEK) {
        CHECK(my->rc < 0 || my->slice.len >= len);
        check_bytes(my->slice.data, before, my->slice.len);
    } else if (my->op == EXACT || my->op == SOME) {
        check_bytes(my->bytes, before, (size_t)my->rc);
        w.taken += (size_t)my->rc;
    } else {
        CHECK_EQ(my->slice.len, len);
        check_bytes(my->slice.data, before, len);
    }
}

/* The next operation. */
static void decide(struct user *my)
{
    my->op = (enum op)fuzz_below(OP_KINDS);
    my->limit = fuzz_below(8) ? CORO_FOREVER : 0;
    w.hurt = my->limit == 0;
    my->n = 1 + fuzz_below(fuzz_below(4) ? IN_MOST + 2 : 300);
    my->sep = my->op == LINE ? "\n" : separators[fuzz_below(5)];
    if (my->op == WRITE && fuzz_below(8) == 0)
        my->n += 20000; /* more than the kernel takes at once */
    my->bytes = (char *)malloc(my->n);
    CHECK(my->bytes != NULL);
    for (size_t i = 0; my->op == WRITE && i < my->n; i++)
        my->bytes[i] = pattern(w.wrote + i);
    if (fuzz_below(4) == 0)
        my->s.limit = fuzz_below(IN_MOST);
}

static coro_op start(coro_task *co, struct user *my)
{
    switch (my->op) {
    case LINE: return coro_stream_read_line(co, &my->s, &my->slice);
    case UNTIL: return coro_stream_read_until(co, &my->s, my->sep, strlen(my->sep), &my->slice);
    case EXACT: return coro_stream_read_exact(co, &my->s, my->bytes, my->n);
    case PEEK: return coro_stream_peek(co, &my->s, my->n, &my->slice);
    case SOME: return coro_stream_read(co, &my->s, my->bytes, my->n);
    case WRITE: return coro_stream_write(co, &my->s, my->bytes, my->n);
    default: return coro_stream_flush(co, &my->s);
    }
}

static void skip(struct user *my)
{
    size_t have = coro_stream_buffered(&my->s, CORO_IN);
    CHECK(have <= w.made - w.taken);
    CHECK_EQ(coro_stream_skip(&my->s, my->n), my->n < have ? my->n : have);
    w.taken += my->n < have ? my->n : have;
}

CORO(user)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->h, w.in, w.in_size, w.out, w.out_size));
    for (my->left = (int)fuzz_below(OPS); my->left > 0; my->left--) {
        decide(my);
        if (my->op == SKIP) {
            skip(my);
        } else {
            coro_timeout_open(co, &my->scope, CORO_FOREVER);
            w.waiting = true;
            CORO_AWAIT(my->rc, coro_within(co, my->limit, start(co, my)));
            w.waiting = false;
            (void)coro_scope_close(co, &my->scope, 0);
            if (my->op >= WRITE)
                check_write(my);
            else
                check_read(my);
        }
        free(my->bytes);
    }
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    (void)coro_close(&my->h);
    CORO_END(0);
}

/* ---- the outside ----------------------------------------------------------------------------- */

static CORO_TASK(user) task;

static void send_some(void)
{
    static const char alphabet[] = "aab\r\n\r\n:";
    size_t n = fuzz_below(fuzz_below(4) ? 8 : 300), from = w.made;
    n = n < SENT - w.made ? n : SENT - w.made;
    for (size_t i = 0; i < n; i++)
        w.sent[w.made++] = alphabet[fuzz_below(sizeof alphabet - 1)];
    CHECK_EQ(send(w.peer, w.sent + from, n, MSG_NOSIGNAL), n);
}

/* Read what the task has written, and compare. */
static void hear_all(void)
{
    char buffer[4096];
    ssize_t n;
    while ((n = recv(w.peer, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            CHECK_EQ(buffer[i], pattern(w.heard + (size_t)i));
        w.heard += (size_t)n;
    }
}

/* Nothing moves any more: then the task waits for what is not there. */
static void rest(void)
{
    size_t heard, len, taken = w.taken;
    do {
        heard = w.heard;
        settle();
        settle();
        hear_all();
    } while (w.heard != heard);
    if (!w.waiting || w.taken != taken) /* it went on meanwhile */
        return;
    CHECK(task.frame.op < WRITE); /* there is room, now */
    CHECK_EQ(w.heard, w.wrote);   /* a read that waits has written what is in the buffer */
    CHECK_EQ(expected(&task.frame, &len), BLOCKED);
}

static void hurt(void)
{
    if (!w.waiting)
        return;
    w.hurt = true;
    if (fuzz_below(2))
        (void)coro_scope_cancel(&task.frame.scope);
    else
        (void)coro_scope_deadline(&task.frame.scope, coro_loop_now(&io_loop) - 1);
}

static void end(void)
{
    if (!w.ended)
        CHECK_EQ(shutdown(w.peer, SHUT_WR), 0);
    w.ended = true;
}

static void play(void)
{
    for (int i = 0; i < ACTIONS && coro_task_status(&task) == CORO_RUNNING; i++) {
        uint32_t what = fuzz_below(16);
        if (what < 6 && !w.ended)
            send_some();
        else if (what < 9)
            (void)coro_loop_step(&io_loop);
        else if (what < 13)
            rest();
        else if (what < 15)
            hurt();
        else if (fuzz_below(8) == 0)
            end();
    }
    end();
    while (coro_task_status(&task) == CORO_RUNNING)
        rest();
    hear_all();
    CHECK_EQ(w.heard, w.wrote);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int small = 1;
    fuzz_begin(data, size);
    memset(&w, 0, sizeof w);
    memset(&task, 0, sizeof task);
    w.in_size = 1 + fuzz_below(IN_MOST);
    w.out_size = fuzz_below(40);
    w.in = (char *)malloc(w.in_size);
    w.out = (char *)malloc(w.out_size + 1);
    begin();
    w.peer = pair(&task.frame.h);
    CHECK_EQ(setsockopt(coro_fd_number(&task.frame.h), SOL_SOCKET, SO_SNDBUF, &small,
                        sizeof small), 0);
    CHECK_EQ(coro_start(&io_loop.root, &task, user, .h = task.frame.h), 0);
    play();
    CHECK_EQ(coro_task_result(&task), 0);
    finish();
    close(w.peer);
    free(w.in);
    free(w.out);
    return 0;
}
