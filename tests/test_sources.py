"""Folders and zips, hostile ones among them: what is read, what is passed over, what is refused and in what words."""

import errno
import os
import stat
import struct
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell_core.data import sources
from bloodcell_core.data.sources import FolderSource, ZipSource, open_source
from bloodcell_core.errors import LabError
from tests.conftest import write_files, write_zip

FILES = {"a/1.png": b"first", "a/2.png": b"second", "b/c/3.png": b"third", "read me.txt": b"words"}


def refusal(path: Path) -> str:
    with pytest.raises(LabError) as caught:
        open_source(path)
    return str(caught.value)


def reading_fails_with(path: Path, file: str) -> str:
    source = open_source(path)
    with pytest.raises(LabError) as caught:
        source.read(file)
    source.close()
    return str(caught.value)


def contents(path: Path) -> dict[str, bytes]:
    source = open_source(path)
    read = {file: source.read(file) for file in source.files}
    source.close()
    return read


# The same either way


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_gives_its_files_by_their_paths(tmp_path, compression):
    assert contents(write_zip(tmp_path / "cells.zip", FILES, compression)) == FILES


def test_a_folder_gives_its_files_by_their_paths(tmp_path):
    assert contents(write_files(tmp_path / "cells", FILES)) == FILES


def test_files_are_sorted_and_named_after_their_source(tmp_path):
    mixed = {f"{number * 7 % 31:02}/{number * 5 % 31:02}.png": b"" for number in range(31)}
    folder, archive = write_files(tmp_path / "cells", mixed), write_zip(tmp_path / "more cells.zip", mixed)
    assert FolderSource(folder).files == sorted(mixed)
    assert ZipSource(archive).files == sorted(mixed)
    assert open_source(folder).name == "cells"
    assert open_source(archive).name == "more cells"


def test_folders_of_a_zip_are_no_files(tmp_path):
    path = tmp_path / "cells.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/1.png", b"first")
    assert open_source(path).files == ["a/1.png"]


def test_names_that_a_mac_writes_in_utf8_without_saying_so(tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"GRXXXXE/1.png": b"first", "n\x84r/2.png": b"second"})
    path.write_bytes(path.read_bytes().replace(b"GRXXXXE", "Größe".encode()))
    source = open_source(path)
    assert source.files == ["Größe/1.png", "n\x84r/2.png"]
    assert source.read("Größe/1.png") == b"first"


def test_names_in_the_code_page_of_dos_stay_what_they_are(tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"GRXXE/1.png": b"first"})
    path.write_bytes(path.read_bytes().replace(b"GRXXE", "Größe".encode("cp437")))
    assert open_source(path).files == ["Größe/1.png"]


def test_backslashes_are_folders(tmp_path):
    assert contents(write_zip(tmp_path / "cells.zip", {"a\\b\\1.png": b"first"})) == {"a/b/1.png": b"first"}


def test_a_source_is_known_by_what_it_is_and_not_by_its_name(tmp_path):
    assert contents(write_zip(tmp_path / "no-suffix", FILES)) == FILES
    assert contents(write_files(tmp_path / "folder.zip", FILES)) == FILES


# What can't be opened


def test_what_is_not_there_is_named(tmp_path):
    words = "doesn't exist: give a folder, a .zip file, or a .npz, .h5, .csv, .tsv, .parquet file"
    assert refusal(tmp_path / "nowhere.zip") == f"{tmp_path / 'nowhere.zip'} {words}"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_path_that_no_system_takes_does_not_exist(tmp_path, name):
    assert "doesn't exist" in refusal(tmp_path / name)


def test_a_pipe_or_a_device_is_not_read(tmp_path):
    """One would keep us waiting, the other fill the memory."""
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (tmp_path / "pipe.zip", Path("/dev/zero")):
        assert refusal(path).startswith(f"{path} is no file: give a folder, a .zip file")


@pytest.mark.parametrize("data", [b"", b"words, not a zip", b"PK\x03\x04" + bytes(100), bytes(1000)])
def test_what_is_no_zip_is_refused(tmp_path, data):
    path = tmp_path / "cells.zip"
    path.write_bytes(data)
    assert refusal(path).startswith("cells.zip is not a zip file that can be read: ")


@pytest.mark.parametrize("name", ["cell.png", "notes.txt", "cells"])
def test_what_is_neither_a_zip_nor_called_one_is_refused_with_what_would_do(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"one picture by itself")
    assert refusal(path).startswith(f"{name} is no zip: give a folder, a .zip file, or a ")


def test_a_zip_needs_no_ending(tmp_path):
    assert len(open_source(write_zip(tmp_path / "cells", FILES)).files) == len(FILES)


@pytest.mark.parametrize("files", [{}, {"a/": b"", "b/": b""}])
def test_an_empty_zip_is_refused(tmp_path, files):
    assert refusal(write_zip(tmp_path / "cells.zip", files)) == "cells.zip is an empty zip: there is nothing to import"


def test_a_zip_cut_short_is_refused(tmp_path):
    path = write_zip(tmp_path / "cells.zip", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(path).startswith("cells.zip is not a zip file that can be read: ")


def patched(path: Path, marker: bytes, offset: int, value: bytes) -> Path:
    """Overwrites what stands `offset` after the first `marker`: PK 1 2 begins a member's entry, PK 3 4 the member."""
    data = bytearray(path.read_bytes())
    start = data.find(marker) + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def test_a_zip_of_a_version_to_come_is_refused(tmp_path):
    path = patched(write_zip(tmp_path / "cells.zip", FILES), b"PK\1\2", 6, b"\xff\x00")
    assert refusal(path) == "cells.zip is not a zip file that can be read: zip file version 25.5"


def test_a_member_without_a_name_is_passed_over(tmp_path):
    info = zipfile.ZipInfo("x")
    info.filename = ""
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr(info, b"nameless")
        archive.writestr("a/1.png", b"first")
    assert open_source(tmp_path / "cells.zip").files == ["a/1.png"]


# Names that would leave the archive


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "a/../../outside.png",
        "a/..",
        "..\\outside.png",
        "a\\..\\..\\outside.png",
        "/etc/outside.png",
        "//server/share/outside.png",
        "\\outside.png",
        "\\\\server\\share\\outside.png",
        "C:/outside.png",
        "c:\\outside.png",
        "C:outside.png",
    ],
)
def test_a_name_that_leaves_the_archive_refuses_all_of_it(tmp_path, name):
    words = refusal(write_zip(tmp_path / "cells.zip", FILES | {name: b"evil"}))
    assert words == f"cells.zip holds a path that leaves the archive ({name!r}): it is refused"


def test_a_refusal_is_one_short_line_however_long_the_name(tmp_path):
    words = refusal(write_zip(tmp_path / "cells.zip", {"../" + "x" * 5000 + "\n": b"evil"}))
    assert len(words) < 200
    assert "\n" not in words


def test_dots_inside_a_name_are_no_way_out(tmp_path):
    files = {"a/b..png": b"1", "a/c...d/e.png": b"2", "a/f../g.png": b"3"}
    assert contents(write_zip(tmp_path / "cells.zip", files)) == files


def test_a_time_in_a_name_is_no_drive(tmp_path):
    files = {"2024-05-01T12:30:05.png": b"1", "12:31/a.png": b"2"}
    assert contents(write_zip(tmp_path / "cells.zip", files)) == files


segments = st.sampled_from(
    ["..", ".", "", "a", "b.png", "C:", "~", "con", "\\", "..\\", "a\\..", "\\\\host", "é", "\u202ex"]
)
zip_names = st.lists(segments | st.text(max_size=8), min_size=1, max_size=6).map("/".join)


@settings(max_examples=150, deadline=None)
@given(names=st.lists(zip_names, min_size=1, max_size=4, unique=True))
def test_no_name_that_a_zip_may_hold_leads_outside(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("zips") / "cells.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it stands: ZipInfo itself would tidy it
            archive.writestr(info, b"data")
    try:
        source = open_source(path)
    except LabError:
        return
    for file in source.files:
        inside = PurePosixPath("/top", file)
        assert inside.is_relative_to("/top")
        assert Path(os.path.normpath(str(inside))).is_relative_to("/top")
        assert "\\" not in file
        assert not PureWindowsPath(file).drive
        assert source.read(file) == b"data"
    source.close()


# Files that aren't a person's own

HIDDEN = (".DS_Store", "a/.DS_Store", ".git/HEAD", "__MACOSX/a/._1.png", "a/Thumbs.db", "a/desktop.ini", ".a/1.png")


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_files_are_passed_over(tmp_path, hidden):
    files = {"a/1.png": b"first", hidden: b"hidden"}
    assert open_source(write_zip(tmp_path / "cells.zip", files)).files == ["a/1.png"]
    assert open_source(write_files(tmp_path / "cells", files)).files == ["a/1.png"]


@pytest.mark.parametrize("leads_to", ["secret/2.png", "secret", "cells", "nowhere.png", "cells/a/1.png"])
@pytest.mark.parametrize("name", ["a/2.png", "b", "notes"])
def test_a_link_in_a_folder_refuses_it(tmp_path, name, leads_to):
    folder = write_files(tmp_path / "cells", {"a/1.png": b"first"})
    write_files(tmp_path / "secret", {"2.png": b"not yours"})
    (folder / name).symlink_to(tmp_path / leads_to)
    assert refusal(folder) == (
        f"cells holds a link ({name!r}): links are not followed, put what it leads to in its place (cp -rL does) "
        "or remove it"
    )


def test_hidden_links_are_passed_over_like_other_hidden_files(tmp_path):
    folder = write_files(tmp_path / "cells", {"a/1.png": b"first", ".venv/x": b"x"})
    for name in (".link", ".venv/python", "a/.lock"):
        (folder / name).symlink_to(tmp_path)
    assert open_source(folder).files == ["a/1.png"]


def test_a_folder_that_cannot_be_looked_into_refuses_all_of_it(tmp_path, monkeypatch):
    write_files(tmp_path / "cells", {"a/1.png": b"1", "b/2.png": b"2"})
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(LabError, match="cells: the folder 'b' can't be read: Permission denied"):
        open_source(tmp_path / "cells")


def test_the_source_itself_may_be_a_link(tmp_path):
    write_files(tmp_path / "cells", {"a/1.png": b"first"})
    (tmp_path / "link").symlink_to(tmp_path / "cells", target_is_directory=True)
    assert contents(tmp_path / "link") == {"a/1.png": b"first"}


def test_what_is_neither_file_nor_folder_is_passed_over(tmp_path):
    folder = write_files(tmp_path / "cells", {"a/1.png": b"first"})
    os.mkfifo(folder / "a" / "2.png")  # reading it would wait for ever
    assert open_source(folder).files == ["a/1.png"]


def test_a_link_in_a_zip_refuses_it(tmp_path):
    link = zipfile.ZipInfo("a/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("a/1.png", b"first")
        archive.writestr(link, "/etc/passwd")
    assert refusal(tmp_path / "cells.zip") == (
        "cells.zip holds a link ('a/link.png'): pack what it leads to in its place"
    )


@pytest.mark.parametrize("other", ["a/1.png", "a\\1.png", "./a/1.png", "a//1.png"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_refuse_a_zip(tmp_path, other):
    info = zipfile.ZipInfo("x")
    info.filename = other
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.writestr("a/1.png", b"first")
        archive.writestr(info, b"second")
    assert refusal(tmp_path / "cells.zip").startswith("cells.zip holds two files called ")


# Members that can't be read


def test_a_zip_with_a_password_says_so_at_once(tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"a/1.png": b"first"})
    patched(patched(path, b"PK\1\2", 8, b"\1\0"), b"PK\3\4", 6, b"\1\0")
    with pytest.raises(LabError, match=r"^cells\.zip is locked by a password: unpack it and give the folder$"):
        open_source(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_says_so_and_the_others_are_read(tmp_path, compression):
    files = {"a/1.png": bytes(range(256)) * 4, "a/2.png": b"second"}
    path = write_zip(tmp_path / "cells.zip", files, compression)
    patched(path, b"1.png", 5 + 20, b"\xaa\x55\xaa\x55\xaa")  # past its name, inside its data
    assert reading_fails_with(path, "a/1.png").startswith("damaged inside the zip: ")
    assert open_source(path).read("a/2.png") == b"second"


def test_a_member_with_a_wrong_checksum_says_so(tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"a/1.png": b"first"})
    patched(path, b"PK\1\2", 16, b"\0\0\0\0")
    assert reading_fails_with(path, "a/1.png") == "damaged inside the zip: Bad CRC-32 for file 'a/1.png'"


@pytest.mark.parametrize(
    ("marker", "offset", "value"),
    [
        (b"PK\3\4", 0, b"xxxx"),  # no member begins where one should
        (b"PK\3\4", 30, b"b"),  # another name there than in the list
        (b"PK\1\2", 10, b"\x63\0"),  # a compression that nobody knows
        (b"PK\1\2", 42, struct.pack("<L", 2**31)),  # it would begin behind the end
    ],
)
def test_a_member_that_its_list_entry_contradicts_says_so(tmp_path, marker, offset, value):
    path = patched(write_zip(tmp_path / "cells.zip", {"a/1.png": b"first"}), marker, offset, value)
    assert reading_fails_with(path, "a/1.png").startswith("damaged inside the zip: ")


def test_a_member_whose_name_is_no_utf8_says_so(tmp_path):
    path = write_zip(tmp_path / "cells.zip", {"a/é.png": b"first"})
    patched(path, b"PK\3\4", 30, b"a/\xff\xff")
    assert reading_fails_with(path, "a/é.png").startswith("damaged inside the zip: ")


@pytest.mark.parametrize("declared", [6, 50 * 2**20])
def test_a_member_that_holds_less_than_declared_says_so(tmp_path, declared):
    path = write_zip(tmp_path / "cells.zip", {"a/1.png": b"first"})
    patched(path, b"PK\1\2", 24, struct.pack("<L", declared))
    assert reading_fails_with(path, "a/1.png") == "the zip declares another size than it holds"


def test_a_member_that_holds_more_than_declared_says_so(tmp_path):
    path = patched(write_zip(tmp_path / "cells.zip", {"a/1.png": b"first"}), b"PK\1\2", 24, struct.pack("<L", 4))
    assert reading_fails_with(path, "a/1.png") == "damaged inside the zip: Bad CRC-32 for file 'a/1.png'"


@settings(max_examples=300, deadline=None)
@given(
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_damage_to_a_zip_is_said_and_never_another_failure(tmp_path_factory, compression, changes):
    path = write_zip(
        tmp_path_factory.mktemp("zips") / "cells.zip", {"a/é.png": b"first" * 9, "b/2.png": b"2"}, compression
    )
    data = bytearray(path.read_bytes())
    for from_the_end, value in changes:
        data[-1 - from_the_end % len(data)] = value
    path.write_bytes(data)
    try:
        source = open_source(path)
    except LabError:
        return
    for file in source.files:
        with suppress(LabError):
            source.read(file)
    source.close()


def test_a_file_of_a_folder_that_went_away_says_so(tmp_path):
    folder = write_files(tmp_path / "cells", FILES)
    source = open_source(folder)
    (folder / "a" / "1.png").unlink()
    with pytest.raises(LabError, match=r"can't be read: No such file"):
        source.read("a/1.png")
    assert source.read("a/2.png") == b"second"


# Limits


def test_a_bomb_is_refused_by_its_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 1000)
    path = write_zip(tmp_path / "cells.zip", FILES | {"a/bomb.png": bytes(300_000)}, zipfile.ZIP_DEFLATED)
    assert refusal(path) == "cells.zip holds a file that unpacks to far more than it should ('a/bomb.png')"


def test_what_packs_well_but_is_small_is_no_bomb(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "cells.zip", {"a/black.bmp": bytes(300_000)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 300_000)
    assert open_source(path).files == ["a/black.bmp"]
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 299_999)
    assert "unpacks to far more" in refusal(path)


def test_what_hardly_packs_is_no_bomb_however_large(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 10)
    files = {"a/1.png": b"0123456789" * 100}
    assert contents(write_zip(tmp_path / "cells.zip", files, zipfile.ZIP_STORED)) == files


def test_too_large_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 4)
    files = {"a/1.png": b"five5"}
    assert "unpacks to far more than it should ('a/1.png')" in refusal(write_zip(tmp_path / "cells.zip", files))
    assert reading_fails_with(write_files(tmp_path / "cells", files), "a/1.png").startswith("larger than ")
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 5)
    assert contents(tmp_path / "cells.zip") == contents(tmp_path / "cells") == files


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    archive, folder = write_zip(tmp_path / "cells.zip", FILES), write_files(tmp_path / "cells", FILES)
    monkeypatch.setattr(sources, "MAX_FILES", len(FILES) - 1)
    assert refusal(archive) == "cells.zip lists 4 files; at most 3 are taken"
    assert refusal(folder) == f"{folder} holds more than 3 files: import a part of it"
    monkeypatch.setattr(sources, "MAX_FILES", len(FILES))
    assert contents(archive) == contents(folder) == FILES


def test_too_much_in_all_is_refused(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "cells.zip", FILES)
    monkeypatch.setattr(sources, "MAX_TOTAL_BYTES", sum(map(len, FILES.values())) - 1)
    assert refusal(archive).startswith("cells.zip would unpack to ")
    monkeypatch.setattr(sources, "MAX_TOTAL_BYTES", sum(map(len, FILES.values())))
    assert contents(archive) == FILES


def test_many_small_bombs_are_refused_by_their_ratio_in_all(tmp_path, monkeypatch):
    files = {f"a/{number}.png": bytes(50_000) for number in range(8)}
    archive = write_zip(tmp_path / "cells.zip", files, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 60_000)
    assert refusal(archive) == "cells.zip would unpack to 0.0 GiB, far more than it should: it is refused"
    monkeypatch.setattr(sources, "RATIO_FROM_BYTES", 400_000)
    assert contents(archive) == files


# How many files a zip lists is counted before its list is read: that would take gigabytes of memory


def long_list(path: Path, entries: int, stated: int, long: bool) -> Path:
    """A zip that lists one and the same member `entries` times, and states that there were `stated`."""
    write_zip(path, {"a/1.png": b"first"})
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    listed = data[start : data.index(b"PK\5\6")] * entries
    count, length, place = min(stated, 0xFFFF), len(listed), start
    tail = b""
    if long:
        record = start + len(listed)
        tail = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, stated, stated, length, place)
        tail += struct.pack("<4sLQL", b"PK\6\7", 0, record, 1)
        count, length, place = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, length, place, 0)
    path.write_bytes(data[:start] + listed + tail + end)
    return path


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("stated", [1, 1_000_000])
def test_a_zip_of_a_million_files_is_refused_before_its_list_is_read(tmp_path, monkeypatch, stated, long):
    path = long_list(tmp_path / "cells.zip", 1_000_000, stated, long)
    monkeypatch.setattr(zipfile, "ZipFile", lambda file: pytest.fail("its list is read"))
    assert refusal(path) == "cells.zip lists 1,000,000 files; at most 500,000 are taken"


@pytest.mark.parametrize("long", [False, True])
def test_the_count_is_that_of_the_list(tmp_path, monkeypatch, long):
    path = long_list(tmp_path / "cells.zip", 7, 7, long)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 7
    monkeypatch.setattr(sources, "MAX_FILES", 6)
    assert refusal(path) == "cells.zip lists 7 files; at most 6 are taken"
    monkeypatch.setattr(sources, "MAX_FILES", 7)
    assert "two files called 'a/1.png'" in refusal(path)


@settings(max_examples=300, deadline=None)
@given(
    comment=st.sampled_from([b"", b"PK\5\6", b"PK\6\7" + bytes(30), b"PK\5\6" + bytes(40), b"x" * 65535]),
    long=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=3),
)
def test_no_more_files_are_listed_than_were_counted(tmp_path_factory, comment, long, changes):
    path = long_list(tmp_path_factory.mktemp("zips") / "cells.zip", 5, 5, long)
    data = bytearray(path.read_bytes() + comment)
    data[len(data) - len(comment) - 2 : len(data) - len(comment)] = struct.pack("<H", len(comment))
    for from_the_end, value in changes:
        data[-1 - from_the_end] = value
    path.write_bytes(data)
    start, end = sources._directory_place(path)
    with suppress(*sources.DAMAGED):
        with zipfile.ZipFile(path) as archive:
            assert len(archive.infolist()) <= path.read_bytes()[start:end].count(b"PK\1\2")


def test_a_list_that_is_long_for_its_names_is_refused(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "cells.zip", {f"a/{'x' * 5000}.png": b"first"})
    monkeypatch.setattr(sources, "MAX_DIRECTORY_BYTES", 5000)
    assert refusal(path).startswith("cells.zip has a list of files of 5,0")


# A single file


@pytest.mark.parametrize("suffix", [*sources.SINGLE_FILES, ".CSV", ".Npz"])
def test_a_single_file_is_a_source_and_leads_to_what_lies_beside_it(tmp_path, suffix):
    folder = write_files(tmp_path / "cells", {f"data{suffix}": b"itself", "a/1.png": b"first"})
    source = open_source(folder / f"data{suffix}")
    assert (source.name, source.files) == ("data", [f"data{suffix}"])
    assert source.read(f"data{suffix}") == b"itself"
    assert source.read("a/1.png") == source.read(str(folder / "a" / "1.png")) == b"first"
    assert source.path("a/1.png") == folder / "a" / "1.png"
    source.close()


def test_only_what_lies_on_disk_has_a_path(tmp_path):
    assert open_source(write_files(tmp_path / "cells", FILES)).path("a/1.png") == tmp_path / "cells" / "a" / "1.png"
    assert open_source(write_zip(tmp_path / "cells.zip", FILES)).path("a/1.png") is None


# Nothing is left open or unpacked


def test_a_closed_zip_can_be_deleted_and_nothing_was_unpacked(tmp_path):
    path = write_zip(tmp_path / "cells.zip", FILES)
    source = ZipSource(path)
    source.read("a/1.png")
    source.close()
    assert [file.name for file in tmp_path.iterdir()] == ["cells.zip"]
    with pytest.raises(LabError):
        source.read("a/1.png")


def test_a_refused_zip_is_closed(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "cells.zip", {"../1.png": b"evil"})
    opened, open_zip = [], zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda file: (opened.append(open_zip(file)), opened[-1])[1])
    assert "leaves the archive" in refusal(path)
    assert [archive.fp for archive in opened] == [None]
