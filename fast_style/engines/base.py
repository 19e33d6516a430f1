"""The protocol that every engine implements, and the checks that engines share."""

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

NormStatistics = NDArray[np.float32]
"""Statistics that a network's instance norms computed for a picture: float32 of shape (2, C), or
(B, 2, C) for a batch; means in row 0, biased variances in row 1, the channels of all norm layers
concatenated in the order of `models.config.norm_layers`."""


class Engine(Protocol):
    """One style network, loaded and ready to stylize pictures.

    All methods are thread-safe. Each call uses all cores (or the whole GPU), and concurrent calls
    are processed one after the other unless the engine was created with `concurrency` above 1.
    """

    @property
    def name(self) -> EngineName:
        """Name of the engine."""

    @property
    def device(self) -> Device:
        """Device that it computes on."""

    @property
    def precision(self) -> Precision:
        """Precision that it computes in."""

    def predict(self, batch: Pictures) -> Pictures:
        """Stylize a batch of pictures of one size.

        Args:
            batch: uint8 RGB, shape (B, H, W, 3), values 0-255; H and W of 1 pixel or more.

        Returns:
            A new contiguous array of the same shape and type.

        Raises:
            UsageError: `batch` is not such an array.
            MemoryError, RuntimeError: the engine failed, for example because memory ran out.
        """

    def measure(self, batch: Pictures) -> NormStatistics:
        """Compute the statistics of the instance norms for pictures of one size.

        Args:
            batch: as for `predict`.

        Returns:
            Means and variances of each picture, shape (B, 2, C). On a frozen engine, each norm's
            input comes from earlier norms that used the frozen statistics.

        Raises:
            UsageError: `batch` is not such an array.
            MemoryError, RuntimeError: as for `predict`.
        """

    def freeze(self, statistics: NormStatistics) -> "Engine":
        """Return an engine that normalizes every picture with the given statistics.

        Each output pixel then depends only on a neighbourhood of input pixels, so that the tiles of
        one large picture fit together. Freezing costs about as much as loading the model.

        Args:
            statistics: those of one picture, shape (2, C).

        Raises:
            UsageError: the shape does not fit the network, or a variance is negative.
        """


GraphFunction = Callable[[Mapping[str, NDArray[Any]], Sequence[str]], Mapping[str, NDArray[Any]]]
"""A loaded graph. Arguments: arrays by input name, names of the wanted outputs; returns arrays by
output name."""


@runtime_checkable
class GraphEngine(Engine, Protocol):
    """An engine that runs any ONNX graph, including those of `engines.onnx.stage_graphs`."""

    @property
    def bytes_per_filter(self) -> float:
        """Memory for stylizing a large picture in one piece, beyond the picture itself.

        In bytes per pixel and per filter of the network's first convolution.
        """

    def load_graph(self, graph: bytes) -> GraphFunction:
        """Load a graph that this process will run many times.

        Args:
            graph: a serialized ONNX ModelProto.

        Raises:
            RuntimeError: the engine rejects the graph.
        """


def check_batch(batch: Pictures) -> None:
    """Check that an array is a batch of pictures.

    Raises:
        UsageError: the type is not uint8, the shape is not (B, H, W, 3), or a side is 0.
    """
    found = f"{getattr(batch, 'dtype', type(batch).__name__)} of shape {np.shape(batch)}"
    if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8:
        raise UsageError(f"an engine takes pictures as uint8 of shape (B, H, W, 3), not {found}")
    if batch.ndim != 4 or batch.shape[3] != 3 or 0 in batch.shape:
        raise UsageError(f"an engine takes pictures as uint8 of shape (B, H, W, 3), not {found}")


def choose_precision(
    wanted: str, native: Sequence[Precision], automatic: Precision, engine: str
) -> Precision:
    """Return the precision that an engine computes in.

    Args:
        wanted: `auto` or one of `PRECISIONS`.
        native: the precisions that are computed without emulation.
        automatic: the meaning of `auto`.
        engine: engine and device, for the error message.

    Raises:
        EngineError: the wanted precision is not native.
    """
    if wanted == "auto":
        return automatic
    for precision in native:
        if precision == wanted:
            return precision
    raise EngineError(
        f"{engine} has no native {wanted}; choose precision auto or {' or '.join(native)}"
    )
