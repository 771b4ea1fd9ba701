"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Texts of a run reach the page as text only, never as markup.
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const MINUS = "\u2212";

// Infinities come as the text that the rows keep.
function readable(value, digits = 3) {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "string") return value.startsWith("-") ? MINUS + "\u221e" : "\u221e";
  const text = value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, MINUS);
}

// With all its digits, so that numbers in a column keep their places.
function precise(value, digits = 3) {
  if (!isNumber(value) || value === 0 || Math.abs(value) < 0.001 || Math.abs(value) >= 1000) return readable(value, digits);
  return value.toPrecision(digits).replace(/-/g, MINUS);
}

const isNumber = (value) => typeof value === "number";

function path(points) {
  return points.map(([x, y], place) => (place ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");
}
