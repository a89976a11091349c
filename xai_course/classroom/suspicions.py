"""What an answer should not need, found by reading it: nothing is run.

A flag is for a teacher to look at, not a mark. Whoever hides an import well is not found; whoever compares an
answer with the library's in a cell of its own is not flagged, since no answer calls that cell.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

LIBRARIES = ("captum", "xai_lib")  # each is the answer to several exercises
FREE = ("xai_lib.data", "xai_lib.models", "xai_lib.viz")  # pictures and networks: no exercise asks for them
_CHECKS = re.compile(
    r"\bimport\s+xai_course\.(checks|classroom)|"
    r"\bfrom\s+xai_course(?:\.(checks|classroom)(?!\s+import\s+check\s*$)|\s+import\s+(checks|classroom)\b)",
    flags=re.MULTILINE,
)
_TRICKS = {
    "os.system": r"\bos\s*\.\s*system\b",
    "subprocess": r"\bsubprocess\b",
    "a socket": r"\bsocket\s*\.",
    "the stack": r"\b_getframe\b|\bf_back\b|\binspect\s*\.\s*(?:stack|currentframe)\b",
    "the garbage collector's list": r"\bgc\s*\.\s*get_(?:objects|referrers)\b",
    "os.fork": r"\bos\s*\.\s*fork\b",
    "a signal": r"\bos\s*\.\s*kill(?:pg)?\b|\bsignal\s*\.\s*signal\b",
    "os._exit": r"\bos\s*\.\s*_exit\b",
}


def suspicions(code: Sequence[str], course: Sequence[str], asked: Mapping[str, Sequence[str]]) -> list[str]:
    """What is odd about a student's code, in plain words.

    Args:
        code: the student's cells.
        course: the course's own cells, which may have imported a library.
        asked: for each exercise the expressions that its check is called with.
    """
    from ..checks.registry import functions, libraries  # they load torch, which a release does not need

    text = "\n\n".join(code)
    found = [
        f"imports xai_course.{module}"
        for module in sorted({next(filter(None, names)) for names in _CHECKS.findall(text)})
    ]
    found += [f"uses {what}" for what, pattern in _TRICKS.items() if re.search(pattern, text)]
    for exercise, wanted in asked.items():
        if not libraries(exercise):  # what is no function is a fact, found out by whatever means
            names = called(code, course, wanted[: functions(exercise)])
            found += [f"{exercise} calls {name}" for name in names]
    return found


def called(code: Sequence[str], course: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The functions of a library that answers reach, by their full names: ``xai_lib.gradients.gradient``.

    Followed are the student's own functions that an answer names, and those that these name.
    """
    own = [tree for tree in map(_parsed, code) if tree is not None]
    imported = dict(_imports(tree for source in course if (tree := _parsed(source))))
    imported |= dict(_imports(own))
    defined: dict[str, list[ast.AST]] = {}
    for node in (node for tree in own for node in tree.body):
        for name in _defines(node):
            defined.setdefault(name, []).append(node)
    reached: set[str] = set()
    open_ = {
        name.id for source in wanted for name in ast.walk(ast.parse(source)) if isinstance(name, ast.Name)
    }
    seen: set[str] = set()
    while open_:
        name = open_.pop()
        seen.add(name)
        if name in defined:
            used = {other for node in defined[name] for other in _uses(node)}
            open_ |= {other.split(".")[0] for other in used} & defined.keys() - seen
            reached |= {other for other in used if other.split(".")[0] not in defined}
        else:
            reached.add(name)
    full = {_full(name, imported) for name in reached}
    return sorted(name for name in full if name.split(".")[0] in LIBRARIES and not name.startswith(FREE))


def bare_lines(code: Sequence[str], asked: Collection[str]) -> list[str]:
    """A student's lines without layout and comments; their own names, but for ``asked``, become numbers."""
    blocks = [
        block for source in code for block in re.split(r"\n(?=\S)", source)
    ]  # one bad one spoils no other
    trees = [_parsed(block) for block in blocks]
    own = {name: "own" for tree in trees if tree for node in tree.body for name in _defines(node)}
    outer = own | {name: name for name in asked}
    found = []
    for block, tree in zip(blocks, trees, strict=True):
        text = ast.unparse(_Bare(outer).visit(tree)) if tree else re.sub(r"(?m)^\s*#.*", "", block)
        found += [line.strip() for line in text.splitlines() if line.strip()]
    return found


class _Bare(ast.NodeTransformer):
    """Numbers the names that a statement binds, and takes away what only describes."""

    def __init__(self, outer: Mapping[str, str]) -> None:
        self.names, self.outer = dict(outer), len(outer)

    def visit_Module(self, tree: ast.Module) -> ast.Module:
        for node in (inner for top in tree.body for inner in ast.walk(top) if inner is not top):
            if isinstance(node, ast.arg):
                self._number(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._number(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self._number(node.name)
        return self.generic_visit(tree)

    def _number(self, name: str) -> None:
        self.names.setdefault(name, f"name{len(self.names) - self.outer}")

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if text else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)

    visit_ClassDef = visit_FunctionDef


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imports(trees: Iterator[ast.Module] | Sequence[ast.Module]) -> Iterator[tuple[str, str]]:
    """What each import binds, wherever it stands: ``("gradient", "xai_lib.gradient")``."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                yield name, alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"
                elif node.module.split(".")[0] in LIBRARIES:
                    names = getattr(_module(node.module), "__all__", [])
                    yield from ((name, f"{node.module}.{name}") for name in names)


def _defines(node: ast.AST) -> Iterator[str]:
    """The names that a statement outside every function binds; imports apart."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With | ast.If | ast.Try):
        yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _uses(node: ast.AST) -> set[str]:
    """The names from outside that a statement reads, with their attributes: ``lib.gradients.gradient``."""
    local = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg):
                local.add(inner.arg)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                local.add(inner.id)
            elif isinstance(inner, ast.FunctionDef | ast.ClassDef) and inner is not node:
                local.add(inner.name)
    return {name for name in _dotted(node) if name.split(".")[0] not in local}


def _dotted(node: ast.AST) -> Iterator[str]:
    """Every name that is read, the longest: of ``a.b.c`` only that."""
    parts, inner = [], node
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
        yield ".".join([inner.id, *reversed(parts)])
        return
    for child in ast.iter_child_nodes(node):
        yield from _dotted(child)


def _full(name: str, imported: Mapping[str, str]) -> str:
    """The name under which a library defines what is called ``name`` here; else the name itself."""
    first, *rest = name.split(".")
    if first not in imported:
        return name
    name = ".".join([imported[first], *rest])
    if name.split(".")[0] not in LIBRARIES:
        return name
    value, parts = _module(name.split(".")[0]), name.split(".")
    for place, part in enumerate(parts[1:], 1):
        following = getattr(value, part, None)
        if following is None:
            following = _module(".".join(parts[: place + 1]))
        if following is None or callable(following):
            home = getattr(following, "__module__", None)
            return f"{home}.{following.__name__}" if home and hasattr(following, "__name__") else name
        value = following
    return name


def _module(name: str) -> object | None:
    """A library's module, which is the course's to load; None where there is none of that name."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
