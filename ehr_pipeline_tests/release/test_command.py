"""What the commands promise: exit codes, one line per reason on stderr, results on stdout."""

import pytest
import yaml
from typer.testing import CliRunner

from ehr_pipeline.cli import app
from ehr_pipeline.release.layout import CSV
from ehr_pipeline.release.policy import Policy
from ehr_pipeline.release.signing import public_pem, signing_key

from .conftest import edit

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bundle(data):
    done = run("release", "--cohort", "small", "--generator", "independent", "--data", data.root)
    assert done.exit_code == 0, done.stderr
    return next(path for path in data.releases("small").iterdir() if path.is_dir())


def test_a_release_prints_where_it_is_and_who_signed_it(bundle, data):
    done = run("verify", bundle)
    assert done.exit_code == 0 and "every file is what was signed" in done.stdout
    (data.root / "public.pem").write_bytes(public_pem(signing_key(data.signing_key).public_key()))
    assert run("verify", bundle, "--public-key", data.root / "public.pem").exit_code == 0


def test_an_altered_bundle_exits_1_and_names_the_file(bundle):
    victim = bundle / CSV
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    done = run("verify", bundle)
    assert done.exit_code == 1 and done.stderr.startswith(f"altered: {victim.relative_to(bundle)}")
    assert not done.stdout


def test_a_refusal_exits_1_with_one_line_per_reason(data):
    edit(data.cohort("small").generator("independent").sanity, lambda content: content.update(passed=False))
    done = run("release", "--cohort", "small", "--generator", "independent", "--data", data.root)
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and not done.stdout
    assert len(lines) >= 2 and all(line.startswith("refused: ") for line in lines)


def test_the_policy_is_printed_as_a_file_that_reads_back(data):
    data.policy.write_text("epsilon_cap: 1.5\n")
    done = run("release", "--show-policy", "--data", data.root)
    assert done.exit_code == 0
    assert Policy.model_validate(yaml.safe_load(done.stdout)) == Policy(epsilon_cap=1.5)
