// All embedded pictures: a row a series, a column a strength.
function drawSheet() {
  if (!data.series.length) return;
  byId("sheet").hidden = false;
  const strengths = [...new Set(data.series.flatMap((one) => one.samples.map(({ strength }) => strength)))].sort((a, b) => a - b);
  const cells = new Map();
  const rows = data.series.map((series, place) => {
    const about = [facets[2].values.length > 1 && "seed " + series.seed, series.settings].filter(Boolean).join(" \u00b7 ");
    const caption = el("div", { class: "who" }, el("b", {}, series.image), el("span", {}, about || series.prompt));
    const pictures = strengths.map((strength) => {
      const number = series.samples.findIndex((one) => one.strength === strength);
      if (number < 0) return el("span", {});
      const cell = thumbnail(series, place, series.samples[number]);
      cells.set(place + "/" + number, cell);
      return cell;
    });
    return el("div", { class: "row" }, caption, el("span", { class: "thumb input" }, image(series.source, "input: " + series.image), el("small", {}, "input")), ...pictures);
  });
  byId("rows").style.setProperty("--columns", strengths.length + 1);
  byId("rows").replaceChildren(...rows);
  mark(cells);
}

function image(picture, alt) {
  return picture === null ? el("span", { class: "blank" }) : el("img", { src: data.pictures[picture], alt, decoding: "async" });
}

function thumbnail(series, place, one) {
  const strength = readable(one.strength);
  const show = () => {
    choose(place, one.strength);
    byId("viewer").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    byId("strength").focus({ preventScroll: true });
  };
  const name = `${series.image}, seed ${series.seed}${series.settings && ", " + series.settings}, strength ${strength}`;
  return el("button", { type: "button", class: "thumb", "aria-label": "Show " + name, onclick: show }, image(one.picture, ""), el("small", {}, strength));
}

function mark(cells) {
  let last = null;
  const watch = (place, number) => {
    if (last) last.removeAttribute("aria-current");
    last = cells.get(place + "/" + number) || null;
    if (last) last.setAttribute("aria-current", "true");
  };
  watchers.push(watch);
  watch(current, Number(byId("strength").value));
}
