"""Questions as QTI 2.1: an IMS content package, one file for each question and each picture.

The forms are those of IMS Question and Test Interoperability 2.1 and IMS Content Packaging 1.1.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from .questions import Answer, Item, body, fill

QTI = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
WHERE = {
    QTI: f"{QTI} http://www.imsglobal.org/xsd/qti/qtiv2p1/imsqti_v2p1.xsd",
    PACKAGE: f"{PACKAGE} http://www.imsglobal.org/xsd/qti/qtiv2p1/qtiv2p1_imscpv1p2_v1p0.xsd",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # in every archive: the same questions give the same bytes


def package(items: Sequence[Item], title: str, draw: bool = False) -> dict[str, bytes]:
    """The files of a content package: a manifest, a test with all the questions, an item each, the pictures.

    Args:
        items: the questions; those of one category or purpose stand in one section of the test.
        title: the name of the test.
        draw: whether a section shows one question, drawn for each student, and not all of them.
    """
    files: dict[str, bytes] = {}
    for item in items:
        files[f"items/{identifier(item)}.xml"] = _file(assessment_item(item))
        files |= {f"items/{picture.name}": picture.data for picture in item.pictures}
    return {
        "imsmanifest.xml": _file(_manifest(items, title)),
        "test.xml": _file(_test(items, title, draw)),
        **files,
    }


def write_package(files: dict[str, bytes], path: str | Path) -> Path:
    """Write the files as a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return Path(path)


def identifier(item: Item) -> str:
    """The question's name as an identifier of QTI."""
    return "q-" + re.sub(r"[^A-Za-z0-9_-]", "-", item.name)


# ---- one question ------------------------------------------------------------------------------------------
def assessment_item(item: Item) -> ET.Element:
    """One question. A mark is computed, and what is said to each answer is shown after it."""
    root = _root(
        "assessmentItem",
        QTI,
        identifier=identifier(item),
        title=item.title,
        adaptive="false",
        timeDependent="false",
    )
    many, numeric = item.kind == "many_choice", item.kind == "numeric"
    response = _add(
        root,
        "responseDeclaration",
        identifier="RESPONSE",
        cardinality="multiple" if many else "single",
        baseType="float" if numeric else "identifier",
    )
    correct = _add(response, "correctResponse")
    for place, answer in enumerate(item.answers):
        if answer.correct and (not numeric or not len(correct)):
            _add(correct, "value").text = _middle(answer) if numeric else letter(place)
    if many:
        mapping = _add(response, "mapping", lowerBound="0", upperBound=str(item.marks), defaultValue="0")
        wrong = len(item.answers) - len(item.right)
        for place, answer in enumerate(item.answers):
            share = item.marks / len(item.right) if answer.correct else -item.marks / wrong
            _add(mapping, "mapEntry", mapKey=letter(place), mappedValue=f"{share:.6g}")
    _outcome(root, "SCORE", "single", "float", "0")
    _outcome(root, "MAXSCORE", "single", "float", str(item.marks))
    _outcome(root, "FEEDBACK", "multiple" if many else "single", "identifier")
    _body(root, item)
    _process(_add(root, "responseProcessing"), item)
    for place, answer in enumerate(item.answers):
        said = _add(
            root, "modalFeedback", outcomeIdentifier="FEEDBACK", identifier=letter(place), showHide="show"
        )
        said.append(fill(ET.Element("p"), answer.feedback))
    return root


def letter(place: int) -> str:
    """The identifier of an answer by its place: A, B, C …"""
    return chr(ord("A") + place)


def _body(root: ET.Element, item: Item) -> None:
    shown = _add(root, "itemBody")
    asked = _add(shown, "div")
    asked.extend(body(item))
    if item.kind == "numeric":
        _add(_add(shown, "p"), "textEntryInteraction", responseIdentifier="RESPONSE", expectedLength="12")
        return
    choice = _add(
        shown,
        "choiceInteraction",
        responseIdentifier="RESPONSE",
        shuffle="true",
        maxChoices="0" if item.kind == "many_choice" else "1",  # 0: as many as one likes
    )
    for place, answer in enumerate(item.answers):
        option = _add(choice, "simpleChoice", identifier=letter(place))
        option.append(fill(ET.Element("p"), answer.text))
        if answer.code:
            pre = _add(option, "pre")
            _add(pre, "code").text = answer.code


def _process(rules: ET.Element, item: Item) -> None:
    if item.kind == "many_choice":
        _add(_set(rules, "SCORE"), "mapResponse", identifier="RESPONSE")
        _add(_set(rules, "FEEDBACK"), "variable", identifier="RESPONSE")
        return
    if item.kind == "multiple_choice":
        given = _add(_add(rules, "responseCondition"), "responseIf")
        match = _add(given, "match")
        _add(match, "variable", identifier="RESPONSE")
        _add(match, "correct", identifier="RESPONSE")
        _value(_set(given, "SCORE"), "float", str(item.marks))
        _add(_set(rules, "FEEDBACK"), "variable", identifier="RESPONSE")
        return
    answered = _add(_add(rules, "responseCondition"), "responseIf")
    _add(_add(_add(answered, "not"), "isNull"), "variable", identifier="RESPONSE")
    within = _add(answered, "responseCondition")  # the first bounds that hold decide
    for place, answer in enumerate(item.answers):
        if answer.fits is None:
            branch = _add(within, "responseElse")
        else:
            branch = _add(within, "responseElseIf" if place else "responseIf")
            both = _add(branch, "and")
            for name, end in zip(("gte", "lte"), answer.fits, strict=True):
                compared = _add(both, name)
                _add(compared, "variable", identifier="RESPONSE")
                _value(compared, "float", repr(float(end)))
        if answer.correct:
            _value(_set(branch, "SCORE"), "float", str(item.marks))
        _value(_set(branch, "FEEDBACK"), "identifier", letter(place))


def _middle(answer: Answer) -> str:
    low, high = answer.fits
    return f"{(low + high) / 2:.10g}"


# ---- the package -------------------------------------------------------------------------------------------
def _test(items: Sequence[Item], title: str, draw: bool) -> ET.Element:
    root = _root("assessmentTest", QTI, identifier="test", title=title)
    part = _add(
        root, "testPart", identifier="part", navigationMode="nonlinear", submissionMode="simultaneous"
    )
    sections: dict[str, ET.Element] = {}
    for item in items:
        name = item.category or item.purpose
        if name not in sections:
            sections[name] = _add(
                part,
                "assessmentSection",
                identifier=f"section-{len(sections) + 1}",
                title=name,
                visible="true",
            )
            if draw:
                _add(sections[name], "selection", select="1")
        href = f"items/{identifier(item)}.xml"
        _add(sections[name], "assessmentItemRef", identifier=identifier(item), href=href)
    return root


def _manifest(items: Sequence[Item], title: str) -> ET.Element:
    root = _root("manifest", PACKAGE, identifier="manifest")
    described = _add(root, "metadata")
    _add(described, "schema").text = "QTIv2.1 Package"
    _add(described, "schemaversion").text = "1.0.0"
    _add(root, "organizations")
    resources = _add(root, "resources")
    names = [identifier(item) for item in items]
    _resource(resources, "test", "imsqti_test_xmlv2p1", ["test.xml"], names)
    for item, name in zip(items, names, strict=True):
        files = [f"items/{name}.xml", *(f"items/{picture.name}" for picture in item.pictures)]
        _resource(resources, name, "imsqti_item_xmlv2p1", files)
    return root


def _resource(
    parent: ET.Element, name: str, kind: str, files: Sequence[str], needs: Iterable[str] = ()
) -> None:
    resource = _add(parent, "resource", identifier=name, type=kind, href=files[0])
    for file in files:
        _add(resource, "file", href=file)
    for other in needs:
        _add(resource, "dependency", identifierref=other)


# ---- elements ----------------------------------------------------------------------------------------------
def _root(name: str, space: str, **attributes: str) -> ET.Element:
    return ET.Element(
        name, {"xmlns": space, "xmlns:xsi": INSTANCE, "xsi:schemaLocation": WHERE[space], **attributes}
    )


def _add(parent: ET.Element, name: str, /, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, name, attributes)


def _set(parent: ET.Element, outcome: str) -> ET.Element:
    return _add(parent, "setOutcomeValue", identifier=outcome)


def _value(parent: ET.Element, kind: str, value: str) -> None:
    _add(parent, "baseValue", baseType=kind).text = value


def _outcome(root: ET.Element, name: str, cardinality: str, kind: str, default: str | None = None) -> None:
    made = _add(root, "outcomeDeclaration", identifier=name, cardinality=cardinality, baseType=kind)
    if default is not None:
        _add(_add(made, "defaultValue"), "value").text = default


def _file(root: ET.Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"
