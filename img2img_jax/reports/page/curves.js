// All charts, their legend and the choice of the axis.
const COLOURS = 6;
const settingsOf = [...new Set(data.curves.map((curve) => curve.settings))];
const hidden = new Set(settingsOf.slice(COLOURS));
const colourOf = (settings) => settingsOf.indexOf(settings) % COLOURS;

function drawCharts() {
  const axis = document.querySelector("input[name=axis]:checked").value;
  const shown = data.curves.filter((curve) => !hidden.has(curve.settings));
  const charts = data.metrics.map((_, metric) => {
    const curves = shown.filter((curve) => curve.metric === metric && curve.points.some((point) => point.mean !== null));
    return curves.length ? chart(metric, curves, axis, colourOf) : null;
  });
  byId("charts").replaceChildren(...charts.filter(Boolean));
}

function drawLegend() {
  const settings = settingsOf.length < 2 ? [] : settingsOf.map((name) => {
    const box = el("input", { type: "checkbox", checked: !hidden.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      drawCharts();
    });
    return el("label", {}, box, el("i", { class: "swatch c" + colourOf(name) }), name);
  });
  const references = data.references.map((reference, place) => el("span", {}, referenceLine(place), reference.label));
  byId("legend").replaceChildren(...settings, ...references);
}

function referenceLine(place) {
  const line = svg("line", { class: "reference r" + (place % 4), x1: 0, x2: 28, y1: 5, y2: 5 });
  return svg("svg", { class: "key", viewBox: "0 0 28 10", "aria-hidden": "true" }, line);
}

function startCurves() {
  const known = data.curves.some((curve) => curve.points.some((point) => isNumber(point.log_snr)));
  byId("axes").hidden = !known;
  byId("axes").addEventListener("change", drawCharts);
  drawLegend();
  drawCharts();
  byId("curves").hidden = !data.curves.length;
}
