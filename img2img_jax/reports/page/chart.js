// A metric's curves with their bands and reference lines, and a reading that follows the pointer.
const CHART = { width: 340, height: 210, left: 42, right: 10, top: 10, bottom: 26 };

function linear(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function niceTicks(low, high, count) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

// Log-SNR falls from left to right, as strength rises; its infinite ends stand beside the finite ones.
function horizontal(curves, axis) {
  const from = CHART.left, to = CHART.width - CHART.right;
  const values = curves.flatMap((curve) => curve.points.map((point) => point[axis]));
  const finite = values.filter(isNumber);
  const low = Math.min(...finite), high = Math.max(...finite);
  if (axis === "strength") return { at: linear(low, high, from, to), ticks: niceTicks(low, high, 5) };
  const first = values.includes("inf") ? from + 34 : from, last = values.includes("-inf") ? to - 34 : to;
  const inner = linear(high, low, first, last);
  const ends = [["inf", from], ["-inf", to]].filter(([end]) => values.includes(end));
  const at = (value) => (isNumber(value) ? inner(value) : value === null ? null : value === "inf" ? from : to);
  return { at, ticks: [...niceTicks(low, high, 4), ...ends.map(([end]) => end)] };
}

function vertical(curves, lines) {
  const points = curves.flatMap((curve) => curve.points).flatMap((point) => [point.low, point.high, point.mean]);
  const values = [...points, ...lines].filter(isNumber);
  let low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  low -= pad;
  high += pad;
  return { at: linear(low, high, CHART.height - CHART.bottom, CHART.top), ticks: niceTicks(low, high, 6) };
}

function chart(metric, curves, axis, colour) {
  const lines = data.references.map((reference) => reference.means[metric]);
  const x = horizontal(curves, axis), y = vertical(curves, lines);
  const { label, measures, better } = data.metrics[metric];
  const rank = curves.length === 1 && curves[0].rank !== null ? "rank correlation with strength " + curves[0].rank.toFixed(2).replace("-", MINUS) : "";
  const picture = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": described(label, curves) });
  for (const tick of y.ticks) {
    picture.append(svg("line", { class: "grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: y.at(tick), y2: y.at(tick) }));
    picture.append(svg("text", { class: "tick", x: CHART.left - 6, y: y.at(tick) + 3.5, "text-anchor": "end" }, readable(tick, 4)));
  }
  for (const tick of x.ticks) {
    picture.append(svg("text", { class: "tick", x: x.at(tick), y: CHART.height - 8, "text-anchor": "middle" }, readable(tick, 4)));
  }
  lines.forEach((mean, place) => {
    if (!isNumber(mean)) return;
    picture.append(svg("line", { class: "reference r" + (place % 4), x1: CHART.left, x2: CHART.width - CHART.right, y1: y.at(mean), y2: y.at(mean) }));
  });
  for (const curve of curves) draw(picture, curve, x, y, axis, colour(curve.settings));
  const cursor = svg("line", { class: "cursor", y1: CHART.top, y2: CHART.height - CHART.bottom, visibility: "hidden" });
  picture.append(cursor);
  const reading = el("p", { class: "reading" }, rank || "\u00a0");
  follow(picture, cursor, reading, curves, x, axis, rank, colour);
  const arrow = better ? `${measures}; ${better} is nearer` : measures;
  return el("figure", { class: "chart" }, el("figcaption", {}, el("b", {}, label), el("span", {}, arrow)), picture, reading);
}

function draw(picture, curve, x, y, axis, colour) {
  const known = curve.points.filter((point) => point.mean !== null && x.at(point[axis]) !== null);
  const place = (key) => (point) => [x.at(point[axis]), y.at(point[key])];
  const band = [...known.map(place("high")), ...known.map(place("low")).reverse()];
  picture.append(svg("path", { class: "band c" + colour, d: path(band) + "Z" }));
  picture.append(svg("path", { class: "line c" + colour, d: path(known.map(place("mean"))) }));
  for (const point of known) {
    const [cx, cy] = place("mean")(point);
    picture.append(svg("circle", { class: "dot c" + colour, cx, cy, r: 2.6 }));
  }
}

function described(label, curves) {
  const words = curves.map((curve) => {
    const known = curve.points.filter((point) => point.mean !== null);
    if (!known.length) return "no finite values";
    const [first, last] = [known[0], known[known.length - 1]];
    const ends = `${readable(first.mean)} at strength ${readable(first.strength)}, ${readable(last.mean)} at ${readable(last.strength)}`;
    return (curve.settings ? curve.settings + ": " : "") + ends;
  });
  return `${label} against strength: ${words.join("; ")}`;
}

function follow(picture, cursor, reading, curves, x, axis, rest, colour) {
  const places = curves[0].points.map((point, place) => [x.at(point[axis]), place]).filter(([at]) => at !== null);
  const show = (event) => {
    const box = picture.getBoundingClientRect();
    const pointer = ((event.clientX - box.left) / box.width) * CHART.width;
    const [at, place] = places.reduce((best, next) => (Math.abs(next[0] - pointer) < Math.abs(best[0] - pointer) ? next : best));
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.setAttribute("visibility", "visible");
    const strength = curves[0].points[place].strength;
    reading.replaceChildren(`at strength ${readable(strength)} `, ...curves.flatMap((curve) => {
      const point = curve.points.find((other) => other.strength === strength);
      if (!point) return [];
      const swatch = curves.length > 1 ? [el("i", { class: "swatch c" + colour(curve.settings) })] : [];
      return [...swatch, el("b", {}, precise(point.mean)), ` (${precise(point.low)} to ${precise(point.high)}) `];
    }));
  };
  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerdown", show);
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    reading.textContent = rest || "\u00a0";
  });
}
