"""One-time grants in the store: issue the link and the code of a mail, look at them, and use them up.

A use case works in three steps. It *issues* a grant and adds the mail in one transaction. When the link or the code comes
back, it *proves* it, which counts a code that was looked at and uses nothing up. In the transaction that has the effect it
*consumes* the grant, which is judged again there: of two requests with one link, one succeeds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ...crypto.identifiers import hash_secret, new_id, new_secret
from ...crypto.one_time import CODE_DIGITS, OneTimeCodes
from ...domain.account import Account
from ...domain.one_time import MAX_LOOKS, PURPOSES, Decision, OneTime, Purpose, decide, issue, use
from ...errors import InvalidCode, InvalidFields
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from .caller import Caller
from .meter import NO_METER, Meter
from .throttling import Throttling

MAX_GRANTS = 5
"""How many grants of one browser a code is compared with: those of the last mails, which may arrive in any order."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_CODE = re.compile(rf"[0-9]{{{CODE_DIGITS}}}", re.ASCII)
MAX_TYPED = 32
"""Characters of a code as it is typed, with gaps."""
_GAPS = str.maketrans("", "", " -\u00a0")
"""People type codes in groups."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a request shows: the token of a link, or else a code; and the secret of the browser, "" if it has none."""

    token: str = ""
    code: str = ""
    browser: str = ""

    def __repr__(self) -> str:
        """Return a text without the secrets."""
        return "Shown(****)"


class Issued(msgspec.Struct, frozen=True):
    """What the mail carries: the URL of the page, and the code, "" if there is none."""

    link: str
    code: str

    def __repr__(self) -> str:
        """Return a text without the secrets."""
        return "Issued(****)"


class Proven(msgspec.Struct, frozen=True):
    """A grant that is accepted now.

    Attributes:
        grant: The row.
        account: The account that it is about, None for `register`.
        in_same_browser: Whether the browser that asked for the mail shows it. A code never comes from another one.
    """

    grant: OneTime
    account: Account | None
    in_same_browser: bool


def keep_browser_secret(sent: str = "") -> str:
    """Return the secret to which the codes of a client's mails are bound: the one that it has sent, or a new one."""
    return sent if _SECRET.fullmatch(sent) else new_secret()


def read_digits(typed: str) -> str:
    """Return the six digits of a code, without the gaps that people type. Raises `InvalidFields` if it has no six digits."""
    code = typed.translate(_GAPS) if len(typed) <= MAX_TYPED else ""
    if _CODE.fullmatch(code) is None:
        raise InvalidFields([("code", mark("must have six digits"))])
    return code


def hash_of_browser(secret: str) -> bytes | None:
    """Return the hash of the secret of a browser; None for a text that cannot be one."""
    return hash_secret(secret) if _SECRET.fullmatch(secret) else None


class OneTimeGrants:
    """Issues, proves and consumes grants."""

    def __init__(
        self, *, store: Store, codes: OneTimeCodes, throttling: Throttling, issuer_url: str, meter: Meter = NO_METER
    ) -> None:
        """Create it. Links begin with `issuer_url`. `meter` counts what fails to sign in."""
        self._meter = meter
        self._store = store
        self._codes = codes
        self._throttling = throttling
        self._issuer_url = issuer_url

    async def issue(
        self,
        rows: Transaction,
        purpose: Purpose,
        *,
        email: str,
        account: Account | None,
        browser: str,
        caller: Caller,
        with_code: bool = True,
        details: Mapping[str, str] | None = None,
    ) -> Issued:
        """Add a grant to the transaction, and return what its mail carries.

        Args:
            rows: The transaction.
            purpose: What the grant allows.
            email: The normalised address that the mail goes to.
            account: The account that it is about. With None, a grant for an account is never accepted.
            browser: The secret of the browser that asks, from `keep_browser_secret`.
            caller: When and from where it is asked for. The page behind the link says so.
            with_code: False to leave the code out although the purpose has one.
            details: What the purpose needs later.
        """
        grant_id, token = new_id(), new_secret()
        code = self._codes.generate() if with_code and PURPOSES[purpose].has_code else ""
        grant = issue(
            purpose,
            id=grant_id,
            email=email,
            account=account,
            link_hash=hash_secret(token),
            code_hash=self._codes.hash(code, grant_id) if code else None,
            browser_hash=hash_secret(browser),
            now_ms=caller.now_ms,
        )
        grant = msgspec.structs.replace(grant, ip=caller.ip, user_agent=caller.user_agent, details=dict(details or {}))
        await rows.one_time.insert(grant)
        return Issued(f"{self._issuer_url}{PURPOSES[purpose].page}?token={token}", code)

    async def prove(self, purpose: Purpose, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link or a code, if it is accepted. A code counts as looked at; nothing is used up.

        Raises:
            InvalidCode: If it is wrong, used, expired or void.
            InvalidFields: If neither a token nor six digits were sent.
            Unavailable: If the store does not answer.
        """
        try:
            return await self._prove(purpose, shown, caller)
        except InvalidCode:
            if purpose == "sign_in":
                self._meter.count_failed_sign_in("otp")
            raise

    async def _prove(self, purpose: Purpose, shown: Shown, caller: Caller) -> Proven:
        if shown.token:
            return await self._store.read(lambda rows: self._prove_link(rows, purpose, shown, caller))
        code = read_digits(shown.code)
        browser = hash_of_browser(shown.browser)
        if browser is None:
            raise InvalidCode("elsewhere")
        found = await self._store.transact(lambda rows: self._look_at_code(rows, browser, purpose, code, caller))
        return _require_accepted(*found, in_same_browser=True)

    async def consume(self, rows: Transaction, grant: OneTime, account_id: str, caller: Caller) -> Account | None:
        """Use a proven grant up, in the transaction that has its effect, and void all others of its purpose and address.

        Args:
            rows: The transaction.
            grant: The grant that `prove` returned.
            account_id: The account that has it now.
            caller: The time of the request.

        Returns:
            The account as it is now, None for `register`.

        Raises:
            InvalidCode: If it was used meanwhile, or if the account has changed.
        """
        current = await rows.one_time.get(grant.id)
        if current is None:
            raise InvalidCode("void")
        account = await _find_account(rows, current)
        _require_accepted(decide(current, account, "link", caller.now_ms), account, in_same_browser=True)
        await rows.one_time.update(use(current, account_id, caller.now_ms))
        await rows.one_time.delete_others(current)
        await self._throttling.forgive(rows, self._throttling.of_mails_to(current.email, current.purpose))
        return account

    async def find_latest(self, purpose: Purpose, browser: str) -> OneTime | None:
        """Return the newest grant that a browser has asked for, so that a page can name its address. None if there is none."""
        hashed = hash_of_browser(browser)
        if hashed is None:
            return None
        found = await self._store.read(lambda rows: rows.one_time.list_by_browser(hashed, purpose, limit=1))
        return found[0] if found else None

    async def _prove_link(self, rows: Rows, purpose: Purpose, shown: Shown, caller: Caller) -> Proven:
        link = hash_of_browser(shown.token)
        grant = None if link is None else await rows.one_time.get_by_link(link)
        if grant is None or grant.purpose != purpose:
            raise InvalidCode("void")
        account = await _find_account(rows, grant)
        is_same = grant.browser_hash == hash_of_browser(shown.browser)
        return _require_accepted(decide(grant, account, "link", caller.now_ms), account, in_same_browser=is_same)

    async def _look_at_code(
        self, rows: Transaction, browser: bytes, purpose: Purpose, code: str, caller: Caller
    ) -> tuple[Decision, Account | None]:
        """Compare a code with every grant of the browser, count the looks, and return the decision that counts."""
        grants = await rows.one_time.list_by_browser(browser, purpose, limit=MAX_GRANTS)
        if not grants:
            raise InvalidCode("elsewhere")
        found = []
        for grant in grants:
            is_right = grant.code_hash is not None and self._codes.matches(grant.code_hash, code, grant.id)
            account = await _find_account(rows, grant)
            decision = decide(grant, account, "code" if is_right else "wrong_code", caller.now_ms)
            if decision.grant is not grant:
                await rows.one_time.update(decision.grant)
            found.append((decision, account))
        best = min(found, key=lambda pair: _rank(pair[0]))
        if best[0].verdict == "wrong":
            await self._throttling.count_wrong_code(rows, best[0].grant.email, caller.now_ms)
        return best


async def _find_account(rows: Rows, grant: OneTime) -> Account | None:
    if grant.purpose == "register":
        return await rows.accounts.get_by_email(grant.email)
    return await rows.accounts.get(grant.account_id or "")


def _rank(decision: Decision) -> tuple[int, int]:
    """Return how far a decision is from the one that counts: accepted, then void, then wrong with the most looks left."""
    order = ("accepted", "void", "wrong")
    return order.index(decision.verdict) if decision.verdict in order else len(order), decision.grant.looks


def _require_accepted(decision: Decision, account: Account | None, *, in_same_browser: bool) -> Proven:
    if decision.verdict == "accepted":
        return Proven(decision.grant, account, in_same_browser)
    grant = decision.grant
    left = MAX_LOOKS - grant.looks if decision.verdict == "wrong" else 0
    raise InvalidCode(decision.verdict, left=left, subject=grant.account_id if decision.verdict == "used" else None)
