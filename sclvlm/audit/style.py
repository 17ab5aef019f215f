"""Can chosen be told from rejected without knowing what is right? A classifier of style alone tries.

Two sides of a pair differ by a vector of traits; a logistic regression without intercept on these differences (Bradley
and Terry 1952, Biometrika 39:324) says which side is the chosen one. It is judged on pairs it was not fitted on. Since
it takes pairs as a whole, the sides have no label to lean on: guessing tells half of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from sclvlm.audit.schema import Shortcut, Telling
from sclvlm.metrics import wilson

FOLDS, FEWEST = 5, 40
PENALTY = 1.0  # on half the sum of squares of the weights, against the summed log loss: rare traits stay small
TRAITS = 300  # at most, those that tell sides apart most often
RAREST, RARE_SHARE = 3, 0.01  # in how many pairs, and in which share, a trait must tell the sides apart
SHOWN = 6
OPENING = 3  # words
CHANCE = 0.5

REVIEW = re.compile(
    r"\b(upon|after|on) (a )?(closer|further|second|careful|re-?)\w*|\b(look|check|consider|think|read)ing again\b"
    r"|\bre-?(view|examin|consider|evaluat|check|assess)\w*|\b(apologi[sz]e|apologies|sorry|mistaken?|oversight)\b"
    r"|\b(previous|earlier|initial|original|first|my) (answer|response|reasoning)\b|\bcorrect(ed|ion)\b|\brevised?\b"
    r"|\bimproved?\b|\bactually\b|\bindeed\b|再(次|看)|重新|之前的|更正|抱歉"
)
OPENS_WITHIN = 60  # characters
SIGNS = {"comma": ",", "question mark": "?", "exclamation mark": "!", "colon": ":", "line break": "\n", "bold": "**"}

Floats = NDArray[np.float64]


class Sides(NamedTuple):
    """A pair's two texts; pairs of one group are fitted or judged together."""

    chosen: str
    rejected: str
    group: str


def traits(text: str) -> dict[str, float]:
    """The surface of `text` by name. What stands between its ## marks is content and left out of its opening."""
    said = re.sub(r"##.*?(##|$)", " ", text, flags=re.DOTALL).lower()
    words = re.findall(r"\w+", said[:200])
    found = {f'opens with "{" ".join(words[:n])}"': 1.0 for n in range(1, min(len(words), OPENING) + 1)}
    found |= {f"{name}s": float(np.log1p(text.count(sign))) for name, sign in SIGNS.items() if sign in text}
    flags = {
        "the ## mark": "##" in text,
        "opens like a review": bool(REVIEW.search(said[:OPENS_WITHIN])),
        "speaks of a review": bool(REVIEW.search(said)),
        "ends with a full stop": text.rstrip().endswith((".", "。")),
    }
    return found | {name: 1.0 for name, holds in flags.items() if holds} | {"length": float(np.log1p(len(text)))}


def measure_shortcut(pairs: Sequence[Sides], *, of: int, seed: int = 0) -> Shortcut | None:
    """How well style tells chosen from rejected; None for fewer than FEWEST pairs or FOLDS groups.

    of: how many pairs there are, of which `pairs` were drawn. The folds are drawn by `seed`, whole groups each.
    """
    folds = _folds([each.group for each in pairs], seed)
    if len(pairs) < FEWEST or len(set(folds)) < FOLDS:
        return None
    names, differences = _differences(pairs)
    right = _told(differences, folds)
    return Shortcut(
        pairs=len(pairs),
        of=of,
        folds=FOLDS,
        accuracy=float(right.mean()),
        interval=wilson(round(float(right.sum())), len(pairs)),
        chance=CHANCE,
        telling=_telling(names, differences),
    )


def _folds(groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """A fold for each pair: groups in an order that depends on name and seed alone, dealt out in turn."""
    dealt = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    fold = {group: place % FOLDS for place, group in enumerate(dealt)}
    return np.array([fold[group] for group in groups], dtype=np.int64)


def _differences(pairs: Sequence[Sides]) -> tuple[list[str], csr_matrix]:
    """Names of traits, and chosen minus rejected in each: (pairs, traits)."""
    rows = [_difference(traits(each.chosen), traits(each.rejected)) for each in pairs]
    counts = Counter(name for row in rows for name in row)
    fewest = max(RAREST, RARE_SHARE * len(pairs))
    names = [name for name, count in counts.most_common(TRAITS) if count >= fewest]
    column = {name: place for place, name in enumerate(names)}
    cells = [(at, column[name], value) for at, row in enumerate(rows) for name, value in row.items() if name in column]
    if not cells:
        return names, csr_matrix((len(pairs), len(names)))
    places, columns, values = zip(*cells, strict=True)
    return names, csr_matrix((values, (places, columns)), shape=(len(pairs), len(names)))


def _difference(chosen: dict[str, float], rejected: dict[str, float]) -> dict[str, float]:
    gaps = {name: chosen.get(name, 0.0) - rejected.get(name, 0.0) for name in chosen | rejected}
    return {name: gap for name, gap in gaps.items() if gap}


def _told(differences: csr_matrix, folds: NDArray[np.int64]) -> Floats:
    """For each pair 1 where the weights of the other folds tell it rightly, 0 where wrongly, half where not at all."""
    right = np.full(len(folds), CHANCE)
    for fold in range(FOLDS):
        margin = differences[folds == fold] @ _fitted(differences[folds != fold])
        right[folds == fold] = (np.sign(np.round(margin, 9)) + 1) / 2
    return right


def _fitted(differences: csr_matrix) -> Floats:
    """Weights that minimise the summed log loss of `chosen` over the rows, and PENALTY."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = differences @ weights
        total = np.logaddexp(0, -margin).sum() + PENALTY / 2 * weights @ weights
        return float(total), PENALTY * weights - differences.T @ expit(-margin)

    found: Floats = minimize(loss, np.zeros(differences.shape[1]), jac=True, method="L-BFGS-B").x
    return found


def _telling(names: Sequence[str], differences: csr_matrix) -> tuple[Telling, ...]:
    spread = np.sqrt(np.asarray(differences.multiply(differences).mean(axis=0)).ravel())  # (traits,)
    weights = np.abs(_fitted(differences)) * spread
    columns = differences.tocsc()
    return tuple(_tells(names[place], columns[:, place].data) for place in np.argsort(-weights)[:SHOWN])


def _tells(name: str, gaps: Floats) -> Telling:
    return Telling(name=name, chosen=int((gaps > 0).sum()), rejected=int((gaps < 0).sum()))
