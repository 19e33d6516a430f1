"""A small folder of photos and a painting for training tests, cut from the photo in tests/data."""

from pathlib import Path

import numpy as np
from PIL import Image

ASTRONAUT = Path(__file__).parent / "data" / "astronaut.jpg"


def make_photos(folder: Path, count: int = 6) -> Path:
    """Write crops of a real photo, in subfolders and several formats; give the folder."""
    rng = np.random.default_rng(0)
    (folder / "more").mkdir(parents=True)
    with Image.open(ASTRONAUT) as photo:
        for i in range(count):
            left, top = rng.integers(0, photo.width // 3, size=2)
            crop = photo.crop((left, top, left + photo.width // 2, top + photo.height // 2))
            suffix = ("jpg", "png", "webp", "jpeg")[i % 4]
            crop.save((folder / "more" if i % 2 else folder) / f"{i}.{suffix}")
    return folder


def make_painting(path: Path) -> Path:
    """Write a striped, noisy picture: a style with little in common with the photos."""
    rng = np.random.default_rng(1)
    waves = np.sin(np.arange(80)[:, None] / 3 + np.arange(96)[None] / 5)
    pixels = 128 + 90 * waves[..., None] * np.array([1.0, -0.5, 0.3]) + rng.normal(0, 20, 3)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path
