from __future__ import annotations

import json
import logging

import pytest

from comfy_ui.logging import configure, redact

CANARY = "s3cr3t-canary-42"


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:{CANARY}@gpu.example.com/",
        f"Authorization: Bearer {CANARY}",
        f"headers={{'X-API-Key': '{CANARY}'}}",
        f"wss://cloud.example.com/ws?clientId=1&token={CANARY}",
    ],
)
def test_redact_credentials_inside_text_are_removed(text: str) -> None:
    assert CANARY not in redact(text)


def test_redact_ordinary_text_is_unchanged() -> None:
    text = "node 7 (KSampler): token count 77, see http://localhost:8188/queue"
    assert redact(text) == text


@pytest.mark.parametrize("as_json", [False, True])
def test_configure_secrets_are_redacted_in_lines_and_tracebacks(capsys, as_json: bool) -> None:
    configure("info", as_json=as_json, secrets=[CANARY])
    logger = logging.getLogger("comfy_ui.client")
    try:
        raise RuntimeError(f"refused {CANARY}")
    except RuntimeError:
        logger.exception("call with %s failed", CANARY)
    captured = capsys.readouterr()
    assert "call with [redacted] failed" in captured.err
    assert CANARY not in captured.err
    assert captured.out == ""


def test_configure_as_json_writes_parseable_lines(capsys) -> None:
    configure("info", as_json=True)
    logging.getLogger("comfy_ui.x").info("hello %s", "wörld")
    entry = json.loads(capsys.readouterr().err)
    assert (entry["level"], entry["logger"], entry["message"]) == (
        "info",
        "comfy_ui.x",
        "hello wörld",
    )
