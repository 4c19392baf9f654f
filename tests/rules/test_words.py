"""The project speaks only of itself, and finishes what it writes."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Spelt in pieces so that this file does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX:", "NotImplemented" + "Error"]))
NOT_OURS = re.compile("|".join([r"/wo" + r"rk/", r"issue" + r" #?\d", "this " + "session"]), re.IGNORECASE)
# Where packages come from is the reader's choice, set in the tools' own configuration.
REGISTRIES = re.compile(
    "|".join(
        [
            *("py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)", "yarn" + r"pkg\.com"),
            *("deb" + r"ian\.org", "ub" + r"untu\.com", "dock" + r"er\.(io|com)", "gh" + r"cr\.io", "qu" + r"ay\.io"),
            *("gol" + r"ang\.org", "cra" + r"tes\.io", "ast" + r"ral\.sh", "ruby" + r"gems\.org", "ma" + r"ven\.org"),
        ]
    ),
    re.IGNORECASE,
)
TEXT = {".py", ".md", ".toml", ".sh", ".js", ".mjs", ".c", ".json", ".txt", ".yml", ".yaml", ".html", ""}


def tracked() -> list[Path]:
    """Return the files of the checkout; without git (an unpacked archive) every file below the usual folders."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split("\n") if done.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [
        p for d in ("src", "docs", "tests") for p in (ROOT / d).rglob("*")
    ]
    return [p for p in paths if p.suffix in TEXT and p.is_file() and p.name not in ("LICENSE", "test_words.py")]


@pytest.mark.parametrize(
    ("what", "pattern"), [("unfinished", UNFINISHED), ("not of the project", NOT_OURS), ("a registry", REGISTRIES)]
)
def test_no_tracked_file_holds_words_that(what, pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, what


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not broken
