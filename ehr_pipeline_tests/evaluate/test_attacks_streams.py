import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate.attacks.streams import HIGHEST, per_patient, stream_membership


def events(subject_id, value):
    return pd.DataFrame({"subject_id": subject_id, "numeric_value": value})


def by_value(table):
    return table["numeric_value"].to_numpy()


def test_patients_are_scored_by_their_events():
    score, subject_id = np.array([1.0, 5.0, 3.0, 2.0]), np.array([4, 4, 9, 4])
    assert per_patient(score, subject_id, "mean").to_dict() == pytest.approx({4: 8 / 3, 9: 3})
    assert per_patient(score, subject_id, "highest").to_dict() == {4: 5, 9: 3}


def test_the_mean_of_the_highest_takes_five_or_all_there_are():
    score = np.arange(10.0)
    found = per_patient(score, np.array([1] * 8 + [2] * 2), "mean of highest")
    assert HIGHEST == 5
    assert found.to_dict() == {1: 5.0, 2: 8.5}  # (3 + 4 + 5 + 6 + 7) / 5, and (8 + 9) / 2


def test_a_passage_known_by_heart_is_seen_over_patients_and_not_over_events():
    rng = np.random.default_rng(0)
    n_patients, n_events = 200, 100
    subject_id = np.repeat(np.arange(2 * n_patients), n_events)
    value = rng.normal(size=len(subject_id))
    value[: n_patients * n_events].reshape(n_patients, n_events)[:, :HIGHEST] += 4  # in each member's record
    table, is_member = events(subject_id, value), subject_id < n_patients
    readings = stream_membership(table[is_member], table[~is_member], by_value)
    assert readings["stream_membership_auc"].value > 0.99
    low, high = readings["stream_membership_tpr_at_1%"].low, readings["stream_membership_tpr_at_1%"].high
    assert high - low > 0.01  # 200 patients, not 20,000 events
    mean = stream_membership(table[is_member], table[~is_member], by_value, "mean")
    assert mean["stream_membership_auc"].value < readings["stream_membership_auc"].value


def test_a_patient_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="1 patients have events"):
        stream_membership(events([1, 2], [0, 0]), events([2, 3], [0, 0]), by_value)
