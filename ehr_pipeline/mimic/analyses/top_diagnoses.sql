-- The twenty most common diagnoses by their titles in the dictionary, and the share of admissions that have them.
SELECT d.long_title, count(DISTINCT x.hadm_id) AS n_admissions,
    count(DISTINCT x.hadm_id) * 1.0 / (SELECT count(*) FROM mimiciv_hosp.admissions) AS share
FROM mimiciv_hosp.diagnoses_icd x
    JOIN mimiciv_hosp.d_icd_diagnoses d ON d.icd_code = x.icd_code AND d.icd_version = x.icd_version
GROUP BY d.long_title ORDER BY n_admissions DESC, d.long_title LIMIT 20
