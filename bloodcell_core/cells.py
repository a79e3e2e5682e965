"""Finds white cells by the stain of their nuclei (bloodcell_core.stain).

The size of a nucleus and the gaps between its lobes are measured in radii of the red cells beside it, which have the
same size in every smear. So the search works at any magnification, and tells platelets from nuclei and the lobes of one
cell from two cells that touch.

Measured in benchmarks/bench_cells.py; the figures and their limits are in docs/cell-finder.md.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from bloodcell_core.stain import MEASURING_SIDE, Stain, shrinks_evenly, stain_of

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in the picture's pixels; x1 and y1 are just outside."""

# The search for red cells
FINER_SIDE = 960  # pixels, for fields whose red cells are too small in a picture of MEASURING_SIDE
FINEST_SIDE = 3840  # pixels, where they are too small even in that: then only FINER_SIDE in the middle are searched
RED_RADII = np.geomspace(8, 36, 12)  # pixels that are tried, each 15% more than the last
MIN_SLOPE = 2.0  # grey values per pixel, at a red cell's edge
MIN_CIRCLE = 0.55  # of a circle's edge must be seen for a red cell
SURE_CIRCLE = 1.0  # mean of the three best circles from which the radius is reliable
SEARCH_RADIUS = 18.0  # pixels to which red cells are shrunk before nuclei are searched for
USUAL_RADIUS = 0.1  # of the picture's shorter side, assumed where no red cell is seen

# Nuclei: lengths in radii of a red cell, areas in areas of one
MAX_NUCLEUS_RADIUS = 2.5  # of the largest nucleus as a disc: at a smaller radius of red cells it would be larger
LOBE_AREA = 0.05
MIN_NUCLEUS_AREA, MIN_NUCLEUS_AREA_UNSURE = 0.5, 0.2  # platelets are smaller than the first
MAX_NUCLEUS_AREA = 12.0
MAX_EXTENT = 2.6  # radius of the circle around a nucleus with all its lobes
MAX_GAP = 0.9  # between a nucleus's lobes
MAX_GAP_BRIGHTNESS = 0.85  # of the background's: between lobes lies cytoplasm, between cells background
MAX_SOLIDITY = 0.94  # area over that of the convex hull: nuclei that touch have a waist

MIN_AREA, MAX_AREA = 0.002, 0.8  # of the picture, where no red cell is seen
MIN_SHARE = 0.25  # of the largest nucleus, there and where the radius is unsure: specks of stain are smaller

USUAL_NUCLEUS = 3.4  # its longer side, in radii of a red cell


class Cell(NamedTuple):
    """A white cell that was found, in pixels of the picture."""

    box: Box
    """Bounding box of the nucleus with all its lobes."""
    area: float
    """Of the nucleus, in pixels of the picture."""
    mask: np.ndarray
    """bool, the box's height × width: where the nucleus is."""


class Found(NamedTuple):
    """What a search finds in a picture."""

    cells: list[Cell]
    """Largest nucleus first; empty where there is no white cell."""
    red_radius: float | None
    """Of the red cells, in the picture's pixels; None where none is seen clearly."""
    stain: Stain | None = None
    """`measured_stain` of the picture; None where the search's own shrinking would have rounded its size otherwise."""


class _Scale(NamedTuple):
    red_radius: float
    """Of a red cell, in pixels."""
    sure: bool
    seen: bool
    """False where no red cell is seen and `red_radius` is a guess."""


class _Seen(NamedTuple):
    """The stain of a picture and its connected components."""

    stain: Stain
    labels: np.ndarray
    """uint16 or int32 H×W, the number of the component that a pixel belongs to; 0 where there is no stain."""
    parts: np.ndarray
    """int32 (N, 5): x, y, width, height and area of each component; the first is what isn't stained."""


class _Lobe(NamedTuple):
    outline: np.ndarray
    """int32 (N, 2), x and y."""
    corner: tuple[int, int]
    """x and y of the mask's upper left corner."""
    mask: np.ndarray
    """uint8, the bounding box's height × width, 1 where the lobe is."""
    area: int
    """In pixels."""


def find_cells(picture: np.ndarray) -> list[Cell]:
    """The white cells of a picture or field (uint8 H×W×3 RGB) of any size, largest nucleus first; may be empty."""
    return search(picture).cells


def search(picture: np.ndarray) -> Found:
    """The white cells of a picture or field (uint8 H×W×3 RGB) of any size, and how large its red cells are."""
    shrunk, scale, measured, first = _scale_of(picture)
    by = min(1.0, shrunk * SEARCH_RADIUS / scale.red_radius)
    radius = scale.red_radius * by / shrunk
    seen = measured if measured and by == shrunk else _see(shrink(picture, by))
    disc = np.pi * radius**2
    nuclei = _join(_lobes(seen, radius), radius, seen.stain)
    areas = [sum(lobe.area for lobe in nucleus) for nucleus in nuclei]
    if scale.seen:
        low = (MIN_NUCLEUS_AREA if scale.sure else MIN_NUCLEUS_AREA_UNSURE) * disc
        high = MAX_NUCLEUS_AREA * disc
    else:
        low, high = MIN_AREA * seen.labels.size, MAX_AREA * seen.labels.size
    if not scale.sure:
        low = max(low, MIN_SHARE * max(areas, default=0))
    found = [
        _cell(nucleus, area, by, picture.shape)
        for nucleus, area in zip(nuclei, areas, strict=True)
        if low <= area <= high
    ]
    return Found(
        sorted(found, key=lambda cell: -cell.area),
        scale.red_radius / shrunk if scale.sure else None,
        first if shrinks_evenly(*picture.shape[:2]) else None,
    )


class Place(NamedTuple):
    """Where the white cell of a picture is: the cell view is cut around it."""

    box: Box | None
    """Bounding box of its largest nucleus; None where no white cell is found."""
    red_radius: float | None
    """Of the picture's red cells, in its pixels; None where none is seen clearly."""


def find_place(picture: np.ndarray) -> Place:
    """Where the largest white cell of a picture (uint8 H×W×3 RGB) is."""
    found = search(picture)
    return Place(found.cells[0].box if found.cells else None, found.red_radius)


def _cell(nucleus: list[_Lobe], area: int, by: float, shape: tuple[int, ...]) -> Cell:
    """A nucleus that was found in a picture shrunk `by` a factor, in the original picture's pixels (its `shape`)."""
    x0, y0 = (min(lobe.corner[axis] for lobe in nucleus) for axis in (0, 1))
    x1, y1 = (max(lobe.corner[axis] + lobe.mask.shape[1 - axis] for lobe in nucleus) for axis in (0, 1))
    small = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for lobe in nucleus:
        x, y = lobe.corner[0] - x0, lobe.corner[1] - y0
        small[y : y + lobe.mask.shape[0], x : x + lobe.mask.shape[1]] |= lobe.mask
    left, top = round(x0 / by), round(y0 / by)
    right, bottom = min(shape[1], round(x1 / by)), min(shape[0], round(y1 / by))
    mask = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    return Cell((left, top, right, bottom), area / by**2, mask.astype(bool))


def shrink(picture: np.ndarray, by: float) -> np.ndarray:
    """The picture with its sides `by` times as long; as it is for a factor of 1 or more."""
    height, width = picture.shape[:2]
    size = max(1, round(width * by)), max(1, round(height * by))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if by < 1 else picture


def _see(picture: np.ndarray) -> _Seen:
    stain = stain_of(picture)
    # 16 bits take a third of the time. They suffice: after the opening a component and its gap take at least 12 pixels.
    numbers = cv2.CV_16U if stain.nuclei.size < 12 * 65_000 else cv2.CV_32S
    _, labels, parts, _ = cv2.connectedComponentsWithStats(stain.nuclei, ltype=numbers)
    return _Seen(stain, labels, parts)


# The scale: how large red cells are


def _scale_of(picture: np.ndarray) -> tuple[float, _Scale, _Seen | None, Stain]:
    """The factor by which the picture was shrunk, the radius of its red cells at that size, its stain there (None where
    only the middle was searched), and its stain at MEASURING_SIDE.
    """
    longer, shorter = max(picture.shape[:2]), min(picture.shape[:2])
    for side in (MEASURING_SIDE, FINER_SIDE):
        shrunk = min(1.0, side / longer)
        seen = _see(shrink(picture, shrunk))
        if side == MEASURING_SIDE:
            first = seen.stain
        scale = _measure_red_cells(seen)
        if scale and (scale.red_radius > RED_RADII[1] or shrunk == 1):
            return shrunk, scale, seen, first
        if shrunk == 1:  # the picture has no finer detail
            break
    else:
        finest = min(1.0, FINEST_SIDE / longer)
        scale = _measure_red_cells(_see(shrink(_middle(picture, round(FINER_SIDE / finest)), finest)))
        if scale and scale.sure:
            return finest, scale, None, first
    return shrunk, _Scale(max(1.0, USUAL_RADIUS * shorter * shrunk), sure=False, seen=False), seen, first


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(0, (along - side) // 2) for along in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _measure_red_cells(seen: _Seen) -> _Scale | None:
    """The radius at which most edges lie on circles that are darker inside.

    Each edge pixel votes for the point one radius away, towards the darker side; the points with many votes are centres
    of red cells, even where they overlap (after the fast radial symmetry transform of Loy and Zelinsky, 2003).
    """
    stain = seen.stain
    slope_x = cv2.Sobel(stain.green, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(stain.green, cv2.CV_32F, 0, 1, scale=1 / 8)
    # Not cv2.magnitude: its last digit depends on where the array lies in memory, and votes depend on that digit.
    steep = np.sqrt(slope_x * slope_x + slope_y * slope_y)
    steep[cv2.dilate(stain.nuclei | ~stain.lit, np.ones((7, 7), np.uint8)) > 0] = 0
    steepest = percentile(steep[::2, ::2], 85)  # a quarter of the pixels gives it as well
    places = np.flatnonzero(steep > max(MIN_SLOPE, steepest))
    if not len(places):
        return None
    # In float64, like x and y: else they would be converted anew for each radius.
    steep_there = steep.ravel()[places]
    down_x, down_y = ((-slope.ravel()[places] / steep_there).astype(np.float64) for slope in (slope_x, slope_y))
    y, x = (along.astype(np.float64) for along in np.divmod(places, steep.shape[1]))
    largest = np.sqrt(seen.parts[1:, cv2.CC_STAT_AREA].max(initial=0) / np.pi)

    @cache
    def from_nucleus() -> np.ndarray:
        """Pixels to the nearest nucleus. A white cell is round, too: circles around nuclei don't count."""
        return cv2.distanceTransform(1 - stain.nuclei, cv2.DIST_L2, 3)

    scores, bests = np.zeros(len(RED_RADII)), np.zeros(len(RED_RADII))

    def look(place: int) -> None:
        """Sets the score of one radius, and how complete its three best circles are."""
        radius = RED_RADII[place]
        if largest > MAX_NUCLEUS_RADIUS * radius:
            return
        # Votes are counted per pixel; for large circles per 2×2 pixels: half the time, and the same radius.
        square = 1 if radius < 12 else 2
        height, width = (-(-side // square) for side in steep.shape)
        to_x = ((x + down_x * radius) / square).astype(np.int32)
        to_y = ((y + down_y * radius) / square).astype(np.int32)
        # As unsigned numbers negative ones are beyond every border, too.
        inside = (to_x.view(np.uint32) < width) & (to_y.view(np.uint32) < height)
        votes = np.bincount((to_y * width + to_x)[inside], minlength=height * width).reshape(height, width)
        # The votes around a point over the circle's length: the share of a whole circle.
        spread = max(1.0, 0.1 * radius) / square
        around = cv2.GaussianBlur(votes.astype(np.float32), (0, 0), spread)
        if around.max() * (spread**2 / radius) <= MIN_CIRCLE:
            return
        shares = around * (spread**2 / radius)
        apart = int(radius / square) | 1
        peaks = (shares == cv2.dilate(shares, np.ones((apart, apart), np.uint8))) & (shares > MIN_CIRCLE)
        circles = np.sort(shares[peaks & (from_nucleus()[::square, ::square] > 0.6 * radius)])
        scores[place] = (np.minimum(circles, 1.5) - MIN_CIRCLE).sum() * radius
        bests[place] = circles[-3:].mean() if len(circles) >= 3 else 0

    for place in range(1, len(RED_RADII), 2):
        look(place)
    best = int(scores.argmax())
    if not scores[best]:
        return None
    for place in {max(0, best - 1), min(len(RED_RADII) - 1, best + 1)} - {best}:
        look(place)
    best = int(scores.argmax())
    near = slice(max(0, best - 1), best + 2)
    radius = float((RED_RADII[near] * scores[near]).sum() / scores[near].sum())
    return _Scale(radius, sure=bool(bests[best] >= SURE_CIRCLE), seen=True)


# From lobes to nuclei


def _lobes(seen: _Seen, radius: float) -> list[_Lobe]:
    """The components of the stain, without specks; those too large for one nucleus are cut at their waists."""
    lobes = []
    for label, (x, y, width, height, area) in enumerate(seen.parts):
        if label and area >= LOBE_AREA * np.pi * radius**2:
            part = (seen.labels[y : y + height, x : x + width] == label).view(np.uint8)
            lobes += [_lobe(piece, int(x), int(y)) for piece in _cut_at_waists(part, radius)]
    return lobes


def _lobe(piece: np.ndarray, x: int, y: int) -> _Lobe:
    """The lobe of a mask (uint8, 1 where it is) whose corner lies at x and y."""
    outline = _outline(piece)
    left, top, width, height = cv2.boundingRect(outline)
    mask = piece[top : top + height, left : left + width]
    return _Lobe(outline + np.array((x, y), np.int32), (x + left, y + top), mask, cv2.countNonZero(piece))


def _outline(part: np.ndarray) -> np.ndarray:
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate(outlines)[:, 0]


def _cut_at_waists(part: np.ndarray, radius: float) -> list[np.ndarray]:
    outline = _outline(part)
    if _extent(outline) <= MAX_EXTENT * radius:
        return [part]
    if cv2.countNonZero(part) > MAX_SOLIDITY * cv2.contourArea(cv2.convexHull(outline)):
        return [part]
    depth = cv2.distanceTransform(cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)
    cores = (depth > max(0.3 * radius, 0.5 * float(depth.max()))).astype(np.uint8)
    # Each pixel goes to the core that is nearest to it.
    _, nearest = cv2.distanceTransformWithLabels(1 - cores, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    nearest = np.where(part > 0, nearest[1:-1, 1:-1], 0)
    return [(nearest == core).astype(np.uint8) for core in np.unique(nearest[nearest > 0])]


def _extent(outline: np.ndarray) -> float:
    return float(cv2.minEnclosingCircle(outline.astype(np.float32))[1])


def _join(lobes: list[_Lobe], radius: float, stain: Stain) -> list[list[_Lobe]]:
    """The lobes of each nucleus: those that are close and have no background between them, the closest joined first."""
    if len(lobes) < 2:
        return [lobes] if lobes else []
    low = np.array([lobe.outline.min(axis=0) for lobe in lobes])
    high = np.array([lobe.outline.max(axis=0) for lobe in lobes])
    brightness = MAX_GAP_BRIGHTNESS * percentile(stain.green[stain.lit], 90)
    close = []
    for one in range(len(lobes)):
        boxes_apart = np.maximum(low[one] - high[:one], low[:one] - high[one]).max(axis=1, initial=0)
        for other in np.nonzero(boxes_apart <= MAX_GAP * radius)[0].tolist():
            gap, between = _gap(lobes[one].outline, lobes[other].outline)
            if gap <= MAX_GAP * radius and stain.green[between[:, 1], between[:, 0]].max() <= brightness:
                close.append((gap, one, other))
    groups = {place: [place] for place in range(len(lobes))}
    for _, one, other in sorted(close):
        if groups[one] is not groups[other]:
            members = groups[one] + groups[other]
            if _extent(np.concatenate([lobes[place].outline for place in members])) <= MAX_EXTENT * radius:
                groups |= dict.fromkeys(members, members)
    whole = {id(members): members for members in groups.values()}.values()
    return [[lobes[place] for place in members] for members in whole]


def _gap(one: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray]:
    """The shortest line between two outlines: its length, and 12 points on it, int64 (12, 2)."""
    one, other = one[:: max(1, len(one) // 80)], other[:: max(1, len(other) // 80)]
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)
    a, b = np.unravel_index(distances.argmin(), distances.shape)
    return float(distances[a, b]), np.linspace(one[a], other[b], 12).round().astype(np.int64)


def percentile(values: np.ndarray, percent: int) -> float:
    """`np.percentile` of an array, the same to the last digit but faster: it matters for the speed of one answer."""
    return float(percentiles(values.ravel(), percent))


def percentiles(rows: np.ndarray, percent: int) -> np.ndarray:
    """The `percentile` of each column: (N, K) gives (K,)."""
    place = (len(rows) - 1) * (percent / 100)
    low, high = int(place), min(int(place) + 1, len(rows) - 1)
    lower, upper = np.partition(rows, (low, high), axis=0)[[low, high]]
    part = place - low
    # NumPy's formula, in its types: whole numbers stay below 256, floats keep their precision.
    between: np.ndarray = lower + (upper - lower) * part if part < 0.5 else upper - (upper - lower) * (1 - part)
    return between
