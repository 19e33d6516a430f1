"""The losses over the steps of a run, for the model's card."""

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

_NAMES = ("total", "content", "style")
_MOST = 96


class LossCurve(pl.Callback):
    """Keeps the weighted losses as fewer than 96 points, each the mean of equally many steps.

    When there are more, each two are put together, so that a long run keeps no more than a short
    one. It goes into checkpoints and comes out of them.
    """

    def __init__(self) -> None:
        self._every = 1
        self._points: list[list[float]] = []  # last step, then the means in the order of `_NAMES`
        self._sums: list[float | Tensor] = [0.0] * len(_NAMES)
        self._count = 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the step's losses in."""
        metrics = trainer.callback_metrics
        # Left where they are: reading them each step would make a GPU wait.
        pairs = zip(self._sums, _NAMES, strict=True)
        self._sums = [total + metrics[f"loss/{name}"].detach() for total, name in pairs]
        self._count += 1
        if self._count < self._every:
            return
        means = [float(total) / self._count for total in self._sums]
        self._sums, self._count = [0.0] * len(_NAMES), 0
        if all(map(math.isfinite, means)):
            self._points.append([trainer.global_step, *means])
        if len(self._points) == _MOST:
            firsts, seconds = self._points[0::2], self._points[1::2]
            self._points = [
                [second[0], *((a + b) / 2 for a, b in zip(first[1:], second[1:], strict=True))]
                for first, second in zip(firsts, seconds, strict=True)
            ]
            self._every *= 2

    def to_card(self) -> dict[str, list[float]]:
        """The curve as plain JSON values: `step`, and the losses by name, lists of one length."""
        rows = [[row[0], *(float(f"{value:.4g}") for value in row[1:])] for row in self._points]
        columns = zip(*rows, strict=True) if rows else ((),) * (1 + len(_NAMES))
        return {name: list(values) for name, values in zip(("step", *_NAMES), columns, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "every": self._every,
            "points": self._points,
            "sums": [float(total) for total in self._sums],
            "count": self._count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._every, self._count = state_dict["every"], state_dict["count"]
        self._points, self._sums = list(state_dict["points"]), list(state_dict["sums"])
