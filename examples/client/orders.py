"""A command that calls the orders API of the other examples and stays signed in.

pip install 'handstamp[client]'
export AUTH_ISSUER=http://localhost:8000 ORDERS_API=http://localhost:9000
python orders.py sign-in ada@example.com
python orders.py place
python orders.py list
python orders.py sign-out
"""

import getpass
import os
import sys
from pathlib import Path

import httpx

from handstamp.client import Auth, FileTokens
from handstamp.errors import HandstampError, NotSignedIn, Unavailable

api = os.environ["ORDERS_API"]
tokens = Path(os.environ.get("ORDERS_TOKENS", "orders-tokens.json"))  # mode 0600; concurrent commands can share the file
auth = Auth(os.environ["AUTH_ISSUER"], FileTokens(tokens), origins=[api])


def sign_in(email: str) -> str:
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    auth.sign_in(email, password)
    return f"Signed in as {email}."


def list_orders() -> str:
    with httpx.Client(auth=auth, base_url=api) as client:
        return f"Your orders: {client.get('/orders').raise_for_status().json()['orders']}"


def place_order() -> str:
    with httpx.Client(auth=auth, base_url=api) as client:
        return f"Placed order {client.post('/orders').raise_for_status().json()['id']}."


def sign_out() -> str:
    auth.sign_out()
    return "Signed out, here and at the service."


def run(*arguments: str) -> str:
    match arguments:
        case ["sign-in", email]:
            return sign_in(email)
        case ["list"]:
            return list_orders()
        case ["place"]:
            return place_order()
        case ["sign-out"]:
            return sign_out()
        case _:
            return str(__doc__)


def main() -> int:
    try:
        sys.stdout.write(f"{run(*sys.argv[1:])}\n")
    except NotSignedIn as error:  # never signed in, signed out elsewhere, wrong password: sign in (again)
        sys.stderr.write(f"{error}\n")
    except Unavailable as error:  # still signed in: the same command works later
        sys.stderr.write(f"{error} (in {error.retry_after_s} s)\n")
    except (HandstampError, httpx.HTTPError) as error:
        sys.stderr.write(f"{error}\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
