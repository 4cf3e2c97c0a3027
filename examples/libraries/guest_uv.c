/* guest_uv.c -- coroutines in a program of libuv: before it sleeps, ask for our deadline; when that
 * comes, or our descriptor is readable, make a step. Here uv's timer feeds a coroutine through a
 * queue, and that one stops uv. */
#include "coro_io.h"
#include "coro_sync.h"
#include <stdio.h>
#include <uv.h>

/* ---- the glue ------------------------------------------------------------------------------- */

struct guest {
    coro_loop loop;
    uv_prepare_t prepare; /* called before uv sleeps */
    uv_timer_t timer;     /* our deadline */
    uv_poll_t poll;       /* our descriptor */
};

static void guest_step(struct guest *g)
{
    if (coro_loop_step(&g->loop) > 0)
        return;
    uv_close((uv_handle_t *)&g->prepare, NULL); /* no task is left: uv may end, too */
    uv_close((uv_handle_t *)&g->timer, NULL);
    uv_close((uv_handle_t *)&g->poll, NULL);
}

static void guest_on_timer(uv_timer_t *timer)
{
    guest_step(timer->data);
}

static void guest_on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    guest_step(poll->data);
}

static void guest_on_prepare(uv_prepare_t *prepare)
{
    struct guest *g = prepare->data;
    coro_time until = coro_loop_deadline(&g->loop), now = coro_loop_now(&g->loop);
    coro_time ms = until <= now ? 0 : (until - now) / CORO_MS(1) + 1;
    uv_timer_stop(&g->timer);
    if (until == CORO_FOREVER)
        return;
    uv_update_time(prepare->loop); /* timers count from there */
    uv_timer_start(&g->timer, guest_on_timer, (uint64_t)ms, 0);
}

static int guest_init(struct guest *g, uv_loop_t *uv)
{
    int fd, rc = coro_loop_init(&g->loop, NULL);
    if (rc < 0 || (fd = coro_loop_fd(&g->loop)) < 0)
        return rc < 0 ? rc : fd;
    uv_prepare_init(uv, &g->prepare);
    uv_timer_init(uv, &g->timer);
    g->prepare.data = g->timer.data = g->poll.data = g;
    if ((rc = uv_poll_init(uv, &g->poll, fd)) < 0)
        return rc;
    uv_prepare_start(&g->prepare, guest_on_prepare);
    return uv_poll_start(&g->poll, UV_READABLE, guest_on_poll);
}

/* ---- a program ------------------------------------------------------------------------------ */

typedef CORO_QUEUE(int, 8) numbers;

struct consumer {
    CORO_FRAME;
    numbers *q;
    int n, got;
};

CORO(consumer) /* it waits for uv's timer and for its own */
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->n));
        if (!my->got)
            break;
        CORO_TRY(coro_sleep(co, CORO_MS(2)));
        printf("%d squared is %d\n", my->n, my->n * my->n);
    }
    printf("closed and drained\n");
    CORO_END(0);
}

static numbers queue;
static int count;

static void on_tick(uv_timer_t *timer)
{
    if (++count <= 3 && coro_queue_try_put(&queue, &count) == 0)
        return;
    coro_queue_close(&queue);
    uv_close((uv_handle_t *)timer, NULL);
}

int main(void)
{
    static struct guest guest;
    uv_loop_t *uv = uv_default_loop();
    uv_timer_t ticks;
    if (guest_init(&guest, uv) < 0 || coro_spawn(&guest.loop.root, consumer, .q = &queue) < 0)
        return 1;
    if (uv_timer_init(uv, &ticks) < 0 || uv_timer_start(&ticks, on_tick, 10, 10) < 0)
        return 1;
    if (uv_run(uv, UV_RUN_DEFAULT) != 0 || uv_loop_close(uv) < 0)
        return 1;
    return coro_loop_fini(&guest.loop) < 0;
}

/* Output:
 *   1 squared is 1
 *   2 squared is 4
 *   3 squared is 9
 *   closed and drained
 */
