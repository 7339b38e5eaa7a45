"use strict";
const { cases, numeric, sprites, width, height } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const body = document.querySelector("#cases tbody");
const step = 60;
const decimals = Object.fromEntries(numeric.map((name) => [name, Math.max(...cases.map((one) => places(one[name])))]));
let rows = cases;
let made = 0;

function places(value) {
  return value === null ? 0 : Math.min(4, (String(value).split(".")[1] || "").length);
}

function written(value, name) {
  if (value === null) return "\u2013";
  const text = value.toFixed(decimals[name]); // one number of decimals in a column, unless it would lose some
  return Number(text) === value ? text : String(value);
}

function cell(row, text, name) {
  const element = row.appendChild(document.createElement("td"));
  element.textContent = text;
  element.className = name;
  return element;
}

function thumbnail(one) {
  const element = document.createElement(one.picture ? "a" : "span");
  element.className = "thumbnail";
  if (one.picture) {
    element.href = one.picture;
    element.setAttribute("aria-label", one.link + " of " + one.case);
  }
  if (one.at) {
    element.style.width = width + "px";
    element.style.height = height + "px";
    element.style.backgroundImage = 'url("' + sprites + "/" + one.sprite + '")';
    element.style.backgroundPosition = -one.at[0] + "px " + -one.at[1] + "px";
  }
  if (one.picture && !one.at) element.textContent = one.link;
  return element;
}

function more() {
  const part = document.createDocumentFragment();
  for (const one of rows.slice(made, made + step)) {
    const row = part.appendChild(document.createElement("tr"));
    row.className = "is-" + one.verdict;
    row.appendChild(document.createElement("td")).appendChild(thumbnail(one));
    cell(row, one.case, "name");
    cell(row, one.verdict, "verdict");
    for (const name of numeric) cell(row, written(one[name], name), "number");
    cell(row, one.reasons, "reasons");
  }
  body.appendChild(part);
  made = Math.min(made + step, rows.length);
  byId("end").hidden = made === rows.length;
}

function show() {
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = byId("verdict").value;
  rows = cases.filter((one) => {
    const text = (one.case + " " + one.reasons).toLowerCase();
    return (!verdict || one.verdict === verdict) && words.every((word) => text.includes(word));
  });
  const sorted = document.querySelector('th[aria-sort$="ending"] button');
  if (sorted) {
    const name = sorted.dataset.column;
    const sign = sorted.parentElement.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const last = (value) => value === null || value === "";
    rows.sort((a, b) => {
      const [x, y] = [a[name], b[name]];
      if (last(x) || last(y)) return last(x) - last(y);
      return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
    });
  }
  byId("count").textContent = rows.length + " of " + cases.length + " cases";
  body.textContent = "";
  made = 0;
  more();
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const next = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of document.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", next);
    show();
  });
}
byId("words").addEventListener("input", show);
byId("verdict").addEventListener("change", show);
byId("filter").addEventListener("submit", (event) => event.preventDefault());
new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && more()).observe(byId("end"));
show();
document.documentElement.dataset.readyMs = Math.round(performance.now());
