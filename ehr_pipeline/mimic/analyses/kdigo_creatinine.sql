-- Acute kidney injury by creatinine alone: the highest KDIGO stage of each ICU stay
-- (KDIGO Clinical Practice Guideline for Acute Kidney Injury, Kidney Int Suppl 2012;2:1-138, table 2). The baseline is
-- the lowest value of the 7 days before; a rise of 0.3 mg/dL counts within 48 hours.
WITH creatinine AS (
    SELECT i.stay_id, i.intime, coalesce(i.outtime, i.intime + INTERVAL '7' DAY) AS outtime, l.charttime, l.valuenum
    FROM mimiciv_icu.icustays i JOIN mimiciv_hosp.labevents l ON l.subject_id = i.subject_id
        AND l.charttime >= i.intime - INTERVAL '7' DAY AND l.charttime <= coalesce(i.outtime, i.intime + INTERVAL '7' DAY)
    WHERE l.itemid = 50912 AND l.valuenum BETWEEN 0.1 AND 150
), compared AS (
    SELECT stay_id, intime, charttime, valuenum,
        min(valuenum) OVER (PARTITION BY stay_id ORDER BY charttime
            RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW) AS lowest_7d,
        min(valuenum) OVER (PARTITION BY stay_id ORDER BY charttime
            RANGE BETWEEN INTERVAL '2' DAY PRECEDING AND CURRENT ROW) AS lowest_2d
    FROM creatinine
), staged AS (
    SELECT stay_id, max(CASE
        WHEN valuenum >= 3.0 * lowest_7d THEN 3
        WHEN valuenum >= 4.0 AND (valuenum >= lowest_2d + 0.3 OR valuenum >= 1.5 * lowest_7d) THEN 3
        WHEN valuenum >= 2.0 * lowest_7d THEN 2
        WHEN valuenum >= 1.5 * lowest_7d OR valuenum >= lowest_2d + 0.3 THEN 1
        ELSE 0 END) AS stage
    FROM compared WHERE charttime >= intime GROUP BY stay_id
)
SELECT stage, count(*) AS n_stays, count(*) * 1.0 / sum(count(*)) OVER () AS share FROM staged GROUP BY stage ORDER BY stage
