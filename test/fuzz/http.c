/* The HTTP example: the same answers, however its requests are cut, and all memory given back. */
#define main http_main
#include "../../examples/http.c"
#undef main
#include "pieces.h"

static const char *const words[] = {
    "\r\n", " ", "a", "1", "f", "%41", "%", ":", ",", "\r\n\r\n", "HTTP/1.1\r\n", "HTTP/1.0\r\n",
    "HTTP/2.0\r\n", "GET ", "HEAD ", "POST ", "PUT ", "/hello ", "/echo ", "/ ", "/../etc ",
    "http://here/hello?a ", "Host: a\r\n", "Content-Length: 1\r\n", "Content-Length: 10\r\n",
    "Content-Length: 99999999\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n",
    "Connection: close\r\n", "Connection: keep-alive, x\r\n", "GET /hello HTTP/1.1\r\nHost: a\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "12345", "0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nabcde\r\n",
    "5;x=y\r\nabcde\r\n", "0\r\nTrailer: x\r\n\r\n", "fffffff\r\n",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
};

static coro_task *start(coro_fd *conn)
{
    static CORO_TASK(session) task;
    memset(&task, 0, sizeof task);
    CHECK_EQ(coro_start(&io_loop.root, &task, session, .conn = *conn), 0);
    return &task.task;
}

static void end(void)
{
    CHECK(!idle_list);
}

/* The time is not always the same. */
static void mask_dates(struct pieces_text *text)
{
    static const char name[] = "\r\nDate: ";
    size_t length = sizeof name - 1;
    for (size_t i = 0; i + length + 25 <= text->n; i++) {
        if (memcmp(text->data + i, name, length) == 0)
            memset(text->data + i + length, '.', 25);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pieces_text requests;
    fuzz_begin(data, size);
    (void)signal(SIGPIPE, SIG_IGN);
    pieces_make(&requests, words, sizeof words / sizeof *words);
    pieces_compare(&requests, start, end, mask_dates);
    return 0;
}
