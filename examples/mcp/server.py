"""A server of the Model Context Protocol whose tools need a signed-in person.

pip install 'handstamp[mcp]' uvicorn
AUTH_ISSUER=http://localhost:8000 AUTH_CREDENTIAL=ID:SECRET RESOURCE=http://localhost:9000/mcp uvicorn server:app --port 9000
"""

import os

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from handstamp import Verifier
from handstamp.verify.mcp import GuardMcp, HandstampTokenVerifier

issuer = os.environ["AUTH_ISSUER"]
verifier = Verifier(issuer, audience=issuer, credential=os.environ["AUTH_CREDENTIAL"])
server = MCPServer(
    "orders",
    token_verifier=HandstampTokenVerifier(verifier),
    auth=AuthSettings(
        issuer_url=issuer,
        resource_server_url=os.environ["RESOURCE"],
        validate_token_resource=False,  # the verifier checks the audience
    ),
)


@server.tool()
def whoami() -> str:
    """Return the person on whose behalf the agent calls."""
    token = get_access_token()
    return str(token and token.subject)


app = GuardMcp(server.streamable_http_app(), verifier=verifier, resource=os.environ["RESOURCE"])
