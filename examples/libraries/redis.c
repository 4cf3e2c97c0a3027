/* redis.c -- Redis through hiredis: its plain reader and writer are all that coroutines need.
 * Pipelining, a subscriber that is told by a publisher, and a command that takes too long. Needs a
 * server: REDIS_SOCKET is the path of its socket. */
#include "coro_io.h"
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- hiredis with coroutines ----------------------------------------------------------------- */

struct redis_flush { /* send what was appended */
    CORO_FRAME;
    redisContext *redis;
    int done;
};

CORO(redis_flush)
{
    CORO_BEGIN();
    while (!my->done) {
        CORO_TRY(coro_wait_fd(co, my->redis->fd, POLLOUT));
        if (redisBufferWrite(my->redis, &my->done) != REDIS_OK)
            CORO_FAIL(-EIO); /* redis->errstr says why */
    }
    CORO_END(0);
}

struct redis_reply { /* the next reply, in place of the one that *reply is; the caller's to free */
    CORO_FRAME;
    redisContext *redis;
    redisReply **reply;
};

CORO(redis_reply)
{
    CORO_BEGIN();
    freeReplyObject(*my->reply);
    *my->reply = NULL;
    for (;;) {
        if (redisGetReplyFromReader(my->redis, (void **)my->reply) != REDIS_OK)
            CORO_FAIL(-EPROTO);
        if (*my->reply)
            CORO_LEAVE();
        CORO_TRY(coro_wait_fd(co, my->redis->fd, POLLIN));
        if (redisBufferRead(my->redis) != REDIS_OK)
            CORO_FAIL(-EIO);
    }
    CORO_END(0);
}

struct redis_command { /* what was appended last, and its reply */
    CORO_FRAME;
    redisContext *redis;
    redisReply **reply;
    union {
        struct redis_flush flush;
        struct redis_reply next;
    };
};

CORO(redis_command)
{
    CORO_BEGIN();
    CORO_TRY(coro_call(co, &my->flush, redis_flush, .redis = my->redis));
    CORO_TRY(coro_call(co, &my->next, redis_reply, .redis = my->redis, .reply = my->reply));
    CORO_END((*my->reply)->type == REDIS_REPLY_ERROR ? -EINVAL : 0);
}

static redisContext *redis_open(void)
{
    return redisConnectUnixNonBlock(getenv("REDIS_SOCKET"));
}

/* ---- a program ------------------------------------------------------------------------------- */

struct listener {
    CORO_FRAME;
    redisContext *redis;
    redisReply *reply;
    struct redis_command subscribe;
    struct redis_reply next;
    int i;
};

CORO(listener)
{
    CORO_BEGIN();
    redisAppendCommand(my->redis, "SUBSCRIBE news");
    CORO_TRY(coro_call(co, &my->subscribe, redis_command, .redis = my->redis,
                       .reply = &my->reply));
    for (; my->i < 3; my->i++) {
        CORO_TRY(coro_call(co, &my->next, redis_reply, .redis = my->redis, .reply = &my->reply));
        printf("heard: %s\n", my->reply->element[2]->str);
    }
CORO_FINALLY:
    freeReplyObject(my->reply);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    redisContext *redis, *other;
    redisReply *reply;
    struct redis_flush flush;
    struct redis_reply next;
    struct redis_command command;
    coro_group g;
    coro_scope limit;
    int i, rc, heard;
};

/* One command, start to end. */
#define COMMAND(...)                                                                              \
    do {                                                                                          \
        redisAppendCommand(my->redis, __VA_ARGS__);                                               \
        CORO_TRY(coro_call(co, &my->command, redis_command, .redis = my->redis,                   \
                           .reply = &my->reply));                                                 \
    } while (0)

CORO(app)
{
    CORO_BEGIN();
    my->redis = redis_open();
    my->other = redis_open();
    if (!my->redis || !my->other || my->redis->err || my->other->err)
        CORO_FAIL(-ECONNREFUSED);
    COMMAND("SET greeting %s", "hello");
    COMMAND("GET greeting");
    printf("GET: %s\n", my->reply->str);

    for (int i = 0; i < 10000; i++) /* all of them in flight at once */
        redisAppendCommand(my->redis, "INCR hits");
    CORO_TRY(coro_call(co, &my->flush, redis_flush, .redis = my->redis));
    for (my->i = 0; my->i < 10000; my->i++)
        CORO_TRY(coro_call(co, &my->next, redis_reply, .redis = my->redis, .reply = &my->reply));
    printf("10000 times INCR: %lld\n", my->reply->integer);

    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, listener, .redis = my->other);
    while (my->heard < 3) { /* how many have heard it: none before it has subscribed */
        COMMAND("PUBLISH news %d", my->heard + 1);
        my->heard += (int)my->reply->integer;
    }
    CORO_CLOSE(&my->g);

    redisAppendCommand(my->redis, "BLPOP nothing 0");
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(50), &my->command, redis_command,
                                        .redis = my->redis, .reply = &my->reply));
    printf("BLPOP: %s\n", my->rc == -ETIMEDOUT ? "timed out" : "answered");
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    freeReplyObject(my->reply);
    redisFree(my->redis);
    redisFree(my->other);
    CORO_END(0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* hiredis writes with write(2) */
    return coro_run(app) < 0;
}

/* Output:
 *   GET: hello
 *   10000 times INCR: 10000
 *   heard: 1
 *   heard: 2
 *   heard: 3
 *   BLPOP: timed out
 */
