"""From a Cohort to tokens, and back."""

from proband.encode.tables import Codes, Field, TableEncoder

__all__ = ["Codes", "Field", "TableEncoder"]
