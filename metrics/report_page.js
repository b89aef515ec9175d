"use strict";
(() => {
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const phaseColors = {
    forward: "#56b4e9", backward: "#0072b2", optimizer: "#009e73", communication: "#cc79a7", data: "#e69f00",
    checkpoint: "#d55e00", sample: "#e5d834", validation: "#7f3c8d", verification: "#a6761d", other: "#999999",
  };
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const tick = (value) => {
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential() : number.format(value);
  };
  const points = ({ x, y }) => x.map((step, i) => ({ x: step, y: y[i] }));
  const drawn = [];

  const draw = (id, datasets, { stacked = false, legend = true, fromZero = false } = {}) => {
    const canvas = document.getElementById(id);
    if (!canvas) return;
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const steps = datasets[datasets.length - 1].data;
    drawn.push(new Chart(canvas, {
      type: "line",
      data: { datasets },
      options: {
        animation: false, parsing: false, normalized: true, responsive: true, maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false, axis: "x" },
        elements: { point: { radius: steps.length === 1 ? 3 : 0, hitRadius: 6 }, line: { borderWidth: 1.5, tension: 0 } },
        plugins: {
          legend: { display: legend, position: "bottom", labels: { color: ink, boxWidth: 14, boxHeight: 2, padding: 10 } },
          tooltip: {
            callbacks: {
              title: (items) => (items.length ? "step " + number.format(items[0].parsed.x) : ""),
              label: (item) => `${item.dataset.label}: ${tick(item.parsed.y)}`,
            },
          },
        },
        scales: {
          x: {
            type: "linear", min: steps[0].x, max: steps[steps.length - 1].x, title: { display: true, text: "step", color: soft },
            ticks: { color: soft, maxRotation: 0, autoSkipPadding: 24 }, grid: { display: false }, border: { color: line },
          },
          y: { stacked, beginAtZero: fromZero, ticks: { color: soft, callback: tick, maxTicksLimit: 7 }, grid: { color: line } },
        },
      },
    }));
  };

  const drawAll = () => {
    while (drawn.length) drawn.pop().destroy();
    const style = getComputedStyle(document.documentElement);
    const accent = style.getPropertyValue("--accent").trim();
    const faint = style.getPropertyValue("--accent-soft").trim();
    for (const [id, { label, from_zero: fromZero, raw, smooth }] of Object.entries(curves.numbers)) {
      if (!smooth) {
        draw(id, [{  // monotone: Chart.js draws straight lines per pixel, which shows as teeth on a smooth curve
          label: label.toLowerCase(), data: points(raw), borderColor: accent, backgroundColor: accent,
          cubicInterpolationMode: "monotone",
        }], { legend: false, fromZero });
        continue;
      }
      const validated = id === "loss" ? points(curves.validation_loss) : [];
      draw(id, [
        ...(validated.length ? [{
          label: "validation", data: validated, borderColor: "#d55e00", backgroundColor: "#d55e00", pointRadius: 2,
        }] : []),
        { label: "smoothed", data: points(smooth), borderColor: accent, backgroundColor: accent, borderWidth: 2 },
        { label: label.toLowerCase(), data: points(raw), borderColor: faint, backgroundColor: faint, borderWidth: 1 },
      ], { fromZero });
    }
    const { x, ...phases } = curves.phases;
    const shown = Object.keys(phaseColors).filter((phase) => phases[phase].some((seconds) => seconds > 0));
    if (shown.length) {
      draw("phases", shown.map((phase) => ({
        label: phase, data: points({ x, y: phases[phase] }), fill: true, borderWidth: 0,
        borderColor: phaseColors[phase], backgroundColor: phaseColors[phase],
      })), { stacked: true, fromZero: true });
    }
  };

  if (curves.numbers.loss.raw.x.length) {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    drawAll();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  }
})();
