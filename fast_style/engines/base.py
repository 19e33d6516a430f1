"""What every engine does, and the checks they share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fast_style.errors import EngineError, UsageError

EngineName = Literal["openvino", "torch", "onnxruntime"]
Device = Literal["cpu", "cuda", "mps"]
Precision = Literal["fp32", "bf16", "fp16"]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
DEVICES: tuple[Device, ...] = get_args(Device)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Pictures = NDArray[np.uint8]
"""A batch of pictures of one size: uint8 RGB of shape (B, H, W, 3), values 0-255."""

Statistics = NDArray[np.float32]
"""What the instance norms of a network saw in a picture: float32 of shape (2, C), or (B, 2, C) for
a batch; means in row 0, biased variances in row 1, the layers one after the other in the order of
`architecture.norm_layers`."""


class Engine(Protocol):
    """One style, ready to be laid on pictures.

    All methods may be called from several threads; the engine uses all cores (or the whole GPU) for
    each call and takes the calls one after the other, unless it was made to take several at once.
    """

    @property
    def name(self) -> EngineName:
        """Which engine it is."""

    @property
    def device(self) -> Device:
        """Where it computes."""

    @property
    def precision(self) -> Precision:
        """What it computes in."""

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize a batch of pictures of one size.

        Args:
            batch: uint8 RGB, shape (B, H, W, 3), values 0-255; H and W of 1 pixel or more.

        Returns:
            A new contiguous array of the same shape and type.

        Raises:
            UsageError: `batch` is not such an array.
            MemoryError, RuntimeError: the engine's own words, for example for want of memory.
        """

    def measure(self, batch: Pictures) -> Statistics:
        """Take the statistics that the instance norms see in pictures of one size.

        Args:
            batch: as for `predict`.

        Returns:
            Means and variances for each picture, shape (B, 2, C). On a frozen engine each norm
            sees what the norms before it made with the frozen statistics.

        Raises:
            UsageError: `batch` is not such an array.
            MemoryError, RuntimeError: as for `predict`.
        """

    def freeze(self, statistics: Statistics) -> "Engine":
        """Give an engine that normalizes every picture with the same given statistics.

        The network then sees only a neighbourhood of each pixel, so that the tiles of one large
        picture fit together. It costs about as much as loading the model, once for each picture.

        Args:
            statistics: one picture's, shape (2, C).

        Raises:
            UsageError: the shape does not fit the network, or a variance is negative.
        """


Run = Callable[[Mapping[str, NDArray[Any]], Sequence[str]], Mapping[str, NDArray[Any]]]
"""A loaded graph: from arrays by input name, and the names of the outputs wanted, to arrays."""


@runtime_checkable
class GraphEngine(Engine, Protocol):
    """An engine that runs any ONNX graph, so the stages of `engines.onnx.stage_graphs` too."""

    @property
    def bytes_per_filter(self) -> float:
        """Memory that a large picture takes as a whole, beyond its pixels.

        In bytes a pixel, for each filter of the network's first convolution.
        """

    def load_graph(self, graph: bytes) -> Run:
        """Load a graph to be run many times in this process.

        Args:
            graph: a serialized ONNX ModelProto.

        Raises:
            RuntimeError: the engine does not take it.
        """


def check_batch(batch: Pictures) -> None:
    """Refuse what is not a batch of pictures.

    Raises:
        UsageError: the type is not uint8, the shape not (B, H, W, 3), or there are no pixels.
    """
    found = f"{getattr(batch, 'dtype', type(batch).__name__)} of shape {np.shape(batch)}"
    if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8:
        raise UsageError(f"an engine takes pictures as uint8 of shape (B, H, W, 3), not {found}")
    if batch.ndim != 4 or batch.shape[3] != 3 or 0 in batch.shape:
        raise UsageError(f"an engine takes pictures as uint8 of shape (B, H, W, 3), not {found}")


def choose_precision(
    wanted: str, native: Sequence[Precision], automatic: Precision, place: str
) -> Precision:
    """Settle the precision.

    Args:
        wanted: `auto` or one of `PRECISIONS`.
        native: what `place` computes in without emulation.
        automatic: what `auto` stands for.
        place: what to call engine and device in the message.

    Raises:
        EngineError: the wanted precision is not native.
    """
    if wanted == "auto":
        return automatic
    for precision in native:
        if precision == wanted:
            return precision
    raise EngineError(
        f"{place} has no native {wanted}; choose precision auto or {' or '.join(native)}"
    )
