"""The training loop's hooks that write the run's folder: metrics.jsonl, status.json, best weights, checkpoints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import psutil
import torch
from torch import nn

from bloodcell_core.background import write_status
from bloodcell_core.device import Device
from bloodcell_core.models.network import save_weights
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.runs import Run
from bloodcell_core.training import checkpoint
from bloodcell_core.training.jobs import discard_results
from bloodcell_core.training.loop import Hooks, TrainState

CHECKPOINT_SECONDS = 120.0  # besides the end of each epoch
HEARTBEAT = 1.0  # seconds between two writes of status.json


class Reporter(Hooks):
    """`Hooks` that write files; a context manager, as metrics.jsonl stays open."""

    def __init__(
        self,
        run: Run,
        metrics_bytes: int,
        total_steps: int,
        a_step: float,
        device: Device,
        say: Callable[[str], None],
        count: Progress = no_progress,
    ):
        self._run, self._total_steps, self._device = run, total_steps, device
        self._say, self._count = say, count
        self._pictures_a_step = a_step
        self._metrics_bytes = metrics_bytes
        self._last_checkpoint = self._last_beat = time.monotonic()
        self._rate: float | None = None  # steps a second, lately
        self._last_log: tuple[float, int] | None = None
        self._stream: BinaryIO

    def __enter__(self) -> Reporter:
        file = self._run.folder / "metrics.jsonl"
        file.touch()
        self._stream = open(file, "r+b")
        # Events after the last checkpoint will be made again. After a loss of power there may be fewer than it knows.
        self._stream.truncate(min(self._metrics_bytes, self._whole_lines()))
        self._metrics_bytes = self._stream.seek(0, os.SEEK_END)
        write_status(self._run.folder, phase="training")
        return self

    def _whole_lines(self) -> int:
        return self._stream.read().rfind(b"\n") + 1

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def log(self, events: list[dict[str, Any]]) -> None:
        """Appends events to metrics.jsonl, and calls `say` for the epochs among them."""
        self._stream.write("".join(json.dumps(event) + "\n" for event in events).encode())
        self._stream.flush()
        self._metrics_bytes = self._stream.tell()
        for event in events:
            if event["event"] == "epoch":
                self._say(
                    f"epoch {event['epoch']}/{self._run.config.epochs}: train loss {event['train_loss']:.4f}, "
                    f"validation loss {event['val_loss']:.4f}, accuracy {event['val_accuracy']:.4f} "
                    f"({event['seconds']:.1f} s)" + (", best so far" if event["best"] else "")
                )
        if events:
            self._beat(events[-1])

    def _beat(self, event: dict[str, Any]) -> None:
        now, step = time.monotonic(), int(event["step"])
        if self._last_log and event["event"] == "step":
            self._rate = (step - self._last_log[1]) / max(now - self._last_log[0], 1e-6)
        self._last_log = (now, step)
        self._count(step, self._total_steps)
        if now - self._last_beat < HEARTBEAT and event["event"] == "step":
            return
        self._last_beat = now
        write_status(
            self._run.folder,
            step=step,
            total_steps=self._total_steps,
            pictures_per_second=round(self._rate * self._pictures_a_step, 1) if self._rate else None,
            seconds_left=round((self._total_steps - step) / self._rate) if self._rate else None,
            memory_mb=self._memory() // 2**20,
            **({"epoch": event["epoch"]} if event["event"] == "epoch" else {}),
        )

    def _memory(self) -> int:
        """Bytes: the most that the run has taken of the GPU's memory, or what its process has now of the machine's."""
        if self._device.is_cuda:
            return torch.cuda.max_memory_allocated(self._device.device)
        return int(psutil.Process().memory_info().rss)

    def note(self, words: str) -> None:
        """Writes a note to the log, and to status.json for the run's card."""
        self._say(words)
        write_status(self._run.folder, note=words)

    def keep_best(self, network: nn.Module, event: dict[str, Any]) -> None:
        """Writes the weights, and with them the epoch that they are from.

        The log can't tell it for sure: a worker that is killed between the two goes on from an earlier epoch. Results
        of an earlier stop are kept until better weights replace them.
        """
        discard_results(self._run.folder)
        save_weights(network, self._run.weights_file, {"epoch": json.dumps(event)})

    def checkpoint(self, state: TrainState, epoch_ended: bool) -> None:
        """Writes one at an epoch's end, when asked to stop, and every CHECKPOINT_SECONDS."""
        now = time.monotonic()
        stopping = self.stop_requested()
        if epoch_ended or stopping or now - self._last_checkpoint > CHECKPOINT_SECONDS:
            os.fsync(self._stream.fileno())  # no checkpoint may outlast the events before it
            checkpoint.save(self._run.folder / "checkpoint.pt", state, self._metrics_bytes)
            self._last_checkpoint = now

    def stop_requested(self) -> bool:
        """Whether somebody has asked the run to stop."""
        return self._run.stop_file.exists()
