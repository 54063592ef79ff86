"""The standard limits: what a table must reach to be called faithful, useful and private when no policy says otherwise.

Each is argued from what it means to a reader, but not all were set blind: after the first results on real tables the bars for
missing values, lost dependence and the Brier score were widened (.05 to .10, .25 to .33, .02 to .025), and those for pairs and triples
tightened (.05 to .03, .08 to .05). Distances are judged by their excess over real against real at the same size, since they
grow as tables shrink; the unfavourable end of the interval must keep the limit, so a small holdout passes nothing by chance.
Policies for a release may be stricter.
"""

from __future__ import annotations

from proband.validate.findings import Limit

LIMITS: dict[str, Limit] = {
    # -- faithful --
    # A point estimate of a share (a prevalence) is off by 3 points on average over columns: what a reader of a table of
    # baseline characteristics would not remark.
    "columns_distance": Limit(at_most=0.03, over_reference=True),
    # One column may be off by 10 points, not more; the reference is what the worst of as many columns does by chance.
    "worst_column_distance": Limit(at_most=0.10, over_reference=True),
    # The same 3 points for cross tables, and 5 for three columns, whose cells are more.
    "pairs_distance": Limit(at_most=0.03, over_reference=True),
    "triples_distance": Limit(at_most=0.05, over_reference=True),
    # One distribution, not a mean of many, so the bar of a single column.
    "missingness_distance": Limit(at_most=0.10, over_reference=True),
    # On the scale of a correlation, whichever way it is off.
    "association_error": Limit(at_most=0.05, over_reference=True),
    # Associations a third weaker all over: a correlation of .30 reads .20, and a study needs twice the patients to see it.
    "dependence_lost": Limit(at_most=0.33),
    # A third of the patients at the extremes misplaced.
    "tails_error": Limit(at_most=0.35, over_reference=True),
    # Already lower bounds over all levels and groups: a fifth of those with a rare level, or of some group, beyond doubt.
    "rare_levels_error": Limit(at_most=0.20),
    "subgroups_error": Limit(at_most=0.20),
    # Facts about the rows that would leave, so hardly any beyond what real rows show.
    "rules_broken": Limit(at_most=0.005, over_reference=True),
    "format_broken": Limit(at_most=0.005, over_reference=True),
    # Three of four pairs told apart. A real sample scores .50; the best published table synthesizers .55 to .70.
    "detection_auc": Limit(at_most=0.75),
    "detection_auc_binned": Limit(at_most=0.75),
    # -- faithful over time -- (docs/histories.md)
    # One patient in ten has a record of the wrong length, or a gap of the wrong length: what a plot of them would show.
    "lengths_distance": Limit(at_most=0.10, over_reference=True),
    "gaps_distance": Limit(at_most=0.10, over_reference=True),
    # Of what is measured together, 5 points on average: independent events are off by 20.
    "together_error": Limit(at_most=0.05, over_reference=True),
    "at_once_error": Limit(at_most=0.05, over_reference=True),
    # On the scale of a correlation, as for columns, with twice their room: each is of one variable's few pairs.
    "persistence_error": Limit(at_most=0.10, over_reference=True),
    "persistence_within_error": Limit(at_most=0.10, over_reference=True),
    # Five breaches in a thousand events beyond those of real charts.
    "charts_broken": Limit(at_most=0.005, over_reference=True),
    # Of single moments, and of whole histories, the same three pairs in four as of patients.
    "moment_auc": Limit(at_most=0.75),
    "recurrent_auc": Limit(at_most=0.75),
    # -- faithful signals -- (docs/waveforms.md)
    # The power of a band off by a quarter on average: a filter setting of a recorder changes it by more.
    "spectrum_distance": Limit(at_most=0.25, over_reference=True),
    # A fifth of a standard deviation in how high, loud or steep records are.
    "amplitude_distance": Limit(at_most=0.20, over_reference=True),
    # On the scale of a correlation, as for columns.
    "autocorrelation_error": Limit(at_most=0.05, over_reference=True),
    "channels_error": Limit(at_most=0.05, over_reference=True),
    # The same three pairs in four as of patients.
    "signal_auc": Limit(at_most=0.75),
    # -- faithful images -- (docs/images.md)
    # 0 is a second sample of real images, 1 the same blurred by four. A linear Gaussian model of chest X-rays makes .20 to .35: a doctor
    # sees at once that they are made.
    "image_kid": Limit(at_most=0.15),
    # The small network's scale is coarser, and a lower bound over all groups has room for the groups that are hard.
    "image_kid_own": Limit(at_most=0.25),
    "image_worst_group_kid": Limit(at_most=0.25),
    # A fifth more of the images like no real one, two fifths more of the real ones without their like: few models of images do better.
    "image_precision": Limit(at_least=-0.2, over_reference=True),
    "image_recall": Limit(at_least=-0.4, over_reference=True),
    # Fine detail with two thirds of the power.
    "image_spectrum_distance": Limit(at_most=0.15, over_reference=True),
    # Images of a class a fifth nearer to each other than real ones.
    "image_diversity": Limit(at_least=-0.2, over_reference=True),
    # -- useful --
    # All count from what a second real training set of the same size would lose. A model that ranks five pairs in a
    # hundred worse than one trained on patients would be chosen or dropped for the wrong reasons.
    "tstr_auroc_gap": Limit(at_most=0.05, over_reference=True),
    "tstr_average_precision_gap": Limit(at_most=0.10, over_reference=True),
    # A tenth of the score of somebody who says 50 % to everybody.
    "tstr_brier_gap": Limit(at_most=0.025, over_reference=True),
    # At a slope of .65 a risk of 20 % is given as 11 %: more would mislead at the bedside.
    "tstr_calibration_slope": Limit(at_least=-0.35, over_reference=True),
    # Already a lower bound over all groups: the same 5 points, lost in some group beyond doubt.
    "subgroup_auroc_gap": Limit(at_most=0.05),
    # Five records in a hundred more misread by a classifier that never saw a real one.
    "tstr_signals_gap": Limit(at_most=0.05, over_reference=True),
    # The five pairs in a hundred again; ten for the two classes that lose most. A risk of 80 % may be one of 70 %.
    "tstr_images_gap": Limit(at_most=0.05, over_reference=True),
    "tstr_images_worst_pair_gap": Limit(at_most=0.1, over_reference=True),
    "tstr_images_calibration_gap": Limit(at_most=0.1, over_reference=True),
    # A tenth of a standard deviation worse than forecasts learned from patients.
    "next_value_gap": Limit(at_most=0.10, over_reference=True),
    # -- private -- (docs/privacy.md and docs/inference.md have the sizes they need)
    # Upper ends: more than one training patient in a hundred copied must be excluded. No copy among 370 patients does that.
    "exact_copies_excess": Limit(at_most=0.01),
    # A little wider, because strangers too come near now and then: two chance hits among 600 patients must not fail a release.
    "near_copies_excess": Limit(at_most=0.0125),
    "signal_copies_excess": Limit(at_most=0.0125),
    "image_copies_excess": Limit(at_most=0.0125),
    # Of synthetic images, of which there are as many as one likes: half is what strangers give, and 1,000 images tell .50 from .57.
    "image_nearer_train": Limit(at_most=0.57),
    "image_near_copies_excess": Limit(at_most=0.03),
    # A lower bound: more than one training patient in a thousand surely copied is memory, however large the cohort.
    "copies_beyond_doubt": Limit(at_most=0.001),
    # Three of five pairs guessed right. The coarse bar: a mean cannot see a few leaked patients.
    "membership_auc": Limit(at_most=0.60),
    "known_values_auc": Limit(at_most=0.60),
    "signal_membership_auc": Limit(at_most=0.60),
    "image_membership_auc": Limit(at_most=0.6),
    # Six times the false accusations; an epsilon of 2 would allow seven times.
    "membership_tpr_at_1pct": Limit(at_most=0.06),
    "known_values_tpr_at_1pct": Limit(at_most=0.06),
    "image_membership_tpr_at_1pct": Limit(at_most=0.06),
    # Already a lower bound, corrected for all attacks and depths: odds on membership surely changed by more than e^0.5 = 1.65.
    "membership_epsilon": Limit(at_most=0.5),
    # Already a lower bound, corrected for all groups: the same three of five pairs, in some group beyond doubt.
    "membership_worst_group": Limit(at_most=0.60),
    # Upper ends, as for copies, beyond what strangers suffer from the same table: for one training patient in twenty a value, a link
    # or a description that only their own record can have given. Wide enough for the noise of 400 patients never seen.
    "attribute_gain": Limit(at_most=0.05),
    "linkage_excess": Limit(at_most=0.05),
    "singling_out_excess": Limit(at_most=0.05),
}
