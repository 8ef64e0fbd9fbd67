"""A report has no secrets, so that it can be pasted into an issue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.doctor import doctor_report
from comfy_ui.doctor.doctor_report import redactor, report_on
from comfy_ui.doctor.machine import Disk, Gpu, LanguageModelFacts, ModelPath, PresetFacts
from comfy_ui.health import HealthVerdict
from comfy_ui.settings import load_settings
from tests.doctor.test_machine_checks import HEALTHY, SERVER

SETTINGS = {
    "comfyui_url": "https://anna:hunter2secret@gpu.example.org:8443",
    "comfyui_token": "comfy-token-123456",
    "openai_api_key": "sk-proj-abcdefghijkl",
    "hf_token": "hf_abcdefghijkl",
    "metrics_token": "metrics-token-123456",
    "api_key_comfy_org": "comfy-org-key-123456",
    "auth": "anna:page-password-1",
}
SECRETS = [
    "hunter2secret",
    "comfy-token-123456",
    "sk-proj-abcdefghijkl",
    "hf_abcdefghijkl",
    "page-password-1",
    "metrics-token-123456",
    "comfy-org-key-123456",
    "typed-on-the-page",
]


@pytest.fixture
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_report, "_account_name", lambda: "anna")
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("USERPROFILE", "/home/anna")


def test_report_secrets_in_every_fact_are_removed(anna: None) -> None:
    leaks = " ".join(
        [*SECRETS, "https://anna:hunter2secret@gpu.example.org:8443/x?token=tokenvalue"]
    )
    path = Path("/mnt/big/anna/data")
    machine = replace(
        HEALTHY,
        platform=leaks,
        gpus=(Gpu(vendor="nvidia", name="RTX", trouble="driver_fails", detail=leaks),),
        disks=(Disk(purpose="data", path=path, free_bytes=0),),
        data=replace(HEALTHY.data, path=path, database="damaged", detail=leaks),
        servers=(
            replace(
                SERVER,
                url="https://anna:hunter2secret@gpu.example.org:8443",
                local=False,
                verdict=HealthVerdict.UNREACHABLE,
                error=leaks,
                advice=leaks,
            ),
            replace(SERVER, verdict=HealthVerdict.REFUSED, error=leaks, advice=leaks),
        ),
        presets=PresetFacts(total=3, broken=(f"/home/anna/p.toml: {leaks}",)),
        models=(ModelPath(path=Path("/home/anna/models"), source="setting", exists=False),),
        language_model=LanguageModelFacts(
            state="failed", url="http://anna:hunter2secret@llm/v1", error=leaks, hint=leaks
        ),
    )
    report = report_on(machine, load_settings(**SETTINGS), ["typed-on-the-page"])
    for text in (str(report), str(report.to_dict())):
        assert [secret for secret in [*SECRETS, "tokenvalue", "anna"] if secret in text] == []
        assert "gpu.example.org" not in text
        assert "[redacted]" in text
    assert "/mnt/big/[user]/data" in str(report)
    assert "~/models" in str(report)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/anna/x", "~/x"),
        ("'/home/anna'", "'~'"),
        ("/home/annabel/x", "/home/[user]/x"),
        ("/Users/bob/ComfyUI", "/Users/[user]/ComfyUI"),
        (r"C:\Users\Bob\AppData", r"C:\Users\[user]\AppData"),
        ("/mnt/c/Users/bob/x", "/mnt/c/Users/[user]/x"),
        ("/media/bob/disk/models", "/media/[user]/disk/models"),
        ("anna is a name", "anna is a name"),
        ("http://127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("http://192.168.1.5:8188: Refused.", "http://192.168.1.5:8188: Refused."),
        ("https://k3y-8188.proxy.runpod.net", "https://[host].proxy.runpod.net"),
        ("http://203.0.113.7:8188 and http://8.8.8.8:1", None),
        ("http://me@localhost:1", "http://localhost:1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
    ],
)
def test_redactor_of_one_text_keeps_the_rest(text: str, clean: str | None) -> None:
    redacted = redactor([], home=Path("/home/anna"), account="anna")(text)
    if clean is None:
        assert "8.8.8.8" not in redacted
    else:
        assert redacted == clean


def test_report_counts_and_verdict_follow_the_problems() -> None:
    good = report_on(replace(HEALTHY, gpus=()), load_settings())
    assert (good.ok, good.summary.split(",")[:2]) == (True, ["0 problems", " 1 note"])
    bad = report_on(
        replace(HEALTHY, disks=(), servers=(), demo=True, presets=None), load_settings()
    )
    assert bad.ok
    stuck = replace(SERVER, verdict=HealthVerdict.STUCK)
    assert not report_on(replace(HEALTHY, servers=(stuck,)), load_settings()).ok
    assert good.to_dict()["counts"]["problem"] == 0
