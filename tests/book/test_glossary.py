"""The glossary: each term that a lesson sets out is in it, and each term of it is where it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
TERMS = {
    term: int(re.search(r"\((\d)\)$", said.strip())[1])
    for body in re.findall(r"```\{glossary\}\n(.*?)```", PAGE, re.DOTALL)
    for term, said in re.findall(r"^(\S.*)\n((?:  .*\n?)+)", body, re.MULTILINE)
}
# How a chapter says a term, where it uses another form of the word.
FORMS = {
    "class-discriminative": "class discriminat|class-discriminative",
    "completeness": "complete",
    "global explanation": "global",
    "guided backpropagation": "guided backprop",
    "interpretability": "interpretab",
    "maximum sensitivity": "max_sensitivity",
    "redundancy": "redundan",
    "saliency map": "saliency",
    "saturation": "saturat",
    "T1, T2, T3, T4": r"\*\*T1\*\*",
    "VGG": r"(?:small_)?vgg",
}
# Under which term a lesson's own word stands.
ALIASES = {
    "contrastive": "contrast",
    "difference": "contrast",
    "intersection over union": "IoU",
    "redundant": "redundancy",
    "saturated": "saturation",
    "sobel filter": "edge detector",
}
# Bold, and no term: words that carry a sentence.
STRESSED = """
    selected; social; single value; all at once; more than its rivals; zero; every; no class; independent;
    pairs; balanced; hottest area; against people; against the model; simulated; every one; independently;
    empty; dense; first; on white paper; on its lower layers; a low value passes; equal, bit by bit;
    prediction
""".replace("\n    ", " ")


def pages(chapter: int, pattern: str = "*.md") -> str:
    return "\n".join(p.read_text(encoding="utf-8") for p in ROOT.glob(f"chapters/{chapter:02d}_*/{pattern}"))


def plainly(text: str) -> str:
    return text.lower().replace("-", " ")


def entered(word: str) -> bool:
    word = plainly(re.sub(r" \(.*\)$", "", word))
    known = {plainly(term) for term in TERMS} | {"t1", "t2", "t3", "t4"}
    return bool({word, word.removesuffix("s"), plainly(ALIASES.get(word, ""))} & known)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_in_the_chapter_that_the_glossary_names(term):
    words = FORMS.get(term) or re.sub(r"\\?[ -]", "[ -]", re.escape(term))
    text = pages(TERMS[term]) + pages(TERMS[term], "quiz.json")
    assert re.search(rf"(?<!\w){words}", text, re.IGNORECASE), f"chapter {TERMS[term]} does not say {term}"


@pytest.mark.parametrize("chapter", range(1, 10))
def test_every_word_that_a_lesson_defines_is_in_the_glossary(chapter):
    text = re.sub(r"```\{code-cell\}.*?\n```\n", "", pages(chapter, "lesson*.md"), flags=re.DOTALL)
    text += re.sub(r"```\{code-cell\}.*?\n```\n", "", pages(chapter, "appendix.md"), flags=re.DOTALL)
    listed = re.findall(r"^([^\n:{}`>|\-][^\n]{1,60})\n: ", text, re.MULTILINE)
    bold = re.findall(r"\*\*([^*\n$\d]{2,30}?)\*\*", text)
    terms = [word for line in listed for word in line.split(", ")]
    terms += [word for word in bold if word[0].islower() and len(word.split()) < 5 and word[-1] not in ".:?!"]
    assert terms
    stressed = [plainly(word.strip()) for word in STRESSED.split(";")]
    assert [word for word in terms if not entered(word) and plainly(word) not in stressed] == []


def test_the_stressed_words_are_there_and_are_no_terms():
    text = plainly("".join(pages(chapter) for chapter in range(1, 10)))
    for word in (plainly(word.strip()) for word in STRESSED.split(";")):
        assert f"**{word}" in text and not entered(word), word
