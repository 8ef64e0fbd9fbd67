"""A package index on loopback with tiny wheels, for the real uv."""

from __future__ import annotations

import hashlib
import io
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from comfy_ui.engine.planning.stack_choice import load_stacks
from tests.engine.stand_in import ROOT, TORCH

CPU = load_stacks()[-1]


def wheel(name: str, version: str, files: Mapping[str, str], requires: str = "") -> bytes:
    """The bytes of a wheel."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    content = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            zipped.writestr(path, text)
    return buffer.getvalue()


def standard_packages() -> dict[str, dict[str, bytes]]:
    """The wheels by index and file name: PyTorch's own index has another torch than the others.

    Both let the source of :mod:`.stand_in` import the packages of this environment.
    """
    here = "".join(f"{path}\n" for path in [str(ROOT), *sys.path] if Path(path).is_dir())

    def torch(version: str) -> bytes:
        code = TORCH.replace("2.11.0+cpu", version)
        return wheel("torch", version, {"torch.py": code, "stand_in.pth": here})

    vision, audio = CPU.torchvision, CPU.torchaudio
    return {
        "simple": {
            "einops-1.0-py3-none-any.whl": wheel("einops", "1.0", {"einops.py": ""}),
            f"torch-{CPU.torch}-py3-none-any.whl": torch(CPU.torch),
            "torch-9.1-py3-none-any.whl": torch("9.1"),
            f"torchvision-{vision}-py3-none-any.whl": wheel("torchvision", vision, {}),
            f"torchaudio-{audio}-py3-none-any.whl": wheel("torchaudio", audio, {}),
        },
        "whl/cpu": {
            f"torch-{CPU.torch}+cpu-py3-none-any.whl": torch(f"{CPU.torch}+cpu"),
        },
    }


@dataclass
class PackageIndex:
    """The simple API of https://peps.python.org/pep-0503/ with switches for faults."""

    packages: dict[str, dict[str, bytes]] = field(default_factory=standard_packages)
    wrong_hash: bool = False
    hold: threading.Event = field(default_factory=threading.Event)
    """While it is clear, wheels of torch are not sent."""
    asked_for_torch: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __post_init__(self) -> None:
        self.hold.set()

    def answer(self, path: str, *, head: bool) -> bytes | None:
        """The content at a path; None: there is none."""
        for prefix, files in self.packages.items():
            if not path.startswith(f"/{prefix}/"):
                continue
            name = path.removeprefix(f"/{prefix}/").strip("/")
            if name in files:
                if name.startswith("torch-") and not head:
                    self.asked_for_torch.set()
                    self.hold.wait(60)
                return files[name]
            links = [
                f'<a href="/{prefix}/{file}#sha256={self._digest(content)}">{file}</a>'
                for file, content in files.items()
                if file.partition("-")[0] == name
            ]
            return f"<html><body>{''.join(links)}</body></html>".encode() if links else None
        return None

    def _digest(self, content: bytes) -> str:
        return "0" * 64 if self.wrong_hash else hashlib.sha256(content).hexdigest()

    @contextmanager
    def serve(self) -> Iterator[PackageIndex]:
        """Serve on a free port."""
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET(head=True)

            def do_GET(self, *, head: bool = False) -> None:
                content = index.answer(self.path.replace("%2B", "+"), head=head)
                self.send_response(404 if content is None else 200)
                page = self.path.endswith("/")
                self.send_header("content-type", "text/html" if page else "application/zip")
                self.send_header("content-length", str(len(content or b"")))
                self.end_headers()
                with suppress(OSError):  # uv was ended
                    self.wfile.write(b"" if head or content is None else content)

            def log_message(self, *_: object) -> None:
                """Keep the output of the tests clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self.hold.set()
            server.shutdown()
            server.server_close()
            thread.join()
