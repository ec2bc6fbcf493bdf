"""Rewrites the sources of `hw` as they are imported, so that defects can be planted in them.

    rewrite.install()
    from hw.core.core import Core

Every operator, comparison, condition, slice, assigned constant, assignment of a register and step
of a state machine becomes a call to `tests.mutants.sites`. Nothing on disk changes, and a process
that does not call `install` imports the sources as they are.

A site is known by its file, its function and its source text, so a line that is added elsewhere
does not change the identity of a defect.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from tb.paths import REPOSITORY
from tests.mutants import sites

__all__ = ["PACKAGES", "install"]

PACKAGES = ("hw.core", "hw.engine", "hw.layouts", "hw.lib", "hw.predictor")
"""The packages that become the core's Verilog."""

_RUNTIME = "_mutant_sites"
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def install() -> None:
    """Rewrite what is imported from `PACKAGES` from now on; nothing of them may be imported yet."""
    early = [name for name in sys.modules if name.startswith(PACKAGES)]
    assert not early, f"imported before they could be rewritten: {early}"
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PACKAGES):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, str(spec.loader.path))
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compile the rewritten source; no compiled file is read or written."""
        path = Path(self.path)
        source = path.read_text()
        tree = ast.parse(source)
        _Rewriter(source, path.relative_to(REPOSITORY).as_posix()).visit(tree)
        first = 1 + next(
            (
                n
                for n, node in reversed(list(enumerate(tree.body)))
                if isinstance(node, ast.ImportFrom) and node.module == "__future__"
            ),
            0 if ast.get_docstring(tree) is not None else -1,
        )
        tree.body[first:first] = ast.parse(f"from tests.mutants import sites as {_RUNTIME}").body
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


class _Rewriter(ast.NodeTransformer):
    """Turns the sites of one file into calls."""

    def __init__(self, source: str, file: str) -> None:
        self._source = source
        self._file = file
        self._scope: list[str] = []
        self._seen: Counter[str] = Counter()
        self._in_state = False

    def _call(self, function: str, kind: str, node: ast.AST, *arguments: ast.expr) -> ast.Call:
        """A call to the runtime for a new site."""
        text = " ".join((ast.get_source_segment(self._source, cast(Any, node)) or "").split())
        identity = f"{self._file} {'.'.join(self._scope)} `{text}`"
        self._seen[f"{kind} {identity}"] += 1
        if (count := self._seen[f"{kind} {identity}"]) > 1:
            identity += f" #{count}"
        if kind:
            identity += f" {kind}:"
        callee = ast.Attribute(ast.Name(_RUNTIME, ast.Load()), function, ast.Load())
        number = ast.Constant(sites.add_site(identity))
        return ast.copy_location(ast.Call(callee, [number, *arguments], []), cast(ast.expr, node))

    def _visit_all(self, nodes: Sequence[Any]) -> list[Any]:
        return [self.visit(node) for node in nodes]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._scope.append(node.name)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self.visit(statement)
        self._scope.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name == "__init__":
            return node  # sizes and signatures
        self._scope.append(node.name)
        node.body = self._statements(node.body)
        self._scope.pop()
        return node

    def visit_Module(self, node: ast.Module) -> ast.AST:
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self.visit(statement)
        return node

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [cast(ast.stmt, self.visit(statement)) for statement in body]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and ast.unparse(target) == "m.next":
            guard = self._call("proceeds", "next", node)
            item = ast.withitem(_method("If", guard), None)
            return ast.copy_location(ast.With([item], [node]), node)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target = ast.unparse(node.target)
        if target.startswith("m.d.") and target != "m.d.comb":
            node.value = self._registers(node.value)
        else:
            node.value = self.visit(node.value)
        return node

    def _registers(self, node: ast.expr) -> ast.expr:
        """The assignments of registers in a statement or a list of them."""
        if isinstance(node, ast.List):
            node.elts = [self._registers(element) for element in node.elts]
            return node
        if _is_assignment(node):
            return self._assignment(cast(ast.Call, node), sync=True)
        return cast(ast.expr, self.visit(node))

    def _assignment(self, node: ast.Call, *, sync: bool) -> ast.expr:
        function = cast(ast.Attribute, node.func)
        original = ast.copy_location(ast.Call(node.func, node.args, []), node)
        value = node.args[0]
        visited = self.visit(value)
        call = self._call("assigned", "", original, function.value, visited)
        call.keywords = [ast.keyword("sync", ast.Constant(sync))]
        node.args = [call]
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("m.If", "m.Elif"):
                original = call.args[0]
                text = ast.copy_location(ast.Call(call.func, [original], []), call)
                visited = self.visit(original)
                call.args = [self._call("condition", "", text, visited)]
            else:
                item.context_expr = self.visit(call)
        node.body = self._statements(node.body)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_assignment(node):
            return self._assignment(node, sync=False)
        name = ast.unparse(node.func)
        if name == "Mux" and len(node.args) == 3:
            return self._call("muxed", "Mux", node, *self._visit_all(node.args))
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in ("any", "all")
            and not node.args
        ):
            kind = ast.Constant(node.func.attr)
            text = node
            return self._call("reduced", "", text, kind, self.visit(node.func.value))
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        kind = _BINARY.get(type(node.op))
        if kind is None:
            self.generic_visit(node)
            return node
        left, right = self.visit(node.left), self.visit(node.right)
        return self._call("binary", kind, node, ast.Constant(kind), left, right)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        kind = _COMPARISONS.get(type(node.ops[0]))
        if kind is None or len(node.ops) > 1:
            self.generic_visit(node)
            return node
        left, right = self.visit(node.left), self.visit(node.comparators[0])
        return self._call("compared", kind, node, ast.Constant(kind), left, right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if not isinstance(node.op, ast.Invert):
            self.generic_visit(node)
            return node
        return self._call("inverted", "", node, self.visit(node.operand))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not isinstance(node.ctx, ast.Load):
            return node
        base = self.visit(node.value)
        if isinstance(node.slice, ast.Slice):
            bounds = [
                ast.Constant(None) if bound is None else bound
                for bound in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            key: ast.expr = ast.Call(ast.Name("slice", ast.Load()), bounds, [])
        else:
            key = node.slice
        return self._call("part", "", node, base, key)


def _method(name: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("m", ast.Load()), name, ast.Load()), [argument], [])


def _is_assignment(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "eq"
        and len(node.args) == 1
    )
