"""What a column's name gives away: that it identifies, its unit, and what its values can be."""

from __future__ import annotations

import re

_UNITS_AT_END = {
    "days": "days", "hours": "hours", "hrs": "hours", "minutes": "minutes", "mins": "minutes", "seconds": "seconds", "weeks": "weeks",
    "months": "months", "years": "years", "yrs": "years", "kg": "kg", "lbs": "lb", "cm": "cm", "mm": "mm", "mmhg": "mmHg",
    "bpm": "/min", "mg": "mg", "mcg": "ug", "ug": "ug", "ng": "ng", "ml": "mL", "litres": "L", "liters": "L", "celsius": "°C",
    "fahrenheit": "°F", "mmol": "mmol", "umol": "umol", "percent": "%", "pct": "%", "kpa": "kPa", "kcal": "kcal", "mm3": "mm3",
    "cm2": "cm2", "m2": "m2", "kg m2": "kg/m2", "mg dl": "mg/dL", "g dl": "g/dL", "g l": "g/L", "mg l": "mg/L", "mmol l": "mmol/L",
    "umol l": "umol/L", "nmol l": "nmol/L", "pmol l": "pmol/L", "ng ml": "ng/mL", "pg ml": "pg/mL", "ug l": "ug/L", "iu l": "IU/L",
    "u l": "U/L", "miu l": "mIU/L", "meq l": "mEq/L", "ml min": "mL/min", "ml day": "mL/day", "mg day": "mg/day", "mm hg": "mmHg",
    "per min": "/min",
}  # fmt: skip
_OTHER_AGE_UNITS = {"month", "months", "day", "days", "week", "weeks", "hours", "group", "cat", "category", "gestational", "mo"}
_PERSON = {"patient", "subject", "person", "participant", "proband", "client", "member"}
_ID = {"id", "ids", "identifier", "no", "nr", "number", "num", "key", "code", "index", "uid"}
_PERSON_KEYS = {
    "pid", "mrn", "usubjid", "subjid", "subjectid", "patientid", "personid", "patid", "ptid", "ssn", "nhsnumber", "seqn", "patnr",
}  # fmt: skip
_SURE_ID = {"id", "ids", "identifier", "uuid", "guid", "uid", "accession", "rownames", "rowname", "rownum", "index"}
_CODES = {
    "type", "site", "centre", "center", "region", "ward", "clinic", "country", "state", "zip", "zipcode", "postcode", "race",
    "ethnicity", "ethnic", "marital", "hospital", "code", "icd", "icd9", "icd10", "atc", "drg", "occupation", "birthplace", "place",
    "sex", "gender", "religion", "unit", "dx", "specialty", "speciality", "department", "group", "arm", "cluster", "language",
    "insurance", "payer", "payor",
}  # fmt: skip
_SIGNED = {
    "change", "diff", "difference", "delta", "log", "ln", "zscore", "z", "residual", "score", "longitude", "latitude", "excess", "balance",
}  # fmt: skip
_DATES = {"date", "dt", "dob", "dod", "datum", "birthdate", "birthday"}
_PROBABILITY = {"prob", "probability", "surv", "survival", "risk", "fraction", "proportion"}
#: Quantities of a living person that are never zero.
_NEVER_ZERO = {
    "chol", "cholesterol", "totchol", "hdl", "ldl", "sbp", "dbp", "sysbp", "diabp", "systolic", "diastolic", "trestbps", "meanbp",
    "map", "bp", "bmi", "weight", "wt", "height", "ht", "glucose", "heartrate", "hr", "hrt", "pulse", "albumin", "alb", "sodium",
    "sod", "potassium", "creatinine", "crea", "hemoglobin", "haemoglobin", "hgb", "hb", "insulin", "bloodpressure", "pressure",
    "platelets", "calcium", "temp", "temperature", "skinthickness",
}  # fmt: skip


def words(name: str) -> list[str]:
    """The words of a name, lower case: "sysBP_mmHg" is sys, bp, mmhg; "patientId" is patient, id.

    >>> words("patientId"), words("length_of_stay_days")
    (['patient', 'id'], ['length', 'of', 'stay', 'days'])
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=I[dD]$)|(?<=[a-z])(?=[A-Z]{2})", " ", name)
    return [word for word in re.split(r"[^0-9A-Za-z%]+", split.lower()) if word]


def unit(name: str) -> str | None:
    """The unit that a name states: "weight (kg)", "creatinine [mg/dL]", "bmi_kg_m2", "length_of_stay_days".

    >>> unit("creatinine [mg/dL]"), unit("bmi_kg_m2"), unit("age")
    ('mg/dL', 'kg/m2', None)
    """
    bracketed = re.search(r"[\[(]\s*([^\])\s][^\])]{0,14}?)\s*[\])]\s*$", name)
    if bracketed and not re.fullmatch(r"\d+|[yn]/[yn]|\d[-/]\d", bracketed[1], re.IGNORECASE):
        return bracketed[1]
    parts = [word for word in re.split(r"[^0-9A-Za-z%]+", name.lower()) if word]
    for length in (2, 1):
        found = _UNITS_AT_END.get(" ".join(parts[-length:]))
        if found and len(parts) > length:
            return found
    return None


def names_person(name: str) -> bool:
    """Whether the name says "this is the patient": patient_id, subject_id, MRN, USUBJID, pid."""
    parts = words(name)
    joined = "".join(parts)
    alone = parts in (["patient"], ["subject"], ["participant"])
    return alone or joined in _PERSON_KEYS or (bool(_PERSON & set(parts)) and bool(_ID & set(parts)))


def names_identifier(name: str) -> bool:
    """Whether the name says "this identifies something": any of the above, or id, visit_id, uuid."""
    return names_person(name) or bool(_SURE_ID & set(words(name)))


def names_code(name: str) -> bool:
    """Whether numbers under this name are likely labels: race, site, ward, icd_code."""
    return any(word in _CODES for word in words(name))


def names_date(name: str) -> bool:
    """Whether digits under this name are likely dates."""
    return any(word in _DATES for word in words(name))


def never_zero(name: str) -> bool:
    """Whether a living person's value is never zero: cholesterol, blood pressure, weight."""
    parts = words(name)
    return any(word in _NEVER_ZERO for word in [*parts, "".join(parts), "".join(parts[-2:])]) and not _SIGNED & set(parts)


def is_age_in_years(name: str) -> bool:
    """Whether the column is an age in years."""
    parts = words(name)
    return "age" in parts and not _OTHER_AGE_UNITS & set(parts)


def bounds(name: str, lowest: float, highest: float, rows: int) -> tuple[float | None, float | None]:
    """Bounds that the meaning of a quantity gives, where the data keep them; never the observed extremes, which are patients.

    >>> bounds("age", 19, 89, 500), bounds("creatinine", 0.3, 12.5, 500), bounds("weight_change_kg", 1, 9, 500)
    ((0.0, 120.0), (0.0, None), (None, None))
    """
    parts = set(words(name))
    if lowest < 0 or parts & _SIGNED:
        return None, None
    if is_age_in_years(name):
        return 0.0, 120.0 if highest <= 120 else None
    if unit(name) == "%" and highest <= 100:
        return 0.0, 100.0
    if highest <= 1 and any(word.rstrip("0123456789m") in _PROBABILITY for word in parts):
        return 0.0, 1.0
    return (0.0 if rows >= 20 else None), None
