/* tls.h -- TLS with OpenSSL, over a coro_fd. OpenSSL is given memory instead of sockets, and a
 * coroutine moves the bytes: so every operation can be cancelled, and have a deadline. */
#ifndef TLS_H
#define TLS_H

#include "coro_io.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

struct tls {
    SSL *ssl;
    BIO *in, *out; /* what came from the network, what is to go there; the SSL's */
    coro_fd *conn;
    char bytes[4096];
};

/* Also on an error: SSL_free(t->ssl), in the end. */
static inline int tls_open(struct tls *t, SSL_CTX *context, coro_fd *conn)
{
    t->conn = conn;
    t->ssl = SSL_new(context);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        BIO_free(t->in);
        BIO_free(t->out);
        return -ENOMEM;
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    return 0;
}

enum tls_what { TLS_HANDSHAKE, TLS_READ, TLS_WRITE, TLS_END };

/* One attempt: what OpenSSL says. */
static inline int tls_try(SSL *ssl, enum tls_what what, void *data, int n)
{
    ERR_clear_error();
    switch (what) {
    case TLS_HANDSHAKE:
        return SSL_do_handshake(ssl);
    case TLS_READ:
        return SSL_read(ssl, data, n);
    case TLS_WRITE:
        return SSL_write(ssl, data, n);
    default:
        return SSL_shutdown(ssl) < 0 ? -1 : 1; /* not waiting for the other side's */
    }
}

struct tls_do { /* any of them: a number of bytes; 0: the end */
    CORO_FRAME;
    struct tls *t;
    enum tls_what what;
    void *data;
    int n, done, error, bytes;
};

CORO(tls_do)
{
    CORO_BEGIN();
    do {
        my->done = tls_try(my->t->ssl, my->what, my->data, my->n);
        my->error = SSL_get_error(my->t->ssl, my->done);
        for (;;) {
            my->bytes = BIO_read(my->t->out, my->t->bytes, sizeof my->t->bytes);
            if (my->bytes <= 0)
                break;
            CORO_TRY(coro_write(co, my->t->conn, my->t->bytes, (size_t)my->bytes));
        }
        if (my->error == SSL_ERROR_WANT_READ) {
            CORO_TRY(my->bytes, coro_read(co, my->t->conn, my->t->bytes, sizeof my->t->bytes));
            if (my->bytes == 0 || BIO_write(my->t->in, my->t->bytes, my->bytes) != my->bytes)
                CORO_FAIL(-ECONNRESET); /* no end without a farewell */
        }
    } while (my->error == SSL_ERROR_WANT_READ);
    if (my->error != SSL_ERROR_NONE && my->error != SSL_ERROR_ZERO_RETURN)
        CORO_FAIL(-EPROTO); /* ERR_get_error says why */
    CORO_END(my->error == SSL_ERROR_NONE ? my->done : 0);
}

#endif /* TLS_H */
