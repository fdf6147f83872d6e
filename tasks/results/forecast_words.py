"""The forecast in words: what to expect from its numbers, and afterwards how right it was. No torch here."""

from graft.data.label_budget import Labels
from graft.measures.findings import DomainGap
from tasks.results.forecast_file import Forecast
from tasks.results.metrics_file import ForecastScore
from tasks.results.words import labels_in_words, listing, percent
from tasks.settings.forecast import OWN

SMALL_FROM = 1 / 3
"""Domain error above which the gap is small: two images of three or fewer are told apart, where chance tells one of
two. It is a proxy A-distance of 0.67."""

LARGE_BELOW = 0.1
"""Domain error below which the gap is large: nearly every image gives its domain away. A proxy A-distance of 1.6.

Most pairs of image domains are that far apart and transfer all the same (MNIST, USPS and the demo's digits: 1.8 to
2.0). A large gap warns, but it is the lift that decides what to expect."""

MODEST = 0.1
"""Lift of a probe that training from scratch may make up for: on digits scratch was 6 to 16 points ahead of a probe of
untrained features."""

EXPECTED = {
    "positive": "transfer should help",
    "no evidence": "unknown",
    "negative": "transfer should hurt",
}
"""What to expect by the lift of a probe. LogME's is above zero for nearly any body, even one that learned nonsense."""


def gap_size(gap: DomainGap) -> str:
    """`small`, `moderate` or `large`, by how well a linear classifier tells the domains apart."""
    return "small" if gap.domain_error > SMALL_FROM else "large" if gap.domain_error < LARGE_BELOW else "moderate"


def gap_in_words(forecast: Forecast) -> str:
    """One sentence about the gap, with its size first, or why there is none."""
    if reason := forecast.unfit.get(OWN):
        return f"The gap between source and target is unknown, and so is what the source is worth: {reason}."
    if (gap := forecast.gap) is None:
        return "The domain gap is unknown: too little of a domain."
    return f"{gap_size(gap).capitalize()} domain gap: {told_apart(gap, 'source', 'target')}."


def told_apart(gap: DomainGap, one: str, other: str) -> str:
    """'a linear classifier tells source from target in 96 % of held-out cases (by chance: 50 %)'."""
    right = percent(1 - gap.domain_error, 0)
    return f"a linear classifier tells {one} from {other} in {right} % of held-out cases (by chance: 50 %)"


def gap_in_numbers(gap: DomainGap) -> str:
    """The three distances, each with what it would be without a gap."""
    return (
        f"Proxy A-distance {gap.proxy_a_distance:.2f}, of 0 to 2. "
        f"MMD² {gap.mmd:.3f}, 0 without a gap (p = {gap.mmd_p_value:.3g}). "
        f"Fréchet distance {gap.frechet:.3g}, {gap.frechet_within:.3g} within a domain. "
        f"{gap.images} of each domain."
    )


def warning(forecast: Forecast) -> str:
    """What speaks against transfer, in words; nothing where nothing does."""
    rows = forecast.own_budgets
    hurt = [row.labels for row in rows if row.expected == "negative"]
    lifts = {row.labels: row.lift.probe.mean for row in rows if row.lift.probe}
    modest = [labels for labels, lift in lifts.items() if lift < MODEST and labels not in hurt]
    said = []
    if forecast.gap is not None and gap_size(forecast.gap) == "large":
        ahead = "" if hurt or modest else ", but the source's features are well ahead of untrained ones all the same"
        said.append(f"A large gap warns of negative transfer{ahead}.")
    if hurt:
        said.append(
            f"With {_budgets_in_words(hurt)} expect negative transfer: the source's features are behind untrained "
            "ones. Look for a source nearer to the target, or train from scratch."
        )
    if modest:
        said.append(
            f"With {_budgets_in_words(modest)} expect linear_probe near scratch or below it: frozen features are less "
            f"than {100 * MODEST:.0f} points ahead of untrained ones. Let the body adapt (fine_tune)."
        )
    return " ".join(said)


def _budgets_in_words(budgets: list[Labels]) -> str:
    """'1 label per class', '5 and 10 labels per class'."""
    return listing([*map(str, budgets[:-1]), labels_in_words(budgets[-1])])


def ranking_in_words(forecast: Forecast) -> str:
    """Which source model to take, and by what; nothing where there is only one."""
    names = forecast.ranking
    if len(names) < 2:
        return ""
    labels = labels_in_words(forecast.best_budget(names[0]).labels)
    by = {"logme": "LogME", "probe": "the accuracy of a probe"}[forecast.ranked_by]
    begun = f" The trials begin with {forecast.chosen}." if forecast.chosen else ""
    return f"Best of {len(names)} source models for this target: {names[0]}, by {by} with {labels}.{begun}"


def rightness(strategy: str, score: ForecastScore) -> str:
    """How right the forecast was about one strategy."""
    rank = score.rank
    order = "" if rank is None else f"; order of the gains: tau {rank.kendall:+.2f} (p = {rank.kendall_p:.2g})"
    return f"{strategy}: sign right in {score.right_sign} of {score.n} cells ({score.gained} gained){order}"
