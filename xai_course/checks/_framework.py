"""What every check shares: running the reader's code, recognising mistakes, showing the verdict.

One module a chapter (``ch02.py``) holds one function an exercise::

    @exercise("2.1", "The simple gradient")
    def simple_gradient(answer):
        model, x = ...                            # a tiny model made here, never the reader's own data
        value = answer(model, x, target)          # runs the reader's code; what it raises is shown kindly
        value = tensor(value, shape=x.shape)      # a tensor of the right shape, finite
        expect(property_holds(value), "What is wrong.", "Where to look.")
        compare(value, reference, Mistake(gradient_of_softmax, "What is wrong.", "Where to look."), ...)
        return "what has been shown"              # printed after "passed: "

Test the properties of the method first, then compare with a reference; for each mistake that people make,
compute what it would give and recognise it. ``fail(...)`` stops with "not yet". An answer may also be a plain
value (a number, a list, a dict). Everything is found by the exercise's identifier: nothing else to register.
"""

import builtins
import functools
import html
import importlib
import inspect
import linecache
import pkgutil
import re
import site
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NOT_ATTEMPTED, WRONG, PASSED = "not attempted", "wrong", "passed"


# ---- the result --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Result:
    """A check's verdict: shown as a coloured card in a notebook, as text elsewhere.

    Attributes:
        exercise: the identifier, ``"2.1"``.
        title: what the exercise is called.
        status: ``"not attempted"``, ``"wrong"`` or ``"passed"``.
        message: what was found.
        look: where to look, or how to go on; may be empty.
        code: the reader's own line at which an exception was raised; may be empty.
    """

    exercise: str
    title: str
    status: str
    message: str
    look: str = ""
    code: str = ""

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == PASSED

    def __repr__(self) -> str:
        words = {NOT_ATTEMPTED: "not attempted yet.", WRONG: "not yet:", PASSED: "passed:"}[self.status]
        lines = [f"{self.exercise} · {words} {self.message}"]
        lines += [f"    {line}" for line in self.code.splitlines()]
        lines += [f"  Where to look: {self.look}"] if self.look else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # The text inherits the page's own colour on a thin tint, so that it reads in light and in dark.
        icon, words, colour = {
            NOT_ATTEMPTED: ("○", "not attempted yet", "128,128,128"),
            WRONG: ("✗", "not yet", "214,120,0"),
            PASSED: ("✓", "passed", "30,150,90"),
        }[self.status]
        rows = [f"<div>{_markup(self.message[:1].upper() + self.message[1:])}</div>"]
        if self.code:
            rows.append(
                '<pre style="color:inherit;background:transparent;border:0;margin:.4em 0;'
                f'padding:0;overflow-x:auto" tabindex="0">{html.escape(self.code)}</pre>'
            )
        if self.look:
            rows.append(f"<div><strong>Where to look:</strong> {_markup(self.look)}</div>")
        return (
            f'<div role="status" style="color:inherit;border-left:.4em solid rgb({colour});'
            f'background:rgba({colour},.12);padding:.6em .9em;margin:.3em 0;line-height:1.5">'
            f'<div><strong><span aria-hidden="true">{icon}</span> {self.exercise} · {words}</strong> '
            f"({html.escape(self.title)})</div>{''.join(rows)}</div>"
        )


def _markup(text: str) -> str:
    return re.sub(
        r"`([^`]+)`", r'<code style="color:inherit;background:transparent">\1</code>', html.escape(text)
    )


# ---- the registry ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Exercise:
    title: str
    functions: int
    run: Callable[..., str]
    in_parts: bool = False


_REGISTRY: dict[str, _Exercise] = {}


def exercise(
    identifier: str, title: str, *, functions: int = 1, in_parts: bool = False
) -> Callable[[Callable], Callable]:
    """Registers the decorated function as the check of exercise ``identifier``.

    Args:
        identifier: chapter and number, ``"2.1"``; never changed once published.
        title: what the exercise is called.
        functions: how many of the answers, the first ones, must be functions. 0 where values are asked for.
        in_parts: whether the functions are judged although a later answer still holds ``...``. The check
            then calls ``attempted`` on the later answers, inside ``then``.

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
        _REGISTRY[identifier] = _Exercise(title, functions, run, in_parts)
        return run

    return register


def available() -> list[str]:
    """The identifiers of every exercise that has a check, in the order of the chapters."""
    package = importlib.import_module("xai_course.checks")
    for module in pkgutil.iter_modules(package.__path__):
        if re.fullmatch(r"ch\d\d", module.name):
            importlib.import_module(f"xai_course.checks.{module.name}")
    return sorted(_REGISTRY, key=lambda key: [int(part) for part in key.split(".")])


# ---- the check ---------------------------------------------------------------------------------------------
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
    if exercise_id not in identifiers:
        raise KeyError(f"no exercise {exercise_id!r}; there are {', '.join(identifiers)}")
    found = _REGISTRY[exercise_id]
    verdict = functools.partial(Result, exercise_id, found.title)
    first = answers[: found.functions] if found.in_parts else [answers, named]
    if _holds_ellipsis(first) or not (answers or named):
        return verdict(NOT_ATTEMPTED, _TODO)
    wrapped = [_Reader(answer) if callable(answer) else answer for answer in answers]
    wrapped_named = {name: _Reader(answer) if callable(answer) else answer for name, answer in named.items()}
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
                f"This check wants {which} and got {_article(type(answer).__name__)}.",
                "Pass the function itself, without calling it: its name and no brackets.",
            )
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            return verdict(PASSED, found.run(*wrapped, **wrapped_named))
    except NotAttempted as stop:
        return verdict(NOT_ATTEMPTED, stop.message, code=stop.code)
    except Wrong as stop:
        return verdict(WRONG, stop.message, stop.look, stop.code)


_TODO = "Replace each `...` by your own code, run that cell, then run this one again."


def _holds_ellipsis(value: Any) -> bool:
    if value is ... or value is NotImplemented:
        return True
    if isinstance(value, Mapping):
        return any(_holds_ellipsis(item) for item in value.values())
    return isinstance(value, list | tuple | set | frozenset) and any(_holds_ellipsis(item) for item in value)


# ---- what a check uses -------------------------------------------------------------------------------------
class Wrong(Exception):
    """Stops a check: the answer isn't right. Says what is wrong, and where to look."""

    def __init__(self, message: str, look: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message, self.look, self.code = message, look, code


class NotAttempted(Exception):
    """Stops a check: there is nothing to judge yet."""

    def __init__(self, message: str = _TODO, code: str = "") -> None:
        super().__init__(message)
        self.message, self.code = message, code


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make: what it would give, and what to tell those who make it."""

    value: Tensor | float
    message: str
    look: str


def fail(message: str, look: str = "") -> None:
    """Stops with "not yet"."""
    raise Wrong(message, look)


def expect(condition: Any, message: str, look: str = "") -> None:
    """Stops with "not yet" unless the condition holds."""
    if not bool(condition):
        raise Wrong(message, look)


def close(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Whether two tensors (or numbers) of one shape differ by at most ``tolerance`` of the largest value."""
    a, b = (torch.as_tensor(v).detach().to("cpu", torch.float64) for v in (a, b))
    if a.shape != b.shape:
        return False
    scale = max(a.abs().max().item(), b.abs().max().item(), 1e-30) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all())


def compare(
    value: Tensor, reference: Tensor, *mistakes: Mistake, tolerance: float = 1e-6, look: str = ""
) -> None:
    """Compares with the reference; a wrong value is looked up among the known mistakes.

    Raises:
        Wrong: with the message of the first mistake that gives this value; failing that, says by how much it
            is off, and whether it is off by a constant factor.
    """
    if close(value, reference, tolerance):
        return
    for mistake in mistakes:
        if close(value, mistake.value, tolerance):
            raise Wrong(mistake.message, mistake.look)
    value, reference = (torch.as_tensor(v).detach().to("cpu", torch.float64) for v in (value, reference))
    factor = (value * reference).sum() / reference.square().sum().clamp_min(1e-30)
    if factor.abs() > 1e-9 and close(value, factor * reference, tolerance):
        raise Wrong(
            f"Your result is {factor:.4g} times the right one: right in shape, wrong in scale.",
            look or "Look for a mean where a sum belongs (or the other way round), or a factor used twice.",
        )
    gap = (value - reference).norm() / reference.norm().clamp_min(1e-30)
    raise Wrong(
        f"Your result differs from the reference by {100 * gap:.3g} % of its size.",
        look or "Compare your steps with the formula, one symbol at a time; the hints go through it.",
    )


def tensor(value: Any, shape: Sequence[int] | None = None, what: str = "Your function") -> Tensor:
    """The value as a detached tensor, if it is finite and of that shape; else "not yet"."""
    if value is None:
        fail(f"{what} returned `None`.", "Does it end in `return`, in every branch?")
    if not isinstance(value, Tensor):
        fail(
            f"{what} returned {_article(type(value).__name__)}; a tensor is wanted.",
            "Keep to torch operations.",
        )
    if shape is not None and tuple(value.shape) != tuple(shape):
        fail(
            f"{what} returned a tensor of shape {tuple(value.shape)}; the shape wanted is {tuple(shape)}.",
            "Print the shape after each step, and see where it changes.",
        )
    if not torch.isfinite(value).all():
        fail(
            f"{what} returned NaN or infinity.",
            "Look for a division by zero, or a root of a negative number.",
        )
    return value.detach()


def numbers(value: Any, n: int, what: str) -> list[float]:
    """The value as n floats, whether it came as numbers, a list, an array or a tensor; else "not yet"."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        # a Python float would become float32 on its way through as_tensor
        parts = [
            torch.tensor(part, dtype=torch.float64) if isinstance(part, float) else part for part in parts
        ]
        parts = [torch.as_tensor(part).detach().to("cpu", torch.float64).reshape(-1) for part in parts]
        flat = torch.cat(parts)
    except (TypeError, ValueError, RuntimeError):
        fail(f"{what} returned `{value!r:.60}`; a number is wanted.", "Does it end in `return`?")
    wanted = "one number is" if n == 1 else f"{n} numbers are"
    expect(len(flat) == n, f"{what} returned {len(flat)} numbers; {wanted} wanted.", "Print what you return.")
    return tensor(flat, None, what).tolist()


def then(judge: Callable[[], None], done: str) -> None:
    """Judges a later part; where it isn't attempted yet, says what is right so far."""
    try:
        judge()
    except NotAttempted as stop:
        raise NotAttempted(done, stop.code) from None


def attempted(answer: Any) -> None:
    """Stops with "not attempted" where an answer that is no function still holds ``...``."""
    if _holds_ellipsis(answer):
        raise NotAttempted()


def _article(name: str) -> str:
    return f"an `{name}`" if name[0] in "aeiou" else f"a `{name}`"


# ---- what checks give the reader's code --------------------------------------------------------------------
def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Watched:
    """A classifier that remembers how many images came at a time, and whether autograd was watching."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.counts, self.recorded = model, [], False

    def __call__(self, images: Tensor) -> Tensor:
        self.counts.append(len(images))
        logits = self.model(images)
        self.recorded = self.recorded or logits.requires_grad
        return logits


# ---- running the reader's code -----------------------------------------------------------------------------
class _Reader:
    """The reader's function: called like it; what it raises is explained, ``...`` is "not attempted"."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run(self.function, *args, **kwargs)


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the reader's code, or ours that ends up in it (a backward pass); explains what it raises."""
    try:
        with _Shapes():
            value = function(*args, **kwargs)
    except (NotAttempted, Wrong):
        raise
    except Exception as error:
        # A stub may raise NotImplementedError; so does torch, for what it cannot do with a dtype.
        if isinstance(error, NotImplementedError) and not _OF_TORCH.search(str(error)):
            raise NotAttempted() from None
        code = _line_of(error)
        if "ellipsis" in str(error).lower():
            raise NotAttempted("There is still a `...` to replace:", code) from None
        cause = _usual_cause(error)
        raise Wrong(f"Your code raised `{type(error).__name__}`: {_first_line(error)}", cause, code) from None
    if _holds_ellipsis(value):
        raise NotAttempted()
    return value


class _Shapes(TorchFunctionMode):
    """Notes, on what torch raises, the shapes of the tensors that met there."""

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        try:
            return function(*args, **(kwargs or {}))
        except RuntimeError as error:
            if not hasattr(error, "shapes"):
                error.shapes = _shapes_of([args, kwargs or {}])
            raise


def _shapes_of(value: Any) -> list[tuple[int, ...]]:
    """The shapes of the tensors in nested lists, tuples and dicts, each once."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    if isinstance(value, Mapping):
        value = list(value.values())
    parts = value if isinstance(value, list | tuple) else []
    return list(dict.fromkeys(shape for part in parts for shape in _shapes_of(part)))


_OF_TORCH = re.compile(r"dtype|\bbool\b|not implemented for|not supported|could not run", re.IGNORECASE)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or "(no message)").splitlines()[0]
    return text if len(text) <= 220 else text[:219] + "…"


def _line_of(error: Exception) -> str:
    """The innermost line of the traceback that the reader wrote: neither ours nor an installed package's."""
    here = Path(__file__).resolve().parents[1]
    ours = {str(here), str(here.with_name("xai_lib"))}
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")} | set(
        site.getsitepackages()
    )
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (
            any(frame.filename.startswith(folder) for folder in ours | installed)
            or frame.filename == "<string>"
        ):
            continue
        source = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"line {frame.lineno}, in {frame.name}" + (f":  {source}" if source else "")
    return ""


# Exception's type, what its message contains, what usually causes it.
_CAUSES: list[tuple[type, str, str]] = [
    (
        RuntimeError,
        "does not require grad",
        "Autograd did not record how the score depends on the image. Ask for it before the forward pass: "
        "`x = x.detach().clone().requires_grad_(True)`; no `torch.no_grad()` around, no `.detach()` after.",
    ),
    (
        RuntimeError,
        "not have been used in the graph",
        "The score was computed from another tensor than the one you differentiate by. Pass the tensor that "
        "`requires_grad_` to the model, and differentiate by that same tensor.",
    ),
    (
        RuntimeError,
        "backward through the graph a second time",
        "One forward pass serves one backward pass. Run the model again in each turn of the loop.",
    ),
    (
        RuntimeError,
        "implicitly created only for scalar outputs",
        "A backward pass starts from one number. Sum the chosen logits over the batch: the images do not "
        "mix, so each still gets its own gradient.",
    ),
    (
        RuntimeError,
        "leaf variable that requires grad",
        "You change, in place, a tensor that autograd watches. Make a new one: `x = x + noise`, not "
        "`x += noise`.",
    ),
    (
        RuntimeError,
        "modified by an inplace operation",
        "A value that the backward pass needs was overwritten. Use `a = a + b` in place of `a += b`.",
    ),
    (
        RuntimeError,
        r"\bbool\b",
        "True and False are no numbers yet: `.double()` makes 1 and 0 of them; `~` turns them round.",
    ),
    (
        RuntimeError,
        r"same dtype|expected scalar type|dtype",
        "Two tensors differ in type: this check runs in float64. Make new tensors like the image: "
        "`torch.zeros_like(x)`, `torch.randn(x.shape, generator=generator, dtype=x.dtype)`.",
    ),
    (
        RuntimeError,
        r"shape .* is invalid",
        "The new shape must hold as many numbers as the old one: multiply the sizes of each.",
    ),
    (
        RuntimeError,
        r"cannot be multiplied|size mismatch|inconsistent tensor size|batch2 tensor",
        "In a matrix product the last size on the left must be the first on the right: (n, m) @ (m, k). "
        "Print both shapes; is one to be transposed, `.T`?",
    ),
    (
        RuntimeError,
        "numpy",
        "Stay with tensors; numpy knows nothing of gradients. If you must: `.detach()` first.",
    ),
    (
        AttributeError,
        "nonetype",
        "Something is `None`. `.grad` is filled only for the tensor on which you called `requires_grad_`, "
        "and only after `backward()`; a function without `return` gives `None` too.",
    ),
    (
        NameError,
        "",
        "A name is misspelt, or the cell that defines it has not been run since the kernel started.",
    ),
    (
        TypeError,
        "argument",
        "A function is called with other arguments than it takes. Keep the first line of the stub as it was.",
    ),
    (IndexError, "", "An index is larger than that dimension. Print the shape of the tensor that you index."),
    (KeyError, "", "There is no such key. Print the keys that there are."),
    (ZeroDivisionError, "", "A divisor is zero: what should happen in that case?"),
]


_BROADCAST = re.compile(r"must match the size|must match the existing size|match the broadcast shape")


def _broadcast(shapes: list[tuple[int, ...]]) -> str:
    """What to do about tensors of these shapes, which torch could not stretch to one."""
    met = " and ".join(str(shape) for shape in shapes)
    who = f"The shapes {met} meet here" if len(shapes) > 1 else "Two shapes meet here"
    advice = (
        f"{who}, and do not fit. They are matched from the right: two sizes must be equal, or one of them 1. "
    )
    longest = max(shapes, key=len, default=())
    for short in shapes:
        if len(short) == 1 < len(longest) and short[0] == longest[0]:
            ones = ", 1" * (len(longest) - 1)
            what = "One number for each image" if len(longest) == 4 else "One number for each row"
            return advice + (
                f"{what} has the shape ({short[0]},): make it ({short[0]}{ones}) with `.view(-1{ones})`."
            )
        if 1 < len(short) < len(longest):
            with_one = (short[0], 1, *short[1:])
            return advice + (
                f"`t[:, None]` inserts a 1 as the second size, {with_one} out of {short}; `t[None]` as the "
                "first, `t[..., None]` as the last."
            )
    return advice + (
        "`t[:, None]` inserts a 1 as the second size, `t[..., None]` as the last. Is every dimension where "
        "you think it is?"
    )


def _usual_cause(error: Exception) -> str:
    if isinstance(error, RuntimeError) and _BROADCAST.search(str(error).lower()):
        return _broadcast(getattr(error, "shapes", []))
    for kind, pattern, cause in _CAUSES:
        if isinstance(error, kind) and re.search(pattern, str(error).lower()):
            return cause
    if type(error).__name__ not in vars(builtins):
        return "The message comes from a library that your code calls: check what you pass to it."
    return "Read the line above, and print what goes into it."
