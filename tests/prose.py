"""The sentences of the tree: docstrings, comments, log lines, helps and printed lines, and whole documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CONSOLE: Final = Path(__file__).parents[2] / "bot" / "console"
_LOG_LEVELS: Final = frozenset({"debug", "info", "success", "warning", "error", "critical", "exception"})
_NO_SUBJECT: Final = re.compile(
    r"(?:^[#>*|\s-]*|[.!?:;|(*] +|= \x22)(Of which|Who(?:ever|m|se)?|What(?:ever)?|Whether|Which(?:ever)?)\b.{,40}",
    re.MULTILINE,
)


def without_subject(text: str) -> list[str]:
    """Return the beginnings of sentences that begin with who, whoever, what, whether, which or of which."""
    return [match[0].strip() for match in _NO_SUBJECT.finditer(text)]


def prose_of(file: Path) -> Iterator[str]:
    """Give each text that a person reads in a file, a Python file's docstrings and comments among them."""
    source = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        tree = ast.parse(source)
        yield from _strings(tree)
        if _CONSOLE in file.parents:
            # A command prints lines that it has made elsewhere, so that each of its strings may be one.
            yield from map(_text, (node for node in ast.walk(tree) if isinstance(node, ast.expr)))
        yield from _comments(source)
    else:
        yield source


def _strings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                yield docstring
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[line, *_]) if (
                level in _LOG_LEVELS and "log" in ast.unparse(logger).lower()
            ):
                # Log lines begin in lower case.
                yield _text(line)[:1].upper() + _text(line)[1:]
            case ast.keyword(arg="help", value=words):
                yield _text(words)


def _text(node: ast.expr) -> str:
    """Return a string's text, with a gap for each value in it; empty for any other expression."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or "{}" for part in parts)
    return ""


def _comments(source: str) -> Iterator[str]:
    """Give each comment, one of several lines whole."""
    lines: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield "\n".join(lines)
                lines.clear()
            lines.append(token.string.lstrip("# "))
            last = token.start[0]
    yield "\n".join(lines)
