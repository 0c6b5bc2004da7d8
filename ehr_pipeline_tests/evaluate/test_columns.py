import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.columns import compare_columns, compare_correlations
from ehr_pipeline.evaluate.encoding import Encoding
from ehr_pipeline.evaluate.marginals import Marginals
from ehr_pipeline.record import Column, Schema, conform

SCHEMA = Schema(
    columns=(
        Column(name="x", kind="continuous"),
        Column(name="rare", kind="binary"),
        Column(name="common", kind="binary"),
        Column(name="site", kind="categorical"),
    )
)


def tables(n_rare):
    """Three tables of 1,000 rows with as many ones, and as many rows of the second site."""
    place = np.arange(1000)
    frame = pd.DataFrame(
        {
            "x": place % 50 + 100.0 * (place % 2),
            "rare": (place < n_rare).astype(int),
            "common": place % 2,
            "site": np.where(place < n_rare, "b", "a"),
        }
    )
    frame = conform(frame, SCHEMA)
    encoding = Encoding.learn(frame, SCHEMA)
    return encoding, {name: encoding.encode(frame) for name in ("train", "holdout", "synthetic")}


def test_a_level_of_too_few_is_in_no_correlation_and_neither_is_its_opposite():
    for n_rare, names in ((3, ["x", "common"]), (30, ["x", "rare", "common", "site=b"])):
        encoding, three = tables(n_rare)
        found = compare_correlations(three, encoding, SCHEMA)
        assert found.names == names
        # `common` is 1 where x is larger: the sign is that of the level the column is named after
        assert found.train[0][names.index("common")] > 0.9


def test_a_column_with_a_hidden_cell_has_no_distance_to_work_it_out_from():
    for n_rare, is_hidden in ((3, True), (30, False)):
        encoding, three = tables(n_rare)
        marginals = Marginals(three["train"], encoding, np.random.default_rng(0))
        found = compare_columns(three, encoding, SCHEMA, marginals, cut=three["synthetic"], floor=three["holdout"])
        site = next(column for column in found if column.name == "site")
        measured = (site.distance, site.distance_floor, site.divergence, site.divergence_floor)
        assert all((number is None) == is_hidden for number in measured)
        assert found[0].distance is not None
