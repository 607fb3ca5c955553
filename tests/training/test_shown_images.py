import numpy as np
import tensorflow as tf

from fcn_keras.training import shown_images


def images(sizes):
    pairs = [(np.full((1, *size, 3), i, "uint8"), np.zeros((1, *size), "uint8"))
             for i, size in enumerate(sizes)]  # fmt: skip
    signature = (
        tf.TensorSpec((1, None, None, 3), "uint8"),
        tf.TensorSpec((1, None, None), "uint8"),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(len(pairs)))


def test_of_many_images_eight_from_all_over_are_shown():
    shown = shown_images.chosen(images([(4, 6)] * 20))
    assert [image[0, 0, 0] for image, _ in shown] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_few_large_images_are_kept_in_memory(monkeypatch):
    monkeypatch.setattr(shown_images, "KEPT", 1000)
    shown = shown_images.chosen(images([(20, 20), (30, 20), (1, 1), (4, 4)]))
    assert [mask.shape for _, mask in shown] == [(20, 20), (30, 20)]
    shown = shown_images.chosen(images([(100, 20), (1, 1)]))
    assert [image.shape for image, _ in shown] == [(100, 20, 3)]


def test_large_pictures_keep_every_nth_pixel(monkeypatch):
    monkeypatch.setattr(shown_images, "PICTURE", 100)
    mask = np.arange(200).reshape(20, 10)
    image = mask[..., None].repeat(3, axis=-1)
    small, truth, prediction = shown_images.thinned(image, mask, mask + 1)
    assert truth.tolist() == [[20 * row + 2 * column for column in range(5)] for row in range(10)]
    assert (small[..., 1] == truth).all() and (prediction == truth + 1).all()
    assert shown_images.thinned(image[:10], mask[:10], mask[:10])[1].shape == (10, 10)
