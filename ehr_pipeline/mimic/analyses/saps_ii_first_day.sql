-- Components of SAPS II that the first 24 hours in intensive care give: age, physiology, urine
-- (Le Gall, Lemeshow, Saulnier, JAMA 1993;270:2957-2963, table 3). Ventilation, type of admission and chronic disease
-- are left out. The worst value is the one with the most points; what was not measured scores 0.
WITH stay AS (
    SELECT i.stay_id, i.subject_id, i.intime, i.intime + INTERVAL '1' DAY AS until,
        p.anchor_age + extract(YEAR FROM i.intime) - p.anchor_year AS age
    FROM mimiciv_icu.icustays i JOIN mimiciv_hosp.patients p ON p.subject_id = i.subject_id
), charted AS (
    SELECT s.stay_id, c.itemid, CASE WHEN c.itemid = 223761 THEN (c.valuenum - 32) / 1.8 ELSE c.valuenum END AS value
    FROM stay s JOIN mimiciv_icu.chartevents c ON c.stay_id = s.stay_id
        AND c.charttime >= s.intime AND c.charttime < s.until
    WHERE c.itemid IN (220045, 220179, 220050, 223761, 223762, 220739, 223900, 223901) AND c.valuenum > 0
), sign AS (
    SELECT stay_id,
        max(CASE WHEN itemid <> 220045 THEN NULL WHEN value < 40 THEN 11 WHEN value < 70 THEN 2 WHEN value < 120 THEN 0
            WHEN value < 160 THEN 4 ELSE 7 END) AS heart_rate,
        max(CASE WHEN itemid NOT IN (220179, 220050) THEN NULL WHEN value < 70 THEN 13 WHEN value < 100 THEN 5
            WHEN value < 200 THEN 0 ELSE 2 END) AS systolic_pressure,
        max(CASE WHEN itemid NOT IN (223761, 223762) THEN NULL WHEN value >= 39 THEN 3 ELSE 0 END) AS temperature,
        min(CASE WHEN itemid = 220739 THEN value END) + min(CASE WHEN itemid = 223900 THEN value END)
            + min(CASE WHEN itemid = 223901 THEN value END) AS gcs
    FROM charted GROUP BY stay_id
), lab AS (
    SELECT s.stay_id,
        max(CASE WHEN itemid <> 51006 THEN NULL WHEN valuenum < 28 THEN 0 WHEN valuenum < 84 THEN 6 ELSE 10 END) AS urea,
        max(CASE WHEN itemid <> 51301 THEN NULL WHEN valuenum < 1 THEN 12 WHEN valuenum < 20 THEN 0 ELSE 3 END) AS white_cells,
        max(CASE WHEN itemid <> 50971 THEN NULL WHEN valuenum >= 3 AND valuenum < 5 THEN 0 ELSE 3 END) AS potassium,
        max(CASE WHEN itemid <> 50983 THEN NULL WHEN valuenum < 125 THEN 5 WHEN valuenum < 145 THEN 0 ELSE 1 END) AS sodium,
        max(CASE WHEN itemid <> 50882 THEN NULL WHEN valuenum < 15 THEN 6 WHEN valuenum < 20 THEN 3 ELSE 0 END) AS bicarbonate,
        max(CASE WHEN itemid <> 50885 THEN NULL WHEN valuenum < 4 THEN 0 WHEN valuenum < 6 THEN 4 ELSE 9 END) AS bilirubin
    FROM stay s JOIN mimiciv_hosp.labevents l ON l.subject_id = s.subject_id
        AND l.charttime >= s.intime - INTERVAL '6' HOUR AND l.charttime < s.until
    WHERE l.itemid IN (51006, 51301, 50971, 50983, 50882, 50885) AND l.valuenum > 0
    GROUP BY s.stay_id
), urine AS (
    SELECT s.stay_id, CASE WHEN sum(o.value) < 500 THEN 11 WHEN sum(o.value) < 1000 THEN 4 ELSE 0 END AS urine
    FROM stay s JOIN mimiciv_icu.outputevents o ON o.stay_id = s.stay_id AND o.charttime >= s.intime
        AND o.charttime < s.until
    WHERE o.itemid IN (226559, 226560, 226561, 226584, 226563, 226564, 226565, 226567, 226557, 226558, 227489)
    GROUP BY s.stay_id
), scored AS (
    SELECT s.stay_id,
        CASE WHEN age < 40 THEN 0 WHEN age < 60 THEN 7 WHEN age < 70 THEN 12 WHEN age < 75 THEN 15 WHEN age < 80 THEN 16
            WHEN age >= 80 THEN 18 ELSE 0 END AS age,
        coalesce(heart_rate, 0) AS heart_rate, coalesce(systolic_pressure, 0) AS systolic_pressure,
        coalesce(temperature, 0) AS temperature,
        CASE WHEN gcs < 6 THEN 26 WHEN gcs < 9 THEN 13 WHEN gcs < 11 THEN 7 WHEN gcs < 14 THEN 5 ELSE 0 END AS gcs,
        coalesce(urea, 0) AS urea, coalesce(white_cells, 0) AS white_cells, coalesce(potassium, 0) AS potassium,
        coalesce(sodium, 0) AS sodium, coalesce(bicarbonate, 0) AS bicarbonate, coalesce(bilirubin, 0) AS bilirubin,
        coalesce(urine, 0) AS urine
    FROM stay s LEFT JOIN sign USING (stay_id) LEFT JOIN lab USING (stay_id) LEFT JOIN urine USING (stay_id)
), component AS (
    UNPIVOT (
        SELECT *, age + heart_rate + systolic_pressure + temperature + gcs + urea + white_cells + potassium + sodium
            + bicarbonate + bilirubin + urine AS total FROM scored
    ) ON age, heart_rate, systolic_pressure, temperature, gcs, urea, white_cells, potassium, sodium, bicarbonate,
        bilirubin, urine, total INTO NAME component VALUE points
)
SELECT component, count(*) AS n_stays, avg(points) AS mean_points,
    avg(CASE WHEN points > 0 THEN 1.0 ELSE 0.0 END) AS share_above_0
FROM component GROUP BY component ORDER BY component
