"""Maps structs to rows: one column for each field, converted by the field's type.

The statements are built from field names only. Values always travel as parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.inspect import (
    BoolType,
    BytesType,
    DictType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    TupleType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

S = TypeVar("S", bound=msgspec.Struct)
_JSON = (DictType, ListType, StructType, TupleType, VarTupleType)
_to_json = msgspec.json.Encoder().encode


class Column(msgspec.Struct, frozen=True):
    """A column: its kind (`integer`, `boolean`, `text`, `blob` or `json`), and whether it can be NULL."""

    name: str
    kind: str
    is_nullable: bool


class Columns(Generic[S]):
    """The columns of a struct, in the order of its fields."""

    def __init__(self, struct: type[S], *, without: Iterable[str] = ()) -> None:
        """Derive the columns.

        Args:
            struct: whose fields become columns.
            without: names of fields that have defaults and no column.

        Raises `TypeError` for a field whose type no column can hold.
        """
        fields = [field for field in msgspec.structs.fields(struct) if field.name not in without]
        self.columns: list[Column] = [_column_of(field.name, type_info(field.type)) for field in fields]
        self.kinds: dict[str, str] = {column.name: column.kind for column in self.columns}
        self.names: tuple[str, ...] = tuple(column.name for column in self.columns)
        self.list: str = ", ".join(self.names)
        self.marks: str = ", ".join("?" * len(self.names))
        self.encode: Callable[[S], list[Any]] = self.encoder(self.names)
        self.decoders: list[tuple[int, Callable[[Any], Any]]] = [
            (index, decode)
            for index, (column, field) in enumerate(zip(self.columns, fields, strict=True))
            if (decode := _decoder_of(column, field.type)) is not None
        ]
        """Converts values that are not NULL, by the index of their column."""
        self.decode: Callable[[Sequence[Any]], S] = _make_decode(struct, self.names, self.decoders)
        """Returns the struct of a row that has these columns in this order."""

    def encoder(self, names: Sequence[str]) -> Callable[[S], list[Any]]:
        """Return a function that returns a struct's values of these columns, as a statement takes them."""
        get: Callable[[S], Sequence[Any]] = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
        json = [index for index, name in enumerate(names) if self.kinds[name] == "json"]

        def encode(value: S) -> list[Any]:
            values = list(get(value))
            for index in json:
                if values[index] is not None:
                    values[index] = _to_json(values[index]).decode()
            return values

        return encode

    def marks_of(self, rows: int) -> str:
        """Return the marks of so many rows, for a statement that inserts them all."""
        return ", ".join([f"({self.marks})"] * rows)


def _column_of(name: str, kind: Type) -> Column:
    is_nullable = False
    if isinstance(kind, UnionType):
        others = [member for member in kind.types if not isinstance(member, NoneType)]
        is_nullable = len(others) < len(kind.types)
        kind = others[0] if len(others) == 1 else kind
    match kind:
        case IntType():
            return Column(name, "integer", is_nullable)
        case BoolType():
            return Column(name, "boolean", is_nullable)
        case BytesType():
            return Column(name, "blob", is_nullable)
        case StrType():
            return Column(name, "text", is_nullable)
        case LiteralType() if all(isinstance(value, str) for value in kind.values):
            return Column(name, "text", is_nullable)
        case _ if isinstance(kind, _JSON):
            return Column(name, "json", is_nullable)
    raise TypeError(f"no column can hold the field {name!r}: {kind!r}")


def _decoder_of(column: Column, kind: Any) -> Callable[[Any], Any] | None:
    """Return what converts a value that is not NULL; None if the value needs no conversion."""
    if column.kind == "json":
        return msgspec.json.Decoder(kind).decode
    return bool if column.kind == "boolean" else None


def _make_decode(
    struct: type[S], names: Sequence[str], decoders: Sequence[tuple[int, Callable[[Any], Any]]]
) -> Callable[[Sequence[Any]], S]:
    """Return a function from a row to its struct. Positional arguments are faster, if the struct takes them."""
    parameters = inspect.signature(struct).parameters
    is_positional = tuple(parameters) == tuple(names) and all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters.values())

    def decode(row: Sequence[Any]) -> S:
        values = list(row)
        for index, convert in decoders:
            value = values[index]
            if value is not None:
                values[index] = convert(value)
        return struct(*values) if is_positional else struct(**dict(zip(names, values, strict=True)))

    return decode
