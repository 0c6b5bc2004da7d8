-- Length of stay in days, in hospital and in intensive care: quartiles and the share of long stays.
WITH stay AS (
    SELECT 'hospital' AS place, extract(EPOCH FROM (dischtime - admittime)) / 86400 AS days FROM mimiciv_hosp.admissions
    UNION ALL
    SELECT 'intensive care', los FROM mimiciv_icu.icustays
)
SELECT place, count(days) AS n_stays, quantile_cont(days, 0.25) AS quarter, median(days) AS median,
    quantile_cont(days, 0.75) AS three_quarters, avg(CASE WHEN days > 3 THEN 1.0 ELSE 0.0 END) AS over_3_days,
    avg(CASE WHEN days > 7 THEN 1.0 ELSE 0.0 END) AS over_7_days
FROM stay WHERE days IS NOT NULL GROUP BY place ORDER BY place
