"""The table of the pages. They are rendered here and work without script."""

from __future__ import annotations

from starlette.routing import Route

from ..edge import Budget, Edge, Handler
from ..operation import UseCases
from .account import AccountPages
from .development_mail import DevelopmentMailPages
from .languages import in_language
from .own_data import OwnDataPages
from .sign_in import SignInPages
from .writer import PageWriter


def page_routes(use: UseCases, edge: Edge) -> list[Route]:
    """Return the routes of all pages."""
    writer = PageWriter(
        edge, registration_open=use.registration_open, password_min_length=use.password_min_length, brand=use.brand
    )
    sign_in, account, own_data = SignInPages(use, edge, writer), AccountPages(use, writer), OwnDataPages(use, writer)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/", sign_in.show_start),
        ("GET", "/sign-in", sign_in.show_sign_in),
        ("POST", "/sign-in", sign_in.submit_sign_in),
        ("GET", "/create-account", sign_in.show_create_account),
        ("POST", "/create-account", sign_in.submit_create_account),
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
