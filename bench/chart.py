"""Line charts as SVG, for the figures in docs/: what bench/ needs, and no library."""
import math
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 46, 52
COLORS = ("#1f6fb4", "#d9541e", "#2a9d5c", "#8b4fb3", "#555555")


def ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(path: Path, title: str, x_label: str, y_label: str, series: list[dict], log_x=False, log_y=False, y_from=None) -> None:
    """`series`: {"name", "points": [(x, y), …], "dashed", "color": its number, "marks"}; those of one color belong together."""
    xs = [x for s in series for x, _ in s["points"]]
    ys = [y for s in series for _, y in s["points"]]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = (min(ys) if y_from is None else y_from), max(ys)
    if not log_y:
        y_high += 0.05 * (y_high - y_low)

    def place(value, low, high, begin, end, log=False):
        if log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return round(begin + (value - low) / ((high - low) or 1) * (end - begin), 1)

    def x_of(x):
        return place(x, x_low, x_high, LEFT, WIDTH - RIGHT, log_x)

    def y_of(y):
        return place(y, y_low, y_high, HEIGHT - BOTTOM, TOP, log_y)

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>']
    for x in ticks(x_low, x_high, log_x):
        svg.append(f'<path d="M{x_of(x)} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>'
                   f'<text x="{x_of(x)}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{x:g}</text>')
    for y in ticks(y_low, y_high, log_y):
        svg.append(f'<path d="M{LEFT} {y_of(y)}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>'
                   f'<text x="{LEFT - 8}" y="{y_of(y) + 4}" text-anchor="end">{y:g}</text>')
    svg.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>'
               f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for i, s in enumerate(series):
        color = COLORS[s.get("color", i) % len(COLORS)]
        dash = ' stroke-dasharray="5 4"' if s.get("dashed") else ""
        line = " ".join(f"{x_of(x)},{y_of(y)}" for x, y in s["points"])
        svg.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.8"{dash}/>')
        if s.get("marks"):
            svg += [f'<circle cx="{x_of(x)}" cy="{y_of(y)}" r="3" fill="{color}"/>' for x, y in s["points"]]
        y = TOP + 12 + 19 * i
        svg.append(f'<path d="M{WIDTH - RIGHT + 14} {y - 4}h24" stroke="{color}" stroke-width="1.8"{dash}/>'
                   f'<text x="{WIDTH - RIGHT + 44}" y="{y}">{escape(s["name"])}</text>')
    path.write_text("\n".join(svg) + "\n</svg>\n")
