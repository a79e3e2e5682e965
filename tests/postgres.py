"""A PostgreSQL server of the tests' own, where its programs are installed: started once, thrown away at the end.

A test module takes it with `pytest_plugins = ["tests.postgres"]`. PYTEST_DONT_REWRITE: it asserts nothing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty database; `BLOODCELL_TEST_DB_URL` where that names a PostgreSQL database. Skips for want."""
    if (told := os.environ.get("BLOODCELL_TEST_DB_URL", "")).startswith("postgresql"):
        yield told
        return
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL isn't installed: no /usr/lib/postgresql/*/bin/initdb")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg isn't installed: pip install -r requirements-postgres.txt")
    folder = Path(tempfile.mkdtemp(prefix="lab-pg-"))  # short: a socket's path has 107 characters at most
    as_user: list[str] = []
    if os.getuid() == 0:  # it refuses to run as root
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL doesn't run as root, and there is no setpriv to run it as another user")
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    initdb, pg_ctl = programs[-1], programs[-1].with_name("pg_ctl")
    options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=40"

    def do(*command: object) -> None:
        done = subprocess.run([*as_user, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.fail(f"{command[0]} failed: {done.stdout}{done.stderr}")

    try:
        do(initdb, "-D", folder / "data", "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-sync")
        do(pg_ctl, "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://lab@/postgres?host={folder}"
        finally:
            do(pg_ctl, "-D", folder / "data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
