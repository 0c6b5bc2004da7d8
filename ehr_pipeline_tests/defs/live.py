"""A real `dagster dev` on a free port, spoken to over GraphQL as the UI does it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
SELECTOR = {"repositoryLocationName": "ehr_pipeline", "repositoryName": "__repository__"}

LAUNCH = """
mutation Launch($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { id } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
STATUS = "query Run($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
RUNS = """
query Runs($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) { ... on Runs { results { runId } } } }"""
LOCATIONS = """
query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DagsterDev:
    """The running server: `url`, `graphql(query, variables)`, `launch(...)`, `wait(run_id)`."""

    def __init__(self, url):
        self.url = url

    def graphql(self, query, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = json.load(answer)
        assert "errors" not in content, content["errors"]
        return content["data"]

    def launch(self, job, partition=None, config=None):
        """Launch a job as the launchpad does; returns the run's id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {
            "selector": {**SELECTOR, "pipelineName": job},
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {"tags": tags},
        }
        answer = self.graphql(LAUNCH, executionParams=params)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["id"]

    def run_of(self, partition, timeout_s=30):
        """The one run of a partition, once it is there."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self.graphql(RUNS, tags=[{"key": "dagster/partition", "value": partition}])
            if runs := answer["runsOrError"]["results"]:
                (run,) = runs
                return run["runId"]
            time.sleep(0.5)
        raise TimeoutError(f"no run of {partition} was started in {timeout_s} s")

    def wait(self, run_id, timeout_s=240):
        """The run's final status."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.graphql(STATUS, id=run_id)["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(1)
        raise TimeoutError(f"run {run_id} did not end in {timeout_s} s")


@contextlib.contextmanager
def dagster_dev(data, log, **environment):
    """Serve the project over a data folder; the whole process group is gone at the end."""
    port = free_port()
    env = {**os.environ, **environment}
    command = [str(Path(sys.executable).parent / "ehr-pipeline"), "ui", "--data", str(data), "--port", str(port)]
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        server = DagsterDev(f"http://127.0.0.1:{port}")
        _wait_until_loaded(server, process, log)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_loaded(server, process, log, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, Path(log).read_text()[-2000:]
        with contextlib.suppress(OSError, AssertionError):
            (entry,) = server.graphql(LOCATIONS)["workspaceOrError"]["locationEntries"]
            if entry["loadStatus"] == "LOADED":
                assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
                return
        time.sleep(0.5)
    raise TimeoutError(Path(log).read_text()[-2000:])
