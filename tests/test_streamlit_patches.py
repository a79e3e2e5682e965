"""ui.streamlit_patches: what the server sends isn't held back, and is the same as without."""

from __future__ import annotations

import asyncio
import inspect
import socket
from asyncio import base_events
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from starlette.responses import FileResponse
from streamlit import file_util
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_server import _bind_socket
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_handler
from streamlit.web.server.starlette.starlette_websocket import _is_origin_allowed

from ui import streamlit_patches

PROGRAM = Path(file_util.get_static_dir())


@pytest.fixture
def as_streamlit_listens() -> Iterator[socket.socket]:
    with _bind_socket("127.0.0.1", 0, 5) as listening:
        yield listening


def test_a_connection_to_streamlit_s_own_socket_sends_at_once(
    as_streamlit_listens: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_events, "_set_nodelay", base_events._set_nodelay)  # put back afterwards
    streamlit_patches.send_at_once()
    at_once: list[bool] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        at_once.append(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    async def visited() -> None:
        async with await asyncio.start_server(answer, sock=as_streamlit_listens):
            reader, writer = await asyncio.open_connection(*as_streamlit_listens.getsockname())
            await reader.read()
            writer.close()

    with ThreadPoolExecutor(1) as pool:  # in this thread a browser's test may have left a loop at work
        pool.submit(asyncio.run, visited()).result()
    assert at_once == [True]


def test_sockets_that_know_no_such_waiting_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_events, "_set_nodelay", base_events._set_nodelay)
    streamlit_patches.send_at_once()
    for one in socket.socketpair():  # of the machine itself, where there are such
        with one:
            base_events._set_nodelay(one)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as letters:
        base_events._set_nodelay(letters)


def test_the_app_sends_at_once() -> None:
    """Each page's frame sees to it."""
    import ui.shell  # noqa: F401

    assert base_events._set_nodelay is streamlit_patches._send_at_once


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    pieces: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


def asked(app: Callable[..., Awaitable[None]], path: str, method: str = "GET", **headers: str) -> Answer:
    """What `app` answers to a request, without a network."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": method, "path": path, "root_path": "",
             "query_string": b"", "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
             "extensions": {}}  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, app(scope, receive, send)).result()
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), [each["body"] for each in sent[1:]])


@pytest.fixture
def streamlits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Answer]]:
    """Asks Streamlit for a file of its own program, as it is without the mend."""
    monkeypatch.setattr(FileResponse, "__call__", inspect.unwrap(FileResponse.__call__))
    program = create_streamlit_static_handler(str(PROGRAM), None)
    return lambda path, *method, **headers: asked(program, path, *method, **headers)


SCRIPT = "// Why\nexport default function () { window.mended = 1 }\n"
HEAD = streamlit_patches.head_of_the_page(["Browse", "Train"], SCRIPT)


def mend() -> None:
    streamlit_patches.begin_pages_with(HEAD)


@pytest.mark.parametrize("path", ["/", "/Browse", "/nonsense"])
def test_only_the_page_s_head_is_another(streamlits: Callable[..., Answer], path: str) -> None:
    before = streamlits(path).body.decode()
    mend()
    after = streamlits(path)
    assert after.body.decode() == before.replace("<head>", HEAD)
    assert HEAD not in before
    assert after.headers[b"cache-control"] == b"no-cache"
    assert int(after.headers[b"content-length"]) == len(after.body)
    assert b"etag" not in after.headers  # Streamlit's, with which the old page would be taken for this one


@pytest.mark.parametrize("path", ["/favicon.png", "/manifest.json"])
def test_other_files_are_left_alone(path: str, streamlits: Callable[..., Answer]) -> None:
    before = streamlits(path)
    mend()
    assert streamlits(path) == before
    assert before.body == (PROGRAM / path[1:]).read_bytes()


def test_another_folder_s_page_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileResponse, "__call__", inspect.unwrap(FileResponse.__call__))
    mend()
    (tmp_path / "index.html").write_bytes(b"<head>")
    assert asked(FileResponse(tmp_path / "index.html"), "/").body == b"<head>"


def test_the_app_s_pages_know_where_their_server_is() -> None:
    import ui.shell  # noqa: F401

    page = asked(create_streamlit_static_handler(str(PROGRAM), None), "/").body.decode()
    assert "(?:Browse|Train|Compare|Review|Classify)" in page
    assert "window.labHistory = true" in page


@pytest.mark.parametrize(
    ("host", "origin", "may"),
    [
        ("localhost:8501", "http://localhost:8501", True),
        ("127.0.0.1:8501", "http://127.0.0.1:8501", True),
        ("127.0.0.1:8501", "http://other.example", False),
        ("other.example:8501", "http://other.example:8501", False),  # a name that its owner gave to this machine
    ],
)
def test_no_page_of_another_site_opens_a_session_and_nobody_outside_is_asked(
    host: str, origin: str, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the settings of this program, with which the server is started, and the mend of each page's frame."""
    import requests

    import ui.shell  # noqa: F401

    asked: list[str] = []
    monkeypatch.setattr(requests, "get", lambda address, **_: asked.append(address))
    assert _is_origin_allowed(origin, host) is may
    assert asked == []


def test_what_a_choice_brings_about_is_done_to_its_end_though_the_next_event_has_come() -> None:
    def page() -> None:
        import streamlit as st
        from streamlit.runtime.scriptrunner import get_script_run_ctx
        from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

        from ui import streamlit_patches

        streamlit_patches.finish_callbacks()

        def chosen() -> None:
            get_script_run_ctx().script_requests.request_rerun(RerunData())  # type: ignore[union-attr]
            st.session_state["kept"] = st.session_state["number"]

        st.slider("Number", 0, 9, key="number", on_change=chosen)
        st.text(f"kept: {st.session_state.get('kept')}")

    app = AppTest.from_function(page).run(timeout=30)
    app.slider(key="number").set_value(5).run(timeout=30)
    assert not app.exception
    assert app.text[0].value == "kept: 5"


@pytest.mark.parametrize(
    ("of_a_fragment", "page", "by_back", "sent"),
    [
        (False, "Browse", False, {"known"}),
        (True, "Browse", False, {"known"}),
        (False, "Browse", True, set()),
        (False, "Train", False, set()),
        (False, "Train", True, set()),
        (True, "Train", False, None),
    ],
)
def test_a_page_that_was_left_is_neither_drawn_nor_taken_for_known(
    of_a_fragment: bool, page: str, by_back: bool, sent: set[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[RerunData] = []
    monkeypatch.setattr(ScriptRunner, "_run_script", lambda _, rerun_data: drawn.append(rerun_data))
    streamlit_patches.leave_pages_behind()
    at_browse: Any = SimpleNamespace(_pages_manager=SimpleNamespace(current_page_script_hash="Browse"))
    asked = RerunData(
        page_script_hash=page, query_string="dataset=demo", is_history_navigation=by_back,
        fragment_id_queue=["clock"] if of_a_fragment else [], cached_message_hashes=frozenset({"known"}),
    )  # fmt: skip
    ScriptRunner._run_script(at_browse, asked)
    assert drawn == ([] if sent is None else [replace(asked, cached_message_hashes=frozenset(sent))])
