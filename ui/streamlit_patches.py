"""What is mended in Streamlit from outside. Each replaces something that isn't public, and changes nothing once
Streamlit does it itself."""

import functools
import inspect
import socket
import threading
from asyncio import base_events
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import FileResponse, HTMLResponse
from starlette.types import Receive, Scope, Send
from streamlit import file_util, net_util
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.state.session_state import SessionState


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


WHERE_THE_SERVER_IS = """{
  const page = location.pathname.match(/^(.*[/])(?:PAGES)$/);
  if (page) window.__streamlit = { BACKEND_BASE_URL: location.origin + page[1] };
}"""


def head_of_the_page(pages: Iterable[str], component: str) -> str:
    """What the page of Streamlit's program begins with: scripts that run before any of its own.

    Args:
        pages: the last parts of the addresses of the app's pages.
        component: the text of a component's module, whose function is called at once.
    """
    called = component.replace("export default", "void", 1) + "()"
    scripts = WHERE_THE_SERVER_IS.replace("PAGES", "|".join(pages)), called
    return "<head>" + "".join(f"<script>{script}</script>" for script in scripts)


def begin_pages_with(head: str) -> None:
    """From now on the page of Streamlit's program has `head` in the place of its <head>.

    A page that is asked for by its own address looks for the server below that address first, as in
    /Browse/_stcore/health, and waits 0.1 s before it looks a level higher, at each visit: `head` tells it where.
    """
    page = (Path(file_util.get_static_dir()) / "index.html").resolve()  # Starlette may have followed links
    answer = inspect.unwrap(FileResponse.__call__)

    @functools.wraps(answer)
    async def answer_with_head(self: FileResponse, scope: Scope, receive: Receive, send: Send) -> None:
        if Path(self.path).resolve() == page and scope["type"] == "http" and scope["method"] == "GET":
            text = page.read_text(encoding="utf-8").replace("<head>", head, 1)
            kept = {"cache-control": self.headers["cache-control"]}  # its length and ETag are another text's
            await HTMLResponse(text, headers=kept)(scope, receive, send)
        else:
            await answer(self, scope, receive, send)

    FileResponse.__call__ = answer_with_head  # type: ignore[method-assign]


def ask_nobody_outside() -> None:
    """From now on the server doesn't ask the internet for its own address.

    Streamlit does each time a page of another site tries to open a session here, as it might be at that address, and
    where there is no answer every page waits for two seconds.
    """
    net_util.get_external_ip = lambda: None


def leave_pages_behind() -> None:
    """From now on nothing comes of a page that was left.

    A fragment that asks to be drawn anew just after its page was left, by a clock or by a key pressed late, waits for
    the new page to be drawn. Then Streamlit tells the browser that it is at the old page again, which clears the window
    for it, though the fragment is gone: the window stays white, or fails by "Bad delta path index" at what comes next.

    Of a message that the browser says it has Streamlit sends the name alone. But a browser that goes on from page to
    page may have forgotten it when the name comes, and does no more until it is reloaded ("Cached ForwardMsg MISS").
    """
    run = inspect.unwrap(ScriptRunner._run_script)

    @functools.wraps(run)
    def run_unless_left(self: ScriptRunner, rerun_data: RerunData) -> None:
        moves = rerun_data.page_script_hash != self._pages_manager.current_page_script_hash
        if moves and rerun_data.fragment_id_queue:
            return
        if moves or rerun_data.is_history_navigation:
            rerun_data = replace(rerun_data, cached_message_hashes=frozenset())
        run(self, rerun_data)

    ScriptRunner._run_script = run_unless_left  # type: ignore[method-assign]


def keep_the_newest_address() -> None:
    """From now on what is done on a page doesn't take it back to an older address.

    All that the browser sends carries the address that it has. Over a slow network the server may have set another one
    since, and Streamlit would take the older one for it: the first of two quick choices was lost. Of the page's own
    addresses only Back and Forward, of which Streamlit tells, lead to another one.
    """
    reset = inspect.unwrap(ScriptRunContext.reset)

    @functools.wraps(reset)
    def reset_to_the_newest(self: ScriptRunContext, query_string: str, page_script_hash: str, **more: Any) -> None:
        by_an_event = more["context_info"] and not more["is_history_navigation"]  # a test without a browser has none
        older = ""
        if by_an_event and page_script_hash == self.page_script_hash:
            with self.session_state.query_params() as params:
                newest = urlencode(params._query_params, doseq=True)
            if parse_qs(newest) != parse_qs(query_string):
                older, query_string = query_string, newest
        reset(self, query_string, page_script_hash, **more)
        if older:
            params._send_query_param_msg()  # the first may have been lost with the run that this one brought to an end

    ScriptRunContext.reset = reset_to_the_newest  # type: ignore[method-assign]


def finish_callbacks() -> None:
    """From now on what a page does about a click or a choice is done to its end before the next one's turn.

    Streamlit looks for what the browser has sent since at each use of the session's state. What it finds in a callback
    breaks that off, passes for its own wish to draw the page anew, and is put behind all that came later: on a busy
    server the last of some quick presses on a slider was lost, and so was what the callback was to write.
    """
    call = inspect.unwrap(SessionState._call_callbacks)
    look = inspect.unwrap(ScriptRunner._maybe_handle_execution_control_request)
    at_work = threading.local()

    @functools.wraps(call)
    def call_to_the_end(self: SessionState, **more: Any) -> None:
        at_work.calling = True
        try:
            call(self, **more)
        finally:
            at_work.calling = False

    @functools.wraps(look)
    def look_between_callbacks(self: ScriptRunner) -> None:
        if not getattr(at_work, "calling", False):
            look(self)

    SessionState._call_callbacks = call_to_the_end  # type: ignore[method-assign]
    ScriptRunner._maybe_handle_execution_control_request = look_between_callbacks  # type: ignore[method-assign]


TOLD, UNTOUCHED = "lab_told", "lab_untouched"
"""In the session: the values of all widgets as the browser told them last, and the keys of those that are too old."""


def tell_what_is_untouched() -> None:
    """From now on the session has as `UNTOUCHED` the keys of widgets whose values are older than what a page has set.

    The browser sends the values of all widgets with each event. Of one that the page has set, that is the old value
    until the browser has heard of the new one, and Streamlit takes it for a choice: over a slow network the next click
    took back what was just opened. So a value counts as old only where it repeats the browser's last message while
    something else is new.
    """
    take = inspect.unwrap(SessionState.set_widgets_from_proto)

    @functools.wraps(take)
    def take_and_compare(self: SessionState, widget_states: WidgetStates) -> None:
        take(self, widget_states)
        told = {widget.id: widget for widget in widget_states.widgets}
        before = self._old_state.get(TOLD, {})
        chosen = {name for name in told if self._widget_changed(name)}
        again = {name for name in chosen if before.get(name) == told[name]}
        keys = self._key_id_mapper.id_key_mapping
        self[UNTOUCHED] = {keys.get(name) for name in again} if chosen != again else set()
        presses = {name for name, one in told.items() if str(one.WhichOneof("value")).endswith("trigger_value")}
        self[TOLD] = before | {name: told[name] for name in told.keys() - presses}  # Back and Forward bring none

    SessionState.set_widgets_from_proto = take_and_compare  # type: ignore[method-assign]
