"""`review`: mistakes to look at, verdicts, overlays of reviewed labels, and what is learned from them."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from bloodcell_core import runs, sheets
from bloodcell_core.cli.output import show
from bloodcell_core.cli.parser import DEVICE_HELP, RUN_HELP, family, path_of, verb, word_of
from bloodcell_core.data import dataset as datasets
from bloodcell_core.data.dataset import Dataset, same_dataset
from bloodcell_core.errors import LabError
from bloodcell_core.evaluation.figures import percent
from bloodcell_core.labels import exchange, overlays, verdicts
from bloodcell_core.labels.verdicts import VERDICTS, Event
from bloodcell_core.words import counted

SHOWN = 20  # rows, where nothing is said


def add(verbs: Any) -> None:
    """Adds the family `review`."""
    words = family(verbs, "review", "mistakes and verdicts: list, set, undo, history, overlay, export, import, …")
    parser = verb(words, "list", _list, "List what is still to be looked at, a source photo a row.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN_HELP}; several of the same data")
    parser.add_argument("--split", default="test", choices=("val", "test"), help="by default test")
    parser.add_argument("--near", action="store_true", help="also right answers with a narrow margin")
    parser.add_argument("--label", help="only this label")
    parser.add_argument("--answer", help="only what a run answered so")
    for name, what in (("confidence", "the wrong answer's probability, 0 to 1"), ("loss", "0 and more"),
                       ("margin", "the label's lead over the next class, -1 to 1")):  # fmt: skip
        parser.add_argument(f"--{name}", nargs=2, type=float, metavar=("LOW", "HIGH"), help=f"only between: {what}")
    parser.add_argument("--disputed", action="store_true", help="only photos on which the runs disagree")
    parser.add_argument("--reviewed", default="unreviewed", help="unreviewed, reviewed, disputed (by people) or all")
    parser.add_argument(
        "--order", default="confidence", help="confidence, loss, margin, disagreement, photo, or issue (wrong labels)"
    )
    _add_limit(parser)

    parser = verb(words, "set", _set, "Give a verdict on a picture, and with it on all copies of its photo.")
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument("image_id", type=word_of, metavar="IMAGE_ID", help="or a unique beginning of it")
    parser.add_argument("verdict", metavar="VERDICT", help=", ".join(VERDICTS))
    parser.add_argument("--label", metavar="C", help="the right class, with label-wrong")
    parser.add_argument("--note", default="", metavar="T", help="a comment, kept with the verdict")
    parser.add_argument("--this-picture", action="store_true", help="with unusable: only this copy, not its photo")
    parser.add_argument("--token", help="names this request: repeating it adds no second verdict")
    _add_by(parser)

    parser = verb(words, "undo", _undo, "Take a verdict back; both are kept.")
    parser.add_argument("id", type=int, help="the verdict's number, from `review history`")
    _add_by(parser)

    parser = verb(words, "history", _history, "List the verdicts and what was taken back, newest first.")
    parser.add_argument("run", help="a run on the dataset in question")
    parser.add_argument(
        "image_id", nargs="?", type=word_of, metavar="IMAGE_ID", help="only those on this picture's photo"
    )
    _add_limit(parser)

    parser = verb(words, "overlay", _overlay, "Freeze the verdicts that count now as the next version of an overlay.")
    parser.add_argument("name", help="what to call it; an existing one gets a new version")
    parser.add_argument("--data", type=word_of, help="the dataset; by default the only one with verdicts")
    _add_by(parser)
    verb(words, "overlays", _overlays, "List the overlays and their versions.")

    parser = verb(
        words, "export", _export,
        "Write an overlay as CSV. NAME of verdicts is frozen as they are now; NAME@VERSION is written as it is.",
    )  # fmt: skip
    parser.add_argument("overlay", metavar="OVERLAY", help="NAME, or NAME@VERSION")
    parser.add_argument("--csv", type=path_of, metavar="FILE", help="a .csv file to write; by default it is printed")
    parser.add_argument("--data", type=word_of, help="the dataset; by default the overlay's")
    _add_by(parser)

    parser = verb(words, "import", _import, "Keep a CSV of labels as the next version of an overlay.")
    parser.add_argument("csv", type=path_of, metavar="CSV", help="columns image_id and label, or what an export has")
    parser.add_argument("--overlay", required=True, metavar="NAME", help="what to call it; see `review overlay`")
    parser.add_argument("--data", type=word_of, help="the dataset; by default the one that has the pictures")
    _add_by(parser)

    parser = verb(words, "issues", _issues, "Rank photos by how likely their labels are wrong.")
    parser.add_argument("run", help=RUN_HELP)
    _add_limit(parser)
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)

    parser = verb(words, "fixed", _fixed, "Show which mistakes went away from one run to another, and which came.")
    parser.add_argument("before", help=RUN_HELP)
    parser.add_argument("after", help=RUN_HELP)
    _add_labels(parser)

    parser = verb(words, "teaches", _teaches, "Show what mistakes go along with: blur, stain, size, edge, photo.")
    parser.add_argument("run", help=RUN_HELP)
    _add_labels(parser)


def _add_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="the reviewer's name; by default the account on this machine")


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", type=word_of, metavar="OVERLAY", help="on these reviewed labels; by default on the dataset's own"
    )


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_rows, default=SHOWN, metavar="K", help=f"rows; by default {SHOWN}, 0 for all")


def _rows(text: str) -> int:
    if not text.isdecimal():  # of -5 rows Python makes all but the last five
        raise argparse.ArgumentTypeError(f"a whole number of rows, 0 for all, not {text[:40]!r}")
    return int(text)


def _who(args: argparse.Namespace) -> str:
    """The reviewer's name; one known in other capitals is the same person."""
    try:
        name = getpass.getuser() if args.by is None else str(args.by)
    except (OSError, KeyError):  # a user without a name, as in a container
        raise LabError("nobody is logged in by name: say who with --by") from None
    known = verdicts.reviewers()
    plain = " ".join(name.casefold().split())
    return name if name in known else next((each for each in known if each.casefold() == plain), name)


def _list(args: argparse.Namespace) -> None:
    from bloodcell_core.review import queue, ranking

    chosen = [runs.find(reference) for reference in dict.fromkeys(args.runs)]
    dataset, pictures = queue.of_runs(chosen, [args.split])
    for name, classes in ((args.label, dataset.classes), (args.answer, chosen[0].classes)):
        if name is not None and name not in classes:
            raise LabError(f"there is no class {name[:80]!r}: there are {', '.join(classes)}")
    wanted = queue.QueueFilter(
        near=args.near, label=args.label, answer=args.answer, disputed_by_runs=args.disputed, reviewed=args.reviewed,
        order=args.order,
        **{name: tuple(limits) for name in queue.RANGES if (limits := getattr(args, name))},
    )  # fmt: skip
    issues = ranking.of_run(chosen[0]) if args.order == "issue" else None
    standing = verdicts.current(dataset)
    found = queue.queue(pictures, wanted, standing, issues.quality if issues else None)
    every = queue.queue(pictures, queue.QueueFilter(near=args.near, reviewed="all"), standing)
    progress = standing.progress(every.photo)
    keys = ["image_id", "photo", "label", "answer", "confidence", "margin", "loss", "disagreement", "pictures",
            "wrong_pictures", "verdict", "by", "disputed", "answers"]  # fmt: skip
    rows = found[keys].head(args.limit or len(found)).to_dict("records")
    unit = "picture" if (pictures.photo == pictures.image_id).all() else "photo"  # or cells of a patient, one by one
    total = counted(progress["total"], unit)
    lines = [f"{progress['decided']:,} of {total} with mistakes are decided; {len(found):,} here"]
    lines += [
        f"  {row['image_id'][:12]}  {row['label']} called {row['answer']}, {percent(row['confidence'])} sure; decides "
        + counted(row["pictures"], "picture")
        + (f"  {row['verdict']} ({row['by']})" if row["verdict"] else "")
        for row in rows
    ]
    if issues:
        lines.append(f"  the labels are ranked by {issues.source}")
    if issues and issues.warning:
        lines.append(f"  note: {issues.warning}")
    told = {
        "runs": [run.name for run in chosen], "data": dataset.name, "split": args.split, "photos": len(found),
        "progress": progress, "pictures": rows, "ranked_by": issues.source if issues else None,
        "warning": issues.warning if issues else "",
    }  # fmt: skip
    show(told, args.json, lines)


def _event_json(event: Event) -> dict[str, Any]:
    return event.to_json() | {"label": event.label_to}


def _event_line(event: Event) -> str:
    said = f"{event.verdict} → {event.label_to}" if event.label_to else event.verdict
    said = f"takes back {event.undoes} ({said})" if event.undoes is not None else said
    only = ", this picture alone" if event.picture_only else ""
    note = f"  “{' '.join(event.note.split())}”" if event.note else ""
    undone = "  (taken back)" if event.undone else ""
    return f"{event.id:>5}  {event.at:%Y-%m-%d %H:%M}  {event.by}: {event.image_id[:12]} {said}{only}{note}{undone}"


def _set(args: argparse.Namespace) -> None:
    run = runs.find(args.run)
    dataset = _dataset_of(run)
    image_id = verdicts.find_picture(dataset, args.image_id)
    predictions = run.predictions()
    [event] = verdicts.record(
        dataset, [image_id], verdicts.verdict_code(args.verdict), by=_who(args), run=run.name, label=args.label,
        predicted=dict(zip(predictions.image_id, predictions.predicted, strict=True)), note=args.note,
        picture_only=args.this_picture, token=args.token,
    )  # fmt: skip
    decided = 1 if event.picture_only else int((dataset.pictures.family == event.photo).sum())
    lines = [_event_line(event), f"decides {counted(decided, 'picture')}"]
    show(_event_json(event) | {"decides": decided}, args.json, lines)


def _undo(args: argparse.Namespace) -> None:
    [event] = verdicts.undo([args.id], by=_who(args))
    show(_event_json(event), args.json, [_event_line(event)])


def _history(args: argparse.Namespace) -> None:
    dataset = _dataset_of(runs.find(args.run))
    if args.image_id:
        found = verdicts.history(dataset, verdicts.find_picture(dataset, args.image_id))
    else:
        found = [*reversed(verdicts.events(dataset))]
    disputed = sorted(verdicts.current(dataset).disagreements)
    shown = found[: args.limit or len(found)]
    lines = [_event_line(event) for event in shown] or [f"there is no verdict on {dataset.name} yet"]
    lines += [f"people differ on {counted(len(disputed), 'photo')}: {', '.join(disputed[:5])}"] if disputed else []
    told = {"data": dataset.name, "events": [_event_json(event) for event in shown], "disputed": disputed}
    show(told, args.json, lines)


def _dataset_of(run: runs.Run) -> Dataset:
    return same_dataset(run.config.data, run.data_hash, run.name)


def _dataset_with_verdicts(name: str | None) -> Dataset:
    """The dataset called so, or the only one of which something was said."""
    if name:
        return Dataset(name)
    having = [each for each in datasets.readable()[0] if verdicts.events(each)]
    if len({each.content_hash for each in having}) == 1:
        return having[0]
    if not having:
        raise LabError("there are no verdicts yet: `review set` gives one, and the Review page")
    raise LabError(f"there are verdicts on {', '.join(each.name for each in having)}: say which with --data")


def _overlay_line(facts: dict[str, Any]) -> str:
    at = facts["at"][:16].replace("T", " ")
    return (
        f"{facts['overlay']}@{facts['version']}  {facts['dataset']}: {_pictures(facts['changed'])} relabelled, "
        f"{_pictures(facts['excluded'])} left out; by {facts['by']}, {at}, from {facts['made_from']}"
        + (f"; {overlays.DAMAGED}" if facts.get("damaged") else "")
    )


def _pictures(part: dict[str, int]) -> str:
    """A part of an overlay: its pictures, and their photos where these are fewer. Photos that aren't known are not."""
    pictures = counted(part["pictures"], "picture")
    return pictures + (f" of {counted(part['photos'], 'photo')}" if part["photos"] < part["pictures"] else "")


def _overlay(args: argparse.Namespace) -> None:
    overlay, made = overlays.freeze(args.name, _dataset_with_verdicts(args.data), by=_who(args))
    told = overlay.describe() | {"made": made}
    show(told, args.json, [_overlay_line(told), *([] if made else ["nothing has changed since: no version was made"])])


def _overlays(args: argparse.Namespace) -> None:
    every = [
        told | {"damaged": overlays.is_damaged(f"{told['overlay']}@{told['version']}")} for told in overlays.versions()
    ]
    lines = [_overlay_line(told) for told in every] or ["no overlay yet: `review overlay NAME` makes one"]
    show({"overlays": every}, args.json, lines)


def _export(args: argparse.Namespace) -> None:
    if args.csv:
        sheets.check_file(args.csv)
    overlay = _to_export(args)
    dataset = Dataset(args.data or overlay.dataset)
    told = overlay.describe() | {"rows": len(overlay.rows), "csv": str(args.csv) if args.csv else None}
    if args.csv:
        exchange.write_csv(overlay, dataset, args.csv)
        show(told, args.json, [_overlay_line(told), f"written to {args.csv}"])
    elif args.json:
        show(told | {"labels": overlay.to_json()["rows"]}, args.json, [])
    elif sys.stdout:  # as it would be in a file, whatever a note holds: an import takes UTF-8 and no terminal's own
        sys.stdout.buffer.write(exchange.to_csv(overlay, dataset).replace("\r\n", "\n").encode())


def _to_export(args: argparse.Namespace) -> overlays.Overlay:
    """The version that is asked for; of a name that stands for verdicts, one of what counts now."""
    found = overlays.load(args.overlay)
    if "@" in args.overlay or found.made_from == overlays.FROM_CSV:
        return found
    return overlays.freeze(args.overlay, Dataset(args.data or found.dataset), by=_who(args))[0]


def _import(args: argparse.Namespace) -> None:
    overlay, made, unchanged = exchange.import_csv(args.csv, args.overlay, by=_who(args), data=args.data)
    told = overlay.describe() | {"made": made, "unchanged_lines": unchanged}
    lines = [_overlay_line(told)]
    lines += [] if made else ["it says the same as the last version: no version was made"]
    lines += [f"lines that change nothing: {unchanged:,}"] if unchanged else []
    show(told, args.json, lines)


def _issues(args: argparse.Namespace) -> None:
    from bloodcell_core.review import ranking

    issues = ranking.of_run(runs.find(args.run), args.device)
    rows = issues.photos.head(args.limit or len(issues.photos)).to_dict("records")
    unit = "picture" if (issues.photos.pictures == 1).all() else "photo"  # cells of a patient are judged one by one
    lines = [f"{counted(len(issues.photos), unit)} by {issues.source}, the likeliest wrong label first"]
    lines += [
        f"  {row['quality']:.3f}  {row['photo']}  {row['label']}, rather {row['suggested']}; "
        + ("1 picture" if row["pictures"] == 1 else f"{row['pictures']:,} copies")
        for row in rows
    ]
    lines += [f"  note: {issues.warning}"] if issues.warning else []
    show({"source": issues.source, "warning": issues.warning, "photos": rows}, args.json, lines)


def _fixed(args: argparse.Namespace) -> None:
    from bloodcell_core.evaluation.comparison import side_of
    from bloodcell_core.review.fixed import fixed_and_broken

    overlay = overlays.load(args.labels) if args.labels else None
    before, after = (side_of(runs.find(reference)) for reference in (args.before, args.after))
    found = fixed_and_broken(before, after, overlay)
    parts = {"fixed": found.fixed, "broken": found.broken, "still_wrong": found.still}
    told: dict[str, Any] = {"before": found.before, "after": found.after, "words": found.in_words()}
    told |= {"labels": overlay.reference if overlay else None, "comparison": found.comparison}
    told |= {name: part.to_dict("records") for name, part in parts.items()}
    lines = [found.in_words(), *(f"  note: {note}" for note in found.comparison["notes"])]
    for name, part in parts.items():
        pairs = part.groupby(["label", "before", "after"]).image_id.size().reset_index()
        lines += [f"  {name.replace('_', ' ')}: {label}, {before} before, {after} after: {counted(count, 'picture')}"
                  for label, before, after, count in pairs.itertuples(index=False)]  # fmt: skip
    show(told, args.json, lines)


def _teaches(args: argparse.Namespace) -> None:
    from bloodcell_core.review import error_analysis

    run = runs.find(args.run)
    overlay = overlays.load(args.labels) if args.labels else None
    table = run.predictions().query("split == 'test'")
    if overlay:
        overlay.check_hash(run.data_hash, run.config.data)
        table = overlay.relabelled(table, run.classes)
    table = error_analysis.with_facts(table, _dataset_of(run).pictures)
    rates = error_analysis.error_rates(table, run.classes)
    words = error_analysis.in_words(table, rates)
    told = {
        "run": run.name, "labels": overlay.reference if overlay else None, "words": words,
        "rates": rates, "by_photo": error_analysis.by_photo(table).to_dict("records"),
    }  # fmt: skip
    show(told, args.json, words)
