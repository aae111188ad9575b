"""Starts a server, writes through three processes, counts what was acknowledged, and asks for all of it, also after the
server was started again from its log. redis-benchmark runs beside them."""

import multiprocessing
import socket
import subprocess
import sys
import time

SOCKET = "redis.sock"


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.stream = self.socket.makefile("rwb")

    def ask(self, *words):
        text = [str(word).encode() for word in words]
        self.stream.write(b"*%d\r\n" % len(text) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in text))
        self.stream.flush()
        return self.answer()

    def answer(self):
        line = self.stream.readline()
        kind, rest = line[:1], line[1:].strip()
        if kind == b"-" or not line:
            raise RuntimeError(f"redis: {line}")
        if kind == b"$":
            return None if int(rest) < 0 else self.stream.read(int(rest) + 2)[:-2]
        return int(rest) if kind == b":" else rest


def start_server():
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", SOCKET, "--appendonly", "yes", "--save", "",
                               "--logfile", "server.log", "--daemonize", "no"])
    while True:
        try:
            if Client().ask("PING") == b"PONG":
                return server
        except (OSError, RuntimeError):  # Not there yet, or still loading.
            time.sleep(0.02)


def write(number, count):
    client = Client()
    for n in range(count):
        if client.ask("SET", f"key:{number}:{n}", f"{n * n} of {number}") != b"OK":
            sys.exit(f"writer {number}: {n} was not acknowledged")
        client.ask("INCRBY", "total", n)
        if n % 1000 == 999:
            client.ask("RPUSH", f"list:{number}", n)


def check(writers, count):
    client = Client()
    for number in range(writers):
        for n in range(count):
            if client.ask("GET", f"key:{number}:{n}") != f"{n * n} of {number}".encode():
                sys.exit(f"writer {number}: {n} was acknowledged and is not there")
    print("all there, total", int(client.ask("GET", "total")), "expected", writers * count * (count - 1) // 2, flush=True)


def main():
    writers, count = 3, int(sys.argv[1])
    server = start_server()
    processes = [multiprocessing.Process(target=write, args=(number, count)) for number in range(writers)]
    for process in processes:
        process.start()
    client = Client()
    print(client.ask("BGREWRITEAOF").decode())
    benchmark = subprocess.run(["redis-benchmark", "-s", SOCKET, "-q", "-n", str(count * 4), "-c", "8", "-t", "lpush,lpop,incr"],
                               capture_output=True, text=True, check=True)
    print("benchmarks run:", benchmark.stdout.count("requests per second"), flush=True)
    for process in processes:
        process.join()
        print("writer ended with", process.exitcode, flush=True)
    check(writers, count)
    for _ in range(2):
        client = Client()
        client.ask("CONFIG", "SET", "appendfsync", "always")
        client.stream.write(b"SHUTDOWN\r\n")
        client.stream.flush()
        print("server ended with", server.wait(), flush=True)
        server = start_server()
    check(writers, count)
    server.terminate()
    print("server ended with", server.wait())
    subprocess.run(["rm", "-rf", "appendonlydir", "server.log", "dump.rdb", SOCKET], check=True)


if __name__ == "__main__":
    main()
