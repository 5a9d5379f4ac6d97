"""Lay mail out by templates: the built-in ones, and those of a deployment, which replace some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..domain.mail import MAIL_KINDS
from ..errors import ConfigurationError

Format = Literal["txt", "html"]
FORMATS: tuple[Format, ...] = ("txt", "html")
ALL_KINDS = "mail"
"""The name of the template for every kind of mail that has none of its own."""
NAMES = frozenset(f"{name}.{form}" for name in (ALL_KINDS, *MAIL_KINDS) for form in FORMATS)


class Layout:
    """Renders mail with the templates of a folder, and with the built-in ones where it has none."""

    def __init__(self, folder: Path | None = None, files: Sequence[Path] = ()) -> None:
        """Use the templates of `folder`, which are these files, None for the built-in ones alone. They are read once."""
        self.files: Sequence[Path] = files
        own = [] if folder is None else [jinja2.FileSystemLoader(folder)]
        self._environment = ImmutableSandboxedEnvironment(
            loader=jinja2.ChoiceLoader([*own, jinja2.PackageLoader("handstamp.mail")]),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def check(self, name: str) -> None:
        """Compile a template. Raises `jinja2.TemplateError` if it has a mistake."""
        self._environment.get_template(name)

    def render(self, kind: str, form: Format, values: dict[str, Any]) -> str:
        """Return one part of a mail. Raises what its template raises."""
        return self._environment.select_template([f"{kind}.{form}", f"{ALL_KINDS}.{form}"]).render(values)


BUILT_IN = Layout()


def load_layout(folder: Path) -> Layout:
    """Return the layout of a deployment's folder, without rendering it yet.

    Raises:
        ConfigurationError: If there is no such folder, a file in it has a name that is never used, or a template has a mistake.
        OSError: If the folder cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"HANDSTAMP_MAIL_TEMPLATES: there is no folder {folder}.")
    layout = Layout(folder, sorted(path for path in folder.iterdir() if path.suffix in (".html", ".txt")))
    problems = []
    for file in layout.files:
        if file.name not in NAMES:
            problems.append(f"{file} has a name that no mail has. The names are: {', '.join(sorted(NAMES))}.")
            continue
        try:
            layout.check(file.name)
        except (jinja2.TemplateError, UnicodeDecodeError, OSError) as problem:
            line = getattr(problem, "lineno", None)
            problems.append(f"{file}{f', line {line}' if line else ''}: {problem}")
    if problems:
        raise ConfigurationError(*problems)
    return layout
