"""Render a list of prompts; run the same command again after a crash to finish the batch.

python examples/batch_with_resume.py prompts.txt out/
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import uuid4

from comfy_ui import ComfyClient, ComfyHeadlessError, SyncResult, compile_workflow


def main(prompts: Path, out: Path, preset: str = "sd15") -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = out / "batch.json"
    resume = plan.exists()
    if not resume:  # the ids are on disk before the first job is queued
        lines = prompts.read_text(encoding="utf-8").splitlines()
        plan.write_text(json.dumps({str(uuid4()): line for line in lines if line}))
    jobs: dict[str, str] = json.loads(plan.read_text())

    def keep(index: int, outcome: SyncResult | ComfyHeadlessError) -> None:
        if isinstance(outcome, ComfyHeadlessError):
            print(f"{index}: {outcome}", file=sys.stderr)
        else:
            print(index, outcome.seed, *outcome.save(out))

    with ComfyClient() as client:
        client.run_batch(
            [
                compile_workflow(preset, prompt=prompt, seed=seed, steps=8)
                for seed, prompt in enumerate(jobs.values())
            ],
            prompt_ids=list(jobs),
            resume=resume,
            on_result=keep,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
