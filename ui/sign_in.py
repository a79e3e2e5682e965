"""Sign-in for a lab that shares one server: OpenID Connect, as Streamlit does it, asked for before any page is drawn.

It is set up by `.streamlit/secrets.toml` alone (docs/lab-server.md). Without an [auth] section nobody is asked, as on
one's own machine. With one, only those that [lab] members names come in, or all whom the provider knows where it
names none. A secrets file that can't be read lets nobody in: it may have asked for sign-in.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import streamlit as st
from streamlit.errors import StreamlitAuthError, StreamlitSecretNotFoundError


def demand() -> None:
    """Ends the page with a way to sign in unless its reader may see it. To be called before anything is told."""
    try:
        asked, members = _settings()
    except (StreamlitSecretNotFoundError, TypeError) as error:
        print(f"secrets.toml can't be used: {error}", flush=True)  # for the server's log
        _close("The lab is closed: its secrets.toml can't be used. Whoever keeps the server finds why in its log.")
    if not asked or (_signed_in() and _is_member(members)):
        return
    if _signed_in():
        st.button("Sign in as somebody else", on_click=st.logout)
        _close("You are signed in, but not a member of this lab: ask whoever keeps the server to add you.")
    st.title("Blood Cell Lab", anchor=False)
    st.markdown("This lab asks its members to sign in.")
    if st.button("Sign in", type="primary", icon=":material/login:"):
        try:
            st.login()
        except StreamlitAuthError as error:
            st.error(f"Sign-in isn't set up correctly: {error}", icon=":material/error:")
    st.stop()


def _close(reason: str) -> NoReturn:
    st.error(reason, icon=":material/lock:")
    st.stop()


def person() -> str | None:
    """Who is signed in, by mail address or else by name; None where nobody is asked to."""
    told = st.user.get("email") or st.user.get("name") or st.user.get("sub") if _signed_in() else None
    return str(told) if told else None


def sign_out_button() -> None:
    """Who is signed in, and the way out; nothing where nobody is asked to sign in."""
    name = person()
    if name:
        st.button("Sign out", on_click=st.logout, icon=":material/logout:", type="tertiary", help=name)


def _signed_in() -> bool:
    return st.user.get("is_logged_in") is True  # Streamlit tells it only where secrets.toml has an [auth] section


def _settings() -> tuple[bool, Sequence[str]]:
    """Whether sign-in is asked for, and of whom: mail addresses, or ends of them as '@lab.example'; none means all.

    Raises StreamlitSecretNotFoundError where a secrets file is there but can't be read, TypeError for members that
    are no addresses.
    """
    if not st.secrets.load_if_toml_exists():
        if any(Path(file).exists() for file in st.config.get_option("secrets.files")):
            raise StreamlitSecretNotFoundError("it is no TOML")
        return False, ()
    members = st.secrets.get("lab", {}).get("members", ())
    if isinstance(members, str) or not all(isinstance(each, str) and each for each in members):
        raise TypeError("[lab] members is a list of mail addresses")
    return "auth" in st.secrets, tuple(members)


def _is_member(members: Sequence[str]) -> bool:
    if not members:
        return True
    mail = str(st.user.get("email") or "").lower()
    verified = st.user.get("email_verified", True) is not False
    return verified and any(
        mail.endswith(member.lower()) if member.startswith("@") else mail == member.lower() for member in members
    )
