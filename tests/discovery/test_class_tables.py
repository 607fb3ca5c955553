"""What `data init` reads from CSV files with a header and from JSON files that name classes."""

import json

import numpy as np
import pytest
from drawn_folders import fill, made
from exports import picture
from PIL import Image

import pipelines

BY_VALUE = {"cow": 3, "dog": 2, "cat": 1, "bg": 0}
GREY = {name: [value] * 3 for name, value in BY_VALUE.items()}


def table(columns, delimiter=","):
    """A CSV file of the four classes with these columns."""
    fields = {
        "name": lambda name: name,
        "value": lambda name: str(BY_VALUE[name]),
        **dict.fromkeys("rgb", lambda name: "128" if name == "cow" else "0"),
        "rgb": lambda name: f'"{BY_VALUE[name]}, 0, 7"',
        "hex": lambda name: f"#00000{BY_VALUE[name]}",
        "text": lambda name: "x",
        "count": lambda name: str(7 - BY_VALUE[name]),
    }
    kinds = {"id": "value", "class": "name", "label": "name", "Class Name": "name", "ID": "value"}
    kinds |= {"Pixel Value": "value", "Class": "name", "index": "value", "class_id": "value"}
    kinds |= {"red": "r", "green": "g", "blue": "b", "color": "hex", "category": "text"}
    rows = [[fields[kinds.get(c, c)](name) for c in columns] for name in BY_VALUE]
    return "\n".join(delimiter.join(cells) for cells in [columns, *rows])


@pytest.mark.parametrize(
    ("columns", "delimiter"),
    [
        (["name", "id"], ","),
        (["id", "name"], ","),
        (["class", "value"], ","),
        (["label", "value"], "\t"),
        (["value", "label"], ", "),
        (["name", "id", "r", "g", "b"], ";"),
        (["name", "r", "g", "b", "id"], ","),
        (["b", "g", "r", "ID", "Class Name"], ","),
        (["Pixel Value", " Class"], ","),
        (["index", "class", "color"], ","),
        (["name", "rgb", "class_id"], ","),
        (["count", "name", "id", "text"], ","),
        (["name", "category", "id"], ","),
        (["id", "name"], " "),
        (["name", "id", "r", "g", "b"], " "),
    ],
)
@pytest.mark.parametrize("file", ["classes.csv", "labels.txt", "labels_class_dict.csv"])
def test_columns_are_found_by_their_header(read, file, columns, delimiter):
    columns = [column.strip() for column in columns]
    assert read(file, table(columns, delimiter))[0] == BY_VALUE


@pytest.mark.parametrize("header", ["class", "Name", "label", "# name", "classes"])
def test_a_header_of_one_word_is_no_class(read, header):
    found, _ = read("classes.csv", f"{header}\nbg\ncat\ndog\ncow\n")
    assert found == dict(reversed(BY_VALUE.items()))


ROBOFLOW = "Pixel Value, Class\n0, bg\n1, cat\n2, dog\n3, cow\n"
ITEMS = [{"name": name, "id": value} for name, value in BY_VALUE.items()]
SUPERVISELY = [{"title": n, "shape": "any", "color": "#800000", "hotkey": ""} for n in BY_VALUE]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train/_classes.csv", ROBOFLOW),
        ("classes.json", GREY),
        ("obj_class_to_machine_color.json", GREY),
        ("classes.json", {name: f"#{3 * f'{v:02x}'}" for name, v in BY_VALUE.items()}),
        ("labels.json", {str(value): name for name, value in BY_VALUE.items()}),
        ("labels.json", {str(v): {"name": n, "color": "#123456"} for n, v in BY_VALUE.items()}),
        ("labels.json", {name: {"value": value} for name, value in BY_VALUE.items()}),
        ("labels.json", {f"rgb({v}, {v}, {v})": name for name, v in BY_VALUE.items()}),
        ("categories.json", {"info": {}, "categories": ITEMS}),
        ("labels.json", {"names": {str(value): name for name, value in BY_VALUE.items()}}),
        ("labels.json", [*ITEMS, {"name": "licence plate", "id": -1}]),
        ("labels.json", [{**one, "color": [1, 2, 3], "readable": "A"} for one in ITEMS]),
        ("labels.json", [{**one, "id": float(one["id"])} for one in ITEMS]),
        ("label_to_id.json", {"label_to_id": BY_VALUE}),
        ("classes.json", {"label_to_id": BY_VALUE, "version": 1}),
        ("labels.json", [{"label": one["id"], "class": one["name"]} for one in ITEMS]),
    ],
)
def test_values_of_known_formats_are_read(read, file, content):
    assert read(file, content)[0] == BY_VALUE


VISTAS = [
    {"name": name, "readable": name.title(), "color": [128, 64, value], "evaluate": True}
    for name, value in reversed(BY_VALUE.items())
]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data.yaml", "names: [bg, cat, dog, cow]\nnc: 4\ntrain: images\n"),
        ("dataset.yml", "names: {0: bg, 1: cat, 3: cow, 2: dog}\ntrain: images\n"),
        ("config_v1.2.json", {"labels": VISTAS, "version": "1.1"}),
        ("config.json", {"labels": VISTAS, "folder_structure": "{split}"}),
    ],
)
def test_names_in_the_order_of_values(read, file, content):
    assert read(file, content)[0] == BY_VALUE


@pytest.mark.parametrize(
    ("file", "content"),
    [("data.yaml", "classes: [a, b]\n"), ("data.yaml", "- ["), ("config.json", {"a": 1})],
)
def test_files_of_other_programs_name_no_classes(read, file, content):
    assert set(read(file, content)[0]).isdisjoint(BY_VALUE)


XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><job><labels>
  <label><name>cow</name><color>#000009</color><type>any</type><attributes></attributes></label>
  <label><name>dog</name><color>#000900</color><attributes></attributes></label>
</labels></job></meta><image id="0" name="a.jpg" width="9" height="9"></image>"""


def test_cvat_names_its_colours_in_xml(tmp_path):
    root = tmp_path / "data"
    fill(root, names=range(4), values=((0, 0, 0), (0, 0, 9), (0, 9, 0)))
    (root / "annotations.xml").write_text(XML)  # What follows the labels is not read.
    split = pipelines.read(made(root)[0], "train")
    assert split.class_names == ("background", "cow", "dog")


@pytest.mark.parametrize("text", ["<a", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_broken_and_hostile_xml_names_no_classes(read, text):
    found, notes = read("annotations.xml", text)
    assert set(found).isdisjoint(BY_VALUE)
    assert any("annotations.xml" in note and "not plain XML" in note for note in notes)


def test_supervisely_names_its_colours_in_meta(tmp_path):
    colours = {"cow": (0, 0, 9), "dog": (0, 9, 0), "cat": (9, 0, 0), "bg": (0, 0, 0)}
    root = tmp_path / "data"
    fill(root, names=range(4), values=tuple(colours.values()))
    classes = [
        {
            "title": name,
            "shape": "any",
            "color": "#{:02x}{:02x}{:02x}".format(*colour),
            "id": 70 + i,
        }
        for i, (name, colour) in enumerate(colours.items())
    ]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    split = pipelines.read(made(root)[0], "train")
    found = {name: split.class_names.index(name) for name in colours}
    assert {colours[name]: i for name, i in found.items()} == split.mask_colours


def test_mapillary_names_the_colours_of_palettes_in_its_config(tmp_path):
    labels = [{"name": f"a--{i}", "readable": f"A {i}", "color": [i, 9, 0]} for i in range(4)]
    for number in range(4):
        picture(tmp_path / f"data/images/{number}.jpg")
        mask = Image.fromarray(np.random.default_rng(number).integers(0, 4, (20, 30), "uint8"))
        mask = mask.convert("P")
        mask.putpalette([channel for label in labels for channel in label["color"]])
        path = tmp_path / f"data/v2.0/labels/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask.save(path)
    (tmp_path / "data/config_v2.0.json").write_text(json.dumps({"labels": labels}))
    split = pipelines.read(made(tmp_path / "data")[0], "train")
    assert split.class_names == ("a--0", "a--1", "a--2", "a--3")
    assert split.mask_values | {255: 255} == {0: 0, 1: 1, 2: 2, 3: 3, 255: 255}


def test_a_table_that_leaves_out_only_background_fits(read):
    named = {name: value for name, value in BY_VALUE.items() if name != "bg"}
    found, notes = read("labels.json", named)
    assert found == {"background": 0, **named}
    assert any("does not name 0" in note for note in notes)
    # It counts from 1, the masks from 0: no class is the background.
    found, notes = read("labels.json", named, values=(0, 1, 2))
    assert found == {"background": 0, "class_1": 1, "class_2": 2}


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("classes.csv", "name,id,trainId\ncow,3,0\ndog,2,1\ncat,1,2\nbg,0,3", "id, trainid. Keep"),
        ("classes.csv", "name,id\ncow,3\ndog,\ncat,1\nbg,0", "`id` is missing or no whole number"),
        ("classes.csv", "name,id\ncow,3\ndog,two\ncat,1\nbg,0", "`id` is missing or no whole"),
        ("classes.csv", "id,name\n3,cow, calf\n2,dog\n1,cat\n0,bg", "3 cells in a line, but 2"),
        ("classes.csv", "name,pixels\ncow,3\ndog,2\ncat,1\nbg,0", "meaning is unclear: pixels"),
        ("classes.csv", "class,label\ncow,a\ndog,b\ncat,c\nbg,d", "several fields of names"),
        ("labels.json", [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}], "no field of names"),
        ("labels.json", [{**one, "value": 7} for one in ITEMS], "several fields of values: id, v"),
        ("labels.json", {str(9 - i): one for i, one in enumerate(ITEMS)}, "fields of values"),
        ("labels.json", [*ITEMS[:3], {"name": "bg"}], "`id` is missing or no whole number"),
        ("labels.json", [{**one, "id": one["id"] + 0.5} for one in ITEMS], "whole number"),
        ("labels.json", {"cow": [0, 0, 1.5], "dog": [0, 1, 0]}, "each 0..255"),
        ("labels.json", {"cow": "#00ff00ff", "dog": "#0000ffff"}, "each 0..255"),
        ("labels.json", {"cow": "calf", "dog": "pup"}, "each 0..255"),
        ("labels.json", '["cow", "dog"', "is not JSON (line 1)"),
    ],
)
def test_what_is_unclear_is_refused_with_a_note(read, file, content, why):
    found, notes = read(file, content)
    assert found == {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}
    assert any(file in note and why in note for note in notes), notes


def test_other_files_called_meta_are_left_alone(read):
    assert not read("meta.json", {"width": 3, "height": 2, "depth": 1, "frames": 0})[1]
