/* tls.c -- an echo server that speaks TLS and its clients, one of which does not trust it. Needs
 * TLS_FOLDER with key.pem and cert.pem, for localhost. */
#include "tls.h"
#include <stdio.h>
#include <stdlib.h>

struct echo {
    CORO_FRAME;
    coro_fd conn;
    SSL_CTX *context;
    struct tls t;
    struct tls_do sub;
    char data[1000];
    int n;
};

CORO(echo)
{
    CORO_BEGIN();
    CORO_TRY(tls_open(&my->t, my->context, &my->conn));
    SSL_set_accept_state(my->t.ssl);
    CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_HANDSHAKE));
    for (;;) {
        CORO_TRY(my->n, coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_READ,
                                  .data = my->data, .n = sizeof my->data));
        if (my->n == 0)
            break;
        CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_WRITE,
                           .data = my->data, .n = my->n));
    }
    CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_END));
CORO_FINALLY:
    SSL_free(my->t.ssl);
    coro_close(&my->conn);
    CORO_END(0);
}

struct server {
    CORO_FRAME;
    coro_fd *listener;
    coro_server *state;
    SSL_CTX *context;
};

CORO(server)
{
    CORO_BEGIN();
    CORO_TRY(coro_serve(co, my->state, my->listener, conn, echo, .context = my->context));
    CORO_END(0);
}

struct client { /* sends 100,000 bytes and wants them back */
    CORO_FRAME;
    const coro_address *to;
    SSL_CTX *context;
    coro_fd conn;
    struct tls t;
    struct tls_do sub;
    char data[1000], back[1000];
    int i, n, got;
};

CORO(client)
{
    CORO_BEGIN();
    CORO_TRY(coro_connect_to(co, &my->conn, my->to));
    CORO_TRY(tls_open(&my->t, my->context, &my->conn));
    SSL_set_connect_state(my->t.ssl);
    if (!SSL_set1_host(my->t.ssl, "localhost"))
        CORO_FAIL(-ENOMEM);
    CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_HANDSHAKE));
    for (; my->i < 100; my->i++) {
        memset(my->data, my->i, sizeof my->data);
        CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_WRITE,
                           .data = my->data, .n = sizeof my->data));
        for (my->got = 0; my->got < (int)sizeof my->back; my->got += my->n) {
            CORO_TRY(my->n, coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_READ,
                                      .data = my->back + my->got,
                                      .n = (int)sizeof my->back - my->got));
            if (my->n == 0)
                CORO_FAIL(-ECONNRESET);
        }
        if (memcmp(my->data, my->back, sizeof my->data) != 0)
            CORO_FAIL(-EIO);
    }
    CORO_TRY(coro_call(co, &my->sub, tls_do, .t = &my->t, .what = TLS_END));
CORO_FINALLY:
    if (CORO_ERR && my->t.ssl && SSL_get_verify_result(my->t.ssl) != X509_V_OK)
        CORO_ERR = -EACCES;
    SSL_free(my->t.ssl);
    coro_close(&my->conn);
    CORO_END(my->i * (int)sizeof my->data);
}

struct app {
    CORO_FRAME;
    SSL_CTX *ours, *trusting, *wary; /* the server's; clients' that know its certificate, or not */
    coro_fd listener;
    coro_address address;
    coro_server state;
    coro_group servers;
    struct client client;
    int rc;
};

static int make_contexts(struct app *my)
{
    const char *folder = getenv("TLS_FOLDER");
    char key[200], cert[200];
    snprintf(key, sizeof key, "%s/key.pem", folder);
    snprintf(cert, sizeof cert, "%s/cert.pem", folder);
    my->ours = SSL_CTX_new(TLS_server_method());
    my->trusting = SSL_CTX_new(TLS_client_method());
    my->wary = SSL_CTX_new(TLS_client_method());
    if (!my->ours || !my->trusting || !my->wary)
        return -ENOMEM;
    SSL_CTX_set_verify(my->trusting, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify(my->wary, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_use_PrivateKey_file(my->ours, key, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_use_certificate_file(my->ours, cert, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_load_verify_locations(my->trusting, cert, NULL) == 1 ? 0 : -ENOENT;
}

CORO(app)
{
    CORO_BEGIN();
    CORO_TRY(make_contexts(my));
    CORO_TRY(coro_listen(&my->listener, "127.0.0.1:0", 0));
    CORO_TRY(coro_fd_local(&my->listener, &my->address));
    coro_group_open(co, &my->servers, CORO_ALL);
    my->state.drain = CORO_S(5);
    coro_spawn(&my->servers, server, .listener = &my->listener, .state = &my->state,
               .context = my->ours);
    CORO_TRY(my->rc, coro_call(co, &my->client, client, .to = &my->address,
                               .context = my->trusting));
    printf("%d bytes there and back\n", my->rc);
    CORO_AWAIT(my->rc, coro_call(co, &my->client, client, .to = &my->address,
                                 .context = my->wary));
    printf("the wary one: %s\n", my->rc == -EACCES ? "the certificate is not trusted" : "fooled");
    coro_server_stop(&my->state);
CORO_FINALLY:
    CORO_CLOSE(&my->servers);
    printf("%d connections, %d failed\n", (int)my->state.accepted,
           (int)my->state.handlers.failed);
    coro_close(&my->listener);
    SSL_CTX_free(my->ours);
    SSL_CTX_free(my->trusting);
    SSL_CTX_free(my->wary);
    CORO_END(0);
}

int main(void)
{
    return coro_run(app) < 0;
}

/* Output:
 *   100000 bytes there and back
 *   the wary one: the certificate is not trusted
 *   2 connections, 1 failed
 */
