"""What the names of images and masks have in common, by hand."""

import pytest

from pipelines.discovery.names import Names, common_suffixes


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        ("a b", "a b", [("", "")]),
        ("a_x b_x c_x a_y b_y", "a b c", [("_x", ""), ("_y", "")]),  # Three names before two.
        ("a_x b_x c_x d_x a_y b_y", "a b c d", [("_x", "")]),  # Half of the images are too few.
        ("a b", "a_m_gt b_m_gt", [("", "_m_gt")]),
        ("a b a_m b_m", "a_m_gt b_m_gt", [("", "_gt")]),  # The same masks as with `_m_gt`.
        (
            "a_x b_x a_y b_y",
            "a_p b_p a_q b_q",
            [("_x", "_p"), ("_x", "_q"), ("_y", "_p")],  # `_y` and `_q` differ in both.
        ),
        ("a b", "c d", []),
        ("a_1 b_1", "a_2 c_2", []),  # One common name shows little.
        ("a b", "a_gt c", []),
        ("a", "a_gt", [("", "_gt")]),
        ("a_x", "a", [("_x", "")]),
        ("a b c_x d_x", "a_longer b_longer c d", [("", "_longer")]),  # Simple names of images.
    ],
)
def test_suffixes_that_give_the_most_pairs_come_first(images, masks, expected):
    assert common_suffixes(Names(images.split()), Names(masks.split())) == expected


def test_a_given_suffix_may_be_rare():
    images, masks = Names(["7"]), Names(["7_rare", "8_b", "9_b"])
    assert common_suffixes(images, masks) == []
    assert common_suffixes(images, masks, mask="_rare") == [("", "_rare")]
    assert common_suffixes(Names(["7", "6"]), masks, mask="_rare") == [("", "_rare")]


def test_images_and_masks_in_one_folder_have_different_names():
    both = Names(["a", "b", "a_gt", "b_gt", "c"])
    assert common_suffixes(both, both) == [("", "_gt")]
