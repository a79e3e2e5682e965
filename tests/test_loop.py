"""The training loop: one step a batch, the same losses as a plain loop, and the same end however often it is broken."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bloodcell_core.config import PLAIN, TrainConfig
from bloodcell_core.device import choose_device
from bloodcell_core.errors import LabError
from bloodcell_core.models import MODELS
from bloodcell_core.models.forward import predict_probabilities
from bloodcell_core.models.network import build_network
from bloodcell_core.training import checkpoint, gradients, loop
from bloodcell_core.training.loop import (
    Hooks,
    LabelledPictures,
    NonFiniteLoss,
    TrainState,
    epoch_batches,
    make_optimizer,
    measure,
    resident,
    train,
)
from bloodcell_core.training.team import ALONE, Team
from tests.training_fixtures import quiet

CPU = choose_device("cpu")
SIZE = 32


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(**changes: Any) -> TrainConfig:
    values = {"data": "d", "model": "basic_cnn", "size": SIZE, "batch_size": 8, "epochs": 3, "seed": 4}
    return TrainConfig.from_json(PLAIN | values | changes)


def labelled(count: int, seed: int = 0) -> LabelledPictures:
    """Pictures that can be told apart: each class has a mean colour of its own under the noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    base = rng.integers(0, 128, (count, SIZE, SIZE, 3)) + labels[:, None, None, None] * 30
    return LabelledPictures(torch.from_numpy(base.astype(np.uint8)), torch.from_numpy(labels))


TRAINING, VALIDATION = labelled(30), labelled(12, seed=1)


class Recorder(Hooks):
    """Keeps what the loop tells; may ask for a stop before a step, or break down at a call of a hook."""

    def __init__(self, stop_at: int | None = None, break_at: int | None = None):
        self.stop_at, self.break_at, self.calls = stop_at, break_at, 0
        self.events: list[dict[str, Any]] = []
        self.kept: list[dict[str, Tensor]] = []
        self.kept_events: list[dict[str, Any]] = []
        self.saved: tuple[bytes, int] | None = None
        self.asked = 0

    def _call(self) -> None:
        if self.calls == self.break_at:
            raise KeyboardInterrupt
        self.calls += 1

    def log(self, events: list[dict[str, Any]]) -> None:
        self._call()
        self.events += events

    def keep_best(self, network: nn.Module, event: dict[str, Any]) -> None:
        self._call()
        self.kept.append({name: value.clone() for name, value in network.state_dict().items()})
        self.kept_events.append(event)

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        self._call()
        buffer = io.BytesIO()
        torch.save(checkpoint.contents(state, len(self.events)), buffer)
        self.saved = buffer.getvalue(), len(self.events)

    def stop_requested(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked > self.stop_at

    def without_seconds(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in event.items() if key != "seconds"} for event in self.events]


def start(settings: TrainConfig) -> TrainState:
    torch.manual_seed(settings.seed)
    network = build_network(settings.model, 4, settings.size)
    return TrainState(network, make_optimizer(settings, network))


def run(settings: TrainConfig, hooks: Hooks | None = None, training: LabelledPictures = TRAINING) -> TrainState:
    state = start(settings)
    assert train(settings, state, training, VALIDATION, CPU, hooks or Hooks())
    return state


def equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Seeds


def test_a_step_without_a_gpu_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch would note down each time where it was called from."""
    state = start(config(epochs=1))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", None)
    assert train(config(epochs=1), state, TRAINING, VALIDATION, CPU, Hooks())


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(model: str) -> None:
    settings = config(model=model, epochs=1, pictures_per_epoch=16, learning_rate=1e-3)
    first = run(settings)
    torch.manual_seed(99)  # what a process did before must not matter
    np.random.seed(99)
    assert equal(first.network, run(settings).network)


def test_another_seed_gives_other_weights() -> None:
    assert not equal(run(config(epochs=1)).network, run(config(epochs=1, seed=5)).network)


def test_the_seed_and_the_step_decide_what_dropout_draws() -> None:
    """On equal pictures with equal weights the order doesn't matter: losses differ by dropout alone."""
    alike = LabelledPictures(TRAINING.pictures[:1].repeat(16, 1, 1, 1), TRAINING.labels[:1].repeat(16))
    losses = []
    for seed in (4, 4, 5):
        settings = config(model="deep_cnn", epochs=1, batch_size=8, seed=seed, learning_rate=1e-7)
        torch.manual_seed(0)
        network = build_network("deep_cnn", 4, SIZE)
        state, recorder = TrainState(network, make_optimizer(settings, network)), Recorder()
        train(settings, state, alike, VALIDATION, CPU, recorder)
        losses.append([event["loss"] for event in recorder.events[:2]])
    assert losses[0] == losses[1]
    assert losses[0][0] != pytest.approx(losses[2][0], rel=1e-3)
    assert losses[0][0] != pytest.approx(losses[0][1], rel=1e-3)


def test_a_network_is_trained_in_training_mode_whatever_mode_it_comes_in() -> None:
    chosen, modes = config(epochs=2), []
    state = start(chosen)
    state.network.eval()
    state.network.register_forward_pre_hook(lambda network, _: modes.append(network.training))
    train(chosen, state, TRAINING, VALIDATION, CPU, Hooks())
    assert modes == ([True] * 4 + [False]) * 2  # four steps and one measurement


# Against a loop that leaves nothing to doubt


def plain_losses(settings: TrainConfig) -> tuple[list[float], list[float], nn.Module]:
    """Each step's loss and each epoch's validation loss, by a loop without any of ours but the order of pictures."""
    torch.manual_seed(settings.seed)
    network = build_network(settings.model, 4, settings.size)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    rate, decay = settings.learning_rate or 0, settings.weight_decay
    optimizer = kind(network.parameters(), lr=rate, weight_decay=decay, fused=True)  # the same sums in the same order
    # The order of numbers in memory is no part of the mathematics, but other sums round differently.
    order = torch.channels_last if MODELS[settings.model].channels_last_on_cpu else torch.contiguous_format
    inputs, labels = TRAINING.pictures.permute(0, 3, 1, 2).float() / 255, TRAINING.labels
    steps, epochs = [], []
    for epoch in range(settings.epochs):
        network.train()
        for rows in epoch_batches(settings, len(labels), epoch):
            optimizer.zero_grad()
            batch = inputs[rows].contiguous(memory_format=order)
            loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)(network(batch), labels[rows])
            loss.backward()
            optimizer.step()
            steps.append(loss.item())
        network.eval()
        with torch.no_grad():
            logits = network((VALIDATION.pictures.permute(0, 3, 1, 2).float() / 255).contiguous())
            epochs.append(nn.CrossEntropyLoss()(logits, VALIDATION.labels).item())
    return steps, epochs, network


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("basic_cnn", {}),
        ("basic_cnn", {"weight_decay": 0.1}),
        ("basic_cnn", {"optimizer": "adamw", "weight_decay": 0.1}),
        ("basic_cnn", {"label_smoothing": 0.2}),
        ("resnet18", {}),
    ],
)
def test_the_loop_has_the_losses_of_a_plain_one(model: str, changes: dict[str, Any]) -> None:
    settings = config(model=model, learning_rate=1e-3, epochs=1 if model == "resnet18" else 2, **changes)
    recorder = Recorder()
    state = run(settings, recorder)
    steps, validation, network = plain_losses(settings)
    assert [event["loss"] for event in recorder.events if event["event"] == "step"] == steps
    ours = [event["val_loss"] for event in recorder.events if event["event"] == "epoch"]
    assert ours == pytest.approx(validation, rel=1e-6)  # ours is summed in double precision
    assert equal(state.network, network)


def test_the_networks_own_rate_is_taken_where_none_is_given() -> None:
    for model, row in MODELS.items():
        network = build_network(model, 4, SIZE)
        assert make_optimizer(config(model=model), network).defaults["lr"] == row.learning_rate
        given_rate = make_optimizer(config(model=model, learning_rate=0.25), network)
        assert given_rate.defaults["lr"] == 0.25


def test_each_batch_is_one_optimizer_step_on_fresh_gradients() -> None:
    settings = config(epochs=2)
    state, gradients = start(settings), []
    state.optimizer.register_step_pre_hook(lambda *_: gradients.append(state.network.body.classifier.bias.grad.clone()))
    train(settings, state, TRAINING, VALIDATION, CPU, Hooks())
    batches = [rows for epoch in (0, 1) for rows in epoch_batches(settings, 30, epoch)]
    assert len(gradients) == len(batches) == state.step == 8
    # the gradient of a mean cross-entropy in the last bias sums to 0 only if no other step's is in it
    assert all(abs(gradient.sum().item()) < 1e-5 for gradient in gradients)
    assert len({tuple(gradient.tolist()) for gradient in gradients}) == 8


def test_training_learns() -> None:
    recorder = Recorder()
    run(config(epochs=8, learning_rate=3e-3), recorder)
    epochs = [event for event in recorder.events if event["event"] == "epoch"]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] / 2
    assert epochs[-1]["val_accuracy"] > 0.7


# What is told


def test_each_step_and_each_epoch_is_told_once_in_order() -> None:
    recorder = Recorder()
    run(config(), recorder)
    steps = [event["step"] for event in recorder.events if event["event"] == "step"]
    assert steps == list(range(1, 13))
    epochs = [event for event in recorder.events if event["event"] == "epoch"]
    assert [(event["epoch"], event["step"]) for event in epochs] == [(1, 4), (2, 8), (3, 12)]
    order = [(event["step"], event["event"]) for event in recorder.events]
    assert order == sorted(order, key=lambda pair: (pair[0], pair[1] == "epoch"))


def test_steps_are_told_at_least_every_log_every_steps() -> None:
    class Sizes(Recorder):
        sizes: list[int] = []  # noqa: RUF012

        def log(self, events: list[dict[str, Any]]) -> None:
            self.sizes.append(len(events))
            super().log(events)

    hooks = Sizes()
    run(config(batch_size=1, epochs=1), hooks)
    assert hooks.sizes == [loop.LOG_EVERY, 30 - loop.LOG_EVERY, 1]


class _Asked(TorchDispatchMode):
    """Counts what makes a host wait for its device: a tensor's value asked for, or a shape that hangs on values."""

    WAITING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.times += func in self.WAITING
        return func(*args, **(kwargs or {}))


def test_a_step_asks_the_device_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each question waits for all that was asked before it; only the log asks, many steps at once."""
    settings = config(
        epochs=1, flips=0.5, rotation=90, zoom=0.1, shift=0.1, stain=0.2, light=0.1, blur=1, erase=0.5, clip_norm=1,
        label_smoothing=0.1, averaging=0.9, mixup=0.2, schedule="one-cycle",
    )  # fmt: skip
    state = start(settings)
    step, asked = state.optimizer.step, _Asked()

    def uncounted_step() -> None:  # Adam asks for its own count of steps, which lies on the host
        before = asked.times
        step()
        asked.times = before

    monkeypatch.setattr(state.optimizer, "step", uncounted_step)
    with asked:
        train(settings, state, TRAINING, VALIDATION, CPU, Hooks())
        assert asked.times == 0
        torch.ones(1).item()  # the count counts
    assert asked.times == 1


def test_an_epochs_training_figures_are_those_of_its_steps() -> None:
    """Weighted by pictures: the last batch of 30 is smaller than the others."""
    settings, recorder = config(epochs=1), Recorder()
    state, right = start(settings), []
    state.network.register_forward_hook(
        lambda network, _, logits: right.append(logits.argmax(1)) if network.training else None
    )
    train(settings, state, TRAINING, VALIDATION, CPU, recorder)
    batches = epoch_batches(settings, 30, 0)
    weighted = sum(event["loss"] * len(rows) for event, rows in zip(recorder.events, batches, strict=False))
    epoch = recorder.events[-1]
    assert epoch["train_loss"] == pytest.approx(weighted / 30, rel=1e-6)
    hits = sum(int((said == TRAINING.labels[rows]).sum()) for said, rows in zip(right, batches, strict=True))
    assert epoch["train_accuracy"] == hits / 30


def test_the_best_weights_are_those_of_the_lowest_validation_loss() -> None:
    recorder = Recorder()
    run(config(epochs=6, learning_rate=0.02), recorder)
    epochs = [event for event in recorder.events if event["event"] == "epoch"]
    lowest, marks = math.inf, []
    for event in epochs:
        marks.append(event["val_loss"] < lowest)
        lowest = min(lowest, event["val_loss"])
    assert [event["best"] for event in epochs] == marks
    assert not all(marks), "this training must have a worse epoch, or it shows nothing"
    assert recorder.kept_events == [event for event in epochs if event["best"]]
    network = build_network("basic_cnn", 4, SIZE)
    network.load_state_dict(recorder.kept[-1])
    assert measure(network, VALIDATION, CPU)[0] == lowest


# The order of pictures


@settings(max_examples=60, deadline=None)
@given(
    pictures=st.integers(2, 70),
    batch_size=st.integers(1, 80),
    an_epoch=st.integers(0, 80),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_an_epoch_shows_each_picture_at_most_once(
    pictures: int, batch_size: int, an_epoch: int, epoch: int, seed: int
) -> None:
    chosen = config(batch_size=batch_size, pictures_per_epoch=an_epoch, seed=seed)
    batches = epoch_batches(chosen, pictures, epoch)
    shown = [row for rows in batches for row in rows.tolist()]
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(range(pictures))
    wanted = min(an_epoch or pictures, pictures)
    left_out = 1 if batch_size > 1 and wanted % batch_size == 1 else 0
    assert len(shown) == wanted - left_out
    assert all(len(rows) == batch_size for rows in batches[:-1])
    assert len(batches) == loop.steps_per_epoch(chosen, pictures)


def test_the_order_is_another_in_each_epoch_and_for_each_seed() -> None:
    orders = {
        tuple(torch.cat(epoch_batches(config(seed=seed), 30, epoch)).tolist()) for seed in (0, 1) for epoch in range(3)
    }
    assert len(orders) == 6
    assert all(order != tuple(sorted(order)) for order in orders)


def test_a_part_of_the_pictures_is_drawn_anew_each_epoch() -> None:
    drawn = [set(torch.cat(epoch_batches(config(pictures_per_epoch=10), 30, epoch)).tolist()) for epoch in range(4)]
    assert all(len(rows) == 10 for rows in drawn)
    assert len(set.union(*drawn)) > 15


def test_an_epoch_without_a_batch_is_refused() -> None:
    with pytest.raises(LabError, match="an epoch needs at least two pictures"):
        run(config(pictures_per_epoch=1))
    with pytest.raises(LabError, match="an epoch needs at least two pictures: there are 1 to train on"):
        run(config(), training=labelled(1))
    with pytest.raises(LabError, match="an epoch needs at least one picture"):
        run(config(batch_size=1), training=labelled(0))


def test_single_pictures_are_trained_on_where_a_batch_is_one_picture() -> None:
    assert run(config(batch_size=1, pictures_per_epoch=1)).step == 3
    assert run(config(pictures_per_epoch=2)).step == 3


# Losses that are no number


def broken_weights(after: int, value: float) -> tuple[TrainConfig, TrainState]:
    """A state whose network gives losses that are no number from step `after` + 1 on."""
    chosen = config(epochs=4)
    state = start(chosen)

    def spoil(*_: Any) -> None:
        if state.step + 1 == after:
            with torch.no_grad():
                state.network.body.classifier.bias.fill_(value)

    state.optimizer.register_step_post_hook(spoil)
    return chosen, state


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("after", [1, 3, 6, 8])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(after: int, value: float) -> None:
    chosen, state = broken_weights(after, value)
    recorder = Recorder()
    with pytest.raises(NonFiniteLoss, match=rf"at step {after + 1}: try a lower learning rate") as caught:
        train(chosen, state, TRAINING, VALIDATION, CPU, recorder)
    steps = [event for event in recorder.events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, after + 1))
    assert all(math.isfinite(event["loss"]) for event in steps)
    assert ("the best weights before it are kept" in str(caught.value)) == (after > 4)
    assert all(value.isfinite().all() for kept in recorder.kept for value in kept.values())


def test_no_checkpoint_holds_weights_that_are_no_number_after_a_broken_step() -> None:
    chosen, state = broken_weights(6, math.nan)
    recorder = Recorder()
    with pytest.raises(NonFiniteLoss):
        train(chosen, state, TRAINING, VALIDATION, CPU, recorder)
    assert recorder.saved is not None
    values = torch.load(io.BytesIO(recorder.saved[0]), weights_only=True)
    assert values["epoch"] == 1
    assert all(value.isfinite().all() for value in values["network"].values())


def test_a_much_too_high_rate_is_such_a_stop() -> None:
    bright = LabelledPictures(torch.full_like(TRAINING.pictures, 255), TRAINING.labels)
    chosen = config(model="deep_cnn", learning_rate=1.0, epochs=200)
    state = start(chosen)
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.mul_(1e9)
    with pytest.raises(NonFiniteLoss, match="at step 1:"):
        train(chosen, state, bright, VALIDATION, CPU, Hooks())


# Stopping


@pytest.mark.parametrize("stop_at", [0, 1, 4, 6])
def test_a_stop_comes_at_the_next_batch_with_all_steps_told(stop_at: int) -> None:
    chosen, recorder = config(), Recorder(stop_at=stop_at)
    state = start(chosen)
    assert train(chosen, state, TRAINING, VALIDATION, CPU, recorder) is False
    assert state.step == stop_at
    steps = [event["step"] for event in recorder.events if event["event"] == "step"]
    assert steps == list(range(1, stop_at + 1))
    assert recorder.saved is not None


# Measuring


@pytest.mark.parametrize("model", MODELS)
def test_measure_is_the_loss_and_accuracy_of_the_probabilities(model: str) -> None:
    torch.manual_seed(0)
    network = build_network(model, 4, SIZE).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss, accuracy = measure(network, VALIDATION, CPU)
    probabilities = predict_probabilities(network, VALIDATION.pictures, CPU)
    assert loss == pytest.approx(log_loss(VALIDATION.labels, probabilities, labels=range(4)), rel=1e-9)
    assert accuracy == accuracy_score(VALIDATION.labels, probabilities.argmax(1))
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_resident_pictures_are_the_rows_of_the_view(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2500, 2, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "view.npy", pictures)
    mapped = np.load(tmp_path / "view.npy", mmap_mode="r")
    labels = np.arange(2500)
    rows = np.random.default_rng(1).permutation(2500)[:2100]  # more than two chunks
    data = resident(mapped, rows, labels, CPU)
    np.testing.assert_array_equal(data.pictures.numpy(), pictures[rows])
    np.testing.assert_array_equal(data.labels.numpy(), rows)
    assert len(data) == 2100


def test_pictures_that_fit_in_no_memory_stay_on_disk_and_are_trained_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = torch.cat([VALIDATION.pictures, TRAINING.pictures.flip(0)]).numpy()
    labels = torch.cat([VALIDATION.labels, TRAINING.labels.flip(0)]).numpy()
    np.save(tmp_path / "view.npy", view)
    mapped = np.load(tmp_path / "view.npy", mmap_mode="r")
    room = np.arange(len(view) - 1, 11, -1), np.arange(12)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * TRAINING.pictures.nbytes))
    training, validation = (resident(mapped, rows, labels, CPU) for rows in room)
    assert training.pictures is mapped
    assert torch.equal(training.labels, TRAINING.labels)
    assert torch.equal(validation.pictures, VALIDATION.pictures)  # these are fewer
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    validation = resident(mapped, room[1], labels, CPU)
    in_memory, on_disk = Recorder(), Recorder()
    run(config(), in_memory)
    state = start(config())
    assert train(config(), state, training, validation, CPU, on_disk)
    assert on_disk.without_seconds() == in_memory.without_seconds()


# Going on


def resumed(chosen: TrainConfig, broken: Recorder) -> tuple[TrainState, list[dict[str, Any]]]:
    """Goes on from the last checkpoint of a broken recorder, as a new process would."""
    torch.manual_seed(12345)
    state = TrainState(network := build_network(chosen.model, 4, SIZE), make_optimizer(chosen, network))
    kept = 0
    if broken.saved is not None:
        kept = checkpoint.restore(torch.load(io.BytesIO(broken.saved[0]), weights_only=True), state)
    else:
        state = start(chosen)
    recorder = Recorder()
    recorder.events = broken.events[:kept]
    assert train(chosen, state, TRAINING, VALIDATION, CPU, recorder)
    return state, recorder.without_seconds()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Twelve steps, told three at a time, so that checkpoints stand in mid-epoch too; dropout, and pictures changed."""
    monkeypatch.setattr(loop, "LOG_EVERY", 3)
    plain = build_network

    def with_dropout(*args: Any) -> nn.Module:
        network = plain(*args)
        network.body.features.append(nn.Dropout(0.5))
        return network

    monkeypatch.setitem(globals(), "build_network", with_dropout)
    return config(
        learning_rate=1e-3, flips=0.5, rotation=180, stain=0.2, erase=0.3, schedule="one-cycle", mixup=0.3,
        label_smoothing=0.1, clip_norm=1.0, averaging=0.9, frozen_epochs=1, body_rate=0.5,
    )  # fmt: skip


def steps_of(chosen: TrainConfig) -> int:
    return chosen.epochs * loop.steps_per_epoch(chosen, len(TRAINING))


def test_a_run_stopped_before_any_step_goes_on_to_the_same_end(short: TrainConfig) -> None:
    whole = Recorder()
    wanted = run(short, whole)
    for stop_at in range(steps_of(short)):
        recorder = Recorder(stop_at=stop_at)
        train(short, start(short), TRAINING, VALIDATION, CPU, recorder)
        state, events = resumed(short, recorder)
        assert equal(state.network, wanted.network), f"stopped after step {stop_at}"
        assert events == whole.without_seconds(), f"stopped after step {stop_at}"
        assert state.best_loss == wanted.best_loss


def test_a_run_that_broke_down_at_any_moment_goes_on_to_the_same_end(short: TrainConfig) -> None:
    whole = Recorder()
    wanted = run(short, whole)
    assert whole.calls >= 3 * short.epochs
    for moment in range(whole.calls):
        recorder = Recorder(break_at=moment)
        with pytest.raises(KeyboardInterrupt):
            train(short, start(short), TRAINING, VALIDATION, CPU, recorder)
        state, events = resumed(short, recorder)
        assert equal(state.network, wanted.network), f"broken at call {moment}"
        assert events == whole.without_seconds(), f"broken at call {moment}"


def test_a_run_broken_off_again_and_again_goes_on_to_the_same_end(short: TrainConfig) -> None:
    whole = Recorder()
    wanted = run(short, whole)
    state, recorder = start(short), Recorder(stop_at=1)
    stops = 0
    while not train(short, state, TRAINING, VALIDATION, CPU, recorder):
        stops += 1
        before = recorder
        assert before.saved is not None
        state = start(short)
        kept = checkpoint.restore(torch.load(io.BytesIO(before.saved[0]), weights_only=True), state)
        recorder = Recorder(stop_at=1)
        recorder.events = before.events[:kept]
    assert stops == steps_of(short) - 1
    assert equal(state.network, wanted.network)
    assert recorder.without_seconds() == whole.without_seconds()


def test_a_checkpoint_file_holds_every_part_of_the_state(tmp_path: Path) -> None:
    chosen = config(epochs=1)
    state = run(chosen)
    state.epoch_loss += 1.5
    state.epoch_right += 7
    checkpoint.save(tmp_path / "checkpoint.pt", state, metrics_bytes=321)
    fresh = start(chosen)
    assert checkpoint.load(tmp_path / "checkpoint.pt", fresh, torch.device("cpu")) == 321
    assert equal(fresh.network, state.network)
    assert (fresh.epoch, fresh.step, fresh.best_loss) == (1, 4, state.best_loss)
    assert (fresh.epoch_loss, fresh.epoch_right) == (1.5, 7)
    theirs, ours = state.optimizer.state_dict()["state"], fresh.optimizer.state_dict()["state"]
    assert theirs.keys() == ours.keys()
    for place, parts in theirs.items():
        assert all(torch.equal(parts[name], ours[place][name]) for name in parts)


@pytest.mark.parametrize("begun", [torch.channels_last, torch.contiguous_format])
def test_a_run_begun_on_a_gpu_goes_on_on_a_cpu_and_the_other_way(begun: torch.memory_format, tmp_path: Path) -> None:
    """A GPU has its weights in another order, and so has its checkpoint the optimizer's running means."""
    chosen = config(epochs=2, learning_rate=1e-2)

    def state_of(order: torch.memory_format) -> TrainState:
        state = start(chosen)
        state.network.to(memory_format=order)
        return state

    other = torch.contiguous_format if begun == torch.channels_last else torch.channels_last
    unbroken = state_of(begun)
    train(config(epochs=1, learning_rate=1e-2), unbroken, TRAINING, VALIDATION, CPU, Hooks())
    checkpoint.save(tmp_path / "checkpoint.pt", unbroken, metrics_bytes=0)
    moved = state_of(other)
    checkpoint.load(tmp_path / "checkpoint.pt", moved, torch.device("cpu"))
    for state in (unbroken, moved):
        assert train(chosen, state, TRAINING, VALIDATION, CPU, Hooks())
    for one, same in zip(unbroken.network.parameters(), moved.network.parameters(), strict=True):
        torch.testing.assert_close(same, one, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_is_read_without_running_what_is_in_it(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"network": Bomb()}, tmp_path / "checkpoint.pt")
    with pytest.raises(LabError, match="UnpicklingError"):
        checkpoint.load(tmp_path / "checkpoint.pt", start(config()), torch.device("cpu"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: bytes(len(whole)),
        lambda whole: b"words" + whole[5:],
    ],
)
def test_a_damaged_checkpoint_is_told_with_what_to_do(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    checkpoint.save(file, start(config()), metrics_bytes=0)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(LabError, match=r"checkpoint.pt can't be resumed .* delete it, and the run begins anew"):
        checkpoint.load(file, start(config()), torch.device("cpu"))


def test_a_checkpoint_that_a_full_device_cannot_take_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever believed it would delete the run's only checkpoint."""
    checkpoint.save(tmp_path / "checkpoint.pt", start(config()), metrics_bytes=0)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")  # of the driver, which isn't torch.OutOfMemoryError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(RuntimeError, match="CUDA error: out of memory"):
        checkpoint.load(tmp_path / "checkpoint.pt", start(config()), torch.device("cpu"))


def test_a_checkpoint_of_other_settings_is_told(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    checkpoint.save(file, start(config()), metrics_bytes=0)
    with pytest.raises(LabError, match="the run's settings were changed since"):
        checkpoint.load(file, start(config(model="deep_cnn")), torch.device("cpu"))


# What can be asked for besides


def rates(settings: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The learning rate of the body and of the head at each step."""
    seen: list[list[float]] = []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam, *given: Any) -> Any:
        seen.append([group["lr"] for group in self.param_groups])
        return real(self, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    run(settings)
    return seen


def test_a_one_cycle_rate_rises_then_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [head for _, head in rates(config(schedule="one-cycle", epochs=10, learning_rate=0.01), monkeypatch)]
    top = seen.index(max(seen))
    assert len(seen) == 40
    assert 4 <= top <= 6
    assert seen[: top + 1] == sorted(seen[: top + 1])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    assert max(seen) == pytest.approx(0.01, rel=0.02)
    assert 0 < seen[-1] < 1e-4


def test_the_body_learns_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rates(config(learning_rate=0.01, body_rate=0.1, epochs=1), monkeypatch)
    assert seen == [[pytest.approx(0.001), 0.01]] * 4


def test_a_frozen_body_and_its_statistics_stay_as_they_are() -> None:
    settings = config(model="resnet18", weights="none", frozen_epochs=2, epochs=2, learning_rate=1e-3)
    before = {name: value.clone() for name, value in start(settings).network.state_dict().items()}
    after = run(settings).network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"body.fc.weight", "body.fc.bias"}
    thawed = run(config(model="resnet18", weights="none", frozen_epochs=1, epochs=2)).network.state_dict()
    assert not torch.equal(thawed["body.conv1.weight"], before["body.conv1.weight"])


def test_what_is_kept_is_the_running_mean_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, seen = config(averaging=0.5, epochs=1), []
    real = loop._follow

    def follow(average: nn.Module, network: nn.Module, share: float) -> None:
        real(average, network, share)
        seen.append((share, network.state_dict()["body.classifier.weight"].clone()))

    monkeypatch.setattr(loop, "_follow", follow)
    wanted = start(settings).network.state_dict()["body.classifier.weight"].clone()
    recorder = Recorder()
    run(settings, recorder)
    assert [share for share, _ in seen] == [min(0.5, step / (step + 9)) for step in (1, 2, 3, 4)]
    for share, newest in seen:
        wanted = share * wanted + (1 - share) * newest
    torch.testing.assert_close(recorder.kept[0]["body.classifier.weight"], wanted)
    assert not torch.equal(recorder.kept[0]["body.classifier.weight"], seen[-1][1])


def test_a_run_ends_where_its_patience_does() -> None:
    settings = config(patience=2, epochs=40, learning_rate=0.02)
    recorder = Recorder()
    state = run(settings, recorder)
    epochs = [event for event in recorder.events if event["event"] == "epoch"]
    assert len(epochs) == state.best_epoch + 2 < 40
    assert [event["best"] for event in epochs][-3:] == [True, False, False]
    again = Recorder()
    assert train(settings, state, TRAINING, VALIDATION, CPU, again)  # as after a kill: it doesn't go on
    assert again.events == []


def test_mixup_blends_pictures_and_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(mixup=0.5)
    network = start(settings).network.eval()
    inputs = torch.rand(6, 3, SIZE, SIZE)
    labels = torch.arange(6) % 4
    blended = gradients.blend(settings, inputs, labels, draw=7)
    logits = network(blended.inputs)
    loss = blended.loss(logits, smoothing=0.0)
    rng = np.random.default_rng(loop.seed_of(settings.seed, 3, 7))
    share, partner = rng.beta(0.5, 0.5), torch.from_numpy(rng.permutation(6))
    torch.testing.assert_close(logits, network(share * inputs + (1 - share) * inputs[partner]))
    spread = share * nn.functional.one_hot(labels, 4) + (1 - share) * nn.functional.one_hot(labels[partner], 4)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, spread))


def test_long_gradients_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[float] = []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam, *given: Any) -> Any:
        grads = [each.grad for group in self.param_groups for each in group["params"]]
        lengths.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
        return real(self, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    run(config(epochs=1))
    longest = max(lengths)
    lengths.clear()
    run(config(epochs=1, clip_norm=longest / 4))
    assert max(lengths) == pytest.approx(longest / 4, rel=1e-3)


def test_the_loss_of_logits_in_half_precision_is_that_of_their_values() -> None:
    """On a GPU autocast takes it in the logits' precision, three digits; on a CPU it doesn't."""
    torch.manual_seed(0)
    logits, labels = (3 * torch.randn(64, 4)).bfloat16(), torch.arange(64) % 4
    batch = gradients.Blend(torch.zeros(64, 3, 2, 2), labels, labels.roll(1), share=0.7)
    for smoothing in (0.0, 0.1):
        assert torch.equal(batch.loss(logits, smoothing), batch.loss(logits.float(), smoothing))


# A device whose memory is too small


class Small(nn.Module):
    """A network on a device that has no memory for more than `most` pictures at once."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.seen = most, []  # type: ignore[var-annotated]
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4))

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen.append(len(pictures))
        if self.training and len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        logits: Tensor = self.body(pictures)
        return logits


def train_small(most: int, hooks: Hooks | None = None, **settings: Any) -> Small:
    chosen = config(epochs=1, batch_size=8, learning_rate=1e-3, **settings)
    torch.manual_seed(0)
    network = Small(most)
    state = TrainState(network, make_optimizer(chosen, network))
    train(chosen, state, TRAINING, VALIDATION, CPU, hooks or Hooks())
    return network


@pytest.mark.parametrize(("most", "told"), [(7, 4), (4, 4), (3, 2), (1, 1)])
def test_a_batch_that_is_too_large_names_one_that_fits(most: int, told: int) -> None:
    with pytest.raises(LabError, match=f"a batch of 8 doesn't fit in the device's memory: batch_size={told} does; "):
        train_small(most)


@pytest.mark.parametrize("too_large", ["stop", "split"])
def test_a_team_is_offered_no_parts_which_it_cannot_take(too_large: str) -> None:
    taken = gradients.Gradients(config(too_large=too_large), Small(3), CPU, Team(0, 2), quiet)
    batch = gradients.Blend(torch.zeros(8, 3, SIZE, SIZE), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(LabError, match=r"^a batch of 16 doesn't fit in the device's memory: batch_size=4 does$"):
        taken._use_less_memory(batch)


def test_a_team_s_process_looks_alone_for_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the others wait for its gradients, it would wait for ever for their statistics."""
    network = Small(3)
    network.body = nn.Sequential(nn.SyncBatchNorm(3), network.body)
    taken = gradients.Gradients(config(), network, CPU, Team(0, 2), quiet)
    asked: list[bool] = []
    network.body[0].register_forward_hook(lambda layer, *_: asked.append(layer.training))
    batch = gradients.Blend(torch.zeros(8, 3, SIZE, SIZE), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(LabError, match="batch_size=4 does"):
        taken._use_less_memory(batch)
    assert asked == [False]


@pytest.mark.parametrize("too_large", ["stop", "split"])
def test_where_no_picture_fits_the_run_says_so(too_large: str) -> None:
    with pytest.raises(LabError, match="not even one picture fits in the device's memory"):
        train_small(0, too_large=too_large)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_batch_taken_in_parts_gives_the_same_weights(mixup: float) -> None:
    notes: list[str] = []
    hooks = Recorder()
    hooks.note = notes.append  # type: ignore[method-assign]
    whole = train_small(8, mixup=mixup, label_smoothing=0.1)
    parts = train_small(3, hooks, mixup=mixup, label_smoothing=0.1, too_large="split")
    assert notes == [f"a batch of 8 doesn't fit in the device's memory: it is taken in {n} parts" for n in (2, 4)]
    assert parts.seen[:6] == [8, 4, 2, 2, 2, 2]  # tried, halved, halved again, and then as it fits
    for name, values in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], values)
    assert len([event for event in hooks.events if event["event"] == "step"]) == 4


@pytest.mark.parametrize("pictures", [25, 6])
def test_no_part_of_a_smaller_batch_is_a_single_picture(pictures: int) -> None:
    network = Small(4)
    network.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4), nn.BatchNorm1d(4))
    taken = gradients.Gradients(config(batch_size=32, too_large="split"), network, CPU, ALONE, quiet)
    taken.start_epoch(frozen=False)
    for batch in (32, pictures):
        network.seen.clear()
        taken.take(torch.rand(batch, 3, SIZE, SIZE), torch.zeros(batch, dtype=torch.int64), 0, 1.0)
    assert sum(network.seen) == pictures
    assert min(network.seen) > 1


def test_another_failure_of_the_network_is_not_taken_for_lack_of_memory() -> None:
    class Broken(Small):
        def forward(self, pictures: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    chosen = config(epochs=1)
    state = TrainState(network := Broken(8), make_optimizer(chosen, network))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(chosen, state, TRAINING, VALIDATION, CPU, Hooks())


@pytest.mark.parametrize("frozen_epochs", [0, 1])
def test_a_single_picture_that_batch_normalisation_learns_nothing_from_is_told(frozen_epochs: int) -> None:
    chosen = config(model="resnet18", batch_size=1, pictures_per_epoch=2, frozen_epochs=frozen_epochs)
    with pytest.raises(LabError, match="resnet18 can't learn from one picture of 32×32 at a time"):
        run(chosen)


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

    class Compiled(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            raise failure("no compiler here\nand much more")

    monkeypatch.setattr(torch, "compile", lambda network: Compiled())
    with pytest.raises(LabError, match=r"^torch.compile failed here, use compile=no: no compiler here$"):
        run(config(epochs=1, compile="yes"))


@pytest.mark.slow
def test_a_compiled_network_has_the_losses_of_a_plain_one() -> None:
    plain, compiled = Recorder(), Recorder()
    run(config(epochs=1), plain)
    run(config(epochs=1, compile="yes"), compiled)
    steps = [[event["loss"] for event in each.events if event["event"] == "step"] for each in (plain, compiled)]
    assert steps[1] == pytest.approx(steps[0], rel=1e-4)


# Pretrained networks


@pytest.mark.parametrize(
    ("model", "changes", "wanted"),
    [
        ("efficientnet_lite0", {}, (1, 0.2)),
        ("efficientnet_lite0", {"weights": "mine.pth"}, (1, 0.2)),
        ("efficientnet_lite0", {"weights": "none"}, (0, 1.0)),
        ("efficientnet_lite0", {"frozen_epochs": 0}, (0, 0.2)),
        ("efficientnet_lite0", {"body_rate": 0.5}, (1, 0.5)),
        ("basic_cnn", {}, (0, 1.0)),
        ("basic_cnn", {"frozen_epochs": 2}, (2, 1.0)),
    ],
)
def test_a_pretrained_body_is_treated_with_care_unless_asked_otherwise(
    model: str, changes: dict[str, Any], wanted: tuple[int, float]
) -> None:
    values = {"data": "d", "model": model, "size": SIZE} | changes
    assert loop.transfer(TrainConfig.from_json(values)) == wanted
