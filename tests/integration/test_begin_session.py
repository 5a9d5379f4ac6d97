"""The one place that begins sessions: what it checks, writes and undoes, whatever the way of signing in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.crypto.strict import base64url_decode
from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.grant import Grant
from handstamp.domain.proof import Proof
from handstamp.errors import InvalidCredentials, NotFound, TooManyAttempts
from handstamp.storage.store import Transaction
from tests.builders import Clock
from tests.deployment import caller, deployed

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "a sentence only ada would say"


async def an_account(running: Deployment, clock: Clock) -> Account:
    """Return an account that can sign in."""
    return await running.create_account(EMAIL, PASSWORD, caller(clock), roles=("reader",))


def proof_of(account: Account, clock: Clock) -> Proof:
    """Return what a way of signing in with two factors would prove."""
    return Proof(
        subject=account.id,
        account=account,
        amr=("pwd", "otp"),
        acr="mfa",
        authenticated_at_ms=clock() - 5_000,
        client_id="orders",
        grant=Grant(scope="orders:read"),
    )


def members_of(token: str) -> dict[str, object]:
    """Return the claims in a token, unchecked."""
    members: dict[str, object] = msgspec.json.decode(base64url_decode(token.split(".")[1]))
    return members


async def test_a_session_has_all_that_was_proved(tmp_path: Path) -> None:
    """In its row and in its access tokens, also after a refresh (RFC 9068 §2.2.1, RFC 8176)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        proof = proof_of(await an_account(running, clock), clock)
        pair = await running.begin_session(proof, delivery="json", caller=caller(clock))
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        assert (session.amr, session.acr, session.client_id) == (("pwd", "otp"), "mfa", "orders")
        assert (session.authenticated_at_ms, session.epoch, session.granted) == (clock() - 5_000, 0, proof.grant)
        renewed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        for token in (pair.access_token, renewed.access_token):
            said = members_of(token)
            assert (said["acr"], said["client_id"], said["scope"]) == ("mfa", "orders", "orders:read")
            assert (said["roles"], said["auth_time"]) == (["reader"], (clock() - 5_000) // 1000)


async def test_a_password_sign_in_names_no_context_class(tmp_path: Path) -> None:
    """By default a token has no `acr` at all."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await an_account(running, clock)
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        assert "acr" not in members_of(pair.access_token)


async def test_proving_begins_no_session(tmp_path: Path) -> None:
    """The password alone is only a proof: a second factor can be required before a session exists."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await an_account(running, clock)
        proof, _ = await running.sign_in.prove(EMAIL, PASSWORD, caller(clock))
        assert (proof.subject, proof.account, proof.amr) == (account.id, account, ("pwd",))
        assert await running.sessions.list_living(None, caller(clock)) == []


@pytest.mark.parametrize("sweep", ["disable", "password", "everywhere", "gone"])
async def test_whatever_ends_all_sessions_stops_a_proof_of_any_kind(tmp_path: Path, sweep: str) -> None:
    """The epoch is compared in the one place that begins sessions, so no way of signing in can forget it (T22, T23)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await an_account(running, clock)
        proof = proof_of(account, clock)
        match sweep:
            case "disable":
                await running.accounts.disable(EMAIL, caller(clock))
            case "password":
                await running.accounts.set_password(EMAIL, "another sentence, hers alone", caller(clock))
            case "everywhere":
                await running.sign_out.end_all(account.id, caller(clock))
            case _:
                proof = msgspec.structs.replace(proof, account=msgspec.structs.replace(account, id="no such account"))
        with pytest.raises(InvalidCredentials):
            await running.begin_session(proof, delivery="json", caller=caller(clock))
        assert await running.sessions.list_living(None, caller(clock)) == []
        assert "signed_in" not in [event.kind for event in await recorded(running, account.id)]


async def test_a_proof_that_is_not_confirmed_changes_nothing(tmp_path: Path) -> None:
    """The first step and the session are one transaction: what the step wrote is undone, and replaced sessions live on."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await an_account(running, clock)
        before = await running.begin_session(proof_of(account, clock), delivery="json", caller=caller(clock))

        async def refuse(rows: Transaction) -> None:
            await rows.accounts.update(msgspec.structs.replace(account, roles=("admin",)))
            raise NotFound("This code has been used.")

        with pytest.raises(NotFound):
            await running.begin_session(
                proof_of(account, clock),
                delivery="json",
                caller=caller(clock),
                confirm=refuse,
                replaced=[before.refresh_token],
            )
        assert await running.accounts.get_by_email(EMAIL) == account
        living = await running.sessions.list_living(None, caller(clock))
        assert [session.id for session in living] == [before.session_id]


async def test_a_session_that_is_refused_leaves_the_first_step_undone(tmp_path: Path) -> None:
    """A right password of an account that was disabled meanwhile does not reset the counters of failed attempts (R71)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await an_account(running, clock)
        for _ in range(4):
            with pytest.raises(InvalidCredentials):
                await running.sign_in(EMAIL, "the wrong sentence", delivery="json", caller=caller(clock))
        proof, confirm = await running.sign_in.prove(EMAIL, PASSWORD, caller(clock))
        await running.accounts.disable(EMAIL, caller(clock))
        with pytest.raises(InvalidCredentials):
            await running.begin_session(proof, delivery="json", caller=caller(clock), confirm=confirm)
        await running.accounts.enable(EMAIL, caller(clock))
        with pytest.raises(InvalidCredentials):
            await running.sign_in(EMAIL, "the wrong sentence", delivery="json", caller=caller(clock))
        with pytest.raises(TooManyAttempts):
            await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))


async def test_the_first_step_may_change_the_account_that_the_proof_expects(tmp_path: Path) -> None:
    """As a change of password does: it bumps the epoch, and the new session belongs to the new one."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await an_account(running, clock)
        changed = msgspec.structs.replace(account, epoch=account.epoch + 1)

        async def bump(rows: Transaction) -> None:
            await rows.accounts.update(changed)

        for expected in (account, changed):
            proof = proof_of(expected, clock)
            if expected is account:
                with pytest.raises(InvalidCredentials):
                    await running.begin_session(proof, delivery="json", caller=caller(clock), confirm=bump)
            else:
                pair = await running.begin_session(proof, delivery="json", caller=caller(clock), confirm=bump)
                session, _ = await running.sessions.require_living(pair.session_id, clock())
                assert session.epoch == 1


async def test_a_change_of_password_keeps_what_others_wrote_meanwhile(tmp_path: Path) -> None:
    """The account is written as it is in the transaction, not as it was before the passwords were hashed."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await an_account(running, clock)
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        promoted = msgspec.structs.replace(account, roles=("reader", "admin"))
        hashing = running.hashing.hash

        async def hash_slowly(password: str) -> str:
            await running.store.transact(lambda rows: rows.accounts.update(promoted))
            return await hashing(password)

        running.hashing.hash = hash_slowly  # type: ignore[method-assign]
        await running.change_password(session, PASSWORD, "another sentence, hers alone", caller(clock))
        assert (await running.accounts.get_by_email(EMAIL)).roles == ("reader", "admin")
        (living,) = await running.sessions.list_living(None, caller(clock))
        assert (living.epoch, living.delivery, living.granted) == (1, session.delivery, session.granted)
        kinds = [event.kind for event in await recorded(running, account.id)]
        assert kinds == ["account_created", "signed_in", "password_changed"]


async def recorded(running: Deployment, about: str) -> list[Event]:
    """Return what is recorded about a subject."""
    return await running.store.read(lambda rows: rows.events.list_about(about, limit=20))
