"""asyncio_io.py -- the echo with asyncio's streams: a task for each connection."""
import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if len(sys.argv) != 2 or sys.argv[1] != "echo":
    sys.exit(2)
asyncio.run(serve())
