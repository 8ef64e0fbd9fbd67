"""The endpoints of :mod:`.program_endpoints` as MCP tools, over streamable HTTP at ``/mcp``.

The official SDK speaks the protocol, the versions with a handshake and the stateless one, behind
the same middleware and access rules as everything else. Gradio's own MCP server bypasses Gradio's
login and loses the user's identity on the way to the handlers.

No state is kept between requests. Clients of the older versions get a signed session id, which
tells callers without a login apart. The stateless version has none, so the ids of jobs that such a
caller receives carry a signed identity.

Protocol: https://modelcontextprotocol.io/specification/2026-07-28
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError as PydanticValidationError, create_model
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ... import __version__
from ...errors import ComfyHeadlessError
from ...storage.records import LibraryItem
from ..auth.access import COOKIE, SESSION_HEADER, Access
from ..http.handlers import PRIVATE, body, guarded
from ..http.request_budgets import budget_of
from ..services import Services
from .answers import OUTPUTS
from .mcp_prompts import PROMPTS, prompt_text
from .program_endpoints import NAMES, ProgramEndpoints

__all__ = ["MCP_PATH", "McpTools"]

MCP_PATH: Final = "/mcp"
_INSTRUCTIONS: Final = (
    "Makes images, video and audio with ComfyUI. Ask 'presets' first; then 'generate'."
)
_EXCHANGE: Final = "comfy_ui.mcp"
_IDENTITY_MARK: Final = "~"
_MAX_SHORT_CALLS: Final = 4
"""At a time: a caller may send a hundred at once, and each takes some milliseconds."""
_SHORT_CALLS: Final = frozenset({"presets", "job", "cancel"})
_READ_ONLY: Final = frozenset({"presets", "job", "enhance"})
_MAX_PICTURES: Final = 8  # in one result; the others are links
_MAX_RESOURCE_BYTES: Final = 32 * 2**20
_LISTED_RESULTS: Final = 50
_RESULTS: Final = "comfy-ui://results/"
_JOBS: Final = "comfy-ui://jobs/"


class McpTools:
    """An MCP server whose tools are the endpoints of a :class:`ProgramEndpoints`."""

    def __init__(self, api: ProgramEndpoints, services: Services, access: Access) -> None:
        self._api = api
        self._services = services
        self._access = access
        self._arguments, self._tools = _declared()
        self._short_calls = asyncio.Semaphore(_MAX_SHORT_CALLS)
        self._presets: tuple[object, str] = None, ""  # the last list, and its JSON
        self._running: dict[tuple[str, types.RequestId], _Call] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._server: Server[Any] = Server(
            "comfy-ui",
            version=__version__,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
        )
        schemas = {tool.name: tool.input_schema for tool in self._tools}
        self._server.get_tool_input_schema = schemas.get
        self._server.middleware.append(self._watch_cancelled)
        limit = budget_of("POST", MCP_PATH).body_bytes
        self._managers = {
            events: StreamableHTTPSessionManager(
                self._server,
                stateless=True,
                json_response=not events,
                max_request_body_size=limit,
            )
            for events in (False, True)
        }

    def routes(self) -> list[Route]:
        """Return the one route, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route(MCP_PATH, guarded(self._answer, writes=True), methods=["POST"])]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests inside of the ``with`` block."""
        async with AsyncExitStack() as stack:
            for manager in self._managers.values():
                await stack.enter_async_context(manager.run())
            yield

    async def _answer(self, request: Request) -> Response:
        self._access.require("see", request)
        content = await body(request, budget_of("POST", MCP_PATH).body_bytes)
        if b'"jsonrpc"' not in content:
            return _no_message()
        version = request.headers.get("mcp-protocol-version")
        modern = version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS
        accepts_events = "text/event-stream" in request.headers.get("accept", "")
        # A plain response is enough where no progress was asked for. The end of a stream cancels a
        # call of the stateless version, so that one always has a stream if it can.
        events = accepts_events and (modern or b'"progressToken"' in content)
        session = "" if modern else request.headers.get(SESSION_HEADER, "")
        if not modern and self._access.browser(session) is None:
            session = self._access.new_cookie()
        return _McpExchange(self._managers[events], content, session=session, events=events)

    # Tools

    async def _list_tools(self, ctx: Any, _: Any) -> types.ListToolsResult:
        self._access.require("see", ctx.request)
        return types.ListToolsResult(tools=self._tools)

    async def _call_tool(
        self, ctx: Any, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        name = params.name
        if name not in NAMES:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool '{name[:80]}'.")
        try:
            arguments = dict(self._arguments[name].model_validate(params.arguments or {}))
        except PydanticValidationError as error:
            details = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            )
            raise MCPError(types.INVALID_PARAMS, details) from error
        request, identity = self._identified(ctx.request, arguments)
        call = _Call(request)
        key = ctx.request.scope[_EXCHANGE].session, ctx.request_id
        self._running[key] = call
        try:
            if name in _SHORT_CALLS:
                async with self._short_calls:
                    answer = await self._last_answer(ctx, call, name, arguments)
            else:
                answer = await self._last_answer(ctx, call, name, arguments)
            return await self._result(request, answer, identity)
        except ComfyHeadlessError as error:
            return types.CallToolResult(content=[_text(str(error))], is_error=True)
        except asyncio.CancelledError:
            if ctx.request.scope[_EXCHANGE].closed_by_client:
                self._cancel(call)
            raise
        finally:
            self._running.pop(key, None)

    async def _last_answer(
        self, ctx: Any, call: _Call, name: str, arguments: Mapping[str, Any]
    ) -> Any:
        """Return the last answer of an endpoint, and report progress before."""
        answers = getattr(self._api, name)(call.request, **arguments)
        if not inspect.isasyncgen(answers):
            return await answers
        last: Any = {}
        async with aclosing(answers) as parts:
            async for last in parts:
                if call.job_id is None and not last["done"]:
                    call.job_id, call.group_id = last["job"], last.get("group")
                    if call.cancelled:
                        self._cancel(call)
                await ctx.session.report_progress(last["progress"], 100, _progress_message(last))
        return last

    def _identified(self, request: Request, arguments: dict[str, Any]) -> tuple[Request, str]:
        """Return the request as one of its user, and the identity that its job's id has to carry.

        Removes the identity from the ``job_id`` in ``arguments``.
        """
        job_id, mark, carried = str(arguments.get("job_id", "")).partition(_IDENTITY_MARK)
        if mark:
            arguments["job_id"] = job_id
        if self._access.identifies(request):
            return request, ""
        identity = carried if self._access.browser(carried) else self._access.new_cookie()
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"cookie"]
        headers.append((b"cookie", f"{COOKIE}={identity}".encode()))
        return Request({**request.scope, "headers": headers}), identity

    async def _result(self, request: Request, answer: Any, identity: str) -> types.CallToolResult:
        """Return a tool's result: as data, as text, its images small, and its files as links."""
        if not isinstance(answer, dict):
            data = {"result": answer}
            if self._presets[0] is not answer:  # the same list until a preset changes
                self._presets = answer, json.dumps(data, ensure_ascii=False)
            text = _text(self._presets[1])
            return types.CallToolResult(content=[text], structured_content=data)
        data = {**answer}
        if identity:
            ids = {name: data[name] for name in ("job", "group") if data.get(name)}
            data |= {name: f"{id_}{_IDENTITY_MARK}{identity}" for name, id_ in ids.items()}
        pictures: list[types.ContentBlock] = []
        links: list[types.ContentBlock] = []
        if "files" in data:
            base = str(request.base_url).rstrip("/")
            data["files"] = [{**file, "url": base + file["url"]} for file in data["files"]]
            pictures = await self._pictures(request, data["files"])
            links = [
                types.ResourceLink(
                    uri=file["url"],
                    name=file["filename"],
                    mime_type=file["media_type"],
                    size=file["size_bytes"],
                )
                for file in data["files"]
            ]
        content = [_text(json.dumps(data, ensure_ascii=False)), *pictures, *links]
        failed = bool(data.get("error"))
        return types.CallToolResult(content=content, structured_content=data, is_error=failed)

    async def _pictures(
        self, request: Request, files: list[dict[str, Any]]
    ) -> list[types.ContentBlock]:
        """Return the thumbnails of images and videos, which a model can look at."""
        user_id = self._access.require("see_own", request)
        pictures: list[types.ContentBlock] = []
        for file in files[:_MAX_PICTURES]:
            item = await self._services.library.item(file["id"], user_id)
            if item.thumbnail is None:
                continue
            thumbnail = await self._services.library.fetch(item.thumbnail)
            if thumbnail.is_file():
                encoded = await asyncio.to_thread(_encoded, thumbnail)
                pictures.append(types.ImageContent(data=encoded, mime_type="image/webp"))
        return pictures

    # Cancellation

    async def _watch_cancelled(self, ctx: Any, call_next: Any) -> Any:
        """Cancel the job of a call that a client of the older versions cancels by a message."""
        if ctx.method == "notifications/cancelled" and ctx.request is not None:
            session = ctx.request.scope[_EXCHANGE].session
            request_id: Any = (ctx.params or {}).get("requestId")
            if (call := self._running.get((session, request_id))) is not None:
                call.cancelled = True
                self._cancel(call)
        return await call_next(ctx)

    def _cancel(self, call: _Call) -> None:
        """Cancel a call's job in a task of its own, because the call's is being cancelled."""
        if call.job_id is not None:
            task = asyncio.create_task(self._cancel_jobs(call), name="cancel")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel_jobs(self, call: _Call) -> None:
        user_id, jobs = self._access.user_id(call.request), self._services.jobs
        if call.group_id is not None:
            await jobs.groups.cancel(call.group_id, user_id)
        elif call.job_id is not None:
            await jobs.cancel(call.job_id, user_id)

    # Resources

    async def _list_resources(self, ctx: Any, _: Any) -> types.ListResourcesResult:
        user_id = self._access.require("see_own", ctx.request)
        if not self._access.identifies(ctx.request):
            return types.ListResourcesResult(resources=[])
        items = await self._services.library.results(user_id, limit=_LISTED_RESULTS)
        return types.ListResourcesResult(resources=[_resource(item) for item in items])

    async def _list_templates(self, ctx: Any, _: Any) -> types.ListResourceTemplatesResult:
        self._access.require("see", ctx.request)
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    uri_template=f"{_RESULTS}{{id}}", name="result", description="A result's file"
                ),
                types.ResourceTemplate(
                    uri_template=f"{_JOBS}{{job}}",
                    name="job",
                    description="The state of a job",
                    mime_type="application/json",
                ),
            ]
        )

    async def _read_resource(
        self, ctx: Any, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        contents: types.TextResourceContents | types.BlobResourceContents
        try:
            if uri.startswith(_JOBS):
                contents = await self._read_job(ctx, uri)
            elif (number := uri.removeprefix(_RESULTS)).isdecimal() and len(number) < 19:
                contents = await self._read_result(ctx, uri, int(number))
            else:
                raise MCPError(types.INVALID_PARAMS, "There is no such resource.")
        except ComfyHeadlessError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        return types.ReadResourceResult(contents=[contents])

    async def _read_job(self, ctx: Any, uri: str) -> types.TextResourceContents:
        arguments = {"job_id": uri.removeprefix(_JOBS)}
        request, identity = self._identified(ctx.request, arguments)
        endpoints: Any = self._api  # annotated with Gradio's request
        answer = await endpoints.job(request, **arguments)
        result = await self._result(request, answer, identity)
        text = json.dumps(result.structured_content, ensure_ascii=False)
        return types.TextResourceContents(uri=uri, mime_type="application/json", text=text)

    async def _read_result(self, ctx: Any, uri: str, number: int) -> types.BlobResourceContents:
        user_id = self._access.require("see_own", ctx.request)
        item = await self._services.library.item(number, user_id)
        if item.size_bytes > _MAX_RESOURCE_BYTES:
            address = f"{ctx.request.base_url}{self._api.file_url(item, user_id).lstrip('/')}"
            raise MCPError(types.INVALID_PARAMS, f"This is too large here. Download {address}")
        path = await self._services.library.fetch(item.path)
        blob = await asyncio.to_thread(_encoded, path)
        return types.BlobResourceContents(uri=uri, mime_type=item.media_type, blob=blob)

    # Prompts

    async def _list_prompts(self, ctx: Any, _: Any) -> types.ListPromptsResult:
        self._access.require("see", ctx.request)
        prompts = [
            types.Prompt(
                name=prompt.name,
                title=prompt.title,
                description=prompt.description,
                arguments=[
                    types.PromptArgument(name=name, description=text, required=required)
                    for name, text, required in prompt.arguments
                ],
            )
            for prompt in PROMPTS.values()
        ]
        return types.ListPromptsResult(prompts=prompts)

    async def _get_prompt(
        self, ctx: Any, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        self._access.require("see", ctx.request)
        try:
            text = prompt_text(params.name, params.arguments or {})
        except ComfyHeadlessError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        message = types.PromptMessage(role="user", content=_text(text))
        return types.GetPromptResult(
            description=PROMPTS[params.name].description, messages=[message]
        )


@dataclass(slots=True)
class _Call:
    """A tool call in progress."""

    request: Request
    job_id: str | None = None
    group_id: str | None = None
    cancelled: bool = False


class _McpExchange(Response):
    """One request that the SDK answers. It ends with the client's connection, or with the app."""

    def __init__(
        self,
        manager: StreamableHTTPSessionManager,
        content: bytes,
        *,
        session: str,
        events: bool,
    ) -> None:
        super().__init__()
        self.session = session
        self.closed_by_client = False
        self._manager = manager
        self._content = content
        self._accept = "application/json, text/event-stream" if events else "application/json"
        self._started = self._complete = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        own = {**scope, "headers": [*scope["headers"]], _EXCHANGE: self}
        MutableHeaders(scope=own)["accept"] = self._accept
        messages = [{"type": "http.request", "body": self._content, "more_body": False}]
        over = asyncio.Event()

        async def replay() -> Any:
            if messages:
                return messages.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send_with_session(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._started = True
                if self.session:
                    MutableHeaders(scope=message).setdefault(SESSION_HEADER, self.session)
            elif not message.get("more_body"):
                self._complete = True
            await send(message)

        answering = asyncio.ensure_future(
            self._manager.handle_request(own, replay, send_with_session)
        )
        watching = asyncio.ensure_future(_disconnected(receive))
        # Set before the app waits for open responses; its jobs continue at the next start.
        stopping = asyncio.ensure_future(scope["app"].stop_event.wait())
        waiting = {answering, watching, stopping}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            else:
                self.closed_by_client = not self.session and not stopping.done()
                over.set()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if not self._started:
            text = "The app is stopping. Try again when it has started."
            await PlainTextResponse(text, 503, headers=PRIVATE)(scope, receive, send)
        elif not self._complete:
            await send({"type": "http.response.body", "body": b""})


def _no_message() -> Response:
    """Refuse content of another kind; the SDK would repeat it in its answer."""
    error = {"code": types.INVALID_REQUEST, "message": "This is no JSON-RPC message."}
    answer = {"jsonrpc": "2.0", "id": None, "error": error}
    return JSONResponse(answer, status_code=400, headers=PRIVATE)


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _progress_message(answer: Mapping[str, Any]) -> str:
    """The phase, with the time until the job starts or ends as far as known."""
    if answer.get("starts_in_s"):
        return f"{answer['phase']}, starts in about {answer['starts_in_s']:.0f} s"
    if answer.get("eta_s") is not None:
        return f"{answer['phase']}, {answer['eta_s']:.0f} s left"
    return str(answer["phase"])


@cache
def _declared() -> tuple[dict[str, type[BaseModel]], list[types.Tool]]:
    """Return the parameters of each endpoint, and the tools."""
    endpoints = {name: getattr(ProgramEndpoints, name) for name in NAMES}
    arguments = {name: _arguments(endpoint) for name, endpoint in endpoints.items()}
    return arguments, [_tool(name, endpoints[name], arguments[name]) for name in NAMES]


def _tool(name: str, endpoint: Any, arguments: type[BaseModel]) -> types.Tool:
    return types.Tool(
        name=name,
        description=inspect.getdoc(endpoint),
        input_schema=arguments.model_json_schema(),
        output_schema=OUTPUTS[name].model_json_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=name in _READ_ONLY, destructive_hint=name == "cancel"
        ),
    )


def _arguments(endpoint: Any) -> type[BaseModel]:
    """Return the parameters that a caller of an endpoint gives."""
    parameters = inspect.signature(endpoint, eval_str=True).parameters.values()
    fields: dict[str, Any] = {
        parameter.name: (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in parameters
        if parameter.name not in {"self", "request"}
    }
    strict = ConfigDict(extra="forbid", strict=True)
    return create_model(endpoint.__name__, __config__=strict, **fields)


def _resource(item: LibraryItem) -> types.Resource:
    return types.Resource(
        uri=f"{_RESULTS}{item.id}",
        name=item.filename,
        description=item.prompt[:200] or None,
        mime_type=item.media_type,
        size=item.size_bytes,
    )


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
