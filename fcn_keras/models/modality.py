"""The image inputs of a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fcn_keras.arguments import flag, numbers_of, whole
from fcn_keras.errors import ModelError
from fcn_keras.models.backbones import MEANS


class Modality(NamedTuple):
    """One image input of a model.

    Attributes:
        channels: Number of channels. With three or more, the first three are RGB, 0..255. Other
            channels are not preprocessed, and their filters start as the mean of the colour
            filters (early fusion).
        mean: Subtracted from the first three channels, in BGR order (without `swap`, in their
            own order); None for the backbone's. `fcn_keras.MEANS` has those of the reference.
        swap: Convert RGB to BGR; False for HHA.
    """

    channels: int = 3
    mean: tuple[float, float, float] | None = None
    swap: bool = True

    @classmethod
    def with_mean_of(cls, images: str) -> Modality:
        """Creates the modality for a key of `fcn_keras.MEANS`.

        Raises:
            ModelError: The key is unknown.
        """
        if not isinstance(images, str) or images not in MEANS:
            raise ModelError(f"mean={images!r}: unknown; choose one of {', '.join(MEANS)}.")
        return cls(mean=MEANS[images], swap=images != "nyudv2_hha")


def checked_inputs(inputs: Any) -> dict[str, Modality]:
    """Returns the inputs of a model by name, with plain Python numbers.

    Raises:
        ModelError: It is not a dict of names and `Modality`, or one of them is invalid.
    """
    if not isinstance(inputs, dict) or not inputs:
        raise ModelError(
            f"inputs={inputs!r}: must be a dict of at least one name and Modality, for example "
            '{"image": Modality()}.'
        )
    check_names("inputs", inputs)
    return {name: _checked(f"inputs[{name!r}]", modality) for name, modality in inputs.items()}


def check_names(argument: str, names: Iterable[Any]) -> None:
    """Checks names that become part of layer names, which Keras compares ignoring case.

    Raises:
        ModelError: A name is not an identifier, or two differ in case only.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ModelError(
                f"{argument}: {name!r} is not a valid name. Use letters, digits and underscores; "
                "start with a letter."
            )
        if name.lower() in seen:
            raise ModelError(
                f"{argument}: {seen[name.lower()]!r} and {name!r} are the same name, since case is "
                "ignored. Rename one."
            )
        seen[name.lower()] = name


def _checked(where: str, modality: Any) -> Modality:
    if not isinstance(modality, Modality):
        raise ModelError(f"{where}={modality!r}: must be a fcn_keras.Modality.")
    channels, swap = whole(modality.channels), flag(modality.swap)
    if channels is None or channels < 1:
        raise ModelError(
            f"{where}: channels={modality.channels!r}: must be an integer of at least 1."
        )
    if swap is None:
        raise ModelError(f"{where}: swap={modality.swap!r}: must be True or False.")
    if modality.mean is None:
        return Modality(channels, None, swap)
    mean = numbers_of(modality.mean, 3)
    if mean is None:
        raise ModelError(
            f"{where}: mean={modality.mean!r}: must be three numbers, such as "
            "fcn_keras.MEANS['voc'], or None for the backbone's."
        )
    return Modality(channels, mean, swap)
