"""The page that asks administrators whether they are sure, before something that cannot be undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ...errors import HandstampError
from ..edge import Call
from .writer import PageWriter


class Sure(msgspec.Struct, frozen=True):
    """What is asked, as marked texts. `types_email` is True if the address of the account must be typed."""

    title: str
    text: str
    button: str
    types_email: bool = False


def write_sure(
    writer: PageWriter,
    call: Call,
    sure: Sure,
    error: HandstampError | None = None,
    *,
    about: str,
    page: str,
    leave: str,
    hidden: Mapping[str, str],
) -> Response:
    """Return the page. Its button sends the form again, with the field `sure`.

    Args:
        writer: Writes it.
        call: The request.
        sure: What is asked.
        error: What was wrong with what was typed.
        about: The address, or the name of what it is about; "" for none.
        page: The path of the form.
        leave: The path to go back to.
        hidden: The fields of the form.
    """
    translate = call.language.translate
    values: dict[str, Any] = {
        "title": translate(sure.title),
        "text": translate(sure.text),
        "button": translate(sure.button),
        "types_email": sure.types_email,
        "about": about,
        "action": page,
        "leave": leave,
        "hidden": hidden,
    }
    if error is not None:
        return writer.write_form_again("sure.html", error, call, **values)
    return writer.write_page("sure.html", call, **values)
