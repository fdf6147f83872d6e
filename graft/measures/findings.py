"""What the measures find, as plain numbers. No torch here: whoever shows them needs none."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["positive", "no evidence", "negative"]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval; `low` and `high` are None where one seed leaves nothing to go by."""

    mean: float
    low: float | None
    high: float | None

    def rounded(self, digits: int) -> "Interval":
        """The same with fewer digits. Round before a verdict, so that it is the one which the printed numbers give."""
        low = None if self.low is None else _round(self.low, digits)
        high = None if self.high is None else _round(self.high, digits)
        return Interval(_round(self.mean, digits), low, high)


def _round(value: float, digits: int) -> float:
    return round(value, digits) + 0.0  # turns -0.0 into 0.0


def verdict(gain: Interval) -> Verdict:
    """What the interval of a gain supports: all of it above zero, all of it below, or neither.

    Without an interval (one seed) there is no evidence, however large the gain.
    """
    if gain.low is not None and gain.low > 0:
        return "positive"
    if gain.high is not None and gain.high < 0:
        return "negative"
    return "no evidence"


@dataclass(frozen=True)
class DomainGap:
    """The gap between as many source as target images; the distances within a domain say what chance alone does."""

    images: int
    """Of each domain."""
    proxy_a_distance: float
    """0 (nobody can tell the domains apart) to 2 (everybody can)."""
    domain_error: float
    """Share of held-out images whose domain a linear classifier gets wrong."""
    mmd: float
    """Squared, unbiased: 0 on average for equal domains, and may be below."""
    mmd_p_value: float
    frechet: float
    """Between halves of the two domains."""
    frechet_within: float
    """Between the two halves of a domain, mean of source and target: what `frechet` would be without any gap."""
