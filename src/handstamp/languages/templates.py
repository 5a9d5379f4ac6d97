"""Translate templates (Jinja): `_()`, `ngettext()` and `{% trans %}` in the language with which a template is rendered."""

from __future__ import annotations

import jinja2
from jinja2.runtime import Context


def install_translations(environment: jinja2.Environment) -> None:
    """Let the templates of an environment translate. They are rendered with a `Catalogue` as `language`.

    Marked texts are trusted HTML, and their values are escaped. A template imports macros that translate `with context`.
    """
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]  # the extension adds it


@jinja2.pass_context
def _gettext(context: Context, text: str) -> str:
    translation: str = context["language"].gettext(text)
    return translation


@jinja2.pass_context
def _ngettext(context: Context, one: str, many: str, count: int) -> str:
    translation: str = context["language"].ngettext(one, many, count)
    return translation
