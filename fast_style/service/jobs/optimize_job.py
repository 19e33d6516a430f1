"""An optimisation job, in steps of some seconds, each of which writes a checkpoint.

Without a kill the steps are one descent, and the picture is the one of `optimize_image`. After a
kill the job continues from its last checkpoint, in full precision, at the size and iteration that
it had reached; only the history of L-BFGS (twenty steps, many times the size of the picture) is
lost and built up again.
"""

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fast_style.errors import MissingExtraError
from fast_style.images import Photo, encode_image, read_image, suffix_for
from fast_style.service.jobs.client import PROGRESS
from fast_style.service.jobs.context import LOG, WorkerContext
from fast_style.service.jobs.spec import JobSpec, picture_format

if TYPE_CHECKING:
    from collections.abc import Generator

    from fast_style.optimization.optimizer_loop import Optimization, OptimizeStep

PHOTO = "photo"
PAINTING = "painting-{:02d}"
PREVIEWS = "previews"

_CHECKPOINT = "checkpoint-{:06d}.safetensors"


class OptimizeJob:
    """An optimisation job in this process.

    Attributes:
        number: of the next step.
    """

    def __init__(self, context: WorkerContext, job_id: str, spec: JobSpec, number: int) -> None:
        """Begin, or continue from the newest checkpoint of the steps before this one.

        Raises:
            OSError: the store cannot be read.
            FastStyleError: a picture cannot be used, there is too little memory, or no torch.
        """
        self.number = number
        self._context, self._id, self._spec = context, job_id, spec
        self._options = spec.optimize_options()
        self._format = picture_format(self._options.format) or "PNG"
        self._optimization = self._prepare()
        self._levels = list(self._optimization.levels)
        self._level = self._done_in_level = self._done = 0
        self._losses: list[dict[str, Any]] = []
        self._planned = sum(level.iterations for level in self._levels)
        self._finished = False
        self._steps = self._resume() or self._optimization.steps()

    def advance(self) -> dict[str, Any]:
        """Run for some seconds, or until the job is finished or cancelled or the worker stops.

        Returns:
            `iteration`, the number so far, and `finished`.

        Raises:
            OSError: the store cannot be written.
            FastStyleError: the loss is not finite, or there is too little memory.
        """
        end = time.monotonic() + self._context.checkpoint_seconds
        LOG.info("job %s: step %d from iteration %d", self._id, self.number, self._done)
        cancelled = False
        while not self._finished:
            step = next(self._steps, None)
            if step is None:
                self._finished = True
                break
            self._record(step)
            cancelled = self._context.is_cancelled(self._id)
            if cancelled or self._context.stopping or time.monotonic() >= end:
                break
        if cancelled:
            LOG.info("job %s: cancelled at iteration %d", self._id, self._done)
        else:
            self._write_checkpoint()
        self.number += 1
        return {"iteration": self._done, "finished": self._finished}

    def finish(self) -> dict[str, Any]:
        """Write the result.

        Raises:
            OSError: the store cannot be written.
            FastStyleError: the format cannot hold the picture.
        """
        name = f"result{suffix_for(self._format)}"
        photo = self._optimization.best()
        self._context.store.write(f"{self._id}/{name}", self._encode(photo))
        last = self._losses[-1] if self._losses else {}
        return {
            "result": name,
            "media_type": f"image/{self._format.lower()}",
            "iterations": self._done,
            "losses": {key: last[key] for key in ("total", "content", "style", "tv") if last},
        }

    def _prepare(self) -> "Optimization":
        try:
            from fast_style.optimization.optimizer_loop import Optimization
        except ModuleNotFoundError as error:
            raise MissingExtraError("a job of kind optimize", "torch", "torch") from error

        def picture(name: str) -> Photo:
            data = self._context.store.read(f"{self._spec.inputs}/{name}")
            return read_image(data, max_megapixels=self._spec.max_megapixels, name=name)

        photo = picture(PHOTO)
        if not self._options.keep_metadata:
            photo = replace(photo, exif=None)
        return Optimization(
            photo,
            [picture(PAINTING.format(number)) for number in range(self._spec.paintings)],
            self._options.config(),
            weights=self._options.painting_weights(self._spec.paintings),
        )

    def _record(self, step: "OptimizeStep") -> None:
        """Record an iteration, and write its picture if it is one of the previews."""
        level = self._levels[self._level]
        if (step.width, step.height) != (level.width, level.height):
            # The previous size may have ended early, or exactly at a checkpoint.
            self._planned -= level.iterations - self._done_in_level
            self._level, self._done_in_level = self._level + 1, 0
        self._done += 1
        self._done_in_level += 1
        figures = {"iteration": self._done, "width": step.width, "height": step.height}
        self._losses.append(figures | step.losses.to_dict())
        every = self._options.preview_every
        if every and self._done % every == 0:
            name = f"{PREVIEWS}/{self._done:05d}{suffix_for(self._format)}"
            self._context.store.write(f"{self._id}/{name}", self._encode(step.photo()))

    def _write_checkpoint(self) -> None:
        """Write a checkpoint, and delete all older ones but the previous."""
        import numpy as np
        from safetensors.numpy import save

        best = self._optimization.best_tensor()
        assert best is not None
        # Checkpoints of older releases have these keys, too.
        position = {
            "stage": self._level,
            "done_in_stage": self._done_in_level,
            "done": self._done,
            "planned": self._planned,
            "finished": self._finished,
        }
        arrays = {"picture": np.ascontiguousarray(best.numpy())}
        data = save(arrays, {"place": json.dumps(position), "losses": json.dumps(self._losses)})
        self._context.store.write(self._checkpoint_name(self.number), data)
        progress = {"done": self._done, "total": self._done if self._finished else self._planned}
        progress |= {"unit": "iterations", "losses": self._losses}  # type: ignore[dict-item]
        self._context.store.write(f"{self._id}/{PROGRESS}", json.dumps(progress).encode())
        self._context.store.delete_file(self._checkpoint_name(self.number - 2))

    def _resume(self) -> "Generator[OptimizeStep, None, None] | None":
        import torch

        for number in (self.number, self.number - 1, self.number - 2):
            loaded = self._read_checkpoint(number) if number >= 0 else None
            if loaded is None:
                continue
            picture, position, losses = loaded
            self._level, self._done_in_level = position["stage"], position["done_in_stage"]
            self._done, self._planned = position["done"], position["planned"]
            self._losses, self._finished = losses, position["finished"]
            level = self._levels[self._level]
            left = 0 if self._finished else level.iterations - self._done_in_level
            rest = [] if self._finished else self._levels[self._level + 1 :]
            self._optimization.levels = [replace(level, iterations=left), *rest]
            LOG.info("job %s: continues from iteration %d", self._id, self._done)
            steps = self._optimization.steps(torch.from_numpy(picture))
            if self._finished:
                next(steps, None)  # no iterations are left: this sets the picture
            return steps
        return None

    def _read_checkpoint(
        self, number: int
    ) -> tuple[Any, dict[str, Any], list[dict[str, Any]]] | None:
        """Read a checkpoint; return None if it does not exist or is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            data = self._context.store.read(self._checkpoint_name(number))
            picture = load(data)["picture"]
            length = int.from_bytes(data[:8], "little")
            notes = json.loads(data[8 : 8 + length])["__metadata__"]
            return picture, json.loads(notes["place"]), json.loads(notes["losses"])
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError):
            LOG.warning("job %s: checkpoint %d is damaged and ignored", self._id, number)
            return None

    def _checkpoint_name(self, number: int) -> str:
        return f"{self._id}/{_CHECKPOINT.format(number)}"

    def _encode(self, photo: Photo) -> bytes:
        return encode_image(photo, format=self._format, quality=self._options.quality)[0]
