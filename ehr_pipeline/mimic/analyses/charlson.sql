-- Charlson comorbidity index per admission, without age: how many admissions have each value
-- (weights: Charlson et al., J Chronic Dis 1987;40:373-383; codes: Quan et al., Med Care 2005;43:1130-1139, enhanced
-- ICD-9-CM and ICD-10, the main categories as code prefixes). Mild forms don't count beside severe ones.
WITH code (disease, weight, icd_version, pattern) AS (
    VALUES
        ('infarction', 1, 9, '^(410|412)'), ('infarction', 1, 10, '^(I21|I22|I252)'),
        ('heart failure', 1, 9, '^(428|39891|40201|40211|40291|40401|40403|40411|40413|40491|40493|425[4-9])'),
        ('heart failure', 1, 10, '^(I50|I43|I099|I110|I130|I132|I255|I420|I42[5-9]|P290)'),
        ('vessels', 1, 9, '^(440|441|0930|4373|443[1-9]|4471|5571|5579|V434)'),
        ('vessels', 1, 10, '^(I70|I71|I731|I738|I739|I771|I790|I792|K551|K558|K559|Z958|Z959)'),
        ('stroke', 1, 9, '^(43[0-8]|36234)'), ('stroke', 1, 10, '^(G45|G46|I6[0-9]|H340)'),
        ('dementia', 1, 9, '^(290|2941|3312)'), ('dementia', 1, 10, '^(F0[0-3]|G30|F051|G311)'),
        ('lungs', 1, 9, '^(49[0-9]|50[0-5]|4168|4169|5064|5081|5088)'),
        ('lungs', 1, 10, '^(J4[0-7]|J6[0-7]|I278|I279|J684|J701|J703)'),
        ('rheumatic', 1, 9, '^(725|4465|710[0-4]|714[0-2]|7148)'), ('rheumatic', 1, 10, '^(M05|M06|M315|M3[2-4]|M351|M353|M360)'),
        ('ulcer', 1, 9, '^53[1-4]'), ('ulcer', 1, 10, '^K2[5-8]'),
        ('liver, mild', 1, 9, '^(570|571|0706|0709|573[3489]|V427|070[23][23]|07044|07054)'),
        ('liver, mild', 1, 10, '^(B18|K73|K74|K70[0-39]|K71[3-57]|K760|K76[2-489]|Z944)'),
        ('diabetes, mild', 1, 9, '^250[0-389]'), ('diabetes, mild', 1, 10, '^E1[0-4][01689]'),
        ('diabetes', 2, 9, '^250[4-7]'), ('diabetes', 2, 10, '^E1[0-4][2-57]'),
        ('paralysis', 2, 9, '^(342|343|3341|344[0-69])'), ('paralysis', 2, 10, '^(G81|G82|G041|G114|G80[12]|G83[0-49])'),
        ('kidneys', 2, 9, '^(582|585|586|V56|5880|V420|V451|583[0-7]|40301|40311|40391|40402|40403|40412|40413|40492|40493)'),
        ('kidneys', 2, 10, '^(N18|N19|I120|I131|N03[2-7]|N05[2-7]|N250|Z49[0-2]|Z940|Z992)'),
        ('cancer', 2, 9, '^(1[4-6][0-9]|17[0-24-9]|18[0-9]|19[0-5]|20[0-8]|2386)'),
        ('cancer', 2, 10, '^(C[01][0-9]|C2[0-6]|C3[0-47-9]|C4[01356-9]|C5[0-8]|C6[0-9]|C7[0-6]|C8[1-58]|C9[0-7])'),
        ('liver', 3, 9, '^(456[0-2]|572[2-8])'), ('liver', 3, 10, '^(I850|I859|I864|I982|K704|K711|K721|K729|K765|K766|K767)'),
        ('metastases', 6, 9, '^19[6-9]'), ('metastases', 6, 10, '^(C7[7-9]|C80)'),
        ('aids', 6, 9, '^04[2-4]'), ('aids', 6, 10, '^B2[0-24]')
), found AS (
    SELECT DISTINCT d.hadm_id, c.disease, c.weight FROM mimiciv_hosp.diagnoses_icd d
        JOIN code c ON c.icd_version = d.icd_version AND regexp_matches(trim(d.icd_code), c.pattern)
), counted AS (
    SELECT * FROM found f
    WHERE NOT EXISTS (
        SELECT 1 FROM found g WHERE g.hadm_id = f.hadm_id AND (f.disease, g.disease) IN (
            ('liver, mild', 'liver'), ('diabetes, mild', 'diabetes'), ('cancer', 'metastases')))
), indexed AS (
    SELECT a.hadm_id, coalesce(sum(c.weight), 0) AS charlson
    FROM mimiciv_hosp.admissions a LEFT JOIN counted c ON c.hadm_id = a.hadm_id GROUP BY a.hadm_id
)
SELECT charlson::INTEGER AS charlson, count(*) AS n_admissions FROM indexed GROUP BY charlson ORDER BY charlson
