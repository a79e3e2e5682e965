"""Changes that leave a cell what it is: turned, mirrored, moved, zoomed, stained or lit a little otherwise.

A batch at a time on the device where it lies, each picture by its own draw. All draws are made on the CPU by the
generator that is handed in, so a step draws the same on every device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bloodcell_core.config import TrainConfig

# How haematoxylin (blue), eosin (pink) and what is left absorb red, green and blue light, as rows of length 1
# (Ruifrok and Johnston 2001). Blood smears are stained by azure and eosin: near enough for a jitter.
STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
DARKEST = 1 / 255  # light that counts as none: its absorbance would be infinite


AUGMENTATIONS = ("flips", "rotation", "zoom", "shift", "stain", "light", "blur", "erase")
"""The fields of TrainConfig that ask for one, each off at 0."""


def augments(config: TrainConfig) -> bool:
    """Whether any change is asked for."""
    return any(getattr(config, name) for name in AUGMENTATIONS)


def augment(pictures: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """float (N, 3, S, S) of 0…1 → the same, changed as the config's fields say; the input is left as it is."""
    if config.flips or config.rotation or config.zoom or config.shift:
        pictures = _move(pictures, config, generator)
    if config.stain:
        pictures = _restain(pictures, config.stain, generator)
    if config.light:
        factors = 1 + config.light * _spread((len(pictures), 1, 1, 1), generator)
        pictures = (pictures * _beside(factors, pictures)).clamp(0, 1)
    if config.blur:
        pictures = _blur(pictures, config.blur, generator)
    if config.erase:
        pictures = _erase(pictures, config.erase, generator)
    return pictures


def _spread(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Evenly between -1 and 1."""
    return torch.rand(shape, generator=generator) * 2 - 1


def _beside(drawn: Tensor, pictures: Tensor) -> Tensor:
    """What was drawn on the CPU, where the pictures are. The host doesn't wait there for the steps before this one."""
    return drawn.to(pictures.device, pictures.dtype, non_blocking=True)


def _move(pictures: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Mirrors, turns, zooms and shifts in one resampling; what comes in from outside is the picture mirrored."""
    count = len(pictures)
    angle = math.radians(config.rotation) * _spread((count,), generator)
    zoom = (1 + config.zoom) ** -_spread((count,), generator)
    mirror = torch.where(torch.rand(count, generator=generator) < config.flips, -1.0, 1.0)
    shift = 2 * config.shift * _spread((count, 2), generator)  # grid_sample's side is 2 long
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    transform = torch.stack(
        [torch.stack([mirror * cos, -sin, shift[:, 0]], 1), torch.stack([mirror * sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(_beside(transform, pictures), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _restain(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Takes up more or less of each stain: absorbance (the negative logarithm of light) adds up over stains."""
    stains = torch.tensor(STAINS)
    factors = 1 + strength * _spread((len(pictures), 3), generator)
    # Light → absorbance → amounts of stain, times the factors → absorbance: one matrix a picture.
    mix = torch.linalg.inv(stains) @ torch.diag_embed(factors) @ stains
    absorbance = -torch.log(pictures.clamp(min=DARKEST))
    changed = torch.einsum("nchw,ncd->ndhw", absorbance, _beside(mix, pictures))
    return torch.exp(-changed).clamp(0, 1)


def _blur(pictures: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """A Gaussian of its own for each picture, sigma evenly from 0 to `most` pixels."""
    sigmas = most * torch.rand(len(pictures), 1, generator=generator)
    reach = max(1, math.ceil(2 * most))
    places = torch.arange(-reach, reach + 1.0)
    kernels = torch.exp(-0.5 * (places / sigmas.clamp(min=1e-3)) ** 2)
    kernels = _beside((kernels / kernels.sum(1, keepdim=True)).repeat_interleave(3, 0), pictures)
    count, channels, height, width = pictures.shape
    flat = pictures.reshape(1, count * channels, height, width)
    for shape, padding in (((1, -1), (reach, reach, 0, 0)), ((-1, 1), (0, 0, reach, reach))):
        padded = functional.pad(flat, padding, mode="replicate")
        flat = functional.conv2d(padded, kernels.view(count * channels, 1, *shape), groups=count * channels)
    return flat.reshape(pictures.shape)


def _erase(pictures: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Greys out one rectangle, a fiftieth to a fifth of the picture, in that share of the pictures."""
    count, _, height, width = pictures.shape
    area = torch.empty(count).uniform_(0.02, 0.2, generator=generator)
    stretch = torch.exp(math.log(2) * _spread((count,), generator))  # of height to width, 1:2 to 2:1
    middle = torch.rand(count, 2, generator=generator)
    taken = torch.rand(count, generator=generator) < chance
    half_height, half_width = (area * stretch).sqrt() / 2 * height, (area / stretch).sqrt() / 2 * width
    half_height[~taken] = -1
    drawn = torch.stack([middle[:, 0] * height, middle[:, 1] * width, half_height, half_width])
    y, x, half_height, half_width = _beside(drawn, pictures)[..., None]
    down = (torch.arange(height, device=pictures.device) + 0.5 - y).abs() <= half_height
    across = (torch.arange(width, device=pictures.device) + 0.5 - x).abs() <= half_width
    return pictures.masked_fill((down[:, :, None] & across[:, None, :])[:, None], 0.5)
