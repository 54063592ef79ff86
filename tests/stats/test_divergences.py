import numpy as np
import pytest

from proband.stats.divergences import Codes, associations, coarsen, distances, joint_shares, recode, total_variation


def table(*columns: list[int]) -> Codes:
    values = np.array(columns, np.uint8)
    return Codes(values, values.max(axis=1).astype(int) + 1)


def test_total_variation_is_the_share_in_the_wrong_place() -> None:
    assert total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.25, 0.25])) == 0.25


def test_joint_shares_count_every_combination() -> None:
    assert joint_shares(table([0, 0, 1, 1], [0, 1, 0, 1]), (0, 1)).tolist() == [0.25] * 4
    assert joint_shares(table([0, 1], [0, 1]), (0, 1)).tolist() == [0.5, 0, 0, 0.5]


def test_pairs_see_what_single_columns_cannot() -> None:
    tied, crossed = table([0, 0, 1, 1], [0, 0, 1, 1]), table([0, 0, 1, 1], [0, 1, 0, 1])
    assert distances(tied, crossed, [(0,), (1,)]).tolist() == [0, 0]
    assert distances(tied, crossed, [(0, 1)]).tolist() == [0.5]


def test_three_columns_see_what_pairs_cannot() -> None:
    # The third column is the parity of the first two, or its opposite: every pair is independent in both tables.
    a, b = np.repeat([0, 1], 2), np.tile([0, 1], 2)
    even, odd = table(a.tolist(), b.tolist(), (a ^ b).tolist()), table(a.tolist(), b.tolist(), (1 - (a ^ b)).tolist())
    assert distances(even, odd, [(0, 1), (0, 2), (1, 2)]).tolist() == [0, 0, 0]
    assert distances(even, odd, [(0, 1, 2)]).tolist() == [1]


def test_association_is_one_for_copies_whatever_the_number_of_levels_and_near_nothing_for_strangers() -> None:
    rng = np.random.default_rng(0)
    for levels in (2, 5, 20):
        codes = rng.integers(0, levels, 5000)
        found = associations(table(codes.tolist(), codes.tolist(), rng.integers(0, levels, 5000).tolist()), [(0, 1), (0, 2)])
        # phi^2 of independent columns has mean 0 after the correction; 0.15 is 4 standard deviations at 20 levels.
        assert found[0] == pytest.approx(1, abs=0.01) and found[1] < 0.15


def test_association_of_two_normal_variables_is_their_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=50_000)
    for r in (0.3, 0.7):
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=len(x))
        codes = [np.searchsorted(np.quantile(v, np.arange(0.05, 1, 0.05)), v).tolist() for v in (x, y)]
        # Twenty bins lose a little of the correlation, and the largest possible value of C gives a little back.
        assert associations(table(*codes), [(0, 1)])[0] == pytest.approx(r, abs=0.04)


def test_a_column_of_one_value_is_associated_with_nothing() -> None:
    assert associations(table([0, 0, 0], [0, 1, 2]), [(0, 1)]).tolist() == [0]


def test_coarse_codes_keep_missing_and_strange_apart_and_merge_neighbours() -> None:
    fine = table([0, 1, *range(2, 22)], [0, 1, 2, 2, 2, 2, 3, 3, 3, 4, *range(4, 14), 2, 2])
    coarse, lookups = coarsen(fine, kept=2, most=4, ordered=np.array([True, False]))
    assert lookups[0][:2].tolist() == [0, 1] and (np.diff(lookups[0]) >= 0).all()
    assert np.bincount(coarse.values[0])[2:].tolist() == [5, 5, 5, 5]
    assert lookups[1][2] == 2 and len(set(lookups[1][5:])) == 1  # the most frequent stays, the rare ones are one
    assert (recode(fine, lookups).values == coarse.values).all()
