"""An example of each kind of mail: to try templates with, and to show how mail looks."""

from __future__ import annotations

from ..domain import mail
from ..domain.mail import AnyContent, Letter, Mail, MailKind, kind_of

_NEVER = "https://example.com/never-sent"
_CODE = "000000"
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

SAMPLES: dict[MailKind, AnyContent] = {
    kind_of(content): content
    for content in (
        mail.AccountDeleted(),
        mail.AddressChanged(old="ada@example.com", new="ada@example.net", undo_link=_NEVER),
        mail.ConfirmNewAddress(link=_NEVER, code=_CODE),
        mail.ConfirmSignUp(link=_NEVER, code=_CODE),
        mail.IdentityChanged(label="Google"),
        mail.NewDevice(),
        mail.PasswordChanged(),
        mail.RecoveryCodeUsed(left=9),
        mail.ResetPassword(link=_NEVER, code=_CODE),
        mail.SecondFactorChanged(factor="totp", undo_link=_NEVER),
        mail.SecondFactorGuessed(),
        mail.SecondFactorsReset(),
        mail.SessionReused(),
        mail.SignInCode(link=_NEVER, code=_CODE),
        mail.SignUpExists(),
        mail.SupportLooks(by="", reason="4711"),
        mail.VerifyEmail(link=_NEVER, code=_CODE),
    )
}


def make_sample(kind: MailKind, *, to: str = "ada@example.com", at_ms: int = 0) -> tuple[Mail, Letter]:
    """Return a mail of that kind, which is in no outbox."""
    letter = Letter(to=to, language="", at_ms=at_ms, ip="192.0.2.1", user_agent=_AGENT, content=SAMPLES[kind])
    return Mail(id="sample", kind=kind, account=None, sealed=b"", created_at_ms=at_ms, next_at_ms=None), letter
