"""Connections to the browser that send at once."""

import socket
from asyncio import base_events


def _send_at_once(connection: socket.socket) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def send_at_once() -> None:
    """From now on no new connection of this program holds back what it sends.

    Streamlit listens on a socket that doesn't say that it is TCP's, so asyncio doesn't turn Nagle's waiting off, as it
    does for all others: each file after a connection's first then comes 40 ms late, the time in which a browser
    acknowledges what it got. On a first visit a page is some sixty files.
    """
    base_events._set_nodelay = _send_at_once
