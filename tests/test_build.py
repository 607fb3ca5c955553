import numpy as np
import pytest
import tensorflow as tf

import pipelines
from pipelines.augment import seed_and_apply, transform
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


def test_training_batches_are_crops_of_known_shape_and_count(split):
    ds = pipelines.train_dataset(split, batch_size=6, augmentation=STRONG)
    assert int(ds.cardinality()) == 40 // 6
    assert ds.element_spec[0] == tf.TensorSpec((6, 64, 80, 3), tf.uint8)
    assert ds.element_spec[1] == tf.TensorSpec((6, 64, 80), tf.uint8)
    assert len(batches(ds)) == 6


def test_a_seed_gives_the_same_batches_at_any_parallelism(split):
    def run(threads, seed):
        ds = pipelines.train_dataset(split, batch_size=4, augmentation=STRONG, seed=seed)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        return batches(ds.with_options(options))

    reference = run(1, seed=3)
    tf.random.set_seed(99)  # TensorFlow's own seed has no say.
    assert same(reference, run(8, seed=3))
    assert not same(reference, run(8, seed=4))


def test_each_epoch_is_a_new_order_with_new_changes(split):
    ds = pipelines.train_dataset(split, batch_size=4, augmentation=STRONG, seed=0)
    assert not same(batches(ds), batches(ds))


def test_an_epoch_holds_every_example_once(split):
    whole = pipelines.Augmentation((176, 208), mirror=False)
    ds = pipelines.train_dataset(split, batch_size=1, augmentation=whole)
    sizes = sorted(int((masks != 255).sum()) for _, masks in batches(ds))
    assert sizes == sorted(int((e.mask != 255).sum()) for e in split.examples)


def test_image_and_mask_are_changed_together():
    # An image that shows its own mask: whatever is done to one must be done to the other.
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
    assert np.concatenate(agree).mean() > 0.99  # All but blended pixels on the outline.


def test_colour_changes_leave_the_mask_alone(split):
    example = split.examples[0]
    augmentation = pipelines.Augmentation(example.mask.shape, mirror=False, colour=1.0)
    image, mask = seed_and_apply(transform(augmentation), example.image, example.mask, 1)
    np.testing.assert_array_equal(mask, example.mask)
    assert not np.array_equal(image, example.image)


def test_evaluation_gives_every_example_whole_and_in_order(split):
    ds = pipelines.eval_dataset(split)
    assert int(ds.cardinality()) == 40
    for index, (images, masks) in enumerate(ds):
        image, mask = read_example(split, index)
        np.testing.assert_array_equal(images[0], image)
        np.testing.assert_array_equal(masks[0], mask)


def test_a_split_smaller_than_a_batch_is_refused(split):
    with pytest.raises(pipelines.DataError, match="40 examples do not fill one batch of 41"):
        pipelines.train_dataset(split, batch_size=41, augmentation=STRONG)


def test_whole_images_come_as_they_are_one_by_one(split):
    whole = pipelines.Augmentation(None, mirror=False)
    ds = pipelines.train_dataset(split, batch_size=1, augmentation=whole, seed=0)
    assert ds.element_spec[0] == tf.TensorSpec((1, None, None, 3), tf.uint8)
    assert int(ds.cardinality()) == 40
    found = {(image.tobytes(), mask.tobytes()) for image, mask in batches(ds)}
    expected = (read_example(split, index) for index in range(40))
    assert found == {(image.tobytes(), mask.tobytes()) for image, mask in expected}


def test_whole_images_cannot_be_batched(split):
    with pytest.raises(pipelines.DataError, match="batch_size=4: whole images differ in size"):
        pipelines.train_dataset(split, batch_size=4, augmentation=pipelines.Augmentation(None))
