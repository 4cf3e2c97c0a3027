/* chat.c -- a chat server: who connects says a name, then what each one writes goes to all others.
 *
 *     chat [-c connections] listen          chat 127.0.0.1:7000, then: nc 127.0.0.1 7000
 *
 * All that is said is in one topic, which keeps the last KEPT messages. Each client goes through it
 * at its own pace: one that is too slow is told how much it has missed, and holds up nobody. Who
 * takes nothing at all for STUCK is put out. SIGTERM or Ctrl-C: everyone is told, then it ends.
 * Without arguments it shows itself. */
#include "coro_io.h"
#include "coro_sync.h"
#include <ctype.h>
#include <stdio.h>

#define CONNECTIONS 1000      /* at once, by default; more wait in the kernel */
#define NAME_MOST 20          /* letters, digits, - and _ */
#define LINE_MOST 400         /* a longer line becomes several */
#define KEPT 256              /* messages, for those who are slow */
#define UNSENT 32768          /* bytes that the kernel keeps for a client */
#define NAME_TIME CORO_S(60)  /* to say a name */
#define STUCK CORO_S(30)      /* in which not a single message could be written */
#define DRAIN CORO_S(2)       /* for the farewells */

struct message {
    unsigned from; /* the client's number; 0: nobody's */
    unsigned length;
    char text[NAME_MOST + LINE_MOST + 40];
};

typedef CORO_TOPIC(struct message, KEPT) topic;

/* Who has a name, in a ring through the room. */
struct member {
    char name[NAME_MOST + 1];
    struct member *next, *prev;
};

struct room {
    topic said;
    struct member members; /* the ring's head */
    unsigned clients;      /* so far */
    coro_server server;
};

__attribute__((format(printf, 3, 4)))
static void say(struct room *room, unsigned from, const char *format, ...)
{
    struct message m = {.from = from};
    va_list list;
    va_start(list, format);
    m.length = (unsigned)vsnprintf(m.text, sizeof m.text, format, list);
    va_end(list);
    (void)coro_topic_publish(&room->said, &m); /* never waits; closed: nobody is to hear it */
}

/* ---- names ------------------------------------------------------------------------------- */

/* Is this a good name, and free? */
static bool name_take(struct room *room, struct member *m, coro_slice name)
{
    if (name.len == 0 || name.len > NAME_MOST)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.data[i]) && name.data[i] != '-' && name.data[i] != '_')
            return false;
    }
    memcpy(m->name, name.data, name.len);
    m->name[name.len] = 0;
    for (struct member *at = room->members.next; at != &room->members; at = at->next) {
        if (strcmp(at->name, m->name) == 0)
            return false;
    }
    m->next = &room->members;
    m->prev = room->members.prev;
    m->prev->next = m->next->prev = m;
    return true;
}

static void name_give_back(struct member *m)
{
    if (!m->next)
        return;
    m->next->prev = m->prev;
    m->prev->next = m->next;
    m->next = NULL;
}

/* ---- a client ---------------------------------------------------------------------------- */

/* What is said goes to the client. */
struct hear {
    CORO_FRAME;
    struct room *room;
    coro_stream *s;
    coro_sub *sub;
    coro_group *client; /* this task's */
    unsigned number;
    struct message m;
    bool got;
};

CORO(hear)
{
    CORO_BEGIN();
    for (;;) {
        if (my->sub->next == my->room->said.head.sent) /* nothing more just now */
            CORO_TRY(coro_within(co, STUCK, coro_stream_flush(co, my->s)));
        CORO_TRY(my->got, coro_topic_next(co, &my->room->said, my->sub, &my->m));
        if (!my->got)
            break; /* the room is closed */
        if (my->sub->missed)
            CORO_TRY(coro_within(co, STUCK,
                                 coro_stream_printf(co, my->s, "* you have missed %llu messages\n",
                                                    (unsigned long long)my->sub->missed)));
        if (my->m.from != my->number)
            CORO_TRY(coro_within(co, STUCK,
                                 coro_stream_write(co, my->s, my->m.text, my->m.length)));
    }
    CORO_TRY(coro_within(co, STUCK, coro_stream_flush(co, my->s)));
    coro_group_cancel(my->client); /* the other half is in the middle of a read */
    CORO_END(0);
}

/* The client is asked for a name until it has one. */
struct enter {
    CORO_FRAME;
    struct room *room;
    coro_stream *s;
    struct member *member;
    coro_slice line;
    bool got;
};

CORO(enter)
{
    CORO_BEGIN();
    CORO_TRY(coro_stream_printf(co, my->s, "* your name?\n"));
    for (;;) {
        CORO_TRY(my->got, coro_stream_read_line(co, my->s, &my->line)); /* flushes */
        if (!my->got)
            CORO_FAIL(-EPIPE);
        if (name_take(my->room, my->member, my->line))
            break;
        CORO_TRY(coro_stream_printf(co, my->s, "* not that one; your name?\n"));
    }
    CORO_TRY(coro_stream_printf(co, my->s, "* welcome, %s\n", my->member->name));
    CORO_END(0);
}

struct client {
    CORO_FRAME;
    coro_fd conn; /* filled in by coro_serve */
    struct room *room;
    unsigned number;
    struct member member;
    struct enter enter;
    coro_scope limit;
    coro_sub sub;
    coro_group both; /* this body speaks, a task hears */
    CORO_TASK(hear) hear;
    coro_stream s;
    coro_slice line;
    char in[4096], out[8192];
    int got;
};

/* Says a line. A terminal would obey control characters. */
static void client_says(const struct client *my)
{
    for (size_t i = 0; i < my->line.len; i++) {
        if ((unsigned char)my->line.data[i] < ' ' || my->line.data[i] == 127)
            my->line.data[i] = '?';
    }
    say(my->room, my->number, "%s: %.*s\n", my->member.name, (int)my->line.len, my->line.data);
}

/* So that what cannot be sent is in our topic, where it is counted, not in the kernel. */
static int client_unsent(const coro_fd *conn)
{
    int size = UNSENT;
    return setsockopt(coro_fd_number(conn), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

CORO(client)
{
    CORO_BEGIN();
    my->number = ++my->room->clients;
    CORO_TRY(client_unsent(&my->conn) < 0 ? -errno : 0);
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    my->s.limit = LINE_MOST;
    CORO_TRY(coro_call_within(co, &my->limit, NAME_TIME, &my->enter, enter, .room = my->room,
                              .s = &my->s, .member = &my->member));
    say(my->room, my->number, "* %s has joined\n", my->member.name);
    CORO_TRY(coro_topic_subscribe(&my->room->said, &my->sub));
    coro_group_open(co, &my->both, CORO_ALL);
    coro_start(&my->both, &my->hear, hear, .room = my->room, .s = &my->s, .sub = &my->sub,
               .client = &my->both, .number = my->number);
    for (;;) {
        CORO_AWAIT(my->got, coro_stream_read_line(co, &my->s, &my->line));
        if (my->got != -EMSGSIZE)
            CORO_TRY(my->got);
        if (my->got == 0)
            break;
        client_says(my);
        if (my->got == -EMSGSIZE) /* it goes on in the next line */
            coro_stream_skip(&my->s, my->line.len);
    }
    coro_group_cancel(&my->both);
CORO_FINALLY:
    CORO_CLOSE(&my->both);
    coro_topic_unsubscribe(&my->room->said, &my->sub);
    if (my->member.next)
        say(my->room, my->number, "* %s has left\n", my->member.name);
    name_give_back(&my->member);
    coro_close(&my->conn);
    CORO_END(0);
}

/* ---- the room ---------------------------------------------------------------------------- */

/* When all is cancelled: clients are shielded from that by their server, but their room closes. */
struct closer {
    CORO_FRAME;
    coro_fd *listener;
    struct room *room;
};

CORO(closer)
{
    CORO_BEGIN();
    CORO_TRY(coro_sleep(co, CORO_FOREVER));
CORO_FINALLY:
    coro_close(my->listener); /* new ones are refused */
    say(my->room, 0, "* the room is closed\n");
    coro_topic_close(&my->room->said);
    CORO_END(0);
}

struct serve {
    CORO_FRAME;
    struct room *room;
    coro_fd *listener;
    coro_group g;
};

CORO(serve)
{
    CORO_BEGIN();
    my->room->members.next = my->room->members.prev = &my->room->members;
    coro_group_open(co, &my->g, CORO_ALL);
    coro_spawn(&my->g, closer, .room = my->room, .listener = my->listener);
    CORO_TRY(coro_serve(co, &my->room->server, my->listener, conn, client, .room = my->room));
CORO_FINALLY:
    coro_group_cancel(&my->g);
    CORO_CLOSE(&my->g);
    CORO_END(0);
}

struct app {
    CORO_FRAME;
    struct room *room;
    const char *address;
    coro_fd listener;
    struct serve serve;
};

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, my->address, 0));
    CORO_TRY(coro_call(co, &my->serve, serve, .room = my->room, .listener = &my->listener));
CORO_FINALLY:
    coro_close(&my->listener);
    CORO_END(0);
}

/* ---- the show ---------------------------------------------------------------------------- */

enum { FLOOD = 5000 };

/* Comes, says something so many times, and stays until it has heard, or missed, so many messages;
 * or until it is told that the room is closed. */
struct guest {
    CORO_FRAME;
    const coro_address *to;
    const char *name, *line;
    int times, messages;
    bool aloud;            /* print what comes */
    bool late;             /* do not read until the flood is over */
    const struct room *room;
    int *entered;
    coro_fd conn;
    coro_stream s;
    coro_slice text;
    char in[1024], out[1024];
    int i, heard, missed;
    bool got;
};

static void guest_counts(struct guest *my)
{
    int n;
    my->text.data[my->text.len] = 0; /* over the line's end */
    if (my->aloud)
        printf("%s hears: %s\n", my->name, my->text.data);
    if (sscanf(my->text.data, "* you have missed %d", &n) == 1)
        my->missed += n;
    else
        my->heard++;
}

CORO(guest)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->to));
    CORO_TRY(coro_stream_open(&my->s, &my->conn, my->in, sizeof my->in, my->out, sizeof my->out));
    CORO_TRY(coro_stream_printf(co, &my->s, "%s\n", my->name));
    CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->text)); /* the question */
    CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->text)); /* the welcome */
    ++*my->entered;
    for (; my->i < my->times; my->i++)
        CORO_TRY(coro_stream_printf(co, &my->s, "%s\n", my->line));
    CORO_TRY(coro_stream_flush(co, &my->s));
    while (my->late && my->room->said.head.sent < FLOOD)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    while (my->heard + my->missed < my->messages) {
        CORO_TRY(my->got, coro_stream_read_line(co, &my->s, &my->text));
        if (!my->got)
            break;
        guest_counts(my);
    }
    if (my->late)
        printf("%s has heard some and missed some: %s; all in all %d messages\n", my->name,
               my->heard && my->missed ? "yes" : "no", my->heard + my->missed);
CORO_FINALLY:
    coro_close(&my->conn);
    CORO_END(0);
}

struct show {
    CORO_FRAME;
    coro_fd listener;
    coro_address address;
    struct room room;
    coro_group servers, guests;
    CORO_TASK(serve) serve;
    CORO_TASK(guest) ann, bob, cleo;
    int entered;
};

CORO(show)
{
    CORO_BEGIN();
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->address));
    my->room.server.drain = DRAIN;
    coro_group_open(co, &my->servers, CORO_ALL);
    coro_start(&my->servers, &my->serve, serve, .room = &my->room, .listener = &my->listener);
    coro_group_open(co, &my->guests, CORO_ALL);

    coro_start(&my->guests, &my->ann, guest, .to = &my->address, .name = "ann",
               .entered = &my->entered, .aloud = true, .messages = 3);
    while (my->entered < 1)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_start(&my->guests, &my->bob, guest, .to = &my->address, .name = "bob",
               .entered = &my->entered, .line = "hello, \a ann", .times = 1);
    CORO_TRY(coro_join(co, &my->ann));
    CORO_TRY(coro_join(co, &my->bob));

    coro_start(&my->guests, &my->cleo, guest, .to = &my->address, .name = "cleo",
               .entered = &my->entered, .late = true, .messages = FLOOD + 2, .room = &my->room);
    while (my->entered < 3)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_start(&my->guests, &my->bob, guest, .to = &my->address, .name = "bob",
               .entered = &my->entered, .times = FLOOD,
               .line = "if I say this often enough, then everybody will believe it, I believe; "
                       "and if not, they will at least have had to read it, again and again");
    CORO_TRY(coro_join(co, &my->cleo));
    while (my->room.server.handlers.alive)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));

    coro_start(&my->guests, &my->ann, guest, .to = &my->address, .name = "ann",
               .entered = &my->entered, .aloud = true, .messages = 2);
    while (my->entered < 5)
        CORO_TRY(coro_sleep(co, CORO_MS(1)));
    coro_task_cancel(&my->serve);
    CORO_CLOSE(&my->guests);
CORO_FINALLY:
    CORO_CLOSE(&my->guests);
    CORO_CLOSE(&my->servers);
    coro_close(&my->listener);
    printf("%u clients, %u left\n", my->room.clients, (unsigned)my->room.server.handlers.alive);
    CORO_END(0);
}

int main(int argc, char **argv)
{
    static struct room room = {.server = {.limit = CONNECTIONS, .drain = DRAIN}};
    int option, rc;
    if (argc == 1)
        return coro_run(show) < 0;
    while ((option = getopt(argc, argv, "c:")) != -1) {
        int n = option == 'c' ? atoi(optarg) : 0;
        if (n > 0)
            room.server.limit = (coro_count)n;
        else
            optind = argc + 1;
    }
    if (argc - optind != 1) {
        fprintf(stderr, "usage: chat [-c connections] listen\n");
        return 2;
    }
    rc = coro_run(app, .room = &room, .address = argv[optind]);
    if (rc == -EINTR)
        return 0; /* stopped, as it should be */
    fprintf(stderr, "chat: %s\n", strerror(-rc));
    return 1;
}

/* Output:
 *   ann hears: * bob has joined
 *   ann hears: bob: hello, ? ann
 *   ann hears: * bob has left
 *   cleo has heard some and missed some: yes; all in all 5002 messages
 *   ann hears: * the room is closed
 *   5 clients, 0 left
 */
