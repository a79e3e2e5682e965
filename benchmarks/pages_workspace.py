"""What `bench_dashboard` looks at: a workspace in which a run seems to train, and an app that is as good as empty."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

from benchmarks.server import ROOT

STEPS, MANY_STEPS, EPOCHS = 2000, 100_000, 100
EMPTY = "Empty"  # title, and address, of the empty page


def filled(home: Path) -> None:
    """Makes the dataset and the two runs; half a minute."""
    os.environ["BLOODCELL_HOME"] = str(home)
    from bloodcell_core.config import PRESETS, TrainConfig
    from bloodcell_core.data.importing import make_demo
    from bloodcell_core.training import jobs, worker

    make_demo("demo", per_class=100, seed=3)
    settings = PRESETS["quick look"] | {"epochs": 2, "pictures_per_epoch": 64}
    run = jobs.create_run(TrainConfig(data="demo", model="basic_cnn", **settings))
    worker.work(run, say=lambda line: None)
    shutil.copytree(run.folder, at_work(home))
    for ended in ("summary.json", "predictions.parquet"):
        (at_work(home) / ended).unlink()
    config = json.loads((at_work(home) / "config.json").read_text(encoding="utf-8"))
    (at_work(home) / "config.json").write_text(json.dumps(config | {"epochs": EPOCHS}), encoding="utf-8")
    jobs.write_status(at_work(home), state="running", step=STEPS, total_steps=2 * MANY_STEPS)
    with open(at_work(home) / "metrics.jsonl", "w", encoding="utf-8") as file:
        file.writelines(events(1, STEPS + 1))


def at_work(home: Path) -> Path:
    return home / "runs" / "29990101-000000-basic_cnn-live"


def events(first: int, end: int) -> list[str]:
    """What a run tells of these steps, and of the epochs that end among them; a line each."""
    each_epoch, lines = 2 * MANY_STEPS // EPOCHS, []
    for step in range(first, end):
        # A noise that any two measures share
        lines.append({"event": "step", "step": step, "loss": (1 + 0.3 * (step * 7919 % 101) / 101) / step**0.1,
                      "seconds": 0.01})  # fmt: skip
        if step % each_epoch == 0:
            loss = 1 / step**0.1
            lines.append({"event": "epoch", "epoch": step // each_epoch, "train_loss": loss, "val_loss": 1.1 * loss,
                          "train_accuracy": 1 - loss / 2, "val_accuracy": 1 - loss / 1.8})  # fmt: skip
    return [json.dumps(line) + "\n" for line in lines]


class Training:
    """Holds the lock of the run that looks as if it were training, and tells ten steps a second."""

    def __init__(self, home: Path):
        self.home, self.step = home, STEPS
        self._ended, self._telling = threading.Event(), threading.Lock()
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        from filelock import FileLock

        with FileLock(at_work(self.home) / "worker.lock"):
            while not self._ended.wait(0.1):
                self.tell(self.step + 1)

    def tell(self, upto: int) -> None:
        with self._telling, open(at_work(self.home) / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.writelines(events(self.step + 1, upto + 1))
            self.step = max(self.step, upto)

    def end(self) -> None:
        self._ended.set()


def empty_app(folder: Path) -> Path:
    """An app with our settings whose pages are a title and nothing else."""
    (folder / "pages").mkdir(parents=True)
    shutil.copytree(ROOT / ".streamlit", folder / ".streamlit")
    for script in ("streamlit_app.py", f"pages/{EMPTY}.py"):
        (folder / script).write_text(f"import streamlit as st\n\nst.title({EMPTY!r})\n", encoding="utf-8")
    return folder
