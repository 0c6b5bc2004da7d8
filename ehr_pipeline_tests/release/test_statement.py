"""What the statement promises: numbers that mean what it says they mean, coarse where they must be."""

import doctest
import math

import pytest

from ehr_pipeline.evaluate.result import Evaluation
from ehr_pipeline.privacy.budget import Accounted, Budget, GaussianMechanism, PrivacyPlan, PureMechanism
from ehr_pipeline.release import coarse, csv_safe, layout, statement
from ehr_pipeline.release.crosswalk import criteria

from .conftest import ATTACKS, SCORES, attack, score


def plan(*mechanisms, **more):
    spent = Accounted(epsilon=1.0, delta=1e-5, epsilon_prv=0.99, epsilon_rdp=1.1, accountant="by hand")
    return PrivacyPlan(budget=Budget(epsilon=10.0, delta=1e-5), mechanisms=mechanisms, accounted=spent, **more)


@pytest.mark.parametrize("module", [coarse, csv_safe, layout, statement])
def test_examples_in_the_text_hold(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 4.0])
def test_the_belief_that_is_told_is_reached_by_randomised_response_and_by_nothing_more(epsilon):
    """A coin that tells the truth with chance e^eps / (1 + e^eps) is exactly eps-private: Bayes' rule by hand."""
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    posterior = 0.5 * truth / (0.5 * truth + 0.5 * (1 - truth))
    assert statement.belief_at_most(epsilon) == pytest.approx(posterior)


def test_noise_of_training_is_told_apart_from_opendps():
    histogram = GaussianMechanism(name="histogram", noise_multiplier=10, steps=12)
    steps = GaussianMechanism(name="gradient", noise_multiplier=2, sampling_rate=0.01, steps=100)
    assert not statement.is_trained(plan(histogram, PureMechanism(name="choice", epsilon=0.1)))
    assert statement.is_trained(plan(histogram, steps))


def test_another_unit_is_said_to_be_another():
    histogram = GaussianMechanism(name="histogram", noise_multiplier=10)
    assert not statement.is_replace_one(plan(histogram))
    assert statement.is_replace_one(plan(histogram, unit="patient, replace one"))
    assert (
        "which of two records" in dict(statement.parameters(plan(histogram, unit="patient, replace one")))["In words"]
    )


def evaluation(scores, attacks):
    return Evaluation(
        scores={one.name: one for one in scores}, columns=[], correlation=None, two_sample=[], tasks=[],
        attacks=list(attacks), subgroups=[], epidemiology=[], effect=None, n_rows={},
    )  # fmt: skip


def test_names_of_levels_and_groups_are_not_told():
    secret = "Creutzfeldt-Jakob disease"
    scores = [*SCORES, score(f"attribute_tpr_at_1%[{secret}]"), score(f"attribute_tpr_at_1%[{secret} 2]", value=0.013)]
    found = evaluation(scores, [*ATTACKS, attack(f"attribute inference: {secret}", [scores[-1].name])])
    told = f"{coarse.gates(found)} {coarse.attacks(found)}"
    assert "Creutzfeldt" not in told and "0.013" not in told
    (gate,) = [one for one in coarse.gates(found) if "ttribute" in one.title]
    assert (gate.n_passed, gate.n_failed, gate.worst) == (2, 0, "under 0.05")


def test_the_worst_value_of_a_gate_is_the_low_one_where_high_is_better():
    scores = [
        score(f"tstr_hgb[{n}]", "utility", value, 0.6, better="higher") for n, value in (("a", 0.71), ("b", 0.62))
    ]
    (gate,) = coarse.gates(evaluation(scores, []))
    assert gate.worst == "about 0.60"


def test_a_criterion_that_no_attack_answers_says_so():
    found = {one.name: one.attacks for one in criteria(coarse.attacks(evaluation(SCORES, ATTACKS)))}
    assert [one.name for one in found["Singling out"]] == ["exact copies"]
    assert found["Linkability"] == ()
    assert [one.name for one in found["Inference"]] == ["membership"]
