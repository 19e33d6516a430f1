"""Errors about memory, of any engine, as a sentence that names the remedies."""

from collections.abc import Iterator
from contextlib import contextmanager

from fast_style.errors import EngineError, ImageTooLargeError
from fast_style.images import Photo
from fast_style.inference.strips import STRIP_SIDE
from fast_style.options import MAX_STROKE_SIZE, MIN_TILE, StrokeSize, StyleOptions, Tile

__all__ = ["memory_errors_explained"]

# Parts of the messages of torch, OpenVINO, ONNX Runtime and C++; none of them raises MemoryError.
_OUT_OF_MEMORY = ("out of memory", "bad_alloc", "allocate memory", "failed to allocate")


@contextmanager
def memory_errors_explained(
    photo: Photo, options: StyleOptions, *, network: bool, tile: Tile | None = None
) -> Iterator[None]:
    """Turn errors about memory into a sentence that names the remedies.

    Args:
        photo: the photo that is stylized.
        options: how it is stylized.
        network: whether the network runs, for which larger strokes would be a remedy.
        tile: how large pictures are processed; None if the engine cannot process strips.

    Raises:
        ImageTooLargeError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        longest = max(photo.width, photo.height)
        side = min(longest, options.size or longest)
        raise ImageTooLargeError(
            f"there is not enough memory to stylize {photo.width}x{photo.height} pixels"
            f"{'' if options.size is None else f' at size {side}'}: "
            f"{'' if tile is None else _advise_strips(tile)}"
            f"give a smaller size (--size {max(1, side // 2)} on the command line)"
            f"{_advise_larger_strokes(options.stroke_size) if network else ''}"
        ) from error


def _advise_strips(tile: Tile) -> str:
    if tile == MIN_TILE:
        return ""
    smaller = STRIP_SIDE if isinstance(tile, str) else max(MIN_TILE, min(STRIP_SIDE, tile // 2))
    return f"process it in {'' if isinstance(tile, str) else 'smaller '}strips (--tile {smaller}), "


def _advise_larger_strokes(stroke_size: StrokeSize) -> str:
    if stroke_size == "auto" or 2 * stroke_size > MAX_STROKE_SIZE:
        return ""
    return (
        f" or a larger stroke size (--stroke-size {max(1.0, 2 * stroke_size):g}), for which the "
        "network works on a smaller picture"
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError | EngineError):
        return False
    text = f"{error} {error.__cause__ or ''}".lower()
    return any(mark in text for mark in _OUT_OF_MEMORY)
