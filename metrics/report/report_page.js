"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("curves").textContent);
  const several = runs.length > 1;
  const phaseColors = {
    forward: "#56b4e9", backward: "#0072b2", optimizer: "#009e73", communication: "#cc79a7", data: "#e69f00",
    checkpoint: "#d55e00", sample: "#e5d834", validation: "#7f3c8d", verification: "#a6761d", other: "#999999",
  };
  // Okabe and Ito's, which color-blind readers tell apart, too.
  const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#999999"];
  const color = (i) => palette[i % palette.length];
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const tick = (value) => {
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? Number(value.toPrecision(4)).toExponential() : number.format(value);
  };
  // To one significant digit.
  const roundedUp = (value) => {
    const unit = 10 ** Math.floor(Math.log10(value));
    return Math.ceil(value / unit) * unit;
  };
  const points = ({ x, y }) => x.map((step, i) => ({ x: step, y: y[i] }));
  const drawn = [];

  // Lines at the steps from which something was different.
  const marks = {
    id: "marks",
    afterDatasetsDraw({ ctx, chartArea, scales, canvas }) {
      const style = getComputedStyle(document.documentElement);
      const shown = runs.flatMap((run) => run.marks).filter(({ step }) => step >= scales.x.min && step <= scales.x.max);
      ctx.save();
      ctx.setLineDash([4, 3]);
      for (const { step, change } of shown) {
        ctx.strokeStyle = style.getPropertyValue(change ? "--change" : "--soft").trim();
        const x = scales.x.getPixelForValue(step);
        ctx.beginPath();
        ctx.moveTo(x, chartArea.top);
        ctx.lineTo(x, chartArea.bottom);
        ctx.stroke();
      }
      ctx.restore();
      canvas.dataset.marks = shown.map(({ step }) => step).join(" ");
    },
  };

  const draw = (id, datasets, { stacked = false, legend = true, fromZero = false, most } = {}) => {
    const canvas = document.getElementById(id);
    if (!canvas) return;
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const filled = datasets.filter(({ data }) => data.length);
    if (!filled.length) return;
    const first = Math.min(...filled.map(({ data }) => data[0].x));
    const last = Math.max(...filled.map(({ data }) => data[data.length - 1].x));
    drawn.push(new Chart(canvas, {
      type: "line",
      data: { datasets: filled },
      plugins: [marks],
      options: {
        animation: false, parsing: false, normalized: true, responsive: true, maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false, axis: "x" },
        elements: { point: { radius: first === last ? 3 : 0, hitRadius: 6 }, line: { borderWidth: 1.5, tension: 0 } },
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
            type: "linear", min: first, max: last, title: { display: true, text: "step", color: soft },
            ticks: { color: soft, maxRotation: 0, autoSkipPadding: 24 }, grid: { display: false }, border: { color: line },
          },
          y: { stacked, beginAtZero: fromZero, max: most, ticks: { color: soft, callback: tick, maxTicksLimit: 7 }, grid: { color: line } },
        },
      },
    }));
  };

  const line = (label, curve, shade, more = {}) => ({
    label, data: points(curve), borderColor: shade, backgroundColor: shade, ...more,
  });
  const validation = (run, label, shade) =>
    line(label, run.validation_loss, shade, { pointRadius: 2, borderDash: several ? [5, 3] : [] });

  const drawSeveral = () => {
    for (const [id, { from_zero: fromZero }] of Object.entries(runs[0].numbers)) {
      draw(id, runs.flatMap((run, i) => {
        const { raw, smooth } = run.numbers[id];
        const own = line(run.name, smooth ?? raw, color(i));
        return id === "loss" ? [own, validation(run, `${run.name}, validation`, color(i))] : [own];
      }), { fromZero });
    }
  };

  const drawOne = ([run]) => {
    const style = getComputedStyle(document.documentElement);
    const accent = style.getPropertyValue("--accent").trim();
    const faint = style.getPropertyValue("--accent-soft").trim();
    for (const [id, { label, from_zero: fromZero, raw, smooth }] of Object.entries(run.numbers)) {
      if (!smooth) {
        // monotone: Chart.js draws straight lines per pixel, which shows as teeth on a smooth curve
        draw(id, [line(label.toLowerCase(), raw, accent, { cubicInterpolationMode: "monotone" })], { legend: false, fromZero });
        continue;
      }
      draw(id, [
        ...(id === "loss" ? [validation(run, "validation", "#d55e00")] : []),
        line("smoothed", smooth, accent, { borderWidth: 2 }),
        line(label.toLowerCase(), raw, faint, { borderWidth: 1 }),
      ], { fromZero });
    }
    for (const id of ["loss_by_folder", "loss_by_timesteps"])
      draw(id, Object.entries(run[id]).map(([name, curve], i) => line(name, curve, color(i))));
    const { x, ...phases } = run.phases;
    const sums = x.map((_, i) => Object.values(phases).reduce((sum, seconds) => sum + seconds[i], 0)).sort((a, b) => a - b);
    // Previews and checkpoints would flatten all else.
    const most = roundedUp(1.5 * sums[Math.floor(0.95 * sums.length)]);
    const shown = Object.keys(phaseColors).filter((phase) => phases[phase].some((seconds) => seconds > 0));
    draw("phases", shown.map((phase) => line(phase, { x, y: phases[phase] }, phaseColors[phase], { fill: true, borderWidth: 0 })),
      { stacked: true, fromZero: true, most: sums.at(-1) > 2 * most ? most : undefined });
  };

  const drawAll = () => {
    while (drawn.length) drawn.pop().destroy();
    if (several) drawSeveral();
    else drawOne(runs);
  };

  // One grid of a step at a time. Without scripts they stand below each other, the newest first.
  const slideGrids = () => {
    const figures = [...document.querySelectorAll("figure.step")].reverse();
    if (figures.length < 2) return;
    const prompts = figures.map((figure) => figure.querySelector("details"));
    for (let i = figures.length - 2; i >= 0; --i) prompts[i] ??= prompts[i + 1];
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: figures.length - 1, value: figures.length - 1 });
    const step = document.createElement("output");
    const label = document.createElement("label");
    label.className = "slider";
    label.append("Samples over time", slider, step);
    const show = () => {
      const shown = figures[slider.valueAsNumber];
      for (const figure of figures) figure.hidden = figure !== shown;
      shown.classList.add("large");
      if (prompts[slider.valueAsNumber]) shown.append(prompts[slider.valueAsNumber]);
      step.value = shown.querySelector("figcaption").textContent;
      slider.setAttribute("aria-valuetext", step.value);
    };
    slider.addEventListener("input", show);
    figures.at(-1).before(label);
    show();
  };

  slideGrids();
  if (runs.some((run) => run.numbers.loss.raw.x.length)) {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    drawAll();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  }
})();
