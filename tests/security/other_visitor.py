"""A visitor that uses the page while another attacks it: a process of its own, so that both are
measured apart. Prints one line of JSON per request until its standard input ends.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time

REQUESTS = {
    "page": ("GET", "/", ""),
    "press": ("POST", "/create/press", json.dumps({"preset": "z_image_turbo", "prompt": ""})),
    "stage": ("GET", "/stage", ""),
    "library": ("GET", "/library?text=harbour", ""),
}
PAUSE_S = 0.04
LONGEST_S = 30.0


def request(port: int, cookie: str, name: str) -> tuple[int, str]:
    """Send one request on a connection of its own; return the status, 0 without one."""
    method, path, body = REQUESTS[name]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    headers = {"Cookie": cookie, "Accept": "text/html" if name == "page" else "*/*"}
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("set-cookie") or ""
    except OSError:
        return 0, ""
    finally:
        connection.close()


def main() -> None:
    port, ended = int(sys.argv[1]), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    cookie = sys.argv[2] if len(sys.argv) > 2 else request(port, "", "page")[1].split(";")[0]
    while not ended.is_set():
        for name in REQUESTS:
            began = time.time()
            status, _ = request(port, cookie, name)
            seconds = time.time() - began
            print(json.dumps([name, began, seconds, status]), flush=True)
            ended.wait(PAUSE_S)


if __name__ == "__main__":
    main()
