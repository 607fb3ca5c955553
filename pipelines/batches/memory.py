"""Memory for batches: kept in the process when it is freed, and taken by TensorFlow as it is.

A batch takes megabytes that are freed a moment later. With TensorFlow's many threads, glibc returns
them to the system each time; getting them back, page by page, costs a third of the time on Linux.
"""

import ctypes
import math

import numpy as np

ALIGNMENT = 64  # TensorFlow copies an array that does not begin at a multiple of so many bytes.
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # Constants of malloc.h.


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep up to 512 MB; does nothing with other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(MMAP_THRESHOLD, 32 << 20)  # The largest value that glibc accepts.
    mallopt(TRIM_THRESHOLD, 512 << 20)
    mallopt(TOP_PAD, 64 << 20)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Allocates an uninitialised uint8 array that becomes a tensor without a copy."""
    size = math.prod(shape)
    memory = np.empty(size + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].reshape(shape)
