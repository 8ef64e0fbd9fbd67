"""The base class of the page's tabs, and their context."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gradio as gr
from starlette.routing import BaseRoute

from .auth.access import Access
from .http.upload_routes import UploadRoutes
from .services import Services
from .share_link import ShareLink
from .tabs.create.create_form import CreateForm

__all__ = ["LoadHandlers", "PageContext", "PageParts", "Tab"]


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
    """Handlers that fill components when a page is opened, all in one event of Gradio.

    An event costs a request and several milliseconds of CPU time, so only slow handlers have an
    event of their own.
    """

    handlers: list[Callable[[gr.Request], Any]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def add(self, handler: Callable[[gr.Request], Any], output: Any) -> None:
        """Add a handler that returns the update of one component. Its checks of access count."""
        self.handlers.append(handler)
        self.outputs.append(output)

    def connect(self, blocks: Any) -> None:
        """Run the handlers when a page of ``blocks`` is opened."""
        blocks.load(
            self.fill, outputs=self.outputs, show_progress="hidden", api_visibility="private"
        )

    async def fill(self, request: gr.Request) -> list[Any]:
        """Return the updates of all outputs."""
        updates = [handler(request) for handler in self.handlers]
        return [await update if inspect.isawaitable(update) else update for update in updates]


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
