/* pieces.h -- for servers: what comes in one piece is answered as it is when it comes in many. */
#ifndef PIECES_H
#define PIECES_H

#include "../io.h"
#include "fuzz.h"

#define PIECES_MOST 8192    /* bytes of requests */

struct pieces_text {
    char data[1 << 20];
    size_t n;
};

/* A target's own: start the server's task for one connection; make the world as it was. */
typedef coro_task *pieces_start(coro_fd *conn);
typedef void pieces_end(void);

/* Requests: words that the server knows, and anything. */
static inline void pieces_make(struct pieces_text *to, const char *const *words, uint32_t n)
{
    to->n = 0;
    while (fuzz.at < fuzz.end && to->n < PIECES_MOST - 256) {
        uint32_t what = fuzz_below(4);
        const char *word = what == 0 ? NULL : words[fuzz_below(n)];
        size_t length = word ? strlen(word) : 1;
        uint32_t times = what == 1 ? 1 + fuzz_below(4) : 1;
        for (; times && to->n + length < PIECES_MOST; times--, to->n += length) {
            if (word)
                memcpy(to->data + to->n, word, length);
            else
                to->data[to->n] = (char)fuzz_byte();
        }
    }
}

static inline void pieces_hear(int peer, struct pieces_text *to)
{
    ssize_t n;
    while ((n = recv(peer, to->data + to->n, sizeof to->data - to->n, MSG_DONTWAIT)) > 0)
        to->n += (size_t)n;
    CHECK(to->n < sizeof to->data);
}

/* Ask, in pieces or at once, and collect the answers. */
static inline void pieces_ask(const struct pieces_text *from, struct pieces_text *to, bool cut,
                              pieces_start *start, pieces_end *end)
{
    coro_fd conn;
    coro_task *task;
    int peer;
    to->n = 0;
    memset(&conn, 0, sizeof conn);
    begin();
    peer = pair(&conn);
    task = start(&conn);
    for (size_t at = 0; at < from->n;) {
        size_t left = from->n - at, n = cut ? 1 + fuzz_below(fuzz_below(4) ? 8 : 200) : left;
        n = n < left ? n : left;
        if (send(peer, from->data + at, n, MSG_NOSIGNAL) < 0)
            break; /* it was closed because of what came before */
        at += n;
        (void)coro_loop_step(&io_loop);
        pieces_hear(peer, to);
    }
    (void)shutdown(peer, SHUT_WR);
    while (coro_task_status(task) == CORO_RUNNING) {
        settle();
        pieces_hear(peer, to);
    }
    pieces_hear(peer, to);
    close(peer);
    finish();
    end();
}

static inline void pieces_compare(const struct pieces_text *requests, pieces_start *start,
                                  pieces_end *end, void (*mask)(struct pieces_text *text))
{
    static struct pieces_text whole, cut;
    pieces_ask(requests, &whole, false, start, end);
    pieces_ask(requests, &cut, true, start, end);
    if (mask) {
        mask(&whole);
        mask(&cut);
    }
    if (whole.n != cut.n || memcmp(whole.data, cut.data, whole.n) != 0)
        TEST_FAIL("in one piece:\n%.*s\nin pieces:\n%.*s", (int)whole.n, whole.data, (int)cut.n,
                  cut.data);
}

#endif /* PIECES_H */
