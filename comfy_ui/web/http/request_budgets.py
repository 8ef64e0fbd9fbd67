"""What one request may cost, and how many a caller may have in progress: one table for all routes.

:mod:`.middleware` enforces the table. ``python -m tests.docs`` writes it into
``docs/develop/security-model.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ...worker_processes.process_pool import DECODING_VIDEO, ENCODING_VIDEO, Limits
from ..auth.accounts import Role

__all__ = ["BUDGETS", "DEFAULT", "LARGE_JSON", "SMALL_BODY_BYTES", "RequestBudget", "budget_of"]

KB: Final = 1024
MB: Final = 1024 * KB
SMALL_BODY_BYTES: Final = 64 * KB
_ITEMS_OF_USERS: Final = 20_000
_IMAGES: Final = 512 * MB  # ten images inside of JSON
_WORK: Final = Limits()
_ENCODING: Final = Limits(cpu_s=40, wall_s=120.0)  # a PNG of 64 million pixels
_PREPARING: Final = Limits(cpu_s=60, wall_s=180.0)  # the largest workflow of an admin


@dataclass(frozen=True, slots=True)
class RequestBudget:
    """The limits of one kind of request.

    Attributes:
        method: GET includes HEAD and OPTIONS.
        path: with a "/" at the end, everything below it.
        body_bytes: the size of the body.
        body_s: seconds until the body must be complete.
        json_items: values in a JSON body of an admin; 0 if the body is not JSON.
        json_depth: nested arrays and objects in a JSON body.
        per_caller: requests in progress for one user, or for one address without a login or a
            cookie. Further ones wait, except streams, which are refused.
        total: requests in progress for everyone.
        work: the most that each of its calls in a worker process may use.
        answer_bytes: the size of the response; 0 for files and streams, which are sent as they are
            read.
        stream: whether the response stays open.
        lasting: whether a request lasts as long as the job that it started.
    """

    method: str
    path: str
    body_bytes: int = KB
    body_s: float = 30.0
    json_items: int = 0
    json_depth: int = 16
    per_caller: int = 16
    total: int = 1000
    work: Limits = _WORK
    answer_bytes: int = 8 * MB
    stream: bool = False
    lasting: bool = False

    @property
    def per_address(self) -> int:
        """Requests in progress for all users of one address, such as an office."""
        return 10 * self.per_caller

    def json_items_of(self, role: Role) -> int:
        """Values in a JSON body: the largest official workflow has half as many as users may send.

        Gradio copies and walks through the values several times, in the event loop.
        """
        return self.json_items if role is Role.ADMIN else min(self.json_items, _ITEMS_OF_USERS)

    @property
    def read_ahead(self) -> bool:
        """Whether the body is checked as a whole before the app receives it."""
        return self.body_bytes <= 4 * MB


DEFAULT: Final = RequestBudget("*", "/", per_caller=4, total=64)
"""The budget of requests that the table does not list; nearly all of them are refused."""


def _get(path: str, per_caller: int = 16, total: int = 1000, **more: Any) -> RequestBudget:
    return RequestBudget("GET", path, per_caller=per_caller, total=total, **more)


def _file(path: str) -> RequestBudget:
    """A file that is read from disk: a page needs many at a time, and browsers behind HTTP/2 ask
    for all of them at once.
    """
    return RequestBudget("GET", path, per_caller=64, total=2000, answer_bytes=0)


def _stream(path: str, per_caller: int = 32) -> RequestBudget:
    return RequestBudget(
        "GET", path, per_caller=per_caller, total=2000, answer_bytes=0, stream=True
    )


def _action(path: str, *, per_caller: int = 8, total: int = 200, **more: Any) -> RequestBudget:
    """A small JSON body of a page."""
    return RequestBudget(
        "POST",
        path,
        body_bytes=256 * KB,
        json_items=10_000,
        per_caller=per_caller,
        total=total,
        **more,
    )


LARGE_JSON: Final = RequestBudget("POST", "*", per_caller=1, total=1)
"""The place of requests with a JSON body of more than 64 KB, unless they last: parsing one blocks
everything else for up to 0.2 s."""


def _call(
    path: str, *, per_caller: int = 16, total: int = 4, lasting: bool = False, **more: Any
) -> RequestBudget:
    """A call of Gradio or MCP, whose body may contain a whole workflow.

    Gradio answers at once; the call's results are another request. A few at a time: all they do is
    take milliseconds of the event loop, which others then wait for.
    """
    return RequestBudget(
        "POST",
        path,
        body_bytes=2 * MB,
        body_s=60.0,
        json_items=100_000,
        json_depth=64,
        per_caller=per_caller,
        total=total,
        lasting=lasting,
        **more,
    )


def _upload(path: str, megabytes: int, *, per_caller: int = 6, **more: Any) -> RequestBudget:
    return RequestBudget(
        "POST",
        path,
        body_bytes=megabytes * MB,
        body_s=300.0,
        per_caller=per_caller,
        total=200,
        **more,
    )


def _small(path: str) -> RequestBudget:
    return RequestBudget("POST", path, body_bytes=8 * KB, json_items=100, total=200)


BUDGETS: Final = (
    # Gradio's routes
    _get("/", total=32),
    _get("/login"),
    _get("/login/"),
    RequestBudget("POST", "/login", body_bytes=8 * KB, per_caller=4, total=16),
    RequestBudget("POST", "/login/", body_bytes=8 * KB, per_caller=4, total=16),
    _get("/logout", per_caller=4),
    _get("/config", total=32),
    _get("/gradio_api/info", per_caller=4, total=32),
    _get("/gradio_api/app_id"),
    _get("/gradio_api/startup-events"),
    _call("/gradio_api/queue/join"),
    _stream("/gradio_api/queue/data"),
    _call("/gradio_api/call/"),
    _stream("/gradio_api/call/", per_caller=100),
    _small("/gradio_api/cancel"),
    _small("/gradio_api/reset"),
    _stream("/gradio_api/heartbeat/"),
    _file("/theme.css"),
    _file("/gradio_api/theme.css"),
    _file("/favicon.ico"),
    _file("/robots.txt"),
    _file("/static/"),
    _file("/assets/"),
    # Logins
    _get("/account", per_caller=4),
    _action("/account/", per_caller=2, total=16),
    _action("/invitation", per_caller=2, total=8),
    # Administration
    _get("/admin", per_caller=2, total=8),
    _get("/admin/", per_caller=4, total=32),
    _action("/admin/", per_caller=2, total=8),
    # Our files
    _file("/manifest.json"),
    _file("/icons/"),
    _file("/languages/"),
    _file("/files/"),
    _file("/thumbs/"),
    _get("/timelines/", per_caller=4, work=DECODING_VIDEO),  # the first time
    _file("/covers/"),
    _get("/uploads/", per_caller=4, work=_ENCODING, answer_bytes=0),  # layers of an image
    _upload("/uploads", 64, work=_ENCODING),
    _upload("/uploads/canvas", 64, work=_ENCODING),
    # The tabs
    _action("/page"),
    RequestBudget(
        "POST", "/create/open", body_bytes=2 * MB, json_items=10_000, per_caller=8, total=200
    ),
    _action("/create/press"),
    _action("/create/go-on", work=DECODING_VIDEO),  # the last frame of a video
    _action("/create/estimate", per_caller=2, total=16),
    _action("/create/preprocess", per_caller=2, total=8),
    _action("/create/segment", per_caller=2, total=8),
    _action("/grid", per_caller=2, total=8),
    _upload("/drops", 64),
    _get("/presets/own", per_caller=4),
    _action("/presets/favorite"),
    _action("/presets/defaults"),
    _get("/models", per_caller=4),
    _file("/models/preview"),
    _action("/models/favorite"),
    _get("/stage"),
    _action("/stage/keep", per_caller=2, total=16),
    _stream("/stage/events"),
    _get("/completions", per_caller=4),
    _get("/styles"),
    RequestBudget("POST", "/styles", body_bytes=256 * KB, per_caller=2, total=8),
    _file("/styles/"),
    _upload("/workflows", 64),
    _get("/workflows/report", per_caller=4),
    _action("/workflows/pick", per_caller=4),
    _action("/workflows/save", per_caller=4),
    _get("/workflows/form", per_caller=4),
    _action("/workflows/form", per_caller=4),
    _action("/workflows/change", per_caller=4),
    _upload("/workflows/cover", 64),
    _get("/workflows/export", per_caller=4),
    _get("/blueprints", per_caller=2, total=32),
    _get("/library", per_caller=3, total=6),  # a search reads the whole library of a user
    _get("/library/deleted", per_caller=3, total=6),
    _get("/library/space", per_caller=4),
    _get("/library/presets", per_caller=4),
    _get("/library/import", per_caller=4),
    _get("/library/zip", per_caller=1, total=32, answer_bytes=0),  # streams up to gigabytes
    _get("/library/"),
    _action("/library/import", per_caller=2, total=8),
    _action("/library/import/", per_caller=2, total=8),
    _action("/library/trim", per_caller=2, total=8, work=ENCODING_VIDEO),
    _action("/library/"),
    _stream("/queue/events"),
    _get("/queue/group", per_caller=4),
    _action("/queue/"),
    _get("/downloads"),
    _action("/downloads/"),
    _get("/model-files", per_caller=4, total=16),  # lists the model folders
    _action("/model-files/", per_caller=4),
    # Programs and the public link
    _call("/mcp", per_caller=100, total=400, lasting=True, work=_PREPARING, answer_bytes=_IMAGES),
    _get("/v1/models", per_caller=4),
    _get("/v1/models/", per_caller=4),
    RequestBudget(
        "POST",
        "/v1/images/generations",
        body_bytes=256 * KB,
        json_items=10_000,
        per_caller=100,
        total=400,
        lasting=True,
        answer_bytes=_IMAGES,
    ),
    _upload("/v1/images/edits", 64, per_caller=32, work=_ENCODING, answer_bytes=_IMAGES),
    _get("/alive", per_caller=4),
    # Operation
    _get("/healthz", per_caller=4, total=16),
    _get("/readyz", per_caller=4, total=16),
    _get("/metrics", per_caller=2, total=8),
)
"""All budgets. An exact path wins over a folder, a longer folder over a shorter one."""

_BUDGETS: Final = {(budget.method, budget.path): budget for budget in BUDGETS}


def budget_of(method: str, path: str) -> RequestBudget:
    """Return the budget of a request.

    >>> budget_of("POST", "/gradio_api/call/generate").path, budget_of("PUT", "/x") is DEFAULT
    ('/gradio_api/call/', True)
    """
    if method in {"HEAD", "OPTIONS"}:
        method = "GET"
    budget = _BUDGETS.get((method, path))
    while budget is None and len(path) > 1:
        path = path[: path.rstrip("/").rfind("/") + 1]
        budget = _BUDGETS.get((method, path)) if path != "/" else None
    return budget or DEFAULT
