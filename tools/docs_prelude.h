/* What the examples in the headers' comments use without saying so: tools/docs.py compiles them
 * after this, each as the body of a coroutine whose frame has these members. */
#include "coro_io.h"
#include "coro_sync.h"

#include <assert.h>

struct job {
    int id, urgency;
};
typedef CORO_QUEUE(struct job, 20) job_queue;
typedef CORO_TOPIC(struct job, 4) job_topic;
typedef CORO_MAILBOX(struct job, 20) job_mailbox;
struct db {
    int number;
};
typedef CORO_POOL(struct db, 8) some_pool;

/* Coroutines. */
struct nap {
    CORO_FRAME;
};
struct rest {
    CORO_FRAME;
};
struct say_goodbye {
    CORO_FRAME;
};
CORO_DECLARE(say_goodbye);
struct load_config {
    CORO_FRAME;
};
CORO_DECLARE(load_config);
struct db_open {
    CORO_FRAME;
    struct db *db;
};
CORO_DECLARE(db_open);
struct worker {
    CORO_FRAME;
    job_queue *q;
};
CORO_DECLARE(worker);
struct fetch {
    CORO_FRAME;
    const char *url;
    int id;
};
CORO_DECLARE(fetch);
struct handle {
    CORO_FRAME;
    int n;
};
CORO_DECLARE(handle);
struct walk {
    CORO_FRAME;
    const char *dir;
};
CORO_DECLARE(walk);
struct pages {
    CORO_FRAME;
    int from, item;
};
CORO_DECLARE(pages);
struct app {
    CORO_FRAME;
    int port;
};
CORO_DECLARE(app);
struct echo {
    CORO_FRAME;
    coro_fd conn;
    const char *greeting;
};
CORO_DECLARE(echo);

/* An object of one's own; see >>operation. */
struct gate {
    coro_waitq waiting;
    bool open;
};
static struct gate gate, other;
static const coro_ops gate_ops = {"gate", NULL, NULL};

/* Another one; see >>line. */
struct letterbox {
    coro_line line;
    int letter;
    bool full;
};
static struct letterbox box, box2;
bool letter_attempt(coro_case *c, coro_task *co);

/* What a coro_cond is for. */
struct pot {
    coro_mutex lock;
    coro_cond changed;
    bool full;
};

static coro_loop loop;
static coro_portal portal;
static job_queue jobs;
static int rc;

/* Others' functions. */
void use(int);
void db_close(struct db *db);
void tidy_up(void);
void host_wait(coro_time);
int ms_until(coro_time);
void chip_park(void *arg, coro_loop *loop, coro_time until);
void interrupts_off(void);
void interrupts_on(void);
void wait_for_interrupt(void);
bool hash_more(void *file);
int PQsocket(void *db);
intptr_t look_up(coro_job *job, void *arg);
static const char *const argv[] = {"true", NULL};

/* The members that examples use. */
struct docs_members {
    coro_group g;
    coro_scope scope, limit, shield;
    coro_context id;
    CORO_TASK(worker) w[5], t;
    CORO_GEN(pages) gen;
    struct fetch sub, f;
    struct say_goodbye bye;
    struct load_config load;
    struct db_open open;
    coro_loop *loop;
    coro_post_node node;
    coro_note note;
    coro_around *around;
    coro_time next, end, late, left, age, born;
    coro_count alive;
    struct job *big;
    const char *dir;
    int i, rc, page;
    long n;
    bool got, again, mine, fresh;

    coro_event ready, quit;
    coro_promise answer;
    coro_once *config_once;
    coro_mutex lock;
    coro_cond changed;
    struct pot *pot;
    coro_rwlock table;
    coro_sem slots;
    coro_barrier start;
    job_queue q;
    job_topic *news;
    coro_sub place;
    struct job item, old, batch[10];
    uint8_t byte;
    coro_case cases[2];
    uint32_t seed;
    coro_backoff backoff;
    const char *url;
    coro_rate rate;
    coro_breaker *breaker;
    some_pool *pool;
    struct db *db;
    int busy;

    coro_fd conn, listener, terminal, udp, sock, from, to;
    char head[16], buf[4096], in[4096], out[4096], text[100];
    struct iovec iov[2];
    int events, status;
    coro_address address, addresses[8];
    coro_datagram datagram;
    coro_parcel parcel;
    coro_file_part part;
    coro_stream s;
    coro_slice line;
    coro_server server;
    char *file;
    void *request;
    coro_dial dial;
    job_mailbox *box, *box2;
    coro_file log;
    struct stat st;
    coro_signals sig;
    coro_process p;
    struct coro_process_task run;
    coro_output said;
};
