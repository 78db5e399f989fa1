"use strict";
const form = document.getElementById("filter");
const search = document.getElementById("search");
const who = document.getElementById("who");
const boxes = [...form.querySelectorAll("input[type=checkbox]")];
const rows = [...document.querySelectorAll("#list tbody tr")];
const words = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
const shown = document.getElementById("shown");
const told = document.getElementById("told");
const arenas = [...document.querySelectorAll(".moments svg")];

function filter() {
  const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const names = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let count = 0;
  rows.forEach((row, number) => {
    const fits = names.has(row.dataset.name) && (!who.value || row.dataset.who === who.value) &&
      terms.every((term) => words[number].includes(term));
    row.hidden = !fits;
    count += fits;
  });
  shown.textContent = `${count} of ${rows.length} events`;
  document.getElementById("none").hidden = count > 0;
}

function choose(cell) {
  const same = cell && cell.classList.contains("chosen") ? null : cell;
  const pfn = same ? same.dataset.pfn : null;
  let count = 0;
  arenas.forEach((arena) => {
    arena.classList.toggle("choosing", Boolean(same));
    arena.querySelectorAll(".cell").forEach((one) => {
      const chosen = one.dataset.pfn === pfn;
      one.classList.toggle("chosen", chosen);
      one.setAttribute("aria-pressed", chosen);
      count += chosen;
    });
  });
  search.value = pfn || "";
  told.textContent = same
    ? `${same.getAttribute("aria-label")}. The frame is marked ${count} times above; the events below are those that name it.`
    : told.dataset.hint;
  filter();
}

/* One square of each picture can be reached with the Tab key, the others from there with the arrow keys. */
arenas.forEach((arena) => {
  const cells = [...arena.querySelectorAll(".cell")];
  const columns = Number(arena.dataset.columns);
  cells.forEach((cell, number) => {
    cell.setAttribute("role", "button");
    cell.setAttribute("aria-label", cell.querySelector("title").textContent);
    cell.setAttribute("aria-pressed", "false");
    cell.setAttribute("tabindex", number ? "-1" : "0");
    cell.addEventListener("click", () => choose(cell));
    cell.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose(cell);
      } else if (event.key in moves) {
        event.preventDefault();
        const next = cells[number + moves[event.key]];
        if (next) {
          cell.setAttribute("tabindex", "-1");
          next.setAttribute("tabindex", "0");
          next.focus();
        }
      }
    });
  });
});

form.addEventListener("input", filter);
form.addEventListener("change", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => choose(null), 0));
filter();
