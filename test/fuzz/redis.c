/* The Redis example: the same answers, however its commands are cut, and all memory given back. */
#include "coro_io.h"
#define main redis_main
#define coro_now(co) ((void)(co), CORO_S(1)) /* what expires does so in both runs, or in neither */
#include "../../examples/redis.c"
#undef main
#include "pieces.h"

static const char *const words[] = {
    "\r\n", " ", "a", "b", "1", "2", "-1", "*", "*1\r\n", "*2\r\n", "*3\r\n", "*0\r\n", "$1\r\n",
    "$3\r\n", "$3\r\nGET\r\n$1\r\na\r\n", "$3\r\nSET\r\n", "$4\r\nINCR\r\n$1\r\na\r\n", "\n",
    "SET a b\r\n", "SET a 1 EX 100\r\n", "SET a 1 PX 1 NX\r\n", "GET a\r\n", "INCR a\r\n",
    "EXPIRE a 0\r\n", "PEXPIRE a -1\r\n", "TTL a\r\n", "KEYS *\r\n", "KEYS [a-b]?*\\\r\n",
    "DEL a b\r\n", "EXISTS a a\r\n", "PING\r\n", "PING x\r\n", "DBSIZE\r\n", "FLUSHALL\r\n",
    "SUBSCRIBE a b\r\n", "UNSUBSCRIBE a\r\n", "UNSUBSCRIBE\r\n", "PUBLISH a b\r\n", "QUIT\r\n",
    "INFO\r\n", "SELECT 0\r\n", "CONFIG GET save\r\n", "DECR b\r\n", "9223372036854775807",
};

static coro_task *start(coro_fd *conn)
{
    static CORO_TASK(client) task;
    memset(&task, 0, sizeof task);
    table_init(&keys);
    table_init(&channels);
    commands_done = 0;
    CHECK_EQ(coro_start(&io_loop.root, &task, client, .conn = *conn), 0);
    return &task.task;
}

static void end(void)
{
    (void)do_flushall(NULL);
    CHECK_EQ(keys.used + keys.expiring + keys.memory + channels.used + channels.memory, 0);
    free(keys.buckets);
    free(channels.buckets);
    memset(&keys, 0, sizeof keys);
    memset(&channels, 0, sizeof channels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pieces_text requests;
    fuzz_begin(data, size);
    pieces_make(&requests, words, sizeof words / sizeof *words);
    pieces_compare(&requests, start, end, NULL);
    return 0;
}
