"""The exercises that have a check, and the call that judges an answer.

One module a chapter (``ch02.py``) holds one function an exercise::

    @exercise("2.1", "The simple gradient")
    def simple_gradient(answer):
        model, x = ...                            # a tiny model made here, never the reader's own data
        with left_alone(model=model, x=x):        # what the answer changes, it is told
            value = answer(model, x, target)      # runs the reader's code; what it raises is shown kindly
        value = tensor(value, shape=x.shape)      # a tensor of the right shape, finite
        expect(property_holds(value), "What is wrong.", "Where to look.")
        compare(value, reference, Mistake(gradient_of_softmax, "What is wrong.", "Where to look."), ...)
        return "what has been shown"              # printed after "passed: "

Test the properties of the method first, then compare with a reference; for each mistake that people make,
compute what it would give and recognise it. ``fail(...)`` stops with "not yet". An answer may also be a plain
value (a number, a list, a dict). Everything is found by the exercise's identifier: nothing else to register.
"""

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .inputs import drawn
from .reader import Reader
from .verdicts import (
    LATER,
    NOT_ATTEMPTED,
    PASSED,
    TODO,
    WRONG,
    NotAttempted,
    Result,
    Wrong,
    article,
    holds_ellipsis,
)


@dataclass(frozen=True)
class _Exercise:
    title: str
    functions: int
    run: Callable[..., str]
    in_parts: bool = False
    libraries: bool = False


_REGISTRY: dict[str, _Exercise] = {}


def exercise(
    identifier: str, title: str, *, functions: int = 1, in_parts: bool = False, libraries: bool = False
) -> Callable[[Callable], Callable]:
    """Registers the decorated function as the check of exercise ``identifier``.

    Args:
        identifier: chapter and number, ``"2.1"``; never changed once published.
        title: what the exercise is called.
        functions: how many of the answers, the first ones, must be functions. 0 where values are asked for.
        in_parts: whether the functions are judged although a later answer still holds ``...``. The check
            then calls ``attempted`` on the later answers, inside ``then``.
        libraries: whether the functions may call what ``xai_lib`` and Captum explain with. Where they may
            not, nothing stops them, but a teacher who grades is told.

    Raises:
        ValueError: if the identifier is taken.
    """

    def register(run: Callable[..., str]) -> Callable[..., str]:
        known = _REGISTRY.get(identifier)
        if (
            known is not None
            and known.run.__module__ + known.run.__qualname__ != run.__module__ + run.__qualname__
        ):
            raise ValueError(f"exercise {identifier!r} has a check already")
        _REGISTRY[identifier] = _Exercise(title, functions, run, in_parts, libraries)
        return run

    return register


def available() -> list[str]:
    """The identifiers of every exercise that has a check, in the order of the chapters."""
    package = importlib.import_module("xai_course.checks")
    for module in pkgutil.iter_modules(package.__path__):
        if re.fullmatch(r"ch\d\d", module.name):
            importlib.import_module(f"xai_course.checks.{module.name}")
    return sorted(_REGISTRY, key=_place)


def _place(identifier: str) -> tuple[int, bool, int]:
    """Where an exercise stands: by chapter; a teacher's own, ``2.v1``, after those of the course."""
    chapter, number = identifier.split(".")
    return int(chapter), number.startswith("v"), int(number.removeprefix("v"))


def functions(identifier: str) -> int:
    """How many of an exercise's answers, the first ones, are functions; 0 where it has no check here."""
    return _REGISTRY[identifier].functions if identifier in _REGISTRY else 0


def libraries(identifier: str) -> bool:
    """Whether the answers to an exercise may call what a library explains with."""
    return identifier in _REGISTRY and _REGISTRY[identifier].libraries


def check(exercise_id: str, *answers: Any, **named: Any) -> Result:
    """Tells how an answer to an exercise does: not attempted, not yet (and why), or passed.

    Nothing that the reader's code raises comes out as a traceback: it is caught and explained. The random
    state of the notebook is left alone.

    Args:
        exercise_id: the exercise, such as ``"2.1"``.
        answers: what the exercise asks for: most often one function. ``...`` counts as not attempted.
        named: answers given by name, where the exercise says so.

    Returns:
        The verdict; ``.status`` is ``"not attempted"``, ``"wrong"`` or ``"passed"``.

    Raises:
        KeyError: if there is no such exercise; the message names those that there are.
    """
    identifiers = available()
    if exercise_id not in identifiers and re.fullmatch(r"\d+\.v\d+", exercise_id):
        return _judged_elsewhere(exercise_id, [answers, named])
    if exercise_id not in identifiers:
        raise KeyError(f"no exercise {exercise_id!r}; there are {', '.join(identifiers)}")
    found = _REGISTRY[exercise_id]
    verdict = functools.partial(Result, exercise_id, found.title)
    first = answers[: found.functions] if found.in_parts else [answers, named]
    if holds_ellipsis(first) or not (answers or named):
        return verdict(NOT_ATTEMPTED, TODO)
    wrapped = [Reader(answer) if callable(answer) else answer for answer in answers]
    wrapped_named = {name: Reader(answer) if callable(answer) else answer for name, answer in named.items()}
    try:
        inspect.signature(found.run).bind(*answers, **named)
    except TypeError as error:
        wanted = ", ".join(inspect.signature(found.run).parameters)
        return verdict(
            WRONG,
            f"The check was called with other arguments than it takes: {error}.",
            f'It is `check("{exercise_id}", {wanted})`.',
        )
    for place, answer in enumerate(answers[: found.functions], 1):
        if not callable(answer):
            which = "the function" if found.functions == 1 else f"a function as answer {place}"
            return verdict(
                WRONG,
                f"This check wants {which} and got {article(type(answer).__name__)}.",
                "Pass the function itself, without calling it: its name and no brackets.",
            )
    try:
        with drawn(0), torch.enable_grad():
            return verdict(PASSED, found.run(*wrapped, **wrapped_named))
    except NotAttempted as stop:
        return verdict(NOT_ATTEMPTED, stop.message, code=stop.code)
    except Wrong as stop:
        return verdict(WRONG, stop.message, stop.look, stop.code)


def _judged_elsewhere(exercise_id: str, given: list[Any]) -> Result:
    """What is said of a teacher's own exercise in the student's notebook: its check is not there."""
    if holds_ellipsis(given) or not any(given):
        return Result(exercise_id, "your teacher's", NOT_ATTEMPTED, TODO)
    return Result(
        exercise_id,
        "your teacher's",
        LATER,
        "your teacher's check judges this exercise. Nothing was run here; what still gives `...` counts as "
        "not attempted.",
        "Try your code on inputs whose result you know.",
    )
