"""Sign in with an e-mail address and a password."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...domain.account import Account, is_hashable_password, normalise_password
from ...domain.delivery import Delivery
from ...domain.network import network_of
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...errors import EmailNotVerified, InvalidCredentials, InvalidFields, TooManyAttempts, Unavailable
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, Devices, EarlierSignIns
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing
from ..parts.throttling import Counters, Throttling
from ..parts.tokens import TokenPair
from ..sessions.begin import BeginSession, Confirm


class PasswordSignIn:
    """The use case behind `POST /login`: proves with a password, then begins a session."""

    def __init__(
        self,
        *,
        store: Store,
        begin_session: BeginSession,
        hashing: Hashing,
        throttling: Throttling,
        devices: Devices,
        notices: Notices,
        requires_verified: bool,
    ) -> None:
        """Create it. `requires_verified` refuses accounts whose address is not verified."""
        self._store = store
        self._requires_verified = requires_verified
        self._begin_session = begin_session
        self._hashing = hashing
        self._throttling = throttling
        self._devices = devices
        self._notices = notices

    async def __call__(
        self,
        email: str,
        password: str,
        *,
        delivery: Delivery,
        caller: Caller,
        presented: Iterable[str] = (),
        earlier: EarlierSignIns = NO_EARLIER,
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Begin a session for an address and its password, and return its first pair.

        Args:
            email: The address as it was typed.
            password: The password as it was typed.
            delivery: How the tokens of the session travel.
            caller: The time of the request and where it came from.
            presented: Tokens that came with the request. Their sessions end if the password is right (T15).
            earlier: What shows that the person has signed in on this device before. Failures elsewhere then do not delay them.
            request: What is repeatable, or None.

        Raises:
            EmailNotVerified: If the password is right, but the address must be verified first.
            SecondFactorRequired: If the password is right, and the sign-in needs another step.
            As `prove` and `BeginSession`.
        """
        with self._throttling.logging("sign_in", caller):
            proof, confirm, on_begin = await self.prove(email, password, caller, earlier=earlier)
            if self._requires_verified and proof.account is not None and not proof.account.email_verified:
                await self._store.transact(confirm)  # of too many guesses at once, the right one is refused like the others
                raise EmailNotVerified(proof.subject)
            return await self._begin_session(
                proof,
                delivery=delivery,
                caller=caller,
                confirm=confirm,
                on_begin=on_begin,
                replaced=presented,
                request=request,
            )

    async def prove(
        self, email: str, password: str, caller: Caller, *, earlier: EarlierSignIns = NO_EARLIER
    ) -> tuple[Proof, Confirm, Confirm]:
        """Check an address and a password. An unknown address takes the same time as a wrong password.

        Returns:
            The proof, the first step of the transaction that begins the session, and a step for when it begins, which tells of
            new devices. The first step checks the counters again, since concurrent attempts may have used them up while the
            password was hashed.

        Raises:
            InvalidCredentials: If the address is unknown, the password is wrong or the account is disabled.
            InvalidFields: If the address is malformed, or the password cannot be one.
            TooManyAttempts: If too many attempts have failed.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        email = await normalise_email(email)
        password = normalise_password(password)
        if not is_hashable_password(password):
            raise InvalidFields([("password", mark("is empty or contains characters that passwords cannot have"))])
        account, counters = await self._look_up(email, caller, earlier)
        is_right = await self._hashing.matches(
            account.password_hash if account else None, password, ip=caller.ip, device=counters.device
        )
        if account is None or not is_right or account.disabled_at_ms is not None:
            await self._throttling.count_guess(self._store, counters, caller)
            raise InvalidCredentials
        new_hash = await self._rehash_if_outdated(account, password, caller, counters.device)

        async def confirm(rows: Transaction) -> None:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            await self._throttling.forgive(rows, counters)
            if new_hash is not None:
                await _replace_hash(rows, account, new_hash)

        async def on_begin(rows: Transaction) -> None:
            await self._notices.tell_of_sign_in(rows, account, caller, is_known_device=counters.device != "")

        proof = Proof(subject=account.id, account=account, amr=("pwd",), acr="pwd", authenticated_at_ms=caller.now_ms)
        return proof, confirm, on_begin

    async def _look_up(self, email: str, caller: Caller, earlier: EarlierSignIns) -> tuple[Account | None, Counters]:
        async def look_up(rows: Rows) -> tuple[Account | None, Counters]:
            account = await rows.accounts.get_by_email(email)
            counters = await self._list_counters(rows, email, account, caller, earlier)
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            return account, counters

        return await self._store.read(look_up)

    async def _list_counters(
        self, rows: Rows, email: str, account: Account | None, caller: Caller, earlier: EarlierSignIns
    ) -> Counters:
        subject = (
            account.id if account else ""
        )  # an address without an account takes the same steps, so that the time does not tell
        device = self._devices.find(subject, earlier)
        if account is not None and device is not None:
            return self._throttling.of_device(email, caller.ip, device, subject=subject)
        at_home = await rows.sessions.has_any_from(subject, network_of(caller.ip))
        return self._throttling.of_unknown_device(email, caller.ip, subject=account.id if account else None, at_home=at_home)

    async def _rehash_if_outdated(self, account: Account, password: str, caller: Caller, device: str) -> str | None:
        """Return a hash with the current parameters, or None if the stored one has them. If there is no room, try next time."""
        if not self._hashing.is_outdated(account.password_hash):
            return None
        try:
            return await self._hashing.hash(password, ip=caller.ip, device=device)
        except (Unavailable, TooManyAttempts):
            return None


async def _replace_hash(rows: Transaction, account: Account, new_hash: str) -> None:
    """Store a new hash of the same password. The epoch stays, and so do the sessions."""
    current = await rows.accounts.get(account.id)
    if current is not None and current.password_hash == account.password_hash:
        await rows.accounts.update(msgspec.structs.replace(current, password_hash=new_hash))
