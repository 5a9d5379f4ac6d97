"""The documents: links have targets, issue forms are valid, spelling is correct."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from handstamp.crypto.passwords import common_passwords
from handstamp.domain.account import find_password_problem

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FOLDERS = ("docs", "bench", "examples", "clients/browser", ".github")
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in FOLDERS
            for path in (ROOT / folder).rglob("*.md")
            if not {"node_modules", ".venv"} & set(path.parts)
        ),
    ]
)


def run(*command: str | Path) -> None:
    """Run a linter. Fails if the linter reports a problem."""
    ran = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def text_of(document: Path) -> str:
    """Return a document without its code, because code contains no links or headings."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors_of(document: Path) -> set[str]:
    """Return the fragments of a document's headings on GitHub."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    """Yield each link to a missing file or heading of this tree."""
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text_of(document)):
        path, _, fragment = (target[0] or target[1]).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (fragment and fragment not in anchors_of(file)):
            yield f"{document.relative_to(ROOT)}: {path}#{fragment}"


def test_no_account_can_have_a_printed_password() -> None:
    """A password that a document, an example or a command prints is refused: people copy it."""
    field = r"""\\?"password\\?":\s*\\?"([^"\\$]{8,})\\?"[\s}]"""
    call = r"""sign_?[iI]n\([^(),]+,\s*"([^"]{8,})"\)"""
    programs = [path for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text("utf-8") for path in [*DOCUMENTS, *programs, *(ROOT / "src/handstamp/demo").rglob("*.html")]]
    printed = {"".join(found) for text in texts for found in re.findall(f"{field}|{call}", text)}
    refused = {word for word in printed if find_password_problem(word, min_length=8, common=common_passwords(), personal=())}
    assert printed == refused


def test_every_link_has_a_target() -> None:
    """Every linked file and heading of this tree exists."""
    assert len(DOCUMENTS) > 30
    assert [broken for document in DOCUMENTS for broken in broken_links(document)] == []


def test_every_test_that_a_document_names_is_there() -> None:
    """The table of ASVS says which tests show what: by their names, so that a test that moves takes its row along."""
    named = set(re.findall(r"`(tests/[^`]+)`", text_of(ROOT / "docs/explanation/asvs.md")))
    assert len(named) > 70
    assert [name for name in sorted(named) if not has_test(*name.partition("::")[::2])] == []


def has_test(file: str, name: str) -> bool:
    """Return whether a file has a test of this name: a function, or the class of a state machine."""
    path = ROOT / file
    return path.is_file() and re.search(rf"^(async )?def {name}\(|^{name} = ", path.read_text("utf-8"), re.MULTILINE) is not None


def test_spelling() -> None:
    """Codespell finds no mistake in the whole tree."""
    run(BIN / "codespell", ROOT)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("vendor.dependabot", "dependabot.yml"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/bug.yml ISSUE_TEMPLATE/idea.yml"),
    ],
)
def test_issue_forms_are_valid(schema: str, names: str) -> None:
    """The forms are valid by the published schemas."""
    run(BIN / "check-jsonschema", "--builtin-schema", schema, *(ROOT / ".github" / name for name in names.split()))


def test_dependabot_looks_at_every_lock_file() -> None:
    """Dependabot checks each folder with a lock file, and waits before it proposes a new version."""
    text = (ROOT / ".github" / "dependabot.yml").read_text("utf-8")
    locks = [lock for name in ("uv.lock", "package-lock.json") for depth in range(4) for lock in ROOT.glob("*/" * depth + name)]
    assert len(locks) >= 5
    for lock in locks:
        assert f'"/{lock.parent.relative_to(ROOT).as_posix().removeprefix(".")}"' in text
    assert text.count("cooldown: { default-days: 7 }") == text.count("package-ecosystem:")


def test_the_changelog_has_a_heading_for_the_version() -> None:
    """The changelog has unreleased changes first, then the package's version, each with a link (Keep a Changelog)."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (.+))?$", text, re.MULTILINE)
    assert [name for name, _ in headings][:2] == ["Unreleased", version]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d|not released yet", date) for name, date in headings if name != "Unreleased")
    for name, _ in headings:
        assert f"\n[{name}]: https://" in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_every_guide_is_found_from_the_readme() -> None:
    """The README links to each page of docs/how-to. The one for maintainers is in CONTRIBUTING.md."""
    linked = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    assert [page.name for page in (ROOT / "docs/how-to").glob("*.md") if f"(docs/how-to/{page.name})" not in linked] == []


def test_device_bound_sessions_are_audited_in_one_sitting() -> None:
    """The files that the page lists first have some 300 lines together (docs/decisions/0040-device-bound-sessions.md)."""
    _, _, audit = (ROOT / "docs/explanation/device-bound.md").read_text("utf-8").partition("## To audit it")
    files = re.findall(r"\]\(\.\./\.\./(src/\S+\.py)\)", audit)[:4]
    assert files[-1] == "src/handstamp/domain/binding.py"
    assert sum(bool(line.strip()) for file in files for line in (ROOT / file).read_text("utf-8").splitlines()) <= 320
