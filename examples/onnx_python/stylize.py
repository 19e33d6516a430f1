"""Put an exported style on a photo: `python stylize.py style.onnx photo.jpg stylized.jpg`."""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main() -> None:
    """Read a photo, run the style, write the picture."""
    model, source, target = sys.argv[1:]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    photo = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    # The model converts and normalizes: input and output are uint8, (batch, height, width, 3).
    (stylized,) = session.run(["stylized"], {"image": np.asarray(photo)[None]})
    Image.fromarray(stylized[0]).save(target)


if __name__ == "__main__":
    main()
