-- The twenty most prescribed drugs, and the share of admissions in which they were.
SELECT drug, count(*) AS n_prescriptions,
    count(DISTINCT hadm_id) * 1.0 / (SELECT count(*) FROM mimiciv_hosp.admissions) AS share
FROM mimiciv_hosp.prescriptions WHERE drug_type = 'MAIN' GROUP BY drug ORDER BY n_prescriptions DESC, drug LIMIT 20
