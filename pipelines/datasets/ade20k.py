"""ADE20K as in the MIT scene parsing benchmark: 20210 train and 2000 val images, 150 classes.

    ADEChallengeData2016/images/{training,validation}/ID.jpg
    ADEChallengeData2016/annotations/{training,validation}/ID.png

Masks hold 1..150 for the classes and 0 for everything else, which is void here. Class ids are the
benchmark's numbers minus 1.
"""

from pathlib import Path

from pipelines.datasets.lists import data_root, paired
from pipelines.errors import DataError
from pipelines.split import IGNORE, Split, distinct_palette

FOLDERS = {"train": "training", "val": "validation"}
# The first name of each class in the benchmark's objectInfo150.txt.
CLASSES = tuple(
    " ".join(
        """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel,
pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent,
bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle,
lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan,
pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
""".split()
    ).split(", ")
)
WHERE = (
    "ADE20K's scene parsing benchmark is ADEChallengeData2016.zip from "
    "data.csail.mit.edu/places/ADEchallenge/; unpack it and give the folder that holds "
    "ADEChallengeData2016 as --data-dir."
)


def read(data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        data_dir: The folder that holds ADEChallengeData2016, or ADEChallengeData2016 itself.
        split: "train" or "val".

    Raises:
        DataError: A folder is missing.
    """
    given = data_root("ade20k", data_dir, WHERE)
    inner = given / "ADEChallengeData2016"
    root = inner if inner.is_dir() else given
    if split not in FOLDERS:
        raise DataError(
            f"ade20k: no split {split!r}; choose one of {', '.join(FOLDERS)}. The test split's "
            "masks are not published."
        )
    images = (root / "images" / FOLDERS[split]).glob("*.jpg")
    masks = (root / "annotations" / FOLDERS[split]).glob("*.png")
    examples, faults = paired(
        {path.stem: path for path in images}, {path.stem: path for path in masks}, root, WHERE
    )
    return Split(
        name=f"ade20k {split}",
        examples=examples,
        class_names=CLASSES,
        palette=distinct_palette(len(CLASSES) + 1)[1:],  # Black would look like void.
        mask_values={0: IGNORE, **{i + 1: i for i in range(len(CLASSES))}},
        faults=faults,
    )
