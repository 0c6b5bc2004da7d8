"""The whole: real patients score at the floor, shuffled ones at the null, planted faults are seen, the ugly is told."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.errors import InputError, OptionError, SourceError
from ehr_pipeline.evaluate.timelines import references
from ehr_pipeline.evaluate.timelines.evaluate import evaluate_timelines
from ehr_pipeline.evaluate.timelines.references import prepare_timeline_references, shared_start
from ehr_pipeline.evaluate.timelines.result import TimelineEvaluation
from ehr_pipeline_tests.evaluate.timelines.examples import events, shuffled, stays

N = 240


@pytest.fixture(scope="module")
def real():
    train = stays(N, 1)
    rare = train[(train["code"] == "HR") & (train["subject_id"] <= 5)].assign(code="RARE", numeric_value=np.nan)
    return pd.concat([train, rare], ignore_index=True), stays(N, 2, first_id=10_000)


@pytest.fixture(scope="module")
def shared(real):
    return prepare_timeline_references(*real, n_synthetic=N, seed=0)


def judged(real, shared, synthetic) -> TimelineEvaluation:
    return evaluate_timelines(*real, synthetic, references=shared, seed=0)


@pytest.fixture(scope="module")
def fresh(real, shared):
    return judged(real, shared, stays(N, 3))


@pytest.fixture(scope="module")
def mixed(real, shared):
    return judged(real, shared, shuffled(real[0]))


def test_fresh_patients_score_at_the_floor(fresh):
    normalised = {name: score.normalised for name, score in fresh.scores.items() if score.normalised is not None}
    assert len(normalised) >= 15
    assert fresh.scores["mean_normalised"].value < 0.15
    assert fresh.scores["c2st_auc"].value == pytest.approx(0.5, abs=0.12)
    assert np.median(list(normalised.values())) < 0.1 and max(normalised.values()) < 0.9
    assert {fresh.scores[name].verdict for name in ("mean_normalised", "implausible_share")} == {"passed"}


def test_shuffled_events_score_at_the_null(mixed):
    averaged = ("prevalence_error", "bigram_tvd", "autocorrelation_error", "value_correlation_error", "c2st_auc")
    for name in averaged:
        assert mixed.scores[name].normalised == pytest.approx(1, abs=0.35), name
    assert mixed.scores["mean_normalised"].value > 0.8
    assert {mixed.scores[name].verdict for name in ("mean_normalised", "implausible_share", "tstr_auc")} == {"failed"}


def test_every_score_has_references_and_an_interval_around_it(fresh):
    for name, score in fresh.scores.items():
        # with few strangers there are none to spare to be singled out for the floor
        assert score.value is None or score.floor is not None or name.startswith("singled_out"), name
        if score.low is not None:
            assert score.low <= score.value <= score.high, name
    without = {name for name, score in fresh.scores.items() if score.low is None and score.value is not None}
    assert without <= {
        "rare_code_recall",
        "mean_normalised",
        "tstr_ece[outcome_after_24h]",
        "tstr_ece[outcome_after_47h]",
    }


def test_the_result_reads_back_as_it_was_and_prints(fresh):
    assert TimelineEvaluation.model_validate_json(fresh.model_dump_json()) == fresh
    assert "mean_normalised" in str(fresh) and "compared 240 patients" in str(fresh)


def test_tasks_are_asked_where_they_can_be_and_told_where_not(fresh):
    assert [task.name for task in fresh.tasks] == ["outcome_after_24h", "outcome_after_47h", "next_day_creatinine"]
    assert fresh.scores["tstr_auc"].floor > 0.7 and fresh.scores["tstr_auc"].value > 0.7
    assert fresh.scores["tstr_r2[next_day_creatinine]"].floor > 0.5
    assert sum("these events tell no discharge" in note for note in fresh.notes) == 3
    model = fresh.tasks[1].models[1]
    assert model.trained_on == "synthetic" and model.curve is not None and model.calibration
    assert round(fresh.tasks[1].share_positive * N) % 11 == 0


def test_events_after_death_are_seen(real, shared):
    made = stays(N, 3)
    dead = made.loc[made["code"] == "MEDS_DEATH", "subject_id"]
    made.loc[made["code"] == "MEDS_DEATH", "time"] = pd.Timestamp("2000-01-01T20:00")
    got = judged(real, shared, made)
    score = got.scores["implausible_share"]
    assert score.value >= 0.9 * len(dead) / N and score.verdict == "failed"
    assert next(one for one in got.plausibility.by_rule if one.rule == "E01").synthetic > 0


def test_half_of_the_stays_cut_is_seen(real, shared, fresh):
    made = stays(N, 3)
    is_cut = (made["subject_id"] % 2 == 0) & (made["time"] > pd.Timestamp("2000-01-01T12:00"))
    got = judged(real, shared, made[~(is_cut & (made["code"] != "MEDS_DEATH"))])
    for name in ("length_ks", "events_per_subject_ks"):
        assert got.scores[name].value > 0.3 > 2 * fresh.scores[name].value, name
    assert got.scores["missingness_error"].value > 4 * fresh.scores["missingness_error"].value
    assert got.scores["c2st_auc"].value > 0.7


def test_values_dealt_out_within_their_code_are_seen(real, shared, fresh):
    made = stays(N, 3)
    rng = np.random.default_rng(0)
    made["numeric_value"] = made.groupby("code")["numeric_value"].transform(lambda one: rng.permutation(one.to_numpy()))
    got = judged(real, shared, made)
    assert got.scores["value_ks_mean"].value == pytest.approx(fresh.scores["value_ks_mean"].value)
    for name in ("autocorrelation_error", "value_correlation_error", "same_time_correlation_error"):
        assert got.scores[name].normalised > 0.7 > fresh.scores[name].normalised, name


def test_small_real_cells_are_hidden(fresh):
    assert "RARE" not in {one.code for one in (*fresh.prevalence, *fresh.trajectories, *fresh.values)}
    assert "RARE" not in {*fresh.missingness.codes, *(one.code for one in fresh.transitions)}
    for one in (*fresh.trajectories, *fresh.outcome_trajectories):
        assert all(n is None or n == 0 or n >= 11 for n in one.real.n)
        assert all(
            n is not None and n >= 44 for n, low in zip(one.real.n, one.real.low, strict=True) if low is not None
        )
    shares = [share for row in fresh.missingness.real for share in row if share not in (None, 0.0, 1.0)]
    assert shares and all(abs(share * N / 11 - round(share * N / 11)) < 0.01 for share in shares)


def test_the_same_seed_gives_the_same_numbers(real, shared, fresh):
    assert judged(real, shared, stays(N, 3)).model_dump() == fresh.model_dump()


def test_many_patients_are_sampled_and_it_is_said(real, monkeypatch):
    monkeypatch.setattr(references, "MAX_PATIENTS", 60)
    got = evaluate_timelines(*real, stays(80, 3), seed=0)
    assert got.n_patients == {"train": 60, "holdout": 60, "synthetic": 60, "compared": 60}
    assert sum("60 of" in note for note in got.notes) == 3


def test_a_shared_clock_is_told_from_calendars():
    assert shared_start(stays(50, 1)) == np.datetime64("2000-01-01T00:00")
    apart = stays(50, 1)
    assert shared_start(apart.assign(time=apart["time"] + pd.to_timedelta(apart["subject_id"] * 9, unit="D"))) is None
    assert shared_start(apart[apart["time"].isna()]) is None


def test_the_index_event_is_hour_zero_on_calendars_of_their_own():
    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(time=frame["time"] + pd.to_timedelta(frame["subject_id"] * 9, unit="D"))

    def staged(seed: int, first_id: int = 1) -> pd.DataFrame:
        made = stays(60, seed, first_id)
        opening = made.drop_duplicates("subject_id").assign(
            code="ICU_ADMISSION//MICU", time=pd.Timestamp("2000-01-01T00:00"), numeric_value=np.nan
        )
        before = opening.assign(code="ADMISSION//URGENT", time=pd.Timestamp("1999-12-31T12:00"))
        return moved(pd.concat([made, opening, before], ignore_index=True))

    got = evaluate_timelines(staged(1), staged(2, 1000), staged(3), index="ICU_ADMISSION//", window_hours=48.0, seed=0)
    icu = got.missingness.codes.index("ICU_ADMISSION//MICU")
    assert got.missingness.synthetic[icu][0] == 1.0 and sum(got.missingness.synthetic[icu]) == 1.0
    assert sum(got.missingness.synthetic[got.missingness.codes.index("ADMISSION//URGENT")]) == 0


UGLY = {
    "no timed event": lambda one: one.assign(time=pd.NaT),
    "one code": lambda one: one.assign(code="HR"),
    "no number": lambda one: one.assign(numeric_value=np.nan),
    "infinite numbers": lambda one: one.assign(numeric_value=np.inf),
    "one event each": lambda one: one[one["time"].notna()].drop_duplicates("subject_id"),
    "one patient": lambda one: one[one["subject_id"] == one["subject_id"].iloc[0]],
    "no outcome": lambda one: one[one["code"] != "MEDS_DEATH"],
}


@pytest.mark.parametrize("what", UGLY)
def test_ugly_synthetic_events_are_judged_or_told_what_is_missing(real, shared, what):
    sound(judged(real, shared, UGLY[what](stays(N, 3))))


@pytest.mark.parametrize("what", ["no timed event", "one code", "no number"])
def test_ugly_real_events_are_judged_or_told_what_is_missing(what):
    tables = (stays(30, 1), stays(30, 2, 1000), stays(30, 3))
    got = evaluate_timelines(*(UGLY[what](one) for one in tables), seed=0)
    sound(got)
    assert {score.verdict for score in got.scores.values()} <= {"failed", "diagnostic"}  # thirty cannot show it


def sound(got: TimelineEvaluation) -> None:
    assert TimelineEvaluation.model_validate_json(got.model_dump_json()) == got
    assert all(score.note for score in got.scores.values() if score.value is None)


@pytest.mark.parametrize(
    ("synthetic", "options", "says"),
    [
        (events((1, 1, "Z", 1.0)), {}, "share no code"),
        (stays(40, 3).drop(columns="code"), {}, "lack the column code"),
        (stays(40, 3).assign(time=1.5), {}, "column time of the synthetic events holds numbers"),
        (stays(40, 3).assign(numeric_value="x"), {}, "holds no numbers"),
        (stays(40, 3).iloc[:0], {}, "are none"),
        (stays(40, 3), {"outcome": "NONE"}, "is no code of the real events"),
    ],
)
def test_wrong_input_is_one_line(synthetic, options, says):
    with pytest.raises(InputError, match=says) as caught:
        evaluate_timelines(stays(40, 1), stays(40, 2, 1000), synthetic, **options)
    assert "\n" not in str(caught.value) and isinstance(caught.value, SourceError | OptionError)
