"""An image, then a video that starts with it, then its first frame as a thumbnail.

python examples/video_pipeline.py "a lighthouse in a storm" out/
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from comfy_ui import ComfyWSClient, Progress


def show(progress: Progress) -> None:
    left = "" if progress.eta is None else f", {progress.eta:.0f} s left"
    print(f"\r{progress.progress:3.0f} % {progress.phase}{left}".ljust(60), end="", flush=True)


async def main(prompt: str, out: Path) -> None:
    async with ComfyWSClient() as client:
        still = await client.generate_image(
            prompt, preset="sd15", width=512, height=512, steps=8, on_progress=show
        )
        clip = await client.generate_video(
            prompt,
            preset="wan22_5b",
            image=still.images[0],  # stays on the server
            width=512,
            height=512,
            frames=17,
            seed=still.seed,
            on_progress=show,
        )
        await client.download(still.images[0], out / "thumbnail.png")
        print()
        print(*await clip.save(out), sep="\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
