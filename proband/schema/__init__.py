"""What a patient record looks like."""

from proband.schema.model import Column, Grid, Link, Problem, Proposal, Rule, Schema, Table

__all__ = ["Column", "Grid", "Link", "Problem", "Proposal", "Rule", "Schema", "Table"]
