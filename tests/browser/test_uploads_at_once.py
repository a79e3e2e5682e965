"""Twenty people hand in pictures at the same moment, over the protocol that a browser speaks: all answered right, in
bounded memory. Twenty real browsers would measure this machine and not the server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import FileURLsRequest, UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.asyncio.client import connect

from bloodcell_core import runs
from bloodcell_core.data import demo
from bloodcell_core.data.pictures import encode
from bloodcell_core.inference.predictor import Predictor

pytest_plugins = ["tests.training_fixtures"]

PEOPLE = 20
LARGE = (1, 8)  # who hands in a camera's picture of 20 megapixels
LABELS = ["neutrophil", "lymphocyte", "monocyte"]
MOST_MEMORY = 1.5 * 2**30  # bytes, of the whole server at its highest
PATIENCE = 240  # seconds


@pytest.fixture
def lab_with_run(lab: Path, tmp_path: Path) -> Path:
    from tests.training_fixtures import train_here

    train_here(view="cell", epochs=4, seed=1)
    home = tmp_path / "workspace"
    lab.rename(home)
    return home


def picture(person: int) -> bytes:
    field = demo.draw_field(np.random.default_rng(person), LABELS).pixels
    return encode(np.tile(field, (8, 8, 1)), ".jpg") if person in LARGE else encode(field)


class Person:
    """A session of the app, as a browser has one."""

    def __init__(self, address: str, name: str):
        self.address, self.name = address, name
        self.uploader = ""
        self.session = ""

    async def hand_in(self, data: bytes, ready: asyncio.Barrier) -> dict[str, Any]:
        """Opens the Classify page, waits for all others, hands in a picture, and gives back what the field shows."""
        stream = self.address.replace("http", "ws") + "/_stcore/stream"
        async with connect(stream, subprotocols=["streamlit"], max_size=None) as self.socket:
            await self._send(rerun_script=ClientState(page_name="Classify", query_string="threshold=0"))
            await self._until(lambda message: self.uploader and message.HasField("script_finished"))
            await ready.wait()
            await self._send(
                file_urls_request=FileURLsRequest(request_id="1", file_names=[self.name], session_id=self.session)
            )
            told = await self._until(lambda message: message.HasField("file_urls_response"))
            (urls,) = told.file_urls_response.file_urls
            await asyncio.to_thread(self._put, urls.upload_url, data)
            state = WidgetState(id=self.uploader)
            state.file_uploader_state_value.uploaded_file_info.append(
                UploadedFileInfo(name=self.name, size=len(data), file_id=urls.file_id, file_urls=urls)
            )
            await self._send(
                rerun_script=ClientState(page_name="Classify", query_string="threshold=0",
                                         widget_states=WidgetStates(widgets=[state]))
            )  # fmt: skip
            drawn = await self._until(lambda message: _component(message) == "lab_field")
            return json.loads(drawn.delta.new_element.bidi_component.json)

    async def _send(self, **what: Any) -> None:
        await self.socket.send(BackMsg(**what).SerializeToString())

    async def _until(self, found: Any) -> ForwardMsg:
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(self.socket.recv(), PATIENCE))
            if message.HasField("new_session"):
                self.session = message.new_session.initialize.session_id
            element = message.delta.new_element
            assert not element.HasField("exception"), element.exception.message
            if element.HasField("file_uploader"):
                self.uploader = element.file_uploader.id
            if found(message):
                return message

    def _put(self, url: str, data: bytes) -> None:
        with requests.Session() as browser:
            browser.get(f"{self.address}/_stcore/health", timeout=PATIENCE)
            token = browser.cookies.get("_streamlit_xsrf", "")
            answer = browser.put(
                self.address + url, files={self.name: (self.name, data)}, headers={"X-Xsrftoken": token},
                timeout=PATIENCE,
            )  # fmt: skip
        answer.raise_for_status()


def _component(message: ForwardMsg) -> str:
    element = message.delta.new_element
    return element.bidi_component.component_name if element.HasField("bidi_component") else ""


def test_twenty_uploads_at_once(lab_with_run: Path, app_server, monkeypatch):
    address = app_server.address
    data = [picture(person) for person in range(PEOPLE)]

    async def all_at_once() -> list[dict[str, Any]]:
        ready = asyncio.Barrier(PEOPLE)
        people = [Person(address, f"person {number}.png") for number in range(PEOPLE)]
        return await asyncio.gather(*(one.hand_in(each, ready) for one, each in zip(people, data, strict=True)))

    shown = asyncio.run(all_at_once())
    monkeypatch.setenv("BLOODCELL_HOME", str(lab_with_run))
    run = runs.find("latest")
    alone = Predictor(run, threshold=0).classify((str(n), lambda each=each: each) for n, each in enumerate(data))
    for drawn, answer in zip(shown, alone, strict=True):
        assert [tuple(cell["box"]) for cell in drawn["cells"]] == [cell.box for cell in answer.cells]
        assert [cell["named"] for cell in drawn["cells"]] == [cell.likeliest for cell in answer.cells]
        assert drawn["width"] == answer.width
    assert len(list((lab_with_run / "slides").glob("2*"))) == PEOPLE
    status = Path(f"/proc/{app_server.pid}/status").read_text()
    highest = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert highest < MOST_MEMORY, f"{highest / 2**30:.2f} GiB"
    assert requests.get(f"{address}/_stcore/health", timeout=30).text == "ok"
