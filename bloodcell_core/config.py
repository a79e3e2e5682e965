"""TrainConfig: every hyper-parameter, defined once.

The command line's flags and the page's form are generated from these fields and their help, so a new hyper-parameter
is one field here. Frozen, validated on construction, stored as JSON in the run's folder.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bloodcell_core.crops import BORDERS, COLOURS, DEFAULT_CROP, VIEWS, Crop
from bloodcell_core.errors import LabError
from bloodcell_core.words import listed


def _field(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = True,
    group: str,
) -> Any:
    return field(
        default=default,
        metadata={"help": help, "low": low, "high": high, "choices": choices, "advanced": advanced, "group": group},
    )


# The groups in which the page's form shows the settings
SIGHT, LEARNING, AUGMENTATION = "What it sees", "How it learns", "Training pictures, changed"
RESTRAINT, TRANSFER, RUN = "Against overfitting", "Pretrained networks", "This run"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything needed to repeat a training. Raises LabError for a value of the wrong type or outside its range.

    The defaults of augmentation and optimisation were chosen by measurement (docs/experiments.md, "What each setting is
    worth"); `PLAIN` has those of the original analysis.
    """

    data: str = _field(help="Dataset to train on, by name.", advanced=False, group=RUN)
    model: str = _field(help="Network to train, by name, or timm/<name> for one of timm's.", advanced=False, group=RUN)
    view: str = _field(
        "frame",
        choices=VIEWS,
        advanced=False,
        help="What the network sees: 'frame' is the whole picture resized, as the original analysis did; "
        "'cell' is a square cut around the white cell.",
        group=RUN,
    )
    size: int = _field(96, low=32, high=512, help="Side of the square that the network sees, in pixels.", group=SIGHT)
    crop_scale: float = _field(
        DEFAULT_CROP.scale, low=0.5, high=10, group=SIGHT,
        help="Cell view: side of the square, as a multiple of the nucleus's longer side.",
    )  # fmt: skip
    crop_margin: float = _field(
        DEFAULT_CROP.margin, low=0, high=20, group=SIGHT,
        help="Cell view: what is added to the side of the square, in radii of a red cell.",
    )  # fmt: skip
    crop_border: str = _field(
        DEFAULT_CROP.border,
        choices=BORDERS,
        help="Cell view: what lies outside the picture is its edge repeated, the picture mirrored, the colour of its "
        "background, or black.",
        group=SIGHT,
    )
    colours: str = _field(
        DEFAULT_CROP.colours,
        choices=COLOURS,
        help="As photographed, or balanced: empty glass, red cells and nuclei get the same colours in all pictures, "
        "whatever their lamp, camera and stain.",
        group=SIGHT,
    )
    epochs: int = _field(
        10,
        low=1,
        high=1000,
        advanced=False,
        help="Passes through the training pictures, or through as many of them as 'pictures per epoch' says.",
        group=LEARNING,
    )
    pictures_per_epoch: int = _field(
        0,
        low=0,
        high=10_000_000,
        help="Training pictures per epoch, drawn anew each time; 0 means all of them.",
        group=LEARNING,
    )
    batch_size: int = _field(32, low=1, high=8192, help="Pictures per optimizer step.", group=LEARNING)
    optimizer: str = _field(
        "adam", choices=("adam", "adamw"), help="Both are Adam; 'adamw' decouples the weight decay.", group=LEARNING
    )
    learning_rate: float | None = _field(
        None,
        low=1e-7,
        high=1.0,
        help="Step size of the optimizer; left empty it is the network's own default.",
        group=LEARNING,
    )
    schedule: str = _field(
        "one-cycle",
        choices=("constant", "one-cycle"),
        help="How the step size changes: not at all, or up for a seventh of the run and then down to zero.",
        group=LEARNING,
    )
    weight_decay: float = _field(
        0.0, low=0.0, high=1.0, help="How strongly weights are pulled towards zero.", group=RESTRAINT
    )
    dropout: float | None = _field(
        None,
        low=0,
        high=0.9,
        help="Share of the last layers' inputs that is dropped at each step; left empty it is the network's own.",
        group=RESTRAINT,
    )
    width: float = _field(
        1.0,
        low=0.25,
        high=4,
        help="Channels of the network, as a multiple of its own: fewer are faster and memorise less.",
        group=RESTRAINT,
    )
    flips: float = _field(
        0.5, low=0, high=1, help="Share of the pictures that are mirrored, drawn anew each time.", group=AUGMENTATION
    )
    rotation: float = _field(
        180.0, low=0, high=180, help="Pictures are rotated by up to this many degrees either way.", group=AUGMENTATION
    )
    zoom: float = _field(
        0.15, low=0, high=1, help="Pictures are zoomed by up to this, in or out; 0.1 is 10%.", group=AUGMENTATION
    )
    shift: float = _field(
        0.08, low=0, high=0.5, help="Pictures are shifted by up to this share of their side.", group=AUGMENTATION
    )
    stain: float = _field(
        0.15,
        low=0,
        high=1,
        help="Each stain is made stronger or weaker by up to this; 0.2 is 20% of its absorbance.",
        group=AUGMENTATION,
    )
    light: float = _field(
        0.1, low=0, high=1, help="Pictures are made lighter or darker by up to this; 0.1 is 10%.", group=AUGMENTATION
    )
    blur: float = _field(
        0.0, low=0, high=5, help="Pictures are blurred by a Gaussian of up to this many pixels.", group=AUGMENTATION
    )
    erase: float = _field(
        0.0, low=0, high=1, help="Share of the pictures in which a rectangle is greyed out.", group=AUGMENTATION
    )
    label_smoothing: float = _field(
        0.05,
        low=0,
        high=0.5,
        help="Share of each label that is spread over all classes, so that the network is less overconfident.",
        group=RESTRAINT,
    )
    mixup: float = _field(
        0.0,
        low=0,
        high=2,
        help="Pictures are blended in pairs, and so are their labels; the larger, the more even the blend.",
        group=AUGMENTATION,
    )
    clip_norm: float = _field(
        0.0, low=0, high=1000, help="Gradients of a larger norm are scaled down to this; 0 is off.", group=LEARNING
    )
    averaging: float = _field(
        0.98,
        low=0,
        high=0.9999,
        help="Keeps a running mean of the weights: at each step this share of it, the rest of the newest. 0 is off.",
        group=LEARNING,
    )
    balance: str = _field(
        "none",
        choices=("none", "class", "photo", "class and photo"),
        help="What is shown equally often: every picture, every class, every source photo, or every class and within "
        "a class every photo.",
        group=LEARNING,
    )
    patience: int = _field(
        0,
        low=0,
        high=1000,
        help="The run ends after this many epochs without a lower validation loss; 0 never ends it early.",
        group=LEARNING,
    )
    frozen_epochs: int | None = _field(
        None,
        low=0,
        high=1000,
        help="Epochs at the start in which only the last layer learns. Left empty: 1 from pretrained weights, else 0.",
        group=TRANSFER,
    )
    body_rate: float | None = _field(
        None,
        low=0,
        high=1,
        help="Step size of all other layers, as a share of the last layer's. Left empty: 0.2 from pretrained weights, "
        "else 1.",
        group=TRANSFER,
    )
    labels: str = _field(
        "",
        help="Reviewed labels that replace the dataset's own in training and validation, as NAME or NAME@VERSION; the "
        "test split keeps its own. Left empty: none.",
        group=RUN,
    )
    refuse: str = _field(
        "",
        help="Classes of the dataset that the run isn't to name, comma-separated, such as other kinds of cells: the "
        "network learns them as one class, and what it takes for that class is called unlike. A name that has a comma "
        "itself stands in quotation marks. Left empty: none.",
        group=RUN,
    )
    validation_fraction: float = _field(
        0.15,
        low=0.01,
        high=0.5,
        help="Share of the training photos held back to choose the best epoch; split by source photo where known, all "
        "photos of one cell together. Unused where the dataset has a validation split of its own.",
        group=RUN,
    )
    folds: int = _field(
        0,
        low=0,
        high=100,
        help="Folds into which the dataset is divided by source photo, instead of its own splits: one is the test "
        "split, the others are trained on. 0 keeps the dataset's own splits.",
        group=RUN,
    )
    fold: int = _field(1, low=1, high=100, help="The fold that is tested on, where there are folds.", group=RUN)
    fold_over: str = _field(
        "all",
        choices=("all", "train"),
        help="What is divided into folds: the whole dataset, or all but its own test split, which is then left unread.",
        group=RUN,
    )
    seed: int = _field(
        0,
        low=0,
        high=2**31 - 1,
        help="Fixes the folds, the validation split, the first weights and the order of pictures.",
        group=RUN,
    )
    weights: str = _field(
        "default",
        help="First weights: 'default' is ImageNet's for a pretrained network, 'none' starts at random, "
        "anything else is the path of a weights file (.safetensors or .pth).",
        group=RUN,
    )
    compile: str = _field(
        "no",
        choices=("no", "yes"),
        help="Let torch.compile make the network faster: costs a minute at the start, pays off in long runs on a GPU.",
        group=RUN,
    )
    too_large: str = _field(
        "stop",
        choices=("stop", "split"),
        help="What to do with a batch that doesn't fit in the device's memory: stop and say which size would, or "
        "process each batch in parts.",
        group=RUN,
    )
    device: str = _field("auto", help="auto, cpu, cuda or cuda:N. 'auto' takes CUDA where available.", group=RUN)

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))

    @property
    def crop(self) -> Crop:
        """How a view is cut out, and in which colours."""
        return Crop(self.crop_scale, self.crop_margin, self.crop_border, self.colours)

    @property
    def sight(self) -> tuple[str, int, Crop]:
        """What the network sees, in the order in which `data.views` takes it: the view, its size and its crop."""
        return self.view, self.size, self.crop

    @property
    def refused(self) -> list[str]:
        """The classes that the run isn't to name."""
        return listed(self.refuse)

    @property
    def fold_words(self) -> str:
        """The fold that is tested on, as '2 of 5'; '' where that is the dataset's own test split."""
        return f"{self.fold} of {self.folds}" if self.folds else ""

    def to_json(self) -> dict[str, Any]:
        """All fields by name, for `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainConfig:
        """A config of `values`; LabError names a field that is unknown, missing or invalid."""
        unknown, missing = _unknown_and_missing(values)
        if unknown:
            raise LabError(f"no setting is called {unknown[0]!r}: there are {', '.join(fields())}")
        if missing:
            raise LabError(f"settings are missing: {', '.join(missing)}")
        return cls(**values)


def check_version(values: Any, what: str) -> None:
    """LabError where the settings of `what`, such as "run 'x'", have names of another version of this program."""
    unknown, missing = _unknown_and_missing(values) if isinstance(values, dict) else ([], [])
    if unknown or missing:
        told = f"doesn't know its setting {unknown[0]!r}" if unknown else f"misses its setting {missing[0]!r}"
        raise LabError(f"{what} was made by another version of this program and can't be read: this one {told}")


def _unknown_and_missing(values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names in `values` that no setting has, and the required settings that `values` lacks."""
    needed = (name for name, spec in fields().items() if spec.default is dataclasses.MISSING)
    return [name for name in values if name not in fields()], [name for name in needed if name not in values]


@functools.cache  # a page reads hundreds of configs, and each is checked field by field
def fields() -> Mapping[str, dataclasses.Field[Any]]:
    """The fields of TrainConfig by name; `metadata` holds help, low, high, choices, advanced and group."""
    return types.MappingProxyType({spec.name: spec for spec in dataclasses.fields(TrainConfig)})


_TYPES: dict[str, type] = {"int": int, "float": float, "str": str}
_WORDS = {int: "a whole number", float: "a number", str: "a word"}


def field_type(name: str) -> type:
    """A field's type: int, float or str; for `float | None` it is float."""
    return _TYPES[str(fields()[name].type).removesuffix(" | None")]  # as it is written: annotations aren't evaluated


def optional(name: str) -> bool:
    """Whether a field may be None, which is then its default."""
    return fields()[name].default is None


def spelled_out(name: str) -> str:
    """A field's name in the page's form and in messages: `learning_rate` is "learning rate"."""
    return name.replace("_", " ")


def parse(name: str, text: str) -> Any:
    """A field's value from text on the command line; LabError where the text isn't a valid value."""
    if name not in fields():
        raise LabError(f"no setting is called {name!r}: there are {', '.join(fields())}")
    if optional(name) and text.lower() in ("", "none"):
        return None
    kind = field_type(name)
    try:
        value = kind(text)
    except ValueError:
        raise LabError(f"{spelled_out(name)} takes {_WORDS[kind]}, not {text[:40]!r}") from None
    _check(fields()[name], value)
    return value


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    if value is None and optional(spec.name):
        return
    kind, limits, name = field_type(spec.name), spec.metadata, spelled_out(spec.name)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise LabError(f"{name} takes {_WORDS[kind]}, not {value!r}")
    if limits["choices"] and value not in limits["choices"]:
        raise LabError(f"{name} is {' or '.join(limits['choices'])}, not {value!r}")
    if limits["low"] is not None and not limits["low"] <= value <= limits["high"]:  # NaN fails this too
        ends = limits["low"], limits["high"]
        low, high = (f"{limit:,}" if isinstance(limit, int) else f"{limit:g}" for limit in ends)
        raise LabError(f"{name} must lie between {low} and {high}, not {value!r}")


PLAIN: dict[str, Any] = {
    "batch_size": 32, "optimizer": "adam", "schedule": "constant", "weight_decay": 0.0, "label_smoothing": 0.0,
    "averaging": 0.0, "clip_norm": 0.0, "mixup": 0.0, "balance": "none", "patience": 0, "frozen_epochs": 0,
    "body_rate": 1.0, "flips": 0.0, "rotation": 0.0, "zoom": 0.0, "shift": 0.0, "stain": 0.0, "light": 0.0,
    "blur": 0.0, "erase": 0.0,
}  # fmt: skip
"""Training without augmentation, regularisation or a schedule, as in the original analysis."""

PRESETS: dict[str, dict[str, Any]] = {
    "original": {"view": "frame", "size": 96, "epochs": 10, "pictures_per_epoch": 0} | PLAIN,
    "quick look": {"view": "cell", "size": 64, "epochs": 8, "pictures_per_epoch": 3000},
    "balanced": {"view": "cell", "size": 96, "epochs": 12, "pictures_per_epoch": 4000},
    "best": {"view": "cell", "size": 96, "epochs": 40, "pictures_per_epoch": 0},
}
"""Named settings for the page's form and `train --preset`. `original` follows the original analysis."""
