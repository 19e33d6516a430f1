"""CUDA graphs: the network is captured once for a shape, then launched as a whole."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from fast_style.engines.base import Pictures

Shape = tuple[int, ...]
"""Shape of a batch of pictures: (B, H, W, 3)."""

Compute = Callable[[Tensor], Tensor]
"""Stylizes pictures on the device: uint8 (B, H, W, 3) to the same."""

MOST_GRAPHS = 4
"""Number of graphs to keep; each holds the memory of all intermediate features."""

MOST_PIXELS = 2_500_000
"""The largest batch, in pixels, that gets a graph. Above that, each operation takes a GPU longer
than launching the next one, and a graph would hold gigabytes."""

IDLE_CALLS = 32
"""A graph that was not used for this many calls may be replaced by one of another shape. Where more
shapes than graphs alternate, capturing each of them again would cost more than it saves."""

_MOST_SEEN = 256
"""Number of shapes remembered as seen once; each photo of a folder may have its own shape."""

# A computation must run before it is captured, so that libraries allocate their workspaces for the
# stream. Torch's documentation does it three times.
_WARM_UPS = 3

# CUDA allows one capture at a time in a process.
_CAPTURE_LOCK = threading.Lock()


class Captured(Protocol):
    """A computation captured for one shape."""

    def run(self, batch: Pictures) -> Pictures:
        """Stylize pictures of that shape; returns a new array."""

    def release(self) -> None:
        """Free its memory; it must not be run again."""


Capture = Callable[[Shape], Captured]
"""Captures a computation for a shape; raises RuntimeError if that fails."""


class GraphCache:
    """The captured graphs of one network by shape, the most recently used last.

    A shape is captured when it is requested the second time, because capturing takes longer than
    stylizing a single picture. Not thread-safe.
    """

    def __init__(
        self, capture: Capture, *, most_graphs: int = MOST_GRAPHS, most_pixels: int = MOST_PIXELS
    ) -> None:
        """Create an empty cache with the given limits."""
        self._capture: Capture | None = capture
        self._most_graphs, self._most_pixels = most_graphs, most_pixels
        self._graphs: OrderedDict[Shape, Captured] = OrderedDict()
        self._used: dict[Shape, int] = {}
        self._seen: OrderedDict[Shape, None] = OrderedDict()
        self._calls = 0

    def __len__(self) -> int:
        """Return the number of graphs."""
        return len(self._graphs)

    def find(self, shape: Shape) -> Captured | None:
        """Return the graph for a shape, capturing it if need be; None to compute without."""
        self._calls += 1
        if shape not in self._graphs and not self._try_capture(shape):
            return None
        self._graphs.move_to_end(shape)
        self._used[shape] = self._calls
        return self._graphs[shape]

    def clear(self) -> bool:
        """Release all graphs; returns whether there were any."""
        any_released = bool(self._graphs)
        while self._graphs:
            self._release_oldest()
        return any_released

    def _try_capture(self, shape: Shape) -> bool:
        """Capture a shape if it is worth a graph; returns whether there is a graph now."""
        batch, height, width, _ = shape
        if self._capture is None or batch * height * width > self._most_pixels:
            return False
        if shape not in self._seen:
            self._seen[shape] = None
            if len(self._seen) > _MOST_SEEN:
                self._seen.popitem(last=False)
            return False
        if len(self._graphs) >= self._most_graphs:
            if self._calls - self._used[next(iter(self._graphs))] < IDLE_CALLS:
                return False
            self._release_oldest()
        try:
            self._graphs[shape] = self._capture(shape)
        except RuntimeError:
            # An operation that cannot be captured, or too little memory. Further attempts would
            # cost time and fail likewise, so this engine goes on without graphs.
            self._capture = None
            self.clear()
            return False
        del self._seen[shape]
        return True

    def _release_oldest(self) -> None:
        shape, graph = self._graphs.popitem(last=False)
        del self._used[shape]
        graph.release()


class CudaCapture:
    """Captures a computation in CUDA graphs; see `Capture`."""

    def __init__(self, compute: Compute) -> None:
        """Prepare to capture a computation.

        Args:
            compute: must not synchronize with the GPU, nor use memory that others may free.
        """
        self._compute = compute
        # One stream for all captures: libraries keep a workspace for each stream.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def __call__(self, shape: Shape) -> "CudaGraph":
        """Capture for a shape; raises RuntimeError (or OutOfMemoryError, a subclass) on failure."""
        given = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        graph = torch.cuda.CUDAGraph()
        with _CAPTURE_LOCK:
            self._stream.wait_stream(torch.cuda.current_stream())
            # Restores the thread's stream in any case; some versions of `torch.cuda.graph` do not
            # when a capture fails.
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    self._compute(given)
                # "thread_local": other threads' allocations must not invalidate the capture.
                with torch.cuda.graph(
                    graph, stream=self._stream, capture_error_mode="thread_local"
                ):
                    found = self._compute(given)
            torch.cuda.current_stream().wait_stream(self._stream)
        return CudaGraph(graph, given, found)


class PinnedMemory:
    """Page-locked memory for copying pictures of one shape to a GPU and back.

    One buffer serves both directions, because the copies are queued on the same stream. Torch
    caches freed pinned memory and reuses it for the next buffer of that size.
    """

    def __init__(self, shape: Shape) -> None:
        """Allocate the buffer."""
        self._memory = torch.empty(shape, dtype=torch.uint8, pin_memory=True)

    def upload(self, batch: Pictures, into: Tensor) -> Tensor:
        """Copy pictures into a tensor on the GPU without synchronization; returns that tensor."""
        self._memory.numpy()[...] = batch
        return into.copy_(self._memory, non_blocking=True)

    def download(self, pixels: Tensor) -> Pictures:
        """Wait for pictures on the GPU and return them in a new array."""
        self._memory.copy_(pixels, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        result: Pictures = self._memory.numpy().copy()
        return result


class CudaGraph:
    """One captured computation with its input and output memory; see `Captured`."""

    def __init__(self, graph: torch.cuda.CUDAGraph, given: Tensor, found: Tensor) -> None:
        """Wrap a graph, its input and its output, both uint8 of shape (B, H, W, 3) on the GPU."""
        self._graph, self._given, self._found = graph, given, found
        self._pinned = PinnedMemory(given.shape)

    def launch(self) -> None:
        """Compute the output from the current input, without synchronization."""
        self._graph.replay()

    @torch.inference_mode()
    def run(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Captured`."""
        self._pinned.upload(batch, self._given)
        self.launch()
        return self._pinned.download(self._found)

    def release(self) -> None:
        """Free the memory; see `Captured`."""
        self._graph.reset()
        del self._given, self._found, self._pinned
