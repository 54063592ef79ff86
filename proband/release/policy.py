"""Policy: what a release must have shown before it leaves. A TOML file with a version, and a reason for every limit."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from proband.errors import InputError
from proband.validate.findings import Limit

#: The policies that ship with proband, from the narrowest circle of readers to the widest, then the classroom.
PROFILES = ("internal", "controlled", "public", "education")

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Bound(BaseModel):
    """How far one finding may go, at most or at least, and why. `over_reference`: counted from what real patients reach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_most: float | None = None
    at_least: float | None = None
    over_reference: bool = False  # the number counts from real against real, as distances must: they grow as tables shrink
    why: Word

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        given = [end for end in (self.at_most, self.at_least) if end is not None]
        if len(given) != 1 or not math.isfinite(given[0]):
            raise ValueError("write exactly one of at_most and at_least, a finite number, such as { at_most = 0.75 }")
        return self

    @property
    def limit(self) -> Limit:
        """The limit without its reason."""
        return Limit(at_most=self.at_most, at_least=self.at_least, over_reference=self.over_reference)


class Policy(BaseModel):
    """Who may receive a release, and what must be shown first. Immutable; `hash` names it in the signed statement.

    name, version     change a limit, raise the version: releases quote both
    audience          who will hold the data, in words; it stands on the data card
    purpose_required  whether a release must say what it is for
    bounds            `[limits.NAME]` in the file: at_most or at_least, and why, for the finding called NAME
    required          findings that the report must contain; one that is missing counts against the release

    >>> Policy.load("internal").limits["detection_auc"]  # doctest: +SKIP
    Limit(at_most=0.85, at_least=None)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    proband_policy: Literal[1] = 1
    name: Word
    version: int = Field(ge=1)
    audience: Word
    purpose_required: bool = False
    required: tuple[str, ...] = ()
    bounds: dict[str, Bound] = Field(alias="limits", min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.required:
            if name not in self.bounds:
                raise ValueError(f"required: {name!r} has no limit; add [limits.{name}] with at_most or at_least and why")
        return self

    @cached_property
    def limits(self) -> dict[str, Limit]:
        """Name of a finding -> its Limit, as `validate` takes them."""
        return {name: bound.limit for name, bound in self.bounds.items()}

    @staticmethod
    def load(policy: str | Path) -> Policy:
        """A built-in profile (internal, controlled, public, education) or a TOML file.

        Raises InputError that names the file and the line or key at fault.
        """
        if policy in PROFILES:
            source = f"Policy {policy!r}"
            text = (files("proband.release") / "policies" / f"{policy}.toml").read_text(encoding="utf-8")
        else:
            source = f"Policy '{policy}'"
            try:
                text = Path(policy).read_text(encoding="utf-8")
            except OSError as error:
                raise InputError(f"{source} cannot be read: {error.strerror}. Name a file, or one of: {', '.join(PROFILES)}.") from error
            except UnicodeDecodeError as error:
                raise InputError(f"{source} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
        try:
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{source} is not valid TOML: {error}. Mend that line.") from error
        try:
            return Policy.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{source}: {_sentence(error)}") from error

    def check_purpose(self, purpose: str) -> None:
        """Raise InputError when this policy needs a purpose and none is given."""
        if self.purpose_required and not purpose.strip():
            raise InputError(f"Purpose is empty, and policy {self.name!r} needs one. Say in a sentence what the release is for.")

    def save(self, path: str | Path) -> None:
        """Write TOML that loads as the same policy."""
        Path(path).write_text(tomli_w.dumps(self._content()), encoding="utf-8")

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the content; the same for the same policy on any machine, whatever its comments and layout."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"proband_policy": self.proband_policy}


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"key {where!r} is unknown. Delete it, or correct its spelling."
    if first["type"] == "missing":
        return f"key {where!r} is missing. Add it."
    value = "" if isinstance(first["input"], dict) else f" (found {first['input']!r})"
    return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}{value}."
