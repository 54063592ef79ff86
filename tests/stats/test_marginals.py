import numpy as np

from proband.stats.marginals import bins, shares, tail_ends, tail_shares


def test_atoms_have_their_own_bin_and_the_rest_is_cut_evenly() -> None:
    values = np.concatenate([np.zeros(50), np.arange(1, 101)])
    cut = bins(values, most=5)
    assert cut.atoms.tolist() == [0]
    assert np.bincount(cut.codes(values)).tolist() == [50, 25, 25, 25, 25]
    assert (np.diff(cut.lows) > 0).all()


def test_few_distinct_values_are_all_atoms_and_another_value_is_seen() -> None:
    cut = bins(np.array([1.0, 2.0, 2.0, 3.0]))
    assert cut.codes(np.array([1.0, 2.0, 3.0, 2.5])).tolist() == [0, 1, 2, 3]


def test_an_atom_between_two_bins_takes_only_its_own_value() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=900), np.full(100, 0.25)])
    cut = bins(values, most=10)
    assert np.flatnonzero(cut.lows == cut.highs).tolist() == [cut.codes(np.array([0.25]))[0]]
    assert cut.codes(np.array([0.25 + 1e-9]))[0] != cut.codes(np.array([0.25]))[0]
    assert len(cut) <= 10


def test_nothing_but_missing_gives_one_bin() -> None:
    assert len(bins(np.full(3, np.nan))) == 1


def test_shares_and_tails() -> None:
    assert shares(np.array([0, 0, 2]), 3).tolist() == [2 / 3, 0, 1 / 3]
    values = np.append(np.arange(1.0, 101.0), np.nan)
    assert tail_ends(values, 0.05) == (5.0, 96.0)
    assert tail_shares(values, (5.0, 96.0)) == (0.05, 0.05)
    assert tail_shares(np.array([np.nan]), (5.0, 96.0)) == (0.0, 0.0)
