/* curl.c -- libcurl's multi interface: 100 transfers, ten at a time, and two that go wrong. Needs a
 * server: HTTP_SERVER is its URL. */
#include "watch.h"
#include "coro_sync.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- libcurl with coroutines ----------------------------------------------------------------- */

struct web {
    CURLM *multi;
    struct watch watch;
};

struct transfer { /* one GET: its status */
    CORO_FRAME;
    struct web *web;
    const char *url;
    size_t bytes; /* that came */
    CURL *easy;
    coro_promise end; /* a CURLcode */
    long status;
    int code;
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    (void)data;
    ((struct transfer *)arg)->bytes += size * n;
    return size * n;
}

CORO(transfer)
{
    CORO_BEGIN();
    my->easy = curl_easy_init();
    if (!my->easy || curl_easy_setopt(my->easy, CURLOPT_URL, my->url) ||
        curl_easy_setopt(my->easy, CURLOPT_PRIVATE, my) ||
        curl_easy_setopt(my->easy, CURLOPT_WRITEFUNCTION, on_data) ||
        curl_easy_setopt(my->easy, CURLOPT_WRITEDATA, my) ||
        curl_multi_add_handle(my->web->multi, my->easy))
        CORO_FAIL(-ENOMEM);
    CORO_TRY(my->code, coro_promise_get(co, &my->end));
    if (my->code != CURLE_OK || curl_easy_getinfo(my->easy, CURLINFO_RESPONSE_CODE, &my->status))
        CORO_FAIL(-EIO);
CORO_FINALLY: /* cancelled it ends in the middle */
    curl_multi_remove_handle(my->web->multi, my->easy);
    curl_easy_cleanup(my->easy);
    CORO_END(my->status);
}

/* curl says what it waits for ... */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *its)
{
    struct web *web = arg;
    (void)easy, (void)its;
    return watch_socket(&web->watch, fd, what == CURL_POLL_REMOVE ? 0 :
                        (what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct web *web = arg;
    coro_time now = coro_loop_now(coro_loop_of(&web->watch.timer.task));
    (void)multi;
    watch_time(&web->watch, ms < 0 ? CORO_FOREVER : coro_time_after(now, CORO_MS(ms)));
    return 0;
}

/* ... and is told when it has come; then some transfers may have ended. */
static void on_ready(void *arg, int fd, int events)
{
    struct web *web = arg;
    CURLMsg *message;
    int left;
    int mask = (events & POLLIN ? CURL_CSELECT_IN : 0) |
               (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (POLLERR | POLLHUP) ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(web->multi, fd < 0 ? CURL_SOCKET_TIMEOUT : fd, mask, &left);
    while ((message = curl_multi_info_read(web->multi, &left))) {
        struct transfer *t;
        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK)
            coro_promise_set(&t->end, message->data.result);
    }
}

static int web_open(struct web *web, coro_group *g)
{
    web->multi = curl_multi_init();
    if (!web->multi || curl_multi_setopt(web->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
        curl_multi_setopt(web->multi, CURLMOPT_SOCKETDATA, web) ||
        curl_multi_setopt(web->multi, CURLMOPT_TIMERFUNCTION, on_timer) ||
        curl_multi_setopt(web->multi, CURLMOPT_TIMERDATA, web))
        return -ENOMEM;
    watch_start(&web->watch, g, on_ready, web);
    return 0;
}

/* ---- a program ------------------------------------------------------------------------------- */

static int active, most;
static size_t bytes;

struct page {
    CORO_FRAME;
    struct web *web;
    int number;
    char url[100];
    struct transfer get;
    int status;
};

CORO(page)
{
    CORO_BEGIN();
    most = ++active > most ? active : most;
    snprintf(my->url, sizeof my->url, "%s/number/%02d", getenv("HTTP_SERVER"), my->number);
    CORO_TRY(my->status, coro_call(co, &my->get, transfer, .web = my->web, .url = my->url));
    bytes += my->status == 200 ? my->get.bytes : 0;
CORO_FINALLY:
    active--;
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct web web;
    coro_group watchers, pages;
    struct transfer get;
    coro_scope limit;
    char url[100];
    int i, rc;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->watchers, CORO_ALL);
    CORO_TRY(web_open(&my->web, &my->watchers));
    coro_group_open(co, &my->pages, CORO_ALL);
    coro_group_limit(&my->pages, 10);
    for (; my->i < 100; my->i++) {
        CORO_TRY(coro_group_wait_room(co, &my->pages));
        coro_spawn(&my->pages, page, .web = &my->web, .number = my->i);
    }
    CORO_CLOSE(&my->pages);
    printf("100 pages, %zu bytes, %d at a time\n", bytes, most);

    snprintf(my->url, sizeof my->url, "%s/nothing", getenv("HTTP_SERVER"));
    CORO_TRY(my->rc, coro_call(co, &my->get, transfer, .web = &my->web, .url = my->url));
    printf("/nothing: %d\n", my->rc);
    snprintf(my->url, sizeof my->url, "%s/slow", getenv("HTTP_SERVER"));
    CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, CORO_MS(100), &my->get, transfer,
                                        .web = &my->web, .url = my->url));
    printf("/slow: %s\n", my->rc == -ETIMEDOUT ? "timed out" : "has come");
CORO_FINALLY:
    CORO_CLOSE(&my->pages);
    coro_group_cancel(&my->watchers);
    CORO_CLOSE(&my->watchers);
    curl_multi_cleanup(my->web.multi);
    CORO_END(0);
}

int main(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || coro_run(app) < 0;
}

/* Output:
 *   100 pages, 1800 bytes, 10 at a time
 *   /nothing: 404
 *   /slow: timed out
 */
