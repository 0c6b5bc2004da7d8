-- Suspicion of infection per admission: an antibiotic and a culture together (Seymour et al., JAMA 2016;315:762-774):
-- a culture within 24 hours after the antibiotic, or the antibiotic within 72 hours after the culture.
WITH antibiotic AS (
    SELECT subject_id, hadm_id, starttime FROM mimiciv_hosp.prescriptions
    WHERE starttime IS NOT NULL AND regexp_matches(lower(drug),
        'cillin|cef|penem|aztreonam|micin|mycin|amikacin|floxacin|cycline|sulfameth|metronidazole|linezolid|nitrofurantoin')
        AND coalesce(route, '') NOT IN ('TP', 'OU', 'OD', 'OS', 'AU', 'AD', 'AS', 'BOTH EYES', 'LEFT EYE', 'RIGHT EYE')
), culture AS (
    SELECT subject_id, coalesce(charttime, chartdate) AS taken FROM mimiciv_hosp.microbiologyevents
), suspected AS (
    SELECT DISTINCT a.hadm_id FROM antibiotic a JOIN culture c ON c.subject_id = a.subject_id
        AND (c.taken BETWEEN a.starttime AND a.starttime + INTERVAL '24' HOUR
            OR a.starttime BETWEEN c.taken AND c.taken + INTERVAL '72' HOUR)
)
SELECT s.hadm_id IS NOT NULL AS suspected, count(*) AS n_admissions, avg(a.hospital_expire_flag) AS mortality
FROM mimiciv_hosp.admissions a LEFT JOIN suspected s ON s.hadm_id = a.hadm_id GROUP BY 1 ORDER BY 1
