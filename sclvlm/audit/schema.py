"""What an audit of training records holds. `audit.json` is its dump."""

from __future__ import annotations

from sclvlm.audit.pictures import Likeness
from sclvlm.metrics import Interval, Rate, Statistic


class Twin(Statistic):
    """A test question with a picture of it, and the training picture that is like it.

    picture: relative to the folder of the test questions. training: relative to that of the training records.
    """

    id: str
    picture: str
    training: str
    likeness: Likeness


class Overlap(Statistic):
    """What of the test questions is among the training records.

    training, questions: records trained on, questions evaluated. training_pictures, pictures: different files of
    either. unreadable: files of both that can't be read, and were compared with nothing.
    same_file, same_pixels, near: test pictures by the likest training picture; a picture counts once.
    same_question: test questions whose words, case and punctuation apart, are asked in training about any picture.
    same_question_and_picture: about the same or nearly the same pictures; of a text-only question, its words alone.
    twins: a few test questions with a picture that is trained on.
    """

    training: int
    questions: int
    training_pictures: int
    pictures: int
    unreadable: int
    same_file: int
    same_pixels: int
    near: int
    same_question: int
    same_question_and_picture: int
    twins: tuple[Twin, ...] = ()


class Telling(Statistic):
    """A trait of style, and the pairs in which the chosen or the rejected side has it, or has more of it."""

    name: str
    chosen: int
    rejected: int


class Shortcut(Statistic):
    """How well surface traits alone tell chosen from rejected, on pairs that were not fitted.

    accuracy: share of `pairs` told rightly; where both sides look the same, half. of: pairs there are; where more,
    `pairs` were drawn at random. interval: Wilson's, which takes pairs for independent. chance: what guessing tells.
    telling: the traits with the largest weights, each times its spread, fitted on all of `pairs`.
    """

    pairs: int
    of: int
    folds: int
    accuracy: float
    interval: Interval
    chance: float
    telling: tuple[Telling, ...]


class Lengths(Statistic):
    """Characters of both sides. interval: of the mean difference, normal; None for a single pair.

    longer: the share of pairs whose chosen side is the longer one.
    """

    pairs: int
    chosen_mean: float
    chosen_median: float
    rejected_mean: float
    rejected_median: float
    difference: float
    interval: Interval | None
    longer: Rate


class Balance(Statistic):
    """Pairs by source. corrected: the share of i->c among i->c and c->i; None where there is neither."""

    sources: dict[str, int]
    corrected: Rate | None


class Remark(Statistic):
    """One finding in words. warns: whether it calls for something to be done, which is then the remedy."""

    topic: str
    verdict: str
    warns: bool = False
    remedy: str = ""


class Audit(Statistic):
    """What may make a gain look larger than it is, or teach something else than right answers.

    inputs: what was audited: hashes of files and of the prompt, and the limit of test questions. style is None for
    records that are no pairs or too few, overlap where no test questions are named or can be read.
    """

    inputs: dict[str, str | int | None]
    overlap: Overlap | None
    style: Shortcut | None
    balance: Balance | None
    lengths: Lengths | None
    remarks: tuple[Remark, ...]
