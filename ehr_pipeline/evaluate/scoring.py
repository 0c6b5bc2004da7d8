"""How a measurement becomes a score: beside its floor and its null, and normalised between them.

What belongs here: what kind of thing each metric is, and the arithmetic of the two references. What the
metrics measure lives in their own files; whether a score passes lives in `verdicts.py`.

The floor is the metric of a fresh real sample in the synthetic table's place: the holdout where the metric
is held against the training table, the training table where it is held against the holdout. The null is
the metric of the training table with each column permuted on its own, and chance (0.5) for prediction.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ehr_pipeline.evaluate.score import Dimension, Score

MIN_GAP = 0.002
MIN_RELATIVE_GAP = 0.1


class Reading(NamedTuple):
    """One measurement: a value, a 95 % interval over patients where one is known, a remark."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str | None = None


Readings = dict[str, Reading]


class Metric(NamedTuple):
    """What kind of thing a metric is. Only what the null loses can be normalised."""

    dimension: Dimension
    better: Literal["lower", "higher", "near_half"] = "lower"
    is_normalised: bool = False


_FIDELITY, _UTILITY, _PRIVACY, _CAUSAL = (
    Metric("fidelity"),
    Metric("utility", "higher"),
    Metric("privacy"),
    Metric("causal"),
)

METRICS: dict[str, Metric] = {
    **dict.fromkeys(
        [
            "ks_mean",
            "ks_max",
            "kl_mean",
            "kl_max",
            "tvd_mean",
            "tvd_max",
            "proportion_error",
            "mean_error",
            "std_error",
            "missing_rate_error",
        ],
        _FIDELITY,
    ),
    **dict.fromkeys(
        ["comissing_error", "correlation_error", "tvd2_mean", "tvd2_max", "tvd3_mean", "c2st_auc"],
        _FIDELITY._replace(is_normalised=True),
    ),
    **dict.fromkeys(["tstr_hgb", "tstr_lr"], _UTILITY._replace(is_normalised=True)),
    "tstr_auprc": _UTILITY,
    "tstr_calibration_error": Metric("utility", "lower"),
    **dict.fromkeys(["causal_log_odds", "causal_risk_difference"], _CAUSAL),
    **dict.fromkeys(["causal_log_odds_error", "causal_risk_difference_error"], _CAUSAL._replace(is_normalised=True)),
    **dict.fromkeys(["exact_copies_train", "exact_copies_holdout"], _PRIVACY),
    "dcr_share": Metric("privacy", "near_half"),
    **dict.fromkeys(["dcr_median_train", "dcr_median_holdout", "nndr_p05"], Metric("privacy", "higher")),
    **dict.fromkeys(["near_copies_train", "near_copies_holdout"], _PRIVACY),
    **dict.fromkeys(["membership_auc", "membership_density_auc"], _PRIVACY),
    **dict.fromkeys(["membership_tpr_at_1%", "membership_tpr_at_0.1%"], _PRIVACY),
    **dict.fromkeys(["attribute_advantage", "attribute_tpr_at_1%"], _PRIVACY),
    **dict.fromkeys(["linkage_advantage", "linkage_tpr_at_1%"], _PRIVACY),
    **dict.fromkeys(["singled_out_train", "singled_out_holdout"], _PRIVACY),
    **dict.fromkeys(["model_auc", "model_tpr_at_1%"], _PRIVACY),
    # of timelines
    **dict.fromkeys(["stretch_membership_auc", "stretch_membership_tpr_at_1%"], _PRIVACY),
    **dict.fromkeys(["copied_stretches_train", "copied_stretches_holdout"], _PRIVACY),
    **dict.fromkeys(["copied_stays_train", "copied_stays_holdout"], _PRIVACY),
    **dict.fromkeys(["rare_values_train", "rare_values_holdout"], _PRIVACY),
    **dict.fromkeys(
        [
            "events_per_subject_ks",
            "time_gap_ks",
            "length_ks",
            "unseen_code_share",
            "measurement_rate_error",
            "value_ks_mean",
            "value_ks_max",
            "implausible_share",
            "mean_normalised",
        ],
        _FIDELITY,
    ),
    **dict.fromkeys(
        [
            "distinct_codes_ks",
            "prevalence_error",
            "bigram_tvd",
            "next_code_tvd",
            "stay_hour_rate_error",
            "day_hour_tvd",
            "missingness_error",
            "value_repeat_error",
            "autocorrelation_error",
            "value_correlation_error",
            "same_time_correlation_error",
            "measurement_correlation_error",
            "trajectory_error",
            "outcome_trajectory_error",
            "survival_gap",
            "rmst_error",
        ],
        _FIDELITY._replace(is_normalised=True),
    ),
    **dict.fromkeys(["prevalence_r2", "cooccurrence_r2"], Metric("fidelity", "higher", is_normalised=True)),
    "rare_code_recall": Metric("fidelity", "higher"),
    **dict.fromkeys(["tstr_auc", "tstr_r2"], _UTILITY._replace(is_normalised=True)),
    "tstr_ece": Metric("utility", "lower"),
}


def metric_of(name: str) -> Metric:
    """The metric that `name` is an instance of: `tstr_hgb[cvd]` is one of `tstr_hgb`."""
    return METRICS[name.split("[", maxsplit=1)[0]]


def normalise(name: str, value: float | None, floor: float | None, null: float | None) -> float | None:
    """(value - floor) / (null - floor): 0 as good as a fresh real sample, 1 no better than independent columns.

    None where the null keeps what is measured, a number is missing, or the null is not clearly worse than
    the floor (by `MIN_GAP`, and by `MIN_RELATIVE_GAP` of the floor).
    """
    metric = metric_of(name)
    if not metric.is_normalised or value is None or floor is None or null is None:
        return None
    gap = floor - null if metric.better == "higher" else null - floor
    if gap < max(MIN_GAP, MIN_RELATIVE_GAP * abs(floor)):
        return None
    return (value - floor) / (null - floor)


def assemble(value: Readings, floor: Readings, null: Readings) -> dict[str, Score]:
    """Join three sets of readings by name, in the order of `value`."""
    scores = {}
    for name, reading in value.items():
        metric = metric_of(name)
        references = [readings[name].value if name in readings else None for readings in (floor, null)]
        scores[name] = Score(
            name=name,
            dimension=metric.dimension,
            value=reading.value,
            low=reading.low,
            high=reading.high,
            floor=references[0],
            null=references[1],
            normalised=normalise(name, reading.value, *references),
            better=metric.better,
            note=reading.note,
        )
    return scores


def chance(readings: Readings, value: float = 0.5) -> Readings:
    """The same names, each at what nothing to learn from would score."""
    return dict.fromkeys(readings, Reading(value))
