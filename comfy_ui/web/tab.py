"""The base class of the page's tabs, and their context."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .auth.access import Access
from .http.handlers import PRIVATE, guarded
from .http.upload_routes import UploadRoutes
from .services import Services
from .share_link import ShareLink
from .tabs.create.create_form import CreateForm

__all__ = ["LoadHandlers", "PageContext", "PageParts", "Tab", "fill_on_load"]


def fill_on_load(blocks: Any, outputs: Sequence[Any], script: str) -> None:
    """Fill components when a page of ``blocks`` is opened.

    Args:
        blocks: the page.
        outputs: the components.
        script: JavaScript that returns a promise of an update for each of them, in the form that
            Gradio's handlers have: a new value, or properties with ``"__type__": "update"``.
    """
    blocks.load(
        None,
        outputs=outputs,
        js=f"() => {script}",
        show_progress="hidden",
        api_visibility="private",
    )


@dataclass(frozen=True, slots=True)
class PageContext:
    """What each tab is created with. Everything here exists once per page."""

    services: Services
    access: Access
    uploads: UploadRoutes
    form: CreateForm
    """The form on Create, which other tabs fill in."""
    share: ShareLink | None = None

    @classmethod
    def create(
        cls, services: Services, access: Access, share: ShareLink | None = None
    ) -> PageContext:
        """The context for a new page."""
        return cls(services, access, UploadRoutes(services, access), CreateForm(services), share)


@dataclass(slots=True)
class LoadHandlers:
    """Handlers that fill components when a page is opened, all in one request of the page.

    An event of Gradio would take three requests and ten times the CPU time.
    """

    path: ClassVar = "page"
    handlers: list[Callable[[Request], Any]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def add(self, handler: Callable[[Request], Any], output: Any) -> None:
        """Add a handler that returns the update of one component. Its checks of access count."""
        self.handlers.append(handler)
        self.outputs.append(output)

    def connect(self, blocks: Any) -> None:
        """Run the handlers when a page of ``blocks`` is opened."""
        fill_on_load(blocks, self.outputs, f"window.comfy.updates('{self.path}', {{}})")

    def route(self) -> Route:
        """Return the route that runs the handlers. Each of them asks ``access`` first."""
        return Route(f"/{self.path}", guarded(self._fill, writes=True), methods=["POST"])

    async def _fill(self, request: Request) -> Response:
        updates = [handler(request) for handler in self.handlers]
        return JSONResponse(
            [await update if inspect.isawaitable(update) else update for update in updates],
            headers=PRIVATE,
        )


@dataclass(frozen=True, slots=True)
class PageParts:
    """Gradio's components around a tab's own, whose events it may listen to."""

    blocks: Any
    """The page, a ``gr.Blocks``."""
    tabs: Any
    """All tabs, a ``gr.Tabs``."""
    tab: Any
    """This tab, a ``gr.Tab``."""
    on_load: LoadHandlers
    """Fills components when the page is opened."""


class Tab(ABC):
    """A tab of the page: its components, and the routes that its script calls.

    There is one instance per page. Add a tab by listing its class in ``TABS`` in ``web/page.py``.
    """

    id: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, context: PageContext) -> None:
        self._services = context.services
        self._access = context.access

    @property
    def visible(self) -> bool:
        """Whether the tab is shown before anyone has logged in."""
        return True

    @abstractmethod
    def build(self, parts: PageParts, /) -> None:
        """Create the tab's components inside its ``gr.Tab``."""

    def routes(self) -> list[BaseRoute]:
        """The tab's routes. Each of their handlers asks ``access`` first."""
        return []
