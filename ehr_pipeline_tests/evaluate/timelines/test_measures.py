"""Each measure on a case that can be computed by hand."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.timelines.codes import CodeUse
from ehr_pipeline.evaluate.timelines.courses import Courses
from ehr_pipeline.evaluate.timelines.draws import Draws, ks_statistics, r_squared
from ehr_pipeline.evaluate.timelines.features import group_values, summaries
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.rates import Rates
from ehr_pipeline.evaluate.timelines.relations import Relations, correlations
from ehr_pipeline.evaluate.timelines.shape import Shape
from ehr_pipeline.evaluate.timelines.stream import Timelines, conformed
from ehr_pipeline.evaluate.timelines.survival import Survival
from ehr_pipeline.evaluate.timelines.values import Values
from ehr_pipeline_tests.evaluate.timelines.examples import ORIGIN, events


def read(frame: pd.DataFrame, codes: list[str], start=ORIGIN) -> Timelines:
    return Timelines.of(conformed(frame, "test"), pd.Index(codes, dtype=object), np.full(len(frame), start))


def both(train: pd.DataFrame, other: pd.DataFrame, codes: list[str], window: float = 4.0):
    real, made = read(train, codes), read(other, codes)
    lists = CodeLists.of(real, pd.Index(codes, dtype=object), window)
    return real, made, lists


def values_of(measure, made) -> dict[str, float | None]:
    return {name: one.value for name, one in measure.readings(made, Draws(made.n_patients, None)).items()}


def test_events_are_ordered_by_patient_time_and_code_with_static_facts_first_and_birth_as_age():
    frame = events((2, 1, "B", 1.0), (1, 3, "A", None), (1, None, "S", 5.0), (1, 3, "B", 2.0), (2, 1, "A", 4.0))
    birth = pd.DataFrame(
        {"subject_id": [1], "time": [pd.Timestamp("1950-01-01")], "code": ["MEDS_BIRTH"], "numeric_value": [np.nan]}
    )
    got = read(pd.concat([frame, birth], ignore_index=True), ["B", "A", "S", "MEDS_BIRTH"])
    assert got.patient.tolist() == [0, 0, 0, 0, 1, 1]
    assert got.code.tolist() == [2, 3, 0, 1, 0, 1]
    assert got.is_timed.tolist() == [False, False, True, True, True, True]
    assert got.value[1] == pytest.approx(50, abs=0.01)
    assert got.subject_id.tolist() == [1, 2]


def test_shape_compares_events_codes_gaps_and_lengths():
    train = events((1, 0, "A", None), (1, 1, "A", None), (2, 0, "A", None), (2, 1, "B", None))
    other = events((1, 0, "A", None), (1, 1, "A", None), (1, 3, "A", None), (2, 0, "A", None), (2, 1, "X", None))
    real, made, lists = both(train, other, ["A", "B"])
    got = values_of(Shape(real, lists), made)
    assert got["events_per_subject_ks"] == pytest.approx(0.5)  # 2, 2 beside 3, 2
    assert got["distinct_codes_ks"] == pytest.approx(0.0)  # 1, 2 beside 1, 2: an unseen code is one
    assert got["time_gap_ks"] == pytest.approx(1 / 3)  # 1, 1 beside 1, 2, 1
    assert got["length_ks"] == pytest.approx(0.5)  # 1, 1 beside 3, 1
    assert got["unseen_code_share"] == pytest.approx(0.2)


def test_codes_compare_prevalence_pairs_next_codes_and_rates():
    rows = [(i, hour, code, None) for i in range(1, 21) for hour, code in ((0, "A"), (1, "B"), (2, "A"))]
    train = events(*rows)
    other = events(*[row for row in rows if not (row[0] <= 10 and row[2] == "B")])
    real, made, lists = both(train, other, ["A", "B"])
    use = CodeUse(real, lists)
    got = values_of(use, made)
    assert got["prevalence_error"] == pytest.approx(0.25)  # A: 1 and 1; B: 1 and a half
    assert got["bigram_tvd"] == pytest.approx(1 / 3)  # AB, BA: a half each; beside a third each and AA a third
    assert got["next_code_tvd"] == pytest.approx(0.25)  # after A: always B beside a half; after B: always A on both
    assert got["measurement_rate_error"] == pytest.approx(0.25)  # A: the same; B: half as many in as many days
    assert use.prevalences(made)[1].synthetic == pytest.approx(0.5)
    assert {(one.code, one.next_code): one.real for one in use.transitions(made)} == {("A", "B"): 0.5, ("B", "A"): 0.5}


def test_rare_codes_are_recalled_if_anyone_has_them():
    rows = [(i, 0, "A", None) for i in range(1, 101)]
    rare = [(i, 1, code, None) for code in ("R1", "R2") for i in range(1, 6)]
    real, made, lists = both(events(*rows, *rare), events(*rows, (1, 1, "R2", None)), ["A", "R1", "R2"])
    assert values_of(CodeUse(real, lists), made)["rare_code_recall"] == pytest.approx(0.5)


def test_rates_compare_hours_of_the_stay_of_the_day_and_who_has_nothing():
    train = events(*[(i, hour, "A", None) for i in range(1, 13) for hour in (0.5, 1.5)])
    other = events(*[(i, 0.5, "A", None) for i in range(1, 13)], *[(i, 25.5, "A", None) for i in range(1, 13)])
    real, made, lists = both(train, other, ["A"])
    rates = Rates(real, lists)
    got = values_of(rates, made)
    assert got["stay_hour_rate_error"] == pytest.approx(0.5)  # one event of two is gone from the window
    assert got["day_hour_tvd"] == pytest.approx(0.0)  # 25.5 hours is the second hour of a day
    assert got["missingness_error"] == pytest.approx(0.25)  # of 4 hours one has nobody now
    shown = rates.missingness(made)
    assert (shown.real, shown.synthetic) == ([[1.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]])
    assert rates.profiles(made)[0].real == [1.0, 1.0, 0.0, 0.0]


def test_values_compare_distributions_and_repeats():
    train = events(*[(i, hour, "A", i % 2) for i in range(1, 51) for hour in (0, 1)])
    other = events(*[(i, hour, "A", hour) for i in range(1, 51) for hour in (0, 1)])
    real, made, lists = both(train, other, ["A"])
    got = values_of(Values(real, lists), made)
    assert got["value_ks_mean"] == pytest.approx(0.0)
    assert got["value_repeat_error"] == pytest.approx(1.0)  # always the same beside never
    shifted = read(other.assign(numeric_value=7.0), ["A"])
    assert values_of(Values(real, lists), shifted)["value_ks_max"] == pytest.approx(1.0)


def test_autocorrelation_is_that_of_neighbours_less_the_patients_mean():
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(40, 6)).cumsum(axis=1)
    rows = [(i, h, "A", walk[i, h]) for i in range(40) for h in range(6)]
    real, made, lists = both(events(*rows), events(*rows), ["A"], window=8)
    centred = walk - walk.mean(axis=1, keepdims=True)
    wanted = np.corrcoef(centred[:, :-1].ravel(), centred[:, 1:].ravel())[0, 1]
    assert Relations(real, lists).lags[0] == pytest.approx(wanted)
    assert values_of(Relations(real, lists), made)["autocorrelation_error"] == 0


def test_correlations_are_over_rows_that_have_both():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
    x[rng.random(x.shape) < 0.3] = np.nan
    got = correlations(x, np.arange(60), Draws(60, np.random.default_rng(2)))
    assert np.allclose(got[0], pd.DataFrame(x).corr().to_numpy())
    assert len(got) > 50 and np.std(got[1:, 0, 1]) > 0


def test_values_of_one_time_are_compared_with_each_other():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(40, 3))
    train = events(*[(i, h, c, s * a[i, h]) for i in range(40) for h in range(3) for c, s in (("A", 1), ("B", 1))])
    other = events(*[(i, h, c, s * a[i, h]) for i in range(40) for h in range(3) for c, s in (("A", 1), ("B", -1))])
    real, made, lists = both(train, other, ["A", "B"])
    assert values_of(Relations(real, lists), made)["same_time_correlation_error"] == pytest.approx(2.0)
    apart = other.assign(time=other["time"] + pd.to_timedelta(np.where(other["code"] == "B", 5, 0), unit="m"))
    assert values_of(Relations(real, lists), read(apart, ["A", "B"]))["same_time_correlation_error"] == pytest.approx(1)


def test_courses_are_means_of_patients_and_quartiles_need_eleven_patients_beyond():
    train = events(*[(i, 0.5, "A", float(i % 5)) for i in range(60)], *[(i, 1.5, "A", 2.0) for i in range(30)])
    other = events(*[(i, 0.5, "A", float(i % 5) + 1) for i in range(60)])
    real, made, lists = both(train, other, ["A"])
    courses = Courses(real, lists, None)
    spread = np.std(np.concatenate([np.arange(60) % 5, np.full(30, 2.0)]))
    assert values_of(courses, made)["trajectory_error"] == pytest.approx(1 / spread)  # the empty hour is passed over
    shown = courses.trajectories(made)[0]
    assert (shown.real.median[:2], shown.real.low[:2]) == ([2.0, 2.0], [1.0, None])
    assert (shown.synthetic.median[:2], shown.synthetic.n[:2]) == ([3.0, None], [60, 0])


def test_the_effect_of_the_outcome_on_the_course_is_compared():
    def cohort(effect: float) -> pd.DataFrame:
        rows = [(i, h + 0.5, "A", float(i % 3) + effect * (i < 40)) for i in range(100) for h in range(3)]
        return events(*rows, *[(i, 3.9, "D", None) for i in range(40)])

    real, made, lists = both(cohort(2.0), cohort(0.0), ["A", "D"])
    courses = Courses(real, lists, 1)
    got = values_of(courses, made)["outcome_trajectory_error"]
    assert got * courses.spread[0] == pytest.approx(2.0, abs=0.05)
    assert values_of(courses, real)["outcome_trajectory_error"] == 0
    assert [one.outcome for one in courses.by_outcome(made)] == ["with D", "without D"]


def test_survival_is_kaplan_and_meiers():
    # 40 patients: 10 die at 10 hours, 10 leave at 20, 10 die at 30, the others stay until 40.
    rows = [(i, 0, "A", None) for i in range(40)] + [(i, 40, "A", None) for i in range(30, 40)]
    rows += [(i, 10, "MEDS_DEATH", None) for i in range(10)] + [(i, 20, "DISCHARGE//HOME", None) for i in range(10, 20)]
    rows += [(i, 30, "MEDS_DEATH", None) for i in range(20, 30)]
    codes = ["A", "MEDS_DEATH", "DISCHARGE//HOME"]
    unharmed = [row for row in rows if row[2] != "MEDS_DEATH"]
    real, made, lists = both(events(*rows), events(*unharmed), codes, window=40)
    survival = Survival(real, lists)
    question = survival.questions["death"]
    assert question.horizon == pytest.approx(40)
    at = {hour: question.curve[int(hour / 40 * 240)] for hour in (9, 11, 25, 31)}
    assert at == {9: 1.0, 11: pytest.approx(0.75), 25: pytest.approx(0.75), 31: pytest.approx(0.375)}
    got = values_of(survival, made)
    assert got["survival_gap[death]"] == pytest.approx(0.625)
    lost = (0.25 * 20 + 0.625 * 10) / 24  # days below 1
    assert got["rmst_error[death]"] == pytest.approx(lost, abs=0.01)
    assert "survival_gap[discharge]" not in got  # ten are fewer than eleven
    assert survival.curves(made)[0].real[-1] == pytest.approx(round(0.375 / 0.275) * 0.275)


def test_ks_is_exact_and_its_replicates_surround_it():
    rng = np.random.default_rng(4)
    reference, values = np.sort(rng.normal(size=400)), rng.normal(0.3, size=300)
    got = ks_statistics(reference, values, np.arange(300), Draws(300, rng))
    both_sides = np.concatenate([reference, values])
    cdfs = [np.searchsorted(np.sort(side), both_sides, side="right") / len(side) for side in (reference, values)]
    assert got[0] == pytest.approx(np.abs(cdfs[0] - cdfs[1]).max())
    assert abs(got[1:].mean() - got[0]) < 0.05 and 0.01 < got[1:].std() < 0.06
    assert ks_statistics(reference, np.array([]), np.array([], dtype=int), Draws(3, None))[0] == 1


def test_agreement_is_with_the_identity_line():
    truth = np.array([0.1, 0.2, 0.3])
    assert r_squared(truth, np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.2]])).tolist() == pytest.approx([1.0, 0.0])
    assert np.isnan(r_squared(np.array([0.5, 0.5]), np.array([[0.5, 0.5]])))[0]


def test_features_summarise_values_and_hide_what_is_predicted():
    frame = events((1, 0, "A", 1.0), (1, 2, "A", 5.0), (1, 1, "B", None), (2, 1, "B", None))
    timelines = read(frame, ["A", "B"])
    found = group_values(timelines, np.array([0]))
    assert [found[name][0, 0] for name in ("mean", "min", "max", "last")] == [3.0, 1.0, 5.0, 5.0]
    assert np.isnan(found["mean"][1, 0])
    lists = CodeLists.of(timelines, pd.Index(["A", "B"], dtype=object), 4.0)
    assert summaries(timelines, lists)[0].tolist() == [2.0, 1.0, 3.0, 1.0, 5.0, 5.0, 2.0, 3.0]
    assert summaries(timelines, lists, without=np.array([0]))[0].tolist() == [1.0, 2.0, 3.0]
