"""Model files by address: what Hugging Face and Civitai answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from comfy_ui.errors import ModelDownloadError, ValidationError
from comfy_ui.models.download import ModelSources
from comfy_ui.models.publishers import (
    choose_file,
    is_address,
    look_up,
    read_civitai,
    read_repository,
)
from tests.client.publisher import Publisher, publishing

DIGEST = "ab" * 32
REPOSITORY = {
    "id": "org/model",
    "gated": "auto",
    "cardData": {"license": "apache-2.0"},
    "siblings": [
        {"rfilename": "README.md", "size": 10},
        {
            "rfilename": "split_files/text_encoders/qwen 3.safetensors",
            "size": 900,
            "lfs": {"sha256": DIGEST, "size": 900},
        },
        {"rfilename": "a.safetensors", "size": 20},
        "damaged",
    ],
}
VERSION = {
    "id": 7,
    "model": {"name": "Ink", "type": "LORA"},
    "files": [
        {
            "name": "ink.safetensors",
            "sizeKB": 2.5,
            "type": "Model",
            "hashes": {"SHA256": DIGEST.upper()},
            "downloadUrl": "https://civitai.com/api/download/models/7",
        },
        {"name": "ink.zip", "type": "Training Data", "downloadUrl": "https://civitai.com/x"},
    ],
}


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with publishing(authority) as server:
        yield server


def test_read_repository_has_folder_size_and_digest() -> None:
    model = read_repository(REPOSITORY, "https://huggingface.co/org/model/resolve/main")
    encoder, plain = model.files
    assert (encoder.folder, encoder.filename) == ("text_encoders", "qwen 3.safetensors")
    assert encoder.url == (
        "https://huggingface.co/org/model/resolve/main"
        "/split_files/text_encoders/qwen%203.safetensors"
    )
    assert (encoder.size_bytes, encoder.sha256) == (900, DIGEST)
    assert (encoder.gated, encoder.license) == (True, "apache-2.0")
    assert plain.folder == ""


def test_read_repository_path_limits_the_files() -> None:
    model = read_repository(REPOSITORY, "https://h/m", "split_files/text_encoders")
    assert [file.filename for file in model.files] == ["qwen 3.safetensors"]
    with pytest.raises(ModelDownloadError, match="has no model file"):
        read_repository(REPOSITORY, "https://h/m", "split")


@pytest.mark.parametrize("answer", [VERSION, {**VERSION["model"], "modelVersions": [VERSION]}])  # type: ignore[dict-item]
def test_read_civitai_version_and_model_give_the_lora(answer: Any) -> None:
    (file,) = read_civitai(answer).files
    assert (file.folder, file.filename, file.size_bytes) == ("loras", "ink.safetensors", 2560)
    assert file.sha256 == DIGEST


@pytest.mark.parametrize("answer", [None, [], {"siblings": 3}, {"files": [{"name": 5}]}])
def test_read_answers_of_another_form_have_no_file(answer: Any) -> None:
    for read in (read_civitai, lambda data: read_repository(data, "https://h/m")):
        with pytest.raises(ModelDownloadError, match="no model file"):
            read(answer)


def test_choose_file_asks_for_a_name_and_a_folder() -> None:
    model = read_repository(REPOSITORY, "https://h/m")
    with pytest.raises(ValidationError, match="several files"):
        choose_file(model, None, None)
    with pytest.raises(ValidationError, match=r"no file 'b\.safetensors'"):
        choose_file(model, "b.safetensors", None)
    with pytest.raises(ValidationError, match="Nothing tells the folder"):
        choose_file(model, "a.safetensors", None)
    assert choose_file(model, "a.safetensors", "vae").folder == "vae"
    assert choose_file(model, "qwen 3.safetensors", None).folder == "text_encoders"


@pytest.mark.parametrize("text", ["sdxl", "workflow.json", "/home/a/b.json", "a/b/c"])
def test_is_address_of_a_preset_or_path_is_false(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ("org/model", "/api/models/org/model/revision/main?blobs=true"),
        ("https://{hub}/org/model/tree/v2", "/api/models/org/model/revision/v2?blobs=true"),
        (
            "https://{hub}/org/model/blob/main/a.safetensors",
            "/api/models/org/model/revision/main?blobs=true",
        ),
    ],
)
async def test_look_up_asks_the_hub_with_its_token(
    publisher: Publisher, page: str, path: str
) -> None:
    publisher.content, publisher.token = json.dumps(REPOSITORY).encode(), "secret"
    sources = ModelSources(token="secret", hub=publisher.host)
    model = await look_up(page.format(hub=publisher.host), sources)
    assert publisher.asked[-1]["path"] == path
    assert len(model.files) == (1 if "blob" in page else 2)
    with pytest.raises(ModelDownloadError, match="requires a login"):
        await look_up("org/model", ModelSources(hub=publisher.host))


@pytest.mark.parametrize(
    ("content", "statuses", "reason"),
    [(b"<html>", [], "invalid answer"), (b"{}", [500], "answered 500"), (b"{}", [404], "no such")],
)
async def test_look_up_without_usable_answer_says_why(
    publisher: Publisher, content: bytes, statuses: list[int], reason: str
) -> None:
    publisher.content, publisher.statuses = content, statuses
    with pytest.raises(ModelDownloadError, match=reason):
        await look_up("org/model", ModelSources(hub=publisher.host))


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("https://civitai.com/models/1", "Downloads from 'civitai.com' are not allowed"),
        ("https://example.com/a.safetensors", "neither at Hugging Face nor at Civitai"),
        ("https://huggingface.co/datasets/a/b", "not a model repository"),
        ("https://civitai.com/user/x", "not the page of a model"),
    ],
)
async def test_look_up_other_address_is_refused(address: str, error: str) -> None:
    with pytest.raises((ModelDownloadError, ValidationError), match=error):
        await look_up(address, ModelSources())
