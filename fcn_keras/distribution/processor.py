"""The processor: its name, and what it computes in. Linux says so in /proc/cpuinfo."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


def name() -> str:
    """The processor's name, as exact as the system tells it."""
    found = _cpuinfo().get("model name")
    return found or platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """Its instruction sets, such as "avx512_bf16"; empty where the system is silent."""
    return frozenset(_cpuinfo().get("flags", "").split())


def has_bfloat16() -> bool:
    """Whether it computes in bfloat16 (AVX512_BF16 or AMX)."""
    return not flags().isdisjoint({"avx512_bf16", "amx_bf16"})


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """The lines `key : value` of the first core as a dict; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
