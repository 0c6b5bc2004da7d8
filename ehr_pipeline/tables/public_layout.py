"""The layout of a table whose patients must not be looked at: a private run, before anything is measured.

What belongs here: what a column is by its schema file, its name and its type alone, and reading values one by one by
that. What does not: what a fit then measures within its budget.

Format facts of the file count as public: delimiter, names and order of columns, their types. Kinds, bounds, levels,
decimals and whether values may be missing come from the schema. What a value in the file is depends on that value and
the schema alone: numbers beyond the bounds are set to them, and what is no value of the column is missing. Identifiers
are made anew in a format of their own, without a look at those that were there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.generators.category_codec import POOLED
from ehr_pipeline.record import DTYPES, Column
from ehr_pipeline.tables.arrow_columns import is_readable, is_text, largest, numbers_of
from ehr_pipeline.tables.binary_words import public_spelling, read_binary
from ehr_pipeline.tables.identifiers import IdentifierFormat, names_a_patient
from ehr_pipeline.tables.layout import ColumnLayout, Dialect, Layout, encoded
from ehr_pipeline.tables.number_format import NUMBER_WITH_COMMA, NumberFormat, is_number

_MOST_DIGITS = 14
"""Of a fresh identifier, so that any program holds it exactly."""


def public_layout(
    schema: pa.Schema, names: Sequence[str], declared: Mapping[str, Column], dialect: Dialect | None, origin: str
) -> Layout:
    """What the columns `names` are, without a look at one row.

    Raises
    ------
    DefinitionError
        The schema does not name a column, or says of one what its type cannot be; one line names all that lack.
    """
    lacking = [name for name in names if name not in declared]
    if lacking:
        raise DefinitionError(
            f"a private run reads nothing of a column but what the schema file says, and --schema does not name "
            f"{', '.join(lacking)}; name each with its kind (kind: text leaves a column out)"
        )
    fields = [schema.field(k).with_name(name) for k, name in enumerate(names)]
    columns = tuple(_column(field, declared[field.name], dialect) for field in fields)
    if dialect is not None:
        dialect = dialect.model_copy(update={"quoted": (), "quotes_missing": ()})
    arrow_schema = None if dialect is not None else encoded(_public_arrow(schema, columns))
    return Layout(columns=columns, dialect=dialect, arrow_schema=arrow_schema, source=origin)


def unit_column(layout: Layout) -> str | None:
    """The identifier whose values are the patients, by the schema alone; None where each row is one.

    Raises
    ------
    DefinitionError
        There are several and none has a patient's name.
    """
    identifiers = [column.name for column in layout.columns if column.treatment == "identifier"]
    if len(identifiers) < 2:
        return next(iter(identifiers), None)
    patients = [name for name in identifiers if names_a_patient(name)]
    if len(patients) != 1:
        raise DefinitionError(
            f"the schema has the identifiers {', '.join(identifiers)}, and a private run must know which is the "
            f"patient's; say kind: text for the others"
        )
    return patients[0]


def unit_line(layout: Layout) -> str:
    """Who counts as one patient, for a person."""
    name = unit_column(layout)
    return "one patient is one row: the schema names no identifier" if name is None else f"one patient is one {name}"


def public_values(layout: ColumnLayout, values: pa.Array) -> pd.Series:
    """Values in the dtype of their column's kind, each by itself: within the bounds, of the levels, else missing."""
    column = layout.column
    if layout.is_text:
        texts = pc.utf8_trim_whitespace(values.cast(pa.string()))
        if column.kind == "binary":
            return read_binary(texts, layout.spelled)
        if column.kind == "categorical":
            return _of_levels(texts.to_pandas().astype("str"), column)
        numbers = _read_numbers(texts)
    else:
        numbers = numbers_of(values)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    if column.kind in ("binary", "categorical"):
        whole = np.where((numbers == np.round(numbers)) & (np.abs(numbers) < 2.0**53), numbers, np.nan)
        if column.kind == "categorical":
            return _of_levels(pd.Series(whole).astype("Int64").astype("str").where(~np.isnan(whole)), column)
        numbers = np.where(np.isin(whole, (0, 1)), whole, np.nan)
    else:
        numbers = np.clip(numbers, column.minimum, column.maximum)
        decimals = 0 if column.kind == "integer" else column.decimals
        numbers = numbers if decimals is None else np.round(numbers, decimals)
    return pd.Series(numbers).astype("Float64").astype(DTYPES[column.kind])


def _read_numbers(texts: pa.Array) -> np.ndarray:
    has_comma = pc.fill_null(pc.match_substring_regex(texts, NUMBER_WITH_COMMA), False)
    texts = pc.if_else(has_comma, pc.replace_substring(texts, ",", "."), texts)
    is_numeric = pa.array(is_number(texts.fill_null("")))
    return pc.cast(pc.if_else(is_numeric, texts, None), pa.float64()).to_numpy(zero_copy_only=False)


def _of_levels(texts: pd.Series, column: Column) -> pd.Series:
    known = texts.isin(column.levels)
    if POOLED in column.levels:
        return texts.mask(~known & texts.notna() & (texts != ""), POOLED).where(texts != "")
    return texts.where(known)


def _column(field: pa.Field, declared: Column, dialect: Dialect | None) -> ColumnLayout:
    in_text = is_text(field.type)
    common = {"is_text": in_text, "is_public": True, "missing": (("", 1.0),) if dialect is not None else ()}
    if declared.kind == "text":
        return ColumnLayout(column=declared, treatment="left_out", **common)
    if declared.kind == "time":
        raise DefinitionError(
            f"column {declared.name} holds times, which no private generator writes; kind: text leaves it out"
        )
    if declared.is_number and (declared.minimum is None or declared.maximum is None):
        raise DefinitionError(
            f"column {declared.name}: a private run needs its minimum and maximum in the schema, and looks none up"
        )
    if declared.kind == "categorical" and declared.levels is None:
        raise DefinitionError(
            f"column {declared.name}: a private run needs its levels in the schema, and looks none up"
        )
    if in_text:
        return _text_column(field, declared, common)
    return _typed_column(field, declared, common)


def _text_column(field: pa.Field, declared: Column, common: dict) -> ColumnLayout:
    if declared.kind == "id":
        return ColumnLayout(column=declared, treatment="identifier", identifier=IdentifierFormat(form="uuid"), **common)
    levels = declared.levels
    if declared.kind == "binary":
        spelled = public_spelling(declared.name, levels)
        is_dictionary = pa.types.is_dictionary(field.type)
        plain = declared.model_copy(update={"levels": None})
        return ColumnLayout(column=plain, spelled=spelled, dictionary=spelled if is_dictionary else None, **common)
    if declared.kind == "categorical":
        return ColumnLayout(
            column=declared, dictionary=levels if pa.types.is_dictionary(field.type) else None, **common
        )
    decimals = 0 if declared.kind == "integer" else declared.decimals
    style = "float" if decimals is None else "fixed"
    return ColumnLayout(column=declared, number=NumberFormat(style=style, decimals=decimals), **common)


def _typed_column(field: pa.Field, declared: Column, common: dict) -> ColumnLayout:
    kind = field.type
    is_count = pa.types.is_integer(kind)
    is_quantity = is_count or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    fits = is_quantity or (pa.types.is_boolean(kind) and declared.kind in ("binary", "categorical"))
    if not is_readable(kind) or not fits:
        raise DefinitionError(
            f"column {declared.name} is {kind}; the schema file says kind: {declared.kind}, which it cannot be in a "
            f"private run (kind: text leaves it out)"
        )
    if declared.kind == "id":
        digits = min(_MOST_DIGITS, len(str(largest(kind))) - 2)
        identifier = IdentifierFormat(form="integer", digits=digits, maximum=largest(kind))
        return ColumnLayout(column=declared, treatment="identifier", identifier=identifier, **common)
    if declared.kind == "continuous" and is_count and declared.decimals is None:
        declared = declared.model_copy(update={"decimals": 0})
    return ColumnLayout(column=declared, pool=None, **common)


def _public_arrow(schema: pa.Schema, columns: Sequence[ColumnLayout]) -> pa.Schema:
    """Types and names alone: pandas' own notes count rows and categories, and a dictionary's index type its entries."""
    fields = []
    for field in schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = pa.dictionary(pa.int32(), kind.value_type, ordered=kind.ordered)
        fields.append(pa.field(field.name, kind, nullable=field.nullable))
    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    if not notes:
        return pa.schema(fields)
    types = [
        {key: one.get(key) for key in ("name", "field_name", "pandas_type", "numpy_type")} | {"metadata": None}
        for one in notes.get("columns", [])
        if one.get("pandas_type") != "categorical" and one.get("field_name") in schema.names
    ]
    said = {"index_columns": [], "column_indexes": [], "columns": types, "pandas_version": notes.get("pandas_version")}
    return pa.schema(fields, metadata={b"pandas": json.dumps(said).encode()})
