"""The catalogues of languages: complete, up to date, and with the placeholders of the English texts."""

from __future__ import annotations

import ast
import html.parser
import re
from collections.abc import Iterator

import jinja2
import pytest
from babel.messages import Message
from jinja2 import nodes

from handstamp import errors
from handstamp.languages.choice import LANGUAGES
from tests.messages import SOURCE, TRANSLATED, collect, file_of, read, write

_PLACEHOLDER = re.compile(r"%\(\w+\)s|%%|%")
_TAG = re.compile(r"</?\w+|href=\"[^\"]*\"")
_PEOPLE = {"aria-label", "alt", "placeholder", "title"}
"""Attributes that people read."""
_MARKUP = {"body_data", "width"}
"""Blocks of the layout that stand within a tag."""
_WORDS = re.compile(r"[A-Za-z]{2,}")
_SENTENCE = re.compile(r"\w \w|^[A-Z][a-z]+$")
"""A constant of a template that looks as if a person read it."""
_FOR_OPERATORS = {
    *(
        "service/accounts/administer.py",
        "service/accounts/import_accounts.py",
        "service/operating/keys.py",
        "service/operating/history.py",
    ),
    *("domain/grant.py", "web/headers.py"),
}
_FOR_OPERATORS |= {"service/mailing/queue.py", "service/sessions/prove_again.py", "web/pages/development_mail.py"}
"""Files whose errors are shown by commands, or to developers: in an embedding application, and about preflights."""
_IN_ENGLISH = {"docs.html", "development_inbox.html", "development_mail.html"}
"""Pages for developers."""
_ROOMS = ("domain", "service", "web", "wire")
_WITHOUT_TEXT = {"InvalidToken", "InvalidDpopProof", "Unavailable", "ConfigurationError", "SessionEnded"}
"""Errors whose argument is for logs."""


def texts_of(message: Message) -> list[str]:
    """Return the translations of a text, one for each form."""
    return [message.string] if isinstance(message.string, str) else list(message.string or ("",))


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_is_up_to_date(language: str) -> None:
    """Its file has every marked text and no other, in the form in which `make messages` writes it."""
    assert file_of(language).read_text("utf-8") == write(language, read(language), collect()), "run: make messages"


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_is_complete(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No text is without a translation, doubtful, or, where there are several forms, without one of them."""
    catalogue = read(language)
    assert capsys.readouterr() == ("", "")  # Babel prints what is wrong
    assert len(catalogue) > 100
    wrong = [message.id for message in catalogue if message.id and (message.fuzzy or not all(texts_of(message)))]
    assert wrong == []
    for message in catalogue:
        if message.pluralizable:
            assert len(texts_of(message)) == catalogue.num_plurals


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_same_placeholders_and_tags(language: str) -> None:
    """A wrong name would raise where the text is shown. A form of a plural may leave out the count: "two seconds"."""
    for message in read(language):
        if not message.id:
            continue
        english = message.id if isinstance(message.id, str) else message.id[1]
        optional = {"%(count)s", "%(num)s"} if message.pluralizable else set[str]()
        wanted = sorted(_PLACEHOLDER.findall(english))
        for text in texts_of(message):
            found = sorted(_PLACEHOLDER.findall(text))
            assert found == wanted or found == [each for each in wanted if each not in optional], text
            assert sorted(_TAG.findall(text)) == sorted(_TAG.findall(english)), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_end_as_the_english_texts_do(language: str) -> None:
    """A sentence is a sentence, and a fragment is a fragment, which others are put together with."""
    for message in read(language):
        if message.id:
            english = message.id if isinstance(message.id, str) else message.id[1]
            for text in texts_of(message):
                assert text == text.strip()
                assert text.endswith((".", "؟", "?")) == english.endswith((".", "?")), text


def test_french_has_its_own_spaces_and_apostrophes() -> None:
    """A no-break space stands before `:`, `;`, `?`, `!` and within quotation marks, so that no line begins with them."""
    texts = [text for message in read("fr") if message.id for text in texts_of(message)]
    assert [text for text in texts if re.search(r"\w'\w| [:;?!»]|« ", text)] == []


def test_there_is_a_file_for_each_language_and_no_other() -> None:
    """The table of languages and the files are the same."""
    assert sorted(file.stem for file in (SOURCE / "languages").glob("*.po")) == TRANSLATED
    assert set(TRANSLATED) | {"en"} == set(LANGUAGES)


# --- no text is left unmarked


class _Texts(html.parser.HTMLParser):
    """Collects what people read in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_code = tag in {"script", "style"}
        self.found += [value or "" for name, value in attrs if name in _PEOPLE]

    def handle_data(self, data: str) -> None:
        if not self._is_code:
            self.found.append(data)


def unmarked_in_template(source: str) -> list[str]:
    """Return the texts of a template that are not marked."""
    environment = jinja2.Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    environment.install_gettext_callables(str, str, newstyle=True)  # type: ignore[attr-defined, unused-ignore]
    tree = environment.parse(source)
    marked = {
        id(constant)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name in {"_", "gettext", "ngettext"}
        for constant in call.find_all(nodes.Const)
    }
    constants = [each.value for each in tree.find_all(nodes.Const) if id(each) not in marked and isinstance(each.value, str)]
    parser = _Texts()
    within_tags = {
        id(data) for block in tree.find_all(nodes.Block) if block.name in _MARKUP for data in block.find_all(nodes.TemplateData)
    }
    parser.feed("\0".join(data.data for data in tree.find_all(nodes.TemplateData) if id(data) not in within_tags))
    return [text for text in parser.found if _WORDS.search(text)] + [text for text in constants if _SENTENCE.search(text)]


def test_every_text_of_a_template_is_marked() -> None:
    """No template has words outside `_()`, `ngettext()` and `{% trans %}`, except for pages for developers."""
    templates = [file for file in SOURCE.glob("**/templates/**/*") if file.is_file() and file.name not in _IN_ENGLISH]
    assert len(templates) > 5
    unmarked = {str(file.relative_to(SOURCE)): unmarked_in_template(file.read_text("utf-8")) for file in templates}
    assert {name: texts for name, texts in unmarked.items() if texts} == {}


@pytest.mark.parametrize(
    "template", ["<p>Some words</p>", '<b title="Words">1</b>', '{{ "Sign in" if x }}', "{% if x %}Words{% endif %}"]
)
def test_an_unmarked_text_of_a_template_is_found(template: str) -> None:
    """The search finds what it is for."""
    assert unmarked_in_template(template)
    assert unmarked_in_template(template.replace("Some words", "{{ _('Some words') }}")) == [] or "Some" not in template


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        return any(_is_text(part) for part in node.values)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"[a-z] | [a-z]", node.value) is not None


def _unmarked(node: ast.AST) -> Iterator[str]:
    """Yield the texts below a node that are in no call of `mark`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("mark"):
        return
    if _is_text(node):
        yield ast.unparse(node)
        return
    for child in ast.iter_child_nodes(node):
        yield from _unmarked(child)


def unmarked_in_code(source: str) -> list[str]:
    """Return the texts of errors, and of the problems of fields, that are not marked."""
    kinds = {name for name in dir(errors) if isinstance(getattr(errors, name), type)} | {"MethodNotAllowed"}
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    arguments = [
        argument
        for call in calls
        if (isinstance(call.func, ast.Name) and call.func.id in kinds - _WITHOUT_TEXT)
        or (isinstance(call.func, ast.Attribute) and call.func.attr == "__init__")
        or (isinstance(call.func, ast.Attribute) and call.func.attr == "append" and isinstance(call.args[0], ast.Tuple))
        for argument in call.args
    ]
    return [text for argument in arguments for text in _unmarked(argument)]


def test_every_text_of_an_error_is_marked() -> None:
    """Errors that people see are marked. The OAuth endpoints are ASCII (RFC 6749 §5.2), and commands are in English."""
    files = [file for room in _ROOMS for file in (SOURCE / room).rglob("*.py") if "oauth" not in file.parts]
    files.append(SOURCE / "errors.py")
    found = {
        name: [text for text in unmarked_in_code(file.read_text("utf-8")) if "See: handstamp" not in text]
        for file in files
        if (name := file.relative_to(SOURCE).as_posix()) not in _FOR_OPERATORS
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_an_unmarked_text_of_an_error_is_found() -> None:
    """The search finds what it is for."""
    assert unmarked_in_code('raise NotFound("There is nothing.")') == ["'There is nothing.'"]
    assert unmarked_in_code('raise InvalidFields([("email", f"has {x} parts")])') == ["f'has {x} parts'"]
    assert unmarked_in_code('super().__init__("a text" if x else mark("one"))') == ["'a text'"]
    assert unmarked_in_code('raise NotFound(mark("There is nothing."))') == []
