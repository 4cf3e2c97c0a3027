/* libuv_io.c -- the echo with libuv. WITH_WRITE=0: uv_try_write, from one buffer for all. 1: as its
 * guide has it: uv_write with a request and a buffer from malloc. */
#include "../bench_io.h"
#include <uv.h>

#if !defined WITH_WRITE
#define WITH_WRITE 0
#endif /* !defined WITH_WRITE */

static void on_close(uv_handle_t *conn)
{
    free(conn);
}

static void on_alloc(uv_handle_t *conn, size_t wanted, uv_buf_t *to)
{
    static char buffer[BENCH_BUFFER];

    (void)conn;
    (void)wanted;
    *to = uv_buf_init(WITH_WRITE ? malloc(BENCH_BUFFER) : buffer, BENCH_BUFFER);
}

#if WITH_WRITE
static void on_written(uv_write_t *request, int rc)
{
    bench_check(rc == 0 || rc == UV_ECANCELED, "uv_write");
    free(request->data);
    free(request);
}
#endif /* WITH_WRITE */

static void on_data(uv_stream_t *conn, ssize_t n, const uv_buf_t *data)
{
    uv_buf_t out = uv_buf_init(data->base, n > 0 ? (unsigned)n : 0);
#if WITH_WRITE
    if (n > 0) {
        uv_write_t *request = malloc(sizeof *request);

        request->data = data->base;
        bench_check(uv_write(request, conn, &out, 1, on_written) == 0, "uv_write");
        return;
    }
    free(data->base);
#else
    if (n > 0)
        bench_check(uv_try_write(conn, &out, 1) == n, "all goes out at once");
#endif /* WITH_WRITE */
    if (n < 0)
        uv_close((uv_handle_t *)conn, on_close);
}

static void on_connection(uv_stream_t *listener, int rc)
{
    uv_tcp_t *conn = malloc(sizeof *conn);

    bench_check(rc == 0 && uv_tcp_init(listener->loop, conn) == 0, "accept");
    bench_check(uv_accept(listener, (uv_stream_t *)conn) == 0, "accept");
    bench_check(uv_read_start((uv_stream_t *)conn, on_alloc, on_data) == 0, "uv_read_start");
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;

    if (argc != 2 || strcmp(argv[1], "echo"))
        return 2;
    uv_tcp_init(loop, &listener);
    uv_tcp_open(&listener, bench_listen());
    bench_check(uv_listen((uv_stream_t *)&listener, BENCH_BACKLOG, on_connection) == 0, "listen");
    return uv_run(loop, UV_RUN_DEFAULT);
}
