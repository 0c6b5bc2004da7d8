"use strict";
// Verdicts stay in the page until they are saved as a file; nothing is sent anywhere.
for (const viewer of document.querySelectorAll(".viewer")) {
  const { format, cohort, generator, events } = viewer.dataset;
  const patients = [...viewer.querySelectorAll(".patient")];
  const reviewer = viewer.querySelector(".save input");
  const button = viewer.querySelector(".save button");
  const status = viewer.querySelector(".save [role=status]");
  let isSaved = true;

  const verdictOf = (patient) => {
    const chosen = patient.querySelector("input[type=radio]:checked");
    if (!chosen) return null;
    const why = patient.querySelector("textarea").value.trim();
    return { patient: Number(patient.dataset.patient), realistic: chosen.value === "yes", why };
  };
  const verdicts = () => patients.map(verdictOf).filter((verdict) => verdict !== null);

  const show = () => {
    for (const patient of patients) {
      const verdict = verdictOf(patient);
      patient.querySelector(".judged").textContent = verdict ? (verdict.realistic ? "· realistic" : "· not realistic") : "";
    }
    const n = verdicts().length;
    button.disabled = n === 0 || reviewer.value.trim() === "";
    const missing = n > 0 && button.disabled ? " Say who you are to save them." : "";
    status.textContent = n === 0 ? "Nothing judged yet." : `${n} of ${patients.length} judged.${missing}`;
  };

  viewer.addEventListener("input", () => {
    isSaved = false;
    show();
  });
  button.addEventListener("click", () => {
    const content = { format, cohort, generator, events_sha256: events, reviewer: reviewer.value.trim(), verdicts: verdicts() };
    const file = new Blob([JSON.stringify(content, null, 2) + "\n"], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    const initials = content.reviewer.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "reviewer";
    link.download = `verdicts-${cohort}-${generator}-${initials}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    isSaved = true;
    status.textContent = `${content.verdicts.length} verdicts saved as ${link.download}.`;
  });
  window.addEventListener("beforeunload", (leaving) => {
    if (!isSaved && verdicts().length) leaving.preventDefault();
  });
  show();
}
