"""The files that a table's paths name."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from contextlib import suppress
from functools import cached_property

from bloodcell_core.data.formats.reading import Pictures
from bloodcell_core.data.sources import FileSource, FolderSource, Source, has_drive
from bloodcell_core.errors import LabError


class NamedFiles:
    """Resolves a table's paths: inside its folder or zip or, for a table imported by itself, to any absolute path."""

    def __init__(self, source: Source, table: str):
        self._source = source
        self._alone = source if isinstance(source, FileSource) else None
        self._table = table
        self._folder = posixpath.dirname(table)
        self._files = set(source.files)

    @cached_property
    def _pictures(self) -> Pictures:
        """Those of the source, or below the folder of a table that is imported by itself: that may be full of other
        things, and is only looked through for a path that leads to nothing."""
        if self._alone:
            with suppress(LabError):  # there is a link, or more files than an import may have
                return Pictures(FolderSource(self._alone.folder))
        return Pictures(self._source)

    def leaves(self, path: str) -> bool:
        """Whether a path leads out of what the table may name."""
        if os.path.isabs(path):
            return self._alone is None
        # normpath keeps only those `..` that lead out
        return self._place(path).startswith(("..", "/")) or has_drive(path)

    def find(self, path: str) -> str | None:
        """The file at a path, or the one picture whose path ends so, with any suffix if it has none; None without one.

        All Unicode forms are tried: a Mac decomposes names ("o" and its two dots), a table written elsewhere doesn't.
        LabError where several pictures would fit.
        """
        place = path if self._alone and os.path.isabs(path) else self._place(path)
        forms = [unicodedata.normalize(form, place) for form in ("NFC", "NFD")]
        if found := next((form for form in (place, *forms) if self._is_there(form)), None):
            return found
        tail = posixpath.normpath(path.replace("\\", "/"))
        for form in (tail, *(unicodedata.normalize(form, tail) for form in ("NFC", "NFD"))):
            folder = posixpath.dirname(form)
            ending = f"/{folder}" if folder else ""
            called = self._pictures.called(posixpath.basename(form))
            fit = [file for file in called if f"/{posixpath.dirname(file)}".endswith(ending)]
            if len(fit) > 1:
                raise LabError(
                    f"{self._table}: {path!r:.80} may be {fit[0]} or {fit[1]}: write it relative to the table's folder"
                )
            if fit:
                return fit[0]
        return None

    def _is_there(self, place: str) -> bool:
        if self._alone is None:
            return place in self._files
        full = self._alone.folder / place
        if not os.path.isfile(full):  # full.is_file() raises OSError where the name is too long for the system
            return False
        return os.path.isabs(place) or full.resolve().is_relative_to(self._alone.folder)  # links mustn't lead out

    def _place(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._folder, path.replace("\\", "/")))
