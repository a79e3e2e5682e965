"""The one forward pass, and that training and prediction see the same pixels through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bloodcell_core import workspace
from bloodcell_core.crops import VIEWS, Crop
from bloodcell_core.data.dataset import Dataset
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.data.views import make_view, view_name
from bloodcell_core.device import Device, choose_device, memory_told, out_of_memory
from bloodcell_core.errors import LabError
from bloodcell_core.inference.handed_in import files_of
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.models import MODELS, model_info
from bloodcell_core.models.forward import Tapped, predict_logits, predict_probabilities, to_input
from bloodcell_core.models.network import Network, build_network, last_layer_of, quickest
from tests.training_fixtures import train_here

pytest_plugins = ["tests.training_fixtures"]
CPU = choose_device("cpu")


def random_pictures(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def network(model: str = "resnet18") -> Network:
    torch.manual_seed(0)
    return build_network(model, 4, 32)


# To the network's input


@pytest.mark.parametrize("channels_last", [False, True])
def test_pixels_become_floats_from_0_to_1_with_channels_first(channels_last: bool) -> None:
    pictures = random_pictures(3)
    inputs = to_input(torch.from_numpy(pictures), CPU, channels_last)
    np.testing.assert_array_equal(inputs.numpy(), pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert inputs.is_contiguous(memory_format=order)


def test_the_pictures_that_are_handed_in_stay_as_they_are() -> None:
    pictures = torch.from_numpy(random_pictures(2))
    before = pictures.clone()
    to_input(pictures, CPU)
    assert torch.equal(pictures, before)


# The pass


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_predicting_changes_no_weight_no_buffer_and_no_mode(model: str, training: bool) -> None:
    net = network(model).train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    predict_logits(net, random_pictures(5), CPU, batch_size=2)
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(layer.training is training for layer in net.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("count", [1, 5])
def test_the_quickest_order_of_the_weights_gives_the_same_answers(model: str, count: int) -> None:
    seen: list[Tensor] = []
    net = network(model).eval()
    pictures = random_pictures(count)
    plain = predict_logits(net, pictures, CPU)
    net = quickest(net, model)
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(predict_logits(net, pictures, CPU), plain, rtol=1e-5, atol=1e-5)
    order = torch.channels_last if model_info(model).channels_last_on_cpu else torch.contiguous_format
    assert seen[0].is_contiguous(memory_format=order)
    weights = [weight for weight in net.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=order) for weight in weights)


def test_the_mode_comes_back_after_a_failure_too() -> None:
    net = network("basic_cnn").train()
    with pytest.raises(RuntimeError):
        predict_logits(net, random_pictures(2, size=40), CPU)
    assert net.training


@pytest.mark.parametrize("model", MODELS)
def test_batches_give_what_one_pass_gives(model: str) -> None:
    net, pictures = network(model).train(), random_pictures(7)
    whole = predict_logits(net, pictures, CPU, batch_size=7)
    for batch_size in (1, 3, 100):
        batched = predict_logits(net, pictures, CPU, batch_size)
        torch.testing.assert_close(batched, whole, rtol=1e-4, atol=1e-5)


def test_a_network_in_training_mode_predicts_without_dropout() -> None:
    net, pictures = network("deep_cnn").train(), random_pictures(4)
    assert torch.equal(predict_logits(net, pictures, CPU), predict_logits(net, pictures, CPU))


def test_arrays_and_tensors_and_their_rows_give_the_same() -> None:
    net, pictures = network(), random_pictures(5)
    assert torch.equal(predict_logits(net, pictures, CPU), predict_logits(net, torch.from_numpy(pictures), CPU))


@pytest.mark.filterwarnings("error")  # torch warns where it borrows memory that can't be written
def test_a_read_only_memory_map_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "view.npy", random_pictures(5))
    mapped = np.load(tmp_path / "view.npy", mmap_mode="r")
    net = network("basic_cnn")
    assert torch.equal(predict_logits(net, mapped, CPU, 2), predict_logits(net, random_pictures(5), CPU, 2))


class Watched(np.ndarray):
    """Pictures that tell how many of them were taken at once."""

    taken: ClassVar[list[int]] = []

    def __getitem__(self, which):
        part = super().__getitem__(which)
        self.taken.append(len(part))
        return part


def test_of_a_view_only_the_rows_asked_for_are_read_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "taken", [])
    net, pictures, rows = network(), random_pictures(9), np.array([8, 1, 3, 3, 0])
    told = predict_logits(net, pictures.view(Watched), CPU, 2, rows)
    assert Watched.taken == [2, 2, 1]
    assert torch.equal(told, predict_logits(net, pictures[rows], CPU, 2))


class Narrow(nn.Module):
    """A network on a device that has no memory for more than `most` pictures at once."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.seen, self.body = most, [], network("cell_net")  # type: ignore[var-annotated]

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen.append(len(pictures))
        if len(pictures) > self.most:
            raise RuntimeError("CUDA error: out of memory")
        logits: Tensor = self.body(pictures)
        return logits


def test_where_memory_is_short_fewer_pictures_go_through_together() -> None:
    narrow, pictures = Narrow(3), random_pictures(10)
    logits, features = Tapped(narrow).predict(pictures, CPU, batch_size=8)
    assert narrow.seen == [8, 4, 2, 2, 2, 2, 2]
    torch.testing.assert_close(logits, predict_logits(narrow.body, pictures, CPU))
    assert len(features) == 10


def test_where_memory_runs_out_in_the_last_layer_its_batch_is_halved_as_any_other() -> None:
    class Last(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            if len(features) > 3:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
            return super().forward(features)

    net, pictures = network("cell_net"), random_pictures(10)
    wanted = Tapped(net).predict(pictures, CPU, batch_size=2)
    last_layer_of(net).__class__ = Last
    for told, each in zip(Tapped(net).predict(pictures, CPU, batch_size=8), wanted, strict=True):
        torch.testing.assert_close(torch.as_tensor(told), torch.as_tensor(each))


def test_where_not_one_picture_fits_it_is_told_with_what_helps() -> None:
    with pytest.raises(LabError, match=r"memory is full \(CUDA error: out of memory\): take a smaller batch size"):
        with memory_told():
            predict_logits(Narrow(0), random_pictures(2), CPU)


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "HIP out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_lack_of_memory_is_known_by_the_words_of_each_library(told: str) -> None:
    assert out_of_memory(RuntimeError(told))


def test_another_failure_is_not_taken_for_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        with memory_told():
            predict_logits(nn.Linear(7, 4), random_pictures(2), CPU)


def test_probabilities_are_the_softmax_in_double_precision() -> None:
    net, pictures = network(), random_pictures(6)
    with torch.no_grad():
        net.body.fc.weight.mul_(100)  # so sure that float32 would round a row's sum
    probabilities = predict_probabilities(net, pictures, CPU)
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (6, 4)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=0, atol=1e-12)
    logits = predict_logits(net, pictures, CPU).numpy().astype(np.float64)
    parts = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, parts / parts.sum(1, keepdims=True), rtol=1e-9, atol=1e-300)


def test_a_temperature_divides_the_logits() -> None:
    net, pictures = network(), random_pictures(6)
    logits = predict_logits(net, pictures, CPU).numpy().astype(np.float64) / 2.5
    parts = np.exp(logits - logits.max(1, keepdims=True))
    softer = predict_probabilities(net, pictures, CPU, temperature=2.5)
    np.testing.assert_allclose(softer, parts / parts.sum(1, keepdims=True), rtol=1e-9)
    assert (softer.max(1) < predict_probabilities(net, pictures, CPU).max(1)).all()


def test_half_precision_computes_in_it_and_comes_out_close_in_float32() -> None:
    half = Device(torch.device("cpu"), torch.bfloat16, "a test")
    net, pictures = network("basic_cnn"), random_pictures(6)
    seen: list[Tensor] = []
    net.body.features[0].register_forward_hook(lambda _, __, output: seen.append(output))
    logits = predict_logits(net, pictures, half)
    assert seen[0].dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    exact = predict_logits(net, pictures, CPU)
    assert seen[1].dtype == torch.float32
    assert not torch.equal(logits, exact)
    torch.testing.assert_close(logits, exact, rtol=0.05, atol=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


# One preprocessing


@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_of_the_dataset_gets_the_runs_own_probabilities(view: str, lab: Path, pictures: list[Path]) -> None:
    run = train_here(view=view, epochs=1)
    dataset = Dataset("demo")
    kept = run.predictions().set_index("image_id")
    of_file = {
        dataset.pictures.image_id[row]: path
        for row, path in enumerate(pictures)
        if dataset.pictures.image_id[row] in kept.index
    }
    assert len(of_file) == len(kept) > 8
    answers = Predictor(run, "cpu", threshold=0).classify(files_of(of_file.values()))
    for image_id, answer in zip(of_file, answers, strict=True):
        wanted = kept.loc[image_id]
        (cell,) = answer.cells
        assert cell.label == wanted.predicted
        assert cell.probabilities == pytest.approx({name: wanted[f"p_{name}"] for name in run.classes}, abs=1e-6)


@pytest.mark.parametrize("view", VIEWS)
def test_a_dataset_view_holds_what_a_single_picture_becomes(view: str, lab: Path, pictures: list[Path]) -> None:
    train_here(view=view, epochs=1)  # builds the view
    built = np.load(workspace.view_file("demo", view_name(view, 32, Crop())), mmap_mode="r")
    for row, path in enumerate(pictures):
        np.testing.assert_array_equal(
            built[row], make_view(decode_rgb(path.read_bytes()), view, 32).pixels, err_msg=str(row)
        )


# The device


def test_the_cpu_computes_in_full_precision_and_says_why() -> None:
    device = choose_device("cpu")
    assert (device.device.type, device.autocast, device.is_cuda) == ("cpu", None, False)
    assert "asked for" in device.reason


def test_auto_without_cuda_is_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device = choose_device("auto")
    assert device.device.type == "cpu"
    assert "no CUDA" in device.reason


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    current: list[int] = []

    @contextmanager
    def made_current(index: int) -> Iterator[None]:
        current.append(index)
        yield
        current.pop()

    def supported(including_emulation: bool) -> bool:
        """Of the current card alone, as PyTorch tells it: card 1 has what `bfloat16` says, card 0 the opposite."""
        return bfloat16 == ((current or [0])[-1] == 1)

    monkeypatch.setattr(torch.cuda, "device", made_current)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_86", "sm_90a", "compute_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)


@pytest.mark.parametrize(("wanted", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_cuda_is_taken_with_bfloat16_where_the_card_has_it(
    wanted: str, index: int, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cuda(monkeypatch, bfloat16)
    device = choose_device(wanted)
    assert device.device == torch.device("cuda", index)
    has_it = bfloat16 == (index == 1)
    assert device.autocast == (torch.bfloat16 if has_it else None)
    why = "the fastest device here" if wanted == "auto" else "asked for"  # the home page takes it apart at the colon
    assert device.reason == f"Card {index}: {why} (cuda:{index}, {'bfloat16' if has_it else 'float32'})"


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
def test_cuda_that_is_not_there_is_refused(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LabError, match=f"{wanted} was asked for, .* use --device cpu or auto"):
        choose_device(wanted)


def test_a_card_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch)
    with pytest.raises(LabError, match=r"cuda:2 isn't there: this machine has 2"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("card", "made_for", "runs"),
    [
        ((7, 5), ["sm_75", "sm_86"], True),
        ((8, 9), ["sm_75", "sm_86"], True),
        ((8, 0), ["sm_75", "sm_86"], False),
        ((6, 1), ["sm_75", "sm_86", "compute_90"], False),
        ((12, 0), ["sm_75", "sm_90"], False),
        ((12, 0), ["sm_75", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a", "gfx1100"], True),
    ],
)
def test_a_card_that_this_pytorch_is_not_made_for_is_not_taken(
    card: tuple[int, int], made_for: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cuda(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: made_for)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: card)
    device = choose_device("auto")
    assert device.is_cuda == runs
    if not runs:
        version = f"{card[0]}.{card[1]}"
        assert device.reason == f"CPU: this PyTorch isn't made for Card 0 (compute capability {version})"
        with pytest.raises(LabError, match="cuda:1 was asked for, but this PyTorch isn't made for Card 1"):
            choose_device("cuda:1")


@pytest.mark.parametrize(
    "wanted", ["", "gpu", "mps", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cuda:00", "cuda:01", "cuda:٠"]
)
def test_a_device_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(LabError, match="device is auto, cpu, cuda or cuda:N"):
        choose_device(wanted)


def test_precision_is_only_lowered_where_the_device_says_so() -> None:
    layer = nn.Linear(2, 2)
    from bloodcell_core.models.forward import precision

    with precision(CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.float32
    with precision(Device(torch.device("cpu"), torch.bfloat16, "a test")):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
