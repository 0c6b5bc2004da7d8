"""Rules meet a patient table: which columns each rule reads, as SQL over columns c0, c1, ...

What belongs here: binding of the clinical rules to a schema, and the rules that a schema itself states. SQL never
holds a column's name, only its position, so a hostile name or two names that differ in case cannot change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ehr_pipeline.clinical.items import load_items
from ehr_pipeline.record import Column, Schema
from ehr_pipeline.sanity.rules import Check, Heading, Rule, TableForm

BODY_SIZE_ITEMS = frozenset({"height_cm", "weight_kg", "bmi"})
DEMOGRAPHIC_NAMES = frozenset(
    {"age", "sex", "gender", "race", "ethnicity", "language", "insurance", "marital_status", "bmi", "height", "weight"}
)
ORDER_RULE = "schema-order"
ORDERED_STATISTICS = frozenset({"first", "last", "min", "max", "mean"})
FLOAT_NOISE = 1e-9
"""Relative difference under which two floats are the same value."""


@dataclass(frozen=True, kw_only=True)
class BoundRule:
    """One rule on the columns that it reads; no columns where the table has none for it.

    Attributes
    ----------
    checked, violates
        SQL predicates over c0, c1, ... (positions in the schema): the records that the rule reads, and those that
        break it.
    parameters
        Values for the `?` of `violates`.
    """

    rule: Rule
    columns: tuple[str, ...] = ()
    checked: str = "false"
    violates: str = "false"
    parameters: tuple[Any, ...] = ()

    @property
    def key(self) -> str:
        """Name of the rule on these columns, such as `R46[creatinine_first]`."""
        return f"{self.rule.id}[{', '.join(self.columns)}]" if self.columns else self.rule.id


def bind(schema: Schema, rules: Iterable[Rule]) -> list[BoundRule]:
    """Every rule on every set of columns that it can read, then the rules that the schema states.

    A rule with a table form that finds no column gives one BoundRule without columns: not applicable. Rules
    without a table form are left out.
    """
    bound: list[BoundRule] = []
    for rule in rules:
        if rule.table is not None:
            bound += _bind_one(schema, rule, rule.table) or [BoundRule(rule=rule)]
    return bound + schema_rules(schema)


def _bind_one(schema: Schema, rule: Rule, form: TableForm) -> list[BoundRule]:
    """The rule on each combination of columns: items of one statistic, named columns each by its first match."""
    named = {placeholder: _named(schema, wanted.names, wanted.kinds) for placeholder, wanted in form.columns.items()}
    if not all(named.values()):
        return []
    bound = []
    for statistic in (*form.statistics, None) if form.items else (None,):
        measured = [_measured(schema, item, statistic) for item in form.items]
        for chosen in product(*measured):
            columns = dict(zip(form.items, chosen, strict=True)) | named
            bound.append(_bound(schema, rule, form, columns))
    return bound


def _bound(schema: Schema, rule: Rule, form: TableForm, columns: dict[str, Column]) -> BoundRule:
    positions = {placeholder: position(schema, column.name) for placeholder, column in columns.items()}
    return BoundRule(
        rule=rule,
        columns=tuple(column.name for column in columns.values()),
        checked=" AND ".join(f"{place} IS NOT NULL" for place in positions.values()),
        violates=form.violates.format_map(positions),
    )


def _measured(schema: Schema, item: str, statistic: str | None) -> list[Column]:
    return [column for column in schema.columns if column.item == item and column.statistic == statistic]


def _named(schema: Schema, names: Sequence[str], kinds: Sequence[str]) -> Column | None:
    wanted = {name.casefold() for name in names}
    found = (column for column in schema.columns if column.name.casefold() in wanted and column.kind in kinds)
    return next(found, None)


def position(schema: Schema, name: str) -> str:
    """SQL name of a column: its position in the schema."""
    return f"c{schema.names.index(name)}"


def schema_rules(schema: Schema) -> list[BoundRule]:
    """The HARD rules that a schema states: of each of its columns, and of the statistics of one item."""
    bound = [one for place, column in enumerate(schema.columns) for one in _column_rules(f"c{place}", column)]
    return bound + _order_rules(schema)


def _column_rules(place: str, column: Column) -> list[BoundRule]:
    has_value = f"{place} IS NOT NULL"
    bound = []

    def state(name: str, says: str, violates: str, parameters: tuple[Any, ...] = ()) -> None:
        rule = _stated(f"schema-{name}", says, domain(column), "conformance")
        bound.append(
            BoundRule(rule=rule, columns=(column.name,), checked=has_value, violates=violates, parameters=parameters)
        )

    if not column.missing:
        rule = _stated("schema-missing", "A value is there", "completeness", "completeness")
        bound.append(BoundRule(rule=rule, columns=(column.name,), checked="true", violates=f"{place} IS NULL"))
    if column.is_number:
        state("finite", "A number is finite", f"NOT isfinite({place}::DOUBLE)")
        if column.minimum is not None or column.maximum is not None:
            state(
                "range", "A number lies in its plausible range", f"NOT {place}::DOUBLE BETWEEN ? AND ?", limits(column)
            )
    if column.kind == "continuous" and column.decimals is not None:
        off_grid = f"abs({place} - round({place}, {column.decimals})) > {FLOAT_NOISE} * greatest(1, abs({place}))"
        state("resolution", "A number has no more decimals than its resolution", off_grid)
    if column.kind == "binary":
        state("levels", "A value is 0 or 1", f"{place} NOT IN (0, 1)")
    if column.levels is not None:
        marks = ", ".join("?" for _ in column.levels)
        state("levels", "A value is one of the levels", f"{place} NOT IN ({marks})", column.levels)
    return bound


def _order_rules(schema: Schema) -> list[BoundRule]:
    """No statistic of an item is under its minimum or above its maximum."""
    measured = [column for column in schema.columns if column.item and column.statistic in ORDERED_STATISTICS]
    bound = []
    for low, high in product(measured, measured):
        is_pair = low.item == high.item and low.statistic != high.statistic
        if is_pair and (low.statistic == "min" or high.statistic == "max"):
            places = position(schema, low.name), position(schema, high.name)
            bound.append(
                BoundRule(
                    rule=_stated(ORDER_RULE, "Minimum, mean and maximum are in order", domain(low), "plausibility"),
                    columns=(low.name, high.name),
                    checked=f"{places[0]} IS NOT NULL AND {places[1]} IS NOT NULL",
                    violates=f"{places[0]} > {places[1]} + {FLOAT_NOISE} * greatest(1, abs({places[1]}))",
                )
            )
    return bound


def _stated(rule_id: str, title: str, check: Check, heading: Heading) -> Rule:
    return Rule(id=rule_id, title=title, severity="hard", check=check, heading=heading, sources=("schema",))


def limits(column: Column) -> tuple[float, float]:
    """The column's range, widened by float noise, open where a side is not stated."""
    low = float("-inf") if column.minimum is None else column.minimum - FLOAT_NOISE * max(1.0, abs(column.minimum))
    high = float("inf") if column.maximum is None else column.maximum + FLOAT_NOISE * max(1.0, abs(column.maximum))
    return low, high


def domain(column: Column) -> Check:
    """The clinical domain whose check answers for a column."""
    if column.item in BODY_SIZE_ITEMS or column.name.casefold() in DEMOGRAPHIC_NAMES or column.role == "sensitive":
        return "demographics"
    item = load_items().get(column.item or "")
    if item is not None:
        return "laboratory" if item.codes[0].startswith("LAB//") else "vitals"
    return "codes_and_drugs" if column.kind in ("binary", "categorical") else "structure"
