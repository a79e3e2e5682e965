"""Synthetic stained smears drawn from a seed: pictures to look at, train on and test with, without a download.

A smear is built as a microscope sees it. Each stain has a density map; the maps times the stains' absorbance add up to
an optical density, and the camera records the light that is transmitted (the Beer-Lambert law). Weak stain, overlap and
exposure then look right by themselves. Nothing here was copied from, or fitted to, a real photograph.

Sizes are in picture pixels, except for shapes, which are drawn `SUPERSAMPLING` times larger: there `unit` is the radius
of the red cell or platelet in those finer samples. The white cells are in demo_cells.py.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bloodcell_core.cells import Box
from bloodcell_core.data.demo_cells import (
    SUPERSAMPLING,
    Floats,
    Pixels,
    Stain,
    WhiteCell,
    blur,
    draw_white_cell,
    ellipse,
    noise,
    polar,
)

DEMO_CLASSES: tuple[str, ...] = ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
PICTURE_SIZE = (320, 240)
MIN_FIELD_SIDE = 64
COPIES = 3  # of a photo, at most

# Natural-log absorbance of one unit of each stain in red, green and blue light.
ABSORBANCE = np.array(
    [[0.15, 0.40, 0.42], [0.66, 1.20, 0.12], [0.40, 0.31, 0.08], [0.05, 0.28, 0.07], [0.07, 0.60, 0.55]]
)


@dataclass(frozen=True)
class DemoPicture:
    """A labelled picture: `pixels` is uint8 240×320×3 RGB; copies of one photo share `source_photo`."""

    label: str
    source_photo: str
    pixels: Pixels


@dataclass(frozen=True)
class DemoField:
    """A smear field: `pixels` is uint8 H×W×3 RGB; `cells` has the label and the bounding box of every white cell."""

    pixels: Pixels
    cells: tuple[tuple[str, Box], ...]


def draw_picture(label: str, rng: np.random.Generator) -> Pixels:
    """One picture, uint8 240×320×3 RGB, of one whole white cell of class `label` among red cells.

    Raises ValueError for a label that is not in `DEMO_CLASSES`.
    """
    return draw_field(rng, [label], PICTURE_SIZE).pixels


def draw_pictures(per_class: int, seed: int) -> Iterator[DemoPicture]:
    """Draws `per_class` pictures of each class, class by class; the same seed gives the same bytes.

    As in the public archive, pictures are copies of photos: each photo gives between one and `COPIES` pictures, the
    first as drawn, the others rotated, mirrored and shifted, with black borders. A photo depends only on `seed`, its
    class and its number, so a larger `per_class` begins with the same pictures.
    """
    for label in DEMO_CLASSES:
        yield from _draw_class(label, per_class, seed)


def draw_field(rng: np.random.Generator, labels: Sequence[str], size: tuple[int, int] = (640, 480)) -> DemoField:
    """A smear field of `size` (width, height) with one whole white cell per label, none of them overlapping.

    Raises ValueError for a label that is not in `DEMO_CLASSES`, for a side below `MIN_FIELD_SIDE`, and where the cells
    don't fit in the field.
    """
    if min(size) < MIN_FIELD_SIDE:
        raise ValueError(f"a field has at least {MIN_FIELD_SIDE} pixels a side, not {size[0]} by {size[1]}")
    for label in labels:
        if label not in DEMO_CLASSES:
            raise ValueError(f"unknown class {label!r}; the demo draws {', '.join(DEMO_CLASSES)}")
    cells = [draw_white_cell(label, rng) for label in labels]
    boxes = _place(cells, size, rng)
    smear = np.zeros((len(Stain), SUPERSAMPLING * size[1], SUPERSAMPLING * size[0]), np.float32)
    _add_red_cells(smear[Stain.HAEMOGLOBIN], boxes, rng)
    _add_platelets(smear, rng)
    for cell, box in zip(cells, boxes, strict=True):
        x0, y0, x1, y1 = (SUPERSAMPLING * edge for edge in box)
        smear[:, y0:y1, x0:x1] *= 1 - cell.cover
        smear[:, y0:y1, x0:x1] += cell.densities
    return DemoField(_photograph(smear, size, rng), tuple(zip(labels, boxes, strict=True)))


def _draw_class(label: str, count: int, seed: int) -> Iterator[DemoPicture]:
    photo = drawn = 0
    while drawn < count:
        rng = np.random.default_rng([seed, DEMO_CLASSES.index(label), photo])
        original = draw_field(rng, [label], PICTURE_SIZE)
        family = min(count - drawn, int(rng.integers(1, COPIES + 1)))
        for number in range(family):
            pixels = _turned_copy(original, rng) if number else original.pixels
            yield DemoPicture(label, f"demo-{label}-{photo:04d}", pixels)
        drawn += family
        photo += 1


def _turned_copy(original: DemoField, rng: np.random.Generator) -> Pixels:
    """The picture rotated by a random angle, perhaps mirrored, and shifted; its white cell is kept inside."""
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


def _place(cells: Sequence[WhiteCell], size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """A bounding box for each cell, inside the field and apart from the others; ValueError where there is no room."""
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


def _touch(a: Box, b: Box) -> bool:
    """Whether two boxes are less than four pixels apart."""
    return all(a[i] < b[i + 2] + 4 and b[i] < a[i + 2] + 4 for i in (0, 1))


# Red cells and platelets, and the camera


def _add_red_cells(haemoglobin: Floats, boxes: Sequence[Box], rng: np.random.Generator) -> None:
    """Adds red cells, single and in overlapping chains, none inside the white cells' `boxes`."""
    height, width = (side / SUPERSAMPLING for side in haemoglobin.shape)
    radius, pallor, stretch = rng.uniform(20, 25), rng.uniform(0.2, 0.7), rng.uniform(0.02, 0.16)
    place, heading = np.zeros(2), 0.0
    for _ in range(round(width * height / 1500 * rng.uniform(0.6, 1.3))):
        size = radius * rng.normal(1, 0.07)
        if rng.random() < 0.5:
            heading += rng.normal(0, 0.5)
            place = place + polar(size * rng.uniform(1.2, 1.95), heading)
        else:
            place, heading = rng.uniform(-10, (width + 10, height + 10)), rng.uniform(0, 2 * math.pi)
        row, column = np.clip(SUPERSAMPLING * place[::-1], 0, np.subtract(haemoglobin.shape, 1)).astype(int)
        taken = haemoglobin[row, column] > 0.2
        if not taken and all(_distance(place, box) > 0.75 * size for box in boxes):
            pit, drawn_out = rng.normal((pallor, 0), (0.15, stretch)).tolist()
            _add_red_cell(haemoglobin, SUPERSAMPLING * place, SUPERSAMPLING * size, pit, drawn_out, rng)
    # Overlapping cells share the space between slide and cover glass, so their densities add up to less than the sum.
    haemoglobin /= 1 + 0.35 * haemoglobin


def _distance(place: Floats, box: Box) -> float:
    """From a point to the ellipse inscribed in a box, along the line to its centre; negative inside."""
    away = place - np.add(box[:2], box[2:]) / 2
    radii = math.hypot(*(away / np.subtract(box[2:], box[:2]) * 2))
    return math.hypot(*away) * (1 - 1 / max(radii, 1e-6))


def _add_red_cell(
    haemoglobin: Floats, centre: Floats, unit: float, pallor: float, stretch: float, rng: np.random.Generator
) -> None:
    """Adds one disc with a central pallor of depth `pallor` (0…1), stretched by the factor exp(`stretch`)."""
    (x, y), reach = np.round(centre).astype(int).tolist(), round(1.5 * unit)
    top, left = max(y - reach, 0), max(x - reach, 0)
    patch = haemoglobin[top : max(y + reach, 0), left : max(x + reach, 0)]
    if not patch.size:
        return
    v, u = np.ogrid[top - y : top - y + patch.shape[0], left - x : left - x + patch.shape[1]]
    turn = rng.uniform(0, math.pi)
    along = (math.cos(turn) * u + math.sin(turn) * v).astype(np.float32) * (math.exp(-stretch) / unit)
    across = (math.cos(turn) * v - math.sin(turn) * u).astype(np.float32) * (math.exp(stretch) / unit)
    distance2 = (along**2 + across**2) * (1 + 0.13 * noise(patch.shape, 0.9 * unit, rng))
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
        ellipse(mask, np.zeros(2), (unit, unit * rng.uniform(0.6, 1)), rng.uniform(0, 180))
        cover = blur(mask, 0.25 * unit) * (1 + 0.35 * noise(mask.shape, 0.5 * unit, rng))
        around = smear[:, y - reach : y + reach, x - reach : x + reach]
        around[Stain.CHROMATIN] += rng.uniform(0.2, 0.5) * cover
        around[Stain.AZURE] += rng.uniform(0.1, 0.4) * cover


def _photograph(smear: Floats, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """The smear as the camera records it; stain, lamp, focus and sensor noise vary from picture to picture."""
    hues = rng.lognormal(0, 0.1, (len(Stain), 1)) * rng.lognormal(0, 0.06, (len(Stain), 3))
    strength = rng.lognormal(0, 0.16) * (rng.uniform(0.6, 0.8) if rng.random() < 0.1 else 1)
    maps = [cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in smear]
    light = np.exp(-np.stack(maps, -1) @ (ABSORBANCE * hues * strength).astype(np.float32))
    exposure = np.clip(rng.normal(1, 0.06), 0.85, 1.12)
    light *= (exposure * np.array([214, 209, 199]) * rng.normal(1, 0.01, 3)).astype(np.float32)
    light *= 1 + 0.02 * noise((size[1], size[0]), max(size), rng)[..., None]
    light = blur(light, rng.uniform(1.6, 3.2) if rng.random() < 0.12 else rng.uniform(0.4, 1))
    light += rng.uniform(1.5, 5) * blur(rng.standard_normal(light.shape, np.float32), 0.6)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)
