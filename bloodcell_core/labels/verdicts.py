"""What people said of pictures: an append-only list of verdicts, and which of them count.

A verdict is on a family (`Dataset.pictures`): one decision for all pictures that were made from a source photo, or on a
single picture where the source's groups are patients or slides, of many cells. The picture that was looked at is
recorded with it. Only `unusable` may be said of one picture of a family (`picture_only`), where its copies are good. A
verdict is never changed: another event `undoes` it, or a later verdict on the same family counts instead. The verdicts
of several people are all recorded; the latest counts, and where they differ that is reported.

Verdicts belong to a dataset's content, not to its name: the same import under another name has the same verdicts.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from bloodcell_core.data.dataset import Dataset
from bloodcell_core.errors import LabError

MODEL_WRONG, LABEL_WRONG, AMBIGUOUS, UNUSABLE = "model-wrong", "label-wrong", "ambiguous", "unusable"
VERDICTS = {
    MODEL_WRONG: "The label is right, the network is not.",
    LABEL_WRONG: "The label is wrong, and another class is right.",
    AMBIGUOUS: "Nobody can tell the class from this cell.",
    UNUSABLE: "The picture is no good: no white cell, cut off, out of focus.",
}
"""Code of every verdict → what it means."""

EXCLUDING = (AMBIGUOUS, UNUSABLE)
"""The verdicts that take a picture out of training."""

LONGEST_NAME, LONGEST_NOTE = 100, 2000  # characters
_FEW = 500  # values in one query: databases have limits


@dataclass(frozen=True, kw_only=True)
class Event:
    """A verdict, or one that takes a verdict back."""

    id: int
    at: datetime
    """UTC."""
    by: str
    run: str
    """The run whose answer was looked at; '' for none."""
    dataset: str
    data_hash: str
    image_id: str
    """The picture that was looked at."""
    photo: str
    """Its source photo, `family` of `Dataset.pictures`: all pictures of it are decided."""
    picture_only: bool
    """It is on this one picture and not on its family."""
    verdict: str
    label_from: str
    """The dataset's own label."""
    label_to: str | None
    """The right class, where the label is wrong."""
    predicted: str
    """The run's answer; '' where no run was looked at."""
    note: str
    undoes: int | None
    """The event that this one takes back, whose other fields it repeats; None for a verdict."""
    undone: bool
    """It was taken back."""
    token: str
    """Identifies the request that made it; verdicts that were given together share it."""

    @property
    def counts(self) -> bool:
        """Whether it is a verdict that nobody took back."""
        return self.undoes is None and not self.undone

    @property
    def said(self) -> tuple[str, str | None]:
        """The decision, for comparison: verdict and right class."""
        return self.verdict, self.label_to

    def to_json(self) -> dict[str, Any]:
        """Its fields by name, the time as ISO 8601."""
        return asdict(self) | {"at": self.at.isoformat(timespec="milliseconds")}


def verdict_code(text: str) -> str:
    """The code of the verdict that a person typed: 'Label wrong' is `label-wrong`; LabError where there is none."""
    code = "-".join(text.lower().replace("_", " ").replace("-", " ").split())
    if code not in VERDICTS:
        raise LabError(f"a verdict is {', '.join(VERDICTS)}, not {text[:40]!r}")
    return code


def find_picture(dataset: Dataset, reference: str) -> str:
    """The image_id of a usable picture, from all of it or a unique beginning; LabError where there is none."""
    ids = dataset.pictures.image_id
    found = ids[ids.str.startswith(reference)] if reference else ids[:0]
    if len(found) == 1:
        return str(found.iloc[0])
    if len(found):
        raise LabError(f"{reference!r} begins the ids of {len(found)} pictures of {dataset.name!r}: give more of it")
    raise LabError(f"dataset {dataset.name!r} has no picture {reference[:80]!r}: an id is the sha256 of its file")


def record(
    dataset: Dataset,
    image_ids: Sequence[str],
    verdict: str,
    *,
    by: str,
    run: str | Mapping[str, str] = "",
    label: str | None = None,
    predicted: Mapping[str, str] | None = None,
    note: str = "",
    picture_only: bool = False,
    token: str | None = None,
) -> list[Event]:
    """Records one verdict on one or many pictures, on all or none; it is on disk on return.

    Args:
        dataset: whose pictures they are.
        image_ids: full ids of its usable pictures. Of several of one family only the first is recorded.
        verdict: a key of VERDICTS.
        by: the reviewer's name.
        run: the name of the run that was looked at, or by image_id; '' for none.
        label: the right class, with `label-wrong` and only with it.
        predicted: the run's answers by image_id, where there is a run.
        note: a comment.
        picture_only: `unusable` holds for these pictures and not for their families.
        token: identifies the request, 1 to 64 characters. Repeating a request (a double click, or no answer came)
            records nothing more; None for a new token.

    Returns:
        The events, in the order of the pictures: new ones, or those that an earlier request with this token made.

    Raises:
        LabError: for an invalid picture, verdict, class, name or note; for a token that made another verdict.
    """
    by, note = checked_name(by), checked_text(note, "note", LONGEST_NOTE, empty=True)
    rows = _pictures(dataset, image_ids)
    _check(dataset, rows, verdict, label, picture_only)
    if not picture_only:
        rows = rows.drop_duplicates("family")
    step = {
        "token": _checked_token(token), "by": by, "dataset": dataset.name, "data_hash": dataset.content_hash,
        "picture_only": picture_only, "verdict": verdict, "label_to": label, "note": note, "undoes": None,
    }  # fmt: skip
    wanted = [
        step
        | {
            "image_id": row.image_id,
            "photo": row.family,
            "label_from": row.label,
            "run": run if isinstance(run, str) else run[str(row.image_id)],
            "predicted": (predicted or {}).get(str(row.image_id), ""),
        }
        for row in rows.itertuples()
    ]
    return _add(wanted)


def undo(ids: Iterable[int], *, by: str, token: str | None = None) -> list[Event]:
    """Takes verdicts back, all or none, and returns the events that do so.

    Anybody may take back anybody's; who did is recorded. To reverse an undo, give the verdict again. LabError for an
    event that doesn't exist, is itself an undo, or was taken back already (by a request with another token).
    """
    by, token = checked_name(by), _checked_token(token)
    wanted = []
    for of in _events_by_id(sorted(set(ids))):
        if of.undoes is not None:
            raise LabError(f"event {of.id} is itself an undo: to have its verdict again, give it again")
        values = {name: value for name, value in asdict(of).items() if name not in ("id", "at", "undone")}
        wanted.append(values | {"token": token, "by": by, "note": "", "undoes": of.id})
    return _add(wanted)


def events(dataset: Dataset, known: Sequence[Event] = ()) -> list[Event]:
    """All verdicts on a dataset's pictures, and what takes some back, in the order in which they were recorded.

    `known` is what an earlier call returned: then only later events are read, as a page does at each step.
    """
    from sqlalchemy import func, select

    from bloodcell_core.labels.database import reading, verdicts

    with reading() as connection:
        if connection is None:
            return []
        ours = verdicts.c.data_hash == dataset.content_hash
        query = select(verdicts).where(ours).order_by(verdicts.c.id)
        last = known[-1] if known else None
        rows = connection.execute(query.where(verdicts.c.id >= last.id) if last else query).mappings().all()
        count = connection.scalar(select(func.count()).where(ours))
        # SQLite's file may have been deleted, and others have the numbers of those that it held
        still = not last or (bool(rows) and (rows[0]["id"], rows[0]["token"]) == (last.id, last.token))
        # PostgreSQL gives a number when a row is written, and others see it when it is kept: in another order
        if not still or len(known[:-1]) + len(rows) != count:
            known, rows = (), connection.execute(query).mappings().all()
    taken_back = {row["undoes"] for row in rows}
    before = [replace(each, undone=True) if each.id in taken_back else each for each in known[:-1]]
    return before + [Event(**row, undone=row["id"] in taken_back) for row in rows]


def reviewers() -> list[str]:
    """Everybody who has given a verdict, on any dataset, by name."""
    from sqlalchemy import select

    from bloodcell_core.labels.database import reading, verdicts

    with reading() as connection:
        found = () if connection is None else connection.scalars(select(verdicts.c.by).distinct()).all()
    return sorted(found)


def current(dataset: Dataset) -> Standing:
    """The verdicts on a dataset's pictures that count now."""
    return Standing(events(dataset))


def history(dataset: Dataset, image_id: str) -> list[Event]:
    """The events of a picture's family, newest first."""
    photo = _pictures(dataset, [image_id]).family.iloc[0]
    return [each for each in reversed(events(dataset)) if each.photo == photo]


class Standing:
    """Which events of a list count. Pure; `events` are those of one dataset, in their order."""

    def __init__(self, events: Sequence[Event]):
        self._events = events
        self.steps: list[list[Event]] = _steps(events)
        """The verdicts that count, newest first, grouped by request: what can be undone in one step."""
        self.by_photo: dict[str, Event] = {}
        """The verdict that counts, by family."""
        self.by_picture: dict[str, Event] = {}
        """The verdicts on single pictures (`picture_only`), by image_id."""
        self._looked_at: dict[str, Event] = {}  # the last verdict on each picture, were it of its photo
        said: dict[str, dict[str, Event]] = {}
        for each in events:
            if each.counts and each.picture_only:
                self.by_picture[each.image_id] = each
            elif each.counts:
                self.by_photo[each.photo] = self._looked_at[each.image_id] = each
                said.setdefault(each.photo, {})[each.by] = each
        self.disagreements: dict[str, list[Event]] = {
            photo: sorted(of.values(), key=lambda each: each.id)
            for photo, of in said.items()
            if len({each.said for each in of.values()}) > 1
        }
        """Families on which people's latest verdicts differ: each person's, the one that counts last."""

    def of(self, image_id: str, photo: str) -> Event | None:
        """The verdict that counts for a picture; None where there is none yet.

        Of one that was given where the picture's family was another (the same pictures, imported as copies or as a
        patient's cells) at least the picture that was looked at is decided.
        """
        return self.by_picture.get(image_id) or self.by_photo.get(photo) or self._looked_at.get(image_id)

    def where(self, person: str, others: bool = False) -> Standing:
        """What would count if only this person had given verdicts; or, with `others`, everybody but this person."""
        return Standing([each for each in self._events if (each.by == person) != others])

    def progress(self, photos: Iterable[str]) -> dict[str, Any]:
        """How many of these families are decided: total, decided, by_verdict {code: n}, by {name: n}."""
        wanted = set(photos)
        decided = [each for photo, each in self.by_photo.items() if photo in wanted]
        return {
            "total": len(wanted),
            "decided": len(decided),
            "by_verdict": {code: sum(each.verdict == code for each in decided) for code in VERDICTS},
            "by": {name: sum(each.by == name for each in decided) for name in sorted({each.by for each in decided})},
        }


def _steps(events: Sequence[Event]) -> list[list[Event]]:
    steps: dict[str, list[Event]] = {}
    for each in events:
        if each.counts:
            steps.setdefault(each.token, []).append(each)
    return list(reversed(steps.values()))


def checked_name(name: str) -> str:
    """A reviewer's name without blanks at its ends and with single ones inside, or "Ann" and "Ann " were two people.

    LabError as `checked_text`.
    """
    return checked_text(" ".join(name.split()), "name", LONGEST_NAME)


def checked_text(text: str, what: str, longest: int, empty: bool = False) -> str:
    """`text`, stripped; LabError where it is too long, empty unless that is allowed, or has control characters."""
    text = text.strip()
    if not text and not empty:
        raise LabError(f"a verdict needs a {what}: who says so?")
    if len(text) > longest:
        raise LabError(f"a {what} has up to {longest:,} characters, not {len(text):,}")
    if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text):
        raise LabError(f"a {what} can't have control characters")
    return text


def _checked_token(token: str | None) -> str:
    token = secrets.token_hex(16) if token is None else token
    if not 0 < len(token) <= 64 or not token.isascii() or not token.isprintable():
        raise LabError("a request's token has 1 to 64 letters")
    return token


def _pictures(dataset: Dataset, image_ids: Sequence[str]) -> pd.DataFrame:
    """Their rows of `Dataset.pictures`, in this order, none twice; LabError for one that isn't there."""
    places = pd.Index(dataset.pictures.image_id).get_indexer(pd.Index(list(dict.fromkeys(image_ids)), dtype=object))
    if not len(places):
        raise LabError("no picture is named: a verdict is of one or more")
    if (places < 0).any():
        missing = list(dict.fromkeys(image_ids))[int((places < 0).argmax())]
        raise LabError(f"dataset {dataset.name!r} has no picture {missing[:80]!r}: an id is the sha256 of its file")
    rows: pd.DataFrame = dataset.pictures[["image_id", "family", "label"]].iloc[places]
    return rows


def _check(dataset: Dataset, rows: pd.DataFrame, verdict: str, label: str | None, picture_only: bool) -> None:
    if verdict not in VERDICTS:
        raise LabError(f"a verdict is {', '.join(VERDICTS)}, not {verdict[:40]!r}")
    if picture_only and verdict != UNUSABLE:
        raise LabError(f"only {UNUSABLE} can be said of a picture without its copies, not {verdict}")
    if verdict != LABEL_WRONG:
        if label is not None:
            raise LabError(f"a class goes with {LABEL_WRONG} only, not with {verdict}")
        return
    if label not in dataset.classes:
        asked = "none" if label is None else repr(label[:80])
        raise LabError(f"{LABEL_WRONG} needs the right class, one of {', '.join(dataset.classes)}: not {asked}")
    if (rows.label == label).any():
        raise LabError(f"the label is {label!r} already: {LABEL_WRONG} needs another class")


def _add(wanted: list[dict[str, Any]]) -> list[Event]:
    """Adds the events of one token, or finds those that an earlier request made."""
    from sqlalchemy import insert, select
    from sqlalchemy.exc import IntegrityError

    from bloodcell_core.labels.database import verdicts, writing

    if not wanted:
        return []
    for last_try in (False, True):
        try:
            with writing() as connection:
                query = select(verdicts).where(verdicts.c.token == wanted[0]["token"])
                made = {_part(row): row for row in map(dict, connection.execute(query).mappings())}
                of_step = select(verdicts.c.id).where(verdicts.c.token == wanted[0]["token"])
                undone = set(connection.scalars(select(verdicts.c.undoes).where(verdicts.c.undoes.in_(of_step))))
                for values in wanted:
                    before = made.get(_part(values))
                    if before is None:
                        values = values | {"at": datetime.now(UTC)}
                        new = connection.scalar(insert(verdicts).values(values).returning(verdicts.c.id))
                        made[_part(values)] = values | {"id": new}
                    elif any(before[name] != values[name] for name in ("verdict", "label_to", "data_hash")):
                        raise LabError("this request was made before with another verdict: give it another token")
            rows = [made[_part(values)] for values in wanted]
            return [Event(**row, undone=row["id"] in undone) for row in rows]
        except IntegrityError:
            # Another process has just made the same request, or taken the same verdict back: the second try sees which
            if last_try:
                of = [values["undoes"] for values in wanted]
                if of == [None] * len(of):
                    raise  # the second try saw no such request and was refused for one: that can't be
                which = f"verdict {of[0]}" if len(of) == 1 else f"one of these {len(of):,} verdicts"
                raise LabError(f"{which} was taken back before") from None
    raise AssertionError("the second try ends here")


def _part(row: Mapping[str, Any]) -> tuple[str, int | None]:
    """Identifies a row among those of its request."""
    return row["image_id"], row["undoes"]


def _events_by_id(ids: Sequence[int]) -> list[Event]:
    from sqlalchemy import select

    from bloodcell_core.labels.database import reading, verdicts

    found: dict[int, Event] = {}
    with reading() as connection:
        for start in range(0, len(ids), _FEW):
            if connection is None:
                break
            few = [each for each in ids[start : start + _FEW] if 0 < each < 2**31]  # what the column can hold
            query = select(verdicts).where(verdicts.c.id.in_(few))
            found.update({row["id"]: Event(**row, undone=False) for row in connection.execute(query).mappings()})
    for each in ids:
        if each not in found:
            raise LabError(f"there is no verdict {each}: `review history` shows what there is")
    return [found[each] for each in ids]
