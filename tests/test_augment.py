"""Changes to training pictures: equal to torchvision's where it has them, each within its limits, seeded."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import functional as reference
from torchvision.transforms.v2 import functional as v2

from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.training import augment as module
from bloodcell_core.training.augment import AUGMENTATIONS, augment, augments

ALL = {"flips": 0.5, "rotation": 180, "zoom": 0.2, "shift": 0.1, "stain": 0.2, "light": 0.2, "blur": 1.5, "erase": 0.5}


def config(**values: float) -> TrainConfig:
    return TrainConfig(**PLAIN | {"data": "demo", "model": "basic_cnn"} | values)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    """Smooth ones: resampling noise tells nothing about where it went."""
    coarse = torch.rand(count, 3, 5, 5, generator=seeded(seed))
    assert coarse.std() > 0.1, "flat pictures prove nothing: make them before `draws`"
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True).clamp(0.05, 0.95)


def draws(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Every even draw between -1 and 1 is this value; no picture is mirrored."""
    monkeypatch.setattr(module, "_spread", lambda shape, generator: torch.full(shape, value))
    monkeypatch.setattr(module.torch, "rand", lambda *shape, generator: torch.ones(*shape))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_field_changes_pictures_and_keeps_their_range(name: str):
    before = pictures()
    kept = before.clone()
    after = augment(before, config(**{name: ALL[name]}), seeded(1))
    assert augments(config(**{name: ALL[name]}))
    assert after.shape == before.shape
    assert not torch.equal(after, before)
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(before, kept)


def test_without_any_nothing_changes():
    assert not augments(config())
    assert torch.equal(augment(pictures(), config(), seeded()), pictures())


def test_a_seed_tells_every_change_and_pictures_have_their_own():
    one = pictures(1).repeat(8, 1, 1, 1)
    first, again, other = (augment(one, config(**ALL), seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({picture.numpy().tobytes() for picture in first}) == 8


@pytest.mark.parametrize("angle", [-180, -90, -37, 0, 20, 90])
@pytest.mark.parametrize("zoom", [0.0, 0.25])
def test_turning_and_zooming_are_torchvision_s(monkeypatch: pytest.MonkeyPatch, angle: float, zoom: float):
    before = pictures()
    draws(monkeypatch, 1.0 if angle >= 0 else -1.0)
    after = augment(before, config(rotation=abs(angle), zoom=zoom), seeded())
    factor = (1 + zoom) ** (1 if angle >= 0 else -1)
    bilinear = reference.InterpolationMode.BILINEAR
    wanted = reference.affine(before, -angle, [0, 0], factor, [0.0], bilinear)
    middle = slice(11, 21)  # outside it the two fill in what was not seen in ways of their own
    torch.testing.assert_close(after[:, :, middle, middle], wanted[:, :, middle, middle], atol=1e-4, rtol=0)


BILINEAR = reference.InterpolationMode.BILINEAR
ONE_BY_ONE: dict[str, tuple[float, Callable[[Tensor], Tensor], float]] = {
    "rotation": (30, lambda picture: v2.rotate(picture, 30, BILINEAR), 0.2),
    "zoom": (0.25, lambda picture: v2.affine(picture, 0, [0, 0], 1.25, [0, 0], BILINEAR), 0.05),
    "shift": (
        0.1,
        lambda picture: v2.affine(picture, 0, [-0.1 * picture.shape[-1]] * 2, 1, [0, 0], BILINEAR),
        0.13,
    ),
    "light": (0.3, lambda picture: v2.adjust_brightness(picture, 1.3), 0),
    "blur": (1.5, lambda picture: v2.gaussian_blur(picture, [7, 7], [1.5, 1.5]), 0.1),
}
"""Of each field: its value, torchvision's own function, and the share at each edge that the two fill in otherwise."""


@pytest.mark.parametrize("size", [32, 97])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_on_a_single_picture_each_field_is_torchvision_s(monkeypatch: pytest.MonkeyPatch, name: str, size: int):
    """Within 1e-4 of a full scale of 1: the two compute the same places in another order."""
    value, wanted, edge = ONE_BY_ONE[name]
    (before,) = pictures(1, size)
    draws(monkeypatch, 1.0)
    (after,) = augment(before[None], config(**{name: value}), seeded())
    inside = slice(math.ceil(edge * size), size - math.ceil(edge * size))
    there = wanted(before)[:, inside, inside]
    assert (there - before[:, inside, inside]).abs().max() > 0.01
    torch.testing.assert_close(after[:, inside, inside], there, atol=1e-4, rtol=0)


def test_what_is_erased_is_what_torchvision_erases():
    for before, after in zip(pictures(20), augment(pictures(20), config(erase=1), seeded()), strict=True):
        rows, columns = ((after != before).any(0).any(axis).nonzero().ravel() for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        wanted = v2.erase(before, top, left, len(rows), len(columns), torch.tensor(0.5))
        assert torch.equal(after, wanted)


def test_mirrored_pictures_are_torchvision_s():
    before = pictures()
    torch.testing.assert_close(augment(before, config(flips=1), seeded()), reference.hflip(before), atol=1e-5, rtol=0)


def test_about_the_share_asked_for_is_mirrored():
    before = pictures(1).repeat(400, 1, 1, 1)
    after = augment(before, config(flips=0.3), seeded())
    mirrored = (after - reference.hflip(before)).abs().amax((1, 2, 3)) < 1e-4
    assert 0.2 < mirrored.float().mean() < 0.4


def test_a_shift_moves_by_whole_pixels(monkeypatch: pytest.MonkeyPatch):
    before = pictures()
    draws(monkeypatch, 1.0)
    after = augment(before, config(shift=4 / 32), seeded())
    torch.testing.assert_close(after[:, :, :-4, :-4], before[:, :, 4:, 4:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("draw", [-1.0, 0.5, 1.0])
def test_light_is_torchvision_s(monkeypatch: pytest.MonkeyPatch, draw: float):
    before = pictures()
    draws(monkeypatch, draw)
    wanted = reference.adjust_brightness(before, 1 + 0.3 * draw)
    torch.testing.assert_close(augment(before, config(light=0.3), seeded()), wanted)


def test_blur_is_torchvision_s(monkeypatch: pytest.MonkeyPatch):
    before = pictures()
    draws(monkeypatch, 1.0)
    after = augment(before, config(blur=1.5), seeded())
    wanted = reference.gaussian_blur(before, [7, 7], [1.5, 1.5])
    torch.testing.assert_close(after[:, :, 3:-3, 3:-3], wanted[:, :, 3:-3, 3:-3], atol=1e-5, rtol=0)


def test_a_stain_by_itself_is_taken_up_more(monkeypatch: pytest.MonkeyPatch):
    """A picture of one stain alone stays in that stain's colours: only its absorbance grows."""
    draws(monkeypatch, 1.0)
    amounts = torch.linspace(0.1, 0.9, 32 * 32).view(1, 1, 32, 32)
    for stain in module.STAINS:
        colour = torch.tensor(stain).view(1, 3, 1, 1)
        after = augment(torch.exp(-amounts * colour), config(stain=0.5), seeded())
        torch.testing.assert_close(after, torch.exp(-1.5 * amounts * colour), atol=1e-4, rtol=0)


def test_white_stays_white_and_black_finite():
    white, black = torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    torch.testing.assert_close(augment(white, config(stain=0.9), seeded()), white)
    assert torch.isfinite(augment(black, config(stain=0.9), seeded())).all()


def test_what_is_erased_is_a_grey_rectangle_of_a_bounded_size():
    before = pictures(200)
    after = augment(before, config(erase=0.5), seeded())
    changed = (after != before).any(1)
    assert (after.permute(0, 2, 3, 1)[changed] == 0.5).all()
    hit = changed.flatten(1).any(1)
    assert 0.4 < hit.float().mean() < 0.6
    for hidden in changed[hit]:
        rows, columns = (hidden.any(axis).nonzero().ravel() for axis in (1, 0))
        assert int(hidden.sum()) == len(rows) * len(columns) <= 0.3 * 32 * 32


def test_a_full_turn_keeps_the_middle_and_the_mean():
    before = pictures(64)
    after = augment(before, config(rotation=180), seeded())
    assert float(after.mean()) == pytest.approx(float(before.mean()), abs=0.02)
    assert math.isclose(float((after - before).abs()[:, :, 15:17, 15:17].mean()), 0, abs_tol=0.05)


class Copies(TorchDispatchMode):
    """Hears of copies to another device, whether the host waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") != args[0].device:
            self.waits.append(not kwargs.get("non_blocking"))
        return func(*args, **(kwargs or {}))


def test_the_host_does_not_wait_for_the_device_to_hand_it_its_draws() -> None:
    """A copy that is waited for waits for all that the device was given before: the steps would not overlap."""
    with Copies() as copies:
        augment(torch.empty(4, 3, 32, 32, device="meta"), config(**ALL), seeded())
    assert copies.waits == [False] * 5
