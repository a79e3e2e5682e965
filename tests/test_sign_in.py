"""Sign-in: asked for on every page, before anything of the lab is told; closed where the settings can't be read."""

from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from ui import sign_in
from ui.shell import PAGES

EVERY_PAGE = pytest.mark.parametrize("page", [path for path, _ in PAGES.values()])
AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "only for a test, long enough"}
PATIENCE = 60

pytest_plugins = ["tests.training_fixtures"]


def draw(page: str, secrets: dict[str, Any]) -> AppTest:
    app = AppTest.from_file("../streamlit_app.py", default_timeout=PATIENCE)
    for name, value in secrets.items():
        app.secrets[name] = value
    if page != "streamlit_app.py":
        app.switch_page(page)
    return app.run()


@EVERY_PAGE
def test_a_page_tells_nothing_before_sign_in(page, done):
    app = draw(page, {"auth": AUTH})
    assert [button.label for button in app.button] == ["Sign in"]
    told = [element.value for kind in (app.markdown, app.caption, app.title) for element in kind]
    assert told == ["This lab asks its members to sign in.", "Blood Cell Lab"]
    assert not any((app.exception, app.dataframe, app.selectbox))


@EVERY_PAGE
def test_without_sign_in_set_up_nobody_is_asked(page, done):
    app = draw(page, {})
    assert "Sign in" not in [button.label for button in app.button]
    assert not app.exception


@pytest.mark.parametrize(
    ("members", "user", "may"),
    [
        ([], {"email": "a@lab.example"}, True),
        (["a@lab.example"], {"email": "A@Lab.example"}, True),
        (["@lab.example"], {"email": "a@lab.example"}, True),
        (["@lab.example"], {"email": "a@evil-lab.example"}, False),
        (["@lab.example"], {"email": "a@lab.example.evil"}, False),
        (["a@lab.example"], {"email": "b@lab.example"}, False),
        (["a@lab.example"], {"name": "a@lab.example"}, False),
        (["@lab.example"], {"email": "a@lab.example", "email_verified": False}, False),
    ],
)
def test_who_is_a_member(members, user, may, monkeypatch):
    monkeypatch.setattr(st, "user", user)
    assert sign_in._is_member(members) is may


def test_the_person_is_the_signed_in_one(monkeypatch):
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": "a@lab.example", "name": "A"})
    assert sign_in.person() == "a@lab.example"
    monkeypatch.setattr(st, "user", {"email": "a@lab.example"})
    assert sign_in.person() is None


@pytest.mark.parametrize("text", ["[auth\n", "[lab]\nmembers = 'a@lab.example'\n", "[lab]\nmembers = [1]\n"])
def test_secrets_that_cant_be_read_close_the_lab(text, tmp_path, monkeypatch, done):
    file = tmp_path / "secrets.toml"
    file.write_text(text)
    monkeypatch.setattr(st.config, "get_option", _with_secrets(st.config.get_option, str(file)))
    try:
        app = AppTest.from_file("../streamlit_app.py", default_timeout=PATIENCE).run()
    finally:
        st.secrets._reset()  # Streamlit keeps what it has read, for all that come after
    assert app.error[0].value.startswith("The lab is closed")
    assert not app.button


def _with_secrets(get: Any, file: str) -> Any:
    return lambda name: [file] if name == "secrets.files" else get(name)


@pytest.mark.parametrize(("mail", "comes_in"), [("a@lab.example", True), ("b@else.example", False)])
def test_members_alone_come_in(mail, comes_in, monkeypatch, done):
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": mail})
    app = draw("streamlit_app.py", {"auth": AUTH, "lab": {"members": ["@lab.example"]}})
    assert bool(app.title) is comes_in
    assert ("Sign out" in [button.label for button in app.button]) is comes_in
    assert comes_in or "not a member" in app.error[0].value
