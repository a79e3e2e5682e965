"""bloodcell_core.models.timm_networks: any network of timm, known, built, trained, and told of where it can't be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from bloodcell_core.config import TrainConfig
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.inference.embedding import Embedder
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.models import model_info, timm_networks
from bloodcell_core.models.costs import cost
from bloodcell_core.models.network import build_network, head_of
from bloodcell_core.runs import Run, names
from bloodcell_core.training import jobs
from bloodcell_core.training.loop import make_optimizer
from tests.training_fixtures import cost_by_pytorch, tiny, train_here

pytest_plugins = ["tests.training_fixtures"]

RESNET, TRANSFORMER = "timm/test_resnet.r160_in1k", "timm/test_vit.r160_in1k"
SMALL = (RESNET, TRANSFORMER, "timm/test_efficientnet", "timm/test_convnext.r160_in1k")
CPU = choose_device("cpu")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, and no way to the hub."""
    torch.set_num_threads(1)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def made_elsewhere(model: str, classes: int, **more: Any) -> dict[str, Tensor]:
    """Weights as a stranger's training with timm leaves them."""
    torch.manual_seed(5)
    network = timm.create_model(model.removeprefix("timm/"), num_classes=classes, **more)
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same_body(network: torch.nn.Module, wanted: dict[str, Tensor], head: str) -> None:
    state = network.state_dict()
    body = [name for name in wanted if not name.startswith(head)]
    assert len(body) > 10
    for name in body:
        assert torch.equal(state[f"body.{name}"], wanted[name]), name


# What is known


@pytest.mark.parametrize("model", SMALL)
def test_parameters_and_flops_are_those_of_the_network_that_is_built(model: str) -> None:
    info = model_info(model)
    assert cost(model, 96) == cost_by_pytorch(build_network(model, 4, 96), 96)
    assert TrainConfig(data="d", model=model, learning_rate=info.learning_rate)


def test_normalisation_and_licence_are_what_timm_says_of_the_weights() -> None:
    info, known = model_info(RESNET), timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert (info.mean, info.std) == (known.mean, known.std)
    assert info.pretrained
    assert known.license in info.weights_licence
    assert "huggingface.co/timm/test_resnet.r160_in1k" in info.weights_licence
    network = build_network(RESNET, 4, 32)
    torch.testing.assert_close(network.mean.flatten(), torch.tensor(known.mean))


def test_weights_without_a_known_licence_point_to_their_card(monkeypatch: pytest.MonkeyPatch) -> None:
    known = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    known.license = None
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: known)
    assert timm_networks.timm_info.__wrapped__(RESNET).weights_licence.startswith("see the model’s card (hugging")


def test_a_network_without_weights_of_its_own_starts_at_random(tmp_path: Path) -> None:
    model = next(name for name in timm.list_models("resnet*") if not timm.get_pretrained_cfg(name).has_weights)
    info = model_info(f"timm/{model}")
    assert not info.pretrained
    assert info.weights_licence == ""


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(LabError, match=r"no network called 'resnet10x': the nearest are .*timm/resnet10t") as caught:
        build_network("timm/resnet10x", 4, 96)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet10t.no_such_tag", "hf-hub:someone/thing", "../../resnet10t", "", "?" * 500])
def test_what_is_no_name_of_timms_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="timm has no network called") as caught:
        model_info(f"timm/{name}")
    assert len(str(caught.value)) < 400


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LabError, match="pip install timm"):
        model_info("timm/resnet18d")


# First weights


def test_random_weights_need_no_hub() -> None:
    torch.manual_seed(0)
    first, second = (build_network(RESNET, 4, 32, "none").state_dict()["body.conv1.0.weight"] for _ in range(2))
    assert not torch.equal(first, second)


def test_the_default_is_what_the_hub_has(hub: Path) -> None:
    """Taken from the hub's cache, which is laid out as the hub's client lays it out."""
    weights = made_elsewhere(RESNET, 1000)
    cached = hub / "models--timm--test_resnet.r160_in1k"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    save_file(weights, cached / "snapshots" / "abc" / "model.safetensors")
    network = build_network(RESNET, 4, 32, "default")
    assert_same_body(network, weights, "fc.")
    assert network.state_dict()["body.fc.weight"].shape[0] == 4


def test_offline_the_remedies_are_told() -> None:
    with pytest.raises(LabError, match=r"can't be had .*: go online once .* weights=PATH; .* weights=none") as caught:
        build_network(RESNET, 4, 32, "default")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_files_weights_go_into_all_but_the_last_layer(tmp_path: Path, suffix: str, prefix: str) -> None:
    weights, file = made_elsewhere(RESNET, 7), tmp_path / f"weights{suffix}"
    state = {prefix + name: value for name, value in weights.items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    network = build_network(RESNET, 4, 32, str(file))
    assert_same_body(network, weights, "fc.")
    assert network.state_dict()["body.fc.weight"].shape[0] == 4


def test_a_transformers_places_are_fitted_to_another_size(tmp_path: Path) -> None:
    weights = made_elsewhere(TRANSFORMER, 4, img_size=160)
    save_file(weights, tmp_path / "w.safetensors")
    network = build_network(TRANSFORMER, 4, 96, str(tmp_path / "w.safetensors"))
    places = weights.pop("pos_embed")
    assert_same_body(network, weights, "head.")
    assert network.state_dict()["body.pos_embed"].shape[1] < places.shape[1]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(made_elsewhere("timm/test_efficientnet", 4), tmp_path / "w.safetensors")
    with pytest.raises(LabError, match=f"holds no {RESNET}"):
        build_network(RESNET, 4, 32, str(tmp_path / "w.safetensors"))


# Sizes


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(("size", "classes"), [(64, 2), (160, 7)])
def test_a_network_gives_a_logit_a_class(model: str, size: int, classes: int) -> None:
    network = build_network(model, classes, size).eval()
    assert network(torch.rand(2, 3, size, size)).shape == (2, classes)


def test_a_size_that_a_network_can_t_take_is_told_and_the_one_that_it_can() -> None:
    assert cost("timm/efficientformer_l1", 224).parameters > 0
    with pytest.raises(LabError, match="can't see pictures of 96×96"):
        build_network("timm/efficientformer_l1", 4, 96)


def test_an_encoder_that_tells_no_classes_apart_is_refused() -> None:
    with pytest.raises(LabError, match="no classification layer"):
        build_network("timm/qwen3_vit_88m_enc", 4, 96)


# Trained


@pytest.mark.parametrize("model", [RESNET, TRANSFORMER])
def test_it_is_trained_kept_and_used(model: str, lab: Path, pictures: list[Path]) -> None:
    run = train_here(model=model, weights="none", size=64, epochs=1, pictures_per_epoch=8)
    assert run.status()["state"] == "done"
    assert len([event for event in run.events()[0] if event["event"] == "step"]) == 2
    assert Run(run.name).config.model == model
    from bloodcell_core.data.dataset import Dataset

    dataset, kept = Dataset("demo"), run.predictions()
    row = int(dataset.pictures.index[dataset.pictures.image_id == kept.image_id[0]][0])
    (answer,) = Predictor(run, "cpu", threshold=0).classify(files_of([pictures[row]]))
    wanted = {name: kept[f"p_{name}"][0] for name in run.classes}
    assert answer.cells[0].probabilities == pytest.approx(wanted, abs=1e-5)
    features = Embedder(run, "cpu").of_rows(dataset, dataset.pictures.index[:3].to_numpy())
    assert features.shape == (3, timm.create_model(model.removeprefix("timm/")).num_features)


def test_a_long_name_makes_a_runs_name_that_is_one(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(timm.list_models(include_tags=True), key=len)
    monkeypatch.setattr(jobs, "model_info", lambda model: model_info(RESNET))
    monkeypatch.setattr(jobs, "_check_network", lambda config, classes: None)
    run = jobs.create_run(tiny(model=f"timm/{longest}"))
    assert run.config.model == f"timm/{longest}"
    assert run.name in names()


def test_a_size_that_it_cannot_see_makes_no_run(lab: Path) -> None:
    before = names()
    with pytest.raises(LabError, match=r"can't see pictures of 40×40 .*: it was made for size=160") as caught:
        jobs.create_run(tiny(model=TRANSFORMER, weights="none", size=40))
    assert "\n" not in str(caught.value)
    assert names() == before


@pytest.mark.parametrize("model", SMALL)
def test_the_head_is_what_timm_calls_the_classifier(model: str) -> None:
    network = build_network(model, 4, 64)
    head = head_of(network)
    assert head is network.body.get_classifier()
    body, last = make_optimizer(tiny(model=model, learning_rate=1e-3, body_rate=0.1), network).param_groups
    assert {id(each) for each in last["params"]} == {id(each) for each in head.parameters()}
    assert len(body["params"]) + len(last["params"]) == len([*network.parameters()])


def test_the_two_heads_of_a_distilled_network_both_count_as_head() -> None:
    network = build_network("timm/deit_tiny_distilled_patch16_224", 4, 32)
    assert {name.split(".")[0] for name, each in network.body.named_parameters()
            if any(each is mine for mine in head_of(network).parameters())} == {"head", "head_dist"}  # fmt: skip
