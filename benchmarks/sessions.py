"""A session of the app as a browser has one, over the protocol that a browser speaks, and without its weight: for what
measures or tests many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
from streamlit.proto.AutoRerun_pb2 import AutoRerun
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import FileURLsRequest, UploadedFileInfo
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from websockets.asyncio.client import connect

T = TypeVar("T")
PATIENCE = 280  # seconds for one answer of the server: shorter than what a hung test would wait


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, run in a thread of its own: Playwright keeps an event loop running in the tests' thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Person:
    """One of many who have a page open, each in a session of their own."""

    def __init__(self, address: str, query: str = "", page: str = "Classify"):
        self.address, self.query, self.page = address, query, page
        self.drawn: list[Element] = []
        """What the server sent to be drawn since its last run began."""
        self.clock = AutoRerun()
        """The fragment of the page that is to be drawn again and again, and after how many seconds."""
        self._page_hash = ""
        self._session = ""
        self._http = requests.Session()
        # A busy server may close a connection that was idle for 5 s just as something is sent over it. A browser then
        # sends it again; here each request has a connection of its own.
        self._http.headers["Connection"] = "close"

    async def __aenter__(self) -> Person:
        stream = self.address.replace("http", "ws") + "/_stcore/stream"
        await asyncio.to_thread(self._http.get, f"{self.address}/_stcore/health", timeout=PATIENCE)  # a cookie
        self._socket = await connect(stream, subprotocols=["streamlit"], max_size=None)
        await self._run()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        self._http.close()

    async def hand_in(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Uploads (name, content) of each file, as one hand-in; returns when the page has drawn what became of it."""
        (uploader,) = [element.file_uploader.id for element in self.drawn if element.HasField("file_uploader")]
        asked = FileURLsRequest(request_id="1", file_names=[name for name, _ in files], session_id=self._session)
        await self._send(file_urls_request=asked)
        told = await self._until(lambda message: message.HasField("file_urls_response"))
        state = WidgetState(id=uploader)
        for (name, data), urls in zip(files, told.file_urls_response.file_urls, strict=True):
            await asyncio.to_thread(self._put, urls.upload_url, name, data)
            state.file_uploader_state_value.uploaded_file_info.append(
                UploadedFileInfo(name=name, size=len(data), file_id=urls.file_id, file_urls=urls)
            )
        await self._run(widget_states=WidgetStates(widgets=[state]))

    async def tick(self) -> None:
        """Has the fragment of the page's clock drawn again."""
        await self._send(rerun_script=ClientState(page_script_hash=self._page_hash, query_string=self.query,
                                                  fragment_id=self.clock.fragment_id, is_auto_rerun=True))  # fmt: skip
        await self._ended(ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)

    async def _run(self, **state: Any) -> None:
        """Has the page's script run, to its end and not to where it begins anew."""
        await self._send(rerun_script=ClientState(page_name=self.page, query_string=self.query, **state))
        await self._ended(ForwardMsg.FINISHED_SUCCESSFULLY)

    async def _ended(self, how: ForwardMsg.ScriptFinishedStatus.ValueType) -> None:
        await self._until(lambda message: message.HasField("script_finished") and message.script_finished == how)

    async def _send(self, **what: Any) -> None:
        await self._socket.send(BackMsg(**what).SerializeToString())

    async def _until(self, found: Callable[[ForwardMsg], bool]) -> ForwardMsg:
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(self._socket.recv(), PATIENCE))
            if message.HasField("new_session"):
                self._session = message.new_session.initialize.session_id
                self.drawn = []
            if message.HasField("navigation"):
                self._page_hash = message.navigation.page_script_hash
            if message.HasField("auto_rerun"):
                self.clock = message.auto_rerun
            if message.delta.HasField("new_element"):
                element = message.delta.new_element
                assert not element.HasField("exception"), element.exception.message
                self.drawn.append(element)
            if found(message):
                return message

    def _put(self, url: str, name: str, data: bytes) -> None:
        token = self._http.cookies.get("_streamlit_xsrf", "")
        answer = self._http.put(
            self.address + url, files={"file": (name, data)}, headers={"X-Xsrftoken": token}, timeout=PATIENCE
        )
        answer.raise_for_status()


def as_sent(name: str) -> str:
    """A file's name as a browser sends it, and the page has it."""
    return name.replace('"', "%22").replace("\n", "%0A").replace("\r", "%0D")


def is_healthy(address: str) -> bool:
    return requests.get(f"{address}/_stcore/health", timeout=30).text == "ok"
