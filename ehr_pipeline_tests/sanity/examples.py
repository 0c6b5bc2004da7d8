"""For every rule id, the smallest records that keep it and that break it, so that a rule that cannot fire is found.

TABLE: values of the placeholders of a table form (lists of values where the rule is about the whole table).
WAREHOUSE: rows by table name; what is not named is null. `measured` rules have a value that keeps and one that breaks.
"""

TABLE = {
    "R23-readmission": ({"died": 1, "readmitted": 0}, {"died": 1, "readmitted": 1}),
    "R28-age": ({"age": 0}, {"age": 121}),
    "R29": ({"height_cm": 170}, {"height_cm": 120}),
    "R30": ({"weight_kg": 80}, {"weight_kg": 401}),
    "R31": (
        {"weight_kg": 80, "height_cm": 200, "bmi": 21.0},
        {"weight_kg": 80, "height_cm": 200, "bmi": 23.0},
    ),
    "R32": ({"bmi": 10}, {"bmi": 81}),
    "R34": ({"heart_rate": 299}, {"heart_rate": 300}),
    "R35": ({"systolic_bp": 120}, {"systolic_bp": 0}),
    "R36": ({"diastolic_bp": 80}, {"diastolic_bp": 300}),
    "R37": ({"mean_bp": 90}, {"mean_bp": -1}),
    "R38": ({"systolic_bp": 120, "diastolic_bp": 119}, {"systolic_bp": 120, "diastolic_bp": 120}),
    "R39": (
        {"systolic_bp": 120, "diastolic_bp": 80, "mean_bp": 125},
        {"systolic_bp": 120, "diastolic_bp": 80, "mean_bp": 74},
    ),
    "R40": ({"respiratory_rate": 16}, {"respiratory_rate": 70}),
    "R41": ({"temperature_c": 45}, {"temperature_c": 45.1}),
    "R42": ({"spo2": 100}, {"spo2": 101}),
    "R43": ({"fio2": 20}, {"fio2": 19}),
    "R44": ({"peep": 0}, {"peep": 41}),
    "R45-eye": ({"gcs_eye": 1}, {"gcs_eye": 0}),
    "R45-verbal": ({"gcs_verbal": 0}, {"gcs_verbal": 6}),
    "R45-motor": ({"gcs_motor": 6}, {"gcs_motor": 7}),
    "R46": ({"creatinine": 150}, {"creatinine": 150.1}),
    "R46-soft": ({"creatinine": 0.1}, {"creatinine": 31}),
    "R47": ({"urea_nitrogen": 20}, {"urea_nitrogen": 0}),
    "R48": ({"sodium": 140}, {"sodium": 201}),
    "R48-soft": ({"sodium": 95}, {"sodium": 94}),
    "R49": ({"potassium": 4}, {"potassium": 31}),
    "R49-soft": ({"potassium": 10}, {"potassium": 1.4}),
    "R50-chloride": ({"chloride": 100}, {"chloride": 151}),
    "R50-bicarbonate": ({"bicarbonate": 24}, {"bicarbonate": 1}),
    "R50-calcium": ({"calcium": 9}, {"calcium": 21}),
    "R51": ({"glucose": 10}, {"glucose": 2001}),
    "R52-albumin": ({"albumin": 10}, {"albumin": 10.1}),
    "R52-globulin": ({"globulin": 3}, {"globulin": 11}),
    "R52-protein": ({"total_protein": 7}, {"total_protein": 21}),
    "R52-pair": ({"albumin": 4, "total_protein": 7}, {"albumin": 7, "total_protein": 7}),
    "R53": (  # 140 + 4 - 100 - 24 = 20
        {"anion_gap": 20, "sodium": 140, "potassium": 4, "chloride": 100, "bicarbonate": 24},
        {"anion_gap": 31, "sodium": 140, "potassium": 4, "chloride": 100, "bicarbonate": 24},
    ),
    "R54-haemoglobin": ({"haemoglobin": 14}, {"haemoglobin": 1}),
    "R54-haematocrit": ({"haematocrit": 42}, {"haematocrit": 76}),
    "R54-pair": ({"haemoglobin": 14, "haematocrit": 42}, {"haemoglobin": 14, "haematocrit": 60}),
    "R55-platelets": ({"platelets": 200}, {"platelets": 3001}),
    "R55-white": ({"white_blood_cells": 8}, {"white_blood_cells": 0}),
    "R55-red": ({"red_blood_cells": 5}, {"red_blood_cells": 11}),
    "R56": (  # 10 * 45 / 5 = 90
        {"mcv": 90, "haematocrit": 45, "red_blood_cells": 5},
        {"mcv": 100, "haematocrit": 45, "red_blood_cells": 5},
    ),
    "R57": ({"hba1c": 3}, {"hba1c": 2.9}),
    "R58": ({"cholesterol": 600}, {"cholesterol": 49}),
    "R58-parts": (
        {"cholesterol": 200, "hdl_cholesterol": 60, "ldl_cholesterol": 120},
        {"cholesterol": 200, "hdl_cholesterol": 100, "ldl_cholesterol": 121},
    ),
    "R59-ph": ({"ph": 7.4}, {"ph": 8.1}),
    "R59-pco2": ({"pco2": 40}, {"pco2": 0}),
    "R59-po2": ({"po2": 90}, {"po2": -1}),
    "R60": ({"lactate": 50}, {"lactate": 51}),
    "R61": ({"inr": 1}, {"inr": 0.4}),
    "R61-pair": ({"inr": 1, "prothrombin_time": 12}, {"inr": 1, "prothrombin_time": 21}),
    "R62-troponin": ({"troponin_t": 0}, {"troponin_t": -0.1}),
    "R62-bnp": ({"nt_probnp": 0}, {"nt_probnp": -1}),
    "R62-pair": (
        {"bilirubin_direct": 1, "bilirubin_total": 1},
        {"bilirubin_direct": 2, "bilirubin_total": 1},
    ),
    "R64": ({"sex": "F", "pregnancy": 1}, {"sex": "M", "pregnancy": 1}),
    "R65": ({"sex": "M", "female_disease": 0}, {"sex": "M", "female_disease": 1}),
    "R66": ({"sex": "M", "male_disease": 1}, {"sex": "F", "male_disease": 1}),
    "R67-psa": ({"sex": "M", "psa": 1.0}, {"sex": "F", "psa": 1.0}),
    "R68": ({"age": 60, "pregnancy": 1}, {"age": 61, "pregnancy": 1}),
    "R71-insulin": ({"drug": 1, "diabetes": 1}, {"drug": 1, "diabetes": 0}),
    "R71-metformin": ({"drug": 0, "diabetes": 0}, {"drug": 1, "diabetes": 0}),
    "R72": ({"type_1": 1, "type_2": 0}, {"type_1": 1, "type_2": 1}),
    "R77": ({"drug": 1, "pregnancy": 0}, {"drug": 1, "pregnancy": 1}),
    "R78": ({"died": 1, "discharge": "died"}, {"died": 0, "discharge": "died"}),
    "R79": (
        {"hba1c": [5.0, 5.5, 7.0, 8.0], "diabetes": [0, 1, 1, 1]},
        {"hba1c": [5.0, 5.5, 7.0, 8.0], "diabetes": [1, 1, 1, 0]},
    ),
}

MEASURED = {
    "R30": (80, 401),
    "R34": (80, 0),
    "R35": (120, 400),
    "R36": (80, 0),
    "R37": (90, 300),
    "R40": (16, 70),
    "R41-celsius": (37, 50),
    "R41-fahrenheit": (98, 70),
    "R42": (98, 101),
    "R44": (5, 41),
    "R45-eye": (4, 5),
    "R45-verbal": (0, 6),
    "R45-motor": (6, 0),
    "R46": (1, 0),
    "R46-soft": (1, 31),
    "R47": (20, 301),
    "R48": (140, 0),
    "R48-soft": (140, 186),
    "R49": (4, 31),
    "R49-soft": (4, 11),
    "R50-chloride": (100, 59),
    "R50-bicarbonate": (24, 61),
    "R50-calcium": (9, 2),
    "R51": (100, 9),
    "R52-albumin": (4, 11),
    "R52-globulin": (3, 11),
    "R52-protein": (7, 21),
    "R54-haemoglobin": (14, 26),
    "R54-haematocrit": (42, 4),
    "R55-platelets": (200, 0),
    "R55-white": (8, 1001),
    "R55-red": (5, 0),
    "R57": (6, 21),
    "R58": (200, 601),
    "R59-ph": (7.4, 6.4),
    "R59-pco2": (40, 0),
    "R59-po2": (90, 0),
    "R60": (1, 0),
    "R61": (1, 31),
    "R62-troponin": (0, -1),
    "R62-bnp": (0, -1),
    "R63": (1, 0),
}

_PATIENT = {"subject_id": 1, "gender": "F", "anchor_age": 50, "anchor_year": 2150}
_MALE = {**_PATIENT, "gender": "M"}
_STAY = {"subject_id": 1, "hadm_id": 10, "admittime": "2150-01-01 08:00", "dischtime": "2150-01-05 08:00"}
_ICU = {"subject_id": 1, "hadm_id": 10, "stay_id": 100, "intime": "2150-01-01 10:00", "outtime": "2150-01-02 10:00"}
_ICD10 = {"subject_id": 1, "hadm_id": 10, "icd_version": 10}
_DRUG = {"subject_id": 1, "hadm_id": 10}


def _lab(itemid: int, value: float | None = None, **more) -> dict:
    return {"subject_id": 1, "hadm_id": 10, "specimen_id": 5, "itemid": itemid, "valuenum": value, **more}


def _chart(itemid: int, value: float) -> dict:
    return {"subject_id": 1, "stay_id": 100, "itemid": itemid, "charttime": "2150-01-01 12:00", "valuenum": value}


WAREHOUSE = {
    "R01": ({"patients": [_PATIENT]}, {"patients": [_PATIENT, _PATIENT]}),
    "R02-hadm": ({"admissions": [_STAY]}, {"admissions": [_STAY, _STAY]}),
    "R02-stay": ({"icustays": [_ICU]}, {"icustays": [_ICU, _ICU]}),
    "R02-lab": ({"labevents": [{"labevent_id": 1}]}, {"labevents": [{"labevent_id": None}]}),
    "R03": (
        {"diagnoses_icd": [{**_ICD10, "seq_num": 1, "icd_code": "I10"}, {**_ICD10, "seq_num": 2, "icd_code": "I10"}]},
        {"diagnoses_icd": [{**_ICD10, "seq_num": 1, "icd_code": "I10"}] * 2},
    ),
    "R04": ({"patients": [_PATIENT], "admissions": [_STAY]}, {"admissions": [_STAY]}),
    "R05-diagnoses": (
        {"admissions": [_STAY], "diagnoses_icd": [_ICD10]},
        {"admissions": [_STAY], "diagnoses_icd": [{**_ICD10, "subject_id": 2}]},
    ),
    "R05-procedures": (
        {"admissions": [_STAY], "procedures_icd": [_ICD10]},
        {"admissions": [_STAY], "procedures_icd": [{**_ICD10, "hadm_id": 11}]},
    ),
    "R05-prescriptions": (
        {"admissions": [_STAY], "prescriptions": [_DRUG]},
        {"admissions": [_STAY], "prescriptions": [{**_DRUG, "subject_id": 2}]},
    ),
    "R06": (
        {"admissions": [_STAY], "icustays": [_ICU]},
        {"admissions": [_STAY], "icustays": [{**_ICU, "hadm_id": 11}]},
    ),
    "R07-lab": ({"d_labitems": [{"itemid": 50912}], "labevents": [_lab(50912, 1)]}, {"labevents": [_lab(50912, 1)]}),
    "R07-chart": (
        {"d_items": [{"itemid": 220045}], "chartevents": [_chart(220045, 80)]},
        {"chartevents": [_chart(220045, 80)]},
    ),
    "R08": (
        {
            "d_icd_diagnoses": [{"icd_code": "I10", "icd_version": 10}],
            "diagnoses_icd": [{**_ICD10, "icd_code": "I10"}],
        },
        {
            "d_icd_diagnoses": [{"icd_code": "I10", "icd_version": 10}],
            "diagnoses_icd": [{**_ICD10, "icd_code": "I10", "icd_version": 9}],
        },
    ),
    "R09": (
        {"diagnoses_icd": [{**_ICD10, "icd_code": "E119"}, {**_ICD10, "icd_code": "V4511", "icd_version": 9}]},
        {"diagnoses_icd": [{**_ICD10, "icd_code": "E11.9"}]},
    ),
    "R10-gender": ({"patients": [_PATIENT]}, {"patients": [{**_PATIENT, "gender": "X"}]}),
    "R10-died": (
        {"admissions": [{**_STAY, "hospital_expire_flag": 0}]},
        {"admissions": [{**_STAY, "hospital_expire_flag": None}]},
    ),
    "R11": (
        {"diagnoses_icd": [{**_ICD10, "seq_num": 1}, {**_ICD10, "seq_num": 2}]},
        {"diagnoses_icd": [{**_ICD10, "seq_num": 1}, {**_ICD10, "seq_num": 3}]},
    ),
    "R12": (
        {"labevents": [_lab(50912, 1, valueuom="mg/dL")]},
        {"labevents": [_lab(50912, 88, valueuom="umol/L")]},
    ),
    "R13": ({"admissions": [_STAY]}, {"admissions": [{**_STAY, "dischtime": "2150-01-01 08:00"}]}),
    "R14": ({"icustays": [_ICU]}, {"icustays": [{**_ICU, "outtime": "2150-01-01 09:00"}]}),
    "R14-inside": (
        {"admissions": [_STAY], "icustays": [_ICU]},
        {"admissions": [_STAY], "icustays": [{**_ICU, "outtime": "2150-01-06 09:00"}]},
    ),
    "R15": ({"icustays": [{**_ICU, "los": 1.0}]}, {"icustays": [{**_ICU, "los": 1.06}]}),
    "R16": (
        {"admissions": [_STAY], "labevents": [_lab(50912, 1, charttime="2150-01-06 07:00")]},
        {"admissions": [_STAY], "labevents": [_lab(50912, 1, charttime="2150-01-06 09:00")]},
    ),
    "R16-icu": (
        {"icustays": [_ICU], "chartevents": [_chart(220045, 80)]},
        {"icustays": [_ICU], "chartevents": [{**_chart(220045, 80), "charttime": "2149-12-31 09:00"}]},
    ),
    "R17": (
        {"admissions": [_STAY, {**_STAY, "hadm_id": 11, "admittime": "2150-01-05 08:00"}]},
        {"admissions": [_STAY, {**_STAY, "hadm_id": 11, "admittime": "2150-01-05 07:59"}]},
    ),
    "R18": (
        {"icustays": [_ICU, {**_ICU, "stay_id": 101, "intime": "2150-01-02 10:00"}]},
        {"icustays": [_ICU, {**_ICU, "stay_id": 101, "intime": "2150-01-01 11:00"}]},
    ),
    "R19": (
        {"admissions": [{**_STAY, "hospital_expire_flag": 1, "deathtime": "2150-01-05 08:00"}]},
        {"admissions": [{**_STAY, "hospital_expire_flag": 1}]},
    ),
    "R20": (
        {"admissions": [{**_STAY, "deathtime": "2150-01-05 09:00"}]},
        {"admissions": [{**_STAY, "deathtime": "2149-12-31 09:00"}]},
    ),
    "R21": (
        {"patients": [{**_PATIENT, "dod": "2150-01-04"}], "admissions": [_STAY]},
        {"patients": [{**_PATIENT, "dod": "2150-01-03"}], "admissions": [_STAY]},
    ),
    "R22": (
        {
            "patients": [{**_PATIENT, "dod": "2150-01-05"}],
            "admissions": [_STAY],
            "labevents": [_lab(50912, 1, charttime="2150-01-06 20:00")],
        },
        {
            "patients": [_PATIENT],
            "admissions": [{**_STAY, "deathtime": "2150-01-05 08:00"}],
            "labevents": [_lab(50912, 1, charttime="2150-01-06 08:01")],
        },
    ),
    "R22-icu": (
        {
            "patients": [{**_PATIENT, "dod": "2150-01-05"}],
            "admissions": [_STAY],
            "chartevents": [_chart(220045, 80)],
        },
        {
            "patients": [{**_PATIENT, "dod": "2149-12-30"}],
            "admissions": [_STAY],
            "chartevents": [_chart(220045, 80)],
        },
    ),
    "R23": (
        {"patients": [{**_PATIENT, "dod": "2150-01-01"}], "admissions": [_STAY]},
        {"patients": [{**_PATIENT, "dod": "2149-12-31"}], "admissions": [_STAY]},
    ),
    "R24-left": (
        {"admissions": [{**_STAY, "edregtime": "2150-01-01 06:00", "edouttime": "2150-01-01 06:00"}]},
        {"admissions": [{**_STAY, "edregtime": "2150-01-01 06:00", "edouttime": "2150-01-01 05:00"}]},
    ),
    "R24-entered": (
        {"admissions": [{**_STAY, "edregtime": "2150-01-01 06:00"}]},
        {"admissions": [{**_STAY, "edregtime": "2150-01-02 09:00"}]},
    ),
    "R25": (
        {"prescriptions": [{**_DRUG, "starttime": "2150-01-01", "stoptime": "2150-01-02"}]},
        {"prescriptions": [{**_DRUG, "starttime": "2150-01-02", "stoptime": "2150-01-01"}]},
    ),
    "R26": (
        {"patients": [_PATIENT], "admissions": [_STAY], "labevents": [_lab(50912, 1, charttime="2100-01-01")]},
        {"patients": [_PATIENT], "admissions": [_STAY], "labevents": [_lab(50912, 1, charttime="2099-12-31")]},
    ),
    "R27": (
        {"labevents": [_lab(50912, 1, charttime="2150-01-01", storetime="2150-01-01")]},
        {"labevents": [_lab(50912, 1, charttime="2150-01-02", storetime="2150-01-01")]},
    ),
    "R28": (
        {"patients": [{**_PATIENT, "anchor_age": 18}], "admissions": [_STAY]},
        {"patients": [{**_PATIENT, "anchor_age": 17}], "admissions": [_STAY]},
    ),
    "R29": ({"chartevents": [_chart(226707, 67)]}, {"chartevents": [_chart(226730, 67)]}),
    "R31": (  # 180 lb and 70 inch: 25.8 kg/m2
        {
            "omr": [
                {"subject_id": 1, "chartdate": "2150-01-01", "result_name": name, "result_value": value}
                for name, value in (("BMI (kg/m2)", "25.8"), ("Weight (Lbs)", "180"), ("Height (Inches)", "70"))
            ]
        },
        {
            "omr": [
                {"subject_id": 1, "chartdate": "2150-01-01", "result_name": name, "result_value": value}
                for name, value in (("BMI (kg/m2)", "35.8"), ("Weight (Lbs)", "180"), ("Height (Inches)", "70"))
            ]
        },
    ),
    "R32": (
        {"omr": [{"result_name": "BMI (kg/m2)", "result_value": "25"}]},
        {"omr": [{"result_name": "BMI (kg/m2)", "result_value": "250"}]},
    ),
    "R33": ({"patients": [_PATIENT]}, {"patients": [_PATIENT, _MALE]}),
    "R33-race": (
        {"admissions": [{**_STAY, "race": "WHITE"}, {**_STAY, "hadm_id": 11, "race": "WHITE"}]},
        {"admissions": [{**_STAY, "race": "WHITE"}, {**_STAY, "hadm_id": 11, "race": "ASIAN"}]},
    ),
    "R38": (
        {"chartevents": [_chart(220179, 120), _chart(220180, 80)]},
        {"chartevents": [_chart(220050, 80), _chart(220051, 80)]},
    ),
    "R39": (
        {"chartevents": [_chart(220179, 120), _chart(220180, 80), _chart(220181, 93)]},
        {"chartevents": [_chart(225309, 120), _chart(225310, 80), _chart(225312, 126)]},
    ),
    "R41": ({"chartevents": [_chart(223761, 98)]}, {"chartevents": [_chart(223762, 98)]}),
    "R43": ({"chartevents": [_chart(223835, 0.4)]}, {"chartevents": [_chart(223835, 4)]}),
    "R43-blood-gas": ({"labevents": [_lab(50816, 40)]}, {"labevents": [_lab(50816, 101)]}),
    "R52-pair": (
        {"labevents": [_lab(50862, 4), _lab(50976, 7)]},
        {"labevents": [_lab(50862, 8), _lab(50976, 7)]},
    ),
    "R53": (
        {"labevents": [_lab(50868, 20), _lab(50983, 140), _lab(50971, 4), _lab(50902, 100), _lab(50882, 24)]},
        {"labevents": [_lab(50868, 31), _lab(50983, 140), _lab(50971, 4), _lab(50902, 100), _lab(50882, 24)]},
    ),
    "R54-pair": (
        {"labevents": [_lab(51222, 14), _lab(51221, 42)]},
        {"labevents": [_lab(51222, 14), _lab(51221, 60)]},
    ),
    "R56": (
        {"labevents": [_lab(51250, 90), _lab(51221, 45), _lab(51279, 5)]},
        {"labevents": [_lab(51250, 100), _lab(51221, 45), _lab(51279, 5)]},
    ),
    "R58-parts": (
        {"labevents": [_lab(50907, 200), _lab(50904, 60), _lab(50905, 120)]},
        {"labevents": [_lab(50907, 200), _lab(50904, 120), _lab(50905, 120)]},
    ),
    "R59-acid": (  # 6.1 + log10((25.2 - 1.2) / 1.2) = 7.40
        {"labevents": [_lab(50820, 7.4), _lab(50818, 40), _lab(50804, 25.2)]},
        {"labevents": [_lab(50820, 7.2), _lab(50818, 40), _lab(50804, 25.2)]},
    ),
    "R61-pair": (
        {"labevents": [_lab(51237, 1), _lab(51274, 12)]},
        {"labevents": [_lab(51237, 4), _lab(51274, 12)]},
    ),
    "R62-pair": (
        {"labevents": [_lab(50883, 1), _lab(50885, 2)]},
        {"labevents": [_lab(50883, 3), _lab(50885, 2)]},
    ),
    "R64": (
        {"patients": [_PATIENT], "diagnoses_icd": [{**_ICD10, "icd_code": "O80"}]},
        {"patients": [_MALE], "diagnoses_icd": [{**_ICD10, "icd_code": "650", "icd_version": 9}]},
    ),
    "R65": (
        {"patients": [_PATIENT], "diagnoses_icd": [{**_ICD10, "icd_code": "C56"}]},
        {"patients": [_MALE], "diagnoses_icd": [{**_ICD10, "icd_code": "N800"}]},
    ),
    "R66": (
        {"patients": [_MALE], "diagnoses_icd": [{**_ICD10, "icd_code": "C61"}]},
        {"patients": [_PATIENT], "diagnoses_icd": [{**_ICD10, "icd_code": "60000", "icd_version": 9}]},
    ),
    "R67-psa": (
        {"patients": [_MALE], "labevents": [_lab(50974, 1)]},
        {"patients": [_PATIENT], "labevents": [_lab(50974, 1)]},
    ),
    "R67-hcg": (
        {"patients": [_PATIENT], "labevents": [_lab(51085)]},
        {"patients": [_MALE], "labevents": [_lab(51637)]},
    ),
    "R68": (
        {"patients": [_PATIENT], "admissions": [_STAY], "diagnoses_icd": [{**_ICD10, "icd_code": "O80"}]},
        {
            "patients": [{**_PATIENT, "anchor_age": 70}],
            "admissions": [_STAY],
            "diagnoses_icd": [{**_ICD10, "icd_code": "O80"}],
        },
    ),
    "R69": (
        {"patients": [_PATIENT], "admissions": [_STAY], "diagnoses_icd": [{**_ICD10, "icd_code": "I10"}]},
        {"patients": [_PATIENT], "admissions": [_STAY], "diagnoses_icd": [{**_ICD10, "icd_code": "P220"}]},
    ),
    "R70": (
        {"patients": [_MALE], "procedures_icd": [{**_ICD10, "icd_code": "0VT00ZZ"}]},
        {"patients": [_MALE], "procedures_icd": [{**_ICD10, "icd_code": "684", "icd_version": 9}]},
    ),
    "R71": (
        {"prescriptions": [{**_DRUG, "drug": "Insulin"}], "diagnoses_icd": [{**_ICD10, "icd_code": "E119"}]},
        {"prescriptions": [{**_DRUG, "drug": "MetFORMIN"}], "labevents": [_lab(50852, 6.4)]},
    ),
    "R72": (
        {"diagnoses_icd": [{**_ICD10, "icd_code": "E119"}]},
        {"diagnoses_icd": [{**_ICD10, "icd_code": "E119"}, {**_ICD10, "icd_code": "E109"}]},
    ),
    "R73": (
        {
            "diagnoses_icd": [{**_ICD10, "icd_code": "N186"}, {**_ICD10, "icd_code": "Z992"}],
            "labevents": [_lab(50912, 0.8)],
        },
        {"diagnoses_icd": [{**_ICD10, "icd_code": "N186"}], "labevents": [_lab(50912, 0.8)]},
    ),
    "R74-warfarin": (
        {"prescriptions": [{**_DRUG, "drug": "Warfarin"}], "labevents": [_lab(51237, 2)]},
        {"prescriptions": [{**_DRUG, "drug": "Warfarin"}]},
    ),
    "R74-heparin": (
        {"prescriptions": [{**_DRUG, "drug": "Heparin"}], "labevents": [_lab(51275, 40)]},
        {"prescriptions": [{**_DRUG, "drug": "Heparin"}]},
    ),
    "R75": (
        {"prescriptions": [{**_DRUG, "drug": "NORepinephrine"}], "icustays": [_ICU]},
        {"prescriptions": [{**_DRUG, "drug": "NORepinephrine"}]},
    ),
    "R76": (
        {"prescriptions": [{**_DRUG, "dose_val_rx": text} for text in ("5", "0.5", ".5", "1-2", "1,000", "325-650")]},
        {"prescriptions": [{**_DRUG, "dose_val_rx": "0"}]},
    ),
    "R76-unit": (
        {"prescriptions": [{**_DRUG, "dose_val_rx": "5", "dose_unit_rx": "mg"}]},
        {"prescriptions": [{**_DRUG, "dose_val_rx": "5", "dose_unit_rx": " "}]},
    ),
    "R77": (
        {"diagnoses_icd": [{**_ICD10, "icd_code": "O80"}], "prescriptions": [{**_DRUG, "drug": "Labetalol"}]},
        {"diagnoses_icd": [{**_ICD10, "icd_code": "O80"}], "prescriptions": [{**_DRUG, "drug": "Losartan"}]},
    ),
    "R78": (
        {"admissions": [{**_STAY, "hospital_expire_flag": 1, "discharge_location": "DIED"}]},
        {"admissions": [{**_STAY, "hospital_expire_flag": 1, "discharge_location": "HOME"}]},
    ),
}
