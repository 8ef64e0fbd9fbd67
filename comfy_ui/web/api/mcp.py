"""The endpoints of :mod:`.program_endpoints` as MCP tools, over streamable HTTP at ``/mcp``.

Gradio's own MCP server bypasses Gradio's login and loses the user's identity on the way to the
handlers, so the few messages that tools need are answered here, behind the same middleware and
rules as everything else.

Protocol: https://modelcontextprotocol.io/specification/2025-06-18
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError as PydanticValidationError, create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ... import __version__
from ...errors import ComfyHeadlessError
from ..auth.access import SESSION_HEADER, Access
from ..http.handlers import body, guarded, while_connected
from ..http.request_budgets import budget_of
from .program_endpoints import ENDED_WITH_CALLER, NAMES, ProgramEndpoints

__all__ = ["MCP_PATH", "McpTools"]

MCP_PATH: Final = "/mcp"
_VERSIONS: Final = ("2025-06-18", "2025-03-26", "2024-11-05")
_MAX_SHORT_CALLS: Final = 4
"""At a time: a caller may send a hundred at once, and each takes some milliseconds."""
_SHORT_CALLS: Final = frozenset({"presets", "job", "cancel"})
_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32700, -32600, -32601, -32602


class _Refused(Exception):  # noqa: N818 -- never leaves this module
    """An error response of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class McpTools:
    """Answers MCP requests with the endpoints of a :class:`ProgramEndpoints`."""

    def __init__(self, api: ProgramEndpoints, access: Access) -> None:
        self._api = api
        self._access = access
        self._arguments = {name: _arguments(getattr(api, name)) for name in NAMES}
        self._short_calls = asyncio.Semaphore(_MAX_SHORT_CALLS)
        self._presets: tuple[object, str] = None, ""  # the last list, and its result as JSON

    def routes(self) -> list[Route]:
        """Return the one route, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route(MCP_PATH, guarded(self._answer, writes=True), methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        self._access.require("see", request)
        try:
            message = json.loads(await body(request, budget_of("POST", MCP_PATH).body_bytes))
        except ValueError:
            return _failed(None, _Refused(_PARSE_ERROR, "This is not JSON."))
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return _failed(None, _Refused(_INVALID_REQUEST, "This is not a request."))
        number, params = message.get("id"), message.get("params") or {}
        if number is None:  # notifications have no response
            return Response(status_code=202)
        if not isinstance(params, dict):
            return _failed(number, _Refused(_INVALID_PARAMS, "The params must be an object."))
        try:
            match message["method"]:
                case "initialize":
                    return self._welcome(request, number, params)
                case "ping":
                    return _done(number, {})
                case "tools/list":
                    return _done(number, {"tools": self._listed()})
                case "tools/call":
                    return await self._call(request, number, params)
                case other:
                    raise _Refused(_NO_METHOD, f"There is no method '{other[:80]}'.")
        except _Refused as refused:
            return _failed(number, refused)

    def _welcome(self, request: Request, number: Any, params: Mapping[str, Any]) -> Response:
        requested = params.get("protocolVersion")
        answer = _done(
            number,
            {
                "protocolVersion": requested if requested in _VERSIONS else _VERSIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "comfy-ui", "version": __version__},
                "instructions": "Makes images, video and audio with ComfyUI. "
                "Ask 'presets' first; then 'generate'.",
            },
        )
        if self._access.browser(request.headers.get(SESSION_HEADER)) is None:
            answer.headers[SESSION_HEADER] = self._access.new_cookie()
        return answer

    def _listed(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "description": inspect.getdoc(getattr(self._api, name)),
                "inputSchema": self._arguments[name].model_json_schema(),
            }
            for name in NAMES
        ]

    async def _call(self, request: Request, number: Any, params: Mapping[str, Any]) -> Response:
        name = params.get("name")
        if name not in NAMES:
            raise _Refused(_INVALID_PARAMS, f"There is no tool '{str(name)[:80]}'.")
        try:
            checked = self._arguments[name].model_validate(params.get("arguments") or {})
        except PydanticValidationError as error:
            details = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            )
            raise _Refused(_INVALID_PARAMS, details) from error
        answers = self._answers(request, name, dict(checked))
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if token is None or "text/event-stream" not in request.headers.get("accept", ""):
            if name in _SHORT_CALLS:
                async with self._short_calls:
                    return _done(number, await self._last(request, answers))
            result = self._last(request, answers)
            if name in ENDED_WITH_CALLER:
                result = while_connected(request, result)
            return _done(number, await result)
        return StreamingResponse(
            _events(request, number, token, answers), media_type="text/event-stream"
        )

    async def _answers(
        self, request: Request, name: str, arguments: Mapping[str, Any]
    ) -> AsyncIterator[Any]:
        answer = getattr(self._api, name)(request, **arguments)
        if inspect.isasyncgen(answer):
            async with aclosing(answer) as parts:
                async for part in parts:
                    yield part
        else:
            yield await answer

    async def _last(self, request: Request, answers: AsyncIterator[Any]) -> dict[str, Any] | str:
        """Return the result of a call, or its JSON."""
        last: Any = None
        try:
            async for answer in answers:
                last = answer
        except ComfyHeadlessError as error:
            return {"content": [{"type": "text", "text": str(error)}], "isError": True}
        if not isinstance(last, list):
            return _content(request, last)
        if self._presets[0] is not last:  # the same list until a preset changes
            self._presets = last, _json(_content(request, last))
        return self._presets[1]


async def _events(
    request: Request, number: Any, token: Any, answers: AsyncIterator[Any]
) -> AsyncIterator[str]:
    """Yield progress as it comes, then the result, as events of one stream."""
    last: Any = None
    try:
        async for last in answers:
            if isinstance(last, dict) and "progress" in last:
                progress = {
                    "progressToken": token,
                    "progress": last["progress"],
                    "total": 100,
                    "message": _progress_message(last),
                }
                yield _event({"method": "notifications/progress", "params": progress})
        result = _content(request, last)
    except ComfyHeadlessError as error:
        result = {"content": [{"type": "text", "text": str(error)}], "isError": True}
    yield _event({"id": number, "result": result})


def _progress_message(answer: Mapping[str, Any]) -> str:
    """The phase, with the time until the job starts or ends as far as known."""
    if answer["starts_in_s"]:
        return f"{answer['phase']}, starts in about {answer['starts_in_s']:.0f} s"
    if answer["eta_s"] is not None:
        return f"{answer['phase']}, {answer['eta_s']:.0f} s left"
    return str(answer["phase"])


def _content(request: Request, answer: Any) -> dict[str, Any]:
    """Return a tool's result: as data, as text for older clients, and its files as links."""
    data = answer if isinstance(answer, dict) else {"result": answer}
    links = []
    if "files" in data:
        base = str(request.base_url).rstrip("/")
        files = [{**file, "url": base + file["url"]} for file in data["files"]]
        data = {**data, "files": files}
        links = [
            {
                "type": "resource_link",
                "uri": file["url"],
                "name": file["filename"],
                "mimeType": file["media_type"],
            }
            for file in files
        ]
    text = {"type": "text", "text": json.dumps(data, ensure_ascii=False)}
    failed = bool(data.get("error"))
    return {"content": [text, *links], "structuredContent": data, "isError": failed}


def _arguments(endpoint: Any) -> type[BaseModel]:
    """Return an endpoint's parameters, except the request."""
    parameters = inspect.signature(endpoint, eval_str=True).parameters.values()
    fields: dict[str, Any] = {
        parameter.name: (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in parameters
        if parameter.name != "request"
    }
    strict = ConfigDict(extra="forbid", strict=True)
    return create_model(endpoint.__name__, __config__=strict, **fields)


def _done(number: Any, result: dict[str, Any] | str) -> Response:
    """Return the response to a request. ``result``: an object, or its JSON."""
    text = result if isinstance(result, str) else _json(result)
    answer = f'{{"jsonrpc":"2.0","id":{_json(number)},"result":{text}}}'
    return Response(answer, media_type="application/json")


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _failed(number: Any, refused: _Refused) -> JSONResponse:
    error = {"code": refused.code, "message": str(refused)}
    return JSONResponse({"jsonrpc": "2.0", "id": number, "error": error})


def _event(message: Mapping[str, Any]) -> str:
    return f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', **message})}\n\n"
