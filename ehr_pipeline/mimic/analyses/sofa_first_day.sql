-- Components of the SOFA score from the worst values of the first 24 hours in intensive care
-- (Vincent et al., Intensive Care Med 1996;22:707-710, table 3). What was not measured scores 0, as is usual.
-- Respiration takes the lowest PaO2 over the highest inspired fraction, whether or not they are of one moment.
WITH stay AS (
    SELECT stay_id, subject_id, intime, intime + INTERVAL '1' DAY AS until FROM mimiciv_icu.icustays
), charted AS (
    SELECT s.stay_id,
        min(CASE WHEN c.itemid IN (220181, 220052) AND c.valuenum BETWEEN 1 AND 299 THEN c.valuenum END) AS pressure,
        min(CASE WHEN c.itemid = 220739 THEN c.valuenum END) + min(CASE WHEN c.itemid = 223900 THEN c.valuenum END)
            + min(CASE WHEN c.itemid = 223901 THEN c.valuenum END) AS gcs,
        max(CASE WHEN c.itemid = 223835 AND c.valuenum BETWEEN 0.21 AND 1 THEN c.valuenum
            WHEN c.itemid = 223835 AND c.valuenum BETWEEN 21 AND 100 THEN c.valuenum / 100 END) AS fio2
    FROM stay s JOIN mimiciv_icu.chartevents c ON c.stay_id = s.stay_id
        AND c.charttime >= s.intime AND c.charttime < s.until
    WHERE c.itemid IN (220181, 220052, 220739, 223900, 223901, 223835)
    GROUP BY s.stay_id
), lab AS (
    SELECT s.stay_id, min(CASE WHEN l.itemid = 51265 THEN l.valuenum END) AS platelets,
        max(CASE WHEN l.itemid = 50885 THEN l.valuenum END) AS bilirubin,
        max(CASE WHEN l.itemid = 50912 THEN l.valuenum END) AS creatinine,
        min(CASE WHEN l.itemid = 50821 AND l.valuenum > 0 THEN l.valuenum END) AS pao2
    FROM stay s JOIN mimiciv_hosp.labevents l ON l.subject_id = s.subject_id
        AND l.charttime >= s.intime - INTERVAL '6' HOUR AND l.charttime < s.until
    WHERE l.itemid IN (51265, 50885, 50912, 50821)
    GROUP BY s.stay_id
), drug AS (
    SELECT s.stay_id, max(CASE WHEN d.itemid IN (221906, 221289) THEN d.rate END) AS adrenaline,
        max(CASE WHEN d.itemid = 221662 THEN d.rate END) AS dopamine,
        max(CASE WHEN d.itemid = 221653 THEN d.rate END) AS dobutamine
    FROM stay s JOIN mimiciv_icu.inputevents d ON d.stay_id = s.stay_id AND d.starttime >= s.intime
        AND d.starttime < s.until
    WHERE d.rateuom = 'mcg/kg/min' AND d.rate > 0
    GROUP BY s.stay_id
), urine AS (
    SELECT s.stay_id, sum(CASE WHEN o.itemid = 227488 THEN -o.value ELSE o.value END) AS ml
    FROM stay s JOIN mimiciv_icu.outputevents o ON o.stay_id = s.stay_id AND o.charttime >= s.intime
        AND o.charttime < s.until
    WHERE o.itemid IN (226559, 226560, 226561, 226584, 226563, 226564, 226565, 226567, 226557, 226558, 227488, 227489)
    GROUP BY s.stay_id
), scored AS (
    SELECT s.stay_id,
        CASE WHEN pao2 / fio2 < 100 THEN 4 WHEN pao2 / fio2 < 200 THEN 3 WHEN pao2 / fio2 < 300 THEN 2
            WHEN pao2 / fio2 < 400 THEN 1 ELSE 0 END AS respiration,
        CASE WHEN platelets < 20 THEN 4 WHEN platelets < 50 THEN 3 WHEN platelets < 100 THEN 2
            WHEN platelets < 150 THEN 1 ELSE 0 END AS coagulation,
        CASE WHEN bilirubin >= 12 THEN 4 WHEN bilirubin >= 6 THEN 3 WHEN bilirubin >= 2 THEN 2
            WHEN bilirubin >= 1.2 THEN 1 ELSE 0 END AS liver,
        CASE WHEN dopamine > 15 OR adrenaline > 0.1 THEN 4 WHEN dopamine > 5 OR adrenaline > 0 THEN 3
            WHEN dopamine > 0 OR dobutamine > 0 THEN 2 WHEN pressure < 70 THEN 1 ELSE 0 END AS cardiovascular,
        CASE WHEN gcs < 6 THEN 4 WHEN gcs < 10 THEN 3 WHEN gcs < 13 THEN 2 WHEN gcs < 15 THEN 1 ELSE 0 END AS nervous,
        CASE WHEN creatinine >= 5 OR ml < 200 THEN 4 WHEN creatinine >= 3.5 OR ml < 500 THEN 3
            WHEN creatinine >= 2 THEN 2 WHEN creatinine >= 1.2 THEN 1 ELSE 0 END AS renal
    FROM stay s LEFT JOIN charted USING (stay_id) LEFT JOIN lab USING (stay_id) LEFT JOIN drug USING (stay_id)
        LEFT JOIN urine USING (stay_id)
), component AS (
    UNPIVOT (SELECT *, respiration + coagulation + liver + cardiovascular + nervous + renal AS total FROM scored)
    ON respiration, coagulation, liver, cardiovascular, nervous, renal, total INTO NAME component VALUE points
)
SELECT component, count(*) AS n_stays, avg(points) AS mean_points,
    avg(CASE WHEN points > 0 THEN 1.0 ELSE 0.0 END) AS share_above_0
FROM component GROUP BY component ORDER BY component
