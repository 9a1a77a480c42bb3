"use strict";
// What the page shows comes from one stream of states; nothing is computed here that decides anything.
const $ = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (x, digits = 3) => (x === null || x === undefined ? "–" : Number(x).toPrecision(digits).replace(/e\+?/, "e"));
const fixed = (x, digits) => (x === null || x === undefined ? "–" : Number(x).toFixed(digits));

let about = { control: false, hz: 2 };
let stream = null;
let shown = null; // run of an experiment that the user chose; null follows the newest
let shownDone = -1; // cells of it when it was last asked for
let asking = null; // run that is being asked to stop
let marked = new Set();
const plots = {};

function cells(row, texts) {
  while (row.cells.length < texts.length) row.insertCell();
  texts.forEach((text, i) => { if (row.cells[i].textContent !== text) row.cells[i].textContent = text; });
}

function rows(body, list, key, fill) {
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  list.forEach((item, i) => {
    let row = known.get(String(item[key]));
    if (!row) { row = body.insertRow(i); row.dataset.key = item[key]; }
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] || null);
    known.delete(String(item[key]));
    fill(row, item);
  });
  known.forEach((row) => row.remove());
}

function options(select, list, value) {
  const now = [...select.options].map((o) => o.value + o.text).join();
  if (now !== list.map((o) => o.value + o.text).join()) {
    select.replaceChildren(...list.map((o) => new Option(o.text, o.value)));
  }
  if (value !== undefined && select.value !== value) select.value = value;
}

const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

// A name that is counted, a cell or a miner, has no tick between two whole numbers.
function axes(x, y, counted = []) {
  const style = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const one = (label) => ({ ...style, label, labelSize: 18, ...(counted.includes(label) ? { incrs: COUNTS } : {}) });
  return [one(x), { ...one(y), size: 56 }];
}

function duration(s) {
  if (s < 90) return `${Math.ceil(s)} s`;
  if (s < 5400) return `${Math.ceil(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.ceil((s % 3600) / 60)} min`;
}

// A plot is made anew only where its shape changes; else it gets new numbers.
function plot(id, shape, make, data) {
  const box = $(id);
  const width = Math.max(240, box.clientWidth);
  if (!plots[id] || plots[id].shape !== shape) {
    if (plots[id]) plots[id].chart.destroy();
    box.replaceChildren();
    plots[id] = { shape, chart: new uPlot({ width, height: 240, legend: { show: false }, cursor: { show: false }, ...make() }, data, box) };
  } else {
    plots[id].chart.setData(data);
  }
  if (plots[id].chart.width !== width) plots[id].chart.setSize({ width, height: 240 });
}

const points = (name, size, stroke) => ({
  label: name, paths: () => null, stroke: colour(stroke), points: { show: true, size, fill: colour(stroke), stroke: colour(stroke) },
});

function drawVerdict(id, said, more) {
  $(id).hidden = !said;
  if (!said) return;
  $(id).className = `verdict ${said.code}`;
  $(`${id}-code`).textContent = said.code.replace("_", " ");
  $(`${id}-text`).textContent = said.text;
  if (more) $(`${id}-more`).textContent = more;
}

// What an event tells, for people: times in ms, names without their underscores.
function inWords(detail) {
  let told = detail || "";
  try { told = JSON.parse(told); } catch { return told && `: ${told}`; }
  if (told === null || typeof told !== "object") return `: ${told}`;
  const words = Object.entries(told).map(([name, value]) => (name.endsWith("_ns") && typeof value === "number"
    ? `${name.slice(0, -3)} ${number(value / 1e6)} ms` : `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).replace(/_/g, " "));
  return words.length ? `: ${words.join(", ")}` : "";
}

function drawRun(run) {
  $("run-what").textContent = run
    ? `${run.run_id}, ${run.kind}${run.mode ? ", " + run.mode : ""}: ${run.shares} shares${run.ended_wall_ns ? ", ended" : ""}`
    : "No recording yet: a bridge makes one, or asiclab emulate. Cells of a miner that is emulated in virtual time leave none.";
  ["miners-box", "miners-key", "raster-box", "intervals-box"].forEach((id) => { $(id).hidden = !run; });
  const miners = run ? run.miners : [];
  rows($("miners"), miners, "number", (row, m) => cells(row, [
    m.model ? `${m.name} (${m.model})` : m.name, String(m.shares), fixed(m.rate, 2), number(m.mean_ms, 4), fixed(m.cv, 3),
    m.low === null ? "–" : `${fixed(m.low, 3)} to ${fixed(m.high, 3)}`, fixed(m.telemetry.temperature_c, 1),
    fixed(m.telemetry.power_w, 1), fixed(m.telemetry.frequency_mhz, 0), String(m.refused),
  ]));
  drawVerdict("verdict", run && run.verdict, run && run.verdict
    ? `After ${run.verdict.shares} shares, look ${run.verdict.looks} at this run. Who looks often is deceived often: what counts is the look that was planned.` : "");
  if (!run) return;
  const raster = [...run.raster].sort((a, b) => a[0] - b[0]);
  const top = Math.max(1, ...miners.map((m) => m.number)) + 0.5;
  plot("raster", `raster ${top}`, () => ({
    scales: { x: { time: false, range: [-60, 0] }, y: { range: [0.5, top] } },
    axes: axes("s before the newest share", "miner", ["miner"]), series: [{}, points("arrival", 3, "--data")],
  }), [raster.map((p) => p[0]), raster.map((p) => p[1])]);
  const h = run.intervals;
  plot("intervals", "intervals", () => ({
    scales: { x: { time: false, distr: 3 }, y: {} }, axes: axes("ms", "intervals"),
    series: [{}, { label: "intervals", stroke: colour("--data"), fill: colour("--data") + "33", paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      { label: "fair hash", stroke: colour("--null"), width: 2, points: { show: false } }],
  }), [h.ms, h.count, h.null]);
  $("heat-box").hidden = !run.temperatures.length;
  if (run.temperatures.length) {
    // every miner has times of its own: one common axis with gaps that are bridged
    const times = [...new Set(run.temperatures.flatMap((t) => t.s))].sort((a, b) => a - b);
    const at = new Map(times.map((t, i) => [t, i]));
    const lines = run.temperatures.map((t) => {
      const line = new Array(times.length).fill(null);
      t.s.forEach((s, i) => { line[at.get(s)] = t.c[i]; });
      return line;
    });
    const hue = (i) => `hsl(${(210 + (i * 360) / Math.max(1, lines.length)) % 360} 70% 50%)`;
    plot("heat", `heat ${run.temperatures.map((t) => t.name)}`, () => ({
      scales: { x: { time: false }, y: {} }, axes: axes("s before the newest share", "°C"), legend: { show: lines.length < 9 },
      series: [{}, ...run.temperatures.map((t, i) => ({ label: t.name, stroke: hue(i), spanGaps: true, points: { show: false } }))],
    }), [times, ...lines]);
  }
  $("events-box").hidden = !run.events.length;
  $("events").replaceChildren(...run.events.map((e) => {
    const item = document.createElement("li");
    item.textContent = `${new Date(e.wall_ns / 1e6).toLocaleTimeString()} ${e.kind}${inWords(e.detail)}`;
    return item;
  }));
}

const number_names = (list, of) => [...new Set(list.flatMap((c) => Object.entries(of(c)).filter(([, v]) => typeof v === "number").map(([k]) => k)))];

function drawExperiment(e) {
  $("experiment").hidden = !e;
  if (!e) return;
  $("experiment-title").textContent = e.title;
  $("experiment-what").textContent = `${e.experiment}, ${e.size}, ${e.on}, seed ${e.seed}, plan ${e.digest.slice(0, 12)}. ${e.decision}`;
  $("progress").max = e.total; $("progress").value = e.done;
  const left = e.left_s === null ? "" : `, about ${duration(e.left_s)} of measuring left`;
  const now = e.stopping ? `; asked to stop. asiclab run ${e.experiment} … --resume goes on` : left;
  $("left").textContent = `${e.done} of ${e.total} cells${e.finished ? "" : now}`;
  $("stop").hidden = !about.control || e.finished || e.stopping;
  $("stop").disabled = asking === e.run;
  $("stop").dataset.run = e.run;
  $("stop").textContent = e.subject.kind === "device" ? "Stop" : "Stop after this cell";
  const f = e.finding;
  $("finding").hidden = !f;
  if (f) {
    $("finding").className = `verdict ${f.code}`;
    $("code").textContent = f.code.replace("_", " ");
    $("finding-text").textContent = f.text;
    $("report").href = `/experiments/${encodeURIComponent(e.run)}/report`;
    const p = f.p_value === null ? "" : `p = ${number(f.p_value)}. `;
    $("finding-more").textContent = `${f.statistic}: ${number(f.value, 4)}. ${p}Smallest effect that would have been found: ${f.detectable || "not stated"}. Placebo: ${e.placebo ? e.placebo.code : "none"}.`;
  }
  drawVerdict("so-far", f ? null : e.so_far, "");
  drawMap(e);
}

// One value of the cells: over one condition as dots, over two as a table that fills.
function drawMap(e) {
  const axes_ = number_names(e.cells, (c) => c.point);
  const down = number_names(e.cells, (c) => c.values).filter((v) => !axes_.includes(v));
  $("map-box").hidden = !down.length;
  if (!down.length) return;
  options($("map-value"), down.map((v) => ({ value: v, text: v })));
  options($("map-x"), axes_.concat("cell").map((v) => ({ value: v, text: v })));
  // whoever has not chosen sees a map where the plan has two conditions
  if ($("map-box").dataset.run !== e.experiment && axes_.length) {
    $("map-box").dataset.run = e.experiment;
    $("map-x").value = axes_[0];
    if (down.includes("cv")) $("map-value").value = "cv";
    options($("map-y"), [{ value: "", text: "–" }, ...axes_.map((v) => ({ value: v, text: v }))], axes_[1] || "");
  }
  options($("map-y"), [{ value: "", text: "–" }, ...axes_.map((v) => ({ value: v, text: v }))]);
  const x = $("map-x").value, y = $("map-value").value, by = $("map-y").value;
  const mapped = by !== "" && by !== x && x !== "cell";
  $("grid-box").hidden = !mapped; $("map").hidden = mapped;
  $("map-key").textContent = mapped ? "Mean of the miner's cells; a dot: none measured there." : "Large dots: the miner. Small ones: the placebo arm, an ordinary emulated miner.";
  if (mapped) { drawGrid(e.cells.filter((c) => c.arm === "subject"), x, by, y); return; }
  const dots = e.cells.map((c, i) => ({ x: x === "cell" ? i : c.point[x], y: c.values[y], own: c.arm === "subject" }))
    .filter((d) => typeof d.x === "number" && typeof d.y === "number").sort((a, b) => a.x - b.x);
  plot("map", `map ${e.run} ${x} ${y}`, () => ({
    scales: { x: { time: false }, y: {} }, axes: axes(x, y, ["cell", "device", "response"]), series: [{}, points("miner", 7, "--data"), points("placebo", 4, "--null")],
  }), [dots.map((d) => d.x), dots.map((d) => (d.own ? d.y : null)), dots.map((d) => (d.own ? null : d.y))]);
}

function drawGrid(list, x, by, value) {
  const levels = (name) => [...new Set(list.map((c) => c.point[name]))].sort((a, b) => a - b);
  const mean = (xs) => xs.reduce((a, b) => a + b, 0) / xs.length;
  const columns = levels(x), lines = levels(by).reverse();
  const found = lines.map((r) => columns.map((c) => {
    const here = list.filter((k) => k.point[x] === c && k.point[by] === r && typeof k.values[value] === "number");
    return here.length ? mean(here.map((k) => k.values[value])) : null;
  }));
  const all = found.flat().filter((v) => v !== null), low = Math.min(...all), span = Math.max(...all) - low;
  const head = document.createElement("tr");
  head.append(...[`${by} \\ ${x}`, ...columns.map(String)].map((text) => { const th = document.createElement("th"); th.textContent = text; return th; }));
  $("grid").replaceChildren(head, ...lines.map((line, i) => {
    const row = document.createElement("tr"), th = document.createElement("th");
    th.textContent = String(line); row.append(th);
    found[i].forEach((v) => {
      const cell = row.insertCell();
      cell.textContent = v === null ? "·" : Math.abs(v) >= 1000 ? v.toFixed(0) : number(v);
      if (v !== null) cell.style.background = `color-mix(in srgb, var(--data) ${Math.round(span ? (60 * (v - low)) / span : 0)}%, transparent)`;
    });
    return row;
  }));
}

async function compare() {
  const found = await Promise.all([...marked].map((run) => fetch(`/api/experiments/${run}`).then((r) => r.json())));
  $("compared").replaceChildren(...found.map((e) => {
    const box = document.createElement("div");
    box.className = `verdict ${e.finding ? e.finding.code : ""}`;
    const lines = [`${e.experiment}, ${e.on}, ${e.size}, seed ${e.seed}`, e.finding ? e.finding.code.replace("_", " ") : "not finished",
      e.finding ? e.finding.text : `${e.done} of ${e.total} cells`];
    box.append(...lines.map((text, i) => {
      const p = document.createElement("p");
      p.textContent = text; if (i === 1) p.className = "word"; if (i !== 1) p.classList.add("sub");
      return p;
    }));
    return box;
  }));
}

function drawList(list) {
  rows($("experiments"), list, "run", (row, e) => {
    const said = e.code ? e.code.replace("_", " ") : "not finished";
    cells(row, ["", e.experiment, said, e.on, e.size, String(e.seed), `${e.done} of ${e.total}`, e.run.slice(0, 8)]);
    row.cells[3].className = "long";
    if (!row.cells[0].firstChild) {
      const box = document.createElement("input");
      box.type = "checkbox"; box.title = "compare"; box.setAttribute("aria-label", `compare ${e.run}`);
      box.onchange = () => { if (box.checked) marked.add(e.run); else marked.delete(e.run); compare(); };
      row.cells[0].append(box);
      const open = document.createElement("a");
      open.href = "#experiment"; open.textContent = e.experiment; open.onclick = () => { shown = e.run; shownDone = e.done; fetchShown(); };
      row.cells[1].replaceChildren(open);
    }
    const last = row.cells[row.cells.length - 1];
    last.title = e.run;
    if (e.finished && !last.firstElementChild) {
      const report = document.createElement("a");
      report.href = `/experiments/${encodeURIComponent(e.run)}/report`; report.target = "_blank"; report.textContent = e.run.slice(0, 8);
      last.replaceChildren(report);
    }
  });
}

async function fetchShown() {
  const answer = await fetch(`/api/experiments/${shown}`);
  if (answer.ok) drawExperiment(await answer.json());
}

function draw(state) {
  $("problem").hidden = !state.problem;
  $("problem").textContent = state.problem || "";
  const runs = [{ value: "latest", text: "newest" }, ...(state.runs || []).map((r) => ({ value: r.run_id, text: r.shares === null ? r.run_id : `${r.run_id} (${r.shares})` }))];
  options($("run"), runs);
  drawRun(state.run);
  drawList(state.experiments || []);
  if (shown !== null && state.experiment && shown === state.experiment.run) shown = null; // the newest goes on by itself
  const chosen = shown === null ? null : (state.experiments || []).find((e) => e.run === shown);
  if (shown === null) drawExperiment(state.experiment);
  else if (chosen && chosen.done !== shownDone) { shownDone = chosen.done; fetchShown(); }
}

function follow() {
  if (stream) stream.close();
  stream = new EventSource(`/events?run=${encodeURIComponent($("run").value || "latest")}`);
  stream.onopen = () => { $("link").textContent = "live"; $("link").className = "on"; };
  stream.onerror = () => { $("link").textContent = "no answer; trying again"; $("link").className = "off"; };
  stream.onmessage = (message) => { window.lastState = Date.now(); draw(JSON.parse(message.data)); };
}

$("run").onchange = follow;
$("map-x").onchange = $("map-y").onchange = $("map-value").onchange = () => { if (shown) fetchShown(); };
$("stop").onclick = async () => {
  if (!window.confirm("Stop? A miner is set back as it was found. What was measured is kept, and asiclab run --resume goes on.")) return;
  asking = $("stop").dataset.run;
  $("stop").disabled = true;
  try {
    const answer = await fetch(`/api/experiments/${asking}/stop`, { method: "POST", headers: { "X-Asiclab": "stop" } });
    const said = await answer.json();
    if (said.problem) window.alert(said.problem);
    else $("left").textContent += ", stopping";
  } catch (error) {
    window.alert(`The dashboard does not answer: ${error.message}`);
  } finally {
    asking = null; // that it was asked is in the next state
  }
};
fetch("/api/about").then((r) => r.json()).then((a) => { about = a; follow(); });
