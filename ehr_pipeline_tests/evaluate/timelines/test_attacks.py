"""What attacks on timelines promise: a clean sample passes, planted stays and stretches are found, a patient is one."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.attacks.copies import near_rows
from ehr_pipeline.evaluate.attacks.plants import COPIES, JITTERED, STRETCHES, plant
from ehr_pipeline.evaluate.attacks.sequences import LONG, SHORT, Keys, pieces, stand_in, stretches
from ehr_pipeline.evaluate.attacks.space import profile
from ehr_pipeline.evaluate.attacks.stays import StaySummaries
from ehr_pipeline.evaluate.attacks.stretches import Real
from ehr_pipeline.evaluate.attacks.timelines import TimelinePanel
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.evaluate.timelines.evaluate import evaluate_timelines
from ehr_pipeline.evaluate.timelines.rare import carriers, rare_content, summed
from ehr_pipeline.evaluate.timelines.stream import Timelines, conformed

from .examples import ORIGIN, events
from .examples import stays as stays_of

N = 1_600


def stays(n: int, seed: int, first_id: int = 1) -> pd.DataFrame:
    """Stays of a day."""
    return stays_of(n, seed, first_id, hours=24)


def read(frame: pd.DataFrame, codes: pd.Index) -> Timelines:
    frame = conformed(frame, "some")
    return Timelines.of(frame, codes, np.full(len(frame), ORIGIN))


@pytest.fixture(scope="module")
def real() -> list[pd.DataFrame]:
    return [stays(N, 1), stays(N, 2, first_id=N + 1)]


@pytest.fixture(scope="module")
def codes(real) -> pd.Index:
    return pd.Index(sorted(set(real[0]["code"]) | set(real[1]["code"])), dtype=object)


@pytest.fixture(scope="module")
def panel(real, codes) -> TimelinePanel:
    return TimelinePanel(*(read(side, codes) for side in real), codes, np.random.default_rng(0))


def assess(panel, frame):
    return panel.assess(read(frame, panel.codes), Thresholds(), np.random.default_rng(1))


@pytest.fixture(scope="module")
def clean(panel):
    return assess(panel, stays(N, 3))


def leaked(real, n: int, made: pd.DataFrame | None = None) -> pd.DataFrame:
    """Fresh stays, `n` of which are those of training patients (or `made` of theirs), a year later."""
    kept = stays(N, 3)
    kept = kept[kept["subject_id"] > n]
    own = real[0][real[0]["subject_id"] <= n] if made is None else made
    return pd.concat([kept, own], ignore_index=True)


def test_fresh_patients_pass_every_gate_and_every_attack_finds_its_plants(clean):
    scores, attacks = clean
    assert [attack.name for attack in attacks if not attack.found_plant] == []
    assert {attack.name for attack in attacks} == {
        "copies (stays)", "membership (stays)", "copies (events)", "membership (events)",
    }  # fmt: skip
    assert [score.name for score in scores.values() if score.verdict == "failed"] == []
    for name in ("copied_stretches_train", "stretch_membership_tpr_at_1%[isolated]", "exact_copies_train[stays]"):
        assert scores[name].verdict == "passed", name
        assert scores[name].low <= scores[name].value <= scores[name].high
        assert scores[name].floor is not None and scores[name].null is not None
    assert all(score.dimension == "privacy" for score in scores.values())
    assert scores["stretch_membership_auc[all]"].value == pytest.approx(0.5, abs=0.05)


def test_copied_stays_fail_copies_and_membership(panel, real):
    scores, _ = assess(panel, leaked(real, 80))
    for name in ("copied_stretches_train", "copied_stays_train", "exact_copies_train[stays]"):
        assert scores[name].verdict == "failed", name
    assert scores["copied_stays_train"].value == pytest.approx(0.05)
    assert scores["stretch_membership_tpr_at_1%[all]"].value > 0.05
    assert scores["membership_tpr_at_1%[stays, all]"].verdict == "failed"


def test_copied_stretches_fail_even_if_the_stay_around_them_is_another(panel, real, codes):
    own = real[0][real[0]["subject_id"] <= 80]
    timed = own[own["time"].notna()].sort_values(["subject_id", "time", "code"])
    cut = timed[timed.groupby("subject_id").cumcount().between(6, 25)]
    host = stays(N, 3)
    scores, _ = assess(panel, pd.concat([host, cut.assign(subject_id=cut["subject_id"] + 10**6)]))
    assert scores["copied_stretches_train"].verdict == "failed"
    assert scores["copied_stretches_train"].value == pytest.approx(0.05, abs=0.01)
    assert scores["copied_stays_train"].value == 0
    assert scores["exact_copies_train[stays]"].value == 0


def test_each_attack_says_which_plants_it_is_for(clean):
    attacks = {attack.name: attack for attack in clean[1]}
    assert {leak.plant for leak in attacks["copies (events)"].plants if leak.must_be_found} == {COPIES, STRETCHES}
    assert {leak.plant for leak in attacks["membership (events)"].plants if leak.must_be_found} == {COPIES}
    assert attacks["copies (events)"].planted_share == pytest.approx(0.01)
    assert all("[stays" in name for name in attacks["membership (stays)"].score_names)
    assert attacks["membership (stays)"].planted_score in attacks["membership (stays)"].score_names


def test_an_attack_that_misses_its_plant_fails(panel, real, monkeypatch):
    """As one planted patient among a thousand is missed, nothing then passes."""
    from ehr_pipeline.evaluate.attacks import timelines

    monkeypatch.setattr(timelines, "LEAK_SHARE", 0.001)
    scores, attacks = assess(panel, stays(N, 3))
    missed = [attack for attack in attacks if attack.name in ("copies (events)", "membership (events)")]
    assert not any(attack.found_plant for attack in missed)
    assert scores["copied_stretches_train"].verdict == "failed"
    assert "misses a leak" in scores["copied_stretches_train"].note


def test_few_patients_cannot_show_anything(codes):
    sides = [read(stays(80, seed, first_id=first), codes) for seed, first in ((1, 1), (2, 1001))]
    few = TimelinePanel(*sides, codes, np.random.default_rng(0))
    scores, _ = assess(few, stays(80, 3))
    assert "passed" not in {score.verdict for score in scores.values()}
    assert scores["copied_stretches_train"].verdict == "failed"


def test_a_patient_counts_once_however_many_stays_and_events(real, codes):
    """Half of the training stays belong to ten patients; copying all stays of one is one patient in 810."""
    owner = np.where(np.arange(N) < N // 2, np.arange(N) % 10, np.arange(N))
    sides = [read(side, codes) for side in real]
    panel = TimelinePanel(*sides, codes, np.random.default_rng(0), train_owner=owner)
    n_patients = 10 + N // 2
    assert panel.n_patients == n_patients
    assert panel.real.n_train == n_patients
    copied = real[0][real[0]["subject_id"].isin(1 + np.flatnonzero(owner == 3))]
    scores, _ = assess(panel, pd.concat([stays(N, 3, first_id=5_001), copied]))
    assert scores["copied_stretches_train"].value == pytest.approx(1 / n_patients)
    assert scores["copied_stays_train"].value == pytest.approx(1 / n_patients)


def test_the_same_seed_gives_the_same_numbers(panel, clean):
    again = assess(panel, stays(N, 3))
    assert {name: score.model_dump() for name, score in again[0].items()} == {
        name: score.model_dump() for name, score in clean[0].items()
    }


def test_pieces_are_the_same_wherever_in_time_they_stand_and_in_whatever_order_rows_are():
    codes = pd.Index(["A", "B"], dtype=object)
    rows = [(1, 1 + hour / 2, "AB"[hour % 2], float(hour)) for hour in range(12)] + [(1, None, "A", 5.0)]
    first = pieces(read(events(*rows), codes))
    later = [(one, hour and hour + 24, code, value) for one, hour, code, value in rows]
    assert len(first.short.key) == 12 - SHORT + 1 and len(first.long.key) == 12 - LONG + 1
    second = pieces(read(events(*later[::-1]), codes))
    for kind in ("short", "long", "stays", "values"):
        assert set(getattr(first, kind).key) == set(getattr(second, kind).key)


@pytest.mark.parametrize("changed", [(1, 3.5, "A", 5.0), (1, 3.52, "B", 5.0), (1, 3.5, "B", 5.5), (1, 3.5, "B", None)])
def test_another_code_minute_or_value_makes_another_stretch(changed):
    codes = pd.Index(["A", "B"], dtype=object)
    rows = [(1, 1 + hour / 2, "AB"[hour % 2], float(hour)) for hour in range(10)]
    other = [changed if hour == 3.5 else (one, hour, code, value) for one, hour, code, value in rows]
    found, made = (pieces(read(events(*some), codes)) for some in (rows, other))
    assert not stand_in(found.long.key, made.long.key).any()
    assert not stand_in(found.stays.key, made.stays.key).any()
    assert 0 < stand_in(found.short.key, made.short.key).sum() < len(found.short.key)


def test_a_stay_of_few_events_is_a_stretch_and_one_without_a_time_has_none():
    codes = pd.Index(["A"], dtype=object)
    found = pieces(read(events((1, 1, "A", 1.0), (1, 2, "A", 2.0), (2, None, "A", 3.0)), codes))
    assert found.n_owners == 2 and list(found.long.owner) == [0] and len(found.short.key) == 0
    assert not len(pieces(read(events((1, None, "A", 3.0)), codes)).stays.key)


def test_stretches_are_in_a_row_and_no_longer_than_asked():
    codes = pd.Index(["HR", "SysABP", "DiasABP", "Creatinine", "Age", "MEDS_DEATH"], dtype=object)
    whole = read(stays(50, 1), codes)
    cut = stretches(whole, 20, np.random.default_rng(0))
    assert set(np.bincount(cut.patient, minlength=50)) <= set(range(21))
    assert stand_in(pieces(cut).long.key[:5], pieces(whole).long.key).all()


def test_pieces_weigh_by_how_few_have_them():
    short = Keys(np.array([1, 1, 2, 3], dtype=np.uint64), np.array([0, 1, 0, 2]))
    none = Keys(np.empty(0, np.uint64), np.empty(0, np.int64))
    held = pieces(read(events((1, None, "A", 1.0)), pd.Index(["A"], dtype=object)))
    real = Real.of(type(held)(short=short, long=none, stays=none, values=none, n_owners=3), n_train=2)
    assert real.weight.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert real.rarity.tolist() == [0.75, 0.5, 1.0]
    assert real.foremost.tolist() == [0, 1]


def test_summaries_say_counts_hours_values_and_what_is_there():
    codes = pd.Index(["A", "B", "F"], dtype=object)
    made = read(
        events((1, 1, "A", 4.0), (1, 3, "A", 2.0), (1, 2, "F", None), (2, 5, "B", 1.0), (2, 5, "A", 7.0)), codes
    )
    frame = StaySummaries.of(made, made, codes).frame(made)
    first = frame.iloc[0]
    assert [first[f"A: {name}"] for name in ("events", "first hour", "last hour")] == [2, 1, 3]
    assert [first[f"A: {name}"] for name in ("first", "last", "mean", "least", "greatest")] == [4, 2, 3, 2, 4]
    assert first["events"] == 3 and first["length"] == 2 and first["F: there"] == 1 and first["F: first hour"] == 2
    assert np.isnan(first["B: mean"]) and first["B: events"] == 0
    assert frame.iloc[1]["A: mean"] == 7 and frame.iloc[1]["length"] == 0 and frame.iloc[1]["F: there"] == 0


def test_codes_that_are_called_like_a_summary_are_columns_of_their_own():
    codes = pd.Index(["events", "first", "hour A", "A", "length: there", "length"], dtype=object)
    made = read(events(*[(1, hour, code, hour % 2 and 1.0) for hour, code in enumerate(codes)]), codes)
    summaries = StaySummaries.of(made, made, codes)
    assert len(set(summaries.schema.names)) == len(summaries.schema.names) == summaries.frame(made).shape[1]


@pytest.mark.slow
def test_a_holdout_that_was_seen_gets_no_attack(real):
    small = [side[side["subject_id"] % 20 == 0] for side in real]
    seen = evaluate_timelines(*small, stays(80, 3), is_holdout_unseen=False, seed=0)
    assert seen.attacks == [] and not any(score.dimension == "privacy" for score in seen.scores.values())
    unseen = evaluate_timelines(*small, stays(80, 3), seed=0)
    assert len(unseen.attacks) == 4
    rest = {name: score for name, score in unseen.scores.items() if score.dimension == "fidelity"}
    assert rest == {name: score for name, score in seen.scores.items() if score.dimension == "fidelity"}


def test_rare_codes_and_texts_are_counted_by_patient_and_new_ones_are_nobodys():
    real = events(*[(who, 1, "COMMON", None) for who in range(6)], (1, 2, "RARE", None), (1, 3, "RARE", None))
    real["text_value"] = ["said"] * 6 + ["once", None]
    made = events((9, 1, "COMMON", None), (9, 1, "RARE", None), (9, 1, "NEW", None))
    made["text_value"] = ["said", "once", None]
    found = rare_content(carriers(real), made)
    assert (found.n_codes, found.n_texts, found.minimum) == (1, 1, 5)
    one_person = pd.Series(0, index=range(10))
    assert rare_content(carriers(real, one_person), made).n_codes == 2
    twice = summed([carriers(real), carriers(real)])
    assert rare_content(twice, made).n_codes == 1
    assert rare_content(summed([carriers(real)] * 5), made).n_codes == 0


def test_jittered_stays_of_hundreds_of_columns_are_still_near_copies(panel):
    people = panel.panel.people
    suspect = plant(people.train, people, np.random.default_rng(0))
    moved, copies = (profile(people.encoding, suspect.parts[name]) for name in (JITTERED, COPIES))
    assert not (moved == copies).all(axis=1).any()
    assert near_rows(moved, copies).mean() > 0.7  # of 16, each with a chance of 0.95


def test_values_that_one_patient_alone_has_fail_when_they_are_repeated_one_by_one():
    """Though no stretch of a stay is."""
    codes = pd.Index(["Age", "Creatinine", "DiasABP", "HR", "MEDS_DEATH", "SysABP", "X"], dtype=object)

    def with_own(frame, seed):
        one = frame.drop_duplicates("subject_id")
        own = np.random.default_rng(seed).random(len(one))
        return pd.concat([frame, one.assign(code="X", time=ORIGIN, numeric_value=own)], ignore_index=True)

    sides = [with_own(stays(400, seed, first_id=first), seed) for seed, first in ((1, 1), (2, 1_001))]
    panel = TimelinePanel(*(read(side, codes) for side in sides), codes, np.random.default_rng(0))
    strangers, _ = assess(panel, with_own(stays(400, 3), 3))
    assert strangers["rare_values_train"].value < strangers["rare_values_train"].threshold
    made = stays(400, 3)
    repeated = pd.concat([made, sides[0][sides[0]["code"] == "X"].assign(subject_id=made["subject_id"].iloc[-1])])
    scores, _ = assess(panel, repeated)
    assert scores["rare_values_train"].value == 1 > scores["rare_values_train"].threshold
    assert scores["rare_values_train"].verdict == "failed"
    assert scores["copied_stretches_train"].value < 0.01
