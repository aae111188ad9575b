"""A server in this process and clients in others: lines are echoed with a digest, long blocks are echoed whole."""

import asyncio
import hashlib
import multiprocessing
import socket
import sys

BLOCK = bytes(range(256)) * 2048  # Larger than what the sockets' buffers take at once.


async def serve(reader, writer):
    while line := await reader.readline():
        word, number = line.split()
        if word == b"block":
            writer.write(await reader.readexactly(int(number)))
        else:
            writer.write(hashlib.sha256(number * 500).hexdigest().encode() + b"\n")
        await writer.drain()
    writer.close()


def exchange_block(connection, stream):
    connection.sendall(b"block %d\n" % len(BLOCK))
    sender = multiprocessing.Process(target=connection.sendall, args=(BLOCK,))
    sender.start()
    echoed = stream.read(len(BLOCK))
    sender.join()
    return echoed == BLOCK and sender.exitcode == 0


def client(number, port, count):
    digest = hashlib.sha256()
    for n in range(count):
        if n % 100 == 0:
            connection = socket.create_connection(("127.0.0.1", port))
            stream = connection.makefile("rb")
            if not exchange_block(connection, stream):
                sys.exit(1)
        connection.sendall(b"line %d\n" % (n * 10 + number))
        digest.update(stream.readline())
        if n % 100 == 99:
            stream.close()
            connection.close()
    with open(f"client.{number}", "w") as file:
        print(digest.hexdigest(), file=file)


async def main():
    count = int(sys.argv[1])
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clients = [multiprocessing.get_context("fork").Process(target=client, args=(n, port, count)) for n in range(3)]
    for process in clients:
        process.start()
    for process in clients:
        await asyncio.to_thread(process.join)
        print("client ended with", process.exitcode, flush=True)
    server.close()
    await server.wait_closed()
    return 15


sys.exit(asyncio.run(main()))
