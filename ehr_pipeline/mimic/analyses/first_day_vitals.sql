-- Vital signs of the first 24 hours of each ICU stay: per sign how many stays have it, and the mean over stays of
-- their lowest, mean and highest value. Implausible values are left out (limits: human physiology).
WITH sign (itemid, sign, lowest, highest) AS (
    VALUES (220045, 'heart rate', 1, 299), (220210, 'respiratory rate', 1, 69), (220277, 'oxygen saturation', 1, 100),
        (220179, 'systolic pressure', 1, 399), (220050, 'systolic pressure', 1, 399),
        (220181, 'mean pressure', 1, 299), (220052, 'mean pressure', 1, 299),
        (223761, 'temperature', 70, 120), (223762, 'temperature', 10, 50)
), measured AS (
    SELECT i.stay_id, s.sign, CASE WHEN c.itemid = 223761 THEN (c.valuenum - 32) / 1.8 ELSE c.valuenum END AS value
    FROM mimiciv_icu.icustays i
        JOIN mimiciv_icu.chartevents c ON c.stay_id = i.stay_id
            AND c.charttime >= i.intime AND c.charttime < i.intime + INTERVAL '1' DAY
        JOIN sign s ON s.itemid = c.itemid AND c.valuenum BETWEEN s.lowest AND s.highest
), per_stay AS (
    SELECT stay_id, sign, min(value) AS lowest, avg(value) AS mean, max(value) AS highest
    FROM measured GROUP BY stay_id, sign
)
SELECT sign, count(*) AS n_stays, avg(lowest) AS mean_lowest, avg(mean) AS mean, avg(highest) AS mean_highest
FROM per_stay GROUP BY sign ORDER BY sign
