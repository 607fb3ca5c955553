import numpy as np

from fcn_keras.evaluation.confusion_picture import confusion_picture


def colours(picture):
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_the_confusion_picture_is_dark_where_pixels_are_and_grey_where_none_were():
    confusion = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 0]])
    grey, darkest = (217, 217, 217), (8, 48, 107)  # The end of Matplotlib's "Blues".
    picture = confusion_picture(confusion, ["a", "b", "never there"])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert {grey, darkest} <= colours(picture)
    present = confusion_picture(confusion[:2, :2], ["a", "b"])
    assert darkest in colours(present)


def test_many_classes_stay_a_picture_of_moderate_size():
    picture = confusion_picture(np.eye(150, dtype=int), [f"class {i}" for i in range(150)])
    assert max(picture.shape) < 4000
