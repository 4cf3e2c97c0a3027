/* redis.c -- a key-value server that speaks Redis's protocol, with publish and subscribe.
 *
 *   redis                        asks itself a few things, prints the answers, ends
 *   redis 127.0.0.1:6379         serves until SIGINT or SIGTERM (port 0: a free one, printed)
 *
 * A client is a task that reads, does all commands that have come, and writes all answers at once.
 * Commands never wait, so that they need no locks. The first SUBSCRIBE gives the client a second
 * task, which writes: then messages may come at any time. An idle client has no buffers. */
#include "coro_io.h"
#include "coro_sync.h"
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <strings.h>

enum {
    MAX_CLIENTS = 10000,    /* more wait in the kernel */
    MAX_ARGS = 1024,        /* of a command */
    MAX_INLINE = 1 << 16,   /* bytes of a command that is a line */
    MAX_REQUEST = 64 << 20, /* bytes of any command */
    BUFFER = 1 << 14,       /* of a client, at first */
    OUT_ENOUGH = 1 << 18,   /* bytes of answers that are written before more commands are done */
    OUT_LIMIT = 8 << 20,    /* bytes of messages for a client; who is slower is dropped */
    SWEEP_BUCKETS = 400     /* that are looked at for expired keys in one go */
};
#define MAX_MEMORY ((size_t)1 << 30) /* for keys and values */
#define MAX_TTL_MS 9000000000000
#define SWEEP_EVERY CORO_MS(100)
#define WRITE_LIMIT CORO_S(60) /* for a client to take what was written */

/* ---- text that grows ------------------------------------------------------------------------- */

struct text {
    char *data;
    size_t length, room;
};

/* Without memory there is nothing to be saved here; how much keys may take is MAX_MEMORY. */
static void *grab(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (!memory) {
        fprintf(stderr, "redis: no memory\n");
        abort();
    }
    return memory;
}

static void text_reserve(struct text *t, size_t more)
{
    if (t->room - t->length >= more)
        return;
    t->room = t->room ? t->room : BUFFER;
    while (t->room - t->length < more)
        t->room *= 2;
    t->data = grab(t->data, t->room);
}

static void text_add(struct text *t, const void *data, size_t n)
{
    text_reserve(t, n);
    memcpy(t->data + t->length, data, n);
    t->length += n;
}

static void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

static void add(struct text *t, const char *text)
{
    text_add(t, text, strlen(text));
}

/* ":12\r\n" */
static void add_number(struct text *t, char mark, int64_t n)
{
    char digits[32], *end = digits + sizeof digits, *at = end;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--at = '-';
    *--at = mark;
    text_add(t, at, (size_t)(end - at));
}

static void add_bulk(struct text *t, coro_slice data)
{
    add_number(t, '$', (int64_t)data.len);
    text_add(t, data.data, data.len);
    add(t, "\r\n");
}

/* ---- a table by linear hashing: it grows by a bucket at a time, and never stops the world ---- */

/* A key, or a channel. */
struct entry {
    struct entry *next;
    uint64_t hash;
    coro_slice key, value;     /* in bytes; of any bytes, and a 0 behind each */
    coro_time expires;         /* 0: never */
    struct subscription *subs; /* a channel's */
    char bytes[];
};

struct table {
    struct entry **buckets; /* room for 2 * half; null: it is new */
    size_t half;            /* a power of two; bucket i is split into i and half + i, in turn */
    size_t count;           /* buckets in use: half .. 2 * half */
    size_t used, expiring;  /* entries; those that will expire */
    size_t memory;          /* of all entries */
};

static struct table keys, channels;
static uint64_t seed;
static coro_time now; /* as of the present batch of commands */

/* FNV-1a from a random start. Where strangers choose the keys, SipHash is what you want. */
static uint64_t hash_of(coro_slice key)
{
    uint64_t h = seed;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.data[i]) * 0x100000001b3;
    return h ^ h >> 32;
}

static bool same(coro_slice a, coro_slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static size_t entry_size(size_t key, size_t value)
{
    return sizeof(struct entry) + key + value + 2;
}

static void entry_expire(struct table *t, struct entry *e, coro_time when)
{
    t->expiring -= e->expires != 0;
    t->expiring += when != 0;
    e->expires = when;
}

static void entry_drop(struct table *t, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    t->used--;
    t->memory -= entry_size(e->key.len, e->value.len);
    entry_expire(t, e, 0);
    free(e);
}

/* What points to the entry; or to the null where it would be. What has expired is not there. */
static struct entry **table_find(struct table *t, coro_slice key)
{
    uint64_t hash = hash_of(key);
    size_t i = (size_t)hash & (2 * t->half - 1);
    struct entry **at = &t->buckets[i < t->count ? i : i - t->half];
    while (*at && ((*at)->hash != hash || !same((*at)->key, key)))
        at = &(*at)->next;
    if (*at && (*at)->expires && (*at)->expires <= now) {
        entry_drop(t, at);
        return table_find(t, key);
    }
    return at;
}

/* Split the next bucket in turn. */
static void table_grow(struct table *t)
{
    struct entry **from, **to;
    if (t->count == 2 * t->half) {
        t->buckets = grab(t->buckets, 2 * t->count * sizeof *t->buckets);
        t->half = t->count;
    }
    from = &t->buckets[t->count - t->half];
    to = &t->buckets[t->count++];
    while (*from) {
        if ((*from)->hash & t->half) {
            *to = *from;
            *from = (*from)->next;
            to = &(*to)->next;
        } else {
            from = &(*from)->next;
        }
    }
    *to = NULL;
}

/* The key's entry, with this value; a new one never expires. Null: too much memory. */
static struct entry *table_set(struct table *t, coro_slice key, coro_slice value)
{
    struct entry **at = table_find(t, key), *e = *at;
    bool fresh = !e;
    if (fresh || e->value.len != value.len) {
        size_t before = fresh ? 0 : entry_size(key.len, e->value.len);
        size_t after = entry_size(key.len, value.len);
        if (t->memory - before + after > MAX_MEMORY)
            return NULL;
        t->memory += after - before;
        *at = e = grab(e, after);
        e->key = (coro_slice){e->bytes, key.len};
        e->value = (coro_slice){e->bytes + key.len + 1, value.len};
    }
    memcpy(e->value.data, value.data, value.len + 1);
    if (!fresh)
        return e;
    memcpy(e->key.data, key.data, key.len + 1);
    e->next = NULL;
    e->hash = hash_of(key);
    e->expires = 0;
    e->subs = NULL;
    if (++t->used > t->count)
        table_grow(t);
    return e;
}

static void table_init(struct table *t)
{
    t->half = t->count = 64;
    t->buckets = memset(grab(NULL, 128 * sizeof *t->buckets), 0, 128 * sizeof *t->buckets);
}

/* Look into a few buckets for what has expired. True: that was worth it. */
static bool table_sweep(struct table *t, size_t *bucket)
{
    int seen = 0, gone = 0;
    for (int i = 0; i < SWEEP_BUCKETS && t->expiring; i++, ++*bucket) {
        struct entry **at = &t->buckets[*bucket < t->count ? *bucket : (*bucket = 0)];
        for (; *at; seen++) {
            bool over = (*at)->expires && (*at)->expires <= now;
            gone += over;
            if (over)
                entry_drop(t, at);
            else
                at = &(*at)->next;
        }
    }
    return gone > seen / 8;
}

struct sweeper {
    CORO_FRAME;
    size_t bucket;
};

CORO(sweeper)
{
    CORO_BEGIN();
    for (;;) {
        now = coro_now(co);
        CORO_TRY(coro_sleep(co, table_sweep(&keys, &my->bucket) ? 0 : SWEEP_EVERY));
    }
    CORO_END(0);
}

/* ---- clients --------------------------------------------------------------------------------- */

struct client {
    CORO_FRAME;
    coro_fd conn;
    struct text in, out;
    size_t from, got;          /* bytes of in that have been done; that came last */
    coro_slice *arg;           /* the command's words: strings, of any bytes */
    int args;                  /* how many */
    struct subscription *subs; /* a list */
    int channels;              /* its length */
    coro_group g;              /* of the writer */
    coro_event more, written;  /* to the writer: there is something in out, or the end; and back */
    bool writing;              /* there is a writer */
    bool quit;                 /* to be closed when all is written */
    bool again;                /* more commands have come than were done in one go */
};

static coro_server server;
static uint64_t commands_done;

static bool is(coro_slice string, const char *word)
{
    return strcasecmp(string.data, word) == 0;
}

/* Is all of the string a number? */
static bool number(coro_slice string, int64_t *n)
{
    char *end;
    errno = 0;
    *n = strtoll(string.data, &end, 10);
    return !errno && string.len && end == string.data + string.len &&
           !isspace((unsigned char)*string.data);
}

/* ---- publish and subscribe ------------------------------------------------------------------- */

struct subscription {
    struct subscription *next, **at; /* in its channel */
    struct subscription *clients;    /* the client's next one */
    struct entry *channel;
    struct client *client;
};

/* What points to the client's subscription; or to the null where it would be. */
static struct subscription **subscription_find(struct client *c, coro_slice name)
{
    struct subscription **at = &c->subs;
    while (*at && !same((*at)->channel->key, name))
        at = &(*at)->clients;
    return at;
}

static void subscribe(struct client *c, struct entry *channel)
{
    struct subscription *s = grab(NULL, sizeof *s);
    *s = (struct subscription){channel->subs, &channel->subs, c->subs, channel, c};
    if (s->next)
        s->next->at = &s->next;
    channel->subs = c->subs = s;
    c->channels++;
}

static void unsubscribe(struct subscription **at)
{
    struct subscription *s = *at;
    *at = s->clients;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    s->client->channels--;
    if (!s->channel->subs)
        entry_drop(&channels, table_find(&channels, s->channel->key));
    free(s);
}

/* Tell all; how many. It does not wait for anybody: who does not read is dropped. */
static int publish(coro_slice name, coro_slice text)
{
    struct entry *channel = *table_find(&channels, name);
    int n = 0;
    for (struct subscription *s = channel ? channel->subs : NULL; s; s = s->next, n++) {
        struct client *c = s->client;
        if (c->out.length > OUT_LIMIT) {
            coro_group_cancel(&c->g);
            continue;
        }
        add(&c->out, "*3\r\n$7\r\nmessage\r\n");
        add_bulk(&c->out, name);
        add_bulk(&c->out, text);
        coro_event_set(&c->more);
    }
    return n;
}

/* Writes what is in the client's out, again and again. */
struct writer {
    CORO_FRAME;
    struct client *c;
    struct text text;
};

CORO(writer)
{
    CORO_BEGIN();
    while (my->c->out.length || !my->c->quit) {
        coro_event_clear(&my->c->more);
        if (!my->c->out.length) {
            CORO_TRY(coro_event_wait(co, &my->c->more));
            continue;
        }
        my->text = my->c->out;
        my->c->out = (struct text){0};
        CORO_TRY(coro_within(co, WRITE_LIMIT,
                             coro_write(co, &my->c->conn, my->text.data, my->text.length)));
        text_free(&my->text);
        coro_event_set(&my->c->written);
    }
CORO_FINALLY:
    text_free(&my->text);
    CORO_END(0);
}

/* ---- commands: each gives its answer, or puts it into c->out and gives null ------------------ */

#define OK "+OK\r\n"
#define NONE "$-1\r\n"
#define NO_MEMORY "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
#define NO_NUMBER "-ERR value is not an integer or out of range\r\n"
#define NO_TIME "-ERR invalid expire time\r\n"
#define NO_SYNTAX "-ERR syntax error\r\n"

static const char *say_number(struct client *c, int64_t n)
{
    add_number(&c->out, ':', n);
    return NULL;
}

static const char *say_bulk(struct client *c, coro_slice data)
{
    add_bulk(&c->out, data);
    return NULL;
}

static const char *do_get(struct client *c)
{
    struct entry *e = *table_find(&keys, c->arg[1]);
    return e ? say_bulk(c, e->value) : NONE;
}

static const char *do_set(struct client *c)
{
    bool only_new = false, only_old = false;
    coro_time when = 0;
    struct entry *e;
    for (int i = 3; i < c->args; i++) {
        int64_t ttl, unit = is(c->arg[i], "ex") ? 1000 : is(c->arg[i], "px");
        if (unit && i + 1 < c->args) {
            if (!number(c->arg[++i], &ttl))
                return NO_NUMBER;
            if (ttl <= 0 || ttl > MAX_TTL_MS / unit)
                return NO_TIME;
            when = now + CORO_MS(ttl * unit);
        } else if (is(c->arg[i], "nx")) {
            only_new = true;
        } else if (is(c->arg[i], "xx")) {
            only_old = true;
        } else {
            return NO_SYNTAX;
        }
    }
    if (only_new && only_old)
        return NO_SYNTAX;
    if ((only_new || only_old) && (*table_find(&keys, c->arg[1]) != NULL) != only_old)
        return NONE;
    e = table_set(&keys, c->arg[1], c->arg[2]);
    if (!e)
        return NO_MEMORY;
    entry_expire(&keys, e, when);
    return OK;
}

static const char *do_del_exists(struct client *c)
{
    int found = 0;
    for (int i = 1; i < c->args; i++) {
        struct entry **at = table_find(&keys, c->arg[i]);
        found += *at != NULL;
        if (*at && is(c->arg[0], "del"))
            entry_drop(&keys, at);
    }
    return say_number(c, found);
}

static const char *do_incr_decr(struct client *c)
{
    struct entry *e = *table_find(&keys, c->arg[1]);
    int64_t value = 0, by = is(c->arg[0], "incr") ? 1 : -1;
    char text[24];
    if (e && !number(e->value, &value))
        return NO_NUMBER;
    if (value == (by > 0 ? INT64_MAX : INT64_MIN))
        return "-ERR increment or decrement would overflow\r\n";
    value += by;
    by = sprintf(text, "%lld", (long long)value);
    e = table_set(&keys, c->arg[1], (coro_slice){text, (size_t)by});
    return e ? say_number(c, value) : NO_MEMORY;
}

static const char *do_expire(struct client *c)
{
    struct entry **at = table_find(&keys, c->arg[1]);
    int64_t ttl, unit = is(c->arg[0], "expire") ? 1000 : 1;
    if (!number(c->arg[2], &ttl))
        return NO_NUMBER;
    if (ttl > MAX_TTL_MS / unit)
        return NO_TIME;
    say_number(c, *at != NULL);
    if (*at && ttl > 0)
        entry_expire(&keys, *at, now + CORO_MS(ttl * unit));
    else if (*at)
        entry_drop(&keys, at);
    return NULL;
}

static const char *do_ttl(struct client *c)
{
    struct entry *e = *table_find(&keys, c->arg[1]);
    int64_t ms = e ? (e->expires - now) / CORO_MS(1) : 0;
    ms = is(c->arg[0], "ttl") ? (ms + 500) / 1000 : ms;
    return say_number(c, !e ? -2 : !e->expires ? -1 : ms);
}

static const char *do_keys(struct client *c)
{
    struct text found = {0};
    int n = 0;
    for (size_t i = 0; i < keys.count; i++) {
        for (struct entry *e = keys.buckets[i]; e; e = e->next) {
            if ((!e->expires || e->expires > now) && !fnmatch(c->arg[1].data, e->key.data, 0)) {
                add_bulk(&found, e->key);
                n++;
            }
        }
    }
    add_number(&c->out, '*', n);
    text_add(&c->out, found.length ? found.data : "", found.length);
    text_free(&found);
    return NULL;
}

static const char *do_dbsize(struct client *c)
{
    return say_number(c, (int64_t)keys.used);
}

static const char *do_flushall(struct client *c)
{
    (void)c;
    for (size_t i = 0; i < keys.count; i++) {
        while (keys.buckets[i])
            entry_drop(&keys, &keys.buckets[i]);
    }
    return OK;
}

static const char *do_ping(struct client *c)
{
    if (c->channels)
        add(&c->out, "*2\r\n$4\r\npong\r\n");
    else if (c->args == 1)
        return "+PONG\r\n";
    return say_bulk(c, c->args > 1 ? c->arg[1] : (coro_slice){c->arg[0].data, 0});
}

static const char *do_info(struct client *c)
{
    char text[512];
    int n = snprintf(text, sizeof text,
                     "# Server\r\nredis_version:7.0.0\r\nprocess_id:%ld\r\n"
                     "# Clients\r\nconnected_clients:%u\r\nmaxclients:%d\r\n"
                     "# Memory\r\nused_memory:%zu\r\nmaxmemory:%zu\r\n"
                     "# Stats\r\ntotal_connections_received:%llu\r\n"
                     "total_commands_processed:%llu\r\npubsub_channels:%zu\r\n"
                     "# Keyspace\r\ndb0:keys=%zu,expires=%zu\r\n",
                     (long)getpid(), (unsigned)server.handlers.alive, MAX_CLIENTS, keys.memory,
                     MAX_MEMORY, (unsigned long long)server.accepted,
                     (unsigned long long)commands_done, channels.used, keys.used, keys.expiring);
    return say_bulk(c, (coro_slice){text, (size_t)n});
}

/* redis-benchmark asks for two of them. */
static const char *do_config(struct client *c)
{
    if (c->args != 3 || !is(c->arg[1], "get"))
        return NO_SYNTAX;
    return is(c->arg[2], "save")         ? "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"
           : is(c->arg[2], "appendonly") ? "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"
                                         : "*0\r\n";
}

static const char *do_command(struct client *c)
{
    (void)c;
    return "*0\r\n"; /* redis-cli can do without */
}

static const char *do_select(struct client *c)
{
    return is(c->arg[1], "0") ? OK : "-ERR DB index is out of range\r\n";
}

static const char *do_quit(struct client *c)
{
    c->quit = true;
    return OK;
}

static void say_subscribed(struct client *c, const char *what, const coro_slice *name, int count)
{
    add(&c->out, what);
    if (name)
        add_bulk(&c->out, *name);
    else
        add(&c->out, NONE);
    say_number(c, count);
}

static const char *do_subscribe(struct client *c)
{
    char text[] = "";
    for (int i = 1; i < c->args; i++) {
        struct entry *channel = table_set(&channels, c->arg[i], (coro_slice){text, 0});
        if (!channel)
            return NO_MEMORY;
        if (!*subscription_find(c, c->arg[i]))
            subscribe(c, channel);
        say_subscribed(c, "*3\r\n$9\r\nsubscribe\r\n", &c->arg[i], c->channels);
    }
    return NULL;
}

static const char *do_unsubscribe(struct client *c)
{
    static const char what[] = "*3\r\n$11\r\nunsubscribe\r\n";
    bool all = c->args == 1;
    if (all && !c->subs)
        say_subscribed(c, what, NULL, 0);
    while (all && c->subs) {
        say_subscribed(c, what, &c->subs->channel->key, c->channels - 1);
        unsubscribe(&c->subs);
    }
    for (int i = 1; i < c->args; i++) {
        struct subscription **at = subscription_find(c, c->arg[i]);
        if (*at)
            unsubscribe(at);
        say_subscribed(c, what, &c->arg[i], c->channels);
    }
    return NULL;
}

static const char *do_publish(struct client *c)
{
    return say_number(c, publish(c->arg[1], c->arg[2]));
}

static const struct command {
    const char *name, *(*run)(struct client *c);
    int least, most; /* words */
    bool listening;  /* also while it is subscribed */
} commands[] = {
    {"get", do_get, 2, 2, false},
    {"set", do_set, 3, 6, false},
    {"incr", do_incr_decr, 2, 2, false},
    {"decr", do_incr_decr, 2, 2, false},
    {"del", do_del_exists, 2, MAX_ARGS, false},
    {"exists", do_del_exists, 2, MAX_ARGS, false},
    {"expire", do_expire, 3, 3, false},
    {"pexpire", do_expire, 3, 3, false},
    {"ttl", do_ttl, 2, 2, false},
    {"pttl", do_ttl, 2, 2, false},
    {"keys", do_keys, 2, 2, false},
    {"dbsize", do_dbsize, 1, 1, false},
    {"flushall", do_flushall, 1, 2, false},
    {"ping", do_ping, 1, 2, true},
    {"echo", do_ping, 2, 2, false},
    {"info", do_info, 1, 2, false},
    {"config", do_config, 2, MAX_ARGS, false},
    {"command", do_command, 1, MAX_ARGS, false},
    {"select", do_select, 2, 2, false},
    {"quit", do_quit, 1, 1, true},
    {"subscribe", do_subscribe, 2, MAX_ARGS, true},
    {"unsubscribe", do_unsubscribe, 1, MAX_ARGS, true},
    {"publish", do_publish, 3, 3, false},
};

static void do_one(struct client *c)
{
    const struct command *command = commands, *end = commands + sizeof commands / sizeof *commands;
    const char *wrong = NULL, *answer;
    char text[128];
    commands_done++;
    while (command < end && !is(c->arg[0], command->name))
        command++;
    if (command == end)
        wrong = "is no command";
    else if (c->args < command->least || c->args > command->most)
        wrong = "has another number of arguments";
    else if (c->channels && !command->listening)
        wrong = "cannot be done while subscribed";
    if (wrong)
        (void)snprintf(text, sizeof text, "-ERR '%.64s' %s\r\n", c->arg[0].data, wrong);
    answer = wrong ? text : command->run(c);
    if (answer)
        add(&c->out, answer);
}

/* ---- the protocol ---------------------------------------------------------------------------- */

/* "12\r\n": 1; 0: more has to come; -1: that is none, or too large. */
static int parse_length(char **at, const char *end, int64_t most, int64_t *n)
{
    char *p = *at;
    for (*n = 0; p < end && isdigit((unsigned char)*p) && *n <= most; p++)
        *n = *n * 10 + *p - '0';
    if (*n > most || (p < end && (*p != '\r' || p == *at)) || (end - p > 1 && p[1] != '\n'))
        return -1;
    if (end - p < 2)
        return 0;
    *at = p + 2;
    return 1;
}

/* A line of words. */
static int parse_inline(struct client *c, char *at, const char *end)
{
    char *stop = memchr(at, '\n', (size_t)(end - at));
    if (!stop)
        return end - at > MAX_INLINE ? -1 : 0;
    c->from = (size_t)(stop + 1 - c->in.data);
    for (; at <= stop && c->args < MAX_ARGS; at++) {
        char *word = at;
        while (!isspace((unsigned char)*at))
            at++;
        if (at > word)
            c->arg[c->args++] = (coro_slice){word, (size_t)(at - word)};
        *at = 0;
    }
    return 1;
}

/* The next command: 1; 0: more has to come; -1: it is malformed. */
static int parse(struct client *c)
{
    char *at = c->in.data + c->from, *end = c->in.data + c->in.length;
    int64_t count, length;
    int rc;
    c->args = 0;
    if (at == end)
        return 0;
    if (*at != '*')
        return parse_inline(c, at, end);
    at++;
    rc = parse_length(&at, end, MAX_ARGS, &count);
    if (rc <= 0)
        return rc;
    for (; c->args < count; c->args++) {
        if (at == end)
            return 0;
        if (*at++ != '$')
            return -1;
        rc = parse_length(&at, end, MAX_REQUEST, &length);
        if (rc <= 0 || end - at < length + 2)
            return rc < 0 ? rc : 0;
        if (at[length] != '\r' || at[length + 1] != '\n')
            return -1;
        c->arg[c->args] = (coro_slice){at, (size_t)length};
        at += length + 2;
    }
    for (int i = 0; i < c->args; i++)
        c->arg[i].data[c->arg[i].len] = 0; /* no sooner: it may have to be parsed again */
    c->from = (size_t)(at - c->in.data);
    return 1;
}

/* Do what has come. True: not all, the answers are to be written first. */
static bool do_all(struct client *c)
{
    static coro_slice arg[MAX_ARGS];
    c->arg = arg;
    while (!c->quit && c->out.length < OUT_ENOUGH) {
        int rc = parse(c);
        if (rc == 0)
            return false;
        if (rc < 0)
            add(&c->out, "-ERR Protocol error\r\n");
        else if (c->args)
            do_one(c);
        c->quit = c->quit || rc < 0;
    }
    return !c->quit;
}

/* Room to read into: what has been done is dropped where there is none, or it costs nothing. */
static bool make_room(struct client *c)
{
    struct text *in = &c->in;
    if (c->from && (c->from == in->length || in->length == in->room)) {
        memmove(in->data, in->data + c->from, in->length - c->from);
        in->length -= c->from;
        c->from = 0;
    }
    if (in->length >= MAX_REQUEST)
        return false;
    text_reserve(in, 1);
    return true;
}

CORO(client)
{
    CORO_BEGIN();
    (void)setsockopt(coro_fd_number(&my->conn), IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    coro_group_open(co, &my->g, CORO_ALL);
    while (!my->quit) {
        if (my->from == my->in.length) {
            text_free(&my->in);
            my->from = 0;
            CORO_TRY(coro_wait_readable(co, &my->conn));
        }
        if (!make_room(my))
            CORO_FAIL(-EMSGSIZE);
        CORO_TRY(my->got, coro_read(co, &my->conn, my->in.data + my->in.length,
                                    my->in.room - my->in.length));
        if (!my->got)
            break;
        my->in.length += my->got;
        now = coro_now(co);
        do {
            my->again = do_all(my);
            if (my->channels && !my->writing) {
                my->writing = true;
                coro_spawn(&my->g, writer, .c = my);
            }
            if (my->writing && my->out.length) {
                coro_event_clear(&my->written);
                coro_event_set(&my->more);
                CORO_TRY(coro_event_wait(co, &my->written));
            } else if (my->out.length) {
                CORO_TRY(coro_within(co, WRITE_LIMIT,
                                     coro_write(co, &my->conn, my->out.data, my->out.length)));
                text_free(&my->out);
            }
        } while (my->again);
    }
CORO_FINALLY:
    while (my->subs)
        unsubscribe(&my->subs);
    coro_event_set(&my->more);
    if (!my->quit)
        coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    coro_close(&my->conn);
    text_free(&my->in);
    text_free(&my->out);
    CORO_END(0);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* Asks for a few things in one go, and prints the answers. */
struct asker {
    CORO_FRAME;
    const coro_address *at;
    coro_fd conn;
    coro_stream s;
    coro_slice line;
    char in[1024];
    bool got;
};

CORO(asker)
{
    static const char requests[] = "SET greeting hello EX 100\r\nGET greeting\r\nTTL greeting\r\n"
                                   "*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\nINCR count\r\nKEYS *t\r\n"
                                   "SUBSCRIBE news\r\nGET count\r\nUNSUBSCRIBE\r\n"
                                   "PUBLISH news none\r\nDEL count greeting\r\nQUIT\r\n";
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->at));
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, NULL, 0));
    CORO_TRY(coro_stream_write(co, &my->s, requests, sizeof requests - 1));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (!my->got)
            break;
        printf("%.*s\n", (int)my->line.len, my->line.data);
    }
CORO_FINALLY:
    coro_close(&my->conn);
    coro_server_stop(&server);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    const char *address; /* null: ask ourselves */
    coro_fd listener;
    coro_address at;
    coro_group g;
};

CORO(app)
{
    char text[128];
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, my->address ? my->address : "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->at));
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, sweeper);
    if (my->address)
        printf("serving on %s\n", coro_address_print(&my->at, text, sizeof text));
    else
        coro_spawn(&my->g, asker, .at = &my->at);
    fflush(stdout);
    server.limit = MAX_CLIENTS;
    CORO_TRY(coro_serve(co, &server, &my->listener, conn, client));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_close(&my->listener);
    CORO_END(0);
}

int main(int argc, char **argv)
{
    int rc;
    if (getentropy(&seed, sizeof seed) < 0)
        return 1;
    table_init(&keys);
    table_init(&channels);
    rc = coro_run(app, .address = argc > 1 ? argv[1] : NULL);
    (void)do_flushall(NULL);
    free(keys.buckets);
    free(channels.buckets);
    if (rc < 0 && rc != -EINTR)
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-rc));
    return rc < 0 && rc != -EINTR;
}

/* Output:
 *   +OK
 *   $5
 *   hello
 *   :100
 *   :1
 *   :2
 *   *1
 *   $5
 *   count
 *   *3
 *   $9
 *   subscribe
 *   $4
 *   news
 *   :1
 *   -ERR 'GET' cannot be done while subscribed
 *   *3
 *   $11
 *   unsubscribe
 *   $4
 *   news
 *   :0
 *   :0
 *   :2
 *   +OK
 */
