"""Files dropped on Create: read their settings and fill the form with them."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import (
    ComfyHeadlessError,
    InvalidWorkflowError,
    ValidationError,
    WorkLimitError,
)
from ....worker_processes.process_pool import WORKERS
from ....workflow.guest_workflow import part_of_registry, read_guest_metadata, values_by_role
from ....workflow.loras.lora_values import parse_loras
from ....workflow.metadata import Metadata, read_metadata
from ...auth.access import Access
from ...components import preset_form
from ...components.html_block import from_page, html_block
from ...http.handlers import PRIVATE, body, guarded, while_connected
from ...http.upload_routes import MAX_UPLOAD_BYTES
from ...open_workflows import DroppedFile, title_of
from ...services import Services
from .create_form import CreateForm
from .form_state import FormState

__all__ = ["DroppedFiles"]

_SOURCES: Final = {"comfy-ui": "this app", "comfyui": "ComfyUI", "a1111": "Stable Diffusion web UI"}
# Roles whose values fit other presets; a model would not fit there.
_CARRIED: Final = (
    "negative", "seed", "steps", "cfg", "guidance", "sampler", "scheduler", "width", "height",
    "frames", "fps", "duration", "loras",
)  # fmt: skip


class DroppedFiles:
    """Reads dropped files, shows the page's dialog, and applies the user's choice."""

    def __init__(self, services: Services, access: Access, form: CreateForm) -> None:
        self._services = services
        self._access = access
        self._form = form
        self._open_workflows = services.open_workflows

    def build(self) -> None:
        """Connect the dialog with the form, which must be built first."""
        ear = html_block(elem_id="drop", sends=["apply"])
        ear.apply(
            self._apply,
            outputs=self._form.components,
            show_progress="hidden",
            api_visibility="private",
        )

    def routes(self) -> list[Route]:
        """Return the route that receives a file, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/drops", guarded(self._receive, writes=True), methods=["POST"])]

    async def _receive(self, request: Request) -> Response:
        user_id = await self._access.admit("upload", request)
        content = await body(request, MAX_UPLOAD_BYTES)
        trusted = (
            self._access.allows("open_workflow", request) and self._services.connection.keeps_opened
        )
        name = request.query_params.get("name", "")
        work = self.look(content, name, user_id, trusted=trusted)
        summary = await while_connected(request, work)
        return JSONResponse(summary, headers=PRIVATE)

    async def look(
        self, content: bytes, name: str, user_id: str, *, trusted: bool
    ) -> dict[str, Any]:
        """Return the dialog's summary of a file as JSON, without changing anything.

        ``trusted`` users may run the workflow in it; others get its values for their presets.

        Raises:
            InvalidWorkflowError: it is neither an image, a recording nor a workflow.
        """
        title = title_of(name)
        read = read_metadata if trusted else read_guest_metadata
        try:
            metadata = await WORKERS.run(read, content, user_id=user_id)
        except WorkLimitError:
            raise
        except ValidationError as error:
            return await self._workflow(content, title, user_id, error, trusted=trusted)
        dropped = await self._read(metadata, content, title, user_id, trusted=trusted)
        token = self._open_workflows.put_down(dropped)
        loras = dropped.by_role.get("loras") or dropped.values.get("loras")
        summary = {
            "prompt": dropped.prompt,
            "seed": None if dropped.seed is None else str(dropped.seed),
            "all": bool(dropped.form or dropped.by_role or dropped.prompt),
            "form": self._title(dropped.form),
            "loras": _lora_names(loras),
        }
        return {
            "id": token,
            "source": _SOURCES.get(metadata.source or ""),
            **{key: value for key, value in summary.items() if value},
        }

    async def _workflow(
        self, content: bytes, title: str, user_id: str, error: ValidationError, *, trusted: bool
    ) -> dict[str, Any]:
        """Read a file that is not an image as a workflow in JSON, which only admins may open."""
        if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
            raise InvalidWorkflowError("This file cannot be read.", hint=error.hint) from error
        if not trusted:
            raise InvalidWorkflowError(
                "Only admins can open workflows.",
                hint="Choose one of the presets.",
            )
        opened = await self._open_workflows.open(content, title=title)
        form = opened.id if opened.preset else None
        token = self._open_workflows.put_down(DroppedFile(user_id, form=form))
        summary = {"id": token, "source": "ComfyUI", "form": title, "file": "json"}
        return {**summary, "all": True} if form else {**summary, "needs": opened.id}

    async def _read(
        self, metadata: Metadata, content: bytes, title: str, user_id: str, *, trusted: bool
    ) -> DroppedFile:
        catalog = self._services.catalog
        if metadata.preset and catalog.find(metadata.preset):
            preset = catalog.entry(metadata.preset).preset
            values = metadata.values
            prompt_param, drawn = preset.by_role("prompt"), preset.by_role("seed")
            return _found(
                user_id,
                values.get(prompt_param.id) if prompt_param else None,
                values.get(drawn.id) if drawn else None,
                form=preset.id,
                values=preset_form.read(preset, values),
            )
        by_role = dict(metadata.values) if metadata.preset is None else {}
        if metadata.graph and catalog.library is not None:
            names = (str(node.get("class_type")) for node in metadata.graph.values())
            registry = part_of_registry(catalog.library, {*names})
            by_role |= await WORKERS.run(values_by_role, metadata.graph, registry, user_id=user_id)
        form = None
        if (metadata.graph or metadata.workflow) and trusted:
            try:
                opened = await self._open_workflows.open(content, title=title)
            except ComfyHeadlessError:
                pass  # the content read from it is still usable
            else:
                form = opened.id if opened.preset else None
        carried = {role: by_role[role] for role in _CARRIED if role in by_role}
        return _found(
            user_id,
            by_role.get("prompt"),
            by_role.get("seed"),
            form=form,
            by_role=carried,
        )

    def _title(self, form: str | None) -> str | None:
        if form is None:
            return None
        opened = self._open_workflows.find(form)
        return opened.title if opened else self._services.catalog.title(form)

    async def _apply(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        data = from_page(event)
        user_id = self._access.require("see_own", request)
        try:
            dropped = self._open_workflows.take_up(str(data.get("id", "")), user_id)
        except ValidationError as error:
            return self._form.error(error)
        draft = FormState.parse(data.get("draft"))
        preset = self._services.catalog.entry(draft.preset).preset
        values = preset_form.read(preset, draft.values)
        match data.get("what"):
            case "prompt":
                return self._form.prompt(dropped.prompt)
            case "seed":
                fresh = preset_form.recall(preset, {"seed": dropped.seed})
                return self._form.show(preset.id, {**values, **fresh})
            case "all" if dropped.form is not None:
                try:
                    await self._open_workflows.keep(dropped.form)
                except ComfyHeadlessError as error:
                    return self._form.error(error)
                return self._form.show(dropped.form, dropped.values, prompt=dropped.prompt)
            case "all":
                fresh = preset_form.recall(preset, dropped.by_role)
                return self._form.show(preset.id, {**values, **fresh}, prompt=dropped.prompt)
        return self._form.prompt(None)


def _lora_names(loras: Any) -> str:
    try:
        return ", ".join(lora["name"] for lora in parse_loras(loras))
    except ValidationError:  # the file is a user's
        return ""


def _found(user_id: str, prompt: Any, seed: Any, **more: Any) -> DroppedFile:
    return DroppedFile(
        user_id,
        prompt=prompt.strip()[:20_000] if isinstance(prompt, str) else "",
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 else None,
        **more,
    )
