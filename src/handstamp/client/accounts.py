"""What a person does with their account, beside signing in with a password: sign up, mails with links and codes, own data.

```python
sent = auth.accounts.request_sign_in("ada@example.com")
auth.accounts.confirm_sign_in(code=input("The code of the mail: "), sent=sent)
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import ConfigurationError, Unavailable
from .answers import Answer
from .endpoints import SIGN_IN_S, ServiceEndpoints
from .flight import run, run_async
from .session import StoredSession
from .tokens import Seconds

_MAX_EXPORT_BYTES = 32 * 1024 * 1024
_T = TypeVar("_T")


class MailSent(msgspec.Struct, frozen=True, kw_only=True):
    """A mail is on its way, if there is one to send: it is the same whether the address has an account or not.

    Keep it until the person types the code of the mail, which is accepted with it alone. It can be stored: `msgspec.json` and
    pickle restore it.

    Attributes:
        email: The address, as the service writes it.
        expires_in_s: Seconds for which the link is accepted.
        code_expires_in_s: Seconds for which the code is accepted.
        ticket: What ties the code to this program. A secret.
    """

    email: str
    expires_in_s: Seconds = msgspec.field(name="expiresIn")
    code_expires_in_s: Seconds = msgspec.field(name="codeExpiresIn")
    ticket: str = ""

    def __repr__(self) -> str:
        return "MailSent(****)"


class Accounts:
    """The account of a person. `Auth.accounts` is one. Every method has a twin for coroutines, whose name ends with `_async`.

    A link or a code comes back as `token`, the `token` of the link's query, or as `code` with the `MailSent` of the request.

    Raises:
        InvalidCode: The link or the code is not accepted. Its text says what to do.
        NotFound: This service does not offer it, for example because it sends no mail.
        InvalidFields: A value is malformed.
        TooManyAttempts: Wait `retry_after_s` seconds.
        Unavailable: The service does not answer.
    """

    def __init__(self, service: ServiceEndpoints, session: StoredSession, *, patience_s: float) -> None:
        """Use the endpoints of `service`, and the session. A call takes at most `patience_s` seconds."""
        self._service = service
        self._session = session
        self._patience_s = patience_s

    # --- signing up

    def register(self, email: str, password: str, *, name: str = "") -> MailSent | None:
        """Create an account. Return None if it exists now, or what `confirm_register` needs if the service sends a mail first.

        Raises:
            AccountExists: The address is taken, and the service sends no mail.
        """
        return self._run(lambda: self._register(email, password, name))

    async def register_async(self, email: str, password: str, *, name: str = "") -> MailSent | None:
        """Do the same without blocking the event loop."""
        return await self._run_async(lambda: self._register(email, password, name))

    def confirm_register(self, *, token: str = "", code: str = "", sent: MailSent | None = None, password: str = "") -> None:
        """Create the account with the link or the code of the mail, and sign in: replace the tokens in the store.

        Args:
            token: The `token` of the link.
            code: The code.
            sent: What `register` returned.
            password: A new one. It is needed with a link that another program or browser asked for.
        """
        self._run(lambda: self._sign_in("/register/confirm", _shown(token, code, sent) | _given(password=password)))

    async def confirm_register_async(
        self, *, token: str = "", code: str = "", sent: MailSent | None = None, password: str = ""
    ) -> None:
        """Do the same without blocking the event loop."""
        body = _shown(token, code, sent) | _given(password=password)
        await self._run_async(lambda: self._sign_in("/register/confirm", body))

    # --- signing in by mail

    def request_sign_in(self, email: str) -> MailSent:
        """Ask for a mail with which to sign in."""
        return self._run(lambda: self._ask_for("/login/code", email))

    async def request_sign_in_async(self, email: str) -> MailSent:
        """Do the same without blocking the event loop."""
        return await self._run_async(lambda: self._ask_for("/login/code", email))

    def confirm_sign_in(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Sign in with the link or the code of the mail: replace the tokens in the store."""
        self._run(lambda: self._sign_in("/login/code/confirm", _shown(token, code, sent)))

    async def confirm_sign_in_async(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._sign_in("/login/code/confirm", _shown(token, code, sent)))

    # --- a forgotten password

    def request_password_reset(self, email: str) -> MailSent:
        """Ask for a mail with which to choose a new password."""
        return self._run(lambda: self._ask_for("/password/reset", email))

    async def request_password_reset_async(self, email: str) -> MailSent:
        """Do the same without blocking the event loop."""
        return await self._run_async(lambda: self._ask_for("/password/reset", email))

    def confirm_password_reset(self, new_password: str, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Choose a new password with the link or the code of the mail. Every session ends, and this does not sign in."""
        body = {"newPassword": new_password} | _shown(token, code, sent)
        self._run(lambda: self._post("/password/reset/confirm", body))

    async def confirm_password_reset_async(
        self, new_password: str, *, token: str = "", code: str = "", sent: MailSent | None = None
    ) -> None:
        """Do the same without blocking the event loop."""
        body = {"newPassword": new_password} | _shown(token, code, sent)
        await self._run_async(lambda: self._post("/password/reset/confirm", body))

    # --- the address

    def request_verification(self, email: str = "", password: str = "") -> MailSent:
        """Ask for the mail that verifies the address, by the session, or with address and password if no person is signed in.

        Raises:
            MissingToken, SessionEnded: There is no session, and no address was given.
            InvalidCredentials: Address and password do not match.
        """
        return self._run(lambda: self._request_verification(email, password))

    async def request_verification_async(self, email: str = "", password: str = "") -> MailSent:
        """Do the same without blocking the event loop."""
        return await self._run_async(lambda: self._request_verification(email, password))

    def confirm_verification(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Verify the address with the link or the code of the mail. This does not sign in."""
        self._run(lambda: self._post("/email/verify/confirm", _shown(token, code, sent)))

    async def confirm_verification_async(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._post("/email/verify/confirm", _shown(token, code, sent)))

    def request_email_change(self, email: str) -> MailSent:
        """Ask for a mail to a new address of the session's account, which keeps its address until that mail is used.

        Raises:
            InsufficientAuthentication: The sign-in is not recent enough: sign in again.
        """
        return self._run(lambda: self._request_email_change(email))

    async def request_email_change_async(self, email: str) -> MailSent:
        """Do the same without blocking the event loop."""
        return await self._run_async(lambda: self._request_email_change(email))

    def confirm_email_change(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Give the account its new address with the link or the code of the mail. Its sessions go on.

        Raises:
            AccountExists: The address was taken meanwhile.
        """
        self._run(lambda: self._post("/email/change/confirm", _shown(token, code, sent)))

    async def confirm_email_change_async(self, *, token: str = "", code: str = "", sent: MailSent | None = None) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._post("/email/change/confirm", _shown(token, code, sent)))

    def undo_email_change(self, token: str) -> None:
        """Give the account its old address back with the link of the mail to that address.

        Every session ends, and the address gets a mail with which to choose a new password.
        """
        self._run(lambda: self._post("/email/change/undo", {"token": token}))

    async def undo_email_change_async(self, token: str) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._post("/email/change/undo", {"token": token}))

    def undo_factor(self, token: str) -> None:
        """Remove a first way to sign in that the person has not added, with the link of the mail that told of it.

        Every session ends, and the address gets a mail with which to choose a new password.
        """
        self._run(lambda: self._post("/factors/undo", {"token": token}))

    async def undo_factor_async(self, token: str) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._post("/factors/undo", {"token": token}))

    # --- own data

    def export(self) -> dict[str, Any]:
        """Return all that the service has stored about the person.

        Raises:
            InsufficientAuthentication: The sign-in is not recent enough: sign in again.
        """
        return self._run(self._export)

    async def export_async(self) -> dict[str, Any]:
        """Do the same without blocking the event loop."""
        return await self._run_async(self._export)

    def delete(self, email: str) -> None:
        """Delete the account of the session, whose address is `email`, then the tokens in the store.

        Raises:
            InsufficientAuthentication: The sign-in is not recent enough: sign in again.
        """
        self._run(lambda: self._delete(email))

    async def delete_async(self, email: str) -> None:
        """Do the same without blocking the event loop."""
        await self._run_async(lambda: self._delete(email))

    # --- what is done in threads

    def _register(self, email: str, password: str, name: str) -> MailSent | None:
        body = {"email": email, "password": password} | _given(name=name)
        answer = self._service.once(
            lambda headers: self._service.call(
                "POST", "/register", body, timeout_s=SIGN_IN_S, headers=headers, expected=(201, 202)
            )
        )
        return _mail_sent(answer) if answer.status == 202 else None

    def _request_verification(self, email: str, password: str) -> MailSent:
        if email or password:
            return self._ask("/email/verify", {"email": email, "password": password})
        return _mail_sent(self._session.call("POST", "/email/verify", expected=(202,)))

    def _request_email_change(self, email: str) -> MailSent:
        return _mail_sent(self._session.call("POST", "/email/change", {"email": email}, expected=(202,)))

    def _ask_for(self, path: str, email: str) -> MailSent:
        return self._ask(path, {"email": email} | self._session.known())

    def _ask(self, path: str, body: Mapping[str, str]) -> MailSent:
        return _mail_sent(self._service.call("POST", path, body, timeout_s=SIGN_IN_S, expected=(202,)))

    def _post(self, path: str, body: Mapping[str, str]) -> None:
        self._service.call("POST", path, body, timeout_s=SIGN_IN_S)

    def _sign_in(self, path: str, body: Mapping[str, str]) -> None:
        self._session.begin(lambda _: self._service.sign_in(path, body))

    def _export(self) -> dict[str, Any]:
        answer = self._session.call("GET", "/me/export", limit=_MAX_EXPORT_BYTES)
        return _decode(answer, dict[str, Any])

    def _delete(self, email: str) -> None:
        self._session.call("POST", "/me/delete", {"email": email})
        self._session.drop()

    def _run(self, work: Callable[[], _T]) -> _T:
        return run(work, self._patience_s)

    async def _run_async(self, work: Callable[[], _T]) -> _T:
        return await run_async(work, self._patience_s)


def _shown(token: str, code: str, sent: MailSent | None) -> dict[str, str]:
    """Return the link or the code of a mail, as the service takes them."""
    if bool(token) == bool(code):
        raise ConfigurationError("Give either the token of the link, or the code of the mail.")
    return {"token": token} if token else {"code": code} | _given(ticket=sent.ticket if sent else "")


def _given(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _mail_sent(answer: Answer) -> MailSent:
    return _decode(answer, MailSent)


def _decode(answer: Answer, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unavailable(f"{answer.url} answered {answer.status} with something else than documented") from None
