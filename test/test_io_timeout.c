/* test_io_timeout.c -- how long the reactor sleeps. */
#include "coro_io.h"
#include "test.h"

struct idle {
    CORO_FRAME;
    coro_fd in;
    int raw[2];
    char c;
    int rc;
    coro_time start, took;
};

CORO(idle)
{
    CORO_BEGIN();
    CHECK_EQ(pipe2(my->raw, O_CLOEXEC), 0);
    CORO_TRY(coro_fd_adopt(&my->in, my->raw[0]));
    my->start = coro_now(co);
    CORO_AWAIT(my->rc, coro_within(co, CORO_MS(5), coro_read(co, &my->in, &my->c, 1)));
    my->took = coro_now(co) - my->start;
    CHECK_EQ(my->rc, -ETIMEDOUT);
    CHECK(my->took >= CORO_MS(5));
    CHECK(my->took < CORO_S(2)); /* on 32-bit machines it was for ever */
CORO_FINALLY:
    coro_close(&my->in);
    close(my->raw[1]);
    CORO_END(0);
}

TEST(io_timeout_takes_its_time_and_no_more)
{
    CHECK_EQ(coro_run(idle), 0);
}
