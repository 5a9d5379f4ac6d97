"""Put the web edge in front of a deployment: the ASGI application that servers run."""

from __future__ import annotations

import gc
import os
from functools import partial

from starlette.types import ASGIApp

from ..config.brand import load_brand
from ..config.loading import load
from ..config.logs import configure_logging
from ..domain.issuer import find_hosts
from ..domain.limits import NetworkLimits
from ..web.app import asgi
from ..web.edge import Edge
from ..web.operation import UseCases
from ..web.proxies import ClientAddress
from ..web.stopping import running_until_drained
from .deployment import Deployment
from .tracing import Tracing
from .version import running_version


def make_application(deployment: Deployment, *, drain_s: int = 0) -> ASGIApp:
    """Return a deployment as an ASGI application, which runs it from its start-up to its shutdown.

    Args:
        deployment: The deployment.
        drain_s: For how many seconds a server goes on after SIGTERM (see `running_until_drained`).
    """
    settings = deployment.settings
    rate = NetworkLimits(settings.people_per_network).requests
    edge = Edge(
        clock=deployment.clock,
        issuer=deployment.issuer,
        trusted_origins=settings.trusted_origins,
        rate=rate,
        dpop=deployment.dpop,
        binds_programs=settings.device_binding != "off",
    )
    use = UseCases(
        sign_in=deployment.sign_in,
        second_factor=deployment.second_factor,
        step_up=deployment.step_up,
        list_factors=deployment.list_factors,
        passkey_sign_in=deployment.passkey_sign_in,
        own_passkeys=deployment.own_passkeys,
        provider_sign_in=deployment.provider_sign_in,
        own_identities=deployment.own_identities,
        provider_logouts=deployment.provider_logouts,
        kept_tokens=deployment.kept_tokens,
        related_origins=deployment.passkeys.related,
        authenticator_app=deployment.authenticator_app,
        replace_recovery_codes=deployment.replace_recovery_codes,
        refresh=deployment.refresh,
        bind=deployment.bind,
        passes=deployment.passes,
        sign_out=deployment.sign_out,
        devices=deployment.devices,
        sessions=deployment.sessions,
        recognise=deployment.recognise,
        granting=deployment.granting,
        register=deployment.register,
        change_password=deployment.change_password,
        change_profile=deployment.change_profile,
        reset_password=deployment.reset_password,
        histories=deployment.histories,
        change_email=deployment.change_email,
        undo=deployment.undo,
        export_data=deployment.export_data,
        delete_account=deployment.delete_account,
        administration=deployment.administration,
        accounts=deployment.accounts,
        statistics=deployment.statistics,
        impersonate=deployment.impersonate,
        audit_trail=deployment.audit_trail,
        read_receivers=deployment.auditing.read_receivers,
        mail_queue=deployment.mailing.queue,
        credentials=deployment.credentials,
        revocations=deployment.revocations,
        keys=deployment.keys,
        verifier=deployment.verifier,
        issuer=deployment.issuer,
        trusted_origins=edge.trusted_origins,
        keep_alive_s=settings.keep_alive,
        trusted_hosts=find_hosts(settings.trusted_origins),
        inbox=deployment.mailing.inbox,
        one_time=deployment.one_time,
        sign_up=deployment.sign_up,
        code_sign_in=deployment.code_sign_in,
        verify_address=deployment.verify_address,
        mail_is_on=deployment.outbox.is_on,
        support_contact=settings.support_contact,
        confirms_sign_up=deployment.outbox.confirms_sign_up,
        sign_in_by_code=settings.sign_in_by_code,
        registration_open=settings.registration == "open",
        password_min_length=settings.password_min_length,
        brand=load_brand(settings),
        readiness=deployment.readiness,
        look_at_health=deployment.look_at_health,
        render_metrics=deployment.measuring.render,
    )
    application = asgi(
        use,
        edge,
        version=running_version(),
        hsts_includes_subdomains=settings.hsts_include_subdomains,
        time_request=deployment.measuring.time_request,
        running=partial(running_until_drained, deployment.run, drain_s) if drain_s else deployment.run,
    )
    return ClientAddress(application, settings.trusted_proxies, traced=deployment.tracing.trace_requests(application))


def application() -> ASGIApp:
    """Return the application that the environment configures. Each worker process of `handstamp serve` runs it."""
    configure_logging()
    settings = load()
    configure_logging(log_format=settings.log_format)
    made = make_application(Deployment(settings, tracing=Tracing.from_environment(os.environ)), drain_s=settings.drain)
    freeze_objects()
    return made


def freeze_objects() -> None:
    """Exclude the objects of the start-up from garbage collection. They live for ever, and a full collection visits each."""
    gc.freeze()
