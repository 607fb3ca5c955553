"""CVAT's XML files, for images and for videos."""

import math

import numpy as np
import pytest
from exports import SQUARE, mask_of, picture, record_of
from tool_exports import LABEL, cvat, cvat_video, element, polygon

import pipelines
from pipelines import DataError
from pipelines.annotations import drawing

CORNERS = list(zip(*[iter(SQUARE)] * 2, strict=True))  # Columns 4..13 and rows 2..11.
AREA = polygon(CORNERS)
BOX = element("box", label="cat", xtl=4, ytl=2, xbr=14, ybr=12)
RLE = "0, 2, 3, 1, 1, 1"  # Of 4 x 2: ##.. / .#.#


def square():
    want = np.zeros((20, 30), int)
    want[2:12, 4:14] = 1
    return want


def test_polygons_are_drawn_with_the_labels_of_the_file(source, out, converted):
    cvat(source, {"a.png": AREA})
    made = converted()
    assert (made.format, made.class_names) == ("cvat", ("background", "cat", "dog"))
    np.testing.assert_array_equal(mask_of(out), square())
    text = (out / "data.yaml").read_text()
    assert "[10, 20, 30]" in text and "[40, 50, 60]" in text


def test_masks_are_runs_row_by_row_inside_their_box(source, out, converted):
    cvat(source, {"a.png": element("mask", label="dog", rle=RLE, left=5, top=3, width=4, height=2)})
    converted()
    assert np.argwhere(mask_of(out) == 2).tolist() == [[3, 5], [3, 6], [4, 6], [4, 8]]


def test_z_order_comes_before_file_order(source, out, converted):
    cvat(source, {"a.png": polygon(CORNERS, "dog", z_order=1) + polygon(CORNERS, "cat", z_order=0)})
    converted()
    assert mask_of(out)[5, 5] == 2
    cvat(source, {"a.png": polygon(CORNERS, "dog") + polygon(CORNERS, "cat")})
    converted()
    assert mask_of(out)[5, 5] == 1
    above = polygon(CORNERS, "cat", z_order=10)
    cvat(source, {"a.png": above + polygon(CORNERS, "dog", z_order=9)})
    converted()
    assert mask_of(out)[5, 5] == 1  # Numbers, not texts.


def test_a_background_label_is_a_hole(source, out, converted):
    labels = (("background", "#000000"), ("cat", "#ff0000"))
    hole = polygon([(6, 4), (8, 4), (8, 6), (6, 6)], "background", z_order=1)
    cvat(source, {"a.png": hole + AREA}, labels=labels)
    assert converted().class_names == ("background", "cat")
    assert np.count_nonzero(mask_of(out)) == 96 and mask_of(out)[4, 6] == 0


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_ellipses_turn_clockwise(source, out, converted, angle):
    shape = element("ellipse", label="cat", cx=50, cy=40, rx=30, ry=10, rotation=angle)
    cvat(source, {"a.png": shape}, size=(80, 100))
    assert converted().pixels["cat"] == pytest.approx(math.pi * 300, rel=0.02)
    turn = math.radians(angle)
    x, y = 50 + 25 * math.cos(turn), 40 + 25 * math.sin(turn)
    assert mask_of(out)[int(y), int(x)] == 1


def test_boxes_turn_clockwise_about_their_centre(source, out, converted):
    shape = element("box", label="cat", xtl=20, ytl=38, xbr=80, ybr=42, rotation="30.00")
    cvat(source, {"a.png": shape}, size=(80, 100))
    with pytest.raises(DataError, match="only boxes .*--boxes mask"):
        converted()
    assert converted(boxes="mask").pixels["cat"] == pytest.approx(240, rel=0.05)
    mask = mask_of(out)
    assert mask[40 + 12, 50 + 21] and not mask[40 - 12, 50 + 21]


def test_what_has_no_area_is_left_out_and_counted(source, converted):
    others = [
        AREA,
        BOX,
        element("polyline", label="cat", points="1,2;9,9"),
        element("points", label="cat", points="1,2"),
        element("cuboid", label="cat", xtl1=1),
        f'<skeleton label="cat">{element("points", label="1", points="1,1")}</skeleton>',
        element("tag", label="cat"),
        element("polygon", label="", points="1,2;3,4;5,9"),
        element("polygon", label="cat", points="1,2;3,4"),
        element("polygon", label="cat", points="nan,2;3,4;5,6"),
    ]
    cvat(source, {"a.png": "".join(others)})
    assert converted().left_out == {
        "box without an outline (see --boxes)": 1,
        drawing.NO_WIDTH: 1,
        "points": 1,
        "cuboid": 1,
        "skeleton": 1,
        "tag": 1,
        "shape without a label": 1,
        drawing.TOO_FEW: 1,
        drawing.FAR: 1,
    }
    assert converted(lines=3).left_out[drawing.NO_WIDTH] == 0


def test_attributes_of_shapes_do_no_harm(source, out, converted):
    inside = '<attribute name="colour">red</attribute>'
    cvat(source, {"a.png": AREA.replace("></polygon>", f">{inside}</polygon>")})
    assert not converted().left_out


@pytest.mark.parametrize(
    ("tag", "attributes", "message"),
    [
        ("polygon", {"points": "1,2;3"}, "its points must be like"),
        ("polygon", {"points": "1,2;3,x"}, "its points must be like"),
        ("polygon", {}, "it has no points"),
        ("box", {"xtl": 1, "ytl": 2, "xbr": "x", "ybr": 3}, "its xbr must be a number, found 'x'"),
        ("ellipse", {"cx": 1, "cy": 2, "rx": 3}, "it has no ry"),
        ("ellipse", {"cx": 1, "cy": 2, "rx": 3, "ry": 3, "rotation": "inf"}, "its rotation must"),
        ("mask", {"rle": "1, 2"}, "it has no left"),
        ("mask", {"rle": "1, 2", "left": 0, "top": 0, "width": 2, "height": 2}, "adds up to 3"),
        ("mask", {"rle": "5, -1", "left": 0, "top": 0, "width": 2, "height": 2}, "the run -1"),
        ("mask", {"rle": "9" * 30, "left": 0, "top": 0, "width": 2, "height": 2}, "whole numbers"),
        ("mask", {"rle": "1, x", "left": 0, "top": 0, "width": 2, "height": 2}, "whole numbers"),
        ("mask", {"rle": "", "left": 0, "top": 0, "width": 2, "height": 2}, "adds up to 0"),
        ("mask", {"rle": "1", "left": 0.5, "top": 0, "width": 2, "height": 2}, "a whole number"),
        ("mask", {"rle": "1", "left": "nan", "top": 0, "width": 2, "height": 2}, "a whole number"),
        ("mask", {"rle": "1", "left": 0, "top": 0, "width": 80_000, "height": 80_000}, "80000 x"),
        ("polygon", {"points": "1,2;3,4;5,9", "z_order": "top"}, "could not convert"),
    ],
)
def test_wrong_shapes_name_image_and_number(source, converted, tag, attributes, message):
    cvat(source, {"a.png": AREA + element(tag, label="cat", **attributes)})
    match = rf"image 'a.png': shape 1 \(<{tag}>, 'cat'\): .*{message}"
    with pytest.raises(DataError, match=match):
        converted(boxes="mask")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name="a.png"', "", "image '0' has no name"),
        ('width="30"', 'width="many"', "the width 'many'"),
        ('height="20"', 'height="0"', "the height '0'"),
        ('height="20"', 'height="21"', "for 21 x 30"),
        ("</annotations>", "", "not readable as XML"),
        ('name="a.png"', 'name="../../../etc/a.png"', ""),
        ('name="a.png"', 'name="b.png"', "names the image 'b.png'"),
    ],
)
def test_wrong_files(source, out, converted, old, new, message):
    cvat(source, {"a.png": AREA})
    text = (source / "annotations.xml").read_text()
    (source / "annotations.xml").write_text(text.replace(old, new))
    if not message:  # The only image of that name counts, and its mask stays in the folder.
        converted()
        assert mask_of(out).any()
        return
    with pytest.raises(DataError, match=f"annotations.xml: .*{message}"):
        converted()


def test_an_image_that_appears_twice_is_a_fault(source, converted):
    cvat(source, {"a.png": AREA})
    text = (source / "annotations.xml").read_text()
    image = text[text.index("<image") : text.index("</annotations>")]
    (source / "annotations.xml").write_text(text.replace(image, image * 2))
    with pytest.raises(DataError, match="annotates .*a.png, which .* annotates too"):
        converted()


def test_subsets_are_splits(source, out, converted):
    images = {(s, f"{n}.png"): AREA for s in ("Train", "Validation", "other") for n in range(2)}
    cvat(source, images)
    assert converted().images == {"train": 4, "val": 2}
    found = {e.image for e in pipelines.read(out / "data.yaml", "train").examples}
    assert source / "images/Train/0.png" in found and source / "images/other/0.png" in found


def test_the_subset_of_a_task_is_the_split_of_its_images(source, tmp_path, converted):
    cvat(source / "1", {"a.png": AREA}, subset="Train")
    cvat(source / "2", {"b.png": AREA}, subset="Test")
    assert converted().images == {"train": 1, "test": 1}


def test_labels_that_meta_lacks_are_told(source, converted):
    cvat(source, {"a.png": AREA + polygon(CORNERS, "cow")})
    made = converted()
    assert made.class_names == ("background", "cat", "dog", "cow")
    assert "shapes have labels that <meta> does not list: cow" in made.notes
    text = (source / "annotations.xml").read_text()
    meta = text[text.index("<meta>") : text.index("</meta>") + 7]
    (source / "annotations.xml").write_text(text.replace(meta, ""))
    assert converted().class_names == ("background", "cat", "cow")


@pytest.mark.parametrize("kind", ["task", "project", "job"])
def test_labels_of_a_task_project_or_job(source, converted, kind):
    cvat(source, {"a.png": AREA})
    text = (source / "annotations.xml").read_text()
    text = text.replace("<task>", f"<{kind}>").replace("</task>", f"</{kind}>")
    skeleton = LABEL.format("man", "#ffffff").replace("any", "skeleton")
    joint = LABEL.format("1", "#ffffff").replace("</label>", "<parent>man</parent></label>")
    (source / "annotations.xml").write_text(
        text.replace("</labels>", skeleton + joint + "</labels>")
    )
    made = converted()
    assert made.class_names == ("background", "cat", "dog")
    assert any("skeletons" in note and "1, man" in note for note in made.notes)


def tracked(frame, x=0, **attributes):
    points = [(x + a, b) for a, b in CORNERS]
    given = {"frame": frame, "keyframe": 1, "outside": 0, "occluded": 0, **attributes}
    return polygon(points, **given).replace('label="cat" ', "")


def test_tracks_become_the_masks_of_frames(source, out, converted):
    first = tracked(0) + tracked(1, 2, keyframe=0) + tracked(2, 2, outside=1)
    second = tracked(1, 8, z_order=-1) + tracked(2, 8)
    cvat_video(source, [("cat", first), ("dog", second)], images=range(5), stop=3)
    assert converted().images == {"train": 4}  # 3 has no entry; 4 is after the end.
    masks = [mask_of(out, f"frame_{n:06}") for n in range(4)]
    np.testing.assert_array_equal(masks[0], square())
    assert (masks[1][5, 6:16] == 1).all() and (masks[1][5, 16:22] == 2).all()
    assert np.unique(masks[2]).tolist() == [0, 2] and not masks[3].any()


def test_frames_of_which_a_track_lacks_shapes_are_left_out(source, converted):
    tracks = [("cat", tracked(0) + tracked(4)), ("dog", tracked(1))]
    cvat_video(source, tracks, images=range(5), stop=4)
    made = converted()
    names = [record["image"] for record in record_of(made.out)["images"]]
    assert names == ["frame_000000.png", "frame_000004.png"]
    assert any("left out 3 frames" in note for note in made.notes)


def test_only_every_fifth_frame(source, converted):
    shapes = tracked(0) + tracked(5) + tracked(10)
    cvat_video(source, [("cat", shapes)], images=range(11), stop=10, step=5)
    made = converted()
    assert made.images == {"train": 3} and not any("skips" in note for note in made.notes)


def test_a_track_may_be_away_for_some_frames(source, converted):
    shapes = tracked(0) + tracked(1, outside=1) + tracked(4)
    cvat_video(source, [("cat", shapes)], images=range(5), stop=4)
    assert converted().images == {"train": 5}


def test_a_bare_video_is_told(source, converted):
    cvat_video(source, [("cat", tracked(3))], images=())
    (source / "walk.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"frame_000003.png .*ffmpeg -i walk.mp4 -start_number 0"):
        converted()


def test_videos_whose_frames_have_the_same_names_are_refused(source, converted):
    task = "</task><task><id>{}</id><start_frame>0</start_frame><stop_frame>2</stop_frame>"
    cvat_video(source, [("cat", tracked(0))] * 2, images=(), more=task.format(8))
    text = (source / "annotations.xml").read_text()
    text = text.replace('<track id="0"', '<track id="0" task_id="7" subset="a"')
    (source / "annotations.xml").write_text(
        text.replace('<track id="1"', '<track id="1" task_id="8" subset="a"')
    )
    with pytest.raises(DataError, match="several videos in one subset"):
        converted()
    text = (source / "annotations.xml").read_text()
    (source / "annotations.xml").write_text(text.replace('"8" subset="a"', '"8" subset="b"'))
    for subset in "ab":
        picture(source / f"images/{subset}/frame_000000.png")
    assert converted().images == {"train": 2}


@pytest.mark.parametrize("frame", ["", "x", "1.5"])
def test_wrong_frames(source, converted, frame):
    cvat_video(source, [("cat", tracked(frame)), ("dog", tracked(0))])
    with pytest.raises(DataError, match=f"track '0' has the frame '{frame}', not a number"):
        converted()


def test_huge_frame_numbers_cost_nothing(source, converted):
    cvat_video(source, [("cat", tracked(0) + tracked(10**15))], stop=10**15)
    with pytest.raises(DataError, match="frame_1000000000000000"):
        converted()
