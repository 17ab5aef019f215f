"""POPE: is the object there? (Li et al., arXiv 2305.10355), with yes as the positive answer."""

from __future__ import annotations

from collections.abc import Sequence

from sclvlm.errors import SclvlmError
from sclvlm.metrics.official.groups import Figures

DENIALS = frozenset(("No", "no", "not"))


def pope_answer(response: str) -> str:
    """What the official script reads: "no" where the first sentence holds No, no or not as a word, else "yes".

    github.com/RUCAIBox/POPE, evaluate.py. It guesses: whatever is no denial, an empty response too, is a yes.
    """
    sentence = response.partition(".")[0].replace(",", "")
    return "no" if DENIALS & set(sentence.split(" ")) else "yes"


def yes_no(answers: Sequence[str | None], labels: Sequence[str]) -> Figures:
    """accuracy, precision, recall and f1 of yes, and yes_rate, over all questions.

    answers: yes, no, or None where nothing could be read: wrong, and no yes. labels: yes or no. A precision of no yes
    at all is 0, and so is a recall where yes is never right. Raises SclvlmError for other labels, and for none.
    """
    if not labels or len(answers) != len(labels):
        raise SclvlmError(f"expected one answer a label, got {len(answers)} answers and {len(labels)} labels.")
    if unknown := set(labels) - {"yes", "no"}:
        raise SclvlmError(f"a label must be yes or no, got {min(unknown)!r}. Write it in lower case.")
    pairs = list(zip(answers, labels, strict=True))
    hits, said, true = pairs.count(("yes", "yes")), list(answers).count("yes"), list(labels).count("yes")
    return {
        "accuracy": sum(answer == label for answer, label in pairs) / len(pairs),
        "precision": hits / said if said else 0.0,
        "recall": hits / true if true else 0.0,
        "f1": 2 * hits / (said + true) if said + true else 0.0,
        "yes_rate": said / len(pairs),
    }


def both_readings(ours: Sequence[str | None], published: Sequence[str | None], labels: Sequence[str]) -> Figures:
    """The figures by our reading, and behind `official/` those by the official one. Raises what `yes_no` raises."""
    official = {f"official/{name}": value for name, value in yes_no(published, labels).items()}
    return yes_no(ours, labels) | official
