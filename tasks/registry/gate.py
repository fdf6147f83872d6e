"""The promotion gate: decides whether a candidate becomes the champion. Plain values in, a decision with reason out."""

from dataclasses import dataclass

from graft.measures.findings import Interval
from tasks.results.words import counted, interval, points
from tasks.settings.mlflow import Promotion

REFERENCES = {
    "scratch": "scratch is the baseline that transfer is measured against; it transfers nothing",
    "source_only": "source_only is the unchanged source network; nothing was transferred to the target",
}
"""Strategies that serve for comparison only and are never promoted, with the reason."""


@dataclass(frozen=True)
class Standing:
    """A version and its score on the current test set."""

    version: str
    score: float | None = None
    """None if it could not be scored; `problem` says why."""
    problem: str = ""


@dataclass(frozen=True)
class Candidate:
    """What the gate needs to know about a candidate."""

    version: str
    strategy: str
    verdict: str
    gain: Interval
    """Its gain over scratch."""
    score: float
    seeds: int = 3
    """Number of seeds behind its verdict."""
    was_champion: bool = False
    """Whether it was champion before."""
    promoted_because: str = ""
    """The reason recorded when it was promoted."""


@dataclass(frozen=True)
class Decision:
    """Whether the candidate is the champion from now on, and why."""

    promote: bool
    reason: str


def decide(candidate: Candidate, champion: Standing | None, gate: Promotion) -> Decision:
    """Apply the gate. `champion` is None if there is none, and may be the candidate itself."""
    objection = _objection(candidate, gate)
    if champion and champion.version == candidate.version:
        warning = f" It would not be promoted now: {objection}." if objection else ""
        return Decision(True, f"It is already the champion: {candidate.promoted_because}{warning}")
    if objection:
        return Decision(False, f"{objection}.")
    if champion is None:
        return Decision(True, f"{_shown(candidate)}; there was no champion before.")
    if candidate.was_champion:
        return Decision(
            False,
            f"it was champion before and was replaced by version {champion.version}; "
            "set the alias by hand to bring it back.",
        )
    return _compare(candidate, champion, gate)


def _objection(candidate: Candidate, gate: Promotion) -> str:
    """Why the candidate cannot be champion, regardless of the current one; empty if there is no objection."""
    if candidate.strategy in REFERENCES:
        return REFERENCES[candidate.strategy]
    accepted = ("positive",) if gate.require == "positive" else ("positive", "no evidence")
    if candidate.verdict not in accepted:
        return f"{candidate.strategy}: {candidate.verdict} ({_gain(candidate)}), required: {gate.require}"
    if candidate.seeds < gate.seeds:
        seeds = counted(candidate.seeds, "seed")
        return f"{candidate.strategy}: {candidate.verdict}, but from {seeds}; {gate.seeds} are required"
    return ""


def _compare(candidate: Candidate, champion: Standing, gate: Promotion) -> Decision:
    if champion.score is None:
        return Decision(
            False, f"champion version {champion.version} cannot be scored on this test set: {champion.problem}"
        )
    scores = (
        f"{gate.metric} {candidate.score:.4f} against {champion.score:.4f} of champion version {champion.version} "
        "on the same test set"
    )
    if candidate.score > champion.score + gate.margin:
        return Decision(True, f"{_shown(candidate)}; {scores}.")
    needed = f" (a lead of more than {gate.margin:g} is required)" if gate.margin else ""
    return Decision(False, f"not better: {scores}{needed}.")


def _shown(candidate: Candidate) -> str:
    return f"{candidate.strategy}: {candidate.verdict}, {_gain(candidate)}"


def _gain(candidate: Candidate) -> str:
    return f"gain over scratch {points(candidate.gain.mean)} points {interval(candidate.gain)}".rstrip()
