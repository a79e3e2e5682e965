"""ui.mends: what the server sends isn't held back."""

from __future__ import annotations

import asyncio
import socket
from asyncio import base_events
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from streamlit.web.server.starlette.starlette_server import _bind_socket

from ui import mends


@pytest.fixture
def as_streamlit_listens() -> Iterator[socket.socket]:
    with _bind_socket("127.0.0.1", 0, 5) as listening:
        yield listening


def test_a_connection_to_streamlit_s_own_socket_sends_at_once(
    as_streamlit_listens: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_events, "_set_nodelay", base_events._set_nodelay)  # put back afterwards
    mends.send_at_once()
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
    mends.send_at_once()
    for one in socket.socketpair():  # of the machine itself, where there are such
        with one:
            base_events._set_nodelay(one)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as letters:
        base_events._set_nodelay(letters)


def test_the_app_sends_at_once() -> None:
    """Each page's frame sees to it."""
    import ui.shell  # noqa: F401

    assert base_events._set_nodelay is mends._send_at_once
