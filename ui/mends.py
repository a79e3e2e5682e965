"""What is mended in Streamlit from outside. Each replaces something that isn't public, and changes nothing once
Streamlit does it itself."""

import functools
import inspect
import socket
from asyncio import base_events

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData


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


def leave_pages_behind() -> None:
    """From now on a page that was left is drawn no more.

    A fragment that asks to be drawn anew just after its page was left, by a clock or by a key pressed late, waits for
    the new page to be drawn. Then Streamlit tells the browser that it is at the old page again, which clears the window
    for it, though the fragment is gone: the window stays white, or fails by "Bad delta path index" at what comes next.
    """
    run = inspect.unwrap(ScriptRunner._run_script)

    @functools.wraps(run)
    def run_unless_left(self: ScriptRunner, rerun_data: RerunData) -> None:
        at_hand = self._pages_manager.current_page_script_hash
        if not rerun_data.fragment_id_queue or rerun_data.page_script_hash == at_hand:
            run(self, rerun_data)

    ScriptRunner._run_script = run_unless_left  # type: ignore[method-assign]
