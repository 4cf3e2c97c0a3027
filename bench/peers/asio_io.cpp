// asio_io.cpp -- the echo with Asio: an awaitable for each connection, on one thread.
#include "../bench_io.h"
#include <asio.hpp>

using asio::ip::tcp;

static asio::awaitable<void> echo(tcp::socket conn)
{
    char buffer[BENCH_BUFFER];

    try {
        for (;;) {
            std::size_t n = co_await conn.async_read_some(asio::buffer(buffer),
                                                          asio::use_awaitable);
            co_await asio::async_write(conn, asio::buffer(buffer, n), asio::use_awaitable);
        }
    } catch (const std::system_error &) { // the end
    }
}

static asio::awaitable<void> accept_all(tcp::acceptor listener)
{
    for (;;) {
        tcp::socket conn = co_await listener.async_accept(asio::use_awaitable);
        asio::co_spawn(listener.get_executor(), echo(std::move(conn)), asio::detached);
    }
}

int main(int argc, char **argv)
{
    asio::io_context context(1);

    if (argc != 2 || strcmp(argv[1], "echo"))
        return 2;
    asio::co_spawn(context, accept_all(tcp::acceptor(context, tcp::v4(), bench_listen())),
                   asio::detached);
    context.run();
    return 0;
}
