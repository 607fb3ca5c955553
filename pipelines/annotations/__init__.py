"""Turns what labelling tools export into masks and a YAML file (`convert`).

`conversion.convert` is the whole of it. `formats` lists the readers of the formats, `work` draws
what they return, and `output` puts the result in place.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.annotations.conversion import convert

__all__ = ["convert"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "convert":  # On first use, so that formats need not import each other.
            from pipelines.annotations.conversion import convert

            return convert
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
