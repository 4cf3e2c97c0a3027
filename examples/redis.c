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
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    MAX_CLIENTS = 10000,      /* more wait in the kernel */
    MAX_ARGS = 1024,          /* of a command */
    MAX_INLINE = 1 << 16,     /* bytes of a command that is a line */
    MAX_REQUEST = 64 << 20,   /* bytes of any command */
    BUFFER = 1 << 14,         /* of a client, at first */
    OUT_ENOUGH = 1 << 18,     /* answers that are written before more commands are done */
    OUT_LIMIT = 8 << 20,      /* messages for a client; one that is so slow is dropped */
    SWEEP_BUCKETS = 400       /* that are looked at for expired keys in one go */
};
#define MAX_MEMORY ((size_t)1 << 30) /* for keys and values */
#define WRITE_LIMIT CORO_S(60)       /* for a client to take what was written */
#define SWEEP_EVERY CORO_MS(100)
#define MAX_TTL 9000000000000        /* ms */

/* ---- a table by linear hashing: it grows by a bucket at a time, and never stops the world ------ */

struct node {
    struct node *next;
    uint64_t hash;
    size_t length; /* of the key, */
    char *key;
};

struct table {
    struct node **buckets; /* room for 2 * half */
    size_t half;           /* a power of two: buckets below are split, or to be split in this round */
    size_t count;          /* buckets in use: half .. 2 * half */
    size_t used;           /* nodes */
};

static uint64_t seed; /* so that nobody can choose keys that collide */

static uint64_t hash_of(coro_slice key)
{
    uint64_t h = seed ^ key.len, word;
    for (; key.len >= 8; key.data += 8, key.len -= 8) {
        memcpy(&word, key.data, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15;
        h ^= h >> 29;
    }
    word = 0;
    memcpy(&word, key.data, key.len);
    h = (h ^ word) * 0x9e3779b97f4a7c15;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93;
    return h ^ h >> 32;
}

static bool table_init(struct table *t)
{
    *t = (struct table){.half = 64, .count = 64};
    t->buckets = calloc(2 * t->half, sizeof *t->buckets);
    return t->buckets != NULL;
}

/* What points to the node; or to the null where it would be. */
static struct node **table_find(const struct table *t, coro_slice key, uint64_t hash)
{
    size_t i = hash & (2 * t->half - 1);
    struct node **at = &t->buckets[i < t->count ? i : i - t->half];
    while (*at && ((*at)->hash != hash || (*at)->length != key.len ||
                   memcmp((*at)->key, key.data, key.len) != 0))
        at = &(*at)->next;
    return at;
}

/* Split the next bucket in turn, if there is memory. */
static void table_grow(struct table *t)
{
    struct node **from, **to;
    if (t->count == 2 * t->half) {
        struct node **more = realloc(t->buckets, 2 * t->count * sizeof *more);
        if (!more)
            return;
        t->buckets = more;
        t->half = t->count;
    }
    from = &t->buckets[t->count - t->half];
    to = &t->buckets[t->count++];
    *to = NULL;
    while (*from) {
        if ((*from)->hash & t->half) {
            *to = *from;
            to = &(*to)->next;
            *from = *to;
            *to = NULL;
        } else {
            from = &(*from)->next;
        }
    }
}

static void table_add(struct table *t, struct node **at, struct node *node)
{
    node->next = NULL;
    *at = node;
    if (++t->used > t->count)
        table_grow(t);
}

static void table_drop(struct table *t, struct node **at)
{
    *at = (*at)->next;
    t->used--;
}

/* ---- text that grows --------------------------------------------------------------------------- */

struct text {
    char *data;
    size_t length, room;
    bool lost; /* there was no memory */
};

static bool text_reserve(struct text *t, size_t more)
{
    size_t room = t->room ? t->room : BUFFER;
    char *data;
    if (t->room - t->length >= more)
        return true;
    while (room - t->length < more)
        room *= 2;
    data = realloc(t->data, room);
    t->lost = t->lost || !data;
    if (!data)
        return false;
    t->data = data;
    t->room = room;
    return true;
}

static void text_add(struct text *t, const void *data, size_t n)
{
    if (!text_reserve(t, n))
        return;
    memcpy(t->data + t->length, data, n);
    t->length += n;
}

static void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* ":12\r\n" */
static void text_add_number(struct text *t, char mark, int64_t n)
{
    char digits[32], *at = digits + sizeof digits;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--at = '-';
    *--at = mark;
    text_add(t, at, (size_t)(digits + sizeof digits - at));
}

static void text_add_bulk(struct text *t, const void *data, size_t n)
{
    text_add_number(t, '$', (int64_t)n);
    text_add(t, data, n);
    text_add(t, "\r\n", 2);
}

/* ---- clients ----------------------------------------------------------------------------------- */

struct session {
    CORO_FRAME;
    coro_fd conn;
    struct text in, out;
    size_t from, got;          /* bytes of in that have been done; that came last */
    coro_group g;              /* of the writer */
    coro_event more;           /* for the writer: there is something in out, or the end */
    coro_event written;        /* by the writer */
    bool writing;              /* there is a writer */
    bool again;                /* more commands have come than were done in one go */
    bool quit;                 /* to be closed when all is written */
    struct subscription *subs; /* a list */
    int channels;              /* its length */
};

typedef struct session client;

static coro_server server;
static uint64_t commands_done;

static void say(client *c, const char *text)
{
    text_add(&c->out, text, strlen(text));
}

static void say_number(client *c, int64_t n)
{
    text_add_number(&c->out, ':', n);
}

static bool is(coro_slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

/* All of the text is a number. */
static bool number(coro_slice text, int64_t *n)
{
    char copy[24], *end;
    if (!text.len || text.len >= sizeof copy || isspace((unsigned char)*text.data))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    errno = 0;
    *n = strtoll(copy, &end, 10);
    return !errno && end == copy + text.len;
}

/* ---- keys -------------------------------------------------------------------------------------- */

struct entry {
    struct node node; /* must be first */
    coro_time expires; /* 0: never */
    size_t size;       /* of the value, */
    char bytes[];      /* which comes behind the key */
};

static struct table keys;
static size_t memory;    /* of all entries */
static size_t expiring;  /* keys that will */
static coro_time now;    /* as of the present batch of commands */

static char *value_of(struct entry *e)
{
    return e->bytes + e->node.length;
}

static void entry_drop(struct node **at)
{
    struct entry *e = (struct entry *)(void *)*at;
    table_drop(&keys, at);
    memory -= sizeof *e + e->node.length + e->size;
    expiring -= e->expires != 0;
    free(e);
}

/* Where the key is, or would be; one that has expired is not there. */
static struct node **entry_find(coro_slice key, uint64_t hash)
{
    struct node **at = table_find(&keys, key, hash);
    struct entry *e = (struct entry *)(void *)*at;
    if (e && e->expires && e->expires <= now) {
        entry_drop(at);
        at = table_find(&keys, key, hash);
    }
    return at;
}

static struct entry *entry_get(coro_slice key)
{
    return (struct entry *)(void *)*entry_find(key, hash_of(key));
}

/* The entry of that key, with room for a value of that size; it never expires. Null: no memory. */
static struct entry *entry_set(coro_slice key, size_t size)
{
    uint64_t hash = hash_of(key);
    struct node **at = entry_find(key, hash);
    struct entry *e = (struct entry *)(void *)*at;
    bool fresh = !e;
    if (fresh || e->size != size) {
        size_t before = fresh ? 0 : sizeof *e + key.len + e->size;
        size_t after = sizeof *e + key.len + size;
        if (after > before && memory + after - before > MAX_MEMORY)
            return NULL;
        e = realloc(e, after);
        if (!e)
            return NULL;
        memory += after - before;
        e->size = size;
        e->node.key = e->bytes;
        *at = &e->node;
    }
    if (fresh) {
        memcpy(e->bytes, key.data, key.len);
        e->node.hash = hash;
        e->node.length = key.len;
        e->expires = 0;
        table_add(&keys, at, &e->node);
    }
    return e;
}

static void entry_expire(struct entry *e, coro_time when)
{
    expiring -= e->expires != 0;
    expiring += when != 0;
    e->expires = when;
}

/* Looks for keys that have expired, a few buckets in one go; more when it finds many. */
struct sweeper {
    CORO_FRAME;
    size_t at;
};

static bool sweep(size_t *bucket)
{
    size_t seen = 0, gone = 0;
    for (int i = 0; i < SWEEP_BUCKETS && expiring; i++) {
        struct node **at = &keys.buckets[*bucket < keys.count ? *bucket : (*bucket = 0)];
        ++*bucket;
        while (*at) {
            struct entry *e = (struct entry *)(void *)*at;
            seen++;
            if (e->expires && e->expires <= now) {
                gone++;
                entry_drop(at);
            } else {
                at = &e->node.next;
            }
        }
    }
    return gone > seen / 8;
}

CORO(sweeper)
{
    CORO_BEGIN();
    for (;;) {
        now = coro_now(co);
        CORO_TRY(coro_sleep(co, sweep(&my->at) ? 0 : SWEEP_EVERY));
    }
    CORO_END(0);
}

/* ---- publish and subscribe --------------------------------------------------------------------- */

struct subscription {
    struct subscription *next, **at;             /* in its channel */
    struct subscription *client_next, **client_at; /* in its client */
    struct channel *channel;
    client *client;
};

struct channel {
    struct node node; /* must be first */
    struct subscription *subs;
    char name[];
};

static struct table channels;

static struct subscription *subscription_find(client *c, coro_slice name)
{
    struct subscription *s = c->subs;
    while (s && (s->channel->node.length != name.len ||
                 memcmp(s->channel->name, name.data, name.len) != 0))
        s = s->client_next;
    return s;
}

/* False: no memory. */
static bool subscribe(client *c, coro_slice name)
{
    uint64_t hash = hash_of(name);
    struct node **at = table_find(&channels, name, hash);
    struct channel *channel = (struct channel *)(void *)*at;
    struct subscription *s = calloc(1, sizeof *s);
    if (!channel && s) {
        channel = calloc(1, sizeof *channel + name.len);
        if (channel) {
            memcpy(channel->name, name.data, name.len);
            channel->node = (struct node){NULL, hash, name.len, channel->name};
            table_add(&channels, at, &channel->node);
        }
    }
    if (!s || !channel) {
        free(s);
        return false;
    }
    *s = (struct subscription){.next = channel->subs, .at = &channel->subs, .client_next = c->subs,
                               .client_at = &c->subs, .channel = channel, .client = c};
    if (s->next)
        s->next->at = &s->next;
    if (s->client_next)
        s->client_next->client_at = &s->client_next;
    channel->subs = c->subs = s;
    c->channels++;
    return true;
}

static void unsubscribe(struct subscription *s)
{
    struct channel *channel = s->channel;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    *s->client_at = s->client_next;
    if (s->client_next)
        s->client_next->client_at = s->client_at;
    s->client->channels--;
    free(s);
    if (!channel->subs) {
        table_drop(&channels, table_find(&channels, (coro_slice){channel->name,
                                                                 channel->node.length},
                                         channel->node.hash));
        free(channel);
    }
}

/* Tell all; how many. It does not wait for anybody: who does not read is dropped. */
static int publish(coro_slice name, coro_slice text)
{
    struct node *node = *table_find(&channels, name, hash_of(name));
    struct text message = {0};
    int n = 0;
    if (!node)
        return 0;
    text_add(&message, "*3\r\n$7\r\nmessage\r\n", 17);
    text_add_bulk(&message, name.data, name.len);
    text_add_bulk(&message, text.data, text.len);
    for (struct subscription *s = ((struct channel *)(void *)node)->subs; s; s = s->next, n++) {
        client *c = s->client;
        text_add(&c->out, message.data, message.length);
        coro_event_set(&c->more);
        if (c->out.length > OUT_LIMIT || c->out.lost || message.lost)
            coro_group_cancel(&c->g);
    }
    text_free(&message);
    return n;
}

/* Writes what is in the client's out, again and again. */
struct writer {
    CORO_FRAME;
    client *c;
    struct text text;
};

CORO(writer)
{
    CORO_BEGIN();
    while (my->c->out.length || !my->c->quit) {
        coro_event_clear(&my->c->more);
        if (!my->c->out.length)
            CORO_TRY(coro_event_wait(co, &my->c->more));
        my->text = my->c->out;
        my->c->out = (struct text){0};
        CORO_TRY(coro_within(co, WRITE_LIMIT, coro_write(co, &my->c->conn, my->text.data,
                                                         my->text.length)));
        text_free(&my->text);
        coro_event_set(&my->c->written);
    }
CORO_FINALLY:
    text_free(&my->text);
    CORO_END(0);
}

/* ---- commands ---------------------------------------------------------------------------------- */

#define NO_MEMORY "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
#define NO_NUMBER "-ERR value is not an integer or out of range\r\n"
#define NO_TIME "-ERR invalid expire time\r\n"
#define NO_SYNTAX "-ERR syntax error\r\n"

static const char *do_get(client *c, const coro_slice *arg, int n)
{
    struct entry *e = entry_get(arg[1]);
    (void)n;
    if (!e)
        return "$-1\r\n";
    text_add_bulk(&c->out, value_of(e), e->size);
    return NULL;
}

static const char *do_set(client *c, const coro_slice *arg, int n)
{
    bool only_new = false, only_old = false, keep = false;
    int64_t ttl = 0;
    coro_time when = 0;
    struct entry *e;
    for (int i = 3; i < n; i++) {
        bool seconds = is(arg[i], "ex");
        only_new = only_new || is(arg[i], "nx");
        only_old = only_old || is(arg[i], "xx");
        keep = keep || is(arg[i], "keepttl");
        if ((seconds || is(arg[i], "px")) && i + 1 < n && !when) {
            if (!number(arg[++i], &ttl))
                return NO_NUMBER;
            if (ttl <= 0 || ttl > MAX_TTL / (seconds ? 1000 : 1))
                return NO_TIME;
            when = now + CORO_MS(seconds ? ttl * 1000 : ttl);
        } else if (!is(arg[i], "nx") && !is(arg[i], "xx") && !is(arg[i], "keepttl")) {
            return NO_SYNTAX;
        }
    }
    if ((only_new && only_old) || (keep && when))
        return NO_SYNTAX;
    if ((only_new || only_old) && (entry_get(arg[1]) != NULL) != only_old)
        return "$-1\r\n";
    e = entry_set(arg[1], arg[2].len);
    if (!e)
        return NO_MEMORY;
    memcpy(value_of(e), arg[2].data, arg[2].len);
    if (!keep)
        entry_expire(e, when);
    return "+OK\r\n";
}

/* DEL, EXISTS */
static const char *do_count(client *c, const coro_slice *arg, int n)
{
    int found = 0;
    for (int i = 1; i < n; i++) {
        struct node **at = entry_find(arg[i], hash_of(arg[i]));
        found += *at != NULL;
        if (*at && is(arg[0], "del"))
            entry_drop(at);
    }
    say_number(c, found);
    return NULL;
}

/* INCR, DECR */
static const char *do_incr(client *c, const coro_slice *arg, int n)
{
    struct entry *e = entry_get(arg[1]);
    int64_t value = 0, by = is(arg[0], "decr") ? -1 : 1;
    char text[24];
    (void)n;
    if (e && !number((coro_slice){value_of(e), e->size}, &value))
        return NO_NUMBER;
    if (value == (by > 0 ? INT64_MAX : INT64_MIN))
        return "-ERR increment or decrement would overflow\r\n";
    value += by;
    n = snprintf(text, sizeof text, "%lld", (long long)value);
    e = entry_set(arg[1], (size_t)n);
    if (!e)
        return NO_MEMORY;
    memcpy(value_of(e), text, (size_t)n);
    say_number(c, value);
    return NULL;
}

/* EXPIRE, PEXPIRE */
static const char *do_expire(client *c, const coro_slice *arg, int n)
{
    struct node **at = entry_find(arg[1], hash_of(arg[1]));
    int64_t ttl, unit = is(arg[0], "expire") ? 1000 : 1;
    (void)n;
    if (!number(arg[2], &ttl))
        return NO_NUMBER;
    if (ttl > MAX_TTL / unit)
        return NO_TIME;
    if (*at && ttl > 0)
        entry_expire((struct entry *)(void *)*at, now + CORO_MS(ttl * unit));
    say_number(c, *at != NULL);
    if (*at && ttl <= 0)
        entry_drop(at);
    return NULL;
}

/* TTL, PTTL */
static const char *do_ttl(client *c, const coro_slice *arg, int n)
{
    struct entry *e = entry_get(arg[1]);
    int64_t ms = e ? (e->expires - now) / CORO_MS(1) : 0;
    (void)n;
    say_number(c, !e ? -2 : !e->expires ? -1 : is(arg[0], "ttl") ? (ms + 500) / 1000 : ms);
    return NULL;
}

/* One character of the pattern, not a star, against this one; and how long it was. */
static bool glob_one(coro_slice p, char with, size_t *used)
{
    bool is_not, found = false;
    size_t i = 1;
    *used = 1;
    if (p.data[0] == '?')
        return true;
    if (p.data[0] == '\\' && p.len > 1) {
        *used = 2;
        return p.data[1] == with;
    }
    if (p.data[0] != '[')
        return p.data[0] == with;
    is_not = p.len > 1 && p.data[1] == '^';
    for (i += is_not; i < p.len && p.data[i] != ']'; i++) {
        char low = p.data[i], high = low;
        if (i + 2 < p.len && p.data[i + 1] == '-')
            high = p.data[i += 2];
        found = found || (low <= with && with <= high);
    }
    *used = i < p.len ? i + 1 : i;
    return found != is_not;
}

/* On a mismatch only the last star need take more: no pattern takes exponential time. */
static bool glob(coro_slice pattern, coro_slice text)
{
    coro_slice star = {NULL, 0}, rest = text;
    while (text.len || pattern.len) {
        size_t used;
        if (pattern.len && *pattern.data == '*') {
            star = pattern = (coro_slice){pattern.data + 1, pattern.len - 1};
            rest = text;
        } else if (pattern.len && text.len && glob_one(pattern, *text.data, &used)) {
            pattern = (coro_slice){pattern.data + used, pattern.len - used};
            text = (coro_slice){text.data + 1, text.len - 1};
        } else if (star.data && rest.len) {
            text = rest = (coro_slice){rest.data + 1, rest.len - 1};
            pattern = star;
        } else {
            return false;
        }
    }
    return true;
}

static const char *do_keys(client *c, const coro_slice *arg, int n)
{
    struct text found = {0};
    (void)n;
    n = 0;
    for (size_t i = 0; i < keys.count; i++) {
        for (struct node *node = keys.buckets[i]; node; node = node->next) {
            coro_time expires = ((struct entry *)(void *)node)->expires;
            if ((expires && expires <= now) || !glob(arg[1], (coro_slice){node->key, node->length}))
                continue;
            text_add_bulk(&found, node->key, node->length);
            n++;
        }
    }
    text_add_number(&c->out, '*', n);
    text_add(&c->out, found.data, found.length);
    c->out.lost = c->out.lost || found.lost;
    text_free(&found);
    return NULL;
}

static const char *do_dbsize(client *c, const coro_slice *arg, int n)
{
    (void)arg, (void)n;
    say_number(c, (int64_t)keys.used);
    return NULL;
}

static const char *do_flush(client *c, const coro_slice *arg, int n)
{
    (void)arg, (void)n;
    for (size_t i = 0; i < keys.count; i++) {
        while (keys.buckets[i])
            entry_drop(&keys.buckets[i]);
    }
    return "+OK\r\n";
}

static const char *do_ping(client *c, const coro_slice *arg, int n)
{
    bool echo = is(arg[0], "echo");
    if (c->channels)
        say(c, "*2\r\n$4\r\npong\r\n");
    if (n > 1 || c->channels || echo)
        text_add_bulk(&c->out, n > 1 ? arg[1].data : "", n > 1 ? arg[1].len : 0);
    else
        say(c, "+PONG\r\n");
    return NULL;
}

static const char *do_info(client *c, const coro_slice *arg, int n)
{
    char text[512];
    (void)arg;
    n = snprintf(text, sizeof text,
                 "# Server\r\nredis_version:7.0.0\r\nprocess_id:%ld\r\n"
                 "# Clients\r\nconnected_clients:%u\r\nmaxclients:%d\r\n"
                 "# Memory\r\nused_memory:%zu\r\nmaxmemory:%zu\r\n"
                 "# Stats\r\ntotal_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
                 "pubsub_channels:%zu\r\n# Keyspace\r\ndb0:keys=%zu,expires=%zu\r\n",
                 (long)getpid(), (unsigned)server.active, MAX_CLIENTS, memory, MAX_MEMORY,
                 (unsigned long long)server.accepted, (unsigned long long)commands_done,
                 channels.used, keys.used, expiring);
    text_add_bulk(&c->out, text, (size_t)n);
    return NULL;
}

static const char *do_command(client *c, const coro_slice *arg, int n)
{
    (void)arg, (void)n;
    return "*0\r\n"; /* clients can do without */
}

/* What redis-benchmark asks for. */
static const char *do_config(client *c, const coro_slice *arg, int n)
{
    if (n != 3 || !is(arg[1], "get"))
        return NO_SYNTAX;
    return is(arg[2], "save")         ? "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"
           : is(arg[2], "appendonly") ? "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"
                                      : "*0\r\n";
}

static const char *do_client(client *c, const coro_slice *arg, int n)
{
    (void)n;
    return is(arg[1], "setname") || is(arg[1], "setinfo") ? "+OK\r\n" : NO_SYNTAX;
}

static const char *do_select(client *c, const coro_slice *arg, int n)
{
    (void)n;
    return is(arg[1], "0") ? "+OK\r\n" : "-ERR DB index is out of range\r\n";
}

static const char *do_quit(client *c, const coro_slice *arg, int n)
{
    (void)arg, (void)n;
    c->quit = true;
    return "+OK\r\n";
}

static void say_subscribed(client *c, const char *what, const coro_slice *name)
{
    say(c, "*3\r\n");
    text_add_bulk(&c->out, what, strlen(what));
    if (name)
        text_add_bulk(&c->out, name->data, name->len);
    else
        say(c, "$-1\r\n");
    say_number(c, c->channels);
}

static const char *do_subscribe(client *c, const coro_slice *arg, int n)
{
    for (int i = 1; i < n; i++) {
        if (!subscription_find(c, arg[i]) && !subscribe(c, arg[i]))
            return NO_MEMORY;
        say_subscribed(c, "subscribe", &arg[i]);
    }
    return NULL;
}

static const char *do_unsubscribe(client *c, const coro_slice *arg, int n)
{
    for (int i = 1; i < n; i++) {
        struct subscription *s = subscription_find(c, arg[i]);
        if (s)
            unsubscribe(s);
        say_subscribed(c, "unsubscribe", &arg[i]);
    }
    if (n == 1 && !c->subs)
        say_subscribed(c, "unsubscribe", NULL);
    while (n == 1 && c->subs) {
        struct channel *channel = c->subs->channel;
        coro_slice name = {channel->name, channel->node.length};
        c->channels--; /* as it will be: the name goes with the channel */
        say_subscribed(c, "unsubscribe", &name);
        c->channels++;
        unsubscribe(c->subs);
    }
    return NULL;
}

static const char *do_publish(client *c, const coro_slice *arg, int n)
{
    (void)n;
    say_number(c, publish(arg[1], arg[2]));
    return NULL;
}

static const struct command {
    const char *name;
    int least, most; /* arguments, with the name */
    bool listening;  /* also while it is subscribed */
    /* gives an answer, or null: it has put one into c->out */
    const char *(*run)(client *c, const coro_slice *arg, int n);
} commands[] = {
    {"get", 2, 2, false, do_get},
    {"set", 3, 8, false, do_set},
    {"incr", 2, 2, false, do_incr},
    {"decr", 2, 2, false, do_incr},
    {"del", 2, MAX_ARGS, false, do_count},
    {"exists", 2, MAX_ARGS, false, do_count},
    {"expire", 3, 3, false, do_expire},
    {"pexpire", 3, 3, false, do_expire},
    {"ttl", 2, 2, false, do_ttl},
    {"pttl", 2, 2, false, do_ttl},
    {"keys", 2, 2, false, do_keys},
    {"dbsize", 1, 1, false, do_dbsize},
    {"flushall", 1, 2, false, do_flush},
    {"ping", 1, 2, true, do_ping},
    {"echo", 2, 2, false, do_ping},
    {"info", 1, 2, false, do_info},
    {"command", 1, MAX_ARGS, false, do_command},
    {"config", 2, MAX_ARGS, false, do_config},
    {"client", 2, MAX_ARGS, false, do_client},
    {"select", 2, 2, false, do_select},
    {"quit", 1, 1, true, do_quit},
    {"subscribe", 2, MAX_ARGS, true, do_subscribe},
    {"unsubscribe", 1, MAX_ARGS, true, do_unsubscribe},
    {"publish", 3, 3, false, do_publish},
};

static void run(client *c, const coro_slice *arg, int n)
{
    const struct command *command = commands, *end = commands + sizeof commands / sizeof *commands;
    const char *answer;
    char text[160];
    while (command < end && !is(arg[0], command->name))
        command++;
    commands_done++;
    if (command < end && n >= command->least && n <= command->most &&
        (command->listening || !c->channels)) {
        answer = command->run(c, arg, n);
    } else {
        (void)snprintf(text, sizeof text,
                       command == end ? "-ERR unknown command '%.*s'\r\n"
                       : c->channels && !command->listening
                           ? "-ERR Can't execute '%.*s': subscribed to channels\r\n"
                           : "-ERR wrong number of arguments for '%.*s' command\r\n",
                       (int)(arg[0].len < 64 ? arg[0].len : 64), arg[0].data);
        answer = text;
    }
    if (answer)
        say(c, answer);
}

/* ---- the protocol ------------------------------------------------------------------------------ */

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
static int parse_inline(client *c, char *at, const char *end, coro_slice *arg, int *n)
{
    char *stop = memchr(at, '\n', (size_t)(end - at));
    if (!stop)
        return end - at > MAX_INLINE ? -1 : 0;
    c->from = (size_t)(stop + 1 - c->in.data);
    *n = 0;
    while (at < stop && *n < MAX_ARGS) {
        char *word = at;
        while (at < stop && !isspace((unsigned char)*at))
            at++;
        if (at > word)
            arg[(*n)++] = (coro_slice){word, (size_t)(at - word)};
        at += at < stop;
    }
    return 1;
}

/* The next command: 1; 0: more has to come; -1: it is malformed. */
static int parse(client *c, coro_slice *arg, int *n)
{
    char *at = c->in.data + c->from, *end = c->in.data + c->in.length;
    int64_t count, length;
    int rc;
    if (at == end)
        return 0;
    if (*at != '*')
        return parse_inline(c, at, end, arg, n);
    at++;
    rc = parse_length(&at, end, MAX_ARGS, &count);
    for (*n = 0; rc > 0 && *n < count; ++*n) {
        if (at == end)
            return 0;
        if (*at++ != '$')
            return -1;
        rc = parse_length(&at, end, MAX_REQUEST, &length);
        if (rc <= 0)
            return rc;
        if (end - at < length + 2)
            return 0;
        if (at[length] != '\r' || at[length + 1] != '\n')
            return -1;
        arg[*n] = (coro_slice){at, (size_t)length};
        at += length + 2;
    }
    if (rc > 0)
        c->from = (size_t)(at - c->in.data);
    return rc;
}

/* Do what has come; true: there is more, when these answers have been written. */
static bool run_all(client *c)
{
    static coro_slice arg[MAX_ARGS];
    int n;
    while (!c->quit && c->out.length < OUT_ENOUGH) {
        int rc = parse(c, arg, &n);
        if (rc == 0)
            return false;
        if (rc > 0 && n > 0)
            run(c, arg, n);
        if (rc < 0)
            say(c, "-ERR Protocol error\r\n");
        c->quit = c->quit || rc < 0;
    }
    return !c->quit;
}

/* Make room to read: an empty buffer is begun anew, a full one moved to its front, or grown. */
static bool make_room(client *c)
{
    struct text *in = &c->in;
    if (c->from && (c->from == in->length || in->length == in->room)) {
        memmove(in->data, in->data + c->from, in->length - c->from);
        in->length -= c->from;
        c->from = 0;
    }
    return in->length < MAX_REQUEST && text_reserve(in, 1);
}

CORO(session)
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
            my->again = run_all(my);
            if (my->out.lost)
                CORO_FAIL(-ENOMEM);
            if (my->channels && !my->writing) {
                my->writing = true;
                coro_spawn(&my->g, writer, .c = my);
            }
            if (my->writing) {
                coro_event_clear(&my->written);
                coro_event_set(&my->more);
                CORO_TRY(coro_event_wait(co, &my->written));
            } else if (my->out.length) {
                CORO_TRY(coro_within(co, WRITE_LIMIT, coro_write(co, &my->conn, my->out.data,
                                                                 my->out.length)));
                text_free(&my->out);
            }
        } while (my->again);
    }
CORO_FINALLY:
    while (my->subs)
        unsubscribe(my->subs);
    coro_event_set(&my->more);
    if (!my->quit)
        coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    coro_close(&my->conn);
    text_free(&my->in);
    text_free(&my->out);
    CORO_END(0);
}

/* ---- the program ------------------------------------------------------------------------------- */

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
    CORO_TRY(coro_serve(co, &server, &my->listener, conn, session));
    coro_group_cancel(&my->g);
CORO_FINALLY:
    CORO_CLOSE(&my->g);
    coro_close(&my->listener);
    CORO_END(0);
}

int main(int argc, char **argv)
{
    int rc;
    if (!table_init(&keys) || !table_init(&channels) || getentropy(&seed, sizeof seed) < 0)
        return 1;
    rc = coro_main(app, .address = argc > 1 ? argv[1] : NULL);
    (void)do_flush(NULL, NULL, 0);
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
 *   -ERR Can't execute 'GET': subscribed to channels
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
