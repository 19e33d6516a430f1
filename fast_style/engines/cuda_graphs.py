"""CUDA graphs: the network captured once for a shape, then launched as a whole."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from fast_style.engines.base import Pictures

Shape = tuple[int, ...]
"""Of a batch of pictures: (B, H, W, 3)."""

Compute = Callable[[Tensor], Tensor]
"""From pictures on the device to pictures on the device: both uint8, (B, H, W, 3)."""

MOST_GRAPHS = 4
"""How many shapes keep a graph; each holds the memory of all that lies between its layers."""

MOST_PIXELS = 2_500_000
"""The largest batch, in pixels, that gets a graph. Above that a GPU is busy with each operation for
longer than the next one takes to be launched, and the memory held would be gigabytes."""

AT_REST = 32
"""Calls without being used after which a graph may give way to one of another shape. Where more
shapes than graphs take turns, capturing each anew every time would cost more than it saves."""

_MOST_MET = 256
"""Shapes that are remembered as met once: a folder may have one of its own for each photo."""

# What is captured must have run before, so that libraries have set up their workspaces for the
# stream. Three times is what the documentation of torch does.
_WARM_UPS = 3

# There may be one capture at a time in the whole process.
_CAPTURING = threading.Lock()


class Captured(Protocol):
    """A network captured for one shape."""

    def run(self, batch: Pictures) -> Pictures:
        """Stylize pictures of that shape; gives a new array."""

    def release(self) -> None:
        """Give its memory back; it is not run again."""


Capture = Callable[[Shape], Captured]
"""Captures the network for a shape; raises RuntimeError where that fails."""


class GraphCache:
    """The graphs of one network by shape, the one used last at the end.

    A shape is captured when it comes the second time: a single picture is done sooner without. The
    caller sees to it that calls come one after the other.
    """

    def __init__(
        self, capture: Capture, *, most_graphs: int = MOST_GRAPHS, most_pixels: int = MOST_PIXELS
    ) -> None:
        """Take what captures, and how much of it there may be."""
        self._capture: Capture | None = capture
        self._most_graphs, self._most_pixels = most_graphs, most_pixels
        self._graphs: OrderedDict[Shape, Captured] = OrderedDict()
        self._used: dict[Shape, int] = {}
        self._met: OrderedDict[Shape, None] = OrderedDict()
        self._calls = 0

    def __len__(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def find(self, shape: Shape) -> Captured | None:
        """Give the graph for a shape, captured now if it is its turn; None to do without one."""
        self._calls += 1
        if shape not in self._graphs and not self._captures(shape):
            return None
        self._graphs.move_to_end(shape)
        self._used[shape] = self._calls
        return self._graphs[shape]

    def clear(self) -> bool:
        """Release all graphs; tells whether there were any."""
        some = bool(self._graphs)
        while self._graphs:
            self._release_oldest()
        return some

    def _captures(self, shape: Shape) -> bool:
        """Tell whether there is a graph for a shape now."""
        batch, height, width, _ = shape
        if self._capture is None or batch * height * width > self._most_pixels:
            return False
        if shape not in self._met:
            self._met[shape] = None
            if len(self._met) > _MOST_MET:
                self._met.popitem(last=False)
            return False
        if len(self._graphs) >= self._most_graphs:
            if self._calls - self._used[next(iter(self._graphs))] < AT_REST:
                return False
            self._release_oldest()
        try:
            self._graphs[shape] = self._capture(shape)
        except RuntimeError:
            # Some operation that cannot be captured, or too little memory: it was a saving only,
            # and what failed once would fail again, each time at the price of an attempt.
            self._capture = None
            self.clear()
            return False
        del self._met[shape]
        return True

    def _release_oldest(self) -> None:
        shape, graph = self._graphs.popitem(last=False)
        del self._used[shape]
        graph.release()


class CudaCapture:
    """Captures a computation in CUDA graphs; see `Capture`."""

    def __init__(self, compute: Compute) -> None:
        """Take what is captured: it must not look at values, nor use what it does not own."""
        self._compute = compute
        # One stream for all, for libraries keep a workspace for each that they have seen.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def __call__(self, shape: Shape) -> "CudaGraph":
        """Capture for a shape; RuntimeError (or its heir OutOfMemoryError) where that fails."""
        given = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        graph = torch.cuda.CUDAGraph()
        with _CAPTURING:
            self._stream.wait_stream(torch.cuda.current_stream())
            # Whatever happens, this gives the thread its stream back, which some versions of
            # `torch.cuda.graph` do not where a capture ends with an error.
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    self._compute(given)
                # Threads with other engines may allocate meanwhile: that must not end the capture.
                with torch.cuda.graph(
                    graph, stream=self._stream, capture_error_mode="thread_local"
                ):
                    found = self._compute(given)
            torch.cuda.current_stream().wait_stream(self._stream)
        return CudaGraph(graph, given, found)


class PinnedMemory:
    """Memory that pictures of one shape pass through on their way to a GPU and back.

    The same memory serves both ways, for the copies go one after the other, on the thread's current
    stream. Torch keeps pinned memory that is not used any more for the next who asks for as much.
    """

    def __init__(self, shape: Shape) -> None:
        """Take it."""
        self._memory = torch.empty(shape, dtype=torch.uint8, pin_memory=True)

    def upload(self, batch: Pictures, into: Tensor) -> Tensor:
        """Copy pictures to where they are to be on the GPU, and give that; nothing waits for it."""
        self._memory.numpy()[...] = batch
        return into.copy_(self._memory, non_blocking=True)

    def download(self, pixels: Tensor) -> Pictures:
        """Wait for pictures on the GPU, and give them in a new array."""
        self._memory.copy_(pixels, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        result: Pictures = self._memory.numpy().copy()
        return result


class CudaGraph:
    """One captured computation, with the memory that it reads and writes; see `Captured`."""

    def __init__(self, graph: torch.cuda.CUDAGraph, given: Tensor, found: Tensor) -> None:
        """Take a graph, its input and its output, both uint8 of shape (B, H, W, 3) on the GPU."""
        self._graph, self._given, self._found = graph, given, found
        self._pinned = PinnedMemory(given.shape)

    def launch(self) -> None:
        """Compute once more from what lies in the input, without waiting for it."""
        self._graph.replay()

    @torch.inference_mode()
    def run(self, batch: Pictures) -> Pictures:
        """Stylize pictures; see `Captured`."""
        self._pinned.upload(batch, self._given)
        self.launch()
        return self._pinned.download(self._found)

    def release(self) -> None:
        """Give the memory back; see `Captured`."""
        self._graph.reset()
        del self._given, self._found, self._pinned
