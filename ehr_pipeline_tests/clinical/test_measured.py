"""Measured values: conversion to one unit, impossible values, preference between sources."""

import duckdb
import pytest

from ehr_pipeline.clinical import load_items
from ehr_pipeline.clinical.measured import create_sources_table, measured_values_sql, series_of


@pytest.fixture
def measured():
    """A function that gives (item, stated value, value, is_impossible, unified code) of one event."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE events (subject_id BIGINT, code VARCHAR, numeric_value FLOAT)")
    create_sources_table(connection, [series_of(item) for item in load_items().values()])

    def measure(code, number, *, keep_others=False):
        connection.execute("DELETE FROM events")
        connection.execute("INSERT INTO events VALUES (1, ?, ?)", [code, number])
        return connection.execute(
            "SELECT item, stated_value, value, is_impossible, unified_code"
            f" FROM ({measured_values_sql('events', ['subject_id'], keep_others=keep_others)})"
        ).fetchall()

    yield measure
    connection.close()


def test_fahrenheit_becomes_celsius_without_float32_noise(measured):
    assert measured("VITAL//223761//°F", 98.6) == [("temperature_c", 98.6, 37.0, False, "VITAL//223761//°F")]


def test_fraction_of_oxygen_becomes_percent(measured):
    assert measured("VITAL//223835//UNK", 0.4) == [("fio2", 40.0, 40.0, False, "VITAL//223835//%")]
    assert measured("VITAL//223835//UNK", 40.0) == [("fio2", 40.0, 40.0, False, "VITAL//223835//%")]


def test_missing_unit_is_read_where_the_catalogue_declares_it(measured):
    assert measured("LAB//50912//UNK", 1.25) == [("creatinine", 1.25, 1.25, False, "LAB//50912//mg/dL")]


def test_unknown_unit_is_not_read(measured):
    assert measured("LAB//50912//umol/L", 88.0) == []


@pytest.mark.parametrize("number", [-5.0, 0.0, 1000.0, float("inf"), float("-inf"), float("nan")])
def test_impossible_number_has_no_value(measured, number):
    [(_, _, value, is_impossible, _)] = measured("VITAL//220045//bpm", number)
    assert value is None and is_impossible


def test_limits_are_possible(measured):
    item = load_items()["creatinine"]
    for limit in (item.minimum, item.maximum):
        assert measured("LAB//50912//mg/dL", limit)[0][2] == pytest.approx(limit)


def test_no_number_is_missing_and_not_impossible(measured):
    [(_, _, value, is_impossible, _)] = measured("LAB//50912//mg/dL", None)
    assert value is None and not is_impossible


def test_other_events_are_kept_as_they_stand_where_asked(measured):
    assert measured("INPUT//221906//mg", 1e-7) == []
    [(item, stated, value, is_impossible, code)] = measured("INPUT//221906//mg", 1e-7, keep_others=True)
    assert (item, value, is_impossible, code) == (None, None, False, "INPUT//221906//mg")
    assert stated == pytest.approx(1e-7)
