"""Tests of `BeginSession`, which starts the session for every sign-in method: what it checks, writes and rolls back."""

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
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"


async def create_account(running: Deployment, clock: Clock) -> Account:
    """Create an account that can sign in."""
    return await running.create_account(EMAIL, PASSWORD, caller(clock), roles=("reader",))


def proof_of(account: Account, clock: Clock) -> Proof:
    """Return the proof of a two-factor sign-in."""
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
    """Return a token's claims without verifying it."""
    members: dict[str, object] = msgspec.json.decode(base64url_decode(token.split(".")[1]))
    return members


async def test_a_session_stores_its_proof(tmp_path: Path) -> None:
    """The proof is stored in the session and appears in its access tokens, also after a refresh (RFC 9068 §2.2.1, RFC 8176)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        proof = proof_of(await create_account(running, clock), clock)
        pair = await running.begin_session(proof, delivery="json", caller=caller(clock))
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        assert (session.amr, session.acr, session.client_id) == (("pwd", "otp"), "mfa", "orders")
        assert (session.authenticated_at_ms, session.epoch, session.granted) == (clock() - 5_000, 0, proof.grant)
        renewed = await running.refresh(pair.refresh_token, way="body", caller=caller(clock))
        for token in (pair.access_token, renewed.access_token):
            said = members_of(token)
            assert (said["acr"], said["amr"]) == ("mfa", ["pwd", "otp"])
            assert (said["client_id"], said["scope"]) == ("orders", "orders:read")
            assert (said["roles"], said["auth_time"]) == (["reader"], (clock() - 5_000) // 1000)


async def test_a_password_sign_in_names_its_method_and_class(tmp_path: Path) -> None:
    """The tokens of a password sign-in say `pwd`: the method (RFC 8176) and the lowest class (RFC 9470)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        await create_account(running, clock)
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        said = members_of(pair.access_token)
        assert (said["acr"], said["amr"]) == ("pwd", ["pwd"])


async def test_proving_begins_no_session(tmp_path: Path) -> None:
    """`prove` checks the password without starting a session, so a second factor can be required first."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
        proof, _, _ = await running.sign_in.prove(EMAIL, PASSWORD, caller(clock))
        assert (proof.subject, proof.account, proof.amr) == (account.id, account, ("pwd",))
        assert await running.sessions.list_all(None, caller(clock)) == ([], False)


@pytest.mark.parametrize("sweep", ["disable", "password", "everywhere", "gone"])
async def test_ending_all_sessions_invalidates_proofs_in_progress(tmp_path: Path, sweep: str) -> None:
    """A change of epoch invalidates every earlier proof.

    The check is in `BeginSession`, so it covers every sign-in method (T22, T23).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
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
        assert await running.sessions.list_all(None, caller(clock)) == ([], False)
        assert "signed_in" not in [event.kind for event in await list_events(running, account.id)]


async def test_a_proof_that_is_not_confirmed_changes_nothing(tmp_path: Path) -> None:
    """`confirm` and the session are one transaction.

    If `confirm` raises, its writes are rolled back and replaced sessions stay active.
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
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
        living, _ = await running.sessions.list_all(None, caller(clock))
        assert [session.id for session in living] == [before.session_id]


async def test_a_refused_session_rolls_back_the_confirm_step(tmp_path: Path) -> None:
    """A refused session rolls back `confirm`.

    A right password for an account disabled meanwhile does not reset the failure counters (R71).
    """
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
        for _ in range(4):
            with pytest.raises(InvalidCredentials):
                await running.sign_in(EMAIL, "the wrong sentence", delivery="json", caller=caller(clock))
        proof, confirm, _ = await running.sign_in.prove(EMAIL, PASSWORD, caller(clock))
        await running.accounts.disable(EMAIL, caller(clock))
        with pytest.raises(InvalidCredentials):
            await running.begin_session(proof, delivery="json", caller=caller(clock), confirm=confirm)
        await running.store.transact(lambda rows: rows.accounts.update(account))  # an operator's 'enable' resets them too
        with pytest.raises(InvalidCredentials):
            await running.sign_in(EMAIL, "the wrong sentence", delivery="json", caller=caller(clock))
        with pytest.raises(TooManyAttempts):
            await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))


async def test_the_confirm_step_may_change_the_account(tmp_path: Path) -> None:
    """`confirm` may change the account, as a password change does. The proof must then name the new epoch."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
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


async def test_a_password_change_keeps_concurrent_changes(tmp_path: Path) -> None:
    """A password change updates the account as read in its transaction, not as read before hashing."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await create_account(running, clock)
        pair = await running.sign_in(EMAIL, PASSWORD, delivery="json", caller=caller(clock))
        session, _ = await running.sessions.require_living(pair.session_id, clock())
        promoted = msgspec.structs.replace(account, roles=("reader", "admin"))
        hashing = running.hashing.hash

        async def hash_slowly(password: str, *, ip: str = "", device: str = "") -> str:
            await running.store.transact(lambda rows: rows.accounts.update(promoted))
            return await hashing(password, ip=ip, device=device)

        running.hashing.hash = hash_slowly  # type: ignore[method-assign]
        await running.change_password(session, account, PASSWORD, "another sentence, hers alone", caller(clock))
        assert (await running.accounts.get_by_email(EMAIL)).roles == ("reader", "admin")
        (living,), _ = await running.sessions.list_all(None, caller(clock))
        assert (living.epoch, living.delivery, living.granted) == (1, session.delivery, session.granted)
        kinds = [event.kind for event in await list_events(running, account.id)]
        assert kinds == ["account_created", "signed_in", "password_changed"]


async def list_events(running: Deployment, about: str) -> list[Event]:
    """Return the events about a subject."""
    return await running.store.read(lambda rows: rows.events.list_about(about, limit=20))
