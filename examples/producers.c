/* producers.c -- two producers, two consumers, and two ways to say that there is no more: an item
 * that means it, one for each consumer; or to close the queue. */
#include "coro_sync.h"
#include <stdio.h>

static const int no_more = -1;
typedef CORO_QUEUE(int, 3) int_queue;

struct producer {
    CORO_FRAME;
    int_queue *q;
    int from, i;
};

CORO(producer)
{
    CORO_BEGIN();
    for (my->i = my->from; my->i < my->from + 10; my->i++)
        CORO_TRY(coro_queue_put(co, my->q, &my->i)); /* waits while it is full */
    CORO_END(0);
}

struct consumer {
    CORO_FRAME;
    int_queue *q;
    int *sum, item;
    bool got;
};

CORO(consumer)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(my->got, coro_queue_get(co, my->q, &my->item));
        if (!my->got || my->item == no_more)
            break;
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        *my->sum += my->item;
    }
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    bool closing;
    int_queue q;
    coro_group consumers, producers;
    int sum;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->consumers, CORO_ALL);
    coro_group_open(co, &my->producers, CORO_ALL);
    for (int i = 0; i < 2; i++) {
        coro_spawn(&my->consumers, consumer, .q = &my->q, .sum = &my->sum);
        coro_spawn(&my->producers, producer, .q = &my->q, .from = 10 * i);
    }
    CORO_CLOSE(&my->producers); /* everything has been put */
    if (my->closing) {
        coro_queue_close(&my->q); /* gets are 0 when it is empty, for any number of consumers */
    } else {
        CORO_TRY(coro_queue_put(co, &my->q, &no_more));
        CORO_TRY(coro_queue_put(co, &my->q, &no_more));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->consumers);
    printf("%s: sum %d, %u left\n", my->closing ? "closing" : "a last item for each", my->sum,
           (unsigned)coro_queue_depth(&my->q));
    CORO_END(my->sum);
}

int main(void)
{
    const coro_options virtual_time = {.clock = CORO_VIRTUAL};
    if (coro_run_with(&virtual_time, app, .closing = false) != 190)
        return 1;
    return coro_run_with(&virtual_time, app, .closing = true) != 190;
}

/* Output:
 *   a last item for each: sum 190, 0 left
 *   closing: sum 190, 0 left
 */
