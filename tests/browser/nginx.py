"""A real nginx for tests of the app behind a proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.browser import support

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def scale_conf(folder: Path, port: int, addresses: list[str]) -> str:
    """The configuration for several apps that users get, with the addresses and folders of a test.

    Responses say in ``X-App`` which app they come from.
    """
    text = (support.ROOT / "nginx.scale.conf").read_text(encoding="utf-8")
    servers = re.compile(r"( *server )app\d+:7860( .*\n)(?: *server app\d+:7860 .*\n)*")
    text = servers.sub(lambda m: "".join(f"{m[1]}{address}{m[2]}" for address in addresses), text)
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    text = text.replace(
        "proxy_pass http://apps;", "proxy_pass http://apps; add_header X-App $upstream_addr always;"
    )
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in _TEMPORARY)
    text = text.replace("http {", f"http {{\naccess_log off;\n{paths}")
    return f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n{text}"


@contextmanager
def running_nginx(folder: Path, conf: Callable[[int], str], *, login: str) -> Iterator[str]:
    """Start nginx in a folder; yield its address, without a slash, once it answers.

    Skips the tests where there is no nginx, but not in CI.

    Args:
        conf: returns the configuration, given the port.
        login: the path of the app's login page.
    """
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin")
    if nginx is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have an nginx")
        pytest.skip("needs an nginx")
    port = support.free_port()
    file, log = folder / "nginx.conf", folder / "error.log"
    file.write_text(conf(port))
    process = subprocess.Popen(
        [nginx, "-e", str(log), "-c", str(file), "-g", "daemon off; master_process off;"]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}{login}", trust_env=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)
