"""The interval between checkpoints, as users write it."""

from __future__ import annotations

import re

from fcn_keras.errors import ConfigError

SECONDS = {"s": 1, "min": 60, "h": 3600}


def parse_every(every: int | str) -> tuple[int | None, int | None]:
    """Parses a number of steps or a time such as "10 min" to (steps, seconds), one of them None.

    Raises:
        ConfigError: `every` is neither.
    """
    found = re.fullmatch(r"\s*(\d+)\s*(s|min|h|steps?|)\s*", str(every))
    if not found or not int(found[1]):
        raise ConfigError(
            f"checkpoint_every={every!r}: must be a number of steps, such as 500, or a time, such "
            "as '10 min' or '2 h' (--checkpoint-every)."
        )
    number, unit = int(found[1]), found[2]
    return (None, number * SECONDS[unit]) if unit in SECONDS else (number, None)
