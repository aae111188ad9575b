"""Starts nginx, asks for files from two processes and through wrk, reloads it, and lets it quit."""

import hashlib
import http.client
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time

PORT = int(re.search(r"listen 127.0.0.1:(\d+)", open("nginx.conf").read())[1])


def get(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def wait_for_server():
    while True:
        try:
            return get(http.client.HTTPConnection("127.0.0.1", PORT), "/1")
        except OSError:
            time.sleep(0.02)


def fetch(number, count):
    connection, digest = http.client.HTTPConnection("127.0.0.1", PORT), hashlib.sha256()
    for n in range(count):
        if n % 50 == number:  # Now and then a new connection.
            connection.close()
        path = f"/{'again/' if n % 3 == 0 else ''}{'large' if n % 20 == 0 else n % 5 + 1}"
        status, content = get(connection, path)
        digest.update(f"{path} {status} ".encode() + content)
    with open(f"client.{number}", "w") as file:
        print(digest.hexdigest(), file=file)


def main():
    os.makedirs("temp")
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-p", os.getcwd(), "-c", "nginx.conf"])
    wait_for_server()
    wrk = subprocess.Popen(["wrk", "-t2", "-c8", "-d2s", f"http://127.0.0.1:{PORT}/3"], stdout=subprocess.PIPE, text=True)
    clients = [multiprocessing.Process(target=fetch, args=(n, int(sys.argv[1]))) for n in range(2)]
    for client in clients:
        client.start()
    report = wrk.communicate()[0]
    print("wrk ended with", wrk.returncode, "errors:", re.findall("(Socket errors|Non-2xx).*", report), flush=True)
    for client in clients:
        client.join()
        print("client ended with", client.exitcode, flush=True)
    nginx.send_signal(signal.SIGHUP)
    for _ in range(20):
        time.sleep(0.02)
        print(wait_for_server()[0], flush=True)
    nginx.send_signal(signal.SIGQUIT)
    print("nginx ended with", nginx.wait())
    shutil.rmtree("temp")


if __name__ == "__main__":
    main()
