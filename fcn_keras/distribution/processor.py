"""The processor's name and instruction sets, from Linux's /proc/cpuinfo."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


def name() -> str:
    """Returns the processor's name, as exactly as the system knows it."""
    found = _cpuinfo().get("model name")
    return found or platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """Returns the instruction sets, such as "avx512_bf16"; empty if unknown."""
    return frozenset(_cpuinfo().get("flags", "").split())


def has_bfloat16() -> bool:
    """Returns whether the processor computes in bfloat16 (AVX512_BF16 or AMX)."""
    return not flags().isdisjoint({"avx512_bf16", "amx_bf16"})


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """Reads the `key : value` lines of the first core; empty if the file does not exist."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
