"use strict";
// The charts, as Vega-Lite specifications: each takes the page's data, what the reader chose, and a width in pixels.
// Statistics come ready-made in the data; only what a picture needs (axes, places, colours) is worked out here.
const charts = (() => {
  const PALETTE = ["#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#8C6D00", "#5B2C83"]; // Okabe and Ito 2008
  const SHAPES = ["square", "triangle-up", "diamond", "triangle-down", "triangle-right", "triangle-left", "wedge", "arrow"];
  const MUTED = "#C3C9D1", GREY = "#767676", INK = "#1b1b1b";
  const CONFIG = {
    background: null, font: "system-ui, sans-serif", view: { stroke: null },
    axis: { labelOverlap: true, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 600, gridColor: "#ececec", domainColor: "#9a9a9a", tickColor: "#9a9a9a", labelColor: "#3d3d3d", titleColor: INK },
    title: { fontSize: 13, anchor: "start", fontWeight: 600 }, legend: { labelFontSize: 12, titleFontSize: 12 },
  };

  function look(data, state, arm) {
    const { role } = data.arms[arm], slot = state.slots[arm];
    if (role === "reference") return { color: "#000000", shape: "circle", dash: [1, 0], rank: 3 };
    if (role === "control") return { color: "#8A8A8A", shape: "cross", dash: [6, 3], rank: 2 };
    if (slot === undefined) return { color: MUTED, shape: "circle", dash: [1, 0], rank: 1 };
    return { color: PALETTE[slot % 8], shape: SHAPES[slot % 8], dash: slot < 8 ? [1, 0] : [2, 2], rank: 2 };
  }

  // The cell that stands for an arm: the one chosen on validation, unless the slider says another.
  const cellOf = (state, arm) => state.strengths[arm] ?? arm;
  const byRank = (rows) => rows.sort((a, b) => a.rank - b.rank);
  const plain = (field) => ({ field, type: "nominal", scale: null, legend: null });
  const number = (field, title, format = ".4~f") => ({ field, title, type: "quantitative", format });
  const title = (data, name) => {
    const { unit, better } = data.metrics[name] || data.curve_names[name] || {};
    return name + (unit ? `, ${unit}` : "") + (better ? ` (${better === "max" ? "higher" : "lower"} is better)` : "");
  };

  function summaryOf(data, name, cell) {
    const found = data.summaries[name] && data.summaries[name][cell];
    return found && { mean: found[0], low: found[1], high: found[2], method: found[3], n: found[4] };
  }

  // Math.max itself takes no list of a hundred thousand.
  const most = (a, b) => Math.max(a, b), least = (a, b) => Math.min(a, b);

  function domain(values, share = 0.06) {
    const low = values.reduce(least), high = values.reduce(most), room = (high - low) * share || Math.abs(low) * share || 1;
    return [low - room, high + room];
  }

  // Seeds and means of the arms in two metrics, and the other strengths of the arms in colour.
  function scatter(data, state, x, y) {
    const seeds = [], means = [], paths = [];
    const ofCell = new Map();
    data.runs.cell.forEach((cell, run) => ofCell.set(cell, [...(ofCell.get(cell) || []), run]));
    data.arms.forEach((arm, i) => {
      const style = look(data, state, i), shown = cellOf(state, i);
      for (const run of ofCell.get(shown) || []) {
        const [a, b] = [data.runs.values[x][run], data.runs.values[y][run]];
        if (a !== null && b !== null) seeds.push({ x: a, y: b, arm: data.cells[shown].label, seed: data.runs.over[run], ...style });
      }
      for (const cell of style.rank > 1 ? arm.tried : [shown]) {
        const a = summaryOf(data, x, cell), b = summaryOf(data, y, cell);
        if (!a || !b) continue;
        const point = { x: a.mean, y: b.mean, n: a.n, arm: data.cells[cell].label, i, cell, ...style };
        if (cell === shown) means.push(point);
        if (style.rank > 1 && arm.tried.length > 1) paths.push({ ...point, order: arm.tried.indexOf(cell) });
      }
    });
    return { seeds: byRank(seeds), means: byRank(means), paths };
  }

  const extents = (state, { seeds, means, paths }) => {
    const all = [...seeds, ...means, ...paths], bright = all.filter((row) => row.rank > 1);
    const rows = state.fit && bright.length ? bright : all;
    if (!rows.length) return [[0, 1], [0, 1]];
    return [domain(rows.map((row) => row.x)), domain(rows.map((row) => row.y))];
  };

  // With no run done yet there is nothing to draw.
  const nothing = (found) => !found.means.length;

  function scatterLayers(found, ends, names, titles) {
    const x = { field: "x", type: "quantitative", title: titles[0], scale: { domain: ends[0], zero: false, nice: false } };
    const y = { field: "y", type: "quantitative", title: titles[1], scale: { domain: ends[1], zero: false, nice: false } };
    const tip = (extra) => [{ field: "arm" }, ...extra, number("x", names[0]), number("y", names[1])];
    const base = { color: plain("color"), shape: plain("shape") };
    const faint = { condition: { test: "datum.rank > 1", value: 0.55 }, value: 0.8 };
    return [
      { data: { values: found.paths }, mark: { type: "line", strokeWidth: 1.3, clip: true },
        encoding: { x, y, detail: { field: "i" }, order: { field: "order" }, color: plain("color") } },
      { data: { values: found.paths }, mark: { type: "point", size: 36, filled: false, strokeWidth: 1.3, clip: true },
        encoding: { x, y, ...base, tooltip: tip([number("n", "seeds", "d")]) } },
      { data: { values: found.seeds }, mark: { type: "point", size: 20, filled: true, clip: true },
        encoding: { x, y, ...base, opacity: faint, tooltip: tip([{ field: "seed", title: "run" }]) } },
      { data: { values: found.means }, mark: { type: "point", filled: true, stroke: "#fff", strokeWidth: 1, opacity: 1, clip: true },
        encoding: { x, y, ...base, size: { condition: { test: "datum.rank > 1", value: 130 }, value: 60 }, tooltip: tip([number("n", "mean over seeds, n", "d")]) } },
    ];
  }

  // Grey diagonals of equal ELBO, each with its ELBO where it leaves the picture below or on the right.
  function isoElbo([[left, right], [bottom, top]]) {
    const span = right + top - left - bottom, rough = span / 12;
    const power = 10 ** Math.floor(Math.log10(rough)), step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const lines = [];
    for (let level = Math.ceil((left + bottom) / step) * step; level < right + top; level += step) {
      const x = Math.max(left, level - top), x2 = Math.min(right, level - bottom);
      lines.push({ x, y: level - x, x2, y2: level - x2, text: String(+(-level).toPrecision(6)) });
    }
    return lines;
  }

  function plane(data, state, width) {
    const found = scatter(data, state, "test/rate", "test/distortion"), ends = extents(state, found);
    if (nothing(found)) return null;
    const iso = isoElbo(ends), at = (field) => ({ field, type: "quantitative" });
    return { width, height: Math.min(440, Math.max(300, width * 0.62)), layer: [
      { data: { values: iso }, mark: { type: "rule", color: "#d9d9d9", clip: true }, encoding: { x: at("x"), y: at("y"), x2: { field: "x2" }, y2: { field: "y2" } } },
      { data: { values: iso }, mark: { type: "text", color: GREY, fontSize: 10, align: "right", dx: -2, dy: -6 }, encoding: { x: at("x2"), y: at("y2"), text: { field: "text", type: "nominal" } } },
      ...scatterLayers(found, ends, ["rate", "distortion"], ["rate, nats", "distortion, nats"]),
    ] };
  }

  function front(data, state, width) {
    const found = scatter(data, state, "test/active_units", "test/nll"), ends = extents(state, found);
    if (nothing(found)) return null;
    const line = data.front.map((cell, order) => ({ order, arm: data.cells[cell].label, x: summaryOf(data, "test/active_units", cell).mean, y: summaryOf(data, "test/nll", cell).mean }));
    const at = { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" } };
    return { width, height: Math.min(400, Math.max(300, width * 0.55)), layer: [
      { data: { values: line }, mark: { type: "line", color: INK, strokeDash: [4, 3], strokeWidth: 1, clip: true }, encoding: { ...at, order: { field: "order" } } },
      { data: { values: line }, mark: { type: "point", shape: "circle", size: 320, color: INK, strokeWidth: 1.2, clip: true }, encoding: at },
      ...scatterLayers(found, ends, ["active units", "NLL"], ["active units", "NLL, nats (lower is better)"]),
    ] };
  }

  function metric(data, state, width) {
    const name = state.metric, rows = [], seeds = [];
    data.arms.forEach((arm, i) => {
      const cell = cellOf(state, i), found = summaryOf(data, name, cell), style = look(data, state, i);
      if (found) rows.push({ ...found, arm: data.cells[cell].label, i, ...style });
      data.runs.cell.forEach((of, run) => {
        const value = of === cell ? data.runs.values[name][run] : null;
        if (value !== null) seeds.push({ value, arm: data.cells[cell].label, seed: data.runs.over[run], ...style });
      });
    });
    if (!rows.length) return null;
    if (state.sorted) rows.sort((a, b) => a.mean - b.mean);
    const reference = rows.filter((row) => row.i === data.reference);
    const y = { field: "arm", type: "nominal", sort: rows.map((row) => row.arm), title: null, axis: { labelLimit: Math.max(110, width * 0.28), grid: true } };
    const x = (field) => ({ field, type: "quantitative", title: title(data, name), scale: { zero: false } });
    const tooltip = [{ field: "arm" }, number("mean", "mean"), number("low", "95% from"), number("high", "95% to"), { field: "method", title: "interval by" }, number("n", "n", "d")];
    return { width: Math.max(120, width - Math.max(110, width * 0.28) - 20), autosize: { type: "pad" }, height: { step: rows.length > 30 ? 16 : 22 }, layer: [
      { data: { values: reference }, mark: { type: "rule", color: "#000", strokeDash: [3, 3], strokeWidth: 0.8 }, encoding: { x: x("mean") } },
      { data: { values: seeds }, mark: { type: "tick", thickness: 1.5, size: 9 }, encoding: { y, x: x("value"), color: plain("color"), tooltip: [{ field: "arm" }, { field: "seed", title: "run" }, number("value", name)] } },
      ...(rows.some((row) => row.low !== null) ? [{ data: { values: rows.filter((row) => row.low !== null) }, mark: { type: "rule", strokeWidth: 1.6 }, encoding: { y, x: x("low"), x2: { field: "high" }, color: plain("color"), tooltip } }] : []),
      { data: { values: rows }, mark: { type: "point", filled: true, size: 70, opacity: 1 }, encoding: { y, x: x("mean"), color: plain("color"), shape: plain("shape"), tooltip } },
    ] };
  }

  function curves(data, state, width) {
    const name = state.curve, lines = [], late = [];
    const add = (row, isLate) => { lines.push(row); if (isLate && (!state.fit || row.rank > 1)) late.push(row.low ?? row.mean, row.high ?? row.mean); };
    data.arms.forEach((arm, i) => {
      const cell = cellOf(state, i), curve = (data.curves[name] || {})[cell], style = look(data, state, i);
      if (!curve) return;
      const after = state.whole ? -1 : curve.steps[curve.steps.length - 1] / 5;
      curve.steps.forEach((step, k) => add({ step, mean: curve.mean[k], low: curve.low && curve.low[k], high: curve.high && curve.high[k], n: curve.n, arm: data.cells[cell].label, id: i, ...style }, step > after));
    });
    data.partial.forEach((run, k) => {
      const curve = run.curves[name];
      if (!curve) return;
      const style = { ...run.arm === null ? { color: MUTED, shape: "circle" } : look(data, state, run.arm), dash: [4, 3], rank: 2 };
      const after = state.whole ? -1 : curve.steps[curve.steps.length - 1] / 5;
      curve.steps.forEach((step, j) => add({ step, mean: curve.values[j], n: 1, arm: `${run.name}, running`, id: `running ${k}`, ...style, color: style.color === MUTED ? INK : style.color }, step > after));
    });
    const y = { field: "mean", type: "quantitative", title: title(data, name), scale: { domain: domain(late.length ? late : lines.length ? lines.map((row) => row.mean) : [0, 1]), nice: false, zero: false } };
    const steps = lines.map((row) => row.step);
    const x = { field: "step", type: "quantitative", title: "update", scale: { domain: domain(steps.length ? steps : [0, 1], 0.01), nice: false } };
    const detail = { field: "id" };
    const dash = { field: "dash", type: "nominal", scale: null, legend: null };
    if (!lines.length) return null;
    return { width, height: Math.min(380, Math.max(280, width * 0.5)), data: { values: byRank(lines) }, layer: [
      ...(lines.some((row) => row.rank > 1 && row.low !== undefined) ? [{ transform: [{ filter: "datum.rank > 1 && isValid(datum.high)" }], mark: { type: "area", opacity: 0.16, clip: true }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, detail, color: plain("color") } }] : []),
      { transform: [{ filter: "datum.rank === 1" }], mark: { type: "line", strokeWidth: 1, opacity: 0.7, clip: true }, encoding: { x, y, detail, color: plain("color") } },
      { transform: [{ filter: "datum.rank > 1" }], mark: { type: "line", strokeWidth: 1.8, clip: true }, encoding: { x, y, detail, color: plain("color"), strokeDash: dash } },
      { mark: { type: "point", size: 60, opacity: 0, clip: true }, encoding: { x, y, tooltip: [{ field: "arm" }, number("step", "update", "d"), number("mean", name), number("low", "lowest seed"), number("high", "highest seed"), number("n", "n", "d")] } },
    ] };
  }

  // Shades of a rate from 0 to the highest of any arm, so that a collapsed arm is dark.
  function shade(highest, width) {
    const rate = { field: "rate", type: "quantitative", title: "rate, nats", scale: { scheme: "cividis", type: "sqrt", domain: [0, highest || 1] } };
    return { color: { ...rate, legend: width < 500 ? { orient: "top", gradientLength: 120 } : {} } };
  }

  function latents(data, state, width) {
    const values = [];
    data.arms.forEach((arm, i) => {
      const cell = cellOf(state, i), rates = data.mean_rates[cell];
      (rates || []).forEach((rate, k) => values.push({ arm: data.cells[cell].label, latent: k + 1, rate, order: i }));
    });
    if (!values.length) return null;
    const names = [...new Set(values.map((row) => row.arm))], limit = Math.max(110, width * 0.28);
    return { width: Math.max(120, width - limit - 90), autosize: { type: "pad" }, height: { step: names.length > 30 ? 14 : 20 }, data: { values }, mark: "rect", encoding: {
      x: { field: "latent", type: "ordinal", title: "latent, by falling rate", axis: { labelAngle: 0 } },
      y: { field: "arm", type: "nominal", sort: names, title: null, axis: { labelLimit: limit } },
      ...shade(values.map((row) => row.rate).reduce(most), width),
      tooltip: [{ field: "arm" }, number("latent", "latent", "d"), number("rate", "rate, mean over seeds", ".4~g")] } };
  }

  function rates(data, state, width) {
    const found = data.rates[cellOf(state, state.rates)], values = [];
    if (!found) return null;
    const ends = [...found.steps, 2 * found.steps[found.steps.length - 1] - (found.steps[found.steps.length - 2] ?? 0)];
    found.grid.forEach((line, k) => line.forEach((rate, j) => values.push({ latent: k + 1, from: ends[j], to: ends[j + 1], rate })));
    return { width: width - 90, height: Math.min(420, Math.max(160, found.grid.length * 14)), data: { values }, mark: { type: "rect" }, encoding: {
      x: { field: "from", type: "quantitative", title: "update", scale: { nice: false, zero: false } }, x2: { field: "to" },
      y: { field: "latent", type: "ordinal", title: "latent, by last rate", axis: { labelOverlap: true } },
      ...shade(values.map((row) => row.rate).reduce(most), width),
      tooltip: [number("latent", "latent", "d"), number("from", "update", "d"), number("rate", "rate, nats", ".4~g")] } };
  }

  function variances(data, state, width) {
    const values = [];
    data.arms.forEach((arm, i) => {
      const cell = cellOf(state, i), style = look(data, state, i);
      if (style.rank > 1) (data.latents.variances[cell] || []).forEach((line, run) => line.forEach((variance, k) => values.push({ latent: k + 1, variance: Math.max(variance, 1e-8), arm: data.cells[cell].label, id: `${i} ${run}`, ...style })));
    });
    if (!values.length) return null;
    const x = { field: "latent", type: "quantitative", title: "latent, by falling variance", axis: { tickMinStep: 1, format: "d" }, scale: { nice: false } };
    const y = { field: "variance", type: "quantitative", title: "variance of the posterior mean", scale: { type: "log" }, axis: { format: "~g", tickCount: 5 } };
    const tooltip = [{ field: "arm" }, number("latent", "latent", "d"), number("variance", "variance", ".3~g")];
    return { width, height: 300, layer: [
      { data: { values: [{ variance: data.active }] }, mark: { type: "rule", strokeDash: [4, 3], color: GREY }, encoding: { y } },
      { data: { values: byRank(values) }, mark: { type: "line", strokeWidth: 1.2 }, encoding: { x, y, detail: { field: "id" }, color: plain("color") } },
      { data: { values }, mark: { type: "point", filled: true, size: 18 }, encoding: { x, y, color: plain("color"), shape: plain("shape"), tooltip } },
    ] };
  }

  // Both arms' runs with a line for each seed that they share.
  function pair(data, state, width) {
    const name = state.pair.metric, values = [];
    const sides = [state.pair.a, state.pair.b].map((arm) => new Map(data.runs.cell.flatMap((cell, run) => cell === arm ? [[data.runs.over[run], data.runs.values[name][run]]] : [])));
    [state.pair.a, state.pair.b].forEach((arm, side) => sides[side].forEach((value, over) => {
      if (value !== null && sides[1 - side].get(over) != null) values.push({ side, arm: data.cells[arm].label, value, over, ...look(data, state, arm) });
    }));
    if (!values.length || state.pair.a === state.pair.b) return null;
    const x = { field: "side", type: "ordinal", title: null, axis: { labelExpr: `datum.value === 0 ? "A" : "B"`, labelAngle: 0, labelFontSize: 14 } };
    const y = { field: "value", type: "quantitative", title: title(data, name), scale: { zero: false } };
    return { width: Math.min(340, width), height: 260, layer: [
      { data: { values }, mark: { type: "line", color: GREY, strokeWidth: 1 }, encoding: { x, y, detail: { field: "over" } } },
      { data: { values }, mark: { type: "point", filled: true, size: 80, opacity: 1 }, encoding: { x, y, color: { ...plain("color") }, tooltip: [{ field: "arm" }, { field: "over", title: "run" }, number("value", name)] } },
    ] };
  }

  function search(data, state, width) {
    const { axes, runs } = data.search, values = [], best = state.best;
    runs.forEach((run, k) => axes.forEach((axis, j) => values.push({ run, j, at: axis.at[k], text: axis.text[k], name: axis.name, last: axes[axes.length - 1].text[k], rank: k < best ? 2 : 1, place: k < best ? k : null })));
    const heads = axes.map((axis, j) => ({ j, name: axis.name.split(".").slice(-2).join(".") + (axis.log ? " (log)" : ""), low: axis.ends[0], high: axis.ends[1] }));
    const x = { field: "j", type: "ordinal", axis: null, scale: { type: "point", padding: 0.5 } };
    const y = { field: "at", type: "quantitative", axis: null, scale: { domain: [-0.1, 1.18] } };
    const head = (field, at, dy, font) => ({ data: { values: heads.map((row) => ({ ...row, at })) }, mark: { type: "text", dy, ...font, limit: width / axes.length - 4 }, encoding: { x, y, text: { field } } });
    const tooltip = [{ field: "run" }, { field: "name", title: "setting" }, { field: "text", title: "value" }, { field: "last", title: axes[axes.length - 1].name }];
    return { width: Math.max(width, axes.length * 90), height: 380, layer: [
      { data: { values: heads.map((row) => ({ ...row, from: 0, to: 1 })) }, mark: { type: "rule", color: GREY }, encoding: { x, y: { ...y, field: "from" }, y2: { field: "to" } } },
      { data: { values: values.filter((row) => row.rank === 1) }, mark: { type: "line", strokeWidth: 0.7, opacity: 0.5, color: MUTED }, encoding: { x, y, detail: { field: "run" } } },
      { data: { values: values.filter((row) => row.rank === 2) }, mark: { type: "line", strokeWidth: 1.6 }, encoding: { x, y, detail: { field: "run" }, color: { field: "place", type: "quantitative", title: "place", scale: { scheme: "viridis" }, legend: null } } },
      { data: { values }, mark: { type: "point", size: 30, opacity: 0 }, encoding: { x, y, tooltip } },
      head("name", 1.12, -4, { fontWeight: 600, fontSize: 12 }), head("high", 1.04, 0, { fontSize: 11, color: GREY }), head("low", -0.05, 4, { fontSize: 11, color: GREY }),
    ] };
  }

  return { CONFIG, look, cellOf, views: { plane, front, metric, curves, latents, rates, variances, pair, search } };
})();
