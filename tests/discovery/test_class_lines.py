"""What `data init` reads from lines that name classes: each value goes with the name beside it."""

import pytest

COW, DOG, CAT, BG = {"cow": 3}, {"dog": 2}, {"cat": 1}, {"bg": 0}
BY_VALUE = COW | DOG | CAT | BG
UNNAMED = {"background": 0, "class_1": 1, "class_2": 2, "class_3": 3}


@pytest.mark.parametrize(
    "line",
    [
        "{name},{value}",
        "{name} {value}",
        "{name}={value}",
        "{name} = {value}",
        "{name} ({value})",
        "{name}: {value}",
        "{name} - {value}",
        "{name} -> {value}",
        "{name}\t{value}",
        "{name};{value}",
        '"{name}",{value}',
        "{value} {name}",
        "{value}: {name}",
        "{value} - {name}",
        "[{value}] {name}",
        "{value},128,{value},0,{name}",
        "{value};{name};128;{value};0",
        "{name},{value},{value},0,0",
        "{name},0,0,{value},{value}",
        "{name} #0000{value:02x} {value}",
        "{name} #{value:02x}{value:02x}{value:02x}",
        "{name} {value} {value} {value}",
    ],
)
def test_the_value_beside_a_name_is_its_value_whatever_the_order(read, line):
    text = "\n".join(line.format(name=name, value=value) for name, value in BY_VALUE.items())
    assert read("classes.txt", text)[0] == BY_VALUE


def test_four_numbers_are_clear_if_only_one_order_gives_each_class_its_own(read):
    rows = {"cow": (0, 0, 128), "dog": (0, 128, 0), "cat": (128, 0, 0), "bg": (0, 0, 0)}
    before = [f"{n},{BY_VALUE[n]},{r},{g},{b}" for n, (r, g, b) in rows.items()]
    behind = [f"{n},{r},{g},{b},{BY_VALUE[n]}" for n, (r, g, b) in rows.items()]
    assert (
        read("classes.txt", "\n".join(before))[0]
        == BY_VALUE
        == read("classes.txt", "\n".join(behind))[0]
    )
    for end in ("255", "{0}"):  # Opacity, or a blue that differs as the value does.
        unclear = "\n".join(f"{name},{v},{v},0,{end.format(v)}" for name, v in BY_VALUE.items())
        found, notes = read("classes.txt", unclear)
        assert found == UNNAMED and "4 numbers in a line, whose meaning is unclear" in str(notes)


@pytest.mark.parametrize(
    "names", [["lane 1", "lane 2", "lane 3", "lane 4"], ["road", "lane 1", "lane 2", "lane 3"]]
)
def test_numbers_that_tell_names_apart_belong_to_the_names(read, names):
    assert list(read("classes.txt", "\n".join(names))[0].items()) == [
        (n, i) for i, n in enumerate(names)
    ]


def test_names_may_hold_numbers_and_commas(read):
    names = "3D object\nbuilding, edifice\nU-turn_2\nM&M's"
    assert list(read("classes.txt", names)[0]) == names.split("\n")
    assert read("classes.txt", "3,lane 1\n2,lane 2\n1,lane 3\n0,30 zone")[0] == {
        **{"lane 1": 3, "lane 2": 2},
        **{"lane 3": 1, "30 zone": 0},
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cow 3\ndog 2\ncat 1\nbg", "different numbers in its lines, or none in some"),
        ("cow,3\ndog,2\ncat,1\nbg", "different numbers in its lines, or none in some"),
        ("Tier,Wert\ncow,3\ndog,2\ncat,1\nbg,0", "different numbers in its lines"),
        ("cow,3\ndog,2\ncat,1\ncat,0", "calls two classes 'cat'"),
        ("cow 3 7\ndog 2 7\ncat 1 7\nbg 0 7", "2 numbers in a line, whose meaning is unclear"),
        ("0.5 0 0 cow\n0 0.5 0 dog\n0 0 0.5 cat\n0 0 0 bg", "'0.5', '0', '0'"),
        ("cow 300 0 0\ndog 0 1 0\ncat 0 0 1\nbg 0 0 0", "each 0..255"),
        ("cow 3.5\ndog 2.5\ncat 1.5\nbg 0.5", "no whole number"),
        ("class 3: cow\nclass 2: dog\nclass 1: cat\nclass 0: bg", "a number inside each line"),
        ("cow,3,beast\ndog,2,pet\ncat,1,pet\nbg,0,none", "a number inside each line"),
        ("#3 cow\n#2 dog\n#1 cat\n#0 bg", "a number inside each line"),
        ("1\n2\n3\n4", "in which no name is found"),
        ("cow 0 0 128\ndog 0 128 0\ncat 128 0 0\nbg 0 0 0", "colours, but the masks hold values"),
        ("K\xfche\nHunde\nKatzen\nWege".encode("latin-1"), "is not UTF-8"),
        ("# label:color_rgb:parts:actions\ncow:3\n", "is not CVAT's NAME:R,G,B:PARTS:ACTIONS"),
    ],
)
def test_what_is_unclear_is_refused_with_a_note(read, text, why):
    found, notes = read("classes.txt", text)
    assert found == UNNAMED
    assert any("classes.txt" in note and why in note for note in notes), notes


PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128]
CVAT = "{}cow:0,0,128:horn,tail:run\ndog:0,128,0::\ncat:128,0,0::sit,run\nbg:0,0,0::\n"


@pytest.mark.parametrize(
    "first", ["", "# label:color_rgb:parts:actions\n", "label:color_rgb:parts:actions\n"]
)
def test_parts_of_cvat_are_no_names(read, first):
    assert read("labelmap.txt", CVAT.format(first), palette=PALETTE)[0] == BY_VALUE


@pytest.mark.parametrize(
    ("order", "fits"), [((3, 2, 1, 0), True), ((0, 1, 2, 3), False)], ids=["agree", "differ"]
)
def test_values_and_colours_must_not_contradict_each_other(read, order, fits):
    colours = ("0,0,128", "0,128,0", "128,0,0", "0,0,0")
    lines = zip(order, colours, BY_VALUE, strict=True)
    text = "value,r,g,b,name\n" + "\n".join(f"{v},{c},{n}" for v, c, n in lines)
    found, notes = read("classes.csv", text, palette=PALETTE)
    assert (found == BY_VALUE) == fits
    assert any("name different classes" in note for note in notes) != fits
