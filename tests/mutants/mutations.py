"""All small lies that can be told in one module: each changes one place of its text, and nothing else.

Not changed are docstrings, annotations, decorators, what is logged, and the wording of sentences: a test that held those would
hold nobody's promise. SQL is changed within its strings, because the ledger decides there.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.Pow: ("**", "*"), ast.BitOr: ("|", "&"),
}  # fmt: skip
_SWAPPED_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SQL = re.compile(
    r"\b(SELECT|UPDATE object|INSERT (OR|INTO)|DELETE FROM|CREATE TABLE|WHERE|CHECK \(|IS (NOT )?NULL|typeof)\b"
)
_IN_SQL = [
    (re.compile(pattern), changed)
    for pattern, changed in (
        (r"<=", "<"), (r"(?<![<>!])<(?![=>])", "<="), (r">=", ">"), (r"(?<![<=>])>(?!=)", ">="), (r"<>", "="),
        (r"\bAND\b", "OR"), (r"\bOR\b(?! (?:REPLACE|IGNORE)\b)", "AND"), (r"\bOR IGNORE\b", "OR ABORT"),
        (r"\bDESC\b", "ASC"), (r"\bIS NOT NULL\b", "IS NULL"), (r"\bIS NULL\b", "IS NOT NULL"), (r"\bNOT IN\b", "IN"),
        (r"(?<!NOT )\bIN \(", "NOT IN ("), (r"\bEXISTS \(", "NOT EXISTS ("), (r"\bNOT GLOB\b", "GLOB"), (r"\bmin\(", "max("),
        (r"(\w+) = NULL", r"\1 = \1"), (r"= 0\b", "= 1"), (r"\b600\b", "6"), (r"\b1e12\b", "1e15"), (r"\b64\b", "65"),
        (r"'(?:pending|uploaded|failed|expired|skipped|awaited|absent|clip)'", "'none'"), (r"\(kind = 'clip'\) =", "(kind = 'clip') <>"),
        (r"coalesce\((\w+), (\w+)\)", r"\2"),
    )
]  # fmt: skip
_WORD = re.compile(rb"""(b?)(['"])([^'"\s\\]+)\2""")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One changed place. Two at the same words of a function are told apart by their number."""

    name: str
    """Module, function and change; stays the same when lines move."""
    line: int
    statement: range
    """The lines of the statement that it is in; of one that holds others, its head."""
    source: bytes
    """The module's text with the change."""

    @property
    def can_be_compiled(self) -> bool:
        """Whether it is Python at all; else anything would notice it."""
        try:
            compile(self.source, self.name, "exec")
        except SyntaxError:
            return False
        return True


def mutations(module: str, source: bytes) -> list[Mutation]:
    """Return all lies about this source, in the order of its lines."""
    seen: Counter[str] = Counter()
    found = []
    for scope, statement, start, end, changed in sorted(_Changes(source).all(), key=lambda change: change[2:]):
        before = b" ".join(source[start:end].split()).decode()
        name = f"{module}: {scope}: {before} -> {b' '.join(changed.split()).decode()}"
        text = source[:start] + changed + source[end:]
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name} (no. {seen[name]})"
        found.append(Mutation(name, source.count(b"\n", 0, start) + 1, statement, text))
    return found


class _Changes:
    """Walks over a module: function, lines of the statement, start, end and new text of each change; positions are bytes."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._line_starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
        self._tree = ast.parse(source)
        self._members = self._enum_members()

    def all(self) -> Iterator[tuple[str, range, int, int, bytes]]:
        yield from self._walk(self._tree, "module", range(0))

    def _walk(self, node: ast.AST, scope: str, statement: range) -> Iterator[tuple[str, range, int, int, bytes]]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            scope = node.name if scope == "module" else f"{scope}.{node.name}"
        if isinstance(node, ast.stmt):
            statement = _lines(node)
        for start, end, changed in self._changes(node):
            yield scope, statement, start, end, changed
        for child in _to_look_at(node):
            yield from self._walk(child, scope, statement)

    def _changes(self, node: ast.AST) -> Iterator[tuple[int, int, bytes]]:
        yield from self._of_operator(node)
        match node:
            case ast.Constant():
                yield from self._of_constant(node)
            case ast.JoinedStr():
                yield from self._of_sql(node)
            case ast.Call(func=ast.Name(id=name)) if name in _SWAPPED_CALLS:
                yield (*self._span(node.func), _SWAPPED_CALLS[name].encode())
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if len(self._members.get(owner, ())) > 1:
                members = self._members[owner]
                if attribute in members:
                    other = members[(members.index(attribute) + 1) % len(members)]
                    yield (*self._span(node), f"{owner}.{other}".encode())
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield (*self._span(node), b"return None")
            case ast.stmt() if _can_be_left_out(node):
                yield (*self._span(node), b"pass")
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                if isinstance(test, ast.Name | ast.Attribute | ast.Call):
                    yield (*self._span(test), b"not (" + self._text(test) + b")")

    def _of_operator(self, node: ast.AST) -> Iterator[tuple[int, int, bytes]]:
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for left, right, operator in zip(operands, node.comparators, node.ops, strict=False):
                    yield from self._between(left, right, *_COMPARISONS[type(operator)])
            case ast.BoolOp():
                before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                for left, right in zip(node.values, node.values[1:], strict=False):
                    yield from self._between(left, right, before, after)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                yield from self._between(node.left, node.right, *_ARITHMETIC[type(node.op)])
            case ast.UnaryOp(op=ast.Not()):
                yield (*self._span(node), self._text(node.operand))

    def _of_constant(self, node: ast.Constant) -> Iterator[tuple[int, int, bytes]]:
        match node.value:
            case bool():
                yield (*self._span(node), str(not node.value).encode())
            case int() | float():
                yield (*self._span(node), repr(node.value + 1).encode())
            case str() if _SQL.search(node.value):
                yield from self._of_sql(node)
            case str() | bytes() if word := _WORD.fullmatch(self._text(node)):
                yield (*self._span(node), word[1] + word[2] + b"XX" + word[3] + word[2])

    def _of_sql(self, node: ast.expr) -> Iterator[tuple[int, int, bytes]]:
        start, _ = self._span(node)
        text = self._text(node).decode()
        if not _SQL.search(text) or "CREATE INDEX object" in text:  # an index makes answers quick, not right
            return
        fields = [match.span() for match in re.finditer(r"\{[^{}]*\}", text)] if isinstance(node, ast.JoinedStr) else []
        for pattern, changed in _IN_SQL:
            for match in pattern.finditer(text):
                if not any(first < match.end() and match.start() < last for first, last in fields):
                    at = start + len(text[: match.start()].encode())
                    yield at, at + len(match[0].encode()), match.expand(changed).encode()

    def _between(self, left: ast.expr, right: ast.expr, before: str, after: str) -> Iterator[tuple[int, int, bytes]]:
        first, last = self._span(left)[1], self._span(right)[0]
        found = re.search(rb"\s+".join(re.escape(word.encode()) for word in before.split()), self._source[first:last])
        if found is not None:
            yield first + found.start(), first + found.end(), after.encode()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._line_starts[node.lineno - 1] + node.col_offset,
            self._line_starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.expr) -> bytes:
        start, end = self._span(node)
        return self._source[start:end]

    def _enum_members(self) -> dict[str, Sequence[str]]:
        """The members of each enumeration that the module names, as far as it names them."""
        names: dict[str, set[str]] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id[:1].isupper() and node.attr.isupper():  # fmt: skip
                names.setdefault(node.value.id, set()).add(node.attr)
        return {owner: sorted(members) for owner, members in names.items()}


def _lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    if body:
        return range(statement.lineno, max(statement.lineno + 1, body[0].lineno))
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def _to_look_at(node: ast.AST) -> Iterator[ast.AST]:
    """The children in which a change means something."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"} or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _says_something(child):
                yield child


def _says_something(node: ast.AST) -> bool:
    """Whether it is a docstring or a line of the log."""
    if not isinstance(node, ast.Expr):
        return False
    return isinstance(node.value, ast.Constant) or ast.unparse(node).startswith("logger()")


def _can_be_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call()):
            return not ast.unparse(node).startswith(("logger()", "super().__init__"))
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple(elts=[ast.Attribute(), *_])]):
            return True
        case ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Delete():
            return True
    return False
