/* test_io_sweep.c -- coro_io.h's operations, cancelled, timed out and without memory everywhere.
 *
 * The reactor is the loop's driver: the passes of sweep.h that bring a driver of their own are left
 * out. Both ends of everything are in the scenario, so that each run is the same up to the blow.
 */
#include "io.h"
#include "sweep.h"

static int descriptors;

static void count_before(void)
{
    descriptors = open_descriptors();
}

static void none_left(const struct sweep_run *run)
{
    (void)run;
    SWEEP_EQ(open_descriptors(), descriptors);
}

/* A failure of another task that came first, or an end that came early. */
static bool any_error(const struct sweep_run *run)
{
    return run->result == -ECHILD || run->result == -EPIPE || run->result == -ECONNRESET ||
           run->result == -ENOMEM || run->result == -ENODATA;
}

static void io_sweep(const struct sweep_scenario *scenario)
{
    static struct sweep_run clean;
    sweep_watch_for_death();
    for (size_t p = 0; p < sizeof sweep_passes / sizeof *sweep_passes; p++) {
        memset(&clean, 0, sizeof clean);
        clean.scenario = scenario;
        clean.pass = sweep_passes[p];
        clean.pass.guest = false;
        sweep_one(&clean);
        CHECK(clean.steps > 3);
        sweep_places(&clean, SWEEP_CANCEL);
        sweep_places(&clean, SWEEP_EXPIRE);
        sweep_deadlines(&clean);
        sweep_places(&clean, SWEEP_ALLOC);
        sweep_places(&clean, SWEEP_MEMORY);
        sweep_arenas(&clean);
        sweep_places(&clean, SWEEP_TASK);
    }
}

/* ---- a pair: much one way, answers the other ------------------------------------------------- */

enum { LOAD = 600000 };

static char load[LOAD], got[LOAD];

struct source {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_fd *h;
    char answer[4];
    size_t n;
};

CORO(source)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_write(co, my->h, load, LOAD));
    CORO_TRY(coro_shutdown(my->h, CORO_OUT));
    CORO_TRY(my->n, coro_read_exact(co, my->h, my->answer, 4));
    if (my->n != 4)
        CORO_FAIL(-ENODATA);
CORO_FINALLY:
    CHECK_EQ(coro_close(my->h), 0); /* whoever reads there is not to wait for it */
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct stream {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    coro_fd in, out;
    size_t n;
};

CORO(stream)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    both(&my->in, &my->out);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, source, .h = &my->out);
    CORO_TRY(coro_wait_readable(co, &my->in));
    CORO_TRY(my->n, coro_read_exact(co, &my->in, got, LOAD));
    if (my->n != LOAD)
        CORO_FAIL(-ENODATA);
    CORO_TRY(coro_write(co, &my->in, "good", 4));
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->in), 0); /* wakes the source */
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_close(&my->out), 0);
    sweep_leave(&my->guard);
    CORO_END(7);
}

SWEEP_MAIN(stream)

TEST(a_stream_closes_whatever_happens)
{
    static const struct sweep_scenario s = {&stream_main, 7, false, count_before, none_left,
                                            any_error};
    io_sweep(&s);
}

/* ---- a listener and its clients -------------------------------------------------------------- */

static char path[64];

struct caller {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_address at;
    coro_fd h;
    char text[2];
    size_t n;
};

CORO(caller)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_connect_to(co, &my->h, &my->at));
    CORO_TRY(coro_write(co, &my->h, "hi", 2));
    CORO_TRY(my->n, coro_read_exact(co, &my->h, my->text, 2));
    if (my->n != 2)
        CORO_FAIL(-ENODATA);
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->h), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct door {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_fd *listener, conn;
    char text[2];
    size_t n;
};

/* Until cancelled. A caller may have gone away. */
CORO(door)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    for (;;) {
        CORO_TRY(coro_accept(co, my->listener, &my->conn));
        CORO_TRY(my->n, coro_read_exact(co, &my->conn, my->text, 2));
        if (my->n == 2)
            CORO_TRY(coro_write(co, &my->conn, my->text, 2));
        CHECK_EQ(coro_close(&my->conn), 0);
    }
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->conn), 0);
    CHECK_EQ(coro_close(my->listener), 0); /* those in its queue are told */
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct house {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g, callers;
    coro_fd listener;
    coro_address at;
    int i;
};

CORO(house)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_listen(&my->listener, path, 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->at));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, door, .listener = &my->listener);
    coro_group_open(co, &my->callers, CORO_ALL);
    for (my->i = 0; my->i < 2; my->i++)
        coro_spawn(&my->callers, caller, .at = my->at);
    CORO_CLOSE(&my->callers);
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->callers);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_close(&my->listener), 0);
    sweep_leave(&my->guard);
    CORO_END(2);
}

SWEEP_MAIN(house)

TEST(a_listener_closes_whatever_happens) /* I38, I41 */
{
    static const struct sweep_scenario s = {&house_main, 2, false, count_before, none_left,
                                            any_error};
    snprintf(path, sizeof path, "127.0.0.1:0");
    io_sweep(&s);
    snprintf(path, sizeof path, "unix:/tmp/coro-sweep-%d.sock", (int)getpid());
    io_sweep(&s);
    CHECK_EQ(access(path + 5, F_OK), -1);
}

/* ---- foreign descriptors --------------------------------------------------------------------- */

struct watcher {
    CORO_FRAME;
    struct sweep_guard guard;
    int number, events, rc;
};

CORO(watcher)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(my->rc, coro_wait_fd(co, my->number, my->events));
CORO_FINALLY:
    sweep_leave(&my->guard);
    CORO_END(my->rc);
}

struct lookout {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    coro_fd h, d;
    int number, rc;
    coro_datagram in;
    char text[8];
};

CORO(lookout)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    my->number = pair(&my->h);
    CHECK_EQ(coro_fd_adopt(&my->d, dup(my->number)), 0);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, watcher, .number = my->number, .events = POLLIN);
    coro_spawn(&my->g, watcher, .number = my->number, .events = POLLOUT);
    CORO_TRY(coro_sleep(co, 0));
    CORO_TRY(coro_write(co, &my->h, "x", 1));
    CORO_TRY(coro_wait_readable(co, &my->d));
    my->in.data = my->text;
    my->in.size = sizeof my->text;
    CORO_CLOSE(&my->g);
    CORO_TRY(coro_recv_from(co, &my->d, &my->in));
    my->in.size = 1;
    CORO_TRY(coro_send_to(co, &my->d, &my->in));
    CORO_TRY(my->rc, coro_read(co, &my->h, my->text, 8));
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_close(&my->h), 0);
    CHECK_EQ(coro_close(&my->d), 0);
    if (my->number)
        CHECK_EQ(close(my->number), 0);
    sweep_leave(&my->guard);
    CORO_END(my->rc);
}

SWEEP_MAIN(lookout)

TEST(a_lookout_ends_whatever_happens) /* I25, I28 */
{
    static const struct sweep_scenario s = {&lookout_main, 1, false, count_before, none_left,
                                            any_error};
    io_sweep(&s);
}

/* ---- a file and a descriptor on their way ---------------------------------------------------- */

static int file;

struct courier {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_fd *h, rest, gift;
    coro_stream s;
    coro_file_part part;
    coro_parcel parcel;
    char out[8];
};

CORO(courier)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    CORO_TRY(coro_pipe(&my->rest, &my->gift));
    CORO_TRY(coro_stream_open(&my->s, my->h, NULL, 0, my->out, sizeof my->out));
    CORO_TRY(coro_stream_write(co, &my->s, "head", 4));
    my->part.file = file;
    my->part.size = LOAD;
    CORO_TRY(coro_stream_sendfile(co, &my->s, &my->part));
    my->parcel.data = my->out;
    my->parcel.size = 1;
    my->parcel.fd = &my->gift;
    CORO_TRY(coro_send_fd(co, my->h, &my->parcel));
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->rest), 0);
    CHECK_EQ(coro_close(&my->gift), 0);
    CHECK_EQ(coro_close(my->h), 0);
    sweep_leave(&my->guard);
    CORO_END(0);
}

struct delivery {
    CORO_FRAME;
    struct sweep_guard guard;
    coro_group g;
    coro_fd from, to, gift;
    coro_parcel parcel;
    char head[4], c;
    size_t n;
};

CORO(delivery)
{
    CORO_BEGIN();
    sweep_enter(&my->guard);
    both(&my->from, &my->to);
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, courier, .h = &my->from);
    CORO_TRY(my->n, coro_read_exact(co, &my->to, my->head, 4));
    CORO_TRY(my->n, coro_read_exact(co, &my->to, got, LOAD));
    if (my->n != LOAD)
        CORO_FAIL(-ENODATA);
    my->parcel.data = &my->c;
    my->parcel.size = 1;
    my->parcel.fd = &my->gift;
    CORO_TRY(my->n, coro_recv_fd(co, &my->to, &my->parcel));
    if (my->n != 1)
        CORO_FAIL(-ENODATA);
    CHECK(coro_fd_number(&my->gift) >= 0);
    CORO_CLOSE(&my->g);
CORO_FINALLY:
    CHECK_EQ(coro_close(&my->to), 0); /* wakes the courier */
    CHECK_EQ(coro_close(&my->gift), 0);
    CORO_CLOSE(&my->g);
    CHECK_EQ(coro_close(&my->from), 0);
    sweep_leave(&my->guard);
    CORO_END(5);
}

SWEEP_MAIN(delivery)

TEST(a_file_and_a_descriptor_are_delivered_or_nothing_is_left_whatever_happens) /* I02, I41 */
{
    static const struct sweep_scenario s = {&delivery_main, 5, false, count_before, none_left,
                                            any_error};
    FILE *f = tmpfile();
    file = fileno(f);
    CHECK_EQ(write(file, load, LOAD), LOAD);
    io_sweep(&s);
    fclose(f);
}
