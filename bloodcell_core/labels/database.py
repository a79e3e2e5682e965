"""The tables of verdicts and overlays in `lab.sqlite`, or in the database that `BLOODCELL_DB_URL` names.

Rows are added and never changed or deleted, so two people at work at once can't take anything from each other.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from bloodcell_core import workspace
from bloodcell_core.errors import LabError, brief

SCHEMA_VERSION = 1  # of the tables below
BUSY_SECONDS = 60  # that a writer waits for others, each of which takes milliseconds
NO_ROOM = {"disk I/O error": ": is the disk full?", "database or disk is full": ": make room on it"}
"""SQLite's messages on a full disk, and what is added to each."""
TABLES_LOCK = 7_104_551_236  # a PostgreSQL advisory lock of our own: a lock file is not seen from another machine


class Moment(TypeDecorator[datetime]):
    """A time with its zone, UTC; SQLite would forget the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """A time with its zone → the same in UTC, without one."""
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """A stored time → the same with the zone UTC."""
        return value and value.replace(tzinfo=UTC)


metadata = MetaData()

schema = Table("lab_labels_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

verdicts = Table(
    "lab_verdicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token", String(64), nullable=False),  # of the request that made it: a second one like it makes no event
    Column("at", Moment, nullable=False),
    Column("by", Text, nullable=False),
    Column("run", String(64), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("data_hash", String(64), nullable=False, index=True),
    Column("image_id", String(64), nullable=False),
    Column("photo", Text, nullable=False),
    Column("picture_only", Boolean, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("label_from", Text, nullable=False),
    Column("label_to", Text),
    Column("predicted", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("undoes", ForeignKey("lab_verdicts.id"), unique=True),  # a verdict is taken back once
)
_given = verdicts.c.undoes.is_(None)
Index(
    "lab_verdicts_once", verdicts.c.token, verdicts.c.image_id,
    unique=True, sqlite_where=_given, postgresql_where=_given,
)  # fmt: skip

overlays = Table(
    "lab_overlays",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Column("by", Text, nullable=False),
    Column("made_from", String(16), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("data_hash", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("name", "version"),
)

overlay_rows = Table(
    "lab_overlay_rows",
    metadata,
    Column("overlay", ForeignKey("lab_overlays.id"), primary_key=True),
    Column("image_id", String(64), primary_key=True),
    Column("photo", Text, nullable=False),
    Column("label_from", Text, nullable=False),
    Column("label_to", Text),
    Column("verdict", String(16), nullable=False),
    Column("at", Moment, nullable=False),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
)


@contextmanager
def reading() -> Iterator[Connection | None]:
    """A connection to read with; None where there is no database yet: reading doesn't make one."""
    if not workspace.database_exists():
        yield None
        return
    with _told(), _engine().connect() as connection:
        yield connection


@contextmanager
def writing() -> Iterator[Connection]:
    """A transaction: all or nothing of it is written, and on disk once the block has ended.

    LabError where SQLite's file was deleted or replaced meanwhile: what was written is lost with it.
    """
    with _told():
        engine = _engine()
        before = _file_of(engine)
        with engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                yield connection
            if engine.dialect.name == "sqlite" and (before is None or _file_of(engine) != before):
                raise LabError(f"{engine.url.database} was deleted or replaced meanwhile: nothing was kept, try again")


@contextmanager
def _told() -> Iterator[None]:
    """Turns the errors of a database that can't be used into a LabError; IntegrityError is left to the caller."""
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, sqlite3.Error, ImportError) as error:  # the driver speaks itself before there are tables
        raise refused(error) from None


def refused(error: Exception) -> LabError:
    """The LabError for a database that can't be used: which, without its password, and why."""
    try:
        place = make_url(workspace.database_url()).set(query={}).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):  # whose own words may have the password in them
        return LabError("BLOODCELL_DB_URL is no address of a database, as postgresql+psycopg://user@host/name is one")
    why = brief(getattr(error, "orig", None) or error, 200)
    return LabError(f"the database {place} can't be used: {why}{NO_ROOM.get(why, '')}")


_making = threading.Lock()


def _engine() -> Engine:
    """The engine of the database, which has our tables."""
    url = workspace.database_url()
    with _making:  # a cache by itself lets two threads make one each
        engine = _cached_engine(url)
        if not still_has(engine, schema.name):
            _cached_engine.cache_clear()
            engine = _cached_engine(url)
        return engine


def still_has(engine: Engine, table: str) -> bool:
    """Whether a table that was made is still there: SQLite's file may have been deleted, or replaced by another, since
    it was opened."""
    if engine.dialect.name != "sqlite":
        return True
    if _file_of(engine) is None:
        return False
    with closing(sqlite3.connect(str(engine.url.database))) as connection:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        return found.fetchone() is not None


def _file_of(engine: Engine) -> tuple[int, int] | None:
    """Identifies SQLite's file (device, inode), to notice another one in its place; None where there is none."""
    try:
        told = os.stat(str(engine.url.database))
    except OSError:
        return None
    return told.st_dev, told.st_ino


@functools.lru_cache(maxsize=8)
def _cached_engine(url: str) -> Engine:
    """The engine of a database that has our tables. It keeps no connection: a page's thread may not come back for
    hours, and a process that was forked must not share one."""
    try:
        engine = create_engine(url, poolclass=NullPool)
    except ValueError as error:  # the port is no number
        raise refused(error) from None
    try:
        with FileLock(workspace.lock_file("database")):  # two that make tables at once are in each other's way
            if engine.dialect.name == "sqlite":
                _set_up_sqlite(engine)
            _make_tables(engine)
    except OSError as error:
        raise LabError(f"the database in {workspace.home()} can't be used: {error.strerror}") from None
    return engine


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, below
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # One that reads first and then wants to write would be refused without waiting if another wrote in between
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    workspace.home().mkdir(parents=True, exist_ok=True)
    connection = engine.raw_connection()
    try:  # outside of any transaction. Readers don't wait for a writer, nor it for them; it stays with the file.
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _make_tables(engine: Engine) -> None:
    with engine.connect() as plain:
        connection = plain.execution_options(writes=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": TABLES_LOCK})
            schema.create(connection, checkfirst=True)
            version = connection.scalar(select(schema.c.version))
            if version is None:
                metadata.create_all(connection)
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise LabError(
                    f"the labels in the database have schema version {version}, this program reads {SCHEMA_VERSION}: "
                    "use the program that wrote them, or export them with it as CSV and import that here"
                )
