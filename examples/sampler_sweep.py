"""Every sampler with several step counts, on a workflow exported from ComfyUI.

python examples/sampler_sweep.py exported.json out/
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

from comfy_ui import ComfyClient, apply_values, find_controls, load_workflow

SAMPLERS = ("euler", "dpmpp_2m", "ddim")
STEPS = (4, 8)


def main(exported: Path, out: Path) -> None:
    workflow = load_workflow(exported)
    with ComfyClient() as client:
        registry = client.object_info()
        graph = workflow.to_graph(registry)
        controls = find_controls(graph, registry, workflow.editor)
        sweep = list(product(SAMPLERS, STEPS))
        graphs = [
            apply_values(graph, controls, {"sampler": sampler, "steps": steps, "seed": 7})
            for sampler, steps in sweep
        ]
        for index, outcome in client.as_completed(graphs):
            sampler, steps = sweep[index]
            if isinstance(outcome, Exception):
                print(f"{sampler} {steps}: {outcome}", file=sys.stderr)
                continue
            client.download(outcome.images[0], out / f"{sampler}-{steps:02}.png")
            print(f"{sampler} {steps}: {outcome.seconds} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
