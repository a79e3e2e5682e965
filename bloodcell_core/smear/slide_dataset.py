"""Makes a dataset to train on of the cells of a slide that a person confirmed.

Each cell becomes a picture of its own, with the place of its nucleus: a square twice as wide as what the network is
shown, so that red cells lie around it and the cell view can be cut from it anew. Cells of one picture are one group:
they never stand in training and test at once.

A dataset is read-only once it is made. Cells are therefore added to one by building another under a new name: the
pictures of the old one keep their splits, so that figures on its test split can still be compared, and the new cells go
to training, but for those of a picture that the old one has cells of, or has whole: they go where those are. A picture
is the same by its content, too: it may have been handed in with another slide, or its cells have come through
`combine`, which puts a dataset's name before the names of photographs and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
import pandas as pd

from bloodcell_core.cells import Box
from bloodcell_core.data.class_names import match_classes
from bloodcell_core.data.combining import scene_of_cells
from bloodcell_core.data.cut_cells import cut_cell, widened
from bloodcell_core.data.dataset import SPLITS, Dataset
from bloodcell_core.data.formats.listing import Entry, Listing, Read
from bloodcell_core.data.importing import build_dataset
from bloodcell_core.data.pictures import decode_rgb
from bloodcell_core.errors import LabError
from bloodcell_core.progress import Progress, no_progress
from bloodcell_core.smear.corrections import is_drawn
from bloodcell_core.smear.slide_cells import CountedCell, CountedPicture
from bloodcell_core.smear.slides import Slide, SlidePicture

Listed = tuple[Entry, Read]
AROUND = 2.0  # sides of the square that the network is shown
NUCLEUS = 0.5  # of that square's side: what a nucleus takes where nobody knows more


def confirmed_cells(pictures: Sequence[CountedPicture]) -> list[tuple[CountedPicture, CountedCell]]:
    """The cells that a person gave a class, picture by picture."""
    return [(counted, cell) for counted in pictures for cell in counted.standing if cell.state == "confirmed"]


def send_to_dataset(
    slide: Slide,
    pictures: Sequence[CountedPicture],
    name: str,
    base: Dataset | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Makes the dataset `name` of the confirmed cells of a slide, with all the pictures of `base` where one is given.

    A cell that `base` has from this slide already is replaced by what is said of it now, and left out where it is not
    confirmed any more; of pictures that aren't among `pictures` the cells stay as they were. A class that `base` has is
    called as there, also where the slide's run writes it otherwise. Raises LabError where no cell
    is confirmed, the name is taken, or there would be fewer than two classes.
    """
    confirmed = confirmed_cells(pictures)
    if not confirmed:
        raise LabError(
            "no cell of this slide is confirmed yet: give some a class by hand, or confirm those that are right"
        )
    there = _cells_there(slide, pictures, confirmed, base) if base else None
    new = list(_entries(slide, confirmed, base, there))
    replaced = set() if there is None else {*there.file[there.here | there.again]}
    old = [(entry, read) for entry, read in (_entries_of(base) if base else ()) if entry.file not in replaced]
    told = f"{len(new):,} cells of slide {slide.name!r}" + (f", with the pictures of {base.name}" if base else "")
    if there is not None and (gone := int((there.here & ~there.again).sum())):
        told += f"; {gone:,} of its cells left out, which aren't confirmed any more"
    facts = {
        "format": "confirmed cells",
        "synthetic": slide.synthetic or bool(base and base.synthetic),
        "source": told,
    }
    if base and "parts" in base.facts:  # each is a laboratory of its own to a network that learns from it
        facts["parts"] = base.facts["parts"]
    listing = Listing(
        len(old) + len(new), iter([*old, *new]), 0,
        licence=base.facts["licence"] if base else "", citation=base.facts["citation"] if base else "",
    )  # fmt: skip
    copied = set(base.pictures.photo[base.pictures.copies.astype(bool)]) if base else set()
    return build_dataset(name, listing, facts, progress, copied)


def _cells_there(
    slide: Slide,
    pictures: Sequence[CountedPicture],
    confirmed: Sequence[tuple[CountedPicture, CountedCell]],
    base: Dataset,
) -> pd.DataFrame:
    """The rows of `base.pictures` that are one of these pictures or were cut from one, those of its test split last.

    Adds `number`, the picture's; `here`: it is of this slide; `again`: it is one of the `confirmed` cells. One that was
    found has the same name on another slide; of one that was drawn the name tells nothing there. The `photo` of a whole
    picture is none that its cells would be copies of: None.
    """
    of_group = {f"{slide.id}/{counted.picture.number}": counted.picture.number for counted in pictures}
    of_content = {_scene(counted.picture): counted.picture.number for counted in pictures if counted.picture.stored}
    here = base.pictures.photo.str.split("/").str[-2:].str.join("/").map(of_group)
    anywhere = base.pictures.scene.str.split("/").str[-1].map(of_content)
    itself = base.pictures.image_id.map(scene_of_cells).map(of_content)
    photo = base.pictures.photo.astype(object).where(itself.isna(), None)
    rows = base.pictures.assign(here=here.notna(), number=here.fillna(anywhere).fillna(itself), photo=photo)
    rows = rows[rows.number.notna()]
    now = {(counted.picture.number, _file_of(cell)): is_drawn(cell.id) for counted, cell in confirmed}
    drawn = [now.get(each) for each in zip(rows.number, rows.file.str.split("/").str[-1], strict=True)]
    again = [by_hand is not None and (own or not by_hand) for by_hand, own in zip(drawn, rows.here, strict=True)]
    rows = rows.assign(again=np.array(again, dtype=bool))
    return rows.sort_values("split", key=lambda split: split.map(SPLITS.index), kind="stable")


def _scene(picture: SlidePicture) -> str:
    """The same for a picture whichever slide it was handed in with."""
    return scene_of_cells(picture.stored)  # begins as its image_id would


def _file_of(cell: CountedCell) -> str:
    return f"{cell.id}.png"


def _entries(
    slide: Slide,
    confirmed: Sequence[tuple[CountedPicture, CountedCell]],
    base: Dataset | None,
    there: pd.DataFrame | None,
) -> Iterator[Listed]:
    known: dict[int, tuple[str | None, str, str]] = {}
    if there is not None:  # the last counts, which the test split has
        known = dict(zip(there.number, zip(there.photo, there.scene, there.split, strict=True), strict=True))
    pictures = {counted.picture.number: counted.picture for counted, _ in confirmed}

    @lru_cache(maxsize=4)  # the cells of one picture follow each other
    def decoded(number: int) -> np.ndarray:
        return decode_rgb(slide.read(pictures[number]))

    def cut(number: int, square: Box, cell: Box) -> bytes:
        return cut_cell(decoded(number), square, cell)

    labels = sorted({str(cell.label) for _, cell in confirmed})
    called = match_classes(labels, base.classes) if base else {}
    for counted, cell in confirmed:
        number = counted.picture.number
        square = widened(cell.box, AROUND, counted.answer.width, counted.answer.height)
        nucleus = cell.answer.nucleus if cell.answer and not cell.cell.by_hand else None
        told = nucleus or _middle(cell.box)
        box = (told[0] - square[0], told[1] - square[1], told[2] - square[0], told[3] - square[1])
        group = f"{slide.id}/{number}"
        as_new = group, _scene(counted.picture), "train" if base else None
        photo, scene, split = known.get(number, as_new)
        label = called.get(str(cell.label)) or str(cell.label)
        entry = Entry(f"{group}/{_file_of(cell)}", label, split, photo or group, box, scene)
        yield entry, partial(cut, number, square, cell.box)


def _middle(box: Box) -> Box:
    x0, y0, x1, y1 = box
    across, down = round((1 - NUCLEUS) * (x1 - x0) / 2), round((1 - NUCLEUS) * (y1 - y0) / 2)
    return x0 + across, y0 + down, x1 - across, y1 - down


def _entries_of(base: Dataset) -> Iterator[Listed]:
    """The pictures of a dataset as they stand in it."""
    for _, picture in base.pictures.iterrows():
        box = tuple(int(picture[f"box_{corner}"]) for corner in ("x0", "y0", "x1", "y1")) if picture.box_told else None
        photo, scene = (None if pd.isna(picture[told]) else str(picture[told]) for told in ("source_photo", "scene"))
        read = (base.folder / "originals" / picture.stored).read_bytes
        yield Entry(picture.file, picture.label, picture.split, photo, box, scene), read  # type: ignore[arg-type]
