"""Draws the README's picture: `python docs/china.py RUN` writes `docs/assets/china.jpg`.

RUN is a training on SIFT Flow (see `docs/results/siftflow.md`). The photo is scikit-learn's
`china.jpg` (CC BY 2.0, by danielbuechele).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

import fcn_keras

WIDTH = 480  # Of each panel, in pixels.
GAP = 12
SHARE = 0.01  # Classes below this share of the pixels are not in the legend.


def main():
    """Predicts the photo with the run's model and writes the picture."""
    segmenter = fcn_keras.load(sys.argv[1])
    photo = load_sample_image("china.jpg")
    mask = segmenter.predict(photo, tta=True)
    panels = [photo, segmenter.palette[mask], fcn_keras.overlay(photo, mask, segmenter.palette)]
    height = round(WIDTH * photo.shape[0] / photo.shape[1])
    entries = legend(mask, segmenter)
    picture = Image.new("RGB", (3 * WIDTH + 2 * GAP, height + 2 * GAP + 24), "white")
    for number, panel in enumerate(panels):
        resized = Image.fromarray(panel).resize((WIDTH, height), Image.Resampling.LANCZOS)
        picture.paste(resized, (number * (WIDTH + GAP), 0))
    draw_legend(ImageDraw.Draw(picture), entries, height + GAP)
    picture.save(Path(__file__).parent / "assets" / "china.jpg", quality=88, optimize=True)
    print(", ".join(name for name, _ in entries))


def legend(mask, segmenter):
    """Name and colour of the classes that the mask shows, the largest first."""
    counts = np.bincount(mask.ravel(), minlength=len(segmenter.classes))
    shown = [i for i in np.argsort(-counts) if counts[i] >= SHARE * mask.size]
    return [(segmenter.classes[i], tuple(map(int, segmenter.palette[i]))) for i in shown]


def draw_legend(draw, entries, top):
    """One line of coloured squares with names."""
    font = ImageFont.load_default(18)
    x = 0
    for name, colour in entries:
        draw.rectangle((x, top + 4, x + 16, top + 20), fill=colour, outline="black")
        draw.text((x + 24, top), name, fill="black", font=font)
        x += 24 + int(draw.textlength(name, font=font)) + 24


if __name__ == "__main__":
    main()
