// Brings the page up to date, draws charts, and listens to keys. Without it the page is complete, and
// as old as when it was loaded.
"use strict";

const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const OLD = 5000; // milliseconds after which a number is shown as old
const EVERY = 4000; // between two looks at the panels

/* Numbers, as number.rs writes them. */
const count = (n) => Math.round(n).toLocaleString("en-US");
const unit = (n, units) => {
  const [size, name] = units.find(([size]) => n >= size) ?? units.at(-1);
  const value = n / size;
  return `${value < 9.95 && size !== 1 && size !== 1e-9 ? value.toFixed(1) : Math.round(value)} ${name}`;
};
const write = {
  count,
  rate: (n) => (Math.abs(n) < 0.05 ? "0" : n < 9.95 ? n.toFixed(1) : count(n)),
  percent: (n) => {
    const share = n * 100;
    if (share <= 0) return "0 %";
    if (share < 0.1) return "< 0.1 %";
    if (share < 9.95) return `${share.toFixed(1)} %`;
    return share < 100 ? `${Math.min(99, Math.round(share))} %` : "100 %";
  },
  bytes: (n) => unit(n, [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]]),
  seconds: (n) => (n <= 0 ? "0 s" : n >= 1 && n < 9.95 ? `${n.toFixed(1)} s` : unit(n, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]])),
};
const clock = (time) => new Date(time).toISOString().slice(11, 19);

/* The theme, which CSS takes from the switch. */
const chosen = localStorage.getItem("theme");
const themes = all("input[name=theme]");
for (const theme of themes) {
  theme.checked = theme.value === (chosen ?? "system");
  theme.addEventListener("change", () => {
    localStorage.setItem("theme", theme.value);
    if (one("#charts").open) chart(true);
  });
}

/* Changes of state are said; ticking numbers are not. */
const say = (text) => { one("#news").textContent = text; };

/* What only works with a script is hidden without one. */
function reveal() {
  for (const hidden of all("button[data-copy][hidden], #show-keys[hidden], #live[hidden]")) hidden.hidden = false;
}

/* Makes one tree like another, and leaves alone what is alike: focus, selection and what is unfolded. */
const OWN = new Set(["open", "hidden", "class", "tabindex"]);
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || from.id !== to.id) {
    from.replaceWith(to.cloneNode(true));
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.dataset.drawn || lines.has(from)) return; // drawn once, or by this script
  for (const { name, value } of to.attributes) if (name !== "open" && name !== "hidden" && from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) if (!OWN.has(name) && !to.hasAttribute(name)) from.removeAttribute(name);
  const [before, after] = [[...from.childNodes], [...to.childNodes]];
  after.forEach((child, at) => (before[at] ? morph(before[at], child) : from.append(child.cloneNode(true))));
  before.slice(after.length).forEach((child) => child.remove());
}

/* The panels that change by themselves, from a new page. */
let seen = Date.now(), asking = false;
async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const query = new URLSearchParams(location.search);
    query.set("brief", "");
    const answer = await fetch(`/?${query}`, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!one("#bar", page)) return answer.ok && location.reload();
    const word = one("#word").textContent.trim();
    for (const panel of all("#bar, .panel[id]", page)) morph(one(`#${panel.id}`), panel);
    for (const panel of all(".panel[id]:not([data-own])")) panel.dataset.seen = Date.now();
    const now = one("#word").textContent.trim();
    if (word !== now) say(`Now: ${now}. ${one(".why").textContent}`);
    document.title = page.title;
    seen = Date.now();
    reveal();
    tick();
  } catch {
    // The tick says how old everything is.
  } finally {
    asking = false;
  }
}

/* Ages: a number that is old looks so. */
let isLost = false;
function tick() {
  const now = Date.now();
  const lost = now - seen > OLD;
  const note = one("#lost");
  Object.assign(note, { hidden: !lost, className: "age" });
  if (lost) note.textContent = `no news since ${clock(seen)} UTC`;
  if (lost) Object.assign(one("#word"), { className: "word", textContent: "? no news" });
  if (lost !== isLost) say(lost ? "No news from the tracker." : "There is news again.");
  isLost = lost;
  const age = now - Number(one("#now").dataset.seen);
  one("#totals").classList.toggle("old", age > OLD); // the stream brings them, as all of Now
  one("#totals-age").textContent = age > OLD ? `, ${Math.round(age / 1000)} s old` : "";
  for (const wide of all(".scroll, .said-text")) {
    const spills = wide.scrollWidth > wide.clientWidth || wide.scrollHeight > wide.clientHeight + 1;
    if (spills) wide.tabIndex = 0; // for those who scroll by keys
  }
  for (const place of all("[data-left]")) {
    const left = Math.max(0, Number(place.dataset.left) - Math.round((now - Number(place.closest(".panel").dataset.seen)) / 1000));
    place.textContent = left < 60 ? `${left} s` : `${Math.floor(left / 60)} min ${left % 60} s`;
  }
  for (const panel of all(".panel[id]:not([data-own])")) {
    const age = now - Number(panel.dataset.seen);
    panel.classList.toggle("old", age > OLD);
    const head = one(".head > .soft", panel);
    head.dataset.says ??= head.textContent;
    head.textContent = age > OLD ? `${Math.round(age / 1000)} s old` : head.dataset.says;
  }
}
for (const panel of all(".panel[id]")) panel.dataset.seen = seen;

/* Keys. */
const isTyping = (target) => target.closest("input:not([type=radio]), textarea, select, [contenteditable]");
let isGoing = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const place = isGoing && one(`[data-key="${CSS.escape(event.key)}"]`);
  isGoing = event.key === "g" && !isGoing;
  if (place) go(place.dataset.go);
  else if (event.key === "/") one("#hash").focus();
  else if (event.key === "?") one("#keys").showModal();
  else return;
  event.preventDefault();
});
function go(panel) {
  one("#keys").close();
  location.hash = panel;
  one(`#${panel} h2`).focus();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.id === "show-keys") one("#keys").showModal();
  if (button?.id === "live-switch" && !window.goLive) await load(document.body.dataset.liveScript, "script", "src");
  if (button?.id === "live-switch") window.goLive(button);
  if (!button?.dataset.copy) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    say("Copied.");
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(one("code, .code", button.parentElement));
  }
});

/* Numbers of the stream, made of series by patterns, as live.rs makes them. */
const matcher = (pattern) => {
  const escaped = pattern.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll("\\*", "[^.]*");
  return new RegExp(`^(?:${escaped.split(" ").join("|")})$`);
};
const matchers = new Map();
function sum(values, pattern) {
  if (!matchers.has(pattern)) matchers.set(pattern, matcher(pattern));
  const fits = matchers.get(pattern);
  const found = Object.entries(values).filter(([name, value]) => value !== null && fits.test(name));
  return found.length ? found.reduce((total, [, value]) => total + value, 0) : null;
}
function figure(values, of, per) {
  const value = sum(values, of);
  if (!per || value === null) return value;
  const whole = sum(values, per);
  return whole > 0 ? value / whole : null;
}

const STEP = 5; // seconds that one point of a line stands for
const lines = new WeakMap();
function draw(svg, value) {
  const { width, height } = svg.viewBox.baseVal;
  const read = (text) => (text === "-" ? null : Number(text));
  const line = lines.get(svg) ?? { values: svg.dataset.values.split(" ").filter(Boolean).map(read), part: [] };
  lines.set(svg, line);
  line.part.push(value);
  const known = line.part.filter((one) => one !== null);
  const mean = known.length ? known.reduce((total, one) => total + one, 0) / known.length : null;
  if (line.part.length === 1) line.values.push(mean);
  else line.values[line.values.length - 1] = mean;
  if (line.part.length === STEP) line.part = [];
  line.values.splice(0, line.values.length - 120);
  const highest = Math.max(...line.values) || 1;
  const step = width / Math.max(1, line.values.length - 1);
  const place = (one, at) => `${Math.round(at * step)},${(height - 1 - (one / highest) * (height - 2)).toFixed(1)}`;
  const places = line.values.map((one, at) => (one === null ? "gap" : place(one, at)));
  const runs = places.join(" ").split("gap").map((run) => run.trim()).filter(Boolean).map((run) => run.split(" "));
  const x = (point) => point.split(",")[0];
  one(".line", svg).setAttribute("d", runs.map((run) => `M${run[0]} L${run.join(" ")}`).join(" "));
  one(".area", svg).setAttribute("d", runs.map((run) => `M${x(run[0])},${height} L${run.join(" ")} ${x(run.at(-1))},${height}Z`).join(" "));
}

function sample({ values }) {
  for (const place of all("[data-of]")) {
    const value = figure(values, place.dataset.of, place.dataset.per);
    const shown = one("[data-value]", place) ?? place;
    const text = value === null ? "–" : write[place.dataset.as](value);
    if (shown.textContent !== text) shown.textContent = text;
    const svg = one("svg.spark", place);
    if (svg) draw(svg, value);
  }
  seen = Date.now();
  one("#now").dataset.seen = seen;
  tick();
}

/* The stream: closed while nobody looks, and opened again if the tracker ended it. */
let stream;
function listen() {
  if (document.hidden) {
    stream?.close();
    stream = undefined;
    return;
  }
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  stream = new EventSource("/api/events");
  stream.addEventListener("sample", (event) => sample(JSON.parse(event.data)));
  stream.addEventListener("change", (event) => {
    const change = JSON.parse(event.data);
    if (change.kind !== "health") say(change.text);
    refresh();
  });
}

/* Charts of six hours. uPlot is loaded when the first one is opened. */
const load = (name, kind, place) => new Promise((done, failed) => {
  const element = Object.assign(document.createElement(kind), { [place]: name, onload: done, onerror: failed });
  if (kind === "link") element.rel = "stylesheet";
  document.head.append(element);
});
const colour = (name) => getComputedStyle(one(`.ink-${name}`)).color;
const plots = new Map();
let history;
async function chart(isNew) {
  const { chartScript, chartStyle } = document.body.dataset;
  await (window.uPlot ?? Promise.all([load(chartStyle, "link", "href"), load(chartScript, "script", "src")]));
  history = await (await fetch("/api/series?span=6h")).json();
  const marks = (plot) => {
    plot.ctx.strokeStyle = colour("soft");
    for (const mark of history.marks.filter(({ kind }) => kind === "reload" || kind === "list")) {
      const x = Math.round(plot.valToPos(mark.time, "x", true));
      plot.ctx.setLineDash([4, 4]);
      plot.ctx.strokeRect(x, plot.bbox.top, 0, plot.bbox.height);
      plot.ctx.setLineDash([]);
    }
  };
  for (const canvas of all("[data-chart]")) {
    const series = canvas.dataset.chart.split(";").map((line) => line.split("="));
    const data = series.map(([, pattern]) => {
      const fits = matcher(pattern);
      const columns = Object.entries(history.series).filter(([name]) => fits.test(name)).map(([, values]) => values);
      const add = (at) => columns.reduce((total, column) => (column[at] === null ? total : (total ?? 0) + column[at]), null);
      return history.times.map((_, at) => add(at));
    });
    const known = plots.get(canvas);
    if (known && !isNew) {
      const isZoomed = known.scales.x.min > known.data[0][0] || known.scales.x.max < known.data[0].at(-1);
      known.setData([history.times, ...data], !isZoomed);
      continue;
    }
    const [text, line] = [colour("soft"), colour("line")];
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const inks = ["ok", "bad", "drop", "look"];
    const options = {
      width: canvas.clientWidth,
      height: 200,
      cursor: { sync: { key: "six hours" } },
      axes: [{ ...axis, values: (_, ticks, __, ___, step) => ticks.map((time) => clock(time * 1000).slice(0, step < 60 ? 8 : 5)) }, { ...axis, size: 70, values: (_, ticks) => ticks.map(write[canvas.dataset.as]) }],
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.05 : 1] } },
      series: [{ value: (_, time) => (time === null ? "–" : clock(time * 1000)) }].concat(series.map(([label], at) => ({
        label,
        stroke: colour(inks[at]),
        value: (_, value) => (value === null ? "–" : write[canvas.dataset.as](value)),
      }))),
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"),
      hooks: { draw: [marks] },
    };
    canvas.replaceChildren();
    plots.set(canvas, new uPlot(options, [history.times, ...data], canvas));
  }
}
document.addEventListener("toggle", tick, true);
one("#charts").addEventListener("toggle", (event) => event.target.open && chart(true));

reveal();
listen();
setInterval(tick, 1000);
setInterval(refresh, EVERY);
setInterval(() => one("#trial") && refresh(), 1000); // its guards' numbers
setInterval(listen, EVERY);
setInterval(() => one("#charts").open && !document.hidden && chart(false).catch(() => {}), 10 * EVERY);
document.addEventListener("visibilitychange", () => { listen(); refresh(); });
