"""Tests of `handstamp credentials`, which adds and removes service credentials beside the running service."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from contextlib import closing

import httpx
import pytest

from tests.commands import output_of, refusal_of, run_command
from tests.integration.helpers import Credential, SignedIn, expect_problem, new_email, no_row_changes, sign_in_new_user
from tests.serving import Server

pytestmark = pytest.mark.xdist_group("credentials")


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Return a session that credentials introspect."""
    return sign_in_new_user(client)


def new_name() -> str:
    """Return a name that no other credential has."""
    return new_email("orders").partition("@")[0]


def create_credential(server: Server, name: str = "") -> Credential:
    """Create a credential with the command, as a script does."""
    made = json.loads(output_of(run_command(server.folder, "credentials", "create", name or new_name(), "--json")))
    assert made.keys() == {"id", "name", "scopes", "secret", "credential"}
    assert made["credential"] == f"{made['id']}:{made['secret']}"
    return Credential(made["id"], made["name"], made["secret"])


def is_accepted(client: httpx.Client, credential: Credential, ada: SignedIn) -> bool:
    """Return True if the feed and the introspection endpoint both accept a credential, False if both refuse it."""
    feed = client.get("/revocations", auth=credential.basic)
    answer = client.post("/introspect", data={"token": ada.access}, auth=credential.basic)
    assert feed.status_code == answer.status_code
    if feed.status_code == 200:
        assert answer.json()["active"] is True
        return True
    expect_problem(feed, 401, "invalid_client")
    assert answer.json()["error"] == "invalid_client"
    return False


def test_a_new_credential_is_shown_once_and_works_at_once(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """`credentials create` prints `ID:SECRET` once. The running service accepts it without a restart."""
    name = new_name()
    said = output_of(run_command(server.folder, "credentials", "create", name))
    (line,) = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    client_id, _, secret = line.partition(":")
    assert (len(client_id), len(secret)) == (22, 43), "128 and 256 random bits (R5)"
    assert name in said
    assert is_accepted(client, Credential(client_id, name, secret), ada)
    assert secret not in output_of(run_command(server.folder, "credentials", "list"))


def test_credentials_are_unique(server: Server) -> None:
    """Ids and secrets are never repeated."""
    made = [create_credential(server) for _ in range(4)]
    assert len({one.id for one in made} | {one.secret for one in made}) == 8


def test_listing_credentials(server: Server) -> None:
    """The table has one line for each credential, sorted by name, and shows no secret. `--json` gives the same data."""
    names = [new_name() for _ in range(2)]
    made = {name: create_credential(server, name) for name in reversed(names)}
    header, *rows = output_of(run_command(server.folder, "credentials", "list")).splitlines()
    assert header.split() == ["NAME", "ID", "SCOPES", "CREATED"]
    listed = [row.split()[:2] for row in rows]
    assert listed == sorted(listed)
    assert [[name, made[name].id] for name in names] == [entry for entry in listed if entry[0] in names]
    text = output_of(run_command(server.folder, "credentials", "list", "--json"))
    found = {entry["name"]: entry for entry in json.loads(text)}
    for name in names:
        assert found[name].keys() == {"id", "name", "scopes", "createdAtMs"}
        assert found[name]["id"] == made[name].id
        assert abs(found[name]["createdAtMs"] - time.time() * 1000) < 120_000
        assert made[name].secret not in text


def test_a_removed_credential_is_refused_at_the_next_request(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """A credential is removed by name or by id. Others stay valid, and a reused name gets a new credential."""
    name = new_name()
    by_name, by_id, other = create_credential(server, name), create_credential(server), create_credential(server)
    assert all(is_accepted(client, one, ada) for one in (by_name, by_id, other))
    assert name in output_of(run_command(server.folder, "credentials", "remove", name))
    assert by_id.name in output_of(run_command(server.folder, "credentials", "remove", by_id.id))
    assert [is_accepted(client, one, ada) for one in (by_name, by_id, other)] == [False, False, True]
    again = create_credential(server, name)
    assert (again.id, again.secret) != (by_name.id, by_name.secret)
    assert [is_accepted(client, one, ada) for one in (by_name, again)] == [False, True]
    assert "handstamp credentials list" in refusal_of(run_command(server.folder, "credentials", "remove", by_id.id), 1)


def test_a_name_is_unique(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """A second credential with the same name is refused with the next step, and the first stays valid."""
    credential = create_credential(server)
    with no_row_changes(server):
        text = refusal_of(run_command(server.folder, "credentials", "create", credential.name), 2)
    assert f"handstamp credentials remove {credential.name}" in text
    assert is_accepted(client, credential, ada)


@pytest.mark.parametrize("name", ["", " ", "-x", ".", "a b", "a:b", "a/b", "é", "x" * 65, "a\nb", "a\n", "'--"])
def test_an_invalid_name_is_refused(server: Server, name: str) -> None:
    """An invalid name is refused and nothing is created. Names must be safe in logs and commands."""
    with no_row_changes(server):
        text = refusal_of(run_command(server.folder, "credentials", "create", "--", name), 2)
    assert "1 to 64 characters" in text


def test_a_credential_may_be_created_before_the_first_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`credentials create` creates the database and the secret as `serve` would, for scripted set-ups."""
    folder = tmp_path_factory.mktemp("fresh")
    assert "handstamp serve" in refusal_of(run_command(folder, "credentials", "list"), 2)
    made = run_command(folder, "credentials", "create", "orders")
    assert made.returncode == 0
    assert made.stderr == f"handstamp: There is no database yet: creating {folder}/handstamp.db and the secret beside it.\n"
    assert {file.name for file in folder.iterdir()} >= {"handstamp.db", "handstamp.secret"}
    assert [entry["name"] for entry in json.loads(output_of(run_command(folder, "credentials", "list", "--json")))] == ["orders"]


def test_an_empty_list_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty list is printed as a sentence, and as an empty array with `--json`."""
    folder = tmp_path_factory.mktemp("empty")
    output_of(run_command(folder, "migrate"))
    output_of(run_command(folder, "credentials", "create", "orders"))
    output_of(run_command(folder, "credentials", "remove", "orders"))
    assert output_of(run_command(folder, "credentials", "list")) == "No credentials yet: handstamp credentials create NAME\n"
    assert json.loads(output_of(run_command(folder, "credentials", "list", "--json"))) == []


def test_no_secret_is_stored_or_logged(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Neither valid nor wrong secrets are stored in the database or logged, in any encoding (R32, R43 and R83)."""
    credential = create_credential(server)
    assert is_accepted(client, credential, ada)
    wrong = Credential(credential.id, credential.name, "wrong-secret-that-is-long-enough-to-be-seen")
    assert not is_accepted(client, wrong, ada)
    files = [file for file in server.folder.iterdir() if file.is_file() and file.name != "handstamp.secret"]
    assert {file.suffix for file in files} >= {".db", ".log"}
    content = b"".join(file.read_bytes() for file in files)
    assert credential.id.encode() in content
    for secret in (credential.secret, wrong.secret):
        raw = base64.urlsafe_b64decode(secret + "=")
        pair = f"{credential.id}:{secret}".encode()
        for hidden in (secret.encode(), raw, raw.hex().encode(), pair, base64.b64encode(pair)):
            assert hidden not in content


def test_the_audit_trail_names_the_credential(server: Server) -> None:
    """Adding and removing a credential records its id and name in the same transaction, without the secret (R82)."""
    credential = create_credential(server)
    output_of(run_command(server.folder, "credentials", "remove", credential.name))
    found = [detail for kind, detail in list_credential_events(server) if credential.id in detail]
    named = {"credential": credential.id, "name": credential.name}
    assert [json.loads(detail) for detail in found] == [named | {"scopes": "read"}] * 2
    kinds = [kind for kind, detail in list_credential_events(server) if credential.id in detail]
    assert kinds == ["credential_added", "credential_removed"]


def list_credential_events(server: Server) -> list[tuple[str, str]]:
    """Return the type and detail of all credential events, oldest first."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=10)) as connection:
        return list(connection.execute("SELECT kind, detail FROM event WHERE kind LIKE 'credential%' ORDER BY id"))
