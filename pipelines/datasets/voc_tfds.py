"""PASCAL VOC segmentation as a TFDS data set; TFDS's own VOC has only bounding boxes.

    python -c "from pipelines.datasets.voc_tfds import prepare; prepare('VOC_DIR')"
    fcn-keras train --data tfds:voc_segmentation/2012 ...

Images are the original JPEG files; masks hold class ids, and 255 for void.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets import voc
from pipelines.errors import raise_all
from pipelines.examples import read_example


class VocSegmentation(tfds.core.GeneratorBasedBuilder):
    """PASCAL VOC segmentation, 21 classes, splits train and val."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=year, description=f"The {year} challenge.")
        for year in ("2012", "2011")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir must hold VOCdevkit: unpack VOCtrainval_*.tar from "
        "host.robots.ox.ac.uk/pascal/VOC/ there."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), encoding_format="png", use_colormap=True
                    ),
                    "file_name": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        folder = Path(dl_manager.manual_dir)
        return {split: self._generate_examples(folder, split) for split in ("train", "val")}

    def _generate_examples(self, folder: Path, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        examples = voc.read(int(self.builder_config.name), folder, split)
        raise_all(examples.faults)
        for index, example in enumerate(examples.examples):
            _, mask = read_example(examples, index)
            yield (
                example.id,
                {
                    "image": str(example.image),
                    "segmentation_mask": mask[..., None],
                    "file_name": example.id,
                },
            )


def prepare(
    voc_dir: str | Path, year: str | int = "2012", data_dir: str | Path | None = None
) -> None:
    """Prepares the data set for TFDS; then `--data tfds:voc_segmentation/YEAR` reads it.

    Args:
        voc_dir: The folder that holds VOCdevkit.
        year: "2012" or "2011".
        data_dir: TFDS's folder, or None for its default.

    Raises:
        DataError: VOC files are missing or have faults.
    """
    builder = VocSegmentation(config=str(year), data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(voc_dir))
    )
