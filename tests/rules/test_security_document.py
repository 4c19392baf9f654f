"""docs/security.md names tests and attacks that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
PLACES = ("", "tests/security/", "tests/security/hostile/", "tests/security/sandbox/")
FILE = re.compile(r"`((?:[a-z_]+/)*test_\w+\.py)(?:::(test_\w+))?`")
ATTACK = re.compile(r"`(?:hostile/)?test_functions\.py`: \"([^\"]+)\"")


def find(name):
    found = [ROOT / place / name for place in PLACES if (ROOT / place / name).is_file()]
    assert found, f"docs/security.md names {name}, which is not there"
    return found[0].read_text()


def test_every_test_that_it_names_exists():
    named = FILE.findall(TEXT)
    assert len(named) > 20
    for name, test in named:
        assert not test or re.search(rf"def {test}\(", find(name)), f"{name} has no {test}"
        find(name)


def test_every_attack_that_it_quotes_exists():
    attacks = ATTACK.findall(TEXT)
    assert len(attacks) >= 8
    source = find("test_functions.py")
    assert [each for each in attacks if f'"{each}"' not in source] == []


def test_every_escape_has_a_proof_or_is_said_to_remain():
    table = TEXT.partition("## Escapes of the last years")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        assert "`" in row[-1] or "**remains**" in row[2], row[0]
