"""Groups by level, by band of age and by rarity; and the tenth who stand alone."""

import polars as pl

from proband.cohort import Cohort
from proband.privacy.exposed import groups, isolated
from proband.privacy.membership import neighbourhood
from proband.privacy.patients import Attacked, attacked, gathered
from proband.schema import Column, Schema, Table

SCHEMA = Schema(
    tables=(
        Table(
            name="patients",
            columns=(
                Column(name="age", kind="integer"),
                Column(name="sex", kind="category", categories=("F", "M")),
                Column(name="diagnosis", kind="category", categories=("common", "rare")),
            ),
        ),
    )
)


def target(ages: list[int]) -> Attacked:
    rows = {"age": ages, "sex": ["F", "M"] * 50, "diagnosis": ["common"] * 99 + ["rare"]}
    cohort = Cohort(SCHEMA, pl.DataFrame(rows, schema={"age": pl.Int64, "sex": pl.String, "diagnosis": pl.String}))
    halves = [Cohort(SCHEMA, cohort.frame[at::2]) for at in (0, 1)]
    return attacked(gathered(cohort.frame, *halves), cohort.frame, seed=0)


def test_levels_bands_of_age_and_the_rare_are_groups_and_nearly_everybody_is_none() -> None:
    found = {name: int(own.sum()) for name, own in groups(target(list(range(100)))).items()}
    bands = {"age below 24": 24, "age 24 to 49": 25, "age 49 to 74": 25, "age 74 and above": 26}
    assert found == bands | {"sex = F": 50, "sex = M": 50, "diagnosis = rare": 1, "a rare level": 1}


def test_no_name_tells_the_age_of_the_oldest_or_the_youngest() -> None:
    names = " ".join(groups(target([3] + [50, 60] * 49 + [107])))
    assert "107" not in names and "age 3" not in names and "below 3 " not in names


def test_the_isolated_tenth_holds_whoever_stands_alone() -> None:
    near = neighbourhood(target([50] * 95 + [90, 95, 100, 105, 110]))
    alone = isolated(near)
    assert alone.sum() == 10
    assert alone[near.attacked.mine[:, 0] >= 90].all()
