"""The line with which each benchmark says what it ran on."""

import os

from fcn_keras.distribution import processor

SETS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def cores():
    """Returns the number of cores that this process may use; of all where that is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine():
    """Returns the cores, the processor's name and its instruction sets for networks."""
    found = ", ".join(flag for flag in SETS if flag in processor.flags()) or "sets unknown"
    return f"{cores()} cores, {processor.name()} ({found})"
