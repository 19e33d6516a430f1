"""Convolution kernels rewritten so that engines compute the same function in fewer operations."""

import numpy as np
from numpy.typing import NDArray


def upsample_kernel(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merge nearest upsampling by 2 and a 3x3 convolution into one kernel.

    Each output pixel sees a 2x2 neighbourhood of the small picture, so upsampling, reflection
    padding by 1 and convolution equal a transposed convolution (kernel 4, stride 2, padding 3) of
    the input padded by replication.

    Args:
        weight: the convolution's, shape (N, C, 3, 3).

    Returns:
        The transposed convolution's, shape (C, N, 4, 4).
    """
    n_out, n_in = weight.shape[:2]
    kernel = np.zeros((n_in, n_out, 4, 4))  # float64: the sums of up to four taps are rounded once
    mirrored = weight[..., ::-1, ::-1].swapaxes(0, 1)
    for y in range(2):
        for x in range(2):
            kernel[:, :, y : y + 3, x : x + 3] += mirrored
    return kernel.astype(np.float32)


def output_kernel(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the kernel that computes all four pixels of a 2x2 cell at once.

    Three output channels leave most vector lanes idle. A convolution of stride 2, with a kernel
    larger by one, computes all twelve values of a cell.

    Args:
        weight: shape (3, C, k, k), k odd.

    Returns:
        Shape (12, C, k + 1, k + 1); channel 6 * y + 3 * x + c is colour c of the cell's pixel
        (y, x), the order of a picture of shape (H, W, 3).
    """
    n_out, n_in, side, _ = weight.shape
    kernel = np.zeros((2, 2, n_out, n_in, side + 1, side + 1), np.float32)
    for y in range(2):
        for x in range(2):
            kernel[y, x, :, :, y : y + side, x : x + side] = weight
    return kernel.reshape(4 * n_out, n_in, side + 1, side + 1)
