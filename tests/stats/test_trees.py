import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from proband.stats.trees import boosted, randomised


def example(rows=600, seed=0):
    """Two columns, some values missing; the label is 1 where the first is above 0."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 2))
    label = (values[:, 0] > 0).astype(int)
    values[rng.random((rows, 2)) < 0.1] = np.nan
    return values, label


def test_the_arrays_say_what_the_library_says():
    values, label = example()
    ours = boosted(values, label, kind="classifier", seed=1, trees=20)
    theirs = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=1)
    expected = theirs.fit(values, label).decision_function(values)
    assert np.allclose(ours(values), expected, rtol=0, atol=1e-12)


def test_a_regression_finds_a_step():
    x = np.linspace(0, 1, 400)[:, None]
    step = boosted(x, np.where(x[:, 0] < 0.5, 1.0, 3.0), kind="regression", seed=0, trees=100)
    # A rate of .1 leaves .9 ** 100 of the gap of 1 on each side, which is nothing.
    assert step(np.array([[0.1], [0.9]])) == pytest.approx([1.0, 3.0], abs=0.02)


def test_a_walk_that_does_not_end_is_refused():
    values, label = example()
    trees = boosted(values, label, kind="classifier", seed=1, trees=3)
    trees.check(2)
    for wrong in (
        trees._replace(left=np.zeros_like(trees.left)),
        trees._replace(feature=trees.feature + 5),
        trees._replace(roots=trees.roots + 10**6),
    ):
        with pytest.raises(ValueError, match="do not end"):
            wrong.check(2)


def test_no_rows_give_no_values():
    values, label = example()
    assert boosted(values, label, kind="classifier", seed=1, trees=3)(np.zeros((0, 2))).shape == (0,)


def test_a_column_that_nobody_has_is_no_obstacle():
    values, label = example()
    trees = boosted(np.column_stack([values, np.full(len(values), np.nan)]), label, kind="classifier", seed=1, trees=3)
    assert (trees.feature < 2).all()


def test_randomised_trees_say_what_the_library_says_missing_values_included():
    values, label = example()
    values = values.astype(np.float32).astype(float)  # the precision in which trees are learned and walked
    ours = randomised(values, label, seed=3, trees=10, leaf=5)
    ours.check(2)
    theirs = ExtraTreesClassifier(10, min_samples_leaf=5, max_features=0.5, random_state=3).fit(values, label)
    assert np.allclose(ours(values), theirs.predict_proba(values)[:, 1], rtol=0, atol=1e-12)


def test_numbers_beyond_single_precision_are_no_obstacle():
    values, label = example()
    values[:, 0] *= 1e300
    assert boosted(values, label, kind="classifier", seed=1, trees=20)(values)[label == 1].mean() > 1
