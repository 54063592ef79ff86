"""The world's files and frames <-> Cohort."""

from proband.records.mark import find_mark, is_synthetic
from proband.records.tables import like, read, read_frame, write

__all__ = ["find_mark", "is_synthetic", "like", "read", "read_frame", "write"]
