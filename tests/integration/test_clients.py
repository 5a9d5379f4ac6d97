"""`handstamp credentials`: the credentials of other services, made and removed beside the running one."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from contextlib import closing

import httpx
import pytest

from tests.commands import output_of, refusal_of, run_command
from tests.integration.helpers import Credential, SignedIn, expect_problem, new_email, row_counts, somebody
from tests.serving import Server

pytestmark = pytest.mark.xdist_group("credentials")


@pytest.fixture(scope="module")
def ada(client: httpx.Client) -> SignedIn:
    """Return a session to ask about."""
    return somebody(client)


def a_name() -> str:
    """Return a name that no other client has."""
    return new_email("orders").partition("@")[0]


def make(server: Server, name: str = "") -> Credential:
    """Make a client by command, as a script does."""
    made = json.loads(output_of(run_command(server.folder, "credentials", "create", name or a_name(), "--json")))
    assert made.keys() == {"id", "name", "secret", "credential"}
    assert made["credential"] == f"{made['id']}:{made['secret']}"
    return Credential(made["id"], made["name"], made["secret"])


def is_accepted(client: httpx.Client, credential: Credential, ada: SignedIn) -> bool:
    """Say whether a service's credential is taken, by the feed and by introspection alike."""
    feed = client.get("/revocations", auth=credential.basic)
    told = client.post("/introspect", data={"token": ada.access}, auth=credential.basic)
    assert feed.status_code == told.status_code
    if feed.status_code == 200:
        assert told.json()["active"] is True
        return True
    expect_problem(feed, 401, "invalid_client")
    assert told.json()["error"] == "invalid_client"
    return False


def test_a_new_credential_is_shown_once_and_works_at_once(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """`credentials create` prints `ID:SECRET` on a line of its own; the running service takes it without a restart."""
    name = a_name()
    said = output_of(run_command(server.folder, "credentials", "create", name))
    (line,) = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    client_id, _, secret = line.partition(":")
    assert (len(client_id), len(secret)) == (22, 43), "128 and 256 random bits (R5)"
    assert name in said
    assert is_accepted(client, Credential(client_id, name, secret), ada)
    assert secret not in output_of(run_command(server.folder, "credentials", "list"))


def test_every_credential_is_another(server: Server) -> None:
    """Neither ids nor secrets repeat."""
    made = [make(server) for _ in range(4)]
    assert len({one.id for one in made} | {one.secret for one in made}) == 8


def test_listing_credentials(server: Server) -> None:
    """The table has one line a client in the order of their names, and shows no secret; `--json` says the same to programs."""
    names = [a_name() for _ in range(2)]
    made = {name: make(server, name) for name in reversed(names)}
    header, *rows = output_of(run_command(server.folder, "credentials", "list")).splitlines()
    assert header.split() == ["NAME", "ID", "CREATED"]
    listed = [row.split()[:2] for row in rows]
    assert listed == sorted(listed)
    assert [[name, made[name].id] for name in names] == [entry for entry in listed if entry[0] in names]
    text = output_of(run_command(server.folder, "credentials", "list", "--json"))
    found = {entry["name"]: entry for entry in json.loads(text)}
    for name in names:
        assert found[name].keys() == {"id", "name", "createdAtMs"}
        assert found[name]["id"] == made[name].id
        assert abs(found[name]["createdAtMs"] - time.time() * 1000) < 120_000
        assert made[name].secret not in text


def test_a_removed_client_is_refused_from_the_next_request_on(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """By name or by id; others go on, and a name that is free again gets another credential."""
    name = a_name()
    by_name, by_id, other = make(server, name), make(server), make(server)
    assert all(is_accepted(client, one, ada) for one in (by_name, by_id, other))
    assert name in output_of(run_command(server.folder, "credentials", "remove", name))
    assert by_id.name in output_of(run_command(server.folder, "credentials", "remove", by_id.id))
    assert [is_accepted(client, one, ada) for one in (by_name, by_id, other)] == [False, False, True]
    again = make(server, name)
    assert (again.id, again.secret) != (by_name.id, by_name.secret)
    assert [is_accepted(client, one, ada) for one in (by_name, again)] == [False, True]
    assert "handstamp credentials list" in refusal_of(run_command(server.folder, "credentials", "remove", by_id.id), 1)


def test_a_name_is_taken_once(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """A second client of one name is refused with what to do, and the first goes on."""
    credential = make(server)
    before = row_counts(server)
    text = refusal_of(run_command(server.folder, "credentials", "create", credential.name), 2)
    assert f"handstamp credentials remove {credential.name}" in text
    assert row_counts(server) == before
    assert is_accepted(client, credential, ada)


@pytest.mark.parametrize("name", ["", " ", "-x", ".", "a b", "a:b", "a/b", "é", "x" * 65, "a\nb", "a\n", "'--"])
def test_a_name_that_cannot_be_is_refused(server: Server, name: str) -> None:
    """Names are short and plain, so that they can stand in logs and commands; nothing is made."""
    before = row_counts(server)
    text = refusal_of(run_command(server.folder, "credentials", "create", "--", name), 2)
    assert "1 to 64 characters" in text
    assert row_counts(server) == before


def test_a_first_client_may_come_before_the_first_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`credentials create` makes database and secret as `serve` would, for whoever sets up everything by script."""
    folder = tmp_path_factory.mktemp("fresh")
    assert "handstamp serve" in refusal_of(run_command(folder, "credentials", "list"), 2)
    output_of(run_command(folder, "credentials", "create", "orders"))
    assert {file.name for file in folder.iterdir()} >= {"handstamp.db", "handstamp.secret"}
    assert [entry["name"] for entry in json.loads(output_of(run_command(folder, "credentials", "list", "--json")))] == ["orders"]


def test_where_there_are_none_a_sentence_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An empty table would leave people wondering; JSON is an empty list."""
    folder = tmp_path_factory.mktemp("empty")
    output_of(run_command(folder, "credentials", "create", "orders"))
    output_of(run_command(folder, "credentials", "remove", "orders"))
    assert output_of(run_command(folder, "credentials", "list")) == "No credentials yet: handstamp credentials create NAME\n"
    assert json.loads(output_of(run_command(folder, "credentials", "list", "--json"))) == []


def test_no_secret_is_stored_or_logged(server: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Not in the database or its WAL in any spelling, nor in the log, whether it was right or wrong (R32, R43 and R83)."""
    credential = make(server)
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


def test_the_audit_trail_names_the_client(server: Server) -> None:
    """Making and removing are recorded with the write, by id and name and without the secret (R82)."""
    credential = make(server)
    output_of(run_command(server.folder, "credentials", "remove", credential.name))
    found = [detail for kind, detail in events_of_credentials(server) if credential.id in detail]
    assert found == [json.dumps({"credential": credential.id, "name": credential.name}, separators=(",", ":"))] * 2
    kinds = [kind for kind, detail in events_of_credentials(server) if credential.id in detail]
    assert kinds == ["credential_added", "credential_removed"]


def events_of_credentials(server: Server) -> list[tuple[str, str]]:
    """Return kind and detail of what was recorded about credentials, oldest first."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=10)) as connection:
        return list(connection.execute("SELECT kind, detail FROM event WHERE kind LIKE 'credential%' ORDER BY id"))
