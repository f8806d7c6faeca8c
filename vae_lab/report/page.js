"use strict";
// What the reader can choose, and redrawing what that changes. Choices live in sessionStorage, so that a live page that
// reloads itself stays where it was.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const key = `vae_lab ${location.pathname}`;
  const state = { slots: {}, strengths: {}, fit: false, sorted: data.arms.length > 12, whole: false, metric: null, curve: null, rates: 0, best: 20, pair: {}, ...remembered() };

  function remembered() {
    try { return JSON.parse(sessionStorage.getItem(key)) || {}; } catch { return {}; }
  }
  function remember() {
    const open = [...document.querySelectorAll("details")].map((one) => one.open);
    const heights = Object.fromEntries(nodes.map((node) => [node.dataset.view, node.offsetHeight]));
    try { sessionStorage.setItem(key, JSON.stringify({ ...state, open, heights, scroll: scrollY, focus: document.activeElement && document.activeElement.id })); } catch { /* a browser that keeps nothing */ }
  }

  // Drawing: a chart is drawn when it comes near the screen, and again when a choice or the width changes.
  const nodes = [...document.querySelectorAll(".chart")];
  const near = new Set(), stale = new Set(nodes);
  let timer = null;
  function redraw() {
    nodes.forEach((node) => stale.add(node));
    if (!timer) timer = setTimeout(() => { timer = null; near.forEach(draw); remember(); }, 30);
  }
  async function draw(node) {
    if (!stale.delete(node)) return;
    const spec = charts.views[node.dataset.view](data, state, Math.max(200, node.clientWidth - (node.dataset.view in { metric: 1, latents: 1, search: 1 } ? 0 : 80)));
    if (!spec) { node.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: "Nothing to draw here." })); return; }
    const many = JSON.stringify(spec).length > 400000;
    const { view } = await vegaEmbed(node, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...spec }, { actions: false, renderer: many ? "canvas" : "svg", config: charts.CONFIG });
    node.view = view;
    node.dataset.drawn = "yes";
  }
  const observer = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (isIntersecting) { near.add(target); draw(target); } else near.delete(target);
  }), { rootMargin: "400px" });

  for (const button of document.querySelectorAll("button[data-save]"))
    button.addEventListener("click", async () => {
      const node = document.querySelector(`.chart[data-view=${button.dataset.save}]`);
      if (!node.view) return;
      const link = Object.assign(document.createElement("a"), { download: `${data.study}-${button.dataset.save}.svg`, href: await node.view.toImageURL("svg") });
      link.click();
    });

  // Controls
  function fill(select, entries, chosen) {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
    if (chosen != null && entries.some(([value]) => String(value) === String(chosen))) select.value = chosen;
    return select.value;
  }
  function listen(id, change) {
    const node = find(id);
    if (node) node.addEventListener("input", () => { change(node); redraw(); });
    return node;
  }

  function colors() {
    for (const box of document.querySelectorAll("input[data-arm]")) box.checked = state.slots[box.dataset.arm] !== undefined;
    for (const dot of document.querySelectorAll("[data-dot]")) dot.style.background = charts.look(data, state, +dot.dataset.dot).color;
    const bright = data.arms.map((arm, i) => i).filter((i) => charts.look(data, state, i).rank > 1);
    find("legend").replaceChildren(...bright.map((i) => {
      const chip = Object.assign(document.createElement("span"), { className: "chip" });
      const dot = Object.assign(document.createElement("span"), { className: "dot" });
      dot.style.background = charts.look(data, state, i).color;
      chip.append(dot, `${data.arms[i].name} `);
      return chip;
    }));
  }
  function choose(arms) {
    state.slots = {};
    arms.forEach((arm, slot) => { state.slots[arm] = slot; });
    colors();
    redraw();
  }
  const atFirst = () => data.arms.map((arm, i) => [arm.slot, i]).filter(([slot]) => slot !== null).sort((a, b) => a[0] - b[0]).map(([, i]) => i);
  for (const box of document.querySelectorAll("input[data-arm]"))
    box.addEventListener("change", () => {
      const arm = box.dataset.arm, used = new Set(Object.values(state.slots));
      if (box.checked) { let slot = 0; while (used.has(slot)) slot += 1; state.slots[arm] = slot; } else delete state.slots[arm];
      colors();
      redraw();
    });
  for (const button of document.querySelectorAll("button[data-choose]"))
    button.addEventListener("click", () => choose(button.dataset.choose === "first" ? atFirst() : []));

  function strengths() {
    const several = data.arms.map((arm, i) => [i, arm.name]).filter(([i]) => data.arms[i].tried.length > 1);
    const select = find("strength-arm"), slider = find("strength"), text = find("strength-text");
    find("strengths").hidden = !several.length;
    if (!several.length) return;
    state.strength_arm = +fill(select, several, state.strength_arm);
    const show = () => {
      const { tried } = data.arms[state.strength_arm], cell = charts.cellOf(state, state.strength_arm);
      slider.max = tried.length - 1;
      slider.value = tried.indexOf(cell);
      const said = Object.entries(data.cells[cell].strength).map(([name, value]) => `${name}=${value}`).join(", ") || data.cells[cell].label;
      text.textContent = said + (cell === state.strength_arm ? " (chosen on validation)" : " (not the one chosen)");
      slider.setAttribute("aria-valuetext", text.textContent);
    };
    listen("strength-arm", () => { state.strength_arm = +select.value; show(); });
    listen("strength", () => {
      const cell = data.arms[state.strength_arm].tried[+slider.value], arm = state.strength_arm;
      if (cell === arm) delete state.strengths[arm]; else state.strengths[arm] = cell;
      if (state.slots[arm] === undefined && !data.arms[arm].role) { document.querySelector(`input[data-arm="${arm}"]`).click(); }
      show();
    });
    show();
  }

  function check(id, name) {
    const box = listen(id, () => { state[name] = box.checked; });
    if (box) box.checked = state[name];
  }

  // The pairwise comparison in words and numbers.
  function tell() {
    const { a, b, metric } = state.pair, out = find("pair-told"), { fields } = data.pairs;
    const rows = data.pairs.metrics[metric] || [], row = rows.find(([i, j]) => (i === a && j === b) || (i === b && j === a));
    if (a === b || !row) { out.replaceChildren(line(a === b ? "Choose two different arms." : "These two share no seed with a number of this metric" + (data.pairs.all ? "." : ", or are not compared here: of so many arms each is compared with the reference only."))); return; }
    const raw = Object.fromEntries(fields.map((field, i) => [field, row[i]]));
    const flip = raw.a !== a, turn = (low, high) => flip ? [low === null ? null : -high, low === null ? null : -low] : [low, high];
    const fixed = (value) => value === null ? "n/a" : (value < 0 ? "−" : "") + Math.abs(value).toFixed(Math.abs(value) < 0.005 && value !== 0 ? 5 : 3);
    const ends = (low, high) => { const [from, to] = turn(low, high); return from === null ? "no interval" : `[${fixed(from)}, ${fixed(to)}]`; };
    const p = (value) => value === null ? "n/a" : value < 0.001 ? value.toExponential(1) : value.toFixed(3);
    const tried = data.pairs.chosen ? " and every setting tried" : "";
    const shown = raw.low_all !== null && (raw.low_all > 0 || raw.high_all < 0);
    const facts = [
      ["A minus B, mean over pairs", `${fixed(flip ? -raw.mean : raw.mean)} (n=${raw.n} pairs of runs that share a seed)`],
      ["95% interval, this pair alone (paired t)", ends(raw.low, raw.high)],
      [`95% interval that holds over all ${rows.length} pairs${tried}`, `${ends(raw.low_all, raw.high_all)}: ${shown ? "a difference is shown" : "no difference shown"}`],
      ["p, paired t test, this pair alone", p(raw.p)],
    ];
    if (raw.low_bootstrap !== null) facts.push(["interval, this pair alone (bootstrap, BCa at 95%; about 91% of ten normal values)", ends(raw.low_bootstrap, raw.high_bootstrap)]);
    if (raw.wilcoxon !== null) facts.push(["p, Wilcoxon signed-rank test, this pair alone", p(raw.wilcoxon)]);
    facts.push(["assumed: differences are independent and normal", raw.shapiro === null ? "too few pairs, or all alike: cannot be tested" : `Shapiro-Wilk p = ${p(raw.shapiro)}${raw.shapiro < 0.05 ? ": they do not look normal, trust the t test less" : raw.n < 8 ? ": not refused, which means little with so few" : ": not refused"}`]);
    const list = document.createElement("dl");
    for (const [term, value] of facts) list.append(Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: value }));
    out.replaceChildren(list);
  }
  const line = (text) => Object.assign(document.createElement("p"), { className: "none", textContent: text });

  function controls() {
    const arms = data.arms.map((arm, i) => [i, arm.name]), metrics = Object.keys(data.metrics).map((name) => [name, name]);
    if (!Object.keys(state.slots).length && !state.open) atFirst().forEach((arm, slot) => { state.slots[arm] = slot; });
    if (find("metric")) state.metric = fill(find("metric"), metrics, state.metric || "test/elbo");
    if (find("curve")) state.curve = fill(find("curve"), Object.keys(data.curve_names).map((name) => [name, name]), state.curve || "val/elbo");
    if (find("rates-arm")) state.rates = +fill(find("rates-arm"), arms.filter(([i]) => data.rates[charts.cellOf(state, i)]), state.rates || (atFirst()[0] ?? 0));
    listen("metric", (node) => { state.metric = node.value; });
    listen("curve", (node) => { state.curve = node.value; });
    listen("rates-arm", (node) => { state.rates = +node.value; });
    check("fit", "fit");
    check("sorted", "sorted");
    check("whole", "whole");
    strengths();
    if (find("pair-a")) {
      const { pair } = state;
      pair.metric = fill(find("pair-metric"), Object.keys(data.pairs.metrics).map((name) => [name, name]), pair.metric);
      pair.a = +fill(find("pair-a"), arms, pair.a ?? atFirst().find((arm) => arm !== data.reference) ?? 1);
      pair.b = +fill(find("pair-b"), arms, pair.b ?? data.reference);
      listen("pair-a", (node) => { pair.a = +node.value; tell(); });
      listen("pair-b", (node) => { pair.b = +node.value; tell(); });
      listen("pair-metric", (node) => { pair.metric = node.value; tell(); });
      tell();
    }
    if (find("best")) {
      state.best = Math.min(state.best, data.search.runs.length);
      find("best").value = state.best;
      const show = () => { find("best-text").textContent = `the best ${state.best} of ${data.search.runs.length} drawn`; };
      listen("best", (node) => { state.best = +node.value; show(); });
      show();
    }
    colors();
  }

  // A live page loads itself again while the study runs, unless the reader is busy with it or asked it not to.
  function live() {
    let touched = 0;
    for (const event of ["input", "pointerdown", "keydown"]) addEventListener(event, () => { touched = Date.now(); });
    const box = find("refresh");
    box.checked = state.refresh ?? true;
    box.addEventListener("change", () => { state.refresh = box.checked; remember(); });
    const age = () => {
      const seconds = Math.max(0, Date.now() / 1000 - data.live.written);
      find("age").textContent = `written ${seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`} ago` + (seconds > data.live.stale ? ": the study may have stopped" : "");
    };
    age();
    setInterval(() => {
      age();
      const due = Date.now() - loaded > data.live.every * 1000 && Date.now() - touched > 4000;
      if (due && box.checked && !document.hidden) { remember(); location.reload(); }
    }, 1000);
  }

  const loaded = Date.now();
  controls();
  (state.open || []).forEach((open, i) => { const node = document.querySelectorAll("details")[i]; if (node && open) node.open = true; });
  for (const node of nodes) { node.style.minHeight = `${(state.heights || {})[node.dataset.view] || 0}px`; observer.observe(node); }
  if (state.scroll) scrollTo(0, state.scroll);
  if (state.focus && find(state.focus)) find(state.focus).focus({ preventScroll: true });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  addEventListener("pagehide", remember);
  if (data.live && !data.live.stopped) live();
})();
