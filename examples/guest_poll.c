/* guest_poll.c -- coroutines in a program that has a poll(2) loop already. The host waits for our
 * descriptor beside its own, and for no longer than our deadline; its callbacks start and cancel
 * tasks. */
#include "coro_io.h"
#include <stdio.h>

static coro_loop loop;

struct order { /* started by the host */
    CORO_FRAME;
    int minutes;
};

CORO(order)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_MS(20 * my->minutes)));
    printf("an order of %d minutes is ready\n", my->minutes);
CORO_FINALLY:
    if (CORO_ERR)
        printf("an order of %d minutes is thrown away\n", my->minutes);
    CORO_END(0);
}

struct customer { /* the other end of the host's pipe */
    CORO_FRAME;
    coro_fd out;
};

CORO(customer)
{
    CORO_BEGIN();
    CORO_TRY(coro_write(co, &my->out, "312", 3));
    CORO_TRY(coro_sleep(co, CORO_MS(100)));
    CORO_TRY(coro_write(co, &my->out, "9", 1));
CORO_FINALLY:
    coro_close(&my->out);
    CORO_END(0);
}

/* The host's own business: a byte is an order; the end closes the kitchen. False: it is closed. */
static bool host_reads(int in)
{
    char minutes[16];
    ssize_t n = read(in, minutes, sizeof minutes);
    for (ssize_t i = 0; i < n; i++)
        coro_spawn(&loop.root, order, .minutes = minutes[i] - '0');
    if (n <= 0)
        coro_group_cancel(&loop.root);
    return n > 0;
}

/* How long the host may sleep, for poll: milliseconds, rounded up. */
static int timeout_of(coro_time until)
{
    coro_time now = coro_loop_now(&loop);
    if (until == CORO_FOREVER)
        return -1;
    return until <= now ? 0 : (int)((until - now + CORO_MS(1) - 1) / CORO_MS(1));
}

int main(void)
{
    struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};
    coro_fd out = {0};
    bool open = true;
    int ends[2], turns = 0;
    if (coro_loop_init(&loop, NULL) < 0 || pipe(ends) < 0 || coro_fd_adopt(&out, ends[1]) < 0)
        return 1;
    p[0].fd = ends[0];
    p[1].fd = coro_loop_fd(&loop);
    if (p[1].fd < 0 || coro_spawn(&loop.root, customer, .out = out) < 0)
        return 1;
    while (coro_loop_step(&loop) > 0 || open) {
        if (poll(p, 2, timeout_of(coro_loop_deadline(&loop))) < 0)
            return 1;
        if (p[0].revents && !host_reads(p[0].fd)) {
            open = false;
            p[0].fd = -1;
        }
        turns++;
    }
    close(ends[0]);
    printf("%s\n", turns < 50 ? "the host slept in between" : "the host was kept awake");
    return coro_loop_fini(&loop) < 0;
}

/* Output:
 *   an order of 1 minutes is ready
 *   an order of 2 minutes is ready
 *   an order of 3 minutes is ready
 *   an order of 9 minutes is thrown away
 *   the host slept in between
 */
