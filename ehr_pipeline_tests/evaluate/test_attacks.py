import numpy as np
import pytest
from scipy.stats import hypergeom

from ehr_pipeline.evaluate.attacks.copies import EXACT, Copies, near_rows
from ehr_pipeline.evaluate.attacks.findings import Levels, Outcome
from ehr_pipeline.evaluate.attacks.inference import quasi_identifiers
from ehr_pipeline.evaluate.attacks.membership import Membership
from ehr_pipeline.evaluate.attacks.panel import Panel
from ehr_pipeline.evaluate.attacks.people import gather
from ehr_pipeline.evaluate.attacks.plants import COPIES, JITTERED, RARE, TABLE, alone, plant
from ehr_pipeline.evaluate.attacks.rarity import RARE_SHARE
from ehr_pipeline.evaluate.attacks.rates import chance_count, chance_hits, hits_at, ranking_auc
from ehr_pipeline.evaluate.attacks.singling import Index, Predicates
from ehr_pipeline.evaluate.attacks.space import AGREE, nearest, points, profile, row_keys
from ehr_pipeline.evaluate.encoding import Encoded, Encoding, stack
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline_tests.evaluate.examples import SCHEMA, patients

KNOWN = ("age", "sex", "site", "weight")
LEVELS = Levels(Thresholds(), n_gates=8, n_watched=10)


def encoded(*sizes_and_seeds):
    """An encoding learned from the first table, and all of them in it."""
    frames = [patients(n, seed) for n, seed in sizes_and_seeds]
    encoding = Encoding.learn(frames[0], SCHEMA)
    return encoding, [encoding.encode(frame) for frame in frames]


@pytest.fixture(scope="module")
def panel():
    encoding, (train, holdout) = encoded((2500, 1), (1500, 2))
    return panel_of(encoding, train, holdout, secrets=("sick",))


def panel_of(encoding, train, holdout, secrets=()):
    rng = np.random.default_rng(0)
    tables = {"train": train, "holdout": holdout, "permuted": train.permuted(rng)}
    return Panel(encoding, **tables, secrets=secrets, rng=rng, known=KNOWN, sensitive=("sex",))


@pytest.fixture(scope="module")
def fresh(panel):
    return panel.people.encoding.encode(patients(2000, 3))


def most_isolated(panel, n):
    """Rows of the training patients who stand out most."""
    return panel.people.train.take(np.argsort(-panel.people.train_isolation)[:n])


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


def test_chance_limit_of_counts_is_that_of_the_hypergeometric_distribution():
    for n, m, n_outside, level in ((2800, 1200, 0, 0.997), (50, 20, 7, 0.9), (100, 100, 100, 0.99), (10, 300, 0, 0.99)):
        counts = np.arange(n + 1)
        is_chance = hypergeom.sf(counts - 1, n + m, n, counts + n_outside) > 1 - level
        assert chance_count(n, m, n_outside, level) == counts[is_chance].max()


def copies_of(encoding, train, holdout):
    rng = np.random.default_rng(0)
    return Copies(gather(encoding, train, holdout, rng), train, holdout, train.permuted(rng))


def test_copies_are_counted_in_all_columns_and_gaps_are_equal():
    encoding, (train, holdout, other) = encoded((300, 1), (300, 2), (300, 3))
    copies = copies_of(encoding, train, holdout)
    has_gap = np.flatnonzero(np.isnan(train.numbers).any(axis=1))[:3]
    mixed = stack(other.take(np.arange(297)), train.take(has_gap))
    readings = copies.readings(mixed)
    assert readings["exact_copies_train"].value == pytest.approx(0.01)
    assert readings["exact_copies_holdout"].value == 0
    assert readings["near_copies_train[all]"].value >= 0.01


def test_a_near_copy_has_the_same_levels_and_every_number_within_a_small_share_of_its_spread():
    encoding, (table,) = encoded((400, 1))
    here = table.take(np.flatnonzero(~np.isnan(table.numbers).any(axis=1))[:50])
    near, far, other = (0.9 * AGREE, 0, 0), (1.1 * AGREE, 0, 0), (0, 0, 1)
    is_near = []
    for shift, _, level in (near, far, other):
        numbers = here.numbers.copy()
        numbers[:, 0] += shift * encoding.scale[0]
        moved = Encoded(numbers, here.codes + level, here.patient)
        every = (np.abs(profile(encoding, here)[:, None] - profile(encoding, moved)) <= AGREE).all(axis=2).any(axis=1)
        found = near_rows(profile(encoding, here), profile(encoding, moved))
        assert (found == every).all()
        is_near.append(found.mean())
    assert is_near[0] == 1
    assert is_near[1] < 0.2
    assert is_near[2] < 0.2


def test_a_patient_who_is_copied_many_times_counts_once():
    encoding, (train, holdout, other) = encoded((700, 1), (300, 2), (900, 3))
    copies = copies_of(encoding, train, holdout)
    table = stack(other, train.take(np.zeros(100, dtype=int)))
    outcome = copies.outcomes(alone(table), LEVELS)[TABLE]
    assert outcome.readings[EXACT].value == 0.1
    assert not outcome.alarms()


def test_a_table_of_copies_gives_every_member_away():
    encoding, (train, holdout) = encoded((300, 1), (300, 2))
    rng = np.random.default_rng(0)
    people = gather(encoding, train, holdout, rng)
    readings = Membership(people, {}, train.permuted(rng), rng).attack(train)
    assert readings["membership_auc[all]"].value > 0.95
    assert readings["membership_density_auc[all]"].value > 0.55
    assert readings["membership_tpr_at_1%[all]"].value > 0.9
    assert readings["membership_tpr_at_0.1%[all]"].value is None
    assert "control patients" in readings["membership_tpr_at_0.1%[all]"].note


def test_who_has_several_rows_counts_as_one_patient():
    encoding, (train, holdout) = encoded((600, 1), (600, 2))
    train, holdout = (Encoded(t.numbers, t.codes, t.patient // 3) for t in (train, holdout))
    people = gather(encoding, train, holdout, np.random.default_rng(0))
    assert len(people.train) == len(people.holdout) == 200
    assert len(np.unique(people.train.patient)) == 200
    assert (train.patient[people.train_rows] == people.train.patient).all()
    assert copies_of(encoding, train, holdout).n_train == 200


def test_the_twins_have_one_percent_planted_rows(panel, fresh):
    suspect = plant(fresh.take(np.arange(1000)), panel.people, np.random.default_rng(0))
    assert set(suspect.parts) == {TABLE, COPIES, JITTERED, RARE}
    assert {len(part) for part in suspect.parts.values()} == {10}
    assert suspect.n_rows == 1000
    assert suspect.planted_share == 0.01
    assert np.isin(row_keys(suspect.parts[COPIES]), row_keys(panel.people.train)).all()
    assert set(row_keys(suspect.parts[COPIES])) == set(row_keys(most_isolated(panel, 10)))
    gap = np.abs(suspect.parts[JITTERED].numbers - suspect.parts[COPIES].numbers) / panel.people.encoding.scale
    assert 0 < np.nanmean(gap) < 0.08
    assert (panel.people.rarity.of(suspect.parts[RARE]) < RARE_SHARE).all()


def test_a_rare_level_is_taken_before_rare_combinations():
    encoding, (train, holdout) = encoded((3000, 1), (1500, 2))
    place = encoding.categorical.index("sick")
    for table in (train, holdout):
        table.codes[:, place] = np.where(np.arange(len(table)) % 70 == 0, len(encoding.levels[place]), 0)
    people = gather(encoding, train, holdout, np.random.default_rng(0))
    assert people.rarity.columns[0] == (0,)
    assert (people.rarity.is_rare(train) == (np.arange(3000) % 70 == 0)).all()
    suspect = plant(train, people, np.random.default_rng(0))
    assert (suspect.parts[RARE].codes[:, place] == len(encoding.levels[place])).all()


def test_a_long_table_has_no_more_planted_than_one_percent_of_the_training_rows(panel):
    long = panel.people.encoding.encode(patients(20_000, 4))
    suspect = plant(long, panel.people, np.random.default_rng(0))
    assert len(suspect.parts[COPIES]) == 25
    assert suspect.n_rows == 20_000
    assert suspect.planted_share == 25 / 20_000


def test_copies_of_training_rows_alone_fail_where_copies_of_both_pass():
    encoding, (train, holdout, other) = encoded((7000, 1), (3000, 2), (9983, 3))
    copies = copies_of(encoding, train, holdout)
    leaky = stack(other, train.take(np.arange(17)))
    chance = stack(other, stack(train.take(np.arange(17)), holdout.take(np.arange(7))))
    for table, is_refused in ((leaky, True), (chance, False)):
        alarms = copies.outcomes(alone(table), LEVELS)[TABLE].alarms()
        assert (EXACT in alarms) == is_refused


def test_predicates_are_met_by_the_rows_that_a_slow_search_finds():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    rows[:, 3:] = rng.integers(0, 2, (300, 2))
    columns = rng.permuted(np.tile(np.arange(5), (80, 1)), axis=1)[:, :3]
    predicates = Predicates(columns, np.take_along_axis(rows[:80], columns, axis=1), np.zeros(80))
    gap = np.abs(rows[None] - rows[:80, None])
    every = (np.take_along_axis(gap, columns[:, None], axis=2) <= AGREE).all(axis=2)
    n_met, one = Index(rows).meet(predicates)
    assert (n_met == every.sum(axis=1)).all()
    assert every[np.arange(80), one].all()


def test_what_an_attacker_knows_are_demographics_sites_and_half_of_the_columns():
    known = quasi_identifiers(SCHEMA, ("sick",), tuple(SCHEMA.names))
    assert known == ("age", "site", "sex", "sick")
    assert quasi_identifiers(SCHEMA, (), tuple(SCHEMA.names)) == ("age", "site", "sex", "weight")


def test_a_clean_table_passes_and_every_attack_finds_its_plants(panel, fresh):
    scores, attacks = assess(panel, fresh)
    found = {attack.name: {leak.plant for leak in attack.plants if leak.is_found} for attack in attacks}
    for name in ("copies", "membership"):
        assert found[name] == {COPIES, JITTERED, RARE}
    for name in ("attribute inference: sick", "re-identification by linkage"):
        assert found[name] >= {COPIES, JITTERED}
    assert COPIES in found["singling out"]
    assert all(attack.found_plant for attack in attacks)
    verdicts = {name: score.verdict for name, score in scores.items() if score.threshold is not None}
    assert {name for name, verdict in verdicts.items() if verdict == "passed"} >= {
        "exact_copies_train",
        "near_copies_train[isolated]",
        "membership_tpr_at_1%[isolated]",
        "membership_tpr_at_1%[rare]",
        "attribute_tpr_at_1%[sick]",
        "linkage_tpr_at_1%[isolated]",
        "singled_out_train[rarest]",
    }
    assert "failed" not in verdicts.values()
    assert verdicts["membership_auc[all]"] == verdicts["membership_tpr_at_1%[sex=F]"] == "diagnostic"


def test_distances_decide_nothing_even_of_a_table_of_copies(panel):
    scores, _ = assess(panel, panel.people.train)
    for name in ("dcr_share", "dcr_median_train", "dcr_median_holdout", "nndr_p05"):
        assert scores[name].verdict == "diagnostic"
        assert scores[name].threshold is None
    assert scores["dcr_share"].value > 0.6


def test_a_gate_whose_own_plants_are_within_its_limit_can_fail_and_not_pass(panel, fresh):
    average = "membership_auc[all]"
    clean, leaky = (assess(panel, table)[0][average] for table in (fresh, panel.people.train))
    outcomes = panel.membership.outcomes(plant(fresh, panel.people, np.random.default_rng(0)), LEVELS)
    assert not any(average in outcome.alarms() for outcome in outcomes.values())
    assert clean.verdict == "diagnostic"
    assert "hardly move" in clean.note
    assert leaky.verdict == "failed"


def test_two_percent_copies_of_unusual_patients_fail(panel, fresh):
    scores, _ = assess(panel, stack(fresh.take(np.arange(1960)), most_isolated(panel, 40)))
    for name in (
        "exact_copies_train",
        "near_copies_train[isolated]",
        "membership_tpr_at_1%[isolated]",
        "attribute_tpr_at_1%[sick]",
        "linkage_tpr_at_1%[isolated]",
        "singled_out_train[rarest]",
    ):
        assert scores[name].verdict == "failed", name


def unlike_anyone(panel, n):
    """Rows of a poor model: each number by itself, three times as far from the middle as any patient's."""
    rng = np.random.default_rng(4)
    rows = panel.people.encoding.encode(patients(n, 5)).permuted(rng)
    middle = panel.people.encoding.centre
    return type(rows)(middle + 3 * (rows.numbers - middle), rows.codes, rows.patient)


def test_rows_unlike_anyone_hide_no_leak_from_singling_out(panel):
    rarest, every = "singled_out_train[rarest]", "singled_out_train[all]"
    poor = unlike_anyone(panel, 2000)
    clean, attacks = assess(panel, poor)
    (singling,) = [attack for attack in attacks if attack.name == "singling out"]
    assert singling.found_plant and singling.planted_score == every
    assert clean[every].verdict == "passed"
    assert clean[rarest].verdict == "diagnostic"  # it sees nothing here, and so it shows nothing
    for leaked in (most_isolated(panel, 20), panel.people.train.take(np.arange(40))):
        scores, _ = assess(panel, stack(poor.take(np.arange(len(leaked), 2000)), leaked))
        assert scores[every].verdict == "failed"
        assert scores[rarest].verdict != "passed"


def test_a_predicate_that_two_rows_make_singles_nobody_out(panel):
    poor = unlike_anyone(panel, 200)
    once = stack(poor, most_isolated(panel, 1))
    twice = stack(once, most_isolated(panel, 1))
    (attack,) = [attack for attack in panel.attacks if attack.name == "singling out"]
    assert attack.readings(once)["singled_out_train[all]"].value == 1 / attack.n_train
    assert attack.readings(twice)["singled_out_train[all]"].value == 0
    columns, values = np.zeros((4, 2), dtype=int), np.array([[1, 2], [1, 2], [3, 2], [4, 4]], dtype=np.float32)
    assert Predicates(columns, values, np.zeros(4)).single().tolist() == [2, 3]


def test_jittered_copies_escape_the_search_for_exact_ones_and_nothing_else(panel, fresh):
    unusual = most_isolated(panel, 40)
    moved = type(unusual)(unusual.numbers + 0.01, unusual.codes, unusual.patient)
    scores, _ = assess(panel, stack(fresh.take(np.arange(1960)), moved))
    assert scores["exact_copies_train"].verdict == "passed"
    for name in ("near_copies_train[isolated]", "membership_tpr_at_1%[isolated]", "linkage_tpr_at_1%[isolated]"):
        assert scores[name].verdict == "failed"


def test_a_memorised_rare_diagnosis_fails_where_it_is_looked_for(panel, fresh):
    rare = plant(fresh, panel.people, np.random.default_rng(0)).parts[RARE]
    scores, _ = assess(panel, stack(fresh.take(np.arange(1980)), rare))
    assert scores["membership_tpr_at_1%[rare]"].verdict == "failed"


def test_an_attack_that_misses_its_plant_is_not_shown_as_passed():
    encoding, (train, holdout, fresh) = encoded((200, 1), (120, 2), (200, 3))
    small = panel_of(encoding, train, holdout)
    scores, attacks = assess(small, fresh)
    missed = [attack for attack in attacks if not attack.found_plant]
    assert missed
    for name in {name for attack in missed for name in attack.score_names}:
        assert scores[name].verdict != "passed"
    assert "misses a leak planted for it" in scores["exact_copies_train"].note


def test_a_table_so_coarse_that_strangers_coincide_cannot_pass_the_copy_attack():
    schema = SCHEMA.without(set(SCHEMA.names) - {"sex", "sick", "died"})
    frames = [patients(1000, seed)[schema.names] for seed in (1, 2, 3)]
    encoding = Encoding.learn(frames[0], schema)
    train, holdout, fresh = (encoding.encode(frame) for frame in frames)
    scores, _ = assess(panel_of(encoding, train, holdout), fresh)
    assert scores["exact_copies_train"].value == 1
    assert scores["exact_copies_train"].verdict == "failed"


def test_the_chance_of_a_false_alarm_is_shared_by_all_limits():
    levels = Levels(Thresholds(chance_level=0.97), n_gates=9, n_watched=20)
    assert (1 - levels.gate) * 9 + (1 - levels.watched) * 20 == pytest.approx(0.03)


def test_an_outcome_without_a_value_raises_no_alarm():
    encoding, (train, holdout) = encoded((30, 1), (0, 2))
    outcome = copies_of(encoding, train, holdout).outcomes(alone(train), LEVELS)[TABLE]
    assert isinstance(outcome, Outcome)
    assert not outcome.alarms()
    assert outcome.readings["exact_copies_holdout"].note


@pytest.mark.slow
def test_clean_tables_fail_as_rarely_as_the_chance_level_says_and_plants_are_found():
    """40 draws of training, holdout and fresh patients: of expected 1.2 false alarms, 6 come once in 500 tests."""
    n_alarms, missed = 0, []
    for draw_number in range(40):
        seeds = (3 * draw_number + 100, 3 * draw_number + 101, 3 * draw_number + 102)
        encoding, (train, holdout, fresh) = encoded(*zip((2500, 1500, 2500), seeds, strict=True))
        scores, attacks = assess(panel_of(encoding, train, holdout, secrets=("sick", "died")), fresh)
        limited = [score for score in scores.values() if score.threshold is not None and score.value is not None]
        n_alarms += any(score.value > score.threshold for score in limited)
        missed += [attack.name for attack in attacks if not attack.found_plant]
    assert n_alarms < 6
    assert len(missed) < 6
