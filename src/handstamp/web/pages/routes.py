"""The table of the pages. They are rendered here and work without script."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from ...domain.one_time import PURPOSES, Purpose
from ..edge import Budget, Edge, Handler
from ..operation import UseCases
from .account import AccountPages
from .administration import AdministrationPages
from .admitting import for_administrators
from .change_email import ChangeEmailPages
from .confirm import ConfirmPages
from .development_mail import DevelopmentMailPages
from .factors import FactorPages
from .history import HistoryPages
from .languages import in_language
from .mailed import CODE_PAGES, Look, MailedPages, Run
from .new_person import NewPersonPages
from .own_data import OwnDataPages
from .passkey_offer import PasskeyOfferPages
from .person import PersonPages
from .providers import CALLBACK, ProviderPages
from .recent import RecentPages
from .reset_password import ResetPages
from .second_step import SecondStepPages
from .service import ServicePages
from .sign_in import SignInPages
from .sign_in_code import SignInCodePages
from .sign_up import SignUpPages
from .support import SupportPages
from .undo import UndoPages
from .verify import VerifyPages
from .why import WhyPages
from .writer import PageWriter

_ADMINISTRATION = "/admin"
"""What the paths of administrators begin with. Scripts of trusted origins cannot read these pages."""


def page_routes(use: UseCases, edge: Edge) -> list[Route]:
    """Return the routes of all pages."""
    writer = PageWriter(
        edge,
        registration_open=use.registration_open,
        sign_in_by_code=use.sign_in_by_code,
        password_min_length=use.password_min_length,
        brand=use.brand,
        providers=use.provider_sign_in.trips.settings,
    )
    sign_in, account, own_data = SignInPages(use, edge, writer), AccountPages(use, writer), OwnDataPages(use, writer)
    by_code, verify = SignInCodePages(use, edge, writer), VerifyPages(use, writer)
    offer = PasskeyOfferPages(use, edge, writer)
    factors, second = FactorPages(use, writer), SecondStepPages(use, edge, writer)
    providers = ProviderPages(use, edge, writer, factors)
    person, new_person, service = PersonPages(use, writer), NewPersonPages(use, writer), ServicePages(use, writer)
    support = SupportPages(use, writer)
    reset, change = ResetPages(use, writer), ChangeEmailPages(use, writer)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/", sign_in.show_start),
        ("GET", "/sign-in", sign_in.show_sign_in),
        ("POST", "/sign-in", sign_in.submit_sign_in),
        ("GET", "/create-account", sign_in.show_create_account),
        ("POST", "/create-account", sign_in.submit_create_account),
        ("GET", "/sign-in/second-step", second.show_second_step),
        ("POST", "/sign-in/second-step", second.submit_second_step),
        ("GET", "/sign-in/enrol", second.show_enrol),
        ("POST", "/sign-in/passkey", sign_in.submit_passkey),
        ("GET", "/sign-in/enrol/passkey", second.show_enrol_passkey),
        ("POST", "/sign-in/enrol/passkey", second.submit_enrol_passkey),
        ("GET", "/sign-in/enrol/totp", second.show_enrol_totp),
        ("POST", "/sign-in/enrol/totp", second.submit_enrol_totp),
        ("GET", "/sign-in/with/{provider}", providers.leave),
        ("GET", CALLBACK, providers.come_back),
        ("POST", CALLBACK, providers.come_back_by_form),
        ("POST", "/account/identities", providers.submit_identity),
        ("POST", "/account/identities/remove", providers.submit_identity_removal),
        ("GET", "/sign-in/mail", by_code.show_sign_in_mail),
        ("POST", "/sign-in/mail", by_code.submit_sign_in_mail),
        ("POST", "/account/verify", verify.submit_verify_mail),
        ("GET", "/forgot", reset.show_forgot),
        ("POST", "/forgot", reset.submit_forgot),
        ("GET", "/account/email", change.show_new_address),
        ("POST", "/account/email", change.submit_new_address),
        ("GET", "/passkey-offer", offer.show_offer),
        ("POST", "/passkey-offer", offer.submit_offer),
        ("POST", "/passkey-offer/decline", offer.submit_decline),
        ("GET", "/signed-out", sign_in.show_signed_out),
        ("GET", "/account", account.show_account),
        ("GET", "/account/history", HistoryPages(use, writer).show_history),
        ("GET", "/admin", AdministrationPages(use, writer).show_people),
        ("GET", "/admin/person", person.show_person),
        ("POST", "/admin/person", person.submit_person),
        ("GET", "/admin/look", support.show_look),
        ("POST", "/admin/look", support.submit_look),
        ("GET", "/admin/new-person", new_person.show_new_person),
        ("POST", "/admin/new-person", new_person.submit_new_person),
        ("GET", "/admin/why", WhyPages(use, writer).show_why),
        ("GET", "/admin/recent", RecentPages(use, writer).show_recent),
        ("GET", "/admin/service", service.show_service),
        ("POST", "/admin/service", service.submit_service),
        ("POST", "/account/end-session", account.submit_end_session),
        ("POST", "/account/profile", account.submit_profile),
        ("GET", "/account/sign-in", factors.show_factors),
        ("POST", "/account/password", factors.submit_password),
        ("GET", "/account/passkeys/new", factors.show_new_passkey),
        ("POST", "/account/passkeys", factors.submit_passkey),
        ("POST", "/account/passkeys/rename", factors.submit_passkey_name),
        ("POST", "/account/passkeys/remove", factors.submit_passkey_removal),
        ("GET", "/account/totp", factors.show_totp),
        ("POST", "/account/totp", factors.submit_totp),
        ("POST", "/account/totp/remove", factors.submit_totp_removal),
        ("POST", "/account/recovery-codes", factors.submit_recovery_codes),
        ("POST", "/account/sign-out", account.submit_sign_out),
        ("POST", "/account/sign-out-everywhere", account.submit_sign_out_everywhere),
        ("GET", "/account/data", own_data.show_data),
        ("GET", "/account/export", own_data.export),
        ("POST", "/account/delete", own_data.submit_delete),
    ]
    undo_change, undo_factor = UndoPages(use, writer, "undo_change"), UndoPages(use, writer, "undo_factor")
    mailed: list[tuple[Purpose, Callable[[], None], Look, Run]] = [
        ("register", use.require_sign_up, use.sign_up.look, SignUpPages(use, writer).create),
        ("sign_in", use.require_sign_in_by_code, use.code_sign_in.look, by_code.sign_in),
        ("verify_email", use.require_mail, use.verify_address.look, verify.verify),
        ("reset_password", use.require_mail, use.reset_password.look, reset.reset),
        ("change_email", use.require_mail, use.change_email.look, change.confirm),
        ("impersonate", use.impersonate.require_on, use.impersonate.look, support.begin),
        ("undo_change", use.require_mail, undo_change.look, undo_change.run),
        ("undo_factor", use.require_mail, undo_factor.look, undo_factor.run),
    ]
    for purpose, require, look, run in mailed:
        pages, link = MailedPages(use, edge, writer, purpose, require, look, run), PURPOSES[purpose].page
        table += [("GET", link, pages.show_link), ("POST", link, pages.submit)]
        if PURPOSES[purpose].has_code:
            table += [("GET", CODE_PAGES[purpose], pages.show_code), ("POST", CODE_PAGES[purpose], pages.submit)]
    table = [
        (method, path, for_administrators(handle, use, writer) if path.startswith(_ADMINISTRATION) else handle)
        for method, path, handle in table
    ]
    forms = {
        path: handle for method, path, handle in table if method == "POST" and path.startswith(("/account/", _ADMINISTRATION))
    }
    confirm = ConfirmPages(use, edge, writer, forms)
    table = [(method, path, handle) for method, path, handle in table if handle not in forms.values()]
    table += [("POST", path, confirm.guard(handle)) for path, handle in forms.items()]
    table += [("GET", "/confirm", confirm.show_confirm), ("POST", "/confirm", confirm.submit_confirm)]
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
            edge.endpoint(
                in_language(handle),
                path=path,
                write_error=writer.write_error,
                # Apple's page sends the answer as a form; it signs nobody in by itself. Nor do the pages of administrators.
                signs_in=path != CALLBACK and not path.startswith(_ADMINISTRATION),
                # The form of /confirm may carry one of administrators.
                own_pages_only=path.startswith(_ADMINISTRATION) or (method, path) == ("POST", "/confirm"),
                budget=_budget_of(path),
            ),
            methods=[method],
            name=handle.__name__,
        )
        for method, path, handle in table
    ]


def _budget_of(path: str) -> Budget:
    return "sign_outs" if path == "/account/sign-out" else "requests"
