/* http.c -- an HTTP/1.1 server: files by sendfile, GET /hello, POST /echo.
 *
 *   http                                   asks itself a few things, prints the answers, ends
 *   http 127.0.0.1:8080 /srv/www           serves until SIGINT or SIGTERM, then drains
 *   http 127.0.0.1:0 /srv/www idle=5000    on a free port, which it prints; with another limit
 *
 * A connection that is idle has no buffer: it is a task, a timer and a descriptor, half a KiB. Head
 * and body of a request are read whole, each under a limit of bytes and one of time; what is wrong
 * with them is told, and ends the connection. Files are opened and sent on the loop's thread: from
 * the page cache that is fastest; for slow disks there is coro_file_open. */
#include "coro_io.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum {
    MAX_HEAD = 8192,    /* of a request; more: 431, or 414 where it is all target */
    MAX_PATH = 1024,    /* of a file; more: 414 */
    MAX_CHUNK = 256,    /* line before a chunk of a body; trailer line */
    MAX_ANSWER = 512,   /* head of an answer */
    OUT_SIZE = 8192,    /* answers that are gathered before they are written */
    FILE_PIECE = 1 << 20 /* that has `send` to go */
};

/* Limits that can be given as name=value; times in ms. */
static struct {
    const char *name;
    long value;
} limits[] = {
    {"connections", 10000}, /* at once; more wait in the kernel */
    {"idle", 60000},        /* between requests; then it is closed */
    {"head", 10000},        /* for the head to come, from its first byte; then 408 */
    {"body", 30000},        /* likewise */
    {"send", 30000},        /* for the client to take what was written; then it is closed */
    {"linger", 1000},       /* for the client to read an error before the connection goes */
    {"drain", 5000},        /* for requests to be finished when we are told to end */
    {"bytes", 1 << 20},     /* of a body; more: 413 */
};
enum { CONNECTIONS, IDLE, HEAD_TIME, BODY_TIME, SEND, LINGER, DRAIN, BODY_BYTES };

#define LIMIT(which) CORO_MS(limits[which].value)

static int root = -1;             /* the folder that is served */
static bool draining;             /* connections are to end with the present request */
static struct session *idle_list; /* connections without a request */

/* ---- requests -------------------------------------------------------------------------------- */

enum { GET, HEAD, POST, OTHER };

struct request {
    int method;  /* GET ... */
    int minor;   /* version 1.minor */
    int hosts;   /* how many Host fields */
    int lengths; /* how many Content-Length fields */
    bool keep, chunked, expects;
    long length;             /* of the body */
    char path[MAX_PATH + 1]; /* decoded, without the query */
};

static bool is(coro_slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

static bool is_token(coro_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (!isalnum(c) && c != '-' && (!c || !strchr("!#$%&'*+.^_`|~", c)))
            return false;
    }
    return text.len > 0;
}

/* What stands before the separator; the rest stays. */
static coro_slice cut(coro_slice *from, char separator)
{
    char *at = from->len ? memchr(from->data, separator, from->len) : NULL;
    coro_slice part = {from->data, at ? (size_t)(at - from->data) : from->len};
    size_t gone = part.len + (at != NULL);
    from->data += gone;
    from->len -= gone;
    return part;
}

static coro_slice trim(coro_slice s)
{
    for (; s.len && (*s.data == ' ' || *s.data == '\t'); s.len--)
        s.data++;
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Digits and nothing else, of a number up to a limit: it, or -1; too large: limit + 1. */
static long number(coro_slice text, int base, long limit)
{
    long n = 0;
    for (size_t i = 0; i < text.len; i++) {
        int c = tolower((unsigned char)text.data[i]);
        int digit = isdigit(c) ? c - '0' : c >= 'a' ? c - 'a' + 10 : base;
        if (digit >= base)
            return -1;
        n = n > limit ? n : n * base + digit;
    }
    return text.len == 0 ? -1 : n > limit ? limit + 1 : n;
}

/* 0, or the status that says what is wrong; so do the next three. */
static int parse_target(struct request *r, coro_slice target)
{
    size_t n = 0;
    if (target.len > 7 && strncasecmp(target.data, "http://", 7) == 0) {
        char *path = memchr(target.data + 7, '/', target.len - 7);
        target.len = path ? target.len - (size_t)(path - target.data) : 1;
        target.data = path ? path : target.data + 5;
    }
    if (target.len == 0 || *target.data != '/')
        return 400;
    target = cut(&target, '?');
    for (; target.len; target.data++, target.len--) {
        int c = (unsigned char)*target.data;
        if (c == '%') {
            c = target.len < 3 ? -1 : (int)number((coro_slice){target.data + 1, 2}, 16, 255);
            target.data += 2;
            target.len -= 2;
        }
        if (c < ' ')
            return 400;
        if (n == MAX_PATH)
            return 414;
        r->path[n++] = (char)c;
    }
    r->path[n] = 0;
    return 0;
}

static int parse_request_line(struct request *r, coro_slice line)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", /* the rest is OTHER: */
                                          "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};
    coro_slice method = cut(&line, ' '), target = cut(&line, ' ');
    size_t i = 0;
    if (!is_token(method) || line.len != 8 || memcmp(line.data, "HTTP/", 5) != 0 ||
        !isdigit((unsigned char)line.data[5]) || line.data[6] != '.' ||
        !isdigit((unsigned char)line.data[7]))
        return 400;
    if (line.data[5] != '1')
        return 505;
    r->minor = line.data[7] - '0';
    r->keep = r->minor > 0;
    while (i < sizeof methods / sizeof *methods &&
           (method.len != strlen(methods[i]) || memcmp(method.data, methods[i], method.len) != 0))
        i++;
    if (i == sizeof methods / sizeof *methods)
        return 501;
    r->method = i < OTHER ? (int)i : OTHER;
    return r->method == OTHER ? 0 : parse_target(r, target);
}

static int parse_field(struct request *r, coro_slice line)
{
    coro_slice name = cut(&line, ':'), value = trim(line), word;
    if (line.data == name.data + name.len || !is_token(name)) /* no colon; folded lines, too */
        return 400;
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' && value.data[i] != '\t')
            return 400;
    }
    if (is(name, "host")) {
        r->hosts++;
    } else if (is(name, "content-length")) {
        long n = number(value, 10, limits[BODY_BYTES].value);
        r->length = n;
        return n < 0 || r->lengths++ ? 400 : 0;
    } else if (is(name, "transfer-encoding")) {
        if (!is(value, "chunked") || r->chunked)
            return 501;
        r->chunked = true;
    } else if (is(name, "expect")) {
        r->expects = is(value, "100-continue");
        return r->expects ? 0 : 417;
    } else if (is(name, "connection")) {
        while (value.len) {
            word = trim(cut(&value, ','));
            r->keep = is(word, "close") ? false : is(word, "keep-alive") ? true : r->keep;
        }
    }
    return 0;
}

static int parse_head(struct request *r, coro_slice head)
{
    bool first = true;
    head.len += 2; /* the line's end, which was read as part of the separator */
    while (head.len) {
        coro_slice line = cut(&head, '\n');
        int status;
        if (!line.len || line.data[--line.len] != '\r')
            return 400;
        if (first && !line.len)
            continue; /* empty lines before a request are to be passed over */
        status = first ? parse_request_line(r, line) : parse_field(r, line);
        if (status)
            return status;
        first = false;
    }
    if (first || r->hosts > 1 || (r->minor && !r->hosts))
        return 400;
    if (r->chunked && (r->lengths || !r->minor))
        return 400; /* two lengths are how requests are smuggled past a proxy */
    return r->length > limits[BODY_BYTES].value ? 413 : 0;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* -EBADMSG: it is malformed; -EFBIG: too large. */
struct read_body {
    CORO_FRAME;
    coro_stream *s;
    bool chunked;
    long size;  /* of what comes next */
    long room;  /* for what may come */
    char *data; /* the caller's to free */
    size_t length;
    coro_slice line;
    long got;
};

CORO(read_body)
{
    CORO_BEGIN();
    my->room = limits[BODY_BYTES].value;
    do {
        if (my->chunked) {
            CORO_TRY(my->got, coro_stream_read_until(co, my->s, "\r\n", 2, &my->line));
            my->size = number(cut(&my->line, ';'), 16, my->room);
            if (!my->got || my->size < 0 || my->size > my->room)
                CORO_FAIL(my->size > my->room ? -EFBIG : -EBADMSG);
        }
        if (!my->data) /* of chunks only the limit is known; what stays untouched is free */
            my->data = malloc((size_t)(my->chunked ? my->room : my->size));
        if (!my->data)
            CORO_FAIL(-ENOMEM);
        CORO_TRY(my->got, coro_stream_read_exact(co, my->s, my->data + my->length,
                                                 (size_t)my->size));
        if (my->got < my->size)
            CORO_FAIL(-ECONNRESET);
        my->length += (size_t)my->size;
        my->room -= my->size;
        while (my->chunked) { /* an empty line ends a chunk; behind the last one come trailers */
            CORO_TRY(my->got, coro_stream_read_until(co, my->s, "\r\n", 2, &my->line));
            if (my->got && !my->line.len)
                break;
            if (!my->got || my->size)
                CORO_FAIL(-EBADMSG);
        }
    } while (my->chunked && my->size);
    CORO_END(0);
}

/* ---- answers --------------------------------------------------------------------------------- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

/* The field's value, made anew each second. */
static const char *date(void)
{
    static char text[40];
    static time_t made;
    time_t now = time(NULL);
    struct tm tm;
    if (now != made) {
        made = now;
        (void)strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    }
    return text;
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {"html", "text/html"}, {"css", "text/css"}, {"js", "text/javascript"},
        {"txt", "text/plain"}, {"json", "application/json"}, {"svg", "image/svg+xml"},
        {"png", "image/png"}, {"jpg", "image/jpeg"}, {"pdf", "application/pdf"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
        if (strcasecmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}

struct answer {
    int status;
    const char *type, *allow;
    const char *text; /* what goes out */
    size_t length;
    int file; /* or this, of that length; -1: none */
};

/* No segment may begin with a dot: `..` would leave the folder, others are hidden. Links that are
 * in the folder are followed. */
static int open_file(struct answer *a, char *path)
{
    struct stat st;
    size_t n = strlen(path);
    if (root < 0 || strstr(path, "/."))
        return 404;
    if (path[n - 1] == '/' && n + 10 <= MAX_PATH)
        memcpy(path + n, "index.html", 11);
    while (*path == '/')
        path++;
    a->file = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (a->file < 0 || fstat(a->file, &st) < 0)
        return errno == EMFILE || errno == ENFILE ? 500 : 404;
    if (!S_ISREG(st.st_mode))
        return 404;
    a->type = type_of(path);
    a->length = (size_t)st.st_size;
    return 200;
}

static int route(struct answer *a, struct request *r, const struct read_body *body)
{
    bool echo = strcmp(r->path, "/echo") == 0, hello = strcmp(r->path, "/hello") == 0;
    a->allow = echo ? "POST" : "GET, HEAD";
    if (r->method == OTHER || (r->method == POST) != echo)
        return 405;
    if (!echo && !hello)
        return open_file(a, r->path);
    a->type = echo ? "application/octet-stream" : "text/plain";
    a->text = echo ? body->data : "Hello, world!\n";
    a->length = echo ? body->length : strlen(a->text);
    return 200;
}

/* ---- connections ----------------------------------------------------------------------------- */

/* One request and its answer: 1: the connection stays. */
struct exchange {
    CORO_FRAME;
    coro_stream *s;
    struct request *r;
    coro_slice head;
    intptr_t rc;
    bool keep;
    struct answer a;
    char *answer; /* its head */
    coro_scope limit;
    struct read_body read;
    coro_file_part part;
};

static coro_op put(coro_task *co, coro_stream *s, const void *data, size_t n)
{
    return coro_within(co, LIMIT(SEND), coro_stream_write(co, s, data, n));
}

static char *add_number(char *to, size_t n)
{
    char digits[24], *end = digits + sizeof digits, *at = end;
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    return (char *)memcpy(to, at, (size_t)(end - at)) + (end - at);
}

/* By hand: in a small answer printf would be half of all work outside the kernel. */
static size_t make_head(char *to, const struct exchange *x)
{
    char *at = stpcpy(to, "HTTP/1.1 ");
    at = add_number(at, (size_t)x->a.status);
    *at++ = ' ';
    at = stpcpy(at, reason(x->a.status));
    at = stpcpy(stpcpy(at, "\r\nDate: "), date());
    at = stpcpy(stpcpy(at, "\r\nContent-Type: "), x->a.type);
    at = add_number(stpcpy(at, "\r\nContent-Length: "), x->a.length);
    if (x->a.status == 405)
        at = stpcpy(stpcpy(at, "\r\nAllow: "), x->a.allow);
    if (!x->keep || !x->r->minor)
        at = stpcpy(at, x->keep ? "\r\nConnection: keep-alive" : "\r\nConnection: close");
    return (size_t)(stpcpy(at, "\r\n\r\n") - to);
}

CORO(exchange)
{
    CORO_BEGIN();
    my->a.file = -1;
    CORO_AWAIT(my->rc, coro_within(co, LIMIT(HEAD_TIME),
                                   coro_stream_read_until(co, my->s, "\r\n\r\n", 4, &my->head)));
    *my->r = (struct request){.minor = 1};
    if (my->rc > 0)
        my->a.status = parse_head(my->r, my->head);
    else if (my->rc == -ETIMEDOUT)
        my->a.status = 408;
    else if (my->rc == -EMSGSIZE)
        my->a.status = memchr(my->head.data, '\n', my->head.len) ? 431 : 414;
    else
        CORO_FAIL(my->rc); /* 0: the end */
    if (!my->a.status && (my->r->chunked || my->r->length)) {
        if (my->r->expects)
            CORO_TRY(put(co, my->s, "HTTP/1.1 100 Continue\r\n\r\n", 25));
        my->s->limit = MAX_CHUNK;
        CORO_AWAIT(my->rc, coro_call_within(co, &my->limit, LIMIT(BODY_TIME), &my->read, read_body,
                                            .s = my->s, .chunked = my->r->chunked,
                                            .size = my->r->length));
        my->s->limit = 0;
        my->a.status = my->rc == -ETIMEDOUT                          ? 408
                       : my->rc == -EFBIG                            ? 413
                       : my->rc == -EBADMSG || my->rc == -EMSGSIZE ? 400
                                                                     : 0;
        if (my->rc < 0 && !my->a.status)
            CORO_FAIL(my->rc);
    }
    my->keep = !my->a.status && my->r->keep && !draining;
    if (!my->a.status)
        my->a.status = route(&my->a, my->r, &my->read);
    if (my->a.status != 200) {
        my->a.type = "text/plain";
        my->a.text = reason(my->a.status);
        my->a.length = strlen(my->a.text);
    }
    CORO_TRY(put(co, my->s, my->answer, make_head(my->answer, my)));
    if (my->r->method != HEAD && my->a.text)
        CORO_TRY(put(co, my->s, my->a.text, my->a.length));
    if (my->r->method != HEAD && my->a.status == 200 && my->a.file >= 0) {
        my->part.file = my->a.file;
        while ((my->part.size = my->a.length - (size_t)my->part.offset) > 0) {
            if (my->part.size > FILE_PIECE)
                my->part.size = FILE_PIECE;
            CORO_TRY(my->rc, coro_within(co, LIMIT(SEND),
                                         coro_stream_sendfile(co, my->s, &my->part)));
            if ((size_t)my->rc < my->part.size)
                CORO_FAIL(-EIO); /* it has become shorter */
            my->part.offset += my->rc;
        }
    }
CORO_FINALLY:
    if (my->a.file >= 0)
        close(my->a.file);
    free(my->read.data);
    CORO_END(my->keep);
}

/* What a connection needs while it has a request. */
struct desk {
    coro_stream s;
    struct request r;
    struct exchange x;
    char in[MAX_HEAD], out[OUT_SIZE], answer[MAX_ANSWER];
};

struct session {
    CORO_FRAME;
    coro_fd conn;
    struct desk *desk;
    struct session *next, **at; /* while it is idle */
    coro_scope linger;
    coro_slice rest;
    int rc;
    bool keep;
};

static void idle_begin(struct session *s)
{
    s->next = idle_list;
    if (s->next)
        s->next->at = &s->next;
    s->at = &idle_list;
    idle_list = s;
}

static void idle_end(struct session *s)
{
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
}

CORO(session)
{
    CORO_BEGIN();
    do {
        free(my->desk);
        my->desk = NULL;
        idle_begin(my);
        CORO_AWAIT(my->rc, coro_within(co, LIMIT(IDLE), coro_wait_readable(co, &my->conn)));
        idle_end(my);
        if (my->rc < 0 || draining)
            CORO_LEAVE();
        my->desk = malloc(sizeof *my->desk);
        if (!my->desk)
            CORO_FAIL(-ENOMEM);
        my->desk->s.limit = 0;
        CORO_TRY(coro_stream_open(&my->desk->s, &my->conn, my->desk->in, sizeof my->desk->in,
                                  my->desk->out, sizeof my->desk->out));
        do
            CORO_TRY(my->keep, coro_call(co, &my->desk->x, exchange, .s = &my->desk->s,
                                         .r = &my->desk->r, .answer = my->desk->answer));
        while (my->keep && coro_stream_buffered(&my->desk->s, CORO_IN));
        CORO_TRY(coro_within(co, LIMIT(SEND), coro_stream_flush(co, &my->desk->s)));
        if (my->keep)
            coro_stream_close(&my->desk->s);
    } while (my->keep);
    /* What the client still sends is to be read: else the connection would be reset, and our last
     * answer lost on its way. */
    CORO_TRY(coro_shutdown(&my->conn, CORO_OUT));
    coro_timeout_open(co, &my->linger, LIMIT(LINGER));
    do {
        CORO_AWAIT(my->rc, coro_stream_peek(co, &my->desk->s, 1, &my->rest));
        coro_stream_skip(&my->desk->s, SIZE_MAX);
    } while (my->rc > 0);
CORO_FINALLY:
    coro_close(&my->conn);
    free(my->desk);
    CORO_END(0);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* When we are told to end: idle connections end at once, the others with their present request. */
struct drainer {
    CORO_FRAME;
};

CORO(drainer)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_FOREVER));
CORO_FINALLY:
    draining = true;
    for (struct session *s = idle_list; s; s = s->next)
        (void)coro_shutdown(&s->conn, CORO_IN);
    CORO_END(0);
}

/* Asks for a few things in one go, and prints the answers. */
struct client {
    CORO_FRAME;
    const coro_address *at;
    coro_server *server;
    coro_fd conn;
    coro_stream s;
    coro_slice line;
    char in[1024];
    bool got;
};

CORO(client)
{
    static const char requests[] = "GET /hello HTTP/1.1\r\nHost: here\r\n\r\n"
                                   "POST /echo HTTP/1.1\r\nHost: here\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n"
                                   "5\r\nHello\r\n8\r\n, echo!\n\r\n0\r\n\r\n"
                                   "HEAD /../secret HTTP/1.0\r\n\r\n";
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->at));
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, NULL, 0));
    CORO_TRY(coro_stream_write(co, &my->s, requests, sizeof requests - 1));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            break;
        if (my->line.len < 5 || memcmp(my->line.data, "Date:", 5) != 0)
            printf("%.*s\n", (int)my->line.len, my->line.data);
    }
CORO_FINALLY:
    coro_close(&my->conn);
    coro_server_stop(my->server);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    const char *address; /* null: ask ourselves */
    coro_fd listener;
    coro_address at;
    coro_server server;
    coro_group g;
};

CORO(app)
{
    char text[128];
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, my->address ? my->address : "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->at));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, drainer);
    if (my->address)
        printf("serving on %s\n", coro_address_print(&my->at, text, sizeof text));
    else
        coro_spawn(&my->g, client, .at = &my->at, .server = &my->server);
    fflush(stdout);
    my->server.limit = (coro_count)limits[CONNECTIONS].value;
    my->server.drain = LIMIT(DRAIN);
    CORO_TRY(coro_serve(co, &my->server, &my->listener, conn, session));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_close(&my->listener);
    CORO_END(0);
}

static bool set_limit(const char *argument)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t n = strlen(limits[i].name);
        if (strncmp(argument, limits[i].name, n) == 0 && argument[n] == '=') {
            limits[i].value = atol(argument + n + 1);
            return limits[i].value > 0;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    int rc;
    for (int i = 3; i < argc; i++) {
        if (!set_limit(argv[i])) {
            fprintf(stderr, "%s: %s?\n", argv[0], argv[i]);
            return 2;
        }
    }
    if (argc > 2)
        root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (argc > 2 && root < 0) {
        perror(argv[2]);
        return 1;
    }
    rc = coro_run(app, .address = argc > 1 ? argv[1] : NULL);
    if (root >= 0)
        close(root);
    if (rc < 0 && rc != -EINTR)
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-rc));
    return rc < 0 && rc != -EINTR;
}

/* Output:
 *   HTTP/1.1 200 OK
 *   Content-Type: text/plain
 *   Content-Length: 14
 *
 *   Hello, world!
 *   HTTP/1.1 200 OK
 *   Content-Type: application/octet-stream
 *   Content-Length: 13
 *
 *   Hello, echo!
 *   HTTP/1.1 404 Not Found
 *   Content-Type: text/plain
 *   Content-Length: 9
 *   Connection: close
 *
 */
