"""What a response says, without how it was written: characters, markup, special tokens, thoughts."""

from __future__ import annotations

import functools
import re
import unicodedata

from sclvlm.answers.structured import box_entries

HEAD, TAIL = 8_000, 24_000
"""Characters read of a response that is longer: only a loop is, and its middle repeats its end."""

_THOUGHT_END = re.compile(r"</(?:think|thinking|thought)>|◁/think▷", re.IGNORECASE)
_THOUGHT_START = re.compile(r"<(?:think|thinking|thought)>|◁think▷", re.IGNORECASE)

_END = (
    r"(?:<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|end.of.sentence|return)\|>"
    r"|</s>|<eos>|<end_of_turn>|<end_of_utterance>)"
)
_END_OF_TURN = re.compile(rf"{_END}|\n\s{{0,8}}(?:user|human)\s?:", re.IGNORECASE)
_LEADING = re.compile(
    rf"^(?:\s|{_END}|<s>|<bos>|<\|begin_of_text\|>)*+"
    r"(?:(?:<\|(?:im_start|start_header_id)\|>|<start_of_turn>)?\s*(?:assistant|model)\s*(?:[:\n]|<\|[a-z_]+\|>))?",
    re.IGNORECASE,
)
"""What may stand before a response that was decoded with its special tokens."""
_GLM_BOX = re.compile(r"<\|begin_of_box\|>(.{0,500}?)<\|end_of_box\|>", re.DOTALL)
_SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|<0x[0-9A-Fa-f]{2}>|<(?:s|pad|unk|bos|image)>|\[/?INST\]")
_INLINE_TAG = re.compile(r"</?(?:b|i|em|strong|u|code|span|sub|sup)>", re.IGNORECASE)
_TAG = re.compile(r"</?(?!answer>)[a-z_]{2,20}\s?/?>", re.IGNORECASE)

_LATEX_FONT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname)\s*\{([^{}]*)\}")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LATEX_BOX = re.compile(r"\\{1,2}(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*+)\}")
_LATEX_OPEN_BOX = re.compile(r"\\{1,2}(?:boxed|fbox)\s*\{([^{}\n]{0,100})\Z")
_LATEX_SPACE = re.compile(r"\\[,;:! ]")
_LATEX_TIMES = re.compile(r"\\(?:times|cdot)\b")
_LATEX_ESCAPE = re.compile(r"\\([%$#&_])")
_LATEX_DELIMITER = re.compile(r"\\[()\[\]]|\$\$")
_LATEX_DOLLARS = re.compile(r"\$([^$\n]{1,200})\$")

_HYPHEN = re.compile(r"(?<=[a-z])-(?=[a-z])")
_DIGIT_LETTER = re.compile(r"((?<![a-z\d])\d+)(?=[a-z]{1,4}\b)")
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_SCRIPTS_MEET = re.compile(rf"(?<=[{_CJK}])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9%])(?=[{_CJK}])")
_WIDE_THOUSANDS = re.compile(r"(?<=\d)，(?=\d{3}(?!\d))")
_STRUCK = re.compile(r"~~[^~\n]{0,200}~~")
_STARS = re.compile(r"(?<!\d)(?<!\d )\*{1,3}+|\*{1,3}+(?!\s?\d)")
_UNDERSCORES = re.compile(r"(?<![A-Za-z0-9_\\])_{1,3}+(?=[A-Za-z0-9(#])|(?<=[A-Za-z0-9.)!?#])_{1,3}+(?![A-Za-z0-9_])")
_UNCHECKED = re.compile(r"^[ \t]*(?:[-*+][ \t]+)?(?:\[[ \t]?\]|☐)[ \t].*$", re.MULTILINE)
_CHECKED = re.compile(r"^[ \t]*(?:[-*+][ \t]+)?(?:\[[xX✓✔]\]|☑|☒)[ \t]+", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[-+•>][ \t]+)+(?=\D)", re.MULTILINE)


def clean(text: str) -> str | None:
    """`text` after its thought, as plain characters; `<answer>` tags stand for every kind of box.

    None when a thought was begun and not ended: what stands in it is not an answer yet.
    """
    said = _after_thought(text)
    if said is None:
        return None
    if len(said) > HEAD + TAIL:
        said = f"{said[:HEAD]}\n{said[-TAIL:]}"
    return _without_markdown(_without_latex(box_entries(_without_special_tokens(fold(said))))).strip()


def spaced(text: str) -> str:
    """A space where Chinese or Japanese characters meet Latin letters or digits: B项 has no word border before 项."""
    return text if text.isascii() else _SCRIPTS_MEET.sub(" ", text)


def plain(text: str) -> str:
    """An option as it is compared: cleaned, lower case, single spaces, `dark-blue` as `dark blue`."""
    text = _HYPHEN.sub(" ", spaced(_without_markdown(_without_latex(fold(text)))).casefold())
    return " ".join(_DIGIT_LETTER.sub(r"\1 ", text).split()).strip(" .,;:!?\"'")


def _after_thought(text: str) -> str | None:
    """What follows the last end of a thought. Its start may be missing: chat templates write it."""
    if "<" not in text and "◁" not in text:
        return text
    ends = [match.end() for match in _THOUGHT_END.finditer(text)]
    said = text[ends[-1] :] if ends else text
    return None if _THOUGHT_START.search(said) else said


def thought_opened(prompt: str) -> str:
    """The tag at the end of a rendered `prompt` that begins a thought, behind which a response goes on; mostly none."""
    said = prompt.rstrip()
    return next((match[0] for match in _THOUGHT_START.finditer(said) if match.end() == len(said)), "")


def fold(text: str) -> str:
    """NFKC, plain quotes and dashes, nothing invisible.

    Character by character, and long runs of accents cut, so that no text costs more than linear time:
    canonical ordering alone is quadratic in a run of combining marks.
    """
    if text.isascii():
        return text
    text = _WIDE_THOUSANDS.sub(",", text)
    folded = text.translate({ord(char): _fold_char(char) for char in set(text) if not char.isascii()})
    if marks := "".join(char for char in set(folded) if unicodedata.combining(char)):
        some = re.escape(marks)
        folded = re.sub(f"([{some}]{{4}})[{some}]+", r"\1", folded)
    return unicodedata.normalize("NFC", folded)


_QUOTES_AND_DASHES = {
    **dict.fromkeys("‘’‚‛′´", "'"),
    **dict.fromkeys("“”„‟″", '"'),
    **dict.fromkeys("‐‑‒–−", "-"),
    **dict.fromkeys("「」『』", '"'),
    **{wide: f"{mark} " for wide, mark in zip("。，；：！？、", ".,;:!?,", strict=True)},
    "【": " (",
    "】": ") ",
    "—": " - ",
    "×": "*",
    "→": "->",
    "⇒": "=>",
    "▁": " ",
}


@functools.lru_cache(maxsize=4096)
def _fold_char(char: str) -> str:
    """One character in its plain form. 10² becomes 10^2, not 102, and 2½ becomes 2 1/2, not 21/2."""
    if char in _QUOTES_AND_DASHES:
        return _QUOTES_AND_DASHES[char]
    if unicodedata.category(char) == "Cf" or char == "\ufe0f":  # ✔ as a picture
        return ""
    plain = unicodedata.normalize("NFKC", char)
    decomposition = unicodedata.decomposition(char)
    if decomposition.startswith("<super>") and plain.isdigit():
        return f"^{plain}"
    if decomposition.startswith("<fraction>"):
        return " " + plain.replace("⁄", "/")
    return plain if len(plain) <= 4 else char  # a few ligatures unfold to whole sentences


def _without_special_tokens(text: str) -> str:
    """Nothing behind the first end of turn counts: a model that runs on talks to itself."""
    text = _LEADING.sub("", text, count=1)
    if "<" not in text and "[" not in text:
        return text
    text = _END_OF_TURN.split(text.rpartition("[/INST]")[2], maxsplit=1)[0]
    if "<|begin_of_box|>" in text and "<|end_of_box|>" in text:
        text = _GLM_BOX.sub(r"<answer>\1</answer>", text)
    text = _SPECIAL.sub(" ", text)
    return _TAG.sub("\n", _INLINE_TAG.sub("", text) if "</" in text else text)


def _without_latex(text: str) -> str:
    """LaTeX as plain text: fonts and delimiters go, fractions become a/b, boxes become `<answer>` tags."""
    if "\\" in text:
        for _ in range(2):  # fonts nest once: \textbf{\text{B}}
            text = _LATEX_FONT.sub(r"\1", text)
        text = _LATEX_FRACTION.sub(r"\1/\2", text)
        text = _LATEX_OPEN_BOX.sub(r"<answer>\1", _LATEX_BOX.sub(r"<answer>\1</answer>", text))
        text = _LATEX_TIMES.sub("*", text.replace("{,}", ","))
        text = _LATEX_DELIMITER.sub(" ", _LATEX_SPACE.sub(" ", text))
        text = _LATEX_ESCAPE.sub(r"\1", text)
    return _LATEX_DOLLARS.sub(_mathematics, text.replace("$$", " ")) if "$" in text else text


def _mathematics(match: re.Match[str]) -> str:
    """Dollars around mathematics go; in "$5 and $6" they are money and stay."""
    inside = match[1]
    return match[0] if inside != inside.strip() or re.match(r"\d+\s", inside) else inside


def _without_markdown(text: str) -> str:
    """Emphasis, code marks, bullets, struck text, unchecked boxes go; headings stay, since ## may mark the answer."""
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if _CHECKED.search(text):
        text = _CHECKED.sub("", _UNCHECKED.sub("", text))
    if "*" in text:
        text = _STARS.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    return _BULLET.sub("", text.replace("`", ""))
