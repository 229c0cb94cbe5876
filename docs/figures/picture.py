"""An SVG as wide as a phone.

It has a background of its own, light or dark as the reader prefers, so that it can be read
anywhere: in the manual, in a repository, on the package index.
"""

from html import escape

WIDTH = 400
STYLE = """
svg { --paper: #fff; --ink: #1f2328; --quiet: #59636e; --line: #8c959f; --box: #f3f0fa;
  --edge: #7e57c2; --good: #1a7f37; --goodbox: #e3f8e7; --bad: #c1121f; --badbox: #ffebe9;
  --peer: #d9a441; }
@media (prefers-color-scheme: dark) { svg { --paper: #1c2027; --ink: #e6edf3; --quiet: #a9b4c0;
  --line: #7d8590; --box: #2b2440; --edge: #a78bda; --good: #56d364; --goodbox: #16321f;
  --bad: #ff7b72; --badbox: #3c1a1d; --peer: #c08a2d; } }
text { font: 14px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: var(--ink); }
.title { font-weight: 700; font-size: 15px; } .strong { font-weight: 600; }
.quiet { fill: var(--quiet); font-size: 13px; } .good { fill: var(--good); font-weight: 600; }
.bad { fill: var(--bad); font-weight: 600; }
.code { font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.paper { fill: var(--paper); stroke: var(--line); stroke-opacity: .4; }
.box { fill: var(--box); stroke: var(--edge); } .plain { fill: none; stroke: var(--line); }
.goodbox { fill: var(--goodbox); stroke: var(--good); }
.badbox { fill: var(--badbox); stroke: var(--bad); }
.line { fill: none; stroke: var(--line); stroke-width: 1.5; } .dash { stroke-dasharray: 4 4; }
.tip { fill: var(--line); }
.ours { fill: var(--edge); } .floor { fill: var(--quiet); } .peer { fill: var(--peer); }
.over { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
"""


class Picture:
    """An SVG that grows downwards."""

    def __init__(self, title: str, height: int) -> None:
        self._parts: list[str] = []
        self._title, self._height = title, height

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write words on a line whose foot is at `y`."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )

    def box(
        self, x: float, y: float, width: float, height: float, *lines: str, kind: str = "box"
    ) -> None:
        """Draw a box with its lines in the middle; the first is strong, `code` in backquotes."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'class="{kind}"/>'
        )
        top = y + height / 2 - 9 * len(lines) + 14
        for number, line in enumerate(lines):
            style = "code" if line.startswith("`") else "quiet" if number else "strong"
            self.text(x + width / 2, top + 18 * number, line.strip("`"), style, "middle")

    def line(self, *points: tuple[float, float], kind: str = "line", tip: bool = True) -> None:
        """Draw a line, with an arrow's tip at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" class="{kind}"/>')
        if tip:
            (before_x, before_y), (x, y) = points[-2:]
            if x == before_x:
                back = -8 if y > before_y else 8
                ends = f"{x:g},{y:g} {x - 4:g},{y + back:g} {x + 4:g},{y + back:g}"
            else:
                back = -8 if x > before_x else 8
                ends = f"{x:g},{y:g} {x + back:g},{y - 4:g} {x + back:g},{y + 4:g}"
            self._parts.append(f'<polygon points="{ends}" class="tip"/>')

    def bar(self, x: float, y: float, width: float, kind: str) -> None:
        """Draw a bar of a chart."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="12" rx="2" class="{kind}"/>'
        )

    def svg(self) -> str:
        """Return the picture."""
        inside = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self._height}" '
            f'viewBox="0 0 {WIDTH} {self._height}" role="img">\n'
            f"<title>{escape(self._title)}</title>\n<style>{STYLE}</style>\n"
            f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{self._height - 1}" rx="8" '
            f'class="paper"/>\n{inside}\n</svg>\n'
        )
