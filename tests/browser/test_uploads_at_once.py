"""Twenty people upload pictures at the same moment, each in a session of their own: all are answered right, in bounded
memory. Sessions without browsers: twenty browsers would measure this machine and not the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.memory import most_memory
from benchmarks.sessions import Person, is_healthy, run_apart
from bloodcell_core import runs
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import encode
from bloodcell_core.inference.predictor import Predictor
from bloodcell_core.smear import slides

PEOPLE = 20
LARGE = range(0, PEOPLE, 2)  # who hands in a camera's picture of 20 megapixels
LABELS = ["neutrophil", "lymphocyte", "monocyte"]
MOST_MEMORY = 1.2e9  # bytes, of the whole server at its highest, without program files
BUNDLED = runs.BUNDLED  # with cell-net, which the server has; conftest.py hides it inside a test


def picture(person: int) -> bytes:
    field = demo.draw_field(np.random.default_rng(person), LABELS).pixels
    return encode(cv2.resize(field, None, fx=8, fy=8), ".jpg") if person in LARGE else encode(field)


async def one_of_many(address: str, name: str, data: bytes, ready: asyncio.Barrier) -> dict[str, Any]:
    """Opens the page, waits for all others, hands in a picture, and gives back what the field shows."""
    async with Person(address, "threshold=0") as person:
        await ready.wait()
        await person.hand_in([(name, data)])
        (field,) = [element.bidi_component for element in person.drawn if element.HasField("bidi_component")
                    and element.bidi_component.component_name == "lab_field"]  # fmt: skip
        return json.loads(field.json)


@pytest.mark.slow
def test_twenty_uploads_at_once(app_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [picture(person) for person in range(PEOPLE)]

    async def all_at_once() -> list[dict[str, Any]]:
        ready = asyncio.Barrier(PEOPLE)
        return await asyncio.gather(
            *(one_of_many(app_server.address, f"{n}.png", each, ready) for n, each in enumerate(data))
        )

    shown = run_apart(all_at_once())
    memory = most_memory(app_server.pid)
    print(f"{memory / 1e9:.2f} GB")
    assert is_healthy(app_server.address)
    monkeypatch.setenv("BLOODCELL_HOME", str(tmp_path / "workspace"))
    monkeypatch.setattr(runs, "BUNDLED", BUNDLED)
    alone = Predictor(runs.find("cell-net"), threshold=0)
    answers = alone.classify((str(n), lambda each=each: each) for n, each in enumerate(data))
    for drawn, answer in zip(shown, answers, strict=True):
        assert len(answer.cells) >= 2
        assert [tuple(cell["box"]) for cell in drawn["cells"]] == [cell.box for cell in answer.cells]
        assert [cell["state"] for cell in drawn["cells"]] == [cell.state for cell in answer.cells]
        assert [cell["named"] for cell in drawn["cells"]] == [cell.likeliest for cell in answer.cells]
        assert (drawn["width"], drawn["height"]) == (answer.width, answer.height)
    assert len({json.dumps(drawn["cells"]) for drawn in shown}) == PEOPLE, "each has another picture"
    listed, damaged = slides.listed()
    assert not damaged
    assert sorted(slide.name for slide in listed) == sorted(map(str, range(PEOPLE)))
    assert memory < MOST_MEMORY
