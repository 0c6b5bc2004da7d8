-- Laboratory values from 6 hours before to 24 hours after each ICU admission: per test how many stays have it, and the
-- mean over stays of their lowest and highest value.
WITH test (itemid, test) AS (
    VALUES (50912, 'creatinine'), (51006, 'urea nitrogen'), (50983, 'sodium'), (50971, 'potassium'),
        (50882, 'bicarbonate'), (50931, 'glucose'), (51222, 'haemoglobin'), (51265, 'platelets'),
        (51301, 'white blood cells'), (50813, 'lactate'), (50885, 'bilirubin')
), per_stay AS (
    SELECT i.stay_id, t.test, min(l.valuenum) AS lowest, max(l.valuenum) AS highest
    FROM mimiciv_icu.icustays i
        JOIN mimiciv_hosp.labevents l ON l.subject_id = i.subject_id
            AND l.charttime >= i.intime - INTERVAL '6' HOUR AND l.charttime < i.intime + INTERVAL '1' DAY
        JOIN test t ON t.itemid = l.itemid
    WHERE l.valuenum > 0
    GROUP BY i.stay_id, t.test
)
SELECT test, count(*) AS n_stays, avg(lowest) AS mean_lowest, avg(highest) AS mean_highest
FROM per_stay GROUP BY test ORDER BY test
