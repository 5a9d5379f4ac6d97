"""The table of the pages. They are rendered here and work without script."""

from __future__ import annotations

from starlette.routing import Route

from ..edge import Budget, Edge, Handler
from ..operation import UseCases
from .account import AccountPages
from .change_email import ChangeEmailPages
from .development_mail import DevelopmentMailPages
from .languages import in_language
from .own_data import OwnDataPages
from .reset_password import ResetPages
from .sign_in import SignInPages
from .sign_in_code import SignInCodePages
from .sign_up import SignUpPages
from .verify import VerifyPages
from .writer import PageWriter


def page_routes(use: UseCases, edge: Edge) -> list[Route]:
    """Return the routes of all pages."""
    writer = PageWriter(
        edge,
        registration_open=use.registration_open,
        sign_in_by_code=use.sign_in_by_code,
        password_min_length=use.password_min_length,
        brand=use.brand,
    )
    sign_in, account, own_data = SignInPages(use, edge, writer), AccountPages(use, writer), OwnDataPages(use, writer)
    sign_up, by_code, verify = SignUpPages(use, edge, writer), SignInCodePages(use, edge, writer), VerifyPages(use, writer)
    reset, change = ResetPages(use, writer), ChangeEmailPages(use, writer)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/", sign_in.show_start),
        ("GET", "/sign-in", sign_in.show_sign_in),
        ("POST", "/sign-in", sign_in.submit_sign_in),
        ("GET", "/create-account", sign_in.show_create_account),
        ("POST", "/create-account", sign_in.submit_create_account),
        ("GET", "/create-account/code", sign_up.show_sign_up_code),
        ("POST", "/create-account/code", sign_up.submit_sign_up_code),
        ("GET", "/create-account/confirm", sign_up.show_sign_up_link),
        ("POST", "/create-account/confirm", sign_up.submit_sign_up_link),
        ("GET", "/sign-in/mail", by_code.show_sign_in_mail),
        ("POST", "/sign-in/mail", by_code.submit_sign_in_mail),
        ("GET", "/sign-in/code", by_code.show_sign_in_code),
        ("POST", "/sign-in/code", by_code.submit_sign_in_code),
        ("GET", "/sign-in/confirm", by_code.show_sign_in_link),
        ("POST", "/sign-in/confirm", by_code.submit_sign_in_link),
        ("POST", "/account/verify", verify.submit_verify_mail),
        ("GET", "/verify/code", verify.show_verify_code),
        ("POST", "/verify/code", verify.submit_verify_code),
        ("GET", "/verify", verify.show_verify_link),
        ("POST", "/verify", verify.submit_verify_link),
        ("GET", "/forgot", reset.show_forgot),
        ("POST", "/forgot", reset.submit_forgot),
        ("GET", "/reset/code", reset.show_reset_code),
        ("POST", "/reset/code", reset.submit_reset_code),
        ("GET", "/reset", reset.show_reset_link),
        ("POST", "/reset", reset.submit_reset_link),
        ("GET", "/account/email", change.show_new_address),
        ("POST", "/account/email", change.submit_new_address),
        ("GET", "/change-email/code", change.show_change_code),
        ("POST", "/change-email/code", change.submit_change_code),
        ("GET", "/change-email", change.show_change_link),
        ("POST", "/change-email", change.submit_change_link),
        ("GET", "/undo-change", change.show_undo),
        ("POST", "/undo-change", change.submit_undo),
        ("GET", "/signed-out", sign_in.show_signed_out),
        ("GET", "/account", account.show_account),
        ("POST", "/account/end-session", account.submit_end_session),
        ("POST", "/account/profile", account.submit_profile),
        ("POST", "/account/password", account.submit_password),
        ("POST", "/account/sign-out", account.submit_sign_out),
        ("POST", "/account/sign-out-everywhere", account.submit_sign_out_everywhere),
        ("GET", "/account/data", own_data.show_data),
        ("GET", "/account/export", own_data.export),
        ("POST", "/account/delete", own_data.submit_delete),
    ]
    if use.inbox is not None:
        mail = DevelopmentMailPages(use.inbox, writer)
        table += [
            ("GET", "/dev/mail", mail.show_inbox),
            ("GET", "/dev/mail/{id}", mail.show_mail),
            ("GET", "/dev/mail/{id}/html", mail.show_html),
        ]
    return [
        Route(
            path,
            edge.endpoint(in_language(handle), path=path, write_error=writer.write_error, signs_in=True, budget=_budget_of(path)),
            methods=[method],
            name=handle.__name__,
        )
        for method, path, handle in table
    ]


def _budget_of(path: str) -> Budget:
    return "sign_outs" if path == "/account/sign-out" else "requests"
