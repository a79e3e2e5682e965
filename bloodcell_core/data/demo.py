"""Synthetic stained smears drawn from a seed: pictures to look at, train on and test with, no download.

A smear is built as a microscope sees it. Each stain has a map of how much of it lies in the light's way; the
maps, times what the stain absorbs, add up to an optical density, and the camera records the light left over
(Beer-Lambert). Weak stain, overlap and exposure then look right by themselves. Nothing here was copied from,
or fitted to, a real photograph.

Sizes are in picture pixels, except inside the shapes, which are drawn `SUPERSAMPLING` times larger: there
`unit` is the radius of the white cell, red cell or platelet in those finer samples.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

DEMO_CLASSES: tuple[str, ...] = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
PICTURE_SIZE = (320, 240)
MIN_FIELD_SIDE = 64
SUPERSAMPLING = 2

Box = tuple[int, int, int, int]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
Range = tuple[float, float]


class Stain(IntEnum):
    """What takes light away: the index of a density map and the row of `ABSORBANCE`."""

    HAEMOGLOBIN = 0
    CHROMATIN = 1
    AZURE = 2  # blue of RNA-rich cytoplasm
    EOSIN = 3  # pink of protein-rich cytoplasm
    ORANGE = 4  # eosinophil granules


# Natural-log absorbance of one unit of each stain in red, green and blue light.
ABSORBANCE = np.array(
    [[0.15, 0.40, 0.42], [0.66, 1.20, 0.12], [0.40, 0.31, 0.08], [0.05, 0.28, 0.07], [0.07, 0.60, 0.55]]
)


@dataclass(frozen=True)
class DemoPicture:
    """A labelled picture: `pixels` is uint8 (240, 320, 3) RGB; copies of one photo share `source_photo`."""

    label: str
    source_photo: str
    pixels: Pixels


@dataclass(frozen=True)
class DemoField:
    """A smear field: `pixels` is uint8 (height, width, 3) RGB; `cells` has (label, (x0, y0, x1, y1)) of every
    white cell, in pixels, x1 and y1 exclusive.
    """

    pixels: Pixels
    cells: tuple[tuple[str, Box], ...]


def draw_picture(label: str, rng: np.random.Generator) -> Pixels:
    """Draw one picture, uint8 (240, 320, 3) RGB, of one whole white cell of class `label` among red cells.

    Raises ValueError for a label that is not in `DEMO_CLASSES`.
    """
    return draw_field(rng, [label], PICTURE_SIZE).pixels


def draw_pictures(per_class: int, seed: int, copies: int = 3) -> Iterator[DemoPicture]:
    """Draw `per_class` pictures of each class, class by class; the same seed gives the same bytes.

    As in the public archive, several pictures are copies of one photo: a photo gives one to `copies` of them,
    the first as drawn, the others turned, mirrored and shifted, with black borders. A photo depends only on
    `seed`, `copies`, its class and its number, so a larger `per_class` starts with the same pictures.
    Raises ValueError, at the call, where `per_class` or `copies` is below 1 or `seed` below 0.
    """
    for name, value, lowest in (("per_class", per_class, 1), ("seed", seed, 0), ("copies", copies, 1)):
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, not {value}")
    return (picture for label in DEMO_CLASSES for picture in _draw_class(label, per_class, seed, copies))


def draw_field(
    rng: np.random.Generator, labels: Sequence[str], size: tuple[int, int] = (640, 480)
) -> DemoField:
    """Draw a smear field of `size` (width, height) with one whole white cell per label, none overlapping.

    Raises ValueError for a label that is not in `DEMO_CLASSES`, for a field with a side below
    `MIN_FIELD_SIDE`, and where the cells don't fit in the field.
    """
    if min(size) < MIN_FIELD_SIDE:
        raise ValueError(f"a field has at least {MIN_FIELD_SIDE} pixels a side, not {size[0]} by {size[1]}")
    for label in labels:
        if label not in DEMO_CLASSES:
            raise ValueError(f"unknown class {label!r}; the demo draws {', '.join(DEMO_CLASSES)}")
    cells = [_draw_white_cell(_KINDS[label], rng) for label in labels]
    boxes = _place(cells, size, rng)
    smear = np.zeros((len(Stain), SUPERSAMPLING * size[1], SUPERSAMPLING * size[0]), np.float32)
    _add_red_cells(smear[Stain.HAEMOGLOBIN], boxes, rng)
    _add_platelets(smear, rng)
    for cell, box in zip(cells, boxes, strict=True):
        x0, y0, x1, y1 = (SUPERSAMPLING * edge for edge in box)
        smear[:, y0:y1, x0:x1] *= 1 - cell.cover
        smear[:, y0:y1, x0:x1] += cell.densities
    return DemoField(_photograph(smear, size, rng), tuple(zip(labels, boxes, strict=True)))


def _draw_class(label: str, count: int, seed: int, copies: int) -> Iterator[DemoPicture]:
    photo = drawn = 0
    while drawn < count:
        rng = np.random.default_rng([seed, DEMO_CLASSES.index(label), photo])
        original = draw_field(rng, [label], PICTURE_SIZE)
        family = min(count - drawn, int(rng.integers(1, copies + 1)))
        for number in range(family):
            pixels = _turned_copy(original, rng) if number else original.pixels
            yield DemoPicture(label, f"demo-{label}-{photo:04d}", pixels)
        drawn += family
        photo += 1


def _turned_copy(original: DemoField, rng: np.random.Generator) -> Pixels:
    """The picture turned by any angle, mirrored or not, and shifted so far as its white cell stays inside."""
    height, width = original.pixels.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), 1.0).astype(np.float64)
    if rng.random() < 0.5:
        affine[:, 2] += affine[:, 0] * (width - 1)
        affine[:, 0] *= -1
    affine[:, 2] += rng.uniform(-12, 12, 2)
    x0, y0, x1, y1 = original.cells[0][1]
    corners = np.array([(x, y, 1) for x in (x0, x1 - 1) for y in (y0, y1 - 1)]) @ affine.T
    beyond = corners.max(0) - (width - 1, height - 1)
    affine[:, 2] -= np.maximum(beyond, 0) + np.minimum(corners.min(0), 0)
    return np.asarray(cv2.warpAffine(original.pixels, affine, (width, height)), np.uint8)


# Textures and soft shapes


def _noise(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Floats:
    """Smooth noise around 0, its spread about 1, whose spots are about `grain` samples wide."""
    coarse = rng.standard_normal([max(2, round(side / grain)) for side in shape], np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _blur(image: Floats | Pixels, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)


def _soften(mask: Pixels, unit: float, wobble: float, rng: np.random.Generator) -> Floats:
    """A 0/1 mask as cover in 0…1 with a soft edge, its outline pushed about by `wobble` units."""
    y, x = np.indices(mask.shape, np.float32)
    push_x, push_y = (wobble * unit * _noise(mask.shape, 0.45 * unit, rng) for _ in range(2))
    pushed = cv2.remap(_blur(mask, 0.035 * unit), x + push_x, y + push_y, cv2.INTER_LINEAR)
    return np.asarray(np.clip((pushed - 0.5) * 2 + 0.5, 0, 1), np.float32)


def _specks(side: int, spacing: float, spread: float, rng: np.random.Generator) -> Floats:
    """Round specks on a shaken grid: packed, neither in rows nor in the clumps of pure chance."""
    grid = np.mgrid[0:side:spacing, 0:side:spacing]
    shaken = grid + rng.uniform(-0.6 * spacing, 0.6 * spacing, grid.shape)
    points = np.zeros((side, side), np.float32)
    points[tuple(np.clip(shaken, 0, side - 1).astype(int))] = rng.uniform(0.3, 1.3, grid.shape[1:])
    return _blur(points, spread) * (2 * math.pi * spread**2)


def _ellipse(mask: Pixels, centre: Floats, axes: Sequence[float], degrees: float, value: int = 1) -> None:
    """Fill an ellipse, its `centre` counted from the middle of the square mask, `axes` being half lengths."""
    x, y = (centre + mask.shape[0] / 2).tolist()
    cv2.ellipse(mask, ((x, y), (2 * axes[0], 2 * axes[1]), degrees), value, cv2.FILLED)


def _polar(reach: float | Floats, angle: float | Floats) -> Floats:
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], -1)


# White cells


class _WhiteCell(NamedTuple):
    """A drawn cell cut to its outline: densities (stain, h, w), and the body's cover (h, w) in 0…1."""

    densities: Floats
    cover: Floats


class _Kind(NamedTuple):
    """How one class looks. A range is that of a uniform draw; densities are in units of the stain."""

    radius: Range
    nucleus: Callable[[Pixels, float, np.random.Generator], None]
    chromatin: Range
    looseness: float  # relative contrast of the chromatin's texture
    azure: Range
    eosin: Range
    wobble: float  # of the cell's outline, in radii
    details: Callable[[Floats, float, np.random.Generator], None] | None = None


def _draw_white_cell(kind: _Kind, rng: np.random.Generator) -> _WhiteCell:
    unit = SUPERSAMPLING * rng.uniform(*kind.radius)
    side = 2 * round(1.4 * unit)
    outline, core = np.zeros((2, side, side), np.uint8)
    axes = unit * rng.uniform(0.97, 1.08), unit * rng.uniform(0.86, 1)
    _ellipse(outline, np.zeros(2), axes, rng.uniform(0, 180))
    kind.nucleus(core, unit, rng)
    body = _soften(outline, unit, kind.wobble, rng)
    nucleus = _soften(core, unit, 0.055, rng) * body

    cytoplasm = body * (1 - 0.9 * nucleus) * (1 + 0.18 * _noise(body.shape, 0.12 * unit, rng))
    # The Golgi zone around the nucleus stays pale, so the blue is deepest at the rim.
    rim = 1.25 - 0.5 * _blur(nucleus, 0.12 * unit)
    clumps = _noise(body.shape, 0.13 * unit, rng) + 0.7 * _noise(body.shape, 0.06 * unit, rng)
    thickness = 0.82 + 0.18 * _blur(nucleus, 0.07 * unit)

    densities = np.zeros((len(Stain), side, side), np.float32)
    densities[Stain.CHROMATIN] = nucleus * thickness * (1 + kind.looseness * clumps)
    densities[Stain.CHROMATIN] *= rng.uniform(*kind.chromatin)
    densities[Stain.AZURE] = cytoplasm * rim * rng.uniform(*kind.azure)
    densities[Stain.EOSIN] = cytoplasm * rng.uniform(*kind.eosin)
    if kind.details:
        kind.details(densities, unit, rng)
    return _cropped(np.maximum(densities, 0), body)


def _cropped(densities: Floats, cover: Floats) -> _WhiteCell:
    """The cell cut to its outline, at whole picture pixels."""
    spans = []
    for axis in (1, 0):
        inside = np.flatnonzero((cover > 0.02).any(axis)) // SUPERSAMPLING
        spans.append(slice(inside[0] * SUPERSAMPLING, (inside[-1] + 1) * SUPERSAMPLING))
    return _WhiteCell(densities[:, spans[0], spans[1]], cover[spans[0], spans[1]])


def _place(cells: Sequence[_WhiteCell], size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """A box for each cell, inside the field and apart from the others."""
    boxes: list[Box] = []
    for cell in cells:
        height, width = (side // SUPERSAMPLING for side in cell.cover.shape)
        free = size[0] - width, size[1] - height
        for _ in range(200 if min(free) >= 0 else 0):
            x, y = (int(rng.integers(0, room + 1)) for room in free)
            box = x, y, x + width, y + height
            if not any(_touch(box, other) for other in boxes):
                boxes.append(box)
                break
        else:
            raise ValueError(f"no room for {len(cells)} white cell(s) in {size[0]} by {size[1]} pixels")
    return boxes


def _touch(a: Box, b: Box, gap: int = 4) -> bool:
    return all(a[i] < b[i + 2] + gap and b[i] < a[i + 2] + gap for i in (0, 1))


def _lobes(mask: Pixels, centres: Floats, axes: Floats, degrees: Floats, strand: float) -> None:
    """Fill one ellipse a lobe, and join each to the next by a strand `strand` samples thick."""
    for centre, lobe, turn in zip(centres, axes.tolist(), degrees.tolist(), strict=True):
        _ellipse(mask, centre, lobe, turn)
    chain = np.round(centres + mask.shape[0] / 2).astype(np.int32)
    cv2.polylines(mask, [chain], False, 1, max(1, round(strand)))


def _segmented(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Neutrophil: three to five lobes strung along a bent line; a few young cells have two."""
    count = int(rng.choice([2, 3, 4, 5], p=[0.08, 0.42, 0.36, 0.14]))
    span = rng.uniform(1.5, 1.95) * math.pi * (count - 1) / count
    angle = rng.uniform(0, 2 * math.pi) + np.linspace(0, span, count) + rng.normal(0, 0.12, count)
    centres = unit * (_polar(rng.uniform(0.36, 0.6, count), angle) + rng.uniform(-0.1, 0.1, 2))
    axes = unit * (1.36 - 0.06 * count) * rng.uniform((0.26, 0.22), (0.38, 0.3), (count, 2))
    degrees = np.degrees(angle) + rng.normal(90, 35, count)
    _lobes(mask, centres, axes, degrees, 0.11 * unit * rng.lognormal(0, 0.4))


def _bilobed(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Eosinophil: two plump lobes like a pair of spectacles; now and then a third."""
    count = 3 if rng.random() < 0.12 else 2
    angle = rng.uniform(0, 2 * math.pi) + rng.uniform(1.7, 2.5) * np.arange(count)
    centres = unit * (_polar(rng.uniform(0.42, 0.5), angle) + rng.uniform(-0.08, 0.08, 2))
    axes = unit * rng.uniform((0.36, 0.3), (0.46, 0.37), (count, 2))
    _lobes(mask, centres, axes, np.degrees(angle) + rng.normal(90, 20, count), unit * rng.uniform(0.12, 0.22))


def _round(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Lymphocyte: one round nucleus that nearly fills the cell, off centre, at times with a dent."""
    size, angle = unit * rng.uniform(0.66, 0.9), rng.uniform(0, 2 * math.pi)
    centre = _polar((0.97 * unit - size) * rng.uniform(0.3, 1), angle)
    _ellipse(mask, centre, (size, size * rng.uniform(0.88, 1)), rng.uniform(0, 180))
    if rng.random() < 0.3:
        _ellipse(mask, centre - _polar(1.08 * size, angle), (0.25 * unit, 0.25 * unit), 0, value=0)


def _folded(mask: Pixels, unit: float, rng: np.random.Generator) -> None:
    """Monocyte: a thick bent band, from nearly round over kidney to horseshoe."""
    turn, span, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 4.2), unit * rng.uniform(0.38, 0.48)
    steps = np.linspace(-span / 2, span / 2, 9)
    # Centred on the band's own middle, not on that of the circle it is bent along.
    centres = _polar(bend, turn + steps) - 0.6 * _polar(bend * np.cos(steps).mean(), turn)
    width = unit * rng.uniform(0.32, 0.42) * rng.uniform(0.85, 1.15, 9)
    _lobes(mask, centres, np.stack([width, width], 1), steps, 0.4 * unit)


def _orange_granules(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """Coarse granules that pack an eosinophil's cytoplasm, and run from orange-red to pink."""
    cytoplasm = np.clip(densities[Stain.EOSIN] * 4, 0, 1)
    granules = cytoplasm * (1 - np.exp(-1.2 * _specks(len(cytoplasm), 0.12 * unit, 0.036 * unit, rng)))
    densities[Stain.ORANGE] += 0.2 * cytoplasm + rng.uniform(0.2, 1.1) * granules
    densities[Stain.EOSIN] += rng.uniform(0, 0.6) * granules


def _fine_granules(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """A neutrophil's dust of pale lilac granules."""
    cytoplasm = np.clip(densities[Stain.EOSIN] * 3, 0, 1)
    specks = _specks(len(cytoplasm), 0.09 * unit, 0.022 * unit, rng)
    densities[Stain.CHROMATIN] += rng.uniform(0.08, 0.22) * cytoplasm * specks


def _vacuoles(densities: Floats, unit: float, rng: np.random.Generator) -> None:
    """None to three clear bubbles in a monocyte."""
    holes = np.zeros(densities.shape[1:], np.uint8)
    for _ in range(int(rng.choice(4, p=[0.4, 0.25, 0.2, 0.15]))):
        size = unit * rng.uniform(0.04, 0.08)
        _ellipse(holes, _polar(unit * rng.uniform(0.3, 0.8), rng.uniform(0, 2 * math.pi)), (size, size), 0)
    densities *= 1 - 0.7 * _blur(holes, 0.025 * unit)


# In the order of the fields of `_Kind`: radius, nucleus, chromatin, looseness, azure, eosin, wobble, details.
_KINDS = {
    "eosinophil": _Kind(
        (35, 46), _bilobed, (0.8, 1.25), 0.12, (0, 0.15), (0.2, 0.45), 0.04, _orange_granules
    ),
    "lymphocyte": _Kind((25, 39), _round, (0.85, 1.5), 0.10, (0.35, 1.1), (0, 0.2), 0.04),
    "monocyte": _Kind((40, 56), _folded, (0.7, 1.2), 0.16, (0.3, 0.65), (0.1, 0.35), 0.065, _vacuoles),
    "neutrophil": _Kind(
        (34, 46), _segmented, (0.85, 1.4), 0.13, (0, 0.15), (0.25, 0.6), 0.04, _fine_granules
    ),
}


# What lies around them, and the camera


def _add_red_cells(haemoglobin: Floats, boxes: Sequence[Box], rng: np.random.Generator) -> None:
    """Add red cells, alone and in overlapping chains, which the white cells in `boxes` push aside."""
    height, width = (side / SUPERSAMPLING for side in haemoglobin.shape)
    radius, pallor, stretch = rng.uniform(20, 25), rng.uniform(0.2, 0.7), rng.uniform(0.02, 0.16)
    place, heading = np.zeros(2), 0.0
    for _ in range(round(width * height / 1500 * rng.uniform(0.6, 1.3))):
        size = radius * rng.normal(1, 0.07)
        if rng.random() < 0.5:
            heading += rng.normal(0, 0.5)
            place = place + _polar(size * rng.uniform(1.2, 1.95), heading)
        else:
            place, heading = rng.uniform(-10, (width + 10, height + 10)), rng.uniform(0, 2 * math.pi)
        row, column = np.clip(SUPERSAMPLING * place[::-1], 0, np.subtract(haemoglobin.shape, 1)).astype(int)
        taken = haemoglobin[row, column] > 0.2
        if not taken and all(_distance(place, box) > 0.75 * size for box in boxes):
            pit, drawn_out = rng.normal((pallor, 0), (0.15, stretch)).tolist()
            _add_red_cell(haemoglobin, SUPERSAMPLING * place, SUPERSAMPLING * size, pit, drawn_out, rng)
    # Cells that overlap share the room between slide and cover, so their densities add up to less than both.
    haemoglobin /= 1 + 0.35 * haemoglobin


def _distance(place: Floats, box: Box) -> float:
    """From a point to the ellipse that fills a box, along the line to its centre; negative inside."""
    away = place - np.add(box[:2], box[2:]) / 2
    radii = math.hypot(*(away / np.subtract(box[2:], box[:2]) * 2))
    return math.hypot(*away) * (1 - 1 / max(radii, 1e-6))


def _add_red_cell(
    haemoglobin: Floats, centre: Floats, unit: float, pallor: float, stretch: float, rng: np.random.Generator
) -> None:
    """Add one disc with a hollow of depth `pallor` (0…1), drawn out by the factor exp(`stretch`)."""
    (x, y), reach = np.round(centre).astype(int).tolist(), round(1.5 * unit)
    top, left = max(y - reach, 0), max(x - reach, 0)
    patch = haemoglobin[top : max(y + reach, 0), left : max(x + reach, 0)]
    if not patch.size:
        return
    v, u = np.ogrid[top - y : top - y + patch.shape[0], left - x : left - x + patch.shape[1]]
    turn = rng.uniform(0, math.pi)
    along = (math.cos(turn) * u + math.sin(turn) * v).astype(np.float32) * (math.exp(-stretch) / unit)
    across = (math.cos(turn) * v - math.sin(turn) * u).astype(np.float32) * (math.exp(stretch) / unit)
    distance2 = (along**2 + across**2) * (1 + 0.13 * _noise(patch.shape, 0.9 * unit, rng))
    disc = np.clip((1 - distance2) * 5, 0, 1)
    hollow = np.clip((rng.uniform(0.38, 0.62) - distance2) * rng.uniform(2, 5), 0, 1)
    patch += rng.uniform(0.85, 1.3) * disc * (1 - min(max(pallor, 0.0), 1.0) * hollow)


def _add_platelets(smear: Floats, rng: np.random.Generator) -> None:
    height, width = smear.shape[1:]
    for _ in range(rng.poisson(width * height / SUPERSAMPLING**2 / 12000)):
        unit = SUPERSAMPLING * rng.uniform(2.5, 6)
        reach = round(3 * unit)
        x, y = int(rng.integers(reach, width - reach)), int(rng.integers(reach, height - reach))
        if smear[Stain.HAEMOGLOBIN, y, x] > 0.2:
            continue
        mask = np.zeros((2 * reach, 2 * reach), np.uint8)
        _ellipse(mask, np.zeros(2), (unit, unit * rng.uniform(0.6, 1)), rng.uniform(0, 180))
        cover = _blur(mask, 0.25 * unit) * (1 + 0.35 * _noise(mask.shape, 0.5 * unit, rng))
        around = smear[:, y - reach : y + reach, x - reach : x + reach]
        around[Stain.CHROMATIN] += rng.uniform(0.2, 0.5) * cover
        around[Stain.AZURE] += rng.uniform(0.1, 0.4) * cover


def _photograph(smear: Floats, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """What the camera records of the smear; stain, lamp, focus and sensor noise differ by picture."""
    hues = rng.lognormal(0, 0.1, (len(Stain), 1)) * rng.lognormal(0, 0.06, (len(Stain), 3))
    strength = rng.lognormal(0, 0.16) * (rng.uniform(0.6, 0.8) if rng.random() < 0.1 else 1)
    maps = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in smear]
    light = np.exp(-np.stack(maps, -1) @ (ABSORBANCE * hues * strength).astype(np.float32))
    exposure = np.clip(rng.normal(1, 0.06), 0.85, 1.12)
    light *= (exposure * np.array([214, 209, 199]) * rng.normal(1, 0.01, 3)).astype(np.float32)
    light *= 1 + 0.02 * _noise((size[1], size[0]), max(size), rng)[..., None]
    light = _blur(light, rng.uniform(1.6, 3.2) if rng.random() < 0.12 else rng.uniform(0.4, 1))
    light += rng.uniform(1.5, 5) * _blur(rng.standard_normal(light.shape, np.float32), 0.6)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)
