import itertools

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.errors import CheckFailed, DefinitionError, OptionError, RejectionCapReached
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.sanity.accept import draw_accepted, sensitive_groups, wilson_interval
from ehr_pipeline.sanity.binding import bind
from ehr_pipeline.sanity.rules import Rule, TableForm, load_rules
from ehr_pipeline_tests.sanity.conftest import SCHEMA, draw

HARD = [one for one in bind(SCHEMA, load_rules()) if one.rule.is_hard]


def _endless(pregnant_males, size=500):
    return (draw(size, seed, pregnant_males) for seed in itertools.count())


def test_exactly_the_rows_asked_for_are_written_and_all_are_sane(tmp_path):
    path = tmp_path / "t.parquet"
    account = draw_accepted(_endless(0.5), 1_234, SCHEMA, HARD, path)
    table = pd.read_parquet(path)
    assert len(table) == account.n_accepted == 1_234
    assert not ((table["sex"] == "M") & (table["pregnancy"] == 1)).any()
    assert list(table.columns) == SCHEMA.names
    assert table.dtypes.tolist() == conform(table, SCHEMA).dtypes.tolist()


def test_accepted_rows_are_the_sane_rows_in_the_order_drawn(tmp_path):
    path = tmp_path / "t.parquet"
    chunks = [draw(300, seed, 0.5) for seed in range(3)]
    draw_accepted(iter(chunks), 600, SCHEMA, HARD, path)
    drawn = pd.concat(chunks, ignore_index=True)
    sane = drawn[~((drawn["sex"] == "M") & (drawn["pregnancy"] == 1))]
    pd.testing.assert_frame_equal(pd.read_parquet(path), sane.head(600).reset_index(drop=True))


def test_account_counts_rows_up_to_the_last_accepted_one(tmp_path):
    chunks = [draw(300, seed, 0.5) for seed in range(3)]
    account = draw_accepted(iter(chunks), 600, SCHEMA, HARD, tmp_path / "t.parquet")
    drawn = pd.concat(chunks, ignore_index=True)
    is_bad = (drawn["sex"] == "M") & (drawn["pregnancy"] == 1)
    n_drawn = int((~is_bad).cumsum().searchsorted(600)) + 1
    used, bad = drawn.head(n_drawn), is_bad.head(n_drawn)
    assert account.n_drawn == n_drawn
    assert account.total.n_rejected == bad.sum() == n_drawn - 600
    assert account.rules["R64[sex, pregnancy]"].n_rejected == bad.sum()
    assert sum(rejection.n_rejected for rejection in account.rules.values()) == bad.sum()
    males = account.subgroups["sex", "M"]
    assert (males.n_drawn, males.n_rejected) == ((used["sex"] == "M").sum(), bad.sum())
    assert account.subgroups["sex", "F"].n_rejected == 0
    assert sum(group.n_drawn for (column, _), group in account.subgroups.items() if column == "age") == n_drawn
    shift = next(shift for shift in account.shifts if shift.column == "pregnancy")
    assert shift.accepted == pytest.approx(used.loc[~bad, "pregnancy"].mean())
    assert shift.shift_sd < 0


def test_account_is_plain_json_with_intervals(tmp_path):
    content = draw_accepted(_endless(0.5), 100, SCHEMA, HARD, tmp_path / "t.parquet").as_dict()
    rejection = content["rejection"]
    assert rejection["low"] < rejection["rate"] < rejection["high"]
    assert {entry["rule"] for entry in content["rules"]} == {one.key for one in HARD if one.columns}


def test_same_draws_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw_accepted(_endless(0.3), 700, SCHEMA, HARD, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_chunks_are_drawn_one_at_a_time_and_no_more_than_needed(tmp_path):
    taken = []

    def chunks():
        for seed in itertools.count():
            taken.append(seed)
            yield draw(100, seed)

    draw_accepted(chunks(), 250, SCHEMA, HARD, tmp_path / "t.parquet")
    assert taken == [0, 1, 2]
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3


def test_cap_reached_names_the_rule_that_rejects_most(tmp_path):
    only_bad = (frame.assign(sex="M", pregnancy=1).astype(frame.dtypes.to_dict()) for frame in _endless(0.0, size=100))
    with pytest.raises(RejectionCapReached, match=r"0 of 50 rows .* 150 draws; .* R64\[sex, pregnancy\] \(100.0%\)"):
        draw_accepted(only_bad, 50, SCHEMA, HARD, tmp_path / "t.parquet", max_draws=150)


def test_cap_is_not_reached_by_the_last_row_it_allows(tmp_path):
    account = draw_accepted(_endless(0.0, size=100), 150, SCHEMA, HARD, tmp_path / "t.parquet", max_draws=150)
    assert account.n_drawn == 150
    assert account.rejection_rate == 0.0


def test_chunks_that_end_too_early_are_a_failure(tmp_path):
    for chunks in ([], [draw(10)], [draw(10), draw(0), draw(10)]):
        with pytest.raises(CheckFailed, match="ended"):
            draw_accepted(iter(chunks), 20, SCHEMA, HARD, tmp_path / "t.parquet")


@pytest.mark.parametrize(("n", "max_draws"), [(0, None), (-1, None), (10, 9)])
def test_meaningless_numbers_are_refused(tmp_path, n, max_draws):
    with pytest.raises(OptionError):
        draw_accepted(_endless(0.0), n, SCHEMA, HARD, tmp_path / "t.parquet", max_draws=max_draws)


def test_rule_that_cannot_run_accepts_nothing(tmp_path):
    rule = Rule(
        id="T",
        title="broken",
        severity="hard",
        check="vitals",
        heading="plausibility",
        sources=("test",),
        table=TableForm(items=("systolic_bp",), violates="{systolic_bp} >"),
    )
    with pytest.raises(CheckFailed, match=r"T\[systolic_bp\]"):
        draw_accepted(_endless(0.0), 10, SCHEMA, bind(SCHEMA, [rule]), tmp_path / "t.parquet")


def test_chunk_without_a_column_of_the_schema_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="creatinine"):
        draw_accepted([draw(10).drop(columns="creatinine")], 5, SCHEMA, HARD, tmp_path / "t.parquet")


def test_table_without_rules_is_accepted_whole(tmp_path):
    account = draw_accepted(_endless(0.5), 100, SCHEMA, [], tmp_path / "t.parquet")
    assert (account.n_drawn, account.rules) == (100, {})


def test_every_kind_of_column_survives_the_file(tmp_path):
    kinds = ("continuous", "integer", "binary", "categorical", "time", "text", "id")
    schema = Schema(columns=tuple(Column(name=f"{kind} é\"'", kind=kind) for kind in kinds))
    values = [
        [1.5, None],
        [3, None],
        [1, None],
        ["a", None],
        [pd.Timestamp("2150-01-01"), None],
        ["b", None],
        [7, None],
    ]
    frame = conform(pd.DataFrame(dict(zip(schema.names, values, strict=True))), schema)
    draw_accepted([frame], 2, schema, bind(schema, load_rules()), tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)


def test_sensitive_numbers_are_banded_by_their_public_range():
    schema = Schema(
        columns=(
            Column(name="age", kind="integer", minimum=20, maximum=100, role="sensitive"),
            Column(name="sex", kind="categorical", role="sensitive"),
            Column(name="income", kind="continuous", role="sensitive"),
        )
    )
    frame = conform(pd.DataFrame({"age": [20, 40, 41, None], "sex": ["F", None, "M", "F"], "income": 1.0}), schema)
    groups = sensitive_groups(frame, schema)
    assert list(groups) == ["age", "sex"]
    assert groups["age"].tolist()[:3] == ["20 to 40", "20 to 40", "40 to 60"]
    assert groups["age"].isna().tolist() == [False, False, False, True]
    assert groups["sex"].isna().tolist() == [False, True, False, False]


def test_wilson_interval_against_known_values():
    low, high = wilson_interval(10, 100)  # 0.0552 to 0.1744 in Newcombe 1998
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 50)[0] == 0.0
    assert wilson_interval(50, 50)[1] == 1.0
