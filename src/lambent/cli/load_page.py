"""A load test as one HTML page that needs nothing else: tables and inline SVG, no script."""

import html
from collections.abc import Callable, Sequence

from lambent.cli.load_figures import Plan, StepFigures

WIDTH, HEIGHT, PAD = 640, 220, 48
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.2rem .5rem;text-align:right;border-bottom:1px solid #ddd}"
    "svg{width:100%;height:auto}text{font-size:12px;fill:#555}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}text{fill:#aaa}}"
)
COLUMNS = ("clients", "calls/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "cold", "throttled", "errors", "unfinished")


def cells(step: StepFigures) -> tuple[str, ...]:
    """Return a step as the texts of a row under COLUMNS."""
    latencies = [f"{step.latency_ms[name]:.1f}" if step.latency_ms else "-" for name in ("p50", "p90", "p99", "max")]
    counts = (step.cold, sum(step.throttles.values()), sum(step.errors.values()), step.unfinished)
    return (str(step.clients), f"{step.throughput:.1f}", *latencies, *(str(count) for count in counts))


def reasons(steps: Sequence[StepFigures]) -> list[str]:
    """Return why calls were throttled or failed, each with its count over all steps."""
    totals: dict[str, int] = {}
    for step in steps:
        for kind, counts in (("throttled", step.throttles), ("error", step.errors)):
            for why, count in counts.items():
                totals[f"{kind}: {why}"] = totals.get(f"{kind}: {why}", 0) + count
    return [f"{count} {why}" for why, count in sorted(totals.items())]


def page(title: str, plan: Plan, steps: Sequence[StepFigures]) -> str:
    """Return the page. Whatever stands in names and reasons is shown, never run."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(step)) + "</tr>" for step in steps
    )
    why = "".join(f"<li>{html.escape(each)}</li>" for each in reasons(steps))
    throughput = _chart("Served calls a second", steps, {"calls/s": lambda step: step.throughput})
    latency = _chart("Latency in milliseconds", steps, {name: _latency(name) for name in ("p50", "p90", "p99", "max")})
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(plan.method)}; {plan.seconds:g} s a step.</p>"
        f"{throughput}{latency}<table><tr>{head}</tr>{rows}</table><ul>{why}</ul></html>\n"
    )


def _latency(name: str) -> Callable[[StepFigures], float]:
    return lambda step: step.latency_ms[name] if step.latency_ms else 0.0


def _chart(title: str, steps: Sequence[StepFigures], lines: dict[str, Callable[[StepFigures], float]]) -> str:
    top = max((value(step) for value in lines.values() for step in steps), default=0.0) or 1.0
    stride = (WIDTH - 2 * PAD) / max(1, len(steps) - 1)
    drawn = [f'<text x="4" y="{PAD}">{top:.4g}</text><text x="4" y="{HEIGHT - PAD}">0</text>']
    drawn += [
        f'<text x="{PAD + at * stride:.0f}" y="{HEIGHT - PAD + 18}" text-anchor="middle">{step.clients}</text>'
        for at, step in enumerate(steps)
    ]
    for number, (name, value) in enumerate(lines.items()):
        colour = f"hsl({210 - number * 65},65%,50%)"
        spots = [
            (PAD + at * stride, HEIGHT - PAD - (HEIGHT - 2 * PAD) * value(step) / top) for at, step in enumerate(steps)
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        drawn.append(f'<text x="{PAD + number * 70}" y="20" style="fill:{colour}">{name}</text>')
    figure = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} by clients">{"".join(drawn)}</svg>'
    return f"<h2>{title}</h2>{figure}"
