"""Reading an earlier answer that the response quotes and confirms: "My previous answer was B. It is correct.\""""

from __future__ import annotations

import re

from sclvlm.answers.passages import NOTHING, STOP, Reader, Reading

_EARLIER = r"(?:previous|initial|original|first|earlier|prior)"
_NAME = r"(?:answer|response|choice|selection|guess|conclusion|option|count|estimate)"
_JUDGED = r"(?:correct|right|accurate|valid|unchanged|true|incorrect|wrong|false|not|based|still|indeed|in)\b"
_QUOTED = re.compile(
    rf"\b(?:{_EARLIER}\s{_NAME}\b(?:\s(?:was|is|of)\b|\s?[,:-])?|(?:my|the)\s{_NAME}(?:\sof\b|\swas\b|(?=\s\(?\w\)?\s(?:stands|holds)\b))"
    rf"|(?:previously|initially|earlier|originally|before),?\s(?:i\s)?(?:answered|chose|said|picked|selected|counted)"
    rf"(?:\swith|\sthat)?)\s?:?\s?(?!{_JUDGED})(?=[^\s,.])",
    re.IGNORECASE,
)
_STILL = r"(?:\s(?:still|indeed|also|in\sfact|therefore|thus|already|completely|most\slikely)){0,2}"
_CONFIRMED = re.compile(
    rf"\b(?:(?:my|the|that)\s(?:{_EARLIER}\s)?(?:{_NAME}|reasoning)\b[^.!?\n]{{0,40}}?|(?:that|this|it|which|and|answer))"
    rf"(?:\s(?:is|was|remains|seems|appears\sto\sbe|stays)|'s)\b{_STILL}\s(?:correct|right|accurate|valid|unchanged)\b"
    rf"|\b(?:{_NAME}(?:\s\(?\w\)?)?|it|that|which)\s(?:still\s)?(?:stands|holds)\b"
    r"|\b(?:stand|stick|stay|standing|sticking|staying|go)\s(?:by|with|to)\s|\b(?:keep|maintain|confirm|reaffirm|retain)(?:s|ing)?\s"
    rf"(?:my|the|that|this|it)\b|\bi\swas\sright\b|\b(?:do(?:es)?|did|will|would)(?:n't|\snot)\schange\b|\bstill\s(?:confident|think|believe|certain|sure)\b|\b(?:no|nothing)\s(?:\w+\s){{0,4}}(?:change|correct|correction|revision)",
    re.IGNORECASE,
)
_STANDS = re.compile(r"\s(?:stands|holds|remains|is|was|do(?:es)?|did|will)\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"n't\b|\bnot\b|\bno\slonger\b|\bnever\b|\bcannot\b|\bif\b|\bwhether\b|\b(?:might|may|could)\b|\bwrong\b|\bincorrect\b"
    r"|\bmista\w+|\berrors?\b|\binstead\b|\?",
    re.IGNORECASE,
)
_NO_FAULT = re.compile(
    r"\b(?:do(?:es)?|did|will|would)(?:n't|\snot)\schange\b|\b(?:no|any|without)\s(?:mistakes?|errors?|issues?)\b|\b(?:do(?:es)?n't|do(?:es)?\snot|not|no)\s(?:need|see|find)\b",
    re.IGNORECASE,
)


def confirmed(text: str, reader: Reader) -> Reading:
    """The earlier answer that `text` quotes, where it calls that right and takes nothing back."""
    quoted = list(_QUOTED.finditer(text))[-16:]
    if not quoted or not _is_confirmed(text):
        return NOTHING
    contents = (_STANDS.split(text[match.end() : match.end() + 300], maxsplit=1)[0] for match in quoted)
    return NOTHING.union(*map(reader.stated, contents))


def _is_confirmed(text: str) -> bool:
    sentences = [_NO_FAULT.sub(" ", sentence) for sentence in STOP.split(text)]
    if any(_TAKEN_BACK.search(sentence) for sentence in sentences):
        return False
    return any(_CONFIRMED.search(sentence) for sentence in STOP.split(text))
