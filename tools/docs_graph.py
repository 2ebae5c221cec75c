"""A cell's dataflow as the graph of its picture: what is a box, what is a circle, what feeds what.

Nodes are the operators of the cell with three simplifications: a row names what it reads, so its weights need no node; a product or a sum
with a learned number is one node; rows that read the same vectors share one junction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_lstm.cells import Cell, Op


@dataclass(frozen=True)
class Node:
    """One thing in the picture. kind: "input", "state", "junction", "row", "gate", "squash", "operator" or "update"; lines: its text."""

    kind: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """From one node to another. gate: whether it carries the value of a gate."""

    source: int
    target: int
    gate: bool = False


@dataclass
class Drawing:
    """The nodes and arrows of a cell. loops: (index of the update node, index of the state node) pairs: what one step hands to the next."""

    nodes: list[Node] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    loops: list[tuple[int, int]] = field(default_factory=list)

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


SIGNS = {"add": "+", "subtract": "−", "multiply": "×", "complement": "1−"}
KIND_TEXT = {"sigmoid": "σ", "scaled_sigmoid": "scaled σ", "identity": "identity"}

PARAMETER_TEXT = {"zeta": "ζ", "nu": "ν"}  # others are a letter and an index: Pi, bz


def drawing(cell: Cell) -> Drawing:
    """The picture's graph of `cell`."""
    return _Drawer(cell).draw()


class _Drawer:
    def __init__(self, cell: Cell) -> None:
        self.cell, self.result = cell, Drawing()
        self.node_of: dict[int, int] = {}
        self.junctions: dict[tuple[int, ...], int] = {}

    def draw(self) -> Drawing:
        cell, result = self.cell, self.result
        used = {a for op in cell.ops for a in op.args}
        x = result.add(Node("input", ("x",)))
        for index, op in enumerate(cell.ops):
            if op.code == "state" and index in used:
                self.node_of[index] = result.add(Node("state", (op.name,)))
        for index, op in enumerate(cell.ops):
            if op.code == "row":
                self._row(index, op, x)
            elif op.code not in ("state", "parameter"):
                self._operator(index, op)
        state_nodes = {cell.ops[index].name: node for index, node in self.node_of.items() if cell.ops[index].code == "state"}
        for state, update in cell.updates:
            end = result.add(Node("update", (f"{state}'",)))
            self._arrow(update, end)
            if state in state_nodes:
                result.loops.append((end, state_nodes[state]))
        return result

    def _arrow(self, op: int, target: int) -> None:
        self.result.arrows.append(Arrow(self.node_of[op], target, self._is_gate(op)))

    def _is_gate(self, op: int) -> bool:
        node = self.cell.ops[op]
        return self._is_gate(node.args[0]) if node.code == "complement" else node.code == "activate" and node.name in self.cell.gates

    def _row(self, index: int, op: Op, x: int) -> None:
        row = self.cell.row(op.name)
        suffix = "" if len(self.cell.rows) == 1 else f"_{op.name.replace('_recurrent', '')}"
        terms = [f"W{suffix} x"] if row.input else []
        terms += [f"{'R' if k == 0 else 'S'}{suffix} {self._name(a)}" for k, a in enumerate(op.args)]
        terms += [f"b{suffix}"] if row.bias else []
        node = self.node_of[index] = self.result.add(Node("row", (" + ".join(terms),)))
        key = (int(row.input), *op.args)
        alike = sum((int(self.cell.row(o.name).input), *o.args) == key for o in self.cell.ops if o.code == "row")
        inlets = [*([x] if row.input else []), *(self.node_of[a] for a in op.args)]
        if alike == 1 or len(inlets) == 1:
            self.result.arrows += [Arrow(inlet, node) for inlet in inlets]
            return
        if key not in self.junctions:
            self.junctions[key] = self.result.add(Node("junction"))
            self.result.arrows += [Arrow(inlet, self.junctions[key]) for inlet in inlets]
        self.result.arrows.append(Arrow(self.junctions[key], node))

    def _name(self, op: int) -> str:
        """What a row calls a vector that it reads."""
        node = self.cell.ops[op]
        return node.name if node.code in ("state", "activate") else f"({' '.join(self._name(a) for a in node.args)})"

    def _operator(self, index: int, op: Op) -> None:
        parameters = [self.cell.ops[a].name for a in op.args if self.cell.ops[a].code == "parameter"]
        if op.code == "activate":
            role = next(role for role in self.cell.roles if role.name == op.name)
            function = KIND_TEXT.get(role.default.kind, role.default.kind)
            if role.gate:
                what = Node("gate", (op.name, "σ or step"))
            else:  # a squashing that is called like a state is not that state
                what = Node("squash", (function,) if op.name in self.cell.states else (op.name, function))
        else:
            what = Node("operator", (" ".join([SIGNS[op.code], *(PARAMETER_TEXT.get(p, f"{p[0]}_{p[1:]}") for p in parameters)]),))
        node = self.node_of[index] = self.result.add(what)
        for a in dict.fromkeys(op.args):
            if self.cell.ops[a].code != "parameter":
                self._arrow(a, node)
