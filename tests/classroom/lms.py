"""Read exported questions as a learning platform does: from the files alone, by code of its own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from bs4 import BeautifulSoup

QTI = "{http://www.imsglobal.org/xsd/imsqti_v2p1}"


@dataclass
class Read:
    """A question as it was read: texts as (plain text, names of its elements)."""

    kind: str
    text: tuple
    answers: list[tuple]  # (text, feedback, share of the mark)
    bounds: list[tuple | None]
    pictures: list[str]


def seen(markup: str) -> tuple[str, list[str]]:
    """What a reader sees of a piece of HTML: its text, and which elements it has."""
    soup = BeautifulSoup(markup, "html.parser")
    return soup.get_text(), [e.name for e in soup.find_all() if e.name not in ("p", "div")]


def read_moodle(text: str) -> dict[str, Read]:
    found = {}
    for entry in ET.fromstring(text):
        if entry.get("type") == "category":
            continue
        numeric = entry.get("type") == "numerical"
        single = entry.findtext("single")
        kind = "numeric" if numeric else {"true": "multiple_choice", "false": "many_choice"}[single]
        answers, bounds = [], []
        for answer in entry.findall("answer"):
            said = seen(answer.findtext("feedback/text"))
            own = answer.findtext("text")
            answers.append(("" if numeric else seen(own), said, float(answer.get("fraction")) / 100))
            middle = None if own == "*" or not numeric else float(own)
            half = float(answer.findtext("tolerance", "0"))
            bounds.append(None if middle is None else (middle - half, middle + half))
        asked = entry.findtext("questiontext/text")
        soup = BeautifulSoup(asked, "html.parser")
        pictures = [image["src"] for image in soup.find_all("img")]
        found[entry.findtext("idnumber")] = Read(kind, seen(str(soup.p)), answers, bounds, pictures)
    return found


def strip(element: ET.Element) -> ET.Element:
    """The element without namespaces."""
    for each in element.iter():
        each.tag = each.tag.split("}")[-1]
    return element


def read_qti(data: bytes) -> Read:
    """A question of QTI; the share of an answer is found by answering."""
    root = strip(ET.fromstring(data))
    response = root.find("responseDeclaration")
    numeric = response.get("baseType") == "float"
    many = response.get("cardinality") == "multiple"
    feedback = {each.get("identifier"): each for each in root.findall("modalFeedback")}
    asked = root.find("itemBody/div")
    options = root.findall("itemBody/choiceInteraction/simpleChoice")
    answers = []
    for name, said in feedback.items():
        option = next((each for each in options if each.get("identifier") == name), None)
        own = "" if numeric else seen(inner(option))
        share = 0.0 if numeric else mark(root, [name])[0] if not many else mapped(root, name)
        answers.append((own, seen(inner(said)), share))
    pictures = [image.get("src") for image in asked.iter("img")]
    kind = "numeric" if numeric else "many_choice" if many else "multiple_choice"
    return Read(kind, seen(ET.tostring(asked.find("p"), encoding="unicode")), answers, [], pictures)


def inner(element: ET.Element) -> str:
    return "".join(ET.tostring(child, encoding="unicode") for child in element)


def mapped(root: ET.Element, name: str) -> float:
    entry = root.find(f"responseDeclaration/mapping/mapEntry[@mapKey='{name}']")
    return float(entry.get("mappedValue"))


def mark(root: ET.Element, response: list) -> tuple[float, list[str]]:
    """The score and the feedback that the question's own rules give to a response."""
    outcomes = {"SCORE": 0.0, "FEEDBACK": []}
    correct = [value.text for value in root.findall("responseDeclaration/correctResponse/value")]

    def value(rule):
        if rule.tag == "variable":
            return response
        if rule.tag == "correct":
            return correct
        if rule.tag == "baseValue":
            return [float(rule.text) if rule.get("baseType") == "float" else rule.text]
        if rule.tag == "mapResponse":
            limits = root.find("responseDeclaration/mapping")
            total = sum(mapped(root, name) for name in response)
            return [min(max(total, float(limits.get("lowerBound"))), float(limits.get("upperBound")))]
        parts = [value(part) for part in rule]
        return {
            "match": lambda a, b: sorted(a) == sorted(b),
            "and": lambda *all_: all(all_),
            "not": lambda a: not a,
            "isNull": lambda a: not a,
            "gte": lambda a, b: a[0] >= b[0],
            "lte": lambda a, b: a[0] <= b[0],
        }[rule.tag](*parts)

    def run(rules):
        for rule in rules:
            if rule.tag == "setOutcomeValue":
                got = value(rule[0])
                outcomes[rule.get("identifier")] = got[0] if rule.get("identifier") == "SCORE" else got
                continue
            assert rule.tag == "responseCondition"
            for branch in rule:
                if branch.tag == "responseElse":
                    run(branch)
                    break
                if value(branch[0]):
                    run(branch[1:])
                    break

    run(root.find("responseProcessing"))
    return outcomes["SCORE"], outcomes["FEEDBACK"]
