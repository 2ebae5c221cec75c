"""The picture of a cell as SVG, drawn from its dataflow: time flows from left to right, states go round to the next step.

The columns follow from the lengths of the longest paths; igraph's Sugiyama layout orders and places the nodes within them. All colours are
readable on light and on dark ground, and numbers are rounded, so that the same cell gives the same bytes.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import igraph
from docs_graph import Arrow, Drawing, Node, drawing

from edge_lstm.cells import Cell

Element = ElementTree.Element

ROW_HEIGHT, GAP, MARGIN, LOOP, LANE = 46, 38, 20, 22, 8
CHARACTER = 7.2  # width of an average character of the boxes' font
LINE, GATE_LINE, LOOP_LINE = "#7d8590", "#d9822b", "#3d8b6d"
FILL = {
    "row": "#d5e3f5",
    "gate": "#fbdcae",
    "squash": "#dccff0",
    "operator": "#f2f3f5",
    "state": "#bfe3d2",
    "update": "#bfe3d2",
    "input": "#f2f3f5",
}
STYLE = f"""
text {{ font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1b2026; text-anchor: middle; dominant-baseline: central }}
.small {{ font-size: 10px }} .outside {{ fill: {LINE}; font-size: 12px }} .sub {{ font-size: 9px }}
rect, circle {{ stroke: {LINE}; stroke-width: 1 }}
path {{ fill: none; stroke: {LINE}; stroke-width: 1.5 }} .gate {{ stroke: {GATE_LINE} }}
.loop {{ stroke: {LOOP_LINE}; stroke-dasharray: 6 4 }}
"""


@dataclass(frozen=True)
class Place:
    """Where a node is drawn: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True)
class Loop:
    """The way of a state to the next step. end, start: the nodes it joins; y: height of the way back; rank: 0 for the innermost one."""

    end: int
    start: int
    y: float
    rank: int


def picture(cell: Cell) -> str:
    """The SVG of one cell."""
    found = drawing(cell)
    places, bends = _layout(found)
    loops = _loops(found, [p.y for p in places] + [y for points in bends.values() for _, y in points], places)
    edges = [loop.y for loop in loops]
    top = min(*(p.y - p.height / 2 for p in places), *edges) - MARGIN - 6
    bottom = max(*(p.y + p.height / 2 for p in places), *edges) + MARGIN
    outermost = max(loop.rank for loop in loops) * LANE
    left, right = -float(outermost), max(p.right for p in places) + 84 + outermost
    width, height = right - left, bottom - top
    box = {"viewBox": f"{left:.0f} {top:.0f} {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **box})
    _add(svg, "title", cell.title)
    _add(svg, "desc", "; ".join(cell.equations))
    _add(svg, "style", STYLE)
    _markers(svg)
    for loop in loops:
        _loop(svg, places[loop.end], places[loop.start], loop, found.nodes[loop.start].lines[0])
    for k, arrow in enumerate(found.arrows):
        _arrow(svg, arrow, found.nodes, places, bends.get(k, []))
    ends = [k for k, node in enumerate(found.nodes) if node.kind == "update"]
    _output(svg, places[ends[cell.states.index(cell.output)]])
    for node, place in zip(found.nodes, places, strict=True):
        _node(svg, node, place)
    for child in svg:
        child.tail = "\n"  # between the elements only: within a text, white space would be seen
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _add(parent: Element, tag: str, text: str = "", **attributes: str | float) -> Element:
    """A child element; underscores in the names of attributes stand for hyphens, coordinates are rounded to whole units."""
    given = {k.replace("_", "-").rstrip("-"): v if isinstance(v, str) else f"{v:.0f}" for k, v in attributes.items()}
    child = ElementTree.SubElement(parent, tag, given)
    child.text = text or None
    return child


def _markers(svg: Element) -> None:
    """The heads of the arrows, one in each colour."""
    defs = _add(svg, "defs")
    for name, colour in (("a", LINE), ("g", GATE_LINE), ("l", LOOP_LINE)):
        marker = _add(defs, "marker", id=name, viewBox="0 0 8 8", refX="7", refY="4", markerWidth="8", markerHeight="8", orient="auto")
        marker.set("markerUnits", "userSpaceOnUse")
        _add(marker, "path", d="M0 0 8 4 0 8z", style=f"fill:{colour};stroke:none")


def _layout(found: Drawing) -> tuple[list[Place], dict[int, list[tuple[float, float]]]]:
    """The place of each node, and for each arrow that spans several columns the points that it bends at."""
    layers = _layers(found)
    edges: list[tuple[int, int]] = []
    bend_nodes: dict[int, list[int]] = {}
    extended = list(layers)
    for k, arrow in enumerate(found.arrows):
        chain = [arrow.source]
        for layer in range(layers[arrow.source] + 1, layers[arrow.target]):
            extended.append(layer)
            chain.append(len(extended) - 1)
        edges += zip(chain, [*chain[1:], arrow.target], strict=True)
        bend_nodes[k] = chain[1:]
    graph = igraph.Graph(n=len(extended), edges=edges, directed=True)
    order = [point[0] for point in graph.layout_sugiyama(layers=extended, hgap=1, maxiter=1000).coords]
    height = _apart([point * ROW_HEIGHT for point in order], extended, [_height(node) for node in found.nodes])
    widths = [_width(node) for node in found.nodes]
    column = [max((w for w, at in zip(widths, layers, strict=True) if at == layer), default=0.0) for layer in range(max(layers) + 1)]
    centres = [MARGIN + sum(column[:k]) + GAP * k + column[k] / 2 for k in range(len(column))]
    places = [Place(centres[layer], height[k], widths[k], _height(found.nodes[k])) for k, layer in enumerate(layers)]
    bends = {
        k: [(centres[extended[n]] + side * column[extended[n]] / 2, height[n]) for n in nodes for side in (-1, 1)]
        for k, nodes in bend_nodes.items()
    }
    return places, bends


def _apart(heights: list[float], layers: list[int], sizes: list[float]) -> list[float]:
    """The heights with nodes of the same column moved down where they would touch; what is no node (a bend) has no size."""
    found = list(heights)
    for layer in set(layers):
        lowest = float("-inf")
        for k in sorted((k for k, at in enumerate(layers) if at == layer), key=lambda k: heights[k]):
            half = sizes[k] / 2 if k < len(sizes) else 0.0
            found[k] = max(found[k], lowest + half + 8)
            lowest = found[k] + half
    return found


def _layers(found: Drawing) -> list[int]:
    """The column of each node: the length of the longest path that leads to it.

    Rows that wait for nothing of this step share a column behind the junctions; what leaves the step stands in the last one.
    """
    fed = {arrow.target for arrow in found.arrows if found.nodes[arrow.source].kind not in ("input", "state", "junction")}
    first_rows = {k for k, node in enumerate(found.nodes) if node.kind == "row" and k not in fed}
    behind = 2 if any(node.kind == "junction" for node in found.nodes) else 1
    layers = [behind if k in first_rows else 0 for k in range(len(found.nodes))]
    for _ in found.nodes:  # as many rounds as the longest path may have arrows
        for arrow in found.arrows:
            layers[arrow.target] = max(layers[arrow.target], layers[arrow.source] + 1)
    last = max(layers)
    return [last if node.kind == "update" else layer for node, layer in zip(found.nodes, layers, strict=True)]


def _width(node: Node) -> float:
    if node.kind == "junction":
        return 8.0
    if node.kind in ("operator", "state", "update", "input") and max(map(len, node.lines)) <= 2:
        return 28.0
    plain = [re.sub(r"_(\w+)", lambda m: m.group(1)[0], line) for line in node.lines]
    return max(34.0, *(CHARACTER * len(line) + 14 for line in plain))


def _height(node: Node) -> float:
    return 8.0 if node.kind == "junction" else 36.0 if len(node.lines) > 1 else 28.0


def _loops(found: Drawing, heights: list[float], places: list[Place]) -> list[Loop]:
    """Each state goes round above or below the picture, whichever is nearer, the outer nodes on the inner lanes."""
    above, below = min(heights), max(heights)
    taken = {True: 0, False: 0}
    loops = []

    def height(pair: tuple[int, int]) -> float:
        return places[pair[0]].y + places[pair[1]].y - above - below

    for end, start in sorted(found.loops, key=lambda pair: -abs(height(pair))):
        over = height((end, start)) < 0
        distance = 40 + LOOP * taken[over]
        loops.append(Loop(end, start, above - distance if over else below + distance, taken[over]))
        taken[over] += 1
    return loops


def _loop(svg: Element, end: Place, start: Place, loop: Loop, state: str) -> None:
    """From the right end round to the left."""
    y, right, left, r = loop.y, end.right + 14 + LANE * loop.rank, start.left - 10 - LANE * loop.rank, 8 if loop.y < end.y else -8
    way = (
        f"M{end.right:.0f} {end.y:.0f}H{right - 8:.0f}Q{right:.0f} {end.y:.0f} {right:.0f} {end.y - r:.0f}V{y + r:.0f}"
        f"Q{right:.0f} {y:.0f} {right - 8:.0f} {y:.0f}H{left + 8:.0f}Q{left:.0f} {y:.0f} {left:.0f} {y + r:.0f}"
        f"V{start.y - r:.0f}Q{left:.0f} {start.y:.0f} {left + 8:.0f} {start.y:.0f}H{start.left:.0f}"
    )
    _add(svg, "path", class_="loop", marker_end="url(#l)", d=way)
    _add(svg, "text", f"{state} of the next step", class_="outside", x=(left + right) / 2, y=y - 9)


def _arrow(svg: Element, arrow: Arrow, nodes: list[Node], places: list[Place], bends: list[tuple[float, float]]) -> None:
    source, target = places[arrow.source], places[arrow.target]
    points = [(source.right, source.y), *bends, (target.left, target.y)]
    way = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (x0 + x1) / 2
        way += f"H{x1:.0f}" if abs(y1 - y0) < 0.5 else f"C{middle:.0f} {y0:.0f} {middle:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    path = _add(svg, "path", d=way)
    if arrow.gate:
        path.set("class", "gate")
    if nodes[arrow.target].kind != "junction":
        path.set("marker-end", "url(#g)" if arrow.gate else "url(#a)")


def _output(svg: Element, place: Place) -> None:
    """The arrow to whoever reads the layer."""
    _add(svg, "path", marker_end="url(#a)", d=f"M{place.right:.0f} {place.y:.0f}H{place.right + 30:.0f}")
    _add(svg, "text", "output", class_="outside", x=place.right + 54, y=place.y)


def _node(svg: Element, node: Node, place: Place) -> None:
    if node.kind == "junction":
        _add(svg, "circle", cx=place.x, cy=place.y, r="3.5", style=f"fill:{LINE}")
        return
    fill = f"fill:{FILL[node.kind]}"
    if node.kind in ("state", "update", "input"):
        _add(svg, "circle", cx=place.x, cy=place.y, r="14", style=fill)
    else:
        corner = "4" if node.kind == "row" else "14"
        _add(svg, "rect", x=place.left, y=place.y - place.height / 2, width=place.width, height=place.height, rx=corner, style=fill)
    if len(node.lines) == 1:
        _text(svg, node.lines[0], place.x, place.y)
    else:
        _text(svg, node.lines[0], place.x, place.y - 7)
        _text(svg, node.lines[1], place.x, place.y + 9, class_="small")


def _text(svg: Element, line: str, x: float, y: float, **attributes: str) -> None:
    """One line, with _i as a subscript."""
    text = _add(svg, "text", x=x, y=y, **attributes)
    low = False
    for piece in re.split(r"(_\w+)", line):
        if piece:
            below = piece.startswith("_")
            span = _add(text, "tspan", piece[1:] if below else piece)
            if below:
                span.set("class", "sub")
            if below != low:
                span.set("dy", "4" if below else "-4")
            low = below
