"""What the policy promises: read strictly, defaults with reasons, and a file that reads back as what it says."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.cohort import load_definitions
from ehr_pipeline.errors import DefinitionError
from ehr_pipeline.evaluate.cohort import plan_of
from ehr_pipeline.evaluate.thresholds import Thresholds
from ehr_pipeline.release.policy import Policy, load_policy, policy_text
from ehr_pipeline.storage import DataFolder


@pytest.fixture
def data(tmp_path):
    return DataFolder(tmp_path)


def test_without_a_file_the_defaults_hold(data):
    policy = load_policy(data)
    assert policy == Policy() and policy.epsilon_cap == 4.0 and policy.delta_cap == 1e-4
    assert policy.thresholds() == Thresholds()


def test_what_a_file_does_not_say_has_its_default(data):
    data.policy.write_text("epsilon_cap: 1.5\nlimits: {membership_tpr_excess: 0.001}\n")
    policy = load_policy(data)
    assert (policy.epsilon_cap, policy.delta_cap) == (1.5, 1e-4)
    assert policy.thresholds().membership_tpr_excess == 0.001


def test_evaluation_judges_by_the_limits_of_the_policy(data):
    data.policy.write_text("limits: {copies_excess: 0.001}\nminimum_patients: 50\n")
    plan = plan_of(load_definitions()["medicore"], data)
    assert (plan.thresholds.copies_excess, plan.thresholds.min_patients) == (0.001, 50)


def test_an_empty_file_says_nothing(data):
    data.policy.write_text("# to be filled in\n")
    assert load_policy(data) == Policy()


def test_every_field_has_a_reason_and_the_printed_policy_reads_back(data):
    policy = Policy(epsilon_cap=2.0, limits={"copies_excess": 0.001}, quality_gates=("fidelity",), approvers=2)
    text = policy_text(policy)
    assert Policy.model_validate(yaml.safe_load(text)) == policy
    for name, field in Policy.model_fields.items():
        assert len(field.description or "") > 30, name
    assert all(len(line) <= 110 for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epsilon_cpa: 1", "there is no such field"),
        ("epsilon_cap: 0", "greater than 0"),
        ("epsilon_cap: .inf", "finite"),
        ("epsilon_cap: .nan", "policy.yaml: epsilon_cap"),
        ("epsilon_cap: yes please", "valid number"),
        ("epsilon_cap: 1\nepsilon_cap: 100", "stands twice"),
        ("delta_cap: 1", "less than 1"),
        ("minimum_patients: 0", "greater than or equal to 2"),
        ("required_attacks: []", "at least 1"),
        ("quality_gates: [privacy]", "quality_gates"),
        ("limits: {min_patients: 1}", "there is no limit of that name"),
        ("limits: {membership: 1}", "there is no limit of that name"),
        ("limits: {copies_excess: -1}", "between 0 and 1"),
        ("- 1", "must be a mapping"),
        ("epsilon_cap: [", "is no YAML"),
        ("a: &a [*a]", "policy.yaml"),
        ("!!python/object/apply:os.system [id]", "is no YAML"),
        ("? [1]\n: 2", "policy.yaml"),
    ],
)
def test_a_policy_that_says_something_else_is_refused_in_one_line(data, text, words):
    data.policy.write_text(text)
    with pytest.raises(DefinitionError) as error:
        load_policy(data)
    assert words in str(error.value) and "policy.yaml" in str(error.value) and "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tmp_path_factory, content):
    data = DataFolder(tmp_path_factory.mktemp("policy"))
    data.policy.write_bytes(content)
    try:
        load_policy(data)
    except DefinitionError as error:
        assert "\n" not in str(error)
