// One series at a time: its pictures behind a strength slider, and its numbers moving along.
const facets = ["image", "prompt", "seed", "settings"].map((name) => ({ name, values: [...new Set(data.series.map((one) => one[name]))] }));
let current = 0;
const watchers = [];

function sample() {
  return data.series[current].samples[Number(byId("strength").value)];
}

function choose(place, strength = null) {
  const wanted = strength === null ? sample().strength : strength;
  current = place;
  const { samples } = data.series[place];
  const slider = byId("strength");
  slider.max = samples.length - 1;
  const distances = samples.map((one) => Math.abs(one.strength - wanted));
  slider.value = distances.indexOf(Math.min(...distances));
  drawTicks(samples);
  drawReadings(data.series[place]);
  showSeries(data.series[place]);
  showSample();
}

function showSeries(series) {
  byId("prompt").textContent = series.prompt;
  show("before", series.source, "input: " + series.image, "The input is neither in the run\u2019s folder (as the output at strength 0) nor where it was.");
  for (const facet of facets) if (facet.control) facet.control.value = facet.values.indexOf(series[facet.name]);
}

function showSample() {
  const series = data.series[current], one = sample(), strength = readable(one.strength);
  const start = one.log_snr === null ? "" : `log-SNR ${readable(one.log_snr)}`;
  show("after", one.picture, `${series.image} at strength ${strength}: ${series.prompt}`, "The run\u2019s folder has no such picture any more.");
  byId("after-caption").textContent = "strength " + strength;
  byId("strength-value").textContent = strength + (start && ` \u00b7 ${start}`);
  byId("strength").setAttribute("aria-valuetext", strength);
  moveReadings(one);
  if (byId("parameters").open) drawParameters(one);
  watchers.forEach((watch) => watch(current, Number(byId("strength").value)));
}

function show(id, picture, alt, otherwise) {
  const image = byId(id), gone = byId(id + "-gone");
  image.hidden = picture === null;
  gone.hidden = picture !== null;
  gone.textContent = otherwise;
  image.alt = alt;
  if (picture === null) image.removeAttribute("src");
  else image.src = data.pictures[picture];
}

// Labels under a slider: all of them where there is room, else every second, third ...
function drawTicks(samples) {
  const every = Math.ceil(samples.length / 9);
  byId("ticks").replaceChildren(...samples.map((one, place) => el("span", {}, place % every ? "" : readable(one.strength))));
}

const SPARK = { width: 120, height: 26, pad: 4 };
let dots = [];

function drawReadings(series) {
  dots = [];
  byId("readings").replaceChildren(...data.metrics.map(({ label }, metric) => {
    const { picture, at } = spark(series, metric);
    const dot = svg("circle", { class: "dot", r: 3.4 });
    const value = el("b", {});
    picture.append(dot);
    dots.push({ dot, value, at });
    return el("li", {}, el("span", {}, label), picture, value);
  }));
}

// The series' own curve over the mean of its settings.
function spark(series, metric) {
  const mean = (data.curves.find((curve) => curve.metric === metric && curve.settings === series.settings) || { points: [] }).points;
  const own = series.samples.map((one) => [one.strength, one.values[metric]]);
  const means = mean.map((point) => [point.strength, point.mean]);
  const finite = (pairs) => pairs.filter(([, value]) => isNumber(value));
  const values = [...own, ...means].map(([, value]) => value).filter(isNumber);
  const strengths = own.map(([strength]) => strength);
  const x = linear(Math.min(...strengths), Math.max(...strengths), SPARK.pad, SPARK.width - SPARK.pad);
  const y = linear(Math.min(...values), Math.max(...values), SPARK.height - SPARK.pad, SPARK.pad);
  const at = ([strength, value]) => [x(strength), y(value)];
  const picture = svg("svg", { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, "aria-hidden": "true" });
  picture.append(svg("path", { class: "mean", d: path(finite(means).map(at)) }));
  picture.append(svg("path", { class: "line", d: path(finite(own).map(at)) }));
  return { picture, at };
}

function moveReadings(one) {
  dots.forEach(({ dot, value, at }, metric) => {
    const reading = one.values[metric];
    value.textContent = precise(reading);
    dot.setAttribute("visibility", isNumber(reading) ? "visible" : "hidden");
    if (!isNumber(reading)) return;
    const [cx, cy] = at([one.strength, reading]);
    dot.setAttribute("cx", cx);
    dot.setAttribute("cy", cy);
  });
}

function drawParameters(one) {
  const all = { ...data.shared, ...one.parameters };
  const rows = Object.entries(all).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, name === "output" ? fileLink(text) : text));
  });
  byId("parameter-rows").replaceChildren(...rows);
  byId("again").textContent = "img2img --from_png=" + quoted(String(all.output));
}

function fileLink(file) {
  return el("a", { href: "./" + file.split("/").map(encodeURIComponent).join("/") }, file);
}

function quoted(text) {
  return /^[\w./-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'";
}

// The series with the value just chosen that has most else in common with the current one.
function nearest(facet, value) {
  const now = data.series[current];
  const alike = (one) => facets.filter(({ name }) => one[name] === now[name]).length;
  const places = data.series.map((_, place) => place).filter((place) => data.series[place][facet.name] === value);
  return places.reduce((best, place) => (alike(data.series[place]) > alike(data.series[best]) ? place : best));
}

function drawChooser() {
  const labels = { image: "Input", prompt: "Prompt", seed: "Seed", settings: "Settings" };
  const prompts = data.series.length && facets[1].values.length > facets[0].values.length;
  for (const facet of facets) {
    if (facet.values.length < 2 || (facet.name === "prompt" && !prompts)) continue;
    facet.control = el("select", {}, ...facet.values.map((value, place) => el("option", { value: place }, String(value))));
    facet.control.addEventListener("change", () => choose(nearest(facet, facet.values[facet.control.value])));
    byId("chooser").append(el("label", {}, labels[facet.name], facet.control));
  }
  if (data.series.length < 2) return;
  const step = (by) => () => choose((current + by + data.series.length) % data.series.length);
  byId("chooser").append(el("span", { class: "steps" },
    el("button", { type: "button", "aria-label": "Previous series", onclick: step(-1) }, "\u2190"),
    el("button", { type: "button", "aria-label": "Next series", onclick: step(1) }, "\u2192")));
}

function startWipe() {
  const stage = byId("stage"), wipe = byId("wipe");
  const move = () => stage.style.setProperty("--at", wipe.value + "%");
  const follow = (event) => {
    if (stage.dataset.view !== "wipe" || (event.type === "pointermove" && !event.buttons)) return;
    const box = byId("after").getBoundingClientRect();
    wipe.value = Math.round(((event.clientX - box.left) / box.width) * 100);
    move();
  };
  stage.addEventListener("pointerdown", (event) => {
    if (stage.dataset.view === "wipe") stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", follow);
  wipe.addEventListener("input", move);
  document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", () => { stage.dataset.view = radio.value; }));
  move();
}

function startViewer() {
  if (!data.series.length) return;
  byId("viewer").hidden = false;
  drawChooser();
  startWipe();
  byId("strength").addEventListener("input", showSample);
  byId("parameters").addEventListener("toggle", () => drawParameters(sample()));
  const { samples } = data.series[0];
  choose(0, samples[samples.length >> 1].strength);
}
