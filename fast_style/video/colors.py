"""How frames code their colours: matrix, range, primaries and transfer, by the numbers of H.273."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fast_style.video.source import BT601, BT709, BT2020, FULL, LIMITED, UNSPECIFIED, Colors

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


def stream_colors(frame: VideoFrame) -> Colors:
    """Return how a decoded frame codes its colours, with what players assume where it is silent."""
    matrix, range_ = int(frame.colorspace), int(frame.color_range)
    if frame.format.is_rgb:
        matrix = BT709
        range_ = FULL
    if matrix in (0, UNSPECIFIED):
        matrix = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
    if range_ not in (LIMITED, FULL):
        range_ = FULL if frame.format.name.startswith("yuvj") else LIMITED
    return Colors(matrix, range_, int(frame.color_primaries), int(frame.color_trc))


def swscale_matrix(matrix: int) -> int:
    """Return swscale's number for a matrix of H.273."""
    return {BT709: 1, 4: 4, 7: 7, BT2020: 9, 10: 9}.get(matrix, 5)


def written_colors(colors: Colors) -> Colors:
    """Return how the output codes its colours: as the source, or as sRGB for tone-mapped HDR."""
    if colors.is_hdr:
        return Colors()
    # Silence is filled in by what goes with the matrix, which players would assume as well.
    silent = BT2020 if colors.matrix in (BT2020, 10) else colors.matrix
    silent = silent if silent in (BT709, BT601, 5, 7, BT2020) else BT709
    transfer = {BT2020: 14, 5: BT601}.get(silent, silent)
    return Colors(
        colors.matrix,
        colors.range,
        silent if colors.primaries in (0, UNSPECIFIED) else colors.primaries,
        transfer if colors.transfer in (0, UNSPECIFIED) else colors.transfer,
    )
