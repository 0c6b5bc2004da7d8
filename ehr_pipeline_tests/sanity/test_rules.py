from collections.abc import Callable, Iterator
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from ehr_pipeline.clinical import load_items
from ehr_pipeline.mimic.tables import tables
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity.binding import BoundRule, bind
from ehr_pipeline.sanity.judge import judge_real
from ehr_pipeline.sanity.rules import CHECK_NAMES, Rule, TableForm, load_rules, rules_hash
from ehr_pipeline.sanity.run import run_table_rules
from ehr_pipeline.sanity.warehouse import run_warehouse_rules
from ehr_pipeline_tests.sanity.examples import MEASURED, TABLE, WAREHOUSE

RULES = {rule.id: rule for rule in load_rules()}
TABLE_RULES = [rule_id for rule_id, rule in RULES.items() if rule.table]
WAREHOUSE_RULES = [rule_id for rule_id, rule in RULES.items() if rule.warehouse]
FULL_NAMES = {name.split(".")[1]: name for name in tables() if not name.startswith("mimiciv_ed")}


def test_every_rule_has_examples():
    assert set(TABLE) == set(TABLE_RULES)
    assert set(WAREHOUSE) | set(MEASURED) == set(WAREHOUSE_RULES)


def test_the_rules_cover_the_catalogue_of_79():
    numbers = {int(rule_id[1:3]) for rule_id in RULES}
    assert numbers == set(range(1, 80))


def test_every_item_a_rule_names_is_in_the_catalogue():
    named = {item for rule in RULES.values() if rule.table for item in rule.table.items}
    assert named <= set(load_items())


def test_every_table_a_rule_reads_is_a_table_of_mimic():
    read = {table for rule in RULES.values() if rule.warehouse for table in rule.warehouse.reads}
    assert read <= set(tables())


def test_every_rule_names_its_tables():
    for rule in RULES.values():
        if rule.warehouse:
            named = {name for name in tables() if name in rule.warehouse.checked}
            assert named == set(rule.warehouse.reads), rule.id


def test_every_check_of_a_rule_is_declared():
    assert {rule.check for rule in RULES.values()} <= set(CHECK_NAMES)


def test_judgement_must_be_marked_as_unconfirmed():
    body = {"id": "X", "title": "x", "severity": "hard", "check": "vitals", "heading": "plausibility", "sources": ["K"]}
    with pytest.raises(ValidationError, match="confirmed"):
        Rule(**body)
    assert not Rule(**body, confirmed=False).confirmed
    assert all(not rule.confirmed for rule in RULES.values() if "K" in rule.sources)


def test_a_rule_may_not_read_a_count():
    with pytest.raises(ValidationError, match="count"):
        TableForm(items=("creatinine",), statistics=("count",), violates="{creatinine} > 0")


def test_rules_hash_follows_what_the_rules_say():
    rules = load_rules()
    changed = (*rules[:-1], rules[-1].model_copy(update={"tolerance": 0.4}))
    assert rules_hash(rules) == rules_hash(tuple(rules)) != rules_hash(changed)


def _schema_of(form: TableForm) -> Schema:
    columns = [Column(name=f"{item} first", kind="continuous", item=item, statistic="first") for item in form.items]
    columns += [Column(name=named.names[-1].upper(), kind=named.kinds[0]) for named in form.columns.values()]
    return Schema(columns=tuple(columns))


def _frame_of(form: TableForm, schema: Schema, *rows: dict) -> pd.DataFrame:
    """A frame with a row per mapping of placeholder to value; an empty mapping is a row without values."""
    placeholders = [*form.items, *form.columns]
    cells = [[row.get(name) for row in rows] for name in placeholders]
    return conform(pd.DataFrame(dict(zip(schema.names, cells, strict=True))), schema)


def _bound(rule_id: str) -> tuple[Schema, list[BoundRule]]:
    schema = _schema_of(RULES[rule_id].table)
    return schema, [one for one in bind(schema, [RULES[rule_id]]) if one.rule.id == rule_id]


@pytest.mark.parametrize("rule_id", [rule_id for rule_id in TABLE_RULES if RULES[rule_id].table.grain == "row"])
def test_table_rule_fires_on_the_breach_and_not_beside_it_nor_on_what_is_missing(rule_id):
    schema, bound = _bound(rule_id)
    assert len(bound) == 1
    assert len(bound[0].columns) == len(schema.columns)
    kept, broken = TABLE[rule_id]
    rows = [kept, broken, {}, *({name: kept[name]} for name in kept if len(kept) > 1)]
    frame = _frame_of(RULES[rule_id].table, schema, *rows)
    ran = run_table_rules(
        frame, schema, [replace(bound[0], rule=bound[0].rule.model_copy(update={"severity": "hard"}))]
    )
    (result,) = ran.results
    assert result.could_run
    assert (result.n_checked, result.n_failed) == (2, 1)
    assert np.flatnonzero(ran.breaks_hard).tolist() == [1]


def test_rule_of_a_whole_table_is_checked_once():
    schema, bound = _bound("R79")
    kept, broken = (
        [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)] for rows in TABLE["R79"]
    )
    for rows, counts in ((kept, (1, 0)), (broken, (1, 1)), ([{}, {}], (0, 0)), (kept[:2], (1, 1))):
        ran = run_table_rules(_frame_of(RULES["R79"].table, schema, *rows), schema, bound)
        assert (ran.results[0].n_checked, ran.results[0].n_failed) == counts
        assert not ran.breaks_hard.any()


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Callable[..., duckdb.DuckDBPyConnection]]:
    """Makes a warehouse with the tables that some rules read and the rows given; each call empties it first."""
    with duckdb.connect(config={"threads": 1}) as connection:

        def make(rows_by_table: dict, *rule_ids: str) -> duckdb.DuckDBPyConnection:
            for schema in ("mimiciv_hosp", "mimiciv_icu"):
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
            for name in sorted({name for rule_id in rule_ids for name in RULES[rule_id].warehouse.reads}):
                connection.execute(tables()[name].create_sql())
            for short_name, rows in rows_by_table.items():
                for row in rows:
                    marks = ", ".join("?" for _ in row)
                    insert = f"INSERT INTO {FULL_NAMES[short_name]} ({', '.join(row)}) VALUES ({marks})"
                    connection.execute(insert, list(row.values()))
            return connection

        yield make


@pytest.mark.parametrize("rule_id", WAREHOUSE)
def test_warehouse_rule_fires_on_the_breach_and_not_beside_it(rule_id, warehouse):
    kept, broken = WAREHOUSE[rule_id]
    (keeps,) = run_warehouse_rules(warehouse(kept, rule_id), [RULES[rule_id]])
    (breaks,) = run_warehouse_rules(warehouse(broken, rule_id), [RULES[rule_id]])
    assert keeps.could_run
    assert breaks.could_run
    assert (keeps.n_checked > 0, keeps.n_failed) == (True, 0)
    assert breaks.n_failed > 0


@pytest.mark.parametrize("rule_id", MEASURED)
def test_measured_rule_fires_for_each_of_its_items(rule_id, warehouse):
    rule = RULES[rule_id]
    kept, broken = MEASURED[rule_id]
    items = [(table.split(".")[1], item) for table, ids in rule.warehouse.measured.items() for item in ids]
    rows = {}
    for table, item in items:
        values = [{"itemid": item, "valuenum": value} for value in (kept, broken, None)]
        rows.setdefault(table, []).extend(values)
    (result,) = run_warehouse_rules(warehouse(rows, rule_id), [rule])
    assert (result.n_checked, result.n_failed) == (2 * len(items), len(items))


def test_violating_sql_returns_the_records_that_are_counted(warehouse):
    connection = warehouse({"chartevents": [{"itemid": 220045, "valuenum": value} for value in (80, 0, 300)]}, "R34")
    rows = connection.execute(RULES["R34"].warehouse.violating).fetchall()
    assert len(rows) == 2


def test_every_warehouse_rule_runs_on_empty_tables_and_none_passes(warehouse):
    results = run_warehouse_rules(warehouse({}, *WAREHOUSE_RULES))
    assert len(results) == len(WAREHOUSE_RULES)
    assert all(result.could_run and not result.is_applicable for result in results)
    assert {one.verdict for one in judge_real(results)} == {"not_applicable"}


def test_rule_of_an_absent_table_is_not_applicable():
    results = run_warehouse_rules(duckdb.connect())
    assert all(result.could_run and not result.is_applicable for result in results)


def test_warehouse_rule_with_broken_sql_could_not_run(warehouse):
    form = RULES["R34"].warehouse.model_copy(update={"violates": "no_such_column > 1"})
    rule = RULES["R34"].model_copy(update={"warehouse": form})
    (result,) = run_warehouse_rules(warehouse({"chartevents": [{"itemid": 220045, "valuenum": 80}]}, "R34"), [rule])
    assert not result.could_run
    assert judge_real([result])[0].verdict == "could_not_run"
