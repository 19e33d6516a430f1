"""The bundled weights of VGG-16 to relu4_3 and their layout; needs no torch.

Simonyan and Zisserman 2014 (arXiv 1409.1556), configuration D of table 1.
"""

from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fast_style.errors import WeightsError

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512))
"""Convolutions before each max-pooling, and their filters."""

BGR_MEAN = (103.939, 116.779, 123.68)
"""Subtracted from BGR pixels of 0-255; there is no scaling."""

_FILE = "vgg16_relu4_3_fp16.safetensors"


def load_vgg_weights() -> dict[str, NDArray[np.float16]]:
    """Load the bundled weights, float16, by torchvision's names such as `features.0.weight`.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    with as_file(files("fast_style") / "weights" / _FILE) as path:
        try:
            with safe_open(path, framework="numpy") as file:
                names = list(file.keys())
                return {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"the bundled VGG weights at {path} cannot be read ({error}): reinstall fast-style"
            ) from error
