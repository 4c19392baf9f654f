"""Documents that say what the code is are compared with it."""

import re
from pathlib import Path

from lambent.assembly.places import Places
from lambent.model.phases import TRANSITIONS, Event, Phase

ROOT = Path(__file__).parents[2]
GUARANTEE = re.compile(r"^- \*\*(S-([A-Z]+)-(\d+))\*\*: (.+?)(?=\n- |\n\n|\Z)", re.MULTILINE | re.DOTALL)
CITATION = re.compile(r"`(tests/[\w/.]+\.py)::(test_\w+)`")
PACKAGES = sorted(path.name for path in (ROOT / "src/lambent").iterdir() if (path / "__init__.py").exists())


def guarantees():
    found = GUARANTEE.findall((ROOT / "docs/SPECIFICATION.md").read_text())
    assert len(found) >= 40
    return found


def test_guarantees_are_numbered_without_gap_or_repetition():
    numbers = {}
    for name, group, number, _ in guarantees():
        assert int(number) == numbers.get(group, 0) + 1, f"{name} is out of order"
        numbers[group] = int(number)


def test_every_guarantee_is_proven_by_tests_that_exist():
    sources = {}
    for name, _, _, text in guarantees():
        citations = CITATION.findall(text)
        assert citations, f"{name} cites no test"
        for path, test in citations:
            assert (ROOT / path).exists(), f"{name}: {path}"
            source = sources.setdefault(path, (ROOT / path).read_text())
            assert re.search(rf"def {test}\(", source), f"{name}: {path} has no {test}"


def test_no_line_of_the_specification_looks_like_a_guarantee_and_is_none():
    text = (ROOT / "docs/SPECIFICATION.md").read_text()
    assert len(re.findall(r"S-[A-Z]+-\d+", text)) == len(guarantees())


def phase_table():
    """Return the table of an environment's life as ARCHITECTURE.md has to show it."""
    rows = ["| | " + " | ".join(Event) + " |", "| --- " * (len(Event) + 1) + "|"]
    for phase in Phase:
        after = (TRANSITIONS.get((phase, event), "") for event in Event)
        rows.append(f"| **{phase}** | " + " | ".join(after) + " |")
    return "\n".join(rows)


def test_architecture_shows_the_life_of_an_environment_as_it_is():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert phase_table() in text, f"ARCHITECTURE.md has to hold:\n{phase_table()}"
    drawn = {(a, e, b) for a, b, e in re.findall(r"^ *(\w+) --> (\w+): (\w+)$", text, re.MULTILINE)}
    # The drawing leaves out that every phase ends when the sandbox dies.
    edges = {
        (str(a), str(e), str(b)) for (a, e), b in TRANSITIONS.items() if e is not Event.DIED or a is Phase.SHUTTING_DOWN
    }
    assert drawn == edges


def test_architecture_names_every_package():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert not [name for name in PACKAGES if not re.search(rf"`{name}`", text)]


def test_architecture_names_only_what_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    sources = {
        path.relative_to(ROOT / "src/lambent"): path.read_text() for path in (ROOT / "src/lambent").rglob("*.py")
    }
    for module, name in re.findall(r"([a-z_]+/[a-z_/]+\.py)(?:: ([\w.]+))?", text):
        source = sources.get(Path(module))
        assert source is not None, module
        for part in filter(None, name.split(".")):
            assert re.search(rf"\b(def|class) {part}\b|\b{part}\b *[:=]", source), f"{module}: {name}"


def test_every_place_below_the_state_directory_is_documented():
    text = (ROOT / "docs/state-directory.md").read_text()
    places = Places(Path("/state"), Path("/run"))
    named = [name for name, value in vars(Places).items() if isinstance(value, property)]
    assert named
    assert not [name for name in named if f"`{getattr(places, name).name}" not in text]


def test_decisions_are_short_dated_and_newest_first():
    entries = re.split(r"^## ", (ROOT / "docs/why.md").read_text(), flags=re.MULTILINE)[1:]
    dates = [re.match(r"\d{4}-\d\d-\d\d · \S", entry) for entry in entries]
    assert all(dates)
    assert [match[0][:10] for match in dates] == sorted((match[0][:10] for match in dates), reverse=True)
    for entry in entries:
        title, *lines = entry.strip().splitlines()
        assert len([line for line in lines if line]) <= 10, title
        assert any(line.startswith("- Choice: ") for line in lines), title
