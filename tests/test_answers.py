"""Reading answers out of free text. Each row of a table is one fact with its reason."""

from __future__ import annotations

import pytest

from sclvlm.answers import extract, normalise
from sclvlm.answers.cleaning import thought_opened
from sclvlm.answers.vqa import CONTRACTIONS

COLORS = ("red", "blue", "dark blue", "green")

CHOICE = [
    ("## B ##", "B", "the prompt's own marker"),
    ("##B##", "B", "a marker without spaces"),
    ("**## B ##**", "B", "a marker inside emphasis"),
    ("## **(B)** ##", "B", "emphasis and brackets inside a marker"),
    ("##\nB\n##", "B", "a marker over three lines"),
    ("＃＃ Ｂ ＃＃", "B", "full-width characters mean the plain ones"),
    ("## b ##", "B", "case of a marked label does not matter"),
    ("## B. blue ##", "B", "a label with its own text"),
    ("## B blue ##", "B", "a label with its own text, unsigned"),
    ("## blue (B) ##", "B", "a label behind its own text"),
    ("## option B ##", "B", "the word option belongs to the sentence"),
    ("## The answer is B ##", "B", "a whole sentence between marks"),
    ("## dark blue ##", "C", "option text between marks; the longest option wins"),
    ("## The blue square ##", "B", "one option's text mentioned between marks"),
    ("## A blue square ##", "B", "the article A is no label"),
    ("## A ## no, wait ## B ##", "B", "the last valid marker wins"),
    ("## B ## and then ## E ##", "B", "E is no label of this question, so B is the last valid one"),
    ("I write it between two ## marks. ## B ##", "B", "an echoed instruction before the answer"),
    ("## B ##. I put it between two ## marks.", "B", "an echoed instruction behind the answer"),
    ("Write only the final answer between two ## marks.", None, "an echoed instruction is no answer"),
    ("For example, ## A ##", None, "an example of the format is no answer"),
    ("## Final answer: ## B ##", "B", "a heading that shares its mark with the answer"),
    ("## Answer ##\nB", "B", "a heading above the answer"),
    ("## Reasoning\nIt is round.\n## Answer\nB", "B", "markdown headings are no markers"),
    ("### Final Answer: B", "B", "the answer in a heading"),
    ("It is blue, so ## B", "B", "the closing mark is missing"),
    ("## A and B ##", None, "two labels contradict each other"),
    ("## red or blue ##", None, "two option texts contradict each other"),
    ("## B. red ##", None, "a label beside another option's text is contradictory"),
    ("## not B ##", None, "a denied label is no answer"),
    ("## E ##", None, "only this question's labels count"),
    ("## ##", None, "nothing between the marks"),
    (r"So it is \boxed{\text{B}}.", "B", "LaTeX box"),
    (r"$\boxed{\textbf{(B) blue}}$", "B", "LaTeX box with bold text"),
    ("<answer>B</answer>", "B", "answer tags"),
    ("<|begin_of_box|>B<|end_of_box|>", "B", "a model's own box tokens"),
    ("<think>Surely ## A ##</think>## B ##", "B", "only what follows the thought counts"),
    ("Surely ## A ##</think>## B ##", "B", "the template opened the thought"),
    ("<think>Surely ## A ##", None, "an unclosed thought has no answer yet"),
    ("B<|im_end|>\n<|im_start|>assistant\nC", "B", "a model that runs on talks to itself"),
    ("<|im_start|>assistant\nB<|im_end|>", "B", "special tokens around the answer"),
    ("ASSISTANT: B", "B", "a role name in front"),
    ("The answer is B.", "B", "cue"),
    ("**Answer:** **B**", "B", "cue in bold"),
    ("The correct answer is:\n\nB. blue", "B", "the answer below its cue"),
    ("The answer is most likely B.", "B", "one answer is given, if cautiously"),
    ("The correct option is (B) blue.", "B", "label in brackets behind a cue"),
    ("The answer is the green one.", "D", "option text behind a cue"),
    ("The answer is A. Wait, no. The answer is C.", "C", "the last cue wins"),
    ("Answer: B, not A", "B", "what is turned down does not compete"),
    ("I would go with option C.", "C", "choosing in the first person"),
    ("Therefore, B is the correct answer.", "B", "cue behind its label"),
    ("A is incorrect, so C is correct.", "C", "elimination that names the right one"),
    ("Option B is correct. Option C is incorrect.", "B", "a later denial of another option"),
    ("The answer is A, since B is wrong.", "A", "the reason names another label"),
    ("答案是B。", "B", "Chinese cue and full stop"),
    ("The answer is not B.", None, "negated cue"),
    ("The answer isn't B.", None, "contracted negation"),
    ("I don't think the answer is B.", None, "negation in front of a cue"),
    ("The answer is A. But no, the answer is not A.", None, "an answer that is taken back"),
    ("The answer could be B.", None, "hedged cue"),
    ("If it is round, the answer is B.", None, "a condition announces nothing"),
    ("Is the answer B?", None, "a question announces nothing"),
    ("I think the answer is either A or B.", None, "two answers behind a cue"),
    ("The answer is C (blue).", None, "label and text disagree behind a cue"),
    ("Option C is incorrect.", None, "a turned-down option is no answer"),
    ("B", "B", "nothing but a label"),
    ("b", "B", "nothing but a small label"),
    ("A", "A", "alone, A is a label"),
    ("(C) dark blue", "C", "leading label"),
    ("B, because A is red", "B", "leading label with its reason"),
    ("It is blue, as the picture shows.\nB", "B", "label on the last line"),
    ("A. red\nB. blue\n\nB", "B", "repeated options, then the label"),
    ("A. red\nB. blue\nC. dark blue\nD. green", None, "repeated options only"),
    ("A. yes\nB. no", None, "a list of verdicts on options"),
    ("B. red", None, "leading label beside another option's text"),
    ("B: incorrect", None, "a label that is turned down"),
    ("A, C", None, "two labels"),
    ("It is not red, it is blue.", "B", "the denied option does not count"),
    ("Is it red? No. It is green.", "D", "the option that is asked for does not count"),
    ("The shape is dark blue.", "C", "the longest option text wins"),
    ("The shape is dark-blue.", "C", "a hyphen is a space"),
    ("The red car is next to the blue one.", None, "two options are mentioned"),
    ("The shape is reddish.", None, "option texts count between word borders"),
    ("It may be blue.", None, "hedged option text"),
    ("It is not blue. It is blue.", None, "an option both denied and affirmed"),
    ("It's B.", "B", "capital that stands alone"),
    ("Looking closely, option B fits.", "B", "capital behind the word option"),
    ("Vitamin B is in it.", None, "a capital behind a noun is a name"),
    ("A thing that I see.", None, "A and I are words"),
    ("", None, "no text at all"),
]


@pytest.mark.parametrize(("text", "value", "reason"), CHOICE, ids=[row[2] for row in CHOICE])
def test_choice(text: str, value: str | None, reason: str) -> None:
    assert extract(text, kind="choice", choices=COLORS).value == value, reason


OTHER_CHOICES = [
    ("## 5 ##", ["5 cm", "10 cm"], "A", "a number means the option with that number and a unit"),
    ("## 5cm ##", ["5 cm", "10 cm"], "A", "units may touch their number"),
    ("## 5 ##", ["5 cm", "5 m"], None, "a number that fits two units"),
    ("x = -3", ["3", "-3"], "B", "3 is not mentioned in -3"),
    ("1,000", ["1000", "2000"], "A", "thousands separators"),
    ("1. Rows.\n2. Columns.\n3 of each.", ["2", "3"], None, "among sentences numbers may count anything"),
    ("No, it isn't.", ["Yes", "No"], "B", "a leading clause that is an option"),
    ("There is no dog.", ["Yes", "No"], None, "no inside a sentence is a word"),
    ("B", ["B", "A"], "B", "the prompt asks for a letter, so a letter is a label"),
    ("Answer: A dog", ["cat", "dog"], "B", "a capital article before an option"),
    ("## H ##", list("stuvwxyz"), "H", "more than four options"),
    ("## 3 ##", {"1": "a cat", "2": "a dog", "3": "a cow"}, "3", "digit labels"),
    ("## blue ##", ["blue", "blue"], None, "two options of the same text"),
    ("## red, blue ##", ["red, blue", "red"], "A", "an option with a comma"),
    (r"## \frac{1}{2} ##", ["1/2", "1/3"], "A", "LaTeX fraction"),
    ("## $5 ##", ["$5", "$6"], "A", "a dollar sign is money"),
    ("## cafe\u0301 ##", ["caf\u00e9", "bar"], "A", "composed and decomposed accents are equal"),
    ("It is St. Louis.", ["St. Louis", "Paris"], "A", "an option with a full stop"),
]


@pytest.mark.parametrize(("text", "choices", "value", "reason"), OTHER_CHOICES, ids=[row[3] for row in OTHER_CHOICES])
def test_choice_among(text: str, choices: list[str] | dict[str, str], value: str | None, reason: str) -> None:
    assert extract(text, kind="choice", choices=choices).value == value, reason


YES_NO = [
    ("## yes ##", "yes", "marker"),
    ("**No**", "no", "emphasis"),
    ("Yes, there is a dog.", "yes", "leading yes"),
    ("No, there is not.", "no", "leading no"),
    ("The picture shows a street. So, no.", "no", "last sentence"),
    ("There are no dogs, so no.", "no", "closing clause"),
    ("Based on the image, yes, there is one.", "yes", "a source before the answer"),
    ("The answer is **no**.", "no", "cue"),
    ("I would say yes.", "yes", "choosing in the first person"),
    ("True", "yes", "true means yes"),
    ("## yes or no ##", None, "an echoed instruction between marks"),
    ("Yes.\nIt is red.\nNo.", None, "first and last sentence disagree"),
    ("Yes.\nOn second thought:\nNo.", "no", "a second thought overrules the first"),
    ("There is no dog.", None, "no inside a sentence is a word"),
    ("No dog", None, "a leading determiner is no answer"),
    ("No idea.", None, "not knowing is no answer"),
    ("Not sure.", None, "not is not no"),
    ("The answer is not yes.", None, "a denied yes is no answer"),
    ("A yes-man stands there.", None, "yes inside a word"),
    ("Certainly not.", "no", "an emphatic denial"),
    ("Not at all, nobody is there.", "no", "a denial with its reason"),
    ("Not at all clear.", None, "a denial of clearness"),
    ("It is not true that she runs.", "no", "a statement that is denied"),
    ("It is not true that nobody runs.", None, "a denial that is denied"),
    ("No, this isn't false.", None, "no, and a word that says yes"),
    ("Of course.", "yes", "a response that only agrees"),
    ("Of course! Let me look.", None, "agreement as politeness"),
    ("He doesn't.", "no", "a verb alone, denied"),
    ("Yes, if the mirror counts.", None, "a condition behind it"),
    ("Yes, but only partly.", None, "a restriction behind it"),
    ("1. Yes\n2. No", None, "a list of both"),
    ("This is incorrect.", "no", "nothing but a verdict"),
    ("On closer inspection: no.", "no", "a source with a colon"),
]


@pytest.mark.parametrize(("text", "value", "reason"), YES_NO, ids=[row[2] for row in YES_NO])
def test_yes_no(text: str, value: str | None, reason: str) -> None:
    assert extract(text, kind="yes_no").value == value, reason


NUMBER = [
    ("## 7 ##", "7", "marker"),
    ("## seven ##", "7", "number word"),
    ("## twenty-one ##", "21", "two number words"),
    ("## 1,234.50 ##", "1234.5", "thousands separators and needless zeros"),
    ("007", "7", "leading zeros"),
    ("-0", "0", "zero has no sign"),
    ("\u22123", "-3", "a typographic minus"),
    ("$5", "5", "currency"),
    ("5 cm", "5", "unit"),
    ("50%", "50", "percent"),
    ("1.5e3", "1500", "exponent"),
    (r"\boxed{\frac{3}{4}}", "0.75", "a fraction that a decimal writes exactly"),
    ("2½", "2.5", "a mixed number"),
    ("3 + 4 = 7", "7", "the right-hand side of an equation"),
    ("There are seven apples.", "7", "the only number of a short response"),
    ("The answer is 7 because 3 and 4 make 7.", "7", "the number at the cue"),
    ("I count 3 red and 4 blue ones. Answer: 7", "7", "the cue decides among numbers"),
    ("I count 3 red and 4 blue ones.", None, "two numbers"),
    ("The answer is 2 or 3.", None, "two numbers behind a cue"),
    ("3-5", None, "a range"),
    ("10:30", None, "a time"),
    ("2024-01-05", None, "a date"),
    ("1,23", None, "a comma that may be decimal"),
    ("1/3", None, "a fraction that no decimal writes exactly"),
    ("10²", None, "a power"),
    ("√2", None, "a root"),
    ("3 + 4", None, "open arithmetic"),
    ("three hundred", "300", "a larger number than its word"),
    ("The 1st of them.", None, "an ordinal"),
    ("one of them", None, "one as a pronoun"),
    ("The answer is not 5.", None, "a denied number"),
    ("It has ## 12", None, "an open mark: the number may have been cut off"),
    ("two hundred and six", "206", "hundreds and ones in words"),
    ("three thousand four hundred and fifty", "3450", "thousands and hundreds in words"),
    ("a hundred birds", "100", "a before a power of ten"),
    ("half a dozen", None, "half of something"),
    ("3 July 1999", None, "a date with its day first"),
    ("The value for 1999 is 12.", "12", "the year that a value is given for"),
    ("In 1999", "1999", "nothing but a year"),
    ("from 1999 to 2001", None, "two years"),
    ("There are 7 birds: 4 robins and 3 wrens.", "7", "a number before its parts"),
    ("There are 7 birds: 4 robins and 2 wrens.", None, "a number before other numbers"),
    ("Two are asleep and four in flight.", None, "number words before a preposition count too"),
    ("There are a total of six birds: four robins and two wrens.", "6", "a total in words before its parts"),
    ("The total is not 6.", None, "a total that is denied"),
    ("6 -> 7", None, "an arrow between numbers"),
    ("1e999999999", None, "an exponent that would fill the memory"),
    ("9" * 5000, None, "a run of digits is a loop, not a number"),
]


@pytest.mark.parametrize(("text", "value", "reason"), NUMBER, ids=[row[2] for row in NUMBER])
def test_number(text: str, value: str | None, reason: str) -> None:
    assert extract(text, kind="number").value == value, reason


TEXT = [
    ("## The Red Car. ##", "red car", "marker, normalised"),
    ("It is nice here. Final answer: ## Two dogs ##", "2 dogs", "number words become digits"),
    ("## red ## is my answer, between two ## marks.", "red", "an echoed instruction behind the answer"),
    ("Between two ## marks: ## cube ##", "cube", "an echoed instruction before the answer"),
    ("## Answer: red ##", "red", "the name of the answer is not part of it"),
    (r"\boxed{\text{circle}}", "circle", "LaTeX box"),
    ('The answer is "stop sign".', "stop sign", "quotes behind a cue"),
    ("The answer is the stop sign, because it is red.", "stop sign", "the reason is not part of the answer"),
    ("The answer is St. Louis.", "st louis", "an abbreviation does not end the sentence"),
    ("stop sign", "stop sign", "a response of a few words"),
    (
        "The shape in the middle of the picture is surely a circle.",
        None,
        "a long response that marks nothing",
    ),
    ("The answer is clear from the picture.", None, "a sentence about the answer"),
    ("I cannot tell.", None, "a refusal is no answer"),
    ("## answer ##", None, "the empty slot of the instruction"),
    ("I see. ## answer ##", None, "an empty slot makes no answer of the words around it"),
    ("## the ##", None, "nothing is left after normalisation"),
    ("Red, because it is ripe.", "red", "the reason is not part of a short response"),
    ("A: red", "red", "the A of a question and its answer"),
    ("Q: Which color?\nA: red", "red", "a question said over"),
    ("It says EXIT.", "exit", "what a sign says"),
    ("n/a", None, "not available"),
    ("Looking at the picture I see a ## cir", None, "an open mark: the word may have been cut off"),
]


@pytest.mark.parametrize(("text", "value", "reason"), TEXT, ids=[row[2] for row in TEXT])
def test_text(text: str, value: str | None, reason: str) -> None:
    assert extract(text, kind="text").value == value, reason


METHODS = [
    ("## B ##", "marker"),
    (r"\boxed{B}", "boxed"),
    ("The answer is B.", "cue"),
    ("My first answer was B. It was right.", "confirmed"),
    ("A, C and D can be excluded.", "elimination"),
    ("B. blue", "label"),
    ("The shape is green.", "option_text"),
    ("Looking closely, I see what option B says.", "bare"),
    ("## A and B ##", "contradiction"),
    ("<think>", "unclosed_thought"),
    ("Hm.", "none"),
]


@pytest.mark.parametrize(("text", "method"), METHODS)
def test_the_method_names_the_rule_that_decided(text: str, method: str) -> None:
    assert extract(text, kind="choice", choices=COLORS).method == method


def test_the_marker_outranks_box_and_cue() -> None:
    assert extract(r"The answer is A, \boxed{C}. ## B ##", kind="choice", choices=COLORS).value == "B"


def test_a_contradictory_marker_is_not_overruled_by_a_weaker_passage() -> None:
    assert extract("The answer is A. ## A, B ##", kind="choice", choices=COLORS).value is None


@pytest.mark.parametrize("choices", [None, [], ["only one"], ["x"] * 27])
def test_choices_must_be_two_to_twenty_six(choices: list[str] | None) -> None:
    with pytest.raises(ValueError, match="2 to 26 choices"):
        extract("A", kind="choice", choices=choices)


def test_choices_belong_to_choice_questions_only() -> None:
    with pytest.raises(ValueError, match="kind=text"):
        extract("A", kind="text", choices=["a", "b"])


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="riddle"):
        extract("A", kind="riddle")


VQA = [
    ("A dog, the cat", "dog cat"),
    ("dont", "don't"),
    ("shouldnt've", "shouldn't've"),
    ("None", "0"),
    ("ten", "10"),
    ("1,000", "1000"),
    ("yes/no", "yes no"),
    ("3.5 St.", "3.5 st"),
    ("what's up?", "what's up"),
]


@pytest.mark.parametrize(("text", "normal"), VQA)
def test_normalisation_follows_the_official_vqa_evaluation(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_no_contraction_is_itself_a_misspelling() -> None:
    assert not set(CONTRACTIONS) & set(CONTRACTIONS.values())


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("assistant\n<think>\n", "<think>"),
        ("assistant\n◁think▷", "◁think▷"),
        ("assistant\n<think>\n\n</think>\n\n", ""),
        ("What does <think> mean?\nassistant\n", ""),
        ("What does <think> mean?\nassistant\n<think>\n", "<think>"),
    ],
)
def test_a_thought_is_opened_by_the_end_of_a_prompt_alone(prompt: str, tag: str) -> None:
    assert thought_opened(prompt) == tag
