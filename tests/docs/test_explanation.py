"""The numbers, names and drawings in `docs/explanation` are those of the code."""

import importlib.util
import math
import re
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import fcn_keras
import pipelines
from fcn_keras.cli.main import load
from fcn_keras.evaluation.paper_experiments import PUBLISHED_BOUNDS
from fcn_keras.layers.upsampling import bilinear_filter
from fcn_keras.losses import balancing_weights
from fcn_keras.models.fcn import MODELS
from fcn_keras.runs.recipes import RECIPES
from fcn_keras.runs.run_folder import WRITTEN

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs/explanation").glob("*.md")}
GEOMETRY, LOSS = PAGES["geometry"], PAGES["loss-and-learning-rate"]
PAPER, ARCHITECTURE = PAGES["paper-and-code"], PAGES["architecture"]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]


def prose(page):
    """A page without its line breaks, so that a sentence can be found however it is wrapped."""
    return " ".join(page.split())


def test_drawings_are_what_the_script_draws(weightless):
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs/drawings.py")
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    for name, svg in drawings.draw().items():
        there = (ROOT / "docs/assets" / name).read_text("utf-8")
        assert svg == there, f"docs/assets/{name} is out of date. Run python docs/drawings.py."


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    names = re.findall(r"`((?:fcn_keras|pipelines|benchmarks|tests|docs)/[\w/.]*)`", PAGES[page])
    assert names
    for name in names:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        file, _, anchor = target.partition("#")
        path = (ROOT / "docs/explanation" / file) if file else None
        assert path is None or path.is_file(), target
        if anchor:
            text = path.read_text("utf-8") if path else PAGES[page]
            assert anchor in [slug(line) for line in re.findall(r"^#+ (.*)", text, re.MULTILINE)]


def slug(heading):
    """The anchor of a heading, as Python-Markdown makes it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("page", PAGES)
def test_cross_references_are_public_names(page):
    public = {f"fcn_keras.{name}" for name in fcn_keras.__all__}
    public |= {f"pipelines.{name}" for name in pipelines.__all__}
    assert public.issuperset(re.findall(r"`\]\[([\w.]+)\]", PAGES[page]))


@pytest.mark.parametrize("page", PAGES)
def test_options_and_recipes_exist(page):
    commands = [load("train"), load("experiment").commands["iu-bounds"]]
    known = {option for one in commands for param in one.params for option in param.opts}
    known.add("--help")
    assert known.issuperset(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGES[page]))
    for recipe in re.findall(r"--recipe ([\w-]+)", PAGES[page]):
        assert recipe in RECIPES


@pytest.mark.parametrize("package", ["fcn_keras", "pipelines"])
def test_tables_of_subpackages_have_the_order_of_the_contracts(package):
    (layers,) = (one["layers"] for one in CONTRACTS if one.get("containers") == [package])
    names = [name for layer in layers for name in layer.split(" | ")]
    folders = [name for name in names if (ROOT / package / name).is_dir()]
    section = ARCHITECTURE.split(f"## The subpackages of `{package}`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == folders


def test_the_subpackages_that_may_import_pipelines_are_named():
    (barred,) = (
        one["source_modules"]
        for one in CONTRACTS
        if one.get("forbidden_modules") == ["pipelines"]
        and "fcn_keras.models" in one["source_modules"]
    )
    (layers,) = (one["layers"] for one in CONTRACTS if one.get("containers") == ["fcn_keras"])
    folders = [name for name in layers if (ROOT / "fcn_keras" / name).is_dir()]
    sentence = re.search(r"- Only (.*) import `pipelines`", ARCHITECTURE)[1]
    allowed = [name for name in folders if f"fcn_keras.{name}" not in barred]
    assert re.findall(r"`(\w+)`", sentence) == allowed


def test_every_file_of_a_run_is_in_its_life():
    table = ARCHITECTURE.split("## The life of a run")[1]
    for name in (*WRITTEN, "data.json"):
        assert re.search(rf"`{re.escape(name)}/?`", table), name


def sizes(height, name, pool):
    """Cells of the scores and of the upsampled map, in the reference geometry."""
    cells = height + 2 * 100 - 2
    for _ in range(5):
        cells = pool(cells / 2)
    cells -= 6
    out, stride = cells, int(name[3:-1])
    for _ in range({32: 0, 16: 1, 8: 2}[stride]):
        out = 2 * (out - 1) + 4
    return cells, stride * (out - 1) + 2 * stride


def test_pools_that_round_down_leave_too_few_rows():
    found = {height: sizes(height, "fcn32s", math.floor) for height in range(1, 1025)}
    none = [height for height, (cells, _) in found.items() if cells < 1]
    short = [h for h, (cells, out) in found.items() if cells > 0 and out < h + 19]
    assert 500 in short
    assert f"too few rows for {len(short)}, with 500 among them" in prose(GEOMETRY)
    assert f"no score at all for {len(none)}:" in prose(GEOMETRY)
    assert 25 in none and all(sizes(h, "fcn32s", math.ceil)[1] >= h + 19 for h in range(1, 4097))


def test_a_crop_of_the_middle_is_wrong():
    _, out = sizes(500, "fcn8s", math.ceil)
    assert f"For 500 pixels, FCN-8s gives {out}" in prose(GEOMETRY)
    assert f"the middle would start at {(out - 500) // 2} and not at 31" in prose(GEOMETRY)
    errors = [
        abs((sizes(h, name, math.ceil)[1] - h) // 2 - offset)
        for name, offset in (("fcn32s", 19), ("fcn16s", 27), ("fcn8s", 31))
        for h in range(1, 1025)
    ]
    assert f"wrong by up to {max(errors)} pixels" in prose(GEOMETRY)


def centre(model, layer):
    size, _, offset = fcn_keras.receptive_field(model, layer)
    return offset + (size - 1) / 2


def test_crops_follow_from_where_the_cells_look(weightless):
    """The derivation in the page, with the published kernels; the code takes published offsets."""
    options = {"weights": None, "head_width": 2, "geometry": "reference"}
    models = {name: build(2, **options) for name, build in MODELS.items()}
    scores = centre(models["fcn8s"], "score_fr")
    assert scores == 12.5
    twice = scores - (4 - 1) / 2 * 16
    pool4, pool3 = (centre(models["fcn8s"], f"score_pool{i}") for i in (4, 3))
    four = twice - (4 - 1) / 2 * 8
    assert (twice, pool4, four, pool3) == (-11.5, -91.5, -23.5, -95.5)
    offsets = {
        ("fcn32s", "logits"): (64 - 1) / 2 - scores,
        ("fcn8s", "score_pool4c"): (twice - pool4) / 16,
        ("fcn16s", "logits"): (32 - 1) / 2 - twice,
        ("fcn8s", "score_pool3c"): (four - pool3) / 8,
        ("fcn8s", "logits"): (16 - 1) / 2 - four,
    }
    for (name, layer), offset in offsets.items():
        assert models[name].get_layer(layer).offset == offset
        assert f"**{offset:.0f}**" in GEOMETRY
    alexnet = fcn_keras.FCN32s(2, backbone="alexnet", **options)
    assert centre(alexnet, "score_fr") == 13
    assert alexnet.get_layer("logits").offset == (63 - 1) / 2 - 13 == 18
    for model in (*models.values(), alexnet):
        assert centre(model, "logits") == 0


def test_receptive_fields_in_the_table_are_those_of_the_model(weightless):
    model = fcn_keras.FCN8s(2, weights=None, head_width=2)
    layers = {f"pool{i}": f"block{i}_pool" for i in range(1, 6)}
    for name, layer in {**layers, "fc6, fc7, score_fr": "score_fr"}.items():
        field = fcn_keras.receptive_field(model, layer)
        (row,) = re.findall(rf"^\| {name} \| (\d+) \| (\d+) \| (.*) \|$", GEOMETRY, re.MULTILINE)
        assert (int(row[0]), int(row[1])) == (field.size, field.stride)
        assert eval(row[2]) == field.size
    small = fcn_keras.FCN32s(2, weights=None, head_width=2, input_shape=(25, 25, 3))
    for layer in ("score_fr", "block3_pool"):
        text = str(fcn_keras.receptive_field(small, layer)).partition("(")[2].rstrip(")")
        assert f"# {text}" in GEOMETRY
    assert centre(small, "score_fr") == 12.5


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ("same", (32, 16, 8, 4, 2, 1, 1, 32, 25)),
        ("reference", (223, 112, 56, 28, 14, 7, 1, 64, 25)),
    ],
)
def test_the_worked_example_has_the_sizes_of_the_model(weightless, geometry, expected):
    options = {"weights": None, "head_width": 2, "input_shape": (25, 25, 3)}
    model = fcn_keras.FCN32s(2, geometry=geometry, **options)
    pools = (f"block{i}_pool" for i in range(1, 6))
    names = ("block1_conv1", *pools, "score_fr", "upscore", "logits")
    assert tuple(model.get_layer(name).output.shape[1] for name in names) == expected


def test_logits_fade_at_the_border_of_the_reference():
    assert bilinear_filter(64)[19, 19] == pytest.approx((1 - 12.5 / 32) ** 2)  # Both axes.
    assert "1 - 12.5 / 32 = 0.61" in prose(GEOMETRY)


def test_the_small_classifier_is_a_filter_of_size_23_and_stride_4():
    classifier = keras.Sequential(
        [
            keras.Input((25, 25, 3)),
            keras.layers.Conv2D(2, 3, strides=2),
            keras.layers.MaxPooling2D(3, strides=2),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    assert [layer.output.shape[1] for layer in classifier.layers[:2]] == [12, 5]
    net = fcn_keras.convolutionalize(classifier)
    assert fcn_keras.receptive_field(net) == (23, 4, 0)
    assert net.compute_output_shape((1, 50, 50, 3)) == (1, 7, 7, 10)
    dense = fcn_keras.convolutionalize(classifier, stride=1)
    assert dense.compute_output_shape((1, 50, 50, 3)) == (1, 28, 28, 10)
    assert "size 23 and stride 4, and gives 7 x 7 scores" in prose(GEOMETRY)


def test_the_numeric_example_of_the_loss():
    each = [math.log(1 + math.exp(-2)), math.log(2), math.log(2)]  # Logits 2 and 0, and ties.
    each += [math.log(1 + math.exp(-1))] * 2
    total, other = sum(each), math.log(2)
    for value in (total, total / 5, other, (total + other) / 6):
        assert f"# {value:.4f}" in LOSS
    masks = np.array([[[0, 0, 1], [1, 255, 0]], [[0, 255, 255], [255, 255, 255]]], "uint8")
    logits = np.zeros((2, 2, 3, 2), "float32")
    logits[0] = [[[2, 0], [0, 0], [0, 0]], [[0, 1], [5, 5], [1, 0]]]
    mean = fcn_keras.MaskedCrossentropy()
    assert float(mean(masks, logits)) == pytest.approx((total + other) / 6)
    summed = fcn_keras.MaskedCrossentropy(reduction="sum")
    assert float(summed(masks, logits)) == pytest.approx(total + other)
    assert f"{math.log(21):.2f} for 21 classes, {math.log(11):.2f} for 11" in prose(LOSS)
    assert f"{math.log(21) * 500 * 375:,.0f}" in LOSS


def test_rates_of_the_recipes_are_those_of_the_table():
    heavy, online, accumulated = (RECIPES[name] for name in ("heavy", "online", "accumulated"))
    for name in ("heavy", "online", "accumulated"):
        (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", LOSS, re.MULTILINE)
        _, loss, momentum, rate, _ = (cell.strip() for cell in row.split("|"))
        recipe = RECIPES[name]
        assert recipe.get("loss_reduction", "mean") == loss
        assert (recipe["momentum"], recipe["learning_rate"]) == (float(momentum), float(rate))
    assert online["learning_rate"] == pytest.approx(heavy["learning_rate"] * 500 * 375, rel=0.02)
    assert accumulated["accumulate"] == 20
    assert f"0.9 ** (1 / 20) = {0.9 ** (1 / 20):.3f}" in LOSS

    def shrinking(recipe, updates):
        rate = recipe["learning_rate"] * recipe["weight_decay"] / (1 - recipe["momentum"])
        return 100 * rate * updates

    assert f'{shrinking(accumulated, 175 * 8498 / 20):.1f} % for "accumulated"' in prose(LOSS)
    assert f'{shrinking(heavy, heavy["iterations"]):.5f} % for "heavy"' in prose(LOSS)
    assert f"# {1e-10 * 500 * 375 / (4 * 256 * 352):.2g}" in LOSS


def test_class_weights_of_the_table():
    pixels = np.array([900, 90, 10])
    for exponent, weights in re.findall(r"^\| ([\d.]+) \| ([\d., ]+) \| [\d %,]+ \|$", LOSS, re.M):
        expected = balancing_weights(pixels, float(exponent))
        np.testing.assert_allclose([float(w) for w in weights.split(",")], expected, rtol=5e-3)
    assert len(re.findall(r"^\| 0\.5 \| 0\.78", LOSS, re.M)) == 1


def test_metrics_of_the_example():
    confusion = np.array([[6, 1, 1], [1, 3, 0], [0, 0, 0]])
    found = fcn_keras.segmentation_metrics(confusion)
    # By hand: unions are 6 + 2 + 1, 3 + 1 + 1 and 1.
    assert found["pixel_accuracy"] == 9 / 12
    assert found["mean_iou"] == pytest.approx((6 / 9 + 3 / 5 + 0) / 3)
    assert f"{found['mean_iou']:.3f}" in PAPER and f"{(6 / 9 + 3 / 5) / 2:.3f}" in PAPER


def test_published_numbers_are_those_of_the_code():
    factors = " | ".join(map(str, PUBLISHED_BOUNDS))
    bounds = " | ".join(f"{100 * bound:.1f}" for bound in PUBLISHED_BOUNDS.values())
    assert f"| factor | {factors} |" in PAPER and f"| mean IU, percent | {bounds} |" in PAPER
    assert RECIPES["heavy"]["stage_rates"] == (1e-2, 1e-4)
    assert RECIPES["heavy"]["iterations"] == 100_000
    assert RECIPES["at-once"]["iterations"] == 300_000
    assert RECIPES["at-once"]["skip_scales"] == (0.01, 0.0001)
    pairs = zip(fcn_keras.MEANS["voc"], fcn_keras.MEANS["imagenet"], strict=True)
    assert f"differs from VOC's by {max(abs(a - b) for a, b in pairs):.1f} at most" in prose(PAPER)
