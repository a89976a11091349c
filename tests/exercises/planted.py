"""How a wrong answer is planted."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that people give.

    Attributes:
        name: the mistake, in a few words (it names the test).
        keyword: what the check's message must contain.
        answers: what is handed to ``check`` after the identifier.
    """

    name: str
    keyword: str
    answers: tuple[Any, ...]
