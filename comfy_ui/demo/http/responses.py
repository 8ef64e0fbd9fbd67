"""Answers as aiohttp writes them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer as aiohttp writes it."""
    return Response(
        json.dumps(body), status, headers={"content-type": "application/json; charset=utf-8"}
    )


def empty(status: int = 200) -> Response:
    return Response(b"", status)
