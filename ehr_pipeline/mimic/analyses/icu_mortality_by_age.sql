-- Death in hospital of patients in intensive care, by ten years of age at admission (age as MIMIC-IV's documentation
-- has it: anchor age plus the years since the anchor year).
SELECT floor((p.anchor_age + extract(YEAR FROM a.admittime) - p.anchor_year) / 10) * 10 AS age_from,
    count(*) AS n_stays, avg(a.hospital_expire_flag) AS mortality
FROM mimiciv_icu.icustays i JOIN mimiciv_hosp.admissions a ON a.hadm_id = i.hadm_id
    JOIN mimiciv_hosp.patients p ON p.subject_id = i.subject_id
GROUP BY 1 ORDER BY 1
