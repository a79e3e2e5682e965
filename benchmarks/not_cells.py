"""Pictures that show no white cell, drawn by a program from a seed: what a classifier must refuse.

Six kinds, in several styles each, at several sizes. Some are made to be mistaken: coloured as a stained smear is, with
patches as large as nuclei.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.data.demo import draw_field

SIZES = ((96, 96), (160, 160), (320, 240), (640, 480))
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "counts",
    "200",
    "cells",
    "on",
    "a",
    "smear",
    "and",
    "finds",
    "none",
    "of",
    "them",
)
STAINS = np.array(
    [[86, 60, 140], [226, 180, 190], [245, 240, 240], [200, 150, 190]]
)  # nucleus, red cell, light, plasma

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


class NotACell(NamedTuple):
    kind: str
    style: str
    seed: int
    pixels: np.ndarray
    """uint8 H×W×3 RGB."""


def clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, width: int, height: int, grain: float) -> np.ndarray:
    """float32 H×W, mean 0, spread 1, in waves of about `grain` pixels."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), grain)
    return noise / max(float(noise.std()), 1e-6)


def white_noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def cloudy_noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    grain = rng.uniform(1, height / 8)
    return clip(np.dstack([128 + 50 * smooth_noise(rng, width, height, grain) for _ in range(3)]))


def stained_noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Clouds between the colours of a stained nucleus and of the light behind a smear."""
    share = 1 / (1 + np.exp(-3 * smooth_noise(rng, width, height, rng.uniform(2, height / 8))))[:, :, None]
    return clip(share * STAINS[0] + (1 - share) * STAINS[2] + rng.normal(0, 4, (height, width, 3)))


def text(rng: np.random.Generator, width: int, height: int, ink: np.ndarray, paper: np.ndarray) -> np.ndarray:
    page = np.full((height, width, 3), paper, np.uint8)
    scale = rng.uniform(0.3, 1.2) * height / 200
    for line in range(1, 40):
        words = " ".join(rng.choice(WORDS, 8))
        place = int(rng.integers(-10, 10)), int(line * 34 * scale)
        cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink.tolist(), max(1, round(2 * scale)))
    return page


def black_on_white(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return text(rng, width, height, np.array((20, 20, 20)), np.array((250, 250, 250)))


def violet_on_pink(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return text(rng, width, height, STAINS[0], STAINS[1])


def shapes(rng: np.random.Generator, width: int, height: int, colours: np.ndarray) -> np.ndarray:
    page = np.full((height, width, 3), colours[-1], np.uint8)
    for _ in range(rng.integers(2, 12)):
        colour = colours[rng.integers(len(colours))].tolist()
        at = int(rng.integers(width)), int(rng.integers(height))
        to = int(rng.integers(width)), int(rng.integers(height))
        match rng.integers(4):
            case 0:
                cv2.circle(page, at, int(rng.integers(3, height // 3)), colour, -1)
            case 1:
                cv2.rectangle(page, at, to, colour, -1)
            case 2:
                cv2.line(page, at, to, colour, int(rng.integers(1, 9)))
            case _:
                cv2.fillPoly(page, [rng.integers(0, (width, height), (5, 2)).astype(np.int32)], colour)
    return page


def coloured_shapes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return shapes(rng, width, height, rng.integers(0, 256, (6, 3)))


def drawn_cells(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Discs and shapes in the colours of a smear: what a child draws who was told of cells."""
    return shapes(rng, width, height, STAINS)


def plain(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)


def gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """From one colour to another across."""
    share = np.linspace(0, 1, width)[None, :, None]
    one, other = rng.integers(0, 256, (2, 3))
    return clip(np.broadcast_to(share * one + (1 - share) * other, (height, width, 3)))


def red_cells(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A smear without a white cell, as this program draws smears."""
    return draw_field(rng, [], (width, height)).pixels


def tissue(rng: np.random.Generator, width: int, height: int, radius: float) -> np.ndarray:
    """Violet nuclei close together in pink, as in a section of an organ: no cell lies alone, none has a border."""
    share = 0.5 + 0.2 * smooth_noise(rng, width, height, 3)[:, :, None]
    page = share * np.array((222, 140, 180)) + (1 - share) * np.array((235, 195, 215))
    nuclei = np.zeros((height, width), np.float32)
    for _ in range(int(1.2 * width * height / (3 * radius) ** 2)):
        axes = radius * rng.uniform(0.7, 1.3, 2)
        at = int(rng.integers(width)), int(rng.integers(height))
        cv2.ellipse(nuclei, at, (int(axes[0]) + 1, int(axes[1]) + 1), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    cover = (cv2.GaussianBlur(nuclei, (0, 0), 1) * (0.75 + 0.1 * smooth_noise(rng, width, height, 2)))[:, :, None]
    return clip((1 - cover) * page + cover * np.array((90, 60, 140)) + rng.normal(0, 3, page.shape))


def fine_tissue(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return tissue(rng, width, height, height / 40)


def coarse_tissue(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return tissue(rng, width, height, height / 12)


def fibres(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Wavy strands of pink and violet."""
    waves = smooth_noise(rng, width, height, height / 10) + np.linspace(0, rng.uniform(5, 40), height)[:, None]
    share = (0.5 + 0.5 * np.sin(4 * waves))[:, :, None]
    return clip(share * np.array((225, 150, 190)) + (1 - share) * np.array((120, 80, 150)))


KINDS: dict[str, tuple[Draw, ...]] = {
    "noise": (white_noise, cloudy_noise, stained_noise),
    "text": (black_on_white, violet_on_pink),
    "drawings": (coloured_shapes, drawn_cells),
    "plain colours": (plain, gradient),
    "red cells only": (red_cells,),
    "tissue-like": (fine_tissue, coarse_tissue, fibres),
}


def draw_all(each: int, seed: int = 0) -> Iterator[NotACell]:
    """`each` pictures of each style and size."""
    for kind, styles in KINDS.items():
        for style in styles:
            for place, (width, height) in enumerate(SIZES):
                for number in range(each):
                    name = style.__name__
                    rng = np.random.default_rng([seed, place, number, *name.encode()])
                    yield NotACell(kind, f"{name} {width}×{height}", number, style(rng, width, height))
