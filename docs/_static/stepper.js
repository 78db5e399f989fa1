/* Turn each table of the class `stepper` into a stepper. Without JavaScript, the complete table is shown. */
"use strict";

(() => {
  const button = (label, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", action);
    return made;
  };

  /* What a screen reader says of a row: the heads of the cells that have text, and the text. */
  const spoken = (heads, row) => [...row.cells]
    .map((cell, column) => [heads[column], cell.textContent.trim()])
    .filter(([, text]) => text)
    .map(([head, text]) => `${head}: ${text}`)
    .join(". ");

  const build = (table) => {
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    let step = 0;
    let all = false;

    const frame = document.createElement("div");
    frame.className = "stepper-frame";
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", `Stepper with ${rows.length} steps. The left and right arrow keys change the step.`);
    const bar = document.createElement("div");
    bar.className = "stepper-bar";
    const place = document.createElement("span");
    const said = document.createElement("p");
    said.className = "stepper-said";
    said.setAttribute("aria-live", "polite");

    const show = (speak) => {
      frame.classList.toggle("all", all);
      rows.forEach((row, number) => {
        row.classList.toggle("later", !all && number > step);
        row.classList.toggle("current", !all && number === step);
        if (!all && number === step) row.setAttribute("aria-current", "step");
        else row.removeAttribute("aria-current");
      });
      back.setAttribute("aria-disabled", all || step === 0);
      next.setAttribute("aria-disabled", all || step === rows.length - 1);
      toggle.textContent = all ? "Step by step" : "Show all";
      place.textContent = all ? `All ${rows.length} steps` : `Step ${step + 1} of ${rows.length}`;
      if (speak) said.textContent = all ? place.textContent : spoken(heads, rows[step]);
    };
    const go = (to) => {
      if (all || to < 0 || to >= rows.length) return;
      step = to;
      show(true);
    };
    const back = button("Back", () => go(step - 1));
    const next = button("Next", () => go(step + 1));
    const toggle = button("Show all", () => {
      all = !all;
      show(true);
    });
    frame.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      go(step + move);
    });

    rows.forEach((row) => [...row.cells].forEach((cell, column) => {
      cell.dataset.head = heads[column];
      if (!cell.textContent.trim()) cell.classList.add("idle");
    }));
    bar.append(back, next, toggle, place);
    const outer = table.closest(".table-wrapper") || table;
    outer.before(frame);
    frame.append(bar, outer, said);
    show(false);
  };

  document.querySelectorAll("table.stepper").forEach(build);
})();
