"""What the house promises: rooms where a reader looks for them, and doors that stay shut."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "ehr_pipeline"
STAGES = (
    "ingest", "cohort", "prepare", "generators", "sanity", "evaluate", "report", "mimic",
    "clinical", "simulate", "tables", "privacy", "release", "export",
)  # fmt: skip
SOURCES = sorted(LIBRARY.rglob("*.py"))
PURE = [path for path in SOURCES if path.relative_to(LIBRARY).parts[0] not in ("defs", "definitions.py", "cli.py")]


def name(path):
    return str(path.relative_to(LIBRARY))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", PURE, ids=name)
def test_the_library_never_imports_dagster(path):
    assert not [module for module in imported(path) if module.split(".")[0].startswith("dagster")]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_pickles(path):
    assert not {"pickle", "cloudpickle", "joblib", "dill", "shelve"} & {m.split(".")[0] for m in imported(path)}
    assert not re.search(r"torch\.(load|save)\(", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_validation_imports_great_expectations(path):
    if path != LIBRARY / "validation.py":
        assert "great_expectations" not in {module.split(".")[0] for module in imported(path)}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_each_module_says_what_belongs_in_it(path):
    assert len(ast.get_docstring(tree_of(path)) or "") > 40


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_is_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_a_room_and_a_test_room(stage):
    assert (LIBRARY / stage / "__init__.py").exists()
    assert list((ROOT / "ehr_pipeline_tests" / stage).glob("test_*.py"))


def test_no_two_functions_share_a_first_sentence():
    seen = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and (docstring := ast.get_docstring(node)):
                seen.setdefault(docstring.splitlines()[0], set()).add(node.name)
    assert not {sentence: names for sentence, names in seen.items() if len(names) > 1}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name not in ("storage.py",)], ids=name)
def test_only_storage_names_the_files_of_the_data_folder(path):
    named = re.compile(r"""["'](members|split|synthetic|table|events)\.parquet["']|["']warehouse\.duckdb["']""")
    code = ast.unparse(_without_docstrings(tree_of(path)))
    assert not named.search(code)


def _without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                line for line in node.body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ] or [ast.Pass()]
    return tree
