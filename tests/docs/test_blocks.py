"""Every block of code in the README and the documentation runs, or says why it does not."""

import json
import os
import re
from pathlib import Path

import cityscapes_exports
import exports
import keras
import label_studio_exports
import mapillary_exports
import numpy as np
import pytest
import supervisely_exports
import tool_exports
from doc_blocks import DATA, RUN, blocks_of, needs_of, run_page
from PIL import Image

import fcn_keras

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if any(one.language in RUN for one in blocks_of(page))]

EXTRAS = ("grpc", "litert", "onnx", "openvino", "tfds")


def name_of(page):
    return str(page.relative_to(ROOT))


def marked(page):
    needs = needs_of(page)
    marks = [pytest.mark.slow] if "slow" in needs else []
    marks += [pytest.mark.extra(name) for name in EXTRAS if name in needs]
    return pytest.param(page, marks=marks, id=name_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_run_or_say_why_not(page):
    for block in blocks_of(page):
        kinds = {kind for kind, _ in block.directives}
        assert kinds <= {"skip", "replace", "file"}, f"{page}:{block.line}"
        for reason in block.values("skip"):
            assert len(reason.split()) > 2, f"{page}:{block.line}: no reason: {reason!r}"
        if block.language in DATA:
            assert kinds & {"skip", "file"}, f"{page}:{block.line}: neither written nor skipped"
        assert block.language, f"{page}:{block.line}: the block names no language"
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert "    fcn-keras" not in text, f"{page}: an indented block would not run"


@pytest.mark.parametrize("page", [marked(page) for page in WITH_CODE])
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, run_command, rng):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in WORLD if name in needs_of(page)]:
        WORLD[name](rng)
    before = dict(os.environ)
    try:
        run_page(page, run_command)
    finally:
        for name in set(os.environ) - set(before):
            monkeypatch.delenv(name)


def photos(rng):
    """`photos/`, two JPEGs, and `photo.jpg`, `one_more.jpg`, `huge.png`."""
    Path("photos").mkdir()
    for name in ("photos/a.jpg", "photos/b.jpg", "photo.jpg", "one_more.jpg", "huge.png"):
        noise = rng.integers(0, 256, (6, 8, 3), "uint8")
        Image.fromarray(noise).resize((96, 72)).save(name)


def data(rng, root="DATA"):
    """`DATA/{train,val}/{images,masks}` of three classes with names, and `data.yaml`."""
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("images", "masks"):
            Path(root, split, kind).mkdir(parents=True)
        for number in range(count):
            mask = np.repeat(np.repeat(rng.integers(0, 3, (6, 8), "uint8"), 12, 0), 12, 1)
            image = np.stack([90 * mask, 255 - 90 * mask, rng.integers(0, 256, mask.shape)], -1)
            Image.fromarray(mask).save(Path(root, split, "masks", f"{number}.png"))
            Image.fromarray(image.astype("uint8")).save(
                Path(root, split, "images", f"{number}.jpg")
            )
    Path(root, "classes.txt").write_text("background\nroad\ncar\n")
    Path("data.yaml").write_text(
        f"train: {{images: {root}/train/images, masks: {root}/train/masks}}\n"
        f"val: {{images: {root}/val/images, masks: {root}/val/masks}}\n"
        "classes: [background, road, car]\n"
    )


def run(rng):
    """`runs/mine`, a short training on `data.yaml`."""
    if not Path("data.yaml").exists():
        data(rng)
    options = {"epochs": 1, "crop": (64, 64), "batch_size": 4, "head_width": 16}
    fcn_keras.train("quickstart", data="data.yaml", out="runs/mine", **options)


def model(rng):
    """`model.keras` of three classes."""
    keras.utils.set_random_seed(0)
    fcn_keras.FCN8s(3, backbone="tiny", weights=None, head_width=16).save("model.keras")


def coco(rng):
    """`DATA`, COCO annotations of six images."""
    images = [{"id": n, "file_name": f"{n}.png", "height": 64, "width": 64} for n in range(6)]
    polygon = {"segmentation": [[8, 8, 50, 8, 50, 40, 8, 40]]}
    exports.coco(Path("DATA"), [{**polygon, "image_id": n} for n in range(6)], images=images)


def labelme(rng):
    """`DATA`, LabelMe annotations of six images."""
    for n in range(6):
        shapes = [("cat", "rectangle", [[8, 8], [50, 40]])]
        names = {"name": f"{n}.json", "image": f"{n}.png"}
        exports.labelme(Path("DATA"), shapes, size=(64, 64), **names)


def supervisely(rng):
    """`DATA`, a Supervisely project of six images."""
    square = supervisely_exports.ring([[8, 8], [50, 8], [50, 40], [8, 40]])
    for n in range(6):
        names = {"name": f"ds/ann/{n}.png.json", "image": f"ds/img/{n}.png"}
        objects = [supervisely_exports.of("polygon", **square)]
        supervisely_exports.project(Path("DATA"), objects, size=(64, 64), **names)


def label_studio(rng):
    """`DATA`, an export of Label Studio with six images."""
    tasks = []
    for n in range(6):
        exports.picture(Path(f"DATA/{n}.png"), label_studio_exports.SIZE)
        points = {"points": label_studio_exports.TRIANGLE}
        region = label_studio_exports.result("polygonlabels", points)
        one = label_studio_exports.annotation(region)
        tasks.append(label_studio_exports.task(one, image=f"/data/upload/{n}.png", id=n))
    label_studio_exports.export(Path("DATA"), *tasks, image=None)


def cityscapes(rng):
    """`DATA`, six images with Cityscapes' polygons."""
    for n in range(6):
        split = "val" if n > 3 else "train"
        objects = [("road", cityscapes_exports.WHOLE), ("car", cityscapes_exports.SQUARE)]
        cityscapes_exports.city(Path("DATA"), objects, name=f"a_{n}", split=split)


def mapillary(rng):
    """`DATA`, six images with polygons as in Mapillary Vistas."""
    for n in range(6):
        split = "validation" if n > 3 else "training"
        objects = [("construction--flat--road", cityscapes_exports.WHOLE)]
        objects.append(("animal--bird", mapillary_exports.SQUARE))
        mapillary_exports.vistas(Path("DATA"), objects, name=f"{n}", split=split)


def yolo(rng):
    """`DATA`, YOLO's labels of six images."""
    for n in range(6):
        exports.picture(Path(f"DATA/train/images/{n}.png"), (64, 64))
        Path("DATA/train/labels").mkdir(exist_ok=True)
        Path(f"DATA/train/labels/{n}.txt").write_text("0 0.1 0.1 0.8 0.1 0.8 0.6 0.1 0.6\n")
    Path("DATA/data.yaml").write_text("names: [cat]\ntrain: train/images\nval: valid/images\n")
    exports.picture(Path("DATA/valid/images/6.png"), (64, 64))


def class_masks(rng):
    """`DATA`, two black-and-white masks of each of six images."""
    for n in range(6):
        exports.picture(Path(f"DATA/{n}.jpg"), (64, 64))
        for top, kind in ((0, "cat"), (30, "dog")):
            mask = np.zeros((64, 64), "uint8")
            mask[top : top + 20, 8:40] = 255
            Image.fromarray(mask).save(f"DATA/{n}_{kind}.png")


def geojson(rng):
    """`DATA`, QuPath's annotations of six images."""
    ring = [[8, 8], [50, 8], [50, 40], [8, 40], [8, 8]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Tumor"}},
    }
    for n in range(6):
        exports.picture(Path(f"DATA/{n}.png"), (64, 64))
        Path(f"DATA/{n}.geojson").write_text(json.dumps([feature]))


def cvat(rng):
    """`DATA`, CVAT annotations of six images."""
    shape = tool_exports.polygon([(8, 8), (50, 8), (50, 40), (8, 40)])
    tool_exports.cvat(Path("DATA"), {f"{n}.png": shape for n in range(6)}, size=(64, 64))


def via(rng):
    """`DATA`, VIA annotations of six images."""
    region = tool_exports.via_polygon([(8, 8), (50, 8), (50, 40), (8, 40)], kind="cat")
    tool_exports.via(Path("DATA"), {f"{n}.png": [region] for n in range(6)}, size=(64, 64))


def datumaro(rng):
    """`DATA`, Datumaro annotations of six images."""
    shape = {"type": "polygon", "points": [8, 8, 50, 8, 50, 40, 8, 40]}
    tool_exports.datumaro(Path("DATA"), {f"{n}": [shape] for n in range(6)}, size=(64, 64))


WORLD = {
    "photos": photos,
    "data": data,
    "run": run,
    "model": model,
    "coco": coco,
    "labelme": labelme,
    "supervisely": supervisely,
    "label_studio": label_studio,
    "cityscapes": cityscapes,
    "mapillary": mapillary,
    "yolo": yolo,
    "class_masks": class_masks,
    "geojson": geojson,
    "cvat": cvat,
    "via": via,
    "datumaro": datumaro,
}
