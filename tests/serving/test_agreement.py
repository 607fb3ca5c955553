"""The comparison of an export with the Keras model, on logits by hand."""

import numpy as np
import pytest

from fcn_keras.errors import ModelError
from fcn_keras.serving.agreement import compare

LOGITS = np.array([[[[4.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 3.0]]]], "float32")
MASK = np.array([[[0, 1, 2]]], "uint8")


def changed(logits, position, by):
    logits = logits.copy()
    logits[position] += by
    return logits


def test_equal_exports_agree():
    assert compare(
        [LOGITS, LOGITS[:, :, :1]], [(MASK, LOGITS), (MASK[..., :1], LOGITS[:, :, :1])], 0
    ) == (0, 1)


def test_the_bound_is_relative_to_the_largest_logit():
    # The largest magnitude is 4, so 0.2 is a twentieth.
    found = [(MASK, changed(LOGITS, (0, 0, 1, 2), 0.2))]
    error, same = compare([LOGITS], found, 0.051)
    assert error == pytest.approx(0.05) and same == 1
    with pytest.raises(ModelError, match="by 0.05 of the largest magnitude; at most 0.049 is"):
        compare([LOGITS], found, 0.049)


def test_logits_that_are_not_numbers_are_refused():
    with pytest.raises(ModelError, match="by nan of the largest"):
        compare([LOGITS], [(MASK, changed(LOGITS, (0, 0, 0, 0), np.nan))], 1)


def test_a_mask_may_differ_only_where_rounding_explains_it():
    # At the second pixel the two highest logits are 1 apart.
    other = np.array([[[0, 2, 2]]], "uint8")
    error, same = compare([LOGITS], [(other, changed(LOGITS, (0, 0, 0, 0), 0.51))], 0.2)
    assert same == pytest.approx(2 / 3)
    with pytest.raises(ModelError, match="masks differ"):
        compare([LOGITS], [(other, changed(LOGITS, (0, 0, 0, 0), 0.49))], 0.2)


@pytest.mark.parametrize("unknown", [3, 255, -1])
def test_class_ids_that_the_model_has_not_are_named(unknown):
    mask = MASK.astype("int64")
    mask[0, 0, 1] = unknown
    with pytest.raises(ModelError, match=f"class id {unknown}; the model has 3 classes, 0 to 2"):
        compare([LOGITS], [(mask, LOGITS)], 1)


def test_other_shapes_are_refused():
    with pytest.raises(ModelError, match="the exported model returns masks"):
        compare([LOGITS], [(MASK[:, :, :2], LOGITS)], 1)
