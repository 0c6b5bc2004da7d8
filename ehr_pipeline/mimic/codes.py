r"""Code templates such as `LAB//{itemid}//{valueuom}`: how columns become one text and come back from it.

What belongs here: rendering and parsing, in Python and as SQL text, each the inverse of the other. What does
not: which template an event has (`events.yaml`).

The parts of a template are joined by `//`; each is a fixed word or one column. A missing value is written
`UNK`. Three values would be ambiguous and are written with a backslash:

    UNK itself                              \UNK
    a backslash                             \b
    slashes of a part with `//` in it,      \s
    or with a slash at its end

so that units like `mg/dL` and drugs like `Metoprolol` stand as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEPARATOR = "//"
UNKNOWN = "UNK"
_COLUMN = re.compile(r"\{([a-z0-9_]+)\}")


@dataclass(frozen=True)
class Template:
    """A template's parts, in order: (text, is_column)."""

    parts: tuple[tuple[str, bool], ...]

    @classmethod
    def read(cls, text: str) -> Template:
        """The template that `text` writes."""
        matches = [(part, _COLUMN.fullmatch(part)) for part in text.split(SEPARATOR)]
        return cls(tuple((match[1], True) if match else (part, False) for part, match in matches))

    def __str__(self) -> str:
        return SEPARATOR.join(f"{{{text}}}" if is_column else text for text, is_column in self.parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it carries."""
        return tuple(text for text, is_column in self.parts if is_column)

    def render(self, values: dict[str, str | None]) -> str:
        """The code of one row.

        >>> Template.read("LAB//{itemid}//{valueuom}").render({"itemid": "51237", "valueuom": None})
        'LAB//51237//UNK'
        """
        return SEPARATOR.join(escape(values[text]) if is_column else text for text, is_column in self.parts)

    def parse(self, code: str) -> dict[str, str | None] | None:
        """The values of its columns in `code`, or None if the code is not one of this template's.

        >>> Template.read("LAB//{itemid}//{valueuom}").parse("LAB//50912//mg/dL")
        {'itemid': '50912', 'valueuom': 'mg/dL'}
        """
        found = code.split(SEPARATOR)
        if len(found) != len(self.parts):
            return None
        if any(part != text for part, (text, is_column) in zip(found, self.parts, strict=True) if not is_column):
            return None
        pairs = zip(found, self.parts, strict=True)
        return {text: unescape(part) for part, (text, is_column) in pairs if is_column}

    def render_sql(self, column_sql: dict[str, str]) -> str:
        """SQL of the code; `column_sql` gives the VARCHAR expression of each column."""
        texts = [escape_sql(column_sql[text]) if is_column else _quote(text) for text, is_column in self.parts]
        return f" || {_quote(SEPARATOR)} || ".join(texts)

    def match_sql(self, code: str = "code") -> str:
        """SQL that says whether a code is one of this template's."""
        if not self.columns:
            return f"{code} = {_quote(str(self))}"
        prefix = "".join(f"{text}{SEPARATOR}" for text, _ in self.parts[: self._first_column])
        tests = [f"starts_with({code}, {_quote(prefix)})", f"len({_split(code)}) = {len(self.parts)}"]
        for place, (text, is_column) in enumerate(self.parts, start=1):
            if not is_column and place > self._first_column:
                tests.append(f"{_split(code)}[{place}] = {_quote(text)}")
        return " AND ".join(tests)

    def part_sql(self, column: str, code: str = "code") -> str:
        """SQL of the value that a code carries for `column`, as VARCHAR."""
        return unescape_sql(f"{_split(code)}[{self.parts.index((column, True)) + 1}]")

    @property
    def _first_column(self) -> int:
        return next(place for place, (_, is_column) in enumerate(self.parts) if is_column)


def escape(value: str | None) -> str:
    """How a value stands in a code."""
    if value is None:
        return UNKNOWN
    if value == UNKNOWN:
        return f"\\{UNKNOWN}"
    value = value.replace("\\", "\\b")
    return value.replace("/", "\\s") if SEPARATOR in value or value.endswith("/") else value


def unescape(part: str) -> str | None:
    """The value that stands in a code; the inverse of `escape`."""
    if part == UNKNOWN:
        return None
    if part == f"\\{UNKNOWN}":
        return UNKNOWN
    return part.replace("\\s", "/").replace("\\b", "\\")


def escape_sql(value: str) -> str:
    """`escape` as SQL over a VARCHAR expression."""
    plain = rf"replace({value}, '\', '\b')"
    return (
        f"CASE WHEN {value} IS NULL THEN '{UNKNOWN}' WHEN {value} = '{UNKNOWN}' THEN '\\{UNKNOWN}' "
        f"WHEN contains({value}, '//') OR ends_with({value}, '/') THEN replace({plain}, '/', '\\s') ELSE {plain} END"
    )


def unescape_sql(part: str) -> str:
    """`unescape` as SQL over a VARCHAR expression."""
    return (
        f"CASE {part} WHEN '{UNKNOWN}' THEN NULL WHEN '\\{UNKNOWN}' THEN '{UNKNOWN}' "
        rf"ELSE replace(replace({part}, '\s', '/'), '\b', '\') END"
    )


def _split(code: str) -> str:
    return f"string_split({code}, '{SEPARATOR}')"


def _quote(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
