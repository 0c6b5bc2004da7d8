"""One column that has a type of its own (Parquet, a data frame): what it is, read to typed values, and back.

What belongs here: everything between Arrow's types and the dtypes of `record.DTYPES`. What does not: columns of text
(`text_columns.py`, Parquet's too).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.errors import SourceError
from ehr_pipeline.record import DTYPES, Column, Kind, shown_count
from ehr_pipeline.tables import kinds
from ehr_pipeline.tables.identifiers import integer_format
from ehr_pipeline.tables.layout import ColumnLayout, Treatment
from ehr_pipeline.tables.number_format import MAXIMUM_DECIMALS

FLOAT32_DECIMALS = 6
"""A float32 has no more digits than this to say anything with."""


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text, in a dictionary or not."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)


def is_readable(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type can be learned from: no lists, structs or bytes."""
    return is_text(kind) or _is_whole(kind) or _is_real(kind) or _is_time(kind) or pa.types.is_null(kind)


def arrow_layout(field: pa.Field, values: pa.Array, declared: Column | None = None) -> ColumnLayout:
    """What a typed column is: as declared, else as inferred.

    Raises
    ------
    SourceError
        Infinite values, or a kind declared that the type cannot be.
    """
    name = field.name
    may_miss = field.nullable
    if values.null_count == len(values):
        return _made(name, "categorical", "empty", declared, may_miss)
    if not is_readable(field.type) or (declared is not None and declared.kind == "text"):
        return _made(name, "text", "left_out", declared, may_miss)
    return (_time_layout if _is_time(field.type) else _number_layout)(field, values, declared)


def _time_layout(field: pa.Field, values: pa.Array, declared: Column | None) -> ColumnLayout:
    name, may_miss = field.name, field.nullable
    _refuse(declared, name, field.type, ("time", "categorical"))
    kind = declared.kind if declared is not None else "time"
    times = read_arrow_values(values, Column(name=name, kind="time"))
    if times.notna().all() and (times == times.iloc[0]).all():
        return _made(name, kind, "constant", declared, may_miss, constant=times.iloc[0].isoformat())
    return _made(name, kind, "learned", declared, may_miss)


def _number_layout(field: pa.Field, values: pa.Array, declared: Column | None) -> ColumnLayout:
    name, may_miss = field.name, field.nullable
    numbers = numbers_of(values)
    missing = (("NaN", 1.0),) if np.isnan(numbers).sum() > values.null_count == 0 else ()
    n_infinite = int(np.isinf(numbers).sum())
    if n_infinite:
        raise SourceError(f"column {name} has infinite values in {shown_count(n_infinite)} rows; make them missing")
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return _made(name, "categorical", "empty", declared, may_miss, missing=missing)
    is_whole = bool((present == np.round(present)).all()) and np.abs(present).max() < 2.0**53
    decimals = None if is_whole else _decimals(present, field.type)
    if len(present) == len(numbers) and (present == present[0]).all():
        kind = declared.kind if declared is not None else "integer" if is_whole else "continuous"
        return _made(name, kind, "constant", declared, may_miss, constant=float(present[0]))
    kind = _kind(field, values, present, is_whole) if declared is None else declared.kind
    _refuse(
        declared, name, field.type, ("continuous", "categorical", *(("integer", "id") if is_whole else ()), "binary")
    )
    if kind == "binary" and not np.isin(present, (0, 1)).all():
        raise SourceError(f"column {name} is not only 0 and 1; the schema file says kind: binary")
    if kind == "id":
        exact = values.drop_null() if _is_integer(field.type) else pa.array(present)
        identifier = integer_format(name, pc.cast(exact, pa.int64(), safe=False).to_numpy(), largest(field.type))
        identifier = identifier.with_missing(len(numbers) - len(present), len(numbers))
        return _made(name, "id", "identifier", declared, may_miss, identifier=identifier)
    return _made(
        name,
        kind,
        "learned",
        declared,
        may_miss,
        decimals=decimals if kind == "continuous" else None,
        missing=missing,
        pool=None,
    )


def read_arrow_values(values: pa.Array, column: Column) -> pd.Series:
    """A typed column in the dtype of its kind."""
    kind = column.kind
    if kind == "time" or _is_time(values.type):
        naive = pc.local_timestamp(values) if getattr(values.type, "tz", None) else values
        times = pd.Series(naive.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False))
        times = times.astype("datetime64[us]")
        return times if kind == "time" else times.astype("str").where(times.notna())
    if kind == "text":
        return pd.Series([None] * len(values), dtype="str")
    if kind == "id":
        return pd.Series(pd.factorize(values.to_pandas())[0], dtype="Int64").replace(-1, pd.NA)
    numbers = pd.Series(numbers_of(values))
    if kind == "continuous":
        return numbers.round(column.decimals) if column.decimals is not None else numbers
    if kind == "categorical":
        return numbers.astype("Float64").astype("Int64").astype("str").where(numbers.notna())
    return numbers.astype("Float64").astype(DTYPES[kind])


def write_arrow_values(layout: ColumnLayout, values: pd.Series | pa.Array, field: pa.Field) -> pa.Array:
    """Typed values in the column's own Arrow type; what may not be null there is empty text.

    Raises
    ------
    SourceError
        A value does not fit the type.
    """
    kind = field.type
    array = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
    try:
        if array.null_count == len(array):
            array = pa.nulls(len(array), kind)
        elif pa.types.is_dictionary(kind):
            array = _in_dictionary(array, kind, layout.dictionary)
        elif _is_time(kind) and pa.types.is_timestamp(array.type):
            array = _timed(array, kind)
        elif pa.types.is_boolean(kind):
            array = pc.cast(array, pa.int8()).cast(kind)
        elif pa.types.is_decimal(kind):
            array = pc.round(array.cast(pa.float64()), ndigits=kind.scale).cast(kind, safe=False)
        elif pa.types.is_time(kind) or pa.types.is_duration(kind):
            array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
        else:
            array = array.cast(kind, safe=not pa.types.is_floating(kind))
        if layout.missing and layout.missing[0][0] == "NaN" and pa.types.is_floating(kind):
            array = pc.fill_null(array, pa.scalar(float("nan")).cast(kind))
        if array.null_count and not field.nullable:
            array = pc.fill_null(array, pa.scalar("").cast(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SourceError(
            f"column {layout.name} cannot be written as {kind}; give it another kind in a schema"
        ) from None
    return array


def _made(
    name: str, kind: Kind, treatment: Treatment, declared: Column | None, may_miss: bool, **how: object
) -> ColumnLayout:
    column = declared or Column(name=name, kind=kind, missing=may_miss)
    decimals = how.pop("decimals", None)
    if column.decimals is None and decimals is not None:
        column = column.model_copy(update={"decimals": decimals})
    return ColumnLayout(column=column, treatment=treatment, is_text=False, **how)


def _refuse(declared: Column | None, name: str, kind: pa.DataType, allowed: tuple[str, ...]) -> None:
    if declared is not None and declared.kind not in allowed:
        raise SourceError(f"column {name} is {kind}; the schema file says kind: {declared.kind}, which it cannot be")


def _kind(field: pa.Field, values: pa.Array, present: np.ndarray, is_whole: bool) -> Kind:
    if pa.types.is_boolean(field.type):
        return "binary"
    if pa.types.is_dictionary(field.type):
        return "categorical" if is_whole else "continuous"
    if pa.types.is_integer(field.type):  # exactly, for identifiers may be longer than a float holds
        present = pc.cast(values.drop_null(), pa.int64(), safe=False).to_numpy()
    elif is_whole:
        present = present.astype(np.int64)
    codes, found = pd.factorize(present)
    return kinds.kind_of_numbers(field.name, kinds.Distinct(values=found, counts=np.bincount(codes)), is_whole)


def _is_integer(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind)


def _is_whole(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(value) or pa.types.is_boolean(value)


def _is_real(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    durations = pa.types.is_time(value) or pa.types.is_duration(value)
    return pa.types.is_floating(value) or pa.types.is_decimal(value) or durations


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def largest(kind: pa.DataType) -> int:
    """The largest number that an integer type holds."""
    bits = kind.bit_width if pa.types.is_integer(kind) else 54
    return min(2**63 - 1, 2 ** (bits - (not pa.types.is_unsigned_integer(kind))) - 1)


def numbers_of(values: pa.Array) -> np.ndarray:
    """float64, NaN where missing; times of day and durations in their unit."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_time(values.type) or pa.types.is_duration(values.type):
        values = values.cast(pa.int32() if values.type.bit_width == 32 else pa.int64())
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _decimals(present: np.ndarray, kind: pa.DataType) -> int | None:
    """Digits after the point that all numbers keep to, exactly; None if there are too many."""
    if pa.types.is_decimal(kind):
        return kind.scale if kind.scale <= MAXIMUM_DECIMALS else None
    is_short = pa.types.is_float32(kind) or pa.types.is_float16(kind)
    width = np.float32 if is_short else np.float64
    tried, wanted = present[:1000], present.astype(width)
    for decimals in range(FLOAT32_DECIMALS + 1 if is_short else MAXIMUM_DECIMALS + 1):
        if (np.round(tried, decimals).astype(width) == wanted[:1000]).all() and (
            np.round(present, decimals).astype(width) == wanted
        ).all():
            return decimals
    return None


def _timed(times: pa.Array, kind: pa.DataType) -> pa.Array:
    if getattr(kind, "tz", None):
        zoned = pc.assume_timezone(
            times.cast(pa.timestamp(kind.unit)), kind.tz, ambiguous="earliest", nonexistent="earliest"
        )
        return zoned.cast(kind)
    return times.cast(kind, safe=False)


def _in_dictionary(values: pa.Array, kind: pa.DataType, levels: tuple[str, ...] | None) -> pa.Array:
    """Values as indices into a dictionary: the column's own levels, or those that occur."""
    plain = values.cast(kind.value_type)
    dictionary = pa.array(levels, kind.value_type) if levels is not None else plain.drop_null().unique()
    indices = pc.index_in(plain, value_set=dictionary).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=kind.ordered)
