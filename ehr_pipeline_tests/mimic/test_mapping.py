"""The declared mapping: it names what exists, its kinds don't collide, and what it loses is known."""

import duckdb

from ehr_pipeline.mimic import mapped_columns, mappings, tables, unmapped_columns
from ehr_pipeline.mimic.mapping import IDENTIFIERS

KINDS = [kind for mapping in mappings().values() for kind in mapping.kinds]


def test_every_column_that_the_mapping_names_exists():
    for kind in KINDS:
        names = [*kind.carried, *(name for name, _ in kind.back)]
        names += [name for name in (kind.time, kind.written) if name]
        assert set(names) <= set(tables()[kind.table].column_names), str(kind.code)
        if kind.borrowed:
            lender, column = kind.borrowed
            assert column in tables()[lender].column_names, str(kind.code)
            assert set(tables()[lender].key) <= set(tables()[kind.table].column_names), str(kind.code)


def test_a_table_whose_rows_become_several_events_says_which_belong_together():
    for mapping in mappings().values():
        assert mapping.row or len(mapping.kinds) == 1, mapping.table.name
        assert mapping.row[:1] in ((), ("subject_id",)), mapping.table.name
        others = set(mapping.row) - set(IDENTIFIERS)
        assert all(others <= {kind.at} for kind in mapping.kinds), mapping.table.name


def test_no_event_is_taken_for_one_of_another_kind():
    con = duckdb.connect()
    templates = list(dict.fromkeys(kind.code for kind in KINDS))
    assert len(templates) == len(KINDS) - 1  # only the death of a patient and of an admission share one
    matches = ", ".join(template.match_sql() for template in templates)
    for place, template in enumerate(templates):
        code = template.render(dict.fromkeys(template.columns, "ICD"))
        found = con.execute(f"SELECT {matches} FROM (SELECT ? AS code)", [code]).fetchone()
        assert list(found) == [other == place for other in range(len(templates))], code


def test_what_the_events_do_not_carry_is_known():
    lost = unmapped_columns()
    assert set(mapped_columns()) | set(lost) == set(tables())
    whole_tables = {name for name, columns in lost.items() if columns == tables()[name].column_names}
    assert {name.split(".")[1] for name in whole_tables} == {
        *("d_hcpcs", "d_icd_diagnoses", "d_icd_procedures", "d_labitems", "d_items", "provider", "caregiver"),
        *("emar_detail", "poe_detail"),
    }
    short = {name.split(".")[1]: columns for name, columns in lost.items() if name not in whole_tables}
    assert set(tables()["mimiciv_hosp.patients"].column_names) == set(mapped_columns()["mimiciv_hosp.patients"])
    assert "charttime" in short["microbiologyevents"]  # a day without an hour and midnight are one event time
    assert {name: " ".join(columns) for name, columns in short.items()} == {
        "admissions": "admit_provider_id hospital_expire_flag",
        "chartevents": "caregiver_id storetime warning",
        "datetimeevents": "caregiver_id storetime valueuom warning",
        "drgcodes": "drg_mortality",
        "edstays": "gender race",
        "emar": "emar_id emar_seq poe_id pharmacy_id enter_provider_id scheduletime storetime",
        "icustays": "los",
        "ingredientevents": "caregiver_id endtime storetime orderid linkorderid originalamount originalrate",
        "inputevents": (
            "caregiver_id endtime storetime orderid linkorderid ordercategoryname secondaryordercategoryname "
            "ordercomponenttypedescription ordercategorydescription patientweight totalamount totalamountuom isopenbag "
            "continueinnextdept originalamount originalrate"
        ),
        "labevents": (
            "labevent_id specimen_id order_provider_id storetime ref_range_lower ref_range_upper flag priority comments"
        ),
        "medrecon": "gsn ndc etc_rn etccode",
        "microbiologyevents": (
            "microevent_id micro_specimen_id order_provider_id charttime spec_itemid test_seq storedate storetime "
            "test_itemid org_itemid isolate_num ab_itemid dilution_text comments"
        ),
        "omr": "seq_num",
        "outputevents": "caregiver_id storetime",
        "pharmacy": (
            "pharmacy_id poe_id stoptime entertime verifiedtime disp_sched infusion_type sliding_scale "
            "lockout_interval basal_rate one_hr_max duration duration_interval expiration_value expiration_unit "
            "expirationdate dispensation fill_quantity"
        ),
        "poe": "poe_id poe_seq discontinue_of_poe_id discontinued_by_poe_id order_provider_id",
        "prescriptions": (
            "pharmacy_id poe_id poe_seq order_provider_id stoptime formulary_drug_cd gsn ndc prod_strength form_rx "
            "form_val_disp form_unit_disp doses_per_24_hrs"
        ),
        "procedureevents": (
            "caregiver_id endtime storetime locationcategory orderid linkorderid ordercategoryname "
            "ordercategorydescription patientweight isopenbag continueinnextdept originalamount originalrate"
        ),
        "pyxis": "med_rn gsn_rn gsn",
        "transfers": "transfer_id outtime",
    }
