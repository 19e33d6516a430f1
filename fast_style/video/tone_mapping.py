"""High dynamic range (PQ, HLG) to standard range, so that nothing looks washed out.

Curve: the EETF of ITU-R BT.2390 (section 5.4.1) on the largest of the three channels, from the peak
of the source to 203 nits, the level of diffuse white of BT.2408; then BT.2020 to BT.709 primaries.
Ratios between the channels are kept, so hues stay. Pure arrays.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HLG", "PQ", "map_tones"]

Floats = NDArray[np.float32]

PQ, HLG = 16, 18
"""Transfer characteristics of ITU-T H.273."""

_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
_STEPS = 4096
_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128

_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)  # from BT.2020, ITU-R BT.2087
_LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def map_tones(pixels: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """Map a picture of high dynamic range to BT.709.

    Args:
        pixels: RGB with BT.2020 primaries, shape (H, W, 3), uint16, the full range of 16 bits.
        transfer: `PQ` or `HLG`.

    Returns:
        RGB, shape (H, W, 3), uint8.
    """
    result = np.empty(pixels.shape, np.uint8)
    to_nits, gain, to_bytes = _to_nits(transfer), _gain(), _to_bytes()
    for top in range(0, len(pixels), 64):  # bands that stay in the cache
        light = to_nits[pixels[top : top + 64] >> 4]
        if transfer == HLG:  # from the scene's light to the display's, gamma 1.2 for 1,000 nits
            luma = np.maximum(light @ _LUMA_BT2020, np.float32(1e-6))
            light *= (_PEAK_NITS * luma**0.2)[..., None]
        largest = np.sqrt(light.max(axis=2) * np.float32(1 / 10000))
        light *= gain[(largest * (_STEPS - 1)).astype(np.intp)][..., None]
        light = np.clip(light @ _TO_BT709.T, 0, 1)
        # The square root spends the steps where the eye does.
        result[top : top + 64] = to_bytes[(np.sqrt(light) * (_STEPS - 1)).astype(np.intp)]
    return result


@cache
def _to_nits(transfer: int) -> Floats:
    """Return the light of each code: nits for PQ, a share of the scene's peak for HLG."""
    code = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == PQ:
        return _pq_to_nits(code).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _gain() -> Floats:
    """Return what to multiply light with, by the root of its largest channel: white becomes 1."""
    nits = (np.arange(_STEPS) / (_STEPS - 1)) ** 2 * 10000
    peak = _nits_to_pq(np.array(_PEAK_NITS))
    target = _nits_to_pq(np.array(_WHITE_NITS)) / peak
    code = np.minimum(_nits_to_pq(nits) / peak, 1)
    knee = 1.5 * target - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee
    spline += (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    mapped = _pq_to_nits(np.where(code < knee, code, spline) * peak)
    return (mapped / np.maximum(nits, 1e-3) / _WHITE_NITS).astype(np.float32)


@cache
def _to_bytes() -> NDArray[np.uint8]:
    """Return the code of light, by its root, for a display of gamma 2.4 (ITU-R BT.1886)."""
    light = (np.arange(_STEPS) / (_STEPS - 1)) ** 2
    return np.rint(255 * light ** (1 / 2.4)).astype(np.uint8)


def _pq_to_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    root = code ** (1 / _M2)
    light: NDArray[np.float64] = (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light * 10000


def _nits_to_pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    power = (nits / 10000) ** _M1
    code: NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return code
