"""Tests of `handstamp why` and `audit export`: the history of a real session, of a person, and of the whole service."""

from __future__ import annotations

import json

import httpx

from tests.commands import output_of, refusal_of, run_command
from tests.integration.helpers import SignedIn, expect_problem, new_email, read_claims, refresh, sign_in_new_user
from tests.serving import Server

THIEF = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


def steal(client: httpx.Client) -> SignedIn:
    """Return a session that an old copy of its refresh token has ended."""
    ada = sign_in_new_user(client)
    current = ada
    for _ in range(3):
        current = current.after(refresh(client, current))
    expect_problem(client.post("/refresh", json={"refreshToken": ada.refresh}, headers=THIEF), 401, "session_ended")
    return ada


def test_why_was_i_signed_out(server: Server, client: httpx.Client) -> None:
    """By address, by session and by subject, the old copy is named with its place."""
    ada = steal(client)
    for about in (ada.email, ada.sid, str(read_claims(ada.access)["sub"])):
        told = output_of(run_command(server.folder, "why", about))
        assert ada.email in told.splitlines()[0]
        assert "0 sessions are alive of the 1 told of here" in told.splitlines()[0]
        assert "Renewed 3 times" in told
        assert (
            "An old copy of the refresh token was used from 127.0.0.1 (Firefox on Linux): number 0, when 3 was current." in told
        )
        assert ada.refresh not in told
    assert "The account was created" in output_of(run_command(server.folder, "why", ada.email))


def test_operators_are_named(server: Server, client: httpx.Client) -> None:
    """What an operator did is told as such, for programs too."""
    ada = sign_in_new_user(client)
    output_of(run_command(server.folder, "sessions", "end", ada.sid))
    told = json.loads(output_of(run_command(server.folder, "why", ada.sid, "--json")))
    assert told["livingSessions"] == []
    assert told["entries"][-1]["sentence"] == "The session ended, because an operator ended it."
    assert {entry["session"] for entry in told["entries"]} == {ada.sid}


def test_what_is_unknown(server: Server) -> None:
    """It is said as such, with what to do next."""
    assert "handstamp users list" in refusal_of(run_command(server.folder, "why", new_email("nobody")), status=1)
    assert "Nothing is known about" in refusal_of(run_command(server.folder, "why", "-AAAAAAAAAAAAAAAAAAAAA"), status=1)


def test_the_audit_trail_is_exported(server: Server, client: httpx.Client) -> None:
    """Each line says who did what, from where; an export goes on after another one."""
    ada = steal(client)
    lines = [json.loads(line) for line in output_of(run_command(server.folder, "audit", "export")).splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == sorted(set(numbers))
    (theft,) = [line for line in lines if line["session"] == ada.sid and line["kind"] == "reuse_detected"]
    assert (theft["actor"], theft["ip"], theft["userAgent"]) == ("visitor", "127.0.0.1", THIEF["User-Agent"])
    assert theft["sentence"].startswith("An old copy of the refresh token was used")
    assert theft["time"].endswith("Z")
    last = f"--after={numbers[-1]}"
    output_of(run_command(server.folder, "users", "disable", ada.email))
    (line,) = output_of(run_command(server.folder, "audit", "export", last)).splitlines()
    assert (json.loads(line)["kind"], json.loads(line)["actor"]) == ("account_disabled", "operator")
    assert output_of(run_command(server.folder, "audit", "export", last, "--until", "1h")) == ""
    assert output_of(run_command(server.folder, "audit", "export", last, "--since", "2026-01-31T12:00:00Z")) != ""
    assert "--since is a duration" in refusal_of(run_command(server.folder, "audit", "export", "--since", "x"), status=2)
