/* dns.c -- names through c-ares, without threads: several at once, one that does not exist, and a
 * name server that never answers. Needs a server: DNS_SERVER is its address and port. */
#include "watch.h"
#include "coro_sync.h"
#include <ares.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- c-ares with coroutines ------------------------------------------------------------------ */

struct resolver {
    ares_channel channel;
    struct watch watch;
};

/* What a query leaves behind when nobody wants its answer any more: c-ares cannot cancel one. */
struct request {
    coro_promise end; /* a status */
    struct ares_addrinfo *answer;
    bool abandoned;
};

static void on_socket(void *arg, ares_socket_t fd, int in, int out)
{
    struct resolver *r = arg;
    watch_socket(&r->watch, fd, (in ? POLLIN : 0) | (out ? POLLOUT : 0));
}

/* When c-ares wants to look again; to be asked after each call that may change it. */
static void set_timer(struct resolver *r)
{
    struct timeval t;
    coro_time now = coro_loop_now(coro_loop_of(&r->watch.timer.task));
    bool any = ares_timeout(r->channel, NULL, &t) != NULL;
    watch_time(&r->watch, any ? coro_time_after(now, CORO_S(t.tv_sec) + CORO_US(t.tv_usec))
                              : CORO_FOREVER);
}

static void on_ready(void *arg, int fd, int events)
{
    struct resolver *r = arg;
    ares_process_fd(r->channel, events & ~POLLOUT ? fd : ARES_SOCKET_BAD,
                    events & POLLOUT ? fd : ARES_SOCKET_BAD);
    set_timer(r);
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct request *request = arg;
    (void)timeouts;
    request->answer = answer;
    if (coro_promise_set(&request->end, status) == 0 && request->abandoned) {
        ares_freeaddrinfo(answer);
        free(request);
    }
}

static int resolver_open(struct resolver *r, coro_group *g, const char *server)
{
    struct ares_options o = {.sock_state_cb = on_socket, .sock_state_cb_data = r,
                             .lookups = (char *)(uintptr_t)"b"}; /* no files, no other domains */
    if (ares_init_options(&r->channel, &o, ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS |
                                           ARES_OPT_DOMAINS) != ARES_SUCCESS ||
        ares_set_servers_ports_csv(r->channel, server) != ARES_SUCCESS)
        return -EINVAL;
    watch_start(&r->watch, g, on_ready, r);
    return 0;
}

struct lookup { /* the first address of a name, as text */
    CORO_FRAME;
    struct resolver *r;
    const char *name;
    int family;
    char *text; /* INET6_ADDRSTRLEN bytes */
    struct request *request;
    int status;
};

CORO(lookup)
{
    struct ares_addrinfo_hints hints = {.ai_family = my->family, .ai_flags = ARES_AI_NOSORT};
    CORO_BEGIN();
    my->request = calloc(1, sizeof *my->request);
    if (!my->request)
        CORO_FAIL(-ENOMEM);
    ares_getaddrinfo(my->r->channel, my->name, NULL, &hints, on_answer, my->request);
    set_timer(my->r);
    CORO_TRY(my->status, coro_promise_get(co, &my->request->end));
    if (my->status != ARES_SUCCESS || !my->request->answer->nodes)
        CORO_FAIL(my->status == ARES_ENOTFOUND ? -ENOENT : -EIO);
    if (my->family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)my->request->answer->nodes->ai_addr)
                  ->sin_addr, my->text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)my->request->answer->nodes->ai_addr)
                  ->sin6_addr, my->text, INET6_ADDRSTRLEN);
CORO_FINALLY:
    if (my->request && coro_promise_is_set(&my->request->end)) {
        ares_freeaddrinfo(my->request->answer);
        free(my->request);
    } else if (my->request) {
        my->request->abandoned = true; /* the answer frees it */
    }
    CORO_END(0);
}

/* ---- a program ------------------------------------------------------------------------------- */

static const struct question { const char *name; int family; } questions[] = {
    {"one.test", AF_INET}, {"one.test", AF_INET6}, {"two.test", AF_INET}, {"none.test", AF_INET}};
enum { QUESTIONS = sizeof questions / sizeof questions[0] };

struct app {
    CORO_FRAME;
    struct resolver real, deaf;
    coro_group watchers, lookups;
    CORO_TASK(lookup) tasks[QUESTIONS];
    char texts[QUESTIONS][INET6_ADDRSTRLEN];
    struct lookup lookup;
    coro_scope limit;
    coro_fd silence;
    coro_address address;
    int rc;
};

CORO(app)
{
    char server[64];
    CORO_BEGIN();
    coro_group_open(co, &my->watchers, CORO_ALL);
    CORO_TRY(resolver_open(&my->real, &my->watchers, getenv("DNS_SERVER")));
    coro_group_open(co, &my->lookups, CORO_COLLECT);
    for (int i = 0; i < QUESTIONS; i++)
        coro_start(&my->lookups, &my->tasks[i], lookup, .r = &my->real, .text = my->texts[i],
                   .name = questions[i].name, .family = questions[i].family);
    CORO_CLOSE(&my->lookups);
    for (int i = 0; i < QUESTIONS; i++)
        printf("%s: %s\n", questions[i].name,
               coro_task_result(&my->tasks[i]) == -ENOENT ? "no such name" : my->texts[i]);

    CORO_TRY(coro_udp_open(&my->silence, "127.0.0.1:0"));
    CORO_TRY(coro_fd_local(&my->silence, &my->address));
    CORO_TRY(resolver_open(&my->deaf, &my->watchers,
                           coro_address_print(&my->address, server, sizeof server)));
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(50), &my->lookup, lookup,
                                        .r = &my->deaf, .name = "one.test", .family = AF_INET,
                                        .text = my->texts[0]));
    printf("a deaf server: %s\n", my->rc == -ETIMEDOUT ? "timed out" : "an answer");
CORO_FINALLY:
    CORO_CLOSE(&my->lookups);
    coro_group_cancel(&my->watchers);
    CORO_CLOSE(&my->watchers);
    ares_destroy(my->real.channel);
    ares_destroy(my->deaf.channel);
    coro_close(&my->silence);
    CORO_END(0);
}

int main(void)
{
    return ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS || coro_run(app) < 0;
}

/* Output:
 *   one.test: 192.0.2.1
 *   one.test: 2001:db8::1
 *   two.test: 192.0.2.2
 *   none.test: no such name
 *   a deaf server: timed out
 */
