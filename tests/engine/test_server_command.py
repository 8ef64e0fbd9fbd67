"""The command line and model paths of the managed ComfyUI."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.engine.engine_paths import EnginePaths
from comfy_ui.engine.supervision.server_command import (
    ServerOptions,
    model_paths_yaml,
    prepare_folders,
    server_command,
)
from comfy_ui.settings import load_settings


@pytest.mark.parametrize(
    ("device", "memory", "flag"),
    [
        ("cuda", "auto", None),
        ("cuda", "low", "--lowvram"),
        ("cuda", "none", "--novram"),
        ("cuda", "high", "--highvram"),
        ("cuda", "normal", "--normalvram"),
        ("cuda", "cpu", "--cpu"),
        ("cpu", "high", "--cpu"),
    ],
)
def test_server_command_listens_on_loopback_with_the_memory_flag(
    tmp_path: Path, device: str, memory: str, flag: str | None
) -> None:
    paths = EnginePaths(tmp_path / "engine", tmp_path / "models")
    settings = load_settings(engine_memory=memory, engine_options="--fast 'a b'")
    command = server_command(
        Path("python"),
        Path("source"),
        paths,
        port=8190,
        device=device,
        options=ServerOptions.of(settings, paths),
    )
    assert command[command.index("--listen") + 1] == "127.0.0.1"
    assert command[-2:] == ["--fast", "a b"]
    flags = {"--lowvram", "--novram", "--highvram", "--normalvram", "--cpu"} & {*command}
    assert flags == ({flag} if flag else set())


def test_prepare_folders_existing_models_folder_is_kept(tmp_path: Path) -> None:
    paths = EnginePaths(tmp_path / "engine", tmp_path / "my models")
    file = paths.models / "checkpoints" / "a.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    prepare_folders(paths)
    prepare_folders(paths)
    assert file.read_bytes() == b"weights"
    text = paths.model_paths.read_text()
    assert text == model_paths_yaml(paths)
    assert f'base_path: "{paths.models}"' in text
    assert 'text_encoders: "clip\\ntext_encoders"' in text
