"""What the command `synthesize` promises of input that is wrong: exit code 2, one line, no value of the table."""

import gzip
import sys

import pandas as pd
import pytest

from ehr_pipeline import cli

SECRET = "secretvalue"
NUMBERS = "".join(f"{k},{k * 7 % 50}.5\n" for k in range(60))


def synthesize(monkeypatch, capsys, *arguments):
    """Run the command in this process; its exit code and stderr."""
    monkeypatch.setattr(sys, "argv", ["ehr-pipeline", "synthesize", *map(str, arguments)])
    monkeypatch.setattr(cli.os, "umask", lambda mask: 0)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().err


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Assert that a table (and options) are refused; returns the line."""

    def check(content, *options, name="bad.csv"):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        out = tmp_path / "out.csv"
        code, err = synthesize(monkeypatch, capsys, path, "--out", out, "--generator", "independent", *options)
        assert code == 2, err
        lines = err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        assert "Traceback" not in err and SECRET not in err
        assert not out.exists() and not list(tmp_path.glob(".writing-*")) and not list(tmp_path.glob("*.yaml"))
        return lines[0]

    return check


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "no rows"),
        ("a,b", "no rows"),
        ("a,b\n1,2\n", "two"),
        ("a\n" + "1\n" * 50, "one column"),
        ("a,a\n" + "1,2\n" * 50, "twice"),
        ("a,b\n" + "1,2\n" * 50 + f"1,2,{SECRET},4\n", "row 52"),
        ("a,b\n" + "1,2\n" * 50 + f"{SECRET}\n", "row 52"),
        ("a,b\n" + f"1,\"{SECRET}\n" + "1,2\n" * 50, ""),
        ("a,b\n" + NUMBERS + f"7,{SECRET}\n", "column b mixes numbers with words in fewer than 11 rows"),
        ("a,b\n" + "".join(f"{k},{k if k % 2 else SECRET}\n" for k in range(100)), "column b mixes"),
        ("a,b\n" + "".join(f"{k % 7},2020-01-{1 + k % 28:02}\n" for k in range(90)) + f"1,{SECRET}\n", "mixes times"),
        ("a,b\n" + NUMBERS + "7,inf\n", "infinite"),
        ("a,b\n" + NUMBERS + "7,-Infinity\n", "infinite"),
        (b"a,b\n" + b"x,2\n" * 50 + b"\xff\xfe,3\n", "line 52"),
        ("a,b\n".encode("utf-16"), ""),
        (",".join(f"c{k}" for k in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n", "10,000 columns"),
        ('a,"b\nc"\n' + "1,2\n" * 50, "column 2"),
        ("a,b\n" + "1,\n" * 50, "nothing to learn"),
        ("patient_id,b\n" + "".join(f"7,{k}\n" for k in range(50)), "fewer than 5 patients"),
        ("a,b\n1,2\n2,3\n3,4\n", "fewer than 5 patients"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_told_in_one_line(refused, content, says):
    assert says in refused(content)


def test_files_that_are_none(refused, tmp_path):
    assert "does not exist" in refused(None, name="absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "folder" in refused(None, name="folder.csv")
    assert "must end in" in refused("a,b\n1,2\n", name="table.xlsx")


def test_files_that_are_cut_off(refused, tmp_path):
    packed = gzip.compress(("a,b\n" + NUMBERS * 500).encode())
    assert "cut off" in refused(packed[: len(packed) // 2], name="cut.csv.gz")
    assert "cut off" in refused(packed[:5], name="cut.csv.gz")
    assert "damaged" in refused(b"a,b\n1,2\n", name="plain.csv.gz")
    frame = pd.DataFrame({"a": range(1000), "b": [k / 7 for k in range(1000)]})
    frame.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    assert "cut off" in refused(whole[: len(whole) // 2], name="cut.parquet")
    assert "cut off" in refused(b"", name="cut.parquet")
    damaged = whole[:200] + bytes(len(whole) // 2 - 200) + whole[len(whole) // 2 :]
    assert "damaged" in refused(damaged, name="damaged.parquet")


TABLE = "a,b,c\n" + "".join(f"{k % 40},{'xyz'[k % 3]},{k % 2}\n" for k in range(100)) + "3,rare,1\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--condition", "nothere=1"), "nothere"),
        (("--condition", "b"), "COLUMN=VALUE"),
        (("--condition", f"b={SECRET}"), "no patient has"),
        (("--condition", "b=rare"), "no patient has, or fewer than 5"),
        (("--condition", "b="), "missing"),
        (("--condition", "c=9"), "no patient has"),
        (("--condition", "a=1000"), "no patient has"),
        (("--condition", f"a={SECRET}"), "must be a value"),
        (("--condition", "a=1.5"), "must be a value"),
        (("--balance", "nothere"), "nothere"),
        (("--epsilon", "0"), "--epsilon"),
        (("--epsilon", "-1"), "--epsilon"),
        (("--epsilon", "nan"), "--epsilon"),
        (("--epsilon", "1"), "--schema"),
        (("--epsilon", "1", "--delta", "2"), "--delta"),
        (("--delta", "0.1"), "--epsilon"),
        (("--generator", "nobody"), "nobody"),
        (("--schema", "absent.yaml"), "absent.yaml"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_met_is_told_in_one_line(refused, options, says):
    assert says in refused(TABLE, *options)


def test_conditions_that_no_patient_meets_together(refused):
    table = "a,b,c\n" + "".join(f"{k % 2},{'xy'[k % 2]},{k % 31}\n" for k in range(100))
    assert "a, b together" in refused(table, "--condition", "a=0", "--condition", "b=y")


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("gone/out.csv", "no folder"),
        ("bad.csv", "is the table itself"),
        ("out.xlsx", "must end in"),
        (".", "must end in"),
    ],
)
def test_an_output_that_cannot_be_written(monkeypatch, capsys, tmp_path, out, says):
    path = tmp_path / "bad.csv"
    path.write_text(TABLE)
    code, err = synthesize(monkeypatch, capsys, path, "--out", tmp_path / out, "--generator", "independent")
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1
    assert path.read_text() == TABLE and not (tmp_path / "gone").exists()
