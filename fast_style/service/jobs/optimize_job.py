"""An optimisation in steps of some seconds, each of which leaves a checkpoint.

As long as a worker lives, the steps are one descent, and the picture is what `optimize_image`
gives. After a kill it goes on from the last checkpoint, in full precision, at the size and
iteration it had reached; only the memory of L-BFGS (twenty steps, many times the picture) is lost
and grows anew.
"""

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fast_style.errors import MissingExtraError
from fast_style.images import Photo, encode_image, read_image, suffix_for
from fast_style.service.jobs.client import PROGRESS
from fast_style.service.jobs.context import LOG, Workplace
from fast_style.service.jobs.spec import JobSpec, picture_format

if TYPE_CHECKING:
    from collections.abc import Generator

    from fast_style.optimization.optimizer_loop import Optimization, OptimizeStep

PHOTO = "photo"
PAINTING = "painting-{:02d}"
PREVIEWS = "previews"

_CHECKPOINT = "checkpoint-{:06d}.safetensors"


class Run:
    """An optimisation on its way in this process.

    Attributes:
        number: of the step that comes next.
    """

    def __init__(self, work: Workplace, job_id: str, spec: JobSpec, number: int) -> None:
        """Begin, or go on from the newest checkpoint that a step up to this one has left.

        Raises:
            OSError: the store cannot be read.
            FastStyleError: a picture cannot be used, there is too little memory, or no torch.
        """
        self.number = number
        self._work, self._id, self._spec = work, job_id, spec
        self._order = spec.optimize_order()
        self._format = picture_format(self._order.format) or "PNG"
        self._optimization = self._prepared()
        self._stages = list(self._optimization.levels)
        self._stage = self._done_in_stage = self._done = 0
        self._losses: list[dict[str, Any]] = []
        self._planned = sum(stage.iterations for stage in self._stages)
        self._finished = False
        self._steps = self._resumed() or self._optimization.steps()

    def advance(self) -> dict[str, Any]:
        """Go on for some seconds, or until it is finished, cancelled or the worker stops.

        Returns:
            `iteration`, and whether it is `finished`.

        Raises:
            OSError: the store cannot be written.
            FastStyleError: the loss went beyond all numbers, or the memory does not suffice.
        """
        end = time.monotonic() + self._work.checkpoint_seconds
        LOG.info("job %s: step %d from iteration %d", self._id, self.number, self._done)
        cancelled = False
        while not self._finished:
            step = next(self._steps, None)
            if step is None:
                self._finished = True
                break
            self._note(step)
            cancelled = self._work.cancelled(self._id)
            if cancelled or self._work.stopping or time.monotonic() >= end:
                break
        if cancelled:
            LOG.info("job %s: cancelled at iteration %d", self._id, self._done)
        else:
            self._keep()
        self.number += 1
        return {"iteration": self._done, "finished": self._finished}

    def finish(self) -> dict[str, Any]:
        """Write the result.

        Raises:
            OSError: the store cannot be written.
            FastStyleError: the picture does not fit the format.
        """
        name = f"result{suffix_for(self._format)}"
        photo = self._optimization.best()
        self._work.store.write(f"{self._id}/{name}", self._encoded(photo))
        last = self._losses[-1] if self._losses else {}
        return {
            "result": name,
            "media_type": f"image/{self._format.lower()}",
            "iterations": self._done,
            "losses": {key: last[key] for key in ("total", "content", "style", "tv") if last},
        }

    def _prepared(self) -> "Optimization":
        try:
            from fast_style.optimization.optimizer_loop import Optimization
        except ModuleNotFoundError as error:
            raise MissingExtraError("a job of kind optimize", "torch", "torch") from error

        def picture(name: str) -> Photo:
            data = self._work.store.read(f"{self._spec.inputs}/{name}")
            return read_image(data, max_megapixels=self._spec.max_megapixels, name=name)

        photo = picture(PHOTO)
        if not self._order.keep_metadata:
            photo = replace(photo, exif=None)
        return Optimization(
            photo,
            [picture(PAINTING.format(number)) for number in range(self._spec.paintings)],
            self._order.config(),
            weights=self._order.painting_weights(self._spec.paintings),
        )

    def _note(self, step: "OptimizeStep") -> None:
        """Take down an iteration, and keep its picture if it is its turn."""
        stage = self._stages[self._stage]
        if (step.width, step.height) != (stage.width, stage.height):
            # The size before may have been left early, or just at a checkpoint.
            self._planned -= stage.iterations - self._done_in_stage
            self._stage, self._done_in_stage = self._stage + 1, 0
        self._done += 1
        self._done_in_stage += 1
        figures = {"iteration": self._done, "width": step.width, "height": step.height}
        self._losses.append(figures | step.losses.to_dict())
        every = self._order.preview_every
        if every and self._done % every == 0:
            name = f"{PREVIEWS}/{self._done:05d}{suffix_for(self._format)}"
            self._work.store.write(f"{self._id}/{name}", self._encoded(step.photo()))

    def _keep(self) -> None:
        """Leave a checkpoint; only the one before stays beside it."""
        import numpy as np
        from safetensors.numpy import save

        best = self._optimization.best_tensor()
        assert best is not None
        place = {
            "stage": self._stage,
            "done_in_stage": self._done_in_stage,
            "done": self._done,
            "planned": self._planned,
            "finished": self._finished,
        }
        arrays = {"picture": np.ascontiguousarray(best.numpy())}
        data = save(arrays, {"place": json.dumps(place), "losses": json.dumps(self._losses)})
        self._work.store.write(self._checkpoint(self.number), data)
        progress = {"done": self._done, "total": self._done if self._finished else self._planned}
        progress |= {"unit": "iterations", "losses": self._losses}  # type: ignore[dict-item]
        self._work.store.write(f"{self._id}/{PROGRESS}", json.dumps(progress).encode())
        self._work.store.delete_file(self._checkpoint(self.number - 2))

    def _resumed(self) -> "Generator[OptimizeStep, None, None] | None":
        import torch

        for number in (self.number, self.number - 1, self.number - 2):
            loaded = self._loaded(number) if number >= 0 else None
            if loaded is None:
                continue
            picture, place, losses = loaded
            self._stage, self._done_in_stage = place["stage"], place["done_in_stage"]
            self._done, self._planned = place["done"], place["planned"]
            self._losses, self._finished = losses, place["finished"]
            stage = self._stages[self._stage]
            left = 0 if self._finished else stage.iterations - self._done_in_stage
            rest = [] if self._finished else self._stages[self._stage + 1 :]
            self._optimization.levels = [replace(stage, iterations=left), *rest]
            LOG.info("job %s: goes on from iteration %d", self._id, self._done)
            steps = self._optimization.steps(torch.from_numpy(picture))
            if self._finished:
                next(steps, None)  # nothing is left to do: this takes the picture up
            return steps
        return None

    def _loaded(self, number: int) -> tuple[Any, dict[str, Any], list[dict[str, Any]]] | None:
        """Read a checkpoint; None if it is not there or not sound."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            data = self._work.store.read(self._checkpoint(number))
            picture = load(data)["picture"]
            length = int.from_bytes(data[:8], "little")
            notes = json.loads(data[8 : 8 + length])["__metadata__"]
            return picture, json.loads(notes["place"]), json.loads(notes["losses"])
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError):
            LOG.warning("job %s: checkpoint %d is damaged and passed over", self._id, number)
            return None

    def _checkpoint(self, number: int) -> str:
        return f"{self._id}/{_CHECKPOINT.format(number)}"

    def _encoded(self, photo: Photo) -> bytes:
        return encode_image(photo, format=self._format, quality=self._order.quality)[0]
