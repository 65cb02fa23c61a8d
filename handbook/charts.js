// Charts: what a mark is, where it leads, what the key hides, which runs are chosen. The drawings are read as they are.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const NEAR = 16; // pixels of the drawing within which a mark is meant
const runs = new Map(); // file → { page, columns, rows: [anchor, name, objective, ...values] }
const chosen = new Map(); // file → numbers of the chosen runs
const charts = [];

hpkb.runs = ({ file, ...listed }) => {
  runs.set(file, listed);
  if (chosen.get(file)?.size) choose(file, chosen.get(file));
  current?.chart.show(current.mark);
};
let current = null;

function drawn(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const tip = made("div", { id: "tip", role: "status" });

class Chart {
  constructor(svg) {
    this.svg = svg;
    this.file = svg.dataset.runs ?? "";
    this.labels = JSON.parse(svg.dataset.labels ?? "[]");
    this.names = JSON.parse(svg.dataset.names ?? "[]");
    this.levels = JSON.parse(svg.dataset.levels ?? "[]");
    this.ring = drawn("circle", { class: "ring", r: 7, visibility: "hidden" });
    for (const link of svg.querySelectorAll("a")) link.setAttribute("tabindex", "-1"); // the arrow keys reach them
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "chart; the arrow keys walk along its marks, Enter follows one");
    svg.addEventListener("pointermove", (event) => this.moved(event));
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== svg) hide(); });
    svg.addEventListener("pointerdown", (event) => this.pressed(event));
    svg.addEventListener("click", (event) => this.clicked(event));
    svg.addEventListener("keydown", (event) => this.key(event));
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) this.show(current?.chart === this ? current.mark : this.shown()[0]); });
    svg.addEventListener("blur", hide);
    if (chosen.get(this.file)?.size) this.highlight(chosen.get(this.file));
  }

  // All marks that say something, from left to right: { x, y, box, run, words, href, element }.
  get marks() {
    if (this.found) return this.found;
    this.found = [];
    for (const path of this.svg.querySelectorAll("[data-p]")) {
      const places = path.getAttribute("d").matchAll(/M(-?[\d.]+) (-?[\d.]+)/g);
      const said = path.dataset.p.split(";");
      let run = 0;
      for (const [, x, y] of places) {
        const [on, ...values] = said.shift().split(" ");
        run += +on;
        this.found.push({ x: +x, y: +y, run, values, element: path });
      }
    }
    for (const element of this.svg.querySelectorAll("a, .tip")) {
      const title = element.querySelector("title");
      element.words = title.textContent;
      title.remove(); // or the browser shows its own beside ours; the label below says the same
      element.setAttribute("aria-label", element.words);
      const box = element.getBBox();
      this.found.push({ x: box.x + box.width / 2, y: box.y + box.height / 2, box, run: -1, element, href: element.href?.baseVal });
    }
    return this.found.sort((one, other) => one.x - other.x || one.y - other.y);
  }

  shown() { return this.marks.filter((mark) => !mark.element.closest(".off")); }

  // The mark below a place, or close to it.
  at(x, y, reach) {
    let best = null, least = reach;
    for (const mark of this.shown()) {
      const { box } = mark;
      const across = box ? Math.max(box.x - x, 0, x - box.x - box.width) : mark.x - x;
      const up = box ? Math.max(box.y - y, 0, y - box.y - box.height) : mark.y - y;
      const distance = Math.hypot(across, up) + (box ? 2 : 0); // a run before what lies behind it
      if (distance < least) [best, least] = [mark, distance];
    }
    return best;
  }

  place(event) {
    const box = this.svg.getBoundingClientRect();
    const scale = this.svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.x) * scale, (event.clientY - box.y) * scale];
  }

  words(mark) {
    if (mark.run < 0 && !mark.values) return mark.element.words;
    const known = runs.get(this.file)?.rows[mark.run];
    const lines = this.labels.flatMap((label, i) => {
      const value = mark.values[i] || (i === this.labels.length - 1 ? known?.[2] : known?.[3 + runs.get(this.file).columns.indexOf(this.names[i])]);
      if (value === "x") return "infeasible";
      return value ? `${label} ${value.startsWith("#") ? this.levels[+value.slice(1)] : value}` : []; // not known yet
    });
    const same = this.shown().filter((other) => other !== mark && !other.box && Math.hypot(other.x - mark.x, other.y - mark.y) < 2.5).length;
    return [known?.[1] ?? "run", ...lines, ...(same ? [`and ${same} more at this place`] : [])].join("\n");
  }

  href(mark) {
    if (mark.run < 0) return mark.href;
    const known = runs.get(this.file);
    return known && new URL(`${known.page}#${known.rows[mark.run][0]}`, base).href;
  }

  show(mark) {
    if (!mark) return hide();
    if (current && current.chart !== this) hide();
    current = { chart: this, mark };
    if (this.file) load(this.file);
    tip.textContent = this.words(mark);
    const box = this.svg.getBoundingClientRect();
    const scale = box.width / this.svg.viewBox.baseVal.width;
    const [x, y] = [box.x + mark.x * scale, box.y + mark.y * scale];
    const gap = 12;
    const left = Math.min(Math.max(x - tip.offsetWidth / 2, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = y - tip.offsetHeight - gap;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above < 60 ? y + gap : above) + scrollY}px`;
    this.svg.classList.toggle("aimed", Boolean(this.href(mark)));
    for (const chart of charts) chart.mark(chart === this ? mark : mark.run >= 0 && chart.file === this.file ? chart.of(mark.run) : null);
  }

  of(run) {
    this.byRun ??= new Map(this.marks.filter((mark) => mark.run >= 0).map((mark) => [mark.run, mark]));
    return this.byRun.get(run);
  }

  mark(mark) {
    if (!mark) { this.ring.setAttribute("visibility", "hidden"); return; }
    if (!this.ring.parentNode) this.svg.append(this.ring);
    for (const [name, value] of [["cx", mark.x], ["cy", mark.y], ["visibility", "visible"]]) this.ring.setAttribute(name, value);
  }

  moved(event) {
    if (this.start || event.pointerType !== "mouse") return;
    const mark = this.at(...this.place(event), NEAR);
    if (mark !== current?.mark) this.show(mark);
  }

  // A click follows what is shown. On a touch screen the first tap shows, the second follows.
  clicked(event) {
    const [x, y] = this.place(event);
    const touch = event.pointerType === "touch";
    const mark = !touch && current?.chart === this ? current.mark : this.at(x, y, touch ? 2 * NEAR : NEAR);
    event.preventDefault();
    if (this.dragged) return void (this.dragged = false);
    if (touch && mark !== current?.mark) return this.show(mark);
    if (mark) this.follow(mark);
  }

  follow(mark) {
    const href = this.href(mark);
    if (href) location.href = href;
  }

  key(event) {
    const shown = this.shown();
    const here = shown.indexOf(current?.mark);
    const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to !== undefined) this.show(shown[Math.min(Math.max(to, 0), shown.length - 1)]);
    else if (event.key === "Enter" && current) this.follow(current.mark);
    else if (event.key === " " && current?.mark.run >= 0) this.toggle(current.mark.run);
    else if (event.key === "Escape") { hide(); choose(this.file, new Set()); }
    else return;
    event.preventDefault();
  }

  toggle(run) {
    const wanted = new Set(chosen.get(this.file));
    if (!wanted.delete(run)) wanted.add(run);
    choose(this.file, wanted);
  }

  // A rectangle drawn with the mouse chooses the runs in it, in every chart of their task and in its table.
  pressed(event) {
    if (event.pointerType !== "mouse" || event.button || !this.file) return;
    this.start = this.place(event);
    this.dragged = false;
    const brush = drawn("rect", { class: "brush" });
    const corners = (at) => [0, 1].map((i) => [Math.min(this.start[i], at[i]), Math.abs(this.start[i] - at[i])]);
    const move = (moved) => {
      const [[x, width], [y, height]] = corners(this.place(moved));
      if (!this.dragged && Math.max(width, height) < 6) return;
      this.dragged = true;
      hide();
      for (const [name, value] of Object.entries({ x, y, width, height })) brush.setAttribute(name, value);
      if (!brush.parentNode) this.svg.append(brush);
    };
    const end = (ended) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      brush.remove();
      if (this.dragged) {
        const [[x, width], [y, height]] = corners(this.place(ended));
        const inside = this.shown().filter((mark) => mark.run >= 0 && mark.x >= x && mark.x <= x + width && mark.y >= y && mark.y <= y + height);
        choose(this.file, new Set(inside.map((mark) => mark.run)));
        if (!this.svg.contains(ended.target)) this.dragged = false; // no click follows
      }
      this.start = null;
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    event.preventDefault(); // no text is selected, no link dragged
    this.svg.focus({ preventScroll: true });
  }

  highlight(wanted) {
    this.over?.remove();
    this.svg.classList.toggle("brushed", wanted.size > 0);
    const at = this.marks.filter((mark) => wanted.has(mark.run)).map((mark) => `M${mark.x} ${mark.y}z`);
    if (at.length) this.svg.append((this.over = drawn("path", { class: "chosen", d: at.join("") })));
  }
}

function hide() {
  tip.replaceChildren();
  current?.chart.svg.classList.remove("aimed");
  current = null;
  for (const chart of charts) chart.mark(null);
}

// The chosen runs: marked in the charts of their task, marked and first in its table where that is on the page.
const bar = made("div", { id: "chosen", role: "status", hidden: "" });
function choose(file, wanted) {
  chosen.set(file, wanted);
  if (file) load(file);
  for (const chart of charts) if (chart.file === file) chart.highlight(wanted);
  const anchors = new Set([...wanted].map((run) => runs.get(file)?.rows[run][0]));
  const rows = [...document.querySelectorAll(".runs-table tbody tr")];
  for (const row of rows) row.classList.toggle("chosen", anchors.has(row.id));
  const buttons = [];
  const first = rows.find((row) => row.classList.contains("chosen"));
  if (first) {
    const go = made("button", { type: "button", class: "quiet" }, "Show in the table");
    go.addEventListener("click", () => { first.parentNode.prepend(...rows.filter((row) => row.classList.contains("chosen"))); first.scrollIntoView({ block: "center" }); });
    buttons.push(go);
  }
  const clear = made("button", { type: "button", class: "quiet" }, "Clear");
  clear.addEventListener("click", () => choose(file, new Set()));
  bar.replaceChildren(`${wanted.size} run${wanted.size === 1 ? "" : "s"} chosen`, ...buttons, clear);
  bar.hidden = !wanted.size;
}

// The key below a chart shows and hides what it names.
function filters(key) {
  const svg = key.parentNode.querySelector(".chart");
  for (const entry of key.children) {
    const marks = svg?.getElementsByClassName(`k-${entry.querySelector("use").getAttribute("href").slice(3)}`); // #i-NAME
    if (!marks?.length || key.children.length < 2) continue;
    const button = made("button", { type: "button", "aria-pressed": "true", title: "Show or hide" }, ...entry.childNodes);
    entry.append(button);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", on);
      for (const mark of marks) mark.classList.toggle("off", !on);
      hide();
    });
  }
}

// A page may have hundreds of charts: each comes to life when it comes into view.
document.addEventListener("DOMContentLoaded", () => {
  document.body.append(tip, bar);
  const awake = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      awake.unobserve(target);
      charts.push(new Chart(target));
      const key = target.parentNode.parentNode.querySelector(".key");
      if (key) filters(key);
    }
  }, { rootMargin: "600px" });
  for (const svg of document.querySelectorAll(".chart")) awake.observe(svg);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".chart")) hide(); });
});
