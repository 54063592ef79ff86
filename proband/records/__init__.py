"""The world's files and frames <-> Cohort."""

from proband.records.mark import find_mark, is_synthetic
from proband.records.meds import read_meds, write_meds
from proband.records.tables import like, read, read_frame, write

__all__ = ["find_mark", "is_synthetic", "like", "read", "read_frame", "read_meds", "write", "write_meds"]
