"""Pictures kept on the way: in a folder, as a ZIP archive or as an animation."""

import io
import os
import zipfile
from pathlib import Path

from PIL import Image

from fast_style.errors import ImageWriteError, UsageError
from fast_style.images import encode_image, suffix_for, to_pil
from fast_style.optimization.optimizer_loop import OptimizeStep
from fast_style.storage.atomic_write import replace_file

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}

_MILLISECONDS = 120
_LAST_MILLISECONDS = 2000


class Keeper:
    """Keeps the best picture of every so many iterations, and the last one.

    Attributes:
        path: where: `NAME.zip`, an animation (`NAME.gif`, `NAME.webp`), or else a folder.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: int, *, format: str, quality: int | None = None
    ) -> None:
        """Take the place, which is made if need be.

        Args:
            path: see the class.
            every: iterations from one picture to the next.
            format: Pillow's name of the format of single pictures.
            quality: of single pictures, see `encode_image`.

        Raises:
            UsageError: `every` is below 1.
            ImageWriteError: there is a file in the place of the folder, or it cannot be made.
        """
        if every < 1:
            raise UsageError(
                f"a picture is to be kept every {every} iterations; expected 1 or more"
            )
        self.path = Path(path)
        self._every, self._format, self._quality = every, format, quality
        self._kept: list[tuple[str, bytes]] = []
        self._frames: list[Image.Image] = []
        self._last: OptimizeStep | None = None
        self._suffix = self.path.suffix.lower()
        folder = self.path.parent if self._is_file else self.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageWriteError(
                f"the folder {folder} for the kept pictures could not be made: {error.strerror}"
            ) from error

    @property
    def _is_file(self) -> bool:
        return self._suffix == ".zip" or self._suffix in ANIMATIONS

    def add(self, step: OptimizeStep) -> None:
        """Take note of a step, and keep its picture if it is its turn."""
        self._last = step
        if step.iteration % self._every == 0:
            self._keep(step)
            self._last = None

    def finish(self) -> None:
        """Keep the last picture, and write what goes into one file.

        Raises:
            ImageWriteError: it cannot be written.
        """
        if self._last is not None:
            self._keep(self._last)
            self._last = None
        content = io.BytesIO()
        if self._suffix == ".zip":
            with zipfile.ZipFile(content, "w") as archive:  # stored: pictures do not get smaller
                for name, data in self._kept:
                    archive.writestr(zipfile.ZipInfo(name), data)
        elif self._frames:
            times = [_MILLISECONDS] * (len(self._frames) - 1) + [_LAST_MILLISECONDS]
            first, *others = self._frames
            first.save(
                content,
                ANIMATIONS[self._suffix],
                save_all=True,
                append_images=others,
                duration=times,
                loop=0,
            )
        if content.tell():
            self._write(self.path, content.getvalue())

    def _keep(self, step: OptimizeStep) -> None:
        photo = step.photo()
        if self._suffix in ANIMATIONS:
            self._frames.append(to_pil(photo).convert("RGB"))
            return
        name = f"step-{step.iteration:05d}{suffix_for(self._format)}"
        data, _ = encode_image(photo, format=self._format, quality=self._quality)
        if self._suffix == ".zip":
            self._kept.append((name, data))
        else:
            self._write(self.path / name, data)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as error:
            raise ImageWriteError(
                f"{path} could not be written: {error.strerror or error}"
            ) from error
