import json

import numpy as np
import pytest

from fcn_keras.errors import ConfigError
from fcn_keras.evaluation import paper_experiments


def bilinear(coarse, factor):
    """Upsamples `[rows, columns, labels]` in float64: half-pixel centres, edges repeated."""
    for axis in (0, 1):
        count = coarse.shape[axis]
        place = np.clip((np.arange(count * factor) + 0.5) / factor - 0.5, 0, count - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, count - 1)
        share = (place - low).reshape([-1 if i == axis else 1 for i in range(3)])
        coarse = (1 - share) * coarse.take(low, axis) + share * coarse.take(high, axis)
    return coarse


def mean_iu(truth, prediction, num_classes):
    """Computes the equation of section 5 pixel by pixel."""
    valid = truth != 255
    ious = []
    for c in range(num_classes):
        hits = ((truth == c) & (prediction == c)).sum()
        union = ((truth == c) | ((prediction == c) & valid)).sum()
        if union:
            ious.append(hits / union)
    return np.mean(ious)


def test_labels_beyond_the_classes_are_an_error():
    mask = np.array([[0, 2, 255]], "uint8")
    assert paper_experiments.iu_bounds([mask], 3, (1,))[1] == 1
    with pytest.raises(ConfigError, match="masks: class ids must be 0 to 1, or 255 .* found 2"):
        paper_experiments.iu_bounds([mask], 2)


@pytest.mark.parametrize("resample", paper_experiments.RESAMPLINGS)
def test_bounds_match_their_definition(resample, rng):
    # Blobs, some void, and a size that is no multiple of any factor.
    field = bilinear(rng.normal(size=(9, 11, 4)), 7)[:61, :75]
    mask = field.argmax(-1).astype("uint8")
    mask[mask == 3] = 255
    for factor in (2, 4, 8):
        padded = np.pad(mask, [(0, -61 % factor), (0, -75 % factor)], mode="edge")
        one_hot = np.eye(4)[np.minimum(padded, 3)]
        if resample == "average-bilinear":
            rows, columns = padded.shape[0] // factor, padded.shape[1] // factor
            coarse = one_hot.reshape(rows, factor, columns, factor, 4).mean(axis=(1, 3))
        else:
            coarse = one_hot[factor // 2 :: factor, factor // 2 :: factor]
        if resample == "subsample-nearest":
            fine = np.kron(coarse.argmax(-1), np.ones((factor, factor), int))
        else:
            fine = bilinear(coarse, factor).argmax(-1)
        expected = mean_iu(mask, np.where(fine == 3, 255, fine)[:61, :75], 3)
        bound = paper_experiments.iu_bounds([mask], 3, [factor], resample)[factor]
        assert 0.3 < expected < 1
        assert bound == pytest.approx(expected, abs=2e-3)  # Ties may break differently.


def test_labels_aligned_with_the_grid_give_bound_1(rng):
    mask = np.kron(rng.integers(0, 3, (4, 5)), np.ones((8, 8), int)).astype("uint8")
    bounds = paper_experiments.iu_bounds([mask, mask], 3, [2, 8, 16], "subsample-nearest")
    assert bounds[2] == bounds[8] == 1 and bounds[16] < 1


def test_unknown_resampling_is_an_error():
    with pytest.raises(ConfigError, match="resample='cubic': unknown; choose one of subsample-bi"):
        paper_experiments.iu_bounds([], 3, resample="cubic")


def test_command_writes_the_bounds_by_factor(fcn_keras_cli, tmp_path):
    out = tmp_path / "bounds.json"
    arguments = ("experiment", "iu-bounds", "--data", "synthetic", "--json", out)
    status, shown, err = fcn_keras_cli(*arguments)
    assert status == 0, err
    written = json.loads(out.read_text())
    bounds = [written["mean_iou"][str(factor)] for factor in (4, 8, 16, 32, 64, 128)]
    assert 0.9 < bounds[0] < 1 and bounds == sorted(bounds, reverse=True)
    assert written["resample"] == "subsample-bilinear" and "one-hot" in written["how"]
    assert "subsample-bilinear: one-hot labels" in shown
