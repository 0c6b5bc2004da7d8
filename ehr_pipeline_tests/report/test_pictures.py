"""The pictures: what they draw is what was counted, and odd findings draw something harmless."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.evaluate.result import ColumnComparison, Curve, EffectEstimate
from ehr_pipeline.report import numbers, svg
from ehr_pipeline.report.pictures.curves import loss, roc
from ehr_pipeline.report.pictures.distributions import DrawnColumn, distribution
from ehr_pipeline.report.pictures.forest import forest
from ehr_pipeline.report.pictures.matrices import colours, matrix, png
from ehr_pipeline.report.pictures.strips import bar, strip
from ehr_pipeline_tests.report import examples

NO_MISSING = {"train": 0.0, "holdout": 0.0, "synthetic": 0.0}


def column(**changes) -> ColumnComparison:
    content = {"name": "c", "kind": "continuous", "bins": [0.0, 1.0, 2.0], "train": [30, 10], "holdout": [3, 1],
               "synthetic": [20, 20], "missing_share": NO_MISSING}  # fmt: skip
    return ColumnComparison(**(content | changes))


def draw(*columns: ColumnComparison, n_rows: dict[str, int] | None = None) -> str:
    """The picture of one column by several generators."""
    drawn = [
        DrawnColumn(place=place, generator=f"g{place}", column=one, n_rows=n_rows or {})
        for place, one in enumerate(columns)
    ]
    return distribution("c", drawn)


def decode(picture: bytes) -> np.ndarray:
    """The slow obvious reader of what `png` writes."""
    width, height = struct.unpack(">II", picture[16:24])
    start = picture.index(b"IDAT") + 4
    size = struct.unpack(">I", picture[start - 8 : start - 4])[0]
    rows = np.frombuffer(zlib.decompress(picture[start : start + size]), dtype=np.uint8).reshape(height, 1 + 4 * width)
    assert not rows[:, 0].any()  # every row is unfiltered
    return rows[:, 1:].reshape(height, width, 4)


def test_png_holds_the_pixels_it_was_given():
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert (decode(png(rgba)) == rgba).all()


def test_matrix_is_red_above_zero_blue_below_and_blank_at_zero():
    rgba = colours(np.array([[1.0, -1.0], [0.0, np.nan]]))
    assert rgba[0, 0, 0] > rgba[0, 0, 2] and rgba[0, 1, 2] > rgba[0, 1, 0]
    assert rgba[..., 3].tolist() == [[255, 255], [0, 0]]


def test_matrix_shows_names_only_where_they_fit():
    few = matrix("few", ["age", "bmi"], [[1, 0.5], [0.5, 1]])
    many = matrix("many", [f"c{place}" for place in range(60)], np.eye(60).tolist())
    assert ">age</text>" in few
    assert "<text" not in many


def test_histogram_heights_are_shares_per_width():
    # real shares 0.75 and 0.25 over bins of width 1 and 3: densities 0.75 and 0.0833, a ninth of the first
    wide = column(bins=[0.0, 1.0, 4.0], synthetic=[30, 10])
    points = re.search(r'<polygon points="([^"]*)"', draw(wide)).group(1)
    heights = sorted({98 - float(pair.split(",")[1]) for pair in points.split()})
    assert heights[0] == 0
    assert heights[1] / heights[2] == pytest.approx(1 / 9, abs=0.01)


@pytest.mark.parametrize(
    "odd",
    [
        column(train=[None, None], synthetic=[None, None]),
        column(bins=[1.0, 1.0, 1.0]),
        column(bins=[0.0, 1.0], train=[5], synthetic=[5]),
        column(bins=[3.0], train=[], synthetic=[]),
        column(bins=None, levels=["a"], kind="categorical", train=[None], synthetic=[None]),
        column(bins=None, levels=[], kind="categorical", train=[], synthetic=[]),
        column(bins=None, levels=None, kind="categorical", train=[], synthetic=[]),
    ],
)
def test_odd_columns_draw_something_finite(odd):
    picture = draw(odd)
    assert picture.startswith("<svg") and "nan" not in picture and "inf" not in picture


def test_hidden_bins_are_left_blank_not_drawn_as_empty():
    hidden = column(bins=[0.0, 1.0, 2.0, 3.0, 4.0], train=[30, None, None, 10], synthetic=[20, 20, 20, 20])
    empty = column(bins=[0.0, 1.0, 2.0, 3.0, 4.0], train=[30, 0, 0, 10], synthetic=[20, 20, 20, 20])
    assert draw(hidden).count("<polygon") == 2
    assert draw(empty).count("<polygon") == 1


def test_shares_count_hidden_rows_too():
    hidden = column(
        bins=None, kind="categorical", levels=["a", "b", "c"], train=[37, None, None], synthetic=[37, 20, 11]
    )
    assert "57.8 %" in draw(hidden, n_rows={"train": 64})  # 37 of 64, not 37 of 37


def test_more_levels_than_fit_are_counted():
    many = column(
        bins=None,
        kind="categorical",
        levels=[f"l{k}" for k in range(20)],
        train=list(range(20, 40)),
        synthetic=[9] * 20,
    )
    assert "and 8 more levels" in draw(many)


def test_generators_may_have_pooled_other_levels():
    real = column(bins=None, kind="categorical", levels=["a", "b"], train=[20, 20], synthetic=[30, 10])
    other = column(bins=None, kind="categorical", levels=["b", "c"], train=[20, 20], synthetic=[15, 25])
    assert draw(real, other).count('class="mark g1"') == 1


def test_curves_start_and_end_at_the_corners():
    curve = Curve(label="synthetic", false_positive_rate=[0, 0.5, 1], true_positive_rate=[0, 0.8, 1], auc=0.65)
    points = re.search(r'<polyline points="([^"]*)" class="line g2"', roc("r", None, [(2, curve)])).group(1).split()
    assert points[0] == "28.0,180.0" and points[-1] == "202.0,6.0"


def test_loss_needs_two_points_and_passes_over_gaps():
    assert loss("l", [], 0) is None
    assert loss("l", [{"epoch": 1, "loss": 3.0}], 0) is None
    picture = loss("l", [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": None}, {"epoch": 3, "loss": 2.0}], 0)
    assert picture is not None and picture.count("polyline") == 1


def test_loss_that_is_not_a_number_is_passed_over():
    history = [{"epoch": e, "loss": float("nan") if e == 2 else 1.0 / e} for e in range(1, 5)]
    picture = loss("l", history, 0)
    assert picture is not None and "nan" not in picture


def test_forest_marks_the_truth_only_where_it_is_known():
    estimate = EffectEstimate(table="synthetic", measure="log_odds", value=-0.6, low=-0.9, high=-0.3)
    undefined = EffectEstimate(table="train", measure="log_odds", value=None, low=None, high=None)
    assert 'class="truth"' in forest("m", -0.8, [("g", 0, estimate)])
    unknown = forest("m", None, [("real", None, undefined), ("g", 0, estimate)])
    assert 'class="truth"' not in unknown and "not defined" in unknown


def test_bar_and_strip_stand_at_the_normalised_value():
    at_floor, at_null = examples.score("c2st_auc"), examples.score("c2st_auc", 1.0)
    assert at_null.normalised == pytest.approx(1.0)
    x = [float(re.search(r'<circle cx="([\d.]+)"', bar(score, 0)).group(1)) for score in (at_floor, at_null)]
    # the bar spans -0.2 to 1.4 in 112 units from 4
    assert x[1] == pytest.approx(4 + 112 * 1.2 / 1.6, abs=0.1) and x[0] < x[1]
    assert strip([("AUC", [(0, at_floor), (1, at_null)])]).count("mark g") == 2
    assert bar(examples.score("ks_mean"), 0) is None


@given(st.floats(-1e12, 1e12, allow_nan=False), st.floats(1e-9, 1e12))
def test_ticks_lie_inside_and_are_few(low, span):
    found = svg.ticks(low, low + span)
    assert len(found) <= 9
    assert all(low - 1e-6 * (abs(low) + span) <= tick <= low + span * 1.000001 + 1e-6 * abs(low) for tick in found)


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_every_number_has_a_short_text(value):
    for text in (numbers.number(value), numbers.percent(value)):
        assert text and "e" not in text and "nan" not in text and "-" not in text
