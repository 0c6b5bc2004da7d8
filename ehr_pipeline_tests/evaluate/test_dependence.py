import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.evaluate import correlation
from ehr_pipeline.evaluate.correlation import correlation_chunks, pairwise_correlation
from ehr_pipeline.evaluate.dependence import Dependence
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.intervals import Resampling
from ehr_pipeline.record import Column, Schema, conform


def dependence(schema, train, other):
    frames = [conform(pd.DataFrame(columns), schema) for columns in (train, other)]
    encoding = Encoding.learn(frames[0], schema)
    encoded = [encoding.encode(frame) for frame in frames]
    return Dependence(encoded[0], encoding, 0, np.random.default_rng(0)).readings(encoded[1])


def test_correlation_agrees_with_pandas_where_values_are_missing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) + rng.normal(size=(60, 1)) + 1000
    x[rng.random(x.shape) < 0.3] = np.nan
    assert pairwise_correlation(x) == pytest.approx(pd.DataFrame(x).corr().to_numpy(), abs=1e-9)


@pytest.mark.parametrize("n_gapped", [0, 2, 5])
def test_a_replicate_is_the_correlation_of_the_rows_drawn(n_gapped, monkeypatch):
    monkeypatch.setattr(correlation, "CHUNK_NUMBERS", 700)  # a few columns at a time
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5)) + rng.normal(size=(40, 1))
    x[:, :n_gapped][rng.random((40, n_gapped)) < 0.2] = np.nan
    patient = np.repeat(np.arange(20), 2)
    resampling = Resampling(patient, rng)
    found = np.concatenate([chunk for _, chunk in correlation_chunks(x, resampling)], axis=1)
    for number in (0, 1, 100):
        times = resampling.weights[number][resampling.block].astype(int)
        drawn = pd.DataFrame(np.repeat(x, times, axis=0))
        assert found[number] == pytest.approx(drawn.corr().fillna(0).to_numpy(), abs=1e-9)


def test_undefined_correlation_is_zero():
    x = np.array([[1.0, 5.0, np.nan], [2.0, 5.0, np.nan], [3.0, 5.0, np.nan]])
    assert pairwise_correlation(x)[0, 1] == 0
    assert pairwise_correlation(x)[0, 2] == 0


def test_correlation_error_of_a_reversed_pair_is_two():
    schema = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="continuous")))
    up = {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
    readings = dependence(schema, up, {"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]})
    assert readings["correlation_error"].value == pytest.approx(2)


def test_joint_distance_of_two_coins_that_agree_and_two_that_differ():
    schema = Schema(columns=tuple(Column(name=name, kind="binary") for name in "abc"))
    same = {"a": [0, 0, 1, 1], "b": [0, 0, 1, 1], "c": [0, 0, 0, 0]}
    opposite = {"a": [0, 0, 1, 1], "b": [1, 1, 0, 0], "c": [0, 0, 0, 0]}
    readings = dependence(schema, same, opposite)
    # cells of (a, b) are disjoint: 1; (a, c) and (b, c) agree: 0; the only triple is disjoint: 1
    assert readings["tvd2_mean"].value == pytest.approx(1 / 3)
    assert readings["tvd2_max"].value == 1
    assert readings["tvd2_max"].note == "worst pair: a, b"
    assert readings["tvd3_mean"].value == 1


def test_comissing_error_is_of_rows_where_both_are_missing():
    schema = Schema(columns=(Column(name="a", kind="continuous"), Column(name="b", kind="continuous")))
    train = {"a": [np.nan, np.nan, 1.0, 2.0], "b": [np.nan, np.nan, 1.0, 2.0]}
    other = {"a": [np.nan, np.nan, 1.0, 2.0], "b": [1.0, 2.0, np.nan, np.nan]}
    assert dependence(schema, train, other)["comissing_error"].value == pytest.approx(0.5)


def test_one_column_has_no_dependence():
    schema = Schema(columns=(Column(name="a", kind="continuous"),))
    readings = dependence(schema, {"a": [1.0, 2.0]}, {"a": [1.0, 2.0]})
    assert readings["correlation_error"].value is None
    assert readings["tvd2_mean"].value is None
