"""The master secret is changed while two nodes serve: no session ends, and the old one is not needed afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run_command
from tests.serving import Server

pytestmark = pytest.mark.slow

OLD = "kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"
NEW = "w3Vt-Yb7Qe9sA1uX5oM2kJ6rH8cN4dZf"


def node(folder: Path, database: Path, **settings: str) -> Server:
    """Start a node on a shared database."""
    folder.mkdir(exist_ok=True)
    return Server(folder, DATABASE=f"sqlite:///{database}", ISSUER="http://localhost:8000", **settings).start()


def test_the_secret_is_changed_on_a_running_service(tmp_path: Path) -> None:
    """First every node accepts the new secret, then it is used, then the keys are sealed again and the old one is dropped."""
    database = tmp_path / "handstamp.db"
    both = {"SECRET": OLD, "PREVIOUS_SECRETS": NEW}
    swapped = {"SECRET": NEW, "PREVIOUS_SECRETS": OLD}
    nodes = [node(tmp_path / name, database, **both) for name in ("one", "two")]
    try:
        nodes[0].register()
        tokens = nodes[0].login()
        for settings in (swapped, {"SECRET": NEW}):
            for number, name in enumerate(("one", "two")):
                nodes[number].kill()
                nodes[number] = node(tmp_path / name, database, **settings)
                for server in nodes:  # nodes with old and new settings serve beside each other
                    with server.client() as client:
                        answer = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
                        assert answer.status_code == 200, answer.text
                        tokens = answer.json()
                        authorization = {"Authorization": f"Bearer {tokens['accessToken']}"}
                        assert client.get("/profile", headers=authorization).status_code == 200
            if settings is swapped:
                sealed = run_command(tmp_path / "one", "keys", "reseal", DATABASE=f"sqlite:///{database}", **swapped)
                assert sealed.stdout.startswith("Sealed 1 "), sealed.stderr
                again = run_command(tmp_path / "one", "keys", "reseal", DATABASE=f"sqlite:///{database}", **swapped)
                assert "already" in again.stdout
    finally:
        for server in nodes:
            server.kill()
    old = run_command(tmp_path / "one", "keys", "list", DATABASE=f"sqlite:///{database}", SECRET=OLD)
    assert old.returncode == 2
    assert "HANDSTAMP_PREVIOUS_SECRETS" in old.stderr


@pytest.mark.parametrize("way", ["variable", "file"])
def test_white_space_around_a_secret_is_ignored(tmp_path: Path, way: str) -> None:
    """A secret with a line break behind it is the same secret, from a variable and from a file."""
    server = Server(tmp_path, SECRET=OLD).start()
    server.kill()
    if way == "file":
        (file := tmp_path / "secret").touch(mode=0o600)
        file.write_text(f"{OLD}\n")
        settings = {"SECRET_FILE": str(file)}
    else:
        settings = {"SECRET": f" {OLD}\n"}
    assert run_command(tmp_path, "keys", "list", **settings).returncode == 0
