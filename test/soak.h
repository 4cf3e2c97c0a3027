/* soak.h -- connections that come and go at random, with cancellations from all sides, in rounds
 * within one loop. After each round no descriptor, task or timer may be left, and no byte that was
 * not there after the first; at the end no byte at all. For test/soak.c and test/test_soak.c.
 *
 *     wave      as many connections as may be open at once come, and wait for each other
 *     churn     those go; others come in their place: they talk, idle, reset, half-close ...
 *     end       by itself; or the server is stopped, or all clients are cancelled
 */
#ifndef SOAK_H
#define SOAK_H

#include "coro_io.h"
#include "coro_sync.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

typedef struct soak_options {
    uint32_t seed;   /* of what everybody does, and of the order in which ready tasks run */
    int connections; /* that come and go in each round, after the wave */
    int at_once;     /* the wave, and the most at any time */
    int rounds;      /* at least, and */
    coro_time time;  /* for so long */
    int patience;    /* the longest that somebody idles: microseconds */
    bool quiet;      /* say only what is wrong */
} soak_options;

struct soak {
    const soak_options *options;
    const char *folder; /* for the "unix:" sockets of every other round */
    uint32_t random;
    coro_scope **lives; /* of the clients, by slot, for the killer; null: nobody */
    int *free_slots, free_count;
    int arrived; /* ends of connections */
    coro_event all_here;
    int wrong; /* what must not be, in this run */
    struct {
        int came, well, cancelled, late, broken; /* how clients ended, in this round */
    } count;
};

static inline uint32_t soak_dice(struct soak *s, uint32_t n)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return s->random % n;
}

static inline uint32_t soak_patience(struct soak *s)
{
    return soak_dice(s, (uint32_t)s->options->patience);
}

/* So many ends of connections have come; the wave is complete when both ends of each have. */
static inline void soak_arrive(struct soak *s, int ends)
{
    s->arrived += ends;
    if (s->arrived >= 2 * s->options->at_once)
        coro_event_set(&s->all_here);
}

#define SOAK_WRONG(s, ...) (fprintf(stderr, "soak: " __VA_ARGS__), (void)(s)->wrong++)

/* ---- the two ends ---------------------------------------------------------------------------- */

struct soak_echo {
    CORO_FRAME;
    coro_fd conn;
    struct soak *s;
    coro_scope limit;
    int left; /* answers before it hangs up */
    size_t n;
    char bytes[256];
};

CORO(soak_echo)
{
    CORO_BEGIN();
    soak_arrive(my->s, 1);
    coro_scope_open(co, &my->limit);
    my->left = soak_dice(my->s, 16) == 0 ? (int)soak_dice(my->s, 8) : INT_MAX;
    for (;;) {
        CORO_TRY(my->n, coro_read(co, &my->conn, my->bytes, sizeof my->bytes));
        if (my->n == 0 || my->left-- == 0)
            break;
        if (soak_dice(my->s, 64) == 0)
            coro_scope_deadline(&my->limit, coro_now(co) + CORO_US(soak_patience(my->s)));
        if (soak_dice(my->s, 16) == 0)
            CORO_TRY(coro_sleep(co, CORO_US(soak_patience(my->s) / 16)));
        CORO_TRY(coro_write(co, &my->conn, my->bytes, my->n));
    }
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct soak_client {
    CORO_FRAME;
    struct soak *s;
    const char *to;
    int slot, left, rc;
    coro_scope life;
    coro_fd conn;
    size_t n;
    char bytes[256], back[256];
};

/* Hangs up with a reset. */
static inline void soak_reset(coro_fd *h)
{
    struct linger none = {1, 0};
    (void)setsockopt(coro_fd_number(h), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    (void)coro_close(h);
}

static inline void soak_count(struct soak_client *my, int error)
{
    struct soak *s = my->s;
    if (coro_scope_caught(&my->life))
        *(coro_scope_expired(&my->life) ? &s->count.late : &s->count.cancelled) += 1;
    else if (error == -ECANCELED)
        s->count.cancelled++;
    else if (error == -ECONNRESET || error == -EPIPE || error == -ENODATA ||
             error == -ECONNREFUSED || error == -ENOTCONN || error == -ENOENT)
        s->count.broken++;
    else if (error == 0)
        s->count.well++;
    else
        SOAK_WRONG(s, "a client ended with %s\n", strerror(-error));
}

/* What is sent has to come back, or the end of the connection. */
#define SOAK_TALK(my)                                                                             \
    do {                                                                                          \
        (my)->n = 1 + soak_dice((my)->s, sizeof (my)->bytes);                                     \
        memset((my)->bytes, (int)soak_dice((my)->s, 256), (my)->n);                               \
        CORO_TRY(coro_write(co, &(my)->conn, (my)->bytes, (my)->n));                              \
        CORO_TRY((my)->rc, coro_read_exact(co, &(my)->conn, (my)->back, (my)->n));                \
        if (memcmp((my)->bytes, (my)->back, (size_t)(my)->rc) != 0)                               \
            SOAK_WRONG((my)->s, "other bytes came back\n");                                       \
        if ((size_t)(my)->rc < (my)->n)                                                           \
            CORO_FAIL(-ENODATA);                                                                  \
    } while (0)

CORO(soak_client)
{
    CORO_BEGIN();
    coro_scope_open(co, &my->life);
    my->s->count.came++;
    my->slot = my->s->free_slots[--my->s->free_count];
    for (;;) {
        CORO_AWAIT(my->rc, coro_connect(co, &my->conn, my->to));
        if (my->rc != -EAGAIN) /* the queue of a local listener is full */
            break;
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    }
    if (my->rc < 0)
        soak_arrive(my->s, 2); /* there is no other end */
    CORO_TRY(my->rc);
    soak_arrive(my->s, 1);
    CORO_TRY(coro_event_wait(co, &my->s->all_here));
    my->s->lives[my->slot] = &my->life;
    if (soak_dice(my->s, 4) == 0)
        coro_scope_deadline(&my->life, coro_now(co) + CORO_US(soak_patience(my->s)));
    for (my->left = (int)soak_dice(my->s, 8); my->left; my->left--)
        SOAK_TALK(my);
    my->left = (int)soak_dice(my->s, 8);
    if (my->left == 0) {
        soak_reset(&my->conn);
    } else if (my->left == 1) { /* idle until somebody has enough of it */
        coro_scope_deadline(&my->life, coro_now(co) + CORO_US(soak_patience(my->s)));
        CORO_TRY(coro_wait_readable(co, &my->conn));
    } else if (my->left < 5) {
        CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));
        CORO_TRY(my->rc, coro_read(co, &my->conn, my->back, sizeof my->back));
        if (my->rc > 0)
            SOAK_WRONG(my->s, "bytes came that nobody had sent\n");
    }
CORO_FINALLY:
    my->s->lives[my->slot] = NULL;
    my->s->free_slots[my->s->free_count++] = my->slot;
    soak_count(my, CORO_ERR);
    coro_close(&my->conn);
    CORO_END(0);
}

/* ---- a round --------------------------------------------------------------------------------- */

struct soak_server {
    CORO_FRAME;
    struct soak *s;
    coro_server *state;
    coro_fd *listener;
};

CORO(soak_server)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->state, my->listener, conn, soak_echo, .s = my->s));
    CORO_END(0);
}

struct soak_killer { /* cancels clients, any ones */
    CORO_FRAME;
    struct soak *s;
};

CORO(soak_killer)
{
    CORO_BEGIN();
    for (;;) {
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
        for (int n = 1 + my->s->options->at_once / 256; n; n--) {
            uint32_t slot = soak_dice(my->s, (uint32_t)my->s->options->at_once);
            if (my->s->lives[slot])
                coro_scope_cancel(my->s->lives[slot]);
        }
    }
    CORO_END(0);
}

struct soak_round {
    CORO_FRAME;
    struct soak *s;
    int number, i, ending;
    char address[120];
    coro_address local;
    coro_fd listener;
    coro_server server;
    coro_group servers, clients, killers;
};

CORO(soak_round)
{
    CORO_BEGIN();
    snprintf(my->address, sizeof my->address, "unix:%s/soak", my->s->folder);
    CORO_TRY(coro_listen(&my->listener, my->number % 2 ? my->address : "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->local));
    coro_address_print(&my->local, my->address, sizeof my->address);
    my->s->arrived = 0;
    memset(&my->s->all_here, 0, sizeof my->s->all_here);
    my->server.limit = (coro_count)my->s->options->at_once;
    my->server.drain = CORO_MS(5);
    my->ending = (int)soak_dice(my->s, 3);
    coro_group_open(co, &my->servers, CORO_ALL);
    coro_spawn(&my->servers, soak_server, .s = my->s, .state = &my->server,
               .listener = &my->listener);
    coro_group_open(co, &my->killers, CORO_ALL);
    coro_spawn(&my->killers, soak_killer, .s = my->s);
    coro_group_open(co, &my->clients, CORO_COLLECT);
    coro_group_limit(&my->clients, (coro_count)my->s->options->at_once);
    for (; my->i < my->s->options->at_once + my->s->options->connections; my->i++) {
        CORO_TRY(coro_group_wait_room(co, &my->clients));
        CORO_TRY(coro_spawn(&my->clients, soak_client, .s = my->s, .to = my->address));
    }
    CORO_TRY(coro_event_wait(co, &my->s->all_here));
CORO_FINALLY:
    if (my->ending == 1)
        coro_group_cancel(&my->clients);
    if (my->ending == 2) {
        coro_server_stop(&my->server); /* handlers have 5 ms; clients in the backlog a reset */
        coro_close(&my->listener);
    }
    CORO_CLOSE(&my->clients);
    coro_group_cancel(&my->killers);
    CORO_CLOSE(&my->killers);
    coro_server_stop(&my->server);
    CORO_CLOSE(&my->servers);
    coro_close(&my->listener);
    if (my->s->free_count != my->s->options->at_once || my->server.handlers.alive != 0)
        SOAK_WRONG(my->s, "clients or handlers are left\n");
    CORO_END(0);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static inline int soak_descriptors(void)
{
    DIR *folder = opendir("/dev/fd");
    int n = 0;
    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

struct soak_app {
    CORO_FRAME;
    struct soak *s;
    struct soak_round round;
    int number, open, rc, poller; /* poller: descriptors of the loop itself */
    size_t memory; /* of the loop, after the first round */
    coro_time began;
};

static inline void soak_check(struct soak_app *my, coro_loop *loop)
{
    struct soak *s = my->s;
    coro_loop_stats now = coro_stats(loop);
    const char *bad = coro_verify(loop);
    int extra = soak_descriptors() - my->open;
    my->memory = my->memory ? my->memory : now.memory;
    if (bad)
        SOAK_WRONG(s, "round %d: %s\n", my->number, bad);
    if (my->rc < 0)
        SOAK_WRONG(s, "round %d: %s\n", my->number, strerror(-my->rc));
    my->poller = my->poller ? my->poller : extra; /* in the end there must be none */
    if (extra > my->poller)
        SOAK_WRONG(s, "round %d: %d descriptors are left\n", my->number, extra - my->poller);
    if (now.tasks != 1 || now.timers != 0 || now.held != 0)
        SOAK_WRONG(s, "round %d: %u tasks, %u timers, %u waits are left\n", my->number,
                   (unsigned)now.tasks - 1, (unsigned)now.timers, (unsigned)now.held);
    if (now.memory > my->memory)
        SOAK_WRONG(s, "round %d: %zu bytes more than after the first\n", my->number,
                   now.memory - my->memory);
    if (s->count.well == 0)
        SOAK_WRONG(s, "round %d: nobody ended well\n", my->number);
    if (!s->options->quiet)
        printf("round %d, %s: %d connections: %d well, %d cancelled, %d late, %d broken; "
               "%zu bytes\n", my->number, my->number % 2 ? "unix" : "tcp", s->count.came,
               s->count.well, s->count.cancelled, s->count.late, s->count.broken, now.memory);
    memset(&s->count, 0, sizeof s->count);
}

CORO(soak_app)
{
    CORO_BEGIN();
    my->began = coro_now(co);
    while (my->s->wrong == 0 && (my->number < my->s->options->rounds ||
                                 coro_now(co) - my->began < my->s->options->time)) {
        my->number++;
        CORO_AWAIT(my->rc, coro_call(co, &my->round, soak_round, .s = my->s,
                                     .number = my->number));
        soak_check(my, coro_loop_of(co));
    }
    CORO_END(0);
}

static inline void *soak_alloc(void *arg, size_t n)
{
    *(size_t *)arg += n;
    return malloc(n);
}

static inline void soak_free(void *arg, void *memory, size_t n)
{
    *(size_t *)arg -= n;
    free(memory);
}

/* How many connections may be open at once, having both ends of each: at most n. */
static inline int soak_most(int n)
{
    struct rlimit most;
    int room;
    (void)getrlimit(RLIMIT_NOFILE, &most);
    room = most.rlim_cur > 1000000 ? 500000 : ((int)most.rlim_cur - 64) / 2;
    return n < room ? n : room;
}

/* How many things were wrong. */
static inline int soak_run(const soak_options *options)
{
    char folder[] = "/tmp/soak.XXXXXX", path[64];
    struct soak s;
    size_t memory = 0;
    int open = soak_descriptors(), n = options->at_once;
    coro_options how;
    memset(&s, 0, sizeof s);
    memset(&how, 0, sizeof how);
    s.options = options;
    s.folder = mkdtemp(folder);
    s.random = options->seed | 1;
    s.lives = (coro_scope **)calloc((size_t)n, sizeof *s.lives);
    s.free_slots = (int *)calloc((size_t)n, sizeof *s.free_slots);
    if (!s.folder || !s.lives || !s.free_slots)
        return 1;
    while (s.free_count < n) {
        s.free_slots[s.free_count] = s.free_count;
        s.free_count++;
    }
    how.seed = s.random;
    how.allocator.alloc = soak_alloc;
    how.allocator.free = soak_free;
    how.allocator.arg = &memory;
    if (coro_run_with(&how, soak_app, .s = &s, .open = open) < 0)
        SOAK_WRONG(&s, "the loop failed\n");
    if (memory != 0)
        SOAK_WRONG(&s, "%zu bytes are left in the end\n", memory);
    if (soak_descriptors() != open)
        SOAK_WRONG(&s, "%d descriptors are left in the end\n", soak_descriptors() - open);
    snprintf(path, sizeof path, "%s/soak", folder);
    unlink(path);
    rmdir(folder);
    free(s.lives);
    free(s.free_slots);
    return s.wrong;
}

#endif /* SOAK_H */
