from __future__ import annotations

import shutil
import subprocess

import pytest

from comfy_ui.cli.main import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_commands_options_and_presets(shell: str, capsys) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("resume", "sdxl_img2img", "kitty"):
        assert word in script
    assert ("-l preview" if shell == "fish" else "--preview") in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["can"], {"cancel"}),
        (["keys", "rev"], {"revoke"}),
        (["run", "sdxl_i"], {"sdxl_img2img", "sdxl_inpaint"}),
        (["--demo", "resume", "id", "--prev"], {"--preview"}),
    ],
)
def test_completion_of_bash_offers_the_words_that_fit(
    words: list[str], expected: set[str], capsys
) -> None:
    run(["completion", "bash"])
    script = capsys.readouterr().out
    typed = " ".join(["comfy-ui", *words])
    code = f"{script}\nCOMP_WORDS=({typed})\nCOMP_CWORD={len(words)}\n_comfy_ui\n"
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    process = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert {*process.stdout.split()} == expected
