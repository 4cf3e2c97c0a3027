/* download.c -- fetches files over HTTP/1.1, several at a time.
 *
 *     download [-j n] [-d folder] http://host[:port]/path...
 *
 * A file grows as name.part, and has its name once it is whole. One that was cut is resumed where
 * it ended, in this run or in the next; in this run the ETag tells whether it is the same file
 * still. What may go well next time is tried again, ever later. Redirections are followed. Ctrl-C
 * stops it; what has come is kept.
 *
 * Exit status: 0, all files are here; 1, some are not. Without arguments it shows itself. */
#include "coro_io.h"
#include "coro_sync.h"
#include <ctype.h>
#include <stdio.h>
#include <strings.h>
#include <sys/file.h>

#define AT_ONCE 4              /* by default */
#define TRIES 5                /* in a row that brought nothing */
#define REDIRECTIONS 5         /* of one file */
#define DIAL_TIME CORO_S(10)
#define READ_TIME CORO_S(30)   /* in which nothing came */
#define BUFFER 65536           /* of a connection; the longest line, too */
#define HEADERS_MOST 100
#define URL_MOST 2000
#define HOST_MOST 255
#define BAR_EVERY CORO_MS(200)

/* What all tasks share. */
struct downloads {
    const char *folder;
    char **urls;
    int count;
    unsigned at_once;
    unsigned running, done, failed, resumed; /* files; resumed: how often */
    int64_t here, expected; /* bytes in files; of files whose length is known */
};

/* ---- what HTTP says ---------------------------------------------------------------------- */

struct url {
    char host[HOST_MOST + 4]; /* with its port */
    char path[URL_MOST + 2];
};

/* A URL; or where a redirection from this one leads: "//host/path", "/path", too. */
static int url_parse(struct url *u, const char *text)
{
    const char *host, *path = text, *colon;
    size_t length;
    if (strncasecmp(text, "http://", 7) == 0 || strncmp(text, "//", 2) == 0) {
        host = text + (text[0] == '/' ? 2 : 7);
        length = strcspn(host, "/?#");
        if (length == 0 || length > HOST_MOST || strcspn(host, "@ \t\r\n") < length)
            return -EINVAL;
        path = host + length;
        memcpy(u->host, host, length);
        u->host[length] = 0;
        colon = strrchr(u->host, ':');
        if (!colon || strchr(colon, ']')) /* of an IPv6 address */
            memcpy(u->host + length, ":80", 4);
    } else if (text[0] != '/' || !u->host[0]) {
        return -EPROTONOSUPPORT;
    }
    length = strcspn(path, "# \r\n\t");
    if (length > URL_MOST)
        return -ENAMETOOLONG;
    snprintf(u->path, sizeof u->path, "%s%.*s", *path == '/' ? "" : "/", (int)length, path);
    return 0;
}

/* What a response's head says; -1: nothing. */
struct head {
    int status;
    int64_t length;      /* of the body; if it is chunked this means nothing */
    int64_t from, total; /* of a part: where it begins, the whole file's length */
    bool chunked;
    char location[URL_MOST + 1], etag[200];
};

/* The number that a text begins with, or -1. */
static int64_t number(const char *text, int base)
{
    char *end = NULL;
    long long n;
    errno = 0;
    n = isxdigit((unsigned char)*text) ? strtoll(text, &end, base) : -1;
    return errno || end == text ? -1 : n;
}

/* "bytes 100-199/1000" or, of a part that there is not, "bytes * /1000" (without the blank). */
static void head_range(struct head *h, const char *text)
{
    const char *slash = strchr(text, '/');
    if (strncasecmp(text, "bytes ", 6) != 0 || !slash)
        return;
    h->from = number(text + 6, 10);
    h->total = number(slash + 1, 10);
}

/* A header's line: 0; -EPROTO: it is none, or what it says cannot be. */
static int head_line(struct head *h, const char *line)
{
    const char *value = strchr(line, ':');
    size_t n = value ? (size_t)(value - line) : 0;
    if (n == 0)
        return -EPROTO;
    value += 1 + strspn(value + 1, " \t");
#define IS(name) (n == sizeof name - 1 && strncasecmp(line, name, n) == 0)
    if (IS("Content-Length") && (h->length = number(value, 10)) < 0)
        return -EPROTO;
    if (IS("Transfer-Encoding")) {
        if (strcasecmp(value, "chunked") != 0)
            return -EPROTO;
        h->chunked = true;
    }
    if (IS("Content-Range"))
        head_range(h, value);
    if (IS("Location"))
        snprintf(h->location, sizeof h->location, "%s", value);
    if (IS("ETag"))
        snprintf(h->etag, sizeof h->etag, "%s", value);
#undef IS
    return 0;
}

/* ---- one file ---------------------------------------------------------------------------- */

struct file {
    coro_file f;
    struct downloads *all;
    struct url url;
    int64_t have, total; /* bytes; total: 0, not known */
    char etag[200];      /* of what we have */
};

static void file_has(struct file *file, int64_t have, int64_t total)
{
    file->all->here += have - file->have;
    file->all->expected += total - file->total;
    file->have = have;
    file->total = total;
}

/* Forget what we have: it is not the beginning of what will come. */
static int file_restart(struct file *file)
{
    file_has(file, 0, 0);
    file->etag[0] = 0;
    return ftruncate(coro_file_number(&file->f), 0) < 0 ? -errno : 0;
}

/* The body goes to the file. */
struct body {
    CORO_FRAME;
    coro_stream *s;
    struct file *file;
    bool chunked;
    int64_t left; /* of the body or the chunk; < 0: as long as something comes */
    coro_slice seen;
    bool got;
};

CORO(body)
{
    CORO_BEGIN();
    for (;;) {
        if (my->chunked && my->left <= 0) {
            do /* an empty line ends the chunk before */
                CORO_TRY(my->got, coro_within(co, READ_TIME,
                                              coro_stream_read_line(co, my->s, &my->seen)));
            while (my->got && !my->seen.len);
            if (!my->got)
                CORO_FAIL(-ECONNRESET);
            my->seen.data[my->seen.len] = 0;
            my->left = number(my->seen.data, 16);
            if (my->left < 0)
                CORO_FAIL(-EPROTO);
        }
        if (my->left == 0)
            break;
        CORO_TRY(my->got, coro_within(co, READ_TIME, coro_stream_peek(co, my->s, 1, &my->seen)));
        if (!my->got && my->left < 0)
            break;
        if (!my->got)
            CORO_FAIL(-ECONNRESET); /* it was cut */
        if (my->left > 0 && (int64_t)my->seen.len > my->left)
            my->seen.len = (size_t)my->left;
        CORO_TRY(coro_file_write(co, &my->file->f, my->seen.data, my->seen.len, my->file->have));
        coro_stream_skip(my->s, my->seen.len);
        file_has(my->file, my->file->have + (int64_t)my->seen.len, my->file->total);
        my->left -= my->left < 0 ? 0 : (int64_t)my->seen.len;
    }
    CORO_END(0);
}

/* Asks, and reads the answer's head. */
struct ask {
    CORO_FRAME;
    coro_stream *s;
    const struct file *file;
    struct head *head;
    coro_slice line;
    char range[300];
    int headers;
    bool got;
};

CORO(ask)
{
    CORO_BEGIN();
    if (my->file->have)
        snprintf(my->range, sizeof my->range, "Range: bytes=%lld-\r\n%s%s%s",
                 (long long)my->file->have, my->file->etag[0] ? "If-Range: " : "", my->file->etag,
                 my->file->etag[0] ? "\r\n" : "");
    CORO_TRY(coro_stream_printf(co, my->s, "GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n"
                                           "User-Agent: coro-download\r\n\r\n",
                                my->file->url.path, my->file->url.host, my->range));
    for (;; my->headers++) {
        CORO_TRY(my->got, coro_within(co, READ_TIME,
                                      coro_stream_read_line(co, my->s, &my->line)));
        if (!my->got)
            CORO_FAIL(-ECONNRESET);
        my->line.data[my->line.len] = 0;
        if (my->headers > HEADERS_MOST)
            CORO_FAIL(-EMSGSIZE);
        if (my->headers == 0) {
            *my->head = (struct head){.length = -1, .from = -1, .total = -1};
            if (sscanf(my->line.data, "HTTP/1.%*c %3d", &my->head->status) != 1)
                CORO_FAIL(-EPROTO);
        } else if (my->line.len) {
            CORO_TRY(head_line(my->head, my->line.data));
        } else if (my->head->status >= 200) {
            break;
        } else {
            my->headers = -1; /* that was a preliminary answer */
        }
    }
    CORO_END(0);
}

/* What to do with an answer: 1, read its body; 0, nothing, the file is whole; 2, ask again. */
static int file_answer(struct file *file, const struct head *h)
{
    if (h->status == 206 && h->from == file->have && file->have > 0) {
        file_has(file, file->have, h->total > 0 ? h->total : 0);
        file->all->resumed++;
        return 1;
    }
    if (h->status == 200) {
        int rc = file_restart(file);
        file_has(file, 0, h->chunked || h->length < 0 ? 0 : h->length);
        if (h->etag[0] == '"') /* not a weak one, which may be of another file */
            memcpy(file->etag, h->etag, sizeof file->etag);
        return rc < 0 ? rc : 1;
    }
    if (h->status == 416 && file->have > 0 && h->total == file->have)
        return 0;
    if (h->status == 206 || h->status == 416) {
        int rc = file->have ? file_restart(file) : -EPROTO;
        return rc < 0 ? rc : -EAGAIN;
    }
    if (h->status / 100 == 3 && h->location[0]) {
        int rc = url_parse(&file->url, h->location);
        return rc < 0 ? rc : 2;
    }
    if (h->status >= 500 || h->status == 408 || h->status == 429)
        return -EAGAIN;
    return h->status == 404 || h->status == 410 ? -ENOENT
           : h->status == 401 || h->status == 403 ? -EACCES : -EPROTO;
}

/* One try. 0: the file is whole; 2: it is elsewhere. */
struct attempt {
    CORO_FRAME;
    struct file *file;
    coro_fd conn;
    coro_dial dial;
    coro_scope limit;
    coro_stream s;
    struct head head;
    struct ask ask;
    struct body body;
    int rc;
    char in[BUFFER], out[URL_MOST + HOST_MOST + 600];
};

CORO(attempt)
{
    CORO_BEGIN();
    coro_timeout_open(co, &my->limit, DIAL_TIME);
    CORO_TRY(coro_dial(co, &my->dial, &my->conn, my->file->url.host));
    CORO_TRY(coro_scope_close(co, &my->limit, 0));
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    CORO_TRY(coro_call(co, &my->ask, ask, .s = &my->s, .file = my->file, .head = &my->head));
    CORO_TRY(my->rc, file_answer(my->file, &my->head));
    if (my->rc == 1) {
        CORO_TRY(coro_call(co, &my->body, body, .s = &my->s, .file = my->file,
                           .chunked = my->head.chunked,
                           .left = my->head.chunked ? 0 : my->head.length));
        if (my->file->total && my->file->have != my->file->total)
            CORO_FAIL(-EPROTO);
        my->rc = 0;
    }
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(my->rc);
}

struct download {
    CORO_FRAME;
    struct downloads *all;
    const char *text; /* the URL */
    struct file file;
    struct attempt attempt;
    coro_backoff backoff;
    struct stat st;
    int64_t before;
    int rc, again, redirections;
    char name[1000], part[1010];
};

/* Where it goes: the last part of the URL's path. */
static int name_of(struct download *my)
{
    const char *path = my->file.url.path, *from = path;
    size_t length = strcspn(path, "?");
    for (size_t i = 0; i < length; i++) {
        if (path[i] == '/')
            from = path + i + 1;
    }
    length -= (size_t)(from - path);
    if (length == 0)
        from = "index.html", length = strlen(from);
    if (from[0] == '.' ||
        snprintf(my->name, sizeof my->name, "%s/%.*s", my->all->folder, (int)length, from) >=
            (int)sizeof my->name)
        return -EINVAL;
    snprintf(my->part, sizeof my->part, "%s.part", my->name);
    return 0;
}

CORO(download)
{
    CORO_BEGIN();
    my->all->running++;
    my->file.all = my->all;
    my->backoff.tries = TRIES;
    CORO_TRY(url_parse(&my->file.url, my->text));
    CORO_TRY(name_of(my));
    CORO_TRY(coro_file_open(co, &my->file.f, my->part, O_RDWR | O_CREAT, 0666));
    CORO_TRY(flock(coro_file_number(&my->file.f), LOCK_EX | LOCK_NB) < 0 ? -errno : 0);
    CORO_TRY(coro_file_stat(co, &my->file.f, &my->st));
    file_has(&my->file, my->st.st_size, 0);
    do {
        my->before = my->file.have;
        CORO_AWAIT(my->rc, coro_call(co, &my->attempt, attempt, .file = &my->file));
        if (my->file.have > my->before)
            my->backoff.tried = 0;
        if (my->rc == 2 && ++my->redirections > REDIRECTIONS)
            CORO_FAIL(-ELOOP);
        CORO_TRY(my->again, coro_backoff_wait(co, &my->backoff, my->rc));
    } while (my->again || my->rc == 2);
    CORO_TRY(coro_file_sync(co, &my->file.f));
    CORO_TRY(rename(my->part, my->name) < 0 ? -errno : 0);
CORO_FINALLY:
    my->all->running--;
    coro_file_close(&my->file.f);
    if (CORO_ERR == 0) {
        my->all->done++;
    } else if (CORO_ERR != -ECANCELED) {
        my->all->failed++;
        fprintf(stderr, "%sdownload: %s: %s", isatty(2) ? "\r\033[K" : "", my->text,
                strerror(-CORO_ERR));
        fprintf(stderr, my->attempt.head.status >= 400 ? " (%d)\n" : "\n", my->attempt.head.status);
    }
    CORO_END(0);
}

/* ---- all of them ------------------------------------------------------------------------- */

struct bar {
    CORO_FRAME;
    const struct downloads *all;
    int64_t before;
};

CORO(bar)
{
    CORO_BEGIN();
    my->before = my->all->here;
    for (;;) {
        CORO_TRY(coro_sleep(co, BAR_EVERY));
        fprintf(stderr, "\r%.1f of %.1f MB, %.1f MB/s, %u running, %u done, %u failed\033[K",
                (double)my->all->here / 1e6, (double)my->all->expected / 1e6,
                (double)(my->all->here - my->before) * (1e3 / (double)(BAR_EVERY / CORO_US(1))),
                my->all->running, my->all->done, my->all->failed);
        my->before = my->all->here;
    }
CORO_FINALLY:
    fprintf(stderr, "\r\033[K");
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct downloads *all;
    coro_group show, g;
    int i;
};

CORO(app)
{
    CORO_BEGIN();
    coro_group_open(co, &my->show, CORO_ALL);
    if (isatty(2))
        coro_spawn(&my->show, bar, .all = my->all);
    coro_group_open(co, &my->g, CORO_COLLECT); /* the others go on when one fails */
    coro_group_limit(&my->g, my->all->at_once);
    for (; my->i < my->all->count; my->i++) {
        CORO_TRY(coro_group_wait_room(co, &my->g));
        CORO_TRY(coro_spawn(&my->g, download, .all = my->all, .text = my->all->urls[my->i]));
    }
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_group_cancel(&my->show);
    CORO_CLOSE(&my->show);
    CORO_END(0);
}

/* ---- the show: a server with bad habits -------------------------------------------------- */

enum { SIZE = 200000, CUT = 80000 };
static char content[SIZE + 1];
static bool was_busy;

struct answer {
    CORO_FRAME;
    coro_fd conn;
    coro_stream s;
    coro_slice line;
    char path[100], in[4096], out[4096];
    int from;
    bool got;
};

CORO(answer)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    do {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            CORO_FAIL(-EPIPE);
        my->line.data[my->line.len] = 0;
        (void)sscanf(my->line.data, "GET %99s", my->path);
        (void)sscanf(my->line.data, "Range: bytes=%d-", &my->from);
    } while (my->line.len);
    if (strcmp(my->path, "/moved") == 0) {
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 302 Found\r\nLocation: /whole\r\n\r\n"));
    } else if (strcmp(my->path, "/none") == 0) {
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 404 Not Found\r\n\r\n"));
    } else if (strcmp(my->path, "/busy") == 0 && !was_busy) {
        was_busy = true;
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 503 Later\r\n\r\n"));
    } else if (strcmp(my->path, "/chunked") == 0) {
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n"
                                                "Transfer-Encoding: chunked\r\n\r\n"
                                                "%x\r\n%.*s\r\n%X;more=no\r\n%s\r\n0\r\n\r\n",
                                    CUT, CUT, content, SIZE - CUT, content + CUT));
    } else if (my->from) {
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 206 Partial Content\r\nContent-Length: "
                                                "%d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s",
                                    SIZE - my->from, my->from, SIZE - 1, SIZE,
                                    content + my->from));
    } else {
        CORO_TRY(coro_stream_printf(co, &my->s, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%.*s",
                                    SIZE, strcmp(my->path, "/cut") == 0 ? CUT : SIZE, content));
    }
    CORO_TRY(coro_stream_flush(co, &my->s));
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct serve {
    CORO_FRAME;
    coro_fd *listener;
    coro_server server;
};

CORO(serve)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, &my->server, my->listener, conn, answer));
    CORO_END(0);
}

struct show {
    CORO_FRAME;
    struct downloads *all;
    coro_fd listener;
    coro_group g;
    struct app app;
};

CORO(show)
{
    CORO_BEGIN();
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, serve, .listener = &my->listener);
    CORO_TRY(coro_call(co, &my->app, app, .all = my->all));
CORO_FINALLY:
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    coro_close(&my->listener);
    CORO_END(0);
}

static const char *check(const char *folder, const char *name)
{
    static char text[SIZE + 1];
    char path[200];
    FILE *f;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "rb");
    if (!f)
        return "not there";
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    remove(path);
    return n == SIZE && memcmp(text, content, SIZE) == 0 ? "whole" : "wrong";
}

static int show_all(void)
{
    static const char *const names[] = {"whole", "moved", "chunked", "cut", "busy", "none"};
    enum { N = sizeof names / sizeof *names };
    char folder[] = "/tmp/download.XXXXXX", text[N][100], *urls[N], at[64], part[200];
    struct downloads all = {.folder = mkdtemp(folder), .urls = urls, .count = N, .at_once = 3};
    coro_fd listener = {0};
    coro_address address;
    if (!all.folder || coro_listen(&listener, "127.0.0.1:0", 0) < 0 ||
        coro_fd_local(&listener, &address) < 0)
        return 1;
    coro_address_print(&address, at, sizeof at);
    for (int i = 0; i < SIZE; i++)
        content[i] = (char)('a' + i % 23);
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "http://%s/%s", at, names[i]);
        urls[i] = text[i];
    }
    if (coro_run(show, .all = &all, .listener = listener) < 0)
        return 1;
    for (int i = 0; i < N; i++)
        printf("%s: %s\n", names[i], check(folder, names[i]));
    printf("%u done, %u failed, %u resumed\n", all.done, all.failed, all.resumed);
    snprintf(part, sizeof part, "%s/none.part", folder);
    remove(part);
    return rmdir(folder) < 0 || all.failed != 1;
}

int main(int argc, char **argv)
{
    static struct downloads all = {.folder = ".", .at_once = AT_ONCE};
    int option, rc;
    if (argc == 1)
        return show_all();
    while ((option = getopt(argc, argv, "j:d:")) != -1) {
        if (option == 'j' && atoi(optarg) > 0) {
            all.at_once = (unsigned)atoi(optarg);
        } else if (option == 'd') {
            all.folder = optarg;
        } else {
            fprintf(stderr, "usage: download [-j n] [-d folder] http://host[:port]/path...\n");
            return 2;
        }
    }
    all.urls = argv + optind;
    all.count = argc - optind;
    rc = coro_run(app, .all = &all);
    if (rc < 0)
        fprintf(stderr, "download: %s\n", rc == -EINTR ? "stopped" : strerror(-rc));
    return rc < 0 || all.failed;
}

/* Output:
 *   whole: whole
 *   moved: whole
 *   chunked: whole
 *   cut: whole
 *   busy: whole
 *   none: not there
 *   5 done, 1 failed, 1 resumed
 */
