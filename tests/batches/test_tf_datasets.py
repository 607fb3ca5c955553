import colorsys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chisquare

import pipelines
from pipelines.batches.augment import RandomColour, seed_and_apply, transform
from pipelines.batches.memory import aligned
from pipelines.examples import read_example


@pytest.fixture(scope="module")
def split():
    return pipelines.read("synthetic", "val")


def batches(dataset):
    return [(images.numpy(), masks.numpy()) for images, masks in dataset]


def same(first, second):
    return all(
        np.array_equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


STRONG = pipelines.Augmentation((64, 80), scale=(0.5, 2.0), mirror=True, colour=1.0)


def test_training_batches_have_known_shape_and_count(split):
    ds = pipelines.train_dataset(split, batch_size=6, augmentation=STRONG)
    assert int(ds.cardinality()) == 40 // 6
    assert ds.element_spec[0] == tf.TensorSpec((6, 64, 80, 3), tf.uint8)
    assert ds.element_spec[1] == tf.TensorSpec((6, 64, 80), tf.uint8)
    assert len(batches(ds)) == 6


def test_same_seed_gives_the_same_batches_with_any_threads(split):
    def run(threads, seed):
        ds = pipelines.train_dataset(split, batch_size=4, augmentation=STRONG, seed=seed)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return batches(ds.with_options(options))

    reference = run(1, seed=3)
    tf.random.set_seed(99)  # TensorFlow's own seed has no effect.
    assert same(reference, run(8, seed=3))
    assert not same(reference, run(8, seed=4))


def test_each_epoch_has_a_new_order_and_augmentation(split):
    ds = pipelines.train_dataset(split, batch_size=4, augmentation=STRONG, seed=0)
    assert not same(batches(ds), batches(ds))


def test_start_continues_with_all_later_batches(split):
    options = {"batch_size": 6, "augmentation": STRONG, "seed": 5}
    passes = pipelines.train_dataset(split, **options)
    epochs = [batches(passes) for _ in range(3)]
    later = pipelines.train_dataset(split, **options, start=(1, 4))
    assert int(later.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert same(batches(later.take(8)), [*epochs[1][4:], *epochs[2]])


def test_worker_shares_make_up_the_whole_batch(split):
    options = {"batch_size": 6, "augmentation": STRONG, "seed": 5}
    whole = batches(pipelines.train_dataset(split, **options))
    shares = [
        batches(pipelines.train_dataset(split, **options, shard=(number, 3))) for number in range(3)
    ]
    for step, (images, masks) in enumerate(whole):
        for number in range(3):
            np.testing.assert_array_equal(shares[number][step][0], images[number::3])
            np.testing.assert_array_equal(shares[number][step][1], masks[number::3])
    with pytest.raises(pipelines.DataError, match="6 images cannot be shared by 4 workers"):
        pipelines.train_dataset(split, **options, shard=(0, 4))


def test_epoch_has_every_example_once(split):
    whole = pipelines.Augmentation((176, 208), mirror=False)
    ds = pipelines.train_dataset(split, batch_size=1, augmentation=whole)
    sizes = sorted(int((masks != 255).sum()) for _, masks in batches(ds))
    assert sizes == sorted(int((e.mask != 255).sum()) for e in split.examples)


def test_image_and_mask_are_augmented_together():
    # The image shows its mask, so both must change alike.
    mask = np.zeros((60, 70), "uint8")
    mask[10:40, 20:30] = 1
    image = np.repeat(mask[..., None] * 200, 3, axis=-1)
    compose = transform(pipelines.Augmentation((64, 64), scale=(0.6, 1.9), mirror=True))
    seen_void, agree = 0, []
    for seed in range(30):
        changed, label = seed_and_apply(compose, image, mask, seed)
        assert changed.shape == (64, 64, 3) and label.shape == (64, 64)
        assert set(np.unique(label)) <= {0, 1, 255}
        assert (changed[label == 255] == (124, 117, 104)).all()
        agree += [(changed[label == 1] > 100).ravel(), (changed[label == 0] < 100).ravel()]
        seen_void += (label == 255).any()
    assert 0 < seen_void < 30
    assert np.concatenate(agree).mean() > 0.99  # All except blended pixels on the outline.


def test_colour_changes_do_not_affect_the_mask(split):
    example = split.examples[0]
    augmentation = pipelines.Augmentation(example.mask.shape, mirror=False, colour=1.0)
    image, mask = seed_and_apply(transform(augmentation), example.image, example.mask, 1)
    np.testing.assert_array_equal(mask, example.mask)
    assert not np.array_equal(image, example.image)


def test_evaluation_has_every_example_whole_and_in_order(split):
    ds = pipelines.eval_dataset(split)
    assert int(ds.cardinality()) == 40
    for index, (images, masks) in enumerate(ds):
        image, mask = read_example(split, index)
        np.testing.assert_array_equal(images[0], image)
        np.testing.assert_array_equal(masks[0], mask)


def test_split_smaller_than_a_batch_is_rejected(split):
    with pytest.raises(pipelines.DataError, match="40 examples do not fill one batch of 41"):
        pipelines.train_dataset(split, batch_size=41, augmentation=STRONG)


def test_whole_images_are_unchanged_one_by_one(split):
    whole = pipelines.Augmentation(None, mirror=False)
    ds = pipelines.train_dataset(split, batch_size=1, augmentation=whole, seed=0)
    assert ds.element_spec[0] == tf.TensorSpec((1, None, None, 3), tf.uint8)
    assert int(ds.cardinality()) == 40
    found = {(image.tobytes(), mask.tobytes()) for image, mask in batches(ds)}
    expected = (read_example(split, index) for index in range(40))
    assert found == {(image.tobytes(), mask.tobytes()) for image, mask in expected}


def of_sizes(sizes):
    """A split of one-class images, each with its number as grey level."""
    examples = tuple(
        pipelines.Example(f"{i}", np.full((h, w, 3), i, "uint8"), np.full((h, w), i % 2, "uint8"))
        for i, (h, w) in enumerate(sizes)
    )
    palette = pipelines.distinct_palette(2)
    return pipelines.Split("sizes", examples, ("a", "b"), palette, {0: 0, 1: 1})


def test_whole_images_are_batched_by_orientation_and_padded_with_void():
    sizes = [(30 + i, 40) for i in range(5)] + [(50, 20 + i) for i in range(4)] + [(25, 25)]
    split = of_sizes(sizes)
    whole = pipelines.Augmentation(None, mirror=False)
    ds = pipelines.train_dataset(split, batch_size=2, augmentation=whole, seed=3)
    seen = list(batches(ds))
    assert len(seen) == ds.cardinality() == 5  # 6 landscape or square, 4 portrait.
    shown = []
    for images, masks in seen:
        numbers = [int(image[0, 0, 0]) for image in images]
        shown += numbers
        assert len({sizes[n][0] > sizes[n][1] for n in numbers}) == 1
        assert images.shape[1:3] == tuple(max(sizes[n][axis] for n in numbers) for axis in (0, 1))
        for n, image, mask in zip(numbers, images, masks, strict=True):
            h, w = sizes[n]
            assert (image[:h, :w] == n).all() and (mask[:h, :w] == n % 2).all()
            mask[:h, :w] = 255
            assert (mask == 255).all()
    assert sorted(shown) == list(range(10))


def numbers_of(ds):
    """The numbers of the images of `of_sizes`, per batch."""
    return [[int(image[0, 0, 0]) for image in images] for images, _ in batches(ds)]


@pytest.mark.parametrize("wide, high, size", [(20, 3, 4), (3, 3, 4), (21, 2, 5), (9, 0, 4)])
def test_every_whole_image_is_trained_on_whatever_its_orientation(wide, high, size):
    split = of_sizes([(30, 40)] * wide + [(40, 30)] * high)
    whole = pipelines.Augmentation(None, mirror=False)
    ds = pipelines.train_dataset(split, batch_size=size, augmentation=whole)
    seen = np.zeros(wide + high, int)
    for _ in range(30):
        epoch = numbers_of(ds)
        assert len(epoch) == ds.cardinality() == (wide + high) // size
        assert len({number for batch in epoch for number in batch}) == size * len(epoch)
        mixed = [batch for batch in epoch if min(batch) < wide <= max(batch)]
        assert len(mixed) <= 1  # Only what does not fill a batch of one orientation.
        for batch in epoch:
            seen[batch] += 1
    assert seen.min() > 8, seen  # Expected: 30 times the share of images per epoch, 17 and more.


def test_images_meet_others_in_each_epoch():
    split = of_sizes([(30, 40)] * 12)
    for crop in (None, (30, 40)):
        whole = pipelines.Augmentation(crop, mirror=False)
        ds = pipelines.train_dataset(split, batch_size=4, augmentation=whole)
        partners = {frozenset(batch) for _ in range(3) for batch in numbers_of(ds)}
        # All nine differ: two random epochs share one of their three sets with p < 0.02.
        assert len(partners) == 9


def test_mirroring_flips_half_of_the_images():
    image = np.zeros((8, 10, 3), "uint8")
    image[:, :5] = 200
    compose = transform(pipelines.Augmentation((8, 10), mirror=True))
    left = [seed_and_apply(compose, image, image[..., 0], seed) for seed in range(200)]
    flipped = sum(bool(one[0, -1, 0] == 200) for one, _ in left)
    assert 70 < flipped < 130  # Binomial, n = 200, p = 0.5: beyond 4 standard deviations.


def test_each_change_is_drawn_on_its_own():
    # Red rises by 2 per column: in the output, its slope has the mirroring's sign and 2 / scale.
    image = np.repeat(np.arange(0, 200, 2, dtype="uint8")[None, :, None], 3, axis=-1).repeat(100, 0)
    changes = pipelines.Augmentation((40, 40), scale=(0.5, 2.0), mirror=True, colour=1.0)
    compose = transform(changes)
    drawn = []
    for seed in range(400):
        red = seed_and_apply(compose, image, image[..., 0], seed)[1].astype(float)
        slope = (red[20, -1] - red[20, 0]) / 39
        colour, gamma = (step.get_applied_params() for step in compose.transforms[-2:])
        drawn.append((2 / abs(slope), slope < 0, bool(colour), bool(gamma)))
    correlations = np.corrcoef(np.array(drawn, float), rowvar=False)
    # Without correlation, n = 400: 0.2 is 4 standard deviations.
    assert np.abs(correlations[~np.eye(4, dtype=bool)]).max() < 0.2, correlations.round(2)


def test_batches_reach_tensorflow_without_a_copy(split, monkeypatch):
    made = []

    def recording(shape):
        made.append(aligned(shape))
        return made[-1]

    monkeypatch.setattr("pipelines.batches.tf_datasets.aligned", recording)
    for augmentation in (STRONG, pipelines.Augmentation(None)):
        ds = pipelines.train_dataset(split, batch_size=4, augmentation=augmentation)
        for batch in ds.take(3):
            addresses = {array.ctypes.data for array in made}
            views = [np.asarray(memoryview(tensor)) for tensor in batch]
            assert {view.ctypes.data for view in views} <= addresses


def test_the_augmentation_is_built_once_per_thread(split, monkeypatch):
    built = []

    def counting(augmentation):
        built.append(transform(augmentation))
        return built[-1]

    monkeypatch.setattr("pipelines.batches.tf_datasets.transform", counting)
    ds = pipelines.train_dataset(split, batch_size=4, augmentation=STRONG)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    assert len(batches(ds.with_options(options))) == 10
    assert 1 <= len(built) <= 2


def test_opencv_starts_no_threads_beside_those_of_the_batches(split):
    cv2.setNumThreads(4)
    pipelines.train_dataset(split, batch_size=4, augmentation=STRONG)
    assert cv2.getNumThreads() == 1


def test_most_images_get_other_colours(split):
    image, mask = read_example(split, 0)
    compose = transform(pipelines.Augmentation(mask.shape, mirror=False, colour=1.0))
    changed = [
        not np.array_equal(seed_and_apply(compose, image, mask, seed)[0], image)
        for seed in range(100)
    ]
    # Colour with p 0.8, gamma with p 0.5: one of the two in 0.9 of all cases.
    assert sum(changed) >= 80


def test_evaluation_batches_have_one_image_size():
    sizes = [(30, 40), (40, 30), (30, 40), (30, 40), (40, 30), (31, 40)]
    ds = pipelines.eval_dataset(of_sizes(sizes), batch_size=2)
    shown = [[int(image[0, 0, 0]) for image in images] for images, _ in batches(ds)]
    assert len(shown) == ds.cardinality() == 4
    assert sorted(map(tuple, shown)) == [(0, 2), (1, 4), (3,), (5,)]
    for images, masks in batches(ds):
        assert images.shape[1:3] == masks.shape[1:] == sizes[images[0, 0, 0, 0]]


def test_cache_reads_each_file_once_and_changes_nothing(two_folders):
    split = pipelines.read(two_folders / "data.yaml", "train")
    crops = pipelines.Augmentation((32, 32), scale=(0.7, 1.4), colour=0.5)
    options = {"batch_size": 2, "augmentation": crops, "seed": 1}
    plain = pipelines.train_dataset(split, **options)
    cached = pipelines.train_dataset(split, cache=True, **options)
    for _ in range(2):
        for one, other in zip(batches(plain), batches(cached), strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
    for example in split.examples:
        example.image.unlink()
    assert len(list(batches(cached))) == 2


def test_cache_larger_than_memory_is_rejected(two_folders, monkeypatch):
    split = pipelines.read(two_folders / "data.yaml", "train")
    monkeypatch.setattr("pipelines.batches.tf_datasets._memory", lambda: 40_000)
    with pytest.raises(pipelines.DataError, match="more than half of the memory"):
        pipelines.train_dataset(
            split, batch_size=1, augmentation=pipelines.Augmentation((8, 8)), cache=True
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 320}, r"crop=320: must be \(height, width\) in whole pixels"),
        ({"crop": (0, 5)}, r"crop=\(0, 5\): must be .* at least 1"),
        ({"crop": (32.5, 48)}, "crop=.*: must be .* whole pixels"),
        ({"crop": (32, 48, 3)}, "crop=.*: must be"),
        ({"scale": 0.5}, r"scale=0.5: must be \(low, high\) with 0 < low <= high"),
        ({"scale": (0, 1)}, r"scale=\(0, 1\): must be"),
        ({"scale": (2.0, 1.0)}, "scale=.*: must be"),
        ({"scale": (0.5, float("inf"))}, "scale=.*: must be"),
        ({"scale": (float("nan"), 1)}, "scale=.*: must be"),
        ({"mirror": 0.5}, "mirror=0.5: must be True or False"),
        ({"colour": -0.1}, "colour=-0.1: must be a number from 0 to 1"),
        ({"colour": 3}, "colour=3: must be a number from 0 to 1"),
        ({"colour": float("nan")}, "colour=nan"),
        ({"colour": "strong"}, "colour='strong'"),
    ],
)
def test_augmentation_checks_its_values(options, message):
    with pytest.raises(pipelines.DataError, match=message):
        pipelines.Augmentation(**{"crop": None, **options})


@pytest.mark.parametrize("size", [0, -1, 1.5, None, "4"])
def test_batch_sizes_are_checked(split, size):
    whole = pipelines.Augmentation(None)
    for build in (
        lambda: pipelines.eval_dataset(split, batch_size=size),
        lambda: pipelines.train_dataset(split, batch_size=size, augmentation=whole),
    ):
        with pytest.raises(pipelines.DataError, match="batch_size=.*: must be a whole number"):
            build()


def test_crops_copy_the_right_pixels(rng):
    # At scale 1, 40 of the 50 rows are cut out, and the 30 columns are padded with void.
    image = rng.integers(0, 256, (50, 30, 3), "uint8")
    mask = rng.integers(0, 9, (50, 30), "uint8")
    compose = transform(pipelines.Augmentation((40, 36), mirror=False))
    for seed in range(10):
        crop, label = seed_and_apply(compose, image, mask, seed)
        rows, columns = np.nonzero(label != 255)
        top, left = rows.min(), columns.min()
        assert (top, np.ptp(rows), np.ptp(columns)) == (0, 39, 29)
        starts = [
            t for t in range(11) if np.array_equal(mask[t : t + 40], label[:, left : left + 30])
        ]
        assert len(starts) == 1
        np.testing.assert_array_equal(crop[:, left : left + 30], image[starts[0] : starts[0] + 40])


@pytest.mark.parametrize("size", [(13, 17), (3, 2)])
def test_crops_begin_everywhere_alike_often(size):
    """Crops of 8 x 8 pixels, of a larger image, or with a smaller image somewhere inside."""
    mask = np.arange(size[0] * size[1], dtype="uint8").reshape(size)
    image = np.repeat(mask[..., None], 3, axis=-1)
    compose = transform(pipelines.Augmentation((8, 8), scale=(1.0, 1.0), mirror=False))
    offsets = []
    for seed in range(600):
        _, label = seed_and_apply(compose, image, mask, seed)
        cell = tuple(axis[0] for axis in np.nonzero(label != 255))
        seen = divmod(int(label[cell]), size[1])
        offsets.append([abs(place - begin) for place, begin in zip(cell, seen, strict=True)])
    for axis, edge in enumerate(size):
        places = abs(edge - 8) + 1
        counts = np.bincount(np.array(offsets)[:, axis], minlength=places)
        assert len(counts) == places
        assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_colour_changes_are_as_strong_as_documented(strength):
    """At strength 1: factors 0.6 to 1.4, hue up to 14.4 degrees, gamma 0.65 to 1.5."""
    change = RandomColour(strength)
    change.set_random_seed(0)
    drawn = [change.get_params() for _ in range(400)]
    for name in ("brightness", "contrast", "saturation"):
        values = [params[name] for params in drawn]
        assert min(values) == pytest.approx(1 - 0.4 * strength, abs=0.01)
        assert max(values) == pytest.approx(1 + 0.4 * strength, abs=0.01)
    turns = np.rad2deg([params["hue"] for params in drawn])
    assert turns.min() == pytest.approx(-14.4 * strength, abs=0.4)
    assert turns.max() == pytest.approx(14.4 * strength, abs=0.4)
    compose = transform(pipelines.Augmentation(None, mirror=False, colour=strength))
    assert compose.transforms[-1].gamma_limit == (
        100 - int(35 * strength + 0.5),
        100 + 50 * strength,
    )


def test_colour_changes_match_their_formulas(rng):
    # In float64: brightness and contrast by hand, saturation and hue in YIQ.
    image = rng.integers(60, 190, (5, 7, 3), "uint8")
    change = RandomColour(1.0)
    still = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    np.testing.assert_allclose(change.apply(image, **still), image, atol=1)
    brighter = change.apply(image, **{**still, "brightness": 1.2})
    np.testing.assert_allclose(brighter, 1.2 * image.astype("float64"), atol=1)
    grey = image @ [0.299, 0.587, 0.114]
    flat = change.apply(image, **{**still, "contrast": 0.5})
    np.testing.assert_allclose(flat, 0.5 * image + 0.5 * grey.mean(), atol=1)
    dull = change.apply(image, **{**still, "saturation": 0.0})
    np.testing.assert_allclose(dull, np.repeat(grey[..., None], 3, -1), atol=1.5)
    turned = change.apply(image, **{**still, "hue": 0.25})
    np.testing.assert_allclose(turned @ [0.299, 0.587, 0.114], grey, atol=1)
    before, after = (
        np.array([complex(*colorsys.rgb_to_yiq(*p)[1:]) for p in x.reshape(-1, 3) / 255])
        for x in (image, turned)
    )
    strong = np.abs(before) > 0.1
    angles = np.angle(after / before)
    np.testing.assert_allclose(angles[strong], 0.25, atol=0.06)


@pytest.mark.parametrize("crop", [None, (40, 55)])
def test_scaled_masks_have_the_values_at_the_centres_of_their_pixels(rng, crop):
    mask = rng.integers(0, 9, (24, 33), "uint8")
    compose = transform(pipelines.Augmentation(crop, scale=(1.667, 1.667), mirror=False))
    _, label = seed_and_apply(compose, np.repeat(mask[..., None], 3, axis=-1), mask, 0)
    rows, columns = (((np.arange(size) + 0.5) * 0.6).astype(int) for size in (40, 55))
    np.testing.assert_array_equal(label, mask[rows[:, None], columns])


def test_scaled_whole_images_keep_the_values_of_their_masks():
    mask = np.where(np.indices((24, 32)).sum(axis=0) % 2, np.uint8(0), np.uint8(200))
    image = np.repeat(mask[..., None], 3, axis=-1)
    examples = tuple(pipelines.Example(f"{i}", image, mask) for i in range(8))
    names = tuple(f"c{i}" for i in range(201))
    values = {0: 0, 200: 200}
    split = pipelines.Split("s", examples, names, pipelines.distinct_palette(201), values)
    scaled = pipelines.Augmentation(None, scale=(0.5, 2.0), mirror=False)
    ds = pipelines.train_dataset(split, batch_size=1, augmentation=scaled, seed=1)
    seen = list(batches(ds))
    assert len({masks.shape for _, masks in seen}) > 4
    assert all(12 <= masks.shape[1] <= 48 and 16 <= masks.shape[2] <= 64 for _, masks in seen)
    assert all(np.isin(masks, (0, 200)).all() for _, masks in seen)
    assert not all(np.isin(images, (0, 200)).all() for images, _ in seen)  # Interpolated.
