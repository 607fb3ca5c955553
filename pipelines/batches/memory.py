"""Keeps freed memory in the process, which makes the pipeline up to half as fast again on Linux.

A batch is megabytes that are freed a moment later. TensorFlow's many threads make glibc give them
back to the system each time, and fetching them anew, page by page, costs a third of the time.
"""

import ctypes

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # Numbers of malloc.h.


def keep_freed_memory() -> None:
    """Tells glibc's malloc to keep up to 512 MB; does nothing with other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(MMAP_THRESHOLD, 32 << 20)  # The largest that glibc accepts.
    mallopt(TRIM_THRESHOLD, 512 << 20)
    mallopt(TOP_PAD, 64 << 20)
