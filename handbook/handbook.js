// Enhancements only: every page can be read without this file.
"use strict";

// The theme: the reader's own choice is kept, where the browser lets a page keep anything.
const root = document.documentElement;
const keep = (value) => { try { localStorage.setItem("hpkb-theme", value); } catch { /* private mode */ } };
const kept = () => { try { return localStorage.getItem("hpkb-theme"); } catch { return null; } };
if (["light", "dark"].includes(kept())) root.dataset.theme = kept();
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function themeButton() {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`); };
  button.hidden = false;
  name();
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; keep(root.dataset.theme); name(); });
}

// Tooltips: what a mark's <title> says, at once and also for the keyboard.
function tooltips() {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  const marked = (target) => (target instanceof Element && target.closest(".chart") ? target.closest("a, circle, path, rect, line") : null);
  function show(event) {
    const mark = marked(event.target);
    const title = mark?.querySelector("title");
    if (!title) return;
    const box = mark.getBoundingClientRect();
    tip.textContent = title.textContent;
    tip.hidden = false;
    title.dataset.text = title.textContent;
    title.textContent = ""; // or the browser shows its own beside ours
    const left = Math.min(Math.max(box.x + box.width / 2 - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8);
    const above = box.y - tip.offsetHeight - 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above < 0 ? box.bottom + 8 : above) + scrollY}px`;
  }
  function hide(event) {
    const title = marked(event.target)?.querySelector("title");
    if (title?.dataset.text) title.textContent = title.dataset.text;
    tip.hidden = true;
  }
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, show);
  for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, hide);
}

// The points of a chart are one stop of the Tab key; the arrow keys walk along them from left to right.
function walk() {
  for (const chart of document.querySelectorAll(".chart")) {
    const links = [...chart.querySelectorAll("a")];
    if (!links.length) continue;
    const at = new Map(links.map((link) => [link, link.getBoundingClientRect().x]));
    links.sort((one, other) => at.get(one) - at.get(other));
    links[0].setAttribute("tabindex", "0");
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const here = links.indexOf(document.activeElement);
      if (!step || here < 0) return;
      event.preventDefault();
      links[Math.min(Math.max(here + step, 0), links.length - 1)].focus();
    });
  }
}

// Tables: a click on a column's head sorts by it; numbers by `data-value`, what is missing last.
function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const read = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.querySelector("data")?.value ?? cell.textContent.trim();
    return text === "" || isNaN(text) ? text.toLowerCase() : Number(text);
  };
  const compare = (one, other) => {
    if (one === "" || other === "") return (one === "") - (other === "") || 0;
    return typeof one === typeof other ? (one > other) - (one < other) : typeof one === "number" ? -1 : 1;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    if (head.querySelector("a")) button.setAttribute("aria-label", `Sort by ${head.textContent}`);
    else button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") ?? "none"];
      for (const cell of head.parentNode.cells) cell.removeAttribute("aria-sort");
      if (order !== "none") head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const keyed = original.map((row) => [read(row, column), row]);
      if (order !== "none") keyed.sort(([a], [b]) => (a === "" || b === "" ? compare(a, b) : sign * compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

document.addEventListener("DOMContentLoaded", () => {
  themeButton();
  tooltips();
  walk();
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
});
