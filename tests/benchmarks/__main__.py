"""``python -m tests.benchmarks``: what the clients cost, beside a raw aiohttp client as the floor.

Against the embedded engine in a process of its own, or the server at --url or COMFYUI_URL. How well
the percentage is time on a real ComfyUI, freshly started::

    python -m tests.benchmarks --only progress --url http://127.0.0.1:8188 --presets sd15 \\
        --set width=256 --set height=256 --set steps=12
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from functools import partial
from typing import Any

from tests.benchmarks import measure, progress, studio
from tests.benchmarks.gap import gaps
from tests.benchmarks.server import chosen, embedded

PARTS = ("latency", "burst", "previews", "pending", "import", "progress", "studio", "gap")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url", help="a ComfyUI for latency, burst, gap and progress; else COMFYUI_URL"
    )
    parser.add_argument("--jobs", type=int, default=100, help="instant jobs for each client")
    parser.add_argument("--at-once", type=int, default=200, help="jobs in a burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts; the best one counts")
    parser.add_argument("--seconds", type=float, default=10, help="of 20 Hz previews")
    parser.add_argument("--pending", type=int, default=500, help="jobs waiting on one client")
    parser.add_argument(
        "--beside",
        metavar="PYTHON",
        help="a Python that has other clients of ComfyUI (see others.py), for the latency table",
    )
    parser.add_argument(
        "--presets", choices=progress.PRESETS, action="append", help="for the progress"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=_value,
        action="append",
        default=[],
        help="a value of the presets for the progress, such as steps=12",
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="leave out the other parts")
    args = parser.parse_args(argv)
    parts = args.only or PARTS
    if args.url:
        os.environ["COMFYUI_URL"] = args.url

    server = os.environ.get("COMFYUI_URL", "embedded engine, own process")
    print(f"server: {server}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    if "latency" in parts:
        with chosen() as url:
            figures = asyncio.run(measure.latency(url, jobs=args.jobs))
            _print_latency(figures)
            if args.beside:
                others = measure.others(args.beside, url, jobs=args.jobs)
                _print_others(others, figures["raw"].p50_ms)
    if "burst" in parts:
        with chosen() as url:
            bursts = asyncio.run(measure.at_once(url, jobs=args.at_once, rounds=args.rounds))
        _print_bursts(bursts, args.at_once)
    if "previews" in parts:
        with embedded(20) as url:
            shown = asyncio.run(measure.previews(url, seconds=args.seconds))
        print(
            f"20 Hz previews of 512² (embedded): {shown.frames} different frames seen in "
            f"{shown.seconds:.1f} s, CPU {shown.cpu_percent:.1f} %, memory {shown.grown_mib:+.1f} "
            f"MiB, progress fell by {shown.largest_fall:.2f}\n"
        )
    if "gap" in parts:
        with chosen(node_s={"EmptyImage": 0.1}) as url:
            idle = asyncio.run(gaps(url, jobs=args.jobs))
        print(
            f"{args.jobs} jobs of 0.1 s in the queue: ComfyUI idles {idle.median_ms:.0f} ms "
            f"between two (median; at most {idle.max_ms:.0f} ms), by its own clock\n"
        )
    if "pending" in parts:
        with embedded(20) as url:
            held = asyncio.run(measure.pending(url, jobs=args.pending))
        print(
            f"{held.jobs} pending jobs on one client (embedded): {held.sockets} sockets, memory "
            f"{held.grown_mib:+.1f} MiB, CPU while they wait {held.idle_cpu_percent:.1f} %, "
            f"{held.cpu_ms:.2f} ms of CPU a job, all done after {held.seconds:.1f} s\n"
        )
    if "studio" in parts:
        _print_studio(args.at_once, args.rounds)
    if "progress" in parts:
        _print_progress(args.presets or [*progress.PRESETS], dict(args.set))
    if "import" in parts:
        for module in ("comfy_ui", "comfy_ui.client"):
            print(f"import {module}: {measure.import_ms(module):.0f} ms")


def _print_studio(jobs: int, rounds: int) -> None:
    print(f"studio, {jobs} jobs (embedded)   raw jobs/s   jobs/s   ratio   CPU ms/job   submit ms")
    for run in studio.measure(jobs=jobs, rounds=rounds):
        print(
            f"{'':30} {run.raw_jobs_per_s:11.1f} {run.jobs_per_s:8.1f} {run.ratio:7.2f} "
            f"{run.cpu_ms:12.1f} {run.submit_ms:11.1f} (burst {run.burst_ms:.1f})"
        )
    print()


def _value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def _print_progress(presets: list[str], values: dict[str, Any]) -> None:
    print("progress                 run   seconds   |progress - time|   ETA error after 2 steps")
    for preset in presets:
        progress.measure(preset, values=values, on_run=partial(_print_run, preset))
    print()


def _print_run(preset: str, number: int, run: progress.Run) -> None:
    eta = "-" if run.eta_error is None else f"{run.eta_error:.0%}"
    known = ", known from the start" if run.eta_from_start else ""
    print(
        f"{preset:24} {number:3} {run.seconds:9.1f} {run.progress_error:19.3f} {eta:>12}{known}",
        flush=True,
    )


def _print_latency(figures: dict[str, measure.Figures]) -> None:
    raw = figures["raw"]
    print("instant job     p50 ms   p95 ms   jobs/s   CPU ms/job   p50 / raw")
    for name, f in figures.items():
        print(
            f"{name:12} {f.p50_ms:9.2f} {f.p95_ms:8.2f} {f.jobs_per_s:8.1f} {f.cpu_ms:12.2f} "
            f"{f.p50_ms / raw.p50_ms:11.2f}"
        )
    print()


def _print_others(others: dict[str, measure.Others], raw_ms: float) -> None:
    print("others, one by one       good      p50 ms   p95 ms   p50 / raw   first error")
    for name, other in others.items():
        good = sorted(other.seconds)
        error = other.errors[0][:60] if other.errors else ""
        if not good:
            print(f"{name:22} {0:4}/{other.jobs:<4} {'–':>9} {'–':>8} {'–':>11}   {error}")
            continue
        p50, p95 = (good[int(len(good) * share)] * 1000 for share in (0.5, 0.95))
        print(
            f"{name:22} {len(good):4}/{other.jobs:<4} {p50:9.2f} {p95:8.2f} "
            f"{p50 / raw_ms:11.2f}   {error}"
        )
    print()


def _print_bursts(bursts: dict[str, measure.Burst], jobs: int) -> None:
    raw = bursts["raw"]
    print(f"{jobs} at once     jobs/s   CPU ms/job   jobs/s / raw")
    for name, burst in bursts.items():
        print(
            f"{name:12} {burst.jobs_per_s:9.1f} {burst.cpu_ms:12.2f} "
            f"{burst.jobs_per_s / raw.jobs_per_s:14.2f}"
        )
    print()


if __name__ == "__main__":
    main()
