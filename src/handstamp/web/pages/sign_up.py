"""What the link or the code of a sign-up does on pages: it proves the address, so that the account is created."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...errors import InvalidFields
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from ..repeatable import repeatable_form
from .destination import Destination
from .mailed import MailedForm
from .second_step import finish_sign_in
from .writer import PageWriter


@dataclass(frozen=True, slots=True)
class SignUpPages:
    """Creates accounts."""

    use: UseCases
    writer: PageWriter

    async def create(self, call: Call, form: MailedForm, destination: Destination) -> Response:
        """Create the account and sign in. Another browser than the one that asked must choose a password."""
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "register/confirm", form.token, form.code, form.password, delivery)
        begun = self.use.sign_up.confirm(
            form.shown(call),
            call.caller_with_browser(),
            password=form.password or None,
            delivery=delivery,
            presented=presented,
            request=request,
        )
        try:
            return await finish_sign_in(self.use, self.writer, call, begun, destination=destination, presented=presented)
        except InvalidFields as error:
            if form.token and not form.password:
                raise InvalidFields([("password", mark("Choose a password for the account."))]) from error
            raise
