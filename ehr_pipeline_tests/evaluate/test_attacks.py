import numpy as np
import pytest

from ehr_pipeline.evaluate.attacks.copies import Copies
from ehr_pipeline.evaluate.attacks.membership import Membership
from ehr_pipeline.evaluate.attacks.panel import Panel
from ehr_pipeline.evaluate.attacks.people import gather, plant
from ehr_pipeline.evaluate.attacks.rates import chance_hits, hits_at, ranking_auc
from ehr_pipeline.evaluate.attacks.space import nearest, points
from ehr_pipeline.evaluate.encoding import Encoding, stack
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline_tests.evaluate.examples import SCHEMA, patients


def encoded(*sizes_and_seeds):
    """An encoding learned from the first table, and all of them in it."""
    frames = [patients(n, seed) for n, seed in sizes_and_seeds]
    encoding = Encoding.learn(frames[0], SCHEMA)
    return encoding, [encoding.encode(frame) for frame in frames]


@pytest.fixture(scope="module")
def panel():
    encoding, (train, holdout) = encoded((2000, 1), (1500, 2))
    rng = np.random.default_rng(0)
    return Panel(encoding, train=train, holdout=holdout, permuted=train.permuted(rng), secrets=("sick",), rng=rng)


@pytest.fixture(scope="module")
def fresh(panel):
    return panel.people.encoding.encode(patients(2000, 3))


def assess(panel, table):
    return panel.assess(table, Thresholds(), np.random.default_rng(1))


def test_nearest_agrees_with_every_distance_written_out():
    rng = np.random.default_rng(0)
    queries, reference = rng.normal(size=(40, 6)).astype(np.float32), rng.normal(size=(70, 6)).astype(np.float32)
    reference[5] = queries[3]
    every = np.sqrt(((queries[:, None].astype(float) - reference) ** 2).sum(axis=2))
    distances, places = nearest(queries, reference, 3)
    assert distances == pytest.approx(np.sort(every, axis=1)[:, :3], abs=1e-6)
    assert distances[3, 0] == 0
    assert places[3, 0] == 5


def test_a_differing_category_is_as_far_as_one_standard_deviation():
    encoding, (table,) = encoded((500, 0))
    other = table.codes.copy()
    place = encoding.categorical.index("sex")
    other[:, place] = 1 - other[:, place]
    moved = type(table)(table.numbers, other, table.patient)
    gap = points(encoding, table)[0] - points(encoding, moved)[0]
    assert (gap**2).sum() == pytest.approx(1, abs=1e-6)


def test_hits_are_counted_above_the_outsiders_that_may_be_wrong():
    # of 100 outsiders one may be wrong: the limit is the second highest, 98, and ties are not hits
    reading = hits_at(np.array([98.0, 98.5, 200.0, 1.0]), np.arange(100.0), 0.01)
    assert reading.value == 0.5
    assert ranking_auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])).value == 1


def test_chance_limit_of_hits_is_exceeded_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    limit = chance_hits(200, 200, 0.01, 0.95)
    draws = [hits_at(rng.normal(size=200), rng.normal(size=200), 0.01).value for _ in range(2000)]
    assert np.mean(np.array(draws) > limit) <= 0.06


def test_copies_are_counted_in_all_columns_and_gaps_are_equal():
    _, (train, holdout, other) = encoded((300, 1), (300, 2), (300, 3))
    copies = Copies(train, holdout)
    has_gap = np.flatnonzero(np.isnan(train.numbers).any(axis=1))[:3]
    mixed = stack(other.take(np.arange(297)), train.take(has_gap))
    assert copies.readings(mixed)["exact_copies_train"].value == pytest.approx(0.01)
    assert copies.readings(mixed)["exact_copies_holdout"].value == 0


def test_a_table_of_copies_gives_every_member_away():
    encoding, (train, holdout) = encoded((300, 1), (300, 2))
    people = gather(encoding, train, holdout, np.random.default_rng(0))
    readings = Membership(people).attack(train)
    assert readings["membership_auc[all]"].value > 0.95
    assert readings["membership_tpr_at_1%[all]"].value > 0.9


def test_the_twin_has_one_percent_copies_of_the_most_isolated(panel, fresh):
    suspect = plant(fresh.take(np.arange(1000)), panel.people, np.random.default_rng(0))
    assert len(suspect.planted) == len(suspect.replaced) == 10
    assert suspect.n_rows == 1000
    assert panel.copies.planted_value(suspect) == 0.01


def test_a_long_table_has_no_more_planted_than_one_percent_of_the_training_rows(panel):
    long = panel.people.encoding.encode(patients(20_000, 4))
    suspect = plant(long, panel.people, np.random.default_rng(0))
    assert len(suspect.planted) == 20
    assert suspect.n_rows == 20_000
    assert suspect.planted_share == 0.001


def test_copies_of_training_rows_alone_fail_where_copies_of_both_pass():
    _, (train, holdout, other) = encoded((7000, 1), (3000, 2), (9983, 3))
    copies = Copies(train, holdout)
    leaky = stack(other, train.take(np.arange(17)))
    chance = stack(other, stack(train.take(np.arange(17)), holdout.take(np.arange(7))))
    for table, is_refused in ((leaky, True), (chance, False)):
        value = copies.readings(table)["exact_copies_train"].value
        assert (value > copies.chance_limit(table, 0.995)) == is_refused


def test_a_clean_table_passes_and_every_attack_finds_its_plant(panel, fresh):
    scores, attacks = assess(panel, fresh)
    assert {attack.name: attack.found_plant for attack in attacks} == {
        "exact copies": True,
        "membership": True,
        "attribute inference: sick": True,
    }
    assert {name: score.verdict for name, score in scores.items() if score.threshold is not None} == {
        "exact_copies_train": "passed",
        "membership_auc[all]": "diagnostic",
        "membership_tpr_at_1%[all]": "diagnostic",
        "membership_tpr_at_1%[isolated]": "passed",
        "attribute_tpr_at_1%[sick]": "passed",
    }


def test_a_gate_whose_own_plant_is_within_its_limit_can_fail_and_not_pass(panel, fresh):
    average = "membership_auc[all]"
    _, twin = panel.membership.attack_with_control(plant(fresh, panel.people, np.random.default_rng(0)))
    clean, leaky = (assess(panel, table)[0][average] for table in (fresh, panel.people.train))
    assert twin[average].value <= clean.threshold
    assert clean.verdict == "diagnostic"
    assert "hardly moves" in clean.note
    assert leaky.verdict == "failed"


def test_two_percent_copies_of_unusual_patients_fail(panel, fresh):
    unusual = panel.people.train.take(np.r_[panel.people.isolated_members[:30], panel.people.isolated_others[:10]])
    scores, _ = assess(panel, stack(fresh.take(np.arange(1960)), unusual))
    for name in ("exact_copies_train", "membership_tpr_at_1%[isolated]", "attribute_tpr_at_1%[sick]"):
        assert scores[name].verdict == "failed", name


def test_jittered_copies_escape_the_copy_attack_and_not_the_membership_attack(panel, fresh):
    unusual = panel.people.train.take(panel.people.isolated_members[:40])
    moved = type(unusual)(unusual.numbers + 0.01, unusual.codes, unusual.patient)
    scores, _ = assess(panel, stack(fresh.take(np.arange(1960)), moved))
    assert scores["exact_copies_train"].verdict == "passed"
    assert scores["membership_tpr_at_1%[isolated]"].verdict == "failed"


def test_an_attack_that_misses_its_plant_is_not_shown_as_passed():
    encoding, (train, holdout, fresh) = encoded((200, 1), (120, 2), (200, 3))
    rng = np.random.default_rng(0)
    small = Panel(encoding, train=train, holdout=holdout, permuted=train.permuted(rng), secrets=(), rng=rng)
    scores, attacks = assess(small, fresh)
    missed = [attack for attack in attacks if not attack.found_plant]
    assert missed
    for name in {name for attack in missed for name in attack.score_names}:
        assert scores[name].verdict != "passed"
    assert "planted leak" in scores["exact_copies_train"].note


def test_a_table_so_coarse_that_strangers_coincide_cannot_pass_the_copy_attack():
    schema = SCHEMA.without(set(SCHEMA.names) - {"sex", "sick", "died"})
    frames = [patients(1000, seed)[schema.names] for seed in (1, 2, 3)]
    encoding = Encoding.learn(frames[0], schema)
    train, holdout, fresh = (encoding.encode(frame) for frame in frames)
    rng = np.random.default_rng(0)
    panel = Panel(encoding, train=train, holdout=holdout, permuted=train.permuted(rng), secrets=(), rng=rng)
    scores, _ = assess(panel, fresh)
    assert scores["exact_copies_train"].value == 1
    assert scores["exact_copies_train"].verdict == "failed"
