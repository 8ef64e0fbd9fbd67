"""One hostile visitor at each endpoint while another works.

``python -m tests.security`` prints the table, and ``--attacks TEXT`` some of its rows only.

Each attack runs for a few seconds against the app in a process of its own. The other visitor loads
the page, presses Generate, and reads the stage and the library, each on a new connection. All share
this machine: on two cores, the attacker takes some of the other's time, too.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth.accounts import Accounts, Role
from tests.benchmarks.server import embedded
from tests.browser.support import running_app
from tests.security.test_resource_limits import App, bombs, png
from tests.test_pictures import many_scans
from tests.workflow import media
from tests.workflow.test_guest_workflow import nested_subgraphs

MB = 2**20
PRESET = "z_image_turbo"
RESULTS = 60_000
LONGEST_P95_S = 1.0
LONGEST_RECOVERY_S = 10.0
MOST_MEMORY_MB = 3_000.0
"""Of the app and its processes: three of these may have 2 GB each, but one user's calls come one
after the other."""
HEAD = (
    "| endpoint | attack | answers | other's p50 | p95 | failed | memory | recovery |",
    "|---|---|---|---|---|---|---|---|",
)


class Attacker:
    """Sends requests over plain sockets, which costs it little CPU time; counts the answers."""

    def __init__(self, app: App, cookie: str, seconds: float) -> None:
        self.app = app
        self.cookie = cookie
        self.seconds = seconds
        self.began: float | None = None  # when the attack was prepared, in seconds of the epoch
        self.answers: Counter[int] = Counter()
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def remaining_s(self) -> float:
        """Seconds until the end. The first call begins the attack."""
        if self.began is None:
            self.began = time.time()
        return max(self.began + self.seconds - time.time(), 0.0)

    def request(
        self, method: str, path: str, body: bytes | dict[str, Any] = b"", *, cookie: bool = True
    ) -> bytes:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.app.at[0]}", "Connection: close"]
        if cookie and self.cookie:
            lines.append(f"Cookie: {self.cookie}")
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join((*lines, "", "")).encode() + content

    async def send(self, request: bytes) -> int:
        """Send a request and read its whole answer; return the status, 0 after a disconnect."""
        status = 0
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*self.app.at)
            self.writers.append(writer)
            try:
                writer.write(request)
                line = await reader.readline()
                status = int(line.split()[1]) if line else 0
                while await reader.read(MB):
                    pass
            finally:
                self.writers.remove(writer)
                writer.transport.abort()
        self.answers[status] += 1
        return status

    async def flood(self, *requests: bytes, parallel: int = 32) -> None:
        """Send the requests again and again until the time is over."""

        async def repeat(first: int) -> None:
            while self.remaining_s:
                if not await self.send(requests[first % len(requests)]):
                    await asyncio.sleep(0.01)

        await self.limited(*(repeat(number) for number in range(parallel)))

    async def limited(self, *work: Awaitable[Any]) -> None:
        """Wait for the work, and hang up when the time is over."""
        tasks = [asyncio.ensure_future(each) for each in work]
        _, pending = await asyncio.wait(tasks, timeout=self.remaining_s)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.answers[-1] += len(pending)

    async def open(self, request: bytes = b"") -> None:
        """Open a connection, send part of a request or one with a stream, and keep it."""
        try:
            reader, writer = await asyncio.open_connection(*self.app.at)
        except OSError:
            self.answers[0] += 1
            return
        self.writers.append(writer)
        if request:
            writer.write(request)
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    line = await reader.readline()
                    self.answers[int(line.split()[1]) if line else 0] += 1

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@dataclass(frozen=True)
class Attack:
    """One line of the table."""

    endpoint: str
    name: str
    run: Callable[[Attacker], Awaitable[None]]
    logins: bool = False
    """Whether the app has logins."""
    has_results: bool = False
    """Whether the attacker comes with the browser that has results."""


@dataclass(frozen=True)
class Row:
    """What an attack did to another visitor and to the app."""

    attack: Attack
    answers: Counter[int]
    """By status; 0 is a disconnect, -1 the attacker's."""
    times: dict[str, list[float]]
    failed: int
    """Requests of the other visitor that were not answered with 200."""
    idle_mb: float
    peak_mb: float
    recovery_s: float

    @property
    def line(self) -> str:
        """The row of the table."""
        words = {0: "cut off", -1: "hung up"}
        counts = [f"{n:,} × {words.get(s, s)}" for s, n in self.answers.most_common() if n]
        memory = f"{self.idle_mb:,.0f} → {self.peak_mb:,.0f} MB"
        figures = f"{self.p50 * 1000:,.0f} ms | {self.p95 * 1000:,.0f} ms | {self.failed}"
        return (
            f"| {self.attack.endpoint} | {self.attack.name} | {', '.join(counts) or '-'} "
            f"| {figures} | {memory} | {self.recovery_s:.1f} s |"
        )

    @property
    def harmless(self) -> bool:
        """Whether the other visitor could go on and the app recovered."""
        return (
            self.p95 <= LONGEST_P95_S
            and self.peak_mb <= MOST_MEMORY_MB
            and self.recovery_s <= LONGEST_RECOVERY_S
        )

    @property
    def all_times(self) -> list[float]:
        return sorted(seconds for times in self.times.values() for seconds in times)

    @property
    def p50(self) -> float:
        return quantile(self.all_times, 0.5)

    @property
    def p95(self) -> float:
        return quantile(self.all_times, 0.95)


def quantile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(int(len(times) * share), len(times) - 1)] if times else float("inf")


def picture(kind: str, side: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, kind)
    return file.getvalue()


# Each attack is an async function of the attacker; the list at the end names them.


def flood(
    method: str, path: str, body: Any = b"", **options: Any
) -> Callable[..., Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        parallel = options.get("parallel", 32)
        request = attacker.request(method, path, body, cookie=options.get("cookie", True))
        await attacker.flood(request, parallel=parallel)

    return run


def streams(path: str, count: int = 300) -> Callable[[Attacker], Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        numbered = (path.replace("%", str(number)) for number in range(count))
        await asyncio.gather(*(attacker.open(attacker.request("GET", one)) for one in numbered))
        press = attacker.request("POST", "/create/press", {"preset": PRESET, "prompt": "a fox"})
        await attacker.flood(press, parallel=8)

    return run


async def silent_connections(attacker: Attacker) -> None:
    await attacker.limited(*(attacker.open() for _ in range(1100)))
    await asyncio.sleep(attacker.remaining_s)


async def slow_heads(attacker: Attacker) -> None:
    async def trickle() -> None:
        await attacker.open()
        writer = attacker.writers[-1]
        for letter in b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 1000:
            writer.write(bytes((letter,)))
            await asyncio.sleep(0.05)

    await attacker.limited(*(trickle() for _ in range(400)))


def chunks_of_one_byte(path: str) -> Callable[[Attacker], Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

        async def send() -> None:
            while attacker.remaining_s:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(*attacker.app.at)
                    try:
                        writer.write(head)
                        while True:
                            writer.write(b"1\r\nx\r\n" * 5_000)
                            await writer.drain()
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(0.01)

        await attacker.limited(*(send() for _ in range(8)))

    return run


def stalled_bodies(path: str, size: int) -> Callable[[Attacker], Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size + 1}\r\n\r\n".encode()
        await attacker.limited(*(attacker.open(head + b"x" * size) for _ in range(200)))
        await asyncio.sleep(attacker.remaining_s)

    return run


def large_bodies(path: str) -> Callable[[Attacker], Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {60 * MB}\r\n\r\n".encode()

        async def send() -> None:
            while attacker.remaining_s:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(*attacker.app.at)
                    attacker.writers.append(writer)
                    writer.write(head)
                    for _ in range(240):
                        writer.write(b"x" * (256 * 1024))
                        await writer.drain()
                    line = await reader.readline()
                    attacker.answers[int(line.split()[1]) if line else 0] += 1
                    writer.transport.abort()

        await attacker.limited(*(send() for _ in range(12)))

    return run


async def wrong_passwords(attacker: Attacker) -> None:
    body = b"username=anna&password=wrong"
    lines = "POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded"
    head = f"{lines}{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    await attacker.flood(head + body, parallel=100)


async def json_bodies(attacker: Attacker) -> None:
    bodies = (
        b'{"data":[' + b"[],{}," * 340_000 + b"1]}",
        b'{"data":[' + b'{"a":1},' * 49_000 + b'1],"fn_index":"x"}',
        b"[" * 1_000_000,
        b"[" + b"[],{}," * 2_500_000 + b"1]",
    )
    paths = ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/mcp")
    requests = [attacker.request("POST", path, body) for path in paths for body in bodies]
    await attacker.flood(*requests, parallel=16)


async def grids(attacker: Attacker) -> None:
    letters = ", ".join(["b" * 20] * 100)
    wildcard = {"name": "prompt", "values": "{2$$" + "|".join("ab" * 1900) + "}"}
    requests = [
        {"prompt": "a " * 9_000, "grid": [{"name": "prompt", "values": "a, " + letters}]},
        {"prompt": "a", "grid": [wildcard, {"name": "seed", "values": "1-10000"}]},
        {"prompt": "a", "grid": [{"name": n, "values": "1-64"} for n in ("seed", "steps")]},
        {"prompt": "x" * 200_000, "grid": [{"name": "steps", "values": "1-64"}]},
    ]  # fmt: skip
    bodies = [attacker.request("POST", "/grid", {"preset": PRESET, **one}) for one in requests]
    await attacker.flood(*bodies, parallel=16)


async def presses(attacker: Attacker) -> None:
    prompts = (
        "{16000$$" + "|".join("a" * 9_000) + "}",
        "{" * 4_000 + "a|b" + "}" * 4_000,
        "<lora:x:1>" * 1_900,
        "__x__" * 3_900,
        "(" * 20_000,
    )
    requests = [
        attacker.request("POST", "/create/press", {"preset": PRESET, "prompt": one, "times": 64})
        for one in prompts
    ]
    await attacker.flood(*requests, parallel=16)


async def workflows(attacker: Attacker) -> None:
    wide = {str(n): {"class_type": "KSampler", "inputs": {}} for n in range(20_000)}
    graphs = (nested_subgraphs(9, 8), wide, {"1": {"class_type": "SaveImage", "inputs": {}}})
    path = "/gradio_api/call/v2/run_workflow"
    requests = [attacker.request("POST", path, {"workflow": graph}) for graph in graphs]
    await attacker.flood(*requests, parallel=16)


def calls(name: str, **arguments: Any) -> Callable[[Attacker], Awaitable[None]]:
    """Call an endpoint and wait for its end, 100 at a time."""

    async def run(attacker: Attacker) -> None:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body = {**message, "params": {"name": name, "arguments": arguments}}
        await attacker.flood(attacker.request("POST", "/mcp", body, cookie=False), parallel=100)

    return run


def gradio_events(name: str, **arguments: Any) -> Callable[[Attacker], Awaitable[None]]:
    async def run(attacker: Attacker) -> None:
        path = f"/gradio_api/call/v2/{name}"
        await attacker.flood(attacker.request("POST", path, arguments, cookie=False), parallel=64)

    return run


async def described_images(attacker: Attacker) -> None:
    image = base64.b64encode(png(7_900, 7_900)).decode()
    config = await _get(attacker, "/config")
    numbers = {one["api_name"]: one["id"] for one in json.loads(config)["dependencies"]}
    body = {
        "fn_index": numbers["_describe"],
        "data": [None],
        "event_data": {"picture": f"data:image/png;base64,{image}", "draft": "{}"},
        "session_hash": "attack",
    }
    await attacker.flood(attacker.request("POST", "/gradio_api/queue/join", body), parallel=16)


async def uploads(attacker: Attacker) -> None:
    files = [many_scans(90, 7_000), png(7_900, 7_900), many_scans(8_000), *bombs().values()]
    requests = [attacker.request("POST", "/uploads?role=image", file) for file in files]
    await attacker.flood(*requests, parallel=len(requests))


async def recordings(attacker: Attacker) -> None:
    files = (b"\x1aE\xdf\xa3" + b"\x81" * 3 * MB, b"\0\0\0\x08ftyp" * 300_000, b"RIFF" + b"\0" * MB)
    requests = [attacker.request("POST", "/uploads?role=video", file) for file in files]
    await attacker.flood(*requests, parallel=12)


async def layers(attacker: Attacker) -> None:
    """Ask for the layers of an image of 60 million pixels."""
    uploaded = attacker.request("POST", "/uploads?role=image", picture("PNG", 7_700))
    paint_body = picture("PNG", 7_700)
    reader, writer = await asyncio.open_connection(*attacker.app.at)
    writer.write(uploaded)
    name = json.loads((await reader.read()).partition(b"\r\n\r\n")[2]).get("name", "x")
    writer.close()
    path = f"/uploads/{name}?layer=picture"
    paint = attacker.request("POST", f"/uploads?over={name}", paint_body)
    await attacker.flood(attacker.request("GET", path), paint, parallel=12)


async def drops(attacker: Attacker) -> None:
    wide = {str(n): {"class_type": "KSampler", "inputs": {}} for n in range(20_000)}
    files = (
        media.png({"prompt": json.dumps(wide)}),
        media.png({"workflow": json.dumps(nested_subgraphs(9, 8))}),
        media.png({"prompt": "[" * 1_900_000}),
        media.png({"parameters": "a, " * 600_000}),
        bombs()["compressed text"],
    )
    requests = [attacker.request("POST", "/drops?name=x.png", file) for file in files]
    await attacker.flood(*requests, parallel=12)


async def searches(attacker: Attacker) -> None:
    texts = ("zq", "detailed", "harbour", "ow", "zebra%20crossing", "e%20e%20e%20e%20e%20e%20e")
    paths = [f"/library?text={text}" for text in texts]
    await attacker.flood(*(attacker.request("GET", path) for path in paths), parallel=20)


async def zips(attacker: Attacker) -> None:
    ids = ",".join(str(number) for number in range(1000))
    await attacker.flood(attacker.request("GET", f"/library/zip?ids={ids}"), parallel=32)


async def changes(attacker: Attacker) -> None:
    body = {"ids": [*range(1000)], "starred": True}
    names = ("star", "delete", "restore", "delete-forever")
    requests = [attacker.request("POST", f"/library/{name}", body) for name in names]
    await attacker.flood(*requests, parallel=32)


async def _get(attacker: Attacker, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*attacker.app.at)
    writer.write(attacker.request("GET", path))
    content = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return content


ATTACKS = (
    Attack("connections", "1,100 silent", silent_connections),
    Attack("connections", "400 heads, a byte at a time", slow_heads),
    Attack("POST /login", "wrong passwords, 100 at once", wrong_passwords, logins=True),
    Attack("POST /login", "chunks of one byte", chunks_of_one_byte("/login"), logins=True),
    Attack("POST /login", "stalled bodies", stalled_bodies("/login", 8000), logins=True),
    Attack("GET /", "again and again, 32 at once", flood("GET", "/")),
    Attack("GET /", "without a cookie, 64 at once", flood("GET", "/", cookie=False, parallel=64)),
    Attack("GET /config", "32 at once", flood("GET", "/config")),
    Attack("GET /gradio_api/info", "32 at once", flood("GET", "/gradio_api/info")),
    Attack("GET /theme.css", "32 at once", flood("GET", "/theme.css")),
    Attack("POST of Gradio", "JSON of 0.4 to 15 MB", json_bodies),
    Attack("POST cancel", "chunks of one byte", chunks_of_one_byte("/gradio_api/cancel")),
    Attack("call/generate", "64 at once", gradio_events("generate", preset=PRESET, prompt="x")),
    Attack("call/run_workflow", "nested and wide", workflows),
    Attack("call/enhance", "long prompts", gradio_events("enhance", prompt="a fox, " * 3_000)),
    Attack("call/presets", "64 at once", gradio_events("presets")),
    Attack("POST /mcp", "generate, 100 at once", calls("generate", preset=PRESET, prompt="x")),
    Attack("POST /mcp", "presets, 100 at once", calls("presets")),
    Attack("queue/join", "images of 62 Mpx to describe", described_images),
    Attack("POST /create/press", "wildcards, braces, 64 times", presses),
    Attack("POST /grid", "long values, ranges, choices", grids),
    Attack("POST /uploads", "slow JPEGs, bombs, false files", uploads),
    Attack("POST /uploads", "broken recordings", recordings),
    Attack("POST /uploads", "60 MB, 12 at once", large_bodies("/uploads?role=video")),
    Attack("GET /uploads", "layers of 59 Mpx, painted masks", layers),
    Attack("POST /drops", "hostile metadata", drops),
    Attack("POST /styles", "32 at once", flood("POST", "/styles", b"[" * 200_000)),
    Attack("POST /workflows", "32 at once", flood("POST", "/workflows", b"{" * MB)),
    Attack("GET /library", f"searches among {RESULTS:,} results", searches, has_results=True),
    Attack("GET /library/zip", "1,000 results, 32 at once", zips, has_results=True),
    Attack("POST /library", "1,000 results, 32 at once", changes, has_results=True),
    Attack("GET /stage/events", "300 streams and 8 presses", streams("/stage/events?job=%")),
    Attack("GET /queue/events", "300 streams and 8 presses", streams("/queue/events")),
    Attack("GET heartbeat", "300 streams and 8 presses", streams("/gradio_api/heartbeat/h%")),
    Attack("GET /nothing", "32 at once", flood("GET", "/nothing")),
)  # fmt: skip
"""Nearly all attacks come from a loopback address, which has no limit of its own, as through a
tunnel."""


@dataclass
class Target:
    """A running app, with the cookies of the attacker and of the other visitor."""

    app: App
    attacker: str
    other: str
    children: dict[int, psutil.Process] = field(default_factory=dict)

    def processes(self) -> list[psutil.Process]:
        known = {child.pid: child for child in self.app.process.children(recursive=True)}
        self.children = {pid: self.children.get(pid, child) for pid, child in known.items()}
        return [self.app.process, *self.children.values()]

    def memory_mb(self) -> float:
        total = 0
        for process in self.processes():
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total / MB


@contextmanager
def target(
    folder: Path, *, engine: str = "", logins: bool = False, results: int = 0
) -> Iterator[Target]:
    """Run the app in shared mode.

    Args:
        folder: its data folder.
        engine: the address of ComfyUI; empty for the demo engine, in the app's process.
        logins: whether one is required.
        results: in the libraries of both visitors together.
    """
    if logins:
        accounts = Accounts(FileDocuments(folder))
        accounts.add("anna", "anna's password", Role.ADMIN)
        accounts.add("vera", "vera's password", Role.USER)
    server = {"COMFYUI_URL": engine} if engine else {"COMFY_UI_DEMO": "true"}
    with running_app(folder, COMFY_UI_HOST="0.0.0.0", COMFY_UI_MCP="true", **server) as url:
        app = App(url, folder)
        cookies = ("", _login(app)) if logins else (_cookie(app), _cookie(app))
        if results:
            _seed(folder, results, [_user_id(folder, cookie) for cookie in cookies])
        yield Target(app, *cookies)


def _page(app: App) -> str:
    """Open the page and return the new cookie."""
    import httpx

    answer = httpx.get(app.url, headers={"accept": "text/html"}, trust_env=False, timeout=30)
    return answer.headers["set-cookie"].split(";")[0]


def _cookie(app: App) -> str:
    """Return the cookie of a browser that has generated an image."""
    import httpx

    cookie = _page(app)
    with httpx.Client(base_url=app.url, trust_env=False, timeout=30) as client:
        client.headers["cookie"] = cookie
        body = {"preset": PRESET, "prompt": "a harbour", "press": cookie[-8:]}
        client.post("/create/press", json=body).raise_for_status()
        return cookie


def _login(app: App) -> str:
    import httpx

    with httpx.Client(base_url=app.url, trust_env=False, timeout=30) as client:
        form = {"username": "vera", "password": "vera's password"}
        client.post("/login", data=form).raise_for_status()
        return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def _user_id(folder: Path, cookie: str) -> str:
    with closing(sqlite3.connect(folder / "comfy_ui.db")) as database:
        rows = database.execute("SELECT DISTINCT user_id FROM jobs").fetchall()
    return next(user for (user,) in rows if user.removeprefix("browser:") in cookie)


def _seed(folder: Path, rows: int, user_ids: Sequence[str]) -> None:
    from tests.benchmarks import library

    library.OWNER, library.OTHER = user_ids
    library.seed(folder, rows)


@asynccontextmanager
async def other_visitor(target: Target) -> AsyncIterator[list[tuple[str, float, float, int]]]:
    """Run :mod:`.other_visitor`; yields (request, beginning, seconds, status), as they come."""
    lines: list[tuple[str, float, float, int]] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("other_visitor.py")),
        str(target.app.at[1]),
        target.other,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            lines.append(tuple(json.loads(line)))  # noqa: PERF401 -- others read the list meanwhile

    reading = asyncio.create_task(read())
    try:
        yield lines
    finally:
        process.kill()
        await process.wait()
        await reading


async def measure(target: Target, attack: Attack, *, seconds: float = 4.0) -> Row:
    """Run an attack and wait until the app is idle again and answers as before."""
    async with other_visitor(target) as lines:
        async with asyncio.timeout(20):
            # The first may meet an app that has just started.
            while len(lines) < 8:  # noqa: ASYNC110 -- another process prints them
                await asyncio.sleep(0.05)
        idle_mb = peak_mb = target.memory_mb()
        cookie = target.attacker if attack.has_results or attack.logins else _page(target.app)
        attacker = Attacker(target.app, cookie, seconds)
        running = asyncio.create_task(attack.run(attacker))
        while not running.done():
            await asyncio.wait({running}, timeout=0.1)
            peak_mb = max(peak_mb, target.memory_mb())
        attacker.hang_up()
        ended = time.time()
        recovery_s = await _recovery_s(lines, ended)
        peak_mb = max(peak_mb, target.memory_mb())
        running.result()
    began = attacker.began or ended
    during = [line for line in lines if began <= line[1] + line[2] and line[1] <= ended]
    times: dict[str, list[float]] = {}
    for name, _, took, _ in during:
        times.setdefault(name, []).append(took)
    failed = sum(status != 200 for *_, status in during)
    return Row(attack, attacker.answers, times, failed, idle_mb, peak_mb, recovery_s)


async def _recovery_s(lines: Sequence[Any], since: float) -> float:
    """Wait until four requests of the other visitor in a row took less than 0.3 s each."""
    while time.time() - since < 3 * LONGEST_RECOVERY_S:
        await asyncio.sleep(0.05)
        after = [line for line in lines if line[1] + line[2] >= since]
        for first in range(len(after) - 3):
            if max(line[2] for line in after[first : first + 4]) < 0.3:
                return float(max(after[first][1] - since, 0.0))
    return 3 * LONGEST_RECOVERY_S


def measure_all(only: str = "") -> Iterator[Row]:
    """Measure all attacks, or those whose endpoint or name contains ``only``."""
    chosen = [one for one in ATTACKS if only in f"{one.endpoint} {one.name}"]
    for logins in (False, True):
        attacks = [attack for attack in chosen if attack.logins is logins]
        if not attacks:
            continue
        with embedded() as engine, tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            results = RESULTS if any(attack.has_results for attack in attacks) else 0
            with target(data, engine=engine, logins=logins, results=results) as app:
                for attack in attacks:
                    yield asyncio.run(measure(app, attack))
