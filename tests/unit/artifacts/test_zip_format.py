"""What an archive may say, row by row."""

import io
import os
import stat
import struct
import zipfile

import pytest

from lambent.artifacts import zip_format
from lambent.artifacts.unpack import Stop, check_archive
from lambent.artifacts.zip_format import BadZip, Kind


def read(data: bytes, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with path.open("rb") as file:
        entries = zip_format.read_entries(file.fileno())
        check_archive(file.fileno(), entries, Stop())
        return {b"/".join(entry.parts).decode(): entry for entry in entries}


def patch(data: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    at = data.index(signature) + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/../../x", "/etc/x", "a\\..\\x", "..\\x", "\\x", "C:\\x", "c:x", "a/\0b", "x" * 256,
        "/".join("d" for _ in range(200)),
    ],
)  # fmt: skip
def test_a_name_that_leads_out_or_is_too_long_is_refused(name, pack, tmp_path):
    data = pack({"A" * len(name): "text"}).replace(b"A" * len(name), name.encode())
    with pytest.raises(BadZip):
        read(data, tmp_path)


@pytest.mark.parametrize(
    ("name", "found"),
    [("./a.py", "a.py"), ("a//b.py", "a/b.py"), ("a/./b", "a/b"), ("ä/日本.py", "ä/日本.py"), ("a\\b.py", "a\\b.py")],
)
def test_a_name_that_stays_inside_is_tidied(name, found, pack, tmp_path):
    assert list(read(pack({name: "text"}), tmp_path)) == [found]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_devices_and_pipes_are_refused(kind, pack, tmp_path):
    with pytest.raises(BadZip, match="device"):
        read(pack({"x": (kind | 0o644, "")}), tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"l": (0o120777, "/etc/passwd")}, "leads out"),
        ({"l": (0o120777, "../x")}, "leads out"),
        ({"d/l": (0o120777, "../../x")}, "leads out"),
        ({"d/e/": (0o40755, ""), "up": (0o120777, "d/e"), "l": (0o120777, "up/../../../x")}, "leads out"),
        ({"a": (0o120777, "."), "b": (0o120777, "a/a/a/../x")}, "leads out"),
        ({"l": (0o120777, "")}, "leads out"),
        ({"l": (0o120777, "x" * 5000)}, "long link"),
        ({"l": (0o120777, "d"), "l/x": "text"}, "beneath a file"),
        ({"f": "text", "f/x": "text"}, "beneath a file"),
    ],
)
def test_a_link_that_leads_out_or_carries_files_is_refused(files, reason, pack, tmp_path):
    with pytest.raises(BadZip, match=reason):
        read(pack(files), tmp_path)


def test_links_that_stay_inside_dangle_or_go_round_are_kept(pack, tmp_path):
    links = {"lib/a.so": (0o120777, "a.so.1"), "up": (0o120777, "lib/../lib"), "ring": (0o120777, "ring")}
    assert {entry.kind for entry in read(pack(links), tmp_path).values()} == {Kind.LINK}


@pytest.mark.parametrize(
    ("mode", "system", "expected"),
    [
        (0o100644, 3, 0o644),
        (0o100755, 3, 0o755),
        (0o100600, 3, 0o600),
        (0, 3, 0),  # Developer guide: such a file is not readable at run time
        (0o104777, 3, 0o755),
        (0o100600, 0, 0o644),
        (0o040000, 3, 0o755),
    ],
)
def test_modes_are_those_of_the_archive(mode, system, expected, pack, tmp_path):
    name = "d/" if stat.S_ISDIR(mode) else "f"
    data = patch(pack({name: (mode, "")}), b"PK\x01\x02", 5, "<B", system)
    data = patch(data, b"PK\x01\x02", 38, "<L", mode << 16)
    assert read(data, tmp_path)[name.rstrip("/")].mode == expected


def test_a_directory_made_on_windows_is_one(pack, tmp_path):
    data = patch(pack({"d": (0, "")}), b"PK\x01\x02", 5, "<B", 0)
    data = patch(data, b"PK\x01\x02", 38, "<L", 0x10)
    assert read(data, tmp_path)["d"].kind is Kind.DIRECTORY


def test_the_last_of_two_equal_names_counts(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("a", "second!")
    assert read(archive.getvalue(), tmp_path)["a"].size_bytes == 7


def test_times_are_read_as_utc_and_impossible_ones_become_1980(pack, tmp_path):
    data = pack({"a": "text"})
    assert read(data, tmp_path)["a"].modified_s == 1_709_209_858
    assert read(patch(data, b"PK\x01\x02", 14, "<H", 0), tmp_path)["a"].modified_s == 315_532_800


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"),
    [
        (8, "<H", 1, "encrypted"),
        (10, "<H", 12, "another method"),
        (16, "<L", 1, "checksum"),
        (20, "<L", 5, "ends early"),
        (24, "<L", 3, "longer than it says"),
        (24, "<L", 60_000, "length"),
        (42, "<L", 9, "no local header"),
        (28, "<H", 60_000, "ends early"),
        (34, "<H", 7, "another method"),
    ],
)
def test_a_lie_in_the_directory_is_found(offset, form, value, reason, pack, tmp_path):
    with pytest.raises(BadZip, match=reason):
        read(patch(pack({"a": "text" * 100}), b"PK\x01\x02", offset, form, value), tmp_path)


def test_entries_that_share_their_bytes_are_refused(pack, tmp_path):
    data = pack({"a": "x" * 1000, "b": "x" * 1000})
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    with pytest.raises(BadZip, match="overlap"):
        read(data[: second + 42] + struct.pack("<L", 0) + data[second + 46 :], tmp_path)


def test_a_stored_archive_that_holds_an_archive_is_one_file(pack, tmp_path):
    inner = pack({"evil": "text"})
    assert list(read(pack({"inner.zip": inner.decode("latin-1")}), tmp_path)) == ["inner.zip"]


def test_bytes_before_and_behind_the_archive_do_no_harm(pack, tmp_path):
    assert list(read(b"#!/bin/sh\n" + pack({"a": "text"}) + b"\n\n", tmp_path)) == ["a"]


def test_more_than_65535_entries_need_zip64_and_are_read(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for number in range(66_000):
            out.writestr(f"{number}", "")
    assert len(read(archive.getvalue(), tmp_path)) == 66_000


def test_a_member_written_with_zip64_sizes_is_read(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out, out.open("a", "w", force_zip64=True) as member:
        member.write(b"text")
    assert read(archive.getvalue(), tmp_path)["a"].size_bytes == 4


def test_highly_packed_content_is_read_in_bounded_chunks(pack, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(pack({"a": "0" * 30_000_000}))
    with path.open("rb") as file:
        (entry,) = zip_format.read_entries(file.fileno())
        sizes = [len(chunk) for chunk in zip_format.read_content(file.fileno(), entry)]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 1 << 20


def test_too_many_entries_are_refused_before_they_are_read(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_format, "MAX_ENTRIES", 2)
    with pytest.raises(BadZip, match="3 entries"):
        read(pack({"a": "", "b": "", "c": ""}), tmp_path)


def test_descriptors_are_not_left_open(pack, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        read(pack({"a": "text"}), tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
