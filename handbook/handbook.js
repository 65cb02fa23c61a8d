// Enhancements only: every page can be read without this file. Whatever is shown comes in as text, never as markup.
"use strict";

// Data come as script files, since a page from the file system may not fetch: they call what is named here.
const base = new URL(".", document.currentScript.src);
const hpkb = {};
const asked = new Set();
function load(name) {
  if (asked.has(name)) return;
  asked.add(name);
  const script = document.createElement("script");
  script.src = new URL(name, base);
  document.head.append(script);
}
function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

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

// Search: the index comes when it is first wanted; "/" leads to it, arrows walk along what is found.
function search() {
  const box = document.getElementById("search");
  const input = box.querySelector("input");
  const list = box.querySelector("ul");
  const status = box.querySelector("[role=status]");
  const SHOWN = 12;
  let entries;
  box.hidden = false;
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").replaceAll("_", " ").toLowerCase();

  hpkb.index = ({ pages, findings, verdicts }) => {
    entries = pages.map(([kind, title, href, also]) => ({ title, href, about: kind, rank: 0, hay: folded(`${title} ${also}`) }));
    for (const [claim, page, anchor, verdict] of findings) {
      const [, question, href] = pages[page];
      entries.push({ title: claim, href: `${href}#${anchor}`, about: `${verdicts[verdict]} · ${question}`, rank: 4, hay: folded(claim) });
    }
    find();
  };

  function find() {
    const wanted = folded(input.value).trim();
    if (!entries || !wanted) return show([], 0);
    const words = wanted.split(/\s+/);
    const score = (entry) => {
      let sum = entry.rank - 2 * entry.hay.startsWith(wanted) - entry.hay.includes(wanted);
      for (const word of words) {
        const at = entry.hay.indexOf(word);
        if (at < 0) return Infinity;
        sum += at > 0 && entry.hay[at - 1] !== " ";
      }
      return sum;
    };
    const scored = entries.map((entry) => [score(entry), entry]).filter(([s]) => s < Infinity);
    scored.sort(([one], [other]) => one - other);
    show(scored.slice(0, SHOWN).map(([, entry]) => entry), scored.length);
  }

  function show(found, total) {
    list.replaceChildren(...found.map(({ title, href, about }) => made("li", {}, made("a", { href: new URL(href, base) }, made("bdi", {}, title), made("small", {}, about)))));
    list.hidden = !found.length;
    const said = !input.value.trim() || !entries ? "" : !total ? "Nothing found" : `${total} found${total > SHOWN ? `, the first ${SHOWN} shown` : ""}`;
    status.textContent = said;
    status.classList.toggle("shown", said.startsWith("Nothing"));
  }

  const close = () => { list.hidden = true; status.classList.remove("shown"); };
  input.addEventListener("focus", () => { load("search.js"); find(); });
  input.addEventListener("input", find);
  box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) close(); });
  box.addEventListener("keydown", (event) => {
    const stops = [input, ...list.querySelectorAll("a")];
    const here = stops.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { input.focus(); close(); }
    else if (event.key === "Enter" && here === 0 && stops.length > 1) stops[1].click();
    else if (step) stops[Math.min(Math.max(here + step, 0), stops.length - 1)].focus();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  themeButton();
  search();
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
});
