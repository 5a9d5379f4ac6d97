"""A consumer of Django Channels that test_servers.py runs under real servers."""

from __future__ import annotations

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.sockets import EndWithSession
from tests.adapters.served import fastapi, issuer

settings.configure(SECRET_KEY="not a secret", ALLOWED_HOSTS=["localhost"])
django.setup()


class Live(AsyncWebsocketConsumer):
    """Greets, then waits. It speaks the subprotocol `chat`."""

    async def connect(self) -> None:
        """Greet."""
        await self.accept("chat" if "chat" in self.scope["subprotocols"] else None)
        await self.send(self.scope["state"]["claims"].sub)


sockets = URLRouter([path("inner", Live.as_asgi())])
ending = EndWithSession(sockets, verifier=issuer.verifier, interval_s=0.05)
channels = ProtocolTypeRouter({"http": fastapi, "websocket": HandstampMiddleware(ending, verifier=issuer.verifier)})
