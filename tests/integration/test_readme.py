"""The README's tour, word for word."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.serving import Server, run

README = Path(__file__).parents[2] / "README.md"


def test_the_tour_prints_what_the_readme_shows(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Every command of the tour is run as it stands there, and prints what stands below it."""
    server = serve()
    tour = README.read_text().split("## A tour")[1].split("\n## ")[0]
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", tour, re.DOTALL))
    shown = "".join(re.findall(r"```(?:json|text)\n(.*?)```", tour, re.DOTALL))
    script = commands.replace("localhost:8000", f"localhost:{server.port}")
    ran = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr == ""
    assert re.fullmatch(re.escape(shown).replace("…", '[^"]+'), ran.stdout), f"shown:\n{shown}\nprinted:\n{ran.stdout}"


def test_every_file_that_the_documents_link_to_is_there() -> None:
    """No link of the README, the documents or the decisions leads nowhere."""
    root = README.parent
    for page in [README, *root.glob("*.md"), *root.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_three_lines_verify_a_token(serve: Callable[..., Server]) -> None:
    """What the README says that another service needs is all that it needs."""
    server = serve()
    section = README.read_text().split("## In your other services")[1].split("\n## ")[0]
    (command,) = re.findall(r"```sh\n\.venv/bin/handstamp (.*?)#", section)
    lines = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    made = run(server.folder, *command.split())
    credential = made.stdout.splitlines()[1].strip()
    server.register()
    tokens = server.login()
    program = lines.replace("http://localhost:8000", server.url).replace("ID:SECRET", credential)
    known: dict[str, Any] = {"token": tokens["accessToken"]}
    exec(program, known)
    assert known["claims"].sid == tokens["sessionId"]
    known["verifier"].close()
