"""Says in one line what is wrong with the options of a training run."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

RULES = {  # By the beginning of pydantic's name for the fault.
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be below {lt:g}",
    "literal": "must be {expected}",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "too_long": "must have only {max_length} values",
}


def one_line(error: ValidationError, names: Collection[str]) -> str:
    """Returns option, value, rule and fix of the first fault.

    Args:
        error: The error of a model.
        names: The names of all options.
    """
    # A misspelt option explains the missing one.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    if not fault["loc"]:
        return f"{fault['msg'].removeprefix('Value error, ')}."
    name, *places = map(str, fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name}={shortened(fault['input'])}: unknown; {_suggestion(name, names)}"
    option = f"--{name.replace('_', '-')}"
    if fault["type"] == "missing" and not places:
        return f"{name}: not given ({option})."
    if fault["type"] == "missing":
        count = int(places[-1]) + 1
        return f"{name}={shortened(fault['input'])}: must have {count} values or more ({option})."
    where = name + "".join(f"[{place}]" for place in places if place.isdecimal())
    return f"{where}={shortened(fault['input'])}: {_rule(fault)} ({option})."


def shortened(value: Any) -> str:
    """Returns a value's text, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def _rule(fault: Mapping[str, Any]) -> str:
    for beginning, rule in RULES.items():
        if fault["type"].startswith(beginning):
            return rule.format(**fault.get("ctx", {}))
    return str(fault["msg"]).removeprefix("Value error, ")


def _suggestion(name: str, names: Collection[str]) -> str:
    """Suggests an option for an unknown one."""
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"choose one of {', '.join(names)}."
