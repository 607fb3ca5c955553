"""The classes of a conversion: merged, chosen, with background first and distinct colours."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.annotations.annotated import VOID, Annotated, Colour
from pipelines.annotations.options import Options
from pipelines.datasets.yaml_faults import MAX_TEXT
from pipelines.errors import DataError
from pipelines.split import IGNORE, distinct_palette

BACKGROUND = "background"
CONTROL = ("Cc", "Cs")  # Kinds of characters that YAML cannot hold: control, surrogate.
BACKGROUND_NAMES = {"background", "_background_", "__background__"}


@dataclass(frozen=True)
class Classes:
    """The classes of the masks.

    Attributes:
        names: Class names in the order of their ids.
        colours: A distinct colour for each.
        ids: The class id, or `VOID`, of each of the reader's classes.
        unlabelled: The class id, or `VOID`, of pixels without a shape.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    ids: dict[int, int]
    unlabelled: int


def parse_merge(text: str) -> list[tuple[str, str]]:
    """Reads "crack,spall=damage", of which several may be separated by semicolons.

    Raises:
        DataError: It has another form.
    """
    pairs = []
    for rule in filter(str.strip, text.split(";")):
        old, equals, new = rule.rpartition("=")
        if not equals or not new.strip() or not all(part.strip() for part in old.split(",")):
            raise DataError(f'--merge {text!r}: must be like "crack,spall=damage".')
        pairs += [(part, new.strip()) for part in old.split(",")]
    return pairs


def choose(annotated: Annotated, options: Options, source: object) -> Classes:
    """Chooses the classes.

    Args:
        annotated: What the reader found.
        options: `merge`, `keep` and `unlabelled` count.
        source: The source, for messages.

    Raises:
        DataError: An option names an unknown class, names differ only by case or spaces, or there
            are no classes or too many.
    """
    given = [entry.name for entry in annotated.classes]
    merged = _merged(given, options.merge, source)
    if fault := _alike(merged, source):
        raise fault
    names = [" ".join(name.split()) for name in merged]
    for name in names:
        if not 0 < len(name) <= MAX_TEXT or any(unicodedata.category(c) in CONTROL for c in name):
            raise DataError(
                f"{source}: the class name {name!r:.100} must have 1 to {MAX_TEXT:,} characters, "
                "and no control characters. Rename the class with --merge."
            )
    _check_known("--keep", options.keep, names, source)
    wants_background = options.unlabelled or ("background" if annotated.has_background else "void")
    is_void = wants_background == "void" or (
        wants_background == "skip" and not annotated.has_background
    )
    ground = {n for n in names if n.casefold() in BACKGROUND_NAMES and annotated.has_background}
    kept = [n for n in dict.fromkeys(names) if n not in ground and n in (options.keep or names)]
    final = kept if is_void and not ground else [BACKGROUND, *kept]
    other = VOID if final is kept else 0
    ids = {
        number: final.index(name) if name in kept else 0 if name in ground else other
        for number, name in enumerate(names)
    }
    if not kept or len(final) < 2:
        raise DataError(
            f"{source}: has {'no classes' if not kept else f'only the class {final[0]!r}'}; at "
            "least two are needed, of which one may be the background.",
            kind="one class",
        )
    if len(final) > IGNORE:
        raise DataError(
            f"{source}: {len(final)} classes, but at most {IGNORE} are supported. Merge some with "
            "--merge, or choose with --keep."
        )
    colours = {name: entry.colour for name, entry in zip(names, annotated.classes, strict=True)}
    return Classes(
        tuple(final),
        tuple(_distinct([colours.get(name) for name in final])),
        ids,
        VOID if is_void else 0,
    )


def _merged(names: Sequence[str], merge: Iterable[tuple[str, str]], source: object) -> list[str]:
    """Returns the names after merging; a name counts as it is, or without spaces around it."""
    rules = dict(merge)
    stripped = {old.strip(): new for old, new in rules.items()}
    _check_known("--merge", list(stripped), [name.strip() for name in names], source)
    return [rules.get(name, stripped.get(name.strip(), name)) for name in names]


def _check_known(option: str, wanted: Sequence[str], names: Sequence[str], source: object) -> None:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise DataError(
            f"{option}: {source} has no class {unknown[0]!r}; it has "
            f"{', '.join(map(repr, sorted(set(names))))}."
        )


def _alike(names: Iterable[str], source: object) -> DataError | None:
    """Returns the fault of names that differ only by case, spaces or the form of accents."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return None
    listed = "; ".join(" and ".join(map(repr, group)) for group in alike)
    rules = ";".join(f"{','.join(group)}={group[0].strip()}" for group in alike)
    can_merge = not any(set(name) & set(",;=") for group in alike for name in group)
    return DataError(
        f"{source}: class names that differ only by case or spaces: {listed}. Correct the "
        "annotations" + (f', or merge them with --merge "{rules}".' if can_merge else "."),
        kind="similar names",
    )


def _distinct(colours: Sequence[Colour | None]) -> list[Colour]:
    """Returns the colours, but others for classes that have none or that of another class."""
    spare = [(int(r), int(g), int(b)) for r, g, b in distinct_palette(256)]
    found: list[Colour] = []
    for number, colour in enumerate(colours):
        if colour is None and spare[number] not in (*colours, *found):
            colour = spare[number]
        if colour is None or colour in found:
            colour = next(c for c in spare if c not in found and c not in colours)
        found.append(colour)
    return found
