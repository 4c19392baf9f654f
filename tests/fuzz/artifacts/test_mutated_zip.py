"""No archive, however broken, does more than be refused or become a tree that stays inside."""

import io
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.artifacts.unpack import Stop, check_archive, remove_tree, unpack_archive
from lambent.artifacts.zip_format import BadZip, read_entries

SEED_NAMES = ["a.py", "d/b.py", "d/e/c", "link", "./x", "d/", "../up", "/abs", "a.py/sub", "link/inside"]


def make_zip(members) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, mode, method, content in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            member.create_system = 3
            member.compress_type = method
            out.writestr(member, content)
    return archive.getvalue()


members = st.lists(
    st.tuples(
        st.sampled_from(SEED_NAMES),
        st.sampled_from([0, 0o100644, 0o100755, 0o120777, 0o040755, 0o010644, 0o100000]),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
        st.sampled_from([b"", b"text", b"../..", b"d", b"d/../..", b"/etc", b"0" * 5000]),
    ),
    max_size=6,
)
mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8)


def outside(root: Path) -> set[str]:
    return {name for name in os.listdir(root) if name not in ("tree", "a.zip")}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(members=members, mutations=mutations, cut=st.floats(0.3, 1))
def test_a_mutated_archive_is_refused_or_becomes_a_tree_that_stays_inside(members, mutations, cut):
    with warnings.catch_warnings():  # two members of one name are what this is about
        warnings.simplefilter("ignore")
        data = bytearray(make_zip(members))
    for place, value in mutations:
        data[int(place * len(data))] = value
    if cut < 0.5:
        data = data[: int(len(data) * cut * 2)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a.zip").write_bytes(data)
        tree = root / "tree"
        tree.mkdir()
        with (root / "a.zip").open("rb") as file:
            try:
                entries = read_entries(file.fileno())
                if sum(entry.size_bytes for entry in entries) < 10_000_000:
                    check_archive(file.fileno(), entries, Stop())
                    unpack_archive(file.fileno(), entries, tree, Stop())
            except BadZip:
                pass
            else:
                for path in tree.rglob("*"):
                    # A ring resolves to nothing; every other path, through whatever links, ends inside.
                    assert not path.exists() or path.resolve().is_relative_to(tree.resolve())
        assert outside(root) == set()
        remove_tree(tree)
