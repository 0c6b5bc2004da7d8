"""The form in a browser: a reviewer judges offline, saves, and the command takes the file."""

from __future__ import annotations

import json
import shutil

import pytest

from ehr_pipeline.report.build import build_report
from ehr_pipeline.report.reviews import read_reviews, store_review
from ehr_pipeline.report.viewer import read_viewer
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.report import timeline_examples

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WHY = 'odd <b>"lactate"</b>\nand é 中文'


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs it")
def test_verdicts_are_given_saved_and_stored_without_a_network(tmp_path):
    from playwright.sync_api import sync_playwright

    data = DataFolder(tmp_path / "data")
    files = data.cohort("icu_48h").generator("timeline_markov")
    viewer = read_viewer(timeline_examples.write_events(files.events, timeline_examples.synthetic_events()))
    inputs = timeline_examples.inputs(1, viewer=viewer)
    object.__setattr__(inputs.cohort, "name", "icu_48h")
    page_file = tmp_path / "index.html"
    page_file.write_text(build_report(inputs).html, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(offline=True, accept_downloads=True).new_page()
        complaints, asked = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        button = page.get_by_role("button", name="Save verdicts")
        assert button.is_disabled()
        patients = page.locator("details.patient")
        for place, (answer, why) in enumerate([("yes", ""), ("no", WHY)]):
            patients.nth(place).locator("summary").click()
            patients.nth(place).locator(f"input[value={answer}]").check()
            patients.nth(place).locator("textarea").fill(why)
        assert button.is_disabled()  # nobody has said who judges
        page.get_by_placeholder("name or initials").fill("R. Koch")
        assert "2 of 20 judged" in page.get_by_role("status").inner_text()
        with page.expect_download() as waiting:
            button.click()
        waiting.value.save_as(tmp_path / "verdicts.json")
        assert waiting.value.suggested_filename == "verdicts-icu_48h-timeline_markov-R-Koch.json"
        assert "saved as" in page.get_by_role("status").inner_text()
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    said = json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8"))
    assert said["verdicts"][1] == {"patient": viewer.patients[1].number, "realistic": False, "why": WHY}
    store_review(data, "icu_48h", "timeline_markov", tmp_path / "verdicts.json")
    (stored,) = read_reviews(files)
    assert stored.reviewer == "R. Koch" and stored.verdicts[1].why == 'odd <b>"lactate"</b> and é 中文'
