"""Plan, install, start and switch with the settings of the app or of a command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..errors import ValidationError
from ..features import require_feature
from ..settings import Settings
from .engine_paths import EnginePaths, Installation, disk_error, write_json
from .installing.installer import Installer, InstallProgress
from .installing.python_environment import find_uv, folder_bytes
from .packs.pack_folders import installed_packs
from .packs.pack_source import choose_pack, known_packs
from .planning.host_facts import collect
from .planning.install_plan import InstallPlan, make_plan
from .planning.release_source import Source, choose_source
from .supervision.server_command import MEMORY_FLAGS, ServerOptions
from .supervision.supervisor import Supervisor
from .versions import roll_back, switch_running

__all__ = ["EngineManager"]


class EngineManager:
    """The managed ComfyUI of one data folder. All methods block; the page calls them in threads.

    Args:
        settings: the settings of the app.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.paths = EnginePaths.of(settings)
        self.options = ServerOptions.of(settings, self.paths)
        self.supervisor = Supervisor(self.paths, self.options, first_port=settings.engine_port)

    def plan(self, version: str | None = None) -> InstallPlan:
        """Plan an installation, with the node packs of the version in use; changes nothing.

        It takes seconds.

        Raises:
            ValidationError: the setting of the source, or the version, is invalid.
        """
        settings = self._settings
        source = choose_source(settings.engine_source, version)
        packs = [pack.source for pack in installed_packs(self.paths, self.paths.current())]
        facts = collect(settings, source, self.paths, packs=packs)
        return make_plan(
            facts,
            source,
            self.paths,
            stack=settings.engine_stack,
            torch_index=settings.torch_index,
            torch_packages=settings.torch_packages,
            more_packages=settings.engine_packages,
            packs=packs,
            cached={"staging": self._staged_bytes},
        )

    def plan_pack(self, text: str, source_of_pack: str | None = None) -> InstallPlan:
        """Plan a copy of the version in use with one more node pack; changes nothing.

        It replaces one of the same name.

        Args:
            text: a pack of the version in use, or one for :func:`.choose_pack`.
            source_of_pack: where else to take it from, see there.

        Raises:
            ValidationError: nothing is installed, or there is no such pack.
        """
        current, paths = self.require_installed(), self.paths
        installed = {pack.source.name: pack.source for pack in installed_packs(paths, current)}
        is_known = any(pack.name == text for pack in known_packs())
        if text in installed and source_of_pack is None and not is_known:
            pack = installed[text]
        else:
            pack = choose_pack(text, source_of_pack)
        source = Source(
            kind="folder", location=str(paths.home(current) / "ComfyUI"), version=current.version
        )
        packs = [*(other for name, other in installed.items() if name != pack.name), pack]
        facts = collect(self._settings, source, paths, packs=packs, copies=True)
        staged = self._staged_bytes
        return make_plan(
            facts, source, paths, packs=packs, base=current, cached={"staging": staged}
        )

    @property
    def _staged_bytes(self) -> int:
        return folder_bytes(self.paths.staging) if self.paths.staging.exists() else 0

    def install(
        self,
        plan: InstallPlan,
        *,
        cancel: threading.Event | None = None,
        on_progress: Callable[[InstallProgress], None] = lambda _: None,
    ) -> Installation:
        """Install what was planned, see :meth:`.Installer.install`.

        Raises:
            EngineError, InstallCancelledError, StorageError: see there.
        """
        require_feature("engine")
        uv = find_uv()
        return Installer(
            self.paths,
            plan,
            uv=str(uv) if uv else None,
            options=self.options,
            cancel=cancel,
            on_progress=on_progress,
        ).install()

    def start(self) -> str:
        """Start the installed version, or find the one that runs; return its address.

        Raises:
            EngineError: nothing is installed, or it cannot be started.
        """
        require_feature("engine")
        return self.supervisor.start()

    def restart(self, cancel: threading.Event | None = None) -> str:
        """Stop ComfyUI, start the version in use, and wait until it answers.

        Raises:
            EngineError: it does not start.
        """
        self.supervisor.stop()
        url = self.supervisor.start()
        self.supervisor.wait_until_ready(cancel)
        return url

    @property
    def memory_is_set(self) -> bool:
        """Whether a setting determines the use of GPU memory, so that it cannot be chosen."""
        return "engine_memory" in self._settings.model_fields_set

    def choose_memory(self, memory: str) -> None:
        """Keep a choice of how the next start uses the GPU's memory.

        Raises:
            ValidationError: there is no such choice, or a setting determines it.
            StorageError: the disk refuses.
        """
        if memory not in MEMORY_FLAGS:
            raise ValidationError("There is no such use of memory.", hint="Open Status again.")
        if self.memory_is_set:
            raise ValidationError("COMFY_UI_ENGINE_MEMORY determines it.", hint="Change it there.")
        try:
            write_json(self.paths.options_file, {"memory": memory})
        except OSError as error:
            raise disk_error(self.paths.options_file, error) from error
        self.options = self.supervisor.options = replace(self.options, memory=memory)

    def switch(self) -> Installation:
        """Restart with the version in use, or return to the previous one if it does not start.

        Raises:
            EngineError: see :func:`.versions.switch_running`.
        """
        return switch_running(self.paths, self.restart)

    def roll_back(self) -> Installation:
        """Return to the previous version and start it.

        Raises:
            EngineError: there is none, or it does not start.
        """
        previous = roll_back(self.paths)
        self.restart()
        return previous

    def require_installed(self) -> Installation:
        """Return the version in use.

        Raises:
            ValidationError: nothing is installed.
        """
        current = self.paths.current()
        if current is None:
            raise ValidationError(
                "No ComfyUI is installed here.", hint="Install it: comfy-ui engine install"
            )
        return current
