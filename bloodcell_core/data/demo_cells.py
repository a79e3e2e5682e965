"""The white cells of synthetic smears: the looks of each class, as densities of stain.

Shapes are drawn `SUPERSAMPLING` times larger than they are shown: `unit` is the cell's radius in those finer samples.
"""

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

SUPERSAMPLING = 2

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
Range = tuple[float, float]


class Stain(IntEnum):
    """What absorbs light: the index of its density map and its row of `ABSORBANCE`."""

    HAEMOGLOBIN = 0
    CHROMATIN = 1
    AZURE = 2  # blue of RNA-rich cytoplasm
    EOSIN = 3  # pink of protein-rich cytoplasm
    ORANGE = 4  # eosinophil granules


# Textures and soft shapes


def noise(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Floats:
    """Smooth noise of mean 0 and standard deviation about 1, with spots about `grain` samples wide."""
    coarse = rng.standard_normal([max(2, round(side / grain)) for side in shape], np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def blur(image: Floats | Pixels, sigma: float) -> Floats:
    """The image blurred by a Gaussian of `sigma` samples."""
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)


def _soften(mask: Pixels, unit: float, wobble: float, rng: np.random.Generator) -> Floats:
    """A 0/1 mask as cover in 0…1 with a soft edge and its outline distorted by about `wobble` units."""
    y, x = np.indices(mask.shape, np.float32)
    push_x, push_y = (wobble * unit * noise(mask.shape, 0.45 * unit, rng) for _ in range(2))
    pushed = cv2.remap(blur(mask, 0.035 * unit), x + push_x, y + push_y, cv2.INTER_LINEAR)
    return np.asarray(np.clip((pushed - 0.5) * 2 + 0.5, 0, 1), np.float32)


def _specks(side: int, spacing: float, spread: float, rng: np.random.Generator) -> Floats:
    """Round specks on a jittered grid: densely packed, neither in rows nor in random clumps."""
    grid = np.mgrid[0:side:spacing, 0:side:spacing]
    shaken = grid + rng.uniform(-0.6 * spacing, 0.6 * spacing, grid.shape)
    points = np.zeros((side, side), np.float32)
    points[tuple(np.clip(shaken, 0, side - 1).astype(int))] = rng.uniform(0.3, 1.3, grid.shape[1:])
    return blur(points, spread) * (2 * math.pi * spread**2)


def ellipse(mask: Pixels, centre: Floats, axes: Sequence[float], degrees: float, value: int = 1) -> None:
    """Fills an ellipse; `centre` is relative to the middle of the square mask, `axes` are the semi-axes."""
    x, y = (centre + mask.shape[0] / 2).tolist()
    cv2.ellipse(mask, ((x, y), (2 * axes[0], 2 * axes[1]), degrees), value, cv2.FILLED)


def polar(reach: float | Floats, angle: float | Floats) -> Floats:
    """x and y of points at the distance `reach` from 0, in the direction `angle` (radians)."""
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], -1)


# White cells


class WhiteCell(NamedTuple):
    """A drawn cell, cropped to its outline: densities (stain, h, w), and the cell body's cover (h, w) in 0…1."""

    densities: Floats
    cover: Floats


class _Kind(NamedTuple):
    """The looks of one class. Ranges are of uniform distributions; densities are in units of the stain."""

    radius: Range
    nucleus: Callable[[Pixels, float, np.random.Generator], None]
    chromatin: Range
    looseness: float  # relative contrast of the chromatin's texture
    azure: Range
    eosin: Range
    wobble: float  # of the cell's outline, in radii
    details: Callable[[Floats, float, np.random.Generator], None] | None = None


def draw_white_cell(label: str, rng: np.random.Generator) -> WhiteCell:
    """A white cell of class `label`, a key of the table at the end."""
    kind = _KINDS[label]
    unit = SUPERSAMPLING * rng.uniform(*kind.radius)
    side = 2 * round(1.4 * unit)
    outline, core = np.zeros((2, side, side), np.uint8)
    axes = unit * rng.uniform(0.97, 1.08), unit * rng.uniform(0.86, 1)
    ellipse(outline, np.zeros(2), axes, rng.uniform(0, 180))
    kind.nucleus(core, unit, rng)
    body = _soften(outline, unit, kind.wobble, rng)
    nucleus = _soften(core, unit, 0.055, rng) * body

    cytoplasm = body * (1 - 0.9 * nucleus) * (1 + 0.18 * noise(body.shape, 0.12 * unit, rng))
    # The Golgi zone around the nucleus stays pale, so the blue is deepest at the rim.
    rim = 1.25 - 0.5 * blur(nucleus, 0.12 * unit)
    clumps = noise(body.shape, 0.13 * unit, rng) + 0.7 * noise(body.shape, 0.06 * unit, rng)
    thickness = 0.82 + 0.18 * blur(nucleus, 0.07 * unit)

    densities = np.zeros((len(Stain), side, side), np.float32)
    densities[Stain.CHROMATIN] = nucleus * thickness * (1 + kind.looseness * clumps)
    densities[Stain.CHROMATIN] *= rng.uniform(*kind.chromatin)
    densities[Stain.AZURE] = cytoplasm * rim * rng.uniform(*kind.azure)
    densities[Stain.EOSIN] = cytoplasm * rng.uniform(*kind.eosin)
    if kind.details:
        kind.details(densities, unit, rng)
    return _cropped(np.maximum(densities, 0), body)


def _cropped(densities: Floats, cover: Floats) -> WhiteCell:
    """The cell cropped to its outline, at whole pixels of the picture."""
    spans = []
    for axis in (1, 0):
        inside = np.flatnonzero((cover > 0.02).any(axis)) // SUPERSAMPLING
        spans.append(slice(inside[0] * SUPERSAMPLING, (inside[-1] + 1) * SUPERSAMPLING))
    return WhiteCell(densities[:, spans[0], spans[1]], cover[spans[0], spans[1]])


def _lobes(mask: Pixels, centres: Floats, axes: Floats, degrees: Floats, strand: float) -> None:
    """Fills one ellipse per lobe and joins each to the next by a strand `strand` samples thick."""
    for centre, lobe, turn in zip(centres, axes.tolist(), degrees.tolist(), strict=True):
        ellipse(mask, centre, lobe, turn)
    chain = np.round(centres + mask.shape[0] / 2).astype(np.int32)
    cv2.polylines(mask, [chain], False, 1, max(1, round(strand)))


def _segmented(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Neutrophil: three to five lobes along a bent line; a few young cells have two."""
    count = int(rng.choice([2, 3, 4, 5], p=[0.08, 0.42, 0.36, 0.14]))
    span = rng.uniform(1.5, 1.95) * math.pi * (count - 1) / count
    angle = rng.uniform(0, 2 * math.pi) + np.linspace(0, span, count) + rng.normal(0, 0.12, count)
    centres = unit * (polar(rng.uniform(0.36, 0.6, count), angle) + rng.uniform(-0.1, 0.1, 2))
    axes = unit * (1.36 - 0.06 * count) * rng.uniform((0.26, 0.22), (0.38, 0.3), (count, 2))
    degrees = np.degrees(angle) + rng.normal(90, 35, count)
    _lobes(mask, centres, axes, degrees, 0.11 * unit * rng.lognormal(0, 0.4))


def _bilobed(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Eosinophil: two plump lobes like a pair of spectacles; now and then a third."""
    count = 3 if rng.random() < 0.12 else 2
    angle = rng.uniform(0, 2 * math.pi) + rng.uniform(1.7, 2.5) * np.arange(count)
    centres = unit * (polar(rng.uniform(0.42, 0.5), angle) + rng.uniform(-0.08, 0.08, 2))
    axes = unit * rng.uniform((0.36, 0.3), (0.46, 0.37), (count, 2))
    _lobes(mask, centres, axes, np.degrees(angle) + rng.normal(90, 20, count), unit * rng.uniform(0.12, 0.22))


def _round(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Lymphocyte: one round nucleus that nearly fills the cell, off centre, sometimes indented."""
    size, angle = unit * rng.uniform(0.66, 0.9), rng.uniform(0, 2 * math.pi)
    centre = polar((0.97 * unit - size) * rng.uniform(0.3, 1), angle)
    ellipse(mask, centre, (size, size * rng.uniform(0.88, 1)), rng.uniform(0, 180))
    if rng.random() < 0.3:
        ellipse(mask, centre - polar(1.08 * size, angle), (0.25 * unit, 0.25 * unit), 0, value=0)


def _folded(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Monocyte: a thick bent band, from nearly round through kidney-shaped to horseshoe-shaped."""
    turn, span, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 4.2), unit * rng.uniform(0.38, 0.48)
    steps = np.linspace(-span / 2, span / 2, 9)
    # Centred on the middle of the band, not on that of the circle along which it is bent.
    centres = polar(bend, turn + steps) - 0.6 * polar(bend * np.cos(steps).mean(), turn)
    width = unit * rng.uniform(0.32, 0.42) * rng.uniform(0.85, 1.15, 9)
    _lobes(mask, centres, np.stack([width, width], 1), steps, 0.4 * unit)


def _orange_granules(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """The coarse granules, orange-red to pink, that fill an eosinophil's cytoplasm."""
    cytoplasm = np.clip(densities[Stain.EOSIN] * 4, 0, 1)
    granules = cytoplasm * (1 - np.exp(-1.2 * _specks(len(cytoplasm), 0.12 * unit, 0.036 * unit, rng)))
    densities[Stain.ORANGE] += 0.2 * cytoplasm + rng.uniform(0.2, 1.1) * granules
    densities[Stain.EOSIN] += rng.uniform(0, 0.6) * granules


def _fine_granules(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """The fine, pale lilac granules of a neutrophil."""
    cytoplasm = np.clip(densities[Stain.EOSIN] * 3, 0, 1)
    specks = _specks(len(cytoplasm), 0.09 * unit, 0.022 * unit, rng)
    densities[Stain.CHROMATIN] += rng.uniform(0.08, 0.22) * cytoplasm * specks


def _vacuoles(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """Up to three vacuoles, clear bubbles in a monocyte."""
    holes = np.zeros(densities.shape[1:], np.uint8)
    for _ in range(int(rng.choice(4, p=[0.4, 0.25, 0.2, 0.15]))):
        size = unit * rng.uniform(0.04, 0.08)
        ellipse(holes, polar(unit * rng.uniform(0.3, 0.8), rng.uniform(0, 2 * math.pi)), (size, size), 0)
    densities *= 1 - 0.7 * blur(holes, 0.025 * unit)


# In the order of the fields of `_Kind`: radius, nucleus, chromatin, looseness, azure, eosin, wobble, details.
_KINDS = {
    "eosinophil": _Kind((35, 46), _bilobed, (0.8, 1.25), 0.12, (0, 0.15), (0.2, 0.45), 0.04, _orange_granules),
    "lymphocyte": _Kind((25, 39), _round, (0.85, 1.5), 0.10, (0.35, 1.1), (0, 0.2), 0.04),
    "monocyte": _Kind((40, 56), _folded, (0.7, 1.2), 0.16, (0.3, 0.65), (0.1, 0.35), 0.065, _vacuoles),
    "neutrophil": _Kind((34, 46), _segmented, (0.85, 1.4), 0.13, (0, 0.15), (0.25, 0.6), 0.04, _fine_granules),
}
